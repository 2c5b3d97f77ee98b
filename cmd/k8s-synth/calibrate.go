package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/hardware/calibration"
	"github.com/k8s-synth/k8s-synth/hardware/rig"
)

func calibrateCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "calibrate", Short: "Measure what a CV channel is off by, and mend it", Args: cobra.NoArgs,
		Long: `Measures what a jack of a rig is off by and keeps it on this machine, beside the
rigs, where "play" finds it: by ear with your own oscillator, by a cable from an
output to an input, or by a voltmeter. Nothing is kept before a measurement has
come to its end. An instrument that plays takes over what is kept, without a step.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(calibrateEarCommand(), calibrateLoopCommand(), calibrateMeterCommand(), calibrateShowCommand(), calibrateDriftCommand(),
		calibrateImportCommand(), calibrateExportCommand(), &cobra.Command{
			Use: "schema", Short: "Print the JSON Schema of calibration files", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := cmd.OutOrStdout().Write(calibration.Schema())
				return err
			},
		})
	return c
}

// calibrateOptions are the flags that all measurements have.
type calibrateOptions struct {
	benchOptions
	stateDir, svg, note string
	json, dry, yes      bool
}

func (o *calibrateOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.rig, "rig", "", `the rig, by name or path (default: the one named "default")`)
	f.StringVar(&o.device.Backend, "backend", "", "audio system, if not the rig's: "+strings.Join(hardware.Backends(), ", "))
	f.StringVar(&o.device.Device, "device", "", `audio device, if not the rig's (see "k8s-synth devices")`)
	f.IntVar(&o.device.Rate, "rate", 0, "sample rate in Hz, if not the rig's")
	f.IntVar(&o.device.Period, "period", 0, "the device's block in frames, if not the rig's")
	f.StringVarP(&o.svg, "output", "o", "", "SVG file for the plot of before and after")
	f.StringVar(&o.note, "note", "", "words to keep with it, such as how long the case was on")
	f.BoolVar(&o.json, "json", false, "print the calibration as JSON")
	f.BoolVar(&o.dry, "dry-run", false, "say what would be sent where, and send nothing")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	f.StringVar(&o.stateDir, "state-dir", "", "state directory of an instrument that may be running")
	o.changed = f.Changed
}

// calibrateRun is one measurement from the plan to the file.
type calibrateRun struct {
	*calibrateOptions
	cmd           *cobra.Command
	rig           *rig.Rig
	output, input *rig.Jack
	target        *rig.Jack // what is calibrated
	direction     calibration.Direction
	say           io.Writer // everything but the result
	lines         *lineReader
}

func (o *calibrateOptions) start(cmd *cobra.Command) (*calibrateRun, error) {
	r, output, input, err := o.plan()
	if err != nil {
		return nil, err
	}
	return &calibrateRun{calibrateOptions: o, cmd: cmd, rig: r, output: output, input: input, say: cmd.ErrOrStderr(), lines: &lineReader{in: cmd.InOrStdin()}}, nil
}

// interactive tells whether somebody can be asked.
func (r *calibrateRun) interactive() bool { return isTerminal(r.cmd.InOrStdin()) }

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// jackText names a jack with all that counts of it.
func (r *calibrateRun) jackText(j *rig.Jack, what string) string {
	sure := ""
	if j.Sure != rig.Vendor && j.Sure != rig.Measured {
		sure = fmt.Sprintf(" (%v)", j.Sure)
	}
	s := fmt.Sprintf("%s %s, channel %s of %s, ±%.4g V at full scale%s", what, j.Name, r.rig.Place(j), r.rig.Interface.Title, j.FullScale, sure)
	if what == "output" {
		s += fmt.Sprintf(", limits %.4g to %.4g V", j.Min, j.Max)
	}
	return s
}

// plan says what will be sent, and asks whether it may where that is not
// obvious. It returns errDryRun when that was all.
func (r *calibrateRun) agree(ctx context.Context, plan []string, doubts []string) error {
	for _, l := range plan {
		fmt.Fprintln(r.say, l)
	}
	if r.output != nil {
		fmt.Fprintf(r.say, "every other output rests at its safe voltage, and the speakers are silent; voltages move by %d V/s at most\n", benchSlew)
	}
	for _, d := range doubts {
		fmt.Fprintln(r.say, "careful:", d)
	}
	switch {
	case r.dry:
		fmt.Fprintf(r.say, "dry run: nothing was sent; it would be kept in %s\n", r.path())
		return errDryRun
	case len(doubts) == 0 || r.yes:
	case !r.interactive():
		return usageError{errors.New("nobody is there to ask; --yes says that it may go on all the same")}
	default:
		if err := r.confirm(ctx, "Go on? [y/N] "); err != nil {
			return err
		}
	}
	return r.free(ctx)
}

func (r *calibrateRun) confirm(ctx context.Context, question string) error {
	fmt.Fprint(r.say, question)
	line, err := r.lines.next(ctx)
	if err != nil {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(line)); a != "y" && a != "yes" {
		return errors.New("not confirmed; nothing was sent")
	}
	return nil
}

