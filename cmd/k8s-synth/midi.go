package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/bind"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port/jack"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port/system"
	"github.com/k8s-synth/k8s-synth/mapping/midi/rtp"
)

// midiDrivers are the systems that may have MIDI ports here, and what ends
// them. In JACK a client's name is for one alone.
func midiDrivers(client string, log *slog.Logger) ([]port.Driver, func()) {
	s, j := system.Driver(midiName), jack.New(jack.Settings{Client: client, Logger: log})
	return []port.Driver{s, j}, func() {
		_ = j.Close()
		if c, ok := s.(io.Closer); ok {
			_ = c.Close()
		}
	}
}

// midiName is that of the instrument's own ports.
const midiName = "k8s-synth"

// midiSurface is the instrument's MIDI: its ports, and the clocks that come in
// by them. All but in and plugs belongs to the control goroutine; nil is an
// instrument without MIDI.
type midiSurface struct {
	log    *slog.Logger
	hub    *port.Hub
	rtp    *rtp.Host
	in     chan port.In
	plugs  chan plug
	end    func() // of the drivers
	guard  *watchdog
	peers  map[string]*midiPeer
	leader string // the port whose clock was heard last
	taped  string // the port whose time code was heard last
}

// plug is a port that came or went.
type plug struct {
	info  port.Info
	there bool
}

// midiPeer is what is known of who sends on one port.
type midiPeer struct {
	beats   midi.ClockFollower
	code    midi.Timecode
	told    tape // of its time code, what the rack knows
	sought  time.Time
	sensing midi.Sensing
}

// tape is how a time code stands.
type tape struct {
	runs, known bool
	at          time.Duration // where it stands; while it runs, where it was when that was told
	jumps       uint64
}

// timecodeWait is how long, since the first quarter frame, a time code may run
// while nobody knows where: after that it runs without a place. The longest is
// sixteen quarter frames of the slowest rate.
const timecodeWait = 170 * time.Millisecond

// sensingTimeout is how long a port that uses active sensing may be silent. It
// is more than the 300 ms of the standard: networks stumble, and so do we.
const sensingTimeout = time.Second

// midiWaiting is how many messages wait for the control goroutine.
const midiWaiting = 8192

// openMIDI opens the instrument's own ports and those that were asked for.
// Where there is no MIDI it goes on without.
func (p *player) openMIDI(dir string) (err error) {
	if slices.Contains(p.o.midi, off) {
		return nil
	}
	m := &midiSurface{log: p.log, in: make(chan port.In, midiWaiting), plugs: make(chan plug, 256), peers: map[string]*midiPeer{}}
	var drivers []port.Driver
	drivers, m.end = midiDrivers(midiName, p.log)
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if a := p.o.network.rtp; a != off {
		if m.rtp, err = rtp.Open(rtp.Config{Listen: a, Remotes: p.o.network.rtpConnect, Allow: p.o.network.allow,
			Announce: reachable(a), Logger: p.log}); err != nil {
			return err
		}
		drivers = append(drivers, m.rtp)
		p.log.Info("rtp-midi", "address", m.rtp.Addr())
	}
	held := filepath.Join(dir, "midi.held")
	m.hub, err = port.Open(port.Config{Virtual: true, Patterns: p.o.midi, Drivers: drivers, Logger: p.log, Held: held,
		Received: func(in port.In) {
			// Where the control goroutine is behind, messages wait in the hub, which
			// gives up values first and ends of notes never.
			select {
			case m.in <- in:
			case <-p.ended:
			}
		},
		Plugged: func(info port.Info, there bool) {
			select {
			case m.plugs <- plug{info, there}:
			case <-p.ended:
			}
		},
	})
	if err != nil {
		// Notes that a crash leaves behind are not ended then; the music is more.
		p.log.Warn("midi", "err", err)
		err = nil
	}
	if m.guard, err = startWatchdog(held); err != nil {
		p.log.Warn("midi: nobody ends held notes if this process is killed", "err", err)
		err = nil
	}
	p.midi = m
	p.rack.MIDIOut = p.sendMIDI
	return nil
}

// close ends what sounds on other gear and closes the ports.
func (m *midiSurface) close() {
	if m == nil {
		return
	}
	if m.hub != nil {
		if err := m.hub.Close(); err != nil {
			m.log.Warn("midi", "err", err)
		}
	}
	if m.rtp != nil {
		if err := m.rtp.Close(); err != nil {
			m.log.Warn("rtp-midi", "err", err)
		}
	}
	m.end()
	m.guard.dismiss()
}

// messages and plugged are what waits for the control goroutine.
func (m *midiSurface) messages() <-chan port.In {
	if m == nil {
		return nil
	}
	return m.in
}

