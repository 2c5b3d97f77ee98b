// Package paths says where the embedded control plane keeps its state. It
// stands apart from package cluster, and imports nothing of Kubernetes, so
// that the instrument can print the kubeconfig's path without linking a
// control plane.
package paths

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNoCluster says that no cluster has been started in a state directory.
var ErrNoCluster = errors.New("no cluster has been started there")

// DefaultStateDir returns the directory in which the control plane keeps its
// state when no other is named: k8s-synth/cluster under XDG_STATE_HOME, or
// under ~/.local/state where that is unset or relative (the XDG base directory
// specification asks to ignore relative paths).
func DefaultStateDir() (string, error) {
	if base := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "k8s-synth", "cluster"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no place for the cluster's state: neither XDG_STATE_HOME nor HOME is set, name one with --state-dir: %w", err)
	}
	return filepath.Join(home, ".local", "state", "k8s-synth", "cluster"), nil
}

// State names the files in one state directory. All of them are readable by
// their owner alone.
type State struct{ Dir string }

// New returns the State in dir, or in DefaultStateDir where dir is empty. The
// path is made absolute; nothing is created.
func New(dir string) (State, error) {
	if dir == "" {
		d, err := DefaultStateDir()
		return State{Dir: d}, err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return State{}, fmt.Errorf("state directory %q: %w", dir, err)
	}
	return State{Dir: abs}, nil
}

// Kubeconfig is the file that kubectl, k9s and the other processes use.
func (s State) Kubeconfig() string { return filepath.Join(s.Dir, "kubeconfig") }

// Lock is the file whose lock keeps a second control plane away.
func (s State) Lock() string { return filepath.Join(s.Dir, "lock") }

// Ports is the file that keeps the ports between starts.
func (s State) Ports() string { return filepath.Join(s.Dir, "ports.json") }

// PKI is the directory of keys and certificates.
func (s State) PKI() string { return filepath.Join(s.Dir, "pki") }

// Etcd is the directory of the store's data.
func (s State) Etcd() string { return filepath.Join(s.Dir, "etcd") }

// Run is the directory of the process identifiers of child processes.
func (s State) Run() string { return filepath.Join(s.Dir, "run") }

// FindKubeconfig returns the path of the kubeconfig in dir (DefaultStateDir
// where empty) if a cluster has been started there. The error is
// ErrNoCluster, with how to start one, where none has.
func FindKubeconfig(dir string) (string, error) {
	s, err := New(dir)
	if err != nil {
		return "", err
	}
	file := s.Kubeconfig()
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("kubeconfig %s: %w; start one with \"k8s-synth cluster\" or \"k8s-synth play\"", file, ErrNoCluster)
	} else if err != nil {
		return "", fmt.Errorf("kubeconfig: %w", err)
	}
	return file, nil
}
