package scenes

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
)

func returning(t *testing.T, dir string) (*Autosave, *Scene) {
	t.Helper()
	a, s, err := OpenAutosave(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a, s
}

func shippedScene(t testing.TB, name string) *Scene {
	t.Helper()
	s, err := (&Store{}).Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What was turned is there again, on top of the scene that it was turned in.
func TestAutosaveReturns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "session")
	a, s := returning(t, dir)
	if s != nil {
		t.Fatalf("an empty folder holds %s", s.Name)
	}
	a.Param(ParamChange{Address: "/deployment/web/replicas", Value: 9}) // of no scene yet
	a.Scene(shippedScene(t, "default"))
	a.Param(ParamChange{Address: "/deployment/web/replicas", Value: 7})
	a.Param(ParamChange{Address: "/deployment/web/image", Word: "nginx:1.27"})
	a.Param(ParamChange{Address: "/deployment/none/replicas", Value: 7})
	a.Param(ParamChange{Address: "/deployment/web/replicas", Value: 99})
	a.Param(ParamChange{Address: "/deployment/web/replicas", Value: 6})
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	_, s = returning(t, dir)
	m := s.Patch.Module("deployment/web")
	if s.Name != "default" || m.Value("replicas") != 6 || m.Word("image") != "nginx:1.27" {
		t.Errorf("%s returned with %g replicas of %s", s.Name, m.Value("replicas"), m.Word("image"))
	}
	want := shippedScene(t, "default")
	want.Patch.Module("deployment/web").Params["replicas"] = 6
	want.Patch.Module("deployment/web").Text["image"] = "nginx:1.27"
	if !s.Equal(want) {
		t.Error("something else came back with it")
	}
}

// A state that cannot be read gives way to the one before it, and is told.
func TestAutosaveSkipsWhatIsBroken(t *testing.T) {
	dir := t.TempDir()
	a, _ := returning(t, dir)
	for _, name := range []string{"default", "etcd"} {
		a.Scene(shippedScene(t, name))
		if !soon(func() bool {
			n, _ := states(dir)
			s, err := OpenBackup(dir, n[max(len(n)-1, 0)])
			return err == nil && s.Name == name
		}, dir) {
			t.Fatal(name, "was not written")
		}
	}
	a.Close()
	numbers, _ := states(dir)
	last := statePath(dir, numbers[len(numbers)-1], stateSuffix)
	text, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(last, append(text[:len(text)/2], "\n\x00"...), 0o600); err != nil {
		t.Fatal(err)
	}
	b, s, err := OpenAutosave(dir)
	if err == nil || s == nil || s.Name != "default" {
		t.Fatalf("returned %v, told %v", s, err)
	}
	b.Scene(s)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	_, s = returning(t, dir)
	if s.Name != "default" {
		t.Errorf("then %s returned", s.Name)
	}
	list, err := Backups(dir)
	if err != nil || len(list) != 3 || list[0].Name != "default" || list[1].Err == nil || list[2].Name != "default" {
		t.Errorf("backups %+v, %v", list, err)
	}
	if _, err := OpenBackup(dir, 77); !errors.Is(err, ErrNotFound) {
		t.Errorf("a backup that is not there: %v", err)
	}
}

func soon(ok func() bool, dir string) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if n, err := states(dir); err == nil && len(n) > 0 && ok() {
			return true
		}
	}
	return false
}

