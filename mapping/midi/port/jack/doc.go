// Package jack carries MIDI between the instrument and the other clients of a
// JACK server (or of PipeWire, which serves the same library): DAWs, soft
// synthesizers, hardware that the server has ports for. It is a driver of
// mapping/midi/port, beside the system's own sequencer, and the only one whose
// messages are placed to the frame in both directions:
//
//	peers ─▶ C process callback ─▶ ring ─▶ goroutine ─▶ receive(time of the frame)
//	peers ◀─ C process callback ◀─ ring of the port ◀─ Send(time)
//
// # Time
//
// What arrives carries the time of its frame by JACK's own filtered clock, not
// the time at which a thread got round to it. That is up to a period ahead of
// the moment of the call: an event at the last frame of a cycle is handed over
// as the cycle begins. What is sent stands at the frame whose time was asked
// for, if Send is called Out.Ahead before it: two periods, since a cycle is
// computed a period before its last frame, and a margin for the scheduler of
// Go. Later than that it stands at the first frame of the next cycle, and is
// counted. Order within a port is kept always; a message waits behind one that
// was sent before it, whatever its time. Hurry lets all that waits go at once,
// which is what a panic wants.
//
// # The boundary
//
// The process callback is C, finds its rings by one atomic load and never
// enters Go, allocates, locks or waits; it wakes the reader with a futex at
// most once a cycle. The reader is an ordinary goroutine: its delays move no
// time. A full ring costs messages, counted, but never the end of a note: the
// last quarter of every ring is for what ends a sound, and the callback
// remembers what does not even fit there. When the graph is ordered anew, or a
// client was late, JACK may lose a cycle of a connection: the notes that ended
// then are ended once more.
//
// # Servers come and go
//
// The library is found at run time; without it, or without a server, Ports
// says so, and nothing starts a server. When one dies, Send fails; as soon as
// it or another is back the driver opens its client and its ports again,
// connects them as they were, and ends the notes that it knows to sound. One
// goroutine makes all calls that a server may be slow to answer, and callers
// wait two seconds for it at most.
package jack
