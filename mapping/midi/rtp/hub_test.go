package rtp

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// Under two hubs a session is a pair of ports that is plugged in and pulled
// out, and what sounds at its other end is ended by either.
func TestHub(t *testing.T) {
	type side struct {
		mu      sync.Mutex
		got     []string
		plugged []string
	}
	var a, b side
	config := func(s *side, h *Host) port.Config {
		return port.Config{Name: "x", Virtual: true, Drivers: []port.Driver{h}, Poll: 20 * time.Millisecond, Logger: quiet(t),
			Received: func(in port.In) {
				s.mu.Lock()
				s.got = append(s.got, fmt.Sprintf("%s: %v", in.Port, in.Message))
				s.mu.Unlock()
			},
			Plugged: func(i port.Info, on bool) {
				s.mu.Lock()
				s.plugged = append(s.plugged, fmt.Sprintf("%s %v", i.System, on))
				s.mu.Unlock()
			}}
	}
	has := func(s *side, list *[]string, want string) func() bool {
		return func() bool { s.mu.Lock(); defer s.mu.Unlock(); return slices.Contains(*list, want) }
	}
	hb := open(t, Config{Name: "far"})
	cb := config(&b, hb)
	hubB, err := port.Open(cb)
	if err != nil {
		t.Fatal(err)
	}
	defer hubB.Close()
	ha := open(t, Config{Name: "near", Remotes: []string{hb.Addr().String()}})
	ca := config(&a, ha)
	ca.Patterns = []string{"far"} // as a port of its own
	hubA, err := port.Open(ca)
	if err != nil {
		t.Fatal(err)
	}
	defer hubA.Close()
	within(t, "the port", has(&a, &a.plugged, "far true"))
	if err := hubA.Send("far", time.Now(), midi.On(0, 60, 100), midi.CC(0, 7, 5)); err != nil {
		t.Fatal(err)
	}
	var virtual string
	for _, i := range hubB.Ports() {
		if i.Virtual {
			virtual = i.Name
		}
	}
	within(t, "the note", has(&b, &b.got, virtual+": "+midi.On(0, 60, 100).String()))
	if err := hubB.Send(virtual, time.Now(), midi.On(1, 61, 99)); err != nil {
		t.Fatal(err)
	}
	within(t, "the answer", has(&a, &a.got, "far: "+midi.On(1, 61, 99).String()))
	// The far end goes: what it held here is ended, and the port is gone.
	if err := hubB.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "its end", has(&a, &a.got, "far: "+midi.Off(1, 61, 64).String()))
	addr := hb.Addr().String()
	if err := hb.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "the port's end", has(&a, &a.plugged, "far false"))
	a.mu.Lock()
	a.plugged = nil
	a.mu.Unlock()
	open(t, Config{Name: "far", Listen: addr})
	within(t, "the port again", has(&a, &a.plugged, "far true"))
}
