package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware/calibration"
	"github.com/k8s-synth/k8s-synth/hardware/rig"
)

// calibrationPeriod is how often the files of calibrations are looked at while
// a case plays. One that a hand writes is taken when it stayed the same from one
// look to the next; "calibrate" says when one is there.
const calibrationPeriod = 500 * time.Millisecond

// calibrations are what the jacks of a case are corrected by. They follow the
// files: one that is made or changed while it plays is taken over, one that is
// taken away ends its correction. What cannot be used is refused, and what was
// in use stays.
type calibrations struct {
	box   *rig.Case
	store calibration.Store

	mu    sync.Mutex
	jacks []*calibratedJack
}

// calibratedJack is a jack that can be corrected.
type calibratedJack struct {
	rig.Jack
	direction  calibration.Direction
	path       string
	seen, read os.FileInfo           // the file at the last look, and when it was read; nil is none
	doc        *calibration.Document // in use; nil is none
	wrong      error                 // why what is there is not in use
	hidden     bool                  // nobody can tell whether it is there
}

// calibrationNews is what became of a file.
type calibrationNews struct {
	jack, text string
	err        error
}

func newCalibrations(box *rig.Case, store calibration.Store) *calibrations {
	c := &calibrations{box: box, store: store}
	for _, d := range []struct {
		direction calibration.Direction
		jacks     []rig.Jack
	}{{calibration.Output, box.OutputJacks()}, {calibration.Input, box.InputJacks()}} {
		for _, j := range d.jacks {
			if j.Role.Switches() || j.Expander >= 0 {
				continue
			}
			path := store.Path(&calibration.Document{Interface: box.Rig().CalibrationName(), Jack: j.Name, Direction: d.direction, Channel: j.Channel + 1})
			c.jacks = append(c.jacks, &calibratedJack{Jack: j, direction: d.direction, path: path})
		}
	}
	return c
}

// look takes over what changed since the last look. Whole tells that no file is
// half written: none is waited for. Only, unless it is nil, is the one jack that
// is looked at.
func (c *calibrations) look(whole bool, only *calibratedJack) (news []calibrationNews) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.jacks {
		if only != nil && j != only {
			continue
		}
		info, err := os.Stat(j.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			info = nil
			// Where the folder of all is away nobody has taken this one out of it.
			if _, e := os.Stat(c.store.Dir); e != nil && j.read != nil {
				continue
			}
		case err != nil:
			if !j.hidden {
				j.hidden, j.wrong = true, err
				news = append(news, j.refused())
			}
			continue
		}
		waits := !whole && !sameFile(info, j.seen)
		j.seen = info
		if waits || sameFile(info, j.read) && !j.hidden {
			continue
		}
		j.read, j.hidden = info, false
		if info == nil {
			_ = c.box.Calibrate(j.Name, nil) // it is a jack of this rig
			j.doc, j.wrong = nil, nil
			news = append(news, calibrationNews{jack: j.Name, text: "its calibration was taken away; it plays uncorrected"})
			continue
		}
		was := j.doc
		if j.wrong = c.take(j); j.wrong != nil {
			news = append(news, j.refused())
			continue
		}
		text := "corrected as calibrated by " + describeCalibration(j.doc)
		if was != nil {
			text += ", and no longer by " + describeCalibration(was)
		}
		news = append(news, calibrationNews{jack: j.Name, text: text})
	}
	return news
}

// sameFile tells whether a file is as it was. nil is none.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// take reads a jack's file and corrects the jack by it, if it is one of this
// jack.
func (c *calibrations) take(j *calibratedJack) error {
	doc, err := c.store.Open(c.box.Rig().CalibrationName(), j.Name, j.direction, j.Channel+1)
	if err != nil {
		return err
	}
	if doc == nil {
		return fmt.Errorf("%s: %w", j.path, fs.ErrNotExist)
	}
	// The curve of an ear is that of an oscillator, which understands one standard.
	if s := standardOf(&j.Jack); j.Role == rig.Pitch && doc.Method == calibration.MethodEar && doc.Standard.Kind != s.Kind {
		return fmt.Errorf("%s: it was tuned to an oscillator of %s, and the jack is %s in the rig; calibrate it anew", j.path, doc.Standard.Kind, s.Kind)
	}
	curve, err := doc.CurveFor(j.FullScale)
	if err != nil {
		return err
	}
	j.doc = doc
	return c.box.Calibrate(j.Name, curve)
}

