package port

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fake is a driver of ports that exist in memory only, with the faults of real
// ones: they vanish, block, fail, and have the same name. It is for tests, here
// and in what uses a Hub. The zero value has no ports.
type Fake struct {
	mu      sync.Mutex
	ins     map[string][]*fakeIn
	outs    map[string]*FakeOut
	ever    []*FakeOut
	names   [2][]string // in, out
	err     error
	refuse  error
	taken   error
	virtual *FakeOut
	vin     *fakeIn
	none    bool
	who     []string
	feeds   int
	heard   uint64
	fed     uint64
	changed chan struct{}
}

// FakeOut is the other end of an output: what it got, and what it does with it.
type FakeOut struct {
	f       *Fake
	name    string
	mu      sync.Mutex
	got     []FakeSent
	fail    error
	block   chan struct{}
	waiting int
	ahead   time.Duration
	dead    bool
	closed  bool
	hurried int
}

// FakeSent is one message as it came, and when.
type FakeSent struct {
	At, Came time.Time
	Bytes    []byte
}

type fakeIn struct {
	f       *Fake
	name    string
	receive func(time.Time, []byte)
	dead    bool
}

// Name is "fake".
func (f *Fake) Name() string { return "fake" }

// Shown leaves out a number in front, as in "20|Keys".
func (f *Fake) Shown(name string) string {
	if _, n, ok := strings.Cut(name, "|"); ok {
		return n
	}
	return name
}

// Changed tells of each Plug and Unplug.
func (f *Fake) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.change()
}

func (f *Fake) change() chan struct{} {
	if f.changed == nil {
		f.changed = make(chan struct{}, 1)
	}
	return f.changed
}

func (f *Fake) poke() {
	select {
	case f.change() <- struct{}{}:
	default:
	}
}

// Plug adds a port that can be received from and sent to.
func (f *Fake) Plug(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.names {
		f.names[i] = append(f.names[i], name)
	}
	f.poke()
}

// Unplug takes a port away. What was open of it is dead, and fails.
func (f *Fake) Unplug(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.names {
		f.names[i] = slices.DeleteFunc(f.names[i], func(n string) bool { return n == name })
	}
	for _, in := range f.ins[name] {
		in.dead = true
	}
	delete(f.ins, name)
	if o := f.outs[name]; o != nil {
		o.mu.Lock()
		o.dead = true
		o.mu.Unlock()
		delete(f.outs, name)
	}
	f.poke()
}

// Fail makes the lists fail, until nil.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

// Refuse makes opening fail, until nil.
func (f *Fake) Refuse(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = err
}

// RefuseIn makes opening inputs fail, until nil.
func (f *Fake) RefuseIn(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken = err
}

// NoVirtual makes a system without virtual ports.
func (f *Fake) NoVirtual() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.none = true
}

// Connect says who listens to the virtual port.
func (f *Fake) Connect(names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range names {
		if !slices.Contains(f.who, n) {
			f.heard++
		}
	}
	f.who = names
	f.poke()
}

// Reconnect takes all that are connected to the virtual port away, and connects
// them again before anybody looks.
func (f *Fake) Reconnect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard += uint64(len(f.who))
	f.fed += uint64(f.feeds)
	f.poke()
}

// Arrived counts what Connect, Feed and Reconnect said.
func (f *Fake) Arrived(string) (listeners, feeders uint64, feeding int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.heard, f.fed, f.feeds
}

// Connected returns what Connect said.
func (f *Fake) Connected(string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.who)
}

// Feed says how many are connected to the input of the virtual port.
func (f *Fake) Feed(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fed += uint64(max(n-f.feeds, 0))
	f.feeds = n
	f.poke()
}

// Feeding returns what Feed said.
func (f *Fake) Feeding(string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.feeds
}

// Ports returns the lists.
func (f *Fake) Ports() (ins, outs []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.names[0]), slices.Clone(f.names[1]), f.err
}

// OpenIn opens an input.
func (f *Fake) OpenIn(name string, receive func(time.Time, []byte)) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil || f.taken != nil || !slices.Contains(f.names[0], name) {
		return nil, errors.Join(f.refuse, f.taken, fmt.Errorf("no input %q", name))
	}
	in := &fakeIn{f: f, name: name, receive: receive}
	if f.ins == nil {
		f.ins = map[string][]*fakeIn{}
	}
	f.ins[name] = append(f.ins[name], in)
	return in, nil
}

