package rig

import (
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/hardware/calibration"
	"github.com/k8s-synth/k8s-synth/instrument"
)

const (
	// MaxBlock is the longest block that a Case converts, in frames. A device asks for
	// hardware.BlockFrames.
	MaxBlock = 1024
	// rampSeconds is how long a start and an end last: a control voltage of 10 V moves 7 mV a
	// sample, and everything is at rest well within the 50 ms that a device waits.
	rampSeconds = 0.03
)

// Case is a rig while it plays: the hardware.Converter between the engine's volts and the numbers
// of the interface. Its logical outputs are the speakers in the order of the rig's list and then the
// jacks in the order of the file; its inputs are the input jacks.
//
// What is not said to be for the audio thread may be called from any goroutine at any time.
type Case struct {
	rig      *Rig
	rate     float64
	speakers []speaker
	outputs  []*output
	inputs   []*input
	expand   []expansion
	idle     []int // playback channels that nothing is on

	named   map[string]*output
	heard   map[string]*input
	sockets instrument.Sockets

	probe atomic.Pointer[hardware.Probe]
	raw   atomic.Bool
	glide atomic.Pointer[glide] // that was asked for and not seen yet

	// The audio thread's own.
	ramp      int // frames of a start or an end
	level     int // 0 is at rest, ramp is playing
	woken     int // 0 is a device that was just opened and is at 0 V, ramp is one at its safe values
	landing   bool
	rested    int // frames at rest since Land
	glideLeft int
	glideNext glide             // that waits; without frames there is none
	gain      [MaxBlock]float32 // of each frame of the block
	awake     [MaxBlock]float32 // how far its safe value is there, 0…1
	tapOut    [][]float32
	tapIn     [][]float32
}

// speaker is one channel of loudspeakers.
type speaker struct {
	channel int
	scale   float32
	blocker dsp.DCBlocker
	last    float32 // what the engine gave last
}

// output is a jack that is sent to.
type output struct {
	Jack
	low, high, least, most, safe float32
	toScale                      float64

	correct          correction
	sent             atomic.Uint32 // float32 bits
	limited, invalid atomic.Uint64

	convert converter
	gate    dsp.SchmittTrigger
	blocker dsp.DCBlocker
	given   float32 // the engine's last volts that were a number
	glided  float64 // where a glide is
	slewed  float32 // where the slew limit is
	step    float32 // of the slew limit, volts a frame
	wanted  float32 // the last volts before start and end were laid over them
	now     float32 // the last volts that were sent
	y       []float32
}

// input is a jack that is listened to.
type input struct {
	Jack
	toVolts float64

	correct correction
	heard   atomic.Uint32 // float32 bits
	invalid atomic.Uint64

	convert converter
	blocker dsp.DCBlocker
	given   float32
	began   bool // something was captured since Begin
	y       []float32
}

// correction is what a jack's channel is corrected by. Another one comes in evenly.
type correction struct {
	curve atomic.Pointer[calibration.Curve] // that is wanted; nil corrects nothing

	// The audio thread's own. One comes in over whole frames, of which fade are left, from what was
	// sent when it was taken, which is lag from what it makes of that.
	using       *calibration.Curve
	fresh       bool    // nothing was corrected since jump
	given, made float32 // the last volts, and what became of them
	lag         float32
	fade, whole int
}

// maxFade bounds how many frames a correction takes to come in, which a slew limit is far from.
const maxFade = 1 << 30

// jump takes over what is wanted at once: nobody has heard another one.
//
// Audio thread.
func (c *correction) jump() { c.using, c.fade, c.fresh = c.curve.Load(), 0, true }

// take goes over to what is wanted from where it is, which may be on the way to another one. It comes
// in over ramp frames, or over as many as keep its move within half of step volts a frame, 0 for any.
//
// Audio thread.
func (c *correction) take(want *calibration.Curve, ramp int, step float32) {
	if want == c.using {
		return
	}
	if c.using = want; c.fresh {
		return
	}
	c.lag = c.made - want.Correct(c.given)
	c.whole = ramp
	if step > 0 {
		c.whole = max(ramp, int(min(2*max(c.lag, -c.lag)/step+1, maxFade)))
	}
	c.fade = c.whole
}

