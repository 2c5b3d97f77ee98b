//go:build cgo && linux

package jack

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// TestBenchScheduling measures what placing on the frame is worth beside the usual way, which sleeps
// until a message is due and sends it with the next cycle.
func TestBenchScheduling(t *testing.T) {
	if os.Getenv("K8S_SYNTH_BENCH") == "" {
		t.Skip("a comparison; set K8S_SYNTH_BENCH=1")
	}
	for _, period := range []int{64, 256, 1024} {
		for _, busy := range []bool{false, true} {
			for _, way := range []string{"sleeps", "places"} {
				t.Run(fmt.Sprintf("%d/%s/busy=%v", period, way, busy), func(t *testing.T) {
					startServer(t, period)
					p := startPeer(t, "peer")
					d := newDriver(t)
					out, err := d.OpenOut("peer:in")
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(500 * time.Millisecond)
					if busy {
						defer busyness()()
					}
					schedule(t, p, d, out, way == "sleeps", period)
				})
			}
		}
	}
}

func schedule(t *testing.T, p *peer, d *Driver, out port.Out, sleeps bool, period int) {
	const n = 600
	ahead := out.Ahead()
	if sleeps {
		ahead = 0
	}
	first := time.Now().Add(out.Ahead() + 20*time.Millisecond)
	var want []time.Time
	for i := range n {
		at := first.Add(time.Duration(i) * 5137 * time.Microsecond)
		want = append(want, at)
		time.Sleep(time.Until(at.Add(-ahead)))
		when := at
		if sleeps {
			when = time.Time{}
		}
		if err := out.Send(when, []byte{0x90, byte(i % 128), 100}); err != nil {
			t.Fatal(err)
		}
	}
	var off []float64
	for i, e := range p.await(t, n, 5*time.Second)[:n] {
		off = append(off, float64(e.at.Sub(want[i]))/1e6)
	}
	slices.Sort(off)
	median := off[n/2]
	var stray []float64
	for _, o := range off {
		stray = append(stray, o-median)
	}
	p50, p99, worst := spread(stray)
	t.Logf("period %d: median %+.3f ms from the time asked for; strays from it by p50 %.3f p99 %.3f max %.3f ms; late %d", period, median, p50, p99, worst, d.Stats().Late)
}

// busyness keeps two threads and the garbage collector busy until it is stopped.
func busyness() (stop func()) {
	var quit atomic.Bool
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			var keep [1 << 12][]byte
			for i := 0; !quit.Load(); i++ {
				keep[i%len(keep)] = make([]byte, 1<<10+i%4096)
			}
			runtime.KeepAlive(keep)
		})
	}
	return func() { quit.Store(true); wait.Wait() }
}

func BenchmarkSend(b *testing.B) {
	startServer(b, 256)
	startPeer(b, "peer")
	d := newDriver(b)
	out, err := d.OpenOut("peer:in")
	if err != nil {
		b.Fatal(err)
	}
	m := []byte{0x90, 60, 100}
	b.ReportAllocs()
	for b.Loop() {
		if err := out.Send(time.Time{}, m); err != nil {
			b.Fatal(err)
		}
	}
}
