package mapping

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
)

const testRate = 48000

// polyJacks are a Deployment's polyphonic levels, which the rig reads channel
// by channel.
var polyJacks = []string{"pods", "pending", "running", "ready", "node", "kind"}

// rig plays a Rack as cmd does: transitions in, blocks out, Pump after each.
// What the tests read comes out of jacks of the running engine: levels from
// its meters, triggers from etcd modules whose write input they are patched
// to, channels of a polyphonic cable through a VCA that a second Deployment's
// ready gates open one by one.
type rig struct {
	t testing.TB
	*Rack
	frame int64
	chunk int
	out   [2][]float32
	sound []float32 // left, if kept
	keep  bool

	quiet bool
	hash  string // of the pods that are told now
	old   map[string]string
	hits  map[string][]int64 // frames at which triggers were seen, by etcd module
	acts  []Action
	sets  []Setting
}

func cable(from, to string) instrument.Cable {
	f, err := instrument.ParseJackRef(from)
	if err != nil {
		panic(err)
	}
	t, err := instrument.ParseJackRef(to)
	if err != nil {
		panic(err)
	}
	return instrument.Cable{From: f, To: t}
}

// stage is the patch of the rig.
func stage() *instrument.Patch {
	p := &instrument.Patch{}
	add := func(id string) { p.Modules = append(p.Modules, instrument.Module{ID: instrument.ModuleID(id)}) }
	plug := func(from, to string) { p.Cables = append(p.Cables, cable(from, to)) }
	count := func(from, name string) { add("etcd/" + name); plug(from, "etcd/"+name+"/write") }
	for _, id := range []string{"deployment/web", "deployment/sel", "pod/solo", "etcd/store", "apiserver/api"} {
		add(id)
	}
	p.Modules[1].Params = map[string]float64{"replicas": 16}
	for i := 1; i <= instrument.Rows; i++ {
		id := fmt.Sprintf("pod/p%d", i)
		add(id)
		plug(fmt.Sprintf("deployment/web/claim_%d", i), id+"/lifecycle")
		count(id+"/event", fmt.Sprintf("event%d", i))
	}
	for _, j := range polyJacks {
		add("vca/" + j)
		add("mixer/" + j)
		plug("deployment/web/"+j, "vca/"+j+"/in")
		plug("deployment/sel/ready", "vca/"+j+"/cv")
		plug("vca/"+j+"/out", "mixer/"+j+"/left_1")
		plug("vca/"+j+"/out", "mixer/"+j+"/right_1")
	}
	count("deployment/web/event", "event0")
	count("deployment/web/settled", "settled")
	count("etcd/store/heartbeat", "heartbeat")
	count("apiserver/api/problem", "problem")
	count("pod/p1/restart", "restart")
	count("apiserver/api/error", "alarm")
	return p
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	cfg := Config{SampleRate: testRate, Channels: 2, Seed: 1, Storm: 8, Embedded: true, Namespace: "k8s-synth", Scene: "test"}
	for _, c := range change {
		c(&cfg)
	}
	r := emptyRig(t, cfg)
	if err := r.Load(stage()); err != nil {
		t.Fatal(err)
	}
	r.run(0.05)
	r.quietly(func() {
		r.say(KindAPIServer, "apiserver", FieldReachable, "true")
		for i := range 16 {
			r.live(fmt.Sprintf("sel-%d", i))
		}
		r.say(KindAPIServer, "apiserver", FieldSynced, "true")
	})
	r.run(0.05)
	return r
}

func emptyRig(t testing.TB, cfg Config) *rig {
	r := &rig{t: t, Rack: NewRack(cfg), chunk: instrument.BlockSize, hash: "a", old: map[string]string{}, hits: map[string][]int64{}}
	for c := range r.out {
		r.out[c] = make([]float32, instrument.BlockSize)
	}
	r.Changed = r.heard
	r.Acted = func(a Action) {
		if a.Verb != VerbWrite {
			r.acts = append(r.acts, a)
		}
	}
	r.Setting = func(s Setting) { r.sets = append(r.sets, s) }
	return r
}

// heard notes the rising edges of write inputs.
func (r *rig) heard(a Address, value float64, word, source string) {
	if id, jack, _ := a.Split(); id.Kind() == KindEtcd && jack == "write" && value > 0 && source == "" {
		r.hits[id.Name()] = append(r.hits[id.Name()], r.frame)
	}
}

// run renders so many seconds.
func (r *rig) run(seconds float64) {
	for end := r.frame + int64(seconds*testRate); r.frame < end; {
		r.block()
	}
}

func (r *rig) block() {
	out := [][]float32{r.out[0][:r.chunk], r.out[1][:r.chunk]}
	r.Engine.Render(out, nil)
	r.frame += int64(r.chunk)
	if r.keep {
		r.sound = append(r.sound, out[0]...)
	}
	r.Pump(r.frame)
}

// quietly tells what f says as a first list does.
func (r *rig) quietly(f func()) { r.quiet = true; f(); r.quiet = false }

