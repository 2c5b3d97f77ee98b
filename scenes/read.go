package scenes

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Fields of a scene file, in the order in which they are written.
var (
	sceneFields  = []string{"version", "name", "title", "about", "seed", "namespace", "latency", "storm", "storm_policy", "scale", "root", "tunings", "transport", "bindings", "modules", "cables", "rules"}
	moduleFields = []string{"id", "at", "params"}
	placeFields  = []string{"row", "hp"}
)

// Load reads the scene file at a path. All its mistakes are Errors joined
// into one (document.Error); a scene of a later version is document.ErrVersion.
func Load(path string) (*Scene, error) {
	data, err := document.ReadFile(path, MaxFile)
	if err != nil {
		return nil, fmt.Errorf("scene: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a scene; file is its name in errors.
func Parse(file string, data []byte) (*Scene, error) {
	r := &sceneReader{reader: newReader(file, "scene", Version)}
	s := r.scene(data)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// MaxFile is the longest scene or script that is read, in bytes.
const MaxFile = 4 << 20

// reader reads one file of the store, and what scenes and scripts have alike.
type reader struct{ *document.Reader }

func newReader(file, what string, newest int) reader {
	return reader{document.NewReader(file, what, newest, MaxFile)}
}

// sceneReader reads one scene file and remembers where everything stood.
type sceneReader struct {
	reader
	patched *Scene
	top     []document.Entry
	modules []moduleNode                         // one for each module of the patch
	cables  []*yaml.Node                         // one for each cable of the patch
	rules   []ruleNode                           // one for each rule
	tunings map[string]map[string]document.Entry // by name and field; the field "" is all of it
}

// moduleNode is where a module of the patch came from.
type moduleNode struct {
	node, id, at *yaml.Node
	params       []document.Entry
}

func (r *sceneReader) scene(data []byte) *Scene {
	_, root := r.Root(data)
	if root == nil {
		return nil
	}
	s := New("")
	r.patched = s
	r.top = r.Fields(root, "a scene", sceneFields)
	named := false
	for _, e := range r.top {
		switch e.Name {
		case "name":
			s.Name, named = r.Text(e)
			if !named {
				// Said already; one mistake is told once.
				s.Name, named = "unnamed", true
			}
		case "title":
			s.Title, _ = r.Text(e)
		case "about":
			s.About, _ = r.Text(e)
			s.About = strings.TrimRight(s.About, "\n")
		case "seed":
			s.Seed = r.seed(e)
		case "namespace":
			if t, ok := r.Text(e); ok {
				s.Namespace = t
			}
		case "latency":
			if v, ok := r.Number(e, 0, MaxLatency, "seconds"); ok {
				s.Latency = v
			}
		case "storm":
			if v, ok := r.Number(e, MinStorm, MaxStorm, "events a second"); ok {
				s.Storm = v
			}
		case "storm_policy":
			if t, ok := r.Text(e); ok {
				s.StormPolicy = mapping.StormPolicy(t)
			}
		case "scale":
			s.Scale, _ = r.Text(e)
		case "root":
			if v, ok := r.Number(e, 0, 127, "as MIDI counts notes"); ok {
				s.Root = v
			}
		case "tunings":
			r.readTunings(e)
		case "transport":
			r.transport(e)
		case "bindings":
			r.bindings(e)
		case "modules":
			for _, n := range r.List(e, 0) {
				r.module(n)
			}
		case "cables":
			for _, n := range r.List(e, 0) {
				r.cable(n)
			}
		case "rules":
			for _, n := range r.List(e, 0) {
				r.rule(n)
			}
		}
	}
	if e, ok := document.Find(r.top, "transport"); ok && (s.Transport.Tempo != 0 || s.Transport.Beats != 0) {
		r.clocked(e)
	}
	if !named {
		r.Node(root, "the scene has no name; expected a name: of lower-case letters, digits and dashes")
		s.Name = "unnamed"
	}
	if _, ok := document.Find(r.top, "title"); !ok {
		s.Title = s.Name
	}
	for _, f := range s.faults() {
		r.fault(f)
	}
	return s
}

func (r *sceneReader) seed(e document.Entry) uint64 {
	if e.Value.Kind == yaml.ScalarNode && e.Value.Tag == "!!int" {
		var v uint64
		if err := e.Value.Decode(&v); err == nil && !strings.HasPrefix(e.Value.Value, "-") {
			return v
		}
	}
	r.Node(e.Value, "seed is a whole number from 0 to 18446744073709551615, this is %s", document.Describe(e.Value))
	return 0
}

// module reads one module into the patch.
func (r *sceneReader) module(n *yaml.Node) {
	entries := r.Fields(n, "a module", moduleFields)
	if n.Kind != yaml.MappingNode {
		return
	}
	e, ok := document.Find(entries, "id")
	if !ok {
		r.Node(n, "the module has no id; expected id: kind/name, such as deployment/web")
		return
	}
	id, ok := r.Text(e)
	if !ok {
		return
	}
	if strings.Count(id, "/") != 1 || strings.HasPrefix(id, "/") || strings.HasSuffix(id, "/") {
		r.Node(e.Value, "%q is not the id of a module; expected kind/name, such as deployment/web", document.Clip(id))
		return
	}
	m := instrument.Module{ID: instrument.ModuleID(id), Params: map[string]float64{}, Text: map[string]string{}}
	from := moduleNode{node: n, id: e.Value}
	if e, ok := document.Find(entries, "params"); ok && !(document.IsNull(e.Value)) {
		from.params = r.Entries(e.Value, "params")
		for _, p := range from.params {
			r.position(&m, p.Name, p.Value)
		}
	}
	if e, ok := document.Find(entries, "at"); ok {
		from.at = e.Value
		if p, ok := r.place(e); ok {
			if _, double := r.patched.Places[m.ID]; !double {
				r.patched.Places[m.ID] = p
			}
		}
	}
	r.patched.Patch.Modules = append(r.patched.Patch.Modules, m)
	r.modules = append(r.modules, from)
}

// position reads where one knob stands. Whether the module has it, and
// whether it goes so far, is judged with the whole patch.
func (d *reader) position(m *instrument.Module, name string, n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		d.Node(n, "%s is a number or a word, this is %s", document.Clip(name), document.Describe(n))
		return false
	}
	var spec *instrument.ParamSpec
	if s := m.Spec(); s != nil {
		if i := s.Param(name); i >= 0 {
			spec = &s.Params[i]
		}
	}
	switch {
	case spec != nil && spec.Text:
		// An image tag may look like a number and is a word all the same.
		m.Text[name] = n.Value
	case document.IsNumber(n):
		var v float64
		if n.Decode(&v) != nil {
			d.Node(n, "%s: %q is not a number", name, document.Clip(n.Value))
			return false
		}
		m.Params[name] = v
	case spec != nil && len(spec.Choices) > 0:
		v, err := spec.Choice(n.Value)
		if err != nil {
			d.Node(n, "%s is %s, this is %s%s", name, spec.Range(), document.Describe(n), document.Near(n.Value, spec.Choices))
			return false
		}
		m.Params[name] = v
	default:
		m.Text[name] = n.Value
	}
	return true
}

func (r *sceneReader) place(e document.Entry) (p Place, ok bool) {
	entries := r.Fields(e.Value, "at", placeFields)
	if e.Value.Kind != yaml.MappingNode {
		return p, false
	}
	ok = true
	for _, f := range []struct {
		name string
		most int
		to   *int
	}{{"row", MaxRow, &p.Row}, {"hp", MaxHP, &p.HP}} {
		v, has := document.Find(entries, f.name)
		if !has {
			r.Node(e.Value, "at has no %s; expected at: {row: 0, hp: 0}", f.name)
			ok = false
			continue
		}
		n, good := r.Whole(v, 0, f.most)
		*f.to, ok = n, ok && good
	}
	return p, ok
}

// arrow joins the two ends of a cable.
const arrow = "->"

// cable reads one cable into the patch.
func (r *sceneReader) cable(n *yaml.Node) {
	const expected = "expected kind/name/jack -> kind/name/jack, such as deployment/web/ready -> voice/chord/open"
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		r.Node(n, "a cable is a text, this is %s; %s", document.Describe(n), expected)
		return
	}
	from, to, ok := strings.Cut(n.Value, arrow)
	if !ok || strings.Contains(to, arrow) {
		r.Node(n, "%s is not a cable; %s", document.Describe(n), expected)
		return
	}
	a, err := instrument.ParseJackRef(strings.TrimSpace(from))
	if err != nil {
		r.At(n.Line, r.end(n, false), "%w", err)
	}
	b, err2 := instrument.ParseJackRef(strings.TrimSpace(to))
	if err2 != nil {
		r.At(n.Line, r.end(n, true), "%w", err2)
	}
	if err != nil || err2 != nil {
		return
	}
	r.patched.Patch.Cables = append(r.patched.Patch.Cables, instrument.Cable{From: a, To: b})
	r.cables = append(r.cables, n)
}

// end returns the column at which one end of a cable begins.
func (r *sceneReader) end(n *yaml.Node, to bool) int {
	column, text := n.Column, n.Value
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return column
	}
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		column++
	}
	if to {
		head, tail, _ := strings.Cut(text, arrow)
		column += utf8.RuneCountInString(head) + len(arrow)
		text = tail
	}
	return column + utf8.RuneCountInString(text) - utf8.RuneCountInString(strings.TrimLeft(text, " \t"))
}

