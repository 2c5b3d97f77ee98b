package scenes

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // schedules name time zones, and a machine may have none

	"github.com/robfig/cron/v3"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// What the observer of a cluster tells of each kind of object, read from its
// JSON as far as it can be heard. Fields come in the order in which the observer
// tells them.

// serviceLabel names the Service of an EndpointSlice.
const serviceLabel = "kubernetes.io/service-name"

// moduleLabel names the module for which an object was made.
const moduleLabel = "k8s-synth.io/module"

func wholeText(n int64) string { return strconv.FormatInt(n, 10) }

func positiveText(n int64) string {
	if n <= 0 {
		return ""
	}
	return wholeText(n)
}

func truthText(b bool) string { return strconv.FormatBool(b) }

func shareText(v float64) string {
	if v < 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return ""
	}
	return strconv.FormatFloat(math.Round(v*1e3)/1e3, 'f', -1, 64)
}

// part reads a part of an object, which may be missing.
func part(raw json.RawMessage, what string, into any) error {
	if raw == nil {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("its %s cannot be read: %w", what, err)
	}
	return nil
}

func podValues(o *apiObject) (values []watchValue, owner, replica string, err error) {
	var spec struct {
		Node string `json:"nodeName"`
	}
	var status struct {
		Phase      string         `json:"phase"`
		Reason     string         `json:"reason"`
		Conditions []apiCondition `json:"conditions"`
		Containers []apiContainer `json:"containerStatuses"`
		Init       []apiContainer `json:"initContainerStatuses"`
	}
	if err := part(o.Spec, "spec", &spec); err != nil {
		return nil, "", "", err
	}
	if err := part(o.Status, "status", &status); err != nil {
		return nil, "", "", err
	}
	ready, restarts := false, int64(0)
	for _, c := range status.Conditions {
		if c.Type == "Ready" {
			ready = c.Status == "True"
		}
	}
	for _, c := range status.Containers {
		restarts += c.Restarts
	}
	m := &o.Metadata
	replica = m.Labels["pod-template-hash"]
	owner = m.Name
	if name, ok := strings.CutPrefix(m.Labels[moduleLabel], mapping.KindPod+"."); ok {
		owner = name
	}
	for _, ref := range m.Owners {
		if !ref.Controller {
			continue
		}
		owner = ref.Name
		if name, ok := strings.CutSuffix(ref.Name, "-"+replica); ok && ref.Kind == "ReplicaSet" && replica != "" {
			owner = name
		}
		break
	}
	return []watchValue{{mapping.FieldPhase, status.Phase}, {mapping.FieldNode, spec.Node}, {mapping.FieldReason, podReason(status.Reason, status.Init, status.Containers, status.Conditions)},
		{mapping.FieldRestarts, wholeText(restarts)}, {mapping.FieldReady, truthText(ready)}}, owner, replica, nil
}

// podReason tells why a pod is not well, in the word that kubectl shows.
func podReason(own string, init, containers []apiContainer, conditions []apiCondition) string {
	if own != "" {
		return own
	}
	reason := ""
	for _, c := range slices.Concat(init, containers) {
		ended, last := c.State.Terminated, c.Last.Terminated
		switch {
		case ended != nil && ended.Reason != "Completed":
			if reason = ended.Reason; reason == "" {
				reason = "Error"
			}
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "ContainerCreating" && c.State.Waiting.Reason != "PodInitializing":
			reason = c.State.Waiting.Reason
		case c.State.Running != nil && !c.Ready && last != nil && last.Reason != "Completed":
			reason = last.Reason
		}
	}
	if reason != "" {
		return reason
	}
	for _, c := range conditions {
		if c.Type == "PodScheduled" && c.Status == "False" && c.Reason == "Unschedulable" {
			return c.Reason
		}
	}
	return ""
}

