package cluster

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/kwok/metrics"
)

// Annotations by which a scene, or anyone with kubectl, sets what a simulated
// pod uses while its containers run. The pod's containers share it evenly.
// Absent, or not a number, is what an idle process uses.
const (
	AnnotationCPU    = "k8s-synth.io/cpu"    // millicores that the pod would use, were it alone
	AnnotationMemory = "k8s-synth.io/memory" // MiB
)

const (
	// What a running pod uses that is told nothing.
	idleCPU    = "1m"
	idleMemory = "8Mi"
	// usageWindow is over how long a figure is the mean. The simulation's are
	// exact at each moment; the shortest window that the API can tell is a
	// second, and the HorizontalPodAutoscaler waits for one after a pod has
	// become ready.
	usageWindow = time.Second
	// leastShares is the weight of a container without a CPU request, and
	// sharesPerCPU that of a whole CPU, as the kubelet gives them to CFS.
	leastShares  = 2
	sharesPerCPU = 1024
)

// resourceUsage is how KWOK is told what a pod uses.
func resourceUsage() *internalversion.ClusterResourceUsage {
	from := func(annotation, unit, idle string) internalversion.ResourceUsageValue {
		e := fmt.Sprintf(`%[1]q in pod.metadata.annotations ? Quantity(pod.metadata.annotations[%[1]q] + %[2]q) : Quantity(%[3]q)`, annotation, unit, idle)
		return internalversion.ResourceUsageValue{Expression: &e}
	}
	return &internalversion.ClusterResourceUsage{
		ObjectMeta: metav1.ObjectMeta{Name: "k8s-synth"},
		Spec: internalversion.ClusterResourceUsageSpec{Usages: []internalversion.ResourceUsageContainer{{
			Usage: map[string]internalversion.ResourceUsageValue{
				string(corev1.ResourceCPU):    from(AnnotationCPU, "m", idleCPU),
				string(corev1.ResourceMemory): from(AnnotationMemory, "Mi", idleMemory),
			},
		}}},
	}
}

// usageSimulation knows what the pods on simulated nodes use. It follows the
// API by two watches and calculates only what has changed. What the pods on
// real nodes use, it is told by their kubelets.
type usageSimulation struct {
	cpu, memory         *metrics.Evaluator
	idleCPU, idleMemory float64

	mu    sync.Mutex
	nodes map[string]*nodeUsage
	// real are the nodes with a kubelet, which tells what is used there.
	real map[string]*realNode
	// pods are those on any node that have not ended, by namespace and name.
	pods map[string]map[string]*podUsage
	// dirty are the nodes whose memory or condition may have changed since
	// the last take; wake tells that there are some.
	dirty map[string]bool
	wake  chan struct{}

	listed [2]chan struct{}
	once   [2]sync.Once
}

// nodeUsage is a node and what runs on it.
type nodeUsage struct {
	name string
	uid  types.UID
	// known is that the node is a simulated one of ours and there.
	known       bool
	labels      map[string]string
	created     metav1.Time
	cpu, memory float64 // allocatable: millicores, bytes
	// pressure is the node's condition MemoryPressure.
	pressure bool
	pods     map[*podUsage]bool
	// stale is that the shares of CPU are to be divided anew.
	stale bool
}

// realNode is a node with a kubelet.
type realNode struct {
	labels  map[string]string
	created metav1.Time
	// scraped is the kubelet's last answer.
	scraped map[scrapeKey]scraped
}

// podUsage is a pod and what it uses.
type podUsage struct {
	namespace, name string
	uid             types.UID
	node            string
	labels          map[string]string
	created         metav1.Time
	priority        int32
	deleted         bool
	containers      []containerUsage
}

// containerUsage is a running container and what it uses.
type containerUsage struct {
	name          string
	wanted        float64 // millicores, within its limit
	shares        float64
	cpu           float64 // millicores that it gets; only this ever changes, with the lock
	memory        float64 // bytes
	memoryRequest float64 // bytes
}

func (p *podUsage) memory() (used, requested float64) {
	for i := range p.containers { // not a copy: what they get of CPU may be changing
		used += p.containers[i].memory
		requested += p.containers[i].memoryRequest
	}
	return used, requested
}

