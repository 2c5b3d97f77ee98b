package mapping

import (
	"maps"
	"math"
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// midiSong is where a MIDI In is in a song.
type midiSong struct {
	port    string // whose clock it follows
	ticked  int64  // frame of its last clock
	known   bool   // there was one
	runs    bool
	begins  bool  // the next clock is the first of the song, or of its going on
	asked   int64 // frame at which that was asked for
	fresh   bool  // and what follows is to begin where it is
	located bool  // it was sent elsewhere since it last stopped
	due     bool  // the next bar is to reset what follows
	ticks   int64
}

// system plays what is not of a channel.
func (in *midiInput) system(r *Rack, p *midiPort, port string, m midi.Message) {
	s := &in.song
	switch kind := m.Kind(); kind {
	case midi.SystemReset:
		in.gone(r, port)
	case midi.Clock, midi.Start, midi.Continue, midi.Stop, midi.SongPosition:
		if s.known && s.port != port && in.at < s.ticked+int64(clockLost*r.cfg.SampleRate) {
			return // one clock at a time
		}
		if s.port != port {
			s.port, s.ticks = port, p.ticks
		}
		switch kind {
		case midi.Clock:
			in.tick(r)
		case midi.Start:
			s.begins, s.asked, s.fresh, s.located, s.due, s.ticks = true, in.at, true, false, false, 0
		case midi.Continue:
			s.begins, s.asked, s.fresh = true, in.at, false
			s.due = s.due || s.located
			s.located = false
		case midi.Stop:
			s.begins, s.runs = false, false
			in.level(r, midiJack.run, 0)
		case midi.SongPosition:
			s.ticks, s.located = p.ticks, true
			s.due = s.due || s.runs
			in.showPosition(r)
		}
	}
}

// tick plays a clock. What a start begins, it begins: the first clock after it
// is the first beat.
func (in *midiInput) tick(r *Rack) {
	s := &in.song
	s.known, s.ticked = true, in.at
	if s.begins {
		in.begin(r)
	}
	if s.runs {
		in.showPosition(r)
		// Once more with the bar, for those that know no position.
		if bar := s.ticks%(clocksPerBeat*in.set.beats) == 0; s.fresh || s.due && bar {
			s.fresh, s.due = false, s.due && !bar
			in.pulse(r, midiJack.reset)
		}
		s.ticks++
	}
	in.pulse(r, midiJack.clock)
}

// begin makes the song run.
func (in *midiInput) begin(r *Rack) {
	s := &in.song
	s.begins, s.runs = false, true
	in.level(r, midiJack.run, instrument.GateVolts)
	in.pulse(r, midiJack.start)
	s.fresh = s.fresh || s.due
}

// pump begins a song for which no clock comes.
func (in *midiInput) pump(r *Rack, frame int64) {
	if s := &in.song; s.begins && frame > s.asked+int64(startWait*r.cfg.SampleRate) {
		in.at = max(in.at, frame)
		in.begin(r)
		if s.fresh {
			s.fresh = false
			in.pulse(r, midiJack.reset)
		}
	}
}

// Transport starts or stops the song of a port that has no clock, such as one
// that sends time code: at a frame, 0 at once. Where it is known where the song
// is, the Clock that follows is sent there, by its own tempo, and again each time
// that it runs already.
func (r *Rack) Transport(t TransportInput, frame int64) {
	r.begin()
	r.transport(t, frame)
	if r.ended(nil) {
		r.record(Input{Frame: frame, Source: t.Port, Transport: &t})
	}
}

func (r *Rack) transport(t TransportInput, frame int64) {
	what := midi.Stop
	if t.Runs {
		what = midi.Continue
	}
	r.MIDI(t.Port, midi.RealTime(byte(what)), frame)
	for _, in := range r.midiIns {
		s := &in.song
		if s.port != t.Port || t.Runs && !s.begins {
			continue // it follows another's clock
		}
		if t.Seconds != nil {
			in.locate(r, *t.Seconds)
		}
		if t.Runs {
			in.begin(r)
			if t.Seconds != nil {
				s.fresh, s.due, s.located = false, false, false
				in.pulse(r, midiJack.reset)
			}
		}
	}
}

// locate shows where in the bar a time of the song is.
func (in *midiInput) locate(r *Rack, seconds float64) {
	beats := max(seconds, 0) * r.tempoAfter(in) / 60
	in.song.ticks, in.song.located = int64(beats*clocksPerBeat), true
	in.level(r, midiJack.position, float32(math.Mod(beats, float64(in.set.beats))/2))
}

// tempoAfter is the tempo, in beats a minute, of the Clock that runs by a MIDI
// In, or else of the first.
func (r *Rack) tempoAfter(in *midiInput) float64 {
	const kind = "clock"
	for _, c := range r.patch.Cables {
		if c.From.Module == in.id && c.From.Jack == "run" && c.To.Module.Kind() == kind {
			return r.patch.Module(c.To.Module).Value("tempo")
		}
	}
	for i := range r.patch.Modules {
		if m := &r.patch.Modules[i]; m.ID.Kind() == kind {
			return m.Value("tempo")
		}
	}
	return 120
}

// showPosition shows how many beats into the bar it is.
func (in *midiInput) showPosition(r *Rack) {
	in.level(r, midiJack.position, float32(in.song.ticks%(clocksPerBeat*in.set.beats))/(2*clocksPerBeat))
}

// gone takes over that a port is no more, or begins anew.
func (in *midiInput) gone(r *Rack, port string) {
	in.end(r, func(k midiKey) bool { return k.port == port })
	delete(in.mpe, port)
	in.level(r, midiJack.sustain, 0)
	if in.song.port == port && (in.song.known || in.song.runs || in.song.begins) {
		in.song = midiSong{}
		in.level(r, midiJack.run, 0)
	}
}

// join takes over a song that runs already.
func (in *midiInput) join(r *Rack) {
	for _, port := range slices.Sorted(maps.Keys(r.midiPorts)) {
		if p := r.midiPorts[port]; in.hear(port) && p.plays {
			in.song = midiSong{port: port, runs: true, ticks: p.ticks, due: true}
			return
		}
	}
}
