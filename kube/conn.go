package kube

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	appsclient "k8s.io/client-go/kubernetes/typed/apps/v1"
	autoscalingclient "k8s.io/client-go/kubernetes/typed/autoscaling/v2"
	batchclient "k8s.io/client-go/kubernetes/typed/batch/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"
	networkingclient "k8s.io/client-go/kubernetes/typed/networking/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/connrotation"
)

// configPoll is how often a kubeconfig that is not there yet is looked for:
// the embedded control plane boots beside us and writes it.
const configPoll = 50 * time.Millisecond

// Conn is a connection to one API server as one kubeconfig names it.
type Conn struct {
	// Server is the address that the kubeconfig gave.
	Server string

	core         coreclient.CoreV1Interface
	apps         appsclient.AppsV1Interface
	coordination coordinationclient.CoordinationV1Interface
	discovery    discoveryclient.DiscoveryV1Interface
	networking   networkingclient.NetworkingV1Interface
	autoscaling  autoscalingclient.AutoscalingV2Interface
	batch        batchclient.BatchV1Interface
	dynamic      dynamic.Interface
	http         *http.Client
	base         string // ends with a slash
	insecure     bool   // the certificate of the server is not checked
	dialer       *connrotation.Dialer
	pulse        *pulse
}

// pulse gathers the signs of life of one API server: every answer and every
// byte of a watch is one; a connection that breaks asks for a probe at once.
type pulse struct {
	last  atomic.Int64 // monotonic nanoseconds since start
	start time.Time
	poke  chan struct{}
	// stall is after how long without a byte an answer is given up, 0 for
	// never. It is set before the first watch.
	stall time.Duration
	// throttled is set when the API asked to come back later.
	throttled atomic.Bool
	// slow is the longest time in nanoseconds that the API lately took to say
	// who it is.
	slow atomic.Int64
}

func newPulse() *pulse { return &pulse{start: time.Now(), poke: make(chan struct{}, 1)} }

func (p *pulse) beat()                { p.last.Store(int64(time.Since(p.start))) }
func (p *pulse) quiet() time.Duration { return time.Since(p.start) - time.Duration(p.last.Load()) }

// pardon takes back a time of silence in which nobody could listen.
func (p *pulse) pardon(d time.Duration) {
	was := p.last.Load()
	// Where that fails, there was a sign of life just now.
	p.last.CompareAndSwap(was, min(was+int64(d), int64(time.Since(p.start))))
}

// patience is for how long the API may be silent: silence, and more where a
// loaded machine or a long way makes all its answers slow. Otherwise it would
// be lost and found without end.
func (p *pulse) patience() time.Duration {
	return max(silence, min(4*time.Duration(p.slow.Load()), slowest))
}

// answered notes how long an answer took, or that it took longer than that.
func (p *pulse) answered(took time.Duration, late bool) {
	was := p.slow.Load()
	if late {
		p.slow.Store(max(was, int64(took)/2)) // twice the patience
		return
	}
	p.slow.Store(max(int64(took), was/2))
}

func (p *pulse) broken() {
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

type pulseTransport struct {
	next  http.RoundTripper
	pulse *pulse
}

func (t pulseTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	body := &pulseBody{ctx: r.Context(), pulse: t.pulse}
	if t.pulse.stall > 0 && r.Method == http.MethodGet {
		// A stream that hangs while its connection lives would be silent for
		// as long as it lives.
		ctx, cancel := context.WithCancel(r.Context())
		r = r.WithContext(ctx)
		body.cancel = cancel
		body.watchdog = time.AfterFunc(t.pulse.stall, func() {
			body.stalled.Store(true)
			cancel()
		})
	}
	response, err := t.next.RoundTrip(r)
	if err != nil {
		body.end()
		if body.ctx.Err() == nil {
			t.pulse.broken()
			if body.stalled.Load() {
				err = fmt.Errorf("no answer within %v", t.pulse.stall)
			}
		}
		return response, err
	}
	switch {
	case response.StatusCode < http.StatusInternalServerError:
		t.pulse.beat()
		// One of the patch's requests may have been refused by its pod.
		if response.StatusCode == http.StatusTooManyRequests && !strings.Contains(r.URL.Path, "/proxy/") {
			t.pulse.throttled.Store(true)
		}
	default:
		body.ill = true
		// An API server that is still starting asks to come back in five
		// seconds, and the client would sleep that long without a word. Our
		// own loops ask sooner.
		response.Header.Del("Retry-After")
	}
	body.ReadCloser = response.Body
	response.Body = body
	return response, nil
}

type pulseBody struct {
	io.ReadCloser
	ctx      context.Context // the caller's
	pulse    *pulse
	cancel   func()
	watchdog *time.Timer
	stalled  atomic.Bool
	ill      bool // the answer is a fault of the server and no sign of life
}

func (b *pulseBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		if !b.ill {
			b.pulse.beat()
		}
		if b.watchdog != nil && err == nil {
			b.watchdog.Reset(b.pulse.stall)
		}
	}
	if err != nil {
		if b.stalled.Load() && b.ctx.Err() == nil {
			// As if the connection had ended: a watch is taken up where it was.
			err = io.ErrUnexpectedEOF
		}
		b.end()
		if !errors.Is(err, io.EOF) && b.ctx.Err() == nil {
			b.pulse.broken()
		}
	}
	return n, err
}

func (b *pulseBody) Close() error {
	b.end()
	return b.ReadCloser.Close()
}

// end stops the watchdog.
func (b *pulseBody) end() {
	if b.watchdog != nil {
		b.watchdog.Stop()
		b.cancel()
	}
}

