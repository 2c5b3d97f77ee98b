package instrument

import (
	"fmt"
	"math/bits"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// Endpoints is how many endpoints of a Service have a jack of their own, and
// how many routes an Ingress has.
const Endpoints = 4

func numbered(name string, n int, j JackSpec) (js []JackSpec) {
	for i := range n {
		r := j
		r.Name = fmt.Sprintf("%s_%d", name, i+1)
		r.Doc = fmt.Sprintf(j.Doc, i+1)
		js = append(js, r)
	}
	return js
}

func serviceSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "service", Title: "Service", HP: 10, Plus12: 40, Minus12: 10,
		Doc:   "Selects pods and hands each request to one of them. Which pods: those of the cable at selector, those whose labels match, or with both those that are in both.",
		Bound: "Service: spec.selector, spec.ports, spec.sessionAffinity; its EndpointSlices",
		New:   func() Processor { return &service{} },
		Params: []ParamSpec{
			{Name: "port", Doc: "port of the Service", Min: 1, Max: 65535, Value: 80, Whole: true, Cluster: true},
			{Name: "target_port", Doc: "port of the container", Min: 1, Max: 65535, Value: 8080, Whole: true, Cluster: true},
			{Name: "policy", Doc: "which endpoint a simulated request goes to; sticky is also the Service's session affinity", Choices: []string{"round_robin", "random", "sticky"}, Cluster: true},
			{Name: "match", Doc: "label selector in Kubernetes' own notation, such as app=web or tier in (front, edge),!canary", Text: true, Free: true, Cluster: true},
		},
		Inputs: []JackSpec{
			{Name: "selector", Kind: Selector, Doc: "the pods that the Service selects"},
			{Name: "request", Kind: Trigger, Button: true, Doc: "sends a request to one endpoint"},
		},
		Outputs: append(numbered("endpoint", Endpoints, JackSpec{Kind: Trigger, Doc: "endpoint %d took a request"}), []JackSpec{
			{Name: "endpoints", Kind: Trigger, Poly: true, Doc: "an endpoint took a request, one channel each"},
			{Name: "present", Kind: Gate, Poly: true, Doc: "one gate an endpoint, high while it is listed and ready"},
			{Name: "endpoint_count", Kind: CV, Unit: "1 V an endpoint", Doc: "how many endpoints there are"},
			{Name: "latency", Kind: CV, Unit: "1 V per 10 ms, up to 10 V", Doc: "how long the last real request took"},
			{Name: "miss", Kind: Trigger, Doc: "a request found no endpoint, or was refused"},
			{Name: "live", Kind: Gate, Doc: "high while requests are real HTTP requests"},
		}...),
	}
}

const (
	serviceEndpoints = Endpoints + iota // after the endpoints that have jacks of their own
	servicePresent
	serviceCount
	serviceLatency
	serviceMiss
	serviceLive
)

const (
	servicePolicy  = 2 // param
	serviceRequest = 1 // input
)

// The positions of a Service's policy.
const (
	policyRoundRobin = iota
	policyRandom
	policySticky
)

// service is a panel that hands requests out. While it is live it only tells
// the control side, which makes them and strikes the endpoint that answered.
type service struct {
	panel
	request dsp.SchmittTrigger
	chance  dsp.Noise
	last    int // channel that took the last request; −1 before the first
}

func (s *service) Init(sampleRate float64, seed uint64) {
	s.panel.init(Spec("service"), sampleRate)
	s.chance.Init(sampleRate)
	s.chance.Seed(seed)
	s.last = -1
}

// Reset lowers the jacks and forgets who was asked last. Audio thread.
func (s *service) Reset() {
	s.panel.Reset()
	s.request.Reset()
	s.chance.Reset()
	s.last = -1
}

// Process renders the panel, then the requests of the slice. Audio thread.
func (s *service) Process(io *IO) {
	s.tell(io)
	s.write(io, 0, len(s.jacks))
	in, n := io.In[serviceRequest], io.N
	if in.Held&1 != 0 {
		n = 1
	}
	for i, v := range in.Volts[0][:n] {
		if !s.request.Next(v) {
			continue
		}
		if io.Out[serviceLive].Volts[0][i] > dsp.SchmittHigh {
			io.Changed(EventGate, serviceRequest, i, 1)
			continue
		}
		c := s.choose(io, i)
		if c < 0 {
			s.strike(io, serviceMiss, 0, i)
			continue
		}
		s.strike(io, serviceEndpoints, c, i)
		if c < Endpoints {
			s.strike(io, c, 0, i)
		}
	}
}