var (
	faultPath   = regexp.MustCompile(`^(modules|cables)\[(\d+)\](?:\.(at|params|from|to)(?:\.(.*))?)?$`)
	cableNumber = regexp.MustCompile(`cables\[(\d+)\]`)
)

// fault reports a mistake at the place in the file that its path names.
func (r *sceneReader) fault(f fault) {
	if r.ruleFault(f) || r.tuningFault(f) {
		return
	}
	m := faultPath.FindStringSubmatch(f.path)
	if m == nil {
		if e, ok := document.Find(r.top, f.path); ok {
			if f.path == "modules" {
				r.Add(e.Key.Line, e.Key.Column, f.err)
			} else {
				r.Add(e.Value.Line, e.Value.Column, f.err)
			}
		} else {
			r.Add(1, 1, f.err)
		}
		return
	}
	if r.Full() {
		r.Add(1, 1, f.err) // it is counted only
		return
	}
	i, _ := strconv.Atoi(m[2])
	if m[1] == "cables" {
		r.cableFault(i, m[3], f.err)
		return
	}
	from, id := r.modules[i], r.patched.Patch.Modules[i].ID
	spec := instrument.Spec(id.Kind())
	switch m[3] {
	case "params":
		e, ok := document.Find(from.params, m[4])
		switch {
		case !ok:
			r.Add(from.node.Line, from.node.Column, f.err)
		case spec.Param(m[4]) < 0:
			r.Node(e.Key, "%w%s", f.err, document.Near(m[4], paramNames(spec)))
		default:
			r.Node(e.Value, "%w", f.err)
		}
	case "at":
		r.Node(from.at, "%w", f.err)
	default:
		hint := ""
		if spec == nil {
			hint = document.Near(id.Kind(), kinds())
		}
		r.Node(from.id, "%w%s", f.err, hint)
	}
}

