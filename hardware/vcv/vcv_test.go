package vcv

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// rack2 is a patch as Rack 2 writes it, with a voice of Fundamental, a module
// that nobody here knows, and numbers that need all of 53 bits.
const rack2 = `{
  "version": "2.5.2",
  "zoom": 1.1892071150027,
  "gridOffset": [-3.25, 0.5],
  "modules": [
    {"id": 6481312349012345, "plugin": "Core", "model": "MIDIToCVInterface", "version": "2.5.2", "params": [], "rightModuleId": 9007199254740993,
     "data": {"pwRange": 0.0, "smooth": false, "channels": 4, "polyMode": 0, "clockDivision": 24, "lastPitch": 8192, "lastMod": 0,
       "midi": {"driver": 1, "deviceName": "Keystep 37", "channel": -1}}, "pos": [-9, 0]},
    {"id": 9007199254740993, "plugin": "Fundamental", "model": "VCO", "version": "2.6.0",
     "params": [{"value": 1.0, "id": 1}, {"value": -11.75, "id": 2}, {"value": 0.25, "id": 4}, {"value": 0.300000012, "id": 5}, {"value": 0.5, "id": 6}, {"value": 0.0, "id": 7}],
     "leftModuleId": 6481312349012345, "rightModuleId": 17, "pos": [0, 0]},
    {"id": 17, "plugin": "Fundamental", "model": "VCF", "version": "2.6.0",
     "params": [{"value": 0.6, "id": 0}, {"value": 0.4, "id": 2}, {"value": 0.7, "id": 3}, {"value": 0.0, "id": 4}, {"value": 0.0, "id": 5}, {"value": 0.0, "id": 6}],
     "leftModuleId": 9007199254740993, "pos": [9, 0]},
    {"id": 18, "plugin": "Fundamental", "model": "ADSR", "version": "2.6.0",
     "params": [{"value": 0.1, "id": 0}, {"value": 0.5, "id": 1}, {"value": 0.8, "id": 2}, {"value": 0.45, "id": 3}, {"value": 0.0, "id": 4}, {"value": 0.0, "id": 5}, {"value": 0.0, "id": 6}, {"value": 0.0, "id": 7}, {"value": 0.0, "id": 8}], "pos": [0, 1]},
    {"id": 19, "plugin": "Fundamental", "model": "VCA-1", "version": "2.6.0", "params": [{"value": 0.75, "id": 0}, {"value": 1.0, "id": 1}], "pos": [9, 1]},
    {"id": 20, "plugin": "Valley", "model": "Plateau", "version": "2.4.5", "params": [{"value": 0.1, "id": 3}],
     "data": {"panelStyle": 1, "deep": [{"x": 12345678901234567890, "y": 1e-7, "z": null, "s": "<ä>"}]}, "pos": [14, 1]},
    {"id": 21, "plugin": "Core", "model": "AudioInterface2", "version": "2.5.2", "params": [{"value": 1.0, "id": 0}],
     "data": {"audio": {"driver": 5, "deviceName": "", "sampleRate": 48000.0, "blockSize": 256, "inputOffset": 0, "outputOffset": 0}, "dcFilter": true}, "pos": [30, 1]}
  ],
  "cables": [
    {"id": 100, "outputModuleId": 6481312349012345, "outputId": 0, "inputModuleId": 9007199254740993, "inputId": 0, "color": "#f3374b", "inputPlugOrder": 1, "outputPlugOrder": 2},
    {"id": 101, "outputModuleId": 6481312349012345, "outputId": 1, "inputModuleId": 18, "inputId": 4, "color": "#ffb437"},
    {"id": 102, "outputModuleId": 9007199254740993, "outputId": 2, "inputModuleId": 17, "inputId": 3, "color": "#00b56e"},
    {"id": 103, "outputModuleId": 17, "outputId": 0, "inputModuleId": 19, "inputId": 1, "color": "#3695ef"},
    {"id": 104, "outputModuleId": 18, "outputId": 0, "inputModuleId": 19, "inputId": 0, "color": "#8b4ade"},
    {"id": 105, "outputModuleId": 19, "outputId": 0, "inputModuleId": 20, "inputId": 0, "color": "#f3374b"},
    {"id": 106, "outputModuleId": 19, "outputId": 0, "inputModuleId": 21, "inputId": 0, "color": "#f3374b"},
    {"id": 107, "outputModuleId": 20, "outputId": 1, "inputModuleId": 21, "inputId": 1, "color": "#ffffff80"}
  ],
  "masterModuleId": 21
}`

