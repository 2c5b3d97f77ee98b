package kube

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	apiv1 "github.com/Azure/eno/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// AllNamespaces in Options.Also observes every namespace.
const AllNamespaces = "*"

// observed returns the namespaces to observe; "" alone is all of them.
func (o *Observer) observed() []string {
	if slices.Contains(o.Also, AllNamespaces) {
		return []string{metav1.NamespaceAll}
	}
	out := []string{o.Namespace}
	for _, namespace := range o.Also {
		if namespace != "" && !slices.Contains(out, namespace) {
			out = append(out, namespace)
		}
	}
	return out
}

// connect makes the sources for a new connection.
func (o *Observer) connect(conn *Conn) {
	conn.pulse.stall = o.patience.stall
	// Pods, Deployments and nodes are in every cluster; the other kinds may be
	// absent or not allowed, and the sync does not wait for them.
	sources := []*source{{kind: mapping.KindNode, example: &corev1.Node{}, list: resourceOf(conn.core.Nodes(), nil)}}
	add := func(kind, namespace string, example any, list listWatch, into sink) {
		sources = append(sources, &source{kind: kind, namespace: namespace, example: example, list: list, sink: into, optional: true})
	}
	named := func(name string) func(*metav1.ListOptions) {
		selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		return func(lo *metav1.ListOptions) { lo.FieldSelector = selector }
	}
	for _, ns := range o.observed() {
		notSynthesizers := func(lo *metav1.ListOptions) { lo.LabelSelector = eno.ManagedByLabel + "!=eno" }
		sources = append(sources,
			&source{kind: mapping.KindDeployment, namespace: ns, example: &appsv1.Deployment{}, list: resourceOf(conn.apps.Deployments(ns), nil)},
			&source{kind: mapping.KindPod, namespace: ns, example: &corev1.Pod{}, list: resourceOf(conn.core.Pods(ns), notSynthesizers)},
		)
		add(mapping.KindService, ns, &corev1.Service{}, resourceOf(conn.core.Services(ns), nil), &serviceSink{o.services, ns})
		add("endpointslice", ns, &discoveryv1.EndpointSlice{}, resourceOf(conn.discovery.EndpointSlices(ns), nil), &sliceSink{o.services, ns})
		add(mapping.KindIngress, ns, &networkingv1.Ingress{}, resourceOf(conn.networking.Ingresses(ns), nil), nil)
		add(mapping.KindHPA, ns, &autoscalingv2.HorizontalPodAutoscaler{}, resourceOf(conn.autoscaling.HorizontalPodAutoscalers(ns), nil), nil)
		add(mapping.KindCronJob, ns, &batchv1.CronJob{}, resourceOf(conn.batch.CronJobs(ns), nil), nil)
		add(mapping.KindJob, ns, &batchv1.Job{}, resourceOf(conn.batch.Jobs(ns), nil), nil)
		var one func(*metav1.ListOptions)
		if ns != metav1.NamespaceAll {
			one = named(ns)
		}
		add(mapping.KindNamespace, ns, &corev1.Namespace{}, resourceOf(conn.core.Namespaces(), one), &namespaceSink{o.namespaces, ns})
		add("resourcequota", ns, &corev1.ResourceQuota{}, resourceOf(conn.core.ResourceQuotas(ns), nil), &quotaSink{o.namespaces, ns})
	}
	compositions := conn.dynamic.Resource(apiv1.SchemeGroupVersion.WithResource("compositions")).Namespace(o.Namespace)
	add(mapping.KindComposition, o.Namespace, nil, resourceOf(compositions, nil), nil)
	if o.onTopology != nil {
		add("topology", o.Namespace, &corev1.ConfigMap{}, resourceOf(conn.core.ConfigMaps(o.Namespace), named(eno.ConfigMapName)), &topologySink{tell: o.onTopology})
	}
	for _, s := range sources {
		s.observer = o
		s.list.watch = (&resumer{what: s.name(), open: s.list.watch, fruitless: o.patience.fruitless, log: o.Log}).watch
		if s.sink == nil {
			s.sink = &objectSink{kind: s.kind, namespace: s.namespace, observer: o}
		}
		s.renew()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sources = sources
}

// lister is what every client of one resource can do.
type lister[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// listWatch is one resource as client-go's Reflector wants it.
type listWatch struct {
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// resourceOf lists and watches with a client; adjust may narrow what it asks
// for.
func resourceOf[L runtime.Object](c lister[L], adjust func(*metav1.ListOptions)) listWatch {
	if adjust == nil {
		adjust = func(*metav1.ListOptions) {}
	}
	return listWatch{
		list: func(ctx context.Context, lo metav1.ListOptions) (runtime.Object, error) {
			adjust(&lo)
			return c.List(ctx, lo)
		},
		watch: func(ctx context.Context, lo metav1.ListOptions) (watch.Interface, error) {
			adjust(&lo)
			return c.Watch(ctx, lo)
		},
	}
}

func (l listWatch) List(o metav1.ListOptions) (runtime.Object, error) {
	return l.list(context.Background(), o)
}
func (l listWatch) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return l.watch(context.Background(), o)
}
func (l listWatch) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	return l.list(ctx, o)
}
func (l listWatch) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	return l.watch(ctx, o)
}

