package osc

import (
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// player is a client by whatever way.
type player interface {
	send(address string, args ...Arg)
	get(wait time.Duration) string
}

// player of OSCQuery's connections sends OSC, too.
type watchingPlayer struct{ *watcher }

func (w watchingPlayer) send(address string, args ...Arg) {
	w.t.Helper()
	w.write(websocket.MessageBinary, encode(w.t, address, args...))
}

// players are clients by each way there is.
func players(t *testing.T, r *rack) map[string]player {
	return map[string]player{"UDP": r.client(t), "TCP": r.stream(t, false), "SLIP": r.stream(t, true), "WebSocket": watchingPlayer{r.watch(t)}}
}

// Of each client by itself too much is dropped: one that floods takes nothing
// from another, whatever way either comes. What ends a sound passes, also of the
// one that floods.
func TestRateIsEachClients(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"UDP", "TCP", "SLIP", "WebSocket"} {
		t.Run(way, func(t *testing.T) {
			r := openRack(t, Config{Rate: 100, TCP: "127.0.0.1:0", Query: "127.0.0.1:0"})
			floods, plays := players(t, r)[way], players(t, r)
			const flood, each = 1000, 150 // of the bursts of 200
			began := time.Now()
			sent := uint64(0)
			for i := range flood {
				floods.send("/voice/frequency", Float32(1000))
				sent++
				if i%(flood/each) == 0 && i/(flood/each) < each {
					for name, p := range plays {
						p.send("/voice/xy", Float32(float32(i)), Float32(float32(len(name))))
						sent++
					}
				}
				if i%100 == 99 { // a socket's buffer is small
					eventually(t, "what was sent is read", func() bool { return r.surface.Stats().Packets >= sent })
				}
			}
			floods.send("/voice/on", Bool(false))
			last := map[string]bool{}
			var floodSets, others, ends int
			eventually(t, "all that was to pass", func() bool {
				for _, s := range r.takeSets() {
					switch {
					case strings.HasPrefix(s, "/voice/frequency"):
						floodSets++
					case strings.HasPrefix(s, "/voice/on"):
						ends++
					default:
						others++
						last[s] = true
					}
				}
				return others == 4*each && ends == 1
			})
			most := 200 + int(100*time.Since(began).Seconds()) + 1
			t.Logf("of %d messages of the one that floods %d passed in %v, of the others all %d", flood, floodSets, time.Since(began).Round(time.Millisecond), others)
			if floodSets < 200 || floodSets > most {
				t.Errorf("%d messages of the one that floods passed, want 200 … %d", floodSets, most)
			}
			if st := r.surface.Stats(); st.Limited != uint64(flood-floodSets) || st.Dropped+st.Slow > 0 {
				t.Errorf("%+v", st)
			}
			if got := floods.get(5 * time.Second); !strings.Contains(got, "messages dropped") {
				t.Errorf("the one that floods is told %q", got)
			}
		})
	}
}

// Who subscribes with "resend" is told everything again every two seconds, and
// who asks at once, whatever way it comes.
func TestToldAgain(t *testing.T) {
	t.Parallel()
	r := openRack(t, Config{TCP: "127.0.0.1:0", Query: "127.0.0.1:0"})
	for way, p := range players(t, r) {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			get := func(what string, least, most time.Duration) {
				t.Helper()
				began := time.Now()
				if got := p.get(5 * time.Second); got != "/voice/big 0" {
					t.Fatalf("%s: got %q", what, got)
				}
				took := time.Since(began)
				t.Logf("%s after %v", what, took.Round(time.Millisecond))
				if took < least || took > most {
					t.Errorf("%s came after %v, want %v … %v", what, took, least, most)
				}
			}
			subscribed := time.Now()
			p.send("/subscribe", String("/voice/big"), String("resend"))
			get("the value", 0, time.Second)
			get("the value again", 0, defaultResend+time.Second)
			// The first may have been read late.
			if took := time.Since(subscribed); took < defaultResend {
				t.Errorf("it is told again %v after it has subscribed", took)
			}
			p.send("/resend")
			get("what was asked for", 0, defaultResend/2)
			p.send("/unsubscribe")
			if got := p.get(100 * time.Millisecond); got != "" {
				t.Errorf("after the end of it came %q", got)
			}
		})
	}
}
