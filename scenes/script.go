package scenes

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// ScriptVersion is the latest version of scripts that this program reads.
const ScriptVersion = 1

// Ends of what a script may ask for.
const (
	maxPods  = 200    // of one Deployment
	maxNodes = 64     // among which a converge spreads its pods
	maxSteps = 500000 // of one script
)

// form is how a field's value is written.
type form uint8

const (
	formTruth   form = iota // true or false
	formFlag                // true, or not there
	formWord                // any text
	formWhole               // a whole number, not negative
	formSeconds             // a time
	formPhase               // a pod's phase
	formStage               // a boot stage
	formShare               // a number, not negative
	formMoment              // a time of the piece, in seconds
	formAnswer              // any text: an answer, not a state; it may be told again
	formTaken               // a time, of the answer that is told with it
)

var phases = []string{"Pending", "Running", "Succeeded", "Failed", "Unknown"}

// field is one field of a kind. Initial is what it is from the moment the
// object exists, as the API would have it.
type field struct {
	name    string
	form    form
	initial string
}

// kind says what a script may tell of one kind of object. One event sets its
// fields in this order: causes before effects.
type kind struct {
	name   string
	fields []field
	// object is the name of the only one of its kind; else scripts name them.
	object string
	// begin lists fields of which the first event of a new object has one, so
	// that a slip of the pen does not make an object.
	begin []string
}

// scriptKinds is what scripts may speak of.
var scriptKinds = []kind{
	{name: mapping.KindPod, begin: []string{mapping.FieldPhase, "owner", mapping.FieldExists}, fields: []field{
		{mapping.FieldExists, formTruth, "true"},
		{mapping.FieldReason, formWord, ""},
		{mapping.FieldRestarts, formWhole, "0"},
		{mapping.FieldPhase, formPhase, "Pending"},
		{mapping.FieldNode, formWord, ""},
		{mapping.FieldReady, formTruth, "false"},
		{mapping.FieldLoad, formWhole, ""},
		{mapping.FieldMemory, formWhole, ""},
		{mapping.FieldDeleting, formFlag, ""},
	}},
	{name: mapping.KindDeployment, begin: []string{mapping.FieldReplicas, "converge", mapping.FieldExists}, fields: []field{
		{mapping.FieldExists, formTruth, "true"},
		{mapping.FieldGen, formWhole, "1"},
		{mapping.FieldReplicas, formWhole, "1"},
		{mapping.FieldObserved, formWhole, "0"},
		{mapping.FieldUpdated, formWhole, "0"},
		{mapping.FieldReadyPods, formWhole, "0"},
		{mapping.FieldReason, formWord, ""},
		{mapping.FieldDeleting, formFlag, ""},
	}},
	{name: mapping.KindNode, begin: []string{mapping.FieldReady, mapping.FieldExists}, fields: []field{
		{mapping.FieldExists, formTruth, "true"},
		{mapping.FieldReady, formTruth, "false"},
		{mapping.FieldCordoned, formTruth, "false"},
		{mapping.FieldPressure, formTruth, "false"},
		{mapping.FieldCapacity, formWhole, ""},
		{mapping.FieldLoad, formWhole, ""},
		{mapping.FieldMemory, formWhole, ""},
		{mapping.FieldDeleting, formFlag, ""},
	}},
	{name: mapping.KindService, begin: []string{mapping.FieldEndpoints, mapping.FieldExists}, fields: []field{
		{mapping.FieldExists, formTruth, "true"},
		{mapping.FieldEndpoints, formWord, ""},
		{mapping.FieldLatency, formTaken, ""},
		{mapping.FieldMissed, formAnswer, ""},
		{mapping.FieldServed, formAnswer, ""},
		{mapping.FieldDeleting, formFlag, ""},
	}},
	{name: mapping.KindIngress, begin: []string{mapping.FieldRoutes, mapping.FieldExists}, fields: []field{
		{mapping.FieldExists, formTruth, "true"},
		{mapping.FieldRoutes, formWord, ""},
		{mapping.FieldNotFound, formAnswer, ""},
		{mapping.FieldRoute, formAnswer, ""},
		{mapping.FieldLatency, formTaken, ""},
		{mapping.FieldMissed, formAnswer, ""},
		{mapping.FieldDeleting, formFlag, ""},
	}},
	{name: mapping.KindHPA, begin: []string{mapping.FieldDesired, mapping.FieldCurrent, mapping.FieldExists}, fields: []field{
		{mapping.FieldExists, formTruth, "true"},
		{mapping.FieldGen, formWhole, ""},
		{mapping.FieldLoad, formShare, ""},
		{mapping.FieldDesired, formWhole, "0"},
		{mapping.FieldCurrent, formWhole, "0"},
		{mapping.FieldLimited, formTruth, "false"},
		{mapping.FieldObserved, formWhole, ""},
		{mapping.FieldDeleting, formFlag, ""},
	}},
	{name: mapping.KindCronJob, begin: []string{mapping.FieldTick, mapping.FieldNext, mapping.FieldExists}, fields: []field{
		{mapping.FieldExists, formTruth, "true"},
		{mapping.FieldTick, formMoment, ""},
		{mapping.FieldActive, formWhole, "0"},
		{mapping.FieldNext, formMoment, ""},
		{mapping.FieldDeleting, formFlag, ""},
	}},
	{name: mapping.KindJob, begin: []string{mapping.FieldActive, "owner", mapping.FieldExists}, fields: []field{
		{mapping.FieldExists, formTruth, "true"},
		{mapping.FieldActive, formWhole, "0"},
		{mapping.FieldSucceeded, formWhole, "0"},
		{mapping.FieldFailed, formWhole, "0"},
		{mapping.FieldComplete, formWord, ""},
		{mapping.FieldDeleting, formFlag, ""},
	}},
	{name: mapping.KindNamespace, begin: []string{mapping.FieldHeadroom, mapping.FieldExists}, fields: []field{
		{mapping.FieldExists, formTruth, "true"},
		{mapping.FieldHeadroom, formShare, ""},
		{mapping.FieldDeleting, formFlag, ""},
	}},
	{name: mapping.KindComposition, fields: []field{
		{mapping.FieldExists, formTruth, "true"},
		{mapping.FieldSynthesis, formWord, ""},
		{mapping.FieldReason, formWord, ""},
		{mapping.FieldLatency, formSeconds, ""},
		{mapping.FieldReady, formTruth, "false"},
		{mapping.FieldDeleting, formFlag, ""},
	}},
	{name: mapping.KindEtcd, object: mapping.KindEtcd, fields: []field{
		{mapping.FieldRevision, formWhole, ""},
		{mapping.FieldLatency, formSeconds, ""},
	}},
	{name: mapping.KindAPIServer, object: mapping.KindAPIServer, fields: []field{
		{mapping.FieldReachable, formTruth, ""},
		{mapping.FieldSynced, formTruth, ""},
	}},
}

