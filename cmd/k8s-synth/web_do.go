package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/web"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// webDo does what a page asks for, in its turn, or begins to: what takes its
// time is answered by a web.Later, before which the page's next request is done.
// It runs on a goroutine of the page, and so does what is later; p.rack, p.scene
// and p.history are the control goroutine's.
func (p *player) webDo(client string, r web.Request) (result any, err error) {
	t := turn{source: client, at: time.Now()}
	// do does it on the control goroutine.
	do := func(f func() error) (any, error) {
		if !p.ask(func() { err = f() }) {
			return nil, errAway
		}
		return nil, err
	}
	switch {
	case r.Set != nil:
		t.address, t.value, t.word = r.Set.Address, r.Set.Value, r.Set.Word
		return nil, p.turn(t)
	case r.Plug != nil:
		return do(func() error {
			t.action = actPlug + ":" + r.Plug.From + "->" + r.Plug.To
			return p.act(t)
		})
	case r.Pull != nil:
		return do(func() error {
			t.action = actPull + ":" + r.Pull.To
			return p.act(t)
		})
	case r.Repatch != nil:
		return do(func() error { return p.repatch(*r.Repatch, client) })
	case r.Act != nil:
		t.action = r.Act.Name
		return p.webAct(t)
	case r.Add != nil:
		var id instrument.ModuleID
		_, err := do(func() (err error) { id, err = p.addModule(*r.Add, client); return err })
		return map[string]string{"id": string(id)}, err
	case r.Remove != nil:
		return do(func() error { return p.rack.Remove(instrument.ModuleID(r.Remove.Name), client) })
	case r.Move != nil:
		return do(func() error {
			return p.moveModule(instrument.ModuleID(r.Move.ID), scenes.Place{Row: r.Move.Row, HP: r.Move.HP}, client)
		})
	case r.YAML != nil && r.YAML.Text == nil:
		return p.webModule(instrument.ModuleID(r.YAML.ID))
	case r.YAML != nil:
		m, at, err := scenes.ParseModule(*r.YAML.Text)
		if err != nil {
			return nil, err
		}
		return do(func() error { return p.rewrite(instrument.ModuleID(r.YAML.ID), m, at, client) })
	case r.Diff != nil:
		return p.webDiff(*r.Diff)
	case r.Scope != nil:
		var tr instrument.Trace
		there := false
		if !p.ask(func() { there = p.rack.Trace(instrument.ModuleID(r.Scope.Name), &tr) }) {
			return nil, errAway
		}
		if !there {
			return nil, nil
		}
		return webTrace(&tr, r.Scope.Points), nil
	case r.Save != nil:
		return p.webSave(r.Save.Name, client)
	case r.Pictures != nil:
		return web.Later{Work: func(context.Context) (any, error) { return webPictures() }, Newest: "pictures"}, nil
	}
	return nil, errors.New("the request asks for nothing; expected one of set, plug, pull, repatch, add, remove, move, act, yaml, diff, scope, save, pictures")
}

// webAct does an action. One that takes its time is begun, and answered when it
// is done.
func (p *player) webAct(t turn) (any, error) {
	if t.action == actPanic {
		return nil, p.turn(t) // it overtakes whatever waits
	}
	answer := make(chan error, 1)
	if takesTime(t.action) {
		t.answer = answer
	}
	var err error
	if !p.ask(func() { err = p.act(t) }) {
		return nil, errAway
	}
	if err != nil || t.answer == nil {
		return nil, err
	}
	return p.awaits(answer, nil), nil
}

// webSave writes what plays to the player's folder.
func (p *player) webSave(name, source string) (any, error) {
	done := make(chan error, 1)
	path := ""
	if !p.ask(func() {
		p.save(name, source, func(at string, err error) {
			if path = at; err == nil {
				p.relist()
			}
			done <- err
		})
	}) {
		return nil, errAway
	}
	return p.awaits(done, func() any { return map[string]string{"path": path} }), nil
}

// awaits answers when something is done that somebody else does.
func (p *player) awaits(done <-chan error, result func() any) web.Later {
	return web.Later{Waits: true, Work: func(ctx context.Context) (any, error) {
		select {
		case err := <-done:
			if err != nil || result == nil {
				return nil, err
			}
			return result(), nil
		case <-p.ended:
			return nil, errAway
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Second):
			return nil, errors.New("it takes longer than ten seconds; see \"k8s-synth status\"")
		}
	}}
}

