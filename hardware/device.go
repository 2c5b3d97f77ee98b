package hardware

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	lostAfter   = 500 * time.Millisecond // without a callback a device counts as lost
	watchEvery  = 50 * time.Millisecond
	retryEvery  = 250 * time.Millisecond // a lost device is tried again this often
	absentEvery = 2 * time.Second        // the same for one that was never there
	openLimit   = 4 * time.Second        // a library that takes longer to open a device hangs
	closeLimit  = 2 * time.Second        // the same for closing
	fadeTime    = 50 * time.Millisecond  // of Close
	// emergencyLimit is how long Emergency may take.
	emergencyLimit = 95 * time.Millisecond
	sweepEvery     = time.Second // new threads are made real-time
	maxHanging     = 8           // openings or closings that hang before no more are tried
)

// priorityRemedy is what a player can do where real-time priority was refused.
const priorityRemedy = "allow it with 'rtprio 95' for your user in /etc/security/limits.d and a new login, LimitRTPRIO=95 in a systemd unit, or 'setcap cap_sys_nice+ep' on the program"

// ErrClosed is returned by methods of a Device that was closed.
var ErrClosed = errors.New("the audio device is closed")

// Device plays what a Renderer renders. See the package comment for how.
type Device struct {
	settings Settings
	renderer Renderer
	log      *slog.Logger

	// Shared with the render goroutine.
	sink    atomic.Pointer[stream] // where blocks go
	using   atomic.Pointer[stream] // the one that the render goroutine is at; nil when it has ended
	frames  atomic.Uint64          // rendered
	tap     atomic.Pointer[recorder]
	closing atomic.Bool // fade out, then end
	quit    atomic.Bool // end now
	load    atomic.Uint64
	peak    [2]atomic.Uint64 // this second's and the last one's
	clipped atomic.Uint64
	invalid atomic.Uint64

	// Of capture, over reopenings.
	gaps, gapFrames, realigned atomic.Uint64
	spare                      atomic.Int64 // frames captured and not yet taken, at the last block

	// Emergency's question and the render goroutine's answers.
	emergency, landBegan, atRest atomic.Bool

	// Render goroutine only.
	obeyed      uint32 // the newest panic that the renderer has obeyed
	conv        Converter
	out         [][]float32 // volts of the renderer
	in          [][]float32 // volts for it; nil without capture
	samples     [][]float32 // full scale, one slice a playback channel; nil for one of words
	words       [][]int32   // the reverse
	heard       [][]float32 // full scale, one slice a capture channel
	align       aligner
	inter       []float32 // unclipped, interleaved
	blockTime   float64   // ns
	blocks      uint64
	landing     bool
	landLeft    int // frames that a converter has left to land in
	silenceLeft int
	ended       chan struct{}

	mu      sync.RWMutex // guards what follows, and keeps a stream alive for those who read it
	started bool
	closed  bool
	lost    bool // playing into the null device because there is no other
	reopens int
	past    struct {
		callbacks, late, underruns, underrunFrames, captureLost, xruns uint64
		lags                                                           [lagBuckets]uint64
	}
	thread   int           // of the render goroutine, for the kernel's figures
	warm     threadFigures // of that thread when the device had started
	memory   string
	memNote  string
	priority int
	others   int // priority of the process's other threads
	prioNote string
	ringMin  int
	rec      *recorder
	last     DeviceInfo // the device that was lost
	final    Stats

	cancel  context.CancelFunc
	watched chan struct{}
	hanging atomic.Int32
}

