//go:build tinygo

// Command rp2040 is the firmware of hardware Pod v0 on a Raspberry Pi Pico: the
// pins, converters and USB between the world and package pod, which has the
// logic. The README beside it has the pins, the parts and how to flash.
package main

import (
	"machine"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware/backplane"
	"github.com/k8s-synth/k8s-synth/hardware/backplane/pod"
)

// Pins. The lights are on three PWM slices, which nothing else uses.
const (
	pinReady = machine.GPIO2
	pinLoad  = machine.GPIO3 // and the four after it
)

// lamp is a light on a PWM channel.
type lamp struct {
	slice interface {
		Configure(machine.PWMConfig) error
		Channel(machine.Pin) (uint8, error)
		Set(channel uint8, value uint32)
		Top() uint32
	}
	channel uint8
	top     uint32
}

func (l *lamp) init(pin machine.Pin) {
	switch pin >> 1 & 7 {
	case 1:
		l.slice = machine.PWM1
	case 2:
		l.slice = machine.PWM2
	default:
		l.slice = machine.PWM3
	}
	// 1 kHz: no flicker for eyes and cameras, out of the way of the converter.
	_ = l.slice.Configure(machine.PWMConfig{Period: 1_000_000})
	l.channel, _ = l.slice.Channel(pin)
	l.top = l.slice.Top()
}

func (l *lamp) set(v uint16) { l.slice.Set(l.channel, uint32(uint64(v)*uint64(l.top)/65535)) }

// All memory is here: the loop makes none, so the collector never runs.
var (
	panel pod.Pod
	ready lamp
	load  [pod.Segments]lamp
	in    [64]byte
	out   [backplane.MaxFrame]byte
)

func main() {
	machine.InitADC()
	jack, knob := machine.ADC{Pin: machine.ADC0}, machine.ADC{Pin: machine.ADC1}
	_ = jack.Configure(machine.ADCConfig{})
	_ = knob.Configure(machine.ADCConfig{})
	ready.init(pinReady)
	for i := range load {
		load[i].init(pinLoad + machine.Pin(i))
	}

	var serial [8]byte
	copy(serial[:], machine.DeviceID())
	boot, _ := machine.GetRNG()
	panel.Init(serial, boot, "", framing)
	begin()

	// A loop that hangs is started again; the daemon sees the new boot, and its
	// gates have fallen before.
	_ = machine.Watchdog.Configure(machine.WatchdogConfig{TimeoutMillis: 250})
	_ = machine.Watchdog.Start()

	started := time.Now()
	for next := int64(0); ; {
		now := time.Since(started).Microseconds()
		if now >= next {
			if next += pod.TickMicros; next < now {
				next = now + pod.TickMicros // ticks that were missed are gone
			}
			o := panel.Tick(now, pod.In{Lifecycle: jack.Get(), CPU: knob.Get()})
			ready.set(o.Ready)
			for i := range load {
				load[i].set(o.Load[i])
			}
			machine.Watchdog.Update()
		}
		if n := receive(in[:]); n > 0 {
			panel.Receive(now, in[:n])
		}
		if b := panel.Next(now, out[:]); len(b) > 0 {
			send(b)
		}
	}
}
