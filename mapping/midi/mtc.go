package midi

import (
	"fmt"
	"math"
	"time"
)

// FrameRate is one of the four of MIDI time code, as its two bits say it.
type FrameRate uint8

const (
	Rate24   FrameRate = iota // film
	Rate25                    // EBU
	Rate30DF                  // 29.97 per second, drop-frame: the count skips numbers, no frame
	Rate30                    // non-drop; of colour video at 29.97 too
)

// String returns "24", "25", "29.97df" or "30".
func (r FrameRate) String() string {
	return [...]string{"24", "25", "29.97df", "30"}[r&3]
}

// Count returns how many frame numbers a second has: 24, 25 or 30.
func (r FrameRate) Count() int { return [...]int{24, 25, 30, 30}[r&3] }

// PerSecond returns how many frames pass in a second.
func (r FrameRate) PerSecond() float64 {
	if r&3 == Rate30DF {
		return 30000.0 / 1001
	}
	return float64(r.Count())
}

// dropDay is how many frames a day of drop-frame code has: of 24×60×60×30, two
// are left out each minute but every tenth (SMPTE 12M).
const dropDay = 24 * (60*60*30 - 54*2)

// day returns how many frames a day has.
func (r FrameRate) day() int {
	if r&3 == Rate30DF {
		return dropDay
	}
	return 24 * 60 * 60 * r.Count()
}

// FrameTime is a moment of time code.
type FrameTime struct {
	Hours, Minutes, Seconds, Frames int
	Rate                            FrameRate
}

// String returns "hh:mm:ss:ff", with ";" before the frames if some are dropped.
func (t FrameTime) String() string {
	sep := ":"
	if t.Rate == Rate30DF {
		sep = ";"
	}
	return fmt.Sprintf("%02d:%02d:%02d%s%02d", t.Hours, t.Minutes, t.Seconds, sep, t.Frames)
}

// Valid tells whether there is such a frame.
func (t FrameTime) Valid() bool {
	return t.Rate <= Rate30 && t.Hours >= 0 && t.Hours < 24 && t.Minutes >= 0 && t.Minutes < 60 &&
		t.Seconds >= 0 && t.Seconds < 60 && t.Frames >= 0 && t.Frames < t.Rate.Count() &&
		(t.Rate != Rate30DF || t.Frames > 1 || t.Seconds > 0 || t.Minutes%10 == 0)
}

// Index returns how many frames have passed since 00:00:00:00.
func (t FrameTime) Index() int {
	minutes := t.Hours*60 + t.Minutes
	n := (minutes*60+t.Seconds)*t.Rate.Count() + t.Frames
	if t.Rate == Rate30DF {
		n -= 2 * (minutes - minutes/10)
	}
	return n
}

// Elapsed returns the time since 00:00:00:00, as the frames pass.
func (t FrameTime) Elapsed() time.Duration {
	return time.Duration(math.Round(float64(t.Index()) / t.Rate.PerSecond() * 1e9))
}

// FrameAt returns the frame that has so many before it; a day is a circle.
func FrameAt(index int, rate FrameRate) FrameTime {
	rate &= 3
	index %= rate.day()
	if index < 0 {
		index += rate.day()
	}
	if rate == Rate30DF {
		const ten, one = 10*60*30 - 9*2, 60*30 - 2
		tens, rest := index/ten, index%ten
		index += tens * 18
		if rest >= 1800 {
			index += 2 * ((rest-1800)/one + 1)
		}
	}
	n := rate.Count()
	return FrameTime{Hours: index / (3600 * n), Minutes: index / (60 * n) % 60, Seconds: index / n % 60, Frames: index % n, Rate: rate}
}

// timecodeTimeout is how long quarter frames may be missing before the tape
// stands: ten of the slowest rate.
const timecodeTimeout = 105 * time.Millisecond

// Timecode reads MIDI time code: quarter frames, four each frame, of which
// eight say one time, and whole times in exclusive messages. A time is known
// when the eight are complete: forward that is two frames after the one they
// say, which are added; backward it is that frame. In between, each quarter frame moves the position by its share. The
// zero value is ready; it allocates nothing.
type Timecode struct {
	// Jumps counts whole times that were not where the ones before lead to;
	// Dropped counts quarter frames that did not come or came in disorder.
	Jumps, Dropped uint64

	nibbles [8]uint8
	have    int  // pieces in a row
	piece   int  // the newest
	reverse bool // its direction
	any     bool // a piece came since the last full frame

	// A time that is not where the ones before lead to counts when the next
	// one follows it; the first after a pause counts at once.
	fresh     bool
	guess     int // in quarter frames; −1: none
	guessRate FrameRate

	known    bool
	quarters int // position in quarter frames
	rate     FrameRate
	running  bool
	last     time.Time
}

// Message takes a message and tells whether it is of time code. Times must not
// run backward.
func (t *Timecode) Message(m Message, at time.Time) bool {
	switch {
	case m.Status() == QuarterFrame:
		t.quarter(m.Data[1]&0x7f, at)
		return true
	case isFullFrame(m.SysEx):
		t.full(m.SysEx)
		return true
	}
	return false
}

