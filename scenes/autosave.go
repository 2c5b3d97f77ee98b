package scenes

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

const (
	// AutosaveDelay is how long a turned knob may wait for others before all of
	// them are written and synced. With the write itself it is what a crash loses.
	AutosaveDelay = 20 * time.Millisecond
	// KeptBackups is how many earlier states are kept beside the newest.
	KeptBackups = 32

	journalMost  = 1 << 20 // bytes; a longer journal is replaced by a new state
	stateSuffix  = ".yaml"
	recordSuffix = ".jsonl"
)

// Autosave keeps what is played on disk, so that it returns after a crash at
// any moment. A folder holds states, numbered, each a scene file and beside it
// the journal of what was turned since. A state is written whole, synced and
// renamed; the journal's lines carry checksums, so that one that was cut off is
// known. Knobs are written AutosaveDelay after the first that was turned, in a
// goroutine of its own: Param and Scene never wait for a disk. What is written
// outlives the program; that it outlives the machine another goroutine sees to,
// because a disk that is slow to sync must not hold up what comes next. Until it
// is synced a state has the checksum of its text in its name: after a crash of
// the program it is known to be whole, and takes its place.
type Autosave struct {
	dir   string
	fsync func(*os.File) error

	mu       sync.Mutex
	pending  map[mapping.Address]ParamChange
	scene    *Scene // a whole state that waits; what was pending before it is in it
	closed   bool
	err      error // the last write's
	unsynced error // the last sync's
	wake     chan struct{}
	done     chan struct{}
	// What is to be synced: the newest state that has its name yet to get, and
	// the newest journal.
	fresh  *unsettled
	record *os.File
	syncs  chan struct{}
	synced chan struct{}

	// Of the writing goroutine.
	state   []byte // newest state that was written
	number  uint64
	journal *os.File
	length  int
}

// unsettled is a state that is written and not synced yet.
type unsettled struct {
	number uint64
	temp   string
	ended  []*os.File // journals of the states before it
}

// freshName is what a state is called until it is synced.
func freshName(number uint64, text []byte) string {
	return fmt.Sprintf(".%08d%s.%08x", number, stateSuffix, crc32.ChecksumIEEE(text))
}

// settle syncs a state and gives it its name.
func settle(dir string, number uint64, temp string, sync func(*os.File) error) error {
	f, err := os.Open(temp)
	if err != nil {
		return err
	}
	if err := errors.Join(sync(f), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, statePath(dir, number, stateSuffix)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = sync(d) // some file systems cannot
	return d.Close()
}

// settleWhole settles the states that a crash left whole, and removes what it
// left half written.
func settleWhole(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var wrong []error
	for _, f := range files {
		name, hidden := strings.CutPrefix(f.Name(), ".")
		number, _, ok := strings.Cut(name, stateSuffix+".")
		if !hidden || !ok {
			continue
		}
		path := filepath.Join(dir, f.Name())
		n, err := strconv.ParseUint(number, 10, 64)
		text, _ := document.ReadFile(path, MaxFile)
		if err != nil || freshName(n, text) != f.Name() {
			_ = os.Remove(path)
			continue
		}
		if err := settle(dir, n, path, (*os.File).Sync); err != nil {
			wrong = append(wrong, err)
		}
	}
	return errors.Join(wrong...)
}

// Backup is a state that was kept, or a file that was saved over.
type Backup struct {
	// ID is what it is called for.
	ID     string `json:"id"`
	Number uint64 `json:"number"`
	// Saved tells that it is of a file that was saved over.
	Saved bool      `json:"saved,omitempty"`
	Time  time.Time `json:"time"`
	// Name and Title are those of its scene.
	Name  string `json:"name"`
	Title string `json:"title"`
	Path  string `json:"path"`
	// Turns is how many changes its journal adds.
	Turns int `json:"turns"`
	// Err is what is wrong with it.
	Err error `json:"-"`
}

// turned is one line of a journal. Sum is the checksum of the line without it.
type turned struct {
	Address mapping.Address `json:"address"`
	Value   float64         `json:"value"`
	Word    string          `json:"word,omitempty"`
	Sum     uint32          `json:"sum"`
}

func (r turned) sum() uint32 {
	r.Sum = 0
	text, _ := json.Marshal(r)
	return crc32.ChecksumIEEE(text)
}

// OpenAutosave opens the folder dir, makes it if it is missing, and returns
// the last state in it, or nil where there is none. What could not be read is
// told in the error beside a scene that could; only without the one and with
// the other nothing can be saved there.
func OpenAutosave(dir string) (*Autosave, *Scene, error) {
	return openAutosave(dir, (*os.File).Sync)
}

// openAutosave is OpenAutosave with another way to sync, for tests of disks
// that are slow.
func openAutosave(dir string, fsync func(*os.File) error) (*Autosave, *Scene, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("autosave: %w", err)
	}
	a := &Autosave{dir: dir, fsync: fsync, pending: map[mapping.Address]ParamChange{}, wake: make(chan struct{}, 1), done: make(chan struct{}), syncs: make(chan struct{}, 1), synced: make(chan struct{})}
	if err := settleWhole(dir); err != nil {
		return nil, nil, fmt.Errorf("autosave: %w", err)
	}
	numbers, err := states(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("autosave: %w", err)
	}
	var last *Scene
	var wrong []error
	for _, n := range slices.Backward(numbers) {
		a.number = max(a.number, n)
		s, _, err := recall(dir, n)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("autosave: %w; an earlier state is taken", err))
			continue
		}
		last = s
		break
	}
	go a.write()
	go a.sync()
	return a, last, errors.Join(wrong...)
}

