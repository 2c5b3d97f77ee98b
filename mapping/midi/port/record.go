package port

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// The file in which what sounds survives a crash: a page that says what it is,
// then one slot a port. It is mapped, and each note is one store into it.
const (
	recordMagic = "k8s-synth notes 1\n"
	recordSlots = 64
	slotSize    = 4096
	recordSize  = (recordSlots + 1) * slotSize

	// Of a slot: whether it is used, the names, and who listens to a virtual port.
	slotUsed      = 0
	slotDriver    = 1
	slotName      = 32
	slotSystem    = 256
	slotConnected = 512
	slotHeld      = slotSize - midi.HeldSize
)

// The names must leave room.
const _ = uint(slotHeld - slotConnected - 1024)

// ErrInUse says that another process keeps its record in the file.
var ErrInUse = errors.New("the record of held notes is in use by another process")

// record is the file while it is mapped.
type record struct {
	mem  []byte
	file *os.File
	used [recordSlots]bool
}

// left is what a process that ended left sounding on one port.
type left struct {
	driver, name, system string
	connected            []string // of a virtual port: where it sounds
	held                 *midi.Held
	known                bool // false: the slot cannot be read, and everything must be ended
}

// openRecord maps the file, makes it if there is none, and returns what it
// holds. It fails with ErrInUse while another process has it.
func openRecord(path string) (*record, []left, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("the record of held notes: %w", err)
	}
	r, err := mapRecord(f)
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return r, r.read(), nil
}

// awaitRecord is openRecord, and waits for who is about to let go of the file:
// a process that was killed a moment ago, or a watchdog at its work.
func awaitRecord(ctx context.Context, path string, patience time.Duration) (*record, []left, error) {
	for end := time.Now().Add(patience); ; {
		r, lefts, err := openRecord(path)
		if !errors.Is(err, ErrInUse) || time.Now().After(end) {
			return r, lefts, err
		}
		select {
		case <-ctx.Done():
			return r, lefts, err
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func mapRecord(f *os.File) (*record, error) {
	if err := lock(f); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	// Others may not read what is played, nor write it.
	if err := f.Chmod(0o600); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, fmt.Errorf("the record of held notes: %w", err)
	}
	// With all its bytes in place: a store into a hole on a full disk would end
	// the program.
	info, err := f.Stat()
	if err == nil && info.Size() < recordSize {
		_, err = f.WriteAt(make([]byte, recordSize-info.Size()), info.Size())
	}
	if err != nil {
		return nil, fmt.Errorf("the record of held notes: %w", err)
	}
	mem, err := mapFile(f, recordSize)
	if err != nil {
		return nil, fmt.Errorf("mapping %s: %w", f.Name(), err)
	}
	return &record{mem: mem, file: f}, nil
}

// read returns the slots that hold notes, and makes all of them free.
func (r *record) read() (all []left) {
	if string(r.mem[:len(recordMagic)]) == recordMagic {
		for i := range recordSlots {
			s := r.slot(i)
			if s[slotUsed] != 1 {
				continue
			}
			l := left{
				driver: field(s[slotDriver:slotName]), name: field(s[slotName:slotSystem]),
				system: field(s[slotSystem:slotConnected]), held: new(midi.Held), known: true,
			}
			if c := field(s[slotConnected:slotHeld]); c != "" {
				l.connected = strings.Split(c, "\n")
			}
			l.known = l.held.UnmarshalBinary(s[slotHeld:]) == nil
			if l.held.Any() || !l.known {
				all = append(all, l)
			}
		}
	}
	clear(r.mem)
	copy(r.mem, recordMagic)
	return all
}

func (r *record) slot(i int) []byte { return r.mem[(i+1)*slotSize : (i+2)*slotSize] }

func field(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// put writes a field, ended with a zero and cut to what fits.
func put(b []byte, s string) {
	n := copy(b[:len(b)-1], s)
	clear(b[n:])
}

// take gives a port a slot and has held kept in it; −1 if there is none left.
func (r *record) take(driver, name, system string, held *midi.Held) int {
	for i := range recordSlots {
		if r.used[i] {
			continue
		}
		s := r.slot(i)
		s[slotUsed] = 0
		put(s[slotDriver:slotName], driver)
		put(s[slotName:slotSystem], name)
		put(s[slotSystem:slotConnected], system)
		put(s[slotConnected:slotHeld], "")
		if held.Attach(s[slotHeld:]) != nil {
			return -1
		}
		s[slotUsed] = 1
		r.used[i] = true
		return i
	}
	return -1
}

// listeners notes who is connected to the virtual port of a slot. Names that do
// not fit are left out.
func (r *record) listeners(i int, names []string) {
	if i < 0 {
		return
	}
	b := r.slot(i)[slotConnected:slotHeld]
	n := 0
	for k, s := range names {
		if n += len(s) + 1; n >= len(b) {
			names = names[:k]
			break
		}
	}
	put(b, strings.Join(names, "\n"))
}

// free gives a slot back.
func (r *record) free(i int) {
	if i >= 0 {
		r.slot(i)[slotUsed] = 0
		r.used[i] = false
	}
}

// close lets the file go. It stays, empty, since another process may just be
// waiting for it.
func (r *record) close() error {
	err := unmapFile(r.mem)
	r.mem = nil
	return errors.Join(err, r.file.Close())
}
