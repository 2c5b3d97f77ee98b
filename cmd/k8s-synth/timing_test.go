package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// onsetScene is a gate that goes straight to the outputs: each of its edges is
// a step, and when the step is heard can be told to the frame.
const onsetScene = `version: 1
name: onset
modules:
  - id: apiserver/api
    at: {row: 0, hp: 0}
  - id: audio_out/main
    at: {row: 0, hp: 20}
    params: {level: -12}
cables:
  - apiserver/api/sync -> audio_out/main/left
`

// onsets are the frames at which a signal steps.
func onsets(samples []float32, height float64) (at []int64) {
	last := 0.0
	for i, v := range samples {
		if math.Abs(float64(v)-last) > height {
			at = append(at, int64(i))
		}
		last = float64(v)
	}
	return at
}

// TestRenderIsFrameExact: what a script says happened at a time is heard at
// the frame of that time, and the look-ahead of the limiter later, whatever
// the time and however the render is cut into blocks.
func TestRenderIsFrameExact(t *testing.T) {
	for _, rate := range []float64{44100, 48000, 96000} {
		r := rand.New(rand.NewPCG(uint64(rate), 1))
		var limiter dsp.Limiter
		limiter.Init(rate)
		var script strings.Builder
		script.WriteString("version: 1\nevents:\n  - {at: 0.05, apiserver: api, reachable: true}\n")
		var want []int64
		var times []float64
		at := 0.25
		const length = 4.0
		for i := 0; at < length-0.2; i++ {
			fmt.Fprintf(&script, "  - {at: %.9f, apiserver: api, synced: %v}\n", at, i%2 == 0)
			times = append(times, at)
			at += 0.02 + 0.04*r.Float64()
		}
		parsed, err := scenes.ParseScript("onset", []byte(script.String()))
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range parsed.Steps[1:] {
			if at := s.At.Seconds(); math.Abs(at-times[i]) > 0.6e-6 {
				t.Fatalf("scripts are exact to the microsecond; this one has %.9f s for %.9f s", at, times[i])
			}
			want = append(want, int64(math.Round(s.At.Seconds()*rate))+int64(limiter.Latency()))
		}
		c := newCommandLine(t)
		scene, play := c.write("onset.yaml", onsetScene), c.write("onset.script.yaml", script.String())
		got := c.run("render", scene, "--script", play, "--seconds", fmt.Sprint(length), "--rate", fmt.Sprint(rate), "-o", "onset.wav")
		if got.code != 0 {
			t.Fatal(got.errors)
		}
		w, err := hardware.ReadWAV(c.dir + "/onset.wav")
		if err != nil {
			t.Fatal(err)
		}
		if heard := onsets(w.Channels[0], 0.2); !slices.Equal(heard, want) {
			t.Fatalf("at %g Hz, of %d onsets in the file:\n%v, want\n%v", rate, len(heard), heard, want)
		}
		for _, cut := range []struct {
			name string
			next func() int64
		}{
			{"1", func() int64 { return 1 }},
			{"7", func() int64 { return 7 }},
			{"63", func() int64 { return 63 }},
			{"random", func() int64 { return 1 + r.Int64N(instrument.BlockSize) }},
		} {
			s, err := scenes.Parse("onset", []byte(onsetScene))
			if err != nil {
				t.Fatal(err)
			}
			p, err := scenes.ParseScript("onset", []byte(script.String()))
			if err != nil {
				t.Fatal(err)
			}
			o, err := newOffline(s, p, rate)
			if err != nil {
				t.Fatal(err)
			}
			o.ending = true // it does not end: nothing fades
			var left []float32
			for o.frame < int64(length*rate) {
				left = append(left, o.block(min(o.frame+cut.next(), int64(length*rate)))[0]...)
			}
			if heard := onsets(left, 0.2*5); !slices.Equal(heard, want) {
				t.Fatalf("at %g Hz in blocks of %s, of %d onsets:\n%v, want\n%v", rate, cut.name, len(heard), heard, want)
			}
		}
	}
}

