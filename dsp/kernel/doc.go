// Package kernel renders many voices at once: banks of sixteen, each voice of
// two band-limited oscillators, a resonant low-pass, a level and a place. It
// is the fast way of the Voice module, which without it would play the same
// with dsp.Oscillator and dsp.SVF voice by voice.
package kernel
