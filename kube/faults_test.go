package kube

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// impatient shortens every wait of an observer. Streams that bring nothing are
// all that there is to a fake without bookmarks.
func impatient(o *Observer) {
	o.patience = patience{stall: time.Second, fruitless: 1000, optional: 100 * time.Millisecond, refused: 50 * time.Millisecond, failing: 200 * time.Millisecond}
}

// faults stands between the observer and the API and does what networks and
// overworked servers do.
type faults struct {
	*httptest.Server
	fault atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool] // true: answered
	// frozen watches pass nothing on, though their connection lives.
	frozen atomic.Bool
	// swallowed is how many watches lost something by that.
	swallowed atomic.Int32
}

func newFaults(t *testing.T, f *fakeAPI) *faults {
	to, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.FlushInterval = -1
	p := &faults{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault := p.fault.Load(); fault != nil && (*fault)(w, r) {
			return
		}
		if r.URL.Query().Get("watch") != "" {
			w = &freezing{w, p, r}
		}
		defer func() { _ = recover() }() // the proxy panics where its client is gone
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

func (p *faults) do(fault func(w http.ResponseWriter, r *http.Request) bool) {
	if fault == nil {
		p.fault.Store(nil)
		return
	}
	p.fault.Store(&fault)
}

// freezing swallows what a watch tells from the moment that the streams freeze,
// and for good: one that was frozen has lost something.
type freezing struct {
	http.ResponseWriter
	p *faults
	r *http.Request
}

func (f *freezing) Write(b []byte) (int, error) {
	if f.p.frozen.Load() {
		f.p.swallowed.Add(1)
		<-f.r.Context().Done()
		return 0, f.r.Context().Err()
	}
	return f.ResponseWriter.Write(b)
}

func (f *freezing) Flush() { f.ResponseWriter.(http.Flusher).Flush() }

func refuseWith(code int, reason, after string, which func(*http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !which(r) {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"reason":%q,"code":%d}`, "no: "+reason, reason, code)
		return true
	}
}

func of(resource string) func(*http.Request) bool {
	return func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/"+resource) }
}

// TestObserverThroughBrokenStreams loses nothing of what happened while streams
// hang or break off, however short they lived: they are given up and taken up
// where they were.
func TestObserverThroughBrokenStreams(t *testing.T) {
	stream := func(r *http.Request) bool { return r.URL.Query().Get("watch") != "" }
	// Not a stream that begins with a list.
	podStream := func(r *http.Request) bool {
		return of("pods")(r) && stream(r) && r.URL.Query().Get("sendInitialEvents") == ""
	}
	// hindered answers the streams of pods until it is set free, and counts them.
	type hindered func(http.ResponseWriter, *http.Request)
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	begin := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
	}
	for _, tt := range []struct {
		name   string
		answer hindered // nil: streams that are open freeze
		least  int32    // streams that must have come to grief before it heals
	}{
		{"open ones hang", nil, 1},
		{"they hang while they are opened", hang, 2},
		{"they hang before they bring anything", func(w http.ResponseWriter, r *http.Request) { begin(w); hang(w, r) }, 2},
		{"they end at once", func(w http.ResponseWriter, _ *http.Request) { begin(w) }, 5},
		{"they break off at once", func(w http.ResponseWriter, _ *http.Request) { begin(w); panic(http.ErrAbortHandler) }, 5},
		{"they break off in the middle of a word", func(w http.ResponseWriter, _ *http.Request) {
			begin(w)
			fmt.Fprint(w, `{"type":"MODI`)
			panic(http.ErrAbortHandler)
		}, 5},
		{"they bring what is not JSON", func(w http.ResponseWriter, _ *http.Request) { begin(w); fmt.Fprint(w, "<html>\n") }, 5},
		{"a gateway answers in place of the server", func(w http.ResponseWriter, r *http.Request) {
			refuseWith(http.StatusBadGateway, "Bad Gateway", "", podStream)(w, r)
		}, 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeAPI(t)
			p := newFaults(t, f)
			file := t.TempDir() + "/kubeconfig"
			writeKubeconfig(t, file, p.URL)
			f.change(func() { f.put("a", "ua", "Pending") })
			var hurt, lists atomic.Int32
			hinder := func(answer hindered) {
				p.do(func(w http.ResponseWriter, r *http.Request) bool {
					if of("pods")(r) && !stream(r) && r.URL.Query().Get("limit") != "1" { // not the heartbeat, which reads one
						lists.Add(1)
					}
					if answer == nil || !podStream(r) {
						return false
					}
					hurt.Add(1)
					answer(w, r)
					return true
				})
			}
			hinder(tt.answer)
			_, r := observe(t, Options{Source: Source{Kubeconfig: file}, ListenOnly: true, Metrics: -1}, impatient)
			eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
			if tt.answer == nil {
				eventually(t, "a watch of pods", func() bool {
					f.mu.Lock()
					defer f.mu.Unlock()
					return f.watching["pods"] > 0
				})
				p.frozen.Store(true)
			}
			f.change(func() { f.put("a", "ua", "Running") })
			eventually(t, "streams that come to grief", func() bool { return hurt.Load()+p.swallowed.Load() >= tt.least })
			f.change(func() { f.put("a", "ua", "Failed") })
			p.frozen.Store(false)
			hinder(nil)
			eventually(t, "the change behind them", func() bool { return r.lastOf("a", mapping.FieldPhase) == "Failed" })
			if got, want := r.of("a", mapping.FieldPhase), []string{"Pending", "Running", "Failed"}; !reflect.DeepEqual(got, want) {
				t.Errorf("phases %q, want %q", got, want)
			}
			if loud, quiet := r.told("a", mapping.FieldPhase, "Running"); loud != 1 || quiet != 0 {
				t.Errorf("what was held back was told %d times aloud and %d times quietly, want 1 and 0", loud, quiet)
			}
			if got := r.of("apiserver", mapping.FieldReachable); !reflect.DeepEqual(got, []string{"false", "true"}) {
				t.Errorf("reachable went %q while only streams broke", got)
			}
			if n := lists.Load(); n != 1 {
				t.Errorf("pods were listed %d times, want once", n)
			}
			replay(t, map[mapping.Object]map[string]string{}, r.all())
		})
	}
}

