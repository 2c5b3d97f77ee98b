package kube

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/Azure/eno/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/mapping"
)

var update = flag.Bool("update", false, "write the outputs of the table tests anew")

var epoch = time.Unix(0, 0).UTC()

// readSnapshot reads a list of objects as the API writes them, trims and joins
// them. The tracker stands for what was known before.
func readSnapshot(t *testing.T, o *Observer, list []json.RawMessage) Snapshot {
	t.Helper()
	lists := map[string][]any{}
	for _, raw := range list {
		var head metav1.TypeMeta
		if err := json.Unmarshal(raw, &head); err != nil {
			t.Fatal(err)
		}
		var into any
		switch head.Kind {
		case "Pod":
			into = &corev1.Pod{}
		case "Deployment":
			into = &appsv1.Deployment{}
		case "Node":
			into = &corev1.Node{}
		case "Service":
			into = &corev1.Service{}
		case "EndpointSlice":
			into = &discoveryv1.EndpointSlice{}
		case "Ingress":
			into = &networkingv1.Ingress{}
		case "HorizontalPodAutoscaler":
			into = &autoscalingv2.HorizontalPodAutoscaler{}
		case "CronJob":
			into = &batchv1.CronJob{}
		case "Job":
			into = &batchv1.Job{}
		case "Namespace":
			into = &corev1.Namespace{}
		case "ResourceQuota":
			into = &corev1.ResourceQuota{}
		case "Composition":
			into = &apiv1.Composition{}
		default:
			t.Fatalf("kind %q is not observed", head.Kind)
		}
		if err := yaml.UnmarshalStrict(raw, into); err != nil {
			t.Fatalf("%s: %v", head.Kind, err)
		}
		stripped, _ := strip(into)
		lists[head.Kind] = append(lists[head.Kind], stripped)
	}
	s := snapshotOf()
	for _, kind := range []string{"Pod", "Deployment", "Node", "Ingress", "HorizontalPodAutoscaler", "CronJob", "Job", "Composition"} {
		for _, obj := range lists[kind] {
			m := obj.(metav1.Object)
			at := epoch.Add(time.Duration(revisionOf(m)) * time.Millisecond)
			var out Object
			if c, ok := obj.(*apiv1.Composition); ok {
				out = trimComposition(c, Stamp{Time: at, Revision: revisionOf(m)})
			} else {
				out = o.trim(obj, at)
			}
			s.Objects[KeyOf(out)] = out
		}
	}
	// Joined objects are dated by the newest of their parts.
	(&serviceSink{o.services, ""}).replace(lists["Service"], Stamp{})
	(&sliceSink{o.services, ""}).replace(lists["EndpointSlice"], Stamp{})
	(&namespaceSink{o.namespaces, ""}).replace(lists["Namespace"], Stamp{})
	(&quotaSink{o.namespaces, ""}).replace(lists["ResourceQuota"], Stamp{})
	for _, kind := range []string{mapping.KindService, mapping.KindNamespace} {
		o.tracker.each(kind, func(is Object) {
			r := is.seen().Revision
			s.Objects[KeyOf(is)] = is.dated(Stamp{Time: epoch.Add(time.Duration(r) * time.Millisecond), Revision: r})
		})
	}
	return s
}

func snapshotOf(objects ...Object) Snapshot {
	s := Snapshot{Objects: map[Key]Object{}}
	for _, o := range objects {
		s.Objects[KeyOf(o)] = o
	}
	return s
}

func TestDiffTables(t *testing.T) {
	files, err := filepath.Glob("testdata/diff/*.input.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tables: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".input.yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var table struct {
				Previous, Next []json.RawMessage
				Quiet          bool
				Gone           map[string]int64 // UID of a pod to the revision of its end
			}
			if err := yaml.UnmarshalStrict(text, &table); err != nil {
				t.Fatal(err)
			}
			clock := time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)
			o := NewObserver(Options{Transitions: func([]mapping.Transition) {}, Clock: func() time.Time { return clock }})
			previous, next := readSnapshot(t, o, table.Previous), readSnapshot(t, o, table.Next)
			next.Quiet = table.Quiet
			next.Stamp = Stamp{Time: epoch.Add(time.Second), Revision: 1000}
			for uid, r := range table.Gone {
				next.Gone = map[Key]Stamp{{mapping.KindPod, uid}: {Time: epoch.Add(time.Duration(r) * time.Millisecond), Revision: r}}
			}
			got := Diff(previous, next)
			for range 20 { // maps have no order; the difference must have one
				if again := Diff(previous, next); !reflect.DeepEqual(got, again) {
					t.Fatalf("two differences of the same snapshots:\n%v\n%v", got, again)
				}
			}
			if back := Diff(next, next); len(back) != 0 {
				t.Errorf("a snapshot differs from itself: %v", back)
			}
			out, err := yaml.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".input.yaml") + ".output.yaml"
			if *update {
				if err := os.WriteFile(golden, out, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v; run the test with -update", err)
			}
			if string(want) != string(out) {
				t.Errorf("got\n%s\nwant\n%s", out, want)
			}
		})
	}
}

