package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/osc"
)

// off is the address of a surface that is not wanted.
const off = "off"

// networkOptions say where the surfaces listen, and to whom.
type networkOptions struct {
	listen     string // address of this machine for all of them
	osc        string
	oscTCP     string // auto is the port of osc
	query      string // auto is two ports further
	web        string
	rtp        string
	rtpConnect []string
	allow      []string // addresses, networks, and for RTP-MIDI names

	prefixes []netip.Prefix // of allow, without the names
}

// Ports where no flag says otherwise.
const (
	oscPort = 9000
	rtpPort = 5004
	// queryOffset is how far from OSC's port OSCQuery's is: on the one between
	// the two, surfaces listen for answers.
	queryOffset = 2
)

const (
	// oscLookahead is how long before its time what has a time tag is handed on,
	// so that it is played at that time and not when it is noticed.
	oscLookahead = 20 * time.Millisecond
	// oscResend is how often those who are always told are told everything
	// again: datagrams may be lost.
	oscResend = 2 * time.Second
)

// settle reads the addresses and gives those that were not named their
// defaults. Changed tells whether a flag was given.
func (n *networkOptions) settle(changed func(string) bool) error {
	host := "127.0.0.1"
	if n.listen != "" {
		ip, err := netip.ParseAddr(n.listen)
		if err != nil {
			return fmt.Errorf("--listen is an address of this machine, such as 192.168.1.5, got %q", n.listen)
		}
		host = ip.String()
	}
	for _, a := range n.allow {
		if p, err := netip.ParsePrefix(a); err == nil {
			n.prefixes = append(n.prefixes, p.Masked())
		} else if ip, err := netip.ParseAddr(a); err == nil {
			n.prefixes = append(n.prefixes, netip.PrefixFrom(ip, ip.BitLen()))
		} else if strings.ContainsAny(a, "/:") || a == "" {
			return fmt.Errorf("--allow takes addresses such as 192.168.1.7, networks such as 192.168.1.0/24, and names of RTP-MIDI sessions, got %q", a)
		}
	}
	if !changed("osc") {
		n.osc = net.JoinHostPort(host, strconv.Itoa(oscPort))
	}
	if !changed("web") {
		n.web = net.JoinHostPort(host, strconv.Itoa(webPort))
	}
	if n.web == "" {
		n.web = off
	}
	if !changed("rtp") && n.listen != "" {
		n.rtp = net.JoinHostPort(host, strconv.Itoa(rtpPort))
	}
	if n.rtp == off && len(n.rtpConnect) > 0 {
		n.rtp = net.JoinHostPort(host, "0")
	}
	if !reachable(n.rtp) {
		for _, to := range n.rtpConnect {
			if reachable(to) {
				return fmt.Errorf("--rtp-connect %s is not reached from %s; name with --listen this machine's address on its network, and with --allow who may play", to, n.rtp)
			}
		}
	}
	if n.osc == "" || n.osc == off {
		n.osc, n.oscTCP, n.query = off, off, off
	}
	for _, a := range []*string{&n.oscTCP, &n.query} {
		if *a == "" {
			*a = off
		}
	}
	for _, a := range []struct {
		flag, addr string
		port       int
	}{{"osc", n.osc, oscPort}, {"osc-tcp", n.oscTCP, oscPort}, {"oscquery", n.query, oscPort + queryOffset}, {"web", n.web, webPort}, {"rtp", n.rtp, rtpPort}} {
		if a.addr == off || a.addr == "auto" && a.flag != "osc" && a.flag != "rtp" {
			continue
		}
		_, port, err := net.SplitHostPort(a.addr)
		if _, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil {
			return fmt.Errorf("--%s is host:port such as 127.0.0.1:%d, or off, got %q", a.flag, a.port, a.addr)
		}
		if reachable(a.addr) && len(n.allow) == 0 {
			flag, addr := a.flag, a.addr
			if n.listen != "" && !changed(flag) {
				flag, addr = "listen", n.listen
			}
			return fmt.Errorf("--%s %s can be reached from a network; name with --allow who may play, such as 192.168.1.0/24", flag, addr)
		}
	}
	return nil
}

// reachable tells whether an address, with a port or without, is one of a
// network: all are but those of this machine alone.
func reachable(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip, err := netip.ParseAddr(host)
	return host != "" && host != "localhost" && (err != nil || !ip.IsLoopback())
}

// oscConfig is how the OSC surface listens: the second one takes any ports
// where the usual ones, which nobody named, are taken.
func (n *networkOptions) oscConfig() (osc.Config, func(osc.Config) osc.Config) {
	c := osc.Config{Addr: n.osc, Allow: n.prefixes, Resend: oscResend, Lookahead: oscLookahead}
	near := func(a string, offset int) (addr string) {
		switch a {
		case off:
			return ""
		case "auto":
			host, port, _ := net.SplitHostPort(n.osc)
			p, _ := strconv.Atoi(port)
			if p > 0 && p+offset <= 65535 {
				p += offset
			}
			return net.JoinHostPort(host, strconv.Itoa(p))
		}
		return a
	}
	c.TCP, c.Query = near(n.oscTCP, 0), near(n.query, queryOffset)
	return c, func(c osc.Config) osc.Config {
		for _, a := range []struct {
			flag string
			addr *string
		}{{n.oscTCP, &c.TCP}, {n.query, &c.Query}} {
			if a.flag == "auto" {
				host, _, _ := net.SplitHostPort(*a.addr)
				*a.addr = net.JoinHostPort(host, "0")
			}
		}
		return c
	}
}

// openOSCSurface opens the OSC surface where the options say.
func (n *networkOptions) openOSCSurface(open func(osc.Config) (*oscSurface, error)) (*oscSurface, error) {
	c, elsewhere := n.oscConfig()
	s, err := open(c)
	if errors.Is(err, osc.ErrPortInUse) && (n.oscTCP == "auto" || n.query == "auto") {
		// It may be a port that nobody asked for.
		return open(elsewhere(c))
	}
	return s, err
}
