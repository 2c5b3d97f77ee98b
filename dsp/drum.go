package dsp

const (
	// drumVoices is how many strikes of one drum may sound at once, all but the
	// newest fading within drumFade seconds while that comes up in drumSoft: a
	// drum that is struck again does not click.
	drumVoices = 4
	drumFade   = 0.005
	drumSoft   = 0.002
	// drumHeard is the level above which a strike that sounds makes the next
	// come up softly.
	drumHeard = 1e-4
	// drumSilence is 120 dB below the peak: there a drum is at rest.
	drumSilence = 1e-6
	// drumRise is how long a drum of noise takes to its peak, in seconds.
	drumRise = 0.0004
)

// fall is the factor a sample of an exponential fall with a T60.
func fall(seconds, sampleRate float64) float32 {
	return float32(1 - t60Coefficient(seconds, sampleRate))
}

// strike is one strike of a drum with pitch.
type strike struct {
	phase  [2]uint32
	level  float32 // 1 at the strike
	second float32 // of the second mode
	bend   float32 // share of the bend in pitch that is left
	snap   float32 // of the beater
	peak   float32 // strength, 0…1
	rise   float32 // up to 1; it begins there when nothing else sounds
	fade   float32 // 1 while it is the newest, then down to 0
}

// strikes are the latest strikes of one drum.
type strikes struct {
	at  [drumVoices]strike
	now int
	on  bool
}

// begin starts a strike and lets the others fade.
func (s *strikes) begin(v strike) {
	for k := range s.at {
		if n := (s.now + 1 + k) % drumVoices; s.at[n].level == 0 || k == drumVoices-1 {
			s.now = n
			break
		}
	}
	v.level, v.second, v.bend, v.snap, v.rise, v.fade = 1, 1, 1, 1, 1, 1
	for k := range s.at {
		if s.at[k].level > drumHeard && k != s.now {
			v.rise = 0
		}
	}
	s.at[s.now], s.on = v, true
}

// fading is a factor that sets off and arrives slowly, as x goes from 0 to 1 or
// back.
func fading(x float32) float32 { return x * x * x * (10 + x*(6*x-15)) }

// Kick is a bass drum: a sine whose pitch falls, a beater, and a drive.
type Kick struct {
	sampleRate        float64
	strikes           strikes
	fade, soft        float32
	hertz             float32
	bend, click       float32
	gain, makeup      float32
	fall, sink, touch float32
	toIncrement       float32
}

// Init sets the sample rate and a plain sound.
func (k *Kick) Init(sampleRate float64) {
	rate := rateOr(sampleRate)
	*k = Kick{sampleRate: rate, fade: float32(1 / (drumFade * rate)), soft: float32(1 / (drumSoft * rate)), toIncrement: float32(1 << 32 / rate),
		sink: fall(0.11, rate), touch: fall(0.012, rate)}
	k.Set(50, 0.5, 1.5, 0.3, 0)
}

// Reset silences it.
func (k *Kick) Reset() { k.strikes = strikes{} }

// Set sets its pitch in hertz, its T60 in seconds, by how many octaves the pitch
// falls, the share of the beater, 0…1, and the drive in decibels.
//
// Audio thread.
func (k *Kick) Set(hertz float32, decay float64, bend, click, drive float32) {
	k.hertz, k.bend, k.click = hertz, bend, click
	k.fall = fall(decay, k.sampleRate)
	// At no drive the curve is used where it is straight.
	k.gain = 0.2 * Exp2(drive*(1/6.0205999))
	k.makeup = 1 / rationalTanh(k.gain)
}

// Strike strikes it with a strength of 0…1.
//
// Audio thread.
func (k *Kick) Strike(strength float32) { k.strikes.begin(strike{peak: strength}) }

// Active tells whether it sounds.
//
// Audio thread.
func (k *Kick) Active() bool { return k.strikes.on }

