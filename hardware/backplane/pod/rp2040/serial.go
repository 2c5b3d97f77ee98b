//go:build tinygo && !sysex

package main

import (
	"machine"
	"machine/usb"

	"github.com/k8s-synth/k8s-synth/hardware/backplane"
)

const framing = backplane.Serial

// The daemon opens serial ports of this name without being told to. USB asks for
// it after main has begun.
func init() { usb.Manufacturer, usb.Product = "k8s-synth", "k8s-synth pod" }

func begin() {}

// receive takes what has come over USB.
func receive(b []byte) (n int) {
	for n < len(b) && machine.Serial.Buffered() > 0 {
		c, err := machine.Serial.ReadByte()
		if err != nil {
			break
		}
		b[n] = c
		n++
	}
	return n
}

// send waits for nothing: what nobody reads is lost, and sent again.
func send(b []byte) { _, _ = machine.Serial.Write(b) }