func deploymentValues(o *apiObject) ([]watchValue, error) {
	var spec struct {
		Replicas *int64 `json:"replicas"`
	}
	var status struct {
		Ready      int64          `json:"readyReplicas"`
		Updated    int64          `json:"updatedReplicas"`
		Observed   int64          `json:"observedGeneration"`
		Conditions []apiCondition `json:"conditions"`
	}
	if err := part(o.Spec, "spec", &spec); err != nil {
		return nil, err
	}
	if err := part(o.Status, "status", &status); err != nil {
		return nil, err
	}
	replicas, reason := int64(1), ""
	if spec.Replicas != nil {
		replicas = *spec.Replicas
	}
	for _, c := range status.Conditions {
		if c.Type == "ReplicaFailure" && c.Status == "True" {
			reason = c.Reason
		}
	}
	return []watchValue{{mapping.FieldGen, wholeText(o.Metadata.Generation)}, {mapping.FieldReplicas, wholeText(replicas)}, {mapping.FieldObserved, wholeText(status.Observed)},
		{mapping.FieldUpdated, wholeText(status.Updated)}, {mapping.FieldReadyPods, wholeText(status.Ready)}, {mapping.FieldReason, reason}}, nil
}

func nodeValues(o *apiObject) ([]watchValue, error) {
	var spec struct {
		Unschedulable bool `json:"unschedulable"`
	}
	var status struct {
		Allocatable apiQuantities  `json:"allocatable"`
		Conditions  []apiCondition `json:"conditions"`
	}
	if err := part(o.Spec, "spec", &spec); err != nil {
		return nil, err
	}
	if err := part(o.Status, "status", &status); err != nil {
		return nil, err
	}
	ready, pressure := false, false
	for _, c := range status.Conditions {
		switch c.Type {
		case "Ready":
			ready = c.Status == "True"
		case "MemoryPressure", "DiskPressure", "PIDPressure":
			pressure = pressure || c.Status == "True"
		}
	}
	cpu, _, err := status.Allocatable.get("cpu")
	if err != nil {
		return nil, err
	}
	return []watchValue{{mapping.FieldReady, truthText(ready)}, {mapping.FieldCordoned, truthText(spec.Unschedulable)}, {mapping.FieldPressure, truthText(pressure)},
		{mapping.FieldCapacity, positiveText(int64(math.Ceil(cpu*1000 - 1e-6)))}}, nil
}

func ingressValues(o *apiObject) ([]watchValue, error) {
	var spec struct {
		Rules []struct {
			HTTP *struct {
				Paths []struct {
					Path    string `json:"path"`
					Backend struct {
						Service *struct {
							Name string `json:"name"`
						} `json:"service"`
					} `json:"backend"`
				} `json:"paths"`
			} `json:"http"`
		} `json:"rules"`
	}
	if err := part(o.Spec, "spec", &spec); err != nil {
		return nil, err
	}
	var routes []string
	for _, r := range spec.Rules {
		if r.HTTP == nil {
			continue
		}
		for _, p := range r.HTTP.Paths {
			service := ""
			if p.Backend.Service != nil {
				service = p.Backend.Service.Name
			}
			path := p.Path
			if path == "" {
				path = "/"
			}
			routes = append(routes, strings.ReplaceAll(path, ",", "%2C")+"="+service)
		}
	}
	return []watchValue{{mapping.FieldRoutes, strings.Join(routes, ",")}}, nil
}

