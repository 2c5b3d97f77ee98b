package web

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/web/browser"
)

// pace is how frames came in a browser, in milliseconds.
type pace struct {
	P50, P95, Most, Rate float64
	Drawn                float64 // pictures of the lamps a second
}

// watchPace counts frames for a while: those that the browser shows, and those
// in which the page drew.
const watchPace = `new Promise(ok=>{const d=[],f0=rackTest.wires.frames,t0=performance.now();let last=t0
const tick=t=>{const now=performance.now();d.push(now-last);last=now
if(now-t0<%d)return requestAnimationFrame(tick)
d.shift();d.sort((a,b)=>a-b)
ok({P50:d[d.length>>1],P95:d[Math.floor(d.length*.95)],Most:d[d.length-1],Rate:1000*d.length/(now-t0),Drawn:1000*(rackTest.wires.frames-f0)/(now-t0)})}
requestAnimationFrame(tick)})`

func paceOf(t *testing.T, p *browser.Page, ms int) (f pace) {
	t.Helper()
	must(t, p.EvalFor(time.Duration(ms)*time.Millisecond+20*time.Second, fmt.Sprintf(watchPace, ms), &f))
	return f
}

func (f pace) String() string {
	return fmt.Sprintf("%.0f frames/s (p50 %.1f ms, p95 %.1f ms, longest %.0f ms), lamps drawn %.0f times a second", f.Rate, f.P50, f.P95, f.Most, f.Drawn)
}

// A rack of 60 modules and 150 cables stays at 30 frames a second while all
// lamps move, while a hand turns a knob and while it draws a cable, near and
// from far; and what changes is seen within 50 ms.
func TestProofPageSpeed(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("measures for half a minute; K8S_SYNTH_PROOF=1 runs it")
	}
	b := chromium(t)
	r := startRack(t, bigRack(60, 150), Config{})
	r.play()
	began := time.Now()
	p := openPage(t, b, r, browser.Desk)
	defer p.Close()
	t.Logf("%d processors; a rack of %d modules and %d cables stands %s after its window opens", runtime.NumCPU(), len(r.state.Modules), len(r.state.Cables), time.Since(began).Round(time.Millisecond))
	var bytes struct{ Sent, Whole float64 }
	must(t, p.Eval(`(l=>({Sent:l.reduce((s,e)=>s+e.encodedBodySize,0),Whole:l.reduce((s,e)=>s+e.decodedBodySize,0)}))([...performance.getEntriesByType('resource'),...performance.getEntriesByType('navigation')])`, &bytes))
	t.Logf("all that was fetched, with a panel of every kind: %.0f kB, %.0f kB unpacked", bytes.Sent/1000, bytes.Whole/1000)
	if bytes.Sent > 300_000 {
		t.Errorf("the page with its panels is %.0f kB", bytes.Sent/1000)
	}
	if n := len(r.state.Cables); n != 150 {
		t.Fatalf("%d cables", n)
	}
	time.Sleep(time.Second)
	good := func(what string, f pace) {
		t.Helper()
		t.Logf("%s: %s", what, f)
		if f.Rate < 30 || f.P50 > 1000.0/30 || f.Drawn < 25 {
			t.Errorf("%s: less than 30 frames a second", what)
		}
	}
	good("near", paceOf(t, p, 5000))
	latency(t, p, r)
	must(t, p.Eval("(()=>{for(let i=0;i<9;i++)document.getElementById('smaller').click()})()", nil))
	time.Sleep(500 * time.Millisecond)
	good("from far, all in sight", paceOf(t, p, 5000))
	must(t, p.Shot(shots(t)+"/page-big-far.png"))
	hand := func(what string, from, to browser.Point) {
		t.Helper()
		done := make(chan pace)
		go func() { done <- paceOf(t, p, 3000) }()
		must(t, p.Move(from, false, 0))
		must(t, p.Press(from, 0))
		for end := time.Now().Add(2800 * time.Millisecond); time.Now().Before(end); {
			f := 0.5 - 0.5*math.Cos(float64(time.Now().UnixMilli()%1000)/1000*2*math.Pi)
			must(t, p.Move(browser.Point{X: from.X + f*(to.X-from.X), Y: from.Y + f*(to.Y-from.Y)}, true, 0))
			time.Sleep(8 * time.Millisecond)
		}
		must(t, p.Release(from, 0))
		good(what, <-done)
	}
	k := at(t, p, ".control.knob")
	hand("turning a knob", k, browser.Point{X: k.X, Y: k.Y - 60})
	j := at(t, p, ".is-output")
	hand("drawing a cable", j, browser.Point{X: j.X + 500, Y: j.Y + 300})
	must(t, p.Eval("(()=>{for(let i=0;i<9;i++)document.getElementById('larger').click()})()", nil))
	hand("drawing a cable nearby", at(t, p, ".is-output"), browser.Point{X: 700, Y: 500})

}

