//go:build !linux

package hardware

// raiseProcess leaves other threads as they are on this system.
func raiseProcess() (priority int) { return 0 }

func sweepProcess() (priority int) { return 0 }

func lowerProcess() {}
