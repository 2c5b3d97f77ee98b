// Package sense finds the patch cables of a case by what they carry. It stands beside the voltages
// that package rig's Case hands to a device and takes from it:
//
//	Engine ─▶ Case ─▶ Sensor.Tap adds a code to each output ─▶ device ─▶ jacks
//	                      │                                               ┆ cable?
//	Engine ◀─ Case ◀──────┼──────────────────────────────────◀─ device ◀─ jacks
//	                      └─ ring ─▶ analysis ─▶ Event: plugged, pulled
//
// The daemon knows what it sends, so an output that comes back on an input is a cable between the
// two, without any electronics. The audio thread adds the codes and copies blocks into a ring
// without locks; everything else is done in a goroutine of the Sensor's own, or by Process.
//
// # The code
//
// Every output gets a sequence of random signs that never repeats, 12,000 chips a second at 48 kHz
// (dsp.Code). It is random signs that all outputs share times a Walsh function of each one's own: two
// outputs in one input are orthogonal over 16 chips, exactly. The pulse of a chip, + + − −, has no
// energy at 0 Hz and at half the sample rate and most between 4 and 15 kHz, out of the way of hum,
// of slow voltages, of inputs that block DC and of converters' slopes. All samples have the same
// magnitude, so that their peak is their RMS value: nothing that keeps the same peak has more energy.
//
// On outputs that carry pitch the peak is 0.166 mV, 0.199 cent at 1 V an octave. On the others it is
// 0.98 mV, −80.2 dBFS of 10 V. An interface of 16 bit (0.3 mV a step at ±10 V) loses the former.
//
// # The budget
//
// What matters is energy: the code's power times the time, to the noise's density. With A the peak, σ
// the noise of a sample (white, 0 dBFS = 10 V RMS) and N the samples, the best test there is has a
// deviation of d = gain·A·√N/σ standard deviations and gains d²/2 nats (of the logarithm of the
// likelihood ratio) on average.
//
//	noise of the input            −90 dBFS    −70 dBFS    −60 dBFS
//	σ                              0.32 mV     3.2 mV      10 mV
//	pitch: SNR of a sample         −5.6 dB    −25.6 dB    −35.6 dB
//	       nats a second, gain 1     6620         66         6.6
//	       nats a second, gain 0.8   4240         42         4.2
//	other: SNR of a sample         +9.8 dB    −10.2 dB    −20.2 dB
//	       nats a second, gain 1    > 10⁵       2300         230
//	       nats a second, gain 0.8  > 10⁵       1480         148
//
// What it takes: 1/100 of a false alarm an hour over 256 pairs of jacks, any of which may be plugged
// in any of 338,000 hops of 512 frames, are ln(256·338,000·2.2/0.01) = 23.7 nats. While the round trip
// is unknown there are 4800 lags to choose from, 8.5 nats more: 32.
//
//	after processing gain         time that 23.7 nats take, gain 1 (and 0.8), on average
//	pitch                        4 (6) ms     0.36 (0.56) s     3.6 (5.6) s
//	other                        < 1 ms       0.01 (0.02) s     0.10 (0.16) s
//
// So everything that the design asks for (0.25 s, 0.5 s and 2 s) holds with room to spare but for
// outputs with a pitch that stands still: at −70 dBFS half of them are in time and at gain 0.8 fewer
// are, and at −60 dBFS they take twice as long as wanted: 2.5 dB are missing at gain 1, 4.5 dB at 0.8.
// A code of 0.27 cent would bring them at gain 1, or knowing when to look. Hence what else is used:
//
//   - When a cable is plugged or pulled the level of the input jumps, unless nothing is sent. A hop with
//     a jump gets the weight of the quiet ones before it, of ten minutes at most: up to 10.9 nats. This
//     costs no false alarms, because the sum of all weights stays below 2.2 times the hops.
//   - Programme, below. A melody is found in half a second at −60 dBFS.
//
// Half of the cables from a pitch output, and 95 % of them, are found and given up within (seconds; an
// output and an input that were at rest for a minute, the round trip known; TestProofPitchInNoise):
//
//	                      plugged                                   pulled
//	            gain 0.8      1.0         1.2           0.8          1.0         1.2
//	−90 dBFS  0.03, 0.03   0.03, 0.03   0.02, 0.03   0.28, 0.28   0.28, 0.28   0.28, 0.28
//	−70, 0 V  0.47, 0.83   0.31, 0.57   0.25, 0.41   0.46, 0.96   0.30, 0.53   0.28, 0.40
//	   2 V    0.32, 0.62   0.21, 0.37   0.16, 0.29   0.28, 0.48   0.28, 0.33   0.28, 0.28
//	   melody 0.24, 0.48   0.19, 0.31   0.13, 0.26   0.27, 0.44   0.27, 0.31   0.28, 0.28
//	−60, 0 V  3.9,  7.5    2.4,  4.3    1.8,  3.1    3.7,  14     3.2,  6.0    2.6,  5.0
//	   2 V    3.2,  6.8    1.7,  3.9    1.4,  2.5    1.7,  4.1    1.2,  3.4    1.0,  3.1
//	   melody 0.65, 0.96   0.50, 1.2    0.48, 0.85   0.27, 0.75   0.27, 0.50   0.27, 0.56
//
// # The test
//
// A hop of an input is whitened: each bin of its spectrum is weighed by the inverse of its noise and of
// the power around it, so that hum, tones and bursts do not count; then it is matched to the pulse and
// sampled at each chip. With x the chips over their variance, c the signs of an output and A its peak,
// the likelihood of a cable with gain g against none grows by exp(g·u − g²·j/2) with u = A·Σx·c and
// j = A²·Σx². Whatever comes in, if it does not know the code then the expectation of that is at most 1,
// since cosh(a) ≤ exp(a²/2): no model of the noise is needed, and none can be wrong. Gains of ±1 and ±0.5
// (a passive mix) are tried. The sum over all hops at which the cable may have come (Shiryaev and
// Roberts' procedure) exceeds a threshold within n hops with a probability of at most n over that
// threshold: the false-alarm rate that is stated above is a bound, for any input.
//
// Cables go by the same test the other way round, with the gain that was learnt: at most 1/10 of a
// false pull an hour. So both ways take evidence beyond doubt, and nothing flickers. A cable is kept
// for a quarter of a second after its first doubt, because a new round trip would explain that too: it is
// looked for at once, and if it is found no cable goes. Where an input stands at the end of its range
// nothing is heard, and nothing decided.
//
// # Programme
//
// What the outputs play is known as well and up to 95 dB above the codes. In each hop the programme of
// all that moves is fitted to the input, and taken away. What fits with the gain of a cable speaks for
// one, but it may be somebody else's clock that fits: so it counts for 7 nats when it fits for the first time,
// 3 more for each edge that is unlike the last ones, and 8 in all if they are all alike or if another
// output does the same at the same frame; at least 4 nats must come from the code. Two outputs with the
// same clock are told apart by their codes alone. An edge that is missing speaks against a cable.
//
// # The round trip
//
// It is the same for all cables of an interface. As long as it is unknown, the chips that all codes
// share (one in 16, at which all Walsh functions are +) are correlated with every input at all lags,
// which finds anything at −90 dBFS in 0.2 s and whatever is not pitch at −70 in 0.3 s. Inputs with
// more noise are correlated with each code, one input after the other: the first cable from an idle
// pitch output takes 0.5 to 1.5 s at −70 dBFS, and 10 s or more at −60. Where programme covers the
// codes it is correlated, too, and says at which lags to look: the first cable from an oscillator
// takes 0.2 to 1 s, and from a melody at −60 dBFS 0.8 to 2.4 s. Expect, or Config.RoundTrip, makes
// the first cable like any other if it is right; the last one that was found is worth keeping.
//
// # Use
//
//	s, err := sense.NewSensor(sense.Config{Rate: 48000, Outputs: outputs, Inputs: inputs})
//	case.SetProbe(s)
//	s.Start(ctx)
//	for e := range s.Events() { … e.On, e.Cable … }
//
// Measured on one core of an AMD EPYC with 16 × 16 jacks at 48 kHz: 28 ns a frame on the audio thread; the
// analysis takes 4.5 % of a core at rest and 5 % with 16 programmes, 9 % until the round trip is known, and 18 %
// where inputs have noise as well. Stats tells what it takes now.
package sense
