package eno

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/robfig/cron/v3"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// imagePattern follows the reference grammar of container images closely
// enough to catch what a node would refuse.
var imagePattern = regexp.MustCompile(`^[a-z0-9][a-zA-Z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`)

// Validate checks a topology: what the rack asks of a patch, and what
// Kubernetes will ask of the objects. The error names the place of every fault
// that was found: "modules.deployment/web.replicas: replicas is 0 … 16, got 17".
func Validate(t mapping.Topology) error { return invalid("", validate(t)) }

func validate(t mapping.Topology) (faults []Fault) {
	fault := func(place, format string, args ...any) {
		faults = append(faults, Fault{Place: place, Text: fmt.Sprintf(format, args...)})
	}
	switch {
	case t.Version > mapping.TopologyVersion:
		fault("version", "%s", laterVersion(t.Version))
	case t.Version < mapping.TopologyVersion:
		// Version 1 is converted where it is read.
		fault("version", "%d is not a version; write %d", t.Version, mapping.TopologyVersion)
	}
	if t.Generation < 0 {
		fault("generation", "%d is negative", t.Generation)
	}
	if e := validation.IsDNS1123Label(t.Namespace); len(e) > 0 {
		fault("namespace", "%q: %s", t.Namespace, e[0])
	}
	if _, err := t.Patch(); err != nil {
		for _, e := range each(err) {
			var pe *instrument.PatchError
			if errors.As(e, &pe) {
				fault(pe.Path, "%v", pe.Err)
			} else {
				fault("", "%v", e)
			}
		}
	}
	validateObjects(&t, fault)
	// What the rack refuses already need not be told twice.
	var once []Fault
	for _, f := range faults {
		if !slices.ContainsFunc(once, func(g Fault) bool { return g.Place == f.Place }) {
			once = append(once, f)
		}
	}
	return once
}

func each(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}

// validateObjects checks what Kubernetes asks of the objects of each module
// and what a single param cannot know.
func validateObjects(t *mapping.Topology, fault func(place, format string, args ...any)) {
	at := func(id instrument.ModuleID, param string) string { return "modules." + string(id) + "." + param }
	for _, kind := range []string{mapping.KindDeployment, mapping.KindPod, mapping.KindCronJob, mapping.KindJob} {
		for _, id := range t.IDs(kind) {
			if image := t.Word(id, "image"); !imagePattern.MatchString(image) {
				fault(at(id, "image"), "%q is not the name of an image; expected such as ghcr.io/k8s-synth/voice:0.1.0", image)
			}
			if _, err := podLabels(t.Word(id, "labels")); err != nil {
				fault(at(id, "labels"), "%v", err)
			}
		}
	}
	for _, id := range t.IDs(mapping.KindService) {
		if e := validation.IsDNS1035Label(id.Name()); len(e) > 0 {
			fault("modules."+string(id), "%q is not a name for a Service: %s", id.Name(), e[0])
		}
		if match := t.Word(id, "match"); match != "" {
			if _, err := labels.Parse(match); err != nil {
				fault(at(id, "match"), "%q is not a label selector: %v; expected such as app=web or tier in (front, edge),!canary", match, err)
			}
		}
	}
	for _, id := range t.IDs(mapping.KindIngress) {
		validateIngress(t, id, fault)
	}
	for _, id := range t.IDs(mapping.KindNode) {
		if name := t.Word(id, "node"); name != "" {
			if e := validation.IsDNS1123Subdomain(name); len(e) > 0 {
				fault(at(id, "node"), "%q is not the name of a node: %s", name, e[0])
			}
		}
	}
	for _, id := range t.IDs(mapping.KindHPA) {
		if least, most := t.Value(id, "min"), t.Value(id, "max"); least > most {
			fault(at(id, "min"), "%g is more than max, which is %g", least, most)
		}
	}
	for _, id := range t.IDs(mapping.KindCronJob) {
		if err := checkSchedule(t.Word(id, "schedule")); err != nil {
			fault(at(id, "schedule"), "%v", err)
		}
	}
	if ids := t.IDs(mapping.KindNamespace); len(ids) > 1 {
		for _, id := range ids[1:] {
			fault("modules."+string(id), "%s is the case already, and a patch has one; take one of the two out", ids[0])
		}
	}
	scaled, routed := map[instrument.ModuleID]instrument.ModuleID{}, map[instrument.JackRef]instrument.ModuleID{}
	for i, text := range t.Cables {
		c, err := mapping.ParseCable(text)
		if err != nil {
			continue // told already
		}
		place := fmt.Sprintf("cables[%d]", i)
		switch {
		case meansScale(c):
			if other, ok := scaled[c.From.Module]; ok {
				fault(place, "%s scales %s already, and an autoscaler scales one Deployment", c.From.Module, other)
			}
			scaled[c.From.Module] = c.To.Module
		case meansRoute(c):
			if other, ok := routed[c.From]; ok {
				fault(place, "%s leads to %s already, and a rule has one Service behind it", c.From, other)
			}
			routed[c.From] = c.To.Module
		}
	}
}

