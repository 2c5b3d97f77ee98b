package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apiv1 "github.com/Azure/eno/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// gateTimeout opens the gate although Eno has not answered: the newest
	// topology must not wait behind one that nobody takes. To open it earlier
	// was tried on a busy machine, and was not shown to help.
	gateTimeout = 2 * time.Second
	// enoPatience is after how long without an answer the player is told that
	// Eno is missing. While the cluster boots, it is for some seconds.
	enoPatience = 30 * time.Second
	// keepEvery is how often the objects that the topology hangs on are looked
	// for, in case another hand deleted them.
	keepEvery = 5 * time.Second
	// writesName is the ConfigMap that the etcd module writes to.
	writesName = "k8s-synth-writes"
	// maxActions bounds the actions that wait; the etcd module's trigger may be
	// faster than the store.
	maxActions = 64
)

var (
	// ErrListenOnly says that nothing may be written to this cluster.
	ErrListenOnly = errors.New("listening only: nothing is written to this cluster")
	// ErrNotOurs says that an object does not carry our label.
	ErrNotOurs = errors.New("not an object of k8s-synth")
	// ErrUnreachable says that the API does not answer at the moment.
	ErrUnreachable = errors.New("the Kubernetes API does not answer")
)

// Publisher writes the topology of the patch into its ConfigMap and does the
// player's actions. The next topology is written once Eno's composition shows
// the last one, or an error, or too much time has passed; of those that came
// meanwhile, the latest wins. What was turned while the API was away is
// written when it is back.
type Publisher struct {
	observer *Observer
	log      *slog.Logger
	actions  chan mapping.Action
	wake     chan struct{}

	// notes are Events that wait to be written; pods is stirred where endpoints
	// may have changed.
	notes    chan note
	pods     chan struct{}
	placed   chan struct{} // a topology has been written
	settings *settings
	reach    *reach
	router   *router
	// requests holds a place for each request under way.
	requests      chan struct{}
	ingressClient *http.Transport
	// OnEdit hears of a topology that another hand wrote. It must not block.
	OnEdit func(mapping.Edit)

	mu       sync.Mutex
	attached bool
	// wanted is the newest topology, count tells it from the last one;
	// published is the count of the one in the store.
	wanted           *mapping.Topology
	count, published int64
	// flight is what Eno has not taken yet, oldest what it has not applied.
	flight *flight
	oldest *flight
	// unanswered is since when Eno has taken nothing, answered the newest
	// revision that it took.
	unanswered time.Time
	answered   int64
	told       bool
	failed     string // UUID of the synthesis under way that shows an error
	// undone is the synthesis that Eno has still to carry out, hastened the
	// input revision of the last one for which another was asked.
	undone   unapplied
	hastened int64
	problem  string

	// version is the resource version of the ConfigMap as it was last seen, ""
	// where there is none; only on that is written. revision and uid are the
	// same object's.
	version  string
	revision int64
	uid      types.UID
	// known is the hash of the text that we wrote or took over last, base the
	// topology that it says. writing holds texts of which it is not certain
	// whether they have been written.
	known   string
	base    *mapping.Topology
	writing map[string]mapping.Topology
	// edit waits for the instrument; rejected stands in the ConfigMap and
	// cannot be read.
	edit     *edit
	rejected *rejection
}

// flight is one publication: the ConfigMap's revision and when it was asked.
type flight struct {
	revision int64
	at       time.Time
}

// NewPublisher returns the Publisher of an observer's namespace. It works in
// the observer's sessions, so it must be made before Run.
func NewPublisher(o *Observer) *Publisher {
	p := &Publisher{
		observer: o, log: o.Log,
		actions: make(chan mapping.Action, maxActions), wake: make(chan struct{}, 1), notes: make(chan note, maxNotes),
		OnEdit: func(mapping.Edit) {}, writing: map[string]mapping.Topology{},
		pods: make(chan struct{}, 1), placed: make(chan struct{}, 1), settings: newSettings(), requests: make(chan struct{}, maxRequests),
		ingressClient: &http.Transport{DialContext: (&net.Dialer{Timeout: requestTimeout}).DialContext, MaxIdleConnsPerHost: 8, IdleConnTimeout: 10 * time.Second},
	}
	p.reach = newReach(o, ReachAuto, p.policyOf)
	p.router = newRouter(p)
	o.sessions = append(o.sessions, p.session)
	o.onComposition = p.composition
	if !o.ListenOnly {
		o.onTopology = p.topology
	}
	return p
}

