package site

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// tree reads a folder, files by their names.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		all[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What is written is what is served, and listed; the same again is the same to
// the byte, and nothing is touched.
func TestWrite(t *testing.T) {
	s := full(t)
	dir := filepath.Join(t.TempDir(), "a", "b")
	more := map[string][]byte{"sound/default.flac": []byte("fLaC")}
	w, err := s.Write(dir, more, false)
	if err != nil {
		t.Fatal(err)
	}
	got := tree(t, dir)
	if len(got) != len(s.Names())+2 || w.Files != len(s.Names())+1 || w.Changed != w.Files || w.Removed != 0 {
		t.Errorf("%d files, %+v", len(got), w)
	}
	total := 0
	for _, n := range s.Names() {
		want, _ := s.File(n)
		total += len(want)
		if got[n] != string(want) {
			t.Errorf("%s is another", n)
		}
	}
	if w.Bytes != int64(total+4) || got["sound/default.flac"] != "fLaC" {
		t.Errorf("%d bytes are told, want %d", w.Bytes, total+4)
	}
	if sums, err := exec.LookPath("sha256sum"); err == nil {
		c := exec.Command(sums, "-c", "--strict", "--quiet", sumsFile)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	other := newFull(t)
	if w, err = other.Write(dir, more, false); err != nil || w.Changed != 0 || w.Removed != 0 {
		t.Errorf("again: %+v, %v", w, err)
	}
	elsewhere := t.TempDir()
	if _, err = newFull(t).Write(elsewhere, more, false); err != nil {
		t.Fatal(err)
	}
	for n, text := range tree(t, elsewhere) {
		if got[n] != text {
			t.Errorf("written twice, %s is two files", n)
		}
	}
}

// What others have in the folder stays as it is.
func TestWriteBesideOthers(t *testing.T) {
	s := bare(t)
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("thesis.txt", "years of work")
	if _, err := s.Write(dir, nil, false); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "thesis.txt") || !strings.Contains(err.Error(), "--force") {
		t.Errorf("into a folder of something else: %v", err)
	}
	if err := Check(dir, false); !errors.Is(err, ErrForeign) {
		t.Errorf("and asked before: %v", err)
	}
	if got := tree(t, dir); len(got) != 1 {
		t.Errorf("refused, and yet wrote %d files", len(got)-1)
	}
	if _, err := s.Write(dir, map[string][]byte{"sound/a.flac": []byte("a"), "sound/b.flac": []byte("b"), "old.html": []byte("o")}, true); err != nil {
		t.Fatal(err)
	}
	put("CNAME", "example.org")
	put("sound/mine.wav", "m")
	put("sound/b.flac", "cut by hand")
	// Sounds are left out this time; a is ours and goes, b was changed.
	w, err := s.Write(dir, nil, false)
	if err != nil || w.Removed != 2 {
		t.Errorf("%+v, %v", w, err)
	}
	got := tree(t, dir)
	for n, want := range map[string]string{"thesis.txt": "years of work", "CNAME": "example.org", "sound/mine.wav": "m", "sound/b.flac": "cut by hand"} {
		if got[n] != want {
			t.Errorf("%s is %q", n, got[n])
		}
	}
	if _, ok := got["sound/a.flac"]; ok {
		t.Error("a sound that is no more is there")
	}
	// A page that was edited is somebody's work.
	put("modules.html", "mine now")
	put("index.html", "mine, too")
	before := tree(t, dir)
	if _, err := s.Write(dir, map[string][]byte{"a.txt": nil}, false); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "index.html was changed") {
		t.Errorf("over a page that was edited: %v", err)
	}
	after := tree(t, dir)
	for n := range after {
		if before[n] != after[n] || len(before) != len(after) {
			t.Errorf("refused, and yet %s was written", n)
		}
	}
	if _, err := s.Write(dir, nil, true); err != nil || tree(t, dir)["index.html"] == "mine, too" {
		t.Errorf("with force: %v", err)
	}
	for n := range tree(t, dir) {
		if strings.HasSuffix(n, ".part") {
			t.Errorf("%s is left", n)
		}
	}
}

// An earlier writing that was interrupted is gone on with.
func TestWriteAfterInterrupt(t *testing.T) {
	dir := t.TempDir()
	first, err := New(Config{Version: "1", Shots: fstest.MapFS{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Write(dir, nil, false); err != nil {
		t.Fatal(err)
	}
	second, err := New(Config{Version: "2", Shots: fstest.MapFS{}})
	if err != nil {
		t.Fatal(err)
	}
	// A folder in the place of a file is where this one ends.
	blocked := filepath.Join(dir, "signals.html")
	if err := errors.Join(os.Remove(blocked), os.MkdirAll(filepath.Join(blocked, "x"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Write(dir, nil, false); err == nil {
		t.Fatal("a folder in the place of a page was not noticed")
	}
	if err := os.RemoveAll(blocked); err != nil {
		t.Fatal(err)
	}
	// Half of the files are of the second version, the sums of both.
	for i, n := range second.Names() {
		if i%2 == 0 {
			text, _ := second.File(n)
			if err := os.WriteFile(filepath.Join(dir, n), text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := second.Write(dir, nil, false); err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
	third, err := New(Config{Version: "3", Shots: fstest.MapFS{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := third.Write(dir, nil, false); err != nil {
		t.Errorf("and then: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil || bytes.Count(text, []byte("\n")) != len(third.Names()) {
		t.Errorf("the sums: %v, %d lines for %d files", err, bytes.Count(text, []byte("\n")), len(third.Names()))
	}
}

// A folder that cannot be written is told of at once, and nothing gets out of
// it by a link.
func TestWriteRefused(t *testing.T) {
	s := bare(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if err := Check(dir, true); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if os.Getuid() != 0 && runtime.GOOS != "windows" {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		if err := Check(dir, false); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("a folder that is read only: %v", err)
		}
	}
	outside, dir := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "module")); err != nil {
		t.Skip(err)
	}
	if _, err := s.Write(dir, nil, true); err == nil {
		t.Error("a link out of the folder was followed")
	}
	if got := tree(t, outside); len(got) > 0 {
		t.Errorf("%d files are outside", len(got))
	}
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, sumsFile), []byte(strings.Repeat("0", 64)+"  ../../etc/passwd\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(bad, nil, false); err == nil || !strings.Contains(err.Error(), sumsFile+":1") {
		t.Errorf("sums that lead out: %v", err)
	}
	if !slices.Contains(s.Names(), missing) {
		t.Error("there is no page for what is lost")
	}
}
