package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// defaultMetrics is where metrics are served. 9464 is the port that
// OpenTelemetry's exporter for Prometheus uses, so that collectors look there.
const defaultMetrics = "127.0.0.1:9464"

// metricsServer serves /metrics in Prometheus' form.
type metricsServer struct {
	srv  *http.Server
	addr net.Addr
}

// listenMetrics serves what ask tells on addr. It fails where the address is
// taken; the instrument plays without it.
func listenMetrics(addr string, ask func() (playStatus, error), log *slog.Logger) (*metricsServer, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(newStatusCollector(ask), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		// What cannot be asked for at the moment leaves the rest to be told.
		ErrorHandling: promhttp.ContinueOnError,
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		// A scrape asks the control goroutine; many at once must not keep it busy.
		MaxRequestsInFlight: 2,
		Timeout:             5 * time.Second,
	}))
	m := &metricsServer{srv: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}, addr: l.Addr()}
	go func() { _ = m.srv.Serve(l) }()
	return m, nil
}

func (m *metricsServer) close() { _ = m.srv.Close() }

// errAway says that the control goroutine is not there to be asked.
var errAway = errors.New("the instrument is starting or ending")

// snapshot asks the control goroutine for the status.
func (p *player) snapshot() (playStatus, error) {
	var s playStatus
	if !p.ask(func() { s = p.gather() }) {
		return playStatus{}, errAway // s may be written later on
	}
	return s, nil
}

// serveMetrics begins to serve metrics where that was asked for, and says so
// where it cannot be done: a port that is taken is no reason not to play.
func (p *player) serveMetrics(ctx context.Context) {
	if p.o.metrics == "" || p.o.metrics == off {
		return
	}
	m, err := listenMetrics(p.o.metrics, p.snapshot, p.log)
	if err != nil {
		p.log.Warn("no metrics: choose another address with --metrics, or off", "address", p.o.metrics, "reason", err)
		return
	}
	p.metrics = m
	p.log.Info("metrics", "address", fmt.Sprintf("http://%s/metrics", m.addr))
	context.AfterFunc(ctx, m.close)
}

// statusCollector makes metrics of the status. Each scrape asks once, so that
// all figures are of one moment, and nothing is counted twice.
type statusCollector struct {
	ask     func() (playStatus, error)
	metrics []*statusMetric
	lag     *prometheus.Desc
}

// statusMetric is one family: how it is described and where its values come from.
type statusMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(s *playStatus, put func(v float64, labels ...string))
}

