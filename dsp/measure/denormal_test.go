package measure

import "testing"

// TestDenormals: a decay that is left alone meets denormal numbers, one that is
// cut off at -200 dB does not.
func TestDenormals(t *testing.T) {
	decay := func(floor float32) func() {
		return func() {
			x := float32(1)
			for range 2000 {
				if x *= 0.95; x < floor {
					x = 0
				}
			}
			sink = x
		}
	}
	met, known := Denormals(decay(0))
	if !known {
		t.Skip("this processor does not tell")
	}
	if !met {
		t.Error("a decay into nothing met no denormal number")
	}
	if met, _ := Denormals(decay(1e-10)); met {
		t.Error("a decay that is cut off met a denormal number")
	}
}

var sink float32