// TestObserverBehindAProxyThatHoldsBackStreams finds out by lists what no
// stream brings.
func TestObserverBehindAProxyThatHoldsBackStreams(t *testing.T) {
	f := newFakeAPI(t)
	f.hang["pods"] = true
	f.change(func() { f.put("a", "ua", "Pending") })
	_, r := observe(t, Options{Source: Source{Kubeconfig: f.kubeconfig(t)}, ListenOnly: true, Metrics: -1}, impatient, func(o *Observer) {
		o.patience.stall, o.patience.fruitless = 500*time.Millisecond, 1
	})
	eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
	for _, phase := range []corev1.PodPhase{"Running", "Failed"} {
		f.change(func() { f.put("a", "ua", phase) })
		eventually(t, "what a list says", func() bool { return r.lastOf("a", mapping.FieldPhase) == string(phase) })
		if loud, quiet := r.told("a", mapping.FieldPhase, string(phase)); loud != 0 || quiet != 1 {
			t.Errorf("a list was told %d times aloud and %d times quietly, want 0 and 1", loud, quiet)
		}
	}
}

// TestObserverOfAThrottlingAPI tells the player that the API throttles, does
// not take it for gone, and obeys what it asks for.
func TestObserverOfAThrottlingAPI(t *testing.T) {
	f := newFakeAPI(t)
	p := newFaults(t, f)
	file := t.TempDir() + "/kubeconfig"
	writeKubeconfig(t, file, p.URL)
	f.change(func() { f.put("a", "ua", "Pending") })
	_, r := observe(t, Options{Source: Source{Kubeconfig: file}, ListenOnly: true, Metrics: -1, Heartbeat: 50 * time.Millisecond}, impatient)
	eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
	var mu sync.Mutex
	asked := 0
	began := time.Now()
	throttle := refuseWith(http.StatusTooManyRequests, "TooManyRequests", "1", func(*http.Request) bool { return true })
	p.do(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		asked++
		mu.Unlock()
		return throttle(w, r)
	})
	f.change(func() { f.end(false); f.put("a", "ua", "Running") })
	eventually(t, "the problem", func() bool { return r.complaints("429") == 1 })
	time.Sleep(1500 * time.Millisecond)
	mu.Lock()
	// Thirteen watches, a heartbeat and a probe each quarter of a second: each
	// waits for a second after it was refused.
	if took := max(time.Since(began), 2*time.Second); float64(asked) > 40*took.Seconds() {
		t.Errorf("an API that asks to wait for a second was asked %d times in %v", asked, took)
	}
	mu.Unlock()
	p.do(nil)
	eventually(t, "the change behind the throttle", func() bool { return r.lastOf("a", mapping.FieldPhase) == "Running" })
	if got := r.of("apiserver", mapping.FieldReachable); !reflect.DeepEqual(got, []string{"false", "true"}) {
		t.Errorf("reachable went %q while the API throttled", got)
	}
	replay(t, map[mapping.Object]map[string]string{}, r.all())
}

