package mapping

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/instrument/rt"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// Errors that a surface tells apart.
var (
	// ErrNoAddress says that nothing has that address.
	ErrNoAddress = errors.New("no such address")
	// ErrReadOnly says that an address cannot be written to.
	ErrReadOnly = errors.New("read only")
	// ErrRange says that a value is not one that the address takes.
	ErrRange = errors.New("out of range")
)

// refusal is an error that says all of it, and is of a kind that surfaces tell
// apart.
type refusal struct {
	error
	kind error
}

func (r refusal) Unwrap() []error { return []error{r.error, r.kind} }

// refuse makes a refusal of a kind, in words as fmt.Errorf takes them.
func refuse(kind error, format string, a ...any) error {
	return refusal{fmt.Errorf(format, a...), kind}
}

// Config sets up a Rack.
type Config struct {
	SampleRate float64 // Hz
	Channels   int     // of the audio device
	Seed       uint64
	// Storm is how many events of one gesture a second are struck singly;
	// more become the density of the cloud.
	Storm float64
	// StormPolicy says what is struck of a storm.
	StormPolicy StormPolicy
	// Scale is what the pods' pitches are taken from, and, while the API
	// Server's timing stands at in_time, what the notes of rules keep to.
	Scale Scale
	// ListenOnly forbids every write to the cluster: the API Server's mode
	// stands at listen_only and cannot leave it.
	ListenOnly bool
	// Program compiles a Controller's program, if not nil: act in volts, of
	// desired, observed, error, integral, act, interval and time.
	Program func(source string) (Program, error)
	// Embedded tells that the control plane is our own, so that its boot is
	// shown stage by stage.
	Embedded bool
	// Namespace is where the topology's objects live.
	Namespace string
	Scene     string
	// Sockets is where the jacks of the rig are among the engine's channels.
	Sockets instrument.Sockets
	// Recorded, if set, is told of every Input, in order, and may keep it.
	Recorded func(Input)
}

// Rack is the control side of one Engine. All its methods belong to one
// goroutine.
type Rack struct {
	// Engine is rendered by the audio thread.
	Engine *instrument.Engine
	// Changed, if set, is told of every address whose value changed, and by
	// which source; an empty source is the instrument itself.
	Changed func(a Address, value float64, word string, source string)
	// Silence, if set, silences at a panic what the engine has rendered and nobody
	// has heard yet, until the engine has obeyed the panic of the number that it
	// returns, which is another one each time; see Engine.Panicked.
	Silence func() uint32
	// Acted, if set, is told of actions that jacks ask of the cluster.
	Acted func(Action)
	// Setting, if set, is told what is to be set on objects directly; at most
	// settingRate times a second of each object and name, the last one always.
	Setting func(Setting)
	// Failed, if set, is told of what the player's own programs cannot do, and of
	// cables that were sensed and cannot be plugged in.
	Failed func(Problem)
	// Rewired, if set, is told when the patch has other modules than before,
	// so that addresses came or went.
	Rewired func()
	// Wired, if set, is told of each edit of modules and cables that a hand made,
	// or SourceSense where cables were sensed; not of what Load, Adopt and the
	// undoing of an edit do.
	Wired func(w Wiring, source string)
	// SlotChanged, if set, is told of each slot of the bank whose pod, or what
	// is shown of it, changed.
	SlotChanged func(Slot)
	// Noted, if set, is told of each note of a rule that plays in the rack: its
	// channel from 0, and the frames of its beginning and, unless another note of
	// the channel ends it before, its end.
	Noted func(channel int, note, velocity float64, on, off int64)
	// MIDIOut, if set, is told what goes out by MIDI, to ports of a pattern (see
	// PortMatches), and when it is to be heard, 0 at once. Frames of one port
	// may be in the past; what is told later is sent later. Every note that
	// began ends: by its gate or its time, at a panic, a fade-out, another
	// channel or port, and when its module is taken out.
	MIDIOut func(port string, m midi.Message, frame int64)

	cfg       Config
	compiler  *instrument.Compiler
	board     *Board
	patch     *instrument.Patch
	members   []Member
	byAddress map[Address]int
	byHandle  map[uint32]instrument.ModuleID
	claimed   map[instrument.ModuleID]claim
	inputs    map[Address]float64
	putAt     map[Address][]int64 // the frames ahead at which gates of these rise
	volts     []float32           // of outputs, as last reported
	gates     map[Address]bool
	came      map[Address]float64 // what params with a CV came to
	samples   map[Address]float64 // what inputs read when a gate rose that needs it
	programs  map[instrument.ModuleID]*controllerProgram
	rules     [instrument.MaxPoly]ruleChannel
	ruleRefs  []panelRef
	settings  settings
	sense     sense
	songs     map[instrument.ModuleID]*song // of Clocks
	slots     slots
	midiPorts map[string]*midiPort
	midiIns   []*midiInput  // in the order of the patch
	midiOuts  []*midiOutput // likewise
	outward   outward
	mode      Mode
	backlog   []instrument.Event
	panics    uint8  // counts panics
	obeyed    uint8  // up to the newest that the engine has obeyed
	silence   uint32 // what Silence returned last, 0 before
	leftOut   uint64 // events that the backlog was thinned by
	meters    instrument.Meters
	// Topology is the last one that was asked for; dirty tells that something
	// happened since that may have changed it.
	topology Topology
	dirty    bool
	// Unclaimed holds Pod panels that lost their claim, by the plan that took
	// it: the gate that they still show was the claim's.
	unclaimed map[Address]uint64
	plan      uint64 // generation of the newest plan
	settled   bool   // the engine plays the newest plan
	due       int64  // frames up to this one are over, where that is known
	pumped    int64  // frame of the last Pump
	nextTick  int64  // frame of the board's next tick
	inside    int    // calls that may be inputs and are not over
}

