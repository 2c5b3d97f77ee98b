package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// TestCommandLineFlags: what a flag expects is said in words.
func TestCommandLineFlags(t *testing.T) {
	c := newCommandLine(t)
	for args, want := range map[string]string{
		"play --rate abc":                     `--rate: expected a whole number, got "abc"`,
		"play --rate 0":                       "--rate is 8000 … 384000 Hz, got 0",
		"play --depth 0":                      "--depth is 1 … 256 blocks of 64 frames, got 0",
		"play --period 0":                     "--period is 16 … 8192 frames, got 0",
		"play --channels 0":                   "--channels is 1 … 64, got 0",
		"play --depth 99999999999999999999":   "--depth: expected a number nearer to 0",
		"play --for soon":                     `--for: expected a length of time such as 30s or 1m30s, got "soon"`,
		"play --open=maybe":                   `--open: expected true or false, got "maybe"`,
		"play --from x --replay y":            `--from: "x" is no time in a take`,
		"play --midi a\"b":                    "--midi: expected a list with commas between",
		"play --force":                        "--take or --record",
		"play --record a.wav --take a.wav":    "name one file",
		"play --record x.flac":                "ends in .wav, not \"x.flac\"",
		"render default -o x.wav --seed -1":   `--seed: expected a whole number, 0 or more, got "-1"`,
		"render default -o x.wav --seconds x": `--seconds: expected a number, got "x"`,
		"render default -o x.mp3":             `ends in .wav or .flac, not "x.mp3"`,
		"render default -o x.wav.ogg":         `ends in .wav or .flac, not "x.wav.ogg"`,
		"layout touchosc default -o x.pdf":    "ends in .tosc, .touchosc, .html, .csv or .yaml",
		"scope --svg x.png":                   `ends in .svg, not "x.png"`,
		"midi names default -o x.txt":         `ends in .midnam, not "x.txt"`,
		"scene morph drain -5":                "-5: a morph takes 0 seconds or more",
		"scene position -0.5":                 "-0.5: a point of the morph is 0 … 1",
		"scene slot -1":                       "-1: a slot is a number from 1 on",
		"modules -5":                          "what begins with - goes behind --",
		"play -q":                             "unknown flag: -q",
		"completion tcsh":                     `there is no completion for "tcsh"; there is one for bash, zsh, fish and powershell`,
	} {
		r := c.run(strings.Fields(args)...)
		if r.code != exitUsage || r.out != "" || !strings.Contains(r.errors, want) {
			t.Errorf("k8s-synth %s: exit code %d; want 2 and %q in\n%s%s", args, r.code, want, r.out, r.errors)
		}
		for _, raw := range []string{"strconv", "invalid argument", "shorthand", "time: invalid"} {
			if strings.Contains(r.errors, raw) {
				t.Errorf("k8s-synth %s speaks of %q: %s", args, raw, r.errors)
			}
		}
	}
	if got := c.files(); got != "" {
		t.Errorf("commands that failed left %s", got)
	}
}

// Every command is in the help once.
func TestCommandsOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range rootCommand().Commands() {
		if seen[c.Name()] {
			t.Errorf("%s is there twice", c.Name())
		}
		seen[c.Name()] = true
	}
}

