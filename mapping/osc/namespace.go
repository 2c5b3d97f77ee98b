package osc

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Access says what clients may do with a node. The values are those of
// OSCQuery's ACCESS attribute.
type Access uint8

// Kinds of access.
const (
	Read      Access = 1
	Write     Access = 2
	ReadWrite        = Read | Write
)

// Range is what one argument of a node may be. The zero Range allows
// everything.
type Range struct {
	// Min and Max bound a number, both inclusive, where Min < Max.
	Min, Max float64
	// Values lists the texts that an argument of type s may have. A number
	// then chooses one of them, from 0.
	Values []string
}

// Cause says where a value came from.
type Cause struct {
	From netip.AddrPort // the client, to be named to Surface.Notify
	At   time.Time      // when it is meant to take effect
}

// Node is one address that clients can read or write.
type Node struct {
	// Address is the full address, such as /deployment/web/replicas.
	Address string
	// Tags are the type tags of its arguments, of i f s b h t d S c r m T N I.
	// T stands for T or F. A node that cannot be read, without Tags or of type
	// I, is a command: its own address without arguments, or an address or
	// pattern with a number other than 0, calls its Set.
	Tags   string
	Access Access
	// Get appends the present value, one Arg for each tag. It is called by
	// several goroutines, also at once, and must not wait for long. A node
	// with access Read has one.
	Get func(dst []Arg) []Arg
	// Set takes a value. Its arguments have the types of Tags, numbers that
	// are finite and inside the Range; they are valid during the call only.
	// The text of an error goes back to the client. It is called by the
	// server's goroutine, in the order of arrival. A node with access Write
	// has one.
	Set func(args []Arg, c Cause) error
	// Doc says in a phrase what it does, Unit is such as "Hz" or "V".
	Doc, Unit string
	// Range has at most one entry for each tag.
	Range []Range
	// Critical says that it must not be lost: it is played although its client
	// sends too much. The node /panic always is.
	Critical bool
	// Labels are words to find it by, OSCQuery's TAGS.
	Labels []string
}

// readable and writable test the Access.
func (n *Node) readable() bool { return n.Access&Read != 0 }
func (n *Node) writable() bool { return n.Access&Write != 0 }

// command reports whether a message without arguments means "do it".
func (n *Node) command() bool {
	return !n.readable() && (n.Tags == "" || n.Tags == string(rune(TagImpulse)))
}

// Expected describes the arguments that the node takes, for errors and
// listings: "i in 0…50", "f in 0…1 V, f in 0…1 V", "s (saw, pulse)".
func (n *Node) Expected() string {
	if n.Tags == "" {
		return "no argument"
	}
	var b strings.Builder
	for i := range len(n.Tags) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(expectedNames[n.Tags[i]])
		if i < len(n.Range) {
			switch r := n.Range[i]; {
			case len(r.Values) > 0:
				b.WriteString(" (" + strings.Join(r.Values, ", ") + ")")
			case r.Min < r.Max:
				b.WriteString(" in " + number(r.Min) + "…" + number(r.Max))
			}
		}
		if n.Unit != "" {
			b.WriteString(" " + n.Unit)
		}
	}
	return b.String()
}

