package mapping

import (
	"slices"
	"strconv"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// storeState is the store itself.
type storeState struct {
	revision int64
	latency  float64 // of the last commit, seconds
}

func revisionVolts(rev int64) float32 { return float32(rev%100) * 0.1 }

func (s *storeState) apply(b *Board, t Transition, refs []panelRef, frame int64) {
	switch t.Field {
	case FieldRevision:
		if n, err := strconv.ParseInt(t.New, 10, 64); err == nil {
			s.revision = n
			b.show(refs, "revision", 0, revisionVolts(n), frame)
			if !t.Quiet {
				b.pulse(refs, "heartbeat", 0, frame)
			}
		}
	case FieldLatency:
		if v, ok := decimal(t.New); ok {
			s.latency = v
			b.show(refs, "commit_latency", 0, latencyVolts(v, 0.010), frame)
		}
	}
}

func (s *storeState) show(b *Board, refs []panelRef, frame int64) {
	b.show(refs, "revision", 0, revisionVolts(s.revision), frame)
	b.show(refs, "commit_latency", 0, latencyVolts(s.latency, 0.010), frame)
}

// apiState is the door to the cluster, how it came up, and how long the way
// through it takes.
type apiState struct {
	boot      [instrument.MaxPoly]bool
	reachable bool
	synced    bool
	reconcile float64 // from publishing to applied, seconds
	problem   int64   // frame of the last problem
	troubled  bool    // there was one
}

func (s *apiState) apply(b *Board, t Transition, refs []panelRef, frame int64) {
	switch t.Object.Kind {
	case KindAPIServer:
		switch t.Field {
		case FieldReachable:
			s.reachable = t.New == "true"
			if t.Old == "" && !s.reachable && !b.taking {
				// Said of nobody before: the teller is gone, and the next one
				// does not know what this one told.
				b.taking = true
				b.epoch++
			}
			b.showBoot(frame)
		case FieldSynced:
			s.synced = t.New == "true"
			if s.synced && b.taking {
				b.taking = false
				b.sweep(frame)
			}
		}
		b.showSync(frame)
	case KindCluster:
		if t.Field == FieldBoot {
			if t.New == "" {
				s.boot = [instrument.MaxPoly]bool{}
			} else if i := slices.Index(BootStages, t.New); i >= 0 {
				s.boot[i] = true
			}
			b.showBoot(frame)
		}
	case KindComposition:
		switch t.Field {
		case FieldLatency:
			if v, ok := decimal(t.New); ok {
				s.reconcile = v
				b.show(refs, "reconcile_latency", 0, latencyVolts(v, 0.100), frame)
			}
		case FieldReason:
			if t.New != "" && !t.Quiet {
				b.problem(frame)
			}
		}
	}
}

func (s *apiState) show(b *Board, refs []panelRef, frame int64) {
	b.showSync(frame)
	b.show(refs, "reconcile_latency", 0, latencyVolts(s.reconcile, 0.100), frame)
	b.show(refs, "density", 0, b.cloud.volts, frame)
}

// problem tells that the topology could not be published or applied.
func (b *Board) problem(frame int64) {
	frame = b.clock(frame)
	if b.api.troubled && frame < b.api.problem+int64(strikeGap*b.rate) {
		return // the two edges would be one
	}
	b.api.problem, b.api.troubled = frame, true
	b.pulse(b.panels[KindAPIServer], "problem", 0, frame)
}

func (b *Board) showSync(frame int64) {
	b.show(b.panels[KindAPIServer], jackSync, 0, gateVolts(b.api.reachable && b.api.synced), frame)
}

func (b *Board) showBoot(frame int64) {
	for i := range BootStages {
		on := b.api.boot[i]
		if !b.embedded {
			// Somebody else's control plane is there as a whole or not at all.
			on = b.api.reachable || i == 0
		} else if !b.api.reachable && i > slices.Index(BootStages, BootEtcd) {
			// What is behind a door that does not open might as well be gone.
			on = false
		}
		b.show(b.panels[KindAPIServer], "boot", i, gateVolts(on), frame)
	}
}
