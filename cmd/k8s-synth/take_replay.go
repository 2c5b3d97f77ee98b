package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/rule"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// sourceTake is the source of what a take does.
const sourceTake = "take"

// replay plays a take on the live instrument: rack, rules, surfaces, MIDI and
// sound hear what came in as if it came in now. There is no cluster, and nobody
// who could be asked for anything; hands may play along. It belongs to the
// control goroutine, which reads the file through a goroutine of its own.
type replay struct {
	path    string
	loop    bool
	own     bool // the scenes are the take's
	head    scenes.TakeHead
	lines   chan replayLine
	next    *replayLine
	over    bool // the file was read to its end
	began   bool
	shift   int64         // from the take's frames to ours
	delay   time.Duration // from its times to ours
	last    int64         // frame of the last line
	end     int64         // frame at which it ends, 0 if that is not known
	stretch float64
	objects []mapping.Object // that are there
	ports   []string         // that played
	laps    int
	// held are the volts that the take has put on input jacks, and not taken away;
	// settled is a frame by which all that it has done before a seek has happened.
	held    map[mapping.Address]float64
	settled int64

	total       int64 // frames of the take, 0 if it does not say
	from, until int64 // frames of the take between which it is played; until 0 is its end
	deaf        bool  // inputs are at 0 V
	exact       bool  // what is heard is the take as it sounded
	channels    int   // of what inputs captured, behind base of the rig's
	base        int
	outs        []int // of an exact one: where its channels are heard
	tap         *feedTap
	first       *replayStart      // is the first to be played
	starts      chan *replayStart // a place that was sought, when it is ready
	seeking     chan struct{}     // of the place that is awaited, closed where another one is sought; nil for none
	panicked    bool              // by a hand; what the take does goes on unheard until a hand ends that
	panics      int               // of hands
	late        uint64            // of the tap, when it was told last
}

type replayLine struct {
	scenes.TakeLine
	scene *scenes.Scene
	rules *rule.Set
	names []string // of the scenes that there are, where scene is set
	err   error
}

// replayStart is a place from which a take is played. All that files know of it
// is read before the control goroutine gets it, which has no time for that.
type replayStart struct {
	frame  int64         // of the take
	closed chan struct{} // of the seek that it is for; nil for the first
	hand   bool          // sought it, and not a lap
	panics int           // there were, by hands, when it was sought
	scene  *scenes.Scene // with which the take begins, where the scenes are the take's
	rules  *rule.Set
	names  []string // of the scenes that there are
	state  *replayState
	lines  chan replayLine
	in     *earPour   // what inputs captured, where that is heard
	sound  *exactPour // where it is heard as it sounded
	err    error
}

// openReplay begins to read the take that is to be played, and makes its scene
// that of the player, unless another was named.
func (p *player) openReplay() error {
	if p.o.replay == "" {
		return nil
	}
	t, err := scenes.OpenTake(p.o.replay)
	if err != nil {
		return err
	}
	defer t.Close()
	r := &replay{path: p.o.replay, loop: p.o.loop, head: t.Head, own: p.scene == nil, stretch: float64(p.o.device.Rate) / float64(t.Head.Rate), exact: p.o.exact, deaf: !p.o.takeInputs,
		starts: make(chan *replayStart, 1)}
	r.from, r.until = r.frame(p.o.from.Duration), r.frame(p.o.to.Duration)
	if n, ok := scenes.TakeFrames(r.path); ok {
		r.total = n
	}
	if n := r.total; n > 0 && r.from >= n {
		return fmt.Errorf("replay: --from %s is behind the end of the take, which is %s long", p.o.from.Duration, clock(float64(n)/float64(t.Head.Rate)))
	}
	if p.scene == nil {
		if p.scene, err = sceneOfTake(t); err != nil {
			return fmt.Errorf("replay: %w with --scene", err)
		}
	}
	switch {
	case r.exact && (r.stretch != 1 || !r.own):
		return fmt.Errorf("replay: --exact sounds as the take did, at its %d Hz and on its scene; leave out --scene and other rates", t.Head.Rate)
	case !r.deaf:
		in, err := t.Inputs()
		if err != nil {
			return fmt.Errorf("replay: %w, or --take-inputs=false plays it without", err)
		}
		if in != nil && r.stretch == 1 {
			r.channels = in.Channels()
		}
		if in != nil {
			in.Close()
		}
	}
	if other := otherMachine(t.Head.Machine); r.exact && other != "" {
		p.log.Warn("replay: " + other)
	}
	if r.channels == 0 && t.Head.Sockets != nil && len(t.Head.Sockets.Inputs) > 0 {
		p.log.Warn("replay: what the inputs captured is not heard; they are at 0 V, or what the rig has there")
	}
	if r.first = r.prepare(r.from, nil); r.first.err != nil {
		return fmt.Errorf("replay: %w", r.first.err)
	}
	p.replay = r
	return nil
}

