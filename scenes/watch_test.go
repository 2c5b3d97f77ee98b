package scenes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// readWatch reads recordings of kubectl from testdata/watch: a Deployment of
// four that is asked for seven, loses a pod, and a node that is cordoned.
func readWatch(t *testing.T, r *WatchReader, names ...string) *Watch {
	t.Helper()
	for _, name := range names {
		f, err := os.Open(filepath.Join("testdata", "watch", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := r.Read(name, f); err != nil {
			t.Fatal(err)
		}
	}
	return r.Watch()
}

// What is read from a recording of kubectl is what the observer told of the
// same objects at the time: field by field, state by state.
func TestWatchTellsWhatTheObserverTold(t *testing.T) {
	w := readWatch(t, &WatchReader{}, "pods", "deployments", "nodes", "services", "slices")
	var observed map[string]map[string][]string
	data, err := os.ReadFile("testdata/watch/observed.json")
	if err == nil {
		err = json.Unmarshal(data, &observed)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]map[string][]string{}
	for _, tr := range slices.Concat(w.Listed, w.Told) {
		o := tr.Object.String()
		if got[o] == nil {
			got[o] = map[string][]string{}
		}
		got[o][tr.Field] = append(got[o][tr.Field], tr.New)
	}
	compared := 0
	for o, fields := range got {
		for field, states := range fields {
			want := observed[o][field]
			// The recording began later than the observer.
			if n := len(want) - len(states); n < 0 || !slices.Equal(want[n:], states) {
				t.Errorf("%s %s: %q, and the observer told %q", o, field, states, want)
			}
			compared += len(states)
		}
	}
	if compared < 120 || len(got) < 14 {
		t.Errorf("only %d states of %d objects", compared, len(got))
	}
	for i, tr := range w.Told {
		if i > 0 && tr.Time.Before(w.Told[i-1].Time) {
			t.Fatalf("%v is told after %v", tr.Time, w.Told[i-1].Time)
		}
		if tr.Quiet {
			t.Errorf("%s %s is quiet", tr.Object, tr.Field)
		}
	}
	for _, tr := range w.Listed {
		if !tr.Quiet {
			t.Errorf("%s %s of the first list is not quiet", tr.Object, tr.Field)
		}
	}
	if l := w.Length(); l < 10*time.Second || l > 40*time.Second {
		t.Errorf("it lasts %s", l)
	}
	if w.Deployments["web"] != 7 || w.Namespaces["k8s-synth"] < 7 {
		t.Errorf("Deployments %v, namespaces %v", w.Deployments, w.Namespaces)
	}
	t.Logf("%d states of %d objects in %s", compared, len(got), w.Length())
}

func TestWatchBecomesATake(t *testing.T) {
	w := readWatch(t, &WatchReader{}, "pods", "deployments", "nodes")
	s, err := (&Store{}).Open("default")
	if err != nil {
		t.Fatal(err)
	}
	write := func(p Pace) (TakeHead, []TakeLine) {
		t.Helper()
		var a, b bytes.Buffer
		for _, to := range []*bytes.Buffer{&a, &b} {
			if err := w.Write(to, TakeHead{From: "a test"}, s, p); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Error("it is another take each time")
		}
		return readTake(t, a.Bytes())
	}
	h, lines := write(Pace{})
	if h.Rate != 48000 || h.From != "a test" || h.Scene == "" {
		t.Errorf("head %+v", h)
	}
	last, synced, fades := int64(0), false, 0
	for _, l := range lines {
		if l.Present < last && l.Frames == 0 {
			t.Fatalf("%d after %d", l.Present, last)
		}
		last = max(last, l.Present)
		switch {
		case l.Fade != nil:
			fades++
		case l.Transition != nil && l.Transition.Field == mapping.FieldSynced:
			synced = true
		case l.Transition != nil && l.Transition.Object.Kind != mapping.KindAPIServer && l.Transition.Quiet == synced:
			t.Errorf("%s %s is quiet: %t", l.Transition.Object, l.Transition.Field, l.Transition.Quiet)
		}
		if l.Frames > 0 {
			last = l.Frames
		}
	}
	if fades != 2 {
		t.Errorf("%d fades", fades)
	}
	whole := last
	_, lines = write(Pace{Speed: 10})
	fast := lines[len(lines)-1].Frames
	if want := float64(whole-7*48000)/10 + 7*48000; float64(fast) > want+48000 || float64(fast) < want-48000 {
		t.Errorf("ten times as fast it has %d frames, of %d", fast, whole)
	}
	_, lines = write(Pace{Rest: 100 * time.Millisecond})
	if rested := lines[len(lines)-1].Frames; rested >= whole {
		t.Errorf("with short rests it has %d frames, of %d", rested, whole)
	}
}

// Events alone tell something, and nothing where the objects are known.
func TestWatchOfEvents(t *testing.T) {
	w := readWatch(t, &WatchReader{}, "events")
	count := map[string]int{}
	for _, tr := range w.Told {
		count[tr.Object.Kind+" "+tr.Field]++
	}
	for _, what := range []string{"pod exists", "pod node", "deployment replicas"} {
		if count[what] == 0 {
			t.Errorf("%d Events tell of no %s: %v", w.Events, what, count)
		}
	}
	both := readWatch(t, &WatchReader{}, "events", "pods", "deployments")
	only := readWatch(t, &WatchReader{}, "pods", "deployments")
	for _, tr := range both.Told {
		if tr.Object.UID != "" && !slices.ContainsFunc(only.Told, func(o mapping.Transition) bool { return o.Object.Name == tr.Object.Name }) &&
			slices.ContainsFunc(only.Listed, func(o mapping.Transition) bool { return o.Object.Name == tr.Object.Name }) {
			t.Errorf("an Event told %s %s of an object that is known", tr.Object, tr.Field)
		}
	}
}

const onePod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-1","namespace":"shop","uid":"u","resourceVersion":"%R","creationTimestamp":"2031-01-02T03:04:05Z","labels":{"pod-template-hash":"abc"},"ownerReferences":[{"kind":"ReplicaSet","name":"web-abc","controller":true}]},"spec":{"nodeName":"n"},"status":{"phase":"%P","conditions":[{"type":"Ready","status":"%S","lastTransitionTime":"2031-01-02T03:04:%TZ"}]}}`

func podJSON(revision, phase, ready, second string) string {
	return strings.NewReplacer("%R", revision, "%P", phase, "%S", ready, "%T", second).Replace(onePod)
}

func TestWatchTakesWhatKubectlWrites(t *testing.T) {
	a, b := podJSON("1", "Pending", "False", "06"), podJSON("2", "Running", "True", "09")
	for name, text := range map[string]string{
		"events":   `{"type":"ADDED","object":` + a + `}` + "\n" + `{"type":"MODIFIED","object":` + b + `}`,
		"objects":  a + "\n" + b,
		"list":     `{"kind":"List","apiVersion":"v1","items":[` + a + `]}` + b,
		"pod list": `{"kind":"PodList","apiVersion":"v1","items":[` + strings.Replace(a, `"kind":"Pod",`, "", 1) + `]}{"type":"MODIFIED","object":` + b + `}`,
		"cut off":  a + "\n" + b + "\n" + a[:40],
		"arrivals": `{"time":"2031-01-02T03:05:00.5Z","type":"ADDED","object":` + a + `}{"time":"2031-01-02T03:05:01.25Z","type":"MODIFIED","object":` + b + `}`,
		"bookmark": `{"type":"ADDED","object":` + a + `}{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"annotations":{"k8s.io/initial-events-end":"true"}}}}{"type":"MODIFIED","object":` + b + `}`,
	} {
		r := WatchReader{}
		if err := r.Read(name, strings.NewReader(text)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		w := r.Watch()
		var got []string
		for _, tr := range w.Told {
			got = append(got, tr.Field+"="+tr.New)
		}
		if want := []string{"phase=Running", "ready=true"}; !slices.Equal(got, want) {
			t.Errorf("%s tells %q, want %q", name, got, want)
			continue
		}
		want := time.Date(2031, 1, 2, 3, 4, 9, 0, time.UTC)
		if name == "arrivals" {
			want = time.Date(2031, 1, 2, 3, 5, 1, 250e6, time.UTC)
		}
		if at := w.Told[0].Time; !at.Equal(want) || w.Told[0].Owner != "web" || w.Told[0].Revision != 2 {
			t.Errorf("%s: %+v, want it at %v", name, w.Told[0], want)
		}
		if len(w.Listed) == 0 || w.Listed[0].Field != mapping.FieldExists {
			t.Errorf("%s lists %v", name, w.Listed)
		}
	}
}

func TestWatchReadsAStream(t *testing.T) {
	var b bytes.Buffer
	enc := mapping.NewEncoder(&b)
	start := time.Date(2031, 3, 4, 5, 6, 7, 0, time.UTC)
	_ = enc.Encode(mapping.Message{Hello: &mapping.Hello{Version: 2, Program: "k8s-synth-kube"}})
	for i, f := range []string{mapping.FieldExists, mapping.FieldReplicas} {
		_ = enc.Encode(mapping.Message{Transition: &mapping.Transition{Time: start.Add(time.Duration(i) * time.Second), Object: mapping.Object{Kind: "deployment", Namespace: "shop", Name: "web"}, Field: f, New: "4", Quiet: i == 0}})
	}
	r := WatchReader{}
	if err := r.Read("stream", &b); err != nil {
		t.Fatal(err)
	}
	if w := r.Watch(); len(w.Listed) != 1 || len(w.Told) != 1 || w.Deployments["web"] != 4 {
		t.Errorf("%+v", w)
	}
}

func TestWatchMistakesAreTold(t *testing.T) {
	for text, want := range map[string]string{
		"":             "x:1:1: the file has no event",
		"NAME READY\n": "x:1:1: this is not a recorded watch",
		"[1]":          "neither an event",
		"{}":           "has no kind",
		`{"kind":"Table","columnDefinitions":[]}`:                                         "record with -o json",
		`{"type":"CHANGED","object":{"kind":"Pod"}}`:                                      "no event \"CHANGED\"",
		podJSON("1", "Pending", "False", "06") + "\n" + `{"kind":"Pod"}`:                  "x:2:1: the Pod has no metadata.name",
		`{"kind":"Pod","metadata":{"name":"a"},"status":{"phase":[]}}`:                    "its status cannot be read",
		`{"kind":"Pod","metadata":{"name":"a","creationTimestamp":"now"}}`:                "cannot be read",
		podJSON("1", "Pending", "False", "06") + "\n{]":                                   "x:2:1: this is not a recorded watch",
		`{"kind":"Node","metadata":{"name":"a"},"status":{"allocatable":{"cpu":"many"}}}`: "is no quantity",
	} {
		r := WatchReader{}
		err := r.Read("x", strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	r := WatchReader{}
	if err := r.Read("x", strings.NewReader(`{"kind":"Secret","metadata":{"name":"a"},"endpoints":{"x":1},"items":7}`)); err != nil || r.Watch().Left["Secret"] != 1 {
		t.Errorf("a kind that cannot be heard: %v, %v", err, r.left)
	}
}

func FuzzWatch(f *testing.F) {
	for _, name := range []string{"pods", "deployments", "nodes", "services", "slices", "events"} {
		data, err := os.ReadFile(filepath.Join("testdata", "watch", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:min(len(data), 4000)])
	}
	f.Add([]byte(podJSON("1", "Pending", "False", "06")))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := WatchReader{}
		if err := r.Read("f", bytes.NewReader(data)); err != nil {
			var e *document.Error
			if !errors.As(err, &e) {
				t.Fatalf("%v says not where", err)
			}
			return
		}
		w := r.Watch()
		if err := w.Write(&bytes.Buffer{}, TakeHead{}, New("x"), Pace{Rest: time.Second}); err != nil && !strings.Contains(err.Error(), "goes on for more") {
			t.Fatal(err)
		}
	})
}

// watchOf reads a recording from a text.
func watchOf(t *testing.T, text string) (*Watch, error) {
	t.Helper()
	r := &WatchReader{}
	if err := r.Read("x.json", strings.NewReader(text)); err != nil {
		return nil, err
	}
	return r.Watch(), nil
}

// podEvent is an event of a pod at a second, with all that must not be kept.
func podEvent(kind, name string, second, revision int, phase string) string {
	return fmt.Sprintf(`{"type":%q,"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q,"namespace":"shop","uid":"u-%s","resourceVersion":"%d","creationTimestamp":"2031-03-04T05:00:00Z",`+
		`"labels":{"pod-template-hash":"5f","team":"hunter2-label"},"annotations":{"note":"hunter2-note"},"ownerReferences":[{"kind":"ReplicaSet","name":"web-5f","controller":true}],"managedFields":[{"time":"2031-03-04T05:06:%02dZ"}]},`+
		`"spec":{"nodeName":"acme-node","containers":[{"name":"c","image":"acme/hunter2-image","env":[{"name":"PASSWORD","value":"hunter2"}]}]},"status":{"phase":%q,"message":"hunter2-message"}}}`+"\n", kind, name, name, revision, second, phase)
}

// What nobody needs to hear is not in a take, however secret it is; under
// pseudonyms no name is.
func TestWatchKeepsNoSecrets(t *testing.T) {
	text := podEvent("ADDED", "web-5f-a", 0, 5, "Pending") +
		`{"type":"ADDED","object":{"apiVersion":"v1","kind":"Secret","metadata":{"name":"hunter2-name","namespace":"shop","resourceVersion":"6"},"data":{"password":"hunter2"}}}` + "\n" +
		`{"type":"ADDED","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"hunter2-map","namespace":"shop","resourceVersion":"6"},"data":{"password":"hunter2"}}}` + "\n" +
		`{"type":"ADDED","object":{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"acme-door","namespace":"shop","uid":"i","resourceVersion":"7"},"spec":{"rules":[{"host":"hunter2.example","http":{"paths":[{"path":"/acme","backend":{"service":{"name":"acme-pay"}}}]}}]}}}` + "\n" +
		podEvent("MODIFIED", "web-5f-a", 3, 9, "Running") + podEvent("MODIFIED", "web-5f-a", 4, 10, "Failed")
	w, err := watchOf(t, text)
	if err != nil {
		t.Fatal(err)
	}
	if w.Left["Secret"] != 1 || w.Left["ConfigMap"] != 1 {
		t.Errorf("left out: %v", w.Left)
	}
	s, err := (&Store{}).Open("default")
	if err != nil {
		t.Fatal(err)
	}
	take := func() string {
		var b bytes.Buffer
		if err := w.Write(&b, TakeHead{}, s, Pace{}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	plain := take()
	if strings.Contains(plain, "hunter2") || !strings.Contains(plain, "web-5f-a") || !strings.Contains(plain, "acme-node") {
		t.Error("the take has what it should not, or has not what it should")
	}
	w.Pseudonyms()
	other := take()
	for _, name := range []string{"hunter2", "acme", "shop", "web-5f", "u-web"} {
		if strings.Contains(other, name) {
			t.Errorf("%s is in\n%s", name, other)
		}
	}
	if strings.Count(other, "\n") != strings.Count(plain, "\n") || !strings.Contains(other, `"owner":"app-1"`) || w.Namespaces["namespace-1"] != 1 {
		t.Errorf("namespaces %v, and\n%s", w.Namespaces, other)
	}
}

// A watch that broke off begins anew with a list: who is not in it has gone, and
// what is older than what is known changes nothing.
func TestWatchThatBeganAnew(t *testing.T) {
	w, err := watchOf(t, podEvent("ADDED", "a", 0, 1, "Running")+podEvent("ADDED", "b", 0, 2, "Running")+podEvent("MODIFIED", "a", 2, 5, "Failed")+podEvent("MODIFIED", "a", 1, 4, "Running")+
		`{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}`+"\n"+
		podEvent("ADDED", "a", 2, 5, "Failed")+podEvent("ADDED", "c", 8, 9, "Pending")+podEvent("MODIFIED", "c", 9, 12, "Running"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tr := range w.Told {
		if tr.Field == mapping.FieldExists || tr.Field == mapping.FieldPhase {
			got = append(got, tr.Object.Name+" "+tr.Field+" "+tr.New)
		}
	}
	want := []string{"a phase Failed", "c exists true", "c phase Pending", "b exists ", "c phase Running"}
	if !slices.Equal(got, want) || w.Left["an older state of a Pod"] != 1 || w.Left["ERROR"] != 1 {
		t.Errorf("%q, left %v; want %q", got, w.Left, want)
	}
}

// An event that was being written is left out and counted; one in the middle that
// is broken is an error with its line.
func TestWatchThatIsCutShort(t *testing.T) {
	text := podEvent("ADDED", "a", 0, 1, "Pending") + podEvent("MODIFIED", "a", 2, 5, "Running")
	w, err := watchOf(t, text+podEvent("MODIFIED", "a", 3, 6, "Failed")[:90])
	if err != nil || len(w.Told) != 1 || w.Left["an event that was cut short at the end"] != 1 {
		t.Errorf("%v: %+v", err, w)
	}
	var wrong *document.Error
	if _, err := watchOf(t, text+"E1129 watch closed\n"+text); !errors.As(err, &wrong) || wrong.Line != 3 {
		t.Errorf("%v", err)
	}
}

// The next tick of a CronJob is known, as the observer tells it.
func TestWatchKnowsTheNextTick(t *testing.T) {
	cron := func(kind, spec, status string, revision int) string {
		return fmt.Sprintf(`{"time":"2031-03-04T05:06:%02dZ","type":%q,"object":{"apiVersion":"batch/v1","kind":"CronJob","metadata":{"name":"tick","namespace":"shop","uid":"t","resourceVersion":"%d","creationTimestamp":"2031-03-04T05:01:30Z"},"spec":{%s},"status":{%s}}}`+"\n", revision, kind, revision, spec, status)
	}
	w, err := watchOf(t, cron("ADDED", `"schedule":"*/5 * * * *"`, "", 1)+cron("MODIFIED", `"schedule":"*/5 * * * *"`, `"lastScheduleTime":"2031-03-04T05:05:00Z"`, 2)+
		cron("MODIFIED", `"schedule":"0 9 * * *","timeZone":"Asia/Tokyo"`, `"lastScheduleTime":"2031-03-04T05:05:00Z"`, 3)+cron("MODIFIED", `"schedule":"0 9 * * *","suspend":true`, "", 4)+cron("MODIFIED", `"schedule":"nonsense"`, "", 5))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tr := range slices.Concat(w.Listed, w.Told) {
		if tr.Field == mapping.FieldNext {
			got = append(got, tr.New)
		}
	}
	// At first 05:05:00 is over and was left out.
	if want := []string{"2031-03-04T05:10:00Z", "2031-03-05T00:00:00Z", ""}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// An audit log with responses is a recording as well.
func TestWatchOfAnAuditLog(t *testing.T) {
	audit := func(verb, stage, at string, code int, object string) string {
		return fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"RequestResponse","stage":%q,"verb":%q,"user":{"username":"hunter2"},"responseStatus":{"code":%d},"stageTimestamp":"2031-03-04T05:06:%sZ","responseObject":%s}`+"\n", stage, verb, code, at, object)
	}
	pod := func(phase, extra string) string {
		return fmt.Sprintf(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"shop","uid":"u","resourceVersion":"7"%s},"status":{"phase":%q}}`, extra, phase)
	}
	w, err := watchOf(t, audit("get", "ResponseComplete", "00.000001", 200, pod("Pending", ""))+audit("create", "RequestReceived", "00.000001", 0, "null")+
		audit("create", "ResponseComplete", "01.250000", 201, pod("Pending", ""))+audit("patch", "ResponseComplete", "02.500000", 200, pod("Running", ""))+
		audit("patch", "ResponseComplete", "02.600000", 409, `{"kind":"Status","apiVersion":"v1","code":409}`)+
		audit("delete", "ResponseComplete", "03.000000", 200, pod("Running", `,"deletionTimestamp":"2031-03-04T05:06:33Z","deletionGracePeriodSeconds":30`))+
		audit("delete", "ResponseComplete", "05.000000", 200, pod("Running", `,"deletionTimestamp":"2031-03-04T05:06:33Z","deletionGracePeriodSeconds":0`))+
		audit("create", "ResponseComplete", "06.000000", 201, `{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"},"data":{"a":"hunter2"}}`)+
		`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","stage":"ResponseComplete","verb":"create","responseStatus":{"code":201},"stageTimestamp":"2031-03-04T05:06:07Z"}`+"\n")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tr := range w.Told {
		if slices.Contains([]string{mapping.FieldExists, mapping.FieldPhase, mapping.FieldDeleting}, tr.Field) {
			got = append(got, fmt.Sprintf("%s %s %s", tr.Time.Format("05.0"), tr.Field, tr.New))
		}
	}
	if want := []string{"01.2 exists true", "01.2 phase Pending", "02.5 phase Running", "03.0 deleting true", "05.0 exists "}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if len(w.Left) != 2 || w.Left["Secret"] != 1 {
		t.Errorf("left %v", w.Left)
	}
}

// endless is a watch that goes on and on: pods whose nodes are told again and
// again, and now and then one that changes.
type endless struct {
	left  int64
	text  []byte
	next  int
	total int64
	each  func() // is called now and then
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.text) == 0 {
		if e.left <= 0 {
			return 0, io.EOF
		}
		pad := strings.Repeat("x", 6000)
		kind, phase := "MODIFIED", "Running"
		if e.next < 100 {
			kind = "ADDED"
		} else if e.next%500 == 0 {
			phase = "Failed"
		}
		e.text = []byte(strings.Replace(podEvent(kind, fmt.Sprintf("pod-%d", e.next%100), e.next*50/int(e.total/6500+1), e.next+1, phase), "hunter2-message", pad, 1))
		if e.next++; e.next%1000 == 0 {
			e.each()
		}
		e.left -= int64(len(e.text))
	}
	n := copy(p, e.text)
	e.text = e.text[n:]
	return n, nil
}

// However long a file is, what is kept of it is what changed.
func TestWatchIsReadAsItComes(t *testing.T) {
	const size = 64 << 20
	// What is garbage is none of it, and how much of that there may be depends on what else the
	// process has in memory.
	live := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := live()
	r := &WatchReader{}
	most := int64(0)
	in := &endless{left: size, total: size, each: func() { most = max(most, live()) }}
	if err := r.Read("long.json", in); err != nil {
		t.Fatal(err)
	}
	w := r.Watch()
	if grown := most - before; most == 0 || grown > size/8 {
		t.Errorf("%d MB of a watch took %d MB of memory", size>>20, grown>>20)
	}
	if len(w.Listed) < 100 || len(w.Told) < 10 || in.next < 7000 {
		t.Errorf("%d events, %d listed, %d told", in.next, len(w.Listed), len(w.Told))
	}
}
