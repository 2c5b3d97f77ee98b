package main

import (
	"errors"
	"fmt"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// undoing is an undo, or with again a redo, that was asked for.
type undoing struct {
	again bool
	t     turn
}

func (u undoing) String() string {
	if u.again {
		return "redo"
	}
	return "undo"
}

// undo takes the last change of a hand back, or does it again. One comes after
// the other, whoever asks: where one takes its time, those that follow wait.
func (p *player) undo(again bool, t turn) error {
	if len(p.stage.undos) >= mostWishes {
		return errBusy
	}
	u := undoing{again, t}
	if p.stage.undos = append(p.stage.undos, u); len(p.stage.undos) > 1 {
		return nil
	}
	later, err := p.takeBack(u)
	if later {
		return nil
	}
	p.stage.undos = p.stage.undos[1:]
	if err == nil && t.answer != nil {
		t.answer <- nil
	}
	return err
}

// undone tells what became of the first undo that takes its time, and does
// those that wait.
func (p *player) undone(err error) {
	for {
		u := p.stage.undos[0]
		p.stage.undos = p.stage.undos[1:]
		if err != nil {
			p.refused(u.t, err)
		}
		if u.t.answer != nil {
			u.t.answer <- err
		}
		if len(p.stage.undos) == 0 {
			return
		}
		var later bool
		if later, err = p.takeBack(p.stage.undos[0]); later {
			return
		}
	}
}

// takeBack does one, or has it done later and calls undone then. To an undo a
// morph that is under way ends where it is, and is the last change; a redo leaves
// it alone.
func (p *player) takeBack(u undoing) (later bool, err error) {
	step, back, newest := p.history.Undo, p.history.Redo, p.history.Next
	if u.again {
		step, back, newest = back, step, p.history.Previous
	}
	m := p.stage.morph
	moved := m != nil && m.x > 0 && !u.again
	c, ok := newest()
	switch {
	case moved:
		c = mapping.Change{Act: &mapping.Act{Scene: true}, Text: "the morph"} // what it is going to be
	case !ok:
		err := fmt.Errorf("there is nothing to %s", u)
		if stays := staysInCase(p.history.Since()); stays != "" && !u.again {
			err = fmt.Errorf("%w; %s", err, stays)
		}
		return false, err
	case u.again && m != nil:
		return false, errors.New("redo: a morph is under way; cancel it or let it end, and ask again")
	}
	// Who may not have it leaves everything as it is, and so does a hand in the case.
	may := func() error {
		return errors.Join(p.mayRestore(c, u.again, u.t), p.rack.KeepsSensed(c, u.again))
	}
	if err := may(); err != nil {
		return false, fmt.Errorf("%s of %s: %w", u, describeChange(c), err)
	}
	p.dropMorph()
	p.tellStage()
	c, _ = step()
	if err := may(); err != nil {
		back()
		return false, fmt.Errorf("%s of %s: %w", u, describeChange(c), err)
	}
	if c.Act != nil && c.Act.Later != nil {
		c.Act.Later(u.again, func(err error) { p.undone(p.tookBack(u, c, err)) })
		return true, nil
	}
	// Nobody's hand has moved: all surfaces are told.
	return false, p.tookBack(u, c, p.rack.Restore(c, u.again, p.played(u.t)))
}

// tookBack takes over what became of a change.
func (p *player) tookBack(u undoing, c mapping.Change, err error) error {
	p.keep()
	p.web.look()
	if err == nil {
		p.history.Succeeded()
		p.log.Info(u.String(), "change", describeChange(c), "by", u.t.source)
		if stays := staysInCase(c.Since); stays != "" && !u.again {
			p.log.Info(u.String(), "steps over", stays)
			p.web.says("case", u.String(), stays)
		}
		return nil
	}
	if p.history.Failed(c, u.again) {
		return fmt.Errorf("%s of %s failed again, and is left: the next is the one before it: %w", u, describeChange(c), err)
	}
	return fmt.Errorf("%s of %s: nothing has changed: %w", u, describeChange(c), err)
}

// staysInCase says of what a hand did in the case that only that hand can undo it;
// nothing where it did nothing.
func staysInCase(w mapping.Wiring) string {
	text := w.String()
	if text == "" {
		return ""
	}
	return text + " stays as it is in the case, where a hand did it"
}
