package hardware

import (
	"context"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// resting plays a level on all channels, and lands at another within 30 ms.
type resting struct {
	channels         int
	level, rest, now float32
	landing          bool
}

func (r *resting) Shape() (int, int, int, int) { return r.channels, 0, r.channels, 0 }
func (r *resting) Hold() ChannelSet            { return 1<<r.channels - 1 }
func (r *resting) Exact() ChannelSet           { return 0 }
func (r *resting) Begin()                      { r.now = 0 }
func (r *resting) In(_, _ [][]float32)         {}
func (r *resting) Land()                       { r.landing = true }
func (r *resting) Landed() bool                { return r.landing && r.now == r.rest }
func (r *resting) Out(_, samples [][]float32, _ [][]int32) {
	const step = 1.0 / 1440
	for i := range samples[0] {
		goal := r.level
		if r.landing {
			goal = r.rest
		}
		r.now = min(max(goal, r.now-step), r.now+step)
		for c := range samples {
			samples[c][i] = r.now
		}
	}
}

// TestJACKIsLowered: another program hears no step when the device is closed, from voltages that rest
// anywhere, nor when it is given up although it plays.
func TestJACKIsLowered(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, d *Device){
		"closed": func(t *testing.T, d *Device) {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		},
		"given up": func(t *testing.T, d *Device) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if err := d.toNull(d.sink.Load().ring.soundEnds()); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			startJACK(t, 128)
			r := &resting{channels: 2, level: 0.8, rest: 0.3}
			d := openPeer(t, Settings{Backend: "jack", Converter: r, Period: 128, Depth: 16}, &ramp{volts: 4})
			file := filepath.Join(t.TempDir(), "jack.wav")
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			rec := exec.CommandContext(ctx, "jack_rec", "-f", file, "-d", "3", "-b", "24", "k8s-synth:playback1")
			var said strings.Builder
			rec.Stdout, rec.Stderr = &said, &said
			if err := begin(rec); err != nil {
				t.Fatal(err)
			}
			time.Sleep(1500 * time.Millisecond)
			end(t, d)
			if err := rec.Wait(); err != nil {
				t.Fatalf("jack_rec: %v\n%s", err, said.String())
			}
			w, err := ReadWAV(file)
			if err != nil {
				t.Fatal(err)
			}
			heard := w.Channels[0]
			at := 0
			for at < len(heard) && math.Abs(float64(heard[at])-0.8) > 1e-5 {
				at++ // until the recorder is plugged in
			}
			level, steepest, where := 0, 0.0, 0
			for i := at + 1; i < len(heard); i++ {
				if d := math.Abs(float64(heard[i]) - float64(heard[i-1])); d > steepest {
					steepest, where = d, i
				}
				if math.Abs(float64(heard[i])-0.8) < 1e-5 {
					level = i
				}
			}
			t.Logf("played until frame %d of %d; steepest at %d, by %.5f of full scale", level, len(heard), where, steepest)
			if level < at+9600 || level > len(heard)-9600 || heard[len(heard)-1] != 0 {
				t.Fatalf("what was recorded does not begin at 0.8 and end at 0: %v", heard[len(heard)-1])
			}
			if steepest > 1.1/1440 {
				t.Errorf("it steps by %g of full scale at frame %d", steepest, where)
			}
		})
	}
}
