//go:build !cgo || nomidi

package rtmidi

import (
	"io"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// Driver says that it was not built.
type Driver struct{}

// New makes a driver. client is the name under which the system shows it.
func New(client string) *Driver { return &Driver{} }

// Name is that of nothing.
func (*Driver) Name() string { return "none" }

// Ports returns ErrNotBuilt, as all others do.
func (*Driver) Ports() (ins, outs []string, err error) { return nil, nil, ErrNotBuilt }

// OpenIn returns ErrNotBuilt.
func (*Driver) OpenIn(string, func(time.Time, []byte)) (io.Closer, error) { return nil, ErrNotBuilt }

// OpenOut returns ErrNotBuilt.
func (*Driver) OpenOut(string) (port.Out, error) { return nil, ErrNotBuilt }

// Virtual returns port.ErrNoVirtual.
func (*Driver) Virtual(string, func(time.Time, []byte)) (io.Closer, port.Out, error) {
	return nil, nil, port.ErrNoVirtual
}

// Close does nothing.
func (*Driver) Close() error { return nil }
