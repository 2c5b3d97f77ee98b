package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// sessionDir is where in the state directory what is played is kept.
func sessionDir(dir string) string { return filepath.Join(dir, "session") }

// openLast finds what is to be played: the scene that was named, or else what
// was played last, or else the default scene. What is played from now on is
// kept.
func (p *player) openLast(dir string) (err error) {
	openStore().Sweep()
	var last *scenes.Scene
	if p.autosave, last, err = scenes.OpenAutosave(sessionDir(dir)); err != nil {
		if p.autosave == nil {
			// The music is more than its memory.
			p.log.Warn("nothing that is turned will be kept", "err", err)
		} else {
			p.log.Warn("what was played last cannot be read whole", "err", err)
		}
	}
	if p.scene != nil {
		return nil
	}
	if last != nil && !p.o.fresh {
		p.log.Info("going on with what was played last", "scene", last.Name, "instead", "--fresh or --scene")
		p.scene = last
		return nil
	}
	p.scene, err = openStore().Open(defaultScene)
	return err
}

// defaultScene is what is played where nothing was named and nothing was
// played before.
const defaultScene = "default"

// playedNow is the scene as it is played now, all knobs included.
func (p *player) playedNow() *scenes.Scene {
	s := *p.scene
	s.Patch = p.rack.Patch().Clone()
	// Those of the case are there for as long as they are in the case.
	sensed := p.rack.SensedCables()
	s.Patch.Cables = slices.DeleteFunc(s.Patch.Cables, func(c instrument.Cable) bool { return slices.Contains(sensed, c) })
	if m := p.stage.morph; m != nil {
		s.Tunings = m.way.Tunings(s.Patch) // modules of both scenes are there
	}
	if c := s.Transport.Clock; c != "" && s.Patch.Module(instrument.ModuleID("clock/"+c)) == nil {
		s.Transport.Clock = "" // a hand has taken it out
	}
	return s.ClockSays()
}

// keep keeps the whole scene as it is played now.
func (p *player) keep() {
	if p.autosave != nil {
		p.autosave.Scene(p.playedNow())
	}
}

// keepTurn keeps a param that moved, whoever moved it.
func (p *player) keepTurn(m *mapping.Member, value float64, word string) {
	if p.autosave != nil && (m.Kind == mapping.MemberParam || m.Kind == mapping.MemberText) {
		p.autosave.Param(scenes.ParamChange{Address: m.Address, Value: value, Word: word})
	}
}

// unsaved tells, once for each trouble, that what is turned is not kept.
func (p *player) unsaved() {
	if p.autosave == nil {
		return
	}
	if err := p.autosave.Err(); err != nil {
		p.problem(mapping.Problem{Where: "autosave", Text: err.Error()})
	}
}

// save writes what is played to the player's folder, under its own name or
// another one. The disk takes its time, and the control goroutine has none:
// done is called when it is written, on another one. If it cannot even begin,
// that is an error at once, of which done is told as well.
func (p *player) save(name, source string, done func(path string, err error)) error {
	s, was := p.playedNow(), p.scene
	if name != "" {
		s.Name = name
	}
	err := p.onDisk(func() {
		path, err := openStore().Save(s)
		p.call(func() {
			if err != nil {
				p.log.Warn("save", "err", err, "by", source)
				return
			}
			if p.scene == was && was.Name != s.Name { // another scene may play by now
				p.scene.Name = s.Name
				p.keep()
			}
			p.web.look()
			p.log.Info("saved", "scene", s.Name, "file", path, "by", source)
		})
		if done != nil {
			done(path, err)
		}
	})
	if err != nil && done != nil {
		done("", err)
	}
	return err
}

func saveCommand() *cobra.Command {
	return doCommand("save [NAME]", "Save what is played to your scenes, under its own name or another one",
		`Writes the scene that the running instrument plays, with every knob where it
stands, to your folder of scenes. Comments and the order of a file that is
there stay.`,
		func(args []string) string {
			if len(args) > 0 {
				return actSave + ":" + args[0]
			}
			return actSave
		}, cobra.MaximumNArgs(1))
}

