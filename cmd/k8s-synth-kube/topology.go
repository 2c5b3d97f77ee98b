package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/klog/v2"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube"
	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// exitCode ends the program with a code of its own and without a word, because
// all has been said.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Exit codes of topology diff, as those of kubectl diff.
const (
	exitDiffers exitCode = 1
	exitTrouble exitCode = 2
	// exitForeign is beyond those of kubectl: an object is in the way that is
	// somebody else's.
	exitForeign exitCode = 3
)

// fail tells an error that nobody has told and returns the program's exit code.
func fail(stderr io.Writer, err error) int {
	var code exitCode
	if errors.As(err, &code) {
		return int(code)
	}
	fmt.Fprintln(stderr, "k8s-synth-kube:", err)
	if usage := (usageError{}); errors.As(err, &usage) {
		return 2
	}
	return 1
}

// usageError marks an error of the command line.
type usageError struct{ error }

// strictArgs makes wrong arguments errors of usage, in every command below.
func strictArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		strictArgs(sub)
	}
}

// topologyCommand does by hand what the instrument does with a patch.
func topologyCommand(stdin io.Reader, stdout, stderr io.Writer) *cobra.Command {
	c := &cobra.Command{
		Use:   "topology",
		Short: "Validate, synthesize, diff and apply the Kubernetes part of a patch by hand",
		Long: `A topology is the Kubernetes part of a patch: modules with their params, and
the cables between them. FILE is one, or the manifest of the ConfigMap that
carries one, in YAML or JSON; - is standard input.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	namespace := kube.DefaultNamespace
	var source kube.Source
	file := func(short, long string, run func(ctx context.Context, name string, t mapping.Topology) error) *cobra.Command {
		name, _, _ := strings.Cut(short, " ")
		sub := &cobra.Command{
			Use: strings.ToLower(name) + " FILE", Short: short, Long: long, Args: cobra.ExactArgs(1), SilenceUsage: true, SilenceErrors: true,
			RunE: func(c *cobra.Command, args []string) error {
				t, err := readTopology(args[0], stdin, stderr, namespace)
				if err != nil {
					return err
				}
				return run(c.Context(), args[0], t)
			},
		}
		sub.Flags().StringVarP(&namespace, "namespace", "n", namespace, "namespace of a topology that names none; diff and apply go to no other")
		c.AddCommand(sub)
		return sub
	}
	clusterFlags := func(sub *cobra.Command) {
		sub.Flags().StringVar(&source.Kubeconfig, "kubeconfig", "", "kubeconfig file (default: $KUBECONFIG, then ~/.kube/config)")
		sub.Flags().StringVar(&source.Context, "context", "", "context of the kubeconfig (default: its current one)")
	}

	file("Validate a topology",
		"Says ok, or what is wrong and where, as FILE:LINE:COLUMN, with exit code 1.",
		func(_ context.Context, name string, t mapping.Topology) error {
			_, err := fmt.Fprintf(stdout, "%s: ok: %d modules, %d cables\n", name, len(t.Modules), len(t.Cables))
			return err
		})

	output := "yaml"
	synthesize := file("Synthesize the objects that a topology asks for",
		"Prints the objects as the cluster would get them. It needs no cluster.",
		func(_ context.Context, _ string, t mapping.Topology) error { return synthesize(stdout, t, output) })
	synthesize.Flags().StringVarP(&output, "output", "o", output, "yaml or json")

	timeout := time.Minute
	diff := file("Diff a topology against a cluster",
		`Prints what the topology would change, object by object, and what would be
deleted. The API server is asked by dry runs; nothing is written. As with
kubectl diff, the exit code is 0 without differences, 1 with some, and more
where the difference cannot be told: 3 where an object of the same name is not
k8s-synth's.`,
		func(ctx context.Context, _ string, t mapping.Topology) error {
			quiet()
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			_, d, err := difference(ctx, source, namespace, t, stdout, stderr)
			if err != nil {
				return err
			}
			if !d.Empty() {
				return exitDiffers
			}
			return nil
		})
	clusterFlags(diff)
	// Whatever goes wrong must not look like a difference.
	trouble := func(err error) error {
		var code exitCode
		if err == nil || errors.As(err, &code) {
			return err
		}
		fail(stderr, err)
		if errors.Is(err, kube.ErrNotOurs) {
			return exitForeign
		}
		return exitTrouble
	}
	args, run := diff.Args, diff.RunE
	diff.Args = func(c *cobra.Command, a []string) error { return trouble(args(c, a)) }
	diff.RunE = func(c *cobra.Command, a []string) error { return trouble(run(c, a)) }
	diff.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return trouble(err) })

	dryRun, wait := false, true
	apply := file("Apply a topology to a cluster",
		`Prints what the topology changes, writes it into its ConfigMap, and waits until
Eno has applied it and the objects are ready. An instrument that plays there
takes it over like any other edit. Nothing without the label
`+eno.ManagedByLabel+`=`+eno.ManagedBy+` is touched, and no other
namespace than the one that is named.`,
		func(ctx context.Context, _ string, t mapping.Topology) error {
			quiet()
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			h, d, err := difference(ctx, source, namespace, t, stdout, stderr)
			switch {
			case err != nil:
				return err
			case dryRun:
				return nil
			case d.Empty():
				fmt.Fprintln(stdout, "nothing to change")
				if !wait {
					return nil
				}
			default:
				if err := h.Apply(ctx, d); err != nil {
					return err
				}
			}
			if !wait {
				return nil
			}
			return h.Wait(ctx, d, func(step string) { fmt.Fprintln(stdout, step) })
		})
	clusterFlags(apply)
	apply.Flags().BoolVar(&dryRun, "dry-run", false, "print the difference and write nothing")
	apply.Flags().BoolVar(&wait, "wait", true, "wait until Eno has applied it and the objects are ready")
	for _, sub := range []*cobra.Command{diff, apply} {
		sub.Flags().DurationVar(&timeout, "timeout", timeout, "give up after this time")
	}

	c.AddCommand(&cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of topologies", Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			_, err := stdout.Write(eno.Schema())
			return err
		},
	})
	return c
}

