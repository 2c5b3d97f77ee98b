package instrument

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/k8s-synth/k8s-synth/dsp"
)

func noiseSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "noise", Title: "Noise", HP: 4, Plus12: 15, Minus12: 10,
		Doc: "White and pink noise.",
		New: func() Processor { return &noise{} },
		Outputs: []JackSpec{
			{Name: "white", Kind: Audio, Doc: "even over all frequencies"},
			{Name: "pink", Kind: Audio, Doc: "even over all octaves"},
		},
	}
}

type noise struct{ white, pink dsp.Noise }

func (m *noise) Init(sampleRate float64, seed uint64) {
	m.white.Init(sampleRate)
	m.white.Seed(seed)
	m.pink.Init(sampleRate)
	m.pink.Seed(seed + 1)
}

// Reset starts the sequences again. Audio thread.
func (m *noise) Reset() { m.white.Reset(); m.pink.Reset() }

// Process renders the noise. Audio thread.
func (m *noise) Process(io *IO) {
	if io.Wanted&1 != 0 {
		m.white.Fill(io.Out[0].Volts[0][:io.N])
	}
	if io.Wanted&2 != 0 {
		m.pink.FillPink(io.Out[1].Volts[0][:io.N])
	}
}

func vcaSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "vca", Title: "VCA", HP: 6, Plus12: 25, Minus12: 25,
		Doc: "A voltage-controlled amplifier; each channel of a polyphonic cable has its own.",
		New: func() Processor { return &vca{} },
		Params: []ParamSpec{
			{Name: "gain", Doc: "gain with nothing in cv, and at 10 V", Min: 0, Max: 2, Value: 1},
			{Name: "response", Doc: "how cv opens it", Choices: []string{"linear", "exponential"}},
		},
		Inputs: []JackSpec{
			{Name: "in", Kind: Audio, Poly: true, Doc: "what is amplified"},
			{Name: "cv", Kind: CV, Poly: true, Normal: 10, Unit: "0…10 V", Doc: "10 V is the full gain; exponential falls 60 dB to 0 V"},
		},
		Outputs: []JackSpec{{Name: "out", Kind: Audio, Doc: "the product, with as many channels as in or cv"}},
		Through: [][2]string{{"in", "out"}},
	}
}

type vca struct {
	pole [MaxPoly]float32
	a    float32
}

// vcaSmooth is the corner of the VCA's control input: a gate opens it in a
// millisecond instead of with a click.
const vcaSmooth = 300

func (m *vca) Init(sampleRate float64, seed uint64) {
	m.a = 1 - dsp.Exp2(float32(-vcaSmooth*2*3.14159265/0.69314718/sampleRate))
	m.Reset()
}

// Reset closes it. Audio thread.
func (m *vca) Reset() { m.pole = [MaxPoly]float32{} }

// Process renders the product. Audio thread.
func (m *vca) Process(io *IO) {
	in, cv, out := io.In[0], io.In[1], io.Out[0]
	out.Channels = max(in.Channels, cv.Channels)
	exponential := io.Params[1][0] == 1
	gain := io.Params[0]
	for c := range out.Channels {
		o, g := &out.Volts[c], m.pole[c]
		a, k := in.Channel(c), cv.Channel(c)
		held := out.Held
		out.Held &^= 1 << c
		if k == nil {
			k = &silence
		}
		if g == 0 && cv.held(c) && !(k[0] > 0) || a == nil {
			// Closed, or a channel with nothing in it.
			if held&(1<<c) == 0 || o[0] != 0 {
				clear(o[:])
			}
			out.Held |= 1 << c
			if a != nil {
				continue
			}
			a = &silence
		}
		if cv.held(c) && g == m.open(k[0], exponential) {
			for i := range io.N {
				o[i] = a[i] * g * gain[i]
			}
			continue
		}
		for i := range io.N {
			k := m.open(k[i], exponential)
			d := k - g
			if g += m.a * d; d < vcaThere && d > -vcaThere {
				g = k
			}
			o[i] = a[i] * g * gain[i]
		}
		m.pole[c] = g
	}
}

