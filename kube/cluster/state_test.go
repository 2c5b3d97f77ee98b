//go:build !race

package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/k8s-synth/k8s-synth/kube/cluster/paths"
)

func newState(t *testing.T) paths.State {
	t.Helper()
	s := paths.State{Dir: filepath.Join(t.TempDir(), "state")}
	if err := makeDirs(s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPortIsKept(t *testing.T) {
	s := newState(t)
	addresses := func(l *listeners) [2]string {
		return [2]string{l.apiServer.Addr().String(), l.metrics.Addr().String()}
	}
	l, moved, err := listen(s)
	if err != nil || moved {
		t.Fatalf("first start: moved %v, %v", moved, err)
	}
	first := addresses(l)
	for _, c := range []net.Listener{l.apiServer, l.metrics} {
		if !c.Addr().(*net.TCPAddr).IP.IsLoopback() {
			t.Errorf("listens on %s, want a loopback address", c.Addr())
		}
	}
	l.close()

	l, moved, err = listen(s)
	if err != nil || moved || addresses(l) != first {
		t.Fatalf("second start: %v, moved %v, %v; want %v again", l, moved, err, first)
	}
	// The metrics API's port alone is taken at the third start.
	l.apiServer.Close()
	defer l.metrics.Close()
	other, moved, err := listen(s)
	if err != nil || moved || addresses(other)[0] != first[0] || addresses(other)[1] == first[1] {
		t.Fatalf("metrics port taken: %v, moved %v, %v; want another for the metrics only", other, moved, err)
	}
	other.metrics.Close()
	// The API server's is at the fourth.
	defer other.apiServer.Close()
	second := addresses(other)
	third, moved, err := listen(s)
	if err != nil || !moved || addresses(third)[0] == second[0] || addresses(third)[1] != second[1] {
		t.Fatalf("port taken: %v, moved %v, %v; want another port", third, moved, err)
	}
	want := addresses(third)
	third.close()
	if again, moved, err := listen(s); err != nil || moved || addresses(again) != want {
		t.Fatalf("after the port was taken: %v, %v, want the new ports %v kept", again, err, want)
	} else {
		again.close()
	}

	if err := os.WriteFile(s.Ports(), []byte(`{"apiserver": 99999}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := listen(s); err == nil || !strings.Contains(err.Error(), s.Ports()) {
		t.Fatalf("bad file: got %v, want an error that names it", err)
	}
}

func TestLockNamesTheProcess(t *testing.T) {
	s := newState(t)
	l, err := acquireLock(s)
	if err != nil {
		t.Fatal(err)
	}
	// A lock belongs to the open file, so one process can try twice.
	_, err = acquireLock(s)
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), s.Dir) {
		t.Fatalf("got %v, want ErrLocked with process %d and the directory", err, os.Getpid())
	}
	l.release()
	l, err = acquireLock(s)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	l.release()
}

// TestOwnerAlone looks at every file that a start makes before etcd runs.
func TestOwnerAlone(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	s := newState(t)
	// A directory that was there before with wider modes.
	if err := os.Chmod(s.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := makeDirs(s); err != nil {
		t.Fatal(err)
	}
	l, err := acquireLock(s)
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	creds, err := loadCredentials(s.PKI(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	open, _, err := listen(s)
	if err != nil {
		t.Fatal(err)
	}
	defer open.close()
	if err := writeKubeconfig(s, open.apiServer.Addr().String(), creds); err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files != 16 { // 7 of the authority, 4 of the front proxy's, 2 of the metrics API, kubeconfig, ports, lock
		t.Errorf("%d files, want 16: none may be left over", files)
	}
}

func TestKubeconfigTrustsOnlyItsOwnServer(t *testing.T) {
	s := newState(t)
	creds, err := loadCredentials(s.PKI(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := writeKubeconfig(s, "127.0.0.1:6443", creds); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://127.0.0.1:6443" || config.Insecure {
		t.Errorf("host %s, insecure %v", config.Host, config.Insecure)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(config.CAData) {
		t.Fatal("no authority in the kubeconfig")
	}
	server, err := tls.LoadX509KeyPair(creds.certFile, creds.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"127.0.0.1", "localhost", "kubernetes.default.svc"} {
		if _, err := server.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name}); err != nil {
			t.Errorf("server as %s: %v", name, err)
		}
	}
	client, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("client: %v", err)
	}
	if _, err := client.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("the client's certificate could serve")
	}
}

func TestCredentialsAreKeptAndRenewed(t *testing.T) {
	s := newState(t)
	now := time.Now()
	serial := func(now time.Time) (ca, leaf string) {
		t.Helper()
		c, err := loadCredentials(s.PKI(), now)
		if err != nil {
			t.Fatal(err)
		}
		parse := func(b []byte) string {
			block, _ := pem.Decode(b)
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			return cert.SerialNumber.String()
		}
		return parse(c.caPEM), parse(c.clientCertPEM)
	}
	ca, leaf := serial(now)
	if ca2, leaf2 := serial(now.Add(24 * time.Hour)); ca2 != ca || leaf2 != leaf {
		t.Error("made anew a day later")
	}
	ca3, leaf3 := serial(now.Add(leafLife - renewBefore + time.Hour))
	if ca3 != ca {
		t.Error("the authority was made anew with its leaves")
	}
	if leaf3 == leaf {
		t.Error("a leaf that will soon expire was kept")
	}
	ca4, leaf4 := serial(now.Add(caLife - renewBefore + time.Hour))
	if ca4 == ca || leaf4 == leaf3 {
		t.Error("an authority that will soon expire was kept, or its leaves")
	}

	if err := os.WriteFile(filepath.Join(s.PKI(), "admin.key"), []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadCredentials(s.PKI(), now); err == nil || !strings.Contains(err.Error(), "admin.key") {
		t.Errorf("broken key: got %v, want an error that names the file", err)
	}
}

// TestEndOrphans proves that a child of a killed predecessor is ended, and
// that a process that only has its number is not.
func TestEndOrphans(t *testing.T) {
	s := newState(t)
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("no sleep program here")
	}
	if sleep, err = filepath.EvalSymlinks(sleep); err != nil {
		t.Fatal(err)
	}
	start := func() *exec.Cmd {
		c := exec.Command(sleep, "60")
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	orphan, stranger := start(), start()
	defer stranger.Wait()
	defer stranger.Process.Kill()
	path := executable(orphan.Process.Pid)
	if path == "" {
		t.Fatalf("no executable of process %d", orphan.Process.Pid)
	}
	note := func(name string, pid int, path string) {
		if err := writeFile(filepath.Join(s.Run(), name), []byte(strconv.Itoa(pid)+" "+path+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	note("eno-controller.pid", orphan.Process.Pid, path)
	note("eno-reconciler.pid", stranger.Process.Pid, "/opt/eno-reconciler")
	note("broken.pid", 0, "")
	if err := endOrphans(s, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := orphan.Wait(); err == nil || orphan.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("orphan ended with %v, want killed", err)
	}
	if err := stranger.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the stranger was ended: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Run(), "*")); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
}

// TestChildIsStartedAgain lets a program end twice and counts its starts.
func TestChildIsStartedAgain(t *testing.T) {
	dir := t.TempDir()
	starts := filepath.Join(dir, "starts")
	program := filepath.Join(dir, "program")
	script := "#!/bin/sh\necho >>" + starts + `
echo '{"level":"info","msg":"Starting Controller"}'
echo '{"level":"info","msg":"Starting workers"}'
[ $(wc -l <` + starts + `) -lt 3 ] && exit 3
exec sleep 60
`
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{}, 9)
	c := &child{path: program, env: os.Environ(), pidFile: filepath.Join(dir, "program.pid"), log: slog.New(slog.DiscardHandler), ready: func() { ready <- struct{}{} }}
	ctx, cancel := testContext(t)
	done := make(chan struct{})
	go func() { c.run(ctx); close(done) }()
	for range 3 {
		select {
		case <-ready:
		case <-time.After(10 * time.Second):
			t.Fatal("not started again after 10 s")
		}
	}
	var b []byte
	if err := poll(ctx, 5*time.Millisecond, func() (ok bool) {
		var err error
		b, err = os.ReadFile(c.pidFile)
		return err == nil
	}); err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.Fields(string(b))[0])
	cancel()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("still runs 5 s after its end was asked")
	}
	if syscall.Kill(pid, 0) == nil {
		t.Errorf("process %d is left", pid)
	}
	if _, err := os.Stat(c.pidFile); err == nil {
		t.Error("the file of its process identifier is left")
	}
}

func TestSiblingSaysHowToBuild(t *testing.T) {
	if _, err := sibling(t.TempDir(), "eno-controller", "schedules syntheses"); err == nil || !strings.Contains(err.Error(), "go build") {
		t.Errorf("got %v, want how to build it", err)
	}
}
