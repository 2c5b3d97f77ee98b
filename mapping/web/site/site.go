package site

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/instrument/faceplate"
)

//go:embed templates site.css sheet.js listen.js copy.js shots
var files embed.FS

// scripts are what runs in the pages, by name. Without it they tell the same.
var scripts = []string{"sheet.js", "listen.js", "copy.js"}

// Config is what the pages are told that they cannot find out by themselves.
type Config struct {
	// Version is the program's.
	Version string
	// Base is where the pages will be, as an absolute address that ends in a
	// slash. It is for those who link to them; empty is unknown.
	Base string
	// Rack is the way from the pages to a rack that runs, "../" where the
	// instrument serves them; empty is none.
	Rack string
	// Backplane is the document of that name, as Markdown.
	Backplane string
	// Pieces are the scenes that ship.
	Pieces []Piece
	// OnDemand tells that a sound whose wave is unknown is made when somebody
	// asks for it. Beside its file is then one with .progress for .flac, which
	// says how far it is: see package main's soundRoom.
	OnDemand bool
	// Examples has one of each kind of module.
	Examples map[string]Example
	// Shots are pictures for the gallery with a file captions.txt; nil are those
	// that the program carries.
	Shots fs.FS
}

// Piece is a scene.
type Piece struct {
	Name, Title, About string
	// Script is what performs it; About what happens in it.
	Script, ScriptAbout string
	// Modules and Cables are how many it has.
	Modules, Cables int
	// Kinds are the kinds of its modules, in the order of the rack.
	Kinds []string
	// Sound is the path of a file to listen to, from the root of the pages;
	// empty is none. Seconds is its length.
	Sound   string
	Seconds float64
	// Score is what happens in it; nil is unknown.
	Score *Score
}

// Example is a module as a scene has it.
type Example struct {
	// Scene is where it is from.
	Scene string
	// YAML is a scene with the module, Cables are those in its jacks.
	YAML   string
	Cables []string
}

// Site renders pages when they are asked for, and keeps them. Its methods may
// be called from any goroutine.
type Site struct {
	cfg     Config
	pages   *template.Template
	modules []*sheet
	shots   fs.FS
	gallery []shot
	protocol,
	backplane []block
	makers map[string]func() ([]byte, error) // by name
	pieces atomic.Pointer[[]Piece]           // replaced, never changed

	mu   sync.Mutex
	made map[string]*file
}

// sounding are the pages that tell of sounds.
var sounding = []string{"index.html", "listen.html"}

// Made tells the pages that the sound of a piece is there, with the ends of
// its wave by column, −1…1.
func (s *Site) Made(piece string, low, high []float32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(*s.pieces.Load())
	for i := range list {
		if list[i].Name != piece || list[i].Score == nil {
			continue
		}
		score := *list[i].Score
		score.Low, score.High = low, high
		list[i].Score = &score
	}
	s.pieces.Store(&list)
	for _, n := range sounding {
		delete(s.made, n)
	}
}

// Here tells whether the sound of a piece can be heard at once.
func (s *Site) Here(p Piece) bool {
	return p.Sound != "" && (!s.cfg.OnDemand || p.Score != nil && len(p.Score.High) > 0)
}

// file is a file as it was made, and compressed.
type file struct {
	plain, zipped []byte
	tag           string
}