// pace is how many volts a frame it moves by as a correction comes in.
//
// Audio thread.
func (c *correction) pace() float32 {
	if c.fade == 0 {
		return 0
	}
	return max(c.lag, -c.lag) / float32(c.whole)
}

// process corrects a block of volts. What another correction has left behind fades with gain as well,
// so that a jack comes to rest where it belongs; nil is 1. It tells whether anything was corrected.
//
// Audio thread.
func (c *correction) process(y, gain []float32) bool {
	if len(y) == 0 {
		return false
	}
	c.fresh = false
	last := len(y) - 1
	c.given = y[last]
	if c.using == nil && c.fade == 0 {
		c.made = c.given
		return false
	}
	c.using.ProcessBlock(y)
	n := min(len(y), c.fade)
	for i := range n {
		lag := c.lag * (float32(c.fade-i) / float32(c.whole))
		if gain != nil {
			lag *= gain[i]
		}
		y[i] += lag
	}
	c.fade -= n
	c.made = y[last]
	return true
}

// expansion is an expander while it plays.
type expansion struct {
	*Expander
	jacks  [6][cardSockets]*output
	stream [6]cvStream
}

// NewCase makes the converter of a rig at a sample rate in Hz. What is worth knowing of the rig is
// logged; nil is slog.Default().
func NewCase(r *Rig, rate float64, log *slog.Logger) (*Case, error) {
	if log == nil {
		log = slog.Default()
	}
	if !(rate >= 8000 && rate <= 768000) {
		return nil, fmt.Errorf("rig %s: a sample rate of %g Hz is out of range: use 8000 to 768000", r.Name, rate)
	}
	c := &Case{rig: r, rate: rate, ramp: int(rampSeconds * rate), named: map[string]*output{}, heard: map[string]*input{},
		sockets: instrument.Sockets{Outputs: map[string]int{}, Inputs: map[string]int{}}}
	used := hardware.ChannelSet(0)
	for _, ch := range r.Speakers {
		s := speaker{channel: ch, scale: float32(1 / r.AudioFullScale)}
		s.blocker.Init(rate)
		c.speakers = append(c.speakers, s)
		used |= hardware.Channels(ch)
	}
	for i := range r.Expanders {
		e := &r.Expanders[i]
		c.expand = append(c.expand, expansion{Expander: e})
		used |= hardware.Channels(e.Channels[0], e.Channels[1])
	}
	for i := range r.Outputs {
		j := r.Outputs[i]
		o := &output{Jack: j, low: float32(j.Low), high: float32(j.High), least: float32(j.Min), most: float32(j.Max), safe: float32(j.Safe),
			toScale: scaleOf(j), convert: j.Standard.converter(), step: float32(j.Slew / rate), y: make([]float32, MaxBlock)}
		o.blocker.Init(rate)
		if j.Expander >= 0 {
			c.expand[j.Expander].jacks[j.Header][j.Socket] = o
		} else {
			used |= hardware.Channels(j.Channel)
		}
		c.outputs = append(c.outputs, o)
		c.named[j.Name] = o
		c.sockets.Outputs[j.Name] = len(r.Speakers) + i
		c.tapOut = append(c.tapOut, nil)
	}
	for i := range r.Inputs {
		j := r.Inputs[i]
		in := &input{Jack: j, toVolts: 1 / scaleOf(j), convert: j.Standard.converter(), y: make([]float32, MaxBlock)}
		in.blocker.Init(rate)
		c.inputs = append(c.inputs, in)
		c.heard[j.Name] = in
		c.sockets.Inputs[j.Name] = i
		c.tapIn = append(c.tapIn, in.y[:0])
	}
	for ch := range r.Playback() {
		if !used.Has(ch) {
			c.idle = append(c.idle, ch)
		}
	}
	for _, m := range r.Remarks() {
		log.Warn("rig " + r.Name + ": " + m)
	}
	c.Begin()
	return c, nil
}

