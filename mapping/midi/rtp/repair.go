package rtp

import "time"

const (
	// maxClocks is how many lost clocks are played after all, so that who
	// counts them stays in step; after more, the position is told instead.
	maxClocks = 24
	// maxSteps bounds the increments of a parameter that are played at once.
	maxSteps = 128
	// maxPlayed bounds what a journal can make us play, but for the ends of
	// notes: more than any performance has between two packets.
	maxPlayed = 8192
)

// repair brings a receiver's model to where a journal says that the sender's
// is, and plays what it takes.
type repair struct {
	s    *stream
	seq  uint32    // the last packet that the journal covers
	at   time.Time // when what is played takes effect
	emit func(at time.Time, b []byte)
	// adopt takes counts as they are: at the beginning of a stream nothing is
	// known of what was counted before.
	adopt bool
	// covered says that the journal reaches back to the first lost packet.
	covered bool
	// lastClock is when the last clock before the loss took effect, or zero.
	lastClock time.Time
	played    int
}

// play applies a message and hands it on.
func (r *repair) play(b ...byte) { r.playAt(r.at, b) }

func (r *repair) playAt(at time.Time, b []byte) {
	r.s.apply(b, r.seq, at)
	if r.played++; r.played <= maxPlayed || b[0]&0xf0 == 0x80 {
		r.emit(at, b)
	}
}

// all goes through a journal.
func (r *repair) all(j *journal) {
	if j.system != nil {
		r.system(j.system)
	}
	for i := range j.channels {
		r.channel(&j.channels[i])
	}
	if !r.covered {
		r.unconfirmed(j)
	}
}

// unconfirmed ends the notes that a journal does not say are held, where it
// may have missed their end.
func (r *repair) unconfirmed(j *journal) {
	var held [16][128]bool
	for i := range j.channels {
		c := &j.channels[i]
		for _, l := range c.notes {
			held[c.channel][l.note] = true
		}
	}
	r.s.held(func(c, k uint8, n *note) {
		if !held[c][k] {
			r.endNote(c, k, n, 64, 0)
		}
	})
}

// endNote plays the note-offs that bring a note's count down to keep, and at
// least one if it is on.
func (r *repair) endNote(c, k uint8, n *note, velocity, keep uint8) {
	times := int(n.count) - int(keep)
	if n.on {
		times = max(times, 1)
	}
	for range times {
		r.play(0x80|c, k, velocity)
	}
	n.count = keep
}

// endAll ends all notes.
func (r *repair) endAll() {
	r.s.held(func(c, k uint8, n *note) { r.endNote(c, k, n, 64, 0) })
}

func (r *repair) channel(j *channelJournal) {
	c, n := &r.s.channels[j.channel], j.channel
	if j.has&chapterP != 0 {
		r.program(c, n, j)
	}
	if j.has&chapterC != 0 {
		r.controls(c, n, j)
	}
	if j.has&chapterM != 0 {
		r.params(c, n, j)
	}
	if j.has&chapterW != 0 && c.wheel.value != j.wheel {
		r.play(0xe0|n, uint8(j.wheel&0x7f), uint8(j.wheel>>7))
	}
	if j.has&chapterN != 0 {
		r.notes(c, n, j)
	}
	if j.has&chapterT != 0 && c.pressure.value != j.pressure {
		r.play(0xd0|n, j.pressure)
	}
	if j.has&chapterA != 0 {
		for _, l := range j.keys {
			if !l.reset && c.keys[l.note].value != l.value {
				r.play(0xa0|n, l.note, l.value)
			}
		}
	}
}

func (r *repair) program(c *channel, n uint8, j *channelJournal) {
	p, q := &c.program, &j.program
	if p.known && p.value == q.value && (!q.hasBank || p.hasBank && p.bank == q.bank && p.bankFine == q.bankFine) {
		return
	}
	if q.hasBank {
		if k := &c.controls[ccBank]; !k.known || k.value != q.bank {
			r.play(0xb0|n, ccBank, q.bank)
		}
		if c.controls[ccBankFine].value != q.bankFine {
			r.play(0xb0|n, ccBankFine, q.bankFine)
		}
	}
	r.play(0xc0|n, q.value)
}

// controls goes through the logs of chapter C. Those of one controller stand
// together, one for each tool.
func (r *repair) controls(c *channel, n uint8, j *channelJournal) {
	for logs := j.controls; len(logs) > 0; {
		number := logs[0].number
		var has [3]bool
		var value [3]uint8
		for len(logs) > 0 && logs[0].number == number && !has[logs[0].tool] {
			has[logs[0].tool], value[logs[0].tool] = true, logs[0].value
			logs = logs[1:]
		}
		r.control(c, n, number, has, value, j)
	}
}

