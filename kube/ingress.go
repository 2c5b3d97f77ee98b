package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// ingressController names us in our IngressClass.
	ingressController = "k8s-synth.io/ingress"
	// classAnnotation is how an Ingress named its class before it had a field.
	classAnnotation = "kubernetes.io/ingress.class"
	// ingressConnections bounds what our server carries at a time, and
	// ingressPatience how long it waits for the head of an answer.
	ingressConnections = 256
	ingressPatience    = 10 * time.Second
	// toldPerSecond bounds what is told of the requests that come from
	// outside: more strikes in a second are noise.
	toldPerSecond = 100
)

// router is our own ingress: an HTTP server that sends each request to the
// Service that the Ingresses of our class name for its host and path.
type router struct {
	p      *Publisher
	log    *slog.Logger
	slots  chan struct{}
	server *http.Server
	proxy  *httputil.ReverseProxy

	mu        sync.Mutex
	listener  net.Listener
	ingresses []*networkingv1.Ingress // the oldest first
	second    time.Time
	told      int
}

// routed is what a request carries through the proxy.
type routed struct {
	ingress mapping.Object
	rule    *route
	to      backend
	begin   time.Time
	// sent, service and pod are of the exchange with the Service.
	sent    time.Time
	service time.Duration
	pod     string
	err     error
}

type routedKey struct{}

// route is the rule that took a request. Path is empty for a default backend.
type route struct {
	ingress *networkingv1.Ingress
	path    string
}

func newRouter(p *Publisher) *router {
	r := &router{p: p, log: p.log, slots: make(chan struct{}, ingressConnections)}
	r.proxy = &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host = "http", pr.In.Host
			pr.Out.Host = pr.In.Host
			// What stands before us may have told who asks.
			pr.Out.Header["X-Forwarded-For"] = pr.In.Header["X-Forwarded-For"]
			pr.SetXForwarded()
		},
		Transport:      r,
		FlushInterval:  -1,
		ModifyResponse: r.answered,
		ErrorHandler:   r.failed,
		ErrorLog:       slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug)}
	return r
}

// listen starts the server.
func (r *router) listen(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("ingress on %s: %w", address, err)
	}
	r.mu.Lock()
	r.listener = l
	r.mu.Unlock()
	go func() {
		if err := r.server.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			r.log.Error("the ingress ended", "reason", err)
		}
	}()
	r.log.Info("ingress", "address", l.Addr().String(), "class", eno.IngressClass)
	return nil
}

// close ends the server and what it carries.
func (r *router) close() { _ = r.server.Close() }

// address is where the server can be reached from here, "" where it is off.
func (r *router) address() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listener == nil {
		return ""
	}
	a := r.listener.Addr().(*net.TCPAddr)
	if a.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", fmt.Sprint(a.Port))
	}
	return a.String()
}

// set takes over the Ingresses of the namespace.
func (r *router) set(all []*networkingv1.Ingress) {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *networkingv1.Ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ingresses = all
}

// ingress returns one Ingress of the namespace, or nil.
func (r *router) ingress(name string) *networkingv1.Ingress {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.ingresses {
		if i.Name == name {
			return i
		}
	}
	return nil
}

func (r *router) ours() (out []*networkingv1.Ingress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range r.ingresses {
		if classOf(i) == eno.IngressClass && i.DeletionTimestamp == nil {
			out = append(out, i)
		}
	}
	return out
}

func classOf(i *networkingv1.Ingress) string {
	if i.Spec.IngressClassName != nil {
		return *i.Spec.IngressClassName
	}
	return i.Annotations[classAnnotation]
}