// repatch pulls cables and plugs one in, all of it or nothing: what is refused
// leaves every cable where it is, and the cluster is told once of the whole.
func (p *player) repatch(r web.Repatch, source string) error {
	w, err := repatching(p.rack.Patch(), r)
	switch {
	case err != nil:
		return err
	case len(w.Pulled) == 0 && len(w.Plugged) == 0:
		return nil
	case len(w.Pulled) == 0:
		return p.rack.Plug(w.Plugged[0], source)
	}
	return p.rack.Rewire(w, source)
}

// repatching is what a request edits of a patch. A cable that is pulled and
// plugged in where it was stays.
func repatching(patch *instrument.Patch, r web.Repatch) (w mapping.Wiring, err error) {
	c, err := mapping.ParseCable(r.From + "->" + r.To)
	if err != nil {
		return w, err
	}
	if w.Pulled, err = heldBy(patch, r.Pull); err != nil {
		return w, err
	}
	if i := slices.Index(w.Pulled, c); i >= 0 {
		w.Pulled = slices.Delete(w.Pulled, i, i+1)
		return w, nil
	}
	w.Plugged = []instrument.Cable{c}
	return w, nil
}

// heldBy returns the cables that inputs of a patch hold. An input that is named
// twice, or that holds none, is refused: whoever asked saw another patch.
func heldBy(patch *instrument.Patch, inputs []string) (cables []instrument.Cable, err error) {
	for _, in := range inputs {
		to, err := instrument.ParseJackRef(in)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(patch.Cables, func(c instrument.Cable) bool { return c.To == to })
		switch {
		case i < 0:
			return nil, fmt.Errorf("%s holds no cable", to)
		case slices.Contains(cables, patch.Cables[i]):
			return nil, fmt.Errorf("the cable of %s is to be pulled twice; expected each input once", to)
		}
		cables = append(cables, patch.Cables[i])
	}
	return cables, nil
}

// addModule puts a module of a kind into the rack. Where no name is given it
// gets one, and where its place is taken the next one that is free.
func (p *player) addModule(a web.Add, source string) (instrument.ModuleID, error) {
	spec := instrument.Spec(a.Kind)
	if spec == nil {
		return "", fmt.Errorf("there is no module %q", a.Kind)
	}
	name := a.Name
	for i := 1; name == ""; i++ {
		if n := fmt.Sprintf("%s-%d", strings.ReplaceAll(a.Kind, "_", "-"), i); p.rack.Patch().Module(instrument.ModuleID(a.Kind+"/"+n)) == nil {
			name = n
		}
	}
	id := instrument.ModuleID(a.Kind + "/" + name)
	p.history.Begin("add "+string(id), source, time.Now())
	defer p.history.End()
	if err := p.rack.Add(instrument.Module{ID: id, Params: map[string]float64{}, Text: map[string]string{}}, source); err != nil {
		return "", err
	}
	if err := p.moveModule(id, scenes.Place{Row: a.Row, HP: a.HP}, source); err != nil {
		// Somewhere else, then.
		s := p.playedNow()
		p.place(id, s.Arrange(rowHP)[id])
	}
	return id, nil
}

// moveModule stands a module elsewhere, if there is room.
func (p *player) moveModule(id instrument.ModuleID, at scenes.Place, source string) error {
	if p.rack.Patch().Module(id) == nil {
		return fmt.Errorf("there is no module %s", id)
	}
	s := p.playedNow()
	s.Places = maps.Clone(s.Arrange(rowHP))
	from, to := s.Places[id], at
	s.Places[id] = at
	if err := s.Validate(); err != nil {
		return err
	}
	p.scene.Places = s.Places
	p.keep()
	p.web.look()
	if from != to {
		p.history.RecordAct("move "+string(id), mapping.Act{Do: func(again bool) error {
			if p.rack.Patch().Module(id) == nil {
				return fmt.Errorf("there is no module %s", id)
			}
			place := from
			if again {
				place = to
			}
			p.place(id, place)
			return nil
		}}, source, time.Now())
	}
	return nil
}

