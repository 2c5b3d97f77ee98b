package scenes

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/mapping/document"
	"github.com/k8s-synth/k8s-synth/mapping/rule"
)

// CompileRules returns the scene's rules, ready to play from its seed.
func (s *Scene) CompileRules() (*rule.Set, error) {
	set, err := rule.Compile(s.Rules, s.Seed)
	if err != nil {
		return nil, fmt.Errorf("scene %s: %w", s.Name, err)
	}
	return set, nil
}

// checkRules finds the mistakes of the rules. Those that were found good are
// not compiled again: a scene is validated each time that it is saved.
func (s *Scene) checkRules() (all []fault) {
	if slices.EqualFunc(s.Rules, s.goodRules, rule.Spec.Equal) {
		return nil
	}
	if _, err := rule.Compile(s.Rules, s.Seed); err != nil {
		for _, e := range rule.Errors(err) {
			path := fmt.Sprintf("rules[%d]", e.Rule)
			if e.Field != "" {
				path += "." + e.Field
			}
			all = append(all, fault{path: path, line: e.Line, column: e.Column, err: e.Err})
		}
		return all
	}
	s.goodRules = cloneRules(s.Rules)
	return nil
}

func cloneRules(rules []rule.Spec) []rule.Spec {
	out := slices.Clone(rules)
	for i := range out {
		if o := out[i].OSC; o != nil {
			out[i].OSC = &rule.OSC{Address: o.Address, Args: slices.Clone(o.Args), To: o.To}
		}
		if c := out[i].CC; c != nil {
			out[i].CC = &rule.CC{Number: c.Number, Value: c.Value}
		}
	}
	return out
}

// ruleNode is where a rule came from.
type ruleNode struct {
	node   *yaml.Node
	fields map[string]document.Entry // by their path in the rule, such as osc.args[1]
	// hurt tells that a part of it could not be read, and that was said.
	hurt bool
}

// rule reads one rule. What its expressions mean is judged with all of them.
func (r *sceneReader) rule(n *yaml.Node) {
	before := r.Count()
	entries := r.Fields(n, "a rule", rule.Fields)
	if n.Kind != yaml.MappingNode {
		return
	}
	var s rule.Spec
	from := ruleNode{node: n, fields: map[string]document.Entry{}}
	for _, e := range entries {
		from.fields[e.Name] = e
		switch e.Name {
		case "name":
			s.Name = r.source(e)
		case "when":
			s.When = r.source(e)
		case "note":
			s.Note = r.source(e)
		case "velocity":
			s.Velocity = r.source(e)
		case "duration":
			s.Duration = r.source(e)
		case "channel":
			s.Channel = r.source(e)
		case "port":
			s.Port = r.source(e)
		case "mpe":
			s.MPE = r.source(e)
		case "cc":
			s.CC = r.cc(e, from.fields)
		case "bend":
			s.Bend = r.source(e)
		case "pressure":
			s.Pressure = r.source(e)
		case "program":
			s.Program = r.source(e)
		case "gate":
			s.Gate = r.source(e)
		case "cv":
			s.CV = r.source(e)
		case "osc":
			s.OSC = r.osc(e, from.fields)
		}
	}
	from.hurt = r.Count() > before
	r.patched.Rules = append(r.patched.Rules, s)
	r.rules = append(r.rules, from)
}

// source reads an expression: a text, or a number or truth as it is written.
func (r *sceneReader) source(e document.Entry) string {
	v := e.Value
	if v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
		r.Node(v, "%s is an expression, this is %s", e.Name, document.Describe(v))
		return ""
	}
	if v.Value == "" {
		r.Node(v, "%s is empty; leave it out, or write an expression", e.Name)
	}
	return v.Value
}

