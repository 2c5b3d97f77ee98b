package scenes

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Update writes a scene over the text of an earlier state of it: what did not
// change stays as it was written, with its order, its comments and its way of
// writing numbers. Parse reads s from the result. A text that is no scene
// gives way to Encode.
func Update(text []byte, s *Scene) ([]byte, error) {
	s = s.ClockSays()
	plain, err := Encode(s)
	if err != nil {
		return nil, err
	}
	// Lines end as they did.
	if bytes.Contains(text, []byte("\r\n")) {
		out, err := Update(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), s)
		return bytes.ReplaceAll(out, []byte("\n"), []byte("\r\n")), err
	}
	// What nobody could open again must not take the place of what is there.
	readable := func() ([]byte, error) {
		if _, err := Parse(s.Name, plain); err != nil {
			return nil, fmt.Errorf("scene %s is not written, because it could not be read again: %w", s.Name, err)
		}
		return plain, nil
	}
	was, err := rootOf(text)
	if err != nil {
		return readable()
	}
	// Fields that stand at what they would be without are not encoded. They
	// stay where that does not change the scene.
	for _, keep := range []bool{true, false} {
		is, err := rootOf(plain)
		if err != nil {
			return nil, fmt.Errorf("scene %s: %w", s.Name, err)
		}
		doc := *was
		merged := merge(was.Content[0], is.Content[0], keep)
		doc.Content = []*yaml.Node{merged}
		var b bytes.Buffer
		enc := yaml.NewEncoder(&b)
		enc.SetIndent(2)
		if err := errors.Join(enc.Encode(&doc), enc.Close()); err != nil {
			return nil, fmt.Errorf("scene %s: %w", s.Name, err)
		}
		out := edges(text, paragraphs(text, b.Bytes()))
		if got, err := Parse(s.Name, out); err == nil && got.Equal(s) {
			return out, nil
		}
	}
	return readable()
}

func rootOf(text []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("no mapping")
	}
	return &doc, nil
}

// merge returns is in the words of was.
func merge(was, is *yaml.Node, keep bool) *yaml.Node {
	if was.Kind != is.Kind {
		is.HeadComment, is.LineComment, is.FootComment = was.HeadComment, was.LineComment, was.FootComment
		return is
	}
	out := *was
	switch was.Kind {
	case yaml.ScalarNode:
		if sameScalar(was, is) {
			return was
		}
		out.Value, out.Tag = is.Value, is.Tag
		if is.Style != 0 || was.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
			out.Style = is.Style
		}
	case yaml.MappingNode:
		out.Content = nil
		for i := 0; i+1 < len(was.Content); i += 2 {
			key, value := was.Content[i], was.Content[i+1]
			if v := valueOf(is, key.Value); v != nil {
				out.Content = append(out.Content, key, merge(value, v, keep))
			} else if keep {
				out.Content = append(out.Content, key, value)
			}
		}
		for i := 0; i+1 < len(is.Content); i += 2 {
			if valueOf(was, is.Content[i].Value) == nil {
				out.Content = append(out.Content, is.Content[i], is.Content[i+1])
			}
		}
	case yaml.SequenceNode:
		out.Content = nil
		byName := map[string]*yaml.Node{}
		for _, n := range was.Content {
			if name := itemName(n); name != "" {
				byName[name] = n
			}
		}
		for i, n := range is.Content {
			name := itemName(n)
			switch old := byName[name]; {
			case name != "" && old != nil:
				out.Content = append(out.Content, merge(old, n, keep))
			case name == "" && i < len(was.Content) && len(was.Content) == len(is.Content):
				out.Content = append(out.Content, merge(was.Content[i], n, keep))
			default:
				out.Content = append(out.Content, n)
			}
		}
	default:
		return is
	}
	return &out
}

func valueOf(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

// spaces is what a cable may have more of than it needs.
var spaces = regexp.MustCompile(`\s+`)

// itemName is what an item of a list is known by: a module's id, a rule's
// name, or the text of a cable.
func itemName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.ScalarNode:
		return spaces.ReplaceAllString(n.Value, "")
	case yaml.MappingNode:
		for _, key := range []string{"id", "name"} {
			if v := valueOf(n, key); v != nil && v.Kind == yaml.ScalarNode {
				return v.Value
			}
		}
	}
	return ""
}

