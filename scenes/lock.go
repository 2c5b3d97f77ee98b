package scenes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// lockFile is in the player's folder; who has it locked changes scenes there. It
// stays: removed, two programs could each lock one of that name.
const lockFile = ".lock"

const lockPause = 2 * time.Millisecond

// lockWait bounds the wait for others that change scenes in the folder. Each has
// the lock for two files and their syncs; who asks for an action waits for ten
// seconds at most, and is to hear why.
var lockWait = 5 * time.Second

// errLocked says that somebody else has the lock.
var errLocked = errors.New("it is locked")

// ErrBusy says that others have changed scenes in the folder for so long that one
// could not be written.
var ErrBusy = errors.New("another program is changing the scenes there")

// alone does f while nobody else, in this program or another one, changes a scene
// in the player's folder: what is read in it is what is written over. The kernel
// lets go of the lock with the program. Where the file system has no locks there
// is none.
func (st *Store) alone(f func() error) error {
	if st.Dir == "" {
		return errors.New("there is no folder for your scenes; set XDG_CONFIG_HOME")
	}
	if err := os.MkdirAll(st.Dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(st.Dir, lockFile)
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if errors.Is(err, fs.ErrPermission) {
		lock, err = os.Open(path) // of another user of the folder
	}
	if err != nil {
		return err
	}
	defer lock.Close() // it is let go
	for end := time.Now().Add(lockWait); ; time.Sleep(lockPause) {
		switch err := tryLock(lock); {
		case err == nil, errors.Is(err, errors.ErrUnsupported):
			return f()
		case !errors.Is(err, errLocked):
			return fmt.Errorf("locking %s: %w", path, err)
		case time.Now().After(end):
			return fmt.Errorf("%w, and has %s locked for %s by now; nothing was written, ask again", ErrBusy, path, lockWait)
		}
	}
}
