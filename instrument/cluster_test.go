package instrument

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// told empties the outbox and returns what was told of one kind by one module.
func (r *rig) told(kind EventKind, id ModuleID) (all []Event) {
	var ev Event
	for r.e.Outbox.Pop(&ev) {
		if ev.Kind == kind && ev.Module == r.c.Handle(id) {
			all = append(all, ev)
		}
	}
	return all
}

// reports empties the outbox and returns all but wishes, in order.
func (r *rig) reports() (all []Event) {
	var ev Event
	for r.e.Outbox.Pop(&ev) {
		if ev.Kind != EventWish {
			all = append(all, ev)
		}
	}
	return all
}

// at plays triggers at frames from now on.
func (r *rig) triggers(id ModuleID, frames ...int) {
	now := r.e.frame
	r.source(id).play = func(f int64, _ int) float32 {
		for _, at := range frames {
			if d := f - now - int64(at); d >= 0 && d < 48 {
				return GateVolts
			}
		}
		return 0
	}
}

// requests is a module with a source in its request jack and a probe in each
// named output.
func requests(t *testing.T, id ModuleID, params map[string]float64, outs ...string) *rig {
	r := newRig(t).add(id, params).add("test_source/req", nil).cable("test_source/req/out_4", string(id)+"/request")
	for _, o := range outs {
		r.add(ModuleID("test_probe/"+probeName(o)), nil).cable(string(id)+"/"+o, "test_probe/"+probeName(o)+"/in")
	}
	r.adopt().settle()
	r.reports()
	return r
}

func probeName(jack string) string {
	b := []byte(jack)
	for i := range b {
		if b[i] == '_' {
			b[i] = '-'
		}
	}
	return string(b)
}

// jack returns what a probe of requests recorded.
func (r *rig) jack(name string) *[MaxPoly][]float32 {
	return &r.probe(ModuleID("test_probe/" + probeName(name))).rec
}

// struck lists which channels were struck, each with its frame.
func struck(rec *[MaxPoly][]float32) (all []string) {
	type hit struct{ at, c int }
	var hits []hit
	for c := range rec {
		for _, at := range rises(rec[c]) {
			hits = append(hits, hit{at, c})
		}
	}
	slices.SortFunc(hits, func(a, b hit) int { return a.at - b.at })
	for _, h := range hits {
		all = append(all, fmt.Sprintf("%d@%d", h.c, h.at))
	}
	return all
}

