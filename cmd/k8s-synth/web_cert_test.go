package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func netAddrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// What a certificate is for, by where the page listens.
func TestVouchFor(t *testing.T) {
	have := netAddrs("192.168.1.5", "172.17.0.1", "2001:db8::7")
	six := netAddrs("2001:db8::7")
	for _, c := range []struct {
		addr        string
		have        []netip.Addr
		hostname    string
		addrs, more []netip.Addr
		names       []string
	}{
		{"0.0.0.0:9080", have, "Box", netAddrs("192.168.1.5", "172.17.0.1"), six, []string{"box", "box.local"}},
		{":9080", have, "box.example.org", netAddrs("192.168.1.5", "172.17.0.1"), six, []string{"box.example.org"}},
		{"[::]:9080", six, "box", six, nil, []string{"box", "box.local"}},
		{"[::]:9080", nil, "", nil, nil, nil},
		{"192.168.1.9:9080", have, "not a name!", netAddrs("192.168.1.9"), nil, nil},
		{"127.0.0.1:9080", have, "localhost", nil, nil, nil},
		{"[fe80::1%eth0]:9080", have, "", netAddrs("fe80::1"), nil, nil},
		{"Stage.lan.:9080", have, "box", nil, have, []string{"stage.lan", "box", "box.local"}},
	} {
		v := vouchFor(c.addr, c.have, c.hostname)
		if want := append(netAddrs("127.0.0.1", "::1"), c.addrs...); !slices.Equal(v.addrs, want) {
			t.Errorf("%s: it must be for %v, want %v", c.addr, v.addrs, want)
		}
		if !slices.Equal(v.more, c.more) {
			t.Errorf("%s: it is for %v as well, want %v", c.addr, v.more, c.more)
		}
		if want := append([]string{"localhost"}, c.names...); !slices.Equal(v.names, want) {
			t.Errorf("%s: its names are %q, want %q", c.addr, v.names, want)
		}
	}
}

