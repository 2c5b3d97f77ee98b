package hardware

import (
	"math"
	"testing"
	"time"
)

// follower plays what it is told, and lands at another value within 30 ms.
type follower struct {
	level, rest, now float32
	landing          bool
}

func (f *follower) Shape() (int, int, int, int) { return 1, 0, 1, 0 }
func (f *follower) Hold() ChannelSet            { return Channels(0) }
func (f *follower) Exact() ChannelSet           { return 0 }
func (f *follower) Begin()                      {}
func (f *follower) In(_, _ [][]float32)         {}
func (f *follower) Land()                       { f.landing = true }
func (f *follower) Landed() bool                { return f.landing && f.now == f.rest }
func (f *follower) Out(_, samples [][]float32, _ [][]int32) {
	const step = 1.0 / 1440
	for i := range samples[0] {
		if f.now = f.level; f.landing {
			f.level = min(max(f.rest, f.level-step), f.level+step)
			f.now = f.level
		}
		samples[0][i] = f.now
	}
}

// A renderer that never obeys a panic leaves no voltage where the panic met it, wherever the converter is by
// then: it may rest already, at what was rendered since and is not heard, and the panic may come when it has
// landed and that is yet to be played. Everything is said to be at rest only when it is.
func TestLandingInAnUnansweredPanic(t *testing.T) {
	for _, c := range []struct {
		name  string
		ahead int // blocks of the landing that are in the ring when the panic comes; 0: it came before
		crash bool
	}{
		{"at rest", 0, false},
		{"at rest, a crash", 0, true},
		{"landed ahead", 14, false},
		{"landing ahead", 6, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			conv := &follower{level: 0.8, rest: 0.3}
			s, err := Settings{Converter: conv, Depth: 8, Period: 64, Panicked: func() (uint32, int) { return 0, 0 }}.ApplyDefaults()
			if err != nil {
				t.Fatal(err)
			}
			if s.panics, err = newPanicCount(); err != nil {
				t.Fatal(err)
			}
			d := newDevice(s, silent{})
			st, err := openStream("null", s)
			if err != nil {
				t.Fatal(err)
			}
			defer st.free()
			d.sink.Store(st)
			out := make([]float32, BlockFrames)
			var all []float32
			drain := func() {
				st.ring.drain(out)
				all = append(all, out...)
			}
			for range 4 {
				d.step(st)
				drain()
			}
			for range c.ahead {
				d.landStep(st)
			}
			d.Panic()
			drain()
			if c.ahead == 0 {
				conv.level = conv.rest // what it has obeyed says nothing of
				d.step(st)
				drain()
			}
			if v := out[BlockFrames-1]; math.Abs(float64(v)-0.8) > 1e-6 {
				t.Fatalf("in the panic the voltage is %g, want the 0.8 of before", v)
			}
			if c.crash {
				done := make(chan struct{})
				go func() {
					defer close(done)
					d.crash()
				}()
				for ended := false; !ended; {
					select {
					case <-done:
						ended = true
					default:
						if st.ring.fill() < BlockFrames {
							time.Sleep(100 * time.Microsecond)
							continue
						}
						drain()
					}
				}
			} else {
				for n := 0; !d.atRest.Load(); n++ {
					if n > 200 {
						t.Fatalf("after %d blocks it is not at rest: the voltage is %g", n, out[BlockFrames-1])
					}
					d.landStep(st)
					drain()
				}
			}
			if v := out[BlockFrames-1]; v != 0 {
				t.Errorf("the voltage rests at %g", v)
			}
			for i := 1; i < len(all); i++ {
				if d := math.Abs(float64(all[i] - all[i-1])); i > 4*BlockFrames && d > 1.1*0.8/2400 {
					t.Fatalf("it steps by %g at frame %d", d, i)
				}
			}
		})
	}
}
