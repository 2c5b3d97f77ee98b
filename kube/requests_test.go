package kube

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// street is a publisher whose Services have the loopback interface for their
// cluster IP, where real HTTP servers listen.
type street struct {
	*Publisher
	mu    sync.Mutex
	heard []string
}

func newStreet(t *testing.T) *street {
	t.Helper()
	s := &street{}
	o := NewObserver(Options{Transitions: func(ts []mapping.Transition) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, tr := range ts {
			switch tr.Field {
			case mapping.FieldRoute, mapping.FieldServed, mapping.FieldMissed, mapping.FieldNotFound:
				s.heard = append(s.heard, tr.Object.Kind+"."+tr.Field+"="+tr.New)
			case mapping.FieldLatency:
				s.heard = append(s.heard, tr.Object.Kind+"."+tr.Field)
			}
		}
	}})
	s.Publisher = NewPublisher(o)
	if err := s.ReachBy(ReachDirect); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *street) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.heard
	s.heard = nil
	return out
}

// service puts a Service at an address, with one endpoint where ready.
func (s *street) service(name, address string, ready bool) {
	host, text, _ := net.SplitHostPort(address)
	port, _ := strconv.Atoi(text)
	j := s.observer.services
	now := time.Now()
	(&serviceSink{join: j}).put(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: DefaultNamespace, UID: "u-" + "1", Labels: map[string]string{eno.ManagedByLabel: eno.ManagedBy}},
		Spec:       corev1.ServiceSpec{ClusterIP: host, Ports: []corev1.ServicePort{{Name: "http", Port: int32(port)}}},
	}, now)
	(&sliceSink{join: j}).put(&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: name + "-1", Namespace: DefaultNamespace, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: name + "-pod"},
		}},
	}, now)
}

func TestRequestsToServices(t *testing.T) {
	s := newStreet(t)
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/header":
			w.Header().Set("X-Pod", "a")
		case "/json":
			_ = json.NewEncoder(w).Encode(map[string]string{"pod": "b"})
		case "/503":
			w.WriteHeader(503)
		case "/hang":
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}
	}))
	defer server.Close()
	defer close(hang)
	address := server.Listener.Addr().String()
	s.service("up", address, true)
	s.service("empty", address, false)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.service("closed", l.Addr().String(), true)
	_ = l.Close()
	for _, test := range []struct{ service, path, want string }{
		{"up", "/header", "service.latency service.served=a"},
		{"up", "/json", "service.latency service.served=b"},
		{"up", "/else", "service.latency service.served=unknown"},
		{"up", "/503", "service.missed=status 503"},
		{"up", "/hang", "service.missed=timeout"},
		{"empty", "/", "service.missed=no endpoints"},
		{"closed", "/", "service.missed=refused"},
		{"nobody", "/", `service.missed=service "nobody" is not there`},
	} {
		within := requestTimeout
		if test.path == "/hang" {
			within = 300 * time.Millisecond // it is not waited for longer than need be
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		if err := s.request(ctx, mapping.Action{Verb: mapping.VerbRequest, Object: mapping.Object{Kind: mapping.KindService, Name: test.service}, Path: test.path}); err != nil {
			t.Errorf("%s%s: %v", test.service, test.path, err)
		}
		cancel()
		if got := strings.Join(s.take(), " "); got != test.want {
			t.Errorf("%s%s is told as %q, want %q", test.service, test.path, got, test.want)
		}
	}
}

