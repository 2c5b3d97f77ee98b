package mapping

import (
	"maps"
	"slices"
)

// namespaceState is the case: the Namespace of the topology.
type namespaceState struct {
	headroom float64 // 0…1; 1 without a quota
	powered  bool    // what the patch wants
}

func (s *namespaceState) apply(b *Board, t Transition, refs []panelRef, frame int64) {
	if b.namespace != "" && t.Object.Name != b.namespace {
		return
	}
	switch {
	case t.Field == FieldExists && t.New == "", t.Field == FieldHeadroom && t.New == "":
		s.headroom = 1
	case t.Field == FieldHeadroom:
		v, ok := decimal(t.New)
		if !ok {
			return
		}
		s.headroom = min(v, 1)
	}
	s.show(b, refs, frame)
}

func (s *namespaceState) show(b *Board, refs []panelRef, frame int64) {
	b.show(refs, "powered", 0, gateVolts(s.powered), frame)
	b.show(refs, "headroom", 0, float32(10*s.headroom), frame)
	s.showPods(b, frame)
}

// showPods shows how many pods are heard.
func (s *namespaceState) showPods(b *Board, frame int64) {
	b.show(b.panels[KindNamespace], "pods", 0, countVolts(b.heard), frame)
}

// power takes over whether the patch gives its case power. Without it nothing
// is asked for.
func (b *Board) power(on bool, frame int64) {
	if b.space.powered == on {
		return
	}
	b.space.powered = on
	frame = b.clock(frame)
	b.show(b.panels[KindNamespace], "powered", 0, gateVolts(on), frame)
	b.retarget(frame)
}

// retarget shows anew how far each Deployment is from what is asked of it.
func (b *Board) retarget(frame int64) {
	for _, name := range slices.Sorted(maps.Keys(b.deployments)) {
		if d := b.deployments[name]; len(d.refs) > 0 {
			b.showDeployment(d, frame, true)
		}
	}
}
