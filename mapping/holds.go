package mapping

import (
	"cmp"
	"slices"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Holds knows which sources hold which jacks high by hand, so that what one held
// falls when it is gone. Who holds one by a mapping is known to that. The zero
// Holds is empty.
type Holds struct{ by map[Address]*held }

type held struct {
	sources []string  // who came last is last
	at      time.Time // of the newest rise
}

// Hold is a jack that was held, by whom last, and when that was to be heard.
type Hold struct {
	Address Address
	Source  string
	At      time.Time
}

// mostHolders bounds the sources of one jack that are remembered: whoever sends
// datagrams may be another one each time. What more hold is theirs who came last.
const mostHolders = 64

// pressed tells whether what an address leads to is high for as long as a hand
// presses it.
func pressed(m *Member) bool {
	if m.Kind != MemberInput || m.Jack.Normal != 0 {
		return false
	}
	switch m.Jack.Kind {
	case instrument.Gate, instrument.Trigger, instrument.Presence:
		return true
	}
	return false
}

// Put takes over that a source has put volts on a jack, at a time that may lie
// ahead. Gates and triggers that rest low are held while they are high. One that
// rests high is let fall by a switch, and the volts of any other jack are a
// fader's: those stay as they are.
func (h *Holds) Put(m *Member, volts float64, source string, at time.Time) {
	if !pressed(m) {
		return
	}
	if volts <= 0 {
		h.Changed(m.Address, volts)
		return
	}
	if h.by == nil {
		h.by = map[Address]*held{}
	}
	k := h.by[m.Address]
	if k == nil {
		k = &held{}
		h.by[m.Address] = k
	}
	if at.After(k.at) {
		k.at = at
	}
	k.sources = append(slices.DeleteFunc(k.sources, func(s string) bool { return s == source }), source)
	k.sources = k.sources[max(len(k.sources)-mostHolders, 0):]
}

// Changed takes over that an address has another value, whoever did it: a jack
// that has fallen is held by nobody.
func (h *Holds) Changed(a Address, value float64) {
	if value <= 0 && len(h.by) > 0 {
		delete(h.by, a)
	}
}

// Held tells whether any source holds a jack.
func (h *Holds) Held(a Address) bool { return h.by[a] != nil }

// Left forgets the sources that are gone, and returns what only they held, in
// the order of the addresses.
func (h *Holds) Left(gone func(source string) bool) (all []Hold) {
	for a, k := range h.by {
		last := ""
		k.sources = slices.DeleteFunc(k.sources, func(s string) bool {
			if !gone(s) {
				return false
			}
			last = s
			return true
		})
		if len(k.sources) == 0 {
			delete(h.by, a)
			all = append(all, Hold{a, last, k.at})
		}
	}
	slices.SortFunc(all, func(a, b Hold) int { return cmp.Compare(a.Address, b.Address) })
	return all
}
