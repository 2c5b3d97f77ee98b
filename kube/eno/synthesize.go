package eno

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// Inputs are what Eno binds for one synthesis.
type Inputs struct {
	Topology *corev1.ConfigMap `json:"topology" eno_key:"topology"`
}

// Synthesize turns the topology ConfigMap into the objects that it asks for.
// It is pure: the same topology always gives the same objects in the same
// order. Its type is that of Eno's function.SynthFunc.
func Synthesize(in Inputs) ([]client.Object, error) {
	t, err := Load(in.Topology)
	if err != nil {
		return nil, err
	}
	return Objects(t)
}

// Objects returns what a topology asks the cluster to hold: one object for
// each module that stands for one, with what its cables say of it. Every
// object has its TypeMeta: Eno's writer leaves out, without a word, what has
// none and is not in its scheme. An invalid topology gives an error that names
// each place.
func Objects(t mapping.Topology) ([]client.Object, error) {
	if err := Validate(t); err != nil {
		return nil, err
	}
	p := newPatch(&t)
	objects := []client.Object{}
	for _, id := range t.IDs(mapping.KindNamespace) {
		if q := p.quota(id); q != nil {
			objects = append(objects, q)
		}
	}
	for _, id := range t.IDs(mapping.KindDeployment) {
		objects = append(objects, p.deployment(id))
	}
	for _, id := range t.IDs(mapping.KindPod) {
		if p.power && t.Value(id, "hold") != 0 && p.claims[id] == "" {
			objects = append(objects, p.pod(id))
		}
	}
	for _, id := range t.IDs(mapping.KindService) {
		objects = append(objects, p.service(id))
	}
	for _, id := range t.IDs(mapping.KindIngress) {
		if i := p.ingress(id); i != nil {
			objects = append(objects, i)
		}
	}
	for _, id := range t.IDs(mapping.KindHPA) {
		if h := p.autoscaler(id); h != nil {
			objects = append(objects, h)
		}
	}
	for _, id := range t.IDs(mapping.KindCronJob) {
		objects = append(objects, p.cronJob(id))
	}
	for _, id := range t.IDs(mapping.KindJob) {
		if t.Value(id, "runs") > 0 {
			objects = append(objects, p.job(id))
		}
	}
	for _, o := range objects {
		if o.GetObjectKind().GroupVersionKind().Empty() {
			return nil, fmt.Errorf("%T %s/%s has no TypeMeta: Eno would drop it", o, o.GetNamespace(), o.GetName())
		}
		guard(o)
	}
	return objects, nil
}

// hands is how Eno is told to keep its hands off an object of this name that
// somebody else has made: it would take it over, and delete it in the end. Eno
// looks at the live object each time, also before it deletes. Where there is
// none, the condition is false.
var hands = fmt.Sprintf(`{"path":"self.metadata.annotations['eno.azure.io/disable-reconciliation']","value":"true",`+
	`"condition":"has(self.metadata) && !(has(self.metadata.labels) && '%[1]s' in self.metadata.labels && self.metadata.labels['%[1]s'] == '%[2]s')"}`, ManagedByLabel, ManagedBy)

// guard lets Eno touch an object only where it carries our label.
func guard(o client.Object) {
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	text := "[" + hands
	if more := strings.TrimPrefix(annotations[OverridesAnnotation], "["); more != "" {
		text += "," + more
	} else {
		text += "]"
	}
	annotations[OverridesAnnotation] = text
	o.SetAnnotations(annotations)
}

// patch is a topology with its cables sorted by what they say.
type patch struct {
	*mapping.Topology
	power    bool
	claims   map[instrument.ModuleID]instrument.ModuleID // Pod panel to the Deployment whose replica it shows
	selected map[instrument.ModuleID]instrument.ModuleID // Service to the module whose pods it selects
	places   map[instrument.ModuleID][]string            // Deployment or bare pod to the nodes it must run on
	scalers  map[instrument.ModuleID]instrument.ModuleID // HPA to its Deployment
	scaled   map[instrument.ModuleID]instrument.ModuleID // Deployment to its HPA
	routes   map[instrument.JackRef]instrument.ModuleID  // route of an Ingress to its Service
}

func newPatch(t *mapping.Topology) *patch {
	p := &patch{
		Topology: t, power: true, claims: claimsOf(t),
		selected: map[instrument.ModuleID]instrument.ModuleID{},
		places:   map[instrument.ModuleID][]string{},
		scalers:  map[instrument.ModuleID]instrument.ModuleID{},
		scaled:   map[instrument.ModuleID]instrument.ModuleID{},
		routes:   map[instrument.JackRef]instrument.ModuleID{},
	}
	for _, id := range t.IDs(mapping.KindNamespace) {
		p.power = t.Value(id, "power") != 0
	}
	for _, text := range t.Cables {
		c, err := mapping.ParseCable(text)
		if err != nil {
			continue // Validate has refused it
		}
		from, to := c.From.Module, c.To.Module
		switch {
		case to.Kind() == mapping.KindService && c.To.Jack == "selector":
			p.selected[to] = from
		case meansPlacement(c):
			p.places[from] = append(p.places[from], nodeName(t, to))
		case meansScale(c):
			p.scalers[from], p.scaled[to] = to, from
		case meansRoute(c):
			p.routes[c.From] = to
		}
	}
	for id, nodes := range p.places {
		slices.Sort(nodes)
		p.places[id] = slices.Compact(nodes)
	}
	return p
}

