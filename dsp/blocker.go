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

// ProcessPair filters the two sides of a stereo block, each as Process does,
// in less time than one after the other: neither waits for its own state.
//
// Audio thread.
func ProcessPair(d, e *DCBlocker, left, right []float32) {
	p, q := &d.pole, &e.pole
	keep, take, through := 1-2*p.gain, 2*p.gain, 1-p.gain
	s, t := p.state, q.state
	right = right[:len(left)]
	for i, v := range left {
		x, y := float64(Finite(v)), float64(Finite(right[i]))
		left[i], right[i] = float32((x-s)*through), float32((y-t)*through)
		if s = s*keep + x*take; s < tiny && s > -tiny {
			s = 0
		}
		if t = t*keep + y*take; t < tiny && t > -tiny {
			t = 0
		}
	}
	p.state, q.state = s, t
}

// ProcessBandPass replaces a block by its band-pass with unit gain at the
// centre, at steady settings: faster than BandPass and equal to it for usable
// voltages.
//
// Audio thread.
func (f *SVF) ProcessBandPass(block []float32) {
	a1, a2, a3, band, low := f.a1, f.a2, f.a3, f.band, f.low
	k := f.k
	for i, in := range block {
		v3 := Finite(in) - low
		y1 := a1*band + a2*v3
		y2 := low + a2*band + a3*v3
		band, low = flush(2*y1-band), flush(2*y2-low)
		block[i] = y1 * k
	}
	if !(band < svfStateBound && band > -svfStateBound && low < svfStateBound && low > -svfStateBound) {
		band, low = 0, 0
	}
	f.band, f.low = band, low
}

// Silent tells whether nothing but 0 comes out as long as nothing but 0 comes
// in.
//
// Audio thread.
func (d *DCBlocker) Silent() bool { return d.pole.state == 0 }
