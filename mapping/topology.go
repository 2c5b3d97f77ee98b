package mapping

import (
	"github.com/k8s-synth/k8s-synth/instrument"
)

// topologyOf reads the Kubernetes part of a patch: what the cluster must hold
// for its modules and cables to be true. Wishes are what the replicas of each
// Deployment came to with CV, restarts counts the rollouts that were asked
// for, gates are the watched inputs that are high.
func topologyOf(p *instrument.Patch, wishes, restarts map[string]int, gates map[Address]bool) Topology {
	t := Topology{Version: TopologyVersion}
	claimed := claims(p)
	for i := range p.Modules {
		m := &p.Modules[i]
		life := &Lifecycle{Start: m.Value("start_delay"), Ready: m.Value("ready_delay"), Stop: m.Value("stop_delay"), Jitter: m.Value("delay_jitter")}
		switch m.ID.Kind() {
		case KindDeployment:
			d := TopologyDeployment{
				Name: m.ID.Name(), Image: m.Word("image"), Replicas: int(m.Value("replicas")),
				MaxSurge: int(m.Value("max_surge")), MaxUnavailable: int(m.Value("max_unavailable")),
				Strategy: m.Spec().Params[m.Spec().Param("strategy")].Choices[int(m.Value("strategy"))],
				Restarts: restarts[m.ID.Name()], Lifecycle: life,
			}
			if n, ok := wishes[d.Name]; ok {
				d.Replicas = n
			}
			t.Deployments = append(t.Deployments, d)
		case KindPod:
			// A claimed panel shows a replica; a bare pod lives while its gate is high.
			if _, ok := claimed[m.ID]; !ok && gates[AddressOf(m.ID, "lifecycle")] {
				t.Pods = append(t.Pods, TopologyPod{Name: m.ID.Name(), Image: m.Word("image"), Lifecycle: life})
			}
		}
	}
	for _, c := range p.Cables {
		if instrument.Spec(c.From.Module.Kind()).Cluster() && instrument.Spec(c.To.Module.Kind()).Cluster() {
			t.Cables = append(t.Cables, TopologyCable{From: c.From.String(), To: c.To.String()})
		}
	}
	return t
}
