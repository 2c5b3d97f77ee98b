package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// fault is what stands between the program and its API server.
type fault struct {
	name string
	// status, reason and message are answered to every write, where status is
	// not 0.
	status          int
	reason, message string
	// revoked asks the real API server as somebody who may do nothing.
	revoked bool
}

// faulty is a proxy before the real API server that can do it harm.
type faulty struct {
	fault atomic.Pointer[fault]
	hit   atomic.Int64
}

func (f *faulty) start(t *testing.T, kubeconfig string) (file string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(target)
			if is := f.fault.Load(); is != nil && is.revoked {
				f.hit.Add(1)
				pr.Out.Header.Set("Impersonate-User", "nobody")
			}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if is := f.fault.Load(); is != nil && is.status != 0 && q.Method != http.MethodGet {
			f.hit.Add(1)
			w.Header().Set("Content-Type", "application/json")
			if is.status == http.StatusTooManyRequests {
				w.Header().Set("Retry-After", "1")
			}
			w.WriteHeader(is.status)
			fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"reason":%q,"code":%d}`, is.message, is.reason, is.status)
			return
		}
		proxy.ServeHTTP(w, q)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	out := clientcmdapi.NewConfig()
	out.Clusters["faulty"] = &clientcmdapi.Cluster{Server: "http://" + l.Addr().String()}
	out.Contexts["faulty"] = &clientcmdapi.Context{Cluster: "faulty"}
	out.CurrentContext = "faulty"
	file = filepath.Join(t.TempDir(), "faulty")
	if err := clientcmd.WriteToFile(*out, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestFaultsAndConflicts lets the API refuse, throttle, break and fill up, and
// another hand edit what is being turned: what was set last lands always, and
// nothing is lost without a word.
func TestFaultsAndConflicts(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane; not in -short")
	}
	t.Parallel()
	r := newRig(t)
	r.publish(r.topology(1))
	r.converged(1, 90*time.Second)
	r.endKube()
	// The same again, by way of the proxy.
	r.mu.Lock()
	clear(r.fields)
	r.ts = nil
	r.mu.Unlock()
	f := &faulty{}
	r.startKube("--kubeconfig", f.start(t, r.kubeconfig()))
	r.publish(r.topology(2))
	r.converged(2, 60*time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), callsEnd)
	defer cancel()
	c := r.client()

	replicas := 2
	for _, is := range []*fault{
		{name: "429", status: 429, reason: "TooManyRequests", message: "the server has received too many requests and has asked us to try again later"},
		{name: "500", status: 500, reason: "InternalError", message: "Internal error occurred"},
		{name: "full", status: 500, reason: "InternalError", message: "etcdserver: mvcc: database space exceeded"},
		{name: "forbidden", status: 403, reason: "Forbidden", message: "configmaps is forbidden: User cannot patch resource"},
		{name: "revoked", revoked: true},
	} {
		t.Run(is.name, func(t *testing.T) {
			r.mu.Lock()
			told := len(r.problems)
			r.mu.Unlock()
			before := f.hit.Load()
			pod := r.podObjects("web")[0]
			f.fault.Store(is)
			begin := time.Now()
			var generation int64
			for n := 0; time.Since(begin) < 2*time.Second; n++ {
				replicas = 2 + (replicas+1)%5
				topology := r.topology(replicas)
				generation = topology.Generation
				r.publish(topology)
				r.set(pod, mapping.SetCPU, strconv.FormatInt(generation, 10))
				time.Sleep(100 * time.Millisecond)
			}
			if f.hit.Load() == before {
				t.Error("the fault met no request")
			}
			f.fault.Store(nil)
			well := time.Now()
			r.eventually("the last topology", 15*time.Second, func() error {
				cm, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, eno.ConfigMapName, metav1.GetOptions{})
				if err != nil || cm.Annotations[eno.GenerationAnnotation] != strconv.FormatInt(generation, 10) {
					return fmt.Errorf("generation %s, want %d, %w", cm.Annotations[eno.GenerationAnnotation], generation, err)
				}
				return nil
			})
			topology := time.Since(well)
			r.eventually("the last setting", 15*time.Second, func() error {
				p, err := c.CoreV1().Pods(namespace).Get(ctx, pod.Name, metav1.GetOptions{})
				if err != nil {
					return nil // scaled away; nothing is left to set
				}
				if got := p.Annotations["k8s-synth.io/cpu"]; got != strconv.FormatInt(generation, 10) {
					return fmt.Errorf("cpu %s, want %d", got, generation)
				}
				return nil
			})
			t.Logf("topology there %v, setting %v after the end of the fault", topology.Round(time.Millisecond), time.Since(well).Round(time.Millisecond))
			r.mu.Lock()
			defer r.mu.Unlock()
			seen := map[string]int{}
			for _, p := range r.problems[told:] {
				seen[p.Where+": "+p.Text]++
			}
			if len(seen) == 0 {
				t.Error("nothing was told")
			}
			for text, n := range seen {
				t.Logf("told %d: %s", n, text)
				if n > 1 {
					t.Errorf("told %d times: %s", n, text)
				}
			}
		})
		r.converged(replicas, 30*time.Second)
	}
	r.sound()

	t.Run("conflict", func(t *testing.T) {
		// A hand at the knob at 10 Hz, another at kubectl edit: it changes now
		// something else, now the very knob.
		p := &player{r: r, now: r.topology(replicas)}
		r.mu.Lock()
		p.taken = len(r.edits)
		first := p.taken
		told := len(r.problems)
		r.mu.Unlock()
		made, lastDelay := 0, 0.0
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(430 * time.Millisecond):
				}
				r.edit(ctx, c, func(text string) string {
					n := made + 1 // the same again where the other hand was faster
					field, value := "ready_delay", 0.1+float64(n)/100
					if n%3 == 0 {
						// Another each time: what stands there already is no edit,
						// and the knob may be slow to write over it.
						field, value = "replicas", float64(9+n/3%2)
					} else {
						lastDelay = value
					}
					lines := strings.Split(text, "\n")
					for i, line := range lines {
						if at := strings.Index(line, field+":"); at >= 0 {
							lines[i] = line[:at] + fmt.Sprintf("%s: %g", field, value)
						}
					}
					return strings.Join(lines, "\n")
				})
				made++
			}
		}()
		turn := func(n int) {
			p.adopt()
			p.now.Modules["deployment/web"]["replicas"] = float64(n)
			p.publish()
		}
		for i := range 50 {
			turn(2 + i%3)
			time.Sleep(100 * time.Millisecond)
		}
		close(stop)
		<-done
		// Or the last turn would be from before the last edit.
		r.wait("all edits", 10*time.Second, func() bool { return len(r.edits)-first >= made })
		if p.adopt() {
			p.publish()
		}
		turn(3)
		var text string
		r.eventually("the last turn", 10*time.Second, func() error {
			cm, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, eno.ConfigMapName, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if text = cm.Data[eno.ConfigMapKey]; cm.Annotations[eno.GenerationAnnotation] != strconv.FormatInt(p.now.Generation, 10) {
				return fmt.Errorf("generation %s", cm.Annotations[eno.GenerationAnnotation])
			}
			return nil
		})
		if !strings.Contains(text, "replicas: 3") || !strings.Contains(text, fmt.Sprintf("ready_delay: %g", lastDelay)) {
			t.Errorf("want the last turn, 3, and the last edit, %g:\n%s", lastDelay, text)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if got := len(r.edits) - first; got != made {
			t.Errorf("%d edits reached the instrument, %d were made", got, made)
		}
		overruled := 0
		for _, problem := range r.problems[told:] {
			if strings.Contains(problem.Text, "deployment/web.replicas") {
				overruled++
			}
		}
		t.Logf("%d edits while a knob was turned at 10 Hz, %d conflicts told", made, overruled)
	})
	r.converged(3, 30*time.Second)
	r.sound()
}
