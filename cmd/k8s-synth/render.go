package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// renderOptions are the flags of render.
type renderOptions struct {
	scene   string
	script  string
	seconds float64
	out     string
	picture string
	rate    int
	seed    uint64
	seeded  bool
	take    string
	anew    bool
	from    takeTime
	to      takeTime
	inputs  bool
}

// Sample rates in Hz that a device may have, and a file as well.
const (
	leastRate = 8000
	mostRate  = 384000
)

func renderCommand() *cobra.Command {
	var o renderOptions
	c := &cobra.Command{
		Use:   "render [SCENE]",
		Short: "Render a scene to a WAV or FLAC file, faster than real time",
		Long: `Renders a scene with the same engine that plays it live. What the cluster does
comes from a script, or from a take that "play --take" recorded. Without one,
a cluster boots and converges. The same scene, script and seed give the same
file, to the bit.

The ending of the file says its form: .wav is 32-bit floats, in which nothing is
cut off, .flac is 24 bits. A file that is there is replaced when the new one is
whole; until then, and if it fails or is interrupted, the old one stays.

With --take, a take sounds as it did when it was played, to the bit, from the
events that the engine applied then. With --anew what came in (hands, MIDI, the
cluster) is played anew instead; and so it is where a SCENE is named, or another
--rate, and where a take has no sound of its own, such as an imported one.`,
		Example: `  k8s-synth render default --seconds 20 -o default.wav
  k8s-synth render default --script demo -o demo.flac --picture demo.png
  k8s-synth render --take night.take.jsonl -o night.wav`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.scene = args[0]
			}
			o.seeded = cmd.Flags().Changed("seed")
			switch {
			case o.scene == "" && o.take == "":
				return usageError{errors.New("name the scene to render, or a take with --take")}
			case o.take != "" && (o.script != "" || o.picture != ""):
				return usageError{errors.New("--take goes without --script and --picture; \"k8s-synth take show --svg\" draws a take")}
			case o.anew && o.take == "":
				return usageError{errors.New("--anew is for a take; name it with --take")}
			case o.take == "" && (o.from.Duration > 0 || o.to.Duration > 0 || !o.inputs):
				return usageError{errors.New("--from, --to and --inputs are for a take; name it with --take")}
			case o.to.Duration > 0 && o.to.Duration <= o.from.Duration:
				return usageError{fmt.Errorf("--to %s is not behind --from %s", o.to.Duration, o.from.Duration)}
			case o.to.Duration > 0 && o.seconds > 0:
				return usageError{errors.New("--to and --seconds both say where it ends; leave one out")}
			case o.out == "":
				return usageError{errors.New("-o names the WAV file to write, or a FLAC file; it is missing")}
			case o.picture != "" && !strings.EqualFold(filepath.Ext(o.picture), ".png"):
				return usageError{fmt.Errorf("--picture draws PNG files; name one that ends in .png, not %q", o.picture)}
			case o.rate < leastRate || o.rate > mostRate:
				return usageError{fmt.Errorf("--rate is %d … %d Hz, got %d", leastRate, mostRate, o.rate)}
			case cmd.Flags().Changed("seconds") && !(o.seconds > 0 && o.seconds <= scenes.MaxLength.Seconds()):
				return usageError{fmt.Errorf("--seconds is above 0 and at most a day, got %g", o.seconds)}
			}
			if o.take != "" {
				if err := notItself(o.take, o.out); err != nil {
					return fmt.Errorf("render: %w", err)
				}
			}
			if err := checkSound("-o", o.out); err != nil {
				return usageError{err}
			}
			if err := placeFor(o.out); err != nil {
				return fmt.Errorf("render: %w", err)
			}
			if o.take != "" {
				if !cmd.Flags().Changed("rate") {
					o.rate = 0
				}
				return renderTake(cmd.Context(), o)
			}
			return render(cmd.Context(), o)
		},
	}
	f := c.Flags()
	f.Float64Var(&o.seconds, "seconds", 0, "length (default: the script's and 4 s for its end, or 20 s)")
	f.StringVarP(&o.out, "output", "o", "", "file to write, which ends in .wav or .flac; one that is there is replaced at the end")
	f.StringVar(&o.picture, "picture", "", "PNG file to draw what happened, level and spectrum in")
	f.StringVar(&o.script, "script", "", "name or path of a script or take; \"none\" for a cluster that stays away")
	f.StringVar(&o.take, "take", "", "take to render as it sounded")
	f.BoolVar(&o.anew, "anew", false, "play what came in of the take anew")
	f.Var(&o.from, "from", "with --take: write from this time of the take on, such as 83.5 or 1:23.5")
	f.Var(&o.to, "to", "with --take: write up to this time of the take")
	f.BoolVar(&o.inputs, "inputs", true, "with --take: hear what the inputs of the rig captured")
	f.Uint64Var(&o.seed, "seed", 0, "seed of what is left to chance (default: the scene's)")
	f.IntVar(&o.rate, "rate", 48000, fmt.Sprintf("sample rate in Hz, %d … %d", leastRate, mostRate))
	return c
}

