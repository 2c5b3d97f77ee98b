//go:build !gocallback

package hardware

// #include <stdlib.h>
// #include "jack_linux.h"
// #include "alsa_linux.h"
// #include "pulse_linux.h"
import "C"

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"
)

// errRate is what an error wraps when a device does not have the rate that was asked for.
var errRate = errors.New("it has another sample rate")

// ownBackend returns how this package itself opens a device, or nil where miniaudio does.
func ownBackend(backend string, s Settings) func(*stream, string, Settings) error {
	switch {
	case backend == "jack":
		return func(st *stream, backend string, s Settings) error {
			err := openJACK(st, s)
			if errors.Is(err, errRate) && !s.exacting() {
				// Plain sound may be resampled, and miniaudio does.
				return openMiniaudio(st, backend, s)
			}
			return err
		}
	case backend == "alsa" && (rawALSA.MatchString(s.Device) || s.exacting() && s.Device != ""):
		return func(st *stream, backend string, s Settings) error {
			var err error
			if s.Device, err = rawCard("/proc/asound", s.Device); err != nil {
				return err
			}
			if s.CaptureDevice, err = rawCard("/proc/asound", s.CaptureDevice); err != nil {
				return err
			}
			err = openALSA(st, s)
			if errors.Is(err, errRate) && !s.exacting() {
				return openMiniaudio(st, backend, s)
			}
			return err
		}
	}
	return nil
}

// rawCard is the raw id of the card that a device's name means, among those that the kernel shows in the
// directory proc: a raw id itself, miniaudio's id of a card, or a part of the name of one. Names outlive
// numbers, which a card may change when it is pulled out and put back.
func rawCard(proc, device string) (string, error) {
	if device == "" || rawALSA.MatchString(device) {
		return device, nil
	}
	if m := sharedALSA.FindStringSubmatch(device); m != nil {
		return "hw:" + m[1] + "," + m[2], nil
	}
	cards, err := os.ReadFile(filepath.Join(proc, "cards"))
	if err != nil {
		return "", fmt.Errorf("alsa: the kernel shows no cards: %w", err)
	}
	// A card has two lines: its number, [id] and name; and a longer name.
	lines := strings.Split(strings.TrimRight(string(cards), "\n"), "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		if strings.Contains(strings.ToLower(lines[i]+lines[i+1]), strings.ToLower(device)) {
			if _, after, ok := strings.Cut(lines[i], "["); ok {
				id, _, _ := strings.Cut(after, "]")
				return "hw:" + strings.TrimSpace(id) + ",0", nil
			}
		}
	}
	return "", fmt.Errorf("alsa: no card has a name like %q: plug it in, or give its raw id (hw:N,0)", device)
}

// alsaDevice is a raw card, or the two of its directions where they are on different cards.
type alsaDevice struct {
	play, listen *C.ks_alsa // the latter is nil where one does both
}

func openALSA(st *stream, s Settings) error {
	quietLibraries()
	mark := messageCount()
	if s.exact != 0 {
		if strings.HasPrefix(s.Device, "plug") {
			return inexact("alsa", fmt.Sprintf("%s converts samples", s.Device))
		}
		s.integers(st.ring)
	}
	open := func(r *C.ks_ring, c *C.ks_capture, source string) (*C.ks_alsa, error) {
		to, from := C.CString(s.Device), C.CString(source)
		defer C.free(unsafe.Pointer(to))
		defer C.free(unsafe.Pointer(from))
		var why [256]C.char
		var nearest C.uint32_t
		a := C.ks_alsa_open(r, to, c, from, C.uint32_t(s.Rate), C.uint32_t(s.Period), C.uint32_t(s.Periods), &nearest, &why[0], C.uint32_t(len(why)))
		if a == nil && nearest == math.MaxUint32 {
			return nil, inexact("alsa", C.GoString(&why[0]))
		}
		if a == nil && nearest != 0 {
			return nil, fmt.Errorf("alsa: %s: %w: %d Hz, asked were %d: start with --rate %d", C.GoString(&why[0]), errRate, nearest, s.Rate, nearest)
		}
		if a == nil {
			return nil, fmt.Errorf("alsa: %s%s", C.GoString(&why[0]), because(mark))
		}
		return a, nil
	}
	var d alsaDevice
	source := s.CaptureDevice
	if source == "" {
		source = s.Device
	}
	var err error
	if st.capture != nil && cardOf(source) == cardOf(s.Device) {
		// The two directions of a card run from one clock.
		d.play, err = open(st.ring.c, st.capture.c, source)
		st.together = true
	} else {
		d.play, err = open(st.ring.c, nil, "")
		if err == nil && st.capture != nil {
			d.listen, err = open(nil, st.capture.c, source)
			if err != nil {
				C.ks_alsa_close(d.play)
			}
		}
	}
	if err != nil {
		return err
	}
	st.own = d
	st.period = int(C.ks_alsa_period(d.play))
	st.periods = max(int(C.ks_alsa_buffer(d.play))/st.period, 1)
	st.info = DeviceInfo{Backend: "alsa", ID: s.Device, Name: s.Device, Channels: int(C.ks_alsa_channels(d.play, 0)), Rates: []int{s.Rate}}
	st.format = C.GoString(C.ks_alsa_format(d.play))
	st.ring.setLatePeriods(st.periods)
	st.ring.setLimit(workingDepth(s, st.period))
	return nil
}

