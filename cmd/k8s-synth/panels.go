package main

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware/backplane/port"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	midiport "github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// panels are the hardware panels that play modules of the rack; nil is none.
// All but lines belongs to the control goroutine.
type panels struct {
	*port.Panels
	patterns []string              // of MIDI ports that panels are behind
	midi     map[string]*port.MIDI // by port
	knobs    map[mapping.Address]*panelKnob
	played   map[instrument.ModuleID]bool // modules that panels are
	memory   *port.Memory                 // which panel is which module; not the control goroutine's alone
}

// panelsFile is where, in the state directory, is kept which panel is which
// module.
const panelsFile = "panels.json"

// panelKnob is a knob of a panel. It takes a value up where it meets it: a
// panel that is plugged in must not turn what plays to where it was left.
type panelKnob struct {
	travel float64
	caught bool
	told   float64 // value that it set last
}

// panelSource is the panels as a source of turns.
const panelSource = "panel"

// isSerial tells whether a name of --panel is that of a serial port.
func isSerial(name string) bool {
	return name == port.Auto || strings.ContainsAny(name, `/\`) || strings.HasPrefix(strings.ToUpper(name), "COM")
}

// openPanels looks for hardware panels where the options say.
func (p *player) openPanels() {
	if len(p.o.panels) == 0 {
		return
	}
	s := &panels{midi: map[string]*port.MIDI{}, knobs: map[mapping.Address]*panelKnob{}, played: map[instrument.ModuleID]bool{}}
	dir, err := stateDir(p.o.stateDir)
	if err == nil {
		s.memory, err = port.OpenMemory(filepath.Join(dir, panelsFile))
	}
	if err != nil {
		p.log.Warn("panels", "err", err)
	}
	var serial []string
	for _, name := range p.o.panels {
		if strings.TrimSpace(name) == "" {
			continue // as a pattern it would be every port
		}
		if isSerial(name) {
			serial = append(serial, name)
		} else {
			s.patterns = append(s.patterns, name)
		}
	}
	s.Panels = port.Open(port.Config{
		Ports: serial, Logger: p.log, Bind: p.bindPanel,
		Knob: func(module, param string, value float64) {
			p.call(func() { p.panelKnob(mapping.AddressOf(instrument.ModuleID(module), param), value) })
		},
		Gate: func(module, jack string, high bool, at time.Time) {
			p.call(func() {
				t := turn{address: mapping.AddressOf(instrument.ModuleID(module), jack), source: panelSource, at: at}
				if high {
					t.value = instrument.GateVolts
				}
				if err := p.press(t); err != nil {
					p.problem(mapping.Problem{Where: panelSource, Text: err.Error()})
				}
			})
		},
		Plugged: func(info port.Info, there bool) {
			p.call(func() {
				id := instrument.ModuleID(info.Module)
				p.panels.played[id] = there
				for a, k := range p.panels.knobs {
					if m, _, err := a.Split(); err == nil && m == id {
						k.caught = false
					}
				}
				p.log.Info("panel", "port", info.Port, "module", info.Module, "there", there)
				if there {
					p.showPanel(id)
				}
			})
		},
	})
	p.panels = s
}

// bindPanel gives a panel the module that it was before, or the one that it
// wishes to be, or else the first of its kind that no panel is.
func (p *player) bindPanel(who port.Panel) (module string, ok bool) {
	var modules []string
	var others []port.Info
	var memory *port.Memory
	if !p.ask(func() {
		patch := p.rack.Patch()
		for i := range patch.Modules {
			modules = append(modules, string(patch.Modules[i].ID))
		}
		others, memory = p.panels.List(), p.panels.memory
	}) || memory == nil {
		return "", false
	}
	module, ok, err := memory.Choose(who, modules, others)
	if err != nil {
		p.log.Warn("panels", "err", err)
	}
	return module, ok
}

// panelKnob turns a param to where a knob of a panel stands.
func (p *player) panelKnob(a mapping.Address, value float64) {
	m, err := p.rack.Member(a)
	if err != nil {
		p.problem(mapping.Problem{Where: panelSource, Text: err.Error()})
		return
	}
	t := turn{address: a, source: panelSource, at: time.Now()}
	if m.Kind == mapping.MemberInput {
		t.value = value // the volts of a jack
		if err := p.set(t); err != nil {
			p.problem(mapping.Problem{Where: panelSource, Text: err.Error()})
		}
		return
	}
	if m.Kind != mapping.MemberParam {
		p.problem(mapping.Problem{Where: panelSource, Text: fmt.Sprintf("%s is no knob", a)})
		return
	}
	now, _, _ := p.rack.Value(a)
	k := p.panels.knobs[a]
	if k == nil {
		k = &panelKnob{travel: value}
		p.panels.knobs[a] = k
	}
	was := k.travel
	k.travel = value
	stands := knobTravel(m.Param, now)
	if k.caught && now != k.told {
		k.caught = false // another hand has turned it
	}
	if !k.caught {
		k.caught = math.Abs(value-stands) < 0.01 || (was-stands)*(value-stands) < 0
	}
	if !k.caught {
		return
	}
	t.value = knobValue(m.Param, value)
	if err := p.set(t); err != nil {
		p.problem(mapping.Problem{Where: panelSource, Text: err.Error()})
		return
	}
	k.told, _, _ = p.rack.Value(a)
}

// knobValue is where a knob's travel, 0 … 1, sets a param, and knobTravel the
// other way round.
func knobValue(s *instrument.ParamSpec, travel float64) float64 {
	if s.Curve == instrument.Exponential && s.Min > 0 {
		return s.Clamp(s.Min * math.Pow(s.Max/s.Min, travel))
	}
	return s.Clamp(s.Min + travel*(s.Max-s.Min))
}

func knobTravel(s *instrument.ParamSpec, v float64) float64 {
	if s.Curve == instrument.Exponential && s.Min > 0 {
		return math.Log(v/s.Min) / math.Log(s.Max/s.Min)
	}
	return (v - s.Min) / (s.Max - s.Min)
}

// showPanel tells a panel what its lights show.
func (p *player) showPanel(id instrument.ModuleID) {
	m := p.rack.Patch().Module(id)
	if m == nil {
		return
	}
	for _, j := range m.Spec().Outputs {
		a := mapping.AddressOf(id, j.Name)
		if v, _, err := p.rack.Value(a); err == nil {
			p.panels.Show(string(id), j.Name, v/instrument.GateVolts)
		}
	}
}

// changed shows a voltage on the panel of its module.
func (s *panels) changed(a mapping.Address, volts float64) {
	if s == nil {
		return
	}
	if id, jack, err := a.Split(); err == nil && s.played[id] {
		s.Show(string(id), jack, volts/instrument.GateVolts)
	}
}

// rebind asks anew which panel is which module.
func (s *panels) rebind() {
	if s != nil {
		go landed(func() { s.Rebind() }) // it asks the control goroutine
	}
}

// panelPort takes over that a MIDI port came or went that a panel may be behind.
func (p *player) panelPort(name string, out, there bool) {
	s := p.panels
	if s == nil {
		return
	}
	if !there {
		if m := s.midi[name]; m != nil {
			delete(s.midi, name)
			go m.Close()
		}
		return
	}
	if !out || s.midi[name] != nil {
		return
	}
	for _, pattern := range s.patterns {
		if midiport.Match(pattern, name) {
			s.midi[name] = s.Attach(name, func(b []byte) error {
				return p.midi.hub.Send(name, time.Time{}, midi.Message{SysEx: b})
			})
			return
		}
	}
}

// panelSays takes an exclusive message that is a panel's, and tells whether it
// was.
func (p *player) panelSays(name string, m midi.Message) bool {
	if p.panels == nil || !port.Ours(m.SysEx) {
		return false
	}
	if line := p.panels.midi[name]; line != nil {
		line.Receive(m.SysEx)
	}
	return true
}

func (s *panels) close() {
	if s != nil {
		_ = s.Close()
	}
}

// lines tells of the panels' lines.
func (s *panels) lines() []port.Info {
	if s == nil {
		return nil
	}
	return s.List()
}
