//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
	"github.com/k8s-synth/k8s-synth/mapping/web/browser"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// The marks that the page is to hold on two processors, which it shares with
// the instrument and the cluster.
const (
	pageModules = 60
	pageCables  = 150
	pageRate    = 30.0                  // frames a second, in the worst second
	pagePixels  = 50 * time.Millisecond // from the instrument to the screen, in 99 of 100 cases
	pageBytes   = 300_000               // over the wire, all that is loaded
)

// pageScene is a rack of 60 modules and 150 cables in which everything moves:
// the pods of a Deployment, rhythms, envelopes, slow oscillators and scopes.
func pageScene(t *testing.T) *scenes.Scene {
	t.Helper()
	s := &scenes.Scene{Name: "page-proof", Title: "All of it moves", Seed: 1, Namespace: scenes.DefaultNamespace, Latency: 0.03, Storm: 8, Patch: &instrument.Patch{}, Transport: scenes.Transport{Phrase: scenes.DefaultPhrase, Launch: mapping.Now}}
	add := func(kind string, params map[string]float64, names ...string) {
		for i, n := range names {
			m := instrument.Module{ID: instrument.ModuleID(kind + "/" + n), Params: map[string]float64{}, Text: map[string]string{}}
			for k, v := range params {
				m.Params[k] = v * (1 + 0.17*float64(i))
			}
			s.Patch.Modules = append(s.Patch.Modules, m)
		}
	}
	add("deployment", nil, "web")
	add("pod", nil, "web-1", "web-2", "web-3", "web-4", "web-5", "web-6")
	add("service", nil, "web")
	add("apiserver", nil, "api")
	add("etcd", nil, "store")
	add("clock", nil, "main")
	add("euclid", nil, "a", "b", "c")
	add("lfo", map[string]float64{"rate": 0.4}, "a", "b", "c", "d", "e", "f", "g")
	add("adsr", nil, "a", "b", "c", "d", "e")
	add("vco", nil, "a", "b", "c", "d", "e")
	add("vcf", nil, "a", "b", "c", "d")
	add("vca", nil, "a", "b", "c", "d")
	add("quantizer", nil, "a", "b")
	add("sample_hold", nil, "a", "b")
	add("slew", nil, "a", "b")
	add("attenuverter", nil, "lit", "b")
	add("noise", nil, "air")
	add("scope", nil, "a", "b", "c")
	for _, k := range []string{"delay", "chorus", "compressor", "drum", "voice", "reverb", "audio_out"} {
		add(k, nil, "main")
	}
	add("mixer", nil, "main", "events")
	s.Places = s.Arrange(rowHP)

	taken := map[string]bool{}
	plug := func(from, to string) {
		c, err := mapping.ParseCable(from + "->" + to)
		if err != nil {
			t.Fatal(err)
		}
		s.Patch.Cables, taken[to] = append(s.Patch.Cables, c), true
	}
	for i := 1; i <= 6; i++ {
		plug(fmt.Sprintf("deployment/web/claim_%d", i), fmt.Sprintf("pod/web-%d/lifecycle", i))
		plug(fmt.Sprintf("pod/web-%d/ready", i), fmt.Sprintf("deployment/web/ready_%d", i))
	}
	plug("deployment/web/pods", "service/web/selector")
	plug("euclid/a/out", "service/web/request")
	for i := 1; i <= 4; i++ {
		plug(fmt.Sprintf("service/web/endpoint_%d", i), fmt.Sprintf("pod/web-%d/request", i))
	}
	for _, c := range [][2]string{{"running", "gate"}, {"ready", "open"}, {"pending", "breath"}, {"event", "strike"}, {"kind", "kind"}, {"error", "tension"}, {"load", "load"}, {"node", "pan"}} {
		plug("deployment/web/"+c[0], "voice/main/"+c[1])
	}
	for _, side := range []string{"left", "right"} {
		plug("voice/main/"+side, "mixer/main/"+side+"_1")
		plug("drum/main/"+side, "mixer/main/"+side+"_2")
		plug("mixer/events/"+side, "mixer/main/"+side+"_3")
		plug("mixer/main/send_"+side, "reverb/main/in_"+side)
		plug("reverb/main/"+side, "mixer/main/return_"+side)
		plug("mixer/main/"+side, "compressor/main/in_"+side)
		plug("compressor/main/"+side, "audio_out/main/"+side)
	}
	for i, to := range []string{"kick", "snare", "hat"} {
		plug("euclid/"+string(rune('a'+i))+"/out", "drum/main/"+to)
	}
	for i, n := range []string{"a", "b", "c", "d"} {
		plug("vco/"+n+"/saw", "vcf/"+n+"/in")
		plug("vcf/"+n+"/low", "vca/"+n+"/in")
		plug("adsr/"+n+"/envelope", "vca/"+n+"/cv")
		plug("vca/"+n+"/out", fmt.Sprintf("mixer/events/left_%d", i+1))
	}
	for i, n := range []string{"a", "b", "c"} {
		plug("vco/"+n+"/triangle", "scope/"+n+"/a")
		plug("vca/"+n+"/out", "scope/"+n+"/b")
		plug([]string{"clock/main/eighth", "clock/main/sixteenth", "clock/main/triplet"}[i], "euclid/"+n+"/clock")
	}
	plug("attenuverter/lit/out_1", "vcf/d/cutoff_cv") // what is plugged nowhere is not rendered, and its lamp dark
	// The rest goes where there is room, a jack of each module in turn. What says
	// something to the cluster, stops a rhythm or empties the room stays free, and
	// so does the module whose lamp is measured.
	sources := map[instrument.SignalKind][]string{}
	for _, n := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		for _, w := range []string{"sine", "triangle", "saw", "random", "smooth"} {
			sources[instrument.CV] = append(sources[instrument.CV], "lfo/"+n+"/"+w)
		}
		sources[instrument.Gate] = append(sources[instrument.Gate], "lfo/"+n+"/square")
	}
	sources[instrument.Trigger] = []string{"clock/main/beat", "euclid/a/out", "clock/main/eighth", "euclid/b/out", "euclid/c/accent", "clock/main/bar"}
	sources[instrument.Pitch] = []string{"quantizer/a/out", "quantizer/b/out", "lfo/a/smooth"}
	sources[instrument.Audio] = []string{"vco/e/sine", "vco/d/triangle", "noise/air/pink"}
	next := map[instrument.SignalKind]int{}
	for round := 0; len(s.Patch.Cables) < pageCables; round++ {
		if round == 30 {
			t.Fatalf("there is room for %d cables", len(s.Patch.Cables))
		}
		for i := range s.Patch.Modules {
			m := &s.Patch.Modules[i]
			if m.Spec().Cluster() || slices.Contains([]string{"clock", "mixer", "compressor"}, m.ID.Kind()) || m.ID == "attenuverter/lit" || len(s.Patch.Cables) == pageCables {
				continue
			}
			for _, j := range m.Spec().Inputs {
				to, from := string(m.ID)+"/"+j.Name, sources[j.Kind]
				if taken[to] || len(from) == 0 || j.Name == "open" || j.Name == "reset" || j.Name == "sync" || strings.HasPrefix(j.Name, "level") {
					continue
				}
				k := next[j.Kind] % len(from)
				next[j.Kind]++
				if strings.HasPrefix(from[k], string(m.ID)+"/") {
					k = (k + 7) % len(from)
				}
				plug(from[k], to)
				break
			}
		}
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	if m, c := len(s.Patch.Modules), len(s.Patch.Cables); m != pageModules || c != pageCables {
		t.Fatalf("a rack of %d modules and %d cables", m, c)
	}
	return s
}

