package scenes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// render writes steps one a line.
func render(steps []Step) []byte {
	var b bytes.Buffer
	for _, s := range steps {
		if p := s.Param; p != nil {
			fmt.Fprintf(&b, "%8.3f  %s = %g%s\n", s.At.Seconds(), p.Address, p.Value, p.Word)
			continue
		}
		t := s.Transition
		fmt.Fprintf(&b, "%8.3f  r%d %s %s: %q -> %q", s.At.Seconds(), t.Revision, t.Object, t.Field, t.Old, t.New)
		for _, x := range []string{t.Object.Namespace, t.Object.UID, t.Owner, t.Replica} {
			if x != "" {
				b.WriteString("  " + x)
			}
		}
		if t.Quiet {
			b.WriteString("  quiet")
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d scripts, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".yaml"), func(t *testing.T) {
			s, err := LoadScript(f)
			if err != nil {
				t.Fatal(err)
			}
			consistent(t, s.Steps)
			golden(t, strings.TrimSuffix(f, ".yaml")+".steps", render(s.Steps))
		})
	}
}

// consistent holds steps to what every performance keeps: times rise and are
// the transitions' own, old values are those told before, objects have their
// fields only while they exist.
func consistent(t *testing.T, steps []Step) {
	t.Helper()
	state := map[string]map[string]string{}
	uid := map[string]string{}
	last, revision := time.Duration(0), int64(0)
	for i, s := range steps {
		if s.At < last || s.At > MaxLength {
			t.Fatalf("step %d at %s comes after %s", i, s.At, last)
		}
		last = s.At
		if (s.Transition == nil) == (s.Param == nil) {
			t.Fatalf("step %d is not one thing: %+v", i, s)
		}
		tr := s.Transition
		if tr == nil {
			continue
		}
		if !tr.Time.Equal(time.Unix(0, 0).Add(s.At)) {
			t.Fatalf("step %d at %s has the time %s", i, s.At, tr.Time)
		}
		if tr.Revision != 0 && tr.Object.Kind != mapping.KindEtcd {
			if tr.Revision < revision {
				t.Fatalf("step %d goes back from revision %d to %d", i, revision, tr.Revision)
			}
			revision = tr.Revision
		}
		key := tr.Object.String()
		if state[key] == nil {
			state[key] = map[string]string{}
		}
		if kindOf := func(k kind) bool { return k.name == tr.Object.Kind }; slices.ContainsFunc(scriptKinds, kindOf) {
			k := scriptKinds[slices.IndexFunc(scriptKinds, kindOf)]
			if f := k.fields[slices.IndexFunc(k.fields, func(f field) bool { return f.name == tr.Field })]; f.form == formAnswer || f.form == formTaken {
				if tr.Old != "" || tr.New == "" || tr.Revision != 0 || state[key][mapping.FieldExists] != "true" {
					t.Fatalf("step %d: %s answers %+v", i, key, tr)
				}
				continue
			}
		}
		if tr.Old != state[key][tr.Field] || tr.Old == tr.New {
			t.Fatalf("step %d: %s %s goes from %q to %q, it was %q", i, key, tr.Field, tr.Old, tr.New, state[key][tr.Field])
		}
		switch tr.Object.Kind {
		case mapping.KindPod, mapping.KindDeployment, mapping.KindNode, mapping.KindService, mapping.KindIngress, mapping.KindHPA, mapping.KindCronJob, mapping.KindJob:
			if tr.Field == mapping.FieldExists && tr.New == "true" {
				if tr.Object.UID == "" || tr.Object.UID == uid[key] {
					t.Fatalf("step %d: %s has the UID %q again", i, key, tr.Object.UID)
				}
				uid[key] = tr.Object.UID
			} else if state[key][mapping.FieldExists] != "true" || tr.Object.UID != uid[key] {
				t.Fatalf("step %d: %s tells %s of what does not exist", i, key, tr.Field)
			}
		}
		state[key][tr.Field] = tr.New
		if tr.Field == mapping.FieldExists && tr.New == "" {
			delete(state, key)
		}
	}
}

// final returns the values at the end by kind/name/field.
func final(steps []Step) map[string]string {
	end := map[string]string{}
	for _, s := range steps {
		if tr := s.Transition; tr != nil {
			if tr.Field == mapping.FieldExists && tr.New == "" {
				for k := range end {
					if strings.HasPrefix(k, tr.Object.String()+"/") {
						delete(end, k)
					}
				}
				continue
			}
			end[tr.Object.String()+"/"+tr.Field] = tr.New
		}
	}
	return end
}

