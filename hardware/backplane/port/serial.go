package port

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"go.bug.st/serial"

	"github.com/k8s-synth/k8s-synth/hardware/backplane"
)

// baud means nothing to USB; a UART has to be set to it.
const baud = 1_000_000

// serve keeps a session over a serial port, whenever it is there; once lets the
// port go when it is gone.
func (p *Panels) serve(path string, l *line, once bool) {
	defer p.wg.Done()
	said := ""
	for {
		port, err := openSerial(path)
		if err == nil {
			said = ""
			p.session(l, port)
		} else {
			l.change(func(i *Info) { i.State, i.Error = "closed", err.Error() })
			if text := err.Error(); text != said && !errors.Is(err, fs.ErrNotExist) {
				said = text
				p.log.Warn("a panel's port cannot be opened", "port", path, "error", err)
			}
		}
		if once {
			return
		}
		select {
		case <-p.quit:
			return
		case <-time.After(p.c.Poll):
		}
		select {
		case <-p.quit:
			return
		default:
		}
	}
}

func openSerial(path string) (serial.Port, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(path, "/") {
		return nil, err
	}
	port, err := serial.Open(path, &serial.Mode{BaudRate: baud})
	var e *serial.PortError
	if errors.As(err, &e) && e.Code() == serial.InvalidSpeed {
		port, err = serial.Open(path, &serial.Mode{BaudRate: 115200})
	}
	return port, err
}

// session plays one opening of a serial port.
func (p *Panels) session(l *line, port serial.Port) {
	received := make(chan []byte, chunks)
	go func() {
		defer close(received)
		var buf [1024]byte
		for {
			n, err := port.Read(buf[:])
			if err != nil || n == 0 {
				return
			}
			received <- slices.Clone(buf[:n])
		}
	}()
	l.run(backplane.Serial, received, func(b []byte) error {
		for len(b) > 0 {
			n, err := port.Write(b)
			if err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	})
	_ = port.Close() // wakes a Read and a Write that wait
	for range received {
	}
}

// scan serves every port that says it is a panel.
func (p *Panels) scan(named map[string]bool) {
	defer p.wg.Done()
	type ended struct{ path string }
	busy := map[string]bool{}
	over := make(chan ended)
	ticker := time.NewTicker(max(p.c.Poll, 250*time.Millisecond))
	defer ticker.Stop()
	for {
		for _, path := range panelPorts() {
			if busy[path] || named[path] {
				continue
			}
			busy[path] = true
			p.wg.Add(1)
			go func() {
				p.serve(path, p.line(path), true)
				select {
				case over <- ended{path}:
				case <-p.quit:
				}
			}()
		}
		select {
		case <-p.quit:
			return
		case e := <-over:
			delete(busy, e.path)
		case <-ticker.C:
		}
		select { // one that fails at once is not asked at once
		case <-p.quit:
			return
		case <-ticker.C:
		}
	}
}

// product is how the name of a panel's USB product begins.
const product = "k8s-synth"
