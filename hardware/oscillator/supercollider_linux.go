package oscillator

import (
	"bytes"
	"fmt"
	"math"
	"net"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/dsp/measure/scsynth"
)

// Further operators of SuperCollider's BinaryOpUGen, by their special index.
const (
	subtract = 1
	notEqual = 7
	lessThan = 8
	maximum  = 13
	power    = 25
)

// voiceDefinition is one oscillator as a synth definition. Its faults are
// scSynth's own hashes of the seed.
func voiceDefinition() *scsynth.Definition {
	d, c := scsynth.Define("voice", []string{"in", "out", "truth", "seed", "voice", "bright"}, make([]float32, 6))
	in, out, truth, seed, voice, bright := c[0], c[1], c[2], c[3], c[4], c[5]
	k := d.Constant
	op := d.Operator
	sum := func(r scsynth.Rate, a scsynth.Value, more ...scsynth.Value) scsynth.Value {
		for _, b := range more {
			a = op(scsynth.Add, r, a, b)
		}
		return a
	}
	product := func(r scsynth.Rate, a scsynth.Value, more ...scsynth.Value) scsynth.Value {
		for _, b := range more {
			a = op(scsynth.Multiply, r, a, b)
		}
		return a
	}
	const control, audio = scsynth.Control, scsynth.Audio

	bent := op(notEqual, control, seed, k(0))
	// share is between -1 and 1.
	share := func(n float32) scsynth.Value {
		mix := sum(control, product(control, seed, k(17.31)), product(control, voice, k(3.77)), k(n))
		return product(control, d.Unit("Hasher", control, mix), bent)
	}
	size := func(v scsynth.Value) scsynth.Value { return op(maximum, control, v, op(subtract, control, k(0), v)) }

	volts := product(audio, d.Unit("In", audio, in), k(10))
	square := product(audio, volts, volts)
	octaves := sum(audio, volts,
		product(audio, volts, product(control, share(1), k(0.04))),
		product(audio, square, product(control, share(2), k(0.0025))),
		product(audio, product(audio, square, volts), product(control, share(3), k(0.0003))))
	octaves = sum(audio, octaves, product(control, share(4), k(0.06)))
	// Up to 6 cents a minute.
	octaves = sum(audio, octaves, d.Unit("Line", audio, k(0), product(control, share(5), k(0.3)), k(3600), k(0)))
	// High notes go flat, with the frequency.
	octaves = op(subtract, audio, octaves, product(audio, op(power, audio, k(2), octaves), product(control, size(share(6)), k(0.0003))))
	octaves = d.Unit("Lag", audio, octaves, product(control, bent, k(0.004)))
	hertz := product(audio, op(power, audio, k(2), octaves), k(261.62556530))

	// One phase for all partials. (Saw has a subharmonic at low pitches.)
	phase := product(audio, d.Unit("LFSaw", audio, hertz, k(0)), k(math.Pi))
	sound := d.Unit("SinOsc", audio, k(0), phase)
	for n := float32(2); n <= 8; n++ {
		partial := d.Unit("SinOsc", audio, k(0), product(audio, phase, k(n)))
		audible := op(lessThan, audio, hertz, k(20000/n))
		sound = sum(audio, sound, product(audio, partial, audible, product(control, bright, k(1/n))))
	}
	sound = sum(audio, product(audio, sound, k(0.3)), product(audio, d.Unit("WhiteNoise", audio), product(control, size(share(7)), k(0.003))))
	d.Units("Out", audio, 0, out, sound)
	d.Units("Out", audio, 0, truth, product(audio, octaves, k(0.1)))
	return d
}

// StartSuperCollider starts scsynth as oscillators on the JACK server of
// StartJACK, wired to nothing. It ends with the test. It skips the test where
// scsynth is not installed.
//
// Settling takes about 4 ms, and a bent voice drifts by up to 6 cents a minute.
func StartSuperCollider(t testing.TB, o Options) *Gear {
	t.Helper()
	o = o.defaults()
	need(t, "scsynth")
	j := StartJACK(t)
	refuse(t, j, o.Name)
	// scsynth cables its ports itself where these name others.
	t.Setenv("SC_JACK_DEFAULT_INPUTS", "")
	t.Setenv("SC_JACK_DEFAULT_OUTPUTS", "")
	port := freePort(t)
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	g := &Gear{Name: o.Name}
	g.program = start(t, "scsynth", "-u", fmt.Sprint(port), "-B", "127.0.0.1", "-i", fmt.Sprint(o.Voices), "-o", fmt.Sprint(2*o.Voices), "-R", "0", "-D", "0", "-H", o.Name)
	// A client that is killed may hold a synchronous server up.
	g.program.leave = func() { _, _ = conn.Write(scsynth.Message("/quit")) }
	// ask sends a message until it is answered: the program may not listen yet.
	ask := func(answer string, m []byte) {
		t.Helper()
		var buf [2048]byte
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && !g.program.ended(); {
			_, _ = conn.Write(m)
			_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			for {
				n, err := conn.Read(buf[:])
				if err != nil {
					break
				}
				if bytes.HasPrefix(buf[:n], []byte("/fail")) {
					t.Fatalf("scsynth refuses: %q", buf[:n])
				}
				if bytes.HasPrefix(buf[:n], []byte(answer)) {
					return
				}
			}
			time.Sleep(20 * time.Millisecond) // a refused datagram returns at once
		}
		t.Fatalf("scsynth does not answer with %s:\n%s", answer, g.program.said())
	}
	ask("/done", scsynth.Message("/d_recv", voiceDefinition().File()))
	bright := float32(1)
	if o.Sine {
		bright = 0
	}
	for i := range o.Voices {
		m := scsynth.Message("/s_new", "voice", int32(1000+i), int32(1), int32(0),
			"in", float32(2*o.Voices+i), "out", float32(i), "truth", float32(o.Voices+i),
			"seed", float32(o.Seed), "voice", float32(i+1), "bright", bright)
		if _, err := conn.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	ask("/synced", scsynth.Message("/sync", int32(1)))
	g.wait(t, j, o.Voices, "in", "out")
	return g
}

// freePort is a port that no one listens on now.
func freePort(t testing.TB) int {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}
