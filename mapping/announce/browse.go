package announce

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/zeroconf/v2"
)

// Tests shorten these.
var (
	// round is how long one look at the network lasts. Each begins with a
	// question and with the interfaces as they then are.
	round = 10 * time.Second
	// breath is the pause before the next round where one failed at once, as
	// it does without any interface.
	breath = time.Second
)

// missed is for how many rounds a service has to be silent to be gone.
const missed = 2

// Found is a service of the network.
type Found struct {
	// Instance is its name as a person reads it, Type its type.
	Instance, Type string
	// Host is the name of its machine, with the domain.
	Host string
	Port int
	TXT  []string
	// Addrs are its addresses. Link-local ones of IPv6 have a zone.
	Addrs []netip.Addr
	// Gone says that it was there and is no more: it was not heard for 20 to
	// 30 seconds.
	Gone bool
}

// seen is what a browser remembers of a service.
type seen struct {
	found Found
	last  time.Time
}

// Browse looks for services of a type until ctx ends, and returns nil then.
// It calls found, from one goroutine, when one appears, when it changes, and
// when it is gone. Without interfaces it looks on all that are up, but the
// loopback one. Interfaces may come and go.
func Browse(ctx context.Context, serviceType string, found func(Found), interfaces ...string) error {
	if !validType(serviceType) {
		return fmt.Errorf("announce: browse %q: expected the form _name._udp or _name._tcp", serviceType)
	}
	known := map[string]seen{}
	for ctx.Err() == nil {
		begun := time.Now()
		looked := look(ctx, serviceType, interfaces, func(f Found) {
			old, ok := known[f.Instance]
			known[f.Instance] = seen{f, time.Now()}
			if !ok || !same(old.found, f) {
				found(f)
			}
		})
		for name, s := range known {
			if ctx.Err() == nil && time.Since(s.last) >= missed*round {
				delete(known, name)
				s.found.Gone = true
				found(s.found)
			}
		}
		if !looked || time.Since(begun) < breath {
			select {
			case <-ctx.Done():
			case <-time.After(breath):
			}
		}
	}
	return nil
}

func same(a, b Found) bool {
	return a.Host == b.Host && a.Port == b.Port && slices.Equal(a.TXT, b.TXT) && slices.Equal(a.Addrs, b.Addrs)
}

// look is one round. It returns false if no interface could be looked at.
func look(ctx context.Context, serviceType string, names []string, found func(Found)) bool {
	// One browser per interface, so that its zone is known and a fault of one
	// is not a fault of all.
	ctx, cancel := context.WithTimeout(ctx, round)
	defer cancel()
	all := make(chan Found)
	running, ended := 0, make(chan bool)
	for _, p := range (Service{Interfaces: names}).places() {
		running++
		go func() {
			ended <- lookOn(ctx, p.iface, serviceType, all)
		}()
	}
	looked := false
	// An instance that is heard on several interfaces has the addresses of all.
	merged := map[string]Found{}
	for running > 0 {
		select {
		case ok := <-ended:
			running--
			looked = looked || ok
		case f := <-all:
			if m, ok := merged[f.Instance]; ok && m.Host == f.Host && m.Port == f.Port {
				f.Addrs = append(slices.Clone(m.Addrs), f.Addrs...)
				slices.SortFunc(f.Addrs, netip.Addr.Compare)
				f.Addrs = slices.Compact(f.Addrs)
			}
			merged[f.Instance] = f
			if ctx.Err() == nil {
				found(f)
			}
		}
	}
	return looked
}

// lookOn browses one interface until ctx ends.
func lookOn(ctx context.Context, iface net.Interface, serviceType string, all chan<- Found) bool {
	// A system without IPv6, or an interface without, is looked at by IPv4.
	for _, traffic := range []zeroconf.IPType{zeroconf.IPv4AndIPv6, zeroconf.IPv4, zeroconf.IPv6} {
		entries := make(chan *zeroconf.ServiceEntry, 16)
		failed := make(chan error, 1)
		go func() {
			failed <- zeroconf.Browse(ctx, serviceType, domain, entries,
				zeroconf.SelectIfaces([]net.Interface{iface}), zeroconf.SelectIPTraffic(traffic))
		}()
		for open := true; open; {
			select {
			case e, ok := <-entries:
				if !ok {
					<-failed
					return true
				}
				all <- describe(e, serviceType, iface.Name)
			case err := <-failed:
				// It ends by itself only when it cannot begin, and then never
				// closes entries; else they are closed first.
				if err == nil {
					return true
				}
				open = false
			}
		}
	}
	return false
}

// describe turns what the library found into what a person reads.
func describe(e *zeroconf.ServiceEntry, serviceType, iface string) Found {
	f := Found{
		Instance: unescape(strings.TrimSuffix(e.Instance, ".")),
		Type:     serviceType,
		Host:     strings.TrimSuffix(e.HostName, "."),
		Port:     e.Port,
		TXT:      slices.Clone(e.Text),
	}
	for _, ip := range append(slices.Clone(e.AddrIPv4), e.AddrIPv6...) {
		a, ok := netip.AddrFromSlice(ip)
		if a = a.Unmap(); !ok {
			continue
		}
		if a.Is6() && a.IsLinkLocalUnicast() {
			a = a.WithZone(iface)
		}
		f.Addrs = append(f.Addrs, a)
	}
	slices.SortFunc(f.Addrs, netip.Addr.Compare)
	f.Addrs = slices.Compact(f.Addrs)
	return f
}
