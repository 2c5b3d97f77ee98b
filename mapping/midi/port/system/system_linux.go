package system

import (
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port/alsa"
)

// Driver is that of the system's MIDI. name is how the instrument appears in it.
func Driver(name string) port.Driver { return alsa.New(name) }
