//go:build linux

package browser

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Driven is a browser of another make, driven by the commands of WebDriver: a
// Firefox, which has them in its own protocol Marionette, or a WebKit, which has
// a program for them. It has one jar of cookies.
type Driven struct {
	Name, Version string

	call     func(c command, body any) (json.RawMessage, error)
	problems func() []string // on the console, of all windows, since the last call
	end      []func()        // last one first
	mu       sync.Mutex      // a command is under way
	first    string          // the window that it began with
	now      string          // the one that commands go to
}

// command is one of WebDriver's, by its name in Marionette and as a request.
type command struct{ name, method, path string }

var (
	newSession    = command{"WebDriver:NewSession", "POST", ""}
	setTimeouts   = command{"WebDriver:SetTimeouts", "POST", "/timeouts"}
	navigate      = command{"WebDriver:Navigate", "POST", "/url"}
	refresh       = command{"WebDriver:Refresh", "POST", "/refresh"}
	runAsync      = command{"WebDriver:ExecuteAsyncScript", "POST", "/execute/async"}
	actions       = command{"WebDriver:PerformActions", "POST", "/actions"}
	screenshot    = command{"WebDriver:TakeScreenshot", "GET", "/screenshot"}
	windowHandle  = command{"WebDriver:GetWindowHandle", "GET", "/window"}
	newWindow     = command{"WebDriver:NewWindow", "POST", "/window/new"}
	switchWindow  = command{"WebDriver:SwitchToWindow", "POST", "/window"}
	closeWindow   = command{"WebDriver:CloseWindow", "DELETE", "/window"}
	setWindowRect = command{"WebDriver:SetWindowRect", "POST", "/window/rect"}
	quit          = command{"Marionette:Quit", "DELETE", ""}
)

const (
	driveStart = 2 * time.Minute // a browser needs on a machine that is busy
	driveCall  = 2 * time.Minute // the longest command
)

type nothing struct{}

// Close ends it, and all that was started for it.
func (d *Driven) Close() {
	for _, f := range slices.Backward(d.end) {
		f()
	}
	d.end = nil
}

// start starts a program that ends with Close, in a group of its own, and tells
// when it has ended.
func (d *Driven) start(c *exec.Cmd) (ended chan struct{}, err error) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return nil, err
	}
	ended = make(chan struct{})
	go func() { _ = c.Wait(); close(ended) }()
	d.end = append(d.end, func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
		<-ended
	})
	return ended, nil
}

// folder is one that goes with Close.
func (d *Driven) folder() (string, error) {
	dir, err := os.MkdirTemp("", "k8s-synth-browser-")
	if err == nil {
		d.end = append(d.end, func() { _ = os.RemoveAll(dir) })
	}
	return dir, err
}

// ears starts what the browser plays to, on which nobody hears it: without a
// device no sound is made. It returns what the browser has to know of it.
func (d *Driven) ears(ctx context.Context, dir string) (string, error) {
	path, err := exec.LookPath("pulseaudio")
	if err != nil {
		return "", errNoEars
	}
	socket := filepath.Join(dir, "pulse.socket")
	c := exec.CommandContext(ctx, path, "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes",
		"-L", "module-null-sink norewinds=1 rate=48000 channels=2", "-L", "module-native-protocol-unix auth-anonymous=1 socket="+socket)
	c.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_RUNTIME_DIR="+dir, "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/dev/null")
	ended, err := d.start(c)
	if err != nil {
		return "", err
	}
	return "PULSE_SERVER=unix:" + socket, until(driveStart, ended, func() error { _, err := os.Stat(socket); return err })
}

var errNoEars = errors.New("there is no pulseaudio for the browser to play to (Debian: apt-get install pulseaudio)")

// firefoxes are what Firefox is called on systems.
var firefoxes = []string{"firefox-esr", "firefox"}

// firefoxPrefs is what a Firefox is told that nobody looks at. That sound needs
// a press stays as it is for players.
const firefoxPrefs = `user_pref("marionette.port", 0);
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage", "about:blank");
user_pref("browser.aboutwelcome.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("dom.min_background_timeout_value", 4);
`

// FindFirefox is the path of a Firefox, or an error that says what is missing.
func FindFirefox() (string, error) {
	if _, err := exec.LookPath("pulseaudio"); err != nil {
		return "", errNoEars
	}
	for _, n := range firefoxes {
		if p, err := exec.LookPath(n); err == nil {
			return p, nil
		}
	}
	return "", errors.New("there is no firefox (Debian: apt-get install firefox-esr)")
}

