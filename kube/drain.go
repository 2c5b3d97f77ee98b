package kube

import (
	"context"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// drainPatience is how long a drain goes on asking for pods that a
	// disruption budget holds.
	drainPatience = 30 * time.Second
	drainRetry    = 500 * time.Millisecond
	// instantiateAnnotation marks a Job that was started by hand, as kubectl
	// create job --from does.
	instantiateAnnotation = "cronjob.kubernetes.io/instantiate"
	// maxJobName leaves room for the suffixes of a Job's pods.
	maxJobName = 52
)

// drain cordons a node of ours and evicts our pods from it. Evictions respect
// disruption budgets; what is still held after drainPatience stays.
func (p *Publisher) drain(ctx context.Context, conn *Conn, object mapping.Object) error {
	ctx, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	node, err := conn.core.Nodes().Get(ctx, object.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("node %q: %w", object.Name, err)
	}
	if err := ourNode(node); err != nil {
		return err
	}
	if err := cordon(ctx, conn, node, true); err != nil {
		return err
	}
	var held error
	for {
		list, err := conn.core.Pods(p.observer.Namespace).List(ctx, metav1.ListOptions{
			LabelSelector: eno.ManagedByLabel + "=" + eno.ManagedBy,
			FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node.Name).String(),
		})
		left := 0
		if err != nil {
			held, left = err, -1
		} else {
			for i := range list.Items {
				pod := &list.Items[i]
				if !evictable(pod) {
					continue
				}
				left++
				if pod.DeletionTimestamp != nil {
					continue
				}
				switch err := evict(ctx, conn, pod); {
				case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err):
				case apierrors.IsForbidden(err):
					return fmt.Errorf("draining node %q: %w", node.Name, err)
				default:
					held = fmt.Errorf("pod %q: %w", pod.Name, err)
				}
			}
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			if held == nil {
				return fmt.Errorf("node %s is cordoned, but %d pods still end after %v", node.Name, left, drainPatience)
			}
			return fmt.Errorf("node %s is cordoned, but not drained after %v: %w", node.Name, drainPatience, held)
		case <-time.After(drainRetry):
		}
	}
}

// evictable says whether a drain moves a pod: neither what has ended, nor what
// a DaemonSet or the kubelet itself would start again at the same place.
func evictable(pod *corev1.Pod) bool {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return false
	}
	owner := metav1.GetControllerOf(pod)
	return owner == nil || owner.Kind != "DaemonSet"
}

// evict asks once. The client would sleep as long as the API server asks it to
// where a budget holds the pod, and say nothing.
func evict(ctx context.Context, conn *Conn, pod *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return conn.core.RESTClient().Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("eviction").MaxRetries(0).
		VersionedParams(&metav1.CreateOptions{FieldManager: FieldManager}, scheme.ParameterCodec).
		Body(&policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
			DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}},
		}).Do(ctx).Error()
}

// runJob starts a Job of a CronJob now, as kubectl create job --from does.
func (p *Publisher) runJob(ctx context.Context, conn *Conn, object mapping.Object) error {
	namespace := p.observer.Namespace
	cron, err := conn.batch.CronJobs(namespace).Get(ctx, object.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("cronjob %q: %w", object.Name, err)
	}
	if err := ours(cron, "cronjob"); err != nil {
		return err
	}
	job := manualJob(cron, rand.String(5))
	if _, err := conn.batch.Jobs(namespace).Create(ctx, job, metav1.CreateOptions{FieldManager: FieldManager}); err != nil {
		return fmt.Errorf("job of cronjob %q: %w", object.Name, err)
	}
	return nil
}

func manualJob(cron *batchv1.CronJob, suffix string) *batchv1.Job {
	template := cron.Spec.JobTemplate.DeepCopy()
	annotations := map[string]string{instantiateAnnotation: "manual"}
	for k, v := range template.Annotations {
		annotations[k] = v
	}
	labels := map[string]string{}
	for k, v := range template.Labels {
		labels[k] = v
	}
	labels[eno.ManagedByLabel] = eno.ManagedBy
	if m := cron.Labels[eno.ModuleLabel]; m != "" {
		labels[eno.ModuleLabel] = m
	}
	name := cron.Name
	if most := maxJobName - len(suffix) - 1; len(name) > most {
		name = strings.TrimRight(name[:most], "-.")
	}
	controller := true
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: name + "-" + suffix, Namespace: cron.Namespace, Labels: labels, Annotations: annotations,
			// Not to block the owner's deletion, which would need a right of
			// its own.
			OwnerReferences: []metav1.OwnerReference{{APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "CronJob", Name: cron.Name, UID: cron.UID, Controller: &controller}},
		},
		Spec: template.Spec,
	}
}
