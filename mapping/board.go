package mapping

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Board brings the status of the cluster home: it keeps what is known of
// deployments, pods, nodes and the API, and turns each transition into levels
// and triggers on the output jacks of the modules that stand for them.
type Board struct {
	embedded bool
	storm    float64 // events a second, of one gesture, that are struck singly
	rate     float64 // frames a second
	emit     func(instrument.Event)

	panels      map[string][]panelRef // "pod/NAME" of bare pods, "etcd", "apiserver"
	deployments map[string]*deploymentState
	pods        map[string]*podState // by Object key
	nodes       map[string]*nodeState
	boot        [instrument.MaxPoly]bool
	reachable   bool
	synced      bool
	revision    int64
	latency     float64
	reconcile   float64

	// Frame of the newest event. What comes later is never heard earlier: the
	// last level that a jack gets must be the newest.
	now int64
	// Epoch counts the tellers of the cluster. While taking, a teller that
	// knows nothing of its forerunner lists what there is; what it has not
	// named when it is done went unseen.
	epoch  int
	taking bool
	// Dark tells that a panic lowered what the cluster holds up.
	dark bool

	buckets  [instrument.MaxPoly]bucket // by gesture
	pulsed   [instrument.MaxPoly]struck // of the API Server's event jack, by gesture
	density  float64                    // events a second, smoothed
	densityV float32
	lastTick int64
	counted  int
	unheard  uint64
}

// panelRef is a module on which a state is shown.
type panelRef struct {
	handle uint32
	spec   *instrument.ModuleSpec
}

type deploymentState struct {
	name    string
	wish    int // what the player asks for
	hasWish bool
	// Ours has bit n set where the player asked for n since the cluster last
	// agreed: what it says now may be an echo of that.
	ours uint64

	exists               bool // the cluster has it
	seen                 int  // epoch in which it was last told of
	spec                 bool // it told its spec
	replicas             int  // what the spec says
	updated              int
	generation, observed int

	pods     [instrument.MaxPoly]*podState
	waiting  []*podState // living pods for which no channel is free yet, oldest first
	refs     []panelRef
	claims   [instrument.MaxPoly][]panelRef // Pod panels by the slot that they show
	unstable bool
	struck   [instrument.MaxPoly]struck
}

// struck is the last trigger of a jack's channel.
type struck struct {
	frame   int64
	gesture instrument.Gesture
}

type podState struct {
	object   Object
	owner    string // the Deployment, empty for a bare pod
	module   string // the Pod module of a bare pod
	replica  string
	seen     int // epoch in which it was last told of
	slot     int // −1: none
	last     int // the seat that it has or had, −1 if none
	node     string
	phase    string
	reason   string
	ready    bool
	deleting bool
	restarts int
	struck   struck
	panels   []panelRef // of a bare pod
}

type nodeState struct {
	place    float32 // −1…1
	cordoned bool
	seen     int // epoch in which it was last told of
}

// bucket thins one kind of gesture: it holds the strikes that may still
// sound, and the last one that did not.
type bucket struct {
	begun  bool
	tokens float64
	at     int64
	held   func(frame int64)
	heldAt int64
}

// strikeGap is the least time between two triggers of one jack: with a
// trigger of 1 ms, the edges stay apart.
const strikeGap = 0.0025

// heldSeconds is how long a kind of event must be quiet before the last that
// was swallowed by a storm is heard singly.
const heldSeconds = 0.25

