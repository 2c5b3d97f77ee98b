package rig

import (
	"fmt"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// Version is the version of rig files and profiles that this program writes and reads.
const Version = 1

// Figures of a rig.
const (
	// MaxFile is the longest rig file or profile that is read, in bytes.
	MaxFile = 1 << 20
	// MaxJacks is the most outputs and the most inputs of a rig.
	MaxJacks = 256
	// SafeVolts is the most that leaves a channel as long as nobody knows what a volt is on it.
	SafeVolts = 1.0
	// WorstFullScale is what such a channel is counted to give at full scale, in volts. It is above
	// what any interface is known to give: +24 dBu between the two pins of a balanced output are
	// 17.4 V at the peak, converters made for a case give 10 to 12. What is counted too high comes
	// out too low, so that ±SafeVolts holds on all of them.
	WorstFullScale = 20.0
	// RackVolts is the default limit of a channel: what signals in a case keep to, on rails of 12 V.
	RackVolts = 10.0
	// GateVolts is the default of a gate's high: every gate input takes it, and nothing is harmed.
	GateVolts = 5.0
	// SpeakerVolts is the default of audio_full_scale: the rack's audio is ±5 V.
	SpeakerVolts = 5.0
	// InputVolts is what an input is counted to read at full scale as long as nobody has measured it.
	InputVolts = 10.0
)

// Role is what runs through a jack.
type Role uint8

const (
	CV      Role = iota // a control voltage as it is
	Pitch               // a pitch, in the jack's standard
	Gate                // low or high
	Trigger             // a short gate
	Clock               // pulses of a clock
	Audio               // sound, without DC where DCBlock says so
)

var roleWords = []string{"cv", "pitch", "gate", "trigger", "clock", "audio"}

// String returns the word of rig files.
func (r Role) String() string { return word(roleWords, int(r)) }

// MarshalText writes the word of rig files.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Switches tells whether the role has two levels and nothing between them.
func (r Role) Switches() bool { return r == Gate || r == Trigger || r == Clock }

func word(words []string, i int) string {
	if i < len(words) {
		return words[i]
	}
	return "?"
}

// Sure is how well a figure is known.
type Sure uint8

const (
	Unknown   Sure = iota // nobody says, or nobody who has seen it
	Secondary             // told by somebody who is not the vendor
	Measured              // measured, on one device
	Vendor                // the vendor says so
)

var sureWords = []string{"unknown", "secondary", "measured", "vendor"}

// String returns the word of profiles.
func (s Sure) String() string { return word(sureWords, int(s)) }

// MarshalText writes the word of profiles.
func (s Sure) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Coupling tells whether a voltage that stays gets through.
type Coupling uint8

const (
	CouplingUnknown Coupling = iota
	AC                       // it does not
	DC                       // it does
	Digital                  // the channel ends in a digital output
)

var couplingWords = []string{"unknown", "ac", "dc", "digital"}

// String returns the word of profiles.
func (c Coupling) String() string { return word(couplingWords, int(c)) }

// MarshalText writes the word of profiles.
func (c Coupling) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Rig is one rig file.
type Rig struct {
	Name, Title, About string
	// Interface is the profile that the rig names or holds.
	Interface *Profile
	// Unit tells one interface from another of the same model; "" where there is only one.
	Unit string
	// Device is how the audio interface is opened.
	Device Device
	// Speakers are the channels of loudspeakers, counted from 0, in the order of audio_out's channels.
	Speakers []int
	// AudioFullScale is what is full scale at the speakers, in volts of the rack.
	AudioFullScale float64
	Expanders      []Expander
	// Outputs and Inputs are the jacks in the order of the file.
	Outputs, Inputs []Jack
}

// CalibrationName is the name that what was measured on the interface is kept by: that of its profile, and its
// unit.
func (r *Rig) CalibrationName() string {
	if r.Unit == "" {
		return r.Interface.Name
	}
	return r.Interface.Name + " " + r.Unit
}

// Device is how the audio interface of a rig is opened. Zero values leave it to hardware.Settings.
type Device struct {
	Backend, Name, Capture       string
	Rate, Period, Periods, Depth int
	// Playback and CaptureChannels are how many channels are opened.
	Playback, CaptureChannels int
}

// Settings returns s with what the rig says of the device.
func (d Device) Settings(s hardware.Settings) hardware.Settings {
	for _, v := range []struct {
		to   *int
		from int
	}{{&s.Rate, d.Rate}, {&s.Period, d.Period}, {&s.Periods, d.Periods}, {&s.Depth, d.Depth}} {
		if v.from != 0 {
			*v.to = v.from
		}
	}
	if d.Backend != "" {
		s.Backend = d.Backend
	}
	if d.Name != "" {
		s.Device = d.Name
	}
	if d.Capture != "" {
		s.CaptureDevice = d.Capture
	}
	return s
}

// Jack is one socket of the rig: a channel of the interface, or an output of an expander.
type Jack struct {
	Name string
	// Index is the jack's place among its kind in the file, which is its slice of hardware.Probe.
	Index int
	// Channel of the device, counted from 0; of an expander's output the first of its pair.
	Channel int
	// Expander is the index of the expander in Rig.Expanders, or −1; Header and Socket, counted
	// from 0, are the place on it.
	Expander, Header, Socket int
	Role                     Role
	Standard                 Standard
	// FullScale is what the number 1 is on the channel, in volts; Sure is how well that is known,
	// and a guess where it is Unknown.
	FullScale float64
	Sure      Sure
	Invert    bool
	// Min and Max are the limits in volts.
	Min, Max float64
	// Safe is where a voltage rests when nothing plays, in volts.
	Safe float64
	// Slew is the fastest that a voltage moves in V/s, 0 for no limit.
	Slew float64
	// Low and High are the levels of a role that switches, in volts.
	Low, High float64
	// DCBlock takes DC out of a jack of role audio.
	DCBlock bool
}

// Place names where a jack is, as rig files do.
func (r *Rig) Place(j *Jack) string {
	if j.Expander >= 0 {
		return fmt.Sprintf("%s/%d/%d", r.Expanders[j.Expander].Name, j.Header+1, j.Socket+1)
	}
	return fmt.Sprint(j.Channel + 1)
}

// Playback is the number of playback channels that the device is opened with.
func (r *Rig) Playback() int { return r.Device.Playback }

// Capture is the number of capture channels that the device is opened with, 0 where nothing is.
func (r *Rig) Capture() int {
	if len(r.Inputs) == 0 {
		return 0
	}
	return r.Device.CaptureChannels
}

// Exact is the set of channels that carry words and not numbers.
func (r *Rig) Exact() (s hardware.ChannelSet) {
	for _, e := range r.Expanders {
		s |= hardware.Channels(e.Channels[0], e.Channels[1])
	}
	return s
}

// Measured tells whether it is known what a volt is on every jack.
func (r *Rig) Measured() bool {
	unknown := func(j Jack) bool { return j.Sure == Unknown }
	return !slices.ContainsFunc(r.Outputs, unknown) && !slices.ContainsFunc(r.Inputs, unknown)
}

// HowToMeasure tells how to find what a volt is on an interface that nobody has measured.
const HowToMeasure = `what a volt is on this interface is not known, so at most 1 V leaves it and pitch is refused. Measure it:
  1. set a voltmeter to DC volts, range 2 V, and put it between tip and sleeve of a cable in the jack
  2. run "k8s-synth calibrate meter", which sends a few voltages and asks what the meter shows
  3. or write down what the meter shows while 1 V is sent, and set full_scale in the rig file
     to 20 times that: where it shows 0.512 V, a full scale of 10.24 V
  4. an input is measured the same way once an output is: patch one into the other, and scale alike`

// Safe is the rig of an interface that nobody knows: two speakers, and on all other channels control
// voltages of ±1 V at most, named out3, out4 …, and inputs in1, in2 …. It has no pitch, because
// nobody knows what a volt is there.
func Safe(playback, capture int) *Rig {
	playback, capture = min(max(playback, 1), hardware.MaxChannels), min(max(capture, 0), hardware.MaxChannels)
	r := &Rig{Name: "safe", Title: "an interface that nobody has measured", Interface: UnknownInterface(playback, capture), AudioFullScale: SpeakerVolts,
		Device: Device{Playback: playback, CaptureChannels: capture}}
	for c := range playback {
		if c < 2 {
			r.Speakers = append(r.Speakers, c)
			continue
		}
		r.Outputs = append(r.Outputs, Jack{Name: fmt.Sprintf("out%d", c+1), Index: len(r.Outputs), Channel: c, Expander: -1, Role: CV,
			FullScale: WorstFullScale, Min: -SafeVolts, Max: SafeVolts, Low: 0, High: SafeVolts})
	}
	for c := range capture {
		r.Inputs = append(r.Inputs, Jack{Name: fmt.Sprintf("in%d", c+1), Index: c, Channel: c, Expander: -1, Role: CV, FullScale: InputVolts, Min: -InputVolts, Max: InputVolts})
	}
	return r
}

// Remarks tell what is not wrong with a rig and yet worth knowing.
func (r *Rig) Remarks() (all []string) {
	say := func(format string, a ...any) { all = append(all, fmt.Sprintf(format, a...)) }
	if len(r.Expanders) > 0 {
		switch r.Device.Backend {
		case "jack":
			say("JACK carries floats, so the device will be refused for the expander %s, whose words are exact integers; use backend: alsa and name: \"hw:N,0\"", r.Expanders[0].Name)
		case "alsa", "null":
		default:
			say("the expander %s needs each word as it is; the device is refused where something on the way converts, mixes or scales samples, and the raw ALSA device does not", r.Expanders[0].Name)
		}
	}
	if rates := r.Interface.Rates; r.Device.Rate != 0 && len(rates) > 0 && !slices.Contains(rates, r.Device.Rate) {
		say("%s runs at %s Hz; at %d Hz it is refused or resampled", r.Interface.Title, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(rates)), ", "), "[]"), r.Device.Rate)
	}
	for _, c := range r.Speakers {
		if g := r.Interface.output(c); g != nil && g.Coupling == DC {
			say("speakers are on channel %d, which is DC-coupled: DC is filtered from it, and it could carry a control voltage", c+1)
		}
	}
	for i := range r.Outputs {
		j := &r.Outputs[i]
		g := r.Interface.output(j.Channel)
		switch {
		case j.Expander >= 0:
			if j.Role == Pitch {
				say("pitch of %s is in steps of %.1f cents: %s has 12 bits", j.Name, 1200/cvPerVolt/j.Standard.voltsPerOctave(), r.Place(j))
			}
			continue
		case g == nil:
			say("%s: nothing is said of output channel %d", j.Name, j.Channel+1)
		case j.Role != Audio && g.Coupling == CouplingUnknown:
			say("%s: whether output channel %d is DC-coupled is not known: if it is not, the voltage fades within a second", j.Name, j.Channel+1)
		}
		if j.Sure == Secondary && j.Role == Pitch {
			say("%s: the full scale of %.4g V is hearsay (%s): calibrate it before you trust it", j.Name, j.FullScale, g.source())
		}
	}
	for i := range r.Inputs {
		if j := &r.Inputs[i]; j.Sure == Unknown {
			say("%s: what a volt is on input channel %d is not known: full scale is counted as %g V", j.Name, j.Channel+1, j.FullScale)
		}
	}
	if !r.Measured() {
		say("%s", HowToMeasure)
	}
	return all
}

// nameOf makes a lower-case name for files and jacks of any text.
func nameOf(text string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(text) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= 40 {
			break
		}
	}
	return strings.Trim(b.String(), "-")
}
