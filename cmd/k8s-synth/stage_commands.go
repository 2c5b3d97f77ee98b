package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// takesTime tells whether an action answers when it is done: those that read or
// write files.
func takesTime(action string) bool {
	name, _, _ := strings.Cut(action, ":")
	return stages(action) || name == actSnapshot || name == actSetList
}

// answers tells whether an action answers, at once or when it is done: an undo
// may write a file as well.
func answers(action string) bool {
	return takesTime(action) || action == actUndo || action == actRedo
}

// askAct does an action on the control goroutine, and waits for what becomes
// of it. It is for any other goroutine.
func (p *player) askAct(t turn) error {
	if t.action == actPanic {
		return p.turn(t) // it overtakes whatever waits
	}
	answer := make(chan error, 1)
	if answers(t.action) {
		t.answer = answer
	} else {
		answer <- nil
	}
	var err error
	if !p.ask(func() { err = p.act(t) }) {
		return errAway
	}
	if err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-p.ended:
		return errAway
	case <-time.After(10 * time.Second):
		return errors.New("it takes longer than ten seconds; see \"k8s-synth status\"")
	}
}

// stageCommands launch and morph scenes of the running instrument.
func stageCommands() []*cobra.Command {
	var at string
	var crossfade, cut float64
	launch := doCommand("launch SCENE", "Launch a scene in the running instrument, in time",
		`The scene comes at the next beat, bar or phrase of the clock of what plays,
to the frame, or now. During the crossfade both sound; echoes and rooms of the
one before ring out. What is not said is what the scene says, see transport in
its file. "scene cancel" takes back one that waits.`,
		func(args []string) string {
			action := actLaunch + ":" + args[0] + ":" + at
			if crossfade >= 0 {
				action += fmt.Sprintf(":%g", crossfade)
			}
			return action
		}, cobra.ExactArgs(1))
	launch.Example = "  k8s-synth scene launch ambient --at bar --crossfade 2"
	launch.Flags().StringVar(&at, "at", "", "what it waits for: "+strings.Join(quanta(), ", ")+" (default: what the scene says)")
	launch.Flags().Float64Var(&crossfade, "crossfade", -1, fmt.Sprintf("seconds for which both scenes sound, 0 … %d (default: what the scene says)", scenes.MaxCrossfade))
	launch.PreRunE = func(*cobra.Command, []string) error {
		if at != "" {
			if err := mapping.Quantum(at).Check(); err != nil {
				return usageError{fmt.Errorf("--at: %w", err)}
			}
		}
		return nil
	}
	morph := doCommand("morph SCENE SECONDS", "Go the way from what plays to a scene",
		`Knobs glide, replicas of Deployments go one by one, and cables and switches
change at one point of the way. With 0 seconds a fader goes it: see
/scene/morph/position in OSC, and morph:* in mappings. "scene cancel" goes back.`,
		func(args []string) string { return fmt.Sprintf("%s:%s:%s:%g", actMorph, args[0], args[1], cut) }, cobra.ExactArgs(2))
	morph.Flags().Float64Var(&cut, "cut", scenes.DefaultCut, "where on the way cables and switches change, 0 … 1")
	one := func(use, short, action string) *cobra.Command {
		return doCommand(use, short, "", func([]string) string { return action }, cobra.NoArgs)
	}
	slot := func(use, short, action string) *cobra.Command {
		c := doCommand(use+" SLOT", short, "", func(args []string) string { return action + ":" + args[0] }, cobra.ExactArgs(1))
		c.PreRunE = func(_ *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err == nil {
				_, err = scenes.SlotName(n)
			}
			if err != nil {
				return usageError{fmt.Errorf("a slot is a number from 1 to %d, got %q", scenes.Slots, args[0])}
			}
			return nil
		}
		return c
	}
	position := doCommand("position POINT", "Go to a point of the morph, 0 … 1", "",
		func(args []string) string { return actPosition + ":" + args[0] }, cobra.ExactArgs(1))
	return []*cobra.Command{launch, morph, position, one("next", "Play the next scene, of the set list if there is one", actNext), one("previous", "Play the scene before", actPrevious),
		one("cancel", "Take back the scene that waits, and let a morph go back", actCancel),
		slot("snapshot", "Keep what plays, with every knob, in a slot", actSnapshot), slot("slot", "Launch the snapshot in a slot", actSlot), diffCommand(), setListCommand()}
}

func setListCommand() *cobra.Command {
	c := &cobra.Command{Use: "setlist", Short: "List, check and play set lists", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	play := doCommand("play NAME", "Let next and previous step through a set list; off is none", "",
		func(args []string) string { return actSetList + ":" + args[0] }, cobra.ExactArgs(1))
	c.AddCommand(&cobra.Command{
		Use: "list", Short: "List the set lists in your folder of scenes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := openStore().SetLists()
			if err != nil {
				return err
			}
			if len(all) == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "there are none; one is a file NAME.setlist.yaml in %s\n", openStore().Dir)
				return nil
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "SET LIST\tTITLE\tFILE")
			entries(t, all)
			return t.Flush()
		},
	}, &cobra.Command{
		Use: "validate FILE…", Short: "Check set lists, and that their scenes can be read", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			for _, path := range args {
				l, err := openStore().OpenSetList(path)
				if err == nil {
					err = openStore().Check(l)
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: good, %d scenes\n", path, len(l.Entries))
			}
			return errors.Join(errs...)
		},
	}, play)
	return c
}