// free makes sure that no instrument plays into the same interface: what it
// sends would be measured as well.
func (r *calibrateRun) free(ctx context.Context) error {
	d, err := stateDirPath(r.stateDir)
	if err != nil {
		return err
	}
	s, err := fetchStatus(ctx, socketPath(d))
	if err != nil {
		return nil //nolint:nilerr // none is running
	}
	mine := r.rig.Device.Settings(r.device).Backend
	if s.Case == nil && s.Audio.Backend != mine && mine != "" {
		return nil
	}
	return fmt.Errorf("the device is busy: the instrument plays (process %d, %s on %s), and what it sends would be measured too; end it, then calibrate", s.PID, s.Audio.Device, s.Audio.Backend)
}

// path is where the result is kept.
func (r *calibrateRun) path() string {
	return calibrationStore().Path(r.stamp(&calibration.Document{Direction: r.direction}))
}

func (r *calibrateRun) stamp(d *calibration.Document) *calibration.Document {
	host, _ := os.Hostname()
	d.Stamp(r.rig.CalibrationName(), r.target.Name, r.target.Channel+1, r.target.FullScale, host, time.Now())
	if r.note != "" {
		d.Conditions.Note = strings.TrimSpace(r.note + ". " + d.Conditions.Note)
	}
	return d
}

// measure opens the bench and does the work. Whatever happens, the voltages
// come to rest.
func (r *calibrateRun) measure(ctx context.Context, work func(b calibration.Bench, p func(calibration.Progress)) (*calibration.Document, error)) error {
	interrupted := errors.New("interrupted: the voltages are at rest, and nothing was kept")
	b, err := openBench(ctx, r.rig, r.output, r.input, r.benchOptions, r.say)
	switch {
	case err != nil && ctx.Err() != nil:
		return interrupted // while the device opened
	case err != nil:
		return err
	}
	show := &progressLine{w: r.say, live: isTerminal(r.say), begun: time.Now()}
	var d *calibration.Document
	landed(func() { d, err = work(b, show.tell) })
	show.clear()
	if e := b.Close(); err == nil {
		err = e
	}
	if err != nil {
		if errors.Is(err, context.Canceled) || ctx.Err() != nil {
			return interrupted
		}
		return fmt.Errorf("%w; nothing was kept", err)
	}
	return r.keep(r.stamp(d))
}

// keep saves a calibration and shows what it is.
func (r *calibrateRun) keep(d *calibration.Document) error {
	store := calibrationStore()
	if store.Dir == "" {
		return errors.New("this system has no folder for configuration; set HOME or XDG_CONFIG_HOME")
	}
	path := store.Path(d)
	// A cable that was pulled in the middle looks like this.
	if a, b := d.After.Worst, d.Before.Worst; a > b && a > 2 {
		return fmt.Errorf("with the calibration it is %.3g cents off, and %.3g without: something changed in between; nothing was kept", a, b)
	}
	report := driftSince(d, path, true)
	if err := d.Save(path); err != nil {
		return err
	}
	if err := drawPlot(r.svg, d, report); err != nil {
		return err
	}
	out := r.cmd.OutOrStdout()
	if r.json {
		return errors.Join(printJSON(out, map[string]any{"calibration": d, "drift": driftJSON(report), "path": path}), r.takenOver(path))
	}
	printCalibration(out, d, report)
	fmt.Fprintf(out, "kept in %s\n", path)
	if err := r.takenOver(path); err != nil {
		return err
	}
	if j := r.target; d.Method == calibration.MethodMeter && j.Sure == rig.Unknown {
		full := j.FullScale / d.Gain
		if d.Direction == calibration.Input {
			full = j.FullScale * d.Gain
		}
		fmt.Fprintf(out, "full scale of %s is %.4g V by your meter: write full_scale: %.4g to it in the rig %s, and it may give more than %g V\n", j.Name, full, full, r.rig.Name, rig.SafeVolts)
	}
	good := 0.5 // cents
	if d.Method == calibration.MethodMeter {
		good = 5 // 4 mV; a voltmeter has no more
	}
	if w := d.After.Worst; w > good {
		fmt.Fprintf(out, "the worst is %.2f cents off: what is measured may not be steady; is everything warm, and the cable short?\n", w)
	}
	return nil
}

// driftSince compares a calibration with those before it; nil where there are
// none. Current tells that what is at path is the last one and not the
// calibration itself.
func driftSince(d *calibration.Document, path string, current bool) *calibration.DriftReport {
	past, _ := calibration.Past(path) // one that cannot be read has nothing to say
	if current {
		if last, err := calibration.Load(path); err == nil {
			past = append(past, last)
		}
	}
	if len(past) == 0 {
		return nil
	}
	report, err := calibration.Drift(past, d)
	if err != nil {
		return nil
	}
	return report
}

