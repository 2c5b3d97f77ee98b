package install

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCRDsEqualTheModule keeps our copies those of the Eno that go.mod names.
func TestCRDsEqualTheModule(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/Azure/eno").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "api", "v1", "config", "crd")
	theirs, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(theirs) == 0 {
		t.Fatalf("no definitions in %s: %v", dir, err)
	}
	ours, err := CRDs()
	if err != nil {
		t.Fatal(err)
	}
	if len(ours) != len(theirs) {
		t.Errorf("%d copies of %d files", len(ours), len(theirs))
	}
	for _, f := range theirs {
		want, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ours[filepath.Base(f)], want) {
			t.Errorf("crds/%s differs from the module's; copy it as crds/README.md says", filepath.Base(f))
		}
	}
}
