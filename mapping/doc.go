// Package mapping is the routing between hands, clusters and the rack: what
// an address means, where the status of the cluster goes, which topology a
// patch asks for, and the stream in which the instrument and its neighbours
// speak. It stands above instrument and below kube, hardware and scenes; it
// opens no socket and no port, and nothing here knows client-go.
//
// A Rack is the control side of one Engine: it owns the patch, takes changes
// by address, brings transitions home through a Board, and says what the
// cluster should hold: as a Topology what its objects are made from, as
// Settings what moves as fast as a hand, as Actions what is done but once.
// MIDI comes in as messages with frames and becomes volts on the jacks of MIDI
// In modules; what MIDI Out modules and rules play goes out the same way, and
// whatever begins there ends. What another hand does to the same things comes
// back as an Edit, or as the state of an object, and the patch follows. It
// belongs to one goroutine, live or offline, so that a take sounds as it did
// when it was played.
package mapping
