package web

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"

	"github.com/k8s-synth/k8s-synth/mapping/web/browser"
)

// chromium starts a browser for a test, or skips it.
func chromium(t *testing.T) *browser.Browser {
	t.Helper()
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	b, err := browser.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openPage opens the rack in a window and waits until it is drawn.
func openPage(t *testing.T, b *browser.Browser, r *fakeRack, size browser.Size) *browser.Page {
	t.Helper()
	p, err := b.Open(size)
	must(t, err)
	must(t, p.Go(r.server.URL()))
	must(t, p.Ready(15*time.Second))
	return p
}

func at(t *testing.T, p *browser.Page, selector string) browser.Point {
	t.Helper()
	a, err := p.At(selector)
	must(t, err)
	return a
}

// eventually waits for what the instrument knows.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within three seconds: %s", what)
		}
	}
}

// shots is where screenshots go.
func shots(t *testing.T) string {
	if d := os.Getenv("K8S_SYNTH_SHOTS"); d != "" {
		return d
	}
	return t.TempDir()
}

// TestPage plays the page with pointer, keys and fingers, before an instrument
// that only keeps what it is asked for.
func TestPage(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	b := chromium(t)
	r := startRack(t, rackOf(60, "deployment/web", "service/shop", "vco/tone", "scope/eye", "vcf/filter", "audio_out/main"), Config{})
	r.play()
	p := openPage(t, b, r, browser.Desk)
	defer p.Close()
	value := func(a string) float64 { v, _ := r.value(a); return v }
	cutoff := "/vcf/filter/cutoff"
	knob := browser.Knob("vcf/filter", "cutoff")

	t.Run("knob", func(t *testing.T) {
		k := at(t, p, knob)
		before := value(cutoff)
		must(t, p.Drag(k, browser.Point{X: k.X, Y: k.Y - 40}, 8, 0))
		// still waits until all of a drag has come.
		still := func(what string, turned func(v float64) bool) (v float64) {
			t.Helper()
			since := time.Now()
			eventually(t, what, func() bool {
				if now := value(cutoff); now != v {
					v, since = now, time.Now()
				}
				return turned(v) && time.Since(since) > 300*time.Millisecond
			})
			return v
		}
		v := still("the knob is turned", func(v float64) bool { return v > before*1.2 })
		coarse := v / before
		must(t, p.Drag(k, browser.Point{X: k.X, Y: k.Y - 40}, 8, input.ModifierShift))
		finely := still("the knob is turned finely", func(now float64) bool { return now > v })
		if fine := math.Log(finely / v); fine > math.Log(coarse)/8 {
			t.Errorf("Shift turns by %.3f octaves, without it by %.3f; want a tenth", fine/math.Ln2, math.Log2(coarse))
		}
		v = finely
		must(t, p.Wheel(k, -100, 0))
		eventually(t, "the wheel turns it up", func() bool { return value(cutoff) > v })
		must(t, p.Keys(browser.Down))
		eventually(t, "an arrow turns it down", func() bool { return math.Abs(value(cutoff)/v-1) < 0.01 })
		must(t, p.Keys(browser.End))
		eventually(t, "End is the highest", func() bool { return value(cutoff) > 2*v })
		must(t, p.Click(k, 2))
		eventually(t, "a double click is the default", func() bool { return math.Abs(value(cutoff)/before-1) < 1e-6 })
		must(t, p.Keys("1"))
		must(t, p.Keys("234"))
		must(t, p.Keys(browser.Enter))
		must(t, p.Wait(2*time.Second, "!document.querySelector('.typed')"))
		eventually(t, "1234 is typed", func() bool { return value(cutoff) == 1234 })
		must(t, p.Keys("9"))
		must(t, p.Keys("99999999"))
		must(t, p.Keys(browser.Enter))
		must(t, p.Wait(2*time.Second, "!document.getElementById('toast').hidden"))
		if value(cutoff) != 1234 {
			t.Errorf("a number out of range was taken: %v", value(cutoff))
		}
		var text string
		must(t, p.Eval(fmt.Sprintf("document.querySelector('%s').getAttribute('aria-valuetext')", knob), &text))
		if !strings.HasPrefix(text, "1234") || !strings.Contains(text, "Hz") {
			t.Errorf("a screen reader is told %q", text)
		}
	})

	t.Run("word", func(t *testing.T) {
		must(t, p.Click(at(t, p, browser.Knob("deployment/web", "image")), 1))
		must(t, p.Wait(2*time.Second, "document.activeElement.classList.contains('typed')"))
		must(t, p.Keys("<img src=x onerror=alert(1)>"))
		must(t, p.Keys(browser.Enter))
		eventually(t, "a word is typed", func() bool { _, w := r.value("/deployment/web/image"); return w == "<img src=x onerror=alert(1)>" })
		must(t, p.Wait(2*time.Second, "!document.querySelector('.module img')"))
	})

	t.Run("button", func(t *testing.T) {
		const button = `.module[data-id="deployment/web"] [data-part="button"][data-input="restart"]`
		pushes := func() (list []float64) {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, q := range r.asked {
				if q.Set != nil && q.Set.Address == "/deployment/web/restart" {
					list = append(list, q.Set.Value)
				}
			}
			return list
		}
		are := func(what string, want ...float64) {
			t.Helper()
			eventually(t, what, func() bool { return slices.Equal(pushes(), want) })
		}
		b := at(t, p, button)
		must(t, p.Press(b, 0))
		are("the button is down", 10)
		must(t, p.Release(b, 0))
		are("the button is up", 10, 0)
		// It is held by a key and a finger: it is up when both have gone.
		key := func(kind string) {
			t.Helper()
			must(t, p.Eval(fmt.Sprintf("document.querySelector(%q).dispatchEvent(new KeyboardEvent('%s',{key:'Enter',bubbles:true}))", button, kind), nil))
		}
		key("keydown")
		are("a key holds it", 10, 0, 10)
		must(t, p.Press(b, 0))
		key("keyup")
		time.Sleep(200 * time.Millisecond)
		are("a finger holds it still", 10, 0, 10)
		must(t, p.Release(b, 0))
		are("nothing holds it", 10, 0, 10, 0)
		// Learning it by keys does not push it.
		must(t, p.Push("#learn"))
		key("keydown")
		key("keyup")
		eventually(t, "it is learnt", func() bool { return slices.Contains(r.actions("learn"), "learn:/deployment/web/restart") })
		are("learning pushes nothing", 10, 0, 10, 0)
	})

	t.Run("cable", func(t *testing.T) {
		from, to := at(t, p, browser.Jack("deployment/web/pods")), at(t, p, browser.Jack("service/shop/selector"))
		must(t, p.Drag(from, to, 12, 0))
		eventually(t, "a cable is plugged", func() bool {
			c := r.cables()
			return len(c) == 1 && c[0].From == "deployment/web/pods" && c[0].To == "service/shop/selector"
		})
		must(t, p.Wait(2*time.Second, "rackTest.model.cables.length===1"))
		// Pulled at its plug and dropped elsewhere.
		var title browser.Point
		must(t, p.Eval(`(()=>{const b=document.querySelector('[data-id="service/shop"]').getBoundingClientRect();return{X:b.left+b.width/2,Y:b.top+14}})()`, &title))
		must(t, p.Drag(to, title, 8, 0))
		eventually(t, "the cable is pulled", func() bool { return len(r.cables()) == 0 })
		must(t, p.Wait(2*time.Second, "rackTest.model.cables.length===0"))
		// From the input's side, and onto an output's neighbour: nothing.
		must(t, p.Drag(to, from, 8, 0))
		eventually(t, "a cable is plugged from its end", func() bool { return len(r.cables()) == 1 })
		must(t, p.Drag(to, to, 3, 0))
		must(t, p.Wait(2*time.Second, "rackTest.model.cables.length===1&&rackTest.wires.drags.size===0"))
		if len(r.cables()) != 1 {
			t.Error("a plug that was only touched came out")
		}
		// With the keyboard: one jack, then the other.
		must(t, p.Eval(`document.querySelector('[data-jackref="vco/tone/saw"]').focus()`, nil))
		must(t, p.Keys(browser.Enter))
		must(t, p.Eval(`document.querySelector('[data-jackref="vcf/filter/in"]').focus()`, nil))
		must(t, p.Keys(browser.Enter))
		eventually(t, "a cable is plugged by keys", func() bool { return len(r.cables()) == 2 })
	})

	t.Run("module", func(t *testing.T) {
		place := func(id string) (int, int) {
			r.mu.Lock()
			defer r.mu.Unlock()
			m := r.module(id)
			return m.Row, m.HP
		}
		name := func(id string) browser.Point {
			var a browser.Point
			must(t, p.Eval(fmt.Sprintf(`(()=>{const b=document.querySelector('[data-id="%s"]').getBoundingClientRect();return{X:b.left+b.width/2,Y:b.top+6}})()`, id), &a))
			return a
		}
		row, hp := place("audio_out/main")
		a := name("audio_out/main")
		var unit float64
		must(t, p.Eval("rackTest.unit*rackTest.HP", &unit))
		must(t, p.Drag(a, browser.Point{X: a.X + 10.3*unit, Y: a.Y}, 10, 0))
		eventually(t, "the module snaps to the next whole HP", func() bool { r2, h2 := place("audio_out/main"); return r2 == row && h2 == hp+10 })
		// Onto another it does not go, and the page says who stands there.
		must(t, p.Drag(name("audio_out/main"), name("deployment/web"), 10, 0))
		must(t, p.Wait(2*time.Second, "/stands there/.test(document.getElementById('toast').textContent)"))
		if r2, h2 := place("audio_out/main"); r2 != row || h2 != hp+10 {
			t.Errorf("it went to row %d at %d HP", r2, h2)
		}
		must(t, p.Push("#tab-add"))
		must(t, p.Push("#pane input[type=search]"))
		must(t, p.Keys("reverb"))
		must(t, p.Wait(2*time.Second, "document.querySelectorAll('#pane .kind').length<5"))
		must(t, p.Push("#pane .kind"))
		must(t, p.Wait(3*time.Second, "[...rackTest.model.modules.keys()].some(k=>k.startsWith('reverb/'))"))
		must(t, p.Eval(`[...document.querySelectorAll('.module')].find(m=>m.dataset.id.startsWith('reverb/')).focus()`, nil))
		must(t, p.Keys(browser.Delete))
		must(t, p.Wait(3*time.Second, "![...rackTest.model.modules.keys()].some(k=>k.startsWith('reverb/'))"))
	})

	t.Run("elsewhere", func(t *testing.T) {
		// What others turn is seen.
		r.mu.Lock()
		r.module("vcf/filter").Params["cutoff"] = 500
		r.mu.Unlock()
		r.server.Changed("/vcf/filter/cutoff", 500, "", "osc")
		must(t, p.Wait(time.Second, fmt.Sprintf("document.querySelector('%s').getAttribute('aria-valuenow')==='500'", knob)))
		r.status(map[string]any{"lost": true})
		must(t, p.Wait(2*time.Second, "/no device/.test(document.getElementById('state').textContent)"))
		r.status(map[string]any{"cluster": map[string]any{"reachable": false, "boot": "etcd"}})
		must(t, p.Wait(2*time.Second, "/booting: etcd/.test(document.getElementById('state').textContent)"))
		r.status(map[string]any{"takeovers": []map[string]any{{"port": "midi", "control": "cc 7", "address": "/vcf/filter/cutoff", "have": 0.2, "want": 0.6}}})
		must(t, p.Wait(2*time.Second, "/converged/.test(document.getElementById('state').textContent)"))
	})

	t.Run("silenced", func(t *testing.T) {
		// After a panic the page says that nothing of the cluster is heard, and offers to end that.
		hidden := func() (h bool) {
			must(t, p.Eval("document.getElementById('resume').hidden", &h))
			return h
		}
		if !hidden() {
			t.Error("nothing is silenced, and there is something to resume")
		}
		r.status(map[string]any{"silenced": true})
		must(t, p.Wait(2*time.Second, "/silenced/.test(document.getElementById('state').textContent)"))
		if hidden() {
			t.Fatal("it is silenced, and nothing ends that")
		}
		must(t, p.Push("#resume"))
		eventually(t, "the page resumes", func() bool { return len(r.actions("resume")) == 1 })
		r.status(map[string]any{"silenced": false})
		must(t, p.Wait(2*time.Second, "/converged/.test(document.getElementById('state').textContent)"))
		if !hidden() {
			t.Error("all is heard, and there is something to resume")
		}
	})

	t.Run("takeover", func(t *testing.T) {
		// A control that stands elsewhere than its knob is marked on the knob's rim.
		type mark struct{ N, Turn, Far float64 }
		look := func() (m mark) {
			must(t, p.Eval(fmt.Sprintf(`(()=>{const k=document.querySelector('%s .skirt').getBoundingClientRect(),m={e:k.x+k.width/2,f:k.y+k.height/2},s=document.getElementById('lights'),b=s.getBoundingClientRect(),r=s.width/b.width,R=Math.round(9*rackTest.unit*r);
const d=s.getContext('2d').getImageData(Math.round((m.e-b.left)*r)-R,Math.round((m.f-b.top)*r)-R,2*R,2*R).data
let n=0,x=0,y=0;for(let i=0;i<d.length/4;i++)if(d[4*i+3]>150&&d[4*i]>220&&d[4*i+1]>190&&d[4*i+2]<150){n++;x+=i%%(2*R)-R+.5;y+=Math.floor(i/2/R)-R+.5}
return{N:n,Turn:Math.atan2(x,-y)*180/Math.PI,Far:n&&Math.hypot(x/n,y/n)/rackTest.unit/r}})()`, knob), &m))
			return m
		}
		tell := func(list ...map[string]any) {
			r.status(map[string]any{"takeovers": list})
			var have []string
			for _, c := range list {
				have = append(have, fmt.Sprint(c["have"]))
			}
			must(t, p.Wait(2*time.Second, fmt.Sprintf("(rackTest.model.status.takeovers??[]).map(t=>t.have).join()==='%s'", strings.Join(have, ","))))
			must(t, p.Eval("new Promise(ok=>requestAnimationFrame(()=>requestAnimationFrame(ok)))", nil))
		}
		must(t, p.Eval(`document.querySelector('[data-id="vcf/filter"]').scrollIntoView()`, nil))
		tell()
		if m := look(); m.N > 0 {
			t.Fatalf("nothing has to be taken over, and there is a mark: %+v", m)
		}
		var w float64
		must(t, p.Eval("rackTest.model.plate('vcf/filter').controls.find(c=>c.name==='cutoff').w", &w))
		for _, have := range []float64{0.2, 0.9} {
			tell(map[string]any{"port": "midi", "control": "cc 7", "address": "/vcf/filter/cutoff", "have": have, "want": 0.6})
			if m := look(); m.N < 8 || math.Abs(m.Turn-(280*have-140)) > 4 || m.Far < w/2 || m.Far > w/2+2.5 {
				t.Errorf("a control stands at %g, and the mark is %+v; the knob is %g mm wide", have, m, w)
			}
		}
		tell()
		if m := look(); m.N > 0 {
			t.Errorf("it was taken over, and the mark stays: %+v", m)
		}
	})

	t.Run("lights", func(t *testing.T) {
		// A module shines while it is in a hand, and where it is.
		r.mu.Lock()
		volts := r.volts
		r.volts = func(float64, int) float32 { return 5 }
		r.mu.Unlock()
		a := at(t, p, `[data-id="service/shop"] .title`)
		green := `(()=>{const b=document.querySelector('[data-id="service/shop"] .led').getBoundingClientRect(),s=document.getElementById('lights'),o=s.getBoundingClientRect(),r=s.width/o.width,d=s.getContext('2d').getImageData((b.left+b.width/2-o.left)*r,(b.top+b.height/2-o.top)*r,1,1).data;return d[3]>150&&d[1]>200})()`
		must(t, p.Wait(2*time.Second, green))
		must(t, p.Press(a, 0))
		must(t, p.Move(browser.Point{X: a.X + 30, Y: a.Y + 40}, true, 0))
		must(t, p.Move(browser.Point{X: a.X + 33, Y: a.Y + 47}, true, 0))
		must(t, p.Wait(2*time.Second, "!!document.querySelector('.dragged')"))
		must(t, p.Wait(2*time.Second, green))
		must(t, p.Move(a, true, 0))
		must(t, p.Release(a, 0))
		r.mu.Lock()
		r.volts = volts
		r.mu.Unlock()
	})

	t.Run("fingers", func(t *testing.T) {
		p := openPage(t, b, r, browser.Tablet)
		defer p.Close()
		must(t, p.Eval("document.querySelector('[data-id=\"vcf/filter\"]').scrollIntoView()", nil))
		a, c := at(t, p, knob), at(t, p, browser.Knob("vcf/filter", "resonance"))
		v, w := value(cutoff), value("/vcf/filter/resonance")
		must(t, p.Swipe([]browser.Point{a, c}, []browser.Point{{X: a.X, Y: a.Y - 50}, {X: c.X, Y: c.Y - 70}}, 4))
		eventually(t, "two fingers turn two knobs", func() bool { return value(cutoff) > v && value("/vcf/filter/resonance") > w })
		// One that rests on a knob asks for a number.
		must(t, p.Touch(input.TouchStart, a))
		must(t, p.Wait(3*time.Second, "document.querySelector('.typed')"))
		must(t, p.Touch(input.TouchEnd))
		must(t, p.Keys("440"))
		must(t, p.Keys(browser.Enter))
		eventually(t, "a number is typed", func() bool { return value(cutoff) == 440 })
		// Two fingers on panels zoom, and what is between them stays there.
		var before, after struct{ Unit, X, Y float64 }
		where := `(()=>{const b=document.querySelector('[data-id="vcf/filter"]').getBoundingClientRect();return{unit:rackTest.unit,x:b.left,y:b.top}})()`
		must(t, p.Eval(where, &before))
		x := browser.Point{X: before.X + 20, Y: before.Y + 12}
		must(t, p.Swipe([]browser.Point{x, {X: x.X + 60, Y: x.Y}}, []browser.Point{{X: x.X - 30, Y: x.Y}, {X: x.X + 90, Y: x.Y}}, 4))
		must(t, p.Eval(where, &after))
		if after.Unit < before.Unit*1.5 || after.Unit > before.Unit*2.5 {
			t.Errorf("fingers twice as far apart zoom from %.2f to %.2f", before.Unit, after.Unit)
		}
		// A finger draws a cable.
		n := len(r.cables())
		must(t, p.Eval("document.getElementById('smaller').click()", nil))
		must(t, p.Eval("document.getElementById('smaller').click()", nil))
		at(t, p, browser.Jack("vco/tone/sine"))
		to := at(t, p, browser.Jack("vco/tone/sync"))
		from := at(t, p, browser.Jack("vco/tone/sine"))
		must(t, p.Swipe([]browser.Point{from}, []browser.Point{to}, 4))
		eventually(t, "a finger draws a cable", func() bool { return len(r.cables()) == n+1 })
		// One finger pans, and the rack runs on a little when it lets go.
		title := `(()=>{const b=document.querySelector('[data-id="service/shop"]').getBoundingClientRect();return{X:b.left+b.width/2,Y:b.top+10}})()`
		must(t, p.Eval(`document.querySelector('[data-id="service/shop"]').scrollIntoView({block:'center',inline:'center'})`, nil))
		var was, is browser.Point
		must(t, p.Eval(title, &was))
		must(t, p.Swipe([]browser.Point{was}, []browser.Point{{X: was.X + 40, Y: was.Y + 60}}, 6))
		must(t, p.Eval(title, &is))
		if is.Y < was.Y+40 && is.X < was.X+30 {
			t.Errorf("one finger pans from %v to %v", was, is)
		}
		if list := p.Problems(); len(list) > 0 {
			t.Errorf("the console has %q", list)
		}
	})
	t.Run("back", func(t *testing.T) {
		// The instrument ends and comes back at the same place with the same token.
		must(t, p.Front())
		addr, token := r.server.Addr().String(), r.server.cfg.Token
		st := r.state
		r.stop()
		must(t, p.Wait(3*time.Second, "!document.getElementById('away').hidden"))
		r2 := startRack(t, st, Config{Addr: addr, Token: token})
		must(t, p.Wait(8*time.Second, "document.getElementById('away').hidden"))
		k := at(t, p, knob)
		must(t, p.Drag(k, browser.Point{X: k.X, Y: k.Y - 30}, 4, 0))
		eventually(t, "the page plays on", func() bool { r2.mu.Lock(); defer r2.mu.Unlock(); return r2.sets > 0 })
		// With another token it says what to do.
		r2.stop()
		r3 := startRack(t, st, Config{Addr: addr})
		must(t, p.Wait(8*time.Second, "/another token/.test(document.getElementById('away').textContent)"))
		_ = r3
	})
}

