package kube

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// Endpoint is one endpoint of a Service.
type Endpoint struct {
	// Pod is the name of the pod, or the address where there is no pod.
	Pod, Address string
	Ready        bool
}

// services joins each Service with its EndpointSlices before the tracker sees
// it, so that a difference never needs two objects.
type services struct {
	tracker *tracker
	mu      sync.Mutex
	known   map[namespaced]*servicePart
}

type namespaced struct{ namespace, name string }

type servicePart struct {
	service *Service // nil until it is seen
	// slices holds the endpoints of each EndpointSlice by its name.
	slices map[string]slicePart
	places []string
	// revision is the newest of all parts; it never goes back, so that the
	// whole is never older than what is known of it.
	revision int64
}

type slicePart struct {
	revision  int64
	endpoints []Endpoint
}

func newServices(t *tracker) *services {
	return &services{tracker: t, known: map[namespaced]*servicePart{}}
}

func (j *services) part(key namespaced) *servicePart {
	p := j.known[key]
	if p == nil {
		p = &servicePart{slices: map[string]slicePart{}}
		j.known[key] = p
	}
	return p
}

// whole returns the Service as it is now, or nil where it was not seen.
func (p *servicePart) whole(at time.Time) *Service {
	if p.service == nil {
		return nil
	}
	p.place()
	s := *p.service
	s.Stamp = Stamp{Time: at, Revision: p.revision}
	s.Endpoints = slices.Clone(p.places)
	return &s
}

// place gives each pod behind a ready endpoint a place and lets the others
// leave theirs.
func (p *servicePart) place() {
	ready := map[string]bool{} // whether it has a place
	var order []string
	for _, name := range slices.Sorted(maps.Keys(p.slices)) {
		for _, e := range p.slices[name].endpoints {
			if _, twice := ready[e.Pod]; e.Ready && !twice {
				ready[e.Pod] = false
				order = append(order, e.Pod)
			}
		}
	}
	for i, name := range p.places {
		if _, still := ready[name]; still && name != "" {
			ready[name] = true
		} else {
			p.places[i] = ""
		}
	}
	free := 0
	for _, name := range order {
		if ready[name] {
			continue
		}
		for free < len(p.places) && p.places[free] != "" {
			free++
		}
		switch {
		case free < len(p.places):
			p.places[free] = name
		case len(p.places) < MaxEndpoints:
			p.places = append(p.places, name)
		default:
			return
		}
	}
	for len(p.places) > 0 && p.places[len(p.places)-1] == "" {
		p.places = p.places[:len(p.places)-1]
	}
}

func (j *services) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.known {
		p.revision = 0
		if p.service != nil {
			s := *p.service
			s.Revision = 0
			p.service = &s
		}
		for name, s := range p.slices {
			s.revision = 0
			p.slices[name] = s
		}
	}
}

// endpoints returns all endpoints of a Service, those in the first slice first.
func (j *services) endpoints(key namespaced) []Endpoint {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := j.known[key]
	if p == nil {
		return nil
	}
	var out []Endpoint
	seen := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(p.slices)) {
		for _, e := range p.slices[name].endpoints {
			if i, twice := seen[e.Pod]; twice { // one slice for each family of addresses
				out[i].Ready = out[i].Ready || e.Ready
				continue
			}
			seen[e.Pod] = len(out)
			out = append(out, e)
		}
	}
	return out
}

// tell gives the tracker the new state of one Service. The lock is held, so
// that the tracker sees the states in order.
func (j *services) tell(p *servicePart, at time.Time) {
	if s := p.whole(at); s != nil {
		j.tracker.set(s)
	}
}

// all gives the tracker the Services of a namespace as a list.
func (j *services) all(namespace string, at Stamp) {
	var list []Object
	for key, p := range j.known {
		if namespace == "" || key.namespace == namespace {
			if s := p.whole(at.Time); s != nil {
				list = append(list, s)
			}
		}
	}
	j.tracker.replace(mapping.KindService, namespace, list, at)
}

