package hardware

// plain is the Converter of Settings alone: every output is the channel of its number, and a volt is
// one part of FullScale or CVFullScale.
type plain struct {
	out, in []float32 // full scale per volt, and volts at full scale
	cv      ChannelSet
	gate    ChannelSet
	last    []float32
	total   int // frames of the landing
	left    int
	landing bool
}

func newPlain(s Settings) *plain {
	p := &plain{cv: s.CV | s.Gate, gate: s.Gate, total: int(float64(s.Rate) * fadeTime.Seconds())}
	p.out, p.in, p.last = make([]float32, s.Channels), make([]float32, s.Capture), make([]float32, s.Channels)
	volts := func(c int) float64 {
		if p.cv.Has(c) {
			return s.CVFullScale
		}
		return s.FullScale
	}
	for c := range p.out {
		p.out[c] = float32(1 / volts(c))
	}
	for c := range p.in {
		p.in[c] = float32(volts(c))
	}
	return p
}

func (p *plain) Shape() (outputs, inputs, playback, capture int) {
	return len(p.out), len(p.in), len(p.out), len(p.in)
}
func (p *plain) Hold() ChannelSet  { return p.cv }
func (p *plain) Exact() ChannelSet { return 0 }
func (p *plain) Gates() ChannelSet { return p.gate }

// Begin does nothing: the renderer's own values are what goes out.
func (p *plain) Begin() {}

// Out scales; while it lands, gates are low, and all else fades in a straight line.
func (p *plain) Out(volts [][]float32, samples [][]float32, _ [][]int32) {
	for c, s := range samples {
		if volts == nil {
			for i := range s {
				s[i] = p.last[c]
			}
		} else {
			k, v := p.out[c], volts[c][:len(s)]
			for i := range s {
				s[i] = v[i] * k
			}
			p.last[c] = s[len(s)-1]
		}
		if !p.landing {
			continue
		}
		if p.gate.Has(c) {
			clear(s)
			continue
		}
		for i := range s {
			s[i] *= float32(max(p.left-i, 0)) / float32(p.total)
		}
	}
	if p.landing {
		p.left -= BlockFrames
	}
}

func (p *plain) In(samples [][]float32, volts [][]float32) {
	for c, s := range samples {
		k, v := p.in[c], volts[c][:len(s)]
		for i := range s {
			v[i] = s[i] * k
		}
	}
}

func (p *plain) Land() {
	if !p.landing {
		p.landing, p.left = true, p.total
	}
}

func (p *plain) Landed() bool { return p.landing && p.left <= 0 }
