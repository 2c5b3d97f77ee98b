package measure

// ArithmeticPerRound is how many additions and multiplications of float32 a
// round of Arithmetic does.
const ArithmeticPerRound = 2 * 8 * 8

// Arithmetic multiplies and adds as fast as AVX allows, with nothing to wait
// for: its time is the peak of the core without fused multiply-adds, which a
// kernel's can be compared with. The processor must have AVX.
func Arithmetic(rounds int) {
	if rounds > 0 {
		mulAdd(rounds)
	}
}

// CyclesPerRound is how many clock cycles a round of Clock takes.
const CyclesPerRound = 8

// Clock runs a chain of additions of one cycle each: its time tells the clock.
func Clock(rounds int) {
	if rounds > 0 {
		chain(rounds)
	}
}

//go:noescape
func mulAdd(rounds int)

//go:noescape
func chain(rounds int)
