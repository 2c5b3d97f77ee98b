package calibration

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Encode returns the document as the text of a file.
func (d *Document) Encode() ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode, HeadComment: "A calibration of one channel on this machine; made by \"k8s-synth calibrate\".\nVolts are the jack's own; what is sent for them is offset + gain * volts + mend."}
	put(root, "version", num(Version))
	put(root, "interface", str(d.Interface))
	put(root, "jack", str(d.Jack))
	put(root, "direction", str(d.Direction.String()))
	put(root, "channel", num(float64(d.Channel)))
	if d.Machine != "" {
		put(root, "machine", str(d.Machine))
	}
	put(root, "made", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!timestamp", Value: d.Made.UTC().Format(time.RFC3339)})
	put(root, "method", str(d.Method))
	if d.Reference != "" {
		put(root, "reference", str(d.Reference))
	}
	if d.FullScale != 0 {
		put(root, "full_scale", num(d.FullScale))
	}
	put(root, "standard", str(d.Standard.Kind.String()))
	if s := d.Standard; s.Volts != 0 || s.Hertz != 0 {
		put(root, "reference_volts", num(s.volts()))
		put(root, "reference_hertz", num(s.hertz()))
	}
	if d.Transpose != 0 {
		put(root, "transpose", num(float64(d.Transpose)))
	}
	c, e := d.Conditions, &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range []struct {
		key       string
		v, digits float64
	}{{"seconds", c.Seconds, 0.1}, {"repeats", float64(c.Repeats), 1}, {"passes", float64(c.Passes), 1}, {"settle", c.Settle, 1e-3},
		{"drift", c.Drift, 1e-3}, {"noise", c.Noise, 1e-4}, {"rate", c.Rate, 1}} {
		if f.v != 0 {
			put(e, f.key, num(roundTo(f.v, f.digits)))
		}
	}
	if c.Note != "" {
		put(e, "note", str(c.Note))
	}
	if len(e.Content) > 0 {
		put(root, "conditions", e)
	}
	for _, r := range []struct {
		key string
		r   Residual
	}{{"before", d.Before}, {"after", d.After}} {
		if math.IsNaN(r.r.Worst) || math.IsNaN(r.r.RMS) {
			continue
		}
		e := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		put(e, "worst", num(roundTo(r.r.Worst, 1e-3)))
		put(e, "rms", num(roundTo(r.r.RMS, 1e-3)))
		put(root, r.key, e)
	}
	put(root, "offset", num(d.Offset))
	put(root, "gain", num(d.Gain))
	if len(d.Table) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, r := range d.Table {
			e := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
			if r.Note >= 0 {
				put(e, "note", num(float64(r.Note)))
			}
			put(e, "volts", num(r.Volts))
			put(e, "mend", num(r.Mend))
			if !math.IsNaN(r.Before) {
				put(e, "before", num(roundTo(r.Before, 1e-3)))
			}
			if !math.IsNaN(r.After) {
				put(e, "after", num(roundTo(r.After, 1e-3)))
			}
			list.Content = append(list.Content, e)
		}
		put(root, "table", list)
	}
	if len(d.LeftOut) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, l := range d.LeftOut {
			e := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
			if l.Note >= 0 {
				put(e, "note", num(float64(l.Note)))
			}
			put(e, "volts", num(l.Volts))
			put(e, "why", str(l.Why))
			list.Content = append(list.Content, e)
		}
		put(root, "left_out", list)
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(root), enc.Close()); err != nil {
		return nil, fmt.Errorf("calibration of %s: %w", d.Jack, err)
	}
	// What is written must be what can be read: a calibration is not made twice gladly.
	if _, err := Parse(d.Name(), b.Bytes()); err != nil {
		return nil, fmt.Errorf("calibration of %s: %w", d.Jack, err)
	}
	return b.Bytes(), nil
}

func put(m *yaml.Node, key string, v *yaml.Node) {
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, v)
}

func num(v float64) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: strconv.FormatFloat(v, 'f', -1, 64)}
	if v == math.Trunc(v) {
		n.Tag = "!!int"
	}
	// No table needs more than a nanovolt, and 0.30000000000000004 is no figure for a file.
	if len(n.Value) > 12 {
		n.Value = strings.TrimRight(strings.TrimRight(strconv.FormatFloat(v, 'f', 9, 64), "0"), ".")
	}
	if n.Value == "-0" || n.Value == "" {
		n.Value, n.Tag = "0", "!!int"
	}
	return n
}

