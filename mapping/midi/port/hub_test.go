package port

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// ear is who a hub tells.
type ear struct {
	mu   sync.Mutex
	ins  []In
	plug []string
}

func (e *ear) received(in In) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ins = append(e.ins, in)
}

func (e *ear) plugged(i Info, on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	sign := "-"
	if on {
		sign = "+"
	}
	e.plug = append(e.plug, sign+i.Name)
}

func (e *ear) got() []In {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.ins)
}

func (e *ear) plugs() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.plug, " ")
}

func open(t *testing.T, c Config) (*Hub, *ear) {
	t.Helper()
	e := new(ear)
	if c.Received == nil {
		c.Received = e.received
	}
	c.Plugged = e.plugged
	if c.Poll == 0 {
		c.Poll = 5 * time.Millisecond
	}
	h, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h, e
}

// eventually waits for something that another goroutine does.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to this: %s", what)
		}
	}
}

func info(t *testing.T, h *Hub, name string) Info {
	t.Helper()
	for _, i := range h.Ports() {
		if i.Name == name {
			return i
		}
	}
	t.Fatalf("no port %q in %+v", name, h.Ports())
	return Info{}
}

// text is what an output got, in hexadecimal without spaces.
func text(o *FakeOut) string {
	var all []string
	for _, s := range o.Got() {
		all = append(all, strings.ReplaceAll(strings.ReplaceAll(midiText(s.Bytes), " ", ""), "0x", ""))
	}
	return strings.Join(all, " ")
}

