package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// takeTime is a place in a take, as people write it: seconds, m:ss, h:mm:ss, or
// 1h2m3s. It is a flag's value.
type takeTime struct{ time.Duration }

// Set reads the text of a flag.
func (t *takeTime) Set(text string) (err error) {
	t.Duration, err = parseTakeTime(text)
	return err
}

func (t *takeTime) String() string {
	if t.Duration == 0 {
		return ""
	}
	return t.Duration.String()
}

// Type is what help calls it.
func (t *takeTime) Type() string { return "time" }

func parseTakeTime(text string) (time.Duration, error) {
	wrong := fmt.Errorf("%q is no time in a take; expected seconds, m:ss or h:mm:ss, such as 83.5 or 1:23.5", text)
	if d, err := time.ParseDuration(text); err == nil && d >= 0 && d <= scenes.MaxLength {
		return d, nil
	}
	parts := strings.Split(text, ":")
	if len(parts) > 3 {
		return 0, wrong
	}
	total := 0.0
	for i, part := range parts {
		last := i == len(parts)-1
		if part == "" || strings.Trim(part, "0123456789.") != "" || !last && strings.Contains(part, ".") {
			return 0, wrong
		}
		v, err := strconv.ParseFloat(part, 64)
		if err != nil || i > 0 && v >= 60 {
			return 0, wrong
		}
		total = 60*total + v
	}
	if total > scenes.MaxLength.Seconds() {
		return 0, wrong
	}
	return time.Duration(math.Round(total * 1e9)), nil
}

// feedBlocks is how far ahead a take is read for the audio thread, in blocks:
// 1.4 s at 48 kHz.
const feedBlocks = 1 << 10

// feedSource is what the audio thread gets of a take from one frame on: a ring
// that a goroutine fills. The next one takes its place where the take goes on at
// another moment.
type feedSource struct {
	ring   *inputRing
	closed chan struct{}
	once   sync.Once
	shift  int64 // from the take's frames to ours
	from   int64 // frame of ours at which it begins
	over   atomic.Bool
}

func (s *feedSource) close() {
	if s != nil {
		s.once.Do(func() { close(s.closed) })
	}
}