// Open opens the device that settings name, ready to Start. When none opens, it says so in one log
// line and the Device plays into the null device until one does: only wrong settings are an error.
// ctx ends the supervision of the device (not the sound: that is Close).
func Open(ctx context.Context, settings Settings, renderer Renderer) (*Device, error) {
	s, err := settings.ApplyDefaults()
	if err != nil {
		return nil, err
	}
	if renderer == nil {
		return nil, errors.New("the audio device needs a renderer")
	}
	if s.Panicked != nil {
		if s.panics, err = newPanicCount(); err != nil {
			return nil, err
		}
	}
	d := newDevice(s, renderer)
	st, err := d.open(s)
	if errors.Is(err, ErrInexact) {
		return nil, err
	}
	if err != nil {
		d.lost = true
		d.log.Warn("no audio device: playing silently until one is there", "reason", err)
		if st, err = openStream("null", s); err != nil {
			return nil, err
		}
	} else {
		d.describe(st)
	}
	d.sink.Store(st)
	ctx, d.cancel = context.WithCancel(ctx)
	d.watched = make(chan struct{})
	go func() {
		defer func() {
			if cause := recover(); cause != nil {
				d.Emergency()
				panic(cause)
			}
		}()
		d.watch(ctx)
	}()
	return d, nil
}

func newDevice(s Settings, renderer Renderer) *Device {
	d := &Device{settings: s, renderer: renderer, log: s.Logger, ended: make(chan struct{})}
	if d.conv = s.Converter; d.conv == nil {
		d.conv = newPlain(s)
	}
	outputs, inputs, playback, capture := d.conv.Shape()
	d.out, d.samples, d.words = blocks[float32](outputs), blocks[float32](playback), blocks[int32](playback)
	for c := range d.samples {
		if s.exact.Has(c) {
			d.samples[c] = nil
		} else {
			d.words[c] = nil
		}
	}
	if capture > 0 {
		d.in, d.heard = blocks[float32](inputs), blocks[float32](capture)
		d.align.last = make([]float32, capture)
	}
	d.inter = make([]float32, playback*BlockFrames)
	d.blockTime = BlockFrames / float64(s.Rate) * 1e9
	d.ringMin = -1
	return d
}

// blocks makes n slices of one block, beside each other in memory.
func blocks[T any](n int) [][]T {
	b, back := make([][]T, n), make([]T, n*BlockFrames)
	for c := range b {
		b[c] = back[c*BlockFrames : (c+1)*BlockFrames : (c+1)*BlockFrames]
	}
	return b
}

// open tries the backends that s allows and returns the first stream that opens.
func (d *Device) open(s Settings) (*stream, error) {
	names := []string{s.Backend}
	if s.Backend == "" {
		names = Backends()
		names = names[:len(names)-1] // the null device is not a find
	}
	var reasons []error
	for _, name := range names {
		if d.hanging.Load() >= maxHanging {
			return nil, fmt.Errorf("%w: %d attempts still hang; restart the audio server and this program", errNoAnswer, maxHanging)
		}
		d.hanging.Add(1)
		st, err := bounded(openLimit, func() (*stream, error) {
			defer d.hanging.Add(-1)
			return openStream(name, s)
		}, func(late *stream, err error) {
			if err == nil {
				late.close()
			}
		})
		if err == nil {
			return st, nil
		}
		reasons = append(reasons, err)
	}
	return nil, joined(reasons)
}

// joined is errors.Join on one line.
type joined []error

func (j joined) Error() string {
	var texts []string
	for _, err := range j {
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "; ")
}

// Is reports true when all reasons are target: one device that is merely away may come back.
func (j joined) Is(target error) bool {
	for _, err := range j {
		if !errors.Is(err, target) {
			return false
		}
	}
	return len(j) > 0
}

// describe logs what was opened, and what about it is not as asked.
func (d *Device) describe(st *stream) {
	d.log.Info("audio device", "backend", st.info.Backend, "device", st.info.Name, "rate", d.settings.Rate,
		"channels", d.settings.Channels, "capture", d.settings.Capture, "period", st.period, "ring", d.settings.Depth*BlockFrames)
	if n := st.info.Channels; st.own != nil && n < d.settings.Channels {
		d.log.Warn("the audio device has fewer outputs: the last channels lead nowhere", "device", st.info.Name, "has", n, "asked", d.settings.Channels)
	} else if st.own == nil && n != 0 && n != d.settings.Channels && d.settings.Channels > 2 {
		d.log.Warn("the audio device has another number of channels: they may be mixed or reordered",
			"device", st.info.Name, "has", n, "asked", d.settings.Channels)
	}
	if r := st.info.Rates; len(r) > 0 && !containsRate(r, d.settings.Rate) {
		d.log.Warn("the audio device has another sample rate: it is resampled, which control voltages do not survive exactly",
			"device", st.info.Name, "has", r, "asked", d.settings.Rate)
	}
	for _, w := range st.warnings {
		d.log.Warn(w, "device", st.info.Name)
	}
}