// render renders to a file beside the one that was named, which it replaces
// at the end only.
func render(ctx context.Context, o renderOptions) (err error) {
	scene, err := openStore().Open(o.scene)
	if err != nil {
		return err
	}
	script, err := scriptFor(o.script, scene)
	if err != nil {
		return err
	}
	if o.seeded {
		scene.Seed = o.seed
	}
	if o.seconds == 0 {
		o.seconds = 20
		if o.script != "" && o.script != "none" {
			o.seconds = script.Length().Seconds() + 4
		}
	}
	r, err := newOffline(scene, script, float64(o.rate))
	if err != nil {
		return err
	}
	out, err := newOutput(o.out, 0o666)
	if err != nil {
		return fmt.Errorf("render: %w", err)
	}
	defer func() { err = errors.Join(err, out.drop()) }()
	w, err := createSound(o.out, out.part, o.rate, 2)
	if err != nil {
		return fmt.Errorf("render: %w", err)
	}
	defer func() {
		if w != nil {
			_ = w.Close() // why it is given up has been said
		}
	}()
	total := int64(math.Round(o.seconds * float64(o.rate)))
	var pic *picture
	if o.picture != "" {
		if pic, err = newPicture(float64(o.rate), total); err != nil {
			return fmt.Errorf("render: %w", err)
		}
		for _, s := range script.Steps {
			pic.happened(s)
		}
	}
	began := time.Now()
	live := term.IsTerminal(int(os.Stderr.Fd()))
	var told time.Time
	for r.frame < total {
		if ctx.Err() != nil {
			return fmt.Errorf("render: interrupted after %.1f s of sound; nothing was written", float64(r.frame)/float64(o.rate))
		}
		block := r.block(total)
		if err := w.WritePlanar(block, instrument.AudioVolts); err != nil {
			return fmt.Errorf("render: %w", err)
		}
		if pic != nil {
			pic.add(block)
		}
		if live && time.Since(told) > 100*time.Millisecond {
			told = time.Now()
			fmt.Fprintf(os.Stderr, "\r%3d %%", 100*r.frame/total)
		}
	}
	if live {
		fmt.Fprint(os.Stderr, "\r     \r")
	}
	cut := uint64(0)
	if f, ok := w.(*flacWriter); ok {
		cut = f.cut
	}
	err = w.Close()
	w = nil
	if err != nil {
		return fmt.Errorf("render: %w", err)
	}
	if err := out.keep(true); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	took := time.Since(began).Seconds()
	if pic != nil {
		if err := pic.save(o.picture); err != nil {
			return fmt.Errorf("render: the picture: %w; %s is written", err, o.out)
		}
	}
	fmt.Fprintf(os.Stderr, "wrote %s: %.2f s of sound in %.2f s (%.0f times real time), peak %.1f dBFS\n",
		o.out, o.seconds, took, o.seconds/took, 20*math.Log10(math.Max(r.peak/instrument.AudioVolts, 1e-9)))
	if cut > 0 {
		fmt.Fprintf(os.Stderr, "%d samples were above full scale and are cut off; a WAV file holds them, or turn the level of the Audio Out down\n", cut)
	}
	return nil
}

