//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package scenes

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// hammerSteps is how often each of those who hammer one folder writes there.
const hammerSteps = 12

var seedOf = regexp.MustCompile(`(?m)^seed: (\d+)$`)

// hammer writes one scene over and over, every third time to the letter, and now
// and then takes it away. Each text has a seed of its own, from first on.
func hammer(st *Store, first int) error {
	// Who is told that others were at it for too long asks again.
	asks := func(do func() error) error {
		for {
			if err := do(); !errors.Is(err, ErrBusy) {
				return err
			}
		}
	}
	for i := range hammerSteps {
		s := New("mine")
		s.Seed = uint64(first + i)
		err := asks(func() error {
			if i%3 == 0 {
				return st.Replace("mine", fmt.Appendf(nil, "# by hand\nversion: 1\nname: mine\nseed: %d\n", s.Seed))
			}
			_, err := st.Save(s)
			return err
		})
		if err == nil && i%4 == 3 {
			err = asks(func() error { return st.Replace("mine", nil) })
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// TestReplacedByMany: of what several programs, each with several stores, write
// over one scene at a time, nothing is lost: each text is kept under a number of
// its own, or is the scene.
func TestReplacedByMany(t *testing.T) {
	const programs, stores = 3, 3
	several := func(dir string, first int) error {
		errs := make([]error, stores)
		var all sync.WaitGroup
		for k := range stores {
			all.Go(func() { errs[k] = hammer(&Store{Dir: dir}, first+k*hammerSteps) })
		}
		all.Wait()
		return errors.Join(errs...)
	}
	if dir, first := os.Getenv("HAMMER_DIR"), os.Getenv("HAMMER_FIRST"); dir != "" {
		n, _ := strconv.Atoi(first)
		fmt.Println("ready")
		_, _ = io.ReadAll(os.Stdin) // until all are
		if err := several(dir, n); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := t.TempDir()
	type child struct {
		cmd  *exec.Cmd
		in   io.Closer
		said *bufio.Reader
	}
	var all []child
	for i := range programs - 1 {
		c := exec.Command(os.Args[0], "-test.run", "^TestReplacedByMany$")
		c.Env = append(os.Environ(), "HAMMER_DIR="+dir, fmt.Sprintf("HAMMER_FIRST=%d", 1+(i+1)*stores*hammerSteps))
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, child{c, in, bufio.NewReader(out)})
	}
	for _, c := range all {
		if line, err := c.said.ReadString('\n'); line != "ready\n" {
			t.Fatalf("a program says %q, %v", line, err)
		}
	}
	for _, c := range all {
		c.in.Close()
	}
	if err := several(dir, 1); err != nil {
		t.Error(err)
	}
	for _, c := range all {
		rest, _ := io.ReadAll(c.said)
		if err := c.cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, rest)
		}
	}

	const written = programs * stores * hammerSteps
	if written > KeptFormer {
		t.Fatalf("%d texts are more than are kept", written)
	}
	kept := map[int]int{}
	count := func(text []byte, where string) {
		m := seedOf.FindSubmatch(text)
		if m == nil {
			t.Errorf("%s holds %q", where, text)
			return
		}
		n, _ := strconv.Atoi(string(m[1]))
		kept[n]++
	}
	folder := filepath.Join(dir, formerDir)
	numbers, err := formerOf(folder, "mine")
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range numbers {
		text, err := os.ReadFile(formerPath(folder, "mine", n))
		if err != nil || n != uint64(i+1) {
			t.Errorf("the number at %d is %d: %v", i+1, n, err)
		}
		count(text, fmt.Sprintf("number %d", n))
	}
	switch text, err := os.ReadFile(filepath.Join(dir, "mine.yaml")); {
	case err == nil:
		count(text, "the scene")
	case !errors.Is(err, os.ErrNotExist):
		t.Error(err)
	}
	lost, twice := 0, 0
	for n := 1; n <= written; n++ {
		if kept[n] == 0 {
			lost++
		} else if kept[n] > 1 {
			twice++
		}
	}
	t.Logf("%d texts were written by %d stores of %d programs: %d numbers, %d texts are lost, %d are kept twice", written, programs*stores, programs, len(numbers), lost, twice)
	if lost > 0 || twice > 0 || len(kept) != written {
		t.Errorf("of %d texts %d are lost, and %d are kept twice", written, lost, twice)
	}
	files, err := os.ReadDir(folder)
	if err != nil || len(files) != len(numbers) {
		t.Errorf("%d files for %d numbers: %v", len(files), len(numbers), err)
	}
}

// TestSaveOverSaysWhatWasThere: of what several save over one file at a time each
// is told by exactly one what was there, so that an undo brings that back and
// nothing older.
func TestSaveOverSaysWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	const savers, times = 4, 10
	told := make([][]string, savers)
	wrote := make([][]string, savers)
	var all sync.WaitGroup
	for k := range savers {
		all.Go(func() {
			st := &Store{Dir: dir}
			for i := range times {
				s := New("mine")
				s.Seed = uint64(1 + k*times + i)
				_, was, is, err := st.SaveOver(s)
				for errors.Is(err, ErrBusy) {
					_, was, is, err = st.SaveOver(s)
				}
				if err != nil {
					t.Error(err)
					return
				}
				told[k], wrote[k] = append(told[k], string(was)), append(wrote[k], string(is))
			}
		})
	}
	all.Wait()
	last, err := os.ReadFile(filepath.Join(dir, "mine.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]int{"": 1} // there was no file
	for _, text := range slices.Concat(wrote...) {
		left[text]++
	}
	left[string(last)]--
	for _, text := range slices.Concat(told...) {
		left[text]--
	}
	for text, n := range left {
		if n != 0 {
			t.Errorf("%d more times than it was told it was there: %q", n, text)
		}
	}
}

// TestLockIsBounded: who holds the lock keeps others waiting, and not for ever:
// nothing is written then, and why is told.
func TestLockIsBounded(t *testing.T) {
	defer func(was time.Duration) { lockWait = was }(lockWait)
	st := &Store{Dir: t.TempDir()}
	const first = "version: 1\nname: mine\nseed: 1\n"
	if err := st.Replace("mine", []byte(first)); err != nil {
		t.Fatal(err)
	}
	held, err := os.OpenFile(filepath.Join(st.Dir, lockFile), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := tryLock(held); err != nil {
		t.Fatal(err)
	}
	lockWait = 20 * time.Millisecond
	s := New("mine")
	s.Seed = 2
	_, saved := st.Save(s)
	for what, err := range map[string]error{"saved": saved, "removed": st.Replace("mine", nil)} {
		if !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "scene mine") || !strings.Contains(err.Error(), lockFile) || !strings.Contains(err.Error(), "nothing was written") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if text, _ := os.ReadFile(filepath.Join(st.Dir, "mine.yaml")); string(text) != first {
		t.Errorf("it is %q", text)
	}
	if all, err := st.Former(); err != nil || len(all) != 0 {
		t.Errorf("kept are %+v, %v", all, err)
	}
	lockWait = time.Minute
	done := make(chan error)
	go func() { _, err := st.Save(s); done <- err }()
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the lock was let go: %v", err)
	}
	all, err := st.Former()
	if err != nil || len(all) != 1 {
		t.Errorf("kept are %+v, %v", all, err)
	}
}

// TestNoFolder: without a folder of the player's nothing is written to whichever
// folder is the current one.
func TestNoFolder(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := (&Store{}).Replace("mine", []byte("version: 1\nname: mine\n")); err == nil {
		t.Error("it is written")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("there are %v, %v", files, err)
	}
}

// TestUnreadableIsNotSaved: a scene that could not be opened again takes nothing's
// place.
func TestUnreadableIsNotSaved(t *testing.T) {
	st := &Store{Dir: t.TempDir()}
	const text = "version: 1\nname: mine\ntunings:\n  thirds:\n    scl: \"t\\n3\\n400.0\\n800.0\\n2/1\\n\"\nmodules:\n  - id: quantizer/a\n    params: {tuning: thirds, scale: tuning}\n"
	if err := st.Replace("mine", []byte(text)); err != nil {
		t.Fatal(err)
	}
	s, err := st.Open("mine")
	if err != nil {
		t.Fatal(err)
	}
	// The patch knows a tuning of which the scene has no text.
	bare := New("mine")
	bare.Patch = s.Patch.Clone()
	for _, name := range []string{"mine", "other"} {
		bare.Name = name
		if _, err := st.Save(bare); err == nil || !strings.Contains(err.Error(), "could not be read again") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if is, _ := os.ReadFile(filepath.Join(st.Dir, "mine.yaml")); string(is) != text {
		t.Errorf("it is %q", is)
	}
	if _, err := st.Open("other"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the other one: %v", err)
	}
}
