package rtmidi

import (
	"reflect"
	"testing"

	"github.com/k8s-synth/k8s-synth/mapping/midi/port/alsa"
)

const listing = `Client info
  cur  clients : 5
  peak clients : 5
  max  clients : 192

Client   0 : "System" [Kernel Legacy]
  Port   0 : "Timer" (Rwe-)
  Port   1 : "Announce" (R-e-)
    Connecting To: 15:0
Client  24 : "Test "Keys"" [Kernel Legacy]
  Port   0 : "Test "Keys" MIDI 1" (RWeX)
    Connecting To: 130:0[r:0], 131:2[R:0]
    Connected From: 129:0
Client 129 : "k8s-synth" [User Legacy]
  Port   0 : "k8s-synth" (R-e-)
    Connecting To: 24:0, 14:0
  Output pool :
    Pool size          : 500
`

func TestParseClients(t *testing.T) {
	want := []seqPort{
		{client: "System", port: "Timer", address: "0:0"},
		{client: "System", port: "Announce", address: "0:1", to: []string{"15:0"}},
		{client: `Test "Keys"`, port: `Test "Keys" MIDI 1`, address: "24:0", to: []string{"130:0", "131:2"}, from: []string{"129:0"}},
		{client: "k8s-synth", port: "k8s-synth", address: "129:0", to: []string{"24:0", "14:0"}},
	}
	if got := parseClients(listing); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	if got := want[2].name(); got != `Test "Keys":Test "Keys" MIDI 1 24:0` {
		t.Error(got)
	}
}

func FuzzParseClients(f *testing.F) {
	f.Add(listing)
	f.Add("Client 1\n  Port \n    Connecting To: \nClient x : \"\n  Port 1:\"")
	f.Fuzz(func(t *testing.T, s string) {
		for _, p := range parseClients(s) {
			if !alsa.IsAddress(p.address) {
				t.Errorf("address %q", p.address)
			}
		}
	})
}
