package dsp

// MaxEuclid is the most steps of a Euclidean rhythm.
const MaxEuclid = 16

// euclids holds every rhythm, by steps and pulses; bit i is step i.
var euclids [MaxEuclid + 1][MaxEuclid + 1]uint16

func init() {
	for steps := 1; steps <= MaxEuclid; steps++ {
		for pulses := 0; pulses <= steps; pulses++ {
			euclids[steps][pulses] = bjorklund(pulses, steps)
		}
	}
}

// bjorklund spreads pulses over steps: each pulse is given a rest as long as
// there are rests, and then the shorter of the two kinds of groups is dealt
// out among the longer, until no more than one is left over.
func bjorklund(pulses, steps int) (bits uint16) {
	head, tail := []bool{true}, []bool{false}
	heads, tails := pulses, steps-pulses
	for heads > 0 && tails > 1 {
		joined := append(append([]bool{}, head...), tail...)
		if heads <= tails {
			head, tails = joined, tails-heads
		} else {
			// The heads that got no tail are the new tails.
			head, tail, heads, tails = joined, head, tails, heads-tails
		}
	}
	i := 0
	put := func(group []bool, n int) {
		for range n {
			for _, on := range group {
				if on {
					bits |= 1 << i
				}
				i++
			}
		}
	}
	put(head, heads)
	put(tail, tails)
	return bits
}

// Euclid returns the rhythm in which that many pulses lie as evenly as they
// can over 1 to MaxEuclid steps; bit i is step i, and the first step is a pulse
// where there is one. It is the rhythm of Bjorklund, "The theory of rep-rate
// pattern generation in the SNS timing system" (2003), in the turn in which
// Toussaint, "The Euclidean algorithm generates traditional musical rhythms"
// (2005), lists it.
//
// Audio thread.
func Euclid(pulses, steps int) uint16 {
	steps = min(max(steps, 1), MaxEuclid)
	return euclids[steps][min(max(pulses, 0), steps)]
}