// sameScalar tells whether two scalars say the same: 30 is 30.0, and a word is
// itself in quotes.
func sameScalar(a, b *yaml.Node) bool {
	if a.Value == b.Value {
		return true
	}
	var x, y float64
	return document.IsNumber(a) && document.IsNumber(b) && a.Decode(&x) == nil && b.Decode(&y) == nil && x == y
}

// blankBefore matches a blank line and the line after it.
var blankBefore = regexp.MustCompile(`(?m)^[ \t]*\n(.*\S.*)$`)

// paragraphs puts the blank lines of the old text, which the YAML library
// drops, before the same lines of the new one.
func paragraphs(old, text []byte) []byte {
	after := map[string]int{}
	for _, m := range blankBefore.FindAllSubmatch(old, -1) {
		after[string(bytes.TrimSpace(m[1]))]++
	}
	var out bytes.Buffer
	blank := true
	for line := range bytes.Lines(text) {
		key := string(bytes.TrimSpace(line))
		if after[key] > 0 && !blank {
			after[key]--
			out.WriteByte('\n')
		}
		blank = key == ""
		out.Write(line)
	}
	return out.Bytes()
}

// edges puts back those comments at the beginning and at the end of the old text
// that the YAML library loses: it keeps one for each place.
func edges(old, text []byte) []byte {
	all := slices.Collect(bytes.Lines(old))
	comment := func(line []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) }
	within := func(line []byte) bool {
		line = bytes.TrimSpace(line)
		return len(line) > 0 && !comment(line) && !bytes.HasPrefix(line, []byte("%")) && string(line) != "---" && string(line) != "..."
	}
	first := slices.IndexFunc(all, within)
	if first < 0 {
		return text
	}
	last := len(all) - 1
	for !within(all[last]) {
		last--
	}
	lost := func(lines [][]byte) (out []byte) {
		for _, l := range lines {
			if l = bytes.TrimSpace(l); comment(l) && !bytes.Contains(text, l) {
				out = append(append(out, l...), '\n')
			}
		}
		return out
	}
	return slices.Concat(lost(all[:first]), text, lost(all[last+1:]))
}

// Save keeps a scene in the player's folder under its name, over what is
// there or over the text of the one that ships, whose comments stay. It
// returns the path. The file is there whole or not at all, and what was there
// before is kept; see Former.
func (st *Store) Save(s *Scene) (string, error) {
	path, _, _, err := st.SaveOver(s)
	return path, err
}

