package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// maxRequests is how many requests of the patch may be under way.
	maxRequests = 64
	// requestTimeout is how long one waits for its answer.
	requestTimeout = 2 * time.Second
	// directTimeout is how long the direct way to Services is tried before the
	// one through the API server is taken, and directMemory how long what was
	// found holds.
	directTimeout = 200 * time.Millisecond
	directMemory  = time.Minute
	// maxAnswer is how much of an answer is read for the pod's name.
	maxAnswer = 64 << 10
	// podHeader names the pod that answered, simulatedHeader is set where a
	// simulated pod did, which the daemon answers for.
	podHeader       = "X-Pod"
	simulatedHeader = "X-Simulated"
	// unknownPod is told where an answer does not name its pod.
	unknownPod = "unknown"
)

// Ways to reach a Service.
const (
	ReachAuto   = "auto"   // direct where that works, else proxy
	ReachDirect = "direct" // its cluster IP, as within the cluster or on a node
	ReachProxy  = "proxy"  // through the API server
)

// Why nobody answered.
var (
	errNoEndpoints = errors.New("no endpoints")
	errRefused     = errors.New("refused")
	errTimeout     = errors.New("timeout")
	// errPath is of a path that a server on the way might take for another:
	// with our own rights it would lead to any object of the cluster.
	errPath = errors.New("a path with . or .. is not sent through the API server")
)

// reach sends HTTP requests through Services.
type reach struct {
	observer *Observer
	mode     string
	// policy returns a Service's policy knob.
	policy func(service string) string
	direct *http.Transport

	mu   sync.Mutex
	conn *Conn // nil while the API is away
	// isDirect is what was found when the direct way was probed.
	isDirect, probing bool
	probed            time.Time
	// noEndpoints is when the API server last knew no Endpoints of a Service
	// that has endpoints.
	noEndpoints map[string]time.Time
	turn        map[string]int // of the round robin
}

func newReach(o *Observer, mode string, policy func(string) string) *reach {
	r := &reach{observer: o, mode: mode, policy: policy, noEndpoints: map[string]time.Time{}, turn: map[string]int{}}
	r.direct = &http.Transport{DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Second, DisableKeepAlives: true}
	return r
}

func (r *reach) connected(c *Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn, r.probed, r.isDirect = c, time.Time{}, false
}

// backend is a Service's port. Client tells callers apart where the policy is
// sticky.
type backend struct {
	service string
	// Port and portName are those of the Service; neither is its first.
	port     int32
	portName string
	client   string
}

// roundTrip sends a request through a Service. Its own errors are
// errNoEndpoints, errRefused and errTimeout; an answer of whatever status is
// none.
func (r *reach) roundTrip(request *http.Request, b backend) (*http.Response, error) {
	namespace := r.observer.Namespace
	s := r.observer.Service(namespace, b.service)
	if s == nil {
		return nil, fmt.Errorf("service %q is not there", b.service)
	}
	var port *ServicePort
	for i := range s.Ports {
		if b.port == 0 && b.portName == "" || b.port != 0 && s.Ports[i].Port == b.port || b.portName != "" && s.Ports[i].Name == b.portName {
			port = &s.Ports[i]
			break
		}
	}
	if port == nil {
		return nil, fmt.Errorf("service %q has no port %d%s", b.service, b.port, b.portName)
	}
	var ready []Endpoint
	simulated := true
	for _, e := range r.observer.Endpoints(namespace, b.service) {
		if !e.Ready {
			continue
		}
		ready = append(ready, e)
		simulated = simulated && r.simulated(e)
	}
	if len(ready) == 0 {
		return nil, errNoEndpoints
	}
	if simulated {
		return r.simulate(request, b, ready), nil
	}
	r.mu.Lock()
	conn := r.conn
	r.mu.Unlock()
	address := ""
	if s.ClusterIP != "" && s.ClusterIP != "None" {
		address = net.JoinHostPort(s.ClusterIP, strconv.Itoa(int(port.Port)))
	}
	if r.mode == ReachDirect || r.mode == ReachAuto && address != "" && r.reachable(request.Context()) {
		if address == "" {
			return nil, fmt.Errorf("service %q is headless: it has no address of its own", b.service)
		}
		out := request.Clone(request.Context())
		out.URL.Scheme, out.URL.Host, out.RequestURI = "http", address, ""
		response, err := r.direct.RoundTrip(out)
		return response, reason(err)
	}
	if conn == nil {
		return nil, ErrUnreachable
	}
	// The API server goes by Endpoints, the older kind of object, which knows
	// nothing of slices that are ours, and for which some clusters have no
	// controller any more. The pods can be reached all the same.
	_, ours := s.Selector[eno.NothingLabel]
	r.mu.Lock()
	pods := ours || time.Since(r.noEndpoints[b.service]) < directMemory
	r.mu.Unlock()
	if !pods {
		response, err := r.proxy(request, conn, fmt.Sprintf("services/%s:%d", b.service, port.Port))
		if !errors.Is(err, errNoEndpoints) {
			return response, err
		}
		r.mu.Lock()
		r.noEndpoints[b.service] = time.Now()
		r.mu.Unlock()
		if request.Body != nil && request.Body != http.NoBody {
			return nil, err // what was sent cannot be sent again
		}
	}
	return r.proxy(request, conn, fmt.Sprintf("pods/%s:%s", r.choose(b, ready).Pod, port.Target))
}

