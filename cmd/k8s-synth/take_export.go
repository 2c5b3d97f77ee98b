package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"gitlab.com/gomidi/midi/v2/smf"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// csvColumns are those of an exported table of events; TAKES.md says what each
// holds.
var csvColumns = []string{"time", "seconds", "frame", "heard", "kind", "object", "namespace", "field", "old", "new", "source", "owner", "revision", "quiet"}

// exportCSV writes what happened as a table (RFC 4180), a row an event. What
// the engine made of it is left out.
func exportCSV(t *scenes.TakeReader, to io.Writer) (rows int, err error) {
	w := csv.NewWriter(to)
	w.UseCRLF = true
	if err := w.Write(csvColumns); err != nil {
		return 0, err
	}
	for {
		l, err := t.Next()
		if errors.Is(err, io.EOF) {
			w.Flush()
			return rows, w.Error()
		}
		if err != nil {
			return rows, err
		}
		row := csvRow(t, &l)
		if row == nil {
			continue
		}
		rows++
		for i := range row {
			row[i] = plainCell(row[i])
		}
		if err := w.Write(row); err != nil {
			return rows, err
		}
	}
}

// plainCell makes text that a spreadsheet would take for a formula one that it
// does not: names come from others' clusters. Numbers stay as they are.
func plainCell(text string) string {
	if text == "" || !strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return text
	}
	if strings.Trim(text[1:], "0123456789.eE+-") == "" {
		if _, err := strconv.ParseFloat(text, 64); err == nil && text[0] != '+' {
			return text
		}
	}
	return "'" + text
}

// csvRow is a line as a row, nil for one that is no event.
func csvRow(t *scenes.TakeReader, l *scenes.TakeLine) []string {
	kind, object := l.Object()
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	var namespace, field, old, text, owner, revision, quiet string
	source := l.Source
	in := &l.Input
	switch {
	case l.Plan != nil, l.Applied != nil:
		return nil
	case l.Transition != nil:
		tr := l.Transition
		namespace, field, old, text, owner = tr.Object.Namespace, tr.Field, tr.Old, tr.New, tr.Owner
		source = sourceOf(*tr)
		if tr.Revision != 0 {
			revision = strconv.FormatInt(tr.Revision, 10)
		}
		if tr.Quiet {
			quiet = "true"
		}
	case l.Set != nil:
		if id, name, err := l.Set.Address.Split(); err == nil {
			object, field = string(id), name
		}
		old, text = number(l.Set.Was.Value), number(l.Set.Value)
		if l.Set.Word != "" || l.Set.Was.Word != "" {
			old, text = l.Set.Was.Word, l.Set.Word
		}
	case l.MIDI != nil:
		field, text = "message", fmt.Sprintf("% x", l.MIDI.Message.Bytes(nil))
	case l.Scene != "":
		if s, err := t.Scene(l.Scene); err == nil {
			object = s.Name
		}
		field, text = "launch", strconv.FormatBool(l.Launch)
	case l.Action != nil:
		field, text, namespace = "verb", strings.TrimSpace(l.Action.Verb+" "+l.Action.Path), l.Action.Object.Namespace
	case l.Lost > 0:
		field, text = "lines", strconv.FormatUint(l.Lost, 10)
	case l.Frames > 0:
		field, text = "frames", strconv.FormatInt(l.Frames, 10)
	default:
		text = in.String()
	}
	frame := cmp.Or(l.Frame, l.Present)
	return []string{t.Head.Time.Add(l.At).UTC().Format("2006-01-02T15:04:05.000000Z"), strconv.FormatFloat(l.At.Seconds(), 'f', 6, 64), strconv.FormatInt(frame, 10),
		strconv.FormatFloat(float64(frame)/float64(t.Head.Rate), 'f', 6, 64), kind, object, namespace, field, old, text, source, owner, revision, quiet}
}

