package measure

import (
	"fmt"
	"math"
	"math/bits"
	"math/cmplx"
)

// FFT is a fast Fourier transform of one length (Cooley and Tukey, 1965).
type FFT struct {
	size    int
	twiddle []complex128
}

// NewFFT prepares a transform of a length that is a power of two.
func NewFFT(size int) (*FFT, error) {
	if size < 1 || size&(size-1) != 0 {
		return nil, fmt.Errorf("fft of %d points: the length must be a power of two", size)
	}
	f := &FFT{size: size, twiddle: make([]complex128, size/2)}
	for i := range f.twiddle {
		f.twiddle[i] = cmplx.Rect(1, -2*math.Pi*float64(i)/float64(size))
	}
	return f, nil
}

// Transform replaces x by its spectrum, unscaled. The length of x must be that
// of the transform.
func (f *FFT) Transform(x []complex128) {
	if len(x) != f.size {
		panic(fmt.Sprintf("fft of %d points given %d", f.size, len(x)))
	}
	if f.size == 1 {
		return
	}
	shift := 64 - bits.Len(uint(f.size-1))
	for i := range x {
		if j := int(bits.Reverse64(uint64(i)) >> shift); j > i {
			x[i], x[j] = x[j], x[i]
		}
	}
	for half := 1; half < f.size; half *= 2 {
		stride := f.size / (2 * half)
		for start := 0; start < f.size; start += 2 * half {
			for k := range half {
				a, b := start+k, start+k+half
				t := f.twiddle[k*stride] * x[b]
				x[a], x[b] = x[a]+t, x[a]-t
			}
		}
	}
}

// Inverse replaces a spectrum by its signal, scaled so that it undoes
// Transform.
func (f *FFT) Inverse(x []complex128) {
	for i := range x {
		x[i] = cmplx.Conj(x[i])
	}
	f.Transform(x)
	for i := range x {
		x[i] = cmplx.Conj(x[i]) / complex(float64(f.size), 0)
	}
}

// Window is a taper for spectra: the coefficients of a sum of cosines. The
// half width of its main lobe in bins is their number.
type Window []float64

// Windows from Harris, "On the use of windows for harmonic analysis with the
// discrete Fourier transform" (1978), and for the seven terms Albrecht, "A
// family of cosine-sum windows for high-resolution measurements" (2001).
var (
	// Hann is for flux and overview; side lobes at -31 dB that fall fast.
	Hann = Window{0.5, 0.5}
	// BlackmanHarris is for partials; side lobes at -92 dB.
	BlackmanHarris = Window{0.35875, 0.48829, 0.14128, 0.01168}
	// Albrecht7 is for aliasing and distortion; side lobes at -180 dB.
	Albrecht7 = Window{
		0.27105140069342, 0.43329793923448, 0.21812299954311, 0.06592544638803,
		0.01081174209837, 0.00077658482522, 0.00001388721735,
	}
)

// At is the value of a window of n points at point i.
func (w Window) At(i, n int) float64 {
	sum, sign := 0.0, 1.0
	for k, c := range w {
		sum += sign * c * math.Cos(2*math.Pi*float64(k)*float64(i)/float64(n))
		sign = -sign
	}
	return sum
}

func powerOfTwo(n int) int {
	if n <= 1 {
		return 1
	}
	return 1 << bits.Len(uint(n-1))
}

// Decibels is 20·log10 of a magnitude, negative infinity for 0.
func Decibels(magnitude float64) float64 { return 20 * math.Log10(math.Abs(magnitude)) }

// Spectrum is the magnitude spectrum of a stretch of sound.
type Spectrum struct {
	BinHertz  float64   // distance between bins
	Amplitude []float64 // peak amplitude of a sine in each bin, from 0 Hz to half the rate
	lobe      float64   // half width of the main lobe in bins
	enbw      float64   // noise bandwidth in bins
}

