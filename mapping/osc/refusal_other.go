//go:build !linux

package osc

import (
	"net"
	"net/netip"
	"time"
)

// Here the system does not say to whom a datagram was that nobody took.

func reportRefusals(*net.UDPConn) error { return nil }

func refusals(*net.UDPConn, func(to netip.AddrPort)) bool { return false }

func isReport(error) bool { return false }

func giveUpAfter(*net.TCPConn, time.Duration) error { return nil }
