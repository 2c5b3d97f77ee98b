package osc

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	goosc "github.com/hypebeast/go-osc/osc"
)

// oscsend runs liblo's command-line client.
func oscsend(t *testing.T, to netip.AddrPort, args ...string) {
	t.Helper()
	out, err := exec.Command("oscsend", append([]string{to.Addr().String(), fmt.Sprint(to.Port())}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("oscsend %v: %v: %s", args, err, out)
	}
}

// oscdump runs liblo's command-line server and returns its port and its lines.
func oscdump(t *testing.T) (port int, lines <-chan string) {
	t.Helper()
	free, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	port = free.LocalAddr().(*net.UDPAddr).Port
	free.Close()
	cmd := exec.Command("stdbuf", "-oL", "oscdump", fmt.Sprint(port))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ch := make(chan string, 10000)
	go func() {
		defer close(ch)
		for s := bufio.NewScanner(out); s.Scan(); {
			ch <- s.Text()
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	// It is up when it prints what it is sent.
	probe, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Close()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		probe.Write(encode(t, "/probe")) // refused until it listens
		select {
		case <-ch:
			for { // earlier probes
				select {
				case <-ch:
				case <-time.After(50 * time.Millisecond):
					return port, ch
				}
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatal("oscdump does not listen")
	return 0, nil
}

func needLiblo(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"oscsend", "oscdump", "stdbuf"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (Debian: apt-get install liblo-tools)", tool)
		}
	}
}

// nextLine returns a line of oscdump without its time stamp. Probes may be
// printed late.
func nextLine(t *testing.T, lines <-chan string) string {
	t.Helper()
	for end := time.After(5 * time.Second); ; {
		select {
		case l := <-lines:
			if _, rest, ok := strings.Cut(l, " /"); ok {
				l = "/" + rest
			}
			if l = strings.TrimSpace(l); l != "/probe" {
				return l
			}
		case <-end:
			t.Fatal("oscdump printed nothing within 5 s")
			return ""
		}
	}
}

func TestLiblo(t *testing.T) {
	needLiblo(t)
	for _, bundles := range []bool{false, true} {
		t.Run(fmt.Sprint("bundles=", bundles), func(t *testing.T) {
			r := openRack(t, Config{Bundles: bundles})
			port, lines := oscdump(t)
			me := r.surface.Addr()
			oscsend(t, me, "/deployment/web/replicas", "i", "5")
			oscsend(t, me, "/subscribe", "si", "/deployment", fmt.Sprint(port))
			for _, want := range []string{"/deployment/db/replicas i 0", "/deployment/web/ready i 0", "/deployment/web/replicas i 5"} {
				if got := nextLine(t, lines); got != want {
					t.Errorf("oscdump printed %q, want %q", got, want)
				}
			}
			oscsend(t, me, "/deployment/{web,db}/replicas", "f", "7")
			for _, want := range []string{"/deployment/db/replicas i 7", "/deployment/web/replicas i 7"} {
				if got := nextLine(t, lines); got != want {
					t.Errorf("oscdump printed %q, want %q", got, want)
				}
			}
			oscsend(t, me, "/resend", "i", fmt.Sprint(port))
			for _, want := range []string{"/deployment/db/replicas i 7", "/deployment/web/ready i 0", "/deployment/web/replicas i 7"} {
				if got := nextLine(t, lines); got != want {
					t.Errorf("oscdump printed %q, want %q", got, want)
				}
			}
			oscsend(t, me, "/unsubscribe", "i", fmt.Sprint(port))
			for end := time.Now().Add(5 * time.Second); len(r.surface.Clients()) > 0 && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			if cs := r.surface.Clients(); len(cs) != 0 {
				t.Errorf("%+v", cs)
			}
		})
	}
}

// Every type that oscsend can write is read, and printed by oscdump as liblo
// prints its own.
func TestLibloTypes(t *testing.T) {
	needLiblo(t)
	got := newRecorder()
	s, _ := startServer(t, ServerConfig{}, got)
	oscsend(t, s.Addr(), "/types", "ihfdsScmTFNI", "-5", "1099511627776", "0.5", "2.25", "some text", "sym", "x", "00903c7f")
	m := got.next(t)
	if want := `-5 1099511627776 0.5 2.25 "some text" "sym" 'x' 0x00903c7f true false nil impulse`; m.args != want {
		t.Errorf("from oscsend: %s, want %s", m.args, want)
	}
	port, lines := oscdump(t)
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
	oscsend(t, to, "/types", "ihfdsScmTFNI", "-5", "1099511627776", "0.5", "2.25", "some text", "sym", "x", "00903c7f")
	theirs := nextLine(t, lines)
	ours := encode(t, "/types", Int32(-5), Int64(1<<40), Float32(0.5), Float64(2.25), String("some text"), Symbol("sym"), Char('x'), MIDI(0x00903c7f), Bool(true), Bool(false), Nil(), Impulse())
	if err := s.Send(to, ours); err != nil {
		t.Fatal(err)
	}
	if got := nextLine(t, lines); got != theirs {
		t.Errorf("oscdump printed %q of ours, %q of oscsend's", got, theirs)
	}
	bundle := AppendElement(AppendElement(AppendBundle(nil, Immediately), ours), encode(t, "/blob", Blob([]byte{1, 2, 3})))
	if err := s.Send(to, bundle); err != nil {
		t.Fatal(err)
	}
	if got := nextLine(t, lines); got != theirs {
		t.Errorf("oscdump printed %q of a bundle", got)
	}
	if got := nextLine(t, lines); !strings.HasPrefix(got, "/blob b") {
		t.Errorf("oscdump printed %q of a blob", got)
	}
}

func TestGoOSCClient(t *testing.T) {
	r := openRack(t, Config{})
	me := r.surface.Addr()
	watcher := r.client(t)
	watcher.send("/subscribe", String("/voice/xy"))
	watcher.want("/voice/xy 0 0")
	c := goosc.NewClient(me.Addr().String(), int(me.Port()))
	if err := c.Send(goosc.NewMessage("/voice/xy", float32(0.25), int32(1))); err != nil {
		t.Fatal(err)
	}
	watcher.want("/voice/xy 0.25 1")
	at := time.Now().Add(time.Second) // what is read later has the time of its arrival
	b := goosc.NewBundle(at)
	if err := b.Append(goosc.NewMessage("/voice/xy", float32(0.5), float32(0.75))); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(b); err != nil {
		t.Fatal(err)
	}
	watcher.want("/voice/xy 0.5 0.75")
	if early := time.Until(at); early > time.Millisecond {
		t.Errorf("the bundle took effect %v early", early)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// go-osc's time tags lose low bits; a microsecond is more than it loses.
	if d := r.causes[len(r.causes)-1].At.Sub(at).Abs(); d > time.Microsecond {
		t.Errorf("meant for %v off its time", d)
	}
}
