package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

func takeCommand() *cobra.Command {
	c := &cobra.Command{Use: "take", Short: "List, show, import and export takes", Args: cobra.NoArgs,
		Long: `A take is all that came in and happened while the instrument played: what hands
and MIDI did, every transition of the cluster with its revision and time, scenes,
edits of the patch. "play --take FILE" records one, "play --replay FILE" plays it
again on the live instrument, "render --take FILE" renders it as it sounded.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	c.AddCommand(takeListCommand(), takeShowCommand(), takeImportCommand(), takeExportCommand(), takeSeekCommand())
	return c
}

func takeSeekCommand() *cobra.Command {
	c := doCommand("seek TIME", "Play the take that is replayed from another place", `Asks the running instrument, which plays a take with --replay, to go on from a
time of the take: seconds, m:ss, h:mm:ss. All that happened before stands as it
stood then; nothing that sounds is left hanging.`,
		func(args []string) string { return actSeek + ":" + args[0] }, cobra.ExactArgs(1))
	c.Example = "  k8s-synth take seek 1:23"
	return c
}

func takeListCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{Use: "list [DIR…]", Short: "List the takes in folders (default: this one, and that of your scenes)",
		RunE: func(cmd *cobra.Command, dirs []string) error {
			if len(dirs) == 0 {
				dirs = []string{"."}
				if d, err := scenes.DefaultDir(); err == nil {
					if _, err := os.Stat(d); err == nil {
						dirs = append(dirs, d)
					}
				}
			}
			return listTakes(cmd.OutOrStdout(), dirs, asJSON)
		}}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

// takeEntry is a take in a list.
type takeEntry struct {
	Path    string    `json:"path"`
	Time    time.Time `json:"time"`
	Seconds float64   `json:"seconds,omitempty"` // 0 where it does not say
	Scene   string    `json:"scene,omitempty"`
	Bytes   int64     `json:"bytes"`
	Version int       `json:"version"`
	Err     string    `json:"error,omitempty"`
}

func listTakes(w io.Writer, dirs []string, asJSON bool) error {
	all := []takeEntry{}
	for _, dir := range dirs {
		files, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("take list: %w", err)
		}
		for _, f := range files {
			if f.IsDir() || !strings.HasSuffix(f.Name(), ".jsonl") {
				continue
			}
			e := takeEntry{Path: filepath.Join(dir, f.Name())}
			if info, err := f.Info(); err == nil {
				e.Bytes = info.Size()
			}
			t, err := scenes.OpenTake(e.Path)
			if err != nil {
				e.Err, _, _ = strings.Cut(err.Error(), "\n")
				all = append(all, e)
				continue
			}
			e.Time, e.Version = t.Head.Time, t.Head.Version
			if s, err := sceneOfTake(t); err == nil {
				e.Scene = s.Name
			}
			if n, ok := scenes.TakeFrames(e.Path); ok {
				e.Seconds = float64(n) / float64(t.Head.Rate)
			}
			t.Close()
			all = append(all, e)
		}
	}
	if asJSON {
		return printJSON(w, all)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TAKE\tRECORDED\tLENGTH\tSCENE\tSIZE")
	for _, e := range all {
		if e.Err != "" {
			fmt.Fprintf(t, "%s\tcannot be read: %s\t\t\t\n", e.Path, e.Err)
			continue
		}
		recorded, length := "", "not ended"
		if e.Version > 1 {
			recorded = e.Time.Local().Format("2006-01-02 15:04:05")
		}
		if e.Seconds > 0 {
			length = clock(e.Seconds)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", e.Path, recorded, length, e.Scene, fileSize(e.Bytes))
	}
	return t.Flush()
}

// clock writes seconds as people read them.
func clock(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second)).Round(100 * time.Millisecond)
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// fileSize writes bytes as people read them.
func fileSize(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%d kB", (n+999)/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// takeSummary is what a take holds.
type takeSummary struct {
	Path     string               `json:"path"`
	Version  int                  `json:"version"`
	Program  string               `json:"program,omitempty"`
	From     string               `json:"from,omitempty"`
	Time     time.Time            `json:"time"`
	Rate     int                  `json:"rate"`
	Channels int                  `json:"channels"`
	Machine  string               `json:"machine,omitempty"`
	Seconds  float64              `json:"seconds"`
	Ended    bool                 `json:"ended"`
	Scenes   []sceneInTake        `json:"scenes"`
	Counts   map[string]int       `json:"counts"`
	Objects  map[string]int       `json:"objects"` // transitions by kind of object
	Sources  map[string]int       `json:"sources"`
	Engine   int                  `json:"engineEvents"`
	Late     int                  `json:"lateEvents"`
	Lost     uint64               `json:"lostLines"`
	First    int64                `json:"firstRevision,omitempty"`
	Last     int64                `json:"lastRevision,omitempty"`
	rows     map[string][]float64 // seconds at which something of a row happened
	crashes  []float64
}

type sceneInTake struct {
	At   float64 `json:"at"`
	Name string  `json:"name"`
}

func summarize(path string) (*takeSummary, error) {
	t, err := scenes.OpenTake(path)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	h := &t.Head
	s := &takeSummary{Path: path, Version: h.Version, Program: h.Program, From: h.From, Time: h.Time, Rate: h.Rate, Channels: h.Channels, Machine: h.Machine,
		Scenes: []sceneInTake{}, Counts: map[string]int{}, Objects: map[string]int{}, Sources: map[string]int{}, rows: map[string][]float64{}}
	if sc, err := sceneOfTake(t); err == nil {
		s.Scenes = append(s.Scenes, sceneInTake{0, sc.Name})
	}
	for {
		l, err := t.Next()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		s.Seconds = max(s.Seconds, l.At.Seconds())
		switch {
		case l.Plan != nil:
			continue
		case l.Applied != nil:
			s.Engine += len(l.Applied)
			for _, a := range l.Applied {
				if a.Plan == 0 && !a.Cut && a.Event.Frame > 0 && a.Event.Frame < a.Frame {
					s.Late++
				}
			}
			continue
		case l.Lost > 0:
			s.Lost += l.Lost
			continue
		case l.Frames > 0:
			s.Ended, s.Seconds = true, float64(l.Frames)/float64(h.Rate)
			continue
		}
		kind, _ := l.Object()
		s.Counts[kind]++
		at := l.At.Seconds()
		if l.Frame > 0 {
			at = float64(l.Frame) / float64(h.Rate)
		}
		row := ""
		switch {
		case l.Transition != nil:
			tr := l.Transition
			s.Objects[tr.Object.Kind]++
			s.Last = max(s.Last, tr.Revision)
			if s.First == 0 {
				s.First = tr.Revision
			}
			if !tr.Quiet {
				row = tr.Object.Kind
			}
			if tr.Field == mapping.FieldReason && tr.New != "" && tr.Object.Kind == mapping.KindPod {
				s.crashes = append(s.crashes, at)
			}
		case l.Set != nil, l.Wiring != nil, l.Mode != nil, l.Panic:
			row = "hands"
			s.Sources[l.Source]++
		case l.MIDI != nil:
			row = "midi in"
			s.Sources[l.Source]++
		case l.Action != nil:
			row = "asked"
		case l.Scene != "":
			row = "scenes"
			if sc, err := t.Scene(l.Scene); err == nil {
				s.Scenes = append(s.Scenes, sceneInTake{at, sc.Name})
			}
		}
		if row != "" {
			s.rows[row] = append(s.rows[row], at)
		}
	}
}

// takeRows is the order of the rows of a picture: causes above effects.
var takeRows = []string{"scenes", "hands", "midi in", "asked", mapping.KindCluster, mapping.KindAPIServer, mapping.KindEtcd, mapping.KindNamespace, mapping.KindNode, mapping.KindComposition,
	mapping.KindCronJob, mapping.KindHPA, mapping.KindDeployment, mapping.KindJob, mapping.KindPod, mapping.KindService, mapping.KindIngress}

// density counts a row into so many columns.
func (s *takeSummary) density(row string, columns int) (counts []int, most int) {
	counts = make([]int, columns)
	for _, at := range s.rows[row] {
		i := min(max(int(at/max(s.Seconds, 1e-9)*float64(columns)), 0), columns-1)
		counts[i]++
		most = max(most, counts[i])
	}
	return counts, most
}

var bars = []rune(" ▁▂▃▄▅▆▇█")

// draw prints what happened when, a line a row.
func (s *takeSummary) draw(w io.Writer, columns int) {
	for _, row := range takeRows {
		counts, most := s.density(row, columns)
		if most == 0 {
			continue
		}
		var b strings.Builder
		for _, n := range counts {
			i := 0
			if n > 0 {
				i = 1 + (n*(len(bars)-2)+most-1)/most
			}
			b.WriteRune(bars[min(i, len(bars)-1)])
		}
		fmt.Fprintf(w, "%12s │%s│ %d\n", row, b.String(), len(s.rows[row]))
	}
	fmt.Fprintf(w, "%12s 0%*s\n", "", columns, clock(s.Seconds))
}

// svg draws the timeline: a lane a row, darker where more happens, scenes named
// and pods that failed marked.
func (s *takeSummary) svg() []byte {
	const left, width, lane, top, columns = 130, 1000, 26, 64, 250
	var b bytes.Buffer
	rows := slices.DeleteFunc(slices.Clone(takeRows), func(r string) bool { return len(s.rows[r]) == 0 })
	height := top + lane*len(rows) + 46
	x := func(at float64) float64 { return left + width*at/max(s.Seconds, 1e-9) }
	esc := func(t string) string {
		return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(t)
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="ui-sans-serif,system-ui,sans-serif" font-size="13" role="img" aria-label="what happened in %s">`+"\n", left+width+70, height, esc(filepath.Base(s.Path)))
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#14161b"/><text x="16" y="26" fill="#f2efe6" font-size="16">%s</text>`+"\n", esc(filepath.Base(s.Path)))
	for i, sc := range s.Scenes {
		fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#e8b44c" stroke-width="1"/><text x="%.1f" y="%d" fill="#e8b44c">%s</text>`+"\n", x(sc.At), x(sc.At), top-12, height-34, x(sc.At)+4, top-6-14*(i%2), esc(sc.Name))
	}
	for i, row := range rows {
		y := top + lane*i
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#b9bdc7" text-anchor="end">%s</text><rect x="%d" y="%d" width="%d" height="%d" fill="#1d2027"/>`+"\n", left-10, y+17, row, left, y+2, width, lane-4)
		counts, most := s.density(row, columns)
		for c, n := range counts {
			if n > 0 {
				fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#6fc3df" opacity="%.2f"/>`+"\n", left+float64(width*c)/columns, y+2, float64(width)/columns, lane-4, 0.35+0.65*float64(n)/float64(most))
			}
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#8b909c">%d</text>`+"\n", left+width+8, y+17, len(s.rows[row]))
		if row == mapping.KindPod {
			for _, at := range s.crashes {
				fmt.Fprintf(&b, `<circle cx="%.1f" cy="%d" r="3" fill="#ff6b5e"/>`+"\n", x(at), y+lane/2)
			}
		}
	}
	for i := range 6 {
		at := s.Seconds * float64(i) / 5
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" fill="#8b909c" text-anchor="middle">%s</text>`+"\n", x(at), height-14, clock(at))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func takeShowCommand() *cobra.Command {
	asJSON, events, force, picture := false, false, false, ""
	c := &cobra.Command{Use: "show TAKE", Short: "Show what is in a take, and when", Args: cobra.ExactArgs(1),
		Example: `  k8s-synth take show night.take.jsonl
  k8s-synth take show night.take.jsonl --events | less
  k8s-synth take show night.take.jsonl --svg night.svg`,
		RunE: func(cmd *cobra.Command, args []string) error {
			w := cmd.OutOrStdout()
			if events {
				return showEvents(w, args[0])
			}
			s, err := summarize(args[0])
			if err != nil {
				return err
			}
			if picture != "" {
				if err := writePicture(args[0], picture, s.svg(), force); err != nil {
					return fmt.Errorf("take show: %w", err)
				}
				fmt.Fprintln(os.Stderr, "wrote", picture)
			}
			if asJSON {
				return printJSON(w, s)
			}
			s.print(w)
			return nil
		}}
	f := c.Flags()
	f.BoolVar(&asJSON, "json", false, "as JSON")
	f.BoolVar(&events, "events", false, "print every event, a line each")
	f.StringVar(&picture, "svg", "", "draw the timeline into an SVG file")
	f.BoolVar(&force, "force", false, "with --svg: replace a file that is there")
	return c
}

// writePicture writes a picture of a take.
func writePicture(take, path string, picture []byte, force bool) error {
	if err := notItself(take, path); err != nil {
		return err
	}
	f, done, err := openOutput(path, 0o666, force)
	if err != nil {
		return err
	}
	_, err = f.Write(picture)
	return done(err)
}

func (s *takeSummary) print(w io.Writer) {
	fmt.Fprintf(w, "%s: take of version %d", s.Path, s.Version)
	if from := cmp.Or(s.From, s.Program); from != "" {
		fmt.Fprintf(w, ", by %s", from)
	}
	fmt.Fprintln(w)
	if s.Version > 1 {
		fmt.Fprintf(w, "recorded %s at %d Hz, %d channels\n", s.Time.Local().Format("2006-01-02 15:04:05 -0700"), s.Rate, s.Channels)
	}
	if s.Machine != "" {
		fmt.Fprintf(w, "machine  %s\n", s.Machine)
		if other := otherMachine(s.Machine); other != "" {
			fmt.Fprintf(w, "WARNING  %s\n", other)
		}
	}
	fmt.Fprintf(w, "length   %s", clock(s.Seconds))
	if !s.Ended && s.Version > 1 {
		fmt.Fprint(w, "; whoever recorded it was stopped")
	}
	fmt.Fprintln(w)
	if s.First > 0 {
		fmt.Fprintf(w, "store    revisions %d … %d\n", s.First, s.Last)
	}
	for _, sc := range s.Scenes {
		fmt.Fprintf(w, "scene    %s at %s\n", sc.Name, clock(sc.At))
	}
	count := func(what string, of map[string]int) {
		if len(of) == 0 {
			return
		}
		keys := slices.SortedFunc(maps.Keys(of), func(a, b string) int { return cmp.Or(cmp.Compare(of[b], of[a]), cmp.Compare(a, b)) })
		var all []string
		for i, k := range keys {
			if i == 12 {
				all = append(all, "…")
				break
			}
			all = append(all, fmt.Sprintf("%s %d", cmp.Or(k, "itself"), of[k]))
		}
		fmt.Fprintf(w, "%-8s %s\n", what, strings.Join(all, ", "))
	}
	count("events", s.Counts)
	count("objects", s.Objects)
	count("hands", s.Sources)
	if s.Engine > 0 {
		fmt.Fprintf(w, "engine   %d events, %d of them late: it can be rendered as it sounded\n", s.Engine, s.Late)
	} else {
		fmt.Fprintln(w, "engine   nothing is known of it: it is played anew")
	}
	if s.Lost > 0 {
		fmt.Fprintf(w, "LOST     %d lines\n", s.Lost)
	}
	fmt.Fprintln(w)
	s.draw(w, 72)
}

// showEvents prints every event.
func showEvents(w io.Writer, path string) error {
	t, err := scenes.OpenTake(path)
	if err != nil {
		return err
	}
	defer t.Close()
	for {
		l, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		row := csvRow(t, &l)
		if row == nil {
			continue
		}
		what := l.Input.String()
		if l.Scene != "" || l.Action != nil || l.Lost > 0 || l.Frames > 0 {
			what = strings.TrimSpace(row[5] + " " + row[9])
		}
		if _, err := fmt.Fprintf(w, "%12.6f %10s  %-10s  %s", l.At.Seconds(), row[2], row[4], what); err != nil {
			return err
		}
		if row[10] != "" {
			fmt.Fprintf(w, "  (%s)", row[10])
		}
		fmt.Fprintln(w)
	}
}

// openOutput opens a file that is to be written, which may not be there unless it
// is to be overwritten. Done puts it into place, or takes it away.
func openOutput(path string, mode fs.FileMode, force bool) (f *os.File, done func(error) error, err error) {
	if err := free(path, force); err != nil {
		return nil, nil, err
	}
	o, err := newOutput(path, mode)
	if err != nil {
		return nil, nil, err
	}
	if f, err = os.OpenFile(o.part, os.O_WRONLY, 0); err != nil {
		return nil, nil, errors.Join(err, o.drop())
	}
	return f, func(err error) error {
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err == nil {
			err = o.keep(force)
		}
		return errors.Join(err, o.drop())
	}, nil
}

func takeExportCommand() *cobra.Command {
	var o struct {
		midi, csv, wav, scene              string
		stems, anew, inputs, force, dryRun bool
	}
	c := &cobra.Command{Use: "export TAKE", Short: "Export a take as a Standard MIDI File, as multitrack WAV, and as a table of events", Args: cobra.ExactArgs(1),
		Long: `Writes what a take holds in forms that other programs read.

--midi: a Standard MIDI File of type 1. Its tracks are the conductor (tempo of
the first Clock, and markers for what happened in the cluster), the notes, gates
and CVs of rules, what went out by MIDI, what CV Outs and Gate Outs sent, what
came in, and a track of controllers for the knobs of each module. The take is
played anew for it.

--wav: a folder of mono files of 32-bit floats that all begin with the take, and
a table of what each holds: each channel of the engine (speakers over 5 V; CV Out
and Gate Out over 10 V, those that the rig had no jack for as well), and with
--stems each output that a cable is in of a module that plays by itself or brings
in what others play (pod, etcd, vco, voice, noise, drum, audio_in; and cv_in,
midi_in and rule, a file a channel over 10 V), before mixers and effects.

--csv: a table (RFC 4180), a row an event.`,
		Example: `  k8s-synth take export night.take.jsonl --midi night.mid --csv night.csv
  k8s-synth take export night.take.jsonl --wav night --stems`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if o.midi == "" && o.csv == "" && o.wav == "" {
				return usageError{errors.New("name what to write with --midi, --wav or --csv")}
			}
			if o.stems && o.wav == "" {
				return usageError{errors.New("--stems goes with --wav")}
			}
			take := args[0]
			if err := notItself(take, o.midi, o.csv, o.wav); err != nil {
				return fmt.Errorf("take export: %w", err)
			}
			var scene *scenes.Scene
			if o.scene != "" {
				if scene, err = openStore().Open(o.scene); err != nil {
					return err
				}
			}
			for _, path := range []string{o.midi, o.csv} {
				if path == "" {
					continue
				}
				if err := free(path, o.force); err != nil && !o.dryRun {
					return fmt.Errorf("take export: %w", err)
				}
			}
			if o.wav != "" && !o.force && !o.dryRun {
				old, err := os.ReadDir(o.wav)
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("take export: %w", err)
				}
				if i := slices.IndexFunc(old, func(f os.DirEntry) bool { return strings.HasSuffix(f.Name(), ".wav") || f.Name() == levelsFile }); i >= 0 {
					return fmt.Errorf("take export: %s has files of an export already, such as %s; name another folder, or --force to replace them", o.wav, old[i].Name())
				}
			}
			if o.dryRun {
				return dryExport(cmd.OutOrStdout(), take, scene, o.midi, o.csv, o.wav, o.stems)
			}
			if o.csv != "" {
				t, err := scenes.OpenTake(take)
				if err != nil {
					return err
				}
				defer t.Close()
				f, done, err := openOutput(o.csv, 0o600, o.force)
				if err != nil {
					return fmt.Errorf("take export: %w", err)
				}
				rows, err := exportCSV(t, f)
				if err = done(err); err != nil {
					return fmt.Errorf("take export: %w", err)
				}
				fmt.Fprintf(os.Stderr, "wrote %s: %d events\n", o.csv, rows)
			}
			if o.midi != "" {
				f, done, err := openOutput(o.midi, 0o666, o.force)
				if err != nil {
					return fmt.Errorf("take export: %w", err)
				}
				s, err := exportMIDI(cmd.Context(), take, scene, f)
				if err = done(err); err != nil {
					return fmt.Errorf("take export: %w", err)
				}
				fmt.Fprintf(os.Stderr, "wrote %s: %d tracks, %d notes\n", o.midi, len(s.tracks), s.notes)
			}
			if o.wav != "" {
				began := time.Now()
				names, src, frames, err := exportWAV(cmd.Context(), take, scene, takeHow{anew: o.anew, deaf: !o.inputs}, o.wav, o.stems, o.force)
				if err != nil {
					return fmt.Errorf("take export: %w", err)
				}
				fmt.Fprintf(os.Stderr, "wrote %d files of %.2f s to %s, %s, in %.1f s\n", len(names), float64(frames)/float64(src.rate), o.wav, src.how(), time.Since(began).Seconds())
				for _, remark := range src.remarks() {
					fmt.Fprintln(os.Stderr, remark)
				}
			}
			return nil
		}}
	f := c.Flags()
	f.StringVar(&o.midi, "midi", "", "Standard MIDI File to write")
	f.StringVar(&o.csv, "csv", "", "table of events to write")
	f.StringVar(&o.wav, "wav", "", "folder to write WAV files to")
	f.BoolVar(&o.stems, "stems", false, "with --wav: a file for each output of a module that makes sound, too")
	f.StringVar(&o.scene, "scene", "", "scene to play it on (default: the take's)")
	f.BoolVar(&o.inputs, "inputs", true, "with --wav: hear what the inputs of the rig captured")
	f.BoolVar(&o.anew, "anew", false, "with --wav: play what came in anew, instead of what it sounded like")
	f.BoolVar(&o.force, "force", false, "write over what is there")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what would be written, and write nothing")
	return c
}