// A page that opens, or is opened anew, stands where the others stand: also
// with what was turned since the rack was told as a whole.
func TestOpenedLateIsInStep(t *testing.T) {
	b := chromium(t)
	st := rackOf(84, "vco/one", "vcf/two")
	r := startRack(t, st, Config{})
	before := openPage(t, b, r, browser.Desk)
	defer before.Close()
	r.server.Changed("/vco/one/tune", 7, "", "osc")
	r.server.Changed("/vco/one/tune", 9, "", "osc")
	r.server.Wrote("/vcf/two/anything", "", "osc")
	const tune = `rackTest.model.values.get('/vco/one/tune')===9&&document.querySelector('.module[data-id="vco/one"] .control[data-param="tune"]').getAttribute('aria-valuenow')==='9'`
	must(t, before.Wait(3*time.Second, tune))
	late := openPage(t, b, r, browser.Desk)
	defer late.Close()
	must(t, late.Wait(3*time.Second, tune))
	must(t, before.Reload())
	must(t, before.Ready(20*time.Second))
	must(t, before.Wait(3*time.Second, tune))
	// What is told as a whole after it is the last word.
	r.server.State(r.copy())
	must(t, late.Wait(3*time.Second, "rackTest.model.values.get('/vco/one/tune')===0"))
	must(t, late.Reload())
	must(t, late.Ready(20*time.Second))
	must(t, late.Wait(3*time.Second, "rackTest.model.values.get('/vco/one/tune')===0"))
}

