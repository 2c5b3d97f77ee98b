package calibration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// ErrNoPitch says that the input hears no oscillator.
var ErrNoPitch = errors.New("no pitch is heard")

// Ear calibrates an output by ear: it plays notes on the player's own oscillator and bends the
// table until they are in tune. Zero values are defaults.
type Ear struct {
	// Standard is what the oscillator takes.
	Standard Standard
	// From and To are the lowest and highest note, MIDI; both 0 is up to eight octaves of what the
	// oscillator sounds between 30 Hz and 8 kHz. Step is in semitones; 0 is 1.
	From, To, Step int
	// Repeats of each note in the first pass; 0 is 2.
	Repeats int
	// Aim is the residual at which the work is done, in cents; 0 is 0.2. Passes is the most passes
	// over all notes; 0 is 6.
	Aim    float64
	Passes int
	// Transpose is by how many semitones the oscillator is to sound above the notes it is played; nil
	// is the octave that it is nearest to.
	Transpose *int
	// Retune is asked for when the oscillator is more than half a semitone from an octave of what it
	// is to sound: it tells the player to turn the tune knob and returns true when that was done, or
	// false to go on with the pitch as it is. nil goes on.
	Retune func(ctx context.Context, t Tuning) (again bool, err error)
	// Progress is told of all that happens; nil is nobody.
	Progress func(Progress)
}

// Tuning tells how far an oscillator is from where it is expected.
type Tuning struct {
	Hertz     float64 // that is heard
	Note      int     // that is nearest to an octave of what is played
	Semitones float64 // that it sounds above that note
}

const (
	// apart is how far repeats of a note may lie from each other, in cents.
	apart = 2.0
	// looks is how often a note whose repeats differ is visited in all.
	looks = 5
	// between is after how many notes the reference note is heard again.
	between = 8
	// farOff is how far an oscillator may be from an octave of its note, in semitones, before the
	// player is asked to tune it.
	farOff = 0.5
	// goodEnough is below what a residual is not worth another pass, as a share of the one before.
	goodEnough = 0.9
)

// note is one row of the table while it is made.
type note struct {
	midi   int
	volts  float64 // wanted
	send   float64 // the table's figure
	left   string  // why it was left out
	error  float64 // cents, in the last pass, without drift
	before float64
}

// earRun is one run of an Ear.
type earRun struct {
	Ear
	bench     Bench
	ear       *ear
	low, high float64
	transpose int
	notes     []note
	ref       int // index of the reference note
	refSend   float64
	readings  []reading
	groups    int
	begun     float64 // seconds of the bench
	now       float64
	percent   float64
	done      float64
	total     float64
	stage     string
}

// Run measures. The document that it returns has no interface, jack, channel and date; those are the
// caller's. When ctx ends nothing is returned but its error.
func (e Ear) Run(ctx context.Context, b Bench) (*Document, error) {
	if e.Step == 0 {
		e.Step = 1
	}
	if e.Repeats == 0 {
		e.Repeats = 2
	}
	if e.Aim == 0 {
		e.Aim = 0.2
	}
	if e.Passes == 0 {
		e.Passes = 6
	}
	switch {
	case e.From < 0 || e.To > 127 || e.From > e.To || (e.From == e.To && e.From != 0):
		return nil, fmt.Errorf("notes from %d to %d: expected two MIDI notes from 0 to 127, the first below the second", e.From, e.To)
	case e.Step < 1 || e.Step > 24:
		return nil, fmt.Errorf("a step of %d semitones: expected 1 to 24", e.Step)
	case e.Repeats < 2 || e.Repeats > 20:
		return nil, fmt.Errorf("%d repeats: expected 2 to 20", e.Repeats)
	case !(e.Aim > 0):
		return nil, fmt.Errorf("an aim of %g cents: expected more than 0", e.Aim)
	case e.Passes < 2 || e.Passes > 20:
		return nil, fmt.Errorf("%d passes: expected 2 to 20", e.Passes)
	}
	if err := e.Standard.check(); err != nil {
		return nil, err
	}
	r := &earRun{Ear: e, bench: b, ear: newEar(b)}
	r.low, r.high = b.Limits()
	return r.run(ctx)
}

func (r *earRun) tell(p Progress) {
	if r.Progress == nil {
		return
	}
	p.Stage = r.stage
	if r.total > 0 {
		r.percent = max(r.percent, min(100, 100*r.done/r.total))
	}
	p.Percent = r.percent
	r.Progress(p)
}