// TestIngressIsReal sends what clients send through our ingress: other methods
// with bodies, streams, many at once.
func TestIngressIsReal(t *testing.T) {
	s := newStreet(t)
	next := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Pod", "a")
		switch r.URL.Path {
		case "/api/stream":
			for n := range 3 {
				fmt.Fprintln(w, n)
				w.(http.Flusher).Flush()
				<-next
			}
		default:
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.Host, r.URL.RequestURI(), r.Header.Get("X-Forwarded-Host"), body)
		}
	}))
	defer server.Close()
	s.service("up", server.Listener.Addr().String(), true)
	s.service("empty", server.Listener.Addr().String(), false)
	i := ingressOf("main", "synth.local", "/api", "/none")
	class := eno.IngressClass
	i.Spec.IngressClassName = &class
	i.Labels, i.Namespace = map[string]string{eno.ManagedByLabel: eno.ManagedBy}, DefaultNamespace
	paths := i.Spec.Rules[0].HTTP.Paths
	paths[0].Backend.Service = &networkingv1.IngressServiceBackend{Name: "up", Port: networkingv1.ServiceBackendPort{Name: "http"}}
	paths[1].Backend.Service = &networkingv1.IngressServiceBackend{Name: "empty"}
	other := i.DeepCopy()
	foreign := "nginx"
	other.Name, other.Spec.IngressClassName = "other", &foreign
	other.Spec.Rules[0].Host = "other.local"
	s.router.set([]*networkingv1.Ingress{other, i})
	if err := s.ServeIngress("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ask := func(method, host, path, body string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.router.address()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	response := ask("POST", "synth.local", "/api/x%2Fy?q=1", "hello")
	body, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if got, want := string(body), "POST synth.local /api/x%2Fy?q=1 synth.local hello"; got != want || response.Header.Get("X-Pod") != "a" {
		t.Errorf("the backend saw %q, want %q", got, want)
	}
	if got := s.take(); !slices.Equal(got, []string{"ingress.route=/api", "service.latency", "service.served=a", "ingress.latency"}) {
		t.Errorf("told as %v", got)
	}
	for _, test := range []struct {
		host, path string
		status     int
		want       string
	}{
		{"synth.local", "/none/x", 503, "ingress.route=/none service.missed=no endpoints ingress.latency"},
		{"synth.local", "/nowhere", 404, "ingress.notFound=/nowhere"},
		{"other.local", "/api", 404, ""}, // another controller's
	} {
		response := ask("GET", test.host, test.path, "")
		_ = response.Body.Close()
		if got := strings.Join(s.take(), " "); response.StatusCode != test.status || got != test.want {
			t.Errorf("%s%s: %d, told as %q; want %d, %q", test.host, test.path, response.StatusCode, got, test.status, test.want)
		}
	}
	// A stream arrives as it is sent.
	response = ask("GET", "synth.local", "/api/stream", "")
	lines := bufio.NewScanner(response.Body)
	for n := range 3 {
		if !lines.Scan() || lines.Text() != strconv.Itoa(n) {
			t.Fatalf("line %d is %q", n, lines.Text())
		}
		next <- struct{}{}
	}
	_ = response.Body.Close()
	// Many at once.
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			response := ask("GET", "synth.local", "/api", "")
			defer response.Body.Close()
			if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != 200 {
				t.Errorf("one of many: %d, %v", response.StatusCode, err)
			}
		})
	}
	wg.Wait()
	// The patch's own request goes the same way, and an Ingress of another
	// controller without an address says so.
	s.take()
	time.Sleep(time.Second) // what is told of a second is bounded
	s.take()
	if err := s.request(t.Context(), mapping.Action{Verb: mapping.VerbRequest, Object: mapping.Object{Kind: mapping.KindIngress, Name: "main"}, Path: "/api"}); err != nil {
		t.Error(err)
	}
	if got := s.take(); !slices.Equal(got, []string{"ingress.route=/api", "service.latency", "service.served=a", "ingress.latency"}) {
		t.Errorf("told as %v", got)
	}
	err := s.request(t.Context(), mapping.Action{Verb: mapping.VerbRequest, Object: mapping.Object{Kind: mapping.KindIngress, Name: "other"}, Path: "/api"})
	if err == nil || !strings.Contains(err.Error(), "nginx") || !slices.Equal(s.take(), []string{"ingress.missed=no controller"}) {
		t.Errorf("an Ingress without a controller: %v", err)
	}
	// A foreign controller with an address is asked there.
	other.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "127.0.0.1", Ports: []networkingv1.IngressPortStatus{{Port: int32(server.Listener.Addr().(*net.TCPAddr).Port)}}}}
	if err := s.request(t.Context(), mapping.Action{Verb: mapping.VerbRequest, Object: mapping.Object{Kind: mapping.KindIngress, Name: "other"}, Path: "/api"}); err != nil {
		t.Error(err)
	}
	if got := s.take(); !slices.Equal(got, []string{"ingress.route=/api", "service.latency", "service.served=a", "ingress.latency"}) {
		t.Errorf("told as %v", got)
	}
}

