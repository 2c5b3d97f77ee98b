//go:build linux

package alsa

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// TestWithoutSequencer runs where there is none, as in most containers. With
// one, the guest in mapping/midi/port does more.
func TestWithoutSequencer(t *testing.T) {
	if _, err := os.Stat(device); err == nil {
		t.Skip("there is an ALSA sequencer here")
	}
	d := New("")
	began := time.Now()
	if _, _, err := d.Ports(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "no ALSA sequencer") {
		t.Errorf("listing: %v", err)
	}
	h, err := port.Open(port.Config{Virtual: true, Patterns: []string{"all"}, Drivers: []port.Driver{d}, Poll: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	h.Panic()
	if err := errors.Join(h.Close(), d.Close()); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, _, err := d.Ports(); !errors.Is(err, port.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
