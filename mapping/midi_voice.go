package mapping

import (
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// midiVoice is one channel of a MIDI In's jacks.
type midiVoice struct {
	from   midiKey // the key that it plays, or played last
	note   uint64  // with MPE, the note's name
	used   bool
	down   bool   // the key is
	high   bool   // the gate is, or will be
	struck uint64 // when, in the order of strikes
	freed  uint64 // when, in the order of releases
	// Frames at which the gate rose and fell, and of the newest event of it.
	rose, fell, at int64
}

type midiStruck struct {
	midiKey
	velocity int
}

// covers tells whether a message for a channel is also for the notes of
// another: that of a zone's master is for all of the zone.
func (in *midiInput) covers(port string, channel, other int) bool {
	if channel == other {
		return true
	}
	if in.set.mode != instrument.MIDIMPE {
		return false
	}
	config := in.mpeOf(port).Config()
	upper, master, ok := config.Of(channel)
	also, _, within := config.Of(other)
	return ok && master && within && also == upper
}

// on plays a key that was struck.
func (in *midiInput) on(r *Rack, p *midiPort, k midiKey, velocity int) {
	if k.key < in.set.low || k.key > in.set.high {
		return
	}
	strike := midiStrike{pitch: float64(k.key), velocity: velocity, bend: in.bendVolts(p.bend[k.channel]), pressure: int(p.press[k.channel]), timbre: p.timbre(k.channel)}
	if in.set.mode == instrument.MIDIMono {
		in.forgetHeld(k)
		if len(in.held) == midiHeld {
			in.held = slices.Delete(in.held, 0, 1)
		}
		in.held = append(in.held, midiStruck{k, velocity})
		if in.choice() == k {
			in.strike(r, 0, k, 0, strike, in.set.legato)
		}
		return
	}
	in.strike(r, in.allocate(k), k, 0, strike, false)
}

// timbre is where controller 74 of a channel stands, 0…127.
func (p *midiPort) timbre(ch int) int {
	if v := p.value[ch][midi.CCTimbre]; v >= 0 {
		return int(v) >> 7
	}
	return midi.MPETimbre
}

// off ends a key that was let go of.
func (in *midiInput) off(r *Rack, p *midiPort, k midiKey, velocity int) {
	if in.set.mode == instrument.MIDIMono {
		in.forgetHeld(k)
	}
	for i := range in.voices {
		v := &in.voices[i]
		if !v.down || v.from != k || v.note != 0 {
			continue
		}
		if in.set.mode == instrument.MIDIMono && len(in.held) > 0 {
			// Back to a key that is still down, as it was: nothing is struck.
			v.from = in.choice()
			in.voice(r, i, midiJack.pitch, float32(float64(v.from.key-middleC)/12))
			return
		}
		v.down = false
		in.voice(r, i, midiJack.release, sevenVolts(velocity))
		if !in.sustained(p, k.port, k.channel) {
			in.lower(r, i)
		}
	}
}

// choice is the key that a mono voice plays of those that are down.
func (in *midiInput) choice() midiKey {
	best := len(in.held) - 1
	for i := range in.held {
		switch k := in.held[i].key; {
		case in.set.priority == 1 && k < in.held[best].key, in.set.priority == 2 && k > in.held[best].key:
			best = i
		}
	}
	return in.held[best].midiKey
}

func (in *midiInput) forgetHeld(k midiKey) {
	in.held = slices.DeleteFunc(in.held, func(h midiStruck) bool { return h.midiKey == k })
}

// downKeys are the keys that are down, as the voices and the mono voice know
// them.
func (in *midiInput) downKeys() (keys []midiKey) {
	for i := len(in.held) - 1; i >= 0; i-- {
		keys = append(keys, in.held[i].midiKey)
	}
	for i := range in.voices {
		if v := &in.voices[i]; v.down && v.note == 0 && !slices.Contains(keys, v.from) {
			keys = append(keys, v.from)
		}
	}
	return keys
}

// sustained tells whether a pedal holds the notes of a channel.
func (in *midiInput) sustained(p *midiPort, port string, channel int) bool {
	if p.pedal[channel] {
		return true
	}
	if in.set.mode != instrument.MIDIMPE {
		return false
	}
	upper, _, ok := in.mpeOf(port).Config().Of(channel)
	return ok && p.pedal[midi.Master(upper)]
}

// pedalUp ends what only a pedal held.
func (in *midiInput) pedalUp(r *Rack, p *midiPort, port string) {
	for i := range in.voices {
		if v := &in.voices[i]; v.high && !v.down && v.from.port == port && !in.sustained(p, port, v.from.channel) {
			in.lower(r, i)
		}
	}
}

// mpeOf returns what follows the MPE of a port; before the controller says
// otherwise all channels are one zone.
func (in *midiInput) mpeOf(port string) *midi.MPEIn {
	z := in.mpe[port]
	if z == nil {
		if len(in.mpe) >= midiPorts {
			clear(in.mpe)
		}
		z = midi.NewMPEIn(midi.NewMPEConfig(15, 0))
		in.mpe[port] = z
	}
	return z
}

// silenceMPE forgets the notes of MPE, but not the zones.
func (in *midiInput) silenceMPE() {
	for _, z := range in.mpe {
		z.Release(func(midi.MPEChange, midi.MPENote) {})
	}
}

// mpeChange plays what becomes of a note of MPE.
func (in *midiInput) mpeChange(r *Rack, p *midiPort, port string) func(midi.MPEChange, midi.MPENote) {
	return func(change midi.MPEChange, n midi.MPENote) {
		bend := float32((n.Pitch - float64(n.Key)) / 12)
		if change == midi.MPEBegan {
			if n.Key >= in.set.low && n.Key <= in.set.high {
				k := midiKey{port, n.Channel, n.Key}
				in.strike(r, in.allocate(k), k, n.ID, midiStrike{float64(n.Key), n.Velocity, bend, n.Pressure, n.Timbre}, false)
			}
			return
		}
		for i := range in.voices {
			v := &in.voices[i]
			if !v.down || v.note != n.ID || v.from.port != port {
				continue
			}
			if change == midi.MPEMoved {
				in.voice(r, i, midiJack.bend, bend)
				in.voice(r, i, midiJack.pressure, sevenVolts(n.Pressure))
				in.voice(r, i, midiJack.timbre, sevenVolts(n.Timbre))
				continue
			}
			v.down = false
			in.voice(r, i, midiJack.release, sevenVolts(n.Release))
			if !in.sustained(p, port, n.Channel) {
				in.lower(r, i)
			}
		}
	}
}

// allocate chooses the voice for a key: the one that plays it already, else
// the one that was released longest ago, else of those that only the pedal
// holds and then of all the one that was struck first.
func (in *midiInput) allocate(k midiKey) int {
	voices := in.voices[:in.set.voices]
	for i := range voices {
		if v := &voices[i]; v.high && v.note == 0 && v.from == k {
			return i
		}
	}
	rank := func(v *midiVoice) (class int, since uint64) {
		switch {
		case !v.high:
			return 0, v.freed
		case !v.down:
			return 1, v.struck
		}
		return 2, v.struck
	}
	best := 0
	for i := range voices {
		c, s := rank(&voices[i])
		if bc, bs := rank(&voices[best]); c < bc || c == bc && s < bs {
			best = i
		}
	}
	return best
}

// midiStrike is how a note begins.
type midiStrike struct {
	pitch    float64 // as MIDI counts notes, without its bend
	velocity int
	bend     float32 // V
	pressure int
	timbre   int
}

// strike makes a voice play a key. Where its gate is high, it falls before,
// or with legato does not; nor where so many keys came at once that the last
// of them would be late.
func (in *midiInput) strike(r *Rack, i int, k midiKey, note uint64, s midiStrike, legato bool) {
	v := &in.voices[i]
	rises := !v.high || !legato && v.at < in.at+int64(strikeLate*r.cfg.SampleRate)
	if v.high && rises {
		in.lower(r, i)
	}
	v.at = max(v.at, in.at)
	if rises && v.fell > 0 {
		v.at = max(v.at, v.fell+int64(retriggerGap*r.cfg.SampleRate))
	}
	in.order++
	v.from, v.note, v.used, v.down, v.high, v.struck = k, note, true, true, true, in.order
	in.voice(r, i, midiJack.bend, s.bend)
	in.voice(r, i, midiJack.pressure, sevenVolts(s.pressure))
	in.voice(r, i, midiJack.timbre, sevenVolts(s.timbre))
	in.voice(r, i, midiJack.pitch, float32((s.pitch-middleC)/12))
	in.voice(r, i, midiJack.velocity, sevenVolts(s.velocity))
	if rises {
		v.rose = v.at
		in.voice(r, i, midiJack.gate, instrument.GateVolts)
	}
	r.send(instrument.Event{Kind: instrument.EventPulse, Module: in.handle, Index: midiJack.trigger, Channel: uint8(i), Frame: v.at})
}

// lower makes the gate of a voice fall, but not before it was high long
// enough to be heard.
func (in *midiInput) lower(r *Rack, i int) {
	v := &in.voices[i]
	v.at = max(v.at, in.at, v.rose+int64(retriggerGap*r.cfg.SampleRate))
	in.order++
	v.high, v.down, v.fell, v.freed = false, false, v.at, in.order
	in.voice(r, i, midiJack.gate, 0)
}

// end ends the notes of keys at once, pedal or not.
func (in *midiInput) end(r *Rack, which func(midiKey) bool) {
	in.held = slices.DeleteFunc(in.held, func(h midiStruck) bool { return which(h.midiKey) })
	for i := range in.voices {
		if v := &in.voices[i]; v.high && which(v.from) {
			in.lower(r, i)
		}
	}
}

// eachOf does something to every voice whose note is or was of a channel.
func (in *midiInput) eachOf(port string, channel int, do func(i int)) {
	for i := range in.voices {
		if v := &in.voices[i]; v.used && v.note == 0 && v.from.port == port && v.from.channel == channel {
			do(i)
		}
	}
}

// voice sends a level to a voice's channel of a jack.
func (in *midiInput) voice(r *Rack, i int, jack uint8, volts float32) {
	v := &in.voices[i]
	v.at = max(v.at, in.at)
	r.send(instrument.Event{Kind: instrument.EventLevel, Module: in.handle, Index: jack, Channel: uint8(i), Value: volts, Frame: v.at})
}

// level sends a level to a jack of one channel.
func (in *midiInput) level(r *Rack, jack uint8, volts float32) {
	r.send(instrument.Event{Kind: instrument.EventLevel, Module: in.handle, Index: jack, Value: volts, Frame: in.at})
}

// pulse sends a trigger to a jack of one channel.
func (in *midiInput) pulse(r *Rack, jack uint8) {
	r.send(instrument.Event{Kind: instrument.EventPulse, Module: in.handle, Index: jack, Frame: in.at})
}

// bendVolts is how far a wheel bends.
func (in *midiInput) bendVolts(position int) float32 {
	return float32(float64(position) / 8192 * in.set.bend / 12)
}

func wheelVolts(position int) float32 {
	return float32(min(max(float64(position)/8191, -1), 1) * instrument.MIDIWheelVolts)
}

// sevenVolts is what 0…127 is on a jack.
func sevenVolts(v int) float32 { return float32(v&0x7f) * (10. / 127) }
