// Package system chooses the driver of mapping/midi/port for the MIDI of the
// system: the ALSA sequencer on Linux, spoken to directly, and RtMidi as gomidi
// compiles it elsewhere.
package system