func (p *player) place(id instrument.ModuleID, at scenes.Place) {
	p.scene.Places = maps.Clone(p.scene.Places)
	if p.scene.Places == nil {
		p.scene.Places = map[instrument.ModuleID]scenes.Place{}
	}
	p.scene.Places[id] = at
	p.keep()
	p.web.look()
}

// rewrite makes a module what its text says.
func (p *player) rewrite(id instrument.ModuleID, m instrument.Module, at *scenes.Place, source string) error {
	was := p.rack.Patch().Module(id)
	switch {
	case was == nil:
		return fmt.Errorf("there is no module %s", id)
	case m.ID != id:
		return otherID(id, m.ID)
	}
	var turns []turn
	for _, s := range m.Spec().Params {
		t := turn{address: mapping.AddressOf(id, s.Name), source: source, at: time.Now()}
		if s.Text {
			if t.word = m.Word(s.Name); t.word == was.Word(s.Name) {
				continue
			}
		} else if t.value = m.Value(s.Name); t.value == was.Value(s.Name) {
			continue
		}
		// All of it or nothing: what is refused is refused before the first turn.
		if err := p.allowed(t); err != nil {
			return err
		}
		turns = append(turns, t)
	}
	p.history.Begin("edit of "+string(id), source, time.Now())
	defer p.history.End()
	if at != nil && *at != p.scene.Places[id] {
		if err := p.moveModule(id, *at, source); err != nil {
			return err
		}
	}
	var errs []error
	for _, t := range turns {
		errs = append(errs, p.set(t))
	}
	return errors.Join(errs...)
}

// webModule is a module's text, and what it is in the cluster.
func (p *player) webModule(id instrument.ModuleID) (any, error) {
	s, err := p.currentScene()
	if err != nil {
		return nil, err
	}
	text, err := scenes.EncodeModule(s, id)
	if err != nil {
		return nil, err
	}
	reply := map[string]string{"text": string(text)}
	if m := s.Patch.Module(id); !m.Spec().Cluster() {
		return reply, nil
	}
	return web.Later{Newest: "yaml", Work: func(ctx context.Context) (any, error) {
		all, err := manifests(ctx, p.kube.path, s)
		if err != nil {
			reply["manifest"] = "# " + err.Error()
		} else {
			reply["manifest"] = manifestOf(all, id)
		}
		return reply, nil
	}}, nil
}

var moduleLabel = regexp.MustCompile(`(?m)^    k8s-synth\.io/module: (\S+)$`)

// manifestOf picks the objects of a module out of all.
func manifestOf(all string, id instrument.ModuleID) string {
	var mine []string
	want := strings.ReplaceAll(string(id), "/", ".")
	for _, doc := range strings.Split(all, "---\n") {
		if m := moduleLabel.FindStringSubmatch(doc); m != nil && m[1] == want {
			mine = append(mine, doc)
		}
	}
	return strings.Join(mine, "---\n")
}

