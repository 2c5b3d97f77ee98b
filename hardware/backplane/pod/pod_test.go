package pod

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/k8s-synth/k8s-synth/hardware/backplane"
)

// rig is a Pod and a daemon with a perfect cable, in a time of their own.
type rig struct {
	t     *testing.T
	pod   Pod
	host  backplane.Host
	now   int64
	in    In
	out   Out
	value []uint16
	at    []int64 // when values came
	edges []edge
}

type edge struct {
	high bool
	at   int64
}

func (r *rig) Identified(backplane.Identity, uint8)  {}
func (r *rig) Described(int, backplane.Control)      {}
func (r *rig) Bound()                                {}
func (r *rig) Value(_ int, v uint16)                 { r.value, r.at = append(r.value, v), append(r.at, r.now) }
func (r *rig) Gate(_ int, high bool, at int64)       { r.edges = append(r.edges, edge{high, at}) }
func (r *rig) Fault(c backplane.FaultCode, _ uint8)  { r.t.Errorf("fault: %v", c) }
func (r *rig) Lost(backplane.Reason)                 {}
func (r *rig) ticks(n int, each func(i int) (in In)) { r.run(n, each, true) }
func (r *rig) alone(n int, each func(i int) (in In)) { r.run(n, each, false) }
func (r *rig) run(n int, each func(i int) In, on bool) {
	var buf [backplane.MaxFrame]byte
	for i := range n {
		if each != nil {
			r.in = each(i)
		}
		r.out = r.pod.Tick(r.now, r.in)
		for b := r.pod.Next(r.now, buf[:]); len(b) > 0; b = r.pod.Next(r.now, buf[:]) {
			if on {
				r.host.Receive(r.now, b)
			}
		}
		if on {
			if r.host.Waiting() {
				r.host.Bind("pod/web-1")
			}
			r.pod.Receive(r.now, r.host.Next(r.now, buf[:]))
		}
		r.now += TickMicros
	}
}

const second = 1_000_000 / TickMicros

func newRig(t *testing.T) *rig {
	r := &rig{t: t, in: In{CPU: 20000}}
	r.pod.Init([8]byte{1}, 7, "", backplane.Serial)
	r.host.Init(r, backplane.Serial, 9)
	return r
}

func playing(t *testing.T) *rig {
	r := newRig(t)
	r.ticks(second/2, nil)
	if !r.host.Playing() {
		t.Fatal("no session")
	}
	r.value, r.at = nil, nil
	return r
}

// TestTriggers: the shortest trigger of the standard is seen once, and its edges
// are told where they were.
func TestTriggers(t *testing.T) {
	r := playing(t)
	began := r.now
	r.ticks(second, func(i int) In {
		in := In{CPU: 20000}
		if i%500 < 5 { // 1 ms of each 100
			in.Lifecycle = JackCounts(5)
		}
		return in
	})
	if len(r.edges) != 20 {
		t.Fatalf("%d edges of 10 triggers", len(r.edges))
	}
	for i, e := range r.edges {
		want := began + int64(i/2)*100_000 + int64(i%2)*1000
		if e.high != (i%2 == 0) || e.at < want-TickMicros || e.at > want+TickMicros {
			t.Errorf("edge %d: %v at %d µs, want %d", i, e.high, e.at, want)
		}
	}
}

// TestScratchingPlug: what bounces and what only hums is one edge, or none.
func TestScratchingPlug(t *testing.T) {
	r := playing(t)
	rng := rand.New(rand.NewPCG(1, 1))
	r.ticks(second, func(i int) In {
		switch {
		case i < 100: // half a volt of hum on an open input
			return In{JackCounts(0.45 + 0.5*float32(math.Sin(float64(i)/9))), 20000}
		case i < 160: // contact for a tick, and not
			if rng.IntN(2) == 0 && i%3 == 0 {
				return In{JackCounts(10), 20000}
			}
			return In{0, 20000}
		}
		return In{JackCounts(8), 20000}
	})
	if len(r.edges) != 1 || !r.edges[0].high {
		t.Errorf("edges %v, want one", r.edges)
	}
	r.edges = nil
	r.ticks(second, func(int) In { return In{JackCounts(0.1 + 0.85*rng.Float32()), 20000} })
	if len(r.edges) > 1 {
		t.Errorf("a level between the thresholds made %d edges", len(r.edges))
	}
	for v, want := range map[float32]bool{0.05: false, 1.05: true, 5: true, 12: true, -5: false} {
		r.ticks(100, func(int) In { return In{JackCounts(v), 20000} })
		if got := r.pod.stable; got != want {
			t.Errorf("%g V is %v", v, got)
		}
	}
}