// expectedNames are the types as errors name them.
var expectedNames = [256]string{
	TagInt32: "i", TagInt64: "h", TagFloat32: "f", TagFloat64: "d", TagTrue: "T or F", TagString: "s", TagSymbol: "S",
	TagBlob: "b", TagTime: "t", TagChar: "c", TagRGBA: "r", TagMIDI: "m", TagNil: "N", TagImpulse: "I",
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// appendCoerced appends the message's arguments to dst as the node's types.
// The brackets of arrays are skipped: [1 2] is as good as 1 2 to a node of
// two numbers. The faults it reports are formatted only once it is known that
// they will be sent.
func (n *Node) appendCoerced(dst []Arg, m *Message) ([]Arg, *refusal) {
	it := m.Args()
	count := 0
	for {
		dst = append(dst, Arg{})
		a := &dst[len(dst)-1]
		if !it.read(a) {
			dst = dst[:len(dst)-1]
			break
		}
		if a.tag == TagArrayStart || a.tag == TagArrayEnd {
			dst = dst[:len(dst)-1]
			continue
		}
		if count == len(n.Tags) {
			return dst, &refusal{node: n, count: countValues(m)}
		}
		var r *Range
		if count < len(n.Range) {
			r = &n.Range[count]
		}
		if !coerce(a, n.Tags[count], r) {
			return dst, &refusal{node: n, arg: *a, position: count + 1}
		}
		count++
	}
	if count != len(n.Tags) {
		return dst, &refusal{node: n, count: count}
	}
	return dst, nil
}

func countValues(m *Message) (count int) {
	for _, t := range m.tags {
		if t != TagArrayStart && t != TagArrayEnd {
			count++
		}
	}
	return count
}

// refusal says why a message does not suit a node.
type refusal struct {
	node     *Node
	arg      Arg
	position int // of arg, from 1; 0 when the number of arguments is wrong
	count    int
}

func (r *refusal) Error() string {
	if r.position == 0 {
		return fmt.Sprintf("got %d arguments, expected %s", r.count, r.node.Expected())
	}
	return fmt.Sprintf("argument %d is %s %s, expected %s", r.position, expectedNames[r.arg.tag], r.arg, r.node.Expected())
}

// coerce makes a an argument of type tag, and reports whether it can be that
// and is inside r, where there is one. If not, a stays as it was.
func coerce(a *Arg, tag byte, r *Range) bool {
	switch tag {
	case TagInt32, TagInt64, TagFloat32, TagFloat64:
		return coerceNumber(a, tag, r)
	case TagTrue:
		v, ok := a.Number()
		if !ok || math.IsNaN(v) {
			return false
		}
		*a = Bool(v != 0)
		return true
	case TagImpulse:
		if v, ok := a.Number(); (!ok || math.IsNaN(v)) && a.tag != TagNil && a.tag != TagImpulse {
			return false
		}
		*a = Impulse()
		return true
	case TagString, TagSymbol:
		return coerceText(a, tag, r)
	}
	return a.tag == tag
}

func coerceNumber(a *Arg, tag byte, r *Range) bool {
	v, ok := a.Number()
	if !ok || v-v != 0 { // not a number, or not finite
		return false
	}
	if (tag == TagInt32 || tag == TagInt64) && a.tag != tag {
		v = math.Round(v)
	}
	clipped := false
	if r != nil && r.Min < r.Max && (v < r.Min || v > r.Max) {
		// A float 0.1 is a little more than a double 0.1; at the end of the
		// range that is rounding, not a fault.
		if a.tag != TagFloat32 || (float32(v) != float32(r.Min) && float32(v) != float32(r.Max)) {
			return false
		}
		v, clipped = min(max(v, r.Min), r.Max), true
	}
	if a.tag == tag && !clipped {
		return true // as it is: exact also for an h beyond 2⁵³
	}
	switch tag {
	case TagInt32:
		if v < math.MinInt32 || v > math.MaxInt32 {
			return false
		}
		*a = Int32(int32(v))
	case TagInt64:
		if v < -1<<63 || v >= 1<<63 {
			return false
		}
		*a = Int64(int64(v))
	case TagFloat32:
		f := float32(v)
		if math.IsInf(float64(f), 0) {
			return false
		}
		*a = Float32(f)
	case TagFloat64:
		*a = Float64(v)
	}
	return true
}

func coerceText(a *Arg, tag byte, r *Range) bool {
	chooses := r != nil && len(r.Values) > 0
	if v, ok := a.Number(); ok && chooses {
		i := math.Round(v)
		if !(i >= 0 && i < float64(len(r.Values))) {
			return false
		}
		*a = Arg{tag: tag, data: []byte(r.Values[int(i)])}
		return true
	}
	if a.tag != TagString && a.tag != TagSymbol {
		return false
	}
	if chooses && !slices.ContainsFunc(r.Values, func(v string) bool { return v == string(a.data) }) {
		return false
	}
	a.tag = tag
	return true
}

// Namespace is the set of nodes that there are now. Lookups and a Replace may
// run at once: each sees one whole set. The zero Namespace is empty.
type Namespace struct{ tree atomic.Pointer[tree] }

// tree is an immutable set of nodes.
type tree struct {
	nodes     []Node // sorted by address
	byAddress map[string]*Node
	root      branch
}

// branch is one level of the tree: a container, a node, or both.
type branch struct {
	name     string
	node     *Node
	children []*branch // sorted by name
}

var emptyTree = &tree{}

func (s *Namespace) load() *tree {
	if t := s.tree.Load(); t != nil {
		return t
	}
	return emptyTree
}

// Replace makes nodes the whole set; the slice is copied. The error names the
// address that is at fault, and then nothing has changed.
func (s *Namespace) Replace(nodes []Node) error {
	t, err := newTree(nodes)
	if err != nil {
		return err
	}
	s.tree.Store(t)
	return nil
}

// Lookup returns the node of an address, or nil. It does not allocate.
func (s *Namespace) Lookup(address []byte) *Node { return s.load().byAddress[string(address)] }

// All yields the nodes in the order of their addresses.
func (s *Namespace) All() iter.Seq[*Node] {
	t := s.load()
	return func(yield func(*Node) bool) {
		for i := range t.nodes {
			if !yield(&t.nodes[i]) {
				return
			}
		}
	}
}

// Match calls yield for each node whose address matches, each once and in the
// order of addresses, until yield returns false.
func (s *Namespace) Match(p Pattern, yield func(*Node) bool) { s.load().match(p, yield) }

// Len returns the number of nodes.
func (s *Namespace) Len() int { return len(s.load().nodes) }

func newTree(nodes []Node) (*tree, error) {
	t := &tree{nodes: slices.Clone(nodes), byAddress: make(map[string]*Node, len(nodes))}
	slices.SortFunc(t.nodes, func(a, b Node) int { return compareAddresses(a.Address, b.Address) })
	for i := range t.nodes {
		n := &t.nodes[i]
		if err := n.check(); err != nil {
			return nil, fmt.Errorf("osc: node %q: %w", n.Address, err)
		}
		if t.byAddress[n.Address] != nil {
			return nil, fmt.Errorf("osc: node %q: registered twice", n.Address)
		}
		t.byAddress[n.Address] = n
		b := &t.root
		for name := range strings.SplitSeq(n.Address[1:], "/") {
			// In this order a child that exists already is the last one.
			if last := len(b.children) - 1; last >= 0 && b.children[last].name == name {
				b = b.children[last]
				continue
			}
			child := &branch{name: name}
			b.children = append(b.children, child)
			b = child
		}
		b.node = n
	}
	return t, nil
}

// compareAddresses orders level by level, so that a container's nodes are
// neighbours: '/' comes before every other character.
func compareAddresses(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' {
			return -1
		}
		if b[i] == '/' {
			return 1
		}
		return int(a[i]) - int(b[i])
	}
	return len(a) - len(b)
}