// TestPagePatch: what a cable would change is asked for when a hand rests, one
// question at a time, and a plug that finds no place elsewhere stays in its own.
func TestPagePatch(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	b := chromium(t)
	st := rackOf(60, "deployment/web", "service/shop", "service/inn")
	st.Cables = []Cable{{From: "deployment/web/pods", To: "service/shop/selector", Cluster: true}}
	r := startRack(t, st, Config{})
	p := openPage(t, b, r, browser.Desk)
	defer p.Close()
	count := func(f func(Request) bool) (n int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, q := range r.asked {
			if f(q) {
				n++
			}
		}
		return n
	}
	diffs := func() int { return count(func(q Request) bool { return q.Diff != nil }) }
	out, shop, inn := at(t, p, browser.Jack("deployment/web/pods")), at(t, p, browser.Jack("service/shop/selector")), at(t, p, browser.Jack("service/inn/selector"))
	desk := browser.Point{X: inn.X, Y: 700}

	// On the way over jacks nobody asks.
	must(t, p.Drag(out, inn, 3, 0))
	eventually(t, "a second cable", func() bool { return len(r.cables()) == 2 })
	must(t, p.Wait(3*time.Second, "rackTest.model.cables.length===2")) // or there is none to pull
	must(t, p.Drag(inn, desk, 3, 0))
	eventually(t, "one cable", func() bool { return len(r.cables()) == 1 })
	must(t, p.Wait(3*time.Second, "rackTest.model.cables.length===1"))
	time.Sleep(500 * time.Millisecond)
	if n := diffs(); n > 0 {
		t.Errorf("a hand that did not rest asked %d times what would change", n)
	}

	// The hand is elsewhere before there is an answer: the next question does not
	// wait for it, and what becomes of the first is not seen.
	slow := make(chan struct{})
	r.mu.Lock()
	r.slow = slow
	r.mu.Unlock()
	must(t, p.Move(shop, false, 0))
	must(t, p.Press(shop, 0))
	eventually(t, "what pulling would change is asked for", func() bool { return diffs() == 1 })
	must(t, p.Move(browser.Point{X: inn.X - 1, Y: inn.Y}, true, 0))
	must(t, p.Move(inn, true, 0))
	eventually(t, "the second question", func() bool { return diffs() == 2 })
	time.Sleep(200 * time.Millisecond) // for the answer to the first: that it was called off
	var text string
	must(t, p.Eval("document.getElementById('diff')?.textContent??''", &text))
	if !strings.Contains(text, "…") {
		t.Errorf("while the second question waits this is shown: %s", text)
	}
	slow <- struct{}{}
	must(t, p.Wait(2*time.Second, `/"repatch":{"from":"deployment.web.pods","to":"service.inn.selector","pull":\["service.shop.selector"\]}/.test(document.getElementById('diff')?.textContent??'')`))
	if n := diffs(); n != 2 {
		t.Errorf("%d questions", n)
	}
	r.mu.Lock()
	r.slow, r.refuse = nil, "service/inn/selector"
	r.mu.Unlock()

	// Let go there, it is refused, and the cable is where it was.
	must(t, p.Release(inn, 0))
	must(t, p.Wait(2*time.Second, "/takes no cable/.test(document.getElementById('toast').textContent)"))
	one := func(to string) bool {
		c := r.cables()
		return len(c) == 1 && c[0].From == "deployment/web/pods" && c[0].To == to
	}
	if !one("service/shop/selector") {
		t.Errorf("a plug that was refused elsewhere left %v", r.cables())
	}
	must(t, p.Wait(2*time.Second, "rackTest.model.cableInto('service/shop/selector')&&!document.getElementById('diff')"))
	r.mu.Lock()
	r.refuse = ""
	r.mu.Unlock()
	pulls := count(func(q Request) bool { return q.Pull != nil })
	must(t, p.Drag(shop, inn, 6, 0))
	eventually(t, "the plug is moved", func() bool { return one("service/inn/selector") })
	// Another output's cable takes its place.
	must(t, p.Wait(2*time.Second, "rackTest.model.cableInto('service/inn/selector')"))
	must(t, p.Drag(at(t, p, browser.Jack("deployment/web/ready")), inn, 6, 0))
	eventually(t, "a cable takes the place of another", func() bool {
		c := r.cables()
		return len(c) == 1 && c[0].From == "deployment/web/ready" && c[0].To == "service/inn/selector"
	})
	if n := count(func(q Request) bool { return q.Pull != nil }); n != pulls {
		t.Errorf("a cable was pulled %d times before the next was plugged", n-pulls)
	}
	if list := p.Problems(); len(list) > 0 {
		t.Errorf("the console has %q", list)
	}
}

