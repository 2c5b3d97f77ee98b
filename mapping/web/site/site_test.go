package site

import (
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"golang.org/x/net/html"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/instrument"
)

// full is a site with everything that one can have. It is one for all tests.
func full(t testing.TB) *Site {
	t.Helper()
	fullMade.Do(func() { fullSite = newFull(t) })
	if fullSite == nil {
		t.Fatal("there is no site")
	}
	return fullSite
}

var (
	fullMade sync.Once
	fullSite *Site
)

func newFull(t testing.TB) *Site {
	t.Helper()
	document, err := os.ReadFile("../../../hardware/backplane/BACKPLANE.md")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Version: "1.2.3", Base: "https://example.org/synth/", Backplane: string(document), Examples: map[string]Example{}, Shots: fstest.MapFS{
		"captions.txt": {Data: []byte("a.webp\t1440\t900\tThe rack\tA rack & its <cables>\nb.webp\t390\t844\tA phone\tA phone\n")}, "a.webp": {Data: []byte("a")}, "b.webp": {Data: []byte("b")}},
		Pieces: []Piece{{Name: "default", Title: "A Deployment is a chord", About: "One.\nTwo <three>.", Script: "demo", ScriptAbout: "All of it.", Modules: 2, Cables: 1, Kinds: []string{"deployment", "voice"}, Sound: "sound/default.flac", Seconds: 30,
			Score: &Score{Seconds: 30, Lanes: [][]Span{{{0, 4, "waiting", "web-1"}, {4, 40, "ready", "web-1"}}, {{3, 9, "failed", "web-<2>"}}}, Marks: []Mark{{1, "web replicas 6", true}, {1.1, "OOMKilled", false}, {31, "never", false}}, Low: []float32{-0.2, -0.9}, High: []float32{0.5, 0.1}}},
			{Name: "etcd", Title: "Ticks", About: "x", Kinds: []string{"etcd"}}}}
	for _, s := range instrument.Specs() {
		cfg.Examples[s.Kind] = Example{Scene: "default", YAML: "  - id: " + s.Kind + "/some\n", Cables: []string{"a/b/c -> d/e/f"}}
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// bare is what a site is if nobody tells it anything.
func bare(t testing.TB) *Site {
	t.Helper()
	s, err := New(Config{Version: "0", Shots: fstest.MapFS{}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// void are the elements of HTML that have no end.
var void = []string{"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}

// page is what a test knows of a page.
type page struct {
	ids    map[string]bool
	links  []string
	titles []int // levels of headings
	text   string
}

// read holds a page to what every page must be, and says what is in it.
func read(t *testing.T, name string, text []byte) page {
	t.Helper()
	p := page{ids: map[string]bool{}}
	var open []string
	var words strings.Builder
	for z := html.NewTokenizer(bytes.NewReader(text)); ; {
		kind := z.Next()
		if kind == html.ErrorToken {
			if !errors.Is(z.Err(), io.EOF) {
				t.Errorf("%s: %v", name, z.Err())
			}
			break
		}
		tok := z.Token()
		switch kind {
		case html.TextToken:
			words.WriteString(tok.Data)
		case html.StartTagToken, html.SelfClosingTagToken:
			at := map[string]string{}
			for _, a := range tok.Attr {
				if _, twice := at[a.Key]; twice {
					t.Errorf("%s: <%s> has %s twice", name, tok.Data, a.Key)
				}
				at[a.Key] = a.Val
			}
			if id, ok := at["id"]; ok {
				if p.ids[id] || id == "" || strings.ContainsAny(id, " \t") {
					t.Errorf("%s: the id %q is there twice, empty or has blanks", name, id)
				}
				p.ids[id] = true
			}
			for _, k := range []string{"href", "src"} {
				if v, ok := at[k]; ok {
					p.links = append(p.links, v)
				}
			}
			if _, ok := at["alt"]; tok.Data == "img" && !ok {
				t.Errorf("%s: a picture without alt: %v", name, at["src"])
			}
			if at["role"] == "img" && at["aria-label"] == "" {
				t.Errorf("%s: a drawing that says nothing to those who do not see it", name)
			}
			if len(tok.Data) == 2 && tok.Data[0] == 'h' && tok.Data[1] >= '1' && tok.Data[1] <= '6' {
				p.titles = append(p.titles, int(tok.Data[1]-'0'))
			}
			if kind == html.StartTagToken && !slices.Contains(void, tok.Data) {
				open = append(open, tok.Data)
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != tok.Data {
				t.Fatalf("%s: </%s> ends nothing; open are %v", name, tok.Data, open)
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("%s: %v are open at the end", name, open)
	}
	p.text = words.String()
	if len(p.titles) == 0 || p.titles[0] != 1 || slices.Contains(p.titles[1:], 1) {
		t.Errorf("%s: the headings are %v; a page has one of the first level, which is its first", name, p.titles)
	}
	for i := 1; i < len(p.titles); i++ {
		if p.titles[i] > p.titles[i-1]+1 {
			t.Errorf("%s: a heading of level %d stands below one of level %d", name, p.titles[i], p.titles[i-1])
		}
	}
	return p
}

// Every page is well formed, and every link leads to something.
func TestPages(t *testing.T) {
	for what, s := range map[string]*Site{"full": full(t), "bare": bare(t)} {
		pages := map[string]page{}
		for _, n := range s.Names() {
			text, err := s.File(n)
			if err != nil {
				t.Fatal(err)
			}
			switch path.Ext(n) {
			case ".html":
				pages[n] = read(t, what+": "+n, text)
				for _, no := range []string{"ZgotmplZ", "<nil>", "%!", "&lt;nil"} {
					if bytes.Contains(text, []byte(no)) {
						t.Errorf("%s: %s has %q in it", what, n, no)
					}
				}
			case ".svg":
				for d := xml.NewDecoder(bytes.NewReader(text)); ; {
					if _, err := d.Token(); errors.Is(err, io.EOF) {
						break
					} else if err != nil {
						t.Errorf("%s: %s: %v", what, n, err)
						break
					}
				}
			}
		}
		reached := map[string]bool{"index.html": true}
		for n, p := range pages {
			for _, link := range p.links {
				u, err := url.Parse(link)
				switch {
				case err != nil:
					t.Errorf("%s: %s: %v", what, n, err)
					continue
				case n == missing && strings.HasPrefix(link, "https://example.org/synth/"):
					u.Path = strings.TrimPrefix(u.Path, "/synth/")
				case u.Scheme != "":
					continue
				case strings.HasPrefix(link, "/"):
					t.Errorf("%s: %s: %s does not open from a disk", what, n, link)
					continue
				}
				to := n
				if u.Path != "" && u.Host != "" {
					to = u.Path
				} else if u.Path != "" {
					to = path.Join(path.Dir(n), u.Path)
				}
				if strings.HasPrefix(to, "sound/") {
					continue // is written beside the pages
				}
				if n == missing && what == "full" && u.Host == "" && u.Path != "" {
					t.Errorf("%s: %s is relative, and the page is shown at any depth", n, link)
				}
				if !slices.Contains(s.Names(), to) {
					t.Errorf("%s: %s: %s leads nowhere", what, n, link)
				}
				reached[to] = true
				if u.Fragment != "" && !pages[to].ids[u.Fragment] && what == "full" {
					t.Errorf("%s: %s: there is no %s in %s", what, n, u.Fragment, to)
				}
			}
		}
		for n := range pages {
			if !reached[n] && n != missing {
				t.Errorf("%s: nothing leads to %s", what, n)
			}
		}
	}
}

// Nothing is fetched from elsewhere.
func TestOwnAssets(t *testing.T) {
	s := full(t)
	fetches := regexp.MustCompile(`(?i)(src=|url\(|@import|<link[^>]+stylesheet[^>]+href=)["']?(https?:)?//`)
	for _, n := range s.Names() {
		text, err := s.File(n)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("https://example.org/synth/"), nil) // where they are
		if m := fetches.Find(text); m != nil {
			t.Errorf("%s: %s", n, m)
		}
	}
}

// Every module has a sheet with all of its jacks, knobs and figures.
func TestSheets(t *testing.T) {
	s := full(t)
	for _, spec := range instrument.Specs() {
		text, err := s.File("module/" + spec.Kind + ".html")
		if err != nil {
			t.Fatal(err)
		}
		p := read(t, spec.Kind, text)
		has := func(what string) {
			if !strings.Contains(p.text, what) {
				t.Errorf("the sheet of %s does not say %q", spec.Kind, what)
			}
		}
		has(spec.Title)
		has(spec.Doc)
		for _, k := range spec.Params {
			if p.ids["p-"+k.Name] == strings.HasSuffix(k.Name, "_att") && !strings.HasSuffix(k.Name, "_att") {
				t.Errorf("the panel of %s lacks %s", spec.Kind, k.Name)
			}
			has(k.Name)
		}
		for _, list := range [][]instrument.JackSpec{spec.Inputs, spec.Outputs} {
			for _, j := range list {
				if !p.ids["p-"+j.Name] {
					t.Errorf("the panel of %s lacks %s", spec.Kind, j.Name)
				}
				if !regexp.MustCompile(`data-for="[^"]*p-` + regexp.QuoteMeta(j.Name) + `[ "]`).Match(text) {
					t.Errorf("the sheet of %s has no row for %s", spec.Kind, j.Name)
				}
			}
		}
		has("id: " + spec.Kind + "/some")
		if spec.Bound != "" {
			has("Stands for")
		}
	}
}

// What is sent over a network stays small.
func TestSize(t *testing.T) {
	s := full(t)
	for _, n := range s.Names() {
		f, err := s.file(n)
		if err != nil {
			t.Fatal(err)
		}
		size, most := len(f.zipped), 56_000
		switch {
		case n == "rack.svg":
			most = 240_000
		case strings.HasPrefix(n, "shots/"):
			size, most = len(f.plain), 150_000
		case strings.HasSuffix(n, ".css"):
			most = 12_000
		case strings.HasSuffix(n, ".js"):
			most = 2_500
		}
		if size > most {
			t.Errorf("%s is %d bytes on the way, over %d", n, size, most)
		}
	}
	// Those that ship are part of the program.
	shots, err := fs.Glob(files, "shots/*.webp")
	if err != nil {
		t.Fatal(err)
	}
	if len(shots) > 6 {
		t.Errorf("%d pictures ship; six are enough", len(shots))
	}
	for _, n := range shots {
		if info, err := fs.Stat(files, n); err != nil || info.Size() > 150_000 {
			t.Errorf("%s: %v bytes, %v", n, info.Size(), err)
		}
	}
}

// The same pages are served, compressed, and not sent twice.
func TestServed(t *testing.T) {
	types := map[string]string{"/": "text/html; charset=utf-8", "/site.css": "text/css; charset=utf-8", "/listen.js": "text/javascript; charset=utf-8", "/rack.svg": "image/svg+xml", "/shots/a.webp": "image/webp", "/sitemap.xml": "application/xml"}
	s := full(t)
	get := func(method, path string, head map[string]string) *http.Response {
		r := httptest.NewRequest(method, path, nil)
		for k, v := range head {
			r.Header.Set(k, v)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Result()
	}
	first := get("GET", "/", map[string]string{"Accept-Encoding": "gzip"})
	z, err := gzip.NewReader(first.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil || !bytes.Contains(text, []byte("<h1>")) || first.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%v, %v: %.80s", first.Header, err, text)
	}
	if r := get("GET", "/index.html", map[string]string{"If-None-Match": first.Header.Get("ETag")}); r.StatusCode != http.StatusNotModified {
		t.Errorf("sent again: %d", r.StatusCode)
	}
	for path, want := range map[string]int{"/module/vco.html": 200, "/panel/vco.svg": 200, "/shots/a.webp": 200, "/module/": 404, "/module/none.html": 404, "/../site.go": 404, "/templates/base.html": 404} {
		if r := get("GET", path, nil); r.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, r.StatusCode, want)
		}
	}
	for path, want := range types {
		r := get("GET", path, nil)
		if got := r.Header.Get("Content-Type"); got != want || r.Header.Get("Cache-Control") != "no-cache" || r.Header.Get("ETag") == "" {
			t.Errorf("%s: %v, want %s", path, r.Header, want)
		}
		if b, _ := io.ReadAll(r.Body); r.Header.Get("Content-Length") != strconv.Itoa(len(b)) {
			t.Errorf("%s: %s bytes are told, %d come", path, r.Header.Get("Content-Length"), len(b))
		}
	}
	if b, err := io.ReadAll(get("GET", "/module/none.html", nil).Body); err != nil || !bytes.Contains(b, []byte("Nothing is patched here")) {
		t.Errorf("what is not there is told of so: %v, %.100s", err, b)
	}
	if r := get("POST", "/", nil); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", r.StatusCode)
	}
	if r := get("HEAD", "/", nil); r.StatusCode != 200 {
		t.Errorf("HEAD: %d", r.StatusCode)
	} else if b, _ := io.ReadAll(r.Body); len(b) > 0 {
		t.Errorf("HEAD has a body of %d bytes", len(b))
	}
}

// The instrument that serves the pages is linked from them; from a disk there
// is nothing to open.
func TestRack(t *testing.T) {
	for _, rack := range []string{"", "../"} {
		s, err := New(Config{Rack: rack})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []string{"index.html", "module/pod.html"} {
			text, err := s.File(n)
			if err != nil {
				t.Fatal(err)
			}
			want := `href="` + strings.Repeat("../", strings.Count(n, "/")) + rack + `">Open the rack`
			if got := bytes.Contains(text, []byte("Open the rack")); got != (rack != "") || got && !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s with the rack at %q: %v, want %s", n, rack, got, want)
			}
		}
	}
}

// A panel follows the reader's screen: the light palette is there, and is not
// the dark one.
func TestPanelCSS(t *testing.T) {
	css := panelCSS()
	_, light, ok := strings.Cut(css, "@media (prefers-color-scheme:light),print{")
	if !ok || !strings.Contains(light, ":root{--fp-") || !strings.Contains(light, "--fp-panel:#e6e8eb") || !strings.Contains(light, ".fp-workload{--fp-accent:#2456c8}") {
		t.Errorf("light is %.300s", light)
	}
	if strings.Count(css, "{") != strings.Count(css, "}") {
		t.Error("braces do not match")
	}
}

// The rack of the first page is a patch that compiles, and fills its row.
func TestHero(t *testing.T) {
	p, err := heroPatch()
	if err != nil {
		t.Fatal(err)
	}
	hp := 0
	for i := range p.Modules {
		hp += p.Modules[i].Spec().HP
	}
	if hp > 84 || hp < 80 {
		t.Errorf("the row is %d HP", hp)
	}
	text, err := heroSVG()
	if err != nil {
		t.Fatal(err)
	}
	again, _ := heroSVG()
	if !bytes.Equal(text, again) {
		t.Error("drawn twice, it is two pictures")
	}
}

func TestMarkdown(t *testing.T) {
	all := parse("# T\nIntro `a|b`.\n\n# Part 1: x\n## One\n- a\n  b\n- **c**\n\n1. x\n2. y\n\n| a | b |\n|---|---|\n| `1\\|2` | [f](g.md) |\n\n```sh\nmake  it\n```\ntext [l](https://e.org/x)\n## Two\n*em* <b>\n")
	var got []string
	for _, p := range parts(all) {
		got = append(got, "["+p.Opens+"/"+p.Title+"]")
		for _, b := range p.Blocks {
			got = append(got, b.Kind)
		}
	}
	if want := "[/] paragraph [Part 1: x/One] list list table code paragraph [/Two] paragraph"; strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
	for text, want := range map[string]string{"a `b<c` **d** *e*": "a <code>b&lt;c</code> <strong>d</strong> <em>e</em>", "[f](g.md)": "f", "[l](https://e.org/x)": `<a href="https://e.org/x">l</a>`, "[x](javascript:a)": "x", "<script>": "&lt;script&gt;", "2 * 3 * 4": "2 * 3 * 4"} {
		if got := string(words(text)); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	for _, b := range all {
		if b.Kind == "table" && (b.Rows[0][0] != "`1|2`" || len(b.Rows[0]) != 2) {
			t.Errorf("%q", b.Rows)
		}
		if b.Kind == "list" && !b.Order && (len(b.Items) != 2 || b.Items[0] != "a b") {
			t.Errorf("%q", b.Items)
		}
	}
}

// Captions that make no sense are told with their line.
func TestCaptions(t *testing.T) {
	for text, want := range map[string]string{"a.webp\t1\t2\tt\n": "captions.txt:1", "a.webp\tx\t2\tt\ta\n": "width and height", "../a\t1\t2\tt\ta": "captions.txt:1", "b.webp\t1\t2\tt\ta": "b.webp"} {
		if _, err := New(Config{Shots: fstest.MapFS{"captions.txt": {Data: []byte(text)}, "a.webp": {}}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// What is lost is told of at its depth: the way back works from there.
func TestLost(t *testing.T) {
	s := bare(t)
	for at, want := range map[string]string{"/nowhere": `href="index.html"`, "/module/nowhere.html": `href="../index.html"`, "/a/b/c": `href="../../index.html"`} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", at, nil))
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), want) || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s: %d, without %s", at, w.Code, want)
		}
	}
}

// A site map has every page once, by an address of its own, and no page that
// is none.
func TestSitemap(t *testing.T) {
	s := full(t)
	text, err := s.File("sitemap.xml")
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		URL []struct {
			Loc string `xml:"loc"`
		} `xml:"url"`
	}
	if err := xml.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, u := range m.URL {
		got = append(got, u.Loc)
	}
	for _, n := range s.Names() {
		if path.Ext(n) == ".html" && n != missing {
			want = append(want, "https://example.org/synth/"+strings.TrimSuffix(n, "index.html"))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := bare(t).File("sitemap.xml"); err == nil {
		t.Error("without an address there is a site map")
	}
}

// A page tells those who link to it what it is, if it knows where it is.
func TestLinkedTo(t *testing.T) {
	text, err := full(t).File("module/pod.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`rel="canonical" href="https://example.org/synth/module/pod.html"`, `property="og:title" content="Pod"`, `property="og:image" content="https://example.org/synth/shots/a.webp"`, `property="og:image:width" content="1440"`} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the sheet of a pod has no %s", want)
		}
	}
	if text, err = bare(t).File("index.html"); err != nil || bytes.Contains(text, []byte("og:")) {
		t.Errorf("a page that does not know where it is tells that: %v", err)
	}
}

// A sound that is made on demand is asked for, until it is there.
func TestOnDemand(t *testing.T) {
	score := &Score{Seconds: 30}
	s, err := New(Config{OnDemand: true, Shots: fstest.MapFS{}, Pieces: []Piece{{Name: "default", Title: "A", Sound: "sound/default.flac", Seconds: 30, Score: score}, {Name: "b", Title: "B", Sound: "sound/b.flac", Seconds: 12, Score: score}}})
	if err != nil {
		t.Fatal(err)
	}
	count := func(name, what string) int {
		text, err := s.File(name)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(text, []byte(what))
	}
	if n := count("listen.html", `data-progress="sound/`); n != 2 {
		t.Errorf("%d sounds are asked for, want 2", n)
	}
	if n := count("listen.html", `class="wave"`); n != 0 {
		t.Errorf("%d waves of sounds that nobody rendered", n)
	}
	s.Made("default", []float32{-0.5, -0.5}, []float32{0.5, 0.5})
	if n := count("listen.html", `data-progress="sound/`); n != 1 {
		t.Errorf("%d sounds are asked for, want 1", n)
	}
	if n := count("listen.html", `class="wave"`); n != 2 { // wide and narrow
		t.Errorf("%d waves, want those of one score", n)
	}
	if n := count("index.html", "data-progress"); n != 0 {
		t.Error("the first page does not know of it")
	}
	if len(score.High) != 0 {
		t.Error("what the pages were given was changed")
	}
}

// constants reads numbers from a file of another package, by their names.
func constants(t *testing.T, path string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if i < len(n.Values) {
					if v, ok := n.Values[i].(*ast.BasicLit); ok {
						all[name.Name] = v.Value
					}
				}
			}
		case *ast.CallExpr: // def(&s.Depth, 8)
			if len(n.Args) == 2 {
				if u, ok := n.Args[0].(*ast.UnaryExpr); ok {
					if s, ok := u.X.(*ast.SelectorExpr); ok {
						if v, ok := n.Args[1].(*ast.BasicLit); ok {
							all[s.Sel.Name] = v.Value
						}
					}
				}
			}
		}
		return true
	})
	return all
}

// Figures say what the code does: sizes that other packages keep to themselves
// are theirs.
func TestFigures(t *testing.T) {
	engine, voice, settings := constants(t, "../../../instrument/engine.go"), constants(t, "../../../instrument/voice.go"), constants(t, "../../../hardware/settings.go")
	for _, c := range []struct {
		name, is string
		told     float64
	}{
		{"inboxSize", engine["inboxSize"], eventsIn}, {"outboxSize", engine["outboxSize"], eventsOut}, {"meterRate", engine["meterRate"], reports},
		{"tensionSeconds", voice["tensionSeconds"], tensionSeconds}, {"tensionVolts", voice["tensionVolts"], tensionVolts}, {"Depth", settings["Depth"], ringBlocks},
	} {
		if is, err := strconv.ParseFloat(c.is, 64); err != nil || is != c.told {
			t.Errorf("%s is %q, and the figures say %g", c.name, c.is, c.told)
		}
	}
	text, err := full(t).File("signals.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{fmt.Sprintf("±%g V, nominal peak", dsp.AudioPeak), fmt.Sprintf("read as high above %g V, as low below %g V", dsp.SchmittHigh, dsp.SchmittLow), fmt.Sprintf("%g V for %g ms", dsp.GateHigh, 1000*dsp.TriggerSeconds)} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("the figure of volts does not say %q", want)
		}
	}
}

func FuzzMarkdown(f *testing.F) {
	f.Add("# a\n|b|\n")
	f.Add("- a\n1. b\n```\n")
	f.Add("  - x\n| a |")
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range parts(parse(text)) {
			for _, b := range p.Blocks {
				if strings.Contains(string(words(b.Text)), "<script") {
					t.Errorf("%q", b.Text)
				}
			}
		}
	})
}
