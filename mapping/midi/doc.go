// Package midi is the language of MIDI 1.0 without any port: messages, the
// streams in which they come, and what is made of many of them: held notes,
// controllers of fourteen bits and numbers beyond 127, MPE zones, tempo and
// song position, time code, and the names that a DAW shows. It opens nothing
// and reads no clock: times are given; mapping/midi/port and mapping/midi/rtp
// carry its messages, and what they mean to the rack is said in mapping.
//
// Source: MIDI 1.0 Detailed Specification 4.2 and its recommended practices;
// MIDI Polyphonic Expression 1.0 (RP-053).
package midi
