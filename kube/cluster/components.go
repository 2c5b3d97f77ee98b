package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apiserver/pkg/server/healthz"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/controller-manager/pkg/clientbuilder"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	apiserveroptions "k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	controllermanageroptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

const serviceCIDR = "10.96.0.0/16"

// serviceIP is the address of the service "kubernetes": the first of
// serviceCIDR.
var serviceIP = net.IPv4(10, 96, 0, 1)

// enabledControllers are those of kube-controller-manager that a simulated cluster
// needs: what makes pods, what cleans up, and what reacts to nodes. Those for
// volumes, certificates, clouds and token publishing have nothing to do here.
var enabledControllers = []string{
	names.DeploymentController,
	names.ReplicaSetController,
	names.StatefulSetController,
	names.DaemonSetController,
	names.JobController,
	names.CronJobController,
	names.HorizontalPodAutoscalerController,
	names.DisruptionController,
	names.EndpointSliceController,
	names.NamespaceController,
	names.ServiceAccountController,
	names.GarbageCollectorController,
	names.PodGarbageCollectorController,
	names.TTLAfterFinishedController,
	names.ResourceQuotaController,
	names.NodeLifecycleController,
	names.TaintEvictionController,
}

// admissionOff are the admission plugins that wait for, or check, things that
// no simulated pod has: service account tokens, volumes, certificates.
// Without ServiceAccount a pod can be made in a namespace that is a
// millisecond old.
var admissionOff = []string{
	"ServiceAccount",
	"DefaultStorageClass",
	"PersistentVolumeClaimResize",
	"StorageObjectInUseProtection",
	"RuntimeClass",
	"CertificateApproval",
	"CertificateSigning",
	"ClusterTrustBundleAttest",
	"CertificateSubjectRestriction",
	"PodSecurity",
}

// bootDefragMB is how much space in MiB a start must give back for the store
// to be defragmented before.
const bootDefragMB = 64

// socketPathLimit is the longest path of a Unix socket that both Linux (108
// bytes with the final zero) and macOS (104) take.
const socketPathLimit = 103

// store is the running etcd.
type store struct {
	etcd *embed.Etcd
	log  zap.AtomicLevel
	// endpoint is what the API server is given.
	endpoint string
	tmp      string
	// quota is the largest size of its file in bytes.
	quota int64
}

// startEtcd starts etcd and waits until it can write. It listens on a Unix
// socket in a directory of its owner alone, hence needs neither a port nor
// certificates, and it has no peers.
func startEtcd(ctx context.Context, dir string, quota int64, sync bool, log *slog.Logger, verbose bool) (*store, error) {
	logger, level := etcdLogger(log, verbose)
	s := &store{log: level, quota: quota}
	socket := filepath.Join(dir, "client.sock")
	if len(socket) > socketPathLimit {
		tmp, err := os.MkdirTemp("", "k8s-synth-") // mode 0700
		if err != nil {
			return nil, fmt.Errorf("etcd: %w", err)
		}
		s.tmp, socket = tmp, filepath.Join(tmp, "client.sock")
	}
	s.endpoint = "unix://" + socket
	cfg := embed.NewConfig()
	cfg.Name = "k8s-synth"
	cfg.Dir = filepath.Join(dir, "data")
	cfg.ListenClientUrls = []url.URL{{Scheme: "unix", Path: socket}}
	cfg.ListenPeerUrls = nil
	// What the only member would tell others; nobody listens there.
	cfg.AdvertiseClientUrls = []url.URL{{Scheme: "http", Host: "localhost:2379"}}
	cfg.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "localhost:2380"}}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.EnableGRPCGateway = false
	// One member elects itself: nothing is gained by waiting a second for it.
	cfg.TickMs, cfg.ElectionMs = 50, 500
	cfg.UnsafeNoFsync = !sync
	cfg.QuotaBackendBytes = quota
	cfg.BootstrapDefragThresholdMegabytes = bootDefragMB
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		s.remove()
		return nil, fmt.Errorf("etcd: %w", err)
	}
	s.etcd = e
	select {
	case <-e.Server.ReadyNotify():
		return s, nil
	case err = <-e.Err():
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(30 * time.Second):
		err = errors.New("not ready after 30 s")
	}
	s.stop()
	return nil, fmt.Errorf("etcd: %w", err)
}

