package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// openStore returns the scenes and scripts of the player, where there is a
// folder for them, and those that ship.
func openStore() *scenes.Store {
	dir, _ := scenes.DefaultDir()
	return &scenes.Store{Dir: dir}
}

func sceneCommand() *cobra.Command {
	c := &cobra.Command{Use: "scene", Short: "List, check and show scenes", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(&cobra.Command{
		Use: "list", Short: "List the scenes and scripts that there are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store := openStore()
			list, err := store.List()
			if err != nil {
				return err
			}
			scripts, err := store.Scripts()
			if err != nil {
				return err
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "SCENE\tTITLE\tFILE")
			entries(t, list)
			fmt.Fprintln(t, "\t\t\nSCRIPT\tTITLE\tFILE")
			entries(t, scripts)
			if err := t.Flush(); err != nil {
				return err
			}
			return unread(append(list, scripts...))
		},
	}, &cobra.Command{
		Use: "validate FILE…", Short: "Check scene files, and say where each mistake is", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			for _, path := range args {
				s, err := scenes.Load(path)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: good, %d modules and %d cables\n", path, len(s.Patch.Modules), len(s.Patch.Cables))
			}
			return errors.Join(errs...)
		},
	}, &cobra.Command{
		Use: "show SCENE", Short: "Show a scene's modules, knobs and cables", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openStore().Open(args[0])
			if err != nil {
				return err
			}
			showScene(cmd.OutOrStdout(), s)
			return nil
		},
	}, &cobra.Command{
		Use: "topology SCENE", Short: "Print the Kubernetes part of a scene, as it is published", Args: cobra.ExactArgs(1),
		Example: `  k8s-synth scene topology cluster | k8s-synth topology synthesize -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openStore().Open(args[0])
			if err != nil {
				return err
			}
			text, err := yaml.Marshal(topologyOf(s))
			if err != nil {
				return fmt.Errorf("topology of %s: %w", s.Name, err)
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}, fromClusterCommand())
	c.AddCommand(backupCommands()...)
	c.AddCommand(stageCommands()...)
	return c
}

// longestTitle bounds a column of a list, in characters.
const longestTitle = 60

// entries prints a line of a table for each.
func entries(w io.Writer, list []scenes.Entry) {
	for _, e := range list {
		title, file := e.Title, e.Path
		if e.Err != nil {
			first, _, _ := strings.Cut(e.Err.Error(), "\n")
			title = "cannot be read: " + strings.TrimPrefix(first, e.Path+":")
		}
		if file == "" {
			file = "ships with k8s-synth"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", e.Name, shortened(title, longestTitle), file)
	}
}

// shortened is a text in one line of at most so many characters.
func shortened(text string, most int) string {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

// unread says what is wrong with those of a list that cannot be read, a line
// each: the first mistake, and how many more there are.
func unread(list []scenes.Entry) error {
	var errs []error
	for _, e := range list {
		if e.Err == nil {
			continue
		}
		first, rest, more := strings.Cut(e.Err.Error(), "\n")
		if more {
			first += fmt.Sprintf(" (and %d more)", strings.Count(rest, "\n")+1)
		}
		errs = append(errs, errors.New(first))
	}
	return errors.Join(errs...)
}

// showScene prints each module with the knobs that do not stand at their
// default, and where its inputs come from.
func showScene(w io.Writer, s *scenes.Scene) {
	fmt.Fprintf(w, "%s: %s\n", s.Name, s.Title)
	if s.About != "" {
		fmt.Fprintf(w, "%s\n", s.About)
	}
	for i := range s.Patch.Modules {
		m := &s.Patch.Modules[i]
		spec := m.Spec()
		fmt.Fprintf(w, "\n%s  (%s, %d HP)\n", m.ID, spec.Title, spec.HP)
		for k := range spec.Params {
			p := &spec.Params[k]
			if p.Text {
				if v := m.Word(p.Name); v != p.Default {
					fmt.Fprintf(w, "  %-18s %s\n", p.Name, v)
				}
				continue
			}
			v := m.Value(p.Name)
			if v == p.Value && p.Name != "replicas" {
				continue
			}
			if len(p.Choices) > 0 {
				fmt.Fprintf(w, "  %-18s %s\n", p.Name, p.Choices[int(v)])
			} else {
				fmt.Fprintf(w, "  %-18s %s\n", p.Name, strings.TrimSpace(fmt.Sprintf("%g %s", v, p.Unit)))
			}
		}
		for _, j := range spec.Inputs {
			for _, c := range s.Patch.Cables {
				if c.To == (instrument.JackRef{Module: m.ID, Jack: j.Name}) {
					fmt.Fprintf(w, "  %-18s ◀ %s\n", j.Name, c.From)
				}
			}
		}
	}
}
