// Package kernel renders many voices at once, where dsp renders one: banks of
// sixteen voices, each of two band-limited oscillators, a resonant low-pass, a
// level and a place between two loudspeakers. A polyphonic module is its place
// in the signal path; what it puts out is what dsp.Oscillator, dsp.SVF and
// dsp.ADSR would, voice by voice.
//
// # How
//
// Time runs in control periods of sixteen frames, half a residual of the
// oscillators. In the first part of a period, Begin, the steps of all waves in
// the sixteen frames to come are found by comparing sixteen phases at once;
// each adds its residual, 32 contiguous samples, to the ring of its voice; and
// a matrix of sixteen voices by sixteen frames is turned round. In the second
// part, AddTo, one register holds the same variable of sixteen voices (AVX-512)
// or of eight (AVX2), and waves, filters, levels and gains are computed frame
// by frame without a branch. The second part may be cut anywhere, so a gate
// opens at its frame.
//
// # Twins
//
// There are three versions, chosen by what the processor has: AVX-512, AVX2,
// and Go, which is all that other architectures have. They are equal bit for
// bit, and tested so, with random settings in random pieces: no multiplication
// is fused with an addition in any of them, and sums have one order. Fused they
// would differ from machine to machine and be no more than 2 % faster, since
// what waits is not the arithmetic.
//
// # What it costs
//
// 200 voices for 10 s beside scsynth 3.13 without real time, which plays the
// same notes (two Saws, RLPF, EnvGen, Pan2) in turns in the same run, in
// processor time; on a virtual machine with two busy cores of a Zen 4 at
// 3.6 GHz, medians of five turns, by
//
//	K8S_SYNTH_BENCH=1 go test -count=1 -run TestBenchVoices -v ./dsp/kernel
//
//	                       ns/voice-sample     to scsynth  voices a core   operations  of the peak
//	scsynth                          9.555          1.0 x           2180
//	AVX-512                          0.643         14.9 x          32383         26.9        35 %
//	AVX-512, all moving              0.982          9.7 x          21212         40.3        35 %
//	AVX2                             0.755         12.7 x          27586         26.9        30 %
//	AVX2, all moving                 1.063          9.0 x          19592         40.3        32 %
//	Go                               7.223          1.3 x           2884         26.9         3 %
//
// All moving means that both pitches and the cutoff of every voice change in
// every control period. The peak is that of additions and multiplications in
// equal numbers, 118 a ns here; of the 27 operations of a sample 16 are
// additions or conversions, which have half of the core's units, so that what
// is asked for could be had twice as fast and no faster.
//
// Aliasing relative to all harmonics, in the same run as that of scsynth's
// Saw, by go test -run TestAliasing -v ./dsp/kernel:
//
//	           voice      scsynth
//	 500 Hz   -107.8 dB   -54.6 dB
//	2500 Hz    -98.6 dB   -53.4 dB
//	5000 Hz    -93.9 dB   -50.4 dB
//
// # Why assembly that a program writes
//
// The inner loop at rest, for sixteen voices: plain Go 3.4 ns a voice and
// sample (the compiler does not vectorise), simd/archsimd of Go 1.26 0.39 ns,
// this 0.33 ns in the same run. archsimd is nearly as good, but it exists only
// under GOEXPERIMENT=simd: every build of every program here, and whoever
// imports a package, would need the experiment, and its API is not yet
// promised. Instructions written by avo need nothing to build, are checked by
// go vet against their declarations, and the registers are allocated for us;
// the price is the folder assembly, which runs when a kernel changes.
package kernel
