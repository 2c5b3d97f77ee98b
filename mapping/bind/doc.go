// Package bind stands between the surfaces and the rack: it says which control
// of which surface turns which param, strikes which jack or asks for which
// action, and what is shown back on the surface.
//
//	MIDI, OSC ──▶ Engine ──▶ Do (turn, volts, action) ──▶ cmd ──▶ Rack
//	 surface  ◀── Out    ◀── Engine ◀── Changed, Slot, Lit ◀──────┘
//
// What is bound stands in mapping files (Map): some ship with the instrument,
// others are the player's, and one is written by learning. An Engine plays them
// on whatever scene there is. It belongs to the control goroutine: it has no
// clock, no port and no goroutine of its own, so that a take of its inputs
// plays the same again. Nothing is allocated for a control that moves.
package bind
