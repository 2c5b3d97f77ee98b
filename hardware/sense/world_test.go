package sense

import (
	"math"
	"math/rand/v2"
	"testing"
)

// block is how many frames a Case hands over at a time.
const block = 64

// programme is what an output plays: a function of the frame that is called once for each, in order.
type programme func(frame int64) float64

func silent(int64) float64 { return 0 }

func constant(v float64) programme { return func(int64) float64 { return v } }

// clock is a gate of 10 V, half of the time high.
func clock(bpm, per float64, rate int) programme {
	period := 60 / bpm / per * float64(rate)
	return func(f int64) float64 {
		if modulo(float64(f), period) < period/2 {
			return 10
		}
		return 0
	}
}

// modulo is math.Mod, several times as fast.
func modulo(x, y float64) float64 { return x - y*math.Floor(x/y) }

// triggers are pulses of 1 ms.
func triggers(bpm, per float64, rate int) programme {
	period := 60 / bpm / per * float64(rate)
	return func(f int64) float64 {
		if modulo(float64(f), period) < float64(rate)/1000 {
			return 10
		}
		return 0
	}
}

// melody steps through notes of a minor pentatonic scale.
func melody(seed uint64, perSecond float64, rate int) programme {
	r := rand.New(rand.NewPCG(seed, 1))
	notes := []float64{0, 3, 5, 7, 10, 12, 15, 17}
	left, v := 0, 0.0
	return func(int64) float64 {
		if left--; left <= 0 {
			left = int(float64(rate) / perSecond)
			v = notes[r.IntN(len(notes))] / 12
		}
		return v
	}
}

func lfo(hz, volts float64, rate int) programme {
	return func(f int64) float64 { return volts * math.Sin(2*math.Pi*hz*float64(f)/float64(rate)) }
}

// envelope rises in 10 ms and falls with 0.2 s, again and again.
func envelope(perSecond float64, rate int) programme {
	v, left, up := 0.0, 0, false
	return func(int64) float64 {
		if left--; left <= 0 {
			left, up = int(float64(rate)/perSecond), true
		}
		if up {
			if v += 8 / (0.01 * float64(rate)); v >= 8 {
				up = false
			}
		} else {
			v *= 1 - 1/(0.2*float64(rate))
		}
		return v
	}
}

// saw is an oscillator of ±5 V, without care for aliases.
func saw(hz float64, rate int) programme {
	phase := 0.0
	return func(int64) float64 {
		phase += hz / float64(rate)
		phase -= math.Floor(phase)
		return 10*phase - 5
	}
}

func hiss(seed uint64, volts float64) programme {
	n := noise{s: seed}
	return func(int64) float64 { return volts * n.next() }
}

// noise is white and nearly Gaussian, with deviation 1.
type noise struct{ s uint64 }

func (n *noise) next() float64 {
	n.s = n.s*6364136223846793005 + 1442695040888963407
	x := n.s ^ n.s>>29
	// The sum of four uniform numbers of 16 bits: enough tails for a test, and fast.
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 32
	sum := float64(x&0xffff) + float64(x>>16&0xffff) + float64(x>>32&0xffff) + float64(x>>48)
	return (sum/65536 - 2) * math.Sqrt(3)
}

// wire is a cable of the simulated matrix.
type wire struct {
	out, in int
	gain    float64
}

// world is the matrix that a sensor is plugged into: outputs that play, cables, converters with a
// round trip, and inputs with gain, offset, noise and hum.
type world struct {
	t       testing.TB
	s       *Sensor
	rate    int
	play    []programme
	wires   []wire
	foreign []programme // what else comes in
	gain    []float64   // of each input
	offset  []float64
	noise   float64 // deviation in volts
	hum     float64 // peak volts of 50 Hz and its third
	ac      float64 // corner of the inputs' high-pass in Hz; 0 is DC-coupled
	clip    float64 // volts; 0 does not
	blind   bool    // nobody analyses
	before  int     // frames from an output to its jack
	after   int     // frames from an input's jack
	smear   float64 // fraction of a frame that converters add

	frame    int64
	out, in  [][]float32
	past     [][]float32 // sent, ring of a power of two
	jack     [][]float32 // at the input's jack, ring
	rnd      []noise
	acX, acY []float64
	pitchMax float64 // greatest of what was added to pitch outputs, and to the others
	otherMax float64
	events   []Event
}

