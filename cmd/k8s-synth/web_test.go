package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/web"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// webPlayer is a player whose rack tells it of edits, as the running one's does.
func webPlayer(t *testing.T) *player {
	t.Helper()
	p := stagePlayer(t)
	p.rack.Wired = p.wired
	p.rack.Topology() // what the scene says is told
	return p
}

// during does what the control goroutine does while f runs on another one.
func (p *player) during(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	p.until(t, 20*time.Second, "an answer", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
}

// asks does what a page asks for, on a goroutine of the page.
func (p *player) asks(t *testing.T, r web.Request) (result any, err error) {
	t.Helper()
	p.during(t, func() {
		result, err = p.webDo("web 1", r)
		if later, ok := result.(web.Later); ok && err == nil {
			result, err = later.Work(t.Context())
		}
	})
	p.waiting() // knobs that were turned
	return result, err
}

// cables are those of the patch, as text, sorted.
func (p *player) cables() (list []string) {
	for _, c := range p.rack.Patch().Cables {
		list = append(list, mapping.FormatCable(c))
	}
	slices.Sort(list)
	return list
}

func (p *player) holder(t *testing.T, input string) string {
	t.Helper()
	to, err := instrument.ParseJackRef(input)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range p.rack.Patch().Cables {
		if c.To == to {
			return c.From.String()
		}
	}
	return ""
}

// TestWebRepatch: a cable's end that is moved is one edit for the rack, for
// undo, and for the cluster; what is refused moves nothing and leaves no trace.
func TestWebRepatch(t *testing.T) {
	p := webPlayer(t)
	if err := p.rack.Add(instrument.Module{ID: "service/other", Params: map[string]float64{}, Text: map[string]string{}}, ""); err != nil {
		t.Fatal(err)
	}
	told := func() (n int) {
		for {
			if _, changed := p.rack.Topology(); !changed {
				return n
			}
			n++
		}
	}
	told()
	before := p.cables()
	repatch := func(from, to string, pull ...string) error {
		_, err := p.asks(t, web.Request{Repatch: &web.Repatch{From: from, To: to, Pull: pull}})
		return err
	}

	// What cannot be is refused whole.
	for _, c := range []struct {
		from, to string
		pull     []string
		want     string
	}{
		{"voice/chord/left", "service/other/selector", []string{"mixer/main/left_1"}, "service/other/selector"},
		{"deployment/web/pods", "service/nobody/selector", []string{"service/web/selector"}, "nobody"},
		{"deployment/web/nothing", "service/other/selector", []string{"service/web/selector"}, "nothing"},
		{"deployment/web/running", "voice/chord/open", []string{"voice/chord/gate"}, "voice/chord/open holds a cable from deployment/web/ready; pull it first"},
		{"deployment/web/pods", "service/other/selector", []string{"service/other/selector"}, "service/other/selector holds no cable"},
		{"deployment/web/pods", "service/other/selector", []string{"service/web/selector", "service/web/selector"}, "twice"},
		{"deployment/web/pods", "service/other/selector", []string{"service/web"}, "kind/name/jack"},
		{"deployment", "service/other/selector", []string{"service/web/selector"}, "kind/name/jack"},
	} {
		if err := repatch(c.from, c.to, c.pull...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s -> %s, pull %s: %v, want %q", c.from, c.to, c.pull, err, c.want)
		}
		if now := p.cables(); !slices.Equal(now, before) {
			t.Fatalf("%s -> %s was refused, and the cables are\n%s", c.from, c.to, strings.Join(now, "\n"))
		}
		if c, ok := p.history.Next(); ok {
			t.Fatalf("what was refused can be undone: %+v", c)
		}
	}
	if n := told(); n != 0 {
		t.Errorf("the cluster is told %d times of what was refused", n)
	}

	// An end that moves to another Service.
	if err := repatch("deployment/web/pods", "service/other/selector", "service/web/selector"); err != nil {
		t.Fatal(err)
	}
	if a, b := p.holder(t, "service/web/selector"), p.holder(t, "service/other/selector"); a != "" || b != "deployment/web/pods" {
		t.Errorf("the Services hold %q and %q", a, b)
	}
	if n := told(); n != 1 {
		t.Errorf("the cluster is told %d times, want once", n)
	}
	moved := p.cables()
	p.does(t, "undo")
	if now := p.cables(); !slices.Equal(now, before) {
		t.Errorf("undone it is\n%s", strings.Join(now, "\n"))
	}
	if n := told(); n != 1 {
		t.Errorf("the cluster is told %d times of the undo, want once", n)
	}
	if c, ok := p.history.Next(); ok {
		t.Errorf("it was more than one step: %+v", c)
	}
	p.does(t, "redo")
	if now := p.cables(); !slices.Equal(now, moved) {
		t.Errorf("done again it is\n%s", strings.Join(now, "\n"))
	}
	p.does(t, "undo")

	// A cable of sound that takes the place of another, and frees its own input.
	if err := repatch("deployment/web/running", "voice/chord/open", "voice/chord/open", "voice/chord/gate"); err != nil {
		t.Fatal(err)
	}
	if a, b := p.holder(t, "voice/chord/gate"), p.holder(t, "voice/chord/open"); a != "" || b != "deployment/web/running" {
		t.Errorf("the chord holds %q and %q", a, b)
	}
	p.does(t, "undo")
	// Back to where it was is nothing; with another pulled it is that.
	if err := repatch("deployment/web/running", "voice/chord/gate", "voice/chord/gate"); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.history.Next(); ok || !slices.Equal(p.cables(), before) {
		t.Error("a cable that was put back is an edit")
	}
	if err := repatch("deployment/web/running", "voice/chord/gate", "voice/chord/gate", "voice/chord/load"); err != nil {
		t.Fatal(err)
	}
	if a, b := p.holder(t, "voice/chord/gate"), p.holder(t, "voice/chord/load"); a != "deployment/web/running" || b != "" {
		t.Errorf("the chord holds %q and %q", a, b)
	}
	p.does(t, "undo")
	// Without one to pull it is a plug.
	if err := repatch("deployment/web/pods", "service/other/selector"); err != nil {
		t.Fatal(err)
	}
	if b := p.holder(t, "service/other/selector"); b != "deployment/web/pods" {
		t.Errorf("the Service holds %q", b)
	}
}

// TestWebOpen: the browser that is started is not told the token, which all
// users of the machine could read, but an address that opens the page once.
func TestWebOpen(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the program that opens browsers is another one here")
	}
	p := webPlayer(t)
	bin := t.TempDir()
	told := filepath.Join(bin, "told")
	script := "#!/bin/sh\nprintf '%s' \"$*\" > " + told + ".new && mv " + told + ".new " + told + "\n"
	if err := os.WriteFile(filepath.Join(bin, "xdg-open"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	p.o.network.web, p.o.open = "127.0.0.1:0", true
	dir := t.TempDir()
	if err := p.openWeb(dir); err != nil {
		t.Fatal(err)
	}
	defer p.web.Close()
	var at string
	p.until(t, 10*time.Second, "a browser", func() bool {
		text, err := os.ReadFile(told)
		at = string(text)
		return err == nil
	})
	token, err := os.ReadFile(filepath.Join(dir, "web-token"))
	if err != nil || len(token) < 22 {
		t.Fatalf("the token is %q, %v", token, err)
	}
	if strings.Contains(at, string(token)) || !strings.HasPrefix(at, "http://127.0.0.1:") {
		t.Errorf("the browser is told %s", at)
	}
	for i, want := range []int{200, 401} {
		resp, err := (&http.Client{Timeout: 5 * time.Second}).Get(at)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("opened for the %d. time: %d, want %d", i+1, resp.StatusCode, want)
		}
		if i == 0 && (len(resp.Cookies()) != 1 || resp.Cookies()[0].Value != string(token)) {
			t.Errorf("it gives the cookies %v", resp.Cookies())
		}
	}
}

// TestWebDiffRefuses: what would be refused is refused with its words, before
// anything is worked on.
func TestWebDiffRefuses(t *testing.T) {
	p := webPlayer(t)
	before := p.cables()
	encoded, err := scenes.EncodeModule(p.playedNow(), "deployment/web")
	if err != nil {
		t.Fatal(err)
	}
	text := string(encoded)
	renamed := strings.Replace(text, "deployment/web", "deployment/other", 1)
	broken := text + "  nonsense: 1\n"
	for _, c := range []struct {
		d    web.Diff
		want string
	}{
		{web.Diff{Plug: &web.Cable{From: "deployment/web/running", To: "voice/chord/open"}}, "voice/chord/open holds a cable from deployment/web/ready; pull it first"},
		{web.Diff{Plug: &web.Cable{From: "voice/chord/left", To: "service/web/selector"}}, "service/web/selector holds a cable from deployment/web/pods; pull it first"},
		{web.Diff{Plug: &web.Cable{From: "voice/chord/left", To: "service/nobody/selector"}}, "nobody"},
		{web.Diff{Plug: &web.Cable{From: "voice", To: "service/web/selector"}}, "kind/name/jack"},
		{web.Diff{Pull: &web.Pull{To: "voice/chord/kind_cv"}}, "holds no cable"},
		{web.Diff{Pull: &web.Pull{To: ""}}, "kind/name/jack"},
		{web.Diff{Repatch: &web.Repatch{From: "voice/chord/left", To: "service/web/selector", Pull: []string{"service/web/selector"}}}, "service/web/selector"},
		{web.Diff{Remove: &web.Named{Name: "deployment/nobody"}}, "there is no module deployment/nobody"},
		{web.Diff{YAML: &web.YAML{ID: "deployment/web", Text: &renamed}}, "its id cannot become deployment/other"},
		{web.Diff{YAML: &web.YAML{ID: "deployment/nobody", Text: &text}}, "there is no module deployment/nobody"},
		{web.Diff{YAML: &web.YAML{ID: "deployment/web", Text: &broken}}, "nonsense"},
		{web.Diff{Scene: &web.Named{Name: "../default"}}, "expected a name"},
		{web.Diff{Scene: &web.Named{Name: "no-such-scene"}}, "no-such-scene"},
		{web.Diff{}, "expected plug, pull, repatch, remove, yaml or scene"},
	} {
		_, err := p.asks(t, web.Request{Diff: &c.d})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.d, err, c.want)
			continue
		}
		// The edit itself says the same.
		if c.d.Plug != nil {
			_, again := p.asks(t, web.Request{Plug: c.d.Plug})
			if again == nil || !strings.HasPrefix(again.Error(), err.Error()) {
				t.Errorf("the diff says %q, the plug %q", err, again)
			}
		}
	}
	if !slices.Equal(p.cables(), before) {
		t.Error("a diff has changed the patch")
	}
}

