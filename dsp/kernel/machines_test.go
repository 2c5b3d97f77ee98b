package kernel

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// TestSameOnEveryMachine holds the twin in Go to the bits that it gave on
// amd64 and arm64 alike, so that a golden file of one machine is that of all.
// A change of sound changes them: then they are to be compared on both anew.
func TestSameOnEveryMachine(t *testing.T) {
	for shape, want := range map[dsp.Waveform]uint64{dsp.Saw: 0xfeeb7249d71a6310, dsp.Triangle: 0x4f33eca42c4dcf29, dsp.SineWave: 0x8eecbba86ef8330b} {
		h := fnv.New64a()
		for _, x := range random(shape, 500, true)(true) {
			var b [4]byte
			binary.LittleEndian.PutUint32(b[:], math.Float32bits(x))
			h.Write(b[:])
		}
		if got := h.Sum64(); got != want {
			t.Errorf("%v: the samples' hash is %#x, expected %#x", shape, got, want)
		}
	}
}
