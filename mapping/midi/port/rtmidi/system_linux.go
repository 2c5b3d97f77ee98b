//go:build cgo && !nomidi

package rtmidi

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/k8s-synth/k8s-synth/mapping/midi/port/alsa"
)

// sequencer is what the library opens; it prints where it cannot.
const sequencer = "/dev/snd/seq"

func present() error {
	if err := unix.Access(sequencer, unix.R_OK|unix.W_OK); err != nil {
		return fmt.Errorf("no ALSA sequencer: %s: %w", sequencer, err)
	}
	return nil
}

// clients is the sequencer's own list; nil where it cannot be read.
func clients() []seqPort {
	b, err := os.ReadFile("/proc/asound/seq/clients")
	if err != nil {
		return nil
	}
	return parseClients(string(b))
}

// Alive tells whether the connection still stands.
func (c *conn) Alive() bool {
	if c.name == "" {
		return present() == nil
	}
	want := alsa.Address(c.name)
	ports := clients()
	if want == "" || ports == nil {
		return true
	}
	for _, p := range ports {
		if p.client == c.client && (c.output && slices.Contains(p.to, want) || !c.output && slices.Contains(p.from, want)) {
			return true
		}
	}
	return false
}

// Connected lists who listens to the virtual port of a name.
func (d *Driver) Connected(virtual string) (names []string) {
	ports := clients()
	for _, p := range ports {
		if p.client != d.client || p.port != virtual {
			continue
		}
		for _, to := range p.to {
			for _, other := range ports {
				if other.address == to {
					names = append(names, other.name())
				}
			}
		}
	}
	return names
}