// frame is a time in the take as its frame.
func (r *replay) frame(d time.Duration) int64 {
	return int64(math.Round(d.Seconds() * float64(r.head.Rate)))
}

// prepare reads the take up to a frame, so that it can be played from there.
// Closed ends that.
func (r *replay) prepare(frame int64, closed chan struct{}) *replayStart {
	s := &replayStart{frame: frame, closed: closed, names: sceneNames()}
	t, err := scenes.OpenTake(r.path)
	if err != nil {
		s.err = err
		return s
	}
	if r.own && r.head.Scene != "" {
		s.scene, s.rules, s.err = compileTakeScene(t, r.head.Scene)
	}
	if s.err == nil && r.channels > 0 {
		s.in, s.err = openEars(r.path, r.channels)
	}
	if s.err == nil && r.exact {
		// What came in is known early, what it sounds like is not.
		s.sound, s.err = openExact(r.path, frame, r.until, r.deaf, closed)
	}
	var first *scenes.TakeLine
	if frame > 0 {
		s.state = &replayState{}
		for s.err == nil {
			if calledOff(closed) {
				s.err = errCalledOff
				break
			}
			l, err := t.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if s.err = err; err != nil {
				break
			}
			// What was told before and is heard later is still to come.
			if l.Present >= frame || l.Frame >= frame || l.Frames > 0 {
				first = &l
				if l.Present >= frame || l.Frames > 0 {
					break
				}
				s.state.later = append(s.state.later, l)
				first = nil
				continue
			}
			s.state.see(l)
		}
		if s.err == nil && s.state.scene != "" && r.own {
			s.state.played, s.state.rules, s.err = compileTakeScene(t, s.state.scene)
		}
	}
	if s.err != nil {
		t.Close()
		s.drop()
		return s
	}
	s.lines = make(chan replayLine, 256)
	go landed(func() { r.read(t, s, first) })
	return s
}

var errCalledOff = errors.New("another place was sought")

// calledOff tells whether a seek is awaited no more.
func calledOff(closed chan struct{}) bool {
	select {
	case <-closed:
		return true
	default:
		return false
	}
}

func compileTakeScene(t *scenes.TakeReader, text string) (s *scenes.Scene, set *rule.Set, err error) {
	if s, err = t.Scene(text); err == nil && len(s.Rules) > 0 {
		set, err = s.CompileRules()
	}
	return s, set, err
}

// read reads the lines ahead, a few hundred of them.
func (r *replay) read(t *scenes.TakeReader, s *replayStart, first *scenes.TakeLine) {
	defer t.Close()
	defer close(s.lines)
	var waiting []scenes.TakeLine
	if s.state != nil {
		waiting = s.state.later
	}
	if first != nil {
		waiting = append(waiting, *first)
	}
	for {
		var l scenes.TakeLine
		var err error
		if len(waiting) > 0 {
			l, waiting = waiting[0], waiting[1:]
		} else if l, err = t.Next(); errors.Is(err, io.EOF) {
			return
		}
		line := replayLine{TakeLine: l, err: err}
		if l.Plan != nil || l.Applied != nil {
			continue // they follow
		}
		if r.until > 0 && err == nil && (l.Present >= r.until || l.Frames >= r.until) {
			s.lines <- replayLine{TakeLine: scenes.TakeLine{Frames: r.until}}
			return
		}
		if l.Scene != "" && r.own {
			// Compiling takes its time, and the control goroutine has none.
			line.scene, line.rules, line.err = compileTakeScene(t, l.Scene)
			line.names = sceneNames()
		}
		s.lines <- line
		if line.err != nil {
			return
		}
	}
}

