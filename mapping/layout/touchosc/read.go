package touchosc

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep nodes may be in one another.
const maxDepth = 64

// ReadXML reads what is in the zlib stream of a .tosc file.
func ReadXML(xml []byte) (f *File, err error) {
	if !utf8.Valid(xml) {
		return nil, errors.New("tosc: the XML is not UTF-8")
	}
	r := &reader{rest: string(xml), ids: map[string]*Node{}}
	defer func() {
		if e := recover(); e != nil {
			m, ok := e.(mistake)
			if !ok {
				panic(e)
			}
			f, err = nil, m.error
		}
	}()
	r.expect(declaration)
	r.expect(opening)
	root := r.node(true)
	r.expect(closing)
	if r.rest != "" {
		r.fail("%d bytes after %s", len(r.rest), closing)
	}
	r.follow()
	return &File{root}, nil
}

// mistake carries an error up to ReadXML.
type mistake struct{ error }

// reader reads from the front of what is left.
type reader struct {
	rest   string
	nodes  []*Node // from the root to the one that is read
	where  string  // within the node
	ids    map[string]*Node
	locals []local
}

// local is a message to another node, which may come later.
type local struct {
	m    *Local
	path string
}

// path names the place that is read.
func (r *reader) path() string {
	var parts []string
	for _, n := range r.nodes {
		parts = append(parts, fmt.Sprintf("%s %q", n.Type, n.Name()))
	}
	if r.where != "" {
		parts = append(parts, r.where)
	}
	if len(parts) == 0 {
		return "lexml"
	}
	return strings.Join(parts, "/")
}

func (r *reader) fail(format string, a ...any) {
	panic(mistake{fmt.Errorf("tosc: %s: %s", r.path(), fmt.Sprintf(format, a...))})
}

// at names where in the node the following is read.
func (r *reader) at(format string, a ...any) { r.where = fmt.Sprintf(format, a...) }

// begin is what comes next, short enough for an error.
func (r *reader) begin() string {
	if r.rest == "" {
		return "the end"
	}
	s := []rune(r.rest[:min(len(r.rest), 160)])
	return strconv.Quote(string(s[:min(len(s), 40)]))
}

func (r *reader) next(s string) bool { return strings.HasPrefix(r.rest, s) }

// take reads s if it comes next.
func (r *reader) take(s string) bool {
	rest, ok := strings.CutPrefix(r.rest, s)
	if ok {
		r.rest = rest
	}
	return ok
}

func (r *reader) expect(s string) {
	if !r.take(s) {
		r.fail("expected %s, got %s", s, r.begin())
	}
}

// until reads up to s, which it takes too.
func (r *reader) until(s string) string {
	head, rest, ok := strings.Cut(r.rest, s)
	if !ok {
		r.fail("expected %s, got none", s)
	}
	r.rest = rest
	return head
}

// bare reads an element that holds plain text.
func (r *reader) bare(name string) string {
	r.expect("<" + name + ">")
	s := r.until("</" + name + ">")
	if strings.ContainsAny(s, "<>&") {
		r.fail("%s is %q, expected plain text", name, s)
	}
	return s
}

// quoted reads an element that holds CDATA.
func (r *reader) quoted(name string) string {
	r.expect("<" + name + ">")
	s := r.cdata(name)
	r.expect("</" + name + ">")
	return s
}

// cdata reads CDATA. An end mark inside of it is written in two parts.
func (r *reader) cdata(name string) string {
	if !r.next("<![CDATA[") {
		r.fail("%s is not in CDATA: %s", name, r.begin())
	}
	var b strings.Builder
	for r.take("<![CDATA[") {
		b.WriteString(r.until("]]>"))
	}
	s := b.String()
	for _, c := range s {
		if c < ' ' && c != '\n' && c != '\t' && c != '\r' || c == 0xfffe || c == 0xffff {
			r.fail("%s holds the character %U, for which XML has no place", name, c)
		}
	}
	return s
}

