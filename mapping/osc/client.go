package osc

import (
	"net/netip"
	"strings"
)

// A client's identity is the address that it sends from. The same address and
// port may stand for a UDP socket, a TCP connection and a WebSocket at once,
// so that the last two carry the transport in the zone of the address:
// [::ffff:192.168.1.5%tcp]:50123. Such an AddrPort survives being written and
// parsed again.
const (
	zoneTCP       = "tcp"
	zoneWebSocket = "ws"
	// zoneJoin stands between a link-local address's own zone and ours.
	zoneJoin = "+"
)

// connected returns the identity of a client at a that is connected by a
// transport.
func connected(a netip.AddrPort, transport string) netip.AddrPort {
	addr := a.Addr()
	zone := transport
	if z := addr.Zone(); z != "" {
		zone = z + zoneJoin + transport
	}
	return netip.AddrPortFrom(netip.AddrFrom16(addr.As16()).WithZone(zone), a.Port())
}

// Transport names how a client, such as Cause.From, is reached: "udp", "tcp"
// or "ws".
func Transport(client netip.AddrPort) string {
	zone := client.Addr().Zone()
	if i := strings.LastIndex(zone, zoneJoin); i >= 0 {
		zone = zone[i+len(zoneJoin):]
	}
	switch zone {
	case zoneTCP, zoneWebSocket:
		return zone
	}
	return "udp"
}

// isConnected reports whether a client is a connection rather than an address
// that datagrams are sent to.
func isConnected(client netip.AddrPort) bool {
	return client.Addr().Zone() != "" && Transport(client) != "udp"
}

// Peer returns the address that a client has on its network, without the
// transport. All connections of one machine have the same Peer(c).Addr().
func Peer(client netip.AddrPort) netip.AddrPort {
	addr := client.Addr()
	if isConnected(client) {
		zone := ""
		if i := strings.LastIndex(addr.Zone(), zoneJoin); i >= 0 {
			zone = addr.Zone()[:i]
		}
		addr = addr.WithZone(zone)
	}
	if addr.Zone() == "" {
		addr = addr.Unmap()
	}
	return netip.AddrPortFrom(addr, client.Port())
}

// unmap turns an IPv4 address inside an IPv6 one back, so that a client has
// one address however the socket was opened. Identities of connections stay.
func unmap(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Zone() != "" {
		return a
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
