package mapping

import (
	"math"
	"slices"
	"strconv"

	"github.com/k8s-synth/k8s-synth/instrument"
)

const (
	// settingRate is how often a second one thing of one object is set at most.
	settingRate = 50
	// echoSeconds is how long the cluster may take to tell of what was set
	// here. What it says later is another hand's; and where it has not done by
	// then what it was told, the panel follows it.
	echoSeconds = 5
	// echoesMost is how many can be told in that time.
	echoesMost = settingRate * echoSeconds
)

// settings is what the patch sets on objects directly, and what of that the
// cluster has been told.
type settings struct {
	rack     *Rack
	restless bool // knobs or panels are others since the wants were made
	next     int64
	waiting  []*setting // whose want was not told yet
	nodes    map[instrument.ModuleID]*nodeLink
	panels   map[string]*podState // by Pod panel: the pod that bears its name
}

// setting is one thing of one object.
type setting struct {
	object     Object
	name       string
	want, said string
	unsure     bool // nobody knows how it stands
	told       bool
	at         int64 // frame at which it was told
	queued     bool
}

// nodeLink ties a Node panel to its node.
type nodeLink struct {
	node             string
	cordon, capacity mirror
}

// mirror is a param that is set on an object which others may set too: what
// they do moves the panel.
type mirror struct {
	setting
	param    string
	explicit bool   // the scene or a hand put it where it stands
	seen     bool   // the cluster told of it
	cluster  string // what it told last
	wish     string // what the panel asked for last
	echoes   []echo
}

// echo is what was set and not yet told of by the cluster.
type echo struct {
	value string
	at    int64
}

func (s *settings) init(r *Rack) {
	s.rack, s.nodes, s.panels = r, map[instrument.ModuleID]*nodeLink{}, map[string]*podState{}
}

// rewire takes over that the patch is another.
func (s *settings) rewire(old *instrument.Patch) {
	r := s.rack
	links := map[instrument.ModuleID]*nodeLink{}
	for i := range r.patch.Modules {
		m := &r.patch.Modules[i]
		if m.ID.Kind() != KindNode {
			continue
		}
		l := s.nodes[m.ID]
		if l == nil {
			l = &nodeLink{cordon: mirror{param: SetCordon}, capacity: mirror{param: SetCapacity}}
			_, l.cordon.explicit = m.Params[SetCordon]
			_, l.capacity.explicit = m.Params[SetCapacity]
		}
		links[m.ID] = l
	}
	s.nodes, s.restless = links, true
}

// moved takes over that a Live param, or what it came to, is another.
func (s *settings) moved(id instrument.ModuleID, param string) {
	s.restless = true
	if l := s.nodes[id]; l != nil {
		switch param {
		case SetCordon:
			l.cordon.explicit = true
		case SetCapacity:
			l.capacity.explicit = true
		}
	}
}

// flush makes the wants anew where something changed, and tells what is due.
// Frame is the present.
func (s *settings) flush(frame int64) {
	r := s.rack
	if (s.restless || r.board.touched) && frame >= s.next {
		s.next = frame + int64(r.cfg.SampleRate/settingRate)
		s.restless, r.board.touched = false, false
		if r.mode != ListenOnly {
			s.wantPods()
		}
		for i := range r.patch.Modules {
			if l := s.nodes[r.patch.Modules[i].ID]; l != nil {
				s.wantNode(&r.patch.Modules[i], l, frame)
			}
		}
	}
	for _, l := range s.nodes {
		s.expire(&l.cordon, frame)
		s.expire(&l.capacity, frame)
	}
	if r.mode == ListenOnly {
		// It is wanted anew when the mode allows it.
		for _, w := range s.waiting {
			w.queued = false
		}
		clear(s.waiting)
		s.waiting = s.waiting[:0]
	}
	if len(s.waiting) == 0 {
		return
	}
	gap := int64(r.cfg.SampleRate / settingRate)
	kept := 0
	for _, w := range s.waiting {
		switch {
		case w.want == w.said && !w.unsure:
			w.queued = false
		case w.told && frame < w.at+gap:
			s.waiting[kept] = w
			kept++
		default:
			w.queued, w.unsure, w.told, w.said, w.at = false, false, true, w.want, frame
			if r.Setting != nil {
				r.Setting(Setting{Object: w.object, Name: w.name, Value: w.want})
			}
		}
	}
	clear(s.waiting[kept:])
	s.waiting = s.waiting[:kept]
}