func newUsageSimulation() (*usageSimulation, error) {
	env, err := metrics.NewEnvironment(metrics.EnvironmentConfig{})
	if err != nil {
		return nil, fmt.Errorf("usage simulation: %w", err)
	}
	u := &usageSimulation{
		nodes: map[string]*nodeUsage{},
		real:  map[string]*realNode{},
		pods:  map[string]map[string]*podUsage{},
		dirty: map[string]bool{},
		wake:  make(chan struct{}, 1),
	}
	for i := range u.listed {
		u.listed[i] = make(chan struct{})
	}
	usage := resourceUsage().Spec.Usages[0].Usage
	for _, r := range []struct {
		to   **metrics.Evaluator
		idle *float64
		name corev1.ResourceName
	}{{&u.cpu, &u.idleCPU, corev1.ResourceCPU}, {&u.memory, &u.idleMemory, corev1.ResourceMemory}} {
		if *r.to, err = env.Compile(*usage[string(r.name)].Expression); err == nil {
			*r.idle, err = (*r.to).EvaluateFloat64(context.Background(), metrics.Data{Pod: &corev1.Pod{}})
		}
		if err != nil {
			return nil, fmt.Errorf("usage simulation: %s: %w", r.name, err)
		}
	}
	return u, nil
}

// start follows the API until ctx ends.
func (u *usageSimulation) start(ctx context.Context, client kubernetes.Interface, wg *sync.WaitGroup) {
	rest := client.CoreV1().RESTClient()
	// Pods that have ended use nothing and leave the watch.
	pods := fields.AndSelectors(
		fields.OneTermNotEqualSelector("spec.nodeName", ""),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)))
	lists := []struct {
		lw     *cache.ListWatch
		object any
		store  cache.ReflectorStore
	}{
		{cache.NewListWatchFromClient(rest, "pods", metav1.NamespaceAll, pods), &corev1.Pod{}, podStore{u}},
		{cache.NewFilteredListWatchFromClient(rest, "nodes", metav1.NamespaceAll, func(o *metav1.ListOptions) {
			o.LabelSelector = nodeLabel // of either kind
		}), &corev1.Node{}, nodeStore{u}},
	}
	for _, l := range lists {
		r := cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(l.lw, client), l.object, l.store, cache.ReflectorOptions{Name: "usage"})
		wg.Go(func() { r.RunWithContext(ctx) })
	}
}

// wait returns when the first lists are there.
func (u *usageSimulation) wait(ctx context.Context) error {
	for _, ch := range u.listed {
		select {
		case <-ch:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// touch marks a node as changed; the lock is held.
func (u *usageSimulation) touch(n *nodeUsage) {
	n.stale = true
	if !n.known {
		return
	}
	u.dirty[n.name] = true
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// takeDirty returns the nodes that have changed since the last call.
func (u *usageSimulation) takeDirty() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	names := make([]string, 0, len(u.dirty))
	for name := range u.dirty {
		names = append(names, name)
	}
	clear(u.dirty)
	slices.Sort(names)
	return names
}

func (u *usageSimulation) node(name string) *nodeUsage {
	n := u.nodes[name]
	if n == nil {
		n = &nodeUsage{name: name, pods: map[*podUsage]bool{}}
		u.nodes[name] = n
	}
	return n
}

// forget drops a node that is not there and has no pods.
func (u *usageSimulation) forget(n *nodeUsage) {
	if !n.known && len(n.pods) == 0 {
		delete(u.nodes, n.name)
		delete(u.dirty, n.name)
	}
}

func (u *usageSimulation) setNode(node *corev1.Node) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if node.Labels[nodeLabel] != simulated {
		r := u.real[node.Name]
		if r == nil {
			r = &realNode{}
			u.real[node.Name] = r
		}
		r.labels, r.created = node.Labels, node.CreationTimestamp
		return
	}
	n := u.node(node.Name)
	n.known = true
	n.uid = node.UID
	n.labels = node.Labels
	n.created = node.CreationTimestamp
	n.cpu = node.Status.Allocatable.Cpu().AsApproximateFloat64() * 1000
	n.memory = node.Status.Allocatable.Memory().AsApproximateFloat64()
	n.pressure = slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeMemoryPressure && c.Status == corev1.ConditionTrue
	})
	u.touch(n)
}

func (u *usageSimulation) removeNode(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.real, name)
	if n := u.nodes[name]; n != nil {
		n.known = false
		u.forget(n)
	}
}

func (u *usageSimulation) setPod(pod *corev1.Pod) {
	p := u.measure(pod)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dropPod(p.namespace, p.name)
	ns := u.pods[p.namespace]
	if ns == nil {
		ns = map[string]*podUsage{}
		u.pods[p.namespace] = ns
	}
	ns[p.name] = p
	n := u.node(p.node)
	n.pods[p] = true
	u.touch(n)
}

