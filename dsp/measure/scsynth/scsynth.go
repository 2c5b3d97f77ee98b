// Package scsynth plays SuperCollider's server, scsynth, without real time, as
// a peer to measure beside: it writes synth definitions and scores, and reads
// what was rendered. Only tests and benchmarks use it.
//
// The formats are those of SuperCollider's reference pages "Synth Definition
// File Format" (version 2), "Server Command Reference" and "Non-Realtime
// Synthesis".
package scsynth

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// ErrMissing says that there is no scsynth on this machine.
var ErrMissing = errors.New("scsynth is not installed (Debian: supercollider-server)")

// Rate is how often a unit generator computes.
type Rate int8

// The rates that are used here.
const (
	Control Rate = 1 // once a block
	Audio   Rate = 2
)

// Operators of BinaryOpUGen, by their special index.
const (
	Add      = 0
	Multiply = 2
)

// Value is an input of a unit generator: an output of another one, or a
// constant.
type Value struct {
	unit, output int32 // unit -1: output indexes the constants
}

// Definition is a synth definition under construction. Units sound in the
// order in which they are added.
type Definition struct {
	name      string
	constants []float32
	controls  []float32
	names     []string
	units     []unit
}

type unit struct {
	class   string
	rate    Rate
	special int16
	inputs  []Value
	outputs int
}

// Define begins a definition whose controls have the given names and values
// at first. It returns them as values as well.
func Define(name string, controls []string, values []float32) (*Definition, []Value) {
	d := &Definition{name: name, controls: values, names: controls}
	if len(controls) == 0 {
		return d, nil
	}
	return d, d.add("Control", Control, 0, len(controls))
}

// Constant is a number as a value.
func (d *Definition) Constant(v float32) Value {
	for i, c := range d.constants {
		if c == v {
			return Value{-1, int32(i)}
		}
	}
	d.constants = append(d.constants, v)
	return Value{-1, int32(len(d.constants) - 1)}
}

// Constants are several numbers.
func (d *Definition) Constants(v ...float32) []Value {
	out := make([]Value, len(v))
	for i := range v {
		out[i] = d.Constant(v[i])
	}
	return out
}

// Unit adds a unit generator with one output.
func (d *Definition) Unit(class string, rate Rate, inputs ...Value) Value {
	return d.add(class, rate, 0, 1, inputs...)[0]
}

// Units adds a unit generator with any number of outputs.
func (d *Definition) Units(class string, rate Rate, outputs int, inputs ...Value) []Value {
	return d.add(class, rate, 0, outputs, inputs...)
}

// Operator adds an arithmetic operator.
func (d *Definition) Operator(special int16, rate Rate, a, b Value) Value {
	return d.add("BinaryOpUGen", rate, special, 1, a, b)[0]
}

func (d *Definition) add(class string, rate Rate, special int16, outputs int, inputs ...Value) []Value {
	d.units = append(d.units, unit{class, rate, special, inputs, outputs})
	out := make([]Value, outputs)
	for i := range out {
		out[i] = Value{int32(len(d.units) - 1), int32(i)}
	}
	return out
}

// File is the definition as a file of one, and what /d_recv takes.
func (d *Definition) File() []byte {
	var b bytes.Buffer
	put := func(v ...any) {
		for _, x := range v {
			if s, ok := x.(string); ok {
				b.WriteByte(byte(len(s)))
				b.WriteString(s)
				continue
			}
			if err := binary.Write(&b, binary.BigEndian, x); err != nil {
				panic(err) // of a type without a size
			}
		}
	}
	b.WriteString("SCgf")
	put(int32(2), int16(1), d.name)
	put(int32(len(d.constants)), d.constants)
	put(int32(len(d.controls)), d.controls)
	put(int32(len(d.names)))
	for i, n := range d.names {
		put(n, int32(i))
	}
	put(int32(len(d.units)))
	for _, u := range d.units {
		put(u.class, u.rate, int32(len(u.inputs)), int32(u.outputs), u.special)
		for _, in := range u.inputs {
			put(in.unit, in.output)
		}
		for range u.outputs {
			put(u.rate)
		}
	}
	put(int16(0)) // variants
	return b.Bytes()
}

// Score is a list of commands in the order of their times.
type Score struct {
	b    bytes.Buffer
	last float64
	next int32
}

// NewScore begins with definitions that are there from the start.
func NewScore(definitions ...*Definition) *Score {
	s := &Score{next: 1000}
	for _, d := range definitions {
		s.send(0, "/d_recv", d.File())
	}
	return s
}

