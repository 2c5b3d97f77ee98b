package hardware

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// wordCase is a converter of nothing but words, as that of a rack of gate expanders, and one channel of
// volts at the end, as a level that slews.
type wordCase struct {
	channels, inputs int
	exact            ChannelSet
	frame            int64
	level            float32
	word             func(frame int64, channel int) int32
	begins, lands    atomic.Int32
	landing          bool
	left             int
	panicNow         atomic.Bool
}

func (w *wordCase) Shape() (int, int, int, int) { return w.channels, w.inputs, w.channels, w.inputs }
func (w *wordCase) Hold() ChannelSet            { return 1<<w.channels - 1 }
func (w *wordCase) Exact() ChannelSet           { return w.exact }
func (w *wordCase) Begin()                      { w.begins.Add(1) }
func (w *wordCase) Land()                       { w.lands.Add(1); w.landing, w.left = true, 2400 }
func (w *wordCase) Landed() bool                { return w.landing && w.left <= 0 }
func (w *wordCase) In(samples, volts [][]float32) {
	for c := range samples {
		copy(volts[c], samples[c])
	}
}
func (w *wordCase) Out(volts, samples [][]float32, words [][]int32) {
	if w.panicNow.Load() {
		panic("converter")
	}
	for c := range words {
		for i := range words[c] {
			words[c][i] = w.word(w.frame+int64(i), c) << 8
			if w.landing {
				words[c][i] = 0
			}
		}
		for i := range samples[c] {
			samples[c][i] = w.level
			if w.landing {
				samples[c][i] *= float32(max(w.left-i, 0)) / 2400
			}
		}
	}
	if w.landing {
		w.left -= BlockFrames
	}
	w.frame += BlockFrames
}

// Every word there is goes through the ring and the drain as it is, next to a channel of floats.
func TestAllWordsPassExactly(t *testing.T) {
	const total = 1 << 24
	s, err := Settings{Converter: &wordCase{channels: 3, exact: Channels(0, 1), level: 0.3, word: func(f int64, c int) int32 {
		return int32(f)<<8>>8 ^ int32(c)*0x2aaaaa
	}}}.ApplyDefaults()
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(s, &ramp{})
	r := mustRing(t, 3, 1000, s.hold, 144)
	defer r.free()
	r.integers(s.exact)
	st := &stream{ring: r}
	out := make([]int32, 3*BlockFrames)
	want := int32(math.RoundToEven(float64(float32(0.3)) * (1 << 31)))
	seen := make([]uint64, total/64)
	for f := int32(0); f < total; f += BlockFrames {
		d.interleave()
		d.emit(st)
		r.drainInts(out)
		for i := range int32(BlockFrames) {
			w := (f + i) << 8 >> 8
			if a, b := w<<8, (w^0x2aaaaa)<<8; out[3*i] != a || out[3*i+1] != b {
				t.Fatalf("frame %d: %08x %08x, want %08x %08x", f+i, out[3*i], out[3*i+1], a, b)
			}
			if out[3*i+2] != want {
				t.Fatalf("frame %d: the float became %d, want %d", f+i, out[3*i+2], want)
			}
			u := uint32(out[3*i]) >> 8
			seen[u/64] |= 1 << (u % 64)
		}
	}
	for i, m := range seen {
		if m != math.MaxUint64 {
			t.Fatalf("words from %d on were not all seen", i*64)
		}
	}
	if d.clipped.Load() != 0 || r.underruns() != 0 {
		t.Errorf("%d clipped, %d underruns", d.clipped.Load(), r.underruns())
	}
}

func TestFloatsBecomeTheNearestInteger(t *testing.T) {
	r := mustRing(t, 1, 16, 0, 1)
	defer r.free()
	r.integers(0)
	in := []float32{0, 1, -1, 1.5, -1.5, 0.5, -0.5, 1.0 / (1 << 31), 0.7 / (1 << 31), -0.7 / (1 << 31), 1 - 1.0/(1<<24)}
	want := []int32{0, math.MaxInt32, math.MinInt32, math.MaxInt32, math.MinInt32, 1 << 30, -1 << 30, 1, 1, -1, math.MaxInt32 - 127}
	if n := r.pushInts(in, make([][]int32, 1)); n != 2 {
		t.Errorf("%d clipped", n)
	}
	out := make([]int32, len(in))
	r.drainInts(out)
	for i := range in {
		if out[i] != want[i] {
			t.Errorf("%g became %d, want %d", in[i], out[i], want[i])
		}
	}
}