func containsRate(rates []int, rate int) bool {
	for _, r := range rates {
		if r == rate {
			return true
		}
	}
	return false
}

// Start begins to render and to play.
func (d *Device) Start() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return ErrClosed
	case d.started:
		return errors.New("the audio device was started before")
	}
	// A goroutine that comes back from waiting in C needs a free P to go on; with as few as there
	// are cores it queues behind the others for as long as they like to run.
	if runtime.GOMAXPROCS(0) < 8 {
		runtime.GOMAXPROCS(8)
	}
	landInCrash()
	ready := make(chan struct{})
	go d.run(ready)
	<-ready
	d.started = true
	st := d.sink.Load()
	if d.settings.Priority > 0 {
		d.others = raiseProcess()
	}
	if d.memory, d.memNote = lockMemory(st.ring); d.memNote != "" {
		d.log.Debug(d.memNote)
	}
	if err := d.startStream(st, 0); err != nil {
		d.log.Warn("the audio device does not start: playing silently until it does", "reason", err)
		return d.toNull(0)
	}
	d.warm, _ = figuresOf(d.thread)
	return nil
}

// startStream waits until the render goroutine has filled the ring, then starts the callbacks.
func (d *Device) startStream(st *stream, since uint64) error {
	for end := time.Now().Add(500 * time.Millisecond); st.ring.room() >= BlockFrames && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	st.begun = time.Now()
	st.moved, st.listened = st.begun, st.begun
	_, err := bounded(openLimit, func() (struct{}, error) {
		return struct{}{}, st.start(float64(d.settings.Rate), since)
	}, nil)
	return err
}

// toNull goes on without a device: the clock of the music must not stop. since is when the null
// device's time begins. With d.mu held.
func (d *Device) toNull(since uint64) error {
	st, err := openStream("null", d.settings)
	if err != nil {
		return err
	}
	d.memory, d.memNote = lockMemory(st.ring)
	d.replace(st)
	d.lost = true
	return d.startStream(st, since)
}

// replace makes st the stream that is rendered into and puts the old one away. With d.mu held.
func (d *Device) replace(st *stream) {
	old := d.sink.Swap(st)
	if !d.lost {
		d.past.callbacks += old.ring.callbacks()
		d.past.late += old.ring.late()
		for i, n := range old.ring.lags() {
			d.past.lags[i] += n
		}
		d.past.underruns += old.ring.underruns()
		d.past.underrunFrames += old.ring.underrunFrames()
		if old.capture != nil {
			d.past.captureLost += old.capture.lost()
		}
		if old.own != nil {
			d.past.xruns += old.own.xruns()
		}
	}
	old.ring.wakeProducer()
	// The render goroutine leaves the old ring within a block; a Render that takes longer than
	// a second is not one, and then the memory is better leaked.
	left := d.waitUntil(time.Second, func() bool { return d.using.Load() != old })
	d.discard(old, left)
}

func (d *Device) waitUntil(limit time.Duration, ok func() bool) bool {
	for end := time.Now().Add(limit); !ok(); {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return true
}

// discard closes a stream in the background, with all its outputs at 0 V where the device can still be
// told. Closing a lost device may never end; nothing waits for it.
func (d *Device) discard(st *stream, free bool) chan struct{} {
	done := make(chan struct{})
	if !free {
		close(done)
		return done
	}
	name, started := st.info.Name, !st.begun.IsZero()
	d.hanging.Add(1)
	go func() {
		defer close(done)
		defer d.hanging.Add(-1)
		if started {
			d.lower(st)
		}
		st.close()
	}()
	go func() {
		timer := time.NewTimer(closeLimit)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
			d.log.Warn("the audio system does not let go of the lost device; it was abandoned", "device", name)
		}
	}()
	return done
}