func (r *reader) flag(name string) bool {
	s := r.bare(name)
	if s != "0" && s != "1" {
		r.fail("%s is %q, expected 0 or 1", name, s)
	}
	return s == "1"
}

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[-+][0-9]+)?$`)

// number checks a number, and that it is in a range where low < high.
func (r *reader) number(name, s string, low, high float64) Num {
	v, err := strconv.ParseFloat(s, 64)
	if !decimal.MatchString(s) || err != nil || math.IsInf(v, 0) {
		r.fail("%s is %q, expected a number", name, s)
	}
	if low < high && (v < low || v > high) {
		r.fail("%s is %s, expected %g … %g", name, s, low, high)
	}
	return Num(s)
}

func (r *reader) integer(name, s string, low, high float64) Num {
	n := r.number(name, s, low, high)
	if _, err := strconv.Atoi(s); err != nil {
		r.fail("%s is %q, expected a whole number", name, s)
	}
	return n
}

func (r *reader) word(name string, of []string) string {
	s := r.bare(name)
	if !slices.Contains(of, s) {
		r.fail("%s is %q, expected one of %s", name, s, strings.Join(of, ", "))
	}
	return s
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

func (r *reader) node(root bool) *Node {
	r.expect("<node ID='")
	n := &Node{ID: r.until("'")}
	r.expect(" type='")
	n.Type = r.until("'")
	r.expect(">")
	known, ok := properties[n.Type]
	if !ok {
		r.fail("there is no type %q of nodes; there are %s", n.Type, strings.Join(slices.Sorted(maps.Keys(properties)), ", "))
	}
	r.nodes = append(r.nodes, n)
	r.where = ""
	switch {
	case !uuid.MatchString(n.ID):
		r.fail("ID %q is not a UUID", n.ID)
	case r.ids[n.ID] != nil:
		r.fail("ID %s is of another node too", n.ID)
	case root && n.Type != "GROUP":
		r.fail("the root is a %s, expected a GROUP", n.Type)
	case len(r.nodes) > maxDepth:
		r.fail("nodes are more than %d deep in one another", maxDepth)
	}
	r.ids[n.ID] = n
	if root {
		r.expect("<includes></includes>")
	}
	r.properties(n, known)
	r.values(n)
	r.where = ""
	if r.take("<messages>") {
		for i := 0; ; i++ {
			r.at("messages[%d]", i)
			if r.take("</messages>") {
				if i == 0 {
					r.fail("messages are empty, expected none at all")
				}
				break
			}
			n.Messages = append(n.Messages, r.message(n))
		}
		r.where = ""
	}
	if r.take("<children>") {
		if !holds(n.Type) {
			r.fail("a %s has no children", n.Type)
		}
		for !r.take("</children>") {
			c := r.node(false)
			if n.Type == "PAGER" && c.Type != "GROUP" {
				r.fail("%s %q is no page: expected a GROUP", c.Type, c.Name())
			}
			n.Children = append(n.Children, c)
		}
		if len(n.Children) == 0 {
			r.fail("children are empty, expected none at all")
		}
	}
	r.expect("</node>")
	r.check(n)
	r.nodes, r.where = r.nodes[:len(r.nodes)-1], ""
	return n
}

// properties reads those of a node: every one that its type has, none that it
// has not, in the order of their keys.
func (r *reader) properties(n *Node, known map[string]fact) {
	r.expect("<properties>")
	for !r.take("</properties>") {
		r.expect("<property type='")
		typ := r.until("'")
		r.expect(">")
		p := Property{Key: r.quoted("key")}
		r.at("properties[%s]", p.Key)
		f, ok := known[p.Key]
		switch {
		case !ok:
			r.fail("a %s has no property %q", n.Type, p.Key)
		case typ != string(f.typ):
			r.fail("its type is %q, expected %q", typ, f.typ)
		}
		if k := len(n.Properties); k > 0 && n.Properties[k-1].Key >= p.Key {
			r.fail("it comes after %s, expected the order of the keys", n.Properties[k-1].Key)
		}
		p.Type = f.typ
		r.expect("<value>")
		switch f.typ {
		case typeString:
			p.Text = r.cdata("value")
		case typeFrame, typeColor:
			for _, name := range parts(f.typ) {
				s := r.bare(string(name))
				if f.typ == typeColor {
					p.Numbers = append(p.Numbers, r.number(string(name), s, 0, 1))
				} else {
					p.Numbers = append(p.Numbers, r.number(string(name), s, 0, 0))
				}
			}
			if f.typ == typeFrame && (p.Numbers[2].Float() <= 0 || p.Numbers[3].Float() <= 0) {
				r.fail("it is %s × %s, expected more than nothing", p.Numbers[2], p.Numbers[3])
			}
		case typeBoolean:
			s, _, _ := strings.Cut(r.rest, "<")
			r.rest = r.rest[len(s):]
			if s != "0" && s != "1" {
				r.fail("it is %q, expected 0 or 1", s)
			}
			p.Numbers = []Num{Num(s)}
		default:
			s, _, _ := strings.Cut(r.rest, "<")
			r.rest = r.rest[len(s):]
			if f.typ == typeInteger {
				p.Numbers = []Num{r.integer("it", s, f.low, f.high)}
			} else {
				p.Numbers = []Num{r.number("it", s, f.low, f.high)}
			}
		}
		r.expect("</value></property>")
		n.Properties = append(n.Properties, p)
	}
	r.where = "properties"
	for _, key := range slices.Sorted(maps.Keys(known)) {
		if !known[key].optional && n.Property(key) == nil {
			r.fail("%s is missing", key)
		}
	}
}

func (r *reader) values(n *Node) {
	r.where = "values"
	r.expect("<values>")
	for _, key := range values[n.Type] {
		r.at("values[%s]", key)
		r.expect("<value>")
		v := Value{Key: r.quoted("key")}
		if v.Key != key {
			r.fail("its key is %q, expected %q", v.Key, key)
		}
		v.Locked, v.LockedToThis = r.flag("locked"), r.flag("lockedDefaultCurrent")
		v.Default = r.quoted("default")
		switch key {
		case "touch":
			if v.Default != "false" && v.Default != "true" {
				r.fail("its default is %q, expected false or true", v.Default)
			}
		case "page":
			r.integer("its default", v.Default, 0, 1e6)
		case "x", "y":
			if n.Type == "RADIO" {
				r.integer("its default", v.Default, 0, n.Property("steps").Numbers[0].Float()-1+1e-9)
			} else {
				r.number("its default", v.Default, 0, 1)
			}
		}
		v.Pull = r.integer("defaultPull", r.bare("defaultPull"), 0, 100)
		r.expect("</value>")
		n.Values = append(n.Values, v)
	}
	r.where = "values"
	r.expect("</values>")
}

func (r *reader) message(n *Node) Message {
	switch {
	case r.take("<osc>"):
		return r.osc(n)
	case r.take("<midi>"):
		return r.midi(n)
	case r.take("<local>"):
		return r.local(n)
	}
	r.fail("expected an osc, midi or local message, got %s", r.begin())
	return nil
}

func (r *reader) switches(n *Node) (s Switches) {
	s.Enabled, s.Send, s.Receive = r.flag("enabled"), r.flag("send"), r.flag("receive")
	s.Feedback, s.NoDuplicates = r.flag("feedback"), r.flag("noDuplicates")
	s.Connections = r.bare("connections")
	if len(s.Connections) != 10 || strings.Trim(s.Connections, "01") != "" {
		r.fail("connections are %q, expected ten characters 0 or 1", s.Connections)
	}
	s.Triggers = r.triggers(n)
	return s
}

func (r *reader) triggers(n *Node) (ts []Trigger) {
	if !r.take("<triggers>") {
		return nil
	}
	for !r.take("</triggers>") {
		r.expect("<trigger>")
		t := Trigger{Var: r.quoted("var")}
		if n.Value(t.Var) == nil {
			r.fail("a trigger waits for %q; a %s has %s", t.Var, n.Type, strings.Join(values[n.Type], ", "))
		}
		t.Condition = r.word("condition", conditions)
		r.expect("</trigger>")
		ts = append(ts, t)
	}
	if len(ts) == 0 {
		r.fail("triggers are empty, expected none at all")
	}
	return ts
}

// source checks what a part of a message comes from.
func (r *reader) source(n *Node, what, typ, key string) {
	switch {
	case typ == "VALUE" && n.Value(key) == nil:
		r.fail("%s is of the value %q; a %s has %s", what, key, n.Type, strings.Join(values[n.Type], ", "))
	case typ == "PROPERTY" && key == "":
		r.fail("%s is of a property without a name", what)
	}
}

func (r *reader) partials(n *Node, name string) (ps []Partial) {
	r.expect("<" + name + ">")
	where := r.where
	for i := 0; !r.take("</" + name + ">"); i++ {
		r.at("%s/%s[%d]", where, name, i)
		r.expect("<partial>")
		p := Partial{Type: r.word("type", partialTypes), Conversion: r.word("conversion", conversions), Value: r.quoted("value")}
		r.source(n, "it", p.Type, p.Value)
		p.Min = r.number("scaleMin", r.bare("scaleMin"), 0, 0)
		p.Max = r.number("scaleMax", r.bare("scaleMax"), 0, 0)
		r.expect("</partial>")
		ps = append(ps, p)
	}
	r.where = where
	return ps
}

func (r *reader) osc(n *Node) Message {
	m := &OSC{Switches: r.switches(n)}
	m.Path = r.partials(n, "path")
	if len(m.Path) == 0 {
		r.fail("path is empty")
	}
	if p := m.Path[0]; p.Type == "CONSTANT" && !strings.HasPrefix(p.Value, "/") {
		r.fail("path begins with %q, expected a slash", p.Value)
	}
	m.Arguments = r.partials(n, "arguments")
	r.expect("</osc>")
	return m
}

func (r *reader) midi(n *Node) Message {
	m := &MIDI{Switches: r.switches(n)}
	r.expect("<message>")
	m.Type = r.word("type", midiTypes)
	m.Channel = r.integer("channel", r.bare("channel"), 0, 15)
	m.Data1 = r.integer("data1", r.bare("data1"), 0, 127)
	m.Data2 = r.integer("data2", r.bare("data2"), 0, 127)
	r.expect("</message><values>")
	where := r.where
	for i := range m.Values {
		r.at("%s/values[%d]", where, i)
		r.expect("<value>")
		v := MIDIValue{Type: r.word("type", partialTypes), Key: r.quoted("key")}
		r.source(n, "it", v.Type, v.Key)
		v.Min = r.number("scaleMin", r.bare("scaleMin"), 0, 0)
		v.Max = r.number("scaleMax", r.bare("scaleMax"), 0, 0)
		r.expect("</value>")
		m.Values[i] = v
	}
	r.where = where
	r.expect("</values></midi>")
	return m
}

func (r *reader) local(n *Node) Message {
	m := &Local{Enabled: r.flag("enabled"), Triggers: r.triggers(n)}
	m.Type, m.Conversion, m.Value = r.word("type", partialTypes), r.word("conversion", conversions), r.quoted("value")
	r.source(n, "it", m.Type, m.Value)
	m.Min = r.number("scaleMin", r.bare("scaleMin"), 0, 0)
	m.Max = r.number("scaleMax", r.bare("scaleMax"), 0, 0)
	m.ToType, m.ToVar, m.ToID = r.word("dstType", targets), r.quoted("dstVar"), r.quoted("dstID")
	r.expect("</local>")
	r.locals = append(r.locals, local{m, r.path()})
	return m
}

// follow finds what local messages go to.
func (r *reader) follow() {
	for _, l := range r.locals {
		to := r.ids[l.m.ToID]
		switch {
		case to == nil:
			panic(mistake{fmt.Errorf("tosc: %s: it goes to %q, which is no node", l.path, l.m.ToID)})
		case l.m.ToType == "VALUE" && to.Value(l.m.ToVar) == nil:
			panic(mistake{fmt.Errorf("tosc: %s: it goes to the value %q; a %s has %s", l.path, l.m.ToVar, to.Type, strings.Join(values[to.Type], ", "))})
		case l.m.ToType == "PROPERTY" && to.Property(l.m.ToVar) == nil:
			panic(mistake{fmt.Errorf("tosc: %s: it goes to the property %q, which that %s has not", l.path, l.m.ToVar, to.Type)})
		}
	}
}

// check looks at what only a whole node tells.
func (r *reader) check(n *Node) {
	switch n.Type {
	case "PAGER":
		if page, _ := strconv.Atoi(n.Value("page").Default); len(n.Children) == 0 || page >= len(n.Children) {
			r.fail("page %d is open of %d", page, len(n.Children))
		}
	case "GRID":
		x, y := n.Property("gridX").Numbers[0].Float(), n.Property("gridY").Numbers[0].Float()
		if int(x*y) != len(n.Children) {
			r.fail("it is %g × %g and holds %d", x, y, len(n.Children))
		}
	}
}
