package port

import (
	"os"
	"path/filepath"
	"strings"
)

// usbSerial are the system's USB serial ports; sysfs tells of them without
// opening any, which would reset some people's boards.
const usbSerial = "/sys/class/tty/ttyACM*"

// panelPorts returns the serial ports that say they are panels.
func panelPorts() []string { return panelPortsAt(usbSerial, "/dev") }

func panelPortsAt(pattern, dev string) (paths []string) {
	all, _ := filepath.Glob(pattern) // the pattern is right
	for _, tty := range all {
		// device leads to the interface, and that lies in the USB device: nothing
		// for filepath, which would take device and .. for a detour.
		name, err := os.ReadFile(tty + "/device/../product")
		if err == nil && strings.HasPrefix(string(name), product) {
			paths = append(paths, filepath.Join(dev, filepath.Base(tty)))
		}
	}
	return paths
}