func str(s string) *yaml.Node {
	var n yaml.Node
	n.SetString(s)
	return &n
}

// History is how many older calibrations of a channel are kept.
const History = 24

const (
	suffix     = ".yaml"
	historyDir = "history"
	stamp      = "20060102T150405Z"
)

// Save writes the document to a path, whole or not at all: to a file beside it that is renamed when
// it is on the disk. The calibration that was there goes into the folder "history" first, where the
// last 24 of each channel are kept. Folders that are missing are made.
func (d *Document) Save(path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("calibration of %s is not saved: %w", d.Jack, err)
		}
	}()
	data, err := d.Encode()
	if err != nil {
		return err
	}
	if err := keep(path); err != nil {
		return err
	}
	return replace(path, data)
}

// keep puts what is at path into the history.
func keep(path string) error {
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	made := time.Now()
	if info, err := os.Stat(path); err == nil {
		made = info.ModTime()
	}
	// One that cannot be read is somebody's work as well.
	if d, err := Parse(path, old); err == nil {
		made = d.Made
	}
	base := strings.TrimSuffix(filepath.Base(path), suffix)
	dir := filepath.Join(filepath.Dir(path), historyDir)
	if err := replace(filepath.Join(dir, base+"."+made.UTC().Format(stamp)+suffix), old); err != nil {
		return err
	}
	names, err := past(path)
	for len(names) > History {
		err = errors.Join(err, os.Remove(names[0]))
		names = names[1:]
	}
	return err
}

// past are the files of a channel's history, oldest first.
func past(path string) ([]string, error) {
	base := strings.TrimSuffix(filepath.Base(path), suffix)
	dir := filepath.Join(filepath.Dir(path), historyDir)
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	for _, f := range files { // by name, which is by date
		if rest, ok := strings.CutPrefix(f.Name(), base+"."); ok && len(rest) == len(stamp)+len(suffix) && strings.HasSuffix(rest, suffix) {
			names = append(names, filepath.Join(dir, f.Name()))
		}
	}
	return names, nil
}

// replace writes a file whole or not at all. Folders that are missing are made.
func replace(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return document.WriteWhole(path, 0o644, document.Bytes(data))
}

// Past reads the calibrations that were at path before, oldest first. One that cannot be read is
// left out; the errors name them.
func Past(path string) ([]*Document, error) {
	names, err := past(path)
	if err != nil {
		return nil, fmt.Errorf("calibration history: %w", err)
	}
	var all []*Document
	var errs []error
	for _, n := range names {
		d, err := Load(n)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, d)
	}
	return all, errors.Join(errs...)
}

// Store is the folder of a machine's calibrations: one folder in it for each interface, one file
// for each of its channels.
type Store struct{ Dir string }

// Path is where the calibration of a document's channel is kept.
func (s Store) Path(d *Document) string {
	return filepath.Join(s.Dir, slug(d.Interface), d.Name()+suffix)
}

// ErrForeign says that a file is the calibration of another channel than that under whose name it lies.
var ErrForeign = errors.New("calibration of another channel")

// Open reads the newest calibration of a jack, or returns nil where there is none. One that was made of
// another interface, jack or channel, and copied to that place, is ErrForeign.
func (s Store) Open(iface, jack string, direction Direction, channel int) (*Document, error) {
	want := &Document{Interface: iface, Jack: jack, Direction: direction, Channel: channel}
	path := s.Path(want)
	d, err := Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// By what a path tells apart.
	if d.Name() != want.Name() || slug(d.Interface) != slug(iface) {
		return nil, fmt.Errorf("%s: %w: it is of %s, %s %d of %s, and here is %s, %s %d of %s", path, ErrForeign, d.Jack, d.Direction, d.Channel, d.Interface, jack, direction, channel, iface)
	}
	return d, nil
}

// List reads all calibrations, by interface and channel. Those that cannot be read are left out; the
// error names them.
func (s Store) List() ([]*Document, error) {
	paths, err := filepath.Glob(filepath.Join(s.Dir, "*", "*"+suffix))
	if err != nil {
		return nil, fmt.Errorf("calibrations: %w", err)
	}
	var all []*Document
	var errs []error
	for _, p := range paths {
		if strings.HasPrefix(filepath.Base(p), ".") {
			continue
		}
		d, err := Load(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, d)
	}
	slices.SortStableFunc(all, func(a, b *Document) int {
		return cmp.Or(cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Direction, b.Direction), cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Jack, b.Jack))
	})
	return all, errors.Join(errs...)
}
