package kube

import (
	"math"
	"strconv"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// Stamp is when and at which revision of the store an object was last seen to
// change. Times are those of arrival, because the API's own have a resolution
// of one second.
type Stamp struct {
	Time     time.Time
	Revision int64
}

// Key tells the objects of a Snapshot apart: the kind and the UID, or the name
// where there is no UID. A pod and its successor of the same name differ.
type Key struct{ Kind, UID string }

// Object is one object of a Snapshot, trimmed to what a Transition can tell.
type Object interface {
	// about returns the object's name in the stream, its owner and its
	// replica.
	about() (o mapping.Object, owner, replica string)
	seen() Stamp
	// values returns the object's fields in the order in which they are told.
	// The same type always returns the same fields in the same order.
	values() []value
}

type value struct{ field, text string }

// Snapshot is what the cluster is at one moment, as far as it can be heard.
// The objects are never changed once they are in a Snapshot.
type Snapshot struct {
	// Stamp is used where a change has no object of its own to date it.
	Stamp
	// Quiet marks a state that was read as a list: what it brings is taken
	// over, but did not happen just now.
	Quiet   bool
	Objects map[Key]Object
	// Gone dates the objects that this snapshot no longer has.
	Gone map[Key]Stamp
}

// KeyOf returns the key of an object.
func KeyOf(o Object) Key {
	about, _, _ := o.about()
	if about.UID != "" {
		return Key{about.Kind, about.UID}
	}
	return Key{about.Kind, about.Name}
}

// Pod is a trimmed pod.
type Pod struct {
	Stamp
	Namespace, Name, UID string
	// Owner is the Deployment that owns the pod, or the bare pod's module.
	Owner string
	// Replica is the pod template hash, which names the ReplicaSet.
	Replica  string
	Node     string
	Phase    string
	Reason   string
	Ready    bool
	Deleting bool
	Restarts int64
}

func (p *Pod) about() (mapping.Object, string, string) {
	return mapping.Object{Kind: mapping.KindPod, Namespace: p.Namespace, Name: p.Name, UID: p.UID}, p.Owner, p.Replica
}
func (p *Pod) seen() Stamp { return p.Stamp }
func (p *Pod) values() []value {
	return []value{
		{mapping.FieldExists, "true"},
		{mapping.FieldPhase, p.Phase},
		{mapping.FieldNode, p.Node},
		{mapping.FieldReason, p.Reason},
		{mapping.FieldRestarts, integer(p.Restarts)},
		{mapping.FieldReady, truth(p.Ready)},
		{mapping.FieldDeleting, onlyTrue(p.Deleting)},
	}
}

// Deployment is a trimmed Deployment.
type Deployment struct {
	Stamp
	Namespace, Name, UID                               string
	Replicas, ReadyPods, Updated, Generation, Observed int64
	Deleting                                           bool
}

func (d *Deployment) about() (mapping.Object, string, string) {
	return mapping.Object{Kind: mapping.KindDeployment, Namespace: d.Namespace, Name: d.Name, UID: d.UID}, "", ""
}
func (d *Deployment) seen() Stamp { return d.Stamp }
func (d *Deployment) values() []value {
	return []value{
		{mapping.FieldExists, "true"},
		{mapping.FieldGen, integer(d.Generation)},
		{mapping.FieldReplicas, integer(d.Replicas)},
		{mapping.FieldObserved, integer(d.Observed)},
		{mapping.FieldUpdated, integer(d.Updated)},
		{mapping.FieldReadyPods, integer(d.ReadyPods)},
		{mapping.FieldDeleting, onlyTrue(d.Deleting)},
	}
}

// Node is a trimmed node. Pressure is that of memory, disk or process ids.
type Node struct {
	Stamp
	Name, UID                           string
	Ready, Cordoned, Pressure, Deleting bool
}

func (n *Node) about() (mapping.Object, string, string) {
	return mapping.Object{Kind: mapping.KindNode, Name: n.Name, UID: n.UID}, "", ""
}
func (n *Node) seen() Stamp { return n.Stamp }
func (n *Node) values() []value {
	return []value{
		{mapping.FieldExists, "true"},
		{mapping.FieldReady, truth(n.Ready)},
		{mapping.FieldCordoned, truth(n.Cordoned)},
		{mapping.FieldPressure, truth(n.Pressure)},
		{mapping.FieldDeleting, onlyTrue(n.Deleting)},
	}
}

// Composition is a trimmed Eno composition.
type Composition struct {
	Stamp
	Namespace, Name, UID string
	// Synthesis is the topology generation of the synthesis in use, Reason the
	// error that the composition shows. Latency runs from the publication of
	// a topology to the moment its objects were applied, in seconds, 0 where
	// none was measured.
	Synthesis string
	Reason    string
	Latency   float64
	Ready     bool
	Deleting  bool
}

func (c *Composition) about() (mapping.Object, string, string) {
	return mapping.Object{Kind: mapping.KindComposition, Namespace: c.Namespace, Name: c.Name, UID: c.UID}, "", ""
}
func (c *Composition) seen() Stamp { return c.Stamp }
func (c *Composition) values() []value {
	return []value{
		{mapping.FieldExists, "true"},
		{mapping.FieldSynthesis, c.Synthesis},
		{mapping.FieldReason, c.Reason},
		{mapping.FieldLatency, decimal(c.Latency)},
		{mapping.FieldReady, truth(c.Ready)},
		{mapping.FieldDeleting, onlyTrue(c.Deleting)},
	}
}

// Etcd is the store itself, as the heartbeat finds it.
type Etcd struct {
	Stamp
	// Latency is that of the last write (or, where nothing may be written,
	// read) through the API, in seconds.
	Latency float64
}

func (e *Etcd) about() (mapping.Object, string, string) {
	return mapping.Object{Kind: mapping.KindEtcd, Name: mapping.KindEtcd}, "", ""
}
func (e *Etcd) seen() Stamp { return e.Stamp }
func (e *Etcd) values() []value {
	return []value{
		{mapping.FieldRevision, integer(e.Revision)},
		{mapping.FieldLatency, decimal(e.Latency)},
	}
}

// APIServer is whether the API answers and how far the watches are.
type APIServer struct {
	Stamp
	Reachable, Synced bool
}

func (a *APIServer) about() (mapping.Object, string, string) {
	return mapping.Object{Kind: mapping.KindAPIServer, Name: mapping.KindAPIServer}, "", ""
}
func (a *APIServer) seen() Stamp { return a.Stamp }
func (a *APIServer) values() []value {
	return []value{
		{mapping.FieldReachable, truth(a.Reachable)},
		{mapping.FieldSynced, truth(a.Synced)},
	}
}

func integer(n int64) string { return strconv.FormatInt(n, 10) }
func truth(b bool) string    { return strconv.FormatBool(b) }

func onlyTrue(b bool) string {
	if b {
		return "true"
	}
	return ""
}

// decimal writes seconds to the microsecond; less is noise.
func decimal(seconds float64) string {
	if seconds <= 0 {
		return ""
	}
	return strconv.FormatFloat(math.Round(seconds*1e6)/1e6, 'f', -1, 64)
}