// pageProof is an instrument that plays pageScene, and those who look at it.
type pageProof struct {
	*audience
	s     *session
	scene *scenes.Scene
	url   string
	hand  net.Conn // OSC
}

func newPageProof(t *testing.T) *pageProof {
	t.Helper()
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("measures for minutes; K8S_SYNTH_PROOF=1 runs it")
	}
	needPrograms(t)
	p := &pageProof{audience: newAudience(t), scene: pageScene(t)}
	text, err := scenes.Encode(p.scene)
	p.ok(err)
	file := filepath.Join(t.TempDir(), "page-proof.yaml")
	p.ok(os.WriteFile(file, text, 0o600))
	p.s = startPlay(t, nil, "--backend", "null", "--web", "127.0.0.1:0", "--metrics", "off", "--midi", "off", "--map", "off", "--scene", file, "--for", "20m")
	p.url = p.s.last().Web
	p.hand, err = net.Dial("udp", p.s.osc)
	p.ok(err)
	t.Cleanup(func() { p.hand.Close() })
	p.s.wait(90*time.Second, "a cluster", func(s *playStatus) bool {
		return s.Cluster.Synced && s.Cluster.Boot == "ready" && s.Cluster.Ready == s.Cluster.Desired && s.Cluster.Ready > 0
	})
	time.Sleep(5 * time.Second) // what the start has left to do is not what is measured
	return p
}

// send sends a message, and returns when, in µs of the monotonic clock.
func (p *pageProof) send(address string, args ...osc.Arg) float64 {
	b, err := osc.AppendMessage(nil, address, args...)
	p.ok(err)
	at := monotonic()
	_, err = p.hand.Write(b)
	p.ok(err)
	return at
}

// monotonic is CLOCK_MONOTONIC in µs, which is also the clock of Chromium's traces.
func monotonic() float64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return float64(t.Nano()) / 1e3
}

// breathe scales the Deployment up and down until the test ends or the
// function that it returns is called, so that pods come and go all the time.
func (p *pageProof) breathe() (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(3 * time.Second)
		defer tick.Stop()
		for n := int32(6); ; n = 8 - n {
			p.send(replicasAddress, osc.Int32(n))
			select {
			case <-end:
				return
			case <-tick.C:
			}
		}
	}()
	return sync.OnceFunc(func() { close(end); <-done })
}