// scaleOf is what a volt is on a jack's channel.
func scaleOf(j Jack) float64 {
	if j.Invert {
		return -1 / j.FullScale
	}
	return 1 / j.FullScale
}

// Rig returns what the case was made of. It does not change.
func (c *Case) Rig() *Rig { return c.rig }

// Sockets is which slice of the engine each jack is.
func (c *Case) Sockets() instrument.Sockets { return c.sockets }

// OutputJacks and InputJacks are the jacks in the order of the rig's file, and of hardware.Probe.
func (c *Case) OutputJacks() []Jack { return c.rig.Outputs }

// InputJacks are the jacks that are listened to.
func (c *Case) InputJacks() []Jack { return c.rig.Inputs }

// SetProbe has p told of every block from the next one on; nil ends that.
func (c *Case) SetProbe(p hardware.Probe) {
	if p == nil {
		c.probe.Store(nil)
		return
	}
	c.probe.Store(&p)
}

// Calibrate corrects a jack, an output or an input, from the next block on; nil ends that. While it
// plays, it goes over to its new correction evenly in 30 ms, from wherever it is; an output with a
// slew limit takes as long as that allows for it together with what is played, of which at least half
// goes on. A jack that is not in the rig is an error.
func (c *Case) Calibrate(jack string, curve *calibration.Curve) error {
	if o := c.named[jack]; o != nil {
		o.correct.curve.Store(curve)
		return nil
	}
	if i := c.heard[jack]; i != nil {
		i.correct.curve.Store(curve)
		return nil
	}
	return fmt.Errorf("rig %s has no jack %q", c.rig.Name, jack)
}

// Raw, while it is on, takes the engine's volts for volts at the jacks as the interface's profile
// counts them: no standard of pitch, no gate levels, no slew limit and no correction. Limits hold.
// It is for whoever calibrates.
func (c *Case) Raw(on bool) { c.raw.Store(on) }

// Glide asks that what jacks of role cv and pitch are sent reaches its new value in an even ramp,
// however it jumps within the given time, at most 10 s. It is for a change of scene.
func (c *Case) Glide(seconds float64) { c.GlideAfter(0, seconds) }

// GlideAfter is Glide from a later moment on, in seconds of what is rendered: until then voltages go
// where the engine has them. A later call takes the place of one that waits.
func (c *Case) GlideAfter(wait, seconds float64) {
	if n := int(min(seconds, 10) * c.rate); n > 0 {
		c.glide.Store(&glide{wait: int(max(wait, 0) * c.rate), frames: n})
	}
}

// glide is one that was asked for, in frames.
type glide struct{ wait, frames int }

// Sent is what an output jack was sent last, in volts and in its standard; of an unknown jack it is 0.
func (c *Case) Sent(jack string) (volts float32) {
	if o := c.named[jack]; o != nil {
		return math.Float32frombits(o.sent.Load())
	}
	return 0
}

// Received is what an input jack gave last, in volts and in its standard; of an unknown jack it is 0.
func (c *Case) Received(jack string) (volts float32) {
	if i := c.heard[jack]; i != nil {
		return math.Float32frombits(i.heard.Load())
	}
	return 0
}

// Counters tell how many samples of a jack were held within its limits, and how many were no
// numbers and replaced by the last one that was.
func (c *Case) Counters(jack string) (limited, invalid uint64) {
	if o := c.named[jack]; o != nil {
		return o.limited.Load(), o.invalid.Load()
	}
	if i := c.heard[jack]; i != nil {
		return 0, i.invalid.Load()
	}
	return 0, 0
}

// Shape returns the rig's counts of logical and device channels.
func (c *Case) Shape() (outputs, inputs, playback, capture int) {
	return len(c.speakers) + len(c.outputs), len(c.inputs), c.rig.Playback(), c.rig.Capture()
}

