package main

import (
	"context"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"

	"github.com/k8s-synth/k8s-synth/mapping/web/browser"
	"github.com/k8s-synth/k8s-synth/mapping/web/site"
)

// TestEndToEndSite opens the pages in a browser, at the sizes of a desk, a
// tablet and a phone, dark and light: nothing is wider than its screen, no
// picture is missing, nothing is wrong on the console, and axe-core finds no
// fault that keeps somebody out.
func TestEndToEndSite(t *testing.T) {
	if os.Getenv("K8S_SYNTH_E2E") != "1" {
		t.Skip("runs with K8S_SYNTH_E2E=1")
	}
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	server := httptest.NewServer(aboutPages(http.NotFoundHandler(), slog.New(slog.DiscardHandler)))
	defer server.Close()
	b, err := browser.Start(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	axe := needAxe(t)
	looked := 0
	for _, size := range []browser.Size{browser.Desk, browser.Tablet, browser.Phone} {
		p, err := b.Open(size)
		if err != nil {
			t.Fatal(err)
		}
		for _, scheme := range []string{"dark", "light"} {
			if err := p.Do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}})); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"", "modules.html", "module/deployment.html", "module/drum.html", "signals.html", "backplane.html", "listen.html", "gallery.html", "nowhere.html"} {
				what := "/about/" + name + " on " + size.Name + ", " + scheme
				if err := p.Go(server.URL + "/about/" + name); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				var wide, screen, lost int
				if err := p.Eval("document.documentElement.scrollWidth", &wide); err != nil {
					t.Fatal(err)
				}
				if err := p.Eval("innerWidth", &screen); err != nil {
					t.Fatal(err)
				}
				if wide > screen {
					t.Errorf("%s is %d wide on a screen of %d", what, wide, screen)
				}
				if err := p.Eval("Promise.all([...document.images].map(i=>{i.loading='eager';return i.decode().then(()=>0,()=>1)})).then(a=>a.reduce((x,y)=>x+y,0))", &lost); err != nil {
					t.Fatal(err)
				}
				if lost > 0 {
					t.Errorf("%s: %d pictures are missing", what, lost)
				}
				var strange []string
				if err := p.Eval("performance.getEntriesByType('resource').map(e=>e.name).filter(n=>!n.startsWith(location.origin)&&!n.startsWith('data:'))", &strange); err != nil {
					t.Fatal(err)
				}
				if len(strange) > 0 {
					t.Errorf("%s fetches from elsewhere: %v", what, strange)
				}
				for _, problem := range p.Problems() {
					if name != "nowhere.html" || !strings.Contains(problem, "404") {
						t.Errorf("%s: %s", what, problem)
					}
				}
				if axe {
					all, err := p.Axe()
					if err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					for _, f := range browser.Serious(all) {
						t.Errorf("%s: %s", what, f)
					}
				}
				looked++
			}
		}
		p.Close()
	}
	t.Logf("%d pages looked at", looked)
}

