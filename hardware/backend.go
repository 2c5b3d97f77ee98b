package hardware

// #include <stdlib.h>
import "C"

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/gen2brain/malgo"
)

// The numbers of miniaudio's backends. Its null backend (14, which malgo v0.11.24 calls 13) is not
// among them: it takes 10 ms at a time. Ours (ks_null) takes one period, and can begin in the past.
var backendNumbers = map[string]malgo.Backend{
	"wasapi": 0, "dsound": 1, "winmm": 2, "coreaudio": 3, "sndio": 4, "audio4": 5, "oss": 6,
	"pulse": 7, "alsa": 8, "jack": 9,
}

// Channel positions of miniaudio that say nothing but a number: MA_CHANNEL_AUX_0 to 31.
const (
	firstAux       = 20
	maxAuxChannels = 32
)

// Backends lists the names that Settings.Backend accepts on this system, in the order in which they
// are tried, with "null" last.
func Backends() []string {
	switch runtime.GOOS {
	case "linux":
		return []string{"pulse", "alsa", "jack", "null"}
	case "darwin":
		return []string{"coreaudio", "jack", "null"}
	case "windows":
		return []string{"wasapi", "dsound", "winmm", "jack", "null"}
	case "freebsd", "netbsd", "openbsd":
		return []string{"sndio", "audio4", "oss", "jack", "null"}
	}
	return []string{"null"}
}

func backendNumber(name string) (malgo.Backend, error) {
	if n, ok := backendNumbers[name]; ok && slices.Contains(Backends(), name) {
		return n, nil
	}
	return 0, fmt.Errorf("unknown audio backend %q: use one of %s", name, strings.Join(Backends(), ", "))
}

// DeviceInfo describes a playback device, or one to capture from.
type DeviceInfo struct {
	Backend string `json:"backend"`
	ID      string `json:"id"`
	Name    string `json:"name"`
	Default bool   `json:"default"`
	// Channels is the largest number of outputs that the device offers by itself, 0 when it takes any number.
	Channels int `json:"channels"`
	// Rates in Hz that the device offers by itself; empty when it takes any.
	Rates []int `json:"rates"`

	raw malgo.DeviceID
}

// Devices lists the playback devices of every backend of this system, and for each backend that is
// not available the reason. It may take a second: it asks every audio server and driver.
func Devices() (devices []DeviceInfo, unavailable map[string]error) { return list(malgo.Playback) }

// CaptureDevices is Devices for those to capture from (Settings.CaptureDevice).
func CaptureDevices() (devices []DeviceInfo, unavailable map[string]error) {
	return list(malgo.Capture)
}

func list(direction malgo.DeviceType) (devices []DeviceInfo, unavailable map[string]error) {
	unavailable = map[string]error{}
	for _, name := range Backends() {
		if name == "null" {
			text := "keeps time, makes no sound"
			if direction == malgo.Capture {
				text = "hears nothing"
			}
			devices = append(devices, DeviceInfo{Backend: "null", ID: "null", Name: text})
			continue
		}
		type answer struct {
			list []DeviceInfo
			err  error
		}
		got, err := bounded(5*time.Second, func() (answer, error) {
			c, err := openContext(name)
			if err != nil {
				return answer{}, err
			}
			defer closeContext(c)
			list, err := listDevices(c, name, direction)
			for i := range list {
				list[i].details(c, direction)
			}
			// ALSA also lists converters that lead to no device; a card that is busy has a colon.
			list = slices.DeleteFunc(list, func(d DeviceInfo) bool {
				return name == "alsa" && len(d.Rates) == 0 && !strings.Contains(d.ID, ":")
			})
			return answer{list, err}, nil
		}, nil)
		if err == nil {
			err = got.err
		}
		if err != nil {
			unavailable[name] = err
			continue
		}
		devices = append(devices, got.list...)
	}
	return devices, unavailable
}

// errNoAnswer is returned when an audio library did not come back in time.
var errNoAnswer = errors.New("the audio system does not answer")

