package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube/cluster/paths"
	"github.com/k8s-synth/k8s-synth/kube/install"
)

// A real node is a kubelet that joins beside the simulated nodes, or instead
// of them. Its pods are real processes, which need what no simulated pod does:
// a way to the API from their own network, service account tokens, and the
// authority by which they know the API. All of it is off without one.

// RealNodeLabel and its value are carried by real nodes: their kubelets are
// started with --node-labels=k8s-synth.io/node=real. Synthesizer pods ask for
// it, since on a simulated node they would only seem to run.
const RealNodeLabel, RealNode = nodeLabel, "real"

// containerPods are the flags of Eno's controller where a kubelet runs its
// pods.
var containerPods = []string{
	"--executor-image=" + install.Image("eno"),
	"--synthesizer-pod-service-account=" + install.SynthesizerAccount,
	"--node-affinity=" + RealNodeLabel + "=" + RealNode,
	// A container takes longer to start than a process.
	"--pod-timeout=60s",
	"--container-creation-ttl=20s",
}

// realNodeControllers are those that real pods need besides.
var realNodeControllers = []string{
	names.RootCACertificatePublisherController,
}

// checkRealNode tells whether an address can be that of the API for others.
func checkRealNode(address string) error {
	if address == "" {
		return nil
	}
	if ip := net.ParseIP(address); ip == nil || ip.IsLoopback() || ip.IsUnspecified() || ip.To4() == nil {
		return fmt.Errorf("real node: expected an IPv4 address of this machine that pods can reach, such as 192.168.0.10, got %q", address)
	}
	return nil
}

// realNodeFlags are the API server's flags for real nodes: it tells its
// address in the service "kubernetes", gives pods their tokens, and talks to
// kubelets (for logs and the like) as itself.
func realNodeFlags(address string, s paths.State) []string {
	if address == "" {
		return nil
	}
	return []string{
		"--advertise-address=" + address,
		"--endpoint-reconciler-type=master-count",
		"--kubelet-client-certificate=" + filepath.Join(s.PKI(), "admin.crt"),
		"--kubelet-client-key=" + filepath.Join(s.PKI(), "admin.key"),
		"--kubelet-preferred-address-types=InternalIP",
	}
}

// admissionOffWith returns the admission plugins that are off: with a real node,
// pods need their service account's token.
func admissionOffWith(address string) []string {
	if address == "" {
		return admissionOff
	}
	return slices.DeleteFunc(slices.Clone(admissionOff), func(p string) bool { return p == "ServiceAccount" })
}

// alsoListen adds a listener on another address and the same port: clients on
// this machine keep to the loopback interface, and the port in its file stays
// the only one.
func alsoListen(first net.Listener, address string) (net.Listener, error) {
	port := first.Addr().(*net.TCPAddr).Port
	second, err := net.Listen("tcp4", net.JoinHostPort(address, strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("API server for real nodes: %w", err)
	}
	l := &twoAddresses{Listener: first, second: second, accepted: make(chan accepted), closed: make(chan struct{})}
	for _, from := range []net.Listener{first, second} {
		go l.accept(from)
	}
	return l, nil
}

// twoAddresses is two listeners as one; its address is that of the first.
type twoAddresses struct {
	net.Listener
	second   net.Listener
	accepted chan accepted
	once     sync.Once
	closed   chan struct{}
}

type accepted struct {
	conn net.Conn
	err  error
}

func (l *twoAddresses) accept(from net.Listener) {
	for {
		c, err := from.Accept()
		select {
		case l.accepted <- accepted{c, err}:
		case <-l.closed:
			if err == nil {
				c.Close()
			}
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// Accept returns the next connection of either.
func (l *twoAddresses) Accept() (net.Conn, error) {
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close closes both.
func (l *twoAddresses) Close() error {
	l.once.Do(func() { close(l.closed) })
	return errors.Join(l.Listener.Close(), l.second.Close())
}

// ensureSynthesizerAccess makes the service account of the synthesizer pods
// with its role, or brings them up to date.
func ensureSynthesizerAccess(ctx context.Context, client kubernetes.Interface) error {
	manifests, err := install.SynthesizerAccess()
	if err != nil {
		return err
	}
	for _, m := range manifests {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(m, &kind); err != nil {
			return fmt.Errorf("manifest of the synthesizers' access: %w", err)
		}
		switch kind.Kind {
		case "ServiceAccount":
			o := &corev1.ServiceAccount{}
			if err = yaml.UnmarshalStrict(m, o); err == nil {
				_, err = client.CoreV1().ServiceAccounts(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
			}
		case "ClusterRole":
			o := &rbacv1.ClusterRole{}
			if err = yaml.UnmarshalStrict(m, o); err == nil {
				if _, err = client.RbacV1().ClusterRoles().Create(ctx, o, metav1.CreateOptions{}); apierrors.IsAlreadyExists(err) {
					_, err = client.RbacV1().ClusterRoles().Update(ctx, o, metav1.UpdateOptions{})
				}
			}
		case "ClusterRoleBinding":
			o := &rbacv1.ClusterRoleBinding{}
			if err = yaml.UnmarshalStrict(m, o); err == nil {
				_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, o, metav1.CreateOptions{})
			}
		default:
			err = errors.New("expected a ServiceAccount, a ClusterRole or a ClusterRoleBinding")
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("access of synthesizer pods: %s: %w", kind.Kind, err)
		}
	}
	return nil
}
