package cluster

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/kubernetes"
)

const (
	// scrapeInterval is how often real kubelets are asked what their
	// containers use. They look at those when asked, and at the node every
	// 10 s.
	scrapeInterval = 2 * time.Second
	scrapeTimeout  = 5 * time.Second
)

// The figures of a kubelet's /metrics/resource, from which metrics-server
// works, too.
const (
	seriesContainerCPU    = "container_cpu_usage_seconds_total"
	seriesContainerMemory = "container_memory_working_set_bytes"
	seriesNodeCPU         = "node_cpu_usage_seconds_total"
	seriesNodeMemory      = "node_memory_working_set_bytes"
)

// scraped is what a kubelet tells of one container, or of its node.
type scraped struct {
	seconds float64   // of CPU, since its start
	at      time.Time // of seconds
	memory  float64   // bytes
	// rate is in millicores, known from the second reading on, over window.
	rate   float64
	window time.Duration
}

// next returns the reading with the rate since the one before.
func (s scraped) next(before scraped) scraped {
	switch d := s.at.Sub(before.at); {
	case before.at.IsZero() || s.seconds < before.seconds: // new, or restarted
	case d <= 0: // the kubelet has not looked again
		s.rate, s.window = before.rate, before.window
	default:
		s.rate, s.window = (s.seconds-before.seconds)/d.Seconds()*1000, d
	}
	return s
}

// scrapeKey names a container; all empty is the node itself.
type scrapeKey struct{ namespace, pod, container string }

// parseScrape reads a kubelet's answer.
func parseScrape(b []byte, now time.Time) (map[scrapeKey]scraped, error) {
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	all := map[scrapeKey]scraped{}
	for _, name := range []string{seriesContainerCPU, seriesNodeCPU, seriesContainerMemory, seriesNodeMemory} {
		for _, m := range families[name].GetMetric() {
			var k scrapeKey
			for _, l := range m.GetLabel() {
				switch l.GetName() {
				case "namespace":
					k.namespace = l.GetValue()
				case "pod":
					k.pod = l.GetValue()
				case "container":
					k.container = l.GetValue()
				}
			}
			s := all[k]
			if strings.Contains(name, "cpu") {
				s.seconds, s.at = value(m), now
				if ms := m.GetTimestampMs(); ms != 0 {
					s.at = time.UnixMilli(ms)
				}
			} else {
				s.memory = value(m)
			}
			all[k] = s
		}
	}
	return all, nil
}

// value is that of a counter, a gauge, or a metric of no declared type.
func value(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	}
	return m.GetUntyped().GetValue()
}

// followKubelets asks the kubelets of the real nodes what is used there, until
// ctx ends.
func (u *usageSimulation) followKubelets(ctx context.Context, client kubernetes.Interface, log *slog.Logger) {
	tick := time.NewTicker(scrapeInterval)
	defer tick.Stop()
	failing := map[string]bool{}
	for {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for _, name := range u.realNodes() {
			wg.Go(func() {
				err := u.scrape(ctx, client, name)
				mu.Lock()
				defer mu.Unlock()
				if err != nil && !failing[name] && ctx.Err() == nil {
					log.Warn("a kubelet does not tell what its containers use; the metrics are without them until it does", "node", name, "error", err)
				}
				failing[name] = err != nil
			})
		}
		wg.Wait()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (u *usageSimulation) realNodes() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Sorted(maps.Keys(u.real))
}

// scrape asks one kubelet, through the API server.
func (u *usageSimulation) scrape(ctx context.Context, client kubernetes.Interface, name string) error {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	b, err := client.CoreV1().RESTClient().Get().Resource("nodes").Name(name).SubResource("proxy").Suffix("metrics/resource").DoRaw(ctx)
	if err != nil {
		return err
	}
	all, err := parseScrape(b, time.Now())
	if err != nil {
		return fmt.Errorf("metrics/resource: %w", err)
	}
	u.took(name, all)
	return nil
}

// took notes a kubelet's answer.
func (u *usageSimulation) took(name string, all map[scrapeKey]scraped) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := u.real[name]
	if r == nil {
		return // gone meanwhile
	}
	for k, s := range all {
		all[k] = s.next(r.scraped[k])
	}
	r.scraped = all
}
