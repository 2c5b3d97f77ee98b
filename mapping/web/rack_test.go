package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/instrument/faceplate"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// fakeRack is an instrument that has no engine and no cluster: it keeps what
// pages ask for, tells it to all of them, and lights every lamp.
type fakeRack struct {
	t      testing.TB
	server *Server
	mu     sync.Mutex
	state  State
	asked  []Request
	sets   int
	acts   []string       // what was asked for by name, in order
	stage  map[string]any // of the status
	scope  Scope          // that was asked for last
	refuse string         // a jack that takes no cable
	slow   chan struct{}  // an answer of what would change waits for one
	volts  func(seconds float64, i int) float32
	ended  chan struct{}
	wg     sync.WaitGroup
}

// startRack serves the real page of a rack that is not there.
func startRack(t testing.TB, st State, c Config) *fakeRack {
	t.Helper()
	r := &fakeRack{t: t, state: st, stage: map[string]any{}, ended: make(chan struct{})}
	r.volts = func(s float64, i int) float32 {
		return 6 * float32(math.Sin(2*math.Pi*s*(0.2+0.07*float64(i%23))+float64(i)))
	}
	c.Addr, c.Do, c.Assets, c.Version = cmp.Or(c.Addr, "127.0.0.1:0"), r.do, Assets(), "test"
	if c.Pages == nil {
		c.Pages = Plates()
	}
	s, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	r.server = s
	s.State(r.copy())
	s.Slots([]map[string]any{{"pod": "web-1", "owner": "deployment/web", "phase": "Running", "node": "node-1", "load": 20}, {"pod": "web-" + strings.Repeat("very-long-name-", 14), "owner": "deployment/web", "phase": "Pending", "node": "", "load": 0}})
	r.status(nil)
	for i := range 20 {
		s.Event(Event{Time: float64(time.Now().UnixMilli()), Kind: "pod", Name: fmt.Sprintf("web-%d", i), Text: "phase Pending → Running"})
	}
	t.Cleanup(r.stop)
	return r
}

func (r *fakeRack) stop() {
	select {
	case <-r.ended:
	default:
		close(r.ended)
	}
	r.wg.Wait()
	r.server.Close()
}

// status tells the pages how it is, with changes.
func (r *fakeRack) status(change map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell(change)
}

func (r *fakeRack) tell(change map[string]any) {
	st := map[string]any{"cluster": map[string]any{"reachable": true, "synced": true, "boot": "ready", "ready": 4, "desired": 4, "pods": 4, "nodes": 3, "revision": 7},
		"tempo": 90.0, "load": 0.03, "loadPeak": 0.05, "underruns": 0, "late": 0, "backend": "null", "device": "null", "lost": false, "latency": 0.01, "takeovers": nil, "learns": "", "seconds": 1, "pages": 1}
	maps.Copy(st, r.stage)
	maps.Copy(st, change)
	r.server.Status(st)
}

// copy is the state, for pages to keep.
func (r *fakeRack) copy() *State {
	st := r.state
	st.Modules, st.Cables, st.Scenes, st.Outputs = append([]Module{}, st.Modules...), append([]Cable{}, st.Cables...), slices.Clone(st.Scenes), []mapping.Address{}
	for i := range st.Modules {
		m := &st.Modules[i]
		kind, _, _ := strings.Cut(m.ID, "/")
		for _, o := range instrument.Spec(kind).Outputs {
			st.Outputs = append(st.Outputs, mapping.Address("/"+m.ID+"/"+o.Name))
		}
		m.Params, m.Text = map[string]float64{}, map[string]string{}
		for k, v := range r.state.Modules[i].Params {
			m.Params[k] = v
		}
		for k, v := range r.state.Modules[i].Text {
			m.Text[k] = v
		}
	}
	r.state.Revision++
	st.Revision = r.state.Revision
	return &st
}