// bounded runs f in a goroutine of its own and gives up waiting after limit: libraries of sound
// servers are known to hang when their server has died. What f returns too late goes to late.
func bounded[T any](limit time.Duration, f func() (T, error), late func(T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.v, r.err
	case <-timer.C:
		if late != nil {
			go func() { r := <-done; late(r.v, r.err) }()
		}
		var zero T
		return zero, fmt.Errorf("%w after %s", errNoAnswer, limit)
	}
}

// clientName is what audio servers show. It lives in C memory because miniaudio keeps the pointer.
var clientName = sync.OnceValue(func() *byte { return (*byte)(unsafe.Pointer(C.CString("k8s-synth"))) })

func openContext(backend string) (*malgo.AllocatedContext, error) {
	number, err := backendNumber(backend)
	if err != nil {
		return nil, err
	}
	quietLibraries()
	mark := messageCount()
	config := malgo.ContextConfig{
		// Highest ordinary priority: miniaudio's own real-time setting takes 99, above the kernel's
		// interrupt threads. The callback asks for a better one itself.
		ThreadPriority: malgo.ThreadPriorityHighest,
	}
	config.Pulse.PApplicationName = clientName()
	config.Jack.PClientName = clientName()
	c, err := malgo.InitContext([]malgo.Backend{number}, config, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %s%s", backend, trimTag(err), because(mark))
	}
	return c, nil
}

func closeContext(c *malgo.AllocatedContext) {
	_ = c.Uninit()
	c.Free()
}

func trimTag(err error) string {
	return strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(err.Error(), "miniaudio: "), "."))
}

func because(mark uint32) string {
	if m := lastMessage(mark); m != "" {
		return " (" + m + ")"
	}
	return ""
}

// listDevices lists the devices of a backend by name and id; details adds what they can do.
func listDevices(c *malgo.AllocatedContext, backend string, direction malgo.DeviceType) ([]DeviceInfo, error) {
	found, err := c.Devices(direction)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot list devices: %s", backend, trimTag(err))
	}
	var list []DeviceInfo
	for _, f := range found {
		list = append(list, DeviceInfo{Backend: backend, ID: idString(backend, f.ID), Name: f.Name(), Default: f.IsDefault != 0, raw: f.ID})
	}
	return list, nil
}

// details asks the device itself, which opens it for a moment on some backends.
func (d *DeviceInfo) details(c *malgo.AllocatedContext, direction malgo.DeviceType) {
	full, err := c.DeviceInfo(direction, d.raw, malgo.Shared)
	if err != nil {
		return
	}
	for _, n := range full.Formats {
		d.Channels = max(d.Channels, int(n.Channels))
		if r := int(n.SampleRate); r != 0 && !slices.Contains(d.Rates, r) {
			d.Rates = append(d.Rates, r)
		}
	}
	slices.Sort(d.Rates)
}

// idString shows an id as the backend's users write it.
func idString(backend string, id malgo.DeviceID) string {
	switch backend {
	case "pulse", "alsa", "coreaudio", "sndio", "audio4", "oss":
		if n := slices.Index(id[:], 0); n >= 0 {
			return string(id[:n])
		}
	}
	return id.String()
}

// rawALSA matches the ids that ALSA itself understands; such a device need not be listed.
var rawALSA = regexp.MustCompile(`^(plug)?hw:[A-Za-z0-9_=]+(,[A-Za-z0-9_=]+)*$`)

