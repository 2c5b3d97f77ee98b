package dsp

import (
	"fmt"
	"math"
	"math/bits"
)

// FFT is the fast Fourier transform of one length, of complex and of real
// signals, in double precision: forwards X[k] = Σ x[j]·e^(-2πi·jk/n), unscaled,
// and backwards with the factor 1/n, so that one undoes the other. After Init
// it only reads its tables, so several users may share one.
//
// Pairs of radix-2 passes (Cooley and Tukey, 1965) are done as one of radix 4,
// each with factors of its own that lie in the order in which they are read.
type FFT struct {
	size  int
	pass  [][]complex128 // pass[s]: w², w, w³ for w = e^(-2πi·k/4h), k < h = 2^s
	roots []complex128   // e^(-2πi·k/n), k ≤ n/4, which part a real signal's spectrum
}

// Init prepares for n points; it panics where n is not a power of two, as a
// length is a choice of the program and never data.
func (f *FFT) Init(n int) {
	if n < 1 || n&(n-1) != 0 {
		panic(fmt.Sprintf("fft of %d points: the length must be a power of two", n))
	}
	*f = FFT{size: n, roots: make([]complex128, n/4+1)}
	for k := range f.roots {
		f.roots[k] = unit(k, n)
	}
	for h := 1; 4*h <= n; h *= 2 {
		t := make([]complex128, 3*h)
		for k := range h {
			t[3*k], t[3*k+1], t[3*k+2] = unit(2*k, 4*h), unit(k, 4*h), unit(3*k, 4*h)
		}
		f.pass = append(f.pass, t)
	}
}

// unit is e^(-2πi·k/n), exact where it lies on an axis.
func unit(k, n int) complex128 {
	switch 4 * k {
	case 0:
		return 1
	case n:
		return -1i
	case 2 * n:
		return -1
	case 3 * n:
		return 1i
	}
	s, c := math.Sincos(-2 * math.Pi * float64(k) / float64(n))
	return complex(c, s)
}

// Size is the number of points.
func (f *FFT) Size() int { return f.size }

// Forward replaces n samples by their spectrum. Audio thread.
func (f *FFT) Forward(x []complex128) {
	if len(x) != f.size {
		panic(fmt.Sprintf("fft of %d points given %d", f.size, len(x)))
	}
	f.transform(x)
}

// Inverse replaces a spectrum by its n samples. Audio thread.
func (f *FFT) Inverse(x []complex128) {
	f.Forward(x)
	turn(x)
}

// turn makes an inverse transform of a forward one: the same numbers in
// reverse, and scaled.
func turn(x []complex128) {
	g := 1 / float64(len(x))
	scale := func(v complex128) complex128 { return complex(g*real(v), g*imag(v)) }
	x[0] = scale(x[0])
	for i, j := 1, len(x)-1; i <= j; i, j = i+1, j-1 {
		x[i], x[j] = scale(x[j]), scale(x[i])
	}
}

// ForwardReal puts the spectrum of n real samples, from 0 to half the sample
// rate, into n/2+1 bins. The samples are left as they are. Audio thread.
func (f *FFT) ForwardReal(spectrum []complex128, samples []float64) {
	n, m := f.size, f.size/2
	f.check(spectrum, samples)
	if n == 1 {
		spectrum[0] = complex(samples[0], 0)
		return
	}
	// Even samples are the real part and odd ones the imaginary part of a
	// signal of half the length; its spectrum is parted by symmetry.
	z := spectrum[:m]
	for i := range z {
		z[i] = complex(samples[2*i], samples[2*i+1])
	}
	f.transform(z)
	z0 := z[0]
	spectrum[0] = complex(real(z0)+imag(z0), 0)
	spectrum[m] = complex(real(z0)-imag(z0), 0)
	for k := 1; k <= m/2; k++ {
		a, b := spectrum[k], conj(spectrum[m-k])
		even, odd := half(a+b), f.roots[k]*half(mulI(b-a))
		spectrum[k], spectrum[m-k] = even+odd, conj(even-odd)
	}
}

// InverseReal puts the n real samples of a spectrum of n/2+1 bins into samples.
// The imaginary parts of the first and last bin do not count. The spectrum is
// used as working space and is lost. Audio thread.
func (f *FFT) InverseReal(samples []float64, spectrum []complex128) {
	n, m := f.size, f.size/2
	f.check(spectrum, samples)
	if n == 1 {
		samples[0] = real(spectrum[0])
		return
	}
	first, last := real(spectrum[0]), real(spectrum[m])
	for k := 1; k <= m/2; k++ {
		a, b := spectrum[k], conj(spectrum[m-k])
		even, odd := half(a+b), half(mulI((a-b)*conj(f.roots[k])))
		spectrum[k], spectrum[m-k] = even+odd, conj(even)-conj(odd)
	}
	z := spectrum[:m]
	z[0] = complex((first+last)/2, (first-last)/2)
	f.transform(z)
	turn(z)
	for i, v := range z {
		samples[2*i], samples[2*i+1] = real(v), imag(v)
	}
}

func (f *FFT) check(spectrum []complex128, samples []float64) {
	if len(samples) != f.size || len(spectrum) != f.size/2+1 {
		panic(fmt.Sprintf("real fft of %d points given %d samples and %d bins", f.size, len(samples), len(spectrum)))
	}
}

func conj(v complex128) complex128 { return complex(real(v), -imag(v)) }

// half spares the division of complex numbers, which is a call.
func half(v complex128) complex128 { return complex(real(v)/2, imag(v)/2) }
func mulI(v complex128) complex128 { return complex(-imag(v), real(v)) }

// transform is the forward transform of any power of two up to the size.
func (f *FFT) transform(x []complex128) {
	n := len(x)
	if n < 2 {
		return
	}
	shift := 64 - bits.Len(uint(n-1))
	for i := range x {
		if j := int(bits.Reverse64(uint64(i)) >> shift); j > i {
			x[i], x[j] = x[j], x[i]
		}
	}
	s := 0
	if bits.Len(uint(n))%2 == 0 { // an odd number of passes: one of radix 2
		for i := 0; i < n; i += 2 {
			x[i], x[i+1] = x[i]+x[i+1], x[i]-x[i+1]
		}
		s = 1
	}
	for h := 1 << s; 4*h <= n; s, h = s+2, 4*h {
		w := f.pass[s]
		for start := 0; start < n; start += 4 * h {
			a, b := x[start:start+h], x[start+h:start+2*h]
			c, d := x[start+2*h:start+3*h], x[start+3*h:start+4*h]
			for k := range a {
				t := w[3*k : 3*k+3 : 3*k+3]
				p, q, r, u := a[k], b[k]*t[0], c[k]*t[1], d[k]*t[2]
				even, odd := p+q, p-q
				sum, diff := r+u, r-u
				turned := complex(imag(diff), -real(diff))
				a[k], b[k], c[k], d[k] = even+sum, odd+turned, even-sum, odd-turned
			}
		}
	}
}
