package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// DefaultPressureTransition is how long a node keeps the condition
// MemoryPressure after its memory has sufficed again. The kubelet's own is 5
// minutes.
const DefaultPressureTransition = 5 * time.Second

const (
	// evictionThreshold is how many bytes of memory a node must have left, as
	// the kubelet's memory.available<100Mi.
	evictionThreshold = 100 << 20
	// evictionRest is the least time between two evictions from one node. The
	// kubelet looks every 10 s.
	evictionRest = time.Second
	// systemCritical is the priority from which the kubelet evicts nobody.
	systemCritical = 2_000_000_000
)

// evictions does what the kubelets' eviction managers would: where the memory
// of a simulated node runs short, it sets the node's condition and ends pods,
// one at a time. It looks at nodes only when something on them has changed.
type evictions struct {
	usage      *usageSimulation
	client     kubernetes.Interface
	transition time.Duration
	log        *slog.Logger
	events     record.EventBroadcaster
	now        func() time.Time

	nodes map[string]*pressure
}

// pressure is what is remembered of a node.
type pressure struct {
	// short is when its memory was last seen to be short.
	short time.Time
	// rest is until when nobody else is evicted.
	rest time.Time
	// again is when it must be looked at without a change; zero is never.
	again time.Time
}

func newEvictions(u *usageSimulation, client kubernetes.Interface, transition time.Duration, log *slog.Logger) *evictions {
	return &evictions{
		usage:      u,
		client:     client,
		transition: transition,
		log:        log,
		events:     record.NewBroadcaster(),
		now:        time.Now,
		nodes:      map[string]*pressure{},
	}
}

// run watches over the nodes until ctx ends.
func (e *evictions) run(ctx context.Context) {
	e.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: e.client.CoreV1().Events("")})
	defer e.events.Shutdown()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.usage.wake:
		case <-timer.C:
		}
		for _, name := range e.usage.takeDirty() {
			e.check(ctx, name)
		}
		next := time.Time{}
		for name, p := range e.nodes {
			if p.again.IsZero() {
				delete(e.nodes, name)
				continue
			}
			if !p.again.After(e.now()) {
				e.check(ctx, name)
			}
			if next.IsZero() || p.again.Before(next) {
				next = p.again
			}
		}
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(next.Sub(e.now()), time.Millisecond))
		}
	}
}

// nodeMemory is a node's memory at one moment, in bytes.
type nodeMemory struct {
	uid       types.UID
	available float64
	pressure  bool
	pods      []*podUsage
}

// memoryOf returns false where the node is not there. The pods, which the
// caller must not change, are listed only where memory is short.
func (u *usageSimulation) memoryOf(name string) (nodeMemory, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := u.nodes[name]
	if n == nil || !n.known {
		return nodeMemory{}, false
	}
	m := nodeMemory{uid: n.uid, available: n.memory, pressure: n.pressure}
	for p := range n.pods {
		used, _ := p.memory()
		m.available -= used
	}
	if m.available < evictionThreshold {
		for p := range n.pods {
			if len(p.containers) > 0 {
				m.pods = append(m.pods, p)
			}
		}
	}
	return m, true
}

// check looks at one node and does what is due.
func (e *evictions) check(ctx context.Context, name string) {
	m, ok := e.usage.memoryOf(name)
	if !ok {
		delete(e.nodes, name)
		return
	}
	p := e.nodes[name]
	if p == nil {
		if m.available >= evictionThreshold && !m.pressure {
			return
		}
		p = &pressure{}
		e.nodes[name] = p
	}
	now := e.now()
	p.again = time.Time{}
	if m.available >= evictionThreshold {
		if !m.pressure {
			return
		}
		// It may have been set before we started: then it is let go at once.
		if until := p.short.Add(e.transition); until.After(now) {
			p.again = until
			return
		}
		if err := e.setPressure(ctx, name, m.uid, false); err != nil {
			e.trouble(ctx, p, name, err)
		}
		return
	}
	p.short = now
	if !m.pressure {
		if err := e.setPressure(ctx, name, m.uid, true); err != nil {
			e.trouble(ctx, p, name, err)
			return
		}
	}
	if p.rest.After(now) {
		p.again = p.rest
		return
	}
	p.again = now.Add(evictionRest)
	rank(m.pods)
	for _, pod := range m.pods {
		// The kubelet spares them, and waits for who is going already.
		if pod.priority >= systemCritical || pod.deleted {
			continue
		}
		e.event(&corev1.ObjectReference{Kind: "Node", Name: name, UID: types.UID(name)}, name, corev1.EventTypeWarning, "EvictionThresholdMet", "Attempting to reclaim memory")
		if err := e.evict(ctx, pod, m.available); err != nil {
			e.trouble(ctx, p, name, err)
			return
		}
		p.rest = p.again
		return
	}
}

