package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/hardware"
	panelport "github.com/k8s-synth/k8s-synth/hardware/backplane/port"
	"github.com/k8s-synth/k8s-synth/kube/cluster/paths"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
)

// playStatus is what the running instrument tells of itself.
type playStatus struct {
	Version string         `json:"version"`
	PID     int            `json:"pid"`
	Seconds float64        `json:"seconds"` // since the start
	Scene   string         `json:"scene"`
	Tempo   float64        `json:"tempo"` // BPM, 0 without a clock
	Waiting *waitingStatus `json:"waiting,omitempty"`
	Morph   *morphStatus   `json:"morph,omitempty"`
	SetList *setListStatus `json:"setList,omitempty"`
	// Silenced tells that what the cluster does is not heard since a panic.
	Silenced   bool                 `json:"silenced,omitempty"`
	OSC        string               `json:"osc,omitempty"`
	Kubeconfig string               `json:"kubeconfig,omitempty"`
	FirstSound float64              `json:"firstSoundSeconds"` // after the start; 0 while silent
	CPU        float64              `json:"cpu"`               // seconds of CPU used by this process
	CPULoad    float64              `json:"cpuLoad"`           // cores in use lately
	RSS        int64                `json:"rssBytes,omitempty"`
	Cluster    mapping.ClusterState `json:"cluster"`
	Audio      hardware.Stats       `json:"audio"`
	Engine     engineStatus         `json:"engine"`
	// Transitions counts what was received of the cluster, by kind of object.
	Transitions map[string]uint64 `json:"transitions"`
	// Thinned counts events that a storm swallowed.
	Thinned    uint64            `json:"thinnedEvents"`
	Queues     []queueStatus     `json:"queues"`
	OSCStats   osc.Stats         `json:"oscStats"`
	MIDI       []port.Info       `json:"midi,omitempty"` // ports in use
	MIDITotal  midiTotal         `json:"midiTotal"`      // of all ports that were ever there
	Timecode   *timecodeStatus   `json:"timecode,omitempty"`
	Takeovers  []takeoverStatus  `json:"takeovers,omitempty"`
	Clocks     []clockStatus     `json:"clocks"`
	Heap       uint64            `json:"heapBytes"` // of Go, in use
	Case       *caseStatus       `json:"case,omitempty"`
	Panels     []panelport.Info  `json:"panels,omitempty"`
	Web        string            `json:"web,omitempty"` // with the token
	Metrics    string            `json:"metrics,omitempty"`
	Neighbours []neighbourStatus `json:"neighbours"`
}

// engineStatus are the engine's counters.
type engineStatus struct {
	Frame    int64  `json:"frame"`
	Plan     uint64 `json:"plan"`
	Late     uint64 `json:"lateEvents"`
	Overflow uint64 `json:"earlyEvents"`
	Dropped  uint64 `json:"droppedEvents"`
	Scrubbed uint64 `json:"scrubbedSlices"`
}

// queueStatus is a bounded queue. What finds no room in one is dropped and
// counted, or waits elsewhere.
type queueStatus struct {
	Name     string `json:"name"`
	Waiting  int    `json:"waiting"`
	Capacity int    `json:"capacity"`
	Dropped  uint64 `json:"dropped"`
}

// clockStatus is what is known of the clock of a source of events.
type clockStatus struct {
	Source string  `json:"source"`
	Drift  float64 `json:"drift"`         // ratio
	Jitter float64 `json:"jitterSeconds"` // mean delay behind the earliest
	Resets uint64  `json:"resets"`
}

// counters are what the player counts of what came in. All but turns belong
// to the control goroutine.
type counters struct {
	transitions map[string]uint64
	sayings     uint64
	turns       atomic.Uint64
}

// countedKinds are kinds of objects that are counted by name; others are one.
var countedKinds = []string{mapping.KindPod, mapping.KindDeployment, mapping.KindNode, mapping.KindService, mapping.KindIngress, mapping.KindHPA,
	mapping.KindCronJob, mapping.KindJob, mapping.KindNamespace, mapping.KindComposition, mapping.KindEtcd, mapping.KindAPIServer, mapping.KindCluster}

