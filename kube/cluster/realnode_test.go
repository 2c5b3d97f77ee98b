package cluster

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/kube/cluster/paths"
)

func TestCheckRealNode(t *testing.T) {
	for address, good := range map[string]bool{
		"": true, "10.88.0.1": true, "192.168.1.20": true,
		"127.0.0.1": false, "0.0.0.0": false, "localhost": false, "10.0.0.1:6443": false, "fd00::1": false,
	} {
		if err := checkRealNode(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestWithoutARealNodeNothingIsOpened: the flags and plugins that give pods
// their tokens and the API its address come with a real node only.
func TestWithoutARealNodeNothingIsOpened(t *testing.T) {
	s := paths.State{Dir: "/state"}
	if f := realNodeFlags("", s); len(f) != 0 {
		t.Errorf("flags %v", f)
	}
	if !slices.Contains(admissionOffWith(""), "ServiceAccount") || slices.Contains(admissionOffWith("10.0.0.1"), "ServiceAccount") {
		t.Errorf("admission plugins that are off: %v, with a real node %v", admissionOffWith(""), admissionOffWith("10.0.0.1"))
	}
	if f := strings.Join(realNodeFlags("10.0.0.1", s), " "); !strings.Contains(f, "--advertise-address=10.0.0.1 ") {
		t.Errorf("flags %s", f)
	}
}

// TestAlsoListen: connections to both addresses come out of one listener, and
// its end is the end of both.
func TestAlsoListen(t *testing.T) {
	first, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const other = "127.0.0.2" // all of 127.0.0.0/8 is this machine on Linux
	l, err := alsoListen(first, other)
	if err != nil {
		first.Close()
		t.Skipf("skipped: no second address on this machine: %v", err)
	}
	if l.Addr().String() != first.Addr().String() {
		t.Errorf("address %v, want that of the first, %v", l.Addr(), first.Addr())
	}
	port := first.Addr().(*net.TCPAddr).Port
	for _, to := range []string{"127.0.0.1", other} {
		address := net.JoinHostPort(to, strconv.Itoa(port))
		c, err := net.DialTimeout("tcp4", address, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		a, err := l.Accept()
		if err != nil || a.LocalAddr().String() != address {
			t.Errorf("accepted %v, %v; want %s", a.LocalAddr(), err, address)
		}
		a.Close()
		c.Close()
	}
	ended := make(chan error, 1)
	go func() { _, err := l.Accept(); ended <- err }()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept after the end: %v", err)
		}
	case <-time.After(2 * time.Second):
		t.Error("accept still waits after the end")
	}
	for _, to := range []string{"127.0.0.1", other} {
		if c, err := net.DialTimeout("tcp4", fmt.Sprintf("%s:%d", to, port), time.Second); err == nil {
			c.Close()
			t.Errorf("%s still listens", to)
		}
	}
	// A port that is taken there is said, and the first one stays open.
	taken, err := net.Listen("tcp4", other+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	again, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", taken.Addr().(*net.TCPAddr).Port))
	if err != nil {
		t.Skipf("skipped: %v", err)
	}
	defer again.Close()
	if _, err := alsoListen(again, other); err == nil || !strings.Contains(err.Error(), "API server for real nodes") {
		t.Errorf("a port that is taken: %v", err)
	}
}
