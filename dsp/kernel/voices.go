package kernel

import (
	"math"
	"math/bits"

	"github.com/k8s-synth/k8s-synth/dsp"
)

const (
	// Lanes is how many voices a bank holds: as many as a polyphonic cable
	// has channels, and as many float32 as an AVX-512 register.
	Lanes = 16
	// Period is the control period in frames, over which frequencies rest,
	// and coefficients and gains move on straight lines.
	Period = 16
	// Latency of the oscillators in frames, half the length of a residual. It
	// is one period: a step is known a whole period before it is heard.
	Latency = dsp.OscillatorLatency

	taps    = 2 * Latency
	chunk   = 8          // samples that are written at once
	span    = 4 * Period // of a ring of samples under way
	rowSize = span + chunk
	phases  = 128 // rows of the residual tables
)

// A period must be half a residual, or a step would come too late or reach
// beyond its row.
var (
	_ [0]struct{} = [Latency - Period]struct{}{}
	_ [0]struct{} = [len(dsp.ResidualTable{}) - phases - 1]struct{}{}
)

const (
	topPitch  = 0.49 // of the sample rate: of oscillators and filters alike
	leastPole = 0.005
	// silence is the level under which a voice that fades out has ended,
	// −100 dB.
	silence = 1e-5
	// A filter state below stateFloor becomes 0, so that none ever reaches
	// the denormal numbers; one above stateTop, which no setting reaches by
	// itself, becomes 0 as well.
	stateFloor = 1e-18
	stateTop   = 1e5
)

// A value of each voice.
type (
	lanes  = [Lanes]float32
	counts = [Lanes]int32
)

// bank is the state of sixteen voices, in the order in which the assembly
// walks through it. It holds no pointers.
type bank struct {
	// Oscillators. Phases are those that are heard, which lag one period
	// behind the steps that are already in the ring; they are stored plus
	// half a cycle, so that as signed numbers they are the saw itself.
	phase  [2]counts
	inc    [2]counts // of the period that is heard
	next   [2]counts // of the period after it
	lead   [2]counts // phase after the heard period, plus half a cycle
	hertz  [2]lanes
	inv    [2]lanes // rows of a residual table per unit of phase
	scale  [2]lanes // volts per unit of phase
	size   [2]lanes // of a residual: base + slope·next
	base   [2]lanes
	slope  [2]lanes
	cutoff lanes // Hz
	damp   lanes // 1/Q
	// Filter: band' = a·band + b·t, low' = low + b·band + c·t, where t is the
	// input minus low; each coefficient with its change a frame and its goal.
	a, b, c        lanes
	da, db, dc     lanes
	ga, gb, gc     lanes
	band, low      lanes
	level          lanes
	to, share      lanes // where the level goes, and its share of the way a frame
	top            lanes // at which an attack ends,
	then, thenWith lanes // and where the level goes from there
	gain           [2]lanes
	dgain          [2]lanes
	ggain          [2]lanes
	want           [2]lanes // gains asked for

	wave [Period]lanes // residuals of this period, by frame
	// Samples under way, with room for the chunk that begins in the ring and
	// ends behind it.
	ring [Lanes][rowSize]float32

	// Constants of the sample rate and the waveform.
	toInc, toPhase float32
	lowest         float32 // phase of the lowest cutoff
	at             int32   // start of this period in the ring
}

// Sum collects voices of one or more banks. Its zero value is silence.
type Sum struct {
	left, right [Period]lanes
}

// Voices is a bank of sixteen voices, each of two band-limited oscillators, a
// resonant low-pass, a level and a place between two loudspeakers.
//
// Time runs in control periods. At the start of each the owner sets what has
// changed and calls Begin; then it renders the period's 16 frames in any
// number of pieces. The pieces do not change the result by a bit. Levels may
// change between any two pieces, and voices start.
type Voices struct {
	bank   *bank
	extra  [Period]lanes // what joins each voice behind its level, by frame
	sum    Sum           // of Process
	has    uint16        // lanes with an extra
	sounds uint16        // lanes that sound
	pos    int           // frames rendered of this period
	rate   float64
	shape  dsp.Waveform
	mix    [2]lanes
	start  [2][Lanes]uint32
	hertz  [2]lanes // the bank's are 0 while a voice is silent
	env    [Lanes]envelope
	attack uint16 // lanes whose level has a top
	// How many periods to come have something new: frequencies the next;
	// coefficients and gains are on their way for one and at rest after it.
	pitches, filters, gains uint8
	scalar                  bool // for tests and measurement: the twin in Go
}