// SaveOver is Save, and returns what the file held, nil for no file, and what it
// holds.
func (st *Store) SaveOver(s *Scene) (path string, was, is []byte, err error) {
	if st.Dir == "" {
		return "", nil, nil, fmt.Errorf("scene %s: there is no folder for your scenes; set XDG_CONFIG_HOME", s.Name)
	}
	path = filepath.Join(st.Dir, s.Name+sceneSuffix)
	read := func() ([]byte, error) {
		text, err := document.ReadFile(path, MaxFile)
		if errors.Is(err, fs.ErrNotExist) {
			text, err = shipped.ReadFile(s.Name + sceneSuffix)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return text, nil
	}
	before, err := read()
	if err != nil {
		return "", nil, nil, fmt.Errorf("scene %s: %w", s.Name, err)
	}
	if is, err = Update(before, s); err != nil {
		return "", nil, nil, err
	}
	err = st.alone(func() error {
		// Others wait no longer than the files take, unless one has saved meanwhile.
		now, err := read()
		if err == nil && !bytes.Equal(now, before) {
			is, err = Update(now, s)
		}
		if err == nil {
			was, err = st.replace(s.Name, is)
		}
		return err
	})
	if err != nil {
		return "", nil, nil, fmt.Errorf("scene %s: %w", s.Name, err)
	}
	return path, was, is, nil
}

// formerDir is where in the player's folder the files are that were saved over.
const formerDir = ".former"

// KeptFormer is how many files that were saved over are kept of each scene; the
// oldest go.
const KeptFormer = 200

// Replace writes the file of a scene in the player's folder, to the letter, or
// removes it where text is nil. What was there is kept first: where it cannot
// be, nothing is written. Of several that replace one at a time each keeps what
// the one before it wrote.
func (st *Store) Replace(name string, text []byte) error {
	if err := checkName("name", name); err != nil {
		return fmt.Errorf("scene: %w", err)
	}
	if err := st.alone(func() error { _, err := st.replace(name, text); return err }); err != nil {
		return fmt.Errorf("scene %s: %w", name, err)
	}
	return nil
}

// replace is Replace for who is alone. It returns what was there, nil for no file.
func (st *Store) replace(name string, text []byte) (was []byte, err error) {
	path := filepath.Join(st.Dir, name+sceneSuffix)
	was, err = os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		was = nil
	case err != nil:
		return nil, err
	case text != nil && bytes.Equal(was, text):
		return was, nil
	default:
		if err := st.keepFormer(name, was); err != nil {
			return nil, fmt.Errorf("what was saved before cannot be kept, and is left: %w", err)
		}
	}
	if text != nil {
		return was, document.WriteWhole(path, 0o644, document.Bytes(text))
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	syncDir(st.Dir)
	return was, nil
}

// syncDir puts what became of the names in a folder on the disk, where that can be.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// keepFormer keeps what the file of a scene held.
func (st *Store) keepFormer(name string, text []byte) error {
	dir := filepath.Join(st.Dir, formerDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	numbers, err := formerOf(dir, name)
	if err != nil {
		return err
	}
	next := uint64(1)
	if n := len(numbers); n > 0 {
		last := numbers[n-1]
		if was, err := os.ReadFile(formerPath(dir, name, last)); err == nil && bytes.Equal(was, text) {
			return nil // it is kept already
		}
		next = last + 1
	}
	// Another instrument on the same folder may keep one at this moment: each has
	// a number of its own, and what both kept is there once.
	for {
		path := formerPath(dir, name, next)
		err := document.WriteNew(path, 0o644, document.Bytes(text))
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if was, err := os.ReadFile(path); err == nil && bytes.Equal(was, text) {
			return nil
		}
		next++
	}
	for len(numbers) >= KeptFormer {
		_ = os.Remove(formerPath(dir, name, numbers[0]))
		numbers = numbers[1:]
	}
	return nil
}

func formerPath(dir, name string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s.%d%s", name, number, sceneSuffix))
}

// formerOf returns the numbers of what is kept of a scene, or of all where it
// has no name, in order.
func formerOf(dir, name string) (numbers []uint64, err error) {
	all, err := formerAll(dir)
	for _, f := range all {
		if f.name == name {
			numbers = append(numbers, f.number)
		}
	}
	slices.Sort(numbers)
	return numbers, err
}

type former struct {
	name   string
	number uint64
}

func formerAll(dir string) (all []former, err error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), sceneSuffix)
		if !ok {
			continue
		}
		if name, number, ok := parseFormer(name); ok {
			all = append(all, former{name, number})
		}
	}
	return all, err
}

// parseFormer reads NAME.NUMBER.
func parseFormer(id string) (name string, number uint64, ok bool) {
	name, digits, ok := strings.Cut(id, ".")
	number, err := strconv.ParseUint(digits, 10, 64)
	return name, number, ok && err == nil && label.MatchString(name)
}

// Former lists the files of scenes that were saved over or removed, the newest
// first. The ID of each is what OpenFormer takes.
func (st *Store) Former() ([]Backup, error) {
	dir := filepath.Join(st.Dir, formerDir)
	files, err := formerAll(dir)
	if st.Dir == "" || err != nil {
		return nil, err
	}
	var all []Backup
	for _, f := range files {
		b := Backup{ID: fmt.Sprintf("%s.%d", f.name, f.number), Number: f.number, Name: f.name, Saved: true, Path: formerPath(dir, f.name, f.number)}
		if info, err := os.Stat(b.Path); err == nil {
			b.Time = info.ModTime()
		}
		s, err := Load(b.Path)
		if b.Err = err; err == nil {
			b.Title = s.Title
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b Backup) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.Name, b.Name), cmp.Compare(b.Number, a.Number))
	})
	return all, nil
}

// OpenFormer returns the name of the scene and the text that was saved over, by
// the ID that Former lists.
func (st *Store) OpenFormer(id string) (name string, text []byte, err error) {
	name, number, ok := parseFormer(id)
	if !ok {
		return "", nil, fmt.Errorf("%q is no backup of a saved scene; expected one such as mine.3", document.Clip(id))
	}
	text, err = document.ReadFile(formerPath(filepath.Join(st.Dir, formerDir), name, number), MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, fmt.Errorf("there is no backup %s of a saved scene: %w", id, ErrNotFound)
	}
	return name, text, err
}
