//go:build !linux

package system

import (
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port/rtmidi"
)

// Driver is that of the system's MIDI. name is how the instrument appears in it.
func Driver(name string) port.Driver { return rtmidi.New(name) }
