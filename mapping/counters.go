package mapping

// Counters are figures of the control side, for metrics. All but Waiting
// count from the start.
type Counters struct {
	// Thinned are events of the cluster that were not struck because a storm
	// had more of their kind than the scene wants to hear.
	Thinned uint64
	// Waiting are events on their way to the engine that found no room yet,
	// Backlog the most that may wait before triggers are left out.
	Waiting, Backlog int
	// Dropped are events that were left out because the backlog was full.
	Dropped uint64
}

// Counters returns the figures of the control side.
func (r *Rack) Counters() Counters {
	return Counters{Thinned: r.board.cloud.thinned, Waiting: len(r.backlog), Backlog: backlogSize, Dropped: r.leftOut}
}
