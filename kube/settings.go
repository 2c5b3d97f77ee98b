package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// Annotations of a pod's synthetic load, in whole millicores and MiB; the
	// simulated nodes read them.
	cpuAnnotation    = "k8s-synth.io/cpu"
	memoryAnnotation = "k8s-synth.io/memory"
	// capacityAnnotation keeps what a simulated node had before its capacity
	// was set.
	capacityAnnotation = "k8s-synth.io/capacity-was"

	// settingWriters write at a time, each object at most once in
	// settingSpacing: sixteen pods whose knobs are turned at 10 Hz are 160
	// writes a second, and faster than 20 Hz nobody turns.
	settingWriters = 4
	settingSpacing = 50 * time.Millisecond
	// A setting that could not be made is tried again after settingRetry, which
	// doubles up to settingRetryMax.
	settingRetry    = 100 * time.Millisecond
	settingRetryMax = 400 * time.Millisecond
	// settingLent is how often it is looked whether an object that was refused
	// has got our label.
	settingLent = time.Second
	// voicePort is where our container takes its load.
	voicePort = 8080
)

var (
	// errGone says that the object of a setting is no longer there.
	errGone = errors.New("gone")
	// errNotYet says that the object of a setting is not ready for it.
	errNotYet = errors.New("not yet")
	// errOwnCapacity says why the capacity of a real node is never set.
	errOwnCapacity = errors.New("has the capacity that it has")
)

// settings holds the newest value of each setting and makes them, an object at
// a time. What could not be made is made when it can be.
type settings struct {
	mu      sync.Mutex
	objects map[mapping.Object]*objectSettings
	wake    chan struct{}
}

// objectSettings are the settings of one object.
type objectSettings struct {
	values map[string]*settingValue
	busy   bool
	next   time.Time // not before
	retry  time.Duration
	told   string
	// refused says that the object did not carry our label.
	refused bool
	// What is known of a pod, so that it need not be read each time.
	pod *podFacts
}

type settingValue struct {
	value string
	done  bool
	at    time.Time
}

type podFacts struct {
	// Placed says that it has a node, and real that one of our containers
	// really runs there.
	annotated, placed, real bool
	uid                     types.UID
}

func newSettings() *settings {
	return &settings{objects: map[mapping.Object]*objectSettings{}, wake: make(chan struct{}, 1)}
}

// Set takes over a setting. It returns at once: an error says what is wrong
// with the setting itself.
func (p *Publisher) Set(s mapping.Setting) error {
	if p.observer.ListenOnly {
		return ErrListenOnly
	}
	if err := checkSetting(s); err != nil {
		return err
	}
	switch {
	case s.Object.Kind == mapping.KindNode:
		s.Object.Namespace = ""
	case s.Object.Namespace == "":
		s.Object.Namespace = p.observer.Namespace
	case s.Object.Namespace != p.observer.Namespace:
		return fmt.Errorf("%s of %s in namespace %q: this program was started for %q", s.Name, s.Object, s.Object.Namespace, p.observer.Namespace)
	}
	p.settings.set(s)
	return nil
}

func checkSetting(s mapping.Setting) error {
	bad := func(want string) error {
		return fmt.Errorf("setting %s of %s is %q: expected %s", s.Name, s.Object, s.Value, want)
	}
	if s.Object.Name == "" {
		return fmt.Errorf("setting %s names no object", s.Name)
	}
	kind := mapping.KindPod
	switch s.Name {
	case mapping.SetCPU, mapping.SetMemory:
		if n, err := strconv.Atoi(s.Value); s.Value != "" && (err != nil || n < 0) {
			return bad("a whole number, 0 or more")
		}
	case mapping.SetPanel:
		if e := validation.IsValidLabelValue(s.Value); len(e) > 0 {
			return bad("what a label can hold: " + e[0])
		}
	case mapping.SetCordon:
		kind = mapping.KindNode
		if s.Value != "" && s.Value != "true" && s.Value != "false" {
			return bad("true or false")
		}
	case mapping.SetCapacity:
		kind = mapping.KindNode
		if n, err := strconv.Atoi(s.Value); s.Value != "" && (err != nil || n <= 0) {
			return bad("a whole number of millicores over 0")
		}
	default:
		return fmt.Errorf("setting %q of %s is not known to this program", s.Name, s.Object)
	}
	if s.Object.Kind != kind {
		return fmt.Errorf("setting %s is one of a %s, not of %s", s.Name, kind, s.Object)
	}
	return nil
}

