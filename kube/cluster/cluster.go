package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/k8s-synth/k8s-synth/kube/cluster/paths"
	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// DefaultNodes is how many simulated nodes there are.
const DefaultNodes = 3

const (
	// bootTimeout bounds the boot; it takes a few seconds.
	bootTimeout = 2 * time.Minute
	// Stop gives the clients of the API, the API server and etcd so long each.
	clientsGrace   = 2 * time.Second
	apiServerGrace = 1500 * time.Millisecond
	etcdGrace      = time.Second
	// steadyGC is the garbage collector's target once the boot is over, in per
	// cent of the live heap. With 60 pods that come and go, the process has
	// 350 MB by it and 450 MB by the default of 100, for a twentieth more
	// processor time.
	steadyGC = 50
)

// Config says how a Cluster is to be.
type Config struct {
	// StateDir holds everything that outlives the process. Empty is
	// paths.DefaultStateDir, or a temporary directory where Ephemeral is set.
	StateDir string
	// Ephemeral throws the state away at the end. A StateDir that is named
	// with it must not exist yet, or be empty.
	Ephemeral bool
	// Nodes is the number of simulated nodes, 0 to MaxNodes.
	Nodes int
	// RealNode, where set, lets real nodes join: it is the address of this
	// machine at which they and their pods reach the API, and syntheses run
	// as containers there.
	RealNode string
	// NodeCPU and NodeMemory are the capacity of each, and what pods may
	// have of it. Zero is DefaultNodeCPU and DefaultNodeMemory.
	NodeCPU, NodeMemory resource.Quantity
	// PressureTransition is how long a node keeps the condition
	// MemoryPressure after its memory has sufficed again. Zero is
	// DefaultPressureTransition.
	PressureTransition time.Duration
	// StoreQuota is the largest size of the store's file in bytes, at least
	// MinStoreQuota. Zero is DefaultStoreQuota.
	StoreQuota int64
	// Bin is the directory with eno-controller, eno-reconciler and the
	// synthesizer programs. Empty is that of the running executable.
	Bin string
	// Verbose lets the components log what they do, not only what fails.
	Verbose bool
	// Log takes what the operator should know. Nil is the default logger.
	Log *slog.Logger
	// OnBoot, where set, is called as each stage of mapping.BootStages is
	// reached, one call at a time.
	OnBoot func(stage string, after time.Duration)
}

// Cluster is the control plane. A process can start one, once.
type Cluster struct {
	config Config
	state  paths.State
	log    *slog.Logger
	began  time.Time

	lock   *lock
	store  *store
	client kubernetes.Interface

	// Ended in this order: what uses the API, then the API.
	stopClients, stopAPI context.CancelFunc
	clients, api         sync.WaitGroup

	// healthy tells that the API server's start is over.
	healthy atomic.Bool
	bootMu  sync.Mutex

	failOnce sync.Once
	failed   chan struct{}
	err      error
	stopOnce sync.Once
}

// started guards the process's one Cluster.
var started sync.Mutex

// New checks the configuration and finds the state directory. Nothing is
// started or created.
func New(config Config) (*Cluster, error) {
	if config.Nodes < 0 || config.Nodes > MaxNodes {
		return nil, fmt.Errorf("nodes: expected 0 to %d, got %d", MaxNodes, config.Nodes)
	}
	for _, q := range []struct {
		name    string
		value   *resource.Quantity
		def     resource.Quantity
		minimum string
	}{
		{"CPU", &config.NodeCPU, DefaultNodeCPU, "10m"},
		{"memory", &config.NodeMemory, DefaultNodeMemory, "200Mi"}, // twice what a node must have left
	} {
		if q.value.IsZero() {
			*q.value = q.def
		}
		if q.value.Cmp(resource.MustParse(q.minimum)) < 0 {
			return nil, fmt.Errorf("%s of a node: expected at least %s, got %s", q.name, q.minimum, q.value)
		}
	}
	if config.PressureTransition == 0 {
		config.PressureTransition = DefaultPressureTransition
	}
	if config.PressureTransition < 0 {
		return nil, fmt.Errorf("pressure transition: expected a time above 0, got %v", config.PressureTransition)
	}
	if config.StoreQuota == 0 {
		config.StoreQuota = DefaultStoreQuota
	}
	if config.StoreQuota < MinStoreQuota {
		return nil, fmt.Errorf("quota of the store: expected at least %s, which an empty cluster needs, got %s", bytesString(MinStoreQuota), bytesString(config.StoreQuota))
	}
	if err := checkRealNode(config.RealNode); err != nil {
		return nil, err
	}
	c := &Cluster{config: config, log: config.Log, failed: make(chan struct{})}
	if c.log == nil {
		c.log = slog.Default()
	}
	if config.Ephemeral && config.StateDir == "" {
		return c, nil // made by Start
	}
	s, err := paths.New(config.StateDir)
	if err != nil {
		return nil, err
	}
	c.state = s
	return c, nil
}

