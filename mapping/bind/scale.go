package bind

import "math"

// travel is where 14 bits stand on a control's travel: 0, 8192 and 16383 are 0,
// ½ and 1, so that the middle of a control is the middle of what it moves.
func travel(v int) float64 {
	if v <= 8192 {
		return float64(max(v, 0)) / 16384
	}
	return 0.5 + float64(min(v, 16383)-8192)/(2*8191)
}

// travel7 is where seven bits stand: 0, 64 and 127 are 0, ½ and 1.
func travel7(v int) float64 {
	if v <= 64 {
		return float64(max(v, 0)) / 128
	}
	return 0.5 + float64(min(v, 127)-64)/(2*63)
}

// bits14 and bits7 are the other way round, to the nearest.
func bits14(p float64) int {
	if p <= 0.5 {
		return int(math.Round(max(p, 0) * 16384))
	}
	return 8192 + int(math.Round((min(p, 1)-0.5)*2*8191))
}

func bits7(p float64) int {
	if p <= 0.5 {
		return int(math.Round(max(p, 0) * 128))
	}
	return 64 + int(math.Round((min(p, 1)-0.5)*2*63))
}

// Curve is how a control's travel is laid over its range.
type Curve uint8

// Curves.
const (
	CurveParam       Curve = iota // as the param has it
	CurveLinear                   // equal travel, equal difference
	CurveExponential              // slow at the low end; equal ratios where the range does not touch 0
	CurveLogarithmic              // fast at the low end
	CurveS                        // slow at both ends
)

var curveWords = [...]string{"param", "linear", "exponential", "logarithmic", "s"}

// String returns the word that mapping files use.
func (c Curve) String() string { return curveWords[c] }

// bow is the ratio of the slopes at both ends of an exponential curve over a
// range that touches 0: 40 dB, as faders have.
const bow = 100

// scale lays travel 0…1 over a range.
type scale struct {
	low, high float64 // low may be above high
	curve     Curve
	steps     int // positions, 0 for as many as there are
	whole     bool
}

// ratio is high over low where equal ratios take equal travel, else 0.
func (s *scale) ratio() float64 {
	if s.low*s.high > 0 {
		return s.high / s.low
	}
	return 0
}

// value returns what travel p comes to.
func (s *scale) value(p float64) float64 {
	p = min(max(p, 0), 1)
	if s.steps > 1 {
		p = math.Round(p*float64(s.steps-1)) / float64(s.steps-1)
	}
	// The ends are the ends, whatever rounding does.
	switch p {
	case 0:
		return s.low
	case 1:
		return s.high
	}
	v := 0.0
	switch s.curve {
	case CurveExponential:
		if k := s.ratio(); k != 0 {
			v = s.low * math.Pow(k, p)
			break
		}
		v = s.low + (s.high-s.low)*(math.Pow(bow, p)-1)/(bow-1)
	case CurveLogarithmic:
		v = s.low + (s.high-s.low)*math.Log1p((bow-1)*p)/math.Log(bow)
	case CurveS:
		v = s.low + (s.high-s.low)*p*p*(3-2*p)
	default:
		v = s.low + (s.high-s.low)*p
	}
	if s.whole {
		v = math.Round(v)
	}
	return v
}

// travel returns where a value stands on the travel, 0…1; what is outside the
// range stands at the nearer end.
func (s *scale) travel(v float64) float64 {
	if s.low == s.high || math.IsNaN(v) {
		return 0
	}
	x := (v - s.low) / (s.high - s.low)
	if x <= 0 {
		return 0
	}
	if x >= 1 {
		return 1
	}
	switch s.curve {
	case CurveExponential:
		if k := s.ratio(); k != 0 {
			return min(max(math.Log(v/s.low)/math.Log(k), 0), 1)
		}
		return math.Log1p(x*(bow-1)) / math.Log(bow)
	case CurveLogarithmic:
		return (math.Pow(bow, x) - 1) / (bow - 1)
	case CurveS:
		return 0.5 - math.Sin(math.Asin(1-2*x)/3)
	}
	return x
}