func hpaValues(o *apiObject) ([]watchValue, error) {
	type level struct {
		Utilization *float64        `json:"averageUtilization"`
		Average     json.RawMessage `json:"averageValue"`
		Value       json.RawMessage `json:"value"`
	}
	type source struct {
		Name   string `json:"name"`
		Target level  `json:"target"`
		Now    level  `json:"current"`
		Metric struct {
			Name string `json:"name"`
		} `json:"metric"`
	}
	type metric struct {
		Type      string  `json:"type"`
		Resource  *source `json:"resource"`
		Container *source `json:"containerResource"`
		Pods      *source `json:"pods"`
		Object    *source `json:"object"`
		External  *source `json:"external"`
	}
	of := func(m *metric) (s *source, name string) {
		for _, c := range []*source{m.Resource, m.Container, m.Pods, m.Object, m.External} {
			if c != nil {
				return c, m.Type + "/" + c.Name + "/" + c.Metric.Name
			}
		}
		return nil, ""
	}
	var spec struct {
		Metrics []metric `json:"metrics"`
	}
	var status struct {
		Current    int64          `json:"currentReplicas"`
		Desired    int64          `json:"desiredReplicas"`
		Observed   int64          `json:"observedGeneration"`
		Metrics    []metric       `json:"currentMetrics"`
		Conditions []apiCondition `json:"conditions"`
	}
	if err := part(o.Spec, "spec", &spec); err != nil {
		return nil, err
	}
	if err := part(o.Status, "status", &status); err != nil {
		return nil, err
	}
	limited := false
	for _, c := range status.Conditions {
		if c.Type == "ScalingLimited" {
			limited = c.Status == "True"
		}
	}
	ratio := func(now, target level) float64 {
		if now.Utilization != nil && target.Utilization != nil && *target.Utilization > 0 {
			return *now.Utilization / *target.Utilization
		}
		for _, pair := range [][2]json.RawMessage{{now.Average, target.Average}, {now.Value, target.Value}} {
			a, okA, _ := quantityOf(pair[0])
			b, okB, _ := quantityOf(pair[1])
			if okA && okB && b > 0 {
				return a / b
			}
		}
		return -1
	}
	load := -1.0
	for i := range spec.Metrics {
		s, name := of(&spec.Metrics[i])
		for j := range status.Metrics {
			c, other := of(&status.Metrics[j])
			if s == nil || c == nil || name != other {
				continue
			}
			share := ratio(c.Now, s.Target)
			if s.Name == "cpu" && share >= 0 {
				load = share
				break
			}
			load = max(load, share)
		}
	}
	return []watchValue{{mapping.FieldGen, positiveText(o.Metadata.Generation)}, {mapping.FieldLoad, shareText(load)}, {mapping.FieldDesired, wholeText(status.Desired)},
		{mapping.FieldCurrent, wholeText(status.Current)}, {mapping.FieldLimited, truthText(limited)}, {mapping.FieldObserved, positiveText(status.Observed)}}, nil
}

// tickGrace is how long a tick may be late before it counts as left out, as the
// observer has it.
const tickGrace = 5 * time.Second

func cronJobValues(o *apiObject, now time.Time) ([]watchValue, error) {
	var spec struct {
		Schedule string  `json:"schedule"`
		Zone     *string `json:"timeZone"`
		Suspend  *bool   `json:"suspend"`
	}
	var status struct {
		Active []json.RawMessage `json:"active"`
		Last   *time.Time        `json:"lastScheduleTime"`
	}
	if err := part(o.Spec, "spec", &spec); err != nil {
		return nil, err
	}
	if err := part(o.Status, "status", &status); err != nil {
		return nil, err
	}
	moment := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	tick, base := time.Time{}, time.Time{}
	if t := o.Metadata.CreationTimestamp; t != nil {
		base = *t
	}
	if status.Last != nil {
		tick, base = *status.Last, *status.Last
	}
	next := time.Time{}
	if (spec.Suspend == nil || !*spec.Suspend) && o.Metadata.DeletionTimestamp == nil && !base.IsZero() {
		next = nextTick(spec.Schedule, spec.Zone, base, now)
	}
	return []watchValue{{mapping.FieldTick, moment(tick)}, {mapping.FieldActive, wholeText(int64(len(status.Active)))}, {mapping.FieldNext, moment(next)}}, nil
}

// nextTick is when a schedule ticks next after a tick, as the CronJob's
// controller reads it; those that were left out do not count. It is zero where
// the schedule cannot be read.
func nextTick(spec string, zone *string, base, now time.Time) time.Time {
	spec = strings.TrimSpace(spec)
	switch {
	case spec == "":
		return time.Time{}
	case strings.Contains(spec, "TZ"):
		if !strings.Contains(spec, " ") {
			return time.Time{} // the parser would not survive it
		}
	case zone != nil:
		if _, err := time.LoadLocation(*zone); err == nil {
			spec = "TZ=" + *zone + " " + spec
		}
	}
	schedule, err := cron.ParseStandard(spec)
	if err != nil {
		return time.Time{}
	}
	t := schedule.Next(base)
	late := now.Sub(t)
	if t.IsZero() || late < tickGrace {
		return t
	}
	// Each tick of "@every" is counted from the one before.
	if every, ok := schedule.(cron.ConstantDelaySchedule); ok && every.Delay > 0 {
		return t.Add((late/every.Delay + 1) * every.Delay)
	}
	return schedule.Next(now)
}