// Kubeconfig is the path of the kubeconfig; it is there once the stage
// mapping.BootStarted is reached.
func (c *Cluster) Kubeconfig() string { return c.state.Kubeconfig() }

// Failed is closed when a component has ended by itself; Err tells which.
func (c *Cluster) Failed() <-chan struct{} { return c.failed }

// Err returns why the cluster failed, nil where it did not.
func (c *Cluster) Err() error {
	select {
	case <-c.failed:
		return c.err
	default:
		return nil
	}
}

func (c *Cluster) fail(err error) {
	if err == nil {
		return
	}
	c.failOnce.Do(func() {
		c.err = err
		close(c.failed)
	})
}

func (c *Cluster) reached(stage string) {
	c.bootMu.Lock()
	defer c.bootMu.Unlock()
	if c.config.OnBoot != nil {
		c.config.OnBoot(stage, time.Since(c.began))
	}
}

// Start boots the control plane and returns when it is ready: every component
// works, the nodes are ready, Eno's controllers run. On an error, or when ctx
// ends before, everything is stopped again.
func (c *Cluster) Start(ctx context.Context) error {
	if !started.TryLock() {
		return errors.New("cluster: expected one start in a process; the components' feature gates, metrics and logs are global")
	}
	c.began = time.Now()
	ctx, cancel := context.WithTimeout(ctx, bootTimeout)
	defer cancel()
	err := c.boot(ctx)
	if err == nil {
		debug.SetGCPercent(steadyGC)
		debug.FreeOSMemory()
		c.reached(mapping.BootReady)
		return nil
	}
	if ferr := c.Err(); ferr != nil {
		err = ferr // the cause of a context that has ended
	}
	c.Stop()
	return fmt.Errorf("cluster: %w", err)
}

