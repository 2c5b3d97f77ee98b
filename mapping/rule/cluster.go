package rule

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"strconv"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// cluster is what the rules remember of the cluster: the last value of every
// field of every object, and which slot each pod has.
type cluster struct {
	objects map[string]*object
	groups  map[string]*group  // pods of one owner, by namespace/owner
	pods    map[string]*object // by namespace/name, the youngest of that name
	nodes   []string           // sorted, for their places
	// A new teller's first list names all that there is; what it did not name
	// is gone. taking is true until that list is complete.
	taking bool
	epoch  int
}

// object is one object of the cluster.
type object struct {
	key    string
	kind   string
	name   string
	place  string // namespace/name of a pod
	fields []fieldValue
	seen   int    // epoch in which it was last told of
	group  *group // of a pod
	slot   int    // −1: none
	last   int    // the slot that it has or had, −1 if none
	ready  bool   // counted as ready in its group
	alive  bool   // counted as a pod in its group
}

type fieldValue struct{ field, value string }

// group is the pods of one owner.
type group struct {
	key         string
	taken       []uint64 // one bit a slot
	pods, ready int
	members     int // objects that refer to it
}

func newCluster() *cluster {
	return &cluster{objects: map[string]*object{}, groups: map[string]*group{}, pods: map[string]*object{}, taking: true}
}

// value returns the last value of a field, empty where none was told.
func (o *object) value(field string) string {
	for i := range o.fields {
		if o.fields[i].field == field {
			return o.fields[i].value
		}
	}
	return ""
}

func (o *object) set(field, value string) {
	for i := range o.fields {
		if o.fields[i].field == field {
			o.fields[i].value = value
			return
		}
	}
	o.fields = append(o.fields, fieldValue{field, value})
}

func (o *object) number(field string) float64 {
	v, err := strconv.ParseFloat(o.value(field), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

func (o *object) count(field string) int64 {
	n, err := strconv.ParseInt(o.value(field), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// keyOf tells one object from another. A pod's successor of the same name is
// another pod; everything else is what its name says.
func keyOf(o mapping.Object) string {
	if o.Kind == mapping.KindPod && o.UID != "" {
		return "pod " + o.UID
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

func groupKey(namespace, owner string) string { return namespace + "/" + owner }

// take takes a transition over and returns its object and whether that is now
// gone. Its slot, while it has one, is known until the next transition.
func (c *cluster) take(t *mapping.Transition) (o *object, gone bool) {
	key := keyOf(t.Object)
	o = c.objects[key]
	if o == nil {
		o = &object{key: key, kind: t.Object.Kind, name: t.Object.Name, slot: -1, last: -1}
		if t.Field == mapping.FieldExists && t.New == "" {
			return o, true // it was gone already
		}
		c.objects[key] = o
		switch o.kind {
		case mapping.KindNode:
			if i, found := slices.BinarySearch(c.nodes, o.name); !found {
				c.nodes = slices.Insert(c.nodes, i, o.name)
			}
		case mapping.KindPod:
			o.place = t.Object.Namespace + "/" + o.name
			c.pods[o.place] = o
		}
	}
	o.seen = c.epoch
	if o.kind == mapping.KindPod && o.group == nil {
		c.join(o, t)
	}
	o.set(t.Field, t.New)
	if t.Field == mapping.FieldExists && t.New == "" {
		c.remove(o)
		return o, true
	}
	c.settle(o)
	return o, false
}

// join gives a pod to the group of its owner.
func (c *cluster) join(o *object, t *mapping.Transition) {
	key := groupKey(t.Object.Namespace, t.Owner)
	g := c.groups[key]
	if g == nil {
		g = &group{key: key}
		c.groups[key] = g
	}
	g.members++
	o.group = g
}

// settle counts a pod in its group and gives it a slot while it lives.
func (c *cluster) settle(o *object) {
	g := o.group
	if g == nil {
		return
	}
	phase := o.value(mapping.FieldPhase)
	alive := phase != "Failed" && phase != "Succeeded"
	if alive != o.alive {
		o.alive = alive
		if alive {
			g.pods++
			o.slot = g.seat()
			o.last = o.slot
		} else {
			g.pods--
			g.vacate(o.slot)
			o.slot = -1
		}
	}
	if ready := alive && o.value(mapping.FieldReady) == "true"; ready != o.ready {
		o.ready = ready
		if ready {
			g.ready++
		} else {
			g.ready--
		}
	}
}

// remove forgets an object.
func (c *cluster) remove(o *object) {
	delete(c.objects, o.key)
	if o.kind == mapping.KindNode {
		if i, found := slices.BinarySearch(c.nodes, o.name); found {
			c.nodes = slices.Delete(c.nodes, i, i+1)
		}
	}
	if c.pods[o.place] == o {
		delete(c.pods, o.place)
	}
	g := o.group
	if g == nil {
		return
	}
	if o.alive {
		o.alive = false
		g.pods--
		g.vacate(o.slot)
		o.slot = -1
	}
	if o.ready {
		o.ready = false
		g.ready--
	}
	if g.members--; g.members == 0 {
		delete(c.groups, g.key)
	}
}

// seat takes the lowest free slot.
func (g *group) seat() int {
	for w, word := range g.taken {
		if word != math.MaxUint64 {
			i := bits.TrailingZeros64(^word)
			g.taken[w] |= 1 << i
			return w*64 + i
		}
	}
	g.taken = append(g.taken, 1)
	return (len(g.taken) - 1) * 64
}

func (g *group) vacate(slot int) {
	if slot >= 0 {
		g.taken[slot/64] &^= 1 << (slot % 64)
	}
}

// place returns where a node stands from left to right in the order of their
// names, −1…1.
func (c *cluster) place(node string) float64 {
	i, found := slices.BinarySearch(c.nodes, node)
	if !found || len(c.nodes) < 2 {
		return 0
	}
	return 2*float64(i)/float64(len(c.nodes)-1) - 1
}

// attend follows who tells of the cluster, as the API server's own
// transitions say. It returns what the new teller did not name: it went while
// nobody looked.
func (c *cluster) attend(t *mapping.Transition) (gone []*object) {
	if t.Object.Kind != mapping.KindAPIServer {
		return nil
	}
	switch t.Field {
	case mapping.FieldReachable:
		// Said of nobody before: the teller is gone, and the next one does not
		// know what this one told.
		if t.Old == "" && t.New != "true" && !c.taking {
			c.taking = true
			c.epoch++
		}
	case mapping.FieldSynced:
		if t.New != "true" || !c.taking {
			return nil
		}
		c.taking = false
		for _, o := range c.objects {
			// What is not an object of the cluster's store is in no list.
			if o.seen != c.epoch && o.kind != mapping.KindAPIServer && o.kind != mapping.KindEtcd && o.kind != mapping.KindCluster {
				gone = append(gone, o)
			}
		}
		slices.SortFunc(gone, func(a, b *object) int { return cmp.Compare(a.key, b.key) })
		for _, o := range gone {
			c.remove(o)
		}
	}
	return gone
}