func (r *earRun) run(ctx context.Context) (*Document, error) {
	r.stage = "finding the oscillator"
	l, err := r.find(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.choose(l); err != nil {
		return nil, err
	}
	// The first pass hears every note more than once; those after it once, and twice more where
	// something is odd. Three passes are what most oscillators take.
	r.total = float64(len(r.notes)) * float64(r.Repeats+2) * (1 + 1.0/between)
	var best []note
	bestWorst := math.Inf(1)
	var drift *wander
	passes, worse := 0, 0
	var bestAt float64 // the end of the best pass, which its errors count from
	for pass := 1; pass <= r.Passes; pass++ {
		visits := 1
		r.stage = fmt.Sprintf("pass %d: verifying", pass)
		if pass == 1 {
			visits = r.Repeats
			r.stage = "pass 1: hearing every note"
		}
		sets, err := r.pass(ctx, pass, visits)
		if err != nil {
			return nil, err
		}
		drift = wanderOf(r.readings)
		if sets, err = r.lookAgain(ctx, sets, drift); err != nil {
			return nil, err
		}
		drift = wanderOf(r.readings)
		r.judge(sets, drift)
		passes = pass
		if r.count() < 2 {
			return nil, r.hopeless()
		}
		_, worst := r.spread()
		if pass > 1 { // the first is of the line, and nobody's table
			if worst < bestWorst {
				if worst > goodEnough*bestWorst {
					worse++
				}
				best, bestWorst, bestAt = slices.Clone(r.notes), worst, r.now
			} else {
				worse++
			}
			if worst <= r.Aim || worse >= 2 {
				break
			}
		}
		if pass == r.Passes {
			break
		}
		r.bend(pass, drift)
	}
	// A note that was given up after the best pass is not in it either.
	for i, n := range r.notes {
		if n.left != "" {
			best[i].left = n.left
		}
	}
	r.notes = best
	for i := range r.notes {
		r.notes[i].error -= drift.at(bestAt)
	}
	middle, _ := r.spread()
	r.shift(middle)
	return r.document(drift, passes)
}

// find looks for the oscillator: the line that leads from wanted volts to what has to be sent.
func (r *earRun) find(ctx context.Context) (line, error) {
	for try := 0; ; try++ {
		l, t, err := r.span(ctx)
		if err != nil {
			return line{}, err
		}
		if math.Abs(t.Semitones) <= farOff || r.Retune == nil || try >= 20 {
			return l, nil
		}
		again, err := r.Retune(ctx, t)
		if err != nil {
			return line{}, err
		}
		if !again {
			return l, nil
		}
	}
}

// span hears a few voltages and finds out what a volt does.
func (r *earRun) span(ctx context.Context) (line, Tuning, error) {
	middle := 60.0
	if r.From != r.To {
		middle = float64(r.From+r.To) / 2
	}
	at := []float64{0}
	if r.Standard.Kind == HertzPerVolt {
		at = []float64{1, 2, 0.5, 4, 0.25, 8}
	} else {
		for v := 1.0; v <= 5; v++ {
			at = append(at, v, -v)
		}
	}
	base := r.Standard.VoltsOf(middle)
	if r.Standard.Kind == HertzPerVolt {
		base = min(max(base, r.high/4), r.high/2)
		for i := range at {
			at[i] *= base
		}
	} else {
		base = min(max(base, r.low), r.high)
		for i := range at {
			at[i] += base
		}
	}
	var points []Point // what is sent, and the note that is heard
	var loudest float64
	var why string
	hear := func(v float64) (sound, error) {
		if err := r.bench.Set(ctx, v); err != nil {
			return sound{}, err
		}
		s, err := r.ear.hear(ctx, 0, func(hertz float64, settled bool) {
			r.tell(Progress{Note: -1, Volts: v, Cents: nan, Hertz: hertz, Settled: settled})
		})
		loudest = max(loudest, s.level)
		return s, err
	}
	for _, v := range at {
		if v < r.low || v > r.high {
			continue
		}
		s, err := hear(v)
		if err != nil {
			return line{}, Tuning{}, err
		}
		if s.hertz >= lowestHertz && s.hertz <= highestHertz {
			points = append(points, Point{v, HertzNote(s.hertz)})
			break
		}
		why = s.why
	}
	if len(points) == 0 {
		return line{}, Tuning{}, fmt.Errorf("%w: %s at an RMS of %.3g V; expected an oscillator whose pitch input is on this output and whose sound is on the input, between %d Hz and %d Hz", ErrNoPitch, why, loudest, lowestHertz, highestHertz)
	}
	// A volt up and one down, if those are heard; of Hz/V an octave.
	first := points[0]
	for _, o := range []float64{1, -1, 2, -2, 0.5, -0.5} {
		v := first.Volts + o
		if r.Standard.Kind == HertzPerVolt {
			v = first.Volts * math.Exp2(o)
		}
		if v < r.low || v > r.high || len(points) >= 5 {
			continue
		}
		if about := first.Send + 12*o; NoteHertz(about) < lowestHertz*1.1 || NoteHertz(about) > highestHertz/1.1 {
			continue
		}
		s, err := hear(v)
		if err != nil {
			return line{}, Tuning{}, err
		}
		if s.hertz > 0 {
			points = append(points, Point{v, HertzNote(s.hertz)})
		}
	}
	if len(points) < 2 {
		return line{}, Tuning{}, fmt.Errorf("%w but at %.4g V, where it is %.5g Hz; expected an oscillator that is heard a volt above and below", ErrNoPitch, first.Volts, NoteHertz(first.Send))
	}
	var notes, sent []float64
	for _, p := range points {
		notes, sent = append(notes, p.Send), append(sent, p.Volts)
	}
	if d := slices.Max(notes) - slices.Min(notes); d < 0.5 {
		return line{}, Tuning{}, fmt.Errorf("the pitch stays at %.5g Hz from %.3g V to %.3g V; expected this output to be plugged into the oscillator's pitch input", NoteHertz(first.Send), slices.Min(sent), slices.Max(sent))
	}
	// Somebody plugging in the cable, or half a period taken for a whole: what does not fit the
	// others is heard again.
	for range 3 {
		odd := r.odd(points)
		if odd < 0 {
			break
		}
		s, err := hear(points[odd].Volts)
		if err != nil {
			return line{}, Tuning{}, err
		}
		if s.hertz > 0 {
			points[odd].Send = HertzNote(s.hertz)
		}
	}
	if odd := r.odd(points); odd >= 0 {
		points = slices.Delete(points, odd, odd+1)
	}
	first = points[0]
	// The octave that it is nearest to, in the middle of what was heard; then the line.
	off := 0.0
	for _, p := range points {
		off += (p.Send - r.Standard.NoteOf(p.Volts)) / float64(len(points))
	}
	r.transpose = 12 * int(math.Round(off/12))
	if r.Transpose != nil {
		r.transpose = *r.Transpose
	}
	t := Tuning{Hertz: NoteHertz(first.Send), Semitones: off - float64(r.transpose)}
	t.Note = int(math.Round(r.Standard.NoteOf(first.Volts))) + r.transpose
	var straight []Point
	for _, p := range points {
		straight = append(straight, Point{r.Standard.VoltsOf(p.Send - float64(r.transpose)), p.Volts})
	}
	l := lineThrough(straight)
	if !(l.gain >= 0.3 && l.gain <= 3) {
		return line{}, Tuning{}, fmt.Errorf("the oscillator takes %.3g V for what is %.3g V by %v; expected 0.3 to 3 V: is the cable in its pitch input, any attenuator open, and the standard right?", l.gain, 1.0, r.Standard)
	}
	return l, t, nil
}

// odd is the index of the note that is farthest from what the others say, or -1 where all are
// within two semitones of it.
func (r *earRun) odd(points []Point) int {
	if len(points) < 3 {
		return -1
	}
	// By the medians (Theil and Sen), on a straight axis.
	x := func(p Point) float64 { return r.Standard.NoteOf(p.Volts) }
	var slopes, offsets []float64
	for i, p := range points {
		for _, q := range points[:i] {
			slopes = append(slopes, (p.Send-q.Send)/(x(p)-x(q)))
		}
	}
	slope := median(slopes)
	for _, p := range points {
		offsets = append(offsets, p.Send-slope*x(p))
	}
	offset := median(offsets)
	worst, at := 2.0, -1
	for i := range points {
		if d := math.Abs(offsets[i] - offset); d > worst {
			worst, at = d, i
		}
	}
	return at
}

// choose makes the list of notes, and names those that cannot be played.
func (r *earRun) choose(l line) error {
	from, to := r.From, r.To
	if from == to {
		// What is heard from 30 Hz up, eight octaves at most, to 8 kHz, as far as the jack reaches.
		const lowest, highest, most = 30.0, 8000.0, 96
		from, to = 0, 127
		playable := func(n int) bool {
			send, hertz := l.at(r.Standard.VoltsOf(float64(n))), NoteHertz(float64(n+r.transpose))
			return send >= r.low && send <= r.high && hertz >= lowest && hertz <= highest
		}
		for from < to && !playable(from) {
			from++
		}
		for to > from && !playable(to) {
			to--
		}
		to = min(to, from+most)
	}
	for n := from; n <= to; n += r.Step {
		v := r.Standard.VoltsOf(float64(n))
		k := note{midi: n, volts: v, send: l.at(v), before: nan}
		hertz := NoteHertz(float64(n + r.transpose))
		switch {
		case k.send < r.low || k.send > r.high:
			k.left = fmt.Sprintf("it takes about %.2f V, and the jack gives %g to %g V", k.send, r.low, r.high)
		case hertz < lowestHertz || hertz > highestHertz:
			k.left = fmt.Sprintf("it is %.5g Hz, and pitches are measured from %d to %d Hz", hertz, lowestHertz, highestHertz)
		}
		if k.left != "" {
			r.tell(Progress{Note: n, Volts: v, Cents: nan, Remark: NoteName(n) + " is left out: " + k.left})
		}
		r.notes = append(r.notes, k)
	}
	if n := r.count(); n < 2 {
		return r.hopeless()
	}
	r.reference()
	return nil
}

// reference takes the middle one of those that are left as the reference.
func (r *earRun) reference() {
	var in []int
	for i, n := range r.notes {
		if n.left == "" {
			in = append(in, i)
		}
	}
	r.ref = in[len(in)/2]
	r.refSend = r.notes[r.ref].send
}

func (r *earRun) count() (n int) {
	for _, k := range r.notes {
		if k.left == "" {
			n++
		}
	}
	return n
}

func (r *earRun) hopeless() error {
	err := fmt.Errorf("%d of %d notes can be measured; expected two at least", r.count(), len(r.notes))
	for _, n := range r.notes {
		if n.left != "" {
			return fmt.Errorf("%w; %s: %s", err, NoteName(n.midi), n.left)
		}
	}
	return err
}

// order is the sequence in which a pass hears its notes: every second one up and the others down,
// the other way round in every second repeat, so that a note is met from below and from above, and
// no pitch has a time of its own.
func order(n, turn int) []int {
	var up []int
	for i := turn % 2; i < n; i += 2 {
		up = append(up, i)
	}
	for i := n - 1; i >= 0; i-- {
		if i%2 != turn%2 {
			up = append(up, i)
		}
	}
	return up
}

// set is what was heard of one note in one pass.
type set struct {
	group  int
	visits []sound
	errors []float64 // cents, with drift; NaN where there was no pitch
}

// pass hears every note, and the reference in between.
func (r *earRun) pass(ctx context.Context, pass, visits int) ([]set, error) {
	sets := make([]set, len(r.notes))
	for i := range sets {
		r.groups++
		sets[i].group = r.groups
	}
	for v := range visits {
		since := between
		for _, i := range order(len(r.notes), pass+v) {
			if r.notes[i].left != "" {
				continue
			}
			if since++; since > between {
				since = 1
				if err := r.hearReference(ctx); err != nil {
					return nil, err
				}
			}
			if err := r.visit(ctx, i, &sets[i]); err != nil {
				return nil, err
			}
			r.done++
		}
	}
	return sets, r.hearReference(ctx)
}

// hearReference sends what the reference note always gets: what changes there is drift.
func (r *earRun) hearReference(ctx context.Context) error {
	if err := r.bench.Set(ctx, r.refSend); err != nil {
		return err
	}
	k := r.notes[r.ref]
	s, err := r.ear.hear(ctx, NoteHertz(float64(k.midi+r.transpose)), nil)
	if err != nil || s.hertz == 0 {
		return err
	}
	r.done++
	r.now = s.at
	r.readings = append(r.readings, reading{0, s.at, 100 * (HertzNote(s.hertz) - float64(k.midi+r.transpose))})
	return nil
}

func (r *earRun) visit(ctx context.Context, i int, s *set) error {
	k := r.notes[i]
	if err := r.bench.Set(ctx, k.send); err != nil {
		return err
	}
	want := float64(k.midi + r.transpose)
	h, err := r.ear.hear(ctx, NoteHertz(want), func(hertz float64, settled bool) {
		p := Progress{Note: k.midi, Volts: k.volts, Cents: nan, Hertz: hertz, Settled: settled}
		if hertz > 0 {
			p.Cents = 100 * (HertzNote(hertz) - want)
		}
		r.tell(p)
	})
	if err != nil {
		return err
	}
	off := nan
	if h.hertz > 0 {
		off = 100 * (HertzNote(h.hertz) - want)
		r.now = h.at
		r.readings = append(r.readings, reading{s.group, h.at, off})
	}
	s.visits, s.errors = append(s.visits, h), append(s.errors, off)
	return nil
}

// lookAgain visits notes that are odd: no pitch, repeats that differ, or in a pass of one visit an
// error that neither neighbour has.
func (r *earRun) lookAgain(ctx context.Context, sets []set, drift *wander) ([]set, error) {
	odd := func(i int) bool {
		s := &sets[i]
		if r.notes[i].left != "" || len(s.visits) >= looks {
			return false
		}
		c := r.corrected(s, drift)
		if len(c) < len(s.visits) {
			return len(s.visits) < looks-1 || len(c) > 0
		}
		if len(c) > 1 {
			_, ok := cluster(c, r.tolerance(drift))
			return !ok
		}
		// Once only: it is odd if it does not lie between its neighbours' errors, by more than noise.
		var beside []float64
		for _, d := range []int{-2, -1, 1, 2} {
			if j := i + d; j >= 0 && j < len(sets) && r.notes[j].left == "" {
				beside = append(beside, r.corrected(&sets[j], drift)...)
			}
		}
		return len(beside) > 0 && math.Abs(c[0]-median(beside)) > max(r.Aim, r.tolerance(drift))
	}
	for range looks {
		any := false
		for i := range sets {
			if odd(i) {
				any = true
				if err := r.visit(ctx, i, &sets[i]); err != nil {
					return nil, err
				}
			}
		}
		if !any {
			break
		}
	}
	if err := r.hearReference(ctx); err != nil {
		return nil, err
	}
	return sets, nil
}

// tolerance is how far good repeats lie apart at most, in cents.
func (r *earRun) tolerance(drift *wander) float64 { return min(apart, max(0.3, 6*drift.noise)) }

// corrected are a set's errors without drift, those without a pitch left out.
func (r *earRun) corrected(s *set, drift *wander) (c []float64) {
	for k, e := range s.errors {
		if !math.IsNaN(e) {
			c = append(c, e-drift.at(s.visits[k].at))
		}
	}
	return c
}

// cluster is the median of the most figures that lie within a distance of each other, and whether
// these are two thirds of all and no fewer than two.
func cluster(c []float64, within float64) (float64, bool) {
	s := slices.Clone(c)
	slices.Sort(s)
	from, most := 0, 0
	for i := range s {
		j := i
		for j < len(s) && s[j]-s[i] <= within {
			j++
		}
		if j-i > most {
			from, most = i, j-i
		}
	}
	return median(s[from : from+most]), most >= 2 && 3*most >= 2*len(s)
}

// judge sets each note's error, or leaves it out and says why.
func (r *earRun) judge(sets []set, drift *wander) {
	for i := range r.notes {
		k, s := &r.notes[i], &sets[i]
		if k.left != "" {
			continue
		}
		c := r.corrected(s, drift)
		switch {
		case 2*len(c) < len(s.visits) || len(c) == 0:
			k.left = "it has no pitch: " + s.visits[len(s.visits)-1].why
		case len(c) == 1 && len(s.visits) == 1:
			k.error = c[0]
		case len(c) == 1:
			k.left = "it is heard once in " + fmt.Sprint(len(s.visits)) + " times"
		default:
			middle, ok := cluster(c, apart)
			if !ok {
				k.left = fmt.Sprintf("its repeats differ by %.1f cents", slices.Max(c)-slices.Min(c))
				break
			}
			if m, fine := cluster(c, r.tolerance(drift)); fine {
				middle = m
			}
			unsettled := 0
			for _, v := range s.visits {
				if !v.settled {
					unsettled++
				}
			}
			if unsettled == len(s.visits) && slices.Max(c)-slices.Min(c) > r.tolerance(drift) {
				k.left = fmt.Sprintf("it does not settle within %g s, and its repeats differ by %.1f cents", longestVisit, slices.Max(c)-slices.Min(c))
				break
			}
			k.error = middle
		}
		if k.left != "" {
			r.tell(Progress{Note: k.midi, Volts: k.volts, Cents: nan, Remark: NoteName(k.midi) + " is left out: " + k.left})
		}
	}
	if r.notes[r.ref].left != "" && r.count() > 1 {
		r.reference() // the old readings stay in the group of the old one
		r.groups++
		for i := range r.readings {
			if r.readings[i].group == 0 {
				r.readings[i].group = r.groups
			}
		}
	}
}

// spread is the median error and the largest distance from it.
func (r *earRun) spread() (middle, worst float64) {
	var all []float64
	for _, k := range r.notes {
		if k.left == "" {
			all = append(all, k.error)
		}
	}
	// Half way between the ends, so that neither is worse than it has to be.
	middle = (slices.Max(all) + slices.Min(all)) / 2
	return middle, slices.Max(all) - middle
}

// bend moves what is sent by what was heard.
func (r *earRun) bend(pass int, drift *wander) {
	heard := func(k note) float64 { return r.Standard.VoltsOf(float64(k.midi) + k.error/100) }
	if pass == 1 {
		// The line was far off: the table is read backwards from what the notes turned out to be.
		var points []Point
		for _, k := range r.notes {
			if k.left == "" {
				points = append(points, Point{heard(k), k.send})
			}
		}
		if c, err := NewCurve(points); err == nil {
			for i, k := range r.notes {
				r.notes[i].send = c.At(k.volts)
			}
			r.clip()
			return
		}
	}
	for i, k := range r.notes {
		if k.left != "" {
			continue
		}
		// What is as small as a reading's noise is moved by a part: it may be nothing else.
		e := k.error
		if n := drift.noise; n > 0 {
			e *= e * e / (e*e + n*n)
		}
		r.notes[i].send -= r.Standard.VoltsOf(float64(k.midi)+e/100) - k.volts
	}
	r.clip()
}

// clip leaves out what has come to lie beyond the jack's limits.
func (r *earRun) clip() {
	for i := range r.notes {
		if k := &r.notes[i]; k.left == "" && (k.send < r.low || k.send > r.high) {
			k.left = fmt.Sprintf("it takes %.3f V, and the jack gives %g to %g V", k.send, r.low, r.high)
			r.tell(Progress{Note: k.midi, Volts: k.volts, Cents: nan, Remark: NoteName(k.midi) + " is left out: " + k.left})
		}
	}
}

// shift takes a common error out of all notes: what the oscillator drifted by since its table was
// made.
func (r *earRun) shift(cents float64) {
	for i := range r.notes {
		k := &r.notes[i]
		k.send -= r.Standard.VoltsOf(float64(k.midi)+cents/100) - k.volts
		k.error -= cents
	}
}

func (r *earRun) document(drift *wander, passes int) (*Document, error) {
	d := &Document{Direction: Output, Method: MethodEar, Reference: "the oscillator on this jack, by ear", Standard: r.Standard, Transpose: r.transpose}
	var points []Point
	var rows []Row
	for _, k := range r.notes {
		if k.left != "" {
			d.LeftOut = append(d.LeftOut, Left{k.midi, roundTo(k.volts, 1e-9), k.left})
			continue
		}
		points = append(points, Point{k.volts, k.send})
		rows = append(rows, Row{Note: k.midi, After: k.error})
	}
	if len(points) < 2 {
		return nil, r.hopeless()
	}
	c, err := NewCurve(points)
	if err != nil {
		return nil, fmt.Errorf("what was heard makes no calibration: %w", err)
	}
	var before, after []float64
	for i := range rows {
		// Without the table the wanted volts would have been sent as they are.
		rows[i].Before = r.Standard.Cents(points[i].Volts, c.Wanted(points[i].Volts)) + rows[i].After
		before, after = append(before, rows[i].Before), append(after, rows[i].After)
	}
	d.setCurve(points, rows)
	d.Before, d.After = residualOf(before), residualOf(after)
	d.Conditions = Conditions{Seconds: r.now - r.begun, Repeats: r.Repeats, Passes: passes, Settle: median(r.ear.settle),
		Drift: drift.perMinute(), Noise: drift.noise, Rate: r.bench.SampleRate()}
	slices.SortFunc(d.LeftOut, func(a, b Left) int { return cmp.Compare(a.Volts, b.Volts) })
	r.stage = "done"
	r.done = r.total
	r.tell(Progress{Note: -1, Cents: d.After.Worst})
	return d, nil
}

// Stamp fills in what a procedure does not know: where and when.
func (d *Document) Stamp(iface, jack string, channel int, fullScale float64, machine string, made time.Time) {
	d.Interface, d.Jack, d.Channel, d.FullScale, d.Machine, d.Made = iface, jack, channel, fullScale, machine, made.UTC().Truncate(time.Second)
}
