package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"sync"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/instrument/faceplate"
)

// specs is what a page needs to know of every kind of module.
type specs struct {
	Plates map[string]*faceplate.Layout `json:"plates"`
	// Signals and Families are colours.
	Signals  map[string]string `json:"signals"`
	Families map[string]string `json:"families"`
	// Cluster has the kinds that stand for something in the cluster.
	Cluster map[string]bool `json:"cluster"`
}

// Plates serves what pages draw modules from: specs.json, panels.css and a
// panel of each kind, panel/KIND.svg.
func Plates() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /specs.json", made("application/json", func(*http.Request) ([]byte, error) {
		s := specs{map[string]*faceplate.Layout{}, map[string]string{}, map[string]string{}, map[string]bool{}}
		for _, m := range instrument.Specs() {
			l, err := faceplate.Build(m)
			if err != nil {
				return nil, err
			}
			s.Plates[m.Kind] = l
			s.Cluster[m.Kind] = m.Cluster()
			s.Families[l.Family] = faceplate.FamilyColour(l.Family)
			for _, c := range l.Controls {
				if c.Signal != "" {
					s.Signals[c.Signal] = faceplate.SignalColour(c.Signal)
				}
			}
		}
		return json.Marshal(s)
	}))
	mux.Handle("GET /panels.css", made("text/css; charset=utf-8", func(*http.Request) ([]byte, error) { return []byte(faceplate.CSS()), nil }))
	mux.Handle("GET /panel/{file}", made("image/svg+xml", func(r *http.Request) ([]byte, error) {
		kind, ok := strings.CutSuffix(r.PathValue("file"), ".svg")
		m := instrument.Spec(kind)
		if m == nil || !ok {
			return nil, nil
		}
		l, err := faceplate.Build(m)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		err = faceplate.SVG(&b, l, faceplate.Style{})
		return b.Bytes(), err
	}))
	return mux
}

// madeFile is a file as it was made, and compressed.
type madeFile struct {
	plain, zipped []byte
	tag           string
}

// made serves what f makes of a path, which is always the same; nil is not
// found.
func made(kind string, f func(*http.Request) ([]byte, error)) http.Handler {
	var mu sync.Mutex
	files := map[string]*madeFile{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		file := files[r.URL.Path]
		mu.Unlock()
		if file == nil {
			text, err := f(r)
			switch {
			case err != nil:
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			case text == nil:
				http.NotFound(w, r)
				return
			}
			file = newFile(text)
			mu.Lock()
			files[r.URL.Path] = file
			mu.Unlock()
		}
		file.serve(w, r, kind)
	})
}

func newFile(text []byte) *madeFile {
	sum := sha256.Sum256(text)
	f := &madeFile{plain: text, tag: `"` + hex.EncodeToString(sum[:8]) + `"`}
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	z.Write(text)
	z.Close()
	f.zipped = b.Bytes()
	return f
}

func (f *madeFile) serve(w http.ResponseWriter, r *http.Request, kind string) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("ETag", f.tag)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == f.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	text := f.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		text = f.zipped
	}
	if r.Method != http.MethodHead {
		w.Write(text)
	}
}