// machine tells how busy the machine is from now until the function that it
// returns is called, in percent of all its processors, and how much of it a
// host took away.
func machine(t *testing.T) func() (busy, steal float64) {
	before := readKernelTime(t)
	return func() (float64, float64) {
		k := readKernelTime(t)
		all := max(k.total-before.total, 1)
		return 100 * (k.busy - before.busy) / all, 100 * (k.steal - before.steal) / all
	}
}

// pace is how frames came in a window.
type pace struct {
	Frames []float64 // ms from one to the next
	Begins []float64 // ms since the first
	Drawn  float64   // times a second that the page drew its lamps
}

// watchFrames counts the frames that the browser asks the page to draw.
const watchFrames = `new Promise(ok=>{const d=[],b=[],f0=rackTest.wires.frames;let t0,last
const tick=()=>{const now=performance.now();if(last===undefined)t0=now;else{d.push(now-last);b.push(now-t0)}
last=now
if(now-t0<%d)return requestAnimationFrame(tick)
ok({Frames:d,Begins:b,Drawn:1000*(rackTest.wires.frames-f0)/(now-t0)})}
requestAnimationFrame(tick)})`

func (p *pageProof) frames(w *browser.Page, d time.Duration) (f pace) {
	p.t.Helper()
	p.ok(w.EvalFor(d+30*time.Second, fmt.Sprintf(watchFrames, d.Milliseconds()), &f))
	return f
}

// presented counts the frames that came to the screen, of those that the page
// itself wanted.
func (p *pageProof) presented(w *browser.Page, d time.Duration) (f pace) {
	p.t.Helper()
	var pid int
	list, err := w.Trace(frameCategories, func() error {
		err := w.Eval("performance.mark('here')", nil)
		time.Sleep(d)
		return err
	})
	p.ok(err)
	for _, e := range list {
		if e.Name == "here" {
			pid = e.PID
		}
	}
	var at []float64
	for _, r := range screenFrames(list) {
		if r.pid == pid && r.state == "STATE_PRESENTED_ALL" {
			at = append(at, r.end)
		}
	}
	slices.Sort(at)
	for i := 1; i < len(at); i++ {
		f.Frames, f.Begins = append(f.Frames, (at[i]-at[i-1])/1000), append(f.Begins, (at[i]-at[0])/1000)
	}
	f.Drawn = math.NaN()
	return f
}

// share is the value below which so much of a sorted list is.
func share(sorted []float64, of float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[min(int(of*float64(len(sorted))), len(sorted)-1)]
}

// slowest is the fewest frames in any second.
func (f pace) slowest() float64 {
	least := math.Inf(1)
	for i, j := 0, 0; i < len(f.Begins); i++ {
		if f.Begins[i] < 1000 {
			continue
		}
		for f.Begins[j] <= f.Begins[i]-1000 {
			j++
		}
		least = min(least, float64(i-j+1))
	}
	return least
}

// paceHead are the columns of pace.row.
var paceHead = []string{"", "frames/s", "p50", "worst 1 %", "worst second", "over 33.4 ms", "longest", "lamps/s", "ms of CPU a frame: scripts and layout", "painting", "putting together", "all else", "machine busy"}

func (f pace) row(what string, busy float64, cpu browserCPU) []string {
	d := slices.Sorted(slices.Values(f.Frames))
	if len(d) == 0 {
		return []string{what, "none"}
	}
	i, _ := slices.BinarySearch(d, 33.4)
	each := func(seconds float64) string { return fmt.Sprintf("%.1f", 1000*seconds/float64(len(d))) }
	lamps := ""
	if !math.IsNaN(f.Drawn) {
		lamps = fmt.Sprintf("%.1f", f.Drawn)
	}
	return []string{what, fmt.Sprintf("%.1f", f.rate()), fmt.Sprintf("%.1f", 1000/share(d, 0.5)), fmt.Sprintf("%.1f", 1000/share(d, 0.99)), fmt.Sprintf("%.0f", f.slowest()),
		fmt.Sprintf("%.2f %%", 100*float64(len(d)-i)/float64(len(d))), fmt.Sprintf("%.0f ms", d[len(d)-1]), lamps, each(cpu.page), each(cpu.paint), each(cpu.screen), each(cpu.rest), fmt.Sprintf("%.0f %%", busy)}
}

func (f pace) rate() float64 {
	if len(f.Begins) == 0 {
		return 0
	}
	return 1000 * float64(len(f.Frames)) / max(f.Begins[len(f.Begins)-1], 1)
}

// browserCPU is the CPU time that a browser has used, in seconds.
type browserCPU struct{ page, paint, screen, rest float64 }

func (c browserCPU) less(o browserCPU) browserCPU {
	return browserCPU{c.page - o.page, c.paint - o.paint, c.screen - o.screen, c.rest - o.rest}
}

