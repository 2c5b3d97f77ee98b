//go:build !gocallback

package hardware

// The device thread must not enter Go: a Go callback waits for the scheduler and for malgo's mutex,
// up to tens of milliseconds beside a busy heap. malgo installs Go callbacks in every device through
// one C function of its own; the linker is told to call ours instead, which leaves the configured
// (C) callbacks alone. Its log callback is replaced for the same reason: the device thread logs too.

// #cgo LDFLAGS: -Wl,--wrap=goSetDeviceConfigCallbacks -Wl,--wrap=goLogCallback -ldl
// #include "callback_linux.h"
import "C"

import (
	"errors"
	"strings"
	"sync"
	"unsafe"

	"github.com/gen2brain/malgo"
)

// callbackInC says that the device thread stays out of Go on this system.
const callbackInC = true

// installCallback makes the device drain r.
func installCallback(config *malgo.DeviceConfig, r *ring) malgo.DeviceCallbacks {
	config.DataCallback = (*[0]byte)(C.ks_data_callback)
	config.StopCallback = (*[0]byte)(C.ks_stop_callback)
	config.PUserData = (*byte)(unsafe.Pointer(r.c))
	return malgo.DeviceCallbacks{}
}

// installCapture makes the device fill c.
func installCapture(config *malgo.DeviceConfig, c *capture) malgo.DeviceCallbacks {
	config.DataCallback = (*[0]byte)(C.ks_capture_callback)
	config.StopCallback = (*[0]byte)(C.ks_stop_callback)
	config.PUserData = (*byte)(unsafe.Pointer(c.c))
	return malgo.DeviceCallbacks{}
}

// wantPulseOrder has PulseAudio be asked for channels in one of its standard orders (ks_pulse_facts),
// which malgo has no setting for. The configuration must be used right after, with a lock held.
func wantPulseOrder(config *malgo.DeviceConfig, order int) {
	config.Pulse.StreamNamePlayback, config.Pulse.StreamNameCapture = C.KS_STREAM_NAME, C.KS_STREAM_NAME
	C.ks_want_pulse_order(C.int(order))
}

// checkCallback reports whether the callback found miniaudio's structure as it expects it.
func checkCallback() error {
	if C.ks_bad_layout() != 0 {
		return errors.New("miniaudio's device structure is not the one this program was built for; build with malgo v0.11.24")
	}
	return nil
}

var quietOnce sync.Once

// quietLibraries keeps ALSA and JACK from printing on stderr while devices are probed.
// What they say is kept, and messages returns it.
func quietLibraries() { quietOnce.Do(func() { C.ks_quiet_libraries() }) }

func messageCount() uint32 { return uint32(C.ks_messages()) }

// lastMessage returns the newest message of the audio libraries after mark (from messageCount) that
// reads like a cause, or "".
func lastMessage(mark uint32) string {
	now := messageCount()
	for i := now; i > mark && now-i < 32; i-- {
		var buf [200]C.char
		C.ks_message(C.uint32_t(i-1), &buf[0], C.uint32_t(len(buf)))
		if s := strings.TrimSpace(C.GoString(&buf[0])); s != "" {
			return s
		}
	}
	return ""
}