// score is a Standard MIDI File in the making: events at frames, by track.
type score struct {
	rate   float64
	tracks map[string][]scoreEvent
	tempo  []tempoChange
	knobs  map[mapping.Address]uint8
	used   map[string]int // controllers by track
	notes  int
	open   [instrument.MaxPoly]openNote // of the rules
	began  [instrument.MaxPoly][]int64  // when their last notes did
	beat   []int64                      // of the Clock
	gates  map[string]*gateEar          // by track and channel
	volts  map[string]int               // of CVs likewise, as they were told last
}

type scoreEvent struct {
	frame int64
	order int // at one frame: ends before beginnings
	data  []byte
}

type tempoChange struct {
	frame int64
	bpm   float64
}

type openNote struct {
	key uint8
	off int64
	on  bool
}

const (
	scoreConductor = "conductor"
	ticksPerBeat   = 960
	restingTempo   = 120 // BPM, of a scene without a Clock
)

func (s *score) add(track string, frame int64, order int, data []byte) {
	s.tracks[track] = append(s.tracks[track], scoreEvent{max(frame, 0), order, data})
}

// note takes a note of a rule. A channel has one at a time.
func (s *score) note(channel int, note, velocity float64, on, off int64) {
	key := uint8(min(max(math.Round(note), 0), 127))
	s.began[channel] = append(s.began[channel], on)
	track := fmt.Sprintf("rules %02d", channel+1)
	s.end(channel, on)
	s.add(track, on, 1, []byte{midi.NoteOn | byte(channel), key, uint8(min(max(velocity, 1), 127))})
	s.open[channel] = openNote{key: key, off: off, on: true}
	s.notes++
}

// end ends the note of a channel at its end, or where the next begins.
func (s *score) end(channel int, next int64) {
	o := &s.open[channel]
	if o.on {
		o.on = false
		s.add(fmt.Sprintf("rules %02d", channel+1), min(o.off, next), 0, []byte{midi.NoteOff | byte(channel), o.key, 64})
	}
}

// gateEar is a gate that is listened to.
type gateEar struct {
	gate    dsp.SchmittTrigger
	channel int
	track   string
	on      bool
}

const (
	gateKey      = 60 // of a gate without a pitch
	gateVelocity = 100
	// cvControl is the controller of a CV, with its lower seven bits 32 above it:
	// −10 … +10 V are 0 … 16383, and 0 V is 8192.
	cvControl = 16
	// cvEvery is how often a CV is told, in seconds, at most.
	cvEvery = 0.020
)

// gate takes the volts of a gate from a frame on: each time that it is high is a
// note, unless it is a note of its own.
func (s *score) gate(track string, channel int, frame int64, volts []float32, note func(frame int64) bool) {
	key := fmt.Sprintf("%s/%d", track, channel)
	g := s.gates[key]
	if g == nil {
		g = &gateEar{track: track, channel: channel}
		s.gates[key] = g
	}
	for i, v := range volts {
		was := g.gate.High()
		g.gate.Next(v)
		switch high, at := g.gate.High(), frame+int64(i); {
		case high && !was && (note == nil || !note(at)):
			g.on = true
			s.notes++
			s.add(track, at, 1, []byte{midi.NoteOn | byte(channel), gateKey, gateVelocity})
		case was && !high && g.on:
			g.on = false
			s.add(track, at, 0, []byte{midi.NoteOff | byte(channel), gateKey, 64})
		}
	}
}

// cv takes the volts of a CV at a frame.
func (s *score) cv(track string, channel int, frame int64, volts float32) {
	key := fmt.Sprintf("%s/%d", track, channel)
	v := int(min(max(math.Round(8192+float64(volts)*819.2), 0), 16383))
	was, told := s.volts[key]
	if told && was == v {
		return
	}
	if !told {
		s.add(track, 0, 0, smf.MetaText(fmt.Sprintf("cc %d and %d of channel %d, 14 bits: −10 … +10 V are 0 … 16383, 0 V is 8192", cvControl, cvControl+32, channel+1)))
	}
	s.volts[key] = v
	s.add(track, frame, 1, []byte{midi.ControlChange | byte(channel), cvControl, byte(v >> 7)})
	s.add(track, frame, 1, []byte{midi.ControlChange | byte(channel), cvControl + 32, byte(v & 0x7f)})
}

