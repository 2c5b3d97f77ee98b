package kube

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"

	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// endpointsPerSlice is that of Kubernetes' own controller.
	endpointsPerSlice = 100
	// endpointsWindow gathers the changes of pods before slices are written;
	// endpointsEvery looks for what no transition tells, such as a label that
	// another hand changed.
	endpointsWindow = 50 * time.Millisecond
	endpointsEvery  = time.Second
)

// keepEndpoints keeps the EndpointSlices of our Services whose selector is more
// than a Service can say: sets, negations. Kubernetes' own controller keeps
// those of all others, but not these: where a Service no longer has such a
// selector, its slices of ours are taken away, also those that an earlier run
// has left. Services returns false until they are known.
func (p *Publisher) keepEndpoints(ctx context.Context, conn *Conn, services func() ([]*corev1.Service, bool)) {
	ticker := time.NewTicker(endpointsEvery)
	defer ticker.Stop()
	var once tellOnce
	// swept are the Services whose slices are the only ones, as of the time at.
	var swept map[types.UID]bool
	var at time.Time
	for {
		all, known := services()
		selecting, well := map[types.UID]bool{}, known
		ill := func(where string, err error) {
			well = false
			if ctx.Err() == nil && once.ill(err) {
				p.observer.Problem(where, err.Error())
			}
		}
		for _, s := range all {
			if !selects(s) {
				continue
			}
			selecting[s.UID] = true
			if s.DeletionTimestamp != nil {
				continue
			}
			callCtx, cancel := context.WithTimeout(ctx, callTimeout)
			if err := p.writeEndpoints(callCtx, conn, s); err != nil {
				ill("service/"+s.Name, err)
			}
			cancel()
		}
		if known && (!maps.Equal(selecting, swept) || time.Since(at) > keepEvery) {
			callCtx, cancel := context.WithTimeout(ctx, callTimeout)
			if err := p.sweepEndpoints(callCtx, conn, selecting); err != nil {
				ill("publisher", err)
			} else {
				swept, at = selecting, time.Now()
			}
			cancel()
		}
		if well {
			once.well()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-p.pods:
			select {
			case <-ctx.Done():
				return
			case <-time.After(endpointsWindow):
			}
		}
	}
}

// selects says whether the slices of a Service are ours to keep.
func selects(s *corev1.Service) bool {
	return s.Annotations[eno.SelectorAnnotation] != "" && ours(s, "service") == nil
}

// ourSlices selects the EndpointSlices that we have written. Nothing else is
// ever changed.
const ourSlices = discoveryv1.LabelManagedBy + "=" + eno.ManagedBy + "," + eno.ManagedByLabel + "=" + eno.ManagedBy

// sweepEndpoints deletes our slices of Services that do not, or no longer, need
// them: traffic would go on to the pods in them. The selecting ones are left
// alone.
func (p *Publisher) sweepEndpoints(ctx context.Context, conn *Conn, selecting map[types.UID]bool) error {
	list, err := conn.discovery.EndpointSlices(p.observer.Namespace).List(ctx, metav1.ListOptions{LabelSelector: ourSlices})
	if err != nil {
		return fmt.Errorf("endpoint slices: %w", err)
	}
	for i := range list.Items {
		slice := &list.Items[i]
		if slice.DeletionTimestamp != nil || slices.ContainsFunc(slice.OwnerReferences, func(r metav1.OwnerReference) bool { return selecting[r.UID] }) {
			continue
		}
		// What is known of the Service may be older than the slice.
		name := slice.Labels[discoveryv1.LabelServiceName]
		s, err := conn.core.Services(slice.Namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil && selects(s):
			continue
		case err != nil && !apierrors.IsNotFound(err):
			return fmt.Errorf("service %q: %w", name, err)
		}
		if err := deleteSlice(ctx, conn, slice); err != nil {
			return err
		}
	}
	return nil
}

func deleteSlice(ctx context.Context, conn *Conn, slice *discoveryv1.EndpointSlice) error {
	err := conn.discovery.EndpointSlices(slice.Namespace).Delete(ctx, slice.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &slice.UID, ResourceVersion: &slice.ResourceVersion}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("endpoint slice %q: %w", slice.Name, err)
	}
	return nil
}

// sawPods notes that endpoints may have changed.
func (p *Publisher) sawPods(ts []mapping.Transition) {
	for i := range ts {
		if ts[i].Object.Kind != mapping.KindPod && ts[i].Object.Kind != mapping.KindService {
			continue
		}
		switch ts[i].Field {
		case mapping.FieldExists, mapping.FieldPhase, mapping.FieldReady, mapping.FieldDeleting, mapping.FieldNode:
			select {
			case p.pods <- struct{}{}:
			default:
			}
			return
		}
	}
}