func jobValues(o *apiObject) (values []watchValue, owner string, err error) {
	var status struct {
		Active     int64          `json:"active"`
		Succeeded  int64          `json:"succeeded"`
		Failed     int64          `json:"failed"`
		Conditions []apiCondition `json:"conditions"`
	}
	if err := part(o.Status, "status", &status); err != nil {
		return nil, "", err
	}
	complete := ""
	for _, c := range status.Conditions {
		switch {
		case c.Status != "True":
		case c.Type == "Complete":
			complete = "true"
		case c.Type == "Failed":
			complete = "failed"
		}
	}
	owner = o.Metadata.Labels[moduleLabel]
	if name, ok := strings.CutPrefix(owner, mapping.KindJob+"."); ok {
		owner = name
	}
	for _, ref := range o.Metadata.Owners {
		if ref.Controller && ref.Kind == "CronJob" {
			owner = mapping.KindCronJob + "." + ref.Name
		}
	}
	return []watchValue{{mapping.FieldActive, wholeText(status.Active)}, {mapping.FieldSucceeded, wholeText(status.Succeeded)}, {mapping.FieldFailed, wholeText(status.Failed)},
		{mapping.FieldComplete, complete}}, owner, nil
}

// maxPlaces is how many endpoints of a Service are told.
const maxPlaces = 64

// slice takes over the endpoints of a Service.
func (w *WatchReader) slice(e *watchEvent) {
	m := &e.object.Metadata
	service := m.Labels[serviceLabel]
	if service == "" {
		w.leave("EndpointSlice of no Service")
		return
	}
	key := m.Namespace + "/" + service
	if w.slices[key] == nil {
		w.slices[key] = map[string][]string{}
	}
	var ready []string
	if e.kind != "DELETED" {
		for _, p := range e.object.Endpoints {
			if p.Target != nil && p.Target.Kind == "Pod" && (p.Conditions.Ready == nil || *p.Conditions.Ready) {
				ready = append(ready, p.Target.Name)
			}
		}
	}
	w.slices[key][m.Name] = ready
	all := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(w.slices[key])) {
		for _, pod := range w.slices[key][name] {
			all[pod] = true
		}
	}
	// Who is there keeps the place, who comes takes the first that is free.
	places := w.places[key]
	for i, pod := range places {
		if !all[pod] {
			places[i] = ""
		}
		delete(all, pod)
	}
	for _, pod := range slices.Sorted(maps.Keys(all)) {
		if i := slices.Index(places, ""); i >= 0 {
			places[i] = pod
		} else if len(places) < maxPlaces {
			places = append(places, pod)
		}
	}
	w.places[key] = places
	for _, o := range w.objects {
		if o.object.Kind == mapping.KindService && o.object.Namespace == m.Namespace && o.object.Name == service {
			w.update(o, e, mapping.FieldEndpoints, writePlaces(places))
		}
	}
}

// update tells of one field of an object that comes by another way.
func (w *WatchReader) update(o *watched, e *watchEvent, field, text string) {
	i := slices.IndexFunc(o.values, func(v watchValue) bool { return v.field == field })
	if i < 0 {
		o.values = append(o.values, watchValue{field: field})
		i = len(o.values) - 1
	}
	if was := o.values[i].text; was != text {
		o.values[i].text = text
		w.tell(o, e, field, was, text)
	}
}

func writePlaces(names []string) string {
	for len(names) > 0 && names[len(names)-1] == "" {
		names = names[:len(names)-1]
	}
	var out []string
	for _, name := range names {
		if name == "" {
			name = "-"
		}
		out = append(out, name)
	}
	return strings.Join(out, ",")
}

