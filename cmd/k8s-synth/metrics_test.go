package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
)

// fullStatus has another figure in each field, so that none can be taken for another.
func fullStatus() playStatus {
	lags := make([]uint64, 65)
	lags[0], lags[1], lags[3], lags[40] = 1000, 100, 10, 1
	return playStatus{
		Version: "1", Scene: "default", Seconds: 12.5, Tempo: 90,
		Audio: hardware.Stats{Backend: "jack", Device: `a "device"`, Rate: 48000, Frames: 101, Callbacks: 102, Underruns: 103, UnderrunFrames: 104, Reopens: 105,
			LateCallbacks: 106, Lags: lags, RingDepth: 480, RingFill: 240, RingMin: -1, Latency: 960, Load: 0.25, LoadPeak: 0.5, Priority: 50, DevicePriority: 55,
			Memory: hardware.MemoryLocked, MinorFaults: 107, MajorFaults: 108, Waited: 0.125, Clipped: 109, Invalid: 110, Lost: true},
		Engine:      engineStatus{Plan: 111, Late: 112, Overflow: 113, Scrubbed: 114},
		Transitions: map[string]uint64{"pod": 115, "other": 116}, Thinned: 117,
		Queues:     []queueStatus{{"stream", 1, 4096, 0}, {"turns", 2, 4096, 118}},
		OSCStats:   osc.Stats{Packets: 119, Messages: 120, Malformed: 121, Late: 122, Sent: 123, Unsent: 124},
		Clocks:     []clockStatus{{"kube", 0.0002, 0.01, 125}},
		Cluster:    mapping.ClusterState{Synced: true, Pods: 126, Ready: 3, Desired: 4, Unheard: 127, CommitLatency: 0.002, ReconcileLatency: 0.2},
		Neighbours: []neighbourStatus{{Name: "k8s-synth-kube", PID: 1, Starts: 3, RSS: 1000}, {Name: "k8s-synth-cluster"}},
	}
}

