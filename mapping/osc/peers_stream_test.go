package osc

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// build compiles a program of testdata against liblo.
func build(t testing.TB, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("cc", "-O2", "-o", program, filepath.Join("testdata", name+".c"), "-llo").CombinedOutput(); err != nil {
		t.Skipf("%s does not build (Debian: apt-get install liblo-dev): %v\n%s", name, err, out)
	}
	return program
}

// liblo as a client by TCP, in each framing that it has, is played with and
// answered in.
func TestLibloTCP(t *testing.T) {
	t.Parallel()
	program := build(t, "liblo_stream")
	for mode, name := range []string{"sizes", "SLIP with one END", "SLIP with two"} {
		t.Run(name, func(t *testing.T) {
			r := openRack(t, Config{TCP: "127.0.0.1:0"})
			out, err := exec.Command(program, fmt.Sprint(r.surface.Addrs().TCP.Port()), fmt.Sprint(mode)).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			want := []string{`/voice/big [54283991810563293]`, `/voice/wave ["pulse"]`}
			eventually(t, "liblo's values", func() bool {
				r.mu.Lock()
				defer r.mu.Unlock()
				return slices.Equal(r.sets, want)
			})
			got := strings.Split(strings.TrimSpace(string(out)), "\n")
			slices.Sort(got) // the first value of a subscription comes when it comes
			if mode > 0 && len(out) == 0 {
				t.Log("liblo before 0.32 reads no SLIP on a connection that it has opened (its issue 127); TestOscdumpReadsOurFrames has it read ours on one that it has accepted")
			} else if want := []string{"/voice/big 54283991810563293", "/voice/wave \"pulse\"", "/voice/xy 0.000000 0.000000"}; !slices.Equal(got, want) {
				t.Errorf("liblo got %q, want %q", got, want)
			}
			if st := r.surface.Stats(); st.Malformed != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestOscsendByTCP(t *testing.T) {
	needLiblo(t)
	r := openRack(t, Config{TCP: "127.0.0.1:0"})
	if out, err := exec.Command("oscsend", fmt.Sprintf("osc.tcp://127.0.0.1:%d", r.surface.Addrs().TCP.Port()), "/deployment/web/replicas", "i", "11").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	eventually(t, "oscsend's value", func() bool { return slices.Equal(r.takeSets(), []string{"/deployment/web/replicas [11]"}) })
}

// What we frame, liblo's server reads: oscdump by TCP, both ways.
func TestOscdumpReadsOurFrames(t *testing.T) {
	t.Parallel()
	needLiblo(t)
	forBothFramings(t, func(t *testing.T, slip bool) {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		to := netip.MustParseAddrPort(free.Addr().String())
		free.Close()
		cmd := exec.Command("stdbuf", "-oL", "oscdump", "-L", fmt.Sprintf("osc.tcp://:%d", to.Port()))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		lines := make(chan string, 100)
		go func() {
			defer close(lines)
			for s := bufio.NewScanner(out); s.Scan(); {
				lines <- s.Text()
			}
		}()
		// Asked by a connection, it would take that for its only client.
		eventually(t, "oscdump listens", func() bool {
			for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
				text, err := os.ReadFile(table)
				if err != nil && table == "/proc/net/tcp" {
					t.Skip("no /proc/net/tcp to see when oscdump listens")
				}
				for l := range strings.Lines(string(text)) {
					if f := strings.Fields(l); len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", to.Port())) && f[3] == "0A" {
						return true
					}
				}
			}
			return false
		})
		c := dialStream(t, to, slip)
		c.send("/first", Int64(0x00C0DB00C0DBDCDD), String("x"))
		c.send("/second", Float32(0.5))
		for _, want := range []string{`/first hs 54283991810563293 "x"`, `/second f`} {
			if got := nextLine(t, lines); !strings.HasPrefix(got, want) {
				t.Errorf("oscdump printed %q, want %q", got, want)
			}
		}
	})
}

// Pure Data as a peer: its oscformat and oscparse over netsend and netreceive,
// without a window and without sound.
func TestPureData(t *testing.T) {
	t.Parallel()
	pd, err := exec.LookPath("pd")
	if err != nil {
		t.Skip("pd is not installed (Debian: apt-get install puredata-core)")
	}
	r := openRack(t, Config{})
	free, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	port := free.LocalAddr().(*net.UDPAddr).Port
	free.Close()
	// Boxes are numbered from 0 in the order of their lines.
	patch := strings.Join([]string{
		"#N canvas 0 0 400 400 10",
		fmt.Sprintf("#X obj 10 10 netreceive -u -b %d", port),                      // 0
		"#X obj 10 40 oscparse",                                                    // 1
		"#X obj 10 70 print from-k8s-synth",                                        // 2
		"#X obj 200 10 loadbang",                                                   // 3
		fmt.Sprintf("#X msg 200 40 connect 127.0.0.1 %d", r.surface.Addr().Port()), // 4
		"#X obj 200 300 netsend -u -b",                                             // 5
		"#X obj 300 10 delay 100",                                                  // 6
		"#X obj 300 40 t b b b",                                                    // 7
		"#X msg 300 70 5",                                                          // 8
		"#X obj 300 100 oscformat deployment web replicas",                         // 9
		"#X obj 300 130 list prepend send",                                         // 10
		"#X obj 300 160 list trim",                                                 // 11
		fmt.Sprintf("#X msg 340 70 list /voice/x* %d", port),                       // 12
		"#X obj 340 100 oscformat -f sf subscribe",                                 // 13
		"#X msg 380 70 0.25 0.75",                                                  // 14
		"#X obj 380 100 oscformat voice xy",                                        // 15
		"#X connect 0 0 1 0", "#X connect 1 0 2 0", "#X connect 3 0 4 0", "#X connect 4 0 5 0", "#X connect 3 0 6 0", "#X connect 6 0 7 0",
		"#X connect 7 2 8 0", "#X connect 8 0 9 0", "#X connect 9 0 10 0", "#X connect 10 0 11 0", "#X connect 11 0 5 0",
		"#X connect 7 0 12 0", "#X connect 12 0 13 0", "#X connect 13 0 10 0",
		"#X connect 7 1 14 0", "#X connect 14 0 15 0", "#X connect 15 0 10 0", "",
	}, ";\n")
	path := filepath.Join(t.TempDir(), "peer.pd")
	if err := os.WriteFile(path, []byte(patch), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(pd, "-nogui", "-noaudio", "-nomidi", "-nrt", "-stderr", "-open", path)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	want := func(text string) {
		t.Helper()
		var all []string
		for end := time.After(10 * time.Second); ; {
			select {
			case l := <-lines:
				all = append(all, l)
				if strings.Contains(l, "from-k8s-synth") && strings.HasSuffix(l, text) {
					return
				}
			case <-end:
				t.Fatalf("pd did not print %q, but\n%s", text, strings.Join(all, "\n"))
			}
		}
	}
	want("voice xy 0.25 0.75") // the value it has set itself, on subscribing
	if got := r.takeSets(); !slices.Equal(got, []string{"/deployment/web/replicas [5]", "/voice/xy [0.25 0.75]"}) {
		t.Errorf("pd set %q", got)
	}
	r.surface.Notify("/voice/xy", netip.AddrPort{}, Float32(-0.5), Float32(1))
	want("voice xy -0.5 1")
}

// npmPackages are the peers that npm has.
var npmPackages = []string{"osc-min@2.1.2", "ws@8.23.0"}

// npmInstalls lets one test after another look for them.
var npmInstalls sync.Mutex

// nodePeers runs a script of testdata with npm's peers beside it. They are
// installed once, outside the tree and without running anything of theirs.
func nodePeers(t *testing.T, script string, args ...string) *exec.Cmd {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed (Debian: apt-get install nodejs npm)")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no cache for npm's packages: %v", err)
	}
	dir := filepath.Join(cache, "k8s-synth", "osc-peers-"+strings.NewReplacer("@", "-", ".", "-").Replace(strings.Join(npmPackages, "-")))
	npmInstalls.Lock()
	defer npmInstalls.Unlock()
	for _, p := range npmPackages {
		name, _, _ := strings.Cut(p, "@")
		if _, err := os.Stat(filepath.Join(dir, "node_modules", name, "package.json")); err == nil {
			continue
		}
		if out, err := exec.Command("npm", append([]string{"install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"}, npmPackages...)...).CombinedOutput(); err != nil {
			t.Skipf("npm cannot install %v: %v: %s", npmPackages, err, out)
		}
	}
	// ES modules are found from where the script is.
	text, err := os.ReadFile(filepath.Join("testdata", script))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, fmt.Sprintf("%d-%s", os.Getpid(), script))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	return exec.Command(node, append([]string{path}, args...)...)
}

