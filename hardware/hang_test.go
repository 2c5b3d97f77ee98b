package hardware

import (
	"errors"
	"testing"
	"time"
)

// hangingDevice is one whose library does not come back from starting it.
type hangingDevice struct{ entered, leave, closed chan struct{} }

func (h hangingDevice) start() error           { close(h.entered); <-h.leave; return nil }
func (h hangingDevice) close()                 { close(h.closed) }
func (h hangingDevice) latency() (out, in int) { return 0, 0 }
func (h hangingDevice) xruns() uint64          { return 0 }

// A device that hangs while it is started is not closed, and its memory not freed, before that is over;
// one that is closed is not started any more.
func TestCloseWaitsForAStartThatHangs(t *testing.T) {
	s, err := Settings{}.ApplyDefaults()
	if err != nil {
		t.Fatal(err)
	}
	st, err := newStream("jack", s)
	if err != nil {
		t.Fatal(err)
	}
	h := hangingDevice{make(chan struct{}), make(chan struct{}), make(chan struct{})}
	st.own = h
	started, closed := make(chan error, 1), make(chan struct{})
	go func() { started <- st.start(48000, 0) }()
	<-h.entered
	go func() { st.close(); close(closed) }()
	select {
	case <-h.closed:
		t.Fatal("closed while it was being started")
	case <-time.After(50 * time.Millisecond):
	}
	close(h.leave)
	if err := <-started; err != nil {
		t.Error(err)
	}
	<-closed
	if err := st.start(48000, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed device is started: %v", err)
	}
}
