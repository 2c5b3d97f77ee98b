package main

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// takeFile records a performance while it is played. Its methods are for the
// control goroutine, which never waits for the disk: lines are written by
// another one, and flushed whenever none waits. The first error is kept and
// told at the end; the music goes on. Nil records nothing.
type takeFile struct {
	start  time.Time
	lines  chan scenes.TakeLine
	lost   uint64 // lines that found no room since the last that did
	full   bool   // it is as long as one can be
	done   chan struct{}
	err    error // the writer's, until done
	inputs *takeInputs
}

// takeWaiting is how many lines wait for the disk: minutes, unless a storm
// rages.
const takeWaiting = 1 << 15

// createTake begins a take, with force over what is there, and with what the
// jacks of a rig capture, by the channel of each.
func createTake(path string, h scenes.TakeHead, force bool, jacks map[string]int) (*takeFile, error) {
	if len(jacks) > 0 {
		id := make([]byte, 8)
		_, _ = rand.Read(id) // it does not fail
		h.Inputs = &scenes.TakeInputs{File: filepath.Base(scenes.InputsPath(path)), ID: hex.EncodeToString(id)}
	}
	if len(jacks) == 0 {
		// What is in the way of a take without inputs may be all that is left of another.
		if err := free(scenes.InputsPath(path), force); err != nil {
			return nil, fmt.Errorf("take: %w", err)
		}
	}
	f, err := createKept(path, force)
	if err != nil {
		return nil, fmt.Errorf("take: %w", err)
	}
	t := &takeFile{start: h.Time, lines: make(chan scenes.TakeLine, takeWaiting), done: make(chan struct{})}
	buf := bufio.NewWriterSize(f, 1<<16)
	w, err := scenes.NewTakeWriter(buf, h)
	if err == nil {
		err = buf.Flush()
	}
	if err == nil && len(jacks) > 0 {
		t.inputs, err = createInputs(scenes.InputsPath(path), h.Inputs.ID, h.Rate, jacks, force)
	}
	if err != nil {
		return nil, errors.Join(err, f.drop())
	}
	if len(jacks) == 0 {
		f.stale = scenes.InputsPath(path)
	}
	go landed(func() {
		defer close(t.done)
		for l := range t.lines {
			if t.err != nil {
				continue // what is left is not heard any more
			}
			// From the first sound on it is worth more than what it takes the place of.
			if len(l.Applied) > 0 && !f.kept {
				t.err = errors.Join(buf.Flush(), f.keep())
			}
			if t.err == nil {
				t.err = w.Write(l)
			}
			if t.err == nil && len(t.lines) == 0 {
				t.err = buf.Flush()
			}
			if t.err != nil {
				slog.Error("the take is not recorded any more; the music goes on", "err", t.err)
			}
		}
		if t.err == nil {
			t.err = buf.Flush()
		}
		t.err = errors.Join(t.err, f.close())
	})
	return t, nil
}

// keptFile is a file that is written to at once, so that whoever is killed
// leaves what there is, but takes the place of another one only when it is worth
// keeping.
type keptFile struct {
	*os.File
	path  string
	there string // where it is as yet
	stale string // what is in the way of it, once it is kept
	kept  bool
	apart bool // not a file of ours: a pipe or a device
}

// createKept creates a file that only its owner reads: others' clusters are in
// it. Without force one that is there is an error.
func createKept(path string, force bool) (*keptFile, error) {
	k := &keptFile{path: path, there: path}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("%s is a folder; name a file", path)
	case err == nil && !info.Mode().IsRegular():
		k.apart, k.kept = true, true
		k.File, err = os.OpenFile(path, os.O_WRONLY, 0)
	case force:
		k.File, err = createBeside(path, 0o600)
		if err == nil {
			k.there = k.Name()
		}
	default:
		k.File, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			err = errThere(path)
		}
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