// cpu reads what all processes of the browser have used. What has ended is not
// in it.
func (p *pageProof) cpu() (c browserCPU) {
	ours := map[string]bool{strconv.Itoa(p.PID()): true}
	list, _ := filepath.Glob("/proc/[0-9]*")
	parents := map[string]string{}
	for _, dir := range list {
		text, err := os.ReadFile(dir + "/stat")
		if f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])); err == nil && len(f) > 1 {
			parents[filepath.Base(dir)] = f[1]
		}
	}
	for more := true; more; {
		more = false
		for pid, parent := range parents {
			if ours[parent] && !ours[pid] {
				ours[pid], more = true, true
			}
		}
	}
	for pid := range ours {
		command, _ := os.ReadFile("/proc/" + pid + "/cmdline")
		tasks, _ := filepath.Glob("/proc/" + pid + "/task/*")
		for _, dir := range tasks {
			ran, _, ok := schedstat(dir)
			if !ok {
				continue
			}
			name, _ := os.ReadFile(dir + "/comm")
			switch {
			case bytes.Contains(command, []byte("--type=gpu-process")):
				c.screen += ran
			case !bytes.Contains(command, []byte("--type=renderer")):
				c.rest += ran
			case bytes.HasPrefix(name, []byte("chromium")) || bytes.HasPrefix(name, []byte("CrRendererMain")):
				c.page += ran
			case bytes.HasPrefix(name, []byte("CompositorTile")) || bytes.HasPrefix(name, []byte("ThreadPool")):
				c.paint += ran
			case bytes.HasPrefix(name, []byte("Compositor")):
				c.screen += ran
			default:
				c.rest += ran
			}
		}
	}
	return c
}

// schedstat is how long a thread has run and how long it was ready and waited
// for a processor, in seconds.
func schedstat(task string) (ran, waited float64, ok bool) {
	text, err := os.ReadFile(task + "/schedstat")
	if err != nil {
		return 0, 0, false
	}
	_, err = fmt.Sscan(string(text), &ran, &waited)
	return ran / 1e9, waited / 1e9, err == nil
}

// frameCategories are what a trace must have for screenFrames and marks.
var frameCategories = []string{"disabled-by-default-devtools.timeline.frame", "blink.user_timing"}

// screenFrame is the way of one frame through Chromium, in µs.
type screenFrame struct {
	pid         int
	begin, end  float64 // end is when it was on the screen, or given up
	main, ready float64 // the page's own part of it; 0 is none
	state       string
}

// screenFrames reads frames out of a trace.
func screenFrames(list []browser.TraceEvent) (all []screenFrame) {
	type track struct {
		pid int
		id  string
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b browser.TraceEvent) int { return cmp.Compare(a.TS, b.TS) })
	open := map[track]*screenFrame{}
	for _, e := range list {
		k := track{e.PID, e.ID + e.ID2.Local}
		f := open[k]
		switch {
		case e.Name == "PipelineReporter" && e.Ph == "b":
			var args struct {
				Frame struct {
					State string `json:"state"`
				} `json:"frame_reporter"`
				Before struct {
					State string `json:"state"`
				} `json:"chrome_frame_reporter"`
			}
			_ = json.Unmarshal(e.Args, &args)
			open[k] = &screenFrame{pid: e.PID, begin: e.TS, state: cmp.Or(args.Frame.State, args.Before.State)}
		case f == nil:
		case e.Name == "PipelineReporter" && e.Ph == "e":
			f.end = e.TS
			all = append(all, *f)
			delete(open, k)
		case e.Name == "SendBeginMainFrameToCommit" && e.Ph == "b":
			f.main = e.TS
		case e.Name == "SendBeginMainFrameToCommit" && e.Ph == "e":
			f.ready = e.TS
		}
	}
	return all
}

// shownAt is when what the page drew at a time was on the screen: the end of
// the frame that it was drawn in, or where that one was given up of the next.
func shownAt(frames []screenFrame, pid int, at float64) float64 {
	var own *screenFrame
	for i := range frames {
		f := &frames[i]
		if f.pid == pid && f.main > 0 && f.main <= at && at <= f.ready && (own == nil || f.main > own.main) {
			own = f
		}
	}
	if own != nil && strings.HasPrefix(own.state, "STATE_PRESENTED") {
		return own.end
	}
	best := math.Inf(1)
	for i := range frames {
		f := &frames[i]
		if f.pid == pid && f.state == "STATE_PRESENTED_ALL" && f.main > at && f.end < best {
			best = f.end
		}
	}
	return best
}

// TestProofPage measures the page of a running instrument with 60 modules and
// 150 cables: frames, the way to the screen, and what is loaded.
func TestProofPage(t *testing.T) {
	p := newPageProof(t)
	t.Run("pixels, the cluster at rest", func(t *testing.T) {
		p.t = t
		w := p.look(p.url, browser.Desk)
		defer w.Close()
		p.ok(w.Eval(zoomAll("smaller"), nil))
		time.Sleep(2 * time.Second)
		p.pixels(w)
	})
	p.t = t
	began := time.Now()
	w := p.look(p.url, browser.Desk)
	t.Logf("%d processors; a rack of %d modules and %d cables stands %s after its window opens; one second on, the machine's own load is %s", runtime.NumCPU(), pageModules, pageCables, time.Since(began).Round(time.Millisecond), loadAverage())
	time.Sleep(2 * time.Second)
	t.Run("bytes", func(t *testing.T) { p.t = t; p.bytes(w) })
	stop := p.breathe()
	t.Run("frames", func(t *testing.T) { p.t = t; p.pace(w) })
	t.Run("pixels", func(t *testing.T) { p.t = t; p.pixels(w) })
	stop()
	p.t = t
	if list := w.Problems(); len(list) > 0 {
		t.Errorf("the console has %q", list)
	}
	if u := p.s.last().Audio.Underruns; u != 0 {
		t.Errorf("%d underruns", u)
	}
}