// TestEndToEndSiteSound listens in a browser: to a sound that the instrument
// renders when it is asked for, and to one that was written as a file. Both
// play, tell their length, and can be sought in.
func TestEndToEndSiteSound(t *testing.T) {
	if os.Getenv("K8S_SYNTH_E2E") != "1" {
		t.Skip("runs with K8S_SYNTH_E2E=1")
	}
	if _, err := browser.Find(); err != nil {
		t.Skip(err)
	}
	// For the process that renders. t.Setenv is not for tests beside others, none
	// of which starts this file.
	if err := os.Setenv("K8S_SYNTH_AS_PROGRAM", "1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Unsetenv("K8S_SYNTH_AS_PROGRAM") })
	r := newSoundRoom(slog.New(slog.DiscardHandler))
	r.dir = filepath.Join(t.TempDir(), "cache")
	asked := make(chan string, 16)
	r.render = func(ctx context.Context, name string, tell func(float64)) ([]byte, error) {
		asked <- name
		if name != "default" {
			// For as long as somebody waits.
			tell(0)
			tell(0.5)
			<-ctx.Done()
			asked <- "off " + name
			return nil, ctx.Err()
		}
		return renderApart(ctx, name, tell) // a machine that tests may have nothing to spare
	}
	served := httptest.NewServer(aboutWith(http.NotFoundHandler(), slog.New(slog.DiscardHandler), r))
	defer served.Close()
	b, err := browser.Start(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	p, err := b.Open(browser.Desk)
	if err != nil {
		t.Fatal(err)
	}
	eval := func(js string, out any) {
		t.Helper()
		if err := p.EvalFor(30*time.Second, js, out); err != nil {
			t.Fatal(err)
		}
	}
	wait := func(limit time.Duration, js string) {
		t.Helper()
		if err := p.Wait(limit, js); err != nil {
			t.Fatal(err)
		}
	}
	is := func(want string) {
		t.Helper()
		select {
		case got := <-asked:
			if got != want {
				t.Fatalf("%q, want %q", got, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("no %q", want)
		}
	}
	// plays listens to what is in the box of a piece.
	plays := func(box string) {
		t.Helper()
		audio := "document.querySelector('" + box + " audio')"
		eval("("+audio+".muted=true,"+audio+".play().then(()=>1))", nil)
		wait(time.Minute, audio+".readyState==4&&"+audio+".currentTime>0.3")
		var seconds float64
		eval(audio+".duration", &seconds)
		if math.Abs(seconds-siteSeconds) > 0.01 {
			t.Errorf("%s is %g s, want %g", box, seconds, siteSeconds)
		}
		eval("new Promise((ok,no)=>{const a="+audio+";a.addEventListener('seeked',()=>ok(1),{once:true});a.addEventListener('error',()=>no(a.error.message));a.currentTime=21})", nil)
		wait(time.Minute, audio+".currentTime>21.3&&"+audio+".currentTime<27")
		// The line over the score is where the sound is.
		wait(10*time.Second, "(()=>{const h=document.querySelector('"+box+" .fig.wide .playhead');const x=+h.getAttribute('transform').match(/[\\d.]+/)[0];const d=h.dataset;return Math.abs((x-d.from)/(d.to-d.from)*d.seconds-"+audio+".currentTime)<0.6})()")
		// A click there goes to its place.
		eval("(()=>{const f=document.querySelector('"+box+" .fig.wide'),b=f.getBoundingClientRect();f.dispatchEvent(new MouseEvent('click',{bubbles:true,clientX:b.left+b.width/6,clientY:b.top+b.height/2}))})()", nil)
		wait(time.Minute, audio+".currentTime>4.5&&"+audio+".currentTime<9")
		eval(audio+".pause()", nil)
	}
	if err := p.Go(served.URL + "/about/listen.html"); err != nil {
		t.Fatal(err)
	}
	button := func(piece string) string { return "#" + piece + " .making button" }
	var hidden bool
	eval("document.querySelector('#default audio').hidden", &hidden)
	if !hidden {
		t.Error("a sound that is not there can be played")
	}
	// Called off by hand, by another, and by leaving the page.
	eval("document.querySelector('"+button("drain")+"').click()", nil)
	is("drain")
	wait(time.Minute, "document.querySelector('"+button("drain")+"').textContent==='Stop'")
	eval("document.querySelector('"+button("drain")+"').click()", nil)
	is("off drain")
	eval("document.querySelector('"+button("service")+"').click()", nil)
	is("service")
	eval("document.querySelector('"+button("midi")+"').click()", nil)
	is("off service")
	is("midi")
	if err := p.Go(served.URL + "/about/gallery.html"); err != nil {
		t.Fatal(err)
	}
	is("off midi")
	if err := p.Go(served.URL + "/about/listen.html"); err != nil {
		t.Fatal(err)
	}
	eval("document.querySelector('"+button("default")+"').click()", nil)
	is("default")
	wait(time.Minute, "document.querySelector('#default progress').value>0")
	wait(9*time.Minute, "!document.querySelector('#default audio').hidden")
	wait(time.Minute, "!document.querySelector('#default audio').paused")
	wait(10*time.Second, "document.querySelectorAll('#default .wave').length==2")
	plays("#default")
	for _, problem := range p.Problems() {
		t.Error(problem)
	}
	// As files, with the first of the pieces only.
	cfg, err := siteConfig()
	if err != nil {
		t.Fatal(err)
	}
	sounds, err := renderExamples(context.Background(), cfg.Pieces[:1], siteSeconds, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s, err := site.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := s.Write(dir, sounds, false); err != nil {
		t.Fatal(err)
	}
	files := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer files.Close()
	for _, at := range []string{files.URL, "file://" + dir} {
		if err := p.Go(at + "/index.html"); err != nil {
			t.Fatal(err)
		}
		plays(".player")
		for _, problem := range p.Problems() {
			t.Errorf("%s: %s", at, problem)
		}
	}
}
