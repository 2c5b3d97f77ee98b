package rtp

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A note is put into a packet, with the journal of a performance since the
// last confirmation behind it.
func BenchmarkSend(b *testing.B) {
	for _, unconfirmed := range []int{1, 100} {
		b.Run(map[int]string{1: "confirmed", 100: "journal"}[unconfirmed], func(b *testing.B) {
			w := newSender(1, 0)
			r := rand.New(rand.NewPCG(1, 1))
			now := time.Unix(1, 0)
			octets := 0
			out := func(d []byte) { octets += len(d) }
			for range 200 {
				for _, m := range performance(r) {
					w.send([]timed{{0, m}}, now, out)
				}
			}
			w.confirm((w.seq - uint32(unconfirmed)) << 16)
			on, off := []timed{{0, []byte{0x90, 60, 100}}}, []timed{{0, []byte{0x80, 60, 64}}}
			octets = 0
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if i&1 == 0 {
					w.send(on, now, out)
				} else {
					w.send(off, now, out)
				}
				w.confirm((w.seq - uint32(unconfirmed)) << 16)
			}
			b.ReportMetric(float64(octets)/float64(b.N), "octets/packet")
		})
	}
}

// A packet is taken, without a loss and with one before each.
func BenchmarkReceive(b *testing.B) {
	for _, step := range []int{1, 2} {
		b.Run(map[int]string{1: "in order", 2: "each second lost"}[step], func(b *testing.B) {
			w := newSender(1, 0)
			r := rand.New(rand.NewPCG(1, 1))
			now := time.Unix(1, 0)
			var all [][]byte
			for range 20000 {
				for _, m := range performance(r) {
					w.send([]timed{{0, m}}, now, func(d []byte) { all = append(all, slices.Clone(d)) })
				}
				w.confirm((w.seq - 20) << 16)
			}
			var x *receiver
			i := len(all)
			b.ReportAllocs()
			for b.Loop() {
				if i >= len(all) {
					i = 0
					x = &receiver{model: newStream(), local: func(uint32, time.Time) time.Time { return now }, deliver: func(time.Time, []byte) {}}
				}
				p, err := parsePacket(all[i])
				if err != nil {
					b.Fatal(err)
				}
				x.packet(&p, all[i], now)
				i += step
			}
		})
	}
}