func (c *counters) transition(t mapping.Transition) {
	if c.transitions == nil {
		c.transitions = map[string]uint64{}
	}
	kind := t.Object.Kind
	if !slices.Contains(countedKinds, kind) {
		kind = "other"
	}
	c.transitions[kind]++
}

// queues tells of every bounded queue between a hand, a cluster and the engine.
func (p *player) queues(o osc.Stats, c mapping.Counters) []queueStatus {
	e := p.rack.Engine
	q := []queueStatus{
		{"stream", len(p.transitions), cap(p.transitions), 0},
		{"turns", len(p.turns), cap(p.turns), p.counted.turns.Load()},
		{"sayings", len(p.sayings), cap(p.sayings), p.counted.sayings},
		{"engine_inbox", e.Inbox.Len(), e.Inbox.Cap(), 0}, // what finds no room goes to the backlog
		{"engine_backlog", c.Waiting, c.Backlog, c.Dropped},
		{"engine_outbox", e.Outbox.Len(), e.Outbox.Cap(), e.Outbox.Dropped()},
		{"osc", o.Scheduled, osc.DefaultMaxScheduled, o.Dropped},
	}
	if m := p.midi; m != nil {
		q = append(q, queueStatus{"midi_in", len(m.in), cap(m.in), 0}) // what finds no room waits at its port
	}
	for _, n := range []*neighbour{p.cluster, p.kube} {
		if n != nil {
			s := n.status()
			q = append(q, queueStatus{"actions_" + s.Name, s.Waiting, queuedActions, s.Dropped})
		}
	}
	return q
}

// dropped is what found no room in any queue.
func (s *playStatus) dropped() (n uint64) {
	for _, q := range s.Queues {
		n += q.Dropped
	}
	return n
}

// gather reads the status on the control goroutine.
func (p *player) gather() playStatus {
	m := p.rack.Meters()
	cpu := cpuSeconds()
	if d := time.Since(p.cpuAt).Seconds(); d >= 1 {
		p.cpuLoad, p.cpuSeen, p.cpuAt = (cpu-p.cpuSeen)/d, cpu, time.Now()
	}
	s := playStatus{
		Version: version, PID: os.Getpid(), Seconds: time.Since(p.began).Seconds(), Scene: p.scene.Name,
		Kubeconfig: p.kubeconfig, FirstSound: p.firstSound.Seconds(), CPU: cpu, CPULoad: p.cpuLoad, RSS: residentBytes(os.Getpid()),
		Cluster: p.rack.Cluster(), Audio: p.device.Stats(),
		Engine: engineStatus{Frame: m.Frame, Plan: m.Generation, Late: m.Late, Overflow: m.Overflow,
			Dropped: p.rack.Engine.Outbox.Dropped(), Scrubbed: m.Scrubbed},
	}
	for i := range p.rack.Patch().Modules {
		if mod := &p.rack.Patch().Modules[i]; mod.ID.Kind() == "clock" {
			s.Tempo = mod.Value("tempo")
			break
		}
	}
	if bpm := p.midi.tempo(); bpm > 0 {
		s.Tempo = math.Round(bpm*10) / 10
	}
	s.Silenced = p.rack.Silenced()
	s.Waiting, s.Morph, s.SetList = p.waitingStatus(), p.morphStatus(), p.setListStatus()
	s.Case, s.Panels = p.caseStatus(), p.panels.lines()
	s.MIDI, s.MIDITotal, s.Takeovers = p.midi.open(), p.midi.total(), p.binds.takeovers()
	s.Timecode = p.midi.timecode()
	c := p.rack.Counters()
	if p.osc != nil {
		s.OSC, s.OSCStats = p.osc.Addr().String(), p.osc.Stats()
	}
	if p.web != nil {
		s.Web = p.web.URL()
	}
	if p.metrics != nil {
		s.Metrics = "http://" + p.metrics.addr.String() + "/metrics"
	}
	s.Queues, s.Thinned, s.Transitions, s.Heap = p.queues(s.OSCStats, c), c.Thinned, maps.Clone(p.counted.transitions), heapBytes()
	for _, name := range p.clocks.Sources() {
		k := p.clocks.Of(name).Stats()
		s.Clocks = append(s.Clocks, clockStatus{name, k.Drift, k.Jitter, k.Resets})
	}
	for _, n := range []*neighbour{p.cluster, p.kube} {
		if n != nil {
			s.Neighbours = append(s.Neighbours, n.status())
		}
	}
	return s
}

