package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
)

const (
	// nodeLabel marks the nodes that KWOK plays, so that a real node can join.
	nodeLabel = "k8s-synth.io/node"
	simulated = "simulated"
	// capacityAnnotation tells with which capacity a node was made, so that
	// one that a player has changed since is left alone at the next start.
	capacityAnnotation = "k8s-synth.io/capacity"
	// MaxNodes is how many nodes there can be: each has 254 pod addresses out
	// of 10.244.0.0/16.
	MaxNodes = 250
	// zones is over how many zones the nodes are spread.
	zones = 3
	// leaseSeconds is the kubelet's own; KWOK renews at a quarter of it.
	leaseSeconds = 40
)

// The size of a simulated node: a small machine, so that a handful of busy pods
// fills it, and with the kubelet's own limit of pods.
var (
	DefaultNodeCPU    = resource.MustParse("4")
	DefaultNodeMemory = resource.MustParse("8Gi")
	nodePods          = resource.MustParse("110")
	nodeStorage       = resource.MustParse("1Ti")
)

// newNode returns the n-th simulated node, counted from 1.
func newNode(n int, cpu, memory resource.Quantity) *corev1.Node {
	name := fmt.Sprintf("stage-%d", n)
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:              cpu,
		corev1.ResourceMemory:           memory,
		corev1.ResourceEphemeralStorage: nodeStorage,
		corev1.ResourcePods:             nodePods,
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				nodeLabel:                       simulated,
				managedByLabel:                  managedBy,
				corev1.LabelHostname:            name,
				corev1.LabelOSStable:            "linux",
				corev1.LabelArchStable:          "amd64",
				corev1.LabelTopologyRegion:      "stage",
				corev1.LabelTopologyZone:        "stage-" + string(rune('a'+(n-1)%zones)),
				"node-role.kubernetes.io/agent": "",
			},
			Annotations: map[string]string{capacityAnnotation: fmt.Sprintf("cpu=%s,memory=%s", cpu.String(), memory.String())},
		},
		Spec: corev1.NodeSpec{
			PodCIDR:  fmt.Sprintf("10.244.%d.0/24", n),
			PodCIDRs: []string{fmt.Sprintf("10.244.%d.0/24", n)},
		},
		Status: corev1.NodeStatus{
			Capacity:    capacity,
			Allocatable: capacity,
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.0.0.%d", n)},
				{Type: corev1.NodeHostName, Address: name},
			},
			NodeInfo: corev1.NodeSystemInfo{
				Architecture:            "amd64",
				OperatingSystem:         "linux",
				OSImage:                 "k8s-synth (simulated)",
				KernelVersion:           "simulated",
				ContainerRuntimeVersion: "kwok://0.8.0",
				KubeletVersion:          "v1.36.3",
			},
		},
	}
}

// ensureNodes makes the nodes 1 to n, and removes simulated ones beyond that,
// left over from a start with more.
func ensureNodes(ctx context.Context, client kubernetes.Interface, n int, cpu, memory resource.Quantity) error {
	want := map[string]bool{}
	for i := 1; i <= n; i++ {
		node := newNode(i, cpu, memory)
		want[node.Name] = true
		_, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			err = updateNode(ctx, client, node)
		}
		if err != nil {
			return fmt.Errorf("node %s: %w", node.Name, err)
		}
		// KWOK does not look for the lease of a previous start before it makes
		// its own, and tries again a quarter of a lease later; until then it
		// leaves the node's pods alone.
		if err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Delete(ctx, node.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("lease of node %s: %w", node.Name, err)
		}
	}
	have, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: nodeLabel + "=" + simulated})
	if err != nil {
		return fmt.Errorf("nodes: %w", err)
	}
	for _, node := range have.Items {
		if want[node.Name] {
			continue
		}
		if err := client.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("node %s: %w", node.Name, err)
		}
	}
	return nil
}

