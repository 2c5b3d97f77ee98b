package kernel

import (
	"unsafe"

	"github.com/k8s-synth/k8s-synth/dsp"
)

//go:generate go run ./assembly -out voices_amd64.s -stubs voices_amd64.go

// fast says that the processor has AVX2, wide that it has AVX-512, and that
// the operating system keeps their registers.
var fast, wide = detect()

func detect() (avx2, avx512 bool) {
	most, _, _, _ := cpuid(0, 0)
	if most < 7 {
		return false, false
	}
	const osxsave, avx = 1 << 27, 1 << 28
	if _, _, c, _ := cpuid(1, 0); c&(osxsave|avx) != osxsave|avx {
		return false, false
	}
	kept := xgetbv()
	_, b, _, _ := cpuid(7, 0)
	const ymm, zmm = 0x6, 0xe6
	// F, DQ and VL.
	const sets = 1<<16 | 1<<17 | 1<<31
	avx2 = b&(1<<5) != 0 && kept&ymm == ymm
	return avx2, avx2 && b&sets == sets && kept&zmm == zmm
}

// beginFast is the beginning of a control period. Audio thread.
func beginFast(b *bank, shape dsp.Waveform, what int) uint16 {
	p := &b.pointer()[0]
	switch shape {
	case dsp.Saw:
		return uint16(beginSawAVX2(p, what, &stepTable[0][0]))
	case dsp.Triangle:
		return uint16(beginTriangleAVX2(p, what, &cornerTable[0][0]))
	}
	return uint16(beginSineAVX2(p, what, &stepTable[0][0]))
}

// runFast is bank.run; rest says that no filter, gain or attack is on its way
// and nothing is extra. Audio thread.
func runFast(b *bank, s *Sum, extra *[Period]lanes, shape dsp.Waveform, from, n int, mask uint16, rest bool) {
	p, sum, x, m := &b.pointer()[0], &s.left[0][0], &extra[from][0], uint32(mask)
	switch shape {
	case dsp.Saw:
		switch {
		case wide && rest:
			restSawAVX512(p, sum, x, from, n, m)
		case wide:
			runSawAVX512(p, sum, x, from, n, m)
		case rest:
			restSawAVX2(p, sum, x, from, n, m)
		default:
			runSawAVX2(p, sum, x, from, n, m)
		}
	case dsp.Triangle:
		switch {
		case wide && rest:
			restTriangleAVX512(p, sum, x, from, n, m)
		case wide:
			runTriangleAVX512(p, sum, x, from, n, m)
		case rest:
			restTriangleAVX2(p, sum, x, from, n, m)
		default:
			runTriangleAVX2(p, sum, x, from, n, m)
		}
	default:
		switch {
		case wide && rest:
			restSineAVX512(p, sum, x, from, n, m)
		case wide:
			runSineAVX512(p, sum, x, from, n, m)
		case rest:
			restSineAVX2(p, sum, x, from, n, m)
		default:
			runSineAVX2(p, sum, x, from, n, m)
		}
	}
}

// stereoFast is Sum.stereo. Audio thread.
func stereoFast(s *Sum, left, right []float32) {
	var l, r [Period]float32
	stereoAVX2(&s.left[0][0], &l[0], &r[0])
	for f := range left {
		left[f] += l[f]
		right[f] += r[f]
	}
}

// pointer is the bank as the assembly sees it.
func (b *bank) pointer() *lanes { return (*lanes)(unsafe.Pointer(b)) }
