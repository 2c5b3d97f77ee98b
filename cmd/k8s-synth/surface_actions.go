package main

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// actionNodes are the addresses that ask for an action.
func (s *oscSurface) actionNodes() []osc.Node {
	nodes := []osc.Node{}
	does := func(address, action, doc string) {
		nodes = append(nodes, osc.Node{Address: address, Access: osc.Write, Doc: doc, Set: func(_ []osc.Arg, c osc.Cause) error {
			return s.turn(turn{action: action, asked: address, source: c.From.String(), at: c.At})
		}})
	}
	does("/panic", actPanic, "lets every gate fall and empties every tail, within a block")
	does("/resume", actResume, "lets the cluster be heard again after a panic")
	does("/undo", actUndo, "takes back what a hand did last to a knob or a cable")
	does("/redo", actRedo, "does again what was undone")
	does("/arm", actArm, "lets this client do what cannot be undone, for ten seconds")
	does("/scene/next", actNext, "plays the next scene, of the set list if there is one")
	does("/scene/previous", actPrevious, "plays the scene before")
	does("/scene/cancel", actCancel, "takes back the scene that waits, and lets a morph go back")
	does("/learn/cancel", actLearn+":cancel", "learns nothing")
	says := func(address, action, tags, doc string, at func() string) {
		n := osc.Node{Address: address, Tags: tags, Access: osc.Write, Doc: doc, Set: func(args []osc.Arg, c osc.Cause) error {
			word := args[0].Text()
			if tags == "i" {
				word = fmt.Sprint(args[0].Int())
			}
			return s.turn(turn{action: action + ":" + word, asked: address, source: c.From.String(), at: c.At})
		}}
		if at != nil {
			n.Access, n.Get = osc.ReadWrite, func(dst []osc.Arg) []osc.Arg { return append(dst, osc.String(at())) }
		}
		nodes = append(nodes, n)
	}
	says("/scene/load", actScene, "s", "the scene that plays, by name", func() string { return wordOf(&s.scene) })
	says("/learn", actLearn, "s", "the address that the next control that moves is bound to; empty: whatever moves next", func() string { return wordOf(&s.learns) })
	nodes = append(nodes, osc.Node{Address: "/plug", Tags: "ss", Access: osc.Write, Doc: "puts a cable from an output, kind/name/jack, into an input",
		Set: func(args []osc.Arg, c osc.Cause) error {
			return s.turn(turn{action: actPlug + ":" + args[0].Text() + "->" + args[1].Text(), asked: "/plug", source: c.From.String(), at: c.At})
		}})
	says("/pull", actPull, "s", "takes the cable out of an input, kind/name/jack", nil)
	says("/remove", actRemove, "s", "takes a module, kind/name, out of the rack with its cables", nil)
	says("/take/seek", actSeek, "s", "plays the take of --replay from a time on, such as 1:23", nil)
	says("/sense", actSense, "s", "turns the sensing of cables in the case on or off", nil)
	says("/layer", actLayer, "i", "the layer of the mappings", nil)
	says("/scene/slot", actSlot, "i", "plays the snapshot in a slot, 1 … 16", nil)
	says("/scene/snapshot", actSnapshot, "i", "keeps what plays in a slot, 1 … 16", nil)
	says("/scene/setlist", actSetList, "s", "the set list that next and previous step through, by name; off is none", func() string { return wordOf(&s.setlist) })
	// A number, because the older TouchOSC lights nothing by true and false.
	nodes = append(nodes, osc.Node{Address: "/silenced", Tags: "i", Access: osc.Read, Doc: "1 since a panic, until /resume or another scene", Range: []osc.Range{{Min: 0, Max: 1}},
		Get: func(dst []osc.Arg) []osc.Arg { return append(dst, asNumber(s.silenced.Load())) }})
	nodes = append(nodes, osc.Node{Address: "/timecode", Tags: "s", Access: osc.Read, Doc: "the frame of MIDI time code that passes, hh:mm:ss:ff, with ; before the frames where some are dropped; empty before any",
		Get: func(dst []osc.Arg) []osc.Arg { return append(dst, osc.String(wordOf(&s.timecode))) }})
	return append(nodes, s.stageNodes()...)
}

// controlNodes are the addresses of controls that mappings bind, such as a
// fader's of somebody's own layout. The rack's own addresses come first.
func (s *oscSurface) controlNodes(others []osc.Node) (nodes []osc.Node) {
	stands := map[string]*atomic.Uint64{}
	for _, a := range s.bound() {
		if osc.CheckAddress(a) != nil || slices.ContainsFunc(others, func(n osc.Node) bool { return n.Address == a }) {
			continue
		}
		at := s.stands[a]
		if at == nil {
			at = new(atomic.Uint64)
		}
		stands[a] = at
		nodes = append(nodes, osc.Node{Address: a, Tags: "f", Access: osc.ReadWrite, Doc: "a control that a mapping binds", Range: []osc.Range{{Min: 0, Max: 1}},
			Get: func(dst []osc.Arg) []osc.Arg {
				return append(dst, osc.Float32(float32(math.Float64frombits(at.Load()))))
			},
			Set: func(args []osc.Arg, c osc.Cause) error {
				return s.turn(turn{control: a, value: args[0].Float(), source: c.From.String(), at: c.At})
			}})
	}
	s.stands = stands
	return nodes
}

