package kube

import (
	"math"
	"strconv"
	"strings"
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
	// dated returns a copy with another stamp.
	dated(Stamp) Object
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
	Usage    Usage
	// IP is the pod's address, and Labels are its labels where it is one of
	// ours; neither is told.
	IP     string
	Labels map[string]string
}

// Usage is what a pod or node uses as the metrics API reports it.
type Usage struct {
	Known  bool
	CPU    int64 // millicores
	Memory int64 // MiB
}

func (u Usage) cpu() string {
	if !u.Known {
		return ""
	}
	return integer(u.CPU)
}

func (u Usage) memory() string {
	if !u.Known {
		return ""
	}
	return integer(u.Memory)
}

// measured is an object that has a usage. It comes by another way than the
// object itself, which carries it on from state to state.
type measured interface {
	Object
	usage() Usage
	// using returns a copy with another usage, seen at the given time.
	using(Usage, time.Time) Object
	// carry takes over the usage of the object's last state. It is called
	// before the object is shared.
	carry(Usage)
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
		{mapping.FieldLoad, p.Usage.cpu()},
		{mapping.FieldMemory, p.Usage.memory()},
		{mapping.FieldDeleting, onlyTrue(p.Deleting)},
	}
}
func (p *Pod) dated(at Stamp) Object { c := *p; c.Stamp = at; return &c }
func (p *Pod) usage() Usage          { return p.Usage }
func (p *Pod) carry(u Usage)         { p.Usage = u }
func (p *Pod) using(u Usage, at time.Time) Object {
	c := *p
	c.Usage, c.Time = u, at
	return &c
}

// Deployment is a trimmed Deployment.
type Deployment struct {
	Stamp
	Namespace, Name, UID                               string
	Replicas, ReadyPods, Updated, Generation, Observed int64
	// Reason is why no pod can be made, of the condition ReplicaFailure.
	Reason   string
	Deleting bool
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
		{mapping.FieldReason, d.Reason},
		{mapping.FieldDeleting, onlyTrue(d.Deleting)},
	}
}
func (d *Deployment) dated(at Stamp) Object { c := *d; c.Stamp = at; return &c }

// Node is a trimmed node. Pressure is that of memory, disk or process ids.
type Node struct {
	Stamp
	Name, UID                           string
	Ready, Cordoned, Pressure, Deleting bool
	// Capacity is the allocatable CPU in millicores, 0 where it is not known.
	Capacity int64
	Usage    Usage
	// Labels are the node's labels. They are not told.
	Labels map[string]string
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
		{mapping.FieldCapacity, positive(n.Capacity)},
		{mapping.FieldLoad, n.Usage.cpu()},
		{mapping.FieldMemory, n.Usage.memory()},
		{mapping.FieldDeleting, onlyTrue(n.Deleting)},
	}
}
func (n *Node) dated(at Stamp) Object { c := *n; c.Stamp = at; return &c }
func (n *Node) usage() Usage          { return n.Usage }
func (n *Node) carry(u Usage)         { n.Usage = u }
func (n *Node) using(u Usage, at time.Time) Object {
	c := *n
	c.Usage, c.Time = u, at
	return &c
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
func (c *Composition) dated(at Stamp) Object { d := *c; d.Stamp = at; return &d }

// MaxEndpoints is how many endpoints of one Service are told by name. More
// have no jack to be heard at.
const MaxEndpoints = 64

// Service is a trimmed Service, joined with its EndpointSlices.
type Service struct {
	Stamp
	Namespace, Name, UID string
	// Endpoints are the places of the pods behind the ready endpoints, at most
	// MaxEndpoints: each keeps its place as long as it is there. An empty one
	// was left.
	Endpoints []string
	Deleting  bool
	// What follows is not told.
	ClusterIP string
	Ports     []ServicePort
	Selector  map[string]string
	Labels    map[string]string
}

// ServicePort is one port of a Service. Target is the port of the container,
// by number or name.
type ServicePort struct {
	Name   string
	Port   int32
	Target string
}

func (s *Service) about() (mapping.Object, string, string) {
	return mapping.Object{Kind: mapping.KindService, Namespace: s.Namespace, Name: s.Name, UID: s.UID}, "", ""
}
func (s *Service) seen() Stamp { return s.Stamp }
func (s *Service) values() []value {
	return []value{
		{mapping.FieldExists, "true"},
		{mapping.FieldEndpoints, places(s.Endpoints)},
		{mapping.FieldDeleting, onlyTrue(s.Deleting)},
	}
}
func (s *Service) dated(at Stamp) Object { c := *s; c.Stamp = at; return &c }

// places writes who is where, without the empty places at the end.
func places(names []string) string {
	for len(names) > 0 && names[len(names)-1] == "" {
		names = names[:len(names)-1]
	}
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		if name == "" {
			name = "-"
		}
		b.WriteString(name)
	}
	return b.String()
}

// Ingress is a trimmed Ingress.
type Ingress struct {
	Stamp
	Namespace, Name, UID string
	// Routes are path=service of each rule, in the order of the rules.
	Routes   string
	Deleting bool
	// Class is the name of the IngressClass. It is not told.
	Class string
}

func (i *Ingress) about() (mapping.Object, string, string) {
	return mapping.Object{Kind: mapping.KindIngress, Namespace: i.Namespace, Name: i.Name, UID: i.UID}, "", ""
}
func (i *Ingress) seen() Stamp { return i.Stamp }
func (i *Ingress) values() []value {
	return []value{
		{mapping.FieldExists, "true"},
		{mapping.FieldRoutes, i.Routes},
		{mapping.FieldDeleting, onlyTrue(i.Deleting)},
	}
}
func (i *Ingress) dated(at Stamp) Object { c := *i; c.Stamp = at; return &c }

