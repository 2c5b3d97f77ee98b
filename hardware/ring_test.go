package hardware

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func contains(b []byte, s string) bool { return bytes.Contains(b, []byte(s)) }

func mustRing(t testing.TB, channels, capacity int, cv ChannelSet, fade int) *ring {
	t.Helper()
	r, err := newRing(channels, capacity, cv, fade, 48000)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fillRing pushes frames of the ramp pattern, in [0, 1).
func pushRamp(r *ring, from uint64, frames int) {
	buf := make([]float32, frames*r.channels)
	for i := range frames {
		for c := range r.channels {
			buf[i*r.channels+c] = rampValue(from+uint64(i), c)
		}
	}
	r.push(buf)
}

func TestRingBetweenCThreads(t *testing.T) {
	for _, c := range []struct {
		channels, capacity int
	}{{1, 97}, {2, 512}, {8, 512}, {8, 1000}, {64, 513}} {
		if wrong := stressRing(c.channels, c.capacity, 400_000, uint32(c.capacity)); wrong != 0 {
			t.Errorf("%d channels, %d frames: %d samples wrong", c.channels, c.capacity, wrong)
		}
	}
}

// A Go producer that waits, a consumer that takes any number of frames.
func TestRingFromGo(t *testing.T) {
	const total = 200_000
	r := mustRing(t, 3, 700, 0, 100)
	defer r.free()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		buf := make([]float32, 64*3)
		for f := uint64(0); f < total; {
			n := min(64, total-f)
			if !r.wait(int(n), time.Second) {
				t.Error("no room within a second")
				return
			}
			for i := range n {
				for c := range 3 {
					buf[i*3+uint64(c)] = rampValue(f+i, c)
				}
			}
			r.push(buf[:n*3])
			f += n
		}
	}()
	out := make([]float32, 400*3)
	size := 1
	for f := uint64(0); f < total; {
		size = size*7%399 + 1
		n := min(size, r.fill())
		if n == 0 {
			runtime.Gosched()
			continue
		}
		r.drain(out[:n*3])
		for i := range n {
			for c := range 3 {
				if got, want := out[i*3+c], rampValue(f+uint64(i), c); got != want {
					t.Fatalf("frame %d, channel %d: %g, want %g", f+uint64(i), c, got, want)
				}
			}
		}
		f += uint64(n)
	}
	<-done
	if r.underruns() != 0 || r.consumed() != total {
		t.Errorf("%d underruns, %d frames taken", r.underruns(), r.consumed())
	}
}

func TestWaitEndsWhenTheConsumerTakes(t *testing.T) {
	r := mustRing(t, 1, 128, 0, 10)
	defer r.free()
	pushRamp(r, 0, 128)
	began := time.Now()
	if r.wait(64, 30*time.Millisecond) {
		t.Error("room in a full ring")
	}
	if d := time.Since(began); d < 25*time.Millisecond || d > 500*time.Millisecond {
		t.Errorf("a wait of 30 ms took %s", d)
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		r.drain(make([]float32, 64))
	}()
	began = time.Now()
	if !r.wait(64, 5*time.Second) {
		t.Error("no room after 64 frames were taken")
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("woke after %s", d)
	}
	r.setLimit(64)
	if r.room() != 0 {
		t.Errorf("room %d of 64", r.room())
	}
}

