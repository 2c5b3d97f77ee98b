package rtp

import (
	"cmp"
	"slices"
	"time"
)

// recent is how old a note-on may be for a receiver that missed it to play it
// still: what is later than this is heard as wrong, not as late.
const recent = 30 * time.Millisecond

// scribe writes the journals of a stream. It keeps its memory between them.
type scribe struct {
	s          *stream
	packet     uint32 // the one that the journal goes into
	checkpoint uint32 // the first one whose commands it holds
	now        time.Time
	j          journal
	sys        systemJournal
	orders     []ordered
	out        []byte
}

// ordered is a note or controller to be sorted by its stamp.
type ordered struct {
	order uint32
	index uint8
}

// append adds the journal for a packet to dst: what the packets from the
// checkpoint on have changed. The model must not yet know the packet's own
// commands.
func (w *scribe) append(dst []byte, packet, checkpoint uint32, now time.Time) []byte {
	w.packet, w.checkpoint, w.now = packet, checkpoint, now
	w.j.checkpoint = uint16(checkpoint)
	w.j.s = true
	w.j.system = nil
	if w.writeSystem() {
		w.j.system = &w.sys
		w.j.s = w.sys.s
	}
	all := w.j.channels[:cap(w.j.channels)]
	w.j.channels = all[:0]
	for i := range w.s.channels {
		if w.s.channels[i].touched < checkpoint {
			continue
		}
		if len(w.j.channels) == len(all) {
			all = append(all, channelJournal{})
			w.j.channels = all[:len(w.j.channels)]
		}
		c := &all[len(w.j.channels)]
		if w.writeChannel(c, uint8(i)) {
			w.j.channels = all[:len(w.j.channels)+1]
			w.j.s = w.j.s && c.s
		}
	}
	return w.j.append(dst)
}

func (w *scribe) coded(t stamp) bool { return t.seq != 0 && t.seq >= w.checkpoint }
func (w *scribe) safe(t stamp) bool  { return t.seq != w.packet-1 }

// writeChannel fills in the journal of one channel, and tells whether there is
// anything in it.
func (w *scribe) writeChannel(j *channelJournal, number uint8) bool {
	c := &w.s.channels[number]
	j.clear()
	j.s, j.channel = true, number

	if p := &c.program; w.coded(p.stamp) {
		j.has |= chapterP
		q := &j.program
		q.s, q.value, q.reset = w.safe(p.stamp), p.value, p.reset
		if p.hasBank {
			q.hasBank, q.bank, q.bankFine = true, p.bank, p.bankFine
		}
		j.s = j.s && q.s
	}
	w.writeControls(j, c)
	w.writeParams(j, c)
	if w.coded(c.wheel.stamp) {
		j.has |= chapterW
		j.wheelS, j.wheel = w.safe(c.wheel.stamp), c.wheel.value
		j.s = j.s && j.wheelS
	}
	w.writeNotes(j, c)
	if w.coded(c.pressure.stamp) {
		j.has |= chapterT
		j.pressureS, j.pressure = w.safe(c.pressure.stamp), c.pressure.value
		j.s = j.s && j.pressureS
	}
	j.keysS = true
	for i := range c.keys {
		if k := &c.keys[i]; w.coded(k.stamp) {
			l := keyLog{s: w.safe(k.stamp), note: uint8(i), value: k.value}
			j.keys, j.keysS = append(j.keys, l), j.keysS && l.s
		}
	}
	if len(j.keys) > 0 {
		j.has |= chapterA
		j.s = j.s && j.keysS
	}
	if j.has == 0 {
		return false
	}
	w.fit(j)
	return true
}

// fit makes a channel's journal no longer than its length field can say. What
// says least about what sounds goes first.
func (w *scribe) fit(j *channelJournal) {
	for {
		w.out = j.append(w.out[:0])
		switch {
		case len(w.out) <= maxJournal:
			return
		case j.has&chapterE != 0:
			j.has &^= chapterE
		case len(j.params.logs) > 1:
			j.params.logs = slices.Delete(j.params.logs, 0, 1)
		case j.has&chapterA != 0:
			j.has &^= chapterA
		default:
			return // the others take less
		}
	}
}