// states returns the numbers of the states in a folder, in order.
func states(dir string) (numbers []uint64, err error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), stateSuffix)
		if n, err := strconv.ParseUint(name, 10, 64); ok && err == nil {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func statePath(dir string, number uint64, suffix string) string {
	return filepath.Join(dir, fmt.Sprintf("%08d%s", number, suffix))
}

// recall reads a state and what its journal adds. A line that was cut off ends
// the journal; one that does not fit the scene is left out.
func recall(dir string, number uint64) (s *Scene, turns int, err error) {
	if s, err = Load(statePath(dir, number, stateSuffix)); err != nil {
		return nil, 0, err
	}
	turns, err = s.replay(statePath(dir, number, recordSuffix))
	return s, turns, err
}

// replay turns what a journal says. One that is not there says nothing.
func (s *Scene) replay(journal string) (turns int, err error) {
	data, err := document.ReadFile(journal, 16*journalMost)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		var r turned
		if !bytes.HasSuffix(line, []byte{'\n'}) || json.Unmarshal(line, &r) != nil || r.sum() != r.Sum {
			break
		}
		if s.turn(ParamChange{r.Address, r.Value, r.Word}) {
			turns++
		}
	}
	s.clockSays()
	return turns, nil
}

// turn moves a knob of the scene, if it has it.
func (s *Scene) turn(c ParamChange) bool {
	id, name, err := c.Address.Split()
	if err != nil {
		return false
	}
	m := s.Patch.Module(id)
	if m == nil {
		return false
	}
	k := m.Spec().Param(name)
	if k < 0 {
		return false
	}
	if p := &m.Spec().Params[k]; p.Text {
		if p.CheckWord(c.Word) != nil {
			return false
		}
		m.Text[name] = c.Word
	} else {
		if p.Check(c.Value) != nil {
			return false
		}
		m.Params[name] = c.Value
	}
	return true
}

// Scene keeps a whole state: the scene as it is now, of which it makes no
// copy and which must not be changed any more.
func (a *Autosave) Scene(s *Scene) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.scene = s
	clear(a.pending)
	a.signal()
}

// Param keeps what a param was turned to.
func (a *Autosave) Param(c ParamChange) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending[c.Address] = c
	a.signal()
}

func (a *Autosave) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Err is why the last state or turn could not be written, or nil. What was
// turned goes on to be tried.
func (a *Autosave) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return cmp.Or(a.err, a.unsynced)
}

// sync is the goroutine that syncs.
func (a *Autosave) sync() {
	defer close(a.synced)
	for range a.syncs {
		a.mu.Lock()
		state, journal := a.fresh, a.record
		a.fresh, a.record = nil, nil
		a.mu.Unlock()
		var err error
		if state != nil {
			if err = settle(a.dir, state.number, state.temp, a.fsync); err == nil {
				for _, f := range state.ended {
					f.Close()
				}
				a.thin(state.number)
			}
		}
		if journal != nil {
			if e := a.fsync(journal); !errors.Is(e, os.ErrClosed) { // a later state has taken its place
				err = cmp.Or(err, e)
			}
		}
		if err != nil {
			err = fmt.Errorf("autosave: %w", err)
		}
		a.mu.Lock()
		a.unsynced = err
		a.mu.Unlock()
		if err != nil && state != nil {
			a.owe(state, nil) // the next that is written tries it again
		}
	}
}

// owe has something synced.
func (a *Autosave) owe(state *unsettled, journal *os.File) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if was := a.fresh; state != nil && was != nil {
		// The older one is not needed any more: the newer has all of it.
		if was.number > state.number {
			state, was = was, state
		}
		state.ended = append(was.ended, state.ended...)
		_ = os.Remove(was.temp)
	}
	if state != nil {
		a.fresh = state
	}
	if journal != nil {
		a.record = journal
	}
}

// nudge wakes the goroutine that syncs.
func (a *Autosave) nudge() {
	select {
	case a.syncs <- struct{}{}:
	default:
	}
}

// Close writes what waits and ends.
func (a *Autosave) Close() error {
	a.mu.Lock()
	closed := a.closed
	a.closed = true
	a.signal()
	a.mu.Unlock()
	if !closed {
		<-a.done
	}
	return a.Err()
}

