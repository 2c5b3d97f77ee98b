package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asProgram makes this test binary behave as the program, so that what is
// measured is a process of its own.
const asProgram = "K8S_SYNTH_TEST_AS_VOICE"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// server is a running program.
type server struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	exited chan struct{}
}

var addressPattern = regexp.MustCompile(`address=(\S+)`)

func startServer(t *testing.T, env []string, args ...string) *server {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, cmd: exec.Command(exe, append([]string{"--listen=127.0.0.1:0"}, args...)...), exited: make(chan struct{})}
	s.cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0", asProgram+"=1"), env...)
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := make(chan string, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if m := addressPattern.FindStringSubmatch(lines.Text()); m != nil {
				address <- m[1]
			}
		}
	})
	go func() {
		reading.Wait()
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.exited
	})
	select {
	case a := <-address:
		s.url = "http://" + a
	case <-s.exited:
		t.Fatalf("ended at its start: %v", s.cmd.ProcessState)
	case <-time.After(10 * time.Second):
		t.Fatal("does not serve after 10 s")
	}
	return s
}

// ask makes a request and returns the answer's status, X-Pod header and body.
func (s *server) ask(method, path string) (int, string, string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.StatusCode, answer.Header.Get("X-Pod"), strings.TrimSpace(string(body))
}

func (s *server) exit(within time.Duration) int {
	s.t.Helper()
	select {
	case <-s.exited:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		s.t.Fatalf("still runs after %v", within)
		return 0
	}
}

// cpuTime is what the kernel has accounted to all threads of a process, and for
// how long they could have run and another program did.
func cpuTime(t *testing.T, pid int) (used, waited time.Duration) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		t.Skip("this kernel tells no processor time by thread: /proc/PID/task/*/schedstat is missing")
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // a thread that has ended
		}
		var on, off time.Duration
		if _, err := fmt.Sscan(string(b), (*int64)(&on), (*int64)(&off)); err != nil {
			t.Fatalf("%s: %q", f, b)
		}
		used, waited = used+on, waited+off
	}
	return used, waited
}

// resident is the resident memory of a process, in MiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Skipf("this kernel tells no resident memory: %v", err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() / mib
}

// TestBurnsWhatItIsTold measures the process from outside. A machine that is
// busy with something else may fail to give the time, so that each load has a
// few attempts; a law that is wrong is wrong in all of them. What it lacks must
// be what its threads waited for a processor, as the kernel tells it, and what
// it uses too much must be what it lacked before.
func TestBurnsWhatItIsTold(t *testing.T) {
	s := startServer(t, nil)
	loads := []int{50, 200, 700}
	if runtime.NumCPU() > 1 {
		loads = append(loads, 1300)
	}
	for _, want := range loads {
		if code, _, body := s.ask("PUT", fmt.Sprintf("/load?cpu=%d", want)); code != 200 {
			t.Fatalf("PUT /load: %d %s", code, body)
		}
		const attempts = 6
		tolerance := 0.05 * float64(want)
		type attempt struct{ got, waited float64 } // millicores
		var made []attempt
		right, excused := false, false
		for len(made) < attempts && !right {
			time.Sleep(100 * time.Millisecond)
			began := time.Now()
			used, waited := cpuTime(t, s.cmd.Process.Pid)
			time.Sleep(1200 * time.Millisecond)
			usedThen, waitedThen := cpuTime(t, s.cmd.Process.Pid)
			elapsed := time.Since(began).Seconds()
			is := attempt{1000 * (usedThen - used).Seconds() / elapsed, 1000 * (waitedThen - waited).Seconds() / elapsed}
			off := is.got - float64(want)
			right = math.Abs(off) <= tolerance
			if off < 0 {
				excused = -off <= is.waited+tolerance
			} else {
				// At most the backlog is caught up.
				excused = len(made) > 0 && off <= tolerance+min(made[len(made)-1].waited, float64(want)*backlog.Seconds()/elapsed)
			}
			made = append(made, is)
		}
		if !right && excused {
			t.Logf("asked for %d millicores, got and waited for %.0f: this machine did not have them", want, made)
			continue
		}
		if !right {
			t.Errorf("asked for %d millicores, got and waited for %.0f, off by more than 5 %%", want, made)
			continue
		}
		got, waited := made[len(made)-1].got, 0.0
		for _, a := range made { // what is told below is the mean of all of them
			waited = max(waited, a.waited)
		}
		t.Logf("asked for %4d millicores, got %.1f", want, got)
		var l load
		_, _, body := s.ask("GET", "/load")
		if err := json.Unmarshal([]byte(body), &l); err != nil || l.CPU != want || math.Abs(float64(l.Used-want)) > 0.15*float64(want)+10+waited {
			t.Errorf("GET /load: %s (%v); asked for %d", body, err, want)
		}
	}
	// Nothing asked for is nothing used: a resting pod costs nothing.
	s.ask("PUT", "/load?cpu=0")
	time.Sleep(100 * time.Millisecond)
	before, _ := cpuTime(t, s.cmd.Process.Pid)
	time.Sleep(500 * time.Millisecond)
	if used, _ := cpuTime(t, s.cmd.Process.Pid); used-before > 10*time.Millisecond {
		t.Errorf("without a load it used %v in 500 ms", used-before)
	}
}

