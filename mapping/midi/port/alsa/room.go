//go:build linux

package alsa

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// room knows how much a hardware port is to be given. The sequencer drops what
// does not fit into the port's buffer of 4096 bytes, and says nothing; how much
// of it is free stands in /proc. It is read again each time that what it said may
// be used up, which is seldom. The zero value has room for everything.
type room struct {
	path string // "": not known
	sub  int    // number of the port on its device
	left int
}

const (
	// window is how many bytes may wait in the kernel: 0.1 s of a DIN cable, as
	// nothing, and no panic, can overtake them. The rest waits in the hub.
	window  = 320
	endless = 1 << 30
)

// The kernel gives four clients, one a device, to each card.
const firstCardClient, clientsPerCard = 16, 4

func roomOf(o other) room {
	device := int(o.addr.client) - firstCardClient - clientsPerCard*int(o.card)
	if device < 0 || device >= clientsPerCard {
		return room{}
	}
	return room{path: fmt.Sprintf("/proc/asound/card%d/midi%d", o.card, device), sub: int(o.addr.port)}
}

// take tells whether an event fits that is n bytes long here, which is longer
// than on the cable.
func (r *room) take(n int) bool {
	if r.path == "" {
		return true
	}
	if n > eventSize {
		n -= eventSize
	} else {
		n = 3
	}
	if r.left < n {
		r.left = endless
		if b, err := os.ReadFile(r.path); err == nil {
			if n, ok := waiting(string(b), r.sub); ok {
				r.left = window - n
			}
		}
		if r.left < n {
			r.left = 0
			return false
		}
	}
	r.left -= n
	return true
}

// waiting finds how many bytes an output that is open has not yet sent.
//
//	Output 0
//	  Tx bytes     : 17196
//	  Owner PID    : 123
//	  Buffer size  : 4096
//	  Avail        : 4096
func waiting(text string, sub int) (int, bool) {
	_, text, ok := strings.Cut(text, fmt.Sprintf("Output %d\n", sub))
	if !ok {
		return 0, false
	}
	size, free := -1, -1
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(line, ":")
		if !ok {
			break
		}
		n, err := strconv.Atoi(strings.TrimSpace(v))
		switch k = strings.TrimSpace(k); {
		case err != nil:
		case k == "Buffer size":
			size = n
		case k == "Avail":
			free = n
		}
	}
	return size - free, free >= 0 && size >= free
}
