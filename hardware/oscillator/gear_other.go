//go:build !linux

package oscillator

import "testing"

// JACK, Gear and Options are those of Linux; elsewhere tests that want them are
// skipped.
type (
	JACK struct {
		Name string
		Rate int
	}
	Gear struct {
		Name             string
		CV, Audio, Truth []string
	}
	Options struct {
		Name         string
		Voices, Seed int
		Sine         bool
	}
)

const elsewhere = "external gear is proven on Linux only"

// StartJACK skips the test.
func StartJACK(t testing.TB) *JACK { t.Helper(); t.Skip(elsewhere); return nil }

// StartPureData skips the test.
func StartPureData(t testing.TB, o Options) *Gear { t.Helper(); t.Skip(elsewhere); return nil }

// StartSuperCollider skips the test.
func StartSuperCollider(t testing.TB, o Options) *Gear { t.Helper(); t.Skip(elsewhere); return nil }

// StartVoltages skips the test.
func StartVoltages(t testing.TB, name string, volts ...float64) []string {
	t.Helper()
	t.Skip(elsewhere)
	return nil
}