// claimsOf returns the Deployment of each Pod panel that shows a replica.
func claimsOf(t *mapping.Topology) map[instrument.ModuleID]instrument.ModuleID {
	claims := map[instrument.ModuleID]instrument.ModuleID{}
	for _, text := range t.Cables {
		c, err := mapping.ParseCable(text)
		if err != nil || c.To.Module.Kind() != mapping.KindPod || c.To.Jack != "lifecycle" {
			continue
		}
		// Other outputs of a Deployment are gates, which may hold a bare pod up.
		if s := instrument.Spec(c.From.Module.Kind()); s != nil {
			if i := s.Output(c.From.Jack); i >= 0 && s.Outputs[i].Kind == instrument.Claim {
				claims[c.To.Module] = c.From.Module
			}
		}
	}
	return claims
}

func meansPlacement(c instrument.Cable) bool {
	return c.To.Module.Kind() == mapping.KindNode && c.To.Jack == "load"
}

func meansScale(c instrument.Cable) bool {
	return c.From.Module.Kind() == mapping.KindHPA && c.From.Jack == "scale"
}

func meansRoute(c instrument.Cable) bool {
	return c.From.Module.Kind() == mapping.KindIngress && strings.HasPrefix(c.From.Jack, "route_") &&
		c.To.Module.Kind() == mapping.KindService && c.To.Jack == "request"
}

// nodeName is the name of a Node module's node: the module's own where the
// panel gives no other.
func nodeName(t *mapping.Topology, id instrument.ModuleID) string {
	if name := t.Word(id, "node"); name != "" {
		return name
	}
	return id.Name()
}

// quota is the room in the case, nil where nothing bounds it.
func (p *patch) quota(id instrument.ModuleID) *corev1.ResourceQuota {
	hard := corev1.ResourceList{}
	if n := int64(p.Value(id, "quota_pods")); n > 0 {
		hard[corev1.ResourcePods] = *resource.NewQuantity(n, resource.DecimalSI)
	}
	if n := int64(p.Value(id, "quota_cpu")); n > 0 {
		hard[corev1.ResourceRequestsCPU] = *resource.NewMilliQuantity(n, resource.DecimalSI)
	}
	if len(hard) == 0 {
		return nil
	}
	return &corev1.ResourceQuota{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ResourceQuota"},
		ObjectMeta: p.meta(id, id.Name()),
		Spec:       corev1.ResourceQuotaSpec{Hard: hard},
	}
}

// meta sets Eno's annotations, which it removes again from what it applies.
// One readiness group for all lets everything go out at once, because chains
// of groups double the latency at each step.
func (p *patch) meta(id instrument.ModuleID, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:      name,
		Namespace: p.Namespace,
		Labels:    moduleLabels(id),
		Annotations: map[string]string{
			"eno.azure.io/readiness-group":    "0",
			"eno.azure.io/reconcile-interval": ReconcileInterval,
		},
	}
}

func moduleLabels(id instrument.ModuleID) map[string]string {
	return map[string]string{ManagedByLabel: ManagedBy, ModuleLabel: id.Kind() + "." + id.Name()}
}

// lifecycle returns the annotations that time simulated pods.
func (p *patch) lifecycle(id instrument.ModuleID) map[string]string {
	return map[string]string{
		StartAnnotation: seconds(p.Value(id, "start_delay")), ReadyAnnotation: seconds(p.Value(id, "ready_delay")),
		StopAnnotation: seconds(p.Value(id, "stop_delay")), JitterAnnotation: seconds(p.Value(id, "delay_jitter")),
	}
}

// keep are the overrides by which Eno applies what an object holds already in
// place of what was synthesized, as long as the condition is true. What is
// kept stays Eno's: were it left out instead, the API would take the field
// away, or put its default there.
func keep(condition string, paths ...string) string {
	text := "["
	for i, path := range paths {
		if i > 0 {
			text += ","
		}
		text += `{"path":` + strconv.Quote(path) + `,"condition":` + strconv.Quote(condition) + `,"valueExpression":` + strconv.Quote(path) + `}`
	}
	return text + "]"
}

// OverridesAnnotation is Eno's own: what of an object is not the synthesizer's
// to say.
const OverridesAnnotation = "eno.azure.io/overrides"
