package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The instrument serves the pages beside everything else.
func TestAbout(t *testing.T) {
	other := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h := aboutPages(other, slog.New(slog.DiscardHandler))
	for path, want := range map[string]int{"/panels.css": 418, "/aboutness": 418, "/about": 301, "/about/": 200, "/about/module/pod.html": 200, "/about/panel/pod.svg": 200, "/about/none": 404, "/about/sound/none.flac": 404, "/about/sound/default.wav": 404} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
		if path == "/about/" && !strings.Contains(w.Body.String(), `href="../">Open the rack`) {
			t.Error("the rack is not linked")
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/about/listen.html", nil))
	cfg, err := siteConfig()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range cfg.Pieces {
		if !strings.Contains(w.Body.String(), `src="sound/`+p.Name+`.flac"`) {
			t.Errorf("%s cannot be listened to", p.Name)
		}
	}
}

// room is a served site whose sounds are made by render.
func room(t *testing.T, dir string, render func(context.Context, string, func(float64)) ([]byte, error)) (*soundRoom, *httptest.Server) {
	t.Helper()
	r := newSoundRoom(slog.New(slog.DiscardHandler))
	r.dir, r.render = dir, render
	server := httptest.NewServer(aboutWith(http.NotFoundHandler(), slog.New(slog.DiscardHandler), r))
	t.Cleanup(server.Close)
	return r, server
}

// aSound is one as encode writes it.
func aSound(t *testing.T, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	wave := make([]float32, siteRate)
	for i := range wave {
		wave[i] = float32(i%(100+len(name))) / 50
	}
	if err := writeFLAC(&b, siteRate, wave, wave, 0.2); err != nil {
		t.Fatal(err)
	}
	e := &example{flac: b.Bytes(), low: make([]float32, siteColumns), high: make([]float32, siteColumns)}
	e.high[7] = 0.5
	return e.encode()
}

// get asks and returns the answer with its body.
func get(t *testing.T, url string, head ...string) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(head); i += 2 {
		r.Header.Set(head[i], head[i+1])
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// A sound that is asked for is rendered once, by whoever asks first; it is
// kept, is served in ranges, and the pages know of its wave.
func TestSoundRoom(t *testing.T) {
	for what, dir := range map[string]string{"kept in a cache": filepath.Join(t.TempDir(), "cache", "0123456789abcdef01234567"), "without a cache": "", "where none can be": "/dev/null/cache"} {
		var made, at atomic.Int32
		_, server := room(t, dir, func(_ context.Context, name string, tell func(float64)) ([]byte, error) {
			if at.Add(1) > 1 {
				t.Errorf("%s: two are rendered at a time", what)
			}
			defer at.Add(-1)
			made.Add(1)
			for i := range 5 {
				tell(float64(i) / 5)
				time.Sleep(5 * time.Millisecond)
			}
			return aSound(t, name), nil
		})
		if _, b := get(t, server.URL+"/about/listen.html"); !bytes.Contains(b, []byte(`data-progress="sound/drain.progress"`)) {
			t.Errorf("%s: the page does not say that it has to be asked for", what)
		}
		want := map[string][]byte{}
		for _, n := range []string{"default", "drain"} {
			_, stream, _ := bytes.Cut(aSound(t, n), []byte("\n"))
			want[n] = stream
		}
		answers := make(chan error, 12)
		for i := range cap(answers) {
			name := []string{"default", "drain"}[i%2]
			go func() {
				a, err := http.Get(server.URL + "/about/sound/" + name + ".flac")
				if err == nil {
					var b []byte
					b, err = io.ReadAll(a.Body)
					a.Body.Close()
					if err == nil && (a.StatusCode != 200 || a.Header.Get("Content-Type") != "audio/flac" || !bytes.Equal(b, want[name])) {
						err = fmt.Errorf("%s: %d, %v, %d bytes", name, a.StatusCode, a.Header, len(b))
					}
				}
				answers <- err
			}()
		}
		for range cap(answers) {
			if err := <-answers; err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if n := made.Load(); n != 2 {
			t.Errorf("%s: two sounds were rendered %d times", what, n)
		}
		a, b := get(t, server.URL+"/about/sound/drain.flac", "Range", "bytes=100-199")
		if a.StatusCode != http.StatusPartialContent || !bytes.Equal(b, want["drain"][100:200]) || a.Header.Get("Content-Range") != fmt.Sprintf("bytes 100-199/%d", len(want["drain"])) {
			t.Errorf("%s: a range: %d, %v", what, a.StatusCode, a.Header)
		}
		if again, _ := get(t, server.URL+"/about/sound/drain.flac", "If-None-Match", a.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
			t.Errorf("%s: sent again: %d", what, again.StatusCode)
		}
		if a, _ := get(t, server.URL+"/about/sound/drain.flac", "Range", "bytes=99999999-"); a.StatusCode != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("%s: a range beyond the end: %d", what, a.StatusCode)
		}
		_, b = get(t, server.URL+"/about/listen.html")
		if bytes.Contains(b, []byte(`data-progress="sound/drain`)) || bytes.Count(b, []byte(`class="wave"`)) != 4 {
			t.Errorf("%s: the page does not know of the sounds", what)
		}
		if _, b := get(t, server.URL+"/about/sound/drain.progress"); string(b) != "{\"state\":\"ready\"}\n" {
			t.Errorf("%s: progress is %s", what, b)
		}
		if a, err := http.Post(server.URL+"/about/sound/drain.flac", "text/plain", nil); err != nil || a.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: POST: %v, %v", what, a, err)
		}
		// The next start of the instrument finds what this one kept.
		if !strings.HasSuffix(dir, "01234567") {
			continue
		}
		_, next := room(t, dir, func(context.Context, string, func(float64)) ([]byte, error) {
			return nil, errors.New("it was kept")
		})
		if _, b := get(t, next.URL+"/about/listen.html"); bytes.Contains(b, []byte(`data-progress="sound/drain`)) {
			t.Error("what was kept is not known")
		}
		// One that was cut off is rendered anew.
		if err := os.Truncate(filepath.Join(dir, "drain.sound"), 30_000); err != nil {
			t.Fatal(err)
		}
		_, after := room(t, dir, func(_ context.Context, name string, _ func(float64)) ([]byte, error) { return aSound(t, name), nil })
		if a, b := get(t, after.URL+"/about/sound/drain.flac"); a.StatusCode != 200 || !bytes.Equal(b, want["drain"]) {
			t.Errorf("after a cut: %d, %d bytes", a.StatusCode, len(b))
		}
	}
}

// The page sees how far it is, and one that goes calls its rendering off: the
// next in the row begins.
func TestSoundProgress(t *testing.T) {
	began, ended := make(chan string, 8), make(chan string, 8)
	step := make(chan float64)
	r, server := room(t, "", func(ctx context.Context, name string, tell func(float64)) ([]byte, error) {
		began <- name
		defer func() { ended <- name }()
		for {
			select {
			case done := <-step:
				if done == 1 {
					return aSound(t, name), nil
				}
				if done < 0 {
					return nil, errors.New("no memory")
				}
				tell(done)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	})
	get(t, server.URL+"/about/") // the pages are made
	watch := func(name string) (next func() soundState, leave func()) {
		t.Helper()
		ctx, leave := context.WithCancel(context.Background())
		t.Cleanup(leave)
		r, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/about/sound/"+name+".progress", nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Body.Close() })
		lines := bufio.NewScanner(a.Body)
		return func() (s soundState) {
			t.Helper()
			if !lines.Scan() {
				t.Fatalf("%s: the progress ends: %v", name, lines.Err())
			}
			if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
				t.Fatal(err)
			}
			return s
		}, leave
	}
	until := func(next func() soundState, want soundState) {
		t.Helper()
		for {
			s := next()
			if s == want {
				return
			}
			if s.State == "ready" || s.State == "failed" {
				t.Fatalf("it is %+v, want %+v", s, want)
			}
		}
	}
	is := func(c chan string, want string) {
		t.Helper()
		select {
		case got := <-c:
			if got != want {
				t.Fatalf("%s, want %s", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("nothing happened to %s", want)
		}
	}
	first, leaveFirst := watch("default")
	is(began, "default")
	until(first, soundState{State: "rendering"})
	step <- 0.25
	until(first, soundState{State: "rendering", Done: 0.25})
	second, leaveSecond := watch("drain")
	until(second, soundState{State: "waiting"})
	also, leaveAlso := watch("default")
	until(also, soundState{State: "rendering", Done: 0.25})
	leaveFirst()
	step <- 0.5 // somebody is still there
	until(also, soundState{State: "rendering", Done: 0.5})
	leaveAlso()
	is(ended, "default")
	is(began, "drain")
	until(second, soundState{State: "rendering"})
	// One that is in the row and leaves is never rendered.
	third, leaveThird := watch("etcd")
	until(third, soundState{State: "waiting"})
	leaveThird()
	for waits, end := true, time.Now().Add(20*time.Second); waits; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		_, waits = r.jobs["etcd"]
		r.mu.Unlock()
		if time.Now().After(end) {
			t.Fatal("one that has left is waited for")
		}
	}
	step <- 1
	until(second, soundState{State: "ready"})
	is(ended, "drain")
	leaveSecond()
	select {
	case n := <-began:
		t.Errorf("%s is rendered, and nobody waits for it", n)
	case <-time.After(100 * time.Millisecond):
	}
	// What fails says why, and may be asked for again.
	failing, _ := watch("midi")
	is(began, "midi")
	step <- -1
	until(failing, soundState{State: "failed", Why: "no memory"})
	is(ended, "midi")
	go func() { <-began; step <- -1 }()
	if a, b := get(t, server.URL+"/about/sound/midi.flac"); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(b), "no memory") || a.Header.Get("Retry-After") == "" {
		t.Errorf("%d: %s", a.StatusCode, b)
	}
}

// Sounds of other builds go when they are old, and nothing else goes.
func TestSoundCacheForgets(t *testing.T) {
	base := t.TempDir()
	r, server := room(t, filepath.Join(base, strings.Repeat("a", 24)), func(_ context.Context, name string, _ func(float64)) ([]byte, error) { return aSound(t, name), nil })
	old, young, foreign := filepath.Join(base, strings.Repeat("b", 24)), filepath.Join(base, strings.Repeat("c", 24)), filepath.Join(base, "holiday")
	for _, d := range []string{old, young, foreign} {
		if err := errors.Join(os.MkdirAll(d, 0o755), os.WriteFile(filepath.Join(d, "default.sound"), nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * soundsLive)
	for _, d := range []string{old, foreign} {
		if err := os.Chtimes(filepath.Join(d, "default.sound"), long, long); err != nil {
			t.Fatal(err)
		}
	}
	if a, _ := get(t, server.URL+"/about/sound/default.flac"); a.StatusCode != 200 {
		t.Fatal(a.StatusCode)
	}
	for path, want := range map[string]bool{old: false, filepath.Join(young, "default.sound"): true, filepath.Join(foreign, "default.sound"): true, r.file("default"): true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// The process that renders takes what is to spare only, prints what the room
// reads, and ends with its input.
func TestSoundApart(t *testing.T) {
	c := newCommandLine(t)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	// A second of it: of a machine that tests there is little to spare.
	cmd := c.command(ctx, "site", "sound", "etcd", "--seconds", "1", "--"+spareFlag)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	said := &progressLines{}
	var steps []float64
	var policies []int
	said.tell = func(done float64) {
		steps = append(steps, done)
		policies = append(policies, policiesOf(cmd.Process.Pid)...)
	}
	cmd.Stdout, cmd.Stderr = &out, said
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, said.last)
	}
	in.Close()
	head, at, err := readSound(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if n := flacFrames(out.Bytes()[at:]); n != siteRate || head.Size != out.Len()-int(at) {
		t.Errorf("%d frames, %d bytes", n, head.Size)
	}
	if len(steps) < 50 || steps[len(steps)-1] != 1 {
		t.Errorf("it tells %d steps, the last %v", len(steps), steps[max(0, len(steps)-1):])
	}
	for i := range steps[1:] {
		if steps[i+1] < steps[i] {
			t.Errorf("it goes back from %g to %g", steps[i], steps[i+1])
		}
	}
	for _, p := range policies {
		if p != schedIdle {
			t.Fatalf("a thread that renders has policy %d, want %d", p, schedIdle)
		}
	}
	// It ends when whoever asked is gone, without a word more.
	orphan := c.command(ctx, "site", "sound", "cluster")
	began := time.Now()
	if text, err := orphan.Output(); err == nil || len(text) > 0 {
		t.Errorf("without an input it prints %d bytes, %v", len(text), err)
	}
	t.Logf("gone after %v", time.Since(began))
	if r := c.run("site", "sound", "nothing"); r.code != exitUsage || !strings.Contains(r.errors, `"nothing"`) {
		t.Errorf("%+v", r)
	}
}

// A rendering that is called off ends at once, and its process with it.
func TestSoundCalledOff(t *testing.T) {
	t.Setenv("K8S_SYNTH_AS_PROGRAM", "1")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var once sync.Once
	var called time.Time
	text, err := renderApart(ctx, "cluster", func(float64) { once.Do(func() { called = time.Now(); stop() }) })
	if !errors.Is(err, context.Canceled) || text != nil {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	if took := time.Since(called); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := renderApart(context.Background(), "nothing", func(float64) {}); err == nil || !strings.Contains(err.Error(), `no piece "nothing"`) {
		t.Errorf("what went wrong is not told: %v", err)
	}
}

// schedIdle is SCHED_IDLE of Linux.
const schedIdle = 5

// policiesOf are the scheduling policies of a process's threads.
func policiesOf(pid int) (list []int) {
	tasks, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	for _, f := range tasks {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		// Fields behind the name, which is in brackets and may have blanks.
		_, rest, _ := strings.Cut(string(text), ") ")
		if f := strings.Fields(rest); len(f) > 38 {
			p, err := strconv.Atoi(f[38])
			if err == nil {
				list = append(list, p)
			}
		}
	}
	return list
}

// A decoder that is not ours hears in an example what was rendered: as long as
// is told, neither too quiet nor cut off, and silent at its end.
func TestSoundLevels(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("no ffmpeg, which would decode it")
	}
	cfg, err := siteConfig()
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		cfg.Pieces = cfg.Pieces[:1]
	}
	files, err := renderExamples(context.Background(), cfg.Pieces, siteSeconds, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range cfg.Pieces {
		c := exec.Command(ffmpeg, "-v", "error", "-i", "-", "-f", "s16le", "-")
		c.Stdin = bytes.NewReader(files[p.Sound])
		text, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		frames := len(text) / 4
		level := func(from, to int) (peak float64, power float64) {
			for i := from * 4; i < to*4; i += 2 {
				v := float64(int16(uint16(text[i])|uint16(text[i+1])<<8)) / 32768
				peak, power = max(peak, v, -v), power+v*v
			}
			return peak, power / float64(2*(to-from))
		}
		peak, power := level(0, frames)
		end, _ := level(frames-siteRate/100, frames)
		if float64(frames)/siteRate != p.Seconds || peak < 0.2 || peak > 0.95 || power < 0.0009 || power > 0.06 || end > 0.01 {
			t.Errorf("%s: %g s of %g, peak %.3f, power %.4f, at its end %.4f", p.Name, float64(frames)/siteRate, p.Seconds, peak, power, end)
		}
	}
}