// say tells that a field of an object is now that. Old values are kept as the
// observer keeps them.
func (r *rig) say(kind, name, field, now string) {
	o := Object{Kind: kind, Name: name}
	key := kind + "/" + name
	t := Transition{Time: time.Unix(0, 0).Add(time.Duration(r.frame) * time.Second / testRate), Field: field, New: now, Quiet: r.quiet}
	if kind == KindPod {
		o.Namespace = "k8s-synth"
		o.UID = "uid-" + name + "-" + r.old[key+"/life"]
		t.Owner, t.Replica = name, ""
		if i := strings.LastIndexByte(name, '-'); i >= 0 {
			if r.old[key+"/hash"] == "" {
				r.old[key+"/hash"] = r.hash
			}
			t.Owner, t.Replica = name[:i], r.old[key+"/hash"]
		}
	}
	t.Object, t.Old = o, r.old[key+"/"+field]
	r.old[key+"/"+field] = now
	if field == FieldExists && now == "" {
		n, _ := strconv.Atoi(r.old[key+"/life"])
		for k := range r.old {
			if strings.HasPrefix(k, key+"/") {
				delete(r.old, k)
			}
		}
		r.old[key+"/life"] = strconv.Itoa(n + 1)
	}
	r.Apply(t, r.frame+1)
}

func (r *rig) pod(name string, fieldsAndValues ...string) {
	for i := 0; i < len(fieldsAndValues); i += 2 {
		r.say(KindPod, name, fieldsAndValues[i], fieldsAndValues[i+1])
	}
}

// create tells a new pod as the observer does.
func (r *rig) create(name string) {
	r.pod(name, FieldExists, "true", FieldPhase, "Pending", FieldRestarts, "0", FieldReady, "false")
}

// live tells a pod that runs.
func (r *rig) live(name string) {
	r.pod(name, FieldExists, "true", FieldPhase, "Running", FieldNode, "stage-1", FieldRestarts, "0", FieldReady, "false")
}

// ready tells a pod that runs and is ready.
func (r *rig) ready(name string) { r.live(name); r.pod(name, FieldReady, "true") }

// gone tells the polite end of a pod.
func (r *rig) gone(name string) {
	r.pod(name, FieldReady, "false", FieldDeleting, "true", FieldExists, "")
}

// replicas tells a Deployment's spec as the observer does.
func (r *rig) replicas(n int) {
	r.say(KindDeployment, "web", FieldExists, "true")
	r.say(KindDeployment, "web", FieldReplicas, strconv.Itoa(n))
}

func (r *rig) turn(a Address, v float64) {
	r.t.Helper()
	if err := r.Set(a, v, "", "hand", 0); err != nil {
		r.t.Fatal(err)
	}
}

// volts reads a jack after it had time to be shown.
func (r *rig) volts(a Address) float64 {
	r.t.Helper()
	r.run(0.05)
	v, _, err := r.Value(a)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func (r *rig) want(a Address, v float64) {
	r.t.Helper()
	if got := r.volts(a); math.Abs(got-v) > 0.05 {
		r.t.Errorf("%s is at %.2f V, want %g V", a, got, v)
	}
}

// channel reads every polyphonic level of deployment/web on one channel.
func (r *rig) channel(c int) map[string]float64 {
	r.t.Helper()
	r.quietly(func() { r.pod(fmt.Sprintf("sel-%d", c), FieldReady, "true") })
	r.run(0.1)
	m := map[string]float64{}
	for _, j := range polyJacks {
		m[j], _, _ = r.Value(Address("/mixer/" + j + "/left"))
	}
	r.quietly(func() { r.pod(fmt.Sprintf("sel-%d", c), FieldReady, "false") })
	return m
}

// gates reads all channels of a polyphonic gate, as 1 and 0.
func (r *rig) gates(jack string) string {
	r.t.Helper()
	b := make([]byte, instrument.MaxPoly)
	for c := range b {
		switch v := r.channel(c)[jack]; {
		case math.Abs(v) < 0.1:
			b[c] = '0'
		case math.Abs(v-10) < 0.1:
			b[c] = '1'
		default:
			r.t.Errorf("%s, channel %d is at %.2f V: neither high nor low", jack, c, v)
			b[c] = '?'
		}
	}
	return strings.TrimRight(string(b), "0")
}

func (r *rig) wantGates(jack, want string) {
	r.t.Helper()
	if got := r.gates(jack); got != want {
		r.t.Errorf("%s is %q, want %q", jack, got, want)
	}
}

// struck returns how many triggers came since the last call, after so many
// seconds.
func (r *rig) struck(name string, seconds float64) int {
	r.run(seconds)
	n := len(r.hits[name])
	delete(r.hits, name)
	return n
}

// wantStruck checks the strikes on the panel of a slot from 1, and the gesture
// that its kind shows.
func (r *rig) wantStruck(slot, n int, g instrument.Gesture) {
	r.t.Helper()
	if got := r.struck(fmt.Sprintf("event%d", slot), 0.05); got != n {
		r.t.Errorf("slot %d was struck %d times, want %d", slot, got, n)
	}
	if n > 0 {
		v, _, _ := r.Value(Address(fmt.Sprintf("/pod/p%d/kind", slot)))
		if got := instrument.GestureAt(float32(v)); got != g {
			r.t.Errorf("slot %d was struck as %s, want %s", slot, got, g)
		}
	}
}

// forgetStrikes lets what was struck so far be heard and forgotten.
func (r *rig) forgetStrikes() { r.run(0.05); clear(r.hits) }

// chord tells n ready pods and that the Deployment wants so many.
func (r *rig) chord(n int) {
	r.t.Helper()
	r.turn("/deployment/web/replicas", float64(n))
	r.run(0.01)
	r.quietly(func() {
		r.replicas(n)
		for i := range n {
			r.ready(fmt.Sprintf("web-%d", i+1))
		}
	})
	r.run(0.3)
	clear(r.hits)
}

func gaps(frames []int64) (least float64) {
	least = math.Inf(1)
	for i := 1; i < len(frames); i++ {
		least = min(least, float64(frames[i]-frames[i-1])/testRate)
	}
	return least
}