// dryExport says what an export would write.
func dryExport(w io.Writer, take string, scene *scenes.Scene, midiFile, csvFile, dir string, stems bool) error {
	s, err := summarize(take)
	if err != nil {
		return err
	}
	say := func(path, what string) {
		over := ""
		if _, err := os.Lstat(path); err == nil {
			over = ", over what is there"
		}
		fmt.Fprintf(w, "would write %s: %s%s\n", path, what, over)
	}
	if csvFile != "" {
		n := 0
		for _, c := range s.Counts {
			n += c
		}
		say(csvFile, fmt.Sprintf("about %d events", n))
	}
	if midiFile != "" {
		say(midiFile, clock(s.Seconds)+" of music")
	}
	if dir != "" {
		jacks, err := outlets(take, scene)
		if err != nil {
			return err
		}
		what := fmt.Sprintf("%d channels and %d CVs of %s", s.Channels, len(jacks), clock(s.Seconds))
		if stems {
			what += ", and its stems"
		}
		say(dir, what)
	}
	return nil
}

// importOptions are the flags of take import.
type importOptions struct {
	out, scene, namespace string
	pace                  scenes.Pace
	most                  int
	pseudonyms            bool
	force, dryRun         bool
}

func takeImportCommand() *cobra.Command {
	o := importOptions{}
	c := &cobra.Command{Use: "import WATCH…", Short: "Make a take of recorded watches of a cluster", Args: cobra.MinimumNArgs(1),
		Long: `Reads what was recorded of a cluster, without the cluster, and writes a take: an
incident becomes a score. Files are read together and put in order.

Taken are the events of a watch as JSON, {"type":"MODIFIED","object":{…}}, whole
objects and lists of them, one after the other, as kubectl writes them:

    kubectl get pods,deployments,nodes --watch --output-watch-events -o json > watch.json
    kubectl get events --watch -o json > events.json

and what "k8s-synth kube --listen-only" says, other takes, and audit logs whose
policy keeps responses (level RequestResponse). "-" is standard
input. An event may say when it arrived, {"time":"…","type":…,"object":…}; if not,
the times inside the objects tell, which are good to a second: what falls into one
is spread over it. Files are read as they come, however long they are.

Of the objects only names, owners, nodes, paths and what can be heard is kept: no
specs, no labels, no environment, no Secrets and ConfigMaps. --pseudonyms keeps no
name either.

Without --scene a scene is made in which each Deployment that was seen is a chord.`,
		Example: `  k8s-synth take import outage.json -o outage.take.jsonl --speed 20
  k8s-synth render --take outage.take.jsonl -o outage.wav
  k8s-synth play --replay outage.take.jsonl`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.out == "" && !o.dryRun:
				return usageError{errors.New("-o names the take to write; it is missing")}
			case !(o.pace.Speed >= 0.001 && o.pace.Speed <= 100000):
				return usageError{fmt.Errorf("--speed is 0.001 … 100000, got %g", o.pace.Speed)}
			case o.pace.Rest < 0:
				return usageError{fmt.Errorf("--rest is a length of time such as 5s, got %s", o.pace.Rest)}
			case o.most < 1 || o.most > mostChords:
				return usageError{fmt.Errorf("--most is 1 … %d, got %d", mostChords, o.most)}
			}
			return importWatch(cmd.InOrStdin(), cmd.ErrOrStderr(), args, o)
		}}
	f := c.Flags()
	f.StringVarP(&o.out, "output", "o", "", "take to write")
	f.StringVar(&o.scene, "scene", "", "scene to play it on (default: one that is made for it)")
	f.StringVarP(&o.namespace, "namespace", "n", "", "leave out other namespaces")
	f.Float64Var(&o.pace.Speed, "speed", 1, "how many times as fast it is played")
	f.DurationVar(&o.pace.Rest, "rest", 0, "shorten times in which nothing happens to this, such as 5s (default: leave them)")
	f.BoolVar(&o.pseudonyms, "pseudonyms", false, "put pod-1, app-1, namespace-1 … in the place of all names")
	f.IntVar(&o.most, "most", 8, "how many Deployments get a chord: those with the most replicas")
	f.BoolVar(&o.force, "force", false, "write over a take that is there")
	f.BoolVar(&o.dryRun, "dry-run", false, "say what is in the recording, and write nothing")
	return c
}