// randomSnapshot makes a snapshot of some of ten pods and three Deployments.
func randomSnapshot(r *rand.Rand, revision int64) Snapshot {
	s := snapshotOf()
	for i := range 10 {
		if r.IntN(4) == 0 {
			continue
		}
		o := &Pod{Name: fmt.Sprint("p", i), UID: fmt.Sprint(i, "-", r.IntN(2)), Phase: []string{"Pending", "Running"}[r.IntN(2)], Ready: r.IntN(2) == 0, Restarts: int64(r.IntN(3)),
			Stamp: Stamp{Time: epoch, Revision: revision + int64(r.IntN(20))}}
		s.Objects[KeyOf(o)] = o
	}
	for i := range 3 {
		o := &Deployment{Name: fmt.Sprint("d", i), UID: fmt.Sprint("d", i), Replicas: int64(r.IntN(5)), ReadyPods: int64(r.IntN(5)), Stamp: Stamp{Time: epoch, Revision: revision + int64(r.IntN(20))}}
		s.Objects[KeyOf(o)] = o
	}
	return s
}

// replay applies transitions to a state of object to field to value.
func replay(t *testing.T, state map[mapping.Object]map[string]string, ts []mapping.Transition) {
	t.Helper()
	for _, tr := range ts {
		fields := state[tr.Object]
		if fields[tr.Field] != tr.Old {
			t.Fatalf("%v %s goes from %q, but was %q", tr.Object, tr.Field, tr.Old, fields[tr.Field])
		}
		if tr.Old == tr.New {
			t.Fatalf("%v %s goes from %q to itself", tr.Object, tr.Field, tr.Old)
		}
		switch {
		case tr.Field == mapping.FieldExists && tr.New == "":
			delete(state, tr.Object)
			continue
		case fields == nil:
			fields = map[string]string{}
			state[tr.Object] = fields
		}
		if tr.New == "" {
			delete(fields, tr.Field)
		} else {
			fields[tr.Field] = tr.New
		}
	}
}

func stateOf(s Snapshot) map[mapping.Object]map[string]string {
	state := map[mapping.Object]map[string]string{}
	for _, o := range s.Objects {
		about, _, _ := o.about()
		state[about] = map[string]string{}
		for _, v := range o.values() {
			if v.text != "" {
				state[about][v.field] = v.text
			}
		}
	}
	return state
}

// TestDiffCarriesTheWholeState plays the differences of random snapshots and
// finds each next snapshot again: nothing is lost and nothing told twice.
func TestDiffCarriesTheWholeState(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	previous := snapshotOf()
	state := map[mapping.Object]map[string]string{}
	for step := range 300 {
		next := randomSnapshot(r, int64(step*100))
		replay(t, state, Diff(previous, next))
		if want := stateOf(next); !reflect.DeepEqual(state, want) {
			t.Fatalf("step %d: got %v, want %v", step, state, want)
		}
		previous = next
	}
}

// TestDiffPieceByPiece shows what the tracker relies on: the difference of two
// snapshots is that of their parts, in the same order.
func TestDiffPieceByPiece(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for step := range 100 {
		previous, next := randomSnapshot(r, 0), randomSnapshot(r, 100)
		whole := Diff(previous, next)
		partPrevious, partNext := snapshotOf(), snapshotOf()
		for key, o := range previous.Objects {
			if n := next.Objects[key]; n == nil || !reflect.DeepEqual(n.values(), o.values()) {
				partPrevious.Objects[key] = o
			}
		}
		for key, o := range next.Objects {
			if p := previous.Objects[key]; p == nil || !reflect.DeepEqual(p.values(), o.values()) {
				partNext.Objects[key] = o
			}
		}
		if part := Diff(partPrevious, partNext); !reflect.DeepEqual(whole, part) {
			t.Fatalf("step %d: whole %v, part %v", step, whole, part)
		}
	}
}

func BenchmarkDiff5000Pods(b *testing.B) {
	previous, next := snapshotOf(), snapshotOf()
	for i := range 5000 {
		p := &Pod{Name: fmt.Sprint("p", i), UID: fmt.Sprint(i), Phase: "Running"}
		previous.Objects[KeyOf(p)] = p
		if i%10 == 0 {
			c := *p
			c.Ready = true
			p = &c
		}
		next.Objects[KeyOf(p)] = p
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := len(Diff(previous, next)); got != 500 {
			b.Fatal(got)
		}
	}
}