// reachable says whether the cluster's Service addresses lead into the cluster
// from here. That something answers at such an address proves nothing, because
// a network may send it anywhere; that the API server itself answers at its own
// Service's address, with a certificate of its authority, does. It is asked
// once in directMemory; until the answer is there, it is no.
func (r *reach) reachable(ctx context.Context) bool {
	r.mu.Lock()
	conn := r.conn
	if conn == nil || r.probing || time.Since(r.probed) < directMemory {
		defer r.mu.Unlock()
		return r.isDirect && conn != nil
	}
	r.probing = true
	r.mu.Unlock()
	ok := conn.servesItself(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.probing = false
	if r.conn == conn {
		r.isDirect, r.probed = ok, time.Now()
	}
	return ok
}

// servesItself says whether the API server answers at the cluster IP of the
// Service kubernetes.
func (c *Conn) servesItself(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, directTimeout)
	defer cancel()
	host := os.Getenv("KUBERNETES_SERVICE_HOST")
	if host == "" {
		s, err := c.core.Services(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
		if err != nil || s.Spec.ClusterIP == "" || s.Spec.ClusterIP == "None" {
			return false
		}
		host = s.Spec.ClusterIP
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(host, "443")+"/readyz", nil)
	if err != nil || !strings.HasPrefix(c.base, "https:") || c.insecure {
		return false // whoever answers there could not be told, and would get our credentials
	}
	response, err := c.http.Transport.RoundTrip(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return true
}

// proxy sends a request through the API server to services/NAME:PORT or
// pods/NAME:PORT.
func (r *reach) proxy(request *http.Request, conn *Conn, to string) (*http.Response, error) {
	for part := range strings.FieldsFuncSeq(request.URL.Path, func(c rune) bool { return c == '/' || c == '\\' }) {
		if part == "." || part == ".." {
			return nil, errPath
		}
	}
	prefix := fmt.Sprintf("api/v1/namespaces/%s/%s/proxy", r.observer.Namespace, to)
	target, err := url.Parse(conn.base + prefix)
	if err != nil {
		return nil, err
	}
	out := request.Clone(request.Context())
	out.RequestURI, out.Host = "", ""
	// The caller's path is kept as it was written.
	target.RawPath = target.EscapedPath() + request.URL.EscapedPath()
	target.Path += request.URL.Path
	target.RawQuery = request.URL.RawQuery
	out.URL = target
	// Our own right to speak to the API is not the caller's, nor the other way
	// round.
	for _, h := range []string{"Authorization", "Impersonate-User", "Impersonate-Group", "Impersonate-Uid"} {
		out.Header.Del(h)
	}
	for h := range out.Header {
		if strings.HasPrefix(h, "Impersonate-Extra-") || strings.HasPrefix(h, "X-Remote-") {
			out.Header.Del(h)
		}
	}
	response, err := conn.http.Transport.RoundTrip(out)
	if err != nil {
		return nil, reason(err)
	}
	if location := response.Header.Get("Location"); location != "" {
		if l, err := url.Parse(location); err == nil {
			if rest, ok := strings.CutPrefix(l.Path, "/"+prefix); ok {
				l.Scheme, l.Host, l.Path, l.RawPath = "", "", "/"+strings.TrimPrefix(rest, "/"), ""
				response.Header.Set("Location", l.String())
			}
		}
	}
	return apiRefusal(response)
}

// apiRefusal tells the API server's own words from the backend's.
func apiRefusal(response *http.Response) (*http.Response, error) {
	if response.StatusCode < 400 || !strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		return response, nil
	}
	head, err := io.ReadAll(io.LimitReader(response.Body, 8<<10))
	var status metav1.Status
	if err == nil && json.Unmarshal(head, &status) == nil && status.Kind == "Status" && status.APIVersion == "v1" {
		_ = response.Body.Close()
		switch m := status.Message; {
		case strings.Contains(m, "no endpoints available"), status.Reason == metav1.StatusReasonNotFound:
			return nil, errNoEndpoints
		case strings.Contains(m, "connection refused"):
			return nil, errRefused
		case strings.Contains(m, "timeout"), strings.Contains(m, "deadline"), response.StatusCode == http.StatusGatewayTimeout:
			return nil, errTimeout
		case response.StatusCode == http.StatusForbidden:
			return nil, errors.New("the cluster does not allow requests through its API server")
		}
		return nil, fmt.Errorf("status %d from the API server", response.StatusCode)
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), response.Body), response.Body}
	return response, nil
}