// webDiff is what an edit would change in the cluster. One that would be refused
// is refused here with the same words. Of a page only the newest counts.
func (p *player) webDiff(d web.Diff) (any, error) {
	if d.Scene != nil && (strings.ContainsAny(d.Scene.Name, `/\`) || strings.HasSuffix(d.Scene.Name, ".yaml")) {
		return nil, fmt.Errorf("scene %q: expected a name, such as default", d.Scene.Name)
	}
	var before *scenes.Scene
	if !p.ask(func() {
		before = p.playedNow()
		if d.Scene == nil {
			before.Patch = p.rack.Patch().Clone() // cables of the case are the cluster's as well
		}
	}) {
		return nil, errAway
	}
	after := *before
	after.Patch = before.Patch.Clone()
	if d.Scene == nil {
		if err := wouldEdit(after.Patch, d); err != nil {
			return nil, err
		}
	}
	return web.Later{Newest: "diff", Work: func(ctx context.Context) (any, error) {
		if d.Scene != nil {
			s, err := openStore().Open(d.Scene.Name)
			if err != nil {
				return nil, err
			}
			settle(s, before.Namespace)
			if err := s.Patch.Validate(); err != nil {
				return nil, fmt.Errorf("scene %s: %w", s.Name, err)
			}
			after = *s
		}
		text, err := clusterDiff(ctx, p.kube.path, before, &after, "the cluster", "after it")
		return map[string]string{"text": text}, err
	}}, nil
}

// wouldEdit makes of a patch what an edit would make of it.
func wouldEdit(patch *instrument.Patch, d web.Diff) error {
	var w mapping.Wiring
	var err error
	switch {
	case d.Plug != nil:
		w, err = repatching(patch, web.Repatch{From: d.Plug.From, To: d.Plug.To})
	case d.Pull != nil:
		w.Pulled, err = heldBy(patch, []string{d.Pull.To})
	case d.Repatch != nil:
		w, err = repatching(patch, *d.Repatch)
	case d.Remove != nil:
		id := instrument.ModuleID(d.Remove.Name)
		if patch.Module(id) == nil {
			return fmt.Errorf("there is no module %s", id)
		}
		patch.Modules = slices.DeleteFunc(patch.Modules, func(m instrument.Module) bool { return m.ID == id })
		patch.Cables = slices.DeleteFunc(patch.Cables, func(c instrument.Cable) bool { return c.From.Module == id || c.To.Module == id })
	case d.YAML != nil && d.YAML.Text != nil:
		m, _, perr := scenes.ParseModule(*d.YAML.Text)
		if perr != nil {
			return perr
		}
		was := patch.Module(m.ID)
		if id := instrument.ModuleID(d.YAML.ID); id != "" {
			was = patch.Module(id)
		}
		switch {
		case was == nil:
			return fmt.Errorf("there is no module %s", cmp.Or(instrument.ModuleID(d.YAML.ID), m.ID))
		case m.ID != was.ID:
			return otherID(was.ID, m.ID)
		}
		*was = m
	default:
		return errors.New("the diff is of nothing; expected plug, pull, repatch, remove, yaml or scene")
	}
	if err != nil {
		return err
	}
	patch.Cables = slices.DeleteFunc(patch.Cables, func(c instrument.Cable) bool { return slices.Contains(w.Pulled, c) })
	for _, c := range w.Plugged {
		if k := slices.IndexFunc(patch.Cables, func(o instrument.Cable) bool { return o.To == c.To }); k >= 0 {
			return fmt.Errorf("%s holds a cable from %s; pull it first", c.To, patch.Cables[k].From)
		}
		patch.Cables = append(patch.Cables, c)
	}
	return unplaced(patch.Validate())
}

// unplaced is what is wrong with a patch that no file holds, without places in
// one.
func unplaced(err error) error {
	if err == nil {
		return nil
	}
	list := []error{err}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		list = j.Unwrap()
	}
	var errs []error
	for _, e := range list {
		var pe *instrument.PatchError
		if errors.As(e, &pe) {
			e = pe.Err
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// otherID refuses to give a module another id.
func otherID(id, other instrument.ModuleID) error {
	return fmt.Errorf("module:1:5: the module is %s; its id cannot become %s, because cables and objects of the cluster go by it", id, other)
}

// webTrace is the picture of a scope, as pages draw it: at most so many columns,
// to a millivolt. 0 is a column for each point.
func webTrace(t *instrument.Trace, columns int) web.Trace {
	picture := func(has bool, s []instrument.Span) []float32 {
		if !has {
			return nil
		}
		n := len(s)
		if columns > 0 {
			n = min(n, columns)
		}
		list := make([]float32, 0, 2*n)
		for i := range n {
			column := s[i*len(s)/n : (i+1)*len(s)/n]
			low, high := column[0].Low, column[0].High
			for _, v := range column[1:] {
				low, high = min(low, v.Low), max(high, v.High)
			}
			list = append(list, float32(math.Round(1e3*float64(low))/1e3), float32(math.Round(1e3*float64(high))/1e3))
		}
		return list
	}
	return web.Trace{A: picture(t.HasA, t.A[:t.Points]), B: picture(t.HasB, t.B[:t.Points])}
}

// webPicture is a plot for people.
type webPicture struct {
	Title string `json:"title"`
	SVG   string `json:"svg"`
}

// webPictures are the plots of the machine's calibrations.
func webPictures() (any, error) {
	list := []webPicture{}
	docs, err := calibrationStore().List()
	for _, d := range docs {
		var b bytes.Buffer
		if e := d.WriteSVG(&b, nil); e != nil {
			err = errors.Join(err, e)
			continue
		}
		list = append(list, webPicture{d.Name(), b.String()})
	}
	if len(list) > 0 {
		err = nil // what can be shown is shown
	}
	return list, err
}
