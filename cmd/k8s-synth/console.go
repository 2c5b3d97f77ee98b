package main

import (
	"bytes"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

const (
	// consoleLines is how much waits for a terminal that takes nothing (Ctrl-S,
	// a connection that hangs) before it is left out: the music must not wait.
	consoleLines = 1024
	// consoleEnd is how long the last lines may take at the end.
	consoleEnd = time.Second
	// longestLine bounds a line that does not end.
	longestLine = 64 << 10
)

// console is standard error, shared by the log, the neighbours' logs and one
// live line that stays below them. Its methods never wait and never fail.
type console struct {
	f       *os.File
	live    bool // it is a terminal, and the line can be redrawn
	lines   chan []byte
	line    atomic.Pointer[string] // the live line
	redraw  chan struct{}
	ending  chan struct{}
	ended   chan struct{}
	endOnce sync.Once
}

func newConsole(f *os.File) *console {
	c := &console{f: f, live: term.IsTerminal(int(f.Fd())), lines: make(chan []byte, consoleLines),
		redraw: make(chan struct{}, 1), ending: make(chan struct{}), ended: make(chan struct{})}
	go landed(c.run)
	return c
}

const eraseLine = "\r\x1b[K"

// Write prints whole lines above the live line. Several writers may use it at
// once; one that may end in the middle of a line needs a lineWriter of its own.
func (c *console) Write(p []byte) (int, error) {
	select {
	case c.lines <- bytes.Clone(p):
	default:
	}
	return len(p), nil
}

// status sets the live line.
func (c *console) status(line string) {
	if old := c.line.Swap(&line); !c.live || old != nil && *old == line {
		return
	}
	select {
	case c.redraw <- struct{}{}:
	default:
	}
}

// end prints what waits and leaves the live line standing.
func (c *console) end() {
	c.endOnce.Do(func() { close(c.ending) })
	select {
	case <-c.ended:
	case <-time.After(consoleEnd):
	}
}

// run writes. What cannot be written is lost, whatever the reason: there is
// nowhere else to tell it.
func (c *console) run() {
	defer close(c.ended)
	open := false // the cursor stands behind the live line
	write := func(p []byte) {
		if open {
			_, _ = io.WriteString(c.f, eraseLine)
			open = false
		}
		_, _ = c.f.Write(p)
	}
	draw := func() {
		line := c.line.Load()
		if !c.live || line == nil || *line == "" {
			return
		}
		r := []rune(*line)
		if w, _, err := term.GetSize(int(c.f.Fd())); err == nil && w > 1 {
			r = r[:min(len(r), w-1)]
		}
		_, _ = io.WriteString(c.f, eraseLine+string(r))
		open = true
	}
	for {
		select {
		case p := <-c.lines:
			write(p)
			if len(c.lines) == 0 {
				draw()
			}
		case <-c.redraw:
			draw()
		case <-c.ending:
			for len(c.lines) > 0 {
				write(<-c.lines)
				draw()
			}
			if open {
				_, _ = io.WriteString(c.f, "\n")
			}
			return
		}
	}
}

// lineWriter passes whole lines on to the console. It never fails: a process
// whose log cannot be written must not lose its standard error, and its life.
type lineWriter struct {
	c    *console
	part []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.part = append(l.part, p...)
	i := bytes.LastIndexByte(l.part, '\n')
	if i < 0 {
		if len(l.part) <= longestLine {
			return len(p), nil
		}
		l.part = append(l.part, '\n')
		i = len(l.part) - 1
	}
	_, _ = l.c.Write(l.part[:i+1])
	l.part = append(l.part[:0], l.part[i+1:]...)
	return len(p), nil
}