func (j *services) setService(s *Service) {
	p := j.part(namespaced{s.Namespace, s.Name})
	if p.service != nil {
		if p.service.UID != s.UID {
			p.places = nil
		} else if s.Revision > 0 && s.Revision < p.service.Revision {
			return
		}
	}
	p.service = s
	p.revision = max(p.revision, s.Revision)
}

// serviceSink takes over Services.
type serviceSink struct {
	join      *services
	namespace string
}

func (k *serviceSink) put(obj any, now time.Time) {
	s, ok := obj.(*corev1.Service)
	if !ok {
		return
	}
	k.join.mu.Lock()
	defer k.join.mu.Unlock()
	k.join.setService(trimService(s, Stamp{Time: now, Revision: revisionOf(s)}))
	k.join.tell(k.join.part(namespaced{s.Namespace, s.Name}), now)
}

func (k *serviceSink) remove(m metav1.Object, at Stamp) {
	k.join.mu.Lock()
	defer k.join.mu.Unlock()
	k.join.drop(namespaced{m.GetNamespace(), m.GetName()})
	k.join.tracker.remove(Key{mapping.KindService, string(m.GetUID())}, at)
}

// drop forgets a Service; its slices may stay a little longer.
func (j *services) drop(key namespaced) {
	p := j.known[key]
	if p == nil {
		return
	}
	p.service, p.places = nil, nil
	if len(p.slices) == 0 {
		delete(j.known, key)
	}
}

func (k *serviceSink) replace(list []any, at Stamp) {
	k.join.mu.Lock()
	defer k.join.mu.Unlock()
	listed := map[namespaced]bool{}
	for _, obj := range list {
		if s, ok := obj.(*corev1.Service); ok {
			listed[namespaced{s.Namespace, s.Name}] = true
			k.join.setService(trimService(s, Stamp{Time: at.Time, Revision: revisionOf(s)}))
		}
	}
	for key := range k.join.known {
		if !listed[key] && (k.namespace == "" || key.namespace == k.namespace) {
			k.join.drop(key)
		}
	}
	k.join.all(k.namespace, at)
}

// sliceSink takes over EndpointSlices.
type sliceSink struct {
	join      *services
	namespace string
}

func serviceOf(m metav1.Object) (namespaced, bool) {
	name := m.GetLabels()[discoveryv1.LabelServiceName]
	return namespaced{m.GetNamespace(), name}, name != ""
}

func (j *services) setSlice(key namespaced, s *discoveryv1.EndpointSlice) *servicePart {
	p := j.part(key)
	revision := revisionOf(s)
	if was, ok := p.slices[s.Name]; ok && revision > 0 && revision < was.revision {
		return p
	}
	part := slicePart{revision: revision, endpoints: make([]Endpoint, 0, len(s.Endpoints))}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		out := Endpoint{Ready: e.Conditions.Ready == nil || *e.Conditions.Ready}
		if len(e.Addresses) > 0 {
			out.Address = e.Addresses[0]
		}
		out.Pod = out.Address
		if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
			out.Pod = e.TargetRef.Name
		}
		if out.Pod != "" {
			part.endpoints = append(part.endpoints, out)
		}
	}
	p.slices[s.Name] = part
	p.revision = max(p.revision, revision)
	return p
}

func (k *sliceSink) put(obj any, now time.Time) {
	s, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok {
		return
	}
	k.join.mu.Lock()
	defer k.join.mu.Unlock()
	key, ok := serviceOf(s)
	k.join.moved(s.Namespace, s.Name, key, now)
	if ok {
		k.join.tell(k.join.setSlice(key, s), now)
	}
}

// moved takes a slice away from every Service but the one that it names now.
// Labels are rarely changed, but they can be.
func (j *services) moved(namespace, name string, to namespaced, now time.Time) {
	if p := j.known[to]; p != nil {
		if _, ok := p.slices[name]; ok {
			return // it was there before
		}
	}
	for key, p := range j.known {
		if _, ok := p.slices[name]; ok && key.namespace == namespace && key != to {
			delete(p.slices, name)
			j.tell(p, now)
		}
	}
}

