package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/web/site"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// Every module has an example that the program reads, of a scene that does
// what it says.
func TestSiteExamples(t *testing.T) {
	cfg, err := siteConfig()
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range instrument.Specs() {
		e, ok := cfg.Examples[spec.Kind]
		if !ok {
			t.Errorf("%s has no example; give it one in parts.yaml", spec.Kind)
			continue
		}
		// What is on the sheet is a scene that the program opens and plays.
		sc, err := scenes.Parse(spec.Kind+".yaml", []byte(e.YAML))
		if err != nil {
			t.Errorf("the example of %s: %v\n%s", spec.Kind, err, e.YAML)
			continue
		}
		m := &sc.Patch.Modules[0]
		if m.ID.Kind() != spec.Kind || len(sc.Patch.Cables) != len(e.Cables) {
			t.Errorf("the example of %s begins with %s and has %d cables of %d", spec.Kind, m.ID, len(sc.Patch.Cables), len(e.Cables))
		}
		if err := sc.Patch.Validate(); err != nil {
			t.Errorf("the example of %s: %v", spec.Kind, err)
		}
		for _, c := range sc.Patch.Cables {
			if c.From.Module != m.ID && c.To.Module != m.ID {
				t.Errorf("%s: the cable %s -> %s is another module's", m.ID, c.From, c.To)
			}
		}
		if e.Scene == "" {
			continue
		}
		if !slices.ContainsFunc(cfg.Pieces, func(p site.Piece) bool { return p.Name == e.Scene }) {
			t.Errorf("%s is from %s, which is no piece", m.ID, e.Scene)
		}
	}
}

// Every piece that ships is told of, with a script and with what happens in it.
func TestSitePieces(t *testing.T) {
	cfg, err := siteConfig()
	if err != nil {
		t.Fatal(err)
	}
	list, err := (&scenes.Store{}).List()
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Pieces) != len(list) || cfg.Pieces[0].Name != siteFirst {
		t.Errorf("%d pieces of %d, the first is %s", len(cfg.Pieces), len(list), cfg.Pieces[0].Name)
	}
	for _, p := range cfg.Pieces {
		if p.Title == "" || p.About == "" || p.Script == "" || p.ScriptAbout == "" || p.Modules == 0 || p.Cables == 0 {
			t.Errorf("%s lacks something: %+v", p.Name, p)
			continue
		}
		s := p.Score
		if s == nil || s.Seconds < 10 || s.Seconds > siteSeconds {
			t.Errorf("%s: the score is %+v", p.Name, s)
			continue
		}
		if len(s.Lanes) == 0 && p.Name != "etcd" {
			t.Errorf("%s: no pod is in the score", p.Name)
		}
		for i, lane := range s.Lanes {
			for k, sp := range lane {
				if sp.To <= sp.From || sp.From < 0 || sp.State == "" || sp.Pod == "" || k > 0 && sp.From < lane[k-1].To {
					t.Errorf("%s: lane %d: %+v", p.Name, i, lane)
				}
			}
		}
	}
}

