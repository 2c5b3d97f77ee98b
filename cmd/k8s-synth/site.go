package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/hardware/backplane"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/web/site"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// Of the examples to listen to.
const (
	siteSeconds = 30.0
	siteRate    = 48000
	siteColumns = 900 // of the wave in a score
	siteFirst   = "default"
)

// partsScene has those modules that no piece has.
//
//go:embed parts.yaml
var partsScene []byte

// siteOptions are the flags of site.
type siteOptions struct {
	dir     string
	base    string
	shots   string
	audio   bool
	force   bool
	seconds float64
}

func siteCommand() *cobra.Command {
	o := siteOptions{seconds: siteSeconds}
	c := &cobra.Command{
		Use: "site -o DIR", Short: "Write the pages that tell what the instrument is", Args: cobra.NoArgs,
		Long: `Writes pages about the instrument: what it is, a sheet for each module, the
signal protocol, the backplane, the pieces, and a gallery. They are plain files
with relative links, to be put on a server or opened from a disk, and the same
program writes the same bytes. While the instrument plays it serves the same
pages under /about.

The beginning of each piece is rendered by its script, as FLAC: 2 MB for half a
minute, and a second or two of one processor. --audio=false leaves them out.

DIR may hold earlier pages and other files. What these pages did not put there
is neither removed nor written over; --force writes over it. SHA256SUMS lists
what they did.`,
		Example: `  k8s-synth site -o public
  k8s-synth site -o public --base https://example.org/synth/ --shots shots`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.dir == "":
				return usageError{errors.New("-o names the folder to write; it is missing")}
			case o.base != "" && !isAddress(o.base):
				return usageError{fmt.Errorf("--base is an address such as https://example.org/synth/, got %q", o.base)}
			case !(o.seconds >= 1 && o.seconds <= 600):
				return usageError{fmt.Errorf("--seconds is 1 … 600, got %g", o.seconds)}
			}
			return writeSite(cmd.Context(), o, cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVarP(&o.dir, "output", "o", "", "folder to write")
	f.StringVar(&o.base, "base", "", "address at which the pages will be, for those who link to them")
	f.StringVar(&o.shots, "shots", "", "folder of pictures for the gallery, as \"make shots\" takes them (default: those that ship)")
	f.BoolVar(&o.audio, "audio", true, "render an example of each piece")
	f.Float64Var(&o.seconds, "seconds", siteSeconds, "length of the examples")
	f.BoolVar(&o.force, "force", false, "take a folder that holds something else, and write over it")
	c.AddCommand(siteSoundCommand())
	return c
}

// isAddress tells whether text is the absolute address of a folder of pages.
func isAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == ""
}

// writeSite writes the pages into a folder. All is made before the first file
// is written, so that an interrupt leaves the folder as it was.
func writeSite(ctx context.Context, o siteOptions, tell io.Writer) (err error) {
	if o.base != "" {
		o.base = strings.TrimSuffix(o.base, "/") + "/"
	}
	if err := site.Check(o.dir, o.force); err != nil {
		return err
	}
	began := time.Now()
	cfg, err := siteConfig()
	if err != nil {
		return err
	}
	cfg.Base = o.base
	if o.shots != "" {
		cfg.Shots = os.DirFS(o.shots)
	}
	sounds := map[string][]byte{}
	if o.audio {
		if sounds, err = renderExamples(ctx, cfg.Pieces, o.seconds, tell); err != nil {
			return err
		}
	}
	heard := 0
	for _, b := range sounds {
		heard += len(b)
	}
	s, err := site.New(cfg)
	if err != nil {
		return err
	}
	w, err := s.Write(o.dir, sounds, o.force)
	if err != nil {
		return err
	}
	fmt.Fprintf(tell, "wrote %d files, %.1f MB (%.1f MB of it sound), to %s in %.1f s; %d are new or changed, %d were removed; open %s\n",
		w.Files, float64(w.Bytes)/1e6, float64(heard)/1e6, o.dir, time.Since(began).Seconds(), w.Changed, w.Removed, filepath.Join(o.dir, "index.html"))
	return nil
}

