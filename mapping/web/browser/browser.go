// Package browser plays the page as a hand would: it opens it in a real
// Chromium, moves its pointer, its fingers and its keys, and looks at what is
// on the screen; and it does as much as shows that the page plays there in a
// Firefox and a WebKit. It stands at the very end of the signal path, where the
// player sits, and only tests and what makes pictures import it.
package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/cdproto/tracing"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// names are what Chromium is called on systems.
var names = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"}

// Find is the path of a Chromium, or an error that says how to get one.
func Find() (string, error) {
	for _, n := range names {
		if p, err := exec.LookPath(n); err == nil {
			return p, nil
		}
	}
	return "", errors.New("there is no chromium (Debian: apt-get install chromium)")
}

// Size is a screen.
type Size struct {
	Name          string
	Width, Height int
	Scale         float64 // pixels of the screen for one of the page; 0 is 1
	Touch         bool    // it is played with fingers
}

// The screens that the page is made for.
var (
	Desk   = Size{Name: "desk", Width: 1440, Height: 900}
	Tablet = Size{Name: "tablet", Width: 1024, Height: 768, Touch: true}
	Phone  = Size{Name: "phone", Width: 390, Height: 844, Scale: 2, Touch: true}
)

// Browser is a Chromium without a screen.
type Browser struct {
	ctx    context.Context
	cancel func()
}

// Start starts a Chromium that ends with ctx. Its folder goes with it.
func Start(ctx context.Context) (*Browser, error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	o := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.DisableGPU,
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"), chromedp.Flag("disable-background-timer-throttling", true),
		chromedp.Flag("disable-renderer-backgrounding", true), chromedp.Flag("disable-backgrounding-occluded-windows", true), chromedp.Flag("disable-component-update", true),
		chromedp.WSURLReadTimeout(time.Minute)) // a machine that is busy starts it slowly
	if os.Getuid() == 0 {
		o = append(o, chromedp.NoSandbox)
	}
	a, end := chromedp.NewExecAllocator(ctx, o...)
	b, cancel := chromedp.NewContext(a)
	if err := chromedp.Run(b); err != nil {
		cancel()
		end()
		return nil, fmt.Errorf("browser: %w", err)
	}
	return &Browser{b, func() { cancel(); end() }}, nil
}

// Close ends it.
func (b *Browser) Close() { b.cancel() }

// PID is the first of its processes; the others descend from it.
func (b *Browser) PID() int { return chromedp.FromContext(b.ctx).Browser.Process().Pid }

// Page is one window, with cookies of its own.
type Page struct {
	ctx    context.Context
	cancel func()
	size   Size

	mu       sync.Mutex
	problems []string
	fetched  []Fetched
	asked    map[network.RequestID]int // index into fetched
	trace    []TraceEvent
	traced   chan bool // a trace is complete; true if some of it is lost
}

// Fetched is one thing that the window asked for over the network.
type Fetched struct {
	URL   string
	Kind  string // Document, Script, Stylesheet, WebSocket, …
	Bytes int    // that came, heads and all; 0 while it is not complete, and of a WebSocket
}

// Fetched are all that the window has asked for so far, in order. What workers
// ask for is not among it.
func (p *Page) Fetched() []Fetched {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.fetched)
}

// TraceEvent is one event that Chromium recorded of itself.
type TraceEvent struct {
	Name string  `json:"name"`
	Ph   string  `json:"ph"` // its phase: X is a span, b and e are the ends of one, R a mark
	TS   float64 `json:"ts"` // µs of the machine's monotonic clock
	Dur  float64 `json:"dur"`
	PID  int     `json:"pid"`
	TID  int     `json:"tid"`
	ID   string  `json:"id"`
	ID2  struct {
		Local string `json:"local"`
	} `json:"id2"`
	Args json.RawMessage `json:"args"`
}

