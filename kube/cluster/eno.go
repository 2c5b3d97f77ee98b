package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube/cluster/paths"
	"github.com/k8s-synth/k8s-synth/kube/install"
)

// EnoNamespace holds Eno's synthesizer pods.
const EnoNamespace = install.EnoNamespace

// enoNodeLabel is carried by no node: synthesizer pods ask for it, so that the
// scheduler leaves them to package eno's Runner.
const enoNodeLabel = "k8s-synth.io/no-such-node"

// crds parses Eno's resource definitions.
func crds() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	files, err := install.CRDs()
	if err != nil {
		return nil, err
	}
	var all []*apiextensionsv1.CustomResourceDefinition
	for _, name := range slices.Sorted(maps.Keys(files)) {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(files[name], crd); err != nil {
			return nil, fmt.Errorf("resource definition %s: %w", name, err)
		}
		all = append(all, crd)
	}
	return all, nil
}

// applyCRDs creates or updates Eno's resource definitions and waits until the
// API serves them.
func applyCRDs(ctx context.Context, client apiextensions.Interface) error {
	all, err := crds()
	if err != nil {
		return err
	}
	api := client.ApiextensionsV1().CustomResourceDefinitions()
	var wg sync.WaitGroup
	errs := make([]error, len(all))
	for i, crd := range all {
		wg.Go(func() { errs[i] = applyCRD(ctx, client, crd) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	for _, crd := range all {
		for {
			have, err := api.Get(ctx, crd.Name, metav1.GetOptions{})
			if err != nil {
				return fmt.Errorf("resource definition %s: %w", crd.Name, err)
			}
			if established(have) {
				break
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

func applyCRD(ctx context.Context, client apiextensions.Interface, crd *apiextensionsv1.CustomResourceDefinition) error {
	api := client.ApiextensionsV1().CustomResourceDefinitions()
	_, err := api.Create(ctx, crd, metav1.CreateOptions{})
	if err == nil {
		return nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("resource definition %s: %w", crd.Name, err)
	}
	// The API server writes to its status.
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		have, err := api.Get(ctx, crd.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		// The API server answers an update that changes nothing without
		// writing it.
		next := have.DeepCopy()
		next.Annotations = crd.Annotations
		next.Spec = crd.Spec
		_, err = api.Update(ctx, next, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("resource definition %s: %w", crd.Name, err)
	}
	return nil
}

func established(crd *apiextensionsv1.CustomResourceDefinition) bool {
	for _, c := range crd.Status.Conditions {
		if c.Type == apiextensionsv1.Established {
			return c.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

// ensureNamespace makes a namespace that is not there.
func ensureNamespace(ctx context.Context, client kubernetes.Interface, name string) error {
	_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("namespace %s: %w", name, err)
	}
	return nil
}

// enoChildren returns Eno's two programs as child processes. bin is the
// directory in which they are; containers tells that a kubelet runs the
// synthesizer pods.
func enoChildren(s paths.State, bin string, containers bool, log *slog.Logger, verbose bool) (controller, reconciler *child, err error) {
	common := []string{
		"--qps=500", "--burst=1000",
		// They default to ports on all interfaces.
		"--metrics-addr=0", "--health-probe-addr=0",
		fmt.Sprintf("--debug=%t", verbose),
	}
	make := func(name, why string, args ...string) (*child, error) {
		path, err := sibling(bin, name, why)
		if err != nil {
			return nil, err
		}
		return &child{
			path:    path,
			args:    append(append([]string{}, common...), args...),
			env:     childEnv(s),
			pidFile: filepath.Join(s.Run(), name+".pid"),
			log:     log,
			verbose: verbose,
		}, nil
	}
	pods := []string{
		// The image is never pulled: package eno's Runner executes the pods.
		"--executor-image=eno-controller",
		"--node-affinity=" + enoNodeLabel,
		"--pod-timeout=10s",
	}
	if containers {
		pods = containerPods
	}
	controller, err = make("eno-controller", "schedules syntheses", append(pods,
		"--synthesizer-pod-namespace="+EnoNamespace,
		"--rollout-cooldown=0s",
		"--input-qps=500")...)
	if err != nil {
		return nil, nil, err
	}
	reconciler, err = make("eno-reconciler", "applies what was synthesized",
		"--remote-qps=500",
		"--max-concurrent-reconciles=4",
		"--readiness-poll-interval=1s")
	return controller, reconciler, err
}

// childEnv is the environment of a child: ours without what would lead it to
// another cluster (Eno ignores its --kubeconfig flag).
func childEnv(s paths.State) []string {
	var env []string
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "POD_NAMESPACE", "EXECUTOR_IMAGE", "GOGC", "GOMEMLIMIT":
			continue
		}
		env = append(env, v)
	}
	return append(env, "KUBECONFIG="+s.Kubeconfig())
}