func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	f := strings.Fields(string(text))
	if len(f) == 0 {
		return "unknown"
	}
	return f[0]
}

// bytes looks at all that was loaded, also for listening.
func (p *pageProof) bytes(w *browser.Page) {
	t := p.t
	p.ok(w.Push("#listen"))
	p.ok(w.Wait(10*time.Second, "rackTest.sound.told"))
	p.ok(w.Push("#listen"))
	base := p.url[:strings.Index(p.url, "/?")]
	list := w.Fetched()
	// Workers fetch what the window does not see; the page knows.
	var more []string
	p.ok(w.Eval("performance.getEntriesByType('resource').map(e=>e.name)", &more))
	more = append(more, base+"/sound-worker.js", base+"/sound-worklet.js")
	for _, u := range more {
		if slices.ContainsFunc(list, func(f browser.Fetched) bool { return f.URL == u && f.Bytes > 0 }) {
			continue
		}
		list = append(list, browser.Fetched{URL: u, Kind: "Worker", Bytes: p.weigh(u)})
	}
	sums, counts := map[string]int{}, map[string]int{}
	page, all := 0, 0
	for _, f := range list {
		if u := strings.Replace(f.URL, "ws://", "http://", 1); !strings.HasPrefix(u, base+"/") && !strings.HasPrefix(u, "blob:"+base+"/") && !strings.HasPrefix(u, "data:") {
			t.Errorf("the page asks for %s, which is elsewhere", f.URL)
		}
		kind := f.Kind
		if strings.Contains(f.URL, "/panel/") {
			kind = "panels of modules"
		} else if strings.HasSuffix(f.URL, "/specs.json") {
			kind = "what modules there are"
		} else {
			page += f.Bytes
		}
		sums[kind] += f.Bytes
		counts[kind]++
		all += f.Bytes
	}
	rows := [][]string{{"loaded over the wire", "files", "kB"}}
	for _, k := range slices.Sorted(func(yield func(string) bool) {
		for k := range sums {
			if !yield(k) {
				return
			}
		}
	}) {
		rows = append(rows, []string{k, fmt.Sprint(counts[k]), fmt.Sprintf("%.1f", float64(sums[k])/1000)})
	}
	rows = append(rows, []string{"page, scripts, styles and player", "", fmt.Sprintf("%.1f", float64(page)/1000)}, []string{"all", "", fmt.Sprintf("%.1f", float64(all)/1000)})
	table(t, rows...)
	if counts["Document"] == 0 || counts["Script"] == 0 || counts["Stylesheet"] == 0 || counts["panels of modules"] == 0 {
		t.Errorf("not all was counted: %v", counts)
	}
	if all >= pageBytes {
		t.Errorf("%d bytes are loaded, want less than %d", all, pageBytes)
	}
}

// weigh is how many bytes an answer has on the wire, without its head.
func (p *pageProof) weigh(url string) int {
	p.t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	p.ok(err)
	r.Header.Set("Accept-Encoding", "gzip")
	r.Header.Set("Cookie", "k8s-synth="+p.url[strings.Index(p.url, "token=")+6:])
	resp, err := http.DefaultClient.Do(r)
	p.ok(err)
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	p.ok(err)
	if resp.StatusCode != http.StatusOK {
		p.t.Fatalf("%s: %s", url, resp.Status)
	}
	return int(n)
}

func zoomAll(button string) string {
	return fmt.Sprintf("(()=>{for(let i=0;i<9;i++)document.getElementById('%s').click()})()", button)
}

