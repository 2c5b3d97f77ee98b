package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/web"
)

const (
	// certLife is how long a certificate is good: tablets take none that is for
	// more than 825 days.
	certLife = 2 * 365 * 24 * time.Hour
	// certRenew is how long before its end there is a new one, so that none ends
	// on stage.
	certRenew = 30 * 24 * time.Hour
	// certRetry is how long after a failure no other certificate is tried to be made.
	certRetry = 10 * time.Second
	// mostVouched bounds the addresses and names of a certificate: those that the
	// machine had in other networks stay, so that it need not be asked for anew
	// each time that the machine comes back.
	mostVouched = 32
	// mostLater bounds the certificates for addresses that the machine got while
	// the page was served. Addresses beyond are in the one of the next start.
	mostLater = 8
)

// vouched is what a certificate is for.
type vouched struct {
	addrs []netip.Addr // it must have
	more  []netip.Addr // it is to have, if one is made
	names []string
}

// certName is what stands in a certificate as the name of a host.
var certName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// vouchFor is what the certificate of a page is for that listens at an address,
// on a machine with these addresses and this name.
func vouchFor(addr string, have []netip.Addr, hostname string) (v vouched) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	v.addrs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	v.names = []string{"localhost"}
	name := func(n string) {
		if n = strings.ToLower(strings.TrimSuffix(n, ".")); certName.MatchString(n) && !slices.Contains(v.names, n) {
			v.names = append(v.names, n)
		}
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && !ip.IsUnspecified():
		if ip = ip.Unmap().WithZone(""); !slices.Contains(v.addrs, ip) {
			v.addrs = append(v.addrs, ip)
		}
	case err == nil || host == "":
		for _, a := range have {
			// Those of IPv6 change each day; they alone are worth no new one.
			if a.Is4() || !have[0].Is4() {
				v.addrs = append(v.addrs, a)
			} else {
				v.more = append(v.more, a)
			}
		}
	default:
		name(host)
		v.more = have
	}
	name(hostname)
	if !strings.Contains(hostname, ".") && hostname != "localhost" {
		name(hostname + ".local") // as its neighbours find it without a server of names
	}
	return v
}

// lacks is what of v a certificate does not vouch for, of as many addresses as
// one has room for.
func (v *vouched) lacks(leaf *x509.Certificate) (list []string) {
	for _, a := range v.addrs[:min(len(v.addrs), mostVouched)] {
		if leaf.VerifyHostname(a.String()) != nil {
			list = append(list, a.String())
		}
	}
	for _, n := range v.names {
		if leaf.VerifyHostname(n) != nil {
			list = append(list, n)
		}
	}
	return list
}

// webCertificate reads the certificate of the page, or makes one that vouches
// for itself: a browser asks once. Where one is there and lacks something the
// new one has its key, and what it was for as well.
func webCertificate(dir string, v vouched, now time.Time, log *slog.Logger) (tls.Certificate, error) {
	certPath, keyPath := filepath.Join(dir, "web-cert.pem"), filepath.Join(dir, "web-key.pem")
	var key *ecdsa.PrivateKey
	why := "there was none"
	t := &x509.Certificate{}
	addrs := slices.Concat(v.addrs, v.more)
	t.DNSNames = slices.Clone(v.names)
	if c, err := tls.LoadX509KeyPair(certPath, keyPath); err == nil {
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			return tls.Certificate{}, fmt.Errorf("%s: %w", certPath, err)
		}
		lacks := v.lacks(leaf)
		switch {
		case !now.Before(leaf.NotAfter.Add(-certRenew)):
			why = "the one before ends " + leaf.NotAfter.Format(time.DateOnly)
		case now.Before(leaf.NotBefore):
			why = "the one before is from the future"
		case len(lacks) == 0:
			return c, nil
		default:
			why = "the one before lacks " + strings.Join(lacks, ", ")
		}
		key, _ = c.PrivateKey.(*ecdsa.PrivateKey)
		for _, ip := range leaf.IPAddresses {
			if a, ok := netip.AddrFromSlice(ip); ok {
				addrs = append(addrs, a.Unmap())
			}
		}
		t.DNSNames = append(t.DNSNames, leaf.DNSNames...)
	} else if _, e := os.Stat(certPath); e == nil {
		why = err.Error()
	}
	for _, a := range addrs {
		if ip := net.IP(a.AsSlice()); len(t.IPAddresses) < mostVouched && !slices.ContainsFunc(t.IPAddresses, ip.Equal) {
			t.IPAddresses = append(t.IPAddresses, ip)
		}
	}
	seen := map[string]bool{}
	t.DNSNames = slices.DeleteFunc(t.DNSNames, func(n string) bool { was := seen[n]; seen[n] = true; return was })
	t.DNSNames = t.DNSNames[:min(len(t.DNSNames), mostVouched)]
	kept := key != nil
	var err error
	if !kept {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return tls.Certificate{}, err
		}
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	c, err := signCertificate(t, key, now)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyText := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
	if !kept {
		if err := replaceFile(keyPath, keyText); err != nil {
			return tls.Certificate{}, err
		}
	}
	if err := replaceFile(certPath, certText(c)); err != nil {
		return tls.Certificate{}, err
	}
	log.Info("web: a new certificate; browsers that knew the one before ask again", "why", why, "file", certPath)
	return c, nil
}

