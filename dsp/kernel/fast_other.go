//go:build !amd64

package kernel

import "github.com/k8s-synth/k8s-synth/dsp"

// Other machines play the twin in Go.
var fast, wide = false, false

func beginFast(*bank, dsp.Waveform, int) uint16 { return 0 }

func runFast(*bank, *Sum, *[Period]lanes, dsp.Waveform, int, int, uint16, bool) {}

func stereoFast(*Sum, []float32, []float32) {}