// line is the status in one line.
func (s *playStatus) line() string {
	cluster := "boot: " + s.Cluster.Boot
	switch {
	case s.Cluster.Synced && s.Cluster.Ready == s.Cluster.Desired:
		cluster = "converged"
	case s.Cluster.Synced:
		cluster = "converging"
	case !s.booting():
		cluster = "no answer"
	}
	if s.Silenced {
		cluster += ", silenced by a panic (resume)"
	}
	sound := fmt.Sprintf("%s %d Hz", s.Audio.Backend, s.Audio.Rate)
	if s.Audio.Lost {
		sound = "device lost"
	}
	if s.Audio.Priority == 0 {
		sound += ", not real-time"
	}
	return fmt.Sprintf("%s · %g BPM · pods %d/%d · %s · revision %d · %s · render %.1f %% · CPU %.0f %% · underruns %d · late %d · dropped %d",
		s.Scene, s.Tempo, s.Cluster.Ready, s.Cluster.Desired, cluster, s.Cluster.Revision, sound, 100*s.Audio.Load, 100*s.CPULoad,
		s.Audio.Underruns, s.Engine.Late, s.dropped())
}

// quietPeriod is how often the status is logged where there is no terminal.
const quietPeriod = 30 * time.Second

// showStatus keeps the live line, or where there is none says now and then
// how things stand.
func (p *player) showStatus() {
	if p.console.live {
		s := p.gather()
		p.console.status(s.line())
		return
	}
	now := time.Now()
	c := p.rack.Cluster()
	key := fmt.Sprintf("%v %d %d %s", c.Synced, c.Ready, c.Desired, c.Boot)
	if key == p.told && now.Sub(p.toldAt) < quietPeriod {
		return
	}
	p.told, p.toldAt = key, now
	s := p.gather()
	p.log.Info("status", "tempo", s.Tempo, "ready", s.Cluster.Ready, "desired", s.Cluster.Desired, "synced", s.Cluster.Synced,
		"boot", s.Cluster.Boot, "render", fmt.Sprintf("%.1f%%", 100*s.Audio.Load), "cpu", fmt.Sprintf("%.0f%%", 100*s.CPULoad),
		"underruns", s.Audio.Underruns, "late", s.Engine.Late, "dropped", s.dropped())
}

// statusServer answers on a local socket that only the user can open.
type statusServer struct {
	srv  *http.Server
	lock *os.File // of the state directory; the kernel lets go of it with the process
}

func socketPath(dir string) string { return filepath.Join(dir, "play.sock") }

