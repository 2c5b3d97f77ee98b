package vcv

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// parseJSON reads an object and keeps every digit of its numbers.
func parseJSON(data []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind the end of the JSON")
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("the JSON is not an object")
	}
	return m, nil
}

// order is how Rack writes keys; others follow by name.
var order = func() map[string]int {
	o := map[string]int{}
	for i, k := range strings.Fields("version path unsaved zoom gridOffset id plugin model outputModuleId outputId inputModuleId inputId color modules cables masterModuleId params value bypass leftModuleId rightModuleId data pos") {
		o[k] = i
	}
	return o
}()

// writeJSON writes a value as Rack does, with two blanks a level.
func writeJSON(b *bytes.Buffer, v any, depth int) error {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			b.WriteString("{}")
			return nil
		}
		keys := slices.SortedFunc(maps.Keys(v), func(x, y string) int {
			i, known := order[x]
			k, also := order[y]
			switch {
			case known && also:
				return i - k
			case known:
				return -1
			case also:
				return 1
			}
			return strings.Compare(x, y)
		})
		b.WriteString("{")
		for i, k := range keys {
			if i > 0 {
				b.WriteByte(',')
			}
			line(b, depth+1)
			if err := writeString(b, k); err != nil {
				return err
			}
			b.WriteString(": ")
			if err := writeJSON(b, v[k], depth+1); err != nil {
				return err
			}
		}
		line(b, depth)
		b.WriteByte('}')
	case []any:
		if len(v) == 0 {
			b.WriteString("[]")
			return nil
		}
		b.WriteByte('[')
		for i := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			line(b, depth+1)
			if err := writeJSON(b, v[i], depth+1); err != nil {
				return err
			}
		}
		line(b, depth)
		b.WriteByte(']')
	case string:
		return writeString(b, v)
	default:
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("%v: %w", v, err)
		}
		b.Write(data)
	}
	return nil
}

func line(b *bytes.Buffer, depth int) {
	b.WriteByte('\n')
	for range depth {
		b.WriteString("  ")
	}
}

func writeString(b *bytes.Buffer, s string) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the encoder's newline
	return nil
}

// whole reads a number that must be an integer of 64 bits.
func whole(v any) (int64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	if i, err := n.Int64(); err == nil {
		return i, true
	}
	// Other programs write 3.0.
	f, err := n.Float64()
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// real64 reads a finite number.
func real64(v any) (float64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
}

func integer(i int64) json.Number { return json.Number(strconv.FormatInt(i, 10)) }

func decimal(f float64) json.Number { return json.Number(strconv.FormatFloat(f, 'g', -1, 64)) }

// plainest returns the number that was meant: Rack keeps params in 32 bits and
// prints nine digits, so that 0.1 comes back as 0.100000001.
func plainest(f float64) float64 {
	nine, err := strconv.ParseFloat(strconv.FormatFloat(float64(float32(f)), 'g', 9, 64), 64)
	if err != nil || nine != f {
		return f
	}
	short, err := strconv.ParseFloat(strconv.FormatFloat(float64(float32(f)), 'g', -1, 32), 64)
	if err != nil {
		return f
	}
	return short
}
