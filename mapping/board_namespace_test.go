package mapping

import (
	"fmt"
	"testing"
)

// TestOtherNamespaces listens to a second namespace in which everything is
// called as in the patch's own.
func TestOtherNamespaces(t *testing.T) {
	in := func(r *rig, namespace, kind, name, owner, field, now string) {
		o := Object{Kind: kind, Namespace: namespace, Name: name}
		tr := Transition{Object: o, Field: field, New: now}
		if kind == KindPod {
			tr.Object.UID, tr.Owner = namespace+name, owner
			if owner != "" {
				tr.Replica = "h"
			}
		}
		r.Apply(tr, r.frame+1)
	}
	ready := func(r *rig, namespace string, n int) {
		in(r, namespace, KindDeployment, "web", "", FieldReplicas, fmt.Sprint(n))
		for i := range n {
			name := fmt.Sprintf("web-%s-%d", namespace, i)
			in(r, namespace, KindPod, name, "web", FieldPhase, "Running")
			in(r, namespace, KindPod, name, "web", FieldReady, "true")
		}
		r.run(0.05)
	}
	gone := func(r *rig, namespace string, n int) {
		for i := range n {
			in(r, namespace, KindPod, fmt.Sprintf("web-%s-%d", namespace, i), "web", FieldExists, "")
		}
		in(r, namespace, KindDeployment, "web", "", FieldExists, "")
		r.run(0.05)
	}
	listen := func(c *Config) { c.ListenOnly = true }

	t.Run("own", func(t *testing.T) {
		r := newRig(t)
		r.plug(ids("namespace/case"), nil, map[string]string{"refused": "namespace/case/refused"})
		in(r, "other", KindDeployment, "api", "", FieldReason, "FailedCreate")
		r.wantHits("another namespace's quota", map[string]int{"refused": 0})
		r.turn("/deployment/web/replicas", 2)
		r.sets = nil
		ready(r, "other", 3)
		r.want("/deployment/web/ready_count", 0)
		r.want("/pod/p1/ready", 0)
		ready(r, "k8s-synth", 2)
		r.want("/deployment/web/error", 0)
		r.want("/pod/p2/ready", 10)
		r.want("/pod/p3/ready", 0)
		r.want("/namespace/case/pods", 16) // as many as it shows, of 18
		in(r, "other", KindPod, "solo", "", FieldPhase, "Running")
		r.run(0.05)
		r.want("/pod/solo/phase", 0)
		if n := r.board.heard; n != 18 {
			t.Errorf("%d pods of the namespace are heard, want 18", n)
		}
		for _, s := range r.sets {
			if s.Object.Namespace == "other" {
				t.Errorf("%+v is set in another namespace", s)
			}
		}
		gone(r, "other", 3)
		r.want("/deployment/web/error", 0)
		r.want("/pod/p2/ready", 10)
	})
	t.Run("borrowed", func(t *testing.T) {
		r := newRig(t, listen)
		ready(r, "other", 3)
		ready(r, "third", 1)
		r.want("/deployment/web/ready_count", 10)
		r.want("/pod/p3/ready", 10)
		r.want("/pod/p4/ready", 0)
		// The patch's own takes its panel back, and goes again.
		ready(r, "k8s-synth", 1)
		r.want("/pod/p1/ready", 10)
		r.want("/pod/p2/ready", 0)
		r.want("/deployment/web/error", 0)
		for i := range 3 {
			in(r, "other", KindPod, fmt.Sprintf("web-other-%d", i), "web", FieldReady, "false")
		}
		r.run(0.05)
		r.want("/pod/p1/ready", 10)
		gone(r, "other", 3)
		r.want("/pod/p1/ready", 10)
		gone(r, "third", 1)
		gone(r, "k8s-synth", 1)
		r.want("/pod/p1/ready", 0)
	})
	t.Run("forgotten", func(t *testing.T) {
		r := newRig(t, listen)
		was := r.Cluster().Pods
		for i := range 50 {
			namespace := fmt.Sprintf("preview-%d", i)
			in(r, namespace, KindService, "web", "", FieldExists, "true")
			in(r, namespace, KindService, fmt.Sprintf("s%d", i), "", FieldGen, "3")
			ready(r, namespace, 2)
			gone(r, namespace, 2)
			in(r, namespace, KindService, "web", "", FieldExists, "")
			in(r, namespace, KindService, fmt.Sprintf("s%d", i), "", FieldExists, "")
		}
		b := r.board
		if n := len(b.lent); n != 0 {
			t.Errorf("%d names are still lent: %v", n, b.lent)
		}
		if len(b.pods) != was || len(b.byName) != was || len(b.objects) != 0 || len(b.generations) != 0 || len(b.deployments) > 2 {
			t.Errorf("kept %d pods of %d, %d names, %d objects, %d generations, %d deployments", len(b.pods), was, len(b.byName), len(b.objects), len(b.generations), len(b.deployments))
		}
	})
}
