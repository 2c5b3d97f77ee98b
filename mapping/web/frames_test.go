package web

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/web/browser"
)

// A page that gets too few frames draws its lamps and scopes less often, so that
// knobs and cables have what frames there are, and as often as before as soon as
// it gets them.
func TestLampsGiveWay(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	b := chromium(t)
	r := startRack(t, rackOf(84, "vco/tone", "scope/eye", "lfo/slow"), Config{})
	r.volts = func(s float64, i int) float32 { return 6 * float32(math.Sin(s/4+float64(i))) } // none goes on or off
	r.play()
	p := openPage(t, b, r, browser.Desk)
	defer p.Close()
	// drawn is how often lamps were drawn, and asked how often a scope was looked at, in a second.
	drawn := func() (n struct{ Lamps, Scopes float64 }) {
		t.Helper()
		must(t, p.Eval(`new Promise(ok=>{const f0=window.lamps,s0=window.scopes,t0=performance.now();setTimeout(()=>{const s=(performance.now()-t0)/1000;ok({Lamps:(window.lamps-f0)/s,Scopes:(window.scopes-s0)/s})},2000)})`, &n))
		return n
	}
	must(t, p.Eval(`(()=>{window.lamps=window.scopes=0;const w=rackTest.wires,shine=w.shine.bind(w),set=w.traces.set.bind(w.traces)
w.shine=(...a)=>{window.lamps++;shine(...a)};w.traces.set=(...a)=>{window.scopes++;return set(...a)}})()`, nil))
	before := drawn()
	if before.Lamps < 20 || before.Scopes < 20 {
		t.Skipf("the machine has no time: lamps are drawn %.0f times a second, scopes %.0f", before.Lamps, before.Scopes)
	}
	// Something keeps the page from its frames: 100 ms of 110.
	must(t, p.Eval(`window.busy=setInterval(()=>{for(const t=performance.now();performance.now()-t<100;);},110)`, nil))
	must(t, p.Wait(15*time.Second, "rackTest.wires.every>60"))
	if n := drawn(); n.Lamps > 12 || n.Scopes > 12 {
		t.Errorf("without frames to spare lamps are drawn %.1f times a second and scopes %.1f times", n.Lamps, n.Scopes)
	}
	must(t, p.Eval("clearInterval(window.busy)", nil))
	must(t, p.Wait(20*time.Second, "rackTest.wires.every<36"))
	if n := drawn(); n.Lamps < before.Lamps*0.8 || n.Scopes < before.Scopes*0.8 {
		t.Errorf("with frames to spare again lamps are drawn %.0f times a second and scopes %.0f times, before it was %.0f and %.0f", n.Lamps, n.Scopes, before.Lamps, before.Scopes)
	}
}

// Where the display itself shows few frames, as tablets do to save power, lamps
// take what there is; where it is the page that is slow, they do not.
func TestLampsOfASlowDisplay(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	b := chromium(t)
	r := startRack(t, rackOf(84, "lfo/slow"), Config{})
	p := openPage(t, b, r, browser.Desk)
	defer p.Close()
	// Frames come by a clock of the test's, and something always moves.
	must(t, p.Eval(`(()=>{let now=performance.now(),asked=[];performance.now=()=>now
window.requestAnimationFrame=f=>asked.push(f)
window.pass=(n,ms)=>{for(let i=0;i<n;i++){now+=ms;const l=asked;asked=[];for(const f of l)f(now);rackTest.wires.redraw()}return rackTest.wires.every}
rackTest.wires.queued=false})()`, nil))
	for _, c := range []struct {
		frames, ms  int
		least, most float64 // ms between two pictures of the lamps
	}{{100, 16, 33, 34}, {200, 33, 33, 34}, {200, 70, 124, 126}, {200, 33, 33, 34}, {200, 50, 124, 126}, {200, 16, 33, 34}} {
		var every float64
		must(t, p.Eval(fmt.Sprintf("pass(%d,%d)", c.frames, c.ms), &every))
		if every < c.least || every > c.most {
			t.Errorf("with a frame each %d ms lamps are drawn each %.0f ms, want %.0f to %.0f", c.ms, every, c.least, c.most)
		}
	}
}