func TestServiceChoosesEndpoints(t *testing.T) {
	type step struct {
		present []int // channels that are endpoints now; nil leaves them
		at      int   // frame of a request
		want    string
	}
	for _, c := range []struct {
		name   string
		policy float64
		steps  []step
	}{
		{"none", policyRoundRobin, []step{{nil, 17, "miss"}, {nil, 500, "miss"}}},
		{"round robin, with a place that was left", policyRoundRobin, []step{
			{[]int{0, 2, 5}, 17, "0"}, {nil, 301, "2"}, {nil, 999, "5"}, {nil, 63, "0"}, {nil, 64, "2"}, {nil, 1, "5"}, {nil, 0, "0"}}},
		{"one that goes and comes", policyRoundRobin, []step{{[]int{0, 1, 2}, 100, "0"}, {nil, 100, "1"}, {[]int{0, 1}, 100, "0"}, {[]int{0, 1, 2}, 100, "1"}, {nil, 100, "2"}, {[]int{}, 100, "miss"}, {[]int{15}, 100, "15"}, {nil, 100, "15"}}},
		{"sticky", policySticky, []step{{[]int{1, 3}, 100, "1"}, {nil, 100, "1"}, {[]int{0, 1, 3}, 100, "1"}, {[]int{0, 3}, 100, "3"}, {[]int{0, 1, 3}, 100, "3"}, {[]int{0}, 100, "0"}, {[]int{}, 7, "miss"}, {[]int{0, 1}, 7, "0"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, chunk := range []int{1, 37, 64, 1000} {
				r := requests(t, "service/s", map[string]float64{"policy": c.policy}, "endpoints", "endpoint_1", "endpoint_2", "endpoint_3", "endpoint_4", "miss")
				r.chunk = chunk
				for k, s := range c.steps {
					if s.present != nil {
						for ch := range MaxPoly {
							v := float32(0)
							if slices.Contains(s.present, ch) {
								v = GateVolts
							}
							r.level("service/s", "present", ch, v)
						}
					}
					r.triggers("test_source/req", s.at)
					r.forget()
					r.render(1100)
					got, frame := "", -1
					for ch, rec := range r.jack("endpoints") {
						for _, at := range rises(rec) {
							got, frame = got+fmt.Sprint(ch), at
						}
					}
					for _, at := range rises(r.jack("miss")[0]) {
						got, frame = got+"miss", at
					}
					if got != s.want || frame != s.at {
						t.Errorf("calls of %d, request %d: %q at %d, want %q at %d", chunk, k, got, frame, s.want, s.at)
					}
					for e := range Endpoints {
						var want []int
						if s.want == fmt.Sprint(e) {
							want = []int{s.at}
						}
						if got := rises(r.jack(fmt.Sprintf("endpoint_%d", e+1))[0]); !slices.Equal(got, want) {
							t.Errorf("calls of %d, request %d: endpoint_%d at %v, want %v", chunk, k, e+1, got, want)
						}
					}
				}
				if told := r.reports(); len(told) != 0 {
					t.Errorf("simulated requests were told: %+v", told)
				}
			}
		})
	}
}

// TestServiceRandom: every endpoint gets its share, in an order that the
// module's seed decides.
func TestServiceRandom(t *testing.T) {
	play := func() (order []int) {
		r := requests(t, "service/s", map[string]float64{"policy": policyRandom}, "endpoints")
		for _, ch := range []int{0, 1, 4, 9} {
			r.level("service/s", "present", ch, GateVolts)
		}
		now := r.e.frame
		r.source("test_source/req").play = func(f int64, _ int) float32 {
			if (f-now)%100 < 48 {
				return GateVolts
			}
			return 0
		}
		r.forget()
		r.render(100 * 400)
		type hit struct{ at, c int }
		var hits []hit
		for c, rec := range r.jack("endpoints") {
			for _, at := range rises(rec) {
				hits = append(hits, hit{at, c})
			}
		}
		slices.SortFunc(hits, func(a, b hit) int { return a.at - b.at })
		for _, h := range hits {
			order = append(order, h.c)
		}
		return order
	}
	order := play()
	if len(order) != 400 {
		t.Fatalf("%d of 400 requests were taken", len(order))
	}
	count := map[int]int{}
	repeats := 0
	for i, c := range order {
		count[c]++
		if i > 0 && c == order[i-1] {
			repeats++
		}
	}
	for _, c := range []int{0, 1, 4, 9} {
		// 100 are expected; four standard deviations are 35.
		if count[c] < 65 || count[c] > 135 {
			t.Errorf("endpoint %d took %d of 400", c, count[c])
		}
	}
	if repeats < 65 || repeats > 135 {
		t.Errorf("%d of 400 went to the endpoint before; chance would be a hundred", repeats)
	}
	if again := play(); !slices.Equal(order, again) {
		t.Error("the same seed chose otherwise")
	}
}

// TestLiveRequests: what is to be a real request is told, and nothing else.
func TestLiveRequests(t *testing.T) {
	r := requests(t, "service/s", nil, "endpoints", "miss")
	r.level("service/s", "present", 0, GateVolts)
	r.level("service/s", "live", 0, GateVolts)
	r.forget()
	at := r.e.frame
	r.triggers("test_source/req", 77, 1003)
	r.render(2000)
	want := []Event{
		{Frame: at + 77, Kind: EventGate, Module: r.c.Handle("service/s"), Index: uint8(Spec("service").Input("request")), Value: 1},
		{Frame: at + 1003, Kind: EventGate, Module: r.c.Handle("service/s"), Index: uint8(Spec("service").Input("request")), Value: 1},
	}
	if got := r.reports(); !slices.Equal(got, want) {
		t.Errorf("told %+v, want %+v", got, want)
	}
	if hits := append(struck(r.jack("endpoints")), struck(r.jack("miss"))...); len(hits) != 0 {
		t.Errorf("struck %v before anybody answered", hits)
	}
	// The board strikes who answered.
	r.forget()
	r.send(r.event(EventPulse, "service/s", "endpoints", 3, 0, r.e.frame+50))
	r.send(r.event(EventPulse, "service/s", "miss", 0, 0, r.e.frame+90))
	r.render(500)
	if hits := struck(r.jack("endpoints")); !slices.Equal(hits, []string{"3@50"}) {
		t.Errorf("struck %v, want 3@50", hits)
	}
	if hits := struck(r.jack("miss")); !slices.Equal(hits, []string{"0@90"}) {
		t.Errorf("missed %v, want 0@90", hits)
	}
	// Simulated again, in the middle of a block.
	r.forget()
	r.send(r.event(EventLevel, "service/s", "live", 0, 0, r.e.frame+200))
	r.triggers("test_source/req", 100, 200)
	r.render(500)
	if got := r.reports(); len(got) != 1 {
		t.Errorf("told %+v, want the one request before the switch", got)
	}
	if hits := struck(r.jack("endpoints")); !slices.Equal(hits, []string{"0@200"}) {
		t.Errorf("struck %v, want 0@200", hits)
	}

	r = requests(t, "ingress/i", nil, "routes", "not_found")
	r.level("ingress/i", "live", 0, GateVolts)
	r.level("ingress/i", "routes", 2, GateVolts)
	r.input("ingress/i", "path", 1.75)
	r.render(64)
	r.forget()
	at = r.e.frame
	r.triggers("test_source/req", 130)
	r.render(500)
	h := r.c.Handle("ingress/i")
	want = []Event{
		{Frame: at + 130, Kind: EventSample, Module: h, Index: uint8(Spec("ingress").Input("path")), Value: 1.75},
		{Frame: at + 130, Kind: EventGate, Module: h, Index: uint8(Spec("ingress").Input("request")), Value: 1},
	}
	if got := r.reports(); !slices.Equal(got, want) {
		t.Errorf("told %+v, want %+v", got, want)
	}
	if hits := struck(r.jack("not_found")); len(hits) != 0 {
		t.Errorf("struck %v before anybody answered", hits)
	}
}

func TestIngressRoutes(t *testing.T) {
	outs := []string{"route_1", "route_2", "route_3", "route_4", "not_found"}
	for _, c := range []struct {
		path   float32
		routes []int
		want   string
	}{
		{0, []int{0, 1, 2, 3}, "route_1"},
		{-0.5, []int{0}, "route_1"},
		{-0.51, []int{0, 1, 2, 3}, "not_found"},
		{0.49, []int{0, 1}, "route_1"},
		{0.51, []int{0, 1}, "route_2"},
		{1, []int{0, 2}, "not_found"},
		{2.2, []int{2}, "route_3"},
		{3.49, []int{3}, "route_4"},
		{3.5, []int{0, 1, 2, 3, 4}, "not_found"},
		{4, []int{4}, "not_found"},
		{10, []int{0, 1, 2, 3}, "not_found"},
		{0, nil, "not_found"},
	} {
		for _, chunk := range []int{1, 64, 777} {
			r := requests(t, "ingress/i", nil, outs...)
			r.chunk = chunk
			for _, k := range c.routes {
				r.level("ingress/i", "routes", k, GateVolts)
			}
			r.input("ingress/i", "path", c.path)
			r.render(64)
			r.forget()
			r.triggers("test_source/req", 211)
			r.render(1000)
			for _, o := range outs {
				var want []int
				if o == c.want {
					want = []int{211}
				}
				if got := rises(r.jack(o)[0]); !slices.Equal(got, want) {
					t.Errorf("%g V, routes %v, calls of %d: %s at %v, want %v", c.path, c.routes, chunk, o, got, want)
				}
			}
			if told := r.reports(); len(told) != 0 {
				t.Errorf("simulated requests were told: %+v", told)
			}
		}
	}
}

// TestRequestChain: a request that enters at an Ingress strikes the pod at
// the same frame, through a Service.
func TestRequestChain(t *testing.T) {
	r := newRig(t).add("test_source/req", nil).add("ingress/i", nil).add("service/s", nil).add("pod/p", nil).add("test_probe/a", nil).add("test_probe/e", nil)
	r.cable("test_source/req/out_4", "ingress/i/request").cable("ingress/i/route_1", "service/s/request").cable("service/s/endpoint_1", "pod/p/request")
	r.cable("pod/p/audio", "test_probe/a/in").cable("service/s/endpoint_1", "test_probe/e/in").adopt().settle()
	r.level("ingress/i", "routes", 0, GateVolts)
	r.level("service/s", "present", 0, GateVolts)
	r.seconds(0.5)
	r.forget()
	r.triggers("test_source/req", 333)
	r.seconds(0.2)
	if at := rises(r.probe("test_probe/e").rec[0]); !slices.Equal(at, []int{333}) {
		t.Errorf("the endpoint was struck at %v, want 333", at)
	}
	a := r.probe("test_probe/a").rec[0]
	if p := peakOf(a[:333]); p != 0 {
		t.Errorf("the pod sounds at %g V before the request", p)
	}
	if p := peakOf(a[333:1500]); p < 0.05 {
		t.Errorf("the pod answers with %g V", p)
	}
}

// loop is a controller with sources for what is desired and observed, and
// probes.
func loop(t *testing.T, params map[string]float64) *rig {
	r := newRig(t).add("controller/c", params).add("test_source/d", nil).add("test_source/o", nil).add("test_source/r", nil)
	r.cable("test_source/d/out_1", "controller/c/desired").cable("test_source/o/out_1", "controller/c/observed").cable("test_source/r/out_4", "controller/c/reconcile")
	for _, o := range []string{"error", "act", "reconciled", "converged", "backoff"} {
		r.add(ModuleID("test_probe/"+o), nil).cable("controller/c/"+o, "test_probe/"+o+"/in")
	}
	r.adopt().settle()
	r.reports()
	return r
}

func last(b []float32) float64 { return float64(b[len(b)-1]) }

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("%s is %g, want %g within %g", what, got, want, within)
	}
}

