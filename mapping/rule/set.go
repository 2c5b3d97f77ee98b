package rule

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Kind is what an Output asks for.
type Kind uint8

const (
	Note Kind = iota
	Gate
	CV
	OSCMessage
	ControlChange
	PitchBend
	ChannelPressure
	ProgramChange
)

func (k Kind) String() string {
	return [...]string{"note", "gate", "cv", "osc", "cc", "bend", "pressure", "program"}[k]
}

// Output is something that a rule plays.
type Output struct {
	Kind    Kind
	Rule    string // its name
	Channel int    // 1…16
	// Port is where it goes: that of a note, cc, bend, pressure or program is a
	// pattern of MIDI ports, and empty only of a note that stays in the rack;
	// that of an OSCMessage is host:port, and empty is everyone who listens.
	Port string
	// MPE tells that Channel is a member channel, 2…16, that belongs to one pod.
	MPE bool
	// Of a ControlChange: the controller, 0…119; of a ProgramChange 1…128.
	Number int
	// Of a ControlChange or ChannelPressure 0…127, of a PitchBend in semitones.
	Value float64
	// Of a Note: the MIDI note 0…127 with its fraction, the velocity 1…127 and
	// how long it holds, in seconds.
	Note, Velocity, Duration float64
	Volts                    float64 // of a CV, −10…10
	High                     bool    // of a Gate
	// Of an OSCMessage: the address, and arguments of type int32, int64,
	// float32, bool or string.
	Address string
	Args    []any
}

// Fault is what went wrong when a rule was evaluated.
type Fault struct {
	Rule  string // its name
	Count uint64 // how often
	First *Error // what it was at first
}

// Set is the rules of a scene, with what they remember of the cluster. It is
// not safe for concurrent use.
type Set struct {
	rules    []*rule
	seed     uint64
	cluster  *cluster
	scope    scope
	out      []Output
	selected map[topic][]*rule
	onFault  func(Fault)
}

// topic is what a rule may be picked by before it is evaluated.
type topic struct{ kind, field string }

// maxTopics is for how many of them the pick is remembered; there are fewer
// than 400.
const maxTopics = 1024

// rule is one rule, ready to play.
type rule struct {
	index  int
	name   string
	filter filter

	when, note, velocity, duration, channel, gate, cv *expression

	port, mpe, ccNumber, ccValue, bend, pressure, program *expression

	to        *expression
	address   *expression
	args      []*expression
	argFields []string

	random generator
	count  int64
	last   time.Time // of the transition for which it last fired
	high   map[int]map[string]bool
	volts  map[int]float64
	faults uint64
	first  *Error
}

// follows tells that a rule has a state, which quiet transitions move as well.
func (r *rule) follows() bool { return r.gate != nil || r.cv != nil || r.steers() }

// steers tells that a rule moves a control of another instrument.
func (r *rule) steers() bool { return r.ccValue != nil || r.bend != nil || r.pressure != nil }

// Compile checks and compiles rules. Its error joins an *Error for every
// mistake. The seed decides what random gives.
func Compile(specs []Spec, seed uint64) (*Set, error) {
	s := &Set{seed: seed}
	c := compiler{names: map[string]int{}}
	if len(specs) > MaxRules {
		return nil, &Error{Rule: MaxRules, Err: fmt.Errorf("there are %d rules; at most %d are allowed", len(specs), MaxRules)}
	}
	for i := range specs {
		s.rules = append(s.rules, c.rule(i, &specs[i]))
	}
	if len(c.errs) > 0 {
		return nil, errors.Join(c.errs...)
	}
	s.Reset()
	return s, nil
}

// compiler gathers the mistakes of a list of rules.
type compiler struct {
	errs  []error
	index int
	names map[string]int
}

func (c *compiler) say(field string, line, column int, err error) {
	c.errs = append(c.errs, &Error{c.index, field, line, column, err})
}

