package bind

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Target is what is bound to: a *mapping.Rack.
type Target interface {
	Member(mapping.Address) (*mapping.Member, error)
	Value(mapping.Address) (value float64, word string, err error)
	Members() []mapping.Member
	Patch() *instrument.Patch
	Slots() []mapping.Slot
}

// actions are what can be asked for by name; those in needs are followed by a
// colon and by what is meant.
var (
	actions = []string{"panic", "resume", "undo", "redo", "arm", "learn", "resend", "scene", "cordon", "drain", "restart", "kill", "layer",
		"next", "previous", "cancel", "launch", "morph", "snapshot", "slot", "setlist"}
	needs = []string{"scene", "cordon", "drain", "restart", "kill", "layer", "launch", "morph", "snapshot", "slot", "setlist"}
	// choosers are counted through the scene, as in knobs[3].
	choosers = []string{"knobs", "switches", "triggers", "strip", "scenes"}
)

// stageSlots is how many slots there are for snapshots of scenes.
const stageSlots = 16

const toExpected = "expected an address such as /deployment/web/replicas, knobs[3] or another of knobs, switches, triggers, strip and scenes, or an action such as panic or scene:+1"

type toKind uint8

const (
	toAddress toKind = iota
	toKnob
	toSwitch
	toTrigger
	toStrip
	toScene  // the n-th scene of the list; n is 0 where the control's value chooses it
	toAction // done by who owns the rack
	toLayer  // done here
	toSlot   // a pod's pad
	toValue  // an action of what the control's value says
)

// to is one thing that a control may be bound to, before the scene is known.
type to struct {
	kind    toKind
	pattern string // an address, its segments may hold *; of an action what stands after the colon
	action  string
	n       int // which one of those that match, from 1
	k       int // which knob of a strip, from 1
}