// A certificate stays as long as it vouches for all that it must, and has to be
// made anew where it does not: with its key, and what it was for before.
func TestWebCertificate(t *testing.T) {
	dir := t.TempDir()
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	now := time.Now()
	get := func(v vouched) (tls.Certificate, *x509.Certificate) {
		t.Helper()
		said.Reset()
		c, err := webCertificate(dir, v, now, log)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range slices.Concat(v.addrs) {
			if err := leaf.VerifyHostname(a.String()); err != nil {
				t.Errorf("a tablet that opens %s is told: %v", a, err)
			}
		}
		for _, n := range v.names {
			if err := leaf.VerifyHostname(n); err != nil {
				t.Errorf("a tablet that opens %s is told: %v", n, err)
			}
		}
		return c, leaf
	}
	home := vouchFor("0.0.0.0:9080", netAddrs("192.168.1.5", "2001:db8::7"), "box")
	first, leaf := get(home)
	if err := leaf.VerifyHostname("2001:db8::7"); err != nil {
		t.Error(err)
	}
	if leaf.NotAfter.Sub(leaf.NotBefore) > 825*24*time.Hour {
		t.Errorf("no tablet takes one until %s", leaf.NotAfter)
	}
	for _, name := range []string{"web-key.pem", "web-cert.pem"} {
		if i, err := os.Stat(filepath.Join(dir, name)); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, i, err)
		}
	}
	same := func(what string, c tls.Certificate, was tls.Certificate, want bool) {
		t.Helper()
		if is := bytes.Equal(c.Certificate[0], was.Certificate[0]); is != want {
			t.Errorf("%s: the same certificate: %t", what, is)
		}
		if told := strings.Contains(said.String(), "a new certificate"); told == want {
			t.Errorf("%s: the log says %q", what, said.String())
		}
	}
	again, _ := get(home)
	same("the next start", again, first, true)
	again, _ = get(vouchFor("0.0.0.0:9080", netAddrs("192.168.1.5", "2001:db8::99"), "box"))
	same("an IPv6 address of another day", again, first, true)
	again, _ = get(vouchFor("", netAddrs("192.168.1.5"), ""))
	same("an empty host", again, first, true)
	club := vouchFor("0.0.0.0:9080", netAddrs("10.0.0.9"), "box")
	second, _ := get(club)
	same("another network", second, first, false)
	if !strings.Contains(said.String(), "10.0.0.9") {
		t.Errorf("the log does not say why: %s", said.String())
	}
	if a, b := first.PrivateKey.(*ecdsa.PrivateKey), second.PrivateKey.(*ecdsa.PrivateKey); !a.Equal(b) {
		t.Error("the key is another one")
	}
	again, _ = get(home)
	same("home again", again, second, true)
	again, _ = get(vouchFor("192.168.1.6:9080", nil, "box"))
	same("an address of one's own", again, second, false)
	named, _ := get(vouchFor("192.168.1.6:9080", nil, "stage"))
	same("another name", named, again, false)
	// It is new in time, before it ends.
	now = now.Add(certLife - certRenew + time.Hour)
	again, leaf = get(home)
	same("its end", again, named, false)
	if now.After(leaf.NotAfter) {
		t.Errorf("it ended %s", leaf.NotAfter)
	}
	// Of many networks it keeps those that it can.
	for i := range 2 * mostVouched {
		get(vouchFor("0.0.0.0:9080", []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})}, "box"))
	}
	if _, leaf = get(home); len(leaf.IPAddresses) > mostVouched {
		t.Errorf("it is for %d addresses", len(leaf.IPAddresses))
	}
	// One that is broken is made anew.
	if err := os.WriteFile(filepath.Join(dir, "web-key.pem"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken, _ := get(home)
	if _, err := tls.LoadX509KeyPair(filepath.Join(dir, "web-cert.pem"), filepath.Join(dir, "web-key.pem")); err != nil || len(broken.Certificate) != 1 {
		t.Errorf("after a broken key: %v", err)
	}
	if f := fingerprint(broken); len(f) != 32*3-1 || strings.Count(f, ":") != 31 {
		t.Errorf("the fingerprint is %s", f)
	}
}

// An address that the machine gets while the page is served has a certificate as
// soon as a browser comes by it, and nobody who comes otherwise is asked anew.
func TestCertificateOfALaterAddress(t *testing.T) {
	dir := t.TempDir()
	var said bytes.Buffer
	home := vouchFor("0.0.0.0:9080", netAddrs("192.168.1.5"), "box")
	start := func(v vouched) *certKeeper {
		t.Helper()
		said.Reset()
		k, err := keepCertificate(dir, v, slog.New(slog.NewTextHandler(&said, nil)))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := start(home)
	open := func(host, name string) *x509.Certificate {
		t.Helper()
		said.Reset()
		c, err := k.get(&tls.ClientHelloInfo{ServerName: name, Conn: localConn(host)})
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	first := open("127.0.0.1", "")
	// The network of the stage comes up.
	if again := open("10.0.0.2", "box.local"); !again.Equal(first) {
		t.Error("who opens a name gets another certificate")
	}
	later := open("10.0.0.2", "")
	if err := later.VerifyHostname("10.0.0.2"); err != nil {
		t.Error(err)
	}
	if text := said.String(); !strings.Contains(text, "10.0.0.2") || !strings.Contains(text, fingerprint(tls.Certificate{Certificate: [][]byte{later.Raw}})) {
		t.Errorf("the log says %q", text)
	}
	same := func(when string) {
		t.Helper()
		for host, want := range map[string]*x509.Certificate{"127.0.0.1": first, "192.168.1.5": first, "10.0.0.2": later} {
			if c := open(host, ""); !c.Equal(want) {
				t.Errorf("%s: there is another one for %s", when, host)
			}
		}
	}
	same("after it")
	// None is for an address that is another tomorrow, or of one link.
	for _, host := range []string{"2001:db8::99", "fe80::1%eth0", "169.254.3.4"} {
		if c := open(host, ""); !c.Equal(first) || said.Len() > 0 {
			t.Errorf("%s has a certificate: %q", host, said.String())
		}
	}
	// Both are there at the next start, at which the machine has both addresses.
	k = start(vouchFor("0.0.0.0:9080", netAddrs("192.168.1.5", "10.0.0.2"), "box"))
	same("the next start")
	// Where none can be written that of the start serves on.
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if c := open("10.0.0.3", ""); !c.Equal(first) || !strings.Contains(said.String(), "no certificate for an address") {
		t.Errorf("without a disk: %q", said.String())
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	// A machine that has ever other addresses fills no disk.
	k = start(home)
	for i := range 2 * mostLater {
		open(fmt.Sprintf("172.18.0.%d", i), "")
	}
	same("after many")
	files, err := filepath.Glob(filepath.Join(dir, "web-cert-*.pem"))
	if err != nil || len(files) != mostLater {
		t.Errorf("there are %d files %v", len(files), err)
	}
	// With another key they are of no use.
	if err := os.Remove(filepath.Join(dir, "web-key.pem")); err != nil {
		t.Fatal(err)
	}
	k = start(home)
	if files, err = filepath.Glob(filepath.Join(dir, "web-cert-*.pem")); err != nil || len(files) != 0 || open("10.0.0.2", "").VerifyHostname("10.0.0.2") != nil {
		t.Errorf("after another key there are %q %v", files, err)
	}
}

// On a machine with more addresses than a certificate has room for it stays
// nevertheless, and the others have theirs, once.
func TestCertificateOfManyAddresses(t *testing.T) {
	dir := t.TempDir()
	var have []netip.Addr
	for i := range mostVouched + 4 {
		have = append(have, netip.AddrFrom4([4]byte{10, 2, 0, byte(i)}))
	}
	last := have[len(have)-1]
	var start, later []byte
	for i := range 3 {
		k, err := keepCertificate(dir, vouchFor("0.0.0.0:9080", have, "box"), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			c, err := k.get(&tls.ClientHelloInfo{Conn: localConn(last.String())})
			if err != nil {
				t.Fatal(err)
			}
			if leaf, err := x509.ParseCertificate(c.Certificate[0]); err != nil || leaf.VerifyHostname(last.String()) != nil {
				t.Errorf("a tablet that opens %s is told: %v", last, leaf.VerifyHostname(last.String()))
			}
			if later == nil {
				start, later = k.cert.Certificate[0], c.Certificate[0]
			}
			if !bytes.Equal(k.cert.Certificate[0], start) || !bytes.Equal(c.Certificate[0], later) {
				t.Errorf("start %d: there is a new certificate", i)
			}
		}
	}
}

// localAt is a connection that came in at an address, and nothing more.
type localAt struct {
	net.Conn
	at net.Addr
}

func (c localAt) LocalAddr() net.Addr { return c.at }

func localConn(host string) net.Conn {
	return localAt{at: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 9080))}
}
