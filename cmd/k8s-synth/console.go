package main

import (
	"bytes"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// console is standard error, shared by the log, the neighbours' logs and one
// live line that stays below them.
type console struct {
	mu   sync.Mutex
	w    io.Writer
	live bool // it is a terminal, and the line can be redrawn
	line string
	open bool // the cursor stands behind the live line
}

func newConsole(f *os.File) *console {
	return &console{w: f, live: term.IsTerminal(int(f.Fd()))}
}

const eraseLine = "\r\x1b[K"

// Write prints whole lines above the live line. Several writers may use it at
// once; one that ends in the middle of a line is completed by its next write,
// so each needs a lineWriter of its own.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		_, _ = io.WriteString(c.w, eraseLine)
		c.open = false
	}
	n, err := c.w.Write(p)
	c.redraw()
	return n, err
}

// status sets the live line.
func (c *console) status(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.live || line == c.line {
		return
	}
	c.line = line
	c.redraw()
}

// end leaves the live line standing and begins a new one.
func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		_, _ = io.WriteString(c.w, "\n")
		c.open, c.line = false, ""
	}
}

func (c *console) redraw() {
	if !c.live || c.line == "" {
		return
	}
	line := c.line
	if w, _, err := term.GetSize(int(os.Stderr.Fd())); err == nil && w > 1 {
		r := []rune(line)
		line = string(r[:min(len(r), w-1)])
	}
	_, _ = io.WriteString(c.w, eraseLine+line)
	c.open = true
}

// lineWriter passes whole lines on to the console.
type lineWriter struct {
	c    *console
	part []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	l.part = append(l.part, p...)
	i := bytes.LastIndexByte(l.part, '\n')
	if i < 0 {
		return len(p), nil
	}
	_, err := l.c.Write(l.part[:i+1])
	l.part = append(l.part[:0], l.part[i+1:]...)
	return len(p), err
}