// trouble has a node looked at again after a request failed.
func (e *evictions) trouble(ctx context.Context, p *pressure, name string, err error) {
	p.again = e.now().Add(evictionRest)
	if ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		e.log.Warn("memory pressure cannot be relieved, trying again", "node", name, "error", err)
	}
}

func (e *evictions) event(o *corev1.ObjectReference, node, kind, reason, message string) {
	// As the kubelet of that node.
	e.events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: node}).Event(o, kind, reason, message)
}

// setPressure sets the node's condition; the node lifecycle controller makes a
// taint of it.
func (e *evictions) setPressure(ctx context.Context, name string, uid types.UID, on bool) error {
	now := metav1.NewTime(e.now())
	c := corev1.NodeCondition{
		Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse,
		Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available",
		LastHeartbeatTime: now, LastTransitionTime: now,
	}
	reason := "NodeHasSufficientMemory"
	if on {
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"
		reason = "NodeHasInsufficientMemory"
	}
	b, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": uid},
		"status":   map[string]any{"conditions": []corev1.NodeCondition{c}},
	})
	if err != nil {
		return err
	}
	if _, err := e.client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, b, metav1.PatchOptions{}, "status"); err != nil {
		return err
	}
	e.event(&corev1.ObjectReference{Kind: "Node", Name: name, UID: types.UID(name)}, name, corev1.EventTypeNormal, reason, fmt.Sprintf("Node %s status is now: %s", name, reason))
	return nil
}

// rank orders pods as the kubelet does for memory: those first that use more
// than they asked for, then those of lower priority, then those that use most
// above what they asked for.
func rank(pods []*podUsage) {
	slices.SortFunc(pods, func(a, b *podUsage) int {
		used, requested := a.memory()
		usedB, requestedB := b.memory()
		exceeds := func(yes bool) int {
			if yes {
				return 0
			}
			return 1
		}
		return cmp.Or(
			cmp.Compare(exceeds(used > requested), exceeds(usedB > requestedB)),
			cmp.Compare(a.priority, b.priority),
			cmp.Compare(usedB-requestedB, used-requested),
			// The kubelet leaves the rest to chance.
			cmp.Compare(a.name, b.name))
	})
}

// evictionMessage is the kubelet's.
func evictionMessage(p *podUsage, available float64) string {
	var b strings.Builder
	quantity := func(v float64) string {
		q := memoryQuantity(v)
		return q.String()
	}
	fmt.Fprintf(&b, "The node was low on resource: memory. Threshold quantity: %s, available: %s. ", quantity(evictionThreshold), quantity(max(available, 0)))
	for i := range p.containers {
		c := &p.containers[i]
		if c.memory > c.memoryRequest {
			fmt.Fprintf(&b, "Container %s was using %s, request is %s, has larger consumption of memory. ", c.name, quantity(c.memory), quantity(c.memoryRequest))
		}
	}
	return b.String()
}

// evict ends a pod without grace, as the kubelet does when a hard threshold is
// met.
func (e *evictions) evict(ctx context.Context, p *podUsage, available float64) error {
	pods := e.client.CoreV1().Pods(p.namespace)
	pod, err := pods.Get(ctx, p.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if pod.UID != p.uid || pod.Status.Phase != corev1.PodRunning {
		return nil // our view of it is on its way
	}
	message, now := evictionMessage(p, available), metav1.NewTime(e.now())
	s := &pod.Status
	s.Phase, s.Reason, s.Message = corev1.PodFailed, "Evicted", message
	for i := range s.ContainerStatuses {
		c := &s.ContainerStatuses[i]
		c.Ready, c.Started = false, new(bool)
		if c.State.Terminated != nil {
			continue
		}
		end := &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "Error", FinishedAt: now, StartedAt: now, ContainerID: c.ContainerID}
		if c.State.Running != nil {
			end.StartedAt = c.State.Running.StartedAt
		}
		c.State = corev1.ContainerState{Terminated: end}
	}
	setCondition := func(c corev1.PodCondition) {
		c.LastTransitionTime, c.ObservedGeneration = now, pod.Generation
		for i := range s.Conditions {
			if s.Conditions[i].Type == c.Type {
				s.Conditions[i] = c
				return
			}
		}
		s.Conditions = append(s.Conditions, c)
	}
	setCondition(corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet, Message: message})
	for _, t := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
		setCondition(corev1.PodCondition{Type: t, Status: corev1.ConditionFalse, Reason: "PodFailed"})
	}
	if _, err := pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
		return err
	}
	e.event(&corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion}, p.node, corev1.EventTypeWarning, "Evicted", message)
	return nil
}