// TestControllerClock: it reconciles at its interval, and at edges at once;
// act holds in between.
func TestControllerClock(t *testing.T) {
	for _, chunk := range []int{1, 64, 480} {
		r := loop(t, map[string]float64{"interval": 0.05, "gain": 0.5})
		r.chunk = chunk
		r.forget()
		r.seconds(1)
		ticks := rises(r.jack("reconciled")[0])
		if len(ticks) != 20 {
			t.Errorf("%d reconciliations a second at an interval of 50 ms", len(ticks))
		}
		for i := 1; i < len(ticks); i++ {
			if d := ticks[i] - ticks[i-1]; d != 2400 {
				t.Errorf("%d frames from one reconciliation to the next, want 2400", d)
			}
		}
		// Between two looks it does nothing: the error jumps 100 frames after one.
		r.render(2400 - (24000*2-ticks[len(ticks)-1])%2400 + 100)
		r.forget()
		r.source("test_source/d").play = steady(2)
		r.render(2200)
		if n := len(rises(r.jack("reconciled")[0])); n != 0 {
			t.Fatalf("%d reconciliations where none was due", n)
		}
		near(t, "the error", last(r.jack("error")[0]), 2, 0)
		near(t, "act before it looked", last(r.jack("act")[0]), 0, 0)
		r.forget()
		r.triggers("test_source/r", 31)
		r.render(100)
		if at := rises(r.jack("reconciled")[0]); !slices.Equal(at, []int{31}) {
			t.Errorf("an edge reconciled at %v, want 31", at)
		}
		r.forget()
		r.render(2250) // the clock starts again at the edge
		if n := len(rises(r.jack("reconciled")[0])); n != 0 {
			t.Errorf("it reconciled %d times soon after an edge", n)
		}
		near(t, "act", last(r.jack("act")[0]), 1, 1e-6)
	}
}

// TestControllerLaw: what act comes to, and how it gets there.
func TestControllerLaw(t *testing.T) {
	for _, c := range []struct {
		name              string
		params            map[string]float64
		desired, observed float32
		seconds           float64
		act               float64
		within            float64
		converged         bool
	}{
		{"proportional", map[string]float64{"gain": 2}, 3, 1, 0.5, 4, 1e-6, false},
		{"negative", map[string]float64{"gain": 0.5}, 1, 3, 0.5, -1, 1e-6, false},
		{"rails", map[string]float64{"gain": 9}, 5, 0, 0.5, 10, 0, false},
		{"lower rails", map[string]float64{"gain": 9}, -5, 0, 0.5, -10, 0, false},
		{"deadband", map[string]float64{"gain": 5, "deadband": 0.5}, 1.4, 1, 0.5, 0, 0, true},
		{"integral", map[string]float64{"gain": 0, "integral": 2}, 1, 0, 0.435, 0.8, 1e-3, false},
		{"deadband stops the integral", map[string]float64{"gain": 0, "integral": 2, "deadband": 1.5}, 1, 0, 1, 0, 0, true},
		{"no knob", map[string]float64{"gain": 0}, 5, 0, 0.5, 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := loop(t, c.params)
			r.source("test_source/d").play = steady(c.desired)
			r.source("test_source/o").play = steady(c.observed)
			r.forget()
			r.seconds(c.seconds)
			near(t, "the error", last(r.jack("error")[0]), float64(c.desired)-float64(c.observed), 1e-6)
			near(t, "act", last(r.jack("act")[0]), c.act, c.within)
			if got := last(r.jack("converged")[0]) > 1; got != c.converged {
				t.Errorf("converged is %v, want %v", got, c.converged)
			}
			if step, at := steepest(r.jack("act")[0]); step > 20.0/480+1e-4 {
				t.Errorf("act steps by %g V at %d", step, at)
			}
		})
	}
}