func (r *repair) control(c *channel, n, number uint8, has [3]bool, value [3]uint8, j *channelJournal) {
	k := &c.controls[number]
	if number >= ccSoundOff {
		switch {
		case r.adopt && has[toolCount]:
			k.count = value[toolCount]
		case has[toolCount]:
			if k.count != value[toolCount] {
				r.mode(c, n, number, value[toolValue])
				k.count = value[toolCount]
			}
		case number == ccReset:
			r.play(0xb0|n, number, 0)
		case number == 122:
			if !k.known || k.value != value[toolValue] {
				r.play(0xb0|n, number, value[toolValue])
			}
		default:
			// It came, and none can say whether before the loss or in it: what
			// the journal does not hold on to ends.
			for i := range c.notes {
				if c.notes[i].on && !listed(j.notes, uint8(i)) {
					r.endNote(n, uint8(i), &c.notes[i], 64, 0)
				}
			}
		}
		return
	}
	want := value[toolValue]
	if !has[toolValue] {
		if !has[toolToggle] {
			return // a count tells that it came, not what it was
		}
		// A pedal is up at the beginning.
		want = 127 * (value[toolToggle] & 1)
		if k.known && (k.value >= 64) == (want >= 64) {
			want = k.value
		}
	}
	toggled := (value[toolToggle] - k.toggles) & 0x3f
	switch {
	case !k.known || k.value != want:
		if c.params.takes(number) {
			// It was sent while no parameter was selected.
			r.play(0xb0|n, ccRPN, 127)
			r.play(0xb0|n, ccRPNFine, 127)
		}
		r.play(0xb0|n, number, want)
	case has[toolToggle] && !r.adopt && toggled != 0 && toggled&1 == 0:
		other := uint8(127)
		if want >= 64 {
			other = 0
		}
		r.play(0xb0|n, number, other)
		r.play(0xb0|n, number, want)
	}
	if has[toolToggle] {
		k.toggles = value[toolToggle]
	}
	if has[toolCount] {
		k.count = value[toolCount]
	}
}

// mode plays a lost mode message. Those that end notes do so with note-offs
// too, for receivers that do not know them.
func (r *repair) mode(c *channel, n, number, value uint8) {
	if number == ccSoundOff || number >= ccNotesOff {
		for i := range c.notes {
			if c.notes[i].on {
				r.endNote(n, uint8(i), &c.notes[i], 64, 0)
			}
		}
	}
	r.play(0xb0|n, number, value)
}

func listed(logs []noteLog, note uint8) bool {
	for _, l := range logs {
		if l.note == note {
			return true
		}
	}
	return false
}

func (r *repair) params(c *channel, n uint8, j *channelJournal) {
	for i := range j.params.logs {
		r.param(c, n, &j.params.logs[i])
	}
	q, p := &j.params, &c.params
	switch {
	case q.pending:
		if !p.pending || p.nrpn != q.pendingNRPN || uint8(p.number>>7) != q.pendingHigh {
			r.play(0xb0|n, highNumber(q.pendingNRPN), q.pendingHigh)
		}
	case q.selected && len(q.logs) > 0:
		l := &q.logs[len(q.logs)-1]
		r.choose(c, n, l.nrpn, l.number)
	case !q.selected && (p.selected || p.pending):
		r.play(0xb0|n, ccRPN, 127)
		r.play(0xb0|n, ccRPNFine, 127)
	}
}

func highNumber(nrpn bool) uint8 {
	if nrpn {
		return ccNRPN
	}
	return ccRPN
}

// choose selects a parameter, unless it is.
func (r *repair) choose(c *channel, n uint8, nrpn bool, number uint16) {
	if p := &c.params; p.selected && p.nrpn == nrpn && p.number == number {
		return
	}
	high := highNumber(nrpn)
	r.play(0xb0|n, high, uint8(number>>7))
	r.play(0xb0|n, high-1, uint8(number&0x7f))
}

