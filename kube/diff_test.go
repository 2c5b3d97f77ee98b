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
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/mapping"
)

var update = flag.Bool("update", false, "write the outputs of the table tests anew")

var epoch = time.Unix(0, 0).UTC()

// decodeObject reads an object as the API writes it and trims it.
func decodeObject(t *testing.T, raw json.RawMessage) Object {
	t.Helper()
	var head metav1.TypeMeta
	if err := json.Unmarshal(raw, &head); err != nil {
		t.Fatal(err)
	}
	read := func(into metav1.Object) Stamp {
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
		r := revisionOf(into)
		return Stamp{Time: epoch.Add(time.Duration(r) * time.Millisecond), Revision: r}
	}
	switch head.Kind {
	case "Pod":
		var o corev1.Pod
		at := read(&o)
		stripped, _ := strip(&o)
		return trimPod(stripped.(*corev1.Pod), at)
	case "Deployment":
		var o appsv1.Deployment
		at := read(&o)
		stripped, _ := strip(&o)
		return trimDeployment(stripped.(*appsv1.Deployment), at)
	case "Node":
		var o corev1.Node
		at := read(&o)
		stripped, _ := strip(&o)
		return trimNode(stripped.(*corev1.Node), at)
	case "Composition":
		var o apiv1.Composition
		at := read(&o)
		return trimComposition(&o, at)
	}
	t.Fatalf("kind %q is not observed", head.Kind)
	return nil
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
			read := func(list []json.RawMessage) Snapshot {
				s := snapshotOf()
				for _, raw := range list {
					o := decodeObject(t, raw)
					s.Objects[KeyOf(o)] = o
				}
				return s
			}
			previous, next := read(table.Previous), read(table.Next)
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
