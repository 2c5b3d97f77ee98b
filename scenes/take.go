package scenes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

const (
	// MaxTake is the longest take that is read, in bytes.
	MaxTake = 256 << 20
	// MaxLength is the longest script or take.
	MaxLength = 24 * time.Hour
)

// Script is a performance: what the cluster and hands do, and when.
type Script struct {
	Title, About string
	Steps        []Step // by time
}

// Length is when the last step happens.
func (s *Script) Length() time.Duration {
	if len(s.Steps) == 0 {
		return 0
	}
	return s.Steps[len(s.Steps)-1].At
}

// Step is one thing that happens: exactly one of Transition and Param is set.
type Step struct {
	// At is the time since the beginning.
	At time.Duration
	// Transition is a change in the cluster. Its Time is the Unix epoch and At.
	Transition *mapping.Transition
	// Param is a knob turned by a hand.
	Param *ParamChange
}

// ParamChange is a param that goes to a value.
type ParamChange struct {
	Address mapping.Address
	Value   float64
	// Word is the value of a param that takes a word.
	Word string
}

// LoadScript reads the script or take at a path.
func LoadScript(path string) (*Script, error) {
	data, err := document.ReadFile(path, MaxTake)
	if err != nil {
		return nil, fmt.Errorf("script: %w", err)
	}
	return ParseScript(path, data)
}

// ParseScript reads a script in YAML, or a take: the stream as JSON lines.
// File is its name in errors; a file whose name ends in .jsonl is a take, and
// so is one that begins with a message of the stream.
func ParseScript(file string, data []byte) (*Script, error) {
	if beginsTake(data) {
		return scriptOfTake(file, data)
	}
	if strings.HasSuffix(file, ".jsonl") || looksLikeTake(data) {
		return parseTake(file, data)
	}
	return parseScript(file, data)
}

func looksLikeTake(data []byte) bool {
	line, _, _ := bytes.Cut(bytes.TrimLeft(data, " \t\r\n"), []byte{'\n'})
	if !bytes.HasPrefix(line, []byte{'{'}) {
		return false
	}
	var keys map[string]json.RawMessage
	if json.Unmarshal(line, &keys) != nil {
		return false
	}
	for _, k := range []string{"hello", "transition", "topology", "action", "problem", "param"} {
		if _, ok := keys[k]; ok {
			return true
		}
	}
	return false
}

// takeLine is a message of the stream, or what a hand did beside it.
type takeLine struct {
	mapping.Message
	Param *takeParam `json:"param,omitempty"`
}

type takeParam struct {
	Time    time.Time       `json:"time"`
	Address mapping.Address `json:"address"`
	Value   float64         `json:"value"`
	Word    string          `json:"word,omitempty"`
}

// epoch is the beginning of every script and take.
var epoch = time.Unix(0, 0).UTC()

// parseTake reads a take of version 1, or a stream. Its times count from the epoch; a stream as it was
// told live, with wall times, begins at its first transition. Topologies,
// actions and problems have no time and are left out. A last line without its
// end is what was being written when the recording stopped, and left out too.
func parseTake(file string, data []byte) (*Script, error) {
	p := &document.Mistakes{File: file}
	if len(data) > MaxTake {
		p.At(1, 1, "the file is longer than %d bytes, the most that a take may have", MaxTake)
		return nil, p.Err()
	}
	s := &Script{Title: bareName(filepath.Base(file))}
	base, based := epoch, false
	since := func(t time.Time) (time.Duration, error) {
		if !based {
			based = true
			if t.Sub(epoch) > MaxLength {
				base = t
			}
		}
		at := t.Sub(base)
		if t.IsZero() || at > MaxLength || at < -MaxLength {
			return 0, fmt.Errorf("the time %s is not within %s of the beginning", t.Format(time.RFC3339Nano), MaxLength)
		}
		return max(at, 0), nil
	}
	messages := 0
	for n, rest := 1, data; len(rest) > 0; n++ {
		line, tail, ended := bytes.Cut(rest, []byte{'\n'})
		rest = tail
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var m takeLine
		if err := json.Unmarshal(line, &m); err != nil {
			if !ended && messages > 0 && !json.Valid(line) {
				break
			}
			p.At(n, jsonColumn(line, err), "this is not a message of the stream: %v; expected one JSON object a line, such as {\"transition\":{…}}", err)
			continue
		}
		messages++
		switch {
		case m.Hello != nil:
			if m.Hello.Version > mapping.StreamVersion {
				p.Add(n, 1, document.LaterVersion("take", m.Hello.Version, mapping.StreamVersion))
				return nil, p.Err()
			}
		case m.Transition != nil:
			t := m.Transition
			if t.Object.Kind == "" || t.Object.Name == "" || t.Field == "" {
				p.At(n, 1, "the transition does not say of which kind, name and field it is")
				continue
			}
			at, err := since(t.Time)
			if err != nil {
				p.Add(n, 1, err)
				continue
			}
			t.Time = epoch.Add(at)
			s.Steps = append(s.Steps, Step{At: at, Transition: t})
		case m.Param != nil:
			if _, _, err := m.Param.Address.Split(); err != nil {
				p.Add(n, 1, err)
				continue
			}
			at, err := since(m.Param.Time)
			if err != nil {
				p.Add(n, 1, err)
				continue
			}
			s.Steps = append(s.Steps, Step{At: at, Param: &ParamChange{m.Param.Address, m.Param.Value, m.Param.Word}})
		case m.Topology != nil, m.Action != nil, m.Problem != nil:
		default:
			p.At(n, 1, "the line says nothing; expected one of hello, transition, topology, action, problem, param")
		}
	}
	if messages == 0 && p.Count() == 0 {
		p.At(1, 1, "the file is empty; expected a take: the stream's messages, one JSON object a line")
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(s.Steps, byTime)
	return s, nil
}

func byTime(a, b Step) int {
	switch {
	case a.At < b.At:
		return -1
	case a.At > b.At:
		return 1
	}
	return 0
}

// jsonColumn is where in the line the decoder stopped.
func jsonColumn(line []byte, err error) int {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	offset := int64(1)
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	}
	offset = min(max(offset, 1), int64(len(line)))
	return utf8.RuneCount(line[:offset-1]) + 1
}
