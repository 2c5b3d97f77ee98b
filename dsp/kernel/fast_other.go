//go:build !amd64

package kernel

import "github.com/k8s-synth/k8s-synth/dsp"

// Other machines play the twin in Go.
const fast = false

func prepareFast(*bank) uint16 { return 0 }

func residualsFast(*bank, *dsp.ResidualTable, int, uint32, float32) {}

func transposeFast(*bank) {}

func runFast(*bank, *Sum, *[Period]lanes, dsp.Waveform, int, int, uint16) {}