// NewRack returns a Rack with an empty patch and a silent engine.
func NewRack(cfg Config) *Rack {
	r := &Rack{cfg: cfg, Engine: instrument.NewEngine(cfg.SampleRate, cfg.Channels),
		compiler: instrument.NewCompiler(cfg.SampleRate, cfg.Seed), patch: &instrument.Patch{},
		gates: map[Address]bool{}, unclaimed: map[Address]uint64{}, inputs: map[Address]float64{}, putAt: map[Address][]int64{}, came: map[Address]float64{},
		samples: map[Address]float64{}, programs: map[instrument.ModuleID]*controllerProgram{}, midiPorts: map[string]*midiPort{}, songs: map[instrument.ModuleID]*song{}}
	r.sense.owned, r.sense.overruled = map[instrument.Cable]bool{}, map[instrument.Cable]bool{}
	r.compiler.SetSockets(cfg.Sockets, r.patch)
	if cfg.Recorded != nil {
		r.Engine.Journal = rt.NewRing[instrument.Applied](journalSize)
	}
	if cfg.ListenOnly {
		r.mode = ListenOnly
	}
	r.board = newBoard(cfg, r.send)
	r.board.wanted = func(module string) bool {
		v, _ := r.effective(instrument.ModuleID(KindPod+"/"+module), "hold")
		return v != 0
	}
	r.board.shown = r.showRules
	r.settings.init(r)
	return r
}

// Load makes a patch the one that is played. If it is not valid it is
// refused, and the last one goes on. All its cables are drawn by hand; those
// that are sensed in the case come to them.
func (r *Rack) Load(p *instrument.Patch) error { return r.loadScene(p, instrument.Change{}) }

// Launch is Load at a frame, 0 at once, that is to come within a moment: knobs
// and cables change there. What was played fades within some seconds, 0 …
// instrument.MaxCrossfade, while the patch comes; see instrument.Change.
func (r *Rack) Launch(p *instrument.Patch, at int64, crossfade float64) error {
	return r.loadScene(p, instrument.Change{At: at, Launch: true, Crossfade: crossfade})
}

func (r *Rack) loadScene(p *instrument.Patch, change instrument.Change) error {
	silenced := r.board.dark
	r.board.dark = false
	if err := r.loadAs(p, change); err != nil {
		r.board.dark = silenced
		return err
	}
	clear(r.sense.owned)
	clear(r.sense.overruled)
	r.resense()
	return nil
}