func driftJSON(r *calibration.DriftReport) any {
	if r == nil {
		return nil
	}
	number := func(v float64) any {
		if math.IsNaN(v) {
			return nil
		}
		return v
	}
	notes := []any{}
	for _, n := range r.Notes {
		notes = append(notes, map[string]any{"note": n.Note, "volts": n.Volts, "cents": n.Cents, "trend": number(n.Trend)})
	}
	return map[string]any{"since": r.Since, "until": r.Until, "shift": r.Shift, "scale": r.Scale, "rest": r.Rest, "worst": r.Worst, "at": r.At,
		"shiftTrend": number(r.ShiftTrend), "scaleTrend": number(r.ScaleTrend), "count": r.Count, "moved": r.Moved, "notes": notes}
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func drawPlot(path string, d *calibration.Document, r *calibration.DriftReport) error {
	if path == "" {
		return nil
	}
	if err := writeWhole(path, func(w io.Writer) error { return d.WriteSVG(w, r) }); err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	return nil
}

// columns is how wide a terminal is.
func columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if c, _, err := term.GetSize(int(f.Fd())); err == nil && c > 40 {
			return min(c, 160)
		}
	}
	return 100
}

// printCalibration shows a calibration in the terminal.
func printCalibration(w io.Writer, d *calibration.Document, r *calibration.DriftReport) {
	fmt.Fprintf(w, "%s, %s %d of %s, %s, by %s on %s\n", d.Jack, d.Direction, d.Channel, d.Interface, d.Standard, d.Method, d.Made.Local().Format("2006-01-02 15:04"))
	c := d.Conditions
	var facts []string
	add := func(is bool, format string, a ...any) {
		if is {
			facts = append(facts, fmt.Sprintf(format, a...))
		}
	}
	add(true, "offset %+.5f V", d.Offset)
	add(true, "gain %.6f", d.Gain)
	add(d.Transpose != 0, "sounds %+d semitones", d.Transpose)
	add(len(d.Table) > 0, "%d in the table", len(d.Table))
	add(c.Seconds > 0, "%s", time.Duration(c.Seconds*float64(time.Second)).Round(time.Second))
	add(c.Drift != 0, "drift %+.2f cents a minute", c.Drift)
	add(c.Noise > 0, "noise %.3f cents", c.Noise)
	add(c.Settle > 0, "settles in %.2f s", c.Settle)
	fmt.Fprintln(w, strings.Join(facts, ", "))
	if c.Note != "" {
		fmt.Fprintln(w, c.Note)
	}
	fmt.Fprint(w, d.Text(columns(w), 7, nil))
	if r != nil {
		fmt.Fprint(w, r.Text(columns(w)))
	}
}

// progressLine shows what a measurement is at: one line that is written anew in
// a terminal, and elsewhere only what changes seldom.
type progressLine struct {
	w     io.Writer
	live  bool
	begun time.Time
	stage string
	shown bool
}

