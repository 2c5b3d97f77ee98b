package scenes

import (
	"math"
	"runtime"
	"strings"
	"testing"
)

// The name of a machine tells how it calculates.
func TestTakeMachine(t *testing.T) {
	m := Machine()
	if !strings.HasPrefix(m, runtime.GOARCH) || m != Machine() {
		t.Errorf("it is %q", m)
	}
	// What was rounded in between differs from what was not.
	x, y := 1+0x1p-30, 1-0x1p-30
	if math.FMA(x, y, -1) == 0 || float64(x*y)-1 != 0 {
		t.Error("the numbers do not tell the two from each other")
	}
	switch runtime.GOARCH {
	case "arm64", "ppc64le", "s390x", "riscv64":
		if !strings.HasSuffix(m, "+fused") {
			t.Errorf("Go fuses there, and it is %q", m)
		}
	}
}