// load is Load for a patch that has grown out of the one that is played.
func (r *Rack) load(p *instrument.Patch) error { return r.loadAs(p, instrument.Change{}) }

// endFades does without the crossfades that are over.
func (r *Rack) endFades() {
	ended := r.compiler.Ended()
	if len(ended) == 0 || r.meters.Settled < r.plan {
		return
	}
	change := instrument.Change{Settled: r.meters.Settled, Ended: ended}
	plan, err := r.compiler.CompileChange(r.patch, change)
	if err != nil {
		return // it was valid before
	}
	r.plan = plan.Generation
	r.recordPlan(plan, change)
	r.Engine.Adopt(plan)
}

func (r *Rack) recordPlan(plan *instrument.Plan, change instrument.Change) {
	if r.cfg.Recorded != nil {
		r.record(Input{Plan: &PlanInput{Generation: plan.Generation, Settled: change.Settled, Change: change, Patch: r.patch.Clone()}})
	}
}

func (r *Rack) loadAs(p *instrument.Patch, change instrument.Change) error {
	p = p.Clone()
	mode := r.modeOf(p)
	programs, err := r.compilePrograms(p)
	if err != nil {
		return err
	}
	change.Settled, change.Ended = r.meters.Settled, r.compiler.Ended()
	plan, err := r.compiler.CompileChange(p, change)
	if err != nil {
		return err
	}
	old := r.patch
	r.patch, r.programs = p, programs
	r.plan, r.settled = plan.Generation, false
	r.recordPlan(plan, change)
	r.claimed = claims(p)
	r.forget(old)
	r.due = r.meters.Frame
	defer func() { r.due = 0 }()
	r.members = Members(r.patch)
	r.byAddress = make(map[Address]int, len(r.members))
	r.byHandle = map[uint32]instrument.ModuleID{}
	outputs := 0
	for i, m := range r.members {
		r.byAddress[m.Address] = i
		r.byHandle[r.compiler.Handle(m.module)] = m.module
		if m.Kind == MemberOutput {
			outputs++
		}
	}
	r.volts = make([]float32, outputs)
	r.Engine.Adopt(plan)
	r.unhand(change.At)
	r.ruleRefs = r.ruleRefs[:0]
	for i := range r.patch.Modules {
		m := &r.patch.Modules[i]
		if was := old.Module(m.ID); was != nil {
			// A module that stays keeps its node; its knobs move to the new patch's.
			for k, ps := range m.Spec().Params {
				if v := m.Value(ps.Name); !ps.Text && v != was.Value(ps.Name) {
					r.send(instrument.Event{Kind: instrument.EventParam, Module: r.compiler.Handle(m.ID), Index: uint8(k), Value: float32(v), Frame: change.At})
				}
			}
		}
		if m.ID.Kind() == kindRule {
			r.ruleRefs = append(r.ruleRefs, panelRef{m.ID, r.compiler.Handle(m.ID), m.Spec()})
		}
	}
	for a := range r.came {
		if id, param, err := a.Split(); err != nil || !r.driven(id, param) {
			delete(r.came, a)
		}
	}
	r.release(false, 0)
	frame := r.board.clock(change.At)
	r.setTiming()
	r.board.wire(r.patch, r.compiler.Handle, frame)
	r.setMode(mode, frame)
	r.power(frame)
	for i := range r.patch.Modules {
		m := &r.patch.Modules[i]
		if m.ID.Kind() == KindDeployment {
			r.wish(m.ID, 0)
		}
	}
	r.settings.rewire(old)
	r.wireMIDI()
	r.dirty = true
	if r.Rewired != nil {
		r.Rewired()
	}
	return nil
}

