package hardware

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func mustPanics(t testing.TB, r *ring) *panicCount {
	t.Helper()
	p, err := newPanicCount()
	if err != nil {
		t.Fatal(err)
	}
	r.setPanics(p)
	return p
}

func smoothstep(x float64) float64 { return x * x * (3 - 2*x) }

// What is queued when a panic comes is not played on: audio goes in a fade of the device's buffer, gates
// and the gates among the bits of words are low at once, voltages stand and the other bits pass; and from
// the frame on at which the renderer has obeyed everything is as it was rendered, without a step.
func TestPanicSilencesWhatIsQueued(t *testing.T) {
	const fade, gateBits = 144, int32(0x00ff0000)
	for _, integers := range []bool{false, true} {
		for _, c := range []struct{ first, muted int }{{128, 128}, {32, 64}, {500, fade}} {
			t.Run(fmt.Sprintf("integers %v, buffers of %d", integers, c.first), func(t *testing.T) {
				r := mustRing(t, 4, 4096, Channels(1, 2, 3), fade)
				defer r.free()
				r.setGates(Channels(2))
				panics := mustPanics(t, r)
				one := 1.0
				if integers {
					r.integers(Channels(3))
					r.setGateBits(3, gateBits)
					one = 1 << 31
				}
				live := func(i, channel int) float64 {
					switch channel {
					case 0:
						return float64(float32(0.7 * math.Sin(float64(i)/9)))
					case 1:
						return float64(float32(0.9 * math.Cos(float64(i)/400)))
					case 2:
						return 0.5
					}
					if integers {
						return float64(int32(uint32(i)*0x01030507)) / one
					}
					return float64(float32(i) / 8192)
				}
				end := 0
				push := func(n int) {
					block, word := make([]float32, 4*n), make([]int32, n)
					for i := range n {
						for ch := range 4 {
							block[4*i+ch] = float32(live(end+i, ch))
						}
						word[i] = int32(uint32(end+i) * 0x01030507)
					}
					if end += n; integers {
						r.pushInts(block, [][]int32{nil, nil, nil, word})
					} else {
						r.push(block)
					}
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
						for ch := range got {
							if integers {
								got[ch] = append(got[ch], float64(w[4*i+ch])/one)
							} else {
								got[ch] = append(got[ch], float64(f[4*i+ch]))
							}
						}
					}
				}
				push(2048)
				take(100)
				atomic.AddUint32(panics.asked(), 1)
				take(c.first)
				for len(got[0]) < 1000 {
					take(50)
				}
				// The renderer has obeyed at a frame that is within a buffer of the device.
				const fresh = 1033
				r.answer(1, fresh)
				take(100)
				push(512)
				for len(got[0]) < 2000 {
					take(100)
				}
				for i := range got[0] {
					want := [4]float64{live(i, 0), live(i, 1), live(i, 2), live(i, 3)}
					if i >= 100 && i < fresh {
						want[0] *= smoothstep(math.Max(float64(c.muted-(i-100)), 0) / float64(c.muted))
						want[1], want[2] = live(99, 1), 0
						if integers {
							want[3] = float64(int32(uint32(i)*0x01030507)&^gateBits) / one
						} else {
							want[3] = live(99, 3)
						}
					} else if i >= fresh && i < fresh+fade {
						held := smoothstep(float64(fade-(i-fresh)) / fade)
						want[0] *= 1 - held
						want[1] = want[1]*(1-held) + live(99, 1)*held
						if !integers {
							want[3] = want[3]*(1-held) + live(99, 3)*held
						}
					}
					for ch := range got {
						d := math.Abs(got[ch][i] - want[ch])
						exact := i < 100 || i >= fresh+fade || ch == 2 || ch == 3 && integers || ch == 0 && i >= 100+c.muted && i < fresh
						if exact && ch < 3 && integers {
							d = max(d-1/one, 0) // the nearest integer
						}
						if exact && d != 0 || d > 1e-6 {
							t.Fatalf("frame %d, channel %d: %v, want %v", i, ch, got[ch][i], want[ch])
						}
					}
				}
				if r.underruns() != 0 || r.missing() != 0 || r.consumed() != uint64(len(got[0])) {
					t.Errorf("%d underruns, %d frames missing, %d taken: the clock has not gone on", r.underruns(), r.missing(), r.consumed())
				}
			})
		}
	}
}

