package hardware

import (
	"slices"
	"testing"
	"time"
)

// TestPanicAtThePeers: what JACK and PulseAudio are given after a panic is none of what was queued: the
// fade begins with the device's next buffer, however deep the ring is, and what the renderer makes after
// it has obeyed is whole, and at its time.
func TestPanicAtThePeers(t *testing.T) {
	for name, c := range map[string]struct {
		period, depth int
		begin         func(t *testing.T) (s Settings, listen func() [][]float32)
	}{
		"JACK, 128":     {128, 8, jackListens(128)},
		"JACK, 64 deep": {64, 32, jackListens(64)},
		"PulseAudio":    {256, 16, pulseListens},
	} {
		t.Run(name, func(t *testing.T) {
			s, listen := c.begin(t)
			s.Channels, s.Period, s.Depth, s.FullScale = 8, c.period, c.depth, 4
			o := &numbered{}
			s.Panicked = o.panicked
			d := openPeer(t, s, o)
			time.Sleep(700 * time.Millisecond)
			before := d.Stats()
			// The frame that is taken next and the one that is due now when it is asked, and the first that the
			// renderer makes after it has obeyed.
			type cut struct{ next, now, fresh int }
			var cuts []cut
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for {
					st := d.sink.Load()
					next, now := int(st.base.Load())+int(st.ring.consumed()), d.Now()
					n := d.Panic()
					time.Sleep(3 * time.Millisecond) // of a control side that is slow
					o.told.Store(n)
					select {
					case <-stop:
						return
					case <-time.After(130 * time.Millisecond):
					}
					cuts = append(cuts, cut{next, int(now), int(o.fresh.Load())})
				}
			}()
			frames := listen()
			close(stop)
			<-done
			after := d.Stats()

			// The stretches of frames that are as they were rendered.
			type stretch struct{ at, n, first int }
			var whole []stretch
			for i, f := range frames {
				frame := numberOf(f)
				if k := len(whole) - 1; frame < 0 {
					continue
				} else if k >= 0 && whole[k].at+whole[k].n == i && whole[k].first+whole[k].n == frame {
					whole[k].n++
					continue
				}
				whole = append(whole, stretch{i, 1, frame})
			}
			var late, played []int
			stumbled := 0
			for i := 1; i < len(whole); i++ {
				was, is := whole[i-1], whole[i]
				last := was.first + was.n - 1
				k := slices.IndexFunc(cuts, func(k cut) bool { return is.first >= k.fresh && is.first <= k.fresh+144 })
				if k < 0 || is.at-(was.at+was.n) != is.first-last-1 {
					stumbled++ // the server itself has a gap
					continue
				}
				late, played = append(late, last-cuts[k].now), append(played, last+1-cuts[k].next)
				if is.first != cuts[k].fresh+144 {
					t.Errorf("what is fresh at %d is whole from %d on, want %d", cuts[k].fresh, is.first, cuts[k].fresh+144)
				}
				for f := was.at + was.n + 144; f < is.at-144; f++ {
					if frames[f][0] != 0 {
						t.Fatalf("%g sounds %d frames after what was queued", frames[f][0], f-was.at-was.n)
					}
				}
			}
			if len(late) < 3 {
				t.Skipf("the server has stumbled %d times in %d frames; %d of %d panics can be seen", stumbled, len(frames), len(late), len(cuts))
			}
			slices.Sort(late)
			slices.Sort(played)
			t.Logf("%d panics: of what was queued %d frames were taken in the middle, %d at most; it was played for %.1f ms in the middle, %.1f at most (a buffer is %.1f ms, the ring %.1f ms); %d underruns, the server has stumbled %d times",
				len(late), played[len(played)/2], played[len(played)-1], float64(late[len(late)/2])/48, float64(late[len(late)-1])/48, float64(c.period)/48, float64(c.depth*BlockFrames)/48, after.Underruns-before.Underruns, stumbled)
			// The first frame of the fade is whole.
			if n := played[len(played)/2]; n > 1 {
				t.Errorf("%d frames of what was queued were taken after the panic, want none", n)
			}
		})
	}
}

// numbered renders frames that tell their number on the first three channels, and obeys panics at the start
// of a block, when it is told.
type numbered struct{ obedient }

func (n *numbered) Render(out, in [][]float32) {
	first := n.frame
	n.obedient.Render(out, in)
	for i := range out[0] {
		f := first + uint64(i)
		out[0][i], out[1][i], out[2][i] = 4*rampValue(f, 0), 4*rampValue(f/4096, 0), 4*rampValue(f, 2)
	}
}

// numberOf is the number of a frame of numbered, -1 if it is none.
func numberOf(f []float32) int {
	low, high := f[0]*(1<<20)-1, f[1]*(1<<20)-1
	n := uint64(high)*4096 + uint64(low)
	if low < 0 || high < 0 || f[0] != rampValue(n, 0) || f[1] != rampValue(n/4096, 0) || f[2] != rampValue(n, 2) {
		return -1
	}
	return int(n)
}

func jackListens(period int) func(t *testing.T) (Settings, func() [][]float32) {
	return func(t *testing.T) (Settings, func() [][]float32) {
		startJACK(t, period)
		return Settings{Backend: "jack"}, func() [][]float32 { return recordJACK(t) }
	}
}

func pulseListens(t *testing.T) (Settings, func() [][]float32) {
	startPulse(t)
	return Settings{Backend: "pulse", Device: "cv8"}, func() [][]float32 {
		l := startCapture(t, 8, "parec", "-d", "cv8.monitor", "--format=float32le", "--channels=8", "--rate=48000", "--channel-map="+pulseOrder)
		time.Sleep(2500 * time.Millisecond)
		l.stop()
		return l.frames()
	}
}