// lower has the device thread bring all outputs of a stream from where they are to 0 V, where a device is
// that nobody plays: from their safe values after a landing, and from what was played where the device is
// given up although its playback is well, because what it captures has ceased. It waits for that as long as
// there are callbacks, which a busy machine may have late.
func (d *Device) lower(st *stream) {
	st.ring.ground()
	for end := time.Now().Add(closeLimit / 2); !st.ring.grounded() && time.Now().Before(end); {
		n := st.ring.callbacks()
		if !d.waitUntil(fadeTime+50*time.Millisecond, func() bool { return st.ring.grounded() || st.ring.callbacks() != n }) {
			return // the device does not answer
		}
	}
	// What it has taken is yet to be played.
	time.Sleep(time.Duration(float64(st.period*st.periods) / float64(d.settings.Rate) * 1e9))
}

// watch supervises the device: it notices when callbacks stop, goes on without it, and opens it
// again when it is back.
func (d *Device) watch(ctx context.Context) {
	defer close(d.watched)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var tried, lostAt, second, swept time.Time
	var failed *recorder // whose failure was told
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		d.mu.Lock()
		if d.closed || !d.started {
			d.mu.Unlock()
			continue
		}
		st, now := d.sink.Load(), time.Now()
		if n := st.ring.callbacks(); n != st.seen {
			st.seen, st.moved = n, now
		}
		if st.capture == nil || st.together {
			st.listened = st.moved
		} else if n := st.capture.callbacks(); n != st.heard {
			st.heard, st.listened = n, now
		}
		d.tuneRing(st, now, &second)
		if d.settings.Priority > 0 && now.Sub(swept) > sweepEvery {
			swept = now
			was := d.others
			if d.others = sweepProcess(); was > 0 && d.others == 0 {
				d.log.Warn("the instrument's other threads are ordinary again: it took nearly all processors for seconds, or real-time computing is limited; sound may have gaps")
			}
		}
		if r := d.rec; r != nil && r != failed && r.failed() != nil {
			// StopRecord returns it, but that may be hours away.
			failed = r
			d.log.Error("the recording ends here: the rest is not written", "reason", r.failed())
		}
		gone := now.Sub(st.moved) > lostAfter || now.Sub(st.listened) > lostAfter ||
			(st.ring.stopped() || st.capture != nil && st.capture.stopped()) && now.Sub(st.begun) > lostAfter
		if !d.lost && d.settings.Backend != "null" && gone {
			lostAt, tried = now, now
			d.log.Warn("audio device lost: the music goes on without it until it is back", "device", st.info.Name, "backend", st.info.Backend)
			d.last = st.info
			if err := checkCallback(); err != nil {
				d.log.Error("the audio callback does not work", "reason", err)
			}
			// The null device's time begins when the sound in the ring would have ended.
			if err := d.toNull(st.ring.soundEnds()); err != nil {
				d.log.Error("cannot go on without an audio device", "reason", err)
			}
		}
		lost := d.lost
		s := d.settings
		every := absentEvery
		if d.last.Backend != "" {
			// What was playing comes back, not whatever else could be opened meanwhile.
			s.Backend = d.last.Backend
			every = retryEvery
		}
		d.mu.Unlock()
		if !lost || s.Backend == "null" || time.Since(tried) < every {
			continue
		}
		tried = time.Now()
		fresh, err := d.open(s)
		if err != nil {
			d.log.Debug("no audio device yet", "reason", err, "took", time.Since(tried))
			continue
		}
		d.mu.Lock()
		if d.closed {
			d.mu.Unlock()
			d.discard(fresh, true)
			continue
		}
		d.memory, d.memNote = lockMemory(fresh.ring)
		d.replace(fresh)
		// Starting may take a server its time; whoever asks for figures or the clock must not wait
		// for it. Only this goroutine replaces streams, so fresh stays.
		d.mu.Unlock()
		err = d.startStream(fresh, 0)
		d.mu.Lock()
		if err != nil {
			d.log.Debug("the audio device is back but does not start", "reason", err)
			if err := d.toNull(0); err != nil {
				d.log.Error("cannot go on without an audio device", "reason", err)
			}
			d.mu.Unlock()
			continue
		}
		d.lost = false
		if d.last.Backend != "" {
			d.reopens++
			d.log.Info("audio device is back", "device", fresh.info.Name, "backend", fresh.info.Backend, "after", time.Since(lostAt).Round(time.Millisecond))
		} else {
			d.describe(fresh)
		}
		d.mu.Unlock()
	}
}

