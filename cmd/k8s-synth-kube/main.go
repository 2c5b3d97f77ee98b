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
		fmt.Fprintln(os.Stderr, "k8s-synth-kube:", err)
		os.Exit(1)
	}
}

func command(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	var options kube.Options
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
			return run(c.Context(), options, verbose, stdin, stdout, stderr)
		},
	}
	f := c.Flags()
	f.StringVar(&options.Source.Kubeconfig, "kubeconfig", "", "kubeconfig file, may appear later (default: $KUBECONFIG, then ~/.kube/config)")
	f.StringVar(&options.Source.Context, "context", "", "context of the kubeconfig (default: its current one)")
	f.StringVar(&options.Namespace, "namespace", kube.DefaultNamespace, "namespace to observe and to play in")
	f.BoolVar(&options.ListenOnly, "listen-only", false, "never write; get, list and watch are enough")
	f.DurationVar(&options.Heartbeat, "heartbeat", kube.DefaultHeartbeat, "period of the write (or read) that measures the store, at least 50ms")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more")
	return c
}

func run(ctx context.Context, options kube.Options, verbose bool, stdin io.Reader, stdout, stderr io.Writer) error {
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
	options.Transitions = outbox.Transitions
	options.Problem = func(where, text string) {
		log.Warn("problem", "where", where, "text", text)
		outbox.Problem(where, text)
	}
	observer := kube.NewObserver(options)
	publisher := kube.NewPublisher(observer)

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
	var refused time.Time
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