// play moves all lamps, thirty times a second.
func (r *fakeRack) play() {
	r.wg.Add(1)
	go func() {
		defer r.wg.Done()
		tick := time.NewTicker(time.Second / 30)
		defer tick.Stop()
		began := time.Now()
		for {
			select {
			case <-r.ended:
				return
			case <-tick.C:
			}
			s := time.Since(began).Seconds()
			r.mu.Lock()
			now, n := r.volts, 0
			for _, m := range r.state.Modules {
				kind, _, _ := strings.Cut(m.ID, "/")
				n += len(instrument.Spec(kind).Outputs)
			}
			r.mu.Unlock()
			volts := make([]float32, n)
			for i := range volts {
				volts[i] = now(s, i)
			}
			r.server.Meters(int64(s*48000), [2]float32{2 + float32(math.Sin(s)), 3}, volts)
		}
	}()
}

func (r *fakeRack) module(id string) *Module {
	for i := range r.state.Modules {
		if r.state.Modules[i].ID == id {
			return &r.state.Modules[i]
		}
	}
	return nil
}

func (r *fakeRack) value(address string) (float64, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := strings.LastIndexByte(address, '/')
	m := r.module(address[1:i])
	if m == nil {
		return math.NaN(), ""
	}
	return m.Params[address[i+1:]], m.Text[address[i+1:]]
}

func (r *fakeRack) cables() []Cable {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.state.Cables)
}

// did tells whether a page asked for something.
func (r *fakeRack) did(f func(Request) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.asked, f)
}

// wouldChange is the answer to what an edit would change: itself, so that a test
// can tell which one is shown.
func wouldChange(d *Diff) map[string]string {
	what, _ := json.Marshal(d)
	return map[string]string{"text": "--- the cluster\n+++ after it\n@@ -1 +1,2 @@\n kind: Service\n+  app: web\n-  app: none\n " + string(what) + "\n"}
}

func (r *fakeRack) do(client string, q Request) (any, error) {
	r.mu.Lock()
	if q.Scope == nil {
		r.asked = append(r.asked, q)
	}
	defer r.mu.Unlock()
	if slow := r.slow; q.Diff != nil && slow != nil {
		return Later{Newest: "diff", Work: func(ctx context.Context) (any, error) {
			select {
			case <-slow:
			case <-r.ended:
			case <-ctx.Done():
			}
			return wouldChange(q.Diff), nil
		}}, nil
	}
	told := func() { r.server.State(r.copy()) }
	switch {
	case q.Set != nil:
		a := string(q.Set.Address)
		i := strings.LastIndexByte(a, '/')
		m := r.module(a[1:i])
		if m == nil {
			return nil, fmt.Errorf("there is no %s", a)
		}
		r.sets++
		if _, text := m.Text[a[i+1:]]; text {
			m.Text[a[i+1:]] = q.Set.Word
			r.server.Wrote(q.Set.Address, q.Set.Word, client)
		} else if _, is := m.Params[a[i+1:]]; is {
			m.Params[a[i+1:]] = q.Set.Value
			r.server.Changed(q.Set.Address, q.Set.Value, "", client)
		}
	case q.Plug != nil:
		if slices.ContainsFunc(r.state.Cables, func(c Cable) bool { return c.To == q.Plug.To }) {
			return nil, fmt.Errorf("%s already holds a cable", q.Plug.To)
		}
		r.state.Cables = append(r.state.Cables, *q.Plug)
		r.state.Undo = "plug " + q.Plug.From
		told()
	case q.Pull != nil:
		r.state.Cables = slices.DeleteFunc(r.state.Cables, func(c Cable) bool { return c.To == q.Pull.To })
		told()
	case q.Repatch != nil:
		if q.Repatch.To == r.refuse {
			return nil, fmt.Errorf("%s takes no cable", q.Repatch.To)
		}
		for _, to := range q.Repatch.Pull {
			if !slices.ContainsFunc(r.state.Cables, func(c Cable) bool { return c.To == to }) {
				return nil, fmt.Errorf("%s holds no cable", to)
			}
		}
		r.state.Cables = slices.DeleteFunc(r.state.Cables, func(c Cable) bool { return slices.Contains(q.Repatch.Pull, c.To) })
		r.state.Cables = append(r.state.Cables, Cable{From: q.Repatch.From, To: q.Repatch.To})
		told()
	case q.Act != nil:
		return nil, r.act(q.Act.Name)
	case q.Add != nil:
		id := fmt.Sprintf("%s/%s-%d", q.Add.Kind, q.Add.Kind, len(r.state.Modules))
		m := newModule(id)
		m.Row, m.HP = q.Add.Row, q.Add.HP
		r.state.Modules = append(r.state.Modules, m)
		told()
		return map[string]string{"id": id}, nil
	case q.Remove != nil:
		r.state.Modules = slices.DeleteFunc(r.state.Modules, func(m Module) bool { return m.ID == q.Remove.Name })
		told()
	case q.Move != nil:
		m := r.module(q.Move.ID)
		m.Row, m.HP = q.Move.Row, q.Move.HP
		told()
	case q.YAML != nil && q.YAML.Text == nil:
		return map[string]string{"text": "id: " + q.YAML.ID + "\nparams:\n  replicas: 3\n", "manifest": "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n"}, nil
	case q.Diff != nil:
		return wouldChange(q.Diff), nil
	case q.Scope != nil:
		r.scope = *q.Scope
		var t Trace
		for i := range 64 {
			v := float32(3 * math.Sin(float64(i)/6))
			t.A = append(t.A, v, v+0.3)
		}
		return t, nil
	case q.Pictures != nil:
		return []map[string]string{{"title": "Interface 8i6, output 1", "svg": `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 50"><path d="M0 25L100 20" stroke="#000"/></svg>`}}, nil
	case q.Save != nil:
		return map[string]string{"path": "/home/player/scenes/played.yaml"}, nil
	}
	return nil, nil
}

