// Package layout draws the control surface of a patch: pages of faders, knobs,
// switches, lamps and pads, each with the address that it plays. It stands
// between the patch and the tablet: instrument says which knobs and jacks there
// are, layout says where a hand finds them, and mapping/osc takes what the hand
// does.
//
// Build makes a Layout, which knows no toolkit, from a patch; the same patch
// gives the same Layout to the bit. WriteTosc, WriteTouchOSC, WriteHTML and
// WriteMIDIMap write it as a file. The readers of those files are in the folder
// touchosc and share nothing with the writers, so that each checks the other.
//
// # How a page is laid out
//
// A bar that is always there holds the index, the way to the pages beside this
// one, panic, resume, which ends it and is lit while it lasts, and arm. Under it is one page at a time: play, what a hand wants
// first; pods, the bank of slots; and for each kind of module the panels of the
// modules, beside each other as in a rack. Kinds that do not fit on one page
// take several.
//
// # What speaks by script
//
// A message of TouchOSC lays a range evenly under the finger, and nothing but a
// script can turn a number into words. So a knob with an exponential curve and
// a choice, which the instrument names in words, send and receive by a short
// Lua script; the message beside it is there to receive and says the address.
// The script remembers what it was told and never sends that back: what one
// tablet does is not echoed by another. Readouts with units, the colour of a
// pod's phase, and the arming of kill are scripts too. Everything else is plain
// messages.
package layout
