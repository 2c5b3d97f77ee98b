package kube

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	apiv1 "github.com/Azure/eno/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// DefaultNamespace is where the instrument lives unless told otherwise.
	DefaultNamespace = "k8s-synth"
	// DefaultHeartbeat is the period of the heartbeat write.
	DefaultHeartbeat = time.Second
	// DefaultMetrics is how often the load of pods and nodes is asked for.
	DefaultMetrics = time.Second
	// DefaultWindow is how long changes are gathered into one snapshot. It is
	// well below the latency at which everything sounds.
	DefaultWindow = 3 * time.Millisecond

	// An API that gives no sign of life for silence is unreachable; it is asked
	// every probeEvery, so the loss is known within about a second even where
	// the connection stays open.
	probeEvery = 250 * time.Millisecond
	silence    = 900 * time.Millisecond
	// An API whose answers are slow is given four times as long as it takes, up
	// to slowest.
	slowest = 5 * time.Second
	// throttleGap is after how long without a refusal an API is no longer
	// throttled.
	throttleGap = 5 * time.Second
	// A lost API is asked for again after reconnectMin, then ever less often:
	// up to reconnectSoon in the first minute, which is when a control plane
	// that starts again comes back, and up to reconnectMax after.
	reconnectMin  = 50 * time.Millisecond
	steadySession = time.Second // a shorter one is no reason to hurry to the next
	reconnectSoon = 150 * time.Millisecond
	reconnectMax  = time.Second
	soon          = time.Minute
)

// patience is how long the observer waits for what may never come.
type patience struct {
	// stall is after how long without a byte a watch is given up and taken up
	// again where it was: servers send a bookmark every minute.
	stall time.Duration
	// fruitless is how many streams of a watch in a row may break off without
	// a word before what there is is listed again.
	fruitless int
	// optional is how long the sync waits for the lists of kinds that are not
	// everywhere.
	optional time.Duration
	// refused is how often what is not allowed is asked for again.
	refused time.Duration
	// failing is after how long the player is told that a kind cannot be read.
	failing time.Duration
}

var defaultPatience = patience{stall: 100 * time.Second, fruitless: 5, optional: 3 * time.Second, refused: 5 * time.Second, failing: 5 * time.Second}

// Options configure an Observer.
type Options struct {
	Source Source
	// Namespace is where the instrument plays: that of the topology.
	Namespace string
	// Also names further namespaces to observe; "*" is all there are, with one
	// watch of the whole cluster for each kind.
	Also []string
	// ListenOnly never writes: the verbs get, list and watch are enough.
	ListenOnly bool
	Heartbeat  time.Duration
	Window     time.Duration
	// Metrics is how often the load of pods and nodes is asked for, negative
	// for never.
	Metrics time.Duration
	// Transitions receives what changed, in order. It must not block.
	Transitions func([]mapping.Transition)
	// Problem receives what the player should know. It must not block.
	Problem func(where, text string)
	Log     *slog.Logger
	// Now dates what arrives. Where it is nil, it is the time of the clock at
	// the start and runs on evenly from there, so that a clock that is set does
	// not put the past after the present.
	Now func() time.Time
	// Clock is the time of day, from which the next ticks of schedules are
	// counted; time.Now where it is nil.
	Clock func() time.Time
}

