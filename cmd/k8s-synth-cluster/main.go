// Command k8s-synth-cluster runs the embedded Kubernetes control plane that
// k8s-synth plays when no other cluster is named. It is a neighbour of the
// instrument, started by "k8s-synth play" or by hand with "k8s-synth cluster".
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/k8s-synth/k8s-synth/kube/cluster"
	"github.com/k8s-synth/k8s-synth/kube/cluster/paths"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const program = "k8s-synth-cluster"

// stopTimeout is the longest that a stop may take before the process ends
// regardless; the store needs no orderly end.
const stopTimeout = 6 * time.Second

func main() {
	cmd := command()
	if err := cmd.Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", program, err)
		os.Exit(1)
	}
}

func command() *cobra.Command {
	var (
		config cluster.Config
		stream bool
	)
	nodeCPU, nodeMemory := resource.QuantityValue{Quantity: cluster.DefaultNodeCPU}, resource.QuantityValue{Quantity: cluster.DefaultNodeMemory}
	storeQuota := resource.QuantityValue{Quantity: *resource.NewQuantity(cluster.DefaultStoreQuota, resource.BinarySI)}
	cmd := &cobra.Command{
		Use:   program,
		Short: "Run a Kubernetes control plane with simulated nodes on this machine",
		Long: `Runs etcd, kube-apiserver, kube-controller-manager, kube-scheduler, KWOK's
simulated nodes and pods, and Eno, on the loopback interface only. kubectl and
k9s work with the kubeconfig that it writes. It ends on an interrupt.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config.NodeCPU, config.NodeMemory, config.StoreQuota = nodeCPU.Quantity, nodeMemory.Quantity, storeQuota.Value()
			return run(cmd.Context(), config, stream)
		},
	}
	flags := cmd.Flags()
	cmd.PersistentFlags().StringVar(&config.StateDir, "state-dir", "", "directory of the cluster's state (default $XDG_STATE_HOME/k8s-synth/cluster)")
	flags.BoolVar(&config.Ephemeral, "ephemeral", false, "throw the state away at the end; a --state-dir must be new or empty")
	flags.IntVar(&config.Nodes, "nodes", cluster.DefaultNodes, "number of simulated nodes")
	flags.Var(&nodeCPU, "node-cpu", "CPU of each simulated node, such as 4 or 2500m")
	flags.Var(&nodeMemory, "node-memory", "memory of each simulated node, such as 8Gi")
	flags.DurationVar(&config.PressureTransition, "pressure-transition", cluster.DefaultPressureTransition, "how long a node stays under memory pressure after its memory suffices again")
	flags.Var(&storeQuota, "store-quota", "largest size of the store, such as 2Gi; when it is full the API refuses writes")
	flags.StringVar(&config.RealNode, "real-node", "", "let real nodes join: address of this machine at which they and their pods reach the API; Eno's syntheses run as containers there")
	flags.StringVar(&config.Bin, "bin", "", "directory of eno-controller, eno-reconciler and the synthesizers (default that of this program)")
	flags.BoolVar(&stream, "stream", false, "speak the instrument's stream on stdin and stdout, and end when stdin does")
	flags.BoolVarP(&config.Verbose, "verbose", "v", false, "log what the components do")
	cmd.AddCommand(&cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of the cluster's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := paths.FindKubeconfig(config.StateDir)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), file)
			return nil
		},
	})
	return cmd
}

// run boots the cluster and keeps it until a signal, the end of the stream, or
// the failure of a component.
func run(ctx context.Context, config cluster.Config, stream bool) error {
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	// A reader of our output that has died is an error of a write, not our
	// death. Notify, since children would inherit that a signal is ignored.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	level := slog.LevelInfo
	if config.Verbose {
		level = slog.LevelDebug
	}
	config.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(config.Log)

	if stream {
		s := newStream(os.Stdout)
		if err := s.hello(); err != nil {
			return err
		}
		config.OnBoot = s.boot
		// A supervisor that died has closed our input, however it died.
		go func() {
			io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	} else {
		config.OnBoot = progress
	}
	c, err := cluster.New(config)
	if err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			return nil // stopped while it booted
		}
		return err
	}
	if !stream {
		fmt.Fprintf(os.Stderr, "try it: kubectl --kubeconfig %s get nodes\n", c.Kubeconfig())
	}
	select {
	case <-ctx.Done():
	case <-c.Failed():
	}
	// A second interrupt, or a stop that hangs, ends the process at once.
	cancel()
	time.AfterFunc(stopTimeout, func() { os.Exit(1) })
	c.Stop()
	if err := c.Err(); err != nil {
		return fmt.Errorf("stopped: %w", err)
	}
	return nil
}

// progress tells a human what has been reached.
func progress(stage string, after time.Duration) {
	names := map[string]string{
		mapping.BootStarted:     "state directory open",
		mapping.BootEtcd:        "etcd ready",
		mapping.BootAPIServer:   "API server ready",
		mapping.BootControllers: "controllers running",
		mapping.BootScheduler:   "scheduler running",
		mapping.BootNodes:       "nodes ready",
		mapping.BootEno:         "Eno running",
		mapping.BootReady:       "cluster ready",
	}
	fmt.Fprintf(os.Stderr, "%-22s %5.1f s\n", names[stage], after.Seconds())
}

// stream writes the boot as transitions of the cluster.
type stream struct {
	mu   sync.Mutex
	enc  *mapping.Encoder
	last string
}

func newStream(w io.Writer) *stream { return &stream{enc: mapping.NewEncoder(w)} }

func (s *stream) hello() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enc.Encode(mapping.Message{Hello: &mapping.Hello{Version: mapping.StreamVersion, Program: program}}); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	return nil
}

func (s *stream) boot(stage string, _ time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A reader that is gone shows as the end of our input.
	_ = s.enc.Encode(mapping.Message{Transition: &mapping.Transition{
		Time:   time.Now(),
		Object: mapping.Object{Kind: mapping.KindCluster, Name: "cluster"},
		Field:  mapping.FieldBoot,
		Old:    s.last,
		New:    stage,
	}})
	s.last = stage
}
