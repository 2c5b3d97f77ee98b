package kube

import (
	"sync"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// tracker gathers changes for a few milliseconds into the next Snapshot and
// tells the difference. It never merges two changes of one object: the second
// tells the first at once, so a storm is batched and not thinned.
//
// Only the objects that changed are compared. Diff can be taken piece by
// piece, so the two partial snapshots give the same transitions as the whole
// ones would, at the cost of what changed and not of what exists.
type tracker struct {
	window time.Duration
	now    func() time.Time
	// tell receives the transitions in order. It is called with the lock held
	// and must not block.
	tell func([]mapping.Transition)

	mu      sync.Mutex
	known   map[Key]Object
	pending map[Key]Object // nil: gone
	gone    map[Key]Stamp
	timer   *time.Timer
	armed   bool
}

func newTracker(window time.Duration, now func() time.Time, tell func([]mapping.Transition)) *tracker {
	return &tracker{window: window, now: now, tell: tell, known: map[Key]Object{}, pending: map[Key]Object{}, gone: map[Key]Stamp{}}
}

// set takes over the new state of one object.
func (t *tracker) set(o Object) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := KeyOf(o)
	if t.stale(key, o.seen().Revision) {
		return
	}
	t.change(key, o)
}

// remove takes over that an object is gone.
func (t *tracker) remove(key Key, at Stamp) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current(key) == nil {
		return
	}
	t.change(key, nil)
	t.gone[key] = at
}

// replace takes over a whole list of one kind: what is not in it is gone. The
// differences are quiet, because a list says what is and not what happened.
// What was pending is told first, as it was.
func (t *tracker) replace(kind string, list []Object, at Stamp) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush(false)
	listed := make(map[Key]bool, len(list))
	for _, o := range list {
		key := KeyOf(o)
		listed[key] = true
		if !t.stale(key, o.seen().Revision) {
			t.pending[key] = o
		}
	}
	for key := range t.known {
		if key.Kind == kind && !listed[key] {
			t.pending[key] = nil
			t.gone[key] = at
		}
	}
	t.flush(true)
}

// stale reports whether an object is older than what is known of it: a second
// API server whose cache lags must not play the past again.
func (t *tracker) stale(key Key, revision int64) bool {
	known := t.current(key)
	return known != nil && revision > 0 && revision < known.seen().Revision
}

// forget drops all revisions, because a store that was made anew counts from
// the start. The states stay, so that the next lists tell the differences.
func (t *tracker) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush(false)
	for key, o := range t.known {
		t.known[key] = unrevised(o)
	}
}

func unrevised(o Object) Object {
	switch o := o.(type) {
	case *Pod:
		c := *o
		c.Revision = 0
		return &c
	case *Deployment:
		c := *o
		c.Revision = 0
		return &c
	case *Node:
		c := *o
		c.Revision = 0
		return &c
	case *Composition:
		c := *o
		c.Revision = 0
		return &c
	}
	return o
}

// current is the newest state of an object, told or not.
func (t *tracker) current(key Key) Object {
	if o, ok := t.pending[key]; ok {
		return o
	}
	return t.known[key]
}

func (t *tracker) change(key Key, o Object) {
	if _, ok := t.pending[key]; ok {
		t.flush(false)
	}
	t.pending[key] = o
	if t.armed {
		return
	}
	t.armed = true
	if t.timer == nil {
		t.timer = time.AfterFunc(t.window, t.expire)
	} else {
		t.timer.Reset(t.window)
	}
}

func (t *tracker) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.armed = false
	t.flush(false)
}

// update changes one object in place of its newest state and tells it at once.
func (t *tracker) update(key Key, change func(Object) Object) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o := change(t.current(key)); o != nil {
		t.change(key, o)
		t.flush(false)
	}
}

// sync tells what is pending now.
func (t *tracker) sync() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush(false)
}

func (t *tracker) flush(quiet bool) {
	if len(t.pending) == 0 {
		return
	}
	previous := Snapshot{Objects: make(map[Key]Object, len(t.pending))}
	next := Snapshot{Stamp: Stamp{Time: t.now()}, Quiet: quiet, Objects: make(map[Key]Object, len(t.pending)), Gone: t.gone}
	for key, o := range t.pending {
		if was := t.known[key]; was != nil {
			previous.Objects[key] = was
		}
		if o == nil {
			delete(t.known, key)
			continue
		}
		next.Objects[key] = o
		t.known[key] = o
	}
	transitions := Diff(previous, next)
	clear(t.pending)
	if len(t.gone) > 0 {
		t.gone = map[Key]Stamp{}
	}
	if len(transitions) > 0 {
		t.tell(transitions)
	}
}