var bootKind = kind{name: mapping.KindCluster, object: mapping.KindCluster, fields: []field{{mapping.FieldBoot, formStage, ""}}}

// scriptFields are the fields of a script file.
var scriptFields = []string{"version", "title", "about", "namespace", "events"}

// event is one line of a script.
type event struct {
	node    *yaml.Node
	at      time.Duration
	kind    *kind
	name    string
	owner   string
	replica string
	quiet   bool
	gives   map[string]bool   // keys that the event has
	sets    map[string]string // fields and their new values
	param   *ParamChange
	grow    *convergence
	beat    *heartbeat
}

// convergence is how long the steps of pods take, in seconds.
type convergence struct {
	start, ready, stop, stagger float64
	nodes                       int
}

// heartbeat is a row of writes to the store.
type heartbeat struct {
	every, until, latency float64
}

func parseScript(file string, data []byte) (*Script, error) {
	d := newReader(file, "script", ScriptVersion)
	_, root := d.Root(data)
	if root == nil {
		return nil, d.Err()
	}
	s := &Script{Title: bareName(filepath.Base(file))}
	namespace := DefaultNamespace
	var events []event
	for _, e := range d.Fields(root, "a script", scriptFields) {
		switch e.Name {
		case "title", "about":
			if t, ok := d.Text(e); ok {
				t = strings.TrimRight(t, "\n")
				if err := checkProse(e.Name, t, maxAbout, e.Name == "about"); err != nil {
					d.Node(e.Value, "%w", err)
				}
				if e.Name == "title" {
					s.Title = t
				} else {
					s.About = t
				}
			}
		case "namespace":
			if t, ok := d.Text(e); ok {
				if err := checkName("namespace", t); err != nil {
					d.Node(e.Value, "%w", err)
				}
				namespace = t
			}
		case "events":
			for _, n := range d.List(e, 0) {
				if ev, ok := d.event(n); ok {
					events = append(events, ev)
				}
			}
		}
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	s.Steps = perform(&d.Mistakes, namespace, events)
	if err := d.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// event reads one event.
func (d *reader) event(n *yaml.Node) (event, bool) {
	ev := event{node: n, gives: map[string]bool{}, sets: map[string]string{}}
	before := d.Count()
	entries := d.Entries(n, "an event")
	if n.Kind != yaml.MappingNode {
		return ev, false
	}
	if e, ok := document.Find(entries, "at"); !ok {
		d.Node(n, "the event has no time; expected at: seconds since the beginning")
	} else if v, ok := d.Number(e, 0, MaxLength.Seconds(), "seconds"); ok {
		ev.at = seconds(v)
	}
	// The subject is the first key that names one. A pod's event may also have
	// a node: where the pod runs.
	subjects := []string{"pod", "deployment", "service", "ingress", "hpa", "cronjob", "job", "namespace", "param", "boot", "composition", "etcd", "apiserver", "node"}
	var subject document.Entry
	for _, name := range subjects {
		if e, ok := document.Find(entries, name); ok {
			subject = e
			break
		}
	}
	if subject.Name == "" {
		d.Node(n, "the event is about nothing; expected one of %s%s", strings.Join(subjects, ", "), nearAny(entries, subjects))
		return ev, false
	}
	known := []string{"at", subject.Name}
	switch subject.Name {
	case "param":
		ev.param = &ParamChange{}
		known = append(known, "value")
	case "boot":
		ev.kind = &bootKind
	default:
		ev.kind = &scriptKinds[slices.IndexFunc(scriptKinds, func(k kind) bool { return k.name == subject.Name })]
		for _, f := range ev.kind.fields {
			known = append(known, f.name)
		}
		switch ev.kind.name {
		case mapping.KindPod:
			known = append(known, "owner", "replica")
		case mapping.KindJob:
			known = append(known, "owner")
		case mapping.KindDeployment:
			known = append(known, "converge")
		case mapping.KindEtcd:
			known = append(known, "heartbeat")
		}
		known = append(known, "quiet")
	}
	for _, e := range entries {
		key := e.Name
		if !slices.Contains(known, key) {
			d.Unknown(e.Key, "key", "an event of "+subject.Name, known)
			continue
		}
		ev.gives[key] = true
		switch {
		case key == "at", key == "value":
		case key == "boot":
			ev.name = mapping.KindCluster
			if v, ok := d.fieldValue(e, field{name: key, form: formStage}); ok {
				ev.sets[mapping.FieldBoot] = v
			}
		case key == "param":
			d.paramEvent(&ev, e, entries)
		case key == subject.Name:
			if t, ok := d.Text(e); ok {
				if t == "" {
					d.Node(e.Value, "%s has no name", key)
				}
				ev.name = t
				if ev.kind.object != "" {
					// There is one store and one API; modules may call theirs as they like.
					ev.name = ev.kind.object
				}
			}
		case key == "owner":
			ev.owner, _ = d.Text(e)
		case key == "replica":
			ev.replica, _ = d.Text(e)
		case key == "quiet":
			v, _ := d.fieldValue(e, field{name: key, form: formTruth})
			ev.quiet = v == "true"
		case key == "converge":
			ev.grow = d.convergence(e)
		case key == "heartbeat":
			ev.beat = d.heartbeat(e)
		default:
			f := ev.kind.fields[slices.IndexFunc(ev.kind.fields, func(f field) bool { return f.name == key })]
			if v, ok := d.fieldValue(e, f); ok {
				ev.sets[key] = v
			}
		}
	}
	if ev.sets[mapping.FieldExists] == "" && ev.gives[mapping.FieldExists] && len(ev.sets) > 1 {
		d.Node(n, "what does not exist has no other fields; leave exists: false alone")
	}
	if ev.grow != nil {
		for key := range ev.sets {
			if key != mapping.FieldReplicas {
				d.Node(n, "converge tells %s by itself; only replicas stands beside it", key)
			}
		}
		if r, err := strconv.Atoi(ev.sets[mapping.FieldReplicas]); err == nil && r > maxPods {
			d.Node(n, "converge makes at most %d pods, replicas is %d", maxPods, r)
		}
	}
	if ev.beat != nil && len(ev.sets) > 0 {
		d.Node(n, "heartbeat tells revision and latency by itself; leave them out, or give latency in the heartbeat")
	}
	return ev, d.Count() == before
}

// nearAny proposes a subject for the key of an event that has none.
func nearAny(entries []document.Entry, subjects []string) string {
	for _, e := range entries {
		if s := document.Near(e.Name, subjects); s != "" && e.Name != "at" {
			return s
		}
	}
	return ""
}

// fieldValue reads the value of a field in the stream's words.
func (d *reader) fieldValue(e document.Entry, f field) (string, bool) {
	n := e.Value
	bad := func(expected string) (string, bool) {
		d.Node(n, "%s is %s, this is %s", f.name, expected, document.Describe(n))
		return "", false
	}
	choice := func(words []string) (string, bool) {
		if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && slices.Contains(words, n.Value) {
			return n.Value, true
		}
		d.Node(n, "%s is one of %s, this is %s%s", f.name, strings.Join(words, ", "), document.Describe(n), document.Near(n.Value, words))
		return "", false
	}
	switch f.form {
	case formTruth, formFlag:
		var v bool
		if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Decode(&v) != nil {
			return bad("true or false")
		}
		if !v && (f.form == formFlag || f.name == mapping.FieldExists) {
			return "", true
		}
		return strconv.FormatBool(v), true
	case formWhole:
		var v int64
		if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Decode(&v) != nil || v < 0 {
			return bad("a whole number from 0")
		}
		return strconv.FormatInt(v, 10), true
	case formSeconds, formTaken:
		v, ok := d.Number(e, 0, MaxLength.Seconds(), "seconds")
		return strconv.FormatFloat(math.Round(v*1e6)/1e6, 'f', -1, 64), ok
	case formShare:
		v, ok := d.Number(e, 0, 1000, "")
		return strconv.FormatFloat(v, 'f', -1, 64), ok
	case formMoment:
		v, ok := d.Number(e, 0, MaxLength.Seconds(), "seconds")
		return epoch.Add(seconds(v)).Format(time.RFC3339Nano), ok
	case formPhase:
		return choice(phases)
	case formStage:
		return choice(mapping.BootStages)
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return bad("a text")
	}
	if f.form == formAnswer && n.Value == "" {
		return bad("a text that says something")
	}
	return n.Value, true
}

// paramEvent reads what a hand does.
func (d *reader) paramEvent(ev *event, e document.Entry, entries []document.Entry) {
	text, ok := d.Text(e)
	if !ok {
		return
	}
	a := mapping.Address("/" + strings.TrimPrefix(text, "/"))
	id, name, err := a.Split()
	if err != nil {
		d.Node(e.Value, "%s is not a param; expected kind/name/param, such as deployment/web/replicas", document.Describe(e.Value))
		return
	}
	ev.param.Address = a
	spec := instrument.Spec(id.Kind())
	if spec == nil {
		d.Node(e.Value, "unknown module %q; expected one of %s%s", id.Kind(), strings.Join(kinds(), ", "), document.Near(id.Kind(), kinds()))
		return
	}
	i := spec.Param(name)
	if i < 0 {
		names := paramNames(spec)
		d.Node(e.Value, "%s has no param %q; expected one of %s%s", spec.Kind, name, strings.Join(names, ", "), document.Near(name, names))
		return
	}
	v, ok := document.Find(entries, "value")
	if !ok {
		d.Node(ev.node, "the event has no value; expected value: %s", spec.Params[i].Range())
		return
	}
	m := instrument.Module{ID: id, Params: map[string]float64{}, Text: map[string]string{}}
	if !d.position(&m, name, v.Value) {
		return
	}
	// The patch knows what a param takes; this one has a single module.
	if err := (&instrument.Patch{Modules: []instrument.Module{m}}).Validate(); err != nil {
		for _, err := range unjoin(err) {
			if pe, ok := err.(*instrument.PatchError); ok && strings.Contains(pe.Path, ".params.") {
				d.Node(v.Value, "%w", pe.Err)
			} else if ok {
				d.Node(e.Value, "%w", pe.Err)
			}
		}
		return
	}
	ev.param.Value, ev.param.Word = m.Params[name], m.Text[name]
}

func (d *reader) convergence(e document.Entry) *convergence {
	c := &convergence{start: 0.6, ready: 0.9, stop: 0.4, stagger: 0.15, nodes: 3}
	if document.IsNull(e.Value) {
		return c
	}
	for _, f := range d.Fields(e.Value, "converge", []string{"start", "ready", "stop", "stagger", "nodes"}) {
		to := &c.start
		switch f.Name {
		case "ready":
			to = &c.ready
		case "stop":
			to = &c.stop
		case "stagger":
			to = &c.stagger
		case "nodes":
			if v, ok := d.Whole(f, 1, maxNodes); ok {
				c.nodes = v
			}
			continue
		}
		if v, ok := d.Number(f, 0, 3600, "seconds"); ok {
			*to = v
		}
	}
	return c
}

func (d *reader) heartbeat(e document.Entry) *heartbeat {
	h := &heartbeat{every: 1, latency: 0.004}
	entries := d.Fields(e.Value, "heartbeat", []string{"every", "until", "latency"})
	for _, f := range entries {
		switch f.Name {
		case "every":
			if v, ok := d.Number(f, 0.02, 3600, "seconds"); ok {
				h.every = v
			}
		case "until":
			h.until, _ = d.Number(f, 0, MaxLength.Seconds(), "seconds")
		case "latency":
			if v, ok := d.Number(f, 0, 60, "seconds"); ok {
				h.latency = v
			}
		}
	}
	if _, ok := document.Find(entries, "until"); !ok && e.Value.Kind == yaml.MappingNode {
		d.Node(e.Value, "heartbeat has no end; expected until: seconds since the beginning")
	}
	return h
}

// seconds turns a script's time into a Duration, to the microsecond.
func seconds(s float64) time.Duration {
	return time.Duration(math.Round(s*1e6)) * time.Microsecond
}

// What a convergence takes beside what the script sets, as measured roughly
// on a small real cluster.
const (
	observeDelay  = 20 * time.Millisecond // until a controller has seen a new spec
	createDelay   = 50 * time.Millisecond // until the first pod is there
	scheduleDelay = 30 * time.Millisecond // from there until a pod has its node
)

// performance plays a script: it keeps the state that old values come from,
// and the queue of what is still to happen.
type performance struct {
	*document.Mistakes
	namespace string
	steps     []Step
	now       time.Duration
	at        *yaml.Node // the event that is played
	queue     jobs
	seq       int
	revision  int64
	objects   map[string]*object   // by kind/name
	lives     map[string]int       // of each kind/name, how often it came to be
	pods      map[string][]*object // by owner, in the order of their coming
	managed   map[string]bool      // Deployments whose counts follow their pods
	stopped   bool
}

type object struct {
	kind   *kind
	of     mapping.Object
	owner  string
	rs     string
	fields map[string]string
}

func (o *object) is(field, value string) bool { return o.fields[field] == value }

// stays tells whether a pod counts: it lives and is not asked to go.
func (o *object) stays() bool {
	return o.is(mapping.FieldExists, "true") && !o.is(mapping.FieldDeleting, "true") && o.lives()
}

func (o *object) lives() bool {
	return !o.is(mapping.FieldPhase, "Failed") && !o.is(mapping.FieldPhase, "Succeeded")
}

type job struct {
	at   time.Duration
	seq  int
	node *yaml.Node
	do   func()
}

type jobs []job

func (q jobs) Len() int      { return len(q) }
func (q jobs) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q jobs) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(q[i].at, q[j].at), cmp.Compare(q[i].seq, q[j].seq)) < 0
}
func (q *jobs) Push(x any) { *q = append(*q, x.(job)) }
func (q *jobs) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