// ReachBy sets the way that requests to Services take: ReachAuto, ReachDirect
// or ReachProxy. It must be called before Run.
func (p *Publisher) ReachBy(mode string) error {
	switch mode {
	case ReachAuto, ReachDirect, ReachProxy:
		p.reach.mode = mode
		return nil
	}
	return fmt.Errorf("reach %q is none of %s, %s, %s", mode, ReachAuto, ReachDirect, ReachProxy)
}

// ServeIngress serves the IngressClass k8s-synth at an address of this machine
// until Close.
func (p *Publisher) ServeIngress(address string) error { return p.router.listen(address) }

// Close ends the ingress.
func (p *Publisher) Close() { p.router.close() }

// Saw takes notice of what the observer tells. It never blocks.
func (p *Publisher) Saw(ts []mapping.Transition) {
	if p.observer.ListenOnly {
		return
	}
	p.settings.saw(ts)
	p.sawPods(ts)
}

// Publish takes over a topology. It returns at once: an error says what is
// wrong with the topology itself, and that nothing will be published.
func (p *Publisher) Publish(t mapping.Topology) error {
	if p.observer.ListenOnly {
		return ErrListenOnly
	}
	if t.Namespace == "" {
		t.Namespace = p.observer.Namespace
	}
	if t.Namespace != p.observer.Namespace {
		return fmt.Errorf("%w: namespace: %q, but this program was started for %q", eno.ErrInvalidTopology, t.Namespace, p.observer.Namespace)
	}
	if err := eno.Validate(t); err != nil {
		return err
	}
	p.mu.Lock()
	t, conflicts := p.joined(t)
	p.wanted = &t
	p.count++
	p.mu.Unlock()
	p.tellConflicts(conflicts)
	p.stir()
	return nil
}

// joined returns a topology of the instrument's with the edit that it has not
// taken over yet, and what has to be told about it. The lock is held.
func (p *Publisher) joined(t mapping.Topology) (mapping.Topology, []string) {
	e := p.edit
	if e == nil {
		return t, nil
	}
	if time.Now().After(e.until) {
		p.edit = nil
		if left := flatten(t).changed(e.theirs); len(left) > 0 && len(e.waiting()) > 0 {
			return t, []string{fmt.Sprintf("the patch did not take over the edit of %s within %v, and overrules it: %s", e.by, editPatience, placeNames(e.waiting()))}
		}
		return t, nil
	}
	merged, conflicts := e.apply(t)
	var told []string
	for _, c := range conflicts {
		told = append(told, c.String())
	}
	if err := eno.Validate(merged); err != nil {
		p.edit = nil
		return t, append(told, fmt.Sprintf("the edit of %s and the patch do not go together, and the patch overrules it: %v", e.by, err))
	}
	if len(e.waiting()) == 0 {
		p.edit = nil
	}
	return merged, told
}

func (p *Publisher) tellConflicts(texts []string) {
	for _, text := range texts {
		p.observer.Problem("topology", text)
	}
}

