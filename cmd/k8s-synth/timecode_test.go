//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
)

// tapeRates are the four of MIDI time code.
var tapeRates = []midi.FrameRate{midi.Rate24, midi.Rate25, midi.Rate30DF, midi.Rate30}

// tapeTempo is that of the scene, in beats a second.
const tapeTempo = 2.

// tapeLead is how long, in frames, before it rolls a tape is told of: what it
// sends is with the machine by then.
const tapeLead = stageRate / 4

// quarterFrame is piece i of the eight that say a time.
func quarterFrame(f midi.FrameTime, i int) midi.Message {
	v := [8]int{f.Frames & 15, f.Frames >> 4, f.Seconds & 15, f.Seconds >> 4, f.Minutes & 15, f.Minutes >> 4, f.Hours & 15, f.Hours>>4 | int(f.Rate)<<1}[i]
	return midi.Message{Data: [3]byte{midi.QuarterFrame, byte(i<<4 | v)}, Size: 2}
}

// wholeFrame is a time in one message, as a machine sends that is wound.
func wholeFrame(f midi.FrameTime) midi.Message {
	return midi.Message{SysEx: []byte{0xf0, 0x7f, 0x7f, 1, 1, byte(f.Hours) | byte(f.Rate)<<5, byte(f.Minutes), byte(f.Seconds), byte(f.Frames), 0xf7}}
}

// onTape starts an instrument that follows a tape: hand is the machine, ear hears
// the clock that follows it.
func (g *stage) onTape(hand, ear *musician) *session {
	g.t.Helper()
	scene, err := filepath.Abs(filepath.Join("testdata", "timecode.yaml"))
	if err != nil {
		g.t.Fatal(err)
	}
	s := startPlay(g.t, nil, "--replay", incident(g.t, scene, 0.2), "--backend", "jack", "--channels", "4", "--metrics", "off", "--web", "off", "--map", "off")
	s.wait(20*time.Second, "sound from the device", func(p *playStatus) bool { return p.Audio.Frames > stageRate/4 && len(p.MIDI) > 0 })
	g.wire(hand, ear)
	return s
}

// edges are the frames at which a gate rises and falls between two frames, by
// their steps: the output passes no direct voltage.
func (m *musician) edges(channel int, from, to uint32) (up, down []uint32) {
	v := m.sound(channel, from, to)
	up = risings(v, from)
	for i := range v {
		v[i] = -v[i]
	}
	return up, risings(v, from)
}

// ms is so many frames of the server in milliseconds.
func ms(frames float64) float64 { return 1000 * frames / stageRate }

// beatsOnTape are the frames of the server on which beats of a tape are that is
// at a time when the server is at a frame, from there to another frame.
func beatsOnTape(at time.Duration, frame, until float64) (list []uint32) {
	for n := math.Ceil(at.Seconds()*tapeTempo - 1e-6); ; n++ {
		f := frame + (n/tapeTempo-at.Seconds())*stageRate
		if f > until {
			return list
		}
		list = append(list, uint32(f+0.5))
	}
}

// checkTape compares the beats of a tape with those that were heard, and tells.
// The lag is where the median is.
func checkTape(t *testing.T, who string, ideal, heard []uint32, calm func() bool) (lag float64) {
	t.Helper()
	d, missing := after(ideal, heard, stageRate/8)
	if missing > 0 || len(d) == 0 {
		t.Errorf("%s: %d of %d beats were not heard", who, missing, len(ideal))
		return 0
	}
	lag, p50, p99, most := spreadOf(d)
	t.Logf("%s: %d beats, %.2f ms behind the tape; error p50 %.3f, p99 %.3f, max %.3f ms", who, len(d), ms(lag), ms(p50), ms(p99), ms(most))
	limit := 0.5 // ms
	if !calm() {
		t.Logf("%s: the server itself stumbled meanwhile", who)
		limit = 20
	}
	if ms(most) > limit {
		t.Errorf("%s: a beat is %.2f ms from its place, want %.1f", who, ms(most), limit)
	}
	return lag
}

