package instrument

import "github.com/k8s-synth/k8s-synth/dsp"

func controllerSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "controller", Title: "Controller", HP: 10, Plus12: 35, Minus12: 15,
		Doc:   "A reconciliation loop of the player's own: it moves act until observed is what is desired. While acting does not help it looks less and less often. With the name of an object it watches that one's controller instead.",
		Bound: "a loop of the player's own, or the watch of one object: metadata.generation against status.observedGeneration",
		New:   func() Processor { return &controller{} },
		Params: []ParamSpec{
			{Name: "gain", Doc: "proportional share: act volts a volt of error", Min: 0, Max: 10, Value: 1},
			{Name: "integral", Doc: "integral share: act volts a second and volt of error", Min: 0, Max: 10},
			{Name: "deadband", Doc: "error that counts as none", Unit: "V", Min: 0, Max: 5, Value: 0.05},
			{Name: "interval", Doc: "time between reconciliations", Unit: "s", Min: 0.005, Max: 60, Value: 0.1, Curve: Exponential},
			{Name: "law", Doc: "what turns the error into act: P+I, or the program", Choices: []string{"p_i", "program"}},
			{Name: "program", Doc: "CEL expression for act in volts, of desired, observed, error, integral, act, interval and time", Text: true, Free: true, Default: "act + 0.5 * error"},
			{Name: "object", Doc: "kind/name of an object to watch, such as deployment/web; empty is the loop of the jacks", Text: true, Free: true},
		},
		Inputs: []JackSpec{
			{Name: "desired", Kind: CV, Doc: "what should be"},
			{Name: "observed", Kind: CV, Doc: "what is"},
			{Name: "reconcile", Kind: Trigger, Button: true, Doc: "reconciles now"},
		},
		Outputs: []JackSpec{
			{Name: "lag", Kind: CV, Unit: "1 V a generation", Doc: "of the watched object: generations that its controller has still to observe"},
			{Name: "watching", Kind: Gate, Doc: "high while it watches an object"},
			{Name: "result", Kind: CV, Doc: "what the program last came to"},
			{Name: "error", Kind: CV, Doc: "desired less observed"},
			{Name: "act", Kind: CV, Unit: "±10 V", Doc: "what it does about it"},
			{Name: "reconciled", Kind: Trigger, Doc: "it looked and acted"},
			{Name: "converged", Kind: Gate, Doc: "high while the error is within the deadband"},
			{Name: "backoff", Kind: CV, Unit: "1 V a doubling of the interval", Doc: "how far it has backed off, because acting did not help"},
		},
	}
}

const (
	controllerLag = iota
	controllerWatching
	controllerResult
	controllerError
	controllerAct
	controllerReconciled
	controllerConverged
	controllerBackoff
)

const (
	controllerDesired = iota
	controllerObserved
	controllerReconcile
)

const (
	controllerGain = iota
	controllerIntegral
	controllerDeadband
	controllerInterval
	controllerLaw
)

const (
	lawPI = iota
	lawProgram
)

const (
	actVolts   = 10 // act is held within ± this
	errorVolts = 20 // as is the error within ± this: as far apart as two CVs can be

	// backoffTries is how many reconciliations have time to help before the
	// interval is doubled, backoffMost how often it is.
	backoffTries = 3
	backoffMost  = 6
	// backoffHelped is the share of the error that must be left at most after
	// so many, if they are to count as help.
	backoffHelped = 0.99

	// A loop that has converged has lost it again outside of this hysteresis:
	// a quarter of the deadband, and half a centivolt where there is none.
	lostShare = 1.25
	lostVolts = 0.005
)

// controller is a reconciliation loop: between reconciliations act holds, as
// a controller does nothing between two looks at its object.
type controller struct {
	panel
	rate         float64
	edge         dsp.SchmittTrigger
	since        int64 // frames since the last reconciliation
	converged    bool
	integral     float32  // integral share of act, in V
	act, backoff dsp.Ramp // glided, so that they do not click
	doublings    int
	tries        int     // reconciliations since mark; 0 while converged
	mark         float32 // size of the error that is to become less
	aim          float32 // what it was after at the last reconciliation
	quiet        bool    // what it puts out is written throughout
}

func (c *controller) Init(sampleRate float64, seed uint64) {
	c.panel.init(Spec("controller"), sampleRate)
	c.rate = sampleRate
	c.act.Init(sampleRate)
	c.act.SetSeconds(rampSeconds)
	c.backoff.Init(sampleRate)
	c.backoff.SetSeconds(rampSeconds)
}

// Reset lowers the jacks and forgets the past of the loop. Audio thread.
func (c *controller) Reset() {
	c.panel.Reset()
	c.edge.Reset()
	c.since, c.converged, c.integral, c.quiet = 0, false, 0, false
	c.doublings, c.tries, c.mark, c.aim = 0, 0, 0, 0
	c.act.Jump(0)
	c.backoff.Jump(0)
}