func (c *compiler) rule(index int, s *Spec) *rule {
	c.index = index
	r := &rule{index: index, name: s.Name}
	if r.name == "" {
		r.name = fmt.Sprintf("rules[%d]", index)
	} else {
		c.name(s.Name)
	}
	if s.When == "" {
		c.say("", 0, 0, errors.New(`the rule has no when; expected a condition such as when: kind == "pod" && field == "ready" && new == "true"`))
	}
	before := ruleLanguage()
	r.when = c.expression(before, "when", s.When, aTruth)
	if r.when != nil {
		r.filter = derive(r.when.checked)
		r.when.checked = nil
		if r.when.constant != nil && r.when.constant == types.False {
			c.say("when", 0, 0, errors.New("the condition is never true"))
		}
		if f := r.filter; f.kinds != nil && len(f.kinds) == 0 || f.fields != nil && len(f.fields) == 0 {
			c.say("when", 0, 0, errors.New("the condition is never true: no transition has two kinds or two fields"))
		}
	}
	if s.Note == "" && s.Gate == "" && s.CV == "" && s.OSC == nil && !s.outward() {
		c.say("", 0, 0, errors.New("the rule plays nothing; expected one or more of note, gate, cv, osc, and with a port cc, bend, pressure and program"))
	}
	r.note = c.expression(before, "note", s.Note, aNumber)
	after := playLanguage()
	r.velocity = c.expression(after, "velocity", s.Velocity, aNumber)
	r.duration = c.expression(after, "duration", s.Duration, aNumber)
	r.channel = c.expression(after, "channel", s.Channel, anInt)
	r.gate = c.expression(after, "gate", s.Gate, aTruth)
	r.cv = c.expression(after, "cv", s.CV, aNumber)
	for _, f := range []struct{ name, source string }{{"velocity", s.Velocity}, {"duration", s.Duration}} {
		if f.source != "" && s.Note == "" {
			c.say(f.name, 0, 0, fmt.Errorf("%s belongs to a note, and the rule has none", f.name))
		}
	}
	if s.Channel != "" && s.Note == "" && s.Gate == "" && s.CV == "" && !s.outward() {
		c.say("channel", 0, 0, errors.New("channel belongs to a note, gate or cv, or to what a port gets, and the rule has none"))
	}
	c.outward(after, r, s)
	c.within("note", r.note, lowestNote, topNote, "")
	c.within("velocity", r.velocity, 1, 127, "")
	c.within("duration", r.duration, MinDuration, MaxDuration, " seconds")
	c.within("channel", r.channel, 1, Channels, "")
	c.within("cv", r.cv, -MaxVolts, MaxVolts, " volts")
	if s.OSC != nil {
		c.osc(after, r, s.OSC)
	}
	return r
}

func (c *compiler) name(name string) {
	if !wellNamed(name) {
		c.say("name", 0, 0, fmt.Errorf("name is up to %d lower-case letters, digits and dashes, this is %q", MaxName, document.Clip(name)))
	}
	if i, taken := c.names[name]; taken {
		c.say("name", 0, 0, fmt.Errorf("rules[%d] is called %q already; leave the name out or choose another", i, document.Clip(name)))
		return
	}
	c.names[name] = c.index
}

