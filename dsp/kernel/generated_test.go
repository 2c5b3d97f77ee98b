package kernel

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestAssemblyIsCurrent: what is committed is what the generator writes.
func TestAssemblyIsCurrent(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the generator")
	}
	dir := t.TempDir()
	names := []string{"voices_amd64.s", "voices_amd64.go"}
	cmd := exec.CommandContext(t.Context(), "go", "run", "./assembly", "-out", filepath.Join(dir, names[0]), "-stubs", filepath.Join(dir, names[1]))
	// For this machine, whatever the tests are built for.
	cmd.Env = append(os.Environ(), "GOOS=", "GOARCH=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the generator: %v\n%s", err, out)
	}
	for _, name := range names {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(body(got), body(want)) {
			t.Errorf("%s is not what ./assembly writes; run go generate ./dsp/kernel", name)
		}
	}
}

// body is a file without its first line, which names the command.
func body(b []byte) []byte {
	_, rest, _ := bytes.Cut(b, []byte("\n"))
	return rest
}
