// Package oscillator holds the oscillators that calibration is proven against:
// it stands where a player's own gear does, behind the CV outputs and before
// the audio inputs, and is for proofs only; no program links it.
//
// Simulated is an oscillator in this process, volts in and volts out. The
// others are real programs that are wired by JACK ports as gear is wired by
// cables: Pure Data and SuperCollider's scsynth. They bend their pitch from a
// seed by means of their own, in a patch and in a synth definition, so that
// what is tested cannot know how. What each really played comes out of a second
// port, which only a judge may read.
package oscillator