// The same, joined from two places, is told once; what differs stays.
func TestTold(t *testing.T) {
	full := errors.New("cannot write x: no space left on device")
	for want, err := range map[string]error{
		"render: cannot write x: no space left on device": errors.Join(fmt.Errorf("render: %w", full), full),
		"cannot write x: no space left on device":         errors.Join(full, full),
		"one\ntwo":       errors.Join(errors.New("one"), errors.New("two")),
		"a: bad\nb: bad": errors.Join(errors.New("a: bad"), errors.New("b: bad")),
		"it is bad\nbad": errors.Join(errors.New("it is bad"), errors.New("bad")),
	} {
		if got := told(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A disk that is full ends a rendering, is told once, and leaves nothing.
func TestRenderFull(t *testing.T) {
	c := newCommandLine(t)
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", c.dir).CombinedOutput(); err != nil {
		t.Skipf("a disk that is soon full cannot be mounted: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", c.dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	for _, name := range []string{"x.wav", "x.flac"} {
		r := c.run("render", "default", "-o", name, "--seconds", "5")
		if r.code != exitFailure || strings.Count(r.errors, "no space left on device") != 1 || strings.Count(r.errors, "\n") != 1 {
			t.Errorf("%s: exit code %d, says %q", name, r.code, r.errors)
		}
	}
	if got := c.files(); got != "" {
		t.Errorf("left: %s", got)
	}
}

// The ending says the form; what is no file is left alone, and what is there is
// replaced with its mode.
func TestRenderForms(t *testing.T) {
	c := newCommandLine(t)
	old := c.write("a.FLAC", "what was there") // of mode 0600
	if data := c.render("a.FLAC", "--seconds", "1"); !bytes.HasPrefix(data, []byte("fLaC")) {
		t.Errorf("a.FLAC begins with %q", data[:4])
	}
	if info, err := os.Stat(old); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file that was replaced has mode %v: %v", info.Mode(), err)
	}
	if data := c.render("a.WAV", "--seconds", "1"); !bytes.HasPrefix(data, []byte("RIFF")) {
		t.Errorf("a.WAV begins with %q", data[:4])
	}
	if r := c.run("render", "default", "-o", "/dev/null", "--seconds", "1"); r.code != exitFailure || !strings.Contains(r.errors, "device or a pipe") {
		t.Errorf("-o /dev/null: exit code %d, says %q", r.code, r.errors)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Fatalf("/dev/null is a file now")
	}
	if r := c.run("render", "default", "-o", c.dir, "--seconds", "1"); r.code != exitFailure || !strings.Contains(r.errors, "is a folder") {
		t.Errorf("-o of a folder: exit code %d, says %q", r.code, r.errors)
	}
	if r := c.run("render", "default", "-o", "hot.wav", "--rate", "384000", "--seconds", "0.5"); r.code != 0 {
		t.Errorf("384 kHz: %s", r.errors)
	}
	if w, err := hardware.ReadWAV(filepath.Join(c.dir, "hot.wav")); err != nil || w.Rate != 384000 || w.Frames() != 192000 {
		t.Errorf("384 kHz: %v", err)
	}
}

// TestRecordThere: a recording that is there is not written over, and that is
// said before anything is made.
func TestRecordThere(t *testing.T) {
	c := newCommandLine(t)
	c.write("rec.wav", "a recording")
	play := []string{"play", "--device", "null", "--osc", "off", "--web", "off", "--midi", "off", "--metrics", "off", "--record"}
	r := c.run(append(play, "rec.wav")...)
	if r.code != exitFailure || r.errors != "k8s-synth: record: rec.wav is there already; name another file, or --force to replace it\n" {
		t.Errorf("exit code %d, says %q", r.code, r.errors)
	}
	if data, err := os.ReadFile(filepath.Join(c.dir, "rec.wav")); err != nil || string(data) != "a recording" {
		t.Errorf("the recording is %q: %v", data, err)
	}
	if r := c.run(append(play, "no/rec.wav")...); r.code != exitFailure || !strings.Contains(r.errors, "no/rec.wav: there is no folder no") {
		t.Errorf("a folder that is missing: exit code %d, says %q", r.code, r.errors)
	}
	if got := c.files(); got != "rec.wav" {
		t.Errorf("left: %s", got)
	}
}

// A list stays a table, whatever a file is like; what is wrong with it is said
// behind the table.
func TestSceneListWithMistakes(t *testing.T) {
	c := newCommandLine(t)
	dir := filepath.Join(c.dir, "config", "k8s-synth", "scenes")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"bad.yaml":        "version: 1\nname: bad\nmodules:\n  - id: theremin/a\n  - id: voice/a\n    params:\n      wobble: 3\n",
		"long.yaml":       "version: 1\nname: long\ntitle: " + strings.Repeat("title ", 30) + "\nmodules:\n  - id: voice/a\n",
		"off.script.yaml": "version: 1\nevents:\n  - {at: 1, deployment: web, wobble: 4}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := c.run("scene", "list")
	if r.code != exitFailure {
		t.Errorf("exit code %d", r.code)
	}
	for line := range strings.SplitSeq(strings.ReplaceAll(r.out, dir, ""), "\n") {
		if n := len([]rune(line)); n > 120 {
			t.Errorf("a line has %d columns: %s", n, line)
		}
	}
	for _, want := range []string{"default  ", "bad  ", "cannot be read", "demo  "} {
		if !strings.Contains(r.out, want) {
			t.Errorf("the table lacks %q:\n%s", want, r.out)
		}
	}
	lines := strings.Split(strings.TrimSpace(r.errors), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "bad.yaml:4:9: unknown module") || !strings.Contains(lines[0], "(and 1 more)") || !strings.Contains(lines[1], "off.script.yaml:3:") {
		t.Errorf("the mistakes: %s", r.errors)
	}
}

// TestMapOfAFile: a file that is here is read as one, with its mistakes, and a
// mapping's name stays a mapping.
func TestMapOfAFile(t *testing.T) {
	c := newCommandLine(t)
	c.write("bad.vcv", "{}")
	c.write("daw", "nonsense")
	if r := c.run("map", "validate", "bad.vcv"); r.code != exitFailure || !strings.Contains(r.errors, "bad.vcv:1:") {
		t.Errorf("exit code %d, says %q", r.code, r.errors)
	}
	if r := c.run("map", "validate", "daw"); r.code != 0 {
		t.Errorf("a mapping is not found where a file has its name: %s", r.errors)
	}
	if r := c.run("map", "validate", "nope.vcv"); r.code != exitFailure || !strings.Contains(r.errors, `there is no map "nope.vcv"; there are daw, `) {
		t.Errorf("exit code %d, says %q", r.code, r.errors)
	}
}

// portsOf is a MIDI system that has ports, or cannot be used.
type portsOf struct {
	port.Driver
	name string
	ins  []string
	err  error
}

func (p portsOf) Name() string                                 { return p.name }
func (p portsOf) Ports() (inputs, outputs []string, err error) { return p.ins, nil, p.err }

// Where there is no MIDI system, that is said, and what was looked for; there is
// no header without a line below it.
func TestListPorts(t *testing.T) {
	away := errors.New("it is away")
	for _, x := range []struct {
		drivers []port.Driver
		want    string
	}{
		{[]port.Driver{portsOf{name: "a", err: away}, portsOf{name: "b", err: away}}, "no MIDI system was found; what was looked for:\na: it is away\nb: it is away\n"},
		{[]port.Driver{portsOf{name: "a"}, portsOf{name: "b", err: away}}, "there are no ports; the instrument's own appear while it plays\nb: it is away\n"},
		{[]port.Driver{portsOf{name: "a", ins: []string{"keys"}}}, "PORT  SYSTEM  WAYS\nkeys  a       in\n"},
	} {
		var out bytes.Buffer
		if err := listPorts(&out, x.drivers); err != nil || out.String() != x.want {
			t.Errorf("%v, %q, want %q", err, out.String(), x.want)
		}
	}
}