// pace measures frames for more than a minute, near and from far, with quiet
// hands and with busy ones, in one window and in two.
func (p *pageProof) pace(w *browser.Page) {
	t := p.t
	rows := [][]string{paceHead}
	defer func() { table(t, rows...) }() // what was measured is shown, whatever came after it
	measure := func(what string, f func() pace) {
		t.Helper()
		idle, before := machine(t), p.cpu()
		x := f()
		busy, _ := idle()
		rows = append(rows, x.row(what, busy, p.cpu().less(before)))
		if x.slowest() < pageRate {
			t.Errorf("%s: %.0f frames in the worst second, want %.0f", what, x.slowest(), pageRate)
		}
	}
	// by moves a hand between two places while frames are counted.
	by := func(w *browser.Page, from, to browser.Point, d time.Duration) pace {
		t.Helper()
		done := make(chan pace, 1)
		go func() { done <- p.frames(w, d) }()
		p.ok(w.Move(from, false, 0))
		p.ok(w.Press(from, 0))
		for end := time.Now().Add(d - 200*time.Millisecond); time.Now().Before(end); time.Sleep(8 * time.Millisecond) {
			f := 0.5 - 0.5*math.Cos(float64(time.Now().UnixMilli()%1000)/1000*2*math.Pi)
			p.ok(w.Move(browser.Point{X: from.X + f*(to.X-from.X), Y: from.Y + f*(to.Y-from.Y)}, true, 0))
		}
		p.ok(w.Release(from, 0))
		return <-done
	}
	knob := func(w *browser.Page, d time.Duration) pace {
		k := p.at(w, browser.Knob("vco/a", "tune"))
		return by(w, k, browser.Point{X: k.X, Y: k.Y - 60}, d)
	}
	cable := func(w *browser.Page, d time.Duration) pace {
		j := p.at(w, browser.Jack("lfo/c/sine"))
		return by(w, j, browser.Point{X: j.X + 300, Y: j.Y + 200}, d)
	}
	const d = 8 * time.Second
	measure("near", func() pace { return p.frames(w, d) })
	measure("near, turning a knob", func() pace { return knob(w, d) })
	measure("near, drawing a cable", func() pace { return cable(w, d) })
	measure("near, on the screen", func() pace { return p.presented(w, d) })
	p.ok(w.Eval(zoomAll("smaller"), nil))
	time.Sleep(time.Second)
	measure("all in sight", func() pace { return p.frames(w, 2*d) })
	measure("all, turning a knob", func() pace { return knob(w, d) })
	measure("all, drawing a cable", func() pace { return cable(w, d) })
	measure("all, on the screen", func() pace { return p.presented(w, d) })
	q := p.look(p.url, browser.Desk)
	p.ok(q.Eval(zoomAll("smaller"), nil))
	time.Sleep(time.Second)
	var other pace
	measure("two windows, the one with a hand", func() pace {
		done := make(chan pace, 1)
		go func() { done <- p.frames(q, d) }()
		x := knob(w, d)
		other = <-done
		return x
	})
	measure("and the other", func() pace { return other })
	q.Close()
}

// watchPixels marks, in the frame that draws it, what has changed: a knob, a
// lamp and a cable.
const watchPixels = `(()=>{
const knob=document.querySelector(%q),w=rackTest.wires,draw=w.draw.bind(w),lamp=%q,input=%q
new MutationObserver(()=>{const v=knob.getAttribute('aria-valuenow');requestAnimationFrame(()=>performance.mark('knob '+v))}).observe(knob,{attributes:true,attributeFilter:['aria-valuenow']})
let lit=rackTest.model.level(lamp)>5,there=!!rackTest.model.cableInto(input)
w.draw=t=>{draw(t)
const l=rackTest.model.level(lamp)>5,c=!!rackTest.model.cableInto(input)
if(l!==lit)performance.mark('lamp '+(lit=l))
if(c!==there)performance.mark('cable '+(there=c))}
})()`