func (r *sceneReader) cc(e document.Entry, fields map[string]document.Entry) *rule.CC {
	c := &rule.CC{}
	for _, f := range r.Fields(e.Value, "cc", rule.CCFields) {
		fields["cc."+f.Name] = f
		if f.Name == "number" {
			c.Number = r.source(f)
		} else {
			c.Value = r.source(f)
		}
	}
	return c
}

func (r *sceneReader) osc(e document.Entry, fields map[string]document.Entry) *rule.OSC {
	o := &rule.OSC{}
	for _, f := range r.Fields(e.Value, "osc", rule.OSCFields) {
		fields["osc."+f.Name] = f
		switch f.Name {
		case "address":
			o.Address = r.source(f)
			continue
		case "to":
			o.To = r.source(f)
			continue
		}
		for i, a := range r.List(f, 0) {
			arg := document.Item(fmt.Sprintf("args[%d]", i), a)
			fields[fmt.Sprintf("osc.args[%d]", i)] = arg
			o.Args = append(o.Args, r.source(arg))
		}
	}
	return o
}

var (
	rulePath   = regexp.MustCompile(`^rules\[(\d+)\](?:\.(.+))?$`)
	ruleNumber = regexp.MustCompile(`rules\[(\d+)\]`)
)

// ruleFault reports a mistake of a rule at its place in the file. It tells
// whether the fault is one.
func (r *sceneReader) ruleFault(f fault) bool {
	m := rulePath.FindStringSubmatch(f.path)
	if m == nil {
		return false
	}
	i, _ := strconv.Atoi(m[1])
	if i >= len(r.rules) || len(r.rules) > rule.MaxRules {
		if e, ok := document.Find(r.top, "rules"); ok {
			r.Add(e.Key.Line, e.Key.Column, f.err)
		}
		return true
	}
	from := r.rules[i]
	e, ok := from.fields[m[2]]
	// The reader of a file looks for lines.
	text := ruleNumber.ReplaceAllStringFunc(f.err.Error(), func(s string) string {
		if k, e := strconv.Atoi(s[len("rules[") : len(s)-1]); e == nil && k < len(r.rules) {
			return fmt.Sprintf("the rule of line %d", r.rules[k].node.Line)
		}
		return s
	})
	if text != f.err.Error() {
		f.err = document.Worded(text, f.err)
	}
	switch {
	case from.hurt && r.patched.Rules[i].Source(m[2]) == "":
		// What is said to be missing may be what could not be read.
	case !ok:
		r.Add(from.node.Line, from.node.Column, f.err)
	case f.line == 0:
		r.Add(e.Value.Line, e.Value.Column, f.err)
	default:
		line, column, found := r.Within(e.Value, f.line, f.column)
		text := fmt.Sprintf("%s: %v", m[2], f.err)
		if !found && (f.line > 1 || f.column > 1) {
			text = fmt.Sprintf("%s, line %d, character %d: %v", m[2], f.line, f.column, f.err)
		}
		r.Add(line, column, document.Worded(text, f.err))
	}
	return true
}

// plainSource is what YAML and CEL both read as the same number or truth, and
// what is therefore written without quotes.
var plainSource = regexp.MustCompile(`^(?:(-?(?:0|[1-9][0-9]*))|(-?(?:0|[1-9][0-9]*)\.[0-9]+)|(true|false))$`)

func expressionYAML(source string) *yaml.Node {
	m := plainSource.FindStringSubmatch(source)
	switch {
	case m == nil:
		return word(source)
	case m[1] != "":
		return scalar("!!int", source)
	case m[2] != "":
		return scalar("!!float", source)
	}
	return scalar("!!bool", source)
}