// New prepares the pages. Its errors are mistakes in what it was given.
func New(cfg Config) (*Site, error) {
	s := &Site{cfg: cfg, shots: cfg.Shots, makers: map[string]func() ([]byte, error){}, made: map[string]*file{}}
	s.pieces.Store(&cfg.Pieces)
	var err error
	if s.shots == nil {
		if s.shots, err = fs.Sub(files, "shots"); err != nil {
			return nil, err
		}
	}
	if s.gallery, err = readShots(s.shots); err != nil {
		return nil, err
	}
	var protocol bytes.Buffer
	if err := instrument.WriteProtocol(&protocol); err != nil {
		return nil, err
	}
	general, _, _ := strings.Cut(protocol.String(), "\n## Modules\n") // the sheets have the rest
	s.protocol, s.backplane = parse(general), parse(cfg.Backplane)
	if err := s.sheets(); err != nil {
		return nil, err
	}
	if s.pages, err = template.New("").Funcs(s.funcs()).ParseFS(files, "templates/*.html"); err != nil {
		return nil, err
	}
	for _, p := range []struct{ name, title, about string }{
		{"index.html", "k8s-synth: a rack whose modules are a Kubernetes cluster", "A Deployment is a chord, its replicas are the voices, and reconciliation is what you hear."},
		{"modules.html", "Modules", "Every module of the rack, by family, with its panel."},
		{"signals.html", "Signals", "What the volts on the jacks mean, and what the cluster must hold for each cable."},
		{"backplane.html", "Backplane", "How the rack is wired: the loop through the cluster, the buses of a case, and the wire protocol of its panels."},
		{"gallery.html", "Gallery", "The rack in a browser, as it plays."},
		{"listen.html", "Listen", "The pieces that ship, to read and to hear."},
	} {
		s.makers[p.name] = func() ([]byte, error) {
			return s.page(p.name, view{Title: p.title, About: p.about, Path: p.name})
		}
	}
	for i, m := range s.modules {
		name := m.Path()
		s.makers[name] = func() ([]byte, error) {
			v := view{Title: m.Spec.Title, About: m.Spec.Doc, Path: name, Sheet: m, Prev: s.modules[(i+len(s.modules)-1)%len(s.modules)], Next: s.modules[(i+1)%len(s.modules)]}
			return s.page("module.html", v)
		}
		s.makers["panel/"+m.Spec.Kind+".svg"] = func() ([]byte, error) { return alone(m.layout) }
	}
	s.makers["rack.svg"] = heroSVG
	s.makers["icon.svg"] = func() ([]byte, error) { return []byte(iconSVG), nil }
	s.makers[missing] = func() ([]byte, error) { return s.lost(missing) }
	if cfg.Base != "" {
		s.makers["sitemap.xml"] = s.sitemap
	}
	for _, n := range append([]string{"site.css"}, scripts...) {
		s.makers[n] = func() ([]byte, error) {
			b, err := files.ReadFile(n)
			if n == "site.css" {
				b = append([]byte(panelCSS()), b...)
			}
			return b, err
		}
	}
	for _, g := range s.gallery {
		s.makers["shots/"+g.File] = func() ([]byte, error) { return fs.ReadFile(s.shots, g.File) }
	}
	return s, nil
}

// view is what a template is told.
type view struct {
	Title, About string
	Path         string // of the page, from the root
	Sheet        *sheet
	Prev, Next   *sheet
	*Site
}

// Root is the way from the page to the root of the pages.
func (v view) Root() string {
	if v.Path == missing && v.cfg.Base != "" {
		return v.cfg.Base // it is shown for pages at any depth
	}
	return strings.Repeat("../", strings.Count(v.Path, "/"))
}

// Lost tells that this is the page of what is not there.
func (v view) Lost() bool { return v.Title == lostTitle }

const (
	// missing is the page that servers show for what is not there.
	missing   = "404.html"
	lostTitle = "Nothing is patched here"
)

// lost is the page for a path that leads nowhere.
func (s *Site) lost(path string) ([]byte, error) {
	return s.page(missing, view{Title: lostTitle, About: "There is no page at this address.", Path: path})
}

// sitemap lists the pages for those who index them. It has no dates, so that
// the same program writes the same bytes.
func (s *Site) sitemap() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(xml.Header + "<urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\">\n")
	for _, n := range s.Names() {
		if path.Ext(n) != ".html" || n == missing {
			continue
		}
		b.WriteString("<url><loc>")
		if err := xml.EscapeText(&b, []byte(s.cfg.Base+strings.TrimSuffix(n, "index.html"))); err != nil {
			return nil, err
		}
		b.WriteString("</loc></url>\n")
	}
	b.WriteString("</urlset>\n")
	return b.Bytes(), nil
}

