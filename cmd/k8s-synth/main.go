// Command k8s-synth is the instrument: it plays a patch whose modules are a
// Kubernetes cluster's objects. It wires the engine, the audio device, the
// surfaces and the scenes, and supervises its two neighbours: the embedded
// control plane and the observer, which live in processes of their own so
// that their garbage stays away from the audio thread.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

// version is the release; the build may set it with -ldflags -X.
var version = "0.1.0"

// Exit codes: 0 after what was asked was done, which includes a daemon that
// was told to end; 1 for a failure; 2 for a command line that makes no sense.
const (
	exitFailure = 1
	exitUsage   = 2
)

// usageError marks an error of the command line.
type usageError struct{ error }

func main() {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup means it
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	// An orderly end may take seconds; a second interrupt is from somebody who
	// does not want to wait. The neighbours see the end of their input.
	context.AfterFunc(ctx, func() {
		again := make(chan os.Signal, 1)
		signal.Notify(again, os.Interrupt)
		<-again
		land()
		os.Exit(exitFailure)
	})
	landOnDeath()
	// When the program behind a pipe dies ("play 2>&1 | tee log", then
	// Ctrl-C), a write fails; it must not kill the instrument in its fade.
	// Caught and not ignored, because children would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(run(ctx, os.Args[1:]))
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if stdoutGone(err) {
		return exitFailure
	}
	fmt.Fprintf(os.Stderr, "k8s-synth: %s\n", told(err))
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(os.Stderr, "see %q\n", cmd.CommandPath()+" --help")
		return exitUsage
	}
	return exitFailure
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:         "k8s-synth",
		Annotations: displayName(),
		Short:       "A Eurorack whose modules are a Kubernetes cluster",
		Long: `k8s-synth plays a Kubernetes cluster. A Deployment is a chord, its replicas
are voices; ask for more than there are and the chord frays, and it resolves
when the cluster converges. No cluster is needed: it brings its own.

Start with "k8s-synth play", then turn a knob from another program:

    oscsend 127.0.0.1 9000 /deployment/web/replicas i 6`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	strictArgs(root)
	root.SetFlagErrorFunc(flagMistake)
	root.AddCommand(playCommand(), renderCommand(), statusCommand(), scopeCommand(), sceneCommand(), modulesCommand(), devicesCommand(),
		midiCommand(), mapCommand(), layoutCommand(), panicCommand(), resumeCommand(), saveCommand(), rigCommand(), calibrateCommand(), senseCommand(), takeCommand(), rackCommand(), panelCommand(), vcvCommand(), panelsCommand(), plugCommand(), pullCommand(), undoCommand(), redoCommand(), watchdogCommand(),
		kubeconfigCommand(), unitCommand(), versionCommand(), siteCommand(),
		forwardCommand("topology", "Validate, synthesize, diff and apply the Kubernetes part of a patch by hand", "k8s-synth-kube", "topology"),
		forwardCommand("cluster", "Run the embedded control plane alone", "k8s-synth-cluster"),
		forwardCommand("kube", "Run the observer of a cluster alone, speaking the stream on stdin and stdout", "k8s-synth-kube"))
	completions(root)
	for _, c := range root.Commands() {
		strictArgs(c)
	}
	return root
}

// displayName is what the help calls this program: kubectl runs a program
// named kubectl-synth for "kubectl synth".
func displayName() map[string]string {
	if filepath.Base(os.Args[0]) == "kubectl-synth" {
		return map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl synth"}
	}
	return nil
}

// strictArgs makes wrong arguments errors of usage, in every command below.
func strictArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		strictArgs(sub)
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintf(cmd.OutOrStdout(), "k8s-synth %s\n", version)
			return nil
		},
	}
}