// fill fills the ring with what read gives, block by block, until it is closed.
// Read fills in a block from a frame of the take on, and tells whether there is
// more.
func (s *feedSource) fill(frame int64, read func(frame int64, block [][]float32) bool) {
	frame -= frame % instrument.BlockSize
	block := make([][]float32, s.ring.channels)
	for c := range block {
		block[c] = make([]float32, instrument.BlockSize)
	}
	for {
		select {
		case <-s.closed:
			return
		default:
		}
		if s.ring.tail.Load()-s.ring.head.Load() >= feedBlocks {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if !read(frame-s.shift, block) {
			s.over.Store(true)
			return
		}
		s.ring.push(frame, block, 0, instrument.BlockSize)
		frame += instrument.BlockSize
	}
}

// feedTap lets the engine hear what the inputs of a take captured, on channels
// behind those of the device, and lets out what a take sounded like in place of
// what the engine makes of it.
type feedTap struct {
	next     hardware.Renderer
	base     int // channels of the device
	channels int // of the take's inputs, 0 for none
	in       [][]float32
	fed      [][]float32
	view     [][]float32

	inputs atomic.Pointer[feedSource]
	sound  atomic.Pointer[feedSource] // exact alone
	exact  bool
	outs   []int        // where the take's channels are heard, -1 nowhere
	mute   atomic.Bool  // fades out what the take sounded like
	fall   atomic.Int32 // frames of the fade that pass in one when it is muted
	late   atomic.Uint64

	// The audio thread's own.
	frame int64
	gain  int // frames of fade, of feedFade
	of    *feedSource
	last  []float32
}

// feedFade is how long, in frames, the sound of a take takes to come and go.
const feedFade = 2400

// Render passes on. Audio thread.
func (t *feedTap) Render(out, in [][]float32) {
	n := 0
	if len(out) > 0 {
		n = len(out[0])
	}
	if t.channels == 0 {
		t.next.Render(out, in)
	} else {
		for at := 0; at < n; {
			k := min(n-at, instrument.BlockSize-int((t.frame+int64(at))%instrument.BlockSize))
			t.take(t.inputs.Load(), t.frame+int64(at), k, at)
			at += k
		}
		for c := range t.in {
			switch {
			case c >= t.base:
				t.view[c] = t.fed[c-t.base][:n]
			case c < len(in):
				t.view[c] = in[c]
			default:
				t.view[c] = t.in[c][:n] // 0 V
			}
		}
		t.next.Render(out, t.view)
	}
	if t.exact {
		t.play(out, n)
	}
	t.frame += int64(n)
}

// take copies what was captured at a frame, 0 V where it is not known. Audio thread.
func (t *feedTap) take(s *feedSource, frame int64, n, at int) {
	b := s.block(frame, n)
	for c := range t.fed {
		to := t.fed[c][at : at+n]
		if b == nil {
			clear(to)
			continue
		}
		copy(to, b.volts[c*instrument.BlockSize+int(frame-b.frame):])
	}
	if b == nil && s.owes(frame) {
		t.late.Add(uint64(n))
	}
}

// block returns the one that holds frames from one on, nil if it is not there.
// Audio thread.
func (s *feedSource) block(frame int64, n int) *inputBlock {
	if s == nil {
		return nil
	}
	for {
		b := s.ring.oldest()
		if b == nil || b.frame > frame {
			return nil
		}
		if frame+int64(n) <= b.frame+int64(b.frames) {
			return b
		}
		s.ring.pop()
	}
}

// owes tells whether a frame should be there. Audio thread.
func (s *feedSource) owes(frame int64) bool { return s != nil && frame >= s.from && !s.over.Load() }

// play puts the sound of the take in the place of the engine's. Audio thread.
func (t *feedTap) play(out [][]float32, n int) {
	for c := range out {
		clear(out[c])
	}
	s := t.sound.Load()
	if s != t.of && t.gain == 0 {
		t.of = s // the one before has faded away
	}
	for at := 0; at < n; {
		frame := t.frame + int64(at)
		k := min(n-at, instrument.BlockSize-int(frame%instrument.BlockSize))
		b := t.of.block(frame, k)
		up := b != nil && t.of == s && !t.mute.Load()
		if b == nil && t.of == s && s.owes(frame) {
			t.late.Add(uint64(k))
		}
		g, fall := t.gain, 1
		if t.mute.Load() {
			fall = max(int(t.fall.Load()), 1)
		}
		for c, to := range t.outs {
			if to < 0 || to >= len(out) {
				continue
			}
			d := out[to][at : at+k]
			g = t.gain
			if b != nil {
				copy(d, b.volts[c*instrument.BlockSize+int(frame-b.frame):][:k])
				t.last[c] = d[k-1]
			} else {
				for i := range d {
					d[i] = t.last[c] // it fades from where it stopped
				}
			}
			for i := range d {
				if up {
					g = min(g+1, feedFade)
				} else {
					g = max(g-fall, 0)
				}
				if g < feedFade {
					x := float32(g) / feedFade
					d[i] *= x * x * (3 - 2*x)
				}
			}
		}
		t.gain = g
		at += k
	}
}

// feed returns a renderer that hears what the inputs of the take captured.
func (r *replay) feed(next hardware.Renderer) hardware.Renderer {
	if r == nil || r.channels == 0 && !r.exact {
		return next
	}
	t := &feedTap{next: next, base: r.base, channels: r.channels, exact: r.exact, outs: r.outs, last: make([]float32, len(r.outs)), gain: 0}
	for range r.base + r.channels {
		t.in = append(t.in, make([]float32, instrument.BlockSize*16))
	}
	for range r.channels {
		t.fed = append(t.fed, make([]float32, instrument.BlockSize*16))
	}
	t.view = make([][]float32, len(t.in))
	r.tap = t
	return t
}

// sockets returns where jacks are for the rack that plays a take: those that the
// take has captured are behind those of the rig.
func (r *replay) sockets(channels int, rig instrument.Sockets) (int, instrument.Sockets) {
	if r == nil || r.head.Sockets == nil {
		return channels, rig
	}
	if r.exact {
		// Where the channels of the take are heard: speakers by number, jacks by name.
		r.outs = make([]int, r.head.Channels)
		ears, ours := speakers(&r.head), channels
		for _, at := range rig.Outputs {
			ours = min(ours, at)
		}
		for c := range r.outs {
			r.outs[c] = -1
			if c < ears && c < ours {
				r.outs[c] = c
			}
		}
		for name, at := range r.head.Sockets.Outputs {
			if to, ok := rig.Outputs[name]; ok && at < len(r.outs) {
				r.outs[at] = to
			}
		}
	}
	if r.channels == 0 {
		return channels, rig
	}
	s := instrument.Sockets{Outputs: rig.Outputs, Inputs: map[string]int{}}
	for name, at := range rig.Inputs {
		r.base = max(r.base, at+1)
		s.Inputs[name] = at
	}
	if r.base+r.channels > instrument.MaxCaptured {
		slog.Warn("replay: the rig has too many inputs for those of the take; they are at 0 V")
		r.channels = 0
		return channels, rig
	}
	for name, at := range r.head.Sockets.Inputs {
		s.Inputs[name] = r.base + at
	}
	return channels, s
}

// follow lets inputs and sound go on with the take, whose frames are r.shift
// from ours, from a frame of ours on, which is where a place begins that was made
// ready. A hand's panic stays.
func (r *replay) follow(frame int64, s *replayStart) {
	t := r.tap
	if s.in != nil && (t == nil || r.channels == 0) {
		s.in.close() // the rig had no room for them
		s.in = nil
	}
	if t == nil {
		return
	}
	feed := func(to *atomic.Pointer[feedSource], ring *inputRing, done func(), read func(at int64, block [][]float32, closed chan struct{}) bool) {
		f := &feedSource{ring: ring, closed: make(chan struct{}), shift: r.shift, from: frame}
		go landed(func() {
			defer done()
			f.fill(frame, func(at int64, block [][]float32) bool { return read(at, block, f.closed) })
		})
		to.Swap(f).close()
	}
	if in := s.in; in != nil {
		s.in = nil
		feed(&t.inputs, in.ring, in.close, func(at int64, block [][]float32, _ chan struct{}) bool { return readInputs(in.r, at, block) })
	}
	if ahead := s.sound; ahead != nil {
		s.sound = nil
		feed(&t.sound, ahead.ring, ahead.close, ahead.read)
		t.mute.Store(r.panicked)
	}
}

// close ends what reads ahead.
func (r *replay) close() {
	if r == nil {
		return
	}
	if r.first != nil && !r.began {
		r.first.drop()
	}
	select {
	case s := <-r.starts:
		s.drop()
	default:
	}
	if r.tap != nil {
		r.tap.inputs.Load().close()
		r.tap.sound.Load().close()
	}
}

// silence takes over that a hand panicked: nothing that the take does ends that,
// and its sound fades within a block, where that is what is heard.
func (r *replay) silence() { r.fall((feedFade + instrument.BlockSize - 1) / instrument.BlockSize) }

// fadeOut is silence at the end of all, whose fade is a whole one.
func (r *replay) fadeOut() { r.fall(1) }

func (r *replay) fall(fall int32) {
	if r == nil {
		return
	}
	r.panicked = true
	r.panics++
	if r.tap != nil {
		r.tap.fall.Store(fall)
		r.tap.mute.Store(true)
	}
}

// speak lets it be heard again.
func (r *replay) speak() {
	if r == nil {
		return
	}
	r.panicked = false
	if r.tap != nil {
		r.tap.mute.Store(false)
	}
}

// earPour gives what inputs of a take captured.
type earPour struct {
	r    *scenes.InputsReader
	ring *inputRing // for it
}

func (p *earPour) close() { _ = p.r.Close() }

// openEars opens what inputs of a take captured, for so many channels.
func openEars(path string, channels int) (*earPour, error) {
	take, err := scenes.OpenTake(path)
	if err != nil {
		return nil, err
	}
	defer take.Close()
	in, err := take.Inputs()
	if err != nil {
		return nil, err
	}
	if in == nil {
		return nil, errors.New("the take has no inputs any more")
	}
	return &earPour{in, newInputRing(channels)}, nil
}

// openExact opens a take to be heard as it sounded, and renders it up to a frame,
// to be heard until another one, 0 for its end.
func openExact(path string, from, until int64, deaf bool, closed chan struct{}) (*exactPour, error) {
	take, err := scenes.OpenTake(path)
	if err != nil {
		return nil, err
	}
	p := &exactPour{take: take, end: until}
	if p.src, err = takeSourceOf(take, nil, 0, takeHow{deaf: deaf}, nil, takeTail); err == nil && !p.src.exact {
		err = scenes.ErrNoSound
	}
	if err != nil {
		take.Close()
		return nil, err
	}
	for range p.src.channel {
		p.out = append(p.out, make([]float32, instrument.BlockSize))
	}
	p.ring = newInputRing(p.src.channel)
	p.read(from, nil, closed)
	return p, nil
}

// readInputs reads a block from a frame on, which may be before the take.
func readInputs(in *scenes.InputsReader, at int64, block [][]float32) bool {
	view := make([][]float32, 0, 16)
	from := int(min(max(-at, 0), int64(len(block[0]))))
	for c := range block {
		clear(block[c])
		view = append(view, block[c][from:])
	}
	if from == len(block[0]) {
		return true
	}
	n, err := in.Read(at+int64(from), view)
	return err == nil && n == len(view[0])
}

// exactPour gives a take as it sounded in blocks that begin at any frame.
type exactPour struct {
	take *scenes.TakeReader
	src  *takeSource
	end  int64 // frame of the take, 0 for its own
	at   int64 // frame of the take that left begins with
	left [][]float32
	over bool
	out  [][]float32
	ring *inputRing // for what is read
}

func (p *exactPour) close() {
	p.src.close()
	p.take.Close()
}

// read renders up to a frame and fills a block from it on, which may begin
// before the take. It tells whether any of the block is the take's, or may be yet.
func (p *exactPour) read(frame int64, block [][]float32, closed chan struct{}) bool {
	n := 0
	if len(block) > 0 {
		n = len(block[0])
	}
	for c := range block {
		clear(block[c])
	}
	last := frame + int64(n)
	for p.at < last && !p.over {
		if len(p.left) == 0 || len(p.left[0]) == 0 {
			select {
			case <-closed:
				return false
			default:
			}
			got, err := p.src.render(p.out)
			if err == nil && p.end > 0 && p.at >= p.end {
				err = io.EOF
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					slog.Error("replay: the take cannot be rendered further", "err", err)
				}
				p.over = true
				break
			}
			p.left = p.left[:0]
			for c := range p.out {
				p.left = append(p.left, p.out[c][:got])
			}
		}
		k := int64(len(p.left[0]))
		if p.at < frame {
			k = min(k, frame-p.at)
		} else {
			k = min(k, last-p.at)
			for c := range block {
				copy(block[c][p.at-frame:], p.left[c][:k])
			}
		}
		for c := range p.left {
			p.left[c] = p.left[c][k:]
		}
		p.at += k
	}
	return !p.over || p.at > frame
}
