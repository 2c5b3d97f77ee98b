package kube

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	apiv1 "github.com/Azure/eno/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// DefaultNamespace is where the instrument lives unless told otherwise.
	DefaultNamespace = "k8s-synth"
	// DefaultHeartbeat is the period of the heartbeat write.
	DefaultHeartbeat = time.Second
	// DefaultWindow is how long changes are gathered into one snapshot. It is
	// well below the latency at which everything sounds.
	DefaultWindow = 3 * time.Millisecond

	// An API that gives no sign of life for silence is unreachable; it is asked
	// every probeEvery, so the loss is known within about a second even where
	// the connection stays open.
	probeEvery = 250 * time.Millisecond
	silence    = 900 * time.Millisecond
	// A lost API is asked for again after reconnectMin, then ever less often:
	// up to reconnectSoon in the first minute, which is when a control plane
	// that starts again comes back, and up to reconnectMax after.
	reconnectMin  = 50 * time.Millisecond
	reconnectSoon = 150 * time.Millisecond
	reconnectMax  = time.Second
	soon          = time.Minute
)

// Options configure an Observer.
type Options struct {
	Source    Source
	Namespace string
	// ListenOnly never writes: the verbs get, list and watch are enough.
	ListenOnly bool
	Heartbeat  time.Duration
	Window     time.Duration
	// Transitions receives what changed, in order. It must not block.
	Transitions func([]mapping.Transition)
	// Problem receives what the player should know. It must not block.
	Problem func(where, text string)
	Log     *slog.Logger
	// Now dates what arrives; time.Now where it is nil.
	Now func() time.Time
}

// Observer watches one namespace and the nodes of a cluster and tells what
// changes. It outlives the API: it says that it is gone, waits for it however
// long, and goes on with the differences.
type Observer struct {
	Options
	tracker *tracker

	// sessions run for as long as the API answers.
	sessions []func(context.Context, *Conn)
	// onComposition hears every state of the instrument's own composition at
	// once, before it is gathered into a snapshot.
	onComposition func(*apiv1.Composition)
	// onTopology hears every state of the topology's ConfigMap at once, whole;
	// nil says that there is none. A relist tells what is already known again.
	onTopology func(*corev1.ConfigMap)

	mu      sync.Mutex
	latency float64
	store   string // identity of the store that the revisions belong to
	sources []*source
	synced  map[string]bool
	refused map[string]bool
}

// NewObserver returns an Observer that Run starts.
func NewObserver(o Options) *Observer {
	if o.Namespace == "" {
		o.Namespace = DefaultNamespace
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = DefaultHeartbeat
	}
	if o.Window <= 0 {
		o.Window = DefaultWindow
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Problem == nil {
		o.Problem = func(string, string) {}
	}
	return &Observer{Options: o, tracker: newTracker(o.Window, o.Now, o.Transitions), refused: map[string]bool{}}
}

// Run observes until ctx ends, and returns its error.
func (o *Observer) Run(ctx context.Context) error {
	o.reachable(false)
	for ctx.Err() == nil {
		conn, mark, err := o.Source.dial(ctx, o.Log)
		if err != nil {
			return err
		}
		o.Log.Info("kubeconfig read", "server", conn.Server, "namespace", o.Namespace)
		o.serve(ctx, conn, mark)
		conn.dialer.CloseAll()
		conn.http.CloseIdleConnections()
	}
	return ctx.Err()
}

// serve runs one session after another on one connection, until the kubeconfig
// changes or ctx ends.
func (o *Observer) serve(ctx context.Context, conn *Conn, mark [sha256.Size]byte) {
	o.connect(conn)
	delay := reconnectMin
	lost := time.Now()
	var said string
	for ctx.Err() == nil {
		store, err := conn.identify(ctx)
		if err == nil {
			o.belong(store)
			o.session(ctx, conn, mark)
			delay, said, lost = reconnectMin, "", time.Now()
		} else if text := cause(err); text != said {
			said = text
			o.Log.Info("the API does not answer yet", "server", conn.Server, "reason", text)
		}
		if o.Source.print() != mark {
			return
		}
		if err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
			most := reconnectSoon
			if time.Since(lost) > soon {
				most = reconnectMax
			}
			delay = min(delay*3/2, most)
		}
	}
}