func wellNamed(s string) bool {
	if s == "" || len(s) > MaxName || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func (c *compiler) expression(l *language, field, source string, w want) *expression {
	if source == "" {
		return nil
	}
	x, issues := l.compile(source, w)
	for _, i := range issues {
		c.say(field, i.line, i.column, i.err)
	}
	return x
}

// within checks a constant.
func (c *compiler) within(field string, x *expression, low, high float64, unit string) {
	if x == nil || x.constant == nil {
		return
	}
	if v := float(x.constant); !(v >= low && v <= high) {
		c.say(field, 1, 1, fmt.Errorf("expected a number from %g to %g%s, this is %g", low, high, unit, v))
	}
}

// outward tells whether a rule has what only a MIDI port takes.
func (s *Spec) outward() bool {
	return s.CC != nil || s.Bend != "" || s.Pressure != "" || s.Program != ""
}

// outward compiles what goes to a MIDI port.
func (c *compiler) outward(l *language, r *rule, s *Spec) {
	r.port = c.place(l, "port", s.Port, checkPort)
	r.mpe = c.expression(l, "mpe", s.MPE, aTruth)
	r.bend = c.expression(l, "bend", s.Bend, aNumber)
	r.pressure = c.expression(l, "pressure", s.Pressure, aNumber)
	r.program = c.expression(l, "program", s.Program, anInt)
	if s.CC != nil {
		r.ccNumber = c.expression(l, "cc.number", s.CC.Number, anInt)
		r.ccValue = c.expression(l, "cc.value", s.CC.Value, aNumber)
		if s.CC.Number == "" || s.CC.Value == "" {
			c.say("cc", 0, 0, errors.New("cc has a number, 0 … 119, and a value, 0 … 127; expected both"))
		}
	}
	if s.Port == "" {
		for _, f := range []struct {
			name string
			has  bool
		}{{"mpe", s.MPE != ""}, {"cc", s.CC != nil}, {"bend", s.Bend != ""}, {"pressure", s.Pressure != ""}, {"program", s.Program != ""}} {
			if f.has {
				c.say(f.name, 0, 0, fmt.Errorf("%s goes out by MIDI, and the rule has no port; write one, such as port: synth, or port: \"*\" for all", f.name))
			}
		}
	} else if s.Note == "" && !s.outward() {
		c.say("port", 0, 0, errors.New("port belongs to a note, cc, bend, pressure or program, and the rule has none"))
	}
	if r.mpe != nil && r.mpe.constant == types.True {
		if s.Channel != "" && s.Gate == "" && s.CV == "" {
			c.say("channel", 0, 0, errors.New("with mpe each pod has a channel of its own; leave one of the two out"))
		}
		if s.Note != "" && s.Bend != "" {
			c.say("bend", 0, 0, errors.New("with mpe a note is bent by its own fraction; leave bend out, or give it a rule of its own"))
		}
	}
	c.within("cc.number", r.ccNumber, 0, topController, "")
	c.within("cc.value", r.ccValue, 0, 127, "")
	c.within("bend", r.bend, -MaxBend, MaxBend, " semitones")
	c.within("pressure", r.pressure, 0, 127, "")
	c.within("program", r.program, 1, Programs, "")
}

// topController is the last controller that is no channel mode message.
const topController = 119

// place compiles a name that is written as it is, or an expression for it
// behind a =.
func (c *compiler) place(l *language, field, source string, check func(string) error) *expression {
	if source == "" {
		return nil
	}
	x := &expression{constant: types.String(source)}
	if behind, ok := strings.CutPrefix(source, "="); ok {
		// A blank in its place, so that columns are those of the file.
		if x = c.expression(l, field, " "+behind, aWord); x == nil || x.constant == nil {
			return x
		}
	}
	if err := check(string(x.constant.(types.String))); err != nil {
		c.say(field, 0, 0, err)
	}
	return x
}

// checkPort tells whether a word can be the name of a MIDI port, or a pattern
// of some.
func checkPort(s string) error {
	if s == "" || utf8.RuneCountInString(s) > MaxPort || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("a port is a name of up to %d characters, or a pattern with * and ?, this is %q", MaxPort, document.Clip(s))
	}
	return nil
}

// checkTo tells whether a word can be where an OSC message goes.
func checkTo(s string) error {
	host, port, err := net.SplitHostPort(s)
	if n, e := strconv.ParseUint(port, 10, 16); err != nil || host == "" || e != nil || n == 0 {
		return fmt.Errorf("where a message goes is host:port, such as 192.168.0.20:9000, this is %q", document.Clip(s))
	}
	return nil
}