// TestControllerWindup: a minute at the rails does not have to be undone.
func TestControllerWindup(t *testing.T) {
	r := loop(t, map[string]float64{"gain": 0.5, "integral": 5, "interval": 0.01})
	r.source("test_source/d").play = steady(10)
	r.seconds(10)
	near(t, "act", last(r.jack("act")[0]), 10, 0)
	r.source("test_source/d").play = steady(-2)
	r.forget()
	r.seconds(1)
	// At the rail 5 V were P's, so I had 5 V; then P is −1 V, and I falls by
	// 0.1 V at each look.
	act := r.jack("act")[0]
	near(t, "act after 25 ms", float64(act[testRate/40]), 3.8, 0.11)
}

// TestControllerConverges: it drives a slow plant to what is desired, and
// rests there.
func TestControllerConverges(t *testing.T) {
	r := loop(t, map[string]float64{"gain": 0.4, "integral": 2, "interval": 0.02, "deadband": 0.02})
	// A tank that act fills: half the way to act each 50 ms.
	level, a := float32(0), float32(1-math.Exp2(-1/(0.05*testRate)))
	c := r.c.nodes["controller/c"]
	r.source("test_source/o").play = func(f int64, _ int) float32 {
		// The probe's own record is a slice old, which a tank does not notice.
		level += a * (c.out[controllerAct].Volts[0][0] - level)
		return level
	}
	r.source("test_source/d").play = steady(4)
	r.seconds(4)
	near(t, "what is observed", float64(level), 4, 0.03)
	if last(r.jack("converged")[0]) < 1 {
		t.Error("it has not converged")
	}
	near(t, "backoff", last(r.jack("backoff")[0]), 0, 0)
	r.forget()
	r.seconds(1)
	if n := len(rises(r.jack("converged")[0])); n != 1 {
		t.Errorf("converged flapped: it rose %d times in a second of rest", n)
	}
}

// TestControllerHysteresis: an error at the edge of the deadband does not
// make the gate flutter.
func TestControllerHysteresis(t *testing.T) {
	r := loop(t, map[string]float64{"deadband": 0.4})
	r.source("test_source/d").play = func(f int64, _ int) float32 {
		return 0.4 + 0.05*float32(math.Sin(float64(f)*0.01))
	}
	r.forget()
	r.seconds(1)
	if n := len(rises(r.jack("converged")[0])); n != 1 {
		t.Errorf("converged rose %d times, want once", n)
	}
	r.source("test_source/d").play = steady(0.6)
	r.seconds(0.1)
	if last(r.jack("converged")[0]) != 0 {
		t.Error("0.6 V of error count as none in a deadband of 0.4 V")
	}
}

// TestControllerBackoff: acting that does not help makes the intervals
// longer, up to 64 times; help, another aim and convergence make them short.
func TestControllerBackoff(t *testing.T) {
	const interval = 0.01
	r := loop(t, map[string]float64{"interval": interval, "gain": 1})
	r.source("test_source/d").play = steady(3)
	r.forget()
	r.seconds(5)
	ticks := rises(r.jack("reconciled")[0])
	var gaps []int
	for i := 1; i < len(ticks); i++ {
		gaps = append(gaps, (ticks[i]-ticks[i-1]+240)/480)
	}
	if !slices.IsSorted(gaps) || gaps[0] != 1 || gaps[len(gaps)-1] != 64 {
		t.Errorf("intervals of %v × 10 ms; they double up to 64", gaps)
	}
	for k := range 6 {
		if n := len(slices.DeleteFunc(slices.Clone(gaps), func(g int) bool { return g != 1<<k })); n < 3 || n > 4 {
			t.Errorf("%d intervals of %d × 10 ms; three reconciliations decide", n, 1<<k)
		}
	}
	near(t, "backoff", last(r.jack("backoff")[0]), 6, 0)

	for _, c := range []struct {
		name string
		play func()
	}{
		{"convergence", func() { r.source("test_source/o").play = steady(3) }},
		{"another aim", func() { r.source("test_source/d").play = steady(5) }},
		{"another aim at the same distance", func() {
			r.source("test_source/d").play = steady(5)
			r.source("test_source/o").play = steady(2)
		}},
		{"help", func() {
			at := r.e.frame
			r.source("test_source/o").play = func(f int64, _ int) float32 { return float32(min(float64(f-at)/testRate, 2.5)) * 0.9 }
		}},
	} {
		r.source("test_source/d").play = steady(3)
		r.source("test_source/o").play = steady(0)
		r.seconds(5)
		near(t, "backoff before "+c.name, last(r.jack("backoff")[0]), 6, 0)
		c.play()
		r.forget()
		r.seconds(2.2)
		if low := slices.Min(r.jack("backoff")[0]); low != 0 {
			t.Errorf("after %s the least backoff is %g V", c.name, low)
		}
	}
	// Neither convergence nor another aim waits for the next look.
	for jack, v := range map[ModuleID]float32{"test_source/o": 3, "test_source/d": 9} {
		r.source("test_source/o").play = steady(0)
		r.source("test_source/d").play = steady(3)
		r.seconds(5)
		near(t, "backoff", last(r.jack("backoff")[0]), 6, 0)
		r.source(jack).play = steady(v)
		r.forget()
		r.seconds(0.02)
		near(t, fmt.Sprintf("backoff soon after %s went to %g V", jack, v), last(r.jack("backoff")[0]), 0, 0)
		if len(rises(r.jack("reconciled")[0])) == 0 {
			t.Errorf("it did not look soon after %s went to %g V", jack, v)
		}
	}
}

