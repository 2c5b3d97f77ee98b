package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware/calibration"
	"github.com/k8s-synth/k8s-synth/hardware/rig"
	"github.com/k8s-synth/k8s-synth/hardware/sense"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// defaultRig is the rig that is used, where there is one of this name, if none
// was named.
const defaultRig = "default"

// configDir is the folder of the player's own files of a kind, beside that of
// scenes; empty where the system has none.
func configDir(kind string) string {
	dir, err := scenes.DefaultDir()
	if err != nil {
		return ""
	}
	return filepath.Join(filepath.Dir(dir), kind)
}

func rigLibrary() rig.Library             { return rig.Library{Dir: configDir("rigs")} }
func calibrationStore() calibration.Store { return calibration.Store{Dir: configDir("calibrations")} }

// openRig returns the rig of a name or path; none for off, and where no name
// was given and there is no default one.
func openRig(name string) (*rig.Rig, error) {
	switch name {
	case off:
		return nil, nil
	case "":
		r, err := rigLibrary().Open(defaultRig)
		if errors.Is(err, rig.ErrNotFound) {
			return nil, nil
		}
		return r, err
	}
	return rigLibrary().Open(name)
}

// openCase makes the device one of the rig that was named. It is called
// before the rack and the device are made. Changed tells whether a flag was
// given; what was given comes before what the rig says.
func (p *player) openCase() error {
	r, err := openRig(p.o.rig)
	if err != nil {
		return fmt.Errorf("rig: %w", err)
	}
	if r == nil {
		if p.o.sense {
			return usageError{errors.New("--sense looks for cables between the jacks of a rig; name one with --rig")}
		}
		return nil
	}
	given := p.o.device
	d := r.Device.Settings(given)
	for flag, back := range map[string]func(){
		"rate": func() { d.Rate = given.Rate }, "period": func() { d.Period = given.Period }, "depth": func() { d.Depth = given.Depth },
		"device": func() { d.Device = given.Device }, "backend": func() { d.Backend = given.Backend },
	} {
		if slices.Contains(p.o.changed, flag) {
			back()
		}
	}
	if slices.Contains(p.o.changed, "device") && !slices.Contains(p.o.changed, "backend") {
		d.Backend = given.Backend // an id of one system means nothing in another
	}
	if d.CaptureDevice == "" {
		d.CaptureDevice = r.Device.Capture
	}
	if p.box, err = rig.NewCase(r, float64(d.Rate), p.log); err != nil {
		return fmt.Errorf("rig %s: %w", r.Name, err)
	}
	d.Converter = p.box
	if p.o.device, err = d.ApplyDefaults(); err != nil {
		return fmt.Errorf("rig %s: %w", r.Name, err)
	}
	p.corrected = newCalibrations(p.box, calibrationStore())
	for _, n := range p.corrected.look(true, nil) {
		if n.err != nil {
			p.log.Warn("rig", "err", n.err)
		}
	}
	p.log.Info("rig", "name", r.Name, "interface", r.Interface.Title, "outputs", len(r.Outputs), "inputs", len(r.Inputs), "speakers", len(r.Speakers), "calibrated", strings.Join(p.corrected.done(), " "))
	return nil
}

// channels is how many outputs the engine has, and where the jacks of the rig
// are among them.
func (p *player) channels() (int, instrument.Sockets) {
	if p.box == nil {
		return p.o.device.Channels, instrument.Sockets{}
	}
	n, _, _, _ := p.box.Shape()
	return n, p.box.Sockets()
}

// glideSeconds is how long the voltages of a scene take to those of the next:
// a bang in somebody's speakers is a jump of volts in somebody's VCA.
const glideSeconds = 0.050

// glideEarly is how long before what it is for a glide begins, in seconds: the
// render goroutine may be some blocks further than it was.
const glideEarly = 0.008

