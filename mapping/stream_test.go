package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// everyMessage has each form that the stream can carry, with every field set
// in one of them.
func everyMessage() []Message {
	at := time.Date(2026, 3, 4, 5, 6, 7, 891000, time.UTC)
	pod := Object{Kind: KindPod, Namespace: "k8s-synth", Name: "web-1", UID: "1-2-3"}
	full := Topology{Version: TopologyVersion, Scene: "default", Generation: 7, Namespace: "k8s-synth",
		Modules: map[instrument.ModuleID]TopologyModule{
			"deployment/web": {"replicas": 3.0, "strategy": "Recreate", "image": "pause", "start_delay": 0.6},
			"pod/web-1":      {"hold": false}},
		Cables: []string{"deployment/web/claim_1 -> pod/web-1/lifecycle"}}
	return []Message{
		{Hello: &Hello{Version: StreamVersion, Program: "k8s-synth"}},
		{Transition: &Transition{Time: at, Revision: 42, Object: pod, Owner: "web", Replica: "5d4f", Field: FieldPhase, Old: "Pending", New: "Running", Quiet: true}},
		{Transition: &Transition{Time: time.Unix(1, 500_000_000).UTC(), Object: pod, Field: FieldExists, Old: "true"}},
		{Transition: &Transition{Time: at, Object: Object{Kind: KindComposition, Name: "x"}, Field: FieldReason, New: "<a> & \"b\"\nc\u2028 é"}},
		{Topology: &full},
		{Topology: &Topology{Version: TopologyVersion, Namespace: "empty"}},
		{Action: &Action{Verb: VerbWrite, Object: Object{Kind: KindEtcd, Name: "store"}}},
		{Action: &Action{Verb: VerbDelete, Object: pod}},
		{Action: &Action{Verb: VerbRequest, Object: Object{Kind: KindIngress, Namespace: "k8s-synth", Name: "door"}, Path: "/two"}},
		{Setting: &Setting{Object: pod, Name: SetCPU, Value: "250"}},
		{Setting: &Setting{Object: Object{Kind: KindNode, Name: "stage-1"}, Name: SetCordon}},
		{Edit: &Edit{By: "kubectl-edit", Topology: full, Base: Topology{Version: TopologyVersion}}},
		{Problem: &Problem{Where: "publisher", Text: "forbidden: ask for the right to patch configmaps"}},
	}
}

// writes records what each call of Write was given.
type writes [][]byte

func (w *writes) Write(b []byte) (int, error) { *w = append(*w, bytes.Clone(b)); return len(b), nil }

func TestStreamRoundTrip(t *testing.T) {
	var w writes
	enc := NewEncoder(&w)
	all := everyMessage()
	for _, m := range all {
		if err := enc.Encode(m); err != nil {
			t.Fatal(err)
		}
	}
	if len(w) != len(all) {
		t.Fatalf("%d messages took %d writes; a reader must never see half a line for long", len(all), len(w))
	}
	for i, line := range w {
		if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Errorf("message %d is not one line: %q", i+1, line)
		}
		if bytes.Contains(line, []byte(`\u003c`)) {
			t.Errorf("message %d escapes for HTML: %s", i+1, line)
		}
	}
	dec := NewDecoder(bytes.NewReader(bytes.Join(w, nil)))
	for i, want := range all {
		got, err := dec.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("message %d came back as\n%+v, want\n%+v", i+1, got, want)
		}
	}
	if _, err := dec.Decode(); err != io.EOF {
		t.Errorf("at the end: %v, want io.EOF", err)
	}
}

func TestStreamRefuses(t *testing.T) {
	hello := `{"hello":{"version":1,"program":"p"}}` + "\n"
	for name, c := range map[string]struct {
		in   string
		good int // messages before the bad one
		want string
		is   error
	}{
		"a later version":     {`{"hello":{"version":3,"program":"newer"}}`, 0, "stream message 1: newer speaks version 3, this program 2", ErrStreamVersion},
		"no JSON":             {hello + hello + "what?\n", 2, "stream message 3: ", nil},
		"a wrong type":        {hello + `{"transition":{"revision":"x"}}`, 1, "stream message 2: ", nil},
		"a bad time":          {hello + `{"transition":{"time":"yesterday"}}`, 1, "stream message 2: ", nil},
		"an end in the midst": {hello + `{"problem":{"whe`, 1, "stream message 2: ", io.ErrUnexpectedEOF},
		"no object":           {`[1]`, 0, "stream message 1: ", nil},
	} {
		t.Run(name, func(t *testing.T) {
			dec := NewDecoder(strings.NewReader(c.in))
			for range c.good {
				if _, err := dec.Decode(); err != nil {
					t.Fatal(err)
				}
			}
			_, err := dec.Decode()
			if err == nil || !strings.HasPrefix(err.Error(), c.want) || errors.Is(err, io.EOF) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is not %v", err, c.is)
			}
		})
	}
	// An earlier version and unknown fields are read: a neighbour may be older
	// or say more.
	dec := NewDecoder(strings.NewReader(`{"hello":{"version":0,"program":"old","more":1},"extra":{}}`))
	if m, err := dec.Decode(); err != nil || m.Hello == nil || m.Hello.Program != "old" {
		t.Errorf("got %+v, %v", m, err)
	}
}

// TestStreamDoesNotWaitForMore proves that a message is there as soon as its
// line is: a reader that waited for a full buffer would hold back the last
// note until the next.
func TestStreamDoesNotWaitForMore(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	dec, enc := NewDecoder(r), NewEncoder(w)
	got := make(chan Message)
	go func() {
		for {
			m, err := dec.Decode()
			if err != nil {
				close(got)
				return
			}
			got <- m
		}
	}()
	for i, m := range everyMessage() {
		sent := make(chan error, 1)
		go func() { sent <- enc.Encode(m) }()
		select {
		case back := <-got:
			if !reflect.DeepEqual(back, m) {
				t.Errorf("message %d differs", i+1)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("message %d is held back", i+1)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	if _, more := <-got; more {
		t.Error("a message after the end")
	}
}

func FuzzDecoder(f *testing.F) {
	var b bytes.Buffer
	enc := NewEncoder(&b)
	for _, m := range everyMessage() {
		one, _ := json.Marshal(m)
		f.Add(one)
		_ = enc.Encode(m)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"hello":{"version":99}}`))
	f.Add([]byte("null\n{}\n[]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dec := NewDecoder(bytes.NewReader(data))
		for range len(data) + 2 {
			m, err := dec.Decode()
			if err != nil {
				if err != io.EOF && !strings.HasPrefix(err.Error(), "stream message ") {
					t.Fatalf("the error does not name the message: %v", err)
				}
				return
			}
			// What was understood can be said again, and means the same.
			var w bytes.Buffer
			if err := NewEncoder(&w).Encode(m); err != nil {
				t.Fatalf("%+v was read and cannot be written: %v", m, err)
			}
			again, err := NewDecoder(&w).Decode()
			if err != nil {
				t.Fatal(err)
			}
			a, _ := json.Marshal(m)
			c, _ := json.Marshal(again)
			if !bytes.Equal(a, c) {
				t.Fatalf("%s came back as %s", a, c)
			}
		}
		t.Fatal("the decoder does not come to an end")
	})
}