// silence is what a channel that is not there holds.
var silence [BlockSize]float32

// vcaThere is when the gain has arrived: a step of −120 dB.
const vcaThere = 1e-6

// open is the gain that a voltage asks for. Audio thread.
func (m *vca) open(volts float32, exponential bool) float32 {
	k := volts * 0.1
	if !(k > 0) {
		return 0
	}
	if k = min(k, 1); exponential {
		k = dsp.Exp2((k - 1) * 9.965784)
	}
	return k
}

// mixerChannels is how many stereo channels a Mixer has.
const mixerChannels = 6

func mixerSpec() *ModuleSpec {
	s := &ModuleSpec{
		Kind: "mixer", Title: "Mixer", HP: 24, Plus12: 90, Minus12: 90,
		Doc: "Six stereo channels with level, balance and a send, and a return. A polyphonic cable is summed.",
		New: func() Processor { return &mixer{} },
	}
	for i := 1; i <= mixerChannels; i++ {
		s.Params = append(s.Params,
			ParamSpec{Name: fmt.Sprintf("level_%d", i), Doc: fmt.Sprintf("level of channel %d; −60 is off", i), Unit: "dB", Min: -60, Max: 12, Value: 0},
			ParamSpec{Name: fmt.Sprintf("pan_%d", i), Doc: fmt.Sprintf("place of channel %d, balance where both sides are plugged in", i), Min: -1, Max: 1},
			ParamSpec{Name: fmt.Sprintf("send_%d", i), Doc: fmt.Sprintf("share of channel %d that is sent", i), Unit: "dB", Min: -60, Max: 6, Value: -60})
	}
	for i := 1; i <= mixerChannels; i++ {
		s.Inputs = append(s.Inputs,
			JackSpec{Name: fmt.Sprintf("left_%d", i), Kind: Audio, Poly: true, Doc: fmt.Sprintf("channel %d; alone, both sides of it", i)},
			JackSpec{Name: fmt.Sprintf("right_%d", i), Kind: Audio, Poly: true, Follows: fmt.Sprintf("left_%d", i), Doc: fmt.Sprintf("right of channel %d", i)})
	}
	s.Inputs = append(s.Inputs,
		JackSpec{Name: "return_left", Kind: Audio, Doc: "what comes back from the send"},
		JackSpec{Name: "return_right", Kind: Audio, Doc: "right of what comes back"})
	s.Outputs = []JackSpec{
		{Name: "left", Kind: Audio, Doc: "left of the mix"}, {Name: "right", Kind: Audio, Doc: "right of the mix"},
		{Name: "send_left", Kind: Audio, Doc: "left of what is sent"}, {Name: "send_right", Kind: Audio, Doc: "right of what is sent"},
	}
	return s
}

type mixer struct {
	level, send [mixerChannels]decibels
	stereo      [mixerChannels]float32 // 0 where pan holds, 1 where balance does; between them, the share of the way
	step        float32                // of stereo, in cableSeconds from one to the other
}

func (m *mixer) Init(sampleRate float64, seed uint64) {
	m.step = float32(1 / (cableSeconds * sampleRate))
}

// Reset does nothing: a mixer remembers no sound. Audio thread.
func (m *mixer) Reset() {}