func (p *progressLine) clear() {
	if p.live && p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

func (p *progressLine) tell(s calibration.Progress) {
	if s.Remark != "" {
		p.clear()
		fmt.Fprintln(p.w, s.Remark)
		return
	}
	if !p.live {
		if s.Stage != p.stage {
			p.stage = s.Stage
			fmt.Fprintf(p.w, "%3.0f %%  %s\n", s.Percent, s.Stage)
		}
		return
	}
	left := ""
	if spent := time.Since(p.begun); s.Percent > 5 && s.Percent < 100 {
		left = fmt.Sprintf("  %s left", time.Duration(float64(spent)*(100-s.Percent)/s.Percent).Round(time.Second))
	}
	name := fmt.Sprintf("%+.4f V", s.Volts)
	if s.Note >= 0 {
		name = fmt.Sprintf("%-3s %s", calibration.NoteName(s.Note), name)
	}
	off := "       "
	unit := "cents"
	if s.Hertz == 0 {
		unit = "mV"
	}
	if !math.IsNaN(s.Cents) {
		off = fmt.Sprintf("%+8.2f %s", s.Cents, unit)
	}
	if s.Hertz > 0 {
		off = fmt.Sprintf("%9.3f Hz %s", s.Hertz, off)
	}
	state := "…"
	if s.Settled {
		state = "settled"
	}
	line := fmt.Sprintf("%3.0f %%  %s  %s  %s  %s%s", s.Percent, s.Stage, name, off, state, left)
	if n := columns(p.w) - 1; len([]rune(line)) > n {
		line = string([]rune(line)[:n])
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	p.shown = true
}

// lineReader reads what the player types, one line at a time, without holding
// up who is interrupted.
type lineReader struct {
	in    io.Reader
	lines chan string
}

func (l *lineReader) next(ctx context.Context) (string, error) {
	if l.lines == nil {
		l.lines = make(chan string)
		go func() {
			defer close(l.lines)
			s := bufio.NewScanner(l.in)
			for s.Scan() {
				l.lines <- s.Text()
			}
		}()
	}
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case line, ok := <-l.lines:
		if !ok {
			return "", errors.New("there is nobody who answers")
		}
		return line, nil
	}
}

// standardOf is how a jack's notes become volts.
func standardOf(j *rig.Jack) calibration.Standard {
	if j == nil || j.Role != rig.Pitch {
		return calibration.Standard{}
	}
	return calibration.Standard{Kind: calibration.Kind(j.Standard.Scale), Volts: j.Standard.Volts, Hertz: j.Standard.Hertz}
}

func calibrateEarCommand() *cobra.Command {
	o := &calibrateOptions{}
	e := calibration.Ear{}
	var from, to, transpose string
	c := &cobra.Command{
		Use: "ear --jack OUTPUT --input INPUT", Short: "Calibrate an output with your own oscillator, by its pitch", Args: cobra.NoArgs,
		Long: `Plays notes on your oscillator, whose pitch input is on the jack and whose sound
is on the input, listens until each has settled, and bends the table until they
are in tune. It takes four to six minutes for eight octaves of semitones. Let
the case warm up first, and leave the oscillator's knobs alone. Notes that do not
settle, or whose repeats differ by more than two cents, are left out and named.`,
		Example: `  k8s-synth calibrate ear --jack vco --input listen
  k8s-synth calibrate ear --jack vco --input listen --from C2 --to C7 --step 2 -o vco.svg`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.output == "" || o.input == "" {
				return usageError{errors.New("name the output with --jack and the input that hears the oscillator with --input")}
			}
			r, err := o.start(cmd)
			if err != nil {
				return err
			}
			if err := cmp.Or(between("step", e.Step, 1, 24), between("repeats", e.Repeats, 2, 20), between("passes", e.Passes, 2, 20)); err != nil {
				return err
			}
			if !(e.Aim > 0 && e.Aim <= 100) {
				return usageError{fmt.Errorf("--aim %g: expected more than 0 and at most 100 cents", e.Aim)}
			}
			r.target, r.direction = r.output, calibration.Output
			e.Standard = standardOf(r.output)
			for _, n := range []struct {
				flag, text string
				to         *int
			}{{"from", from, &e.From}, {"to", to, &e.To}} {
				if n.text == "" {
					continue
				}
				if *n.to, err = calibration.ParseNote(n.text); err != nil {
					return usageError{fmt.Errorf("--%s: %w", n.flag, err)}
				}
			}
			if (from == "") != (to == "") {
				return usageError{errors.New("--from and --to go together")}
			}
			if from != "" && e.From >= e.To {
				return usageError{fmt.Errorf("--from %s is not below --to %s", from, to)}
			}
			if transpose != "" {
				n, err := strconv.Atoi(transpose)
				if err != nil || n < -60 || n > 60 {
					return usageError{fmt.Errorf("--transpose %q: expected semitones from -60 to 60", transpose)}
				}
				e.Transpose = &n
			}
			plan := []string{
				"by ear: " + r.jackText(r.output, "output") + ", into the oscillator's pitch input",
				r.jackText(r.input, "input") + ", hears the oscillator",
			}
			if e.From != e.To {
				plan = append(plan, fmt.Sprintf("notes %s to %s: about %.3f to %.3f V, and a few volts around their middle to find the oscillator", calibration.NoteName(e.From), calibration.NoteName(e.To), e.Standard.VoltsOf(float64(e.From)), e.Standard.VoltsOf(float64(e.To))))
			} else {
				plan = append(plan, fmt.Sprintf("up to eight octaves of what the oscillator sounds between 30 Hz and 8 kHz, from %.4g to %.4g V at most", max(r.output.Min, -r.output.FullScale), min(r.output.Max, r.output.FullScale)))
			}
			var doubts []string
			const oscillatorPeak = 5.0 // of the rack's audio, and some give twice that
			if r.input.FullScale < oscillatorPeak {
				doubts = append(doubts, fmt.Sprintf("oscillators of a rack give ±%g V and more, and the input takes ±%.4g V: turn the oscillator's level down, or use an attenuator", oscillatorPeak, r.input.FullScale))
			}
			if r.input.Sure == rig.Unknown {
				doubts = append(doubts, fmt.Sprintf("nobody knows what %s takes; an oscillator gives ±%g V and more", r.input.Name, oscillatorPeak))
			}
			ctx := cmd.Context()
			if err := r.agree(ctx, plan, doubts); err != nil {
				return dryRunIsFine(err)
			}
			return r.measure(ctx, func(b calibration.Bench, p func(calibration.Progress)) (*calibration.Document, error) {
				e.Progress = p
				e.Retune = r.retune
				return e.Run(ctx, b)
			})
		},
	}
	o.flags(c)
	f := c.Flags()
	f.StringVar(&o.output, "jack", "", "the rig's output that is calibrated")
	f.StringVar(&o.input, "input", "", "the rig's input that hears the oscillator")
	f.StringVar(&from, "from", "", "lowest note, such as C2 or 36")
	f.StringVar(&to, "to", "", "highest note")
	f.IntVar(&e.Step, "step", 1, "semitones from note to note")
	f.IntVar(&e.Repeats, "repeats", 2, "visits of each note in the first pass")
	f.IntVar(&e.Passes, "passes", 6, "passes over all notes at most")
	f.Float64Var(&e.Aim, "aim", 0.2, "residual at which it is done, in cents")
	f.StringVar(&transpose, "transpose", "", "semitones that the oscillator is to sound above its notes (default: the nearest octave)")
	return c
}

