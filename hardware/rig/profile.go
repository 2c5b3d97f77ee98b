package rig

import (
	"cmp"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Profile is what is known of one audio interface.
type Profile struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	About string `json:"about,omitempty"`
	// Names are parts of the names that systems list the device by.
	Names []string `json:"names,omitempty"`
	// Reference marks a device that is no audio interface: its figures are for people.
	Reference bool `json:"reference,omitempty"`
	// Playback and Capture are how many channels it has in the mode with the most, 0 where that
	// depends on the model.
	Playback int     `json:"playback"`
	Capture  int     `json:"capture"`
	Rates    []int   `json:"rates,omitempty"`
	Formats  string  `json:"formats,omitempty"`
	Outputs  []Group `json:"outputs,omitempty"`
	Inputs   []Group `json:"inputs,omitempty"`
	// Expander is what fits on two of its channels.
	Expander *ExpanderPort `json:"expander,omitempty"`
}

// Group is channels of a profile that are alike.
type Group struct {
	First int `json:"first"` // counted from 1, as on the panel
	Last  int `json:"last"`
	// FullScale is the volts of the number 1, 0 where nobody knows.
	FullScale float64  `json:"full_scale,omitempty"`
	Coupling  Coupling `json:"coupling"`
	// Range is what the channels give in words, where that is not the same either way.
	Range string `json:"range,omitempty"`
	// Use is what the channels are: jacks, mains, headphones, spdif, adat or header.
	Use string `json:"use"`
	// Sure is how well FullScale is known, Order how well it is that these channels are those sockets.
	Sure   Sure   `json:"sure"`
	Order  Sure   `json:"order"`
	Source string `json:"source"`
}

// ExpanderPort is a header for an expander.
type ExpanderPort struct {
	Device   string `json:"device"`
	Channels [2]int `json:"channels"` // counted from 1
	Sure     Sure   `json:"sure"`
	Source   string `json:"source"`
}

var (
	profileFields  = []string{"version", "name", "title", "about", "names", "reference", "playback", "capture", "rates", "formats", "outputs", "inputs", "expander"}
	inlineFields   = profileFields[2:]
	groupFields    = []string{"channels", "full_scale", "range", "coupling", "use", "sure", "order", "source"}
	portFields     = []string{"device", "channels", "sure", "source"}
	useWords       = []string{"jacks", "mains", "headphones", "spdif", "adat", "header"}
	leastFullScale = 0.1
	mostFullScale  = 30.0
)

const (
	maxTitle = 200
	maxAbout = 8000
)

//go:embed profiles/*.yaml
var shipped embed.FS

// Profiles returns the profiles that ship, by name.
func Profiles() ([]*Profile, error) {
	files, err := shipped.ReadDir("profiles")
	if err != nil {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	var all []*Profile
	for _, f := range files {
		p, err := FindProfile(strings.TrimSuffix(f.Name(), ".yaml"))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *Profile) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// FindProfile returns a profile that ships. Where there is none it is ErrNotFound, and says which
// there are.
func FindProfile(name string) (*Profile, error) {
	data, err := ProfileText(name)
	if err != nil {
		return nil, err
	}
	return ParseProfile(name+".yaml", data)
}

// ProfileText returns a profile's file as it stands.
func ProfileText(name string) ([]byte, error) {
	if jackName.MatchString(name) {
		if data, err := shipped.ReadFile("profiles/" + name + ".yaml"); err == nil {
			return data, nil
		}
	}
	names := profileNames()
	return nil, fmt.Errorf("profile %q: %w; there are %s%s", document.Clip(name), ErrNotFound, strings.Join(names, ", "), document.Near(name, names))
}

func profileNames() (names []string) {
	files, _ := shipped.ReadDir("profiles") // it is in the program
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f.Name(), ".yaml"))
	}
	return names
}

// ProfileOf returns the profile of a device by the name that the system lists, or nil: of several
// that match, the one with the longest name.
func ProfileOf(device string) (*Profile, error) {
	all, err := Profiles()
	if err != nil {
		return nil, err
	}
	var best *Profile
	longest := 0
	for _, p := range all {
		for _, n := range p.Names {
			if !p.Reference && len(n) > longest && strings.Contains(strings.ToLower(device), strings.ToLower(n)) {
				best, longest = p, len(n)
			}
		}
	}
	return best, nil
}

