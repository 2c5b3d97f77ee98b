package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// scopePicture is what the running instrument answers for a scope.
type scopePicture struct {
	Name  string           `json:"name"`
	Trace instrument.Trace `json:"trace"`
}

// serveScope answers with the newest picture of the scope that is named, or of
// the only one that there is.
func (p *player) serveScope(w http.ResponseWriter, r *http.Request) {
	answer := scopePicture{Name: r.FormValue("name")}
	var scopes []string
	found, taken := false, false
	asked := p.ask(func() {
		patch := p.rack.Patch()
		for i := range patch.Modules {
			if id := patch.Modules[i].ID; id.Kind() == "scope" {
				scopes = append(scopes, id.Name())
			}
		}
		if answer.Name == "" && len(scopes) == 1 {
			answer.Name = scopes[0]
		}
		for _, s := range scopes {
			if s == answer.Name {
				found, taken = true, p.rack.Trace(instrument.ModuleID("scope/"+s), &answer.Trace)
			}
		}
	})
	switch {
	case !asked:
		http.Error(w, errAway.Error(), http.StatusServiceUnavailable)
	case len(scopes) == 0:
		http.Error(w, "the patch has no scope; add a module scope/NAME to the scene and a cable to its a", http.StatusNotFound)
	case answer.Name == "":
		http.Error(w, "name one of "+strings.Join(scopes, ", "), http.StatusNotFound)
	case !found:
		http.Error(w, fmt.Sprintf("there is no scope %q; there is %s", answer.Name, strings.Join(scopes, ", ")), http.StatusNotFound)
	case !taken:
		http.Error(w, "no picture was taken yet; one takes as long as the scope's time", http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func scopeCommand() *cobra.Command {
	var dir, svg string
	var follow bool
	c := &cobra.Command{
		Use: "scope [NAME]", Short: "Show what a Scope of the running instrument sees", Args: cobra.MaximumNArgs(1),
		Long: `Shows the newest picture of a Scope module of the running instrument, in the
terminal or as an SVG file. NAME may be left out where there is only one.`,
		Example: `  k8s-synth scope
  k8s-synth scope main --follow
  k8s-synth scope main --svg wave.svg`,
		RunE: func(cmd *cobra.Command, args []string) error {
			d, err := stateDirPath(dir)
			if err != nil {
				return err
			}
			if follow && svg != "" {
				return usageError{errors.New("--follow shows pictures in the terminal; it goes without --svg")}
			}
			if svg != "" && ending(svg) != ".svg" {
				return usageError{fmt.Errorf("--svg draws SVG files; name one that ends in .svg, not %q", svg)}
			}
			name := ""
			if len(args) > 0 {
				name = strings.TrimPrefix(args[0], "scope/")
			}
			fetchOne := func(ctx context.Context) (*scopePicture, error) {
				var p scopePicture
				if err := fetch(ctx, socketPath(d), "/scope?name="+url.QueryEscape(name), &p); err != nil {
					return nil, err
				}
				if n := p.Trace.Points; n < 1 || n > instrument.TracePoints {
					return nil, fmt.Errorf("scope: a picture of %d points; the instrument is of another version", n)
				}
				return &p, nil
			}
			p, err := fetchOne(cmd.Context())
			if err != nil {
				return err
			}
			if svg != "" {
				return writeScope(svg, &p.Trace)
			}
			out := cmd.OutOrStdout()
			for {
				columns, lines := 100, 32
				if w, h, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
					columns, lines = min(w, 160), min(h-3, 48)
				}
				if p.Trace.HasA && p.Trace.HasB {
					lines /= 2
				}
				if follow {
					fmt.Fprint(out, "\x1b[H\x1b[J")
				}
				fmt.Fprint(out, p.Trace.Text(columns, lines))
				if !follow {
					return nil
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(100 * time.Millisecond):
				}
				if p, err = fetchOne(cmd.Context()); err != nil {
					if cmd.Context().Err() != nil {
						return nil
					}
					return err
				}
			}
		},
	}
	f := c.Flags()
	f.StringVar(&svg, "svg", "", "SVG file to draw in")
	f.BoolVar(&follow, "follow", false, "show one picture after the other until Ctrl-C")
	f.StringVar(&dir, "state-dir", "", "the instrument's state directory")
	return c
}

// writeScope writes a picture as SVG, whole or not at all.
func writeScope(path string, t *instrument.Trace) error {
	if err := writeWhole(path, t.WriteSVG); err != nil {
		return fmt.Errorf("scope: %w", err)
	}
	return nil
}

// writeWhole writes a file that anyone may read, whole or not at all.
func writeWhole(path string, write func(io.Writer) error) error {
	return document.WriteWhole(path, 0o644, write)
}
