package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
)

// oscSurface serves every param and jack of the rack over OSC. The rack
// belongs to the control goroutine; what the surface reads is a shadow of it.
type oscSurface struct {
	*osc.Surface
	shadow map[mapping.Address]*shadow
	turn   func(turn) error
}

// shadow is the last known value of one address.
type shadow struct {
	bits atomic.Uint64
	word atomic.Pointer[string]
	kind mapping.MemberKind
	spec *instrument.ParamSpec
}

// turn is one change that a hand made.
type turn struct {
	address mapping.Address
	value   float64
	word    string
	source  string
	at      time.Time
	action  string // instead of a change: "panic"
}

var errBusy = errors.New("too many changes wait; this one was dropped")

// openOSC listens on addr. Turn takes what clients change; it must not block.
// Others are told of everything for as long as the surface lives.
func openOSC(addr string, others []netip.AddrPort, log *slog.Logger, rack *mapping.Rack, turn func(turn) error) (*oscSurface, error) {
	s := &oscSurface{turn: turn}
	c := osc.Config{Addr: addr, Logger: log}
	for _, to := range others {
		c.Subscribers = append(c.Subscribers, osc.Subscription{To: to})
	}
	surface, err := osc.Open(c, s.nodes(rack))
	if err != nil {
		return nil, err
	}
	s.Surface = surface
	return s, nil
}

// rewire serves the rack's addresses as they are now.
func (s *oscSurface) rewire(rack *mapping.Rack) error { return s.Replace(s.nodes(rack)) }

// nodes makes a node for each member of the rack.
func (s *oscSurface) nodes(rack *mapping.Rack) []osc.Node {
	shadows := map[mapping.Address]*shadow{}
	patched := map[mapping.Address]bool{}
	for _, c := range rack.Patch().Cables {
		patched[mapping.AddressOf(c.To.Module, c.To.Jack)] = true
	}
	nodes := []osc.Node{{
		Address: "/panic", Access: osc.Write, Doc: "lets every gate fall and empties every tail, within a block",
		Set: func(_ []osc.Arg, c osc.Cause) error {
			return s.turn(turn{action: "panic", source: c.From.String(), at: c.At})
		},
	}}
	for _, m := range rack.Members() {
		sh := &shadow{kind: m.Kind, spec: m.Param}
		v, w, _ := rack.Value(m.Address)
		sh.set(v, w)
		shadows[m.Address] = sh
		n := osc.Node{Address: string(m.Address), Access: osc.ReadWrite, Doc: m.Doc, Get: sh.get, Tags: "f"}
		switch m.Kind {
		case mapping.MemberText:
			n.Tags = "s"
		case mapping.MemberParam:
			n.Unit = m.Param.Unit
			n.Range = []osc.Range{{Min: m.Param.Min, Max: m.Param.Max}}
			switch {
			case len(m.Param.Choices) > 0:
				n.Tags, n.Range = "s", []osc.Range{{Values: m.Param.Choices}}
			case m.Param.Whole:
				n.Tags = "i"
			}
		case mapping.MemberInput:
			n.Unit, n.Range = "V", []osc.Range{{Min: -12, Max: 12}}
			if patched[m.Address] {
				n.Access = osc.Read
			}
		case mapping.MemberOutput:
			n.Unit, n.Access = "V", osc.Read
		}
		if n.Access&osc.Write != 0 {
			n.Set = func(args []osc.Arg, c osc.Cause) error {
				t := turn{address: m.Address, source: c.From.String(), at: c.At}
				if n.Tags == "s" {
					t.word = args[0].Text()
				} else {
					t.value = args[0].Float()
				}
				return s.turn(t)
			}
		}
		nodes = append(nodes, n)
	}
	s.shadow = shadows
	return nodes
}

func (s *shadow) set(v float64, word string) {
	s.bits.Store(math.Float64bits(v))
	if s.kind == mapping.MemberText {
		s.word.Store(&word)
	}
}

func (s *shadow) get(dst []osc.Arg) []osc.Arg {
	v := math.Float64frombits(s.bits.Load())
	switch {
	case s.kind == mapping.MemberText:
		return append(dst, osc.String(*s.word.Load()))
	case s.spec != nil && len(s.spec.Choices) > 0:
		return append(dst, osc.String(s.spec.Choices[int(v)]))
	case s.spec != nil && s.spec.Whole:
		return append(dst, osc.Int32(int32(v)))
	}
	return append(dst, osc.Float32(float32(v)))
}

// tell sends what a rule says to the subscribers who want it.
func (s *oscSurface) tell(address string, values []any) error {
	args := make([]osc.Arg, 0, len(values))
	for _, v := range values {
		switch v := v.(type) {
		case int32:
			args = append(args, osc.Int32(v))
		case int64:
			args = append(args, osc.Int64(v))
		case float32:
			args = append(args, osc.Float32(v))
		case bool:
			args = append(args, osc.Bool(v))
		case string:
			args = append(args, osc.String(v))
		default:
			return fmt.Errorf("%s: OSC has no form for a %T", address, v)
		}
	}
	return s.Tell(address, args...)
}

// changed tells the subscribers, but not the one who did it.
func (s *oscSurface) changed(a mapping.Address, value float64, word, source string) {
	sh := s.shadow[a]
	if sh == nil {
		return
	}
	sh.set(value, word)
	except, _ := netip.ParseAddrPort(source)
	s.Notify(string(a), except, sh.get(nil)...)
}

// refused tells the client that turned a knob why it was of no use.
func (s *oscSurface) refused(t turn, why error) {
	if to, err := netip.ParseAddrPort(t.source); err == nil {
		s.Refuse(to, string(t.address), errors.New(strings.TrimPrefix(why.Error(), string(t.address)+": ")))
	}
}