// Old states go, and the journal does not grow for ever.
func TestAutosaveStaysSmall(t *testing.T) {
	dir := t.TempDir()
	a, _ := returning(t, dir)
	// settled waits until the newest state is synced and those that it makes too many are gone.
	settled := func() {
		t.Helper()
		if !soon(func() bool {
			n, err := states(dir)
			return err == nil && n[len(n)-1] == a.number && len(n) <= KeptBackups+1
		}, dir) {
			t.Fatalf("state %d was not synced", a.number)
		}
	}
	for i := range KeptBackups + 10 {
		c := shippedScene(t, "default")
		c.Seed = uint64(i)
		if err := a.begin(c); err != nil {
			t.Fatal(err)
		}
		settled()
	}
	numbers, err := states(dir)
	if err != nil || len(numbers) != KeptBackups+1 {
		t.Fatalf("%d states are kept, %v", len(numbers), err)
	}
	last := numbers[len(numbers)-1]
	for i := 0; ; i++ {
		turns := map[mapping.Address]ParamChange{}
		for k := range 200 {
			at := mapping.Address(fmt.Sprintf("/none/of-these-%d/knob", k))
			turns[at] = ParamChange{Address: at, Value: float64(k)}
		}
		turns["/deployment/web/replicas"] = ParamChange{Address: "/deployment/web/replicas", Value: float64(i % 16)}
		if err := a.put(nil, turns); err != nil {
			t.Fatal(err)
		}
		if a.number != last {
			settled()
			got, turned, err := recall(dir, a.number)
			if err != nil || turned != 0 || got.Patch.Module("deployment/web").Value("replicas") != float64(i%16) {
				t.Errorf("the journal of %d turns came to %v, %v", i, got, err)
			}
			break
		}
		if i > 20000 {
			t.Fatal("the journal grows without end")
		}
	}
}

// lineMax is how old, on a machine that lets the process run, the newest turn may be that a crash loses.
const lineMax = 100 * time.Millisecond