// tuneRing lowers the ring to its working depth once the device has filled its own buffer, and
// raises it for a device that asks for more at a time than it was told to. With d.mu held.
func (d *Device) tuneRing(st *stream, now time.Time, second *time.Time) {
	if now.Sub(st.begun) < 300*time.Millisecond || st.seen == 0 {
		return
	}
	if st.depth == 0 {
		st.depth = workingDepth(d.settings, st.period)
		st.ring.setLimit(st.depth)
		st.ring.forgetStart()
		st.measure()
		*second = now
		return
	}
	if now.Sub(*second) < time.Second {
		return
	}
	*second = now
	d.ringMin = st.ring.takeMinFill()
	if n := workingDepth(d.settings, st.ring.takeMaxRequest()); n > st.depth {
		d.log.Info("the audio device takes larger blocks than it was asked to: the ring is deeper", "frames", n, "was", st.depth)
		st.depth = n
		st.ring.setLimit(n)
	}
}

// workingDepth is the ring's depth in frames for callbacks of up to request frames: what was set,
// and at least half of that besides one whole callback.
func workingDepth(s Settings, request int) int {
	depth := s.Depth * BlockFrames
	return max(depth, request+depth/2)
}

// run is the render goroutine.
func (d *Device) run(ready chan<- struct{}) {
	// Never unlocked: the thread ends with the goroutine, and its priority with it.
	runtime.LockOSThread()
	if d.settings.Priority > 0 {
		granted, errno := askRealTime(d.settings.Priority)
		d.priority = granted
		switch {
		case errno != 0:
			d.prioNote = fmt.Sprintf("no real-time priority (%v), so gaps are likely while the machine is busy: %s", syscall.Errno(errno), priorityRemedy)
			d.log.Warn(d.prioNote)
		case granted < d.settings.Priority:
			d.prioNote = fmt.Sprintf("real-time priority %d instead of %d: RLIMIT_RTPRIO allows no more", granted, d.settings.Priority)
			d.log.Info(d.prioNote)
		}
	} else {
		d.prioNote = "not asked for"
	}
	d.thread = threadID()
	close(ready)
	defer close(d.ended)
	defer d.using.Store(nil)
	defer func() {
		if cause := recover(); cause != nil {
			// The speakers and the case first, then the trace.
			d.crash()
			panic(cause)
		}
	}()
	for !d.quit.Load() {
		st := d.sink.Load()
		d.using.Store(st)
		if st != d.sink.Load() {
			continue
		}
		if !st.ring.wait(BlockFrames, 100*time.Millisecond) {
			continue
		}
		if d.closing.Load() || d.emergency.Load() {
			if !d.landStep(st) && d.closing.Load() {
				return
			}
			continue
		}
		d.step(st)
	}
}

// step renders one block and hands it to the ring of st and to the recorder.
//
// Audio thread.
func (d *Device) step(st *stream) {
	if st.base.Load() < 0 {
		d.arrive(st)
	}
	began := time.Now()
	d.renderer.Render(d.out, d.listen(st))
	d.account(float64(time.Since(began)))
	d.obey(st)
	d.interleave()
	d.emit(st)
}

