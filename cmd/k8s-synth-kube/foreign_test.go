package main

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	apiv1 "github.com/Azure/eno/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// TestForeign: somebody's Deployment and Service, which have the names of
// modules, are as they were whatever is played there: while it plays, when the
// modules go, and when all of it is taken away. What they stood in the way of
// comes when they are gone.
func TestForeign(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane; not in -short")
	}
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithTimeout(context.Background(), callsEnd)
	defer cancel()
	with := func(web bool) mapping.Topology {
		topology := r.topology(2, "kick")
		topology.Cables = nil
		if web {
			topology.Modules["service/web"], topology.Modules["service/own"] = mapping.TopologyModule{}, mapping.TopologyModule{}
			topology.Cables = []string{"deployment/web/pods -> service/web/selector"}
		} else {
			delete(topology.Modules, "deployment/web")
		}
		return topology
	}
	r.publish(with(false))
	r.wait("the bare pod", 90*time.Second, func() bool { return r.field(mapping.KindPod, "kick", mapping.FieldReady) == "true" })
	c := r.client()

	labels := map[string]string{"app": "web", eno.ManagedByLabel: "Helm"}
	one := int32(1)
	deployment, err := c.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: labels}, Spec: appsv1.DeploymentSpec{
		Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "shop/web:1"}}}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	service, err := c.CoreV1().Services(namespace).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(80)}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	untouched := func(when string) {
		t.Helper()
		d, err := c.AppsV1().Deployments(namespace).Get(ctx, "web", metav1.GetOptions{})
		if err != nil || d.UID != deployment.UID || d.DeletionTimestamp != nil || !reflect.DeepEqual(d.Spec, deployment.Spec) || !reflect.DeepEqual(d.Labels, deployment.Labels) {
			t.Errorf("%s: the Deployment is %+v, %v", when, d, err)
		}
		s, err := c.CoreV1().Services(namespace).Get(ctx, "web", metav1.GetOptions{})
		if err != nil || s.UID != service.UID || s.DeletionTimestamp != nil || s.ResourceVersion != service.ResourceVersion {
			t.Errorf("%s: the Service is %+v, %v", when, s, err)
		}
	}
	own := func(there bool) func() error {
		return func() error {
			_, err := c.CoreV1().Services(namespace).Get(ctx, "own", metav1.GetOptions{})
			if (err == nil) != there {
				return fmt.Errorf("our Service: %v, wanted there: %v", err, there)
			}
			return nil
		}
	}

	r.publish(with(true))
	r.wait("the Deployment in the way", 20*time.Second, r.problem("Deployment k8s-synth/web is left alone"))
	r.wait("the Service in the way", 20*time.Second, r.problem("Service k8s-synth/web is left alone"))
	r.eventually("our Service", 20*time.Second, own(true)) // Eno has applied it
	time.Sleep(2 * time.Second)
	untouched("while it plays")
	r.hand(int(exitForeign), "version: 2\nmodules: {service/web: {}}\n", "diff")

	r.publish(with(false))
	r.eventually("our Service to go", 20*time.Second, own(false))
	time.Sleep(2 * time.Second)
	untouched("when the modules are gone")

	r.publish(with(true))
	r.eventually("our Service", 20*time.Second, own(true))
	if err := c.CoreV1().Services(namespace).Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("the Service that nothing is in the way of", 45*time.Second, func() error {
		s, err := c.CoreV1().Services(namespace).Get(ctx, "web", metav1.GetOptions{})
		if err == nil && s.Labels[eno.ManagedByLabel] != eno.ManagedBy {
			err = fmt.Errorf("labels %v", s.Labels)
		}
		return err
	})
	r.endKube()
	// README's way to take everything away.
	path := "/apis/" + apiv1.SchemeGroupVersion.String() + "/namespaces/" + namespace + "/compositions/" + eno.CompositionName
	if err := c.Discovery().RESTClient().Delete().AbsPath(path).Do(ctx).Error(); err != nil {
		t.Fatal(err)
	}
	r.eventually("all that is ours to go", 30*time.Second, own(false))
	time.Sleep(2 * time.Second)
	d, err := c.AppsV1().Deployments(namespace).Get(ctx, "web", metav1.GetOptions{})
	if err != nil || d.UID != deployment.UID || d.DeletionTimestamp != nil || !reflect.DeepEqual(d.Spec, deployment.Spec) {
		t.Errorf("after all: the Deployment is %+v, %v", d, err)
	}
}
