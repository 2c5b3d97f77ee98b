package hardware

// Converter stands between the volts of a Renderer and the numbers of a device: it says how many
// channels either side has, which of them hold, and what a volt is on each. A rig makes one
// (package rig); without one, Settings.FullScale, CVFullScale, CV and Gate say it all.
//
// Shape, Hold and Exact are asked once, by Open. The other methods are called from the render
// goroutine only, and obey its rules: they do not allocate, block or lock.
type Converter interface {
	// Shape returns how many outputs and inputs the Renderer has, and how many channels the device
	// is opened with for playback and capture. No capture channels open no capture.
	Shape() (outputs, inputs, playback, capture int)
	// Hold is the set of playback channels that keep their last value when the ring runs empty;
	// the others fade.
	Hold() ChannelSet
	// Exact is the set of playback channels whose samples are words of 24 bits that must arrive as
	// they are: with any, the device is opened in signed 32-bit integers or not at all. A method
	// GateBits(channel int) int32 may tell which bits of a channel's words are gates, to fall in a
	// panic while the others pass; without it all are.
	Exact() ChannelSet
	// Begin is called before the first block into a device that was just opened, or opened again:
	// whatever is plugged into it has seen nothing yet. CVs start from 0 V and slew.
	Begin()
	// Out converts one block of the renderer's volts, one slice an output, into samples at full
	// scale, one slice a playback channel; or for a channel of Exact into words, left-justified
	// (24 bits << 8). The slices of the other kind are nil. volts is nil after the renderer has
	// failed: then the last values are where everything lands from. Audio thread.
	Out(volts [][]float32, samples [][]float32, words [][]int32)
	// In converts one block that was captured, one slice a capture channel at full scale, into
	// volts, one slice an input. It is called before Render and before Out of the same block.
	// Audio thread.
	In(samples [][]float32, volts [][]float32)
	// Land is called once when the sound is to end, before the Out of its block: from then on
	// gates are low, CVs slew to their safe values and audio fades, over at most 50 ms.
	// Audio thread.
	Land()
	// Landed tells whether everything is at rest after Land. Audio thread.
	Landed() bool
}

// Probe is told of every block that passes a case, in volts, and may add to what goes out. Out has
// one slice for each output jack that is wired to gear, in what is sent right now and before any
// correction of the channel's errors; in has one for each input jack, as it was captured. The order
// is that of the rig's file. Tap runs on the audio thread: no allocation, lock or wait.
type Probe interface{ Tap(out, in [][]float32) }
