package osc

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// mostReports bounds the reports that are read at once.
const mostReports = 1024

// reportRefusals has the system keep what became of datagrams that it knows not
// to have arrived, for refusals. Each also makes the next read or write of the
// socket fail, whomever that is of.
func reportRefusals(conn *net.UDPConn) error {
	rc, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var v4, v6 error
	if err := rc.Control(func(fd uintptr) {
		// A socket of IPv6 may carry IPv4 as well.
		v4 = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		v6 = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	}); err != nil {
		return err
	}
	if v4 != nil && v6 != nil {
		return v4
	}
	return nil
}

// refusals takes what the system has kept, calls refused with each address where
// no program has the port any more, and tells whether there was anything.
func refusals(conn *net.UDPConn, refused func(to netip.AddrPort)) (any bool) {
	rc, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	_ = rc.Control(func(fd uintptr) { // fails only when closed
		var head [1]byte
		var about [512]byte
		for range mostReports {
			_, n, _, to, err := unix.Recvmsg(int(fd), head[:], about[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			any = true
			if isRefusal(about[:n]) {
				refused(addrPortOf(to))
			}
		}
	})
	return any
}

// isRefusal reports whether a report is that a machine has no such port: that
// of a machine that cannot be reached may be back in a moment.
func isRefusal(about []byte) bool {
	list, err := unix.ParseSocketControlMessage(about)
	if err != nil {
		return false
	}
	for _, m := range list {
		v4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
		v6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if (v4 || v6) && len(m.Data) >= 4 && unix.Errno(binary.NativeEndian.Uint32(m.Data)) == unix.ECONNREFUSED {
			return true
		}
	}
	return false
}

func addrPortOf(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(a.Addr)
		if a.ZoneId != 0 {
			if i, err := net.InterfaceByIndex(int(a.ZoneId)); err == nil {
				addr = addr.WithZone(i.Name)
			}
		}
		return unmap(netip.AddrPortFrom(addr, uint16(a.Port)))
	}
	return netip.AddrPort{}
}

// isReport reports whether a read or write may have failed by what became of
// another datagram.
func isReport(err error) bool {
	for _, e := range []unix.Errno{unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENONET, unix.ENOPROTOOPT, unix.EPROTO, unix.EOPNOTSUPP} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// giveUpAfter ends a connection when what was sent is not acknowledged for so
// long: as long as anything is under way nobody asks whether the client is alive.
func giveUpAfter(conn *net.TCPConn, after time.Duration) error {
	rc, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := rc.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
	}); err != nil {
		return err
	}
	return failed
}
