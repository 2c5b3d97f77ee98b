package mapping

// generations is how far the controller of an object has come.
type generations struct {
	generation, observed int
	seen                 int // epoch in which it was last told of
}

// applyGeneration keeps the generations of every object that has a
// controller, for the panels that watch it.
func (b *Board) applyGeneration(t *Transition, frame int64) {
	switch t.Field {
	case FieldExists, FieldGen, FieldObserved:
	default:
		return
	}
	key := t.Object.Kind + "/" + moduleName(t)
	if t.Object.Kind == KindPod {
		key = t.Object.Kind + "/" + t.Object.Name
	}
	if t.Field == FieldExists {
		if t.New == "" {
			b.generationGone(key, frame)
		} else if g := b.generations[key]; g != nil {
			g.seen = b.epoch
		}
		return
	}
	g := b.generations[key]
	if g == nil {
		g = &generations{}
		b.generations[key] = g
	}
	g.seen = b.epoch
	if t.Field == FieldGen {
		g.generation = whole(t.New)
	} else {
		g.observed = whole(t.New)
	}
	b.show(b.watchers[key], "lag", 0, g.lag(), frame)
}

func (b *Board) generationGone(key string, frame int64) {
	if b.generations[key] != nil {
		delete(b.generations, key)
		b.show(b.watchers[key], "lag", 0, 0, frame)
	}
}

// lag is 1 V a generation that is still to be observed.
func (g *generations) lag() float32 { return float32(min(max(g.generation-g.observed, 0), 10)) }

// showWatch shows on a Controller what it watches.
func (b *Board) showWatch(r panelRef, frame int64) {
	word := ""
	if m := b.patch.Module(r.id); m != nil {
		word = m.Word("object")
	}
	refs := []panelRef{r}
	b.show(refs, "watching", 0, gateVolts(word != ""), frame)
	lag := float32(0)
	if g := b.generations[word]; g != nil {
		lag = g.lag()
	}
	b.show(refs, "lag", 0, lag, frame)
}
