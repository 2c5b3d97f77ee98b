package rtp

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// difference tells what two models disagree in, as far as a performance can
// be heard; "" is nothing.
func difference(a, b *stream) string {
	var d []string
	say := func(format string, args ...any) { d = append(d, fmt.Sprintf(format, args...)) }
	for i := range a.channels {
		x, y := &a.channels[i], &b.channels[i]
		if x.program.known != y.program.known || x.program.value != y.program.value {
			say("channel %d program %v %d, %v %d", i, x.program.known, x.program.value, y.program.known, y.program.value)
		}
		for n := range x.controls {
			if x.controls[n].value != y.controls[n].value {
				say("channel %d controller %d: %d, %d", i, n, x.controls[n].value, y.controls[n].value)
			}
		}
		if x.wheel.value != y.wheel.value {
			say("channel %d wheel %d, %d", i, x.wheel.value, y.wheel.value)
		}
		if x.pressure.value != y.pressure.value {
			say("channel %d pressure %d, %d", i, x.pressure.value, y.pressure.value)
		}
		for n := range x.keys {
			if x.keys[n].value != y.keys[n].value {
				say("channel %d key pressure %d: %d, %d", i, n, x.keys[n].value, y.keys[n].value)
			}
		}
		p, q := &x.params, &y.params
		if p.selected != q.selected || p.pending != q.pending || (p.selected || p.pending) && (p.nrpn != q.nrpn || p.number != q.number) {
			say("channel %d selection %v %v %v %d, %v %v %v %d", i, p.selected, p.pending, p.nrpn, p.number, q.selected, q.pending, q.nrpn, q.number)
		}
		for _, pair := range [][2]*params{{p, q}, {q, p}} {
			for _, e := range pair[0].list {
				var f param
				if k := pair[1].find(e.nrpn, e.number); k >= 0 {
					f = pair[1].list[k]
				}
				if e.hasMSB != f.hasMSB || e.msb != f.msb || e.hasLSB != f.hasLSB || e.lsb != f.lsb || e.steps != f.steps {
					say("channel %d parameter %v %d: %+v, %+v", i, e.nrpn, e.number, e, f)
				}
			}
		}
	}
	q, r := a.system.sequencer, b.system.sequencer
	if q.running != r.running || q.clocks() != r.clocks() {
		say("sequencer %+v, %+v", q, r)
	}
	if a.system.song.value != b.system.song.value {
		say("song %d, %d", a.system.song.value, b.system.song.value)
	}
	return strings.Join(d, "\n")
}

// notesOf lists the notes that are on; unheard ones only if asked for.
func notesOf(s *stream, silent bool) (out []string) {
	s.held(func(c, k uint8, n *note) {
		if silent || !n.silent {
			out = append(out, fmt.Sprintf("%d/%d", c, k))
		}
	})
	return out
}

