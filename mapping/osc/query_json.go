package osc

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"unicode/utf8"
)

// Attributes of OSCQuery, in the order in which a node lists them. The last
// one holds everything below.
const (
	attrPath        = "FULL_PATH"
	attrAccess      = "ACCESS"
	attrDescription = "DESCRIPTION"
	attrType        = "TYPE"
	attrValue       = "VALUE"
	attrRange       = "RANGE"
	attrUnit        = "UNIT"
	attrClipMode    = "CLIPMODE"
	attrTags        = "TAGS"
	attrCritical    = "CRITICAL"
	attrContents    = "CONTENTS"

	attrHost = "HOST_INFO"
)

var attributes = []string{attrPath, attrAccess, attrDescription, attrType, attrValue, attrRange, attrUnit, attrClipMode, attrTags, attrCritical, attrContents}

// unserved are attributes that the proposal knows and no node has.
var unserved = []string{"EXTENDED_TYPE", "OVERLOADS", "HTML"}

// extensions are what HOST_INFO says is served beyond the required.
var extensions = []string{
	attrAccess, attrValue, attrRange, attrDescription, attrTags, attrUnit, attrCritical, attrClipMode,
	"LISTEN", "PATH_CHANGED", "PATH_ADDED", "PATH_REMOVED",
}

// units are the proposal's names of units; others are served as they are.
var units = map[string]string{
	"Hz": "time.hz", "s": "time.second", "ms": "time.ms", "BPM": "time.bpm", "bpm": "time.bpm", "cents": "time.cents", "cent": "time.cents", "dB": "gain.db",
}

// find returns the branch of an address, or nil. The root is "/".
func (t *tree) find(address string) *branch {
	b := &t.root
	if address == "/" || address == "" {
		return b
	}
	for at := 0; at < len(address); {
		end := partEndString(address, at)
		if b = b.child([]byte(address[at+1 : end])); b == nil {
			return nil
		}
		at = end
	}
	return b
}

// jsonWriter renders nodes. Its bytes depend on nothing but the nodes and
// their values.
type jsonWriter struct {
	out  []byte
	args []Arg
	name string // of the instrument, the root's description
}

// node appends a branch with all that is below.
func (w *jsonWriter) node(path string, b *branch) {
	w.out = append(w.out, '{')
	for i, name := range attributes {
		start := len(w.out)
		if i > 0 {
			w.out = append(w.out, ',')
		}
		w.out = appendJSON(w.out, name)
		w.out = append(w.out, ':')
		if !w.attribute(name, path, b) {
			w.out = w.out[:start]
		}
	}
	w.out = append(w.out, '}')
}

// attribute appends the value of one attribute, and reports whether the branch
// has it; if not, what it appended is to be cut off.
func (w *jsonWriter) attribute(name, path string, b *branch) bool {
	n := b.node
	switch name {
	case attrPath:
		w.out = appendJSON(w.out, path)
		return true
	case attrAccess:
		access := Access(0)
		if n != nil {
			access = n.Access
		}
		w.out = strconv.AppendUint(w.out, uint64(access), 10)
		return true
	case attrContents:
		if len(b.children) == 0 && path != "/" {
			return false
		}
		w.contents(path, b)
		return true
	case attrDescription:
		text := ""
		if n != nil {
			text = n.Doc
		} else if path == "/" {
			text = w.name
		}
		w.out = appendJSON(w.out, text)
		return text != ""
	}
	if n == nil {
		return false
	}
	switch name {
	case attrType:
		w.out = appendJSON(w.out, n.queryType())
	case attrValue:
		return w.value(n)
	case attrRange:
		return w.ranges(n)
	case attrUnit:
		unit := n.Unit
		if u := units[unit]; u != "" {
			unit = u
		}
		w.each(n, func(int) { w.out = appendJSON(w.out, unit) })
		return unit != "" && n.Tags != ""
	case attrClipMode:
		// What lies outside the range is refused, not moved to its end.
		if !n.bounded() {
			return false
		}
		w.each(n, func(int) { w.out = appendJSON(w.out, "none") })
	case attrTags:
		w.out = append(w.out, '[')
		for i, l := range n.Labels {
			w.comma(i)
			w.out = appendJSON(w.out, l)
		}
		w.out = append(w.out, ']')
		return len(n.Labels) > 0
	case attrCritical:
		w.out = append(w.out, "true"...)
		return n.Critical || n.Address == addrPanic
	default:
		return false
	}
	return true
}