// forget drops what was known of modules that are in the patch no more, and
// of gates that claims held.
func (r *Rack) forget(old *instrument.Patch) {
	was := claims(old)
	for i := range old.Modules {
		id := old.Modules[i].ID
		m, s := r.patch.Module(id), old.Modules[i].Spec()
		if m == nil {
			delete(r.songs, id)
			for _, j := range s.Inputs {
				a := AddressOf(id, j.Name)
				delete(r.inputs, a)
				delete(r.putAt, a)
				delete(r.gates, a)
				delete(r.samples, a)
				delete(r.unclaimed, a)
			}
			for _, p := range s.Params {
				delete(r.came, AddressOf(id, p.Name))
			}
			continue
		}
		_, before := was[id]
		if _, after := r.claimed[id]; before && !after {
			r.unclaimed[AddressOf(id, "lifecycle")] = r.plan
		}
	}
}

// unhand lets go, at a frame, of what a hand holds high where a cable is plugged
// in: nothing could until it is pulled, and who held it may not be there any
// more then.
func (r *Rack) unhand(frame int64) {
	for _, c := range r.patch.Cables {
		a := AddressOf(c.To.Module, c.To.Jack)
		if r.inputs[a] <= 0 {
			continue
		}
		if m, err := r.Member(a); err == nil && pressed(m) {
			delete(r.inputs, a)
			r.send(instrument.Event{Kind: instrument.EventInput, Module: r.compiler.Handle(m.module), Index: uint8(m.index), Frame: frame})
			r.takeBack(m)
		}
	}
}

// takeBack lets a gate fall as soon as it has risen that is on its way to the
// engine.
func (r *Rack) takeBack(m *Member) {
	for _, at := range r.putAt[m.Address] {
		if at > r.meters.Frame {
			r.send(instrument.Event{Kind: instrument.EventInput, Module: r.compiler.Handle(m.module), Index: uint8(m.index), Value: float32(m.Jack.Normal), Frame: at})
		}
	}
	delete(r.putAt, m.Address)
}

// SetSockets takes over that the jacks of the rig are on other channels.
func (r *Rack) SetSockets(s instrument.Sockets) {
	r.compiler.SetSockets(s, r.patch)
	if r.begin(); r.ended(nil) {
		r.record(Input{Sockets: &s})
	}
}

// Play makes a scene's own settings those that are played by: what of a storm
// is struck, and which scale the pods' pitches are taken from. Its patch is
// for Load.
func (r *Rack) Play(scene string, storm float64, policy StormPolicy, scale Scale) {
	if scene != r.cfg.Scene {
		r.outward.release(r)
	}
	r.cfg.Scene, r.cfg.Storm, r.cfg.StormPolicy, r.cfg.Scale = scene, storm, policy, scale
	r.board.storm, r.board.policy, r.board.scale = max(storm, 0.5), policy, scale
	r.dirty = true
}

// Patch returns the patch that is played; it must not be changed.
func (r *Rack) Patch() *instrument.Patch { return r.patch }

// Members returns everything addressable; the slice must not be changed.
func (r *Rack) Members() []Member { return r.members }

// Member returns what an address leads to.
func (r *Rack) Member(a Address) (*Member, error) {
	i, ok := r.byAddress[a]
	if !ok {
		return nil, r.noAddress(a)
	}
	return &r.members[i], nil
}

// noAddress says what was expected in place of an unknown address.
func (r *Rack) noAddress(a Address) error {
	id, member, err := a.Split()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoAddress, err)
	}
	m := r.patch.Module(id)
	if m == nil {
		var ids []string
		for i := range r.patch.Modules {
			ids = append(ids, string(r.patch.Modules[i].ID))
		}
		return fmt.Errorf("%w: the patch has no module %s; it has %s", ErrNoAddress, id, strings.Join(ids, ", "))
	}
	s := m.Spec()
	var names []string
	for _, p := range s.Params {
		names = append(names, p.Name)
	}
	for _, j := range slices.Concat(s.Inputs, s.Outputs) {
		names = append(names, j.Name)
	}
	return fmt.Errorf("%w: %s has no %q; it has %s", ErrNoAddress, id, member, strings.Join(names, ", "))
}

// Set turns a knob, writes a word, or puts volts on an input jack. Frame is
// when, 0 at once; source is who did it, so that it is not told of its own
// doing.
func (r *Rack) Set(a Address, value float64, word string, source string, frame int64) error {
	var was Setpoint
	if r.cfg.Recorded != nil {
		was.Value, was.Word, _ = r.Value(a)
	}
	r.begin()
	err := r.set(a, value, word, source, frame)
	if r.ended(err) {
		r.record(Input{Frame: frame, Source: source, Set: &SetInput{a, Setpoint{value, word}, was}})
	}
	return err
}