// TestEndToEndTimecode: the rack follows MIDI time code of all four rates: it
// begins in the middle of a song, goes where the tape is wound, and stops with
// it; the status and OSC show where it is.
func TestEndToEndTimecode(t *testing.T) {
	needE2E(t)
	g := newStage(t)
	ear, hand := g.musician("ear", 4), g.musician("hand", 0)
	s := g.onTape(hand, ear)
	peer := s.peer("udp")
	peer.send("/subscribe", osc.String("/timecode"))
	status := func(what string, f midi.FrameTime, runs bool) {
		t.Helper()
		s.wait(2*time.Second, what+", "+f.String(), func(p *playStatus) bool {
			c := p.Timecode
			return c != nil && c.Runs == runs && c.Time == f.String() && c.Rate == f.Rate.String() && math.Abs(c.Seconds-f.Elapsed().Seconds()) < 1/f.Rate.PerSecond() && p.Tempo == 60*tapeTempo
		})
	}
	var display []float64 // how old what OSC shows is, in ms
	for _, rate := range tapeRates {
		calm := g.calm()
		late := func() uint64 {
			return s.wait(2*time.Second, "a status", func(*playStatus) bool { return true }).Engine.Late
		}
		wasLate := late()
		quarter := stageRate / 4 / rate.PerSecond()
		// From before a minute on, where drop-frame code leaves out two numbers. 8
		// quarter frames say a time, the first of which is that of an even frame.
		begin := midi.FrameTime{Hours: 1, Minutes: 1, Seconds: 59, Frames: 10, Rate: rate}
		hand.at(0, wholeFrame(begin))
		status("wound to", begin, false)
		roll := func(first midi.FrameTime, at float64, quarters int) (end float64) {
			for i := range quarters {
				f := midi.FrameAt(first.Index()+i/8*2, rate)
				hand.at(uint32(at+float64(i)*quarter+0.5), quarterFrame(f, i%8))
			}
			return at + float64(quarters)*quarter
		}
		mark := peer.mark()
		at := float64(hand.frame() + tapeLead)
		quarters := int(2*4*rate.PerSecond()) / 8 * 8
		end := roll(begin, at, quarters)
		// What OSC says, against the frame that the tape is at.
		shown := 0
		for now := float64(0); now < end; time.Sleep(5 * time.Millisecond) {
			now = float64(ear.frame())
			said := peer.since(mark)
			for ; shown < len(said); shown++ {
				for i := -2; i < 90; i++ {
					if f := midi.FrameAt(begin.Index()+i, rate); said[shown] == "/timecode "+f.String() {
						display = append(display, ms(now-(at+float64(4*i)*quarter)))
					}
				}
			}
		}
		heard := risings(ear.sound(3, uint32(at), uint32(end)+stageRate/5), uint32(at))
		lag := checkTape(t, "time code of "+rate.String()+", from the middle", beatsOnTape(begin.Elapsed(), at, end-stageRate/20), heard, calm)
		// A quarter frame until it is certain, 13.3 ms until what a hand does is
		// heard, and the device.
		if most := ms(quarter) + 20; ms(lag) > most && calm() && late() == wasLate {
			t.Errorf("time code of %s: the beats are %.1f ms behind the tape, want %.1f", rate, ms(lag), most)
		}
		up, down := ear.edges(2, uint32(at), uint32(end)+stageRate/2)
		if len(up) != 1 || len(down) != 1 {
			t.Fatalf("time code of %s: it ran %d times and stopped %d times", rate, len(up), len(down))
		}
		began, stopped := float64(up[0])-at, float64(down[0])-(end-quarter)
		t.Logf("time code of %s: it runs %.1f ms after the first quarter frame, stands %.1f ms after the last", rate, ms(began), ms(stopped))
		if math.Abs(began-lag) > stageRate/1000 {
			t.Errorf("it begins %.2f ms after the tape, and its beats are %.2f ms behind", ms(began), ms(lag))
		}
		if ms(stopped) > 170 {
			t.Errorf("it stands %.0f ms after the last quarter frame", ms(stopped))
		}
		last := midi.FrameAt(begin.Index()+quarters/4-1, rate)
		status("stands at", last, false)

		// Elsewhere, wound while it rolls, and stopped by a whole time.
		calm = g.calm()
		there := midi.FrameTime{Minutes: 10, Frames: 0, Rate: rate}
		at = float64(hand.frame() + tapeLead)
		next := roll(there, at, 8*int(rate.PerSecond()*3/4))
		elsewhere := midi.FrameTime{Minutes: 20, Seconds: 7, Frames: 20, Rate: rate}
		hand.at(uint32(next)-uint32(quarter/2), wholeFrame(elsewhere))
		end = roll(elsewhere, next, 8*int(rate.PerSecond()*3/4))
		halt := midi.FrameTime{Minutes: 30, Rate: rate}
		hand.at(uint32(end), wholeFrame(halt))
		heard = risings(ear.sound(3, uint32(at), uint32(end)+stageRate/4), uint32(at))
		// Nobody said that it was wound: it is where it should be when eight quarter
		// frames have said so.
		checkTape(t, "time code of "+rate.String()+", elsewhere without a word", beatsOnTape(there.Elapsed()+200*time.Millisecond, at+stageRate/5, next-stageRate/20), heard, calm)
		checkTape(t, "time code of "+rate.String()+", wound as it rolls", beatsOnTape(elsewhere.Elapsed(), next, end-stageRate/20), heard, calm)
		_, down = ear.edges(2, uint32(at), uint32(end)+stageRate/4)
		if n := len(down); n == 0 || ms(float64(down[n-1])-end) > 40 {
			t.Errorf("a whole time at frame %.0f does not stop it: %v", end, down)
		} else {
			t.Logf("time code of %s: it stands %.1f ms after a whole time", rate, ms(float64(down[n-1])-end))
		}
		status("stopped at", halt, false)
	}
	slices.Sort(display)
	if n := len(display); n < 100 {
		t.Errorf("OSC showed %d frames", n)
	} else {
		t.Logf("what OSC shows is p50 %.1f, p99 %.1f, max %.1f ms behind the tape (looked at each 5 ms)", display[n/2], display[n*99/100], display[n-1])
		if display[n/2] > 60 {
			t.Errorf("half of what OSC shows is %.0f ms and more behind the tape", display[n/2])
		}
	}
	// The machine is gone in the middle of it.
	from := hand.frame() + tapeLead
	for i := range 8 * 24 {
		hand.at(from+uint32(i*stageRate/100), quarterFrame(midi.FrameAt(i/8*2, midi.Rate25), i%8))
	}
	ear.sound(2, from, from+stageRate)
	gone := ear.frame()
	hand.kill()
	up, down := ear.edges(2, from, gone+stageRate)
	if len(up) != 1 || len(down) != 1 || down[0] < gone {
		t.Errorf("a machine that went at %d: it ran from %v to %v", gone, up, down)
	} else {
		t.Logf("a machine that is killed as it rolls: it stands after %.0f ms", ms(float64(down[0]-gone)))
		if ms(float64(down[0]-gone)) > 500 {
			t.Error("that is too late")
		}
	}
	p := s.last()
	if p.Engine.Scrubbed > 0 || p.dropped() > 0 {
		t.Errorf("%d slices were no numbers, %d events were dropped", p.Engine.Scrubbed, p.dropped())
	}
	out, err := exec.Command(program(t, "k8s-synth"), "status", "--state-dir", s.state).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "time code") || !strings.Contains(string(out), "(25 a second) from k8s-synth, stands") {
		t.Errorf("the status does not tell of the time code: %v\n%s", err, out)
	}
}

