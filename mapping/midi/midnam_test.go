package midi

import (
	"bytes"
	"encoding/xml"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden file anew")

// fullMidnam uses everything a Midnam has, with names that hold all that XML
// keeps for itself.
func fullMidnam() *Midnam {
	return &Midnam{
		Author: "k8s-synth", Manufacturer: "k8s-synth", Model: `k8s "synth" <1> & Söhne`,
		Sets: []MidnamSet{
			{
				Name: "Patch", Channels: []int{0, 1, 2, 3, 4, 5, 6, 7},
				Notes: append([]MidnamNote{{Number: 0, Name: "loose"}},
					SlotNotes(36, "Pods", []string{"web-6d4-abc", "", "it's <odd> & \"quoted\"\n"})...),
				Controls: []MidnamControl{
					{Kind: ControlNRPN, Number: 16382, Name: "node/cutoff"},
					{Kind: ControlRPN, Number: RPNBendRange, Name: "Bend range"},
					{Kind: Control14, Number: 1, Name: "Load (fine)"},
					{Kind: Control7, Number: 74, Name: "Cutoff"},
					{Kind: Control7, Number: 70, Name: "Wave", Values: []MidnamValue{{0, "saw"}, {64, "square"}}},
					{Kind: Control14, Number: 2, Name: "Mode", Values: []MidnamValue{{0, "off"}, {16383, "on"}}},
				},
				Banks: []MidnamBank{
					{Name: "Scenes", Bank: 0, Programs: []MidnamProgram{{0, "rolling-update"}, {127, "crash\tloop"}}},
					{Name: "More scenes", Bank: 129, Programs: []MidnamProgram{{1, "node \x00\xff drain"}}},
				},
			},
			{Name: "Voices", Channels: []int{8, 9}, Notes: []MidnamNote{{60, "pod", ""}}},
			{Name: "Bare"},
		},
	}
}

// midnamFile is how a strict reader sees the document.
type midnamFile struct {
	XMLName xml.Name `xml:"MIDINameDocument"`
	Author  string
	Master  []struct {
		Manufacturer string
		Model        []string
		Mode         []struct {
			Name   string `xml:",attr"`
			Assign []struct {
				Channel int    `xml:",attr"`
				NameSet string `xml:",attr"`
			} `xml:"ChannelNameSetAssignments>ChannelNameSetAssign"`
		} `xml:"CustomDeviceMode"`
		Set []struct {
			Name    string `xml:",attr"`
			Channel []struct {
				Channel   int  `xml:",attr"`
				Available bool `xml:",attr"`
			} `xml:"AvailableForChannels>AvailableChannel"`
			UsesNotes *struct {
				Name string `xml:",attr"`
			} `xml:"UsesNoteNameList"`
			UsesControls *struct {
				Name string `xml:",attr"`
			} `xml:"UsesControlNameList"`
			Bank []struct {
				Name   string `xml:",attr"`
				Select []struct {
					Control int `xml:",attr"`
					Value   int `xml:",attr"`
				} `xml:"MIDICommands>ControlChange"`
				Patch []struct {
					Number        string `xml:",attr"`
					Name          string `xml:",attr"`
					ProgramChange int    `xml:",attr"`
				} `xml:"PatchNameList>Patch"`
			} `xml:"PatchBank"`
		} `xml:"ChannelNameSet"`
		Notes []struct {
			Name  string        `xml:",attr"`
			Note  []midnamEntry `xml:"Note"`
			Group []struct {
				Name string        `xml:",attr"`
				Note []midnamEntry `xml:"Note"`
			} `xml:"NoteGroup"`
		} `xml:"NoteNameList"`
		Controls []struct {
			Name    string `xml:",attr"`
			Control []struct {
				midnamEntry
				Type   string `xml:",attr"`
				Values *struct {
					Min, Max int           `xml:",attr"`
					Value    []midnamEntry `xml:"ValueNameList>Value"`
				}
			}
		} `xml:"ControlNameList"`
	} `xml:"MasterDeviceNames"`
}

type midnamEntry struct {
	Number int    `xml:",attr"`
	Name   string `xml:",attr"`
}

func TestMidnamReadsBack(t *testing.T) {
	d := fullMidnam()
	b, err := d.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var f midnamFile
	dec := xml.NewDecoder(bytes.NewReader(b))
	dec.Strict = true
	if err := dec.Decode(&f); err != nil {
		t.Fatalf("%v in\n%s", err, b)
	}
	m := f.Master[0]
	if f.Author != d.Author || m.Manufacturer != d.Manufacturer || m.Model[0] != d.Model {
		t.Errorf("%q %q %q", f.Author, m.Manufacturer, m.Model)
	}
	if len(m.Mode) != 1 || len(m.Mode[0].Assign) != 16 {
		t.Fatalf("modes %+v", m.Mode)
	}
	for i, a := range m.Mode[0].Assign {
		want := "Bare"
		if i < 8 {
			want = "Patch"
		} else if i < 10 {
			want = "Voices"
		}
		if a.Channel != i+1 || a.NameSet != want {
			t.Errorf("channel %d: %+v, want %s", i+1, a, want)
		}
	}
	if len(m.Set) != 3 {
		t.Fatalf("%d sets", len(m.Set))
	}
	for i, s := range m.Set {
		if s.Name != d.Sets[i].Name || len(s.Channel) != 16 || len(s.Bank) == 0 {
			t.Errorf("set %+v", s)
		}
		for ch, c := range s.Channel {
			listed := len(d.Sets[i].Channels) == 0 || slices.Contains(d.Sets[i].Channels, ch)
			if c.Channel != ch+1 || c.Available != listed {
				t.Errorf("set %s channel %d: %+v", s.Name, ch+1, c)
			}
		}
		if (s.UsesNotes != nil) != (len(d.Sets[i].Notes) > 0) || (s.UsesControls != nil) != (len(d.Sets[i].Controls) > 0) {
			t.Errorf("set %s uses %v, %v", s.Name, s.UsesNotes, s.UsesControls)
		}
	}
	// Every list that is used is there under its name.
	notes, controls := m.Notes[0], m.Controls[0]
	if m.Set[0].UsesNotes.Name != notes.Name || m.Set[0].UsesControls.Name != controls.Name || m.Set[1].UsesNotes.Name != m.Notes[1].Name {
		t.Error("a list has another name than the set uses")
	}
	if len(notes.Note) != 1 || notes.Note[0] != (midnamEntry{0, "loose"}) || len(notes.Group) != 1 || notes.Group[0].Name != "Pods" ||
		!slices.Equal(notes.Group[0].Note, []midnamEntry{{36, "web-6d4-abc"}, {37, "Slot 2"}, {38, `it's <odd> & "quoted"`}}) {
		t.Errorf("notes %+v", notes)
	}
	var got []string
	for _, c := range controls.Control {
		got = append(got, fmt.Sprint(c.Type, c.Number, c.Name))
		if c.Values != nil {
			got = append(got, fmt.Sprint(c.Values.Min, c.Values.Max, c.Values.Value))
		}
	}
	if want := []string{"7bit74Cutoff", "7bit70Wave", "0 127 [{0 saw} {64 square}]", "14bit1Load (fine)", "14bit2Mode", "0 16383 [{0 off} {16383 on}]", "RPN0Bend range", "NRPN16382node/cutoff"}; !slices.Equal(got, want) {
		t.Errorf("controls %q, want %q", got, want)
	}
	scenes := m.Set[0].Bank[1]
	if scenes.Name != "More scenes" || len(scenes.Select) != 2 || scenes.Select[0].Value != 1 || scenes.Select[1].Control != 32 || scenes.Select[1].Value != 1 {
		t.Errorf("bank %+v", scenes)
	}
	first := m.Set[0].Bank[0].Patch
	if first[0].ProgramChange != 0 || first[0].Number != "1" || first[1].ProgramChange != 127 || first[1].Name != "crash\tloop" || scenes.Patch[0].Name != "node \ufffd\ufffd drain" {
		t.Errorf("programs %+v %+v", first, scenes.Patch)
	}
}

// xmllint says whether the document is as the DTD wants it.
func TestMidnamValid(t *testing.T) {
	lint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("xmllint (libxml2-utils) is not here")
	}
	bare := &Midnam{Manufacturer: "m", Model: "n", Sets: []MidnamSet{{Name: "s"}}}
	for i, d := range []*Midnam{fullMidnam(), bare} {
		file := filepath.Join(t.TempDir(), "a.midnam")
		var b bytes.Buffer
		if n, err := d.WriteTo(&b); err != nil || n != int64(b.Len()) {
			t.Fatal(n, err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(lint, "--noout", "--nonet", "--dtdvalid", "testdata/midnam.dtd", file).CombinedOutput()
		if err != nil {
			t.Errorf("document %d: %v\n%s", i, err, out)
		}
		// A document that is not valid is told.
		broken := bytes.Replace(b.Bytes(), []byte("<AvailableForChannels>"), []byte("<AvailableForChannels><Note/>"), 1)
		if err := os.WriteFile(file, broken, 0o644); err != nil {
			t.Fatal(err)
		}
		if exec.Command(lint, "--noout", "--nonet", "--dtdvalid", "testdata/midnam.dtd", file).Run() == nil {
			t.Error("xmllint takes anything")
		}
	}
}

func TestMidnamStable(t *testing.T) {
	a, _ := fullMidnam().Append(nil)
	b, _ := fullMidnam().Append([]byte("x"))
	if !bytes.Equal(a, b[1:]) {
		t.Error("the same names give other bytes")
	}
	golden := filepath.Join("testdata", "full.midnam")
	if *update {
		if err := os.WriteFile(golden, a, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, want) {
		t.Errorf("%s is not what is written now", golden)
	}
}

func TestMidnamRefuses(t *testing.T) {
	for want, change := range map[string]func(*Midnam){
		"manufacturer and model": func(d *Midnam) { d.Model = "" },
		"a set of names":         func(d *Midnam) { d.Sets = nil },
		`set "Patch": its name`:  func(d *Midnam) { d.Sets[1].Name = "Patch" },
		"channel 16":             func(d *Midnam) { d.Sets[0].Channels = []int{16} },
		"note 128":               func(d *Midnam) { d.Sets[0].Notes[0].Number = 128 },
		"note 36":                func(d *Midnam) { d.Sets[0].Notes[0].Number = 36 },
		"cc14 32":                func(d *Midnam) { d.Sets[0].Controls[2].Number = 32 },
		"nrpn 16384":             func(d *Midnam) { d.Sets[0].Controls[0].Number = 16384 },
		"cc 70":                  func(d *Midnam) { d.Sets[0].Controls[3].Number = 70 },
		"unknown 1":              func(d *Midnam) { d.Sets[0].Controls[2].Kind = 9 },
		"bank 16384":             func(d *Midnam) { d.Sets[0].Banks[0].Bank = 16384 },
		"bank 129":               func(d *Midnam) { d.Sets[0].Banks[0].Bank = 129 },
		"program 128":            func(d *Midnam) { d.Sets[0].Banks[0].Programs[0].Number = 128 },
	} {
		d := fullMidnam()
		change(d)
		if b, err := d.Append(nil); err == nil || !strings.Contains(err.Error(), want) || len(b) != 0 {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// Any names, even such that are no text, give a document that reads back.
func FuzzMidnam(f *testing.F) {
	f.Add("a", "<b>&\"'", "\x00\xff\u2028")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		d := &Midnam{Author: a, Manufacturer: "m" + b, Model: "m" + c, Mode: a, Sets: []MidnamSet{{
			Name: "s" + a, Notes: []MidnamNote{{1, b, c}, {2, c, ""}}, Controls: []MidnamControl{{Number: 3, Name: b}},
			Banks: []MidnamBank{{Name: c, Programs: []MidnamProgram{{5, a}}}},
		}}}
		out, err := d.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var got midnamFile
		if err := xml.Unmarshal(out, &got); err != nil {
			t.Fatalf("%v in %q", err, out)
		}
		if utf8.ValidString(a) && !strings.ContainsFunc(a, func(r rune) bool { return r < ' ' || r == 0xfffe || r == 0xffff }) && got.Master[0].Set[0].Name != "s"+a {
			t.Errorf("%q became %q", a, got.Master[0].Set[0].Name)
		}
	})
}

func ExampleMidnam() {
	d := Midnam{
		Manufacturer: "k8s-synth", Model: "k8s-synth",
		Sets: []MidnamSet{{
			Name:     "Rack",
			Notes:    SlotNotes(36, "Pods", []string{"web-1", ""}),
			Controls: []MidnamControl{{Kind: Control7, Number: 74, Name: "Cutoff"}},
			Banks:    []MidnamBank{{Name: "Scenes", Bank: -1, Programs: []MidnamProgram{{0, "rolling-update"}}}},
		}},
	}
	b, err := d.Append(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "<Note ") || strings.Contains(line, "<Control ") || strings.Contains(line, "<Patch ") {
			fmt.Println(strings.TrimSpace(line))
		}
	}
	// Output:
	// <Patch Number="1" Name="rolling-update" ProgramChange="0"/>
	// <Note Number="36" Name="web-1"/>
	// <Note Number="37" Name="Slot 2"/>
	// <Control Type="7bit" Number="74" Name="Cutoff"/>
}
