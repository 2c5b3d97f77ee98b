package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// fromClusterOptions are the flags of scene from-cluster.
type fromClusterOptions struct {
	name       string
	out        string
	kubeconfig string
	context    string
	namespace  string
	most       int
	wait       time.Duration
}

func fromClusterCommand() *cobra.Command {
	o := fromClusterOptions{}
	c := &cobra.Command{
		Use: "from-cluster", Short: "Write a scene for listening to a cluster that runs already", Args: cobra.NoArgs,
		Long: `Looks at a namespace, with get, list and watch alone, and writes a scene in which
each Deployment is a chord. Play it with --listen-only: nothing is written to
the cluster.`,
		Example: `  k8s-synth scene from-cluster --context production --namespace shop -o shop.yaml
  k8s-synth play --scene shop.yaml --context production --listen-only`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.most < 1 || o.most > mostChords {
				return usageError{fmt.Errorf("--most is 1 … %d, got %d", mostChords, o.most)}
			}
			return sceneFromCluster(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&o.name, "name", "", "name of the scene (default: the namespace)")
	f.StringVarP(&o.out, "output", "o", "", "file to write (default: standard output); one that is there is left alone")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig (default: $KUBECONFIG, then ~/.kube/config)")
	f.StringVar(&o.context, "context", "", "context of the kubeconfig (default: its current one)")
	f.StringVarP(&o.namespace, "namespace", "n", "default", "namespace to listen to")
	f.IntVar(&o.most, "most", 8, "how many Deployments get a chord: those with the most replicas")
	f.DurationVar(&o.wait, "wait", 15*time.Second, "how long the cluster may take to answer")
	return c
}

// mostChords is how many Deployments one scene gives a chord: three mixers full.
const mostChords = 16

// sceneFromCluster looks at a cluster and writes a scene for it.
func sceneFromCluster(ctx context.Context, o fromClusterOptions, out, note io.Writer) error {
	deployments, err := lookAt(ctx, o)
	if err != nil {
		return err
	}
	if len(deployments) == 0 {
		return fmt.Errorf("namespace %s has no Deployment to listen to", o.namespace)
	}
	chosen, left := chords(deployments, o.most)
	if len(chosen) == 0 {
		return fmt.Errorf("no Deployment of namespace %s can be a module; a module's name has at most 42 lower-case letters, digits and dashes, as %q has not", o.namespace, left[0].name)
	}
	scene, err := listenScene(cmp.Or(o.name, o.namespace), o.namespace, chosen)
	if err != nil {
		return err
	}
	text, err := scenes.Encode(scene)
	if err != nil {
		return err
	}
	for _, d := range left {
		fmt.Fprintf(note, "left out: deployment %s (%d replicas)\n", d.name, d.replicas)
	}
	if o.out == "" {
		_, err = out.Write(text)
		return err
	}
	if err := writeNew(o.out, text); err != nil {
		return fmt.Errorf("scene: %w", err)
	}
	fmt.Fprintf(note, "wrote %s: %d Deployments of namespace %s\n", filepath.Clean(o.out), len(chosen), o.namespace)
	return nil
}

// nameFits is what a module can be called.
var nameFits = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$`)

// found is a Deployment that was seen.
type found struct {
	name     string
	replicas int
}

// chords chooses who gets a chord: those with the most replicas, at most so
// many, whose names can be a module's.
func chords(list []found, most int) (chosen, left []found) {
	slices.SortFunc(list, func(a, b found) int { return cmp.Or(b.replicas-a.replicas, strings.Compare(a.name, b.name)) })
	for _, d := range list {
		if len(chosen) < most && nameFits.MatchString(d.name) {
			chosen = append(chosen, d)
		} else {
			left = append(left, d)
		}
	}
	return chosen, left
}

// lookAt runs the observer, listening only, until it has every first list.
func lookAt(ctx context.Context, o fromClusterOptions) ([]found, error) {
	path, err := siblingProgram("k8s-synth-kube")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.wait)
	defer cancel()
	args := []string{"--listen-only", "--namespace", o.namespace}
	if o.kubeconfig != "" {
		args = append(args, "--kubeconfig", o.kubeconfig)
	}
	if o.context != "" {
		args = append(args, "--context", o.context)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		stdin.Close() // the end of its input is its end
		_ = cmd.Wait()
	}()
	replicas := map[string]int{}
	var problem string
	decoder := mapping.NewDecoder(stdout)
	for {
		m, err := decoder.Decode()
		if err != nil {
			if ctx.Err() != nil {
				err = fmt.Errorf("the cluster did not answer within %v", o.wait)
			}
			if problem != "" {
				err = errors.Join(err, errors.New(problem))
			}
			return nil, fmt.Errorf("namespace %s: %w", o.namespace, err)
		}
		switch t := m.Transition; {
		case m.Problem != nil:
			problem = m.Problem.Where + ": " + m.Problem.Text
		case t == nil:
		case t.Object.Kind == mapping.KindDeployment && t.Field == mapping.FieldExists:
			replicas[t.Object.Name] = max(replicas[t.Object.Name], 0)
		case t.Object.Kind == mapping.KindDeployment && t.Field == mapping.FieldReplicas:
			n := 0
			if _, err := fmt.Sscan(t.New, &n); err == nil {
				replicas[t.Object.Name] = n
			}
		case t.Object.Kind == mapping.KindAPIServer && t.Field == mapping.FieldSynced && t.New == "true":
			var list []found
			for name, n := range replicas {
				list = append(list, found{name, n})
			}
			return list, nil
		}
	}
}

// harmonics are the roots of the chords over 55 Hz: partials of one tone, so
// that a cluster at rest is consonant whatever its size.
var harmonics = []float64{1, 2, 3, 4, 5, 6, 8, 1.5, 2.5, 9, 10, 12, 3.75, 7.5, 15, 16}

// listenScene makes the scene: the default one with the chord of its
// Deployment replaced by those of the cluster's.
func listenScene(name, namespace string, list []found) (*scenes.Scene, error) {
	s, err := openStore().Open("default")
	if err != nil {
		return nil, err
	}
	s.Name, s.Namespace = name, namespace
	s.Title = "Listening to namespace " + namespace
	s.About = "Made from a running cluster. Each Deployment is a chord over a root of its own, in just intonation; the chord frays while its pods are not what its spec asks for."
	s.Places = map[instrument.ModuleID]scenes.Place{}
	gone := func(id instrument.ModuleID) bool {
		switch id.Kind() {
		case mapping.KindDeployment, mapping.KindPod, mapping.KindService:
			return true
		}
		return id == "voice/chord" || id == "voice/drops"
	}
	s.Patch.Modules = slices.DeleteFunc(s.Patch.Modules, func(m instrument.Module) bool { return gone(m.ID) })
	s.Patch.Cables = slices.DeleteFunc(s.Patch.Cables, func(c instrument.Cable) bool { return gone(c.From.Module) || gone(c.To.Module) })
	plug := func(from, to string) error {
		c, err := mapping.ParseCable(from + " -> " + to)
		s.Patch.Cables = append(s.Patch.Cables, c)
		return err
	}
	// Equal powers of as many voices as there are chords sum to that of one.
	level := -10 * math.Log10(float64(len(list)))
	target := "mixer/main"
	input := 1
	for i, d := range list {
		if i%5 == 0 && len(list) > 1 {
			// A mixer holds five chords and the next mixer.
			id := fmt.Sprintf("mixer/chords-%d", i/5+1)
			params := map[string]float64{}
			for k := 1; k <= 5; k++ {
				params[fmt.Sprintf("level_%d", k)] = math.Round(level*10) / 10
			}
			s.Patch.Modules = append(s.Patch.Modules, instrument.Module{ID: instrument.ModuleID(id), Params: params})
			to := 1
			if i > 0 {
				to = 6
			}
			for _, side := range []string{"left", "right"} {
				if err := plug(id+"/"+side, fmt.Sprintf("%s/%s_%d", target, side, to)); err != nil {
					return nil, err
				}
			}
			target, input = id, 1
		}
		module, voice := "deployment/"+d.name, "voice/"+d.name
		for n := 1; s.Patch.Module(instrument.ModuleID(voice)) != nil; n++ {
			voice = fmt.Sprintf("voice/chord-%d", n) // the scene has one of that name
		}
		s.Patch.Modules = append(s.Patch.Modules,
			instrument.Module{ID: instrument.ModuleID(module), Params: map[string]float64{"replicas": float64(min(d.replicas, instrument.MaxReplicas))}},
			instrument.Module{ID: instrument.ModuleID(voice), Params: map[string]float64{"root": 55 * harmonics[i]}})
		for _, c := range [][2]string{{"running", "gate"}, {"ready", "open"}, {"pending", "breath"}, {"event", "strike"}, {"kind", "kind"}, {"error", "tension"}, {"node", "pan"}, {"load", "load"}} {
			if err := plug(module+"/"+c[0], voice+"/"+c[1]); err != nil {
				return nil, err
			}
		}
		for _, side := range []string{"left", "right"} {
			if err := plug(voice+"/"+side, fmt.Sprintf("%s/%s_%d", target, side, input)); err != nil {
				return nil, err
			}
		}
		input++
	}
	return s, s.Validate()
}
