package rig

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Fields of a rig file.
var (
	rigFields       = []string{"version", "name", "title", "about", "interface", "unit", "full_scale", "device", "speakers", "audio_full_scale", "expanders", "outputs", "inputs"}
	scaleFields     = []string{"outputs", "inputs"}
	deviceFields    = []string{"backend", "name", "capture", "rate", "period", "periods", "depth", "playback", "capture_channels"}
	expanderFields  = []string{"name", "device", "channels", "headers"}
	outputFields    = []string{"jack", "channel", "role", "standard", "reference", "full_scale", "invert", "limit", "min", "max", "safe", "slew", "low", "high", "dc_block"}
	inputFields     = []string{"jack", "channel", "role", "standard", "reference", "full_scale", "invert", "dc_block"}
	referenceFields = []string{"volts", "hertz"}

	// backendWords are the backends of every system: a rig file may be read on another.
	backendWords = []string{"pulse", "alsa", "jack", "coreaudio", "wasapi", "dsound", "winmm", "sndio", "audio4", "oss", "null"}

	jackName = regexp.MustCompile(`^[a-z0-9]([-_a-z0-9]{0,40}[a-z0-9])?$`)
)

const jackExpected = "expected lower-case letters, digits, dashes and underscores, such as bass or gate-1"

// Load reads the rig file at a path. All its mistakes are joined into one error, each a
// document.Error; a file of a later version is document.ErrVersion.
func Load(path string) (*Rig, error) {
	data, err := document.ReadFile(path, MaxFile)
	if err != nil {
		return nil, fmt.Errorf("rig: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a rig file; file is its name in errors.
func Parse(file string, data []byte) (*Rig, error) {
	r := &rigReader{reader: newReader(file, "rig")}
	r.read(data)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return &r.Rig, nil
}

// reader reads one file, and what rigs and profiles have alike.
type reader struct{ *document.Reader }

func newReader(file, what string) reader {
	return reader{document.NewReader(file, what, Version, MaxFile)}
}

// rigReader reads one rig file.
type rigReader struct {
	reader
	Rig
	// What the player measured, 0 where it is left to the profile.
	outputScale, inputScale float64
	names                   map[string]int    // jacks, and the line that each is on
	taken                   map[int]string    // playback channels, and what is there
	places                  map[[3]int]string // sockets of expanders
	captured                map[int]string
}

func (r *rigReader) read(data []byte) {
	_, root := r.Root(data)
	if root == nil {
		return
	}
	r.AudioFullScale = SpeakerVolts
	r.names, r.taken, r.places, r.captured = map[string]int{}, map[int]string{}, map[[3]int]string{}, map[int]string{}
	at := map[string]document.Entry{}
	for _, e := range r.Fields(root, "a rig", rigFields) {
		at[e.Name] = e
		switch e.Name {
		case "name":
			if r.Name = r.Prose(e, maxTitle); !jackName.MatchString(r.Name) {
				r.Node(e.Value, "name is %s; expected lower-case letters, digits and dashes, such as studio", document.Describe(e.Value))
			}
		case "title":
			r.Title = r.Prose(e, maxTitle)
		case "about":
			r.About = r.Prose(e, maxAbout)
		case "unit":
			r.Unit = r.Prose(e, maxTitle)
		case "full_scale":
			for _, e := range r.Fields(e.Value, "full_scale", scaleFields) {
				v, _ := r.Number(e, leastFullScale, mostFullScale, "V")
				if e.Name == scaleFields[0] {
					r.outputScale = v
				} else {
					r.inputScale = v
				}
			}
		case "device":
			r.device(e)
		case "audio_full_scale":
			r.AudioFullScale = SpeakerVolts
			if v, ok := r.Number(e, 0.1, 100, "V"); ok {
				r.AudioFullScale = v
			}
		}
	}
	if _, there := at["name"]; !there {
		r.Node(root, "the rig has no name; expected a name: of lower-case letters, digits and dashes")
	}
	if r.Title == "" {
		r.Title = r.Name
	}
	// What a channel may carry depends on the interface, whatever stands first in the file.
	r.iface(root, at)
	if e, ok := at["speakers"]; ok {
		r.speakers(e)
	}
	if e, ok := at["expanders"]; ok {
		for _, n := range r.List(e, hardware.MaxChannels/2) {
			r.expander(n)
		}
	}
	if e, ok := at["outputs"]; ok {
		for _, n := range r.List(e, MaxJacks) {
			r.output(n)
		}
	}
	if e, ok := at["inputs"]; ok {
		for _, n := range r.List(e, hardware.MaxChannels) {
			r.input(n)
		}
	}
	if r.Count() == 0 && r.Device.Playback == 0 {
		r.Node(root, "the rig has no playback channels; give the device playback: or an interface that has some")
	}
}

// iface reads the interface: the name of a profile, one written out, or unknown.
func (r *rigReader) iface(root *yaml.Node, at map[string]document.Entry) {
	r.Interface = UnknownInterface(r.Device.Playback, r.Device.CaptureChannels)
	e, ok := at["interface"]
	switch {
	case !ok:
		r.Node(root, "the rig has no interface; expected the name of a profile (see \"k8s-synth rig profiles\"), one written out, or interface: unknown")
	case e.Value.Kind == yaml.MappingNode:
		r.Interface = &Profile{Name: r.Name, Title: r.Title} // calibrations are kept by the name
		r.profile(r.Interface, e.Value, inlineFields)
	case e.Value.Kind == yaml.ScalarNode && e.Value.Value == "unknown":
		if r.Device.Playback == 0 {
			r.Node(e.Value, "how many channels an unknown interface has is for the rig to say; expected device: {playback: 8}")
		}
	default:
		p, err := FindProfile(r.Prose(e, maxTitle))
		switch {
		case errors.Is(err, ErrNotFound):
			r.Node(e.Value, "%w", err)
		case err != nil:
			r.Node(e.Value, "the profile that ships is broken: %w", err)
		case p.Reference:
			r.Node(e.Value, "%s is no audio interface: %s", p.Title, p.About)
		default:
			r.Interface = p
		}
	}
	if r.Device.Playback == 0 {
		r.Device.Playback = r.Interface.Playback
	}
	if r.Device.CaptureChannels == 0 {
		r.Device.CaptureChannels = r.Interface.Capture
	}
}

func (r *rigReader) device(e document.Entry) {
	d := &r.Device
	for _, e := range r.Fields(e.Value, "device", deviceFields) {
		whole := func(to *int, low, high int) {
			if v, ok := r.Whole(e, low, high); ok {
				*to = v
			}
		}
		switch e.Name {
		case "backend":
			d.Backend = backendWords[r.Word(e, backendWords)]
		case "name":
			d.Name = r.Prose(e, maxTitle)
		case "capture":
			d.Capture = r.Prose(e, maxTitle)
		case "rate":
			whole(&d.Rate, 8000, 384000)
		case "period":
			whole(&d.Period, 16, 8192)
		case "periods":
			whole(&d.Periods, 2, 16)
		case "depth":
			whole(&d.Depth, 1, 256)
		case "playback":
			whole(&d.Playback, 1, hardware.MaxChannels)
		case "capture_channels":
			whole(&d.CaptureChannels, 1, hardware.MaxChannels)
		}
	}
}

// channel checks a playback channel, counted from 0, and takes it.
func (r *rigReader) channel(n *yaml.Node, channel int, what string) bool {
	if channel >= r.Device.Playback {
		if r.Device.Playback > 0 {
			r.Node(n, "channel %d is beyond the %d of the interface", channel+1, r.Device.Playback)
		}
		return false
	}
	if there, taken := r.taken[channel]; taken {
		if strings.HasPrefix(there, "speaker") && !strings.HasPrefix(what, "speaker") {
			r.Node(n, "channel %d is a loudspeaker's; a voltage that stays there would harm it", channel+1)
		} else {
			r.Node(n, "channel %d is taken by %s", channel+1, there)
		}
		return false
	}
	r.taken[channel] = what
	return true
}

func (r *rigReader) speakers(e document.Entry) {
	for i, n := range r.List(e, hardware.MaxChannels) {
		if v, ok := r.Whole(document.Item("a speaker", n), 1, hardware.MaxChannels); ok && r.channel(n, v-1, fmt.Sprintf("speaker %d", i+1)) {
			r.Speakers = append(r.Speakers, v-1)
		}
	}
}

func (r *rigReader) expander(n *yaml.Node) {
	x := Expander{}
	before := r.Count()
	at := map[string]*yaml.Node{}
	for _, e := range r.Fields(n, "an expander", expanderFields) {
		at[e.Name] = e.Value
		switch e.Name {
		case "name":
			if x.Name = r.Prose(e, maxTitle); !jackName.MatchString(x.Name) {
				r.Node(e.Value, "name is %s; %s", document.Describe(e.Value), jackExpected)
			}
		case "device":
			x.Frame = Frame(r.Word(e, frameWords))
		case "channels":
			p := r.pair(e)
			x.Channels = [2]int{p[0] - 1, p[1] - 1}
		}
	}
	switch {
	case n.Kind != yaml.MappingNode:
		return
	case at["device"] == nil:
		r.Node(n, "the expander has no device; expected %s", strings.Join(frameWords, " or "))
		return
	case at["channels"] == nil:
		r.Node(n, "the expander has no channels; expected the two that it is on, such as channels: [7, 8]")
		return
	}
	if r.Count() > before {
		return
	}
	if x.Name == "" {
		x.Name = x.Frame.String()
	}
	if slices.ContainsFunc(r.Expanders, func(o Expander) bool { return o.Name == x.Name }) {
		r.Node(n, "there is an expander %s already; give this one another name", x.Name)
		return
	}
	if x.Frame == ES5 {
		x.Fitted[0] = true // its own sockets
	}
	if h := at["headers"]; h != nil {
		for _, e := range r.Entries(h, "headers") {
			i, err := strconv.Atoi(e.Name)
			if err != nil || i < 1 || i > x.Frame.Headers() {
				r.Node(e.Key, "the headers of an %s are 1 to %d, this is %s", x.Frame, x.Frame.Headers(), document.Describe(e.Key))
				continue
			}
			x.Cards[i-1], x.Fitted[i-1] = Card(r.Word(document.Item("header "+e.Name, e.Value), cardWords)), true
		}
	}
	for i, c := range x.Channels {
		node := at["channels"]
		if len(node.Content) == 2 {
			node = node.Content[i]
		}
		r.channel(node, c, x.Name)
	}
	r.Expanders = append(r.Expanders, x)
}

// jack reads what outputs and inputs have alike, and returns the nodes of its fields.
func (r *rigReader) jack(n *yaml.Node, what string, known []string, j *Jack) map[string]*yaml.Node {
	j.Expander, j.Channel = -1, -1
	at := map[string]*yaml.Node{}
	for _, e := range r.Fields(n, what, known) {
		at[e.Name] = e.Value
		number := func(to *float64, low, high float64, unit string) { *to, _ = r.Number(e, low, high, unit) }
		switch e.Name {
		case "jack":
			if j.Name = r.Prose(e, maxTitle); !jackName.MatchString(j.Name) {
				r.Node(e.Value, "jack is %s; %s", document.Describe(e.Value), jackExpected)
			} else if line, there := r.names[j.Name]; there {
				r.Node(e.Value, "there is a jack %s already on line %d; each has a name of its own", j.Name, line)
			} else {
				r.names[j.Name] = e.Value.Line
			}
		case "role":
			j.Role = Role(r.Word(e, roleWords))
		case "standard":
			j.Standard.Scale = Scale(r.Word(e, scaleWords))
		case "reference":
			for _, e := range r.Fields(e.Value, "reference", referenceFields) {
				if e.Name == "volts" {
					j.Standard.Volts, _ = r.Number(e, -12, 12, "V")
				} else {
					j.Standard.Hertz, _ = r.Number(e, 0.01, 100000, "Hz")
				}
			}
		case "full_scale":
			number(&j.FullScale, leastFullScale, mostFullScale, "V")
		case "invert":
			j.Invert = r.Truth(e)
		case "safe":
			number(&j.Safe, -12, 12, "V")
		case "slew":
			number(&j.Slew, 0.01, 1e7, "V/s")
		case "low":
			number(&j.Low, -12, 12, "V")
		case "high":
			number(&j.High, -12, 12, "V")
		case "min":
			number(&j.Min, -12, 12, "V")
		case "max":
			number(&j.Max, -12, 12, "V")
		case "dc_block":
			j.DCBlock = r.Truth(e)
		}
	}
	if n.Kind != yaml.MappingNode {
		return nil
	}
	if at["jack"] == nil {
		r.Node(n, "%s has no jack; %s", what, jackExpected)
	}
	if at["channel"] == nil {
		r.Node(n, "%s has no channel; expected a number from 1, or of an expander such as es-5/1/3", what)
		return nil
	}
	for _, f := range []string{"standard", "reference"} {
		if at[f] != nil && j.Role != Pitch {
			r.Node(at[f], "%s is for role: pitch, this is role: %s", f, j.Role)
		}
	}
	if j.Standard.Scale == HertzPerVolt && j.Role == Pitch && (at["reference"] == nil || !(j.Standard.Volts > 0) || j.Standard.Hertz == 0) {
		r.Node(at["standard"], "Hz/V says nothing without a voltage and the frequency that it makes; expected reference: {volts: 1, hertz: 55}")
	}
	if at["dc_block"] == nil {
		j.DCBlock = j.Role == Audio
	} else if j.Role != Audio && j.DCBlock {
		r.Node(at["dc_block"], "dc_block takes away what a jack of role: %s is for; it is for role: audio", j.Role)
	}
	return at
}

func (r *rigReader) output(n *yaml.Node) {
	j := Jack{Index: len(r.Outputs)}
	before := r.Count()
	at := r.jack(n, "an output", outputFields, &j)
	if at == nil {
		return
	}
	r.place(at["channel"], &j)
	if r.Count() > before {
		return // what else is wrong may follow from that
	}
	low, high := 0.0, 0.0 // what the channel can give
	refuse := func(why string, fields ...string) {
		for _, f := range fields {
			if at[f] != nil {
				r.Node(at[f], "%s is the expander's own%s", f, why)
			}
		}
	}
	group := r.Interface.output(j.Channel)
	switch {
	case j.Expander >= 0 && r.Expanders[j.Expander].Cards[j.Header] == Gates:
		if !j.Role.Switches() {
			r.Node(at["channel"], "%s has gates only; expected role: gate, trigger or clock", r.Place(&j))
			return
		}
		refuse("; a gate there is low or high", "limit", "min", "max", "low", "high", "slew", "safe", "full_scale", "invert")
		j.FullScale, j.Sure, high = GateVolts, Vendor, GateVolts
	case j.Expander >= 0:
		if j.Role == Audio {
			r.Node(at["channel"], "%s takes a new value each %d frames, which is no sound; expected another role", r.Place(&j), cvCycle)
			return
		}
		refuse("", "full_scale", "invert")
		j.FullScale, j.Sure, low, high = -cvMin, Vendor, cvMin, cvMax
	case group != nil && j.Role != Audio && (group.Coupling == AC || group.Coupling == Digital):
		r.Node(at["channel"], "output channel %d is %s (%s), so no voltage stays on it; role: %s needs a DC-coupled one", j.Channel+1, coupled(group), group.Use, j.Role)
		return
	default:
		r.scale(&j, at["full_scale"], r.outputScale, group)
		low, high = -j.FullScale, j.FullScale
		if j.Sure == Unknown {
			if j.Role == Pitch {
				r.Node(at["jack"], "pitch is refused on output channel %d: %s", j.Channel+1, HowToMeasure)
				return
			}
			low, high, j.FullScale = -SafeVolts, SafeVolts, WorstFullScale
		}
	}
	if r.Count() > before {
		return
	}
	r.limits(n, at, &j, low, high)
	if r.Count() == before {
		r.Outputs = append(r.Outputs, j)
	}
}

func coupled(g *Group) string {
	if g.Coupling == Digital {
		return "digital"
	}
	return "AC-coupled"
}

// limits works out the limits of an output, and checks what has to be within them.
func (r *rigReader) limits(n *yaml.Node, at map[string]*yaml.Node, j *Jack, low, high float64) {
	given := func(f string) bool { return at[f] != nil }
	why := fmt.Sprintf("channel %s gives %.4g to %.4g V", r.Place(j), low, high)
	if j.Sure == Unknown && j.Expander < 0 {
		why = fmt.Sprintf("what a volt is on channel %s is not known, so ±%g V is the most", r.Place(j), SafeVolts)
	}
	if l := at["limit"]; l != nil {
		v, ok := r.Number(document.Item("limit", l), 0.01, 12, "V")
		if !ok {
			return
		}
		for _, f := range []string{"min", "max"} {
			if given(f) {
				r.Node(at[f], "%s is given with limit, which is both; leave one of the two", f)
				return
			}
		}
		if v > -low+1e-9 || v > high+1e-2 { // an ESX-8CV's upper end is a step short of its lower
			r.Node(l, "limit is %g V; %s", v, why)
			return
		}
		j.Min, j.Max = -v, min(v, high)
	} else {
		if !given("min") {
			j.Min = max(low, -RackVolts)
		}
		if !given("max") {
			j.Max = min(high, RackVolts)
		}
		for _, end := range []struct {
			field string
			v     float64
		}{{"min", j.Min}, {"max", j.Max}} {
			if given(end.field) && (end.v < low-1e-9 || end.v > high+1e-9) {
				r.Node(at[end.field], "%s is %g V; %s", end.field, end.v, why)
				return
			}
		}
		if j.Min >= j.Max {
			r.Node(n, "min is %g V and max is %g V; nothing is between them", j.Min, j.Max)
			return
		}
	}
	if !j.Role.Switches() {
		for _, f := range []string{"low", "high"} {
			if given(f) {
				r.Node(at[f], "%s is for role: gate, trigger and clock; this is role: %s", f, j.Role)
			}
		}
		if !given("safe") {
			j.Safe = min(max(0, j.Min), j.Max)
		}
		if j.Safe < j.Min || j.Safe > j.Max {
			r.Node(at["safe"], "safe is %g V, beyond the limits of %.4g to %.4g V", j.Safe, j.Min, j.Max)
		}
		return
	}
	if given("slew") {
		r.Node(at["slew"], "a gate with a slew is late; slew is for role: cv, pitch and audio")
	}
	if given("safe") {
		r.Node(at["safe"], "a gate rests at its low; expected low: %g", j.Safe)
		return
	}
	if !given("low") {
		j.Low = min(max(0, j.Min), j.Max)
	}
	if !given("high") {
		j.High = min(GateVolts, j.Max)
	}
	j.Safe = j.Low
	for _, level := range []struct {
		field string
		v     float64
	}{{"low", j.Low}, {"high", j.High}} {
		if level.v < j.Min || level.v > j.Max {
			r.Node(cmp.Or(at[level.field], n), "%s is %g V, beyond the limits of %.4g to %.4g V", level.field, level.v, j.Min, j.Max)
			return
		}
	}
	if j.Low == j.High {
		r.Node(n, "low and high are both %g V; a gate has two levels", j.Low)
	}
}

// place reads where an output is: a channel, or a socket of an expander.
func (r *rigReader) place(n *yaml.Node, j *Jack) {
	parts := strings.Split(n.Value, "/")
	if n.Kind != yaml.ScalarNode || len(parts) != 3 {
		if v, ok := r.Whole(document.Item("channel", n), 1, hardware.MaxChannels); ok && r.channel(n, v-1, "jack "+j.Name) {
			j.Channel = v - 1
		}
		return
	}
	i := slices.IndexFunc(r.Expanders, func(x Expander) bool { return x.Name == parts[0] })
	if i < 0 {
		var names []string
		for _, x := range r.Expanders {
			names = append(names, x.Name)
		}
		r.Node(n, "there is no expander %q; there are %s", document.Clip(parts[0]), cmp.Or(strings.Join(names, ", "), "none"))
		return
	}
	x := &r.Expanders[i]
	h, err := strconv.Atoi(parts[1])
	if err != nil || h < 1 || h > x.Frame.Headers() {
		r.Node(n, "the headers of an %s are 1 to %d, this is %q", x.Frame, x.Frame.Headers(), document.Clip(parts[1]))
		return
	}
	if !x.Fitted[h-1] {
		r.Node(n, "nothing is on header %d of %s; expected headers: {%d: %s}", h, x.Name, h, strings.Join(cardWords, "} or {"+parts[1]+": "))
		return
	}
	s, err := strconv.Atoi(parts[2])
	if err != nil || s < 1 || s > cardSockets {
		r.Node(n, "the sockets of a header are 1 to %d, this is %q", cardSockets, document.Clip(parts[2]))
		return
	}
	key := [3]int{i, h, s}
	if there := r.places[key]; there != "" {
		r.Node(n, "%s is taken by jack %s", n.Value, there)
		return
	}
	r.places[key] = cmp.Or(j.Name, "?")
	j.Expander, j.Header, j.Socket, j.Channel = i, h-1, s-1, x.Channels[0]
}

// scale finds what a volt is on a channel: what the jack says, what the rig says, what the profile
// says, in that order.
func (r *rigReader) scale(j *Jack, own *yaml.Node, measured float64, g *Group) {
	switch {
	case own != nil:
		j.Sure = Measured
	case measured > 0 && (g == nil || g.Use == useWords[0] || g.FullScale == 0):
		j.FullScale, j.Sure = measured, Measured
	case g != nil && g.FullScale > 0:
		j.FullScale, j.Sure = g.FullScale, g.Sure
	default:
		j.FullScale, j.Sure = 0, Unknown
	}
}

func (r *rigReader) input(n *yaml.Node) {
	j := Jack{Index: len(r.Inputs)}
	before := r.Count()
	at := r.jack(n, "an input", inputFields, &j)
	if at == nil {
		return
	}
	c, ok := r.Whole(document.Item("channel", at["channel"]), 1, hardware.MaxChannels)
	switch {
	case !ok:
		return
	case c > r.Device.CaptureChannels:
		r.Node(at["channel"], "input channel %d is beyond the %d of the interface", c, r.Device.CaptureChannels)
		return
	case r.captured[c] != "":
		r.Node(at["channel"], "input channel %d is taken by jack %s", c, r.captured[c])
		return
	}
	j.Channel = c - 1
	r.captured[c] = cmp.Or(j.Name, "?")
	if r.Count() > before {
		return
	}
	g := r.Interface.input(j.Channel)
	if g != nil && j.Role != Audio && (g.Coupling == AC || g.Coupling == Digital) {
		r.Node(at["channel"], "input channel %d is %s (%s), so no voltage stays on it; role: %s needs a DC-coupled one", c, coupled(g), g.Use, j.Role)
		return
	}
	r.scale(&j, at["full_scale"], r.inputScale, g)
	if j.Sure == Unknown {
		if j.Role == Pitch {
			r.Node(at["jack"], "pitch is refused on input channel %d: %s", c, HowToMeasure)
			return
		}
		j.FullScale = InputVolts
	}
	j.Min, j.Max = -j.FullScale, j.FullScale
	if math.IsNaN(j.FullScale) || j.FullScale <= 0 {
		return
	}
	r.Inputs = append(r.Inputs, j)
}