// perform plays events in the order of their time and returns every step.
func perform(p *document.Mistakes, namespace string, events []event) []Step {
	f := &performance{Mistakes: p, namespace: namespace, objects: map[string]*object{}, lives: map[string]int{},
		pods: map[string][]*object{}, managed: map[string]bool{}}
	for i := range events {
		ev := &events[i]
		f.at = ev.node
		f.later(ev.at, func() { f.play(ev) })
	}
	for len(f.queue) > 0 && !f.stopped {
		j := heap.Pop(&f.queue).(job)
		f.now, f.at = j.at, j.node
		j.do()
	}
	return f.steps
}

// later queues something for a time.
func (f *performance) later(at time.Duration, do func()) {
	if at > MaxLength {
		f.At(f.at.Line, f.at.Column, "this goes on after %s, the most that a script may last", MaxLength)
		f.stopped = true
		return
	}
	f.seq++
	heap.Push(&f.queue, job{at, f.seq, f.at, do})
}

func (f *performance) wrong(format string, a ...any) {
	f.At(f.at.Line, f.at.Column, format, a...)
}

func (f *performance) step(s Step) {
	if len(f.steps) >= maxSteps {
		if !f.stopped {
			f.wrong("this makes more than %d steps, the most that a script may have", maxSteps)
		}
		f.stopped = true
		return
	}
	s.At = f.now
	f.steps = append(f.steps, s)
}