// newBoard returns a Board that sends its events to emit.
func newBoard(rate, storm float64, embedded bool, emit func(instrument.Event)) *Board {
	return &Board{embedded: embedded, storm: max(storm, 0.5), rate: rate, emit: emit,
		panels: map[string][]panelRef{}, deployments: map[string]*deploymentState{}, pods: map[string]*podState{},
		nodes: map[string]*nodeState{}, taking: true}
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
	clear(b.panels)
	for _, d := range b.deployments {
		d.claims, d.refs, d.hasWish = [instrument.MaxPoly][]panelRef{}, nil, d.hasWish && p.Module(instrument.ModuleID(KindDeployment+"/"+d.name)) != nil
	}
	claimed := claims(p)
	for i := range p.Modules {
		m := &p.Modules[i]
		ref := panelRef{handle(m.ID), m.Spec()}
		switch m.ID.Kind() {
		case KindDeployment:
			d := b.deployment(m.ID.Name())
			d.refs = append(d.refs, ref)
		case KindPod:
			if c, ok := claimed[m.ID]; ok {
				d := b.deployment(c.deployment)
				d.claims[c.slot] = append(d.claims[c.slot], ref)
			} else {
				b.panels[string(m.ID)] = append(b.panels[string(m.ID)], ref)
				// It may have shown a replica before.
				b.showPodOn(b.panels[string(m.ID)], nil, frame)
			}
		case KindEtcd, KindAPIServer:
			b.panels[m.ID.Kind()] = append(b.panels[m.ID.Kind()], ref)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.deployments)) {
		b.prune(b.deployments[name])
	}
	b.showAll(frame)
	b.showBoot(frame)
}

// showAll shows all that is known of the cluster but its boot, which is an
// event more than a state. What a panic lowered is up again.
func (b *Board) showAll(frame int64) {
	b.dark = false
	for _, key := range slices.Sorted(maps.Keys(b.pods)) {
		if p := b.pods[key]; p.owner == "" {
			p.panels = b.panels[KindPod+"/"+p.module]
			b.showPodOn(p.panels, p, frame)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.deployments)) {
		d := b.deployments[name]
		for s := range d.pods {
			b.showSlot(d, s, frame)
		}
		b.showDeployment(d, frame, false)
	}
	b.showSync(frame)
	b.show(b.panels[KindEtcd], "revision", 0, revisionVolts(b.revision), frame)
	b.show(b.panels[KindEtcd], "commit_latency", 0, latencyVolts(b.latency, 0.010), frame)
	b.show(b.panels[KindAPIServer], "reconcile_latency", 0, latencyVolts(b.reconcile, 0.100), frame)
	b.show(b.panels[KindAPIServer], "density", 0, b.densityV, frame)
}

// panicked takes over that every jack was lowered. Only the API Server's sync
// comes back at once, because its absence means an outage and sounds an alarm;
// everything else waits for the next change of the cluster's state.
func (b *Board) panicked() {
	b.dark = true
	for g := range b.buckets {
		b.buckets[g].held = nil
	}
	b.showSync(0)
}

// claim is what a Pod panel's lifecycle is patched to.
type claim struct {
	deployment string
	slot       int
}

// claims returns which replica each Pod panel of the patch shows.
func claims(p *instrument.Patch) map[instrument.ModuleID]claim {
	cs := map[instrument.ModuleID]claim{}
	for _, c := range p.Cables {
		if c.To.Module.Kind() != KindPod || c.To.Jack != "lifecycle" || c.From.Module.Kind() != KindDeployment {
			continue
		}
		if row, ok := strings.CutPrefix(c.From.Jack, "claim_"); ok {
			if n, err := strconv.Atoi(row); err == nil {
				cs[c.To.Module] = claim{c.From.Module.Name(), n - 1}
			}
		}
	}
	return cs
}

