package sense

import "math"

const (
	// falseAlarms is the most cables in an hour, over all pairs of jacks, that may be reported
	// without being there.
	falseAlarms = 0.01
	// falsePulls is the most pulls in an hour, over one cable to each input, of cables that are
	// there.
	falsePulls = 0.1

	// Of the programme. A first match counts for firstMatch nats, one that looks like none of the
	// last for newMatch, and any other for sameMatch, up to sameMost: a foreign clock can imitate
	// ours, a melody it cannot. codeLeast nats of the code it takes in any case.
	firstMatch, newMatch, sameMatch = 7.0, 3.0, 0.3
	sameMost, creditMost            = 8.0, 18.0
	codeLeast                       = 4.0
	missing                         = 8.0 // nats against a cable whose programme does not arrive
	arrived                         = 6.0 // nats for one whose programme does
	alike                           = 0.12
	telling                         = 0.01 // nats that a hop must be able to say

	holdSeconds   = 0.25 // from its first doubt until a cable is given up: another round trip may explain it
	doubtSeconds  = 1.5  // after the device was opened anew
	holdNats      = 70   // in doubt, that a gain is held for
	gainNats      = 200  // of information before a gain is forgotten: a deviation of 0.07
	leastGain     = 0.75 // of a plain one, while little is known of it
	plugNats      = 25   // that a plain gain is worth when a cable was just found
	gainHops      = 90   // over which a gain is averaged
	glanceHops    = 8    // the same while there is no cable
	coupledVolts  = 0.02
	foreignVolts  = 0.03 // in the band, of an input without a cable
	foreignLevel  = 0.3  // at 0 Hz
	levelHops     = 16   // that a level is averaged over
	levelForget   = 0.95
	noiseForget   = 0.95
	silentDecibel = -160
)

// gains are what a cable may have, and how likely each is beforehand: a plain one, one in a passive
// mix, and both inverted.
var gains = [...]struct{ gain, prior float64 }{{1, 0.55}, {-1, 0.2}, {0.5, 0.15}, {-0.5, 0.1}}

// pair is what is known of one output in one input.
type pair struct {
	// r are Shiryaev and Roberts' statistics, one for each gain: the sum over all hops at which a
	// cable may have been plugged of the likelihood that it was to the likelihood that it was not.
	r      [len(gains)]float64
	credit float64 // nats, of the programme
	seen   [6]float64
	seenAt int64
	match  float64 // gain of the first match

	gu, gi float64 // gain · information, and information
	rate   float64 // information a hop
	on     bool
	sign   float64
	plain  float64 // one of gains: what it seemed to be when it was plugged
	since  int64
	gone   float64 // nats that it has been pulled
	from   int64   // since when
	held   float64 // nats that a pull was worth while the gain was held
}

// hear takes in what a hop says of the code: start, how many hops it stands for as the one at which a
// cable comes or goes, u, its correlation with what came in to the noise's
// variance, j, the energy that u would have by chance, and info, the energy of a cable of gain 1.
//
// For a cable of gain g the likelihood ratio is exp(g·u − g²·j/2). Whatever comes in, if it does
// not know the code its expectation is at most 1, as the mean of exp(±x) is at most exp(x²/2).
func (p *pair) hear(start, u, j, info float64) {
	start0 := start
	if j < telling {
		start0 *= j / telling // where nothing is heard there is nothing to begin
	}
	for k, g := range gains {
		l := g.gain*u - g.gain*g.gain*j/2
		p.r[k] = min((p.r[k]+start0*g.prior)*math.Exp(min(l, 200)), 1e80)
	}
	if p.on {
		g := p.gain()
		if least := leastGain * p.plain; p.gi < gainNats && p.sign*g < least {
			g = p.sign * least // by chance, more likely
		}
		if p.gone == 0 {
			p.from = 0 // decide sets it
		}
		p.gone = max(0, max(p.gone, math.Log(start))+g*g*j/2-g*u)
	}
	forget := 1 - 1.0/glanceHops
	if p.on {
		// A cable that is being pulled has no smaller gain. One that has is not gone after all the
		// time that it would take to see that.
		g := p.gain()
		switch {
		case p.gone < 1:
			p.held = 0
		case p.gone > 4 && p.held < holdNats:
			p.held += g * g * j / 2
			return
		}
		forget = 1
		if p.gi > gainNats {
			forget = 1 - 1.0/gainHops
		}
	}
	p.gu = forget*p.gu + u
	p.gi = forget*p.gi + info
	p.rate += (info - p.rate) / 32
}

