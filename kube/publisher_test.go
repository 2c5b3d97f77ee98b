package kube

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/Azure/eno/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

func topology(generation int64, replicas int) mapping.Topology {
	return mapping.Topology{Version: mapping.TopologyVersion, Generation: generation, Namespace: DefaultNamespace, Modules: map[instrument.ModuleID]mapping.TopologyModule{
		"deployment/web": {"replicas": float64(replicas)},
	}}
}

// synthesis is one of a composition's, made from a revision of the ConfigMap.
func synthesis(revision int64, failure string) *apiv1.Synthesis {
	s := &apiv1.Synthesis{UUID: "uuid-" + strconv.FormatInt(revision, 10), InputRevisions: []apiv1.InputRevisions{{Key: "other", ResourceVersion: "99999"}, {Key: eno.InputKey, ResourceVersion: strconv.FormatInt(revision, 10)}}}
	if failure != "" {
		s.Results = []apiv1.Result{{Message: failure, Severity: "error"}}
	}
	return s
}

// written notes a publication, as put does.
func (p *Publisher) written(count, revision int64, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.published, p.flight = count, &flight{revision, at}
	if p.oldest == nil {
		p.oldest = p.flight
	}
}

func TestGate(t *testing.T) {
	var problems []string
	o := NewObserver(Options{Transitions: func([]mapping.Transition) {}, Problem: func(where, text string) { problems = append(problems, text) }})
	p := NewPublisher(o)
	now := time.Now()
	publish := func(generation int64) {
		t.Helper()
		if err := p.Publish(topology(generation, int(generation))); err != nil {
			t.Fatal(err)
		}
	}
	next := func(at time.Time) int64 {
		if topology, _, _ := p.next(at); topology != nil {
			return topology.Generation
		}
		return 0
	}
	if got := next(now); got != 0 {
		t.Errorf("nothing is wanted, but %d would be published", got)
	}
	publish(1)
	if got := next(now); got != 1 {
		t.Errorf("the first topology waits: %d", got)
	}
	p.written(1, 100, now)
	publish(2)
	publish(3)
	if got := next(now.Add(gateTimeout / 2)); got != 0 {
		t.Errorf("%d would be published before Eno took the last", got)
	}
	// A synthesis of an older input, or another input's revision, is no answer.
	p.composition(&apiv1.Composition{Status: apiv1.CompositionStatus{CurrentSynthesis: synthesis(99, "")}})
	if got := next(now.Add(gateTimeout / 2)); got != 0 {
		t.Errorf("%d would be published after an older synthesis", got)
	}
	p.composition(&apiv1.Composition{Status: apiv1.CompositionStatus{CurrentSynthesis: synthesis(100, "")}})
	if got := next(now.Add(gateTimeout / 2)); got != 3 {
		t.Errorf("%d would be published, want the latest, 3", got)
	}
	// Without an answer, the gate opens after a while.
	p.written(3, 120, now)
	publish(4)
	if got := next(now.Add(gateTimeout - time.Millisecond)); got != 0 {
		t.Errorf("%d would be published just before the timeout", got)
	}
	if got := next(now.Add(gateTimeout)); got != 4 {
		t.Errorf("%d would be published at the timeout, want 4", got)
	}
	// Eno that is behind is not Eno that is missing.
	p.unanswered = now.Add(-enoPatience)
	p.composition(&apiv1.Composition{Status: apiv1.CompositionStatus{CurrentSynthesis: synthesis(110, "")}})
	if next(now); p.told || len(problems) > 0 {
		t.Errorf("Eno is told to be missing while it works: %q", problems)
	}
	// An error of this input opens it too, is told once, and names the
	// synthesis that has to be superseded.
	p.written(4, 140, now)
	publish(5)
	failing := &apiv1.Composition{Status: apiv1.CompositionStatus{CurrentSynthesis: synthesis(100, ""), InFlightSynthesis: synthesis(139, "old error")}}
	p.composition(failing)
	if got := next(now); got != 0 {
		t.Errorf("%d would be published after the error of an older input", got)
	}
	failing.Status.InFlightSynthesis = synthesis(140, "new error")
	p.composition(failing)
	p.composition(failing)
	if got := next(now); got != 5 {
		t.Errorf("%d would be published after an error, want 5", got)
	}
	if got := strings.Join(problems, ", "); got != "old error, new error" {
		t.Errorf("problems: %s", got)
	}
	if p.failed != "uuid-140" {
		t.Errorf("the synthesis to supersede is %q", p.failed)
	}
	// Latency runs from the oldest publication that was not applied yet.
	applied := synthesis(150, "")
	applied.Reconciled = &metav1.Time{Time: time.Now()}
	p.composition(&apiv1.Composition{Status: apiv1.CompositionStatus{CurrentSynthesis: applied}})
	if o.latency <= 0 || p.failed != "" {
		t.Errorf("latency %v, failed %q", o.latency, p.failed)
	}
}