// ruleYAML writes a rule with its fields in their order.
func ruleYAML(s *rule.Spec) *yaml.Node {
	n := mappingNode()
	for _, field := range rule.Fields {
		if field == "cc" && s.CC != nil {
			c := mappingNode()
			put(c, "number", expressionYAML(s.CC.Number))
			put(c, "value", expressionYAML(s.CC.Value))
			put(n, "cc", c)
		}
		if source := s.Source(field); source != "" {
			v := expressionYAML(source)
			if field == "name" || field == "port" {
				v = word(source)
			}
			put(n, field, v)
		}
	}
	if s.OSC != nil {
		o := mappingNode()
		put(o, "address", word(s.OSC.Address))
		if len(s.OSC.Args) > 0 {
			args := &yaml.Node{Kind: yaml.SequenceNode}
			for _, a := range s.OSC.Args {
				args.Content = append(args.Content, expressionYAML(a))
			}
			put(o, "args", args)
		}
		if s.OSC.To != "" {
			put(o, "to", word(s.OSC.To))
		}
		put(n, "osc", o)
	}
	return n
}

// rulesSchema is what an editor can know of rules.
func rulesSchema() map[string]any {
	type object = map[string]any
	expression := func(doc string, types ...string) object {
		return object{"type": append([]string{"string"}, types...), "description": doc + "; a CEL expression", "minLength": 1, "maxLength": rule.MaxSource}
	}
	number := func(doc string, low, high, value float64) object {
		s := expression(doc, "number")
		s["minimum"], s["maximum"] = low, high
		if value != 0 {
			s["default"] = value
		}
		return s
	}
	var plays []any
	for _, f := range []string{"note", "gate", "cv", "osc", "cc", "bend", "pressure", "program"} {
		plays = append(plays, object{"required": []string{f}})
	}
	return object{
		"type": []string{"array", "null"}, "maxItems": rule.MaxRules, "description": "what the transitions of the cluster play",
		"items": object{
			"type": "object", "additionalProperties": false, "required": []string{"when"}, "anyOf": plays,
			"properties": object{
				"name":     object{"type": []string{"string", "integer"}, "description": "for people and addresses", "pattern": label.String()},
				"when":     expression("which transitions the rule is for, a bool", "boolean"),
				"note":     number("MIDI note, fractions are microtones", 0, 127, 0),
				"velocity": number("how hard the note is struck", 1, 127, rule.DefaultVelocity),
				"duration": number("how long the note holds, in seconds", rule.MinDuration, rule.MaxDuration, rule.DefaultDuration),
				"channel":  number("which channel it is played on, an int", 1, rule.Channels, rule.DefaultChannel),
				"port":     object{"type": []string{"string", "integer"}, "minLength": 1, "maxLength": rule.MaxSource, "description": "MIDI port that plays it in place of the rack: a part of its name, or a pattern with * and ?; behind a = stands a CEL expression"},
				"mpe":      expression("whether each pod has a MIDI channel of its own, a bool", "boolean"),
				"cc": object{
					"type": "object", "additionalProperties": false, "required": []string{"number", "value"}, "description": "a controller of the port",
					"properties": object{
						"number": number("which one, an int", 0, 119, 0),
						"value":  number("where it goes", 0, 127, 0),
					},
				},
				"bend":     number("how far the port's channel is bent, in semitones", -rule.MaxBend, rule.MaxBend, 0),
				"pressure": number("pressure of the port's channel", 0, 127, 0),
				"program":  number("program of the port's channel, an int", 1, rule.Programs, 0),
				"gate":     expression("whether the channel's gate is high, a bool", "boolean"),
				"cv":       number("what the channel's CV is, in volts", -rule.MaxVolts, rule.MaxVolts, 0),
				"osc": object{
					"type": "object", "additionalProperties": false, "required": []string{"address"}, "description": "an OSC message",
					"properties": object{
						"address": expression("where to, as it is where it begins with a slash, a string"),
						"args":    object{"type": []string{"array", "null"}, "maxItems": rule.MaxArgs, "items": expression("an argument: int, double, bool or string", "number", "boolean")},
						"to":      object{"type": "string", "minLength": 1, "maxLength": rule.MaxSource, "description": "who gets it, host:port; behind a = stands a CEL expression; everyone who listens where it is left out"},
					},
				},
			},
		},
	}
}
