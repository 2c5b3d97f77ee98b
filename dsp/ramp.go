package dsp

// Ramp moves a parameter to its target on a straight line of fixed length, so
// that a knob never steps. Its unit is that of the parameter.
type Ramp struct {
	sampleRate float64
	target     float32
	step       float32
	left       int32
	length     int32
}

// defaultRampSeconds is long enough to hide a step in level and short enough
// to feel immediate under a finger.
const defaultRampSeconds = 0.005

// rampBound is beyond any parameter in any unit.
const rampBound float32 = 1e9

// Init sets the sample rate, a length of 5 ms, and the value 0.
func (r *Ramp) Init(sampleRate float64) {
	*r = Ramp{sampleRate: rateOr(sampleRate)}
	r.SetSeconds(defaultRampSeconds)
}

// Reset ends a movement at its target.
func (r *Ramp) Reset() { r.left = 0 }

// SetSeconds sets the length of movements that begin from now on.
//
// Audio thread.
func (r *Ramp) SetSeconds(seconds float64) {
	r.length = int32(SecondsToSamples(seconds, r.sampleRate))
}

// Set begins a movement from the present value to target. NaN and what lies
// beyond ±1e9 is ignored.
//
// Audio thread.
func (r *Ramp) Set(target float32) {
	if target == r.target || !(target >= -rampBound && target <= rampBound) {
		return
	}
	if r.length <= 0 {
		r.target, r.left = target, 0
		return
	}
	now := r.Value()
	r.target = target
	r.step = (target - now) / float32(r.length)
	r.left = r.length
}

// Jump sets the value at once, for starts and loads. NaN and what lies beyond
// ±1e9 is ignored.
//
// Audio thread.
func (r *Ramp) Jump(value float32) {
	if value >= -rampBound && value <= rampBound {
		r.target, r.left = value, 0
	}
}

// Moving tells whether the next samples differ, so that a caller can take a
// constant path when they do not.
//
// Audio thread.
func (r *Ramp) Moving() bool { return r.left > 0 }

// Value is the present value.
//
// Audio thread.
func (r *Ramp) Value() float32 {
	if r.left == 0 {
		return r.target
	}
	return r.target - r.step*float32(r.left)
}

// Target is where the ramp is going.
//
// Audio thread.
func (r *Ramp) Target() float32 { return r.target }

// Next moves by one sample and returns the value, exactly the target at the
// end.
//
// Audio thread.
func (r *Ramp) Next() float32 {
	if r.left == 0 {
		return r.target
	}
	r.left--
	return r.target - r.step*float32(r.left)
}