// roundTrip is a transport of the test's own.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestOurRightsStayOurs sends what could lead to other objects of the cluster,
// and looks for the cluster where anybody may answer.
func TestOurRightsStayOurs(t *testing.T) {
	s := newStreet(t)
	var sent []string
	conn := &Conn{base: "https://api/", http: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r.URL.Host+r.URL.EscapedPath())
		return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}}, nil
	})}}
	ask := func(path string) error {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://any"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.reach.proxy(request, conn, "services/web:80")
		return err
	}
	for _, path := range []string{"/../../secrets", "/a/%2e%2e/%2E%2E/secrets", "/./a", `/..%5cx`, "/a/.."} {
		if err := ask(path); !errors.Is(err, errPath) {
			t.Errorf("%s: %v, want its refusal", path, err)
		}
	}
	if err := ask("/a..b/.c/%2Fd"); err != nil || !slices.Equal(sent, []string{"api/api/v1/namespaces/k8s-synth/services/web:80/proxy/a..b/.c/%2Fd"}) {
		t.Errorf("%v went to %q", err, sent)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
	sent, conn.insecure = nil, true
	if conn.servesItself(t.Context()) || len(sent) > 0 {
		t.Errorf("without a check of certificates, %q was given our credentials", sent)
	}
	conn.insecure = false
	if !conn.servesItself(t.Context()) || len(sent) != 1 {
		t.Errorf("with it, %q was asked", sent)
	}
}

// TestAClockThatIsRefusedIsToldOnce asks a foreign Service many times.
func TestAClockThatIsRefusedIsToldOnce(t *testing.T) {
	var mu sync.Mutex
	told := map[string]int{}
	o := NewObserver(Options{Transitions: func([]mapping.Transition) {}, Problem: func(_, text string) {
		mu.Lock()
		defer mu.Unlock()
		told[text]++
	}})
	p := NewPublisher(o)
	for _, name := range []string{"a", "b"} {
		(&serviceSink{join: o.services}).put(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: DefaultNamespace, UID: types.UID(name)}}, time.Now())
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.do(ctx, nil) }()
	for range 5 {
		for _, name := range []string{"a", "b", "nobody"} { // who is not there is only missed
			p.actions <- mapping.Action{Verb: mapping.VerbRequest, Object: mapping.Object{Kind: mapping.KindService, Name: name}}
		}
	}
	eventually(t, "the refusals", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told) == 2 && len(p.actions) == 0
	})
	cancel()
	<-done
	for text, n := range told {
		if n != 1 {
			t.Errorf("told %d times: %s", n, text)
		}
	}
}

func TestEventsAreOursAndCanBeRead(t *testing.T) {
	client := fake.NewClientset()
	conn := &Conn{core: client.CoreV1()}
	n := note{corev1.ObjectReference{Kind: "ConfigMap", Namespace: "n", Name: "topology", UID: "u"}, corev1.EventTypeWarning, reasonInvalid, strings.Repeat("é", 600)}
	for range 2 {
		if err := writeEvent(t.Context(), conn, n, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	list, err := client.CoreV1().Events("n").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%d events, %v", len(list.Items), err)
	}
	e := &list.Items[0]
	if e.Count != 2 || !utf8.ValidString(e.Message) || len(e.Message) > maxEventMessage {
		t.Errorf("counted %d, %d bytes, valid %v", e.Count, len(e.Message), utf8.ValidString(e.Message))
	}
	e.Labels = nil
	if _, err := client.CoreV1().Events("n").Update(t.Context(), e, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := writeEvent(t.Context(), conn, n, time.Now()); !errors.Is(err, ErrNotOurs) {
		t.Errorf("an event of another hand: %v", err)
	}
}
