// Command bundle makes the page's files, in dist, of its sources in page, with
// esbuild: modules in TypeScript become one file, small and without comments.
// It runs under go generate in mapping/web, and what it makes is committed, so
// that whoever builds the instrument needs nothing of it; a test tells when it
// was forgotten.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/evanw/esbuild/pkg/api"
)

func main() {
	files, err := bundle("page")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join("dist", name), text, 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// bundle returns the files of the page whose sources are in dir, by name. The
// same sources give the same bytes.
func bundle(dir string) (map[string][]byte, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	r := api.Build(api.BuildOptions{
		EntryPoints:       []string{filepath.Join(abs, "main.ts"), filepath.Join(abs, "sound-worklet.ts"), filepath.Join(abs, "sound-worker.ts"), filepath.Join(abs, "app.css")},
		Outdir:            filepath.Join(abs, "out"),
		Bundle:            true,
		MinifyWhitespace:  true,
		MinifySyntax:      true,
		MinifyIdentifiers: true,
		Format:            api.FormatESModule,
		Target:            api.ES2022,
		Charset:           api.CharsetUTF8,
		LegalComments:     api.LegalCommentsNone,
		LogLevel:          api.LogLevelSilent,
	})
	var errs []error
	for _, m := range r.Errors {
		where := ""
		if l := m.Location; l != nil {
			where = fmt.Sprintf("%s:%d:%d: ", filepath.Base(l.File), l.Line, l.Column+1)
		}
		errs = append(errs, fmt.Errorf("page: %s%s", where, m.Text))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, f := range r.OutputFiles {
		name := filepath.Base(f.Path)
		if name == "main.js" {
			name = "app.js"
		}
		files[name] = f.Contents
	}
	for _, name := range []string{"index.html", "icon.svg"} {
		if files[name], err = os.ReadFile(filepath.Join(abs, name)); err != nil {
			return nil, err
		}
	}
	return files, nil
}
