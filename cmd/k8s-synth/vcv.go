package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/hardware/vcv"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/instrument/faceplate"
	"github.com/k8s-synth/k8s-synth/mapping/document"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// besideSuffix is the ending of the file beside a scene that holds what its
// .vcv has and the scene has not.
const besideSuffix = ".vcv.json"

// beside returns the path of that file.
func beside(scene string) string {
	return strings.TrimSuffix(scene, filepath.Ext(scene)) + besideSuffix
}

// output is where a command writes and whether it may.
type output struct {
	path   string
	force  bool
	asJSON bool
}

func (o *output) flags(c *cobra.Command, what string) {
	c.Flags().StringVarP(&o.path, "output", "o", "", what)
	c.Flags().BoolVar(&o.force, "force", false, "overwrite what is there")
	c.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
}

// free refuses paths that something is at, unless --force says otherwise.
func (o *output) free(paths ...string) error {
	if o.force {
		return nil
	}
	var there []string
	for _, p := range paths {
		if _, err := os.Lstat(p); err == nil {
			there = append(there, p)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if n := len(there); n > 3 {
		return fmt.Errorf("%s and %d more are there already; --force overwrites them", there[0], n-1)
	} else if n > 0 {
		return fmt.Errorf("%s is there already; --force overwrites it", strings.Join(there, " and "))
	}
	return nil
}

// print writes v as JSON if that was asked for, or else as text.
func (o *output) print(w io.Writer, v any, text func()) error {
	if !o.asJSON {
		text()
		return nil
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func vcvCommand() *cobra.Command {
	c := &cobra.Command{Use: "vcv", Short: "Exchange patches with VCV Rack", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(vcvImportCommand(), vcvExportCommand(), vcvPluginCommand(), vcvShowCommand())
	return c
}

// vcvDone is what an import or an export tells.
type vcvDone struct {
	Written []string    `json:"written,omitempty"`
	Report  *vcv.Report `json:"report"`
}

// tell prints a report for people.
func (d *vcvDone) tell(w io.Writer, imported bool) {
	for _, s := range d.Report.Upgraded {
		fmt.Fprintf(w, "older: %s\n", s)
	}
	for _, m := range d.Report.Mapped {
		var as []string
		for _, id := range m.As {
			as = append(as, string(id))
		}
		if imported {
			fmt.Fprintf(w, "%s -> %s\n", m.What, strings.Join(as, ", "))
		} else {
			fmt.Fprintf(w, "%s -> %s\n", strings.Join(as, ", "), m.What)
		}
		for _, n := range m.Notes {
			fmt.Fprintf(w, "    %s\n", n)
		}
	}
	kept := "kept beside the scene"
	if !imported {
		kept = "kept"
	}
	for _, n := range d.Report.Kept {
		fmt.Fprintf(w, "%s: %s: %s\n", kept, n.What, n.Why)
	}
	for _, n := range d.Report.Lost {
		fmt.Fprintf(w, "lost: %s: %s\n", n.What, n.Why)
	}
	fmt.Fprintf(w, "%d mapped, %d kept, %d lost\n", len(d.Report.Mapped), len(d.Report.Kept), len(d.Report.Lost))
	for _, p := range d.Written {
		fmt.Fprintf(w, "wrote %s\n", p)
	}
}

// notInName is what the name of a scene cannot have.
var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// sceneName makes the name of a scene out of that of a file.
func sceneName(path string) string {
	base := filepath.Base(path)
	name := strings.Trim(notInName.ReplaceAllString(strings.ToLower(strings.TrimSuffix(base, filepath.Ext(base))), "-"), "-")
	if len(name) > 60 {
		name = strings.Trim(name[:60], "-")
	}
	if name == "" {
		name = "rack"
	}
	return name
}

func vcvImportCommand() *cobra.Command {
	var o output
	c := &cobra.Command{
		Use: "import FILE.vcv", Short: "Make a scene of a patch of VCV Rack",
		Long: `Makes a scene of a .vcv of Rack 2, or of an older Rack: modules of the plugin
` + vcv.PluginSlug + `, and modules of Core and Fundamental whose meaning is clear here. What has
no counterpart is written beside the scene, to NAME` + besideSuffix + `, and "vcv export"
puts it back. Without -o nothing is written; the report is the same.`,
		Example: "  k8s-synth vcv import song.vcv\n  k8s-synth vcv import song.vcv -o song.yaml",
		Args:    one(".vcv file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := vcv.Load(args[0])
			if err != nil {
				return fmt.Errorf("vcv: %w", err)
			}
			i, err := f.Import()
			if err != nil {
				return fmt.Errorf("vcv: %s: %w", args[0], err)
			}
			done := vcvDone{Report: &i.Report}
			from := args[0]
			if o.path != "" {
				from = o.path
			}
			s := scenes.New(sceneName(from))
			s.Title = strings.Map(printable, strings.TrimSuffix(filepath.Base(args[0]), filepath.Ext(args[0])))
			s.Patch = i.Patch
			for id, p := range i.Places {
				s.Places[id] = scenes.Place{Row: p.Row, HP: p.HP}
			}
			text, err := scenes.Encode(s)
			if err != nil {
				return fmt.Errorf("vcv: %s: %w", args[0], err)
			}
			if o.path == "" {
				return o.print(cmd.OutOrStdout(), done, func() { done.tell(cmd.OutOrStdout(), true) })
			}
			if filepath.Ext(o.path) != ".yaml" {
				return usageError{fmt.Errorf("a scene's file ends in .yaml, got %q", o.path)}
			}
			extra := beside(o.path)
			if err := o.free(o.path, extra); err != nil {
				return fmt.Errorf("vcv: %w", err)
			}
			if err := writeWhole(extra, i.Extra.Write); err != nil {
				return fmt.Errorf("vcv: %w", err)
			}
			if err := writeWhole(o.path, document.Bytes(text)); err != nil {
				return fmt.Errorf("vcv: %w", err)
			}
			done.Written = []string{o.path, extra}
			return o.print(cmd.OutOrStdout(), done, func() { done.tell(cmd.OutOrStdout(), true) })
		},
	}
	o.flags(c, "scene to write, ending in .yaml; without it nothing is written")
	return c
}

// printable leaves out what a title cannot have.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f || r == 0xfffd {
		return -1
	}
	return r
}

// beyondRack is what a scene is beside its patch, for which Rack's files have
// no place.
func beyondRack(s *scenes.Scene) (lost []vcv.Note) {
	plain := scenes.New(s.Name)
	for _, f := range []struct {
		what string
		is   bool
	}{
		{"about", s.About != ""}, {"scale", s.Scale != ""}, {"root", s.Root != plain.Root}, {"tunings", len(s.Tunings) > 0},
		{"seed", s.Seed != plain.Seed}, {"latency", s.Latency != plain.Latency}, {"storm", s.Storm != plain.Storm || s.StormPolicy != plain.StormPolicy},
		{"rules", len(s.Rules) > 0},
	} {
		if f.is {
			lost = append(lost, vcv.Note{What: f.what, Why: "it belongs to the scene, and a file of Rack has no place for it: keep the scene's own file"})
		}
	}
	return lost
}

func vcvExportCommand() *cobra.Command {
	var o output
	var extra string
	c := &cobra.Command{
		Use: "export SCENE", Short: "Make a patch for VCV Rack of a scene",
		Long: `Makes a .vcv of Rack 2 of a scene: its modules are those of the plugin ` + vcv.PluginSlug + `.
Of a scene that was imported, the file beside it, NAME` + besideSuffix + `, says what the
patch was: what did not change since then is as it was. Without -o nothing is
written; the report is the same.`,
		Example: "  k8s-synth vcv export default -o default.vcv\n  k8s-synth vcv export ./song.yaml -o song.vcv --force",
		Args:    one("scene"),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openStore().Open(args[0])
			if err != nil {
				return err
			}
			kept, err := readBeside(args[0], extra)
			if err != nil {
				return fmt.Errorf("vcv: %w", err)
			}
			places := map[instrument.ModuleID]vcv.Place{}
			for id, p := range s.Places {
				places[id] = vcv.Place{Row: p.Row, HP: p.HP}
			}
			f, report, err := vcv.Export(s.Patch, places, kept)
			if err != nil {
				return fmt.Errorf("vcv: scene %s: %w", s.Name, err)
			}
			report.Lost = append(report.Lost, beyondRack(s)...)
			done := vcvDone{Report: report}
			if o.path != "" {
				if err := o.free(o.path); err != nil {
					return fmt.Errorf("vcv: %w", err)
				}
				if err := writeWhole(o.path, f.Write); err != nil {
					return fmt.Errorf("vcv: %w", err)
				}
				done.Written = []string{o.path}
			}
			return o.print(cmd.OutOrStdout(), done, func() { done.tell(cmd.OutOrStdout(), false) })
		},
	}
	o.flags(c, "file to write, such as song.vcv; without it nothing is written")
	c.Flags().StringVar(&extra, "beside", "", "what was kept of the file that the scene was imported from; default: "+besideSuffix+" beside the scene's file")
	return c
}

// readBeside reads what was kept of the file that a scene comes from, nil
// where nothing was.
func readBeside(scene, path string) (*vcv.Extra, error) {
	asked := path != ""
	if !asked {
		path = beside(scene)
		if !strings.HasSuffix(scene, ".yaml") {
			dir, err := scenes.DefaultDir()
			if err != nil {
				return nil, nil
			}
			path = filepath.Join(dir, scene+besideSuffix)
		}
	}
	r, err := os.Open(path)
	if err != nil {
		if !asked && errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	defer r.Close()
	e, err := vcv.ReadExtra(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

func vcvPluginCommand() *cobra.Command {
	var o output
	c := &cobra.Command{
		Use: "plugin", Short: "Write what a plugin for VCV Rack begins with", Args: cobra.NoArgs,
		Long: `Writes plugin.json, a panel for each module as Rack and its helper.py read them,
and src/ids.hpp with the numbers of params and ports in patches. Without -o the
files are listed.`,
		Example: "  k8s-synth vcv plugin -o K8sSynth",
		RunE: func(cmd *cobra.Command, _ []string) error {
			files, err := vcv.Plugin()
			if err != nil {
				return fmt.Errorf("vcv: %w", err)
			}
			return o.folder(cmd.OutOrStdout(), files)
		},
	}
	o.flags(c, "folder to write to; without it nothing is written")
	return c
}

// written is what a command that writes a folder tells.
type written struct {
	Path    string `json:"path"`
	Bytes   int    `json:"bytes"`
	Written bool   `json:"written"`
}

// folder writes files into the folder of -o, all of them or, where one may
// not be overwritten, none; without -o it says which there are.
func (o *output) folder(w io.Writer, files map[string][]byte) error {
	names := slices.Sorted(maps.Keys(files))
	list := []written{}
	var paths []string
	for _, n := range names {
		p := filepath.Join(o.path, filepath.FromSlash(n))
		paths = append(paths, p)
		list = append(list, written{p, len(files[n]), o.path != ""})
	}
	if o.path != "" {
		if err := o.free(paths...); err != nil {
			return err
		}
		for i, n := range names {
			if err := os.MkdirAll(filepath.Dir(paths[i]), 0o755); err != nil {
				return err
			}
			if err := writeWhole(paths[i], document.Bytes(files[n])); err != nil {
				return err
			}
		}
	}
	return o.print(w, list, func() {
		for _, f := range list {
			fmt.Fprintf(w, "%s\t%d bytes\n", f.Path, f.Bytes)
		}
		if o.path == "" {
			fmt.Fprintf(w, "%d files; -o names the folder to write them to\n", len(list))
		} else {
			fmt.Fprintf(w, "wrote %d files\n", len(list))
		}
	})
}

func vcvShowCommand() *cobra.Command {
	var o output
	c := &cobra.Command{
		Use: "show FILE.vcv", Short: "Say what is in a patch of VCV Rack", Args: one(".vcv file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := vcv.Load(args[0])
			if err != nil {
				return fmt.Errorf("vcv: %w", err)
			}
			s := f.Summary()
			out := cmd.OutOrStdout()
			return o.print(out, s, func() {
				form := "archive of Rack 2"
				if s.Older {
					form = "JSON of an older Rack"
				}
				fmt.Fprintf(out, "version %s, %s: %d modules (%d ours, %d known, %d unknown), %d cables, %d files\n", s.Version, form, s.Modules, s.Ours, s.Known, s.Unknown, s.Cables, s.Files)
				t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
				for _, m := range slices.Sorted(maps.Keys(s.Models)) {
					fmt.Fprintf(t, "%d\t%s\n", s.Models[m], m)
				}
				t.Flush()
				for _, u := range s.Changed {
					fmt.Fprintf(out, "older: %s\n", u)
				}
			})
		},
	}
	c.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
	return c
}

// panelsCommand writes faceplates.
func panelsCommand() *cobra.Command {
	var o output
	var theme string
	var outlines, layouts bool
	themes := map[string]string{"matte": faceplate.Matte, "light": faceplate.Light, "stage": faceplate.Stage}
	c := &cobra.Command{
		Use: "panels [KIND…]", Short: "Write the faceplates of modules as SVG",
		Long: `Writes the faceplates of all modules, or of those that are named, as they are
cut and printed: in millimetres, 3U high. Without -o the files are listed.`,
		Example: "  k8s-synth panels -o panels\n  k8s-synth panels vco deployment -o panels --theme stage --outlines\n  k8s-synth panels -o panels --layout   # where each control stands, as JSON",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			class, ok := themes[theme]
			if !ok {
				return usageError{fmt.Errorf("--theme is %s, got %q", strings.Join(slices.Sorted(maps.Keys(themes)), ", "), theme)}
			}
			specs := instrument.Specs()
			if len(args) > 0 {
				specs = nil
				for _, k := range args {
					s := instrument.Spec(k)
					if s == nil {
						return usageError{fmt.Errorf("there is no module %q; see k8s-synth modules", k)}
					}
					specs = append(specs, s)
				}
			}
			files := map[string][]byte{}
			for _, s := range specs {
				l, err := faceplate.Build(s)
				if err != nil {
					return err
				}
				var b bytes.Buffer
				if err := faceplate.SVG(&b, l, faceplate.Style{Sheet: true, Theme: class, Outlines: outlines}); err != nil {
					return err
				}
				files[s.Kind+".svg"] = b.Bytes()
				if layouts {
					text, err := json.MarshalIndent(l, "", " ")
					if err != nil {
						return err
					}
					files[s.Kind+".json"] = append(text, '\n')
				}
			}
			return o.folder(cmd.OutOrStdout(), files)
		},
	}
	o.flags(c, "folder to write to; without it nothing is written")
	c.Flags().StringVar(&theme, "theme", "matte", "matte, light or stage")
	c.Flags().BoolVar(&outlines, "outlines", false, "words as paths, for whoever has not the font")
	c.Flags().BoolVar(&layouts, "layout", false, "also write where each control stands, as JSON")
	return c
}
