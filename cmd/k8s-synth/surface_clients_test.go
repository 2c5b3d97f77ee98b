package main

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/bind"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
)

// oscClient is one by any of the ways there are. What it is told is kept as
// addresses with the words behind them.
type oscClient struct {
	send func(packet []byte) error
	mu   sync.Mutex
	told []string
}

func (c *oscClient) takes(packet []byte) {
	var m osc.Message
	_ = osc.Walk(packet, &m, func(m *osc.Message, _ []byte, _ osc.TimeTag) {
		text := string(m.Address())
		for _, a := range m.AppendArgs(nil) {
			if a.Tag() == osc.TagString {
				text += " " + a.Text()
			}
		}
		c.mu.Lock()
		c.told = append(c.told, text)
		c.mu.Unlock()
	})
}

// took is what it was told since the last time.
func (c *oscClient) took() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.told
	c.told = nil
	return t
}

// oscClients are clients of a surface by UDP, TCP and WebSocket.
func oscClients(t *testing.T, a osc.Addrs) map[string]*oscClient {
	t.Helper()
	udp, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(a.UDP))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	u := &oscClient{send: func(p []byte) error { _, err := udp.Write(p); return err }}
	go func() {
		b := make([]byte, 65536)
		for {
			n, err := udp.Read(b)
			if err != nil {
				return
			}
			u.takes(b[:n])
		}
	}()
	tcp, err := net.Dial("tcp", a.TCP.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tcp.Close() })
	c := &oscClient{send: func(p []byte) error {
		_, err := tcp.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...))
		return err
	}}
	go func() {
		b := make([]byte, 65536)
		for {
			if _, err := io.ReadFull(tcp, b[:4]); err != nil {
				return
			}
			n := min(int(binary.BigEndian.Uint32(b)), len(b))
			if _, err := io.ReadFull(tcp, b[:n]); err != nil {
				return
			}
			c.takes(b[:n])
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+a.Query.String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	w := &oscClient{send: func(p []byte) error { return ws.Write(t.Context(), websocket.MessageBinary, p) }}
	go func() {
		for {
			kind, b, err := ws.Read(t.Context())
			if err != nil {
				return
			}
			if kind == websocket.MessageBinary {
				w.takes(b)
			}
		}
	}()
	return map[string]*oscClient{"UDP": u, "TCP": c, "WebSocket": w}
}

// What cannot be undone is refused to a client that is not armed, with a word of
// how it is armed, by each way of OSC there is and from a MIDI port; it is not
// refused to one that is.
func TestArmingOverSockets(t *testing.T) {
	p := handsOn(t, "cluster", `
version: 1
name: test
bindings:
  - {control: note 1, to: "kill:slot/1"}
  - {control: note 2, to: arm}
`)
	var err error
	if p.osc, err = openOSC(osc.Config{Addr: "127.0.0.1:0", TCP: "127.0.0.1:0", Query: "127.0.0.1:0", Logger: p.log}, nil, p.rack, p.binds.controls, p.turn); err != nil {
		t.Fatal(err)
	}
	defer p.osc.Close()
	var drain, power string
	for _, m := range p.rack.Patch().Modules {
		switch m.ID.Kind() {
		case mapping.KindNode:
			drain = string(mapping.AddressOf(m.ID, "drain"))
		case mapping.KindNamespace:
			power = string(mapping.AddressOf(m.ID, "power"))
		}
	}
	if drain == "" || power == "" {
		t.Fatal("the scene has no node or no namespace")
	}
	// The control goroutine, until something is so.
	until := func(what string, so func() bool) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); !so(); {
			select {
			case u := <-p.turns:
				p.apply(u)
			case <-time.After(time.Millisecond):
			}
			if time.Now().After(end) {
				t.Fatalf("%s: waited in vain", what)
			}
		}
	}
	for way, c := range oscClients(t, p.osc.Addrs()) {
		send := func(address string, args ...osc.Arg) {
			t.Helper()
			b, err := osc.AppendMessage(nil, address, args...)
			if err == nil {
				err = c.send(b)
			}
			if err != nil {
				t.Fatalf("%s: %v", way, err)
			}
		}
		// A question is the fence: when it is answered, what came before is done.
		refusals := func() (all []string) {
			t.Helper()
			done := false
			for range 2 { // one for the socket, one for what waits behind it
				done = false
				send("/scene/load")
				until(way+": an answer", func() bool {
					for _, s := range c.took() {
						if strings.HasPrefix(s, "/error ") {
							all = append(all, strings.TrimPrefix(s, "/error "))
						}
						done = done || strings.HasPrefix(s, "/scene/load")
					}
					return done && len(p.turns) == 0
				})
			}
			return all
		}
		p.arms = bind.Arms{}
		if err := p.rack.Set(mapping.Address(power), 0, "on", "", 0); err != nil {
			t.Fatal(err)
		}
		asks := map[string]func(){
			"/slot/1/kill": func() { send("/slot/1/kill") },
			drain:          func() { send(drain, osc.Float32(10)) },
			power:          func() { send(power, osc.String("off")) },
		}
		for address, ask := range asks {
			ask()
			if got := refusals(); len(got) != 1 || !strings.HasPrefix(got[0], address+" ") || !strings.Contains(got[0], "/arm") {
				t.Errorf("%s, not armed, %s: told %q", way, address, got)
			}
		}
		on := func(a string) bool { v, _, err := p.rack.Value(mapping.Address(a)); return err == nil && v > 0 }
		if on(drain) || !on(power) {
			t.Errorf("%s: what was refused was done", way)
		}
		send("/arm")
		for address, ask := range asks {
			ask()
			// Of a slot that is empty there is another word.
			if got := refusals(); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "/arm") }) || address != "/slot/1/kill" && len(got) > 0 {
				t.Errorf("%s, armed, %s: told %q", way, address, got)
			}
		}
		if !on(drain) || on(power) {
			t.Errorf("%s: armed, and it was not done", way)
		}
		if err := p.rack.Set(mapping.Address(drain), 0, "", "", 0); err != nil {
			t.Fatal(err)
		}
	}
	// A pad of a controller: what OSC clients of this machine armed is not its.
	fake := &port.Fake{}
	fake.Plug("pads")
	p.midi.in = make(chan port.In, 16)
	if p.midi.hub, err = port.Open(port.Config{Patterns: []string{"all"}, Drivers: []port.Driver{fake}, Poll: 10 * time.Millisecond, Received: func(in port.In) { p.midi.in <- in }}); err != nil {
		t.Fatal(err)
	}
	defer p.midi.hub.Close()
	until("the port", func() bool { return fake.Opened("pads") == 1 })
	press := func(key byte) {
		t.Helper()
		fake.Play("pads", time.Now(), []byte{0x90, key, 100, 0x80, key, 0})
		n := 0
		until("a press", func() bool {
			for len(p.midi.in) > 0 {
				p.midiCame(<-p.midi.in)
				n++
			}
			return n == 2
		})
	}
	asked := func() error { return p.allowed(turn{action: actKill + ":slot/1", source: bind.Source("pads")}) }
	press(1)
	if err := asked(); err == nil {
		t.Error("a controller is armed by somebody else")
	}
	press(2)
	if err := asked(); err != nil {
		t.Errorf("a controller that armed itself: %v", err)
	}
	if p.allowed(turn{action: actKill + ":slot/1", source: bind.Source("other")}) == nil {
		t.Error("another controller is armed with it")
	}
}
