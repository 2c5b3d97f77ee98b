package midi

import "math"

// Bend ranges that hold until RPN 0 says otherwise, in semitones each way
// (RP-053), and the widest.
const (
	MPEMasterBend = 2
	MPEMemberBend = 48
	MPEMaxBend    = 96
)

// MPETimbre is where controller 74 stands before a note says otherwise.
const MPETimbre = 64

// MPEZone is one of the two groups of channels that carry a note each. The
// lower zone has its master on channel 0 and its members from channel 1
// upward, the upper one on channel 15 and from channel 14 downward.
type MPEZone struct {
	Members int // 0…15; 0: there is no such zone
	// Bend ranges in semitones each way, 0…96, as RPN 0 says them.
	MasterBend, MemberBend float64
}

// MPEConfig says which channels are used how. The zero value has no zone.
type MPEConfig struct {
	Lower, Upper MPEZone
}

// NewMPEConfig returns zones with so many members and the usual bend ranges.
// One zone leaves the other at most 14 less its own members; the lower one
// comes first.
func NewMPEConfig(lower, upper int) MPEConfig {
	var c MPEConfig
	c.Set(true, upper)
	c.Set(false, lower)
	return c
}

// Set makes a zone of so many members, as the configuration message (RPN 6)
// does: the other zone gives way, and bend ranges go back to 2 and 48.
func (c *MPEConfig) Set(upper bool, members int) {
	members = min(max(members, 0), channels-1)
	zone, other := &c.Lower, &c.Upper
	if upper {
		zone, other = other, zone
	}
	*zone = MPEZone{Members: members, MasterBend: MPEMasterBend, MemberBend: MPEMemberBend}
	if members == 0 {
		*zone = MPEZone{}
		return
	}
	if other.Members > channels-2-members {
		other.Members = max(channels-2-members, 0)
	}
	if other.Members == 0 {
		*other = MPEZone{}
	}
}

// Master returns the master channel of a zone.
func Master(upper bool) int {
	if upper {
		return channels - 1
	}
	return 0
}

// Zone returns a zone.
func (c MPEConfig) Zone(upper bool) MPEZone {
	if upper {
		return c.Upper
	}
	return c.Lower
}

// Member returns the channel of member i of a zone, from 0.
func (c MPEConfig) Member(upper bool, i int) int {
	if upper {
		return channels - 2 - i
	}
	return 1 + i
}

// Of returns the zone of a channel, whether it is the master of it, and
// whether the channel is in one at all.
func (c MPEConfig) Of(channel int) (upper, master, ok bool) {
	switch n := c.Lower.Members; {
	case n > 0 && channel == 0:
		return false, true, true
	case channel >= 1 && channel <= n:
		return false, false, true
	}
	switch n := c.Upper.Members; {
	case n > 0 && channel == channels-1:
		return true, true, true
	case channel <= channels-2 && channel > channels-2-n:
		return true, false, true
	}
	return false, false, false
}

// Append adds what tells a receiver of the zones to dst: for each the
// configuration message (RPN 6), also of one without members, which ends it,
// and the bend ranges of the master and of every member (RPN 0).
func (c MPEConfig) Append(dst []Message) []Message {
	dst = c.appendZone(dst, false)
	return c.appendZone(dst, true)
}

func (c MPEConfig) appendZone(dst []Message, upper bool) []Message {
	zone := c.Zone(upper)
	dst = AppendRPN(dst, Master(upper), RPNMPE, zone.Members<<7)
	if zone.Members == 0 {
		return dst
	}
	dst = AppendRPN(dst, Master(upper), RPNBendRange, bendRange(zone.MasterBend))
	for i := range zone.Members {
		dst = AppendRPN(dst, c.Member(upper, i), RPNBendRange, bendRange(zone.MemberBend))
	}
	return dst
}

// bendRange writes semitones as RPN 0 does: whole ones, and cents.
func bendRange(semitones float64) int {
	cents := int(math.Round(min(max(semitones, 0), MPEMaxBend) * 100))
	return cents/100<<7 | cents%100
}

// semitones reads the value of RPN 0.
func semitones(value int) float64 {
	return min(float64(value>>7)+float64(min(value&0x7f, 99))/100, MPEMaxBend)
}

// bendPosition is where a bend of so many semitones stands in a range.
func bendPosition(bend, span float64) int {
	if !(span > 0) || math.IsNaN(bend) {
		return 0
	}
	return int(math.Round(min(max(bend/span*8192, -8192), 8191)))
}

