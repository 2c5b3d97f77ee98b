package measure

import "runtime"

func getMXCSR() uint32
func setMXCSR(v uint32)

// denormalFlag is the bit of the SSE status that stays set once an operation
// has met a denormal operand (Intel's manual, volume 1, 10.2.3).
const denormalFlag = 1 << 1

// Denormals runs f and tells whether any of its arithmetic met a number so
// small that processors take a slow path for it: the flag of the processor
// itself says so. Known is false where there is no such flag.
func Denormals(f func()) (met, known bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := getMXCSR()
	setMXCSR(before &^ denormalFlag)
	f()
	met = getMXCSR()&denormalFlag != 0
	setMXCSR(before)
	return met, true
}