// topology takes over the ConfigMap as the cluster has it, nil where there is
// none. What another hand wrote is handed to the instrument, or refused.
func (p *Publisher) topology(cm *corev1.ConfigMap) {
	if cm == nil {
		p.mu.Lock()
		again := p.version != ""
		if again {
			p.version, p.published, p.flight, p.rejected = "", 0, nil, nil
		}
		p.mu.Unlock()
		if again {
			p.log.Warn("the topology was deleted by another hand, and is written again")
			p.stir()
		}
		return
	}
	if ours(cm, "configmap") != nil {
		return // claim tells it
	}
	text := cm.Data[eno.ConfigMapKey]
	hash, revision := hashOf(text), revisionOf(cm)
	p.mu.Lock()
	if p.uid == cm.UID && p.version != "" && revision < p.revision {
		p.mu.Unlock()
		return // a watch that lags behind
	}
	p.version, p.revision, p.uid = cm.ResourceVersion, revision, cm.UID
	if t, ok := p.writing[hash]; ok {
		p.known, p.base, p.rejected = hash, &t, nil
		p.mu.Unlock()
		return
	}
	if t, ok := p.writing[cm.Annotations[writtenAnnotation]]; ok {
		// What was being written is there, and was edited before its answer
		// came.
		p.known, p.base = cm.Annotations[writtenAnnotation], &t
		delete(p.writing, p.known)
	}
	if hash == p.known || p.rejected != nil && p.rejected.hash == hash {
		if hash == p.known {
			p.rejected = nil
		}
		p.mu.Unlock()
		return
	}
	t, err := readTopology(cm, p.observer.Namespace)
	if p.known == "" && cm.Annotations[writtenAnnotation] == hash {
		// It stands as we left it when we ended.
		p.known = hash
		if err == nil {
			p.base = &t
		}
		p.mu.Unlock()
		return
	}
	by := hand(cm)
	base := mapping.Topology{}
	if p.base != nil {
		base = *p.base
	} else if p.known == "" {
		base = lastWritten(cm)
		if base.Version != 0 {
			p.base = &base
		}
	}
	if err != nil {
		p.rejected = &rejection{text: text, hash: hash, by: by, err: err}
		p.mu.Unlock()
		p.observer.Problem("topology", fmt.Sprintf("the edit of %s is refused, and the last good topology goes on: %v", by, err))
		p.note(cm, corev1.EventTypeWarning, reasonInvalid, err.Error())
		return
	}
	p.known, p.base, p.rejected = hash, &t, nil
	changed := flatten(base).changed(flatten(t))
	if len(changed) == 0 {
		p.mu.Unlock()
		return // only its form was edited
	}
	p.edit = newEdit(p.edit, by, base, t, p.wanted, time.Now().Add(editPatience))
	var conflicts []string
	if p.wanted != nil {
		// Wanted holds the edit from now on, so that no outage brings back
		// what was before it.
		merged, told := p.joined(*p.wanted)
		p.wanted, conflicts = &merged, told
		if len(flatten(t).changed(flatten(merged))) > 0 {
			p.count++ // what stands there now is not all that is wanted
		}
	}
	p.mu.Unlock()
	p.log.Info("the topology was edited", "by", by, "places", placeNames(changed))
	p.OnEdit(mapping.Edit{By: by, Topology: t, Base: base})
	p.tellConflicts(conflicts)
	p.note(cm, corev1.EventTypeNormal, reasonAdopted, fmt.Sprintf("taken over from %s: %s", by, placeNames(changed)))
	p.stir()
}

// look reads the ConfigMap from the store, past any watch.
func (p *Publisher) look(ctx context.Context, conn *Conn) error {
	cm, err := conn.core.ConfigMaps(p.observer.Namespace).Get(ctx, eno.ConfigMapName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		p.topology(nil)
		return nil
	case err != nil:
		return fmt.Errorf("configmap %s/%s: %w", p.observer.Namespace, eno.ConfigMapName, err)
	}
	if err := ours(cm, "configmap"); err != nil {
		return err
	}
	p.topology(cm)
	return nil
}

// Act takes over an action. Actions are of the moment: while the API is away
// they fail, and where more wait than the store can take, they are left out.
func (p *Publisher) Act(a mapping.Action) error {
	if p.observer.ListenOnly {
		return ErrListenOnly
	}
	kinds, ok := verbs[a.Verb]
	if !ok {
		return fmt.Errorf("action %q is none of %s", a.Verb, strings.Join(slices.Sorted(maps.Keys(verbs)), ", "))
	}
	if a.Object.Kind == "" && len(kinds) > 0 {
		a.Object.Kind = kinds[0]
	}
	if len(kinds) > 0 && !slices.Contains(kinds, a.Object.Kind) {
		return fmt.Errorf("%s %s: expected a %s", a.Verb, a.Object, strings.Join(kinds, " or "))
	}
	if a.Object.Name == "" && a.Verb != mapping.VerbWrite {
		return fmt.Errorf("%s: no object is named", a.Verb)
	}
	if a.Verb == mapping.VerbWrite && a.Object.Name != "" {
		if e := validation.IsConfigMapKey(a.Object.Name); len(e) > 0 {
			return fmt.Errorf("write: key %q: %s", a.Object.Name, e[0])
		}
	}
	if n := a.Object.Namespace; n != "" && n != p.observer.Namespace && a.Object.Kind != mapping.KindNode {
		return fmt.Errorf("%s %s in namespace %q is left alone: this program was started for namespace %q", a.Verb, a.Object, n, p.observer.Namespace)
	}
	p.mu.Lock()
	attached := p.attached
	p.mu.Unlock()
	if !attached {
		return fmt.Errorf("%s %s: %w", a.Verb, a.Object.Name, ErrUnreachable)
	}
	select {
	case p.actions <- a:
		return nil
	default:
		return fmt.Errorf("%s %s: %d actions wait for the store already", a.Verb, a.Object.Name, maxActions)
	}
}

// verbs are what can be asked for, each with the kinds that it is done to.
var verbs = map[string][]string{
	mapping.VerbWrite:   nil,
	mapping.VerbDelete:  {mapping.KindPod},
	mapping.VerbRequest: {mapping.KindService, mapping.KindIngress},
	mapping.VerbDrain:   {mapping.KindNode},
	mapping.VerbRun:     {mapping.KindCronJob},
}