func (s *settings) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *settings) set(m mapping.Setting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[m.Object]
	if o == nil {
		o = &objectSettings{values: map[string]*settingValue{}}
		s.objects[m.Object] = o
	}
	o.values[m.Name] = &settingValue{value: m.Value, at: time.Now()}
	o.retry, o.refused = 0, false
	if m.Name == mapping.SetPanel && m.Value != "" {
		// A panel shows one pod: what it showed before is no longer its.
		for other, of := range s.objects {
			if v := of.values[mapping.SetPanel]; other != m.Object && v != nil && v.value == m.Value {
				delete(of.values, mapping.SetPanel)
			}
		}
	}
	s.stir()
}

// renew makes all settings anew, because the store may have lost them.
func (s *settings) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.objects {
		for _, v := range o.values {
			v.done = false
		}
		o.pod, o.next, o.retry, o.told, o.refused = nil, time.Time{}, 0, "", false
	}
	s.stir()
}

// saw forgets the settings of what is gone, and gives a container that was
// started anew its load again.
func (s *settings) saw(ts []mapping.Transition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.objects) == 0 {
		return
	}
	for i := range ts {
		t := &ts[i]
		if t.Object.Kind != mapping.KindPod && t.Object.Kind != mapping.KindNode {
			continue
		}
		o := s.objects[t.Object]
		if o == nil {
			continue
		}
		switch {
		case t.Field == mapping.FieldExists && t.New == "":
			delete(s.objects, t.Object)
		case (t.Field == mapping.FieldRestarts || t.Field == mapping.FieldReady && t.New == "true") && (o.pod == nil || !o.pod.placed || o.pod.real):
			for _, name := range []string{mapping.SetCPU, mapping.SetMemory} {
				if v := o.values[name]; v != nil {
					v.done = false
				}
			}
			o.retry = 0
			s.stir()
		}
	}
}

// take returns an object with something to set, and what; or how long to wait.
func (s *settings) take(now time.Time) (object mapping.Object, todo map[string]settingValue, facts *podFacts, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait = time.Minute
	var oldest time.Time
	for at, o := range s.objects {
		if o.busy || o.refused {
			continue
		}
		pending := false
		var since time.Time
		for _, v := range o.values {
			if !v.done && (!pending || v.at.Before(since)) {
				pending, since = true, v.at
			}
		}
		switch {
		case !pending:
		case now.Before(o.next):
			wait = min(wait, o.next.Sub(now))
		case todo == nil || since.Before(oldest):
			object, oldest, todo = at, since, map[string]settingValue{}
		}
	}
	if todo == nil {
		return object, nil, nil, wait
	}
	o := s.objects[object]
	o.busy = true
	for name, v := range o.values {
		if !v.done {
			todo[name] = *v
		}
	}
	return object, todo, o.pod, 0
}

// finish notes how setting an object went, and returns what has to be told.
func (s *settings) finish(object mapping.Object, todo map[string]settingValue, facts *podFacts, err error, now time.Time) (problem string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.stir() // the others may wait for a writer
	o := s.objects[object]
	if o == nil {
		return ""
	}
	o.busy, o.pod, o.next = false, facts, now.Add(settingSpacing)
	switch {
	case errors.Is(err, errGone):
		delete(s.objects, object)
		return ""
	case errors.Is(err, ErrNotOurs) && !errors.Is(err, errOwnCapacity):
		o.retry, o.refused = 0, true // until it is lent
	case err == nil, errors.Is(err, errOwnCapacity):
		for name, v := range todo {
			if is := o.values[name]; is != nil && is.at.Equal(v.at) && is.value == v.value {
				is.done = true
			}
		}
		o.retry = 0
		if err == nil {
			o.told = ""
			return ""
		}
	default:
		o.retry = min(max(2*o.retry, settingRetry), settingRetryMax)
		o.next = now.Add(o.retry)
		if errors.Is(err, errNotYet) {
			return ""
		}
	}
	if text := err.Error(); text != o.told {
		o.told = text
		return text
	}
	return ""
}