// The pages are written where nothing else is, and once more over themselves:
// they are the same to the byte.
func TestWriteSite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pages")
	var said bytes.Buffer
	write := func(o siteOptions) error {
		said.Reset()
		return writeSite(context.Background(), o, &said)
	}
	if err := write(siteOptions{dir: dir, base: "https://example.org/synth"}); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
	if err != nil || !regexp.MustCompile(`wrote \d+ files, \d+\.\d MB \(0\.0 MB of it sound\)`).Match(said.Bytes()) {
		t.Errorf("%v: %s", err, said.Bytes())
	}
	if err := write(siteOptions{dir: dir, base: "https://example.org/synth/"}); err != nil || !strings.Contains(said.String(), "; 0 are new or changed, 0 were removed") {
		t.Errorf("again: %v, %s", err, said.Bytes())
	}
	if again, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS")); err != nil || !bytes.Equal(first, again) {
		t.Errorf("written twice, the pages differ: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "index.html"))
	if err != nil || !bytes.Contains(text, []byte(`href="https://example.org/synth/"`)) || bytes.Contains(text, []byte("<audio")) {
		t.Errorf("%v: %.400s", err, text)
	}
	if _, err := os.Stat(filepath.Join(dir, "sitemap.xml")); err != nil {
		t.Error(err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "thesis.txt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Before anything is rendered.
	if err := write(siteOptions{dir: other, audio: true, seconds: 600}); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("into a folder of something else: %v", err)
	}
	if err := write(siteOptions{dir: other, force: true}); err != nil {
		t.Error(err)
	}
	for _, args := range [][]string{{"site"}, {"site", "-o", dir, "--base", "here"}, {"site", "-o", dir, "--base", "https://"}, {"site", "-o", dir, "--base", "https://e.org/?a=b"}, {"site", "-o", dir, "--seconds", "0"}, {"site", "-o", dir, "more"}} {
		if code := run(context.Background(), args); code != exitUsage {
			t.Errorf("%v ends with %d", args, code)
		}
	}
}

// Examples are rendered beside the pages, which have them; the same twice, to
// the bit, within the same bounds of level, faded and as long as is told.
func TestSiteSound(t *testing.T) {
	cfg, err := siteConfig()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"default", "etcd"}
	render := func() ([]site.Piece, map[string][]byte, string) {
		var pieces []site.Piece
		for _, p := range cfg.Pieces {
			if slices.Contains(names, p.Name) {
				pieces = append(pieces, p)
			}
		}
		var said bytes.Buffer
		files, err := renderExamples(context.Background(), pieces, 2, &said)
		if err != nil {
			t.Fatal(err)
		}
		return pieces, files, said.String()
	}
	pieces, files, said := render()
	_, again, _ := render()
	for _, p := range pieces {
		sound := files[p.Sound]
		if p.Sound != "sound/"+p.Name+".flac" || p.Seconds != 2 || len(sound) < 10_000 || len(sound) > 2*4*siteRate || flacFrames(sound) != 2*siteRate {
			t.Errorf("%s: %q, %g s, %d bytes, %d frames", p.Name, p.Sound, p.Seconds, len(sound), flacFrames(sound))
		}
		if !bytes.Equal(sound, again[p.Sound]) {
			t.Errorf("%s: rendered twice, it is two sounds", p.Name)
		}
		top := slices.Max(p.Score.High)
		if len(p.Score.High) != siteColumns || top < 0.001 || top > 1 || p.Score.Seconds != 2 {
			t.Errorf("%s: the wave has %d columns up to %g", p.Name, len(p.Score.High), top)
		}
		if end := p.Score.High[siteColumns-1]; end > top/20 {
			t.Errorf("%s ends at %g, and its top is %g", p.Name, end, top)
		}
		if !strings.Contains(said, "of 2 sounds: "+p.Name+", 2 s, ") {
			t.Errorf("%s is not told of: %s", p.Name, said)
		}
	}
	for i := range cfg.Pieces {
		if k := slices.IndexFunc(pieces, func(p site.Piece) bool { return p.Name == cfg.Pieces[i].Name }); k >= 0 {
			cfg.Pieces[i] = pieces[k]
		}
	}
	s, err := site.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"index.html", "listen.html"} {
		if text, err := s.File(n); err != nil || !bytes.Contains(text, []byte(`src="sound/default.flac"`)) || !bytes.Contains(text, []byte("2 s. ")) || bytes.Contains(text, []byte("data-progress")) {
			t.Errorf("%s has no sound: %v", n, err)
		}
	}
	stopped, stop := context.WithCancel(context.Background())
	stop()
	if _, err := renderExamples(stopped, slices.Clone(cfg.Pieces), 2, io.Discard); err == nil || !strings.Contains(err.Error(), "nothing was written") {
		t.Errorf("an interrupt was not heard: %v", err)
	}
}

