package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// takeFile records a performance while it is played. The first error is kept
// and told at the end; the music goes on.
type takeFile struct {
	f   *os.File
	buf *bufio.Writer
	w   *scenes.TakeWriter
	err error
}

func createTake(path string, start time.Time) (*takeFile, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("take: %w", err)
	}
	t := &takeFile{f: f, buf: bufio.NewWriter(f)}
	if t.w, err = scenes.NewTakeWriter(t.buf, "k8s-synth "+version, start); err != nil {
		f.Close()
		return nil, err
	}
	return t, nil
}

func (t *takeFile) keep(err error) {
	if t.err == nil {
		t.err = err
	}
}

func (t *takeFile) transition(tr mapping.Transition) {
	t.keep(t.w.Write(mapping.Message{Transition: &tr}))
}

func (t *takeFile) turn(c turn) {
	t.keep(t.w.Param(c.at, scenes.ParamChange{Address: c.address, Value: c.value, Word: c.word}))
}

func (t *takeFile) close() error {
	return errors.Join(t.err, t.buf.Flush(), t.f.Close())
}
