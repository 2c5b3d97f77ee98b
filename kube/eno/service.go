package eno

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/k8s-synth/k8s-synth/instrument"
)

func (p *patch) service(id instrument.ModuleID) *corev1.Service {
	affinity := corev1.ServiceAffinityNone
	if p.Word(id, "policy") == "sticky" {
		affinity = corev1.ServiceAffinityClientIP
	}
	out := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: p.meta(id, id.Name()),
		Spec: corev1.ServiceSpec{
			Type:            corev1.ServiceTypeClusterIP,
			SessionAffinity: affinity,
			Ports: []corev1.ServicePort{{
				Name: "http", Protocol: corev1.ProtocolTCP,
				Port: int32(p.Value(id, "port")), TargetPort: intstr.FromInt32(int32(p.Value(id, "target_port"))),
			}},
		},
	}
	var whole string
	out.Spec.Selector, whole = p.selector(id)
	if whole != "" {
		out.Annotations[SelectorAnnotation] = whole
	}
	return out
}

// selector returns the selector of a Service, which is never empty: a Service
// that had one and loses it keeps the endpoints that it had, because
// Kubernetes leaves it to others from then on. Where equality cannot say
// which pods are meant, the second result is the whole selector, and the
// first one selects nothing.
func (p *patch) selector(id instrument.ModuleID) (equal map[string]string, whole string) {
	nothing := map[string]string{NothingLabel: id.Kind() + "." + id.Name()}
	all := labels.NewSelector()
	if from, ok := p.selected[id]; ok {
		key, value := ModuleLabel, from.Kind()+"."+from.Name()
		if p.claims[from] != "" { // a replica, told from its siblings by its panel
			key, value = PanelLabel, from.Name()
		}
		if r, err := labels.NewRequirement(key, selection.Equals, []string{value}); err == nil {
			all = all.Add(*r)
		}
	}
	if match := p.Word(id, "match"); match != "" {
		if s, err := labels.Parse(match); err == nil { // Validate has seen to it
			requirements, _ := s.Requirements()
			all = all.Add(requirements...)
		}
	}
	requirements, _ := all.Requirements()
	if len(requirements) == 0 {
		return nothing, "" // neither cable nor match
	}
	equal = map[string]string{}
	for _, r := range requirements {
		values := r.Values().List()
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
			if len(values) != 1 {
				return nothing, all.String()
			}
		default:
			return nothing, all.String()
		}
		if v, ok := equal[r.Key()]; ok && v != values[0] {
			return nothing, "" // both cannot be true
		}
		equal[r.Key()] = values[0]
	}
	return equal, ""
}

// ingress is nil where no cable makes a rule: the API takes no Ingress without.
func (p *patch) ingress(id instrument.ModuleID) *networkingv1.Ingress {
	class, prefix := IngressClass, networkingv1.PathTypePrefix
	var paths []networkingv1.HTTPIngressPath
	for n := range instrument.Endpoints {
		path := p.Word(id, fmt.Sprintf("path_%d", n+1))
		service, ok := p.routes[instrument.JackRef{Module: id, Jack: fmt.Sprintf("route_%d", n+1)}]
		if path == "" || !ok {
			continue
		}
		paths = append(paths, networkingv1.HTTPIngressPath{
			Path: path, PathType: &prefix,
			Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
				Name: service.Name(),
				Port: networkingv1.ServiceBackendPort{Number: int32(p.Value(service, "port"))},
			}},
		})
	}
	if len(paths) == 0 {
		return nil
	}
	return &networkingv1.Ingress{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"},
		ObjectMeta: p.meta(id, id.Name()),
		Spec: networkingv1.IngressSpec{
			IngressClassName: &class,
			Rules: []networkingv1.IngressRule{{
				Host:             p.Word(id, "host"),
				IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: paths}},
			}},
		},
	}
}
