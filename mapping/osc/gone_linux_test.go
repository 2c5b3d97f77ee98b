package osc

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ownNetwork tells a process that it has a network to itself.
const ownNetwork = "K8S_SYNTH_OWN_NETWORK"

// A client whose network is gone without a word is gone, also while something is
// on its way to it, of which nobody ever hears.
func TestFellOffTheNetwork(t *testing.T) {
	if os.Getenv(ownNetwork) == "" {
		t.Parallel()
		cmd := exec.Command(os.Args[0], "-test.run=^TestFellOffTheNetwork$", "-test.v", "-test.timeout=60s")
		cmd.Env = append(os.Environ(), ownNetwork+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Skipf("no network of its own for a process: %v", err)
		}
		err := cmd.Wait()
		t.Logf("%s", out.String())
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	loopback(t, true)
	keepAlive, giveUp = net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2}, time.Second
	var d departures
	r := openRack(t, Config{TCP: "127.0.0.1:0", Left: d.left})
	idle, told := r.stream(t, false), r.stream(t, false)
	clients := map[string]netip.AddrPort{"idle": r.plays(t, idle.send), "told": r.plays(t, told.send)}
	told.send("/subscribe", String("/voice/big"))
	told.want("/voice/big 0")
	if d.of(clients["idle"])+d.of(clients["told"]) != 0 {
		t.Fatal("gone while they are there")
	}
	loopback(t, false)
	off := time.Now()
	r.surface.Notify("/voice/big", netip.AddrPort{}, Int64(1))
	for _, name := range []string{"told", "idle"} {
		eventually(t, name+" is gone", func() bool { return d.of(clients[name]) == 1 })
		t.Logf("%s: known after %v", name, time.Since(off).Round(10*time.Millisecond))
	}
}

// loopback switches the loopback interface on or off.
func loopback(t *testing.T, on bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	if on {
		ifr.SetUint16(unix.IFF_UP)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		t.Fatal(err)
	}
}