// The ring runs empty before, in and after a panic, at every distance: no level jumps, gates stay low, and
// what is fresh comes back whole.
func TestPanicInAShortage(t *testing.T) {
	const fade = 144
	for gap := -200; gap < 400; gap += 7 {
		r := mustRing(t, 3, 8192, Channels(1, 2), fade)
		r.setGates(Channels(2))
		panics := mustPanics(t, r)
		pushed := 0
		push := func(n int) {
			b := make([]float32, 0, 3*n)
			for range n {
				b = append(b, float32(0.8*math.Sin(float64(pushed)/30)), float32(0.6+0.3*math.Sin(float64(pushed)/500)), 1)
				pushed++
			}
			r.push(b)
		}
		var all []float32
		take := func(n int) {
			b := make([]float32, 3*n)
			r.drain(b)
			all = append(all, b...)
		}
		push(1024)
		take(512)
		const asked = 1024 // of the frames of the device
		dry := asked + gap
		for len(all)/3 < asked {
			if len(all)/3 >= 512 && pushed < dry {
				push(min(64, dry-pushed))
			}
			take(64)
		}
		atomic.AddUint32(panics.asked(), 1)
		if pushed < dry {
			push(dry - pushed)
		}
		for range 6 {
			take(64)
		}
		push(300) // late, and still of before the panic
		take(64)
		fresh := pushed
		r.answer(1, uint64(fresh))
		for range 20 {
			push(64)
			take(64)
		}
		for i := 1; i < len(all)/3; i++ {
			// Smoothstep's steepest slope is 1.5 / its length, of 64 frames at least, beside the sound's own; a
			// return from a shortage runs into the panic's fade.
			if d := math.Abs(float64(all[3*i] - all[3*i-3])); d > 0.8*(1.5/64+1.5/fade+1.0/30) {
				t.Fatalf("gap %d: audio jumps by %g at frame %d", gap, d, i)
			}
			if d := math.Abs(float64(all[3*i+1] - all[3*i-2])); i > asked && d > 0.9*1.6/fade+0.3/500 {
				t.Fatalf("gap %d: the voltage jumps by %g at frame %d", gap, d, i)
			}
			if i >= asked && i < asked+6*64 && all[3*i+2] != 0 {
				t.Fatalf("gap %d: the gate is up in frame %d, %d after the panic", gap, i, i-asked)
			}
			if i >= asked+2*fade && i < asked+6*64 && all[3*i] != 0 {
				t.Fatalf("gap %d: %g sounds in frame %d, %d after the panic", gap, all[3*i], i, i-asked)
			}
		}
		if last, want := all[len(all)-3], float32(0.8*math.Sin(float64(int(r.consumed())-1)/30)); last != want {
			t.Fatalf("gap %d: at the end %g sounds, want %g", gap, last, want)
		}
		r.free()
	}
}

// A ring that begins after panics that are over, as that of a device which is back, plays from the start;
// one that begins in one waits for its answer.
func TestPanicBeforeTheRing(t *testing.T) {
	r := mustRing(t, 1, 4096, 0, 144)
	defer r.free()
	p := mustPanics(t, r)
	atomic.StoreUint32(p.asked(), 5)
	r.answer(5, 0)
	pushRamp(r, 0, 500)
	out := make([]float32, 200)
	r.drain(out)
	for i, v := range out {
		if v != rampValue(uint64(i), 0) {
			t.Fatalf("frame %d: %g", i, v)
		}
	}
	again := mustRing(t, 1, 4096, 0, 144)
	defer again.free()
	again.setPanics(p)
	atomic.StoreUint32(p.asked(), 6)
	again.answer(5, 0)
	pushRamp(again, 0, 500)
	again.drain(out)
	for i, v := range out[144:] {
		if v != 0 {
			t.Fatalf("frame %d of a ring that waits: %g", 144+i, v)
		}
	}
	again.answer(6, 300)
	again.drain(out)
	again.drain(out[:60])
	if v := out[59]; v != rampValue(459, 0) {
		t.Errorf("after the answer: %g, want %g", v, rampValue(459, 0))
	}
}