// play does what one event says.
func (f *performance) play(ev *event) {
	switch {
	case ev.param != nil:
		c := *ev.param
		f.step(Step{Param: &c})
		return
	case ev.beat != nil:
		f.beat(ev, ev.beat, ev.at)
		return
	case ev.grow != nil:
		f.converge(ev)
		return
	}
	key := ev.kind.name + "/" + ev.name
	o := f.objects[key]
	if ev.gives[mapping.FieldExists] && ev.sets[mapping.FieldExists] == "" {
		if o == nil {
			f.wrong("there is no %s %q at %s that could go%s", ev.kind.name, document.Clip(ev.name), f.now, f.nearObject(ev))
			return
		}
		f.remove(o, ev.quiet)
		return
	}
	if o == nil {
		if len(ev.kind.begin) > 0 && !slices.ContainsFunc(ev.kind.begin, func(k string) bool { return ev.gives[k] }) {
			f.wrong("there is no %s %q at %s; its first event has one of %s%s", ev.kind.name, document.Clip(ev.name), f.now, strings.Join(ev.kind.begin, ", "), f.nearObject(ev))
			return
		}
		o = f.add(ev.kind, ev.name, ev.owner, ev.replica, ev.sets, ev.quiet)
		f.follow(o)
		return
	}
	if ev.owner != "" && ev.owner != o.owner {
		f.wrong("%s belongs to %q; a %s keeps its owner for life", o.of, o.owner, o.kind.name)
		return
	}
	f.change(o, ev.sets, ev.quiet)
}

