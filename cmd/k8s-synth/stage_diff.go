package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/pmezard/go-difflib/difflib"
	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// topologyOf is the Kubernetes part of a scene, as it is published.
func topologyOf(s *scenes.Scene) mapping.Topology {
	t := mapping.TopologyOf(s.Patch, nil)
	t.Scene, t.Namespace = s.Name, s.Namespace
	return t
}

// topologyText is that as a text.
func topologyText(s *scenes.Scene) ([]byte, error) {
	text, err := json.Marshal(topologyOf(s)) // which is YAML, too
	if err != nil {
		return nil, fmt.Errorf("topology of %s: %w", s.Name, err)
	}
	return text, nil
}

// manifests is what a scene is in the cluster, as YAML.
func manifests(ctx context.Context, kubePath string, s *scenes.Scene) (string, error) {
	text, err := topologyText(s)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, kubePath, "topology", "synthesize", "-")
	var out, wrong bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(text), &out, &wrong
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s: %s", s.Name, strings.TrimSpace(wrong.String()))
	}
	return out.String(), nil
}

// clusterDiff is what changes in the cluster from one scene to another, as a
// unified diff of all objects; empty where nothing does.
func clusterDiff(ctx context.Context, kubePath string, from, to *scenes.Scene, fromName, toName string) (string, error) {
	a, err := manifests(ctx, kubePath, from)
	if err != nil {
		return "", err
	}
	b, err := manifests(ctx, kubePath, to)
	if err != nil {
		return "", err
	}
	return difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: difflib.SplitLines(a), B: difflib.SplitLines(b), FromFile: fromName, ToFile: toName, Context: 3})
}

// serveScene answers with the scene as it is played.
func (p *player) serveScene(w http.ResponseWriter, _ *http.Request) {
	s, err := p.currentScene()
	var text []byte
	if err == nil {
		text, err = scenes.Encode(s)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(text)
}

// playedScene asks the instrument that listens at a socket what it plays.
func playedScene(ctx context.Context, socket string) (*scenes.Scene, error) {
	const what = "what plays"
	var text []byte
	if err := fetchWith(ctx, socket, "/scene", what, func(r io.Reader) (err error) {
		text, err = io.ReadAll(io.LimitReader(r, scenes.MaxFile+1))
		return err
	}); err != nil {
		return nil, err
	}
	return scenes.Parse(what, text)
}

func diffCommand() *cobra.Command {
	var dir, context, kubeconfig, namespace string
	c := &cobra.Command{
		Use: "diff SCENE [SCENE]", Short: "Show what launching a scene would change in the cluster",
		Long: `Shows all objects of the cluster that would change, as a unified diff: from
the first scene to the second one, or with one scene from what plays now to
it. Where nothing plays, or with --context or --kubeconfig, the cluster itself
is asked. Scenes are names or paths. Nothing is written.`,
		Example: `  k8s-synth scene diff drain
  k8s-synth scene diff default autoscaler
  k8s-synth scene diff shop --context staging --namespace sandbox`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := openStore().Open(args[len(args)-1])
			if err != nil {
				return err
			}
			kube, err := siblingProgram("k8s-synth-kube")
			if err != nil {
				return err
			}
			show := func(from *scenes.Scene, name string) error {
				settle(to, namespace)
				text, err := clusterDiff(cmd.Context(), kube, from, to, name, to.Name)
				if err == nil {
					_, err = io.WriteString(cmd.OutOrStdout(), text)
				}
				return err
			}
			if len(args) == 2 {
				from, err := openStore().Open(args[0])
				if err != nil {
					return err
				}
				settle(from, namespace)
				return show(from, from.Name)
			}
			var missing error
			if context == "" && kubeconfig == "" {
				d, err := stateDirPath(dir)
				if err != nil {
					return err
				}
				from, err := playedScene(cmd.Context(), socketPath(d))
				if err == nil {
					if namespace == "" {
						namespace = from.Namespace
					}
					return show(from, from.Name+" as it plays")
				}
				if !errors.Is(err, errNotPlaying) {
					return err
				}
				missing = err
			}
			settle(to, namespace)
			text, err := topologyText(to)
			if err != nil {
				return err
			}
			more := []string{"topology", "diff", "-", "--namespace", to.Namespace}
			if context != "" {
				more = append(more, "--context", context)
			}
			if kubeconfig != "" {
				more = append(more, "--kubeconfig", kubeconfig)
			}
			run := exec.CommandContext(cmd.Context(), kube, more...)
			run.Stdin, run.Stdout, run.Stderr = bytes.NewReader(text), cmd.OutOrStdout(), os.Stderr
			err = run.Run()
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 {
				return nil // as of diff: there are differences
			}
			if err != nil && missing != nil {
				return fmt.Errorf("%w, and no cluster can be asked: %w", missing, err)
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&dir, "state-dir", "", "the instrument's state directory")
	f.StringVar(&context, "context", "", "compare with the cluster of this context of the kubeconfig")
	f.StringVar(&kubeconfig, "kubeconfig", "", "compare with the cluster of this kubeconfig")
	f.StringVarP(&namespace, "namespace", "n", "", "namespace in which the scene would live (default: that of what plays, or the scene's)")
	return c
}
