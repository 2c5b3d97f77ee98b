//go:build !linux || gocallback

package hardware

import (
	"unsafe"

	"github.com/gen2brain/malgo"
)

// callbackInC says that the device thread stays out of Go on this system. Here it does not: the
// linkers of macOS and Windows cannot redirect malgo's installation of its callback, so the callback
// is Go's, makes one C call and returns. Use a deeper ring (Settings.Depth) on these systems. The build
// tag gocallback selects this way on Linux too, so that it can be tested there.
const callbackInC = false

// installCallback makes the device drain r.
func installCallback(config *malgo.DeviceConfig, r *ring) malgo.DeviceCallbacks {
	return malgo.DeviceCallbacks{
		Data: func(out, _ []byte, frames uint32) {
			if len(out) == 0 || frames == 0 {
				return
			}
			if r.words != nil {
				r.drainInts(unsafe.Slice((*int32)(unsafe.Pointer(&out[0])), int(frames)*r.channels))
				return
			}
			r.drain(unsafe.Slice((*float32)(unsafe.Pointer(&out[0])), int(frames)*r.channels))
		},
	}
}

// installCapture makes the device fill c.
func installCapture(config *malgo.DeviceConfig, c *capture) malgo.DeviceCallbacks {
	return malgo.DeviceCallbacks{
		Data: func(_, in []byte, frames uint32) {
			if len(in) == 0 || frames == 0 {
				return
			}
			c.push(unsafe.Slice((*float32)(unsafe.Pointer(&in[0])), int(frames)*c.channels))
		},
	}
}

func checkCallback() error { return nil }

func quietLibraries() {}

func messageCount() uint32 { return 0 }

func lastMessage(uint32) string { return "" }

func wantPulseOrder(*malgo.DeviceConfig, int) {}
