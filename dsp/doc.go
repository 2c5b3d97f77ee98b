// Package dsp is the signal mathematics of the instrument: oscillators,
// envelopes, filters, detectors, drums, effects, dynamics, and tunings. It is
// the bottom of the signal path: modules in package instrument are built from
// these units, and nothing here knows what a module, a cable or a cluster is.
//
// Every unit is a concrete struct. Init gives it a sample rate and is the only
// place that may allocate; Reset returns it to the state after Init and keeps
// its settings; Next computes one sample. All other methods may be called on
// the audio thread: none allocates, locks or calls the system.
//
// Signals are float32 volts unless a comment says otherwise. Whatever comes
// in, finite samples in a bounded range come out, and states that have faded
// away become exactly zero, so that no denormal number slows a silent patch.
// A result never depends on how a stretch of samples is cut into calls.
//
// Every decay and release time is a T60, the time in which the distance to the
// target shrinks to a thousandth (60 dB), but those of the Compressor, which
// are time constants as its field has them.
package dsp
