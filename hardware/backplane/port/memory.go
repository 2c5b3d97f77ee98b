package port

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Memory remembers which panel is which module, by its serial number, in a file
// of this machine. It is safe for several goroutines.
type Memory struct {
	mu   sync.Mutex
	path string
	by   map[string]string // serial, module
}

// maxMemory is the longest file that is read, in bytes.
const maxMemory = 1 << 20

// OpenMemory reads the file, which need not be there. Where it cannot be read the
// Memory works all the same, and begins anew.
func OpenMemory(path string) (*Memory, error) {
	m := &Memory{path: path, by: map[string]string{}}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	var data []byte
	if err == nil && info.Size() > maxMemory {
		err = fmt.Errorf("%s has %d bytes, more than any has", path, info.Size())
	}
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err == nil {
		err = json.Unmarshal(data, &m.by)
	}
	if m.by == nil || err != nil {
		m.by = map[string]string{}
	}
	if err != nil {
		return m, fmt.Errorf("which panel is which module: %w", err)
	}
	return m, nil
}

// Choose names the module for a panel, of those in the patch, in their order:
// the one that it was before, else the one it wishes to be, else the first of its
// kind that no other panel is. Others are the panels that there are now. What is
// chosen is remembered; a file that cannot be written is an error, but the choice
// stands. With no module left for it ok is false.
func (m *Memory) Choose(who Panel, modules []string, others []Info) (module string, ok bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := map[string]bool{}
	for _, o := range others {
		if o.Port == who.Port {
			continue
		}
		if o.Module != "" {
			taken[o.Module] = true
		}
		if o.Serial == who.Serial {
			continue // the same one in another socket
		}
		if was := m.by[o.Serial]; was != "" && o.State != "closed" {
			taken[was] = true // it is about to be
		}
	}
	free := func(id string) bool {
		return strings.HasPrefix(id, who.Kind+"/") && slices.Contains(modules, id) && !taken[id]
	}
	was := m.by[who.Serial]
	switch {
	case free(was):
		return was, true, nil
	case free(who.Wish):
		module = who.Wish
	default:
		// One that another panel was before is for that to come back to, if
		// there is one that none was.
		old := map[string]bool{}
		for serial, id := range m.by {
			old[id] = serial != who.Serial
		}
		best := -1
		for i, id := range modules {
			if free(id) && (best < 0 || old[modules[best]] && !old[id]) {
				best = i
			}
		}
		if best < 0 {
			return "", false, nil
		}
		module = modules[best]
	}
	if was != "" && !slices.Contains(modules, was) {
		return module, true, nil // in this scene only: the other one's panel stays its
	}
	m.by[who.Serial] = module
	return module, true, m.save()
}

// Set makes a panel a module from now on, whatever it was.
func (m *Memory) Set(serial, module string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.by[serial] = module
	return m.save()
}

// save writes the file.
func (m *Memory) save() error {
	data, err := json.MarshalIndent(m.by, "", "  ")
	if err != nil {
		return fmt.Errorf("which panel is which module: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(m.path), 0o755); err != nil {
		return fmt.Errorf("which panel is which module: %w", err)
	}
	if err := document.WriteWhole(m.path, 0o600, document.Bytes(append(data, '\n'))); err != nil {
		return fmt.Errorf("which panel is which module: %w", err)
	}
	return nil
}