// cardPresent reports an error when id names a raw ALSA card that the kernel (its directory proc) does not have.
func cardPresent(proc, id string) error {
	m := hwALSA.FindStringSubmatch(id)
	if m == nil {
		return nil
	}
	if _, err := os.Stat(proc); err != nil {
		return nil // no such view of the cards here: let ALSA say
	}
	for _, name := range []string{"card" + m[1], m[1]} {
		if _, err := os.Stat(filepath.Join(proc, name)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("alsa: there is no card %s: plug it in, or choose another one from the list of devices", m[1])
}

// hwALSA picks the card, by number or by id, out of a raw ALSA id.
var hwALSA = regexp.MustCompile(`^(?:plug)?hw:([A-Za-z0-9_]+)(?:,|$)`)

// sharedALSA matches miniaudio's id for a card through ALSA's own mixer, which has two channels.
var sharedALSA = regexp.MustCompile(`^:(\d+),(\d+)$`)

// findDevice resolves Settings.Device among the devices of a backend. A nil id is the default.
func findDevice(c *malgo.AllocatedContext, backend string, s Settings) (*malgo.DeviceID, DeviceInfo, error) {
	setALSA := func(id string) *malgo.DeviceID {
		raw := new(malgo.DeviceID)
		copy(raw[:len(raw)-1], id)
		return raw
	}
	if backend == "alsa" && rawALSA.MatchString(s.Device) {
		return setALSA(s.Device), DeviceInfo{Backend: backend, ID: s.Device, Name: s.Device}, nil
	}
	list, err := listDevices(c, backend, malgo.Playback)
	if err != nil {
		return nil, DeviceInfo{}, err
	}
	var hit *DeviceInfo
	if s.Device == "" {
		for i := range list {
			if list[i].Default {
				list[i].details(c, malgo.Playback)
				return nil, list[i], nil
			}
		}
		if len(list) == 0 {
			return nil, DeviceInfo{}, fmt.Errorf("%s: no playback device", backend)
		}
		return nil, DeviceInfo{Backend: backend, ID: "default", Name: "default"}, nil
	}
	for i := range list {
		if list[i].ID == s.Device {
			hit = &list[i]
			break
		}
	}
	if hit == nil {
		for i := range list {
			if strings.Contains(strings.ToLower(list[i].Name), strings.ToLower(s.Device)) {
				hit = &list[i]
				break
			}
		}
	}
	if hit == nil {
		return nil, DeviceInfo{}, fmt.Errorf("%s: no playback device has the id or a name like %q", backend, s.Device)
	}
	hit.details(c, malgo.Playback)
	if m := sharedALSA.FindStringSubmatch(hit.ID); backend == "alsa" && m != nil && (s.Channels > 2 || s.exacting()) {
		// Past the mixer of two channels: the raw device is bit exact and has all of its outputs.
		hit.ID = "hw:" + m[1] + "," + m[2]
		return setALSA(hit.ID), *hit, nil
	}
	return &hit.raw, *hit, nil
}

// findCapture resolves what is captured from: Settings.CaptureDevice, or what belongs to Settings.Device.
func findCapture(c *malgo.AllocatedContext, backend string, s Settings) (*malgo.DeviceID, DeviceInfo, error) {
	want := s.CaptureDevice
	if want == "" && s.Device == "" {
		return nil, DeviceInfo{Backend: backend, ID: "default", Name: "default"}, nil
	}
	found, err := listDevices(c, backend, malgo.Capture)
	if err != nil {
		return nil, DeviceInfo{}, err
	}
	wanted := []string{want}
	if want == "" {
		// The inputs of a card have the name of its outputs, with the direction exchanged; a sink that
		// has no inputs is heard through its monitor.
		wanted = []string{s.Device, strings.Replace(s.Device, "_output.", "_input.", 1), s.Device + ".monitor"}
	}
	for _, same := range []func(d DeviceInfo, w string) bool{
		func(d DeviceInfo, w string) bool { return d.ID == w },
		func(d DeviceInfo, w string) bool {
			return strings.Contains(strings.ToLower(d.Name), strings.ToLower(w))
		},
	} {
		for _, w := range wanted {
			for _, d := range found {
				if w != "" && same(d, w) {
					return &d.raw, d, nil
				}
			}
		}
	}
	return nil, DeviceInfo{}, fmt.Errorf("%s: no capture device has the id or a name like %q", backend, wanted[0])
}

// stream is one opening of one device, with the ring that it drains. A device that is lost may hang
// in its own library for ever, with its ring; a new opening therefore gets a new ring.
type stream struct {
	ring    *ring
	info    DeviceInfo
	null    *nullDevice // set for the null device
	own     ownDevice   // set for a device that this package drives by itself
	context *malgo.AllocatedContext
	devices []*malgo.Device  // playback, and capture where there is one
	memory  []unsafe.Pointer // C memory that miniaudio was given
	period  int
	periods int

	// capture is what comes in, nil without. together tells that one callback does both directions, so
	// that their frames have the same numbers.
	capture  *capture
	together bool
	// external is how many frames lie between the ring's reader and the capture's writer, out through
	// the device and in again; inside are those between a rendered block and the former, and the latter
	// and the block that is captured, 0 while unknown.
	external atomic.Int64
	inside   atomic.Int64
	format   string   // of the samples that the device takes
	warnings []string // for who opened it

	// base is the engine frame of the first frame that went into the ring; -1 before that.
	base atomic.Int64
	// Of the supervision: when the callbacks began, when they last moved, how many there were, and
	// the working depth of the ring in frames once it is set.
	begun, moved time.Time
	seen         uint64
	heard        uint64    // callbacks of capture
	listened     time.Time // when they last moved
	depth        int

	// driving is held while the device is started or closed: a start that hangs is given up waiting for,
	// and what it works with must outlive it.
	driving sync.Mutex
	closed  bool // guarded by driving
}

// ownDevice is a device that this package drives without miniaudio.
type ownDevice interface {
	start() error
	close()
	// latency is how many frames lie between the callback and the device's output, and between its
	// input and the callback.
	latency() (out, in int)
	// xruns counts the times that the device itself had a gap.
	xruns() uint64
}

// newRingFor makes the ring of a stream. It is larger than the latency that is wanted, because a
// device fills its whole buffer when it starts, and because some ask for more than they were told to.
func newRingFor(s Settings) (*ring, error) {
	capacity := s.Depth*BlockFrames + max(s.Period*s.Periods, 8192)
	r, err := newRing(s.Channels, capacity, s.hold, max(s.Rate*3/1000, 1), float64(s.Rate))
	if err != nil {
		return nil, err
	}
	r.setGates(s.gates)
	if s.panics != nil {
		r.setPanics(s.panics)
	}
	r.setLimit(s.Depth*BlockFrames + s.Period*s.Periods)
	return r, nil
}

// integers makes the ring of a device one of integers.
func (s Settings) integers(r *ring) {
	r.integers(s.exact)
	g, ok := s.Converter.(interface{ GateBits(channel int) int32 })
	for c := range s.Channels {
		if ok && s.exact.Has(c) {
			r.setGateBits(c, g.GateBits(c))
		}
	}
}

// ErrInexact is what an error wraps when a device was not opened because words of 24 bits would not
// arrive as they are.
var ErrInexact = errors.New("words do not arrive as they are")

// inexact says why a backend cannot carry the exact channels, and what can.
func inexact(backend, why string) error {
	return fmt.Errorf("%s: %s: %w, which a gate expander needs: use the raw ALSA device (--backend alsa --device hw:N,0)", backend, why, ErrInexact)
}

// newStream makes a stream without a device.
func newStream(backend string, s Settings) (*stream, error) {
	r, err := newRingFor(s)
	if err != nil {
		return nil, err
	}
	st := &stream{ring: r, period: s.Period, periods: s.Periods, info: DeviceInfo{Backend: backend}}
	st.base.Store(-1)
	if s.Capture > 0 && backend != "null" {
		if st.capture, err = newCapture(s.Capture, s.Rate); err != nil {
			r.free()
			return nil, err
		}
	}
	return st, nil
}

// openStream opens, but does not start, the device of one backend.
func openStream(backend string, s Settings) (*stream, error) {
	if backend == "pulse" && s.anyPeriod {
		s.Period = pulsePeriod
	}
	if backend == "alsa" {
		// Much cheaper than asking ALSA, which reads its configuration files at each attempt, four
		// times a second while an interface is away.
		for _, id := range []string{s.Device, s.CaptureDevice} {
			if err := cardPresent("/proc/asound", id); err != nil {
				return nil, err
			}
		}
	}
	st, err := newStream(backend, s)
	if err != nil {
		return nil, err
	}
	if backend == "null" {
		st.info.ID, st.info.Name = "null", "null"
		st.periods = 1
		st.ring.setLimit(workingDepth(s, s.Period))
		return st, nil
	}
	open := openMiniaudio
	if own := ownBackend(backend, s); own != nil {
		open = own
	}
	if err := open(st, backend, s); err != nil {
		st.free()
		return nil, err
	}
	return st, nil
}

// openMiniaudio opens the device of a backend through miniaudio, and one for capture beside it.
func openMiniaudio(st *stream, backend string, s Settings) error {
	if s.exact != 0 && backend != "pulse" {
		return inexact(backend, "samples are converted on the way to the default device")
	}
	if backend != "jack" {
		// A JACK client has one period, whatever the server buffers.
		st.ring.setLatePeriods(s.Periods)
	}
	c, err := openContext(backend)
	if err != nil {
		return err
	}
	st.context = c
	id, info, err := findDevice(c, backend, s)
	if err != nil {
		return err
	}
	st.info = info
	st.format = "float"
	config := miniaudioConfig(malgo.Playback, s)
	order, integers := 0, s.exact != 0
	if s.exacting() {
		if backend == "pulse" && id == nil && info.ID != "default" {
			// By its name, so that the server does not move the stream to a sink that was never asked.
			id = &info.raw
		}
		f := serverFacts(backend, pulseID(info), false, s.Channels, s.Rate)
		order = f.order
		// miniaudio scales floats for integers by one step less than full scale; the ring does not.
		integers = integers || f.words
		switch {
		case s.exact != 0 && !f.known:
			return inexact(backend, "the server does not tell what it does to samples")
		case s.exact != 0 && len(f.changes) > 0:
			return inexact(backend, fmt.Sprintf("the server %s of %q", strings.Join(f.changes, ", "), info.ID))
		case s.exact != 0 && !f.words:
			return inexact(backend, fmt.Sprintf("%q takes neither s32 nor s24", info.ID))
		case len(f.changes) > 0:
			st.warnings = append(st.warnings, fmt.Sprintf("the server does not pass control voltages on as they are: it %s: use ALSA's raw device (--backend alsa --device hw:N,0) or JACK, or give the sink the channels that are played", strings.Join(f.changes, ", ")))
		case backend == "pulse" && !f.known:
			st.warnings = append(st.warnings, "PulseAudio reorders channels by position: for CV use ALSA's raw device (--backend alsa --device hw:N,0) or JACK, or give the sink miniaudio's channel order")
		}
	}
	if integers {
		s.integers(st.ring)
		config.Playback.Format, st.format = malgo.FormatS32, "s32"
	}
	if err := st.initMiniaudio(&config, &config.Playback, id, s.Channels, order, installCallback(&config, st.ring)); err != nil {
		return err
	}
	st.external.Store(int64(s.Period * s.Periods))
	if st.capture == nil {
		return nil
	}
	// A device of its own: miniaudio's duplex mode has a buffer between the two whose fill nobody
	// can know.
	id, info, err = findCapture(c, backend, s)
	if err != nil {
		return err
	}
	f := serverFacts(backend, pulseID(info), true, s.Capture, s.Rate)
	if len(f.changes) > 0 {
		st.warnings = append(st.warnings, fmt.Sprintf("the server does not pass what it captures on as it is: it %s", strings.Join(f.changes, ", ")))
	}
	config = miniaudioConfig(malgo.Capture, s)
	if err := st.initMiniaudio(&config, &config.Capture, id, s.Capture, f.order, installCapture(&config, st.capture)); err != nil {
		return fmt.Errorf("%w (to capture from %q)", err, info.Name)
	}
	st.external.Add(int64(s.Period))
	return nil
}

func miniaudioConfig(direction malgo.DeviceType, s Settings) malgo.DeviceConfig {
	config := malgo.DefaultDeviceConfig(direction)
	config.SampleRate = uint32(s.Rate)
	config.PeriodSizeInFrames = uint32(s.Period)
	config.Periods = uint32(s.Periods)
	config.PerformanceProfile = malgo.LowLatency
	config.NoFixedSizedCallback = 1 // no buffer of miniaudio's own in between
	config.NoClip = 1               // the ring's producer clips
	config.Alsa.NoAutoResample = 1
	config.Alsa.NoAutoChannels = 1
	return config
}

// pulseID is the id of a device, "" for the default one.
func pulseID(info DeviceInfo) string {
	if info.ID == "default" {
		return ""
	}
	return info.ID
}

// facts are what a sound server tells of a device.
type facts struct {
	known   bool
	changes []string // what it does to samples that it should not
	words   bool     // integers of 24 bits pass as they are
	order   int      // of channels, PulseAudio's number; 0 is miniaudio's
}

// configuring keeps the time between wantPulseOrder and its use to one device.
var configuring sync.Mutex

// initMiniaudio opens one direction of st. sub is the one of config.
func (st *stream) initMiniaudio(config *malgo.DeviceConfig, sub *malgo.SubConfig, id *malgo.DeviceID, channels, order int, callbacks malgo.DeviceCallbacks) error {
	if sub.Format == malgo.FormatUnknown {
		sub.Format = malgo.FormatF32
	}
	sub.Channels = uint32(channels)
	// Channel positions (left, centre, …) mean nothing to CV, and miniaudio's defaults reorder or mix
	// channels to honour them. A map of zeros says "no positions"; it must outlive this call, in C.
	chm := C.calloc(256, 1)
	st.memory = append(st.memory, chm)
	if st.info.Backend == "jack" && channels <= maxAuxChannels {
		// A JACK server has as many ports as it has, and channels without a position are mixed to
		// nothing where their number is another. Numbered ones go to the port of their number.
		for i, m := 0, unsafe.Slice((*byte)(chm), channels); i < channels; i++ {
			m[i] = byte(firstAux + i)
		}
	}
	sub.ChannelMap = chm
	if id != nil {
		// Not malgo's DeviceID.Pointer, which leaks a copy at each call.
		sub.DeviceID = C.CBytes(id[:])
		st.memory = append(st.memory, sub.DeviceID)
	}
	mark := messageCount()
	if order != 0 {
		configuring.Lock()
		defer configuring.Unlock()
		wantPulseOrder(config, order)
	}
	dev, err := malgo.InitDevice(st.context.Context, *config, callbacks)
	if err != nil {
		return fmt.Errorf("%s: cannot open %q: %s%s", st.info.Backend, st.info.Name, trimTag(err), because(mark))
	}
	st.devices = append(st.devices, dev)
	return nil
}

// start begins the callbacks. The ring should be full by then. since is for the null device (startNull).
func (st *stream) start(rate float64, since uint64) error {
	st.driving.Lock()
	defer st.driving.Unlock()
	if st.closed {
		return ErrClosed
	}
	if st.own != nil {
		err := st.own.start()
		if err == nil {
			st.measure()
		}
		return err
	}
	if st.devices == nil {
		n, err := startNull(st.ring, st.period, rate, since)
		st.null = n
		return err
	}
	mark := messageCount()
	for _, dev := range st.devices {
		if err := dev.Start(); err != nil {
			return fmt.Errorf("%s: cannot start %q: %s%s", st.info.Backend, st.info.Name, trimTag(err), because(mark))
		}
	}
	return checkCallback()
}

// measure asks a device for its latency, which some know only when they run.
func (st *stream) measure() {
	if st.own != nil {
		out, in := st.own.latency()
		st.external.Store(int64(out + in))
	}
}

// roundTrip is the nominal number of frames from a rendered block to its echo, 0 while unknown.
func (st *stream) roundTrip() int {
	inside := st.inside.Load()
	if inside == 0 {
		return 0
	}
	return int(inside + st.external.Load())
}

// close ends the stream and frees its rings; it may hang in an audio library.
func (st *stream) close() {
	st.driving.Lock()
	defer st.driving.Unlock()
	st.closed = true
	for _, dev := range st.devices {
		// Stop first: it wakes the device's thread from its wait for a device that is gone, which
		// Uninit alone does not do, and would then wait for that thread for ever.
		_ = dev.Stop()
	}
	if st.null != nil {
		st.null.stop()
	}
	st.free()
}

// free gives back what a stream has that is not running.
func (st *stream) free() {
	if st.own != nil {
		st.own.close()
	}
	for _, dev := range st.devices {
		dev.Uninit()
	}
	if st.context != nil {
		closeContext(st.context)
	}
	for _, p := range st.memory {
		C.free(p)
	}
	st.ring.free()
	st.capture.free()
}