// reason names the cause of a failed exchange in one of a few words.
func reason(err error) error {
	var timeout net.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return errRefused
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return errTimeout
	}
	return errors.New(cause(err))
}

// simulated says whether an endpoint is a pod that nothing really runs of.
func (r *reach) simulated(e Endpoint) bool {
	pod := r.observer.Pod(r.observer.Namespace, e.Pod)
	if pod == nil || pod.Node == "" {
		return false
	}
	node := r.observer.Node(pod.Node)
	return node != nil && node.Labels[simulatedLabel] == simulatedNode
}

// choose picks an endpoint by the Service's policy.
func (r *reach) choose(b backend, ready []Endpoint) Endpoint {
	switch r.policy(b.service) {
	case "random":
		return ready[rand.IntN(len(ready))]
	case "sticky":
		h := fnv.New32a()
		_, _ = io.WriteString(h, b.client)
		return ready[int(h.Sum32()%uint32(len(ready)))]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.turn[b.service] % len(ready)
	r.turn[b.service] = n + 1
	return ready[n]
}

// simulate answers in the place of simulated pods, as the program in a real
// one does; which of them follows the Service's policy.
func (r *reach) simulate(request *http.Request, b backend, ready []Endpoint) *http.Response {
	name := r.choose(b, ready).Pod
	node := ""
	if pod := r.observer.Pod(r.observer.Namespace, name); pod != nil {
		node = pod.Node
	}
	body, _ := json.Marshal(map[string]string{"pod": name, "namespace": r.observer.Namespace, "node": node})
	body = append(body, '\n')
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: request,
		Header: http.Header{
			"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "Content-Length": {strconv.Itoa(len(body))},
			podHeader: {name}, simulatedHeader: {"true"},
		},
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
}

// request does the patch's request to a Service or an Ingress and tells its
// answer.
func (p *Publisher) request(ctx context.Context, a mapping.Action) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	o := p.observer
	a.Object.Namespace = o.Namespace
	if a.Object.Kind == mapping.KindIngress {
		return p.requestIngress(ctx, a)
	}
	s := o.Service(o.Namespace, a.Object.Name)
	if s == nil {
		return p.tellAnswer(serviceObject(o, a.Object.Name), 0, "", fmt.Errorf("service %q is not there", a.Object.Name))
	}
	if s.Labels[eno.ManagedByLabel] != eno.ManagedBy {
		return fmt.Errorf("service %s/%s is left alone: %w (it has no label %s=%s)", s.Namespace, s.Name, ErrNotOurs, eno.ManagedByLabel, eno.ManagedBy)
	}
	path := a.Path
	if path == "" {
		path = "/"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Name+"."+s.Namespace+path, nil)
	if err != nil {
		return fmt.Errorf("request to %s: %w", a.Object, err)
	}
	begin := time.Now()
	response, err := p.reach.roundTrip(request, backend{service: s.Name, client: FieldManager})
	pod, err := readAnswer(response, err)
	return p.tellAnswer(serviceObject(o, s.Name), time.Since(begin), pod, err)
}

// serviceObject names a Service as the observer does.
func serviceObject(o *Observer, name string) mapping.Object {
	if s := o.Service(o.Namespace, name); s != nil {
		about, _, _ := s.about()
		return about
	}
	return mapping.Object{Kind: mapping.KindService, Namespace: o.Namespace, Name: name}
}

