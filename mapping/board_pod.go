package mapping

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

type podState struct {
	object   Object
	owner    string // the Deployment, empty for a bare pod
	module   string // the Pod module of a bare pod
	replica  string
	seen     int  // epoch in which it was last told of
	listed   bool // it was there before anybody looked
	member   bool // it counts among the pods of its Deployment
	slot     int  // −1: none
	last     int  // the seat that it has or had, −1 if none
	node     string
	phase    string
	reason   string
	ready    bool
	deleting bool
	evicted  bool // it has to go because of its node
	// Relieved tells that its successor has its seat already: the end of the
	// one is not to cut the voice of the other.
	relieved bool
	// Asked tells of a bare pod that the patch let it go, or changed it, since
	// it came: its end is no surprise.
	asked    bool
	restarts int
	load     int // millicores
	struck   struck
	viewers  []*podPanel // panels without a claim that show it

	cpu, memory, panel setting // what it was told to bear, and whose panel it is on
}

// struck is the last trigger of a jack's channel.
type struck struct {
	frame   int64
	gesture instrument.Gesture
}

// podPanel is a Pod panel without a claim. It shows the bare pod that is its
// own, or where there is none the endpoint that its request jack is patched
// to.
type podPanel struct {
	refs    []panelRef
	bare    *podState
	service string // whose endpoint jack is patched to request
	place   int    // from 0
	shown   *podState
}

// strikeGap is the least time between two triggers of one jack: with a
// trigger of 1 ms, the edges stay apart.
const strikeGap = 0.0025

// cordonedVolts is what a phase jack shows of a pod that runs on a cordoned
// node: neither Pending nor Running, so that the panel's own voice is mute.
const cordonedVolts = 2.5

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

// loadVolts is 1 V per 100 m, up to 10 V.
func (p *podState) loadVolts() float32 { return min(float32(p.load)/100, 10) }

func podKey(o Object) string {
	if o.UID != "" {
		return o.UID
	}
	return o.Namespace + "/" + o.Name
}

// podName returns a pod's namespace/name, which its successor may bear as well.
func (b *Board) podName(namespace, name string) string {
	return cmp.Or(namespace, b.namespace) + "/" + name
}

// alive tells whether a pod still plays: dead ones give their place to their
// successor.
func (p *podState) alive() bool { return p.phase != "Failed" && p.phase != "Succeeded" }

// evictions are the reasons of a pod's end that lie in its node.
var evictions = []string{"Evicted", "EvictionByEvictionAPI", "Preempting", "PreemptionByScheduler", "TerminationByKubelet", "DeletionByTaintManager", "NodeShutdown"}

// deathGesture tells by the reason how a container's end sounds.
func deathGesture(reason string) instrument.Gesture {
	switch {
	case reason == "OOMKilled":
		return instrument.GestureOOM
	case reason == "CrashLoopBackOff":
		return instrument.GestureCrashLoop
	case slices.Contains(evictions, reason):
		return instrument.GestureEvicted
	}
	return instrument.GestureFailed
}

// death tells whether a gesture is the end of a container.
func death(g instrument.Gesture) bool {
	switch g {
	case instrument.GestureFailed, instrument.GestureOOM, instrument.GestureCrashLoop, instrument.GestureEvicted:
		return true
	}
	return false
}

// unplugPodPanels forgets which panels without a claim there are, but not
// which bare pods are theirs.
func (b *Board) unplugPodPanels() {
	for _, p := range b.pods {
		p.viewers = nil
	}
	clear(b.podPanels)
	clear(b.views)
}

// plugPodPanel takes up a Pod panel without a claim.
func (b *Board) plugPodPanel(ref panelRef) {
	v := &podPanel{refs: []panelRef{ref}}
	b.podPanels[ref.id.Name()] = v
	for _, c := range b.patch.Cables {
		if c.To.Module != ref.id || c.To.Jack != "request" || c.From.Module.Kind() != KindService {
			continue
		}
		if n, ok := strings.CutPrefix(c.From.Jack, "endpoint_"); ok {
			v.service, v.place = c.From.Module.Name(), whole(n)-1
			b.views[v.service] = append(b.views[v.service], v)
		}
	}
}

