package kube

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// A watch whose stream broke off is opened again at once where it lived
	// for longLived, else after a pause that doubles up to reconnectMax.
	longLived  = time.Second
	reopenWait = 20 * time.Millisecond
)

// resumer opens watches that outlive the streams that carry them. client-go's
// Reflector begins anew with a list where a stream breaks while it is opened,
// or within a second, which is when a network or a server is overloaded; a list
// says what is and not what happened in between, so what happened would not
// sound.
type resumer struct {
	what string
	open func(context.Context, metav1.ListOptions) (watch.Interface, error)
	// fruitless is how many streams in a row may bring nothing before a list is
	// asked for after all: a proxy may hold back what streams carry.
	fruitless int
	log       *slog.Logger
}

// watch opens a watch. It ends with ctx, with Stop, and with an event of the
// type Error, which says why it cannot be taken up where it was.
func (r *resumer) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	ctx, stop := context.WithCancel(ctx)
	s := &stream{resumer: r, at: o, stop: stop, events: make(chan watch.Event)}
	// The objects that are there come first in these, in no order, and where
	// they are is known only after.
	s.resumable = o.SendInitialEvents == nil && o.ResourceVersion != "" && o.ResourceVersion != "0"
	w, err := s.begin(ctx)
	if err != nil {
		stop()
		return nil, err
	}
	go s.run(ctx, w)
	return s, nil
}

// stream is one watch of a resumer.
type stream struct {
	*resumer
	at        metav1.ListOptions // where the next stream begins
	resumable bool
	barren    int // streams in a row that brought nothing
	wait      time.Duration
	events    chan watch.Event
	stop      func()
}

func (s *stream) ResultChan() <-chan watch.Event { return s.events }
func (s *stream) Stop()                          { s.stop() }

// run hands on what one stream after another brings. Where ctx ends, the events
// are left open: nobody listens, and to the Reflector a closed watch is news.
func (s *stream) run(ctx context.Context, w watch.Interface) {
	defer s.stop()
	for {
		began := time.Now()
		goesOn := s.pass(ctx, w)
		w.Stop()
		if ctx.Err() != nil {
			return
		}
		if !goesOn || !s.resumable {
			break
		}
		if time.Since(began) >= longLived {
			s.wait = 0
		}
		var err error
		switch {
		case s.again(ctx):
			w, err = s.begin(ctx)
		default:
			err = apierrors.NewResourceExpired(s.what + ": streams bring nothing and break off")
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.send(ctx, watch.Event{Type: watch.Error, Object: statusOf(err)})
			break
		}
	}
	close(s.events)
}

// begin opens a stream.
func (s *stream) begin(ctx context.Context) (watch.Interface, error) {
	for {
		w, err := s.open(ctx, s.at)
		if err == nil {
			return w, nil
		}
		if ctx.Err() != nil || !s.resumable || !passes(err) {
			return nil, err
		}
		s.log.Debug("a watch could not be opened", "what", s.what, "reason", err)
		if !s.again(ctx) {
			return nil, err
		}
	}
}

// again rests before the next stream; false says that there is to be none.
func (s *stream) again(ctx context.Context) bool {
	if s.barren++; s.barren > s.fruitless {
		return false
	}
	wait := s.wait
	s.wait = min(max(2*wait, reopenWait), reconnectMax)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(wait):
		return true
	}
}

// pass hands on what a stream brings until it ends, and tells whether the watch
// goes on after.
func (s *stream) pass(ctx context.Context, w watch.Interface) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case e, ok := <-w.ResultChan():
			switch {
			case !ok:
				return true
			case e.Type == watch.Error && s.resumable && garbled(e):
				s.log.Debug("a watch broke off", "what", s.what, "reason", apierrors.FromObject(e.Object))
				return true
			case e.Type == watch.Error:
				s.send(ctx, e)
				return false
			}
			s.barren = 0
			s.advance(e)
			if !s.send(ctx, e) {
				return false
			}
		}
	}
}

// advance notes where the next stream would begin.
func (s *stream) advance(e watch.Event) {
	m, err := meta.Accessor(e.Object)
	if err != nil {
		return
	}
	if e.Type == watch.Bookmark && m.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
		s.resumable = true
		s.at.SendInitialEvents, s.at.ResourceVersionMatch = nil, ""
	}
	if revision := m.GetResourceVersion(); s.resumable && revision != "" {
		s.at.ResourceVersion = revision
	}
}

func (s *stream) send(ctx context.Context, e watch.Event) bool {
	select {
	case <-ctx.Done():
		return false
	case s.events <- e:
		return true
	}
}

// passes tells whether an error is one of the way to the API or of a server
// that is ill, and not an answer to what was asked.
func passes(err error) bool {
	var status apierrors.APIStatus
	return !errors.As(err, &status) || status.Status().Code >= http.StatusInternalServerError
}

// garbled tells whether an event is no word of the server, but says that the
// client could not read the stream: this is how a connection that breaks shows.
func garbled(e watch.Event) bool {
	status, ok := e.Object.(*metav1.Status)
	return ok && status.Details != nil && slices.ContainsFunc(status.Details.Causes, func(c metav1.StatusCause) bool {
		return c.Type == "ClientWatchDecoding"
	})
}

func statusOf(err error) *metav1.Status {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	out := status.Status()
	return &out
}