// OpenOut opens an output.
func (f *Fake) OpenOut(name string) (Out, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil || !slices.Contains(f.names[1], name) {
		return nil, errors.Join(f.refuse, fmt.Errorf("no output %q", name))
	}
	if f.outs == nil {
		f.outs = map[string]*FakeOut{}
	}
	o := f.outs[name]
	if o == nil {
		o = &FakeOut{f: f, name: name}
		f.outs[name] = o
		f.ever = append(f.ever, o)
	}
	o.mu.Lock()
	o.closed = false
	o.mu.Unlock()
	return o, nil
}

// Virtual makes a pair of ports.
func (f *Fake) Virtual(name string, receive func(time.Time, []byte)) (io.Closer, Out, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.none {
		return nil, nil, ErrNoVirtual
	}
	f.vin = &fakeIn{f: f, name: name, receive: receive}
	f.virtual = &FakeOut{f: f, name: name}
	return f.vin, f.virtual, nil
}

// Play has bytes arrive on all that is open of an input; "" is the virtual one.
func (f *Fake) Play(name string, at time.Time, b []byte) {
	f.mu.Lock()
	list := slices.Clone(f.ins[name])
	if name == "" && f.vin != nil {
		list = []*fakeIn{f.vin}
	}
	f.mu.Unlock()
	for _, in := range list {
		in.receive(at, b)
	}
}

// Opened tells how often an input is open.
func (f *Fake) Opened(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ins[name])
}

// Out returns the other end of an output that was opened, or nil; "" is the
// virtual one.
func (f *Fake) Out(name string) *FakeOut {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name == "" {
		return f.virtual
	}
	return f.outs[name]
}

// Ever returns the other ends of an output at each of its pluggings, as far as it
// was opened then, in their order.
func (f *Fake) Ever(name string) (ends []*FakeOut) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.ever {
		if o.name == name {
			ends = append(ends, o)
		}
	}
	return ends
}

func (in *fakeIn) Close() error {
	f := in.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ins == nil {
		return nil
	}
	f.ins[in.name] = slices.DeleteFunc(f.ins[in.name], func(o *fakeIn) bool { return o == in })
	return nil
}

func (in *fakeIn) Alive() bool {
	in.f.mu.Lock()
	defer in.f.mu.Unlock()
	return !in.dead
}

// Fail makes sending fail, until nil.
func (o *FakeOut) Fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail = err
}

// Block has Send wait until the function that it returns is called.
func (o *FakeOut) Block() (unblock func()) {
	c := make(chan struct{})
	o.mu.Lock()
	o.block = c
	o.mu.Unlock()
	return sync.OnceFunc(func() {
		o.mu.Lock()
		o.block = nil
		o.mu.Unlock()
		close(c)
	})
}

// Waiting returns how many calls of Send wait until they are unblocked.
func (o *FakeOut) Waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting
}

// SetAhead changes how early it wants to be called.
func (o *FakeOut) SetAhead(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ahead = d
}

// Got returns all that came.
func (o *FakeOut) Got() []FakeSent {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.got)
}

// Closed tells whether it was closed.
func (o *FakeOut) Closed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

// Send notes the bytes.
func (o *FakeOut) Send(at time.Time, b []byte) error {
	came := time.Now()
	o.mu.Lock()
	block := o.block
	if block != nil {
		o.waiting++
	}
	o.mu.Unlock()
	if block != nil {
		<-block
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if block != nil {
		o.waiting--
	}
	switch {
	case o.fail != nil:
		return o.fail
	case o.dead:
		return fmt.Errorf("output %q is gone", o.name)
	case o.closed:
		return ErrClosed
	}
	o.got = append(o.got, FakeSent{at, came, slices.Clone(b)})
	return nil
}

// Ahead is what SetAhead said.
func (o *FakeOut) Ahead() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ahead
}

// Hurry counts.
func (o *FakeOut) Hurry() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hurried++
}

// Alive tells whether it was unplugged.
func (o *FakeOut) Alive() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.dead
}

// Close closes it.
func (o *FakeOut) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return nil
}