func (u *usageSimulation) removePod(namespace, name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dropPod(namespace, name)
}

func (u *usageSimulation) dropPod(namespace, name string) {
	ns := u.pods[namespace]
	p := ns[name]
	if p == nil {
		return
	}
	delete(ns, name)
	if len(ns) == 0 {
		delete(u.pods, namespace)
	}
	n := u.node(p.node)
	delete(n.pods, p)
	u.touch(n)
	u.forget(n)
}

// measure evaluates what a pod uses.
func (u *usageSimulation) measure(pod *corev1.Pod) *podUsage {
	p := &podUsage{
		namespace: pod.Namespace,
		name:      pod.Name,
		uid:       pod.UID,
		node:      pod.Spec.NodeName,
		labels:    pod.Labels,
		created:   pod.CreationTimestamp,
		deleted:   pod.DeletionTimestamp != nil,
	}
	if pod.Spec.Priority != nil {
		p.priority = *pod.Spec.Priority
	}
	if pod.Status.Phase != corev1.PodRunning {
		return p
	}
	evaluate := func(e *metrics.Evaluator, idle float64) float64 {
		v, err := e.EvaluateFloat64(context.Background(), metrics.Data{Pod: pod})
		if err != nil {
			v = idle // an annotation that is not a number
		}
		return max(v, 0) / float64(max(len(pod.Spec.Containers), 1))
	}
	cpu, memory := evaluate(u.cpu, u.idleCPU)*1000, evaluate(u.memory, u.idleMemory)
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		if !slices.ContainsFunc(pod.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool {
			return s.Name == c.Name && s.State.Running != nil
		}) {
			continue
		}
		use := containerUsage{
			name:          c.Name,
			wanted:        cpu,
			memory:        memory,
			shares:        max(c.Resources.Requests.Cpu().AsApproximateFloat64()*sharesPerCPU, leastShares),
			memoryRequest: c.Resources.Requests.Memory().AsApproximateFloat64(),
		}
		// The kernel lets nobody beyond a limit: CPU is throttled, and for
		// memory the container is killed (see podStages).
		if l, ok := c.Resources.Limits[corev1.ResourceCPU]; ok {
			use.wanted = min(use.wanted, l.AsApproximateFloat64()*1000)
		}
		if l, ok := c.Resources.Limits[corev1.ResourceMemory]; ok {
			use.memory = min(use.memory, l.AsApproximateFloat64())
		}
		use.cpu = use.wanted
		p.containers = append(p.containers, use)
	}
	return p
}

// share divides a node's CPU among its containers, as CFS does: in proportion
// to their shares, where nobody gets more than wanted and what one leaves goes
// to the others.
func (n *nodeUsage) share() {
	if !n.stale {
		return
	}
	n.stale = false
	var all []*containerUsage
	total, shares := 0.0, 0.0
	for p := range n.pods {
		for i := range p.containers {
			c := &p.containers[i]
			c.cpu = c.wanted
			total += c.wanted
			shares += c.shares
			all = append(all, c)
		}
	}
	if !n.known || total <= n.cpu {
		return
	}
	slices.SortFunc(all, func(a, b *containerUsage) int { return cmp.Compare(a.wanted*b.shares, b.wanted*a.shares) })
	left := n.cpu
	for _, c := range all {
		c.cpu = min(c.wanted, left*c.shares/shares)
		left -= c.cpu
		shares -= c.shares
	}
}

// sum returns what the node's pods use: millicores, bytes.
func (n *nodeUsage) sum() (cpu, memory float64) {
	n.share()
	for p := range n.pods {
		for _, c := range p.containers {
			cpu += c.cpu
			memory += c.memory
		}
	}
	return cpu, memory
}

// The quantities are in the units of metrics-server: nanocores, and KiB.
func cpuQuantity(millicores float64) resource.Quantity {
	return *resource.NewScaledQuantity(int64(millicores*1e6), resource.Nano)
}

func memoryQuantity(bytes float64) resource.Quantity {
	return *resource.NewQuantity(int64(bytes), resource.BinarySI)
}

// usageOf is what the metrics API tells of a node, a pod or a container.
type usageOf struct {
	namespace, name string
	labels          map[string]string
	created         metav1.Time
	cpu, memory     float64
	containers      []containerUsage
	// The figures are the mean over window, up to at.
	at     time.Time
	window time.Duration
}

