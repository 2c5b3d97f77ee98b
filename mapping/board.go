package mapping

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Board brings the status of the cluster home: it keeps what is known of its
// objects, and turns each transition into levels and triggers on the output
// jacks of the modules that stand for them. What is known of one kind, and how
// it is shown, is in a file of its own.
type Board struct {
	embedded  bool
	namespace string
	storm     float64 // events a second, of one gesture, that are struck singly
	policy    StormPolicy
	rate      float64 // frames a second
	emit      func(instrument.Event)
	// Wanted tells whether the patch holds up the bare pod of that module.
	wanted func(module string) bool
	// Shown is told when all that is known was shown.
	shown func(frame int64)

	patch *instrument.Patch
	// Panels are where each object is shown, by kind/name. Modules that show
	// what there is but once, such as the store, are under their kind alone.
	panels      map[string][]panelRef
	podPanels   map[string]*podPanel // Pod panels without a claim, by name
	views       map[string][]*podPanel
	watchers    map[string][]panelRef // Controllers, by the object that they watch
	ticking     []string              // CronJobs that have a panel, as kind/name
	deployments map[string]*deploymentState
	pods        map[string]*podState // by Object key
	byName      map[string]*podState // the newest pod of each namespace/name
	nodes       map[string]*nodeState
	onNode      map[string]int // pods by the name of their node
	heard       int            // pods of the patch's namespace that have a seat, or are bare
	objects     map[string]*object
	generations map[string]*generations
	lent        map[string]string // names, as kind/name, by the other namespace that has them
	store       storeState
	api         apiState
	space       namespaceState
	real        bool // requests are real HTTP requests
	listening   bool // nothing is asked of the cluster
	touched     bool // pods or nodes are others since the settings were made

	grid  grid
	scale Scale
	// Told is a frame up to which the clock of the grid has told its triggers.
	told int64

	// Frame of the newest event. What comes later is never heard earlier: the
	// last level that a jack gets must be the newest.
	now int64
	// Epoch counts the tellers of the cluster. While taking, a teller that
	// knows nothing of its forerunner lists what there is; what it has not
	// named when it is done went unseen.
	epoch  int
	taking bool
	// Dark tells that a panic lowered what the cluster holds up. What happens
	// there is taken in and not heard until a hand says so.
	dark bool

	cloud   cloud
	unheard uint64
}

// panelRef is a module on which a state is shown.
type panelRef struct {
	id     instrument.ModuleID
	handle uint32
	spec   *instrument.ModuleSpec
}

// status is what the board knows of one object of a kind that has panels of
// its own and nothing to do with those of other kinds.
type status interface {
	// apply takes one field and shows what it changes on the object's panels.
	// It returns false when the object is there no more.
	apply(b *Board, t Transition, refs []panelRef, frame int64) bool
	// show shows all that is known on panels.
	show(b *Board, refs []panelRef, frame int64)
}

// object is a status and when it was last told of.
type object struct {
	status
	seen int // epoch
}

// newStatus returns the empty status of a kind, nil for kinds that are kept
// otherwise.
func newStatus(kind string) status {
	switch kind {
	case KindService:
		return &serviceState{}
	case KindIngress:
		return &ingressState{}
	case KindHPA:
		return &hpaState{}
	case KindCronJob:
		return &cronJobState{}
	case KindJob:
		return &jobState{}
	}
	return nil
}

// newBoard returns a Board that sends its events to emit.
func newBoard(cfg Config, emit func(instrument.Event)) *Board {
	return &Board{embedded: cfg.Embedded, namespace: cfg.Namespace, storm: max(cfg.Storm, 0.5), policy: cfg.StormPolicy, rate: cfg.SampleRate, emit: emit,
		wanted: func(string) bool { return false }, shown: func(int64) {},
		patch: &instrument.Patch{}, panels: map[string][]panelRef{}, podPanels: map[string]*podPanel{}, views: map[string][]*podPanel{}, watchers: map[string][]panelRef{},
		deployments: map[string]*deploymentState{}, pods: map[string]*podState{}, byName: map[string]*podState{},
		nodes: map[string]*nodeState{}, onNode: map[string]int{}, objects: map[string]*object{}, generations: map[string]*generations{}, lent: map[string]string{},
		grid: grid{inTime: true}, scale: cfg.Scale,
		space: namespaceState{headroom: 1, powered: true}, taking: true}
}

// clock returns when something that is due at a frame can be heard: not
// before what was told earlier.
func (b *Board) clock(frame int64) int64 {
	b.now = max(b.now, frame)
	return b.now
}

