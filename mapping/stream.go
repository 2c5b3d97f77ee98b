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
const StreamVersion = 1

// Kinds of objects that a Transition can speak of. The lower-case kinds of
// Kubernetes objects are also the kinds of their modules.
const (
	KindPod         = "pod"
	KindDeployment  = "deployment"
	KindNode        = "node"
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
	FieldReason    = "reason"     // pod: CrashLoopBackOff, OOMKilled, Evicted, Error, Unschedulable, …; composition: error text
	FieldReplicas  = "replicas"   // deployment: spec.replicas
	FieldReadyPods = "readyPods"  // deployment: status.readyReplicas
	FieldUpdated   = "updated"    // deployment: status.updatedReplicas
	FieldGen       = "generation" // deployment: metadata.generation
	FieldObserved  = "observed"   // deployment: status.observedGeneration
	FieldCordoned  = "cordoned"   // node: "true" or "false"
	FieldPressure  = "pressure"   // node: "true" or "false"
	FieldSynthesis = "synthesis"  // composition: the topology generation whose synthesis is in use
	FieldRevision  = "revision"   // etcd: store revision
	FieldLatency   = "latency"    // etcd: commit latency; composition: publish to applied; in seconds, decimal
	FieldReachable = "reachable"  // apiserver: "true" or "false"
	FieldSynced    = "synced"     // apiserver: "true" once every watch has its first list
	FieldBoot      = "boot"       // cluster: one of the Boot… stages, as each is reached
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

// Lifecycle sets how long simulated pods take, in seconds; 0 is at once. Where
// there is none, pods take the simulator's defaults.
type Lifecycle struct {
	Start  float64 `json:"start,omitempty"`  // from scheduled to running
	Ready  float64 `json:"ready,omitempty"`  // from running to ready
	Stop   float64 `json:"stop,omitempty"`   // from deletion to gone
	Jitter float64 `json:"jitter,omitempty"` // added to each, uniform from 0
}

// TopologyVersion is the version of the topology that this program writes.
const TopologyVersion = 1

// Topology is the Kubernetes part of the patch, as it is published in the
// topology ConfigMap.
type Topology struct {
	Version int    `json:"version"`
	Scene   string `json:"scene,omitempty"`
	// Generation counts the topologies that the instrument has published; it
	// tells which one a synthesis has seen.
	Generation  int64                `json:"generation"`
	Namespace   string               `json:"namespace"`
	Deployments []TopologyDeployment `json:"deployments,omitempty"`
	Pods        []TopologyPod        `json:"pods,omitempty"`
	Cables      []TopologyCable      `json:"cables,omitempty"`
}

// TopologyDeployment is one Deployment module.
type TopologyDeployment struct {
	Name           string     `json:"name"`
	Replicas       int        `json:"replicas"`
	Image          string     `json:"image"`
	Strategy       string     `json:"strategy,omitempty"` // RollingUpdate (default) or Recreate
	MaxSurge       int        `json:"maxSurge,omitempty"`
	MaxUnavailable int        `json:"maxUnavailable,omitempty"`
	Restarts       int        `json:"restarts,omitempty"` // counts asked rollouts; a new value restarts the pods
	Lifecycle      *Lifecycle `json:"lifecycle,omitempty"`
}

// TopologyPod is one bare pod, which exists as long as it is listed.
type TopologyPod struct {
	Name      string     `json:"name"`
	Image     string     `json:"image"`
	Lifecycle *Lifecycle `json:"lifecycle,omitempty"`
}

// TopologyCable is one cable between two Kubernetes modules, each end
// written as kind/name/jack.
type TopologyCable struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Action asks the cluster for something that is not a state: it is done once
// and not published.
type Action struct {
	// Verb is "write" (one write to the store under the key Name) or "delete"
	// (delete the named pod).
	Verb   string `json:"verb"`
	Object Object `json:"object,omitzero"`
}

// Verbs of an Action.
const (
	VerbWrite  = "write"
	VerbDelete = "delete"
)

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