// Process renders mix and send. Audio thread.
func (m *mixer) Process(io *IO) {
	n := io.N
	if m.silent(io) {
		for _, o := range io.Out {
			if !o.silent() {
				o.Fill(0)
			}
		}
		return
	}
	for _, o := range io.Out {
		clear(o.Volts[0][:n])
		o.Held = 0
	}
	l, r, sl, sr := &io.Out[0].Volts[0], &io.Out[1].Volts[0], &io.Out[2].Volts[0], &io.Out[3].Volts[0]
	for k := range mixerChannels {
		step := -m.step
		if io.Patched&(1<<(2*k+1)) != 0 {
			step = m.step
		}
		stereo := m.stereo[k]
		if io.Patched&(3<<(2*k)) == 0 {
			continue
		}
		left, right := io.In[2*k], io.In[2*k+1]
		level, pan, send := io.Params[3*k], io.Params[3*k+1], io.Params[3*k+2]
		if (stereo == 0 && step < 0 || stereo == 1 && step > 0) && left.Channels == 1 && right.Channels == 1 &&
			rests(level, n) && rests(pan, n) && rests(send, n) {
			if left.silent() && (stereo == 0 || right.silent()) {
				continue
			}
			// The same sums as below, with all that rests taken out of the loop.
			g, s, p := m.level[k].linear(level[0]), m.send[k].linear(send[0]), pan[0]
			ga, gb, rv := float32(0.70710678), float32(0.70710678), &left.Volts[0]
			if stereo == 1 {
				ga, gb, rv = min(1-p, 1), min(1+p, 1), &right.Volts[0]
			} else if p != 0 {
				q := (1 + p) * 0.125
				ga, gb = dsp.SineCycles(0.25+q), dsp.SineCycles(q)
			}
			lv := &left.Volts[0]
			if s == 0 {
				for i := range n {
					l[i] += lv[i] * ga * g
					r[i] += rv[i] * gb * g
				}
				continue
			}
			for i := range n {
				a, b := lv[i]*ga*g, rv[i]*gb*g
				l[i] += a
				r[i] += b
				sl[i] += a * s
				sr[i] += b * s
			}
			continue
		}
		for i := range n {
			g, s, p := m.level[k].linear(level[i]), m.send[k].linear(send[i]), pan[i]
			a, b := sum(left, i), float32(0)
			stereo = min(max(stereo+step, 0), 1)
			if stereo > 0 {
				b = sum(right, i)
			}
			if stereo == 1 {
				// Balance: the near side stays, the far side goes.
				a, b = a*min(1-p, 1), b*min(1+p, 1)
			} else {
				ml, mr := a*0.70710678, a*0.70710678
				if p != 0 {
					q := (1 + p) * 0.125
					ml, mr = a*dsp.SineCycles(0.25+q), a*dsp.SineCycles(q)
				}
				way := smooth(stereo)
				a, b = ml+way*(a*min(1-p, 1)-ml), mr+way*(b*min(1+p, 1)-mr)
			}
			a, b = a*g, b*g
			l[i] += a
			r[i] += b
			sl[i] += a * s
			sr[i] += b * s
		}
		m.stereo[k] = stereo
	}
	if s := io.In[2*mixerChannels]; !s.silent() {
		for i, v := range s.Volts[0][:n] {
			l[i] += v
		}
	}
	if s := io.In[2*mixerChannels+1]; !s.silent() {
		for i, v := range s.Volts[0][:n] {
			r[i] += v
		}
	}
}

// silent tells whether nothing comes in, and no channel is on its way from
// one side to two. Audio thread.
func (m *mixer) silent(io *IO) bool {
	for j, in := range io.In[:2*mixerChannels+2] {
		if in.Channels != 1 || !in.silent() {
			return false
		}
		if j == 2*mixerChannels || j%2 == 1 || io.Patched&(3<<j) == 0 {
			continue
		}
		stereo := float32(0)
		if io.Patched&(2<<j) != 0 {
			stereo = 1
		}
		if m.stereo[j/2] != stereo {
			return false
		}
	}
	return true
}

// rests tells whether a param that is ramped, but has no CV, is the same
// throughout n frames. Audio thread.
func rests(p *[BlockSize]float32, n int) bool { return p[0] == p[n-1] }

// sum adds the channels of a signal at one frame. Audio thread.
func sum(s *Signal, i int) float32 {
	v := s.Volts[0][i]
	for c := 1; c < s.Channels; c++ {
		v += s.Volts[c][i]
	}
	return v
}

func reverbSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "reverb", Title: "Reverb", HP: 8, Plus12: 90, Minus12: 20, Tail: TailMemory,
		Doc: "A room. While its gate is low the air goes out of it: nothing enters, and what is in it dies fast.",
		New: func() Processor { return &reverb{} },
		Params: []ParamSpec{
			{Name: "decay", Doc: "T60 of the room", Unit: "s", Min: 0.1, Max: 30, Value: 2.5, Curve: Exponential},
			{Name: "damping", Doc: "how much faster the highs die", Min: 0, Max: 1, Value: 0.4},
			{Name: "mix", Doc: "share of the room in what comes out", Min: 0, Max: 1, Value: 1, PerVolt: 0.1},
		},
		Inputs: []JackSpec{
			{Name: "in_left", Kind: Audio, Doc: "left; alone, both sides"},
			{Name: "in_right", Kind: Audio, Follows: "in_left", Doc: "right"},
			{Name: "open", Kind: Gate, Normal: GateVolts, Doc: "the room is open while high"},
		},
		Outputs: []JackSpec{{Name: "left", Kind: Audio, Doc: "left"}, {Name: "right", Kind: Audio, Doc: "right"}},
		Through: [][2]string{{"in_left", "left"}, {"in_right", "right"}},
	}
}

type reverb struct {
	room           dsp.Reverb
	open           dsp.SchmittTrigger
	decay, damping float32
	silent         bool // what is put out is 0 throughout
}

func (m *reverb) Init(sampleRate float64, seed uint64) {
	m.room.Init(sampleRate)
	m.decay = -1
}

// Reset empties the room. Audio thread.
func (m *reverb) Reset() {
	m.room.Reset()
	m.open.Reset()
	m.silent = false
}

// Process renders the room. Audio thread.
func (m *reverb) Process(io *IO) {
	// With knobs at rest one look is as good as several.
	rest := io.rests(0) && io.rests(1) && io.rests(2) && io.In[2].held(0)
	l, r := io.Out[0].Volts[0][:io.N], io.Out[1].Volts[0][:io.N]
	silent := io.In[0].silent() && io.In[1].silent()
	if !silent {
		copy(l, io.In[0].Volts[0][:])
		copy(r, io.In[1].Volts[0][:])
	} else if !m.silent {
		clear(io.Out[0].Volts[0][:])
		clear(io.Out[1].Volts[0][:])
	}
	m.silent = silent && m.room.Empty()
	for i := 0; i < io.N; {
		since := int((io.Frame + int64(i)) % controlFrames)
		end := min(io.N, i+controlFrames-since)
		if since == 0 {
			m.look(io, i)
			if rest {
				end = io.N
			}
		}
		if m.silent = m.silent && m.room.Empty(); m.silent {
			m.room.Pass(end - i)
		} else {
			m.room.Process(l[i:end], r[i:end])
		}
		i = end
	}
	io.Out[0].Held, io.Out[1].Held = 0, 0
	if m.silent {
		io.Out[0].Held, io.Out[1].Held = 1, 1
	}
}

// look reads the knobs and the gate. Audio thread.
func (m *reverb) look(io *IO, i int) {
	d, h := io.Params[0][i], io.Params[1][i]
	if d != m.decay || h != m.damping {
		m.decay, m.damping = d, h
		// At full damping the highs die in a tenth of the time.
		m.room.SetDecay(float64(d), float64(d)*math.Pow(0.1, float64(h)))
	}
	m.room.SetMix(io.Params[2][i])
	m.open.Next(io.In[2].Volts[0][i])
	if o := m.open.High(); o != m.room.Open() {
		m.room.SetOpen(o)
	}
}

func audioOutSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "audio_out", Title: "Audio Out", HP: 6, Plus12: 30, Minus12: 30,
		Doc: "To a pair of the device's channels, or to jacks of the rig: level, DC blocker, and a look-ahead limiter whose true peak stays below its ceiling.",
		New: func() Processor { return &audioOut{} },
		Params: []ParamSpec{
			{Name: "level", Doc: "level; −60 is off", Unit: "dB", Min: -60, Max: 12, Value: 0, PerVolt: 6},
			{Name: "ceiling", Doc: "true peak under full scale, which is 5 V", Unit: "dB", Min: -20, Max: 0, Value: -1.2},
			{Name: "channel", Doc: "first of the two device channels", Min: 1, Max: MaxPoly - 1, Value: 1, Whole: true},
			{Name: "jack", Doc: "jacks of the rig in place of channel: left and right, or one for the middle of both", Text: true, Free: true, Socket: true, Optional: true},
		},
		Inputs: []JackSpec{
			{Name: "left", Kind: Audio, Poly: true, Doc: "left; alone, both sides"},
			{Name: "right", Kind: Audio, Poly: true, Follows: "left", Doc: "right"},
		},
		Outputs: []JackSpec{
			{Name: "reduction", Kind: CV, Unit: "1 V a dB", Doc: "what the limiter takes away"},
		},
	}
}