func (f *performance) nearObject(ev *event) string {
	var names []string
	for _, o := range f.objects {
		if o.kind == ev.kind {
			names = append(names, o.of.Name)
		}
	}
	slices.Sort(names)
	return document.Near(ev.name, names)
}

// add makes an object, with the fields that it has from the start.
func (f *performance) add(k *kind, name, owner, rs string, sets map[string]string, quiet bool) *object {
	key := k.name + "/" + name
	o := &object{kind: k, of: mapping.Object{Kind: k.name, Name: name}, owner: owner, rs: rs, fields: map[string]string{}}
	if k.object == "" {
		f.lives[key]++
		o.of.UID = fmt.Sprintf("%s-%s-%d", k.name, name, f.lives[key])
		switch k.name {
		case mapping.KindNode:
		case mapping.KindNamespace:
			o.of.UID = "" // told by its quotas too, which do not know it
		default:
			o.of.Namespace = f.namespace
		}
	}
	if owner != "" && k.name == mapping.KindPod {
		if o.rs == "" {
			o.rs = "1"
		}
		f.pods[owner] = append(f.pods[owner], o)
	}
	f.objects[key] = o
	all := map[string]string{}
	for _, fd := range k.fields {
		if fd.initial != "" {
			all[fd.name] = fd.initial
		}
	}
	for name, v := range sets {
		all[name] = v
	}
	f.write(o, all, quiet)
	return o
}

