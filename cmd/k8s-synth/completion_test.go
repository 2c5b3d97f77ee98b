package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// completed is what a shell offers behind a command line, without what each is,
// and what it is to do besides.
func (c *commandLine) completed(args ...string) (names []string, directive string) {
	c.t.Helper()
	r := c.run(append([]string{"__complete"}, args...)...)
	if r.code != 0 {
		c.t.Fatalf("__complete %q: exit code %d: %s", args, r.code, r.errors)
	}
	for line := range strings.SplitSeq(strings.TrimSpace(r.out), "\n") {
		if d, ok := strings.CutPrefix(line, ":"); ok {
			return names, d
		}
		name, _, _ := strings.Cut(line, "\t")
		names = append(names, name)
	}
	c.t.Fatalf("__complete %q says no directive: %s", args, r.out)
	return nil, ""
}

var (
	noFiles   = strconv.Itoa(int(cobra.ShellCompDirectiveNoFileComp))
	endings   = strconv.Itoa(int(cobra.ShellCompDirectiveFilterFileExt))
	folders   = strconv.Itoa(int(cobra.ShellCompDirectiveFilterDirs))
	anyOfFile = strconv.Itoa(int(cobra.ShellCompDirectiveDefault))
)

// TestCompletion: each place of each command offers what it takes, and nothing
// that begins otherwise.
func TestCompletion(t *testing.T) {
	c := newCommandLine(t)
	for name, text := range map[string]string{
		"scenes/mine.yaml":         "version: 1\nname: mine\ntitle: One of mine\nmodules:\n  - id: voice/a\n",
		"scenes/broken.yaml":       "version: 2\n",
		"scenes/gig.setlist.yaml":  "version: 1\nname: gig\nscenes:\n  - default\n",
		"rigs/desk.yaml":           "",
		"calibrations/nothing.txt": "",
	} {
		path := filepath.Join(c.dir, "config", "k8s-synth", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if name == "rigs/desk.yaml" {
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := c.run("rig", "new", "--profile", "es-9", "-o", "config/k8s-synth/rigs/desk.yaml"); r.code != 0 {
		t.Fatalf("rig new: %s", r.errors)
	}
	for line, want := range map[string]struct{ names, directive string }{
		"play --scene d":            {"default drain", noFiles},
		"play --scene ./":           {"yaml", endings},
		"play --scene=m":            {"midi mine", noFiles},
		"scene launch mi":           {"midi mine", noFiles},
		"scene morph mi":            {"midi mine", noFiles},
		"scene morph mine ":         {"", noFiles},
		"scene show mi":             {"midi mine", noFiles},
		"scene topology mi":         {"midi mine", noFiles},
		"scene diff mi":             {"midi mine", noFiles},
		"scene diff mine mi":        {"midi", noFiles},
		"scene validate ":           {"yaml", endings},
		"scene launch b":            {"", noFiles},
		"render mi":                 {"midi mine", noFiles},
		"render default -o ":        {"wav flac", endings},
		"render default --script n": {"none", noFiles},
		"render default --picture ": {"png", endings},
		"layout touchosc mi":        {"midi mine", noFiles},
		"layout touchosc --midi o":  {"only", noFiles},
		"midi names mi":             {"midi mine", noFiles},
		"vcv export mi":             {"midi mine", noFiles},
		"vcv import ":               {"vcv", endings},
		"rack audit mi":             {"midi mine", noFiles},
		"modules depl":              {"deployment", noFiles},
		"panels deployment depl":    {"", noFiles},
		"panels pod depl":           {"deployment", noFiles},
		"scene slot 1":              {"1 10 11 12 13 14 15 16", noFiles},
		"scene snapshot 2":          {"2", noFiles},
		"scene setlist play ":       {"gig off", noFiles},
		"scene restore ":            {"", noFiles},
		"scene launch x --at b":     {"beat bar", noFiles},
		"map show da":               {"daw", noFiles},
		"map validate daw fa":       {"faders", noFiles},
		"map validate x.":           {"yaml", endings},
		"play --map ":               {"daw faders knobs launchpad mpe off", noFiles},
		"play --rig ":               {"desk off", noFiles},
		"rig show ":                 {"desk", noFiles},
		"rig check ":                {"desk", noFiles},
		"rig profiles es":           {"", ""},
		"rig new --profile es-9":    {"es-9", noFiles},
		"play --backend nu":         {"null", noFiles},
		"play --reach d":            {"direct", noFiles},
		"play --record ":            {"wav", endings},
		"play --take ":              {"jsonl", endings},
		"play --replay ":            {"jsonl", endings},
		"play --state-dir ":         {"", folders},
		"take show ":                {"jsonl", endings},
		"take export ":              {"jsonl", endings},
		"take import ":              {"", anyOfFile},
		"take list ":                {"", folders},
		"calibrate show ":           {"yaml", endings},
		"plug ":                     {"", noFiles},
		"pull ":                     {"", noFiles},
		"scope ":                    {"", noFiles},
		"save ":                     {"mine", noFiles},
		"completion t":              {"", noFiles},
		"completion z":              {"zsh", noFiles},
		"undo ":                     {"", noFiles},
	} {
		args := strings.Split(line, " ")
		names, directive := c.completed(args...)
		slices.Sort(names)
		expect := strings.Fields(want.names)
		slices.Sort(expect)
		if want.directive == "" { // what there is may grow
			if len(names) == 0 || slices.ContainsFunc(names, func(n string) bool { return !strings.HasPrefix(n, args[len(args)-1]) }) {
				t.Errorf("%q offers %q", line, names)
			}
			continue
		}
		if !slices.Equal(names, expect) || directive != want.directive {
			t.Errorf("%q offers %q with directive %s, want %q with %s", line, names, directive, expect, want.directive)
		}
	}
	if names, _ := c.completed("calibrate", "ear", "--rig", "desk", "--jack", ""); len(names) == 0 {
		t.Error("the outputs of a rig are not offered")
	}
	if r := c.run("__complete", "scene", "launch", "mine"); !strings.Contains(r.out, "mine\tOne of mine") {
		t.Errorf("the title is not told: %s", r.out)
	}
}

// Every command that takes arguments says what they are, unless they are
// numbers or words of the player's own.
func TestCompletionOfAll(t *testing.T) {
	own := []string{"scene position", "take seek", "scene morph"}
	var walk func(c *cobra.Command, path string)
	walk = func(c *cobra.Command, path string) {
		for _, sub := range c.Commands() {
			walk(sub, strings.TrimSpace(path+" "+sub.Name()))
		}
		if c.DisableFlagParsing || c.HasSubCommands() || strings.HasPrefix(path, "completion") {
			return
		}
		if c.ValidArgsFunction == nil {
			t.Errorf("%q offers whatever files there are", path)
			return
		}
		_, arguments, _ := strings.Cut(c.Use, " ")
		arguments, _, _ = strings.Cut(arguments, "-o ")
		arguments, _, _ = strings.Cut(arguments, "--")
		arguments, _, _ = strings.Cut(arguments, "(")
		if strings.TrimSpace(arguments) == "" || slices.Contains(own, path) {
			return
		}
		if got, directive := c.ValidArgsFunction(c, nil, ""); len(got) == 0 && directive == cobra.ShellCompDirectiveNoFileComp &&
			!slices.Contains([]string{"plug", "pull", "scope", "scene restore", "save", "map learn"}, path) { // those are of what plays, or was played
			t.Errorf("%q takes %s, and offers nothing", path, arguments)
		}
	}
	root := rootCommand()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	walk(root, "")
}

// An instrument that does not answer holds nobody up.
func TestCompletionOfTheDeaf(t *testing.T) {
	c := newCommandLine(t)
	state := filepath.Join(c.runtime, "s")
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", socketPath(state))
	if err != nil {
		t.Skip(err) // the folder's path may be too long for a socket
	}
	defer l.Close()
	began := time.Now()
	cmd := pullCommand()
	if err := cmd.Flags().Set("state-dir", state); err != nil {
		t.Fatal(err)
	}
	if got := heldOffers(cmd, nil); len(got) != 0 {
		t.Errorf("offers %q", got)
	}
	if took := time.Since(began); took < completionWait/2 || took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
}