func (c *Cluster) boot(ctx context.Context) error {
	bin := c.config.Bin
	if bin == "" {
		exe, err := os.Executable()
		if err != nil {
			return fmt.Errorf("directory of the programs: %w", err)
		}
		if exe, err = filepath.EvalSymlinks(exe); err != nil {
			return fmt.Errorf("directory of the programs: %w", err)
		}
		bin = filepath.Dir(exe)
	}
	routeLogs(c.log, c.config.Verbose)
	if err := c.openState(); err != nil {
		return err
	}
	// Before anything is started, so that what is missing is said at once.
	controller, reconciler, err := enoChildren(c.state, bin, c.config.RealNode != "", c.log, c.config.Verbose)
	if err != nil {
		return err
	}
	if err := endOrphans(c.state, c.log); err != nil {
		return err
	}
	creds, err := loadCredentials(c.state.PKI(), time.Now())
	if err != nil {
		return err
	}
	open, moved, err := listen(c.state)
	if err != nil {
		return err
	}
	if moved {
		c.log.Warn("the API server's port was taken by another program; the kubeconfig has the new one", "address", open.apiServer.Addr())
	}
	clientsCtx, stopClients := context.WithCancel(context.Background())
	c.stopClients = stopClients
	fail := func(err error) error {
		open.close()
		return err
	}
	if c.config.RealNode != "" {
		both, err := alsoListen(open.apiServer, c.config.RealNode)
		if err != nil {
			return fail(err)
		}
		open.apiServer = both
	}
	if err := writeKubeconfig(c.state, open.apiServer.Addr().String(), creds); err != nil {
		return fail(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.state.Kubeconfig())
	if err != nil {
		return fail(err)
	}
	config.QPS, config.Burst = -1, 0 // no limit of the client's own
	usage, err := newUsageSimulation()
	if err != nil {
		return fail(err)
	}
	// Before the API server looks for it.
	if err := startMetricsAPI(clientsCtx, open.metrics, creds, usage, c.log); err != nil {
		return fail(err)
	}
	c.reached(mapping.BootStarted)

	c.store, err = startEtcd(ctx, c.state.Etcd(), c.config.StoreQuota, !c.config.Ephemeral, c.log, c.config.Verbose)
	if err != nil {
		return fail(err)
	}
	if err := c.store.makeRoom(ctx); err != nil {
		return fail(err)
	}
	c.reached(mapping.BootEtcd)
	c.clients.Go(func() { c.store.keepSpace(clientsCtx, c.log) })

	apiOptions, err := apiServerOptions(open.apiServer, creds, c.store.endpoint, admissionOffWith(c.config.RealNode), realNodeFlags(c.config.RealNode, c.state)...)
	if err != nil {
		return fail(err)
	}
	apiCtx, stopAPI := context.WithCancel(context.Background())
	c.stopAPI = stopAPI
	c.api.Go(func() {
		err := runAPIServer(apiCtx, apiOptions)
		if err == nil && apiCtx.Err() == nil {
			err = errors.New("kube-apiserver ended by itself")
		}
		c.fail(err)
	})
	return c.bootClients(ctx, clientsCtx, bin, config, creds, usage, open.metrics, controller, reconciler)
}

// bootClients starts all that uses the API, at once as far as it can: each
// waits only for what it needs.
func (c *Cluster) bootClients(ctx, run context.Context, bin string, config *rest.Config, creds *credentials, usage *usageSimulation, metrics net.Listener, controller, reconciler *child) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-c.failed:
			cancel(c.err)
		case <-ctx.Done():
		}
	}()
	user := func(name string) *rest.Config { return rest.AddUserAgent(rest.CopyConfig(config), name) }
	client, err := kubernetes.NewForConfig(user("k8s-synth-cluster"))
	if err != nil {
		return err
	}
	c.client = client

	var wg sync.WaitGroup
	step := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				cancel(err)
			}
		})
	}
	serving, healthy := make(chan struct{}), make(chan struct{})
	step(func() error {
		// It answers before it is healthy: its last hooks write the default
		// roles and priorities.
		if err := poll(ctx, 10*time.Millisecond, func() bool {
			return client.RESTClient().Get().AbsPath("/api/v1/nodes").Param("limit", "1").Do(ctx).Error() == nil
		}); err != nil {
			return fmt.Errorf("API server does not answer: %w", err)
		}
		close(serving)
		if err := poll(ctx, 20*time.Millisecond, func() bool {
			return client.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error() == nil
		}); err != nil {
			return fmt.Errorf("API server does not become ready: %w", err)
		}
		c.healthy.Store(true)
		close(healthy)
		c.reached(mapping.BootAPIServer)
		return nil
	})
	after := func(ch <-chan struct{}) error {
		select {
		case <-ch:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	kubeconfig := c.state.Kubeconfig()

	step(func() error {
		// They look for health once a second, so they are started when that
		// is there.
		if err := after(healthy); err != nil {
			return err
		}
		ready := make(chan struct{})
		c.clients.Go(func() {
			c.fail(runControllerManager(run, kubeconfig, creds, c.config.RealNode != "", func() { close(ready) }))
		})
		if err := after(ready); err != nil {
			return fmt.Errorf("controllers do not start: %w", err)
		}
		c.reached(mapping.BootControllers)
		return nil
	})
	step(func() error {
		if err := after(serving); err != nil {
			return err
		}
		ready := make(chan struct{})
		c.clients.Go(func() { c.fail(runScheduler(run, kubeconfig, func() { close(ready) })) })
		if err := after(ready); err != nil {
			return fmt.Errorf("scheduler does not start: %w", err)
		}
		c.reached(mapping.BootScheduler)
		return nil
	})
	step(func() error {
		if err := after(serving); err != nil {
			return err
		}
		// The API server makes it a moment later; KWOK would try again after a
		// second.
		if err := ensureNamespace(ctx, client, corev1.NamespaceNodeLease); err != nil {
			return err
		}
		if err := ensureNodes(ctx, client, c.config.Nodes, c.config.NodeCPU, c.config.NodeMemory); err != nil {
			return err
		}
		kwokClient, err := kubernetes.NewForConfig(user("kwok"))
		if err != nil {
			return err
		}
		if err := startKWOK(run, user("kwok"), kwokClient, c.log, c.config.Verbose); err != nil {
			return err
		}
		if err := waitForNodes(ctx, client, c.config.Nodes); err != nil {
			return fmt.Errorf("nodes do not become ready: %w", err)
		}
		c.reached(mapping.BootNodes)
		return nil
	})
	step(func() error {
		if err := after(serving); err != nil {
			return err
		}
		usageClient, err := kubernetes.NewForConfig(user("k8s-synth-usage"))
		if err != nil {
			return err
		}
		usage.start(run, usageClient, &c.clients)
		if err := usage.wait(ctx); err != nil {
			return fmt.Errorf("usage simulation does not start: %w", err)
		}
		e := newEvictions(usage, usageClient, c.config.PressureTransition, c.log)
		c.clients.Go(func() { e.run(run) })
		if c.config.RealNode != "" {
			c.clients.Go(func() { usage.followKubelets(run, usageClient, c.log) })
		}
		return registerMetricsAPI(ctx, client, user("k8s-synth-cluster"), metrics, creds)
	})
	step(func() error {
		if err := after(serving); err != nil {
			return err
		}
		if err := ensureNamespace(ctx, client, EnoNamespace); err != nil {
			return err
		}
		ext, err := apiextensions.NewForConfig(user("k8s-synth-cluster"))
		if err != nil {
			return err
		}
		if err := applyCRDs(ctx, ext); err != nil {
			return err
		}
		if c.config.RealNode != "" {
			if err := ensureSynthesizerAccess(ctx, client); err != nil {
				return err
			}
		}
		runner := &eno.Runner{
			Client:     client,
			Namespace:  EnoNamespace,
			Executor:   controller.path,
			Kubeconfig: kubeconfig,
			Path:       bin + string(os.PathListSeparator) + os.Getenv("PATH"),
			Attributes: childAttributes,
			Log:        c.log,
		}
		if c.config.RealNode == "" {
			c.clients.Go(func() { c.fail(runner.Run(run)) })
		}
		var up sync.WaitGroup
		for _, ch := range []*child{controller, reconciler} {
			up.Add(1)
			ch.ready = sync.OnceFunc(up.Done)
			c.clients.Go(func() { ch.run(run) })
		}
		both := make(chan struct{})
		go func() { up.Wait(); close(both) }()
		if err := after(both); err != nil {
			return fmt.Errorf("eno does not start: %w", err)
		}
		c.reached(mapping.BootEno)
		return nil
	})
	wg.Wait()
	return context.Cause(ctx)
}

// poll calls ok until it is true or ctx ends.
func poll(ctx context.Context, every time.Duration, ok func() bool) error {
	for !ok() {
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// openState makes the state directory and locks it.
func (c *Cluster) openState() error {
	if c.config.Ephemeral {
		sweepEphemeral(c.log)
		if c.state.Dir == "" {
			dir, err := os.MkdirTemp("", ephemeralPrefix) // mode 0700
			if err != nil {
				return fmt.Errorf("state directory: %w", err)
			}
			c.state.Dir = dir
		} else if entries, err := os.ReadDir(c.state.Dir); err == nil && len(entries) > 0 {
			dir := c.state.Dir
			c.state.Dir = "" // not ours to remove
			return fmt.Errorf("state directory %s: expected an empty or new directory with --ephemeral, which removes it at the end", dir)
		}
	}
	if err := makeDirs(c.state); err != nil {
		return err
	}
	l, err := acquireLock(c.state)
	if err != nil {
		return err
	}
	c.lock = l
	return nil
}

const ephemeralPrefix = "k8s-synth-cluster-"

// sweepEphemeral removes temporary state directories whose process was killed.
func sweepEphemeral(log *slog.Logger) {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), ephemeralPrefix+"*"))
	if err != nil {
		return
	}
	for _, d := range dirs {
		s := paths.State{Dir: d}
		if _, err := os.Stat(s.Lock()); err != nil {
			continue // just made, or not ours
		}
		l, err := acquireLock(s)
		if err != nil {
			continue
		}
		if err := endOrphans(s, log); err == nil {
			os.RemoveAll(d)
		}
		l.release()
	}
}