func (m *midiSurface) plugged() <-chan plug {
	if m == nil {
		return nil
	}
	return m.plugs
}

// panic ends everything on every port.
func (m *midiSurface) panic() {
	if m != nil {
		m.hub.Panic()
	}
}

// peer returns what is known of who sends on a port.
func (m *midiSurface) peer(name string) *midiPeer {
	c := m.peers[name]
	if c == nil {
		c = &midiPeer{sensing: midi.Sensing{Timeout: sensingTimeout}}
		m.peers[name] = c
	}
	return c
}

// tempo is that of the clock that is followed, 0 without one.
func (m *midiSurface) tempo() (bpm float64) {
	if m == nil || m.leader == "" {
		return 0
	}
	c := m.peer(m.leader)
	if c.beats.Lost(time.Now()) {
		return 0
	}
	return c.beats.Tempo()
}

// midiCame plays one message.
func (p *player) midiCame(in port.In) {
	m, at := in.Message, in.At
	c := p.midi.peer(in.Port)
	c.sensing.Received(m, at)
	switch k := m.Kind(); k {
	case midi.ActiveSensing:
		return
	case midi.Clock, midi.Start, midi.Continue, midi.Stop, midi.SongPosition:
		if k == midi.Clock {
			// A clock is heard when it should have come.
			at = c.beats.Pulse(at)
			p.midi.leader = in.Port
		} else {
			c.beats.Message(m, at)
		}
	case midi.QuarterFrame, midi.SysExStart:
		if c.code.Message(m, at) {
			p.midi.taped = in.Port
			p.timecode(in.Port, c, at)
			return
		}
		if k == midi.SysExStart {
			if p.panelSays(in.Port, m) {
				return
			}
			p.passOn(in)
			return
		}
	}
	// What was played before a layer was chosen or a control was learned ends
	// although its control is bound to something else now.
	if bound := p.binds.midi(in.Port, m, at); !bound || ends(m) {
		p.rack.MIDI(in.Port, m, p.hand(at))
	}
}

// ends tells whether a message lets a key or the pedal go.
func ends(m midi.Message) bool {
	return m.IsNoteOff() || m.Kind() == midi.ControlChange && m.Data[1] == midi.CCSustain && m.Data[2] < 64
}

// thru is a way of system exclusive messages from one port to another.
type thru struct{ from, to string }

// parseThru reads FROM=TO, both patterns of ports.
func parseThru(s string) (thru, error) {
	from, to, ok := strings.Cut(s, "=")
	if !ok || from == "" || to == "" {
		return thru{}, fmt.Errorf("--sysex takes FROM=TO, parts of the names of two MIDI ports, such as editor=k8s-synth, got %q", s)
	}
	return thru{from, to}, nil
}

// passOn sends a system exclusive message on to the ports that it is meant for,
// but not back to its own: an editor of another instrument may sit behind ours.
func (p *player) passOn(in port.In) {
	for _, w := range p.o.sysex {
		if !port.Match(w.from, in.Port) {
			continue
		}
		for _, o := range p.midi.open() {
			if o.Out && o.Name != in.Port && port.Match(w.to, o.Name) {
				if err := p.midi.hub.Send(o.Name, time.Time{}, in.Message); err != nil {
					p.log.Warn("midi", "err", err, "port", o.Name)
				}
			}
		}
	}
}

// timecode starts and stops the rack with the time code of a port, and puts it
// where that is. A clock of the same port knows better.
func (p *player) timecode(name string, c *midiPeer, now time.Time) {
	t := tape{runs: c.code.Running(now), jumps: c.code.Jumps}
	t.at, t.known = c.code.Elapsed()
	switch {
	case !t.runs:
		c.sought = time.Time{}
	case !t.known && !c.told.runs:
		if c.sought.IsZero() {
			c.sought = now
		}
		if now.Sub(c.sought) < timecodeWait {
			return
		}
	case t.runs:
		// It is certain at the second quarter frame that it runs: where it was at
		// the first is where the rack begins, so that a beat there is not missed.
		t.at = max(t.at-time.Duration(float64(time.Second)/4/c.code.Rate().PerSecond()), 0)
	}
	if was := c.told; t.runs == was.runs && t.known == was.known && t.jumps == was.jumps && (t.runs || t.at == was.at) {
		return
	}
	if c.beats.Tempo() > 0 && !c.beats.Lost(now) {
		return
	}
	c.told = t
	in := mapping.TransportInput{Port: name, Runs: t.runs}
	if t.known {
		seconds := t.at.Seconds()
		in.Seconds = &seconds
	}
	p.rack.Transport(in, p.hand(now))
	if f, ok := c.code.Time(); ok {
		p.log.Info("midi time code", "port", name, "at", f, "runs", t.runs)
	}
}