// updateNode gives a node of a previous start our labels, and another capacity
// where another is asked for than it was made with.
func updateNode(ctx context.Context, client kubernetes.Interface, node *corev1.Node) error {
	nodes := client.CoreV1().Nodes()
	have, err := nodes.Get(ctx, node.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if have.Annotations[capacityAnnotation] == node.Annotations[capacityAnnotation] && have.Labels[managedByLabel] == managedBy {
		return nil
	}
	patch := func(o any, subresources ...string) error {
		b, err := json.Marshal(o)
		if err == nil {
			_, err = nodes.Patch(ctx, node.Name, types.MergePatchType, b, metav1.PatchOptions{}, subresources...)
		}
		return err
	}
	if have.Annotations[capacityAnnotation] != node.Annotations[capacityAnnotation] {
		if err := patch(map[string]any{"status": map[string]any{"capacity": node.Status.Capacity, "allocatable": node.Status.Allocatable}}, "status"); err != nil {
			return err
		}
	}
	return patch(map[string]any{"metadata": map[string]any{"labels": node.Labels, "annotations": node.Annotations}})
}

// waitForNodes returns when n simulated nodes are ready and free of taints
// that keep pods away.
func waitForNodes(ctx context.Context, client kubernetes.Interface, n int) error {
	if n == 0 {
		return nil
	}
	ready := map[string]bool{}
	note := func(node *corev1.Node) bool {
		ok := false
		for _, c := range node.Status.Conditions {
			ok = ok || c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		}
		for _, t := range node.Spec.Taints {
			// A node that a player cordoned is ready all the same.
			ok = ok && t.Key != corev1.TaintNodeNotReady
		}
		if ok {
			ready[node.Name] = true
		} else {
			delete(ready, node.Name)
		}
		return len(ready) >= n
	}
	opts := metav1.ListOptions{LabelSelector: nodeLabel + "=" + simulated}
	for ctx.Err() == nil {
		list, err := client.CoreV1().Nodes().List(ctx, opts)
		if err != nil {
			return fmt.Errorf("nodes: %w", err)
		}
		clear(ready)
		for i := range list.Items {
			if note(&list.Items[i]) {
				return nil
			}
		}
		w, err := client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{LabelSelector: opts.LabelSelector, ResourceVersion: list.ResourceVersion})
		if err != nil {
			return fmt.Errorf("nodes: %w", err)
		}
		for e := range w.ResultChan() {
			node, ok := e.Object.(*corev1.Node)
			if !ok || e.Type == watch.Deleted {
				continue
			}
			if note(node) {
				w.Stop()
				return nil
			}
		}
	}
	return ctx.Err()
}

// startKWOK starts the simulation of nodes and pods; it runs until ctx ends.
func startKWOK(ctx context.Context, config *rest.Config, client kubernetes.Interface, log *slog.Logger, verbose bool) error {
	ctx = kwoklog.NewContext(ctx, kwoklog.NewLogger(&jsonLog{
		log:     log.With("component", "kwok"),
		verbose: verbose,
		least:   slog.LevelWarn,
	}, kwoklog.LevelInfo))

	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("kwok: %w", err)
	}
	stages := map[internalversion.StageResourceRef][]*internalversion.Stage{}
	for _, s := range append(nodeStages(), podStages()...) {
		stages[s.Spec.ResourceRef] = append(stages[s.Spec.ResourceRef], s)
	}
	c, err := controllers.NewController(controllers.Config{
		Clock:                        clock.RealClock{},
		DynamicClient:                dyn,
		TypedClient:                  client,
		ManageNodesWithLabelSelector: nodeLabel + "=" + simulated,
		CIDR:                         "10.244.0.0/24",
		LocalStages:                  stages,
		PodPlayStageParallelism:      4,
		NodePlayStageParallelism:     2,
		NodeLeaseDurationSeconds:     leaseSeconds,
		NodeLeaseParallelism:         2,
		PodsOnNodeSyncParallelism:    1,
		// The same after a restart: a lease of another holder would have to
		// expire first.
		ID: "k8s-synth",
	})
	if err != nil {
		return fmt.Errorf("kwok: %w", err)
	}
	if err := c.Start(ctx); err != nil {
		return fmt.Errorf("kwok: %w", err)
	}
	return nil
}
