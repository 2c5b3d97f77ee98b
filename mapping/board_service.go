package mapping

import (
	"maps"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// vacantPlace is an endpoint's place whose pod has left.
const vacantPlace = "-"

// serviceState is a Service with the endpoints behind it.
type serviceState struct {
	namespace string
	endpoints []string // pods by place
	latency   float64  // seconds
	struck    [instrument.MaxPoly]int64
}

// endpointJacks are the endpoint jacks of a Service, by place.
var endpointJacks = numberedJacks("endpoint", instrument.Endpoints)

// at returns the pod in a place, empty if there is none.
func (s *serviceState) at(place int) string {
	if place < 0 || place >= len(s.endpoints) || s.endpoints[place] == vacantPlace {
		return ""
	}
	return s.endpoints[place]
}

func (s *serviceState) apply(b *Board, t Transition, refs []panelRef, frame int64) bool {
	s.namespace = t.Object.Namespace
	switch t.Field {
	case FieldExists:
		return t.New != ""
	case FieldEndpoints:
		s.endpoints = nil
		if t.New != "" {
			s.endpoints = strings.Split(t.New, ",")
		}
		s.showEndpoints(b, refs, frame)
		b.lookAt(moduleName(&t), frame)
	case FieldLatency:
		if v, ok := decimal(t.New); ok {
			s.latency = v
			b.show(refs, "latency", 0, latencyVolts(v, requestUnit), frame)
		}
	case FieldServed:
		if t.New == "" || t.Quiet {
			break
		}
		if i := slices.Index(s.endpoints, t.New); i >= 0 && i < instrument.MaxPoly {
			// Two on one jack within the length of a trigger are one.
			if at := s.struck[i]; at == 0 || frame >= at+int64(strikeGap*b.rate) {
				s.struck[i] = frame
				b.pulse(refs, "endpoints", i, frame)
				if i < instrument.Endpoints {
					b.pulse(refs, endpointJacks[i], 0, frame)
				}
			}
		}
		b.heardOf(instrument.GestureServed, frame)
	case FieldMissed:
		if t.New != "" && !t.Quiet {
			b.pulse(refs, "miss", 0, frame)
			b.heardOf(instrument.GestureMissed, frame)
		}
	}
	return true
}

func (s *serviceState) show(b *Board, refs []panelRef, frame int64) {
	s.showEndpoints(b, refs, frame)
	b.show(refs, "latency", 0, latencyVolts(s.latency, requestUnit), frame)
	b.show(refs, "live", 0, gateVolts(b.real), frame)
}

func (s *serviceState) showEndpoints(b *Board, refs []panelRef, frame int64) {
	n := 0
	for i := range max(len(s.endpoints), instrument.MaxPoly) {
		there := s.at(i) != ""
		if there {
			n++
		}
		if i < instrument.MaxPoly {
			b.show(refs, "present", i, gateVolts(there), frame)
		}
	}
	b.show(refs, "endpoint_count", 0, countVolts(n), frame)
}

// setMode takes over whether requests are real, and whether what the player
// asks for is asked of the cluster at all.
func (b *Board) setMode(mode Mode, frame int64) {
	real, listening := mode == Real, mode == ListenOnly
	if b.real == real && b.listening == listening {
		return
	}
	b.real, b.listening = real, listening
	frame = b.clock(frame)
	for _, key := range slices.Sorted(maps.Keys(b.panels)) {
		if strings.HasPrefix(key, KindService+"/") || strings.HasPrefix(key, KindIngress+"/") {
			b.show(b.panels[key], "live", 0, gateVolts(real), frame)
		}
	}
	b.retarget(frame)
}
