package midi

import (
	"errors"
	"fmt"
)

// The binary form of Held: eight bytes that say what it is, one byte a
// channel for its pedals and whether it was used, then one byte a key, channel
// by channel, for how often it is held.
const (
	heldMagic    = "k8sheld1"
	heldChannels = len(heldMagic)
	heldKeys     = heldChannels + channels

	// HeldSize is the length of the binary form of Held, in bytes.
	HeldSize = heldKeys + channels*128
)

// Bits of the byte of a channel.
const (
	heldUsed      = 1 << iota // a note or a pedal went out since the last release
	heldSustain               // controller 64 is down
	heldSostenuto             // controller 66
	heldHold                  // controller 69, the second hold pedal
	heldPedals    = heldSustain | heldSostenuto | heldHold
)

// Controllers that hold notes after their keys, in the order of their bits.
var heldPedalCC = [...]int{CCSustain, 66, 69}

// releaseVelocity is what a note-off without a measured one carries
// (MIDI 1.0 Detailed Specification 4.2, note-off).
const releaseVelocity = 64

// ErrHeld is of a binary form that no Held wrote: who reads it knows nothing
// of what sounds and should send ReleaseAll of an empty Held.
var ErrHeld = errors.New("no record of held notes")

// Held knows what sounds on one output: how often each key of each channel was
// pressed and not released, and which pedals are down. The zero value holds
// nothing. It allocates nothing and belongs to one goroutine.
//
// Its binary form lies in a mapped file while the program plays, so that the
// next start, or a watchdog, ends what a crash left sounding. No state in
// between can be wrong: each key and each channel is one byte of its own,
// stored at once, and any byte there means something. A page that a power
// failure tore between two sectors gives a few note-offs too many, or too few;
// CC 123 and CC 120 on the channels used end the rest.
//
// All notes off, all sound off, reset controllers and system reset release
// nothing here: not every receiver obeys them, and a note-off too many is
// heard nowhere.
type Held struct {
	b     [HeldSize - heldChannels]byte // as the binary form without its first eight
	count int                           // keys and pedals that hold
	page  []byte                        // a copy of the binary form, or nil
}

// set stores one byte, here and in the page.
func (h *Held) set(i int, v byte) {
	h.b[i] = v
	if h.page != nil {
		h.page[heldChannels+i] = v
	}
}

// heldKey is where the byte of a key lies in b.
func heldKey(channel, key int) int { return channels + channel*128 + key }

// Track notes a message that goes out. Where a crash must leave nothing
// behind, use Sending and Sent instead.
func (h *Held) Track(m Message) {
	h.Sending(m)
	h.Sent(m)
}

// Sending notes what begins to sound with a message: call it before the
// message is sent, so that a crash in between costs a note-off too many.
func (h *Held) Sending(m Message) {
	if !m.IsChannel() {
		return
	}
	ch := m.Channel()
	switch {
	case m.IsNoteOn():
		i := heldKey(ch, int(m.Data[1]&0x7f))
		if h.b[ch]&heldUsed == 0 {
			h.set(ch, h.b[ch]|heldUsed)
		}
		if v := h.b[i]; v < 255 {
			h.set(i, v+1)
			h.count++
		}
	case m.Kind() == ControlChange && m.Data[2] >= 64:
		if bit := pedal(m.Data[1]); bit != 0 && h.b[ch]&bit == 0 {
			h.set(ch, h.b[ch]|bit|heldUsed)
			h.count++
		}
	}
}

// Sent notes what ends with a message: call it after the message was sent.
func (h *Held) Sent(m Message) {
	if !m.IsChannel() {
		return
	}
	ch := m.Channel()
	switch {
	case m.IsNoteOff():
		i := heldKey(ch, int(m.Data[1]&0x7f))
		// A key that was pressed 255 times is no longer counted.
		if v := h.b[i]; v > 0 && v < 255 {
			h.set(i, v-1)
			h.count--
		}
	case m.Kind() == ControlChange && m.Data[2] < 64:
		if bit := pedal(m.Data[1]); h.b[ch]&bit != 0 {
			h.set(ch, h.b[ch]&^bit)
			h.count--
		}
	}
}

// pedal returns the bit of a controller that holds notes, or 0.
func pedal(controller byte) byte {
	switch controller {
	case CCSustain:
		return heldSustain
	case 66:
		return heldSostenuto
	case 69:
		return heldHold
	}
	return 0
}

// Any tells whether a key or a pedal is held.
func (h *Held) Any() bool { return h.count > 0 }

// Count returns how often the key of a channel, 0…15, is held; 255 is as often
// or more, until it is released.
func (h *Held) Count(channel, key int) int {
	return int(h.b[heldKey(channel&15, key&0x7f)])
}