func (c *compiler) osc(l *language, r *rule, o *OSC) {
	switch {
	case o.Address == "":
		c.say("osc", 0, 0, errors.New("osc has no address; expected address: /some/where, or an expression for it"))
	case strings.HasPrefix(o.Address, "/"):
		r.address = &expression{constant: types.String(o.Address)}
	default:
		r.address = c.expression(l, "osc.address", o.Address, aWord)
	}
	if r.address != nil && r.address.constant != nil {
		if err := checkAddress(string(r.address.constant.(types.String))); err != nil {
			c.say("osc.address", 0, 0, err)
		}
	}
	r.to = c.place(l, "osc.to", o.To, checkTo)
	if len(o.Args) > MaxArgs {
		c.say("osc", 0, 0, fmt.Errorf("an OSC message here has at most %d arguments, this has %d", MaxArgs, len(o.Args)))
		return
	}
	for i, a := range o.Args {
		field := fmt.Sprintf("osc.args[%d]", i)
		if a == "" {
			c.say(field, 0, 0, fmt.Errorf("the argument is empty; expected %s, such as new, 1.0 or 'word'", anArg.what))
			continue
		}
		r.args = append(r.args, c.expression(l, field, a, anArg))
		r.argFields = append(r.argFields, field)
	}
}

// checkAddress tells whether a message may be sent to an address (OSC 1.0: an
// address is no pattern, and its parts are printable ASCII).
func checkAddress(s string) error {
	if !strings.HasPrefix(s, "/") || len(s) < 2 {
		return fmt.Errorf("an OSC address begins with a slash, such as /alarm, this is %q", document.Clip(s))
	}
	for _, r := range s {
		if r <= ' ' || r > '~' || strings.ContainsRune("#*,?[]{}", r) {
			return fmt.Errorf("an OSC address holds no %q, this is %q", r, document.Clip(s))
		}
	}
	return nil
}

// Reset forgets all that was seen and begins with the seed again.
func (s *Set) Reset() {
	s.cluster = newCluster()
	s.selected = map[topic][]*rule{}
	for _, r := range s.rules {
		r.random = generator(mix64(s.seed ^ fnv64(r.name)))
		r.count, r.last, r.faults, r.first = 0, time.Time{}, 0, nil
		r.high, r.volts = map[int]map[string]bool{}, map[int]float64{}
	}
}

// State returns the gates that are high and the last CV of each channel, for
// a module that was just put into the rack. The answer is valid until the next
// call.
func (s *Set) State() []Output {
	s.out = s.out[:0]
	for _, r := range s.rules {
		for _, channel := range slices.Sorted(maps.Keys(r.high)) {
			s.out = append(s.out, Output{Kind: Gate, Rule: r.name, Channel: channel, High: true})
		}
		for _, channel := range slices.Sorted(maps.Keys(r.volts)) {
			s.out = append(s.out, Output{Kind: CV, Rule: r.name, Channel: channel, Volts: r.volts[channel]})
		}
	}
	return s.out
}

// OnFault sets what is told when a rule fails for the first time.
func (s *Set) OnFault(f func(Fault)) { s.onFault = f }

// Faults returns what went wrong so far, one entry for each rule that failed.
func (s *Set) Faults() (all []Fault) {
	for _, r := range s.rules {
		if r.faults > 0 {
			all = append(all, Fault{r.name, r.faults, r.first})
		}
	}
	return all
}

// Apply takes a transition and returns what the rules make of it, in their
// order. The answer is valid until the next call.
func (s *Set) Apply(t mapping.Transition) []Output {
	s.out = s.out[:0]
	o, gone := s.cluster.take(&t)
	s.scope.cluster, s.scope.transition, s.scope.object, s.scope.have = s.cluster, &t, o, 0
	for _, r := range s.pick(t.Object.Kind, t.Field) {
		if t.Quiet && !r.follows() {
			continue
		}
		s.scope.rule, s.scope.pitch = r, zeroVolts
		s.scope.have &^= rulesOwn
		s.play(r, &t)
	}
	if gone {
		s.fall(o)
	}
	for _, o := range s.cluster.attend(&t) {
		s.fall(o)
	}
	return s.out
}