// quota takes over how much of a quota is free.
func (w *WatchReader) quota(e *watchEvent) error {
	m := &e.object.Metadata
	var status struct {
		Hard apiQuantities `json:"hard"`
		Used apiQuantities `json:"used"`
	}
	if err := part(e.object.Status, "status", &status); err != nil {
		return err
	}
	least := -1.0
	for name := range status.Hard {
		hard, _, err := status.Hard.get(name)
		if err != nil {
			return err
		}
		used, _, err := status.Used.get(name)
		if err != nil {
			return err
		}
		if hard > 0 {
			if share := min(1, max(0, 1-used/hard)); least < 0 || share < least {
				least = share
			}
		}
	}
	if w.quotas[m.Namespace] == nil {
		w.quotas[m.Namespace] = map[string]float64{}
	}
	w.quotas[m.Namespace][m.Name] = least
	if e.kind == "DELETED" {
		delete(w.quotas[m.Namespace], m.Name)
	}
	object := mapping.Object{Kind: mapping.KindNamespace, Name: m.Namespace}
	o := w.objects[watchKey(&object)]
	if o == nil {
		w.is(&watched{object: object, values: []watchValue{{mapping.FieldExists, "true"}, {mapping.FieldHeadroom, w.headroom(m.Namespace)}}}, e)
		return nil
	}
	w.update(o, e, mapping.FieldHeadroom, w.headroom(m.Namespace))
	return nil
}

func (w *WatchReader) headroom(namespace string) string {
	least := -1.0
	for _, v := range w.quotas[namespace] {
		if v >= 0 && (least < 0 || v < least) {
			least = v
		}
	}
	return shareText(least)
}

// metrics takes over what a pod or node uses.
func (w *WatchReader) metrics(e *watchEvent) error {
	kind, usages := mapping.KindNode, []apiQuantities{e.object.Usage}
	if e.object.Kind == "PodMetrics" {
		kind, usages = mapping.KindPod, nil
		for _, c := range e.object.Containers {
			usages = append(usages, c.Usage)
		}
	}
	cpu, memory := 0.0, 0.0
	for _, u := range usages {
		c, _, err := u.get("cpu")
		if err != nil {
			return err
		}
		m, _, err := u.get("memory")
		if err != nil {
			return err
		}
		cpu, memory = cpu+c, memory+m
	}
	m := &e.object.Metadata
	for _, o := range w.objects {
		if o.object.Kind == kind && o.object.Name == m.Name && o.object.Namespace == m.Namespace {
			w.update(o, e, mapping.FieldLoad, wholeText(int64(math.Round(cpu*1000))))
			w.update(o, e, mapping.FieldMemory, wholeText(int64(math.Round(memory/(1<<20)))))
		}
	}
	return nil
}

// get returns a quantity by its name, 0 where there is none.
func (q apiQuantities) get(name string) (v float64, ok bool, err error) {
	if v, ok, err = quantityOf(q[name]); err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return v, ok, err
}

