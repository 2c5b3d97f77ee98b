package vcv

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// File is one .vcv.
type File struct {
	// Root is patch.json as it is read, with its numbers as json.Number, and
	// with what older versions of Rack wrote another way brought into the form
	// of Rack 2.
	Root map[string]any
	// Files are those of the modules, by their path: modules/ID/NAME.
	Files map[string][]byte
	// Older tells that it was the plain JSON of a Rack before 2.
	Older bool
	// Upgraded says what was brought into another form.
	Upgraded []string

	modules []*module
	cables  []*cable
}

const patchName = "patch.json"

// zstdMagic begins every file of Rack 2.
var zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// Load reads the file at a path.
func Load(file string) (*File, error) {
	r, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, err := Read(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return f, nil
}

// Read reads a .vcv of any version.
func Read(r io.Reader) (*File, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("the file is longer than %d MB; a .vcv is not", MaxFile>>20)
	}
	f := &File{Files: map[string][]byte{}}
	text := data
	if bytes.HasPrefix(data, zstdMagic) {
		if text, err = f.unpack(data); err != nil {
			return nil, err
		}
	} else {
		f.Older = true
	}
	if len(text) > MaxPatch {
		return nil, fmt.Errorf("%s is longer than %d MB", patchName, MaxPatch>>20)
	}
	if f.Root, err = parseJSON(text); err != nil {
		if f.Older {
			return nil, fmt.Errorf("this is neither an archive of Rack 2 nor the JSON of an older Rack: %w", err)
		}
		return nil, fmt.Errorf("%s: %w", patchName, err)
	}
	if err := f.read(); err != nil {
		return nil, fmt.Errorf("%s: %w", patchName, err)
	}
	return f, nil
}

// unpack reads the archive and returns patch.json.
func (f *File) unpack(data []byte) (text []byte, err error) {
	z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxUnpacked), zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	defer z.Close()
	limit := &io.LimitedReader{R: z, N: MaxUnpacked + 1}
	t := tar.NewReader(limit)
	for n := 0; ; n++ {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			if text == nil {
				return nil, fmt.Errorf("the archive has no %s", patchName)
			}
			return text, nil
		case limit.N <= 0:
			return nil, fmt.Errorf("the archive is longer than %d MB when it is unpacked", MaxUnpacked>>20)
		case err != nil:
			return nil, fmt.Errorf("tar: %w", err)
		case n >= MaxEntries:
			return nil, fmt.Errorf("the archive has more than %d files", MaxEntries)
		}
		name, err := cleanName(h.Name)
		if err != nil {
			return nil, err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			continue
		case tar.TypeReg:
		default:
			return nil, fmt.Errorf("%q in the archive is neither a file nor a folder", h.Name)
		}
		most := int64(MaxUnpacked)
		if name == patchName {
			most = MaxPatch
		}
		if h.Size > most {
			return nil, fmt.Errorf("%q in the archive says that it has %d bytes; the most is %d", h.Name, h.Size, most)
		}
		content, err := io.ReadAll(t)
		if err != nil {
			if limit.N <= 0 {
				return nil, fmt.Errorf("the archive is longer than %d MB when it is unpacked", MaxUnpacked>>20)
			}
			return nil, fmt.Errorf("tar: %s: %w", name, err)
		}
		if name == patchName {
			text = content
			continue
		}
		if _, twice := f.Files[name]; twice {
			return nil, fmt.Errorf("%q is in the archive twice", h.Name)
		}
		f.Files[name] = content
	}
}

// cleanName returns the path of an entry within the archive. One that leads
// out of it is refused: whoever unpacks the file again would follow it.
func cleanName(s string) (string, error) {
	name := path.Clean(s)
	if s == "" || strings.ContainsAny(s, "\\\x00") || !utf8.ValidString(s) || path.IsAbs(s) || name == ".." || strings.HasPrefix(name, "../") || len(name) > 1 && name[1] == ':' {
		return "", fmt.Errorf("the archive has a path that leads out of it: %q", s)
	}
	return name, nil
}

// Write writes the file as Rack 2 does: a tar in zstd at level 1. The same
// file gives the same bytes.
func (f *File) Write(w io.Writer) error {
	text, err := f.JSON()
	if err != nil {
		return err
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(1)), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("zstd: %w", err)
	}
	t := tar.NewWriter(z)
	put := func(name string, content []byte) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
		if content == nil {
			h.Typeflag, h.Mode, h.Name = tar.TypeDir, 0o755, "./"+name+"/"
			if name == "" {
				h.Name = "./"
			}
		}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("tar: %s: %w", name, err)
		}
		_, err := t.Write(content)
		return err
	}
	err = errors.Join(put("", nil), put(patchName, text))
	folders := map[string]bool{".": true}
	for _, name := range slices.Sorted(maps.Keys(f.Files)) {
		var above []string
		for d := path.Dir(name); !folders[d]; d = path.Dir(d) {
			folders[d] = true
			above = append(above, d)
		}
		for _, d := range slices.Backward(above) {
			err = errors.Join(err, put(d, nil))
		}
		content := f.Files[name]
		if content == nil {
			content = []byte{}
		}
		err = errors.Join(err, put(name, content))
	}
	return errors.Join(err, t.Close(), z.Close())
}

// JSON returns patch.json.
func (f *File) JSON() ([]byte, error) {
	var b bytes.Buffer
	if err := writeJSON(&b, f.Root, 0); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	if b.Len() > MaxPatch {
		return nil, fmt.Errorf("%s would be longer than %d MB", patchName, MaxPatch>>20)
	}
	return b.Bytes(), nil
}
