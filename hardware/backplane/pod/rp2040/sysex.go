//go:build tinygo && sysex

package main

import (
	"machine/usb"
	"machine/usb/adc/midi"

	"github.com/k8s-synth/k8s-synth/hardware/backplane"
)

const framing = backplane.SysEx

func init() { usb.Manufacturer, usb.Product = "k8s-synth", "k8s-synth pod" }

// ring is what came in by USB interrupt and was not yet looked at. There is one
// writer and one reader, and a byte more than fits is lost, which costs a frame.
var (
	ring        [256]byte
	write, read uint8
)

func begin() {
	midi.Port().SetRxHandler(func(b []byte) {
		for ; len(b) >= 4; b = b[4:] { // events of USB-MIDI: a code, three bytes
			n := 3
			switch b[0] & 0xf {
			case 0x5, 0xf: // one byte, or an exclusive message that ends with one
				n = 1
			case 0x6, 0x2: // two
				n = 2
			case 0x0, 0x1:
				n = 0
			}
			for _, c := range b[1 : 1+n] {
				if write+1 != read {
					ring[write] = c
					write++
				}
			}
		}
	})
}

func receive(b []byte) (n int) {
	for n < len(b) && read != write {
		b[n] = ring[read]
		read++
		n++
	}
	return n
}

// send cuts a message into events of USB-MIDI on cable 0.
func send(b []byte) {
	var e [4]byte
	for len(b) > 3 {
		e = [4]byte{0x4, b[0], b[1], b[2]}
		_, _ = midi.Port().Write(e[:])
		b = b[3:]
	}
	e = [4]byte{0x4 + byte(len(b))}
	copy(e[1:], b)
	_, _ = midi.Port().Write(e[:])
}