// TestControllerWatches: the error is the lag of the object while it watches.
func TestControllerWatches(t *testing.T) {
	r := loop(t, nil)
	r.source("test_source/d").play = steady(7)
	r.level("controller/c", "lag", 0, 2)
	r.seconds(0.2)
	near(t, "the error of the jacks", last(r.jack("error")[0]), 7, 0)
	r.level("controller/c", "watching", 0, GateVolts)
	r.seconds(0.2)
	near(t, "the error of the object", last(r.jack("error")[0]), 2, 0)
	if last(r.jack("converged")[0]) != 0 {
		t.Error("two generations behind it has converged")
	}
	// One generation more is another aim, one less is help.
	r.seconds(40)
	near(t, "backoff of an object that is not reconciled", last(r.jack("backoff")[0]), 6, 0)
	r.level("controller/c", "lag", 0, 3)
	r.seconds(0.02)
	near(t, "backoff after a new generation", last(r.jack("backoff")[0]), 0, 0)
	r.level("controller/c", "lag", 0, 0)
	r.seconds(0.2)
	if last(r.jack("converged")[0]) != GateVolts {
		t.Error("with its generation observed it has not converged")
	}
}

// TestControllerProgram: at each reconciliation it tells what it saw, and act
// follows the result.
func TestControllerProgram(t *testing.T) {
	r := loop(t, map[string]float64{"law": lawProgram, "interval": 0.05})
	r.source("test_source/d").play = steady(4)
	r.source("test_source/o").play = steady(1.5)
	r.seconds(0.06)
	r.reports()
	r.forget()
	at := r.e.frame
	r.seconds(0.05)
	ticks := rises(r.jack("reconciled")[0])
	if len(ticks) != 1 {
		t.Fatalf("%d reconciliations in an interval", len(ticks))
	}
	h, f, s := r.c.Handle("controller/c"), at+int64(ticks[0]), Spec("controller")
	want := []Event{
		{Frame: f, Kind: EventSample, Module: h, Index: uint8(s.Input("desired")), Value: 4},
		{Frame: f, Kind: EventSample, Module: h, Index: uint8(s.Input("observed")), Value: 1.5},
		{Frame: f, Kind: EventGate, Module: h, Index: uint8(s.Input("reconcile")), Value: 1},
	}
	if got := r.reports(); !slices.Equal(got, want) {
		t.Errorf("told %+v, want %+v", got, want)
	}
	near(t, "act before a result", last(r.jack("act")[0]), 0, 0)
	for _, v := range []struct{ result, act float32 }{{2.5, 2.5}, {-3, -3}, {40, 10}, {-1e6, -10}, {0, 0}} {
		r.level("controller/c", "result", 0, v.result)
		r.forget()
		r.seconds(0.02)
		near(t, fmt.Sprintf("act for a result of %g", v.result), last(r.jack("act")[0]), float64(v.act), 0)
		if step, at := steepest(r.jack("act")[0]); step > 20.0/480+1e-4 {
			t.Errorf("act steps by %g V at %d", step, at)
		}
	}
	// The other law takes over where it is.
	r.level("controller/c", "result", 0, 6)
	r.seconds(0.1)
	r.param("controller/c", "law", lawPI)
	r.forget()
	r.seconds(0.2)
	near(t, "act by P+I", last(r.jack("act")[0]), 2.5, 1e-6)
	if step, at := steepest(r.jack("act")[0]); step > 20.0/480+1e-4 {
		t.Errorf("act steps by %g V at %d", step, at)
	}
	if n := len(r.told(EventGate, "controller/c")); n > 8 {
		t.Errorf("P+I told %d reconciliations", n)
	}
}

// TestJobEnvelope: it rises with the first pod, holds until the Job is done,
// and is cut when it failed.
func TestJobEnvelope(t *testing.T) {
	start := func(release float64) *rig {
		r := newRig(t).add("job/j", map[string]float64{"attack": 0.02, "release": release}).add("test_probe/env", nil).cable("job/j/envelope", "test_probe/env/in").adopt().settle()
		r.seconds(0.1)
		if p := peakOf(r.jack("env")[0]); p != 0 {
			t.Fatalf("%g V before it was started", p)
		}
		r.forget()
		r.level("job/j", "active", 0, GateVolts)
		r.render(960)
		near(t, "the envelope after its attack", last(r.jack("env")[0]), 10, 0.01)
		if v := r.jack("env")[0][480]; v < 4 || v > 8.5 {
			t.Errorf("half way up it is at %g V", v)
		}
		return r
	}
	for _, release := range []float64{0.1, 0.8} {
		r := start(release)
		r.seconds(0.5)
		near(t, "the envelope while it works", last(r.jack("env")[0]), 10, 1e-6)
		r.level("job/j", "active", 0, 0)
		r.pulse("job/j", "complete", 0)
		r.forget()
		r.seconds(2.2 * release)
		env := r.jack("env")[0]
		near(t, "the envelope after its release", float64(env[int(release*testRate)]), 0.01, 0.002)
		near(t, "half way down", float64(env[int(release*testRate/2)]), 0.316, 0.03)
		near(t, "its end", last(env), 0, 0)
	}
	// Between two pods of a Job of three it holds; after the third it falls.
	r := start(0.1)
	for k, progress := range []float32{10.0 / 3, 20.0 / 3} {
		r.level("job/j", "progress", 0, progress)
		r.level("job/j", "active", 0, 0)
		r.forget()
		r.seconds(0.3)
		near(t, fmt.Sprintf("the envelope after pod %d", k+1), last(r.jack("env")[0]), 10, 1e-6)
		r.level("job/j", "active", 0, GateVolts)
		r.seconds(0.1)
	}
	r.level("job/j", "progress", 0, 10)
	r.level("job/j", "active", 0, 0)
	r.seconds(0.3)
	near(t, "the envelope of a Job that is done", last(r.jack("env")[0]), 0, 0)
	// A Job that is gone half way holds nothing up.
	r = start(0.1)
	r.level("job/j", "progress", 0, 5)
	r.level("job/j", "active", 0, 0)
	r.seconds(0.1)
	r.level("job/j", "progress", 0, 0)
	r.seconds(0.3)
	near(t, "the envelope of a Job that is gone", last(r.jack("env")[0]), 0, 0)
	// Failed: cut, whatever the release and although pods still end.
	r = start(10)
	r.level("job/j", "progress", 0, 5)
	r.pulse("job/j", "failed", 0)
	r.forget()
	r.seconds(0.05)
	env := r.jack("env")[0]
	near(t, "the envelope 12 ms after it failed", float64(env[576]), 0.01, 0.005)
	near(t, "the envelope of a Job that failed", last(env), 0, 0)
	if step, at := steepest(env); step > 0.15 {
		t.Errorf("it is cut with a step of %g V at %d", step, at)
	}
	// A new one rises, also where the gate never fell for a frame.
	r.level("job/j", "active", 0, 0)
	r.level("job/j", "active", 0, GateVolts)
	r.seconds(0.1)
	near(t, "the envelope of the next Job", last(r.jack("env")[0]), 10, 1e-6)
}