// envelope is an ADSR as the shares of the way that each segment covers in a
// frame.
type envelope struct{ attack, decay, release, sustain float32 }

// Init sets the sample rate, between 8 and 768 kHz: saws, 2.5 V each, an open
// filter, the middle of the stereo field, silence. It allocates.
func (v *Voices) Init(sampleRate float64) {
	if !(sampleRate >= 8000 && sampleRate <= 768000) {
		sampleRate = 48000
	}
	*v = Voices{rate: sampleRate, bank: new(bank), scalar: !fast}
	b := v.bank
	b.toInc = float32(1 << 32 / sampleRate)
	b.toPhase = float32(math.Pi / sampleRate)
	b.lowest = b.toPhase
	for l := range Lanes {
		v.SetMix(l, dsp.AudioPeak/2, dsp.AudioPeak/2)
		v.SetFilter(l, 12000, 0.5)
		v.SetPan(l, math.Sqrt2/2, math.Sqrt2/2)
		v.SetEnvelope(l, 0.005, 0.2, 0.7, 0.3)
	}
	v.Reset()
}

// Reset silences all voices. Settings stay.
//
// Audio thread.
func (v *Voices) Reset() {
	for l := range Lanes {
		v.Stop(l)
	}
	v.pos, v.bank.at = Period, 0
	v.has = 0
	v.extra = [Period]lanes{}
}

// SetWaveform chooses the shape of all oscillators: saw, triangle or sine. It
// steps: whoever changes it while voices sound fades them first.
//
// Audio thread.
func (v *Voices) SetWaveform(w dsp.Waveform) {
	if w == v.shape || w == dsp.Pulse || w > dsp.SineWave {
		return
	}
	v.shape = w
	for l := range Lanes {
		v.SetMix(l, v.mix[0][l], v.mix[1][l])
		if v.sounds>>l&1 != 0 {
			v.roll(l)
		}
	}
}

// SetMix sets the peak of each oscillator of a voice in volts, bounded to
// ±10 V. Set it while the voice is silent: it steps.
//
// Audio thread.
func (v *Voices) SetMix(lane int, first, second float32) {
	b := v.bank
	for o, volts := range [2]float32{first, second} {
		volts = bound(volts, -10, 10)
		v.mix[o][lane] = volts
		v.pitches = 1
		// The filter adds two states where their mean is meant, so each
		// oscillator has half its size.
		half := 0.5 * volts
		b.scale[o][lane], b.base[o][lane], b.slope[o][lane] = half*(1.0/(1<<31)), 0, 0
		switch v.shape {
		case dsp.Saw:
			b.base[o][lane] = -2 * half
		case dsp.Triangle:
			// Four peaks a cycle, which the corner turns round.
			b.slope[o][lane] = 8 * half * (1.0 / (1 << 32))
		case dsp.SineWave:
			b.scale[o][lane] = half
		}
	}
}

// SetPhase sets where in its cycle, 0…1, an oscillator begins with Start.
//
// Audio thread.
func (v *Voices) SetPhase(lane, oscillator int, cycles float32) {
	c := float64(bound(cycles, -1e6, 1e6))
	v.start[oscillator][lane] = uint32(int64((c - math.Floor(c)) * (1 << 32)))
}

// Phase is where an oscillator is in its cycle as it is heard, 0…1.
//
// Audio thread.
func (v *Voices) Phase(lane, oscillator int) float32 {
	return float32(uint32(v.bank.phase[oscillator][lane])^1<<31) * (1.0 / (1 << 32))
}

