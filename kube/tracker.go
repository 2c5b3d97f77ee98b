package kube

import (
	"maps"
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
	t.carry(key, o)
	t.change(key, o)
}

// carry gives a new state the usage of the last one.
func (t *tracker) carry(key Key, o Object) {
	m, ok := o.(measured)
	if !ok {
		return
	}
	if was, ok := t.current(key).(measured); ok {
		m.carry(was.usage())
	}
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

// replace takes over a whole list of one kind in one namespace, or in all where
// that is "": what is not in it is gone. The differences are quiet, because a
// list says what is and not what happened. What was pending is told first, as
// it was.
func (t *tracker) replace(kind, namespace string, list []Object, at Stamp) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush(false)
	listed := make(map[Key]bool, len(list))
	for _, o := range list {
		key := KeyOf(o)
		listed[key] = true
		if !t.stale(key, o.seen().Revision) {
			t.carry(key, o)
			t.pending[key] = o
		}
	}
	for key, o := range t.known {
		if key.Kind != kind || listed[key] {
			continue
		}
		if about, _, _ := o.about(); namespace == "" || about.Namespace == namespace {
			t.pending[key] = nil
			t.gone[key] = at
		}
	}
	t.flush(true)
}

// measure offers each object of a kind that has a usage to a function and takes
// over the usage that it returns, all at once. What is measured for the first
// time is quiet, and all is where quiet is true.
func (t *tracker) measure(kind string, at time.Time, quiet bool, usage func(mapping.Object, Usage) Usage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush(false)
	loud := map[Key]Object{}
	for key, o := range t.known {
		if key.Kind != kind {
			continue
		}
		m, ok := o.(measured)
		if !ok {
			continue
		}
		about, _, _ := o.about()
		was := m.usage()
		is := usage(about, was)
		switch {
		case is == was:
		case quiet || !was.Known:
			t.pending[key] = m.using(is, at)
		default:
			loud[key] = m.using(is, at)
		}
	}
	t.flush(true)
	maps.Copy(t.pending, loud)
	t.flush(false)
}

// amend offers the newest state of each object of a kind to a function and
// takes over what it returns in its place; nil leaves it as it is.
func (t *tracker) amend(kind string, change func(Object) Object) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush(false)
	for key, o := range t.known {
		if key.Kind == kind {
			if is := change(o); is != nil {
				t.pending[key] = is
			}
		}
	}
	t.flush(false)
}

// each shows the newest state of each object of a kind, in no order. The
// function must not call the tracker.
func (t *tracker) each(kind string, see func(Object)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, o := range t.known {
		if key.Kind == kind {
			if _, changing := t.pending[key]; !changing {
				see(o)
			}
		}
	}
	for key, o := range t.pending {
		if key.Kind == kind && o != nil {
			see(o)
		}
	}
}

// say tells transitions that are events and no differences, after what is
// pending.
func (t *tracker) say(ts []mapping.Transition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush(false)
	if len(ts) > 0 {
		t.tell(ts)
	}
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
		if key.Kind == mapping.KindEtcd {
			continue // its revision is a field that is told
		}
		at := o.seen()
		at.Revision = 0
		t.known[key] = o.dated(at)
	}
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