// retune asks the player to turn the tune knob.
func (r *calibrateRun) retune(ctx context.Context, t calibration.Tuning) (bool, error) {
	way := "down"
	if t.Semitones < 0 {
		way = "up"
	}
	text := fmt.Sprintf("the oscillator sounds %.2f Hz, %+.2f semitones from %s: turn its tune knob %s by %.2f semitones", t.Hertz, t.Semitones, calibration.NoteName(t.Note), way, math.Abs(t.Semitones))
	if isTerminal(r.say) {
		fmt.Fprint(r.say, "\r\x1b[K")
	}
	if !r.interactive() || r.yes {
		fmt.Fprintln(r.say, text+"; it is calibrated as it is")
		return false, nil
	}
	fmt.Fprintln(r.say, text)
	fmt.Fprint(r.say, "Enter when it is done, or n to calibrate it as it is: ")
	line, err := r.lines.next(ctx)
	if err != nil {
		return false, err
	}
	return !strings.HasPrefix(strings.ToLower(strings.TrimSpace(line)), "n"), nil
}

func dryRunIsFine(err error) error {
	if errors.Is(err, errDryRun) {
		return nil
	}
	return err
}

func calibrateLoopCommand() *cobra.Command {
	o := &calibrateOptions{}
	l := calibration.Loop{}
	var side string
	c := &cobra.Command{
		Use: "loop --jack OUTPUT --input INPUT", Short: "Calibrate an output or an input by a cable from one to the other", Args: cobra.NoArgs,
		Long: `Sends many levels through a cable from the jack to the input. One of the two is
the reference and taken for true, by its own calibration where it has one: a
loop tells only what both together are off by. Without a reference that was
measured, the volts of the result are those of the interface's profile.`,
		Example: `  k8s-synth calibrate loop --jack pitch1 --input in1 --calibrate output
  k8s-synth calibrate loop --jack pitch1 --input in1 --calibrate input --from -4 --to 4`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.output == "" || o.input == "" {
				return usageError{errors.New("name the output with --jack and the input with --input; a cable leads from one to the other")}
			}
			r, err := o.start(cmd)
			if err != nil {
				return err
			}
			if err := cmp.Or(between("levels", l.Levels, 3, 500), between("repeats", l.Repeats, 1, 20)); err != nil {
				return err
			}
			reference := r.input
			switch side {
			case "output":
				l.Calibrate, r.target, r.direction = calibration.Output, r.output, calibration.Output
			case "input":
				l.Calibrate, r.target, r.direction, reference = calibration.Input, r.input, calibration.Input, r.output
			default:
				return usageError{fmt.Errorf("--calibrate is output or input, got %q", side)}
			}
			other := calibration.Input
			if l.Calibrate == calibration.Input {
				other = calibration.Output
			}
			known, err := calibrationStore().Open(r.rig.CalibrationName(), reference.Name, other, reference.Channel+1)
			if err != nil {
				return err
			}
			l.Reference = fmt.Sprintf("%s %s as its profile says, ±%.4g V", other, reference.Name, reference.FullScale)
			switch {
			case known == nil:
			case known.Method == calibration.MethodEar:
				return usageError{fmt.Errorf("%s was calibrated by ear: its curve is of an oscillator, not of volts; calibrate it by voltmeter, or move its file away", reference.Name)}
			default:
				if l.Known, err = known.CurveFor(reference.FullScale); err != nil {
					return err
				}
				l.Reference = fmt.Sprintf("%s %s as calibrated by %s on %s", other, reference.Name, known.Method, known.Made.Format(time.DateOnly))
			}
			low, high := max(r.output.Min, -r.output.FullScale), min(r.output.Max, r.output.FullScale)
			if l.From == l.To {
				l.From, l.To = low, high
			}
			if err := levelsWithin(l.From, l.To, low, high); err != nil {
				return err
			}
			plan := []string{
				fmt.Sprintf("by loop: the %s is calibrated, the reference is %s", side, l.Reference),
				r.jackText(r.output, "output"), "a cable from there to", r.jackText(r.input, "input"),
				fmt.Sprintf("%d levels from %.4g to %.4g V", l.Levels, l.From, l.To),
			}
			var doubts []string
			if most := max(-l.From, l.To); most > r.input.FullScale {
				doubts = append(doubts, fmt.Sprintf("up to %.4g V are sent, and the input takes ±%.4g V; --from and --to send less", most, r.input.FullScale))
			}
			if r.input.Sure == rig.Unknown {
				doubts = append(doubts, fmt.Sprintf("nobody knows what %s takes; up to %.4g V are sent", r.input.Name, max(-l.From, l.To)))
			}
			ctx := cmd.Context()
			if err := r.agree(ctx, plan, doubts); err != nil {
				return dryRunIsFine(err)
			}
			return r.measure(ctx, func(b calibration.Bench, p func(calibration.Progress)) (*calibration.Document, error) {
				l.Progress = p
				result, err := l.Run(ctx, b)
				if err != nil {
					return nil, err
				}
				fmt.Fprintf(r.say, "both together: gain %.6f, offset %+.5f V, nonlinearity %.3g mV, noise %.3g mV\n", result.Gain, result.Offset, 1000*result.INL, 1000*result.Noise)
				return result.Document, nil
			})
		},
	}
	o.flags(c)
	f := c.Flags()
	f.StringVar(&o.output, "jack", "", "the rig's output")
	f.StringVar(&o.input, "input", "", "the rig's input")
	f.StringVar(&side, "calibrate", "output", "which of the two is calibrated: output or input")
	f.Float64Var(&l.From, "from", 0, "lowest level in volts (default: the output's limit)")
	f.Float64Var(&l.To, "to", 0, "highest level in volts")
	f.IntVar(&l.Levels, "levels", 41, "how many levels")
	f.IntVar(&l.Repeats, "repeats", 2, "how often each is measured")
	return c
}

