package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware/backplane/emulator"
	"github.com/k8s-synth/k8s-synth/hardware/backplane/port"
)

// TestPanelCommands: an emulated panel is found by "panel list", plays a patch,
// and ends when it is told to.
func TestPanelCommands(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no pseudo-terminals on Windows")
	}
	path := filepath.Join(t.TempDir(), "pod")
	in, orders := io.Pipe()
	told, out := io.Pipe()
	c := panelCommand()
	c.SetIn(in)
	c.SetOut(out)
	c.SetArgs([]string{"emulate", "--port", path, "--module", "pod/web-3", "--json"})
	ended := make(chan error, 1)
	go func() { ended <- c.ExecuteContext(t.Context()) }()
	shown := bufio.NewScanner(told)
	next := func() (s emulator.State) {
		t.Helper()
		if !shown.Scan() {
			t.Fatal("it ended")
		}
		if err := json.Unmarshal(shown.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := next(); s.Module != "" {
		t.Errorf("at first it shows %+v", s)
	}
	var list bytes.Buffer
	l := panelCommand()
	l.SetOut(&list)
	l.SetArgs([]string{"list", "--port", path, "--state-dir", t.TempDir(), "--json", "--wait", "5s"})
	if err := l.Execute(); err != nil {
		t.Fatal(err)
	}
	var found []port.Info
	if err := json.Unmarshal(list.Bytes(), &found); err != nil || len(found) != 1 || found[0].Kind != "pod" || found[0].State != "waiting" {
		t.Fatalf("%v: %s", err, list.String())
	}
	gates := make(chan bool, 8)
	panels := port.Open(port.Config{Ports: []string{path}, Gate: func(module, jack string, high bool, _ time.Time) {
		if module != "pod/web-3" || jack != "lifecycle" {
			t.Errorf("gate of %s/%s", module, jack)
		}
		gates <- high
	}})
	defer panels.Close()
	panels.Show("pod/web-3", "load", 1)
	for s := next(); s.Module != "pod/web-3" || s.LoadShown != 1; s = next() {
	}
	if _, err := io.WriteString(orders, "nonsense\njack 5\n"); err != nil {
		t.Fatal(err)
	}
	if !<-gates {
		t.Error("the jack went low")
	}
	if _, err := io.WriteString(orders, "quit\n"); err != nil {
		t.Fatal(err)
	}
	if <-gates {
		t.Error("the gate stayed high")
	}
	go func() { _, _ = io.Copy(io.Discard, told) }()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}

	for _, args := range [][]string{{"emulate"}, {"emulate", "--port", "x", "--module", "vco/a"}} {
		c := panelCommand()
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs(args)
		if err := c.Execute(); err == nil || !strings.Contains(err.Error(), "--") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// TestPanelsKeepTheirModules: a panel is the module that it was, whatever it
// was told to wish since and in whatever order panels come.
func TestPanelsKeepTheirModules(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no pseudo-terminals on Windows")
	}
	state := t.TempDir()
	first := handsOn(t, "case", noMap)
	for day, who := range []struct{ serial, wish, want string }{{"a", "pod/web-3", "pod/web-3"}, {"b", "", "pod/web-1"}, {"a", "pod/web-2", "pod/web-3"}, {"b", "pod/web-3", "pod/web-1"}, {"c", "pod/nobody", "pod/web-2"}} {
		p := &player{o: playOptions{stateDir: state, panels: []string{filepath.Join(t.TempDir(), "none")}}, log: first.log, rack: first.rack,
			calls: make(chan func()), ended: make(chan struct{})}
		p.openPanels()
		go func() {
			for {
				select {
				case f := <-p.calls:
					f()
				case <-p.ended:
					return
				}
			}
		}()
		got, ok := p.bindPanel(port.Panel{Port: "/dev/" + who.serial, Kind: "pod", Serial: who.serial, Wish: who.wish})
		if !ok || got != who.want {
			t.Errorf("day %d: panel %s is %q, %v; want %s", day, who.serial, got, ok, who.want)
		}
		close(p.ended)
		_ = p.panels.Close()
	}
}