// scrape reads metrics as Prometheus does.
func scrape(t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s", resp.Status, text)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// valueOf is a metric's value, by name and one label's value.
func valueOf(families map[string]*dto.MetricFamily, name, label string) float64 {
	for _, m := range families[name].GetMetric() {
		if label != "" && !func() bool {
			for _, l := range m.GetLabel() {
				if l.GetValue() == label {
					return true
				}
			}
			return false
		}() {
			continue
		}
		switch {
		case m.Gauge != nil:
			return m.GetGauge().GetValue()
		case m.Counter != nil:
			return m.GetCounter().GetValue()
		}
	}
	return math.NaN()
}

func TestMetrics(t *testing.T) {
	s := fullStatus()
	var fail error
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	m, err := listenMetrics("127.0.0.1:0", func() (playStatus, error) { return s, fail }, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	families := scrape(t, "http://"+m.addr.String()+"/metrics")
	for _, c := range []struct {
		name, label string
		want        float64
	}{
		{"info", "", 1}, {"info", `a "device"`, 1}, {"uptime_seconds", "", 12.5}, {"tempo_beats_per_minute", "", 90},
		{"render_load_ratio", "", 0.25}, {"render_load_peak_ratio", "", 0.5}, {"frames_total", "", 101}, {"device_callbacks_total", "", 102},
		{"underruns_total", "", 103}, {"underrun_frames_total", "", 104}, {"device_reopens_total", "", 105}, {"device_late_callbacks_total", "", 106},
		{"device_lost", "", 1}, {"ring_depth_seconds", "", 0.01}, {"ring_fill_seconds", "", 0.005}, {"ring_lowest_fill_seconds", "", 0}, {"latency_seconds", "", 0.02},
		{"render_priority", "", 50}, {"device_priority", "", 55}, {"render_memory_locked", "", 1}, {"render_page_faults_total", "minor", 107},
		{"render_page_faults_total", "major", 108}, {"render_wait_seconds_total", "", 0.125}, {"clipped_samples_total", "", 109}, {"invalid_samples_total", "", 110},
		{"plan_generation", "", 111}, {"late_events_total", "", 112}, {"early_events_total", "", 113}, {"scrubbed_slices_total", "", 114},
		{"transitions_total", "pod", 115}, {"transitions_total", "other", 116}, {"storm_thinned_events_total", "", 117},
		{"queue_waiting", "turns", 2}, {"queue_capacity", "stream", 4096}, {"queue_dropped_total", "turns", 118},
		{"osc_packets_total", "", 119}, {"osc_messages_total", "", 120}, {"osc_malformed_packets_total", "", 121}, {"osc_late_messages_total", "", 122},
		{"osc_sent_packets_total", "", 123}, {"osc_unsent_packets_total", "", 124}, {"clock_drift_ratio", "kube", 0.0002}, {"clock_jitter_seconds", "kube", 0.01},
		{"clock_resets_total", "kube", 125}, {"cluster_synced", "", 1}, {"cluster_pods", "", 126}, {"cluster_replicas_ready", "", 3}, {"cluster_replicas_desired", "", 4},
		{"cluster_commit_latency_seconds", "", 0.002}, {"cluster_reconcile_latency_seconds", "", 0.2}, {"unheard_pods_total", "", 127},
		{"neighbour_up", "k8s-synth-kube", 1}, {"neighbour_up", "k8s-synth-cluster", 0}, {"neighbour_restarts_total", "k8s-synth-kube", 2},
		{"neighbour_restarts_total", "k8s-synth-cluster", 0}, {"neighbour_resident_memory_bytes", "k8s-synth-kube", 1000},
	} {
		if got := valueOf(families, "k8s_synth_"+c.name, c.label); got != c.want {
			t.Errorf("%s %s is %g, want %g", c.name, c.label, got, c.want)
		}
	}
	h := families["k8s_synth_render_lag_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 1111 || math.Abs(h.GetSampleSum()-(100+30+40)*64/48000.0) > 1e-9 {
		t.Errorf("the lag has %d samples with the sum %g", h.GetSampleCount(), h.GetSampleSum())
	}
	for _, b := range h.GetBucket() {
		want := map[float64]uint64{0: 1000, 1: 1100, 2: 1100, 4: 1110, 8: 1110, 16: 1110, 32: 1110, math.Inf(1): 1111}[b.GetUpperBound()*48000/64]
		if b.GetCumulativeCount() != want {
			t.Errorf("the lag's bucket to %g s holds %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), want)
		}
	}
	if v := valueOf(families, "go_memstats_heap_alloc_bytes", ""); !(v > 0) {
		t.Errorf("Go's heap is %g", v)
	}
	for name, f := range families {
		if strings.HasPrefix(name, "k8s_synth_") && len(f.GetHelp()) < 15 {
			t.Errorf("%s explains itself as %q", name, f.GetHelp())
		}
	}

	// Prometheus' own rules for names and units.
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(newStatusCollector(func() (playStatus, error) { return s, nil }))
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}

	// While the instrument starts or ends, what the process itself knows is told.
	fail = errors.New("away")
	families = scrape(t, "http://"+m.addr.String()+"/metrics")
	if families["k8s_synth_info"] != nil || families["go_goroutines"] == nil {
		t.Error("an instrument that does not answer is told of, or its process is not")
	}

	// What a driver calls its device need not be text.
	fail, s.Audio.Device = nil, "Ger\xe4t"
	families = scrape(t, "http://"+m.addr.String()+"/metrics")
	if got := valueOf(families, "k8s_synth_info", "Ger\ufffdt"); got != 1 {
		t.Errorf("a device whose name is not UTF-8 is told of as %v", families["k8s_synth_info"])
	}

	// A port that is taken is an error, which play says and goes on.
	if _, err := listenMetrics(m.addr.String(), func() (playStatus, error) { return s, nil }, quiet); err == nil {
		t.Error("two listen on one port")
	}
}

// TestStatusSaysWhatIsDropped: the figures that a musician looks for stand on
// the line and in the status.
func TestStatusSaysWhatIsDropped(t *testing.T) {
	s := fullStatus()
	if line := s.line(); !strings.Contains(line, "render 25.0 %") || !strings.Contains(line, "underruns 103 · late 112 · dropped 118") {
		t.Errorf("the line is %s", line)
	}
	var b strings.Builder
	s.print(&b)
	for _, want := range []string{"underruns 103", "late 112, dropped 118 (turns 118), thinned by storms 117", "priority 50, the device 55", "memory locked", "drift +200 ppm"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the status has no %q:\n%s", want, b.String())
		}
	}
	s.Audio.Priority, s.Audio.PriorityNote = 0, "no real-time priority (operation not permitted): do this"
	b.Reset()
	s.print(&b)
	if !strings.Contains(b.String(), "do this") || !strings.Contains(s.line(), "not real-time") {
		t.Errorf("refused priority is not told:\n%s\n%s", s.line(), b.String())
	}
}
