package web

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	maxEvents = 200 // lines of the ticker that wait for a page
	maxSound  = 12  // pieces of sound that wait for a page
	maxReply  = 64  // answers that wait for a page
)

// page is one open page.
type page struct {
	server *Server
	name   string
	conn   *websocket.Conn
	first  bool // it has not been told anything
	ear    bool // it hears, and is told nothing else

	mu     sync.Mutex
	owed   owed
	listen bool
	wake   chan struct{}

	lanes   [2]lane // of what is worked on, and of what is waited for
	working sync.WaitGroup
}

// owed is what a page has not been told yet.
type owed struct {
	state   *State
	set     map[mapping.Address][3]any
	events  []Event
	status  json.RawMessage
	slots   json.RawMessage
	meters  []byte
	sound   [][]byte
	replies []reply
}

func newPage(s *Server, name string) *page {
	p := &page{server: s, name: name, wake: make(chan struct{}, 1)}
	p.owed = owed{state: s.state, status: s.status, slots: s.slots, events: slices.Clone(s.events), set: maps.Clone(s.set)}
	p.wake <- struct{}{}
	return p
}

func (p *page) owe(f func(*owed)) {
	p.mu.Lock()
	f(&p.owed)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *page) listens() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listen
}

// read takes requests until the page ends.
func (p *page) read(ctx context.Context) {
	for {
		kind, text, err := p.conn.Read(ctx)
		if err != nil {
			return
		}
		var a asked
		if kind != websocket.MessageText {
			err = fmt.Errorf("a binary message; expected JSON")
		} else {
			err = json.Unmarshal(text, &a)
		}
		if err != nil {
			p.answer(ctx, reply{ID: a.ID, Error: fmt.Sprintf("web: %v", err)}, true)
			continue
		}
		if a.Listen != nil {
			p.mu.Lock()
			p.listen, p.owed.sound = *a.Listen, nil
			p.mu.Unlock()
			p.answer(ctx, reply{ID: a.ID}, false)
			continue
		}
		r := reply{ID: a.ID}
		result, err := p.server.cfg.Do(p.name, a.Request)
		if w, ok := result.(Later); ok && err == nil {
			p.later(ctx, a.ID, w)
			continue
		}
		if err != nil {
			r.Error = err.Error()
		} else {
			r.Result = result
		}
		p.answer(ctx, r, err != nil)
	}
}

// answer tells a page what became of its request, if it wants to know.
func (p *page) answer(ctx context.Context, r reply, always bool) {
	if r.ID == 0 && !always {
		return
	}
	for {
		full := false
		p.owe(func(o *owed) {
			if full = len(o.replies) >= maxReply; !full {
				o.replies = append(o.replies, r)
			}
		})
		if !full || ctx.Err() != nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // whoever does not read is not read from
	}
}

// write tells the page what it is owed.
func (p *page) write(ctx context.Context) {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			p.conn.Close(websocket.StatusGoingAway, "the instrument ends")
			return
		case <-ping.C:
			c, cancel := context.WithTimeout(ctx, writeWait)
			err := p.conn.Ping(c)
			cancel()
			if err != nil {
				return
			}
			continue
		case <-p.wake:
		}
		p.mu.Lock()
		o := p.owed
		p.owed = owed{set: map[mapping.Address][3]any{}}
		p.mu.Unlock()
		if p.tell(ctx, &o) != nil {
			return
		}
	}
}

func (p *page) tell(ctx context.Context, o *owed) error {
	c, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	if p.ear {
		p.first, o = false, &owed{sound: o.sound, replies: o.replies}
	}
	text := func(t told) error {
		b, err := json.Marshal(t)
		if err != nil {
			return err
		}
		return p.conn.Write(c, websocket.MessageText, b)
	}
	if p.first {
		p.first = false
		if err := text(told{Hello: &hello{Version: p.server.cfg.Version, Client: p.name}}); err != nil {
			return err
		}
	}
	// Sound first: it alone is late soon.
	for _, b := range o.sound {
		if err := p.conn.Write(c, websocket.MessageBinary, b); err != nil {
			return err
		}
	}
	var all []told
	if o.state != nil {
		all = append(all, told{State: o.state})
	}
	if len(o.set) > 0 {
		list := make([][3]any, 0, len(o.set))
		for _, s := range o.set {
			list = append(list, s)
		}
		all = append(all, told{Set: list})
	}
	if len(o.events) > 0 {
		all = append(all, told{Event: o.events})
	}
	if o.status != nil {
		all = append(all, told{Status: o.status})
	}
	if o.slots != nil {
		all = append(all, told{Slots: o.slots})
	}
	for i := range o.replies {
		all = append(all, told{Reply: &o.replies[i]})
	}
	for _, t := range all {
		if err := text(t); err != nil {
			return err
		}
	}
	if o.meters != nil {
		return p.conn.Write(c, websocket.MessageBinary, o.meters)
	}
	return nil
}

func encodeMeters(frame int64, peaks [2]float32, volts []float32) []byte {
	b := make([]byte, 12, 20+4*len(volts))
	b[0] = binaryMeters
	binary.LittleEndian.PutUint64(b[4:], math.Float64bits(float64(frame)))
	for _, v := range peaks {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	for _, v := range volts {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

func encodeSound(frame int64, left, right []float32) []byte {
	b := make([]byte, 12, 12+4*len(left))
	b[0] = binarySound
	binary.LittleEndian.PutUint64(b[4:], math.Float64bits(float64(frame)))
	for i := range left {
		for _, v := range [2]float32{left[i], right[i]} {
			b = binary.LittleEndian.AppendUint16(b, uint16(int16(math.Round(float64(min(max(v, -1), 1))*32767))))
		}
	}
	return b
}
