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

// DeviceInfo describes a playback device.
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
func Devices() (devices []DeviceInfo, unavailable map[string]error) {
	unavailable = map[string]error{}
	for _, name := range Backends() {
		if name == "null" {
			devices = append(devices, DeviceInfo{Backend: "null", ID: "null", Name: "keeps time, makes no sound"})
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
			list, err := listDevices(c, name)
			for i := range list {
				list[i].details(c)
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

// listDevices lists the playback devices of a backend by name and id; details adds what they can do.
func listDevices(c *malgo.AllocatedContext, backend string) ([]DeviceInfo, error) {
	found, err := c.Devices(malgo.Playback)
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
func (d *DeviceInfo) details(c *malgo.AllocatedContext) {
	full, err := c.DeviceInfo(malgo.Playback, d.raw, malgo.Shared)
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
	list, err := listDevices(c, backend)
	if err != nil {
		return nil, DeviceInfo{}, err
	}
	var hit *DeviceInfo
	if s.Device == "" {
		for i := range list {
			if list[i].Default {
				list[i].details(c)
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
	hit.details(c)
	if m := sharedALSA.FindStringSubmatch(hit.ID); backend == "alsa" && m != nil && (s.Channels > 2 || s.CV|s.Gate != 0) {
		// Past the mixer of two channels: the raw device is bit exact and has all of its outputs.
		hit.ID = "hw:" + m[1] + "," + m[2]
		return setALSA(hit.ID), *hit, nil
	}
	return &hit.raw, *hit, nil
}

// stream is one opening of one device, with the ring that it drains. A device that is lost may hang
// in its own library for ever, with its ring; a new opening therefore gets a new ring.
type stream struct {
	ring    *ring
	info    DeviceInfo
	null    *nullDevice // set for the null device
	context *malgo.AllocatedContext
	device  *malgo.Device
	id, chm unsafe.Pointer // C memory that miniaudio was given
	period  int
	periods int

	// base is the engine frame of the first frame that went into the ring; -1 before that.
	base atomic.Int64
	// Of the supervision: when the callbacks began, when they last moved, how many there were, and
	// the working depth of the ring in frames once it is set.
	begun, moved time.Time
	seen         uint64
	depth        int
}

// newRingFor makes the ring of a stream. It is larger than the latency that is wanted, because a
// device fills its whole buffer when it starts, and because some ask for more than they were told to.
func newRingFor(s Settings) (*ring, error) {
	capacity := s.Depth*BlockFrames + max(s.Period*s.Periods, 8192)
	r, err := newRing(s.Channels, capacity, s.CV|s.Gate, max(s.Rate*3/1000, 1), float64(s.Rate))
	if err != nil {
		return nil, err
	}
	r.setLimit(s.Depth*BlockFrames + s.Period*s.Periods)
	return r, nil
}

// openStream opens, but does not start, the device of one backend.
func openStream(backend string, s Settings) (*stream, error) {
	if backend == "pulse" && s.anyPeriod {
		s.Period = pulsePeriod
	}
	r, err := newRingFor(s)
	if err != nil {
		return nil, err
	}
	st := &stream{ring: r, period: s.Period, periods: s.Periods}
	if backend != "jack" && backend != "null" {
		// A JACK client has one period, whatever the server buffers.
		r.setLatePeriods(s.Periods)
	}
	st.base.Store(-1)
	if backend == "null" {
		st.info = DeviceInfo{Backend: "null", ID: "null", Name: "null"}
		st.periods = 1
		r.setLimit(workingDepth(s, s.Period))
		return st, nil
	}
	if backend == "alsa" {
		// Much cheaper than asking ALSA, which reads its configuration files at each attempt, four
		// times a second while an interface is away.
		if err := cardPresent("/proc/asound", s.Device); err != nil {
			r.free()
			return nil, err
		}
	}
	c, err := openContext(backend)
	if err != nil {
		r.free()
		return nil, err
	}
	fail := func(err error) (*stream, error) {
		closeContext(c)
		C.free(st.id)
		C.free(st.chm)
		r.free()
		return nil, err
	}
	id, info, err := findDevice(c, backend, s)
	if err != nil {
		return fail(err)
	}
	st.context, st.info = c, info
	config := malgo.DefaultDeviceConfig(malgo.Playback)
	config.SampleRate = uint32(s.Rate)
	config.PeriodSizeInFrames = uint32(s.Period)
	config.Periods = uint32(s.Periods)
	config.PerformanceProfile = malgo.LowLatency
	config.NoFixedSizedCallback = 1 // no buffer of miniaudio's own in between
	config.NoClip = 1               // the ring's producer clips
	config.Alsa.NoAutoResample = 1
	config.Alsa.NoAutoChannels = 1
	config.Playback.Format = malgo.FormatF32
	config.Playback.Channels = uint32(s.Channels)
	// Channel positions (left, centre, …) mean nothing to CV, and miniaudio's defaults reorder or mix
	// channels to honour them. A map of zeros says "no positions"; it must outlive this call, in C.
	st.chm = C.calloc(256, 1)
	config.Playback.ChannelMap = st.chm
	if id != nil {
		// Not malgo's DeviceID.Pointer, which leaks a copy at each call.
		st.id = C.CBytes(id[:])
		config.Playback.DeviceID = st.id
	}
	mark := messageCount()
	dev, err := malgo.InitDevice(c.Context, config, installCallback(&config, r))
	if err != nil {
		return fail(fmt.Errorf("%s: cannot open %q: %s%s", backend, info.Name, trimTag(err), because(mark)))
	}
	st.device = dev
	return st, nil
}

// start begins the callbacks. The ring should be full by then. since is for the null device (startNull).
func (st *stream) start(rate float64, since uint64) error {
	if st.device == nil {
		n, err := startNull(st.ring, st.period, rate, since)
		st.null = n
		return err
	}
	mark := messageCount()
	if err := st.device.Start(); err != nil {
		return fmt.Errorf("%s: cannot start %q: %s%s", st.info.Backend, st.info.Name, trimTag(err), because(mark))
	}
	return checkCallback()
}

// close ends the stream and frees its ring; it may hang in an audio library.
func (st *stream) close() {
	if st.device != nil {
		// Stop first: it wakes the device's thread from its wait for a device that is gone, which
		// Uninit alone does not do, and would then wait for that thread for ever.
		_ = st.device.Stop()
		st.device.Uninit()
		closeContext(st.context)
		C.free(st.id)
		C.free(st.chm)
	}
	if st.null != nil {
		st.null.stop()
	}
	st.ring.free()
}