// keep puts the file into its place, where it outlives the machine.
func (k *keptFile) keep() error {
	if k.kept {
		return nil
	}
	k.kept = true
	if err := syncs(k.File); err != nil {
		return err
	}
	if k.there != k.path {
		if err := os.Rename(k.there, k.path); err != nil {
			return err
		}
		k.there = k.path
	}
	if err := syncFolder(filepath.Dir(k.path)); err != nil {
		return err
	}
	if k.stale != "" {
		if err := os.Remove(k.stale); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// close ends the file, and takes it away if nothing in it is worth keeping.
func (k *keptFile) close() error {
	if !k.kept {
		return k.drop()
	}
	err := syncs(k.File)
	if k.apart {
		err = nil // a pipe cannot be synced
	}
	return errors.Join(err, k.Close())
}

func (k *keptFile) drop() error {
	err := k.Close()
	if !k.apart {
		err = errors.Join(err, os.Remove(k.there))
	}
	return err
}

// write queues a line; where there is no room it is lost, and the take says so.
func (t *takeFile) write(l scenes.TakeLine) {
	l.At = max(time.Since(t.start), 0)
	if l.At > scenes.MaxLength {
		// Nobody would read it, nor what is before it.
		if !t.full {
			t.full = true
			slog.Warn("the take is as long as one can be, and not recorded any more; the music goes on", "length", scenes.MaxLength)
		}
		return
	}
	if t.lost > 0 {
		select {
		case t.lines <- scenes.TakeLine{At: l.At, Lost: t.lost}:
			t.lost = 0
		default:
			t.lost++
			return
		}
	}
	select {
	case t.lines <- l:
	default:
		t.lost++
	}
}

// input records what came in to the rack, and what the engine made of it.
func (t *takeFile) input(in mapping.Input) {
	t.inputs.follow(&in)
	t.write(scenes.TakeLine{Input: in})
}

// scene records that another scene is about to be played, loaded, or launched
// as change says; now is the rack's present. If its patch is refused, it will be
// again.
func (t *takeFile) scene(s *scenes.Scene, now int64, change instrument.Change) {
	if t == nil {
		return
	}
	if text, err := scenes.Encode(s); err == nil {
		t.write(scenes.TakeLine{Scene: string(text), Launch: change.Launch, Crossfade: change.Crossfade, Input: mapping.Input{Present: now, Frame: change.At}})
	}
}

// action records what is asked of the cluster, and when; now is the rack's
// present.
func (t *takeFile) action(a mapping.Action, now int64) {
	if t != nil {
		t.write(scenes.TakeLine{Action: &a, Input: mapping.Input{Present: now}})
	}
}

// close writes how many frames there are, and all that waits.
func (t *takeFile) close(frames int64) error {
	if frames > 0 {
		t.write(scenes.TakeLine{Frames: frames})
	}
	lost := t.lost
	close(t.lines)
	<-t.done
	err := errors.Join(t.err, t.inputs.close(frames))
	if err == nil && lost > 0 {
		return fmt.Errorf("take: the disk was too slow for the last %d lines", lost)
	}
	return err
}

// openTake begins to record, if that was asked for. It is called before the
// rack is made, so that nothing is missed.
func (p *player) openTake(channels int, sockets instrument.Sockets) (err error) {
	if p.o.take == "" {
		return nil
	}
	text, err := scenes.Encode(p.scene)
	if err != nil {
		return fmt.Errorf("take: %w", err)
	}
	h := scenes.TakeHead{Program: "k8s-synth " + version, Machine: scenes.Machine(), Time: p.began, Rate: p.o.device.Rate, Channels: channels, Embedded: p.embedded(), ListenOnly: p.listensOnly(),
		Lead: max(int64(p.scene.Latency*float64(p.o.device.Rate))-int64(p.o.device.Depth)*instrument.BlockSize, 0), Scene: string(text)}
	if len(sockets.Outputs)+len(sockets.Inputs) > 0 {
		h.Sockets = &scenes.TakeSockets{Outputs: sockets.Outputs, Inputs: sockets.Inputs}
	}
	jacks := sockets.Inputs
	if !p.o.takeInputs && len(jacks) > 0 {
		jacks, h.Inputs = nil, &scenes.TakeInputs{Left: true}
		p.log.Warn("take: what the inputs of the rig capture is left out; played again, they are at 0 V")
	}
	if !isFolder(p.o.take) {
		p.take, err = createTake(p.o.take, h, p.o.force, jacks)
		return err
	}
	dir := p.o.take
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("take: %w", err)
	}
	for {
		p.o.take = timedName(dir, p.began, takeEnding, scenes.InputsPath(""))
		// Another instrument may have taken the name in between.
		if p.take, err = createTake(p.o.take, h, false, jacks); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err == nil {
		p.log.Info("take", "file", p.o.take)
	}
	return err
}

// takeEnding ends the names of takes.
const takeEnding = ".take.jsonl"

// recorded is what the rack tells of all that comes in.
func (p *player) recorded() func(mapping.Input) {
	if p.take == nil {
		return nil
	}
	return p.take.input
}

// closeTake ends the take. The device is closed by now: nobody renders.
func (p *player) closeTake() error {
	if p.take == nil {
		return nil
	}
	frames := int64(0)
	if p.rack != nil {
		p.rack.RecordRest()
		frames = p.rack.Engine.Frame()
	}
	return p.take.close(frames)
}

// heard returns the renderer with what stands between a device and the engine
// for takes: what is captured is recorded, and that of a take is heard.
func (p *player) heard(r hardware.Renderer) hardware.Renderer {
	if p.take != nil && p.take.inputs != nil {
		r = p.take.inputs.tap(r)
	}
	return p.replay.feed(r)
}

// takeInputs records what inputs capture: of each that a module has listened to
// once, from then on. The audio thread fills a ring, a goroutine empties it onto
// the disk.
type takeInputs struct {
	jacks  map[string]int
	ring   *inputRing
	listen [2]atomic.Uint64 // a bit a channel
	file   *keptFile
	w      *scenes.InputsWriter
	quit   chan struct{}
	done   chan struct{}
	err    error // until done

	// The goroutine's own.
	open    *inputChunk // is being filled
	waiting *inputChunk // is full
	spare   *inputChunk
	told    uint64
	toldAt  time.Time
}

// inputChunk is what is written at once, of all channels.
type inputChunk struct {
	frame  int64
	frames int
	volts  [][]float32
}

const (
	// inputsChunk is how many frames are written at once: who is killed loses that
	// many, and those that wait.
	inputsChunk = 8192
	// inputsWaiting is how many blocks of frames wait for the disk: 5 s at 48 kHz.
	inputsWaiting = 1 << 12
)

// createInputs begins to record what jacks of a rig capture.
func createInputs(path, id string, rate int, jacks map[string]int, force bool) (*takeInputs, error) {
	file, err := createKept(path, force)
	if err != nil {
		return nil, fmt.Errorf("take: %w", err)
	}
	channels := 0
	for _, c := range jacks {
		channels = max(channels, c+1)
	}
	s := &takeInputs{jacks: jacks, file: file, quit: make(chan struct{}), done: make(chan struct{}), ring: newInputRing(min(channels, instrument.MaxCaptured))}
	if s.w, err = scenes.NewInputsWriter(file, id, rate, jacks); err != nil {
		return nil, errors.Join(fmt.Errorf("take: %w", err), file.drop())
	}
	go landed(s.run)
	return s, nil
}

// follow takes note of the jacks that modules listen to. One that was listened
// to once is recorded to the end. Control goroutine.
func (s *takeInputs) follow(in *mapping.Input) {
	if s == nil {
		return
	}
	see := func(m *instrument.Module) {
		if spec := m.Spec(); spec == nil || !spec.Captures {
			return
		}
		for _, name := range m.Jacks() {
			if c, ok := s.jacks[name]; ok && c < 128 {
				s.listen[c/64].Or(1 << (c % 64))
			}
		}
	}
	switch {
	case in.Plan != nil:
		for i := range in.Plan.Patch.Modules {
			see(&in.Plan.Patch.Modules[i])
		}
	case in.Set != nil && in.Set.Word != "":
		if id, name, err := in.Set.Address.Split(); err == nil {
			see(&instrument.Module{ID: id, Text: map[string]string{name: in.Set.Word}})
		}
	}
}

// tap returns a renderer that records what comes in to another one.
func (s *takeInputs) tap(r hardware.Renderer) hardware.Renderer {
	return &inputTap{next: r, ring: s.ring}
}

// run writes what was captured. Chunks are written one behind: what the control
// goroutine tells of a module is known by then.
func (s *takeInputs) run() {
	defer close(s.done)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		quit := false
		select {
		case <-tick.C:
		case <-s.quit:
			quit = true
		}
		s.drain()
		if lost := s.ring.lost.Load(); lost > s.told && (quit || time.Since(s.toldAt) > time.Second) {
			slog.Warn("take: the disk is too slow for what is captured; played again, the inputs are at 0 V there", "frames lost", lost-s.told)
			s.told, s.toldAt = lost, time.Now()
		}
		if quit {
			s.flush(s.waiting)
			s.flush(s.open)
			return
		}
	}
}

func (s *takeInputs) drain() {
	for {
		b := s.ring.oldest()
		if b == nil {
			return
		}
		if o := s.open; o != nil && (o.frames+b.frames > inputsChunk || o.frame+int64(o.frames) != b.frame) {
			s.flush(s.waiting)
			s.waiting, s.open, s.spare = o, s.spare, s.waiting
			if s.open != nil {
				s.open.frames = 0
			}
		}
		if s.open == nil {
			s.open = &inputChunk{}
			for range s.ring.channels {
				s.open.volts = append(s.open.volts, make([]float32, inputsChunk))
			}
		}
		if s.open.frames == 0 {
			s.open.frame = b.frame
		}
		for c := range s.ring.channels {
			copy(s.open.volts[c][s.open.frames:], b.volts[c*instrument.BlockSize:c*instrument.BlockSize+b.frames])
		}
		s.open.frames += b.frames
		s.ring.pop()
	}
}

func (s *takeInputs) flush(c *inputChunk) {
	if c == nil || c.frames == 0 || s.err != nil {
		return
	}
	var channels []int
	var volts [][]float32
	for i := range c.volts {
		if s.listen[i/64].Load()>>(i%64)&1 != 0 {
			channels, volts = append(channels, i), append(volts, c.volts[i])
		}
	}
	if s.err = s.file.keep(); s.err == nil {
		s.err = s.w.Write(c.frame, channels, volts, c.frames)
	}
	if s.err != nil {
		slog.Error("what the inputs capture is not recorded any more; the music goes on", "err", s.err)
	}
	c.frames = 0
}

// close writes what waits, and where it ends. Nobody renders any more.
func (s *takeInputs) close(frames int64) error {
	if s == nil {
		return nil
	}
	close(s.quit)
	<-s.done
	if s.err == nil {
		s.err = s.w.End(frames)
	}
	err := errors.Join(s.err, s.file.close())
	if lost := s.ring.lost.Load(); err == nil && lost > 0 {
		err = fmt.Errorf("take: the disk was too slow for %d frames of what was captured; played again, the inputs are at 0 V there", lost)
	}
	return err
}

// inputTap records what comes in to a renderer.
type inputTap struct {
	next  hardware.Renderer
	ring  *inputRing
	frame int64
}

// Render passes on. Audio thread.
func (t *inputTap) Render(out, in [][]float32) {
	n := 0
	if len(out) > 0 {
		n = len(out[0])
	}
	for at := 0; at < n; at += instrument.BlockSize {
		t.ring.push(t.frame+int64(at), in, at, min(n-at, instrument.BlockSize))
	}
	t.next.Render(out, in)
	t.frame += int64(n)
}

// inputRing is a bounded queue of captured blocks, from the audio thread to one
// goroutine. It neither locks, allocates nor waits.
type inputRing struct {
	channels   int
	blocks     []inputBlock
	head, tail atomic.Uint64 // next to read, next to write
	lost       atomic.Uint64 // frames that found no room
}

type inputBlock struct {
	frame  int64
	frames int
	volts  []float32 // a block a channel
}

func newInputRing(channels int) *inputRing {
	r := &inputRing{channels: channels, blocks: make([]inputBlock, inputsWaiting)}
	for i := range r.blocks {
		r.blocks[i].volts = make([]float32, channels*instrument.BlockSize)
	}
	return r
}

// push appends n frames of what is in, from one on; a channel that is missing is
// at 0 V. Audio thread.
func (r *inputRing) push(frame int64, in [][]float32, from, n int) {
	t := r.tail.Load()
	if t-r.head.Load() >= uint64(len(r.blocks)) {
		r.lost.Add(uint64(n))
		return
	}
	b := &r.blocks[t%uint64(len(r.blocks))]
	b.frame, b.frames = frame, n
	for c := range r.channels {
		v := b.volts[c*instrument.BlockSize:][:n]
		if c < len(in) && from+n <= len(in[c]) {
			copy(v, in[c][from:])
		} else {
			clear(v)
		}
	}
	r.tail.Store(t + 1)
}

// oldest returns the block that waits longest, nil for none, until pop.
func (r *inputRing) oldest() *inputBlock {
	h := r.head.Load()
	if h == r.tail.Load() {
		return nil
	}
	return &r.blocks[h%uint64(len(r.blocks))]
}

func (r *inputRing) pop() { r.head.Add(1) }