// findBare gives the Pod panels the bare pods that are theirs.
func (b *Board) findBare() {
	if len(b.podPanels) == 0 {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(b.pods)) {
		if p := b.pods[key]; p.owner == "" {
			// One that is on its way out may have a successor.
			stays := !p.deleting && p.alive()
			if v := b.podPanels[p.module]; v != nil && (v.bare == nil || stays && (v.bare.deleting || !v.bare.alive())) {
				v.bare = p
			}
		}
	}
}

// look finds the pod that a panel without a claim is to show, and shows it if
// that is another than before.
func (b *Board) look(v *podPanel, frame int64) {
	p := v.bare
	if p == nil && v.service != "" {
		if o := b.objects[KindService+"/"+v.service]; o != nil {
			s := o.status.(*serviceState)
			p = b.byName[b.podName(s.namespace, s.at(v.place))]
		}
	}
	if p == v.shown {
		return
	}
	if v.shown != nil {
		v.shown.viewers = slices.DeleteFunc(v.shown.viewers, func(o *podPanel) bool { return o == v })
	}
	if v.shown = p; p != nil {
		p.viewers = append(p.viewers, v)
	}
	b.showPodOn(v.refs, p, frame)
}

// lookAt finds anew the pods of panels that show the endpoints of a Service.
func (b *Board) lookAt(service string, frame int64) {
	for _, v := range b.views[service] {
		b.look(v, frame)
	}
}

// lookAll finds anew the pods of all panels that show endpoints, after a name
// was given or lost.
func (b *Board) lookAll(frame int64) {
	if len(b.views) == 0 {
		return
	}
	for _, service := range slices.Sorted(maps.Keys(b.views)) {
		b.lookAt(service, frame)
	}
}

