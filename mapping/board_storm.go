package mapping

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// StormPolicy says what is struck of a storm: more events of one gesture than
// Config.Storm a second. Whatever the policy, all of them count for the API
// Server's density, and each gesture is shown on its event jack.
type StormPolicy string

// The policies. An empty one is StormCloud.
const (
	StormCloud StormPolicy = "cloud" // up to the rate of the storm, and the first and the last of it
	StormFirst StormPolicy = "first" // the first alone: a kind is heard again when it has become rarer than the rate
	StormAll   StormPolicy = "all"   // everything, however dense
)

// StormPolicies lists the policies that there are.
var StormPolicies = []StormPolicy{StormCloud, StormFirst, StormAll}

// Check tells whether there is such a policy.
func (p StormPolicy) Check() error {
	if p == "" || slices.Contains(StormPolicies, p) {
		return nil
	}
	var names []string
	for _, s := range StormPolicies {
		names = append(names, string(s))
	}
	return fmt.Errorf("no storm policy %q; expected one of %s", string(p), strings.Join(names, ", "))
}

// cloud is what a storm becomes.
type cloud struct {
	buckets  [instrument.MaxPoly]bucket // by gesture
	pulsed   [instrument.MaxPoly]struck // of the API Server's event jack, by gesture
	density  float64                    // events a second, smoothed
	volts    float32                    // of the density, as it is shown
	lastTick int64
	counted  int
	thinned  uint64 // events that were not struck, since the start
}

// bucket thins one kind of gesture: it holds the strikes that may still
// sound, and the last one that did not.
type bucket struct {
	begun  bool
	tokens float64
	at     int64
	held   func(frame int64)
	heldAt int64
}

// forget lets what was held back go unheard.
func (c *cloud) forget() {
	for g := range c.buckets {
		c.buckets[g].held = nil
	}
}

// heldSeconds is how long a kind of event must be quiet before the last that
// was swallowed by a storm is heard singly.
const heldSeconds = 0.25

// heardOf counts an event for the density, and shows its gesture at the API
// Server.
func (b *Board) heardOf(g instrument.Gesture, frame int64) {
	b.cloud.counted++
	if last := &b.cloud.pulsed[g]; last.gesture == instrument.NoGesture || frame >= last.frame+int64(strikeGap*b.rate) {
		*last = struck{frame, g}
		b.pulse(b.panels[KindAPIServer], "event", int(g), frame)
	}
}

// gesture lets a gesture sound, or in a storm does with it what the policy
// says; the first of a kind is always heard.
func (b *Board) gesture(g instrument.Gesture, frame int64, play func(frame int64)) {
	b.heardOf(g, frame)
	k := &b.cloud.buckets[g]
	switch b.policy {
	case StormAll:
		play(frame)
		return
	case StormFirst:
		rare := !k.begun || float64(frame-k.at)*b.storm >= b.rate
		k.begun, k.at = true, frame
		if rare {
			play(frame)
		} else {
			b.cloud.thinned++
		}
		return
	}
	if !k.begun {
		*k = bucket{begun: true, tokens: b.storm, at: frame}
	}
	k.tokens = min(k.tokens+float64(frame-k.at)/b.rate*b.storm, b.storm)
	k.at = frame
	if k.held != nil {
		b.cloud.thinned++ // it will not be the last of its storm
	}
	if k.tokens < 1 {
		k.held, k.heldAt = play, frame
		return
	}
	k.tokens--
	k.held = nil
	play(frame)
}

// tick moves what depends on time alone: the cloud's density, the last of a
// storm, and the phase of CronJobs. Call it about ten times a second of sound.
func (b *Board) tick(frame int64) {
	// This does not move the clock: a hand is not to wait for it.
	frame = max(b.now, frame)
	c := &b.cloud
	for g := range c.buckets {
		k := &c.buckets[g]
		if k.held != nil && float64(frame-k.heldAt) > heldSeconds*b.rate {
			play := k.held
			k.held = nil
			play(b.inTime(frame))
		}
	}
	if !b.dark {
		for _, key := range b.ticking {
			if o := b.objects[key]; o != nil {
				o.status.(*cronJobState).ramp(b, b.panels[key], frame)
			}
		}
	}
	dt := float64(frame-c.lastTick) / b.rate
	if dt <= 0 {
		return
	}
	c.lastTick = frame
	// Half a second of memory: fast enough to follow a storm, slow enough
	// not to flutter.
	a := 1 - math.Exp(-dt/0.5)
	c.density += a * (float64(c.counted)/dt - c.density)
	c.counted = 0
	v := float32(min(max(math.Log2(max(c.density, 1)), 0), 10))
	if d := v - c.volts; d > 0.02 || d < -0.02 || (v == 0 && c.volts != 0) {
		c.volts = v
		b.show(b.panels[KindAPIServer], "density", 0, v, frame)
	}
}
