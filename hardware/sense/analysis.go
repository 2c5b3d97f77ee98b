package sense

import (
	"math"
	"math/cmplx"

	"github.com/k8s-synth/k8s-synth/dsp"
)

const (
	frameSize = 1024 // of a spectrum
	hop       = frameSize / 2
	hopChips  = hop / dsp.ChipFrames
	bins      = frameSize/2 + 1
	mini      = 64 // frames of which one figure of activity is kept

	// Below lowEdge hertz at 48 kHz there is hum and slow voltage, above highEdge nothing but a
	// converter's slope. They scale with the rate, as the codes do.
	lowEdge  = 1300.0 / 48000
	highEdge = 21800.0 / 48000
	highPass = 1500.0 / 48000

	historySeconds = 1.3 // kept beyond the longest round trip
	nominalVolts   = 10  // 0 dBFS

	// moving is the second difference, in volts, above which an output's programme is worth
	// taking away: below, it is −100 dBFS in the band.
	moving = 20e-6
	// quietest is the smallest deviation of a chip that is believed; real converters have more.
	quietest = 2e-6
	// railVolts and railRun say when an input stands at the end of its range: so many equal
	// frames at that much.
	railVolts = 1.0
	railRun   = 8
)

// analysis is the state of the analysis; Sensor.mu guards it. It keeps a history of what was sent
// and what came in, and goes through it hop by hop: in step with the outputs (at the known round
// trip) once that is known, and in step with the inputs until then.
type analysis struct {
	cfg    Config
	code   *dsp.Code
	amp    []float64
	outs   int
	ins    int
	maxLag int // frames, a multiple of mini

	// History, in rings of size mask+1. Frame f is at f&mask.
	mask   int
	now    int64 // frames taken
	valid  int64 // history holds frames from here
	gaps   uint64
	pr, ph [][]float32 // programme sent: as it is, and high-passed
	yr, yh [][]float32 // what came in
	pAct   [][]float32 // greatest second difference of each mini block of the programme
	yRail  [][]uint8   // frames of each mini block that stand at a rail
	yPow   [][]float32 // mean square of each mini block, high-passed
	pHP    []highpass
	yHP    []highpass
	rail   []railState
	start  [][]float32 // for each hop of an input, how likely a cable was plugged or pulled then
	jumps  []jump

	lag       int // frames of the round trip, where locked
	locked    bool
	relearned uint64
	next      int64 // next hop: a frame of the outputs where locked, of the inputs otherwise
	doubtful  int64 // until this frame another round trip is looked for

	sp      spectral
	work    []*whitener // of the inputs, in step with what goes on
	pairs   []pair      // input*outs + output
	held    []pair      // of lock
	looking bool        // back
	events  []Event
	search  search
	inputs  []inputState
	level   []float64 // last mean of each input
}

// highpass is a second-order Butterworth.
type highpass struct {
	b0, b1, b2, a1, a2 float64
	z1, z2             float64
	p1, p2             float64 // the last two samples that came in
}

func newHighpass(f float64) highpass {
	w := math.Tan(math.Pi * f)
	n := 1 / (1 + math.Sqrt2*w + w*w)
	return highpass{b0: n, b1: -2 * n, b2: n, a1: 2 * (w*w - 1) * n, a2: (1 - math.Sqrt2*w + w*w) * n}
}

// run filters x into y and returns the greatest second difference and the mean square of y.
func (h *highpass) run(y, x []float32) (diff, power float64) {
	z1, z2, p1, p2 := h.z1, h.z2, h.p1, h.p2
	for i, v := range x {
		u := float64(v)
		if u != u || math.Abs(u) > 1e3 {
			u = 0
		}
		w := h.b0*u + z1
		z1 = h.b1*u - h.a1*w + z2
		z2 = h.b2*u - h.a2*w
		y[i] = float32(w)
		power += w * w
		if d := math.Abs(u - 2*p1 + p2); d > diff {
			diff = d
		}
		p2, p1 = p1, u
	}
	if math.Abs(z1)+math.Abs(z2) < 1e-18 {
		z1, z2 = 0, 0
	}
	h.z1, h.z2, h.p1, h.p2 = z1, z2, p1, p2
	return diff, power / float64(len(x))
}

// response is the filter's at a fraction of the sample rate.
func (h *highpass) response(f float64) complex128 {
	z := cmplx.Rect(1, -2*math.Pi*f)
	return (complex(h.b0, 0) + z*complex(h.b1, 0) + z*z*complex(h.b2, 0)) / (1 + z*complex(h.a1, 0) + z*z*complex(h.a2, 0))
}

type railState struct {
	last float32
	run  int
}