func (r *repair) param(c *channel, n uint8, l *paramLog) {
	var have param
	if i := c.params.find(l.nrpn, l.number); i >= 0 {
		have = c.params.list[i]
	}
	msb, lsb := l.fields&fieldMSB != 0, l.fields&fieldLSB != 0
	wantMSB := msb && (!have.hasMSB || have.msb != l.msb || have.hasLSB && !lsb)
	wantLSB := lsb && (wantMSB || !have.hasLSB || have.lsb != l.lsb)
	// A step that came before data is no longer told: data would be the same,
	// and the steps are gone.
	if !wantMSB && !wantLSB && l.fields&fieldSteps == 0 && have.steps != 0 {
		wantMSB, wantLSB = msb, lsb
	}
	steps := 0
	if l.fields&fieldSteps != 0 {
		steps = int(l.steps)
		if !wantMSB && !wantLSB {
			steps -= int(have.steps)
		}
	}
	if !wantMSB && !wantLSB && steps == 0 {
		return
	}
	r.choose(c, n, l.nrpn, l.number)
	if wantMSB {
		r.play(0xb0|n, ccEntry, l.msb)
	}
	if wantLSB {
		r.play(0xb0|n, ccEntryFine, l.lsb)
	}
	button := uint8(ccIncrement)
	if steps < 0 {
		button, steps = ccDecrement, -steps
	}
	if r.played > maxPlayed { // no performance; the value is taken over below
		steps = 0
	}
	for range min(steps, maxSteps) {
		r.play(0xb0|n, button, 0)
	}
	if i := c.params.find(l.nrpn, l.number); i >= 0 && l.fields&fieldSteps != 0 {
		c.params.list[i].steps = l.steps
	}
}

func (r *repair) notes(c *channel, n uint8, j *channelJournal) {
	var count [128]int16 // what chapter E says, −1 nothing
	var velocity [128]uint8
	for i := range count {
		count[i], velocity[i] = -1, 64
	}
	if j.has&chapterE != 0 {
		for _, l := range j.extras {
			if l.velocity {
				velocity[l.note] = l.value
			} else {
				count[l.note] = int16(l.value)
			}
		}
	}
	for i := range c.notes {
		if j.off[i>>3]&(0x80>>(i&7)) == 0 {
			continue
		}
		keep := uint8(max(count[i], 0))
		if e := &c.notes[i]; e.on || e.count > keep {
			r.endNote(n, uint8(i), e, velocity[i], keep)
		} else {
			e.count = keep
		}
	}
	for _, l := range j.notes {
		e := &c.notes[l.note]
		want := uint8(1)
		if count[l.note] >= 0 {
			want = uint8(count[l.note])
		}
		switch {
		case l.velocity == 0: // none that the format allows; it is an end
			r.endNote(n, l.note, e, 64, 0)
			want = 0
		case e.on && e.velocity == l.velocity && e.count == want:
		case e.on && e.count <= want && !l.play:
			// It sounds, and was struck again: the late stroke is left out.
			e.velocity, e.stamp.seq = l.velocity, r.seq
		case e.on && e.count < want:
			for e.count < want {
				r.play(0x90|n, l.note, l.velocity)
			}
		default:
			r.endNote(n, l.note, e, 64, 0)
			if l.play {
				r.play(0x90|n, l.note, l.velocity)
			} else {
				e.on, e.silent, e.velocity, e.at, e.stamp.seq = true, true, l.velocity, r.at, r.seq
			}
		}
		e.count = want
	}
}

func (r *repair) system(j *systemJournal) {
	y := &r.s.system
	if l := j.reset; l.has {
		if !r.adopt && l.value != y.reset.count {
			r.endAll()
			r.play(0xff)
		}
		y.reset.count = l.value
	}
	r.exclusives(j)
	if l := j.tune; l.has {
		if !r.adopt && l.value != y.tune.count {
			r.play(0xf6)
		}
		y.tune.count = l.value
	}
	if l := j.song; l.has && (!y.song.known || y.song.value != l.value) {
		r.play(0xf3, l.value)
	}
	if j.sensing.has {
		y.sensing.count = j.sensing.value // it is of no use late
	}
	if j.has&chapterQ != 0 {
		r.sequencer(j)
	}
	if j.has&chapterF != 0 {
		r.timecode(j)
	}
}

// exclusives plays the messages that were lost.
func (r *repair) exclusives(j *systemJournal) {
	x := &r.s.system.exclusive
	for i := range j.exclusives {
		l := &j.exclusives[i]
		if !l.hasCount {
			continue // which one it is cannot be told
		}
		lost := int8(l.count-x.count) > 0
		if r.adopt {
			lost = false
		}
		if lost && l.hasData && l.status >= 2 && (!l.hasFirst || l.first == 0) {
			b := make([]byte, 0, len(l.data)+2)
			b = append(append(append(b, 0xf0), l.data...), 0xf7)
			if isReset(b) {
				r.endAll()
			}
			r.playAt(r.at, b)
		}
		if lost || r.adopt {
			x.count = l.count
		}
	}
}

