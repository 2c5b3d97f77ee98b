package kube

import (
	"fmt"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
)

func transition(name, field, before, after string) mapping.Transition {
	return mapping.Transition{Object: mapping.Object{Kind: mapping.KindPod, Name: name}, Field: field, Old: before, New: after}
}

// drain closes the outbox and returns what it writes.
func drain(t *testing.T, o *Outbox) (out []mapping.Transition, problems int) {
	t.Helper()
	o.Close()
	r, w := io.Pipe()
	go func() {
		_ = w.CloseWithError(o.Write(w, mapping.Hello{Version: mapping.StreamVersion, Program: "test"}))
	}()
	d := mapping.NewDecoder(r)
	first, err := d.Decode()
	if err != nil || first.Hello == nil {
		t.Fatalf("the stream begins with %+v, %v, want a hello", first, err)
	}
	for {
		m, err := d.Decode()
		if err == io.EOF {
			return out, problems
		}
		if err != nil {
			t.Fatal(err)
		}
		if m.Transition != nil {
			out = append(out, *m.Transition)
		}
		if m.Problem != nil {
			problems++
		}
	}
}

func TestOutboxKeepsEverythingBelowItsLimit(t *testing.T) {
	o := NewOutbox(100)
	for i := range 100 {
		o.Transitions([]mapping.Transition{transition("a", mapping.FieldRestarts, fmt.Sprint(i), fmt.Sprint(i+1))})
	}
	got, problems := drain(t, o)
	if len(got) != 100 || problems != 0 || o.Skipped() != 0 {
		t.Errorf("%d of 100 transitions, %d problems, %d skipped", len(got), problems, o.Skipped())
	}
}

func TestOutboxMergesForASlowReaderAndCounts(t *testing.T) {
	o := NewOutbox(10)
	const names = 20
	state := map[mapping.Object]map[string]string{}
	for i := range names {
		o.Transitions([]mapping.Transition{transition(fmt.Sprint(i), mapping.FieldExists, "", "true")})
	}
	for round := range 1000 {
		for i := range names {
			before := ""
			if round > 0 {
				before = fmt.Sprint(round - 1)
			}
			o.Transitions([]mapping.Transition{transition(fmt.Sprint(i), mapping.FieldRestarts, before, fmt.Sprint(round))})
		}
	}
	// One that existed before nobody read, and one that came and went unheard.
	o.Transitions([]mapping.Transition{transition("old", mapping.FieldExists, "true", "")})
	o.Transitions([]mapping.Transition{transition("brief", mapping.FieldExists, "", "true"), transition("brief", mapping.FieldPhase, "", "Pending"), transition("brief", mapping.FieldExists, "true", "")})
	o.mu.Lock()
	if held := len(o.queue); held > 10+2*names+1 {
		t.Errorf("%d messages are held, want at most the limit and one for each field", held)
	}
	o.mu.Unlock()
	got, problems := drain(t, o)
	state[mapping.Object{Kind: mapping.KindPod, Name: "old"}] = map[string]string{mapping.FieldExists: "true"}
	replay(t, state, got)
	if len(state) != names {
		t.Errorf("%d objects are left, want %d", len(state), names)
	}
	for object, fields := range state {
		if want := map[string]string{mapping.FieldExists: "true", mapping.FieldRestarts: "999"}; !reflect.DeepEqual(fields, want) {
			t.Errorf("%v ends as %v, want %v", object, fields, want)
		}
	}
	if want := int64(999*names + 3); o.Skipped() != want || problems != 1 {
		t.Errorf("%d skipped and %d problems, want %d and 1", o.Skipped(), problems, want)
	}
}

func TestOutboxNeverBlocks(t *testing.T) {
	o := NewOutbox(16)
	r, w := io.Pipe() // nobody reads
	defer r.Close()
	go func() { _ = o.Write(w, mapping.Hello{Version: 1}) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 100_000 {
			o.Transitions([]mapping.Transition{transition(fmt.Sprint(i%50), mapping.FieldRestarts, fmt.Sprint(i/50), fmt.Sprint(i/50+1))})
			o.Problem("test", "text")
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("adding blocked while nobody read")
	}
	if o.Skipped() == 0 {
		t.Error("nothing was counted as skipped")
	}
}
