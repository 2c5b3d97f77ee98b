package paths

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDefaultStateDir(t *testing.T) {
	t.Setenv("HOME", "/home/player")
	for _, tt := range []struct{ xdg, want string }{
		{"", "/home/player/.local/state/k8s-synth/cluster"},
		{"/var/state", "/var/state/k8s-synth/cluster"},
		{"relative", "/home/player/.local/state/k8s-synth/cluster"},
	} {
		t.Setenv("XDG_STATE_HOME", tt.xdg)
		got, err := DefaultStateDir()
		if err != nil || got != tt.want {
			t.Errorf("XDG_STATE_HOME=%q: got %q, %v; want %q", tt.xdg, got, err, tt.want)
		}
	}
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", "")
	if _, err := DefaultStateDir(); err == nil || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("without a home: got %v, want an error that names --state-dir", err)
	}
}

func TestFindKubeconfig(t *testing.T) {
	dir := t.TempDir()
	if _, err := FindKubeconfig(dir); !errors.Is(err, ErrNoCluster) || !strings.Contains(err.Error(), "k8s-synth cluster") {
		t.Fatalf("got %v, want ErrNoCluster and how to start", err)
	}
	want := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(want, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(dir))
	got, err := FindKubeconfig(filepath.Base(dir))
	if err != nil || got != want {
		t.Fatalf("got %q, %v; want the absolute %q", got, err, want)
	}
}