// Release emits what ends everything that was begun: on each channel used
// since the last release one note-off for each note-on, its pedals up, then
// all notes off (CC 123) and all sound off (CC 120). It emits nothing where
// nothing was sent. Afterwards nothing is held. A message is struck off the
// record after emit returned, so a crash in between repeats it.
func (h *Held) Release(emit func(Message)) {
	for ch := range channels {
		if h.b[ch] == 0 && !h.keys(ch) {
			continue
		}
		h.lift(ch, emit)
		emit(CC(ch, CCAllNotesOff, 0))
		emit(CC(ch, CCAllSoundOff, 0))
		h.set(ch, 0)
	}
	h.count = 0
}

// ReleaseAll emits a panic: it ends what is held, and whatever another program
// or an earlier run left sounding, on all sixteen channels. All sound off comes
// first, on the channels used before the others, because on a DIN cable the
// whole takes 80 ms; then the single note-offs and pedals, for receivers that
// do not know it, then all notes off and reset controllers.
func (h *Held) ReleaseAll(emit func(Message)) {
	for _, used := range [2]bool{true, false} {
		for ch := range channels {
			if (h.b[ch]&heldUsed != 0) == used {
				emit(CC(ch, CCAllSoundOff, 0))
			}
		}
	}
	for ch := range channels {
		h.lift(ch, emit)
	}
	for ch := range channels {
		emit(CC(ch, CCSustain, 0))
		emit(CC(ch, CCAllNotesOff, 0))
		emit(CC(ch, CCResetAll, 0))
		h.set(ch, 0)
	}
	h.count = 0
}

// keys tells whether a key of the channel is held.
func (h *Held) keys(ch int) bool {
	for _, v := range h.b[heldKey(ch, 0):heldKey(ch+1, 0)] {
		if v != 0 {
			return true
		}
	}
	return false
}

// lift emits the note-offs of a channel, and its pedals up.
func (h *Held) lift(ch int, emit func(Message)) {
	for key := range 128 {
		i := heldKey(ch, key)
		n := h.b[i]
		for ; n > 0; n-- {
			emit(Off(ch, key, releaseVelocity))
		}
		if h.b[i] != 0 {
			h.set(i, 0)
		}
	}
	for n, cc := range heldPedalCC {
		if h.b[ch]&(heldSustain<<n) != 0 {
			emit(CC(ch, cc, 0))
		}
	}
	if h.b[ch]&heldPedals != 0 {
		h.set(ch, h.b[ch]&^heldPedals)
	}
}

// Attach writes the binary form into a page of at least HeldSize bytes, as of
// a mapped file, and keeps it up to date with one store of a byte for each
// change, until Attach(nil). What the page held before is lost: read it first.
// The page says what it is last, so that half a page is none. It is only
// written, never read.
func (h *Held) Attach(page []byte) error {
	if page == nil {
		h.page = nil
		return nil
	}
	if len(page) < HeldSize {
		return fmt.Errorf("held notes need a page of %d bytes, not %d", HeldSize, len(page))
	}
	page = page[:HeldSize]
	clear(page[:heldChannels])
	copy(page[heldChannels:], h.b[:])
	copy(page, heldMagic)
	h.page = page
	return nil
}

// AppendBinary adds the HeldSize bytes of the binary form to dst. The error is
// always nil.
func (h *Held) AppendBinary(dst []byte) ([]byte, error) {
	return append(append(dst, heldMagic...), h.b[:]...), nil
}

// MarshalBinary returns the binary form, HeldSize bytes. The error is always
// nil.
func (h *Held) MarshalBinary() ([]byte, error) {
	return h.AppendBinary(make([]byte, 0, HeldSize))
}

// UnmarshalBinary takes a binary form; a page attached before is let go. A
// page of zeros, as of a new file, holds nothing. Any other without the eight
// first bytes of a Held, or of another length, is ErrHeld, and leaves h as it
// was; behind those bytes nothing is refused.
func (h *Held) UnmarshalBinary(b []byte) error {
	if len(b) != HeldSize {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrHeld, len(b), HeldSize)
	}
	if head := string(b[:heldChannels]); head != heldMagic {
		for _, v := range b {
			if v != 0 {
				return fmt.Errorf("%w: begins with %q", ErrHeld, head)
			}
		}
	}
	h.page, h.count = nil, 0
	copy(h.b[:], b[heldChannels:])
	for ch := range channels {
		h.b[ch] &= heldUsed | heldPedals
		for n := range heldPedalCC {
			h.count += int(h.b[ch] >> (n + 1) & 1)
		}
	}
	for _, v := range h.b[channels:] {
		h.count += int(v)
	}
	return nil
}
