package main

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
)

// handClient is a client of OSC that can vanish.
type handClient struct {
	t    *testing.T
	send func(packet []byte) error
	end  func()
}

func (c *handClient) sends(address string, args ...osc.Arg) {
	c.t.Helper()
	b, err := osc.AppendMessage(nil, address, args...)
	if err == nil {
		err = c.send(b)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

func byTCP(t *testing.T, to osc.Addrs, reset bool) *handClient {
	t.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to.TCP))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &handClient{t, func(b []byte) error {
		_, err := c.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
		return err
	}, func() {
		if reset {
			_ = c.SetLinger(0)
		}
		c.Close()
	}}
}

func byWebSocket(t *testing.T, to osc.Addrs) *handClient {
	t.Helper()
	ws, _, err := websocket.Dial(t.Context(), "ws://"+to.Query.String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.CloseNow() })
	return &handClient{t, func(b []byte) error { return ws.Write(t.Context(), websocket.MessageBinary, b) }, func() { _ = ws.CloseNow() }}
}

// TestClientLeaves: what an OSC client held down that vanishes is let go, however
// it held it and however it goes; what a hand left standing stays, and so does
// what another client or a controller holds as well.
func TestClientLeaves(t *testing.T) {
	const (
		chord, drone, strike, breath, both = mapping.Address("/voice/chord/gate"), mapping.Address("/voice/drone/gate"), mapping.Address("/voice/boot/strike"), mapping.Address("/voice/chord/breath"), mapping.Address("/voice/drone/breath")
		knob, fader, open                  = mapping.Address("/deployment/web/replicas"), mapping.Address("/deployment/web/cpu"), mapping.Address("/voice/chord/open")
	)
	p := handsOn(t, "default", `
version: 1
name: test
takeover: jump
bindings:
  - {control: note 1, to: /voice/drone/gate}
  - {control: osc /pad, to: /voice/chord/breath}
  - {control: osc /both, to: /voice/drone/breath}
  - {control: osc /fader, to: /deployment/web/cpu}
`)
	t.Cleanup(func() { close(p.ended) })
	for _, a := range []mapping.Address{chord, drone, strike, breath, both, open} {
		id, jack, _ := a.Split()
		if p.holder(t, string(a)[1:]) != "" {
			if err := p.rack.Pull(instrument.JackRef{Module: id, Jack: jack}, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	var cv mapping.Address
	for _, m := range p.rack.Members() {
		if m.Kind == mapping.MemberInput && m.Jack.Kind == instrument.CV && m.Jack.Normal == 0 && p.holder(t, string(m.Address)[1:]) == "" {
			cv = m.Address
		}
	}
	p.binds.rebind()
	var err error
	if p.osc, err = openOSC(osc.Config{Addr: "127.0.0.1:0", TCP: "127.0.0.1:0", Query: "127.0.0.1:0", Logger: p.log, Left: sourceGone(p.left)}, nil, p.rack, p.binds.controls, p.turn); err != nil {
		t.Fatal(err)
	}
	defer p.osc.Close()
	to := p.osc.Addrs()
	at := func(a mapping.Address) float64 {
		v, _, err := p.rack.Value(a)
		if err != nil {
			panic(err)
		}
		return v
	}
	// The control goroutine, until something is so.
	until := func(t *testing.T, what string, so func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !so(); {
			select {
			case u := <-p.turns:
				p.apply(u)
			case f := <-p.calls:
				f()
			case <-time.After(time.Millisecond):
			}
			if time.Now().After(end) {
				t.Fatalf("waited in vain: %s", what)
			}
		}
	}
	is := func(t *testing.T, a mapping.Address, want float64) {
		t.Helper()
		if v := at(a); v != want {
			t.Errorf("%s is at %g, want %g", a, v, want)
		}
	}
	pad := func(m midi.Message) { p.binds.midi("pads", m, time.Now()) }
	volts := func(v float32) osc.Arg { return osc.Float32(v) }

	for name, join := range map[string]func(t *testing.T) *handClient{
		"closed":    func(t *testing.T) *handClient { return byTCP(t, to, false) },
		"reset":     func(t *testing.T) *handClient { return byTCP(t, to, true) },
		"WebSocket": func(t *testing.T) *handClient { return byWebSocket(t, to) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := join(t), byTCP(t, to, true)
			b.sends(string(strike), volts(10))
			b.sends("/both", volts(1))
			until(t, "the other holds", func() bool { return at(strike) == 10 && at(both) == 10 })
			pad(midi.On(0, 1, 100))
			is(t, drone, 10)
			for _, g := range []mapping.Address{chord, drone, strike} {
				a.sends(string(g), volts(10))
			}
			a.sends(string(open), volts(0))
			a.sends(string(cv), volts(3))
			a.sends(string(knob), osc.Int32(6))
			a.sends("/pad", volts(1))
			a.sends("/both", volts(1))
			a.sends("/fader", volts(0.75))
			until(t, "all is held", func() bool { return at(chord) == 10 && at(breath) == 10 && at(fader) == 12000 })
			a.end()
			gone := time.Now()
			until(t, "it is let go", func() bool { return at(chord) == 0 && at(breath) == 0 })
			t.Logf("%s: let go within %v", name, time.Since(gone).Round(100*time.Microsecond))
			for g, v := range map[mapping.Address]float64{drone: 10, strike: 10, both: 10, open: 0, cv: 3, knob: 6, fader: 12000} {
				is(t, g, v)
			}
			b.end()
			until(t, "the other's is let go", func() bool { return at(strike) == 0 && at(both) == 0 })
			is(t, drone, 10)
			pad(midi.Off(0, 1, 100))
			is(t, drone, 0)
		})
	}

	t.Run("a controller is pulled out", func(t *testing.T) {
		a := byTCP(t, to, false)
		pad(midi.On(0, 1, 100))
		a.sends(string(drone), volts(10))
		until(t, "both hold", func() bool { return p.holds.Held(drone) })
		p.binds.gone("pads")
		is(t, drone, 10)
		a.end()
		until(t, "it is let go", func() bool { return at(drone) == 0 })
		pad(midi.On(0, 1, 100))
		is(t, drone, 10)
		p.binds.gone("pads")
		is(t, drone, 0)
	})

	t.Run("a cable comes between", func(t *testing.T) {
		out := ""
		for _, m := range p.rack.Members() {
			if m.Kind == mapping.MemberOutput && m.Jack.Kind == instrument.Gate {
				out = string(m.Address)[1:]
			}
		}
		a := byTCP(t, to, true)
		a.sends(string(chord), volts(10))
		until(t, "it holds", func() bool { return at(chord) == 10 })
		c, err := mapping.ParseCable(out + "->" + string(chord)[1:])
		if err == nil {
			err = p.rack.Plug(c, "")
		}
		if err != nil {
			t.Fatal(err)
		}
		connections := p.osc.Stats().TCP
		a.end()
		until(t, "it is gone", func() bool { return p.osc.Stats().TCP < connections })
		if err := p.rack.Pull(c.To, ""); err != nil {
			t.Fatal(err)
		}
		is(t, chord, 0)
	})

	t.Run("UDP, a program begins anew", func(t *testing.T) {
		ears, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer ears.Close()
		port := osc.Int32(int32(ears.LocalAddr().(*net.UDPAddr).Port))
		begin := func() *handClient {
			c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to.UDP))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			h := &handClient{t, func(b []byte) error { _, err := c.Write(b); return err }, func() { c.Close() }}
			h.sends("/subscribe", osc.String("/voice"), port)
			return h
		}
		was, other := begin(), byTCP(t, to, false)
		was.sends(string(chord), volts(10))
		was.sends(string(drone), volts(10))
		until(t, "they are held", func() bool { return at(chord) == 10 && at(drone) == 10 })
		other.sends(string(drone), volts(10))
		other.sends(string(strike), volts(10))
		until(t, "one by another, too", func() bool { return at(strike) == 10 })
		was.end()
		begin()
		until(t, "it is let go", func() bool { return at(chord) == 0 })
		is(t, drone, 10)
		is(t, strike, 10)
		other.end()
		until(t, "all is let go", func() bool { return at(drone) == 0 && at(strike) == 0 })
	})
}