// Hold is every channel that a voltage or words are on.
func (c *Case) Hold() (s hardware.ChannelSet) {
	for _, o := range c.outputs {
		if o.Expander < 0 && o.Role != Audio {
			s |= hardware.Channels(o.Channel)
		}
	}
	return s | c.Exact()
}

// Gates is every channel of a jack that switches: what falls at once where the device itself has to
// bring voltages down.
func (c *Case) Gates() (s hardware.ChannelSet) {
	for _, o := range c.outputs {
		if o.Expander < 0 && o.Role.Switches() {
			s |= hardware.Channels(o.Channel)
		}
	}
	return s
}

// Exact is every channel that an expander is on.
func (c *Case) Exact() hardware.ChannelSet { return c.rig.Exact() }

// Begin lets everything start from rest, which is 0 V, as nobody has sent anything yet: gates are low
// until the voltages beside them have arrived, clocks and triggers pass at once.
//
// Audio thread.
func (c *Case) Begin() {
	c.level, c.woken, c.landing, c.rested, c.glideLeft = 0, 0, false, 0, 0
	for i := range c.speakers {
		c.speakers[i].blocker.Reset()
	}
	for _, o := range c.outputs {
		o.gate.Reset()
		o.blocker.Reset()
		o.slewed, o.wanted, o.now = o.safe, o.safe, o.safe
		o.correct.jump()
	}
	for _, in := range c.inputs {
		in.began = false
	}
	for i := range c.expand {
		c.expand[i].stream = [6]cvStream{}
	}
}

// Land lets everything come to rest: gates are low at once, the rest within 30 ms.
//
// Audio thread.
func (c *Case) Land() { c.landing, c.rested = true, 0 }

// Landed tells whether everything is at rest, and has been sent so.
//
// Audio thread.
func (c *Case) Landed() bool {
	return c.landing && c.level == 0 && c.woken == c.ramp && (c.rested >= 2*cvCycle || len(c.expand) == 0)
}

// In converts what was captured.
//
// Audio thread.
func (c *Case) In(samples, volts [][]float32) {
	raw := c.raw.Load()
	for k, in := range c.inputs {
		s, v := samples[in.Channel], volts[k]
		y := in.y[:len(s)]
		bad, last := 0, in.given
		for i, x := range s {
			w := float32(float64(x) * in.toVolts)
			if w-w != 0 {
				w = last
				bad++
			}
			last, y[i] = w, w
		}
		in.given = last
		if bad > 0 {
			in.invalid.Add(uint64(bad))
		}
		c.tapIn[k] = y
		v = v[:copy(v, y)]
		if !raw {
			if !in.began {
				in.began = true
				in.correct.jump()
			}
			in.correct.take(in.correct.curve.Load(), c.ramp, 0)
			in.correct.process(v, nil)
			switch {
			case in.Role == Pitch:
				in.convert.receive(v)
			case in.DCBlock:
				in.blocker.Process(v)
			}
		}
		if n := len(v); n > 0 {
			in.heard.Store(math.Float32bits(v[n-1]))
		}
	}
}

