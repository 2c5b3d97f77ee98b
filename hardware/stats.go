package hardware

import (
	"math"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Stats are the figures of a Device at one moment. Counters run from Open, over reopenings.
type Stats struct {
	Backend  string `json:"backend"`
	Device   string `json:"device"`
	Rate     int    `json:"rate"`
	Channels int    `json:"channels"`
	Period   int    `json:"period"` // frames, as asked
	// Lost: there is no device at the moment, and the music goes on in silence.
	Lost bool `json:"lost"`
	// LostDevice is the name of the one that is waited for, "" when none was ever open.
	LostDevice string `json:"lostDevice,omitempty"`
	Reopens    int    `json:"reopens"`

	Frames    uint64 `json:"frames"`    // rendered
	Callbacks uint64 `json:"callbacks"` // of the device
	// Underruns are the times that the device found the ring short, UnderrunFrames how much was missing.
	Underruns      uint64 `json:"underruns"`
	UnderrunFrames uint64 `json:"underrunFrames"`

	// LateCallbacks are those that came so long after the last one that the device's own buffer had run
	// out: it has played a gap (an xrun), whatever the ring held.
	LateCallbacks uint64 `json:"lateCallbacks"`
	// Lags counts callbacks by how many blocks the ring was short of its depth: how late the render
	// goroutine was. The last element is that and more.
	Lags []uint64 `json:"lags"`

	RingDepth int `json:"ringDepth"` // frames, the most that is kept ready
	RingFill  int `json:"ringFill"`  // frames ready now
	RingMin   int `json:"ringMin"`   // lowest fill at a callback in the last second; -1 before the first
	Latency   int `json:"latency"`   // frames from rendering to the device's output

	// Load is the part of its time that rendering takes, averaged over about a second; LoadPeak the
	// worst block of the last one to two seconds. 1 is all the time there is.
	Load     float64 `json:"load"`
	LoadPeak float64 `json:"loadPeak"`

	// Priority is the SCHED_FIFO priority of the render thread, 0 when it has none; PriorityNote says why.
	Priority       int    `json:"priority"`
	PriorityNote   string `json:"priorityNote,omitempty"`
	DevicePriority int    `json:"devicePriority"` // of the device's own thread
	// OtherPriority is that of the process's other threads: while the garbage collector holds the render
	// thread up, it waits for one of these.
	OtherPriority int `json:"otherPriority"`

	// Memory is MemoryLocked, RingLocked or MemoryTouched; MemoryNote says why not more.
	Memory     string `json:"memory"`
	MemoryNote string `json:"memoryNote,omitempty"`
	// MinorFaults and MajorFaults are page faults of the render thread since the device started, Waited is
	// how long that thread was ready and had to wait for a processor. 0 where the system does not tell.
	MinorFaults uint64  `json:"minorFaults"`
	MajorFaults uint64  `json:"majorFaults"`
	Waited      float64 `json:"waitedSeconds"`

	// Capture is the number of inputs. CaptureFill are the frames that are captured and not yet taken by the
	// renderer. CaptureGaps are the blocks for which something was missing, CaptureGapFrames how much, all of
	// which held its last value; CaptureLost are frames that the device itself had lost. CaptureRealigned
	// counts how often the distance between what is rendered and its echo had to change: RoundTrip, 0
	// without capture.
	Capture          int    `json:"capture"`
	CaptureFill      int    `json:"captureFill"`
	CaptureGaps      uint64 `json:"captureGaps"`
	CaptureGapFrames uint64 `json:"captureGapFrames"`
	CaptureLost      uint64 `json:"captureLost"`
	CaptureRealigned uint64 `json:"captureRealigned"`
	RoundTrip        int    `json:"roundTrip"`
	// Format is what the device takes samples in, where that is known. Xruns are the gaps that the device
	// or its server told of.
	Format string `json:"format,omitempty"`
	Xruns  uint64 `json:"xruns"`

	Clipped uint64 `json:"clipped"` // samples beyond full scale
	Invalid uint64 `json:"invalid"` // samples that were no number

	Recording *RecordStats `json:"recording,omitempty"`
}

// How far the memory of the audio threads is kept from being fetched again. What they touch was
// touched before the device started, in every case.
const (
	MemoryLocked  = "locked"             // all of it
	RingLocked    = "ring locked"        // the ring alone: RLIMIT_MEMLOCK allows no more
	MemoryTouched = "touched beforehand" // nothing is locked
)

// Stats returns the current figures, or after Close the last ones.
func (d *Device) Stats() Stats {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.statsLocked()
}

func (d *Device) statsLocked() Stats {
	st := d.sink.Load()
	if st == nil {
		return d.final
	}
	s := Stats{
		Backend: st.info.Backend, Device: st.info.Name, Rate: d.settings.Rate, Channels: d.settings.Channels, Period: st.period,
		Lost: d.lost, Reopens: d.reopens,
		Frames: d.frames.Load(), Callbacks: d.past.callbacks, Underruns: d.past.underruns, UnderrunFrames: d.past.underrunFrames,
		RingDepth: int(st.ring.load64(&st.ring.c.limit)), RingFill: st.ring.fill(), RingMin: d.ringMin, Latency: d.latency(st),
		Load:     math.Float64frombits(d.load.Load()),
		LoadPeak: max(math.Float64frombits(d.peak[0].Load()), math.Float64frombits(d.peak[1].Load())),
		Priority: d.priority, PriorityNote: d.prioNote, DevicePriority: int(st.ring.load32sched()), OtherPriority: d.others,
		LateCallbacks: d.past.late, Memory: d.memory, MemoryNote: d.memNote,
		Capture: d.settings.Capture, CaptureFill: int(d.spare.Load()), CaptureGaps: d.gaps.Load(), CaptureGapFrames: d.gapFrames.Load(),
		CaptureLost: d.past.captureLost, CaptureRealigned: d.realigned.Load(), RoundTrip: st.roundTrip(), Format: st.format, Xruns: d.past.xruns,
		Clipped: d.clipped.Load(), Invalid: d.invalid.Load(),
	}
	if f, ok := figuresOf(d.thread); ok {
		s.MinorFaults, s.MajorFaults = f.minorFaults-d.warm.minorFaults, f.majorFaults-d.warm.majorFaults
		s.Waited = (f.waited - d.warm.waited).Seconds()
	}
	lags := d.past.lags
	if d.lost {
		s.LostDevice = d.last.Name
	} else {
		s.Callbacks += st.ring.callbacks()
		s.LateCallbacks += st.ring.late()
		for i, n := range st.ring.lags() {
			lags[i] += n
		}
		s.Underruns += st.ring.underruns()
		s.UnderrunFrames += st.ring.underrunFrames()
		if st.capture != nil {
			s.CaptureLost += st.capture.lost()
		}
		if st.own != nil {
			s.Xruns += st.own.xruns()
		}
	}
	s.Lags = lags[:]
	if d.rec != nil {
		r := d.rec.stats()
		s.Recording = &r
	}
	return s
}

// Settings returns the settings in use, defaults filled in.
func (d *Device) Settings() Settings { return d.settings }

func (d *Device) latency(st *stream) int { return st.ahead() + st.period*st.periods }

// ahead is how many frames are rendered before the device takes them.
func (st *stream) ahead() int { return int(st.ring.load64(&st.ring.c.limit)) }

// Ahead is the part of Latency that is the ring: how many frames are rendered before the device
// takes them. An event that is stamped with Now plus a little more than that is on time.
func (d *Device) Ahead() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	st := d.sink.Load()
	if st == nil {
		return d.settings.Depth * instrument.BlockSize
	}
	return st.ahead()
}