// replayState is how things stood at a place in a take: what is needed to bring
// a rack there, as if it had come to know the cluster then.
type replayState struct {
	scene  string // the last that came, empty for the first
	played *scenes.Scene
	rules  *rule.Set
	// steps are edits and knobs since then, in order; of each knob the last turn.
	steps    []scenes.TakeLine
	turned   map[mapping.Address]int
	objects  map[string]*replayObject
	order    []string
	later    []scenes.TakeLine // were told before, and are heard after
	silenced bool              // by a panic
	// controls are where the controls of MIDI ports stand.
	controls map[[3]string]scenes.TakeLine
	keys     [][3]string
}

type replayObject struct {
	fields []string
	values map[string]mapping.Transition
}

// see takes over a line.
func (s *replayState) see(l scenes.TakeLine) {
	switch in := &l.Input; {
	case l.Scene != "":
		s.scene, s.steps, s.turned, s.silenced = l.Scene, nil, nil, false
	case in.Show:
		s.silenced = false
	case in.Transition != nil:
		t := *in.Transition
		key := t.Object.Kind + "/" + t.Object.Namespace + "/" + t.Object.Name + "/" + t.Object.UID
		if s.objects == nil {
			s.objects = map[string]*replayObject{}
		}
		o := s.objects[key]
		if t.Field == mapping.FieldExists && t.New == "" {
			delete(s.objects, key)
			return
		}
		if o == nil {
			o = &replayObject{values: map[string]mapping.Transition{}}
			s.objects[key] = o
			s.order = append(s.order, key)
			// One that comes and goes leaves no more than its name.
			if len(s.order) > 2*len(s.objects)+1024 {
				s.thin()
			}
		}
		if _, ok := o.values[t.Field]; !ok {
			o.fields = append(o.fields, t.Field)
		}
		t.Quiet = true
		o.values[t.Field] = t
	case in.Set != nil:
		if s.turned == nil {
			s.turned = map[mapping.Address]int{}
		}
		if i, ok := s.turned[in.Set.Address]; ok {
			s.steps[i] = scenes.TakeLine{}
		}
		s.turned[in.Set.Address] = len(s.steps)
		s.steps = append(s.steps, l)
		if len(s.steps) > 2*len(s.turned)+4096 {
			s.pack()
		}
	case in.Wiring != nil, in.Edit != nil, in.Mode != nil, in.Sensed != nil, in.Transport != nil:
		s.steps = append(s.steps, l)
	case in.Port != nil && !in.Port.Came:
		for i := 0; i < len(s.keys); {
			if s.keys[i][0] == in.Port.Name {
				delete(s.controls, s.keys[i])
				s.keys = slices.Delete(s.keys, i, i+1)
			} else {
				i++
			}
		}
	case in.MIDI != nil:
		s.control(l)
	case in.Panic:
		s.silenced = true
		// What was put on jacks has gone with it.
		for a, i := range s.turned {
			if isJack(a) {
				s.steps[i] = scenes.TakeLine{}
				delete(s.turned, a)
			}
		}
	}
}

// isJack tells whether an address is a jack, and no knob or word.
func isJack(a mapping.Address) bool {
	id, name, err := a.Split()
	return err == nil && instrument.Spec(id.Kind()) != nil && instrument.Spec(id.Kind()).Param(name) < 0
}

// control takes over where a control of a MIDI port stands. Notes are over.
func (s *replayState) control(l scenes.TakeLine) {
	m := l.MIDI.Message
	if !m.IsChannel() || m.IsNoteOn() || m.IsNoteOff() {
		return
	}
	number := ""
	if status := m.Data[0] & 0xf0; status == midi.ControlChange || status == midi.PolyPressure {
		number = string(m.Data[1:2])
	}
	key := [3]string{l.MIDI.Port, string(m.Data[:1]), number}
	if s.controls == nil {
		s.controls = map[[3]string]scenes.TakeLine{}
	}
	// In the order in which they were moved last: a bank comes before its program.
	if _, ok := s.controls[key]; ok {
		s.keys = slices.DeleteFunc(s.keys, func(k [3]string) bool { return k == key })
	}
	s.controls[key] = l
	s.keys = append(s.keys, key)
}