func TestUnderrunHoldsCVAndFadesAudio(t *testing.T) {
	const fade = 144
	r := mustRing(t, 2, 1024, Channels(1), fade)
	defer r.free()
	// Silence before the first sample is no underrun.
	out := make([]float32, 2*64)
	r.drain(out)
	if r.underruns() != 0 || r.underrunFrames() != 0 {
		t.Error("an underrun before there was anything to play")
	}
	block := func(n int, audio, cv float32) {
		b := make([]float32, 2*n)
		for i := range n {
			b[2*i], b[2*i+1] = audio, cv
		}
		r.push(b)
	}
	block(100, 0.8, 0.3)
	var all []float32
	take := func(n int) {
		b := make([]float32, 2*n)
		r.drain(b)
		all = append(all, b...)
	}
	take(64)
	take(128) // 36 are there, 92 are missing
	take(128)
	block(64, -0.5, 0.7) // back, in the silence
	take(64)
	take(20) // short again, while the sound comes back
	block(300, -0.5, 0.9)
	take(300)

	if r.underruns() != 2 || r.underrunFrames() != 92+128+20 {
		t.Errorf("%d underruns of %d frames", r.underruns(), r.underrunFrames())
	}
	cvWant := func(i int) float32 {
		switch {
		case i < 320:
			return 0.3
		case i < 404:
			return 0.7
		}
		return 0.9
	}
	worst := 0.0
	for i := range len(all) / 2 {
		if got := all[2*i+1]; got != cvWant(i) {
			t.Fatalf("CV at frame %d: %g, want %g", i, got, cvWant(i))
		}
		if i > 0 {
			worst = max(worst, math.Abs(float64(all[2*i]-all[2*i-2])))
		}
	}
	// Smoothstep's steepest slope is 1.5 / fade; two run at once in the return.
	if limit := 1.3 * 1.5 * 2 / fade; worst > limit {
		t.Errorf("audio jumps by %g, more than %g", worst, limit)
	}
	if a := all[2*(100+fade+1)]; a != 0 {
		t.Errorf("audio is still at %g after the fade", a)
	}
	if a := all[2*99]; a != 0.8 {
		t.Errorf("the last real sample came out as %g", a)
	}
	if a := all[len(all)-2]; a != -0.5 {
		t.Errorf("audio came back as %g", a)
	}
}

func TestPushClips(t *testing.T) {
	r := mustRing(t, 1, 8, 0, 1)
	defer r.free()
	if n := r.push([]float32{0.5, 1.5, -1, -7, 1}); n != 2 {
		t.Errorf("%d samples clipped", n)
	}
	out := make([]float32, 5)
	r.drain(out)
	for i, want := range []float32{0.5, 1, -1, -1, 1} {
		if out[i] != want {
			t.Errorf("sample %d: %g, want %g", i, out[i], want)
		}
	}
}

func BenchmarkRingPush(b *testing.B) { benchRing(b, false) }
func BenchmarkRingPushAndDrain(b *testing.B) {
	benchRing(b, true)
}

func benchRing(b *testing.B, through bool) {
	r := mustRing(b, 8, 512, 0, 144)
	defer r.free()
	mustPanics(b, r)
	in, out := make([]float32, 64*8), make([]float32, 64*8)
	for i := range in {
		in[i] = float32(i) / 1024
	}
	b.SetBytes(64 * 8 * 4)
	for b.Loop() {
		r.push(in)
		if through {
			r.drain(out)
		}
	}
}

func TestCardPresent(t *testing.T) {
	proc := t.TempDir()
	for _, d := range []string{"card0", "PCH", "card2", "ES8"} {
		if err := os.Mkdir(filepath.Join(proc, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]bool{
		"hw:0,0": true, "hw:2": true, "hw:ES8,0": true, "plughw:PCH,0": true, "hw:1,0": false, "hw:ES9": false,
		"default": true, "": true, "USB": true, "hw:CARD=ES9,DEV=0": true, // not ours to judge
	} {
		if got := cardPresent(proc, id) == nil; got != want {
			t.Errorf("%q: %v, want %v", id, got, want)
		}
	}
	if cardPresent(filepath.Join(proc, "none"), "hw:7") != nil {
		t.Error("judged without knowing the cards")
	}
}

func TestRawCard(t *testing.T) {
	if !callbackInC {
		t.Skip("raw cards are ours on Linux alone")
	}
	proc := t.TempDir()
	cards := ` 0 [PCH            ]: HDA-Intel - HDA Intel PCH
                      HDA Intel PCH at 0xfebf0000 irq 31
 2 [ES9            ]: USB-Audio - Expert Sleepers ES-9
                      Expert Sleepers Ltd Expert Sleepers ES-9 at usb-0000:00:14.0-1, high speed
`
	if err := os.WriteFile(filepath.Join(proc, "cards"), []byte(cards), 0o600); err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]string{
		"": "", "hw:2,0": "hw:2,0", "plughw:PCH": "plughw:PCH", ":2,0": "hw:2,0", "es-9": "hw:ES9,0", "ES9": "hw:ES9,0", "HDA Intel": "hw:PCH,0", "none": "?",
	} {
		got, err := rawCard(proc, device)
		if err != nil {
			got = "?"
		}
		if got != want {
			t.Errorf("%q: %q, want %q (%v)", device, got, want, err)
		}
	}
}
