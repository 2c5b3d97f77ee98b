package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
)

// oscSurface serves every param and jack of the rack over OSC. The rack
// belongs to the control goroutine; what the surface reads is a shadow of it.
type oscSurface struct {
	*osc.Surface
	shadow   map[mapping.Address]*shadow
	turn     func(turn) error
	slots    [mapping.SlotCount]atomic.Pointer[mapping.Slot]
	bound    func() []string // addresses of controls that mappings bind
	stands   map[string]*atomic.Uint64
	hosts    map[string]netip.AddrPort // of rules, looked up; for the goroutine that tells
	scene    atomic.Pointer[string]
	waiting  atomic.Pointer[string] // the scene that waits
	setlist  atomic.Pointer[string]
	position atomic.Uint64          // of a morph, the bits of 0…1
	silenced atomic.Bool            // since a panic
	learns   atomic.Pointer[string] // what learning waits for, empty without
	timecode atomic.Pointer[string] // the frame of MIDI time code, empty without
	frame    midi.FrameTime         // the same, for the goroutine that tells
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
	action  string       // instead of a change, see actions.go
	asked   string       // the OSC address that asked for the action
	answer  chan<- error // told once what becomes of an action that takes its time
	control string       // instead: an OSC address that a mapping binds, which stands at value, 0…1
}

// ends tells whether a turn lets a gate fall.
func (t *turn) ends() bool { return t.action == "" && t.word == "" && t.value == 0 }

var errBusy = errors.New("too many changes wait; this one was dropped")

// openOSC listens where c says. Turn takes what clients change; it must not
// block. Bound names the addresses of controls that mappings bind. Others are
// told of everything for as long as the surface lives. Who wants to know which
// sources of turns are gone is told by c.Left; see sourceGone.
func openOSC(c osc.Config, others []netip.AddrPort, rack *mapping.Rack, bound func() []string, turn func(turn) error) (*oscSurface, error) {
	s := &oscSurface{turn: turn, bound: bound}
	for _, to := range others {
		c.Subscribers = append(c.Subscribers, osc.Subscription{To: to})
	}
	c.Stray = s.stray
	surface, err := osc.Open(c, s.nodes(rack))
	if err != nil {
		return nil, err
	}
	s.Surface = surface
	return s, nil
}

// sourceGone is osc.Config.Left by the names that sources of turns have.
func sourceGone(left func(gone func(source string) bool)) func(gone func(client netip.AddrPort) bool) {
	return func(gone func(client netip.AddrPort) bool) {
		left(func(source string) bool {
			client, err := netip.ParseAddrPort(source)
			return err == nil && gone(client)
		})
	}
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
	nodes := s.actionNodes()
	for i, slot := range rack.Slots() {
		s.slots[i].Store(&slot)
	}
	nodes = append(nodes, s.slotNodes()...)
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
	return append(nodes, s.controlNodes(nodes)...)
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

// tell sends what a rule says to host:port, or with no host to the subscribers
// who want it.
func (s *oscSurface) tell(host, address string, values []any) error {
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
	if host == "" {
		return s.Tell(address, args...)
	}
	to, ok := s.hosts[host]
	if !ok {
		// A name is looked up once: what looks takes its time, and others wait.
		a, err := net.ResolveUDPAddr("udp", host)
		if err == nil {
			to = a.AddrPort()
		}
		if s.hosts == nil || len(s.hosts) >= mostHosts {
			s.hosts = map[string]netip.AddrPort{}
		}
		s.hosts[host] = to
	}
	if !to.IsValid() {
		return fmt.Errorf("%s: there is no host %s", address, host)
	}
	return s.TellTo(to, address, args...)
}

// mostHosts bounds how many hosts of rules are remembered.
const mostHosts = 256

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
		what := cmp.Or(string(t.address), t.action)
		s.Refuse(to, cmp.Or(t.asked, what), errors.New(strings.TrimPrefix(why.Error(), what+": ")))
	}
}
