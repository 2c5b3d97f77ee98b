package calibration

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

func TestEarTunesABentOscillator(t *testing.T) {
	trial(t, 1, 1)
}

// TestProofEar runs through many oscillators; K8S_SYNTH_PROOF=1.
func TestProofEar(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("runs with K8S_SYNTH_PROOF=1")
	}
	trial(t, 60, 1)
}

// trial calibrates oscillators that are bent at random over eight octaves and prints what became of
// them: by the procedure's own last pass, and in truth, at the moment when it ended.
func trial(t *testing.T, trials, step int) {
	table := "trial  wave      notes  takes  passes  drift c/min  before  by itself  in truth  common  (computed in)\n"
	var worst float64
	for k := range trials {
		r := rand.New(rand.NewPCG(uint64(k), 11))
		s := bent(r)
		start := time.Now()
		d, err := Ear{Step: step}.Run(context.Background(), s)
		if err != nil {
			t.Fatalf("trial %d: %v", k, err)
		}
		first, last := d.Table[0].Note, d.Table[len(d.Table)-1].Note
		w, c, _ := residual(s, d, first, last)
		worst = max(worst, w)
		table += fmt.Sprintf("%5d  %-8s  %5d  %3.0f s  %6d  %+11.2f  %6.1f  %9.3f  %8.3f  %+6.3f  %.1f s\n", k, s.wave, len(d.Table), d.Conditions.Seconds, d.Conditions.Passes, d.Conditions.Drift,
			d.Before.Worst, d.After.Worst, w, c, time.Since(start).Seconds())
		if last-first < 95 {
			t.Errorf("trial %d: notes from %d to %d are not eight octaves", k, first, last)
		}
		for _, l := range d.LeftOut {
			t.Errorf("trial %d: %s is left out: %s", k, NoteName(l.Note), l.Why)
		}
		if w > 0.5 {
			t.Errorf("trial %d: %.3f cents off at worst", k, w)
		}
	}
	t.Logf("worst of all %.3f cents\n%s", worst, table)
}

// short is a run over few notes, for what does not need all.
var short = Ear{From: 48, To: 72, Step: 2}

// straight is an oscillator that is only a little off.
func straight(seed uint64) *simulated {
	s := bent(rand.New(rand.NewPCG(seed, 12)))
	s.bend = func(v float64) float64 { return 0.03 + 1.02*v }
	s.drift = func(float64) float64 { return 0 }
	return s
}

func TestEarNamesNotesThatDoNotSettle(t *testing.T) {
	s := straight(1)
	at := func(n int) float64 { return (float64(n-60)/12 - 0.03) / 1.02 }
	s.loose = func(v float64) float64 {
		if math.Abs(v-at(54)) < 0.02 {
			return 8 // another pitch at each visit
		}
		return 0
	}
	s.mute = func(v float64) bool { return math.Abs(v-at(66)) < 0.02 }
	var remarks []string
	e := short
	e.Progress = func(p Progress) {
		if p.Remark != "" {
			remarks = append(remarks, p.Remark)
		}
	}
	d, err := e.Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.LeftOut) != 2 || d.LeftOut[0].Note != 54 || d.LeftOut[1].Note != 66 || !strings.Contains(d.LeftOut[0].Why, "repeats differ by") || !strings.Contains(d.LeftOut[1].Why, "no pitch: only noise") {
		t.Errorf("left out: %v", d.LeftOut)
	}
	if len(remarks) != 2 || len(d.Table) != 11 {
		t.Errorf("%d notes are in the table; remarks: %q", len(d.Table), remarks)
	}
	// Their neighbours stand for them.
	if w, _, _ := residual(s, d, 48, 72); w > 0.3 {
		t.Errorf("%.3f cents off at worst", w)
	}
	t.Log(d.LeftOut)
}

func TestEarForgivesAKnock(t *testing.T) {
	s := straight(2)
	visits := 0
	s.loose = func(float64) float64 {
		if visits++; visits == 17 || visits == 31 {
			return 30 // somebody leant on the table
		}
		return 0
	}
	d, err := short.Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if w, _, _ := residual(s, d, 48, 72); w > 0.3 || len(d.LeftOut) > 0 {
		t.Errorf("%.3f cents off at worst, left out %v", w, d.LeftOut)
	}
}

