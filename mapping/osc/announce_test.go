package osc

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/announce"
)

// All ports are found where they are announced, and loopback ones are
// announced only when that is asked for.
func TestAnnounced(t *testing.T) {
	t.Parallel()
	if r := openRack(t, Config{TCP: ":0", Query: ":0"}); len(r.surface.notices) != 0 {
		t.Error("loopback is announced")
	}
	lo := ""
	ifaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range ifaces {
		if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 {
			lo = i.Name
		}
	}
	if lo == "" {
		t.Skip("no loopback interface to announce on")
	}
	name := fmt.Sprintf("test %d.%d", os.Getpid(), time.Now().UnixNano()%1e6)
	s, err := Open(Config{Addr: ":0", TCP: ":0", Query: ":0", Name: name, Announce: AnnounceAlways, Interfaces: []string{lo}, Logger: slog.New(&logs{})}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := s.Addrs()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	found := make(chan announce.Found)
	want := map[string]netip.AddrPort{announce.OSC: a.UDP, oscOverTCP: a.TCP, announce.OSCQuery: a.Query}
	for kind := range want {
		go announce.Browse(ctx, kind, func(f announce.Found) {
			if f.Instance == name {
				select {
				case found <- f:
				case <-ctx.Done():
				}
			}
		}, lo)
	}
	for len(want) > 0 {
		select {
		case f := <-found:
			if at, ok := want[f.Type]; ok {
				if f.Port != int(at.Port()) || len(f.Addrs) != 1 || f.Addrs[0] != at.Addr() {
					t.Errorf("%+v, want %s", f, at)
				}
				delete(want, f.Type)
			}
		case <-ctx.Done():
			t.Fatalf("not found within 15 s: %v", want)
		}
	}
}