// A browser without canvases off the screen has lamps, and lamps that cannot be
// drawn leave cables as they are.
func TestLampsOfAnOldBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	b := chromium(t)
	r := startRack(t, bigRack(12, 20), Config{})
	r.play()
	p := openPage(t, b, r, browser.Desk)
	defer p.Close()
	must(t, p.Wait(5*time.Second, "rackTest.model.volts.some(v=>v)"))
	var got struct{ Lamps, Strokes float64 }
	must(t, p.Eval(`(()=>{delete window.OffscreenCanvas;const w=rackTest.wires,at=id=>document.getElementById(id).getContext('2d'),lights=at('lights'),cables=at('cables'),stroke=cables.stroke.bind(cables),draw=()=>{w.lit=w.dirty=true;w.view='';w.draw(performance.now())}
w.bars=[];w.screens=[];w.glow.clear();draw()
const d=lights.getImageData(0,0,lights.canvas.width,lights.canvas.height).data;let lamps=0;for(let i=3;i<d.length;i+=4)lamps+=d[i]>100
let strokes=0;cables.stroke=()=>{strokes++;stroke()};w.lamp=()=>{throw Error('no lamp')}
try{draw()}catch{}
return{Lamps:lamps,Strokes:strokes}})()`, &got))
	if got.Lamps == 0 || got.Strokes == 0 {
		t.Errorf("%.0f pixels of lamps shine, and cables take %.0f strokes", got.Lamps, got.Strokes)
	}
	if list := p.Problems(); len(list) > 0 {
		t.Errorf("the page says %q", list)
	}
}

// A trigger that was high between two pictures of the lamps is on the next one,
// and on none after it.
func TestLampKeepsFlash(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	b := chromium(t)
	r := startRack(t, rackOf(84, "clock/main", "lfo/slow"), Config{})
	p := openPage(t, b, r, browser.Desk)
	defer p.Close()
	var seen struct{ Beat, Sine, After float64 }
	must(t, p.Eval(`(async()=>{const m=rackTest.model,w=rackTest.wires,n=m.volts.length,beat=m.output.get('/clock/main/beat'),sine=m.output.get('/lfo/slow/sine')
const frame=()=>new Promise(ok=>requestAnimationFrame(()=>requestAnimationFrame(ok)))
const shown=async()=>{do await frame();while(w.heard)} // what was heard is on a picture
const hear=(b,s)=>{const v=new Float32Array(n);v[beat]=b;v[sine]=s;w.hear(new Float32Array(2),v)}
hear(0,0);await shown()
hear(10,10);hear(0,1);await shown()
const a={Beat:m.level('/clock/main/beat'),Sine:m.level('/lfo/slow/sine')}
hear(0,1);await shown()
return {...a,After:m.level('/clock/main/beat')}})()`, &seen))
	if seen.Beat != 10 || seen.Sine != 1 || seen.After != 0 {
		t.Errorf("a beat between two pictures is shown as %g V, then as %g V, and a sine that had %g V last; want 10, 0 and 1", seen.Beat, seen.After, seen.Sine)
	}
}