// osc-min sends bundles inside bundles with time tags, and reads what we send.
func TestOscMin(t *testing.T) {
	t.Parallel()
	got := newRecorder()
	s, _ := startServer(t, ServerConfig{}, got)
	cmd := nodePeers(t, "osc_min.mjs", fmt.Sprint(s.Addr().Port()))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	next := func() string {
		t.Helper()
		if !lines.Scan() {
			t.Fatal("osc-min's end")
		}
		return lines.Text()
	}
	var port int
	var near, far float64 // seconds of Unix time
	if _, err := fmt.Sscan(next(), &port, &near, &far); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		address, args string
		at            float64
	}{
		{"/types", `7 0.5 "text" 3-byte blob true false nil impulse 2.25 ` + "2024-05-06T07:08:09.500000000Z", 0},
		{"/array", `[ 1 [ 2 ] ]`, 0},
		{"/outer", `1`, near}, {"/outer/last", `3`, near},
		{"/inner", `2`, far},
	} {
		m := got.next(t)
		if m.address != want.address || m.args != want.args {
			t.Errorf("%s %s, want %s %s", m.address, m.args, want.address, want.args)
		}
		if want.at > 0 {
			// A JavaScript number holds Unix time to a quarter of a microsecond.
			if off := float64(m.at.UnixNano())/1e9 - want.at; off < -1e-5 || off > 1e-5 || m.now.Before(m.at) {
				t.Errorf("%s is meant for %v off its time, and came %v after it", m.address, off, m.now.Sub(m.at))
			}
		}
	}
	inner := AppendElement(AppendBundle(nil, TimeTagOf(time.Unix(1800000001, 5e8))), encode(t, "/inner", Bool(true), Nil(), Impulse(), ArrayStart(), Int32(1), String("x"), ArrayEnd()))
	bundle := AppendElement(AppendElement(AppendBundle(nil, TimeTagOf(time.Unix(1800000000, 0))), encode(t, "/outer", Int32(-5), Float32(0.5), Float64(2.25), Blob([]byte{1, 2}))), inner)
	if err := s.Send(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)), bundle); err != nil {
		t.Fatal(err)
	}
	var back any
	if err := json.Unmarshal([]byte(next()), &back); err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(back) // keys in order
	want := `{"elements":[{"address":"/outer","args":[{"type":"integer","value":-5},{"type":"float","value":0.5},{"type":"double","value":2.25},{"type":"blob","value":[1,2]}],"oscType":"message"},` +
		`{"elements":[{"address":"/inner","args":[{"type":"true","value":true},{"type":"null","value":null},{"type":"bang","value":"bang"},{"type":"array","value":[{"type":"integer","value":1},{"type":"string","value":"x"}]}],"oscType":"message"}],"oscType":"bundle","timetag":[4008988801,2147483648]}],"oscType":"bundle","timetag":[4008988800,0]}`
	if string(text) != want {
		t.Errorf("osc-min read\n%s\nwant\n%s", text, want)
	}
}

