package midi

import (
	"fmt"
	"testing"
	"time"
)

func TestSensing(t *testing.T) {
	var s Sensing
	s.Received(On(0, 60, 1), at(0))
	if s.Lost(at(10)) || s.Active() {
		t.Error("who never sends it is missed")
	}
	s.Received(RealTime(ActiveSensing), at(20))
	if s.Lost(at(20.3)) || !s.Active() {
		t.Error("missed at 300 ms")
	}
	s.Received(On(0, 60, 0), at(20.3)) // any message will do
	if s.Lost(at(20.6)) {
		t.Error("missed though a note came")
	}
	if !s.Lost(at(20.601)) || s.Lost(at(21)) || s.Active() {
		t.Error("it is lost once")
	}
	s.Received(On(0, 60, 0), at(22))
	if s.Lost(at(30)) {
		t.Error("a note arms it")
	}
	s.Received(RealTime(ActiveSensing), at(30))
	if !s.Lost(at(31)) {
		t.Error("it is not armed again")
	}
	s.Timeout = time.Second
	s.Received(RealTime(ActiveSensing), at(40))
	if s.Lost(at(41)) || !s.Lost(at(41.1)) {
		t.Error("its own timeout")
	}
}

func ExampleSensing() {
	var s Sensing
	start := time.Unix(0, 0)
	s.Received(RealTime(ActiveSensing), start)
	fmt.Println(s.Lost(start.Add(200*time.Millisecond)), s.Lost(start.Add(400*time.Millisecond)))
	// Output: false true
}