// match finds the rule for a host and a path by the rules of Kubernetes: the
// most specific host first, then an exact path, then the longest prefix; a
// default backend takes what no rule does.
func match(ingresses []*networkingv1.Ingress, host, path string) (*route, backend) {
	type candidate struct {
		route
		to                  backend
		hostRank, exactRank int
		length              int
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	var best *candidate
	mostSpecific := 0 // of the hosts that match, whether a path does or not
	for _, i := range ingresses {
		for _, rule := range i.Spec.Rules {
			rank := hostRank(strings.ToLower(rule.Host), host)
			mostSpecific = max(mostSpecific, rank)
			if rank == 0 || rule.HTTP == nil {
				continue
			}
			for _, p := range rule.HTTP.Paths {
				exact := p.PathType != nil && *p.PathType == networkingv1.PathTypeExact
				if exact && p.Path != path || !exact && !hasPathPrefix(path, p.Path) {
					continue
				}
				c := candidate{route: route{i, p.Path}, to: backendOf(p.Backend.Service), hostRank: rank, length: len(strings.TrimRight(p.Path, "/"))}
				if p.Path == "" {
					c.path = "/"
				}
				if exact {
					c.exactRank = 1
				}
				if best == nil || cmp.Or(cmp.Compare(c.hostRank, best.hostRank), cmp.Compare(c.exactRank, best.exactRank), cmp.Compare(c.length, best.length)) > 0 {
					best = &c
				}
			}
		}
	}
	if best != nil && best.hostRank == mostSpecific {
		return &best.route, best.to
	}
	for _, i := range ingresses {
		if i.Spec.DefaultBackend != nil {
			return &route{ingress: i}, backendOf(i.Spec.DefaultBackend.Service)
		}
	}
	return nil, backend{}
}

// hostRank is 0 where a rule's host does not match, more for a more specific
// match: any host, a wildcard of exactly one label, the host itself.
func hostRank(rule, host string) int {
	switch {
	case rule == "":
		return 1
	case rule == host:
		return 3
	case strings.HasPrefix(rule, "*."):
		label, rest, ok := strings.Cut(host, ".")
		if ok && label != "" && rest == rule[2:] {
			return 2
		}
	}
	return 0
}

// hasPathPrefix compares element by element: /foo matches /foo, /foo/ and
// /foo/bar, but not /foobar.
func hasPathPrefix(path, prefix string) bool {
	prefix = strings.TrimRight(prefix, "/")
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || rest[0] == '/')
}

func backendOf(s *networkingv1.IngressServiceBackend) backend {
	if s == nil {
		return backend{}
	}
	return backend{service: s.Name, port: s.Port.Number, portName: s.Port.Name}
}

// ServeHTTP routes one request.
func (r *router) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	default:
		http.Error(w, "k8s-synth: too many requests at a time", http.StatusServiceUnavailable)
		return
	}
	all := r.ours()
	rule, to := match(all, request.Host, request.URL.Path)
	if rule == nil {
		// It belongs to the Ingress whose host it asked for.
		if i := hostOwner(all, request.Host); i != nil {
			r.tell(mapping.Transition{Object: ingressObject(i), Field: mapping.FieldNotFound, New: request.URL.Path})
		}
		http.Error(w, "k8s-synth: no rule for "+request.Host+request.URL.Path, http.StatusNotFound)
		return
	}
	if client, _, err := net.SplitHostPort(request.RemoteAddr); err == nil {
		to.client = client
	}
	e := &routed{ingress: ingressObject(rule.ingress), rule: rule, to: to, begin: time.Now()}
	r.proxy.ServeHTTP(w, request.WithContext(context.WithValue(request.Context(), routedKey{}, e)))
}

func hostOwner(all []*networkingv1.Ingress, host string) *networkingv1.Ingress {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	for _, i := range all {
		for _, rule := range i.Spec.Rules {
			if hostRank(strings.ToLower(rule.Host), strings.ToLower(host)) > 0 {
				return i
			}
		}
	}
	return nil
}

func ingressObject(i *networkingv1.Ingress) mapping.Object {
	return mapping.Object{Kind: mapping.KindIngress, Namespace: i.Namespace, Name: i.Name, UID: string(i.UID)}
}

// RoundTrip is the proxy's way to the Service.
func (r *router) RoundTrip(request *http.Request) (*http.Response, error) {
	e := request.Context().Value(routedKey{}).(*routed)
	ctx, cancel := context.WithCancelCause(request.Context())
	patience := time.AfterFunc(ingressPatience, func() { cancel(errTimeout) })
	defer patience.Stop()
	e.sent = time.Now()
	response, err := r.p.reach.roundTrip(request.WithContext(ctx), e.to)
	e.service = time.Since(e.sent)
	if err != nil {
		if errors.Is(context.Cause(ctx), errTimeout) {
			err = errTimeout
		}
		cancel(nil)
		return nil, err
	}
	// The exchange goes on while the body is read.
	response.Body = &endingBody{response.Body, func() { cancel(nil) }}
	return response, nil
}

type endingBody struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
	end func()
}

func (b *endingBody) Read(p []byte) (int, error) { return b.body.Read(p) }
func (b *endingBody) Close() error {
	defer b.end()
	return b.body.Close()
}