// latency measures from a change of the instrument to a frame that has it.
func latency(t *testing.T, p *browser.Page, r *fakeRack) {
	t.Helper()
	var module, name string
	for _, m := range r.state.Modules {
		for _, s := range instrument.Spec(instrument.ModuleID(m.ID).Kind()).Params {
			if module == "" && !s.Text && s.Choices == nil && s.Max > 10 && s.Min == 0 {
				module, name = m.ID, s.Name
			}
		}
	}
	address := "/" + module + "/" + name
	must(t, p.Eval(fmt.Sprintf(`(()=>{window.seen=[];const e=document.querySelector('%s');
new MutationObserver(()=>{const v=Number(e.getAttribute('aria-valuenow'));requestAnimationFrame(()=>{const c=new MessageChannel();c.port1.onmessage=()=>seen.push([v,performance.timeOrigin+performance.now()]);c.port2.postMessage(0)})}).observe(e,{attributes:true,attributeFilter:['aria-valuenow']})})()`, browser.Knob(module, name)), nil))
	const n = 100
	at := map[float64]float64{}
	for i := range n {
		v := float64(i%10) + float64(i)/1000
		at[v] = float64(time.Now().UnixMicro()) / 1000
		r.server.Changed(mapping.Address(address), v, "", "osc")
		time.Sleep(time.Duration(23+i%17) * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	var seen [][2]float64
	must(t, p.Eval("seen", &seen))
	var late []float64
	for _, s := range seen {
		late = append(late, s[1]-at[s[0]])
	}
	if len(late) < n*9/10 {
		t.Fatalf("%d of %d changes were seen", len(late), n)
	}
	slices.Sort(late)
	t.Logf("from the instrument to pixels, %d changes: p50 %.1f ms, p95 %.1f ms, longest %.1f ms", len(late), late[len(late)/2], late[len(late)*95/100], late[len(late)-1])
	if late[len(late)*95/100] > 50 {
		t.Errorf("state to pixels takes %.1f ms", late[len(late)*95/100])
	}
}

// The browser's player keeps pace with a clock that is not its own and with
// pieces that come early and late, and nobody hears it.
func TestSoundWorklet(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	b := chromium(t)
	p, err := b.Open(browser.Desk)
	must(t, err)
	defer p.Close()
	source, err := dist.ReadFile("dist/sound-worklet.js")
	must(t, err)
	var got []struct {
		Name                                   string
		Step, Pitch, Most, Least, Mean, Settle float64
		Gaps, Lost                             int
	}
	must(t, p.EvalFor(60*time.Second, fmt.Sprintf(`(()=>{
const rate=48000,results=[]
for(const c of [{Name:'even',drift:0,jitter:0},{Name:'fast',drift:3e-4,jitter:0.006},{Name:'slow',drift:-3e-4,jitter:0.006},{Name:'wild',drift:1e-4,jitter:0.03},{Name:'lost',drift:0,jitter:0,drop:200},{Name:'stall',drift:0,jitter:0.004,stall:0.25}]){
 let P;const port={postMessage(m){P.told=m}}
 new Function('sampleRate','currentTime','AudioWorkletProcessor','registerProcessor',%q)(rate,0,class{constructor(){this.port=port}},(_,k)=>{P=new k({processorOptions:{rate}})})
 let seed=1;const random=()=>(seed=(seed*16807)%%2147483647)/2147483647
 const piece=640,f=997,seconds=40,left=new Float32Array(128),right=new Float32Array(128)
 let next=0,arrives=0.02,frame=0,n=0,step=0,mean=0,most=0,least=9,blocks=0,crossings=0,firstC=0,lastC=0,last=0,settle=0,a=0,b=0
 // The second difference of a sine is at most w²; anything above is a click.
 const w=2*Math.PI*f/rate
 for(let t=0;t<seconds;t+=128/rate){
  while(arrives<=t&&!(c.stall&&t%%8>5&&t%%8<5+c.stall)){
   if(!(c.drop&&n%%c.drop===c.drop-1)){const pcm=new Int16Array(2*piece);for(let i=0;i<piece;i++)pcm[2*i]=pcm[2*i+1]=Math.round(16000*Math.sin(w*(frame+i)))
   P.take(frame,pcm)}
   frame+=piece;n++
   arrives=Math.max(0.02+n*piece/rate/(1+c.drift)+c.jitter*random(),arrives)
  }
  P.process(null,[[left,right]])
  for(let i=0;i<128;i++){const x=left[i]/ (16000/32767);if(t>1.5){step=Math.max(step,Math.abs(x-2*b+a)/(w*w));if(b<0&&x>=0){const at=t*rate+i-x/(x-b);if(!firstC)firstC=at;lastC=at;crossings++}}a=b;b=x}
  if(t>10&&P.playing){const waits=(P.write-P.read)/rate;mean+=waits;blocks++;most=Math.max(most,waits);least=Math.min(least,waits)}
 }
 results.push({Name:c.Name,Step:step,Pitch:(crossings-1)/((lastC-firstC)/rate)/f,Most:most,Least:least,Mean:mean/blocks,Settle:P.speed,Gaps:P.gaps,Lost:P.lost})
}
return results})()`, string(source)), &got))
	for _, g := range got {
		t.Logf("%-5s second difference %.3f of a sine's, pitch %.5f, waits %.1f ms on average (%.1f … %.1f), speed %.5f, %d gaps, %d frames lost", g.Name, g.Step, g.Pitch, 1000*g.Mean, 1000*g.Least, 1000*g.Most, g.Settle, g.Gaps, g.Lost)
		drift := map[string]float64{"fast": 3e-4, "slow": -3e-4, "wild": 1e-4}[g.Name]
		if g.Name != "lost" && g.Name != "stall" && math.Abs(g.Pitch-1-drift) > 5e-4 {
			t.Errorf("%s: the pitch is off by %.0f cents", g.Name, 1200*math.Log2(g.Pitch))
		}
		switch g.Name {
		case "stall": // nothing comes for a quarter of a second, and then all at once
			if g.Gaps > 6 || g.Mean > 0.08 || g.Step > 1.6 {
				t.Errorf("%s: %d gaps, %.0f ms wait, second difference %.2f", g.Name, g.Gaps, 1000*g.Mean, g.Step)
			}
		case "wild": // it may fade once or twice until it has learned
			if g.Gaps > 4 || g.Mean > 0.09 {
				t.Errorf("%s: %d gaps, %.0f ms wait", g.Name, g.Gaps, 1000*g.Mean)
			}
		case "lost":
			if g.Lost == 0 || g.Step > 3 || g.Gaps > 0 {
				t.Errorf("%s: %d frames are missed, second difference %.1f", g.Name, g.Lost, g.Step)
			}
		default:
			if g.Gaps > 0 || g.Step > 1.03 || g.Mean > 0.06 {
				t.Errorf("%s: %d gaps, second difference %.3f, %.0f ms wait", g.Name, g.Gaps, g.Step, 1000*g.Mean)
			}
		}
	}
}