// obey tells the device thread where in the block that is emitted next the renderer has obeyed a panic.
//
// Audio thread.
func (d *Device) obey(st *stream) {
	if d.settings.panics == nil {
		return
	}
	if n, after := d.settings.Panicked(); n != d.obeyed {
		d.obeyed = n
		st.ring.answer(n, atomic.LoadUint64(st.ring.write)+uint64(BlockFrames-after))
	}
}

// Panic silences what was rendered and is not played yet, from the device's next buffer on, within that
// or 1.3 ms: audio fades, gates fall, control voltages stay where they are. That lasts until the renderer
// has obeyed, of which Settings.Panicked tells with the number that is returned: so tell the renderer of
// the panic, and of its number, after this. Frames are taken at their time meanwhile, so that clocks go on.
// A recording has them as they were rendered.
//
// It may be called from any goroutine, and waits for nothing. Without Settings.Panicked it does nothing,
// and returns 0.
func (d *Device) Panic() (number uint32) {
	if d.settings.panics == nil {
		return 0
	}
	return atomic.AddUint32(d.settings.panics.asked(), 1)
}

// arrive is before the first block into a stream.
//
// Audio thread.
func (d *Device) arrive(st *stream) {
	st.base.Store(int64(d.frames.Load()))
	st.ring.answer(d.obeyed, 0)
	d.align.reset()
	if (st.info.Backend != "null" || d.settings.Backend == "null") && !d.landing {
		d.conv.Begin()
	}
}

// listen returns what was captured for the next block, in volts; nil without capture. What is missing
// holds its last value.
//
// Audio thread.
func (d *Device) listen(st *stream) [][]float32 {
	if d.in == nil {
		return nil
	}
	if st.capture == nil {
		d.align.fill(d.heard, 0, BlockFrames)
	} else {
		t := d.align.take(st, d.heard)
		if t.gap > 0 {
			d.gaps.Add(1)
			d.gapFrames.Add(uint64(t.gap))
		}
		if t.realigned {
			d.realigned.Add(1)
		}
		d.spare.Store(st.capture.written() - d.align.at)
	}
	d.conv.In(d.heard, d.in)
	return d.in
}

// account keeps the load: time rendered against time played.
//
// Audio thread.
func (d *Device) account(ns float64) {
	x := ns / d.blockTime
	a := math.Float64frombits(d.load.Load())
	// One second's time constant.
	a += (x - a) * math.Min(1, d.blockTime*1e-9)
	d.load.Store(math.Float64bits(a))
	if float64(d.blocks)*d.blockTime > 1e9 {
		d.blocks = 0
		d.peak[1].Store(d.peak[0].Load())
		d.peak[0].Store(0)
	}
	d.blocks++
	if x > math.Float64frombits(d.peak[0].Load()) {
		d.peak[0].Store(math.Float64bits(x))
	}
}

// interleave turns the renderer's volts into full scale.
//
// Audio thread.
func (d *Device) interleave() { d.convert(d.out) }

// convert has the converter turn volts into samples and words, and brings them into the device's order.
// Values that are no numbers are counted and become 0, or on a channel that holds its last value.
//
// Audio thread.
func (d *Device) convert(volts [][]float32) {
	d.conv.Out(volts, d.samples, d.words)
	n := len(d.samples)
	bad := 0
	for c, s := range d.samples {
		if s == nil {
			// What a float can say of a word, which is all of it, for the recorder and the null device.
			for i, w := range d.words[c] {
				d.inter[i*n+c] = float32(w) / (1 << 31)
			}
			continue
		}
		last := d.inter[(BlockFrames-1)*n+c]
		for i, v := range s {
			if v-v != 0 {
				v = 0
				if d.settings.hold.Has(c) {
					v = last
				}
				bad++
			}
			last = v
			d.inter[i*n+c] = v
		}
	}
	if bad > 0 {
		d.invalid.Add(uint64(bad))
	}
}

