package hardware

import (
	"math"
	"testing"
	"time"
)

// A renderer that touches as much memory as a patch with long delays does takes no page fault from
// the disk once it plays, and hardly any other.
func TestRenderThreadTakesNoPageFaults(t *testing.T) {
	r := &roaming{line: make([]float32, 1<<20)}
	for i := range r.line {
		r.line[i] = 1e-9 // as a processor's buffer is cleared when it is made
	}
	d := openNull(t, Settings{Channels: 8, Period: 64}, r)
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	a := d.Stats()
	time.Sleep(1500 * time.Millisecond)
	b := d.Stats()
	minor, major := b.MinorFaults-a.MinorFaults, b.MajorFaults-a.MajorFaults
	t.Logf("memory %s; %d minor and %d major faults in %d blocks; %d and %d since the start", b.Memory, minor, major, (b.Frames-a.Frames)/BlockFrames, b.MinorFaults, b.MajorFaults)
	if major != 0 {
		t.Errorf("%d major page faults", major)
	}
	if minor > 8 {
		t.Errorf("%d minor page faults in 1.5 s", minor)
	}
	if b.Memory == "" || b.Memory != MemoryLocked && b.MemoryNote == "" {
		t.Errorf("memory: %q, %q", b.Memory, b.MemoryNote)
	}
}

// roaming renders through four megabytes of delay line.
type roaming struct {
	line []float32
	at   int
}

func (r *roaming) Render(out, in [][]float32) {
	for i := range out[0] {
		r.at = (r.at + 4099) % len(r.line)
		r.line[r.at] = r.line[r.at]*0.5 + float32(math.Sin(float64(r.at)))
		for c := range out {
			out[c][i] = r.line[(r.at+c*64)%len(r.line)]
		}
	}
}
