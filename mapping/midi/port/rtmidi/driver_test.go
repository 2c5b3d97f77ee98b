//go:build cgo && !nomidi

package rtmidi

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// TestWithoutSequencer runs where there is none, as in most containers, and
// sees that nothing is printed and nothing hangs.
func TestWithoutSequencer(t *testing.T) {
	if present() == nil {
		t.Skip("there is an ALSA sequencer here")
	}
	d := New("k8s-synth")
	defer d.Close()
	began := time.Now()
	for range 300 {
		if _, _, err := d.Ports(); err == nil || !strings.Contains(err.Error(), "no ALSA sequencer") || !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
			t.Fatalf("listing: %v", err)
		}
	}
	if _, _, err := d.Virtual("k8s-synth", nil); err == nil {
		t.Error("a virtual port without a system")
	}
	if _, err := d.OpenOut("x"); err == nil {
		t.Error("a port without a system")
	}
	h, err := port.Open(port.Config{Virtual: true, Patterns: []string{"all"}, Drivers: []port.Driver{d}, Poll: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	h.Panic()
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}
