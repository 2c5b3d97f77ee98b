package mapping

import (
	"slices"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

type deploymentState struct {
	name    string
	wish    int // what the player asks for
	hasWish bool
	// Ours has bit n set where the player asked for n since the cluster last
	// agreed: what it says now may be an echo of that.
	ours uint64
	// Scaled tells that an autoscaler's cable is in it: the cluster's own spec
	// is what is asked for, and the player's wish does not count.
	scaled bool

	exists               bool // the cluster has it
	seen                 int  // epoch in which it was last told of
	spec                 bool // it told its spec
	replicas             int  // what the spec says
	updated              int
	generation, observed int

	pods     [instrument.MaxPoly]*podState
	waiting  []*podState // living pods for which no channel is free yet, oldest first
	left     []int       // seats whose pods were evicted, oldest first: for their successors
	tally    tally
	refs     []panelRef
	claims   [instrument.MaxPoly][]panelRef // Pod panels by the slot that they show
	unstable bool
	rolled   bool // a rollout has not come to rest yet
	struck   [instrument.MaxPoly]struck
}

// tally counts the living pods of a Deployment, heard or not, so that nothing
// needs to go through thousands of them at each change.
type tally struct {
	ready   int // ready, and stay
	staying int // not being deleted
	moving  int // being deleted, or not ready
	hashes  map[string]int
}

// add counts a pod once more, or with −1 once less.
func (t *tally) add(p *podState, n int) {
	if p.deleting || !p.ready {
		t.moving += n
	}
	if !p.deleting {
		t.staying += n
		if p.ready && p.phase == "Running" {
			t.ready += n
		}
	}
	if t.hashes == nil {
		t.hashes = map[string]int{}
	}
	if t.hashes[p.replica] += n; t.hashes[p.replica] == 0 {
		delete(t.hashes, p.replica)
	}
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

// wished tells the board what the player asks of a Deployment: the distance
// from it is the error from this moment on, long before the cluster hears.
func (b *Board) wished(name string, replicas int, frame int64) {
	d := b.deployment(name)
	if d.hasWish && d.wish == replicas {
		return
	}
	frame = b.clock(b.inTime(frame))
	was, had := d.wish, d.hasWish
	d.wish, d.hasWish = replicas, true
	d.ours |= 1 << replicas
	if had && !d.scaled && !b.listening && b.space.powered {
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

func (b *Board) applyDeployment(t Transition, frame int64) {
	if t.Field == FieldExists && t.New == "" {
		if d := b.deployments[t.Object.Name]; d != nil {
			b.deploymentGone(d, t.Quiet, frame)
		}
		return
	}
	d := b.deployment(t.Object.Name)
	d.exists, d.seen = true, b.epoch
	n := whole(t.New)
	switch t.Field {
	case FieldGen:
		d.generation = n
	case FieldObserved:
		d.observed = n
	case FieldUpdated:
		d.updated = n
	case FieldReason:
		if t.New == "FailedCreate" && t.Old != t.New && !t.Quiet && !b.foreign(t.Object.Namespace) {
			b.pulse(b.panels[KindNamespace], "refused", 0, frame)
		}
	case FieldReplicas:
		was := d.replicas
		d.replicas, d.spec = n, true
		own := !d.scaled && !b.listening && d.hasWish && (n == d.wish || n >= 0 && n < 64 && d.ours&(1<<n) != 0)
		if n == d.wish {
			d.ours = 0
		}
		// What the player asked for was played when it was asked; this is
		// somebody else's hand, or an autoscaler's.
		if !t.Quiet && n != was && (d.hasWish || d.scaled) && !own && t.Old != "" {
			b.asked(d, was, n, frame)
		}
		b.showDeployment(d, frame, !t.Quiet)
	}
}

func (b *Board) deploymentGone(d *deploymentState, quiet bool, frame int64) {
	d.exists, d.spec, d.replicas, d.updated, d.generation, d.observed = false, false, 0, 0, 0, 0
	delete(b.lent, KindDeployment+"/"+d.name)
	b.showDeployment(d, frame, !quiet)
	b.prune(d)
}

// prune forgets a Deployment that is neither in the patch nor in the cluster,
// so that a cluster in which many come and go does not fill the memory.
func (b *Board) prune(d *deploymentState) {
	if d.exists || len(d.refs) > 0 || len(d.tally.hashes) > 0 {
		return
	}
	for s := range d.pods {
		if len(d.claims[s]) > 0 {
			return
		}
	}
	delete(b.deployments, d.name)
	delete(b.lent, KindDeployment+"/"+d.name)
}

// enter gives a living pod a seat, or lets it wait for one.
func (b *Board) enter(d *deploymentState, p *podState) {
	if d == nil || p.member || !p.alive() {
		return
	}
	p.member = true
	d.tally.add(p, 1)
	if b.seat(d, p); p.slot < 0 {
		d.waiting = append(d.waiting, p)
		b.unheard++
	}
}

// seat gives a pod a channel of its Deployment, for life (but see closeUp):
// that of an evicted pod which it succeeds, so that the voice walks to its new
// node, or else the lowest that is free.
func (b *Board) seat(d *deploymentState, p *podState) {
	sit := func(s int) {
		d.pods[s], p.slot, p.last = p, s, s
		b.count(p, 1)
	}
	for i, s := range d.left {
		if d.pods[s] == nil {
			d.left = slices.Delete(d.left, 0, i+1)
			sit(s)
			return
		}
	}
	d.left = d.left[:0]
	for s, old := range d.pods {
		// It is on its way out, and has said so.
		if old != nil && old.evicted && old.deleting && old.replica == p.replica {
			old.slot, old.relieved = -1, true
			b.count(old, -1)
			sit(s)
			return
		}
	}
	for s := range d.pods {
		if d.pods[s] == nil {
			sit(s)
			return
		}
	}
}

// vacate frees the seat of a pod whose life is over. Who waits longest takes
// it.
func (b *Board) vacate(d *deploymentState, p *podState, frame int64) {
	if !p.member {
		return
	}
	p.member = false
	d.tally.add(p, -1)
	if p.slot < 0 {
		d.waiting = slices.DeleteFunc(d.waiting, func(w *podState) bool { return w == p })
		return
	}
	d.pods[p.slot] = nil
	b.count(p, -1)
	if p.evicted && len(d.waiting) == 0 && len(d.left) < instrument.MaxPoly {
		d.left = append(d.left, p.slot)
	}
	p.slot = -1
	if len(d.waiting) > 0 {
		w := d.waiting[0]
		d.waiting = slices.Delete(d.waiting, 0, 1)
		b.seat(d, w)
		b.showSlot(d, w.slot, frame)
	}
}

// missing tells whether fewer pods stay than player and cluster agree on: a
// pod that goes because somebody's hand scaled down is not missed.
func (b *Board) missing(d *deploymentState) bool {
	want := b.target(d)
	if d.spec {
		want = min(want, d.replicas)
	}
	return d.tally.staying < want
}

// rolling tells whether a pod goes because a rollout replaces it: others of
// another hash are there, or the controller has still to act on a new spec, or
// it counts fewer updated pods than there are of this one's kind.
func (d *deploymentState) rolling(old *podState) bool {
	if d.rollout() {
		return true
	}
	if d.observed == 0 {
		return false // nobody told of the status
	}
	return d.observed < d.generation || d.updated < min(d.replicas, d.tally.hashes[old.replica])
}

// rollout tells whether pods of more than one replica set are there.
func (d *deploymentState) rollout() bool {
	n := len(d.tally.hashes)
	if d.tally.hashes[""] > 0 {
		n-- // told of without a hash: of no replica set in particular
	}
	return n > 1
}

// target is what the player asks for. Where no player does, or where what he
// asks does not count, it is the spec; without power it is nothing.
func (b *Board) target(d *deploymentState) int {
	switch {
	case !b.space.powered && len(d.refs) > 0:
		return 0
	case d.hasWish && !(d.spec && (d.scaled || b.listening)):
		return d.wish
	}
	return d.replicas
}

// claimJacks are the claim jacks of a Deployment, by slot.
var claimJacks = numberedJacks("claim", instrument.Rows)

// showSlot shows one channel of a Deployment, and the Pod panels on it.
func (b *Board) showSlot(d *deploymentState, s int, frame int64) {
	refs := d.refs
	p := d.pods[s]
	var pending, running, ready bool
	load := float32(0)
	if p != nil {
		// A cordon mutes the voices of its node.
		running = p.phase == "Running" && !b.cordoned(p.node)
		pending = p.phase != "Running" && !p.deleting
		ready = running && p.ready && !p.deleting
		load = p.loadVolts()
		if p.node != "" {
			// An empty seat keeps its place, so that a tail stays where it was.
			b.show(refs, "node", s, b.place(p.node), frame)
		}
	}
	b.show(refs, "pitch", s, float32((b.scale.chordNote(s)-middleC)/semitones), frame)
	b.show(refs, "pods", s, gateVolts(p != nil), frame)
	b.show(refs, "pending", s, gateVolts(pending), frame)
	b.show(refs, "running", s, gateVolts(running), frame)
	b.show(refs, "ready", s, gateVolts(ready), frame)
	b.show(refs, "load", s, load, frame)
	if s < instrument.Rows {
		b.show(refs, claimJacks[s], 0, gateVolts(p != nil), frame)
	}
	b.showPodOn(d.claims[s], p, frame)
}

func (b *Board) showDeployment(d *deploymentState, frame int64, live bool) {
	refs := d.refs
	want, ready := b.target(d), d.tally.ready
	count := float32(10)
	if want > 0 {
		count = min(10*float32(ready)/float32(want), 10)
	}
	b.show(refs, "ready_count", 0, count, frame)
	b.show(refs, "error", 0, float32(want-ready), frame)
	rollout := d.rollout()
	moving := want != ready || rollout || d.tally.moving > 0
	b.show(refs, "rollout", 0, gateVolts(rollout), frame)
	d.rolled = d.rolled || rollout
	if d.rolled && !moving {
		d.rolled = false
		b.closeUp(d, want, frame)
	}
	if d.unstable && !moving && live {
		b.pulse(refs, "settled", 0, frame)
	}
	d.unstable = moving
}

// closeUp moves, once a rollout has come to rest, the pods that sit beyond the
// number asked for down to the free seats below it. They had to take those
// seats before the old pods went; left there, they would keep the
// chord in another position than before, and the panels of the first replicas
// dark.
func (b *Board) closeUp(d *deploymentState, want int, frame int64) {
	free := 0
	for s := max(want, 0); s < len(d.pods); s++ {
		p := d.pods[s]
		if p == nil {
			continue
		}
		for free < min(want, len(d.pods)) && d.pods[free] != nil {
			free++
		}
		if free >= min(want, len(d.pods)) {
			return
		}
		d.pods[s], d.pods[free] = nil, p
		p.slot, p.last = free, free
		b.showSlot(d, s, frame)
		b.showSlot(d, free, frame)
	}
}