// ardourTape rolls a session from the middle of a song on, winds it, and stops.
const ardourTape = `
AudioEngine:set_backend("JACK", "ardour", "")
s = load_session("%[1]s", "song")
assert(s)
os.execute("jack_connect 'ardour:MTC out' k8s-synth:midi_in; jack_connect 'ardour:MTC out' hand:in")
ARDOUR.LuaAPI.usleep(2000000)
s:request_locate(%[2]d, false, ARDOUR.LocateTransportDisposition.MustStop, ARDOUR.TransportRequestSource.TRS_UI)
ARDOUR.LuaAPI.usleep(1000000)
s:request_roll(ARDOUR.TransportRequestSource.TRS_UI)
ARDOUR.LuaAPI.usleep(4000000)
s:request_locate(%[3]d, false, ARDOUR.LocateTransportDisposition.MustRoll, ARDOUR.TransportRequestSource.TRS_UI)
ARDOUR.LuaAPI.usleep(3000000)
s:request_stop(false, false, ARDOUR.TransportRequestSource.TRS_UI)
ARDOUR.LuaAPI.usleep(500000)
print("stands at", s:transport_sample())
ARDOUR.LuaAPI.usleep(500000)
close_session()
quit()
`

// TestProofTimecodeOfArdour: a DAW's own time code, of all four rates.
func TestProofTimecodeOfArdour(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("has a DAW play for a minute; K8S_SYNTH_PROOF=1 runs it")
	}
	needPrograms(t)
	lua, err := exec.LookPath("ardour7-lua")
	if err != nil {
		t.Skip("Ardour is not installed (Debian: ardour)")
	}
	g := newStage(t)
	ear, hand := g.musician("ear", 4), g.musician("hand", 0)
	s := g.onTape(hand, ear)
	home, song := filepath.Join(g.dir, "home"), filepath.Join(g.dir, "song")
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(home, ".config", "ardour7", "config"), `<?xml version="1.0"?><Ardour><Config><Option name="send-mtc" value="1"/><Option name="send-midi-clock" value="0"/></Config></Ardour>`)
	run := func(name, text string) string {
		t.Helper()
		path := filepath.Join(g.dir, name)
		write(path, text)
		c := exec.Command(lua, path)
		c.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+filepath.Join(home, ".config"))
		kill := time.AfterFunc(3*time.Minute, func() { _ = c.Process.Kill() })
		defer kill.Stop()
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("Ardour, %s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	run("begin.lua", fmt.Sprintf(ardourScript, song))
	file := filepath.Join(song, "song.ardour")
	for _, rate := range tapeRates {
		xml, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := map[midi.FrameRate]string{midi.Rate24: "timecode_24", midi.Rate25: "timecode_25", midi.Rate30DF: "timecode_2997drop", midi.Rate30: "timecode_30"}[rate]
		option := []byte(`<Option name="timecode-format" value="` + name + `"/>`)
		if re := regexp.MustCompile(`<Option name="timecode-format"[^>]*/>`); re.Match(xml) {
			xml = re.ReplaceAll(xml, option)
		} else {
			xml = bytes.Replace(xml, []byte("<Config>"), append([]byte("<Config>"), option...), 1)
		}
		write(file, string(xml))
		const from, to = 61.25 * stageRate, 600 * stageRate
		began, calm := hand.frame(), g.calm()
		out := run("tape.lua", fmt.Sprintf(ardourTape, song, int(from), int(to)))
		t.Logf("Ardour at %s: %s", rate, strings.TrimSpace(out[max(strings.LastIndex(out, "stands at"), 0):]))

		// What Ardour sent, by where it says that it is: a piece i of a time is at
		// that time and i quarter frames.
		events := hand.all(began)
		var code midi.Timecode
		type roll struct {
			first, last uint32
			offsets     []float64 // frames of the server at which the tape is at 0
		}
		var runs []roll
		clock := time.Unix(0, 0)
		for i, e := range events {
			m := midi.Message{SysEx: e.bytes}
			if e.bytes[0] == midi.QuarterFrame {
				m = midi.Message{Data: [3]byte{e.bytes[0], e.bytes[1]}, Size: 2}
				if len(runs) == 0 || e.frame-runs[len(runs)-1].last > stageRate/10 || i > 0 && events[i-1].bytes[0] != midi.QuarterFrame {
					runs = append(runs, roll{first: e.frame})
				}
				runs[len(runs)-1].last = e.frame
			}
			code.Message(m, clock.Add(time.Duration(float64(e.frame)/stageRate*1e9)))
			if at, ok := code.Elapsed(); ok && code.Locked() && e.bytes[0] == midi.QuarterFrame {
				r := &runs[len(runs)-1]
				r.offsets = append(r.offsets, float64(e.frame)-at.Seconds()*stageRate)
			}
		}
		if code.Rate() != rate {
			t.Errorf("Ardour sends %s, want %s", code.Rate(), rate)
		}
		runs = slices.DeleteFunc(runs, func(r roll) bool { return r.last-r.first < 2*stageRate || len(r.offsets) == 0 })
		if len(runs) != 2 {
			t.Errorf("Ardour rolled %d times for two seconds and more, want 2", len(runs))
		}
		for i, r := range runs {
			zero, p50, p99, most := spreadOf(r.offsets)
			t.Logf("Ardour's quarter frames: jitter p50 %.3f, p99 %.3f, max %.3f ms", ms(p50), ms(p99), ms(most))
			heard := risings(ear.sound(3, r.first, r.last+stageRate/5), r.first)
			at := (float64(r.first) - zero) / stageRate
			ideal := beatsOnTape(time.Duration(at*1e9), float64(r.first), float64(r.last)-stageRate/20)
			checkTape(t, fmt.Sprintf("Ardour's time code of %s, run %d from %.2f s", rate, i+1, at), ideal, heard, calm)
			if want := []float64{from / stageRate, to / stageRate}[i]; math.Abs(at-want) > 0.1 {
				t.Errorf("Ardour says that it began at %.3f s, want %.3f", at, want)
			}
		}
		s.wait(2*time.Second, "that the tape stands", func(p *playStatus) bool {
			return p.Timecode != nil && !p.Timecode.Runs && p.Timecode.Rate == rate.String()
		})
		up, down := ear.edges(2, began, ear.frame()-stageRate/10)
		if len(up) == 0 || len(up) != len(down) {
			t.Errorf("it ran %d times and stopped %d times", len(up), len(down))
		}
	}
}
