package midi

import (
	"bytes"
	"math/rand/v2"
	"testing"

	gomidi "gitlab.com/gomidi/midi/v2"
	"gitlab.com/gomidi/midi/v2/drivers"
)

// gomidi's reader takes the same messages from the same stream, and its getters
// read them as ours do.
func TestParserPeer(t *testing.T) {
	r := rand.New(rand.NewPCG(33, 34))
	for range 500 {
		var b []byte
		var want [][]byte
		e := Encoder{Running: r.IntN(2) == 0}
		for range 1 + r.IntN(30) {
			m := randomMessage(r)
			b = e.Append(b, m)
			want = append(want, m.Bytes(nil))
			checkGetters(t, m)
		}
		var got [][]byte
		reader := drivers.NewReader(drivers.ListenConfig{TimeCode: true, ActiveSense: true, SysEx: true, SysExBufferSize: 4096},
			func(b []byte, _ int32) { got = append(got, bytes.Clone(b)) })
		reader.EachMessage(b, 0)
		var ours [][]byte
		var p Parser
		p.Parse(b, func(m Message) { ours = append(ours, m.Bytes(nil)) })
		if !equalAll(ours, want) {
			t.Fatalf("ours % x, want % x", ours, want)
		}
		if !equalAll(got, ours) {
			t.Fatalf("gomidi has % x, ours % x, of % x", got, ours, b)
		}
	}
}

func equalAll(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

// checkGetters compares what a message says with what gomidi makes of it.
func checkGetters(t *testing.T, m Message) {
	t.Helper()
	g := gomidi.Message(m.Bytes(nil))
	var ch, a, b uint8
	var bend int16
	var absolute, position uint16
	ok := true
	switch m.Kind() {
	case NoteOn, NoteOff:
		if m.IsNoteOn() {
			ok = g.GetNoteStart(&ch, &a, &b)
		} else {
			ok = g.GetNoteEnd(&ch, &a)
		}
		ok = ok && int(ch) == m.Channel() && a == m.Data[1]
	case ControlChange:
		ok = g.GetControlChange(&ch, &a, &b) && int(ch) == m.Channel() && a == m.Data[1] && b == m.Data[2]
	case PitchBend:
		ok = g.GetPitchBend(&ch, &bend, &absolute) && int(bend) == m.Bend()
	case SongPosition:
		// gomidi takes the high byte to be first, against the standard.
		ok = g.GetSPP(&position) && int(position) == Value14(m.Data[1], m.Data[2])
	}
	if !ok {
		t.Fatalf("gomidi reads %v otherwise: %v", m, g)
	}
}

func BenchmarkParserPeer(b *testing.B) {
	data := bytes.Repeat([]byte{0x90, 60, 100, 0x80, 60, 64}, 500)
	n := 0
	reader := drivers.NewReader(drivers.ListenConfig{}, func([]byte, int32) { n++ })
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		reader.EachMessage(data, 0)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(n, 1)), "ns/message")
}