func calibrateMeterCommand() *cobra.Command {
	o := &calibrateOptions{}
	m := calibration.Meter{}
	c := &cobra.Command{
		Use: "meter (--jack OUTPUT | --input INPUT)", Short: "Calibrate a jack by what your voltmeter shows", Args: cobra.NoArgs,
		Long: `Sends a few voltages and asks what your voltmeter shows between tip and sleeve of
a cable in the jack; of an input, it asks you to put a few steady voltages on it
and what they are. Answers are volts, such as 1.024 or -2,5; or millivolts with
their unit, such as 1024 mV. "u" takes the last one back, "s" leaves one out.`,
		Example: "  k8s-synth calibrate meter --jack out3\n  k8s-synth calibrate meter --input in1 --from -5 --to 5 --levels 5",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (o.output == "") == (o.input == "") {
				return usageError{errors.New("name an output with --jack, or an input with --input")}
			}
			r, err := o.start(cmd)
			if err != nil {
				return err
			}
			if err := between("levels", m.Levels, 2, 100); err != nil {
				return err
			}
			var plan []string
			if r.output != nil {
				r.target, r.direction, m.Calibrate = r.output, calibration.Output, calibration.Output
				low, high := max(r.output.Min, -r.output.FullScale), min(r.output.Max, r.output.FullScale)
				if m.From == m.To {
					m.From, m.To = low, high
				}
				if err := levelsWithin(m.From, m.To, low, high); err != nil {
					return err
				}
				plan = []string{"by voltmeter: " + r.jackText(r.output, "output"), fmt.Sprintf("%d levels from %.4g to %.4g V, the low ones first; plug nothing but the meter in", m.Levels, m.From, m.To)}
			} else {
				r.target, r.direction, m.Calibrate = r.input, calibration.Input, calibration.Input
				if m.From == m.To {
					m.From, m.To = -0.9*r.input.FullScale, 0.9*r.input.FullScale
				}
				if err := levelsWithin(m.From, m.To, -r.input.FullScale, r.input.FullScale); err != nil {
					return err
				}
				plan = []string{"by voltmeter: " + r.jackText(r.input, "input"), fmt.Sprintf("%d steady voltages near %.4g to %.4g V, from you; nothing is sent", m.Levels, m.From, m.To)}
			}
			ctx := cmd.Context()
			if err := r.agree(ctx, plan, nil); err != nil {
				return dryRunIsFine(err)
			}
			m.Ask = r.reading
			return r.measure(ctx, func(b calibration.Bench, _ func(calibration.Progress)) (*calibration.Document, error) {
				return m.Run(ctx, b)
			})
		},
	}
	o.flags(c)
	f := c.Flags()
	f.StringVar(&o.output, "jack", "", "the rig's output that is calibrated")
	f.StringVar(&o.input, "input", "", "the rig's input that is calibrated")
	f.Float64Var(&m.From, "from", 0, "lowest level in volts (default: the jack's limit)")
	f.Float64Var(&m.To, "to", 0, "highest level in volts")
	f.IntVar(&m.Levels, "levels", 9, "how many levels")
	f.BoolVar(&m.NoVerify, "no-verify", false, "leave out the readings that check the result")
	return c
}

// between says what is wrong with a flag's number.
func between(flag string, n, low, high int) error {
	if n >= low && n <= high {
		return nil
	}
	return usageError{fmt.Errorf("--%s %d: expected %d to %d", flag, n, low, high)}
}