// Out converts what is to be played.
//
// Audio thread.
func (c *Case) Out(volts, samples [][]float32, words [][]int32) {
	n := 0
	for k := range samples {
		n = max(n, len(samples[k]), len(words[k]))
	}
	if n > MaxBlock {
		panic(fmt.Sprintf("rig: a block of %d frames; at most %d are converted", n, MaxBlock))
	}
	if n == 0 {
		return
	}
	steady := c.levels(n)
	for k := range c.speakers {
		var v []float32
		if volts != nil {
			v = volts[k]
		}
		c.speak(&c.speakers[k], v, samples[c.speakers[k].channel][:n], steady)
	}
	if g := c.glide.Swap(nil); g != nil {
		c.glideNext = *g
	}
	if c.glideNext.frames > 0 {
		if c.glideNext.wait < n {
			c.glideLeft, c.glideNext.frames = c.glideNext.frames, 0
			for _, o := range c.outputs {
				o.glided = float64(o.wanted)
			}
		}
		c.glideNext.wait -= n
	}
	raw := c.raw.Load()
	gain := c.gain[:n]
	if steady {
		gain = nil
	}
	for k, o := range c.outputs {
		o.take(raw, steady, c.ramp)
		var v []float32
		if volts != nil {
			v = volts[len(c.speakers)+k]
		}
		c.shape(o, v, o.y[:n], raw, steady)
		c.tapOut[k] = o.y[:n]
	}
	c.glideLeft = max(c.glideLeft-n, 0)
	if p := c.probe.Load(); p != nil {
		c.tap(*p, n)
	}
	for _, o := range c.outputs {
		o.finish(o.y[:n], gain)
		if o.Expander < 0 {
			s := samples[o.Channel][:n]
			for i, v := range o.y[:n] {
				s[i] = float32(float64(v) * o.toScale)
			}
		}
	}
	for i := range c.expand {
		c.expand[i].encode(words, n)
	}
	for _, ch := range c.idle {
		clear(samples[ch])
	}
}

// levels fills gain for a block and tells whether it is 1 throughout.
//
// Audio thread.
func (c *Case) levels(n int) (steady bool) {
	if !c.landing && c.level == c.ramp && c.woken == c.ramp {
		return true
	}
	for i := range n {
		c.awake[i] = float32(c.woken) / float32(c.ramp)
		c.woken = min(c.woken+1, c.ramp)
		if c.landing {
			if c.level > 0 {
				c.level--
			} else {
				c.rested++
			}
		}
		c.gain[i] = float32(c.level) / float32(c.ramp)
		if !c.landing && c.level < c.ramp {
			c.level++
		}
	}
	return false
}

// speak sends sound to loudspeakers: without DC, and faded at both ends.
//
// Audio thread.
func (c *Case) speak(s *speaker, volts, out []float32, steady bool) {
	if volts == nil {
		for i := range out {
			out[i] = s.last
		}
	} else {
		copy(out, volts)
		s.last = dsp.Finite(out[len(out)-1])
	}
	s.blocker.Process(out)
	for i := range out {
		out[i] *= s.scale
	}
	if !steady {
		for i := range out {
			out[i] *= c.gain[i]
		}
	}
}

// shape makes the volts of a jack of what the engine gives for it.
//
// Audio thread.
func (c *Case) shape(o *output, volts, y []float32, raw, steady bool) {
	last, bad := o.given, 0
	if volts == nil {
		for i := range y {
			y[i] = last
		}
	}
	for i, v := range volts {
		if v-v != 0 {
			v = last
			bad++
		}
		last, y[i] = v, v
	}
	o.given = last
	if bad > 0 {
		o.invalid.Add(uint64(bad))
	}
	if !raw {
		switch o.Role {
		case Pitch:
			o.convert.send(y)
		case Gate, Trigger, Clock:
			c.switches(o, y, steady)
		case Audio:
			if o.DCBlock {
				o.blocker.Process(y)
			}
		}
	}
	o.limit(y)
	if c.glideLeft > 0 && (o.Role == CV || o.Role == Pitch) && !raw {
		o.glideTo(y, c.glideLeft)
	}
	if o.step > 0 && !raw {
		o.slewTo(y, o.step-o.correct.pace())
	}
	o.wanted = y[len(y)-1]
	if raw {
		o.slewed = o.wanted
	}
	if steady || o.Role.Switches() && !raw {
		return
	}
	for i, v := range y {
		if g := c.gain[i]; g != 1 { // as it is, to the last bit
			rest := o.safe * c.awake[i]
			y[i] = rest + (v-rest)*g
		}
	}
}

// switches turns a block into the two levels of a gate.
//
// Audio thread.
func (c *Case) switches(o *output, y []float32, steady bool) {
	for i, v := range y {
		o.gate.Next(v)
		y[i] = o.low
		if o.gate.High() && !c.landing && (steady || o.Role != Gate || c.gain[i] == 1) {
			y[i] = o.high
		}
	}
}