func (r *Rack) set(a Address, value float64, word string, source string, frame int64) error {
	m, err := r.Member(a)
	if err != nil {
		return err
	}
	switch m.Kind {
	case MemberOutput:
		return refuse(ErrReadOnly, "%s is an output jack; it can only be read", a)
	case MemberText:
		if value != 0 {
			return refuse(ErrRange, "%s takes a word, got %g", a, value)
		}
		if err := r.checkWord(m, word); err != nil {
			return refuse(ErrRange, "%s: %w", a, err)
		}
		if r.patch.Module(m.module).Word(m.Param.Name) == word {
			return nil
		}
		r.write(m, word)
	case MemberParam:
		if word != "" {
			if len(m.Param.Choices) == 0 {
				return refuse(ErrRange, "%s is %s, got %q", a, m.Param.Range(), word)
			}
			if value, err = m.Param.Choice(word); err != nil {
				return refuse(ErrRange, "%s: %w", a, err)
			}
		}
		if err := m.Param.Check(value); err != nil {
			return refuse(ErrRange, "%s: %w", a, err)
		}
		value = m.Param.Clamp(value) // the end itself, where a float32 is a hair beyond it
		if r.cfg.ListenOnly && isMode(m.module, m.Param.Name) && value != float64(ListenOnly) {
			return fmt.Errorf("%s: %w", a, errListenOnly)
		}
		if r.patch.Module(m.module).Value(m.Param.Name) == value {
			return nil
		}
		r.turn(m, value, frame)
	case MemberInput:
		if word != "" || math.IsNaN(value) || value < -12 || value > 12 {
			return refuse(ErrRange, "%s takes −12 … 12 V", a)
		}
		if c := r.cable(m.module, m.Jack.Name); c != nil {
			return refuse(ErrReadOnly, "%s holds a cable from %s; pull it first", a, c.From)
		}
		r.inputs[a] = value
		if frame > 0 && value != float64(m.Jack.Normal) && (m.Jack.Kind == instrument.Gate || m.Jack.Kind == instrument.Trigger || m.Jack.Kind == instrument.Presence) {
			ahead := slices.DeleteFunc(r.putAt[a], func(at int64) bool { return at <= r.meters.Frame })
			r.putAt[a] = append(ahead[max(len(ahead)-risesAhead+1, 0):], frame)
		}
		r.send(instrument.Event{Kind: instrument.EventInput, Module: r.compiler.Handle(m.module), Index: uint8(m.index), Value: float32(value), Frame: frame})
		if param, ok := strings.CutSuffix(m.Jack.Name, "_cv"); ok && !r.driven(m.module, param) {
			delete(r.came, AddressOf(m.module, param))
			r.moved(m.module, param, frame)
		}
	}
	r.changed(a, value, word, source)
	return nil
}

// turn moves a param, that has been checked, and what depends on it.
func (r *Rack) turn(m *Member, value float64, frame int64) {
	mod := r.patch.Module(m.module)
	if mod.Params == nil {
		mod.Params = map[string]float64{}
	}
	mod.Params[m.Param.Name] = value
	r.send(instrument.Event{Kind: instrument.EventParam, Module: r.compiler.Handle(m.module), Index: uint8(m.index), Value: float32(value), Frame: frame})
	r.moved(m.module, m.Param.Name, frame)
}

// Trace copies the newest picture of a scope to t. It tells whether there is
// one.
func (r *Rack) Trace(id instrument.ModuleID, t *instrument.Trace) bool {
	r.compiler.Trace(id, t)
	return t.Points > 0
}

// put moves a param on behalf of the instrument or the cluster, and tells.
func (r *Rack) put(id instrument.ModuleID, param string, value float64, source string) {
	m, err := r.Member(AddressOf(id, param))
	if err != nil || r.patch.Module(id).Value(param) == value {
		return
	}
	r.turn(m, value, 0)
	r.changed(m.Address, value, "", source)
}

