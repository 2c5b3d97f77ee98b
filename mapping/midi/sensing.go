package midi

import "time"

// SensingTimeout is how long a sender of active sensing may be silent
// (MIDI 1.0 Detailed Specification 4.2, active sensing).
const SensingTimeout = 300 * time.Millisecond

// Sensing tells when a sender that uses active sensing has gone: from its
// first active sensing message on, some message must come every 300 ms. Who
// never sends one is never missed. The zero value is ready.
type Sensing struct {
	// Timeout is longer on a network; 0 is SensingTimeout.
	Timeout time.Duration

	on   bool
	last time.Time
}

// Received takes note of any message. Times must not run backward.
func (s *Sensing) Received(m Message, at time.Time) {
	if m.Status() == ActiveSensing {
		s.on = true
	}
	s.last = at
}

// Active tells whether the sender uses active sensing and has not gone.
func (s *Sensing) Active() bool { return s.on }

// Lost tells, once, that the sender has gone: what it holds is to be released.
// Its next active sensing message arms it again.
func (s *Sensing) Lost(now time.Time) bool {
	limit := s.Timeout
	if limit <= 0 {
		limit = SensingTimeout
	}
	if !s.on || now.Sub(s.last) <= limit {
		return false
	}
	s.on = false
	return true
}
