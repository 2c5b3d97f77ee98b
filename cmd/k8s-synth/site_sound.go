package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/document"
	"github.com/k8s-synth/k8s-synth/mapping/web/site"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// soundPath is where the example of a piece is, from the root of the pages.
func soundPath(piece string) string { return "sound/" + piece + ".flac" }

// exampleSeconds is how long the example of a script is, if it may have limit:
// a script that is shorter gets 4 s for its end.
func exampleSeconds(script *scenes.Script, limit float64) float64 {
	return min(limit, math.Ceil(script.Length().Seconds()+4))
}

// example is a sound and the ends of its wave by column, −1…1.
type example struct {
	flac      []byte
	low, high []float32
}

// renderExample renders the beginning of a piece, and tells how far it is, 0…1.
func renderExample(ctx context.Context, p *site.Piece, seconds float64, tell func(done float64)) (*example, error) {
	store := &scenes.Store{}
	scene, err := store.Open(p.Name)
	if err != nil {
		return nil, err
	}
	var script *scenes.Script
	if p.Script != "" {
		if script, err = store.OpenScript(p.Script); err != nil {
			return nil, err
		}
		seconds = exampleSeconds(script, seconds)
	} else if script, err = scriptFor("", scene); err != nil {
		return nil, err
	}
	r, err := newOffline(scene, script, siteRate)
	if err != nil {
		return nil, err
	}
	total := int64(math.Round(seconds * siteRate))
	left, right := make([]float32, 0, total), make([]float32, 0, total)
	for step := total / 100; r.frame < total; {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("site: interrupted at %s; nothing was written", p.Name)
		}
		before := r.frame
		b := r.block(total)
		left, right = append(left, b[0]...), append(right, b[1]...)
		if before/step != r.frame/step {
			tell(float64(r.frame) / float64(total))
		}
	}
	// A piece that goes on is faded out.
	fade := int(min(2.5*siteRate, float64(total)/4))
	if script.Length().Seconds() < seconds {
		fade = siteRate / 20
	}
	for i := range fade {
		g := float32(0.5 - 0.5*math.Cos(math.Pi*float64(i)/float64(fade)))
		left[len(left)-1-i] *= g
		right[len(right)-1-i] *= g
	}
	e := &example{low: make([]float32, siteColumns), high: make([]float32, siteColumns)}
	for i := range left {
		c, v := i*siteColumns/len(left), (left[i]+right[i])/(2*instrument.AudioVolts)
		e.low[c], e.high[c] = min(e.low[c], v), max(e.high[c], v)
	}
	var b bytes.Buffer
	if err := writeFLAC(&b, siteRate, left, right, 1.0/instrument.AudioVolts); err != nil {
		return nil, err
	}
	e.flac = b.Bytes()
	return e, nil
}