func (r *repair) sequencer(j *systemJournal) {
	q := &r.s.system.sequencer
	want := sequencer{running: j.sequencer.running, played: j.sequencer.played, position: j.sequencer.position}
	if !want.running {
		want.rest()
	}
	if q.running == want.running && q.played == want.played && q.position == want.position {
		return
	}
	clocks := want.clocks()
	if lost := clocks - q.clocks(); q.running && lost >= 0 && lost <= maxClocks {
		for i := range lost {
			at := r.at
			if !r.lastClock.IsZero() {
				// Where they would have been, so that who measures them is not
				// led astray.
				at = r.lastClock.Add(r.at.Sub(r.lastClock) * time.Duration(i+1) / time.Duration(lost+1))
			}
			r.playAt(at, []byte{0xf8})
		}
	} else {
		if q.running {
			r.play(0xfc)
		}
		if want.running && clocks <= maxClocks {
			r.play(0xfa)
		} else {
			beats := min(clocks/6, 0x3fff)
			r.play(0xf2, uint8(beats&0x7f), uint8(beats>>7))
			if clocks -= 6 * beats; want.running || clocks > 0 {
				r.play(0xfb)
			}
			if clocks > maxClocks { // farther on than a position can tell
				q.position, q.played, clocks = want.position, want.played, 0
			}
		}
		for range clocks {
			r.play(0xf8)
		}
	}
	if q.running && (!want.running || q.played && !want.played) {
		r.play(0xfc)
		if want.running { // it was stopped and went on
			r.play(0xfb)
		}
	}
}

// clocks returns how many have been played since the song's beginning.
func (q *sequencer) clocks() int {
	if q.played {
		return int(q.position) + 1
	}
	return int(q.position)
}

func (r *repair) timecode(j *systemJournal) {
	t, want := &r.s.system.timecode, &j.timecode
	nibble := func(v uint32, kind uint8) uint8 { return uint8(v >> (28 - 4*kind) & 0x0f) }
	quarter := func(kind uint8, v uint32) { r.play(0xf1, kind<<4|nibble(v, kind)) }
	step := func(from, to uint8, v uint32) {
		if want.reverse {
			for k := int(from); k >= int(to); k-- {
				quarter(uint8(k), v)
			}
			return
		}
		for k := int(from); k <= int(to); k++ {
			quarter(uint8(k), v)
		}
	}
	first, end := uint8(0), uint8(7)
	if want.reverse {
		first, end = 7, 0
	}
	// from returns where a series with the nibbles v goes on from what is here.
	from := func(v uint32) uint8 {
		if !t.begun || t.reverse != want.reverse {
			return first
		}
		k := first
		for k != t.point {
			if nibble(t.partial, k) != nibble(v, k) {
				return first
			}
			k = toward(k, end)
		}
		if nibble(t.partial, k) != nibble(v, k) {
			return first
		}
		return toward(k, end)
	}
	if want.hasComplete && (!t.known || t.complete != want.complete || t.quarters != want.quarters) {
		switch {
		case !want.quarters:
			// A full frame means to go there; it has been counted among the
			// exclusive messages, or will be.
			count := r.s.system.exclusive.count
			c := want.complete
			r.playAt(r.at, []byte{0xf0, 0x7f, 0x7f, 1, 1, uint8(c>>24) & 0x7f, uint8(c>>16) & 0x7f, uint8(c>>8) & 0x7f, uint8(c) & 0x7f, 0xf7})
			r.s.system.exclusive.count = count
		case !want.hasPartial:
			step(from(want.complete), end, want.complete)
		}
		t.known, t.complete, t.quarters = true, want.complete, want.quarters
	}
	if want.hasPartial && (!t.begun || t.reverse != want.reverse || t.point != want.point || t.partial != want.partial) {
		k := from(want.partial)
		if want.reverse && k < want.point || !want.reverse && k > want.point {
			k = first
		}
		step(k, want.point, want.partial)
	}
}

// toward steps from k to end, and past it stays.
func toward(k, end uint8) uint8 {
	switch {
	case k < end:
		return k + 1
	case k > end:
		return k - 1
	}
	return k
}

// sync takes over the counts of a journal whose commands have all been
// received, so that the next loss is measured from the same ones.
func (s *stream) sync(j *journal) {
	for i := range j.channels {
		c := &s.channels[j.channels[i].channel]
		for _, l := range j.channels[i].controls {
			switch l.tool {
			case toolCount:
				c.controls[l.number].count = l.value
			case toolToggle:
				c.controls[l.number].toggles = l.value
			}
		}
	}
	if y := j.system; y != nil {
		for _, c := range []struct {
			log *countLog
			to  *counter
		}{{&y.reset, &s.system.reset}, {&y.tune, &s.system.tune}, {&y.sensing, &s.system.sensing}} {
			if c.log.has {
				c.to.count = c.log.value
			}
		}
		if n := len(y.exclusives); n > 0 && y.exclusives[n-1].hasCount {
			s.system.exclusive.count = y.exclusives[n-1].count
		}
	}
}