// want says how something is to stand.
func (s *settings) want(w *setting, o Object, name, value string) {
	w.object, w.name, w.want = o, name, value
	if (w.want != w.said || w.unsure) && !w.queued {
		w.queued = true
		s.waiting = append(s.waiting, w)
	}
}

// amount writes a load as pods take it; none is nothing set.
func amount(v float64) string {
	if v = math.Round(v); v < 1 {
		return ""
	}
	return strconv.Itoa(int(v))
}

// wantPods says what each pod of the patch is to bear, and on whose panel it
// is.
func (s *settings) wantPods() {
	r := s.rack
	for i := range r.patch.Modules {
		id := r.patch.Modules[i].ID
		switch id.Kind() {
		case KindDeployment:
			d := r.board.deployments[id.Name()]
			if d == nil {
				continue
			}
			// Together they bear what the knob says, to the millicore: shares that
			// were each rounded up would keep an autoscaler at a pod too many.
			total, n := int(math.Round(r.Effective(id, "cpu"))), max(d.tally.ready, 1)
			share, more := total/n, total%n
			next := func(p *podState) float64 {
				if p.ready && more > 0 {
					more--
					return float64(share + 1)
				}
				return float64(share)
			}
			for slot, p := range d.pods {
				if p != nil {
					s.wantPod(p, d.claims[slot], next(p))
				}
			}
			for _, p := range d.waiting {
				s.wantPod(p, nil, next(p))
			}
		case KindPod:
			// One that a Service's panel shows as well was asked for already.
			if v := r.board.podPanels[id.Name()]; v != nil && v.bare != nil {
				s.wantPod(v.bare, nil, 0)
			}
		}
	}
}

// wantPod says what a pod is to bear: what the panels that show it ask for,
// and while it is ready its share of what its Deployment does.
func (s *settings) wantPod(p *podState, claims []panelRef, share float64) {
	r := s.rack
	if p.deleting || !p.alive() || r.board.foreign(p.object.Namespace) {
		return
	}
	cpu, memory, panel := 0.0, 0.0, ""
	if p.ready && p.phase == "Running" {
		cpu = share
	}
	for _, ref := range claims {
		cpu += r.Effective(ref.id, SetCPU)
		memory += r.Effective(ref.id, SetMemory)
		if panel == "" {
			panel = ref.id.Name()
		}
	}
	for _, v := range p.viewers {
		for _, ref := range v.refs {
			cpu += r.Effective(ref.id, SetCPU)
			memory += r.Effective(ref.id, SetMemory)
		}
	}
	if p.listed && (len(claims) > 0 || p.slot >= 0 || p.owner == "") {
		// It was there before: it may bear what a player before this one asked.
		p.listed = false
		p.cpu.unsure, p.memory.unsure, p.panel.unsure = true, true, p.owner != ""
	}
	s.want(&p.cpu, p.object, SetCPU, amount(cpu))
	s.want(&p.memory, p.object, SetMemory, amount(memory))
	if panel != "" {
		// Who bore the name before may still be on its way out.
		if was := s.panels[panel]; was != nil && was != p && was.panel.want == panel {
			s.want(&was.panel, was.object, SetPanel, "")
		}
		s.panels[panel] = p
	}
	s.want(&p.panel, p.object, SetPanel, panel)
}

// wantNode brings a Node panel and its node together.
func (s *settings) wantNode(m *instrument.Module, l *nodeLink, frame int64) {
	r := s.rack
	name := nodeOf(m)
	if l.node != name {
		if l.node != "" {
			// What was asked of one node was not asked of another.
			l.cordon.explicit, l.capacity.explicit = false, false
		}
		l.node = name
		l.cordon.seen, l.capacity.seen = false, false
	}
	n := r.board.nodes[name]
	if n == nil || r.board.taking {
		// Not there, or not all of it is told yet.
		if n == nil {
			l.cordon.seen, l.capacity.seen = false, false
		}
		return
	}
	s.reflect(&l.cordon, m.ID, name, strconv.FormatBool(n.cordoned), strconv.FormatBool(r.Effective(m.ID, SetCordon) != 0), frame)
	if n.capacity > 0 {
		s.reflect(&l.capacity, m.ID, name, strconv.Itoa(n.capacity), strconv.Itoa(int(math.Round(r.Effective(m.ID, SetCapacity)))), frame)
	}
}

