//go:build !linux

package hardware

import "time"

func threadID() int { return 0 }

type threadFigures struct {
	minorFaults, majorFaults uint64
	waited                   time.Duration
}

// figuresOf knows nothing on this system.
func figuresOf(int) (threadFigures, bool) { return threadFigures{}, false }

// lockMemory is not done on this system: what the audio threads touch was touched beforehand.
func lockMemory(*ring) (how, note string) { return MemoryTouched, "" }