// wire tells the board where things are shown after the patch has changed,
// and shows all that is known there.
func (b *Board) wire(p *instrument.Patch, handle func(instrument.ModuleID) uint32, frame int64) {
	b.patch = p
	clear(b.panels)
	clear(b.watchers)
	b.ticking = b.ticking[:0]
	for _, d := range b.deployments {
		d.claims, d.refs, d.scaled = [instrument.MaxPoly][]panelRef{}, nil, false
		d.hasWish = d.hasWish && p.Module(instrument.ModuleID(KindDeployment+"/"+d.name)) != nil
	}
	claimed := claims(p)
	b.unplugPodPanels()
	for i := range p.Modules {
		m := &p.Modules[i]
		ref := panelRef{m.ID, handle(m.ID), m.Spec()}
		on := func(key string) { b.panels[key] = append(b.panels[key], ref) }
		switch kind := m.ID.Kind(); kind {
		case KindDeployment:
			d := b.deployment(m.ID.Name())
			d.refs = append(d.refs, ref)
		case KindPod:
			if c, ok := claimed[m.ID]; ok {
				d := b.deployment(c.deployment)
				d.claims[c.slot] = append(d.claims[c.slot], ref)
			} else {
				b.plugPodPanel(ref)
			}
		case KindNode:
			on(KindNode + "/" + nodeOf(m))
		case kindController:
			on(kind)
			if word := m.Word("object"); word != "" {
				b.watchers[word] = append(b.watchers[word], ref)
			}
		case KindEtcd, KindAPIServer, KindNamespace:
			on(kind)
		case KindCronJob:
			on(string(m.ID))
			b.ticking = append(b.ticking, string(m.ID))
		default:
			on(string(m.ID))
		}
	}
	b.findBare()
	for _, c := range p.Cables {
		if c.To.Module.Kind() == KindDeployment && c.To.Jack == "replicas_cv" && c.From.Module.Kind() == KindHPA && c.From.Jack == "scale" {
			b.deployment(c.To.Module.Name()).scaled = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.deployments)) {
		b.prune(b.deployments[name])
	}
	b.showAll(frame)
	b.showBoot(frame)
}

// kindController is the kind of the module that watches an object of any kind.
const kindController = "controller"

// jackSync is the jack of the API Server whose silence is an alarm.
const jackSync = "sync"

// nodeOf returns the name of the node that a Node panel shows.
func nodeOf(m *instrument.Module) string { return cmp.Or(m.Word("node"), m.ID.Name()) }

// showAll shows all that is known of the cluster but its boot, which is an
// event more than a state.
func (b *Board) showAll(frame int64) {
	for _, name := range slices.Sorted(maps.Keys(b.podPanels)) {
		v := b.podPanels[name]
		b.look(v, frame)
		b.showPodOn(v.refs, v.shown, frame)
	}
	for _, name := range slices.Sorted(maps.Keys(b.deployments)) {
		d := b.deployments[name]
		for s := range d.pods {
			b.showSlot(d, s, frame)
		}
		b.showDeployment(d, frame, false)
	}
	for _, key := range slices.Sorted(maps.Keys(b.panels)) {
		refs := b.panels[key]
		switch kind, name, _ := strings.Cut(key, "/"); kind {
		case KindNode:
			b.showNode(name, frame)
		case kindController:
			for _, r := range refs {
				b.showWatch(r, frame)
			}
		case KindEtcd:
			b.store.show(b, refs, frame)
		case KindNamespace:
			b.space.show(b, refs, frame)
		case KindAPIServer:
			b.api.show(b, refs, frame)
		default:
			b.showObject(key, refs, frame)
		}
	}
	b.shown(frame)
}

// showObject shows an object of the kinds that newStatus knows: what is known
// of it, or that it is not there.
func (b *Board) showObject(key string, refs []panelRef, frame int64) {
	if o := b.objects[key]; o != nil {
		o.show(b, refs, frame)
	} else if kind, _, _ := strings.Cut(key, "/"); newStatus(kind) != nil {
		newStatus(kind).show(b, refs, frame)
	}
}

// panicked takes over that every jack was lowered. Only the API Server's sync
// comes back at once, because its absence means an outage and sounds an alarm;
// everything else waits for a hand: a cluster that goes on changing would take
// a panic back within moments.
func (b *Board) panicked() {
	b.dark = true
	b.cloud.forget()
	b.showSync(0)
}

// show sends a level to the named jack of each panel.
func (b *Board) show(refs []panelRef, jack string, channel int, volts float32, frame int64) {
	b.send(refs, jack, instrument.Event{Kind: instrument.EventLevel, Channel: uint8(channel), Value: volts, Frame: frame})
}

