package scenes

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// newGear is a case that stands beside the scene case, and does nothing yet.
func newGear() *gear {
	return &gear{
		outputs: []string{"pitch-1", "gate-1", "pitch-2", "gate-2", "clock", "run", "reset", "error", "pods"},
		inputs:  []string{"replicas", "cordon", "request", "service", "gear"},
		play:    func(string, int64) float32 { return 0 },
	}
}

// during tells whether a frame is within a time, in seconds.
func during(frame int64, from, to float64) bool {
	return float64(frame) >= from*soundRate && float64(frame) < to*soundRate
}

// highs lists the frames at which a gate goes high, and how long it is.
func highs(b []float32) (at, lengths []int) {
	for i := range b {
		if b[i] > 1 && (i == 0 || b[i-1] <= 1) {
			at, lengths = append(at, i), append(lengths, 0)
		}
		if b[i] > 1 {
			lengths[len(lengths)-1]++
		}
	}
	return at, lengths
}

// playCase plays the scene case beside a case: what goes out to it, and what
// it does to the cluster.
func playCase(t *testing.T) []cue {
	sc, script, dry := performed(t, "case")
	seconds := script.Length().Seconds() + 3
	rnd := rand.New(rand.NewPCG(1, 2))
	g := newGear()
	g.play = func(jack string, frame int64) float32 {
		switch {
		case jack == "replicas" && during(frame, 27, 31):
			return float32(1.5 + 0.02*rnd.NormFloat64())
		case jack == "replicas" && during(frame, 31, 33):
			return float32(1.97 + 0.02*rnd.NormFloat64())
		case jack == "cordon" && during(frame, 16, 18), jack == "request" && during(frame, 23, 26) && frame%24000 < 48:
			return 5
		case jack == "gear" && during(frame, 18, 20):
			return float32(3 * math.Sin(2*math.Pi*math.Mod(440*float64(frame)/soundRate, 1)))
		}
		return 0
	}
	var cordons []bool
	served := map[string]int{}
	cables, replicas := []bool{}, []float64{}
	rec := g.played(t, sc, script, seconds, func(rack *mapping.Rack, frame int64) {
		rack.Setting = func(s mapping.Setting) {
			if s.Name == mapping.SetCordon {
				cordons = append(cordons, s.Value == "true")
			}
		}
		rack.Changed = func(a mapping.Address, v float64, _, _ string) {
			if _, jack, _ := a.Split(); v > 1 && (jack == "endpoint_1" || jack == "endpoint_2" || jack == "miss") {
				served[jack]++
			}
		}
		now := func(second float64) bool {
			f := int64(second * soundRate)
			return frame <= f && f < frame+instrument.BlockSize
		}
		if now(13) {
			rack.Sensed([]mapping.SensedCable{{Output: "pods", Input: "service", Polarity: 1}}, frame)
		}
		if now(15) {
			rack.Sensed(nil, frame)
		}
		topology, changed := rack.Topology()
		for _, s := range []float64{12.9, 13.1, 14.9, 15.1} {
			if now(s) {
				cables = append(cables, slices.Contains(topology.Cables, "deployment/web/pods -> service/web/selector"))
			}
		}
		if changed {
			if v := topology.Value("deployment/web", "replicas"); len(replicas) == 0 || replicas[len(replicas)-1] != v {
				replicas = append(replicas, v)
			}
		}
	})
	// What the case hears of the pods.
	semitones := 0.0
	for _, name := range []string{"pitch-1", "pitch-2"} {
		for _, at := range []float64{6, 14, 24} {
			note := float64(g.sent[name][int(at*soundRate)]) * 12
			semitones = max(semitones, math.Abs(note-math.Round(note)))
		}
	}
	early := math.Inf(1)
	for k := 1; k <= 2; k++ {
		name := string(rune('0' + k))
		at, _ := highs(g.sent["gate-"+name])
		pitch := g.sent["pitch-"+name]
		for _, i := range at {
			n := 0
			for n < i && pitch[i-n] == pitch[i] {
				n++
			}
			early = min(early, float64(n)/soundRate*1000)
		}
	}
	gates, _ := highs(g.sent["gate-1"])
	clock, lengths := highs(g.sent["clock"])
	run, _ := highs(g.sent["run"])
	reset, resets := highs(g.sent["reset"])
	left := 0.0
	for _, b := range g.sent {
		for _, v := range b[len(b)-48:] {
			left = max(left, math.Abs(float64(v)))
		}
	}
	truth := func(ok bool) float64 {
		if ok {
			return 1
		}
		return 0
	}
	news := rec.less(dry)
	return []cue{
		{"pitches are off a semitone by", semitones * 100, "cents", 0, 0.01},
		{"a pitch is there before its gate by", early, "ms", 2, 1e6},
		{"gates of the first voice", float64(len(gates)), "", 2, 4},
		{"clocks a beat", float64(len(clock)) / (seconds * 100 / 60), "", 23.8, 24.1},
		{"high for", float64(slices.Max(lengths)) / soundRate * 1000, "ms", 12.4, 12.6},
		{"run is there before the first clock by", float64(clock[0]-run[0]) / soundRate * 1000, "ms", 4.9, 5.1},
		{"resets", float64(len(reset)), "", 1, 1},
		{"of", float64(resets[0]) / soundRate * 1000, "ms", 0.99, 1.01},
		{"what is left on any jack at the end", left, "V", 0, 0.03},
		{"a noisy 1.5 V is one pod for four seconds, 1.97 V is two", truth(slices.Equal(replicas, []float64{5, 3, 5, 6, 7, 6, 5})), "", 1, 1},
		{"a gate cordons, and no longer than it is high", truth(slices.Equal(cordons, []bool{true, false})), "", 1, 1},
		{"requests served in turns", float64(served["endpoint_1"]*10 + served["endpoint_2"]), "", 33, 33},
		{"requests that missed", float64(served["miss"]), "", 0, 0},
		{"a cable that is sensed selects, as long as it is in", truth(slices.Equal(cables, []bool{false, true, true, false})), "", 1, 1},
		{"the case is heard", loudest(news.cut(18, 20)) - dry.cut(18, 20).level(), "dB", -20, 6},
	}
}

