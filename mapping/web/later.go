package web

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
)

const (
	// maxLater is how many answers of one lane may be under way for a page.
	maxLater = 32
	// maxWork is how many answers are worked on at a time, for all pages
	// together: the processors are for the sound.
	maxWork = 2
)

// errNewer is what becomes of a request of which only the newest counts.
var errNewer = errors.New("a newer one was asked for")

// Later is what Do returns where the answer takes its time: what the page asks
// for next does not wait for it.
type Later struct {
	// Work finds the answer, on a goroutine of the page. Its context ends with
	// the page, and where a newer request takes its place.
	Work func(ctx context.Context) (any, error)
	// Newest, if not empty, names a kind of request of which only the newest of
	// a page counts. An older one is called off and answered with an error.
	Newest string
	// Waits tells that Work only waits for what somebody else does. It does not
	// stand in line behind those that work.
	Waits bool
}

// job is one Later of a page.
type job struct {
	Later
	id     int64
	ctx    context.Context
	cancel context.CancelCauseFunc
}

// lane carries out what takes its time, one after the other.
type lane struct {
	mu      sync.Mutex
	waiting []*job
	current *job
	running bool
}

// take puts a job in line. It returns those whose place it has taken, and that
// nobody answers any more, and whether there was room.
func (l *lane) take(j *job) (gone []*job, start, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if j.Newest != "" {
		l.waiting = slices.DeleteFunc(l.waiting, func(o *job) bool {
			old := o.Newest == j.Newest
			if old {
				gone = append(gone, o)
			}
			return old
		})
		if l.current != nil && l.current.Newest == j.Newest {
			l.current.cancel(errNewer)
		}
	}
	if len(l.waiting) >= maxLater {
		return gone, false, false
	}
	l.waiting = append(l.waiting, j)
	start = !l.running
	l.running = true
	return gone, start, true
}

// next is the job that is carried out now; nil ends the lane's goroutine.
func (l *lane) next() *job {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = nil
	if len(l.waiting) == 0 {
		l.running = false
		return nil
	}
	l.current = l.waiting[0]
	l.waiting = slices.Delete(l.waiting, 0, 1)
	return l.current
}

// later has the answer to a request found beside what the page asks for next.
// Only the page's reader calls it.
func (p *page) later(ctx context.Context, id int64, w Later) {
	l := &p.lanes[0]
	if w.Waits {
		l = &p.lanes[1]
	}
	j := &job{Later: w, id: id}
	j.ctx, j.cancel = context.WithCancelCause(ctx)
	gone, start, ok := l.take(j)
	for _, o := range gone {
		o.cancel(errNewer)
		p.answer(ctx, reply{ID: o.id, Error: errNewer.Error()}, false)
	}
	if !ok {
		j.cancel(nil)
		p.answer(ctx, reply{ID: id, Error: fmt.Sprintf("%d requests of this page wait for their answer already; ask again when there is one", maxLater)}, true)
		return
	}
	if start {
		p.working.Go(func() {
			for j := l.next(); j != nil; j = l.next() {
				p.carry(ctx, j)
			}
		})
	}
}

// carry finds the answer of a job, and gives it.
func (p *page) carry(ctx context.Context, j *job) {
	defer j.cancel(nil)
	r := reply{ID: j.id}
	result, err := p.server.work(j)
	if cause := context.Cause(j.ctx); cause != nil {
		err = cause // whatever it was that it broke off with
	}
	if err != nil {
		r.Error = err.Error()
	} else {
		r.Result = result
	}
	p.answer(ctx, r, err != nil && !errors.Is(err, errNewer))
}

// work does a job when there is room for it.
func (s *Server) work(j *job) (result any, err error) {
	if !j.Waits {
		select {
		case s.room <- struct{}{}:
			defer func() { <-s.room }()
		case <-j.ctx.Done():
			return nil, j.ctx.Err()
		}
	}
	if err := j.ctx.Err(); err != nil {
		return nil, err
	}
	// As in a handler of net/http: what goes wrong for a page ends no music.
	defer func() {
		if cause := recover(); cause != nil {
			s.cfg.Logger.Error("web: a request panics", "cause", cause, "stack", string(debug.Stack()))
			err = fmt.Errorf("the instrument could not do it: %v", cause)
		}
	}()
	return j.Work(j.ctx)
}