// refused says what is wrong with a jack's file, and by what it goes on.
func (j *calibratedJack) refused() calibrationNews {
	stays := "it plays uncorrected"
	if j.doc != nil {
		stays = "what was calibrated by " + describeCalibration(j.doc) + " stays in use"
	}
	return calibrationNews{jack: j.Name, err: fmt.Errorf("calibration of %s: %w; %s", j.Name, j.wrong, stays)}
}

func describeCalibration(d *calibration.Document) string {
	return d.Method + " on " + d.Made.Local().Format("2006-01-02 15:04")
}

// done names the jacks that are corrected.
func (c *calibrations) done() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.jacks {
		if j.doc != nil {
			names = append(names, j.Name)
		}
	}
	return names
}

// calibrationStatus is by what a jack is corrected.
type calibrationStatus struct {
	Method string     `json:"method,omitempty"`
	Made   *time.Time `json:"made,omitempty"`
	// Refused is why the file that is there is not in use.
	Refused string `json:"refused,omitempty"`
}

// status is by what a jack is corrected; nil where there is no file.
func (c *calibrations) status(jack string) *calibrationStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, j := range c.jacks {
		if j.Name != jack || j.doc == nil && j.wrong == nil {
			continue
		}
		s := &calibrationStatus{}
		if j.doc != nil {
			s.Method, s.Made = j.doc.Method, &j.doc.Made
		}
		if j.wrong != nil {
			s.Refused = j.wrong.Error()
		}
		return s
	}
	return nil
}

// tellCalibrations says what became of the files of calibrations.
func (p *player) tellCalibrations(news []calibrationNews) {
	for _, n := range news {
		if n.err != nil {
			p.log.Warn("rig", "err", n.err)
		} else {
			p.log.Info("calibration", "jack", n.jack, "now", n.text)
		}
	}
	if len(news) == 0 {
		return
	}
	p.call(func() {
		for _, n := range news {
			if n.err != nil {
				p.web.says("problem", n.jack, n.err.Error())
			} else {
				p.web.says("case", n.jack, n.text)
			}
		}
	})
}

// followCalibrations looks at the files of calibrations until the end. It
// belongs to no group that is waited for: a disk may not answer.
func (p *player) followCalibrations() {
	tick := time.NewTicker(calibrationPeriod)
	defer tick.Stop()
	for {
		select {
		case <-p.ended:
			return
		case <-tick.C:
			p.tellCalibrations(p.corrected.look(false, nil))
		}
	}
}

// serveCalibrated takes a calibration over that was just kept at a path, and
// answers what became of it.
func (p *player) serveCalibrated(w http.ResponseWriter, r *http.Request) {
	var c *calibrations
	if !p.ask(func() { c = p.corrected }) {
		http.Error(w, "the instrument is starting or ending", http.StatusServiceUnavailable)
		return
	}
	var mine *calibratedJack
	if c != nil {
		for _, j := range c.jacks {
			if j.path == r.FormValue("path") {
				mine = j
			}
		}
	}
	if mine == nil {
		http.Error(w, "the instrument that plays has no such jack", http.StatusNotFound)
		return
	}
	p.tellCalibrations(c.look(true, mine)) // another hand may be writing the others
	switch s := c.status(mine.Name); {
	case s == nil:
		http.Error(w, "there is no calibration any more", http.StatusConflict)
	case s.Refused != "":
		http.Error(w, s.Refused, http.StatusConflict)
	default:
		fmt.Fprintf(w, "%s is corrected by it from now on\n", mine.Name)
	}
}

// takenOver has the instrument that plays, if one does with this rig, take over
// what was just kept at a path, and says what became of it.
func (r *calibrateRun) takenOver(path string) error {
	dir, err := stateDirPath(r.stateDir)
	if err != nil {
		return err
	}
	client := socketClient(socketPath(dir))
	client.Timeout = 5 * time.Second
	resp, err := client.PostForm("http://play/calibrated", url.Values{"path": {path}})
	if err != nil {
		return nil //nolint:nilerr // none plays, or it is on its way
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4000))
	switch answer := strings.TrimSpace(string(text)); resp.StatusCode {
	case http.StatusOK:
		fmt.Fprintln(r.say, "the instrument plays:", answer)
	case http.StatusNotFound, http.StatusServiceUnavailable: // it plays something else, or finds it by itself
	default:
		return fmt.Errorf("it was kept, and the instrument that plays refuses it: %s", answer)
	}
	return nil
}
