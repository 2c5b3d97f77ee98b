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
	err = f.Truncate(0)
	if err == nil {
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
// kubeconfig stays valid over restarts, and the API server finds the metrics
// at once. Only these two listen on TCP: etcd has a socket in the state
// directory, the others listen nowhere.
type ports struct {
	APIServer int `json:"apiserver"`
	Metrics   int `json:"metrics,omitempty"`
}

// listeners are the open ones.
type listeners struct{ apiServer, metrics net.Listener }

func (l *listeners) close() {
	for _, c := range []net.Listener{l.apiServer, l.metrics} {
		if c != nil {
			c.Close()
		}
	}
}

// listen opens the listeners on the ports that were used before. Where one is
// taken by another program meanwhile, or there was none, it takes a free one
// and keeps it; moved tells that the API server's port has changed.
func listen(s paths.State) (l *listeners, moved bool, err error) {
	var p ports
	b, err := os.ReadFile(s.Ports())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("ports: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(b, &p); err != nil || p.APIServer < 1 || p.APIServer > 65535 || p.Metrics < 0 || p.Metrics > 65535 {
			return nil, false, fmt.Errorf("ports: %s: expected {\"apiserver\": port, \"metrics\": port}, each from 1 to 65535, found %q; remove the file to have free ports chosen", s.Ports(), strings.TrimSpace(string(b)))
		}
	}
	before := p
	l = &listeners{}
	for _, o := range []struct {
		name string
		to   *net.Listener
		port *int
	}{{"API server", &l.apiServer, &p.APIServer}, {"metrics API", &l.metrics, &p.Metrics}} {
		c, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(*o.port)))
		if *o.port != 0 && errors.Is(err, syscall.EADDRINUSE) {
			c, err = net.Listen("tcp4", "127.0.0.1:0")
		}
		if err != nil {
			l.close()
			return nil, false, fmt.Errorf("%s: no port on the loopback interface: %w", o.name, err)
		}
		*o.to, *o.port = c, c.Addr().(*net.TCPAddr).Port
	}
	if p != before {
		b, err = json.Marshal(p)
		if err == nil {
			err = writeFile(s.Ports(), append(b, '\n'))
		}
		if err != nil {
			l.close()
			return nil, false, fmt.Errorf("ports: %w", err)
		}
	}
	return l, before.APIServer != 0 && p.APIServer != before.APIServer, nil
}
