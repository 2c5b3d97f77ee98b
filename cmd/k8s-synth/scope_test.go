package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// TestScope: what the running instrument answers for a scope is the tone that
// is patched to it.
func TestScope(t *testing.T) {
	patch := func(scopes ...string) *instrument.Patch {
		p := &instrument.Patch{Modules: []instrument.Module{{ID: "vco/a"}}}
		for _, s := range scopes {
			p.Modules = append(p.Modules, instrument.Module{ID: instrument.ModuleID("scope/" + s)})
			p.Cables = append(p.Cables, instrument.Cable{From: instrument.JackRef{Module: "vco/a", Jack: "sine"}, To: instrument.JackRef{Module: instrument.ModuleID("scope/" + s), Jack: "a"}})
		}
		return p
	}
	ask := func(t *testing.T, patch *instrument.Patch, play int, query string) *httptest.ResponseRecorder {
		t.Helper()
		p := &player{calls: make(chan func()), rack: mapping.NewRack(mapping.Config{SampleRate: 48000, Channels: 2})}
		if err := p.rack.Load(patch); err != nil {
			t.Fatal(err)
		}
		out := [][]float32{make([]float32, 4800), make([]float32, 4800)}
		for range play {
			p.rack.Engine.Render(out, nil)
		}
		done := make(chan struct{})
		defer close(done)
		go func() {
			for {
				select {
				case f := <-p.calls:
					f()
				case <-done:
					return
				}
			}
		}()
		w := httptest.NewRecorder()
		p.serveScope(w, httptest.NewRequest(http.MethodGet, "/scope"+query, nil))
		return w
	}
	w := ask(t, patch("main"), 5, "")
	var got scopePicture
	if err := json.NewDecoder(w.Body).Decode(&got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d, %v", w.Code, err)
	}
	low, high := float32(0), float32(0)
	for _, s := range got.Trace.A[:got.Trace.Points] {
		low, high = min(low, s.Low), max(high, s.High)
	}
	if got.Name != "main" || !got.Trace.Triggered || high < 4.9 || high > 5.1 || low > -4.9 || low < -5.1 {
		t.Errorf("scope %q sees %v to %v V, triggered %v; want a sine of ±5 V", got.Name, low, high, got.Trace.Triggered)
	}
	for name, c := range map[string]struct {
		patch *instrument.Patch
		play  int
		query string
		code  int
		want  string
	}{
		"none":      {patch(), 1, "", http.StatusNotFound, "the patch has no scope"},
		"which":     {patch("a", "b"), 1, "", http.StatusNotFound, "name one of a, b"},
		"unknown":   {patch("a"), 1, "?name=b", http.StatusNotFound, `there is no scope "b"; there is a`},
		"too early": {patch("a"), 0, "?name=a", http.StatusServiceUnavailable, "no picture was taken yet"},
	} {
		t.Run(name, func(t *testing.T) {
			w := ask(t, c.patch, c.play, c.query)
			if w.Code != c.code || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, c.code, c.want)
			}
		})
	}
}