// siteConfig gathers what the pages cannot know by themselves.
func siteConfig() (site.Config, error) {
	cfg := site.Config{Version: version, Backplane: backplane.Document, Examples: map[string]site.Example{}}
	store := &scenes.Store{} // those that ship
	list, err := store.List()
	if err != nil {
		return cfg, err
	}
	// The piece that everybody hears first, then by name.
	slices.SortStableFunc(list, func(a, b scenes.Entry) int {
		return boolOrder(a.Name == siteFirst, b.Name == siteFirst)
	})
	scripts, err := store.Scripts()
	if err != nil {
		return cfg, err
	}
	var all []*scenes.Scene
	for _, e := range list {
		sc, err := store.Open(e.Name)
		if err != nil {
			return cfg, err
		}
		all = append(all, sc)
		p := site.Piece{Seconds: siteSeconds, Name: sc.Name, Title: sc.Title, About: sc.About, Modules: len(sc.Patch.Modules), Cables: len(sc.Patch.Cables), Script: siteScript(sc.Name)}
		for i := range sc.Patch.Modules {
			if k := sc.Patch.Modules[i].ID.Kind(); !slices.Contains(p.Kinds, k) {
				p.Kinds = append(p.Kinds, k)
			}
		}
		if i := slices.IndexFunc(scripts, func(e scenes.Entry) bool { return e.Name == p.Script }); i >= 0 {
			p.ScriptAbout = scripts[i].About
		} else {
			p.Script = ""
		}
		if p.Script != "" {
			script, err := store.OpenScript(p.Script)
			if err != nil {
				return cfg, err
			}
			p.Seconds = exampleSeconds(script, siteSeconds)
			p.Score = scoreOf(script, p.Seconds)
		}
		cfg.Pieces = append(cfg.Pieces, p)
	}
	parts, err := scenes.Parse("parts.yaml", partsScene)
	if err != nil {
		return cfg, err
	}
	for _, spec := range instrument.Specs() {
		if e, ok := exampleOf(append(slices.Clone(all), parts), spec); ok {
			cfg.Examples[spec.Kind] = e
		}
	}
	return cfg, nil
}

// siteScript is the script that performs a scene.
func siteScript(scene string) string {
	switch scene {
	case siteFirst:
		return "demo"
	case "cluster":
		return "requests"
	}
	return scene
}

func boolOrder(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// exampleOf finds the module of a kind that says most, and is still short. The
// last of the scenes is no piece.
func exampleOf(all []*scenes.Scene, spec *instrument.ModuleSpec) (best site.Example, ok bool) {
	most := -1
	for _, sc := range all {
		for i := range sc.Patch.Modules {
			m := &sc.Patch.Modules[i]
			if m.ID.Kind() != spec.Kind {
				continue
			}
			var cables []string
			for _, c := range sc.Patch.Cables {
				if c.From.Module == m.ID || c.To.Module == m.ID {
					cables = append(cables, c.From.String()+" -> "+c.To.String())
				}
			}
			score := 3*min(len(m.Params)+len(m.Text), 6) + min(len(cables), 8)
			if len(cables) > 12 || len(m.Params) > 10 {
				score = 0
			}
			if score <= most {
				continue
			}
			text, err := scenes.EncodeModule(sc, m.ID)
			if err != nil {
				continue // it is in the patch
			}
			most, ok = score, true
			from := sc.Name
			if sc == all[len(all)-1] {
				from = "" // it is no piece
			}
			if len(cables) > 12 {
				cables = cables[:12]
			}
			best = site.Example{Scene: from, YAML: exampleScene(sc, m.ID, string(text), cables), Cables: cables}
		}
	}
	return best, ok
}

// exampleScene writes a scene of one module, the cables given, and what they
// lead to.
func exampleScene(sc *scenes.Scene, id instrument.ModuleID, text string, cables []string) string {
	var b strings.Builder
	b.WriteString("version: 1\nname: " + strings.ReplaceAll(id.Kind(), "_", "-") + "-example\nmodules:\n" + indent(text))
	named := []instrument.ModuleID{id}
	for _, c := range sc.Patch.Cables {
		if !slices.Contains(cables, c.From.String()+" -> "+c.To.String()) {
			continue
		}
		for _, other := range []instrument.ModuleID{c.From.Module, c.To.Module} {
			if !slices.Contains(named, other) {
				named = append(named, other)
				b.WriteString("  - id: " + string(other) + "\n")
			}
		}
	}
	if len(cables) > 0 {
		b.WriteString("cables:\n")
	}
	for _, c := range cables {
		b.WriteString("  - " + c + "\n")
	}
	return b.String()
}

// indent makes a module an item of a list.
func indent(text string) string {
	var b strings.Builder
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		lead := "    "
		if i == 0 {
			lead = "  - "
		}
		b.WriteString(lead + line + "\n")
	}
	return b.String()
}

// aboutPages serves the pages under /about/ while the instrument plays, and
// leaves every other path to the other handler. They are made when somebody
// asks for them, and their sounds by a process apart.
func aboutPages(other http.Handler, log *slog.Logger) http.Handler {
	return aboutWith(other, log, newSoundRoom(log))
}

