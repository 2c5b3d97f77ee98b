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
// Sources: RFC 6295 (payload, recovery journal), RFC 4696 (how to use it),
// Apple's MIDI network driver protocol (sessions).
package rtp