// TestCronJobPhase: twenty levels a second make one ramp.
func TestCronJobPhase(t *testing.T) {
	r := newRig(t).add("cronjob/c", nil).add("test_probe/phase", nil).cable("cronjob/c/phase", "test_probe/phase/in").adopt().settle()
	at := r.e.frame
	for k := range 40 {
		r.send(r.event(EventLevel, "cronjob/c", "phase", 0, float32(k+1)*0.1, at+int64(k)*testRate/20))
	}
	r.seconds(2)
	b := r.jack("phase")[0]
	for i, v := range b {
		if want := float64(i+1) / testRate * 2; math.Abs(float64(v)-want) > 1e-3 {
			t.Fatalf("frame %d is %g V, want %g", i, v, want)
		}
	}
}

// TestRuleJacks: pitch and velocity are there with their trigger, and a note
// on a channel that holds is a new edge.
func TestRuleJacks(t *testing.T) {
	r := newRig(t).add("rule/r", nil)
	for _, o := range []string{"pitch", "gate", "velocity", "trigger", "cv"} {
		r.add(ModuleID("test_probe/"+o), nil).cable("rule/r/"+o, "test_probe/"+o+"/in")
	}
	r.adopt().settle()
	at := r.e.frame
	note := func(f int64, ch int, pitch, velocity float32) {
		r.send(r.event(EventLevel, "rule/r", "gate", ch, 0, at+f-1))
		r.send(r.event(EventLevel, "rule/r", "pitch", ch, pitch, at+f))
		r.send(r.event(EventLevel, "rule/r", "velocity", ch, velocity, at+f))
		r.send(r.event(EventLevel, "rule/r", "gate", ch, GateVolts, at+f))
		r.send(r.event(EventPulse, "rule/r", "trigger", ch, 0, at+f))
	}
	note(100, 3, 1.5, 8)
	note(611, 3, -2, 4)
	r.send(r.event(EventLevel, "rule/r", "gate", 3, 0, at+900))
	r.send(r.event(EventLevel, "rule/r", "cv", 15, 5, at+100))
	r.render(1200)
	for _, o := range []string{"gate", "trigger"} {
		if got := struck(r.jack(o)); !slices.Equal(got, []string{"3@100", "3@611"}) {
			t.Errorf("%s rises at %v, want 3@100 and 3@611", o, got)
		}
	}
	for _, c := range []struct {
		jack string
		at   int
		want float32
	}{{"pitch", 99, 0}, {"pitch", 100, 1.5}, {"pitch", 610, 1.5}, {"pitch", 611, -2}, {"velocity", 100, 8}, {"velocity", 611, 4}, {"gate", 899, 10}, {"gate", 900, 0}} {
		if got := r.jack(c.jack)[3][c.at]; got != c.want {
			t.Errorf("%s at frame %d is %g V, want %g", c.jack, c.at, got, c.want)
		}
	}
	cv := r.jack("cv")[15]
	if step, at := steepest(cv); step > 0.011 {
		t.Errorf("cv steps by %g V at %d", step, at)
	}
	near(t, "cv", last(cv), 5, 0)
}