// stray takes a control of a layout of somebody's own while learning waits for
// one: its address is not known yet.
func (s *oscSurface) stray(m *osc.Message, c osc.Cause) bool {
	if wordOf(&s.learns) == "" {
		return false
	}
	args := m.Args()
	a, ok := args.Next()
	v, isNumber := a.Number()
	if !ok || !isNumber {
		return false
	}
	_ = s.turn(turn{control: string(m.Address()), value: v, source: c.From.String(), at: c.At}) // one that finds no room comes again as it moves
	return true
}

// controlMoved tells the subscribers where a control of theirs stands, but not
// the one who moved it there.
func (s *oscSurface) controlMoved(address string, value float64, source string) {
	at := s.stands[address]
	if at == nil {
		return
	}
	at.Store(math.Float64bits(value))
	except, _ := netip.ParseAddrPort(source)
	s.Notify(address, except, osc.Float32(float32(value)))
}

// slotNodes are the addresses of the bank of pods, and of the pods in it by
// name: these come and go.
func (s *oscSurface) slotNodes() []osc.Node {
	var nodes []osc.Node
	named := map[string]bool{}
	for i := range s.slots {
		at := func() *mapping.Slot { return s.slots[i].Load() }
		kills := func(address, doc, whom string) {
			nodes = append(nodes, osc.Node{Address: address, Access: osc.Write, Doc: doc, Set: func(_ []osc.Arg, c osc.Cause) error {
				return s.turn(turn{action: actKill + ":" + whom, asked: address, source: c.From.String(), at: c.At})
			}})
		}
		reads := func(address, tags, doc, unit string, get func(*mapping.Slot) osc.Arg) {
			now := at
			nodes = append(nodes, osc.Node{Address: address, Tags: tags, Access: osc.Read, Doc: doc, Unit: unit,
				Get: func(dst []osc.Arg) []osc.Arg { return append(dst, get(now())) }})
		}
		address := slotAddress(i)
		reads(address+"name", "s", "name of the pod in this slot; empty without one", "", func(s *mapping.Slot) osc.Arg { return osc.String(s.Pod) })
		reads(address+"phase", "s", "what the pod in this slot does", "", func(s *mapping.Slot) osc.Arg { return osc.String(s.Phase.String()) })
		reads(address+"node", "s", "where the pod in this slot runs", "", func(s *mapping.Slot) osc.Arg { return osc.String(s.Node) })
		reads(address+"load", "f", "CPU that the pod in this slot uses", "millicores", func(s *mapping.Slot) osc.Arg { return osc.Float32(float32(s.Load)) })
		kills(address+"kill", "deletes the pod in this slot, for who is armed", fmt.Sprintf("slot/%d", i+1))
		p := *at()
		// Two namespaces may have a pod of one name: the first is it.
		if p.Pod == "" || named[p.Pod] || osc.CheckAddress("/pods/"+p.Pod) != nil {
			continue
		}
		named[p.Pod] = true
		slot := at
		at = func() *mapping.Slot {
			if now := slot(); now.Pod == p.Pod {
				return now
			}
			return &mapping.Slot{} // another is in its slot, and the address about to go
		}
		pod := "/pods/" + p.Pod + "/"
		reads(pod+"phase", "s", "what the pod does", "", func(s *mapping.Slot) osc.Arg { return osc.String(s.Phase.String()) })
		reads(pod+"ready", "T", "whether it serves", "", func(s *mapping.Slot) osc.Arg { return osc.Bool(s.Phase == mapping.SlotReady) })
		reads(pod+"node", "s", "where it runs", "", func(s *mapping.Slot) osc.Arg { return osc.String(s.Node) })
		reads(pod+"owner", "s", "the module that asked for it", "", func(s *mapping.Slot) osc.Arg { return osc.String(string(s.Owner)) })
		kills(pod+"kill", "deletes the pod, for who is armed", p.Pod)
	}
	return nodes
}

func slotAddress(i int) string { return fmt.Sprintf("/slot/%d/", i+1) }