func (k *sliceSink) remove(m metav1.Object, at Stamp) {
	k.join.mu.Lock()
	defer k.join.mu.Unlock()
	key, ok := serviceOf(m)
	p := k.join.known[key]
	if !ok || p == nil {
		return
	}
	delete(p.slices, m.GetName())
	p.revision = max(p.revision, at.Revision)
	if p.service == nil && len(p.slices) == 0 {
		delete(k.join.known, key)
		return
	}
	k.join.tell(p, at.Time)
}

func (k *sliceSink) replace(list []any, at Stamp) {
	k.join.mu.Lock()
	defer k.join.mu.Unlock()
	listed := map[namespaced]map[string]bool{}
	for _, obj := range list {
		s, ok := obj.(*discoveryv1.EndpointSlice)
		if !ok {
			continue
		}
		if key, ok := serviceOf(s); ok {
			if listed[key] == nil {
				listed[key] = map[string]bool{}
			}
			listed[key][s.Name] = true
			k.join.setSlice(key, s)
		}
	}
	for key, p := range k.join.known {
		if k.namespace != "" && key.namespace != k.namespace {
			continue
		}
		for name := range p.slices {
			if !listed[key][name] {
				delete(p.slices, name)
			}
		}
		if p.service == nil && len(p.slices) == 0 {
			delete(k.join.known, key)
		}
	}
	k.join.all(k.namespace, at)
}

// namespaces joins each Namespace with its ResourceQuotas.
type namespaces struct {
	tracker *tracker
	mu      sync.Mutex
	known   map[string]*namespacePart
	// blind is set where Namespaces may not be read: one that has a quota is
	// there all the same.
	blind bool
}

type namespacePart struct {
	seen, deleting bool
	at             int64
	quotas         map[string]quotaPart
	revision       int64
}

type quotaPart struct {
	revision int64
	headroom float64
}

func newNamespaces(t *tracker) *namespaces {
	return &namespaces{tracker: t, known: map[string]*namespacePart{}}
}

func (j *namespaces) part(name string) *namespacePart {
	p := j.known[name]
	if p == nil {
		p = &namespacePart{quotas: map[string]quotaPart{}}
		j.known[name] = p
	}
	return p
}

func (j *namespaces) whole(name string, at time.Time) *Namespace {
	p := j.known[name]
	if p == nil || !p.seen && !(j.blind && len(p.quotas) > 0) {
		return nil
	}
	out := &Namespace{Stamp: Stamp{Time: at, Revision: p.revision}, Name: name, Headroom: -1, Deleting: p.deleting}
	for _, q := range p.quotas {
		if q.headroom >= 0 && (out.Headroom < 0 || q.headroom < out.Headroom) {
			out.Headroom = q.headroom
		}
	}
	return out
}

func (j *namespaces) tell(name string, at Stamp) {
	if n := j.whole(name, at.Time); n != nil {
		j.tracker.set(n)
		return
	}
	j.tracker.remove(Key{mapping.KindNamespace, name}, at)
}

func (j *namespaces) all(at Stamp) {
	var list []Object
	for name := range j.known {
		if n := j.whole(name, at.Time); n != nil {
			list = append(list, n)
		}
	}
	j.tracker.replace(mapping.KindNamespace, "", list, at)
}

func (j *namespaces) forget() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.known {
		p.at, p.revision = 0, 0
		for name, q := range p.quotas {
			q.revision = 0
			p.quotas[name] = q
		}
	}
}

// setBlind notes whether Namespaces may be read.
func (j *namespaces) setBlind(blind bool, at Stamp) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.blind != blind {
		j.blind = blind
		j.all(at)
	}
}

// namespaceSink takes over Namespaces. Only is the one that it watches, or ""
// for all.
type namespaceSink struct {
	join *namespaces
	only string
}

func (j *namespaces) setNamespace(m metav1.Object) {
	p := j.part(m.GetName())
	revision := revisionOf(m)
	if revision > 0 && revision < p.at {
		return
	}
	p.seen, p.deleting, p.at = true, m.GetDeletionTimestamp() != nil, revision
	p.revision = max(p.revision, revision)
}