// source feeds one kind of object from a Reflector into the tracker. It is the
// Reflector's store, but it keeps nothing that is not trimmed.
type source struct {
	kind, namespace string
	example         any
	list            listWatch
	sink            sink
	observer        *Observer
	// optional sources hold up the sync only for a moment, because the cluster
	// may not know their kind.
	optional  bool
	reflector *cache.Reflector
	// failing is since when nothing could be read, told whether the player
	// knows. They belong to the goroutine that runs the source.
	failing time.Time
	told    bool
}

var _ cache.TransformingStore = (*source)(nil)

// name is how messages call what the source reads.
func (s *source) name() string {
	if s.namespace == "" {
		return s.kind
	}
	return s.kind + " in " + s.namespace
}

// renew forgets how far the watch was.
func (s *source) renew() {
	s.reflector = cache.NewReflectorWithOptions(s.list, s.example, s, cache.ReflectorOptions{
		Name: s.kind,
		Backoff: &wait.Backoff{
			Duration: 20 * time.Millisecond, Cap: 250 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 1 << 20,
		},
	})
}

// run lists and watches until ctx ends. A watch that ended is taken up where it
// was; one that cannot be (410 Gone) begins with a list, which is quiet.
func (s *source) run(ctx context.Context) {
	o := s.observer
	s.failing, s.told = time.Time{}, false
	delay := reconnectMin
	for ctx.Err() == nil {
		started := time.Now()
		err := s.reflector.ListAndWatchWithContext(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) > time.Second {
			delay = reconnectMin
		}
		most := reconnectMax
		switch {
		case err == nil:
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			s.refuse(err)
			delay, most = o.patience.refused, o.patience.refused
		case s.optional && (apierrors.IsNotFound(err) || meta.IsNoMatchError(err)):
			o.listed(s)
			switch {
			case o.ListenOnly || s.kind != mapping.KindComposition:
				delay, most = 10*reconnectMax, 10*reconnectMax
			default:
				delay = 2 * reconnectMin // Eno is on its way
			}
		default:
			o.Log.Debug("watch ended", "what", s.name(), "reason", err)
			s.fail(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
			delay = min(delay*3/2, most)
		}
	}
}

// refuse notes that the cluster does not allow what the source asks for. The
// player is told once, and again only after it was allowed.
func (s *source) refuse(err error) {
	o := s.observer
	o.mu.Lock()
	told := o.refused[s.name()]
	o.refused[s.name()] = true
	o.mu.Unlock()
	if !told {
		o.Problem("observer", fmt.Sprintf("the cluster does not allow to watch %s: %v", s.name(), err))
	}
	if s.kind == mapping.KindNamespace {
		o.namespaces.setBlind(true, Stamp{Time: o.Now()})
	}
	o.listed(s)
}

// fail notes that nothing could be read. Where that goes on, the player is
// told.
func (s *source) fail(err error) {
	o := s.observer
	if s.failing.IsZero() {
		s.failing = time.Now()
	}
	if s.told || time.Since(s.failing) < o.patience.failing {
		return
	}
	s.told = true
	o.Problem("observer", fmt.Sprintf("%s cannot be read for %v: %v", s.name(), time.Since(s.failing).Round(time.Second), err))
	if s.optional {
		o.listed(s)
	}
}

// healed notes that the source could be read.
func (s *source) healed(at Stamp) {
	o := s.observer
	o.mu.Lock()
	refused := o.refused[s.name()]
	delete(o.refused, s.name())
	o.mu.Unlock()
	if refused || s.told {
		o.Log.Info("it can be read again", "what", s.name())
	}
	s.failing, s.told = time.Time{}, false
	if refused && s.kind == mapping.KindNamespace {
		o.namespaces.setBlind(false, at)
	}
}

// Transformer strips what is held only while a list is gathered.
func (s *source) Transformer() cache.TransformFunc { return strip }

// Add takes over an object that a watch saw appear.
func (s *source) Add(obj any) error { return s.Update(obj) }

// Update takes over an object that a watch saw change.
func (s *source) Update(obj any) error {
	s.sink.put(obj, s.observer.Now())
	return nil
}

// Delete takes over that an object is gone.
func (s *source) Delete(obj any) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	s.sink.remove(m, Stamp{Time: s.observer.Now(), Revision: revisionOf(m)})
	return nil
}