// see takes in what a hop says of the programme: its gain and the standard error of that, what it did,
// and whether no other output did the same.
func (p *pair) see(gain, se, signature float64, only bool, x0 int64) {
	if math.IsInf(se, 1) {
		return
	}
	if p.on {
		g := math.Abs(p.gain())
		if !only {
			return
		}
		switch s := gain * p.sign; {
		case se > 0.12*g:
		case s > 0.5*g && s < 1.6*g:
			p.gone = max(0, p.gone-arrived)
			info := 1 / (se*se + 4e-6)
			p.gu += gain * info
			p.gi += info
		case s < 0.35*g:
			p.gone += missing
		}
		return
	}
	switch m := math.Abs(gain); {
	case se < 0.08 && (m < 0.2 || m > 1.7), p.credit > 0 && se < 0.05 && math.Abs(gain-p.match) > 0.3*math.Abs(p.match):
		p.credit = 0
	case m > 0.25 && m < 1.5 && m > 4*se && se < certain:
		fresh := only
		for _, v := range p.seen {
			if math.Abs(v-signature) < alike*math.Abs(signature) {
				fresh = false
			}
		}
		if !fresh && x0-p.seenAt < 3*hop {
			return // the same edge in the next block
		}
		switch {
		case p.credit == 0:
			p.credit, p.match = firstMatch, gain
		case fresh:
			p.credit = min(creditMost, p.credit+newMatch)
		case p.credit < sameMost:
			p.credit = min(sameMost, p.credit+sameMatch)
		}
		copy(p.seen[1:], p.seen[:])
		p.seen[0], p.seenAt = signature, x0
	}
}

// gain is the best estimate, with its sign.
func (p *pair) gain() float64 {
	if p.gi == 0 {
		return p.sign
	}
	return p.sign * min(max(p.sign*p.gu/p.gi, 0.15), 1.6)
}

// score returns the nats for a cable, of the code alone and in all, and its most likely gain.
func (p *pair) score() (code, all, gain float64) {
	var sum, best float64
	for k, r := range p.r {
		sum += r
		if r > best {
			best, gain = r, gains[k].gain
		}
	}
	code = math.Log(sum + 1e-80)
	if code < codeLeast {
		return code, code, gain
	}
	return code, code + p.credit, gain
}

// plug makes it a cable that has been there for some hops.
func (p *pair) plug(gain float64, now int64) {
	m := math.Abs(gain)
	g := min(max((math.Abs(p.gu)+m*plugNats)/(p.gi+plugNats), 0.7*m), 1.3*m)
	p.sign, p.plain = math.Copysign(1, gain), m
	p.on, p.since, p.gone, p.from, p.held = true, now, 0, 0, 0
	p.gi = plugNats
	p.gu = p.sign * g * p.gi
}

// plug makes a pair a cable.
func (a *analysis) plug(i, o int, gain float64) {
	a.pairs[i*a.outs+o].plug(gain, a.now)
	a.events = append(a.events, Event{Cable: a.cable(i, o), On: true, At: a.now})
	if a.guessed() {
		a.doubtful = 0
	}
}

// forget takes back all that spoke for a cable.
func (p *pair) forget() { *p = pair{rate: p.rate} }

// inputState is what is known of an input as a whole.
type inputState struct {
	w, x, y, xx, xy, yy float64 // sums for the regression of its level on what the cables send
	off                 float64 // sum of what is left of it
	sent, raw, got      float64 // sums over the last hops
	hops                int
	noise               float64 // variance of its chips
	plugged             uint64  // set of outputs the sums are of
}

// thresholds are in nats.
func (a *analysis) thresholds() (on, off float64) {
	hours := 3600 * float64(a.cfg.Rate) / hop
	hours *= 2 + jumpSeconds/3600.0
	return math.Log(hours * float64(len(a.pairs)) / falseAlarms), math.Log(hours * float64(a.ins) / falsePulls)
}

// decide looks at what the hop from x0 on has changed for input i.
func (a *analysis) decide(i int, x0 int64) {
	on, off := a.thresholds()
	pairs := a.pairs[i*a.outs : (i+1)*a.outs]
	frame := x0 + int64(a.lag) + hop
	var set uint64
	var sent, raw, known float64
	for o := range pairs {
		p := &pairs[o]
		if !p.on {
			_, all, gain := p.score()
			if all >= on {
				a.plug(i, o, gain)
			}
		} else {
			if p.gone > 0 && p.from == 0 {
				p.from = frame
			}
			if p.gone >= off && !a.looking && frame >= p.from+int64(holdSeconds*float64(a.cfg.Rate)) && (frame >= a.doubtful || a.guessed()) {
				c := a.cable(i, o)
				p.forget()
				a.events = append(a.events, Event{Cable: c, At: a.now})
			}
		}
		if p.on {
			set |= 1 << o
			g := p.gain()
			x := a.mean(a.pr[o], x0, hop)
			sent += g * x
			raw += p.sign * x
			known += g * g * a.amp[o] * a.amp[o]
		}
	}
	s := &a.inputs[i]
	v := a.work[i].deviate
	s.noise += (1 - noiseForget) * (max(v*v-known, v*v/100) - s.noise)
	if set != s.plugged {
		*s = inputState{noise: s.noise, plugged: set}
	}
	if set == 0 {
		return
	}
	s.sent += sent
	s.raw += raw
	s.got += a.level[i]
	if s.hops++; s.hops == levelHops {
		x, y := s.raw/levelHops, s.got/levelHops
		s.w = levelForget*s.w + 1
		s.x = levelForget*s.x + x
		s.y = levelForget*s.y + y
		s.xx = levelForget*s.xx + x*x
		s.xy = levelForget*s.xy + x*y
		s.yy = levelForget*s.yy + y*y
		s.off = levelForget*s.off + y - s.sent/levelHops
		s.sent, s.raw, s.got, s.hops = 0, 0, 0, 0
	}
}

