package mapping

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// hpaState is a HorizontalPodAutoscaler.
type hpaState struct {
	current, desired int
	load             float64 // 1 is on target
	limited          bool
}

func (s *hpaState) apply(b *Board, t Transition, refs []panelRef, frame int64) bool {
	switch t.Field {
	case FieldExists:
		return t.New != ""
	case FieldCurrent:
		s.current = whole(t.New)
	case FieldDesired:
		s.desired = whole(t.New)
	case FieldLoad:
		s.load, _ = decimal(t.New)
	case FieldLimited:
		s.limited = t.New == "true"
	default:
		return true
	}
	s.show(b, refs, frame)
	return true
}

func (s *hpaState) show(b *Board, refs []panelRef, frame int64) {
	b.show(refs, "scale", 0, countVolts(s.desired), frame)
	b.show(refs, "desired", 0, countVolts(s.desired), frame)
	b.show(refs, "current", 0, countVolts(s.current), frame)
	b.show(refs, "load", 0, float32(min(5*s.load, 10)), frame)
	b.show(refs, "limited", 0, gateVolts(s.limited), frame)
}

// cronJobState is a CronJob: a clock that tells when it ticked and when it
// will again. What is between the two is the board's own time.
type cronJobState struct {
	tick, next time.Time
	active     int
	begun      int64 // frame of the last tick, which may be long ago
	phase      float32
}

func (s *cronJobState) apply(b *Board, t Transition, refs []panelRef, frame int64) bool {
	switch t.Field {
	case FieldExists:
		return t.New != ""
	case FieldTick:
		at, err := time.Parse(time.RFC3339, t.New)
		if err != nil {
			s.tick = time.Time{}
			break
		}
		s.tick, s.begun = at, frame
		if t.Quiet {
			// It ticked before anybody looked.
			ago := max(t.Time.Sub(at), 0)
			s.begun -= int64(ago.Seconds() * b.rate)
		} else {
			b.pulse(refs, "tick", 0, frame)
		}
	case FieldNext:
		s.next, _ = time.Parse(time.RFC3339, t.New)
	case FieldActive:
		was := s.active
		s.active = whole(t.New)
		b.show(refs, "active", 0, gateVolts(s.active > 0), frame)
		if s.active < was && !t.Quiet {
			b.pulse(refs, "done", 0, frame)
		}
		return true
	default:
		return true
	}
	s.ramp(b, refs, frame)
	return true
}

// phaseStep is the least that a phase jack moves by, in volts.
const phaseStep = 0.02

// ramp shows how far the time is from the last tick to the next.
func (s *cronJobState) ramp(b *Board, refs []panelRef, frame int64) {
	v := float32(0)
	if span := s.next.Sub(s.tick).Seconds() * b.rate; !s.tick.IsZero() && span > 0 {
		v = float32(min(max(10*float64(frame-s.begun)/span, 0), 10))
	}
	if d := v - s.phase; math.Abs(float64(d)) >= phaseStep || v == 0 && d != 0 {
		s.phase = v
		b.show(refs, "phase", 0, v, frame)
	}
}

func (s *cronJobState) show(b *Board, refs []panelRef, frame int64) {
	b.show(refs, "active", 0, gateVolts(s.active > 0), frame)
	b.show(refs, "phase", 0, s.phase, frame)
}

// jobState is the newest of a Job's runs. Those before it may still be on
// their way out.
type jobState struct {
	run       Object
	active    int
	succeeded int
	complete  string
}

func (s *jobState) apply(b *Board, t Transition, refs []panelRef, frame int64) bool {
	if podKey(t.Object) != podKey(s.run) {
		if s.run.Name != "" && (t.Field == FieldExists && t.New == "" || runNumber(t.Object.Name) < runNumber(s.run.Name)) {
			return true
		}
		*s = jobState{run: t.Object}
		s.show(b, refs, frame)
	}
	was := s.complete
	switch t.Field {
	case FieldExists:
		return t.New != ""
	case FieldActive:
		s.active = whole(t.New)
	case FieldSucceeded:
		s.succeeded = whole(t.New)
	case FieldComplete:
		s.complete = t.New
	default:
		return true
	}
	s.show(b, refs, frame)
	if s.complete != was && !t.Quiet {
		switch s.complete {
		case "true":
			b.pulse(refs, "complete", 0, frame)
		case "failed":
			b.pulse(refs, "failed", 0, frame)
		}
	}
	return true
}

// runNumber is the number at the end of a name, 0 where there is none.
func runNumber(name string) int {
	n, _ := strconv.Atoi(name[len(strings.TrimRight(name, "0123456789")):])
	return n
}

func (s *jobState) show(b *Board, refs []panelRef, frame int64) {
	b.show(refs, "active", 0, gateVolts(s.active > 0 && s.complete == ""), frame)
	for i := range refs {
		want := 1.0
		if m := b.patch.Module(refs[i].id); m != nil {
			want = max(m.Value("completions"), 1)
		}
		v := 10 * min(float64(s.succeeded)/want, 1)
		if s.complete == "true" {
			v = 10
		}
		b.show(refs[i:i+1], "progress", 0, float32(v), frame)
	}
}
