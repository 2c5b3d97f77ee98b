//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	cdppage "github.com/chromedp/cdproto/page"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8s-synth/k8s-synth/mapping/web/browser"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// audience is a browser and the windows that look at one instrument.
type audience struct {
	t *testing.T
	*browser.Browser
}

func newAudience(t *testing.T) *audience {
	t.Helper()
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	b, err := browser.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return &audience{t, b}
}

func (a *audience) ok(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// look opens the rack in a window.
func (a *audience) look(url string, size browser.Size) *browser.Page {
	a.t.Helper()
	p, err := a.Open(size)
	a.ok(err)
	a.t.Cleanup(p.Close)
	a.ok(p.Go(url))
	a.ok(p.Ready(20 * time.Second))
	return p
}

func (a *audience) at(p *browser.Page, selector string) browser.Point {
	a.t.Helper()
	at, err := p.At(selector)
	a.ok(err)
	return at
}

// jacks are the places of two jacks that are in sight together.
func (a *audience) jacks(p *browser.Page, from, to string) (browser.Point, browser.Point) {
	a.t.Helper()
	a.at(p, browser.Jack(from))
	second := a.at(p, browser.Jack(to))
	first := a.at(p, browser.Jack(from))
	if again := a.at(p, browser.Jack(to)); again != second {
		a.t.Fatalf("%s and %s are not in sight together", from, to)
	}
	return first, second
}

// whole is what a page shows of the rack that a hand has set.
const whole = `(m=>JSON.stringify([[...m.values].filter(([a])=>{const i=a.lastIndexOf('/'),x=m.modules.get(a.slice(1,i)),n=a.slice(i+1);return x&&(n in x.params||n in x.text)}).sort(),m.cables.map(c=>c.from+'>'+c.to).sort(),[...m.modules.values()].map(x=>[x.id,x.row,x.hp]).sort(),m.state.scene]))(rackTest.model)`

func (a *audience) whole(p *browser.Page) (text string) {
	a.t.Helper()
	a.ok(p.Eval(whole, &text))
	return text
}

// again starts an instrument that was killed anew, on what it has left.
func (s *session) again(url string) *session {
	s.t.Helper()
	n := &session{t: s.t, dir: s.dir, state: s.state, temp: s.temp, wav: s.wav, take: s.take, log: s.log,
		ended: make(chan struct{}), stopLooking: make(chan struct{}), lookedLast: make(chan struct{})}
	log, err := os.OpenFile(s.log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	args := slices.Clone(s.cmd.Args[1:])
	for i := range args {
		if args[i] == "--web" {
			args[i+1] = strings.TrimPrefix(url[:strings.Index(url, "/?")], "http://")
		}
		switch args[i] { // what was recorded before is never written over
		case "--take":
			n.take = filepath.Join(s.dir, "again.take")
			args[i+1] = n.take
		case "--record":
			n.wav = filepath.Join(s.dir, "again.wav")
			args[i+1] = n.wav
		}
	}
	n.cmd = exec.Command(s.cmd.Path, args...)
	n.cmd.Env, n.cmd.Stdout, n.cmd.Stderr = s.cmd.Env, log, log
	if err := n.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	log.Close()
	go func() { _ = n.cmd.Wait(); close(n.ended) }()
	go n.look()
	s.t.Cleanup(n.clean)
	n.wait(20*time.Second, "the status", func(p *playStatus) bool { n.osc = p.OSC; return p.OSC != "" })
	return n
}

// TestEndToEndBrowser plays a cluster from a browser: what is drawn in the page
// is an edge of the topology and a Service; what is turned is a Deployment; and
// all that look see the same.
func TestEndToEndBrowser(t *testing.T) {
	needE2E(t, "oscsend")
	a := newAudience(t)
	s := startPlay(t, nil, "--backend", "null", "--web", "127.0.0.1:0", "--metrics", "off", "--midi", "off", "--map", "off", "--for", "8m")
	url := s.last().Web
	if url == "" {
		t.Fatal("the status has no address of the page")
	}
	p := a.look(url, browser.Desk)
	s.waitReady(90*time.Second, 4)
	a.ok(p.Wait(5*time.Second, "/converged · 4.4 pods/.test(document.getElementById('state').textContent)"))
	topology := func(ctx context.Context) (string, error) {
		cm, err := s.cluster().CoreV1().ConfigMaps(scenes.DefaultNamespace).Get(ctx, "topology", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		return cm.Data["topology.yaml"], nil
	}
	endpoints := func(ctx context.Context, name string) (n int, err error) {
		list, err := s.cluster().DiscoveryV1().EndpointSlices(scenes.DefaultNamespace).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + name})
		if err != nil {
			return 0, err
		}
		for _, e := range list.Items {
			for _, x := range e.Endpoints {
				if x.TargetRef == nil || x.TargetRef.Kind != "Pod" || !strings.HasPrefix(x.TargetRef.Name, "web-") {
					return 0, fmt.Errorf("%s has an endpoint that is no pod of the Deployment: %+v", name, x.TargetRef)
				}
				if x.Conditions.Ready == nil || *x.Conditions.Ready {
					n++
				}
			}
		}
		return n, nil
	}

	// Where the cable will lead there is nothing yet.
	const drawn = "deployment/web/pods -> service/service-1/selector"
	s.poll(10*time.Second, "the topology as it began", func(ctx context.Context) error {
		text, err := topology(ctx)
		if err != nil {
			return err
		}
		if strings.Contains(text, "service/service-1") {
			t.Errorf("the topology has the Service before its module is there:\n%s", text)
		}
		if _, err := s.cluster().CoreV1().Services(scenes.DefaultNamespace).Get(ctx, "service-1", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the Service is there before its module: %v", err)
		}
		return nil
	})

	// The whole rack in sight.
	a.ok(p.Eval("(()=>{for(let i=0;i<6;i++)document.getElementById('smaller').click()})()", nil))

	// A module is found, stood into the rack, and patched: a Service.
	a.ok(p.Push("#tab-add"))
	a.ok(p.Push("#pane input[type=search]"))
	a.ok(p.Keys("service"))
	a.ok(p.Wait(3*time.Second, "/^Service/.test(document.querySelector('#pane .kind').textContent)||[...document.querySelectorAll('#pane .kind')].some(b=>/^Service/.test(b.textContent))"))
	a.ok(p.Eval("[...document.querySelectorAll('#pane .kind')].find(b=>/^Service/.test(b.textContent)).click()", nil))
	a.ok(p.Wait(5*time.Second, "rackTest.model.modules.has('service/service-1')&&rackTest.drawn()"))
	from, to := a.jacks(p, "deployment/web/pods", "service/service-1/selector")
	began := time.Now()
	a.ok(p.Drag(from, to, 15, 0))
	s.poll(30*time.Second, "the edge in the topology's ConfigMap", func(ctx context.Context) error {
		text, err := topology(ctx)
		if err == nil && !strings.Contains(text, drawn) {
			err = fmt.Errorf("it is\n%s", text)
		}
		return err
	})
	edge := time.Since(began)
	s.poll(45*time.Second, "a Service with four endpoints", func(ctx context.Context) error {
		svc, err := s.cluster().CoreV1().Services(scenes.DefaultNamespace).Get(ctx, "service-1", metav1.GetOptions{})
		if err != nil {
			return err
		}
		n, err := endpoints(ctx, "service-1")
		if err == nil && n != 4 {
			err = fmt.Errorf("its selector is %v and it has %d endpoints", svc.Spec.Selector, n)
		}
		return err
	})
	t.Logf("a cable drawn in the page is an edge after %s and a Service with 4 endpoints after %s", edge.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	// Before it is pulled the page shows what that would change.
	_, to = a.jacks(p, "deployment/web/pods", "service/service-1/selector")
	title := a.at(p, `.module[data-id="service/service-1"] .name`)
	a.ok(p.Move(to, false, 0))
	a.ok(p.Press(to, 0))
	a.ok(p.Move(browser.Point{X: to.X + 10, Y: to.Y + 10}, true, 0))
	if err := p.Wait(10*time.Second, "/^-.*service-1|^-/m.test(document.getElementById('diff')?.textContent??'')"); err != nil {
		t.Errorf("no diff before a cable is pulled: %v", err)
	}
	a.ok(p.Move(title, true, 0))
	a.ok(p.Release(title, 0))
	s.poll(30*time.Second, "the edge is gone, and so are the endpoints", func(ctx context.Context) error {
		text, err := topology(ctx)
		if err != nil {
			return err
		}
		if strings.Contains(text, "service/service-1/selector") {
			return fmt.Errorf("the topology still has it")
		}
		if !strings.Contains(text, "deployment/web/pods -> service/web/selector") {
			t.Errorf("a cable that nobody pulled is gone as well:\n%s", text)
		}
		if n, err := endpoints(ctx, "service-1"); err != nil || n != 0 {
			return fmt.Errorf("%d endpoints, %v", n, err)
		}
		return nil
	})
	a.ok(p.Eval(`document.querySelector('[data-id="service/service-1"]').focus()`, nil))
	a.ok(p.Keys(browser.Delete))
	s.poll(45*time.Second, "the Service is gone", func(ctx context.Context) error {
		_, err := s.cluster().CoreV1().Services(scenes.DefaultNamespace).Get(ctx, "service-1", metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there (%v)", err)
		}
		return nil
	})
	// Undo brings it back, redo takes it again.
	a.ok(p.Push("#undo"))
	a.ok(p.Wait(5*time.Second, "rackTest.model.modules.has('service/service-1')"))
	a.ok(p.Push("#redo"))
	a.ok(p.Wait(5*time.Second, "!rackTest.model.modules.has('service/service-1')"))

	// A knob, by all that turns it.
	knob := browser.Knob("deployment/web", "replicas")
	k := a.at(p, knob)
	desired := func() (n int32) {
		s.poll(10*time.Second, "the Deployment", func(ctx context.Context) error {
			d, err := s.cluster().AppsV1().Deployments(scenes.DefaultNamespace).Get(ctx, "web", metav1.GetOptions{})
			if err == nil {
				n = *d.Spec.Replicas
			}
			return err
		})
		return n
	}
	becomes := func(what string, f func(int32) bool) {
		t.Helper()
		s.poll(10*time.Second, what, func(context.Context) error {
			if n := desired(); !f(n) {
				return fmt.Errorf("the Deployment has %d replicas", n)
			}
			return nil
		})
	}
	a.ok(p.Wheel(k, -100, 0))
	becomes("the wheel adds a replica", func(n int32) bool { return n == 5 })
	a.ok(p.Click(k, 1))
	a.ok(p.Keys(browser.Up))
	becomes("an arrow adds one", func(n int32) bool { return n == 6 })
	// 200 pixels are 0.08 of a travel of 16.
	a.ok(p.Drag(k, browser.Point{X: k.X, Y: k.Y + 200}, 10, input.ModifierShift))
	becomes("a fine drag turns it little", func(n int32) bool { return n == 5 })
	a.ok(p.Keys("2"))
	a.ok(p.Keys(browser.Enter))
	s.deployment(30*time.Second, 2)
	a.ok(p.Drag(k, browser.Point{X: k.X, Y: k.Y - 50}, 10, 0))
	becomes("a drag of 50 pixels turns it up by 0.2 of its travel", func(n int32) bool { return n == 5 })
	a.ok(p.Click(k, 2))
	becomes("a double click is the default", func(n int32) bool { return n == 1 })
	a.ok(p.Keys("3"))
	a.ok(p.Keys(browser.Enter))
	s.deployment(30*time.Second, 3)
	// The other way: what others turn is seen, and soon.
	s.replicas(4)
	a.ok(p.Wait(3*time.Second, fmt.Sprintf(`document.querySelector('%s').getAttribute('aria-valuenow')==='4'`, knob)))
	s.deployment(30*time.Second, 4)

	// Two browsers agree, and a reload loses nothing.
	q := a.look(url, browser.Tablet)
	a.ok(p.Front())
	untouched := a.whole(q)
	k = a.at(p, browser.Knob("voice/drone", "release"))
	a.ok(p.Drag(k, browser.Point{X: k.X, Y: k.Y - 33}, 12, 0))
	k = a.at(p, browser.Knob("voice/chord", "bright"))
	a.ok(p.Drag(k, browser.Point{X: k.X, Y: k.Y - 21}, 12, 0))
	from, to = a.jacks(p, "voice/drone/left", "voice/chord/velocity")
	a.ok(p.Drag(from, to, 8, 0))
	a.ok(p.Wait(5*time.Second, "rackTest.model.cableInto('voice/chord/velocity')"))
	agree := func(what string) {
		t.Helper()
		s.poll(5*time.Second, what, func(context.Context) error {
			if x, y := a.whole(p), a.whole(q); x != y {
				return fmt.Errorf("one has\n%s\nthe other\n%s", x, y)
			}
			return nil
		})
	}
	agree("two browsers agree")
	if now := a.whole(q); now == untouched || !strings.Contains(now, `"voice/drone/left>voice/chord/velocity"`) {
		t.Errorf("the browsers agree on what there was before:\n%s", now)
	}
	// And the other way round.
	before := a.whole(p)
	a.ok(q.Front())
	k = a.at(q, browser.Knob("voice/drone", "attack"))
	a.ok(q.Drag(k, browser.Point{X: k.X, Y: k.Y - 25}, 8, 0))
	s.poll(5*time.Second, "a knob of the other browser is seen", func(context.Context) error {
		if a.whole(p) == before {
			return fmt.Errorf("the first has not changed")
		}
		return nil
	})
	agree("two browsers agree on a knob of the other")
	a.ok(p.Front())
	before = a.whole(p)
	a.ok(p.Reload())
	a.ok(p.Ready(20 * time.Second))
	if after := a.whole(p); after != before {
		t.Errorf("after a reload the page has\n%s\nbefore\n%s", after, before)
	}

	// Whoever is not invited gets nothing.
	a.strangers(url)
	a.trespass(q, url)
	if after := a.whole(p); after != before {
		t.Errorf("what strangers tried has changed the rack:\n%s\nbefore\n%s", after, before)
	}

	// Screens, for eyes and for whoever has none.
	dir := os.Getenv("K8S_SYNTH_SHOTS")
	if dir == "" {
		dir = t.TempDir()
	}
	q.Close()
	a.gallery(s, url, dir)

	// Killed, it comes back, and so does the page by itself.
	a.ok(p.Front())
	before = a.whole(p)
	time.Sleep(300 * time.Millisecond) // the last knob is 100 ms from the disk
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	<-s.ended
	a.ok(p.Wait(5*time.Second, "!document.getElementById('away').hidden"))
	n := s.again(url)
	if got := n.last().Web; got != url {
		t.Errorf("the page has the address %s, before %s", got, url)
	}
	a.ok(p.Wait(15*time.Second, "document.getElementById('away').hidden"))
	s.poll(10*time.Second, "nothing is lost by a kill", func(context.Context) error {
		if after := a.whole(p); after != before {
			return fmt.Errorf("it has\n%s\nbefore\n%s", after, before)
		}
		return nil
	})
	if list := slices.DeleteFunc(p.Problems(), func(s string) bool {
		return strings.Contains(s, "WebSocket") || strings.Contains(s, "ERR_CONNECTION")
	}); len(list) > 0 {
		t.Errorf("the console has %q", list)
	}
}

// strangers try to get in.
func (a *audience) strangers(url string) {
	a.t.Helper()
	base := url[:strings.Index(url, "/?")]
	token := url[strings.Index(url, "token=")+6:]
	for _, c := range []struct {
		name, path string
		header     map[string]string
		code       int
	}{
		{"no cookie", "/specs.json", nil, 401},
		{"a wrong cookie", "/specs.json", map[string]string{"Cookie": "k8s-synth=guess"}, 401},
		{"another origin", "/specs.json", map[string]string{"Cookie": "k8s-synth=" + token, "Origin": "http://evil.example"}, 403},
		{"a rebound name", "/specs.json", map[string]string{"Cookie": "k8s-synth=" + token, "Host": "evil.example"}, 421},
		{"a picture of another page", "/panel/vco.svg", map[string]string{"Cookie": "k8s-synth=" + token, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403},
		{"a socket of another origin", "/ws", map[string]string{"Cookie": "k8s-synth=" + token, "Origin": "http://evil.example", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}, 403},
		{"the player", "/specs.json", map[string]string{"Cookie": "k8s-synth=" + token, "Origin": base}, 200},
	} {
		r, err := http.NewRequest("GET", base+c.path, nil)
		a.ok(err)
		for k, v := range c.header {
			if k == "Host" {
				r.Host = v
			}
			r.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(r)
		a.ok(err)
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		a.ok(err)
		if resp.StatusCode != c.code {
			a.t.Errorf("%s: %d, want %d", c.name, resp.StatusCode, c.code)
		}
		h := resp.Header
		if c.code != 200 && (len(text) > 300 || strings.Contains(string(text), token) || strings.ContainsAny(string(text), "{<") || h.Get("Set-Cookie") != "" || h.Get("Access-Control-Allow-Origin") != "") {
			a.t.Errorf("%s: it is refused, and gets %q %v", c.name, text, h)
		}
		if c.code == 200 && !strings.Contains(string(text), `"plates"`) {
			a.t.Errorf("%s gets %.100q", c.name, text)
		}
	}
}

// needAxe tells whether there is axe-core. Where there is none a test named axe
// is skipped and says why, so that what was not looked at is seen in what ran.
func needAxe(t *testing.T) (there bool) {
	t.Helper()
	return t.Run("axe", func(t *testing.T) {
		if err := browser.NeedAxe(); err != nil {
			t.Skip(err)
		}
	}) && browser.NeedAxe() == nil
}

// trespass opens a page of another origin in a browser that holds the key: its
// scripts, pictures and sockets carry the cookie, and get nothing all the same.
func (a *audience) trespass(w *browser.Page, url string) {
	a.t.Helper()
	base := url[:strings.Index(url, "/?")]
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>elsewhere</title>")
	}))
	defer elsewhere.Close()
	a.ok(w.Go(elsewhere.URL))
	var got map[string]string
	a.ok(w.Eval(fmt.Sprintf(`(async()=>{
const base=%q,got={}
const look=async(name,f)=>{try{got[name]=String(await f())}catch(e){got[name]='refused'}}
await look('fetch',async()=>(await (await fetch(base+'/specs.json',{credentials:'include'})).text()).slice(0,20))
await look('opaque',async()=>(await (await fetch(base+'/specs.json',{mode:'no-cors',credentials:'include'})).text())||'refused')
await look('socket',()=>new Promise((ok,no)=>{const w=new WebSocket(base.replace('http','ws')+'/ws');w.onopen=()=>{w.send(JSON.stringify({act:{name:'panic'}}));ok('open')};w.onerror=no}))
await look('script',()=>new Promise((ok,no)=>{const s=document.createElement('script');s.src=base+'/app.js';s.onload=()=>ok('loaded');s.onerror=no;document.head.append(s)}))
await look('picture',()=>new Promise((ok,no)=>{const s=new Image();s.src=base+'/panel/vco.svg';s.onload=()=>ok('loaded');s.onerror=no}))
return got})()`, base), &got))
	if len(got) != 5 {
		a.t.Errorf("only these were tried: %v", got)
	}
	for name, v := range got {
		if v != "refused" {
			a.t.Errorf("%s: a page elsewhere got %q", name, v)
		}
	}
}

// gallery looks at every screen in the default scene and the one with every
// module of the cluster, writes pictures and asks axe-core.
func (a *audience) gallery(s *session, url, dir string) {
	t := a.t
	axe := needAxe(t)
	checked := 0
	check := func(p *browser.Page, what string) {
		t.Helper()
		if !axe {
			return
		}
		all, err := p.Axe()
		a.ok(err)
		checked++
		for _, f := range browser.Serious(all) {
			t.Errorf("%s: %s", what, f)
		}
	}
	for _, scene := range []string{"default", "cluster"} {
		if scene != "default" {
			p := a.look(url, browser.Desk)
			a.ok(p.Push("#tab-scenes"))
			a.ok(p.Wait(10*time.Second, fmt.Sprintf("[...document.querySelectorAll('#pane .kind strong')].some(b=>/ %s$/.test(b.textContent))", scene)))
			a.ok(p.Eval(fmt.Sprintf("[...document.querySelectorAll('#pane .kind')].find(b=>/ %s$/.test(b.querySelector('strong').textContent)).click()", scene), nil))
			a.ok(p.Wait(20*time.Second, fmt.Sprintf("rackTest.model.state.scene===%q&&rackTest.drawn()", scene)))
			p.Close()
			s.wait(60*time.Second, "a cluster at rest", func(p *playStatus) bool { return p.Cluster.Synced && p.Cluster.Ready == p.Cluster.Desired })
		}
		for _, size := range []browser.Size{browser.Desk, browser.Tablet, browser.Phone} {
			p := a.look(url, size)
			first := `[...rackTest.model.modules.keys()].find(k=>k.startsWith('deployment/'))`
			if size != browser.Phone {
				a.ok(p.Eval(`document.querySelector('[data-id="'+`+first+`+'"]').focus()`, nil))
				a.ok(p.Wait(5*time.Second, "!!document.querySelector('#pane textarea')"))
			}
			time.Sleep(400 * time.Millisecond)
			a.ok(p.Shot(filepath.Join(dir, fmt.Sprintf("rack-%s-%s.png", scene, size.Name))))
			if scene == "default" {
				tabs := []string{"module", "add", "scenes", "pods", "log", "plots"}
				if size == browser.Phone {
					a.ok(p.Eval("document.getElementById('aside').click()", nil))
					tabs = []string{"scenes"}
				} else if size == browser.Tablet {
					tabs = nil
				}
				for _, tab := range tabs {
					a.ok(p.Push("#tab-" + tab))
					time.Sleep(300 * time.Millisecond)
					check(p, fmt.Sprintf("%s %s", size.Name, tab))
					a.ok(p.Shot(filepath.Join(dir, fmt.Sprintf("side-%s-%s.png", tab, size.Name))))
				}
				if size == browser.Phone {
					a.ok(p.Eval("document.getElementById('aside').click()", nil))
				}
			}
			a.ok(p.Eval("document.getElementById('stage').click()", nil))
			time.Sleep(400 * time.Millisecond)
			a.ok(p.Shot(filepath.Join(dir, fmt.Sprintf("stage-%s-%s.png", scene, size.Name))))
			if scene == "default" && size != browser.Tablet {
				check(p, size.Name+" stage")
			}
			a.ok(p.Eval("document.getElementById('stage').click()", nil))
			if list := p.Problems(); len(list) > 0 {
				t.Errorf("%s on the %s: the console has %q", scene, size.Name, list)
			}
			p.Close()
		}
	}
	t.Logf("axe-core looked at %d screens", checked)
	if axe && checked < 9 {
		t.Errorf("axe-core looked at %d screens, want 9", checked)
	}
}

// heardScene is a rack that makes a sound at once when its button is pushed.
const heardScene = `version: 1
name: heard
title: One hand claps
modules:
  - id: drum/hand
  - id: audio_out/main
cables:
  - drum/hand/left -> audio_out/main/left
  - drum/hand/right -> audio_out/main/right
`

// TestProofBrowserListens measures how long it takes from a push in the page
// until the page hears it, that nothing is missing in half a minute, and what
// open pages cost the audio thread.
func TestProofBrowserListens(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("measures for a minute and a half; K8S_SYNTH_PROOF=1 runs it")
	}
	needPrograms(t)
	a := newAudience(t)
	file := filepath.Join(t.TempDir(), "heard.yaml")
	if err := os.WriteFile(file, []byte(heardScene), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startPlay(t, nil, "--backend", "null", "--web", "127.0.0.1:0", "--metrics", "off", "--midi", "off", "--map", "off", "--scene", file, "--for", "4m")
	url := s.last().Web
	p, err := a.Open(browser.Desk)
	a.ok(err)
	t.Cleanup(p.Close)
	// What measures is a worklet of the test's own, which the page's policy would refuse.
	a.ok(p.Do(cdppage.SetBypassCSP(true)))
	a.ok(p.Go(url))
	a.ok(p.Ready(20 * time.Second))
	a.ok(p.Push("#listen"))
	a.ok(p.Wait(10*time.Second, "rackTest.sound.told&&rackTest.sound.told.waits>0"))
	// The control plane starts beside it, and the page learns how even the way is.
	s.wait(90*time.Second, "a cluster", func(p *playStatus) bool { return p.Cluster.Synced && p.Cluster.Boot == "ready" })
	time.Sleep(5 * time.Second)
	type told struct{ Waits, Gaps, Lost, Skipped, Speed float64 }
	var heard struct {
		Pushes      []float64
		Began, Told told
		Base        float64
		Seconds     float64
	}
	a.ok(p.EvalFor(90*time.Second, `(async()=>{
const c=rackTest.sound.context
const code='registerProcessor("ear",class extends AudioWorkletProcessor{constructor(){super();this.quiet=0}process(i){const x=i[0][0];if(x)for(let k=0;k<x.length;k++){if(Math.abs(x[k])>0.02){if(this.quiet>sampleRate*0.2)this.port.postMessage(currentTime+k/sampleRate);this.quiet=0}else this.quiet++}return true}})'
await c.audioWorklet.addModule(URL.createObjectURL(new Blob([code],{type:'text/javascript'})))
const ear=new AudioWorkletNode(c,'ear',{numberOfOutputs:0});rackTest.sound.node.connect(ear)
let onset;ear.port.onmessage=e=>onset?.(e.data)
const wait=ms=>new Promise(r=>setTimeout(r,ms)),pushes=[],began=rackTest.sound.told,t0=performance.now()
for(let i=0;i<25;i++){
 await wait(900+Math.random()*90)
 const at=performance.now(),heard=new Promise(r=>onset=r)
 rackTest.link.send({set:{address:'/drum/hand/hat',value:10}});rackTest.link.send({set:{address:'/drum/hand/hat',value:0}})
 const t=await Promise.race([heard,wait(800)]);onset=undefined
 if(t===undefined){pushes.push(-1);continue}
 const ts=c.getOutputTimestamp()
 // When that frame leaves the machine, on the page's clock.
 pushes.push(ts.performanceTime+(t-ts.contextTime)*1000-at)
}
await wait(6000)
return{pushes,began,told:rackTest.sound.told,seconds:(performance.now()-t0)/1000,base:c.baseLatency+(c.outputLatency||0)}})()`, &heard))
	list := slices.Clone(heard.Pushes)
	slices.Sort(list)
	t.Logf("from a push in the page until it is heard there, %d times: p50 %.0f ms, p95 %.0f ms, longest %.0f ms, of which %.0f ms wait in the page and %.0f ms are the browser's", len(list), list[len(list)/2], list[len(list)*95/100], list[len(list)-1], 1000*heard.Told.Waits, 1000*heard.Base)
	gaps, lost := heard.Told.Gaps-heard.Began.Gaps, heard.Told.Lost-heard.Began.Lost
	t.Logf("in %.0f s of listening: %.0f gaps, %.0f frames lost, %.0f left out, speed %.5f; %.0f gaps while the cluster started", heard.Seconds, gaps, lost, heard.Told.Skipped-heard.Began.Skipped, heard.Told.Speed, heard.Began.Gaps)
	if list[0] < 0 || list[len(list)*95/100] > 150 {
		t.Errorf("a push is heard after more than 150 ms: %.0f", list)
	}
	if gaps > 0 || lost > 0 || heard.Seconds < 30 {
		t.Errorf("%.0f gaps, %.0f frames lost in %.0f s", gaps, lost, heard.Seconds)
	}
	p.Close()

	// What pages cost.
	load := func(what string) (float64, uint64) {
		before := s.wait(5*time.Second, "status", func(*playStatus) bool { return true })
		var sum, most float64
		n := 0
		for end := time.Now().Add(6 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			p := s.last()
			sum, n = sum+p.Audio.Load, n+1
			most = max(most, p.Audio.Load)
		}
		after := s.last()
		u := after.Audio.Underruns - before.Audio.Underruns
		t.Logf("%s: render load %.2f %% on average, %.2f %% at most, %d underruns", what, 100*sum/float64(n), 100*most, u)
		return sum / float64(n), uint64(u)
	}
	time.Sleep(2 * time.Second)
	none, u0 := load("no page")
	var pages []*browser.Page
	for range 4 {
		pages = append(pages, a.look(url, browser.Desk))
	}
	for _, p := range pages[:2] {
		a.ok(p.Eval("document.getElementById('listen').click()", nil))
	}
	four, u4 := load("four pages, two of which listen")
	for _, p := range pages {
		p.Close()
	}
	time.Sleep(2 * time.Second)
	after, _ := load("no page again")
	if four > 1.5*max(none, after)+0.01 {
		t.Errorf("pages cost the audio thread: a load of %.2f %%, without them %.2f %%", 100*four, 100*none)
	}
	if u4 > u0 {
		t.Errorf("%d underruns with pages open, %d without", u4, u0)
	}
}

// TestEndToEndBrowserStage brings scenes from the page: a snapshot is a file that
// comes back with every knob, what waits for a bar can be called off, and a
// fader goes the way to another scene.
func TestEndToEndBrowserStage(t *testing.T) {
	needE2E(t)
	a := newAudience(t)
	s := startPlay(t, nil, "--backend", "null", "--web", "127.0.0.1:0", "--metrics", "off", "--midi", "off", "--map", "off", "--for", "4m")
	url := s.last().Web
	p, q := a.look(url, browser.Desk), a.look(url, browser.Tablet)
	both := func(what, js string) {
		t.Helper()
		for _, p := range []*browser.Page{p, q} {
			if err := p.Wait(10*time.Second, js); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	a.ok(p.Front())
	a.ok(p.Push("#tab-scenes"))
	a.ok(p.Wait(10*time.Second, `!!document.querySelector('#pane .kind[data-scene="cluster"]')`))

	// Stored with a knob turned, and recalled after it was turned again.
	knob := browser.Knob("deployment/web", "replicas")
	turn := func(to string) {
		t.Helper()
		a.ok(p.Eval(fmt.Sprintf("document.querySelector('%s').focus()", knob), nil))
		a.ok(p.Keys(to))
		a.ok(p.Keys(browser.Enter))
		both("the knob", fmt.Sprintf("document.querySelector('%s').getAttribute('aria-valuenow')==='%s'", knob, to))
	}
	turn("2")
	a.ok(p.Push("#pane .of-press label:has([value=store])"))
	a.ok(p.Push("#pane .pad:nth-child(7)"))
	both("the slot is filled", "document.querySelector('#deck .pad:nth-child(7)').classList.contains('filled')")
	turn("5")
	a.ok(p.Push("#pane .pad:nth-child(7)"))
	both("the slot plays", fmt.Sprintf("rackTest.model.state.scene==='slot-7'&&document.querySelector('%s').getAttribute('aria-valuenow')==='2'", knob))

	// What waits is counted down in every page, and any of them may call it off.
	// A phrase begins now. The jack falls later: both on one frame are no trigger.
	a.ok(p.Eval("rackTest.link.send({set:{address:'/clock/main/reset',value:10}})", nil))
	a.ok(p.Push("#pane .of-at label:has([value=phrase])"))
	a.ok(p.Push(`#pane .kind[data-scene="cluster"]`))
	both("it waits", "!document.querySelector('.coming').hidden&&document.querySelector('.coming').dataset.what==='waits'&&/^cluster/.test(document.querySelector('.coming').textContent)")
	s.wait(5*time.Second, "it waits", func(p *playStatus) bool { return p.Waiting != nil && p.Waiting.Scene == "cluster" })
	a.ok(p.Eval("rackTest.link.send({set:{address:'/clock/main/reset',value:0}})", nil))
	a.ok(q.Front())
	a.ok(q.Push("#deck .cancel"))
	both("it does not come", "document.querySelector('.coming').hidden&&rackTest.model.state.scene==='slot-7'")
	if w := s.wait(5*time.Second, "nothing waits", func(p *playStatus) bool { return p.Waiting == nil }); w.Scene != "slot-7" {
		t.Errorf("%s plays", w.Scene)
	}

	// A morph on the fader: past the cut it is the other scene, and back again.
	a.ok(p.Front())
	a.ok(p.Push("#pane .of-way label:has([value=morph])"))
	a.ok(p.Eval("document.querySelector('#pane .of-seconds input').focus()", nil))
	a.ok(p.Keys(browser.Home))
	a.ok(p.Push(`#pane .kind[data-scene="cluster"]`))
	both("the fader", "!document.querySelector('.fader').hidden")
	var w float64
	a.ok(p.Eval("document.querySelector('.fader').clientWidth-document.querySelector('.thumb').offsetWidth", &w))
	f := a.at(p, "#deck .fader")
	at := func(x float64) func(*playStatus) bool {
		return func(p *playStatus) bool { return p.Morph != nil && math.Abs(p.Morph.Position-x) < 0.02 && p.Morph.Held }
	}
	a.ok(p.Drag(browser.Point{X: f.X - w/3, Y: f.Y}, browser.Point{X: f.X + w*4/15, Y: f.Y}, 12, 0))
	if m := s.wait(5*time.Second, "the fader is at 0.6", at(0.6)); m.Scene != "cluster" {
		t.Errorf("past the cut %s plays", m.Scene)
	}
	both("both pages are there", "Math.abs(+document.querySelector('.fader').getAttribute('aria-valuenow')-60)<=2&&rackTest.model.state.scene==='cluster'")
	a.ok(p.Drag(f, browser.Point{X: f.X - w*3/10, Y: f.Y}, 12, 0))
	if m := s.wait(5*time.Second, "the fader is at 0.3", at(0.3)); m.Scene != "slot-7" {
		t.Errorf("before the cut %s plays", m.Scene)
	}
	a.ok(p.Push("#deck .cancel"))
	both("the morph is back where it began", "document.querySelector('.coming').hidden&&rackTest.model.state.scene==='slot-7'")
	for _, p := range []*browser.Page{p, q} {
		if list := p.Problems(); len(list) > 0 {
			t.Errorf("the console has %q", list)
		}
	}
}