func cause(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// session observes for as long as the API gives signs of life and the
// kubeconfig stays the same.
func (o *Observer) session(ctx context.Context, conn *Conn, mark [sha256.Size]byte) {
	o.reachable(true)
	o.Log.Info("the API answers", "server", conn.Server)
	sessionCtx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	o.mu.Lock()
	o.synced = map[string]bool{}
	sources := o.sources
	o.mu.Unlock()
	for _, s := range sources {
		wg.Go(func() { s.run(sessionCtx) })
	}
	for _, run := range o.sessions {
		wg.Go(func() { run(sessionCtx, conn) })
	}
	reason := o.attend(sessionCtx, conn, mark)
	cancel()
	conn.dialer.CloseAll()
	if ctx.Err() == nil {
		o.tracker.sync()
		o.reachable(false)
		o.Log.Warn("the API is lost", "server", conn.Server, "reason", reason)
	}
	wg.Wait()
}

// attend returns why the session has to end.
func (o *Observer) attend(ctx context.Context, conn *Conn, mark [sha256.Size]byte) string {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	results := make(chan error, 1)
	asking := false
	ask := func() {
		if asking {
			return
		}
		asking = true
		go func() {
			_, err := conn.identify(ctx)
			results <- err
		}()
	}
	var again <-chan time.Time
	conn.pulse.beat()
	ticks := 0
	for {
		select {
		case <-ctx.Done():
			return ctx.Err().Error()
		case err := <-results:
			asking = false
			switch {
			case err == nil:
			case errors.Is(err, syscall.ECONNREFUSED):
				return cause(err)
			case conn.pulse.quiet() > silence:
				return cause(err)
			default:
				// A connection that broke while it was in use fails the first
				// question too; the next one dials anew.
				o.Log.Debug("no answer", "reason", cause(err))
				if again == nil {
					again = time.After(reconnectMin)
				}
			}
		case <-again:
			again = nil
			ask()
		case <-conn.pulse.poke:
			if again == nil {
				ask()
			}
		case <-ticker.C:
			if conn.pulse.quiet() >= probeEvery {
				ask()
			}
			if quiet := conn.pulse.quiet(); quiet > silence {
				return fmt.Sprintf("no sign of life for %v", quiet.Round(time.Millisecond))
			}
			if ticks++; ticks%4 == 0 && o.Source.print() != mark {
				return "the kubeconfig changed"
			}
		}
	}
}

// belong notes which store the revisions belong to. Where the control plane was
// made anew, they count from the start, and the sources begin anew too.
func (o *Observer) belong(store string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if store == "" || store == o.store {
		return
	}
	if o.store != "" {
		o.Log.Warn("another cluster answers at this address: its state replaces the one known")
		o.tracker.forget()
		for _, s := range o.sources {
			s.renew()
		}
	}
	o.store = store
}

// connect makes the sources for a new connection.
func (o *Observer) connect(conn *Conn) {
	notSynthesizers := eno.ManagedByLabel + "!=eno"
	sources := []*source{
		{kind: mapping.KindNode, example: &corev1.Node{}, list: listWatch{
			list: func(ctx context.Context, lo metav1.ListOptions) (runtime.Object, error) {
				return conn.core.Nodes().List(ctx, lo)
			},
			watch: func(ctx context.Context, lo metav1.ListOptions) (watch.Interface, error) {
				return conn.core.Nodes().Watch(ctx, lo)
			},
		}},
		{kind: mapping.KindDeployment, example: &appsv1.Deployment{}, list: listWatch{
			list: func(ctx context.Context, lo metav1.ListOptions) (runtime.Object, error) {
				return conn.apps.Deployments(o.Namespace).List(ctx, lo)
			},
			watch: func(ctx context.Context, lo metav1.ListOptions) (watch.Interface, error) {
				return conn.apps.Deployments(o.Namespace).Watch(ctx, lo)
			},
		}},
		{kind: mapping.KindPod, example: &corev1.Pod{}, list: listWatch{
			list: func(ctx context.Context, lo metav1.ListOptions) (runtime.Object, error) {
				lo.LabelSelector = notSynthesizers
				return conn.core.Pods(o.Namespace).List(ctx, lo)
			},
			watch: func(ctx context.Context, lo metav1.ListOptions) (watch.Interface, error) {
				lo.LabelSelector = notSynthesizers
				return conn.core.Pods(o.Namespace).Watch(ctx, lo)
			},
		}},
	}
	compositions := conn.dynamic.Resource(apiv1.SchemeGroupVersion.WithResource("compositions")).Namespace(o.Namespace)
	sources = append(sources, &source{kind: mapping.KindComposition, example: nil, optional: true, list: listWatch{
		list: func(ctx context.Context, lo metav1.ListOptions) (runtime.Object, error) {
			return compositions.List(ctx, lo)
		},
		watch: func(ctx context.Context, lo metav1.ListOptions) (watch.Interface, error) {
			return compositions.Watch(ctx, lo)
		},
	}})
	if o.onTopology != nil {
		only := fields.OneTermEqualSelector(metav1.ObjectNameField, eno.ConfigMapName).String()
		sources = append(sources, &source{kind: "topology", example: &corev1.ConfigMap{}, optional: true, sink: &topologySink{tell: o.onTopology}, list: listWatch{
			list: func(ctx context.Context, lo metav1.ListOptions) (runtime.Object, error) {
				lo.FieldSelector = only
				return conn.core.ConfigMaps(o.Namespace).List(ctx, lo)
			},
			watch: func(ctx context.Context, lo metav1.ListOptions) (watch.Interface, error) {
				lo.FieldSelector = only
				return conn.core.ConfigMaps(o.Namespace).Watch(ctx, lo)
			},
		}})
	}
	for _, s := range sources {
		s.observer = o
		if s.sink == nil {
			s.sink = &objectSink{kind: s.kind, observer: o}
		}
		s.renew()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sources = sources
}

func (o *Observer) reachable(yes bool) {
	o.tracker.update(Key{mapping.KindAPIServer, mapping.KindAPIServer}, func(Object) Object {
		return &APIServer{Stamp: Stamp{Time: o.Now()}, Reachable: yes}
	})
}

// listed notes that a source has its list. Once all have, the observer is
// synced.
func (o *Observer) listed(kind string) {
	o.mu.Lock()
	if !o.synced[kind] {
		o.Log.Debug("listed", "kind", kind)
	}
	o.synced[kind] = true
	all := len(o.synced) == len(o.sources)
	o.mu.Unlock()
	if !all {
		return
	}
	o.tracker.update(Key{mapping.KindAPIServer, mapping.KindAPIServer}, func(was Object) Object {
		a, ok := was.(*APIServer)
		if !ok || !a.Reachable || a.Synced {
			return nil
		}
		return &APIServer{Stamp: Stamp{Time: o.Now()}, Reachable: true, Synced: true}
	})
}

// beat notes what a write or read told about the store.
func (o *Observer) beaten(revision int64, latency time.Duration) {
	o.tracker.update(Key{mapping.KindEtcd, mapping.KindEtcd}, func(Object) Object {
		return &Etcd{Stamp: Stamp{Time: o.Now(), Revision: revision}, Latency: latency.Seconds()}
	})
}

// applied notes how long a topology took from publication to its objects. It
// is told with the state of the composition that showed it.
func (o *Observer) applied(latency time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.latency = latency.Seconds()
}

// trim turns an object of the API into one of a Snapshot.
func (o *Observer) trim(obj any, now time.Time) Object {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil
	}
	at := Stamp{Time: now, Revision: revisionOf(m)}
	switch obj := obj.(type) {
	case *corev1.Pod:
		return trimPod(obj, at)
	case *corev1.Node:
		return trimNode(obj, at)
	case *appsv1.Deployment:
		return trimDeployment(obj, at)
	case *unstructured.Unstructured:
		c := &apiv1.Composition{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, c); err != nil {
			o.Log.Warn("a composition that cannot be read", "name", obj.GetName(), "reason", err)
			return nil
		}
		out := trimComposition(c, at)
		if c.Name == eno.CompositionName {
			if o.onComposition != nil {
				o.onComposition(c)
			}
			o.mu.Lock()
			out.Latency = o.latency
			o.mu.Unlock()
		}
		return out
	}
	return nil
}

// listWatch is one resource as client-go's Reflector wants it.
type listWatch struct {
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
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
	kind     string
	example  any
	list     listWatch
	sink     sink
	observer *Observer
	// optional sources do not hold up the sync where the cluster does not know
	// their kind.
	optional  bool
	reflector *cache.Reflector
}

var _ cache.TransformingStore = (*source)(nil)

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
			o.mu.Lock()
			told := o.refused[s.kind]
			o.refused[s.kind] = true
			o.mu.Unlock()
			if !told {
				o.Problem("observer", fmt.Sprintf("the cluster does not allow to watch %ss: %v", s.kind, err))
			}
			o.listed(s.kind)
			delay, most = 10*reconnectMax, 10*reconnectMax
		case s.optional && (apierrors.IsNotFound(err) || meta.IsNoMatchError(err)):
			o.listed(s.kind)
			if o.ListenOnly {
				delay, most = 10*reconnectMax, 10*reconnectMax
			} else {
				delay = 2 * reconnectMin // Eno is on its way
			}
		default:
			o.Log.Debug("watch ended", "kind", s.kind, "reason", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
			delay = min(delay*3/2, most)
		}
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
	s.sink.replace(list, at)
	s.observer.listed(s.kind)
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
	kind     string
	observer *Observer
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
	s.observer.tracker.replace(s.kind, objects, at)
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
