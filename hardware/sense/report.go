package sense

// Cable is a cable from an output to an input, as it was heard.
type Cable struct {
	Output   string  `json:"output"`
	Input    string  `json:"input"`
	Polarity int     `json:"polarity"` // 1, or -1 where it arrives inverted
	Gain     float64 `json:"gain"`     // magnitude: volts measured for each volt sent
	Offset   float64 `json:"offset"`   // volts measured where none are sent
	// Coupling is "dc" or "ac" where the voltages sent so far have shown it, and empty before.
	Coupling string  `json:"coupling,omitempty"`
	Latency  int     `json:"latency"` // frames from output to input
	SNR      float64 `json:"snr"`     // dB, energy of the code over one second to the noise's density
	Since    int64   `json:"since"`   // frame at which it was found
}

// Event is a cable that was plugged or pulled.
type Event struct {
	Cable Cable `json:"cable"`
	On    bool  `json:"on"`
	At    int64 `json:"at"` // frame of Sensor.Frame
}

// Group is one jack and all that it is connected to through stackable cables or a mult.
type Group struct {
	Jack string   `json:"jack"`
	With []string `json:"with"`
}

// OutputState is an output of a Report.
type OutputState struct {
	Name  string `json:"name"`
	Pitch bool   `json:"pitch,omitempty"`
}

// InputState is what an input carries.
type InputState struct {
	Name string `json:"name"`
	// Noise is what remains when all that is known is taken away, as dBFS of 10 V over the whole
	// band.
	Noise   float64 `json:"noise"`
	Level   float64 `json:"level"`             // volts, mean of the last block
	Clipped bool    `json:"clipped,omitempty"` // stands at its limit, where nothing can be heard
	// Foreign tells that far more than noise comes in although no cable of ours is here.
	Foreign bool `json:"foreign,omitempty"`
}

// Stats are figures of a Sensor.
type Stats struct {
	Enabled    bool    `json:"enabled"`
	Rate       int     `json:"rate"`
	Frames     int64   `json:"frames"`     // through Tap
	Dropped    uint64  `json:"dropped"`    // blocks that the analysis was too late for
	Gaps       uint64  `json:"gaps"`       // times that it began anew after such
	Latency    int     `json:"latency"`    // round trip in frames; -1 while unknown
	Searching  bool    `json:"searching"`  // for the round trip
	Relearned  uint64  `json:"relearned"`  // times that the round trip changed
	LostEvents uint64  `json:"lostEvents"` // that nobody read
	Load       float64 `json:"load"`       // cores in use by the analysis lately
	CPU        float64 `json:"cpuSeconds"` // used by the analysis since the start
	// FalseAlarms is the most of them to be expected in an hour, over all pairs of jacks.
	FalseAlarms float64 `json:"falseAlarmsPerHour"`
}

// Report is all that a Sensor knows: the JSON of GET /sense.
type Report struct {
	Outputs []OutputState `json:"outputs"`
	Inputs  []InputState  `json:"inputs"`
	Cables  []Cable       `json:"cables"`
	Mixed   []Group       `json:"mixed,omitempty"` // inputs with several outputs
	Split   []Group       `json:"split,omitempty"` // outputs in several inputs
	Stats   Stats         `json:"stats"`
}

// groups finds the jacks that have more than one cable.
func groups(cables []Cable) (mixed, split []Group) {
	gather := func(end, other func(*Cable) string) (g []Group) {
		at := map[string]int{}
		var all []Group
		for i := range cables {
			c := &cables[i]
			k, ok := at[end(c)]
			if !ok {
				k = len(all)
				at[end(c)] = k
				all = append(all, Group{Jack: end(c)})
			}
			all[k].With = append(all[k].With, other(c))
		}
		for _, x := range all {
			if len(x.With) > 1 {
				g = append(g, x)
			}
		}
		return g
	}
	in := func(c *Cable) string { return c.Input }
	out := func(c *Cable) string { return c.Output }
	return gather(in, out), gather(out, in)
}