// Next returns one sample, ±5 V at full strength.
//
// Audio thread.
func (k *Kick) Next() float32 {
	if !k.strikes.on {
		return 0
	}
	var sum float32
	on := false
	for i := range k.strikes.at {
		s := &k.strikes.at[i]
		if s.level == 0 {
			continue
		}
		on = true
		y := rationalTanh(k.gain*s.level*sineAt(s.phase[0])) * k.makeup
		if i != k.strikes.now {
			if s.fade -= k.fade; s.fade <= 0 {
				*s = strike{}
				continue
			}
			y *= fading(s.fade)
		}
		if s.rise < 1 {
			y *= fading(s.rise)
			s.rise = min(s.rise+k.soft, 1)
		}
		sum += y * s.peak
		// The beater is the first moment of the fall, from far above.
		f := k.hertz * Exp2(k.bend*s.bend+4*k.click*s.snap)
		s.phase[0] += uint32(min(f*k.toIncrement, 1<<31-1024))
		s.bend = flush(s.bend * k.sink)
		s.snap = flush(s.snap * k.touch)
		if s.level *= k.fall; s.level < drumSilence {
			*s = strike{}
		}
	}
	k.strikes.on = on
	return sum * AudioPeak
}

// Snare is a snare drum: two modes of its head, and the wires as noise.
type Snare struct {
	sampleRate      float64
	strikes         strikes
	fade, soft      float32
	noise           Noise
	wires           Decay
	colour          SVF
	fall, fall2     float32
	head, rattle    float32
	sink            float32
	toIncrement     float32
	hertz, wireTone float32
}

// snareSecond is the second mode of a drum head over the first.
const snareSecond = 1.593

// Init sets the sample rate and a plain sound.
func (s *Snare) Init(sampleRate float64) {
	rate := rateOr(sampleRate)
	*s = Snare{sampleRate: rate, fade: float32(1 / (drumFade * rate)), soft: float32(1 / (drumSoft * rate)), toIncrement: float32(1 << 32 / rate), sink: fall(0.03, rate)}
	s.noise.Init(rate)
	s.wires.Init(rate)
	s.colour.Init(rate)
	s.Set(185, 0.2, 0.5, 3500)
}

// Seed chooses its noise.
func (s *Snare) Seed(seed uint64) { s.noise.Seed(seed) }

// Reset silences it.
func (s *Snare) Reset() {
	s.strikes = strikes{}
	s.noise.Reset()
	s.wires.Reset()
	s.colour.Reset()
}

// Set sets the pitch of the head in hertz, its T60 in seconds, the share of the
// wires, 0…1, and above which frequency they sound.
//
// Audio thread.
func (s *Snare) Set(hertz float32, decay float64, snap, tone float32) {
	s.hertz = hertz
	s.fall, s.fall2 = fall(decay, s.sampleRate), fall(0.6*decay, s.sampleRate)
	s.wires.Set(drumRise, 1.2*decay)
	s.head, s.rattle = 0.6*(1-0.8*snap), 0.075*snap
	if tone != s.wireTone {
		s.wireTone = tone
		s.colour.SetHertz(tone)
		s.colour.SetQ(0.8)
	}
}

// Strike strikes it with a strength of 0…1.
//
// Audio thread.
func (s *Snare) Strike(strength float32) {
	s.strikes.begin(strike{peak: strength})
	s.wires.Strike(strength * UnipolarPeak)
}

// Active tells whether it sounds.
//
// Audio thread.
func (s *Snare) Active() bool { return s.strikes.on || s.wires.Active() }

