package midi

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Midnam is what a DAW shows instead of numbers: the names of notes, controls
// and programs of one device, written as a MIDINameDocument (the .midnam file
// of Ardour, Digital Performer, Pro Tools, Logic and REAPER).
type Midnam struct {
	Author       string
	Manufacturer string
	Model        string
	// Mode is the name of the device's one mode; empty: "Default".
	Mode string
	// Sets are sets of names; each channel has the first set that lists it, and
	// those that none lists have the first set of all. There must be one at
	// least.
	Sets []MidnamSet
}

// MidnamSet is the names of the channels that share them.
type MidnamSet struct {
	Name     string // unique, not empty
	Channels []int  // 0…15; empty: all
	Notes    []MidnamNote
	Controls []MidnamControl
	Banks    []MidnamBank
}

// MidnamNote is the name of one key. Notes with the same Group, that follow
// each other, are shown together.
type MidnamNote struct {
	Number int // 0…127
	Name   string
	Group  string
}

// MidnamControl is the name of one control.
type MidnamControl struct {
	Kind   ControlKind
	Number int // 0…127, of Control14 0…31, of RPN and NRPN 0…16383
	Name   string
	// Values names some of its values, as positions of a switch.
	Values []MidnamValue
}

// MidnamValue is the name of one value of a control.
type MidnamValue struct {
	Number int
	Name   string
}

// MidnamBank is a bank of programs, as scenes.
type MidnamBank struct {
	Name string
	// Bank is the number of bank select, 0…16383, or −1 to select none.
	Bank     int
	Programs []MidnamProgram
}

// MidnamProgram is the name of one program.
type MidnamProgram struct {
	Number int // 0…127, as program change sends it
	Name   string
}