// Audio thread.
func (d *Device) emit(st *stream) {
	var clipped int
	if st.ring.words != nil {
		clipped = st.ring.pushInts(d.inter, d.words)
	} else {
		clipped = st.ring.push(d.inter)
	}
	if clipped > 0 {
		d.clipped.Add(uint64(clipped))
	}
	if t := d.tap.Load(); t != nil {
		t.push(d.inter)
	}
	d.frames.Add(BlockFrames)
}

// still makes the block that is emitted next one of the last values.
//
// Audio thread.
func (d *Device) still() {
	n := len(d.samples)
	last := d.inter[(BlockFrames-1)*n:]
	for i := range BlockFrames - 1 {
		copy(d.inter[i*n:(i+1)*n], last)
	}
	for _, w := range d.words {
		for i := range w {
			w[i] = w[BlockFrames-1]
		}
	}
}

// landStep is step while the sound ends: the converter lands, and then everything stays where it is
// until the last of it has been played. It reports whether there is more to do.
//
// Audio thread.
func (d *Device) landStep(st *stream) bool {
	if st.base.Load() < 0 {
		d.arrive(st)
	}
	if d.land(st, true) {
		d.still()
		d.silenceLeft -= BlockFrames
		if d.landed(st) {
			d.atRest.Store(true)
		}
	}
	d.emit(st)
	return !d.landed(st)
}

// landed reports whether the last of a landing has been played, whoever lands.
//
// Audio thread.
func (d *Device) landed(st *stream) bool { return d.silenceLeft <= 0 && !st.ring.grounding() }

// land makes the next block of a landing, and reports true when there is none: everything is at rest.
// Without render, the renderer is not asked any more.
//
// Audio thread.
func (d *Device) land(st *stream, render bool) (rest bool) {
	if !d.landing {
		d.landing = true
		d.conv.Land()
		// One block more, for a converter that counts in blocks.
		d.landLeft = int(float64(d.settings.Rate)*fadeTime.Seconds()) + BlockFrames
		d.silenceLeft = int(st.ring.load64(&st.ring.c.limit)) + st.period*st.periods + 2*BlockFrames
		d.landBegan.Store(true)
	}
	if d.landLeft <= 0 || d.conv.Landed() {
		// Nobody asks the renderer any more whether it has obeyed, and where the converter rests the
		// device may not: its voltages stand where the panic met them.
		d.ownLanding(st)
		return true
	}
	d.landLeft -= BlockFrames
	if !render {
		d.ownLanding(st)
		d.convert(nil)
		return false
	}
	d.renderer.Render(d.out, d.listen(st))
	d.obey(st)
	if d.landLeft < int(float64(d.settings.Rate)*fadeTime.Seconds())-2*BlockFrames {
		d.ownLanding(st)
	}
	d.convert(d.out)
	return false
}

// ownLanding lets the device thread land by itself if it waits for the renderer to obey a panic: voltages
// stand meanwhile.
//
// Audio thread.
func (d *Device) ownLanding(st *stream) {
	if p := d.settings.panics; p != nil && atomic.LoadUint32(p.asked()) != d.obeyed {
		st.ring.ground()
	}
}

// crash brings the outputs down after Render has panicked, without asking the renderer again. When it
// was the converter that panicked, the device thread does it.
func (d *Device) crash() {
	st := d.sink.Load()
	defer func() {
		if recover() != nil {
			st.ring.ground()
			d.waitUntil(emergencyLimit, st.ring.grounded)
		}
	}()
	for {
		if d.land(st, false) {
			if d.landed(st) {
				return
			}
			d.still()
			d.silenceLeft -= BlockFrames
		}
		if !st.ring.wait(BlockFrames, 100*time.Millisecond) {
			return
		}
		d.emit(st)
	}
}