// act does the actions of the stage as the instrument does, but for the time: a
// bar never comes.
func (r *fakeRack) act(action string) error {
	r.acts = append(r.acts, action)
	name, what, _ := strings.Cut(action, ":")
	parts := strings.Split(what, ":")
	now := func(scene string) {
		r.state.Scene = scene
		for _, s := range r.state.Scenes {
			if s.Name == scene {
				r.state.Title = s.Title
			}
		}
		r.server.State(r.copy())
	}
	switch name {
	case "scene":
		now(parts[0])
	case "slot":
		now("slot-" + parts[0])
	case "launch":
		if parts[1] == "now" {
			now(parts[0])
			break
		}
		fade := 0.0
		if len(parts) > 2 {
			fade, _ = strconv.ParseFloat(parts[2], 64)
		}
		r.stage["waiting"] = map[string]any{"scene": parts[0], "title": parts[0], "for": cmp.Or(parts[1], "bar"), "crossfade": fade, "in": 2.5}
	case "morph":
		seconds, _ := strconv.ParseFloat(parts[1], 64)
		cut, _ := strconv.ParseFloat(parts[2], 64)
		r.stage["morph"] = map[string]any{"from": r.state.Scene, "to": parts[0], "position": 0.0, "cut": cut, "seconds": seconds, "held": seconds == 0}
	case "position":
		m, ok := r.stage["morph"].(map[string]any)
		if !ok {
			return errors.New("there is no morph; begin one, such as morph:ambient:0")
		}
		x, err := strconv.ParseFloat(what, 64)
		if err != nil || x < 0 || x > 1 {
			return fmt.Errorf("%q is no point of a morph; expected 0 … 1", what)
		}
		m = maps.Clone(m)
		m["position"], m["held"], m["seconds"] = x, true, 0.0
		r.stage["morph"] = m
		r.server.Changed("/scene/morph/position", x, "", "")
	case "cancel":
		if len(r.stage) == 0 {
			return errors.New("no scene waits, and no morph is under way")
		}
		delete(r.stage, "waiting")
		delete(r.stage, "morph")
	case "snapshot":
		n, _ := strconv.Atoi(what)
		slot := "slot-" + what
		r.state.Scenes = slices.DeleteFunc(r.state.Scenes, func(s SceneInfo) bool { return s.Name == slot })
		r.state.Scenes = append(r.state.Scenes, SceneInfo{Name: slot, Title: r.state.Title, Slot: n})
		r.server.State(r.copy())
	case "setlist":
		delete(r.stage, "setList")
		if what != "off" {
			r.stage["setList"] = map[string]any{"name": what, "title": "Friday night", "scenes": []string{"default", "ambient", "drain"}, "entry": 0, "next": "default"}
		}
	case "next", "previous":
		l, ok := r.stage["setList"].(map[string]any)
		if !ok {
			break
		}
		all, entry := l["scenes"].([]string), l["entry"].(int)
		if name == "next" {
			entry++
		} else {
			entry--
		}
		if entry < 1 || entry > len(all) {
			return fmt.Errorf("the set list %s ends here; it has %d scenes", l["name"], len(all))
		}
		l = maps.Clone(l)
		l["entry"], l["note"], l["next"] = entry, "wait for the bell", ""
		if entry < len(all) {
			l["next"] = all[entry]
		}
		r.stage["setList"] = l
		now(all[entry-1])
	default:
		return nil
	}
	r.tell(nil)
	return nil
}

