package dsp

// Process filters a block in place, faster than Next and within rounding equal
// to it.
//
// Audio thread.
func (d *DCBlocker) Process(block []float32) {
	p := &d.pole
	// The state alone is what each sample waits for.
	keep, take, through := 1-2*p.gain, 2*p.gain, 1-p.gain
	s := p.state
	for i, v := range block {
		x := float64(Finite(v))
		block[i] = float32((x - s) * through)
		if s = s*keep + x*take; s < tiny && s > -tiny {
			s = 0
		}
	}
	p.state = s
}

// Silent tells whether nothing but 0 comes out as long as nothing but 0 comes
// in.
//
// Audio thread.
func (d *DCBlocker) Silent() bool { return d.pole.state == 0 }
