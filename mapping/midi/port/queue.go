package port

import (
	"container/heap"
	"math/bits"
	"slices"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// Limits of a queue, in messages and bytes.
const (
	// queueLimit is two seconds of a DIN cable.
	queueLimit = 2048
	// vitalLimit is what vital messages may fill besides.
	vitalLimit = 2 * queueLimit
	// sysexLimit bounds the bytes of exclusive messages that wait.
	sysexLimit = 1 << 20
	// stale is how late a note is not begun any more if its end is due, too:
	// a cable that was blocked does not play what was missed.
	stale = 250 * time.Millisecond
)

// class is what a full queue does with a message.
type class uint8

const (
	value class = iota // a position, of which only the last counts
	begin              // a note or a pedal: may be lost, with a count
	bulk               // an exclusive message: the same
	vital              // ends something, or means nothing without its fellows
)

// classOf sorts a message, and names the controller of a value.
func classOf(m midi.Message) (class, uint32) {
	d := m.Data
	switch m.Kind() {
	case midi.SysExStart:
		return bulk, 0
	case midi.NoteOn:
		if m.IsNoteOn() {
			return begin, 0
		}
	case midi.PitchBend, midi.ChannelPressure:
		return value, uint32(d[0]) << 8
	case midi.PolyPressure:
		return value, uint32(d[0])<<8 | uint32(d[1])
	case midi.ControlChange:
		switch n := d[1]; {
		case pedalOf(m) >= 0:
			if d[2] >= 64 {
				return begin, 0
			}
		case n >= midi.CCAllSoundOff, n >= midi.CCDataIncrement && n <= midi.CCRPN,
			n&^midi.CCFine == midi.CCBank, n&^midi.CCFine == midi.CCDataEntry:
			// Modes, banks and parameters by number mean nothing alone.
		default:
			return value, uint32(d[0])<<8 | uint32(n)
		}
	}
	return vital, 0
}

// item is a message that waits.
type item struct {
	key int64     // when it is due, in nanoseconds since began
	seq uint64    // order of those that are due at once
	at  time.Time // as given
	m   midi.Message
}

type items []item

func (h items) Len() int { return len(h) }
func (h items) Less(i, j int) bool {
	return h[i].key < h[j].key || h[i].key == h[j].key && h[i].seq < h[j].seq
}
func (h items) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *items) Push(x any)   { *h = append(*h, x.(item)) }
func (h *items) Pop() any {
	n := len(*h) - 1
	x := (*h)[n]
	(*h)[n] = item{}
	*h = (*h)[:n]
	return x
}

// add and take are heap.Push and heap.Pop without an allocation.
func (h *items) add(it item) {
	*h = append(*h, it)
	heap.Fix(h, len(*h)-1)
}

func (h *items) take(i int) item {
	n := len(*h) - 1
	it := (*h)[i]
	(*h)[i] = (*h)[n]
	(*h)[n] = item{}
	*h = (*h)[:n]
	if i < n {
		heap.Fix(h, i)
	}
	return it
}

// queue holds what waits for a port, in the order of its time, and in the order
// in which it came where that is the same. It is bounded: when it is full it
// gives up values that a later one replaces, then other values, then notes that
// would begin. The end of a note, of a pedal or of all notes is never given up: at
// the worst it loses its place and is owed, and the note is not begun. Nor is the last
// value of a controller, which then comes when all else has gone.
type queue struct {
	h       items
	seq     uint64
	begins  int                     // note-ons in h
	bytes   int                     // of exclusive messages in h
	sounds  [16][128]uint8          // notes taken out and not ended
	owed    [16][2]uint64           // note-offs that found no room
	lifts   [16]uint8               // pedals that go up and found no room, by bit
	offs    [16]uint8               // all sound off and all notes off that found no room, by bit
	owing   int                     // of all three
	last    map[uint32]midi.Message // values that found no room and have no later one in h
	dropped uint64
	limit   int // 0: queueLimit
}

func (q *queue) max() int {
	if q.limit > 0 {
		return q.limit
	}
	return queueLimit
}

func (q *queue) empty() bool { return len(q.h) == 0 && q.owing == 0 && len(q.last) == 0 }