// nodesMatching returns the nodes with these labels, in order.
func (u *usageSimulation) nodesMatching(name string, selector labels.Selector) []usageOf {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []usageOf
	now := time.Now()
	for _, n := range u.nodes {
		if !n.known || name != "" && n.name != name || !selector.Matches(labels.Set(n.labels)) {
			continue
		}
		cpu, memory := n.sum()
		all = append(all, usageOf{name: n.name, labels: n.labels, created: n.created, cpu: cpu, memory: memory, at: now, window: usageWindow})
	}
	for nodeName, r := range u.real {
		s := r.scraped[scrapeKey{}]
		if s.window == 0 || name != "" && nodeName != name || !selector.Matches(labels.Set(r.labels)) {
			continue
		}
		all = append(all, usageOf{name: nodeName, labels: r.labels, created: r.created, cpu: s.rate, memory: s.memory, at: s.at, window: s.window})
	}
	slices.SortFunc(all, func(a, b usageOf) int { return cmp.Compare(a.name, b.name) })
	return all
}

// podsMatching returns the pods with these labels of which a container runs,
// in order. An empty namespace is all of them.
func (u *usageSimulation) podsMatching(namespace, name string, selector labels.Selector) []usageOf {
	u.mu.Lock()
	defer u.mu.Unlock()
	var all []usageOf
	now := time.Now()
	add := func(p *podUsage) {
		if len(p.containers) == 0 || !selector.Matches(labels.Set(p.labels)) {
			return
		}
		o := usageOf{namespace: p.namespace, name: p.name, labels: p.labels, created: p.created, containers: slices.Clone(p.containers), at: now, window: usageWindow}
		if r := u.real[p.node]; r != nil {
			for i := range o.containers {
				c := &o.containers[i]
				s := r.scraped[scrapeKey{p.namespace, p.name, c.name}]
				if s.window == 0 {
					return // as metrics-server: all of them or none
				}
				c.cpu, c.memory, o.at, o.window = s.rate, s.memory, s.at, s.window
			}
		} else if n := u.nodes[p.node]; n != nil && n.known {
			n.share()
			copy(o.containers, p.containers)
		} else {
			return
		}
		all = append(all, o)
	}
	for ns, pods := range u.pods {
		if namespace != "" && ns != namespace {
			continue
		}
		if name != "" {
			if p := pods[name]; p != nil {
				add(p)
			}
			continue
		}
		for _, p := range pods {
			add(p)
		}
	}
	slices.SortFunc(all, func(a, b usageOf) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
	return all
}

// podStore and nodeStore take what the reflectors read; nothing is kept but
// what is calculated from it.
type (
	podStore  struct{ u *usageSimulation }
	nodeStore struct{ u *usageSimulation }
)

func (s podStore) Add(o any) error {
	s.u.setPod(o.(*corev1.Pod))
	return nil
}

func (s podStore) Update(o any) error { return s.Add(o) }

func (s podStore) Delete(o any) error {
	p := o.(*corev1.Pod)
	s.u.removePod(p.Namespace, p.Name)
	return nil
}

func (s podStore) Replace(list []any, _ string) error {
	there := make(map[types.NamespacedName]bool, len(list))
	for _, o := range list {
		p := o.(*corev1.Pod)
		there[types.NamespacedName{Namespace: p.Namespace, Name: p.Name}] = true
		s.u.setPod(p)
	}
	s.u.mu.Lock()
	for ns, pods := range s.u.pods {
		for name := range pods {
			if !there[types.NamespacedName{Namespace: ns, Name: name}] {
				s.u.dropPod(ns, name)
			}
		}
	}
	s.u.mu.Unlock()
	s.u.once[0].Do(func() { close(s.u.listed[0]) })
	return nil
}

func (podStore) Resync() error { return nil }

func (s nodeStore) Add(o any) error {
	s.u.setNode(o.(*corev1.Node))
	return nil
}

func (s nodeStore) Update(o any) error { return s.Add(o) }

func (s nodeStore) Delete(o any) error {
	s.u.removeNode(o.(*corev1.Node).Name)
	return nil
}

func (s nodeStore) Replace(list []any, _ string) error {
	there := map[string]bool{}
	for _, o := range list {
		n := o.(*corev1.Node)
		there[n.Name] = true
		s.u.setNode(n)
	}
	s.u.mu.Lock()
	maps.DeleteFunc(s.u.real, func(name string, _ *realNode) bool { return !there[name] })
	for name, n := range s.u.nodes {
		if n.known && !there[name] {
			n.known = false
			s.u.forget(n)
		}
	}
	s.u.mu.Unlock()
	s.u.once[1].Do(func() { close(s.u.listed[1]) })
	return nil
}

func (nodeStore) Resync() error { return nil }
