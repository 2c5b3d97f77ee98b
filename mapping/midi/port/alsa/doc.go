// Package alsa is the driver of mapping/midi/port for Linux: one client of the
// kernel's sequencer, spoken to through /dev/snd/seq itself. It needs neither
// cgo nor libasound, so that a static program has MIDI, too.
//
//	other ports ─▶ kernel (stamps, queues) ─▶ reader's thread ─▶ receive(time in the kernel)
//	other ports ◀─ kernel ◀─ Send
//
// The instrument is one client with one port for others, which both sends and
// receives, and one more for each connection to hardware.
//
// # Why not through a library
//
// mapping/midi/port/rtmidi does the same by the library that gomidi brings, and
// is the driver elsewhere. On Linux it fell short in the guest of its tests: a
// listener that hangs makes it repeat one message to all others, of which one
// got 1,690 to 2,421 of 3,000 where it gets all of them from this driver; what
// the kernel has no room for is lost without an error; an input that overruns prints to the
// terminal and counts nothing; each direction of each port is a client of its
// own; and it cannot be told of a device that comes or goes.
//
// # Time
//
// What arrives carries the time at which the kernel had it, whenever this
// process got round to reading it: a busy machine delays messages but does not
// shake their times. Output is timed by the hub.
//
// # When there is no room
//
// A port that is full, as a DIN cable that is sent more than 3125 bytes a
// second, holds Send back, and with it the hub's queue, which knows what to give
// up, and which a panic overtakes. The sequencer itself would drop what is too
// much without a word, so the driver watches how much of the port's buffer is
// used. Of the listeners to the virtual port, each has its own queue in the
// kernel; one that does not read loses what is new, and no other does.
package alsa