// Next returns one sample, about ±5 V at full strength.
//
// Audio thread.
func (s *Snare) Next() float32 {
	if !s.Active() {
		return 0
	}
	var sum float32
	on := false
	for i := range s.strikes.at {
		v := &s.strikes.at[i]
		if v.level == 0 {
			continue
		}
		on = true
		y := v.level*sineAt(v.phase[0]) + 0.6*v.second*sineAt(v.phase[1])
		if i != s.strikes.now {
			if v.fade -= s.fade; v.fade <= 0 {
				*v = strike{}
				continue
			}
			y *= fading(v.fade)
		}
		if v.rise < 1 {
			y *= fading(v.rise)
			v.rise = min(v.rise+s.soft, 1)
		}
		sum += y * v.peak
		f := min(s.hertz*(1+0.7*v.bend)*s.toIncrement, 1<<30)
		v.phase[0] += uint32(f)
		v.phase[1] += uint32(f * snareSecond)
		v.bend = flush(v.bend * s.sink)
		v.second = flush(v.second * s.fall2)
		if v.level *= s.fall; v.level < drumSilence {
			*v = strike{}
		}
	}
	s.strikes.on = on
	out := sum * s.head * AudioPeak
	if s.wires.Active() {
		_, _, high := s.colour.Next(s.noise.White())
		out += high * s.rattle * s.wires.Next()
		if !s.wires.Active() {
			s.colour.Reset()
		}
	}
	return out
}

// hatRatios are the frequencies of the six oscillators of the classic analogue
// cymbal over the lowest.
var hatRatios = [6]float32{1, 1.4827, 1.8003, 2.5460, 2.6303, 3.8967}

// Hat is a pair of cymbals: six pulses that are in tune with nothing, of which
// only the highest part is heard. Closed chokes open.
type Hat struct {
	sampleRate   float64
	phase, step  [6]uint32
	noise        Noise
	closed, open Decay
	choke        float32 // gain of open
	choked       bool
	chokeFall    float32
	ring, air    SVF
	toIncrement  float32
	hertz, tone  float32
}

// Init sets the sample rate and a plain sound.
func (h *Hat) Init(sampleRate float64) {
	rate := rateOr(sampleRate)
	*h = Hat{sampleRate: rate, toIncrement: float32(1 << 32 / rate), chokeFall: fall(0.015, rate), choke: 1}
	h.noise.Init(rate)
	h.closed.Init(rate)
	h.open.Init(rate)
	h.ring.Init(rate)
	h.air.Init(rate)
	h.Set(205.3, 0.06, 0.5, 8000)
}

// Seed chooses its noise.
func (h *Hat) Seed(seed uint64) { h.noise.Seed(seed) }

// Reset silences it.
func (h *Hat) Reset() {
	h.phase = [6]uint32{}
	h.noise.Reset()
	h.closed.Reset()
	h.open.Reset()
	h.ring.Reset()
	h.air.Reset()
	h.choke, h.choked = 1, false
}

// Set sets the frequency of the lowest oscillator in hertz, the T60s of closed
// and open in seconds, and above which frequency they sound.
//
// Audio thread.
func (h *Hat) Set(hertz float32, closed, open float64, tone float32) {
	h.closed.Set(drumRise, closed)
	h.open.Set(drumRise, open)
	if hertz != h.hertz {
		h.hertz = hertz
		for k, r := range hatRatios {
			h.step[k] = uint32(min(hertz*r*h.toIncrement, 1<<30))
		}
	}
	if tone != h.tone {
		h.tone = tone
		h.ring.SetHertz(tone)
		h.ring.SetQ(1.2)
		h.air.SetHertz(0.8 * tone)
		h.air.SetQ(0.7)
	}
}

// StrikeClosed strikes it closed with a strength of 0…1.
//
// Audio thread.
func (h *Hat) StrikeClosed(strength float32) {
	h.closed.Strike(strength * UnipolarPeak)
	h.choked = h.open.Active()
}

// StrikeOpen strikes it open with a strength of 0…1.
//
// Audio thread.
func (h *Hat) StrikeOpen(strength float32) {
	if h.choked {
		// What is left of the choked one is where the new one begins.
		h.open.level *= float64(h.choke)
		h.open.rising = false
		h.choke, h.choked = 1, false
	}
	h.open.Strike(strength * UnipolarPeak)
}

// Active tells whether it sounds.
//
// Audio thread.
func (h *Hat) Active() bool { return h.closed.Active() || h.open.Active() }