// rack1 is one of Rack 1: plain JSON, disabled in place of bypass.
const rack1 = `{"version": "1.1.6",
 "modules": [
  {"id": 1, "plugin": "Core", "version": "1.1.6", "model": "AudioInterface", "params": [], "leftModuleId": 3, "data": {"audio": {"driver": 5, "offset": 0, "maxChannels": 8, "sampleRate": 44100, "blockSize": 256}}, "pos": [40, 0]},
  {"id": 2, "plugin": "Fundamental", "version": "1.4.0", "model": "VCO", "params": [{"id": 0, "value": 1.0}, {"id": 1, "value": 1.0}, {"id": 2, "value": 12.0}, {"id": 3, "value": 0.5}, {"id": 4, "value": 0.5}, {"id": 5, "value": 0.5}, {"id": 6, "value": 0.0}], "pos": [10, 0]},
  {"id": 3, "plugin": "Fundamental", "version": "1.4.0", "model": "VCMixer", "disabled": true, "params": [{"id": 0, "value": 1.0}, {"id": 1, "value": 0.5}, {"id": 2, "value": 1.0}, {"id": 3, "value": 1.0}, {"id": 4, "value": 1.0}], "pos": [24, 0]}
 ],
 "cables": [
  {"id": 1, "outputModuleId": 2, "outputId": 2, "inputModuleId": 3, "inputId": 1, "color": "#0986ad"},
  {"id": 2, "outputModuleId": 3, "outputId": 0, "inputModuleId": 1, "inputId": 0, "color": "#c91847"},
  {"id": 3, "outputModuleId": 3, "outputId": 0, "inputModuleId": 1, "inputId": 1, "color": "#0c8e15"}
 ]}`

// rack06 is one of Rack 0.6: wires without ids, modules by their place in the
// list, params by paramId.
const rack06 = `{"version": "0.6.2",
 "modules": [
  {"plugin": "Fundamental", "version": "0.6.1", "model": "LFO", "params": [{"paramId": 0, "value": 0.0}, {"paramId": 1, "value": 1.0}, {"paramId": 2, "value": -1.0}], "pos": [0, 0]},
  {"plugin": "Fundamental", "version": "0.6.1", "model": "Scope", "params": [{"paramId": 0, "value": 2.0}], "data": {"lissajous": 0}, "pos": [10, 0]},
  {"plugin": "Fundamental", "version": "0.6.1", "model": "VCF", "params": [{"value": 0.5}, {"value": 0.5}, {"value": 0.2}, {"value": 0.3}, {"value": 0.0}], "pos": [23, 0]}
 ],
 "wires": [
  {"outputModuleId": 0, "outputId": 0, "inputModuleId": 1, "inputId": 0},
  {"outputModuleId": 0, "outputId": 0, "inputModuleId": 2, "inputId": 0}
 ]}`

// rack05 had pixels for positions.
const rack05 = `{"version": "0.5.1", "modules": [{"plugin": "Core", "model": "AudioInterface", "params": [], "pos": [150, 380]}], "wires": []}`

