// Package announce tells the stage network, by multicast DNS, which ports of
// the instrument are open, and finds those of others: RTP-MIDI sessions
// (_apple-midi._udp), OSC (_osc._udp) and OSCQuery (_oscjson._tcp). It opens
// no port of the instrument itself; mapping/midi/rtp and the OSC server do
// and announce through it.
//
// What listens on loopback only is never announced unless the caller names the
// loopback interface: others could see it and not reach it.
//
// Source: RFC 6762 (multicast DNS), RFC 6763 (service discovery), carried by
// github.com/libp2p/zeroconf/v2.
package announce
