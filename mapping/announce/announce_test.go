package announce

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// Names of any characters survive being written as a label of a domain name.
func TestEscape(t *testing.T) {
	for _, name := range []string{"k8s-synth", "a b.c", `x\y`, "Bühne 1", "(the) \"band\" @ 5; it's", "\x00\xff"} {
		if got := unescape(escape(name)); got != name {
			t.Errorf("%q becomes %q by way of %q", name, got, escape(name))
		}
	}
	if got := escape("a b.c"); got != `a\ b\.c` {
		t.Errorf("escaped: %s", got)
	}
	for in, want := range map[string]string{`\`: `\`, `\1`: "1", `\12`: "12", `\256`: string([]byte{0}), `a\.`: "a."} {
		if got := unescape(in); got != want {
			t.Errorf("%q is read as %q, expected %q", in, got, want)
		}
	}
}

func FuzzUnescape(f *testing.F) {
	f.Add(`a\.b\032`)
	f.Fuzz(func(t *testing.T, s string) {
		if got := unescape(escape(s)); got != s {
			t.Fatalf("%q becomes %q", s, got)
		}
		unescape(s)
	})
}

// What cannot be announced is refused, and loopback is not announced unasked.
func TestStartRefuses(t *testing.T) {
	good := Service{Instance: "x", Type: MIDI, Port: 5004, Addr: netip.MustParseAddr("127.0.0.1")}
	if _, err := Start(good, nil); !errors.Is(err, ErrLoopback) {
		t.Errorf("loopback: %v", err)
	}
	good.Addr = netip.MustParseAddr("::1")
	if _, err := Start(good, nil); !errors.Is(err, ErrLoopback) {
		t.Errorf("loopback of IPv6: %v", err)
	}
	for name, change := range map[string]func(*Service){
		"no name":       func(s *Service) { s.Instance = "" },
		"a long name":   func(s *Service) { s.Instance = strings.Repeat("x", 64) },
		"no type":       func(s *Service) { s.Type = "" },
		"a bare type":   func(s *Service) { s.Type = "_osc" },
		"an odd type":   func(s *Service) { s.Type = "_o sc._udp" },
		"no port":       func(s *Service) { s.Port = 0 },
		"a large port":  func(s *Service) { s.Port = 65536 },
		"a long string": func(s *Service) { s.TXT = []string{strings.Repeat("x", 256)} },
	} {
		s := Service{Instance: "x", Type: MIDI, Port: 5004}
		change(&s)
		if _, err := Start(s, nil); err == nil || errors.Is(err, ErrLoopback) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (*Announcement)(nil).Close(); err != nil {
		t.Error(err)
	}
	if err := Browse(context.Background(), "x", nil); err == nil {
		t.Error("browsed for no type")
	}
}

// loopback returns the name of the loopback interface.
func loopback(t *testing.T) string {
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 {
			return i.Name
		}
	}
	t.Skip("no loopback interface is up")
	return ""
}

// On the loopback interface, if it is named, a service is found as it was
// described, and is said to be gone.
func TestLoopback(t *testing.T) {
	t.Parallel()
	old := round
	round = time.Second
	t.Cleanup(func() { round = old })
	lo := loopback(t)
	name := fmt.Sprintf("Bühne 1 (test %d.%d)", os.Getpid(), time.Now().UnixNano()%1e6)
	a, err := Start(Service{
		Instance: name, Type: OSC, Port: 9123, TXT: []string{"a=1", "b=x y"}, Addr: netip.MustParseAddr("127.0.0.1"), Interfaces: []string{lo},
	}, slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	found := make(chan Found, 100)
	done := make(chan error, 1)
	go func() {
		done <- Browse(ctx, OSC, func(f Found) {
			if f.Instance == name {
				found <- f
			}
		}, lo)
	}()
	wait := func(gone bool) Found {
		t.Helper()
		for {
			select {
			case f := <-found:
				if f.Gone == gone {
					return f
				}
			case <-time.After(15 * time.Second):
				t.Fatalf("not within 15 s; gone: %v", gone)
			}
		}
	}
	f := wait(false)
	if f.Type != OSC || f.Port != 9123 || !slices.Equal(f.TXT, []string{"a=1", "b=x y"}) || !slices.Equal(f.Addrs, []netip.Addr{netip.MustParseAddr("127.0.0.1")}) ||
		!strings.HasSuffix(f.Host, "-k8s-synth.local") {
		t.Errorf("found %+v", f)
	}
	a.Close()
	a.Close()
	wait(true)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestMain runs the part of TestNetwork that is told in the environment: the
// test's own program in a network namespace.
func TestMain(m *testing.M) {
	role := os.Getenv("K8S_SYNTH_ANNOUNCE_ROLE")
	if role == "" {
		os.Exit(m.Run())
	}
	if os.Getenv("K8S_SYNTH_PROOF") == "" {
		round, breath, poll = 1200*time.Millisecond, 200*time.Millisecond, 300*time.Millisecond
	}
	switch role {
	case "announce":
		a, err := Start(Service{Instance: "k8s-synth on stage", Type: MIDI, Port: 5004, TXT: []string{"v=1"}}, nil)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		bufio.NewReader(os.Stdin).ReadString('\n')
		a.Close()
	case "browse":
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			bufio.NewReader(os.Stdin).ReadString('\n')
			cancel()
		}()
		Browse(ctx, MIDI, func(f Found) {
			b, _ := json.Marshal(f)
			fmt.Printf("FOUND %s\n", b)
		})
	}
}

// In two network namespaces with a cable between them: a service that is
// announced before the cable is there is found when it is, by our own browser
// and by Avahi's; and again after the cable was pulled.
func TestNetwork(t *testing.T) {
	t.Parallel() // it takes its time
	if os.Getuid() != 0 {
		t.Skip("not root: no network namespaces to announce in")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip (iproute2): no network namespaces to announce in")
	}
	a, b := fmt.Sprintf("k8ss-a%d", os.Getpid()), fmt.Sprintf("k8ss-b%d", os.Getpid())
	ip := func(args ...string) error {
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %v: %v: %s", args, err, out)
		}
		return nil
	}
	must := func(args ...string) {
		t.Helper()
		if err := ip(args...); err != nil {
			t.Fatal(err)
		}
	}
	if err := ip("netns", "add", a); err != nil {
		t.Skipf("no network namespaces to announce in: %v", err)
	}
	t.Cleanup(func() { ip("netns", "del", a) })
	must("netns", "add", b)
	t.Cleanup(func() { ip("netns", "del", b) })
	must("-n", a, "link", "set", "lo", "up")
	must("-n", b, "link", "set", "lo", "up")

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// run starts a role in a namespace; closing what it returns ends it.
	run := func(ns, role string) (lines <-chan string, end func()) {
		t.Helper()
		cmd := exec.Command("ip", "netns", "exec", ns, self)
		cmd.Env = append(os.Environ(), "K8S_SYNTH_ANNOUNCE_ROLE="+role)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ch := make(chan string, 1000)
		go func() {
			defer close(ch)
			for s := bufio.NewScanner(out); s.Scan(); {
				ch <- s.Text()
			}
		}()
		ended := false
		end = func() {
			if ended {
				return
			}
			ended = true
			in.Close()
			timer := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
			cmd.Wait()
			timer.Stop()
		}
		t.Cleanup(end)
		return ch, end
	}
	_, endA := run(a, "announce")
	lines, _ := run(b, "browse")
	wait := func(what string, ok func(Found) bool) Found {
		t.Helper()
		timeout := time.After(50 * time.Second)
		for {
			select {
			case l, open := <-lines:
				if !open {
					t.Fatalf("%s: the browser has ended", what)
				}
				var f Found
				if j, is := strings.CutPrefix(l, "FOUND "); is && json.Unmarshal([]byte(j), &f) == nil && ok(f) {
					return f
				}
			case <-timeout:
				t.Fatalf("%s: not within 50 s", what)
			}
		}
	}
	time.Sleep(300 * time.Millisecond)
	plug := func() {
		must("-n", a, "link", "add", "stage0", "type", "veth", "peer", "name", "stage0", "netns", b)
		must("-n", a, "addr", "add", "10.77.0.1/24", "dev", "stage0")
		must("-n", b, "addr", "add", "10.77.0.2/24", "dev", "stage0")
		must("-n", a, "link", "set", "stage0", "up")
		must("-n", b, "link", "set", "stage0", "up")
	}
	plug()
	begun := time.Now()
	want := netip.MustParseAddr("10.77.0.1")
	f := wait("after the cable was plugged in", func(f Found) bool { return !f.Gone && slices.Contains(f.Addrs, want) })
	if f.Instance != "k8s-synth on stage" || f.Port != 5004 || !slices.Equal(f.TXT, []string{"v=1"}) {
		t.Errorf("found %+v", f)
	}
	t.Logf("found by our browser %v after the cable was plugged in: %+v", time.Since(begun).Round(time.Millisecond), f)
	avahi(t, b)
	must("-n", a, "link", "del", "stage0")
	wait("after the cable was pulled", func(f Found) bool { return f.Gone })
	plug()
	begun = time.Now()
	wait("after it was plugged in again", func(f Found) bool { return !f.Gone && slices.Contains(f.Addrs, want) })
	t.Logf("and %v after it was plugged in again", time.Since(begun).Round(time.Millisecond))
	endA()
	wait("after its end", func(f Found) bool { return f.Gone })
}

// avahi looks for the service with avahi-browse, whose daemon and bus run in
// the namespace with a /run of their own, and end with it.
func avahi(t *testing.T, ns string) {
	for _, tool := range []string{"avahi-browse", "avahi-daemon", "dbus-daemon", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Logf("no %s: not looked for with avahi-browse", tool)
			return
		}
	}
	const script = `
mount -t tmpfs none /run && mkdir -p /run/dbus /run/avahi-daemon || exit 9
dbus-daemon --system --nofork --nopidfile & bus=$!
for i in 1 2 3 4 5 6 7 8 9 10; do [ -S /run/dbus/system_bus_socket ] && break; sleep 0.1; done
avahi-daemon --no-drop-root --no-rlimits --no-chroot >/dev/null 2>&1 & daemon=$!
for i in $(seq 50); do avahi-browse -t _none._udp >/dev/null 2>&1 && break; sleep 0.1; done
for i in 1 2 3; do # a daemon that has just begun may not have asked yet
	timeout 10 avahi-browse --parsable --resolve --terminate _apple-midi._udp | tee /run/found
	grep -q '^=;[^;]*;IPv4;' /run/found && break
done
kill $daemon $bus
wait`
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", "netns", "exec", ns, "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script).CombinedOutput()
	for _, l := range strings.Split(string(out), "\n") {
		// =;interface;protocol;name;type;domain;host;address;port;text
		p := strings.Split(l, ";")
		if len(p) >= 10 && p[0] == "=" && p[2] == "IPv4" {
			if p[3] != `k8s-synth\032on\032stage` || p[7] != "10.77.0.1" || p[8] != "5004" || p[9] != `"v=1"` {
				t.Errorf("avahi-browse found %s", l)
			}
			t.Logf("found by avahi-browse: %s", l)
			return
		}
	}
	if err != nil && len(out) < 400 && !strings.Contains(string(out), "+;") {
		t.Logf("avahi's daemon does not run here, so avahi-browse is not looked with: %v: %s", err, out)
		return
	}
	t.Errorf("avahi-browse does not find it: %v: %s", err, out)
}
