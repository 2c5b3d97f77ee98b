package kube

import (
	"cmp"
	"slices"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// Pods returns the pods that are known in all observed namespaces, by
// namespace and name. What it returns is shared and must not be changed.
func (o *Observer) Pods() []*Pod { return known[*Pod](o, mapping.KindPod) }

// Nodes returns the nodes that are known, by name.
func (o *Observer) Nodes() []*Node { return known[*Node](o, mapping.KindNode) }

// Deployments returns the Deployments that are known, by namespace and name.
func (o *Observer) Deployments() []*Deployment {
	return known[*Deployment](o, mapping.KindDeployment)
}

// Services returns the Services that are known, by namespace and name.
func (o *Observer) Services() []*Service { return known[*Service](o, mapping.KindService) }

// Ingresses returns the Ingresses that are known, by namespace and name.
func (o *Observer) Ingresses() []*Ingress { return known[*Ingress](o, mapping.KindIngress) }

// Service returns one Service, or nil where it is not known.
func (o *Observer) Service(namespace, name string) *Service {
	o.services.mu.Lock()
	defer o.services.mu.Unlock()
	p := o.services.known[namespaced{namespace, name}]
	if p == nil {
		return nil
	}
	return p.whole(o.Now())
}

// Endpoints returns all endpoints of a Service, ready or not.
func (o *Observer) Endpoints(namespace, service string) []Endpoint {
	return o.services.endpoints(namespaced{namespace, service})
}

// Pod returns one pod, or nil where it is not known.
func (o *Observer) Pod(namespace, name string) *Pod {
	return named[*Pod](o, mapping.KindPod, namespace, name)
}

// Node returns one node, or nil where it is not known.
func (o *Observer) Node(name string) *Node { return named[*Node](o, mapping.KindNode, "", name) }

// Tell tells transitions that are events and no states, such as the answer to
// a request, after all that was seen before.
func (o *Observer) Tell(ts ...mapping.Transition) { o.tracker.say(ts) }

func named[T Object](o *Observer, kind, namespace, name string) (found T) {
	o.tracker.each(kind, func(is Object) {
		if about, _, _ := is.about(); about.Namespace == namespace && about.Name == name {
			found, _ = is.(T)
		}
	})
	return found
}

func known[T Object](o *Observer, kind string) []T {
	type entry struct {
		about mapping.Object
		is    T
	}
	var list []entry
	o.tracker.each(kind, func(is Object) {
		if t, ok := is.(T); ok {
			about, _, _ := is.about()
			list = append(list, entry{about, t})
		}
	})
	slices.SortFunc(list, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.about.Namespace, b.about.Namespace), cmp.Compare(a.about.Name, b.about.Name), cmp.Compare(a.about.UID, b.about.UID))
	})
	out := make([]T, len(list))
	for i, e := range list {
		out[i] = e.is
	}
	return out
}