// listenStatus takes dir for this instrument and opens the socket in it. It
// fails if another one has it: two would write over each other's states.
func listenStatus(dir string, p *player) (_ *statusServer, err error) {
	path := socketPath(dir)
	lock, err := os.OpenFile(filepath.Join(dir, "play.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	switch err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		who := ""
		if s, err := fetchStatus(context.Background(), path); err == nil {
			who = fmt.Sprintf(" (process %d)", s.PID)
		}
		return nil, fmt.Errorf("another k8s-synth%s plays with the state in %s; end it, or name another --state-dir", who, dir)
	case err != nil:
		return nil, fmt.Errorf("state directory %s cannot be locked: %w", dir, err)
	}
	_ = os.Remove(path)
	// The socket must never be open to others, not even for a moment.
	mask := syscall.Umask(0o177)
	l, err := net.Listen("unix", path)
	syscall.Umask(mask)
	if err != nil {
		return nil, fmt.Errorf("status socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		var s playStatus
		if !p.ask(func() { s = p.gather() }) {
			http.Error(w, errAway.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s)
	})
	mux.HandleFunc("GET /scope", p.serveScope)
	mux.HandleFunc("GET /midi", p.serveMIDI)
	mux.HandleFunc("GET /patch", p.servePatch)
	mux.HandleFunc("GET /scene", p.serveScene)
	mux.HandleFunc("GET /sense", p.serveSense)
	mux.HandleFunc("POST /do", p.serveDo)
	mux.HandleFunc("POST /calibrated", p.serveCalibrated)
	st := &statusServer{lock: lock, srv: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}
	go func() { _ = st.srv.Serve(l) }()
	return st, nil
}

// close also removes the socket, as its listener's end does: a second removal
// could take that of a successor.
func (s *statusServer) close() {
	_ = s.srv.Close()
	_ = s.lock.Close()
}

// errNotPlaying says that nothing answers on the socket.
var errNotPlaying = errors.New("no k8s-synth plays here; start one with \"k8s-synth play\"")

func fetchStatus(ctx context.Context, path string) (*playStatus, error) {
	var s playStatus
	if err := fetch(ctx, path, "/status", &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// fetch asks the instrument that listens at path for what is at a place, and
// decodes it from JSON into v.
func fetch(ctx context.Context, path, place string, v any) error {
	what := strings.Trim(strings.SplitN(place, "?", 2)[0], "/")
	return fetchWith(ctx, path, place, what, func(r io.Reader) error { return json.NewDecoder(r).Decode(v) })
}

// fetchWith has what is at a place of the instrument that listens at path read;
// errors call it what.
func fetchWith(ctx context.Context, path, place, what string, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://play"+place, nil)
	if err != nil {
		return err
	}
	resp, err := socketClient(path).Do(req)
	if err != nil {
		return notPlaying(path, what, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 500))
		return fmt.Errorf("%s: %s", what, strings.TrimSpace(string(text)))
	}
	if err := read(resp.Body); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// notPlaying says why the instrument at path was not asked for what.
func notPlaying(path, what string, err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s: %w", path, errNotPlaying)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func statusCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use: "status", Short: "Ask the running instrument how it is", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := stateDirPath(dir)
			if err != nil {
				return err
			}
			s, err := fetchStatus(cmd.Context(), socketPath(d))
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			s.print(cmd.OutOrStdout())
			return nil
		},
	}
	c.Flags().StringVar(&dir, "state-dir", "", "the instrument's state directory")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// booting tells whether the control plane is on its way up. One that was up
// and is not heard of any more is no longer booting.
func (s *playStatus) booting() bool {
	return !s.Cluster.Synced && s.Cluster.Boot != "" && s.Cluster.Boot != mapping.BootReady
}

func (s *playStatus) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, a ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, a...)) }
	row("scene", "%s, %g BPM, playing for %s (process %d)", s.Scene, s.Tempo, (time.Duration(s.Seconds) * time.Second).String(), s.PID)
	state := "no answer"
	if s.Cluster.Synced {
		state = "in sync"
	} else if s.booting() {
		state = "booting: " + s.Cluster.Boot
	}
	row("cluster", "%s, pods %d of %d ready, %d nodes, revision %d", state, s.Cluster.Ready, s.Cluster.Desired, s.Cluster.Nodes, s.Cluster.Revision)
	if s.Silenced {
		row("silence", "since a panic what the cluster does is not heard; \"k8s-synth resume\" or another scene ends that")
	}
	row("latency", "commit %.1f ms, knob to cluster %.0f ms", 1000*s.Cluster.CommitLatency, 1000*s.Cluster.ReconcileLatency)
	row("sound", "%s, %s, %d Hz, period %d, latency %.1f ms", s.Audio.Backend, s.Audio.Device, s.Audio.Rate, s.Audio.Period, 1000*float64(s.Audio.Latency)/float64(max(s.Audio.Rate, 1)))
	row("render", "%.1f %% (peak %.1f %%), underruns %d, late callbacks %d", 100*s.Audio.Load, 100*s.Audio.LoadPeak, s.Audio.Underruns, s.Audio.LateCallbacks)
	row("events", "late %d, dropped %d%s, thinned by storms %d", s.Engine.Late, s.dropped(), s.whereDropped(), s.Thinned)
	if s.Audio.Priority > 0 {
		row("real time", "priority %d, the device %d, other threads %d, memory %s", s.Audio.Priority, s.Audio.DevicePriority, s.Audio.OtherPriority, s.Audio.Memory)
	} else {
		row("real time", "%s", s.Audio.PriorityNote)
	}
	for _, k := range s.Clocks {
		row("clock of "+k.Source, "drift %+.0f ppm, jitter %.1f ms, learnt anew %d times", 1e6*k.Drift, 1000*k.Jitter, k.Resets)
	}
	row("osc", "%s", cmp.Or(s.OSC, "off"))
	row("web", "%s", cmp.Or(s.Web, "off"))
	for _, m := range s.MIDI {
		row("midi", "%s", describePort(m))
	}
	if s.Timecode != nil {
		row("time code", "%s", s.Timecode)
	}
	if s.Case != nil {
		row("rig", "%s, %d jacks", s.Case.Rig, len(s.Case.Jack))
		for _, j := range s.Case.Jack {
			if c := j.Calibration; c != nil && c.Made != nil {
				row("calibrated", "%s, by %s on %s", j.Name, c.Method, c.Made.Local().Format("2006-01-02 15:04"))
			}
			if c := j.Calibration; c != nil && c.Refused != "" {
				row("calibration", "of %s refused: %s", j.Name, c.Refused)
			}
		}
	}
	for _, l := range s.Panels {
		row("panel", "%s, %s, %s", l.Port, l.State, cmp.Or(l.Module, l.Error, "no module"))
	}
	for _, t := range s.Takeovers {
		row("takeover", "%s", t)
	}
	row("metrics", "%s", cmp.Or(s.Metrics, "off"))
	row("kubeconfig", "%s", s.Kubeconfig)
	row("memory", "%s, of it heap %s, CPU %.0f %%", megabytes(s.RSS), megabytes(int64(s.Heap)), 100*s.CPULoad)
	for _, n := range s.Neighbours {
		row(n.Name, "process %d, started %d times, %s", n.PID, n.Starts, megabytes(n.RSS))
	}
	t.Flush()
}