// put adds a message that is due at key. It tells whether it comes before all
// others.
func (q *queue) put(key int64, at time.Time, m midi.Message) (first bool) {
	c, control := classOf(m)
	if len(m.SysEx) > 0 && q.bytes+len(m.SysEx) > sysexLimit {
		q.dropped++
		return false
	}
	if m.IsNoteOff() {
		q.cancel(key, m)
	}
	if len(q.h) >= q.max() && !q.room(c, control) {
		switch {
		case m.IsNoteOff():
			q.owe(m)
			return true
		case c == value:
			q.keep(control, m)
			return len(q.h) == 0
		case len(q.h) >= q.max()+vitalLimit && pedalOf(m) >= 0 && c == vital:
			q.lift(m)
			return true
		case len(q.h) >= q.max()+vitalLimit && offOf(m) >= 0:
			q.off(m)
			return true
		case c != vital || len(q.h) >= q.max()+vitalLimit:
			q.dropped++
			return false
		}
	}
	if c == value && q.last != nil {
		q.forget(control)
	}
	if len(m.SysEx) > 0 {
		m.SysEx = append([]byte(nil), m.SysEx...)
		q.bytes += len(m.SysEx)
	} else if m.IsNoteOn() {
		q.begins++
	}
	q.seq++
	q.h.add(item{key: key, seq: q.seq, at: at, m: m})
	return q.h[0].seq == q.seq
}

// room gives up a value for a message of a class: the oldest of the same
// controller, or else the oldest of any.
func (q *queue) room(c class, control uint32) bool {
	same, any := -1, -1
	for i := range q.h {
		k, n := classOf(q.h[i].m)
		if k != value {
			continue
		}
		if any < 0 || q.h.Less(i, any) {
			any = i
		}
		if c == value && n == control && (same < 0 || q.h.Less(i, same)) {
			same = i
		}
	}
	switch {
	case same >= 0:
		q.remove(same)
		q.dropped++
	case any >= 0:
		it := q.remove(any)
		_, n := classOf(it.m)
		for i := range q.h {
			if k, o := classOf(q.h[i].m); k == value && o == n {
				q.dropped++
				return true
			}
		}
		q.keep(n, it.m)
	default:
		return false
	}
	return true
}

// keep notes the value of a controller that has no place.
func (q *queue) keep(control uint32, m midi.Message) {
	if q.last == nil {
		q.last = map[uint32]midi.Message{}
	}
	q.forget(control)
	q.last[control] = m
}

// forget drops the value that was kept, for there is a later one.
func (q *queue) forget(control uint32) {
	if _, ok := q.last[control]; ok {
		delete(q.last, control)
		q.dropped++
	}
}

func (q *queue) remove(i int) item {
	it := q.h.take(i)
	if it.m.IsNoteOn() {
		q.begins--
	}
	q.bytes -= len(it.m.SysEx)
	return it
}

// cancel takes back a note that is to begin after its end, which is due at key:
// the next of its kind, if none sounds then that the end could be of.
func (q *queue) cancel(key int64, off midi.Message) {
	if q.begins == 0 {
		return
	}
	ch, note := off.Channel(), off.Data[1]&0x7f
	sounds, next := int(q.sounds[ch][note]), -1
	for i := range q.h {
		it := &q.h[i]
		if !it.m.IsChannel() || it.m.Channel() != ch || it.m.Data[1] != note {
			continue
		}
		switch {
		case it.m.IsNoteOn() && it.key <= key:
			sounds++
		case it.m.IsNoteOn() && (next < 0 || q.h.Less(i, next)):
			next = i
		case it.m.IsNoteOff() && it.key <= key:
			sounds--
		}
	}
	if sounds <= 0 && next >= 0 {
		q.remove(next)
		q.dropped++
	}
}

// owe notes the end of a note that has no place, and takes back all of its
// beginnings.
func (q *queue) owe(off midi.Message) {
	ch, note := off.Channel(), off.Data[1]&0x7f
	for i := 0; i < len(q.h); {
		if m := q.h[i].m; m.IsNoteOn() && m.Channel() == ch && m.Data[1] == note {
			q.remove(i)
			q.dropped++
			i = 0
			continue
		}
		i++
	}
	if bit := uint64(1) << (note & 63); q.owed[ch][note>>6]&bit == 0 {
		q.owed[ch][note>>6] |= bit
		q.owing++
	}
}

// pedals are the controllers that hold notes after their keys.
var pedals = [...]uint8{midi.CCSustain, 66, 69}

// pedalOf returns which of them a message moves, or −1.
func pedalOf(m midi.Message) int {
	if m.Kind() != midi.ControlChange {
		return -1
	}
	return slices.Index(pedals[:], m.Data[1])
}

// lift notes that a pedal goes up for which there is no place, and takes back
// all that press it.
func (q *queue) lift(up midi.Message) {
	ch, pedal := up.Channel(), pedalOf(up)
	for i := 0; i < len(q.h); {
		if m := q.h[i].m; m.IsChannel() && m.Channel() == ch && pedalOf(m) == pedal && m.Data[2] >= 64 {
			q.remove(i)
			q.dropped++
			i = 0
			continue
		}
		i++
	}
	if bit := uint8(1) << pedal; q.lifts[ch]&bit == 0 {
		q.lifts[ch] |= bit
		q.owing++
	}
}

// offs are the controllers that end all notes of a channel.
var offs = [...]uint8{midi.CCAllSoundOff, midi.CCAllNotesOff}