// quiet keeps the client library's own log to warnings, on standard error.
func quiet() {
	klog.SetSlogLogger(slog.New(warnings{slog.NewTextHandler(os.Stderr, nil)}))
}

// readTopology reads a file and tells what is wrong with it.
func readTopology(name string, stdin io.Reader, stderr io.Writer, namespace string) (mapping.Topology, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(stdin)
		name = "standard input"
	} else {
		text, err = os.ReadFile(name)
	}
	if err != nil {
		return mapping.Topology{}, err
	}
	t, faults := eno.CheckFile(text, namespace)
	for _, f := range faults {
		place := f
		place.Line = 0
		fmt.Fprintf(stderr, "%s:%d:%d: %s\n", name, f.Line, f.Column, place)
	}
	if len(faults) > 0 {
		return t, fmt.Errorf("%s: %w", name, eno.ErrInvalidTopology)
	}
	return t, nil
}

// synthesize prints the objects as Eno would apply them.
func synthesize(stdout io.Writer, t mapping.Topology, output string) error {
	objects, err := eno.Objects(t)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	list := unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List"}}
	for _, o := range objects {
		u, err := eno.Applied(o, nil)
		if err != nil {
			return err
		}
		list.Items = append(list.Items, *u)
		text, err := yaml.Marshal(u.Object)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "---\n%s", text)
	}
	switch output {
	case "yaml":
	case "json":
		b.Reset()
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(list.UnstructuredContent()); err != nil {
			return err
		}
	default:
		return fmt.Errorf("--output %q: expected yaml or json", output)
	}
	_, err = stdout.Write(b.Bytes())
	return err
}

// difference tells and prints what a topology would change.
func difference(ctx context.Context, source kube.Source, namespace string, t mapping.Topology, stdout, stderr io.Writer) (*kube.Hand, *kube.TopologyDiff, error) {
	h, err := kube.NewHand(source, namespace)
	if err != nil {
		return nil, nil, err
	}
	d, err := h.Diff(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	for _, note := range d.Notes {
		fmt.Fprintln(stderr, "note:", note)
	}
	_, err = d.WriteTo(stdout)
	return h, d, err
}