// StartFirefox starts a Firefox without a screen that ends with ctx.
func StartFirefox(ctx context.Context) (_ *Driven, err error) {
	path, err := FindFirefox()
	if err != nil {
		return nil, err
	}
	d := &Driven{Name: "Firefox"}
	defer func() {
		if err != nil {
			d.Close()
			err = fmt.Errorf("browser: %s: %w", path, err)
		}
	}()
	dir, err := d.folder()
	if err != nil {
		return nil, err
	}
	pulse, err := d.ears(ctx, dir)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "user.js"), []byte(firefoxPrefs), 0o600); err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, path, "--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile", dir)
	c.Env = append(os.Environ(), pulse, "HOME="+dir, "MOZ_CRASHREPORTER_DISABLE=1")
	var says lines
	c.Stdout, c.Stderr = &says, &says
	ended, err := d.start(c)
	if err != nil {
		return nil, err
	}
	var port string
	if err := until(driveStart, ended, func() error {
		text, err := os.ReadFile(filepath.Join(dir, "MarionetteActivePort"))
		if port = strings.TrimSpace(string(text)); err == nil && port == "" {
			err = errors.New("it has no port yet")
		}
		return err
	}); err != nil {
		return nil, fmt.Errorf("%w: %s", err, says.last())
	}
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, err
	}
	d.end = append(d.end, func() { conn.Close() })
	m := &marionette{conn: conn, in: bufio.NewReader(conn)}
	if _, err := m.read(); err != nil { // it says what it is
		return nil, err
	}
	d.call = m.call
	var seen float64
	d.problems = func() (list []string) {
		// What it knows of all windows, and only of pages: errors of its own are none of ours.
		js := fmt.Sprintf(`const all=Services.console.getMessageArray(),from=%g
return [Date.now(),all.filter(m=>m instanceof Ci.nsIScriptError&&!(m.flags&(Ci.nsIScriptError.warningFlag|Ci.nsIScriptError.infoFlag))&&m.timeStamp>from&&(m.innerWindowID||/^https?:/.test(m.sourceName))).map(m=>m.errorMessage+' '+m.sourceName+':'+m.lineNumber)]`, seen)
		if _, err := d.do(command{name: "Marionette:SetContext"}, map[string]string{"value": "chrome"}); err != nil {
			return []string{err.Error()}
		}
		var got struct{ Value [2]json.RawMessage }
		text, err := d.do(command{name: "WebDriver:ExecuteScript"}, map[string]any{"script": js, "args": []any{}})
		_, e := d.do(command{name: "Marionette:SetContext"}, map[string]string{"value": "content"})
		if err = errors.Join(err, e); err == nil {
			err = json.Unmarshal(text, &got)
		}
		if err == nil {
			err = errors.Join(json.Unmarshal(got.Value[0], &seen), json.Unmarshal(got.Value[1], &list))
		}
		if err != nil {
			return []string{err.Error()}
		}
		return list
	}
	return d, d.begin(map[string]any{"acceptInsecureCerts": true})
}

// miniBrowsers are where WebKit's own browser is, which is on no path.
var miniBrowsers = []string{"/usr/lib/*/webkit2gtk-4.1/MiniBrowser", "/usr/lib/*/webkit2gtk-4.0/MiniBrowser", "/usr/lib/*/webkitgtk-6.0/MiniBrowser", "/usr/libexec/webkit2gtk-4.*/MiniBrowser"}

// webKitPrograms are its driver, its browser and a screen for it.
func webKitPrograms() (driver, browser, screen string, err error) {
	driver, e1 := exec.LookPath("WebKitWebDriver")
	screen, e2 := exec.LookPath("Xvfb")
	for _, pattern := range miniBrowsers {
		if list, _ := filepath.Glob(pattern); len(list) > 0 {
			browser = list[0]
			break
		}
	}
	if _, err := exec.LookPath("pulseaudio"); err != nil {
		return "", "", "", errNoEars
	}
	if e1 != nil || e2 != nil || browser == "" {
		err = errors.New("there is no WebKit with a driver and a screen (Debian: apt-get install webkit2gtk-driver xvfb)")
	}
	return driver, browser, screen, err
}

// FindWebKit tells what is missing for a WebKit, if anything is.
func FindWebKit() error { _, _, _, err := webKitPrograms(); return err }

