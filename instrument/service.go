package instrument

import "fmt"

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
		New:   func() Processor { return newPanel("service") },
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

func ingressSpec() *ModuleSpec {
	path := func(n int, value string) ParamSpec {
		return ParamSpec{Name: fmt.Sprintf("path_%d", n), Doc: fmt.Sprintf("path prefix of route %d; empty is no route", n), Text: true, Free: true, Default: value, Cluster: true}
	}
	return &ModuleSpec{
		Kind: "ingress", Title: "Ingress", HP: 10, Plus12: 35, Minus12: 10,
		Doc:   "The way in: sends each request to the Service that is patched to its route.",
		Bound: "Ingress: spec.rules",
		New:   func() Processor { return newPanel("ingress") },
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