// answered tells an answer when its head is there.
func (r *router) answered(response *http.Response) error {
	e := response.Request.Context().Value(routedKey{}).(*routed)
	e.pod = response.Header.Get(podHeader)
	if e.pod == "" {
		e.pod = unknownPod
	}
	if response.StatusCode >= http.StatusInternalServerError {
		e.err = fmt.Errorf("status %d", response.StatusCode)
	}
	response.Header.Add("Server-Timing", fmt.Sprintf("service;dur=%.1f", float64(e.service)/float64(time.Millisecond)))
	r.tellExchange(e)
	return nil
}

// failed answers where no Service did.
func (r *router) failed(w http.ResponseWriter, request *http.Request, err error) {
	e := request.Context().Value(routedKey{}).(*routed)
	e.err = err
	if errors.Is(request.Context().Err(), context.Canceled) {
		return // the caller went away
	}
	r.tellExchange(e)
	status := http.StatusBadGateway
	switch {
	case errors.Is(err, errNoEndpoints), errors.Is(err, ErrUnreachable):
		status = http.StatusServiceUnavailable
	case errors.Is(err, errTimeout):
		status = http.StatusGatewayTimeout
	}
	http.Error(w, "k8s-synth: service "+e.to.service+": "+err.Error(), status)
}

// tellExchange tells a request in the order in which it travelled.
func (r *router) tellExchange(e *routed) {
	if !r.allowed() {
		return
	}
	o := r.p.observer
	now := o.Now()
	if e.rule.path != "" {
		o.Tell(mapping.Transition{Time: now, Object: e.ingress, Field: mapping.FieldRoute, New: e.rule.path})
	}
	_ = r.p.tellAnswer(serviceObject(o, e.to.service), e.service, e.pod, e.err)
	o.Tell(mapping.Transition{Time: now, Object: e.ingress, Field: mapping.FieldLatency, New: decimal(time.Since(e.begin).Seconds())})
}

func (r *router) tell(t mapping.Transition) {
	if r.allowed() {
		t.Time = r.p.observer.Now()
		r.p.observer.Tell(t)
	}
}

// allowed bounds what is told in a second.
func (r *router) allowed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.second) >= time.Second {
		r.second, r.told = now, 0
	}
	r.told++
	return r.told <= toldPerSecond
}

// announce makes the IngressClass once an Ingress asks for it, and writes our
// address to our Ingresses of that class.
func (r *router) announce(ctx context.Context, conn *Conn) error {
	all := r.ours()
	if len(all) == 0 || r.address() == "" {
		return nil
	}
	classes := conn.networking.IngressClasses()
	class, err := classes.Get(ctx, eno.IngressClass, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = classes.Create(ctx, &networkingv1.IngressClass{
			ObjectMeta: metav1.ObjectMeta{Name: eno.IngressClass, Labels: map[string]string{eno.ManagedByLabel: eno.ManagedBy}},
			Spec:       networkingv1.IngressClassSpec{Controller: ingressController},
		}, metav1.CreateOptions{FieldManager: FieldManager})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("ingress class %q: %w", eno.IngressClass, err)
		}
	case err != nil:
		return fmt.Errorf("ingress class %q: %w", eno.IngressClass, err)
	case class.Spec.Controller != ingressController:
		return fmt.Errorf("ingress class %q belongs to the controller %q", eno.IngressClass, class.Spec.Controller)
	}
	status := r.status()
	for _, i := range all {
		if ours(i, "ingress") != nil || equality.Semantic.DeepEqual(i.Status.LoadBalancer, status) {
			continue
		}
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"uid": i.UID},
			"status":   map[string]any{"loadBalancer": status},
		})
		if err != nil {
			return err
		}
		_, err = conn.networking.Ingresses(i.Namespace).Patch(ctx, i.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: FieldManager}, "status")
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("status of ingress %q: %w", i.Name, err)
		}
	}
	return nil
}

// status is our address as an Ingress shows it.
func (r *router) status() networkingv1.IngressLoadBalancerStatus {
	r.mu.Lock()
	a := *r.listener.Addr().(*net.TCPAddr)
	r.mu.Unlock()
	if a.IP.IsUnspecified() {
		a.IP = net.IPv4(127, 0, 0, 1)
		if all, err := net.InterfaceAddrs(); err == nil {
			for _, at := range all {
				if n, ok := at.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
					a.IP = n.IP
					break
				}
			}
		}
	}
	return networkingv1.IngressLoadBalancerStatus{Ingress: []networkingv1.IngressLoadBalancerIngress{{
		IP: a.IP.String(), Ports: []networkingv1.IngressPortStatus{{Port: int32(a.Port), Protocol: corev1.ProtocolTCP}},
	}}}
}
