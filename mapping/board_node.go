package mapping

import (
	"maps"
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
)

type nodeState struct {
	place    float32 // −1…1
	cordoned bool
	ready    bool
	pressure bool
	load     int // millicores
	capacity int // millicores, 0 while nobody told
	seen     int // epoch in which it was last told of
}

// cordoned tells whether a node keeps new pods away.
func (b *Board) cordoned(node string) bool {
	n := b.nodes[node]
	return n != nil && n.cordoned
}

// place is where in the stereo field a node stands, in volts.
func (b *Board) place(node string) float32 {
	if n := b.nodes[node]; n != nil {
		return n.place * instrument.AudioVolts * 0.8
	}
	return 0
}

func (b *Board) applyNode(t Transition, frame int64) {
	b.touched = true
	name := t.Object.Name
	n := b.nodes[name]
	if t.Field == FieldExists && t.New == "" {
		if n != nil {
			delete(b.nodes, name)
			b.showNode(name, frame)
			b.placeNodes(frame)
		}
		return
	}
	fresh := n == nil
	if fresh {
		n = &nodeState{}
		b.nodes[name] = n
	}
	n.seen = b.epoch
	was := n.cordoned
	switch t.Field {
	case FieldCordoned:
		n.cordoned = t.New == "true"
	case FieldReady:
		n.ready = t.New == "true"
	case FieldPressure:
		n.pressure = t.New == "true"
	case FieldLoad:
		n.load = max(whole(t.New), 0)
	case FieldCapacity:
		n.capacity = max(whole(t.New), 0)
	}
	b.showNode(name, frame)
	if fresh || n.cordoned != was {
		b.placeNodes(frame)
	}
}

// showNode shows a node on its panels.
func (b *Board) showNode(name string, frame int64) {
	refs := b.panels[KindNode+"/"+name]
	if len(refs) == 0 {
		return
	}
	n := b.nodes[name]
	if n == nil {
		n = &nodeState{}
	}
	share := float32(0)
	if n.capacity > 0 {
		share = min(float32(n.load)/float32(n.capacity), 1)
	}
	b.show(refs, "utilisation", 0, 10*share, frame)
	b.show(refs, "cordoned", 0, gateVolts(n.cordoned), frame)
	b.show(refs, "ready", 0, gateVolts(n.ready), frame)
	b.show(refs, "pressure", 0, gateVolts(n.pressure), frame)
	b.show(refs, "pods", 0, countVolts(b.onNode[name]), frame)
}

// placeNodes gives each node its place, from left to right in the order of
// their names, and shows it at each pod.
func (b *Board) placeNodes(frame int64) {
	names := slices.Sorted(maps.Keys(b.nodes))
	for i, name := range names {
		place := float32(0)
		if len(names) > 1 {
			place = float32(2*i)/float32(len(names)-1) - 1
		}
		b.nodes[name].place = place
	}
	for _, name := range slices.Sorted(maps.Keys(b.deployments)) {
		d := b.deployments[name]
		for s, p := range d.pods {
			if p != nil && (len(d.refs) > 0 || len(d.claims[s]) > 0) {
				b.showSlot(d, s, frame)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b.podPanels)) {
		if v := b.podPanels[name]; v.shown != nil {
			b.showPodOn(v.refs, v.shown, frame)
		}
	}
}