func TestEarFindsTheOscillatorsRange(t *testing.T) {
	for name, c := range map[string]struct {
		offset    float64 // volts
		low, high float64
		transpose int
		asked     bool
	}{
		"an octave low":       {-1.03, -10, 10, -12, false},
		"three octaves low":   {-3.02, -5, 5, -36, false},
		"two octaves high":    {2.01, -10, 10, 24, false},
		"far off":             {0.30, -10, 10, 0, true},
		"five semitones flat": {-0.40, -10, 10, 0, true},
		"a jack of 0 to 5 V":  {-2.02, 0, 5, -24, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := straight(3)
			offset := c.offset
			s.bend = func(v float64) float64 { return offset + 1.03*v }
			s.low, s.high = c.low, c.high
			asked := 0
			e := Ear{Step: 12, Retune: func(_ context.Context, k Tuning) (bool, error) {
				asked++
				t.Logf("%.1f Hz is heard, %.2f semitones above %s", k.Hertz, k.Semitones, NoteName(k.Note))
				if math.Abs(k.Semitones-12*c.offset) > 0.8 {
					t.Errorf("it is said to be %.2f semitones off, and is %.2f", k.Semitones, 12*c.offset)
				}
				offset -= 0.9 * k.Semitones / 12 // as well as a hand can
				return true, nil
			}}
			d, err := e.Run(context.Background(), s)
			if err != nil {
				t.Fatal(err)
			}
			if d.Transpose != c.transpose || (asked > 0) != c.asked {
				t.Errorf("transposed by %d, asked %d times", d.Transpose, asked)
			}
			first, last := d.Table[0], d.Table[len(d.Table)-1]
			c, err := d.Curve()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range d.Table {
				if e := 1200*s.truth(c.At(r.Volts)) - 100*float64(r.Note+d.Transpose-60); math.Abs(e) > 0.3 {
					t.Errorf("%s is %.3f cents off", NoteName(r.Note), e)
				}
			}
			t.Logf("%s to %s, sounding %+d", NoteName(first.Note), NoteName(last.Note), d.Transpose)
			if s.most > max(-s.low, s.high) {
				t.Errorf("%g V were sent", s.most)
			}
		})
	}
}

// TestEarFindsItAfterAWrongStart: what is heard first is an octave off, as when
// the cable is plugged in just then.
func TestEarFindsItAfterAWrongStart(t *testing.T) {
	for wrong := 1; wrong <= 4; wrong++ {
		s := straight(9)
		visits := 0
		s.loose = func(float64) float64 {
			if visits++; visits == wrong {
				return 1200 // some place far away
			}
			return 0
		}
		d, err := short.Run(context.Background(), s)
		if err != nil {
			t.Fatal(err)
		}
		if w, _, _ := residual(s, d, 48, 72); w > 0.3 || d.Transpose != 0 || len(d.LeftOut) > 0 {
			t.Errorf("%d: %.3f cents off, transposed by %d, left out %v", wrong, w, d.Transpose, d.LeftOut)
		}
	}
}