// lend makes the settings anew of objects that were refused and that may be
// touched now.
func (s *settings) lend(may func(mapping.Object) bool) {
	var refused []mapping.Object
	s.mu.Lock()
	for at, o := range s.objects {
		if o.refused {
			refused = append(refused, at)
		}
	}
	s.mu.Unlock()
	// What is known of objects has a lock of its own, under which we are called.
	refused = slices.DeleteFunc(refused, func(at mapping.Object) bool { return !may(at) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range refused {
		if o := s.objects[at]; o != nil {
			o.refused, o.told = false, ""
			s.stir()
		}
	}
}

// mayTouch says whether an object carries our label, as far as it is known.
func (p *Publisher) mayTouch(object mapping.Object) bool {
	var labels map[string]string
	if object.Kind == mapping.KindNode {
		if n := p.observer.Node(object.Name); n != nil {
			labels = n.Labels
		}
	} else if pod := p.observer.Pod(object.Namespace, object.Name); pod != nil {
		labels = pod.Labels
	}
	return labels[eno.ManagedByLabel] == eno.ManagedBy
}

// makeSettings makes settings while the API answers.
func (p *Publisher) makeSettings(ctx context.Context, conn *Conn) {
	p.settings.renew()
	var once tellOnce
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(settingLent)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				p.settings.lend(p.mayTouch)
			}
		}
	})
	for range settingWriters {
		wg.Go(func() {
			timer := time.NewTimer(0)
			defer timer.Stop()
			for ctx.Err() == nil {
				object, todo, facts, wait := p.settings.take(time.Now())
				if todo == nil {
					timer.Reset(wait)
					select {
					case <-ctx.Done():
					case <-p.settings.wake:
					case <-timer.C:
					}
					continue
				}
				p.settings.stir() // there may be more for the next writer
				callCtx, cancel := context.WithTimeout(ctx, callTimeout)
				var err error
				if object.Kind == mapping.KindNode {
					err = p.setNode(callCtx, conn, object, todo)
				} else {
					facts, err = p.setPod(callCtx, conn, object, todo, facts)
				}
				cancel()
				if ctx.Err() != nil || err != nil && once.booting(err) {
					err = errNotYet // it is made by the next session, or soon
				}
				problem := p.settings.finish(object, todo, facts, err, time.Now())
				switch {
				case err == nil:
					once.well()
				case problem != "" && (errors.Is(err, ErrNotOurs) || once.ill(err)):
					p.observer.Problem(object.String(), problem)
				}
			}
		})
	}
	wg.Wait()
}

// bootPatience is how long an API that starts may refuse before the player is
// told: the storage of each kind comes up by itself.
const bootPatience = 5 * time.Second

// tellOnce lets one cause of failure be told once until something goes well
// again: an API that refuses refuses all sixteen pods. As long as nothing has
// gone well, what only says that the API starts is not told for bootPatience.
type tellOnce struct {
	mu    sync.Mutex
	told  map[string]bool
	began time.Time // of the first failure
	up    bool      // something went well
}

// booting says whether an error is one of an API that starts.
func (o *tellOnce) booting(err error) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.began.IsZero() {
		o.began = time.Now()
	}
	return !o.up && time.Since(o.began) < bootPatience && passing(err)
}

// passing says that an API answered that it cannot at the moment.
func passing(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code == http.StatusTooManyRequests || code >= http.StatusInternalServerError
}

func (o *tellOnce) ill(err error) bool {
	if o.booting(err) {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.told == nil {
		o.told = map[string]bool{}
	}
	// The names of objects are in quotes.
	parts := strings.Split(cause(err), `"`)
	for i := 1; i < len(parts); i += 2 {
		parts[i] = ""
	}
	key := strings.Join(parts, `"`)
	if o.told[key] {
		return false
	}
	o.told[key] = true
	return true
}

func (o *tellOnce) well() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.up = true
	clear(o.told)
}

