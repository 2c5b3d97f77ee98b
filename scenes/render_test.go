package scenes

import (
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/rule"
)

// soundRate is the rate of every render here, in hertz.
const soundRate = 48000

// recording is two channels with full scale as 1.
type recording [2][]float32

// compileProgram makes a Controller's program ready for the rack, as cmd does.
func compileProgram(source string) (mapping.Program, error) {
	p, err := rule.CompileProgram(source)
	if err != nil {
		return nil, err
	}
	return func(desired, observed, err, integral, act, interval, time float64) (float64, error) {
		return p.Eval(rule.Inputs{Desired: desired, Observed: observed, Error: err, Integral: integral, Act: act, Interval: interval, Time: time})
	}, nil
}

// record renders a scene with a script, as k8s-synth render does: with its
// rules, frame by frame, without a clock.
func record(t testing.TB, sc *Scene, script *Script, seconds float64) recording {
	t.Helper()
	return played(t, sc, script, seconds, func(*mapping.Rack, int64) {})
}

// played is record with a hand in it, before each block.
func played(t testing.TB, sc *Scene, script *Script, seconds float64, hand func(rack *mapping.Rack, frame int64)) recording {
	t.Helper()
	return (&gear{}).played(t, sc, script, seconds, hand)
}

// gear is what is beside the speakers: jacks by name, in volts.
type gear struct {
	outputs, inputs []string
	sent            map[string][]float32
	play            func(jack string, frame int64) float32
}

// played is played beside other gear.
func (g *gear) played(t testing.TB, sc *Scene, script *Script, seconds float64, hand func(rack *mapping.Rack, frame int64)) recording {
	t.Helper()
	g.sent = map[string][]float32{}
	sockets := instrument.Sockets{Outputs: map[string]int{}, Inputs: map[string]int{}}
	for i, name := range g.outputs {
		sockets.Outputs[name] = 2 + i
	}
	var in [][]float32
	for i, name := range g.inputs {
		sockets.Inputs[name] = i
		in = append(in, make([]float32, instrument.BlockSize))
	}
	rack := mapping.NewRack(mapping.Config{SampleRate: soundRate, Channels: 2 + len(g.outputs), Sockets: sockets, Seed: sc.Seed, Storm: sc.Storm, StormPolicy: sc.StormPolicy, Scale: sc.Notes(),
		Embedded: true, Namespace: sc.Namespace, Scene: sc.Name, Program: compileProgram})
	if err := rack.Load(sc.Patch); err != nil {
		t.Fatal(err)
	}
	rules, err := sc.CompileRules()
	if err != nil {
		t.Fatal(err)
	}
	rules.OnFault(func(f rule.Fault) { t.Errorf("rule %s: %v", f.Rule, f.First) })
	rack.Fade(true)
	total := int64(seconds * soundRate)
	var rec recording
	for c := range rec {
		rec[c] = make([]float32, total)
	}
	steps, ending := script.Steps, false
	for frame := int64(0); frame < total; {
		n := min(total-frame, instrument.BlockSize)
		hand(rack, frame)
		for ; len(steps) > 0; steps = steps[1:] {
			s := steps[0]
			at := int64(math.Round(s.At.Seconds() * soundRate))
			if at >= frame+n {
				break
			}
			at = max(at, 1)
			if s.Param != nil {
				if err := rack.Set(s.Param.Address, s.Param.Value, s.Param.Word, "script", at); err != nil {
					t.Fatal(err)
				}
				continue
			}
			rack.Apply(*s.Transition, at)
			for _, o := range rules.Apply(*s.Transition) {
				if out, ok := o.Out(); ok {
					rack.Send(out, at)
					continue
				}
				switch o.Kind {
				case rule.Note:
					rack.Note(o.Channel-1, o.Note, o.Velocity, o.Duration, at)
				case rule.Gate:
					rack.RuleGate(o.Channel-1, o.High, at)
				case rule.CV:
					rack.RuleCV(o.Channel-1, o.Volts, at)
				}
			}
		}
		if !ending && frame >= total-int64(0.052*soundRate) {
			ending = true
			rack.Fade(false)
		}
		out, heard := [][]float32{rec[0][frame : frame+n], rec[1][frame : frame+n]}, [][]float32(nil)
		for _, name := range g.outputs {
			g.sent[name] = append(g.sent[name], make([]float32, n)...)
			out = append(out, g.sent[name][frame:])
		}
		for i, name := range g.inputs {
			for k := range in[i] {
				in[i][k] = g.play(name, frame+int64(k))
			}
			heard = append(heard, in[i][:n])
		}
		rack.Engine.Render(out, heard)
		frame += n
		rack.Pump(frame)
	}
	m := rack.Meters()
	if m.Late > 0 || m.Overflow > 0 || m.Scrubbed > 0 {
		t.Errorf("%s: %d events late, %d early for want of room, %d slices were no numbers", sc.Name, m.Late, m.Overflow, m.Scrubbed)
	}
	for c := range rec {
		for i := range rec[c] {
			rec[c][i] /= instrument.AudioVolts
		}
	}
	return rec
}

// cut returns the frames from one time to another, in seconds.
func (r recording) cut(from, to float64) recording {
	for c := range r {
		n := float64(len(r[c]))
		r[c] = r[c][int(min(max(from*soundRate, 0), n)):int(min(max(to*soundRate, 0), n))]
	}
	return r
}

func (r recording) mono() []float32 {
	m := make([]float32, len(r[0]))
	for i := range m {
		m[i] = (r[0][i] + r[1][i]) / 2
	}
	return m
}

// power is the mean square of both channels together.
func (r recording) power() float64 {
	sum := 0.0
	for c := range r {
		for _, v := range r[c] {
			sum += float64(v) * float64(v)
		}
	}
	return sum / float64(max(len(r[0]), 1))
}

// level is the power in decibels.
func (r recording) level() float64 { return 10 * math.Log10(r.power()+1e-20) }

// less returns what one recording has over another.
func (r recording) less(o recording) (d recording) {
	for c := range r {
		d[c] = make([]float32, min(len(r[c]), len(o[c])))
		for i := range d[c] {
			d[c][i] = r[c][i] - o[c][i]
		}
	}
	return d
}

func open(t testing.TB, name string) *Scene {
	t.Helper()
	sc, err := (&Store{}).Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

func written(t testing.TB, text string) *Script {
	t.Helper()
	s, err := ParseScript("script", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}
