// Package calibration makes a CV channel true. An interface's converter, a cable's load and the
// player's own oscillator are a little off each; what they are off by is measured once, kept in a
// file of this machine, and bent back before the voltage leaves.
//
// Its place in the signal path is between the volts of a jack, in the jack's own standard (1 V or
// 1.2 V an octave, or Hz per volt), and the volts per full scale of the interface's profile:
//
//	engine ─▶ standard ─▶ Curve.Correct ─▶ ÷ full scale ─▶ device        (outputs)
//	engine ◀─ Curve.Correct ◀─ × full scale ◀─ device                    (inputs)
//
// A Curve is what the audio thread reads; a Document is the file that it comes from, with who
// measured it, how, and what was left out. The procedures Ear, Loop and Meter measure one over a
// Bench: an output that can be set and an input that can be listened to.
//
// A calibration belongs to one channel of one interface and to what is plugged into it. It is
// never part of a scene, because a scene travels and a rig does not.
package calibration
