package web

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"time"
)

// addressesEvery is how often a server on all addresses of its machine looks
// which those are: a network comes and goes while it plays.
const addressesEvery = 10 * time.Second

// Addresses are this machine's addresses in its networks: IPv4 before IPv6, and
// those of private networks, where tablets are, first. Addresses that mean
// something on one link only are left out.
func Addresses() (list []netip.Addr) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil {
				continue
			}
			if ip := p.Addr().Unmap(); !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && !ip.IsMulticast() && !ip.IsUnspecified() && !slices.Contains(list, ip) {
				list = append(list, ip)
			}
		}
	}
	rank := func(a netip.Addr) (n int) {
		if !a.Is4() {
			n = 2
		}
		if !a.IsPrivate() {
			n++
		}
		return n
	}
	slices.SortStableFunc(list, func(a, b netip.Addr) int { return cmp.Compare(rank(a), rank(b)) })
	return list
}

// hostsOf are the addresses under which a machine of the network opens the page
// that listens at an address: itself, or where that is all of them those that
// the machine has, if they may be spoken to at all. The loopback comes last.
func hostsOf(listens netip.Addr, have []netip.Addr, allow func(netip.Addr) bool) (hosts []netip.Addr) {
	listens = listens.Unmap()
	if !listens.IsUnspecified() {
		return []netip.Addr{listens}
	}
	for _, a := range have {
		if len(hosts) > 0 && a.Is6() && hosts[0].Is4() {
			break // it is there already, by a name that can be typed
		}
		hosts = append(hosts, a)
	}
	// A tablet that may play is in a network of which the machine has an address,
	// as a rule; what is left are its containers and its machines' machines.
	if allow != nil {
		if near := slices.DeleteFunc(slices.Clone(hosts), func(a netip.Addr) bool { return !allow(a) }); len(near) > 0 {
			hosts = near
		}
	}
	return append(hosts, netip.AddrFrom4([4]byte{127, 0, 0, 1}))
}