// offOf returns which of them a message is, or −1. The modes, which are all
// notes off as well, count as that.
func offOf(m midi.Message) int {
	if m.Kind() != midi.ControlChange {
		return -1
	}
	return slices.Index(offs[:], min(m.Data[1], midi.CCAllNotesOff))
}

// off notes an end of all notes of a channel for which there is no place, and
// takes back all of their beginnings. A mode itself is lost.
func (q *queue) off(m midi.Message) {
	ch, n := m.Channel(), len(q.h)
	q.h = slices.DeleteFunc(q.h, func(it item) bool { return it.m.IsNoteOn() && it.m.Channel() == ch })
	heap.Init(&q.h)
	q.begins -= n - len(q.h)
	q.dropped += uint64(n - len(q.h))
	if m.Data[1] > midi.CCAllNotesOff {
		q.dropped++
	}
	if bit := uint8(1) << offOf(m); q.offs[ch]&bit == 0 {
		q.offs[ch] |= bit
		q.owing++
	}
}

// get takes the next message that is due at now. If none is, wait is how long
// until then, or negative if there is none at all.
func (q *queue) get(now int64) (it item, ok bool, wait time.Duration) {
	if q.owing > 0 {
		for ch, w := range q.lifts {
			if w != 0 {
				q.lifts[ch] = w & (w - 1)
				q.owing--
				return item{key: now, m: midi.CC(ch, int(pedals[bits.TrailingZeros8(w)]), 0)}, true, 0
			}
		}
		for ch := range q.owed {
			for half, w := range q.owed[ch] {
				if w == 0 {
					continue
				}
				note := bits.TrailingZeros64(w)
				q.owed[ch][half] &^= 1 << note
				q.owing--
				note += half * 64
				q.sounds[ch][note] = 0
				return item{key: now, m: midi.Off(ch, note, 64)}, true, 0
			}
		}
		for ch, w := range q.offs {
			if w != 0 {
				q.offs[ch] = w & (w - 1)
				q.owing--
				return item{key: now, m: midi.CC(ch, int(offs[bits.TrailingZeros8(w)]), 0)}, true, 0
			}
		}
	}
	for len(q.h) > 0 {
		if d := q.h[0].key - now; d > 0 {
			if it, ok := q.kept(now); ok {
				return it, true, 0
			}
			return item{}, false, time.Duration(d)
		}
		it := q.remove(0)
		if it.m.IsNoteOn() && now-it.key > int64(stale) && q.ended(now, it.m) {
			q.dropped++
			continue
		}
		if it.m.IsChannel() && it.m.Kind() <= midi.NoteOn {
			n := &q.sounds[it.m.Channel()][it.m.Data[1]&0x7f]
			if it.m.IsNoteOn() {
				*n += b2u(*n < 255)
			} else {
				*n -= b2u(*n > 0)
			}
		}
		return it, true, 0
	}
	it, ok = q.kept(now)
	return it, ok, -1
}

// kept takes a value that had no place.
func (q *queue) kept(now int64) (item, bool) {
	for n, m := range q.last {
		delete(q.last, n)
		return item{key: now, m: m}, true
	}
	return item{}, false
}

func b2u(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// ended tells whether the end of a note is due, too.
func (q *queue) ended(now int64, on midi.Message) bool {
	for _, it := range q.h {
		if it.key <= now && it.m.IsNoteOff() && it.m.Channel() == on.Channel() && it.m.Data[1] == on.Data[1] {
			return true
		}
	}
	return false
}

// silence takes out what would sound, or change a sound: a panic goes before
// it. Clock, programs, exclusive messages and other controllers stay.
func (q *queue) silence() {
	kept := q.h[:0]
	for _, it := range q.h {
		c, _ := classOf(it.m)
		if c == begin || c == value && it.m.Kind() != midi.ControlChange || it.m.IsNoteOff() {
			if !it.m.IsNoteOff() {
				q.dropped++
			}
			continue
		}
		kept = append(kept, it)
	}
	clear(q.h[len(kept):])
	q.h = kept
	heap.Init(&q.h)
	for n, m := range q.last {
		if m.Kind() != midi.ControlChange {
			delete(q.last, n)
			q.dropped++
		}
	}
	q.forgive()
}

// clear drops everything.
func (q *queue) clear() {
	q.dropped += uint64(len(q.h) + len(q.last))
	q.h, q.last, q.bytes = nil, nil, 0
	q.forgive()
}

// forgive forgets what is owed, and what sounds: somebody ends everything.
func (q *queue) forgive() {
	q.begins, q.owing, q.owed, q.lifts, q.offs, q.sounds = 0, 0, [16][2]uint64{}, [16]uint8{}, [16]uint8{}, [16][128]uint8{}
}
