//go:build !linux

package sense

import "time"

var began = time.Now()

// threadTime is the time of day, where a thread's own is not to be had.
func threadTime() time.Duration { return time.Since(began) }
