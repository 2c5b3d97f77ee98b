package kernel

import (
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// loops are ways to write the inner loop for sixteen saws at rest, to be
// compared: the one that plays, and those that do not.
var loops = map[string]func(b *bank, s *Sum){
	"Go": func(b *bank, s *Sum) { plainLoop(b, s, Period) },
	"twin": func(b *bank, s *Sum) {
		var extra [Period]lanes
		b.run(s, &extra, dsp.Saw, 0, Period, 0xffff)
	},
	"AVX2": func(b *bank, s *Sum) {
		restSawAVX2(&b.pointer()[0], &s.left[0][0], nil, 0, Period, 0xffff)
	},
	"AVX-512": func(b *bank, s *Sum) {
		restSawAVX512(&b.pointer()[0], &s.left[0][0], nil, 0, Period, 0xffff)
	},
}

func loopRuns(name string) bool {
	return name == "Go" || name == "twin" || fast && (wide || name == "AVX2")
}

// loopBank is a bank in the middle of a chord.
func loopBank() *bank {
	var v Voices
	v.Init(rate)
	chord(&v, Lanes, 0, Lanes, 65, 1047)
	render(&v, 480)
	return v.bank
}

// plainLoop leaves it to the compiler to compute several lanes at once.
func plainLoop(b *bank, s *Sum, n int) {
	for f := range n {
		w, l, r := &b.wave[f], &s.left[f], &s.right[f]
		for j := range Lanes {
			b.phase[0][j] += b.inc[0][j]
			b.phase[1][j] += b.inc[1][j]
			x := float32(float32(b.phase[0][j])*b.scale[0][j]) + float32(float32(b.phase[1][j])*b.scale[1][j]) + w[j]
			was := b.low[j]
			t := x - was
			b.low[j] = was + float32(b.b[j]*b.band[j]) + float32(b.c[j]*t)
			b.band[j] = float32(b.a[j]*b.band[j]) + float32(b.b[j]*t)
			b.level[j] += float32(b.share[j] * (b.to[j] - b.level[j]))
			y := (was + b.low[j]) * b.level[j]
			l[j] += float32(y * b.gain[0][j])
			r[j] += float32(y * b.gain[1][j])
		}
	}
}

// TestLoopsAreEqual: what is compared does the same.
func TestLoopsAreEqual(t *testing.T) {
	var want Sum
	loops["twin"](loopBank(), &want)
	for name, loop := range loops {
		if !loopRuns(name) {
			continue
		}
		var s Sum
		if loop(loopBank(), &s); s != want {
			t.Errorf("%s differs from the twin", name)
		}
	}
}

func BenchmarkLoop(b *testing.B) {
	for name, loop := range loops {
		if !loopRuns(name) {
			continue
		}
		b.Run(name, func(b *testing.B) {
			bk, s := loopBank(), new(Sum)
			for b.Loop() {
				loop(bk, s)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/Period/Lanes, "ns/voice-sample")
		})
	}
}
