package rt

import (
	"runtime"
	"testing"
)

func TestRingKeepsOrderAndCountsLoss(t *testing.T) {
	r := NewRing[int](3)
	if r.Cap() != 4 {
		t.Fatalf("cap %d, want the next power of two, 4", r.Cap())
	}
	for i := range 6 {
		if got, want := r.Push(i), i < 4; got != want {
			t.Fatalf("push %d: %v, want %v", i, got, want)
		}
	}
	if r.Dropped() != 2 || r.Len() != 4 {
		t.Fatalf("dropped %d, len %d; want 2, 4", r.Dropped(), r.Len())
	}
	var v int
	for i := range 4 {
		if !r.Pop(&v) || v != i {
			t.Fatalf("pop %d: got %d", i, v)
		}
	}
	if r.Pop(&v) {
		t.Fatal("pop of an empty ring")
	}
}

func TestRingBetweenGoroutines(t *testing.T) {
	const n = 200_000
	r := NewRing[[2]uint64](64)
	go func() {
		for i := uint64(0); i < n; {
			if r.Push([2]uint64{i, ^i}) {
				i++
			} else {
				runtime.Gosched()
			}
		}
	}()
	var v [2]uint64
	for i := uint64(0); i < n; {
		if !r.Pop(&v) {
			runtime.Gosched()
			continue
		}
		if v[0] != i || v[1] != ^i {
			t.Fatalf("value %d arrived as %v", i, v)
		}
		i++
	}
}

func TestLatestIsNeverTorn(t *testing.T) {
	const n = 200_000
	type pair struct{ a, b uint64 }
	l := NewLatest[pair]()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := uint64(1); i <= n; i++ {
			*l.Writing() = pair{i, i * 3}
			l.Publish()
		}
	}()
	var last uint64
	for last < n {
		v, fresh := l.Load()
		if v.b != v.a*3 || v.a < last || (fresh && v.a == last) {
			t.Fatalf("torn or old: %v after %d (fresh %v)", *v, last, fresh)
		}
		last = v.a
		if !fresh {
			runtime.Gosched()
		}
	}
	<-done
	if v, fresh := l.Load(); fresh || v.a != n {
		t.Fatalf("after the last: %v, fresh %v", *v, fresh)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	r, l := NewRing[[4]int64](16), NewLatest[[64]float32]()
	var v [4]int64
	if n := testing.AllocsPerRun(100, func() {
		r.Push(v)
		r.Pop(&v)
		l.Writing()[3] = 1
		l.Publish()
		l.Load()
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
