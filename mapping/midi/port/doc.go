// Package port carries MIDI between the instrument and the ports of the system:
// virtual ones, to which a DAW connects, and hardware, which comes and goes.
//
// Signal path: Driver (callback of the system, stamped there) → queue of the
// port → Hub.Received, on one goroutine. The other way, Hub.Send → queue of the
// port, ordered by time → its own thread, which sleeps until the message is due
// → Out.Send. A port that blocks, floods or breaks delays no other.
//
// The drivers are in the folders below (alsa, rtmidi, jack; system chooses that
// of the system) and in mapping/midi/rtp; Fake is one whose faults a test writes. What the messages mean is said in
// mapping and mapping/bind.
//
// # Nothing is left sounding
//
// What sounds on each output is known (midi.Held). It is ended when the Hub is
// closed, on Panic, when a device that was pulled out comes back, and after a
// crash: the record lies in a mapped file, from which the next Open, or
// ReleaseFile in a watchdog process, ends it. A full queue costs values of
// controllers first, of which the last still wins, then new notes; never the
// end of a note, nor the clock.
package port