// Trace records what Chromium does while f runs: all its processes, in the
// categories that are named. One trace at a time.
func (p *Page) Trace(categories []string, f func() error) ([]TraceEvent, error) {
	done := make(chan bool, 1)
	p.mu.Lock()
	p.trace, p.traced = nil, done
	p.mu.Unlock()
	start := tracing.Start().WithTransferMode(tracing.TransferModeReportEvents).
		WithTraceConfig(&tracing.TraceConfig{RecordMode: tracing.RecordModeRecordUntilFull, IncludedCategories: categories, ExcludedCategories: []string{"*"}})
	if err := p.Do(start); err != nil {
		return nil, fmt.Errorf("browser: trace: %w", err)
	}
	err := f()
	if e := p.run(30*time.Second, tracing.End()); e != nil {
		return nil, errors.Join(err, fmt.Errorf("browser: trace: %w", e))
	}
	select {
	case lost := <-done:
		if lost {
			err = errors.Join(err, errors.New("browser: trace: some of it is lost"))
		}
	case <-time.After(60 * time.Second):
		err = errors.Join(err, errors.New("browser: trace: it does not come"))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.trace
	p.trace = nil
	return list, err
}

// Open opens an empty window.
func (b *Browser) Open(size Size) (*Page, error) {
	c := cdp.WithExecutor(b.ctx, chromedp.FromContext(b.ctx).Browser)
	jar, err := target.CreateBrowserContext().Do(c)
	if err != nil {
		return nil, fmt.Errorf("browser: %w", err)
	}
	// Without a window of its own a new jar of cookies has no place for a tab.
	id, err := target.CreateTarget("about:blank").WithBrowserContextID(jar).WithNewWindow(true).WithWidth(int64(size.Width)).WithHeight(int64(size.Height)).Do(c)
	if err != nil {
		return nil, fmt.Errorf("browser: %w", err)
	}
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithTargetID(id))
	p := &Page{ctx: ctx, cancel: cancel, size: size, asked: map[network.RequestID]int{}}
	chromedp.ListenTarget(ctx, func(ev any) {
		switch e := ev.(type) {
		case *runtime.EventExceptionThrown:
			p.problem(e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError {
				for _, a := range e.Args {
					p.problem(string(a.Value) + a.Description)
				}
			}
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError {
				p.problem(e.Entry.Text + " " + e.Entry.URL)
			}
		case *network.EventRequestWillBeSent:
			p.mu.Lock()
			p.asked[e.RequestID] = len(p.fetched)
			p.fetched = append(p.fetched, Fetched{URL: e.Request.URL, Kind: e.Type.String()})
			p.mu.Unlock()
		case *network.EventWebSocketCreated:
			p.mu.Lock()
			p.fetched = append(p.fetched, Fetched{URL: e.URL, Kind: "WebSocket"})
			p.mu.Unlock()
		case *network.EventLoadingFinished:
			p.mu.Lock()
			if i, ok := p.asked[e.RequestID]; ok {
				p.fetched[i].Bytes = int(e.EncodedDataLength)
			}
			p.mu.Unlock()
		case *tracing.EventDataCollected:
			p.mu.Lock()
			for _, text := range e.Value {
				var t TraceEvent
				if err := json.Unmarshal(text, &t); err == nil {
					p.trace = append(p.trace, t)
				}
			}
			p.mu.Unlock()
		case *tracing.EventTracingComplete:
			p.mu.Lock()
			if p.traced != nil {
				p.traced <- e.DataLossOccurred
				p.traced = nil
			}
			p.mu.Unlock()
		}
	})
	err = p.run(10*time.Second, chromedp.ActionFunc(func(ctx context.Context) error { return log.Enable().Do(ctx) }), network.Enable(),
		emulation.SetDeviceMetricsOverride(int64(size.Width), int64(size.Height), max(size.Scale, 1), size.Touch && size.Width < 600),
		emulation.SetFocusEmulationEnabled(true), emulation.SetTouchEmulationEnabled(size.Touch).WithMaxTouchPoints(5))
	if err != nil {
		cancel()
		return nil, fmt.Errorf("browser: %w", err)
	}
	return p, nil
}

func (p *Page) problem(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problems = append(p.problems, text)
}

// Problems are errors on the page's console since the last call.
func (p *Page) Problems() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.problems
	p.problems = nil
	return list
}

// Close closes the window.
func (p *Page) Close() { p.cancel() }

