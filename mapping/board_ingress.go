package mapping

import (
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// ingressState is an Ingress with the paths of its rules.
type ingressState struct {
	paths   []string
	latency float64 // seconds
}

var (
	routeJacks = numberedJacks("route", instrument.Endpoints) // by route
	pathParams = numberedJacks("path", instrument.Endpoints)
)

func (s *ingressState) apply(b *Board, t Transition, refs []panelRef, frame int64) bool {
	switch t.Field {
	case FieldExists:
		return t.New != ""
	case FieldRoutes:
		s.paths = s.paths[:0]
		for rule := range strings.SplitSeq(t.New, ",") {
			if path, _, ok := strings.Cut(rule, "="); ok {
				s.paths = append(s.paths, path)
			}
		}
		s.showRoutes(b, refs, frame)
	case FieldRoute:
		if t.New == "" || t.Quiet {
			break
		}
		for _, r := range refs {
			if i := slices.Index(b.pathsOf(r), t.New); i >= 0 {
				b.pulse([]panelRef{r}, routeJacks[i], 0, frame)
			}
		}
	case FieldNotFound:
		if t.New != "" && !t.Quiet {
			b.pulse(refs, "not_found", 0, frame)
			b.heardOf(instrument.GestureMissed, frame)
		}
	case FieldLatency:
		if v, ok := decimal(t.New); ok {
			s.latency = v
			b.show(refs, "latency", 0, latencyVolts(v, requestUnit), frame)
		}
	}
	return true
}

// pathsOf returns what stands on an Ingress panel, by route.
func (b *Board) pathsOf(r panelRef) (paths []string) {
	if m := b.patch.Module(r.id); m != nil {
		for _, name := range pathParams {
			paths = append(paths, m.Word(name))
		}
	}
	return paths
}

func (s *ingressState) show(b *Board, refs []panelRef, frame int64) {
	s.showRoutes(b, refs, frame)
	b.show(refs, "latency", 0, latencyVolts(s.latency, requestUnit), frame)
	b.show(refs, "live", 0, gateVolts(b.real), frame)
}

func (s *ingressState) showRoutes(b *Board, refs []panelRef, frame int64) {
	for _, r := range refs {
		for i, path := range b.pathsOf(r) {
			b.show([]panelRef{r}, "routes", i, gateVolts(path != "" && slices.Contains(s.paths, path)), frame)
		}
	}
}