func (p *Publisher) stir() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// session publishes while the API answers.
func (p *Publisher) session(ctx context.Context, conn *Conn) {
	o := p.observer
	if o.ListenOnly {
		o.heartbeat(ctx, conn)
		return
	}
	if !p.insist(ctx, "namespace "+o.Namespace, func(ctx context.Context) error { return p.ensureNamespace(ctx, conn) }) {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { o.heartbeat(ctx, conn) })
	wg.Go(func() { p.keep(ctx, conn) })
	wg.Go(func() { p.record(ctx, conn) })
	p.mu.Lock()
	p.version = "" // the store may be another one than before the outage
	p.mu.Unlock()
	if !p.insist(ctx, "topology", func(ctx context.Context) error { return p.look(ctx, conn) }) {
		return
	}
	if !p.insist(ctx, "writes", func(ctx context.Context) error { return p.claim(ctx, conn, writesName) }) {
		return
	}
	p.mu.Lock()
	// What is wanted is applied again, which changes nothing where it is there
	// already.
	p.attached, p.flight, p.oldest, p.published = true, nil, nil, 0
	p.unanswered, p.answered, p.told = time.Time{}, 0, false
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.attached = false
		p.mu.Unlock()
		for len(p.actions) > 0 {
			<-p.actions
		}
	}()
	wg.Go(func() { p.do(ctx, conn) })
	wg.Go(func() { p.makeSettings(ctx, conn) })
	wg.Go(func() { p.foreign(ctx, conn) })
	wg.Go(func() { p.serve(ctx, conn) })
	p.publish(ctx, conn)
}

// do does actions. Writes and deletions are done one after the other; what
// waits for others is done aside.
func (p *Publisher) do(ctx context.Context, conn *Conn) {
	var wg sync.WaitGroup
	defer wg.Wait()
	// A clock may ask ten times a second; what is wrong is told once.
	// What is asked for by hand is told each time.
	var mu sync.Mutex
	once := map[mapping.Object]*tellOnce{}
	onceOf := func(a mapping.Action) *tellOnce {
		if a.Verb == mapping.VerbWrite {
			a.Object = mapping.Object{}
		}
		mu.Lock()
		defer mu.Unlock()
		if once[a.Object] == nil {
			once[a.Object] = &tellOnce{}
		}
		return once[a.Object]
	}
	tell := func(a mapping.Action, err error) {
		clocked := a.Verb == mapping.VerbWrite || a.Verb == mapping.VerbRequest
		switch {
		case err == nil && clocked:
			onceOf(a).well()
		case err != nil && ctx.Err() == nil && (!clocked || onceOf(a).ill(err)):
			p.observer.Problem(a.Verb, err.Error())
		}
	}
	draining := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-p.actions:
			switch a.Verb {
			case mapping.VerbRequest:
				select {
				case p.requests <- struct{}{}:
					wg.Go(func() {
						defer func() { <-p.requests }()
						tell(a, p.request(ctx, a))
					})
				default: // a miss, as on any street that is full
					full := fmt.Errorf("%d requests are under way", maxRequests)
					if a.Object.Kind == mapping.KindService {
						_ = p.tellAnswer(serviceObject(p.observer, a.Object.Name), 0, "", full)
					} else if i := p.router.ingress(a.Object.Name); i != nil {
						p.observer.Tell(mapping.Transition{Time: p.observer.Now(), Object: ingressObject(i), Field: mapping.FieldMissed, New: full.Error()})
					}
				}
			case mapping.VerbDrain:
				mu.Lock()
				already := draining[a.Object.Name]
				draining[a.Object.Name] = true
				mu.Unlock()
				if already {
					continue
				}
				wg.Go(func() {
					tell(a, p.drain(ctx, conn, a.Object))
					mu.Lock()
					delete(draining, a.Object.Name)
					mu.Unlock()
				})
			default:
				tell(a, p.act(ctx, conn, a))
			}
		}
	}
}