// A shortage holds words and fades floats, in integers as in floats.
func TestUnderrunOfIntegers(t *testing.T) {
	r := mustRing(t, 3, 64, Channels(1), 16)
	defer r.free()
	r.integers(Channels(2))
	words := [][]int32{nil, nil, {0x123400, -0x567800}}
	r.pushInts([]float32{0.5, 0.25, 0, 0.5, 0.25, 0}, words)
	out := make([]int32, 3*30)
	r.drainInts(out)
	for i := 1; i < 30; i++ {
		if out[3*i+1] != 1<<29 || out[3*i+2] != -0x567800 {
			t.Fatalf("frame %d: CV %d, word %x", i, out[3*i+1], out[3*i+2])
		}
		if i > 1 && out[3*i] > out[3*i-3] {
			t.Fatalf("frame %d: audio rises to %d", i, out[3*i])
		}
	}
	if out[3*29] != 0 {
		t.Errorf("audio ends at %d", out[3*29])
	}
}

// A renderer that delivers nothing any more: what was held for a quarter of a second falls, gates at
// once, CVs in 50 ms; and comes back without a step.
func TestHeldValuesDoNotStayForEver(t *testing.T) {
	for _, integers := range []bool{false, true} {
		r := mustRing(t, 4, 4096, Channels(0, 1, 3), 144)
		defer r.free()
		r.setGates(Channels(1))
		one := float64(1)
		if integers {
			r.integers(Channels(3))
			one = 1 << 31
		}
		frame := []float32{0.8, 0.5, 0.4, 0.25}
		push := func() {
			block := make([]float32, 0, 4*64)
			for range 64 {
				block = append(block, frame...)
			}
			if integers {
				w := make([]int32, 64)
				for i := range w {
					w[i] = 1 << 29
				}
				r.pushInts(block, [][]int32{nil, nil, nil, w})
				return
			}
			r.push(block)
		}
		var got [4][]float64
		take := func(n int) {
			f, w := make([]float32, 4*n), make([]int32, 4*n)
			if integers {
				r.drainInts(w)
			} else {
				r.drain(f)
			}
			for i := range n {
				for c := range got {
					if integers {
						got[c] = append(got[c], float64(w[4*i+c])/one)
					} else {
						got[c] = append(got[c], float64(f[4*i+c]))
					}
				}
			}
		}
		push()
		take(64)
		for range 400 {
			take(64)
		}
		const hold, slew = 12000, 2400
		for i := range got[0] {
			n := i - 64 // frames of shortage before this one
			cv, gate, word := got[0][i], got[1][i], got[3][i]
			switch {
			case n < hold:
				if math.Abs(cv-0.8) > 1e-6 || gate != 0.5 || word != 0.25 {
					t.Fatalf("frame %d of the shortage: CV %g, gate %g, word %g", n, cv, gate, word)
				}
			case n < hold+slew:
				if want := 0.8 * float64(slew-(n-hold)) / (slew + 1); math.Abs(cv-want) > 1e-3 || gate != 0 {
					t.Fatalf("frame %d of the shortage: CV %g, want %g, gate %g", n, cv, want, gate)
				}
				if integers && word != 0 {
					t.Fatalf("frame %d of the shortage: word %g", n, word)
				}
			default:
				if cv != 0 || gate != 0 || word != 0 && integers {
					t.Fatalf("frame %d of the shortage: CV %g, gate %g, word %g", n, cv, gate, word)
				}
			}
		}
		back := len(got[0])
		for range 6 {
			push()
			take(64)
		}
		for i := back; i < len(got[0]); i++ {
			if step := math.Abs(got[0][i] - got[0][i-1]); step > 0.8*1.6/144 {
				t.Fatalf("CV steps by %g on its way back", step)
			}
		}
		if last := got[0][len(got[0])-1]; math.Abs(last-0.8) > 1e-6 {
			t.Errorf("CV came back to %g", last)
		}
		if r.underruns() != 1 {
			t.Errorf("%d underruns", r.underruns())
		}
	}
}