// importWatch makes a take of recordings.
func importWatch(stdin io.Reader, note io.Writer, files []string, o importOptions) error {
	if !o.dryRun {
		for _, file := range files {
			if err := notItself(file, o.out); file != "-" && err != nil {
				return fmt.Errorf("take import: %w", err)
			}
		}
		if err := free(o.out, o.force); err != nil { // before an hour of reading
			return fmt.Errorf("take import: %w", err)
		}
	}
	r := scenes.WatchReader{Namespace: o.namespace}
	for _, file := range files {
		err := func() error {
			if file == "-" {
				return r.Read("standard input", stdin)
			}
			f, err := os.Open(file)
			if err != nil {
				return fmt.Errorf("take import: %w", err)
			}
			defer f.Close()
			return r.Read(file, f)
		}()
		if err != nil {
			return err
		}
	}
	w := r.Watch()
	if o.pseudonyms {
		w.Pseudonyms()
	}
	fmt.Fprintf(note, "%d changes in %s, and %d of what was there before; %d Deployments in %d namespaces", len(w.Told), w.Length().Round(time.Millisecond), len(w.Listed), len(w.Deployments), len(w.Namespaces))
	if w.Events > 0 {
		fmt.Fprintf(note, "; %d come from Events alone", w.Events)
	}
	fmt.Fprintln(note)
	for _, kind := range slices.Sorted(maps.Keys(w.Left)) {
		fmt.Fprintf(note, "left out: %d of %s\n", w.Left[kind], kind)
	}
	if len(w.Told)+len(w.Listed) == 0 {
		return errors.New("take import: nothing in the recording can be heard")
	}
	scene, err := sceneForWatch(w, o, note)
	if err != nil {
		return err
	}
	if o.dryRun {
		return nil
	}
	f, done, err := openOutput(o.out, 0o600, o.force)
	if err != nil {
		return fmt.Errorf("take import: %w", err)
	}
	var names []string
	for _, file := range files {
		names = append(names, filepath.Base(file))
	}
	from := "a recorded watch: " + strings.Join(names, ", ")
	if o.pseudonyms {
		from = "a recorded watch, under other names"
	}
	err = w.Write(f, scenes.TakeHead{Program: "k8s-synth " + version, From: from}, scene, o.pace)
	if err = done(err); err != nil {
		return fmt.Errorf("take import: %w", err)
	}
	frames, _ := scenes.TakeFrames(o.out)
	fmt.Fprintf(note, "wrote %s: %s on the scene %s\n", o.out, clock(float64(frames)/48000), scene.Name)
	return nil
}