// SetHertz sets the frequency of one oscillator from the next period on,
// bounded to 0…0.49 of the sample rate; NaN stands still. Its change is heard
// after Latency, as that of any band-limited oscillator.
//
// Audio thread.
func (v *Voices) SetHertz(lane, oscillator int, hertz float32) {
	v.hertz[oscillator][lane] = hertz
	if h := &v.bank.hertz[oscillator][lane]; *h != hertz && v.Sounds(lane) {
		*h, v.pitches = hertz, 1
	}
}

// SetFilter sets the cutoff of the low-pass, bounded to 1 Hz…0.49 of the
// sample rate, and its quality factor, 0.5…200. The coefficients move there
// on a straight line over the next period.
//
// Audio thread.
func (v *Voices) SetFilter(lane int, hertz, q float32) {
	if !(q > 0.5) {
		q = 0.5
	}
	if k := max(1/q, leastPole); k != v.bank.damp[lane] {
		v.bank.damp[lane], v.filters = k, 2
	}
	v.SetCutoff(lane, hertz)
}

// SetCutoff is SetFilter with the quality as it is.
//
// Audio thread.
func (v *Voices) SetCutoff(lane int, hertz float32) {
	if h := &v.bank.cutoff[lane]; *h != hertz {
		*h, v.filters = hertz, 2
	}
}

// SetLevel sends the level of a voice to a value, 0…4, by a share (0…1) of
// the remaining way with each frame, from the next frame on. A voice that is
// sent to 0 ends once it is 100 dB down. A voice that is silent has to be
// started first.
//
// Audio thread.
func (v *Voices) SetLevel(lane int, to, share float32) {
	if !v.Sounds(lane) {
		return
	}
	b := v.bank
	b.to[lane], b.share[lane] = bound(to, 0, 4), bound(share, 0, 1)
	b.top[lane] = float32(math.Inf(1))
	v.attack &^= 1 << lane
}

// Level is the present level of a voice.
//
// Audio thread.
func (v *Voices) Level(lane int) float32 { return v.bank.level[lane] }

// attackConstants is how many time constants an attack lasts, as in dsp.ADSR.
const attackConstants = 1.5

// SetEnvelope sets the times in seconds and the sustain level (0…1) of the
// envelope that Gate plays. Its curves are those of dsp.ADSR: the attack ends
// at 1 after its time; decay and release have a thousandth of their way left.
//
// Audio thread.
func (v *Voices) SetEnvelope(lane int, attack, decay, sustain, release float32) {
	share := func(seconds float32, constants float64) float32 {
		n := float64(bound(seconds, 0, 3600)) * v.rate
		if n < 1 {
			return 1
		}
		return float32(-math.Expm1(-constants / n))
	}
	v.env[lane] = envelope{share(attack, attackConstants), share(decay, 3*math.Ln10), share(release, 3*math.Ln10), bound(sustain, 0, 1)}
}

// Gate opens or closes the envelope of a voice from the next frame on. One
// that was silent starts.
//
// Audio thread.
func (v *Voices) Gate(lane int, high bool) {
	e := &v.env[lane]
	if !high {
		v.SetLevel(lane, 0, e.release)
		return
	}
	v.Start(lane)
	b := v.bank
	b.to[lane], b.share[lane] = attackGoal, e.attack
	b.top[lane], b.then[lane], b.thenWith[lane] = 1, e.sustain, e.decay
	v.attack |= 1 << lane
}

// attackGoal is what an attack aims at so that it is at 1 after its time.
var attackGoal = float32(1 / -math.Expm1(-attackConstants))

// SetPan sets the gains of a voice to the left and the right, bounded to ±4;
// they move there on a straight line over the next period.
//
// Audio thread.
func (v *Voices) SetPan(lane int, left, right float32) {
	b := v.bank
	left, right = bound(left, -4, 4), bound(right, -4, 4)
	if left == b.want[0][lane] && right == b.want[1][lane] {
		return
	}
	b.want[0][lane], b.want[1][lane] = left, right
	v.gains = 2
	v.arrive(lane)
}

// Sounds tells whether a voice has been started and has not ended.
//
// Audio thread.
func (v *Voices) Sounds(lane int) bool { return v.sounds>>lane&1 != 0 }

