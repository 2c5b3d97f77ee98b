package web

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// slowDesk answers knobs at once; a diff is under way until it is let go.
type slowDesk struct {
	mu      sync.Mutex
	turned  []float64
	acts    []string
	begun   chan string
	release chan struct{}
	ended   chan error // why a piece of work ended
	now     atomic.Int32
	most    atomic.Int32
}

func (d *slowDesk) do(client string, r Request) (any, error) {
	work := func(name string) func(ctx context.Context) (any, error) {
		return func(ctx context.Context) (any, error) {
			n := d.now.Add(1)
			for m := d.most.Load(); n > m && !d.most.CompareAndSwap(m, n); m = d.most.Load() {
			}
			defer d.now.Add(-1)
			d.begun <- name
			select {
			case <-ctx.Done():
				d.ended <- context.Cause(ctx)
				return nil, ctx.Err()
			case <-d.release:
				d.ended <- nil
				return map[string]string{"text": name}, nil
			}
		}
	}
	switch {
	case r.Set != nil:
		d.mu.Lock()
		defer d.mu.Unlock()
		d.turned = append(d.turned, r.Set.Value)
		return nil, nil
	case r.Diff != nil:
		return Later{Work: work(r.Diff.Scene.Name), Newest: "diff"}, nil
	case r.YAML != nil && r.YAML.ID == "panics":
		return Later{Work: func(context.Context) (any, error) { panic("no such luck") }}, nil
	case r.YAML != nil:
		return Later{Work: work(r.YAML.ID)}, nil
	case r.Save != nil:
		return Later{Work: work(r.Save.Name), Waits: true}, nil
	case r.Act != nil:
		d.mu.Lock()
		defer d.mu.Unlock()
		d.acts = append(d.acts, r.Act.Name)
		return map[string]string{"did": r.Act.Name}, nil
	}
	return nil, errors.New("nothing is asked for")
}

func startSlow(t *testing.T) (*Server, *slowDesk) {
	t.Helper()
	d := &slowDesk{begun: make(chan string, 4096), ended: make(chan error, 4096), release: make(chan struct{})}
	s, err := Listen(Config{Addr: "127.0.0.1:0", Do: d.do})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, d
}

func within[T any](t *testing.T, what string, c chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s has not come", what)
	}
	return v
}

func (c *client) reply(id int64) (r reply) {
	c.t.Helper()
	c.next(fmt.Sprintf("reply %d", id), func(m told, _ []byte) bool {
		if m.Reply != nil && m.Reply.ID == id {
			r = *m.Reply
			return true
		}
		return false
	})
	return r
}

// While a diff is found, knobs turn in their order, actions are done, and what
// only waits comes before it.
func TestSlowRequestsHoldNothingUp(t *testing.T) {
	s, d := startSlow(t)
	c := open(t, s)
	c.send(`{"id":1,"diff":{"scene":{"name":"a"}}}`)
	if got := within(t, "the diff", d.begun); got != "a" {
		t.Fatalf("%s has begun", got)
	}
	const n = 300
	for i := range n {
		c.send(fmt.Sprintf(`{"set":{"address":"/vca/a/level","value":%d}}`, i))
	}
	c.send(`{"id":2,"act":{"name":"undo"}}`)
	if r := c.reply(2); r.Error != "" {
		t.Errorf("the action: %s", r.Error)
	}
	d.mu.Lock()
	if len(d.turned) != n || !slices.IsSorted(d.turned) || !slices.Equal(d.acts, []string{"undo"}) {
		t.Errorf("while a diff is found %d knobs turn, in order %t, and there are the actions %q", len(d.turned), slices.IsSorted(d.turned), d.acts)
	}
	d.mu.Unlock()
	// What waits for somebody else is not behind the diff, what works is.
	c.send(`{"id":3,"yaml":{"id":"deployment/web"}}`)
	c.send(`{"id":4,"save":{"name":"saved"}}`)
	if got := within(t, "the save", d.begun); got != "saved" {
		t.Fatalf("%s has begun", got)
	}
	close(d.release)
	got := map[int64]string{}
	c.next("all answers", func(m told, _ []byte) bool {
		if m.Reply != nil {
			got[m.Reply.ID] = fmt.Sprint(m.Reply.Result)
		}
		return len(got) == 3
	})
	for id, want := range map[int64]string{1: "map[text:a]", 3: "map[text:deployment/web]", 4: "map[text:saved]"} {
		if got[id] != want {
			t.Errorf("%d is answered with %s, want %s", id, got[id], want)
		}
	}
	// One that goes wrong is told of, and nothing else ends.
	c.send(`{"id":5,"yaml":{"id":"panics"}}`)
	if r := c.reply(5); !strings.Contains(r.Error, "no such luck") {
		t.Errorf("a panic is answered with %+v", r)
	}
}