// pack makes an archive as Rack does.
func pack(t testing.TB, entries map[string]string, change func(*tar.Header)) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	var names []string
	for n := range entries {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		h := &tar.Header{Name: n, Mode: 0o644, Size: int64(len(entries[n])), Typeflag: tar.TypeReg}
		if strings.HasSuffix(n, "/") {
			h.Typeflag = tar.TypeDir
		}
		if change != nil {
			change(h)
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, entries[n])
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func archive(t testing.TB) []byte {
	return pack(t, map[string]string{"./": "", "./patch.json": rack2, "./modules/": "", "./modules/20/": "", "./modules/20/state.bin": "\x00\x01\xff", "./modules/20/deep/": "", "./modules/20/deep/a.txt": "a"}, nil)
}

func read(t testing.TB, data []byte) *File {
	t.Helper()
	f, err := Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func imported(t testing.TB, f *File) *Imported {
	t.Helper()
	i, err := f.Import()
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Patch.Validate(); err != nil {
		t.Fatalf("the patch has mistakes: %v", err)
	}
	return i
}

// through writes and reads an Extra, as the player's programs do.
func through(t testing.TB, e *Extra) *Extra {
	t.Helper()
	var b bytes.Buffer
	if err := e.Write(&b); err != nil {
		t.Fatal(err)
	}
	back, err := ReadExtra(&b)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

func exported(t testing.TB, p *instrument.Patch, places map[instrument.ModuleID]Place, e *Extra) (*File, *Report) {
	t.Helper()
	f, r, err := Export(p, places, e)
	if err != nil {
		t.Fatal(err)
	}
	var b, again bytes.Buffer
	if err := errors.Join(f.Write(&b), f.Write(&again)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Error("two writes differ")
	}
	return read(t, b.Bytes()), r
}

// TestUnchangedComesBack: a file that went through a scene is what it was, in
// every number and byte.
func TestUnchangedComesBack(t *testing.T) {
	f := read(t, archive(t))
	i := imported(t, f)
	back, report := exported(t, i.Patch, i.Places, through(t, i.Extra))
	want, err := parseJSON([]byte(rack2))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(want, back.Root) {
		a, _ := (&File{Root: want}).JSON()
		b, _ := back.JSON()
		t.Errorf("it was\n%s\nand is\n%s", a, b)
	}
	if !reflect.DeepEqual(f.Files, back.Files) || len(back.Files) != 2 {
		t.Errorf("files: %v", back.Files)
	}
	if len(report.Lost) > 0 {
		t.Errorf("lost: %v", report.Lost)
	}
}

// TestImportOfRack2 holds what a voice of Fundamental is here to what Rack
// makes of its params.
func TestImportOfRack2(t *testing.T) {
	i := imported(t, read(t, archive(t)))
	for _, c := range []struct {
		module instrument.ModuleID
		param  string
		want   float64
	}{
		{"vco/vco-1", "tune", -12}, {"vco/vco-1", "fine", 25}, {"vco/vco-1", "fm_exp", 0.25}, {"vco/vco-1", "width", 0.3}, {"vco/vco-1", "width_att", 0.5},
		{"vcf/vcf-1", "cutoff", 261.6255653 * 2}, {"vcf/vcf-1", "resonance", 0.4}, {"vcf/vcf-1", "cutoff_att", 0.7}, {"vcf/vcf-1", "drive", 0},
		{"adsr/adsr-1", "attack", 0.001 * math.Pow(10000, 0.1) * math.Log(6)}, {"adsr/adsr-1", "decay", 0.1 * math.Log(1000)}, {"adsr/adsr-1", "sustain", 0.8},
		{"vca/vca-1", "gain", 0.75}, {"vca/vca-1", "response", 0}, {"audio_out/audio-out-1", "level", -6.0205999},
		{"midi_in/midi-in-1", "voices", 4}, {"midi_in/midi-in-1", "mode", 0}, {"midi_in/midi-in-1", "channel", 0}, {"midi_in/midi-in-1", "bend_range", 0},
	} {
		m := i.Patch.Module(c.module)
		if m == nil {
			t.Errorf("there is no %s", c.module)
			continue
		}
		if got := m.Value(c.param); math.Abs(got-c.want) > 1e-6*math.Max(1, math.Abs(c.want)) {
			t.Errorf("%s/%s is %.9g, expected %.9g", c.module, c.param, got, c.want)
		}
	}
	if got := i.Patch.Module("midi_in/midi-in-1").Word("port"); got != "Keystep 37" {
		t.Errorf("port is %q", got)
	}
	var cables []string
	for _, c := range i.Patch.Cables {
		cables = append(cables, c.From.String()+" "+c.To.String())
	}
	want := []string{"midi_in/midi-in-1/pitch vco/vco-1/pitch", "midi_in/midi-in-1/gate adsr/adsr-1/gate", "vco/vco-1/saw vcf/vcf-1/in",
		"vcf/vcf-1/low vca/vca-1/in", "adsr/adsr-1/envelope vca/vca-1/cv", "vca/vca-1/out audio_out/audio-out-1/left"}
	if !slices.Equal(cables, want) {
		t.Errorf("cables are\n%s\nexpected\n%s", strings.Join(cables, "\n"), strings.Join(want, "\n"))
	}
	if p := i.Places["adsr/adsr-1"]; p != (Place{1, 9}) {
		t.Errorf("the ADSR stands at %v; it stood 9 HP to the right of the leftmost, in the second row", p)
	}
	if a, b := i.Places["midi_in/midi-in-1"], i.Places["vco/vco-1"]; b.HP != a.HP+instrument.Spec("midi_in").HP {
		t.Errorf("the VCO stands at %v, not beside the wider %v", b, a)
	}
	kept := fmt.Sprint(i.Report.Kept)
	for _, s := range []string{"Valley Plateau (module 20)", "cable 105", "cable 107"} {
		if !strings.Contains(kept, s) {
			t.Errorf("%s is not reported as kept: %s", s, kept)
		}
	}
	if len(i.Report.Mapped) != 6 {
		t.Errorf("%d modules are mapped", len(i.Report.Mapped))
	}
	if notes := fmt.Sprint(i.Report.Mapped); !strings.Contains(notes, "ladder") {
		t.Errorf("nothing says that the filter is another: %s", notes)
	}
}

// TestChangesGoBack turns knobs, pulls and plugs cables, and takes a module
// out, and looks at what the file says then.
func TestChangesGoBack(t *testing.T) {
	i := imported(t, read(t, archive(t)))
	p := i.Patch
	p.Module("vco/vco-1").Params["tune"] = 7
	p.Module("vcf/vcf-1").Params["cutoff"] = 1000
	p.Module("adsr/adsr-1").Params["release"] = 2
	p.Modules = append(p.Modules, instrument.Module{ID: "deployment/web", Params: map[string]float64{"replicas": 4}, Text: map[string]string{"labels": "app=web"}})
	p.Cables = slices.DeleteFunc(p.Cables, func(c instrument.Cable) bool { return c.From.Jack == "saw" })
	for _, s := range [][2]string{{"vco/vco-1/pulse", "vcf/vcf-1/in"}, {"deployment/web/load", "vcf/vcf-1/cutoff_cv"}} {
		from, _ := instrument.ParseJackRef(s[0])
		to, _ := instrument.ParseJackRef(s[1])
		p.Cables = append(p.Cables, instrument.Cable{From: from, To: to})
	}
	back, report := exported(t, p, i.Places, through(t, i.Extra))
	again := imported(t, back)
	if again.Patch.Module("vco/vco-1").Value("tune") != 7 || math.Abs(again.Patch.Module("vcf/vcf-1").Value("cutoff")-1000) > 0.01 || math.Abs(again.Patch.Module("adsr/adsr-1").Value("release")-2) > 1e-4 {
		t.Errorf("knobs: %+v", again.Patch.Modules)
	}
	web := again.Patch.Module("deployment/web")
	if web == nil || web.Value("replicas") != 4 || web.Word("labels") != "app=web" {
		t.Errorf("the Deployment is %+v", web)
	}
	if got, want := len(again.Patch.Cables), len(p.Cables); got != want {
		t.Errorf("%d cables, expected %d", got, want)
	}
	vco := back.modules[1]
	if vco.id != 9007199254740993 || vco.plugin != "Fundamental" || vco.params[2] != 7.25 || vco.params[5] != 0.3 {
		t.Errorf("the VCO is %+v", vco)
	}
	// What was not turned is what it was, to the digit.
	text, _ := back.JSON()
	for _, s := range []string{`"value": 0.300000012`, `"x": 12345678901234567890`, `"color": "#ffffff80"`, `"masterModuleId": 21`} {
		if !bytes.Contains(text, []byte(s)) {
			t.Errorf("%s is gone", s)
		}
	}
	if len(report.Lost) > 0 {
		t.Errorf("lost: %v", report.Lost)
	}

	// A change that the module of another cannot say, and one that is gone.
	p.Module("vco/vco-1").Params["fm_lin"] = 0.5
	p.Modules = slices.DeleteFunc(p.Modules, func(m instrument.Module) bool { return m.ID == "adsr/adsr-1" })
	p.Cables = slices.DeleteFunc(p.Cables, func(c instrument.Cable) bool {
		return c.From.Module == "adsr/adsr-1" || c.To.Module == "adsr/adsr-1"
	})
	back, report = exported(t, p, i.Places, through(t, i.Extra))
	lost := fmt.Sprint(report.Lost)
	if !strings.Contains(lost, "Fundamental ADSR") || !strings.Contains(lost, "Fundamental VCO") || !strings.Contains(lost, PluginSlug) {
		t.Errorf("lost: %s", lost)
	}
	again = imported(t, back)
	if v := again.Patch.Module("vco/vco-1"); v == nil || v.Value("fm_lin") != 0.5 || v.Value("fm_exp") != 0.25 {
		t.Errorf("the VCO is %+v", v)
	}
	if again.Patch.Module("adsr/adsr-1") != nil || len(again.Patch.Cables) != len(p.Cables) {
		t.Errorf("%d cables, expected %d", len(again.Patch.Cables), len(p.Cables))
	}
}

// TestOlderFiles reads what older Racks wrote.
func TestOlderFiles(t *testing.T) {
	f := read(t, []byte(rack1))
	i := imported(t, f)
	if !f.Older || len(i.Patch.Cables) != 3 || f.Root["version"] != RackVersion {
		t.Errorf("Rack 1: %d cables, %v", len(i.Patch.Cables), f.Root["version"])
	}
	vco := i.Patch.Module("vco/vco-1")
	// Fine tuning went by the square: 3 × 0.5² semitones; FM too.
	if vco.Value("tune") != 13 || math.Abs(vco.Value("fine")+25) > 1e-9 || vco.Value("fm_exp") != 0.25 {
		t.Errorf("the VCO of Rack 1 is %+v", vco)
	}
	if got := i.Patch.Module("mixer/mixer-1").Value("level_1"); math.Abs(got-(20*math.Log10(0.25)+3.0103)) > 1e-3 {
		t.Errorf("level_1 is %g dB", got)
	}
	back, report := exported(t, i.Patch, i.Places, through(t, i.Extra))
	if len(report.Lost) > 0 || !reflect.DeepEqual(back.Root, f.Root) {
		t.Errorf("it does not come back: %v", report.Lost)
	}
	if back.modules[2].raw["bypass"] != true {
		t.Error("disabled is not bypass")
	}

	f = read(t, []byte(rack06))
	i = imported(t, f)
	if len(i.Patch.Modules) != 2 || len(i.Patch.Cables) != 1 || i.Patch.Module("lfo/lfo-1").Value("rate") != 0.5 {
		t.Errorf("Rack 0.6: %+v", i.Patch)
	}
	if got := i.Patch.Module("vcf/vcf-1").Value("cutoff"); math.Abs(got-15*math.Sqrt(560)) > 1e-9 {
		t.Errorf("cutoff is %g", got)
	}
	for _, want := range []string{"wires are called cables", "modules are numbered", "cables are numbered", "params have ids"} {
		if !slices.Contains(f.Upgraded, want) {
			t.Errorf("nothing says that %s: %v", want, f.Upgraded)
		}
	}
	back, _ = exported(t, i.Patch, i.Places, through(t, i.Extra))
	if !reflect.DeepEqual(back.Root, f.Root) {
		t.Error("Rack 0.6 does not come back")
	}

	f = read(t, []byte(rack05))
	if m := f.modules[0]; m.x != 10 || m.y != 1 {
		t.Errorf("Rack 0.5: the module stands at %g, %g", m.x, m.y)
	}
}

// everything is a patch with every module that there is, knobs off their
// defaults, and cables.
func everything(t testing.TB, seed uint64) (*instrument.Patch, map[instrument.ModuleID]Place) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	p := &instrument.Patch{}
	places := map[instrument.ModuleID]Place{}
	at, row := 0, 0
	for _, s := range instrument.Specs() {
		m := instrument.Module{ID: instrument.ModuleID(s.Kind + "/x-" + fmt.Sprint(rng.IntN(100)))}
		for i := range s.Params {
			q := &s.Params[i]
			switch {
			case rng.IntN(2) == 0:
			case q.Tuning:
			case q.Text:
				if m.Text == nil {
					m.Text = map[string]string{}
				}
				m.Text[q.Name] = []string{"a", "b:c/d", "ö"}[rng.IntN(3)]
			default:
				if m.Params == nil {
					m.Params = map[string]float64{}
				}
				v := q.Value
				if rng.IntN(4) > 0 {
					v = q.Min + (q.Max-q.Min)*rng.Float64()
				}
				m.Params[q.Name] = q.Clamp(v)
			}
		}
		if rng.IntN(5) > 0 {
			if at+s.HP > 104 {
				at, row = 0, row+1
			}
			places[m.ID] = Place{row, at}
			at += s.HP + rng.IntN(3)
		}
		p.Modules = append(p.Modules, m)
		if p.Validate() != nil {
			p.Modules[len(p.Modules)-1].Text = nil // a word that is more than one
		}
	}
	for range 400 {
		a, b := &p.Modules[rng.IntN(len(p.Modules))], &p.Modules[rng.IntN(len(p.Modules))]
		if len(a.Spec().Outputs) == 0 || len(b.Spec().Inputs) == 0 {
			continue
		}
		c := instrument.Cable{From: instrument.JackRef{Module: a.ID, Jack: a.Spec().Outputs[rng.IntN(len(a.Spec().Outputs))].Name},
			To: instrument.JackRef{Module: b.ID, Jack: b.Spec().Inputs[rng.IntN(len(b.Spec().Inputs))].Name}}
		p.Cables = append(p.Cables, c)
		if p.Validate() != nil {
			p.Cables = p.Cables[:len(p.Cables)-1]
		}
	}
	return p, places
}

// TestSceneComesBack: a patch of ours is the same after a way through a file,
// with and without what a file had before, and after Rack has saved it with
// its params in 32 bits.
func TestSceneComesBack(t *testing.T) {
	for seed := range uint64(8) {
		p, places := everything(t, seed)
		f, report := exported(t, p, places, nil)
		if len(report.Lost)+len(report.Kept) > 0 {
			t.Fatalf("lost %v, kept %v", report.Lost, report.Kept)
		}
		i := imported(t, f)
		if !reflect.DeepEqual(i.Patch.Cables, p.Cables) && len(p.Cables) > 0 {
			t.Fatalf("cables are %v, expected %v", i.Patch.Cables, p.Cables)
		}
		if !reflect.DeepEqual(i.Patch.Modules, p.Modules) {
			for k := range p.Modules {
				if !reflect.DeepEqual(i.Patch.Modules[k], p.Modules[k]) {
					t.Fatalf("seed %d: %+v came back as %+v", seed, p.Modules[k], i.Patch.Modules[k])
				}
			}
		}
		for id, want := range places {
			if got := i.Places[id]; got != want {
				t.Errorf("%s stands at %v, expected %v", id, got, want)
			}
		}
		// As Rack saves it: nine digits of 32 bits.
		for _, m := range f.modules {
			for _, v := range m.raw["params"].([]any) {
				q := v.(map[string]any)
				x, _ := real64(q["value"])
				q["value"] = json.Number(fmt.Sprintf("%.9g", float32(x)))
			}
		}
		var b bytes.Buffer
		if err := f.Write(&b); err != nil {
			t.Fatal(err)
		}
		i = imported(t, read(t, b.Bytes()))
		for k := range p.Modules {
			a, b := &p.Modules[k], &i.Patch.Modules[k]
			for name, v := range a.Params {
				if w := b.Value(name); math.Abs(v-w) > 1e-6*math.Max(1, math.Abs(v)) {
					t.Errorf("%s/%s is %.12g after Rack saved it, expected %.12g", a.ID, name, w, v)
				}
			}
		}
	}
}

// TestFilesAreWhole: what is written has every field that Rack asks for, and
// neighbours know one another.
func TestFilesAreWhole(t *testing.T) {
	p, places := everything(t, 3)
	f, _ := exported(t, p, places, nil)
	for _, k := range []string{"version", "zoom", "gridOffset", "modules", "cables"} {
		if f.Root[k] == nil {
			t.Errorf("patch.json has no %s", k)
		}
	}
	neighbours := 0
	by := map[int64]*module{}
	for _, m := range f.modules {
		by[m.id] = m
	}
	for _, m := range f.modules {
		for _, k := range []string{"id", "plugin", "model", "version", "params", "pos", "data"} {
			if m.raw[k] == nil {
				t.Errorf("module %d has no %s", m.id, k)
			}
		}
		if m.id <= 0 || m.id >= 1<<53 {
			t.Errorf("module %d: Rack's ids have 53 bits", m.id)
		}
		if n, ok := whole(m.raw["rightModuleId"]); ok {
			neighbours++
			if back, _ := whole(by[n].raw["leftModuleId"]); back != m.id || by[n].x != m.x+float64(instrument.Spec(m.model).HP) || by[n].y != m.y {
				t.Errorf("module %d has %d to its right, which has %d to its left", m.id, n, back)
			}
		}
	}
	if neighbours == 0 {
		t.Error("no module has a neighbour")
	}
	for _, c := range f.cables {
		color, _ := c.raw["color"].(string)
		if !c.whole || len(color) != 7 || color[0] != '#' || by[c.out] == nil || by[c.in] == nil {
			t.Errorf("cable %v", c.raw)
		}
	}
}

// TestStackedCables: Rack has inputs with several cables; the first is ours,
// the others are in the file again.
func TestStackedCables(t *testing.T) {
	text := strings.Replace(rack1, `"inputModuleId": 1, "inputId": 1`, `"inputModuleId": 1, "inputId": 0`, 1)
	f := read(t, []byte(text))
	i := imported(t, f)
	if len(i.Patch.Cables) != 2 || !strings.Contains(fmt.Sprint(i.Report.Kept), "an input takes one cable") {
		t.Errorf("%d cables, kept %v", len(i.Patch.Cables), i.Report.Kept)
	}
	back, _ := exported(t, i.Patch, i.Places, through(t, i.Extra))
	if len(back.cables) != 3 {
		t.Errorf("%d cables in the file", len(back.cables))
	}
}

// TestParts: a module that is several of ours behind one panel, of which the
// second is made only where a cable needs it.
func TestParts(t *testing.T) {
	const file = `{"version":"2.6.0","modules":[
	 {"id":1,"plugin":"Fundamental","model":"VCA","version":"2.6.0","params":[{"id":0,"value":0.5},{"id":1,"value":0.25}],"pos":[0,0]},
	 {"id":2,"plugin":"Fundamental","model":"VCA","version":"2.6.0","params":[],"pos":[10,0]},
	 {"id":3,"plugin":"Fundamental","model":"LFO","version":"2.6.0","params":[{"id":0,"value":0},{"id":2,"value":3}],"pos":[20,0]},
	 {"id":4,"plugin":"Core","model":"AudioInterface","version":"2.6.0","params":[],"pos":[40,0]}],
	 "cables":[{"id":1,"outputModuleId":3,"outputId":0,"inputModuleId":1,"inputId":3},{"id":2,"outputModuleId":1,"outputId":1,"inputModuleId":2,"inputId":2},
	 {"id":3,"outputModuleId":2,"outputId":0,"inputModuleId":4,"inputId":5},{"id":4,"outputModuleId":4,"outputId":1,"inputModuleId":3,"inputId":4}]}`
	f := read(t, []byte(file))
	i := imported(t, f)
	if i.Patch.Module("vca/vca-2").Value("gain") != 0.25 || i.Patch.Module("vca/vca-2").Value("response") != 1 || i.Patch.Module("vca/vca-3") == nil || i.Patch.Module("vca/vca-4") != nil {
		t.Errorf("VCAs: %+v", i.Patch.Modules)
	}
	var outs []float64
	ins := 0
	for _, m := range i.Patch.Modules {
		switch m.ID.Kind() {
		case "audio_out":
			outs = append(outs, m.Value("channel"))
		case "audio_in":
			ins++
		}
	}
	if !slices.Equal(outs, []float64{1, 5}) || ins != 1 {
		t.Errorf("channels %v, %d inputs", outs, ins)
	}
	// With a clock the LFO's frequency is a ratio: 2³⁻¹.
	if got := i.Patch.Module("lfo/lfo-1"); got.Spec().Params[1].Choices[int(got.Value("ratio"))] != "4" {
		t.Errorf("ratio is %g", got.Value("ratio"))
	}
	back, report := exported(t, i.Patch, i.Places, through(t, i.Extra))
	if !reflect.DeepEqual(back.Root, f.Root) {
		t.Errorf("it does not come back; lost %v", report.Lost)
	}
	i.Patch.Module("vca/vca-1").Params["gain"] = 2 // beyond what it can say? no: there is no limit in a file
	back, _ = exported(t, i.Patch, i.Places, through(t, i.Extra))
	if back.modules[0].params[0] != 2 || back.modules[0].params[1] != 0.25 {
		t.Errorf("gains %v", back.modules[0].params)
	}
}

// TestForeignInverse turns every foreign module that can be written to
// somewhere else and asks for it back.
func TestForeignInverse(t *testing.T) {
	for name, mod := range foreign {
		if mod.write == nil {
			continue
		}
		plugin, slug, _ := strings.Cut(name, "/")
		for _, version := range []string{"1.4.0", "2.6.0"} {
			rng := rand.New(rand.NewPCG(7, 7))
			restored := 0
			for range 50 {
				m := &module{plugin: plugin, model: slug, params: map[int]float64{}, raw: map[string]any{"version": version}}
				for id := range 9 {
					m.params[id] = math.Round(rng.Float64()*100) / 100
				}
				look := func() []*instrument.Module {
					s := &setter{parts: make([]*instrument.Module, len(mod.kinds)), plugged: func(int) bool { return false }}
					for k, kind := range mod.kinds {
						s.parts[k] = &instrument.Module{ID: instrument.ModuleID(kind + "/x"), Params: map[string]float64{}, Text: map[string]string{}}
					}
					mod.read(m, s)
					return s.parts
				}
				before := look()
				mod.write(m, before, func(id int, v float64) { m.params[id] = v })
				ok := true
				for k, p := range look() {
					ok = ok && same(p, before[k], 1e-6)
				}
				if ok {
					restored++
				}
			}
			if restored < 50 {
				t.Errorf("%s %s: %d of 50 came back", name, version, restored)
			}
		}
	}
}

// TestHostile: what a stranger may have made is refused with a reason, and
// fast.
func TestHostile(t *testing.T) {
	bomb := func() []byte {
		var b bytes.Buffer
		z, _ := zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedFastest))
		w := tar.NewWriter(z)
		_ = w.WriteHeader(&tar.Header{Name: "modules/1/zero", Size: 1 << 40, Mode: 0o644, Format: tar.FormatPAX})
		zero := make([]byte, 1<<20)
		for range 300 {
			_, _ = w.Write(zero)
		}
		_ = z.Close()
		return b.Bytes()
	}
	many := func() []byte {
		e := map[string]string{}
		for i := range MaxEntries + 1 {
			e[fmt.Sprintf("modules/%d", i)] = ""
		}
		return pack(t, e, nil)
	}
	small := `{"modules":[]}`
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"nothing":       {nil, "neither an archive"},
		"text":          {[]byte("hello"), "neither an archive"},
		"a list":        {[]byte("[1]"), "not an object"},
		"two":           {[]byte("{}{}"), "more behind the end"},
		"no patch.json": {pack(t, map[string]string{"other": "{}"}, nil), "no patch.json"},
		"up":            {pack(t, map[string]string{"../../etc/passwd": "x", "patch.json": small}, nil), "leads out of it"},
		"up inside":     {pack(t, map[string]string{"modules/../../x": "x", "patch.json": small}, nil), "leads out of it"},
		"absolute":      {pack(t, map[string]string{"/etc/passwd": "x"}, nil), "leads out of it"},
		"backslash":     {pack(t, map[string]string{`..\x`: "x"}, nil), "leads out of it"},
		"drive":         {pack(t, map[string]string{"c:/x": "x"}, nil), "leads out of it"},
		"link": {pack(t, map[string]string{"modules/x": ""}, func(h *tar.Header) {
			h.Typeflag, h.Linkname = tar.TypeSymlink, "/etc/passwd"
		}), "neither a file nor a folder"},
		"bomb":            {bomb(), "the most is"},
		"many":            {many(), "more than"},
		"cut off":         {archive(t)[:200], ""},
		"twice":           {[]byte(`{"modules":[{"id":1,"plugin":"a","model":"b"},{"id":1,"plugin":"a","model":"b"}]}`), "two modules 1"},
		"huge id":         {[]byte(`{"modules":[{"id":99999999999999999999,"plugin":"a","model":"b"}]}`), "63 bits"},
		"fraction":        {[]byte(`{"modules":[{"id":1.5,"plugin":"a","model":"b"}]}`), "63 bits"},
		"negative":        {[]byte(`{"modules":[{"id":-1,"plugin":"a","model":"b"}]}`), "63 bits"},
		"no model":        {[]byte(`{"modules":[{"id":1,"plugin":"a"}]}`), "plugin and model"},
		"modules a word":  {[]byte(`{"modules":"x"}`), "not a list"},
		"module a number": {[]byte(`{"modules":[3]}`), "not an object"},
		"cables a word":   {[]byte(`{"cables":"x"}`), "not a list"},
		"deep":            {[]byte(strings.Repeat(`{"a":`, 20000)), "neither"},
		"many modules":    {[]byte(`{"modules":[` + strings.Repeat(`{},`, MaxModules) + `{}]}`), "the most is"},
	} {
		_, err := Read(bytes.NewReader(c.data))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, expected %q", name, err, c.want)
		}
	}
	// Numbers that are no numbers stay what they are, and nothing follows them.
	f := read(t, []byte(`{"version":"2.6.0","modules":[{"id":9223372036854775807,"plugin":"Fundamental","model":"VCO","version":"2.0.0","params":[{"id":2,"value":1e999},{"id":99999999999,"value":1},{"id":5,"value":1e300},"x",{"id":3}],"pos":[1e300,-1e300]},
	 {"id":2,"plugin":"K8sSynth","model":"vco","version":"2.0.0","params":[{"id":0,"value":-1e30}],"data":{"id":"../../x","text":7},"pos":["a"]}],
	 "cables":[{"id":1},{"id":2,"outputModuleId":2,"outputId":999999,"inputModuleId":2,"inputId":-5},{"id":3,"outputModuleId":77,"outputId":0,"inputModuleId":2,"inputId":0}]}`))
	i := imported(t, f)
	if i.Patch.Module("vco/vco-1").Value("width") != 0.99 || i.Patch.Module("vco/vco-2").Value("tune") != -60 {
		t.Errorf("%+v", i.Patch.Modules)
	}
	if len(i.Places) != 0 || len(i.Report.Kept) != 3 {
		t.Errorf("places %v, kept %v", i.Places, i.Report.Kept)
	}
	back, _ := exported(t, i.Patch, i.Places, through(t, i.Extra))
	if !reflect.DeepEqual(back.Root, f.Root) {
		t.Error("it does not come back as it was")
	}
}

