package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/term"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// exitForeign is the exit code of a difference that another's object is in the
// way of.
const exitForeign = 3

// errDryRun ends a play that was only to show what it would do.
var errDryRun = errors.New("dry run")

// consent shows what playing would change in somebody else's cluster, and asks
// whether it may. It returns errDryRun where only the showing was asked for.
func consent(ctx context.Context, o playOptions, kubePath string, clusterArgs []string, t mapping.Topology) error {
	text, err := json.Marshal(t) // which is YAML, too
	if err != nil {
		return fmt.Errorf("topology: %w", err)
	}
	fmt.Fprintf(os.Stderr, "What playing in namespace %s would change there:\n", t.Namespace)
	cmd := exec.CommandContext(ctx, kubePath, append([]string{"topology", "diff", "-"}, clusterArgs...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), os.Stderr, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		fmt.Fprintln(os.Stderr, "nothing: all of it is there as it would be written")
	case errors.As(err, &exit) && exit.ExitCode() == 1: // as of diff: there are differences
	case errors.As(err, &exit) && exit.ExitCode() == exitForeign:
		return fmt.Errorf("nothing is written to namespace %s: what is in the way there is not k8s-synth's, and is never touched; give the module another name, or play in another namespace with --namespace", t.Namespace)
	case o.yes && !o.dryRun:
		fmt.Fprintf(os.Stderr, "k8s-synth: the difference cannot be told (%v); --yes plays all the same\n", err)
	default:
		return fmt.Errorf("the difference to the cluster cannot be told, and without it nothing is written there: %w", err)
	}
	switch {
	case o.dryRun:
		return errDryRun
	case o.yes:
		return nil
	case !term.IsTerminal(int(os.Stdin.Fd())):
		return usageError{errors.New("playing on another cluster writes to it; --yes says that it may, --listen-only only hears it, --dry-run shows the difference")}
	}
	return ask(ctx, os.Stdin, os.Stderr, "Play there? [y/N] ")
}

// ask puts a question to the player; anything but yes is an error.
func ask(ctx context.Context, in io.Reader, out io.Writer, question string) error {
	fmt.Fprint(out, question)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case a := <-answer:
		if a == "y" || a == "yes" {
			return nil
		}
		return errors.New("not played: the answer was not yes")
	case <-ctx.Done():
		return errors.New("not played: interrupted")
	}
}