// UnknownInterface is the profile of an interface that there is none for.
func UnknownInterface(playback, capture int) *Profile {
	p := &Profile{Name: "unknown", Title: "an interface that nobody has measured", Playback: playback, Capture: capture}
	if playback > 0 {
		p.Outputs = []Group{{First: 1, Last: playback, Use: useWords[0], Source: "not known"}}
	}
	if capture > 0 {
		p.Inputs = []Group{{First: 1, Last: capture, Use: useWords[0], Source: "not known"}}
	}
	return p
}

// ParseProfile reads a profile; file is its name in errors.
func ParseProfile(file string, data []byte) (*Profile, error) {
	r := newReader(file, "profile")
	p := &Profile{}
	if _, root := r.Root(data); root != nil {
		r.profile(p, root, profileFields)
		if p.Name == "" && r.Count() == 0 {
			r.Node(root, "the profile has no name; expected a name: of lower-case letters, digits and dashes")
		}
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

// profile reads the fields of a profile, which stands alone or in a rig.
func (r *reader) profile(p *Profile, n *yaml.Node, known []string) {
	var outputs, inputs *yaml.Node
	for _, e := range r.Fields(n, "a profile", known) {
		switch e.Name {
		case "name":
			if p.Name = r.Prose(e, maxTitle); !jackName.MatchString(p.Name) {
				r.Node(e.Value, "name is %s; expected lower-case letters, digits and dashes, such as es-9", document.Describe(e.Value))
			}
		case "title":
			p.Title = r.Prose(e, maxTitle)
		case "about":
			p.About = r.Prose(e, maxAbout)
		case "names":
			for _, n := range r.List(e, 32) {
				p.Names = append(p.Names, r.Prose(document.Item(e.Name, n), maxTitle))
			}
		case "reference":
			p.Reference = r.Truth(e)
		case "playback":
			p.Playback, _ = r.Whole(e, 0, hardware.MaxChannels)
		case "capture":
			p.Capture, _ = r.Whole(e, 0, hardware.MaxChannels)
		case "rates":
			for _, n := range r.List(e, 32) {
				v, _ := r.Whole(document.Item("a rate", n), 8000, 768000)
				p.Rates = append(p.Rates, v)
			}
		case "formats":
			p.Formats = r.Prose(e, maxTitle)
		case "outputs":
			outputs, p.Outputs = e.Value, r.groups(e)
		case "inputs":
			inputs, p.Inputs = e.Value, r.groups(e)
		case "expander":
			p.Expander = r.port(e)
		}
	}
	r.within(outputs, "playback", p.Playback, p.Outputs)
	r.within(inputs, "capture", p.Capture, p.Inputs)
}

// within tells of groups that overlap or go beyond the device's channels.
func (r *reader) within(n *yaml.Node, what string, channels int, groups []Group) {
	var seen hardware.ChannelSet
	for i, g := range groups {
		if g.Last > channels && channels > 0 {
			r.Node(n.Content[i], "channel %d is beyond %s: %d", g.Last, what, channels)
			return
		}
		for c := g.First; c >= 1 && c <= g.Last; c++ {
			if seen.Has(c - 1) {
				r.Node(n.Content[i], "channel %d is in two groups", c)
				return
			}
			seen |= hardware.Channels(c - 1)
		}
	}
}

func (r *reader) groups(e document.Entry) (all []Group) {
	for _, n := range r.List(e, hardware.MaxChannels) {
		g := Group{Use: useWords[0]}
		for _, e := range r.Fields(n, "a group of channels", groupFields) {
			switch e.Name {
			case "channels":
				g.First, g.Last = r.span(e)
			case "full_scale":
				if e.Value.Value != sureWords[Unknown] {
					g.FullScale, _ = r.Number(e, leastFullScale, mostFullScale, "V, or unknown")
				}
			case "range":
				g.Range = r.Prose(e, maxTitle)
			case "coupling":
				g.Coupling = Coupling(r.Word(e, couplingWords))
			case "use":
				g.Use = useWords[r.Word(e, useWords)]
			case "sure":
				g.Sure = Sure(r.Word(e, sureWords))
			case "order":
				g.Order = Sure(r.Word(e, sureWords))
			case "source":
				g.Source = r.Prose(e, 400)
			}
		}
		switch {
		case n.Kind != yaml.MappingNode:
		case g.First == 0:
			r.Node(n, "the group has no channels; expected channels: 1-8 or channels: 3")
		case g.FullScale == 0 && g.Sure != Unknown:
			r.Node(n, "full_scale is not known, so it is not sure either")
		case g.FullScale > 0 && g.Sure == Unknown:
			r.Node(n, "a full_scale of which nobody is sure is a guess; leave it out, or say how sure: %s", strings.Join(sureWords[1:], ", "))
		case g.FullScale > 0 && g.Source == "":
			r.Node(n, "the full_scale has no source; say in words where it is from")
		}
		all = append(all, g)
	}
	return all
}

// span reads one channel or a range of them, counted from 1.
func (r *reader) span(e document.Entry) (first, last int) {
	a, b, two := strings.Cut(e.Value.Value, "-")
	first, err := strconv.Atoi(strings.TrimSpace(a))
	last = first
	if two && err == nil {
		last, err = strconv.Atoi(strings.TrimSpace(b))
	}
	if e.Value.Kind != yaml.ScalarNode || err != nil || first < 1 || last < first || last > hardware.MaxChannels {
		r.Node(e.Value, "channels is one channel or a range such as 1-8, of 1 to %d, this is %s", hardware.MaxChannels, document.Describe(e.Value))
		return 1, 1
	}
	return first, last
}

func (r *reader) port(e document.Entry) *ExpanderPort {
	p := &ExpanderPort{}
	for _, e := range r.Fields(e.Value, "expander", portFields) {
		switch e.Name {
		case "device":
			p.Device = frameWords[r.Word(e, frameWords)]
		case "channels":
			p.Channels = r.pair(e)
		case "sure":
			p.Sure = Sure(r.Word(e, sureWords))
		case "source":
			p.Source = r.Prose(e, 400)
		}
	}
	return p
}

// pair reads two channels, counted from 1.
func (r *reader) pair(e document.Entry) (p [2]int) {
	if e.Value.Kind == yaml.SequenceNode && len(e.Value.Content) == 2 {
		a, ok := r.Whole(document.Item("a channel", e.Value.Content[0]), 1, hardware.MaxChannels)
		b, also := r.Whole(document.Item("a channel", e.Value.Content[1]), 1, hardware.MaxChannels)
		if ok && also && a == b {
			r.Node(e.Value, "these are two of the same channel")
		}
		return [2]int{max(a, 1), max(b, 1)}
	}
	r.Node(e.Value, "%s is two channels such as [7, 8], this is %s", e.Name, document.Describe(e.Value))
	return [2]int{1, 2}
}

// output returns what is known of a playback channel, counted from 0, or nil.
func (p *Profile) output(channel int) *Group { return find(p.Outputs, channel) }

// input returns what is known of a capture channel, counted from 0, or nil.
func (p *Profile) input(channel int) *Group { return find(p.Inputs, channel) }

func find(groups []Group, channel int) *Group {
	for i := range groups {
		if g := &groups[i]; channel+1 >= g.First && channel+1 <= g.Last {
			return g
		}
	}
	return nil
}

func (g *Group) source() string {
	if g == nil || g.Source == "" {
		return "no source"
	}
	return g.Source
}

// Span is the group's channels as the panel counts them.
func (g *Group) Span() string {
	if g.First == g.Last {
		return strconv.Itoa(g.First)
	}
	return fmt.Sprintf("%d–%d", g.First, g.Last)
}

// Volts is the group's full scale for people.
func (g *Group) Volts() string {
	if g.Range != "" {
		return g.Range
	}
	if g.FullScale == 0 {
		return "unknown"
	}
	return fmt.Sprintf("±%g V", g.FullScale)
}