// TestBurnerLaw runs the control law on a machine of its own making, without
// the noise of a real one: one that gives half of the processor to another
// program catches up, and does not pay back forever.
func TestBurnerLaw(t *testing.T) {
	var now, used time.Duration
	b := &burner{ctx: t.Context(), now: func() time.Time { return time.Unix(0, int64(now)) }, cpu: func() time.Duration { return used }}
	b.epoch, b.millicores = b.now(), 250
	run := func(d time.Duration, share float64) {
		for end := now + d; now < end; {
			if ahead := b.ahead(); ahead <= 0 {
				now += slice
				used += time.Duration(share * float64(slice))
			} else {
				now += min(max(ahead, slice), longestRest)
			}
		}
	}
	rate := func(d time.Duration, share float64) float64 {
		from, was := now, used
		run(d, share)
		return 1000 * float64(used-was) / float64(now-from)
	}
	for share, want := range map[float64]float64{1: 250, 0.5: 250, 0.1: 100} {
		run(time.Second, share)
		if got := rate(10*time.Second, share); math.Abs(got-want) > 0.02*want {
			t.Errorf("a worker that gets %.0f %% of a processor: used %.1f millicores, want %.0f", 100*share, got, want)
		}
	}
	// After a starved time the excess is bounded by the backlog.
	run(10*time.Second, 0.01)
	from := used
	run(time.Second, 1)
	if most := 250*time.Millisecond + backlog/4 + time.Millisecond; used-from > most {
		t.Errorf("after 10 s without time, the next second used %v, want at most %v", used-from, most)
	}
}

func TestMemoryIsHeldAndReleased(t *testing.T) {
	s := startServer(t, nil)
	pid := s.cmd.Process.Pid
	empty := resident(t, pid)
	for _, want := range []int{64, 200, 10, 0} {
		if code, _, body := s.ask("PUT", fmt.Sprintf("/load?memory=%d", want)); code != 200 || !strings.Contains(body, fmt.Sprintf(`"memory":%d,`, want)) {
			t.Fatalf("PUT /load: %d %s", code, body)
		}
		if got := resident(t, pid) - empty; got < want-2 || got > want+12 {
			t.Errorf("asked for %d MiB: %d more are resident", want, got)
		}
	}
}

func TestAnswers(t *testing.T) {
	s := startServer(t, []string{"POD_NAME=web-1", "POD_NAMESPACE=stage", "NODE_NAME=n1"}, "--memory=3")
	for _, c := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/", 200, `{"pod":"web-1","namespace":"stage","node":"n1"}`},
		{"POST", "/any/path?x=1", 200, `{"pod":"web-1","namespace":"stage","node":"n1"}`},
		{"GET", "/healthz", 200, "ok"},
		{"PUT", "/load?cpu=-1", 400, `cpu="-1": expected a whole number from 0 to 1000000`},
		{"PUT", "/load?cpu=5&memory=much", 400, `memory="much": expected a whole number from 0 to 1048576`},
		{"PUT", "/load", 200, `"cpu":0,"memory":3,`}, // nothing named, nothing changed
		{"PUT", "/load?cpu=20", 200, `"cpu":20,"memory":3,`},
		{"GET", "/load", 200, `"cpu":20,"memory":3,`},
		{"POST", "/exit?code=256", 400, "expected a whole number from 0 to 255"},
	} {
		code, pod, body := s.ask(c.method, c.path)
		if code != c.code || !strings.Contains(body, c.body) || pod != "web-1" {
			t.Errorf("%s %s: %d %q from %q; want %d with %q", c.method, c.path, code, body, pod, c.code, c.body)
		}
	}
	if code, _, body := s.ask("POST", "/exit?code=3"); code != 202 || body != "ends with code 3" {
		t.Errorf("POST /exit: %d %q", code, body)
	}
	if code := s.exit(2 * time.Second); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
}

// TestEndsAtOnce: under full load, by a signal, within a moment.
func TestEndsAtOnce(t *testing.T) {
	for _, args := range [][]string{{"--cpu=500", "--memory=20"}, nil} {
		s := startServer(t, nil, args...)
		began := time.Now()
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := s.exit(2 * time.Second); code != 0 {
			t.Errorf("exit code %d after SIGTERM, want 0", code)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("took %v to end", d)
		}
	}
}

// TestPause: the sandbox's process ends by a signal, and uses nothing.
func TestPause(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "pause")
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", asProgram+"=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	// Before it rests it may not have asked for the signal yet.
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/schedstat", cmd.Process.Pid)); err == nil {
		for end := time.Now().Add(10 * time.Second); ; {
			used, waited := cpuTime(t, cmd.Process.Pid)
			time.Sleep(100 * time.Millisecond)
			usedThen, waitedThen := cpuTime(t, cmd.Process.Pid)
			if d := usedThen - used + waitedThen - waited; d >= 0 && d < time.Millisecond {
				break
			}
			if time.Now().After(end) {
				t.Fatal("does not rest 10 s after its start")
			}
		}
	}
	time.Sleep(300 * time.Millisecond)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal("ended by itself:", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("after SIGTERM: %v", err)
		}
	case <-time.After(2 * time.Second):
		t.Error("still runs 2 s after SIGTERM")
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		err  string
	}{
		{[]string{"play"}, 2, `unexpected argument "play"`},
		{[]string{"--cpu=-1"}, 2, "expected --cpu from 0"},
		{[]string{"--listen=256.0.0.1:1"}, 1, "listen:"},
	} {
		code, err := run(c.args)
		if code != c.code || err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: %d %v; want %d with %q", c.args, code, err, c.code, c.err)
		}
	}
}