// MPESteal says what an MPEOut does when every member channel sounds.
type MPESteal uint8

const (
	// MPEShare puts the note on the channel with the fewest notes, of equals
	// the one whose newest note is oldest. The notes there go on, but bend,
	// pressure and timbre are now the newest note's.
	MPEShare MPESteal = iota
	// MPEOldest ends the note that began first and takes its channel.
	MPEOldest
	// MPERefuse plays no more notes than there are members.
	MPERefuse
)

// MPEVoices is how many notes an MPEOut or an MPEIn follows at once.
const MPEVoices = 128

// MPEOut gives each note a member channel of one zone of an output. Notes have
// names of their own, as a pod's slot. The zero value has no members; it
// allocates nothing but what the slices it appends to need.
type MPEOut struct {
	// Steal is what happens when every member sounds.
	Steal MPESteal

	config  MPEConfig
	upper   bool
	clock   uint64
	members [channels - 1]mpeMember
	voices  [MPEVoices]mpeVoice
	count   int
}

// mpeMember is what a member channel was told last.
type mpeMember struct {
	notes    int
	began    uint64 // when its newest note began
	released uint64 // when its last note ended
	bend     int
	pressure uint8
	timbre   uint8
	told     bool
}

type mpeVoice struct {
	id     uint64
	began  uint64
	member uint8
	key    uint8
}

// MPEStart is how a note begins.
type MPEStart struct {
	Pitch    float64 // as MIDI counts notes, with fractions: 60 is middle C
	Velocity int     // 1…127
	Pressure int     // 0…127
	Timbre   int     // 0…127; MPETimbre is the middle
}

// NewMPEOut returns an allocator for a zone of a configuration.
func NewMPEOut(config MPEConfig, upper bool) *MPEOut {
	o := &MPEOut{}
	o.Init(config, upper)
	return o
}

// Init makes it begin anew with a zone of a configuration. Notes that sound
// are forgotten: Release them first.
func (o *MPEOut) Init(config MPEConfig, upper bool) {
	*o = MPEOut{Steal: o.Steal, config: config, upper: upper}
}

// Configure adds to dst what tells the receiver of the zone.
func (o *MPEOut) Configure(dst []Message) []Message {
	return o.config.appendZone(dst, o.upper)
}

// Playing returns how many notes sound.
func (o *MPEOut) Playing() int { return o.count }

// Channel returns the channel of a note, and whether it sounds.
func (o *MPEOut) Channel(id uint64) (int, bool) {
	if v := o.find(id); v != nil {
		return o.config.Member(o.upper, int(v.member)), true
	}
	return 0, false
}

func (o *MPEOut) find(id uint64) *mpeVoice {
	for i := range o.voices[:o.count] {
		if o.voices[i].id == id {
			return &o.voices[i]
		}
	}
	return nil
}

// On begins a note: to dst go the bend, the pressure and the timbre of its
// channel, then the note-on, in this order, so that nothing of the note
// before is heard. A note of the same name ends first. Nothing is added, and
// the result is false, when there is no room.
func (o *MPEOut) On(dst []Message, id uint64, s MPEStart) ([]Message, bool) {
	zone := o.config.Zone(o.upper)
	if zone.Members == 0 || math.IsNaN(s.Pitch) {
		return dst, false
	}
	dst = o.Off(dst, id, releaseVelocity)
	// A pitch beyond the keys is bent to as far as the range goes.
	key := int(math.Round(min(max(s.Pitch, 0), 127)))
	i := o.free(zone.Members)
	if i < 0 || o.count == MPEVoices {
		switch {
		case o.Steal == MPERefuse:
			return dst, false
		case o.Steal == MPEOldest || o.count == MPEVoices:
			old := o.oldest()
			i = int(old.member)
			dst = o.Off(dst, old.id, releaseVelocity)
		default:
			i = o.fewest(zone.Members, key)
		}
	}
	o.clock++
	m := &o.members[i]
	ch := o.config.Member(o.upper, i)
	m.bend = bendPosition(s.Pitch-float64(key), zone.MemberBend)
	m.pressure, m.timbre = data(s.Pressure), data(s.Timbre)
	m.notes++
	m.began, m.told = o.clock, true
	o.voices[o.count] = mpeVoice{id: id, began: o.clock, member: uint8(i), key: uint8(key)}
	o.count++
	return append(dst,
		BendTo(ch, m.bend),
		Pressure(ch, int(m.pressure)),
		CC(ch, CCTimbre, int(m.timbre)),
		On(ch, key, min(max(s.Velocity, 1), 127))), true
}

