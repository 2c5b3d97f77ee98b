package rig

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// New writes a rig file for an interface, with comments that say what can be changed. d is how the
// device is opened; its channels are counted where the profile does not say how many there are.
func New(name string, p *Profile, d Device) []byte {
	playback, capture := cmp.Or(d.Playback, p.Playback), cmp.Or(d.CaptureChannels, p.Capture)
	unknown := p.Name == "unknown"
	if playback == 0 {
		playback = 8
	}
	playback, capture = min(playback, hardware.MaxChannels), min(capture, hardware.MaxChannels)
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("# How the instrument is wired to the gear of this machine. It belongs to the machine, not to a scene.")
	line("# \"k8s-synth rig check\" reads it, \"k8s-synth rig schema\" tells an editor what can stand in it.")
	line("version: %d", Version)
	line("name: %s", cmp.Or(nameOf(name), "rig"))
	line("title: %s", strconv.Quote(cmp.Or(p.Title, name)))
	line("")
	if unknown {
		line("# What a volt is on this interface is not known: at most ±%g V leaves it, and pitch is refused.", SafeVolts)
		line("# Measure it with a voltmeter (\"k8s-synth calibrate meter\") and write full_scale here.")
	}
	line("interface: %s", p.Name)
	line("# unit: \"1234\"   # its serial number, where you have two of them: each keeps its own calibrations")
	line("# full_scale: {outputs: 10.02, inputs: 9.97}   # what you measured, in volts; it comes before the profile's")
	line("")
	line("device:")
	if d.Backend != "" {
		line("  backend: %s", d.Backend)
	}
	if d.Name != "" {
		line("  name: %s   # as \"k8s-synth devices\" lists it", strconv.Quote(d.Name))
	}
	if d.Capture != "" {
		line("  capture: %s", strconv.Quote(d.Capture))
	}
	line("  rate: %d", cmp.Or(d.Rate, 48000))
	if p.Playback == 0 || d.Playback != 0 || unknown {
		line("  playback: %d   # channels that are opened", playback)
	}
	if capture > 0 && (p.Capture == 0 || d.CaptureChannels != 0) {
		line("  capture_channels: %d", capture)
	}

	speakers, jacks := arrange(p, playback)
	line("")
	line("# Channels of loudspeakers, in the order of audio_out's channels. DC is filtered from them, and no")
	line("# jack can be on one.")
	line("speakers: [%s]", join(speakers))
	line("")
	line("# A jack for each channel that is wired to gear. role: cv, pitch, gate, trigger, clock or audio.")
	line("# More that a jack can have:")
	line("#   standard: 1.2V/oct          of pitch; 1V/oct where it does not say")
	line("#   limit: 5                    it never leaves ±5 V; or min: and max:")
	line("#   safe: 0                     where it rests when nothing plays")
	line("#   slew: 1000                  no faster than 1000 V/s")
	line("#   low: 0, high: 5             of gate, trigger and clock")
	line("#   full_scale: 10.02           what you measured on this channel")
	list := "outputs:"
	if len(jacks) == 0 {
		list = "outputs: []"
	}
	line("%s", list)
	for i, c := range jacks {
		g := p.output(c)
		name, role := fmt.Sprintf("out%d", i+1), CV
		if g != nil && g.FullScale > 0 && i < 4 {
			name, role = fmt.Sprintf("pitch%d", i/2+1), Pitch
			if i%2 == 1 {
				name, role = fmt.Sprintf("gate%d", i/2+1), Gate
			}
		}
		line("  - {jack: %s, channel: %d, role: %s}", name, c+1, role)
	}
	if p.Expander != nil && p.Expander.Channels[1] <= playback && !taken(jacks, p.Expander) {
		x := p.Expander
		line("")
		line("# An %s on its header gives gates as well (%s):", x.Device, x.Sure)
		line("# expanders:")
		line("#   - {device: %s, channels: [%d, %d], headers: {2: esx-8gt}}", x.Device, x.Channels[0], x.Channels[1])
		line("# and in outputs")
		line("#   - {jack: kick, channel: %s/1/1, role: trigger}", x.Device)
	}
	line("")
	line("# What is listened to.")
	var in []int
	for c := range capture {
		if g := p.input(c); g == nil || g.Use == useWords[0] && g.Coupling != AC {
			in = append(in, c)
		}
	}
	if len(in) == 0 {
		line("inputs: []")
		return []byte(b.String())
	}
	line("inputs:")
	for i, c := range in {
		line("  - {jack: in%d, channel: %d, role: cv}", i+1, c+1)
	}
	return []byte(b.String())
}

// arrange chooses speakers and jacks among the channels of an interface.
func arrange(p *Profile, playback int) (speakers, jacks []int) {
	for c := range playback {
		if g := p.output(c); g != nil && g.Use == "mains" {
			speakers = append(speakers, c)
		}
	}
	for c := range playback {
		g := p.output(c)
		switch {
		case g != nil && (g.Use != useWords[0] || g.Coupling == AC || g.Coupling == Digital):
		case g != nil && g.Coupling == DC:
			jacks = append(jacks, c)
		case len(speakers) < 2:
			speakers = append(speakers, c)
		default:
			jacks = append(jacks, c)
		}
	}
	return speakers, jacks
}

func taken(jacks []int, x *ExpanderPort) bool {
	for _, c := range jacks {
		if c+1 == x.Channels[0] || c+1 == x.Channels[1] {
			return true
		}
	}
	return false
}

func join(channels []int) string {
	var all []string
	for _, c := range channels {
		all = append(all, strconv.Itoa(c+1))
	}
	return strings.Join(all, ", ")
}