// setPod makes the settings of one pod: annotations and the panel's label on
// its object, and its load in its container where it has one.
func (p *Publisher) setPod(ctx context.Context, conn *Conn, object mapping.Object, todo map[string]settingValue, facts *podFacts) (*podFacts, error) {
	pods := conn.core.Pods(object.Namespace)
	for attempt := 0; ; attempt++ {
		removes := false
		for _, v := range todo {
			removes = removes || v.value == ""
		}
		var pod *corev1.Pod
		if facts == nil || !facts.placed || removes || attempt > 0 {
			var err error
			pod, err = pods.Get(ctx, object.Name, metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err), err == nil && object.UID != "" && string(pod.UID) != object.UID:
				return nil, errGone
			case err != nil:
				return nil, fmt.Errorf("pod %q: %w", object.Name, err)
			}
			if err := ours(pod, "pod"); err != nil {
				return nil, err
			}
			facts = &podFacts{annotated: len(pod.Annotations) > 0, uid: pod.UID, placed: pod.Spec.NodeName != ""}
			if facts.real, err = p.isReal(ctx, conn, pod); err != nil {
				return nil, err
			}
		}
		var patch jsonPatch
		patch.test("/metadata/uid", facts.uid)
		patch.onlyOurs()
		annotated := facts.annotated
		for _, name := range slices.Sorted(maps.Keys(todo)) {
			v := todo[name]
			key, at := cpuAnnotation, "/metadata/annotations/"
			switch name {
			case mapping.SetMemory:
				key = memoryAnnotation
			case mapping.SetPanel:
				key, at = eno.PanelLabel, "/metadata/labels/"
			}
			switch {
			case v.value != "":
				if name != mapping.SetPanel && !annotated {
					patch.add("/metadata/annotations", map[string]string{})
					annotated = true
				}
				patch.add(at+pointer(key), v.value)
			case name == mapping.SetPanel && pod.Labels[key] != "", name != mapping.SetPanel && pod.Annotations[key] != "":
				patch.remove(at + pointer(key))
			}
		}
		if len(patch) > 2 {
			err := conn.core.RESTClient().Patch(types.JSONPatchType).Namespace(object.Namespace).Resource("pods").Name(object.Name).
				VersionedParams(&metav1.PatchOptions{FieldManager: FieldManager}, scheme.ParameterCodec).
				Body(patch.bytes()).MaxRetries(0).Do(ctx).Error()
			switch {
			case apierrors.IsNotFound(err):
				return nil, errGone
			case errors.Is(err, context.DeadlineExceeded):
				return nil, fmt.Errorf("pod %q: no answer within %v", object.Name, callTimeout)
			case apierrors.IsInvalid(err) && attempt < 2, apierrors.IsConflict(err) && attempt < 2:
				// Another hand took away what was there: it is read again.
				facts = nil
				continue
			case err != nil:
				return nil, fmt.Errorf("pod %q: %w", object.Name, err)
			}
		}
		facts.annotated = annotated || facts.annotated
		break
	}
	if v, ok := todo[mapping.SetPanel]; ok && v.value != "" {
		if err := p.leavePanel(ctx, conn, object, v.value); err != nil {
			return facts, err
		}
	}
	_, cpu := todo[mapping.SetCPU]
	_, memory := todo[mapping.SetMemory]
	if facts.real && (cpu || memory) {
		return facts, p.putLoad(ctx, conn, object, todo)
	}
	return facts, nil
}

// leavePanel takes a panel's label from the pods that it showed before.
func (p *Publisher) leavePanel(ctx context.Context, conn *Conn, object mapping.Object, panel string) error {
	list, err := conn.core.Pods(object.Namespace).List(ctx, metav1.ListOptions{LabelSelector: eno.PanelLabel + "=" + panel + "," + eno.ManagedByLabel + "=" + eno.ManagedBy})
	if err != nil {
		return fmt.Errorf("pods of panel %q: %w", panel, err)
	}
	for i := range list.Items {
		pod := &list.Items[i]
		if pod.Name == object.Name {
			continue
		}
		var patch jsonPatch
		patch.test("/metadata/uid", pod.UID)
		patch.onlyOurs()
		patch.test("/metadata/labels/"+pointer(eno.PanelLabel), panel)
		patch.remove("/metadata/labels/" + pointer(eno.PanelLabel))
		_, err := conn.core.Pods(pod.Namespace).Patch(ctx, pod.Name, types.JSONPatchType, patch.bytes(), metav1.PatchOptions{FieldManager: FieldManager})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsInvalid(err) {
			return fmt.Errorf("pod %q: %w", pod.Name, err)
		}
	}
	return nil
}

// isReal says whether a pod has a container of ours on a node that is real.
func (p *Publisher) isReal(ctx context.Context, conn *Conn, pod *corev1.Pod) (bool, error) {
	if pod.Spec.NodeName == "" || !slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool { return eno.IsVoice(c.Image) }) {
		return false, nil
	}
	if n := p.observer.Node(pod.Spec.NodeName); n != nil {
		return n.Labels[simulatedLabel] != simulatedNode, nil
	}
	node, err := conn.core.Nodes().Get(ctx, pod.Spec.NodeName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return true, nil // a player without the right to read nodes has no simulated ones
	}
	if err != nil {
		return false, fmt.Errorf("node %q: %w", pod.Spec.NodeName, err)
	}
	return node.Labels[simulatedLabel] != simulatedNode, nil
}

