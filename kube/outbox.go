package kube

import (
	"bufio"
	"fmt"
	"io"
	"sync"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// DefaultOutboxLimit is how many messages wait for a slow reader before
// transitions of the same field are merged: at 500 changes a second, a reader
// may sleep for eight seconds and miss nothing.
const DefaultOutboxLimit = 4096

// Outbox is the queue between the observers and the pipe to the instrument.
// Adding never blocks. Up to its limit it keeps every message; beyond, a
// transition is merged into the waiting one of the same object and field (the
// old value of the first, everything else of the last), an object that appeared
// and went while nobody read is left out, and both are counted. So it never
// holds more than its limit and one transition for each field that exists, and
// the last state always arrives.
type Outbox struct {
	limit int

	mu      sync.Mutex
	cond    *sync.Cond
	queue   []mapping.Message
	merged  map[outKey]int // index in queue of the waiting transition
	skipped int64
	told    int64
	closed  bool
}

type outKey struct {
	object mapping.Object
	field  string
}

// NewOutbox returns an empty Outbox. A limit of 0 takes DefaultOutboxLimit.
func NewOutbox(limit int) *Outbox {
	if limit <= 0 {
		limit = DefaultOutboxLimit
	}
	o := &Outbox{limit: limit, merged: map[outKey]int{}}
	o.cond = sync.NewCond(&o.mu)
	return o
}

// Transitions adds transitions in order. It never blocks.
func (o *Outbox) Transitions(ts []mapping.Transition) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range ts {
		o.add(ts[i])
	}
	o.cond.Signal()
}

// Problem adds a problem. It never blocks; beyond the limit it is counted and
// left out.
func (o *Outbox) Problem(where, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) >= o.limit {
		o.skipped++
		return
	}
	o.queue = append(o.queue, mapping.Message{Problem: &mapping.Problem{Where: where, Text: text}})
	o.cond.Signal()
}

// Edit adds what another hand made of the topology. It never blocks, and it is
// never left out: an edit is a thing of hands, so there are few.
func (o *Outbox) Edit(e mapping.Edit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append(o.queue, mapping.Message{Edit: &e})
	o.cond.Signal()
}

// Skipped returns how many messages were merged or left out so far.
func (o *Outbox) Skipped() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.skipped
}

func (o *Outbox) add(t mapping.Transition) {
	key := outKey{t.Object, t.Field}
	if len(o.queue) >= o.limit {
		if t.Field == mapping.FieldExists && t.New == "" && o.vanish(t) {
			return
		}
		if i, ok := o.merged[key]; ok {
			waiting := o.queue[i].Transition
			// Quiet only if nothing of what was merged just happened.
			t.Old, t.Quiet = waiting.Old, t.Quiet && waiting.Quiet
			o.queue[i].Transition = &t
			o.skipped++
			return
		}
	}
	o.merged[key] = len(o.queue)
	o.queue = append(o.queue, mapping.Message{Transition: &t})
}

// vanish removes from the queue what waits of an object that is gone. It
// reports whether the object's appearance waited too, so that its end need not
// be told either.
func (o *Outbox) vanish(end mapping.Transition) (unheard bool) {
	kept := o.queue[:0]
	for _, m := range o.queue {
		if m.Transition == nil || m.Transition.Object != end.Object {
			kept = append(kept, m)
			continue
		}
		if m.Transition.Field == mapping.FieldExists && m.Transition.Old == "" {
			unheard = true
		}
		o.skipped++
	}
	clear(o.queue[len(kept):])
	o.queue = kept
	clear(o.merged)
	for i, m := range o.queue {
		if m.Transition != nil {
			o.merged[outKey{m.Transition.Object, m.Transition.Field}] = i
		}
	}
	if unheard {
		o.skipped++
	}
	return unheard
}

// Close ends Write once the queue is empty.
func (o *Outbox) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.cond.Broadcast()
}

// Write writes the messages to w, hello first, until Close or until w fails.
// What was skipped is told as a problem as soon as the reader follows again.
func (o *Outbox) Write(w io.Writer, hello mapping.Hello) error {
	buffer := bufio.NewWriterSize(w, 64<<10)
	encoder := mapping.NewEncoder(buffer)
	if err := encoder.Encode(mapping.Message{Hello: &hello}); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if err := buffer.Flush(); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	var batch []mapping.Message
	for {
		o.mu.Lock()
		for len(o.queue) == 0 && !o.closed {
			o.cond.Wait()
		}
		if len(o.queue) == 0 && o.closed {
			o.mu.Unlock()
			return nil
		}
		batch, o.queue = o.queue, batch[:0]
		clear(o.merged)
		fresh := o.skipped - o.told
		o.told = o.skipped
		o.mu.Unlock()
		for i := range batch {
			if err := encoder.Encode(batch[i]); err != nil {
				return fmt.Errorf("stream: %w", err)
			}
		}
		if fresh > 0 {
			m := mapping.Message{Problem: &mapping.Problem{Where: "stream", Text: fmt.Sprintf("the instrument read too slowly: %d changes of the cluster were merged into later ones", fresh)}}
			if err := encoder.Encode(m); err != nil {
				return fmt.Errorf("stream: %w", err)
			}
		}
		clear(batch)
		if err := buffer.Flush(); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
	}
}