// slotChanged tells the subscribers what a slot shows. It returns whether
// another pod is in it than before, so that addresses came or went.
func (s *oscSurface) slotChanged(now mapping.Slot) (other bool) {
	was := s.slots[now.Index].Swap(&now)
	tell := func(member string, changed bool, v osc.Arg) {
		if changed {
			s.Notify(slotAddress(now.Index)+member, netip.AddrPort{}, v)
			if member != "name" && member != "load" && now.Pod != "" {
				s.Notify("/pods/"+now.Pod+"/"+member, netip.AddrPort{}, v)
			}
		}
	}
	tell("name", was.Pod != now.Pod, osc.String(now.Pod))
	tell("phase", was.Phase != now.Phase, osc.String(now.Phase.String()))
	tell("node", was.Node != now.Node, osc.String(now.Node))
	tell("load", was.Load != now.Load, osc.Float32(float32(now.Load)))
	if now.Pod != "" && was.Pod == now.Pod && (was.Phase == mapping.SlotReady) != (now.Phase == mapping.SlotReady) {
		s.Notify("/pods/"+now.Pod+"/ready", netip.AddrPort{}, osc.Bool(now.Phase == mapping.SlotReady))
	}
	return was.Pod != now.Pod
}

// wordOf is what the surface said last, empty before it did.
func wordOf(p *atomic.Pointer[string]) string {
	if w := p.Load(); w != nil {
		return *w
	}
	return ""
}

// says tells the subscribers a word of the instrument's own.
func (s *oscSurface) says(p *atomic.Pointer[string], address, word string) {
	p.Store(&word)
	s.Notify(address, netip.AddrPort{}, osc.String(word))
}

// stageNodes are the addresses that launch and morph scenes.
func (s *oscSurface) stageNodes() []osc.Node {
	asks := func(address, action string, c osc.Cause) error {
		return s.turn(turn{action: action, asked: address, source: c.From.String(), at: c.At})
	}
	return []osc.Node{
		{Address: "/scene/launch", Tags: "ssf", Access: osc.Write, Doc: "plays a scene, by name, from the next now, beat, bar or phrase on, with a crossfade of some seconds",
			Range: []osc.Range{{}, {Values: quanta()}, {Min: 0, Max: scenes.MaxCrossfade}},
			Set: func(a []osc.Arg, c osc.Cause) error {
				return asks("/scene/launch", fmt.Sprintf("%s:%s:%s:%g", actLaunch, a[0].Text(), a[1].Text(), a[2].Float()), c)
			}},
		{Address: "/scene/morph", Tags: "sff", Access: osc.Write, Doc: "goes the way to a scene, by name, in some seconds, 0 for a fader to go it, and changes cables at a point of it, 0…1",
			Range: []osc.Range{{}, {Min: 0, Max: scenes.MaxMorph}, {Min: 0, Max: 1}},
			Set: func(a []osc.Arg, c osc.Cause) error {
				return asks("/scene/morph", fmt.Sprintf("%s:%s:%g:%g", actMorph, a[0].Text(), a[1].Float(), a[2].Float()), c)
			}},
		{Address: "/scene/morph/position", Tags: "f", Access: osc.ReadWrite, Doc: "where on the way of a morph it is", Range: []osc.Range{{Min: 0, Max: 1}},
			Get: func(dst []osc.Arg) []osc.Arg {
				return append(dst, osc.Float32(float32(math.Float64frombits(s.position.Load()))))
			},
			Set: func(a []osc.Arg, c osc.Cause) error {
				return s.turn(turn{action: actPosition, value: a[0].Float(), asked: "/scene/morph/position", source: c.From.String(), at: c.At})
			}},
		{Address: "/scene/waiting", Tags: "s", Access: osc.Read, Doc: "the scene that waits for its moment; empty for none",
			Get: func(dst []osc.Arg) []osc.Arg { return append(dst, osc.String(wordOf(&s.waiting))) }},
	}
}

func quanta() (words []string) {
	for _, q := range mapping.Quanta {
		words = append(words, string(q))
	}
	return words
}

// saysNew is says, where that is another word than before.
func (s *oscSurface) saysNew(p *atomic.Pointer[string], address, text string) {
	if wordOf(p) != text {
		s.says(p, address, text)
	}
}

func asNumber(on bool) osc.Arg {
	if on {
		return osc.Int32(1)
	}
	return osc.Int32(0)
}

// tellSilence tells the subscribers where a panic begins or ends to hold down
// what the cluster does.
func (p *player) tellSilence() {
	if p.osc == nil {
		return
	}
	if on := p.rack.Silenced(); p.osc.silenced.Swap(on) != on {
		p.osc.Notify("/silenced", netip.AddrPort{}, asNumber(on))
	}
}

// positionMoved tells the subscribers where a morph is.
func (s *oscSurface) positionMoved(x float64) {
	if bits := math.Float64bits(x); s.position.Swap(bits) != bits {
		s.Notify("/scene/morph/position", netip.AddrPort{}, osc.Float32(float32(x)))
	}
}
