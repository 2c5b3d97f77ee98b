package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// TestMain lets the test's binary be the program: started with
// K8S_SYNTH_AS_PROGRAM=1 it runs main.
func TestMain(m *testing.M) {
	if os.Getenv("K8S_SYNTH_AS_PROGRAM") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// commandLine runs the program in a folder of its own, away from the user's files.
type commandLine struct {
	t       *testing.T
	dir     string
	runtime string // for what PulseAudio's library leaves
}

type result struct {
	code        int
	out, errors string
}

func newCommandLine(t *testing.T) *commandLine { return &commandLine{t, t.TempDir(), t.TempDir()} }

func (c *commandLine) command(ctx context.Context, args ...string) *exec.Cmd {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "K8S_SYNTH_AS_PROGRAM=1", "HOME="+c.dir, "XDG_RUNTIME_DIR="+c.runtime, "TMPDIR="+c.runtime,
		"XDG_CONFIG_HOME="+filepath.Join(c.dir, "config"), "XDG_STATE_HOME="+filepath.Join(c.dir, "state"))
	return cmd
}

func (c *commandLine) run(args ...string) result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := c.command(ctx, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok || ctx.Err() != nil {
			c.t.Fatalf("k8s-synth %v: %v", args, err)
		}
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func (c *commandLine) write(name, text string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// files lists what lies in the folder itself.
func (c *commandLine) files() string {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

// TestCommandLineHelp: every command explains itself, and its flags.
func TestCommandLineHelp(t *testing.T) {
	c := newCommandLine(t)
	var walk func(cmd *cobra.Command, path []string)
	seen := 0
	walk = func(cmd *cobra.Command, path []string) {
		if cmd.DisableFlagParsing { // forwarded to a program that may not be built
			return
		}
		seen++
		r := c.run(append(path, "--help")...)
		if r.code != 0 || r.errors != "" || !strings.Contains(r.out, "Usage:") {
			t.Errorf("k8s-synth %v --help: exit code %d, says %q, errors %q", path, r.code, r.out, r.errors)
		}
		if cmd.Short == "" {
			t.Errorf("k8s-synth %v has no short help", path)
		}
		for _, sub := range cmd.Commands() {
			walk(sub, append(path[:len(path):len(path)], sub.Name()))
		}
	}
	walk(rootCommand(), nil)
	if seen < 10 {
		t.Errorf("only %d commands were found", seen)
	}
	if r := c.run(); r.code != 0 || !strings.Contains(r.out, "oscsend") {
		t.Errorf("k8s-synth alone: exit code %d, says %q", r.code, r.out)
	}
	if r := c.run("version"); r.code != 0 || r.out != "k8s-synth "+version+"\n" {
		t.Errorf("version: exit code %d, says %q", r.code, r.out)
	}
	if r := c.run("completion", "bash"); r.code != 0 || !strings.Contains(r.out, "complete") {
		t.Errorf("completion bash: exit code %d", r.code)
	}
	if r := c.run("scene", "list"); r.code != 0 || !strings.Contains(r.out, "default") || !strings.Contains(r.out, "demo") {
		t.Errorf("scene list: exit code %d, says %q", r.code, r.out)
	}
	if r := c.run("scene", "show", "default"); r.code != 0 || !strings.Contains(r.out, "deployment/web") || !strings.Contains(r.out, "◀ deployment/web/ready") {
		t.Errorf("scene show default: exit code %d, says %q", r.code, r.out)
	}
	if r := c.run("devices"); r.code != 0 || !strings.Contains(r.out, "null") {
		t.Errorf("devices: exit code %d, says %q", r.code, r.out)
	}
	// (Asking for devices lets PulseAudio's library make a folder of its own.)
	if got := c.files(); got != "" && got != "config" {
		t.Errorf("commands that only tell left %s", got)
	} else if _, err := os.Stat(filepath.Join(c.dir, "config", "k8s-synth")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("commands that only tell made a folder for scenes: %v", err)
	}
}

// TestCommandLineMistakes: 2 for a command line that makes no sense, 1 for
// what cannot be done; each says what was expected, and leaves nothing.
func TestCommandLineMistakes(t *testing.T) {
	c := newCommandLine(t)
	for _, x := range []struct {
		args string
		code int
		want string
	}{
		{"nonsense", 2, `unknown command "nonsense"`},
		{"play --nope", 2, "unknown flag: --nope"},
		{"play extra", 2, `"extra"`},
		{"play --rate 5", 2, "rate 5"},
		{"play --period 7", 2, "period 7"},
		{"play --depth many", 2, "--depth"},
		{"play --backend tape", 2, "tape"},
		{"play --for -3s", 2, "--for"},
		{"play --for soon", 2, "soon"},
		{"play --nodes -1", 2, "--nodes is 0 … 250"},
		{"play --heartbeat 0s", 2, "--heartbeat is at least 50ms"},
		{"play --listen-only", 2, "--context or --kubeconfig"},
		{"play --dry-run", 2, "--context or --kubeconfig"},
		{"play --osc-to nowhere", 2, "--osc-to"},
		{"play --osc 0.0.0.0:9000", 2, "--allow"},
		{"play --listen 192.168.1.5", 2, "--allow"},
		{"play --rtp-connect 192.168.1.7:5004", 2, "--listen"},
		{"play --midi off,launchpad", 2, "--midi off"},
		{"play --midi off --rtp 127.0.0.1:5004", 2, "--midi off"},
		{"play --map off,daw", 2, "--map off"},
		{"modules theremin", 2, `no module "theremin"; there are deployment`},
		{"modules pod --markdown", 2, "--markdown"},
		{"scene from-cluster --most 0", 2, "--most is 1"},
		{"play --scene nope", 1, `no scene "nope"; there are ambient, `},
		{"play --scene ./nope.yaml", 1, "nope.yaml"},
		{"render", 2, "name the scene to render"},
		{"render default", 2, "-o names the WAV file"},
		{"render default -o x.wav --seconds 0", 2, "--seconds is above 0"},
		{"render default -o x.wav --seconds -1", 2, "--seconds is above 0"},
		{"render default -o x.wav --seconds 86401", 2, "at most a day"},
		{"render default -o x.wav --seconds NaN", 2, "--seconds"},
		{"render default -o x.wav --rate 7999", 2, "--rate is 8000 … 384000"},
		{"render default -o x.wav --seed -1", 2, "--seed"},
		{"render nope -o x.wav", 1, `no scene "nope"`},
		{"render default -o x.wav --script nope", 1, `no script "nope"; there are ambient, `},
		{"render default -o missing/x.wav --seconds 1", 1, "missing/"},
		{"scene nope", 2, `"nope"`},
		{"scene show", 2, "1 arg"},
		{"scene show nope", 1, `no scene "nope"`},
		{"scene validate", 2, "at least 1 arg"},
		{"scene validate nope.yaml", 1, "nope.yaml"},
		{"status", 1, "no k8s-synth plays here"},
		{"status --state-dir nowhere", 1, "no k8s-synth plays here"},
		{"kubeconfig", 1, "no cluster has been started there"},
		{"version please", 2, `"please"`},
	} {
		r := c.run(strings.Fields(x.args)...)
		if r.code != x.code {
			t.Errorf("k8s-synth %s: exit code %d, want %d; it says %q", x.args, r.code, x.code, r.errors)
		}
		if r.out != "" || !strings.HasPrefix(r.errors, "k8s-synth: ") || !strings.Contains(r.errors, x.want) {
			t.Errorf("k8s-synth %s does not say %q on standard error alone:\n%s%s", x.args, x.want, r.out, r.errors)
		}
		if help := strings.Contains(r.errors, "--help"); help != (x.code == 2) {
			t.Errorf("k8s-synth %s: pointing to the help is for errors of usage, and for all of them: %q", x.args, r.errors)
		}
		if n := strings.Count(r.errors, "\n"); n > 3 {
			t.Errorf("k8s-synth %s takes %d lines to say what is wrong:\n%s", x.args, n, r.errors)
		}
	}
	if got := c.files(); got != "" {
		t.Errorf("commands that failed left %s", got)
	}
}

// TestCommandLineScenes: each mistake in a scene file is named with file,
// line and column, by validate as by render and play, and nothing is made.
func TestCommandLineScenes(t *testing.T) {
	const head = "version: 1\nname: bad\nmodules:\n  - id: voice/a\n  - id: mixer/main\n  - id: audio_out/main\n"
	for name, x := range map[string]struct{ text, at, want string }{
		"future":     {"version: 2\nname: bad\n", ":1:10:", "version"},
		"module":     {head + "  - id: theremin/main\n", ":7:9:", "theremin"},
		"jack":       {head + "cables:\n  - voice/a/wobble -> mixer/main/left_1\n", ":8:5:", "wobble"},
		"nobody":     {head + "cables:\n  - voice/b/left -> mixer/main/left_1\n", ":8:5:", "voice/b"},
		"param":      {"version: 1\nname: bad\nmodules:\n  - id: voice/a\n    params:\n      wobble: 3\n", ":6:7:", "wobble"},
		"range":      {"version: 1\nname: bad\nmodules:\n  - id: voice/a\n    params:\n      root: 5000\n", ":6:13:", "880"},
		"choice":     {"version: 1\nname: bad\nmodules:\n  - id: voice/a\n    params:\n      wave: cube\n", ":6:13:", "triangle"},
		"output":     {head + "cables:\n  - voice/a/left -> voice/a/right\n", ":8:21:", "output"},
		"twice":      {head + "  - id: mixer/main\n", ":7:9:", "mixer/main"},
		"field":      {"version: 1\nname: bad\ncolour: red\n", ":3:1:", "colour"},
		"indent":     {"version: 1\nname: [bad\n", ":2:", ""},
		"senseless":  {"version: 1\nname: bad\nmodules:\n  - id: clock/main\n  - id: deployment/web\ncables:\n  - clock/main/tempo_cv -> deployment/web/replicas_cv\n", ":7:5:", "tempo_cv"},
		"not a tree": {"- 1\n- 2\n", ":1:1:", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCommandLine(t)
			path := c.write("bad.yaml", x.text)
			for _, args := range [][]string{{"scene", "validate", path}, {"render", path, "-o", "x.wav", "--seconds", "1"}, {"play", "--scene", path, "--device", "null", "--osc", "off"}} {
				r := c.run(args...)
				if r.code != 1 || !strings.Contains(r.errors, path+x.at) || !strings.Contains(r.errors, x.want) {
					t.Errorf("k8s-synth %v: exit code %d; want 1, %s%s and %q in\n%s", args, r.code, filepath.Base(path), x.at, x.want, r.errors)
				}
				if strings.Contains(r.errors, "level=") {
					t.Errorf("k8s-synth %v began before it had read the scene:\n%s", args, r.errors)
				}
			}
			if got := c.files(); got != "bad.yaml" {
				t.Errorf("left: %s", got)
			}
			if data, err := os.ReadFile(path); err != nil || string(data) != x.text {
				t.Errorf("the scene file was changed: %v", err)
			}
		})
	}
	t.Run("every mistake at once", func(t *testing.T) {
		c := newCommandLine(t)
		path := c.write("bad.yaml", "version: 1\nname: bad\nmodules:\n  - id: theremin/a\n  - id: voice/a\n    params:\n      wobble: 3\n")
		if r := c.run("scene", "validate", path); !strings.Contains(r.errors, path+":4:9:") || !strings.Contains(r.errors, path+":7:7:") {
			t.Errorf("validate does not name both mistakes:\n%s", r.errors)
		}
	})
	t.Run("a good one", func(t *testing.T) {
		c := newCommandLine(t)
		path := c.write("good.yaml", head+"cables:\n  - voice/a/left -> mixer/main/left_1\n")
		if r := c.run("scene", "validate", path); r.code != 0 || !strings.Contains(r.out, "good, 3 modules and 1 cables") {
			t.Errorf("validate: exit code %d, %s%s", r.code, r.out, r.errors)
		}
	})
}

// TestCommandLineScriptMistake: a script is read as strictly as a scene.
func TestCommandLineScriptMistake(t *testing.T) {
	c := newCommandLine(t)
	path := c.write("bad.script.yaml", "version: 1\nevents:\n  - {at: 1, deployment: web, replicas: 4}\n  - {at: 2, deployment: web, wobble: 4}\n")
	r := c.run("render", "default", "--script", path, "-o", "x.wav")
	if r.code != 1 || !strings.Contains(r.errors, path+":4:") || !strings.Contains(r.errors, "wobble") {
		t.Errorf("exit code %d, says %q", r.code, r.errors)
	}
	if got := c.files(); got != "bad.script.yaml" {
		t.Errorf("left: %s", got)
	}
}

func (c *commandLine) render(name string, args ...string) []byte {
	c.t.Helper()
	if r := c.run(append([]string{"render", "default", "-o", name}, args...)...); r.code != 0 || !strings.Contains(r.errors, "wrote "+name) {
		c.t.Fatalf("render: exit code %d, says %s", r.code, r.errors)
	}
	data, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

// TestCommandLineRender: the same scene, script and seed give the same bytes.
func TestCommandLineRender(t *testing.T) {
	c := newCommandLine(t)
	a := c.render("a.wav", "--seconds", "6", "--seed", "7")
	b := c.render("b.wav", "--seconds", "6", "--seed", "7")
	if !bytes.Equal(a, b) {
		t.Error("the same seed gives other bytes")
	}
	if d := c.render("d.wav", "--seconds", "6", "--seed", "8"); bytes.Equal(a, d) {
		t.Error("another seed gives the same bytes")
	}
	if d := c.render("d.wav", "--seconds", "6", "--seed", "7", "--script", "demo"); bytes.Equal(a, d) {
		t.Error("another script gives the same bytes")
	}
	if !testing.Short() {
		whole := c.render("whole.wav", "--script", "demo", "--seed", "7")
		if !bytes.Equal(whole, c.render("whole.wav", "--script", "demo", "--seed", "7")) {
			t.Error("the demo script does not give the same bytes twice")
		}
		w, err := hardware.ReadWAV(filepath.Join(c.dir, "whole.wav"))
		if err != nil {
			t.Fatal(err)
		}
		if s := w.Duration().Seconds(); s < 60 || s > 70 || len(w.Channels) != 2 {
			t.Errorf("the demo is %.1f s in %d channels, want about a minute in two", s, len(w.Channels))
		}
	}
	c.render("short.wav", "--seconds", "0.5", "--rate", "44100")
	if w, err := hardware.ReadWAV(filepath.Join(c.dir, "short.wav")); err != nil {
		t.Error(err)
	} else if w.Frames() != 22050 || w.Rate != 44100 {
		t.Errorf("half a second at 44100 Hz is %d frames at %d Hz", w.Frames(), w.Rate)
	}
	if got := c.files(); strings.Contains(got, "part") {
		t.Errorf("parts are left: %s", got)
	}
}

// TestCommandLineRenderInterrupted: nothing is left, and what was there stays.
func TestCommandLineRenderInterrupted(t *testing.T) {
	c := newCommandLine(t)
	old := c.write("x.wav", "what was there before")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := c.command(ctx, "render", "default", "-o", "x.wav", "--seconds", "86400")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	parts := func() []string {
		list, err := filepath.Glob(filepath.Join(c.dir, ".x.wav.*"))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for ctx.Err() == nil {
		if list := parts(); len(list) == 1 {
			if st, err := os.Stat(list[0]); err == nil && st.Size() > 0 {
				break
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("exit code %d, says %q", code, errs.String())
	}
	if list := parts(); len(list) > 0 {
		t.Errorf("left: %q", list)
	}
	if data, err := os.ReadFile(old); err != nil || string(data) != "what was there before" {
		t.Errorf("the file that was there is %q: %v", data, err)
	}
}