// TestLiveLatencyIsConstant: what arrives now and then, and is looked at
// sooner or later, is scheduled as evenly as it was stamped: to the frame.
func TestLiveLatencyIsConstant(t *testing.T) {
	device, err := hardware.Open(context.Background(), hardware.Settings{Backend: "null", Period: 64, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))},
		instrument.NewEngine(48000, 2))
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if err := device.Start(); err != nil {
		t.Fatal(err)
	}
	p := &player{device: device, scene: &scenes.Scene{Latency: 0.03}, clocks: mapping.NewEstimators(48000)}
	p.o.device = device.Settings()
	time.Sleep(2200 * time.Millisecond) // the device's own clock settles
	r := rand.New(rand.NewPCG(3, 4))
	var spread, old float64
	// A machine that stands still makes gaps; it has to be even in one of some windows.
	for try := range 6 {
		low, high := math.Inf(1), math.Inf(-1)
		oldLow, oldHigh := low, high
		began := time.Now()
		for n := 0; time.Since(began) < 1500*time.Millisecond; n++ {
			stamp := time.Now()
			time.Sleep(time.Duration(r.Float64() * 8e6)) // a busy control goroutine
			frame := float64(p.happened("kube", stamp))
			before := float64(p.present(stamp))
			if time.Since(began) < 200*time.Millisecond && try == 0 {
				continue // it learns
			}
			ideal := stamp.Sub(began).Seconds() * 48000
			low, high = min(low, frame-ideal), max(high, frame-ideal)
			oldLow, oldHigh = min(oldLow, before-ideal), max(oldHigh, before-ideal)
		}
		spread, old = high-low, oldHigh-oldLow
		t.Logf("the schedule strays from the stamps by %.2f frames in all, of which 1 is rounding; asking the device's clock for each it would be %.2f", spread, old)
		if spread <= 1.01 {
			break
		}
	}
	if spread > 1.01 {
		t.Errorf("the schedule strays from the stamps by %.2f frames, want only what rounding makes", spread)
	}
}

// TestTheDefaultSceneTakesNoPageFaults: once it plays, the render thread of
// the real engine waits for no page, whatever happens in the cluster.
func TestTheDefaultSceneTakesNoPageFaults(t *testing.T) {
	scene, err := (&scenes.Store{}).Open("default")
	if err != nil {
		t.Fatal(err)
	}
	script, err := (&scenes.Store{}).OpenScript("demo")
	if err != nil {
		t.Fatal(err)
	}
	o, err := newOffline(scene, script, 48000)
	if err != nil {
		t.Fatal(err)
	}
	device, err := hardware.Open(context.Background(), hardware.Settings{Backend: "null", Period: 64, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}, o.rack.Engine)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if err := device.Start(); err != nil {
		t.Fatal(err)
	}
	const faster = 8 // the script's minute goes by in less, so that more of it happens
	var warm hardware.Stats
	began := time.Now()
	for now := time.Duration(0); now < 4*time.Second; now = time.Since(began) {
		frame := int64(device.Now()) + 1440
		for len(o.steps) > 0 && o.steps[0].At < now*faster {
			o.step(o.steps[0], frame)
			o.steps = o.steps[1:]
		}
		o.rack.Pump(frame)
		if warm.Frames == 0 && now > 1500*time.Millisecond {
			warm = device.Stats()
		}
		time.Sleep(5 * time.Millisecond)
	}
	s := device.Stats()
	blocks := (s.Frames - warm.Frames) / hardware.BlockFrames
	minor, major := s.MinorFaults-warm.MinorFaults, s.MajorFaults-warm.MajorFaults
	t.Logf("memory %s: %d minor and %d major faults in %d blocks; %d and %d since the start", s.Memory, minor, major, blocks, s.MinorFaults, s.MajorFaults)
	if major != 0 {
		t.Errorf("%d major page faults", major)
	}
	// The stack of the render goroutine may still grow, and long delays are
	// gone through for the first time.
	if minor > blocks/50 {
		t.Errorf("%d minor page faults in %d blocks", minor, blocks)
	}
}
