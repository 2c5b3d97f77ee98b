package midi

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// piece returns quarter frame i of a time.
func piece(f FrameTime, i int) Message {
	v := [8]int{f.Frames & 15, f.Frames >> 4, f.Seconds & 15, f.Seconds >> 4,
		f.Minutes & 15, f.Minutes >> 4, f.Hours & 15, f.Hours>>4 | int(f.Rate)<<1}[i]
	return Message{Data: [3]byte{QuarterFrame, byte(i<<4 | v)}, Size: 2}
}

// fullFrame returns a full frame message.
func fullFrame(f FrameTime) Message {
	return sysEx(0x7f, 0x7f, 1, 1, byte(f.Hours)|byte(f.Rate)<<5, byte(f.Minutes), byte(f.Seconds), byte(f.Frames))
}

// tape sends time code as a machine does: at each quarter of a frame the piece
// that belongs to it. Positions count quarter frames.
type tape struct {
	rate FrameRate
	pos  int
	now  float64
}

func (p *tape) message() Message {
	two := p.rate.day() * 4
	pos := (p.pos%two + two) % two
	return piece(FrameAt(pos/8*2, p.rate), pos%8)
}

// run sends n quarter frames from the one at the position on, forward or
// backward, and calls after with each.
func (p *tape) run(tc *Timecode, n, step int, after func()) {
	for range n {
		tc.Message(p.message(), at(p.now))
		if after != nil {
			after()
		}
		p.pos += step
		p.now += 0.25 / p.rate.PerSecond()
	}
}

var rates = []FrameRate{Rate24, Rate25, Rate30DF, Rate30}

func TestTimecodeForward(t *testing.T) {
	for _, rate := range rates {
		for start := range 8 {
			var tc Timecode
			p := tape{rate: rate, pos: 8*1000 + start}
			known := 0
			p.run(&tc, 800, 1, func() {
				f, ok := tc.Time()
				if !ok {
					return
				}
				if known++; f != FrameAt(p.pos/4, rate) || !tc.Running(at(p.now)) || tc.Reverse() || tc.Rate() != rate {
					t.Fatalf("%v: at quarter %d: %v, want %v", rate, p.pos, f, FrameAt(p.pos/4, rate))
				}
				if e, _ := tc.Elapsed(); (e - time.Duration(float64(p.pos)/4/rate.PerSecond()*1e9)).Abs() > time.Microsecond {
					t.Fatalf("elapsed %v", e)
				}
			})
			// Known at the latest when sixteen quarter frames have come.
			if known < 800-15 || tc.Jumps != 0 || tc.Dropped != 0 || !tc.Locked() {
				t.Errorf("%v from %d: known %d times, %d jumps, %d dropped", rate, start, known, tc.Jumps, tc.Dropped)
			}
		}
	}
}

func TestTimecodeReverse(t *testing.T) {
	for _, rate := range rates {
		var tc Timecode
		p := tape{rate: rate, pos: 8*5000 + 3}
		known := 0
		p.run(&tc, 800, -1, func() {
			f, ok := tc.Time()
			if !ok {
				return
			}
			if known++; f != FrameAt(p.pos/4, rate) || !tc.Reverse() {
				t.Fatalf("%v: at quarter %d: %v, want %v", rate, p.pos, f, FrameAt(p.pos/4, rate))
			}
		})
		if known < 780 || tc.Jumps != 0 || tc.Dropped != 0 {
			t.Errorf("%v: known %d times, %d jumps", rate, known, tc.Jumps)
		}
		// It turns around, and back: the time is right all along.
		for _, step := range []int{1, -1, 1} {
			p.pos += 2 * step // from the piece before, to the one after
			p.run(&tc, 41, step, func() {
				if f, _ := tc.Time(); f != FrameAt(p.pos/4, rate) {
					t.Fatalf("%v, turned to %d: %v, want %v", rate, step, f, FrameAt(p.pos/4, rate))
				}
			})
		}
		if tc.Jumps != 0 {
			t.Errorf("%v: %d jumps by turning", rate, tc.Jumps)
		}
	}
}

func TestTimecodeMidnight(t *testing.T) {
	for _, rate := range rates {
		var tc Timecode
		p := tape{rate: rate, pos: rate.day()*4 - 80}
		p.run(&tc, 160, 1, nil)
		want := FrameAt((p.pos-1)/4, rate)
		if f, _ := tc.Time(); f != want || tc.Jumps != 0 {
			t.Errorf("%v: %v, want %v, %d jumps", rate, f, want, tc.Jumps)
		}
	}
}

