// Command k8s-synth-kube is the instrument's neighbour at the cluster: it
// writes what the cluster does to standard output, one message a line, and
// reads topologies and actions from standard input. It ends when its input
// does.
package main

import (
	"context"
	"encoding/json"
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
	"k8s.io/klog/v2"

	"github.com/k8s-synth/k8s-synth/kube"
	"github.com/k8s-synth/k8s-synth/mapping"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// An instrument that went away is an error of a write, and the end in order;
	// the signal would be the end at once.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err := command(os.Stdin, os.Stdout, os.Stderr).ExecuteContext(ctx); err != nil {
		os.Exit(fail(os.Stderr, err))
	}
}

func command(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	var options kube.Options
	acting := acting{reach: kube.ReachAuto}
	var verbose bool
	c := &cobra.Command{
		Use:   "k8s-synth-kube",
		Short: "Observe and play a Kubernetes cluster over a stream of JSON lines",
		Long: `k8s-synth-kube speaks the stream of the instrument: transitions of the
cluster's objects on standard output, topologies and actions on standard
input. It waits for an API that is not there yet, and goes on when one that
was lost is back.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			return run(c.Context(), options, acting, verbose, stdin, stdout, stderr)
		},
	}
	f := c.Flags()
	f.StringVar(&options.Source.Kubeconfig, "kubeconfig", "", "kubeconfig file, may appear later (default: $KUBECONFIG, then ~/.kube/config)")
	f.StringVar(&options.Source.Context, "context", "", "context of the kubeconfig (default: its current one)")
	f.StringVar(&options.Namespace, "namespace", kube.DefaultNamespace, "namespace to observe and to play in")
	f.StringSliceVar(&options.Also, "also", nil, "further namespaces to observe and never to write to; '*' for all that there are")
	f.BoolVar(&options.ListenOnly, "listen-only", false, "never write; get, list and watch are enough")
	f.DurationVar(&options.Heartbeat, "heartbeat", kube.DefaultHeartbeat, "period of the write (or read) that measures the store, at least 50ms")
	f.StringVar(&acting.reach, "reach", kube.ReachAuto, "way of requests to Services: direct (their cluster IP), proxy (through the API server), or auto: direct where that works")
	f.StringVar(&acting.ingress, "ingress", "127.0.0.1:0", "address at which the IngressClass k8s-synth is served, port 0 for any free one; empty for none")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more")
	c.AddCommand(topologyCommand(stdin, stdout, stderr))
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	strictArgs(c)
	return c
}

// acting is how the cluster is acted on.
type acting struct{ reach, ingress string }

func run(ctx context.Context, options kube.Options, acting acting, verbose bool, stdin io.Reader, stdout, stderr io.Writer) error {
	if options.Heartbeat < 50*time.Millisecond {
		return fmt.Errorf("--heartbeat %v is too short: at least 50ms", options.Heartbeat)
	}
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})).With("program", "k8s-synth-kube")
	// The client library tells its routine as information; only its warnings
	// concern the player.
	klog.SetSlogLogger(slog.New(warnings{log.Handler()}))

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outbox := kube.NewOutbox(0)
	options.Log = log
	var publisher *kube.Publisher
	options.Transitions = func(ts []mapping.Transition) {
		outbox.Transitions(ts)
		publisher.Saw(ts)
	}
	options.Problem = func(where, text string) {
		log.Warn("problem", "where", where, "text", text)
		outbox.Problem(where, text)
	}
	observer := kube.NewObserver(options)
	publisher = kube.NewPublisher(observer)
	publisher.OnEdit = outbox.Edit
	if err := publisher.ReachBy(acting.reach); err != nil {
		return fmt.Errorf("--reach: %w", err)
	}
	if acting.ingress != "" && !options.ListenOnly {
		if err := publisher.ServeIngress(acting.ingress); err != nil {
			return fmt.Errorf("--ingress: %w", err)
		}
		defer publisher.Close()
	}

	written := make(chan error, 1)
	go func() {
		written <- outbox.Write(stdout, mapping.Hello{Version: mapping.StreamVersion, Program: "k8s-synth-kube"})
		cancel()
	}()
	// The reader is not waited for: a read of standard input cannot be
	// interrupted.
	read := make(chan error, 1)
	go func() {
		read <- listen(stdin, publisher, options.Problem)
		cancel()
	}()
	var wg sync.WaitGroup
	wg.Go(func() { _ = observer.Run(ctx) })
	wg.Wait()
	outbox.Close()
	var err error
	select {
	case err = <-read:
	default:
	}
	select {
	case werr := <-written:
		// An instrument that went away is the end and not a fault.
		if werr != nil && !errors.Is(werr, syscall.EPIPE) {
			err = errors.Join(err, werr)
		}
	case <-time.After(time.Second):
		log.Warn("the instrument no longer reads; the last changes are lost")
	}
	log.Info("ended", "skipped", outbox.Skipped())
	return err
}

// listen reads the stream until it ends.
func listen(stdin io.Reader, publisher *kube.Publisher, problem func(where, text string)) error {
	decoder := mapping.NewDecoder(stdin)
	var refused, unset time.Time
	for {
		m, err := decoder.Decode()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			// The line is JSON, so the next one can still be found.
			problem("stream", err.Error())
			continue
		}
		if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		switch {
		case m.Topology != nil:
			if err := publisher.Publish(*m.Topology); err != nil {
				problem("topology", err.Error())
			}
		case m.Setting != nil:
			if err := publisher.Set(*m.Setting); err != nil && time.Since(unset) > time.Second {
				unset = time.Now()
				problem("setting", err.Error())
			}
		case m.Action != nil:
			// A clock may ask for writes many times a second; one complaint is
			// enough.
			if err := publisher.Act(*m.Action); err != nil && (m.Action.Verb != mapping.VerbWrite || time.Since(refused) > time.Second) {
				refused = time.Now()
				problem("action", err.Error())
			}
		}
	}
}

// warnings lets pass what is a warning or worse.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.Handler.WithAttrs(attrs)}
}

func (w warnings) WithGroup(name string) slog.Handler { return warnings{w.Handler.WithGroup(name)} }
