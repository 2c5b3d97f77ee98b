package port

import (
	"math/bits"
	"time"
)

// histogram counts durations in sixteenths of powers of two, from 64 ns on.
type histogram struct {
	bins  [40 * 16]uint64
	count uint64
	max   time.Duration
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.count++
	h.max = max(h.max, d)
	h.bins[bin(d)]++
}

// bin and its inverse: v = d/64 ns is counted exactly below 16.
func bin(d time.Duration) int {
	v := uint64(d) >> 6
	e := bits.Len64(v)
	if e <= 4 {
		return int(v)
	}
	return min((e-4)*16+int(v>>(e-5)&15), 40*16-1)
}

func upper(i int) time.Duration {
	if i < 16 {
		return time.Duration(i+1) << 6
	}
	e := i/16 + 4
	return time.Duration(uint64(16+i%16+1)<<(e-5)) << 6
}

func (h *histogram) spread() Spread {
	s := Spread{Count: h.count, Max: h.max}
	var n uint64
	for i, c := range h.bins {
		if c == 0 {
			continue
		}
		if n*2 < h.count && (n+c)*2 >= h.count {
			s.P50 = min(upper(i), h.max)
		}
		if n*100 < h.count*99 && (n+c)*100 >= h.count*99 {
			s.P99 = min(upper(i), h.max)
		}
		n += c
	}
	return s
}

// merge adds the counts of another.
func (h *histogram) merge(o *histogram) {
	h.count += o.count
	h.max = max(h.max, o.max)
	for i, n := range o.bins {
		h.bins[i] += n
	}
}