// serve keeps what Services and Ingresses need of us: the endpoints of the
// selectors that only we know, the routes of our ingress and its address.
func (p *Publisher) serve(ctx context.Context, conn *Conn) {
	client, err := conn.clientset()
	if err != nil {
		p.observer.Problem("publisher", err.Error())
		return
	}
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(p.observer.Namespace), informers.WithTransform(func(o any) (any, error) {
		if m, err := meta.Accessor(o); err == nil {
			m.SetManagedFields(nil)
		}
		return o, nil
	}))
	services, ingresses := factory.Core().V1().Services(), factory.Networking().V1().Ingresses()
	changed := make(chan struct{}, 1)
	poke := func(c chan struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	handler := func(c chan struct{}) cache.ResourceEventHandlerFuncs {
		return cache.ResourceEventHandlerFuncs{AddFunc: func(any) { poke(c) }, UpdateFunc: func(any, any) { poke(c) }, DeleteFunc: func(any) { poke(c) }}
	}
	_, err = services.Informer().AddEventHandler(handler(p.pods))
	if err == nil {
		_, err = ingresses.Informer().AddEventHandler(handler(changed))
	}
	if err != nil {
		p.observer.Problem("publisher", err.Error())
		return
	}
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	p.reach.connected(conn)
	defer p.reach.connected(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		p.keepEndpoints(ctx, conn, func() ([]*corev1.Service, bool) {
			if !services.Informer().HasSynced() {
				return nil, false
			}
			all, err := services.Lister().List(labels.Everything())
			return all, err == nil
		})
	})
	if !cache.WaitForCacheSync(ctx.Done(), ingresses.Informer().HasSynced) {
		return
	}
	var once tellOnce
	for {
		if all, err := ingresses.Lister().List(labels.Everything()); err == nil {
			p.router.set(all)
		}
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		err := p.router.announce(callCtx, conn)
		cancel()
		switch {
		case err == nil:
			once.well()
		case ctx.Err() == nil && once.ill(err):
			p.observer.Problem("ingress", err.Error())
		}
		again := make(<-chan time.Time)
		if err != nil {
			again = time.After(keepEvery)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-again:
		}
	}
}

// keep makes the objects that the topology hangs on, and makes them again where
// another hand took them away.
func (p *Publisher) keep(ctx context.Context, conn *Conn) {
	namespace := p.observer.Namespace
	synthesizers := conn.dynamic.Resource(apiv1.SchemeGroupVersion.WithResource("synthesizers"))
	compositions := conn.dynamic.Resource(apiv1.SchemeGroupVersion.WithResource("compositions")).Namespace(namespace)
	for {
		p.insist(ctx, "namespace "+namespace, func(ctx context.Context) error { return p.ensureNamespace(ctx, conn) })
		p.insist(ctx, "synthesizer", func(ctx context.Context) error { return p.apply(ctx, synthesizers, eno.Synthesizer()) })
		p.insist(ctx, "composition", func(ctx context.Context) error { return p.apply(ctx, compositions, eno.Composition(namespace)) })
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		if err := p.look(callCtx, conn); err != nil && ctx.Err() == nil {
			p.log.Debug("the topology was not read", "reason", err)
		}
		if err := p.hasten(callCtx, conn, time.Now()); err != nil && ctx.Err() == nil {
			p.log.Warn("another synthesis was not asked for", "reason", err)
		}
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-time.After(keepEvery):
		}
	}
}

