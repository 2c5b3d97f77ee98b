package bind

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

func (r *rig) osc(client, address string, value float64) {
	r.carry(r.e.OSC(address, value, client, r.now))
	r.now = r.now.Add(time.Millisecond)
}

func (r *rig) left(clients ...string) {
	r.carry(r.e.Left(func(c string) bool {
		for _, l := range clients {
			if c == l {
				return true
			}
		}
		return false
	}, r.now))
}

// TestLeft: what an OSC client held down that is gone is let go: gates, momentary
// params and layers; and nobody is armed for ever. Faders and switches stay, and
// what another client or a pad holds as well.
func TestLeft(t *testing.T) {
	r := newRig(t, `
version: 1
name: test
layers: [{shift: osc /shift, number: 1}]
bindings:
  - {control: osc /gate, to: /pod/solo/lifecycle}
  - {control: osc /other, to: /voice/drone/gate}
  - {control: note 1, to: /voice/drone/gate}
  - {control: osc /moment, to: /node/one/cordon, mode: momentary}
  - {control: osc /switch, to: /node/two/cordon, mode: toggle}
  - {control: osc /fader, to: /deployment/web/cpu, takeover: jump}
  - {control: osc /arm, to: arm}
`)
	gate, drone := mapping.Address("/pod/solo/lifecycle"), mapping.Address("/voice/drone/gate")
	r.osc("a", "/gate", 1)
	r.osc("a", "/moment", 1)
	r.osc("a", "/switch", 1)
	r.osc("a", "/switch", 0)
	r.osc("a", "/fader", 0.75)
	r.osc("a", "/shift", 1)
	r.osc("a", "/arm", 1)
	r.wantDo("arm")
	r.wantValue(gate, 10)
	r.wantValue("/node/one/cordon", 1)
	r.wantValue("/node/two/cordon", 1)
	if m := r.e.osc.mounts[0]; m.layer() != 1 {
		t.Errorf("layer %d, want 1", m.layer())
	}
	if !r.e.Held(gate) || r.e.Held(drone) || r.e.Held("/deployment/web/cpu") {
		t.Error("not what is held is held")
	}
	r.left("b")
	r.wantValue(gate, 10)
	r.left("a")
	r.wantValue(gate, 0)
	r.wantValue("/node/one/cordon", 0)
	r.wantValue("/node/two/cordon", 1)
	r.wantValue("/deployment/web/cpu", 12000)
	if m := r.e.osc.mounts[0]; m.layer() != 0 {
		t.Errorf("layer %d, want 0", m.layer())
	}
	for _, d := range r.e.Due(r.now.Add(time.Minute)) {
		t.Errorf("who is gone asks for %+v", d)
	}
	if r.e.Held(gate) {
		t.Error("it is held still")
	}
	// It plays on, as does the client if it is back.
	r.osc("a", "/gate", 1)
	r.wantValue(gate, 10)
	r.osc("a", "/gate", 0)
	r.wantValue(gate, 0)

	// Two clients hold one control, or let go of it for both.
	r.osc("a", "/gate", 1)
	r.osc("b", "/gate", 1)
	r.left("a")
	r.wantValue(gate, 10)
	r.left("b")
	r.wantValue(gate, 0)
	r.osc("a", "/gate", 1)
	r.osc("b", "/gate", 0)
	r.osc("b", "/gate", 1)
	r.left("a")
	r.wantValue(gate, 10)
	r.left("b")
	r.wantValue(gate, 0)

	// A client and a pad.
	r.midi("p", midi.On(0, 1, 1))
	r.osc("a", "/other", 1)
	r.left("a")
	r.wantValue(drone, 10)
	r.midi("p", midi.Off(0, 1, 1))
	r.wantValue(drone, 0)
	r.osc("a", "/other", 1)
	r.midi("p", midi.On(0, 1, 1))
	r.carry(r.e.Unplugged("p"))
	r.wantValue(drone, 10)
	r.left("a")
	r.wantValue(drone, 0)

	// After the scene was loaded anew, and while something is learned.
	r.osc("a", "/gate", 1)
	r.carry(r.e.Rebind(r.Rack))
	r.wantValue(gate, 0)
	r.left("a")
	r.osc("a", "/gate", 1)
	r.e.LearnControlFirst()
	r.left("a")
	r.wantValue(gate, 0)
	r.e.CancelLearn()
	r.osc("a", "/gate", 1)
	r.e.LearnControlFirst()
	r.osc("a", "/gate", 0)
	r.wantValue(gate, 0)
	r.e.CancelLearn()

	// What was pressed for later falls later.
	r.carry(r.e.OSC("/gate", 1, "a", r.now.Add(time.Second)))
	r.left("a")
	r.wantValue(gate, 0)
	if d := r.done; len(d) != 1 || !d[0].At.Equal(r.now.Add(time.Second)) {
		t.Errorf("asked for %+v, want one after a second", d)
	}
	r.osc("a", "/gate", 1)
	for i := range 2 * mostHands {
		r.osc(fmt.Sprint(i), "/gate", 1)
	}
	if n := len(r.e.osc.oscs["/gate"].hands); n != mostHands {
		t.Errorf("%d hands are remembered, want %d", n, mostHands)
	}
}

// TestLeftAtRandom: whatever clients do before they are gone, nothing is high
// when all are.
func TestLeftAtRandom(t *testing.T) {
	r := newRig(t, wrap("", "{control: osc /1, to: /pod/solo/lifecycle}", "{control: osc /2, to: /pod/solo/lifecycle}", "{control: osc /3, to: /voice/drone/gate}", "{control: note 1, to: /voice/drone/gate}", "{control: note 2, to: /pod/solo/lifecycle}"))
	random := rand.New(rand.NewPCG(5, 5))
	clients := []string{"a", "b", "c"}
	for round := range 300 {
		for range random.IntN(30) {
			client := clients[random.IntN(3)]
			switch random.IntN(8) {
			case 0:
				r.left(client)
			case 1:
				r.midi("p", midi.On(0, 1+random.IntN(2), 1))
			case 2:
				r.midi("p", midi.Off(0, 1+random.IntN(2), 1))
			case 3:
				r.carry(r.e.Unplugged("p"))
			default:
				r.osc(client, fmt.Sprintf("/%d", 1+random.IntN(3)), float64(random.IntN(2)))
			}
		}
		order := random.Perm(4)
		for _, i := range order {
			if i == 3 {
				r.midi("p", midi.On(0, 3, 1)) // it is there
				r.carry(r.e.Unplugged("p"))
			} else {
				r.left(clients[i])
			}
		}
		for _, a := range []mapping.Address{"/pod/solo/lifecycle", "/voice/drone/gate"} {
			if v := r.value(a); v != 0 || r.e.Held(a) {
				t.Fatalf("round %d: %s is at %g V when all are gone", round, a, v)
			}
		}
	}
}