// renderExamples renders the example of each piece and draws its wave into its
// score. The files are by their paths from the root of the pages.
func renderExamples(ctx context.Context, pieces []site.Piece, seconds float64, tell io.Writer) (map[string][]byte, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	live := false
	if f, ok := tell.(*os.File); ok {
		live = term.IsTerminal(int(f.Fd()))
	}
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		first error
		ended int
		files = map[string][]byte{}
		next  = make(chan *site.Piece, len(pieces))
	)
	for i := range pieces {
		next <- &pieces[i]
	}
	close(next)
	for range min(runtime.NumCPU(), 4, len(pieces)) {
		wg.Go(func() {
			for p := range next {
				e, err := renderExample(ctx, p, seconds, func(float64) {})
				mu.Lock()
				if err != nil {
					if first == nil {
						first = err
					}
					stop()
					mu.Unlock()
					return
				}
				ended++
				files[soundPath(p.Name)] = e.flac
				p.Sound, p.Seconds = soundPath(p.Name), float64(flacFrames(e.flac))/siteRate
				if p.Score != nil {
					if script, err := (&scenes.Store{}).OpenScript(p.Script); err == nil {
						p.Score = scoreOf(script, p.Seconds)
					}
					p.Score.Low, p.Score.High = e.low, e.high
				}
				if live {
					fmt.Fprintf(tell, "\r\033[K%d of %d sounds: %s", ended, len(pieces), p.Name)
				} else {
					fmt.Fprintf(tell, "%d of %d sounds: %s, %g s, %.1f MB\n", ended, len(pieces), p.Name, p.Seconds, float64(len(e.flac))/1e6)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if live {
		fmt.Fprint(tell, "\r\033[K")
	}
	return files, first
}

// soundHead is the line before the FLAC stream in what the process prints that
// renders an example, and in the file that keeps it.
type soundHead struct {
	Low  []float32 `json:"low"`
	High []float32 `json:"high"`
	Size int       `json:"size"` // bytes of the stream behind the line
}

// soundLimit bounds what is taken from that process: half a minute without any
// compression is 6 MB.
const soundLimit = 16 << 20

func (e *example) encode() []byte {
	head, err := json.Marshal(soundHead{e.low, e.high, len(e.flac)})
	if err != nil {
		panic(err) // numbers only
	}
	return append(append(head, '\n'), e.flac...)
}

// readSound reads the head of what encode wrote, and where the stream begins.
func readSound(r io.Reader, size int64) (head soundHead, at int64, err error) {
	b := bufio.NewReader(r)
	line, err := b.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &head)
	}
	if err == nil && (len(head.Low) != siteColumns || len(head.High) != siteColumns || int64(len(line)+head.Size) != size || head.Size < 42) {
		err = errors.New("it is cut off")
	}
	return head, int64(len(line)), err
}

const spareFlag = "spare"

// siteSoundCommand is what the instrument starts to render an example: it
// prints the sound on stdout and how far it is on stderr, and ends with its
// input.
func siteSoundCommand() *cobra.Command {
	seconds, spare := siteSeconds, false
	c := &cobra.Command{
		Use: "sound PIECE", Short: "Print the example of a piece, as the pages under /about take it", Args: cobra.ExactArgs(1), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if spare {
				if err := spareTime(); err != nil {
					return fmt.Errorf("site sound: %w", err)
				}
			}
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin)
				stop()
			}()
			cfg, err := siteConfig()
			if err != nil {
				return err
			}
			for i := range cfg.Pieces {
				if p := &cfg.Pieces[i]; p.Name == args[0] {
					e, err := renderExample(ctx, p, seconds, func(done float64) { fmt.Fprintf(os.Stderr, "%.2f\n", done) })
					if err != nil {
						return err
					}
					_, err = os.Stdout.Write(e.encode())
					return err
				}
			}
			return usageError{fmt.Errorf("there is no piece %q", args[0])}
		},
	}
	c.Flags().Float64Var(&seconds, "seconds", siteSeconds, "length at most")
	c.Flags().BoolVar(&spare, spareFlag, false, "take only what the machine has to spare")
	return c
}

// soundRoom serves the pages of an instrument that plays, and renders their
// sounds when somebody asks for one. A process apart renders, one at a time and
// only with what the machine has to spare; its memory, its garbage and its
// faults are not the instrument's. What was rendered is kept in the user's
// cache, by the program that rendered it, and in memory where there is none.
// When nobody waits any more, a rendering is called off.
//
// Beside NAME.flac, which answers to ranges as a player needs them, is
// NAME.progress: a line of JSON for each step, {"state":"waiting"},
// {"state":"rendering","done":0.42}, and at last {"state":"ready"} or
// {"state":"failed","why":"…"}. Whoever reads it waits for the sound.
type soundRoom struct {
	log   *slog.Logger
	pages *site.Site
	names map[string]bool
	dir   string // of the cache; empty is none
	// render makes a sound, as encode writes it. Tests replace it.
	render func(ctx context.Context, name string, tell func(float64)) ([]byte, error)
	turn   chan struct{} // is full while one is rendered

	mu   sync.Mutex
	jobs map[string]*soundJob
	kept map[string][]byte // what the cache does not take
	told map[string]bool   // of which the pages know
}

// soundJob is a rendering, which waits or is under way.
type soundJob struct {
	waiting int // requests
	stop    context.CancelFunc
	ended   chan struct{}
	err     error // after ended

	mu    sync.Mutex
	state soundState
	news  chan struct{} // is closed when the state has changed
}

type soundState struct {
	State string  `json:"state"`
	Done  float64 `json:"done,omitempty"`
	Why   string  `json:"why,omitempty"`
}

func newSoundRoom(log *slog.Logger) *soundRoom {
	return &soundRoom{log: log, dir: soundCache(), render: renderSpare, turn: make(chan struct{}, 1),
		names: map[string]bool{}, jobs: map[string]*soundJob{}, kept: map[string][]byte{}, told: map[string]bool{}}
}

// soundCache is the folder for sounds of this program, which may not be there
// yet. Another build of it sounds different.
func soundCache() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	info, err := os.Stat(self)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %g", version, info.Size(), info.ModTime().UnixNano(), siteSeconds))
	return filepath.Join(cache, "k8s-synth", soundFolder, hex.EncodeToString(sum[:12]))
}

const soundFolder = "examples"