// thin forgets the names of objects that have gone.
func (s *replayState) thin() {
	seen := map[string]bool{}
	s.order = slices.DeleteFunc(s.order, func(key string) bool {
		gone := s.objects[key] == nil || seen[key]
		seen[key] = true
		return gone
	})
}

// pack forgets the turns that others followed.
func (s *replayState) pack() {
	kept := s.steps[:0]
	for _, l := range s.steps {
		if l.Set == nil && l.Wiring == nil && l.Edit == nil && l.Mode == nil && l.Sensed == nil && l.Transport == nil {
			continue
		}
		if l.Set != nil {
			s.turned[l.Set.Address] = len(kept)
		}
		kept = append(kept, l)
	}
	s.steps = kept
}

// at is a frame of the take, on our clock.
func (r *replay) at(frame int64) int64 {
	if r.stretch != 1 {
		frame = int64(math.Round(float64(frame) * r.stretch))
	}
	return frame + r.shift
}

// replayUntil plays what the take has up to a frame, the present. It returns
// whether the take is over.
func (p *player) replayUntil(present int64) bool {
	r := p.replay
	if r == nil {
		return false
	}
	if r.panicked && !p.rack.Silenced() {
		r.speak() // a hand has played another scene
	}
	if !r.began {
		r.began = true
		p.replayFrom(r.first, present)
		if s := r.first.state; s != nil && s.silenced {
			p.takenPanic()
		}
		p.log.Info("replay", "take", r.path, "recorded", r.head.Time.Format(time.RFC3339), "from", r.head.From)
	}
	for waits := true; waits; {
		select {
		case s := <-r.starts:
			p.sought(s, present)
		default:
			waits = false
		}
	}
	r.tellLate(p)
	for {
		if r.next == nil && !r.over {
			select {
			case l, more := <-r.lines:
				if !more {
					r.over = true
					break
				}
				r.next = &l
			default:
				return false // the disk is slow
			}
		}
		if r.next == nil || r.at(r.next.Present) > present {
			break
		}
		p.replayLine(r.next)
		r.last = max(r.last, r.at(r.next.Present), r.at(r.next.Frame))
		r.next = nil
	}
	if !r.over {
		return false
	}
	end := r.end
	if end == 0 {
		end = r.last + int64(takeTail*p.o.device.Rate)
	}
	if present < end || r.seeking != nil {
		return false
	}
	if !r.loop {
		p.log.Info("replay: the take is over")
		return true
	}
	p.seek(r.from, "") // a lap
	return false
}

// replayFrom begins to play a take from a place that was made ready, at a frame,
// the present.
func (p *player) replayFrom(s *replayStart, present int64) {
	r := p.replay
	r.lines, r.next, r.over, r.last, r.end = s.lines, nil, false, 0, 0
	from := int64(0)
	r.shift = 0
	switch {
	case s.frame > 0:
		// What was heard then is heard at the present.
		from = max(present, 1)
		r.shift = from - r.at(s.frame)
	case r.laps > 0 || present > r.at(r.head.Lead):
		r.shift = present - r.at(r.head.Lead)
		from = max(r.shift, 0)
	}
	r.delay = time.Since(r.head.Time) - time.Duration(float64(s.frame)/float64(r.head.Rate)*float64(time.Second))
	r.follow(from, s)
	if s.state == nil {
		return
	}
	fail := func(err error) {
		if err != nil {
			p.problem(mapping.Problem{Where: "replay", Text: err.Error()})
		}
	}
	if s.state.played != nil {
		p.binds.scene(s.state.played.Name, s.names)
		fail(p.staySilent(p.playScene(s.state.played, s.state.rules), 0))
	}
	for i := range s.state.steps {
		l := replayLine{TakeLine: s.state.steps[i]}
		l.Frame = 0
		switch in := &l.Input; {
		case in.Set != nil && r.panicked && isJack(in.Set.Address):
			// A panic takes what hands put on jacks away.
		case in.Set != nil:
			// Not before what was done at the place before.
			fail(p.setTaken(in.Set, r.settled))
		case in.Wiring != nil, in.Edit != nil, in.Mode != nil, in.Sensed != nil, in.Transport != nil:
			p.replayLine(&l)
		default: // another followed it
		}
	}
	seen := map[string]bool{}
	for i := len(s.state.order) - 1; i >= 0; i-- { // one that came again came later
		if key := s.state.order[i]; s.state.objects[key] == nil || seen[key] {
			s.state.order[i] = ""
		} else {
			seen[key] = true
		}
	}
	for _, key := range s.state.order {
		if o := s.state.objects[key]; o != nil {
			for _, field := range o.fields {
				t := o.values[field]
				t.Old = ""
				r.keep(&t)
				r.toNow(&t)
				p.happens(t, from)
			}
		}
	}
	for _, key := range s.state.keys {
		l := replayLine{TakeLine: s.state.controls[key]}
		l.Frame = 0
		p.replayLine(&l)
	}
}