// TestPageStage brings scenes from the page: snapshots, launches that wait,
// morphs on a fader, set lists, and what would change before.
func TestPageStage(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	b := chromium(t)
	r := startRack(t, rackOf(60, "deployment/web", "service/shop", "vcf/filter"), Config{})
	p, q := openPage(t, b, r, browser.Desk), openPage(t, b, r, browser.Tablet)
	defer p.Close()
	defer q.Close()
	must(t, p.Front())
	must(t, p.Push("#tab-scenes"))
	choose := func(group, value string) {
		t.Helper()
		must(t, p.Push(fmt.Sprintf("#pane .of-%s label:has([value='%s'])", group, value)))
	}
	last := func(name string) string {
		list := r.actions(name)
		if len(list) == 0 {
			return ""
		}
		return list[len(list)-1]
	}
	asks := func(action string) {
		t.Helper()
		name, _, _ := strings.Cut(action, ":")
		eventually(t, action, func() bool { return last(name) == action })
	}
	both := func(what, js string) {
		t.Helper()
		for i, p := range []*browser.Page{p, q} {
			if err := p.Wait(3*time.Second, js); err != nil {
				t.Fatalf("%s, page %d: %v", what, i+1, err)
			}
		}
	}
	scene := func(name string) string { return fmt.Sprintf(`#pane .kind[data-scene="%s"]`, name) }

	t.Run("snapshots", func(t *testing.T) {
		must(t, p.Push("#pane .pad:nth-child(5)")) // it is empty
		must(t, p.Wait(2*time.Second, "/is empty/.test(document.getElementById('toast').textContent)"))
		if n := len(r.actions("slot")); n > 0 {
			t.Error("an empty slot was asked for")
		}
		choose("press", "store")
		must(t, p.Push("#pane .pad:nth-child(5)"))
		asks("snapshot:5")
		both("the slot is filled", "document.querySelector('#deck .pad:nth-child(5)').classList.contains('filled')")
		must(t, p.Push("#pane .pad:nth-child(5)")) // one press stores once
		asks("slot:5")
		both("the slot plays", "document.querySelector('#deck .pad:nth-child(5)').getAttribute('aria-current')==='true'")
		if n := len(r.actions("snapshot")); n != 1 {
			t.Errorf("%d snapshots", n)
		}
		var text string
		must(t, p.Eval("document.querySelector('#pane .pad:nth-child(3)').getAttribute('aria-label')", &text))
		if !strings.Contains(text, "3") || !strings.Contains(text, "midnight") {
			t.Errorf("a screen reader is told %q of a slot", text)
		}
	})

	t.Run("launch", func(t *testing.T) {
		must(t, p.Push(scene("default")))
		asks("scene:default")
		choose("at", "bar")
		must(t, p.Eval("document.querySelector('#pane .of-crossfade input').focus()", nil))
		must(t, p.Keys(browser.Home))
		for range 5 {
			must(t, p.Keys(browser.Right))
		}
		must(t, p.Keys("z", input.ModifierCtrl)) // a slider is no text
		asks("undo")
		must(t, p.Push(scene("ambient")))
		asks("launch:ambient:bar:1")
		both("it waits", "!document.querySelector('.coming').hidden&&/ambient/.test(document.querySelector('.coming').textContent)&&/next bar/.test(document.querySelector('.coming').textContent)&&/ambient waits/.test(document.getElementById('cue').textContent)")
		both("it is counted down", "+document.querySelector('.coming .in').textContent<2.3&&+document.querySelector('.coming .in').textContent>0")
		both("its button tells", "document.querySelector('#deck [data-scene=ambient]').classList.contains('comes')")
		must(t, q.Front())
		must(t, q.Push("#deck .cancel")) // any page may
		asks("cancel")
		both("nothing waits", "document.querySelector('.coming').hidden")
		must(t, p.Front())
	})

	t.Run("focus", func(t *testing.T) {
		must(t, p.Eval(fmt.Sprintf("document.querySelector('%s').focus()", scene("ambient")), nil))
		r.mu.Lock()
		r.state.Scenes = append(r.state.Scenes, SceneInfo{Name: "zenith", Title: "Above all"})
		r.server.State(r.copy())
		r.mu.Unlock()
		must(t, p.Wait(2*time.Second, fmt.Sprintf("!!document.querySelector('%s')", scene("zenith"))))
		var on string
		must(t, p.Eval("document.activeElement.dataset.scene??document.activeElement.tagName", &on))
		if on != "ambient" {
			t.Errorf("the focus was on ambient and is on %s when the scenes change", on)
		}
	})

	t.Run("morph", func(t *testing.T) {
		choose("way", "morph")
		must(t, p.Eval("document.querySelector('#pane .of-seconds input').focus()", nil))
		must(t, p.Keys(browser.Home))
		must(t, p.Push(scene("ambient")))
		asks("morph:ambient:0:0.5")
		both("there is a fader", "!document.querySelector('.fader').hidden&&document.querySelector('.fader').getAttribute('aria-valuenow')==='0'")
		// A touch of its track leaps nowhere.
		f := at(t, p, "#deck .fader")
		must(t, p.Click(browser.Point{X: f.X + 60, Y: f.Y}, 1))
		if n := len(r.actions("position")); n > 0 {
			t.Errorf("a click on the fader's track moves it: %v", r.actions("position"))
		}
		var w float64
		must(t, p.Eval("document.querySelector('.fader').clientWidth-document.querySelector('.thumb').offsetWidth", &w))
		must(t, p.Drag(f, browser.Point{X: f.X + w/4, Y: f.Y}, 10, 0))
		position := func() (x float64) { fmt.Sscanf(last("position"), "position:%g", &x); return x }
		eventually(t, "the fader is pulled a quarter", func() bool { return math.Abs(position()-0.25) < 0.01 })
		both("both show it", "Math.abs(+document.querySelector('.fader').getAttribute('aria-valuenow')-25)<=1&&Math.abs(+getComputedStyle(document.querySelector('.fader')).getPropertyValue('--x')-.25)<.01")
		// One finger on another page goes on from there.
		must(t, q.Front())
		g := at(t, q, "#deck .fader")
		must(t, q.Eval("document.querySelector('.fader').clientWidth-document.querySelector('.thumb').offsetWidth", &w))
		n := len(r.actions("position"))
		must(t, q.Swipe([]browser.Point{g}, []browser.Point{{X: g.X + w/2, Y: g.Y + 3}}, 8))
		eventually(t, "a finger pulls it", func() bool { return math.Abs(position()-0.75) < 0.02 })
		var first float64
		fmt.Sscanf(r.actions("position")[n], "position:%g", &first)
		if first > 0.5 {
			t.Errorf("the fader leaps from 0.25 to %g under a finger", first)
		}
		both("both are in step", "Math.abs(+document.querySelector('.fader').getAttribute('aria-valuenow')-75)<=2")
		must(t, p.Front())
		must(t, p.Eval("document.querySelector('.fader').focus()", nil))
		must(t, p.Keys(browser.End))
		asks("position:1")
		must(t, p.Keys(browser.Down))
		asks("position:0.99")
		// What moves by itself is seen moving, between two statuses.
		both("both are there", "document.querySelector('.fader').getAttribute('aria-valuenow')==='99'")
		eventually(t, "it moves by itself", func() bool {
			// Again and again, as a morph does: a page whose own pull is not answered yet waits for that.
			r.server.Changed("/scene/morph/position", 0.4, "", "")
			for _, page := range []*browser.Page{p, q} {
				var at string
				must(t, page.Eval("document.querySelector('.fader').getAttribute('aria-valuenow')", &at))
				if at != "40" {
					return false
				}
			}
			return true
		})
		must(t, p.Push("#deck .cancel"))
		both("there is no fader", "document.querySelector('.fader').hidden")
	})

	t.Run("diff", func(t *testing.T) {
		n := len(r.actions("morph"))
		choose("press", "diff")
		must(t, p.Push(scene("ambient")))
		must(t, p.Wait(2*time.Second, `/"scene":{"name":"ambient"}/.test(document.getElementById('diff')?.textContent??'')`))
		if len(r.actions("morph")) != n {
			t.Error("what was only looked at was played")
		}
		must(t, p.Push("#diff .go"))
		eventually(t, "it is played", func() bool { return len(r.actions("morph")) == n+1 })
		must(t, p.Wait(2*time.Second, "!document.getElementById('diff')&&!document.querySelector('.fader').hidden"))
		must(t, p.Push("#deck .cancel"))
		choose("press", "play")
	})

	t.Run("set list", func(t *testing.T) {
		must(t, p.Eval("document.querySelector('#pane .choose select').focus()", nil))
		must(t, p.Keys("friday"))
		asks("setlist:friday")
		both("it is told", "!document.querySelector('.set').hidden&&/–.3/.test(document.querySelector('.set').textContent)&&/next: default/.test(document.querySelector('.set').textContent)")
		must(t, p.Push("#deck .set [data-key=next]"))
		asks("next")
		both("one on", "/1.3/.test(document.querySelector('.set').textContent)&&/wait for the bell/.test(document.querySelector('.set').textContent)&&document.querySelector('.choose select').value==='friday'")
		must(t, p.Push("#deck .set [data-key=previous]"))
		must(t, p.Wait(2*time.Second, "/ends here/.test(document.getElementById('toast').textContent)"))
		must(t, p.Eval("document.querySelector('#pane .choose select').focus()", nil))
		must(t, p.Keys("none"))
		asks("setlist:off")
		both("there is none", "document.querySelector('.set').hidden")
	})

	t.Run("take", func(t *testing.T) {
		r.status(map[string]any{"take": map[string]any{"file": "night.jsonl", "seconds": 734.2}})
		both("it is seen", "!document.getElementById('take').hidden&&/12:14/.test(document.getElementById('take').textContent)&&/night/.test(document.getElementById('take').title)")
		r.status(nil)
		both("it is over", "document.getElementById('take').hidden")
	})

	t.Run("stage mode", func(t *testing.T) {
		must(t, q.Front())
		must(t, q.Eval("document.getElementById('stage').click()", nil))
		r.mu.Lock()
		r.act("launch:ambient:bar")
		r.mu.Unlock()
		must(t, q.Wait(2*time.Second, "!document.querySelector('.coming').hidden"))
		// 5 mm on a screen of 10 inches are some 28 of its pixels.
		var small []string
		must(t, q.Eval(`[['.coming .in',48],['.coming strong',32],['#state',40],['#ticker',28]].filter(([s,n])=>parseFloat(getComputedStyle(document.querySelector(s)).fontSize)<n).map(([s])=>s)
.concat(['#deck .cancel','#deck .pad','#deck .strip button','#deck .seg label'].filter(s=>{const b=document.querySelector(s).getBoundingClientRect();return b.height<44||b.width<44||b.bottom>innerHeight}))`, &small))
		if len(small) > 0 {
			t.Errorf("too small to read or to hit, or out of sight: %v", small)
		}
		must(t, q.Push("#deck .cancel"))
		must(t, q.Push("#deck .pad:nth-child(3)"))
		asks("slot:3")
		must(t, q.Push("#deck .of-way label:has([value=morph])"))
		must(t, q.Push(`#deck .strip [data-scene="ambient"]`))
		asks("morph:ambient:8:0.5")
		must(t, q.Push("#deck .cancel"))
	})
	for _, p := range []*browser.Page{p, q} {
		if list := p.Problems(); len(list) > 0 {
			t.Errorf("the console has %q", list)
		}
	}
}

