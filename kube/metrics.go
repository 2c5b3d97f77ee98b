package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// slowMetrics is how often the metrics are asked for where they change
	// seldom, and slowWindow the window of a measurement from which they do.
	slowMetrics = 5 * time.Second
	slowWindow  = 10 * time.Second
	// searchMetrics is how often a metrics API that is not there is looked for.
	searchMetrics = 10 * time.Second
	// metricsTimeout bounds one answer, which may speak of thousands of pods.
	metricsTimeout = 5 * time.Second
	// nodesAtOnce is how many kubelets are asked at the same time.
	nodesAtOnce = 8

	// A usage is told where it differs by more than one part in usageShare and
	// at least by these from what was told last: less is the noise of the
	// measurement.
	usageShare  = 100
	leastCPU    = 5 // millicores
	leastMemory = 1 // MiB
)

// errNoMetrics says that the cluster has no metrics API.
var errNoMetrics = errors.New("the cluster has no metrics.k8s.io API")

// refusedError says that the API does not allow something.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

// meter tells the load of pods and nodes: from metrics.k8s.io or, where that is
// absent, from the kubelets' own metrics through the API server. Where neither
// is to be had, there is no load.
func (o *Observer) meter(ctx context.Context, conn *Conn) {
	m := &meter{observer: o, conn: conn, last: map[string]map[namespaced]sample{}, first: true}
	before := time.Duration(0)
	for {
		begin := time.Now()
		wait := m.poll(ctx)
		// Of thousands of pods the answer alone is work, for the server too. One
		// that was slow once, as a young server is, is asked again soon.
		took := time.Since(begin)
		wait = max(wait, 30*min(took, before))
		before = took
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// meter is the state of one session's measurements.
type meter struct {
	observer *Observer
	conn     *Conn
	first    bool
	// kubelets is set where the metrics are those of the kubelets; last holds
	// their counters by node, searched is when metrics.k8s.io was last looked
	// for.
	kubelets bool
	searched time.Time
	last     map[string]map[namespaced]sample
	log      string
}

// poll measures once and returns when to measure again.
func (m *meter) poll(ctx context.Context) time.Duration {
	o := m.observer
	if !m.kubelets || time.Since(m.searched) > searchMetrics {
		m.searched = time.Now()
		window, err := m.pollAPI(ctx)
		switch {
		case ctx.Err() != nil:
			return 0
		case err == nil:
			if m.kubelets {
				m.kubelets = false
				clear(m.last)
			}
			m.say("")
			if window >= slowWindow {
				return max(o.Metrics, slowMetrics)
			}
			return o.Metrics
		}
		var refused *refusedError
		if errors.As(err, &refused) {
			o.refuseOnce("metrics", fmt.Sprintf("the cluster does not allow to read the load of pods and nodes: %v", err))
		}
		m.say(err.Error())
		if !errors.As(err, &refused) && !errors.Is(err, errNoMetrics) {
			return max(o.Metrics, slowMetrics) // it is there, but ill
		}
		m.kubelets = true
	}
	if len(o.Nodes()) == 0 {
		return o.Metrics // not listed yet
	}
	err := m.pollKubelets(ctx)
	var refused *refusedError
	if errors.As(err, &refused) {
		o.refuseOnce("nodes/proxy", fmt.Sprintf("there is no load of pods and nodes: the cluster has no metrics API, and the kubelets may not be asked: %v", err))
		m.forget()
		return searchMetrics
	}
	if err != nil && ctx.Err() == nil {
		m.say(err.Error())
	}
	return max(o.Metrics, slowMetrics)
}

// say logs why there are no metrics, once.
func (m *meter) say(text string) {
	if text != m.log && text != "" {
		m.observer.Log.Info("no metrics", "reason", text)
	}
	m.log = text
}

// refuseOnce tells the player once that something is not allowed.
func (o *Observer) refuseOnce(what, text string) {
	o.mu.Lock()
	told := o.refused[what]
	o.refused[what] = true
	o.mu.Unlock()
	if !told {
		o.Problem("observer", text)
	}
}

// forget takes back what was measured.
func (m *meter) forget() {
	for _, kind := range []string{mapping.KindPod, mapping.KindNode} {
		m.observer.tracker.measure(kind, m.observer.Now(), true, func(mapping.Object, Usage) Usage { return Usage{} })
	}
}

// pollAPI measures by metrics.k8s.io and returns the window of its
// measurements.
func (m *meter) pollAPI(ctx context.Context) (time.Duration, error) {
	o := m.observer
	var window time.Duration
	pods := map[namespaced]Usage{}
	for _, namespace := range o.observed() {
		path := "apis/metrics.k8s.io/v1beta1/pods"
		if namespace != metav1.NamespaceAll {
			path = "apis/metrics.k8s.io/v1beta1/namespaces/" + url.PathEscape(namespace) + "/pods"
		}
		if err := m.conn.readMetrics(ctx, path, pods, &window); err != nil {
			return 0, err
		}
	}
	nodes := map[namespaced]Usage{}
	// Nodes may be forbidden where pods are not.
	nodesErr := m.conn.readMetrics(ctx, "apis/metrics.k8s.io/v1beta1/nodes", nodes, &window)
	o.mu.Lock()
	delete(o.refused, "metrics")
	o.mu.Unlock()
	m.take(mapping.KindPod, pods, nil)
	var refused *refusedError
	switch {
	case nodesErr == nil:
		m.take(mapping.KindNode, nodes, nil)
	case errors.As(nodesErr, &refused):
		o.refuseOnce("metrics of nodes", fmt.Sprintf("the cluster does not allow to read the load of nodes: %v", nodesErr))
	default:
		return 0, nodesErr
	}
	m.first = false
	return window, nil
}

// take tells what was measured. Objects of which there is no measurement have
// none, save those for which hold is true.
func (m *meter) take(kind string, usages map[namespaced]Usage, hold func(mapping.Object) bool) {
	o := m.observer
	o.tracker.measure(kind, o.Now(), m.first, func(about mapping.Object, was Usage) Usage {
		is, ok := usages[namespaced{about.Namespace, about.Name}]
		switch {
		case !ok && hold != nil && hold(about):
			return was
		case ok && was.Known && !differs(was, is):
			return was
		}
		return is
	})
}

// differs reports whether a usage is worth telling after another.
func differs(was, is Usage) bool {
	return apart(was.CPU, is.CPU, leastCPU) || apart(was.Memory, is.Memory, leastMemory)
}

func apart(was, is, least int64) bool {
	d := max(was-is, is-was)
	return d != 0 && (is == 0 || d >= least && d*usageShare >= max(was, is))
}

// readMetrics reads a list of metrics.k8s.io, one item at a time, into usages.
func (c *Conn) readMetrics(ctx context.Context, path string, usages map[namespaced]Usage, window *time.Duration) error {
	body, err := c.open(ctx, path, metricsTimeout)
	if err != nil {
		return err
	}
	defer body.Close()
	d := json.NewDecoder(body)
	// Down to the list, over all that comes before.
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil // a list without items
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if t == json.Delim('{') {
			continue
		}
		key, ok := t.(string)
		if !ok {
			continue // the end of the list's object
		}
		if key != "items" {
			var skipped json.RawMessage
			if err := d.Decode(&skipped); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			continue
		}
		if t, err = d.Token(); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if t != json.Delim('[') {
			continue // null
		}
		for d.More() {
			var item struct {
				Metadata   struct{ Name, Namespace string }
				Window     metav1.Duration
				Usage      resourceUsage
				Containers []struct{ Usage resourceUsage }
			}
			if err := d.Decode(&item); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			total := item.Usage
			for _, c := range item.Containers {
				total.CPU += c.Usage.CPU
				total.Memory += c.Usage.Memory
			}
			*window = max(*window, item.Window.Duration)
			usages[namespaced{item.Metadata.Namespace, item.Metadata.Name}] = usageOf(float64(total.CPU), float64(total.Memory))
		}
		if _, err := d.Token(); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
}

// resourceUsage is a usage in cores and bytes.
type resourceUsage struct {
	CPU    quantityText `json:"cpu"`
	Memory quantityText `json:"memory"`
}

// quantityText is a number in Kubernetes' notation, such as 12345678n.
type quantityText float64

// UnmarshalJSON reads a quantity as text or number.
func (q *quantityText) UnmarshalJSON(raw []byte) error {
	if n := len(raw); n >= 2 && raw[0] == '"' {
		raw = raw[1 : n-1]
	}
	v, err := resource.ParseQuantity(string(raw))
	if err != nil {
		return fmt.Errorf("quantity %q: %w", raw, err)
	}
	*q = quantityText(v.AsApproximateFloat64())
	return nil
}

// usageOf makes a usage of cores and bytes.
func usageOf(cores, bytes float64) Usage {
	return Usage{Known: true, CPU: int64(math.Round(max(0, cores) * 1000)), Memory: int64(math.Round(max(0, bytes) / (1 << 20)))}
}

// open asks the API for a path that none of its clients knows.
func (c *Conn) open(ctx context.Context, path string, timeout time.Duration) (io.ReadCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		cancel()
		return nil, err
	}
	request.Header.Set("Accept", "application/json, text/plain;q=0.5")
	response, err := c.http.Do(request)
	if err != nil {
		cancel()
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return &closing{response.Body, cancel}, nil
	}
	defer cancel()
	defer response.Body.Close()
	var status metav1.Status
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<14))
	if json.Unmarshal(text, &status) != nil || status.Message == "" {
		status.Message = response.Status
	}
	switch response.StatusCode {
	case http.StatusForbidden, http.StatusUnauthorized:
		return nil, &refusedError{status.Message}
	case http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", path, errNoMetrics)
	}
	return nil, fmt.Errorf("%s: %s", path, status.Message)
}