// NewSpectrum analyses all samples through a window, padded with zeros to at
// least twice their number, so that peaks can be interpolated well.
func NewSpectrum(samples []float32, rate float64, window Window) *Spectrum {
	n := len(samples)
	size := powerOfTwo(2 * n)
	x := make([]complex128, size)
	sum, squares := 0.0, 0.0
	for i, v := range samples {
		w := window.At(i, n)
		sum += w
		squares += w * w
		x[i] = complex(float64(v)*w, 0)
	}
	f, err := NewFFT(size)
	if err != nil {
		panic(err) // powerOfTwo gives no other length
	}
	f.Transform(x)
	s := &Spectrum{BinHertz: rate / float64(size), Amplitude: make([]float64, size/2+1)}
	if n == 0 || sum == 0 {
		return s
	}
	pad := float64(size) / float64(n)
	s.lobe = float64(len(window)) * pad
	s.enbw = squares / (sum * sum) * float64(size)
	for i := range s.Amplitude {
		s.Amplitude[i] = 2 * cmplx.Abs(x[i%size]) / sum
	}
	s.Amplitude[0] /= 2
	return s
}

// DB is the level of a bin in decibels.
func (s *Spectrum) DB(bin int) float64 { return Decibels(s.Amplitude[bin]) }

// Level is the largest amplitude between two frequencies, in decibels.
func (s *Spectrum) Level(lowHertz, highHertz float64) float64 {
	a := 0.0
	for i := max(0, int(math.Ceil(lowHertz/s.BinHertz))); i < len(s.Amplitude) && float64(i)*s.BinHertz <= highHertz; i++ {
		a = max(a, s.Amplitude[i])
	}
	return Decibels(a)
}

// Power is the mean square of the sound between two frequencies. Bins are
// summed and corrected for the window, so that it holds for noise as for
// sines that lie inside.
func (s *Spectrum) Power(lowHertz, highHertz float64) float64 {
	p := 0.0
	for i := max(0, int(math.Ceil(lowHertz/s.BinHertz))); i < len(s.Amplitude) && float64(i)*s.BinHertz < highHertz; i++ {
		p += s.binPower(i)
	}
	return p
}

func (s *Spectrum) binPower(i int) float64 {
	if s.enbw == 0 {
		return 0
	}
	a := s.Amplitude[i]
	return a * a / 2 / s.enbw
}

// Partial is one sine of a sound.
type Partial struct {
	Hertz     float64
	Amplitude float64 // peak
}

// Peaks finds the partials that are at most floorDB (a negative number) below
// the strongest, from low to high. Frequency and amplitude are interpolated
// by a parabola through the logarithms of three bins. Side lobes of the window
// count as peaks if the floor lies below them.
func (s *Spectrum) Peaks(floorDB float64) []Partial {
	top := 0.0
	for _, a := range s.Amplitude {
		top = max(top, a)
	}
	if top == 0 {
		return nil
	}
	floor := top * math.Pow(10, floorDB/20)
	var out []Partial
	for i := 1; i < len(s.Amplitude)-1; i++ {
		b := s.Amplitude[i]
		if b >= floor && b > s.Amplitude[i-1] && b >= s.Amplitude[i+1] {
			out = append(out, s.interpolate(i))
		}
	}
	return out
}

func (s *Spectrum) interpolate(i int) Partial {
	const least = 1e-300
	a, b, c := math.Log(s.Amplitude[i-1]+least), math.Log(s.Amplitude[i]+least), math.Log(s.Amplitude[i+1]+least)
	p := 0.0
	if d := a - 2*b + c; d != 0 {
		p = (a - c) / (2 * d)
	}
	return Partial{Hertz: (float64(i) + p) * s.BinHertz, Amplitude: math.Exp(b - (a-c)*p/4)}
}

// Near is the strongest partial within a distance in hertz of a frequency.
func (s *Spectrum) Near(hertz, within float64) Partial {
	best := -1
	low := max(1, int(math.Ceil((hertz-within)/s.BinHertz)))
	for i := low; i < len(s.Amplitude)-1 && float64(i)*s.BinHertz <= hertz+within; i++ {
		if best < 0 || s.Amplitude[i] > s.Amplitude[best] {
			best = i
		}
	}
	if best < 0 {
		return Partial{Hertz: hertz}
	}
	return s.interpolate(best)
}
