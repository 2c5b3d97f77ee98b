package mapping

import (
	"fmt"
	"math"
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Quantum is what a launch waits for.
type Quantum string

// What a launch may wait for.
const (
	Now    Quantum = "now"
	Beat   Quantum = "beat"
	Bar    Quantum = "bar"
	Phrase Quantum = "phrase"
)

// Quanta are all of them.
var Quanta = []Quantum{Now, Beat, Bar, Phrase}

// Check returns nil for one of Quanta.
func (q Quantum) Check() error {
	if !slices.Contains(Quanta, q) {
		return fmt.Errorf("launch is now, beat, bar or phrase, this is %q", string(q))
	}
	return nil
}

// song is where a Clock is, as it told with its beats.
type song struct {
	frame  float64 // of the last beat, to a fraction
	period float64 // from the one before, 0 if there was none
	beat   int     // of its bar, from 0
	bar    int     // since the last reset, from 0
}

// beat takes a beat of a Clock.
func (r *Rack) beat(id instrument.ModuleID, e *instrument.Event) {
	at := float64(e.Frame) - float64(e.Value)
	s := r.songs[id]
	if s == nil || e.Channel == 1 {
		r.songs[id] = &song{frame: at, beat: int(e.Index)}
		return
	}
	if int(e.Index) <= s.beat {
		s.bar++
	}
	s.frame, s.period, s.beat = at, at-s.frame, int(e.Index)
}

// clockNamed returns the Clock of a name, or with none the first of the patch.
func (r *Rack) clockNamed(name string) *instrument.Module {
	for i := range r.patch.Modules {
		if m := &r.patch.Modules[i]; m.ID.Kind() == "clock" && (name == "" || m.ID.Name() == name) {
			return m
		}
	}
	return nil
}

// Next returns the first frame from after on at which a Clock comes to what q
// says: the one of a name, or the first of the patch. A phrase is so many bars
// since the Clock was last reset. Where no clock runs, or q is Now, it is not ok.
//
// It is exact to a frame as long as the tempo stands.
func (r *Rack) Next(q Quantum, clock string, phrase int, after int64) (frame int64, ok bool) {
	m := r.clockNamed(clock)
	if m == nil || q == Now || q == "" {
		return 0, false
	}
	s := r.songs[m.ID]
	if s == nil {
		return 0, false
	}
	period := s.period
	if free := r.cable(m.ID, "clock") == nil && r.cable(m.ID, "tempo_cv") == nil; free || period == 0 {
		period = 60 * r.cfg.SampleRate / m.Value("tempo")
	}
	if float64(after)-s.frame > 2*period+r.cfg.SampleRate/10 {
		return 0, false // it stands
	}
	beats := max(int(m.Value("beats")), 1)
	k := max(int(math.Ceil((float64(after)-s.frame)/period)), 1)
	for ; ; k++ {
		beat := s.beat + k
		bar := s.bar + beat/beats
		if q == Beat || beat%beats == 0 && (q == Bar || bar%max(phrase, 1) == 0) {
			return int64(math.Ceil(s.frame + float64(k)*period - 1e-3)), true
		}
	}
}

// Song tells where a Clock is, as Next finds it: its bar since the last reset
// and the beat within it, both from 0.
func (r *Rack) Song(clock string) (bar, beat int, ok bool) {
	m := r.clockNamed(clock)
	if m == nil || r.songs[m.ID] == nil {
		return 0, 0, false
	}
	s := r.songs[m.ID]
	return s.bar, s.beat, true
}