// open begins to serve pages.
func (s *soundRoom) open(pages *site.Site, pieces []site.Piece) {
	s.pages = pages
	for _, p := range pieces {
		s.names[p.Name] = true
		if f, _, _, err := s.sound(p.Name); err == nil {
			f.Close()
		}
	}
}

// ServeHTTP serves pages and sounds, by their paths from the root of the pages.
func (s *soundRoom) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/sound/")
	name, kind, _ := strings.Cut(rest, ".")
	if !ok || !s.names[name] || kind != "flac" && kind != "progress" {
		s.pages.ServeHTTP(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "sounds are read only", http.StatusMethodNotAllowed)
		return
	}
	if kind == "progress" {
		s.progress(w, r, name)
		return
	}
	f, sound, tag, err := s.sound(name)
	if err != nil {
		job := s.join(name)
		select {
		case <-job.ended:
		case <-r.Context().Done():
		}
		s.leave(name, job)
		if r.Context().Err() != nil {
			return
		}
		if job.err == nil {
			f, sound, tag, err = s.sound(name)
		} else {
			err = job.err
		}
	}
	if err != nil {
		w.Header().Set("Retry-After", "10")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", "audio/flac")
	h.Set("ETag", tag)
	h.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, sound)
}

// progress tells how far a sound is, and waits for it.
func (s *soundRoom) progress(w http.ResponseWriter, r *http.Request, name string) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodHead {
		return
	}
	out, flush := json.NewEncoder(w), http.NewResponseController(w)
	if f, _, _, err := s.sound(name); err == nil {
		f.Close()
		_ = out.Encode(soundState{State: "ready"})
		return
	}
	job := s.join(name)
	defer s.leave(name, job)
	for {
		job.mu.Lock()
		state, news := job.state, job.news
		job.mu.Unlock()
		if out.Encode(state) != nil || flush.Flush() != nil || state.State == "ready" || state.State == "failed" {
			return
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

// sound opens a sound that was rendered, and sees to it that the pages know.
func (s *soundRoom) sound(name string) (io.Closer, io.ReadSeeker, string, error) {
	s.mu.Lock()
	kept := s.kept[name]
	s.mu.Unlock()
	var (
		from io.ReaderAt
		f    io.Closer = io.NopCloser(nil)
		size int64
	)
	switch {
	case kept != nil:
		from, size = bytes.NewReader(kept), int64(len(kept))
	case s.dir == "":
		return nil, nil, "", errors.New("it was not rendered")
	default:
		file, err := os.Open(s.file(name))
		if err != nil {
			return nil, nil, "", err
		}
		info, err := file.Stat()
		if err != nil {
			file.Close()
			return nil, nil, "", err
		}
		from, f, size = file, file, info.Size()
	}
	head, at, err := readSound(io.NewSectionReader(from, 0, size), size)
	if err != nil {
		f.Close()
		return nil, nil, "", err // it is rendered anew
	}
	s.mu.Lock()
	if !s.told[name] {
		s.told[name] = true
		s.pages.Made(name, head.Low, head.High)
	}
	s.mu.Unlock()
	tag := fmt.Sprintf(`"%s-%d"`, filepath.Base(s.dir), head.Size)
	return f, io.NewSectionReader(from, at, int64(head.Size)), tag, nil
}

func (s *soundRoom) file(name string) string { return filepath.Join(s.dir, name+".sound") }

// join waits for a sound with others, and begins to render it if nobody did.
func (s *soundRoom) join(name string) *soundJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	if job := s.jobs[name]; job != nil {
		job.waiting++
		return job
	}
	ctx, stop := context.WithCancel(context.Background())
	job := &soundJob{waiting: 1, stop: stop, ended: make(chan struct{}), news: make(chan struct{}), state: soundState{State: "waiting"}}
	s.jobs[name] = job
	go s.run(ctx, name, job)
	return job
}

// leave waits no more. A sound for which nobody waits is called off.
func (s *soundRoom) leave(name string, job *soundJob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if job.waiting--; job.waiting > 0 {
		return
	}
	job.stop()
	if s.jobs[name] == job {
		delete(s.jobs, name)
	}
}

func (s *soundRoom) run(ctx context.Context, name string, job *soundJob) {
	defer job.stop()
	select {
	case s.turn <- struct{}{}:
		job.err = s.make(ctx, name, job)
		<-s.turn
	case <-ctx.Done():
		job.err = ctx.Err()
	}
	s.mu.Lock()
	if s.jobs[name] == job {
		delete(s.jobs, name)
	}
	s.mu.Unlock()
	last := soundState{State: "ready"}
	if job.err != nil {
		last = soundState{State: "failed", Why: job.err.Error()}
		if ctx.Err() == nil {
			s.log.Warn("web: a sound for the pages under /about", "piece", name, "err", job.err)
		}
	}
	job.tell(last)
	close(job.ended)
}

func (j *soundJob) tell(state soundState) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.state = state
	close(j.news)
	j.news = make(chan struct{})
}

