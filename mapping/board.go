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

	panels      map[string][]panelRef // "deployment/web", "pod/web-1", "etcd", "apiserver"
	deployments map[string]*deploymentState
	pods        map[string]*podState // by Object key
	nodes       map[string]*nodeState
	boot        [instrument.MaxPoly]bool
	reachable   bool
	synced      bool
	revision    int64
	latency     float64
	reconcile   float64

	buckets  map[instrument.Gesture]*bucket
	density  float64 // events a second, smoothed
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
	name     string
	wish     int // what the player asks for
	hasWish  bool
	replicas int // what the cluster's spec says
	pods     [instrument.MaxPoly]*podState
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
	owner    string
	replica  string
	slot     int // −1: none
	node     string
	phase    string
	reason   string
	ready    bool
	deleting bool
	restarts int
	struck   struck
	last     int        // the seat that it had, −1 if none
	panels   []panelRef // of a bare pod
}

type nodeState struct {
	place    float32 // −1…1
	cordoned bool
}

// bucket thins one kind of gesture: it holds the strikes that may still
// sound, and the last one that did not.
type bucket struct {
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
		nodes: map[string]*nodeState{}, buckets: map[instrument.Gesture]*bucket{}}
}

// wire tells the board where things are shown after the patch has changed,
// and shows all that is known there.
func (b *Board) wire(p *instrument.Patch, handle func(instrument.ModuleID) uint32, frame int64) {
	clear(b.panels)
	for _, d := range b.deployments {
		d.claims = [instrument.MaxPoly][]panelRef{}
	}
	for _, pod := range b.pods {
		pod.panels = nil
	}
	claimed := claims(p)
	for i := range p.Modules {
		m := &p.Modules[i]
		ref := panelRef{handle(m.ID), m.Spec()}
		switch m.ID.Kind() {
		case KindDeployment:
			b.panels[string(m.ID)] = append(b.panels[string(m.ID)], ref)
			b.deployment(m.ID.Name())
		case KindPod:
			if c, ok := claimed[m.ID]; ok {
				d := b.deployment(c.deployment)
				d.claims[c.slot] = append(d.claims[c.slot], ref)
			} else {
				b.panels[string(m.ID)] = append(b.panels[string(m.ID)], ref)
			}
		case KindEtcd, KindAPIServer:
			b.panels[m.ID.Kind()] = append(b.panels[m.ID.Kind()], ref)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(b.pods)) {
		b.showPod(b.pods[key], frame)
	}
	for _, name := range slices.Sorted(maps.Keys(b.deployments)) {
		d := b.deployments[name]
		for s := range d.pods {
			b.showSlot(d, s, frame)
		}
		b.showDeployment(d, frame, false)
	}
	b.showAPI(frame)
	b.show(b.panels[KindEtcd], "revision", 0, revisionVolts(b.revision), frame)
	b.show(b.panels[KindEtcd], "commit_latency", 0, latencyVolts(b.latency, 0.010), frame)
	b.show(b.panels[KindAPIServer], "reconcile_latency", 0, latencyVolts(b.reconcile, 0.100), frame)
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
	was, had := d.wish, d.hasWish
	d.wish, d.hasWish = replicas, true
	if had {
		b.asked(d, was, replicas, frame)
	}
	b.showDeployment(d, frame, true)
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
			if !b.reachable {
				b.synced = false
			}
		case FieldSynced:
			b.synced = t.New == "true"
		}
		b.showAPI(frame)
	case KindCluster:
		if t.Field == FieldBoot {
			if t.New == "" {
				b.boot = [instrument.MaxPoly]bool{}
			} else if i := slices.Index(BootStages, t.New); i >= 0 {
				b.boot[i] = true
			}
			b.showAPI(frame)
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

func (b *Board) showAPI(frame int64) {
	api := b.panels[KindAPIServer]
	b.show(api, "sync", 0, gateVolts(b.reachable && b.synced), frame)
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

func (b *Board) applyDeployment(t Transition, frame int64) {
	d := b.deployment(t.Object.Name)
	if t.Field != FieldReplicas {
		return
	}
	n, _ := strconv.Atoi(t.New)
	was := d.replicas
	d.replicas = n
	// What the player asked for was played when it was asked; this is
	// somebody else's hand.
	if !t.Quiet && n != was && d.hasWish && n != d.wish && t.Old != "" {
		b.asked(d, was, n, frame)
	}
	b.showDeployment(d, frame, !t.Quiet)
}

func (b *Board) applyNode(t Transition, frame int64) {
	n := b.nodes[t.Object.Name]
	if n == nil {
		n = &nodeState{}
		b.nodes[t.Object.Name] = n
	}
	switch t.Field {
	case FieldExists:
		if t.New == "" {
			delete(b.nodes, t.Object.Name)
		}
	case FieldCordoned:
		n.cordoned = t.New == "true"
	default:
		return
	}
	// The nodes stand from left to right in the order of their names.
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
	if p == nil {
		if t.Field == FieldExists && t.New == "" {
			return
		}
		p = &podState{object: t.Object, owner: t.Owner, replica: t.Replica, slot: -1, last: -1}
		b.pods[key] = p
		if t.Owner != "" {
			b.seat(b.deployment(t.Owner), p)
		}
	}
	if p.owner == "" && t.Owner != "" {
		p.owner, p.replica = t.Owner, t.Replica
		b.seat(b.deployment(t.Owner), p)
	}
	d := b.deployments[p.owner]
	if p.owner == "" {
		p.panels = b.panels[KindPod+"/"+p.object.Name]
	}
	g := instrument.NoGesture
	slot := p.slot
	if slot < 0 {
		// Dead already; what is learnt of its end is struck where it was.
		slot = p.last
	}
	switch t.Field {
	case FieldExists:
		if t.New == "" {
			delete(b.pods, key)
			if d != nil && p.slot >= 0 {
				d.pods[p.slot] = nil
			}
			p.phase, p.ready = "", false
			p.object = Object{}
			// One that goes without having been asked to was killed.
			if !p.deleting && d != nil && p.alive() && b.missing(d) {
				g = instrument.GestureFailed
			}
		}
	case FieldDeleting:
		p.deleting = t.New == "true"
		if p.deleting && d != nil && p.alive() && b.missing(d) {
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
	if d != nil && p.slot >= 0 && !p.alive() {
		// Its life is over: the seat is free, but what is struck now is
		// still struck there.
		d.pods[p.slot] = nil
		p.slot = -1
	}
	if d != nil && slot >= 0 {
		b.showSlot(d, slot, frame)
		b.showDeployment(d, frame, !t.Quiet)
	}
	if d == nil {
		b.showPod(p, frame)
	}
	if g != instrument.NoGesture && !t.Quiet {
		b.gesture(g, frame, func(f int64) { b.strike(d, slot, p, g, f) })
	}
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

// seat gives a pod the lowest free channel of its Deployment, for life.
func (b *Board) seat(d *deploymentState, p *podState) {
	for s := range d.pods {
		if d.pods[s] == nil {
			d.pods[s], p.slot, p.last = p, s, s
			return
		}
	}
	b.unheard++
}

// missing tells whether fewer pods stay than are asked for.
func (b *Board) missing(d *deploymentState) bool {
	n := 0
	for _, p := range d.pods {
		if p != nil && !p.deleting && p.alive() {
			n++
		}
	}
	return n < d.target()
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
	refs := b.panels[KindDeployment+"/"+d.name]
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
		b.show(refs, "claim_"+strconv.Itoa(s+1), 0, gateVolts(exists), frame)
	}
	for _, r := range d.claims[s] {
		b.showPodOn([]panelRef{r}, p, frame)
	}
}

func (b *Board) showPod(p *podState, frame int64) {
	if p.owner == "" {
		p.panels = b.panels[KindPod+"/"+p.object.Name]
		b.showPodOn(p.panels, p, frame)
	}
}

func (b *Board) showPodOn(refs []panelRef, p *podState, frame int64) {
	exists := p != nil && p.object.Name != ""
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
	for _, p := range d.pods {
		if p != nil && p.ready && p.phase == "Running" && !p.deleting {
			n++
		}
	}
	return n
}

func (b *Board) showDeployment(d *deploymentState, frame int64, live bool) {
	refs := b.panels[KindDeployment+"/"+d.name]
	want, ready := d.target(), d.readyPods()
	count := float32(10)
	if want > 0 {
		count = min(10*float32(ready)/float32(want), 10)
	}
	b.show(refs, "ready_count", 0, count, frame)
	b.show(refs, "error", 0, float32(want-ready), frame)
	kinds := map[string]bool{}
	moving := want != ready
	for _, p := range d.pods {
		if p != nil {
			kinds[p.replica] = true
			moving = moving || p.deleting || !p.ready
		}
	}
	b.show(refs, "rollout", 0, gateVolts(len(kinds) > 1), frame)
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
		refs = b.panels[KindDeployment+"/"+d.name]
		last, channel = &d.struck[slot], slot
	case p != nil:
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
	b.pulse(b.panels[KindAPIServer], "event", int(g), frame)
	k := b.buckets[g]
	if k == nil {
		k = &bucket{tokens: b.storm, at: frame}
		b.buckets[g] = k
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
	for _, g := range slices.SortedFunc(maps.Keys(b.buckets), cmp.Compare[instrument.Gesture]) {
		k := b.buckets[g]
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