// change sets fields of an object, and what follows from them.
func (f *performance) change(o *object, sets map[string]string, quiet bool) {
	all := map[string]string{}
	for name, v := range sets {
		all[name] = v
	}
	switch o.kind.name {
	case mapping.KindDeployment:
		_, given := all[mapping.FieldGen]
		if r, ok := all[mapping.FieldReplicas]; ok && !given && !o.is(mapping.FieldReplicas, r) {
			// A new spec is a new generation, as the API counts.
			n, _ := strconv.ParseInt(o.fields[mapping.FieldGen], 10, 64)
			all[mapping.FieldGen] = strconv.FormatInt(n+1, 10)
		}
	case mapping.KindPod:
		if p := all[mapping.FieldPhase]; p == "Failed" || p == "Succeeded" {
			if _, given := all[mapping.FieldReady]; !given {
				all[mapping.FieldReady] = "false"
			}
		}
	}
	f.write(o, all, quiet)
	f.follow(o)
}

// write tells the fields that change, in the order of the kind.
func (f *performance) write(o *object, sets map[string]string, quiet bool) {
	revision := int64(0)
	for _, fd := range o.kind.fields {
		v, ok := sets[fd.name]
		if ok && (fd.form == formAnswer || fd.form == formTaken) {
			// What happened, not what is: it is no write to the store.
			f.tell(o, fd.name, v, 0, quiet)
			delete(o.fields, fd.name)
			continue
		}
		if !ok || o.fields[fd.name] == v {
			continue
		}
		if revision == 0 {
			switch o.kind.name {
			case mapping.KindEtcd:
				if r, err := strconv.ParseInt(sets[mapping.FieldRevision], 10, 64); err == nil {
					f.revision = r
				}
			case mapping.KindAPIServer, mapping.KindCluster:
				// Not a write to the store.
			default:
				f.revision++
			}
			revision = f.revision
		}
		f.tell(o, fd.name, v, revision, quiet)
	}
}