// However convergences overlap, at the end there are as many ready pods as
// were asked for last, and the counts say so.
func TestConvergeConverges(t *testing.T) {
	for _, wishes := range [][]int{{4}, {4, 6}, {6, 2}, {0}, {5, 0, 3}, {1, 9, 2, 7, 3}, {16, 4, 16, 4}} {
		for _, gap := range []float64{0.01, 0.06, 0.3, 1, 1.7, 20} {
			text := "version: 1\nevents:\n"
			for i, w := range wishes {
				text += fmt.Sprintf("  - {at: %g, deployment: web, replicas: %d, converge: {}}\n", 1+float64(i)*gap, w)
			}
			s, err := ParseScript("w.yaml", []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			consistent(t, s.Steps)
			end := final(s.Steps)
			want := strconv.Itoa(wishes[len(wishes)-1])
			ready, exist := 0, 0
			for k, v := range end {
				if strings.HasPrefix(k, "pod/") && strings.HasSuffix(k, "/ready") && v == "true" {
					ready++
				}
				if strings.HasPrefix(k, "pod/") && strings.HasSuffix(k, "/exists") {
					exist++
				}
			}
			if strconv.Itoa(ready) != want || strconv.Itoa(exist) != want || end["deployment/web/readyPods"] != want || end["deployment/web/updated"] != want || end["deployment/web/replicas"] != want {
				t.Errorf("%v every %g s: %d of %d pods ready, deployment says %s of %s", wishes, gap, ready, exist, end["deployment/web/readyPods"], end["deployment/web/replicas"])
			}
			if end["deployment/web/generation"] != end["deployment/web/observed"] {
				t.Errorf("%v every %g s: generation %s, observed %s", wishes, gap, end["deployment/web/generation"], end["deployment/web/observed"])
			}
		}
	}
}

// The demonstration tells all that it promises, and ends at rest.
func TestDemo(t *testing.T) {
	s, err := (&Store{}).OpenScript("demo")
	if err != nil {
		t.Fatal(err)
	}
	consistent(t, s.Steps)
	if s.Length() < 55*time.Second || s.Length() > 65*time.Second {
		t.Errorf("it lasts %s", s.Length())
	}
	told := map[string]bool{}
	down := false
	for _, st := range s.Steps {
		if st.Param != nil {
			told[string(st.Param.Address)+"="+strconv.FormatFloat(st.Param.Value, 'g', -1, 64)] = true
			continue
		}
		tr := st.Transition
		told[tr.Field+"="+tr.New] = true
		if tr.Object.Kind == mapping.KindAPIServer && tr.Field == mapping.FieldReachable {
			down = tr.New == "false"
		} else if down && st.At > 40*time.Second && tr.Object.Kind != mapping.KindAPIServer {
			t.Errorf("%s tells %s at %s, while the API does not answer", tr.Object, tr.Field, st.At)
		}
	}
	for _, want := range []string{"boot=ready", "readyPods=4", "readyPods=6", "reason=OOMKilled", "reason=CrashLoopBackOff", "restarts=1", "reason=Evicted", "cordoned=true", "reachable=false", "/deployment/web/replicas=6"} {
		if !told[want] {
			t.Errorf("it never tells %s", want)
		}
	}
	end := final(s.Steps)
	if end["deployment/web/readyPods"] != "4" || end["deployment/web/replicas"] != "4" || end["apiserver/apiserver/synced"] != "true" {
		t.Errorf("it does not end at rest: %v", end)
	}
}

// A stream that was recorded as it was, with wall times, begins at its first
// transition; its order is that of time.
func TestLiveStream(t *testing.T) {
	var b bytes.Buffer
	enc := mapping.NewEncoder(&b)
	start := time.Date(2031, 3, 4, 5, 6, 7, 0, time.UTC)
	for _, after := range []float64{0, 1.5, 1.25} {
		if err := enc.Encode(mapping.Message{Transition: &mapping.Transition{Time: start.Add(seconds(after)),
			Object: mapping.Object{Kind: "pod", Name: "a"}, Field: "node", New: fmt.Sprint(after)}}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := ParseScript("stream", b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(render(s.Steps)), "   0.000  r0 pod/a node: \"\" -> \"0\"\n   1.250  r0 pod/a node: \"\" -> \"1.25\"\n   1.500  r0 pod/a node: \"\" -> \"1.5\"\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzScene(f *testing.F) {
	f.Add([]byte(full))
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, name := range append(files, "default.yaml") {
		if data, err := os.ReadFile(name); err == nil {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("f.yaml", data)
		if err != nil {
			if s != nil || !wellPlaced(err) {
				t.Fatalf("%v, %v", s, err)
			}
			return
		}
		roundTrip(t, s)
	})
}

func FuzzScript(f *testing.F) {
	for _, glob := range []string{"testdata/badscript/*.yaml", "testdata/badscript/*.jsonl", "testdata/script/*.yaml", "demo.script.yaml"} {
		files, _ := filepath.Glob(glob)
		for _, name := range files {
			if data, err := os.ReadFile(name); err == nil && !strings.Contains(name, "too_much") {
				f.Add(data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseScript("f", data)
		if err != nil {
			if s != nil || !wellPlaced(err) {
				t.Fatalf("%v, %v", s, err)
			}
			return
		}
		if !looksLikeTake(data) {
			consistent(t, s.Steps)
		}
	})
}