// Emergency returns in time with everything at rest: when all is well, when the renderer hangs, and
// when the ring is deep.
func TestEmergencyLandsInTime(t *testing.T) {
	for name, c := range map[string]struct {
		depth int
		hang  time.Duration
	}{"well": {}, "hanging": {hang: 3 * time.Second}, "deep": {depth: 200}} {
		t.Run(name, func(t *testing.T) {
			r := &hanger{ramp: ramp{volts: 4}}
			d := openNull(t, Settings{Channels: 2, CV: Channels(0), Gate: Channels(1), Depth: c.depth, Period: 64}, r)
			if err := d.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
			if c.hang > 0 {
				r.hang.Store(int64(c.hang))
				time.Sleep(30 * time.Millisecond)
			}
			began := time.Now()
			d.Emergency()
			took := time.Since(began)
			st := d.sink.Load()
			t.Logf("%s; by the device thread: %v", took, st.ring.grounded())
			if took > 130*time.Millisecond {
				t.Errorf("took %s", took)
			}
			// On a busy machine the null device's thread is late itself.
			if !d.waitUntil(time.Second, func() bool { return st.ring.grounded() || d.atRest.Load() }) {
				t.Error("not at rest")
			}
			if name != "well" && !st.ring.grounded() {
				t.Error("the device thread did not do it")
			}
			r.hang.Store(0)
			d.Emergency() // again does no harm
		})
	}
}

type hanger struct {
	ramp
	hang atomic.Int64
}

func (h *hanger) Render(out, in [][]float32) {
	for h.hang.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	h.ramp.Render(out, in)
}