func (b *Board) applyPod(t Transition, frame int64) {
	key := podKey(t.Object)
	p := b.pods[key]
	if t.Field == FieldExists && t.New == "" {
		if p != nil {
			b.podGone(key, p, t.Quiet, frame)
		}
		return
	}
	fresh := p == nil
	if fresh {
		p = &podState{object: t.Object, slot: -1, last: -1, listed: t.Quiet}
		b.pods[key], b.byName[b.podName(t.Object.Namespace, t.Object.Name)] = p, p
	}
	p.seen = b.epoch
	b.touched = true
	if p.owner == "" {
		b.adopt(p, &t, fresh, frame)
	}
	d := b.owner(p)
	b.enter(d, p)
	was := *p
	if p.member {
		d.tally.add(p, -1)
	}
	b.takePodField(p, &t)
	if p.member {
		d.tally.add(p, 1)
	}
	g := b.podGesture(d, &was, p, &t)
	if t.Field == FieldRestarts && p.restarts > was.restarts && !t.Quiet {
		b.onPanels(d, p.slot, p, func(refs []panelRef) { b.pulse(refs, "restart", 0, frame) })
	}
	if fresh {
		b.lookAll(frame)
	}
	if d != nil {
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
	for _, v := range p.viewers {
		b.showPodOn(v.refs, p, frame)
	}
	if fresh {
		b.space.showPods(b, frame)
	}
	if g != instrument.NoGesture && !t.Quiet && !p.relieved {
		// Of one that is dead already, what is learnt of its end is struck
		// where it was.
		b.gesture(g, frame, func(f int64) { b.strike(d, p.last, p, g, f) })
	}
}

// adopt finds out whose a pod is.
func (b *Board) adopt(p *podState, t *Transition, fresh bool, frame int64) {
	if !b.bare(t) {
		if v := b.podPanels[p.module]; v != nil && v.bare == p {
			v.bare = nil
			b.look(v, frame)
		}
		if !fresh {
			b.count(p, -1)
		}
		p.owner, p.replica, p.module = t.Owner, t.Replica, ""
		return
	}
	if fresh {
		b.count(p, 1)
	}
	name := moduleName(t)
	if b.foreign(t.Object.Namespace) {
		name = t.Object.Namespace + "/" + name // no panel is its own
	}
	if was := p.module; fresh || was != name {
		p.module = name
		if v := b.podPanels[was]; v != nil && v.bare == p {
			v.bare = nil
			b.look(v, frame)
		}
		if v := b.podPanels[p.module]; v != nil {
			v.bare = p
			b.look(v, frame)
		}
	}
}

// takePodField takes over what a transition says of a pod.
func (b *Board) takePodField(p *podState, t *Transition) {
	switch t.Field {
	case FieldExists:
		// Told as new: a reason that it may have had is told again.
		p.reason = ""
	case FieldDeleting:
		p.deleting = t.New == "true"
		p.evicted = p.evicted || p.deleting && b.cordoned(p.node)
	case FieldNode:
		b.settle(p, t.New)
	case FieldPhase:
		p.phase = t.New
	case FieldReady:
		if p.ready = t.New == "true"; p.ready {
			p.reason = ""
		}
	case FieldReason:
		p.reason = t.New
		p.evicted = p.evicted || slices.Contains(evictions, t.New)
	case FieldRestarts:
		p.restarts = whole(t.New)
	case FieldLoad:
		p.load = max(whole(t.New), 0)
	}
}

// settle takes over on which node a pod runs.
func (b *Board) settle(p *podState, node string) {
	if p.node == node {
		return
	}
	was := p.node
	p.node = node
	for _, at := range []struct {
		name string
		n    int
	}{{was, -1}, {node, 1}} {
		if at.name == "" {
			continue
		}
		if b.onNode[at.name] += at.n; b.onNode[at.name] == 0 {
			delete(b.onNode, at.name)
		}
		b.show(b.panels[KindNode+"/"+at.name], "pods", 0, countVolts(b.onNode[at.name]), b.now)
	}
}

// podGesture tells how the change of a pod sounds.
func (b *Board) podGesture(d *deploymentState, was, p *podState, t *Transition) instrument.Gesture {
	switch t.Field {
	case FieldDeleting:
		if p.deleting && p.alive() && b.missed(d, p) && (d == nil || !d.rolling(p)) {
			if p.evicted {
				return instrument.GestureEvicted
			}
			return instrument.GestureFailed
		}
	case FieldNode:
		if t.New != "" {
			return instrument.GestureScheduled
		}
	case FieldPhase:
		switch t.New {
		case "Failed":
			return deathGesture(p.reason)
		case "Succeeded":
			return instrument.GestureSucceeded
		}
	case FieldReady:
		if p.ready {
			return instrument.GestureReady
		}
	case FieldReason:
		if g := deathGesture(t.New); g != instrument.GestureFailed {
			return g
		}
	case FieldRestarts:
		if p.restarts > was.restarts {
			return deathGesture(p.reason)
		}
	}
	return instrument.NoGesture
}

// missed tells whether a pod that goes was not asked to.
func (b *Board) missed(d *deploymentState, p *podState) bool {
	if d != nil {
		return b.missing(d)
	}
	return !p.asked && b.podPanels[p.module] != nil && b.wanted(p.module)
}

// podGone takes over that a pod is no more.
func (b *Board) podGone(key string, p *podState, quiet bool, frame int64) {
	delete(b.pods, key)
	if name := b.podName(p.object.Namespace, p.object.Name); b.byName[name] == p {
		delete(b.byName, name)
	}
	b.settle(p, "")
	d := b.owner(p)
	if d == nil {
		b.count(p, -1)
		if v := b.podPanels[p.module]; v != nil && v.bare == p {
			v.bare = nil
			b.findBare()
		}
	} else {
		b.vacate(d, p, frame)
		if p.last >= 0 {
			b.showSlot(d, p.last, frame)
		}
		b.showDeployment(d, frame, !quiet)
	}
	for len(p.viewers) > 0 {
		v := p.viewers[0]
		if b.look(v, frame); v.shown == p {
			break // its name cannot lead to it any more
		}
	}
	b.space.showPods(b, frame)
	b.touched = true
	// One that goes without having been asked to was killed.
	if !quiet && !p.deleting && !p.relieved && p.alive() && b.missed(d, p) {
		g := instrument.GestureFailed
		b.gesture(g, frame, func(f int64) { b.strike(d, p.last, p, g, f) })
	}
	if d != nil {
		b.prune(d)
	}
}

// letGo takes over that the patch holds a bare pod no longer up, or wants it
// otherwise: what happens to those that are there was asked for.
func (b *Board) letGo(module string) {
	for _, p := range b.pods {
		if p.owner == "" && p.module == module {
			p.asked = true
		}
	}
}

// bare tells whether a pod belongs to no Deployment. The owner of such a one is
// its module, and it has no replica.
func (b *Board) bare(t *Transition) bool {
	return t.Owner == "" || t.Replica == "" && (b.podPanels[t.Owner] != nil || b.deployments[t.Owner] == nil)
}

// owner returns the Deployment of a pod, nil for a bare one.
func (b *Board) owner(p *podState) *deploymentState {
	if p.owner == "" {
		return nil
	}
	return b.deployment(p.owner)
}

// onPanels goes through the Pod panels on which a pod shows: those that claim
// its seat, and those without a claim.
func (b *Board) onPanels(d *deploymentState, slot int, p *podState, f func(refs []panelRef)) {
	if p == nil {
		return // of the Deployment as a whole
	}
	if d != nil && slot >= 0 {
		f(d.claims[slot])
	}
	home := b.podPanels[p.module]
	for _, v := range p.viewers {
		if v != home {
			f(v.refs)
		}
	}
	if d == nil && home != nil && (home.shown == p || home.shown == nil) {
		f(home.refs) // one that is gone is struck where it was
	}
}

// showPodOn shows a pod on its panels; nil is none.
func (b *Board) showPodOn(refs []panelRef, p *podState, frame int64) {
	phase, load, ready := float32(0), float32(0), false
	if p != nil {
		phase, load = phaseVolts(p.phase), p.loadVolts()
		ready = p.ready && !p.deleting
		if b.cordoned(p.node) && p.phase == "Running" {
			phase, ready = cordonedVolts, false
		}
	}
	b.show(refs, "exists", 0, gateVolts(p != nil), frame)
	b.show(refs, "phase", 0, phase, frame)
	b.show(refs, "ready", 0, gateVolts(ready), frame)
	b.show(refs, "load", 0, load, frame)
}

// strike sends a gesture's trigger and kind to a channel of a Deployment and
// to the panels of the pod.
func (b *Board) strike(d *deploymentState, slot int, p *podState, g instrument.Gesture, frame int64) {
	var last *struck
	var refs []panelRef
	channel := 0
	switch {
	case d != nil && slot >= 0:
		refs, last, channel = d.refs, &d.struck[slot], slot
	case d == nil && p != nil:
		last = &p.struck
	default:
		return
	}
	gap := int64(strikeGap * b.rate)
	if near := frame < last.frame+gap && last.gesture != instrument.NoGesture; near && death(g) && death(last.gesture) {
		// One end, told in two fields: the more telling one is struck, once.
		if g != instrument.GestureFailed {
			last.gesture = g
			b.show(refs, "kind", channel, g.Volts(), last.frame)
			b.onPanels(d, slot, p, func(refs []panelRef) { b.show(refs, "kind", 0, g.Volts(), last.frame) })
		}
		return
	} else if near {
		frame = last.frame + gap
	}
	*last = struck{frame, g}
	b.show(refs, "kind", channel, g.Volts(), frame)
	b.pulse(refs, "event", channel, frame)
	b.onPanels(d, slot, p, func(refs []panelRef) {
		b.show(refs, "kind", 0, g.Volts(), frame)
		b.pulse(refs, "event", 0, frame)
	})
}