func (k *namespaceSink) put(obj any, now time.Time) {
	n, ok := obj.(*corev1.Namespace)
	if !ok {
		return
	}
	k.join.mu.Lock()
	defer k.join.mu.Unlock()
	k.join.setNamespace(n)
	k.join.tell(n.Name, Stamp{Time: now})
}

func (k *namespaceSink) remove(m metav1.Object, at Stamp) {
	k.join.mu.Lock()
	defer k.join.mu.Unlock()
	if p := k.join.known[m.GetName()]; p != nil {
		p.seen, p.deleting, p.at = false, false, 0
		p.revision = max(p.revision, at.Revision)
		k.join.tell(m.GetName(), at)
		if len(p.quotas) == 0 {
			delete(k.join.known, m.GetName())
		}
	}
}

func (k *namespaceSink) replace(list []any, at Stamp) {
	k.join.mu.Lock()
	defer k.join.mu.Unlock()
	listed := map[string]bool{}
	for _, obj := range list {
		if n, ok := obj.(*corev1.Namespace); ok {
			listed[n.Name] = true
			k.join.setNamespace(n)
		}
	}
	for name, p := range k.join.known {
		if !listed[name] && (k.only == "" || k.only == name) {
			p.seen, p.deleting, p.at = false, false, 0
			if len(p.quotas) == 0 {
				delete(k.join.known, name)
			}
		}
	}
	k.join.all(at)
}

// quotaSink takes over ResourceQuotas.
type quotaSink struct {
	join      *namespaces
	namespace string
}

func (j *namespaces) setQuota(q *corev1.ResourceQuota) {
	p := j.part(q.Namespace)
	revision := revisionOf(q)
	if was, ok := p.quotas[q.Name]; ok && revision > 0 && revision < was.revision {
		return
	}
	p.quotas[q.Name] = quotaPart{revision: revision, headroom: headroom(q.Status.Hard, q.Status.Used)}
	p.revision = max(p.revision, revision)
}

func (k *quotaSink) put(obj any, now time.Time) {
	q, ok := obj.(*corev1.ResourceQuota)
	if !ok {
		return
	}
	k.join.mu.Lock()
	defer k.join.mu.Unlock()
	k.join.setQuota(q)
	k.join.tell(q.Namespace, Stamp{Time: now})
}

func (k *quotaSink) remove(m metav1.Object, at Stamp) {
	k.join.mu.Lock()
	defer k.join.mu.Unlock()
	p := k.join.known[m.GetNamespace()]
	if p == nil {
		return
	}
	delete(p.quotas, m.GetName())
	p.revision = max(p.revision, at.Revision)
	k.join.tell(m.GetNamespace(), at)
	if !p.seen && len(p.quotas) == 0 {
		delete(k.join.known, m.GetNamespace())
	}
}

func (k *quotaSink) replace(list []any, at Stamp) {
	k.join.mu.Lock()
	defer k.join.mu.Unlock()
	listed := map[namespaced]bool{}
	for _, obj := range list {
		if q, ok := obj.(*corev1.ResourceQuota); ok {
			listed[namespaced{q.Namespace, q.Name}] = true
			k.join.setQuota(q)
		}
	}
	for namespace, p := range k.join.known {
		if k.namespace != "" && k.namespace != namespace {
			continue
		}
		for name := range p.quotas {
			if !listed[namespaced{namespace, name}] {
				delete(p.quotas, name)
			}
		}
		if !p.seen && len(p.quotas) == 0 {
			delete(k.join.known, namespace)
		}
	}
	k.join.all(at)
}

// headroom is the share of the scarcest resource that is free, 0…1, negative
// where nothing is limited. A limit of 0 forbids a resource and says nothing
// about room.
func headroom(hard, used corev1.ResourceList) float64 {
	least := -1.0
	for name, limit := range hard {
		if limit.Sign() <= 0 {
			continue
		}
		spent := used[name]
		share := min(1, max(0, 1-quantity(spent)/quantity(limit)))
		if least < 0 || cmp.Less(share, least) {
			least = share
		}
	}
	return least
}

func quantity(q resource.Quantity) float64 { return q.AsApproximateFloat64() }
