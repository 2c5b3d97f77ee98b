package kube

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// recorder gathers transitions.
type recorder struct {
	mu       sync.Mutex
	ts       []mapping.Transition
	problems []string
}

func (r *recorder) problem(where, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, where+": "+text)
}

// complaints counts the problems that speak of something.
func (r *recorder) complaints(of string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, p := range r.problems {
		if strings.Contains(p, of) {
			n++
		}
	}
	return n
}

func (r *recorder) tell(ts []mapping.Transition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ts = append(r.ts, ts...)
}

func (r *recorder) all() []mapping.Transition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]mapping.Transition(nil), r.ts...)
}

// of returns the new values of a field of objects of a name, in order.
func (r *recorder) of(name, field string) []string {
	var out []string
	for _, t := range r.all() {
		if t.Object.Name == name && t.Field == field {
			out = append(out, t.New)
		}
	}
	return out
}

func pod(name string, revision int64, phase string) *Pod {
	return &Pod{Name: name, UID: "uid-" + name, Phase: phase, Stamp: Stamp{Time: time.Now(), Revision: revision}}
}

func TestTrackerNeverMergesTwoChangesOfOneObject(t *testing.T) {
	var r recorder
	tr := newTracker(time.Hour, time.Now, r.tell) // only a second change or sync flushes
	tr.set(pod("a", 1, "Pending"))
	tr.set(pod("b", 2, "Pending"))
	if n := len(r.all()); n != 0 {
		t.Fatalf("%d transitions before the window ended", n)
	}
	tr.set(pod("a", 3, "Running"))
	tr.set(pod("a", 4, "Failed"))
	tr.remove(Key{mapping.KindPod, "uid-a"}, Stamp{Time: time.Now(), Revision: 5})
	tr.set(pod("a2", 6, "Pending"))
	tr.sync()
	if got, want := r.of("a", mapping.FieldPhase), []string{"Pending", "Running", "Failed"}; !reflect.DeepEqual(got, want) {
		t.Errorf("phases %q, want %q", got, want)
	}
	if got, want := r.of("a", mapping.FieldExists), []string{"true", ""}; !reflect.DeepEqual(got, want) {
		t.Errorf("existence %q, want %q", got, want)
	}
}

func TestTrackerGathersChangesOfTheWindow(t *testing.T) {
	const window = 20 * time.Millisecond
	for {
		told := make(chan int, 10)
		tr := newTracker(window, time.Now, func(ts []mapping.Transition) { told <- len(ts) })
		began := time.Now()
		for i := range 5 {
			tr.set(pod(fmt.Sprint(i), int64(i+1), "Pending"))
		}
		if time.Since(began) >= window {
			continue // other programs came between them, and the window may have ended
		}
		select {
		case n := <-told:
			if n != 5*4 { // exists, phase, restarts, ready
				t.Errorf("%d transitions in one snapshot, want 20", n)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("the window never ended")
		}
		return
	}
}

func TestTrackerListsAreQuietAndWhatWasPendingIsNot(t *testing.T) {
	var r recorder
	tr := newTracker(time.Hour, time.Now, r.tell)
	tr.replace(mapping.KindPod, "", []Object{pod("a", 1, "Pending"), pod("b", 2, "Pending")}, Stamp{})
	tr.set(pod("a", 3, "Running"))
	tr.replace(mapping.KindPod, "", []Object{pod("a", 5, "Failed")}, Stamp{Revision: 9})
	var got []string
	for _, x := range r.all() {
		if x.Field == mapping.FieldPhase || x.Field == mapping.FieldExists && x.New == "" {
			got = append(got, fmt.Sprintf("%s %s %s->%s quiet=%v", x.Object.Name, x.Field, x.Old, x.New, x.Quiet))
		}
	}
	want := []string{
		"a phase ->Pending quiet=true", "b phase ->Pending quiet=true",
		"a phase Pending->Running quiet=false",
		"a phase Running->Failed quiet=true", "b exists true-> quiet=true",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestTrackerIgnoresThePast(t *testing.T) {
	var r recorder
	tr := newTracker(time.Hour, time.Now, r.tell)
	tr.set(pod("a", 10, "Running"))
	tr.set(pod("a", 9, "Pending"))
	tr.replace(mapping.KindPod, "", []Object{pod("a", 8, "Pending")}, Stamp{})
	tr.sync()
	if got := r.of("a", mapping.FieldPhase); !reflect.DeepEqual(got, []string{"Running"}) {
		t.Errorf("phases %q, want only Running", got)
	}
	// A store that was made anew counts from the start.
	tr.forget()
	tr.replace(mapping.KindPod, "", []Object{pod("a", 2, "Pending")}, Stamp{})
	if got := r.of("a", mapping.FieldPhase); !reflect.DeepEqual(got, []string{"Running", "Pending"}) {
		t.Errorf("phases %q after a new store, want Running, Pending", got)
	}
}

// TestTrackerAgainstAModel plays random changes and lists from several
// goroutines at once with a real window and finds the final state again.
func TestTrackerAgainstAModel(t *testing.T) {
	var r recorder
	tr := newTracker(time.Millisecond, time.Now, r.tell)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 7))
			for i := range 2000 {
				name := fmt.Sprintf("%d-%d", g, rnd.IntN(20))
				if rnd.IntN(5) == 0 {
					tr.remove(Key{mapping.KindPod, "uid-" + name}, Stamp{Time: time.Now(), Revision: int64(i + 1)})
				} else {
					p := pod(name, int64(i+1), []string{"Pending", "Running", "Failed"}[rnd.IntN(3)])
					p.Restarts = int64(rnd.IntN(3))
					tr.set(p)
				}
			}
		})
	}
	wg.Wait()
	tr.sync()
	state := map[mapping.Object]map[string]string{}
	replay(t, state, r.all())
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if want := stateOf(Snapshot{Objects: tr.known}); !reflect.DeepEqual(state, want) {
		t.Errorf("the transitions lead to %d objects, the tracker knows %d, or their fields differ", len(state), len(want))
	}
}
