package rule

import (
	"fmt"
	"reflect"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/interpreter"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// variable numbers the variables of rules, in the order of ruleVariables.
type variable int

const (
	varKind variable = iota
	varNamespace
	varName
	varUID
	varOwner
	varReplica
	varField
	varOld
	varNew
	varQuiet
	varRevision
	varTime
	varSlot
	varPods
	varReadyPods
	varReplicas
	varReady
	varDeleting
	varPhase
	varReason
	varNode
	varRestarts
	varLoad
	varMemory
	varPlace
	varCount
	varSince
	varPitch
	numVariables
)

// ruleVariables are what when and note may use; the others may use pitch as
// well.
var ruleVariables = []Variable{
	{"kind", "string", "kind of the object: pod, deployment, node, service, …"},
	{"namespace", "string", "namespace of the object, empty for a node"},
	{"name", "string", "name of the object"},
	{"uid", "string", "what tells the object from its successor of the same name"},
	{"owner", "string", "of a pod: its Deployment"},
	{"replica", "string", "of a pod: the hash of its pod template, which tells a rollout's old pods from its new ones"},
	{"field", "string", "what changed, such as ready or phase"},
	{"old", "string", "what it was before; empty is not there"},
	{"new", "string", "what it is now; empty is not there"},
	{"quiet", "bool", "whether a first list or a relist brought it: nothing happened just now"},
	{"revision", "int", "revision of the store at the change, 0 where there is none"},
	{"time", "timestamp", "when it arrived; in a script or take counted from 1970-01-01T00:00:00Z"},
	{"slot", "int", "of a pod, and of a service's served that of the pod which answered: its place among the living pods of its owner, from 0, the lowest that was free when it came; it keeps it for life, even where the panels close up after a rollout, and −1 is none"},
	{"pods", "int", "living pods of the same owner, or of the Deployment itself"},
	{"readyPods", "int", "how many of those are ready"},
	{"replicas", "int", "how many pods the Deployment asks for"},
	{"ready", "bool", "whether the object is ready"},
	{"deleting", "bool", "whether the object is being deleted"},
	{"phase", "string", "of a pod: Pending, Running, Succeeded, Failed or Unknown"},
	{"reason", "string", "why the object is not well, such as CrashLoopBackOff"},
	{"node", "string", "of a pod, and of a service's served that of the pod which answered: its node; of a node: its own name"},
	{"restarts", "int", "of a pod: how often its containers started again"},
	{"load", "double", "CPU in use: of a pod or node in millicores, of an hpa over its target"},
	{"memory", "double", "memory in use of a pod or node, in MiB"},
	{"place", "double", "where the node stands from left to right in the order of their names, −1…1"},
	{"count", "int", "how often this rule has fired before"},
	{"since", "double", "seconds since this rule last fired, at most 3600, and 3600 where it has not yet"},
}

var pitchVariable = Variable{"pitch", "double", "the note that this rule now plays, 60 where it plays none; when and note do not have it"}

// Variables returns the variables of a rule's expressions, in the order of the
// package's comment. The last, pitch, is not there for when and note.
func Variables() []Variable {
	return append(ruleVariables[:len(ruleVariables):len(ruleVariables)], pitchVariable)
}

var variableNumber = func() map[string]variable {
	m := map[string]variable{}
	for i, v := range Variables() {
		m[v.Name] = variable(i)
	}
	return m
}()

// longest is what since counts to, in seconds.
const longest = 3600

// scope is what one evaluation can see: a transition, its object, and the rule
// itself. Values are made when they are asked for.
type scope struct {
	cluster    *cluster
	transition *mapping.Transition
	object     *object
	rule       *rule
	pitch      float64

	have   uint64 // one bit for each value that is made
	values [numVariables]ref.Val
}

// rulesOwn are the values that differ from rule to rule.
const rulesOwn = 1<<varCount | 1<<varSince | 1<<varPitch

// ResolveName implements cel.Activation.
func (s *scope) ResolveName(name string) (any, bool) {
	v, ok := variableNumber[name]
	if !ok {
		if name == scopeName {
			return s, true
		}
		return nil, false
	}
	if s.have>>v&1 == 0 {
		s.values[v] = s.value(v)
		s.have |= 1 << v
	}
	return s.values[v], true
}

// Parent implements cel.Activation.
func (s *scope) Parent() cel.Activation { return nil }

var _ interpreter.Activation = (*scope)(nil)

func word(s string) ref.Val { return types.String(cut(s)) }

func (s *scope) value(v variable) ref.Val {
	t, o := s.transition, s.object
	switch v {
	case varKind:
		return word(t.Object.Kind)
	case varNamespace:
		return word(t.Object.Namespace)
	case varName:
		return word(t.Object.Name)
	case varUID:
		return word(t.Object.UID)
	case varOwner:
		return word(t.Owner)
	case varReplica:
		return word(t.Replica)
	case varField:
		return word(t.Field)
	case varOld:
		return word(t.Old)
	case varNew:
		return word(t.New)
	case varQuiet:
		return types.Bool(t.Quiet)
	case varRevision:
		return types.Int(t.Revision)
	case varTime:
		return types.Timestamp{Time: t.Time.UTC()}
	case varSlot:
		return types.Int(s.pod().last)
	case varPods:
		pods, _ := s.group()
		return types.Int(pods)
	case varReadyPods:
		_, ready := s.group()
		return types.Int(ready)
	case varReplicas:
		return types.Int(s.replicas())
	case varReady:
		return types.Bool(o.value(mapping.FieldReady) == "true")
	case varDeleting:
		return types.Bool(o.value(mapping.FieldDeleting) == "true")
	case varPhase:
		return word(o.value(mapping.FieldPhase))
	case varReason:
		return word(o.value(mapping.FieldReason))
	case varNode:
		return word(s.node())
	case varRestarts:
		return types.Int(o.count(mapping.FieldRestarts))
	case varLoad:
		return types.Double(o.number(mapping.FieldLoad))
	case varMemory:
		return types.Double(o.number(mapping.FieldMemory))
	case varPlace:
		return types.Double(s.cluster.place(s.node()))
	case varCount:
		return types.Int(s.rule.count)
	case varSince:
		return types.Double(s.since())
	}
	return types.Double(s.pitch)
}

// group counts the pods of the owner.
func (s *scope) group() (pods, ready int) {
	g := s.object.group
	if g == nil && s.object.kind == mapping.KindDeployment {
		g = s.cluster.groups[groupKey(s.transition.Object.Namespace, s.object.name)]
	}
	if g == nil {
		return 0, 0
	}
	return g.pods, g.ready
}

func (s *scope) replicas() int64 {
	o := s.object
	if o.kind == mapping.KindPod {
		o = s.cluster.objects[keyOf(mapping.Object{Kind: mapping.KindDeployment, Namespace: s.transition.Object.Namespace, Name: s.transition.Owner})]
	}
	if o == nil {
		return 0
	}
	return o.count(mapping.FieldReplicas)
}

func (s *scope) node() string {
	if s.object.kind == mapping.KindNode {
		return s.object.name
	}
	return s.pod().value(mapping.FieldNode)
}

// pod returns the pod that the transition speaks of, or the object itself.
func (s *scope) pod() *object {
	t := s.transition
	if t.Object.Kind == mapping.KindService && t.Field == mapping.FieldServed {
		if p := s.cluster.pods[t.Object.Namespace+"/"+t.New]; p != nil {
			return p
		}
	}
	return s.object
}

func (s *scope) since() float64 {
	if s.rule.count == 0 {
		return longest
	}
	return min(max(s.transition.Time.Sub(s.rule.last).Seconds(), 0), longest)
}

// The rest makes scope a value of CEL, which only functions of ours ever see.

// ConvertToNative implements ref.Val.
func (s *scope) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a rule is not a %v", t)
}

// ConvertToType implements ref.Val.
func (s *scope) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("a rule is not a %s", t.TypeName())
}

// Equal implements ref.Val.
func (s *scope) Equal(o ref.Val) ref.Val { return types.Bool(o == ref.Val(s)) }

// Type implements ref.Val.
func (s *scope) Type() ref.Type { return scopeType }

// Value implements ref.Val.
func (s *scope) Value() any { return s }
