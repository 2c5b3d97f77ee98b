package touchosc

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Num is a number as the file has it.
type Num string

// Float returns its value; what a reader took has one.
func (n Num) Float() float64 { v, _ := strconv.ParseFloat(string(n), 64); return v }

// File is a .tosc file.
type File struct{ Root *Node }

// Node is a control.
type Node struct {
	ID, Type   string
	Properties []Property // by their keys
	Values     []Value
	Messages   []Message
	Children   []*Node
}

// Property is one of a node's. Text is of type s; Numbers are one, or four of a
// frame (x, y, w, h) or a colour (r, g, b, a).
type Property struct {
	Key     string
	Type    byte
	Text    string
	Numbers []Num
}

// Value is one of a node's values, as it is when the layout is opened.
type Value struct {
	Key                  string
	Locked, LockedToThis bool
	Default              string
	Pull                 Num
}

// Message is an OSC, MIDI or Local.
type Message interface{ write(b *strings.Builder) }

// Switches are what OSC and MIDI messages have in common.
type Switches struct {
	Enabled, Send, Receive, Feedback, NoDuplicates bool
	Connections                                    string
	Triggers                                       []Trigger
}

// Trigger says which value sends a message, and when.
type Trigger struct{ Var, Condition string }

// OSC is an OSC message.
type OSC struct {
	Switches
	Path, Arguments []Partial
}

// Partial is a piece of an address, or an argument.
type Partial struct {
	Type, Conversion, Value string
	Min, Max                Num
}

// MIDI is a MIDI message; its values are channel, first and second byte.
type MIDI struct {
	Switches
	Type                  string
	Channel, Data1, Data2 Num
	Values                [3]MIDIValue
}

// MIDIValue says where a part of a MIDI message comes from.
type MIDIValue struct {
	Type, Key string
	Min, Max  Num
}

// Local sends a value to another control of the layout.
type Local struct {
	Enabled                 bool
	Triggers                []Trigger
	Type, Conversion, Value string
	Min, Max                Num
	ToType, ToVar, ToID     string
}

// Property returns the property of that key, or nil.
func (n *Node) Property(key string) *Property {
	for i := range n.Properties {
		if n.Properties[i].Key == key {
			return &n.Properties[i]
		}
	}
	return nil
}

// Name returns the node's name.
func (n *Node) Name() string {
	if p := n.Property("name"); p != nil {
		return p.Text
	}
	return ""
}

// Frame returns the node's place in its parent.
func (n *Node) Frame() (x, y, w, h float64) {
	p := n.Property("frame").Numbers
	return p[0].Float(), p[1].Float(), p[2].Float(), p[3].Float()
}

// Flag returns a property of type b.
func (n *Node) Flag(key string) bool {
	p := n.Property(key)
	return p != nil && len(p.Numbers) == 1 && p.Numbers[0] == "1"
}

// Value returns the value of that key, or nil.
func (n *Node) Value(key string) *Value {
	for i := range n.Values {
		if n.Values[i].Key == key {
			return &n.Values[i]
		}
	}
	return nil
}

// Walk calls f for the node and all below it, parents first, until it returns
// false.
func (n *Node) Walk(f func(n, parent *Node) bool) { n.walk(nil, f) }

func (n *Node) walk(parent *Node, f func(n, parent *Node) bool) bool {
	if !f(n, parent) {
		return false
	}
	for _, c := range n.Children {
		if !c.walk(n, f) {
			return false
		}
	}
	return true
}

// maxXML is the most that a layout may be when it is unpacked, in bytes.
const maxXML = 64 << 20

// Read reads a .tosc file and says where the first mistake is.
func Read(data []byte) (*File, error) {
	r := bytes.NewReader(data)
	z, err := zlib.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("tosc: expected a zlib stream: %w", err)
	}
	xml, err := io.ReadAll(io.LimitReader(z, maxXML+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("tosc: the zlib stream is damaged: %w", err)
	case len(xml) > maxXML:
		return nil, fmt.Errorf("tosc: more than %d MB of XML", maxXML>>20)
	case r.Len() > 0:
		return nil, fmt.Errorf("tosc: %d bytes after the end of the zlib stream", r.Len())
	}
	return ReadXML(xml)
}

// Write returns the file as TouchOSC saves it.
func (f *File) Write() ([]byte, error) {
	var b bytes.Buffer
	z, err := zlib.NewWriterLevel(&b, zlib.BestCompression)
	if err == nil {
		_, err = z.Write(f.XML())
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("tosc: %w", err)
	}
	return b.Bytes(), nil
}

const (
	declaration = "<?xml version='1.0' encoding='UTF-8'?>"
	opening     = "<lexml version='6'>"
	closing     = "</lexml>"
)

// XML returns what is in the zlib stream.
func (f *File) XML() []byte {
	var b strings.Builder
	b.WriteString(declaration + opening)
	f.Root.write(&b, true)
	b.WriteString(closing)
	return []byte(b.String())
}