func aboutWith(other http.Handler, log *slog.Logger, room *soundRoom) http.Handler {
	var once sync.Once
	var pages http.Handler
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/about" && !strings.HasPrefix(r.URL.Path, "/about/") {
			other.ServeHTTP(w, r)
			return
		}
		once.Do(func() {
			cfg, err := siteConfig()
			if err == nil {
				cfg.Rack, cfg.OnDemand = "../", true
				for i := range cfg.Pieces {
					cfg.Pieces[i].Sound = soundPath(cfg.Pieces[i].Name)
				}
				var s *site.Site
				if s, err = site.New(cfg); err == nil {
					room.open(s, cfg.Pieces)
					pages = http.StripPrefix("/about", room)
				}
			}
			if err != nil {
				log.Warn("web: the pages under /about", "err", err)
			}
		})
		switch {
		case pages == nil:
			http.Error(w, "the pages could not be made; the log says why", http.StatusInternalServerError)
		case r.URL.Path == "/about":
			http.Redirect(w, r, "/about/", http.StatusMovedPermanently)
		default:
			pages.ServeHTTP(w, r)
		}
	})
}

// scoreOf reads what happens in the first seconds of a script, which is the
// length of its example: pods, each in the first lane that is free when it comes,
// and what a player would point at.
func scoreOf(script *scenes.Script, seconds float64) *site.Score {
	s := &site.Score{Seconds: seconds}
	type pod struct {
		lane  int
		state string
		since float64
	}
	pods := map[string]*pod{}
	taken := []bool{}
	turn := func(name string, at float64, state string) {
		p := pods[name]
		if p == nil {
			if state == "" || at >= s.Seconds {
				return
			}
			lane := slices.Index(taken, false)
			if lane < 0 {
				lane = len(taken)
				taken = append(taken, false)
				s.Lanes = append(s.Lanes, nil)
			}
			taken[lane] = true
			pods[name] = &pod{lane, state, at}
			return
		}
		if p.state == state {
			return
		}
		if at > p.since {
			s.Lanes[p.lane] = append(s.Lanes[p.lane], site.Span{From: p.since, To: at, State: p.state, Pod: name})
		}
		p.state, p.since = state, at
		if state == "" {
			taken[p.lane] = false
			delete(pods, name)
		}
	}
	last := map[string]float64{}
	mark := func(at float64, text string, hand bool) {
		// What is said again at once was understood.
		if was, ok := last[text]; ok && at-was < 1.5 || at >= s.Seconds {
			last[text] = at
			return
		}
		last[text] = at
		s.Marks = append(s.Marks, site.Mark{At: at, Text: text, Hand: hand})
	}
	for _, step := range script.Steps {
		at := step.At.Seconds()
		if c := step.Param; c != nil {
			member := strings.TrimPrefix(string(c.Address), "/")
			if id, name, err := c.Address.Split(); err == nil {
				member = id.Name() + " " + strings.ReplaceAll(name, "_", " ")
			}
			mark(at, member+" "+stands(c), true)
			continue
		}
		t := step.Transition
		name := t.Object.Name
		if t.Object.Kind == mapping.KindPod {
			switch t.Field {
			case mapping.FieldExists:
				if t.New == "true" {
					turn(name, at, "waiting")
				} else {
					turn(name, at, "")
				}
			case mapping.FieldPhase:
				switch t.New {
				case "Running":
					turn(name, at, "running")
				case "Pending":
					turn(name, at, "waiting")
				case "Failed":
					turn(name, at, "failed")
				}
			case mapping.FieldReady:
				if t.New == "true" {
					turn(name, at, "ready")
				} else if p := pods[name]; p != nil && p.state == "ready" {
					turn(name, at, "running")
				}
			case mapping.FieldReason:
				if t.New != "" && t.New != "Completed" && !t.Quiet {
					turn(name, at, "failed")
					mark(at, t.New, false)
				}
			}
			continue
		}
		switch {
		case t.Quiet:
		case t.Field == mapping.FieldCordoned && t.New == "true":
			mark(at, name+" is cordoned", false)
		case t.Field == mapping.FieldCordoned && t.Old == "true":
			mark(at, name+" is open again", false)
		case t.Object.Kind == mapping.KindNode && t.Field == mapping.FieldReady && t.New == "false":
			mark(at, name+" is not ready", false)
		case t.Field == mapping.FieldReachable && t.New == "false" && t.Old == "true":
			mark(at, "the API is away", false)
		case t.Field == mapping.FieldReachable && t.New == "true" && at > 2:
			mark(at, "the API is back", false)
		case t.Field == mapping.FieldDesired && t.Old != "":
			mark(at, "autoscaler: "+t.New, false)
		}
	}
	for name, p := range pods {
		if s.Seconds > p.since {
			s.Lanes[p.lane] = append(s.Lanes[p.lane], site.Span{From: p.since, To: s.Seconds, State: p.state, Pod: name})
		}
	}
	return s
}
