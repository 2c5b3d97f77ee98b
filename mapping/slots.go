package mapping

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// SlotCount is how many pods surfaces show one by one.
const SlotCount = 32

// Slot is one place of the bank that surfaces with a fixed number of pads and
// rows show pods on. A pod keeps its slot for life.
type Slot struct {
	Index int // from 0
	// Pod is its name; empty means that the slot is free, and then so is all
	// that follows.
	Pod   string
	Owner instrument.ModuleID // the module that asked for it
	Phase SlotPhase
	Node  string
	Load  float64 // millicores

	object Object
}

// SlotPhase is what a pad tells of a pod by its colour.
type SlotPhase uint8

// Phases of a pod, as far as a hand wants to tell them apart.
const (
	SlotEmpty       SlotPhase = iota // no pod
	SlotPending                      // waits for a node, or for its containers
	SlotStarting                     // runs and is not ready
	SlotReady                        // serves
	SlotFailed                       // ended with an error
	SlotCrashLoop                    // waits to be started again after a crash
	SlotTerminating                  // on its way out
	SlotSucceeded                    // ended well
)

// slotPhases are the words of a SlotPhase.
var slotPhases = [...]string{"", "pending", "starting", "ready", "failed", "crashloop", "terminating", "succeeded"}

// String returns the phase in one word, empty for a free slot.
func (p SlotPhase) String() string { return slotPhases[p] }

// SlotPhases returns the words of all phases, in order; the first, of a free
// slot, is empty.
func SlotPhases() []string { return slotPhases[:] }

// phaseOf is what a pad shows of a pod.
func phaseOf(p *podState) SlotPhase {
	switch {
	case p.deleting:
		return SlotTerminating
	case p.phase == "Succeeded":
		return SlotSucceeded
	case p.phase == "Failed":
		return SlotFailed
	case p.reason == "CrashLoopBackOff":
		return SlotCrashLoop
	case p.phase != "Running":
		return SlotPending
	case !p.ready:
		return SlotStarting
	}
	return SlotReady
}

// slots is the bank. What is in it follows the board a few times a second.
type slots struct {
	slots [SlotCount]Slot
	pods  [SlotCount]*podState
	since [SlotCount]int64 // frame at which the pod came
}

// slotSettled is how long a pod is in a slot before it can be killed there, in
// seconds: a hand that was on its way when the pod before it went meant that
// one.
const slotSettled = 0.3

// Slots returns the bank; it is good until the next Pump.
func (r *Rack) Slots() []Slot { return r.slots.slots[:] }

// fillSlots takes over what the board knows of the pods, and tells of each
// slot that changed.
func (r *Rack) fillSlots() {
	b, s := r.board, &r.slots
	taken := 0
	for i, p := range s.pods {
		switch {
		case p == nil:
		case b.pods[podKey(p.object)] != p || !b.hasPanel(p):
			s.pods[i] = nil
		default:
			taken++
		}
	}
	var waiting []*podState
	if taken < SlotCount && taken < len(b.pods) {
		for _, p := range b.pods {
			if b.hasPanel(p) && !slices.Contains(s.pods[:], p) {
				waiting = append(waiting, p)
			}
		}
		// In the order in which a rack shows them, so that it does not depend on
		// chance who comes first.
		slices.SortFunc(waiting, func(p, q *podState) int {
			return cmp.Or(cmp.Compare(p.owner, q.owner), cmp.Compare(p.last, q.last), cmp.Compare(p.object.Name, q.object.Name), cmp.Compare(p.object.UID, q.object.UID))
		})
	}
	for i := range s.pods {
		if s.pods[i] == nil && len(waiting) > 0 {
			s.pods[i], waiting = waiting[0], waiting[1:]
			s.since[i] = r.pumped
		}
		now := Slot{Index: i}
		if p := s.pods[i]; p != nil {
			owner := instrument.ModuleID(KindDeployment + "/" + p.owner)
			if p.owner == "" {
				owner = instrument.ModuleID(KindPod + "/" + p.module)
			}
			now = Slot{Index: i, Pod: p.object.Name, Owner: owner, Phase: phaseOf(p), Node: p.node, Load: float64(p.load), object: p.object}
		}
		if was := s.slots[i]; was != now {
			s.slots[i] = now
			if r.SlotChanged != nil {
				r.SlotChanged(now)
			}
		}
	}
}

// hasPanel tells whether a pod is one of a module of the patch.
func (b *Board) hasPanel(p *podState) bool {
	if p.owner == "" {
		return b.podPanels[p.module] != nil
	}
	d := b.deployments[p.owner]
	return d != nil && len(d.refs) > 0
}

// ErrListening says that nothing may be asked of the cluster.
var ErrListening = errors.New("the instrument only listens")

// KillSlot deletes the pod in a slot, from 0. It is asked for, and happens
// when the cluster does it.
func (r *Rack) KillSlot(i int) error {
	if i < 0 || i >= SlotCount {
		return refuse(ErrRange, "there is no slot %d; expected 1 … %d", i+1, SlotCount)
	}
	if r.slots.slots[i].Pod == "" {
		return fmt.Errorf("slot %d: no pod is in it", i+1)
	}
	if r.pumped < r.slots.since[i]+int64(slotSettled*r.cfg.SampleRate) {
		return fmt.Errorf("slot %d: another pod, %s, has just come into it; ask again if that one is meant", i+1, r.slots.slots[i].Pod)
	}
	err := r.kill(r.slots.slots[i].object)
	if r.begin(); r.ended(err) {
		r.record(Input{Kill: &KillInput{Slot: i}})
	}
	return err
}

// KillPod deletes the pod of that name, if it is one of a module of the patch.
func (r *Rack) KillPod(name string) error {
	p := r.board.byName[r.board.podName(r.cfg.Namespace, name)]
	if p == nil || !r.board.hasPanel(p) {
		return refuse(ErrNoAddress, "no module of the patch has a pod %q", name)
	}
	err := r.kill(p.object)
	if r.begin(); r.ended(err) {
		r.record(Input{Kill: &KillInput{Pod: name}})
	}
	return err
}

func (r *Rack) kill(o Object) error {
	if r.mode == ListenOnly {
		return fmt.Errorf("pod %s stays: %w", o.Name, ErrListening)
	}
	r.act(Action{Verb: VerbDelete, Object: o})
	return nil
}
