package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/kube/cluster/paths"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/rule"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// playOptions are the flags of play.
type playOptions struct {
	scene      string
	device     hardware.Settings
	record     string
	take       string
	osc        string
	metrics    string
	oscTo      []netip.AddrPort
	stateDir   string
	ephemeral  bool
	length     time.Duration
	context    string
	kubeconfig string
	listenOnly bool
	namespace  string
	also       []string
	yes        bool
	dryRun     bool
	reach      string
	ingress    string
	nodes      int
	heartbeat  time.Duration
	verbose    bool
}

func playCommand() *cobra.Command {
	var o playOptions
	var oscTo []string
	c := &cobra.Command{
		Use:   "play",
		Short: "Play a scene on a cluster, until told to end",
		Long: `Plays a scene. Without --context it brings its own cluster, whose boot is
part of the piece. Where no sound card is found it plays in silence, so that
everything else works. Ctrl-C fades out and ends all that was started.

Every param and jack has an OSC address:

    oscsend 127.0.0.1 9000 /deployment/web/replicas i 6
    oscsend 127.0.0.1 9000 /subscribe`,
		Example: `  k8s-synth play
  k8s-synth play --device null --record take.wav --for 30s
  k8s-synth play --context staging --namespace sandbox --dry-run
  k8s-synth play --context production --namespace shop --listen-only`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.device.Backend == "" && o.device.Device == "null" {
				o.device.Backend, o.device.Device = "null", ""
			}
			for _, to := range oscTo {
				a, err := netip.ParseAddrPort(to)
				if err != nil {
					return usageError{fmt.Errorf("--osc-to is an address and a port such as 127.0.0.1:9001, got %q", to)}
				}
				o.oscTo = append(o.oscTo, a)
			}
			device, err := o.device.ApplyDefaults()
			if err != nil {
				return usageError{err}
			}
			o.device = device
			switch {
			case o.length < 0:
				return usageError{fmt.Errorf("--for is a length of time such as 30s, or 0 for no end, got %s", o.length)}
			case o.nodes < 0 || o.nodes > mostNodes:
				return usageError{fmt.Errorf("--nodes is 0 … %d, got %d", mostNodes, o.nodes)}
			case o.heartbeat < leastHeartbeat:
				return usageError{fmt.Errorf("--heartbeat is at least %s, got %s", leastHeartbeat, o.heartbeat)}
			}
			if o.listenOnly && o.context == "" && o.kubeconfig == "" {
				return usageError{errors.New("--listen-only is for another cluster; name it with --context or --kubeconfig")}
			}
			if o.dryRun && (o.listenOnly || o.context == "" && o.kubeconfig == "") {
				return usageError{errors.New("--dry-run shows what playing on another cluster would write; name that cluster with --context or --kubeconfig, without --listen-only")}
			}
			return play(cmd.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.scene, "scene", "default", "name of a scene, or path of a scene file")
	f.StringVar(&o.device.Device, "device", "", "audio device: part of its name, its id, or null (default: the system's)")
	f.StringVar(&o.device.Backend, "backend", "", "audio system: "+strings.Join(hardware.Backends(), ", ")+" (default: the first that opens)")
	f.IntVar(&o.device.Rate, "rate", 48000, "sample rate in Hz")
	f.IntVar(&o.device.Period, "period", 0, "the device's block in frames (default 128, with PulseAudio 256)")
	f.IntVar(&o.device.Channels, "channels", 2, "outputs of the device, 1 … 64")
	f.IntVar(&o.device.Depth, "depth", 8, "how many blocks of 64 frames are rendered ahead")
	f.StringVar(&o.record, "record", "", "write what is heard to a WAV file")
	f.StringVar(&o.take, "take", "", "write what the cluster says to a take, which render can play")
	f.StringVar(&o.osc, "osc", "127.0.0.1:9000", "address on which OSC is taken, or off for none")
	f.StringVar(&o.metrics, "metrics", defaultMetrics, "address on which metrics are served at /metrics in Prometheus' form, or off for none")
	f.StringSliceVar(&oscTo, "osc-to", nil, "addresses that are always told of every change and of what rules say, such as 127.0.0.1:9001")
	f.StringVar(&o.stateDir, "state-dir", "", "directory of all state (default $XDG_STATE_HOME/k8s-synth)")
	f.BoolVar(&o.ephemeral, "ephemeral", false, "throw the cluster away at the end")
	f.DurationVar(&o.length, "for", 0, "end after this time, such as 30s")
	f.StringVar(&o.context, "context", "", "play on this context of the kubeconfig instead of an own cluster")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig of another cluster (default with --context: $KUBECONFIG, then ~/.kube/config)")
	f.BoolVar(&o.listenOnly, "listen-only", false, "never write to the cluster, only hear it: get, list and watch are enough")
	f.StringVarP(&o.namespace, "namespace", "n", "", "namespace in which the patch lives; nothing is written to another (default: the scene's)")
	f.StringSliceVar(&o.also, "also", nil, "further namespaces to hear, or * for all; a panel shows what of its name is in the patch's own, or else in one of these")
	f.BoolVar(&o.yes, "yes", false, "write to another cluster without asking")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be written to another cluster, and end")
	f.StringVar(&o.reach, "reach", "auto", "how requests get to a Service in real mode: direct (its address), proxy (through the API server) or auto")
	f.StringVar(&o.ingress, "ingress", "127.0.0.1:0", "address on which Ingresses of class k8s-synth are served, or empty for none")
	f.IntVar(&o.nodes, "nodes", 3, "simulated nodes of the own cluster")
	f.DurationVar(&o.heartbeat, "heartbeat", time.Second, "time between the store's ticks")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log more")
	return c
}

// stateDirPath returns the directory of all state, which may not be there yet.
func stateDirPath(dir string) (string, error) {
	if dir == "" {
		c, err := paths.DefaultStateDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Dir(c)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	return dir, nil
}

// stateDir is stateDirPath, made if it is missing.
func stateDir(dir string) (string, error) {
	dir, err := stateDirPath(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	return dir, nil
}

// player is the running instrument. Its rack belongs to the goroutine of
// loop; everything else speaks to it through channels.
type player struct {
	o       playOptions
	log     *slog.Logger
	console *console
	scene   *scenes.Scene
	rack    *mapping.Rack
	rules   *ruleSet
	device  *hardware.Device
	osc     *oscSurface
	kube    *neighbour
	cluster *neighbour
	take    *takeFile
	status  *statusServer
	metrics *metricsServer
	clocks  *mapping.Estimators // of the sources of events
	counted counters

	began       time.Time
	firstSound  time.Duration
	kubeconfig  string
	clusterArgs []string // name another's cluster to our programs; nil for the own one
	clusterDir  string
	throwAway   func() // removes an ephemeral clusterDir; nil without one
	turns       chan turn
	transitions chan mapping.Transition
	calls       chan func()
	sayings     chan saying
	ended       chan struct{} // closed when loop has returned: nothing is taken any more
	problems    map[string]time.Time
	told        string // the last logged status
	toldAt      time.Time
	cpuAt       time.Time // when cpuSeen and cpuLoad were measured
	cpuSeen     float64   // seconds
	cpuLoad     float64   // cores
}

// What the neighbours take; they would refuse the rest again and again.
const (
	mostNodes      = 250
	leastHeartbeat = 50 * time.Millisecond
)

// play opens everything, plays, and closes everything in order.
func play(ctx context.Context, o playOptions) (err error) {
	p := &player{o: o, console: newConsole(os.Stderr), began: time.Now(), cpuAt: time.Now(),
		turns: make(chan turn, 4096), transitions: make(chan mapping.Transition, 4096), calls: make(chan func(), 16), sayings: make(chan saying, 4096),
		ended: make(chan struct{}), problems: map[string]time.Time{}}
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	p.log = slog.New(slog.NewTextHandler(p.console, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(p.log)
	defer p.console.end()

	if o.length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.length)
		defer cancel()
	}
	// The scene comes first: a mistake in it leaves nothing behind.
	if p.scene, err = openStore().Open(o.scene); err != nil {
		return err
	}
	p.settle()
	if err := p.scene.Validate(); err != nil {
		return fmt.Errorf("scene %s: %w", p.scene.Name, err)
	}
	dir, err := stateDir(o.stateDir)
	if err != nil {
		return err
	}
	// The socket comes first: it tells whether another one plays here.
	if p.status, err = listenStatus(dir, p); err != nil {
		return err
	}
	defer p.status.close()
	defer func() {
		if p.throwAway != nil {
			p.throwAway()
		}
	}()
	if err := p.findCluster(dir); err != nil {
		return err
	}

	p.rack = mapping.NewRack(mapping.Config{
		SampleRate: float64(o.device.Rate), Channels: o.device.Channels, Seed: p.scene.Seed, Storm: p.scene.Storm, StormPolicy: p.scene.StormPolicy, Scale: p.scene.Notes(),
		Embedded: p.clusterDir != "", Namespace: p.scene.Namespace, Scene: p.scene.Name,
		ListenOnly: o.listenOnly, Program: compileProgram,
	})
	if err := p.rack.Load(p.scene.Patch); err != nil {
		return fmt.Errorf("scene %s: %w", p.scene.Name, err)
	}
	if p.rules, err = newRules(p.scene, p.rack); err != nil {
		return fmt.Errorf("scene %s: rules: %w", p.scene.Name, err)
	}
	if p.clusterArgs != nil && !o.listenOnly {
		t, _ := p.rack.Topology()
		if err := consent(ctx, o, p.kube.path, append(p.clusterArgs, "--namespace", p.scene.Namespace), t); err != nil {
			if errors.Is(err, errDryRun) {
				return nil
			}
			return err
		}
		p.kube.publish(t)
	}
	if o.osc != "" && o.osc != "off" {
		if p.osc, err = openOSC(o.osc, o.oscTo, p.log, p.rack, p.turn); err != nil {
			return fmt.Errorf("osc on %s: %w", o.osc, err)
		}
		defer p.osc.Close()
		p.log.Info("osc", "address", p.osc.Addr(), "try", fmt.Sprintf("oscsend %s %d /deployment/web/replicas i 6", p.osc.Addr().Addr(), p.osc.Addr().Port()))
	}
	p.rack.Changed = p.changed
	p.rack.Acted = func(a mapping.Action) {
		if !p.kube.act(a) {
			p.log.Warn("the cluster is away and too many actions wait; one was dropped", "verb", a.Verb)
		}
	}
	p.rack.Setting = p.kube.set
	p.rack.Failed = p.problem
	if p.rules != nil {
		p.rules.set.OnFault(func(f rule.Fault) {
			p.problem(mapping.Problem{Where: "rule " + f.Rule, Text: f.First.Error()})
		})
		if p.osc != nil {
			p.rules.tell = p.tell
		}
	}
	p.rack.Rewired = func() {
		if p.osc != nil {
			if err := p.osc.rewire(p.rack); err != nil {
				p.log.Error("osc", "err", err)
			}
		}
	}
	if o.take != "" {
		if p.take, err = createTake(o.take, p.began); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.take.close()) }()
	}

	// The device lives as long as this function, not as ctx: the fade at the
	// end is to be heard.
	devices, closeDevices := context.WithCancel(context.Background())
	defer closeDevices()
	o.device.Logger = p.log
	if p.device, err = hardware.Open(devices, o.device, p.rack.Engine); err != nil {
		return fmt.Errorf("audio device: %w", err)
	}
	defer func() { err = errors.Join(err, p.device.Close()) }()
	if o.record != "" {
		if err := p.device.Record(o.record); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	if err := p.device.Start(); err != nil {
		return fmt.Errorf("audio device: %w", err)
	}
	p.clocks = mapping.NewEstimators(float64(o.device.Rate))
	p.rack.Fade(true)
	p.serveMetrics(devices)

	neighbours, endNeighbours := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, n := range []*neighbour{p.cluster, p.kube} {
		if n != nil {
			wg.Go(func() { n.run(neighbours) })
		}
	}
	if p.osc != nil {
		wg.Go(p.say)
	}
	notifySystemd("READY=1")
	p.loop(ctx)
	close(p.ended)
	notifySystemd("STOPPING=1")
	p.log.Info("fading out; ending what was started")
	p.rack.Fade(false)
	p.rack.Pump(p.present(time.Now()))
	endNeighbours()
	// 50 ms of fade, behind what is already rendered.
	time.Sleep(60*time.Millisecond + time.Duration(p.device.Latency())*time.Second/time.Duration(o.device.Rate))
	if o.record != "" {
		stats, err := p.device.StopRecord()
		if err != nil {
			wg.Wait()
			return fmt.Errorf("record: %w", err)
		}
		p.log.Info("recorded", "file", stats.Path, "seconds", math.Round(float64(stats.Frames)/float64(o.device.Rate)*100)/100)
	}
	wg.Wait()
	return nil
}

// settle makes the namespace one truth: the flag's, else that of an API Server
// panel that names one, else the scene's.
func (p *player) settle() {
	namespace := p.o.namespace
	for i := range p.scene.Patch.Modules {
		m := &p.scene.Patch.Modules[i]
		if m.ID.Kind() != mapping.KindAPIServer {
			continue
		}
		if w, ok := m.Text["namespace"]; ok && namespace == "" {
			namespace = w
		}
	}
	if namespace != "" {
		p.scene.Namespace = namespace
	}
	for i := range p.scene.Patch.Modules {
		if m := &p.scene.Patch.Modules[i]; m.ID.Kind() == mapping.KindAPIServer {
			if m.Text == nil {
				m.Text = map[string]string{}
			}
			m.Text["namespace"] = p.scene.Namespace
		}
	}
}

// findCluster sets up the neighbours for the cluster that is to be played.
func (p *player) findCluster(dir string) (err error) {
	kubePath, err := siblingProgram("k8s-synth-kube")
	if err != nil {
		return err
	}
	args := []string{"--namespace", p.scene.Namespace, "--heartbeat", p.o.heartbeat.String(), "--reach", p.o.reach, "--ingress", p.o.ingress}
	if p.o.listenOnly {
		args = append(args, "--listen-only")
	}
	if len(p.o.also) > 0 {
		args = append(args, "--also", strings.Join(p.o.also, ","))
	}
	if p.o.context != "" || p.o.kubeconfig != "" {
		if p.o.ephemeral {
			return usageError{errors.New("--ephemeral would throw away another's cluster; it goes with the own one only")}
		}
		if p.o.kubeconfig != "" {
			p.clusterArgs = append(p.clusterArgs, "--kubeconfig", p.o.kubeconfig)
		}
		if p.o.context != "" {
			p.clusterArgs = append(p.clusterArgs, "--context", p.o.context)
		}
		args = append(args, p.clusterArgs...)
		p.kubeconfig = p.o.kubeconfig
	} else {
		clusterPath, err := siblingProgram("k8s-synth-cluster")
		if err != nil {
			return err
		}
		p.clusterDir = filepath.Join(dir, "cluster")
		if p.o.ephemeral {
			if p.clusterDir, p.throwAway, err = makeEphemeral(); err != nil {
				return err
			}
		}
		state, err := paths.New(p.clusterDir)
		if err != nil {
			return err
		}
		p.kubeconfig = state.Kubeconfig()
		args = append(args, "--kubeconfig", p.kubeconfig)
		clusterArgs := []string{"--stream", "--state-dir", p.clusterDir, "--nodes", fmt.Sprint(p.o.nodes)}
		if p.o.verbose {
			clusterArgs = append(clusterArgs, "--verbose")
		}
		p.cluster = &neighbour{name: "k8s-synth-cluster", path: clusterPath, args: clusterArgs, log: p.log,
			stderr: &lineWriter{c: p.console}, received: p.received,
			gone: func() {
				p.transition(mapping.Transition{Time: time.Now(), Object: mapping.Object{Kind: mapping.KindCluster, Name: "cluster"}, Field: mapping.FieldBoot})
			}}
	}
	p.kube = &neighbour{name: "k8s-synth-kube", path: kubePath, args: args, log: p.log,
		stderr: &lineWriter{c: p.console}, received: p.received,
		gone: func() {
			// Whoever would have told of it is gone.
			for _, f := range []string{mapping.FieldSynced, mapping.FieldReachable} {
				p.transition(mapping.Transition{Time: time.Now(), Object: mapping.Object{Kind: mapping.KindAPIServer, Name: "api"}, Field: f, New: "false"})
			}
		}}
	return nil
}

// received takes a message from a neighbour. The channel is deep; when it is
// full the neighbour waits, and coalesces on its side.
func (p *player) received(m mapping.Message) {
	switch {
	case m.Transition != nil:
		p.transition(*m.Transition)
	case m.Problem != nil:
		p.call(func() {
			p.problem(*m.Problem)
			p.rack.Problem(*m.Problem)
		})
	case m.Edit != nil:
		p.call(func() { p.adopt(*m.Edit) })
	}
}

// problem tells the player what is wrong. The same trouble, again and again,
// is told once in ten seconds.
func (p *player) problem(b mapping.Problem) {
	key := b.Where + b.Text
	old := func(_ string, told time.Time) bool { return time.Since(told) > 10*time.Second }
	if told, ok := p.problems[key]; !ok || old(key, told) {
		// Texts hold names and times, so that there is no end of them.
		maps.DeleteFunc(p.problems, old)
		p.problems[key] = time.Now()
		p.log.Warn("the cluster", "where", b.Where, "problem", b.Text)
	}
}

// adopt lets the patch follow what another hand wrote into the topology. The
// answer is a topology, whether it changed or not: it says what became of the
// edit.
func (p *player) adopt(e mapping.Edit) {
	changed, refused := p.rack.Adopt(e)
	p.log.Info("the topology was edited in the cluster", "by", e.By, "changed", len(changed), "refused", len(refused))
	for _, err := range refused {
		p.problem(mapping.Problem{Where: "topology edited by " + cmp.Or(e.By, "another hand"), Text: err.Error()})
	}
	t, _ := p.rack.Topology()
	p.kube.publish(t)
}

// tell sends what a rule says over OSC.
func (p *player) tell(address string, args []any) {
	// With the constant latency of everything else that is told.
	s := saying{time.Now().Add(time.Duration(p.scene.Latency * float64(time.Second))), address, slices.Clone(args)}
	select {
	case p.sayings <- s:
	default:
		p.counted.sayings++
		p.problem(mapping.Problem{Where: "osc of a rule", Text: "more messages wait than can be sent; some were dropped"})
	}
}

// saying is what a rule says over OSC, and when.
type saying struct {
	at      time.Time
	address string
	args    []any
}

// say sends what rules say, in their order, until loop has returned.
func (p *player) say() {
	for {
		select {
		case <-p.ended:
			return
		case s := <-p.sayings:
			time.Sleep(time.Until(s.at))
			if err := p.osc.tell(s.address, s.args); err != nil {
				p.call(func() { p.problem(mapping.Problem{Where: "osc of a rule", Text: err.Error()}) })
			}
		}
	}
}

func (p *player) transition(t mapping.Transition) {
	select {
	case p.transitions <- t:
	case <-p.ended:
	}
}

// turn takes a change from a surface; it never blocks.
func (p *player) turn(t turn) error {
	select {
	case p.turns <- t:
		return nil
	default:
		p.counted.turns.Add(1)
		return errBusy
	}
}

// call runs f on the control goroutine.
func (p *player) call(f func()) {
	select {
	case p.calls <- f:
	case <-p.ended:
	}
}

// ask runs f on the control goroutine and waits for it, at most a second.
func (p *player) ask(f func()) bool {
	done := make(chan struct{})
	select {
	case p.calls <- func() { f(); close(done) }:
	case <-p.ended:
		return false
	case <-time.After(time.Second):
		return false
	}
	select {
	case <-done:
		return true
	case <-p.ended:
		return false
	case <-time.After(time.Second):
		return false
	}
}

// present is the frame at which what happened at t is to be heard: a
// constant latency after it.
func (p *player) present(t time.Time) int64 {
	now := time.Now()
	// Another process's clock is the same clock, unless it was set in
	// between; then arrival is the better guess.
	if d := now.Sub(t); d < -time.Second || d > time.Second {
		t = now
	}
	return max(int64(p.device.FrameAt(t)+p.scene.Latency*float64(p.o.device.Rate)), 1)
}

// sourceOf names the process that told of a transition, which stamped it by
// its own clock.
func sourceOf(t mapping.Transition) string {
	if t.Object.Kind == mapping.KindCluster {
		return "cluster"
	}
	return "kube"
}

// happened is the frame at which what a source stamped with a time is to be
// heard: a constant latency after it, by a clock that runs evenly.
func (p *player) happened(source string, stamp time.Time) int64 {
	now := p.device.Now()
	rate := float64(p.o.device.Rate)
	arrival := now
	// A neighbour's clock is this machine's, and then how long it took is known.
	// A stamp of the future, or one that is too old to be heard in time, is by
	// another clock, or by one that was set.
	if d := time.Since(stamp).Seconds(); d > -0.001 && d <= p.scene.Latency {
		arrival -= d * rate
	}
	at := p.clocks.Of(source).Frame(stamp, arrival)
	// What a source says of another second is heard when it comes.
	if d := now - at; d < -rate || d > rate {
		at = now
	}
	return max(int64(math.Round(at+p.scene.Latency*rate)), 1)
}

// controlPeriod is how often the control goroutine looks after the engine.
const controlPeriod = 5 * time.Millisecond

// loop is the control goroutine: it merges what hands and clusters do into
// one order.
func (p *player) loop(ctx context.Context) {
	tick := time.NewTicker(controlPeriod)
	defer tick.Stop()
	line := time.NewTicker(100 * time.Millisecond)
	defer line.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-p.transitions:
			if p.take != nil {
				p.take.transition(t)
			}
			frame := p.happened(sourceOf(t), t.Time)
			p.counted.transition(t)
			p.rack.Apply(t, frame)
			p.rules.apply(t, frame)
			if t.Object.Kind == mapping.KindPod && t.Field == mapping.FieldExists && t.New == "" {
				p.kube.forget(t.Object)
			}
		case t := <-p.turns:
			p.apply(t)
		case f := <-p.calls:
			f()
		case <-tick.C:
			p.rack.Pump(p.present(time.Now()))
			if p.firstSound == 0 {
				if m := p.rack.Meters(); max(m.Peak[0], m.Peak[1]) > 0.005 {
					p.firstSound = time.Since(p.began)
					p.log.Info("first sound", "after", p.firstSound.Round(time.Millisecond))
				}
			}
		case <-line.C:
			p.showStatus()
		}
		if t, changed := p.rack.Topology(); changed {
			p.kube.publish(t)
		}
	}
}

// apply does what a hand did.
func (p *player) apply(t turn) {
	if t.action == "panic" {
		p.rack.Panic()
		p.log.Warn("panic", "by", t.source)
		return
	}
	if err := p.rack.Set(t.address, t.value, t.word, t.source, p.happened("osc", t.at)); err != nil {
		p.log.Warn("osc", "err", err, "from", t.source)
		if p.osc != nil {
			p.osc.refused(t, err)
		}
		return
	}
	if p.take != nil {
		p.take.turn(t)
	}
}

// changed tells the surfaces.
func (p *player) changed(a mapping.Address, value float64, word, source string) {
	if p.osc != nil {
		p.osc.changed(a, value, word, source)
	}
}