func data(v int) uint8 { return uint8(min(max(v, 0), 127)) }

// free returns the member that has been silent longest, or −1.
func (o *MPEOut) free(members int) int {
	best := -1
	for i := range members {
		m := &o.members[i]
		if m.notes == 0 && (best < 0 || m.released < o.members[best].released) {
			best = i
		}
	}
	return best
}

// fewest returns the member with the fewest notes, of equals the one whose
// newest note is oldest; one that sounds the same key only if all do.
func (o *MPEOut) fewest(members, key int) int {
	best, bestSame := -1, false
	for i := range members {
		m, same := &o.members[i], false
		for _, v := range o.voices[:o.count] {
			same = same || int(v.member) == i && int(v.key) == key
		}
		if best >= 0 {
			b := &o.members[best]
			switch {
			case same != bestSame:
				if same {
					continue
				}
			case m.notes != b.notes:
				if m.notes > b.notes {
					continue
				}
			case m.began >= b.began:
				continue
			}
		}
		best, bestSame = i, same
	}
	return best
}

func (o *MPEOut) oldest() mpeVoice {
	old := o.voices[0]
	for _, v := range o.voices[1:o.count] {
		if v.began < old.began {
			old = v
		}
	}
	return old
}

// Off adds the end of a note to dst, if it sounds. Velocity is 0…127, 64 where
// none was measured.
func (o *MPEOut) Off(dst []Message, id uint64, velocity int) []Message {
	v := o.find(id)
	if v == nil {
		return dst
	}
	m := &o.members[v.member]
	dst = append(dst, Off(o.config.Member(o.upper, int(v.member)), int(v.key), int(data(velocity))))
	o.clock++
	m.notes--
	m.released = o.clock
	o.count--
	*v = o.voices[o.count]
	return dst
}

// Pitch bends a note to a pitch, as far as the range goes. It adds nothing if
// the channel is there already, or if a newer note has the channel now.
func (o *MPEOut) Pitch(dst []Message, id uint64, pitch float64) []Message {
	v := o.owner(id)
	if v == nil || math.IsNaN(pitch) {
		return dst
	}
	m := &o.members[v.member]
	bend := bendPosition(pitch-float64(v.key), o.config.Zone(o.upper).MemberBend)
	if bend == m.bend {
		return dst
	}
	m.bend = bend
	return append(dst, BendTo(o.config.Member(o.upper, int(v.member)), bend))
}

// Pressure sets the pressure of a note, 0…127, as Pitch does its pitch.
func (o *MPEOut) Pressure(dst []Message, id uint64, pressure int) []Message {
	v := o.owner(id)
	if v == nil || o.members[v.member].pressure == data(pressure) {
		return dst
	}
	o.members[v.member].pressure = data(pressure)
	return append(dst, Pressure(o.config.Member(o.upper, int(v.member)), int(data(pressure))))
}

// Timbre sets controller 74 of a note, 0…127, as Pitch does its pitch.
func (o *MPEOut) Timbre(dst []Message, id uint64, timbre int) []Message {
	v := o.owner(id)
	if v == nil || o.members[v.member].timbre == data(timbre) {
		return dst
	}
	o.members[v.member].timbre = data(timbre)
	return append(dst, CC(o.config.Member(o.upper, int(v.member)), CCTimbre, int(data(timbre))))
}

// owner returns a voice if it is the newest of its channel.
func (o *MPEOut) owner(id uint64) *mpeVoice {
	v := o.find(id)
	if v == nil {
		return nil
	}
	for _, w := range o.voices[:o.count] {
		if w.member == v.member && w.began > v.began {
			return nil
		}
	}
	return v
}

// Bend adds a bend of the whole zone to dst, in semitones within the range of
// the master.
func (o *MPEOut) Bend(dst []Message, semitones float64) []Message {
	zone := o.config.Zone(o.upper)
	if zone.Members == 0 {
		return dst
	}
	return append(dst, BendTo(Master(o.upper), bendPosition(semitones, zone.MasterBend)))
}

// Release ends all notes.
func (o *MPEOut) Release(dst []Message) []Message {
	for o.count > 0 {
		dst = o.Off(dst, o.oldest().id, releaseVelocity)
	}
	return dst
}

