package kernel_test

import (
	"fmt"

	"github.com/k8s-synth/k8s-synth/dsp/kernel"
)

// A module renders its block in pieces that end with control periods and where
// gates change.
func ExampleVoices() {
	var v kernel.Voices
	v.Init(48000)
	v.SetEnvelope(0, 0.001, 0.1, 0.5, 0.1)

	const gate = 21 // the frame at which the first voice's gate rises
	left, right := make([]float32, 64), make([]float32, 64)
	for i := 0; i < len(left); {
		if v.Left() == 0 {
			// Once a control period: what moves slowly, for voices that sound
			// or are about to.
			v.SetHertz(0, 0, 220)
			v.SetHertz(0, 1, 220.7)
			v.SetCutoff(0, 1500)
			v.Begin()
		}
		if i == gate {
			v.Gate(0, true)
		}
		end := min(len(left), i+v.Left())
		if i < gate {
			end = min(end, gate)
		}
		v.Process(left[i:end], right[i:end])
		i = end
	}
	fmt.Println(left[gate-1] == 0, left[gate] != 0)
	// Output: true true
}
