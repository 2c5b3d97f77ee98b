package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/hardware/rack"
)

// TestRackAudit: the default scene against a case that holds it and one that
// does not; the exit code is that of an error.
func TestRackAudit(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	audit := func(args ...string) (string, error) {
		c := rackCommand()
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetArgs(append([]string{"audit"}, args...))
		c.SilenceErrors, c.SilenceUsage = true, true
		err := c.Execute()
		return out.String(), err
	}
	out, err := audit("default")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err != nil || !strings.HasPrefix(lines[len(lines)-1], "fits: ") || !strings.Contains(out, "deployment/web") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = audit("cluster", "--supply", "doepfer-a100mnt", "--json")
	var r rack.Report
	if jerr := json.Unmarshal([]byte(out), &r); jerr != nil || r.Fits || err == nil || !strings.HasPrefix(r.Verdict, "does NOT fit: +12 V lacks") || r.Rails[0].Worst == "" {
		t.Errorf("%v, %v, %+v", err, jerr, r)
	}
	if _, err = audit("default", "--supply", "nobody"); err == nil || !strings.Contains(err.Error(), "there are ") {
		t.Errorf("error: %v", err)
	}
}
