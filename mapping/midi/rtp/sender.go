package rtp

import "time"

const (
	// maxDatagram keeps a packet within an Ethernet frame where the journal
	// lets it: a datagram in pieces is lost with each of them.
	maxCommands = 1100
	// blind is how long a peer may say nothing of what it has received: after
	// that the journal reaches back so far and no farther.
	blind = 10 * time.Second
	// maxHistory bounds the packets whose times are remembered for blind.
	maxHistory = 4096
)

// guards are the pauses after the last packet with commands until each packet
// without any, whose journal tells a receiver that the one before was lost.
// They end when the peer has confirmed it. The first ones come while a lost
// note-on may still be played.
var guards = []time.Duration{
	12 * time.Millisecond, 25 * time.Millisecond, 60 * time.Millisecond, 150 * time.Millisecond,
	400 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second,
}

// guardForever is the pause between the guards after those.
const guardForever = 8 * time.Second

// sender is the sending end of a stream.
type sender struct {
	model *stream
	scribe
	ssrc       uint32
	seq        uint32 // of the packet sent last
	checkpoint uint32
	confirmed  bool        // the peer has confirmed anything
	rounds     bool        // and counts rounds as it does
	history    []time.Time // of the packets from the checkpoint on
	commands   uint32      // last packet with commands
	lastSent   time.Time
	guard      int
	list       list
	buf        []byte
	packets    uint64
}

func newSender(ssrc uint32, seq uint16) *sender {
	w := &sender{model: newStream(), ssrc: ssrc}
	w.scribe.s = w.model
	w.seq = 0x10000 + uint32(seq)
	w.checkpoint = w.seq + 1
	return w
}

// timed is a message with the time it is meant for, in 100 µs of the session.
type timed struct {
	at      uint32
	message []byte
}

// send puts messages into as many packets as they need and hands them over.
func (w *sender) send(messages []timed, now time.Time, out func(datagram []byte)) {
	for len(messages) > 0 {
		first := messages[0]
		base := first.at
		if len(first.message) > maxCommands { // a long exclusive message
			segments(first.message, maxCommands, func(part []byte) {
				w.list.reset()
				w.list.add(base, base, part)
				whole := part[len(part)-1] == 0xf7
				w.emit(base, now, out, func() {
					if whole {
						w.model.apply(first.message, w.seq, now)
					}
				})
			})
			messages = messages[1:]
			continue
		}
		w.list.reset()
		n, size := 0, 0
		for n < len(messages) && size+len(messages[n].message)+4 <= maxCommands+8 && len(messages[n].message) <= maxCommands {
			w.list.add(base, messages[n].at, messages[n].message)
			size += len(messages[n].message) + 4
			n++
		}
		part := messages[:n]
		w.emit(base, now, out, func() {
			for _, m := range part {
				w.model.apply(m.message, w.seq, now)
			}
		})
		messages = messages[n:]
	}
}

// emit sends the list as a packet, and applies it to the model afterwards.
func (w *sender) emit(timestamp uint32, now time.Time, out func([]byte), apply func()) {
	w.packet(timestamp, now, out)
	w.commands, w.guard = w.seq, 0
	apply()
}

// packet sends the list, which may be empty, with the journal.
func (w *sender) packet(timestamp uint32, now time.Time, out func([]byte)) {
	w.seq++
	w.packets++
	w.lastSent = now
	w.history = append(w.history, now)
	w.forget(now)
	b := appendHeader(w.buf[:0], uint16(w.seq), timestamp, w.ssrc)
	b = appendSection(b, w.list.b, w.list.delta, false, true)
	w.buf = w.scribe.append(b, w.seq, w.checkpoint, now)
	out(w.buf)
}

// forget moves the checkpoint on where the peer says nothing.
func (w *sender) forget(now time.Time) {
	n := len(w.history) - 1 // never this packet
	drop := max(n-maxHistory, 0)
	for drop < n && now.Sub(w.history[drop]) > blind && (!w.confirmed || now.Sub(w.history[drop]) > 6*blind) {
		drop++
	}
	if drop > 0 {
		w.history = append(w.history[:0], w.history[drop:]...)
		w.checkpoint += uint32(drop)
	}
}

// confirm takes a peer's word that it has received a packet, and with its
// journal all before it.
func (w *sender) confirm(value uint32) {
	// The number stands in the high half, as Apple's driver has it; peers that
	// count rounds have them there and the number in the low half.
	w.rounds = w.rounds || uint16(value) != 0
	seq := uint16(value >> 16)
	if w.rounds {
		seq = uint16(value)
	}
	up := extend(seq, w.seq)
	if int32(up-w.seq) > 0 || int32(up-w.checkpoint) < 0 {
		return
	}
	n := min(int(up-w.checkpoint)+1, len(w.history))
	w.history = append(w.history[:0], w.history[n:]...)
	w.checkpoint = up + 1
	w.confirmed = true
}

// nextGuard returns when a packet without commands is due, zero if none is.
func (w *sender) nextGuard() time.Time {
	if w.commands == 0 || w.checkpoint > w.commands {
		return time.Time{}
	}
	pause := time.Duration(guardForever)
	if w.guard < len(guards) {
		pause = guards[w.guard]
		if w.guard > 0 {
			pause -= guards[w.guard-1]
		}
	} else if !w.confirmed && w.guard > len(guards)+2 {
		return time.Time{} // the peer does not know of confirmations
	}
	return w.lastSent.Add(pause)
}

// tick sends the guard packet that is due.
func (w *sender) tick(timestamp uint32, now time.Time, out func([]byte)) {
	if at := w.nextGuard(); at.IsZero() || at.After(now) {
		return
	}
	w.guard++
	w.list.reset()
	w.packet(timestamp, now, out)
}