// limit holds a block within the jack's limits and counts what was beyond.
//
// Audio thread.
func (o *output) limit(y []float32) {
	over := 0
	for i, v := range y {
		switch {
		case v > o.most:
			y[i] = o.most
			over++
		case v < o.least:
			y[i] = o.least
			over++
		}
	}
	if over > 0 {
		o.limited.Add(uint64(over))
	}
}

// glideTo goes to the values of a block so that it is there when left frames have passed.
//
// Audio thread.
func (o *output) glideTo(y []float32, left int) {
	for i := range y[:min(len(y), left)] {
		o.glided += (float64(y[i]) - o.glided) / float64(left-i)
		y[i] = float32(o.glided)
	}
}

// slewTo follows a block by no more than step volts a frame.
//
// Audio thread.
func (o *output) slewTo(y []float32, step float32) {
	s := o.slewed
	for i, v := range y {
		switch d := v - s; {
		case d > step:
			s += step
		case d < -step:
			s -= step
		default:
			s = v
		}
		y[i] = s
	}
	o.slewed = s
}

// probeRoom is what an output that is probed keeps from its limits, in volts: more than any probe
// adds.
const probeRoom = 0.001

// tap shows the block to a probe.
//
// Audio thread.
func (c *Case) tap(p hardware.Probe, n int) {
	for k, in := range c.inputs {
		if len(c.tapIn[k]) != n { // nothing was captured
			clear(in.y[:n])
			c.tapIn[k] = in.y[:n]
		}
	}
	// What a probe adds must fit: an output at its limit would let only half of it through.
	for _, o := range c.outputs {
		for i, v := range o.y[:n] {
			o.y[i] = min(max(v, o.least+probeRoom), o.most-probeRoom)
		}
	}
	p.Tap(c.tapOut, c.tapIn)
	for k, o := range c.outputs {
		for i, v := range c.tapOut[k] {
			switch {
			case v > o.most:
				o.y[i] = o.most
			case v < o.least:
				o.y[i] = o.least
			case v != v:
				o.y[i] = o.now
			}
		}
	}
}

// take goes over to the correction that is wanted. It waits for the start, and what comes to rest
// keeps the one it has.
//
// Audio thread.
func (o *output) take(raw, steady bool, ramp int) {
	switch {
	case !steady && !o.correct.fresh:
	case raw:
		o.correct.take(nil, ramp, 0)
	default:
		o.correct.take(o.correct.curve.Load(), ramp, o.step)
	}
}

// finish notes what is sent and corrects it for what the channel makes of it. Gain is that of a start
// or an end; nil is neither.
//
// Audio thread.
func (o *output) finish(y, gain []float32) {
	o.now = y[len(y)-1]
	o.sent.Store(math.Float32bits(o.now))
	if !o.Role.Switches() && o.correct.process(y, gain) {
		o.limit(y)
	}
}

// encode makes the words of an expander's two channels.
//
// Audio thread.
func (e *expansion) encode(words [][]int32, n int) {
	left, right := words[e.Channels[0]], words[e.Channels[1]]
	var bytes [6]byte
	var volts [cardSockets]float32
	for i := range n {
		for h := range e.Frame.Headers() {
			if !e.Fitted[h] {
				continue
			}
			switch e.Cards[h] {
			case Gates:
				b := byte(0)
				for k, o := range e.jacks[h] {
					if o != nil && o.y[i] > (o.low+o.high)/2 {
						b |= 1 << k
					}
				}
				bytes[h] = b
			case CVs:
				for k, o := range e.jacks[h] {
					if o != nil {
						volts[k] = o.y[i]
					} else {
						volts[k] = 0
					}
				}
				bytes[h] = e.stream[h].next(&volts)
			}
		}
		left[i], right[i] = e.Frame.words(&bytes)
	}
}