func (w *jsonWriter) contents(path string, b *branch) {
	w.out = append(w.out, '{')
	for i, c := range b.children {
		w.comma(i)
		w.out = appendJSON(w.out, c.name)
		w.out = append(w.out, ':')
		under := path + "/" + c.name
		if path == "/" {
			under = path + c.name
		}
		w.node(under, c)
	}
	w.out = append(w.out, '}')
}

func (w *jsonWriter) comma(i int) {
	if i > 0 {
		w.out = append(w.out, ',')
	}
}

// each appends an array with one element for each argument.
func (w *jsonWriter) each(n *Node, element func(i int)) {
	w.out = append(w.out, '[')
	for i := range len(n.Tags) {
		w.comma(i)
		element(i)
	}
	w.out = append(w.out, ']')
}

// queryType is the type tags as OSCQuery shows them: a command without
// arguments is a button, I, as every client has one.
func (n *Node) queryType() string {
	if n.Tags == "" {
		return string(rune(TagImpulse))
	}
	return n.Tags
}

// bounded reports whether any argument has a range of numbers.
func (n *Node) bounded() bool {
	for _, r := range n.Range {
		if len(r.Values) == 0 && r.Min < r.Max {
			return true
		}
	}
	return false
}

func (w *jsonWriter) ranges(n *Node) bool {
	any := false
	w.each(n, func(i int) {
		w.out = append(w.out, '{')
		if i < len(n.Range) {
			switch r := n.Range[i]; {
			case len(r.Values) > 0:
				any = true
				w.out = append(w.out, `"VALS":[`...)
				for j, v := range r.Values {
					w.comma(j)
					w.out = appendJSON(w.out, v)
				}
				w.out = append(w.out, ']')
			case r.Min < r.Max:
				any = true
				w.out = append(w.out, `"MIN":`...)
				w.out = appendNumber(w.out, r.Min, 64)
				w.out = append(w.out, `,"MAX":`...)
				w.out = appendNumber(w.out, r.Max, 64)
			}
		}
		w.out = append(w.out, '}')
	})
	return any
}

func (w *jsonWriter) value(n *Node) bool {
	if !n.readable() {
		return false
	}
	w.args = n.Get(w.args[:0])
	w.out = append(w.out, '[')
	first := true // of its array
	for _, a := range w.args {
		if a.tag == TagArrayEnd {
			w.out = append(w.out, ']')
			first = false
			continue
		}
		if !first {
			w.out = append(w.out, ',')
		}
		if first = a.tag == TagArrayStart; first {
			w.out = append(w.out, '[')
			continue
		}
		w.out = a.appendJSON(w.out)
	}
	w.out = append(w.out, ']')
	return true
}

// appendJSON appends the value as OSCQuery writes it: colours as #RRGGBBAA,
// what JSON has no form for as null.
func (a Arg) appendJSON(dst []byte) []byte {
	switch a.tag {
	case TagInt32, TagInt64:
		return strconv.AppendInt(dst, a.Int(), 10)
	case TagFloat32:
		return appendNumber(dst, a.Float(), 32)
	case TagFloat64:
		return appendNumber(dst, a.Float(), 64)
	case TagString, TagSymbol:
		return appendJSON(dst, string(a.data))
	case TagChar:
		return appendJSON(dst, string(rune(a.bits)))
	case TagRGBA:
		return fmt.Appendf(dst, `"#%08X"`, uint32(a.bits))
	case TagTrue:
		return append(dst, "true"...)
	case TagFalse:
		return append(dst, "false"...)
	}
	return append(dst, "null"...)
}

func appendNumber(dst []byte, v float64, bits int) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, bits)
}

// appendJSON appends s as a JSON string.
func appendJSON(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c == '\n':
				dst = append(dst, '\\', 'n')
			case c < ' ' || c == 0x7f:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				dst = append(dst, c)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		dst = utf8.AppendRune(dst, r) // what is not UTF-8 becomes U+FFFD
		i += size
	}
	return append(dst, '"')
}

