package rtmidi

import (
	"strings"

	"github.com/k8s-synth/k8s-synth/mapping/midi/port/alsa"
)

// seqPort is one port in the sequencer's list of clients.
type seqPort struct {
	client, port, address string   // names, and "20:0"
	to, from              []string // addresses
}

// name is as RtMidi writes it.
func (p seqPort) name() string { return p.client + ":" + p.port + " " + p.address }

// parseClients reads /proc/asound/seq/clients. What it does not know it skips.
//
//	Client 128 : "k8s-synth" [User Legacy]
//	  Port   0 : "k8s-synth" (R-e-)
//	    Connecting To: 129:0, 130:0[r:0]
func parseClients(text string) (ports []seqPort) {
	client, number := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "Client "):
			number, client = "", ""
			if head, rest, ok := strings.Cut(line[len("Client "):], ":"); ok {
				number, client = strings.TrimSpace(head), quoted(rest)
			}
		case strings.HasPrefix(line, "  Port "):
			head, rest, ok := strings.Cut(line[len("  Port "):], ":")
			if a := number + ":" + strings.TrimSpace(head); ok && alsa.IsAddress(a) {
				ports = append(ports, seqPort{client: client, port: quoted(rest), address: a})
			}
		case len(ports) > 0:
			p := &ports[len(ports)-1]
			if list, ok := strings.CutPrefix(line, "    Connecting To: "); ok {
				p.to = addresses(list)
			} else if list, ok := strings.CutPrefix(line, "    Connected From: "); ok {
				p.from = addresses(list)
			}
		}
	}
	return ports
}

// quoted returns what stands between the first and the last quotation mark.
func quoted(s string) string {
	i, j := strings.IndexByte(s, '"'), strings.LastIndexByte(s, '"')
	if i < 0 || j <= i {
		return ""
	}
	return s[i+1 : j]
}

func addresses(list string) (a []string) {
	for s := range strings.SplitSeq(list, ",") {
		s, _, _ = strings.Cut(strings.TrimSpace(s), "[")
		if alsa.IsAddress(s) {
			a = append(a, s)
		}
	}
	return a
}