// signCertificate is a certificate that vouches for itself, for the addresses and
// names of t, from now on.
func signCertificate(t *x509.Certificate, key *ecdsa.PrivateKey, now time.Time) (c tls.Certificate, err error) {
	t.Subject, t.NotBefore, t.NotAfter = pkix.Name{CommonName: "k8s-synth"}, now.Add(-time.Hour), now.Add(certLife)
	t.KeyUsage, t.ExtKeyUsage, t.BasicConstraintsValid = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, true
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return c, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return c, err
	}
	leaf, err := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// certText is a certificate as it is in its file.
func certText(c tls.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
}

// certKeeper has the certificates of a page while it is served. An address that
// the machine has only later, because its network comes up after the instrument,
// gets one of its own when the first browser comes by it: who trusts the one of
// the start is not asked anew.
type certKeeper struct {
	dir  string
	log  *slog.Logger
	cert tls.Certificate // of the start, for all names

	mu     sync.Mutex
	later  []tls.Certificate
	failed time.Time // when no new one could be made
}

// keepCertificate reads or makes the certificate of a page for v, and reads those
// that were made for later addresses before.
func keepCertificate(dir string, v vouched, log *slog.Logger) (*certKeeper, error) {
	k := &certKeeper{dir: dir, log: log}
	now := time.Now()
	names, err := fs.Glob(os.DirFS(dir), "web-cert-*.pem")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		c, err := tls.LoadX509KeyPair(path, filepath.Join(dir, "web-key.pem"))
		if err != nil || now.Before(c.Leaf.NotBefore) || !now.Before(c.Leaf.NotAfter.Add(-certRenew)) {
			os.Remove(path) // its address is in the certificate of the start, or gets another one
			continue
		}
		k.later = append(k.later, c)
	}
	v.addrs = slices.DeleteFunc(slices.Clone(v.addrs), func(a netip.Addr) bool { return covering(k.later, a) != nil })
	if k.cert, err = webCertificate(dir, v, now, log); err != nil {
		return nil, err
	}
	// Where the key had to be another one they are of no use.
	k.later = slices.DeleteFunc(k.later, func(c tls.Certificate) bool {
		return !bytes.Equal(c.Leaf.RawSubjectPublicKeyInfo, k.cert.Leaf.RawSubjectPublicKeyInfo)
	})
	for _, c := range k.later {
		log.Info("web: the browser will ask about this certificate", "addresses", c.Leaf.IPAddresses, "sha256", fingerprint(c))
	}
	return k, nil
}

// covering is the first certificate that is for an address, if any is.
func covering(list []tls.Certificate, a netip.Addr) *tls.Certificate {
	for i := range list {
		if list[i].Leaf.VerifyHostname(a.String()) == nil {
			c := list[i]
			return &c
		}
	}
	return nil
}

// get is the certificate for a handshake (tls.Config.GetCertificate). Who opens a
// name gets the one of the start, which is for all names of the machine. Who opens
// an address names none: then it is the one for the address at which the connection
// came in, which is one of the machine's and nothing that a stranger can choose.
// Where there is none, and none is made, that of the start serves: the browser asks.
func (k *certKeeper) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	start := k.cert
	at, ok := localAddr(hello.Conn)
	if !ok || hello.ServerName != "" || start.Leaf.VerifyHostname(at.String()) == nil {
		return &start, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := covering(k.later, at); c != nil {
		return c, nil
	}
	// Those of IPv6 change each day, those of one link are nobody's to type.
	if !at.Is4() || at.IsLinkLocalUnicast() || len(k.later) >= mostLater || time.Since(k.failed) <= certRetry {
		return &start, nil
	}
	c, err := k.add(at)
	if err != nil {
		k.failed = time.Now()
		k.log.Warn("web: no certificate for an address that this machine has now", "address", at, "err", err)
		return &start, nil
	}
	k.log.Info("web: the browser will ask about this certificate", "addresses", c.Leaf.IPAddresses, "sha256", fingerprint(c))
	if len(k.later) == mostLater {
		k.log.Warn("web: no other address gets a certificate before the next start", "certificates", mostLater)
	}
	return &c, nil
}

// add makes a certificate for one address, with the key of that of the start. With k.mu held.
func (k *certKeeper) add(at netip.Addr) (tls.Certificate, error) {
	c, err := signCertificate(&x509.Certificate{IPAddresses: []net.IP{at.AsSlice()}}, k.cert.PrivateKey.(*ecdsa.PrivateKey), time.Now())
	if err != nil {
		return c, err
	}
	if err := replaceFile(filepath.Join(k.dir, "web-cert-"+at.String()+".pem"), certText(c)); err != nil {
		return c, err
	}
	k.later = append(k.later, c)
	return c, nil
}

// localAddr is the address of this machine at which a connection came in.
func localAddr(c net.Conn) (netip.Addr, bool) {
	if c == nil {
		return netip.Addr{}, false
	}
	at, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return netip.Addr{}, false
	}
	return at.Addr().Unmap().WithZone(""), true
}

// fingerprint is a certificate's, as browsers show it.
func fingerprint(c tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	text := strings.ToUpper(hex.EncodeToString(sum[:]))
	var pairs []string
	for i := 0; i < len(text); i += 2 {
		pairs = append(pairs, text[i:i+2])
	}
	return strings.Join(pairs, ":")
}

// vouchHere is what the certificate is for on this machine.
func vouchHere(addr string) vouched {
	hostname, err := os.Hostname()
	if err != nil {
		hostname = ""
	}
	return vouchFor(addr, web.Addresses(), hostname)
}