// closing is a body that ends its request's context too.
type closing struct {
	io.ReadCloser
	cancel func()
}

func (c *closing) Close() error {
	err := c.ReadCloser.Close()
	c.cancel()
	return err
}

// sample is what a kubelet counted.
type sample struct {
	seconds float64 // CPU
	bytes   float64
	at      time.Duration // of the kubelet's clock or, where it tells none, ours
	usage   Usage
}

// pollKubelets measures by the kubelets' own metrics. The CPU is counted since
// the start, so that it takes two measurements to know it.
func (m *meter) pollKubelets(ctx context.Context) error {
	o := m.observer
	nodes := o.Nodes()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var refused error
	gate := make(chan struct{}, nodesAtOnce)
	read := map[string]map[namespaced]sample{}
	for _, n := range nodes {
		if !n.Ready {
			continue
		}
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			mu.Lock()
			skip := refused != nil
			mu.Unlock()
			if skip || ctx.Err() != nil {
				return
			}
			samples, err := m.conn.readKubelet(ctx, n.Name)
			mu.Lock()
			defer mu.Unlock()
			var r *refusedError
			switch {
			case err == nil:
				read[n.Name] = samples
			case errors.As(err, &r):
				refused = err
			default:
				// One kubelet that does not answer, or a simulated node that
				// has none, says nothing about the others.
				o.Log.Debug("no metrics of a node", "node", n.Name, "reason", err)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if refused != nil {
		return refused
	}
	o.mu.Lock()
	delete(o.refused, "nodes/proxy")
	o.mu.Unlock()
	usages := map[namespaced]Usage{}
	for node, samples := range read {
		for key, s := range samples {
			s.usage = rate(m.last[node][key], s)
			samples[key] = s
			if s.usage.Known {
				usages[key] = s.usage
			}
		}
		m.last[node] = samples
	}
	for node := range m.last {
		if o.Node(node) == nil {
			delete(m.last, node)
		}
	}
	answered := func(node string) bool { _, ok := read[node]; return ok }
	// What a kubelet did not tell this time stays as it was.
	m.take(mapping.KindNode, usages, func(n mapping.Object) bool { return !answered(n.Name) })
	on := map[namespaced]string{}
	for _, p := range o.Pods() {
		on[namespaced{p.Namespace, p.Name}] = p.Node
	}
	m.take(mapping.KindPod, usages, func(p mapping.Object) bool { return !answered(on[namespaced{p.Namespace, p.Name}]) })
	if len(usages) > 0 {
		m.first = false
	}
	return nil
}

// rate is the usage between two samples of one counter. Where the kubelet did
// not measure again, or the counter began anew, it is what it was.
func rate(was, is sample) Usage {
	dt := (is.at - was.at).Seconds()
	switch {
	case was.at == 0:
		return Usage{}
	case dt <= 0 || is.seconds < was.seconds:
		return was.usage
	}
	return usageOf((is.seconds-was.seconds)/dt, is.bytes)
}

// readKubelet reads the resource metrics of one node through the API server:
// those of the node under its name alone, those of its pods under namespace and
// name.
func (c *Conn) readKubelet(ctx context.Context, node string) (map[namespaced]sample, error) {
	body, err := c.open(ctx, "api/v1/nodes/"+url.PathEscape(node)+"/proxy/metrics/resource", callTimeout)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return parseKubelet(body, node, time.Since(c.pulse.start))
}

// parseKubelet reads the text of /metrics/resource, whose metrics are described
// in Kubernetes' reference of node metrics.
func parseKubelet(text io.Reader, node string, now time.Duration) (map[namespaced]sample, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(text)
	if err != nil {
		return nil, fmt.Errorf("metrics of node %s: %w", node, err)
	}
	out := map[namespaced]sample{}
	for name, into := range map[string]func(*sample) *float64{
		"node_cpu_usage_seconds_total":  func(s *sample) *float64 { return &s.seconds },
		"pod_cpu_usage_seconds_total":   func(s *sample) *float64 { return &s.seconds },
		"node_memory_working_set_bytes": func(s *sample) *float64 { return &s.bytes },
		"pod_memory_working_set_bytes":  func(s *sample) *float64 { return &s.bytes },
	} {
		family := families[name]
		if family == nil {
			continue
		}
		for _, metric := range family.Metric {
			key := namespaced{"", node}
			for _, l := range metric.Label {
				switch l.GetName() {
				case "namespace":
					key.namespace = l.GetValue()
				case "pod":
					key.name = l.GetValue()
				}
			}
			s := out[key]
			switch {
			case metric.Counter != nil:
				*into(&s) = metric.Counter.GetValue()
				s.at = now
				if ms := metric.GetTimestampMs(); ms > 0 {
					s.at = time.Duration(ms) * time.Millisecond
				}
			case metric.Gauge != nil:
				*into(&s) = metric.Gauge.GetValue()
			case metric.Untyped != nil:
				*into(&s) = metric.Untyped.GetValue()
			}
			out[key] = s
		}
	}
	return out, nil
}