// Latency is how many frames lie between a frame's rendering and the device's output: the ring and
// the device's own buffer as it was asked for. What a server or converter adds is not in it.
func (d *Device) Latency() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	st := d.sink.Load()
	if st == nil {
		return d.final.Latency
	}
	return d.latency(st)
}

// RoundTrip is how many frames lie between a frame that is rendered and its echo in what Render is
// given, if a cable led from an output straight to an input: the ring, and what the device says of its
// own latency. It is one number for the life of a stream; what converters add is not in it, nor what a
// server does not tell. 0 without capture, and until the device has captured something.
func (d *Device) RoundTrip() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	st := d.sink.Load()
	if st == nil {
		return d.final.RoundTrip
	}
	return st.roundTrip()
}

// Now is the engine frame that the device takes at this moment, with a fraction. It follows the
// callbacks through a delay-locked loop, so it runs evenly although they come in lumps; on JACK it is the
// server's own clock, as in its MIDI, and steps where the server has missed cycles. The render
// goroutine is ahead of it by up to the ring's depth: an event to sound at a constant latency is
// stamped with Now (or FrameAt its arrival) plus Latency, or any constant above the ring's depth.
//
// It takes a lock; it is for the control side.
func (d *Device) Now() float64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	st := d.sink.Load()
	if st == nil {
		return float64(d.final.Frames)
	}
	base := st.base.Load()
	if base < 0 {
		// No block has gone to this stream yet.
		return float64(d.frames.Load())
	}
	k := st.ring.clock()
	if k.secondsPerFrame == 0 {
		return float64(base)
	}
	t := float64(monotonic()) * 1e-9
	return float64(base) + float64(k.frame) - float64(k.missing) + (t-k.time)/k.secondsPerFrame
}

// FrameAt is Now for another moment, near the present one.
func (d *Device) FrameAt(t time.Time) float64 {
	return d.Now() + time.Until(t).Seconds()*float64(d.settings.Rate)
}