// TestPageOfElsewhere: a page of another origin reaches nothing, whatever it tries.
func TestPageOfElsewhere(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	b := chromium(t)
	r := startRack(t, rackOf(84, "deployment/web"), Config{})
	p := openPage(t, b, r, browser.Desk) // it has the cookie now
	defer p.Close()
	base := "http://" + r.server.Addr().String()
	must(t, p.Go(elsewhere(t, "<title>elsewhere</title>")))
	var got map[string]string
	must(t, p.Eval(fmt.Sprintf(`(async()=>{
const base=%q,got={}
const look=async(name,f)=>{try{got[name]=await f()}catch(e){got[name]='refused'}}
await look('fetch',async()=>(await (await fetch(base+'/specs.json',{credentials:'include'})).text()).slice(0,20))
await look('opaque',async()=>{const r=await fetch(base+'/specs.json',{mode:'no-cors',credentials:'include'});return (await r.text())||'refused'})
await look('post',async()=>{const r=await fetch(base+'/ws',{method:'POST',mode:'no-cors',credentials:'include',body:'{}'});return (await r.text())||'refused'})
await look('socket',()=>new Promise((ok,no)=>{const w=new WebSocket(base.replace('http','ws')+'/ws');w.onopen=()=>ok('open');w.onmessage=e=>ok(String(e.data));w.onerror=no}))
await look('script',()=>new Promise((ok,no)=>{const s=document.createElement('script');s.src=base+'/app.js';s.onload=()=>ok('loaded');s.onerror=no;document.head.append(s)}))
await look('frame',()=>new Promise(ok=>{const f=document.createElement('iframe');f.src=base+'/';f.onload=()=>{try{ok(f.contentDocument&&f.contentDocument.body.textContent?'seen':'refused')}catch{ok('refused')}};document.body.append(f)}))
return got})()`, base), &got))
	for name, v := range got {
		if v != "refused" {
			t.Errorf("%s: a page elsewhere got %q", name, v)
		}
	}
	if len(got) != 6 {
		t.Errorf("only these were tried: %v", got)
	}
	// And its own name for this machine does not help it.
	must(t, p.Go(strings.Replace(base, "127.0.0.1", "localhost", 1)+"/"))
	var text string
	must(t, p.Eval("document.body.textContent", &text))
	if strings.Contains(text, "Deployment") || !strings.Contains(text, "token") {
		t.Errorf("without a cookie it shows %q", text)
	}
	if r.did(func(Request) bool { return true }) {
		t.Errorf("the instrument was asked for something: %v", r.asked)
	}
	eventually(t, "no page is open", func() bool { return r.server.Pages() == 0 })
}