// publish writes what is wanted whenever the gate is open.
func (p *Publisher) publish(ctx context.Context, conn *Conn) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	delay := reconnectMin
	var failing time.Time
	var once tellOnce
	for {
		t, count, wait := p.next(time.Now())
		if t != nil {
			err := p.put(ctx, conn, *t, count)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				delay, failing = reconnectMin, time.Time{}
				once.well()
				continue
			}
			if failing.IsZero() {
				failing = time.Now()
			}
			p.log.Warn("the topology was not written", "generation", t.Generation, "reason", err)
			if once.ill(err) {
				p.observer.Problem("publisher", err.Error())
			}
			most := 2 * reconnectSoon
			if time.Since(failing) > soon {
				most = reconnectMax
			}
			// A knob that goes on turning does not ask a sick API more often.
			select {
			case <-ctx.Done():
				return
			case <-time.After(delay):
			}
			delay = min(2*delay, most)
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// next returns the topology to write now and its count, or how long to wait for
// one.
func (p *Publisher) next(now time.Time) (*mapping.Topology, int64, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.unanswered.IsZero() && !p.told && now.Sub(p.unanswered) > enoPatience {
		p.told = true
		p.observer.Problem("composition/"+eno.CompositionName, fmt.Sprintf("Eno has not answered for %v: are eno-controller and eno-reconciler running?", enoPatience))
	}
	if p.wanted == nil || p.count == p.published {
		return nil, 0, time.Minute
	}
	if p.rejected != nil && p.base != nil && len(flatten(*p.base).changed(flatten(*p.wanted))) == 0 {
		// The hand that made a slip may still be at it; what it wrote is left
		// alone as long as the patch has nothing new to say.
		return nil, 0, time.Minute
	}
	if p.flight != nil {
		if open := p.flight.at.Add(gateTimeout); now.Before(open) {
			return nil, 0, open.Sub(now)
		}
	}
	return p.wanted, p.count, 0
}

// put writes one topology onto the ConfigMap as it was last seen. Where another
// hand was faster, what it wrote is taken over first, and nil is returned: the
// next one to write has it.
func (p *Publisher) put(ctx context.Context, conn *Conn, t mapping.Topology, count int64) error {
	text, err := eno.Encode(t)
	if err != nil {
		return err
	}
	packed, err := pack(text)
	if err != nil {
		return err
	}
	hash := hashOf(text)
	p.mu.Lock()
	failed, version, uid, rejected := p.failed, p.version, p.uid, p.rejected
	p.writing[hash] = t
	p.mu.Unlock()
	at := time.Now()
	callCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if rejected != nil {
		if err := p.keepRejected(callCtx, conn, rejected); err != nil {
			return err
		}
	}
	object := corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Name: eno.ConfigMapName, Namespace: p.observer.Namespace,
			Labels: map[string]string{eno.ManagedByLabel: eno.ManagedBy},
			Annotations: map[string]string{
				eno.GenerationAnnotation: strconv.FormatInt(t.Generation, 10),
				writtenAnnotation:        hash,
				writtenTextAnnotation:    packed,
			},
		},
		Data: map[string]string{eno.ConfigMapKey: text},
	}
	configMaps := conn.core.ConfigMaps(p.observer.Namespace)
	var cm *corev1.ConfigMap
	if version == "" {
		cm, err = configMaps.Create(callCtx, &object, metav1.CreateOptions{FieldManager: FieldManager})
	} else {
		object.ResourceVersion, object.UID = version, uid
		var body []byte
		if body, err = json.Marshal(object); err != nil {
			return fmt.Errorf("topology %d: %w", t.Generation, err)
		}
		force := true
		// The client would wait in silence as long as an API that throttles asks
		// it to; the newest topology would wait with it, and nothing be told.
		cm = &corev1.ConfigMap{}
		err = conn.core.RESTClient().Patch(types.ApplyPatchType).Namespace(object.Namespace).Resource("configmaps").Name(object.Name).
			VersionedParams(&metav1.PatchOptions{FieldManager: FieldManager, Force: &force}, scheme.ParameterCodec).
			Body(body).MaxRetries(0).Do(callCtx).Into(cm)
	}
	switch {
	case err == nil:
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err) && version != "":
		p.mu.Lock()
		delete(p.writing, hash)
		p.mu.Unlock()
		return p.look(callCtx, conn)
	case definite(err):
		p.mu.Lock()
		delete(p.writing, hash)
		p.mu.Unlock()
		return fmt.Errorf("publishing the topology: %w", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("publishing the topology: no answer within %v: %w", callTimeout, context.DeadlineExceeded)
	default: // it may have been written, and the answer lost
		return fmt.Errorf("publishing the topology: %w", err)
	}
	p.mu.Lock()
	clear(p.writing)
	// What was written over it since has been taken over already.
	if revisionOf(cm) >= p.revision || cm.UID != p.uid {
		p.version, p.revision, p.uid = cm.ResourceVersion, revisionOf(cm), cm.UID
		p.known, p.base = hash, &t
		if p.rejected == rejected {
			p.rejected = nil
		}
	}
	p.published = count
	p.flight = &flight{revision: revisionOf(cm), at: at}
	if p.oldest == nil {
		p.oldest = p.flight
	}
	if p.unanswered.IsZero() {
		p.unanswered = at
	}
	p.mu.Unlock()
	select {
	case p.placed <- struct{}{}:
	default:
	}
	p.log.Debug("topology published", "generation", t.Generation, "revision", revisionOf(cm))
	if failed != "" {
		// A deferred input does not supersede a synthesis under way, even one
		// that failed and would only be given up after its timeout.
		if err := p.synthesizeAgain(callCtx, conn, failed); err != nil {
			p.log.Warn("the failed synthesis was not superseded", "reason", err)
		}
	}
	return nil
}

