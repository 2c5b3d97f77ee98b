package main

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/osc"
)

// An OSC client that listens is told when a panic begins to hold down what the
// cluster does, and when a hand or another scene ends that; one that comes
// later asks.
func TestOSCTellsOfSilence(t *testing.T) {
	p := handsOn(t, "default", noMap)
	p.midi = nil
	var err error
	if p.osc, err = openOSC(osc.Config{Addr: "127.0.0.1:0", Query: "127.0.0.1:0", Logger: p.log}, nil, p.rack, p.binds.controls, p.turn); err != nil {
		t.Fatal(err)
	}
	defer p.osc.Close()
	client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.osc.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	send := func(address string) {
		t.Helper()
		m, err := osc.AppendMessage(nil, address)
		if err == nil {
			_, err = client.Write(m)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var said []int32
	heard := make(chan int32, 1024)
	go func() {
		buf := make([]byte, 65536)
		var m osc.Message
		for {
			n, err := client.Read(buf)
			if err != nil {
				return
			}
			_ = osc.Walk(buf[:n], &m, func(m *osc.Message, _ []byte, _ osc.TimeTag) {
				if string(m.Address()) == "/silenced" {
					args := m.Args()
					a, _ := args.Next()
					heard <- int32(a.Int())
				}
			})
		}
	}()
	// What the control goroutine does.
	step := func() {
		select {
		case u := <-p.panics:
			p.overtake(u)
		case u := <-p.turns:
			p.apply(u)
		case v := <-heard:
			said = append(said, v)
		case <-time.After(2 * time.Millisecond):
		}
		p.tellSilence()
	}
	until := func(what string, want ...int32) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); !slices.Equal(said, want); step() {
			if time.Now().After(end) {
				t.Fatalf("%s: it was told %v, expected %v", what, said, want)
			}
		}
	}
	asked := func() string {
		t.Helper()
		r, err := http.Get("http://" + p.osc.Addrs().Query.String() + "/silenced")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	send("/subscribe")
	until("at first", 0)
	send("/panic")
	until("a panic", 0, 1)
	if got := asked(); !strings.Contains(got, `"VALUE":[1]`) || !strings.Contains(got, `"ACCESS":1`) {
		t.Errorf("who asks is told %s", got)
	}
	send("/panic") // the hand is in doubt; nothing is new
	for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
		step()
	}
	until("a second panic", 0, 1)
	send("/resume")
	until("a hand", 0, 1, 0)
	if got := asked(); !strings.Contains(got, `"VALUE":[0]`) {
		t.Errorf("who asks is told %s", got)
	}
	send("/panic")
	until("another panic", 0, 1, 0, 1)
	if err := p.rack.Load(p.scene.Patch); err != nil {
		t.Fatal(err)
	}
	until("another scene", 0, 1, 0, 1, 0)
}