// A newer diff calls the older ones off, whether they wait or are under way.
func TestNewerDiffCallsOff(t *testing.T) {
	s, d := startSlow(t)
	c := open(t, s)
	c.send(`{"id":1,"diff":{"scene":{"name":"a"}}}`)
	within(t, "the diff", d.begun)
	c.send(`{"id":2,"yaml":{"id":"b"}}`)
	c.send(`{"id":3,"diff":{"scene":{"name":"c"}}}`)
	if r := c.reply(1); r.Error != errNewer.Error() {
		t.Errorf("the older diff is answered with %+v", r)
	}
	if err := within(t, "the end of the older diff", d.ended); !errors.Is(err, errNewer) {
		t.Errorf("it ended with %v", err)
	}
	if got := within(t, "the text", d.begun); got != "b" {
		t.Fatalf("%s has begun", got)
	}
	// c waits behind b: it is not even begun.
	c.send(`{"id":4,"diff":{"scene":{"name":"d"}}}`)
	if r := c.reply(3); r.Error != errNewer.Error() {
		t.Errorf("the diff that waited is answered with %+v", r)
	}
	close(d.release)
	if r := c.reply(4); fmt.Sprint(r.Result) != "map[text:d]" {
		t.Errorf("the newest diff is answered with %+v", r)
	}
	if got := within(t, "the newest diff", d.begun); got != "d" {
		t.Errorf("%s was begun", got)
	}
	// Another page's is its own.
	other := open(t, s)
	other.send(`{"id":1,"diff":{"scene":{"name":"e"}}}`)
	if r := other.reply(1); r.Error != "" {
		t.Errorf("another page's diff: %s", r.Error)
	}
}

// Whoever asks for thousands of slow things gets errors; what was taken is
// answered, and all pages together do not take all processors.
func TestSlowRequestsAreBounded(t *testing.T) {
	s, d := startSlow(t)
	var all []*client
	for range 4 {
		c := open(t, s)
		all = append(all, c)
		c.send(`{"id":1,"yaml":{"id":"first"}}`)
	}
	for range maxWork {
		within(t, "the first", d.begun)
	}
	c := all[0]
	const n = 2000
	done := make(chan struct{})
	errs, answers := 0, 0
	go func() {
		defer close(done)
		c.next("an answer for each", func(m told, _ []byte) bool {
			if m.Reply == nil {
				return false
			}
			if m.Reply.Error != "" {
				if errs++; !strings.Contains(m.Reply.Error, "wait for their answer already") {
					t.Errorf("the error is %q", m.Reply.Error)
				}
				if errs == n-maxLater {
					close(d.release)
				}
			} else {
				answers++
			}
			return errs+answers == n+1
		})
	}()
	for i := range n {
		c.send(fmt.Sprintf(`{"id":%d,"yaml":{"id":"more"}}`, i+2))
	}
	within(t, "the last answer", done)
	if answers < maxLater || answers > maxLater+1 {
		t.Errorf("%d are answered and %d refused", answers, errs)
	}
	if m := d.most.Load(); m != maxWork {
		t.Errorf("%d were worked on at a time, want %d", m, maxWork)
	}
}

// A page that leaves calls off what it asked for, and is told of at once even
// while that takes its time to end.
func TestLeavingCallsOff(t *testing.T) {
	d := &slowDesk{begun: make(chan string, 8), ended: make(chan error, 8), release: make(chan struct{})}
	left, hold := make(chan string, 1), make(chan struct{})
	s, err := Listen(Config{Addr: "127.0.0.1:0", Left: func(c string) { left <- c }, Do: func(client string, r Request) (any, error) {
		if r.Save != nil {
			return Later{Work: func(ctx context.Context) (any, error) { d.begun <- "stubborn"; <-hold; return nil, nil }, Waits: true}, nil
		}
		return d.do(client, r)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	c := open(t, s)
	c.send(`{"id":1,"diff":{"scene":{"name":"a"}}}`)
	c.send(`{"id":2,"save":{"name":"b"}}`)
	c.send(`{"id":3,"yaml":{"id":"never"}}`)
	within(t, "the diff", d.begun)
	within(t, "the save", d.begun)
	c.conn.CloseNow()
	if who := within(t, "word that the page has left", left); who != "web 1" {
		t.Errorf("%s has left", who)
	}
	if err := within(t, "the end of the diff", d.ended); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	close(hold)
	select {
	case what := <-d.begun:
		t.Errorf("%s was begun for a page that is gone", what)
	case <-time.After(100 * time.Millisecond):
	}
}