// cardOf is the card in a raw id of ALSA.
func cardOf(id string) string {
	if m := hwALSA.FindStringSubmatch(id); m != nil {
		return m[1]
	}
	return id
}

func (d alsaDevice) start() error {
	mark := messageCount()
	for _, a := range []*C.ks_alsa{d.play, d.listen} {
		if a == nil {
			continue
		}
		if e := C.ks_alsa_start(a); e < 0 {
			return fmt.Errorf("alsa: the card does not start: %v%s", syscall.Errno(-e), because(mark))
		}
	}
	return nil
}

func (d alsaDevice) close() {
	C.ks_alsa_close(d.listen)
	C.ks_alsa_close(d.play)
}

func (d alsaDevice) latency() (out, in int) {
	if d.listen != nil {
		in = int(C.ks_alsa_period(d.listen))
	}
	return int(C.ks_alsa_buffer(d.play)), in
}

func (d alsaDevice) xruns() uint64 {
	n := uint64(C.ks_alsa_xruns(d.play))
	if d.listen != nil {
		n += uint64(C.ks_alsa_xruns(d.listen))
	}
	return n
}

// jackDevice is one client of a JACK server.
type jackDevice struct{ c *C.ks_jack }

// jackPorts is how Settings name JACK's ports: miniaudio's list has one device that stands for them all.
func jackPorts(device string) string {
	d := strings.ToLower(device)
	if d == "" || strings.Contains("default playback device", d) || strings.Contains("default capture device", d) || strings.Trim(d, "0") == "" {
		return ""
	}
	return device
}

func openJACK(st *stream, s Settings) error {
	if s.exact != 0 {
		return inexact("jack", "JACK carries floats")
	}
	quietLibraries()
	mark := messageCount()
	source := s.CaptureDevice
	if source == "" {
		source = s.Device
	}
	to, from := C.CString(jackPorts(s.Device)), C.CString(jackPorts(source))
	defer C.free(unsafe.Pointer(to))
	defer C.free(unsafe.Pointer(from))
	var why [256]C.char
	var c *C.ks_capture
	if st.capture != nil {
		c = st.capture.c
	}
	j := C.ks_jack_open(st.ring.c, c, to, from, &why[0], C.uint32_t(len(why)))
	if j == nil {
		return fmt.Errorf("jack: %s%s", C.GoString(&why[0]), because(mark))
	}
	st.own = jackDevice{j}
	if rate := int(C.ks_jack_rate(j)); rate != s.Rate {
		st.own = nil
		C.ks_jack_close(j)
		return fmt.Errorf("jack: %w: %d Hz, asked were %d: start with --rate %d", errRate, rate, s.Rate, rate)
	}
	st.info = DeviceInfo{Backend: "jack", ID: jackPorts(s.Device), Name: "JACK", Default: s.Device == "", Channels: int(C.ks_jack_outputs(j)), Rates: []int{s.Rate}}
	if st.info.ID != "" {
		st.info.Name = st.info.ID
	}
	st.format = "float"
	st.together = st.capture != nil
	st.period, st.periods = int(C.ks_jack_period(j)), 1
	st.ring.setLimit(workingDepth(s, st.period))
	return nil
}

func (j jackDevice) start() error {
	mark := messageCount()
	if C.ks_jack_start(j.c) != 0 {
		return fmt.Errorf("jack: the server does not start this client%s", because(mark))
	}
	return nil
}

func (j jackDevice) close() { C.ks_jack_close(j.c) }

func (j jackDevice) latency() (out, in int) {
	var o, i C.uint32_t
	C.ks_jack_latency(j.c, &o, &i)
	return int(o), int(i)
}

func (j jackDevice) xruns() uint64 { return uint64(C.ks_jack_xruns(j.c)) }

// PulseAudio's formats that carry words of 24 bits, of those that miniaudio knows.
var pulseFormats = map[int]string{0: "u8", 3: "s16", 5: "float", 7: "s32", 9: "s24_3", 11: "s24"}

// serverFacts says what a sound server does to the samples of a device on their way.
func serverFacts(backend, id string, source bool, channels, rate int) (f facts) {
	if backend != "pulse" {
		return f
	}
	var name *C.char
	if id != "" {
		name = C.CString(id)
		defer C.free(unsafe.Pointer(name))
	}
	var c C.ks_pulse_facts
	direction := C.int(0)
	if source {
		direction = 1
	}
	if C.ks_pulse_ask(name, direction, C.uint32_t(channels), &c) != 0 {
		return f
	}
	f.known = true
	format := pulseFormats[int(c.format)]
	if format == "" {
		format = fmt.Sprintf("number %d", int(c.format))
	}
	if c.order < 0 {
		f.changes = append(f.changes, fmt.Sprintf("reorders or mixes channels (%d are opened, it has %s)", channels, C.GoString(&c._map[0])))
	} else {
		f.order = int(c.order)
	}
	if int(c.rate) != rate {
		f.changes = append(f.changes, fmt.Sprintf("resamples between %d and %d Hz", rate, int(c.rate)))
	}
	if c.plain_volume == 0 {
		f.changes = append(f.changes, "changes the volume (it is not at 100 %, or muted)")
	}
	f.words = len(f.changes) == 0 && (format == "s32" || format == "s24_3")
	switch format {
	case "float", "s32", "s24", "s24_3":
	default:
		f.changes = append(f.changes, "has samples of format "+format)
	}
	return f
}