// timecodeStatus is the time code that was heard last.
type timecodeStatus struct {
	Port    string  `json:"port"`
	Time    string  `json:"time"` // hours, minutes, seconds, frames
	Rate    string  `json:"rate"` // frames a second: 24, 25, 29.97df or 30
	Seconds float64 `json:"seconds"`
	Runs    bool    `json:"runs"`
}

func (t *timecodeStatus) String() string {
	state := "stands"
	if t.Runs {
		state = "runs"
	}
	return fmt.Sprintf("%s (%s a second) from %s, %s", t.Time, t.Rate, t.Port, state)
}

// timecode is the time code that was heard last, nil without.
func (m *midiSurface) timecode() *timecodeStatus {
	if m == nil || m.peers[m.taped] == nil {
		return nil
	}
	c := &m.peers[m.taped].code
	f, known := c.Time()
	if !known {
		return nil
	}
	at, _ := c.Elapsed()
	return &timecodeStatus{Port: m.taped, Time: f.String(), Rate: f.Rate.String(), Seconds: at.Seconds(), Runs: c.Running(time.Now())}
}

// tellTimecode tells the OSC clients which frame of the time code it is.
func (p *player) tellTimecode() {
	if p.osc == nil || p.midi.peers[p.midi.taped] == nil {
		return
	}
	if f, known := p.midi.peers[p.midi.taped].code.Time(); known && f != p.osc.frame {
		p.osc.frame = f
		p.osc.says(&p.osc.timecode, "/timecode", f.String())
	}
}

// missed notices time codes that have stopped, and peers that have gone, of
// which no message tells.
func (p *player) missed(now time.Time) {
	if p.midi == nil {
		return
	}
	p.tellTimecode()
	behind := len(p.midi.in) > 0 // and not they are silent, but we deaf
	for name, c := range p.midi.peers {
		if c.told.runs {
			p.timecode(name, c, now)
		}
		if !behind && c.sensing.Lost(now) {
			p.log.Warn("midi: a peer with active sensing is silent; what it held is let go", "port", name)
			p.rack.PortGone(name, p.hand(now))
		}
	}
}

// plugged takes over that a port came or went.
func (p *player) plugged(g plug) {
	name := g.info.Name
	p.panelPort(name, g.info.Out, g.there)
	if !g.there {
		p.rack.PortGone(name, p.hand(time.Now()))
		p.binds.gone(name)
		delete(p.midi.peers, name)
		if p.midi.leader == name {
			p.midi.leader = ""
		}
		p.arms.Disarm(bind.Source(name))
		return
	}
	if g.info.Out {
		p.rack.PortCame(name)
		p.binds.came(name)
	}
}

// hand is the frame at which what a hand did at a moment is heard: as soon as
// can be, and always the same time after it.
func (p *player) hand(at time.Time) int64 {
	return max(int64(p.device.FrameAt(at))+p.handLatency, 1)
}

// handMargin is how long, in frames, the control goroutine may take to pass on
// what a hand did: with the ring's depth it is the latency of hands.
const handMargin = 2 * instrument.BlockSize

// played is the frame at which what a hand did is heard.
func (p *player) played(t turn) int64 { return p.hand(t.at) }

// sendMIDI sends a message when its frame is heard from the device.
func (p *player) sendMIDI(name string, m midi.Message, frame int64) {
	at := time.Now()
	if frame > 0 {
		rate := float64(p.o.device.Rate)
		at = at.Add(time.Duration((float64(frame) - p.device.Now() + float64(p.deviceLatency)) / rate * float64(time.Second)))
	}
	// Where no such port is there is nobody to miss it.
	if err := p.midi.hub.Send(name, at, m); err != nil && !errors.Is(err, port.ErrNoPort) {
		p.log.Warn("midi", "err", err, "port", name)
	}
}

// latencies takes over how far ahead the renderer is and how far behind the
// device: both are constant while the device is the same.
func (p *player) latencies() {
	ahead, all := int64(p.device.Ahead()), int64(p.device.Latency())
	hands, device := ahead+handMargin, all-ahead
	if hands == p.handLatency && device == p.deviceLatency {
		return
	}
	first := p.handLatency == 0
	p.handLatency, p.deviceLatency = hands, device
	if first {
		return // a device that has just begun is not at its depth yet
	}
	ms := func(frames int64) string {
		return fmt.Sprintf("%.1f ms", 1000*float64(frames)/float64(p.o.device.Rate))
	}
	p.log.Info("latency", "hands", ms(hands), "cluster", fmt.Sprintf("%.1f ms", 1000*p.scene.Latency), "device", ms(device))
}
