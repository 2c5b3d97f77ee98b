package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// programs builds one real program, and places it under the names of all: what
// is tested is the packing, and the others take minutes to build. The real
// ones run as containers in the real node's test.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	first := filepath.Join(dir, "k8s-synth-voice")
	c := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", first, "../../cmd/k8s-synth-voice")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, p := range Programs(Specs...) {
		if file := filepath.Join(dir, p); file != first {
			if err := os.Link(first, file); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// TestImages builds every image, writes it, reads the file as a container
// engine does, and looks at all that is in it.
func TestImages(t *testing.T) {
	bin, out := programs(t), t.TempDir()
	program, err := os.ReadFile(filepath.Join(bin, "k8s-synth-voice"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Specs {
		t.Run(s.Name, func(t *testing.T) {
			image, err := s.Build(bin)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(out, s.Name+".tar")
			if err := Write(file, image, Reference(s.Name)); err != nil {
				t.Fatal(err)
			}
			// Again, later, with files of another date: the same bytes.
			first, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range s.Files {
				if err := os.Chtimes(filepath.Join(bin, f.Program), time.Now(), time.Now().Add(-time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			if image, err = s.Build(bin); err != nil {
				t.Fatal(err)
			}
			if err := Write(file, image, Reference(s.Name)); err != nil {
				t.Fatal(err)
			}
			if again, err := os.ReadFile(file); err != nil || !bytes.Equal(first, again) {
				t.Errorf("built twice, the files differ (%v)", err)
			}

			read, err := tarball.ImageFromPath(file, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Image(read); err != nil {
				t.Errorf("not a valid image: %v", err)
			}
			manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) })
			if err != nil || len(manifest) != 1 || len(manifest[0].RepoTags) != 1 || manifest[0].RepoTags[0] != Reference(s.Name) {
				t.Errorf("names in the archive: %+v, %v; want %s", manifest, err, Reference(s.Name))
			}
			config, err := read.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if c := config.Config; c.User != "65532:65532" || len(c.Entrypoint) == 0 || c.Entrypoint[0] != s.Files[0].Path || !strings.HasPrefix(c.Env[0], "PATH=/usr/local/bin:") {
				t.Errorf("config: %+v", c)
			}
			for _, label := range []string{"title", "description", "version", "source", "licenses"} {
				if config.Config.Labels["org.opencontainers.image."+label] == "" {
					t.Errorf("no label org.opencontainers.image.%s", label)
				}
			}
			if config.OS != "linux" || config.Architecture == "" {
				t.Errorf("platform %s/%s", config.OS, config.Architecture)
			}
			files := contents(t, read)
			for _, f := range s.Files {
				entry, ok := files[strings.TrimPrefix(f.Path, "/")]
				if !ok || entry.header.Mode != 0o755 || !bytes.Equal(entry.data, program) {
					t.Errorf("%s: in the image %v, %d bytes", f.Path, ok, len(entry.data))
				}
			}
			for _, d := range s.Dirs {
				if e, ok := files[strings.TrimPrefix(d, "/")]; !ok || e.header.Typeflag != tar.TypeDir || e.header.Uid != User {
					t.Errorf("directory %s: %v %+v", d, ok, e.header)
				}
			}
			if e, ok := files["tmp"]; !ok || e.header.Mode != 0o1777 {
				t.Errorf("/tmp: %v %+v", ok, e.header)
			}
			for name, e := range files {
				if strings.Contains(name, "sh") && e.header.Typeflag == tar.TypeReg && e.header.Mode&0o111 != 0 && len(e.data) != len(program) {
					t.Errorf("%s: an image needs no shell", name)
				}
				if !e.header.ModTime.Equal(epoch) {
					t.Errorf("%s is dated %v", name, e.header.ModTime)
				}
			}
		})
	}
}

type entry struct {
	header *tar.Header
	data   []byte
}

func contents(t *testing.T, image v1.Image) map[string]entry {
	t.Helper()
	r := mutate.Extract(image)
	defer r.Close()
	all := map[string]entry{}
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(h.Name, "/")] = entry{h, data}
	}
}

func TestBuildRefusesWhatWouldNotRun(t *testing.T) {
	dir := t.TempDir()
	pause, err := Find("pause")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pause.Build(dir); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
	file := filepath.Join(dir, "k8s-synth-voice")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := pause.Build(dir); err == nil || !strings.Contains(err.Error(), "expected a Linux program") {
		t.Errorf("a script: %v", err)
	}
	// Something of the system that surely is linked dynamically.
	shell, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no program with shared libraries found: bash")
	}
	text, err := os.ReadFile(shell)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := pause.Build(dir); err == nil || !strings.Contains(err.Error(), "needs the shared libraries") {
		t.Errorf("a program with shared libraries: %v", err)
	}
	if _, err := Find("drum"); err == nil || !strings.Contains(err.Error(), "there are voice, pause") {
		t.Errorf("an image that is not there: %v", err)
	}
}
