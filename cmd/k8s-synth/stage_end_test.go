package main

import (
	"slices"
	"testing"
	"time"
)

// TestEndWaitsForTheDisk: what was asked for before the end is written, in
// order, however much waits; a disk that does not answer is waited for so long
// and no longer.
func TestEndWaitsForTheDisk(t *testing.T) {
	p := &player{calls: make(chan func()), ended: make(chan struct{})}
	began, free := make(chan struct{}), make(chan struct{})
	var wrote []int
	for i := range 5 {
		if err := p.onDisk(func() {
			if i == 0 {
				close(began)
				<-free
			}
			wrote = append(wrote, i)
		}); err != nil {
			t.Fatal(err)
		}
	}
	<-began
	close(p.ended)
	if left := p.endDisk(20 * time.Millisecond); left != 5 {
		t.Errorf("%d of 5 are left where the disk does not answer", left)
	}
	close(free)
	if left := p.endDisk(10 * time.Second); left != 0 {
		t.Errorf("%d are left", left)
	}
	if !slices.Equal(wrote, []int{0, 1, 2, 3, 4}) {
		t.Errorf("written: %v", wrote)
	}
	if left := p.endDisk(0); left != 0 {
		t.Errorf("%d are left of nothing", left)
	}
}
