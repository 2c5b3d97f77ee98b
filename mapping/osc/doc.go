// Package osc is the instrument's Open Sound Control surface: the way in for
// tablets, sequencers and scripts, and the way back for the values they show.
//
// Signal path: datagram → Server (decode, schedule by time tag, keep order) →
// Surface (look the address up in its Namespace, coerce and check the
// arguments) → Node.Set, which belongs to whoever registered the node. The
// other way, Surface.Notify carries a changed value to every subscriber but
// the one that caused it. The package knows addresses and values only; it
// knows nothing of patches, modules or clusters.
//
// A program usually needs four calls: Open, Surface.Replace whenever the patch
// changes, Surface.Notify whenever a value does, and Surface.Close.
//
// # What a client can send
//
//	/any/address args…               set it (numbers of any type where a number is wanted)
//	/any/address                     ask for its value, which is sent back under the same address
//	/deploy*/{web,db}/replicas 3     set or ask for every address that matches
//	//replicas                       OSC 1.1: at any depth
//	/subscribe [s:pattern] [i:port]  be told of changes for 60 s; sends all current values first
//	/unsubscribe [s:pattern] [i:port]
//	/resend [i:port]                 all current values again
//
// Whatever is refused is answered with "/error s:address s:reason".
//
// # Why the codec, the matcher and the server are our own
//
// The usual Go library, go-osc, is kept as a peer in the tests and is good
// at that. On a stage its server is not safe enough. It turns an address
// pattern that came from the network into a regular expression, and a bracket
// that is not closed makes that panic; the expression is not anchored either,
// so that /a also reaches /a/b. An empty datagram or an unknown type tag makes
// its Serve return, after which nobody listens. Each packet gets a goroutine,
// so that two turns of one knob can arrive in the wrong order. Its buffer is
// smaller than a datagram can be, and what does not fit is cut off in silence.
// Time tags pass through floating point and lose low bits; there are no
// arrays, and a handler cannot learn who sent a message, without which there
// is neither a reply nor feedback that spares its author.
//
// Here a datagram is decoded in place without allocation, checked whole
// before any part of it takes effect, and handled by the one goroutine that
// read it; nothing in a datagram can stop that goroutine.
//
// Sources: Wright, "The Open Sound Control 1.0 Specification" (2002);
// Freed and Schmeder, "Features and Future of Open Sound Control version 1.1
// for NIME" (2009).
package osc