// MPENote is a note that an MPEIn follows.
type MPENote struct {
	// ID is unique among all notes of one MPEIn, and counts from 1.
	ID      uint64
	Channel int // 0…15
	Upper   bool
	Key     int // 0…127, as it was struck
	// Pitch is the key with the bend of its channel and of the master, in
	// semitones as MIDI counts notes.
	Pitch    float64
	Velocity int // 1…127
	Release  int // 0…127, once it has ended
	Pressure int // 0…127
	Timbre   int // 0…127
}

// MPEChange says what became of a note.
type MPEChange uint8

const (
	MPEBegan MPEChange = iota
	MPEMoved           // its pitch, pressure or timbre
	MPEEnded
)

// MPEIn makes notes of what comes from an MPE controller. The zero value has
// no zone until the controller says one (RPN 6). It allocates nothing.
type MPEIn struct {
	config  MPEConfig
	numbers Numbers
	chans   [channels]mpeChannel
	notes   [MPEVoices]MPENote
	count   int
	last    uint64
}

// mpeChannel is what a channel said last; pressure and timbre of a note that
// is about to begin come before it.
type mpeChannel struct {
	bend     int
	pressure uint8
	timbre   uint8
}

// NewMPEIn returns one that expects zones before the controller says any.
func NewMPEIn(config MPEConfig) *MPEIn {
	p := &MPEIn{}
	p.config = config
	p.resetChannels(0, channels)
	return p
}

func (p *MPEIn) resetChannels(from, to int) {
	for ch := from; ch < to; ch++ {
		p.chans[ch] = mpeChannel{timbre: MPETimbre}
	}
}

// Config returns the zones as they are now.
func (p *MPEIn) Config() MPEConfig { return p.config }

// Playing returns how many notes sound.
func (p *MPEIn) Playing() int { return p.count }

// Message takes a message, and emits what it does to notes. It tells whether
// the message was one of MPE's own: what is left, as the pedals of a master
// channel, program changes and channels outside of the zones, is the caller's.
func (p *MPEIn) Message(m Message, emit func(MPEChange, MPENote)) bool {
	if !m.IsChannel() {
		return false
	}
	ch := m.Channel()
	if m.Kind() == ControlChange {
		if c, ok := p.numbers.Control(m); ok && c.Kind == ControlRPN && p.parameter(c, emit) {
			return true
		}
	}
	upper, master, ok := p.config.Of(ch)
	if !ok {
		return false
	}
	s := &p.chans[ch]
	switch m.Kind() {
	case NoteOn, NoteOff:
		key, velocity := int(m.Data[1]&0x7f), int(m.Data[2]&0x7f)
		if m.IsNoteOff() {
			if m.Kind() == NoteOn {
				velocity = releaseVelocity
			}
			p.end(ch, key, velocity, emit)
			return true
		}
		if p.count == MPEVoices {
			p.endAt(0, releaseVelocity, emit)
		}
		p.last++
		n := &p.notes[p.count]
		*n = MPENote{ID: p.last, Channel: ch, Upper: upper, Key: key, Velocity: velocity,
			Pressure: int(s.pressure), Timbre: int(s.timbre)}
		n.Pitch = p.pitch(n)
		p.count++
		emit(MPEBegan, *n)
	case PitchBend:
		s.bend = m.Bend()
		for i := range p.notes[:p.count] {
			if n := &p.notes[i]; n.Channel == ch || master && n.Upper == upper {
				p.move(n, p.pitch(n), n.Pressure, n.Timbre, emit)
			}
		}
	case ChannelPressure:
		s.pressure = m.Data[1] & 0x7f
		for i := range p.notes[:p.count] {
			if n := &p.notes[i]; n.Channel == ch {
				p.move(n, n.Pitch, int(s.pressure), n.Timbre, emit)
			}
		}
	case PolyPressure:
		// Allowed on the master only, where notes share the channel.
		for i := range p.notes[:p.count] {
			if n := &p.notes[i]; n.Channel == ch && n.Key == int(m.Data[1]) {
				p.move(n, n.Pitch, int(m.Data[2]&0x7f), n.Timbre, emit)
			}
		}
	case ControlChange:
		return p.control(m, ch, upper, master, emit)
	default:
		return false
	}
	return true
}