// write changes a word, that has been checked, and what depends on it.
func (r *Rack) write(m *Member, word string) {
	mod := r.patch.Module(m.module)
	if mod.Text == nil {
		mod.Text = map[string]string{}
	}
	mod.Text[m.Param.Name] = word
	if m.Param.Tuning {
		r.compiler.Tune(r.patch)
	}
	if m.Param.Socket {
		r.compiler.Socket(r.patch)
	}
	if (m.Param.Tuning || m.Param.Socket) && r.cfg.Recorded != nil {
		r.send(instrument.Event{Kind: instrument.EventWord, Module: r.compiler.Handle(m.module), Index: uint8(m.index)})
	}
	if m.Param.Socket || m.Param.Ref {
		r.resense()
	}
	r.rewrote(m.module, m.Param.Name)
}

// checkWord tells whether a text param takes a word.
func (r *Rack) checkWord(m *Member, word string) error {
	if err := m.Param.CheckWord(word); err != nil {
		return err
	}
	switch {
	case m.Param.Tuning:
		_, err := r.patch.Tuning(word)
		return err
	case m.module.Kind() != kindController:
	case m.Param.Name == "object" && word != "":
		if kind, name, ok := strings.Cut(word, "/"); !ok || kind == "" || name == "" || strings.ContainsAny(word, " \t\n") {
			return fmt.Errorf("object is empty or kind/name, such as deployment/web, got %q", word)
		}
	case m.Param.Name == "program":
		_, err := r.compileProgram(word)
		return err
	}
	return nil
}

// cable returns the cable that an input jack holds, or nil.
func (r *Rack) cable(id instrument.ModuleID, jack string) *instrument.Cable {
	return cableIn(r.patch, id, jack)
}

// cableIn returns the cable of a patch that an input jack holds, or nil.
func cableIn(p *instrument.Patch, id instrument.ModuleID, jack string) *instrument.Cable {
	for i := range p.Cables {
		if c := &p.Cables[i]; c.To.Module == id && c.To.Jack == jack {
			return c
		}
	}
	return nil
}

// Value returns what an address reads: a param's position, a word, or volts.
// Of an input with a cable only the gates that matter to the cluster are
// known; the others read 0 V.
func (r *Rack) Value(a Address) (value float64, word string, err error) {
	m, err := r.Member(a)
	if err != nil {
		return 0, "", err
	}
	switch m.Kind {
	case MemberText:
		return 0, r.patch.Module(m.module).Word(m.Param.Name), nil
	case MemberParam:
		return r.patch.Module(m.module).Value(m.Param.Name), "", nil
	case MemberInput:
		if r.cable(m.module, m.Jack.Name) != nil {
			return float64(gateVolts(r.gates[a])), "", nil
		}
		if v, ok := r.inputs[a]; ok {
			return v, "", nil
		}
		return float64(m.Jack.Normal), "", nil
	}
	return float64(r.volts[m.meter]), "", nil
}

func (r *Rack) changed(a Address, value float64, word, source string) {
	if r.Changed != nil {
		r.Changed(a, value, word, source)
	}
}

// Apply takes one transition of the cluster, to be heard at a frame.
func (r *Rack) Apply(t Transition, frame int64) {
	r.begin()
	r.board.apply(t, frame)
	r.settings.told(&t)
	if r.ended(nil) {
		said := t
		r.record(Input{Frame: frame, Transition: &said})
	}
}

// Problem takes over that a neighbour could not publish or apply the topology:
// the API Server's problem jack gives a trigger. What it says is for the
// caller to show.
func (r *Rack) Problem(p Problem) {
	r.begin()
	r.board.problem(r.pumped)
	if r.ended(nil) {
		r.record(Input{Problem: &p})
	}
}

// Fade starts the master fade: in after a start, out before an end. It takes
// 50 ms.
func (r *Rack) Fade(in bool) {
	r.begin()
	r.fade(in)
	if r.ended(nil) {
		r.record(Input{Fade: &in})
	}
}