func (b *Board) deployment(name string) *deploymentState {
	d := b.deployments[name]
	if d == nil {
		d = &deploymentState{name: name}
		b.deployments[name] = d
	}
	return d
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

func revisionVolts(rev int64) float32 { return float32(rev%100) * 0.1 }

// latencyVolts is 1 V for each unit of time, up to 10 V.
func latencyVolts(seconds, unit float64) float32 { return float32(min(max(seconds/unit, 0), 10)) }

// phaseVolts is what the phase jack of a Pod shows.
func phaseVolts(phase string) float32 {
	switch phase {
	case "Running":
		return 5
	case "Succeeded":
		return 10
	case "Failed":
		return -5
	}
	return 0
}

// wished tells the board what the player asks of a Deployment: the distance
// from it is the error from this moment on, long before the cluster hears.
func (b *Board) wished(name string, replicas int, frame int64) {
	d := b.deployment(name)
	if d.hasWish && d.wish == replicas {
		return
	}
	frame = b.clock(frame)
	was, had := d.wish, d.hasWish
	d.wish, d.hasWish = replicas, true
	d.ours |= 1 << replicas
	if had {
		b.asked(d, was, replicas, frame)
	}
	b.showDeployment(d, frame, true)
	if b.dark {
		b.showAll(frame)
	}
}

// asked plays that more or less is asked for, on the first voice.
func (b *Board) asked(d *deploymentState, was, now int, frame int64) {
	g := instrument.GestureUp
	if now < was {
		g = instrument.GestureDown
	}
	b.gesture(g, frame, func(f int64) { b.strike(d, 0, nil, g, f) })
}

// apply takes one transition, to be heard at a frame.
func (b *Board) apply(t Transition, frame int64) {
	frame = b.clock(frame)
	if b.dark && t.Object.Kind != KindEtcd && t.Object.Kind != KindComposition {
		b.showAll(frame)
	}
	switch t.Object.Kind {
	case KindPod:
		b.applyPod(t, frame)
	case KindDeployment:
		b.applyDeployment(t, frame)
	case KindNode:
		b.applyNode(t, frame)
	case KindEtcd:
		switch t.Field {
		case FieldRevision:
			if n, err := strconv.ParseInt(t.New, 10, 64); err == nil {
				b.revision = n
				b.show(b.panels[KindEtcd], "revision", 0, revisionVolts(n), frame)
				if !t.Quiet {
					b.pulse(b.panels[KindEtcd], "heartbeat", 0, frame)
				}
			}
		case FieldLatency:
			if s, err := strconv.ParseFloat(t.New, 64); err == nil && s >= 0 {
				b.latency = s
				b.show(b.panels[KindEtcd], "commit_latency", 0, latencyVolts(s, 0.010), frame)
			}
		}
	case KindAPIServer:
		switch t.Field {
		case FieldReachable:
			b.reachable = t.New == "true"
			if t.Old == "" && !b.reachable && !b.taking {
				// Said of nobody before: the teller is gone, and the next one
				// does not know what this one told.
				b.taking = true
				b.epoch++
			}
			b.showBoot(frame)
		case FieldSynced:
			b.synced = t.New == "true"
			if b.synced && b.taking {
				b.taking = false
				b.sweep(frame)
			}
		}
		b.showSync(frame)
	case KindCluster:
		if t.Field == FieldBoot {
			if t.New == "" {
				b.boot = [instrument.MaxPoly]bool{}
			} else if i := slices.Index(BootStages, t.New); i >= 0 {
				b.boot[i] = true
			}
			b.showBoot(frame)
		}
	case KindComposition:
		switch t.Field {
		case FieldLatency:
			if s, err := strconv.ParseFloat(t.New, 64); err == nil && s >= 0 {
				b.reconcile = s
				b.show(b.panels[KindAPIServer], "reconcile_latency", 0, latencyVolts(s, 0.100), frame)
			}
		case FieldReason:
			if t.New != "" && !t.Quiet {
				b.pulse(b.panels[KindAPIServer], "problem", 0, frame)
			}
		}
	}
}

func (b *Board) showSync(frame int64) {
	b.show(b.panels[KindAPIServer], "sync", 0, gateVolts(b.reachable && b.synced), frame)
}

func (b *Board) showBoot(frame int64) {
	api := b.panels[KindAPIServer]
	for i := range BootStages {
		on := b.boot[i]
		if !b.embedded {
			// Somebody else's control plane is there as a whole or not at all.
			on = b.reachable || i == 0
		} else if !b.reachable && i > slices.Index(BootStages, BootEtcd) {
			// What is behind a door that does not open might as well be gone.
			on = false
		}
		b.show(api, "boot", i, gateVolts(on), frame)
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
	gone := false
	for name, n := range b.nodes {
		if n.seen != b.epoch {
			delete(b.nodes, name)
			gone = true
		}
	}
	if gone {
		b.showNodes(frame)
	}
}

func (b *Board) applyDeployment(t Transition, frame int64) {
	if t.Field == FieldExists && t.New == "" {
		if d := b.deployments[t.Object.Name]; d != nil {
			b.deploymentGone(d, t.Quiet, frame)
		}
		return
	}
	d := b.deployment(t.Object.Name)
	d.exists, d.seen = true, b.epoch
	n, _ := strconv.Atoi(t.New)
	switch t.Field {
	case FieldGen:
		d.generation = n
	case FieldObserved:
		d.observed = n
	case FieldUpdated:
		d.updated = n
	case FieldReplicas:
		was := d.replicas
		d.replicas, d.spec = n, true
		own := d.hasWish && (n == d.wish || n >= 0 && n < 64 && d.ours&(1<<n) != 0)
		if n == d.wish {
			d.ours = 0
		}
		// What the player asked for was played when it was asked; this is
		// somebody else's hand.
		if !t.Quiet && n != was && d.hasWish && !own && t.Old != "" {
			b.asked(d, was, n, frame)
		}
		b.showDeployment(d, frame, !t.Quiet)
	}
}

func (b *Board) deploymentGone(d *deploymentState, quiet bool, frame int64) {
	d.exists, d.spec, d.replicas, d.updated, d.generation, d.observed = false, false, 0, 0, 0, 0
	b.showDeployment(d, frame, !quiet)
	b.prune(d)
}

// prune forgets a Deployment that is neither in the patch nor in the cluster,
// so that a cluster in which many come and go does not fill the memory.
func (b *Board) prune(d *deploymentState) {
	if d.exists || len(d.refs) > 0 || len(d.waiting) > 0 {
		return
	}
	for s := range d.pods {
		if d.pods[s] != nil || len(d.claims[s]) > 0 {
			return
		}
	}
	delete(b.deployments, d.name)
}

func (b *Board) applyNode(t Transition, frame int64) {
	name := t.Object.Name
	n := b.nodes[name]
	switch {
	case t.Field == FieldExists && t.New == "":
		if n == nil {
			return
		}
		delete(b.nodes, name)
	case n == nil:
		n = &nodeState{seen: b.epoch, cordoned: t.Field == FieldCordoned && t.New == "true"}
		b.nodes[name] = n
	default:
		n.seen = b.epoch
		if t.Field != FieldCordoned {
			return
		}
		n.cordoned = t.New == "true"
	}
	b.showNodes(frame)
}

// showNodes gives each node its place, from left to right in the order of
// their names, and shows it at each pod.
func (b *Board) showNodes(frame int64) {
	names := slices.Sorted(maps.Keys(b.nodes))
	for i, name := range names {
		place := float32(0)
		if len(names) > 1 {
			place = float32(2*i)/float32(len(names)-1) - 1
		}
		b.nodes[name].place = place
	}
	for _, name := range slices.Sorted(maps.Keys(b.deployments)) {
		for s, p := range b.deployments[name].pods {
			if p != nil {
				b.showSlot(b.deployments[name], s, frame)
			}
		}
	}
}

func podKey(o Object) string {
	if o.UID != "" {
		return o.UID
	}
	return o.Namespace + "/" + o.Name
}

// alive tells whether a pod still plays: dead ones give their place to their
// successor.
func (p *podState) alive() bool { return p.phase != "Failed" && p.phase != "Succeeded" }

func (b *Board) applyPod(t Transition, frame int64) {
	key := podKey(t.Object)
	p := b.pods[key]
	if t.Field == FieldExists && t.New == "" {
		if p != nil {
			b.podGone(key, p, t.Quiet, frame)
		}
		return
	}
	if p == nil {
		p = &podState{object: t.Object, slot: -1, last: -1}
		b.pods[key] = p
	}
	p.seen = b.epoch
	if p.owner == "" {
		if b.bare(t) {
			p.module = cmp.Or(t.Owner, t.Object.Name)
			p.panels = b.panels[KindPod+"/"+p.module]
		} else {
			p.owner, p.replica, p.panels = t.Owner, t.Replica, nil
		}
	}
	d := b.owner(p)
	b.enter(d, p)
	g := instrument.NoGesture
	switch t.Field {
	case FieldExists:
		// Told as new: a reason that it may have had is told again.
		p.reason = ""
	case FieldDeleting:
		p.deleting = t.New == "true"
		if p.deleting && d != nil && p.alive() && d.missing() && !d.rolling(p) {
			g = instrument.GestureFailed
		}
	case FieldNode:
		p.node = t.New
		if t.New != "" {
			g = instrument.GestureScheduled
		}
	case FieldPhase:
		p.phase = t.New
		switch t.New {
		case "Failed":
			g = deathGesture(p.reason)
		case "Succeeded":
			g = instrument.GestureSucceeded
		}
	case FieldReady:
		p.ready = t.New == "true"
		if p.ready {
			g = instrument.GestureReady
			p.reason = ""
		}
	case FieldReason:
		p.reason = t.New
		switch t.New {
		case "CrashLoopBackOff", "OOMKilled", "Evicted":
			g = deathGesture(t.New)
		}
	case FieldRestarts:
		n, _ := strconv.Atoi(t.New)
		if n > p.restarts {
			g = deathGesture(p.reason)
			if !t.Quiet {
				b.pulse(b.podPanels(d, p), "restart", 0, frame)
			}
		}
		p.restarts = n
	}
	if d == nil {
		b.showPodOn(p.panels, p, frame)
	} else {
		if p.alive() {
			b.enter(d, p)
		} else {
			b.vacate(d, p, frame)
		}
		if p.last >= 0 {
			b.showSlot(d, p.last, frame)
		}
		b.showDeployment(d, frame, !t.Quiet)
	}
	if g != instrument.NoGesture && !t.Quiet {
		// Of one that is dead already, what is learnt of its end is struck
		// where it was.
		b.gesture(g, frame, func(f int64) { b.strike(d, p.last, p, g, f) })
	}
}

// podGone takes over that a pod is no more.
func (b *Board) podGone(key string, p *podState, quiet bool, frame int64) {
	delete(b.pods, key)
	d := b.owner(p)
	if d == nil {
		b.showPodOn(p.panels, nil, frame)
		return
	}
	b.vacate(d, p, frame)
	if p.last >= 0 {
		b.showSlot(d, p.last, frame)
	}
	b.showDeployment(d, frame, !quiet)
	// One that goes without having been asked to was killed.
	if !quiet && !p.deleting && p.alive() && d.missing() {
		g := instrument.GestureFailed
		b.gesture(g, frame, func(f int64) { b.strike(d, p.last, p, g, f) })
	}
	b.prune(d)
}

// bare tells whether a pod belongs to no Deployment. The owner of such a one is
// its module, and it has no replica.
func (b *Board) bare(t Transition) bool {
	return t.Owner == "" || t.Replica == "" && (len(b.panels[KindPod+"/"+t.Owner]) > 0 || b.deployments[t.Owner] == nil)
}

// owner returns the Deployment of a pod, nil for a bare one.
func (b *Board) owner(p *podState) *deploymentState {
	if p.owner == "" {
		return nil
	}
	return b.deployment(p.owner)
}

// deathGesture tells by the reason how a container's end sounds.
func deathGesture(reason string) instrument.Gesture {
	switch reason {
	case "OOMKilled":
		return instrument.GestureOOM
	case "CrashLoopBackOff":
		return instrument.GestureCrashLoop
	case "Evicted", "Preempting", "TerminationByKubelet", "NodeShutdown":
		return instrument.GestureEvicted
	}
	return instrument.GestureFailed
}

// enter gives a living pod a seat, or lets it wait for one.
func (b *Board) enter(d *deploymentState, p *podState) {
	if d == nil || p.slot >= 0 || !p.alive() || slices.Contains(d.waiting, p) {
		return
	}
	if d.seat(p); p.slot < 0 {
		d.waiting = append(d.waiting, p)
		b.unheard++
	}
}

// seat gives a pod the lowest free channel of its Deployment, for life.
func (d *deploymentState) seat(p *podState) {
	for s := range d.pods {
		if d.pods[s] == nil {
			d.pods[s], p.slot, p.last = p, s, s
			return
		}
	}
}

// vacate frees the seat of a pod whose life is over. Who waits longest takes
// it.
func (b *Board) vacate(d *deploymentState, p *podState, frame int64) {
	d.waiting = slices.DeleteFunc(d.waiting, func(w *podState) bool { return w == p })
	if p.slot < 0 {
		return
	}
	d.pods[p.slot] = nil
	p.slot = -1
	if len(d.waiting) > 0 {
		w := d.waiting[0]
		d.waiting = slices.Delete(d.waiting, 0, 1)
		d.seat(w)
		b.showSlot(d, w.slot, frame)
	}
}

// all yields the living pods, heard or not.
func (d *deploymentState) all(yield func(*podState) bool) {
	for _, p := range d.pods {
		if p != nil && !yield(p) {
			return
		}
	}
	for _, p := range d.waiting {
		if !yield(p) {
			return
		}
	}
}

// missing tells whether fewer pods stay than player and cluster agree on: a
// pod that goes because somebody's hand scaled down is not missed.
func (d *deploymentState) missing() bool {
	n, want := 0, d.target()
	if d.spec {
		want = min(want, d.replicas)
	}
	for p := range d.all {
		if !p.deleting {
			n++
		}
	}
	return n < want
}

// twoHashes tells whether pods of more than one replica set are there.
func (d *deploymentState) twoHashes() bool {
	hash := ""
	for p := range d.all {
		if hash == "" {
			hash = p.replica
		} else if p.replica != "" && p.replica != hash {
			return true
		}
	}
	return false
}

// rolling tells whether a pod goes because a rollout replaces it: others of
// another hash are there, or the controller has still to act on a new spec, or
// it counts fewer updated pods than there are of this one's kind.
func (d *deploymentState) rolling(old *podState) bool {
	if d.twoHashes() {
		return true
	}
	if d.observed == 0 {
		return false // nobody told of the status
	}
	n := 0
	for p := range d.all {
		if p.replica == old.replica {
			n++
		}
	}
	return d.observed < d.generation || d.updated < min(d.replicas, n)
}

// target is what the player asks for, or where no player does, the spec.
func (d *deploymentState) target() int {
	if d.hasWish {
		return d.wish
	}
	return d.replicas
}

func (b *Board) podPanels(d *deploymentState, p *podState) []panelRef {
	if d == nil {
		return p.panels
	}
	if p.slot >= 0 {
		return d.claims[p.slot]
	}
	return nil
}

// place is where in the stereo field a node stands, in volts.
func (b *Board) place(node string) float32 {
	if n := b.nodes[node]; n != nil {
		return n.place * instrument.AudioVolts * 0.8
	}
	return 0
}

// showSlot shows one channel of a Deployment, and the Pod panels on it.
func (b *Board) showSlot(d *deploymentState, s int, frame int64) {
	refs := d.refs
	p := d.pods[s]
	var exists, pending, running, ready bool
	if p != nil {
		exists = true
		// A cordon mutes the voices of its node.
		n := b.nodes[p.node]
		running = p.phase == "Running" && (n == nil || !n.cordoned)
		pending = p.phase != "Running" && !p.deleting
		ready = running && p.ready && !p.deleting
		if p.node != "" {
			// An empty seat keeps its place, so that a tail stays where it was.
			b.show(refs, "node", s, b.place(p.node), frame)
		}
	}
	b.show(refs, "pods", s, gateVolts(exists), frame)
	b.show(refs, "pending", s, gateVolts(pending), frame)
	b.show(refs, "running", s, gateVolts(running), frame)
	b.show(refs, "ready", s, gateVolts(ready), frame)
	if s < instrument.Rows {
		b.show(refs, claimJacks[s], 0, gateVolts(exists), frame)
	}
	b.showPodOn(d.claims[s], p, frame)
}

// claimJacks are the claim jacks of a Deployment, by slot.
var claimJacks = func() (names [instrument.Rows]string) {
	for i := range names {
		names[i] = "claim_" + strconv.Itoa(i+1)
	}
	return names
}()

// showPodOn shows a pod on its panels; nil is none.
func (b *Board) showPodOn(refs []panelRef, p *podState, frame int64) {
	exists := p != nil
	b.show(refs, "exists", 0, gateVolts(exists), frame)
	phase, ready := "", false
	if exists {
		phase, ready = p.phase, p.ready && !p.deleting
	}
	b.show(refs, "phase", 0, phaseVolts(phase), frame)
	b.show(refs, "ready", 0, gateVolts(ready), frame)
}

// readyPods counts pods that are ready and stay.
func (d *deploymentState) readyPods() (n int) {
	for p := range d.all {
		if p.ready && p.phase == "Running" && !p.deleting {
			n++
		}
	}
	return n
}

func (b *Board) showDeployment(d *deploymentState, frame int64, live bool) {
	refs := d.refs
	want, ready := d.target(), d.readyPods()
	count := float32(10)
	if want > 0 {
		count = min(10*float32(ready)/float32(want), 10)
	}
	b.show(refs, "ready_count", 0, count, frame)
	b.show(refs, "error", 0, float32(want-ready), frame)
	rollout := d.twoHashes()
	moving := want != ready || rollout
	for p := range d.all {
		moving = moving || p.deleting || !p.ready
	}
	b.show(refs, "rollout", 0, gateVolts(rollout), frame)
	if d.unstable && !moving && live {
		b.pulse(refs, "settled", 0, frame)
	}
	d.unstable = moving
}

// strike sends a gesture's trigger and kind to a channel of a Deployment and
// to the panels of the pod.
func (b *Board) strike(d *deploymentState, slot int, p *podState, g instrument.Gesture, frame int64) {
	var refs []panelRef
	var last *struck
	channel := 0
	switch {
	case d != nil && slot >= 0:
		refs = d.refs
		last, channel = &d.struck[slot], slot
	case d == nil && p != nil:
		refs, last = p.panels, &p.struck
	default:
		return
	}
	gap := int64(strikeGap * b.rate)
	if near := frame < last.frame+gap && last.gesture != instrument.NoGesture; near && death(g) && death(last.gesture) {
		// One end, told in two fields: the more telling one is struck, once.
		if g != instrument.GestureFailed {
			last.gesture = g
			b.show(refs, "kind", channel, g.Volts(), last.frame)
			if d != nil && p != nil {
				b.show(d.claims[slot], "kind", 0, g.Volts(), last.frame)
			}
		}
		return
	} else if near {
		frame = last.frame + gap
	}
	*last = struck{frame, g}
	b.show(refs, "kind", channel, g.Volts(), frame)
	b.pulse(refs, "event", channel, frame)
	if d != nil && p != nil {
		b.show(d.claims[slot], "kind", 0, g.Volts(), frame)
		b.pulse(d.claims[slot], "event", 0, frame)
	}
}

// death tells whether a gesture is the end of a container.
func death(g instrument.Gesture) bool {
	switch g {
	case instrument.GestureFailed, instrument.GestureOOM, instrument.GestureCrashLoop, instrument.GestureEvicted:
		return true
	}
	return false
}

// gesture lets a gesture sound, or in a storm lets it go into the cloud; the
// first and the last of a kind are always heard.
func (b *Board) gesture(g instrument.Gesture, frame int64, play func(frame int64)) {
	b.counted++
	if last := &b.pulsed[g]; last.gesture == instrument.NoGesture || frame >= last.frame+int64(strikeGap*b.rate) {
		*last = struck{frame, g}
		b.pulse(b.panels[KindAPIServer], "event", int(g), frame)
	}
	k := &b.buckets[g]
	if !k.begun {
		*k = bucket{begun: true, tokens: b.storm, at: frame}
	}
	k.tokens = min(k.tokens+float64(frame-k.at)/b.rate*b.storm, b.storm)
	k.at = frame
	if k.tokens < 1 {
		k.held, k.heldAt = play, frame
		return
	}
	k.tokens--
	k.held = nil
	play(frame)
}

// tick moves what depends on time alone: the cloud's density, and the last
// of a storm. Call it about ten times a second of sound.
func (b *Board) tick(frame int64) {
	// This does not move the clock: a hand is not to wait for it.
	frame = max(b.now, frame)
	for g := range b.buckets {
		k := &b.buckets[g]
		if k.held != nil && float64(frame-k.heldAt) > heldSeconds*b.rate {
			play := k.held
			k.held = nil
			play(frame)
		}
	}
	dt := float64(frame-b.lastTick) / b.rate
	if dt <= 0 {
		return
	}
	b.lastTick = frame
	// Half a second of memory: fast enough to follow a storm, slow enough
	// not to flutter.
	a := 1 - math.Exp(-dt/0.5)
	b.density += a * (float64(b.counted)/dt - b.density)
	b.counted = 0
	v := float32(min(max(math.Log2(max(b.density, 1)), 0), 10))
	if d := v - b.densityV; d > 0.02 || d < -0.02 || (v == 0 && b.densityV != 0) {
		b.densityV = v
		b.show(b.panels[KindAPIServer], "density", 0, v, frame)
	}
}
