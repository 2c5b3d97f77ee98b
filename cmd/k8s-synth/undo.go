package main

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/mapping"
)

func undoCommand() *cobra.Command {
	c := historyCommand("undo", "Take back the last change of a hand in the running instrument, and say what it was", actUndo)
	c.Long = `Takes back the newest change that a hand made, on whatever surface: a turn of a
knob, a cable, a module, a scene. What the cluster did by itself is not taken back,
nor what a hand did in the case: a cable there is pulled by hand. Asked again, it goes one change further back; "redo" does a change again.`
	return c
}

func redoCommand() *cobra.Command {
	c := historyCommand("redo", "Do again what was undone last in the running instrument, and say what it was", actRedo)
	c.Long = `Does again the change that "undo" of any surface took back last. A new change of
a hand leaves nothing to redo.`
	return c
}

// historyCommand asks the running instrument for a step through what hands did,
// and prints what it was.
func historyCommand(use, short, action string) *cobra.Command {
	c := doCommand(use, short, "", nil, cobra.NoArgs)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := cmd.Flags().GetString("state-dir")
		if err != nil {
			return err
		}
		answer, err := doTold(cmd.Context(), dir, action)
		if err == nil {
			fmt.Fprintln(cmd.OutOrStdout(), answer)
		}
		return err
	}
	return c
}

// serveUndo goes a step through what hands did, and answers what it was.
func (p *player) serveUndo(w http.ResponseWriter, action string) {
	// It may write a file, and answers when that is done.
	if err := p.askAct(turn{action: action, source: cliSource, at: time.Now()}); err != nil {
		status := http.StatusConflict
		if errors.Is(err, errAway) {
			status = http.StatusServiceUnavailable
		}
		http.Error(w, err.Error(), status)
		return
	}
	// Only now it is known which was the newest: a morph that was under way is a
	// change as well.
	answer := "done"
	p.ask(func() {
		again := action == actRedo
		last := p.history.Previous
		if again {
			last = p.history.Next
		}
		if c, ok := last(); ok {
			answer = describeStep(c, again)
			if stays := staysInCase(c.Since); stays != "" && !again {
				answer += "; " + stays
			}
		}
	})
	fmt.Fprintln(w, answer)
}

// describeStep says what was undone, or done again.
func describeStep(c mapping.Change, again bool) string {
	if c.Address == "" || c.Text != "" || c.Wiring != nil {
		if again {
			return "done again: " + describeChange(c)
		}
		return "undone: " + describeChange(c)
	}
	now, was := c.From, c.To
	what := "undone"
	if again {
		now, was, what = c.To, c.From, "done again"
	}
	at := func(s mapping.Setpoint) string {
		if c.From.Word != "" || c.To.Word != "" {
			return fmt.Sprintf("%q", s.Word)
		}
		return fmt.Sprintf("%.4g", s.Value)
	}
	return fmt.Sprintf("%s: %s is %s, and was %s", what, c.Address, at(now), at(was))
}