func newStatusCollector(ask func() (playStatus, error)) *statusCollector {
	c := &statusCollector{ask: ask}
	describe := func(name, help string, labels []string) *prometheus.Desc {
		return prometheus.NewDesc("k8s_synth_"+name, help, labels, nil)
	}
	family := func(kind prometheus.ValueType, name, help string, labels []string, read func(s *playStatus, put func(v float64, labels ...string))) {
		c.metrics = append(c.metrics, &statusMetric{describe(name, help, labels), kind, read})
	}
	gauge := func(name, help string, read func(s *playStatus) float64) {
		family(prometheus.GaugeValue, name, help, nil, func(s *playStatus, put func(float64, ...string)) { put(read(s)) })
	}
	counter := func(name, help string, read func(s *playStatus) uint64) {
		family(prometheus.CounterValue, name, help, nil, func(s *playStatus, put func(float64, ...string)) { put(float64(read(s))) })
	}
	seconds := func(frames int, s *playStatus) float64 { return float64(frames) / float64(max(s.Audio.Rate, 1)) }
	yes := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}

	family(prometheus.GaugeValue, "info", "Always 1; its labels say what plays.", []string{"version", "scene", "backend", "device"},
		func(s *playStatus, put func(float64, ...string)) {
			put(1, s.Version, s.Scene, s.Audio.Backend, s.Audio.Device)
		})
	gauge("uptime_seconds", "Time since the instrument started.", func(s *playStatus) float64 { return s.Seconds })
	gauge("tempo_beats_per_minute", "Tempo of the scene's clock; 0 without one.", func(s *playStatus) float64 { return s.Tempo })

	// Rendering.
	gauge("render_load_ratio", "Share of its time that rendering takes, averaged over about a second.", func(s *playStatus) float64 { return s.Audio.Load })
	gauge("render_load_peak_ratio", "Share of its time that the slowest block of the last one to two seconds took.", func(s *playStatus) float64 { return s.Audio.LoadPeak })
	counter("frames_total", "Frames that were rendered.", func(s *playStatus) uint64 { return s.Audio.Frames })
	gauge("sample_rate_hertz", "Frames a second.", func(s *playStatus) float64 { return float64(s.Audio.Rate) })
	gauge("render_priority", "SCHED_FIFO priority of the render thread; 0 when none was granted.", func(s *playStatus) float64 { return float64(s.Audio.Priority) })
	gauge("process_priority", "SCHED_RR priority of the threads that are not of the audio, for which it waits while garbage is collected; 0 when none was granted.", func(s *playStatus) float64 { return float64(s.Audio.OtherPriority) })
	gauge("render_memory_locked", "1 when memory is locked, so that the render thread takes no page fault from the disk.", func(s *playStatus) float64 {
		return yes(s.Audio.Memory == hardware.MemoryLocked)
	})
	family(prometheus.CounterValue, "render_page_faults_total", "Page faults of the render thread since the device started; a major one reads the disk.", []string{"type"},
		func(s *playStatus, put func(float64, ...string)) {
			put(float64(s.Audio.MinorFaults), "minor")
			put(float64(s.Audio.MajorFaults), "major")
		})
	family(prometheus.CounterValue, "render_wait_seconds_total", "Time for which the render thread was ready to run and other threads ran.", nil,
		func(s *playStatus, put func(float64, ...string)) { put(s.Audio.Waited) })
	gauge("plan_generation", "Generation of the plan that the engine plays: how many patches were compiled before it, and it.", func(s *playStatus) float64 { return float64(s.Engine.Plan) })
	counter("scrubbed_slices_total", "Slices in which a module put out what is not a number; it was silenced.", func(s *playStatus) uint64 { return s.Engine.Scrubbed })
	counter("clipped_samples_total", "Samples beyond full scale.", func(s *playStatus) uint64 { return s.Audio.Clipped })
	counter("invalid_samples_total", "Samples that were no number when they came to the device.", func(s *playStatus) uint64 { return s.Audio.Invalid })

	// The device and the ring before it.
	counter("underruns_total", "Times that the device found the ring short. Control voltages hold, audio fades.", func(s *playStatus) uint64 { return s.Audio.Underruns })
	counter("underrun_frames_total", "Frames that were missing in underruns.", func(s *playStatus) uint64 { return s.Audio.UnderrunFrames })
	counter("device_callbacks_total", "Times that the device asked for sound.", func(s *playStatus) uint64 { return s.Audio.Callbacks })
	counter("device_late_callbacks_total", "Callbacks that came later than the device's own buffer lasts: xruns of the device, by time.", func(s *playStatus) uint64 { return s.Audio.LateCallbacks })
	gauge("device_lost", "1 while there is no audio device and the music goes on in silence.", func(s *playStatus) float64 { return yes(s.Audio.Lost) })
	counter("device_reopens_total", "Times that a lost device was opened again.", func(s *playStatus) uint64 { return uint64(s.Audio.Reopens) })
	gauge("device_priority", "SCHED_FIFO priority of the device's thread; 0 when it has none.", func(s *playStatus) float64 { return float64(s.Audio.DevicePriority) })
	gauge("ring_depth_seconds", "Sound that is kept ready before the device: how late the renderer may be.", func(s *playStatus) float64 { return seconds(s.Audio.RingDepth, s) })
	gauge("ring_fill_seconds", "Sound that is ready now.", func(s *playStatus) float64 { return seconds(s.Audio.RingFill, s) })
	gauge("ring_lowest_fill_seconds", "Least sound that was ready at a callback in the last second.", func(s *playStatus) float64 { return seconds(max(s.Audio.RingMin, 0), s) })
	gauge("latency_seconds", "Time from rendering to the device's output: the ring and the device's own buffer.", func(s *playStatus) float64 { return seconds(s.Audio.Latency, s) })
	c.lag = describe("render_lag_seconds", "How far the ring was below its depth at each callback: how late the renderer was.", nil)

	// Events.
	counter("late_events_total", "Events that came to the engine after their frame.", func(s *playStatus) uint64 { return s.Engine.Late })
	counter("early_events_total", "Events that were applied before their frame because too many waited.", func(s *playStatus) uint64 { return s.Engine.Overflow })
	family(prometheus.CounterValue, "transitions_total", "Changes of the cluster's objects that were received, by kind.", []string{"kind"},
		func(s *playStatus, put func(float64, ...string)) {
			for kind, n := range s.Transitions {
				put(float64(n), kind)
			}
		})
	counter("storm_thinned_events_total", "Events of the cluster that were not struck because too many of their kind came at once.", func(s *playStatus) uint64 { return s.Thinned })
	queue := func(kind prometheus.ValueType, name, help string, read func(q queueStatus) float64) {
		family(kind, name, help, []string{"queue"}, func(s *playStatus, put func(float64, ...string)) {
			for _, q := range s.Queues {
				put(read(q), q.Name)
			}
		})
	}
	queue(prometheus.GaugeValue, "queue_waiting", "What waits in a bounded queue.", func(q queueStatus) float64 { return float64(q.Waiting) })
	queue(prometheus.GaugeValue, "queue_capacity", "The most that may wait in a bounded queue.", func(q queueStatus) float64 { return float64(q.Capacity) })
	queue(prometheus.CounterValue, "queue_dropped_total", "What found no room in a bounded queue and was left out.", func(q queueStatus) float64 { return float64(q.Dropped) })

	// OSC.
	counter("osc_packets_total", "OSC datagrams received.", func(s *playStatus) uint64 { return s.OSCStats.Packets })
	counter("osc_messages_total", "OSC messages that were played.", func(s *playStatus) uint64 { return s.OSCStats.Messages })
	counter("osc_malformed_packets_total", "OSC datagrams that were refused.", func(s *playStatus) uint64 { return s.OSCStats.Malformed })
	counter("osc_refused_total", "OSC packets and connections of those who are not allowed.", func(s *playStatus) uint64 { return s.OSCStats.Refused })
	counter("osc_limited_messages_total", "OSC messages of clients that sent too many.", func(s *playStatus) uint64 { return s.OSCStats.Limited })
	counter("midi_received_total", "MIDI messages received.", func(s *playStatus) uint64 { return s.MIDITotal.Received })
	counter("midi_sent_total", "MIDI messages sent.", func(s *playStatus) uint64 { return s.MIDITotal.Sent })
	counter("midi_dropped_total", "MIDI messages lost to full queues, faults and unplugging.", func(s *playStatus) uint64 { return s.MIDITotal.Dropped })
	counter("osc_late_messages_total", "OSC messages whose time had passed when they came.", func(s *playStatus) uint64 { return s.OSCStats.Late })
	counter("osc_sent_packets_total", "OSC datagrams sent.", func(s *playStatus) uint64 { return s.OSCStats.Sent })
	counter("osc_unsent_packets_total", "OSC datagrams that the system refused to send.", func(s *playStatus) uint64 { return s.OSCStats.Unsent })

	// Clocks of the sources of events.
	source := func(kind prometheus.ValueType, name, help string, read func(k clockStatus) float64) {
		family(kind, name, help, []string{"source"}, func(s *playStatus, put func(float64, ...string)) {
			for _, k := range s.Clocks {
				put(read(k), k.Source)
			}
		})
	}
	source(prometheus.GaugeValue, "clock_drift_ratio", "How much faster a source's clock runs than the device's; 0.0001 is 100 ppm.", func(k clockStatus) float64 { return k.Drift })
	source(prometheus.GaugeValue, "clock_jitter_seconds", "Mean delay of a source's stamps behind the earliest: what the latency has to hide.", func(k clockStatus) float64 { return k.Jitter })
	source(prometheus.CounterValue, "clock_resets_total", "Times that a source's clock was set, stood still or jumped, and was learnt again.", func(k clockStatus) float64 { return float64(k.Resets) })

	// The cluster and the neighbours.
	gauge("cluster_synced", "1 once every watch has its first list and the API answers.", func(s *playStatus) float64 { return yes(s.Cluster.Synced) })
	gauge("cluster_pods", "Pods that are known.", func(s *playStatus) float64 { return float64(s.Cluster.Pods) })
	gauge("cluster_replicas_ready", "Ready pods of the Deployments that are played.", func(s *playStatus) float64 { return float64(s.Cluster.Ready) })
	gauge("cluster_replicas_desired", "Pods that the Deployments that are played should have.", func(s *playStatus) float64 { return float64(s.Cluster.Desired) })
	gauge("cluster_commit_latency_seconds", "Time of the last write to the store.", func(s *playStatus) float64 { return s.Cluster.CommitLatency })
	gauge("cluster_reconcile_latency_seconds", "Time from the last knob to its objects in the cluster.", func(s *playStatus) float64 { return s.Cluster.ReconcileLatency })
	counter("unheard_pods_total", "Pods for which no voice was free.", func(s *playStatus) uint64 { return s.Cluster.Unheard })
	neighbour := func(kind prometheus.ValueType, name, help string, read func(n neighbourStatus) float64) {
		family(kind, name, help, []string{"program"}, func(s *playStatus, put func(float64, ...string)) {
			for _, n := range s.Neighbours {
				put(read(n), n.Name)
			}
		})
	}
	neighbour(prometheus.GaugeValue, "neighbour_up", "1 while a neighbouring process runs.", func(n neighbourStatus) float64 { return yes(n.PID != 0) })
	neighbour(prometheus.CounterValue, "neighbour_restarts_total", "Times that a neighbouring process was started again.", func(n neighbourStatus) float64 { return float64(max(n.Starts-1, 0)) })
	neighbour(prometheus.GaugeValue, "neighbour_resident_memory_bytes", "Resident memory of a neighbouring process.", func(n neighbourStatus) float64 { return float64(n.RSS) })
	return c
}

// Describe implements prometheus.Collector.
func (c *statusCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
	ch <- c.lag
}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(ch chan<- prometheus.Metric) {
	s, err := c.ask()
	if err != nil {
		ch <- prometheus.NewInvalidMetric(c.lag, err)
		return
	}
	for _, m := range c.metrics {
		m.read(&s, func(v float64, labels ...string) {
			for i := range labels {
				// The name of a device is what a driver made it, and a label that is
				// not UTF-8 is refused with a panic.
				labels[i] = strings.ToValidUTF8(labels[i], "\ufffd")
			}
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
		})
	}
	block := float64(hardware.BlockFrames) / float64(max(s.Audio.Rate, 1))
	buckets := map[float64]uint64{}
	var count uint64
	sum := 0.0
	for i, n := range s.Audio.Lags {
		count += n
		sum += float64(n) * float64(i) * block
		// As many buckets as lags that matter, doubling: 0, 1, 2, 4 … blocks.
		if i&(i-1) == 0 && i < len(s.Audio.Lags)-1 {
			buckets[float64(i)*block] = count
		}
	}
	ch <- prometheus.MustNewConstHistogram(c.lag, count, sum, buckets)
}