var (
	quantityForm = regexp.MustCompile(`^([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei))?$`)
	quantityUnit = map[string]float64{"": 1, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
		"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60}
)

// quantityOf reads an amount as the API writes it: "250m", "1Gi", 4.
func quantityOf(raw json.RawMessage) (float64, bool, error) {
	if raw == nil || string(raw) == "null" {
		return 0, false, nil
	}
	text := strings.Trim(string(raw), `"`)
	m := quantityForm.FindStringSubmatch(text)
	if m == nil {
		return 0, false, fmt.Errorf("%q is no quantity, such as 250m or 1Gi", document.Clip(text))
	}
	v, err := strconv.ParseFloat(m[1]+m[2], 64)
	if err != nil {
		return 0, false, fmt.Errorf("%q is no quantity, such as 250m or 1Gi", document.Clip(text))
	}
	return v * quantityUnit[m[3]], true, nil
}

var scaledTo = regexp.MustCompile(`^Scaled (?:up|down) replica set (\S+) (?:from \d+ )?to (\d+)`)

// hint says what an Event tells of its object, for a recording that has nothing
// better.
func (w *WatchReader) hint(e *watchEvent) {
	o := e.object
	ref := o.Involved
	if ref.empty() {
		ref = o.Regarding
	}
	if ref.empty() || e.kind == "DELETED" {
		w.leave("Event of nothing")
		return
	}
	message := o.Message
	if message == "" {
		message = o.Note
	}
	t := mapping.Transition{Time: e.at.Round(time.Microsecond), Object: mapping.Object{Namespace: ref.Namespace, Name: ref.Name, UID: ref.UID}}
	say := func(kind string, pairs ...string) {
		t.Object.Kind = kind
		if kind == mapping.KindNode {
			t.Object.Namespace = ""
		}
		for i := 0; i+1 < len(pairs); i += 2 {
			t.Field, t.New = pairs[i], pairs[i+1]
			w.hints = append(w.hints, t)
		}
	}
	switch ref.Kind {
	case "Pod":
		t.Owner, t.Replica = podByName(ref.Name)
		switch o.Reason {
		case "Scheduled":
			node := ""
			if i := strings.LastIndex(message, " to "); i >= 0 {
				node = strings.TrimSuffix(message[i+4:], ".")
			}
			say(mapping.KindPod, mapping.FieldPhase, "Pending", mapping.FieldNode, node, mapping.FieldReason, "")
		case "FailedScheduling":
			say(mapping.KindPod, mapping.FieldPhase, "Pending", mapping.FieldReason, "Unschedulable")
		case "Started":
			say(mapping.KindPod, mapping.FieldReason, "", mapping.FieldPhase, "Running", mapping.FieldReady, "true")
		case "Unhealthy":
			say(mapping.KindPod, mapping.FieldReady, "false")
		case "BackOff":
			reason := "CrashLoopBackOff"
			if strings.Contains(message, "image") {
				reason = "ImagePullBackOff"
			}
			say(mapping.KindPod, mapping.FieldReason, reason, mapping.FieldReady, "false")
		case "Evicted", "Preempted":
			say(mapping.KindPod, mapping.FieldReason, o.Reason, mapping.FieldPhase, "Failed", mapping.FieldReady, "false")
		case "Killing":
			say(mapping.KindPod, mapping.FieldReady, "false", mapping.FieldDeleting, "true")
		default:
			w.leave("Event " + o.Reason)
		}
	case "Deployment":
		if m := scaledTo.FindStringSubmatch(message); m != nil && o.Reason == "ScalingReplicaSet" {
			say(mapping.KindDeployment, mapping.FieldReplicas, m[2])
			return
		}
		w.leave("Event " + o.Reason)
	case "Node":
		switch o.Reason {
		case "NodeReady":
			say(mapping.KindNode, mapping.FieldReady, "true")
		case "NodeNotReady":
			say(mapping.KindNode, mapping.FieldReady, "false")
		case "NodeSchedulable":
			say(mapping.KindNode, mapping.FieldCordoned, "false")
		case "NodeNotSchedulable":
			say(mapping.KindNode, mapping.FieldCordoned, "true")
		case "NodeHasInsufficientMemory", "NodeHasDiskPressure", "NodeHasInsufficientPID":
			say(mapping.KindNode, mapping.FieldPressure, "true")
		case "NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID":
			say(mapping.KindNode, mapping.FieldPressure, "false")
		case "RemovingNode":
			say(mapping.KindNode, mapping.FieldExists, "")
		default:
			w.leave("Event " + o.Reason)
		}
	default:
		w.leave("Event of a " + ref.Kind)
	}
}

var podNamed = regexp.MustCompile(`^(.+)-([a-z0-9]{6,10})-[a-z0-9]{5}$`)

// podByName guesses the Deployment of a pod from its name.
func podByName(name string) (owner, replica string) {
	if m := podNamed.FindStringSubmatch(name); m != nil {
		return m[1], m[2]
	}
	return name, ""
}