// pick returns the rules that may be true for such a transition.
func (s *Set) pick(kind, field string) []*rule {
	key := topic{kind, field}
	if rules, ok := s.selected[key]; ok {
		return rules
	}
	var rules []*rule
	for _, r := range s.rules {
		if r.filter.pass(kind, field) {
			rules = append(rules, r)
		}
	}
	if len(s.selected) < maxTopics {
		s.selected[key] = rules
	}
	return rules
}

// play evaluates one rule.
func (s *Set) play(r *rule, t *mapping.Transition) {
	v, ok := s.eval(r, "when", r.when)
	if !ok || v != types.True {
		return
	}
	s.strike(r, !t.Quiet)
	if r.follows() {
		s.follow(r)
	}
	if !t.Quiet {
		r.count++
		r.last = t.Time
	}
}

// strike plays the note and sends the message, where the transition is one to
// strike for. What the note's instrument is to be set to goes before it.
func (s *Set) strike(r *rule, now bool) {
	var note Output
	plays := false
	if now && r.note != nil {
		note, plays = s.noteOf(r)
	}
	if r.port != nil {
		s.outward(r, note, plays, now)
	} else if plays {
		s.out = append(s.out, note)
	}
	if now && r.address != nil {
		s.send(r)
	}
}

// noteOf evaluates the note of a rule, but for its port, and tells whether it
// is one.
func (s *Set) noteOf(r *rule) (Output, bool) {
	note, ok := s.number(r, "note", r.note, zeroVolts)
	if !ok {
		return Output{}, false
	}
	if note < lowestNote || note > topNote {
		s.fault(r, "note", fmt.Errorf("a note is from %d to %d, this is %g", lowestNote, topNote, note))
		return Output{}, false
	}
	s.scope.pitch = note
	velocity, ok1 := s.number(r, "velocity", r.velocity, DefaultVelocity)
	duration, ok2 := s.number(r, "duration", r.duration, DefaultDuration)
	channel, ok3 := s.channel(r)
	return Output{Kind: Note, Rule: r.name, Channel: channel, Note: note,
		Velocity: min(max(velocity, 1), 127), Duration: min(max(duration, MinDuration), MaxDuration)}, ok1 && ok2 && ok3
}

// outward plays what goes to a MIDI port.
func (s *Set) outward(r *rule, note Output, plays, now bool) {
	if !plays && !r.steers() && !(now && r.program != nil) {
		return
	}
	v, ok := s.eval(r, "port", r.port)
	if !ok {
		return
	}
	to := Output{Rule: r.name, Port: string(v.(types.String))}
	if err := checkPort(to.Port); err != nil {
		s.fault(r, "port", err)
		return
	}
	if r.mpe != nil {
		v, ok := s.eval(r, "mpe", r.mpe)
		if !ok {
			return
		}
		to.MPE = v == types.True
	}
	if to.MPE {
		to.Channel = s.member()
	} else if plays {
		to.Channel = note.Channel
	} else if to.Channel, ok = s.channel(r); !ok {
		return
	}
	add := func(o Output, k Kind) {
		o.Kind, o.Rule, o.Port, o.MPE, o.Channel = k, to.Rule, to.Port, to.MPE, to.Channel
		s.out = append(s.out, o)
	}
	if now && r.program != nil {
		if p, ok := s.number(r, "program", r.program, 1); ok && (p < 1 || p > Programs) {
			s.fault(r, "program", fmt.Errorf("a program is from 1 to %d, this is %g", Programs, p))
		} else if ok {
			add(Output{Number: int(p)}, ProgramChange)
		}
	}
	if r.ccValue != nil && r.ccNumber != nil {
		n, ok1 := s.number(r, "cc.number", r.ccNumber, 0)
		value, ok2 := s.number(r, "cc.value", r.ccValue, 0)
		if ok1 && (n < 0 || n > topController) {
			s.fault(r, "cc.number", fmt.Errorf("a controller is from 0 to %d, this is %g", topController, n))
		} else if ok1 && ok2 {
			add(Output{Number: int(n), Value: min(max(value, 0), 127)}, ControlChange)
		}
	}
	if r.bend != nil {
		if v, ok := s.number(r, "bend", r.bend, 0); ok {
			add(Output{Value: min(max(v, -MaxBend), MaxBend)}, PitchBend)
		}
	}
	if r.pressure != nil {
		if v, ok := s.number(r, "pressure", r.pressure, 0); ok {
			add(Output{Value: min(max(v, 0), 127)}, ChannelPressure)
		}
	}
	if plays {
		add(note, Note)
	}
}