func TestEarKnowsOtherStandards(t *testing.T) {
	s := straight(4)
	s.bend = func(v float64) float64 { return 0.05 + 0.98*v/1.2 + 0.002*v*v }
	e := Ear{Standard: Standard{Kind: BuchlaPerOctave}, From: 36, To: 84, Step: 8}
	d, err := e.Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	check := func(d *Document) {
		t.Helper()
		c, err := d.Curve()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range d.Table {
			if e := 1200*s.truth(c.At(r.Volts)) - 100*float64(r.Note+d.Transpose-60); math.Abs(e) > 0.3 {
				t.Errorf("%v: %s is %.3f cents off", d.Standard, NoteName(r.Note), e)
			}
		}
		t.Logf("%v: %d notes, before %.1f cents, after %.3f; offset %.5f V, gain %.5f", d.Standard, len(d.Table), d.Before.Worst, d.After.Worst, d.Offset, d.Gain)
	}
	check(d)
	// An oscillator of Hz/V: its offset is what makes the low notes sour.
	s.low, s.high = 0, 8
	s.bend = func(v float64) float64 { return math.Log2(max(1e-9, (v*1.02+0.004+0.0008*v*v)/1)) }
	e = Ear{Standard: Standard{Kind: HertzPerVolt, Volts: 1}, From: 36, To: 90, Step: 6}
	if d, err = e.Run(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	check(d)
}

func TestEarSaysWhatIsWrong(t *testing.T) {
	for want, change := range map[string]func(*simulated){
		"no pitch is heard: silence at an RMS": func(s *simulated) { s.mute = func(float64) bool { return true }; s.noise = 0 },
		"only noise is heard":                  func(s *simulated) { s.mute = func(float64) bool { return true }; s.noise = 1 },
		"the pitch stays at 261.63 Hz":         func(s *simulated) { s.bend = func(float64) float64 { return 0 } },
		"takes 4 V for what is 1 V":            func(s *simulated) { s.bend = func(v float64) float64 { return v / 4 } },
	} {
		s := straight(5)
		change(s)
		_, err := short.Run(context.Background(), s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for want, e := range map[string]Ear{
		"two MIDI notes":      {From: 60, To: 50},
		"expected 1 to 24":    {Step: 99},
		"expected 2 to 20":    {Repeats: 1},
		"more than 0":         {Aim: -1},
		"expected 2 to 20 pa": {Passes: 1},
	} {
		if _, err := e.Run(context.Background(), straight(5)); err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(want, " pa")) {
			t.Errorf("%+v: %v", e, err)
		}
	}
	// Notes that the jack cannot give are named.
	s := straight(6)
	s.low, s.high = -1, 1
	d, err := short.Run(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if len(d.LeftOut) != 1 || d.LeftOut[0].Note != 48 || !strings.Contains(d.LeftOut[0].Why, "the jack gives -1 to 1 V") {
		t.Errorf("left out: %v", d.LeftOut)
	}
}

func TestEarEndsAtOnce(t *testing.T) {
	for _, after := range []int{1, 2, 9, 40} {
		ctx, cancel := context.WithCancel(context.Background())
		s := straight(7)
		s.stop, s.cancel = after, cancel
		d, err := short.Run(ctx, s)
		if d != nil || !errors.Is(err, context.Canceled) || s.sets > after {
			t.Errorf("ended after %d of %d: %v, %v", s.sets, after, d, err)
		}
		cancel()
	}
}

func TestDriftIsNotTracking(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	truth := func(at float64) float64 { return 1.5*at/60 + 2*math.Exp(-at/60) }
	own := map[int]float64{}
	var all []reading
	at := 0.0
	for turn := range 2 {
		for i, n := range order(60, turn) {
			if own[n] == 0 {
				own[n] = 20 * r.NormFloat64()
			}
			at += 1.1
			noise := 0.05 * r.NormFloat64()
			if r.IntN(25) == 0 {
				noise += 40 * r.NormFloat64()
			}
			all = append(all, reading{n, at, own[n] + truth(at) + noise})
			if i%8 == 0 {
				at += 1.1
				all = append(all, reading{-1, at, 3 + truth(at) + 0.05*r.NormFloat64()})
			}
		}
	}
	w := wanderOf(all)
	worst := 0.0
	for x := all[0].at; x <= at; x++ {
		worst = max(worst, math.Abs(w.at(x)-(truth(x)-truth(at))))
	}
	t.Logf("over %.0f s the drift is known to %.3f cents; noise %.3f", at, worst, w.noise)
	if worst > 0.25 || w.noise > 0.15 {
		t.Errorf("the drift is off by %.3f cents, the noise said to be %.3f", worst, w.noise)
	}
	if (*wander)(nil).at(3) != 0 || wanderOf(nil).at(1) != 0 || wanderOf(all[:1]).perMinute() != 0 {
		t.Error("no readings have drift")
	}
}