// TestManifest holds plugin.json to what Rack asks of one.
func TestManifest(t *testing.T) {
	files, err := Plugin()
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Slug, Version, Name, Brand, Description, Author, License, MinRackVersion string
		Modules                                                                  []struct {
			Slug, Name, Description string
			Tags                    []string
		}
	}
	if err := json.Unmarshal(files["plugin.json"], &m); err != nil {
		t.Fatal(err)
	}
	if m.Slug != PluginSlug || !strings.HasPrefix(m.Version, "2.") || m.Name == "" || m.Brand == "" || m.Author == "" || m.License == "" || m.Description == "" || m.MinRackVersion == "" {
		t.Errorf("%+v", m)
	}
	known := strings.Split("Arpeggiator|Attenuator|Blank|Chorus|Clock generator|Clock modulator|Compressor|Controller|Delay|Digital|Distortion|Drum|Dual|Dynamics|Effect|Envelope follower|Envelope generator|Equalizer|Expander|External|Filter|Flanger|Function generator|Granular|Hardware clone|Limiter|Logic|Low-frequency oscillator|Low-pass gate|MIDI|Mixer|Multiple|Noise|Oscillator|Panning|Phaser|Physical modeling|Polyphonic|Quad|Quantizer|Random|Recording|Reverb|Ring modulator|Sample and hold|Sampler|Sequencer|Slew limiter|Speech|Switch|Synth voice|Tuner|Utility|Visual|Vocoder|Voltage-controlled amplifier|Waveshaper", "|")
	if len(m.Modules) != len(instrument.Specs()) {
		t.Errorf("%d modules", len(m.Modules))
	}
	for _, q := range m.Modules {
		if files["res/"+q.Slug+".svg"] == nil || q.Name == "" || q.Description == "" || len(q.Tags) == 0 {
			t.Errorf("%s has no panel, name, description or tag", q.Slug)
		}
		for _, r := range q.Slug {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789_-", r) {
				t.Errorf("%q is not a slug", q.Slug)
			}
		}
		for _, tag := range q.Tags {
			if !slices.Contains(known, tag) {
				t.Errorf("%s: Rack has no tag %q", q.Slug, tag)
			}
		}
	}
	if h := string(files["src/ids.hpp"]); !strings.Contains(h, "namespace Vco {\nenum ParamId {\n\tTUNE_PARAM,\n\tFINE_PARAM,") || !strings.Contains(h, "RESTART_BUTTON_PARAM") {
		t.Error("ids.hpp does not number the params")
	}
}