// Accessors of templates.
func (v view) Version() string      { return v.cfg.Version }
func (v view) Base() string         { return v.cfg.Base }
func (v view) Rack() string         { return v.cfg.Rack }
func (v view) Pieces() []Piece      { return *v.pieces.Load() }
func (v view) Gallery() []shot      { return v.gallery }
func (v view) Sheets() []*sheet     { return v.modules }
func (v view) Backplane() []part    { return parts(v.backplane) }
func (v view) Protocol() []part     { return parts(v.protocol) }
func (v view) ProtocolVersion() int { return instrument.ProtocolVersion }

// Sounds tells whether there is something to hear.
func (v view) Sounds() bool {
	return slices.ContainsFunc(v.Pieces(), func(p Piece) bool { return p.Sound != "" })
}

// OnDemand tells whether sounds are made when somebody asks.
func (v view) OnDemand() bool { return v.cfg.OnDemand }

// Player is what the template of that name needs.
func (v view) Player(p any) (out struct {
	Piece    Piece
	Here     bool
	Progress string
}) {
	switch p := p.(type) {
	case Piece:
		out.Piece = p
	case *Piece:
		out.Piece = *p
	}
	out.Here, out.Progress = v.Here(out.Piece), strings.TrimSuffix(out.Piece.Sound, ".flac")+".progress"
	return out
}

// First is the piece that the first page plays, or nil.
func (v view) First() *Piece {
	list := v.Pieces()
	for i := range list {
		if p := &list[i]; p.Sound != "" && p.Name == "default" {
			return p
		}
	}
	return nil
}

// Uses lists the pieces that have a module of a kind.
func (v view) Uses(kind string) (list []Piece) {
	for _, p := range v.Pieces() {
		if slices.Contains(p.Kinds, kind) {
			list = append(list, p)
		}
	}
	return list
}

func (s *Site) page(name string, v view) ([]byte, error) {
	v.Site = s
	var b bytes.Buffer
	if err := s.pages.ExecuteTemplate(&b, name, v); err != nil {
		return nil, fmt.Errorf("page %s: %w", v.Path, err)
	}
	return b.Bytes(), nil
}

// Names lists every file, by name.
func (s *Site) Names() []string {
	var all []string
	for n := range s.makers {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}

// File returns a file by its name, which is a path from the root of the pages.
// Where there is none the error is fs.ErrNotExist.
func (s *Site) File(name string) ([]byte, error) {
	f, err := s.file(name)
	if err != nil {
		return nil, err
	}
	return f.plain, nil
}

func (s *Site) file(name string) (*file, error) {
	s.mu.Lock()
	f := s.made[name]
	s.mu.Unlock()
	if f != nil {
		return f, nil
	}
	maker := s.makers[name]
	if maker == nil {
		return nil, fmt.Errorf("site: %s: %w", name, fs.ErrNotExist)
	}
	told := s.pieces.Load()
	text, err := maker()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	f = &file{plain: text, tag: `"` + hex.EncodeToString(sum[:8]) + `"`}
	if text := path.Ext(name); text == ".html" || text == ".svg" || text == ".css" || text == ".js" {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.DefaultCompression)
		z.Write(f.plain)
		z.Close()
		f.zipped = b.Bytes()
	}
	s.mu.Lock()
	if s.pieces.Load() == told { // otherwise it may be out of date already
		s.made[name] = f
	}
	s.mu.Unlock()
	return f, nil
}