// readAnswer reads an answer to its end, or as far as it matters, and returns
// the name of the pod that gave it.
func readAnswer(response *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", reason(err)
	}
	if response.StatusCode >= http.StatusInternalServerError {
		return "", fmt.Errorf("status %d", response.StatusCode)
	}
	if pod := response.Header.Get(podHeader); pod != "" {
		return pod, nil
	}
	var who struct {
		Pod string `json:"pod"`
	}
	if json.Unmarshal(body, &who) == nil && who.Pod != "" {
		return who.Pod, nil
	}
	return unknownPod, nil
}

// tellAnswer tells how a request to a Service went. It returns nil: a missed
// request is music and no problem.
func (p *Publisher) tellAnswer(service mapping.Object, latency time.Duration, pod string, err error) error {
	now := p.observer.Now()
	if err != nil {
		p.observer.Tell(mapping.Transition{Time: now, Object: service, Field: mapping.FieldMissed, New: why(err)})
		return nil
	}
	ts := []mapping.Transition{{Time: now, Object: service, Field: mapping.FieldServed, New: pod}}
	if d := decimal(latency.Seconds()); d != "" {
		ts = slices.Insert(ts, 0, mapping.Transition{Time: now, Object: service, Field: mapping.FieldLatency, New: d})
	}
	p.observer.Tell(ts...)
	return nil
}

// why names the cause of a miss; it is never empty.
func why(err error) string {
	if text := err.Error(); text != "" {
		return text
	}
	return "error"
}

// requestIngress does the patch's request to an Ingress: through our own
// server where the class is ours, else to the address that its controller
// wrote.
func (p *Publisher) requestIngress(ctx context.Context, a mapping.Action) error {
	o := p.observer
	ingress := p.router.ingress(a.Object.Name)
	object := mapping.Object{Kind: mapping.KindIngress, Namespace: o.Namespace, Name: a.Object.Name}
	if ingress == nil {
		return fmt.Errorf("ingress %q is not there", a.Object.Name)
	}
	if err := ours(ingress, "ingress"); err != nil {
		return err
	}
	object.UID = string(ingress.UID)
	path := a.Path
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	own := classOf(ingress) == eno.IngressClass
	address, err := ingressAddress(ingress)
	if own {
		if address, err = p.router.address(), nil; address == "" {
			err = fmt.Errorf("ingress %q is served by this program, which was started without --ingress", a.Object.Name)
		}
	}
	if err != nil {
		o.Tell(mapping.Transition{Time: o.Now(), Object: object, Field: mapping.FieldMissed, New: "no controller"})
		return err
	}
	host := ""
	for _, r := range ingress.Spec.Rules {
		if host == "" && !strings.HasPrefix(r.Host, "*") {
			host = r.Host
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return fmt.Errorf("request to %s: %w", a.Object, err)
	}
	if host != "" {
		request.Host = host
	}
	begin := time.Now()
	response, err := p.ingressClient.RoundTrip(request)
	pod, err := readAnswer(response, reason(err))
	total := time.Since(begin)
	if own && response != nil {
		return nil // the server has told it
	}
	rule, to := match([]*networkingv1.Ingress{ingress}, host, path)
	now := o.Now()
	if response == nil {
		o.Tell(mapping.Transition{Time: now, Object: object, Field: mapping.FieldMissed, New: why(err)})
		return nil
	}
	if rule == nil {
		o.Tell(mapping.Transition{Time: now, Object: object, Field: mapping.FieldNotFound, New: path})
		return nil
	}
	o.Tell(mapping.Transition{Time: now, Object: object, Field: mapping.FieldRoute, New: rule.path})
	_ = p.tellAnswer(serviceObject(o, to.service), total, pod, err)
	o.Tell(mapping.Transition{Time: now, Object: object, Field: mapping.FieldLatency, New: decimal(total.Seconds())})
	return nil
}

// ingressAddress is where a controller serves an Ingress.
func ingressAddress(i *networkingv1.Ingress) (string, error) {
	for _, at := range i.Status.LoadBalancer.Ingress {
		host := at.IP
		if host == "" {
			host = at.Hostname
		}
		if host == "" {
			continue
		}
		port := 80
		if len(at.Ports) > 0 {
			port = int(at.Ports[0].Port)
		}
		return net.JoinHostPort(host, strconv.Itoa(port)), nil
	}
	return "", fmt.Errorf("ingress %q has no address: is there a controller for its class %q?", i.Name, classOf(i))
}

// policyOf reads a Service's policy knob from the topology that is wanted.
func (p *Publisher) policyOf(service string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted == nil {
		return ""
	}
	return p.wanted.Word(instrument.ModuleID(mapping.KindService+"/"+service), "policy")
}
