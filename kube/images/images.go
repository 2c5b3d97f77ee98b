// Package images builds the container images of an installation from static
// programs, without a container engine: one tar file each, which docker load,
// podman load, ctr images import and kind load image-archive take. The same
// programs give the same bytes.
//
// It is no part of the signal path: it packs what the signal path of a cluster
// with real nodes is made of.
package images

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/k8s-synth/k8s-synth/kube/install"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

const (
	// Registry and Version name the images: Registry/voice:Version.
	Registry = install.Registry
	Version  = install.Version
	// User is the user and group that everything runs as: the number that
	// distroless images have made customary, and that Eno asks for.
	User = 65532

	source  = "https://github.com/k8s-synth/k8s-synth"
	license = "Apache-2.0"
	// A PATH lets Eno's executor find the synthesizer by its name.
	binDir = "/usr/local/bin"
)

// epoch dates everything: an image is told from another by its digest.
var epoch = time.Unix(0, 0).UTC()

// File is one program of an image.
type File struct {
	// Program is its name in the directory of the built programs.
	Program string
	// Path is where it is in the image.
	Path string
}

// Spec says what an image holds and how it starts.
type Spec struct {
	Name        string // after Registry/
	Description string
	Files       []File
	Entrypoint  []string
	Cmd         []string
	Env         []string
	Ports       []string // as "8080/tcp"
	// Dirs are empty directories that the user may write to where the root
	// file system is not read-only, and on which volumes are mounted.
	Dirs []string
}

// Specs are the images of an installation.
var Specs = []Spec{
	{
		Name:        "voice",
		Description: "What runs in the pods of a patch: it answers requests with its pod's name and bears synthetic load",
		Files:       []File{{"k8s-synth-voice", "/k8s-synth-voice"}},
		Entrypoint:  []string{"/k8s-synth-voice"},
		Cmd:         []string{"--listen=:8080"},
		Ports:       []string{"8080/tcp"},
	},
	{
		Name:        "pause",
		Description: "The sandbox of a pod: it waits for a signal",
		Files:       []File{{"k8s-synth-voice", "/k8s-synth-voice"}},
		// The runtime takes the sandbox's command from here.
		Entrypoint: []string{"/k8s-synth-voice", "pause"},
	},
	{
		Name:        "topology-synthesizer",
		Description: "The Eno function that turns a topology into Kubernetes objects",
		Files:       []File{{"topology-synthesizer", binDir + "/topology-synthesizer"}},
		Entrypoint:  []string{binDir + "/topology-synthesizer"},
		// Eno's pod mounts its executor here, and starts it in the place of
		// the entrypoint.
		Dirs: []string{"/eno"},
	},
	{
		Name:        "eno",
		Description: "Eno's controller, executor and reconciler (github.com/Azure/eno, MIT)",
		// Eno's pods start "/eno-controller install-executor".
		Files:      []File{{"eno-controller", "/eno-controller"}, {"eno-reconciler", "/eno-reconciler"}},
		Entrypoint: []string{"/eno-controller"},
		Dirs:       []string{"/eno"},
	},
	{
		Name:        "k8s-synth",
		Description: "The instrument and its neighbour at the cluster, without a sound card",
		Files:       []File{{"k8s-synth", binDir + "/k8s-synth"}, {"k8s-synth-kube", binDir + "/k8s-synth-kube"}},
		Entrypoint:  []string{binDir + "/k8s-synth"},
		Cmd:         []string{"play", "--help"},
		Env:         []string{"HOME=/var/lib/k8s-synth", "XDG_STATE_HOME=/var/lib/k8s-synth", "XDG_RUNTIME_DIR=/tmp"},
		Ports:       []string{"9000/udp"},
		Dirs:        []string{"/var/lib/k8s-synth"},
	},
}

// Find returns the image of a name.
func Find(image string) (Spec, error) {
	i := slices.IndexFunc(Specs, func(s Spec) bool { return s.Name == image })
	if i < 0 {
		return Spec{}, fmt.Errorf("no image %q; there are %s", image, strings.Join(Names(), ", "))
	}
	return Specs[i], nil
}

// Names lists the images.
func Names() (all []string) {
	for _, s := range Specs {
		all = append(all, s.Name)
	}
	return all
}

// Reference returns the full name of an image: "ghcr.io/k8s-synth/voice:0.1.0".
func Reference(image string) string { return install.Image(image) }

// Programs lists the programs of some images, each once.
func Programs(specs ...Spec) (all []string) {
	for _, s := range specs {
		for _, f := range s.Files {
			if !slices.Contains(all, f.Program) {
				all = append(all, f.Program)
			}
		}
	}
	return all
}

