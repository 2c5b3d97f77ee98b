package document

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// TestWriteWhole: links and modes stay, and an error leaves what was there and
// nothing beside it.
func TestWriteWhole(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(real, []byte("old"), 0o640), os.Symlink("real", link)); err != nil {
		t.Fatal(err)
	}
	if err := WriteWhole(link, 0o600, Bytes([]byte("new"))); err != nil {
		t.Fatal(err)
	}
	if i, _ := os.Lstat(link); i.Mode()&os.ModeSymlink == 0 {
		t.Error("the link is gone")
	}
	if i, _ := os.Stat(real); i.Mode().Perm() != 0o640 {
		t.Errorf("its mode is %v", i.Mode())
	}
	if err := WriteWhole(filepath.Join(dir, "private"), 0o600, Bytes(nil)); err != nil {
		t.Fatal(err)
	}
	if i, _ := os.Stat(filepath.Join(dir, "private")); i.Mode().Perm() != 0o600 {
		t.Errorf("a private file has the mode %v", i.Mode())
	}
	if err := WriteWhole(real, 0o600, func(w io.Writer) error { _, _ = w.Write([]byte("half")); return os.ErrClosed }); err == nil {
		t.Error("no error")
	}
	if err := WriteWhole(dir, 0o600, Bytes(nil)); err == nil {
		t.Error("a folder was written")
	}
	if text, _ := os.ReadFile(real); string(text) != "new" {
		t.Errorf("it holds %q", text)
	}
	if files, _ := os.ReadDir(dir); len(files) != 3 {
		t.Errorf("beside it are %v", files)
	}
}

// TestWriteNew: of many that want one name at once, one has it, whole.
func TestWriteNew(t *testing.T) {
	dir := t.TempDir()
	for round := range 30 {
		path := filepath.Join(dir, fmt.Sprint(round))
		var won atomic.Int32
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				switch err := WriteNew(path, 0o640, Bytes([]byte(fmt.Sprint("by ", i)))); {
				case err == nil:
					won.Store(int32(i))
				case !errors.Is(err, fs.ErrExist):
					t.Error(err)
				}
			})
		}
		all.Wait()
		text, err := os.ReadFile(path)
		if want := fmt.Sprint("by ", won.Load()); err != nil || string(text) != want {
			t.Fatalf("it holds %q, %v; want %q", text, err, want)
		}
	}
	if i, err := os.Stat(filepath.Join(dir, "0")); err != nil || i.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", i, err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 30 {
		t.Errorf("beside them are %v", files)
	}
	if err := WriteNew(filepath.Join(dir, "half"), 0o600, func(w io.Writer) error { return os.ErrClosed }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a write that failed: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "half")); err == nil {
		t.Error("half a file is there")
	}
}
