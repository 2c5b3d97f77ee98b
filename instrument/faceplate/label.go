package faceplate

import "strings"

// short are the words that a tight panel prints shorter.
var short = map[string]string{
	"unavailable": "unavail", "resonance": "reso", "probability": "prob", "stabilization": "stabil", "concurrency": "concurr",
	"completions": "complete", "parallelism": "parallel", "utilization": "util", "utilisation": "util", "allocation": "alloc",
	"endpoint": "endp", "velocity": "vel", "observed": "observ", "priority": "prio", "attenuation": "att", "reduction": "reduct",
	"sidechain": "side", "threshold": "thresh", "dynamics": "dyn", "breaths": "breath", "envelope": "env", "heartbeat": "beat",
	"commit": "commit", "latency": "lat", "reconcile": "recon", "triggered": "trig", "sixteenth": "16th", "eighth": "8th",
	"converged": "converg", "reconciled": "reconcd", "watching": "watch", "hysteresis": "hyst",
}

// fit breaks a name into one line of text or two that are no wider than room,
// or returns nil.
func (b *builder) fit(name string, room float64) []string {
	words := strings.Split(name, "_")
	if l := b.lines(words, room); l != nil {
		return l
	}
	if !b.lv.tight {
		return nil
	}
	cut := make([]string, len(words))
	for i, w := range words {
		if s, ok := short[w]; ok {
			w = s
		}
		cut[i] = w
	}
	return b.lines(cut, room)
}

func (b *builder) lines(words []string, room float64) []string {
	wide := func(s string) bool { return TextWidth(s, b.lv.label, Medium, 0) > room }
	if s := strings.Join(words, " "); !wide(s) {
		return []string{s}
	}
	best, least := []string(nil), 0.0
	for i := 1; i < len(words); i++ {
		x, y := strings.Join(words[:i], " "), strings.Join(words[i:], " ")
		if wide(x) || wide(y) {
			continue
		}
		w := max(TextWidth(x, b.lv.label, Medium, 0), TextWidth(y, b.lv.label, Medium, 0))
		if best == nil || w < least {
			best, least = []string{x, y}, w
		}
	}
	return best
}

// label is fit for a control that must be named.
func (b *builder) label(name string, cell float64) []string {
	l := b.fit(name, cell-0.7)
	if l == nil {
		b.bad = true
	}
	return l
}
