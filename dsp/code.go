package dsp

import (
	"math/bits"
)

// ChipFrames is how long one sign of a Code lasts. Its pulse is + + − −, which
// has no energy at 0 Hz and at half the sample rate and most of it around a
// fifth of the sample rate: clear of hum, of slow voltages, of inputs that
// block DC and of the slopes of converters. All four samples have the same
// magnitude, so that a peak limit is used up to the last sample.
const ChipFrames = 4

// maxMembers is how many Walsh functions fit into a word of signs.
const maxMembers = 64

// chipPulse is the pulse of one chip.
var chipPulse = [ChipFrames]float32{1, 1, -1, -1}

// ChipPulse returns the pulse of one chip at amplitude 1.
func ChipPulse() [ChipFrames]float32 { return chipPulse }

// Code is a family of spreading codes, a random sequence of signs that never
// repeats, times a Walsh function for each member. Any two members are
// orthogonal over every Length chips, exactly, so that two of them in one wire
// do not disturb each other; and each one alone is a sequence of independent
// signs, so that it is correlated with nothing else in the world.
type Code struct {
	seed   uint64
	length int
	walsh  [maxMembers]uint64
}

// Init makes a family of at least the given number of members, 64 at most. Two
// of one seed are the same.
func (c *Code) Init(seed uint64, members int) {
	if members < 1 || members > maxMembers {
		panic("a code has 1 to 64 members")
	}
	c.seed, c.length = seed, 4
	for c.length < members {
		c.length *= 2
	}
	for m := range c.length {
		var w uint64
		for i := range 64 {
			if bits.OnesCount(uint(m&(i&(c.length-1))))&1 == 1 {
				w |= 1 << i
			}
		}
		c.walsh[m] = w
	}
}

// Length is the number of chips after which the members are orthogonal, and
// the largest number of members.
func (c *Code) Length() int { return c.length }

// Common returns the signs that all members share, those of the 64 chips from
// 64·word; a set bit is negative. Audio thread.
func (c *Code) Common(word int64) uint64 {
	z := c.seed + uint64(word)*0x9e3779b97f4a7c15 // splitmix64, Steele, Lea and Flood 2014
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Signs returns a member's signs, those of the 64 chips from 64·word; a set bit
// is negative. Audio thread.
func (c *Code) Signs(member int, word int64) uint64 { return c.Common(word) ^ c.walsh[member] }

// Add adds a member, at amplitude and from frame on, to x. Audio thread.
func (c *Code) Add(member int, amplitude float32, frame int64, x []float32) {
	mask := c.walsh[member]
	for i := 0; i < len(x); {
		f := frame + int64(i)
		chip := f / ChipFrames
		signs := (c.Common(chip/64) ^ mask) >> uint(chip%64)
		end := min(len(x), i+int(64*ChipFrames-f%(64*ChipFrames)))
		k := int(f % ChipFrames)
		if k == 0 {
			for ; i+ChipFrames <= end; i += ChipFrames {
				a := amplitude
				if signs&1 != 0 {
					a = -a
				}
				signs >>= 1
				y := x[i : i+ChipFrames : i+ChipFrames]
				y[0] += a
				y[1] += a
				y[2] -= a
				y[3] -= a
			}
		}
		for ; i < end; i++ {
			a := amplitude * chipPulse[k]
			if signs&1 != 0 {
				a = -a
			}
			x[i] += a
			if k++; k == ChipFrames {
				k, signs = 0, signs>>1
			}
		}
	}
}

// Hadamard replaces x, whose length is a power of two, by its sums with every
// Walsh function, in the order of a Code's members. Audio thread.
func Hadamard(x []float64) {
	for h := 1; h < len(x); h *= 2 {
		for i := 0; i < len(x); i += 2 * h {
			a, b := x[i:i+h], x[i+h:i+2*h]
			for k := range a {
				a[k], b[k] = a[k]+b[k], a[k]-b[k]
			}
		}
	}
}

// Walsh returns a member's own function, as 64 signs; a set bit is negative. Audio thread.
func (c *Code) Walsh(member int) uint64 { return c.walsh[member] }