// parseTo reads what a binding is bound to: one, or with a range in brackets
// several.
func parseTo(s string) ([]to, error) {
	head, first, last, tail, err := brackets(s)
	if err != nil {
		return nil, err
	}
	t := to{n: 1}
	switch name, what, colon := strings.Cut(head, ":"); {
	case strings.HasPrefix(head, "/"):
		t.kind, t.pattern = toAddress, head
		if strings.Count(head, "/") != 3 || strings.HasSuffix(head, "/") || strings.Contains(head, "//") || tail != "" {
			return nil, fmt.Errorf("%q is not an address; expected /kind/name/param, such as /deployment/web/replicas or /deployment/*/replicas[2]", document.Clip(s))
		}
		kind := strings.SplitN(head, "/", 3)[1]
		if !strings.Contains(kind, "*") && instrument.Spec(kind) == nil {
			var kinds []string
			for _, s := range instrument.Specs() {
				kinds = append(kinds, s.Kind)
			}
			return nil, fmt.Errorf("%q: there is no module %q%s", document.Clip(s), document.Clip(kind), document.Near(kind, kinds))
		}
		if spec := instrument.Spec(kind); spec != nil {
			member := head[strings.LastIndexByte(head, '/')+1:]
			if !strings.Contains(member, "*") && spec.Param(member) < 0 && spec.Input(member) < 0 {
				if spec.Output(member) >= 0 {
					return nil, fmt.Errorf("%q is an output jack; a control turns params and input jacks", document.Clip(s))
				}
				var names []string
				for i := range spec.Params {
					names = append(names, spec.Params[i].Name)
				}
				for _, j := range spec.Inputs {
					names = append(names, j.Name)
				}
				return nil, fmt.Errorf("%q: %s has no param or input %q%s", document.Clip(s), kind, document.Clip(member), document.Near(member, names))
			}
			if i := spec.Param(member); i >= 0 && spec.Params[i].Text {
				return nil, fmt.Errorf("%q takes a word; a control has numbers only", document.Clip(s))
			}
		}
		if first > 0 && !strings.Contains(head, "*") {
			return nil, fmt.Errorf("%q: a number in brackets chooses among what matches a *", document.Clip(s))
		}
	case slices.Contains(choosers, head) && !colon:
		t.kind = toKnob + toKind(slices.Index(choosers, head))
		if first == 0 {
			return nil, fmt.Errorf("%q has no number; expected %s[1] for the first", document.Clip(s), head)
		}
		if t.kind == toStrip {
			k, err := strconv.Atoi(strings.TrimPrefix(tail, "/"))
			if err != nil || !strings.HasPrefix(tail, "/") || k < 1 || k > 99 {
				return nil, fmt.Errorf("%q names no knob of the strip; expected strip[1]/1 for the first", document.Clip(s))
			}
			t.k, tail = k, ""
		}
	case slices.Contains(actions, name):
		t.kind, t.action, t.pattern = toAction, name, what
		needed := slices.Contains(needs, name)
		switch {
		case needed && what == "":
			return nil, fmt.Errorf("%q does not say which; expected %s", document.Clip(s), map[string]string{"scene": "scene:NAME, scene:+1, scene:-1 or scene:*", "cordon": "cordon:NODE or cordon:*[1]", "drain": "drain:NODE or drain:*[1]", "restart": "restart:DEPLOYMENT or restart:*[1]", "kill": "kill:POD or kill:slot/1", "layer": "layer:0 … layer:99",
				"launch": "launch:NAME:bar:2, with what it waits for and the seconds of its crossfade", "morph": "morph:NAME:SECONDS, or morph:* for a fader that goes the way", "snapshot": "snapshot:1 … snapshot:16", "slot": "slot:1 … slot:16, or slot:*", "setlist": "setlist:NAME"}[name])
		case !needed && (colon || first > 0):
			return nil, fmt.Errorf("%q: %s takes nothing behind it", document.Clip(s), name)
		}
		switch name {
		case "layer":
			if t.n, err = strconv.Atoi(what); err != nil || t.n < 0 || t.n > mostLayer {
				return nil, fmt.Errorf("%q is no layer; expected layer:0 … layer:%d", document.Clip(s), mostLayer)
			}
			return []to{{kind: toLayer, action: name, n: t.n}}, nil
		case "scene":
			if what == "*" {
				t.kind, t.n = toScene, 0
				if first > 0 {
					t.n = 1
				}
			}
		case "slot", "snapshot":
			if n, err := strconv.Atoi(what); (err != nil || n < 1 || n > stageSlots) && (name != "slot" || what != "*") {
				return nil, fmt.Errorf("%q is no slot; expected %s:1 … %s:%d", document.Clip(s), name, name, stageSlots)
			}
			if what == "*" {
				t.kind = toValue
			}
		case "morph":
			if what == "*" {
				t.kind = toValue
			}
		case "kill":
			if n, ok := strings.CutPrefix(what, "slot/"); ok {
				i, err := strconv.Atoi(n)
				if err != nil || i < 1 || i > mapping.SlotCount {
					return nil, fmt.Errorf("%q is no slot; expected kill:slot/1 … kill:slot/%d", document.Clip(s), mapping.SlotCount)
				}
				return []to{{kind: toSlot, n: i}}, nil
			}
		}
		if first > 0 && !strings.Contains(what, "*") {
			return nil, fmt.Errorf("%q: a number in brackets chooses among what matches a *", document.Clip(s))
		}
	default:
		return nil, fmt.Errorf("%q is nothing to bind to; %s%s", document.Clip(s), toExpected, document.Near(name, append(slices.Clone(actions), choosers...)))
	}
	if tail != "" {
		return nil, fmt.Errorf("%q: %q is too much; %s", document.Clip(s), document.Clip(tail), toExpected)
	}
	if first == 0 {
		return []to{t}, nil
	}
	var all []to
	for t.n = first; t.n <= last; t.n++ {
		all = append(all, t)
	}
	return all, nil
}

// mostNumber is the highest number in brackets.
const mostNumber = 512

// brackets takes the number or range in brackets out of a text; first is 0
// where there is none.
func brackets(s string) (head string, first, last int, tail string, err error) {
	head, rest, ok := strings.Cut(s, "[")
	if !ok {
		return s, 0, 0, "", nil
	}
	in, tail, ok := strings.Cut(rest, "]")
	if !ok {
		return "", 0, 0, "", fmt.Errorf("%q has a [ without its ]", document.Clip(s))
	}
	first, last, err = span(in, 1, mostNumber, "[ ]")
	return head, first, last, tail, err
}

