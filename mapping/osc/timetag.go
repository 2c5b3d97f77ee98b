package osc

import "time"

// TimeTag is an OSC time tag: an NTP timestamp, with the seconds since
// 1900-01-01 in its upper and the fraction of a second in its lower 32 bits.
type TimeTag uint64

// Immediately is the time tag that means "when it arrives".
const Immediately TimeTag = 1

// ntpToUnix is the number of seconds from the NTP to the Unix epoch (RFC 868).
const ntpToUnix = 2208988800

// TimeTagOf returns the time tag of t, rounded to its resolution of 233 ps.
func TimeTagOf(t time.Time) TimeTag {
	seconds := uint64(t.Unix()+ntpToUnix) & 0xffffffff
	fraction := (uint64(t.Nanosecond())<<32 + 5e8) / 1e9
	return TimeTag(seconds<<32 | fraction)
}

// Immediate reports whether t means "when it arrives". A tag of zero, which
// the specification leaves undefined and some senders use, counts as well.
func (t TimeTag) Immediate() bool { return t <= Immediately }

// Time returns the point in time, rounded to the nanosecond. Seconds whose top
// bit is clear lie in the era that begins in 2036, as RFC 4330 section 3 has
// it. The result means nothing when t is Immediate.
func (t TimeTag) Time() time.Time {
	seconds := int64(t >> 32)
	if seconds < 1<<31 {
		seconds += 1 << 32
	}
	nanos := (uint64(t)&0xffffffff*1e9 + 1<<31) >> 32
	return time.Unix(seconds-ntpToUnix, int64(nanos))
}

// later returns the later of two tags. An element of a bundle never precedes
// the bundle (OSC 1.0), and an immediate one inside means "with the bundle".
func later(a, b TimeTag) TimeTag {
	switch {
	case a.Immediate():
		return b
	case b.Immediate():
		return a
	case int64(b-a) > 0: // differs from b > a across the era's end
		return b
	}
	return a
}
