package main

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// TestObservesEveryKind hears objects that another hand made, of every kind, on
// a real control plane, and hears each of them once although it is killed in
// the middle.
func TestObservesEveryKind(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane; not in -short")
	}
	t.Parallel()
	r := newRig(t, "--listen-only", "--heartbeat", "200ms", "--also", "kube-system")
	r.synced()
	ctx, cancel := context.WithTimeout(context.Background(), callsEnd)
	defer cancel()
	c := r.client()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{}); err != nil {
		_, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
		must(err)
	}
	_, err := c.CoreV1().ResourceQuotas(namespace).Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("100")}}}, metav1.CreateOptions{})
	must(err)
	replicas := int32(2)
	labels := map[string]string{"app": "plain"}
	podSpec := corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "plain"}}}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "plain"}, Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec}}}
	_, err = c.AppsV1().Deployments(namespace).Create(ctx, d, metav1.CreateOptions{})
	must(err)
	// An API server that has just begun has no addresses to give for a moment.
	for range 50 {
		if _, err = c.CoreV1().Services(namespace).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "plain"}, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{}); !apierrors.IsInternalError(err) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	must(err)
	prefix := networkingv1.PathTypePrefix
	_, err = c.NetworkingV1().Ingresses(namespace).Create(ctx, &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "plain"}, Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: "plain.local", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "plain", Port: networkingv1.ServiceBackendPort{Number: 80}}}}}}}}}}}, metav1.CreateOptions{})
	must(err)
	target := int32(50)
	_, err = c.AutoscalingV2().HorizontalPodAutoscalers(namespace).Create(ctx, &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "plain"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MinReplicas: &replicas, MaxReplicas: 3,
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "plain"},
		Metrics:        []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &target}}}}}}, metav1.CreateOptions{})
	must(err)
	jobPod := *podSpec.DeepCopy()
	jobPod.RestartPolicy = corev1.RestartPolicyNever
	_, err = c.BatchV1().CronJobs(namespace).Create(ctx, &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "tick"}, Spec: batchv1.CronJobSpec{Schedule: "@every 3s", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: jobPod}}}}}, metav1.CreateOptions{})
	must(err)
	_, err = c.BatchV1().Jobs(namespace).Create(ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "shot", Labels: map[string]string{"k8s-synth.io/module": "job.shot"}}, Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: jobPod}}}, metav1.CreateOptions{})
	must(err)

	endpoints := func() []string {
		text := r.field(mapping.KindService, "plain", mapping.FieldEndpoints)
		if text == "" {
			return nil
		}
		return strings.Split(text, ",")
	}
	r.wait("two endpoints", 60*time.Second, func() bool { return len(endpoints()) == 2 })
	r.wait("the route", 5*time.Second, func() bool { return r.field(mapping.KindIngress, "plain", mapping.FieldRoutes) == "/=plain" })
	r.wait("the autoscaler", 60*time.Second, func() bool { return r.field(mapping.KindHPA, "plain", mapping.FieldCurrent) == "2" })
	r.wait("the headroom", 20*time.Second, func() bool {
		share, err := strconv.ParseFloat(r.field(mapping.KindNamespace, namespace, mapping.FieldHeadroom), 64)
		return err == nil && share > 0 && share < 1
	})
	r.wait("the namespace beside", 5*time.Second, func() bool { return r.field(mapping.KindNamespace, "kube-system", mapping.FieldExists) == "true" })
	r.wait("the capacity of a node", 5*time.Second, func() bool { return r.field(mapping.KindNode, "stage-1", mapping.FieldCapacity) != "" })
	r.wait("the Job", 30*time.Second, func() bool { return r.field(mapping.KindJob, "shot", mapping.FieldActive) != "" })
	ticks := func() (n int) {
		for _, x := range r.ts {
			if x.Object.Kind == mapping.KindCronJob && x.Field == mapping.FieldTick && x.New != "" {
				n++
			}
		}
		return n
	}
	// However short the period, a CronJob makes one Job a minute at most.
	r.wait("a tick", 70*time.Second, func() bool { return ticks() >= 1 })
	r.wait("the Job of a tick", 20*time.Second, func() bool {
		return slices.ContainsFunc(r.ts, func(x mapping.Transition) bool {
			return x.Object.Kind == mapping.KindJob && x.Owner == "cronjob.tick" && x.Field == mapping.FieldActive
		})
	})
	r.mu.Lock()
	if next := r.field(mapping.KindCronJob, "tick", mapping.FieldNext); next == "" {
		t.Error("the CronJob has no next tick")
	}
	pod := endpoints()[0]
	r.mu.Unlock()

	// Load: what the simulation says that a pod uses is heard.
	_, err = c.CoreV1().Pods(namespace).Patch(ctx, pod, types.MergePatchType, []byte(`{"metadata":{"annotations":{"k8s-synth.io/cpu":"250","k8s-synth.io/memory":"48"}}}`), metav1.PatchOptions{})
	must(err)
	took := r.wait("the load of a pod", 20*time.Second, func() bool {
		return r.field(mapping.KindPod, pod, mapping.FieldLoad) == "250" && r.field(mapping.KindPod, pod, mapping.FieldMemory) == "48"
	})
	t.Logf("a load is heard after %v", took.Round(time.Millisecond))

	// A new endpoint comes after those that are there.
	r.mu.Lock()
	before := endpoints()
	r.mu.Unlock()
	_, err = c.AppsV1().Deployments(namespace).Patch(ctx, "plain", types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{})
	must(err)
	r.wait("three endpoints", 30*time.Second, func() bool { return len(endpoints()) == 3 })
	r.mu.Lock()
	if after := endpoints(); !slices.Equal(after[:2], before) {
		t.Errorf("the endpoints were %q and are %q", before, after)
	}
	from := len(r.ts)
	r.mu.Unlock()

	// The control plane is killed. What was there is the same afterwards, and
	// nothing of it is told to come or go.
	_ = r.cluster.Process.Kill()
	_ = r.cluster.Wait()
	r.wait("the loss", 5*time.Second, func() bool {
		return r.field(mapping.KindAPIServer, mapping.KindAPIServer, mapping.FieldReachable) == "false"
	})
	r.startCluster()
	r.synced()
	c = r.client() // it may be at another port
	_, err = c.AppsV1().Deployments(namespace).Patch(ctx, "plain", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{})
	must(err)
	r.wait("an endpoint's end after the restart", 40*time.Second, func() bool {
		return len(slices.DeleteFunc(endpoints(), func(name string) bool { return name == "-" })) == 2
	})
	r.mu.Lock()
	for _, x := range r.ts[from:] {
		switch x.Object.Kind {
		case mapping.KindService, mapping.KindIngress, mapping.KindHPA, mapping.KindNamespace, mapping.KindCronJob, mapping.KindDeployment, mapping.KindNode:
			if x.Field == mapping.FieldExists {
				t.Errorf("told to come or go, but it was there all the time: %+v", x)
			}
		}
	}
	r.mu.Unlock()
	must(c.CoreV1().Services(namespace).Delete(ctx, "plain", metav1.DeleteOptions{}))
	r.wait("the Service's end", 10*time.Second, func() bool { return r.field(mapping.KindService, "plain", mapping.FieldExists) == "" })
	must(c.BatchV1().CronJobs(namespace).Delete(ctx, "tick", metav1.DeleteOptions{}))
	r.sound()
}