// Start begins a voice that is silent with the next frame, at the frequency
// that was set and as if its oscillators had always run, from the phases of
// SetPhase; its level is 0 until SetLevel or Gate. One that sounds goes on.
//
// Audio thread.
func (v *Voices) Start(lane int) {
	if v.Sounds(lane) {
		return
	}
	v.sounds |= 1 << lane
	v.pitches = 1
	b := v.bank
	for o := range 2 {
		b.hertz[o][lane] = v.hertz[o][lane]
		inc := increment(b.hertz[o][lane], b.toInc)
		b.inc[o][lane], b.next[o][lane] = inc, inc
		b.phase[o][lane] = int32(v.start[o][lane] ^ 1<<31)
	}
	a, bb, c := coefficients(b.cutoff[lane], b.damp[lane], b.toPhase, b.lowest)
	b.a[lane], b.ga[lane], b.da[lane] = a, a, 0
	b.b[lane], b.gb[lane], b.db[lane] = bb, bb, 0
	b.c[lane], b.gc[lane], b.dc[lane] = c, c, 0
	b.band[lane], b.low[lane] = 0, 0
	v.roll(lane)
}

// Stop ends a voice at once. Unless its level is 0 this clicks.
//
// Audio thread.
func (v *Voices) Stop(lane int) {
	b := v.bank
	v.sounds &^= 1 << lane
	for o := range 2 {
		b.hertz[o][lane], b.inc[o][lane], b.next[o][lane] = 0, 0, 0
	}
	b.band[lane], b.low[lane], b.level[lane], b.to[lane] = 0, 0, 0, 0
	b.top[lane] = float32(math.Inf(1))
	v.attack &^= 1 << lane
	clear(b.ring[lane][:])
	for f := range b.wave {
		b.wave[f][lane] = 0
	}
	v.arrive(lane)
}

// arrive puts a lane that nothing is heard of at its place. Audio thread.
func (v *Voices) arrive(lane int) {
	if (v.sounds|v.has)>>lane&1 != 0 {
		return
	}
	b := v.bank
	for k := range b.gain {
		b.gain[k][lane], b.ggain[k][lane], b.dgain[k][lane] = b.want[k][lane], b.want[k][lane], 0
	}
}

// roll fills a voice's samples under way as if its oscillators had always run
// at their present frequency. Audio thread.
func (v *Voices) roll(lane int) {
	b := v.bank
	clear(b.ring[lane][:])
	// Steps of the last, of this and of the coming period are still heard.
	for p := range uint32(3) {
		at := (int(b.at) + span - 3*Period + int(p)*Period) % span
		if at == 0 {
			b.fold(lane)
		}
		for o := range 2 {
			inc := uint32(b.inc[o][lane])
			phase := uint32(b.phase[o][lane]) ^ 1<<31 + (p-1)*Period*inc - uint32(v.pos)*inc
			inv := phases / max(float32(inc), 1)
			size := b.base[o][lane] + float32(b.slope[o][lane]*float32(inc))
			v.steps(lane, at, phase, inc, inv, size)
		}
		b.take(lane, at)
	}
}

// steps adds the residuals of one oscillator's shape over a period. Audio
// thread.
func (v *Voices) steps(lane, at int, phase, inc uint32, inv, size float32) {
	ring := &v.bank.ring[lane]
	switch v.shape {
	case dsp.Saw:
		residuals(ring, at, stepTable, phase, inc, inv, size)
	case dsp.Triangle:
		residuals(ring, at, cornerTable, phase, inc, inv, size)
		residuals(ring, at, cornerTable, phase+1<<31, inc, inv, -size)
	}
}

var (
	stepTable   = dsp.StepResidual()
	cornerTable = dsp.CornerResidual()
)

// Extra is where sounds other than the oscillators join a voice, by frame of
// this period and lane: behind the level, before the place. Write the frames
// to come of lanes that are named in HasExtra, and of those only.
//
// Audio thread.
func (v *Voices) Extra() *[Period][Lanes]float32 {
	return &v.extra
}

// HasExtra says which lanes of Extra are to be heard from now on; those that
// were and are no more are cleared.
//
// Audio thread.
func (v *Voices) HasExtra(mask uint16) {
	gone := v.has &^ mask
	v.has = mask
	for ; gone != 0; gone &= gone - 1 {
		l := bits.TrailingZeros16(gone)
		for f := range v.extra {
			v.extra[f][l] = 0
		}
		v.arrive(l)
	}
}