// TestObserverOfASlowAPI connects to an API that takes longer to answer than
// one that is well may be silent, stays with it, and still notices its loss.
func TestObserverOfASlowAPI(t *testing.T) {
	t.Parallel()
	f := newFakeAPI(t)
	p := newFaults(t, f)
	file := t.TempDir() + "/kubeconfig"
	writeKubeconfig(t, file, p.URL)
	f.change(func() { f.put("a", "ua", "Pending") })
	var served atomic.Int32
	p.do(func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-time.After(silence + 100*time.Millisecond):
		case <-r.Context().Done():
		}
		if of("kube-system")(r) {
			served.Add(1)
		}
		return false
	})
	_, r := observe(t, Options{Source: Source{Kubeconfig: file}, ListenOnly: true, Metrics: -1}, func(o *Observer) { o.patience.optional = time.Second })
	eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
	before := served.Load()
	eventually(t, "some answers", func() bool { return served.Load() > before+2 })
	if got := r.of("apiserver", mapping.FieldReachable); !reflect.DeepEqual(got, []string{"false", "true"}) {
		t.Errorf("reachable of a slow API went %q, want false, true", got)
	}
	p.do(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	})
	eventually(t, "the loss", func() bool { return r.lastOf("apiserver", mapping.FieldReachable) == "false" })
	p.do(nil)
	f.change(func() { f.put("a", "ua", "Running") })
	eventually(t, "the change", func() bool { return r.lastOf("a", mapping.FieldPhase) == "Running" })
	replay(t, map[mapping.Object]map[string]string{}, r.all())
}

// TestPatience doubles what an API that does not answer in time is given, and
// takes it back once it is quick again.
func TestPatience(t *testing.T) {
	p := newPulse()
	if got := p.patience(); got != silence {
		t.Errorf("patience %v at first, want %v", got, silence)
	}
	for _, want := range []time.Duration{2 * silence, 4 * silence, slowest, slowest} {
		p.answered(p.patience(), true)
		if got := p.patience(); got != want {
			t.Errorf("patience %v, want %v", got, want)
		}
	}
	for range 4 {
		p.answered(time.Millisecond, false)
	}
	if got := p.patience(); got != silence {
		t.Errorf("patience %v after four quick answers, want %v", got, silence)
	}
	p.answered(silence/2, false)
	if got := p.patience(); got != 2*silence {
		t.Errorf("patience %v after an answer of %v, want %v", got, silence/2, 2*silence)
	}
}

// TestPardon takes back a silence in part, and never promises signs of life to
// come.
func TestPardon(t *testing.T) {
	p := newPulse()
	p.start = p.start.Add(-time.Hour)
	p.pardon(50 * time.Minute)
	if got := p.quiet(); got < 10*time.Minute || got > 20*time.Minute {
		t.Errorf("an hour of silence of which 50 minutes are pardoned is %v", got)
	}
	p.pardon(time.Hour)
	if got := p.quiet(); got < 0 || got > time.Minute {
		t.Errorf("where more is pardoned than was, there are %v of silence", got)
	}
}