func (w *scribe) writeControls(j *channelJournal, c *channel) {
	w.orders = w.orders[:0]
	for i := range c.controls {
		k := &c.controls[i]
		if !w.coded(k.stamp) {
			continue
		}
		// Chapter P holds the bank that a program was chosen from.
		p := &c.program
		if (i == ccBank || i == ccBankFine) && j.program.hasBank && k.order < p.order {
			continue
		}
		w.orders = append(w.orders, ordered{k.order, uint8(i)})
	}
	if len(w.orders) == 0 {
		return
	}
	sortByOrder(w.orders)
	// A pedal that went up and down again has ended notes; only its toggles
	// tell. They are left out where the list would get too long.
	logs := len(w.orders)
	for _, o := range w.orders {
		if isPedal(o.index) || hasBoth(o.index) {
			logs++
		}
	}
	j.controlsS = true
	for _, o := range w.orders {
		k := &c.controls[o.index]
		l := controlLog{s: w.safe(k.stamp), number: o.index}
		j.controlsS = j.controlsS && l.s
		switch {
		case o.index >= ccSoundOff:
			l.tool, l.value = toolCount, k.count
			j.controls = append(j.controls, l)
			if hasBoth(o.index) && logs <= maxLogs {
				l.tool, l.value = toolValue, k.value
				j.controls = append(j.controls, l)
			}
		default:
			l.tool, l.value = toolValue, k.value
			j.controls = append(j.controls, l)
			if isPedal(o.index) && logs <= maxLogs {
				l.tool, l.value = toolToggle, k.toggles
				j.controls = append(j.controls, l)
			}
		}
	}
	j.has |= chapterC
	j.s = j.s && j.controlsS
}

func sortByOrder(o []ordered) {
	slices.SortFunc(o, func(a, b ordered) int { return cmp.Compare(a.order, b.order) })
}

func isPedal(n uint8) bool { return n >= ccSustain && n <= ccHold2 }

// hasBoth tells the mode messages whose value means something.
func hasBoth(n uint8) bool { return n == 122 || n == 126 }

func (w *scribe) writeParams(j *channelJournal, c *channel) {
	p := &c.params
	q := &j.params
	q.s = true
	for i := range p.list {
		e := &p.list[i]
		current := p.selected && e.nrpn == p.nrpn && e.number == p.number
		if !w.coded(e.stamp) && !(current && (w.coded(p.last) || len(q.logs) > 0)) {
			continue
		}
		l := paramLog{s: w.safe(e.stamp), nrpn: e.nrpn, number: e.number, fields: toolMValue}
		if e.hasMSB {
			l.fields |= fieldMSB
			l.msb, l.msbX = e.msb, e.old
		}
		if e.hasLSB {
			l.fields |= fieldLSB
			l.lsb, l.lsbX = e.lsb, e.old
		}
		if e.stepped {
			l.fields |= fieldSteps
			l.steps, l.stepsX = e.steps, e.old
			if e.stepsReset != e.steps {
				l.fields |= fieldCSteps
				l.cSteps = e.stepsReset
			}
		}
		q.logs, q.s = append(q.logs, l), q.s && l.s
	}
	if len(q.logs) == 0 && !w.coded(p.last) {
		return
	}
	q.pending, q.pendingNRPN = p.pending, p.pending && p.nrpn
	if p.pending {
		q.pendingHigh = uint8(p.number >> 7)
	}
	q.selected = p.selected
	q.s = q.s && (p.last.seq == 0 || w.safe(p.last))
	j.has |= chapterM
	j.s = j.s && q.s
}