// Observer watches namespaces and the nodes of a cluster and tells what
// changes. It outlives the API: it says that it is gone, waits for it however
// long, and goes on with the differences.
type Observer struct {
	Options
	tracker    *tracker
	services   *services
	namespaces *namespaces
	patience   patience

	// sessions run for as long as the API answers.
	sessions []func(context.Context, *Conn)
	// onComposition hears every state of the instrument's own composition at
	// once, before it is gathered into a snapshot.
	onComposition func(*apiv1.Composition)
	// onTopology hears every state of the topology's ConfigMap at once, whole;
	// nil says that there is none. A relist tells what is already known again.
	onTopology func(*corev1.ConfigMap)
	// throttle is since when the API asks to come back later. It belongs to the
	// goroutine of Run.
	throttle struct {
		since, last time.Time
		told        bool
	}

	mu      sync.Mutex
	latency float64
	store   string // identity of the store that the revisions belong to
	sources []*source
	synced  map[*source]bool
	refused map[string]bool // by the name of the source
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
	if o.Metrics == 0 {
		o.Metrics = DefaultMetrics
	}
	if o.Now == nil {
		start := time.Now()
		o.Now = func() time.Time { return start.Add(time.Since(start)) }
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Problem == nil {
		o.Problem = func(string, string) {}
	}
	t := newTracker(o.Window, o.Now, o.Transitions)
	return &Observer{Options: o, tracker: t, services: newServices(t), namespaces: newNamespaces(t), refused: map[string]bool{}, patience: defaultPatience}
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
		steady := false
		if err == nil {
			o.belong(store)
			began := time.Now()
			o.session(ctx, conn, mark)
			said = ""
			// An API that answers and refuses at once is not asked in a loop.
			if steady = time.Since(began) >= steadySession; steady {
				delay, lost = reconnectMin, time.Now()
			}
		} else if text := cause(err); text != said {
			said = text
			o.Log.Info("the API does not answer yet", "server", conn.Server, "reason", text)
		}
		if o.Source.print() != mark {
			return
		}
		if steady {
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
	o.synced = map[*source]bool{}
	sources := o.sources
	o.mu.Unlock()
	for _, s := range sources {
		wg.Go(func() { s.run(sessionCtx) })
	}
	for _, run := range o.sessions {
		wg.Go(func() { run(sessionCtx, conn) })
	}
	wg.Go(func() { o.housekeeping(sessionCtx) })
	if o.Metrics > 0 {
		wg.Go(func() { o.meter(sessionCtx, conn) })
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

// noteThrottle tells the player, once, where the API asks to come back later
// for a while. One that starts does so for a moment.
func (o *Observer) noteThrottle(again bool) {
	now, t := time.Now(), &o.throttle
	if !again {
		if now.Sub(t.last) > throttleGap {
			t.since, t.told = time.Time{}, false
		}
		return
	}
	t.last = now
	if t.since.IsZero() {
		t.since = now
	}
	if !t.told && now.Sub(t.since) > o.patience.failing {
		t.told = true
		o.Problem(mapping.KindAPIServer, "the API has too much to do and asks to come back later (429): what it tells comes late")
	}
}

// housekeeping does what no event of the cluster sets off.
func (o *Observer) housekeeping(ctx context.Context) {
	ticker := time.NewTicker(calendarEvery)
	defer ticker.Stop()
	optional := time.After(o.patience.optional)
	for {
		select {
		case <-ctx.Done():
			return
		case <-optional:
			o.mu.Lock()
			sources := o.sources
			o.mu.Unlock()
			for _, s := range sources {
				if s.optional {
					o.listed(s)
				}
			}
		case <-ticker.C:
			o.keepCalendar()
		}
	}
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
	looked := time.Now()
	// A program that was held up itself, as on a machine that others use, has
	// heard nothing meanwhile: that is no silence of the API's.
	look := func() {
		if held := time.Since(looked); held > 2*probeEvery {
			conn.pulse.pardon(held - probeEvery)
		}
		looked = time.Now()
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err().Error()
		case err := <-results:
			asking = false
			look()
			switch {
			case err == nil:
			case errors.Is(err, syscall.ECONNREFUSED):
				return cause(err)
			case conn.pulse.quiet() > conn.pulse.patience():
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
			look()
			if conn.pulse.quiet() >= probeEvery {
				ask()
			}
			if quiet := conn.pulse.quiet(); quiet > conn.pulse.patience() {
				return fmt.Sprintf("no sign of life for %v", quiet.Round(time.Millisecond))
			}
			o.noteThrottle(conn.pulse.throttled.Swap(false))
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
		o.services.forget()
		o.namespaces.forget()
		for _, s := range o.sources {
			s.renew()
		}
	}
	o.store = store
}

func (o *Observer) reachable(yes bool) {
	o.tracker.update(Key{mapping.KindAPIServer, mapping.KindAPIServer}, func(Object) Object {
		return &APIServer{Stamp: Stamp{Time: o.Now()}, Reachable: yes}
	})
}

// listed notes that a source has its list, or that it is not waited for. Once
// all have, the observer is synced.
func (o *Observer) listed(s *source) {
	o.mu.Lock()
	if !o.synced[s] {
		o.Log.Debug("listed", "what", s.name())
	}
	o.synced[s] = true
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
	case *networkingv1.Ingress:
		return trimIngress(obj, at)
	case *autoscalingv2.HorizontalPodAutoscaler:
		return trimHPA(obj, at)
	case *batchv1.CronJob:
		return trimCronJob(obj, at, o.Clock())
	case *batchv1.Job:
		return trimJob(obj, at)
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