// Where a cable comes, goes or moves, only what is under it is drawn anew, and it
// looks as if all had been.
func TestCablesAreDrawnInPart(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	b := chromium(t)
	st := bigRack(40, 90)
	r := startRack(t, st, Config{})
	p := openPage(t, b, r, browser.Desk)
	defer p.Close()
	must(t, p.Eval("(()=>{for(let i=0;i<9;i++)document.getElementById('smaller').click()})()", nil))
	must(t, p.Eval(`(()=>{const g=document.getElementById('cables').getContext('2d'),stroke=g.stroke.bind(g);window.strokes=0;g.stroke=()=>{window.strokes++;stroke()}
window.frame=()=>new Promise(ok=>requestAnimationFrame(()=>requestAnimationFrame(ok)))
window.look=()=>g.getImageData(0,0,g.canvas.width,g.canvas.height).data})()`, nil))
	for _, c := range []struct {
		what, js string
		most     float64 // share of the strokes that all take
	}{
		{"nothing has changed", "", 0},
		{"a cable goes", "m.cables=m.cables.filter((c,i)=>i!==7)", 0.6},
		{"one comes", "m.cables=[...m.cables,{from:m.cables[3].from,to:window.free}]", 1},
		{"one is plugged elsewhere", "m.cables=m.cables.map((c,i)=>i===20?{...c,from:m.cables[5].from}:c)", 1},
	} {
		// Edges within a clip come out some hundredths of a pixel elsewhere, so that
		// patches of 8 pixels by 8 are compared.
		var got struct{ Some, All, Most float64 }
		must(t, p.Eval(fmt.Sprintf(`(async()=>{const m=rackTest.model,w=rackTest.wires,W=document.getElementById('cables').width
window.free??=m.cables[7].to
await frame();window.strokes=0;%s;w.redraw();await frame()
const some=window.strokes,a=look();window.strokes=0;w.view='';w.redraw();await frame()
const b=look(),patch=new Map();for(let i=3;i<a.length;i+=4){const x=(i>>2)%%W,y=Math.floor((i>>2)/W),k=(x>>3)+(y>>3)*1000;patch.set(k,(patch.get(k)??0)+(a[i]-b[i])/64)}
return{Some:some,All:window.strokes,Most:Math.max(...[...patch.values()].map(Math.abs))}})()`, c.js), &got))
		t.Logf("%s: %.0f strokes of %.0f; a patch differs by %.1f of 255", c.what, got.Some, got.All, got.Most)
		if got.Some > c.most*got.All || c.most > 0 && got.Some == 0 {
			t.Errorf("%s: %.0f strokes; all that there is takes %.0f", c.what, got.Some, got.All)
		}
		if got.Most > 30 {
			t.Errorf("%s: a patch is other than if all were drawn, by %.0f of 255", c.what, got.Most)
		}
	}
}

// A scope is asked for no more columns than its screen has pixels, and what it
// saw is on the screen, and nothing beside it.
func TestScopeFitsItsScreen(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a browser")
	}
	b := chromium(t)
	r := startRack(t, rackOf(84, "scope/eye"), Config{})
	p := openPage(t, b, r, browser.Desk)
	defer p.Close()
	must(t, p.Wait(5*time.Second, "rackTest.wires.traces.get('scope/eye')?.a.length===128"))
	var got struct{ Points, Pixels, Inside, Beside float64 }
	must(t, p.Eval(`(async()=>{const m=rackTest.model,w=rackTest.wires
await new Promise(ok=>setTimeout(ok,200))
w.traces.get=()=>({a:Array.from({length:128},(_,i)=>i%2?9:-9),b:null}) // more than there is room for
w.redraw();await new Promise(ok=>requestAnimationFrame(()=>requestAnimationFrame(ok)))
const c=m.plate('scope/eye').controls.find(c=>c.part==='screen'),u=rackTest.unit,g=document.getElementById('lights').getContext('2d'),d=g.getImageData(0,0,g.canvas.width,g.canvas.height).data
let inside=0,beside=0;for(let y=0;y<g.canvas.height;y++)for(let x=0;x<g.canvas.width;x++)if(d[4*(y*g.canvas.width+x)+3]>100){Math.abs(x+.5-c.x*u)<=c.w*u/2+1&&Math.abs(y+.5-c.y*u)<=c.h*u/2+1?inside++:beside++}
return{Points:w.seen()[0].points,Pixels:c.w*u,Inside:inside/(c.w*u*c.h*u),Beside:beside}})()`, &got))
	if got.Points < got.Pixels || got.Points > got.Pixels+1 {
		t.Errorf("%.0f columns are asked for, the screen has %.1f", got.Points, got.Pixels)
	}
	if got.Inside < 0.9 || got.Beside > 0 {
		t.Errorf("of the screen %.0f %% are lit, and %.0f pixels beside it", 100*got.Inside, got.Beside)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if float64(r.scope.Points) != got.Points {
		t.Errorf("the instrument was asked for %d", r.scope.Points)
	}
}
