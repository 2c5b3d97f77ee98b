// Package rtp carries MIDI over a network: RTP-MIDI in AppleMIDI sessions, as
// macOS, iOS and the rtpMIDI drivers speak it. It stands where a cable would,
// between other machines and mapping/midi/port: a Host is a driver whose ports
// are the sessions of its peers.
//
// A stream of MIDI is a performance that a lost packet can leave wrong for
// ever: a note that never ends, a pedal that stays down. So each packet
// carries a journal of what was sent since the peer last confirmed a packet,
// and a receiver that misses one brings its state in line from it. Here both
// ends keep the same model of a stream (state.go); the sender writes the
// journal from its model (journalize.go), the receiver compares it with its
// own and plays the difference (repair.go).
//
// One goroutine owns everything that a datagram can touch (host.go); peers
// and their streams are plain values that it drives.
//
// # When a peer is gone
//
// Who dies says nothing. Apple's protocol has the initiator compare clocks
// (CK0, answered by CK1) every 60 s at least, and lets a listener give it up
// after that. rtpmidid's client asks every 10 s, in newer versions every 60 s,
// and ends the session when a single question has no answer, after 5 s: one lost
// packet does that. Its server waits 60 s. Arduino's AppleMIDI library
// gives a listener up after five questions that are 10 s apart, and an initiator
// after 45 to 61 s. npm's rtpmidi never does.
//
// Here a peer is asked when nothing has come of it for 2 s while it holds a note
// or a pedal, or has been played to; else every 10 s if we have invited it, and
// after 12 s of silence if it has invited us. While there is no answer it is
// asked every 0.5 s, and after 16 of those, 8 s, it is gone, unless anything of
// its session came meanwhile; one that has invited us must have missed its own
// turn to ask as well. That is 10 or 12 s after its last word with a note held,
// else at most 18 or 20 s. What it holds is ended then, it is told that the
// session is over, and invited again if it was before. A network that is away
// for 7 s ends nothing; one that loses three of ten packets each way does so
// once in nearly 50,000 silences. One that has invited us is asked from the
// beginning on, to know whether it answers: if it does so to none of five
// questions it is taken for a peer that only asks, and what it holds is ended
// after 25 s without a packet, its session after 60 s without a comparison.
//
// Sources: RFC 6295 (payload, recovery journal), RFC 4696 (how to use it),
// Apple's MIDI network driver protocol (sessions); for when a peer is gone,
// rtpmidid (lib/rtpclient.cpp, lib/rtpserverpeer.cpp, lib/STATEMACHINES.md),
// Arduino-AppleMIDI-Library (src/AppleMIDI.hpp) and npm's rtpmidi
// (src/Stream.js).
package rtp