// members is how many channels of MPE carry notes: all but the master's.
const members = Channels - 1

// member is the channel of MPE of the pod that the transition speaks of: that
// of its slot, or of another object one that follows from its name.
func (s *Set) member() int {
	if v, ok := s.scope.ResolveName("slot"); ok {
		if slot, ok := v.(types.Int); ok && slot >= 0 {
			return 2 + int(slot)%members
		}
	}
	return 2 + int(fnv64(s.scope.transition.Object.String())%members)
}

// Out returns what the rack sends for an output that has a MIDI port.
func (o *Output) Out() (out mapping.Out, ok bool) {
	if o.Port == "" {
		return out, false
	}
	out = mapping.Out{Port: o.Port, Channel: o.Channel - 1, MPE: o.MPE, Number: o.Number, Value: o.Value,
		Note: o.Note, Velocity: o.Velocity, Duration: o.Duration}
	switch o.Kind {
	case Note:
		out.Kind = mapping.OutNote
	case ControlChange:
		out.Kind = mapping.OutCC
	case PitchBend:
		out.Kind = mapping.OutBend
	case ChannelPressure:
		out.Kind = mapping.OutPressure
	case ProgramChange:
		out.Kind, out.Number = mapping.OutProgram, o.Number-1
	default:
		return mapping.Out{}, false
	}
	return out, true
}

func (s *Set) send(r *rule) {
	v, ok := s.eval(r, "osc.address", r.address)
	if !ok {
		return
	}
	m := Output{Kind: OSCMessage, Rule: r.name, Address: string(v.(types.String))}
	if err := checkAddress(m.Address); err != nil {
		s.fault(r, "osc.address", err)
		return
	}
	if r.to != nil {
		v, ok := s.eval(r, "osc.to", r.to)
		if !ok {
			return
		}
		m.Port = string(v.(types.String))
		if err := checkTo(m.Port); err != nil {
			s.fault(r, "osc.to", err)
			return
		}
	}
	for i, x := range r.args {
		v, ok := s.eval(r, r.argFields[i], x)
		if !ok {
			return
		}
		a, err := argument(v)
		if err != nil {
			s.fault(r, r.argFields[i], err)
			return
		}
		m.Args = append(m.Args, a)
	}
	s.out = append(s.out, m)
}

// argument returns a value as OSC takes it.
func argument(v ref.Val) (any, error) {
	switch v := v.(type) {
	case types.Int:
		if v >= math.MinInt32 && v <= math.MaxInt32 {
			return int32(v), nil
		}
		return int64(v), nil
	case types.Uint:
		if v > math.MaxInt64 {
			return nil, fmt.Errorf("%d is too large for OSC", uint64(v))
		}
		return argument(types.Int(v))
	case types.Double:
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%g is not a finite number", f)
		}
		return float32(v), nil
	case types.Bool:
		return bool(v), nil
	}
	word := string(v.(types.String))
	if strings.ContainsRune(word, 0) || !utf8.ValidString(word) {
		return nil, errors.New("an OSC string holds no NUL and is UTF-8")
	}
	return word, nil
}