// ownNote tells whether a gate of a channel that rises is a note of a rule.
func (s *score) ownNote(channel int, frame int64) bool {
	b := s.began[channel]
	for len(b) > 0 && b[0] < frame-instrument.BlockSize {
		b = b[1:]
	}
	s.began[channel] = b
	return len(b) > 0 && b[0] <= frame+instrument.BlockSize
}

// slice listens to the rules' modules and to the Clock of a patch, in the slice
// that was rendered.
func (s *score) slice(e *instrument.Engine, patch *instrument.Patch, n int) {
	frame, every := e.Frame(), int64(cvEvery*s.rate)
	clock, rules := false, false
	for i := range patch.Modules {
		id := patch.Modules[i].ID
		switch kind := id.Kind(); {
		case kind == "clock" && !clock:
			clock = true
			if b := e.Output(id, "beat"); b != nil {
				for i, v := range b.Volts[0][:n] {
					if at := frame + int64(i); v > 1 && (len(s.beat) == 0 || at-s.beat[len(s.beat)-1] > int64(s.rate/100)) {
						s.beat = append(s.beat, at)
					}
				}
			}
		case kind == "rule" && !rules:
			rules = true // all of them say the same
			if g := e.Output(id, "gate"); g != nil {
				for c := range min(g.Channels, instrument.MaxPoly) {
					s.gate("gates of rules", c, frame, g.Volts[c][:n], func(at int64) bool { return s.ownNote(c, at) })
				}
			}
			if v := e.Output(id, "cv"); v != nil && frame/every != (frame+int64(n))/every {
				for c := range min(v.Channels, instrument.MaxPoly) {
					if _, told := s.volts[fmt.Sprintf("cv of rules/%d", c)]; told || v.Volts[c][n-1] != 0 {
						s.cv("cv of rules", c, frame+int64(n)-1, v.Volts[c][n-1])
					}
				}
			}
		}
	}
}

// message takes a channel message of a port.
func (s *score) message(track string, m midi.Message, frame int64) {
	switch {
	case m.IsChannel():
		order := 1
		if m.IsNoteOff() {
			order = 0
		} else if m.IsNoteOn() {
			s.notes++
		}
		s.add(track, frame, order, m.Bytes(nil))
	case m.Size == 0 && len(m.SysEx) > 2:
		s.add(track, frame, 1, m.SysEx)
	}
	// What is not of a channel has no place in a file: its tempo is the Clock's.
}

