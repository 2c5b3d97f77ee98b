package main

import (
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// A clock of the same port knows better than its time code; where the clock is
// lost and the tape runs on, the rack goes by the tape.
func TestTapeAfterTheClock(t *testing.T) {
	var told []mapping.TransportInput
	p := handsOnAs(t, "default", noMap, func(c *mapping.Config) {
		c.Recorded = func(in mapping.Input) {
			if in.Transport != nil {
				told = append(told, *in.Transport)
			}
		}
	})
	began := time.Now().Add(-10 * time.Second)
	const pulse, quarter = time.Second / 48, time.Second / 100 // 120 beats a minute, 25 frames a second
	pulses, quarters := 0, 0
	until := func(end time.Duration, clock bool) {
		for at := time.Duration(quarters) * quarter; at < end; at += quarter {
			for clock && time.Duration(pulses)*pulse <= at {
				p.midiCame(port.In{Port: "gear", At: began.Add(time.Duration(pulses) * pulse), Message: midi.RealTime(midi.Clock)})
				pulses++
			}
			frame := quarters / 8 * 2
			nibbles := [8]int{frame % 25 & 15, frame % 25 >> 4, frame / 25 & 15, 0, 0, 0, 0, 1 << 1}
			piece := quarters % 8
			p.midiCame(port.In{Port: "gear", At: began.Add(at), Message: midi.Message{Data: [3]byte{midi.QuarterFrame, byte(piece<<4 | nibbles[piece])}, Size: 2}})
			quarters++
		}
	}
	until(3*time.Second, true)
	if len(told) > 0 {
		t.Fatalf("with a clock the tape told the rack %+v", told)
	}
	until(5*time.Second, false)
	if len(told) != 1 || !told[0].Runs || told[0].Seconds == nil || *told[0].Seconds < 3 || *told[0].Seconds > 4.5 {
		t.Errorf("when the clock is lost the tape tells the rack %+v", told)
	}
}
