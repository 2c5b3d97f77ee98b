package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/bind"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// sceneRack is a rack that nobody hears, with a scene in it: what a mapping
// leads to depends on the scene.
func sceneRack(name string) (*scenes.Scene, *mapping.Rack, error) {
	s, err := openStore().Open(name)
	if err != nil {
		return nil, nil, err
	}
	r := mapping.NewRack(mapping.Config{SampleRate: 48000, Channels: 2, Seed: s.Seed, Storm: s.Storm, StormPolicy: s.StormPolicy, Scale: s.Notes(),
		Namespace: s.Namespace, Scene: s.Name, Program: compileProgram})
	if err := r.Load(s.Patch); err != nil {
		return nil, nil, fmt.Errorf("scene %s: %w", s.Name, err)
	}
	return s, r, nil
}

// mapNamed is what the library takes for a mapping: what is no mapping's name
// and is the name of a file here is that file.
func mapNamed(name string) string {
	_, err := mapLibrary().Open(name)
	if errors.Is(err, bind.ErrNotFound) {
		if info, err := os.Stat(name); err == nil && !info.IsDir() {
			return "." + string(filepath.Separator) + name
		}
	}
	return name
}

// one is the argument of a command that takes one, and says what it is.
func one(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("name one %s, got %d", what, len(args))
		}
		return nil
	}
}

func mapCommand() *cobra.Command {
	c := &cobra.Command{Use: "map", Short: "List, check, show and learn which controller turns which knob", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var scene, format string
	show := &cobra.Command{
		Use: "show MAP", Short: "Show what each control of a mapping leads to in a scene", Args: one(`mapping (see "k8s-synth map list")`),
		Example: "  k8s-synth map show daw --scene cluster\n  k8s-synth map show launchpad --format yaml > my-grid.yaml",
		RunE: func(cmd *cobra.Command, args []string) error {
			library := mapLibrary()
			args[0] = mapNamed(args[0])
			if format == "yaml" {
				text, err := library.Text(args[0])
				if err != nil {
					return err
				}
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			m, err := library.Open(args[0])
			if err != nil {
				return err
			}
			_, rack, err := sceneRack(scene)
			if err != nil {
				return err
			}
			rows := bind.Rows(m, rack, sceneNames())
			switch format {
			case "csv":
				return bind.WriteCSV(cmd.OutOrStdout(), rows)
			case "markdown":
				return bind.WriteMarkdown(cmd.OutOrStdout(), rows)
			}
			return usageError{fmt.Errorf("--format is markdown, csv or yaml, got %q", format)}
		},
	}
	show.Flags().StringVar(&scene, "scene", "default", "the scene that is played")
	show.Flags().StringVar(&format, "format", "markdown", "markdown, csv, or yaml for the file itself")
	learn := doCommand("learn [ADDRESS]", "Bind the next control that moves to an address of the running instrument",
		`Binds the next control that clearly moves to a knob, a jack or an action. With
no address, move the control first and then what it is to turn, on any surface.
What was learned is kept in the mapping "learned"; "map learn cancel" ends it.`,
		func(args []string) string {
			if len(args) == 0 {
				return actLearn
			}
			return actLearn + ":" + args[0]
		}, cobra.MaximumNArgs(1))
	learn.Example = "  k8s-synth map learn /deployment/web/replicas\n  k8s-synth map learn cancel"
	ask := learn.RunE
	learn.RunE = func(cmd *cobra.Command, args []string) error {
		if err := ask(cmd, args); err != nil {
			return err
		}
		say := "move the control, then what it is to turn"
		switch {
		case len(args) > 0 && args[0] == "cancel":
			say = "learning is ended"
		case len(args) > 0:
			say = "move the control that is to turn " + args[0]
		}
		fmt.Fprintln(cmd.OutOrStdout(), say)
		return nil
	}
	c.AddCommand(&cobra.Command{
		Use: "list", Short: "List the mappings that there are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := mapLibrary().List()
			if err != nil {
				return err
			}
			return bind.WriteList(cmd.OutOrStdout(), list)
		},
	}, show, &cobra.Command{
		Use: "validate MAP…", Short: "Check mapping files, and say where each mistake is", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			for _, a := range args {
				if err := mapLibrary().Validate(mapNamed(a)); err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: good\n", a)
			}
			return errors.Join(errs...)
		},
	}, &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of mapping files", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(bind.Schema())
			return err
		},
	}, learn)
	return c
}