// controllers are the numbers that a module's knobs get, in order: those that
// have no meaning that a synthesiser would follow.
var controllers = func() (all []uint8) {
	for _, span := range [][2]uint8{{14, 31}, {102, 119}, {75, 90}, {20, 20}} {
		for n := span[0]; n <= span[1]; n++ {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
	}
	return all
}()

// turn takes a knob that was turned.
func (s *score) turn(in *mapping.Input, frame int64) {
	id, name, err := in.Set.Address.Split()
	if err != nil {
		return
	}
	track := "knobs " + string(id)
	spec := instrument.Spec(id.Kind())
	if spec == nil {
		return
	}
	k := spec.Param(name)
	if k < 0 || spec.Params[k].Text {
		text := fmt.Sprintf("%s %s", in.Set.Address, in.Set.Word)
		if k < 0 {
			text = fmt.Sprintf("%s %g V", in.Set.Address, in.Set.Value)
		}
		s.add(track, frame, 1, smf.MetaText(text))
		return
	}
	p := &spec.Params[k]
	value := in.Set.Value
	if in.Set.Word != "" {
		if value, err = p.Choice(in.Set.Word); err != nil {
			return
		}
	}
	scaled := func(v float64) uint8 {
		if p.Max <= p.Min {
			return 0
		}
		return uint8(math.Round(127 * min(max((v-p.Min)/(p.Max-p.Min), 0), 1)))
	}
	number, known := s.knobs[in.Set.Address]
	if !known {
		n := s.used[track]
		if n >= len(controllers) {
			s.add(track, frame, 1, smf.MetaText(fmt.Sprintf("%s %g", in.Set.Address, value)))
			return
		}
		number = controllers[n]
		s.knobs[in.Set.Address], s.used[track] = number, n+1
		s.add(track, 0, 0, smf.MetaText(fmt.Sprintf("cc %d is %s, %s", number, in.Set.Address, p.Range())))
		s.add(track, 0, 1, []byte{midi.ControlChange, number, scaled(in.Set.Was.Value)})
	}
	s.add(track, frame, 1, []byte{midi.ControlChange, number, scaled(value)})
	if id.Kind() == "clock" && name == "tempo" {
		s.tempo = append(s.tempo, tempoChange{frame, value})
	}
}

// tells are the fields of the cluster's objects that a marker is for.
var tells = []string{mapping.FieldExists, mapping.FieldDeleting, mapping.FieldPhase, mapping.FieldReady, mapping.FieldReason, mapping.FieldRestarts, mapping.FieldReplicas, mapping.FieldCordoned,
	mapping.FieldPressure, mapping.FieldTick, mapping.FieldComplete, mapping.FieldReachable, mapping.FieldBoot, mapping.FieldLimited, mapping.FieldDesired}

func (s *score) line(t *scenes.TakeReader, l *scenes.TakeLine, frame int64) {
	at := frame
	if l.Frame > 0 {
		at = l.Frame
	}
	in := &l.Input
	switch {
	case l.Transition != nil:
		if tr := l.Transition; !tr.Quiet && slices.Contains(tells, tr.Field) {
			s.add(scoreConductor, at, 1, smf.MetaMarker(in.String()))
		}
	case l.Set != nil:
		s.turn(in, at)
	case l.MIDI != nil:
		s.message("in "+l.MIDI.Port, l.MIDI.Message, at)
	case l.Scene != "":
		if sc, err := t.Scene(l.Scene); err == nil {
			s.add(scoreConductor, at, 1, smf.MetaMarker("scene "+sc.Name))
			if bpm := tempoOf(sc.Patch); bpm > 0 {
				s.tempo = append(s.tempo, tempoChange{at, bpm})
			}
		}
	case l.Wiring != nil, l.Panic, l.Mode != nil, l.Edit != nil, l.Sensed != nil:
		s.add(scoreConductor, at, 1, smf.MetaMarker(in.String()))
	}
}

// tempoOf is that of the first Clock, 0 without one.
func tempoOf(p *instrument.Patch) float64 {
	for i := range p.Modules {
		if m := &p.Modules[i]; m.ID.Kind() == "clock" {
			return m.Value("tempo")
		}
	}
	return 0
}

// micros is a tempo as a file has it: whole microseconds a beat.
func micros(bpm float64) int64 { return int64(min(max(math.Round(60e6/bpm), 1), 1<<24-1)) }

// ticks returns when a frame is, by the tempo as a reader of the file knows it:
// what is rounded at one change is made up for after it.
func (s *score) ticks() func(frame int64) int64 {
	slices.SortStableFunc(s.tempo, func(a, b tempoChange) int { return cmp.Compare(a.frame, b.frame) })
	type start struct {
		tick    int64
		seconds float64 // when a reader is there
	}
	starts := make([]start, len(s.tempo))
	per := func(i int) float64 { return float64(micros(s.tempo[i].bpm)) / 1e6 / ticksPerBeat } // seconds
	at := func(i int, frame int64) int64 {
		if frame == s.tempo[i].frame {
			return starts[i].tick
		}
		return starts[i].tick + max(int64(math.Round((float64(frame)/s.rate-starts[i].seconds)/per(i))), 0)
	}
	for i := 1; i < len(s.tempo); i++ {
		t := at(i-1, s.tempo[i].frame)
		starts[i] = start{t, starts[i-1].seconds + float64(t-starts[i-1].tick)*per(i-1)}
	}
	return func(frame int64) int64 {
		// Of several at one frame the last counts.
		i, _ := slices.BinarySearchFunc(s.tempo, frame+1, func(c tempoChange, f int64) int { return cmp.Compare(c.frame, f) })
		return at(max(i-1, 0), frame)
	}
}

// beats makes the tempo that of the Clock's beats where that is another one than
// its knob says: it follows another clock, or a voltage.
func (s *score) beats() {
	knobs := slices.Clone(s.tempo)
	slices.SortStableFunc(knobs, func(a, b tempoChange) int { return cmp.Compare(a.frame, b.frame) })
	knob, other := 0, false
	for i := 0; i+1 < len(s.beat); i++ {
		from, to := s.beat[i], s.beat[i+1]
		for knob+1 < len(knobs) && knobs[knob+1].frame <= from {
			knob++
		}
		if knob+1 < len(knobs) && knobs[knob+1].frame < to {
			other = false // it was turned meanwhile
			continue
		}
		whole := 60 / knobs[knob].bpm * s.rate
		is := float64(to - from)
		bpm := 60 * s.rate / is
		switch {
		case math.Abs(is-whole) > max(8, whole/200) && bpm >= 5 && bpm <= 1000:
			s.tempo, other = append(s.tempo, tempoChange{from, bpm}), true
		case other:
			s.tempo, other = append(s.tempo, tempoChange{from, knobs[knob].bpm}), false
		}
	}
}

// file makes the Standard MIDI File.
func (s *score) file(end int64) (*smf.SMF, error) {
	for c := range s.open {
		s.end(c, math.MaxInt64)
	}
	for _, key := range slices.Sorted(maps.Keys(s.gates)) { // one take makes one file
		if g := s.gates[key]; g.on {
			g.on = false
			s.add(g.track, end, 0, []byte{midi.NoteOff | byte(g.channel), gateKey, 64})
		}
	}
	s.beats()
	tick := s.ticks()
	for _, c := range s.tempo {
		m := micros(c.bpm)
		s.add(scoreConductor, c.frame, 0, []byte{0xFF, 0x51, 3, byte(m >> 16), byte(m >> 8), byte(m)})
	}
	names := slices.Sorted(maps.Keys(s.tracks))
	names = slices.DeleteFunc(names, func(n string) bool { return n == scoreConductor })
	f := smf.NewSMF1()
	f.TimeFormat = smf.MetricTicks(ticksPerBeat)
	for _, name := range append([]string{scoreConductor}, names...) {
		events := s.tracks[name]
		slices.SortStableFunc(events, func(a, b scoreEvent) int { return cmp.Or(cmp.Compare(a.frame, b.frame), cmp.Compare(a.order, b.order)) })
		var t smf.Track
		t.Add(0, smf.MetaTrackSequenceName(name))
		last := int64(0)
		for _, e := range events {
			at := max(tick(e.frame), last)
			t.Add(uint32(at-last), e.data)
			last = at
		}
		t.Close(uint32(max(tick(end)-last, 0)))
		if err := f.Add(t); err != nil {
			return nil, fmt.Errorf("track %s: %w", name, err)
		}
	}
	return f, nil
}

// exportMIDI plays a take anew and writes what could be played elsewhere: the
// notes, gates and CVs of rules, what goes out by MIDI Outs and rules, what CV
// Outs and Gate Outs send, what came in, knobs as controllers, and the cluster as
// markers.
func exportMIDI(ctx context.Context, take string, scene *scenes.Scene, to io.Writer) (s *score, err error) {
	jacks, err := outlets(take, scene)
	if err != nil {
		return nil, err
	}
	t, err := scenes.OpenTake(take)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	at, extra := jackChannels(t, jacks)
	src, err := takeSourceOf(t, scene, 0, takeHow{anew: true}, extra, takeTail)
	if err != nil {
		return nil, err
	}
	defer src.close()
	p := src.anew
	s = newScore(float64(src.rate))
	s.tempo = append(s.tempo, tempoChange{0, cmp.Or(tempoOf(p.scene.Patch), restingTempo)})
	s.add(scoreConductor, 0, 0, smf.MetaText(fmt.Sprintf("%s, recorded %s by %s", filepath.Base(take), t.Head.Time.Format(time.RFC3339), cmp.Or(t.Head.Program, t.Head.From))))
	p.heard = func(l *scenes.TakeLine, frame int64) { s.line(t, l, frame) }
	p.rack.Noted = s.note
	p.midiOut(func(port string, m midi.Message, frame int64) { s.message("out "+cmp.Or(port, "all"), m, frame) })
	src.engine.Sliced = func(n int) { s.slice(src.engine, p.rack.Patch(), n) }
	names := slices.Sorted(maps.Keys(jacks))
	every, frame := int64(cvEvery*s.rate), int64(0)
	frames, err := pour(ctx, src, take, 0, func(block [][]float32) error {
		n := int64(len(block[0]))
		for _, name := range names {
			c := at[name]
			switch {
			case jacks[name] == "gate_out":
				s.gate("gate "+name, 0, frame, block[c], nil)
			case frame/every != (frame+n)/every:
				s.cv("cv "+name, 0, frame+n-1, block[c][n-1])
			}
		}
		frame += n
		return nil
	})
	if err != nil {
		return nil, err
	}
	f, err := s.file(frames)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteTo(to)
	return s, err
}

func newScore(rate float64) *score {
	return &score{rate: rate, tracks: map[string][]scoreEvent{}, knobs: map[mapping.Address]uint8{}, used: map[string]int{}, gates: map[string]*gateEar{}, volts: map[string]int{}}
}

// jackChannels is where jacks are among the channels of a take, and those that the
// rig did not have: they come after them.
func jackChannels(t *scenes.TakeReader, jacks map[string]string) (at map[string]int, extra []string) {
	at = map[string]int{}
	if t.Head.Sockets != nil {
		maps.Copy(at, t.Head.Sockets.Outputs)
	}
	for _, name := range slices.Sorted(maps.Keys(jacks)) {
		if _, ok := at[name]; !ok {
			at[name] = t.Head.Channels + len(extra)
			extra = append(extra, name)
		}
	}
	return at, extra
}

// cvFullScale is the volts of a sample of 1 in a file of a CV.
const cvFullScale = 10

// outlets are the jacks that the CV Outs and Gate Outs of a take's scenes and
// edits name, with the kind of the module.
func outlets(path string, scene *scenes.Scene) (map[string]string, error) {
	t, err := scenes.OpenTake(path)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	names := map[string]string{}
	see := func(modules []instrument.Module) {
		for i := range modules {
			m := &modules[i]
			if k := m.ID.Kind(); k == "cv_out" || k == "gate_out" {
				for _, name := range m.Jacks() {
					names[name] = k
				}
			}
		}
	}
	if scene == nil && t.Head.Scene != "" {
		if scene, err = t.Scene(t.Head.Scene); err != nil {
			return nil, err
		}
	}
	if scene != nil {
		see(scene.Patch.Modules)
	}
	for {
		l, err := t.Next()
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
		switch {
		case l.Plan != nil:
			see(l.Plan.Patch.Modules)
		case l.Wiring != nil:
			see(l.Wiring.Added)
		case l.Set != nil && l.Set.Word != "" && strings.HasSuffix(string(l.Set.Address), "/jack"):
			if id, _, err := l.Set.Address.Split(); err == nil {
				see([]instrument.Module{{ID: id, Text: map[string]string{"jack": l.Set.Word}}})
			}
		case l.Scene != "":
			s, err := t.Scene(l.Scene)
			if err != nil {
				return nil, err
			}
			see(s.Patch.Modules)
		}
	}
}

// multitrack writes a mono file for each of the engine's channels, and one for
// each output of a module that plays.
type multitrack struct {
	dir   string
	rate  int
	files []*trackFile
	stems map[string]*trackFile
	order []*trackFile
	at    int64 // frames that are written
	done  int   // frames of the block that were seen in slices
	err   error
	mix   [instrument.BlockSize]float32
}

type trackFile struct {
	name, what string
	scale      float64 // volts of a sample of 1
	w          *hardware.WAVWriter
	block      [instrument.BlockSize]float32
}

// stemKinds are the kinds of modules that play by themselves, or bring in what
// others play.
func stemKinds(kind string) bool {
	switch kind {
	case "pod", "etcd", "vco", "voice", "noise", "drum", "audio_in", "cv_in", "midi_in", "rule":
		return true
	}
	return false
}

var fileName = strings.NewReplacer("/", "-", `\`, "-", ":", "-", " ", "-")

// maxStems is how many files of stems there are at most: each is open.
const maxStems = 512

func (m *multitrack) create(name, what string, scale float64) (*trackFile, error) {
	w, err := hardware.CreateWAV(filepath.Join(m.dir, name+".wav"), m.rate, 1)
	if err != nil {
		return nil, err
	}
	f := &trackFile{name: name, what: what, scale: scale, w: w}
	m.order = append(m.order, f)
	// All files begin where the take begins.
	var zero [1][]float32
	zero[0] = make([]float32, 4096)
	for left := m.at; left > 0 && err == nil; left -= int64(len(zero[0])) {
		zero[0] = zero[0][:min(left, 4096)]
		err = w.WritePlanar(zero[:], 1)
	}
	return f, err
}

// stem returns the file of a stem, nil where there can be no more.
func (m *multitrack) stem(name, what string, scale float64) *trackFile {
	name = fileName.Replace(name)
	f := m.stems[name]
	if f == nil {
		var err error
		if len(m.stems) >= maxStems {
			err = fmt.Errorf("the take has more than %d stems; export it without --stems", maxStems)
		} else {
			f, err = m.create(name, what, scale)
		}
		if err != nil {
			m.err = errors.Join(m.err, err)
			return nil
		}
		m.stems[name] = f
	}
	return f
}

// slice keeps what the sources put out in the slice that was rendered: of sound
// the sum of its channels, of voltages each channel.
func (m *multitrack) slice(e *instrument.Engine, patch func() *instrument.Patch, n int) {
	if m.err != nil {
		return
	}
	from := m.done
	m.done += n
	p := patch()
	seen := map[instrument.JackRef]bool{}
	for _, c := range p.Cables {
		kind := c.From.Module.Kind()
		if seen[c.From] || !stemKinds(kind) {
			continue
		}
		seen[c.From] = true
		spec := instrument.Spec(kind)
		k := spec.Output(c.From.Jack)
		s := e.Output(c.From.Module, c.From.Jack)
		if k < 0 || s == nil {
			continue
		}
		name := "stem-" + c.From.String()
		if spec.Outputs[k].Kind == instrument.Audio {
			f := m.stem(name, "sound of "+c.From.String(), instrument.AudioVolts)
			if f == nil {
				return
			}
			mix := m.mix[:n]
			clear(mix)
			for ch := range s.Channels {
				for i, v := range s.Volts[ch][:n] {
					mix[i] += v
				}
			}
			copy(f.block[from:], mix)
			continue
		}
		// A chord's pitches are no sum: a file a channel.
		if kind == "pod" || kind == "etcd" {
			continue // what the cluster does is in the table, and the score
		}
		for ch := range s.Channels {
			suffix, what := "", "voltage of "+c.From.String()
			if ch > 0 {
				suffix, what = fmt.Sprintf("-channel-%d", ch+1), fmt.Sprintf("%s, channel %d", what, ch+1)
			}
			f := m.stem(name+suffix, what, cvFullScale)
			if f == nil {
				return
			}
			copy(f.block[from:from+n], s.Volts[ch][:n])
		}
	}
}

// write writes a block.
func (m *multitrack) write(block [][]float32) error {
	n := len(block[0])
	for c, f := range m.files {
		if err := f.w.WritePlanar(block[c:c+1], float32(f.scale)); err != nil {
			return err
		}
	}
	for _, f := range m.stems {
		if err := f.w.WritePlanar([][]float32{f.block[:n]}, float32(f.scale)); err != nil {
			return err
		}
		clear(f.block[:])
	}
	m.at += int64(n)
	m.done = 0
	return m.err
}

// levelsFile tells of each file what it holds and at which level.
const levelsFile = "levels.csv"

// levels writes that.
func (m *multitrack) levels() error {
	f, err := os.Create(filepath.Join(m.dir, levelsFile))
	if err != nil {
		return err
	}
	w := csv.NewWriter(f)
	w.UseCRLF = true
	err = w.Write([]string{"file", "what", "volts", "rate", "frames"})
	for _, t := range m.order {
		if err == nil {
			err = w.Write([]string{plainCell(t.name + ".wav"), plainCell(t.what), strconv.FormatFloat(t.scale, 'g', -1, 64), strconv.Itoa(m.rate), strconv.FormatInt(m.at, 10)})
		}
	}
	w.Flush()
	return errors.Join(err, w.Error(), f.Close())
}

// exportWAV renders a take into a folder, a mono file a channel: what speakers
// get over 5 V, what gear gets over 10 V. Stems writes what each module that
// plays puts out besides. The files come to be in a folder beside it, and are in
// theirs when all are whole; force replaces those that are there.
func exportWAV(ctx context.Context, take string, scene *scenes.Scene, how takeHow, dir string, stems, force bool) (names []string, src *takeSource, frames int64, err error) {
	jacks, err := outlets(take, scene)
	if err != nil {
		return nil, nil, 0, err
	}
	t, err := scenes.OpenTake(take)
	if err != nil {
		return nil, nil, 0, err
	}
	defer t.Close()
	place, extra := jackChannels(t, jacks)
	if src, err = takeSourceOf(t, scene, 0, how, extra, takeTail); err != nil {
		return nil, nil, 0, err
	}
	defer src.close()
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, nil, 0, err
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".*.part")
	if err != nil {
		return nil, nil, 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(part)) }()
	m := &multitrack{dir: part, rate: src.rate, stems: map[string]*trackFile{}}
	closed := false
	closeAll := func() (err error) {
		if !closed {
			closed = true
			for _, f := range m.order {
				err = errors.Join(err, f.w.Close())
			}
		}
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	at := map[int]string{}
	for _, name := range slices.Sorted(maps.Keys(place)) { // two may be on one channel
		at[place[name]] = name
	}
	for c := range src.channel {
		name, what, scale := fmt.Sprintf("%02d-speaker-%d", c+1, c+1), fmt.Sprintf("speaker %d", c+1), float64(instrument.AudioVolts)
		if jack, ok := at[c]; ok {
			name, what, scale = fmt.Sprintf("%02d-cv-%s", c+1, fileName.Replace(jack)), "jack "+jack, cvFullScale
		} else if c >= speakers(&t.Head) {
			name, what, scale = fmt.Sprintf("%02d-channel-%d", c+1, c+1), fmt.Sprintf("channel %d", c+1), cvFullScale
		}
		f, err := m.create(name, what, scale)
		if err != nil {
			return nil, nil, 0, err
		}
		m.files = append(m.files, f)
	}
	if stems {
		patch := func() *instrument.Patch { return src.anew.rack.Patch() }
		if src.exact {
			patch = src.sound.Patch
		}
		src.engine.Sliced = func(n int) { m.slice(src.engine, patch, n) }
	}
	if frames, err = pour(ctx, src, take, 0, m.write); err != nil {
		return nil, nil, 0, err
	}
	if err = errors.Join(closeAll(), m.levels()); err != nil {
		return nil, nil, 0, err
	}
	if err = settleFolder(part, dir, force); err != nil {
		return nil, nil, 0, err
	}
	for _, f := range m.order {
		names = append(names, f.name+".wav")
	}
	return names, src, frames, nil
}

// settleFolder puts a folder that is whole into its place, or its files into one
// that is there.
func settleFolder(part, dir string, force bool) error {
	if err := os.Chmod(part, 0o755); err != nil {
		return err
	}
	files, err := os.ReadDir(part)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := syncFile(filepath.Join(part, f.Name())); err != nil {
			return err
		}
	}
	if err := syncFolder(part); err != nil {
		return err
	}
	// An empty one gives way.
	if err = os.Rename(part, dir); err == nil {
		return syncFolder(filepath.Dir(dir))
	}
	info, there := os.Stat(dir)
	if there != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is no folder", dir)
	}
	if !force {
		for _, f := range files {
			if err := free(filepath.Join(dir, f.Name()), false); err != nil {
				return err
			}
		}
	}
	for _, f := range files {
		if err := os.Rename(filepath.Join(part, f.Name()), filepath.Join(dir, f.Name())); err != nil {
			return err
		}
	}
	return syncFolder(dir)
}