// Stop ends everything in order and returns when it is down, after at most
// about five seconds. What the API has acknowledged is on disk before.
func (c *Cluster) Stop() {
	c.stopOnce.Do(func() {
		stopping.Store(true)
		if c.stopClients != nil {
			c.stopClients()
			within(clientsGrace, c.clients.Wait)
		}
		// A start that is interrupted is fatal to the API server, which prints
		// its stacks; it has nothing that would need an orderly end.
		if c.stopAPI != nil && c.healthy.Load() {
			c.stopAPI()
			within(apiServerGrace, c.api.Wait)
		}
		if c.store != nil {
			within(etcdGrace, c.store.stop)
		}
		if c.config.Ephemeral && c.state.Dir != "" && c.lock != nil {
			if err := os.RemoveAll(c.state.Dir); err != nil {
				c.log.Warn("ephemeral state not removed", "error", err)
			}
		}
		c.lock.release()
	})
}

// within calls f and waits for it for at most d.
func within(d time.Duration, f func()) {
	done := make(chan struct{})
	go func() { f(); close(done) }()
	select {
	case <-done:
	case <-time.After(d):
	}
}

// writeKubeconfig writes the kubeconfig for the API server at address, whole
// or not at all.
func writeKubeconfig(s paths.State, address string, c *credentials) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	const name = "k8s-synth"
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[name] = &clientcmdapi.Cluster{Server: "https://" + net.JoinHostPort(host, port), CertificateAuthorityData: c.caPEM}
	cfg.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: c.clientCertPEM, ClientKeyData: c.clientKeyPEM}
	cfg.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	cfg.CurrentContext = name
	b, err := clientcmd.Write(*cfg)
	if err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	if err := writeFile(s.Kubeconfig(), b); err != nil {
		return fmt.Errorf("kubeconfig: %w", err)
	}
	return nil
}