// cableFault reports a mistake in cable i of the patch, at its end from or to
// or at the whole of it.
func (r *sceneReader) cableFault(i int, end string, err error) {
	n, c := r.cables[i], r.patched.Patch.Cables[i]
	// The patch counts its cables; the reader of a file looks for lines.
	text := cableNumber.ReplaceAllStringFunc(err.Error(), func(s string) string {
		if k, e := strconv.Atoi(s[len("cables[") : len(s)-1]); e == nil && k < len(r.cables) {
			return fmt.Sprintf("the cable of line %d", r.cables[k].Line)
		}
		return s
	})
	if text != err.Error() {
		err = document.Worded(text, err)
	}
	if end == "" {
		r.Node(n, "%w", err)
		return
	}
	ref := c.From
	if end == "to" {
		ref = c.To
	}
	r.At(n.Line, r.end(n, end == "to"), "%w%s", err, r.nearJack(ref, end == "from"))
}

// nearJack proposes a module or a jack for an end of a cable that has none.
func (r *sceneReader) nearJack(ref instrument.JackRef, out bool) string {
	m := r.patched.Patch.Module(ref.Module)
	if m == nil {
		var ids []string
		for i := range r.patched.Patch.Modules {
			ids = append(ids, string(r.patched.Patch.Modules[i].ID))
		}
		return document.Near(string(ref.Module), ids)
	}
	s := m.Spec()
	if s == nil || s.Input(ref.Jack) >= 0 || s.Output(ref.Jack) >= 0 {
		return ""
	}
	jacks := s.Inputs
	if out {
		jacks = s.Outputs
	}
	var names []string
	for _, j := range jacks {
		names = append(names, j.Name)
	}
	return document.Near(ref.Jack, names)
}

func kinds() (names []string) {
	for _, s := range instrument.Specs() {
		names = append(names, s.Kind)
	}
	return names
}

func paramNames(s *instrument.ModuleSpec) (names []string) {
	for i := range s.Params {
		names = append(names, s.Params[i].Name)
	}
	return names
}