// A knob is moved a thousand times a second, and the process is killed a
// hundred times: what returns is at most 100 ms old, and never something that
// was not there.
func TestAutosaveSurvivesKills(t *testing.T) {
	if dir := os.Getenv("AUTOSAVE_CHILD"); dir != "" {
		autosaveChild(dir)
		return
	}
	kills := 100
	if testing.Short() {
		kills = 10
	}
	dir := t.TempDir()
	a, _ := returning(t, dir)
	first := shippedScene(t, "default")
	first.Patch.Module("voice/drone").Params["attack"] = 0.01
	a.Scene(first)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	var lost []float64
	last := -1.0
	for k := range kills {
		c := exec.Command(os.Args[0], "-test.run", "^TestAutosaveSurvivesKills$")
		c.Env = append(os.Environ(), "AUTOSAVE_CHILD="+dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		// Turns as the child told of them, each before it was handed over.
		type told struct {
			at    time.Time
			value float64
		}
		var all []told
		lines := bufio.NewScanner(out)
		for lines.Scan() && lines.Text() != "ready" {
			if v, ok := strings.CutPrefix(lines.Text(), "returned "); ok {
				if got, _ := strconv.ParseFloat(v, 64); got < last {
					t.Fatalf("kill %d: the knob stood at %g and returned at %g", k, last, got)
				}
			} else if strings.HasPrefix(lines.Text(), "error") {
				t.Fatal(lines.Text())
			}
		}
		timer := time.AfterFunc(time.Duration(rand.Int64N(int64(150*time.Millisecond))), func() { _ = c.Process.Kill() })
		for lines.Scan() {
			at, v, _ := strings.Cut(lines.Text(), " ")
			ns, err1 := strconv.ParseInt(at, 10, 64)
			value, err2 := strconv.ParseFloat(v, 64)
			if err1 == nil && err2 == nil {
				all = append(all, told{time.Unix(0, ns), value})
			}
		}
		_ = c.Wait()
		timer.Stop()
		numbers, err := states(dir)
		if err != nil || len(numbers) == 0 {
			t.Fatalf("kill %d: no state is left: %v", k, err)
		}
		s, _, err := recall(dir, numbers[len(numbers)-1])
		if err != nil {
			t.Fatalf("kill %d: %v", k, err)
		}
		last = s.Patch.Module("voice/drone").Value("attack")
		if len(all) == 0 {
			continue
		}
		end := all[len(all)-1].at
		i, _ := slices.BinarySearchFunc(all, last, func(a told, v float64) int {
			switch {
			case a.value < v:
				return -1
			case a.value > v:
				return 1
			}
			return 0
		})
		age := time.Duration(0)
		if i+1 < len(all) {
			// The first that was lost, against the end of the child.
			age = end.Sub(all[i+1].at)
			if last < all[0].value {
				age = end.Sub(all[0].at)
			}
		}
		lost = append(lost, age.Seconds()*1e3)
		// A process that the machine did not let run could not save either.
		var starved time.Duration
		for k := max(i, 0) + 1; k < len(all); k++ {
			starved = max(starved, all[k].at.Sub(all[k-1].at))
		}
		if age-starved > lineMax {
			t.Errorf("kill %d: the knob stood at %g since %s and returned at %g", k, all[len(all)-1].value, age, last)
		}
	}
	slices.Sort(lost)
	if len(lost) < kills/2 {
		t.Fatalf("only %d of %d kills came while the knob was moving", len(lost), kills)
	}
	t.Logf("%d kills: lost p50 %.0f, p90 %.0f, max %.0f ms of a knob's way", len(lost), lost[len(lost)/2], lost[len(lost)*9/10], lost[len(lost)-1])
}

// autosaveChild moves one knob, up and up over all its lives.
func autosaveChild(dir string) {
	a, s, err := OpenAutosave(dir)
	if err != nil || s == nil {
		fmt.Println("error: it returned", s, err)
		os.Exit(1)
	}
	v := s.Patch.Module("voice/drone").Value("attack")
	fmt.Println("returned", v)
	a.Scene(s)
	fmt.Println("ready")
	for {
		v += 1e-5
		fmt.Println(time.Now().UnixNano(), v)
		a.Param(ParamChange{Address: "/voice/drone/attack", Value: v})
		time.Sleep(time.Millisecond)
	}
}

// A disk that does not sync for a while holds nothing up: who is killed then
// has the scene and the knobs that were turned in it.
func TestAutosaveDoesNotWaitForTheSync(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "session")
	a, _ := returning(t, dir)
	a.Scene(shippedScene(t, "default"))
	a.Param(ParamChange{Address: "/deployment/web/replicas", Value: 3})
	waits := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not within 10 s: %s", what)
			}
		}
	}
	waits("the first state", func() bool { b, err := Backups(dir); return err == nil && len(b) == 1 && b[0].Turns == 1 })
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	stalls := make(chan struct{})
	a, _, err := openAutosave(dir, func(f *os.File) error { <-stalls; return f.Sync() })
	if err != nil {
		t.Fatal(err)
	}
	killed := func() *Scene {
		t.Helper()
		left := filepath.Join(t.TempDir(), "left")
		if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		b, s, err := OpenAutosave(left)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		return s
	}
	other := shippedScene(t, "default")
	other.Title = "another state"
	a.Scene(other)
	for i := range 3 {
		value := float64(5 + i)
		a.Param(ParamChange{Address: "/deployment/web/replicas", Value: value})
		// The states 2, 3 and 4, and in the journal of each a knob.
		waits("the knob is written", func() bool {
			j, err := os.Stat(statePath(dir, uint64(2+i), recordSuffix))
			return err == nil && j.Size() > 0
		})
		if s := killed(); s == nil || s.Title != "another state" || s.Patch.Module("deployment/web").Value("replicas") != value {
			t.Fatalf("killed with a stalled disk: %+v", s)
		}
		other = shippedScene(t, "default")
		other.Title, other.Patch.Module("deployment/web").Params["replicas"] = "another state", value
		a.Scene(other)
	}
	close(stalls)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") {
			t.Errorf("%s is left", f.Name())
		}
	}
	if _, s := returning(t, dir); s.Title != "another state" || s.Patch.Module("deployment/web").Value("replicas") != 7 {
		t.Errorf("%s returned", s.Title)
	}
}