// TestWebDiffEnds: a diff that takes its time ends with its context, and knobs
// turn meanwhile.
func TestWebDiffEnds(t *testing.T) {
	p := webPlayer(t)
	dir := t.TempDir()
	begun := filepath.Join(dir, "begun")
	kube := filepath.Join(dir, "kube")
	if err := os.WriteFile(kube, []byte("#!/bin/sh\ntouch "+begun+"\nexec sleep 60\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p.kube = &neighbour{path: kube}
	var result any
	var err error
	p.during(t, func() {
		result, err = p.webDo("web 1", web.Request{Diff: &web.Diff{Pull: &web.Pull{To: "service/web/selector"}}})
	})
	later, ok := result.(web.Later)
	if !ok || err != nil || later.Newest != "diff" {
		t.Fatalf("the diff is %+v, %v", result, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := later.Work(ctx); ended <- err }()
	p.until(t, 10*time.Second, "the program", func() bool { _, err := os.Stat(begun); return err == nil })
	if _, err := p.asks(t, web.Request{Set: &web.Set{Address: "/deployment/web/replicas", Value: 7}}); err != nil {
		t.Error(err)
	}
	if _, err := p.asks(t, web.Request{Act: &web.Named{Name: "sense:nonsense"}}); err == nil {
		t.Error("an action that there is not is done")
	}
	if v, _, _ := p.rack.Value("/deployment/web/replicas"); v != 7 {
		t.Errorf("the knob stands at %g while a diff is found", v)
	}
	select {
	case err := <-ended:
		t.Fatalf("the diff ended before: %v", err)
	default:
	}
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a diff that was called off has an answer")
		}
	case <-time.After(10 * time.Second):
		t.Error("the diff goes on")
	}
	// So does one of a module's text, and what waits for a scene.
	p.during(t, func() { result, err = p.webDo("web 1", web.Request{YAML: &web.YAML{ID: "deployment/web"}}) })
	if l, ok := result.(web.Later); !ok || err != nil {
		t.Fatalf("the text is %+v, %v", result, err)
	} else {
		began := time.Now()
		if _, err := l.Work(ctx); time.Since(began) > 5*time.Second {
			t.Errorf("the text comes after %s, %v", time.Since(began), err)
		}
	}
	p.during(t, func() { result, err = p.webDo("web 1", web.Request{Act: &web.Named{Name: "launch:cluster:now:0"}}) })
	if l, ok := result.(web.Later); !ok || err != nil || !l.Waits {
		t.Errorf("a launch is %+v, %v", result, err)
	} else if _, err := l.Work(ctx); err == nil {
		t.Error("nobody waits, and a launch is answered")
	}
	p.until(t, 10*time.Second, "the scene", func() bool { return p.scene.Name == "cluster" })
}

// TestWebSave: what is written is answered when it is there.
func TestWebSave(t *testing.T) {
	p := webPlayer(t)
	result, err := p.asks(t, web.Request{Save: &web.Named{Name: "mine"}})
	if err != nil {
		t.Fatal(err)
	}
	path := result.(map[string]string)["path"]
	if s, err := scenes.Load(path); err != nil || s.Name != "mine" || len(s.Patch.Cables) != len(p.rack.Patch().Cables) {
		t.Errorf("%s holds %+v, %v", path, s, err)
	}
	if _, err := p.asks(t, web.Request{Save: &web.Named{Name: "../mine"}}); err == nil {
		t.Error("a scene is written outside of its folder")
	}
}

// TestWebRewriteIsWhole: an edit of which a part is refused changes nothing.
func TestWebRewriteIsWhole(t *testing.T) {
	p := webPlayer(t)
	if err := p.rack.Add(instrument.Module{ID: "namespace/mine", Params: map[string]float64{}, Text: map[string]string{}}, ""); err != nil {
		t.Fatal(err)
	}
	text, err := scenes.EncodeModule(p.playedNow(), "namespace/mine")
	if err != nil {
		t.Fatal(err)
	}
	m, at, err := scenes.ParseModule(string(text))
	if err != nil {
		t.Fatal(err)
	}
	other := ""
	for _, s := range m.Spec().Params {
		if s.Name != "power" && !s.Text && len(s.Choices) == 0 && !s.Switch() {
			other = s.Name
			m.Params[s.Name] = s.Min
			if m.Value(s.Name) == p.rack.Patch().Module(m.ID).Value(s.Name) {
				m.Params[s.Name] = s.Max
			}
			break
		}
	}
	m.Params["power"] = 0
	was := p.rack.Patch().Clone().Module(m.ID)
	if err := p.rewrite(m.ID, m, at, "web 1"); !errors.Is(err, errNotArmed) {
		t.Fatalf("who is not armed switches off: %v", err)
	}
	now := p.rack.Patch().Module(m.ID)
	for _, s := range m.Spec().Params {
		if now.Value(s.Name) != was.Value(s.Name) {
			t.Errorf("%s has become %g", s.Name, now.Value(s.Name))
		}
	}
	if c, ok := p.history.Next(); ok {
		t.Errorf("it can be undone: %+v", c)
	}
	if other == "" {
		t.Log("a namespace has no other knob")
	}
}

// TestWebLeft: what a page holds high falls when it has gone, after what it did
// last; what another page holds stays. A program that does not come to play ends
// all the same.
func TestWebLeft(t *testing.T) {
	p := webPlayer(t)
	p.o.network.web = "127.0.0.1:0"
	if err := p.openWeb(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	defer p.web.Close()
	gates := []mapping.Address{"/voice/chord/gate", "/voice/drone/gate", "/voice/boot/strike"}
	for i, a := range gates {
		id, jack, _ := a.Split()
		if p.holder(t, string(a)[1:]) != "" {
			if err := p.rack.Pull(instrument.JackRef{Module: id, Jack: jack}, ""); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.turn(turn{address: a, value: 10, source: fmt.Sprintf("web %d", 1+i/2), at: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	at := func(a mapping.Address) float64 { v, _, _ := p.rack.Value(a); return v }
	p.webLeft("web 1") // its turns wait still
	p.until(t, 10*time.Second, "the gates fall", func() bool { return !p.holds.Held(gates[0]) && at(gates[0]) == 0 && at(gates[1]) == 0 })
	if v := at(gates[2]); v != 10 || !p.holds.Held(gates[2]) {
		t.Errorf("another page's gate is at %g V", v)
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		for range 2 * cap(p.calls) {
			p.webLeft("web 3")
		}
	}()
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Error("a page that leaves waits for an instrument that does not play")
	}
}

// A page gets a scope's picture in as many columns as it has room for, and no
// spike is lost on the way.
func TestWebTrace(t *testing.T) {
	tr := &instrument.Trace{Points: 509, HasA: true}
	for i := range tr.Points {
		tr.A[i] = instrument.Span{Low: float32(i%7) - 0.12345, High: float32(i % 7)}
	}
	tr.A[254].High, tr.A[508].Low = 11, -11
	for _, columns := range []int{0, 1, 2, 97, 508, 509, 5000} {
		got := webTrace(tr, columns)
		want := columns
		if columns == 0 || columns > tr.Points {
			want = tr.Points
		}
		if len(got.A) != 2*want || got.B != nil {
			t.Fatalf("%d columns: %d volts of a, %d of b", columns, len(got.A), len(got.B))
		}
		if low, high := slices.Min(got.A), slices.Max(got.A); low != -11 || high != 11 || got.A[len(got.A)-2] != -11 || !slices.Contains(got.A, 11) {
			t.Errorf("%d columns go from %g to %g V and end at %g, want a spike of 11 V in the middle and of −11 V at the end", columns, low, high, got.A[len(got.A)-2])
		}
		for i := 0; i < len(got.A); i += 2 {
			if got.A[i] > got.A[i+1] {
				t.Fatalf("%d columns: column %d goes from %g to %g V", columns, i/2, got.A[i], got.A[i+1])
			}
		}
	}
	if text, err := json.Marshal(webTrace(tr, 100)); err != nil || len(text) > 1600 {
		t.Errorf("100 columns are %d bytes (%v)", len(text), err)
	}
}
