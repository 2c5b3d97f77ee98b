package mapping

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// StreamVersion is the version of the stream between the instrument and its
// neighbours. A reader refuses a stream of a later version.
const StreamVersion = 2

// Kinds of objects that a Transition can speak of. The lower-case kinds of
// Kubernetes objects are also the kinds of their modules.
const (
	KindPod         = "pod"
	KindDeployment  = "deployment"
	KindNode        = "node"
	KindService     = "service" // with its EndpointSlices, and the answers to requests
	KindIngress     = "ingress"
	KindHPA         = "hpa"
	KindCronJob     = "cronjob"
	KindJob         = "job"
	KindNamespace   = "namespace"   // with its ResourceQuotas
	KindComposition = "composition" // the Eno composition that turns the topology into objects
	KindEtcd        = "etcd"        // the store itself: revision and commit latency
	KindAPIServer   = "apiserver"   // whether the API answers, and how far the watches are
	KindCluster     = "cluster"     // the embedded control plane: its boot, stage by stage
)

// Fields that a Transition can speak of, with the form of their values. An
// empty value means "not there".
const (
	FieldExists    = "exists"     // any object: "true"
	FieldDeleting  = "deleting"   // any object: "true" once it has a deletion timestamp
	FieldNode      = "node"       // pod: name of its node
	FieldPhase     = "phase"      // pod: Pending, Running, Succeeded, Failed, Unknown
	FieldReady     = "ready"      // pod, node, composition: "true" or "false"
	FieldRestarts  = "restarts"   // pod: number of container restarts
	FieldReason    = "reason"     // pod: CrashLoopBackOff, OOMKilled, Evicted, Error, Unschedulable, …; deployment: FailedCreate, … of its condition ReplicaFailure; composition: error text
	FieldReplicas  = "replicas"   // deployment: spec.replicas
	FieldReadyPods = "readyPods"  // deployment: status.readyReplicas
	FieldUpdated   = "updated"    // deployment: status.updatedReplicas
	FieldGen       = "generation" // any object that has a controller: metadata.generation
	FieldObserved  = "observed"   // any object that has a controller: status.observedGeneration
	FieldCordoned  = "cordoned"   // node: "true" or "false"
	FieldPressure  = "pressure"   // node: "true" or "false"
	FieldLoad      = "load"       // pod, node: CPU in use, whole millicores; hpa: CPU in use over its target, decimal, 1 is on target
	FieldMemory    = "memory"     // pod, node: memory in use, whole MiB
	FieldCapacity  = "capacity"   // node: allocatable CPU, whole millicores
	FieldEndpoints = "endpoints"  // service: names of the pods behind its ready endpoints, comma between them, each where it first came; "-" is a place that was left
	FieldRoutes    = "routes"     // ingress: path=service of each rule, comma between them, in the order of the rules
	FieldCurrent   = "current"    // hpa: status.currentReplicas
	FieldDesired   = "desired"    // hpa: status.desiredReplicas
	FieldLimited   = "limited"    // hpa: "true" or "false": its condition ScalingLimited
	FieldTick      = "tick"       // cronjob: status.lastScheduleTime, RFC 3339
	FieldNext      = "next"       // cronjob: the time of the next tick, RFC 3339
	FieldActive    = "active"     // cronjob: Jobs that run; job: pods that run
	FieldSucceeded = "succeeded"  // job: pods that succeeded
	FieldFailed    = "failed"     // job: pods that failed
	FieldComplete  = "complete"   // job: "true" when done, "failed" when given up
	FieldHeadroom  = "headroom"   // namespace: share of the scarcest quota that is free, decimal 0…1; empty without a quota
	FieldSynthesis = "synthesis"  // composition: the topology generation whose synthesis is in use
	FieldRevision  = "revision"   // etcd: store revision
	FieldLatency   = "latency"    // etcd: commit latency; composition: publish to applied; service, ingress: of the answer that is told next; in seconds, decimal
	FieldReachable = "reachable"  // apiserver: "true" or "false"
	FieldSynced    = "synced"     // apiserver: "true" once every watch has its first list
	FieldBoot      = "boot"       // cluster: one of the Boot… stages, as each is reached

	// Answers to the requests of an Action. They are events, not states: the
	// same value may be told again, and Old is empty. Each latency comes before
	// the answer that it belongs to.
	//
	// A request to a Service is answered by its latency and served, or by its
	// missed. A request to an Ingress is answered by the Ingress's route, then
	// by the latency and served, or missed, of the Service behind that route,
	// as if the request had gone there, then by the Ingress's latency; or by
	// its notFound, or its missed where nobody answered for it.

	FieldRoute    = "route"    // ingress: the path whose rule took the request
	FieldServed   = "served"   // service: name of the pod that answered
	FieldMissed   = "missed"   // service, ingress: why nobody answered
	FieldNotFound = "notFound" // ingress: the path for which there is no rule
)

// Boot stages of the embedded control plane, in the order in which they are
// usually reached.
const (
	BootStarted     = "started"
	BootEtcd        = "etcd"
	BootAPIServer   = "apiserver"
	BootControllers = "controllers"
	BootScheduler   = "scheduler"
	BootNodes       = "nodes"
	BootEno         = "eno"
	BootReady       = "ready"
)

// BootStages lists the stages in order; the index of a stage is its channel
// on the API Server's boot jack.
var BootStages = []string{BootStarted, BootEtcd, BootAPIServer, BootControllers, BootScheduler, BootNodes, BootEno, BootReady}