// TestWishes: what the control side hears of every knob of the cluster that
// has CV.
func TestWishes(t *testing.T) {
	type knob struct{ kind, param string }
	var knobs []knob
	for _, s := range registered {
		for _, p := range s.Params {
			if p.PerVolt != 0 && (p.Cluster || p.Live) {
				knobs = append(knobs, knob{s.Kind, p.Name})
			}
		}
	}
	want := []knob{{"deployment", "replicas"}, {"deployment", "cpu"}, {"pod", "cpu"}, {"pod", "memory"}, {"node", "capacity"}, {"hpa", "target"}, {"etcd", "key"}}
	if !slices.Equal(knobs, want) {
		t.Fatalf("knobs of the cluster with CV are %v; this test knows %v", knobs, want)
	}
	for _, k := range knobs {
		for _, chunk := range []int{1, 64, 700} {
			t.Run(fmt.Sprintf("%s %s in calls of %d", k.kind, k.param, chunk), func(t *testing.T) {
				s := Spec(k.kind)
				id := ModuleID(k.kind + "/x")
				i := s.Param(k.param)
				p := s.Params[i]
				r := newRig(t).add(id, nil).add("test_source/cv", nil).cable("test_source/cv/out_1", string(id)+"/"+p.Name+"_cv").adopt()
				r.chunk = chunk
				wishes := func() (all []Event) {
					for _, e := range r.told(EventWish, id) {
						if int(e.Index) == i {
							all = append(all, e)
						}
					}
					return all
				}
				r.settle()
				if w := wishes(); len(w) != 1 || float64(w[0].Value) != p.Value {
					t.Fatalf("at the start it wishes %v, want its knob's %g once", w, p.Value)
				}
				r.seconds(0.3)
				if w := wishes(); len(w) != 0 {
					t.Fatalf("at rest it wishes %v", w)
				}
				// A sweep over all of the range in half a second.
				at := r.e.frame
				span := (p.Max - p.Min) / p.PerVolt
				r.source("test_source/cv").play = func(f int64, _ int) float32 {
					return float32(span * min(float64(f-at)/testRate*2, 1) * 0.77)
				}
				r.seconds(0.7)
				w := wishes()
				step := max((p.Max-p.Min)*wishShare, 0.0)
				if p.Whole {
					step = max(step, wishHysteresis)
				}
				most := int(min(0.5*wishRate, 0.77*(p.Max-p.Min)/step)) + 3
				if len(w) < most/3 || len(w) > most {
					t.Errorf("%d wishes of a sweep; want some %d", len(w), most)
				}
				for k := 1; k < len(w); k++ {
					if w[k].Value <= w[k-1].Value {
						t.Errorf("wish %d is %g after %g on the way up", k, w[k].Value, w[k-1].Value)
					}
					if d := w[k].Frame - w[k-1].Frame; d < testRate/wishRate {
						t.Errorf("wish %d comes %d frames after the last; %d at least", k, d, testRate/wishRate)
					}
				}
				end := min(p.Value+0.77*(p.Max-p.Min), p.Max)
				within := 0.001 * (p.Max - p.Min)
				if p.Whole {
					within = max(within, wishHysteresis)
				}
				near(t, "the last wish", float64(w[len(w)-1].Value), end, within)
				exact := r.c.nodes[id].params[i].buf[0]
				if !p.Whole && w[len(w)-1].Value != exact {
					t.Errorf("it came to rest at %v and the last wish is %v", exact, w[len(w)-1].Value)
				}
				if p.Whole && w[len(w)-1].Value != float32(math.Trunc(float64(w[len(w)-1].Value))) {
					t.Errorf("it wishes %v of a whole number", w[len(w)-1].Value)
				}
				// A knob turned a hundred times a second: no more than fifty are
				// told, and the last is.
				r.source("test_source/cv").play = steady(0)
				r.seconds(0.2)
				wishes()
				target := 0.0
				for n := range 100 {
					target = p.Clamp(p.Min + (p.Max-p.Min)*float64(n*37%101)/100)
					r.param(id, p.Name, float32(target))
					r.render(testRate / 100)
				}
				r.seconds(0.2)
				w = wishes()
				if len(w) == 0 || len(w) > 1.2*wishRate+1 {
					t.Fatalf("%d wishes in 1.2 s", len(w))
				}
				if got := float64(w[len(w)-1].Value); math.Abs(got-target) > 1e-6*target+1e-9 {
					t.Errorf("turned to %g, the last wish is %g", target, got)
				}
				// Small noise about a resting place says nothing.
				noise := float32(0.3 * step / p.PerVolt)
				r.source("test_source/cv").play = func(f int64, _ int) float32 {
					x := uint32(f) * 2654435761
					x ^= x >> 16
					x *= 2246822519
					return noise * (float32(x>>8)/(1<<24) - 0.5)
				}
				r.seconds(0.5)
				if w := wishes(); len(w) != 0 {
					t.Errorf("a noise of a third of a step made %d wishes", len(w))
				}
			})
		}
	}
}

// TestWishesOfSteps: a CV that glides from one voltage to another makes one
// wish, soon after it has come there.
func TestWishesOfSteps(t *testing.T) {
	r := newRig(t).add("controller/c", map[string]float64{"law": lawProgram}).add("deployment/d", map[string]float64{"replicas": 0}).add("pod/p", nil)
	r.cable("controller/c/act", "deployment/d/replicas_cv").cable("controller/c/act", "pod/p/cpu_cv").adopt().settle()
	for _, v := range []float32{6, 1, 2, 10, 0} {
		r.reports()
		at := r.e.frame
		r.level("controller/c", "result", 0, v)
		r.seconds(0.3)
		var replicas, cpu []Event
		for ev := (Event{}); r.e.Outbox.Pop(&ev); {
			switch {
			case ev.Kind != EventWish:
			case ev.Module == r.c.Handle("deployment/d") && ev.Index == 0:
				replicas = append(replicas, ev)
			case ev.Module == r.c.Handle("pod/p"):
				cpu = append(cpu, ev)
			}
		}
		if len(replicas) != 1 || replicas[0].Value != v || replicas[0].Frame-at > testRate*15/1000 {
			t.Errorf("a step to %g V wishes for replicas %+v, %d frames before", v, replicas, at)
		}
		if len(cpu) != 1 || cpu[0].Value != 100*v || cpu[0].Frame-at > testRate*15/1000 {
			t.Errorf("a step to %g V wishes for CPU %+v, %d frames before", v, cpu, at)
		}
	}
}

// TestWishWaitsForRoom: a wish that found no room in the outbox is told later.
func TestWishWaitsForRoom(t *testing.T) {
	r := newRig(t).add("pod/p", nil).adopt().settle()
	for r.e.Outbox.Push(Event{Module: 1 << 20}) {
	}
	r.param("pod/p", "cpu", 1234)
	r.seconds(0.3)
	if w := r.told(EventWish, "pod/p"); len(w) != 2 { // cpu and memory at the start
		t.Errorf("told %v with no room", w)
	}
	r.seconds(0.1)
	if w := r.told(EventWish, "pod/p"); len(w) != 1 || w[0].Value != 1234 {
		t.Errorf("when there was room it told %v, want 1234", w)
	}
}

