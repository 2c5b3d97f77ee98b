package rig

import (
	"context"
	"math"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// staircase renders steps of a semitone on every output, 480 frames each, and counts what it was given.
type staircase struct {
	frame atomic.Int64
	heard atomic.Int64
	fail  atomic.Bool
}

func stair(output int, frame int64) float32 {
	return float32((frame/480+int64(output))%25)/12 + float32(output%2)*8*float32(frame/480%2)
}

func (s *staircase) Render(out, in [][]float32) {
	if s.fail.Load() {
		panic("test")
	}
	f := s.frame.Load()
	for k := range out {
		for i := range out[k] {
			out[k][i] = stair(k, f+int64(i))
		}
	}
	s.heard.Add(int64(len(in)))
	s.frame.Add(int64(len(out[0])))
}

// TestLive: through a device and its recorder, the numbers of a rig are the same as without one, it
// begins at rest, and it ends there.
func TestLive(t *testing.T) {
	text := `version: 1
name: live
interface: virtual
device: {playback: 8, capture_channels: 4}
speakers: [1, 2]
outputs:
  - {jack: pitch, channel: 5, role: pitch, safe: 1}
  - {jack: gate, channel: 3, role: gate}
  - {jack: cv, channel: 8, limit: 1.5}
inputs:
  - {jack: a, channel: 2}
`
	c := caseOf(t, text)
	s := &staircase{}
	set := c.Rig().Device.Settings(hardware.Settings{Backend: "null", Converter: c, Logger: quiet()})
	d, err := hardware.Open(context.Background(), set, s)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	path := filepath.Join(t.TempDir(), "live.wav")
	if err := d.Record(path); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); s.frame.Load() < 24000; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is rendered")
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	w, err := hardware.ReadWAV(path)
	if err != nil {
		t.Fatal(err)
	}
	rate, sent := w.Rate, w.Channels
	if rate != 48000 || len(sent) != 8 || s.heard.Load() == 0 {
		t.Fatalf("%d Hz, %d channels, %d inputs", rate, len(sent), s.heard.Load())
	}
	// The same without a device.
	b := newBench(caseOf(t, text))
	b.play(24000, 64, func(k, f int) float32 { return stair(k, int64(f)) })
	for ch := range sent {
		for f := range 24000 {
			if sent[ch][f] != b.sent[ch][f] {
				t.Fatalf("channel %d, frame %d: %v through the device, %v without", ch+1, f, sent[ch][f], b.sent[ch][f])
			}
		}
	}
	end := len(sent[4]) - 1
	if sent[4][0] != 0 || sent[4][end] != 0.1 || sent[2][0] != 0 || sent[2][end] != 0 || sent[7][end] != 0 || math.Abs(float64(sent[0][end])) > 1e-9 {
		t.Errorf("it begins at %v and ends at %v, %v, %v, %v", sent[4][0], sent[4][end], sent[2][end], sent[7][end], sent[0][end])
	}
	steps := 0.0
	for f := end - 2399; f <= end; f++ {
		steps = max(steps, math.Abs(float64(sent[4][f])-float64(sent[4][f-1])))
	}
	if steps > 0.1/12+0.0003 { // a semitone of the tune, and the ramp
		t.Errorf("the pitch jumps by %g V while it lands", steps*10)
	}
}

// counter plays frame numbers as 48 gates.
type counter struct{ frame atomic.Int64 }

func counted(f int64) (left, right uint32) {
	w := uint32(f*2654435761) & 0xffffff
	return w, ^w & 0xffffff
}

func (s *counter) Render(out, _ [][]float32) {
	f := s.frame.Load()
	for k := range out {
		for i := range out[k] {
			l, r := counted(f + int64(i))
			if k >= 24 {
				l = r
			}
			out[k][i] = float32(l>>(16-8*(k%24/8)+k%8)&1) * 10
		}
	}
	s.frame.Add(int64(len(out[0])))
}

// TestLiveGates: 48 gates through a device come out of its words at their frames.
func TestLiveGates(t *testing.T) {
	c := caseOf(t, gateRig())
	s := &counter{}
	d, err := hardware.Open(context.Background(), hardware.Settings{Backend: "null", Converter: c, Logger: quiet()}, s)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	path := filepath.Join(t.TempDir(), "gates.wav")
	if err := d.Record(path); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); s.frame.Load() < 12000; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is rendered")
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	w, err := hardware.ReadWAV(path)
	if err != nil {
		t.Fatal(err)
	}
	for f := 1440; f < 12000; f++ { // gates are low until voltages have arrived
		l, r := counted(int64(f))
		h := decoded(int32(float64(w.Channels[6][f])*(1<<31)), int32(float64(w.Channels[7][f])*(1<<31)))
		if got := uint32(h[0])<<16 | uint32(h[1])<<8 | uint32(h[2]); got != l {
			t.Fatalf("frame %d: gates %06x, want %06x", f, got, l)
		}
		if got := uint32(h[3])<<16 | uint32(h[4])<<8 | uint32(h[5]); got != r {
			t.Fatalf("frame %d: gates %06x, want %06x", f, got, r)
		}
	}
	if end := len(w.Channels[6]) - 1; w.Channels[6][end] != 0 || w.Channels[6][1000] != 0 {
		t.Error("gates are open at rest")
	}
}
