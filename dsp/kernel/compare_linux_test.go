package kernel

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/dsp/measure/scsynth"
)

// arithmetic is how many operations a voice of saws takes for a sample while
// its settings rest, and while all of them move: additions, multiplications,
// conversions, comparisons and choices, each counted once. Shuffles, loads and
// stores are not counted.
const (
	shapes  = 2 + 2 + 2 + 1 + 1 // phases, conversions, sizes, their sum, residuals
	filters = 1 + 4 + 3 + 1     // input minus low, products, sums, output
	levels  = 3 + 1             // one pole, product with the sound
	places  = 2 + 2             // gains, sums
	resting = shapes + filters + levels + places
	ramps   = 3 + 2 // coefficients, gains
	attacks = 4     // comparison, bound, two choices
	joining = 1     // of what is extra
	// Of a period: increments of two oscillators, coefficients, and where
	// all of them go.
	settings = (2*8 + 29 + 5*2) / float64(Period)
	moving   = resting + ramps + attacks + joining + settings
	// For each tap of each residual.
	perTap = 4
)

// TestBenchVoices prints what a voice costs beside one of scsynth's, which
// plays the same notes in turns with ours in the same run, and beside what the
// core could do at most.
func TestBenchVoices(t *testing.T) {
	if os.Getenv("K8S_SYNTH_BENCH") == "" {
		t.Skip("a comparison that takes half a minute; K8S_SYNTH_BENCH=1 runs it")
	}
	const voices, seconds, turns = 200, 10, 5
	const samples = voices * seconds * rate
	play := notes(voices, seconds)
	left, right := make([]float32, seconds*rate), make([]float32, seconds*rate)
	was := wide
	defer func() { wide = was }()

	type row struct {
		name       string
		operations float64
		run        func() time.Duration
		nanos      []float64
	}
	var rows []*row
	var one time.Duration // what one voice takes, mostly the start
	for name, r := range map[string]scsynth.Rate{"scsynth": scsynth.Control, "scsynth, EnvGen.ar": scsynth.Audio} {
		rows = append(rows, &row{name: name, run: func() time.Duration {
			all := peer(t, peerVoices(r, play), seconds, 2)
			if p := measure.Peak(all.Channels[0]); p < 0.1 {
				t.Fatalf("%s played nothing: its peak is %v", name, p)
			}
			return (all.User - one) * voices / (voices - 1)
		}})
	}
	steps := 0.0
	for _, n := range play {
		steps += float64(n.hertz) * (1 + detune) / voices / rate
	}
	for _, kind := range []string{"AVX-512", "AVX2", "Go"} {
		if kind != "Go" && !fast || kind == "AVX-512" && !was {
			continue
		}
		for _, moves := range []bool{false, true} {
			r := &row{name: kind, operations: resting + steps*taps*perTap}
			if moves {
				r.name, r.operations = kind+", all moving", moving+steps*taps*perTap
			}
			r.run = func() time.Duration {
				wide = kind == "AVX-512"
				clear(left)
				clear(right)
				d := ourVoices(t, play, moves, kind == "Go", left, right)
				if p := measure.Peak(left); p < 10 {
					t.Fatalf("%s played nothing: its peak is %v V", r.name, p)
				}
				return d
			}
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows[:2], func(a, b *row) int { return strings.Compare(a.name, b.name) })
	peak, clock := 0.0, 0.0
	for range turns {
		one = peer(t, peerVoices(scsynth.Control, play[:1]), seconds, 2).User
		for _, r := range rows {
			r.nanos = append(r.nanos, float64(r.run().Nanoseconds())/samples)
		}
		p, c := corePeak(t)
		peak, clock = max(peak, p), max(clock, c)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d voices, %d s, medians of %d turns; %.2f GHz; the core adds and multiplies %.0f times a ns at most\n", voices, seconds, turns, clock, peak)
	fmt.Fprintf(&b, "%-22s %14s %14s %14s %12s %10s\n", "", "ns/voice-sample", "to scsynth", "voices a core", "operations", "of the peak")
	base := 0.0
	for _, r := range rows {
		slices.Sort(r.nanos)
		m := r.nanos[len(r.nanos)/2]
		if base == 0 {
			base = m
		}
		fmt.Fprintf(&b, "%-22s %15.3f %12.1f x %14.0f", r.name, m, base/m, 1e9/rate/m)
		if r.operations > 0 && peak > 0 {
			fmt.Fprintf(&b, " %12.1f %9.0f %%", r.operations, 100*r.operations/m/peak)
		}
		b.WriteByte('\n')
	}
	t.Log("\n" + b.String())
}