// glide lets voltages ramp to where they are to be from a frame on, 0 for at
// once. Voltages do not take part in a crossfade of sounds: they jump where it
// begins.
func (p *player) glide(at int64) {
	if p.box == nil {
		return
	}
	wait := 0.0
	if at > 0 {
		wait = (float64(at)-p.device.Now()-float64(p.device.Ahead()))/float64(p.o.device.Rate) - glideEarly
	}
	p.box.GlideAfter(wait, glideSeconds)
}

// unhoused tells of modules whose jack the rig does not have: their cables lead
// nowhere.
func (p *player) unhoused() {
	if p.box == nil {
		return
	}
	s := p.box.Sockets()
	patch := p.rack.Patch()
	for i := range patch.Modules {
		m := &patch.Modules[i]
		jacks, what := s.Outputs, "output"
		if m.Spec().Captures {
			jacks, what = s.Inputs, "input"
		}
		for _, name := range m.Jacks() {
			if _, ok := jacks[name]; !ok {
				p.problem(mapping.Problem{Where: string(m.ID), Text: fmt.Sprintf("the rig %s has no %s named %s; name one of its jacks in the module's param jack", p.box.Rig().Name, what, name)})
			}
		}
	}
}

// openSensor looks for cables of the case, if that was asked for.
func (p *player) openSensor() error {
	if p.box == nil {
		return nil
	}
	c := sense.Config{Rate: p.o.device.Rate, Logger: p.log, Seed: rand.Uint64(), RoundTrip: p.lastRoundTrip()}
	for _, j := range p.box.OutputJacks() {
		c.Outputs = append(c.Outputs, sense.Output{Name: j.Name, Pitch: j.Role == rig.Pitch})
	}
	for _, j := range p.box.InputJacks() {
		c.Inputs = append(c.Inputs, j.Name)
	}
	if len(c.Outputs) == 0 || len(c.Inputs) == 0 {
		if p.o.sense {
			return usageError{fmt.Errorf("--sense looks for cables from outputs to inputs; the rig %s has %d outputs and %d inputs", p.box.Rig().Name, len(c.Outputs), len(c.Inputs))}
		}
		return nil
	}
	var err error
	if p.sensor, err = sense.NewSensor(c); err != nil {
		return fmt.Errorf("rig %s: %w", p.box.Rig().Name, err)
	}
	p.listenToCase(p.o.sense)
	return nil
}

// roundTripFile keeps how far it was from outputs to inputs when the rig was
// used last: a sensor that knows it hears the first cable sooner.
func (p *player) roundTripFile() string {
	return filepath.Join(p.dir, "round-trip-"+p.box.Rig().Name)
}

func (p *player) lastRoundTrip() int {
	text, err := os.ReadFile(p.roundTripFile())
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return max(n, 0)
}

// listenToCase begins or ends what the sensor adds to the outputs.
func (p *player) listenToCase(on bool) {
	p.sensor.Enable(on)
	if on {
		p.box.SetProbe(p.sensor)
	} else {
		p.box.SetProbe(nil)
	}
}

// sensed tells of cables that were plugged or pulled in the case.
func (p *player) sensed() <-chan sense.Event {
	if p.sensor == nil {
		return nil
	}
	return p.sensor.Events()
}

// cableSensed takes over one of them.
func (p *player) cableSensed(e sense.Event) {
	what := "unplugged"
	if e.On {
		what = "plugged"
	}
	p.web.says("case", e.Cable.Output, what+" "+e.Cable.Input)
	if n := e.Cable.Latency; e.On && n > 0 && n != p.roundTrip {
		p.roundTrip = n
		file := p.roundTripFile()
		go func() { _ = os.WriteFile(file, []byte(strconv.Itoa(n)), 0o600) }() // it is a hint, and no more
	}
	var pairs []mapping.SensedCable
	for _, c := range p.sensor.Cables() {
		pairs = append(pairs, mapping.SensedCable{Output: c.Output, Input: c.Input, Polarity: c.Polarity})
	}
	p.inCase(pairs)
}