// seek plays the take from another place as soon as that is ready; until then it
// goes on. By is the hand that asks for it, empty for a lap. A place that was
// sought before and is not ready is not gone to.
func (p *player) seek(frame int64, by string) {
	r := p.replay
	if r.seeking != nil {
		close(r.seeking)
	}
	closed := make(chan struct{})
	r.seeking = closed
	panics := r.panics
	if by != "" {
		p.log.Info("replay: to another place", "at", clock(float64(frame)/float64(r.head.Rate)), "by", by)
	}
	go landed(func() {
		s := r.prepare(frame, closed)
		s.hand, s.panics = by != "", panics
		if calledOff(closed) { // where both are ready a select takes either
			s.drop()
			return
		}
		select {
		case <-closed:
			s.drop()
		case r.starts <- s:
		case <-p.ended:
			s.drop()
		}
	})
}

// drop ends what was made ready in vain.
func (s *replayStart) drop() {
	if s.in != nil {
		s.in.close()
		s.in = nil
	}
	if s.sound != nil {
		s.sound.close()
		s.sound = nil
	}
	if s.lines != nil {
		go func() {
			for range s.lines {
			}
		}()
	}
}

// sought goes to a place that is ready, unless it is another one that is awaited.
func (p *player) sought(s *replayStart, present int64) {
	r := p.replay
	if s.closed != r.seeking {
		s.drop()
		return
	}
	r.seeking = nil
	if s.err != nil {
		p.problem(mapping.Problem{Where: "replay", Text: s.err.Error()})
		return
	}
	if s.hand && s.panics == r.panics {
		r.panicked = false // who seeks wants to hear it, unless they thought better of it since
	}
	old := replayStart{lines: r.lines}
	if r.over {
		old.lines = nil
	}
	old.drop()
	if !r.over || s.frame != r.from {
		// Nothing that sounds belongs to the other place.
		p.glide(0)
		p.takenPanic()
		p.midi.panic()
	}
	if err := p.rewind(s, present); err != nil {
		p.problem(mapping.Problem{Where: "replay", Text: err.Error()})
	}
	p.replayFrom(s, present)
	// What the seek silenced comes back, what the take or a hand had silenced does not.
	switch silenced := r.panicked || s.state != nil && s.state.silenced; {
	case silenced && !p.rack.Silenced():
		p.takenPanic()
	case !silenced && p.rack.Silenced():
		p.rack.Show()
	}
}

// actSeek is the action that plays a take from another place, seek:TIME.
const actSeek = "seek"

// seekTo does that.
func (p *player) seekTo(what, by string) error {
	r := p.replay
	if r == nil {
		return errors.New("no take is played; \"play --replay FILE\" plays one")
	}
	at, err := parseTakeTime(what)
	if err != nil {
		return err
	}
	frame := r.frame(at)
	end := r.total
	if r.until > 0 {
		end = r.until
	}
	if end > 0 && frame >= end {
		return fmt.Errorf("%s is behind the end of the take, which is %s long", what, clock(float64(end)/float64(r.head.Rate)))
	}
	p.seek(frame, by)
	return nil
}

// tellLate tells of what the audio thread did not get in time.
func (r *replay) tellLate(p *player) {
	if r.tap == nil {
		return
	}
	if late := r.tap.late.Load(); late > r.late+uint64(r.head.Rate/10) {
		p.problem(mapping.Problem{Where: "replay", Text: fmt.Sprintf("%d frames of what the take holds came too late to be heard", late-r.late)})
		r.late = late
	}
}

