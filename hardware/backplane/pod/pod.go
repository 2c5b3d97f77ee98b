// Package pod is the logic of hardware Pod v0, a panel of 8 HP that is one pod
// of the cluster: a lifecycle jack, a ready light, a bar of load and a knob for
// CPU. It is between the pins of a microcontroller and the daemon:
//
//	jack, knob ─▶ ADC ─▶ Pod.Tick ─▶ backplane.Panel ─▶ USB ─▶ daemon
//	lights ◀─ PWM ◀─────────┘  ◀────────────────────────────────┘
//
// The package knows no pins and no clock, so that it runs in tests and in
// "k8s-synth panel emulate" as it does on an RP2040, for which the folder rp2040
// has the pins.
package pod

import "github.com/k8s-synth/k8s-synth/hardware/backplane"

// Firmware is the version, the major one in the upper byte.
const Firmware = 0x0001

// Slots of the panel's controls.
const (
	CPU       = 0 // value
	Lifecycle = 0 // gate
	Ready     = 0 // output
	Load      = 1 // output
)

// Controls are what the panel has, by the names of the module pod.
var Controls = []backplane.Control{
	{Class: backplane.Knob, Slot: CPU, Name: "cpu"},
	{Class: backplane.GateIn, Slot: Lifecycle, Name: "lifecycle"},
	{Class: backplane.Light, Slot: Ready, Name: "ready"},
	{Class: backplane.Bar, Slot: Load, Name: "load"},
}

// Segments is how many lights the bar has.
const Segments = 5

// TickMicros is how often Tick is called, in microseconds. A trigger is high for
// 1 ms, and wants to be seen five times.
const TickMicros = 200

// jackVolt is a volt on the lifecycle jack, in counts of 16 bits: 100 kΩ over
// 33 kΩ into 3.3 V (see the README in rp2040).
const jackVolt = 65535 / 3.3 * 33 / 133

// A gate is high above 1 V and low below 0.1 V, as everywhere in the rack.
var (
	jackHigh = JackCounts(1)
	jackLow  = JackCounts(0.1)
)

// settle is how many ticks in a row must agree for a level to be believed,
// 0.6 ms of them: longer than a plug scratches and shorter than a trigger.
const settle = 3

// JackCounts returns what the converter reads at a voltage on the jack.
func JackCounts(volts float32) uint16 {
	return uint16(min(max(volts*jackVolt, 0), 65535))
}

// The knob. The converter has 12 bits, noisy in the lowest two or three.
const (
	// knobEnd counts at either end of the travel are the end itself: no pot
	// reaches its rails.
	knobEnd = 400
	// knobStill is how far the smoothed knob must be from what was told, in
	// counts of 16 bits, to be told anew: two steps of 12 bits at rest …
	knobStill = 40
	// … and how far while it moves, for moveTicks after the last one.
	knobMoves = 12
	moveTicks = 100_000 / TickMicros
	// The smoothing's time is 2^slowShift ticks (6.4 ms) near the target, and
	// 2^quickShift (0.4 ms) when it is off by more than knobJump.
	slowShift, quickShift = 5, 1
	knobJump              = 600
)

// In is what the pins say, in counts of 16 bits.
type In struct{ Lifecycle, CPU uint16 }

// Out is how bright the lights are, in duty of 65535.
type Out struct {
	Ready uint16
	Load  [Segments]uint16
}

// Pod is the panel. The zero value is not ready: Init it.
type Pod struct {
	panel backplane.Panel

	begun bool
	// Schmitt trigger and debounce of the jack.
	level, stable bool
	since         int64 // when level changed
	ticks         int

	smooth int32 // knob, in counts · 256
	told   int32 // counts
	moving int

	out Out
}

// Init sets the panel up: the serial number is the chip's, the boot number
// another one each time, the wish a module id or nothing.
func (p *Pod) Init(serial [8]byte, boot uint32, wish string, f backplane.Framing) {
	*p = Pod{}
	p.panel.Init(backplane.Identity{Kind: "pod", Serial: serial, Firmware: Firmware, Boot: boot, Wish: wish}, Controls, f)
}

// Panel is the panel's end of the session, for its state.
func (p *Pod) Panel() *backplane.Panel { return &p.panel }

// Receive takes bytes of the daemon as they come.
func (p *Pod) Receive(now int64, b []byte) { p.panel.Receive(now, b) }

// Next returns the next frame that is due, in dst; nothing when none is.
func (p *Pod) Next(now int64, dst []byte) []byte { return p.panel.Next(now, dst) }

// Tick reads the pins and returns the lights. It is called every TickMicros, and
// now is in microseconds of a clock that does not go back.
func (p *Pod) Tick(now int64, in In) Out {
	p.jack(now, in.Lifecycle)
	p.knob(in.CPU)
	p.begun = true
	p.lights(now)
	return p.out
}

// jack finds the edges, and tells them with the time at which they began.
func (p *Pod) jack(now int64, counts uint16) {
	level := p.level
	switch {
	case counts >= jackHigh:
		level = true
	case counts <= jackLow:
		level = false
	}
	if !p.begun {
		p.level, p.stable, p.since, p.ticks = level, level, now, settle
		p.panel.Gate(now, Lifecycle, level)
		return
	}
	if level != p.level {
		p.level, p.since, p.ticks = level, now, 0
	}
	if p.ticks < settle {
		p.ticks++
	}
	if p.ticks == settle && p.level != p.stable {
		p.stable = p.level
		p.panel.Gate(p.since, Lifecycle, p.stable)
	}
}

// knob smooths, and tells what is no noise.
func (p *Pod) knob(counts uint16) {
	x := int32(counts) << 8
	if !p.begun {
		p.smooth = x
		p.told = -1 << 20
	}
	shift := slowShift
	if d := x - p.smooth; d > knobJump<<8 || d < -knobJump<<8 {
		shift = quickShift
	}
	p.smooth += (x - p.smooth) >> shift
	v := p.smooth >> 8
	limit := int32(knobStill)
	if p.moving > 0 {
		p.moving--
		limit = knobMoves
	}
	if d := v - p.told; d < limit && d > -limit {
		return
	}
	if p.begun {
		p.moving = moveTicks
	}
	p.told = v
	p.panel.Value(CPU, travel(v))
}

// travel stretches the counts so that both ends are reached.
func travel(v int32) uint16 {
	v = (v - knobEnd) * 4096 / ((65535 - 2*knobEnd) / 16)
	return uint16(min(max(v, 0), 65535))
}

// lights shows what the daemon said, or that it says nothing.
func (p *Pod) lights(now int64) {
	p.out = Out{}
	millis := now / 1000
	switch {
	case !p.panel.Connected():
		// Nobody plays: the ready light flashes briefly every second, and a
		// single dot walks over the bar.
		if millis%1000 < 60 {
			p.out.Ready = 65535
		}
		p.out.Load[millis/200%Segments] = gamma(16000)
	case !p.panel.Bound():
		// Somebody plays, but it is no module of the patch: two flashes.
		if m := millis % 1000; m < 60 || m >= 180 && m < 240 {
			p.out.Ready = 65535
		}
	default:
		p.out.Ready = gamma(p.panel.Output(Ready))
		full := uint32(p.panel.Output(Load)) * Segments // of 65535 each
		for i := range p.out.Load {
			p.out.Load[i] = gamma(uint16(min(full, 65535)))
			full -= min(full, 65535)
		}
	}
}

// gamma makes brightness of duty: the square is near enough to what eyes do.
func gamma(v uint16) uint16 { return uint16(uint32(v) * uint32(v) / 65535) }
