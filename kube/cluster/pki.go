package cluster

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	// caLife and leafLife are how long certificates are valid. A leaf is
	// renewed at the start that finds it with less than renewBefore to go.
	caLife      = 10 * 365 * 24 * time.Hour
	leafLife    = 2 * 365 * 24 * time.Hour
	renewBefore = 90 * 24 * time.Hour
)

// credentials are the files and contents of the control plane's own
// authority. There is one client identity, in the group system:masters, which
// the API server trusts without rules, as kubeadm's admin has.
type credentials struct {
	caFile, certFile, keyFile string // of the API server
	saKeyFile                 string // signs service account tokens

	// The API server's identity towards the metrics API, under an authority
	// of its own, so that no other certificate is taken for it.
	proxyCAFile, proxyCertFile, proxyKeyFile string
	metricsCertFile, metricsKeyFile          string

	caPEM, clientCertPEM, clientKeyPEM []byte
}

// loadCredentials reads the credentials in dir, and makes those that are not
// there or will soon expire. An authority that has to be made anew takes all
// the others with it.
func loadCredentials(dir string, now time.Time) (*credentials, error) {
	c := &credentials{
		caFile:    filepath.Join(dir, "ca.crt"),
		certFile:  filepath.Join(dir, "apiserver.crt"),
		keyFile:   filepath.Join(dir, "apiserver.key"),
		saKeyFile: filepath.Join(dir, "service-account.key"),

		proxyCAFile:     filepath.Join(dir, "front-proxy-ca.crt"),
		proxyCertFile:   filepath.Join(dir, "front-proxy-client.crt"),
		proxyKeyFile:    filepath.Join(dir, "front-proxy-client.key"),
		metricsCertFile: filepath.Join(dir, "metrics.crt"),
		metricsKeyFile:  filepath.Join(dir, "metrics.key"),
	}
	caKeyFile := filepath.Join(dir, "ca.key")
	clientCert, clientKey := filepath.Join(dir, "admin.crt"), filepath.Join(dir, "admin.key")

	ca, caKey, err := authority(c.caFile, caKeyFile, "k8s-synth-ca", now)
	if err != nil {
		return nil, err
	}
	proxyCA, proxyCAKey, err := authority(c.proxyCAFile, filepath.Join(dir, "front-proxy-ca.key"), "k8s-synth-front-proxy-ca", now)
	if err != nil {
		return nil, err
	}
	leafOf := func(ca *x509.Certificate, caKey crypto.Signer, cert, key string, t *x509.Certificate) error {
		have, _, err := readPair(cert, key, ca, now)
		if err != nil || have != nil {
			return err
		}
		t.KeyUsage = x509.KeyUsageDigitalSignature
		t.NotAfter = now.Add(leafLife)
		if t.NotAfter.After(ca.NotAfter) {
			t.NotAfter = ca.NotAfter
		}
		_, _, err = makePair(cert, key, t, ca, caKey, now)
		return err
	}
	leaf := func(cert, key string, t *x509.Certificate) error { return leafOf(ca, caKey, cert, key, t) }
	err = leaf(c.certFile, c.keyFile, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), serviceIP},
	})
	if err != nil {
		return nil, err
	}
	err = leaf(clientCert, clientKey, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "k8s-synth-admin", Organization: []string{"system:masters"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, err
	}
	err = leaf(c.metricsCertFile, c.metricsKeyFile, &x509.Certificate{
		Subject:     pkix.Name{CommonName: metricsService},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{metricsHost},
	})
	if err != nil {
		return nil, err
	}
	err = leafOf(proxyCA, proxyCAKey, c.proxyCertFile, c.proxyKeyFile, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "k8s-synth-front-proxy-client"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(c.saKeyFile); errors.Is(err, fs.ErrNotExist) {
		if _, err := makeKey(c.saKeyFile); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	for _, f := range []struct {
		to   *[]byte
		name string
	}{{&c.caPEM, c.caFile}, {&c.clientCertPEM, clientCert}, {&c.clientKeyPEM, clientKey}} {
		if *f.to, err = os.ReadFile(f.name); err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
	}
	return c, nil
}

// authority reads an authority, or makes it.
func authority(certFile, keyFile, name string, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	ca, key, err := readPair(certFile, keyFile, nil, now)
	if err != nil || ca != nil {
		return ca, key, err
	}
	return makePair(certFile, keyFile, &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		NotAfter:              now.Add(caLife),
	}, nil, nil, now)
}

// readPair returns the certificate and key, or nil where they are not there,
// are not signed by parent, or will soon expire. A file that cannot be read as
// what it should be is an error, so that nobody's file is overwritten.
func readPair(certFile, keyFile string, parent *x509.Certificate, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	for _, f := range []string{certFile, keyFile} {
		if _, err := os.Stat(f); errors.Is(err, fs.ErrNotExist) {
			return nil, nil, nil
		}
		if err := os.Chmod(f, 0o600); err != nil {
			return nil, nil, fmt.Errorf("credentials: %w", err)
		}
	}
	p, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("credentials: %s and %s: %w; remove both to have new ones made", certFile, keyFile, err)
	}
	signer, ok := p.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("credentials: %s: expected a key that can sign; remove it to have a new one made", keyFile)
	}
	if now.Add(renewBefore).After(p.Leaf.NotAfter) {
		return nil, nil, nil
	}
	if parent != nil && p.Leaf.CheckSignatureFrom(parent) != nil {
		return nil, nil, nil
	}
	return p.Leaf, signer, nil
}

// makePair makes a key and a certificate for it, signed by the parent or by
// itself.
func makePair(certFile, keyFile string, t, parent *x509.Certificate, parentKey crypto.Signer, now time.Time) (*x509.Certificate, crypto.Signer, error) {
	key, err := makeKey(keyFile)
	if err != nil {
		return nil, nil, err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, nil, fmt.Errorf("credentials: %w", err)
	}
	// A clock that is set back a little must not make the certificate invalid.
	t.NotBefore = now.Add(-time.Hour)
	if parent == nil {
		parent, parentKey = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), parentKey)
	if err != nil {
		return nil, nil, fmt.Errorf("credentials: %s: %w", certFile, err)
	}
	if err := writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})); err != nil {
		return nil, nil, fmt.Errorf("credentials: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("credentials: %s: %w", certFile, err)
	}
	return cert, key, nil
}

// makeKey makes an ECDSA key on P-256.
func makeKey(name string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	// The API server reads keys of service accounts in this form only.
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	if err := writeFile(name, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})); err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	return key, nil
}
