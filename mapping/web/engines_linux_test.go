package web

import (
	"context"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/web/browser"
)

// The page plays in Firefox as it does in Chromium.
func TestProofPageInFirefox(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	if _, err := browser.FindFirefox(); err != nil {
		t.Skip(err)
	}
	playIn(t, browser.StartFirefox)
}

// The page plays in WebKit, which is what tablets have.
func TestProofPageInWebKit(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	if err := browser.FindWebKit(); err != nil {
		t.Skip(err)
	}
	playIn(t, browser.StartWebKit)
}

// sing gives the pages that listen a tone, as the instrument does.
func (r *fakeRack) sing(hz float64) {
	r.wg.Add(1)
	go func() {
		defer r.wg.Done()
		const rate, piece = 48000, 480
		tick := time.NewTicker(time.Second * piece / rate)
		defer tick.Stop()
		began := time.Now()
		var left, right [piece]float32
		for frame := 0; ; {
			select {
			case <-r.ended:
				return
			case <-tick.C:
			}
			// A ticker that was late leaves some out.
			for due := int(time.Since(began).Seconds() * rate); frame+piece <= due; frame += piece {
				for i := range left {
					left[i] = float32(0.5 * math.Sin(2*math.Pi*hz*float64(frame+i)/rate))
					right[i] = left[i] / 2
				}
				r.server.Sound(int64(frame), left[:], right[:])
			}
		}
	}()
}

// playIn plays the rack in two windows of a browser.
func playIn(t *testing.T, start func(context.Context) (*browser.Driven, error)) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("plays for half a minute, in a browser that may have to be fetched; K8S_SYNTH_PROOF=1 runs it")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	b, err := start(ctx)
	must(t, err)
	t.Cleanup(b.Close)
	t.Logf("%s %s", b.Name, b.Version)
	ids := []string{"deployment/web", "service/shop", "vco/tone", "scope/eye", "vcf/filter", "audio_out/main"}
	r := startRack(t, rackOf(60, ids...), Config{})
	r.play()
	r.sing(1000)
	open := func(size browser.Size) *browser.Window {
		t.Helper()
		w, err := b.Open(size)
		must(t, err)
		must(t, w.Go(r.server.URL()))
		must(t, w.Ready(40*time.Second))
		return w
	}
	p, q := open(browser.Desk), open(browser.Tablet)
	both := func(what, js string) {
		t.Helper()
		for i, w := range []*browser.Window{p, q} {
			if err := w.Wait(15*time.Second, js); err != nil {
				t.Fatalf("%s, window %d: %v", what, i+1, err)
			}
		}
	}
	at := func(selector string) browser.Point {
		t.Helper()
		a, err := p.At(selector)
		must(t, err)
		return a
	}
	value := func(a string) float64 { v, _ := r.value(a); return v }
	both("all modules are there", fmt.Sprintf("document.querySelectorAll('.module>svg').length===%d", len(ids)))
	both("lamps shine", "rackTest.model.volts.some(v=>v)&&rackTest.wires.frames>5")

	// A cable, from jack to jack, and out again.
	from, to := at(browser.Jack("deployment/web/pods")), at(browser.Jack("service/shop/selector"))
	must(t, p.Drag(from, to, 8))
	eventually(t, "a cable is plugged", func() bool {
		c := r.cables()
		return len(c) == 1 && c[0].From == "deployment/web/pods" && c[0].To == "service/shop/selector"
	})
	both("the cable is seen", "rackTest.model.cables.length===1")
	must(t, p.Drag(to, browser.Point{X: to.X, Y: to.Y - 60}, 8))
	eventually(t, "the cable is pulled", func() bool { return len(r.cables()) == 0 })
	both("it is gone", "rackTest.model.cables.length===0")

	// A knob: turned, by the wheel, by keys, to its default, and typed.
	const cutoff = "/vcf/filter/cutoff"
	knob := browser.Knob("vcf/filter", "cutoff")
	k, before := at(knob), value(cutoff)
	must(t, p.Drag(k, browser.Point{X: k.X, Y: k.Y - 40}, 8))
	eventually(t, "a knob is turned", func() bool { return value(cutoff) > before*1.5 })
	// On a busy machine two clicks may come too far apart to be a double one.
	for i := 0; i < 8 && value(cutoff) != before; i++ {
		must(t, p.Click(k, 2))
		for end := time.Now().Add(time.Second); time.Now().Before(end) && value(cutoff) != before; time.Sleep(5 * time.Millisecond) {
		}
	}
	if v := value(cutoff); v != before {
		t.Fatalf("a double click turns it to %g, its default is %g", v, before)
	}
	must(t, p.Wheel(k, -100))
	eventually(t, "the wheel turns it up", func() bool { return value(cutoff) > before })
	// With Shift, which turns it finely, browsers make a wheel of it that goes sideways.
	up := value(cutoff)
	must(t, p.Eval(fmt.Sprintf("document.querySelector('%s').dispatchEvent(new WheelEvent('wheel',{deltaX:-100,shiftKey:true,bubbles:true,cancelable:true}))", knob), nil))
	eventually(t, "with Shift as well", func() bool { return value(cutoff) > up })
	must(t, p.Keys(browser.End))
	eventually(t, "End is the highest", func() bool { return value(cutoff) > 10*before })
	must(t, p.Keys("1234"))
	must(t, p.Wait(2*time.Second, "document.activeElement.value==='1234'"))
	must(t, p.Keys(browser.Enter))
	eventually(t, "a number is typed", func() bool { return value(cutoff) == 1234 })
	both("both show it", fmt.Sprintf("document.querySelector('%s').getAttribute('aria-valuenow')==='1234'", knob))

	// What plays is heard here, and is on time.
	must(t, p.Push("#listen"))
	must(t, p.Wait(5*time.Second, "rackTest.sound.context?.state==='running'&&rackTest.sound.told?.frame>48000/4"))
	must(t, p.Eval(`(()=>{const s=rackTest.sound,a=window.ear=new AnalyserNode(s.context,{fftSize:2048});s.node.connect(a)})()`, nil))
	must(t, p.Wait(3*time.Second, "(d=>{ear.getFloatTimeDomainData(d);return Math.max(...d)})(new Float32Array(2048))>0.3"))
	var heard struct{ First, Second, Took, Latency, Rate, Gaps float64 }
	must(t, p.Eval(`(async()=>{const s=rackTest.sound,a=s.told;await new Promise(ok=>setTimeout(ok,1000));const b=s.told
return{First:a.frame,Second:b.frame,Took:b.at-a.at,Latency:s.latency,Rate:s.context.sampleRate,Gaps:b.gaps-a.gaps}})()`, &heard))
	t.Logf("sound at %.0f Hz: %.0f frames in %.2f s, %.0f ms from the instrument to the ear here, %.0f gaps", heard.Rate, heard.Second-heard.First, heard.Took, 1000*heard.Latency, heard.Gaps)
	if pace := (heard.Second - heard.First) / heard.Took / 48000; math.Abs(pace-1) > 0.05 || heard.Latency <= 0 || heard.Latency > 0.3 {
		t.Errorf("%+v: it is played at %.3f of its speed", heard, pace)
	}
	must(t, p.Push("#listen"))
	must(t, p.Wait(2*time.Second, "!rackTest.sound.on&&document.getElementById('listen').getAttribute('aria-pressed')==='false'"))
	eventually(t, "nothing listens any more", func() bool { return !r.server.Listening() })

	if list := p.Problems(); len(list) > 0 {
		t.Errorf("the console has %q", list)
	}
}