// sceneForWatch is the scene that was named, or one in which the Deployments of
// the watch are chords.
func sceneForWatch(w *scenes.Watch, o importOptions, note io.Writer) (*scenes.Scene, error) {
	if o.scene != "" {
		return openStore().Open(o.scene)
	}
	namespace := o.namespace
	for _, ns := range slices.Sorted(maps.Keys(w.Namespaces)) {
		if namespace == "" || o.namespace == "" && w.Namespaces[ns] > w.Namespaces[namespace] {
			namespace = ns
		}
	}
	var list []found
	for name, n := range w.Deployments {
		list = append(list, found{name, n})
	}
	chosen, left := chords(list, o.most)
	for _, d := range left {
		fmt.Fprintf(note, "no chord for deployment %s (%d replicas)\n", d.name, d.replicas)
	}
	namespace = cmp.Or(namespace, "default")
	if len(chosen) == 0 {
		s, err := openStore().Open(defaultScene)
		if err == nil {
			s.Namespace = namespace
		}
		return s, err
	}
	s, err := listenScene(namespace, namespace, chosen)
	if err != nil {
		return nil, err
	}
	s.Title = "A recorded watch of namespace " + namespace
	s.About = "Made from a recording. Each Deployment is a chord over a root of its own, in just intonation; the chord frays while its pods are not what its spec asks for."
	return s, nil
}