func newWorld(t testing.TB, cfg Config) *world {
	t.Helper()
	if cfg.Rate == 0 {
		cfg.Rate = 48000
	}
	s, err := NewSensor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, s: s, rate: cfg.Rate, before: 300, after: 212}
	no, ni := len(cfg.Outputs), len(cfg.Inputs)
	w.play, w.foreign = make([]programme, no), make([]programme, ni)
	w.gain, w.offset = make([]float64, ni), make([]float64, ni)
	w.rnd, w.acX, w.acY = make([]noise, ni), make([]float64, ni), make([]float64, ni)
	for range no {
		w.out, w.past = append(w.out, make([]float32, block)), append(w.past, make([]float32, 1<<14))
	}
	for i := range ni {
		w.in, w.jack = append(w.in, make([]float32, block)), append(w.jack, make([]float32, 1<<14))
		w.gain[i] = 1
		w.rnd[i].s = uint64(i)*7919 + 1
	}
	return w
}

// jacks makes a Config of n outputs, the first of them for pitch, and n inputs.
func jacks(outputs, pitch, inputs int) Config {
	c := Config{Rate: 48000}
	for i := range outputs {
		c.Outputs = append(c.Outputs, Output{Name: "out " + string(rune('a'+i)), Pitch: i < pitch})
	}
	for i := range inputs {
		c.Inputs = append(c.Inputs, "in "+string(rune('a'+i)))
	}
	return c
}

func (w *world) plug(out, in int, gain float64) { w.wires = append(w.wires, wire{out, in, gain}) }

func (w *world) pull(out, in int) {
	for k, x := range w.wires {
		if x.out == out && x.in == in {
			w.wires = append(w.wires[:k], w.wires[k+1:]...)
			return
		}
	}
	w.t.Fatalf("no cable from %d to %d", out, in)
}

// run lets the world go on for some seconds, and looks at the sensor after every block.
func (w *world) run(seconds float64) {
	const mask = 1<<14 - 1
	for end := w.frame + int64(seconds*float64(w.rate)); w.frame < end; w.frame += block {
		for k := range w.out {
			p := w.play[k]
			for j := range w.out[k] {
				if p == nil {
					w.out[k][j] = 0
				} else {
					w.out[k][j] = float32(p(w.frame + int64(j)))
				}
			}
		}
		// What is in the inputs now was at their jacks some frames ago.
		alpha := 1.0
		if w.ac > 0 {
			alpha = 1 - 2*math.Pi*w.ac/float64(w.rate)
		}
		for i := range w.in {
			for j := range w.in[i] {
				w.in[i][j] = w.jack[i][int(w.frame+int64(j)-int64(w.after))&mask]
			}
		}
		var plain [64][block]float32
		for k := range w.out {
			copy(plain[k][:], w.out[k])
		}
		w.s.Tap(w.out, w.in)
		for k := range w.out {
			most := &w.otherMax
			if w.s.cfg.Outputs[k].Pitch {
				most = &w.pitchMax
			}
			for j, v := range w.out[k] {
				*most = max(*most, math.Abs(float64(v)-float64(plain[k][j])))
				w.past[k][int(w.frame+int64(j))&mask] = v
			}
		}
		for i := range w.in {
			for j := range block {
				f := w.frame + int64(j)
				v := 0.0
				for _, x := range w.wires {
					if x.in == i {
						y := float64(w.past[x.out][int(f-int64(w.before))&mask])
						if w.smear > 0 {
							y = (1-w.smear)*y + w.smear*float64(w.past[x.out][int(f-int64(w.before)-1)&mask])
						}
						v += x.gain * y
					}
				}
				if p := w.foreign[i]; p != nil {
					v += p(f)
				}
				v = v*w.gain[i] + w.offset[i]
				if w.ac > 0 {
					y := v - w.acX[i] + alpha*w.acY[i]
					w.acX[i], w.acY[i] = v, y
					v = y
				}
				if w.noise > 0 {
					v += w.noise * w.rnd[i].next()
				}
				if w.hum > 0 {
					ph := 2 * math.Pi * 50 * float64(f) / float64(w.rate)
					v += w.hum * (math.Sin(ph) + 0.3*math.Sin(3*ph))
				}
				if w.clip > 0 {
					v = max(-w.clip, min(w.clip, v))
				}
				w.jack[i][int(f)&mask] = float32(v)
			}
		}
		if !w.blind {
			w.s.Process()
		}
		for more := true; more; {
			select {
			case e := <-w.s.Events():
				w.events = append(w.events, e)
			default:
				more = false
			}
		}
	}
}

// until runs until there is an event of the pair or the time is over, and returns after how many
// seconds it came, or a negative number.
func (w *world) until(out, in int, on bool, seconds float64) float64 {
	start, seen := w.frame, len(w.events)
	for w.frame < start+int64(seconds*float64(w.rate)) {
		w.run(float64(block) / float64(w.rate))
		for ; seen < len(w.events); seen++ {
			e := w.events[seen]
			if e.On == on && e.Cable.Output == w.s.cfg.Outputs[out].Name && e.Cable.Input == w.s.cfg.Inputs[in] {
				return float64(w.frame-start) / float64(w.rate)
			}
		}
	}
	return -1
}

func dbfs(db float64) float64 { return 10 * math.Pow(10, db/20) }
