package dsp

// Panner places a mono signal between two loudspeakers at equal power: 3 dB
// down on both in the middle.
type Panner struct {
	position    Ramp
	left, right float32
}

// Init sets the sample rate and the middle.
func (p *Panner) Init(sampleRate float64) {
	p.position.Init(sampleRate)
	p.position.SetSeconds(0.02)
	p.update(0)
}

// Reset ends a movement.
func (p *Panner) Reset() {
	p.position.Reset()
	p.update(p.position.Value())
}

// SetSeconds sets how long the movements to come take.
//
// Audio thread.
func (p *Panner) SetSeconds(seconds float64) { p.position.SetSeconds(seconds) }

// Set begins to move to a position from -1 (left) to 1 (right).
//
// Audio thread.
func (p *Panner) Set(position float32) {
	if position == position {
		p.position.Set(max(-1, min(1, position)))
		if !p.position.Moving() {
			p.update(p.position.Value())
		}
	}
}

// Jump places the signal at once.
//
// Audio thread.
func (p *Panner) Jump(position float32) {
	if position == position {
		position = max(-1, min(1, position))
		p.position.Jump(position)
		p.update(position)
	}
}

func (p *Panner) update(position float32) {
	cycles := (position + 1) * 0.125
	p.left = SineCycles(0.25 + cycles)
	p.right = SineCycles(cycles)
}

// Next places one sample.
//
// Audio thread.
func (p *Panner) Next(in float32) (left, right float32) {
	if p.position.Moving() {
		p.update(p.position.Next())
	}
	in = Finite(in)
	return in * p.left, in * p.right
}