// pulse sends a trigger to the named jack of each panel.
func (b *Board) pulse(refs []panelRef, jack string, channel int, frame int64) {
	b.send(refs, jack, instrument.Event{Kind: instrument.EventPulse, Channel: uint8(channel), Frame: frame})
}

func (b *Board) send(refs []panelRef, jack string, e instrument.Event) {
	if b.dark && jack != jackSync {
		return
	}
	for _, r := range refs {
		if i := r.spec.Output(jack); i >= 0 {
			e.Module, e.Index = r.handle, uint8(i)
			b.emit(e)
		}
	}
}

func gateVolts(on bool) float32 {
	if on {
		return instrument.GateVolts
	}
	return 0
}

// countVolts is 1 V for each of a count, as far as one cable can carry them.
func countVolts(n int) float32 { return float32(min(max(n, 0), instrument.MaxPoly)) }

// latencyVolts is 1 V for each unit of time, up to 10 V.
func latencyVolts(seconds, unit float64) float32 { return float32(min(max(seconds/unit, 0), 10)) }

// requestUnit is the time of a request that is 1 V on a latency jack.
const requestUnit = 0.010

// numberedJacks returns the names of a row of jacks: claim_1, claim_2, ….
func numberedJacks(name string, n int) (names []string) {
	for i := range n {
		names = append(names, name+"_"+strconv.Itoa(i+1))
	}
	return names
}

// whole reads a whole number; what is none is 0.
func whole(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// decimal reads a number that is not negative.
func decimal(s string) (float64, bool) {
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil && v >= 0
}

// moduleName is the name of the module that asked for an object: that of the
// object may have a number of its own.
func moduleName(t *Transition) string { return cmp.Or(t.Owner, t.Object.Name) }

// inTime returns when something that is due at a frame can be heard in time
// with the clock of the grid: at its next step, or at once where there is none.
func (b *Board) inTime(frame int64) int64 { return b.grid.next(frame, b.told) }

// apply takes one transition, to be heard at a frame.
func (b *Board) apply(t Transition, frame int64) {
	frame = b.clock(b.inTime(frame))
	b.localize(&t, frame)
	b.applyGeneration(&t, frame)
	switch t.Object.Kind {
	case KindPod:
		b.applyPod(t, frame)
	case KindDeployment:
		b.applyDeployment(t, frame)
	case KindNode:
		b.applyNode(t, frame)
	case KindNamespace:
		b.space.apply(b, t, b.panels[KindNamespace], frame)
	case KindEtcd:
		b.store.apply(b, t, b.panels[KindEtcd], frame)
	case KindAPIServer, KindCluster, KindComposition:
		b.api.apply(b, t, b.panels[KindAPIServer], frame)
	default:
		b.applyObject(t, frame)
	}
}

// applyObject takes a transition of one of the kinds that newStatus knows.
func (b *Board) applyObject(t Transition, frame int64) {
	key := t.Object.Kind + "/" + moduleName(&t)
	o := b.objects[key]
	if o == nil {
		s := newStatus(t.Object.Kind)
		if s == nil || t.Field == FieldExists && t.New == "" {
			return
		}
		o = &object{status: s}
		b.objects[key] = o
	}
	o.seen = b.epoch
	if !o.apply(b, t, b.panels[key], frame) {
		b.objectGone(key, frame)
	}
}

// objectGone takes over that an object is no more.
func (b *Board) objectGone(key string, frame int64) {
	delete(b.objects, key)
	delete(b.lent, key)
	b.showObject(key, b.panels[key], frame)
	if kind, name, _ := strings.Cut(key, "/"); kind == KindService {
		b.lookAt(name, frame)
	}
}

// sweep takes away what the new teller did not name: it went while nobody
// looked. Nothing of it is struck.
func (b *Board) sweep(frame int64) {
	for _, key := range slices.Sorted(maps.Keys(b.pods)) {
		if p := b.pods[key]; p.seen != b.epoch {
			b.podGone(key, p, true, frame)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.deployments)) {
		if d := b.deployments[name]; d.exists && d.seen != b.epoch {
			b.deploymentGone(d, true, frame)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b.objects)) {
		if b.objects[key].seen != b.epoch {
			b.objectGone(key, frame)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b.generations)) {
		if b.generations[key].seen != b.epoch {
			b.generationGone(key, frame)
		}
	}
	gone := false
	for _, name := range slices.Sorted(maps.Keys(b.nodes)) {
		if b.nodes[name].seen != b.epoch {
			delete(b.nodes, name)
			b.showNode(name, frame)
			gone = true
		}
	}
	if gone {
		b.placeNodes(frame)
	}
}