// follow moves the gate and the CV.
func (s *Set) follow(r *rule) {
	if r.gate == nil && r.cv == nil {
		return
	}
	channel, ok := s.channel(r)
	if r.gate != nil {
		if v, evaluated := s.eval(r, "gate", r.gate); evaluated {
			high := v == types.True
			if ok || !high {
				// The channel may be another than when the gate rose.
				s.letGo(r, s.scope.object.key, channel)
			}
			if ok {
				s.hold(r, channel, s.scope.object.key, high)
			}
		}
	}
	if ok && r.cv != nil {
		if v, ok := s.number(r, "cv", r.cv, 0); ok {
			v = min(max(v, -MaxVolts), MaxVolts)
			r.volts[channel] = v
			s.out = append(s.out, Output{Kind: CV, Rule: r.name, Channel: channel, Volts: v})
		}
	}
}

// hold notes that an object raises or lets go of a gate, which is high as long
// as one does, by this rule or another.
func (s *Set) hold(r *rule, channel int, key string, high bool) {
	by := r.high[channel]
	if high {
		if by == nil {
			by = map[string]bool{}
			r.high[channel] = by
			s.out = append(s.out, Output{Kind: Gate, Rule: r.name, Channel: channel, High: true})
		}
		by[key] = true
		return
	}
	if !by[key] {
		return
	}
	if delete(by, key); len(by) == 0 {
		delete(r.high, channel)
		if !slices.ContainsFunc(s.rules, func(o *rule) bool { return o.high[channel] != nil }) {
			s.out = append(s.out, Output{Kind: Gate, Rule: r.name, Channel: channel})
		}
	}
}

// letGo lets go of the gates that an object holds by a rule, but for one
// channel.
func (s *Set) letGo(r *rule, key string, but int) {
	if len(r.high) == 0 {
		return
	}
	for _, channel := range slices.Sorted(maps.Keys(r.high)) {
		if channel != but {
			s.hold(r, channel, key, false)
		}
	}
}

// fall lets go of the gates of an object that is gone.
func (s *Set) fall(o *object) {
	for _, r := range s.rules {
		s.letGo(r, o.key, 0)
	}
}

func (s *Set) channel(r *rule) (int, bool) {
	v, ok := s.number(r, "channel", r.channel, DefaultChannel)
	if ok && (v < 1 || v > Channels) {
		s.fault(r, "channel", fmt.Errorf("a channel is from 1 to %d, this is %g; channel: slot %% %d + 1 goes round", Channels, v, Channels))
		return 0, false
	}
	return int(v), ok
}

// number evaluates an expression to a finite number; without one it is
// otherwise.
func (s *Set) number(r *rule, field string, x *expression, otherwise float64) (float64, bool) {
	if x == nil {
		return otherwise, true
	}
	v, ok := s.eval(r, field, x)
	if !ok {
		return 0, false
	}
	f := float(v)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		s.fault(r, field, fmt.Errorf("%s is not a finite number", strconv.FormatFloat(f, 'g', -1, 64)))
		return 0, false
	}
	return f, true
}

func (s *Set) eval(r *rule, field string, x *expression) (ref.Val, bool) {
	v, err := x.eval(&s.scope)
	if err != nil {
		s.fault(r, field, err)
		return nil, false
	}
	return v, true
}

func (s *Set) fault(r *rule, field string, err error) {
	r.faults++
	if r.first != nil {
		return
	}
	r.first = &Error{Rule: r.index, Field: field, Err: err}
	if s.onFault != nil {
		s.onFault(Fault{r.name, r.faults, r.first})
	}
}