// HPA is a trimmed HorizontalPodAutoscaler.
type HPA struct {
	Stamp
	Namespace, Name, UID string
	Current, Desired     int64
	// Load is what is measured over its target, negative where nothing is.
	Load float64
	// Generation and Observed are 0 where the API does not count them.
	Generation, Observed int64
	Limited, Deleting    bool
}

func (h *HPA) about() (mapping.Object, string, string) {
	return mapping.Object{Kind: mapping.KindHPA, Namespace: h.Namespace, Name: h.Name, UID: h.UID}, "", ""
}
func (h *HPA) seen() Stamp { return h.Stamp }
func (h *HPA) values() []value {
	return []value{
		{mapping.FieldExists, "true"},
		{mapping.FieldGen, positive(h.Generation)},
		{mapping.FieldLoad, ratio(h.Load)},
		{mapping.FieldDesired, integer(h.Desired)},
		{mapping.FieldCurrent, integer(h.Current)},
		{mapping.FieldLimited, truth(h.Limited)},
		{mapping.FieldObserved, positive(h.Observed)},
		{mapping.FieldDeleting, onlyTrue(h.Deleting)},
	}
}
func (h *HPA) dated(at Stamp) Object { c := *h; c.Stamp = at; return &c }

// CronJob is a trimmed CronJob.
type CronJob struct {
	Stamp
	Namespace, Name, UID string
	// Tick is the last time that the schedule met, Next the coming one; zero
	// where there is none.
	Tick, Next time.Time
	Active     int64
	Deleting   bool

	calendar calendar
}

func (c *CronJob) about() (mapping.Object, string, string) {
	return mapping.Object{Kind: mapping.KindCronJob, Namespace: c.Namespace, Name: c.Name, UID: c.UID}, "", ""
}
func (c *CronJob) seen() Stamp { return c.Stamp }
func (c *CronJob) values() []value {
	return []value{
		{mapping.FieldExists, "true"},
		{mapping.FieldTick, moment(c.Tick)},
		{mapping.FieldActive, integer(c.Active)},
		{mapping.FieldNext, moment(c.Next)},
		{mapping.FieldDeleting, onlyTrue(c.Deleting)},
	}
}
func (c *CronJob) dated(at Stamp) Object { d := *c; d.Stamp = at; return &d }

// Job is a trimmed Job.
type Job struct {
	Stamp
	Namespace, Name, UID string
	// Owner is the Job module, or cronjob.NAME for a Job that a CronJob made:
	// no module has such a name, so a Job module hears only Jobs of its own.
	Owner                     string
	Active, Succeeded, Failed int64
	// Complete is "true" when the Job is done and "failed" when it was given up.
	Complete string
	Deleting bool
}

func (j *Job) about() (mapping.Object, string, string) {
	return mapping.Object{Kind: mapping.KindJob, Namespace: j.Namespace, Name: j.Name, UID: j.UID}, j.Owner, ""
}
func (j *Job) seen() Stamp { return j.Stamp }
func (j *Job) values() []value {
	return []value{
		{mapping.FieldExists, "true"},
		{mapping.FieldActive, integer(j.Active)},
		{mapping.FieldSucceeded, integer(j.Succeeded)},
		{mapping.FieldFailed, integer(j.Failed)},
		{mapping.FieldComplete, j.Complete},
		{mapping.FieldDeleting, onlyTrue(j.Deleting)},
	}
}
func (j *Job) dated(at Stamp) Object { c := *j; c.Stamp = at; return &c }

// Namespace is a trimmed Namespace, joined with its ResourceQuotas. It has no
// UID, because where only the quotas may be read, nobody tells it.
type Namespace struct {
	Stamp
	Name string
	// Headroom is the share of the scarcest quota that is free, 0…1, negative
	// where there is no quota.
	Headroom float64
	Deleting bool
}

func (n *Namespace) about() (mapping.Object, string, string) {
	return mapping.Object{Kind: mapping.KindNamespace, Name: n.Name}, "", ""
}
func (n *Namespace) seen() Stamp { return n.Stamp }
func (n *Namespace) values() []value {
	return []value{
		{mapping.FieldExists, "true"},
		{mapping.FieldHeadroom, ratio(n.Headroom)},
		{mapping.FieldDeleting, onlyTrue(n.Deleting)},
	}
}
func (n *Namespace) dated(at Stamp) Object { c := *n; c.Stamp = at; return &c }

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
func (e *Etcd) dated(at Stamp) Object { c := *e; c.Stamp = at; return &c }

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
func (a *APIServer) dated(at Stamp) Object { c := *a; c.Stamp = at; return &c }

func integer(n int64) string { return strconv.FormatInt(n, 10) }
func truth(b bool) string    { return strconv.FormatBool(b) }

func onlyTrue(b bool) string {
	if b {
		return "true"
	}
	return ""
}

// positive writes a number that is 0 where it is not there.
func positive(n int64) string {
	if n <= 0 {
		return ""
	}
	return integer(n)
}

// ratio writes a share to the thousandth; a negative one is not there.
func ratio(share float64) string {
	if share < 0 || math.IsNaN(share) {
		return ""
	}
	return strconv.FormatFloat(math.Round(share*1e3)/1e3, 'f', -1, 64)
}

// moment writes a time of the cluster, which has a resolution of one second.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// decimal writes seconds to the microsecond; less is noise.
func decimal(seconds float64) string {
	if seconds <= 0 {
		return ""
	}
	return strconv.FormatFloat(math.Round(seconds*1e6)/1e6, 'f', -1, 64)
}
