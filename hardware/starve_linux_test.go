package hardware

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// starver is a ramp whose renderer stands still for a while, now and then.
type starver struct {
	ramp
	every, next uint64
	stall       time.Duration
}

func (s *starver) Render(out, in [][]float32) {
	if s.next == 0 {
		s.next = s.frame + s.every
	}
	if s.frame >= s.next {
		s.next = s.frame + s.every
		time.Sleep(s.stall)
	}
	s.ramp.Render(out, in)
}

// What a Eurorack case hears of a renderer that starves, as another client of the same server records
// it: control voltages stay where they were, bit for bit, and go on from there; audio is gone and back
// in three milliseconds; nothing falls to zero volts.
func TestUnderrunsHoldCVOnJACK(t *testing.T) {
	for range 4 {
		// A cycle that the server begins before its clients are done with the last one is recorded
		// as they have left it by then, half written. Whether there was one the server says.
		torn, err := starve(t)
		if err == nil {
			return
		}
		if torn == "" {
			t.Fatal(err)
		}
		t.Logf("%v; but JACK was late itself: %s", err, torn)
	}
	t.Skip("the machine is too busy for JACK itself")
}

// starve plays and records once. It returns what the server said of cycles that it cut short, and what
// was wrong.
func starve(t *testing.T) (torn string, wrong error) {
	j := startJACK(t, 64)
	audio, cv, gate := []int{0, 1}, []int{2, 3, 4, 5}, []int{6, 7}
	r := &starver{ramp: ramp{volts: 4}, every: 24000, stall: 120 * time.Millisecond}
	d := openPeer(t, Settings{Backend: "jack", Channels: 8, Period: 64, FullScale: 4, CVFullScale: 4, CV: Channels(cv...), Gate: Channels(gate...)}, r)
	out, err := exec.Command("jack_lsp").Output()
	if err != nil {
		t.Fatal(err)
	}
	var ports []string
	for _, l := range strings.Fields(string(out)) {
		if strings.HasPrefix(l, "k8s-synth:playback") {
			ports = append(ports, l)
		}
	}
	if len(ports) != 8 {
		t.Fatalf("ports: %s", out)
	}
	file := filepath.Join(t.TempDir(), "starved.wav")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "jack_rec", append([]string{"-f", file, "-d", "3", "-b", "24"}, ports...)...).CombinedOutput(); err != nil {
		t.Fatalf("jack_rec: %v\n%s", err, out)
	}
	s := d.Stats()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	j.stop(syscall.SIGTERM)
	for l := range strings.Lines(j.log.String()) {
		if strings.Contains(l, "XRun") || strings.Contains(l, "Process error") {
			torn = strings.TrimSpace(l)
		}
	}
	w, err := ReadWAV(file)
	if err != nil {
		t.Fatal(err)
	}
	// What was recorded before and after the clients were connected is silence.
	first, last := 0, w.Frames()
	for first < last && w.Channels[2][first] == 0 {
		first++
	}
	for last > first && w.Channels[2][last-1] == 0 {
		last--
	}
	// Which frame of the renderer each recorded one is, by the first CV channel.
	frameOf := func(c, f int) int {
		return int(math.Round(float64(w.Channels[c][f])*(1<<20))) - 1 - c*4096
	}
	holds, held, longest := 0, 0, 0
	faded := false
	for f := first + 1; f < last; f++ {
		was, is := frameOf(2, f-1), frameOf(2, f)
		for _, c := range append(cv, gate...) {
			if got := frameOf(c, f); got != is {
				return torn, fmt.Errorf("recorded frame %d: channel %d shows frame %d, the first CV %d", f, c, got, is)
			}
			if w.Channels[c][f] == 0 {
				return torn, fmt.Errorf("recorded frame %d: CV channel %d fell to 0", f, c)
			}
		}
		switch is {
		case was:
			if held == 0 {
				holds++
			}
			held++
			longest = max(longest, held)
		case (was + 1) % 4096:
			held = 0
		default:
			return torn, fmt.Errorf("recorded frame %d: after frame %d of the renderer comes %d: some were lost", f, was, is)
		}
		for _, c := range audio {
			full := math.Abs(float64(rampValue(uint64(is), c)))
			v := math.Abs(float64(w.Channels[c][f]))
			// 144 frames are 3 ms at 48 kHz.
			if held > 144 && v != 0 {
				return torn, fmt.Errorf("recorded frame %d: audio channel %d is still %g, %d frames into an underrun", f, c, v, held)
			}
			if held > 144 {
				faded = true
			}
			if v > full*1.01+1e-5 && held > 0 {
				return torn, fmt.Errorf("recorded frame %d: audio channel %d rises to %g in an underrun, above %g", f, c, v, full)
			}
			// A smoothstep of 144 frames climbs by at most 1.5/144 of its height.
			if step := math.Abs(float64(w.Channels[c][f] - w.Channels[c][f-1])); step > 2.0/144*(4096*2)/(1<<20)+2.0/(1<<20) && !(is == 0 && was == 4095) {
				return torn, fmt.Errorf("recorded frame %d: audio channel %d steps by %g", f, c, step)
			}
		}
	}
	t.Logf("%d frames recorded; %d underruns, %d frames of them; %d holds heard, the longest %.1f ms", last-first, s.Underruns, s.UnderrunFrames, holds, float64(longest)/48)
	if holds < 3 || s.Underruns < 3 || !faded || longest < 48*60 {
		return torn, errors.New("the renderer did not starve: nothing was proven")
	}
	return torn, nil
}