// midiNamesCommand writes what a DAW shows instead of numbers.
func midiNamesCommand() *cobra.Command {
	var file, mapName string
	c := &cobra.Command{
		Use: "names SCENE -o FILE.midnam", Short: "Write the names of a scene's controls and of all scenes for a DAW", Args: one(`scene (see "k8s-synth scene list")`),
		RunE: func(cmd *cobra.Command, args []string) error {
			if e := ending(file); e != "" && e != ".midnam" && file != "-" {
				return usageError{fmt.Errorf("-o writes MIDNAM files; name one that ends in .midnam, not %q", file)}
			}
			mapName := mapNamed(mapName)
			m, err := mapLibrary().Open(mapName)
			if err != nil {
				return err
			}
			s, rack, err := sceneRack(args[0])
			if err != nil {
				return err
			}
			d := midnamOf(s, m, rack)
			if file == "" || file == "-" {
				_, err := d.WriteTo(cmd.OutOrStdout())
				return err
			}
			return writeWhole(file, func(w io.Writer) error { _, err := d.WriteTo(w); return err })
		},
	}
	c.Flags().StringVarP(&file, "output", "o", "", "file to write (default: standard output)")
	c.Flags().StringVar(&mapName, "map", dawMap, "the mapping whose controls are named")
	return c
}

// midnamOf is the names of what a mapping leads to in a scene.
func midnamOf(s *scenes.Scene, m *bind.Map, rack *mapping.Rack) *midi.Midnam {
	all := sceneNames()
	set := midi.MidnamSet{Name: "k8s-synth " + s.Name}
	d := &midi.Midnam{Author: "k8s-synth", Manufacturer: "k8s-synth", Model: "k8s-synth"}
	byChannel := map[int]*midi.MidnamSet{}
	var order []int
	for _, n := range bind.Names(m, rack, all) {
		kind, ok := midnamKinds[n.Control.Kind]
		at := n.Control.Channel
		if byChannel[at] == nil {
			byChannel[at] = &midi.MidnamSet{}
			order = append(order, at)
		}
		switch k := byChannel[at]; {
		case n.Control.Kind == bind.Note:
			k.Notes = append(k.Notes, midi.MidnamNote{Number: n.Control.Number, Name: n.Name})
		case ok:
			k.Controls = append(k.Controls, midi.MidnamControl{Kind: kind, Number: n.Control.Number, Name: n.Name})
		}
	}
	bank := midi.MidnamBank{Name: "Scenes", Bank: -1}
	for i, name := range all[:min(len(all), 128)] {
		bank.Programs = append(bank.Programs, midi.MidnamProgram{Number: i, Name: name})
	}
	any := byChannel[0]
	for _, ch := range order {
		if ch == 0 {
			continue
		}
		k := byChannel[ch]
		k.Name, k.Channels, k.Banks = fmt.Sprintf("%s, channel %d", set.Name, ch), []int{ch - 1}, []midi.MidnamBank{bank}
		if any != nil {
			// What is bound on every channel is bound here as well.
			for _, n := range any.Notes {
				if !slices.ContainsFunc(k.Notes, func(o midi.MidnamNote) bool { return o.Number == n.Number }) {
					k.Notes = append(k.Notes, n)
				}
			}
			for _, n := range any.Controls {
				if !slices.ContainsFunc(k.Controls, func(o midi.MidnamControl) bool { return o.Kind == n.Kind && o.Number == n.Number }) {
					k.Controls = append(k.Controls, n)
				}
			}
		}
		d.Sets = append(d.Sets, *k)
	}
	if any != nil {
		set.Notes, set.Controls = any.Notes, any.Controls
	}
	set.Banks = []midi.MidnamBank{bank}
	for ch := range 16 {
		if byChannel[ch+1] == nil {
			set.Channels = append(set.Channels, ch)
		}
	}
	if len(set.Channels) > 0 {
		d.Sets = append(d.Sets, set)
	}
	return d
}

// midnamKinds are the controls that a .midnam file can name.
var midnamKinds = map[bind.Kind]midi.ControlKind{bind.CC: midi.Control7, bind.CC14: midi.Control14, bind.NRPN: midi.ControlNRPN, bind.RPN: midi.ControlRPN}