// TestPodLoad: a pod that works hard is brighter, and wavers.
func TestPodLoad(t *testing.T) {
	r := newRig(t).add("pod/p", nil).add("test_probe/l", nil).cable("pod/p/audio", "test_probe/l/in").adopt().settle()
	r.level("pod/p", "exists", 0, 10)
	r.level("pod/p", "phase", 0, 5)
	r.level("pod/p", "ready", 0, 10)
	part := func(load float32) []float32 {
		r.level("pod/p", "load", 0, load)
		r.seconds(1.5)
		r.forget()
		r.seconds(1)
		return r.heard()
	}
	bright := func(b []float32) float64 {
		s := measure.NewSpectrum(b, testRate, measure.Hann)
		return 10 * math.Log10(s.Power(1500, 8000)/s.Power(200, 320))
	}
	idle, half, busy := bright(part(0)), bright(part(5)), bright(part(10))
	if half < idle+3 || busy < half+3 {
		t.Errorf("its highs are at %.1f dB idle, %.1f dB at half load, %.1f dB at full", idle, half, busy)
	}
	// The pitch of a busy pod goes up and down by 18 cents, 5.3 times a second.
	sway := func(load float32) (low, high float64) {
		b := part(load)
		low, high = math.Inf(1), 0
		for at := 0; at+4800 <= len(b); at += 1200 {
			f, err := measure.Pitch(b[at:at+4800], testRate)
			if err != nil {
				t.Fatal(err)
			}
			low, high = min(low, f), max(high, f)
		}
		return low, high
	}
	if low, high := sway(0); measure.Cents(high, low) > 1 {
		t.Errorf("an idle pod wavers by %.1f cents", measure.Cents(high, low))
	}
	if low, high := sway(10); measure.Cents(high, low) < 15 {
		t.Errorf("a busy pod wavers by %.1f cents", measure.Cents(high, low))
	}
}

// TestIndices holds the numbers by which processors know their jacks and
// knobs to their names.
func TestIndices(t *testing.T) {
	out := func(kind, name string, i int) {
		t.Helper()
		if got := Spec(kind).Output(name); got != i {
			t.Errorf("%s/%s is output %d, its processor takes %d", kind, name, got, i)
		}
	}
	in := func(kind, name string, i int) {
		t.Helper()
		if got := Spec(kind).Input(name); got != i {
			t.Errorf("%s/%s is input %d, its processor takes %d", kind, name, got, i)
		}
	}
	param := func(kind, name string, i int) {
		t.Helper()
		if got := Spec(kind).Param(name); got != i {
			t.Errorf("%s/%s is param %d, its processor takes %d", kind, name, got, i)
		}
	}
	for i := range Endpoints {
		out("service", fmt.Sprintf("endpoint_%d", i+1), i)
		out("ingress", fmt.Sprintf("route_%d", i+1), i)
	}
	out("service", "endpoints", serviceEndpoints)
	out("service", "present", servicePresent)
	out("service", "endpoint_count", serviceCount)
	out("service", "latency", serviceLatency)
	out("service", "miss", serviceMiss)
	out("service", "live", serviceLive)
	in("service", "request", serviceRequest)
	param("service", "policy", servicePolicy)
	for i, name := range []string{"round_robin", "random", "sticky"} {
		if v, err := Spec("service").Params[servicePolicy].Choice(name); err != nil || v != float64([]int{policyRoundRobin, policyRandom, policySticky}[i]) {
			t.Errorf("policy %s is position %v (%v)", name, v, err)
		}
	}
	out("ingress", "routes", ingressRoutes)
	out("ingress", "not_found", ingressNotFound)
	out("ingress", "latency", ingressLatency)
	out("ingress", "live", ingressLive)
	in("ingress", "request", ingressRequest)
	in("ingress", "path", ingressPath)
	for i, name := range []string{"lag", "watching", "result", "error", "act", "reconciled", "converged", "backoff"} {
		out("controller", name, []int{controllerLag, controllerWatching, controllerResult, controllerError, controllerAct, controllerReconciled, controllerConverged, controllerBackoff}[i])
	}
	for i, name := range []string{"desired", "observed", "reconcile"} {
		in("controller", name, []int{controllerDesired, controllerObserved, controllerReconcile}[i])
	}
	for i, name := range []string{"gain", "integral", "deadband", "interval", "law"} {
		param("controller", name, []int{controllerGain, controllerIntegral, controllerDeadband, controllerInterval, controllerLaw}[i])
	}
	for i, name := range []string{"active", "progress", "complete", "failed", "envelope"} {
		out("job", name, []int{jobActive, jobProgress, jobComplete, jobFailed, jobEnvelope}[i])
	}
	param("job", "attack", jobAttack)
	param("job", "release", jobRelease)
	for i, name := range []string{"ready", "load", "phase", "restart", "exists", "event", "kind", "audio"} {
		out("pod", name, []int{podReady, podLoad, podPhase, podRestart, podExists, podEvent, podKind, podAudio}[i])
	}
}

// BenchmarkIdle is what a frame of each cluster module costs while nothing
// happens to it and nothing is plugged in.
func BenchmarkIdle(b *testing.B) {
	for _, s := range registered {
		if !s.Cluster() {
			continue
		}
		b.Run(s.Kind, func(b *testing.B) {
			r := newRig(b).add(dutOf(s), nil).adopt().settle()
			n := r.c.nodes[dutOf(s)]
			n.io.N = BlockSize
			for b.Loop() {
				n.io.Frame += BlockSize
				n.proc.Process(&n.io)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/BlockSize, "ns/frame")
		})
	}
}
