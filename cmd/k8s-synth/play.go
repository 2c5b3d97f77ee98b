package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/hardware/rig"
	"github.com/k8s-synth/k8s-synth/hardware/sense"
	"github.com/k8s-synth/k8s-synth/kube/cluster/paths"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/bind"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// playOptions are the flags of play.
type playOptions struct {
	scene      string // empty: what was played last
	fresh      bool
	device     hardware.Settings
	record     string
	take       string
	replay     string
	loop       bool
	from, to   takeTime // of the replay
	exact      bool
	force      bool // the take may be over another one
	takeInputs bool
	network    networkOptions
	metrics    string
	oscTo      []netip.AddrPort
	midi       []string
	sysex      []thru
	maps       []string
	armed      bool
	rig        string // name or path, off, or empty for the default one if there is one
	sense      bool
	panels     []string
	open       bool     // the page, in a browser
	changed    []string // flags that were given
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
	var oscTo, sysex []string
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
			for _, s := range sysex {
				t, err := parseThru(s)
				if err != nil {
					return usageError{err}
				}
				o.sysex = append(o.sysex, t)
			}
			// Without the flag, 0 is the default; who gives it means something else.
			for _, f := range []struct {
				name, takes string
				value       int
			}{{"rate", "8000 … 384000 Hz", o.device.Rate}, {"period", "16 … 8192 frames", o.device.Period}, {"channels", "1 … 64", o.device.Channels}, {"depth", "1 … 256 blocks of 64 frames", o.device.Depth}} {
				if f.value == 0 && cmd.Flags().Changed(f.name) {
					return usageError{fmt.Errorf("--%s is %s, got 0; leave it out for the default", f.name, f.takes)}
				}
			}
			device, err := o.device.ApplyDefaults()
			if err != nil {
				return usageError{err}
			}
			o.device = device
			cmd.Flags().Visit(func(f *pflag.Flag) { o.changed = append(o.changed, f.Name) })
			if err := o.network.settle(cmd.Flags().Changed); err != nil {
				return usageError{err}
			}
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
			if err := o.checkRecord(); err != nil {
				return err
			}
			if err := o.checkSurfaces(cmd.Flags().Changed); err != nil {
				return usageError{err}
			}
			return play(cmd.Context(), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.scene, "scene", "", "name of a scene, or path of a scene file (default: what was played last, at first \"default\")")
	f.BoolVar(&o.fresh, "fresh", false, "begin with the default scene, and not with what was played last")
	f.StringVar(&o.device.Device, "device", "", "audio device: part of its name, its id, or null (default: the system's)")
	f.StringVar(&o.device.Backend, "backend", "", "audio system: "+strings.Join(hardware.Backends(), ", ")+" (default: the first that opens)")
	f.IntVar(&o.device.Rate, "rate", 48000, fmt.Sprintf("sample rate in Hz, %d … %d", leastRate, mostRate))
	f.IntVar(&o.device.Period, "period", 0, "the device's block in frames, 16 … 8192 (default 128, with PulseAudio 256)")
	f.IntVar(&o.device.Channels, "channels", 2, "outputs of the device, 1 … 64")
	f.IntVar(&o.device.Depth, "depth", 8, "how many blocks of 64 frames are rendered ahead, 1 … 256")
	f.StringVar(&o.rig, "rig", "", "how this machine is wired to gear: name or path of a rig (see \"k8s-synth rig\"), or off (default: the one named default, if there is one)")
	f.BoolVar(&o.sense, "sense", false, "sense cables from outputs of the rig to inputs, and patch what they mean")
	f.StringSliceVar(&o.panels, "panel", nil, "hardware panels: serial ports such as /dev/ttyACM0, auto for all that are plugged in, or parts of the names of MIDI ports")
	f.StringVar(&o.record, "record", "", "write what is heard to a WAV file, which must not be there yet (see --force), or into a folder, under a name by the time")
	f.StringVar(&o.take, "take", "", "record all that comes in and happens to a take, which render and --replay can play (see \"k8s-synth take\"); in a folder, such as takes/, its name is the time")
	f.StringVar(&o.replay, "replay", "", "play a take as if it came in now, without a cluster")
	f.BoolVar(&o.force, "force", false, "with --take or --record: replace a file that is there, once the new one has begun to sound")
	f.BoolVar(&o.takeInputs, "take-inputs", true, "with --take: record what the inputs of the rig capture; with --replay: hear what was")
	f.BoolVar(&o.loop, "loop", false, "with --replay: begin anew when the take is over")
	f.Var(&o.from, "from", "with --replay: begin at this time of the take, such as 83.5 or 1:23.5")
	f.Var(&o.to, "to", "with --replay: end at this time of the take")
	f.BoolVar(&o.exact, "exact", false, "with --replay: sound as the take did, to the bit, whatever hands do now")
	f.StringVar(&o.network.osc, "osc", "127.0.0.1:9000", "address on which OSC is taken by UDP, or off for none")
	f.StringVar(&o.network.oscTCP, "osc-tcp", "auto", "address on which OSC is taken by TCP, with size prefixes or SLIP: auto is that of --osc, off is none")
	f.StringVar(&o.network.query, "oscquery", "auto", "address on which OSCQuery is served over HTTP: auto is two ports after --osc, off is none")
	f.StringVar(&o.network.web, "web", fmt.Sprintf("127.0.0.1:%d", webPort), "address of the rack in a browser, or off for none")
	f.BoolVar(&o.open, "open", false, "open the rack in a browser")
	f.StringVar(&o.network.rtp, "rtp", off, "address on which RTP-MIDI sessions are taken, such as 127.0.0.1:5004; the next port is used as well")
	f.StringSliceVar(&o.network.rtpConnect, "rtp-connect", nil, "RTP-MIDI sessions to join, such as 192.168.1.7:5004")
	f.StringVar(&o.network.listen, "listen", "", "address of this machine at which a network reaches all surfaces; goes with --allow")
	f.StringSliceVar(&o.network.allow, "allow", nil, "who may play over a network: addresses, networks such as 192.168.1.0/24, and names of RTP-MIDI sessions")
	f.StringSliceVar(&o.midi, "midi", nil, "MIDI ports to open besides the instrument's own: parts of names or patterns, all, or off for no MIDI")
	f.StringSliceVar(&sysex, "sysex", nil, "FROM=TO: pass system exclusive messages that come from one MIDI port on to another")
	f.StringSliceVar(&o.maps, "map", nil, "mappings of controllers to knobs, by name or path (see \"k8s-synth map list\"), or off for none (default "+strings.Join(defaultMaps, ", ")+", and what was learned)")
	f.BoolVar(&o.armed, "armed", false, "let every client kill pods, drain nodes and switch namespaces off without arming itself first")
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

// checkRecord finds what cannot be recorded, or not beside a replay, before
// anything is started.
func (o *playOptions) checkRecord() error {
	rest := *o
	folder := ""
	if o.record != "" && isFolder(o.record) {
		folder = o.record
		o.record = timedName(folder, time.Now(), ".wav")
		rest.record = o.record
	}
	if o.record != "" {
		rest.force = false // it is for the recording
	}
	switch {
	case o.force && o.take == "" && o.record == "":
		return usageError{errors.New("--force replaces the file that --take or --record names; name one")}
	case o.record != "" && o.take != "" && (same(o.record, o.take) || same(o.record, scenes.InputsPath(o.take))):
		return usageError{errors.New("--record and --take name one file; name a file for each")}
	}
	if err := rest.checkReplay(); err != nil {
		return usageError{err}
	}
	if o.record == "" {
		return nil
	}
	if folder != "" {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return fmt.Errorf("record: %w", err)
		}
	}
	info, err := os.Stat(o.record)
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		return nil // a pipe or a device takes what comes
	}
	if !isWAV(o.record) {
		return usageError{fmt.Errorf("--record writes WAV files; name one that ends in .wav, not %q", o.record)}
	}
	err = placeFor(o.record)
	if err == nil {
		err = free(o.record, o.force)
	}
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// record begins to record what is heard. What it takes the place of stays until
// begun is called, when it sounds; done takes away what has not begun.
func (p *player) record() (begun func() error, done func(), err error) {
	path := p.o.record
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return func() error { return nil }, func() {}, p.device.Record(path)
	}
	part := path
	if err == nil && p.o.force {
		f, err := createBeside(path, 0o666)
		if err != nil {
			return nil, nil, err
		}
		part = f.Name()
		// The device makes its own.
		if err := errors.Join(f.Close(), os.Remove(part)); err != nil {
			return nil, nil, err
		}
	}
	if err := p.device.Record(part); err != nil {
		return nil, nil, err
	}
	kept := false
	begun = func() error {
		if part != path {
			if err := inPlace(part, path, true); err != nil {
				return err
			}
		}
		kept = true
		return nil
	}
	done = func() {
		if !kept {
			_ = os.Remove(part)
		}
	}
	return begun, done, nil
}