// TestTarAndZstd: the programs that everybody has read what is written here,
// and what they write is read.
func TestTarAndZstd(t *testing.T) {
	for _, p := range []string{"tar", "zstd"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
	dir := t.TempDir()
	f := read(t, archive(t))
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "a.vcv")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(line string) {
		t.Helper()
		c := exec.Command("sh", "-c", "set -e; "+line)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	run("mkdir out; zstd -q -d -c a.vcv > a.tar; tar -x -f a.tar -C out; tar -c --format=ustar -C out -f b.tar .; zstd -q -1 b.tar -o b.vcv")
	back, err := Load(filepath.Join(dir, "b.vcv"))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back.Root, f.Root) || !reflect.DeepEqual(back.Files, f.Files) {
		t.Error("what tar and zstd made of it is another")
	}
}

// FuzzRead reads whatever; what is read comes back.
func FuzzRead(f *testing.F) {
	for _, s := range []string{rack2, rack1, rack06, rack05, `{}`, `{"modules":[{"id":1,"plugin":"K8sSynth","model":"deployment","data":{"id":"deployment/web","set":["replicas"]}}]}`} {
		f.Add([]byte(s))
	}
	f.Add(archive(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		i, err := file.Import()
		if err != nil {
			t.Fatalf("read but not imported: %v", err)
		}
		if err := i.Patch.Validate(); err != nil {
			t.Fatal(err)
		}
		back, _, err := Export(i.Patch, i.Places, i.Extra)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back.Root, file.Root) {
			a, _ := file.JSON()
			b, _ := back.JSON()
			t.Fatalf("it was\n%s\nand is\n%s", a, b)
		}
	})
}