// A device that is lost has Begin called when it is back, and none for the null device in between.
func TestConverterBeginsAndLands(t *testing.T) {
	c := &wordCase{channels: 2, inputs: 1, exact: Channels(0), level: 0.5, word: func(f int64, _ int) int32 { return int32(f) }}
	d := openNull(t, Settings{Converter: c}, &ramp{})
	if d.settings.Channels != 2 || d.settings.Capture != 1 {
		t.Fatalf("%+v", d.settings)
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if c.begins.Load() != 1 || c.lands.Load() != 0 {
		t.Errorf("%d begins, %d lands", c.begins.Load(), c.lands.Load())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if c.begins.Load() != 1 || c.lands.Load() != 1 || !c.Landed() {
		t.Errorf("%d begins, %d lands, landed %v", c.begins.Load(), c.lands.Load(), c.Landed())
	}
}

func TestBackendsThatChangeWordsAreRefused(t *testing.T) {
	c := &wordCase{channels: 2, exact: Channels(0, 1), word: func(int64, int) int32 { return 0 }}
	for _, backend := range []string{"jack", "pulse"} {
		_, err := Open(context.Background(), Settings{Backend: backend, Converter: c, Logger: quiet()}, &ramp{})
		if backend == "pulse" && err == nil {
			continue // there is no server to refuse anything
		}
		if !errors.Is(err, ErrInexact) && backend == "jack" {
			t.Errorf("%s: %v", backend, err)
		}
		if err != nil && !strings.Contains(err.Error(), "hw:N,0") {
			t.Errorf("%s does not say what to do: %v", backend, err)
		}
	}
}

// What is missing on the way in is held, counted, and does not shift what comes later.
func TestAlignmentOfCapture(t *testing.T) {
	s, err := Settings{Channels: 1, Capture: 1, CV: Channels(0), CVFullScale: 1}.ApplyDefaults()
	if err != nil {
		t.Fatal(err)
	}
	st, err := newStream("test", s)
	if err != nil {
		t.Fatal(err)
	}
	defer st.free()
	st.together = true
	st.ring.setLimit(512)
	c := &counter{volts: 1}
	d := newDevice(s, c)
	// A wire from the output to the input, of no length; the device takes 128 frames at a time.
	wire := make([]float32, 128)
	cycle := func(render bool) {
		for render && st.ring.room() >= BlockFrames {
			d.step(st)
		}
		st.ring.drain(wire)
		st.capture.push(wire)
	}
	for range 40 {
		cycle(true)
	}
	for _, stall := range []int{1, 5, 6, 30, 300, 1000} {
		for range stall {
			cycle(false)
		}
		for range 100 {
			cycle(true)
		}
	}
	best, elsewhere, other, seen := c.report()
	t.Logf("distance %d in %d of %d frames, %d elsewhere, %d other; %d underruns of %d frames; %d gaps, %d realigned", best.distance, best.frames, seen, elsewhere, other,
		st.ring.underruns(), st.ring.underrunFrames(), d.gaps.Load(), d.realigned.Load())
	// A stall beyond a quarter of a second has the value come back in a fade, and one beyond what the
	// capture's ring holds has lost the frames before it.
	if best.distance != 512 || elsewhere > 144*2+512+64 || d.realigned.Load() != 0 {
		t.Errorf("shifted: %d of %d frames", elsewhere, seen)
	}
}

// A converter that panics cannot land: the device thread does.
func TestConverterPanicIsLandedByTheDevice(t *testing.T) {
	c := &wordCase{channels: 2, exact: Channels(0), level: 0.5, word: func(int64, int) int32 { return 0x123456 }}
	s, err := Settings{Converter: c, Period: 64}.ApplyDefaults()
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(s, &ramp{})
	st, err := openStream("null", s)
	if err != nil {
		t.Fatal(err)
	}
	d.sink.Store(st)
	for st.ring.room() >= BlockFrames {
		d.step(st)
	}
	if err := st.start(48000, 0); err != nil {
		t.Fatal(err)
	}
	defer st.close()
	c.panicNow.Store(true)
	began := time.Now()
	d.crash()
	took := time.Since(began)
	// On a busy machine the null device's thread is late itself.
	if !d.waitUntil(time.Second, st.ring.grounded) || took > 150*time.Millisecond {
		t.Errorf("grounded %v after %s", st.ring.grounded(), took)
	}
	if v := st.ring.lastValues(); v[0] != 0 || v[1] != 0 {
		t.Errorf("not at 0 V: %v", v)
	}
}

func TestDuplexStepAllocatesNothing(t *testing.T) {
	s, err := Settings{Converter: &wordCase{channels: 8, inputs: 8, exact: Channels(6, 7), level: 0.1, word: scatter}}.ApplyDefaults()
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(s, &ramp{})
	st, err := newStream("test", s)
	if err != nil {
		t.Fatal(err)
	}
	defer st.free()
	st.together = true
	st.ring.integers(s.exact)
	out, in := make([]int32, 8*BlockFrames), make([]float32, 8*BlockFrames)
	if n := testing.AllocsPerRun(2000, func() {
		d.step(st)
		st.capture.push(in)
		st.ring.drainInts(out)
	}); n != 0 {
		t.Errorf("%g allocations a block", n)
	}
}

// What a block of eight channels costs beside Render, which does nothing here.
func BenchmarkStep(b *testing.B) {
	for name, capture := range map[string]int{"playback": 0, "duplex": 8} {
		b.Run(name, func(b *testing.B) {
			s, err := Settings{Channels: 8, Capture: capture, CV: Channels(6, 7)}.ApplyDefaults()
			if err != nil {
				b.Fatal(err)
			}
			d := newDevice(s, silent{})
			st, err := newStream("test", s)
			if err != nil {
				b.Fatal(err)
			}
			defer st.free()
			st.together = true
			out, in := make([]float32, 8*BlockFrames), make([]float32, 8*BlockFrames)
			for b.Loop() {
				if st.capture != nil {
					st.capture.push(in)
				}
				d.step(st)
				st.ring.drain(out)
			}
		})
	}
}

type silent struct{}

func (silent) Render(out, in [][]float32) {}
