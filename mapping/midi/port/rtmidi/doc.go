// Package rtmidi is the driver of mapping/midi/port for CoreMIDI on macOS and
// WinMM on Windows (which has no virtual ports), and one for the ALSA sequencer
// on Linux, where mapping/midi/port/alsa is used instead. It stands on the copy of RtMidi that gomidi compiles, and
// needs cgo; without it, or with the build tag nomidi as for a static program,
// Ports returns ErrNotBuilt and the rest of the instrument plays on.
//
//	system ─▶ thread of RtMidi ─▶ receive(time of the call)
//	system ◀─ Send
//
// # Why the library is not called through gomidi's Go
//
// On a stage ports are closed while messages arrive. gomidi's Close takes the
// callback out of its table first and stops the thread then, so that a message
// in between ends the program; a port that failed once fails always; the texts
// of its errors are freed memory; all clients are called "RtMidi Input Client".
// The C functions below it have none of these faults when they are called in
// the right order, so this package calls those.
//
// # What the system says besides
//
// On Linux the sequencer's list in /proc tells who listens to the virtual port
// and whether a connection still stands, which the library does not.
package rtmidi

import "errors"

// ErrNotBuilt says that the program was built without the system's MIDI.
var ErrNotBuilt = errors.New("built without the MIDI of the system (needs cgo, and not the tag nomidi)")