func (p *Page) run(limit time.Duration, a ...chromedp.Action) error {
	// chromedp's first Run of a context must not be given one that ends sooner.
	if c := chromedp.FromContext(p.ctx); c.Target == nil {
		if err := chromedp.Run(p.ctx); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	return chromedp.Run(ctx, a...)
}

// Do carries out actions of chromedp within ten seconds.
func (p *Page) Do(a ...chromedp.Action) error { return p.run(10*time.Second, a...) }

// Go opens an address.
func (p *Page) Go(url string) error { return p.run(20*time.Second, chromedp.Navigate(url)) }

// Front brings the window before the others, as a click on it would.
func (p *Page) Front() error { return p.Do(page.BringToFront()) }

// Reload opens the page anew.
func (p *Page) Reload() error { return p.run(20*time.Second, chromedp.Reload()) }

// Eval evaluates an expression, waits for it if it is a promise, and decodes
// what it gives into out, which may be nil.
func (p *Page) Eval(js string, out any) error {
	return p.EvalFor(10*time.Second, js, out)
}

// EvalFor is Eval of what takes long.
func (p *Page) EvalFor(limit time.Duration, js string, out any) error {
	var text string
	err := p.run(limit, chromedp.Evaluate("(async()=>JSON.stringify((await ("+js+"))??null))()", &text, func(e *runtime.EvaluateParams) *runtime.EvaluateParams {
		return e.WithAwaitPromise(true)
	}))
	if err != nil {
		return fmt.Errorf("browser: %s: %w", js, err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal([]byte(text), out)
}

// Wait waits until an expression is true.
func (p *Page) Wait(limit time.Duration, js string) error { return wait(p.Eval, limit, js) }

// Ready waits until the rack is drawn.
func (p *Page) Ready(limit time.Duration) error { return p.Wait(limit, drawn) }

// drawn is true when the rack is.
const drawn = "!!window.rackTest && !!rackTest.model.state && rackTest.drawn()"

// evaluate is how a window of any browser does it.
type evaluate = func(js string, out any) error

func wait(eval evaluate, limit time.Duration, js string) error {
	var last json.RawMessage
	var err error
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		var ok bool
		if err = eval("!!("+js+")", &last); err == nil {
			if json.Unmarshal(last, &ok) == nil && ok {
				return nil
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("browser: not within %s: %s (it is %s, %v)", limit, js, last, err)
		}
	}
}

// Point is a place in the window.
type Point struct{ X, Y float64 }

// At is the middle of the first element that a selector finds, scrolled into
// sight.
func (p *Page) At(selector string) (Point, error) { return middle(p.Eval, selector) }

func middle(eval evaluate, selector string) (Point, error) {
	var at *Point
	q, _ := json.Marshal(selector)
	err := eval(fmt.Sprintf(`(()=>{const e=document.querySelector(%s);if(!e)return null;let b=e.getBoundingClientRect();const s=document.getElementById('scroll');
const d=s&&s.contains(e)?s.getBoundingClientRect():{left:0,top:0,right:innerWidth,bottom:innerHeight};
if(b.left<d.left+4||b.right>d.right-4||b.top<d.top+4||b.bottom>d.bottom-4){e.scrollIntoView({block:'center',inline:'center'});b=e.getBoundingClientRect()}
return {X:b.left+b.width/2,Y:b.top+b.height/2}})()`, q), &at)
	if err != nil {
		return Point{}, err
	}
	if at == nil {
		return Point{}, fmt.Errorf("browser: the page has no %s", selector)
	}
	return *at, nil
}

// Jack is the selector of a jack, kind/name/jack.
func Jack(ref string) string { return `[data-jackref="` + ref + `"]` }

// Knob is the selector of a param's control on a module's panel.
func Knob(module, param string) string {
	return `.module[data-id="` + module + `"] .control[data-param="` + param + `"]`
}

func (p *Page) mouse(kind input.MouseType, at Point, held bool, m input.Modifier, clicks int64) error {
	e := input.DispatchMouseEvent(kind, at.X, at.Y).WithModifiers(m)
	if kind != input.MouseMoved {
		e = e.WithButton(input.Left).WithClickCount(clicks)
	}
	if held {
		e = e.WithButton(input.Left).WithButtons(1)
	}
	return p.Do(e)
}

// Move moves the pointer, with the button held or not.
func (p *Page) Move(at Point, held bool, m input.Modifier) error {
	return p.mouse(input.MouseMoved, at, held, m, 0)
}

// Press holds the left button down.
func (p *Page) Press(at Point, m input.Modifier) error {
	return p.mouse(input.MousePressed, at, true, m, 1)
}

// Release lets the left button go.
func (p *Page) Release(at Point, m input.Modifier) error {
	return p.mouse(input.MouseReleased, at, false, m, 1)
}

// Drag presses at one place and lets go at another, in steps.
func (p *Page) Drag(from, to Point, steps int, m input.Modifier) error {
	err := errors.Join(p.Move(from, false, 0), p.Press(from, m))
	for i := 1; i <= steps && err == nil; i++ {
		f := float64(i) / float64(steps)
		err = p.Move(Point{from.X + f*(to.X-from.X), from.Y + f*(to.Y-from.Y)}, true, m)
	}
	return errors.Join(err, p.Release(to, m))
}

// Click clicks, n times in quick succession.
func (p *Page) Click(at Point, n int) error {
	err := p.Move(at, false, 0)
	for i := 1; i <= n && err == nil; i++ {
		err = errors.Join(p.mouse(input.MousePressed, at, true, 0, int64(i)), p.mouse(input.MouseReleased, at, false, 0, int64(i)))
	}
	return err
}

// Push clicks what a selector finds.
func (p *Page) Push(selector string) error {
	at, err := p.At(selector)
	if err != nil {
		return err
	}
	return p.Click(at, 1)
}

// Wheel turns the wheel at a place; down is positive.
func (p *Page) Wheel(at Point, dy float64, m input.Modifier) error {
	return p.Do(input.DispatchMouseEvent(input.MouseWheel, at.X, at.Y).WithDeltaX(0).WithDeltaY(dy).WithModifiers(m))
}

// Keys types; kb names keys that are no letters.
func (p *Page) Keys(keys string, m ...input.Modifier) error {
	return p.Do(chromedp.KeyEvent(keys, chromedp.KeyModifiers(m...)))
}

// Keys that pages know.
const (
	Enter  = kb.Enter
	Escape = kb.Escape
	Tab    = kb.Tab
	Up     = kb.ArrowUp
	Down   = kb.ArrowDown
	Left   = kb.ArrowLeft
	Right  = kb.ArrowRight
	Home   = kb.Home
	End    = kb.End
	Delete = kb.Delete
)

// Touch tells where fingers are now: more than before is a touch, fewer a
// release, the same a move.
func (p *Page) Touch(kind input.TouchType, at ...Point) error {
	points := []*input.TouchPoint{}
	for i, a := range at {
		points = append(points, &input.TouchPoint{X: a.X, Y: a.Y, ID: float64(i + 1), Force: 0.5, RadiusX: 4, RadiusY: 4})
	}
	return p.Do(input.DispatchTouchEvent(kind, points))
}

// Swipe moves fingers together from places to places, in steps.
func (p *Page) Swipe(from, to []Point, steps int) error {
	err := p.Touch(input.TouchStart, from...)
	for i := 1; i <= steps && err == nil; i++ {
		f := float64(i) / float64(steps)
		var at []Point
		for k := range from {
			at = append(at, Point{from[k].X + f*(to[k].X-from[k].X), from[k].Y + f*(to[k].Y-from[k].Y)})
		}
		err = p.Touch(input.TouchMove, at...)
	}
	return errors.Join(err, p.Touch(input.TouchEnd))
}

// Shot writes what is on the screen to a PNG file.
func (p *Page) Shot(path string) error {
	var png []byte
	err := p.run(20*time.Second, chromedp.ActionFunc(func(ctx context.Context) (err error) {
		png, err = page.CaptureScreenshot().WithFormat(page.CaptureScreenshotFormatPng).Do(ctx)
		return err
	}))
	if err != nil {
		return fmt.Errorf("browser: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, png, 0o644)
}

// axeVersion is the checker of accessibility that npm has.
const axeVersion = "4.14.1"

// axeSource is axe-core's text, which is installed once, outside any tree and
// without running anything of it.
var axeSource = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "k8s-synth", "axe-core-"+strings.ReplaceAll(axeVersion, ".", "-"))
	path := filepath.Join(dir, "node_modules", "axe-core", "axe.min.js")
	if _, err := os.Stat(path); err != nil {
		if _, err := exec.LookPath("npm"); err != nil {
			return "", errors.New("npm is not installed (Debian: apt-get install npm)")
		}
		if out, err := exec.Command("npm", "install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "axe-core@"+axeVersion).CombinedOutput(); err != nil {
			return "", fmt.Errorf("npm cannot install axe-core@%s: %v: %s", axeVersion, err, out)
		}
	}
	text, err := os.ReadFile(path)
	return string(text), err
})

// NeedAxe tells why there is no axe-core, if there is none.
func NeedAxe() error { _, err := axeSource(); return err }

// Fault is one thing that axe-core finds fault with.
type Fault struct {
	ID, Impact, Help string
	Nodes            []string
}

func (f Fault) String() string {
	return fmt.Sprintf("%s (%s): %s\n    %s", f.ID, f.Impact, f.Help, strings.Join(f.Nodes[:min(len(f.Nodes), 6)], "\n    "))
}

// Axe looks at the page as axe-core does, and returns every fault.
func (p *Page) Axe() ([]Fault, error) {
	source, err := axeSource()
	if err != nil {
		return nil, err
	}
	// Evaluated by the debugger: the page's policy would refuse it as a script.
	if err := p.run(20*time.Second, chromedp.Evaluate("if(!window.axe){"+source+"};0", nil)); err != nil {
		return nil, fmt.Errorf("browser: axe-core: %w", err)
	}
	var list []Fault
	err = p.EvalFor(60*time.Second, `axe.run(document,{resultTypes:['violations']}).then(r=>r.violations.map(v=>({ID:v.id,Impact:v.impact,Help:v.help,Nodes:v.nodes.map(n=>n.html.slice(0,200)+' '+(n.any[0]?.message??n.all[0]?.message??n.none[0]?.message??''))})))`, &list)
	return list, err
}

// Serious are the faults that keep somebody out.
func Serious(all []Fault) []Fault {
	return slices.DeleteFunc(slices.Clone(all), func(f Fault) bool { return f.Impact != "serious" && f.Impact != "critical" })
}