// Process renders the panel and runs the loop. Audio thread.
func (c *controller) Process(io *IO) {
	c.tell(io)
	c.write(io, controllerLag, controllerError)
	c.write(io, controllerReconciled, controllerReconciled+1)
	if io.Params[controllerLaw][0] == lawProgram {
		c.act.Set(min(max(c.level(controllerResult), -actVolts), actVolts))
	}
	desired, observed, edge := io.In[controllerDesired], io.In[controllerObserved], io.In[controllerReconcile]
	rests := desired.Held&observed.Held&edge.Held&1 != 0 && c.jacks[controllerLag].rests && c.jacks[controllerWatching].rests &&
		io.rests(controllerDeadband) && io.rests(controllerInterval) && !c.act.Moving() && !c.backoff.Moving()
	if rests && c.quiet && !c.moved(io, 0) && !crosses(&c.edge, edge.Volts[0][0]) && c.since+int64(io.N) < c.due(io, 0) {
		e := c.error(io, 0)
		if e == io.Out[controllerError].Volts[0][0] {
			c.since += int64(io.N)
			return
		}
	}
	eo, ao, co, bo := io.Out[controllerError], io.Out[controllerAct], io.Out[controllerConverged], io.Out[controllerBackoff]
	for _, o := range []*Signal{eo, ao, co, bo} {
		o.Channels, o.Held = 1, 0
	}
	c.quiet = false
	for i := range io.N {
		e := c.error(io, i)
		size, band := max(e, -e), io.Params[controllerDeadband][i]
		if c.converged {
			c.converged = size <= band*lostShare+lostVolts
		} else if size <= band {
			c.converged = true
			c.hurry()
		}
		if c.doublings > 0 && c.moved(io, i) {
			c.hurry()
		}
		c.since++
		if rose := c.edge.Next(edge.Volts[0][i]); rose || c.since >= c.due(io, i) {
			c.reconcile(io, i, e)
		}
		eo.Volts[0][i] = e
		ao.Volts[0][i] = c.act.Next()
		bo.Volts[0][i] = c.backoff.Next()
		co.Volts[0][i] = 0
		if c.converged {
			co.Volts[0][i] = GateVolts
		}
	}
	if rests && !c.act.Moving() && !c.backoff.Moving() {
		c.quiet = true
		for _, o := range []*Signal{eo, ao, co, bo} {
			o.Fill(o.Volts[0][io.N-1])
		}
	}
}

// error is what is to be made good at frame i: what is desired less what is
// observed, or the generations that the watched object's controller has still
// to observe. Audio thread.
func (c *controller) error(io *IO, i int) float32 {
	e := io.Out[controllerLag].Volts[0][i]
	if io.Out[controllerWatching].Volts[0][i] < dsp.SchmittHigh {
		e = io.In[controllerDesired].Volts[0][i] - io.In[controllerObserved].Volts[0][i]
	}
	return min(max(e, -errorVolts), errorVolts)
}

// aims is what the loop is after at frame i: what is desired, or of a watched
// object its lag. Audio thread.
func (c *controller) aims(io *IO, i int) float32 {
	if io.Out[controllerWatching].Volts[0][i] > dsp.SchmittHigh {
		return io.Out[controllerLag].Volts[0][i]
	}
	return io.In[controllerDesired].Volts[0][i]
}

// moved tells whether the aim is another one than at the last reconciliation;
// of a watched object, whether it has got generations more. Audio thread.
func (c *controller) moved(io *IO, i int) bool {
	by := c.aims(io, i) - c.aim
	if by < 0 && io.Out[controllerWatching].Volts[0][i] < dsp.SchmittHigh {
		by = -by
	}
	return by > io.Params[controllerDeadband][i]+lostVolts
}

// hurry takes the doublings of the interval back. Audio thread.
func (c *controller) hurry() {
	c.doublings, c.tries = 0, 0
	c.backoff.Set(0)
}

// due is the time between two reconciliations in frames. Audio thread.
func (c *controller) due(io *IO, i int) int64 { return c.interval(io, i) << c.doublings }

// interval is the knob's, in frames. Audio thread.
func (c *controller) interval(io *IO, i int) int64 {
	return int64(float64(io.Params[controllerInterval][i])*c.rate + 0.5)
}

// reconcile looks at frame i, and acts. Audio thread.
func (c *controller) reconcile(io *IO, i int, e float32) {
	// A loop that has backed off knows nothing of the time in which it did not
	// look; it acts for one interval.
	seconds := float32(float64(min(c.since, c.interval(io, i))) / c.rate)
	c.since = 0
	c.strike(io, controllerReconciled, 0, i)
	c.judge(io, i, e)
	if io.Params[controllerLaw][i] == lawProgram {
		io.Changed(EventSample, controllerDesired, i, io.In[controllerDesired].Volts[0][i])
		io.Changed(EventSample, controllerObserved, i, io.In[controllerObserved].Volts[0][i])
		io.Changed(EventGate, controllerReconcile, i, 1)
		c.integral = 0
		return
	}
	if c.converged {
		e = 0 // within the deadband it counts as none
	}
	p := io.Params[controllerGain][i] * e
	k := io.Params[controllerIntegral][i]
	share := c.integral + k*e*seconds
	// Anti-windup: what act cannot follow is not summed up.
	if e > 0 && p+share > actVolts {
		share = max(c.integral, min(share, actVolts-p))
	} else if e < 0 && p+share < -actVolts {
		share = min(c.integral, max(share, -actVolts-p))
	}
	if k == 0 {
		share = 0
	}
	c.integral = min(max(share, -actVolts), actVolts)
	c.act.SetSeconds(min(rampSeconds, float64(io.Params[controllerInterval][i])))
	c.act.Set(min(max(p+c.integral, -actVolts), actVolts))
}

// judge doubles the interval when acting has not helped for a while, and
// takes the doublings back when it helps or something else is desired. Audio
// thread.
func (c *controller) judge(io *IO, i int, e float32) {
	size, moved := max(e, -e), c.moved(io, i)
	c.aim = c.aims(io, i)
	switch {
	case c.converged:
		c.tries = 0
	case c.tries == 0 || moved:
		c.tries, c.mark, c.doublings = 1, size, 0
	case c.tries < backoffTries:
		c.tries++
	default:
		if size > c.mark*backoffHelped {
			c.doublings = min(c.doublings+1, backoffMost)
		} else {
			c.doublings = 0
		}
		c.tries, c.mark = 1, size
	}
	c.backoff.Set(float32(c.doublings))
}