// replayLine does what a line says.
func (p *player) replayLine(l *replayLine) {
	r := p.replay
	frame := l.Frame
	if frame > 0 {
		frame = max(r.at(frame), 1)
	}
	err := l.err
	switch in := &l.Input; {
	case err != nil:
	case l.Frames > 0:
		r.end = r.at(l.Frames)
	case l.scene != nil:
		p.binds.scene(l.scene.Name, l.names)
		err = p.staySilent(p.playSceneAs(l.scene, l.rules, instrument.Change{At: frame, Launch: l.Launch, Crossfade: l.Crossfade}), frame)
	case l.Transition != nil:
		t := *l.Transition
		r.keep(&t)
		r.toNow(&t)
		p.happens(t, frame)
	case l.Set != nil:
		err = p.setTaken(l.Set, frame)
	case l.Panic:
		p.takenPanic()
		p.midi.panic()
	case l.Show:
		if !r.panicked {
			p.rack.Show()
		}
	case l.MIDI != nil:
		if !slices.Contains(r.ports, l.MIDI.Port) {
			r.ports = append(r.ports, l.MIDI.Port)
		}
		p.rack.MIDI(l.MIDI.Port, l.MIDI.Message, frame)
	case l.Wiring != nil:
		in.Source, in.Frame = sourceTake, 0
		err = p.rack.Do(*in, 0)
	case l.Sensed != nil && p.sensor != nil, l.Port != nil && l.Port.Came, l.Fade != nil, l.Sockets != nil, l.Kill != nil, l.Scene != "", l.Action != nil, l.Lost > 0:
		// What is ours is ours.
	default:
		in.Frame = frame
		err = p.rack.Do(*in, 0)
	}
	if err != nil {
		p.problem(mapping.Problem{Where: "replay", Text: fmt.Sprintf("%s: %v", l.At.Round(time.Millisecond), err)})
	}
}

// takenPanic is a panic that the replay makes itself. What was rendered before it
// is heard, as when the take was recorded: only a hand cannot wait for that.
func (p *player) takenPanic() {
	silence := p.rack.Silence
	p.rack.Silence = nil
	p.rack.Panic()
	p.rack.Silence = silence
}

// setTaken turns what a hand turned when the take was recorded.
func (p *player) setTaken(in *mapping.SetInput, frame int64) error {
	r := p.replay
	if err := p.rack.Set(in.Address, in.Value, in.Word, sourceTake, frame); err != nil {
		return err
	}
	if m, err := p.rack.Member(in.Address); err == nil && m.Kind == mapping.MemberInput {
		if r.held == nil {
			r.held = map[mapping.Address]float64{}
		}
		if r.held[in.Address] = in.Value; in.Value == float64(m.Jack.Normal) {
			delete(r.held, in.Address)
		}
	}
	return nil
}

// letGo takes away at a frame what the take holds on jacks, but for those on which
// a hand has put something else since. What is under a cable is held on.
func (p *player) letGo(frame int64) {
	r := p.replay
	for _, a := range slices.Sorted(maps.Keys(r.held)) {
		m, err := p.rack.Member(a)
		if err != nil {
			delete(r.held, a) // it is gone
			continue
		}
		id, jack, _ := a.Split()
		if slices.ContainsFunc(p.rack.Patch().Cables, func(c instrument.Cable) bool { return c.To.Module == id && c.To.Jack == jack }) {
			continue
		}
		if v, _, err := p.rack.Value(a); err == nil && v == r.held[a] {
			if err := p.rack.Set(a, float64(m.Jack.Normal), "", sourceTake, frame); err != nil {
				p.problem(mapping.Problem{Where: "replay", Text: err.Error()})
			}
		}
		delete(r.held, a)
	}
}

// staySilent lets a scene of the take that has come, or comes at a frame, not end
// what a hand silenced. It returns err, which is why it did not come.
func (p *player) staySilent(err error, at int64) error {
	if err == nil && p.replay.panicked {
		p.takenPanic()
		if at > p.rack.Meters().Frame {
			p.stage.panicked = at // it comes with all that it plays
		}
	}
	return err
}

// keep remembers which objects are there.
func (r *replay) keep(t *mapping.Transition) {
	i := slices.Index(r.objects, t.Object)
	switch {
	case t.Field == mapping.FieldExists && t.New == "":
		if i >= 0 {
			r.objects = slices.Delete(r.objects, i, i+1)
		}
	case i < 0:
		r.objects = append(r.objects, t.Object)
	}
}