// make renders a sound and keeps it.
func (s *soundRoom) make(ctx context.Context, name string, job *soundJob) error {
	if f, _, _, err := s.sound(name); err == nil {
		return f.Close() // another instrument was faster
	}
	began := time.Now()
	job.tell(soundState{State: "rendering"})
	text, err := s.render(ctx, name, func(done float64) { job.tell(soundState{State: "rendering", Done: done}) })
	if err != nil {
		return err
	}
	if _, _, err := readSound(bytes.NewReader(text), int64(len(text))); err != nil {
		return fmt.Errorf("what was rendered cannot be read: %w", err)
	}
	if err := s.keep(name, text); err != nil {
		s.log.Debug("web: a sound is kept in memory", "piece", name, "err", err)
		s.mu.Lock()
		s.kept[name] = text
		s.mu.Unlock()
	}
	f, _, _, err := s.sound(name)
	if err != nil {
		return err
	}
	s.log.Debug("web: a sound was rendered", "piece", name, "bytes", len(text), "took", time.Since(began))
	return f.Close()
}

// keep puts a sound into the cache.
func (s *soundRoom) keep(name string, text []byte) error {
	if s.dir == "" {
		return errors.New("there is no folder for caches")
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	s.forget()
	return writeWhole(s.file(name), document.Bytes(text))
}

// soundsLive is how long sounds of another build are kept.
const soundsLive = 14 * 24 * time.Hour

// forget removes what other builds rendered long ago: their files only, and a
// folder that is empty then.
func (s *soundRoom) forget() {
	others, _ := filepath.Glob(filepath.Join(filepath.Dir(s.dir), strings.Repeat("[0-9a-f]", len(filepath.Base(s.dir))), "*.sound"))
	for _, f := range others {
		if info, err := os.Stat(f); err == nil && filepath.Dir(f) != s.dir && time.Since(info.ModTime()) > soundsLive {
			_ = os.Remove(f)
			_ = os.Remove(filepath.Dir(f))
		}
	}
}

// renderSpare renders a sound in a process of its own, with what the machine
// has to spare. Where it has nothing the sound waits, and not the music.
func renderSpare(ctx context.Context, name string, tell func(float64)) ([]byte, error) {
	return renderApart(ctx, name, tell, "--"+spareFlag)
}

func renderApart(ctx context.Context, name string, tell func(float64), flags ...string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if runtime.GOOS == "linux" {
		self = "/proc/self/exe" // also when an upgrade has replaced the file
	}
	cmd := exec.Command(self, append([]string{"site", "sound", name}, flags...)...)
	// One processor is enough, and its garbage collector then has no other.
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	// An interrupt at the terminal is for the instrument.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	in, err := cmd.StdinPipe() // it ends with us, however we end
	if err != nil {
		return nil, err
	}
	out := &limited{most: soundLimit}
	said := &progressLines{tell: func(done float64) {
		if ctx.Err() == nil {
			tell(done)
		}
	}}
	cmd.Stdout, cmd.Stderr = out, said
	if err := startAlone(cmd.Start); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		in.Close()
	}()
	select {
	case err := <-ended:
		if err != nil {
			return nil, fmt.Errorf("rendering %s: %w: %s", name, err, strings.TrimSpace(said.last))
		}
		return out.Bytes(), nil
	case <-ctx.Done():
		// It does nothing more, but on a busy machine even its end may take its
		// time; nobody waits for that.
		_ = cmd.Process.Kill()
		return nil, ctx.Err()
	}
}

// limited keeps what is written, up to a limit.
type limited struct {
	bytes.Buffer
	most int
}

func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > l.most {
		return 0, fmt.Errorf("more than %d bytes", l.most)
	}
	return l.Buffer.Write(b)
}

// progressLines takes numbers, one a line, and keeps the last lines that are
// none.
type progressLines struct {
	tell func(float64)
	rest string
	last string
}

func (p *progressLines) Write(b []byte) (int, error) {
	p.rest += string(b)
	for {
		line, rest, ok := strings.Cut(p.rest, "\n")
		if !ok {
			p.rest = line[max(0, len(line)-4096):]
			return len(b), nil
		}
		p.rest = rest
		if done, err := strconv.ParseFloat(line, 64); err == nil {
			p.tell(done)
		} else {
			p.last = strings.TrimSpace(p.last[max(0, len(p.last)-4096):] + "\n" + line)
		}
	}
}