// actions are those of a name, in order.
func (r *fakeRack) actions(name string) (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.acts {
		if n, _, _ := strings.Cut(a, ":"); n == name {
			list = append(list, a)
		}
	}
	return list
}

func newModule(id string) Module {
	kind, _, _ := strings.Cut(id, "/")
	m := Module{ID: id, Params: map[string]float64{}, Text: map[string]string{}}
	d := instrument.Module{ID: instrument.ModuleID(id), Params: map[string]float64{}, Text: map[string]string{}}
	for _, p := range instrument.Spec(kind).Params {
		if p.Text {
			m.Text[p.Name] = d.Word(p.Name)
		} else {
			m.Params[p.Name] = d.Value(p.Name)
		}
	}
	return m
}

// rackOf stands modules in rows of a width in HP.
func rackOf(width int, ids ...string) State {
	st := State{Scene: "test", Title: "A rack for tests", Rate: 48000, Cluster: "own", Own: true, Cables: []Cable{},
		Scenes: []SceneInfo{{Name: "default", Title: "A Deployment is a chord"}, {Name: "test", Title: "A rack for tests"}, {Name: "ambient", Title: "A cloud at rest"},
			{Name: "rolling-update", Title: "A new version, pod by pod"}, {Name: "slot-3", Title: "A Deployment is a chord, as it stood at midnight", Slot: 3}},
		SetLists: []SceneInfo{{Name: "friday", Title: "Friday night"}}}
	row, hp := 0, 0
	for _, id := range ids {
		m := newModule(id)
		kind, _, _ := strings.Cut(id, "/")
		l, err := faceplate.Build(instrument.Spec(kind))
		if err != nil {
			panic(err)
		}
		w := l.HP
		if hp+w > width {
			row, hp = row+1, 0
		}
		m.Row, m.HP = row, hp
		hp += w
		st.Modules = append(st.Modules, m)
	}
	return st
}

// bigRack is a rack of n modules of every kind, with cables between any two.
func bigRack(n, cables int) State {
	r := rand.New(rand.NewPCG(7, 7))
	var ids []string
	specs := instrument.Specs()
	for i := range n {
		ids = append(ids, fmt.Sprintf("%s/m%d", specs[i%len(specs)].Kind, i))
	}
	st := rackOf(168, ids...)
	var outs, ins []string
	for _, id := range ids {
		kind, _, _ := strings.Cut(id, "/")
		for _, o := range instrument.Spec(kind).Outputs {
			outs = append(outs, id+"/"+o.Name)
		}
		for _, o := range instrument.Spec(kind).Inputs {
			ins = append(ins, id+"/"+o.Name)
		}
	}
	r.Shuffle(len(ins), func(a, b int) { ins[a], ins[b] = ins[b], ins[a] })
	for i := range min(cables, len(ins)) {
		st.Cables = append(st.Cables, Cable{From: outs[r.IntN(len(outs))], To: ins[i], Cluster: i%9 == 0, Sensed: i%17 == 0})
	}
	return st
}

// elsewhere is a page of another origin.
func elsewhere(t testing.TB, text string) string {
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, text)
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(ln)
	t.Cleanup(func() { s.Close() })
	return "http://" + ln.Addr().String() + "/"
}
