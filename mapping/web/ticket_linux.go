package web

import (
	"bufio"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// established is the state of a connection that is open both ways, as in the
// kernel's list.
const established = "01"

// ownerOf tells whose the other end of a connection is, from the kernel's list
// of connections (proc_net_tcp in its documentation).
func ownerOf(remote, local netip.AddrPort) owner {
	uid, ok := uidOf(remote, local)
	switch {
	case !ok:
		return unknown
	case uid == 0 || uid == os.Geteuid():
		return us
	}
	return stranger
}

// uidOf is whose the end of a connection is that has the address end, and a
// peer at its other end.
func uidOf(end, peer netip.AddrPort) (uid int, ok bool) {
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			w := strings.Fields(lines.Text())
			if len(w) < 8 || w[3] != established || kernelAddr(w[1]) != unmapped(end) || kernelAddr(w[2]) != unmapped(peer) {
				continue
			}
			if uid, err = strconv.Atoi(w[7]); err == nil {
				f.Close()
				return uid, true
			}
		}
		f.Close()
	}
	return 0, false
}

// kernelAddr reads an address of the kernel's list: words of four bytes in the
// order of the machine, which is little-endian on all that we run on, and a
// port.
func kernelAddr(text string) (a netip.AddrPort) {
	host, port, ok := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	n, perr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || perr != nil || len(b)%4 != 0 {
		return a
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	ip, _ := netip.AddrFromSlice(b)
	return unmapped(netip.AddrPortFrom(ip, uint16(n)))
}

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}