// fullScaleFlag says what is wrong with --full-scale; 0 leaves it open.
func fullScaleFlag(v float64) error {
	if v == 0 || v >= 0.1 && v <= 100 {
		return nil
	}
	return usageError{fmt.Errorf("--full-scale %g: expected 0.1 to 100 V", v)}
}

// levelsWithin says what is wrong with a range of levels that are to be sent.
func levelsWithin(from, to, low, high float64) error {
	if from < to && from >= low && to <= high {
		return nil
	}
	return usageError{fmt.Errorf("--from %g and --to %g: expected two voltages from %.4g to %.4g V, the first below the second", from, to, low, high)}
}

// reading asks what the voltmeter shows, until the answer is a voltage.
func (r *calibrateRun) reading(ctx context.Context, q calibration.Question) (float64, error) {
	for {
		fmt.Fprintf(r.say, "%s (V, u, s)? ", q.Prompt)
		line, err := r.lines.next(ctx)
		if err != nil {
			return 0, err
		}
		v, err := parseReading(line)
		if err == nil || errors.Is(err, calibration.ErrUndo) || errors.Is(err, calibration.ErrSkip) {
			return v, err
		}
		fmt.Fprintln(r.say, err)
	}
}

// parseReading reads what somebody types off a voltmeter.
func parseReading(line string) (float64, error) {
	s := strings.ToLower(strings.TrimSpace(line))
	switch s {
	case "u", "undo":
		return 0, calibration.ErrUndo
	case "s", "skip":
		return 0, calibration.ErrSkip
	}
	scale := 1.0
	if t, ok := strings.CutSuffix(s, "mv"); ok {
		s, scale = strings.TrimSpace(t), 1e-3
	} else if t, ok := strings.CutSuffix(s, "v"); ok {
		s = strings.TrimSpace(t)
	}
	s = strings.ReplaceAll(strings.Replace(s, ",", ".", 1), "−", "-")
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0, fmt.Errorf("%q is no voltage; type what the meter shows, such as 1.024 or 1024 mV, u to take the last one back, or s to leave this one out", strings.TrimSpace(line))
	}
	return v * scale, nil
}

// calibrationPick are the flags that find a calibration that is kept.
type calibrationPick struct {
	rig   string
	input bool
}

func (p *calibrationPick) flags(c *cobra.Command) {
	c.Flags().StringVar(&p.rig, "rig", "", "only of this rig's interface")
	c.Flags().BoolVar(&p.input, "input", false, "an input of that name")
}

// find reads the calibration of a jack, or of a file.
func (p *calibrationPick) find(name string) (*calibration.Document, string, error) {
	if strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, ".yaml") {
		d, err := calibration.Load(name)
		return d, name, err
	}
	store := calibrationStore()
	all, err := store.List()
	iface := ""
	if p.rig != "" {
		r, e := openRig(p.rig)
		if e != nil {
			return nil, "", e
		}
		if r != nil {
			iface = r.CalibrationName()
		}
	}
	var found []*calibration.Document
	var names []string
	for _, d := range all {
		names = append(names, d.Jack)
		if d.Jack == name && (iface == "" || d.Interface == iface) && (d.Direction == calibration.Input) == p.input {
			found = append(found, d)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], store.Path(found[0]), nil
	case len(found) > 1:
		var at []string
		for _, d := range found {
			at = append(at, fmt.Sprintf("channel %d of %s", d.Channel, d.Interface))
		}
		return nil, "", usageError{fmt.Errorf("%s is calibrated on %s; name the rig with --rig, or the file", name, strings.Join(at, ", "))}
	case err != nil:
		return nil, "", err
	}
	return nil, "", fmt.Errorf("there is no calibration of %q; there are %s", name, orNone(names))
}

func calibrateShowCommand() *cobra.Command {
	var p calibrationPick
	var asJSON bool
	var svg string
	c := &cobra.Command{
		Use: "show [JACK]", Short: "List the calibrations of this machine, or show one", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if len(args) == 0 {
				all, err := calibrationStore().List()
				if asJSON {
					if all == nil {
						all = []*calibration.Document{}
					}
					return errors.Join(printJSON(out, all), err)
				}
				if len(all) == 0 && err == nil {
					fmt.Fprintf(out, "there are none in %s\n", calibrationStore().Dir)
					return nil
				}
				t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "JACK\tINTERFACE\tCHANNEL\tMADE\tBY\tOFFSET\tGAIN\tBEFORE\tAFTER\tLEFT OUT")
				for _, d := range all {
					fmt.Fprintf(t, "%s\t%s\t%s %d\t%s\t%s\t%+.4f V\t%.5f\t%s\t%s\t%d\n", d.Jack, d.Interface, d.Direction, d.Channel, d.Made.Format(time.DateOnly), d.Method, d.Offset, d.Gain, worst(d.Before), worst(d.After), len(d.LeftOut))
				}
				return errors.Join(t.Flush(), err)
			}
			d, _, err := p.find(args[0])
			if err != nil {
				return err
			}
			if err := drawPlot(svg, d, nil); err != nil {
				return err
			}
			if asJSON {
				return printJSON(out, d)
			}
			if host, err := os.Hostname(); err == nil && d.Machine != "" && d.Machine != host {
				fmt.Fprintf(out, "measured on %s, this is %s: its interface may be another one\n", d.Machine, host)
			}
			printCalibration(out, d, nil)
			return nil
		},
	}
	p.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVarP(&svg, "output", "o", "", "SVG file for the plot")
	return c
}