// validateIngress holds paths to what the API takes for the path type Prefix.
func validateIngress(t *mapping.Topology, id instrument.ModuleID, fault func(place, format string, args ...any)) {
	host := t.Word(id, "host")
	e := validation.IsDNS1123Subdomain(host)
	if strings.HasPrefix(host, "*.") {
		e = validation.IsWildcardDNS1123Subdomain(host)
	}
	if len(e) > 0 {
		fault("modules."+string(id)+".host", "%q is not a host name: %s", host, e[0])
	}
	seen := map[string]string{}
	for n := range instrument.Endpoints {
		param := fmt.Sprintf("path_%d", n+1)
		path, at := t.Word(id, param), "modules."+string(id)+"."+param
		if path == "" {
			continue
		}
		switch {
		case !strings.HasPrefix(path, "/"):
			fault(at, "%q must begin with /", path)
		case strings.ContainsAny(path, " \t\r\n"):
			fault(at, "%q has a blank in it", path)
		}
		for _, s := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(path, s) {
				fault(at, "%q must not contain %s", path, s)
			}
		}
		if strings.HasSuffix(path, "/..") || strings.HasSuffix(path, "/.") {
			fault(at, "%q must not end in a dot", path)
		}
		// A prefix is matched element by element: a slash at the end says
		// nothing.
		same := strings.TrimSuffix(path, "/")
		if other, ok := seen[same]; ok {
			fault(at, "%q is the path of %s already", path, other)
		}
		seen[same] = param
	}
}

// checkSchedule takes what the CronJob of Kubernetes takes.
func checkSchedule(schedule string) (err error) {
	defer func() {
		if r := recover(); r != nil { // the parser's own way to refuse some texts
			err = fmt.Errorf("%q is not a schedule: %v", schedule, r)
		}
	}()
	if strings.Contains(schedule, "TZ") {
		return fmt.Errorf("%q: Kubernetes takes no time zone in a schedule", schedule)
	}
	if _, err := cron.ParseStandard(schedule); err != nil {
		return fmt.Errorf("%q is not a schedule: %w; expected minute, hour, day, month and weekday, such as */2 * * * *", schedule, err)
	}
	return nil
}

// ownPrefixes are the labels of pods that are not the player's to set.
var ownPrefixes = []string{"k8s-synth.io/", "eno.azure.io/", "batch.kubernetes.io/"}

// podLabels reads labels as a panel has them: "tier=front,app=web".
func podLabels(text string) (map[string]string, error) {
	out := map[string]string{}
	if strings.TrimSpace(text) == "" {
		return out, nil
	}
	for _, pair := range strings.Split(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok {
			return nil, fmt.Errorf("%q is not a label; expected key=value, with commas between several", strings.TrimSpace(pair))
		}
		if e := validation.IsQualifiedName(key); len(e) > 0 {
			return nil, fmt.Errorf("%q is not the name of a label: %s", key, e[0])
		}
		if e := validation.IsValidLabelValue(value); len(e) > 0 {
			return nil, fmt.Errorf("%q is not the value of a label: %s", value, e[0])
		}
		if key == ManagedByLabel || key == "pod-template-hash" || slices.ContainsFunc(ownPrefixes, func(p string) bool { return strings.HasPrefix(key, p) }) {
			return nil, fmt.Errorf("the label %s is not the player's to set", key)
		}
		if _, ok := out[key]; ok {
			return nil, fmt.Errorf("the label %s is there twice", key)
		}
		out[key] = value
	}
	return out, nil
}
