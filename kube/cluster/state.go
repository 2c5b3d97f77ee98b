package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/k8s-synth/k8s-synth/kube/cluster/paths"
)

// ErrLocked says that another control plane uses the state directory.
var ErrLocked = errors.New("another cluster uses this state directory")

// lock is the exclusive use of a state directory. The kernel gives it up when
// the process ends, however it ends.
type lock struct{ f *os.File }

// acquireLock locks the state directory or returns ErrLocked, with the process
// that has it.
func acquireLock(s paths.State) (*lock, error) {
	f, err := os.OpenFile(s.Lock(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock of the state directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", s.Lock(), err)
		}
		b, _ := os.ReadFile(s.Lock())
		pid := strings.TrimSpace(string(b))
		if pid == "" {
			pid = "unknown"
		}
		return nil, fmt.Errorf("%s: %w (process %s); stop it, or name another with --state-dir", s.Dir, ErrLocked, pid)
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", s.Lock(), err)
	}
	return &lock{f}, nil
}

// release gives the directory up. The file stays: removing it would let two
// processes hold locks on two files of one name.
func (l *lock) release() {
	if l != nil && l.f != nil {
		l.f.Close()
		l.f = nil
	}
}

// makeDirs creates the state directory and those in it for their owner alone,
// and narrows the modes of those that exist.
func makeDirs(s paths.State) error {
	for _, d := range []string{s.Dir, s.PKI(), s.Etcd(), s.Run()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
		if err := os.Chmod(d, 0o700); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
	}
	return nil
}

// writeFile writes a file that only its owner can read, whole or not at all.
func writeFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// ports are the TCP ports on which the control plane listens, kept so that a
// kubeconfig stays valid over restarts. Only the API server listens on TCP:
// etcd has a socket in the state directory, the others listen nowhere.
type ports struct {
	APIServer int `json:"apiserver"`
}

// listenAPIServer opens the API server's listener on the port that was used
// before. Where that is taken by another program meanwhile, or there was none,
// it takes a free one and keeps it; moved tells that the port has changed.
func listenAPIServer(s paths.State) (l net.Listener, moved bool, err error) {
	var p ports
	b, err := os.ReadFile(s.Ports())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("ports: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(b, &p); err != nil || p.APIServer < 1 || p.APIServer > 65535 {
			return nil, false, fmt.Errorf("ports: %s: expected {\"apiserver\": port from 1 to 65535}, found %q; remove the file to have a free port chosen", s.Ports(), strings.TrimSpace(string(b)))
		}
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.APIServer)))
		if err == nil {
			return l, false, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, false, fmt.Errorf("API server: %w", err)
		}
		moved = true
	}
	l, err = net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, false, fmt.Errorf("API server: no free port on the loopback interface: %w", err)
	}
	p.APIServer = l.Addr().(*net.TCPAddr).Port
	b, err = json.Marshal(p)
	if err == nil {
		err = writeFile(s.Ports(), append(b, '\n'))
	}
	if err != nil {
		l.Close()
		return nil, false, fmt.Errorf("ports: %w", err)
	}
	return l, moved, nil
}