func worst(r calibration.Residual) string {
	if math.IsNaN(r.Worst) {
		return "-"
	}
	return fmt.Sprintf("%.3g cents", r.Worst)
}

func calibrateDriftCommand() *cobra.Command {
	var p calibrationPick
	var asJSON bool
	var svg string
	c := &cobra.Command{
		Use: "drift JACK", Short: "Show what a channel has drifted by since it was calibrated before", Args: one(`jack (see "k8s-synth calibrate show")`),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, path, err := p.find(args[0])
			if err != nil {
				return err
			}
			past, err := calibration.Past(path)
			if err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), err) // the others can still be compared
			}
			r, err := calibration.Drift(past, d)
			if err != nil {
				return err
			}
			if err := drawPlot(svg, d, r); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), driftJSON(r))
			}
			_, err = io.WriteString(cmd.OutOrStdout(), r.Text(columns(cmd.OutOrStdout())))
			return err
		},
	}
	p.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringVarP(&svg, "output", "o", "", "SVG file for the plot, with the drift")
	return c
}

func calibrateImportCommand() *cobra.Command {
	o := &calibrateOptions{}
	var fullScale float64
	var transpose int
	c := &cobra.Command{
		Use: "import FILE --jack OUTPUT", Short: "Take over a calibration of Silent Way's plain text", Args: one("file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.output == "" {
				return usageError{errors.New("name the output that it is of with --jack")}
			}
			r, err := o.start(cmd)
			if err != nil {
				return err
			}
			r.target, r.direction = r.output, calibration.Output
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			notes, err := calibration.ParseSilentWay(args[0], data)
			if err != nil {
				return err
			}
			if err := fullScaleFlag(fullScale); err != nil {
				return err
			}
			if fullScale == 0 {
				fullScale = r.output.FullScale
			}
			d := &calibration.Document{Standard: standardOf(r.output), Transpose: transpose, Reference: filepath.Base(args[0])}
			if err := d.FromSilentWay(notes, fullScale); err != nil {
				return err
			}
			r.stamp(d)
			d.FullScale = fullScale
			if r.dry {
				printCalibration(cmd.OutOrStdout(), d, nil)
				return nil
			}
			return r.keep(d)
		},
	}
	f := c.Flags()
	f.StringVar(&o.rig, "rig", "", `the rig, by name or path (default: the one named "default")`)
	f.StringVar(&o.output, "jack", "", "the rig's output that it is of")
	f.StringVar(&o.note, "note", "", "words to keep with it")
	f.StringVarP(&o.svg, "output", "o", "", "SVG file for the plot")
	f.BoolVar(&o.json, "json", false, "print the calibration as JSON")
	f.BoolVar(&o.dry, "dry-run", false, "show it and keep nothing")
	f.StringVar(&o.stateDir, "state-dir", "", "state directory of an instrument that may be running, which takes it over")
	f.Float64Var(&fullScale, "full-scale", 0, "volts at a CV of 1, where the file was made (default: the jack's)")
	f.IntVar(&transpose, "transpose", 0, "semitones that the oscillator sounds above the notes it is played")
	return c
}

func calibrateExportCommand() *cobra.Command {
	var p calibrationPick
	var fullScale float64
	var file string
	var force bool
	c := &cobra.Command{
		Use: "export JACK", Short: "Write a calibration as Silent Way's plain text", Args: one(`jack (see "k8s-synth calibrate show")`),
		RunE: func(cmd *cobra.Command, args []string) error {
			d, _, err := p.find(args[0])
			if err != nil {
				return err
			}
			if err := fullScaleFlag(fullScale); err != nil {
				return err
			}
			if fullScale == 0 {
				fullScale = d.FullScale
			}
			if fullScale == 0 {
				return usageError{errors.New("the file does not say what full scale is; name the volts with --full-scale")}
			}
			write := func(w io.Writer) error { return d.WriteSilentWay(w, fullScale) }
			if file == "" || file == "-" {
				return write(cmd.OutOrStdout())
			}
			if _, err := os.Lstat(file); err == nil && !force {
				return fmt.Errorf("%s is there already, and is not overwritten; name another file, or --force", file)
			}
			return writeWhole(file, write)
		},
	}
	p.flags(c)
	c.Flags().BoolVar(&force, "force", false, "overwrite the file")
	c.Flags().StringVarP(&file, "output", "o", "", "file to write (default: standard output)")
	c.Flags().Float64Var(&fullScale, "full-scale", 0, "volts at a CV of 1 (default: what the calibration was measured with)")
	return c
}