// performance makes a random message; it leaves out what no sender sends.
func performance(r *rand.Rand) [][]byte {
	c := uint8(r.IntN(3))
	key := uint8(48 + r.IntN(12))
	v := func() uint8 { return uint8(r.IntN(128)) }
	one := func(b ...byte) [][]byte { return [][]byte{b} }
	switch n := r.IntN(100); {
	case n < 28:
		return one(0x90|c, key, 1+uint8(r.IntN(127)))
	case n < 52:
		return one(0x80|c, key, v())
	case n < 54:
		return one(0x90|c, key, 0)
	case n < 66:
		return one(0xb0|c, []uint8{1, 7, 10, 11, 33, 64, 66, 74, 0, 32}[r.IntN(10)], v())
	case n < 70:
		return one(0xe0|c, v(), v())
	case n < 73:
		return one(0xd0|c, v())
	case n < 76:
		return one(0xa0|c, key, v())
	case n < 79:
		return one(0xc0|c, v())
	case n < 86: // a parameter
		high := uint8(101)
		if r.IntN(2) == 0 {
			high = 99
		}
		out := [][]byte{{0xb0 | c, high, uint8(r.IntN(3))}, {0xb0 | c, high - 1, uint8(r.IntN(3))}}
		switch r.IntN(5) {
		case 0:
			out = append(out, []byte{0xb0 | c, 6, v()})
		case 1:
			out = append(out, []byte{0xb0 | c, 6, v()}, []byte{0xb0 | c, 38, v()})
		case 2:
			out = append(out, []byte{0xb0 | c, 96, 0}, []byte{0xb0 | c, 96, 0}, []byte{0xb0 | c, 97, 0})
		case 3:
			out = append(out, []byte{0xb0 | c, 6, v()}, []byte{0xb0 | c, 101, 127}, []byte{0xb0 | c, 100, 127})
		}
		return out
	case n < 87:
		return one(0xb0|c, 6, v()) // data, wherever it goes
	case n < 88:
		return one(0xb0|c, []uint8{120, 121, 123, 123, 126}[r.IntN(5)], 0)
	case n < 95:
		return one(0xf8)
	case n < 96:
		return one([]uint8{0xfa, 0xfb, 0xfc}[r.IntN(3)])
	case n < 97:
		return one(0xf2, v(), uint8(r.IntN(4)))
	case n < 98:
		return one(0xf3, v())
	case n < 99:
		return one(0xf0, 0x7d, v(), v(), 0xf7)
	}
	if r.IntN(40) == 0 {
		return one(0xff)
	}
	return one(0xfe)
}

// lossy is a network that drops, doubles and mixes up what it carries.
type lossy struct {
	r                   *rand.Rand
	drop, twice, mix    float64
	queue               []parcel
	sent, dropped, more int
}

type parcel struct {
	at time.Time
	b  []byte
}

func (l *lossy) put(now time.Time, b []byte) {
	l.sent++
	if l.r.Float64() < l.drop {
		l.dropped++
		return
	}
	n := 1
	if l.r.Float64() < l.twice {
		n, l.more = 2, l.more+1
	}
	for range n {
		delay := 300 * time.Microsecond
		if l.r.Float64() < l.mix {
			delay += time.Duration(l.r.IntN(9000)) * time.Microsecond
		}
		l.queue = append(l.queue, parcel{now.Add(delay), slices.Clone(b)})
	}
	slices.SortStableFunc(l.queue, func(a, b parcel) int { return a.at.Compare(b.at) })
}

func (l *lossy) take(now time.Time, each func([]byte)) {
	for len(l.queue) > 0 && !l.queue[0].at.After(now) {
		b := l.queue[0].b
		l.queue = l.queue[1:]
		each(b)
	}
}

type outcome struct {
	messages, packets, dropped int
	lost, repaired, reordered  uint64
	skipped                    int
	journal                    int // octets
	bytes                      int
	settled                    time.Duration
	sent, heard                [][]byte
}

