// Package cmd_test holds the rules of the whole repository: which way
// dependencies run, what each folder must say of itself, and what may stand
// at the top. Each rule prints its reason.
package cmd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/format"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/k8s-synth/k8s-synth"
	root   = ".."
)

// layers are the folders and which of the others each may import, itself
// apart; the reason is printed to whoever breaks the rule.
var layers = map[string]struct {
	may    []string
	reason string
}{
	"dsp":        {nil, "signal mathematics knows of nothing: it must be usable and testable alone"},
	"instrument": {[]string{"dsp"}, "the rack knows voltages, not who turns its knobs or what they are sent over"},
	"mapping":    {[]string{"dsp", "instrument"}, "routing is pure; surfaces, clusters and devices are wired to it by cmd"},
	"kube":       {[]string{"dsp", "instrument", "mapping"}, "siblings never import each other: what they say to one another is defined in mapping"},
	"hardware":   {[]string{"dsp", "instrument", "mapping"}, "siblings never import each other: what they say to one another is defined in mapping"},
	"scenes":     {[]string{"dsp", "instrument", "mapping"}, "siblings never import each other: what they say to one another is defined in mapping"},
	"cmd":        {[]string{"dsp", "instrument", "mapping", "kube", "hardware", "scenes"}, "programs wire everything and nothing imports them"},
}

// outside is what a folder may import although the rest of its layer has the
// standard library only: nothing of it runs on the audio thread.
var outside = map[string]string{
	"dsp/kernel/assembly":  "github.com/mmcloughlin/avo", // writes assembly that is committed; runs under go generate only
	"instrument/faceplate": "golang.org/x/image",         // the font of the panels; draws, off the audio thread
}

// sources parses the imports and the package comment of every Go file.
func sources(t *testing.T) map[string]*sourceFile {
	t.Helper()
	files := map[string]*sourceFile{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an editor's file, gone again
		}
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		s := &sourceFile{text: text, folder: filepath.ToSlash(filepath.Dir(rel)), pkg: f.Name.Name}
		if f.Doc != nil {
			s.doc = f.Doc.Text()
		}
		for _, i := range f.Imports {
			s.imports = append(s.imports, strings.Trim(i.Path.Value, `"`))
		}
		files[filepath.ToSlash(rel)] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d Go files found; is this the repository?", len(files))
	}
	return files
}

type sourceFile struct {
	text    []byte
	folder  string
	pkg     string
	doc     string
	imports []string
}

func layerOf(folder string) string { l, _, _ := strings.Cut(folder, "/"); return l }

// TestDependenciesRunOneWay holds the imports of every file, tests included,
// to dsp ← instrument ← mapping ← {kube, hardware, scenes} ← cmd.
func TestDependenciesRunOneWay(t *testing.T) {
	for path, f := range sources(t) {
		layer := layerOf(f.folder)
		rule, ok := layers[layer]
		if !ok {
			t.Errorf("%s: folder %q is not part of the layout; it holds %s", path, layer, strings.Join(slices.Sorted(maps.Keys(layers)), ", "))
			continue
		}
		for _, imp := range f.imports {
			if imp == module || strings.HasPrefix(imp, module+"/") {
				to := layerOf(strings.TrimPrefix(strings.TrimPrefix(imp, module), "/"))
				if to != layer && !slices.Contains(rule.may, to) {
					t.Errorf("%s imports %s, but %s may import only [%s]: %s", path, imp, layer, strings.Join(rule.may, " "), rule.reason)
				}
				continue
			}
			if way := outside[f.folder]; way != "" && strings.HasPrefix(imp, way+"/") {
				continue
			}
			if first, _, _ := strings.Cut(imp, "/"); (layer == "dsp" || layer == "instrument") && strings.Contains(first, ".") {
				t.Errorf("%s imports %s, but %s uses the standard library only: what runs on the audio thread must be readable here", path, imp, layer)
			}
		}
	}
}

// TestAudioThreadImports: what is called from Render has no way to wait, to
// log, to look at a clock or to call the system.
func TestAudioThreadImports(t *testing.T) {
	banned := map[string]string{
		"log": "logging waits for a file", "log/slog": "logging waits for a file", "os": "a system call may take milliseconds",
		"time": "the audio thread knows frames only", "sync": "a lock can wait for a goroutine that does not run",
		"net": "a socket waits", "syscall": "a system call may take milliseconds", "context": "nothing here can be cancelled half way",
		"math/rand": "its global source has a lock and no seed", "math/rand/v2": "its global source has no seed",
	}
	for path, f := range sources(t) {
		if l := layerOf(f.folder); (l != "dsp" && f.folder != "instrument" && f.folder != "instrument/rt") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(f.folder, "dsp/measure") || f.folder == "dsp/kernel/assembly" {
			continue
		}
		for _, imp := range f.imports {
			if why := banned[imp]; why != "" {
				t.Errorf("%s imports %q: %s", path, imp, why)
			}
		}
	}
}