// reflect compares what the cluster says with what the panel asks for. What
// another hand did there moves the panel; what moves on the panel is told.
func (s *settings) reflect(m *mirror, id instrument.ModuleID, node, cluster, wish string, frame int64) {
	r := s.rack
	o := Object{Kind: KindNode, Name: node}
	follow := func() {
		r.follow(id, m.param, cluster)
		if m.param == SetCordon {
			wish = strconv.FormatBool(r.Effective(id, m.param) != 0)
		} else {
			wish = strconv.Itoa(int(math.Round(r.Effective(id, m.param))))
		}
		m.wish, m.want, m.said, m.unsure = wish, wish, wish, false
	}
	switch {
	case !m.seen:
		m.seen, m.cluster, m.said, m.echoes = true, cluster, cluster, m.echoes[:0]
		if held := m.param == SetCordon && r.high(id, "cordon_gate"); !m.explicit && !held || r.mode == ListenOnly {
			explicit := m.explicit
			follow()
			m.explicit = explicit
			return
		}
		m.wish = cluster
	case cluster != m.cluster:
		m.cluster = cluster
		if i := slices.IndexFunc(m.echoes, func(e echo) bool { return e.value == cluster }); i >= 0 {
			m.echoes = slices.Delete(m.echoes, 0, i+1)
		} else if cluster != wish {
			follow()
			return
		}
	}
	if wish == m.wish || r.mode == ListenOnly {
		return
	}
	m.wish = wish
	s.want(&m.setting, o, m.param, wish)
	if wish != m.cluster || len(m.echoes) > 0 {
		if len(m.echoes) >= echoesMost {
			// The cluster is away: of what waits it is told the newest alone.
			m.echoes = slices.Delete(m.echoes, 0, 1)
		}
		m.echoes = append(m.echoes, echo{wish, frame})
	}
}

// expire gives up waiting for the cluster to do what it was told. The panel
// then shows how it is.
func (s *settings) expire(m *mirror, frame int64) {
	if len(m.echoes) == 0 {
		return
	}
	r := s.rack
	if !r.board.api.synced || !r.board.api.reachable || r.mode == ListenOnly {
		for i := range m.echoes {
			m.echoes[i].at = frame // nobody could tell
		}
		return
	}
	n := 0
	for n < len(m.echoes) && float64(frame-m.echoes[n].at) > echoSeconds*r.cfg.SampleRate {
		n++
	}
	if n == 0 {
		return
	}
	if m.echoes = slices.Delete(m.echoes, 0, n); len(m.echoes) == 0 && m.cluster != m.wish {
		s.restless = true
		m.cluster = "" // what it says is news
	}
}

// told takes over what a transition means for the settings.
func (s *settings) told(t *Transition) {
	if t.Object.Kind == KindPod && t.Field == FieldExists && t.New == "" {
		for panel, p := range s.panels {
			if podKey(p.object) == podKey(t.Object) {
				delete(s.panels, panel)
			}
		}
	}
}

// follow moves a param of a Node to what the cluster says, as far as its
// range, its CV and its gate let it.
func (r *Rack) follow(id instrument.ModuleID, param, value string) {
	if param == SetCordon {
		v := 0.0
		if value == "true" {
			v = 1
		}
		if v == 1 || !r.high(id, "cordon_gate") {
			r.put(id, param, v, SourceCluster)
		}
		return
	}
	spec := instrument.Spec(id.Kind())
	p := &spec.Params[spec.Param(param)]
	knob := r.patch.Module(id).Value(param)
	r.put(id, param, p.Clamp(knob+float64(whole(value))-r.Effective(id, param)), SourceCluster)
}

// SourceCluster is the source of changes that follow the cluster.
const SourceCluster = "cluster"