// backupCommands list what was played, and bring it back.
func backupCommands() []*cobra.Command {
	var dir, as string
	var asJSON, force bool
	list := &cobra.Command{
		Use: "backups", Short: "List the states of what was played, and the scenes that were saved over", Args: cobra.NoArgs,
		Long: `Every change of what is played is kept: the newest state returns at the next
start, earlier ones are listed here by their numbers. So is each scene of yours
that was saved over, such as mine.3. "scene restore" brings either back.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := stateDirPath(dir)
			if err != nil {
				return err
			}
			all, err := scenes.Backups(sessionDir(d))
			if err != nil {
				return err
			}
			saved, err := openStore().Former()
			if err != nil {
				return fmt.Errorf("backups: %w", err)
			}
			all = append(all, saved...)
			if asJSON {
				if all == nil {
					all = []scenes.Backup{}
				}
				return json.NewEncoder(cmd.OutOrStdout()).Encode(all)
			}
			if len(all) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing was played or saved over yet")
				return nil
			}
			t := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "STATE\tWHEN\tSCENE\tTURNS SINCE\tTITLE")
			for _, b := range all {
				title := b.Title
				if b.Err != nil {
					title = "cannot be read: " + b.Err.Error()
				}
				turns := strconv.Itoa(b.Turns)
				if b.Saved {
					turns = "saved over"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", b.ID, b.Time.Format(time.DateTime), b.Name, turns, title)
			}
			return t.Flush()
		},
	}
	restore := &cobra.Command{
		Use: "restore STATE", Short: "Make a kept state a scene of yours again, or bring back one that was saved over", Args: cobra.ExactArgs(1),
		Long: `Writes a state, or the file of a scene that was saved over, that "scene backups"
lists, to your folder of scenes. A file comes back to the letter. What it takes
the place of is kept as well.`,
		Example: `  k8s-synth scene backups
  k8s-synth scene restore 12 --as last-night
  k8s-synth scene restore mine.3 --force`,
		RunE: func(cmd *cobra.Command, args []string) error {
			store := openStore()
			n, err := strconv.ParseUint(args[0], 10, 64)
			if err == nil {
				d, err := stateDirPath(dir)
				if err != nil {
					return err
				}
				s, err := scenes.OpenBackup(sessionDir(d), n)
				if err != nil {
					return err
				}
				s.Name = cmp.Or(as, fmt.Sprintf("state-%d", n))
				if err := mayTake(store, s.Name, force); err != nil {
					return err
				}
				path, err := store.Save(s)
				return restored(cmd, path, s.Name, err)
			}
			if !strings.Contains(args[0], ".") {
				return usageError{fmt.Errorf("a state is a number, or a scene with a number such as mine.3, that \"k8s-synth scene backups\" lists; got %q", args[0])}
			}
			name, text, err := store.OpenFormer(args[0])
			if err != nil {
				return err
			}
			path := filepath.Join(store.Dir, cmp.Or(as, name)+".yaml")
			if as != "" && as != name {
				// It is another scene, with its own name in it.
				s, err := scenes.Parse(args[0], text)
				if err != nil {
					return err
				}
				s.Name = as
				if text, err = scenes.Update(text, s); err != nil {
					return err
				}
				name = as
			}
			if err := mayTake(store, name, force); err != nil {
				return err
			}
			return restored(cmd, path, name, store.Replace(name, text))
		},
	}
	for _, c := range []*cobra.Command{list, restore} {
		c.Flags().StringVar(&dir, "state-dir", "", "the instrument's state directory")
	}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	restore.Flags().StringVar(&as, "as", "", "name of the scene (default: state-N, or its own where it was saved over)")
	restore.Flags().BoolVar(&force, "force", false, "take the place of a scene of that name")
	return []*cobra.Command{list, restore}
}

// mayTake tells whether a scene may be written under a name.
func mayTake(store *scenes.Store, name string, force bool) error {
	_, err := store.Open(name)
	switch {
	case force:
		return nil
	case err == nil:
		return fmt.Errorf("there is a scene %s already; name another one with --as, or take its place with --force", name)
	case !errors.Is(err, scenes.ErrNotFound) && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is something named %s already: %w", name, err)
	}
	return nil
}

// restored says where a scene is that came back.
func restored(cmd *cobra.Command, path, name string, err error) error {
	if err == nil {
		fmt.Fprintf(cmd.OutOrStdout(), "wrote %s; play it with \"k8s-synth play --scene %s\"\n", path, name)
	}
	return err
}