func (f *performance) tell(o *object, field, value string, revision int64, quiet bool) {
	t := &mapping.Transition{Time: epoch.Add(f.now), Revision: revision, Object: o.of, Owner: o.owner, Replica: o.rs,
		Field: field, Old: o.fields[field], New: value, Quiet: quiet}
	o.fields[field] = value
	f.step(Step{Transition: t})
}

// remove tells that an object is gone; its other fields are gone with it.
func (f *performance) remove(o *object, quiet bool) {
	f.revision++
	f.tell(o, mapping.FieldExists, "", f.revision, quiet)
	o.fields = map[string]string{}
	delete(f.objects, o.of.String())
	if o.owner != "" && o.kind.name == mapping.KindPod {
		f.pods[o.owner] = slices.DeleteFunc(f.pods[o.owner], func(p *object) bool { return p == o })
	}
	f.follow(o)
}

// follow counts the pods of a managed Deployment after one of them changed.
func (f *performance) follow(o *object) {
	d := f.objects[mapping.KindDeployment+"/"+o.owner]
	if o.kind.name != mapping.KindPod || d == nil || !f.managed[o.owner] {
		return
	}
	updated, ready := 0, 0
	for _, p := range f.pods[o.owner] {
		if p.stays() {
			updated++
			if p.is(mapping.FieldReady, "true") && p.is(mapping.FieldPhase, "Running") {
				ready++
			}
		}
	}
	f.write(d, map[string]string{mapping.FieldUpdated: strconv.Itoa(updated), mapping.FieldReadyPods: strconv.Itoa(ready)}, false)
}

// beat writes to the store once and queues the next beat. There is none while
// the API does not answer.
func (f *performance) beat(ev *event, h *heartbeat, at time.Duration) {
	if api := f.objects[mapping.KindAPIServer+"/"+mapping.KindAPIServer]; api == nil || !api.is(mapping.FieldReachable, "false") {
		o := f.objects[mapping.KindEtcd+"/"+mapping.KindEtcd]
		sets := map[string]string{mapping.FieldRevision: strconv.FormatInt(f.revision+1, 10), mapping.FieldLatency: strconv.FormatFloat(h.latency, 'f', -1, 64)}
		if o == nil {
			f.add(ev.kind, ev.name, "", "", sets, ev.quiet)
		} else {
			f.change(o, sets, ev.quiet)
		}
	}
	if next := at + seconds(h.every); next <= seconds(h.until) {
		f.later(next, func() { f.beat(ev, h, next) })
	}
}