// inCase takes over which cables there are in the case, where a hand has just
// plugged or pulled one.
func (p *player) inCase(pairs []mapping.SensedCable) {
	p.plugging = true
	p.rack.Sensed(pairs, p.present(time.Now()))
	p.plugging = false
}

// reopened takes over that the device was opened anew: the round trip may be
// another one, and gear has missed beats.
func (p *player) reopened() {
	if p.box == nil {
		return
	}
	if n := p.device.Stats().Reopens; n != p.reopens {
		p.reopens = n
		if p.sensor != nil {
			p.sensor.Begin()
		}
		p.lead(p.present(time.Now()))
	}
}

// leadAfter is how long after a start gear is told where the beat is, in
// seconds: voltages and gates need a moment to be there.
const leadAfter = 0.2

// lead resets the clocks of the rack at a frame, so that gear which follows one
// begins with it: what it sent while a device came up nobody has heard.
func (p *player) lead(frame int64) {
	if p.box == nil {
		return
	}
	patch := p.rack.Patch()
	for i := range patch.Modules {
		id := patch.Modules[i].ID
		if id.Kind() != "clock" || slices.ContainsFunc(patch.Cables, func(c instrument.Cable) bool {
			return c.To.Module == id && (c.To.Jack == "reset" || c.To.Jack == "clock")
		}) {
			continue // it is led itself
		}
		a := mapping.AddressOf(id, "reset")
		if err := p.rack.Set(a, instrument.GateVolts, "", "", frame); err == nil {
			_ = p.rack.Set(a, 0, "", "", frame+int64(triggerSeconds*float64(p.o.device.Rate))+1)
		}
	}
}

// setSense turns the sensing of cables on or off.
func (p *player) setSense(word string) error {
	if p.sensor == nil {
		return errors.New("there is no rig with outputs and inputs; name one with --rig")
	}
	on := word == "on" || word == "" && !p.sensor.Enabled()
	if word != "" && word != "on" && word != "off" {
		return fmt.Errorf("sensing is on or off, got %q", word)
	}
	p.listenToCase(on)
	p.log.Info("cable sensing", "on", on)
	if !on {
		p.rack.Sensed(nil, p.present(time.Now()))
	}
	return nil
}

// serveSense tells what is known of the cables of the case.
func (p *player) serveSense(w http.ResponseWriter, _ *http.Request) {
	if p.sensor == nil {
		http.Error(w, "the instrument plays without a rig, or with one that has no outputs or no inputs; start it with --rig", http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(p.sensor.Report())
}

// caseStatus is what is on the jacks of the rig.
type caseStatus struct {
	Rig  string       `json:"rig"`
	Jack []jackStatus `json:"jacks"`
}

type jackStatus struct {
	Name    string  `json:"name"`
	Input   bool    `json:"input,omitempty"`
	Role    string  `json:"role"`
	Volts   float64 `json:"volts"`
	Limited uint64  `json:"limitedSamples,omitempty"`
	Invalid uint64  `json:"invalidSamples,omitempty"`

	Calibration *calibrationStatus `json:"calibration,omitempty"`
}

func (p *player) caseStatus() *caseStatus {
	if p.box == nil {
		return nil
	}
	s := &caseStatus{Rig: p.box.Rig().Name}
	for _, j := range p.box.OutputJacks() {
		limited, invalid := p.box.Counters(j.Name)
		s.Jack = append(s.Jack, jackStatus{Name: j.Name, Role: j.Role.String(), Volts: float64(p.box.Sent(j.Name)), Limited: limited, Invalid: invalid, Calibration: p.corrected.status(j.Name)})
	}
	for _, j := range p.box.InputJacks() {
		_, invalid := p.box.Counters(j.Name)
		s.Jack = append(s.Jack, jackStatus{Name: j.Name, Input: true, Role: j.Role.String(), Volts: float64(p.box.Received(j.Name)), Invalid: invalid, Calibration: p.corrected.status(j.Name)})
	}
	return s
}