func (w *scribe) writeNotes(j *channelJournal, c *channel) {
	w.orders = w.orders[:0]
	offs := false
	j.extrasS, j.offS = true, c.offSeq == 0 || c.offSeq != w.packet-1
	for i := range c.notes {
		n := &c.notes[i]
		if !w.coded(n.stamp) {
			continue
		}
		implied := uint8(0)
		if n.on {
			w.orders = append(w.orders, ordered{n.order, uint8(i)})
			implied = 1
		} else {
			offs = true
			j.off[i>>3] |= 0x80 >> (i & 7)
			if n.release != 64 && len(j.extras) < maxLogs {
				j.extras = append(j.extras, extraLog{w.safe(n.stamp), uint8(i), true, n.release})
				j.extrasS = j.extrasS && w.safe(n.stamp)
			}
		}
		if n.count != implied && len(j.extras) < maxLogs {
			j.extras = append(j.extras, extraLog{w.safe(n.stamp), uint8(i), false, n.count})
			j.extrasS = j.extrasS && w.safe(n.stamp)
		}
	}
	if len(w.orders) == 0 && !offs {
		return
	}
	sortByOrder(w.orders)
	safe := j.offS
	for _, o := range w.orders {
		n := &c.notes[o.index]
		l := noteLog{s: w.safe(n.stamp), note: o.index, play: w.now.Sub(n.at) <= recent, velocity: n.velocity}
		j.notes, safe = append(j.notes, l), safe && l.s
	}
	j.has |= chapterN
	if len(j.extras) > 0 {
		j.has |= chapterE
		safe = safe && j.extrasS
	}
	j.s = j.s && safe
}

// writeSystem fills in the system journal, and tells whether there is anything
// in it.
func (w *scribe) writeSystem() bool {
	y := &w.s.system
	exclusives := w.sys.exclusives[:0]
	w.sys = systemJournal{s: true}
	j := &w.sys
	simple := func(c stamp, value uint8) countLog {
		if !w.coded(c) {
			return countLog{}
		}
		j.has |= chapterD
		return countLog{w.safe(c), true, value}
	}
	j.reset = simple(y.reset.stamp, y.reset.count)
	j.tune = simple(y.tune.stamp, y.tune.count)
	j.song = simple(y.song.stamp, y.song.value)
	j.simpleS = (j.reset.s || !j.reset.has) && (j.tune.s || !j.tune.has) && (j.song.s || !j.song.has)
	if w.coded(y.sensing.stamp) {
		j.has |= chapterV
		j.sensing = countLog{w.safe(y.sensing.stamp), true, y.sensing.count}
		j.s = j.s && j.sensing.s
	}
	if w.coded(y.sequencer.stamp) {
		j.has |= chapterQ
		q := &j.sequencer
		q.s, q.running, q.played = w.safe(y.sequencer.stamp), y.sequencer.running, y.sequencer.played
		q.hasPosition, q.position = true, y.sequencer.position
		j.s = j.s && q.s
	}
	if t := &y.timecode; w.coded(t.stamp) && (t.known || t.begun) {
		j.has |= chapterF
		f := &j.timecode
		f.s, f.hasComplete, f.complete, f.quarters, f.reverse = w.safe(t.stamp), t.known, t.complete, t.quarters, t.reverse
		f.point = 7
		if t.reverse {
			f.point = 0
		}
		if t.begun {
			f.hasPartial, f.partial, f.point = true, t.partial, t.point
		}
		j.s = j.s && f.s
	}
	for len(y.exclusive.list) > 0 && !w.coded(y.exclusive.list[0].stamp) {
		y.exclusive.drop()
	}
	for i := range y.exclusive.list {
		e := &y.exclusive.list[i]
		l := exclusiveLog{s: w.safe(e.stamp), hasCount: true, count: e.count, listed: true, status: exclusiveEnd}
		if n := len(e.message); n > 2 {
			l.hasData, l.data = true, e.message[1:n-1]
		}
		exclusives = append(exclusives, l)
		j.s = j.s && l.s
	}
	if j.exclusives = exclusives; len(exclusives) > 0 {
		j.has |= chapterX
	}
	j.s = j.s && (j.simpleS || j.has&chapterD == 0)
	return j.has != 0
}