// Left is how many frames of the period are still to be rendered; at 0 it is
// time for Begin.
//
// Audio thread.
func (v *Voices) Left() int { return Period - v.pos }

// Begin starts a control period with what has been set.
//
// Audio thread.
func (v *Voices) Begin() {
	v.pos = 0
	if v.sounds == 0 && v.has == 0 {
		return
	}
	b := v.bank
	// What is new lasts a period for pitches, and for what moves on straight
	// lines one more, in which it is at rest again.
	what := 0
	if v.pitches|v.filters|v.gains != 0 {
		if v.pitches > 0 {
			v.pitches--
			what |= newPitches
		}
		if v.filters > 0 {
			v.filters--
			what |= newFilters
		}
		if v.gains > 0 {
			v.gains--
			what |= newGains
		}
	}
	var ended uint16
	if v.scalar {
		ended = b.prepare(what)
		// Step by step as in the assembly, for the sums to be the same.
		for corner := range 2 {
			for o := range 2 {
				for l := range Lanes {
					phase, inc := uint32(b.lead[o][l])^1<<31, uint32(b.next[o][l])
					switch {
					case v.shape == dsp.Saw && corner == 0:
						residuals(&b.ring[l], int(b.at), stepTable, phase, inc, b.inv[o][l], b.size[o][l])
					case v.shape == dsp.Triangle && corner == 0:
						residuals(&b.ring[l], int(b.at), cornerTable, phase, inc, b.inv[o][l], b.size[o][l])
					case v.shape == dsp.Triangle:
						residuals(&b.ring[l], int(b.at), cornerTable, phase+1<<31, inc, b.inv[o][l], -b.size[o][l])
					}
				}
			}
		}
		for l := range Lanes {
			b.take(l, int(b.at))
		}
	} else {
		ended = beginFast(b, v.shape, what)
	}
	b.at = (b.at + Period) & (span - 1)
	for ended &= v.sounds; ended != 0; ended &= ended - 1 {
		v.Stop(bits.TrailingZeros16(ended))
	}
	for on := v.attack; on != 0; on &= on - 1 {
		if l := bits.TrailingZeros16(on); b.to[l] == b.then[l] {
			v.attack &^= 1 << l
			b.top[l] = float32(math.Inf(1))
		}
	}
}

// AddTo renders the next n frames, at most Left, and adds them to a sum.
//
// Audio thread.
func (v *Voices) AddTo(s *Sum, n int) {
	n = max(min(n, Period-v.pos), 0)
	from := v.pos
	v.pos += n
	if n == 0 || v.sounds == 0 && v.has == 0 {
		return
	}
	// At rest means nothing but oscillators, filters and levels that move.
	rest := v.filters|v.gains == 0 && v.attack == 0 && v.has == 0
	if v.scalar {
		v.bank.run(s, &v.extra, v.shape, from, n, v.sounds|v.has)
	} else {
		runFast(v.bank, s, &v.extra, v.shape, from, n, v.sounds|v.has, rest)
	}
}

// Stereo adds the sum to left and right, which have the length of what was
// added to it, at most Period, and clears it.
//
// Audio thread.
func (s *Sum) Stereo(left, right []float32) {
	n := min(len(left), len(right), Period)
	if fast {
		stereoFast(s, left[:n], right[:n])
		return
	}
	s.stereo(left[:n], right[:n])
}

// Process renders the next frames, at most Left, and adds them to left and
// right.
//
// Audio thread.
func (v *Voices) Process(left, right []float32) {
	if v.sounds|v.has == 0 {
		v.pos = min(v.pos+min(len(left), len(right)), Period)
		return
	}
	n := min(len(left), len(right), Period-v.pos)
	v.AddTo(&v.sum, n)
	v.sum.Stereo(left[:n], right[:n])
}

// bound limits a setting; NaN gives the lower end.
func bound(v, low, high float32) float32 {
	if !(v > low) {
		return low
	}
	return min(v, high)
}