// TestLateSynthesis: what Eno made and does not carry out is asked for again,
// once for each topology; what is under way or done is left alone.
func TestLateSynthesis(t *testing.T) {
	o := NewObserver(Options{Transitions: func([]mapping.Transition) {}})
	p := NewPublisher(o)
	see := func(revision int64, uuid string, ready, under bool) {
		s := &apiv1.Synthesis{UUID: uuid, InputRevisions: []apiv1.InputRevisions{{Key: eno.InputKey, ResourceVersion: strconv.FormatInt(revision, 10)}}}
		c := &apiv1.Composition{Status: apiv1.CompositionStatus{CurrentSynthesis: s}}
		if ready {
			s.Ready = &metav1.Time{Time: time.Now()}
		}
		if under {
			c.Status.InFlightSynthesis = &apiv1.Synthesis{UUID: "next"}
		}
		p.composition(c)
	}
	want := func(step, uuid string) {
		t.Helper()
		if got := p.late(time.Now().Add(applyPatience + time.Second)); got != uuid {
			t.Errorf("%s: %q is asked for again, want %q", step, got, uuid)
		}
	}
	want("nothing seen", "")
	see(10, "a", true, false)
	want("carried out", "")
	see(11, "b", false, true)
	want("superseded at once", "")
	see(11, "b", false, false)
	if got := p.late(time.Now()); got != "" {
		t.Errorf("%q is asked for again at once", got)
	}
	want("left undone", "b")
	want("asked for already", "")
	see(11, "c", false, false)
	want("the same topology once more", "")
	see(12, "d", false, false)
	want("another topology", "d")
}

func TestPublishAndActRefuse(t *testing.T) {
	o := NewObserver(Options{})
	p := NewPublisher(o)
	if err := p.Publish(topology(1, 17)); !errors.Is(err, eno.ErrInvalidTopology) {
		t.Errorf("an invalid topology: %v", err)
	}
	other := topology(1, 1)
	other.Namespace = "kube-system"
	if err := p.Publish(other); !errors.Is(err, eno.ErrInvalidTopology) || !strings.Contains(err.Error(), "kube-system") {
		t.Errorf("another namespace: %v", err)
	}
	if p.wanted != nil {
		t.Error("a refused topology is wanted")
	}
	if err := p.Act(mapping.Action{Verb: mapping.VerbWrite}); !errors.Is(err, ErrUnreachable) {
		t.Errorf("an action without an API: %v", err)
	}
	if err := p.Act(mapping.Action{Verb: "scale"}); err == nil || !strings.Contains(err.Error(), "scale") {
		t.Errorf("an unknown action: %v", err)
	}
	o.ListenOnly = true
	if err := p.Publish(topology(1, 1)); !errors.Is(err, ErrListenOnly) {
		t.Errorf("publishing while listening only: %v", err)
	}
	if err := p.Act(mapping.Action{Verb: mapping.VerbDelete}); !errors.Is(err, ErrListenOnly) {
		t.Errorf("deleting while listening only: %v", err)
	}
}