// StartWebKit starts a WebKit on a screen that nobody sees; it ends with ctx.
func StartWebKit(ctx context.Context) (_ *Driven, err error) {
	driver, browser, screen, err := webKitPrograms()
	if err != nil {
		return nil, err
	}
	d := &Driven{Name: "WebKit"}
	defer func() {
		if err != nil {
			d.Close()
			err = fmt.Errorf("browser: %s: %w", driver, err)
		}
	}()
	dir, err := d.folder()
	if err != nil {
		return nil, err
	}
	pulse, err := d.ears(ctx, dir)
	if err != nil {
		return nil, err
	}
	tells, told, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer tells.Close()
	x := exec.CommandContext(ctx, screen, "-displayfd", "3", "-screen", "0", "2000x1400x24", "-nolisten", "tcp")
	x.ExtraFiles = []*os.File{told}
	_, err = d.start(x)
	told.Close()
	if err != nil {
		return nil, err
	}
	tells.SetReadDeadline(time.Now().Add(driveStart))
	display, err := bufio.NewReader(tells).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s: %w", screen, err)
	}
	// The driver wants to be told a port, and there is none that stays free for
	// sure; between here and there nobody takes it.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	ln.Close()
	c := exec.CommandContext(ctx, driver, "--host=127.0.0.1", "--port="+port)
	c.Env = append(os.Environ(), pulse, "DISPLAY=:"+strings.TrimSpace(display), "GDK_BACKEND=x11", "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_RUNTIME_DIR="+dir, "NO_AT_BRIDGE=1", "GSETTINGS_BACKEND=memory", "LIBGL_ALWAYS_SOFTWARE=1")
	says := &lines{}
	c.Stdout, c.Stderr = says, says
	ended, err := d.start(c)
	if err != nil {
		return nil, err
	}
	h := &httpDriver{at: "http://127.0.0.1:" + port + "/session"}
	if err := until(driveStart, ended, func() error {
		r, err := http.Get("http://127.0.0.1:" + port + "/status")
		if err == nil {
			r.Body.Close()
		}
		return err
	}); err != nil {
		return nil, fmt.Errorf("%w: %s", err, says.last())
	}
	d.call = h.call
	d.problems = func() []string {
		return slices.DeleteFunc(says.take(), func(l string) bool { return !strings.HasPrefix(l, "CONSOLE") || !strings.Contains(l, "ERROR") })
	}
	return d, d.begin(map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{"acceptInsecureCerts": true,
		"webkitgtk:browserOptions": map[string]any{"binary": browser, "args": []string{"--automation", "--enable-write-console-messages-to-stdout=true"}}}}})
}

// until tries f until it gives no error, a time has gone or a program has ended.
func until(limit time.Duration, ended <-chan struct{}, f func() error) error {
	for late := time.After(limit); ; {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("it has ended: %w", err)
		case <-late:
			return fmt.Errorf("not within %s: %w", limit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lines keeps what a program says, by the line.
type lines struct {
	mu    sync.Mutex
	rest  []byte
	whole []string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 {
			return len(b), nil
		}
		l.whole = append(l.whole, string(l.rest[:i]))
		l.rest = l.rest[i+1:]
	}
}

func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.whole
	l.whole = nil
	return list
}

func (l *lines) last() string {
	list := l.take()
	return strings.Join(list[max(0, len(list)-5):], "; ")
}

// marionette is a connection to a Firefox: JSON, each message with its length
// before it.
type marionette struct {
	conn net.Conn
	in   *bufio.Reader
	next int
}

func (m *marionette) read() ([]byte, error) {
	m.conn.SetReadDeadline(time.Now().Add(driveCall))
	text, err := m.in.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(text, ":"))
	if err != nil || n < 0 || n > 64<<20 {
		return nil, fmt.Errorf("marionette: a message of %q bytes", text)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(m.in, b)
	return b, err
}

func (m *marionette) call(c command, body any) (json.RawMessage, error) {
	m.next++
	if body == nil {
		body = nothing{}
	}
	text, err := json.Marshal([]any{0, m.next, c.name, body})
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(m.conn, "%d:%s", len(text), text); err != nil {
		return nil, err
	}
	text, err = m.read()
	if err != nil {
		return nil, err
	}
	var answer [4]json.RawMessage
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, err
	}
	var no *struct{ Error, Message string }
	if err := json.Unmarshal(answer[2], &no); err != nil || no != nil {
		return nil, errors.Join(err, fmt.Errorf("%s: %s", c.name, answer[2]))
	}
	return answer[3], nil
}