// scriptFor opens a script, or writes the one that a scene is rendered with
// where none is named: the control plane boots, and each Deployment converges.
func scriptFor(name string, scene *scenes.Scene) (*scenes.Script, error) {
	switch name {
	case "none":
		return &scenes.Script{}, nil
	case "":
	default:
		return openStore().OpenScript(name)
	}
	var b strings.Builder
	b.WriteString("version: 1\nevents:\n")
	for i, stage := range mapping.BootStages {
		fmt.Fprintf(&b, "  - {at: %g, boot: %s}\n", 0.05+0.15*float64(i), stage)
	}
	b.WriteString("  - {at: 0.5, apiserver: api, reachable: true}\n  - {at: 1, apiserver: api, synced: true}\n")
	b.WriteString("  - {at: 0.5, etcd: store, heartbeat: {every: 1, until: 86400, latency: 0.004}}\n")
	for i := range 3 {
		fmt.Fprintf(&b, "  - {at: 0.9, node: stage-%d, ready: true, quiet: true}\n", i+1)
	}
	for i := range scene.Patch.Modules {
		if m := &scene.Patch.Modules[i]; m.ID.Kind() == mapping.KindDeployment {
			fmt.Fprintf(&b, "  - {at: 1.2, deployment: %s, replicas: %d, converge: {}}\n", m.ID.Name(), int(m.Value("replicas")))
		}
	}
	return scenes.ParseScript("the built-in script", []byte(b.String()))
}

// offline plays a script on a rack without a device and without a clock.
type offline struct {
	rack  *mapping.Rack
	rules *ruleSet
	steps []scenes.Step
	rate  float64
	frame int64
	peak  float64 // volts
	// ending tells that the master fade is on its way down.
	ending bool
	buf    [2][]float32
}

func newOffline(scene *scenes.Scene, script *scenes.Script, rate float64) (*offline, error) {
	r := &offline{steps: script.Steps, rate: rate, rack: mapping.NewRack(mapping.Config{
		SampleRate: rate, Channels: 2, Seed: scene.Seed, Storm: scene.Storm, StormPolicy: scene.StormPolicy, Scale: scene.Notes(), Embedded: true,
		Namespace: homeOf(scene, script), Scene: scene.Name, Program: compileProgram,
	})}
	if err := r.rack.Load(scene.Patch); err != nil {
		return nil, fmt.Errorf("scene %s: %w", scene.Name, err)
	}
	var err error
	if r.rules, err = newRules(scene, r.rack); err != nil {
		return nil, fmt.Errorf("scene %s: rules: %w", scene.Name, err)
	}
	for c := range r.buf {
		r.buf[c] = make([]float32, instrument.BlockSize)
	}
	r.rack.Fade(true)
	return r, nil
}

// homeOf returns the namespace whose objects the panels show: the scene's, or
// any where a script was written, or a take played, in another.
func homeOf(scene *scenes.Scene, script *scenes.Script) string {
	for _, s := range script.Steps {
		if s.Transition != nil && s.Transition.Object.Namespace == scene.Namespace {
			return scene.Namespace
		}
	}
	return ""
}

// fadeSeconds is when before its end a file begins to fade, which takes 50 ms.
const fadeSeconds = 0.052

// block renders the next block, of at most BlockSize frames and not beyond
// total. The slices are good until the next call.
func (r *offline) block(total int64) [][]float32 {
	n := min(total-r.frame, instrument.BlockSize)
	for len(r.steps) > 0 {
		at := int64(math.Round(r.steps[0].At.Seconds() * r.rate))
		if at >= r.frame+n {
			break
		}
		r.step(r.steps[0], max(at, 1))
		r.steps = r.steps[1:]
	}
	if !r.ending && r.frame >= total-int64(fadeSeconds*r.rate) {
		r.ending = true
		r.rack.Fade(false)
	}
	out := [][]float32{r.buf[0][:n], r.buf[1][:n]}
	r.rack.Engine.Render(out, nil)
	r.frame += n
	r.rack.Pump(r.frame)
	for _, ch := range out {
		for _, v := range ch {
			r.peak = max(r.peak, math.Abs(float64(v)))
		}
	}
	return out
}

// step does what the script says. A param that the scene does not have was
// there when the take was recorded; it has no effect now.
func (r *offline) step(s scenes.Step, frame int64) {
	if s.Transition != nil {
		r.rack.Apply(*s.Transition, frame)
		r.rules.apply(*s.Transition, frame)
		return
	}
	_ = r.rack.Set(s.Param.Address, s.Param.Value, s.Param.Word, "", frame)
}