// converge brings a Deployment to its replicas, pod by pod, as the API's
// controllers would: dead pods are replaced, missing ones made, surplus ones
// deleted from the last.
func (f *performance) converge(ev *event) {
	c := ev.grow
	d := f.objects[mapping.KindDeployment+"/"+ev.name]
	sets := map[string]string{}
	if r, ok := ev.sets[mapping.FieldReplicas]; ok {
		sets[mapping.FieldReplicas] = r
	}
	switch {
	case d == nil && len(sets) == 0:
		f.wrong("there is no deployment %q at %s; expected replicas beside converge%s", document.Clip(ev.name), f.now, f.nearObject(ev))
		return
	case d == nil:
		d = f.add(ev.kind, ev.name, "", "", sets, ev.quiet)
	default:
		f.change(d, sets, ev.quiet)
	}
	f.managed[ev.name] = true
	want, err := strconv.Atoi(d.fields[mapping.FieldReplicas])
	if err != nil || want > maxPods {
		f.wrong("converge makes at most %d pods, replicas is %s", maxPods, d.fields[mapping.FieldReplicas])
		return
	}
	for i := range c.nodes {
		name := nodeName(i)
		if f.objects[mapping.KindNode+"/"+name] == nil {
			f.add(kindOf(mapping.KindNode), name, "", "", map[string]string{mapping.FieldReady: "true"}, ev.quiet)
		}
	}
	f.later(f.now+observeDelay, func() {
		if f.objects[d.of.String()] == d {
			f.write(d, map[string]string{mapping.FieldObserved: d.fields[mapping.FieldGen]}, false)
		}
	})
	var stay []*object
	k := 0
	next := func() time.Duration {
		k++
		return f.now + createDelay + time.Duration(k-1)*seconds(c.stagger)
	}
	taken := map[string]bool{}
	for _, p := range f.pods[ev.name] {
		taken[p.of.Name] = true
		switch {
		case p.stays():
			stay = append(stay, p)
		case !p.is(mapping.FieldDeleting, "true"):
			f.dismiss(p, f.now+createDelay, c)
		}
	}
	for i := len(stay) - 1; i >= want; i-- {
		f.dismiss(stay[i], next(), c)
	}
	for n, i := len(stay), 1; n < want; i++ {
		name := ev.name + "-" + strconv.Itoa(i)
		if taken[name] || f.objects[mapping.KindPod+"/"+name] != nil {
			continue
		}
		n++
		at := next()
		f.later(at, func() { f.create(d, name, c) })
	}
}

// create makes a pod of a Deployment and queues its life.
func (f *performance) create(d *object, name string, c *convergence) {
	// Another convergence may have been asked for since, or a hand was quicker.
	stay := 0
	for _, p := range f.pods[d.of.Name] {
		if p.stays() {
			stay++
		}
	}
	want, _ := strconv.Atoi(d.fields[mapping.FieldReplicas])
	if f.objects[d.of.String()] != d || stay >= want || f.objects[mapping.KindPod+"/"+name] != nil {
		return
	}
	p := f.add(kindOf(mapping.KindPod), name, d.of.Name, "", nil, false)
	f.follow(p)
	live := func(at time.Duration, do func()) {
		f.later(at, func() {
			if f.objects[p.of.String()] == p && p.stays() {
				do()
			}
		})
	}
	live(f.now+scheduleDelay, func() {
		node := f.freest(c.nodes)
		if node == "" {
			// It waits until a later event has something to say of it.
			f.change(p, map[string]string{mapping.FieldReason: "Unschedulable"}, false)
			return
		}
		f.change(p, map[string]string{mapping.FieldNode: node}, false)
		live(f.now+seconds(c.start), func() {
			f.change(p, map[string]string{mapping.FieldPhase: "Running"}, false)
			live(f.now+seconds(c.ready), func() {
				f.change(p, map[string]string{mapping.FieldReady: "true"}, false)
			})
		})
	})
}

// dismiss asks a pod to go at a time, and lets it.
func (f *performance) dismiss(p *object, at time.Duration, c *convergence) {
	f.later(at, func() {
		if f.objects[p.of.String()] == p {
			f.change(p, map[string]string{mapping.FieldDeleting: "true", mapping.FieldReady: "false"}, false)
		}
	})
	f.later(at+seconds(c.stop), func() {
		if f.objects[p.of.String()] == p {
			f.remove(p, false)
		}
	})
}

// freest returns the first of n nodes with the fewest pods that takes more,
// or nothing where none does.
func (f *performance) freest(n int) string {
	load := map[string]int{}
	for _, pods := range f.pods {
		for _, p := range pods {
			if p.stays() {
				load[p.fields[mapping.FieldNode]]++
			}
		}
	}
	best := ""
	for i := range n {
		name := nodeName(i)
		o := f.objects[mapping.KindNode+"/"+name]
		if o == nil || o.is(mapping.FieldCordoned, "true") || !o.is(mapping.FieldReady, "true") {
			continue
		}
		if best == "" || load[name] < load[best] {
			best = name
		}
	}
	return best
}

// nodeName is the name of the i-th node, from 0, as the embedded cluster
// calls its own.
func nodeName(i int) string { return "stage-" + strconv.Itoa(i+1) }

func kindOf(name string) *kind {
	return &scriptKinds[slices.IndexFunc(scriptKinds, func(k kind) bool { return k.name == name })]
}
