package scenes

import (
	"runtime"

	"golang.org/x/sys/cpu"
)

// Machine names the kind of this machine as far as a sound depends on it, such
// as amd64+fma: the architecture, "fma" where Go's math.Exp takes the way of
// processors that multiply and add in one step, and "fused" where the compiler
// makes one step of a product and a sum. The last bits of what is calculated so
// are others on a machine of another kind.
func Machine() string {
	m := runtime.GOARCH
	if cpu.X86.HasAVX && cpu.X86.HasFMA {
		m += "+fma"
	}
	if fused(1+0x1p-30, 1-0x1p-30, -1) {
		m += "+fused"
	}
	return m
}

// fused tells whether z, which is minus one, is added to the product of x and y as
// it is, a bit less than one, and not to one, to which it is rounded.
//
//go:noinline
func fused(x, y, z float64) bool { return x*y+z != 0 }