func newAnalysis(cfg Config, code *dsp.Code, amp []float32) *analysis {
	a := &analysis{cfg: cfg, code: code, outs: len(cfg.Outputs), ins: len(cfg.Inputs)}
	for _, v := range amp {
		a.amp = append(a.amp, float64(v))
	}
	a.maxLag = (int(cfg.MaxRoundTrip*float64(cfg.Rate)) + mini) / mini * mini
	size := 1
	for size < a.maxLag+int(historySeconds*float64(cfg.Rate))+2*frameSize {
		size *= 2
	}
	a.mask = size - 1
	floats := func(n, size int) [][]float32 {
		x := make([][]float32, n)
		for i := range x {
			x[i] = make([]float32, size)
		}
		return x
	}
	a.pr, a.ph, a.pAct = floats(a.outs, size), floats(a.outs, size), floats(a.outs, size/mini)
	a.yr, a.yh, a.yPow = floats(a.ins, size), floats(a.ins, size), floats(a.ins, size/mini)
	a.yRail = make([][]uint8, a.ins)
	for i := range a.yRail {
		a.yRail[i] = make([]uint8, size/mini)
	}
	a.pHP, a.yHP = make([]highpass, a.outs), make([]highpass, a.ins)
	a.start, a.jumps = floats(a.ins, size/hop), make([]jump, a.ins)
	for i := range a.jumps {
		a.jumps[i].saved = jumpSeconds * float64(cfg.Rate) / hop
	}
	a.rail, a.level = make([]railState, a.ins), make([]float64, a.ins)
	a.pairs, a.inputs = make([]pair, a.ins*a.outs), make([]inputState, a.ins)
	a.sp.init(a.outs)
	for range a.ins {
		a.work = append(a.work, new(whitener))
	}
	a.search.init(a)
	a.begin(0)
	if cfg.RoundTrip > 0 && cfg.RoundTrip < a.maxLag {
		a.expect(cfg.RoundTrip)
	}
	return a
}

// begin starts a history at frame.
func (a *analysis) begin(frame int64) {
	frame = (frame + mini - 1) / mini * mini
	a.now, a.valid = frame, frame
	for i := range a.pHP {
		a.pHP[i] = newHighpass(highPass)
	}
	for i := range a.yHP {
		a.yHP[i] = newHighpass(highPass)
		a.rail[i] = railState{}
	}
	a.restart()
}

// restart begins the hops anew at the start of the history or as far back as it reaches.
func (a *analysis) restart() {
	back := int64(historySeconds*float64(a.cfg.Rate)) - 2*frameSize
	first := max(a.valid, a.now-back-int64(a.maxLag))
	a.next = (first + hop - 1) / hop * hop
	for _, w := range a.work {
		w.started = false
	}
	a.search.restart(a)
}

// take adds frames to the history and analyses what has become whole. data has slotFrames for each
// output and then each input.
func (a *analysis) take(frame int64, n int, data []float32) {
	if n == 0 {
		return
	}
	if frame > a.now {
		if a.now > 0 {
			a.gaps++
		}
		a.begin(frame)
	}
	if cut := a.now - frame; cut < int64(n) { // begin cuts to whole mini blocks
		a.append(data, int(cut), n)
	}
}

func (a *analysis) append(data []float32, from, to int) {
	for from < to {
		at := int(a.now) & a.mask
		n := min(to-from, mini-at%mini) // never across a mini block, and so never around the ring
		fresh := at%mini == 0
		m := at / mini
		for k := range a.outs {
			x := data[k*slotFrames+from : k*slotFrames+from+n]
			copy(a.pr[k][at:], x)
			d, _ := a.pHP[k].run(a.ph[k][at:at+n], x)
			if fresh {
				a.pAct[k][m] = 0
			}
			a.pAct[k][m] = max(a.pAct[k][m], float32(d))
		}
		for k := range a.ins {
			x := data[(a.outs+k)*slotFrames+from : (a.outs+k)*slotFrames+from+n]
			copy(a.yr[k][at:], x)
			_, p := a.yHP[k].run(a.yh[k][at:at+n], x)
			if fresh {
				a.yPow[k][m], a.yRail[k][m] = 0, 0
			}
			a.yPow[k][m] += float32(p) * float32(n) / mini
			a.yRail[k][m] += uint8(a.rail[k].count(x))
		}
		from += n
		a.now += int64(n)
		if a.now%hop == 0 {
			for i := range a.ins {
				f := a.now - hop
				a.start[i][int(f/hop)&(a.mask/hop)] = float32(a.jumps[i].weigh(a.mean(a.yr[i], f, hop), float64(a.cfg.Rate)))
			}
			a.advance()
		}
	}
}

