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

// prepareFast is bank.prepare. Audio thread.
func prepareFast(b *bank) uint16 { return uint16(prepareAVX2(&b.pointer()[0])) }

// residualsFast is residuals for one oscillator of all lanes. Audio thread.
func residualsFast(b *bank, table *dsp.ResidualTable, oscillator int, offset uint32, sign float32) {
	residualsAVX2(&b.pointer()[0], &table[0][0], oscillator, offset, sign)
}

// transposeFast is bank.transpose. Audio thread.
func transposeFast(b *bank) { transposeAVX2(&b.pointer()[0]) }

// runFast is bank.run. Audio thread.
func runFast(b *bank, s *Sum, extra *[Period]lanes, shape dsp.Waveform, from, n int, mask uint16) {
	p, sum, x := &b.pointer()[0], &s.left[0][0], &extra[from][0]
	switch {
	case wide && shape == dsp.Saw:
		runSawAVX512(p, sum, x, from, n, uint32(mask))
	case wide && shape == dsp.Triangle:
		runTriangleAVX512(p, sum, x, from, n, uint32(mask))
	case wide:
		runSineAVX512(p, sum, x, from, n, uint32(mask))
	case shape == dsp.Saw:
		runSawAVX2(p, sum, x, from, n, uint32(mask))
	case shape == dsp.Triangle:
		runTriangleAVX2(p, sum, x, from, n, uint32(mask))
	default:
		runSineAVX2(p, sum, x, from, n, uint32(mask))
	}
}

// pointer is the bank as the assembly sees it.
func (b *bank) pointer() *lanes { return (*lanes)(unsafe.Pointer(b)) }