func TestTimecodeLosses(t *testing.T) {
	var tc Timecode
	p := tape{rate: Rate25, pos: 4000}
	p.run(&tc, 40, 1, nil)
	// Three quarter frames are lost: the position holds all the same.
	p.pos, p.now = p.pos+3, p.now+0.03
	p.run(&tc, 40, 1, func() {
		if f, _ := tc.Time(); f != FrameAt(p.pos/4, Rate25) {
			t.Fatalf("%v, want %v", f, FrameAt(p.pos/4, Rate25))
		}
	})
	if tc.Dropped != 3 || tc.Jumps != 0 {
		t.Errorf("%d dropped, %d jumps", tc.Dropped, tc.Jumps)
	}
	// It jumps to another place without a pause.
	p.pos += 8000
	p.run(&tc, 40, 1, nil)
	if f, _ := tc.Time(); f != FrameAt((p.pos-1)/4, Rate25) || tc.Jumps != 1 {
		t.Errorf("%v, %d jumps", f, tc.Jumps)
	}
	// It ends.
	if !tc.Running(at(p.now+0.08)) || tc.Running(at(p.now+0.12)) {
		t.Error("running until 105 ms after the last quarter frame is wrong")
	}
	// It comes back elsewhere; what was half read is not mixed with it.
	p.pos, p.now = 80_003, p.now+1
	before, _ := tc.Time()
	p.run(&tc, 4, 1, nil)
	if f, _ := tc.Time(); FrameAt(before.Index()+2, Rate25).Index() < f.Index() {
		t.Errorf("%v after %v", f, before)
	}
	p.run(&tc, 20, 1, nil)
	if f, _ := tc.Time(); f != FrameAt((p.pos-1)/4, Rate25) {
		t.Errorf("%v", f)
	}
}

func TestTimecodeFullFrame(t *testing.T) {
	var tc Timecode
	f := FrameTime{Hours: 23, Minutes: 59, Seconds: 58, Frames: 23, Rate: Rate24}
	if !tc.Message(fullFrame(f), at(0)) {
		t.Fatal("not taken")
	}
	if got, ok := tc.Time(); got != f || !ok || tc.Running(at(0)) {
		t.Errorf("%v %v", got, ok)
	}
	// The tape runs from there.
	p := tape{rate: Rate24, pos: f.Index()/2*8 + 8}
	tc.Message(fullFrame(FrameAt(p.pos/4, Rate24)), at(0))
	p.run(&tc, 3, 1, nil)
	if !tc.Running(at(p.now)) {
		t.Error("it does not run")
	}
	for _, m := range []Message{sysEx(0x7f, 0x7f, 1, 1, 25, 0, 0, 0), sysEx(0x7f, 0x7f, 1, 1, 2<<5, 1, 0, 0)} {
		was, _ := tc.Time()
		tc.Message(m, at(1))
		if now, _ := tc.Time(); now != was {
			t.Errorf("% x puts it to %v", m.SysEx, now)
		}
	}
	for _, m := range []Message{sysEx(0x7f, 0x7f, 1, 2, 0, 0, 0, 0), sysEx(1), On(0, 1, 2), Position(1)} {
		if tc.Message(m, at(1)) {
			t.Errorf("%v is taken", m)
		}
	}
}

// Every frame of a day has one number, and the numbers follow each other.
func TestFrameTime(t *testing.T) {
	for _, rate := range rates {
		for i := range rate.day() {
			f := FrameAt(i, rate)
			if !f.Valid() || f.Index() != i {
				t.Fatalf("%v: frame %d is %v, which is %d", rate, i, f, f.Index())
			}
		}
	}
	for f, want := range map[FrameTime]int{
		{Minutes: 1, Frames: 2, Rate: Rate30DF}: 1800, {Minutes: 10, Rate: Rate30DF}: 17982,
		{Hours: 1, Rate: Rate30DF}: 107892, {Hours: 1, Rate: Rate25}: 90000,
	} {
		if f.Index() != want {
			t.Errorf("%v is frame %d, want %d", f, f.Index(), want)
		}
	}
	// An hour of drop-frame code is an hour but for 3.6 ms.
	if d := (FrameTime{Hours: 1, Rate: Rate30DF}).Elapsed() - time.Hour; d.Abs() > 4*time.Millisecond {
		t.Errorf("an hour is %v off", d)
	}
	if (FrameTime{Minutes: 1, Rate: Rate30DF}).Valid() || (FrameTime{Frames: 25, Rate: Rate25}).Valid() {
		t.Error("a frame that is not")
	}
}

func TestTimecodeRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	var tc Timecode
	for i := range 200_000 {
		m := Message{Data: [3]byte{QuarterFrame, byte(r.IntN(128))}, Size: 2}
		if r.IntN(50) == 0 {
			m = fullFrame(FrameTime{Hours: r.IntN(32), Minutes: r.IntN(64), Seconds: r.IntN(64), Frames: r.IntN(32), Rate: FrameRate(r.IntN(4))})
		}
		tc.Message(m, at(float64(i)*0.01))
		if f, ok := tc.Time(); ok && !f.Valid() {
			t.Fatalf("%+v", f)
		}
	}
}

func TestTimecodeAllocates(t *testing.T) {
	var tc Timecode
	p := tape{rate: Rate30DF, pos: 100}
	full := fullFrame(FrameAt(5, Rate24))
	if a := testing.AllocsPerRun(100, func() {
		p.run(&tc, 16, 1, nil)
		tc.Message(full, at(p.now))
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func ExampleTimecode() {
	var tc Timecode
	moment := FrameTime{Hours: 1, Minutes: 2, Seconds: 3, Frames: 4, Rate: Rate25}
	for i := range 8 {
		tc.Message(piece(moment, i), at(float64(i)*0.01))
	}
	now, known := tc.Time()
	fmt.Println(now, known) // at the last piece, one frame and three quarters later
	// Output: 01:02:03:05 true
}