// pixels measures the way of a control to the screen: from a message that
// reaches the instrument until the frame that shows it is presented.
func (p *pageProof) pixels(w *browser.Page) {
	t := p.t
	const module, name, lamp = "lfo/g", "rate", "/attenuverter/lit/out_1"
	from, input := "lfo/g/sine", "lfo/f/width_cv"
	// What is measured afterwards is the rack as it was.
	for _, c := range p.scene.Patch.Cables {
		if c.To.String() == input {
			defer p.send("/plug", osc.String(c.From.String()), osc.String(input))
		}
	}
	defer p.send("/"+module+"/"+name, osc.Float32(float32(p.scene.Patch.Module(module).Value(name))))
	// The input is free, so that what is measured is one cable.
	p.send("/pull", osc.String(input))
	p.send("/attenuverter/lit/gain_1", osc.Float32(0))
	p.send("/attenuverter/lit/offset_1", osc.Float32(0))
	p.ok(w.Wait(3*time.Second, fmt.Sprintf("!rackTest.model.cableInto(%q)&&Math.abs(rackTest.model.level(%q))<1", input, lamp)))
	p.ok(w.Eval(fmt.Sprintf(watchPixels, browser.Knob(module, name), lamp, input), nil))
	type change struct {
		mark string
		at   float64
	}
	rows := [][]string{{"from a message to the screen", "changes", "p50", "p90", "p99", "longest", "of which: to the page's frame", "machine busy"}}
	defer func() { table(t, rows...) }()
	measure := func(what string, n int, limit time.Duration, do func(i int) change, rest func() time.Duration) {
		t.Helper()
		idle := machine(t)
		var sent []change
		list, err := w.Trace(frameCategories, func() error {
			for i := range n {
				sent = append(sent, do(i))
				time.Sleep(rest())
			}
			time.Sleep(500 * time.Millisecond)
			return nil
		})
		p.ok(err)
		busy, _ := idle()
		frames := screenFrames(list)
		var late, drawn []float64
		for i, c := range sent {
			for _, e := range list {
				if e.Name == c.mark && e.TS > c.at && (i+1 == len(sent) || e.TS < sent[i+1].at+1e6) {
					if at := shownAt(frames, e.PID, e.TS); !math.IsInf(at, 0) {
						late, drawn = append(late, (at-c.at)/1000), append(drawn, (e.TS-c.at)/1000)
					}
					break
				}
			}
		}
		// Two changes in one frame are seen as the later one.
		if len(late) < n*9/10 {
			t.Errorf("%s: of %d changes %d were seen", what, n, len(late))
		}
		slices.Sort(late)
		slices.Sort(drawn)
		ms := func(v float64) string { return fmt.Sprintf("%.1f ms", v) }
		rows = append(rows, []string{what, fmt.Sprint(len(late)), ms(share(late, 0.5)), ms(share(late, 0.9)), ms(share(late, 0.99)), ms(share(late, 1)), ms(share(drawn, 0.5)), fmt.Sprintf("%.0f %%", busy)})
		if v := share(late, 0.99); !(v < float64(limit.Milliseconds())) {
			t.Errorf("%s: %.1f ms for one in a hundred, want less than %s", what, v, limit)
		}
	}
	knob := func(i int) change {
		v := float32((i*37)%480+4) / 8
		return change{"knob " + strconv.FormatFloat(float64(v), 'f', -1, 32), p.send("/"+module+"/"+name, osc.Float32(v))}
	}
	random := func(least, most time.Duration) func() time.Duration {
		return func() time.Duration { return least + rand.N(most-least) }
	}
	lampAt := func(i int) change {
		on := i%2 == 0
		v := map[bool]float32{true: 10, false: 0}[on]
		return change{fmt.Sprint("lamp ", on), p.send("/attenuverter/lit/offset_1", osc.Float32(v))}
	}
	cable := func(i int) change {
		if i%2 == 0 {
			return change{"cable true", p.send("/plug", osc.String(from), osc.String(input))}
		}
		return change{"cable false", p.send("/pull", osc.String(input))}
	}
	measure("a knob, all in sight", 400, pagePixels, knob, random(20*time.Millisecond, 50*time.Millisecond))
	measure("a lamp, all in sight", 200, pagePixels, lampAt, random(90*time.Millisecond, 140*time.Millisecond))
	measure("a cable, all in sight", 100, pagePixels, cable, random(200*time.Millisecond, 300*time.Millisecond))
	p.ok(w.Eval(zoomAll("larger"), nil))
	p.at(w, browser.Knob(module, name))
	time.Sleep(time.Second)
	measure("a knob, near", 400, pagePixels, knob, random(20*time.Millisecond, 50*time.Millisecond))
}

