package kernel

import (
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// corePeak measures how many additions and multiplications the core does in a
// nanosecond at most, and its clock in GHz; 0 where it is not known how.
func corePeak(tb testing.TB) (operations, clock float64) {
	if !fast {
		return 0, 0
	}
	const rounds = 1 << 20
	operations = measure.ArithmeticPerRound * rounds / float64(cost(tb, func() { measure.Arithmetic(rounds) }).Nanoseconds())
	clock = measure.CyclesPerRound * rounds / float64(cost(tb, func() { measure.Clock(rounds) }).Nanoseconds())
	return operations, clock
}