// perform plays a random performance over a lossy network, lets it settle, and
// returns an error if the ends disagree.
func perform(seed uint64, drop float64, length int, journal bool, play func(*rand.Rand) [][]byte) (o outcome, err error) {
	r := rand.New(rand.NewPCG(seed, 1))
	start := time.Unix(1000, 0)
	now := start
	clock := func(t time.Time) uint32 { return uint32(t.Sub(start) / (100 * time.Microsecond)) }
	there := &lossy{r: r, drop: drop, twice: drop / 2, mix: drop}
	back := &lossy{r: r, drop: drop}
	w := newSender(1, uint16(r.IntN(1<<16)))
	heard := newStream()
	x := &receiver{model: newStream(), wait: 4 * time.Millisecond}
	x.local = func(t uint32, _ time.Time) time.Time { return start.Add(time.Duration(t) * 100 * time.Microsecond) }
	x.deliver = func(at time.Time, b []byte) {
		heard.apply(b, 1, at)
		o.heard = append(o.heard, slices.Clone(b))
	}
	out := func(b []byte) {
		p, err := parsePacket(b)
		if err != nil {
			panic(err)
		}
		o.packets++
		o.journal += len(p.journal)
		o.bytes += len(b)
		if _, err := parseJournal(p.journal); err != nil {
			panic(fmt.Sprintf("own journal: %v: % x", err, p.journal))
		}
		if !journal {
			b = b[:len(b)-len(p.journal)]
			b[rtpHeader] &^= flagJournal
		}
		there.put(now, b)
	}
	feedback := now
	step := func() {
		now = now.Add(time.Millisecond)
		w.tick(clock(now), now, out)
		there.take(now, func(b []byte) {
			p, err := parsePacket(b)
			if err != nil {
				panic(err)
			}
			x.packet(&p, b, now)
		})
		x.tick(now)
		if now.Sub(feedback) > 300*time.Millisecond && x.begun {
			feedback = now
			back.put(now, control{command: cmdFeedback, ssrc: 2, value: x.highest << 16}.append(nil))
		}
		back.take(now, func(b []byte) {
			c, err := parseControl(b)
			if err != nil {
				panic(err)
			}
			w.confirm(c.value)
		})
	}
	for i := 0; i < length; i++ {
		for range r.IntN(8) {
			step()
		}
		var batch []timed
		for range 1 + r.IntN(3) {
			for _, m := range play(r) {
				o.sent = append(o.sent, m)
				batch = append(batch, timed{clock(now), m})
				o.messages++
			}
		}
		w.send(batch, now, out)
	}
	// Settled is when both ends agree for good.
	end := now
	for range 30000 {
		step()
		if !journal {
			if now.Sub(end) > 3*time.Second {
				break
			}
			continue
		}
		if d := difference(w.model, x.model); d == "" && slices.Equal(notesOf(w.model, true), notesOf(x.model, true)) {
			o.settled = now.Sub(end)
			break
		}
	}
	for i := 0; i < 100 || journal && w.checkpoint <= w.commands && i < 10000; i++ {
		step()
	}
	o.dropped, o.lost, o.repaired, o.reordered = there.dropped, x.lost, x.repaired, x.reordered
	if !journal {
		// Nothing but that no note may be stuck can be promised.
		on := notesOf(w.model, true)
		for _, n := range notesOf(heard, true) {
			if !slices.Contains(on, n) {
				return o, fmt.Errorf("note %s is stuck", n)
			}
		}
		return o, nil
	}
	if d := difference(w.model, x.model); d != "" {
		return o, fmt.Errorf("sender and receiver:\n%s", d)
	}
	tape := func(s *stream) timecode {
		t := s.system.timecode
		t.stamp, t.last = stamp{}, 0
		return t
	}
	sent, received, played := tape(w.model), tape(x.model), tape(heard)
	if sent != received {
		return o, fmt.Errorf("time code sent %+v, received %+v", sent, received)
	}
	// Of a tape that goes on, a frame that was missed is not played late.
	if played.known, played.quarters, played.complete = sent.known, sent.quarters, sent.complete; sent != played {
		return o, fmt.Errorf("time code sent %+v, played %+v", sent, played)
	}
	for c := range w.model.channels {
		for k := range w.model.channels[c].notes {
			if a, b := &w.model.channels[c].notes[k], &x.model.channels[c].notes[k]; a.count != b.count || a.on && a.velocity != b.velocity {
				return o, fmt.Errorf("note %d/%d: sent %d times, velocity %d; received %d, %d", c, k, a.count, a.velocity, b.count, b.velocity)
			}
		}
	}
	if d := difference(w.model, heard); d != "" {
		return o, fmt.Errorf("sender and what was played:\n%s", d)
	}
	if a, b := notesOf(w.model, true), notesOf(x.model, true); !slices.Equal(a, b) {
		return o, fmt.Errorf("held: sent %v, received %v", a, b)
	}
	if a, b := notesOf(x.model, false), notesOf(heard, true); !slices.Equal(a, b) {
		return o, fmt.Errorf("held: received and not silent %v, played %v", a, b)
	}
	o.skipped = len(notesOf(x.model, true)) - len(notesOf(x.model, false))
	if w.checkpoint <= w.commands {
		return o, fmt.Errorf("checkpoint %d, last commands in %d: not confirmed", w.checkpoint, w.commands)
	}
	return o, nil
}