// whereDropped names the queues that had no room.
func (s *playStatus) whereDropped() string {
	var names []string
	for _, q := range s.Queues {
		if q.Dropped > 0 {
			names = append(names, fmt.Sprintf("%s %d", q.Name, q.Dropped))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// heapBytes is the memory in use by Go's heap. It does not stop the world.
func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

func megabytes(b int64) string {
	if b == 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.0f MB", float64(b)/1e6)
}

// residentBytes is the resident memory of a process where /proc tells it.
func residentBytes(pid int) int64 {
	if pid == 0 {
		return 0
	}
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// cpuSeconds is the CPU time that this process has used.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func kubeconfigCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use: "kubeconfig", Short: "Print the path of the cluster's kubeconfig", Args: cobra.NoArgs,
		Example: `  kubectl --kubeconfig "$(k8s-synth kubeconfig)" get pods -A`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := stateDirPath(dir)
			if err != nil {
				return err
			}
			// A running instrument knows best: its cluster may be ephemeral.
			if s, err := fetchStatus(cmd.Context(), socketPath(d)); err == nil && s.Kubeconfig != "" {
				fmt.Fprintln(cmd.OutOrStdout(), s.Kubeconfig)
				return nil
			}
			file, err := paths.FindKubeconfig(filepath.Join(d, "cluster"))
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), file)
			return nil
		},
	}
	c.Flags().StringVar(&dir, "state-dir", "", "the instrument's state directory")
	return c
}