// Emergency brings every output down, now: gates fall, control voltages go to their safe values, audio
// fades. It returns when that has been handed to the device, after at most 100 ms, and nothing sounds
// any more until the Device is closed. It may be called at any time from any goroutine, also one that
// has panicked, waits for no lock, and needs neither the renderer nor the watcher to be well. Where the
// render goroutine does not answer, the device thread itself brings the outputs to 0 V.
func (d *Device) Emergency() {
	end := time.Now().Add(emergencyLimit)
	d.emergency.Store(true)
	// Who holds the lock may be what has failed.
	locked := false
	for ; !locked && time.Until(end) > emergencyLimit-5*time.Millisecond; time.Sleep(200 * time.Microsecond) {
		locked = d.mu.TryRLock()
	}
	if !locked {
		d.waitUntil(time.Until(end), d.atRest.Load)
		return
	}
	defer d.mu.RUnlock()
	st := d.sink.Load()
	if st == nil || !d.started {
		return
	}
	ahead := time.Duration(float64(st.ring.fill()) / float64(d.settings.Rate) * 1e9)
	// A deep ring would play on for longer than there is time.
	if ahead > emergencyLimit-fadeTime-20*time.Millisecond || !d.waitUntil(15*time.Millisecond+ahead/8, d.landBegan.Load) {
		st.ring.ground()
		d.waitUntil(time.Until(end), st.ring.grounded)
		return
	}
	d.waitUntil(time.Until(end), d.atRest.Load)
}

// Close fades the sound out within 50 ms, lets gates fall and CVs go to their safe values and from
// there within 50 ms to 0 V, and closes the device and a recording. It does not hang when the audio
// system does.
func (d *Device) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	started, hangs := d.started, false
	d.mu.Unlock()
	d.cancel()
	<-d.watched // at most openLimit for each backend that is tried, when all of them hang
	if started && d.settings.Priority > 0 {
		defer lowerProcess()
	}
	if started {
		d.closing.Store(true)
		select {
		case <-d.ended:
		case <-time.After(time.Second):
			// Nothing drains the ring.
			d.quit.Store(true)
			d.sink.Load().ring.wakeProducer()
			select {
			case <-d.ended:
			case <-time.After(time.Second):
				hangs = true
			}
		}
	}
	_, err := d.StopRecord()
	if errors.Is(err, errNotRecording) {
		err = nil
	}
	if hangs {
		// Render does not return. Its ring must stay; the device thread has brought the outputs down by
		// now, and stays too.
		return errors.Join(errors.New("the renderer hangs: the audio device was left as it is"), err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	st := d.sink.Load()
	// The figures stay readable after the ring is gone.
	d.final = d.statsLocked()
	d.sink.Store(nil)
	select {
	case <-d.discard(st, true):
	case <-time.After(closeLimit):
	}
	return err
}

var errNotRecording = errors.New("nothing is being recorded")

// Record writes everything that is rendered from now on to a WAVE file at path: full-scale floats,
// not clipped, one channel an output. It goes on through the loss of the device. What a Panic keeps from
// being heard, which is as much as the ring holds, is in it.
func (d *Device) Record(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	if d.rec != nil {
		return fmt.Errorf("already recording to %s: stop that first", d.rec.path)
	}
	r, err := newRecorder(path, d.settings.Rate, d.settings.Channels)
	if err != nil {
		return err
	}
	d.rec = r
	d.tap.Store(r)
	return nil
}

// StopRecord completes the recording and tells what is in it. The error says what was lost.
func (d *Device) StopRecord() (RecordStats, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.rec
	if r == nil {
		return RecordStats{}, errNotRecording
	}
	d.rec = nil
	d.tap.Store(nil)
	// The render goroutine may still be in the block that uses it.
	if d.using.Load() != nil {
		from := d.frames.Load()
		d.waitUntil(200*time.Millisecond, func() bool { return d.frames.Load() >= from+2*BlockFrames || d.using.Load() == nil })
	}
	return r.stop()
}