func (r *Rack) fade(in bool) {
	k := instrument.EventFadeOut
	if in {
		k = instrument.EventFadeIn
	} else {
		r.release(true, 0)
		r.releaseOut()
	}
	r.send(instrument.Event{Kind: k})
}

// Panic silences every module and lowers every gate at once. The API Server's
// sync comes back at once, because without it there would be an alarm; all
// else that the cluster holds up, its voices above all, and what rules make of
// it stay silent until Show or another scene, whatever happens there.
// A bare pod that a hand's gate held up goes, as the gate does; one whose gate
// comes by a cable lives as long as that is high.
func (r *Rack) Panic() {
	r.begin()
	r.panic()
	if r.ended(nil) {
		r.record(Input{Panic: true})
	}
}

func (r *Rack) panic() {
	r.panics++
	if r.Silence != nil {
		r.silence = r.Silence()
	}
	// What is on its way falls as soon as it has risen. That is with the engine
	// before the panic is: it may obey before this goroutine goes on.
	for i := range r.members {
		m := &r.members[i]
		if m.Kind != MemberInput {
			continue
		}
		switch m.Jack.Kind {
		case instrument.Gate, instrument.Trigger, instrument.Presence:
			if v, ok := r.inputs[m.Address]; ok {
				delete(r.inputs, m.Address)
				r.takeBack(m)
				if v != float64(m.Jack.Normal) {
					r.changed(m.Address, float64(m.Jack.Normal), "", "")
				}
			}
		}
	}
	r.takeBackMIDI()
	r.send(instrument.Event{Kind: instrument.EventPanic, Module: r.silence, Index: r.panics})
	r.release(true, 0)
	r.panicMIDI()
	r.board.panicked()
}

// Silenced tells that a Panic holds down what comes from the cluster.
func (r *Rack) Silenced() bool { return r.board.dark }

// Show brings back after a Panic what the cluster holds up.
func (r *Rack) Show() {
	r.due = r.meters.Frame
	r.begin()
	r.board.dark = false
	r.board.showAll(r.board.clock(0))
	r.due = 0
	if r.ended(nil) {
		r.record(Input{Show: true})
	}
}

// send queues an event for the engine. What finds no room waits its turn, so
// that no falling gate is lost.
func (r *Rack) send(e instrument.Event) {
	if e.Frame <= r.due {
		e.Frame = 0 // at once is not late
	}
	if len(r.backlog) >= backlogSize {
		r.thin()
	}
	if len(r.backlog) > 0 || !r.Engine.Inbox.Push(e) {
		r.backlog = append(r.backlog, e)
	}
}

// journalSize is how much the engine may do between two Pumps and be recorded
// whole.
const journalSize = 1 << 15

// backlogSize is how much waits for an engine that does not render before it
// is thinned: at 500 transitions a second, half a minute.
const backlogSize = 1 << 17

// risesAhead is how many rises of a gate that are not heard yet a panic takes
// back, the newest: more than hands make while a device's buffer lasts.
const risesAhead = 256

// thin keeps, of what waits, the last value of each jack and knob, in order.
// Triggers of a time that nobody heard are left out.
func (r *Rack) thin() {
	type key struct {
		kind           instrument.EventKind
		module         uint32
		index, channel uint8
	}
	seen := map[key]bool{}
	kept := len(r.backlog)
	for i := len(r.backlog) - 1; i >= 0; i-- {
		e := r.backlog[i]
		k := key{e.Kind, e.Module, e.Index, e.Channel}
		if e.Kind == instrument.EventPanic {
			k.module, k.index = 0, 0 // its number and count: the newest answers all
		}
		if e.Kind == instrument.EventPulse || seen[k] {
			continue
		}
		seen[k] = true
		kept--
		r.backlog[kept] = e
	}
	r.leftOut += uint64(kept)
	r.backlog = slices.Delete(r.backlog, 0, kept)
}