// FuzzExtra reads whatever lies beside a scene.
func FuzzExtra(f *testing.F) {
	i := imported(f, read(f, archive(f)))
	var b bytes.Buffer
	_ = i.Extra.Write(&b)
	f.Add(b.Bytes())
	f.Add([]byte(`{"version":1,"modules":[{"id":"1","modules":["vco/x",""]}],"patch":{"modules":[{"id":1,"plugin":"Fundamental","model":"VCO"}]},"files":{"../x":"AA=="}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ReadExtra(bytes.NewReader(data))
		if err != nil {
			return
		}
		_, _, _ = Export(&instrument.Patch{Modules: []instrument.Module{{ID: "vco/x"}, {ID: "vca/y"}}}, nil, e)
	})
}

// TestRandomFiles changes bytes of good files: none may end the program.
func TestRandomFiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	seeds := [][]byte{[]byte(rack2), []byte(rack1), []byte(rack06), archive(t)}
	good := 0
	for range 400 {
		data := bytes.Clone(seeds[rng.IntN(len(seeds))])
		for range 1 + rng.IntN(4) {
			data[rng.IntN(len(data))] = byte(rng.IntN(256))
		}
		f, err := Read(bytes.NewReader(data))
		if err != nil {
			continue
		}
		i, err := f.Import()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Export(i.Patch, i.Places, i.Extra); err != nil {
			t.Fatal(err)
		}
		good++
	}
	t.Logf("%d of 400 were read", good)
}
