package mapping

import (
	"fmt"
	"testing"
)

// BenchmarkApply measures one transition of a cluster with 5,000 pods in 20
// Deployments on 200 nodes: of a pod that turns ready and back.
func BenchmarkApply(b *testing.B) {
	r := newRig(b)
	r.quietly(func() {
		for i := range 200 {
			r.say(KindNode, fmt.Sprintf("stage-%03d", i), FieldExists, "true")
		}
		for i := range 5000 {
			r.ready(fmt.Sprintf("many%d-%d", i%20, i))
		}
	})
	r.run(1)
	for i := 0; b.Loop(); i++ {
		n := i % 5000
		r.pod(fmt.Sprintf("many%d-%d", n%20, n), FieldReady, "false", FieldReady, "true")
		if n%50 == 0 {
			r.block()
		}
	}
}

// BenchmarkFirstList measures the first list of 5,000 pods.
func BenchmarkFirstList(b *testing.B) {
	for b.Loop() {
		r := newRig(b)
		r.quietly(func() {
			for i := range 5000 {
				r.ready(fmt.Sprintf("web-%d", i))
			}
		})
		r.Pump(r.frame)
	}
}