// Pump moves what waits between the engine and the control side; call it a
// hundred times a second or more. Frame is the engine's present.
func (r *Rack) Pump(frame int64) {
	r.pumped = max(r.pumped, frame)
	r.recordApplied()
	n := 0
	for n < len(r.backlog) && r.Engine.Inbox.Push(r.backlog[n]) {
		n++
	}
	r.backlog = slices.Delete(r.backlog, 0, n)
	// The report before the edges: what it says is settled has told its edges.
	m, fresh := r.Engine.Meters.Load()
	if fresh {
		r.meters = *m
		r.board.told = m.Frame
	}
	var e instrument.Event
	for r.Engine.Outbox.Pop(&e) {
		if e.Kind == instrument.EventPanic {
			r.obeyed = e.Index
			continue
		}
		id, ok := r.byHandle[e.Module]
		if !ok {
			continue
		}
		if id.Kind() == kindMIDIOut {
			r.midiSaid(&e)
			continue
		}
		switch e.Kind {
		case instrument.EventWish:
			r.cameTo(id, int(e.Index), float64(e.Value), e.Frame)
		case instrument.EventSample:
			if spec := instrument.Spec(id.Kind()); int(e.Index) < len(spec.Inputs) {
				r.samples[AddressOf(id, spec.Inputs[e.Index].Name)] = float64(e.Value)
			}
		case instrument.EventGate:
			r.gate(id, int(e.Index), e.Value > 0, e.Frame)
		case instrument.EventBeat:
			r.beat(id, &e)
		}
	}
	if !r.settled && r.meters.Settled >= r.plan {
		// What a new cable has not raised by now is low.
		r.settled, r.dirty = true, true
		r.power(0)
		r.settings.restless = true
	}
	for a, plan := range r.unclaimed {
		if r.meters.Settled >= plan {
			delete(r.unclaimed, a)
			r.dirty = true
		}
	}
	// A report on another plan has its jacks in another order.
	if fresh && m.Generation == r.plan {
		for i := range r.members {
			mb := &r.members[i]
			if mb.Kind != MemberOutput || mb.meter >= len(m.Volts) {
				continue
			}
			// A centivolt is as fine as a panel shows.
			if v := m.Volts[mb.meter]; math.Abs(float64(v-r.volts[mb.meter])) >= 0.01 {
				r.volts[mb.meter] = v
				r.changed(mb.Address, float64(v), "", "")
			}
		}
	}
	r.playRules(frame)
	for _, in := range r.midiIns {
		in.pump(r, frame)
	}
	r.outward.pump(r, frame)
	r.settings.flush(frame)
	if frame >= r.nextTick {
		r.nextTick = frame + int64(r.cfg.SampleRate/20)
		r.board.tick(frame)
		r.fillSlots()
		r.endFades()
	}
}

// Meters returns the engine's last report; it is good until the next Pump.
func (r *Rack) Meters() *instrument.Meters { return &r.meters }

// Cluster sums up what is known of the cluster.
func (r *Rack) Cluster() ClusterState {
	b := r.board
	s := ClusterState{Reachable: b.api.reachable, Synced: b.api.synced, Revision: b.store.revision, CommitLatency: b.store.latency, ReconcileLatency: b.api.reconcile}
	for _, d := range b.deployments {
		if len(d.refs) > 0 {
			s.Ready += d.tally.ready
			s.Desired += b.target(d)
		}
	}
	s.Pods, s.Nodes, s.Unheard = len(b.pods), len(b.nodes), b.unheard
	for i, stage := range BootStages {
		if b.api.boot[i] {
			s.Boot = stage
		}
	}
	return s
}

// ClusterState is a summary of the cluster for a status line.
type ClusterState struct {
	Reachable bool   `json:"reachable"`
	Synced    bool   `json:"synced"`
	Boot      string `json:"boot,omitempty"` // the furthest stage reached
	Ready     int    `json:"ready"`
	Desired   int    `json:"desired"`
	Pods      int    `json:"pods"`
	Nodes     int    `json:"nodes"`
	Revision  int64  `json:"revision"`
	// CommitLatency and ReconcileLatency are in seconds.
	CommitLatency    float64 `json:"commitLatency"`
	ReconcileLatency float64 `json:"reconcileLatency"`
	// Unheard counts pods for which no voice was free.
	Unheard uint64 `json:"unheard"`
}