// reserved are the addresses that the Surface itself answers.
var reserved = []string{addrSubscribe, addrUnsubscribe, addrResend, addrError}

func (n *Node) check() error {
	if err := CheckAddress(n.Address); err != nil {
		return err
	}
	if slices.Contains(reserved, n.Address) {
		return errors.New("the surface uses this address itself; expected another")
	}
	for i := range len(n.Tags) {
		if expectedNames[n.Tags[i]] == "" {
			return fmt.Errorf("type tag %q, expected any of i f s b h t d S c r m T N I", n.Tags[i])
		}
	}
	switch {
	case n.Access == 0 || n.Access > ReadWrite:
		return fmt.Errorf("access %d, expected Read, Write or ReadWrite", n.Access)
	case n.readable() && n.Get == nil:
		return errors.New("it is readable, expected a Get")
	case n.readable() && n.Tags == "":
		return errors.New("it is readable, expected Tags") // an empty answer would be a question to an instrument at the other end
	case n.writable() && n.Set == nil:
		return errors.New("it is writable, expected a Set")
	case len(n.Range) > len(n.Tags):
		return fmt.Errorf("%d ranges for %d arguments, expected at most one each", len(n.Range), len(n.Tags))
	}
	return nil
}

// CheckAddress returns an error unless address can be that of a node: parts
// that each begin with a slash and are not empty, of printable ASCII without
// space # * , / ? [ ] { } (OSC 1.0).
func CheckAddress(address string) error {
	if err := checkAddressBytes(address); err != nil {
		return err
	}
	if i := strings.IndexAny(address, "*,?[]{}"); i >= 0 {
		return fmt.Errorf("osc: address %q: %q has a meaning in patterns, expected another character", address, address[i])
	}
	if strings.Contains(address, "//") || strings.HasSuffix(address, "/") {
		return fmt.Errorf("osc: address %q: expected a name after each '/'", address)
	}
	return nil
}

// match walks the tree level by level. A pattern with // is matched against
// every address instead, as a walk could reach a node on several ways.
func (t *tree) match(p Pattern, yield func(*Node) bool) {
	if p.descends {
		for i := range t.nodes {
			if p.Match(t.nodes[i].Address) && !yield(&t.nodes[i]) {
				return
			}
		}
		return
	}
	if len(p.text) > 0 {
		t.root.match(p.text, yield)
	}
}

// match goes on below b with the pattern from its slash at text[0].
func (b *branch) match(text []byte, yield func(*Node) bool) bool {
	if len(text) == 0 {
		return b.node == nil || yield(b.node)
	}
	end := partEnd(text, 0)
	part, rest := text[1:end], text[end:]
	if !HasWildcard(part) {
		c := b.child(part)
		return c == nil || c.match(rest, yield)
	}
	for _, c := range b.children {
		if matchPart(part, c.name) && !c.match(rest, yield) {
			return false
		}
	}
	return true
}

func (b *branch) child(name []byte) *branch {
	low, high := 0, len(b.children)
	for low < high {
		middle := (low + high) / 2
		switch c := b.children[middle]; {
		case c.name == string(name):
			return c
		case c.name < string(name):
			low = middle + 1
		default:
			high = middle
		}
	}
	return nil
}

// after returns the index of the first node whose address comes after address.
func (t *tree) after(address string) int {
	return sort.Search(len(t.nodes), func(i int) bool { return compareAddresses(t.nodes[i].Address, address) > 0 })
}

// nearest describes what there is on the way to an unknown address, so that a
// player finds the typing mistake.
func (t *tree) nearest(address []byte) string {
	b, at := &t.root, 0
	for at < len(address) {
		end := partEnd(address, at)
		c := b.child(address[at+1 : end])
		if c == nil {
			break
		}
		b, at = c, end
	}
	if len(b.children) == 0 {
		if at > 0 {
			return string(address[:at]) + " exists, with nothing below it"
		}
		return "there are no addresses yet"
	}
	const most = 8
	var names []string
	for _, c := range b.children[:min(most, len(b.children))] {
		names = append(names, c.name)
	}
	if more := len(b.children) - most; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return "below " + string(address[:at]) + "/ there are: " + strings.Join(names, ", ")
}