// After any loss, order and copies the receiver's state is the sender's.
func TestLossyPerformances(t *testing.T) {
	performances, length := 40, 120
	if os.Getenv("K8S_SYNTH_PROOF") != "" {
		performances, length = 2000, 300
	}
	t.Logf("%8s %12s %9s %8s %8s %9s %10s %9s %14s %12s", "loss", "performances", "messages", "packets", "dropped", "repaired", "reordered", "settled", "journal octets", "silent notes")
	for _, drop := range []float64{0, 0.01, 0.10, 0.30} {
		var sum outcome
		var worst time.Duration
		for i := range performances {
			o, err := perform(uint64(i)*7919+uint64(drop*1000), drop, length, true, performance)
			if err != nil {
				t.Fatalf("loss %.0f %%, performance %d: %v", drop*100, i, err)
			}
			sum.messages += o.messages
			sum.packets += o.packets
			sum.dropped += o.dropped
			sum.repaired += o.repaired
			sum.reordered += o.reordered
			sum.journal += o.journal
			sum.skipped += o.skipped
			worst = max(worst, o.settled)
		}
		t.Logf("%6.0f %% %12d %9d %8d %8d %9d %10d %9v %14.1f %12d", drop*100, performances, sum.messages, sum.packets, sum.dropped, sum.repaired, sum.reordered, worst,
			float64(sum.journal)/float64(sum.packets), sum.skipped)
	}
}

// Without a journal no note is stuck either once a packet follows the loss.
func TestLossyWithoutJournal(t *testing.T) {
	for i := range 40 {
		if _, err := perform(uint64(i), 0.1, 120, false, performance); err != nil {
			t.Fatalf("performance %d: %v", i, err)
		}
	}
}

// Exclusive messages come once each and in their order, whatever is lost, as
// long as the journal has room for them.
func TestLossyExclusives(t *testing.T) {
	for i := range 20 {
		next := 0
		o, err := perform(uint64(i), 0.2, 300, true, func(r *rand.Rand) [][]byte {
			if next++; r.IntN(8) > 0 {
				return [][]byte{{0xb0, 7, uint8(r.IntN(128))}}
			}
			return [][]byte{{0xf0, 0x7d, uint8(next >> 7), uint8(next & 0x7f), 0xf7}}
		})
		if err != nil {
			t.Fatal(err)
		}
		only := func(all [][]byte) (out []string) {
			for _, m := range all {
				if m[0] == 0xf0 {
					out = append(out, fmt.Sprintf("% x", m))
				}
			}
			return out
		}
		sent, heard := only(o.sent), only(o.heard)
		// What was lost before anything was received cannot be told from what
		// came before the session.
		if n := len(sent) - len(heard); n > 0 && n < 4 {
			sent = sent[n:]
		}
		if !slices.Equal(sent, heard) {
			t.Fatalf("performance %d: sent %d, heard %d", i, len(sent), len(heard))
		}
	}
}

// A tape that runs forwards, backwards and jumps is followed.
func TestLossyTimecode(t *testing.T) {
	for i := range 20 {
		frame, kind, step := 0, 0, 1
		piece := func() byte {
			v := []int{frame % 30, frame / 30 % 60, frame / 1800 % 60, frame/108000%24 | 0x60}[kind/2]
			return byte(kind<<4 | v>>(4*(kind&1))&0x0f)
		}
		if _, err := perform(uint64(i), 0.15, 300, true, func(r *rand.Rand) [][]byte {
			if r.IntN(60) == 0 && step > 0 && kind == 0 {
				frame = r.IntN(1000000)
				return [][]byte{{0xf0, 0x7f, 0x7f, 1, 1, byte(frame / 108000 % 24), byte(frame / 1800 % 60), byte(frame / 30 % 60), byte(frame % 30), 0xf7}}
			}
			m := []byte{0xf1, piece()}
			if kind += step; kind > 7 || kind < 0 {
				frame = max(frame+2*step, 0)
				if kind = 0; r.IntN(10) == 0 {
					step = -step
				}
				if step < 0 {
					kind = 7
				}
			}
			return [][]byte{m}
		}); err != nil {
			t.Fatalf("performance %d: %v", i, err)
		}
	}
}
