package port

import (
	"errors"
	"io"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// Errors that a caller decides by.
var (
	// ErrNoVirtual is of a system that has no ports for others to connect to.
	ErrNoVirtual = errors.New("no virtual MIDI ports on this system")
	// ErrNoPort says that no port of the name, or of the pattern, is open.
	ErrNoPort = errors.New("no such MIDI port is open")
	// ErrClosed says that the hub or the port was closed before.
	ErrClosed = errors.New("the MIDI port is closed")
)

// Driver finds the ports of one system and opens them. Names are as the system
// shows them and unique within the driver at any moment: while a port is there,
// its name means that port and no other. The hub calls Ports, OpenIn, OpenOut
// and Virtual of one driver one at a time; a driver that is slow delays no
// other. A driver may implement Namer, Watcher, Listeners, Feeders and
// Arrivals besides.
type Driver interface {
	// Name is "alsa", "coremidi", "winmm", "jack", "rtp" or "fake".
	Name() string
	// Ports lists what can be received from and sent to, without the driver's
	// own ports. An error means that the system is not there now; the hub says
	// so once and asks again at every poll.
	Ports() (ins, outs []string, err error)
	// OpenIn calls receive for each arrival, with the time at which it came and
	// one or more whole messages, which are valid during the call. receive does
	// not block, and is not called any more when Close has returned. Close must
	// not be called from receive.
	OpenIn(name string, receive func(at time.Time, b []byte)) (io.Closer, error)
	OpenOut(name string) (Out, error)
	// Virtual makes a pair of ports to which others connect; ErrNoVirtual where
	// the system has none.
	Virtual(name string, receive func(at time.Time, b []byte)) (in io.Closer, out Out, err error)
}

// Out is an open output. The hub calls Send from one goroutine at a time, Close
// perhaps from another while Send blocks.
type Out interface {
	// Send sends one or more whole messages, to be heard at a time; the zero
	// time is at once. After an error the hub closes the port, and opens it
	// again when it can.
	Send(at time.Time, b []byte) error
	// Ahead is how long before that time it wants to be called. Where it is 0
	// Send sends at once, and the hub waits.
	Ahead() time.Duration
	Close() error
}

// Namer is a Driver whose names say more than a player wants to read, as the
// number of a client that is another at each plugging. Shown names the device;
// two devices may have the same, and the hub tells them apart.
type Namer interface{ Shown(name string) string }

// Watcher is a Driver that knows when a port comes or goes, so that the hub
// looks before its next poll.
type Watcher interface{ Changed() <-chan struct{} }

// Listeners is a Driver that knows who is connected to the output of its
// virtual port, by the names of Ports. After a crash what sounds there is ended
// through them, as the virtual port is gone with its process.
type Listeners interface {
	Connected(virtual string) []string
}

// Feeders is a Driver that knows how many are connected to the input of its
// virtual port. When one goes, as a DAW that ends in the middle of a note, the
// keys that are down there are let go.
type Feeders interface{ Feeding(virtual string) int }

// Arrivals is a Driver that counts who has ever connected to the output of its
// virtual port, and to the input, beside how many are at the input now: who goes
// and is back between two looks has the same name, and knows nothing of what was
// sent before.
type Arrivals interface {
	Arrived(virtual string) (listeners, feeders uint64, feeding int)
}

// Checker is an Out, or what OpenIn returned, that knows whether it still leads
// to its device: one that was pulled out and put back between two polls has the
// same name, but nothing passes.
type Checker interface{ Alive() bool }

// Hurrier is an Out that holds messages for later and can send them at once,
// as a panic wants.
type Hurrier interface{ Hurry() }

// In is one message that came in.
type In struct {
	Port    string    // as in Info.Name
	At      time.Time // of its arrival at the driver, with the monotonic clock
	Message midi.Message
}

// Info is what is known of one port: its state, and counts since the hub was
// opened.
type Info struct {
	Name    string // unique within the hub
	Driver  string
	System  string // the driver's own name of it
	In, Out bool   // the ways it can be used
	Virtual bool   // made by us, for others to connect to
	Open    bool   // in use now
	Present bool   // there now, whether wanted or not
	Error   string // why it is not open though it is wanted; "" otherwise

	Connected []string // who listens to the output of a virtual port, if the driver knows

	Received uint64 // messages that came in
	Sent     uint64 // messages given to the driver
	Dropped  uint64 // messages lost to full queues, faults and unplugging, both ways
	Faults   uint64 // bytes that were no message
	Plugged  uint64 // times it was opened

	// Late is how long after its time a message was given to the driver, less
	// what the driver wanted ahead.
	Late Spread
}

// Spread describes many durations. P50 and P99 are exact to a sixteenth.
type Spread struct {
	Count         uint64
	P50, P99, Max time.Duration
}