// axe-core finds no serious fault in any state of the page.
func TestPageAccessible(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	b := chromium(t)
	if err := browser.NeedAxe(); err != nil {
		t.Skip(err)
	}
	r := startRack(t, rackOf(60, "deployment/web", "service/shop", "euclid/beat", "scope/eye", "vco/a-name-that-is-very-much-longer-than-its-panel-is-wide", "mixer/desk", "audio_out/main"), Config{})
	dir := shots(t)
	check := func(p *browser.Page, what string) {
		t.Helper()
		all, err := p.Axe()
		must(t, err)
		for _, f := range browser.Serious(all) {
			t.Errorf("%s: %s", what, f)
		}
		for _, f := range all {
			if f.Impact != "serious" && f.Impact != "critical" {
				t.Logf("%s: %s", what, f)
			}
		}
		must(t, p.Shot(filepath.Join(dir, strings.ReplaceAll("page "+what, " ", "-")+".png")))
	}
	all := os.Getenv("K8S_SYNTH_PROOF") == "1"
	for _, size := range []browser.Size{browser.Desk, browser.Phone} {
		if size.Touch && !all {
			continue
		}
		p := openPage(t, b, r, size)
		if size.Touch {
			must(t, p.Push("#aside"))
		}
		must(t, p.Eval(`document.querySelector('[data-id="deployment/web"]').focus()`, nil))
		must(t, p.Wait(3*time.Second, "!!document.querySelector('#pane textarea')"))
		act := func(actions ...string) {
			r.mu.Lock()
			for _, a := range actions {
				r.act(a)
			}
			r.mu.Unlock()
			must(t, p.Wait(3*time.Second, "!document.querySelector('.coming').hidden&&!document.querySelector('.set').hidden"))
		}
		act("cancel", "setlist:friday", "launch:ambient:bar:2")
		for _, tab := range []string{"module", "add", "scenes", "pods", "log", "plots"} {
			if tab != "module" && tab != "scenes" && !all {
				continue
			}
			must(t, p.Push("#tab-"+tab))
			check(p, size.Name+" "+tab)
		}
		if all {
			must(t, p.Eval("document.getElementById('stage').click()", nil))
			check(p, size.Name+" stage")
			act("cancel", "morph:ambient:0:0.5", "position:0.3")
			check(p, size.Name+" stage morph")
		}
		if list := p.Problems(); len(list) > 0 {
			t.Errorf("%s: the console has %q", size.Name, list)
		}
		p.Close()
	}
}