// glob tells whether a text matches a pattern in which * stands for any run of
// characters. It does not allocate.
func glob(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// aim is what a to comes to in a scene.
type aim struct {
	kind    aimKind
	address mapping.Address
	param   *instrument.ParamSpec
	jack    *instrument.JackSpec
	action  string
	n       int // layer, or slot from 0
}

type aimKind uint8

const (
	aimNothing aimKind = iota // the scene has no such thing
	aimParam
	aimJack
	aimAction
	aimLayer
	aimSlot
	aimScenes // a value chooses the scene
	aimValue  // a value says what the action is about
)

// view is what a scene has to be bound to, counted through.
type view struct {
	members  []mapping.Member
	patch    *instrument.Patch
	scenes   []string
	knobs    []int // among members
	switches []int
	triggers []int
	strips   [][]int
}

// rank is how useful a knob is to a hand, of each kind of module the best
// first. What is not here follows in the order of the patch.
var rank = []struct {
	kind   string
	params []string
}{
	// What the cluster is asked for.
	{mapping.KindDeployment, []string{"replicas", "cpu"}},
	// What it sounds like.
	{"voice", []string{"bright", "level"}},
	{"vcf", []string{"cutoff", "resonance"}},
	{"reverb", []string{"decay", "mix"}},
	{"delay", []string{"feedback", "mix"}},
	{"clock", []string{"tempo"}},
	{"drum", []string{"kick_level", "snare_level", "hat_level", "clap_level"}},
	{"euclid", []string{"pulses", "rotate"}},
	{"lfo", []string{"rate"}},
	{"vco", []string{"tune", "width"}},
	{"vca", []string{"gain"}},
	{"audio_out", []string{"level"}},
	// What else moves the cluster.
	{mapping.KindNode, []string{"capacity"}},
	{mapping.KindHPA, []string{"target"}},
	{"controller", []string{"gain", "integral"}},
	{mapping.KindPod, []string{"tune", "cpu"}},
}

// wiring tells whether a param says where something leads or what is allowed,
// which nobody plays.
func wiring(kind, param string) bool {
	return kind == mapping.KindService || kind == mapping.KindNamespace || param == "channel" || param == "backoff_limit"
}

// stripKinds are the modules that get a strip of a mixer's surface, in order,
// and what stands on its fader, then on its knobs.
var stripKinds = []struct {
	kind   string
	params []string
}{
	{mapping.KindDeployment, []string{"replicas", "cpu", "max_surge", "max_unavailable", "cpu_request", "start_delay", "ready_delay", "stop_delay"}},
	{"voice", []string{"level", "bright", "attack", "release", "resonance", "strikes", "breaths", "detune"}},
}

func newView(t Target, scenes []string) *view {
	v := &view{members: t.Members(), patch: t.Patch(), scenes: scenes}
	plugged := map[mapping.Address]bool{}
	for _, c := range v.patch.Cables {
		plugged[mapping.AddressOf(c.To.Module, c.To.Jack)] = true
	}
	at := map[mapping.Address]int{}
	// What is on or off comes before what has several positions, and the sound
	// before what the cluster is made of.
	var on, sound, rest []int
	for i := range v.members {
		m := &v.members[i]
		at[m.Address] = i
		id, _, _ := m.Address.Split()
		switch {
		case m.Kind == mapping.MemberParam && len(m.Param.Choices) > 0:
			// A namespace without power is nothing that a hand should fall on,
			// and what decides whether anything is written is no toy either.
			switch {
			case id.Kind() == mapping.KindNamespace, id.Kind() == mapping.KindAPIServer && m.Param.Name == "mode":
			case m.Param.Switch():
				on = append(on, i)
			case m.Param.Cluster:
				rest = append(rest, i)
			default:
				sound = append(sound, i)
			}
		case m.Kind == mapping.MemberInput && m.Jack.Button && !plugged[m.Address] && !(id.Kind() == mapping.KindNode && m.Jack.Name == "drain"):
			v.triggers = append(v.triggers, i)
		}
	}
	v.switches = slices.Concat(on, sound, rest)
	taken := map[int]bool{}
	knob := func(a mapping.Address) {
		if i, ok := at[a]; ok && !taken[i] && v.members[i].Kind == mapping.MemberParam {
			taken[i] = true
			v.knobs = append(v.knobs, i)
		}
	}
	ids := func(kind string) (ids []instrument.ModuleID) {
		for i := range v.patch.Modules {
			if id := v.patch.Modules[i].ID; id.Kind() == kind {
				ids = append(ids, id)
			}
		}
		return ids
	}
	for _, r := range rank {
		for _, id := range ids(r.kind) {
			for _, p := range r.params {
				knob(mapping.AddressOf(id, p))
			}
		}
	}
	for i := range v.members {
		m := &v.members[i]
		id, _, _ := m.Address.Split()
		if m.Kind == mapping.MemberParam && len(m.Param.Choices) == 0 && !m.Param.Counter && !strings.HasSuffix(m.Param.Name, "_att") && !wiring(id.Kind(), m.Param.Name) {
			knob(m.Address)
		}
	}
	for _, s := range stripKinds {
		for _, id := range ids(s.kind) {
			var strip []int
			for _, p := range s.params {
				if i, ok := at[mapping.AddressOf(id, p)]; ok {
					strip = append(strip, i)
				}
			}
			v.strips = append(v.strips, strip)
		}
	}
	return v
}

// resolve returns what t comes to in the scene.
func (v *view) resolve(t to) aim {
	pick := func(list []int, n int) aim {
		if n > len(list) {
			return aim{}
		}
		return v.member(list[n-1])
	}
	switch t.kind {
	case toKnob:
		return pick(v.knobs, t.n)
	case toSwitch:
		return pick(v.switches, t.n)
	case toTrigger:
		return pick(v.triggers, t.n)
	case toStrip:
		if t.n > len(v.strips) {
			return aim{}
		}
		return pick(v.strips[t.n-1], t.k)
	case toScene:
		switch {
		case t.n == 0:
			return aim{kind: aimScenes}
		case t.n > len(v.scenes):
			return aim{}
		}
		return aim{kind: aimAction, action: "scene:" + v.scenes[t.n-1]}
	case toLayer:
		return aim{kind: aimLayer, n: t.n}
	case toValue:
		return aim{kind: aimValue, action: t.action}
	case toSlot:
		return aim{kind: aimSlot, n: t.n - 1, action: "kill:slot/" + strconv.Itoa(t.n)}
	case toAction:
		return v.act(t)
	}
	n := t.n
	for i := range v.members {
		m := &v.members[i]
		if m.Kind != mapping.MemberParam && m.Kind != mapping.MemberInput || !matchAddress(t.pattern, string(m.Address)) {
			continue
		}
		if n--; n == 0 {
			return v.member(i)
		}
	}
	return aim{}
}

// act resolves an action: what its pattern matches.
func (v *view) act(t to) aim {
	if !strings.Contains(t.pattern, "*") {
		a := t.action
		if t.pattern != "" {
			a += ":" + t.pattern
		}
		return aim{kind: aimAction, action: a}
	}
	kind := mapping.KindNode
	switch t.action {
	case "restart":
		kind = mapping.KindDeployment
	case "scene":
		n := t.n
		for _, s := range v.scenes {
			if glob(t.pattern, s) {
				if n--; n == 0 {
					return aim{kind: aimAction, action: "scene:" + s}
				}
			}
		}
		return aim{}
	case "kill":
		return aim{} // pods have slots; a name that matches some pod is none
	}
	n := t.n
	for i := range v.patch.Modules {
		if id := v.patch.Modules[i].ID; id.Kind() == kind && glob(t.pattern, id.Name()) {
			if n--; n == 0 {
				return aim{kind: aimAction, action: t.action + ":" + id.Name()}
			}
		}
	}
	return aim{}
}

func (v *view) member(i int) aim {
	m := &v.members[i]
	if m.Kind == mapping.MemberParam {
		return aim{kind: aimParam, address: m.Address, param: m.Param}
	}
	return aim{kind: aimJack, address: m.Address, jack: m.Jack}
}

// matchAddress matches segment by segment, so that * never spans a slash.
func matchAddress(pattern, a string) bool {
	for {
		p, prest, pmore := strings.Cut(pattern, "/")
		s, srest, smore := strings.Cut(a, "/")
		if !glob(p, s) || pmore != smore {
			return false
		}
		if !pmore {
			return true
		}
		pattern, a = prest, srest
	}
}
