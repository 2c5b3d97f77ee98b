//go:build !cgo || !(linux || darwin)

package jack

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// Driver does nothing but say why, on systems without a driver for JACK.
type Driver struct{}

var why = func() error {
	if runtime.GOOS == "linux" || runtime.GOOS == "darwin" {
		return fmt.Errorf("%w can be used: this program was built without cgo", ErrNoServer)
	}
	return fmt.Errorf("%w can be used on %s: the driver is for Linux and macOS", ErrNoServer, runtime.GOOS)
}()

// New makes a driver without ports.
func New(Settings) *Driver { return &Driver{} }

// Name is "jack".
func (*Driver) Name() string { return "jack" }

// Client is "": there is no server.
func (*Driver) Client() string { return "" }

// Ports says why there are none.
func (*Driver) Ports() (ins, outs []string, err error) { return nil, nil, why }

// OpenIn says why it cannot.
func (*Driver) OpenIn(string, func(time.Time, []byte)) (io.Closer, error) { return nil, why }

// OpenOut says why it cannot.
func (*Driver) OpenOut(string) (port.Out, error) { return nil, why }

// Virtual is port.ErrNoVirtual.
func (*Driver) Virtual(string, func(time.Time, []byte)) (io.Closer, port.Out, error) {
	return nil, nil, fmt.Errorf("%w: %w", port.ErrNoVirtual, why)
}

// Shown is the name itself.
func (*Driver) Shown(name string) string { return name }

// Changed never yields.
func (*Driver) Changed() <-chan struct{} { return nil }

// Connected is empty.
func (*Driver) Connected(string) []string { return nil }

// Stats are zero.
func (*Driver) Stats() Stats { return Stats{} }

// Close does nothing.
func (*Driver) Close() error { return nil }
