package web

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
)

// The kernel tells whose a connection is, of either family.
func TestWhoseConnection(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln, err := net.Listen("tcp", at)
		if err != nil {
			t.Logf("%s: %v", at, err)
			continue
		}
		defer ln.Close()
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ours, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		remote, local := ours.RemoteAddr().(*net.TCPAddr).AddrPort(), ours.LocalAddr().(*net.TCPAddr).AddrPort()
		uid, ok := uidOf(remote, local)
		if !ok || uid != os.Geteuid() || ownerOf(remote, local) != us {
			t.Errorf("%s: the connection is %d's (known: %t), who runs this is %d", at, uid, ok, os.Geteuid())
		}
		if _, ok := uidOf(netip.AddrPortFrom(remote.Addr(), remote.Port()^1), local); ok {
			t.Errorf("%s: a connection that there is not is known", at)
		}
		if os.Geteuid() != 0 {
			continue
		}
		// Another user's: the kernel goes by whoever made the socket.
		made, done := make(chan error, 1), make(chan struct{})
		go func() {
			// This thread is another user's until it ends with its goroutine.
			runtime.LockOSThread()
			if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
				made <- e
				return
			}
			fd, err := syscall.Socket(family(local), syscall.SOCK_STREAM, 0)
			if err == nil {
				defer syscall.Close(fd)
				err = syscall.Connect(fd, sockaddr(local))
			}
			made <- err
			<-done
		}()
		if err := <-made; err != nil {
			t.Fatal(err)
		}
		theirs, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if o := ownerOf(theirs.RemoteAddr().(*net.TCPAddr).AddrPort(), local); o != stranger {
			t.Errorf("%s: another user's connection is %d", at, o)
		}
		theirs.Close()
		close(done)
	}
}

func family(a netip.AddrPort) int {
	if a.Addr().Is4() {
		return syscall.AF_INET
	}
	return syscall.AF_INET6
}

func sockaddr(a netip.AddrPort) syscall.Sockaddr {
	if a.Addr().Is4() {
		return &syscall.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &syscall.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}
