package oscillator

import (
	_ "embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

//go:embed voice.pd
var voicePatch []byte

// StartPureData starts Pure Data as oscillators on the JACK server of
// StartJACK, wired to nothing. It ends with the test. It skips the test where
// Pure Data is not installed.
//
// What it plays is some 60 ms late, settling takes about 3 ms, and a bent voice drifts by up to 6 cents a minute.
func StartPureData(t testing.TB, o Options) *Gear {
	t.Helper()
	o = o.defaults()
	var patch strings.Builder
	fmt.Fprintln(&patch, "#N canvas 0 0 420 260 10;")
	bright := 1
	if o.Sine {
		bright = 0
	}
	for i := range o.Voices {
		fmt.Fprintf(&patch, "#X obj 20 %d voice %d %d %d;\n", 20+25*i, i+1, o.Voices+i+1, bright)
	}
	return startPatch(t, o.Name, patch.String(), o.Voices, 2*o.Voices, fmt.Sprintf("seed %d", o.Seed), func(g *Gear, j *JACK) {
		g.wait(t, j, o.Voices, "input", "output")
	})
}

// StartVoltages starts Pure Data as a source of steady voltages: one output port
// each. It returns the ports.
func StartVoltages(t testing.TB, name string, volts ...float64) []string {
	t.Helper()
	var patch strings.Builder
	var ports []string
	fmt.Fprintln(&patch, "#N canvas 0 0 420 260 10;")
	for i, v := range volts {
		fmt.Fprintf(&patch, "#X obj 20 %d sig~ %.9g;\n#X obj 200 %d dac~ %d;\n#X connect %d 0 %d 0;\n", 20+25*i, v/10, 20+25*i, i+1, 2*i, 2*i+1)
		ports = append(ports, fmt.Sprintf("%s:output_%d", name, i+1))
	}
	startPatch(t, name, patch.String(), 1, len(volts), "seed 0", func(g *Gear, j *JACK) { g.wait(t, j, 0, "input", "output") })
	return ports
}

func startPatch(t testing.TB, name, patch string, inputs, outputs int, message string, wait func(*Gear, *JACK)) *Gear {
	t.Helper()
	need(t, "pd")
	j := StartJACK(t)
	refuse(t, j, name)
	port := freePort(t)
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	patch += fmt.Sprintf("#N canvas 400 0 300 200 door 0;\n#X obj 20 20 netreceive -u %d 127.0.0.1;\n#X obj 20 45 route quit;\n#X msg 20 70 \\; pd quit;\n"+
		"#X connect 0 0 1 0;\n#X connect 1 0 2 0;\n#X restore 300 20 pd door;\n", port)
	dir := t.TempDir()
	for file, text := range map[string][]byte{"gear.pd": []byte(patch), "voice.pd": voicePatch} {
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := &Gear{Name: name}
	// Not in the callback: it waits for a lock that is held when Pure Data leaves,
	// and a synchronous server waits for it for good. The buffer covers a busy machine.
	g.program = start(t, "pd", "-nogui", "-nrt", "-noprefs", "-nomidi", "-jack", "-audiobuf", "60", "-jackname", name, "-nojackconnect",
		"-inchannels", fmt.Sprint(inputs), "-outchannels", fmt.Sprint(outputs), "-r", fmt.Sprint(j.Rate),
		"-path", dir, "-open", filepath.Join(dir, "gear.pd"), "-send", message, "-send", "pd dsp 1")
	// A client that is killed may hold a synchronous server up.
	g.program.leave = func() { _, _ = conn.Write([]byte("quit;\n")) }
	wait(g, j)
	return g
}
