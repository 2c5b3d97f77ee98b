//go:build linux && !amd64

package kernel

import "testing"

// corePeak is not known here.
func corePeak(testing.TB) (operations, clock float64) { return 0, 0 }
