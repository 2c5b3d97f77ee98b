package hardware

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"text/tabwriter"
	"time"
)

// How far an echo is from its frame, by backend, period and depth of the ring: the table in DEVICES.md.
func TestBenchRoundTrips(t *testing.T) {
	if os.Getenv("K8S_SYNTH_BENCH") != "1" {
		t.Skip("takes a minute: set K8S_SYNTH_BENCH=1")
	}
	var table bytes.Buffer
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "backend\tperiod\tring\techo after\tms\tnominal\tat that distance\tunderruns\tcapture gaps\trealigned\t")
	all := Channels(0, 1, 2, 3, 4, 5, 6, 7)
	measure := func(t *testing.T, s Settings, patch func()) {
		s.Channels, s.Capture, s.CV, s.CVFullScale = 8, 8, all, 4
		r := &counter{volts: 4}
		d := openPeer(t, s, r)
		patch()
		time.Sleep(1200 * time.Millisecond)
		r.forget()
		a := d.Stats()
		time.Sleep(3 * time.Second)
		best, _, other, seen := r.report()
		b := d.Stats()
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%.1f\t%d\t%.1f %%\t%d\t%d\t%d\t\n", s.Backend, s.Period, b.RingDepth, best.distance, float64(best.distance)/48,
			b.RoundTrip, 100*float64(best.frames)/float64(seen+other), b.Underruns-a.Underruns, b.CaptureGaps-a.CaptureGaps, b.CaptureRealigned-a.CaptureRealigned)
		d.Close()
	}
	for _, c := range [][2]int{{32, 2}, {64, 2}, {64, 8}, {128, 4}, {128, 8}, {256, 8}} {
		t.Run(fmt.Sprintf("jack%d", c[0]), func(t *testing.T) {
			startJACK(t, c[0])
			measure(t, Settings{Backend: "jack", Period: c[0], Depth: c[1]}, func() { patchJACK(t, 8) })
		})
	}
	for _, c := range [][2]int{{128, 8}, {256, 8}} {
		t.Run(fmt.Sprintf("pulse%d", c[0]), func(t *testing.T) {
			startPulse(t)
			measure(t, Settings{Backend: "pulse", Device: "cv8", Period: c[0], Depth: c[1]}, func() {})
		})
	}
	tw.Flush()
	t.Logf("\n%s", table.String())
}