// TestSceneChangeBesideTheCase: from one scene to another and back no gate
// stays, and no CV steps: what goes out fades in the time of a cable.
func TestSceneChangeBesideTheCase(t *testing.T) {
	sc, other := open(t, "case"), open(t, "default")
	script, err := (&Store{}).OpenScript("case")
	if err != nil {
		t.Fatal(err)
	}
	g := newGear()
	g.played(t, sc, script, 9, func(rack *mapping.Rack, frame int64) {
		for _, c := range []struct {
			second float64
			scene  *Scene
		}{{5, other}, {6.5, sc}} {
			if f := int64(c.second * soundRate); frame <= f && f < frame+instrument.BlockSize {
				if err := rack.Load(c.scene.Patch); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	for name, b := range g.sent {
		if len(b) < 9*soundRate {
			t.Fatalf("%s has %d frames", name, len(b))
		}
		at := func(second float64) float32 { return b[int(second*soundRate)] }
		switch name {
		case "gate-1", "gate-2", "run":
			if at(4.9) != instrument.GateVolts || at(5.1) != 0 || at(6.4) != 0 {
				t.Errorf("%s is at %v V, in the other scene at %v and %v V", name, at(4.9), at(5.1), at(6.4))
			}
			continue
		case "clock", "reset":
			continue
		}
		if at(5.1) != 0 {
			t.Errorf("%s is left at %v V by the other scene", name, at(5.1))
		}
		// Around the changes; a pitch that the cluster steps is a pitch.
		for _, from := range []float64{4.99, 6.49} {
			for i := int(from * soundRate); i < int((from+0.03)*soundRate); i++ {
				if d := math.Abs(float64(b[i+1] - b[i])); d > 0.07 {
					t.Errorf("%s steps by %.3f V at %.4f s", name, d, float64(i)/soundRate)
					break
				}
			}
		}
	}
}
