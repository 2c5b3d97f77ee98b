package port

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestFind: of the system's serial ports only those that say so are panels. The
// folders are laid out as in sysfs, links and all.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	for tty, product := range map[string]string{"ttyACM0": "k8s-synth pod\n", "ttyACM1": "Arduino Uno\n", "ttyACM2": ""} {
		usb := filepath.Join(dir, "devices", "usb-"+tty)
		interf := filepath.Join(usb, "1-1:1.0")
		for _, d := range []string{interf, filepath.Join(dir, "class", tty)} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if product != "" {
			if err := os.WriteFile(filepath.Join(usb, "product"), []byte(product), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(interf, filepath.Join(dir, "class", tty, "device")); err != nil {
			t.Fatal(err)
		}
	}
	got := panelPortsAt(filepath.Join(dir, "class", "ttyACM*"), "/dev")
	if !slices.Equal(got, []string{"/dev/ttyACM0"}) {
		t.Errorf("found %v", got)
	}
	panelPorts() // of this machine, whatever they are
}