// synthesizeAgain asks Eno for another synthesis in the place of one.
func (p *Publisher) synthesizeAgain(ctx context.Context, conn *Conn, uuid string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"eno.azure.io/force-resynthesis":%q}}}`, uuid)
	_, err := conn.dynamic.Resource(apiv1.SchemeGroupVersion.WithResource("compositions")).Namespace(p.observer.Namespace).
		Patch(ctx, eno.CompositionName, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: FieldManager})
	return err
}

// unapplied is a synthesis that Eno has made and not carried out yet.
type unapplied struct {
	uuid     string
	revision int64     // of its input
	since    time.Time // by the arrival of the composition that showed it
}

// applyPatience is how long Eno may take to carry out a synthesis. After a
// storm of topologies it was seen, once in about ten runs, to leave the last
// one undone for good; another synthesis of the same input mends that.
const applyPatience = 5 * time.Second

// hasten asks for another synthesis where Eno does not carry out the last one;
// once for each topology, because some objects can never be.
func (p *Publisher) hasten(ctx context.Context, conn *Conn, now time.Time) error {
	uuid := p.late(now)
	if uuid == "" {
		return nil
	}
	p.log.Warn("Eno does not carry out the topology; it is asked for another synthesis", "synthesis", uuid)
	return p.synthesizeAgain(ctx, conn, uuid)
}

// late returns the synthesis that is to be made again, if there is one.
func (p *Publisher) late(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.undone
	if u.uuid == "" || now.Sub(u.since) <= applyPatience || u.revision == p.hastened {
		return ""
	}
	p.hastened = u.revision
	return u.uuid
}

// definite says that the API server answered, and that nothing was written.
func definite(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) ||
		apierrors.IsUnauthorized(err) || apierrors.IsTooManyRequests(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// keepRejected keeps a text that could not be read before it is written over.
func (p *Publisher) keepRejected(ctx context.Context, conn *Conn, r *rejection) error {
	if err := p.claim(ctx, conn, rejectedName); err != nil {
		return fmt.Errorf("keeping the refused edit of %s: %w", r.by, err)
	}
	body, err := json.Marshal(corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Name: rejectedName, Namespace: p.observer.Namespace,
			Labels: map[string]string{eno.ManagedByLabel: eno.ManagedBy},
		},
		Data: map[string]string{eno.ConfigMapKey: r.text, "by": r.by, "error": r.err.Error()},
	})
	if err != nil {
		return err
	}
	force := true
	if _, err := conn.core.ConfigMaps(p.observer.Namespace).Patch(ctx, rejectedName, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: FieldManager, Force: &force}); err != nil {
		return fmt.Errorf("keeping the refused edit of %s: %w", r.by, err)
	}
	p.observer.Problem("topology", fmt.Sprintf("the patch goes on; the refused edit of %s is kept in ConfigMap %s/%s", r.by, p.observer.Namespace, rejectedName))
	return nil
}

// composition hears what Eno did. It opens the gate and measures latencies.
func (p *Publisher) composition(c *apiv1.Composition) {
	now := time.Now()
	current, applied := int64(-1), false
	if s := c.Status.CurrentSynthesis; s != nil {
		current, applied = inputRevision(s), s.Reconciled != nil
	}
	failure, failed, attempted := "", "", int64(-1)
	if s := c.Status.InFlightSynthesis; s != nil && s.Canceled == nil {
		for _, r := range s.Results {
			if r.Severity == severityError {
				failure, failed, attempted = r.Message, s.UUID, inputRevision(s)
			}
		}
	}
	if failure == "" {
		failure = compositionError(c)
	}
	var latency time.Duration
	p.mu.Lock()
	switch s := c.Status.CurrentSynthesis; {
	case s == nil || s.Ready != nil || c.Status.InFlightSynthesis != nil:
		p.undone = unapplied{}
	case s.UUID != p.undone.uuid:
		p.undone = unapplied{uuid: s.UUID, revision: current, since: now}
	}
	p.failed = failed
	if p.flight != nil && (current >= p.flight.revision || attempted >= p.flight.revision) {
		p.flight, p.unanswered, p.told = nil, time.Time{}, false
	}
	if newest := max(current, attempted); newest > p.answered {
		p.answered = newest
		if p.flight != nil { // it is at work, on what came before
			p.unanswered, p.told = now, false
		}
	}
	if p.oldest != nil && applied && current >= p.oldest.revision {
		latency = now.Sub(p.oldest.at)
		p.oldest = p.flight
	}
	open := p.flight == nil
	news := failure != p.problem
	p.problem = failure
	p.mu.Unlock()
	if open {
		p.stir()
	}
	if news && failure != "" {
		p.observer.Problem("composition/"+c.Name, failure)
	}
	if latency > 0 {
		p.observer.applied(latency)
	}
}

// inputRevision is the revision of the topology ConfigMap that a synthesis was
// made from. The resource version is compared and not Eno's own revision
// annotation, because that one would hide what kubectl edit changes.
func inputRevision(s *apiv1.Synthesis) int64 {
	for _, r := range s.InputRevisions {
		if r.Key == eno.InputKey {
			if n, err := strconv.ParseInt(r.ResourceVersion, 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// insist repeats what must be done before anything else, until it is done or
// ctx ends.
func (p *Publisher) insist(ctx context.Context, what string, do func(context.Context) error) bool {
	delay := 2 * reconnectMin
	var said string
	for {
		callCtx, cancel := context.WithTimeout(ctx, callTimeout)
		err := do(callCtx)
		cancel()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if err.Error() != said {
			said = err.Error()
			if errors.Is(err, ErrNotOurs) || apierrors.IsForbidden(err) {
				p.observer.Problem("publisher", said)
			}
			p.log.Info("waiting", "for", what, "reason", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(delay):
			// What is installed while the cluster boots is looked for often.
			if !apierrors.IsNotFound(err) {
				delay = min(delay*3/2, reconnectMax)
			}
		}
	}
}

func (p *Publisher) ensureNamespace(ctx context.Context, conn *Conn) error {
	name := p.observer.Namespace
	ns, err := conn.core.Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		if ns.DeletionTimestamp != nil {
			return fmt.Errorf("namespace %s is being deleted", name)
		}
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	_, err = conn.core.Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{eno.ManagedByLabel: eno.ManagedBy}},
	}, metav1.CreateOptions{FieldManager: FieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %s: %w", name, err)
	}
	return nil
}

// claim checks that a ConfigMap of a name of ours is ours or not there.
func (p *Publisher) claim(ctx context.Context, conn *Conn, name string) error {
	cm, err := conn.core.ConfigMaps(p.observer.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("configmap %s/%s: %w", p.observer.Namespace, name, err)
	}
	return ours(cm, "configmap")
}

func ours(o metav1.Object, kind string) error {
	if o.GetLabels()[eno.ManagedByLabel] == eno.ManagedBy {
		return nil
	}
	return fmt.Errorf("%s %s/%s is left alone: %w (it has no label %s=%s)", kind, o.GetNamespace(), o.GetName(), ErrNotOurs, eno.ManagedByLabel, eno.ManagedBy)
}

// apply writes one of the Eno objects with server-side apply.
func (p *Publisher) apply(ctx context.Context, at dynamic.ResourceInterface, o runtime.Object) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: content}
	delete(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	there, err := at.Get(ctx, u.GetName(), metav1.GetOptions{})
	switch {
	case err == nil:
		if err := ours(there, u.GetKind()); err != nil {
			return err
		}
		if there.GetDeletionTimestamp() != nil {
			return fmt.Errorf("%s %s is being deleted", u.GetKind(), u.GetName())
		}
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
	}
	if _, err := at.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: FieldManager, Force: true}); err != nil {
		return fmt.Errorf("applying %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return nil
}

// act does one action.
func (p *Publisher) act(ctx context.Context, conn *Conn, a mapping.Action) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch a.Verb {
	case mapping.VerbWrite:
		return p.write(ctx, conn, a.Object.Name)
	case mapping.VerbRun:
		return p.runJob(ctx, conn, a.Object)
	}
	name, namespace := a.Object.Name, p.observer.Namespace
	pod, err := conn.core.Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("pod %s/%s: %w", namespace, name, err)
	}
	if a.Object.UID != "" && a.Object.UID != string(pod.UID) {
		return fmt.Errorf("pod %s/%s is a successor of the one that was meant", namespace, name)
	}
	if err := ours(pod, "pod"); err != nil {
		return err
	}
	err = conn.core.Pods(namespace).Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	if err != nil {
		return fmt.Errorf("deleting pod %s/%s: %w", namespace, name, err)
	}
	return nil
}

// write makes one real write to the store under a key.
func (p *Publisher) write(ctx context.Context, conn *Conn, key string) error {
	if key == "" {
		key = "write"
	}
	body, err := json.Marshal(map[string]any{
		"apiVersion": "v1",
		"kind":       "ConfigMap",
		"metadata": map[string]any{
			"name":      writesName,
			"namespace": p.observer.Namespace,
			"labels":    map[string]string{eno.ManagedByLabel: eno.ManagedBy},
		},
		"data": map[string]string{key: time.Now().UTC().Format(time.RFC3339Nano)},
	})
	if err != nil {
		return err
	}
	// One field manager for all keys: a key that is not written again is taken
	// away by the next write, so the object never grows.
	force := true
	at := time.Now()
	cm, err := conn.core.ConfigMaps(p.observer.Namespace).Patch(ctx, writesName, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: FieldManager, Force: &force})
	if err != nil {
		return fmt.Errorf("writing key %q to the store: %w", key, err)
	}
	p.observer.beaten(revisionOf(cm), time.Since(at))
	return nil
}