// Next returns one sample, about ±5 V at full strength.
//
// Audio thread.
func (h *Hat) Next() float32 {
	if !h.Active() {
		return 0
	}
	level := h.closed.Next()
	if o := h.open.Next(); h.choked {
		if h.choke *= h.chokeFall; h.choke < 1e-5 || o == 0 {
			h.open.Reset()
			h.choke, h.choked = 1, false
		} else {
			level = max(level, o*h.choke)
		}
	} else {
		level = max(level, o)
	}
	var metal float32
	for k := range h.phase {
		inc := h.step[k]
		h.phase[k] += inc
		metal += softPulse(h.phase[k], inc)
	}
	_, _, high := h.ring.Next(metal + 0.15*h.noise.White())
	_, _, high = h.air.Next(high)
	if !h.Active() {
		h.ring.Reset()
		h.air.Reset()
	}
	return high * level * 0.28
}

// softPulse is a square wave, ±1, whose edges are rounded over a sample before
// and after (a polynomial residual of second degree): its aliases drown in a
// sound that has no harmonics anyway.
func softPulse(phase, inc uint32) float32 {
	y := float32(1)
	if phase >= 1<<31 {
		y = -1
	}
	edge := func(p uint32) float32 {
		switch {
		case p < inc:
			t := float32(p) / float32(inc)
			return t + t - t*t - 1
		case p > -inc:
			t := (float32(p) - (1 << 32)) / float32(inc)
			return t*t + t + t + 1
		}
		return 0
	}
	return y + edge(phase) - edge(phase+1<<31)
}

// clapTimes are when the hands meet, in seconds after the strike.
var clapTimes = [...]float64{0, 0.0105, 0.0215, 0.0315}

// Clap is some hands that do not quite clap together, in a room.
type Clap struct {
	sampleRate float64
	noise      Noise
	hands      Decay
	band, body SVF
	times      [len(clapTimes)]int
	since      int
	next       int // clap to come
	strength   float32
	decay      float64
	hertz      float32
}

// Init sets the sample rate and a plain sound.
func (c *Clap) Init(sampleRate float64) {
	rate := rateOr(sampleRate)
	*c = Clap{sampleRate: rate, next: len(clapTimes)}
	for k, s := range clapTimes {
		c.times[k] = int(s * rate)
	}
	c.noise.Init(rate)
	c.hands.Init(rate)
	c.band.Init(rate)
	c.body.Init(rate)
	c.Set(1100, 0.3)
}

// Seed chooses its noise.
func (c *Clap) Seed(seed uint64) { c.noise.Seed(seed) }

// Reset silences it.
func (c *Clap) Reset() {
	c.noise.Reset()
	c.hands.Reset()
	c.band.Reset()
	c.body.Reset()
	c.next = len(c.times)
}

// Set sets the frequency around which it sounds, in hertz, and its T60.
//
// Audio thread.
func (c *Clap) Set(hertz float32, decay float64) {
	c.decay = decay
	if hertz != c.hertz {
		c.hertz = hertz
		c.band.SetHertz(hertz)
		c.band.SetQ(1.4)
		c.body.SetHertz(0.5 * hertz)
		c.body.SetQ(0.7)
	}
}

// Strike strikes it with a strength of 0…1.
//
// Audio thread.
func (c *Clap) Strike(strength float32) { c.since, c.next, c.strength = 0, 0, strength }

// Active tells whether it sounds.
//
// Audio thread.
func (c *Clap) Active() bool { return c.next < len(c.times) || c.hands.Active() }

// Next returns one sample, about ±5 V at full strength.
//
// Audio thread.
func (c *Clap) Next() float32 {
	if !c.Active() {
		return 0
	}
	if c.next < len(c.times) {
		if c.since == c.times[c.next] {
			c.next++
			c.hands.Set(drumRise, 0.022)
			c.hands.Strike(c.strength * UnipolarPeak)
			if c.next == len(c.times) {
				c.hands.Set(drumRise, c.decay)
			}
		}
		c.since++
	}
	y := c.band.BandPass(c.noise.White())
	_, _, y = c.body.Next(y)
	out := y * c.hands.Next() * 0.3
	if !c.Active() {
		c.band.Reset()
		c.body.Reset()
	}
	return out
}
