//go:build !tinygo

package main

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sources is an importer that takes the packages of TinyGo from testdata, ours
// from their folders, and the rest as the compiler does.
type sources struct {
	t     *testing.T
	files *token.FileSet
	rest  types.Importer
	seen  map[string]*types.Package
}

func (s *sources) Import(path string) (*types.Package, error) {
	if p := s.seen[path]; p != nil {
		return p, nil
	}
	from, own := strings.CutPrefix(path, "github.com/k8s-synth/k8s-synth/hardware/backplane")
	switch {
	case own:
		from = filepath.Join("..", "..", from)
	case path == "machine" || strings.HasPrefix(path, "machine/"):
		from = filepath.Join("testdata", path)
	default:
		return s.rest.Import(path)
	}
	p, err := s.check(path, filepath.Join(from, "*.go"))
	s.seen[path] = p
	return p, err
}

func (s *sources) check(path string, patterns ...string) (*types.Package, error) {
	var files []*ast.File
	for _, pattern := range patterns {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			s.t.Fatalf("%s: no files: %v", pattern, err)
		}
		for _, n := range names {
			if strings.HasSuffix(n, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(s.files, n, nil, 0)
			if err != nil {
				return nil, err
			}
			files = append(files, f)
		}
	}
	c := types.Config{Importer: s}
	return c.Check(path, s.files, files, nil)
}

// TestFirmwareCompiles checks the types of the firmware, with either transport,
// against a stand-in for TinyGo's machine. What TinyGo itself makes of it is
// beyond this test.
func TestFirmwareCompiles(t *testing.T) {
	for _, transport := range []string{"serial.go", "sysex.go"} {
		s := &sources{t: t, files: token.NewFileSet(), seen: map[string]*types.Package{}}
		s.rest = importer.ForCompiler(s.files, "gc", nil)
		p, err := s.check("rp2040", "main.go", transport)
		if err != nil {
			t.Errorf("%s: %v", transport, err)
			continue
		}
		if !slices.Contains(p.Scope().Names(), "main") {
			t.Errorf("%s: no main", transport)
		}
	}
}