// Replace takes over a list.
func (s *source) Replace(list []any, revision string) error {
	at := Stamp{Time: s.observer.Now()}
	at.Revision, _ = strconv.ParseInt(revision, 10, 64)
	s.healed(at)
	s.sink.replace(list, at)
	s.observer.listed(s)
	return nil
}

// Resync does nothing: there is nothing to repeat.
func (s *source) Resync() error { return nil }

// sink takes over what a source hears. A source calls it from one goroutine.
type sink interface {
	put(obj any, now time.Time)
	remove(m metav1.Object, at Stamp)
	replace(list []any, at Stamp)
}

// objectSink trims each object by itself and gives it to the tracker.
type objectSink struct {
	kind, namespace string
	observer        *Observer
}

func (s *objectSink) put(obj any, now time.Time) {
	if out := s.observer.trim(obj, now); out != nil {
		s.observer.tracker.set(out)
	}
}

func (s *objectSink) remove(m metav1.Object, at Stamp) {
	uid := string(m.GetUID())
	if uid == "" {
		uid = m.GetName()
	}
	s.observer.tracker.remove(Key{s.kind, uid}, at)
}

func (s *objectSink) replace(list []any, at Stamp) {
	objects := make([]Object, 0, len(list))
	for _, obj := range list {
		if out := s.observer.trim(obj, at.Time); out != nil {
			objects = append(objects, out)
		}
	}
	s.observer.tracker.replace(s.kind, s.namespace, objects, at)
}

// topologySink tells the topology's ConfigMap as it is. The callee may keep it.
type topologySink struct{ tell func(*corev1.ConfigMap) }

func (s *topologySink) put(obj any, _ time.Time) {
	if cm, ok := obj.(*corev1.ConfigMap); ok && cm.Name == eno.ConfigMapName {
		s.tell(cm)
	}
}

func (s *topologySink) remove(m metav1.Object, _ Stamp) {
	if m.GetName() == eno.ConfigMapName {
		s.tell(nil)
	}
}

func (s *topologySink) replace(list []any, _ Stamp) {
	for _, obj := range list {
		if cm, ok := obj.(*corev1.ConfigMap); ok && cm.Name == eno.ConfigMapName {
			s.tell(cm)
			return
		}
	}
	s.tell(nil)
}