// TestObserverOfAFailingAPI tells what cannot be read where one kind fails, and
// that the API is gone where all do; both heal.
func TestObserverOfAFailingAPI(t *testing.T) {
	f := newFakeAPI(t)
	p := newFaults(t, f)
	file := t.TempDir() + "/kubeconfig"
	writeKubeconfig(t, file, p.URL)
	p.do(refuseWith(http.StatusInternalServerError, "InternalError", "5", of("services")))
	f.change(func() { f.put("a", "ua", "Pending"); f.set("services", aService("web", 0)) })
	_, r := observe(t, Options{Source: Source{Kubeconfig: file}, ListenOnly: true, Metrics: -1, Heartbeat: 50 * time.Millisecond}, impatient)
	eventually(t, "the sync without Services", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
	eventually(t, "the problem", func() bool { return r.complaints("service in n cannot be read") == 1 })
	if got := r.lastOf("a", mapping.FieldPhase); got != "Pending" {
		t.Errorf("the pod is %q while Services fail", got)
	}
	p.do(nil)
	eventually(t, "the Service", func() bool { return r.lastOf("web", mapping.FieldExists) == "true" })
	if loud, quiet := r.told("web", mapping.FieldExists, "true"); loud != 0 || quiet != 1 {
		t.Errorf("a late first list was told %d times aloud and %d times quietly", loud, quiet)
	}
	p.do(refuseWith(http.StatusInternalServerError, "InternalError", "5", func(*http.Request) bool { return true }))
	f.change(func() { f.end(false); f.put("a", "ua", "Running") })
	eventually(t, "the loss", func() bool { return r.lastOf("apiserver", mapping.FieldReachable) == "false" })
	p.do(nil)
	eventually(t, "the change behind the failure", func() bool { return r.lastOf("a", mapping.FieldPhase) == "Running" })
	eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
	replay(t, map[mapping.Object]map[string]string{}, r.all())
}

// TestObserverWhosePermissionsAreRevoked tells each revocation once, goes on
// with the rest, and takes up what is allowed again.
func TestObserverWhosePermissionsAreRevoked(t *testing.T) {
	f := newFakeAPI(t)
	f.change(func() {
		f.put("a", "ua", "Pending")
		f.set("nodes", aNode("stage-1"))
		f.set("services", aService("web", 0))
	})
	obs, r := observe(t, Options{Source: Source{Kubeconfig: f.kubeconfig(t)}, ListenOnly: true, Metrics: -1}, impatient)
	eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
	for round := range 2 {
		f.change(func() { f.refuse["pods"], f.refuse["services"] = true, true; f.end(false) })
		eventually(t, "the problems", func() bool {
			return r.complaints("allow to watch pod in n") == round+1 && r.complaints("allow to watch service in n") == round+1
		})
		f.change(func() { f.put("a", "ua", corev1.PodPhase(fmt.Sprint("Running", round))) })
		cordoned := aNode("stage-1")
		cordoned.Spec.Unschedulable = round == 0
		f.change(func() { f.set("nodes", cordoned) })
		eventually(t, "what is still allowed", func() bool { return r.lastOf("stage-1", mapping.FieldCordoned) == fmt.Sprint(round == 0) })
		time.Sleep(200 * time.Millisecond)
		if n := len(r.of("a", mapping.FieldPhase)); n != round+1 {
			t.Errorf("%d phases are told of a pod that may not be read, want %d", n, round+1)
		}
		if n := r.complaints("allow to watch"); n != 2*(round+1) {
			t.Errorf("%d problems, want each once", n)
		}
		f.change(func() { clear(f.refuse) })
		eventually(t, "what is allowed again", func() bool { return r.lastOf("a", mapping.FieldPhase) == fmt.Sprint("Running", round) })
		eventually(t, "that all is allowed again", func() bool {
			obs.mu.Lock()
			defer obs.mu.Unlock()
			return len(obs.refused) == 0
		})
	}
	if got := r.lastOf("a", mapping.FieldExists); got != "true" {
		t.Error("a pod that may not be read is told to be gone")
	}
	replay(t, map[mapping.Object]map[string]string{}, r.all())
}

// TestOptionalKindsDoNotHoldUpTheSync serves lists of a kind that never come.
func TestOptionalKindsDoNotHoldUpTheSync(t *testing.T) {
	f := newFakeAPI(t)
	p := newFaults(t, f)
	file := t.TempDir() + "/kubeconfig"
	writeKubeconfig(t, file, p.URL)
	p.do(func(w http.ResponseWriter, r *http.Request) bool {
		if of("ingresses")(r) {
			<-r.Context().Done()
			return true
		}
		return refuseWith(http.StatusNotFound, "NotFound", "", of("cronjobs"))(w, r)
	})
	_, r := observe(t, Options{Source: Source{Kubeconfig: file}, ListenOnly: true, Metrics: -1}, impatient)
	eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
}

// TestClockJumps sets the clock by hours while the observer runs: nothing is
// taken for lost, nothing is told out of order.
func TestClockJumps(t *testing.T) {
	f := newFakeAPI(t)
	var jump atomic.Int64
	now := func() time.Time { return time.Now().Round(0).Add(time.Duration(jump.Load())) }
	f.change(func() { f.put("a", "ua", "Phase0") })
	_, r := observe(t, Options{Source: Source{Kubeconfig: f.kubeconfig(t)}, ListenOnly: true, Metrics: 20 * time.Millisecond, Heartbeat: 50 * time.Millisecond, Now: now, Clock: now}, impatient)
	eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
	var want []string
	for i, by := range []time.Duration{0, 5 * time.Hour, -9 * time.Hour, 300 * time.Hour, 0} {
		jump.Store(int64(by))
		phase := fmt.Sprint("Phase", i)
		want = append(want, phase)
		if i > 0 {
			f.change(func() { f.put("a", "ua", corev1.PodPhase(phase)) })
		}
		eventually(t, phase, func() bool { return r.lastOf("a", mapping.FieldPhase) == phase })
		time.Sleep(300 * time.Millisecond)
	}
	if got := r.of("a", mapping.FieldPhase); !reflect.DeepEqual(got, want) {
		t.Errorf("phases %q, want %q", got, want)
	}
	if got := r.of("apiserver", mapping.FieldReachable); !reflect.DeepEqual(got, []string{"false", "true"}) {
		t.Errorf("reachable went %q while the clock was set", got)
	}
	var last int64
	for _, x := range r.all() {
		if x.Object.Kind == mapping.KindPod {
			if x.Revision < last {
				t.Errorf("revision %d after %d", x.Revision, last)
			}
			last = x.Revision
		}
	}
	replay(t, map[mapping.Object]map[string]string{}, r.all())

	// A Deployment's own stamps run on evenly.
	o := NewObserver(Options{})
	before, begin, after := time.Now(), o.Now(), time.Now()
	time.Sleep(5 * time.Millisecond)
	least, end, most := time.Since(after), o.Now(), time.Since(before)
	if d := end.Round(0).Sub(begin.Round(0)); d < least-time.Millisecond || d > most+time.Millisecond {
		t.Errorf("the stamps are %v apart, the monotonic clock says %v to %v", d, least, most)
	}
}

// TestAllKindsUnderRandomFaults changes objects of all kinds at random while
// watches end, their history is lost, connections break and streams freeze, and
// finds the final state from transitions of which each follows from the last.
func TestAllKindsUnderRandomFaults(t *testing.T) {
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprint("streamed lists ", stream), func(t *testing.T) {
			f := newFakeAPI(t)
			f.stream = stream
			p := newFaults(t, f)
			file := t.TempDir() + "/kubeconfig"
			writeKubeconfig(t, file, p.URL)
			var topology atomic.Pointer[corev1.ConfigMap]
			o, r := observe(t, Options{Source: Source{Kubeconfig: file}, ListenOnly: true, Metrics: -1, Also: []string{"m", "n", ""}}, impatient, func(o *Observer) {
				o.onTopology = func(cm *corev1.ConfigMap) { topology.Store(cm) }
			})
			eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
			rnd := rand.New(rand.NewPCG(8, 9))
			names := []string{"x", "y", "z"}
			step := func() {
				ns, name := []string{"n", "m", "elsewhere"}[rnd.IntN(3)], names[rnd.IntN(3)]
				m := metav1.ObjectMeta{Namespace: ns, Name: name, Labels: map[string]string{}}
				resource := slices.Sorted(maps.Keys(served))[rnd.IntN(len(served))]
				if resource == "nodes" || resource == "namespaces" {
					m.Namespace = ""
				}
				if resource == "namespaces" {
					m.Name = ns
				}
				if resource == "configmaps" && rnd.IntN(2) == 0 {
					m.Name = "topology"
				}
				if resource == "pods" {
					m.Name = "pod-" + ns + name
				}
				if was := f.objects[resource][namespaced{m.Namespace, m.Name}]; was != nil {
					if rnd.IntN(4) == 0 {
						f.unset(resource, m.Namespace, m.Name)
						return
					}
					m.UID = was.GetUID()
				} else {
					m.UID = types.UID(fmt.Sprint(resource, f.revision))
				}
				n := int32(rnd.IntN(4))
				switch resource {
				case "pods":
					f.set(resource, &corev1.Pod{ObjectMeta: m, Status: corev1.PodStatus{Phase: []corev1.PodPhase{"Pending", "Running", "Failed"}[rnd.IntN(3)]}})
				case "nodes":
					o := aNode(m.Name)
					o.ObjectMeta = m
					o.Spec.Unschedulable = n > 1
					f.set(resource, o)
				case "services":
					f.set(resource, &corev1.Service{ObjectMeta: m})
				case "endpointslices":
					s := aSlice(name, names[rnd.IntN(3)], 0, names[:n]...)
					s.Namespace, s.UID = ns, m.UID
					f.set(resource, s)
				case "namespaces":
					f.set(resource, &corev1.Namespace{ObjectMeta: m})
				case "resourcequotas":
					q := aQuota(ns, name, 0, "8", fmt.Sprint(n))
					q.UID = m.UID
					f.set(resource, q)
				case "configmaps":
					f.set(resource, &corev1.ConfigMap{ObjectMeta: m, Data: map[string]string{"n": fmt.Sprint(n)}})
				case "deployments":
					f.set(resource, &appsv1.Deployment{ObjectMeta: m, Spec: appsv1.DeploymentSpec{Replicas: &n}})
				case "ingresses":
					f.set(resource, &networkingv1.Ingress{ObjectMeta: m})
				case "cronjobs":
					f.set(resource, &batchv1.CronJob{ObjectMeta: m, Status: batchv1.CronJobStatus{Active: make([]corev1.ObjectReference, n)}})
				case "jobs":
					f.set(resource, &batchv1.Job{ObjectMeta: m, Status: batchv1.JobStatus{Active: n}})
				}
			}
			for i := range 300 {
				f.change(func() {
					for range 1 + rnd.IntN(6) {
						step()
					}
					switch rnd.IntN(15) {
					case 0:
						f.end(false)
					case 1:
						f.end(true)
					}
				})
				switch i % 100 {
				case 30:
					p.frozen.Store(true)
				case 40:
					p.frozen.Store(false)
				case 70:
					p.CloseClientConnections()
				}
				time.Sleep(2 * time.Millisecond)
			}
			model := func() map[mapping.Object]map[string]string {
				f.mu.Lock()
				defer f.mu.Unlock()
				was := NewObserver(Options{Namespace: "n", Also: []string{"m"}, Transitions: func([]mapping.Transition) {}})
				for _, ns := range was.observed() {
					pick := func(resource string) []any {
						var list []any
						for _, o := range f.all(fakeScope{resource: resource, namespace: ns}) {
							list = append(list, o)
						}
						return list
					}
					for _, x := range []struct{ kind, resource string }{{"pod", "pods"}, {"deployment", "deployments"}, {"ingress", "ingresses"}, {"cronjob", "cronjobs"}, {"job", "jobs"}} {
						(&objectSink{x.kind, ns, was}).replace(pick(x.resource), Stamp{})
					}
					(&serviceSink{was.services, ns}).replace(pick("services"), Stamp{})
					(&sliceSink{was.services, ns}).replace(pick("endpointslices"), Stamp{})
					(&quotaSink{was.namespaces, ns}).replace(pick("resourcequotas"), Stamp{})
					var spaces []any
					for _, o := range f.all(fakeScope{resource: "namespaces", name: ns}) {
						spaces = append(spaces, o)
					}
					(&namespaceSink{was.namespaces, ns}).replace(spaces, Stamp{})
				}
				var nodes []any
				for _, o := range f.all(fakeScope{resource: "nodes"}) {
					nodes = append(nodes, o)
				}
				(&objectSink{"node", "", was}).replace(nodes, Stamp{})
				return stateOf(Snapshot{Objects: was.tracker.known})
			}
			comparable := func(state map[mapping.Object]map[string]string) map[string]string {
				out := map[string]string{}
				for o, fields := range state {
					if o.Kind == mapping.KindAPIServer || o.Kind == mapping.KindEtcd {
						continue
					}
					fields := maps.Clone(fields)
					if e := fields[mapping.FieldEndpoints]; e != "" { // the places have a history
						list := slices.DeleteFunc(strings.Split(e, ","), func(s string) bool { return s == "-" })
						slices.Sort(list)
						fields[mapping.FieldEndpoints] = strings.Join(list, ",")
					}
					out[fmt.Sprint(o)+o.Namespace+o.UID] = fmt.Sprint(fields)
				}
				return out
			}
			want := comparable(model())
			var got map[string]string
			defer func() {
				if t.Failed() {
					for k, v := range want {
						if got[k] != v {
							t.Logf("%s is %s, want %s", k, got[k], v)
						}
					}
					for k, v := range got {
						if want[k] == "" {
							t.Logf("%s is %s, want nothing", k, v)
						}
					}
				}
			}()
			eventually(t, "the final state", func() bool {
				state := map[mapping.Object]map[string]string{}
				replay(t, state, r.all())
				got = comparable(state)
				return maps.Equal(got, want)
			})
			f.mu.Lock()
			cm := f.objects["configmaps"][namespaced{"n", "topology"}]
			t.Logf("%d transitions, %d objects, %d lists", len(r.all()), len(got), f.lists)
			f.mu.Unlock()
			eventually(t, "the topology", func() bool {
				seen := topology.Load()
				return cm == nil && seen == nil || cm != nil && seen != nil && seen.ResourceVersion == cm.GetResourceVersion()
			})
			if n := len(o.Pods()); n == 0 || o.Pods()[0].Name == "" {
				t.Errorf("%d pods are known", n)
			}
			for _, s := range o.Services() {
				if one := o.Service(s.Namespace, s.Name); one == nil || places(one.Endpoints) != places(s.Endpoints) {
					t.Errorf("service %s/%s is %+v, and among all %+v", s.Namespace, s.Name, one, s)
				}
			}
		})
	}
}