// control takes a controller of a channel of a zone.
func (p *MPEIn) control(m Message, ch int, upper, master bool, emit func(MPEChange, MPENote)) bool {
	switch m.Data[1] {
	case CCTimbre:
		p.chans[ch].timbre = m.Data[2] & 0x7f
		for i := range p.notes[:p.count] {
			if n := &p.notes[i]; n.Channel == ch {
				p.move(n, n.Pitch, n.Pressure, int(m.Data[2]&0x7f), emit)
			}
		}
	case CCAllSoundOff, CCAllNotesOff:
		p.endAll(func(n *MPENote) bool { return n.Channel == ch || master && n.Upper == upper }, emit)
		return false // of use to others as well
	case CCResetAll:
		p.resetChannels(ch, ch+1)
		for i := range p.notes[:p.count] {
			if n := &p.notes[i]; n.Channel == ch {
				p.move(n, p.pitch(n), 0, MPETimbre, emit)
			} else if master && n.Upper == upper {
				p.move(n, p.pitch(n), n.Pressure, n.Timbre, emit)
			}
		}
		return false
	default:
		return false
	}
	return true
}

// parameter takes a registered parameter, and tells whether it is MPE's.
func (p *MPEIn) parameter(c Control, emit func(MPEChange, MPENote)) bool {
	if c.Value14 < 0 {
		return false
	}
	switch c.Number {
	case RPNMPE:
		upper := c.Channel == channels-1
		if c.Channel != 0 && !upper {
			return false
		}
		members := c.Value14 >> 7
		if members > channels-1 {
			return true
		}
		if c.Fine && members == p.config.Zone(upper).Members {
			return true // the low half of the same message
		}
		before := p.config
		p.config.Set(upper, members)
		// Notes of channels that changed hands end.
		p.endAll(func(n *MPENote) bool {
			z, _, in := p.config.Of(n.Channel)
			return n.Upper == upper || !in || z != n.Upper
		}, emit)
		for ch := range channels {
			was, _, wasIn := before.Of(ch)
			is, _, in := p.config.Of(ch)
			if in != wasIn || is != was || in && is == upper {
				p.resetChannels(ch, ch+1)
			}
		}
		return true
	case RPNBendRange:
		upper, master, ok := p.config.Of(c.Channel)
		if !ok {
			return false
		}
		zone := &p.config.Lower
		if upper {
			zone = &p.config.Upper
		}
		if master {
			zone.MasterBend = semitones(c.Value14)
		} else {
			zone.MemberBend = semitones(c.Value14) // of any member, for all
		}
		for i := range p.notes[:p.count] {
			if n := &p.notes[i]; n.Upper == upper {
				p.move(n, p.pitch(n), n.Pressure, n.Timbre, emit)
			}
		}
		return true
	}
	return false
}

// pitch returns where a note stands now.
func (p *MPEIn) pitch(n *MPENote) float64 {
	zone, master := p.config.Zone(n.Upper), Master(n.Upper)
	v := float64(n.Key) + float64(p.chans[master].bend)/8192*zone.MasterBend
	if n.Channel != master {
		v += float64(p.chans[n.Channel].bend) / 8192 * zone.MemberBend
	}
	return v
}

func (p *MPEIn) move(n *MPENote, pitch float64, pressure, timbre int, emit func(MPEChange, MPENote)) {
	if n.Pitch == pitch && n.Pressure == pressure && n.Timbre == timbre {
		return
	}
	n.Pitch, n.Pressure, n.Timbre = pitch, pressure, timbre
	emit(MPEMoved, *n)
}

// end ends the oldest note of a key of a channel.
func (p *MPEIn) end(ch, key, velocity int, emit func(MPEChange, MPENote)) {
	for i := range p.notes[:p.count] {
		if n := &p.notes[i]; n.Channel == ch && n.Key == key {
			p.endAt(i, velocity, emit)
			return
		}
	}
}

func (p *MPEIn) endAt(i, velocity int, emit func(MPEChange, MPENote)) {
	n := p.notes[i]
	n.Release = velocity
	copy(p.notes[i:], p.notes[i+1:p.count]) // they stay in the order they began
	p.count--
	emit(MPEEnded, n)
}

func (p *MPEIn) endAll(which func(*MPENote) bool, emit func(MPEChange, MPENote)) {
	for i := 0; i < p.count; {
		if which(&p.notes[i]) {
			p.endAt(i, releaseVelocity, emit)
		} else {
			i++
		}
	}
}

// Release ends all notes, as when the controller was unplugged.
func (p *MPEIn) Release(emit func(MPEChange, MPENote)) {
	for p.count > 0 {
		p.endAt(0, releaseVelocity, emit)
	}
}