// count returns how many of the frames stand at a rail.
func (r *railState) count(x []float32) (n int) {
	for _, v := range x {
		if v == r.last && (v > railVolts || v < -railVolts) {
			if r.run++; r.run >= railRun {
				n++
			}
			continue
		}
		r.last, r.run = v, 0
	}
	return n
}

// jump watches an input's level. What happens when a cable is plugged or pulled shows there, unless
// nothing is sent: so a hop with a jump gets the weight of all the quiet ones before it, and the
// weights of an hour are at most a little more than twice its hops.
type jump struct {
	level, usual float64
	saved        float64 // hops
	seen         bool
}

// jumpSeconds is how much quiet time a jump may be worth.
const jumpSeconds = 600

// weigh returns how many hops a hop with a mean of level stands for.
func (j *jump) weigh(level, rate float64) float64 {
	d := math.Abs(level - j.level)
	j.level = level
	if !j.seen {
		j.seen, j.usual = true, 1e-3
		return 1
	}
	was := j.usual
	j.usual += (min(d, 4*was+1e-6) - was) / 64
	if d > 6*was+1e-3 {
		w := 1 + j.saved
		j.saved = 0
		return w
	}
	j.saved = min(j.saved+1, jumpSeconds*rate/hop)
	return 1
}

// startAt is the weight of the hop of input i that frame f is in.
func (a *analysis) startAt(i int, f int64) float64 {
	return max(1, float64(a.start[i][int(f/hop)&(a.mask/hop)]))
}

// advance analyses every hop that is whole.
func (a *analysis) advance() {
	if !a.locked {
		for a.next+frameSize <= a.now {
			a.search.listen(a, a.next)
			a.next += hop
		}
	} else {
		for a.next+int64(a.lag)+frameSize <= a.now {
			a.step(a.next, a.lag)
			a.next += hop
		}
	}
	a.search.run(a)
}

// at returns n frames of a ring from frame f on, through buf where they lie around its end.
func (a *analysis) at(ring []float32, f int64, buf []float32) []float32 { return ringAt(ring, f, buf) }

// ringAt returns the frames of any ring from f on, as many as buf has.
func ringAt(ring []float32, f int64, buf []float32) []float32 {
	i := int(f) & (len(ring) - 1)
	if i+len(buf) <= len(ring) {
		return ring[i : i+len(buf)]
	}
	n := copy(buf, ring[i:])
	copy(buf[n:], ring)
	return buf
}

// moves tells whether output k's programme moves in n frames from f on.
func (a *analysis) moves(k int, f int64, n int) bool {
	for m := f / mini; m <= (f+int64(n)-1)/mini; m++ {
		if a.pAct[k][int(m)&(a.mask/mini)] > moving {
			return true
		}
	}
	return false
}

// clipped is the share of n frames from f on at which input k stands at a rail.
func (a *analysis) clipped(k int, f int64, n int) float64 {
	c, all := 0, 0
	for m := f / mini; m <= (f+int64(n)-1)/mini; m++ {
		c += int(a.yRail[k][int(m)&(a.mask/mini)])
		all += mini
	}
	return float64(c) / float64(all)
}

// mean of n frames of a ring from f on.
func (a *analysis) mean(ring []float32, f int64, n int) float64 {
	var s float64
	for i := range int64(n) {
		s += float64(ring[int(f+i)&a.mask])
	}
	return s / float64(n)
}

// step analyses the hop of the outputs that begins at frame x0, for every input at lag.
func (a *analysis) step(x0 int64, lag int) {
	a.sp.programme(a, x0)
	for i := range a.ins {
		a.stepInput(i, x0, lag)
	}
}

// stepInput is step for one input.
func (a *analysis) stepInput(i int, x0 int64, lag int) {
	w := a.work[i]
	r := a.sp.hop(a, w, i, x0, lag, true)
	clip := a.clipped(i, x0+int64(lag), frameSize) > 0.02
	w.clip = clip
	y0 := x0 + int64(lag)
	a.level[i] = a.mean(a.yr[i], y0, hop)
	if clip {
		return // nothing can be heard there
	}
	start := a.startAt(i, y0)
	pairs := a.pairs[i*a.outs : (i+1)*a.outs]
	for o := range pairs {
		p := &pairs[o]
		if r.chips {
			p.hear(start, a.amp[o]*r.sum[o], a.amp[o]*a.amp[o]*r.energy, a.amp[o]*a.amp[o]*r.info)
		}
		if r.fitted {
			p.see(r.gain[o], r.se[o], r.signature[o], r.only[o], x0)
		}
	}
	a.decide(i, x0)
}