// hostInfo appends what HOST_INFO tells. An address that stands for all of the
// machine's is told as the one that the client has reached.
func (w *jsonWriter) hostInfo(osc, ws netip.AddrPort, reached netip.Addr) {
	ip := func(a netip.Addr) string {
		if a.IsUnspecified() && reached.IsValid() {
			a = reached
		}
		return a.Unmap().WithZone("").String()
	}
	w.out = append(w.out, `{"NAME":`...)
	w.out = appendJSON(w.out, w.name)
	w.out = append(w.out, `,"EXTENSIONS":{`...)
	for i, e := range extensions {
		w.comma(i)
		w.out = appendJSON(w.out, e)
		w.out = append(w.out, ":true"...)
	}
	w.out = fmt.Appendf(w.out, `},"OSC_IP":"%s","OSC_PORT":%d,"OSC_TRANSPORT":"UDP","WS_IP":"%s","WS_PORT":%d}`,
		ip(osc.Addr()), osc.Port(), ip(ws.Addr()), ws.Port())
}

// pathEvent is a message to clients that the set of nodes has changed.
type pathEvent struct{ command, path string }

func (e pathEvent) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"COMMAND":"`...)
	dst = append(dst, e.command...)
	dst = append(dst, `","DATA":`...)
	dst = appendJSON(dst, e.path)
	return append(dst, '}')
}

// maxPathEvents bounds what one Replace tells; beyond it the client is told to
// read everything below the common path again.
const maxPathEvents = 64

// difference returns what has changed between two sets: what is gone, what is
// new, each by the uppermost path, and then what is otherwise than before. A
// pod that is replaced is one that goes and one that comes, so that nothing is
// ever called renamed.
func difference(old, now *tree) []pathEvent {
	var gone, added, changed []pathEvent
	add := func(list []pathEvent, command, path string) []pathEvent {
		e := pathEvent{command, path}
		if n := len(list); n > 0 && list[n-1] == e {
			return list
		}
		return append(list, e)
	}
	for i := range old.nodes {
		n := &old.nodes[i]
		if now.byAddress[n.Address] != nil {
			continue
		}
		if path, ok := now.missing(n.Address); ok {
			gone = add(gone, "PATH_REMOVED", path)
		} else {
			changed = add(changed, "PATH_CHANGED", n.Address)
		}
	}
	for i := range now.nodes {
		n := &now.nodes[i]
		if before := old.byAddress[n.Address]; before != nil {
			if !before.sameDescription(n) {
				changed = add(changed, "PATH_CHANGED", n.Address)
			}
		} else if path, ok := old.missing(n.Address); ok {
			added = add(added, "PATH_ADDED", path)
		} else {
			changed = add(changed, "PATH_CHANGED", n.Address)
		}
	}
	all := append(append(gone, added...), changed...)
	if len(all) <= maxPathEvents {
		return all
	}
	common := all[0].path
	for _, e := range all {
		common = commonPath(common, e.path)
	}
	return []pathEvent{{"PATH_CHANGED", common}}
}

// missing returns the uppermost path on the way to an address that is not in
// the tree.
func (t *tree) missing(address string) (path string, missing bool) {
	b := &t.root
	for at := 0; at < len(address); {
		end := partEndString(address, at)
		if b = b.child([]byte(address[at+1 : end])); b == nil {
			return address[:end], true
		}
		at = end
	}
	return address, false
}

// commonPath returns the container of both.
func commonPath(a, b string) string {
	for a != b {
		if len(a) < len(b) {
			a, b = b, a
		}
		i := len(a) - 1
		for a[i] != '/' {
			i--
		}
		if i == 0 {
			return "/"
		}
		a = a[:i]
	}
	return a
}

// sameDescription reports whether nothing but the value can differ.
func (n *Node) sameDescription(o *Node) bool {
	if n.Tags != o.Tags || n.Access != o.Access || n.Doc != o.Doc || n.Unit != o.Unit || n.Critical != o.Critical ||
		len(n.Range) != len(o.Range) || len(n.Labels) != len(o.Labels) {
		return false
	}
	for i := range n.Labels {
		if n.Labels[i] != o.Labels[i] {
			return false
		}
	}
	for i := range n.Range {
		a, b := &n.Range[i], &o.Range[i]
		if a.Min != b.Min || a.Max != b.Max || len(a.Values) != len(b.Values) {
			return false
		}
		for j := range a.Values {
			if a.Values[j] != b.Values[j] {
				return false
			}
		}
	}
	return true
}