// checkSurfaces finds what is asked for and switched off at once. Changed tells
// whether a flag was given.
func (o *playOptions) checkSurfaces(changed func(string) bool) error {
	switch {
	case slices.Contains(o.midi, off) && len(o.midi) > 1:
		return errors.New("--midi off opens no port; leave the others out")
	case slices.Contains(o.midi, off) && (changed("rtp") && o.network.rtp != off || changed("rtp-connect")):
		return errors.New("--midi off takes no RTP-MIDI either; leave out --rtp and --rtp-connect, or --midi off")
	case slices.Contains(o.maps, off) && len(o.maps) > 1:
		return errors.New("--map off plays no mapping; leave the others out")
	}
	return nil
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
	o         playOptions
	log       *slog.Logger
	console   *console
	scene     *scenes.Scene
	rack      *mapping.Rack
	rules     *ruleSet
	device    *hardware.Device
	box       *rig.Case     // between the rack and the device; nil without a rig
	sensor    *sense.Sensor // of cables in the case; nil without a rig
	plugging  bool          // what is patched now is what a hand does in the case
	corrected *calibrations // of the jacks of the rig; nil without one
	reopens   int           // of the device, when the sensor was told last
	roundTrip int           // frames, as it was kept last
	dir       string        // of all state
	panels    *panels
	web       *webSurface
	osc       *oscSurface
	midi      *midiSurface
	binds     *bindings
	holds     mapping.Holds // jacks by their addresses
	arms      bind.Arms
	history   mapping.History
	kube      *neighbour
	cluster   *neighbour
	take      *takeFile
	replay    *replay
	status    *statusServer
	metrics   *metricsServer
	clocks    *mapping.Estimators // of the sources of events

	autosave *scenes.Autosave // nil where nothing can be kept
	// How far the device's output is behind what it takes, and how long after
	// what a hand did it is heard, in frames.
	deviceLatency, handLatency int64
	counted                    counters

	began       time.Time
	firstSound  time.Duration
	kubeconfig  string
	clusterArgs []string // name another's cluster to our programs; nil for the own one
	clusterDir  string
	throwAway   func() // removes an ephemeral clusterDir; nil without one
	turns       chan turn
	panics      chan turn // overtake whatever waits
	owed        struct {  // turns that must not be lost, by what they turn
		sync.Mutex
		turns map[string]turn
	}
	transitions chan mapping.Transition
	calls       chan func()
	sayings     chan saying
	ended       chan struct{} // closed when loop has returned: nothing is taken any more
	problems    map[string]time.Time
	wishes      []sceneWish // the first is being read
	stage       onStage
	rewired     bool   // addresses came or went since the OSC surface was told
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
		turns: make(chan turn, 4096), panics: make(chan turn, 1), transitions: make(chan mapping.Transition, 4096), calls: make(chan func(), 16), sayings: make(chan saying, 4096),
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
	if o.scene != "" {
		if p.scene, err = openStore().Open(o.scene); err != nil {
			return err
		}
	}
	dir, err := stateDir(o.stateDir)
	if err != nil {
		return err
	}
	p.dir = dir
	// The socket comes first: it tells whether another one plays here.
	if p.status, err = listenStatus(dir, p); err != nil {
		return err
	}
	defer p.status.close()
	if err := p.openReplay(); err != nil {
		return err
	}
	if p.replay == nil {
		if err := p.openLast(dir); err != nil {
			return err
		}
	}
	if p.autosave != nil {
		defer func() { err = errors.Join(err, p.autosave.Close()) }()
	}
	settle(p.scene, o.namespace)
	if err := p.scene.Validate(); err != nil {
		return fmt.Errorf("scene %s: %w", p.scene.Name, err)
	}
	defer func() {
		if p.throwAway != nil {
			p.throwAway()
		}
	}()
	if err := p.findCluster(dir); err != nil {
		return err
	}

	if err := p.openCase(); err != nil {
		return err
	}
	if err := p.openSensor(); err != nil {
		return err
	}
	o = p.o
	channels, sockets := p.replay.sockets(p.channels())
	defer p.replay.close()
	if err := p.openTake(channels, sockets); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.closeTake()) }()
	p.rack = mapping.NewRack(mapping.Config{
		SampleRate: float64(o.device.Rate), Channels: channels, Sockets: sockets, Seed: p.scene.Seed, Storm: p.scene.Storm, StormPolicy: p.scene.StormPolicy, Scale: p.scene.Notes(),
		Embedded: p.embedded(), Namespace: p.scene.Namespace, Scene: p.scene.Name,
		ListenOnly: p.listensOnly(), Program: compileProgram, Recorded: p.recorded(),
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
	if err := p.openBindings(); err != nil {
		return err
	}
	defer p.binds.close()
	if o.network.osc != off {
		if p.osc, err = o.network.openOSCSurface(func(c osc.Config) (*oscSurface, error) {
			c.Logger, c.Left = p.log, sourceGone(p.left)
			return openOSC(c, o.oscTo, p.rack, p.binds.controls, p.turn)
		}); err != nil {
			return fmt.Errorf("osc on %s: %w", o.network.osc, err)
		}
		defer p.osc.Close()
		p.osc.says(&p.osc.scene, "/scene/load", p.scene.Name)
		a := p.osc.Addrs()
		p.log.Info("osc", "udp", a.UDP, "tcp", a.TCP, "oscquery", a.Query, "try", fmt.Sprintf("oscsend %s %d /deployment/web/replicas i 6", a.UDP.Addr(), a.UDP.Port()))
	}
	if err := p.openWeb(dir); err != nil {
		return err
	}
	if p.web != nil {
		defer p.web.Close()
	}
	if err := p.openMIDI(dir); err != nil {
		return err
	}
	defer p.midi.close()
	p.rack.Changed = p.changed
	p.rack.Acted = func(a mapping.Action) {
		p.take.action(a, p.rack.Present())
		if !p.kube.act(a) {
			p.log.Warn("the cluster is away and too many actions wait; one was dropped", "verb", a.Verb)
		}
	}
	p.rack.Setting = p.kube.set
	p.rack.Failed = p.problem
	p.rack.Wired = p.wired
	p.hear(p.rules)
	p.rack.Rewired = func() {
		p.rewired = true
		p.rewire()
		p.binds.rebind()
		p.keep()
		p.unhoused()
		p.panels.rebind()
		p.web.look()
	}
	p.rack.SlotChanged = func(s mapping.Slot) {
		if p.osc != nil && p.osc.slotChanged(s) {
			p.rewired = true
		}
		p.binds.slot(s)
		if p.web != nil {
			p.web.slots = true
		}
	}

	// The device lives as long as this function, not as ctx: the fade at the
	// end is to be heard.
	devices, closeDevices := context.WithCancel(context.Background())
	defer closeDevices()
	o.device.Logger = p.log
	var renderer hardware.Renderer = p.rack.Engine
	if p.web != nil {
		p.web.tap = newSoundTap(p.rack.Engine)
		renderer = p.web.tap
	}
	renderer = p.heard(renderer)
	o.device.Panicked = p.rack.Engine.Panicked
	if p.device, err = hardware.Open(devices, o.device, renderer); err != nil {
		return fmt.Errorf("audio device: %w", err)
	}
	p.rack.Silence = p.device.Panic
	playing.Store(p.device)
	defer func() {
		if cause := recover(); cause != nil {
			land()
			panic(cause)
		}
		err = errors.Join(err, p.device.Close())
		playing.Store(nil) // only now: who ends the process meanwhile waits for the landing
	}()
	begun := func() error { return nil }
	if o.record != "" {
		var done func()
		if begun, done, err = p.record(); err != nil {
			return fmt.Errorf("record: %w", err)
		}
		defer done()
	}
	if err := p.device.Start(); err != nil {
		return fmt.Errorf("audio device: %w", err)
	}
	if err := begun(); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	p.clocks = mapping.NewEstimators(float64(o.device.Rate))
	p.latencies()
	p.keep()
	p.unhoused()
	p.lead(int64(leadAfter * float64(o.device.Rate)))
	p.rack.Fade(true)
	p.serveMetrics(devices)

	neighbours, endNeighbours := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, n := range []*neighbour{p.cluster, p.kube} {
		if n != nil && !n.mute {
			wg.Go(func() { landed(func() { n.run(neighbours) }) })
		}
	}
	if p.osc != nil {
		wg.Go(func() { landed(p.say) })
	}
	p.openPanels()
	if p.corrected != nil {
		go landed(p.followCalibrations)
	}
	if p.sensor != nil {
		p.sensor.Start(neighbours)
	}
	wg.Go(func() { landed(func() { p.listen(neighbours) }) })
	p.relist()
	notifySystemd("READY=1")
	p.loop(ctx)
	close(p.ended)
	p.panels.close()
	notifySystemd("STOPPING=1")
	p.log.Info("fading out; ending what was started")
	p.rack.Fade(false)
	p.replay.fadeOut()
	p.rack.Pump(p.present(time.Now()))
	endNeighbours()
	// 50 ms of fade, behind what is already rendered.
	time.Sleep(60*time.Millisecond + time.Duration(p.device.Latency())*time.Second/time.Duration(o.device.Rate))
	if n := p.endDisk(5 * time.Second); n > 0 {
		p.log.Warn("the disk does not answer: reads and writes of files that were asked for last are not done", "files", n)
	}
	if o.record != "" {
		stats, err := p.device.StopRecord()
		if err != nil {
			wg.Wait()
			return fmt.Errorf("record: %w", err)
		}
		p.log.Info("recorded", "file", o.record, "seconds", math.Round(float64(stats.Frames)/float64(o.device.Rate)*100)/100)
	}
	wg.Wait()
	return nil
}

// settle makes the namespace of a scene one truth: the one given, else that of
// an API Server panel that names one, else the scene's.
func settle(s *scenes.Scene, namespace string) {
	for i := range s.Patch.Modules {
		m := &s.Patch.Modules[i]
		if m.ID.Kind() != mapping.KindAPIServer {
			continue
		}
		if w, ok := m.Text["namespace"]; ok && namespace == "" {
			namespace = w
		}
	}
	if namespace != "" {
		s.Namespace = namespace
	}
	for i := range s.Patch.Modules {
		if m := &s.Patch.Modules[i]; m.ID.Kind() == mapping.KindAPIServer {
			if m.Text == nil {
				m.Text = map[string]string{}
			}
			m.Text["namespace"] = s.Namespace
		}
	}
}

// findCluster sets up the neighbours for the cluster that is to be played.
func (p *player) findCluster(dir string) (err error) {
	kubePath, err := siblingProgram("k8s-synth-kube")
	if err != nil {
		return err
	}
	if p.replay != nil {
		p.kube = &neighbour{name: "k8s-synth-kube", path: kubePath, log: p.log, mute: true}
		return nil
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
		p.cluster = &neighbour{name: "k8s-synth-cluster", path: clusterPath, args: clusterArgs, log: p.log, nice: clusterNice,
			stderr: &lineWriter{c: p.console}, received: p.received,
			gone: func() {
				p.transition(mapping.Transition{Time: time.Now(), Object: mapping.Object{Kind: mapping.KindCluster, Name: "cluster"}, Field: mapping.FieldBoot})
			}}
		if !p.o.verbose {
			p.cluster.boot = newBootLog(dir, p.cluster.stderr, p.log)
		}
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
	if p.news(b.Where + b.Text) {
		p.log.Warn("the cluster", "where", b.Where, "problem", b.Text)
		p.web.says("problem", b.Where, b.Text)
	}
}

// adopt lets the patch follow what another hand wrote into the topology. The
// answer is a topology, whether it changed or not: it says what became of the
// edit.
func (p *player) adopt(e mapping.Edit) {
	were := p.patched()
	changed, refused := p.rack.Adopt(e)
	p.adoptedInMorph(were, changed, cmp.Or(e.By, mapping.SourceCluster))
	p.log.Info("the topology was edited in the cluster", "by", e.By, "changed", len(changed), "refused", len(refused))
	for _, err := range refused {
		p.problem(mapping.Problem{Where: "topology edited by " + cmp.Or(e.By, "another hand"), Text: err.Error()})
	}
	t, _ := p.rack.Topology()
	p.kube.publish(t)
}

// tell sends what a rule says over OSC.
func (p *player) tell(to, address string, args []any) {
	// With the constant latency of everything else that is told.
	s := saying{time.Now().Add(time.Duration(p.scene.Latency * float64(time.Second))), to, address, slices.Clone(args)}
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
	to      string // host:port, or empty for who listens
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
			if err := p.osc.tell(s.to, s.address, s.args); err != nil {
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

// turn takes a change from a surface; it never blocks. What ends a sound finds
// room always.
func (p *player) turn(t turn) error {
	if t.action == actPanic {
		hush()
		select {
		case p.panics <- t:
		default: // one waits already
		}
		return nil
	}
	select {
	case p.turns <- t:
		return nil
	default:
	}
	if t.ends() {
		p.owed.Lock()
		defer p.owed.Unlock()
		if p.owed.turns == nil {
			p.owed.turns = map[string]turn{}
		}
		p.owed.turns[string(t.address)+t.control] = t
		return nil
	}
	p.counted.turns.Add(1)
	return errBusy
}

// hush lets nothing be heard any more of what was rendered, before the panic that
// must follow. It is for any goroutine.
func hush() {
	if d := playing.Load(); d != nil {
		d.Panic()
	}
}

// waiting does the turns that wait, and tells how many there were.
func (p *player) waiting() (n int) {
	n = len(p.turns)
	for range n {
		p.apply(<-p.turns)
	}
	return n
}

// pay does what found no room among the turns, after those before it.
func (p *player) pay() {
	p.owed.Lock()
	owed := p.owed.turns
	p.owed.turns = nil
	p.owed.Unlock()
	if len(owed) == 0 {
		return
	}
	p.waiting()
	for _, t := range owed {
		p.apply(t)
	}
}

// overtake does a panic at once, and again after what was turned before it: a
// gate that rises in the same packet must not outlast it.
func (p *player) overtake(t turn) {
	p.apply(t)
	if p.waiting() > 0 {
		p.apply(t)
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
	var state atomic.Int32 // 1: it is done, 2: nobody waits for it any more
	select {
	case p.calls <- func() {
		if state.CompareAndSwap(0, 1) {
			p.waiting() // what hands did before comes before
			f()
		}
		close(done)
	}:
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
		if state.CompareAndSwap(0, 2) {
			return false
		}
		<-done // it has begun
		return true
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
		case t := <-p.panics: // before all that waits
			p.overtake(t)
		default:
		}
		select {
		case <-ctx.Done():
			return
		case t := <-p.transitions:
			frame := p.happened(sourceOf(t), t.Time)
			p.happens(t, frame)
		case t := <-p.panics:
			p.overtake(t)
		case t := <-p.turns:
			p.apply(t)
		case in := <-p.midi.messages():
			p.midiCame(in)
		case g := <-p.midi.plugged():
			p.plugged(g)
		case e := <-p.sensed():
			p.cableSensed(e)
		case f := <-p.calls:
			f()
		case now := <-tick.C:
			p.pay()
			present := p.present(now)
			if p.replayUntil(present) {
				return
			}
			p.rack.Pump(present)
			_ = p.goOn() // it has told
			p.goMorph(now)
			p.binds.tick(now)
			p.tellSilence()
			p.missed(now)
			p.tellWeb(now)
			if p.firstSound == 0 {
				if m := p.rack.Meters(); max(m.Peak[0], m.Peak[1]) > 0.005 {
					p.firstSound = time.Since(p.began)
					p.log.Info("first sound", "after", p.firstSound.Round(time.Millisecond))
				}
			}
		case <-line.C:
			p.latencies()
			p.rewire()
			p.unsaved()
			p.reopened()
			p.showStatus()
		}
		p.tellCluster(time.Now())
	}
}

// apply does what a hand did, and tells it where that was of no use.
func (p *player) apply(t turn) {
	var err error
	switch {
	case t.control != "":
		p.binds.moved(t)
	case t.action != "":
		err = p.act(t)
	default:
		err = p.press(t)
	}
	if err != nil {
		p.refused(t, err)
	}
}

// press is set by the address itself, and notes who holds it down.
func (p *player) press(t turn) error {
	if err := p.set(t); err != nil {
		return err
	}
	m, err := p.rack.Member(t.address)
	if err == nil {
		p.holds.Put(m, t.value, t.source, t.at)
	}
	return err
}

// left lets go of what clients held down that are gone: pages, and those of OSC.
// What another client or a controller holds as well stays, and so does what was
// turned or switched. It does not wait: where the instrument cannot start nobody
// lets go of anything, and a client's end must not hold up the program's.
func (p *player) left(gone func(source string) bool) {
	go p.call(func() {
		p.waiting() // what they did last
		now := time.Now()
		held := p.holds.Left(gone)
		p.binds.left(gone, now)
		for _, k := range held {
			if p.binds.held(k.Address) {
				continue
			}
			at := now
			if k.At.After(at) {
				at = k.At // it has not risen yet
			}
			if err := p.set(turn{address: k.Address, source: k.Source, at: at}); err != nil {
				p.log.Debug("letting go", "address", k.Address, "of", k.Source, "err", err)
				continue
			}
			p.log.Info("a client is gone; what it held is let go", "address", k.Address, "client", k.Source)
		}
	})
}

// set turns a knob, or puts volts on a jack, on behalf of a hand.
func (p *player) set(t turn) error {
	if err := p.allowed(t); err != nil {
		return err
	}
	m, err := p.rack.Member(t.address)
	if err != nil {
		return err
	}
	var from mapping.Setpoint
	knob := m.Kind == mapping.MemberParam || m.Kind == mapping.MemberText
	if knob {
		from.Value, from.Word, _ = p.rack.Value(t.address)
	}
	if err := p.rack.Set(t.address, t.value, t.word, t.source, p.played(t)); err != nil {
		return err
	}
	if knob {
		var to mapping.Setpoint
		to.Value, to.Word, _ = p.rack.Value(t.address)
		p.history.Record(t.address, from, to, t.source, time.Now())
		p.held(t.address)
	}
	return nil
}

// rewire serves the addresses that there are now, if others are there than
// before. Pods come and go faster than a list of addresses is worth making.
func (p *player) rewire() {
	if !p.rewired || p.osc == nil {
		return
	}
	p.rewired = false
	if err := p.osc.rewire(p.rack); err != nil {
		p.log.Error("osc", "err", err)
	}
}

// changed tells the surfaces.
func (p *player) changed(a mapping.Address, value float64, word, source string) {
	p.holds.Changed(a, value)
	if p.osc != nil {
		p.osc.changed(a, value, word, source)
	}
	p.binds.changed(a, value, word, source)
	if m, err := p.rack.Member(a); err == nil {
		p.web.changed(m, value, word, source)
		p.keepTurn(m, value, word)
		if m.Kind == mapping.MemberParam && source == mapping.SourceCluster && p.stage.morph != nil {
			p.stage.morph.way.Hold(a, value, word) // another hand in the cluster has it
		}
	}
	p.panels.changed(a, value)
}
