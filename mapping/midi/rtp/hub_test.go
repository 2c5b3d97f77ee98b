package rtp

import (
	"fmt"
	"os"
	"path/filepath"
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

// What a process that was killed held on its peers ends when the next start has
// its session with them.
func TestNextStartEndsNotes(t *testing.T) {
	held := filepath.Join(t.TempDir(), "held")
	play := func(held string) (*Host, *port.Hub) {
		h := open(t, Config{Name: "near"})
		hub, err := port.Open(port.Config{Name: "near", Virtual: true, Drivers: []port.Driver{h}, Poll: 20 * time.Millisecond, Logger: quiet(t), Held: held})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { hub.Close() })
		return h, hub
	}
	join := func(h *Host) *ear {
		e := &ear{}
		far := open(t, Config{Name: "far", Remotes: []string{h.Addr().String()}})
		if _, _, err := far.Virtual("", e.hear); err != nil {
			t.Fatal(err)
		}
		return e
	}
	h, hub := play(held)
	first := join(h)
	within(t, "a listener", func() bool {
		return slices.ContainsFunc(hub.Ports(), func(i port.Info) bool { return i.Virtual && slices.Contains(i.Connected, "far") })
	})
	if err := hub.Send("", time.Time{}, midi.On(2, 60, 100), midi.CC(2, midi.CCSustain, 127)); err != nil {
		t.Fatal(err)
	}
	within(t, "the note", func() bool { return first.has("92 3c 64", "b2 40 7f") })
	// As a kill leaves it.
	b, err := os.ReadFile(held)
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(t.TempDir(), "left")
	if err := os.WriteFile(left, b, 0o600); err != nil {
		t.Fatal(err)
	}
	again, _ := play(left)
	began := time.Now()
	second := join(again)
	within(t, "their ends", func() bool {
		return slices.Contains(second.all(), "82 3c 40") && slices.Contains(second.all(), "b2 40 00")
	})
	t.Logf("the note ended %v after the other end was there", time.Since(began).Round(time.Millisecond))
}