// ServeHTTP serves the pages; the path of a request is that of a file, and /
// is the first page.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "pages are read only", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	if name == "" {
		name = "index.html"
	}
	f, err := s.file(name)
	switch {
	case errors.Is(err, fs.ErrNotExist) || name == missing:
		text, err := s.lost(name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", contentType(missing))
		w.Header().Set("Cache-Control", "no-cache")
		w.WriteHeader(http.StatusNotFound)
		if r.Method != http.MethodHead {
			w.Write(text)
		}
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType(name))
	h.Set("ETag", f.tag)
	h.Set("Cache-Control", "no-cache") // asked for each time, sent when it has changed
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("If-None-Match"), f.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	text := f.plain
	if f.zipped != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		text = f.zipped
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	if r.Method != http.MethodHead {
		w.Write(text)
	}
}

// contentType does not ask the system's tables, which may lack one.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".webp":
		return "image/webp"
	case ".xml":
		return "application/xml"
	}
	return mime.TypeByExtension(path.Ext(name))
}

// shot is a picture of the gallery.
type shot struct {
	File, Title, Alt string
	Width, Height    int
}

// readShots reads captions.txt: a line for each picture, with tabs between
// file, width, height, title and what is to be seen.
func readShots(f fs.FS) ([]shot, error) {
	text, err := fs.ReadFile(f, "captions.txt")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("site: pictures: %w", err)
	}
	var list []shot
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if line == "" {
			continue
		}
		var g shot
		cells := strings.Split(line, "\t")
		if len(cells) != 5 || strings.ContainsAny(cells[0], `/\`) {
			return nil, fmt.Errorf("site: captions.txt:%d: expected file, width, height, title and description with tabs between them", i+1)
		}
		if _, err := fmt.Sscan(cells[1]+" "+cells[2], &g.Width, &g.Height); err != nil {
			return nil, fmt.Errorf("site: captions.txt:%d: expected width and height in pixels: %w", i+1, err)
		}
		g.File, g.Title, g.Alt = cells[0], cells[3], cells[4]
		if _, err := fs.Stat(f, g.File); err != nil {
			return nil, fmt.Errorf("site: captions.txt:%d: %w", i+1, err)
		}
		list = append(list, g)
	}
	return list, nil
}

// alone draws a panel as a file of its own, which follows what the reader's
// screen is set to.
func alone(l *faceplate.Layout) ([]byte, error) {
	var b bytes.Buffer
	if err := faceplate.SVG(&b, l, faceplate.Style{Outlines: true}); err != nil {
		return nil, err
	}
	head, rest, _ := strings.Cut(b.String(), "\n")
	return []byte(head + "\n<style>" + panelCSS() + "</style>\n" + rest), nil
}

// inline draws a panel for a page that has its style sheet.
func inline(l *faceplate.Layout, id, label string) (template.HTML, error) {
	var b bytes.Buffer
	if err := faceplate.SVG(&b, l, faceplate.Style{Outlines: true, ID: id}); err != nil {
		return "", err
	}
	head, rest, _ := strings.Cut(b.String(), "\n")
	head = strings.TrimSuffix(head, ">") + ` role="img" aria-label="` + template.HTMLEscapeString(label) + `">`
	return template.HTML(head + "\n" + rest), nil
}

// panelCSS is the style sheet of panels: dark on a dark screen, aluminium on a
// light one and on paper.
func panelCSS() string {
	css := faceplate.CSS()
	var light strings.Builder
	for line := range strings.Lines(css) {
		line = strings.TrimSpace(line)
		if vars, ok := strings.CutPrefix(line, "."+faceplate.Light+"{"); ok {
			light.WriteString(":root{" + vars)
		}
		// Behind the dark accent of a family stands its light one.
		if _, rest, ok := strings.Cut(line, "}."+faceplate.Light+" ."); ok {
			family, _, _ := strings.Cut(rest, ",")
			_, vars, _ := strings.Cut(rest, "{")
			light.WriteString("." + family + "{" + vars)
		}
	}
	return css + "@media (prefers-color-scheme:light),print{" + light.String() + "}\n"
}