// A client of OSCQuery that is none of ours, with node's HTTP, another
// WebSocket and another codec: it browses, listens, plays and sees a pod come.
func TestOSCQueryClient(t *testing.T) {
	t.Parallel()
	r, _ := queryRack(t, Config{})
	cmd := nodePeers(t, "oscquery_client.mjs", r.surface.Addrs().Query.String())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	want := func(text string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != text {
			t.Fatalf("the client printed %q, want %q", lines.Text(), text)
		}
	}
	a := r.surface.Addrs()
	want(fmt.Sprintf("host k8s-synth udp 127.0.0.1:%d listen true", a.UDP.Port()))
	want("methods /deployment/db/replicas /deployment/web/ready /deployment/web/replicas /transport/start /voice/big /voice/frequency /voice/on /voice/refuses /voice/strike /voice/tenth /voice/wave /voice/write /voice/xy")
	want("value [0] of type i")
	want("heard /deployment/web/replicas 0")
	eventually(t, "it listens", func() bool { return len(r.surface.Clients()) == 1 })
	r.client(t).send("/deployment/web/replicas", Int32(9))
	want("heard /deployment/web/replicas 9")
	fmt.Fprintln(in, "play /voice/frequency 440")
	eventually(t, "it plays", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Contains(r.sets, "/voice/frequency [440]")
	})
	if err := r.surface.Replace(append(r.nodes(), r.node("/pods/web-1/phase", "s"))); err != nil {
		t.Fatal(err)
	}
	want("command PATH_ADDED /pods")
	want("new /pods/web-1/phase")
	if err := r.surface.Replace(r.nodes()); err != nil {
		t.Fatal(err)
	}
	want("command PATH_REMOVED /pods")
	want("missing 404")
}