func midiText(b []byte) string {
	const digits = "0123456789abcdef"
	var s []byte
	for _, c := range b {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}

func TestHubOpensByPattern(t *testing.T) {
	f := new(Fake)
	for _, n := range []string{"20|Keys", "24|Keys", "28|Pads", "14|Midi Through Port-0", "k8s-synth in 1: x"} {
		f.Plug(n)
	}
	h, e := open(t, Config{Virtual: true, Patterns: []string{"keys"}, Drivers: []Driver{f}})
	eventually(t, "three ports", func() bool { return strings.Count(e.plugs(), "+") == 3 })
	if got := e.plugs(); got != "+Keys +Keys (2) +k8s-synth" {
		t.Errorf("opened %s", got)
	}
	if i := info(t, h, "Pads"); i.Open || !i.Present || !i.In || !i.Out {
		t.Errorf("Pads: %+v", i)
	}
	for _, i := range h.Ports() {
		if strings.Contains(i.Name, "in 1") {
			t.Errorf("our own port is listed: %+v", i)
		}
	}
	// Both of one name work, each for itself.
	if err := h.Send("Keys (2)", time.Time{}, midi.Program(0, 5)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a message on the second", func() bool { return text(f.Out("24|Keys")) == "c005" })
	f.Play("20|Keys", time.Now(), []byte{0x90, 60, 1})
	f.Play("24|Keys", time.Now(), []byte{0x90, 62, 1})
	f.Play("", time.Now(), []byte{0xf8})
	eventually(t, "three messages", func() bool { return len(e.got()) == 3 })
	from := map[string]byte{}
	for _, in := range e.got() {
		from[in.Port] = in.Message.Data[1]
	}
	if from["Keys"] != 60 || from["Keys (2)"] != 62 {
		t.Errorf("came from %v", from)
	}
	if err := h.Send("nobody", time.Time{}, midi.Program(0, 5)); !errors.Is(err, ErrNoPort) {
		t.Errorf("a port that is not there: %v", err)
	}
	if text(f.Out("20|Keys")) != "" {
		t.Error("the first got what was the second's")
	}
}

func TestHubPlugAndUnplug(t *testing.T) {
	f := new(Fake)
	f.Plug("20|Keys")
	h, e := open(t, Config{Patterns: []string{"all"}, Drivers: []Driver{f}})
	eventually(t, "Keys", func() bool { return f.Out("20|Keys") != nil })
	f.Play("20|Keys", time.Now(), []byte{0x90, 60, 100, 64, 100, 0xb0, 64, 127, 0x80, 64, 0, 0x90, 10}) // cut in the middle
	if err := h.Send("Keys", time.Time{}, midi.On(2, 70, 100), midi.On(2, 72, 100), midi.Off(2, 72, 0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a held note", func() bool { return len(f.Out("20|Keys").Got()) == 3 })
	f.Unplug("20|Keys")
	eventually(t, "it is lost", func() bool { return e.plugs() == "+Keys -Keys" })
	if err := h.Send("Keys", time.Time{}, midi.On(2, 70, 100)); !errors.Is(err, ErrNoPort) {
		t.Errorf("sending to what is gone: %v", err)
	}
	// The key and the pedal that were down are up.
	eventually(t, "released input", func() bool { return len(e.got()) == 6 })
	var in []string
	for _, m := range e.got()[4:] {
		in = append(in, midiText(m.Message.Bytes(nil)))
	}
	if got := strings.Join(in, " "); got != "803c40 b04000" {
		t.Errorf("after the unplug came %s", got)
	}
	f.Plug("24|Keys") // another number, the same device
	eventually(t, "it is back", func() bool { return e.plugs() == "+Keys -Keys +Keys" })
	eventually(t, "the held note ends", func() bool { return text(f.Out("24|Keys")) == "824640 b27b00 b27800" })
	f.Play("24|Keys", time.Now(), []byte{20, 20, 0x91, 1, 1})
	eventually(t, "it is heard", func() bool { return len(e.got()) == 7 })
	eventually(t, "all is counted", func() bool { return info(t, h, "Keys").Sent >= 6 }) // a moment after it is sent
	if i := info(t, h, "Keys"); i.Plugged != 2 || i.Received != 5 || i.Faults != 2 || i.Sent != 6 {
		t.Errorf("%+v", i)
	}
	// Out and in again between two looks, with the same number.
	f.Unplug("24|Keys")
	f.Plug("24|Keys")
	eventually(t, "it is opened anew", func() bool { return info(t, h, "Keys").Plugged == 3 && info(t, h, "Keys").Open })
	if n := f.Opened("24|Keys"); n != 1 {
		t.Errorf("it is open %d times", n)
	}
}

func TestHubLetsGoOfAFeederThatEnds(t *testing.T) {
	f := new(Fake)
	h, e := open(t, Config{Virtual: true, Drivers: []Driver{f}})
	f.Feed(1)
	eventually(t, "a virtual port", func() bool { return f.Out("") != nil && info(t, h, "k8s-synth").Open })
	time.Sleep(50 * time.Millisecond)
	f.Play("", time.Now(), []byte{0x95, 60, 100})
	eventually(t, "a key", func() bool { return len(e.got()) == 1 })
	f.Feed(0)
	eventually(t, "it is let go", func() bool { return len(e.got()) == 2 && e.got()[1].Message.IsNoteOff() })
}

// Who was at the virtual port, went and is back before anybody looked knows
// nothing of what was sent, and holds nothing of what it held.
func TestHubKnowsWhoIsBackAtOnce(t *testing.T) {
	f := new(Fake)
	h, e := open(t, Config{Virtual: true, Drivers: []Driver{f}})
	eventually(t, "a virtual port", func() bool { return f.Out("") != nil && info(t, h, "k8s-synth").Open })
	f.Connect("fader box")
	f.Feed(1)
	eventually(t, "a listener", func() bool { return e.plugs() == "+k8s-synth +k8s-synth" })
	f.Play("", time.Now(), []byte{0x95, 60, 100})
	eventually(t, "a key", func() bool { return len(e.got()) == 1 })
	f.Reconnect()
	eventually(t, "it is another", func() bool { return e.plugs() == "+k8s-synth +k8s-synth +k8s-synth" })
	eventually(t, "its key is let go", func() bool { return len(e.got()) == 2 && e.got()[1].Message.IsNoteOff() })
	f.Feed(2) // another one holds nothing that has to go
	f.Play("", time.Now(), []byte{0x95, 61, 100})
	eventually(t, "its key", func() bool { return len(e.got()) >= 3 })
	time.Sleep(50 * time.Millisecond)
	if got := e.got(); len(got) != 3 {
		t.Errorf("after another connected came %v", got[2:])
	}
}

// Who fed the virtual port is gone with a system that counts anew.
func TestHubKnowsThatTheSystemIsAnother(t *testing.T) {
	f := new(Fake)
	h, e := open(t, Config{Virtual: true, Drivers: []Driver{f}})
	f.Feed(1)
	eventually(t, "a virtual port", func() bool { return f.Out("") != nil && info(t, h, "k8s-synth").Open })
	// Who is told of has been counted with the feeder.
	f.Connect("fader box")
	eventually(t, "a listener", func() bool { return e.plugs() == "+k8s-synth +k8s-synth" })
	f.Play("", time.Now(), []byte{0x95, 60, 100})
	eventually(t, "a key", func() bool { return len(e.got()) == 1 })
	f.mu.Lock()
	f.fed = 0
	f.poke()
	f.mu.Unlock()
	eventually(t, "it is let go", func() bool { return len(e.got()) == 2 && e.got()[1].Message.IsNoteOff() })
}

// Through anything that becomes of a cable and of what is sent meanwhile: what
// was ended last is silent at the other end once the cable is whole.
func TestHubEndsThroughEverything(t *testing.T) { endsThroughEverything(t, 3) }

func TestProofHubEndsThroughEverything(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("a hundred such performances; K8S_SYNTH_PROOF=1 runs it")
	}
	endsThroughEverything(t, 100)
}

func endsThroughEverything(t *testing.T, seeds uint64) {
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 11))
		f := new(Fake)
		h, _ := open(t, Config{Patterns: []string{"all"}, Drivers: []Driver{f}, Held: filepath.Join(t.TempDir(), "held")})
		f.Plug("1|Synth")
		eventually(t, "a port", func() bool { return f.Out("1|Synth") != nil })
		unblock := func() {}
		ended := map[[2]byte]bool{} // the last word on a key
		pedal := map[byte]bool{}
		at := func() *FakeOut { return f.Out("1|Synth") }
		send := func(n int) {
			for range n {
				ch, key := r.IntN(3), 60+r.IntN(24)
				k := [2]byte{byte(ch), byte(key)}
				switch r.IntN(6) {
				case 0, 1:
					_ = h.Send("Synth", time.Now().Add(time.Duration(r.IntN(3))*time.Millisecond), midi.On(ch, key, 1+r.IntN(127)))
					ended[k] = false
				case 2, 3:
					_ = h.Send("Synth", time.Now().Add(3*time.Millisecond), midi.Off(ch, key, 64))
					ended[k] = true
				case 4:
					_ = h.Send("Synth", time.Time{}, midi.RealTime(midi.Clock))
				case 5:
					down := r.IntN(2) == 0
					_ = h.Send("Synth", time.Now().Add(3*time.Millisecond), midi.CC(ch, midi.CCSustain, 127*b2i(down)))
					pedal[byte(ch)] = down
				}
			}
		}
		blocked := false
		for range 30 {
			if r.IntN(4) > 0 && !blocked {
				eventually(t, "it is open", func() bool { return at() != nil && info(t, h, "Synth").Open })
			}
			send(r.IntN(60))
			time.Sleep(time.Duration(r.IntN(6)) * time.Millisecond)
			switch o := at(); r.IntN(6) {
			case 0: // pulled out in the midst of it, for a moment or longer
				unblock()
				unblock, blocked = func() {}, false
				f.Unplug("1|Synth")
				send(r.IntN(200))
				time.Sleep(time.Duration(r.IntN(12)) * time.Millisecond)
				f.Plug("1|Synth")
			case 1: // hangs while more is sent than there is room for
				if o != nil {
					unblock()
					unblock, blocked = o.Block(), true
					send(3000)
				}
			case 2:
				unblock()
				unblock, blocked = func() {}, false
			case 3: // fails
				if o != nil {
					o.Fail(errors.New("broken pipe"))
					send(r.IntN(40))
					time.Sleep(time.Duration(r.IntN(4)) * time.Millisecond)
					o.Fail(nil)
				}
			case 4:
				time.Sleep(time.Duration(r.IntN(8)) * time.Millisecond)
			}
		}
		unblock()
		for k := range ended { // the last words come when all is well
			if r.IntN(2) == 0 {
				ended[k] = true
				_ = h.Send("Synth", time.Now().Add(5*time.Millisecond), midi.Off(int(k[0]), int(k[1]), 64))
			}
		}
		sounds, held := map[[2]byte]int{}, map[byte]bool{}
		var left []string
		defer func() {
			if t.Failed() {
				t.Logf("seed %d: %v; %+v", seed, left, h.Ports())
			}
		}()
		eventually(t, "all that was ended is silent", func() bool {
			o := at()
			if i := info(t, h, "Synth"); o == nil || !i.Open || i.Error != "" {
				return false
			}
			clear(sounds)
			clear(held)
			for _, o := range f.Ever("1|Synth") {
				for _, s := range o.Got() {
					switch b := s.Bytes; {
					case b[0]&0xf0 == 0x90 && b[2] > 0:
						sounds[[2]byte{b[0] & 15, b[1]}]++
					case b[0]&0xf0 == 0x80 || b[0]&0xf0 == 0x90:
						sounds[[2]byte{b[0] & 15, b[1]}] = 0
					case b[0]&0xf0 == 0xb0 && b[1] == midi.CCSustain:
						held[b[0]&15] = b[2] >= 64
					}
				}
			}
			left = left[:0]
			for k, is := range ended {
				if is && sounds[k] != 0 {
					left = append(left, fmt.Sprintf("channel %d key %d", k[0], k[1]))
				}
			}
			for ch, down := range held {
				if down && !pedal[ch] {
					left = append(left, fmt.Sprintf("pedal of channel %d", ch))
				}
			}
			return len(left) == 0
		})
		i := info(t, h, "Synth")
		t.Logf("seed %d: plugged %d times, %d sent, %d dropped", seed, i.Plugged, i.Sent, i.Dropped)
		if i.Dropped == 0 || i.Plugged < 2 {
			t.Errorf("seed %d: that was too easy: %+v", seed, i)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestHubLivesThroughFaults(t *testing.T) {
	f := new(Fake)
	var log bytes.Buffer
	var mu sync.Mutex
	f.Fail(errors.New("no sequencer here"))
	h, e := open(t, Config{Virtual: true, Patterns: []string{"all"}, Drivers: []Driver{f}, Logger: slog.New(slog.NewTextHandler(locked{&mu, &log}, nil))})
	time.Sleep(40 * time.Millisecond)
	if len(h.Ports()) != 0 {
		t.Errorf("ports without a system: %+v", h.Ports())
	}
	f.Plug("20|Keys")
	f.Fail(nil)
	eventually(t, "a system that appears", func() bool { return e.plugs() == "+Keys +k8s-synth" })
	mu.Lock()
	if n := strings.Count(log.String(), "cannot be listed"); n != 1 {
		t.Errorf("it was said %d times:\n%s", n, log.String())
	}
	mu.Unlock()

	// An output that fails is opened again, and its notes end.
	if err := h.Send("Keys", time.Time{}, midi.On(0, 60, 1)); err != nil {
		t.Fatal(err)
	}
	out := f.Out("20|Keys")
	eventually(t, "a note", func() bool { return len(out.Got()) == 1 })
	out.Fail(errors.New("broken pipe"))
	f.Refuse(errors.New("busy"))
	_ = h.Send("Keys", time.Time{}, midi.On(0, 61, 1))
	eventually(t, "it is refused", func() bool { return strings.Contains(info(t, h, "Keys").Error, "busy") })
	out.Fail(nil)
	f.Refuse(nil)
	eventually(t, "it is open", func() bool { return info(t, h, "Keys").Open })
	eventually(t, "both notes end", func() bool { return strings.HasSuffix(text(out), "803c40 803d40 b07b00 b07800") })
	if i := info(t, h, "Keys"); i.Error != "" {
		t.Errorf("%+v", i)
	}
	// One way is taken by somebody else: the other works.
	f.RefuseIn(errors.New("taken"))
	f.Unplug("20|Keys")
	f.Plug("20|Keys")
	eventually(t, "half of it", func() bool { i := info(t, h, "Keys"); return i.Open && strings.Contains(i.Error, "taken") })
	if err := h.Send("Keys", time.Time{}, midi.Program(0, 1)); err != nil {
		t.Error(err)
	}
	f.RefuseIn(nil)
	eventually(t, "both ways", func() bool { return f.Opened("20|Keys") == 1 && info(t, h, "Keys").Error == "" })
	// A list that fails for long loses the ports.
	f.Fail(errors.New("gone"))
	eventually(t, "ports are lost", func() bool { return !info(t, h, "Keys").Open })
}

// A cable that falls out again as soon as it is plugged in: what it held ends at
// the next time.
func TestHubEndsWhatItCouldNotEnd(t *testing.T) {
	f := new(Fake)
	f.Plug("20|Keys")
	h, _ := open(t, Config{Patterns: []string{"all"}, Drivers: []Driver{f}})
	eventually(t, "a port", func() bool { return f.Out("20|Keys") != nil })
	out := f.Out("20|Keys")
	_ = h.Send("Keys", time.Time{}, midi.On(0, 60, 1), midi.CC(0, 66, 127))
	eventually(t, "a note", func() bool { return len(out.Got()) == 2 })
	out.Fail(errors.New("broken pipe"))
	_ = h.Send("Keys", time.Time{}, midi.Off(0, 60, 64))
	eventually(t, "it was opened again and again", func() bool { return info(t, h, "Keys").Plugged >= 4 })
	out.Fail(nil)
	eventually(t, "all ends", func() bool { return strings.HasSuffix(text(out), "903c01 b0427f 803c40 b04200 b07b00 b07800") })
	// The same with a panic, which ends what nobody knows of.
	out.Fail(errors.New("broken pipe"))
	h.Panic()
	eventually(t, "it was opened again", func() bool { return info(t, h, "Keys").Plugged >= 7 })
	out.Fail(nil)
	eventually(t, "everything ends", func() bool { return strings.HasSuffix(text(out), "bf4000 bf7b00 bf7900") })
}

// A device that hangs with a note held is pulled out, and put back: the note
// ends by itself, as not every synth knows what all notes off is, and nothing of
// the record of held notes is lost to it.
func TestHubEndsWhatHung(t *testing.T) {
	for name, held := range map[string]string{"on record": filepath.Join(t.TempDir(), "held"), "without": ""} {
		t.Run(name, func(t *testing.T) {
			f := new(Fake)
			f.Plug("20|Keys")
			h, _ := open(t, Config{Patterns: []string{"all"}, Drivers: []Driver{f}, Held: held})
			eventually(t, "a port", func() bool { return f.Out("20|Keys") != nil })
			out := f.Out("20|Keys")
			_ = h.Send("Keys", time.Time{}, midi.On(0, 60, 1))
			eventually(t, "a note", func() bool { return len(out.Got()) == 1 })
			unblock := out.Block()
			_ = h.Send("Keys", time.Time{}, midi.Off(0, 60, 64))
			eventually(t, "it hangs", func() bool { return out.Waiting() == 1 })
			f.Unplug("20|Keys")
			eventually(t, "it is given up", func() bool { return !info(t, h, "Keys").Open })
			f.Plug("20|Keys")
			eventually(t, "its note ends", func() bool {
				o := f.Out("20|Keys")
				return o != nil && o != out && strings.Contains(text(o), "803c40") && strings.HasSuffix(text(o), "bf4000 bf7b00 bf7900")
			})
			o := f.Out("20|Keys")
			_ = h.Send("Keys", time.Time{}, midi.On(0, 62, 1))
			eventually(t, "another note", func() bool { return strings.HasSuffix(text(o), "903e01") })
			unblock() // and what hung ends what it did
			time.Sleep(20 * time.Millisecond)
			if h.record == nil {
				return
			}
			var held midi.Held
			if err := held.UnmarshalBinary(bytes.Clone(h.record.slot(0)[slotHeld:])); err != nil || held.Count(0, 60) != 0 || held.Count(0, 62) != 1 {
				t.Errorf("on record are %d and %d, error %v", held.Count(0, 60), held.Count(0, 62), err)
			}
			for i, used := range h.record.used {
				if used != (i == 0) || h.record.slot(i)[slotUsed] != byte(b2i(i == 0)) {
					t.Errorf("slot %d is used %t", i, used)
				}
			}
		})
	}
}

type locked struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func TestHubBlockedPortDelaysNoOther(t *testing.T) {
	f := new(Fake)
	f.Plug("1|Slow")
	f.Plug("2|Fast")
	h, _ := open(t, Config{Patterns: []string{"all"}, Drivers: []Driver{f}})
	eventually(t, "two ports", func() bool { return f.Out("1|Slow") != nil && f.Out("2|Fast") != nil })
	unblock := f.Out("1|Slow").Block()
	defer unblock()
	for i := range 6000 {
		if err := h.Send("", time.Time{}, midi.On(0, i%100, 1), midi.CC(0, 20, i%128), midi.Off(0, i%100, 0)); err != nil {
			t.Fatal(err)
		}
		if i%200 == 199 { // as fast as the other takes it
			eventually(t, "the fast port has all", func() bool {
				n := info(t, h, "Fast") // on a busy machine it begins no note that is over
				return n.Sent+n.Dropped == uint64(3*(i+1))
			})
		}
	}
	if n := len(f.Out("1|Slow").Got()); n != 0 {
		t.Errorf("a blocked port got %d", n)
	}
	unblock()
	eventually(t, "the last value", func() bool { return strings.Contains(text(f.Out("1|Slow")), midiText([]byte{0xb0, 20, 5999 % 128})) })
	h.Panic()
	eventually(t, "a panic", func() bool { return strings.HasSuffix(text(f.Out("1|Slow")), "bf4000 bf7b00 bf7900") })
	sounds := map[byte]int{}
	for _, s := range f.Out("1|Slow").Got() {
		switch {
		case s.Bytes[0] == 0x90:
			sounds[s.Bytes[1]]++
		case s.Bytes[0] == 0x80:
			sounds[s.Bytes[1]] = 0
		}
	}
	for k, n := range sounds {
		if n != 0 {
			t.Errorf("key %d sounds", k)
		}
	}
}

func TestHubPanicGoesFirst(t *testing.T) {
	f := new(Fake)
	f.Plug("1|Keys")
	h, _ := open(t, Config{Patterns: []string{"all"}, Drivers: []Driver{f}})
	eventually(t, "a port", func() bool { return f.Out("1|Keys") != nil })
	o := f.Out("1|Keys")
	later := time.Now().Add(time.Second) // after the panic
	_ = h.Send("Keys", time.Time{}, midi.On(3, 60, 100))
	_ = h.Send("Keys", later, midi.On(3, 64, 100), midi.RealTime(midi.Clock), midi.Off(3, 64, 0), midi.On(3, 65, 1))
	eventually(t, "a note", func() bool { return len(o.Got()) == 1 })
	asked := time.Now()
	h.Panic()
	eventually(t, "a panic", func() bool { return len(o.Got()) >= 1+16+1+48 })
	took := o.Got()[1].Came.Sub(asked)
	t.Logf("a panic is with the driver after %v", took)
	eventually(t, "the clock goes on", func() bool { return strings.HasSuffix(text(o), " f8") })
	got := text(o)
	if !strings.HasPrefix(got, "933c64 b37800 ") || !strings.Contains(got, "833c40") || strings.Contains(got, "9340") {
		t.Errorf("got %s", got)
	}
	if i := info(t, h, "Keys"); i.Dropped != 2 {
		t.Errorf("%+v", i)
	}
}

func TestHubCloseEndsWhatSounds(t *testing.T) {
	f := new(Fake)
	f.Plug("1|Keys")
	f.Plug("2|Stuck")
	h, _ := open(t, Config{Virtual: true, Patterns: []string{"all"}, Drivers: []Driver{f}})
	eventually(t, "three ports", func() bool { return f.Out("1|Keys") != nil && f.Out("2|Stuck") != nil && f.Out("") != nil })
	if err := h.Send("", time.Time{}, midi.On(0, 60, 1), midi.CC(0, 64, 127)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "notes", func() bool { return len(f.Out("1|Keys").Got()) == 2 && len(f.Out("").Got()) == 2 })
	unblock := f.Out("2|Stuck").Block()
	defer unblock()
	_ = h.Send("Stuck", time.Time{}, midi.On(0, 61, 1))
	_ = h.Send("Keys", time.Now().Add(time.Hour), midi.On(0, 62, 1))
	began := time.Now()
	if err := h.Close(); err == nil || !strings.Contains(err.Error(), "Stuck") {
		t.Errorf("closing with a port that is stuck: %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("closing took %v", took)
	}
	for _, n := range []string{"1|Keys", ""} {
		if o := f.Out(n); text(o) != "903c01 b0407f 803c40 b04000 b07b00 b07800" || !o.Closed() {
			t.Errorf("port %q got %s", n, text(o))
		}
	}
	if err := h.Send("", time.Time{}, midi.On(0, 60, 1)); err == nil {
		t.Error("a closed hub sends")
	}
}

func TestHubFloodKeepsNoOtherWaiting(t *testing.T) {
	f := new(Fake)
	f.Plug("1|Flood")
	f.Plug("2|Keys")
	var mu sync.Mutex
	var flood, clocks, offs int
	var queued []int // messages of the flood that were out when one of the others came
	behind := 0
	h, _ := open(t, Config{Patterns: []string{"all"}, Drivers: []Driver{f}, Received: func(in In) {
		time.Sleep(20 * time.Microsecond) // a slow receiver
		mu.Lock()
		defer mu.Unlock()
		switch {
		case in.Port == "Keys":
			behind = max(behind, flood-queued[0])
			queued = queued[1:]
		case in.Message.IsNoteOff():
			offs++
		case in.Message.IsRealTime():
			clocks++
		default:
			flood++
		}
	}})
	eventually(t, "two ports", func() bool { return f.Opened("1|Flood") == 1 && f.Opened("2|Keys") == 1 })
	stop := make(chan struct{})
	flooded := make(chan int)
	go func() {
		b := []byte{0xb0, 1, 1, 0xb0, 2, 1, 0xe0, 1, 1, 0x90, 60, 1}
		n := 0
		for {
			select {
			case <-stop:
				flooded <- n
				return
			default:
			}
			for range 50 {
				f.Play("1|Flood", time.Now(), b)
			}
			if n++; n%64 == 0 {
				f.Play("1|Flood", time.Now(), []byte{0xf8, 0x80, byte(n >> 6 & 127), 0})
			}
		}
	}()
	for i := range 100 {
		mu.Lock() // nothing is received between the two
		queued = append(queued, flood)
		f.Play("2|Keys", time.Now(), []byte{0x90, 60, byte(1 + i)})
		mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	close(stop)
	n := <-flooded / 64
	eventually(t, "all clocks and ends of notes", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return clocks == n && offs >= min(n, 1)
	})
	i := info(t, h, "Flood")
	mu.Lock()
	defer mu.Unlock()
	t.Logf("flood: %d received, %d dropped; the other port waited for %d of them at most", i.Received, i.Dropped, behind)
	if k := info(t, h, "Keys"); k.Dropped != 0 || k.Received != 100 {
		t.Errorf("%+v", k)
	}
	// The flood's own queue holds 2048; what is counted here is also how long the
	// fake driver was busy.
	if behind > 500 {
		t.Errorf("the other port waited for %d messages of the flood", behind)
	}
	if i.Dropped == 0 {
		t.Errorf("a flood without loss proves nothing: %+v", i)
	}
}

// crash copies the record of a hub that lives, as a kill would leave it.
func crash(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "crashed")
	if err := os.WriteFile(copied, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return copied
}

func TestCrashEndsWhatSounds(t *testing.T) {
	held := filepath.Join(t.TempDir(), "held")
	f := new(Fake)
	f.Plug("20|Keys")
	f.Plug("21|Keys")
	f.Plug("130|synth")
	h, _ := open(t, Config{Virtual: true, Patterns: []string{"keys"}, Drivers: []Driver{f}, Held: held})
	f.Connect("130|synth")
	eventually(t, "three ports", func() bool {
		return f.Out("20|Keys") != nil && f.Out("21|Keys") != nil && len(info(t, h, "k8s-synth").Connected) == 1
	})
	_ = h.Send("Keys (2)", time.Time{}, midi.On(1, 60, 100), midi.CC(1, 64, 127))
	_ = h.Send("k8s-synth", time.Time{}, midi.On(0, 61, 100))
	eventually(t, "notes", func() bool { return len(f.Out("21|Keys").Got()) == 2 && len(f.Out("").Got()) == 1 })
	if s, err := os.Stat(held); err != nil || s.Mode().Perm() != 0o600 {
		t.Errorf("the record: %v %v", s.Mode(), err)
	}
	if _, err := Open(Config{Held: held, Drivers: []Driver{new(Fake)}}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second one with the same record: %v", err)
	}

	const keys, synth = "813c40 b14000 b17b00 b17800", "803d40 b07b00 b07800"
	t.Run("watchdog", func(t *testing.T) {
		path := crash(t, held)
		g := new(Fake)
		g.Plug("33|Keys") // other numbers since
		g.Plug("34|Keys")
		g.Plug("130|synth")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := ReleaseFile(ctx, path, []Driver{g}, nil); err != nil {
			t.Fatal(err)
		}
		if g.Out("33|Keys") != nil || text(g.Out("34|Keys")) != keys || text(g.Out("130|synth")) != synth || !g.Out("34|Keys").Closed() {
			t.Errorf("got %q and %q", text(g.Out("34|Keys")), text(g.Out("130|synth")))
		}
		if err := ReleaseFile(ctx, path, []Driver{new(Fake)}, nil); err != nil {
			t.Errorf("it was not struck off: %v", err)
		}
	})
	t.Run("watchdog process", func(t *testing.T) {
		path := crash(t, held)
		g := new(Fake)
		g.Plug("20|Keys")
		g.Plug("21|Keys")
		g.Plug("130|synth")
		if err := ReleaseFile(t.Context(), path, []Driver{g}, nil); err != nil || text(g.Out("21|Keys")) != keys {
			t.Errorf("%v, got %q", err, text(g.Out("21|Keys")))
		}
	})
	t.Run("watchdog first, then the next start", func(t *testing.T) {
		path := crash(t, held)
		g := new(Fake)
		g.Plug("130|synth")
		if err := ReleaseFile(t.Context(), path, []Driver{g}, nil); err == nil || !strings.Contains(err.Error(), "Keys") {
			t.Errorf("a port that is not there: %v", err)
		}
		if text(g.Out("130|synth")) != synth {
			t.Errorf("got %q", text(g.Out("130|synth")))
		}
		g = new(Fake)
		h, _ := open(t, Config{Patterns: []string{"pads"}, Drivers: []Driver{g}, Held: path})
		// It comes back later, and is not one that is wanted.
		g.Plug("40|Keys")
		g.Plug("41|Keys")
		eventually(t, "its notes end", func() bool {
			return g.Out("41|Keys") != nil && text(g.Out("41|Keys")) == keys
		})
		eventually(t, "it is closed", func() bool { return !info(t, h, "Keys (2)").Open && g.Out("41|Keys").Closed() })
		if g.Out("40|Keys") != nil {
			t.Error("another of the same name was opened")
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		if err := ReleaseFile(t.Context(), path, []Driver{new(Fake)}, nil); err != nil {
			t.Errorf("it was not struck off: %v", err)
		}
	})
	t.Run("next start", func(t *testing.T) {
		path := crash(t, held)
		g := new(Fake)
		g.Plug("20|Keys")
		g.Plug("21|Keys")
		g.Plug("130|synth")
		open(t, Config{Virtual: true, Patterns: []string{"keys"}, Drivers: []Driver{g}, Held: path})
		eventually(t, "its notes end", func() bool {
			return g.Out("21|Keys") != nil && text(g.Out("21|Keys")) == keys && g.Out("130|synth") != nil && text(g.Out("130|synth")) == synth
		})
	})
	t.Run("a page that cannot be read", func(t *testing.T) {
		path := crash(t, held)
		b, _ := os.ReadFile(path)
		for i := 1; i <= recordSlots; i++ {
			copy(b[i*slotSize+slotHeld:], "garbage!")
		}
		_ = os.WriteFile(path, b, 0o600)
		g := new(Fake)
		g.Plug("20|Keys")
		g.Plug("21|Keys")
		g.Plug("130|synth")
		if err := ReleaseFile(t.Context(), path, []Driver{g}, nil); err != nil {
			t.Fatal(err)
		}
		if n := len(g.Out("21|Keys").Got()); n < 64 {
			t.Errorf("%d messages end everything", n)
		}
	})
}

// A start that comes while a watchdog is at work waits for it, and keeps its
// own record, too.
func TestNextStartWaitsForTheWatchdog(t *testing.T) {
	held := filepath.Join(t.TempDir(), "held")
	f := new(Fake)
	f.Plug("20|Keys")
	h, _ := open(t, Config{Patterns: []string{"keys"}, Drivers: []Driver{f}, Held: held})
	eventually(t, "a port", func() bool { return f.Out("20|Keys") != nil })
	_ = h.Send("Keys", time.Time{}, midi.On(1, 60, 100))
	eventually(t, "a note", func() bool { return len(f.Out("20|Keys").Got()) == 1 })
	path := crash(t, held)
	works, _, err := openRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(held)
	if err != nil {
		t.Fatal(err)
	}
	copy(works.mem, b) // what it could not end
	time.AfterFunc(150*time.Millisecond, func() { _ = works.close() })
	g := new(Fake)
	g.Plug("20|Keys")
	began := time.Now()
	next, _ := open(t, Config{Patterns: []string{"keys"}, Drivers: []Driver{g}, Held: path})
	t.Logf("the next start waited for %v", time.Since(began).Round(time.Millisecond))
	eventually(t, "its note ends", func() bool { return g.Out("20|Keys") != nil && text(g.Out("20|Keys")) == "813c40 b17b00 b17800" })
	if next.record == nil {
		t.Error("what it holds itself would not survive a crash")
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(recordMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "r")
		if err := os.WriteFile(path, append([]byte(recordMagic+strings.Repeat("\x00", slotSize-len(recordMagic))), b...), 0o600); err != nil {
			t.Fatal(err)
		}
		r, _, err := openRecord(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestHubSendsOnTime(t *testing.T) {
	f := new(Fake)
	f.Plug("1|Keys")
	h, _ := open(t, Config{Patterns: []string{"all"}, Drivers: []Driver{f}})
	eventually(t, "a port", func() bool { return f.Out("1|Keys") != nil })
	o := f.Out("1|Keys")
	const n = 200
	start := time.Now().Add(10 * time.Millisecond)
	for i := range n {
		_ = h.Send("", start.Add(time.Duration(i)*1700*time.Microsecond), midi.RealTime(midi.Clock))
	}
	eventually(t, "all", func() bool { return len(o.Got()) == n })
	var late histogram
	for _, s := range o.Got() {
		if s.Came.Before(s.At) {
			t.Fatalf("%v early", s.At.Sub(s.Came))
		}
		late.add(s.Came.Sub(s.At))
	}
	s := late.spread()
	t.Logf("late by %v (p50), %v (p99), %v (max)", s.P50, s.P99, s.Max)
	eventually(t, "all is counted", func() bool { return info(t, h, "Keys").Late.Count >= n }) // a moment after it is sent
	if i := info(t, h, "Keys"); i.Late.Count != n {
		t.Errorf("%+v", i.Late)
	}
	// A driver that places messages itself gets them early, with their time.
	o.SetAhead(2 * time.Second)
	_ = h.Send("", time.Time{}, midi.RealTime(midi.Clock)) // the thread looks again
	eventually(t, "one more", func() bool { return len(o.Got()) == n+1 })
	at := time.Now().Add(time.Second)
	_ = h.Send("", at, midi.RealTime(midi.Start))
	eventually(t, "the next", func() bool { return len(o.Got()) == n+2 })
	if got := o.Got()[n+1]; !got.At.Equal(at) || got.Came.After(at) {
		t.Errorf("at %v, came %v, for %v", got.At, got.Came, at)
	}
}