// flacSounds are sounds that are awkward to encode.
func flacSounds() map[string][2][]float32 {
	r := rand.New(rand.NewPCG(1, 2))
	n := 3*flacBlock + 1234
	make2 := func(f func(i int) (float32, float32)) (s [2][]float32) {
		for i := range n {
			a, b := f(i)
			s[0], s[1] = append(s[0], a), append(s[1], b)
		}
		return s
	}
	return map[string][2][]float32{
		"silence": make2(func(int) (float32, float32) { return 0, 0 }),
		"steady":  make2(func(int) (float32, float32) { return -5, 5 }),
		"noise": make2(func(int) (float32, float32) {
			return r.Float32()*14 - 7, r.Float32()*14 - 7
		}),
		"square": make2(func(i int) (float32, float32) { return 10 * float32(i/100%2*2-1), -10 * float32(i/100%2*2-1) }),
		"tone": make2(func(i int) (float32, float32) {
			v := float32(4 * math.Sin(float64(i)*0.03))
			return v, v * 0.7
		}),
		"one frame": {{1}, {2}},
		"clicks":    make2(func(i int) (float32, float32) { return float32(5 * max(0, 1-i%997)), 0 }),
		"many": func() (s [2][]float32) { // numbers of frames of two bytes and more
			for i := range 140 * flacBlock {
				s[0], s[1] = append(s[0], float32(i%7)*0.001), append(s[1], 0)
			}
			return s
		}(),
	}
}

// What comes out of a decoder that is not ours is what went in, to the bit.
func TestFLAC(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("no ffmpeg, which would decode it")
	}
	for name, s := range flacSounds() {
		path := filepath.Join(t.TempDir(), "x.flac")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := writeFLAC(f, 48000, s[0], s[1], 1.0/instrument.AudioVolts); err != nil {
			t.Fatal(err)
		}
		f.Close()
		var out, said bytes.Buffer
		c := exec.Command(ffmpeg, "-v", "warning", "-err_detect", "crccheck+bitstream+explode", "-i", path, "-f", "s16le", "-")
		c.Stdout, c.Stderr = &out, &said
		if err := c.Run(); err != nil || said.Len() > 0 {
			t.Errorf("%s: %v: %s", name, err, said.Bytes())
			continue
		}
		got := make([]int16, out.Len()/2)
		if _, err := binary.Decode(out.Bytes(), binary.LittleEndian, got); err != nil {
			t.Fatal(err)
		}
		if len(got) != 2*len(s[0]) {
			t.Errorf("%s: %d samples of %d", name, len(got), 2*len(s[0]))
			continue
		}
		for i, v := range got {
			want := int16(math.Round(float64(min(max(s[i%2][i/2]*(1.0/instrument.AudioVolts), -1), 1)) * 32767))
			if v != want {
				t.Errorf("%s: sample %d is %d, want %d", name, i, v, want)
				break
			}
		}
	}
}

// What is quiet or steady is small, and noise is hardly larger than a WAV file.
func TestFLACSize(t *testing.T) {
	for name, s := range flacSounds() {
		var b bytes.Buffer
		if err := writeFLAC(&b, 48000, s[0], s[1], 1.0/instrument.AudioVolts); err != nil {
			t.Fatal(err)
		}
		share := float64(b.Len()) / float64(4*len(s[0]))
		most := map[string]float64{"silence": 0.01, "steady": 0.01, "tone": 0.45, "many": 0.3, "noise": 1.08}[name]
		if most > 0 && share > most {
			t.Errorf("%s: %.0f %% of a WAV file, over %.0f %%", name, 100*share, 100*most)
		}
	}
	if err := writeFLAC(failing{}, 48000, []float32{0}, []float32{0}, 1); err == nil {
		t.Error("a disk that is full was not told of")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
