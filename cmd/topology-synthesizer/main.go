// Command topology-synthesizer is the Eno function that turns the topology
// ConfigMap into objects: a list of inputs on standard input, a
// list of objects on standard output. Eno's executor starts it once for each
// synthesis.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/Azure/eno/pkg/function"
	krmv1 "github.com/Azure/eno/pkg/krm/functions/api/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/k8s-synth/k8s-synth/kube/eno"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "topology-synthesizer:", err)
		os.Exit(1)
	}
}

// run does what Eno's function.Main does, with two differences: an object that
// the writer refuses is an error of the synthesis and not lost without a word,
// and the result is tagged with the topology's generation, so that the
// composition's status says which topology is in use.
func run(stdin io.Reader, stdout io.Writer) error {
	in, err := function.NewInputReader(stdin)
	if err != nil {
		return err
	}
	out := function.NewOutputWriter(stdout, nil)
	generation, err := synthesize(in, out)
	if err != nil {
		// The partial output is thrown away: an error leaves the cluster as
		// it is.
		out = function.NewOutputWriter(stdout, nil)
		out.AddResult(&krmv1.Result{Message: err.Error(), Severity: krmv1.ResultSeverityError})
		return out.Write()
	}
	out.AddResult(&krmv1.Result{
		Message:  "topology " + strconv.FormatInt(generation, 10),
		Severity: krmv1.ResultSeverityInfo,
		Tags:     map[string]string{eno.GenerationAnnotation: strconv.FormatInt(generation, 10)},
	})
	return out.Write()
}

func synthesize(in *function.InputReader, out *function.OutputWriter) (generation int64, err error) {
	cm := &corev1.ConfigMap{}
	if err := function.ReadInput(in, eno.InputKey, cm); err != nil {
		return 0, fmt.Errorf("reading the topology: %w", err)
	}
	topology, err := eno.Load(cm)
	if err != nil {
		return 0, err
	}
	objects, err := eno.Objects(topology)
	if err != nil {
		return 0, err
	}
	for _, o := range objects {
		if err := out.Add(o); err != nil {
			return 0, fmt.Errorf("writing %s/%s: %w", o.GetObjectKind().GroupVersionKind().Kind, o.GetName(), err)
		}
	}
	return topology.Generation, nil
}
