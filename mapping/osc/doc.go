// Package osc is the instrument's Open Sound Control surface: the way in for
// tablets, sequencers and scripts, and the way back for the values they show.
//
// Signal path: datagram, connection or WebSocket → Server (decode, schedule by
// time tag, keep the order of each client) → Surface (look the address up in
// its Namespace, coerce and check the arguments) → Node.Set, which belongs to
// whoever registered the node. The other way, Surface.Notify carries a changed
// value to every subscriber but the one that caused it. The package knows
// addresses and values only; it knows nothing of patches, modules or clusters.
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
//	/subscribe [s:pattern] [i:port] [s:resend]
//	                                 be told of changes for 60 s; sends all current values first,
//	                                 and with the word resend again every 2 s (Config.Resend)
//	/unsubscribe [s:pattern] [i:port]
//	/resend [i:port]                 all current values again
//
// Whatever is refused is answered with "/error s:address s:reason".
//
// # When a client is gone
//
// A client that vanishes lets go of nothing, and whoever serves the nodes may
// want to do that for it (Config.Left). The end of a connection is seen at once,
// and 15 s after its client fell off the network. By UDP only those who have
// subscribed can be missed: after the 60 s that a subscription lasts, when it is
// renewed at the same address by another socket, and on Linux with the next
// value that is sent where the machine answers that no program listens there,
// which it must not have done in the 5 s before: a client may play and never
// have listened. Who unsubscribes is not gone.
//
// # Ways in
//
// UDP: one packet in a datagram. Answers go to the sender's port, or to
// Config.ReplyPort.
//
// TCP (Config.TCP): any number of packets, each after its size as an int32
// (OSC 1.0) or in SLIP (OSC 1.1). The connection's first byte tells: END
// (0xC0), '/' or '#' is SLIP, anything else a size. Answers and feedback come
// back over the connection, framed alike; subscriptions last as long as it
// does and name no port. What waits for its time is played although the
// connection has ended meanwhile. A packet may have 64 KiB and take 10 s from its first
// to its last byte. What cannot be cut into packets any more is answered with
// /error and closed; in SLIP a broken packet is skipped. A client that leaves
// 1 MiB unread is dropped. When all 64 places are taken, the eldest client
// that never spoke makes room.
//
// OSCQuery (Config.Query): the nodes as JSON, and a WebSocket. Its binary
// messages are packets, played like those of TCP; {"COMMAND":"LISTEN",
// "DATA":"/address"} and IGNORE choose what is heard, at most 60 times a second
// each; PATH_ADDED, PATH_REMOVED and PATH_CHANGED tell what Replace has
// changed, by the uppermost path. Nothing is ever called renamed: a pod that
// replaces another is another pod. HTTP itself changes nothing. An attribute
// that the proposal knows and a node lacks is answered with 204 or left out,
// an unknown one with 400. Values outside a RANGE are refused, so that CLIPMODE
// is none.
//
// # Who may play
//
// OSC has no passwords. This machine may always play; others only if
// Config.Allow names them, without which no other address than loopback is
// listened on. Browsers may not on behalf of pages that are not this server's.
// A client that sends more than Config.Rate messages a second loses what is
// too much and is told once a second, but never what ends a sound: messages
// whose arguments are all 0 or false, /panic, and nodes that are Critical.
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
// Here a packet is decoded in place without allocation, checked whole before
// any part of it takes effect, and handled by the one goroutine that read it,
// while those of other clients wait; nothing in a packet can stop that
// goroutine.
//
// Sources: Wright, "The Open Sound Control 1.0 Specification" (2002);
// Freed and Schmeder, "Features and Future of Open Sound Control version 1.1
// for NIME" (2009); RFC 1055 (SLIP); the OSCQuery proposal (Vidvox, 2018).
package osc