// Panics at any moment, from another thread than the renderer, which hears of them later, and obeys
// anywhere in a block: nothing that is older is heard beyond the fade, and nothing that is fresh is lost.
func TestPanicsAtAnyMoment(t *testing.T) {
	const total, fade, capacity = 4_000_000, 144, 1024
	r := mustRing(t, 2, capacity, Channels(1), fade)
	defer r.free()
	panics := mustPanics(t, r)
	value := func(p uint64, c int) float32 { return 0.25 + float32(p%4096+uint64(c)*4096)/(1<<16) }
	var (
		mu      sync.Mutex
		answers []struct {
			number uint32
			fresh  uint64
		}
		told atomic.Uint32
		over atomic.Bool
		wg   sync.WaitGroup
	)
	wg.Go(func() { // who panics
		rnd := rand.New(rand.NewPCG(1, 2))
		for !over.Load() {
			n := atomic.AddUint32(panics.asked(), 1)
			time.Sleep(time.Duration(rnd.IntN(300)) * time.Microsecond)
			told.Store(n)
			time.Sleep(time.Duration(rnd.IntN(3000)) * time.Microsecond)
		}
	})
	wg.Go(func() { // who renders
		runtime.LockOSThread()
		rnd := rand.New(rand.NewPCG(3, 4))
		obeyed := uint32(0)
		block := make([]float32, 2*BlockFrames)
		for p := uint64(0); p < total+capacity && !over.Load(); p += BlockFrames {
			if n := told.Load(); n != obeyed {
				obeyed = n
				fresh := p + uint64(rnd.IntN(BlockFrames)) + 1
				mu.Lock()
				answers = append(answers, struct {
					number uint32
					fresh  uint64
				}{n, fresh})
				mu.Unlock()
				r.answer(n, fresh)
			}
			for i := range BlockFrames {
				block[2*i], block[2*i+1] = value(p+uint64(i), 0), value(p+uint64(i), 1)
			}
			for !over.Load() && !r.wait(BlockFrames, time.Second) {
			}
			r.push(block)
		}
	})
	// until is where the panics up to one are obeyed.
	until := func(n uint32) uint64 {
		mu.Lock()
		defer mu.Unlock()
		for i := len(answers) - 1; i >= 0; i-- {
			if answers[i].number < n {
				if i == len(answers)-1 {
					return math.MaxUint64
				}
				return answers[i+1].fresh
			}
		}
		if len(answers) == 0 {
			if n == 0 {
				return 0
			}
			return math.MaxUint64
		}
		if n == 0 {
			return 0
		}
		return answers[0].fresh
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	out := make([]float32, 2*200)
	silent, exact, mutes := 0, 0, 0
	was, since, may := false, uint64(0), uint64(0)
	stood := float32(0)
	for p := uint64(0); p < total; {
		n := uint64(rnd.IntN(200) + 1)
		for r.fill() < int(n) {
			runtime.Gosched()
		}
		before := atomic.LoadUint32(panics.asked())
		r.drain(out[:2*n])
		after := atomic.LoadUint32(panics.asked())
		must, might := until(before), until(after)
		for i := range n {
			f, v, cv := p+i, out[2*i], out[2*i+1]
			is := f < must
			if is && !was {
				since = f
				mutes++
			}
			if was = is; f < might {
				may = f + 1
			}
			switch {
			case is && f >= since+fade:
				silent++
				if v != 0 {
					t.Fatalf("frame %d: %g sounds, %d frames after a panic and %d before it is obeyed", f, v, f-since, must-f)
				}
				if cv != stood {
					t.Fatalf("frame %d: the voltage moves from %g to %g in a panic", f, stood, cv)
				}
			case f >= may+fade:
				exact++
				if v != value(f, 0) || cv != value(f, 1) {
					t.Fatalf("frame %d: %g and %g, want %g and %g: %d frames after the panic", f, v, cv, value(f, 0), value(f, 1), f-may)
				}
			case v < 0 || v > value(f, 0):
				t.Fatalf("frame %d: %g is no part of %g", f, v, value(f, 0))
			}
			stood = cv
		}
		p += n
	}
	over.Store(true)
	r.wakeProducer()
	wg.Wait()
	t.Logf("%d panics muted %d times; %d frames silent, %d exact", atomic.LoadUint32(panics.asked()), mutes, silent, exact)
	if silent < total/20 || exact < total/20 || mutes < 20 {
		t.Error("too little was seen of either")
	}
	if r.underruns() != 0 || r.missing() != 0 {
		t.Errorf("%d underruns, %d frames missing", r.underruns(), r.missing())
	}
}

// obedient is a ramp that obeys panics at the start of a block, when it is told.
type obedient struct {
	ramp
	told   atomic.Uint32
	obeyed uint32
	after  int
	fresh  atomic.Uint64 // the frame at which it obeyed last
}

func (o *obedient) Render(out, in [][]float32) {
	if n := o.told.Load(); n != o.obeyed {
		o.obeyed, o.after = n, 0
		o.fresh.Store(o.frame)
	}
	o.ramp.Render(out, in)
	o.after += len(out[0])
}

func (o *obedient) panicked() (uint32, int) { return o.obeyed, min(o.after, BlockFrames) }

// A panic that the renderer never obeys does not keep the voltages from landing, nor a panic that it obeys
// the recording from what was rendered.
func TestPanicAndClose(t *testing.T) {
	for _, obeys := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "take.wav")
		o := &obedient{ramp: ramp{volts: 4}}
		d := openNull(t, Settings{Channels: 3, CV: Channels(1), Gate: Channels(2), FullScale: 4, CVFullScale: 4, Panicked: o.panicked}, o)
		if err := d.Record(path); err != nil {
			t.Fatal(err)
		}
		if err := d.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
		n := d.Panic()
		if n != 1 {
			t.Fatalf("the first panic has the number %d", n)
		}
		st := d.sink.Load()
		if !d.waitUntil(time.Second, func() bool { last := st.ring.lastValues(); return last[0] == 0 && last[1] != 0 && last[2] == 0 }) {
			t.Errorf("in a panic: audio, voltage, gate %g", st.ring.lastValues())
		}
		if obeys {
			o.told.Store(n)
			if !d.waitUntil(time.Second, func() bool { last := st.ring.lastValues(); return last[0] != 0 && last[1] != 0 && last[2] != 0 }) {
				t.Errorf("after the panic: %v", st.ring.lastValues())
			}
		}
		var last []float32
		grounded := false
		d.closing.Store(true)
		<-d.ended
		last, grounded = append(last, st.ring.lastValues()...), st.ring.grounded()
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if last[0] != 0 || last[1] != 0 || last[2] != 0 {
			t.Errorf("obeys %v: it ends at %v", obeys, last)
		}
		if grounded == obeys {
			t.Errorf("obeys %v: the device thread has landed by itself: %v", obeys, grounded)
		}
		w, err := ReadWAV(path)
		if err != nil {
			t.Fatal(err)
		}
		for f := range 12000 {
			if got := w.Channels[0][f]; got != rampValue(uint64(f), 0) {
				t.Fatalf("the recording has %g at frame %d, want %g", got, f, rampValue(uint64(f), 0))
			}
		}
	}
}

// Without a renderer that tells there are no panics, and Panic does nothing.
func TestNoPanics(t *testing.T) {
	d := openNull(t, Settings{Channels: 1, FullScale: 4}, &ramp{volts: 4})
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	r := d.sink.Load().ring
	if !d.waitUntil(time.Second, func() bool { return r.lastValues()[0] != 0 }) {
		t.Fatal("nothing is played")
	}
	if n := d.Panic(); n != 0 {
		t.Errorf("number %d", n)
	}
	before := r.callbacks()
	d.waitUntil(time.Second, func() bool { return r.callbacks() > before+8 })
	if r.lastValues()[0] == 0 {
		t.Error("it is silent")
	}
}

func BenchmarkRingInAPanic(b *testing.B) {
	r := mustRing(b, 8, 512, 0, 144)
	defer r.free()
	p := mustPanics(b, r)
	in, out := make([]float32, 64*8), make([]float32, 64*8)
	atomic.AddUint32(p.asked(), 1)
	b.SetBytes(64 * 8 * 4)
	for b.Loop() {
		r.push(in)
		r.drain(out)
	}
}