func quote(s string) string {
	return "<![CDATA[" + strings.ReplaceAll(s, "]]>", "]]]]><![CDATA[>") + "]]>"
}

func bit(v bool) string {
	if v {
		return "1"
	}
	return "0"
}

func tag(b *strings.Builder, name, body string) {
	b.WriteString("<" + name + ">" + body + "</" + name + ">")
}

func (n *Node) write(b *strings.Builder, root bool) {
	fmt.Fprintf(b, "<node ID='%s' type='%s'>", n.ID, n.Type)
	if root {
		b.WriteString("<includes></includes>")
	}
	b.WriteString("<properties>")
	for _, p := range n.Properties {
		fmt.Fprintf(b, "<property type='%c'>", p.Type)
		tag(b, "key", quote(p.Key))
		b.WriteString("<value>")
		switch p.Type {
		case typeString:
			b.WriteString(quote(p.Text))
		case typeFrame, typeColor:
			for i, name := range parts(p.Type) {
				tag(b, string(name), string(p.Numbers[i]))
			}
		default:
			b.WriteString(string(p.Numbers[0]))
		}
		b.WriteString("</value></property>")
	}
	b.WriteString("</properties><values>")
	for _, v := range n.Values {
		b.WriteString("<value>")
		tag(b, "key", quote(v.Key))
		tag(b, "locked", bit(v.Locked))
		tag(b, "lockedDefaultCurrent", bit(v.LockedToThis))
		tag(b, "default", quote(v.Default))
		tag(b, "defaultPull", string(v.Pull))
		b.WriteString("</value>")
	}
	b.WriteString("</values>")
	if len(n.Messages) > 0 {
		b.WriteString("<messages>")
		for _, m := range n.Messages {
			m.write(b)
		}
		b.WriteString("</messages>")
	}
	if len(n.Children) > 0 {
		b.WriteString("<children>")
		for _, c := range n.Children {
			c.write(b, false)
		}
		b.WriteString("</children>")
	}
	b.WriteString("</node>")
}

// parts are the names of the four numbers of a frame or a colour.
func parts(typ byte) string {
	if typ == typeFrame {
		return "xywh"
	}
	return "rgba"
}

func (s *Switches) write(b *strings.Builder) {
	tag(b, "enabled", bit(s.Enabled))
	tag(b, "send", bit(s.Send))
	tag(b, "receive", bit(s.Receive))
	tag(b, "feedback", bit(s.Feedback))
	tag(b, "noDuplicates", bit(s.NoDuplicates))
	tag(b, "connections", s.Connections)
	writeTriggers(b, s.Triggers)
}

func writeTriggers(b *strings.Builder, ts []Trigger) {
	if len(ts) == 0 {
		return
	}
	b.WriteString("<triggers>")
	for _, t := range ts {
		b.WriteString("<trigger>")
		tag(b, "var", quote(t.Var))
		tag(b, "condition", t.Condition)
		b.WriteString("</trigger>")
	}
	b.WriteString("</triggers>")
}

func (m *OSC) write(b *strings.Builder) {
	b.WriteString("<osc>")
	m.Switches.write(b)
	partials := func(name string, ps []Partial) {
		b.WriteString("<" + name + ">")
		for _, p := range ps {
			b.WriteString("<partial>")
			tag(b, "type", p.Type)
			tag(b, "conversion", p.Conversion)
			tag(b, "value", quote(p.Value))
			tag(b, "scaleMin", string(p.Min))
			tag(b, "scaleMax", string(p.Max))
			b.WriteString("</partial>")
		}
		b.WriteString("</" + name + ">")
	}
	partials("path", m.Path)
	partials("arguments", m.Arguments)
	b.WriteString("</osc>")
}

func (m *MIDI) write(b *strings.Builder) {
	b.WriteString("<midi>")
	m.Switches.write(b)
	b.WriteString("<message>")
	tag(b, "type", m.Type)
	tag(b, "channel", string(m.Channel))
	tag(b, "data1", string(m.Data1))
	tag(b, "data2", string(m.Data2))
	b.WriteString("</message><values>")
	for _, v := range m.Values {
		b.WriteString("<value>")
		tag(b, "type", v.Type)
		tag(b, "key", quote(v.Key))
		tag(b, "scaleMin", string(v.Min))
		tag(b, "scaleMax", string(v.Max))
		b.WriteString("</value>")
	}
	b.WriteString("</values></midi>")
}

func (m *Local) write(b *strings.Builder) {
	b.WriteString("<local>")
	tag(b, "enabled", bit(m.Enabled))
	writeTriggers(b, m.Triggers)
	tag(b, "type", m.Type)
	tag(b, "conversion", m.Conversion)
	tag(b, "value", quote(m.Value))
	tag(b, "scaleMin", string(m.Min))
	tag(b, "scaleMax", string(m.Max))
	tag(b, "dstType", m.ToType)
	tag(b, "dstVar", quote(m.ToVar))
	tag(b, "dstID", quote(m.ToID))
	b.WriteString("</local>")
}