// TestInstrumentLinksNoKubernetes: the heap of the process that makes the
// sound stays small.
func TestInstrumentLinksNoKubernetes(t *testing.T) {
	var out, errs bytes.Buffer
	c := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Standard", "./k8s-synth")
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("go list: %v\n%s", err, errs.Bytes())
	}
	by := map[string]string{} // one package that imports each
	var bad []string
	total := 0
	for d := json.NewDecoder(&out); ; {
		var p struct {
			ImportPath string
			Imports    []string
			Standard   bool
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		total++
		for _, i := range p.Imports {
			by[i] = p.ImportPath
		}
		for _, no := range []string{"k8s.io/", "sigs.k8s.io/controller-runtime", "sigs.k8s.io/kwok", "go.etcd.io/", "github.com/Azure/"} {
			if strings.HasPrefix(p.ImportPath, no) {
				bad = append(bad, p.ImportPath)
			}
		}
	}
	if total < 20 {
		t.Fatalf("go list named %d packages", total)
	}
	for i, p := range bad {
		if i == 10 {
			t.Errorf("and %d more", len(bad)-10)
			break
		}
		t.Errorf("cmd/k8s-synth links %s, which %s imports: importing the API types alone costs tens of MB of heap, and the garbage of informers makes the render thread late; they live in k8s-synth-kube", p, by[p])
	}
}

// TestPackageComments: each folder says once what its place is.
func TestPackageComments(t *testing.T) {
	docs := map[string][]string{}
	pkgs := map[string]string{}
	for path, f := range sources(t) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		pkgs[f.folder] = f.pkg
		if f.doc != "" {
			docs[f.folder] = append(docs[f.folder], path)
			want := "Package " + f.pkg + " "
			if f.pkg == "main" {
				want = "Command " + filepath.Base(f.folder) + " "
			}
			if !strings.HasPrefix(f.doc, want) {
				t.Errorf("%s: the package comment begins with %q, so that godoc can show it in a list", path, want)
			}
		}
	}
	for folder, pkg := range pkgs {
		if n := len(docs[folder]); n != 1 {
			t.Errorf("%s (package %s) has %d package comments %v, want one: it tells a newcomer the folder's place in the signal path", folder, pkg, n, docs[folder])
		}
	}
}

// TestTopLevel: what stands at the top is the first thing that a newcomer sees.
func TestTopLevel(t *testing.T) {
	allowed := []string{
		"cmd", "instrument", "dsp", "mapping", "kube", "hardware", "scenes",
		".git", ".github", ".gitignore", ".gitattributes", ".ci", ".cache", "bin",
		"LICENSE", "NOTICE", "README.md", "CHANGELOG.md", "Makefile", "go.mod", "go.sum",
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var ignored func(string) bool
	if text, err := os.ReadFile(filepath.Join(root, ".gitignore")); err == nil {
		lines := strings.Fields(string(text))
		ignored = func(name string) bool {
			return slices.ContainsFunc(lines, func(l string) bool {
				ok, _ := filepath.Match(strings.Trim(l, "/"), name)
				return ok
			})
		}
	}
	for _, e := range entries {
		if !slices.Contains(allowed, e.Name()) && (ignored == nil || !ignored(e.Name())) {
			t.Errorf("%s: the top level holds only %s: what a newcomer sees first is the layout", e.Name(), strings.Join(allowed, ", "))
		}
	}
}

// TestNames: folders are named for what they hold.
func TestNames(t *testing.T) {
	for path, f := range sources(t) {
		for part := range strings.SplitSeq(f.folder, "/") {
			if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "base", "pkg", "internal"}, part) {
				t.Errorf("%s: a folder named %q says nothing of what it holds; name the thing", path, part)
			}
		}
		for _, word := range []string{"TO" + "DO", "FIX" + "ME", "not " + "implemented"} {
			if bytes.Contains(f.text, []byte(word)) {
				t.Errorf("%s says %q: what is missing is an issue, not a comment", path, word)
			}
		}
	}
}

// TestFormatted: every file is as gofmt would write it.
func TestFormatted(t *testing.T) {
	for path, f := range sources(t) {
		want, err := format.Source(f.text)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if !bytes.Equal(want, f.text) {
			t.Errorf("%s is not formatted; run gofmt -w on it", path)
		}
	}
}