// stop ends etcd; what was acknowledged is on disk already.
func (s *store) stop() {
	if s == nil {
		return
	}
	s.log.SetLevel(zapcore.FatalLevel)
	s.etcd.Close()
	s.remove()
}

func (s *store) remove() {
	if s.tmp != "" {
		os.RemoveAll(s.tmp)
	}
}

// parse sets a component's options from flags: the same names as on the
// command line of the component, so that their documentation holds.
func parse(name string, fss cliflag.NamedFlagSets, args []string) error {
	fs := pflag.NewFlagSet(name, pflag.ContinueOnError)
	for _, f := range fss.FlagSets {
		fs.AddFlagSet(f)
	}
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// apiServerOptions returns the API server's options. They set the feature
// gates of the whole process, hence come before those of the others. Flags
// that are given beside win over our own.
func apiServerOptions(listener net.Listener, c *credentials, etcd string, admissionOff []string, flags ...string) (*apiserveroptions.ServerRunOptions, error) {
	s := apiserveroptions.NewServerRunOptions()
	err := parse("kube-apiserver", s.Flags(), append([]string{
		"--etcd-servers=" + etcd,
		// The listener is open already: the port cannot be lost in between.
		fmt.Sprintf("--secure-port=%d", listener.Addr().(*net.TCPAddr).Port),
		"--bind-address=127.0.0.1",
		// Else the address of the default route is looked for, and a machine
		// without a network could not start.
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=" + serviceCIDR,
		"--tls-cert-file=" + c.certFile,
		"--tls-private-key-file=" + c.keyFile,
		"--client-ca-file=" + c.caFile,
		"--anonymous-auth=false",
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.saKeyFile,
		"--service-account-signing-key-file=" + c.saKeyFile,
		"--disable-admission-plugins=" + strings.Join(admissionOff, ","),
		// There is one user, and storms are part of the music.
		"--enable-priority-and-fairness=false",
		"--max-requests-inflight=0",
		"--max-mutating-requests-inflight=0",
		"--profiling=false",
		"--event-ttl=15m",
		// Who it is to the metrics API.
		"--proxy-client-cert-file=" + c.proxyCertFile,
		"--proxy-client-key-file=" + c.proxyKeyFile,
	}, flags...))
	if err != nil {
		return nil, err
	}
	s.SecureServing.Listener = listener
	if err := s.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, fmt.Errorf("kube-apiserver: %w", err)
	}
	return s, nil
}

// runAPIServer runs the API server until ctx ends.
func runAPIServer(ctx context.Context, s *apiserveroptions.ServerRunOptions) error {
	completed, err := s.Complete(ctx)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return fmt.Errorf("kube-apiserver: %w", errors.Join(errs...))
	}
	if err := apiserver.Run(ctx, completed); err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	return nil
}