// elsewhere is a page on another machine: it asks and takes all that a page
// does, and draws nothing here. With an ear it listens as well.
func (p *pageProof) elsewhere(ear bool) (close func()) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	base := p.url[:strings.Index(p.url, "/?")]
	open := func(path string) *websocket.Conn {
		c, _, err := websocket.Dial(ctx, base+path, &websocket.DialOptions{HTTPHeader: http.Header{"Cookie": {"k8s-synth=" + p.url[strings.Index(p.url, "token=")+6:]}, "Origin": {base}}})
		p.ok(err)
		c.SetReadLimit(-1)
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				if _, _, err := c.Read(ctx); err != nil {
					return
				}
			}
		}()
		return c
	}
	if ear {
		p.ok(open("/ws?sound").Write(ctx, websocket.MessageText, []byte(`{"listen":true}`)))
	}
	c := open("/ws")
	wg.Add(1)
	go func() {
		defer wg.Done()
		for tick, id := time.NewTicker(33*time.Millisecond), 1; ; id++ {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			for _, s := range []string{"a", "b", "c"} {
				_ = c.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"id":%d,"scope":{"name":"scope/%s","points":100}}`, id, s))
			}
		}
	}()
	return func() { cancel(); wg.Wait() }
}

// audioThread is the folder in /proc of the thread that renders, which alone
// has its priority; "" if it has none.
func (p *pageProof) audioThread() string {
	st := p.s.last()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", st.PID))
	best, most := "", 0.0
	for _, dir := range tasks {
		text, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		// proc(5) counts rt_priority as the fortieth field and policy as the
		// one after it, the name as the second.
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(f) < 39 || f[38] != "1" || f[37] != strconv.Itoa(st.Audio.Priority) {
			continue
		}
		if ran, _, ok := schedstat(dir); ok && ran > most {
			best, most = dir, ran
		}
	}
	return best
}

// audioCost is what rendering took in pieces of a quarter of a second each.
type audioCost struct {
	ran, waited []float64 // µs a block
	rounds      []float64 // the median of ran in each round
	underruns   uint64
	late        uint64
	peak, busy  float64
}

// TestProofPageAudio measures what open pages cost the thread that renders:
// the CPU time that it takes for a block and how long it waits for a
// processor, with no page and with some, in turns. The pods stand still, so
// that there is as much to render in each.
//
// On the machine that also plays, a browser takes processors, caches and the
// clock's speed away whatever it shows. So there are two things to compare
// with: pages on other machines, which cost no more than the instrument's own
// part of them, and a window that draws the same rack and has let go of the
// instrument.
func TestProofPageAudio(t *testing.T) {
	p := newPageProof(t)
	thread := p.audioThread()
	if thread == "" {
		t.Skipf("the thread that renders has no priority (%s), and cannot be told from the others", p.s.last().Audio.PriorityNote)
	}
	status := func() *playStatus {
		s, err := fetchStatus(t.Context(), socketPath(p.s.state))
		p.ok(err)
		return s
	}
	windows := func(n int, js string) func() func() {
		return func() func() {
			var list []*browser.Page
			for range n {
				list = append(list, p.look(p.url, browser.Desk))
			}
			if js != "" {
				p.ok(list[0].Eval(js, nil))
			}
			return func() {
				for _, w := range list {
					w.Close()
				}
			}
		}
	}
	far := func(n int) func() func() {
		return func() func() {
			var list []func()
			for i := range n {
				list = append(list, p.elsewhere(i == 0 && n > 1))
			}
			return func() {
				for _, f := range list {
					f()
				}
			}
		}
	}
	ways := []struct {
		name string
		open func() func()
		cost audioCost
	}{
		{name: "no page", open: func() func() { return func() {} }},
		{name: "1 page elsewhere", open: far(1)},
		{name: "3 elsewhere, 1 listens", open: far(3)},
		{name: "a window that draws and has let go", open: windows(1, `(()=>{const l=rackTest.link,m=rackTest.model;l.left=true;l.ws.close();setInterval(()=>{for(let i=0;i<m.volts.length;i++)m.volts[i]=6*Math.sin(performance.now()/300+i);rackTest.wires.blink()},33)})()`)},
		{name: "1 page here", open: windows(1, "")},
		{name: "3 here, 1 listens", open: windows(3, "document.getElementById('listen').click()")},
	}
	const rounds = 7
	const piece = 250 * time.Millisecond
	for round := range rounds {
		for k := range ways {
			w := &ways[(k+round)%len(ways)]
			first := status()
			shut := w.open()
			time.Sleep(1500 * time.Millisecond)
			idle := machine(t)
			var ran []float64
			before := status()
			r0, w0, _ := schedstat(thread)
			for range 20 {
				time.Sleep(piece)
				after := status()
				r1, w1, ok := schedstat(thread)
				if !ok {
					t.Fatal("the thread that renders is gone")
				}
				blocks := float64(after.Audio.Frames-before.Audio.Frames) / hardware.BlockFrames
				if blocks < 1 {
					t.Fatal("nothing is rendered")
				}
				ran, w.cost.waited = append(ran, 1e6*(r1-r0)/blocks), append(w.cost.waited, 1e6*(w1-w0)/blocks)
				w.cost.peak = max(w.cost.peak, after.Audio.LoadPeak)
				before, r0, w0 = after, r1, w1
			}
			busy, _ := idle()
			w.cost.busy += busy / rounds
			w.cost.ran, w.cost.rounds = append(w.cost.ran, ran...), append(w.cost.rounds, median(ran))
			shut()
			time.Sleep(500 * time.Millisecond)
			last := status()
			w.cost.underruns += last.Audio.Underruns - first.Audio.Underruns
			w.cost.late += last.Engine.Late - first.Engine.Late
		}
	}
	const block = hardware.BlockFrames / 48000.0 * 1e6 // µs
	rows := [][]string{{"the thread that renders", "µs of work a block", "of rounds", "share of the time", "µs that it waits", "peak", "underruns", "late events", "machine busy"}}
	for i := range ways {
		c := &ways[i].cost
		rows = append(rows, []string{ways[i].name, fmt.Sprintf("%.2f", median(c.ran)), fmt.Sprintf("%.2f … %.2f", slices.Min(c.rounds), slices.Max(c.rounds)), fmt.Sprintf("%.2f %%", 100*median(c.ran)/block),
			fmt.Sprintf("%.2f", median(c.waited)), fmt.Sprintf("%.0f %%", 100*c.peak), fmt.Sprint(c.underruns), fmt.Sprint(c.late), fmt.Sprintf("%.0f %%", c.busy)})
	}
	table(t, rows...)
	for i := range ways {
		if n := ways[i].cost.underruns; n > 0 {
			t.Errorf("%s: %d underruns, from before it was opened until after it was closed", ways[i].name, n)
		}
	}
	// Both were measured in every round within a minute. More in each of them,
	// and more than a thousandth of the time that there is, is more than nothing;
	// a hundredth is, however it came about.
	compare := func(with, without int) {
		t.Helper()
		var more []float64
		for i, v := range ways[with].cost.rounds {
			more = append(more, v-ways[without].cost.rounds[i])
		}
		d := median(more)
		t.Logf("%s against %s: %+.2f µs a block (%+.2f … %+.2f in %d rounds), %+.3f %% of the time", ways[with].name, ways[without].name, d, slices.Min(more), slices.Max(more), rounds, 100*d/block)
		if d > block/100 || d > block/1000 && slices.Min(more) > 0 {
			t.Errorf("%s takes %.2f µs a block more than %s", ways[with].name, d, ways[without].name)
		}
	}
	compare(1, 0)
	compare(2, 0)
	compare(4, 3)
}