// TestKnob: at rest it says nothing, through noise; turned, it says all of it,
// soon, and not too often.
func TestKnob(t *testing.T) {
	r := playing(t)
	rng := rand.New(rand.NewPCG(2, 2))
	noise := func(v float64) uint16 { // 3 steps of 12 bits, rms
		return uint16(min(max(v+rng.NormFloat64()*48, 0), 65535)) &^ 15
	}
	r.ticks(2*second, func(int) In { return In{0, noise(20000)} })
	settling := len(r.value)
	r.ticks(20*second, func(int) In { return In{0, noise(20000)} })
	if n := len(r.value) - settling; n > 2 {
		t.Errorf("a knob at rest told %d values in 20 s", n)
	}
	r.value, r.at = nil, nil
	began := r.now
	r.ticks(second/10, func(int) In { return In{0, noise(50000)} })
	late := int64(-1)
	for i, v := range r.value {
		if math.Abs(float64(v)-float64(travel(50000))) < 655 { // 1 %
			late = r.at[i] - began
			break
		}
	}
	if late < 0 || late > 5000 {
		t.Errorf("a turned knob was there after %d µs; it told %v", late, r.value)
	}
	t.Logf("a knob that jumps is told to 1 %% after %.1f ms", float64(late)/1e3)
	r.ticks(second/2, func(int) In { return In{0, noise(0)} })
	r.value, r.at = nil, nil
	r.ticks(second, func(i int) In { return In{0, noise(float64(i) * 65535 / second)} })
	r.ticks(second/10, func(int) In { return In{0, noise(65535)} })
	if len(r.value) < 200 || len(r.value) > 560 {
		t.Errorf("a turn of a second told %d values", len(r.value))
	}
	if last := r.value[len(r.value)-1]; last != 65535 {
		t.Errorf("it ends at %d", last)
	}
	for i := 1; i < len(r.value); i++ {
		if int(r.value[i]) < int(r.value[i-1])-200 {
			t.Errorf("it went back from %d to %d", r.value[i-1], r.value[i])
		}
		if r.at[i]-r.at[i-1] < backplane.ValueInterval {
			t.Errorf("two values within %d µs", r.at[i]-r.at[i-1])
		}
	}
	t.Logf("a turn of a second told %d values", len(r.value))
	if travel(0) != 0 || travel(knobEnd) != 0 || travel(65535-knobEnd) != 65535 || travel(65535) != 65535 {
		t.Error("the ends are not reached")
	}
	if mid := travel(32768); mid < 32700 || mid > 32850 {
		t.Errorf("the middle is %d", mid)
	}
}

func TestLights(t *testing.T) {
	r := newRig(t)
	flashes := func() (n int) {
		was := false
		r.alone(second, func(int) In {
			if on := r.out.Ready > 0; on != was {
				was = on
				if on {
					n++
				}
			}
			return In{}
		})
		return n
	}
	if n := flashes(); n != 1 || slices.Max(r.out.Load[:]) == 0 {
		t.Errorf("without a daemon it flashes %d times a second, bar %v", n, r.out.Load)
	}
	r.ticks(second/2, nil)
	r.host.Show(Ready, 65535)
	r.host.Show(Load, 65535/2)
	r.ticks(50, nil)
	if r.out.Ready != 65535 || r.out.Load != [Segments]uint16{65535, 65535, gamma(65535/2*5 - 2*65535), 0, 0} {
		t.Errorf("half load: %+v", r.out)
	}
	r.host.Show(Load, 65535)
	r.ticks(50, nil)
	if slices.Min(r.out.Load[:]) != 65535 {
		t.Errorf("full load: %v", r.out.Load)
	}
	// The daemon dies; in half a second the lights say so.
	r.alone(second*6/10, nil)
	if r.pod.Panel().Connected() || slices.Max(r.out.Load[:]) == 65535 {
		t.Error("the lights stayed as they were")
	}
	if n := flashes(); n != 1 {
		t.Errorf("without a daemon it flashes %d times a second", n)
	}
}

func TestTickIsFree(t *testing.T) {
	r := playing(t)
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		i++
		r.out = r.pod.Tick(r.now, In{uint16(i * 997), uint16(i * 131)})
	}); n != 0 {
		t.Errorf("%v allocations a tick", n)
	}
}

func BenchmarkTick(b *testing.B) {
	var p Pod
	p.Init([8]byte{}, 1, "", backplane.Serial)
	for i := range b.N {
		p.Tick(int64(i)*TickMicros, In{uint16(i), uint16(i)})
	}
}