// TestAllNamespaces observes a whole cluster with one watch for each kind.
func TestAllNamespaces(t *testing.T) {
	f := newFakeAPI(t)
	f.change(func() {
		for _, ns := range []string{"n", "m", "elsewhere"} {
			f.set("deployments", &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web", UID: types.UID("d-" + ns)}})
			f.set("namespaces", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
		}
	})
	_, r := observe(t, Options{Source: Source{Kubeconfig: f.kubeconfig(t)}, ListenOnly: true, Metrics: -1, Also: []string{"m", AllNamespaces}}, impatient, func(o *Observer) {
		o.patience.stall = time.Minute // no watch is given up and begun again
	})
	eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
	state := map[mapping.Object]map[string]string{}
	replay(t, state, r.all())
	for _, ns := range []string{"n", "m", "elsewhere"} {
		if state[mapping.Object{Kind: mapping.KindDeployment, Namespace: ns, Name: "web", UID: "d-" + ns}] == nil || state[mapping.Object{Kind: mapping.KindNamespace, Name: ns}] == nil {
			t.Errorf("namespace %s or its Deployment is not seen: %v", ns, state)
		}
	}
	watches := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.watching["deployments"]
	}
	// It is in sync when all is listed; the watch begins after that.
	eventually(t, "a watch", func() bool { return watches() > 0 })
	time.Sleep(100 * time.Millisecond)
	if n := watches(); n != 1 {
		t.Errorf("%d watches of Deployments, want one for the cluster", n)
	}
}