// newConn makes the clients for a REST configuration.
func newConn(config *rest.Config) (*Conn, error) {
	c := &Conn{Server: config.Host, insecure: config.Insecure, pulse: newPulse()}
	// Connections of our own can be cut when the API is gone, so that nothing
	// waits on a dead one when it is back.
	c.dialer = connrotation.NewDialer((&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext)
	config = rest.CopyConfig(config)
	config.Dial = c.dialer.DialContext
	config.QPS = -1 // the gate of the publisher is the limit
	config.UserAgent = "k8s-synth"
	config.WarningHandler = rest.NoWarnings{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return pulseTransport{next, c.pulse} })
	// The typed objects travel as protobuf, which costs a fraction of JSON's
	// garbage; custom resources have only JSON.
	typed := rest.CopyConfig(config)
	typed.ContentType = "application/vnd.kubernetes.protobuf"
	typed.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", config.Host, err)
	}
	c.http = client
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("address %s: %w", config.Host, err)
	}
	c.base = strings.TrimSuffix(base.String(), "/") + "/"
	if c.core, err = coreclient.NewForConfigAndClient(typed, client); err != nil {
		return nil, fmt.Errorf("client for %s: %w", config.Host, err)
	}
	if c.apps, err = appsclient.NewForConfigAndClient(typed, client); err != nil {
		return nil, fmt.Errorf("client for %s: %w", config.Host, err)
	}
	if c.coordination, err = coordinationclient.NewForConfigAndClient(typed, client); err != nil {
		return nil, fmt.Errorf("client for %s: %w", config.Host, err)
	}
	if c.discovery, err = discoveryclient.NewForConfigAndClient(typed, client); err != nil {
		return nil, fmt.Errorf("client for %s: %w", config.Host, err)
	}
	if c.networking, err = networkingclient.NewForConfigAndClient(typed, client); err != nil {
		return nil, fmt.Errorf("client for %s: %w", config.Host, err)
	}
	if c.autoscaling, err = autoscalingclient.NewForConfigAndClient(typed, client); err != nil {
		return nil, fmt.Errorf("client for %s: %w", config.Host, err)
	}
	if c.batch, err = batchclient.NewForConfigAndClient(typed, client); err != nil {
		return nil, fmt.Errorf("client for %s: %w", config.Host, err)
	}
	if c.dynamic, err = dynamic.NewForConfigAndClient(config, client); err != nil {
		return nil, fmt.Errorf("client for %s: %w", config.Host, err)
	}
	return c, nil
}

// identify reads who the store is: the UID of the namespace kube-system, which
// every cluster has from its first start, and which no other has. It is "" where
// the namespace is not there yet or may not be read. An error says that the API
// does not serve.
func (c *Conn) identify(ctx context.Context) (store string, err error) {
	patience, began := c.pulse.patience(), time.Now()
	inTime, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer func() {
		switch {
		case err == nil:
			c.pulse.answered(time.Since(began), false)
		case ctx.Err() == nil && inTime.Err() != nil:
			c.pulse.answered(patience, true)
		}
	}()
	// Without client-go's layer, which repeats a request whose connection
	// broke only a second later.
	request, err := http.NewRequestWithContext(inTime, http.MethodGet, c.base+"api/v1/namespaces/"+metav1.NamespaceSystem, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Accept", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return "", err
	}
	switch {
	case response.StatusCode >= http.StatusInternalServerError:
		return "", fmt.Errorf("%s answers %s", c.Server, response.Status)
	case response.StatusCode != http.StatusOK:
		return "", nil // it serves, whatever it thinks of us
	}
	var ns metav1.PartialObjectMetadata
	if err := json.Unmarshal(body, &ns); err != nil {
		return "", fmt.Errorf("%s answers what is not a namespace: %w", c.Server, err)
	}
	return string(ns.UID), nil
}

// Source says where the API is.
type Source struct {
	// Kubeconfig is the path of one file. Where it is empty, kubectl's own
	// rules hold: $KUBECONFIG, ~/.kube/config, then the service account.
	Kubeconfig string
	// Context overrides the current context of the kubeconfig.
	Context string
}

func (s Source) rules() *clientcmd.ClientConfigLoadingRules {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.WarnIfAllMissing = false
	if s.Kubeconfig != "" {
		rules.ExplicitPath = s.Kubeconfig
	}
	return rules
}

// load reads the kubeconfig.
func (s Source) load() (*rest.Config, error) {
	overrides := &clientcmd.ConfigOverrides{CurrentContext: s.Context}
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(s.rules(), overrides).ClientConfig()
}

// print identifies the content of the files that load reads, so that a control
// plane that comes back under another port is found again. A file that cannot
// be read counts as empty.
func (s Source) print() [sha256.Size]byte {
	h := sha256.New()
	rules := s.rules()
	files := rules.Precedence
	if rules.ExplicitPath != "" {
		files = []string{rules.ExplicitPath}
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Clean(file))
		if err == nil {
			fmt.Fprintf(h, "%d\n", len(text))
			h.Write(text)
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// dial waits until the kubeconfig can be used.
func (s Source) dial(ctx context.Context, log *slog.Logger) (*Conn, [sha256.Size]byte, error) {
	var said string
	for {
		mark := s.print()
		config, err := s.load()
		if err == nil {
			var c *Conn
			if c, err = newConn(config); err == nil {
				return c, mark, nil
			}
		}
		if text := err.Error(); text != said {
			said = text
			log.Info("waiting for a kubeconfig that can be used", "file", s.Kubeconfig, "context", s.Context, "reason", err)
		}
		select {
		case <-ctx.Done():
			return nil, mark, ctx.Err()
		case <-time.After(configPoll):
		}
	}
}