// writeEndpoints makes the slices of one Service what its pods are.
func (p *Publisher) writeEndpoints(ctx context.Context, conn *Conn, s *corev1.Service) error {
	selector, err := labels.Parse(s.Annotations[eno.SelectorAnnotation])
	if err != nil {
		return fmt.Errorf("annotation %s of service %q: %w", eno.SelectorAnnotation, s.Name, err)
	}
	var pods []*Pod
	for _, pod := range p.observer.Pods() {
		if pod.Namespace == s.Namespace && pod.Labels != nil && selector.Matches(labels.Set(pod.Labels)) {
			pods = append(pods, pod)
		}
	}
	want, err := sliceEndpoints(s, pods)
	if err != nil {
		return err
	}
	slicesOf := conn.discovery.EndpointSlices(s.Namespace)
	list, err := slicesOf.List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + s.Name + "," + ourSlices})
	if err != nil {
		return fmt.Errorf("endpoint slices of service %q: %w", s.Name, err)
	}
	there := map[string]*discoveryv1.EndpointSlice{}
	for i := range list.Items {
		there[list.Items[i].Name] = &list.Items[i]
	}
	for _, slice := range want {
		is := there[slice.Name]
		delete(there, slice.Name)
		switch {
		case is == nil:
			_, err = slicesOf.Create(ctx, slice, metav1.CreateOptions{FieldManager: FieldManager})
		case equality.Semantic.DeepEqual(is.Endpoints, slice.Endpoints) && equality.Semantic.DeepEqual(is.Ports, slice.Ports) && owned(is, s.UID):
			continue
		case is.AddressType != slice.AddressType:
			// The type never changes in one slice; the next round makes it anew.
			err = deleteSlice(ctx, conn, is)
		default:
			slice.ResourceVersion = is.ResourceVersion
			_, err = slicesOf.Update(ctx, slice, metav1.UpdateOptions{FieldManager: FieldManager})
		}
		if err != nil && !apierrors.IsConflict(err) {
			return fmt.Errorf("endpoint slice %q: %w", slice.Name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		if err := deleteSlice(ctx, conn, there[name]); err != nil {
			return err
		}
	}
	return nil
}

func owned(slice *discoveryv1.EndpointSlice, uid types.UID) bool {
	return slices.ContainsFunc(slice.OwnerReferences, func(r metav1.OwnerReference) bool { return r.UID == uid })
}

// sliceEndpoints returns the slices of a Service for its pods, at least one,
// so that a Service without endpoints says so itself. The conditions are those
// of Kubernetes' own controller: serving is what the pod's readiness says,
// ready is that and not ending, unless the Service publishes all.
func sliceEndpoints(s *corev1.Service, pods []*Pod) ([]*discoveryv1.EndpointSlice, error) {
	var ports []discoveryv1.EndpointPort
	for _, port := range s.Spec.Ports {
		number := port.Port
		switch {
		case port.TargetPort.Type == intstr.String:
			n, err := strconv.Atoi(port.TargetPort.StrVal)
			if err != nil {
				return nil, fmt.Errorf("service %q: target port %q: expected a number, because the annotation %s is the instrument's own way to select", s.Name, port.TargetPort.StrVal, eno.SelectorAnnotation)
			}
			number = int32(n)
		case port.TargetPort.IntVal != 0:
			number = port.TargetPort.IntVal
		}
		name, protocol := port.Name, port.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		ports = append(ports, discoveryv1.EndpointPort{Name: &name, Port: &number, Protocol: &protocol, AppProtocol: port.AppProtocol})
	}
	// In the order in which they came to be, so that a pod keeps its place; a
	// name decides where that is not known.
	slices.SortFunc(pods, func(a, b *Pod) int { return cmp.Compare(a.Name, b.Name) })
	byType := map[discoveryv1.AddressType][]discoveryv1.Endpoint{}
	for _, pod := range pods {
		ip, err := netip.ParseAddr(pod.IP)
		if err != nil || pod.Phase != string(corev1.PodRunning) {
			continue
		}
		kind := discoveryv1.AddressTypeIPv4
		if ip.Is6() {
			kind = discoveryv1.AddressTypeIPv6
		}
		serving, terminating := pod.Ready, pod.Deleting
		ready := s.Spec.PublishNotReadyAddresses || serving && !terminating
		e := discoveryv1.Endpoint{
			Addresses:  []string{pod.IP},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: types.UID(pod.UID)},
		}
		if pod.Node != "" {
			node := pod.Node
			e.NodeName = &node
		}
		byType[kind] = append(byType[kind], e)
	}
	if len(byType) == 0 {
		byType[discoveryv1.AddressTypeIPv4] = nil
	}
	controller, block := true, true
	var out []*discoveryv1.EndpointSlice
	for _, kind := range slices.Sorted(maps.Keys(byType)) {
		all := byType[kind]
		for n := 0; n == 0 || n*endpointsPerSlice < len(all); n++ {
			some := all[min(n*endpointsPerSlice, len(all)):min((n+1)*endpointsPerSlice, len(all))]
			out = append(out, &discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{
					Name: fmt.Sprintf("%s-k8s-synth-%s-%d", s.Name, map[discoveryv1.AddressType]string{discoveryv1.AddressTypeIPv4: "v4", discoveryv1.AddressTypeIPv6: "v6"}[kind], n), Namespace: s.Namespace,
					Labels: map[string]string{
						discoveryv1.LabelServiceName: s.Name,
						discoveryv1.LabelManagedBy:   eno.ManagedBy,
						eno.ManagedByLabel:           eno.ManagedBy,
					},
					OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: s.Name, UID: s.UID, Controller: &controller, BlockOwnerDeletion: &block}},
				},
				AddressType: kind, Endpoints: slices.Clone(some), Ports: ports,
			})
		}
	}
	return out, nil
}