// choose returns the channel of the endpoint that takes the request at frame
// i, −1 where there is none. Audio thread.
func (s *service) choose(io *IO, i int) int {
	var there uint32
	for c := range MaxPoly {
		if io.Out[servicePresent].Volts[c][i] > dsp.SchmittHigh {
			there |= 1 << c
		}
	}
	if there == 0 {
		return -1
	}
	policy := int(io.Params[servicePolicy][i])
	switch {
	case policy == policyRandom:
		set := there
		for k := s.chance.Uint64() % uint64(bits.OnesCount32(there)); k > 0; k-- {
			set &= set - 1
		}
		s.last = bits.TrailingZeros32(set)
	case policy == policySticky && s.last >= 0 && there&(1<<s.last) != 0:
	default:
		after := there >> (s.last + 1) << (s.last + 1)
		if after == 0 {
			after = there
		}
		s.last = bits.TrailingZeros32(after)
	}
	return s.last
}

func ingressSpec() *ModuleSpec {
	path := func(n int, value string) ParamSpec {
		return ParamSpec{Name: fmt.Sprintf("path_%d", n), Doc: fmt.Sprintf("path prefix of route %d; empty is no route", n), Text: true, Free: true, Default: value, Cluster: true}
	}
	return &ModuleSpec{
		Kind: "ingress", Title: "Ingress", HP: 10, Plus12: 35, Minus12: 10,
		Doc:   "The way in: sends each request to the Service that is patched to its route.",
		Bound: "Ingress: spec.rules",
		New:   func() Processor { return &ingress{} },
		Params: []ParamSpec{
			{Name: "host", Doc: "host name of all routes", Text: true, Default: "synth.local", Cluster: true},
			path(1, "/"), path(2, "/two"), path(3, "/three"), path(4, "/four"),
		},
		Inputs: []JackSpec{
			{Name: "request", Kind: Trigger, Button: true, Doc: "sends a request for the path that the path jack chooses"},
			{Name: "path", Kind: CV, Unit: "1 V a path: 0 V path 1 … 3 V path 4, above or below one that is not served", Doc: "chooses the path of the next request"},
		},
		Outputs: append(numbered("route", Endpoints, JackSpec{Kind: Trigger, Doc: "a request took route %d; patched to a Service's request, the Ingress has that rule"}), []JackSpec{
			{Name: "routes", Kind: Gate, Poly: true, Doc: "one gate a route, high while the Ingress has its rule"},
			{Name: "not_found", Kind: Trigger, Doc: "a request for a path that has no rule: 404"},
			{Name: "latency", Kind: CV, Unit: "1 V per 10 ms, up to 10 V", Doc: "how long the last real request took"},
			{Name: "live", Kind: Gate, Doc: "high while requests are real HTTP requests"},
		}...),
	}
}

const (
	ingressRoutes = Endpoints + iota // after the routes' own triggers
	ingressNotFound
	ingressLatency
	ingressLive
)

const (
	ingressRequest = iota
	ingressPath
)

// ingress is a panel that sends requests on by their path. While it is live
// it only tells the control side, which makes them.
type ingress struct {
	panel
	request dsp.SchmittTrigger
}

func (g *ingress) Init(sampleRate float64, seed uint64) { g.panel.init(Spec("ingress"), sampleRate) }

// Reset lowers the jacks. Audio thread.
func (g *ingress) Reset() {
	g.panel.Reset()
	g.request.Reset()
}

// PathAt returns the number, from 0, of the path that a voltage at an
// Ingress' path jack chooses: the nearest volt; −1 where it chooses none.
// Audio thread.
func PathAt(volts float32) int {
	if volts >= -0.5 && volts < Endpoints-0.5 {
		return int(volts + 0.5)
	}
	return -1
}

// Process renders the panel, then the requests of the slice. Audio thread.
func (g *ingress) Process(io *IO) {
	g.tell(io)
	g.write(io, 0, len(g.jacks))
	in, n := io.In[ingressRequest], io.N
	if in.Held&1 != 0 {
		n = 1
	}
	for i, v := range in.Volts[0][:n] {
		if !g.request.Next(v) {
			continue
		}
		path := io.In[ingressPath].Volts[0][i]
		if io.Out[ingressLive].Volts[0][i] > dsp.SchmittHigh {
			io.Changed(EventSample, ingressPath, i, path)
			io.Changed(EventGate, ingressRequest, i, 1)
			continue
		}
		if c := PathAt(path); c >= 0 && io.Out[ingressRoutes].Volts[c][i] > dsp.SchmittHigh {
			g.strike(io, c, 0, i)
		} else {
			g.strike(io, ingressNotFound, 0, i)
		}
	}
}