// putLoad tells a container its load, through the API server.
func (p *Publisher) putLoad(ctx context.Context, conn *Conn, object mapping.Object, todo map[string]settingValue) error {
	query := url.Values{}
	for name, key := range map[string]string{mapping.SetCPU: "cpu", mapping.SetMemory: "memory"} {
		if v, ok := todo[name]; ok {
			if v.value == "" {
				v.value = "0"
			}
			query.Set(key, v.value)
		}
	}
	request := conn.core.RESTClient().Put().Namespace(object.Namespace).Resource("pods").
		Name(fmt.Sprintf("%s:%d", object.Name, voicePort)).SubResource("proxy").Suffix("load").MaxRetries(0)
	for key := range query {
		request = request.Param(key, query.Get(key))
	}
	err := request.Do(ctx).Error()
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return errGone
	case apierrors.IsForbidden(err):
		return fmt.Errorf("the load of pod %q: %w", object.Name, err)
	}
	if pod := p.observer.Pod(object.Namespace, object.Name); pod == nil || !pod.Ready {
		return errNotYet // its container is on its way
	}
	return fmt.Errorf("the load of pod %q: %w", object.Name, err)
}

// setNode makes the settings of one node: only of one that carries our label,
// and the capacity only of one that is simulated.
func (p *Publisher) setNode(ctx context.Context, conn *Conn, object mapping.Object, todo map[string]settingValue) error {
	nodes := conn.core.Nodes()
	node, err := nodes.Get(ctx, object.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), err == nil && object.UID != "" && string(node.UID) != object.UID:
		return errGone
	case err != nil:
		return fmt.Errorf("node %q: %w", object.Name, err)
	}
	if err := ourNode(node); err != nil {
		return err
	}
	if v, ok := todo[mapping.SetCordon]; ok {
		if err := cordon(ctx, conn, node, v.value == "true"); err != nil {
			return err
		}
	}
	v, ok := todo[mapping.SetCapacity]
	if !ok {
		return nil
	}
	if node.Labels[simulatedLabel] != simulatedNode {
		return fmt.Errorf("node %q is real and %w: %w", object.Name, errOwnCapacity, ErrNotOurs)
	}
	was := node.Annotations[capacityAnnotation]
	if v.value == "" && was == "" {
		return nil
	}
	var patch jsonPatch
	patch.onlyOurs()
	patch.test("/metadata/labels/"+pointer(simulatedLabel), simulatedNode)
	quantity := v.value + "m"
	if v.value == "" {
		quantity = was
		patch.remove("/metadata/annotations/" + pointer(capacityAnnotation))
	} else if was == "" {
		if len(node.Annotations) == 0 {
			patch.add("/metadata/annotations", map[string]string{})
		}
		patch.add("/metadata/annotations/"+pointer(capacityAnnotation), node.Status.Capacity.Cpu().String())
	}
	if q, err := resource.ParseQuantity(quantity); err != nil {
		return fmt.Errorf("node %q: capacity %q: %w", object.Name, quantity, err)
	} else if v.value == "" || was != "" || node.Status.Capacity.Cpu().Cmp(q) != 0 || node.Status.Allocatable.Cpu().Cmp(q) != 0 {
		patch.add("/status/capacity/cpu", quantity)
		patch.add("/status/allocatable/cpu", quantity)
	}
	if _, err := nodes.Patch(ctx, node.Name, types.JSONPatchType, patch.bytes(), metav1.PatchOptions{FieldManager: FieldManager}, "status"); err != nil {
		if apierrors.IsNotFound(err) {
			return errGone
		}
		return fmt.Errorf("capacity of node %q: %w", object.Name, err)
	}
	return nil
}

// cordon keeps new pods away from a node of ours, or lets them come again.
func cordon(ctx context.Context, conn *Conn, node *corev1.Node, on bool) error {
	if node.Spec.Unschedulable == on {
		return nil
	}
	var patch jsonPatch
	patch.onlyOurs()
	patch.add("/spec/unschedulable", on)
	_, err := conn.core.Nodes().Patch(ctx, node.Name, types.JSONPatchType, patch.bytes(), metav1.PatchOptions{FieldManager: FieldManager})
	if err != nil {
		return fmt.Errorf("cordoning node %q: %w", node.Name, err)
	}
	return nil
}

func ourNode(node *corev1.Node) error {
	if node.Labels[eno.ManagedByLabel] == eno.ManagedBy {
		return nil
	}
	return fmt.Errorf("node %s is left alone: %w; kubectl label node %s %s=%s lends it to the instrument", node.Name, ErrNotOurs, node.Name, eno.ManagedByLabel, eno.ManagedBy)
}
