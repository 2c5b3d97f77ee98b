//go:build !linux

package port

import (
	"strings"

	"go.bug.st/serial/enumerator"
)

// panelPorts returns the serial ports that say they are panels. Windows shows
// names of its own, so there the numbers of a Pico tell.
func panelPorts() (paths []string) {
	all, err := enumerator.GetDetailedPortsList()
	if err != nil {
		return nil
	}
	for _, p := range all {
		if strings.HasPrefix(p.Product, product) || p.IsUSB && strings.EqualFold(p.VID, "2e8a") && strings.EqualFold(p.PID, "000a") {
			paths = append(paths, p.Name)
		}
	}
	return paths
}