// runControllerManager runs the controllers until ctx ends; ready is called
// when they have started and have their informers' first lists. They listen
// nowhere and elect nobody.
//
// It does what the controller manager's own Run does without leader election,
// which has no way to tell when it is ready but a health port.
func runControllerManager(ctx context.Context, kubeconfig string, c *credentials, realNode bool, ready func()) error {
	const component = "kube-controller-manager"
	fail := func(err error) error { return fmt.Errorf("%s: %w", component, err) }
	s, err := controllermanageroptions.NewKubeControllerManagerOptions()
	if err != nil {
		return fail(err)
	}
	all, off, alias := controllermanager.KnownControllers(), controllermanager.ControllersDisabledByDefault(), controllermanager.ControllerAliases()
	enabled := enabledControllers
	if realNode {
		enabled = append(realNodeControllers, enabled...)
	}
	fss := s.Flags(all, off, alias)
	err = parse(component, fss, []string{
		"--kubeconfig=" + kubeconfig,
		"--controllers=" + strings.Join(enabled, ","),
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
		"--service-account-private-key-file=" + c.saKeyFile,
		"--root-ca-file=" + c.caFile,
		"--controller-shutdown-timeout=2s",
		// An autoscaler follows a knob. The metrics are exact at each moment,
		// so that nothing need be waited for.
		"--horizontal-pod-autoscaler-sync-period=1s",
		"--horizontal-pod-autoscaler-cpu-initialization-period=1s",
		"--horizontal-pod-autoscaler-initial-readiness-delay=1s",
		// For those without a behavior of their own; 5 minutes otherwise.
		"--horizontal-pod-autoscaler-downscale-stabilization=10s",
		// What no change has told of, such as a pod that another program's
		// admission refused after it was counted.
		"--resource-quota-sync-period=10s",
		// Evicted pods stay until there are so many; 12,500 otherwise.
		"--terminated-pod-gc-threshold=200",
	})
	if err != nil {
		return err
	}
	s.ParsedFlags = &fss
	cfg, err := s.Config(ctx, all, off, alias)
	if err != nil {
		return fail(err)
	}
	cc := cfg.Complete()
	cc.EventBroadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: cc.Client.CoreV1().Events("")})
	defer cc.EventBroadcaster.Shutdown()
	clients := clientbuilder.SimpleControllerClientBuilder{ClientConfig: cc.Kubeconfig}
	cctx, err := controllermanager.CreateControllerContext(ctx, cc, clients, clients)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fail(err)
	}
	descriptors := controllermanager.NewControllerDescriptors()
	// Built even where it is not enabled; it makes token secrets, which no
	// simulated pod mounts.
	delete(descriptors, names.ServiceAccountTokenController)
	running, err := controllermanager.BuildControllers(ctx, cctx, descriptors, nil, healthchecks{})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fail(err)
	}
	cctx.InformerFactory.Start(ctx.Done())
	cctx.ObjectOrMetadataInformerFactory.Start(ctx.Done())
	close(cctx.InformersStarted)
	go func() {
		cctx.InformerFactory.WaitForCacheSync(ctx.Done())
		if ctx.Err() == nil {
			ready()
		}
	}()
	// The last argument but one is the jitter of an interval that is zero.
	controllermanager.RunControllers(ctx, cctx, running, 0, cc.ControllerShutdownTimeout)
	if ctx.Err() == nil {
		return fail(errors.New("the controllers ended by themselves"))
	}
	return nil
}

// healthchecks drops the health checks of the controllers: there is no port on
// which they could be asked for.
type healthchecks struct{}

func (healthchecks) AddHealthChecker(...healthz.HealthChecker) {}

// runScheduler runs the scheduler until ctx ends; ready is called when it has
// its informers' first lists.
func runScheduler(ctx context.Context, kubeconfig string, ready func()) error {
	o := scheduleroptions.NewOptions()
	err := parse("kube-scheduler", *o.Flags, []string{
		"--kubeconfig=" + kubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
		"--profiling=false",
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	})
	if err != nil {
		return err
	}
	cc, sched, err := scheduler.Setup(ctx, o)
	if err != nil {
		return fmt.Errorf("kube-scheduler: %w", err)
	}
	go func() {
		cc.InformerFactory.WaitForCacheSync(ctx.Done())
		if sched.WaitForHandlersSync(ctx) == nil && ctx.Err() == nil {
			ready()
		}
	}()
	if err := scheduler.Run(ctx, cc, sched); err != nil && ctx.Err() == nil {
		return fmt.Errorf("kube-scheduler: %w", err)
	}
	return nil
}