// Object names one object of the cluster.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// UID tells a pod from its successor of the same name.
	UID string `json:"uid,omitempty"`
}

// String returns kind/name.
func (o Object) String() string { return o.Kind + "/" + o.Name }

// Transition is one change of one field of one object: the atom of what the
// cluster says. Live, recorded and written performances are made of it.
type Transition struct {
	// Time is when the change arrived at the observer. In a script or a take
	// it is counted from the Unix epoch, so that 1.5 s into the piece is
	// 1970-01-01T00:00:01.5Z.
	Time time.Time `json:"time"`
	// Revision is the store's revision at the change, 0 where there is none.
	Revision int64  `json:"revision,omitempty"`
	Object   Object `json:"object"`
	// Owner is the name of the Deployment that owns the pod (through its
	// ReplicaSet), or the name of the bare pod's module.
	Owner string `json:"owner,omitempty"`
	// Replica distinguishes the ReplicaSets of one Deployment (its pod template
	// hash), so that a rollout's old and new pods can be told apart.
	Replica string `json:"replica,omitempty"`
	Field   string `json:"field"`
	Old     string `json:"old,omitempty"`
	New     string `json:"new,omitempty"`
	// Quiet marks what a first list or a relist brought: the state is taken
	// over, but nothing happened just now, so nothing is struck.
	Quiet bool `json:"quiet,omitempty"`
}

// Action asks the cluster for something that is not a state: it is done once
// and not published.
type Action struct {
	Verb   string `json:"verb"`
	Object Object `json:"object,omitzero"`
	// Path is that of a request to an Ingress.
	Path string `json:"path,omitempty"`
}

// Verbs of an Action.
const (
	VerbWrite   = "write"   // one write to the store under the key Name
	VerbDelete  = "delete"  // deletes the named pod
	VerbRequest = "request" // an HTTP request to the named Service or Ingress; its answer comes as transitions
	VerbDrain   = "drain"   // cordons the named node and evicts the instrument's pods from it
	VerbRun     = "run"     // starts a Job of the named CronJob now
)

// Setting sets one thing of one object directly: what moves as fast as a hand
// or belongs to an object that is not made from the topology. The newest value
// of each object and name wins; what was set while the cluster was away is set
// when it is back.
type Setting struct {
	Object Object `json:"object"`
	Name   string `json:"name"`
	// Value is empty to take the setting back.
	Value string `json:"value,omitempty"`
}

// Names of a Setting.
const (
	SetCPU      = "cpu"      // pod: synthetic load, whole millicores
	SetMemory   = "memory"   // pod: memory that it holds, whole MiB
	SetPanel    = "panel"    // pod: name of the Pod panel that shows it
	SetCordon   = "cordon"   // node: "true" or "false"
	SetCapacity = "capacity" // node, simulated: CPU, whole millicores
)

// Edit is the topology as another hand left it in its ConfigMap: the patch is
// to follow.
type Edit struct {
	// By names the hand: the field manager of the write, such as kubectl-edit.
	By       string   `json:"by,omitempty"`
	Topology Topology `json:"topology"`
	// Base is what the instrument had published and the other hand started
	// from: only what differs between the two was edited.
	Base Topology `json:"base"`
}

// Problem is something that a neighbour could not do and that the player
// should read.
type Problem struct {
	Where string `json:"where"`
	Text  string `json:"text"`
}

// Hello opens a stream in either direction.
type Hello struct {
	Version int    `json:"version"`
	Program string `json:"program"`
}

// Message is one line of the stream: exactly one of its fields is set.
type Message struct {
	Hello      *Hello      `json:"hello,omitempty"`
	Transition *Transition `json:"transition,omitempty"`
	Topology   *Topology   `json:"topology,omitempty"`
	Action     *Action     `json:"action,omitempty"`
	Setting    *Setting    `json:"setting,omitempty"`
	Edit       *Edit       `json:"edit,omitempty"`
	Problem    *Problem    `json:"problem,omitempty"`
}

// ErrStreamVersion says that the other end speaks a later version.
var ErrStreamVersion = errors.New("stream of a later version")

// Encoder writes Messages, one JSON object a line.
type Encoder struct{ enc *json.Encoder }

// NewEncoder returns an Encoder that writes to w.
func NewEncoder(w io.Writer) *Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return &Encoder{enc: e}
}

// Encode writes one message and its line feed in one Write. It is not safe
// for concurrent use.
func (e *Encoder) Encode(m Message) error { return e.enc.Encode(m) }

// Decoder reads Messages.
type Decoder struct {
	dec *json.Decoder
	n   int
}

// NewDecoder returns a Decoder that reads from r.
func NewDecoder(r io.Reader) *Decoder { return &Decoder{dec: json.NewDecoder(r)} }

// Decode returns the next message, io.EOF at the end, ErrStreamVersion for a
// stream of a later version, and an error that names the message's number
// where one cannot be read.
func (d *Decoder) Decode() (Message, error) {
	var m Message
	d.n++
	if err := d.dec.Decode(&m); err != nil {
		if errors.Is(err, io.EOF) {
			return m, io.EOF
		}
		return m, fmt.Errorf("stream message %d: %w", d.n, err)
	}
	if m.Hello != nil && m.Hello.Version > StreamVersion {
		return m, fmt.Errorf("stream message %d: %s speaks version %d, this program %d: %w", d.n, m.Hello.Program, m.Hello.Version, StreamVersion, ErrStreamVersion)
	}
	return m, nil
}