// midnamHead is the declaration by which DAWs know the file.
const midnamHead = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE MIDINameDocument PUBLIC "-//MIDI Manufacturers Association//DTD MIDINameDocument 1.0//EN" "http://www.midi.org/dtds/MIDINameDocument10.dtd">
`

// check looks whether every number is in its range and given once. Errors name
// the set and what is wrong.
func (d *Midnam) check() error {
	if d.Manufacturer == "" || d.Model == "" {
		return fmt.Errorf("midnam: manufacturer and model must have names")
	}
	if len(d.Sets) == 0 {
		return fmt.Errorf("midnam: there must be a set of names")
	}
	names := map[string]bool{}
	for _, s := range d.Sets {
		if s.Name == "" || names[s.Name] {
			return fmt.Errorf("midnam: set %q: its name must be unique and not empty", s.Name)
		}
		names[s.Name] = true
		for _, ch := range s.Channels {
			if ch < 0 || ch >= channels {
				return fmt.Errorf("midnam: set %q: channel %d is not 0 to 15", s.Name, ch)
			}
		}
		notes := map[int]bool{}
		for _, n := range s.Notes {
			if n.Number < 0 || n.Number > 127 || notes[n.Number] {
				return fmt.Errorf("midnam: set %q: note %d: notes are 0 to 127, each once", s.Name, n.Number)
			}
			notes[n.Number] = true
		}
		type id struct {
			ControlKind
			int
		}
		controls := map[id]bool{}
		for _, c := range s.Controls {
			most := 127
			switch c.Kind {
			case Control14:
				most = CCFine - 1
			case ControlRPN, ControlNRPN:
				most = 16383
			}
			if c.Kind > ControlNRPN || c.Number < 0 || c.Number > most || controls[id{c.Kind, c.Number}] {
				return fmt.Errorf("midnam: set %q: %v %d: such controls are 0 to %d, each once", s.Name, c.Kind, c.Number, most)
			}
			controls[id{c.Kind, c.Number}] = true
		}
		banks := map[int]bool{}
		for _, b := range s.Banks {
			if b.Bank < -1 || b.Bank > 16383 || banks[b.Bank] {
				return fmt.Errorf("midnam: set %q: bank %d: banks are 0 to 16383, or -1, each once", s.Name, b.Bank)
			}
			banks[b.Bank] = true
			programs := map[int]bool{}
			for _, p := range b.Programs {
				if p.Number < 0 || p.Number > 127 || programs[p.Number] {
					return fmt.Errorf("midnam: set %q: bank %q: program %d: programs are 0 to 127, each once", s.Name, b.Name, p.Number)
				}
				programs[p.Number] = true
			}
		}
	}
	return nil
}

// Append adds the document to dst. The same names give the same bytes.
func (d *Midnam) Append(dst []byte) ([]byte, error) {
	if err := d.check(); err != nil {
		return dst, err
	}
	w := midnamWriter{b: append(dst, midnamHead...)}
	w.open("MIDINameDocument")
	author := d.Author
	if author == "" {
		author = d.Manufacturer
	}
	w.text("Author", author)
	w.open("MasterDeviceNames")
	w.text("Manufacturer", d.Manufacturer)
	w.text("Model", d.Model)
	mode := d.Mode
	if mode == "" {
		mode = "Default"
	}
	w.open("CustomDeviceMode", "Name", mode)
	w.open("ChannelNameSetAssignments")
	for ch := range channels {
		w.empty("ChannelNameSetAssign", "Channel", strconv.Itoa(ch+1), "NameSet", d.Sets[d.setOf(ch)].Name)
	}
	w.close("ChannelNameSetAssignments")
	w.close("CustomDeviceMode")
	for i, s := range d.Sets {
		w.open("ChannelNameSet", "Name", s.Name)
		w.open("AvailableForChannels")
		for ch := range channels {
			w.empty("AvailableChannel", "Channel", strconv.Itoa(ch+1), "Available", strconv.FormatBool(d.available(i, ch)))
		}
		w.close("AvailableForChannels")
		if len(s.Notes) > 0 {
			w.empty("UsesNoteNameList", "Name", s.Name+" notes")
		}
		if len(s.Controls) > 0 {
			w.empty("UsesControlNameList", "Name", s.Name+" controls")
		}
		w.banks(s)
		w.close("ChannelNameSet")
	}
	for _, s := range d.Sets {
		w.notes(s)
		w.controls(s)
	}
	w.close("MasterDeviceNames")
	w.close("MIDINameDocument")
	return w.b, nil
}

// WriteTo writes the document.
func (d *Midnam) WriteTo(to io.Writer) (int64, error) {
	b, err := d.Append(nil)
	if err != nil {
		return 0, err
	}
	n, err := to.Write(b)
	return int64(n), err
}

// available tells whether set i may be used on a channel.
func (d *Midnam) available(i, ch int) bool {
	s := d.Sets[i]
	return len(s.Channels) == 0 || slices.Contains(s.Channels, ch) || d.setOf(ch) == i
}

// setOf returns which set a channel has.
func (d *Midnam) setOf(ch int) int {
	for i, s := range d.Sets {
		if len(s.Channels) == 0 || slices.Contains(s.Channels, ch) {
			return i
		}
	}
	return 0
}

// midnamWriter writes elements, indented by two spaces a level.
type midnamWriter struct {
	b     []byte
	level int
}

func (w *midnamWriter) start(name string, attrs []string) {
	w.b = append(w.b, "                "[:2*w.level]...)
	w.b = append(append(w.b, '<'), name...)
	for i := 0; i+1 < len(attrs); i += 2 {
		w.b = append(append(append(w.b, ' '), attrs[i]...), '=', '"')
		w.b = append(appendXML(w.b, attrs[i+1]), '"')
	}
}

func (w *midnamWriter) open(name string, attrs ...string) {
	w.start(name, attrs)
	w.b = append(w.b, '>', '\n')
	w.level++
}

func (w *midnamWriter) empty(name string, attrs ...string) {
	w.start(name, attrs)
	w.b = append(w.b, '/', '>', '\n')
}

func (w *midnamWriter) close(name string) {
	w.level--
	w.b = append(w.b, "                "[:2*w.level]...)
	w.b = append(append(append(w.b, '<', '/'), name...), '>', '\n')
}

func (w *midnamWriter) text(name, text string) {
	w.start(name, nil)
	w.b = appendXML(append(w.b, '>'), text)
	w.b = append(append(append(w.b, '<', '/'), name...), '>', '\n')
}

// notes writes the named list of notes of a set.
func (w *midnamWriter) notes(s MidnamSet) {
	if len(s.Notes) == 0 {
		return
	}
	w.open("NoteNameList", "Name", s.Name+" notes")
	group := ""
	for _, n := range s.Notes {
		if n.Group != group {
			if group != "" {
				w.close("NoteGroup")
			}
			if group = n.Group; group != "" {
				w.open("NoteGroup", "Name", group)
			}
		}
		w.empty("Note", "Number", strconv.Itoa(n.Number), "Name", n.Name)
	}
	if group != "" {
		w.close("NoteGroup")
	}
	w.close("NoteNameList")
}

// midnamTypes are the words for the kinds of controls.
var midnamTypes = [...]string{Control7: "7bit", Control14: "14bit", ControlRPN: "RPN", ControlNRPN: "NRPN"}

// controls writes the named list of controls of a set: those of seven bits
// first, because Ardour keeps only the first of a number, of whatever kind.
func (w *midnamWriter) controls(s MidnamSet) {
	if len(s.Controls) == 0 {
		return
	}
	list := slices.Clone(s.Controls)
	slices.SortStableFunc(list, func(a, b MidnamControl) int { return int(a.Kind) - int(b.Kind) })
	w.open("ControlNameList", "Name", s.Name+" controls")
	for _, c := range list {
		attrs := []string{"Type", midnamTypes[c.Kind], "Number", strconv.Itoa(c.Number), "Name", c.Name}
		if len(c.Values) == 0 {
			w.empty("Control", attrs...)
			continue
		}
		most := "127"
		if c.Kind != Control7 {
			most = "16383"
		}
		w.open("Control", attrs...)
		w.open("Values", "Min", "0", "Max", most)
		w.open("ValueNameList", "Name", fmt.Sprintf("%s %s %d", s.Name, midnamTypes[c.Kind], c.Number))
		for _, v := range c.Values {
			w.empty("Value", "Number", strconv.Itoa(v.Number), "Name", v.Name)
		}
		w.close("ValueNameList")
		w.close("Values")
		w.close("Control")
	}
	w.close("ControlNameList")
}

// banks writes the banks of a set; the DTD asks for one at least.
func (w *midnamWriter) banks(s MidnamSet) {
	banks := s.Banks
	if len(banks) == 0 {
		banks = []MidnamBank{{Name: s.Name, Bank: -1}}
	}
	for _, b := range banks {
		w.open("PatchBank", "Name", b.Name)
		if b.Bank >= 0 {
			w.open("MIDICommands")
			w.empty("ControlChange", "Control", strconv.Itoa(CCBank), "Value", strconv.Itoa(b.Bank>>7))
			w.empty("ControlChange", "Control", strconv.Itoa(CCBank+CCFine), "Value", strconv.Itoa(b.Bank&0x7f))
			w.close("MIDICommands")
		}
		programs := b.Programs
		if len(programs) == 0 {
			programs = []MidnamProgram{{Name: "Default"}}
		}
		w.open("PatchNameList", "Name", s.Name+" "+b.Name)
		for _, p := range programs {
			// Number is what a reader shows; they count from 1.
			w.empty("Patch", "Number", strconv.Itoa(p.Number+1), "Name", p.Name, "ProgramChange", strconv.Itoa(p.Number))
		}
		w.close("PatchNameList")
		w.close("PatchBank")
	}
}

// appendXML adds text with what XML keeps for itself escaped. Characters that
// XML cannot hold become U+FFFD; a line break, which readers would make a
// space, is kept.
func appendXML(dst []byte, text string) []byte {
	for _, r := range text {
		switch r {
		case '&':
			dst = append(dst, "&amp;"...)
		case '<':
			dst = append(dst, "&lt;"...)
		case '>':
			dst = append(dst, "&gt;"...)
		case '"':
			dst = append(dst, "&quot;"...)
		case '\'':
			dst = append(dst, "&apos;"...)
		case '\t', '\n', '\r':
			dst = append(dst, fmt.Sprintf("&#%d;", r)...)
		default:
			if r < 0x20 || r == 0xfffe || r == 0xffff {
				r = utf8.RuneError
			}
			dst = utf8.AppendRune(dst, r)
		}
	}
	return dst
}

// SlotNotes returns the names of notes from a first one on, as of pads that
// each play a pod's slot: "Slot 1" and so on where no name is given. Notes
// beyond 127 are left out.
func SlotNotes(first int, group string, names []string) []MidnamNote {
	var notes []MidnamNote
	for i, name := range names {
		if n := first + i; n >= 0 && n <= 127 {
			if name = strings.TrimSpace(name); name == "" {
				name = "Slot " + strconv.Itoa(i+1)
			}
			notes = append(notes, MidnamNote{Number: n, Name: name, Group: group})
		}
	}
	return notes
}