// toNow moves the times of a transition to when it is played.
func (r *replay) toNow(t *mapping.Transition) {
	moved := func(s string) string {
		if at, err := time.Parse(time.RFC3339, s); err == nil {
			return at.Add(r.delay).Format(time.RFC3339)
		}
		return s
	}
	t.Time = t.Time.Add(r.delay)
	if t.Field == mapping.FieldTick || t.Field == mapping.FieldNext {
		t.Old, t.New = moved(t.Old), moved(t.New)
	}
}

// rewind makes the rack one that knows no cluster, with the scene with which a
// place begins: all that was there is gone, the keys are up, and nothing is held.
func (p *player) rewind(s *replayStart, present int64) error {
	r := p.replay
	now := p.present(time.Now())
	r.settled = max(present, now, r.last)
	p.letGo(r.settled)
	for _, port := range r.ports {
		p.rack.PortGone(port, 0)
	}
	gone := func(o mapping.Object, field, value string) {
		p.happens(mapping.Transition{Time: time.Now(), Object: o, Field: field, New: value, Quiet: true}, now)
	}
	for _, o := range slices.Clone(r.objects) {
		switch o.Kind {
		case mapping.KindAPIServer:
			gone(o, mapping.FieldReachable, "false")
			gone(o, mapping.FieldSynced, "false")
		case mapping.KindCluster:
			gone(o, mapping.FieldBoot, "")
		case mapping.KindEtcd:
		default:
			gone(o, mapping.FieldExists, "")
		}
	}
	r.objects, r.ports = nil, nil
	r.laps++
	if s.scene == nil {
		return nil
	}
	err := p.staySilent(p.playScene(s.scene, s.rules), 0)
	p.binds.scene(p.scene.Name, s.names)
	p.letGo(r.settled) // where it has taken a cable away
	return err
}

// happens plays a transition at a frame.
func (p *player) happens(t mapping.Transition, frame int64) {
	p.counted.transition(t)
	p.rack.Apply(t, frame)
	p.rules.apply(t, frame)
	p.web.happened(t)
	if t.Object.Kind == mapping.KindPod && t.Field == mapping.FieldExists && t.New == "" {
		p.kube.forget(t.Object)
	}
}

// embedded tells whether the control plane is our own, or was the take's.
func (p *player) embedded() bool {
	return p.clusterDir != "" || p.replay != nil && p.replay.head.Embedded
}

// listensOnly tells whether nothing is written to the cluster, or was when the
// take was recorded.
func (p *player) listensOnly() bool {
	return p.o.listenOnly || p.replay != nil && p.replay.head.ListenOnly
}

// checkReplay finds flags that do not go with a replay.
func (o *playOptions) checkReplay() error {
	switch {
	case o.take == "" && o.force:
		return errors.New("--force replaces the take that --take names; name it")
	case o.replay == "" && o.loop:
		return errors.New("--loop is for a take; name it with --replay")
	case o.replay == "" && (o.from.Duration > 0 || o.to.Duration > 0 || o.exact):
		return errors.New("--from, --to and --exact are for a take; name it with --replay")
	case o.replay == "":
		return nil
	case o.to.Duration > 0 && o.to.Duration <= o.from.Duration:
		return fmt.Errorf("--to %s is not behind --from %s", o.to.Duration, o.from.Duration)
	case o.context != "" || o.kubeconfig != "" || o.listenOnly || len(o.also) > 0:
		return errors.New("--replay plays without a cluster; leave out --context, --kubeconfig, --listen-only and --also")
	case o.fresh || o.ephemeral:
		return errors.New("--replay keeps nothing and brings no cluster; leave out --fresh and --ephemeral")
	case o.exact && o.take != "":
		return errors.New("--exact sounds as the take did, which another take cannot hold; leave out --take, or copy the file")
	case o.take != "" && (same(o.replay, o.take) || same(scenes.InputsPath(o.replay), scenes.InputsPath(o.take))):
		return errors.New("--take would write over the take that --replay reads")
	case o.record != "" && same(o.replay, o.record):
		return errors.New("--record would write over the take that --replay reads")
	}
	return nil
}
