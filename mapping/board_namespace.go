package mapping

import (
	"maps"
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
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

// count counts a pod once more among those of the case that are heard, or with
// −1 once less.
func (b *Board) count(p *podState, n int) {
	if !b.foreign(p.object.Namespace) {
		b.heard += n
	}
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

// foreign tells whether a namespace is another than that of the patch.
func (b *Board) foreign(namespace string) bool {
	return b.namespace != "" && namespace != "" && namespace != b.namespace
}

// localize makes the names in a transition those under which the board keeps
// its object. A panel has a name and no namespace: it shows the object of the
// patch's own namespace. Where that has none of the name and will not be asked
// for one, the first of another namespace that is heard borrows the name. All
// others are kept under namespace/name, which no panel can have.
func (b *Board) localize(t *Transition, frame int64) {
	gone := t.Field == FieldExists && t.New == ""
	switch t.Object.Kind {
	case KindPod:
		if t.Owner != "" {
			t.Owner = b.localName(KindDeployment, t.Owner, t.Object.Namespace, !gone && t.Replica != "", frame)
		}
	case KindDeployment:
		t.Object.Name = b.localName(KindDeployment, t.Object.Name, t.Object.Namespace, !gone, frame)
	case KindService, KindIngress, KindHPA, KindCronJob, KindJob:
		local := b.localName(t.Object.Kind, moduleName(t), t.Object.Namespace, !gone, frame)
		if t.Owner == "" {
			t.Object.Name = local
		} else {
			t.Owner = local
		}
	}
}

// localName is the name under which an object is kept. Borrow tells whether it
// may borrow that of a panel.
func (b *Board) localName(kind, name, namespace string, borrow bool, frame int64) string {
	key, full := kind+"/"+name, namespace+"/"+name
	holder, held := b.lent[key]
	switch {
	case !b.foreign(namespace):
		if held {
			b.takeBack(kind, name, holder, frame)
		}
		return name
	case held && holder == namespace:
		return name
	case held || !borrow || b.taken(kind, name) || b.objects[kind+"/"+full] != nil || kind == KindDeployment && b.deployments[full] != nil:
		return full
	}
	b.lent[key] = namespace
	return name
}

// taken tells whether the patch's own namespace has an object of that name, or
// is to have it.
func (b *Board) taken(kind, name string) bool {
	if kind == KindDeployment {
		d := b.deployments[name]
		return d != nil && (d.exists || len(d.tally.hashes) > 0 || len(d.refs) > 0 && !b.listening)
	}
	key := kind + "/" + name
	return b.objects[key] != nil || len(b.panels[key]) > 0 && !b.listening
}

// takeBack takes a name, and the panels that show what is called so, from the
// object of another namespace that borrowed it.
func (b *Board) takeBack(kind, name, holder string, frame int64) {
	key, full := kind+"/"+name, holder+"/"+name
	delete(b.lent, key)
	if g := b.generations[key]; g != nil {
		b.generationGone(key, frame)
		b.generations[kind+"/"+full] = g
	}
	if kind != KindDeployment {
		if o := b.objects[key]; o != nil {
			b.objectGone(key, frame)
			b.objects[kind+"/"+full] = o
		}
		return
	}
	other := b.deployments[name]
	if other == nil {
		return
	}
	own := &deploymentState{name: name, wish: other.wish, hasWish: other.hasWish, ours: other.ours, scaled: other.scaled, refs: other.refs, claims: other.claims}
	other.name, other.hasWish, other.scaled, other.refs, other.claims = full, false, false, nil, [instrument.MaxPoly][]panelRef{}
	b.deployments[name], b.deployments[full] = own, other
	for _, p := range b.pods {
		if p.owner == name && p.object.Namespace == holder {
			p.owner = full
		}
	}
	for s := range own.pods {
		b.showSlot(own, s, frame)
	}
	b.showDeployment(own, frame, false)
}