// Synth starts a synth at a time in seconds, not before that of the last
// command, with controls by name, and returns its number.
func (s *Score) Synth(seconds float64, definition string, controls map[string]float32) int32 {
	s.next++
	args := []any{definition, s.next, int32(1), int32(0)}
	for name, v := range controls {
		args = append(args, name, v)
	}
	s.send(seconds, "/s_new", args...)
	return s.next
}

// Set changes a control of a synth.
func (s *Score) Set(seconds float64, synth int32, control string, v float32) {
	s.send(seconds, "/n_set", synth, control, v)
}

// send adds a bundle of one message.
func (s *Score) send(seconds float64, address string, args ...any) {
	if seconds < s.last {
		panic(fmt.Sprintf("command %s at %v s comes after one at %v s", address, seconds, s.last))
	}
	s.last = seconds
	m := Message(address, args...)
	word := func(v any) { _ = binary.Write(&s.b, binary.BigEndian, v) }
	whole, part := math.Modf(seconds)
	word(int32(16 + 4 + len(m)))
	s.b.WriteString("#bundle\x00")
	word(uint32(whole))
	word(uint32(part * (1 << 32)))
	word(int32(len(m)))
	s.b.Write(m)
}

// Message is an OSC message with strings, int32, float32 and blobs.
func Message(address string, args ...any) []byte {
	var m, types, data bytes.Buffer
	pad := func(b *bytes.Buffer) {
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	text := func(b *bytes.Buffer, v string) {
		b.WriteString(v)
		b.WriteByte(0)
		pad(b)
	}
	word := func(b *bytes.Buffer, v any) { _ = binary.Write(b, binary.BigEndian, v) }
	types.WriteByte(',')
	for _, a := range args {
		switch v := a.(type) {
		case string:
			types.WriteByte('s')
			text(&data, v)
		case int32:
			types.WriteByte('i')
			word(&data, v)
		case float32:
			types.WriteByte('f')
			word(&data, v)
		case []byte:
			types.WriteByte('b')
			word(&data, int32(len(v)))
			data.Write(v)
			pad(&data)
		default:
			panic(fmt.Sprintf("command %s: OSC has no %T here", address, a))
		}
	}
	text(&m, address)
	text(&m, types.String())
	m.Write(data.Bytes())
	return m.Bytes()
}

// Rendering is what came out, and what it took.
type Rendering struct {
	Channels [][]float32
	User     time.Duration // processor time of the program, its start included
}

// Render plays a score to its end at a time in seconds, at a sample rate,
// to one or more channels. dir is for the files. Where there is no scsynth the
// error is ErrMissing.
func Render(ctx context.Context, dir string, s *Score, seconds float64, rate, channels int) (*Rendering, error) {
	program, err := exec.LookPath("scsynth")
	if err != nil {
		return nil, ErrMissing
	}
	s.send(seconds, "/c_set", int32(0), float32(0)) // a score lasts until its last command
	score, out := filepath.Join(dir, "score.osc"), filepath.Join(dir, "out.wav")
	if err := os.WriteFile(score, s.b.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("score for scsynth: %w", err)
	}
	cmd := exec.CommandContext(ctx, program, "-o", fmt.Sprint(channels), "-i", "0", "-D", "0", "-V", "-1",
		"-N", score, "_", out, fmt.Sprint(rate), "WAV", "float")
	text, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("scsynth: %w\n%s", err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("scsynth wrote nothing: %w\n%s", err, text)
	}
	r := &Rendering{User: cmd.ProcessState.UserTime()}
	r.Channels, err = samples(b, channels)
	if err != nil {
		return nil, fmt.Errorf("what scsynth wrote: %w\n%s", err, text)
	}
	return r, nil
}

// samples reads a WAV file of 32-bit floats.
func samples(b []byte, channels int) ([][]float32, error) {
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, errors.New("not a WAV file")
	}
	for at := 12; at+8 <= len(b); {
		size := int(binary.LittleEndian.Uint32(b[at+4:]))
		body := b[at+8:]
		size = min(size, len(body))
		switch string(b[at : at+4]) {
		case "fmt ":
			if size < 16 || int(binary.LittleEndian.Uint16(body[2:])) != channels || binary.LittleEndian.Uint16(body[14:]) != 32 {
				return nil, fmt.Errorf("not %d channels of 32 bits", channels)
			}
		case "data":
			frames := size / 4 / channels
			out := make([][]float32, channels)
			for c := range out {
				out[c] = make([]float32, frames)
				for i := range out[c] {
					out[c][i] = math.Float32frombits(binary.LittleEndian.Uint32(body[4*(i*channels+c):]))
				}
			}
			return out, nil
		}
		at += 8 + size + size&1
	}
	return nil, errors.New("a WAV file without data")
}