// offset returns an input's level where nothing is sent, and how it is coupled if that shows.
func (s *inputState) offset() (volts float64, coupling string) {
	if s.w == 0 {
		return 0, ""
	}
	mx, my, off := s.x/s.w, s.y/s.w, s.off/s.w
	if v := s.xx/s.w - mx*mx; v > coupledVolts*coupledVolts {
		slope := (s.xy/s.w - mx*my) / v
		rest := s.yy/s.w - my*my - slope*slope*v
		switch {
		case slope > 0.3 && slope < 1.6 && rest < 0.1*slope*slope*v:
			return my - slope*mx, "dc"
		case math.Abs(slope) < 0.25:
			return my, "ac"
		}
	}
	if math.Abs(off) > math.Abs(my) { // what is sent does not show in it
		return my, ""
	}
	return off, ""
}

// cable describes a pair that is on.
func (a *analysis) cable(i, o int) Cable {
	p := &a.pairs[i*a.outs+o]
	g := p.gain()
	volts, coupling := a.inputs[i].offset()
	c := Cable{
		Output: a.cfg.Outputs[o].Name, Input: a.cfg.Inputs[i], Polarity: 1, Gain: round(math.Abs(g), 1e-4), Offset: round(volts, 1e-4),
		Coupling: coupling, Latency: a.lag, Since: p.since,
	}
	if g < 0 {
		c.Polarity = -1
	}
	c.SNR = round(decibels(g*g*p.rate*float64(a.cfg.Rate)/hop), 0.1)
	return c
}

func decibels(power float64) float64 {
	return max(silentDecibel, 10*math.Log10(power+1e-30))
}

// cables returns all that are on.
func (a *analysis) cables() []Cable {
	list := []Cable{}
	for i := range a.ins {
		for o := range a.outs {
			if a.pairs[i*a.outs+o].on {
				list = append(list, a.cable(i, o))
			}
		}
	}
	return list
}

// input describes input i.
func (a *analysis) input(i int, name string) InputState {
	s := &a.inputs[i]
	// A chip is the mean of four frames' noise.
	st := InputState{Name: name, Noise: round(decibels(4*s.noise/(nominalVolts*nominalVolts)), 0.1), Level: round(a.level[i], 1e-4), Clipped: a.work[i].clip}
	var power float64
	for m := range min(int64(a.cfg.Rate), a.now-a.valid)/mini - 1 { // the last second
		power = max(power, float64(a.yPow[i][int(a.now/mini-1-m)&(a.mask/mini)]))
	}
	st.Foreign = s.plugged == 0 && (power > foreignVolts*foreignVolts || math.Abs(a.level[i]) > foreignLevel)
	return st
}

// clear pulls every cable and forgets what was heard.
func (a *analysis) clear() {
	for i := range a.ins {
		for o := range a.outs {
			if p := &a.pairs[i*a.outs+o]; p.on {
				a.events = append(a.events, Event{Cable: a.cable(i, o), At: a.now})
			}
			a.pairs[i*a.outs+o].forget()
		}
		a.inputs[i] = inputState{}
	}
}

// renew looks for the round trip again, and keeps the cables until that is done.
func (a *analysis) renew() {
	if a.guessed() {
		return
	}
	a.doubtful = a.now + int64(doubtSeconds*float64(a.cfg.Rate))
}

// lock takes lag as the round trip, and goes through what is kept of the past with it.
func (a *analysis) lock(lag int) {
	if a.locked && lag != a.lag {
		a.relearned++
	}
	a.locked, a.lag, a.doubtful = true, lag, 0
	for k := range a.pairs {
		p := &a.pairs[k]
		p.r, p.credit = [len(gains)]float64{}, 0
	}
	// What was at another lag before is not gone: those that are on wait for what comes.
	held := append(a.held[:0], a.pairs...)
	a.held, a.looking = held, true
	a.restart()
	for a.next+int64(a.lag)+frameSize <= a.now {
		a.step(a.next, a.lag)
		a.next += hop
	}
	a.looking = false
	for k, p := range held {
		if q := &a.pairs[k]; p.on {
			q.gu, q.gi, q.gone, q.from, q.held = p.gu, p.gi, 0, 0, 0
		}
	}
}

// guessed tells whether the round trip is an expectation that no cable has shown yet.
func (a *analysis) guessed() bool { return a.locked && a.doubtful == math.MaxInt64 }

// expect takes lag as the round trip until a cable tells, and goes on to look for another.
func (a *analysis) expect(lag int) {
	a.lock(lag)
	a.relearned, a.doubtful = 0, math.MaxInt64
}