// isFullFrame tells a full frame message: F0 7F device 01 01 hh mm ss ff F7.
func isFullFrame(b []byte) bool {
	return len(b) == 10 && b[0] == SysExStart && b[1] == 0x7f && b[3] == 1 && b[4] == 1 && b[9] == SysExEnd
}

// full takes a full frame message: the tape was wound to a place, and stands
// there until quarter frames come.
func (t *Timecode) full(b []byte) {
	f := FrameTime{Hours: int(b[5] & 31), Minutes: int(b[6]), Seconds: int(b[7]), Frames: int(b[8]), Rate: FrameRate(b[5] >> 5 & 3)}
	if !f.Valid() {
		t.Dropped++
		return
	}
	t.rate, t.quarters, t.known = f.Rate, f.Index()*4, true
	t.running, t.any, t.have = false, false, 0
}

// quarter takes a quarter frame.
func (t *Timecode) quarter(d byte, at time.Time) {
	piece, nibble := int(d>>4), d&15
	if t.any && at.Sub(t.last) > timecodeTimeout {
		t.have, t.running, t.any = 0, false, false
	}
	step := (piece - t.piece) & 7
	switch {
	case !t.any:
		t.have, t.fresh, t.guess = 0, true, -1
	case step == 1 && (!t.reverse || t.have <= 1):
		t.reverse = false
	case step == 7 && (t.reverse || t.have <= 1):
		t.reverse = true
	case step == 1 || step == 7:
		// Turned around: the piece before is the first of the new direction.
		t.reverse = step == 7
		t.have = 1
	default:
		// The direction holds; what is missing has passed all the same.
		missed := (step - 1) & 7
		if t.reverse {
			missed = (7 - step) & 7
		}
		t.Dropped += uint64(max(missed, 1))
		t.move(missed)
		t.have = 0
	}
	if t.any {
		t.running = true
		t.move(1)
	}
	t.any, t.piece, t.last = true, piece, at
	t.nibbles[piece] = nibble
	t.have = min(t.have+1, 8)
	if t.have == 8 && (!t.reverse && piece == 7 || t.reverse && piece == 0) {
		t.whole()
	}
}

// move moves the position by n quarter frames in its direction.
func (t *Timecode) move(n int) {
	if !t.known {
		return
	}
	day := t.rate.day() * 4
	t.quarters = ((t.quarters+n*t.step())%day + day) % day
}

// whole takes the time that eight pieces say: that at which piece 0 is sent,
// in both directions.
func (t *Timecode) whole() {
	n := &t.nibbles
	f := FrameTime{
		Frames:  int(n[0] | n[1]&1<<4),
		Seconds: int(n[2] | n[3]&3<<4),
		Minutes: int(n[4] | n[5]&3<<4),
		Hours:   int(n[6] | n[7]&1<<4),
		Rate:    FrameRate(n[7] >> 1 & 3),
	}
	if !f.Valid() {
		t.Dropped += 8
		t.have = 0
		return
	}
	day := f.Rate.day() * 4
	now := f.Index() * 4
	if !t.reverse {
		now = (now + 7) % day // since the first of the eight
	}
	switch {
	case t.known && f.Rate == t.rate && now == t.quarters:
		t.guess = -1
		return
	case t.known && !t.fresh && (t.guess < 0 || t.guessRate != f.Rate || (now-t.guess-8*t.step()+day)%day != 0):
		// Elsewhere: or was it a jump amid the eight, or a broken one? The
		// next eight must lead on from here.
		t.guess, t.guessRate = now, f.Rate
		return
	case t.known:
		t.Jumps++
	}
	t.rate, t.quarters, t.known, t.fresh, t.guess = f.Rate, now, true, false, -1
}

// step is the direction, 1 or −1.
func (t *Timecode) step() int {
	if t.reverse {
		return -1
	}
	return 1
}

// Time returns the frame that passes now, and whether any is known.
func (t *Timecode) Time() (FrameTime, bool) {
	return FrameAt(t.quarters/4, t.rate), t.known
}

// Elapsed returns the position to a quarter frame, and whether any is known.
func (t *Timecode) Elapsed() (time.Duration, bool) {
	return time.Duration(math.Round(float64(t.quarters) / 4 / t.rate.PerSecond() * 1e9)), t.known
}

// Rate returns the frame rate that was heard last.
func (t *Timecode) Rate() FrameRate { return t.rate }

// Running tells whether quarter frames come: one did within the last 105 ms.
func (t *Timecode) Running(now time.Time) bool {
	return t.running && now.Sub(t.last) <= timecodeTimeout
}

// Reverse tells whether the tape ran backward last.
func (t *Timecode) Reverse() bool { return t.reverse }

// Locked tells whether eight pieces came in a row and in order.
func (t *Timecode) Locked() bool { return t.have == 8 && t.known }
