// Package backplane is the bus between panels of a case and the instrument: the
// frames, the messages and both ends of a session. A panel is a module of the
// rack that has a processor of its own, knobs, jacks and lights; the daemon is
// the instrument. BACKPLANE.md beside this file is the standard, with what is
// electrical; here is its only implementation, used by either end.
//
//	Panel (firmware) ─▶ Append ─▶ USB serial, or SysEx over USB-MIDI ─▶ Decoder ─▶ Host (daemon)
//	      ◀─ lights ──────────────────────────────────────────────────────────────◀─
//
// # What is lost and what is not
//
// Edges of gates are numbered, acknowledged and sent again, in order, so that
// none is lost or doubled while a session lives, the low one least of all. When
// it ends, at either end, every gate of it is low. Values of knobs and lights
// are states: the whole table goes at once, until the other end has it, and the
// newest wins.
//
// # Small enough for a microcontroller
//
// Panel and Host are state machines without goroutines, clocks or memory of
// their own making: they are told the time, and write into what they are given.
// The package imports nothing, so that TinyGo compiles it as it is; a test
// holds it to that. Neither end is safe for several goroutines.
package backplane