// httpDriver is a program that takes WebDriver's commands as requests.
type httpDriver struct{ at string }

func (h *httpDriver) call(c command, body any) (json.RawMessage, error) {
	if c.method == "" {
		return nil, fmt.Errorf("%s is Firefox's alone", c.name)
	}
	var text []byte
	if c.method == "POST" {
		if body == nil {
			body = nothing{}
		}
		var err error
		if text, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	q, err := http.NewRequest(c.method, h.at+c.path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	client := http.Client{Timeout: driveCall}
	r, err := client.Do(q)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	all, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: %s", c.method, c.path, all)
	}
	if c == newSession {
		var s struct{ Value struct{ SessionID string } }
		if err := json.Unmarshal(all, &s); err != nil {
			return nil, err
		}
		h.at += "/" + s.Value.SessionID
	}
	return all, nil
}

// begin opens the session.
func (d *Driven) begin(capabilities any) error {
	text, err := d.do(newSession, capabilities)
	if err != nil {
		return err
	}
	// Marionette gives it bare, HTTP as the value.
	var got struct {
		Capabilities struct{ BrowserVersion string }
		Value        struct {
			Capabilities struct{ BrowserVersion string }
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		return err
	}
	d.Version = cmp.Or(got.Capabilities.BrowserVersion, got.Value.Capabilities.BrowserVersion)
	d.end = append(d.end, func() { _, _ = d.do(quit, map[string]any{"flags": []string{"eForceQuit"}}) })
	if err := d.value(windowHandle, nil, &d.first); err != nil {
		return err
	}
	d.now = d.first
	_, err = d.do(setTimeouts, map[string]int{"script": int(driveCall.Milliseconds()), "pageLoad": int(driveCall.Milliseconds())})
	return err
}

func (d *Driven) do(c command, body any) (json.RawMessage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.call(c, body)
}

// value gives a command, and decodes what comes of it into out.
func (d *Driven) value(c command, body, out any) error {
	text, err := d.do(c, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, &struct{ Value any }{out})
}

// Window is one window of it.
type Window struct {
	d      *Driven
	handle string
}

// Open opens an empty window; its inside has the size, or as much of it as the
// browser's own frame leaves.
func (d *Driven) Open(size Size) (*Window, error) {
	// A command needs a window to go to, so the one that the browser began with
	// stays.
	if err := d.front(d.first); err != nil {
		return nil, err
	}
	text, err := d.do(newWindow, map[string]any{"type": "window", "focus": true})
	if err != nil {
		return nil, fmt.Errorf("browser: %w", err)
	}
	var got struct {
		Handle string
		Value  struct{ Handle string }
	}
	if err := json.Unmarshal(text, &got); err != nil {
		return nil, fmt.Errorf("browser: %w", err)
	}
	w := &Window{d: d, handle: cmp.Or(got.Handle, got.Value.Handle)}
	// The frame is known when there is one.
	want := [2]int{size.Width, size.Height}
	for range 3 {
		if err := w.do(setWindowRect, map[string]int{"x": 0, "y": 0, "width": want[0], "height": want[1]}); err != nil {
			return nil, err
		}
		var is [2]int
		for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end) && is != [2]int{size.Width, size.Height}; time.Sleep(20 * time.Millisecond) {
			if err := w.Eval("[innerWidth,innerHeight]", &is); err != nil {
				return nil, err
			}
		}
		if is == [2]int{size.Width, size.Height} {
			break
		}
		want[0], want[1] = want[0]+size.Width-is[0], want[1]+size.Height-is[1]
	}
	return w, nil
}

// front makes commands go to a window.
func (d *Driven) front(handle string) error {
	if d.now == handle {
		return nil
	}
	if _, err := d.do(switchWindow, map[string]any{"handle": handle, "focus": true}); err != nil {
		return fmt.Errorf("browser: %w", err)
	}
	d.now = handle
	return nil
}

func (w *Window) do(c command, body any) error {
	if err := w.d.front(w.handle); err != nil {
		return err
	}
	if _, err := w.d.do(c, body); err != nil {
		return fmt.Errorf("browser: %w", err)
	}
	return nil
}

// Close closes the window.
func (w *Window) Close() {
	_ = w.do(closeWindow, nil)
	w.d.now = ""
}

// Go opens an address.
func (w *Window) Go(url string) error { return w.do(navigate, map[string]string{"url": url}) }

// Reload opens the page anew.
func (w *Window) Reload() error { return w.do(refresh, nil) }

// Problems are errors on the browser's console since the last call.
func (w *Window) Problems() []string { return w.d.problems() }

// Eval evaluates an expression, waits for it if it is a promise, and decodes
// what it gives into out, which may be nil.
func (w *Window) Eval(js string, out any) error {
	if err := w.d.front(w.handle); err != nil {
		return err
	}
	var got struct {
		Text  string
		Error string
	}
	err := w.d.value(runAsync, map[string]any{"script": "const done=arguments[0];(async()=>JSON.stringify((await (" + js + "))??null))().then(text=>done({text,error:''}),e=>done({text:'',error:String(e)}))", "args": []any{}}, &got)
	if err == nil && got.Error != "" {
		err = errors.New(got.Error)
	}
	if err != nil {
		return fmt.Errorf("browser: %s: %w", js, err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal([]byte(got.Text), out)
}

// Wait waits until an expression is true.
func (w *Window) Wait(limit time.Duration, js string) error { return wait(w.Eval, limit, js) }

// Ready waits until the rack is drawn.
func (w *Window) Ready(limit time.Duration) error { return w.Wait(limit, drawn) }

// At is the middle of the first element that a selector finds, scrolled into
// sight.
func (w *Window) At(selector string) (Point, error) { return middle(w.Eval, selector) }

type action map[string]any

func pointer(list ...action) any {
	return map[string]any{"actions": []any{map[string]any{"type": "pointer", "id": "hand", "parameters": map[string]string{"pointerType": "mouse"}, "actions": list}}}
}

func moved(at Point) action {
	return action{"type": "pointerMove", "duration": 0, "origin": "viewport", "x": int(math.Round(at.X)), "y": int(math.Round(at.Y))}
}

var (
	pressed  = action{"type": "pointerDown", "button": 0}
	released = action{"type": "pointerUp", "button": 0}
)

// Drag presses at one place and lets go at another, in steps.
func (w *Window) Drag(from, to Point, steps int) error {
	list := []action{moved(from), pressed}
	for i := 1; i <= steps; i++ {
		f := float64(i) / float64(steps)
		list = append(list, moved(Point{from.X + f*(to.X-from.X), from.Y + f*(to.Y-from.Y)}))
	}
	return w.do(actions, pointer(append(list, released)...))
}

// Click clicks, n times in quick succession.
func (w *Window) Click(at Point, n int) error {
	list := []action{moved(at)}
	for range n {
		list = append(list, pressed, released)
	}
	return w.do(actions, pointer(list...))
}

// Push clicks what a selector finds.
func (w *Window) Push(selector string) error {
	at, err := w.At(selector)
	if err != nil {
		return err
	}
	return w.Click(at, 1)
}

// Wheel turns the wheel at a place; down is positive.
func (w *Window) Wheel(at Point, dy int) error {
	return w.do(actions, map[string]any{"actions": []any{map[string]any{"type": "wheel", "id": "wheel",
		"actions": []action{{"type": "scroll", "origin": "viewport", "x": int(math.Round(at.X)), "y": int(math.Round(at.Y)), "deltaX": 0, "deltaY": dy, "duration": 0}}}}})
}

// driverKeys are WebDriver's signs for keys that are no letters.
var driverKeys = strings.NewReplacer(Enter, "\uE006", Escape, "\uE00C", Tab, "\uE004", Up, "\uE013", Down, "\uE015", Left, "\uE012", Right, "\uE014", Home, "\uE011", End, "\uE010", Delete, "\uE017")

// Keys types.
func (w *Window) Keys(keys string) error {
	var list []action
	for _, k := range driverKeys.Replace(keys) {
		list = append(list, action{"type": "keyDown", "value": string(k)}, action{"type": "keyUp", "value": string(k)})
	}
	return w.do(actions, map[string]any{"actions": []any{map[string]any{"type": "key", "id": "keys", "actions": list}}})
}

// Shot writes what is on the screen to a PNG file.
func (w *Window) Shot(path string) error {
	if err := w.d.front(w.handle); err != nil {
		return err
	}
	var text string
	if err := w.d.value(screenshot, map[string]any{"full": false}, &text); err != nil {
		return fmt.Errorf("browser: %w", err)
	}
	png, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, png, 0o644)
}
