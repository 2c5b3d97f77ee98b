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
// would differ from machine to machine, and were measured to be no more than
// 2 % faster.
//
// # What it costs
//
// 200 voices for 10 s beside scsynth 3.13 without real time, which plays the
// same notes (two Saws, RLPF, EnvGen, Pan2) in turns in the same run, in
// processor time; on a virtual machine with two cores of a Zen 4 at
// 3.7 GHz, medians of five turns, by
//
//	K8S_SYNTH_BENCH=1 go test -count=1 -run TestBenchVoices -v ./dsp/kernel
//
//	                       ns/voice-sample     to scsynth  voices a core   operations  of the peak
//	scsynth                          9.360          1.0 x           2226
//	AVX-512                          0.564         16.6 x          36959         26.9        40 %
//	AVX-512, all moving              1.010          9.3 x          20630         40.3        34 %
//	AVX2                             0.655         14.3 x          31811         26.9        35 %
//	AVX2, all moving                 1.073          8.7 x          19424         40.3        32 %
//	Go                               7.101          1.3 x           2934         26.9         3 %
//
// All moving means that both pitches and the cutoff of every voice change in
// every control period. That both play the same is tested: 44 partials of a
// note are within 0.04 dB of one another.
//
// The peak, 113 to 118 operations a ns here, is that of multiplications and
// additions in equal numbers. Of the 27 operations of a voice whose settings
// rest 16 are additions and conversions, for which the core has half of its
// units: those alone take 0.28 ns, and the kernel twice that. Of the rest
// the inner loop is a half, and the other half finding steps, adding their
// residuals and turning the matrix round, which is loads, shuffles and stores.
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
// The inner loop at rest, for sixteen voices, by
//
//	GOEXPERIMENT=simd go test -run xxx -bench Loop ./dsp/kernel
//
// takes 4.8 ns a voice and sample in plain Go (the compiler computes no two
// lanes at once), 0.37 ns with simd/archsimd of Go 1.26, and 0.32 ns here with
// AVX-512, 0.42 ns with AVX2; all give the same bits. archsimd is nearly as
// good and reads better, but it exists only under GOEXPERIMENT=simd: every
// build of every program here, and whoever imports a package, would need the
// experiment, and its API is not yet promised. Instructions written with avo
// need nothing to build, are checked by go vet against their declarations, and
// have their registers allocated for them; the price is the folder assembly,
// which runs when a kernel changes.
package kernel
