package jack

import (
	"errors"
	"log/slog"
	"time"
)

// ClientName is the name under which the instrument appears, when it is free.
const ClientName = "k8s-synth"

// Errors that a caller decides by.
var (
	// ErrNoServer says that no JACK server runs, or that none can be used here.
	ErrNoServer = errors.New("no JACK server")
	// ErrGone says that the port at the other end of a connection is not there now.
	ErrGone = errors.New("the JACK port is gone")
	// ErrFull says that JACK does not take what was sent before.
	ErrFull = errors.New("the ring to JACK is full")
	// ErrHangs says that the server (or its library) did not answer in time.
	ErrHangs = errors.New("the JACK server does not answer")
)

// Settings of a driver. The zero value is usable.
type Settings struct {
	// Client is the name wanted; "" is ClientName. JACK adds a number to one
	// that is taken, see Driver.Client.
	Client string
	// Server names the server; "" is the one that JACK_DEFAULT_SERVER names, or
	// "default".
	Server string
	// Logger hears what comes and goes; nil is silent.
	Logger *slog.Logger
}

// Stats are what a driver has counted since it was made, and the state of its
// server.
type Stats struct {
	Client string        // name by which the server knows us; "" without a server
	Period int           // frames of a cycle
	Rate   int           // Hz
	Cycles uint64        // process callbacks of this client
	Busy   time.Duration // longest process callback
	Xruns  uint64        // gaps that the server has reported
	// Strayed counts cycles in which the server's clock was off by 7 ms or more, as
	// it may be for seconds after a stall, and our own was used.
	Strayed uint64

	Received uint64 // messages that arrived
	Dropped  uint64 // of them: lost to a full ring, never the end of a note
	Owed     uint64 // ends of notes that had to wait for room
	Lost     uint64 // messages that JACK itself had no room for

	Sent     uint64        // messages given to JACK
	Late     uint64        // of them: more than one frame after their time
	LateMax  time.Duration // the worst of these
	Hurried  uint64        // messages sent before their time by Hurry
	Deferred uint64        // cycles in which JACK's buffer was too small for what was due
	// Repeated counts ends of notes that were sent a second time because the
	// graph changed a moment after the first.
	Repeated uint64
	Unfit    uint64 // messages longer than any buffer of the server
}
