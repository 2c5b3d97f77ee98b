package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/document"
	"github.com/k8s-synth/k8s-synth/mapping/layout"
)

// layoutOptions are the flags of layout.
type layoutOptions struct {
	out, size, format, midi, stateDir string
	connection, reply                 int
	live                              bool
}

// layoutFormats are the forms that a layout is written in.
var layoutFormats = map[string]func(*layout.Layout) ([]byte, error){
	"tosc":     layout.WriteTosc,
	"touchosc": layout.WriteTouchOSC,
	"html":     func(l *layout.Layout) ([]byte, error) { return layout.WriteHTML(l), nil },
	"csv":      func(l *layout.Layout) ([]byte, error) { return layout.WriteMIDIMap(l), nil },
	"yaml":     func(l *layout.Layout) ([]byte, error) { return layout.WriteMapping(l), nil },
}

// layoutCommand writes control surfaces for tablets and phones.
func layoutCommand() *cobra.Command {
	c := &cobra.Command{Use: "layout", Short: "Write control surfaces for tablets and phones", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	var o layoutOptions
	t := &cobra.Command{
		Use:   "touchosc [SCENE]",
		Short: "Write a layout for TouchOSC from a scene, or from what is played",
		Long: `Writes a layout for TouchOSC: a page to play on, the pods with their phases, and
a page for each kind of module. Every knob, switch and button has the address
of the patch; values come back and move them. On the tablet, name the
instrument's address and port 9000 as an OSC connection, and 9001 as where it
receives: the layout asks the instrument to send there.

Kill and drain are dead until ARM is pressed, for ten seconds.`,
		Example: `  k8s-synth layout touchosc default -o default.tosc
  k8s-synth layout touchosc --live -o now.tosc            # of the patch that is played
  k8s-synth layout touchosc cluster -o cluster.html       # to look at it
  k8s-synth layout touchosc cluster --size phone -o cluster.tosc
  k8s-synth layout touchosc cluster --midi also -o cluster.tosc
  k8s-synth layout touchosc cluster -o cluster.csv        # which controller plays what
  k8s-synth layout touchosc cluster -o cluster.yaml       # the same for play --map cluster.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.live == (len(args) == 1) {
				return usageError{errors.New("name one scene, or --live for what is played")}
			}
			lo, write, err := o.check()
			if err != nil {
				return usageError{err}
			}
			name, patch := "", (*instrument.Patch)(nil)
			if o.live {
				name, patch, err = livePatch(cmd.Context(), o.stateDir)
			} else {
				name, patch, err = scenePatch(args[0])
			}
			if err != nil {
				return err
			}
			l, err := layout.Build(patch, name, lo)
			if err != nil {
				return err
			}
			data, err := write(l)
			if err != nil {
				return err
			}
			if o.out == "-" {
				_, err = cmd.OutOrStdout().Write(data)
				return err
			}
			if err := writeWhole(o.out, document.Bytes(data)); err != nil {
				return fmt.Errorf("layout: %w", err)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d pages for %g × %g\n", o.out, len(l.Pages), l.Width, l.Height)
			return nil
		},
	}
	f := t.Flags()
	f.StringVarP(&o.out, "output", "o", "", "file to write; - is the standard output")
	f.StringVar(&o.size, "size", "tablet", "tablet (1024x768), phone (812x375) or WIDTHxHEIGHT in points")
	f.StringVar(&o.format, "format", "", "tosc, touchosc (the first TouchOSC), html (a preview), csv (the controllers) or yaml (a mapping of them); default: the file's ending")
	f.IntVar(&o.connection, "osc-connection", 0, "which of TouchOSC's OSC connections to use, 1 … 10 (default all)")
	f.IntVar(&o.reply, "reply-port", 9001, "port on which TouchOSC receives; 0 does not ask the instrument to send there")
	f.StringVar(&o.midi, "midi", "no", "no, also (controllers go out beside OSC) or only (what has a controller goes both ways by it)")
	f.BoolVar(&o.live, "live", false, "take the patch of the instrument that plays")
	f.StringVar(&o.stateDir, "state-dir", "", "the instrument's state directory, for --live")
	c.AddCommand(t)
	return c
}

// check makes what the flags say.
func (o *layoutOptions) check() (lo layout.Options, write func(*layout.Layout) ([]byte, error), err error) {
	if o.out == "" {
		return lo, nil, errors.New("-o names the file to write; it is missing")
	}
	format := o.format
	if format == "" {
		switch format = strings.TrimPrefix(ending(o.out), "."); format {
		case "":
			format = "tosc"
		case "htm":
			format = "html"
		case "yml":
			format = "yaml"
		}
		if o.out != "-" && layoutFormats[format] == nil {
			return lo, nil, fmt.Errorf("-o %s: name a file that ends in .tosc, .touchosc, .html, .csv or .yaml, or say with --format which it is to be", o.out)
		}
	}
	if write = layoutFormats[format]; write == nil {
		return lo, nil, fmt.Errorf("--format is tosc, touchosc, html, csv or yaml, got %q", o.format)
	}
	if lo.Width, lo.Height, err = layout.ParseSize(o.size); err != nil {
		return lo, nil, fmt.Errorf("--size: %w", err)
	}
	switch {
	case o.connection < 0 || o.connection > 10:
		return lo, nil, fmt.Errorf("--osc-connection is 1 … 10, got %d", o.connection)
	case o.reply < 0 || o.reply > 65535:
		return lo, nil, fmt.Errorf("--reply-port is 1 … 65535, or 0 for none, got %d", o.reply)
	}
	lo.Connection, lo.ReplyPort = o.connection, o.reply
	switch o.midi {
	case "no":
		if format == "csv" || format == "yaml" {
			lo.MIDI = layout.AlsoMIDI // the controllers are what is asked for
		}
	case "also":
		lo.MIDI = layout.AlsoMIDI
	case "only":
		lo.MIDI = layout.OnlyMIDI
	default:
		return lo, nil, fmt.Errorf("--midi is no, also or only, got %q", o.midi)
	}
	return lo, write, nil
}

// scenePatch is the patch of a scene.
func scenePatch(name string) (string, *instrument.Patch, error) {
	s, err := openStore().Open(name)
	if err != nil {
		return "", nil, err
	}
	return s.Name, s.Patch, nil
}

// playedPatch is what the instrument tells of its patch: all that a layout
// needs.
type playedPatch struct {
	Scene   string              `json:"scene"`
	Modules []instrument.Module `json:"modules"`
	Cables  []instrument.Cable  `json:"cables"`
}

// livePatch asks the instrument that plays for its patch.
func livePatch(ctx context.Context, dir string) (string, *instrument.Patch, error) {
	d, err := stateDirPath(dir)
	if err != nil {
		return "", nil, err
	}
	var p playedPatch
	if err := fetch(ctx, socketPath(d), "/patch", &p); err != nil {
		return "", nil, err
	}
	return p.Scene, p.patch(), nil
}

func (p *playedPatch) patch() *instrument.Patch {
	return &instrument.Patch{Modules: p.Modules, Cables: p.Cables}
}

// servePatch answers with the patch that is played.
func (p *player) servePatch(w http.ResponseWriter, _ *http.Request) {
	var now playedPatch
	if !p.ask(func() {
		patch := p.rack.Patch().Clone()
		now = playedPatch{p.scene.Name, patch.Modules, patch.Cables}
	}) {
		http.Error(w, errAway.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(now)
}