// Build returns the image with the programs of the directory bin. A program
// that is not there, or needs libraries that an image of programs alone does
// not have, is an error.
func (s Spec) Build(bin string) (v1.Image, error) {
	fail := func(err error) (v1.Image, error) { return nil, fmt.Errorf("image %s: %w", s.Name, err) }
	base, err := layer(s.base)
	if err != nil {
		return fail(err)
	}
	adds := []mutate.Addendum{{Layer: base, History: history("users and directories")}}
	arch := ""
	for _, f := range s.Files {
		file := filepath.Join(bin, f.Program)
		a, err := static(file)
		if err != nil {
			return fail(err)
		}
		if arch != "" && a != arch {
			return fail(fmt.Errorf("%s is for %s, and the program before for %s", file, a, arch))
		}
		arch = a
		l, err := layer(func(w *tar.Writer) error { return writeProgram(w, file, f.Path) })
		if err != nil {
			return fail(err)
		}
		adds = append(adds, mutate.Addendum{Layer: l, History: history(f.Path)})
	}
	image, err := mutate.Append(empty.Image, adds...)
	if err != nil {
		return fail(err)
	}
	have, err := image.ConfigFile()
	if err != nil {
		return fail(err)
	}
	config := have.DeepCopy()
	config.Created = v1.Time{Time: epoch}
	config.Architecture, config.OS = arch, "linux"
	config.Config = v1.Config{
		User:       fmt.Sprintf("%d:%d", User, User),
		Env:        append([]string{"PATH=" + binDir + ":/usr/bin:/bin"}, s.Env...),
		Entrypoint: s.Entrypoint,
		Cmd:        s.Cmd,
		WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title":       s.Name,
			"org.opencontainers.image.description": s.Description,
			"org.opencontainers.image.version":     Version,
			"org.opencontainers.image.source":      source,
			"org.opencontainers.image.licenses":    license,
			"org.opencontainers.image.ref.name":    Reference(s.Name),
		},
	}
	if len(s.Ports) > 0 {
		config.Config.ExposedPorts = map[string]struct{}{}
		for _, p := range s.Ports {
			config.Config.ExposedPorts[p] = struct{}{}
		}
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return fail(err)
	}
	return image, nil
}

func history(what string) v1.History {
	return v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "k8s-synth-images", Comment: what}
}

// Write writes an image as a tar file that container engines load, whole or
// not at all.
func Write(file string, image v1.Image, reference string) error {
	ref, err := name.NewTag(reference, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := document.WriteWhole(file, 0o644, func(w io.Writer) error { return tarball.Write(ref, image, w) }); err != nil {
		return fmt.Errorf("image %s: %w", file, err)
	}
	return nil
}

// layer makes a layer out of what write puts into its tar.
func layer(write func(*tar.Writer) error) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(write(w), w.Close()); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}

// base writes what every program may expect of a system: a name for its user,
// and a place for temporary files.
func (s Spec) base(w *tar.Writer) error {
	dirs := map[string]int64{}
	var order []string
	dir := func(name string, mode int64) {
		for p := path.Dir(name); p != "/"; p = path.Dir(p) {
			if _, ok := dirs[p]; !ok {
				dirs[p] = 0o755
				order = append(order, p)
			}
		}
		if _, ok := dirs[name]; !ok {
			order = append(order, name)
		}
		dirs[name] = mode
	}
	dir("/etc", 0o755)
	dir("/tmp", 0o1777)
	for _, f := range s.Files {
		if d := path.Dir(f.Path); d != "/" {
			dir(d, 0o755)
		}
	}
	for _, d := range s.Dirs {
		dir(d, 0o775)
	}
	slices.Sort(order)
	for _, d := range order {
		h := &tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(d, "/") + "/", Mode: dirs[d], ModTime: epoch, Format: tar.FormatPAX}
		if slices.Contains(s.Dirs, d) {
			h.Uid, h.Gid = User, User
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
	}
	for _, f := range []struct{ name, text string }{
		{"etc/passwd", fmt.Sprintf("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:%d:%[1]d:nonroot:/tmp:/sbin/nologin\n", User)},
		{"etc/group", fmt.Sprintf("root:x:0:\nnonroot:x:%d:\n", User)},
		// Names in /etc/hosts before those of the network.
		{"etc/nsswitch.conf", "hosts: files dns\n"},
	} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.text)), ModTime: epoch, Format: tar.FormatPAX}); err != nil {
			return err
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			return err
		}
	}
	return nil
}

func writeProgram(w *tar.Writer, file, to string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(to, "/"), Mode: 0o755, Size: info.Size(), ModTime: epoch, Format: tar.FormatPAX}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// static checks that a program runs where there is nothing else, and returns
// its architecture in Go's words.
func static(file string) (arch string, err error) {
	f, err := elf.Open(file)
	if err != nil {
		return "", fmt.Errorf("%w; expected a Linux program, as .ci/images builds it", err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			libraries, _ := f.ImportedLibraries()
			return "", fmt.Errorf("%s needs the shared libraries %s, which an image does not have; build it static (CGO_ENABLED=0)", file, strings.Join(libraries, ", "))
		}
	}
	switch f.Machine {
	case elf.EM_X86_64:
		return "amd64", nil
	case elf.EM_AARCH64:
		return "arm64", nil
	}
	return "", fmt.Errorf("%s is for %v; expected amd64 or arm64 (this program is for %s)", file, f.Machine, runtime.GOARCH)
}