type audioOut struct {
	dc      [2]dsp.DCBlocker
	limiter dsp.Limiter
	gain    decibels
	ceiling decibels
	set     float32
	named   atomic.Int32 // how many jacks of the rig it is bound to
	sockets [2]socket
	out     [2]outlet
}

// Socket tells it its jacks.
func (m *audioOut) Socket(channels []int) {
	setAll(channels, &m.sockets[0], &m.sockets[1])
	m.named.Store(int32(len(channels)))
}

func (m *audioOut) Init(sampleRate float64, seed uint64) {
	m.dc[0].Init(sampleRate)
	m.dc[1].Init(sampleRate)
	m.limiter.Init(sampleRate)
	m.set = -1
	m.out[0].init(sampleRate)
	m.out[1].init(sampleRate)
}

// Reset forgets the past. Audio thread.
func (m *audioOut) Reset() {
	m.dc[0].Reset()
	m.dc[1].Reset()
	m.limiter.Reset()
}

// Process adds the sound to the device's channels. Audio thread.
func (m *audioOut) Process(io *IO) {
	out := io.Out[0]
	if io.rests(1) {
		m.hold(io.Params[1][0])
		if m.silent(io) {
			if !out.silent() {
				out.Fill(0)
			}
			return
		}
	}
	var b [2][BlockSize]float32
	for side := range b {
		in, x := io.In[side], b[side][:io.N]
		if io.rests(0) && in.Channels == 1 {
			g := m.gain.linear(io.Params[0][0])
			for i, v := range in.Volts[0][:io.N] {
				x[i] = v * g
			}
		} else {
			for i := range x {
				x[i] = sum(in, i) * m.gain.linear(io.Params[0][i])
			}
		}
	}
	dsp.ProcessPair(&m.dc[0], &m.dc[1], b[0][:io.N], b[1][:io.N])
	l, r, cut := b[0][:io.N], b[1][:io.N], out.Volts[0][:io.N]
	if io.rests(1) {
		m.limiter.ProcessGain(l, r, cut)
	} else {
		for i := range l {
			m.hold(io.Params[1][i])
			m.limiter.ProcessGain(l[i:i+1], r[i:i+1], cut[i:i+1])
		}
	}
	for i, g := range cut {
		if cut[i] = 0; g < 0.9999 {
			cut[i] = float32(-20 * math.Log10(float64(g)))
		}
	}
	out.Held = 0
	first := int(io.Params[2][0]) - 1
	want := [2]int{first, first + 1}
	if named := m.named.Load(); named > 0 {
		want = [2]int{m.sockets[0].get(), m.sockets[1].get()}
		if named == 1 {
			for i := range l {
				l[i] = (l[i] + r[i]) * 0.5
			}
		}
	}
	for side, x := range [2][]float32{l, r} {
		m.out[side].begin(want[side])
		m.out[side].add(io, want[side], x)
	}
}

// hold sets the ceiling. Audio thread.
func (m *audioOut) hold(decibels float32) {
	if c := AudioVolts * m.ceiling.linear(decibels); c != m.set {
		m.set = c
		m.limiter.SetCeiling(c)
	}
}

// silent tells whether nothing comes in, and nothing is on its way. Audio thread.
func (m *audioOut) silent(io *IO) bool {
	for side, in := range io.In[:2] {
		if in.Channels != 1 || !in.silent() || !m.dc[side].Silent() {
			return false
		}
	}
	return m.limiter.Silent()
}