// write is the writing goroutine.
func (a *Autosave) write() {
	defer close(a.done)
	for {
		<-a.wake
		a.mu.Lock()
		whole, closed := a.scene != nil, a.closed
		a.mu.Unlock()
		if !whole && !closed {
			time.Sleep(AutosaveDelay)
		}
		a.mu.Lock()
		s, turns, closed := a.scene, a.pending, a.closed
		a.scene, a.pending = nil, map[mapping.Address]ParamChange{}
		a.mu.Unlock()
		err := a.put(s, turns)
		a.mu.Lock()
		a.err = err
		if err != nil {
			// It stays owed, behind what came meanwhile.
			if a.scene == nil {
				a.scene = s
				for k, c := range turns {
					if _, newer := a.pending[k]; !newer {
						a.pending[k] = c
					}
				}
			}
		}
		a.mu.Unlock()
		if closed {
			close(a.syncs)
			<-a.synced
			if a.journal != nil {
				a.journal.Close()
			}
			return
		}
		if err != nil {
			time.Sleep(time.Second)
			a.mu.Lock()
			a.signal()
			a.mu.Unlock()
		}
	}
}

// put writes a state, if there is one, and then turns.
func (a *Autosave) put(s *Scene, turns map[mapping.Address]ParamChange) error {
	if s != nil {
		if err := a.begin(s); err != nil {
			return fmt.Errorf("autosave: %w", err)
		}
	}
	if len(turns) == 0 {
		return nil
	}
	if a.journal == nil {
		return nil // knobs of no scene
	}
	var b bytes.Buffer
	for _, c := range turns {
		r := turned{Address: c.Address, Value: c.Value, Word: c.Word}
		r.Sum = r.sum()
		line, err := json.Marshal(r)
		if err != nil {
			continue // no number: nothing that a knob stands at
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	if _, err := a.journal.Write(b.Bytes()); err != nil {
		// Half a line would hide all that follow it.
		return fmt.Errorf("autosave: %w", errors.Join(err, a.journal.Truncate(int64(a.length))))
	}
	a.owe(nil, a.journal)
	a.nudge()
	if a.length += b.Len(); a.length > journalMost {
		// The state that the journal has come to takes its place.
		s, err := Parse(statePath(a.dir, a.number, stateSuffix), a.state)
		if err == nil {
			if _, err = s.replay(a.journal.Name()); err == nil {
				err = a.begin(s)
			}
		}
		if err != nil {
			return fmt.Errorf("autosave: %w", err)
		}
	}
	return nil
}

// begin writes a state and an empty journal for it. The one before is whole
// until it is synced.
func (a *Autosave) begin(s *Scene) error {
	text, err := Encode(s)
	if err != nil {
		return err
	}
	if a.journal != nil && a.length == 0 && bytes.Equal(text, a.state) {
		return nil
	}
	next := a.number + 1
	journal, err := os.OpenFile(statePath(a.dir, next, recordSuffix), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	fresh := &unsettled{number: next, temp: filepath.Join(a.dir, freshName(next, text))}
	if err := os.WriteFile(fresh.temp, text, 0o600); err != nil {
		journal.Close()
		_ = os.Remove(fresh.temp)
		return errors.Join(err, os.Remove(journal.Name()))
	}
	if a.journal != nil {
		fresh.ended = []*os.File{a.journal}
	}
	a.journal, a.length, a.number, a.state = journal, 0, next, text
	a.owe(fresh, nil)
	a.nudge()
	return nil
}

// thin removes states that are older than those that are kept, and journals of
// states that never got a name.
func (a *Autosave) thin(newest uint64) {
	numbers, err := states(a.dir)
	if err != nil {
		return
	}
	old := max(len(numbers)-KeptBackups-1, 0)
	for _, n := range numbers[:old] {
		_ = os.Remove(statePath(a.dir, n, stateSuffix))
	}
	files, err := os.ReadDir(a.dir)
	if err != nil {
		return
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), recordSuffix)
		if n, err := strconv.ParseUint(name, 10, 64); ok && err == nil && n < newest && !slices.Contains(numbers[old:], n) {
			_ = os.Remove(filepath.Join(a.dir, f.Name()))
		}
	}
}

// Backups lists the states that a folder of an Autosave holds, the newest
// first; that one is what returns at the next start.
func Backups(dir string) ([]Backup, error) {
	numbers, err := states(dir)
	if err != nil {
		return nil, fmt.Errorf("backups: %w", err)
	}
	var all []Backup
	for _, n := range slices.Backward(numbers) {
		b := Backup{ID: strconv.FormatUint(n, 10), Number: n, Path: statePath(dir, n, stateSuffix)}
		if info, err := os.Stat(b.Path); err == nil {
			b.Time = info.ModTime()
		}
		if info, err := os.Stat(statePath(dir, n, recordSuffix)); err == nil && info.Size() > 0 {
			b.Time = info.ModTime()
		}
		s, turns, err := recall(dir, n)
		if errors.Is(err, fs.ErrNotExist) {
			continue // an instrument that plays has just let it go
		}
		if b.Turns, b.Err = turns, err; err == nil {
			b.Name, b.Title = s.Name, s.Title
		}
		all = append(all, b)
	}
	return all, nil
}

// OpenBackup reads the state of a number, what was turned in it included.
func OpenBackup(dir string, number uint64) (*Scene, error) {
	s, _, err := recall(dir, number)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, document.Worded(fmt.Sprintf("there is no backup %d in %s", number, dir), ErrNotFound)
	}
	return s, err
}
