package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	apiv1 "github.com/Azure/eno/api/v1"
	"github.com/pmezard/go-difflib/difflib"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// HandFieldManager is the name under which a topology is written by hand: an
// instrument that plays there sees that it was not its own.
const HandFieldManager = "k8s-synth-cli"

// applyPoll is how often Eno is asked how far it is.
const applyPoll = 150 * time.Millisecond

var (
	// ErrNoEno says that the cluster has no Eno to turn a topology into objects.
	ErrNoEno = errors.New("this cluster has no Eno")
	// ErrNotApplied says that what was written is not (yet) what the cluster is.
	ErrNotApplied = errors.New("not applied")
)

// made are the kinds of objects that topologies are turned into.
var made = map[schema.GroupVersionKind]string{
	{Version: "v1", Kind: "ResourceQuota"}:                                 "resourcequotas",
	{Group: "apps", Version: "v1", Kind: "Deployment"}:                     "deployments",
	{Version: "v1", Kind: "Pod"}:                                           "pods",
	{Version: "v1", Kind: "Service"}:                                       "services",
	{Group: "networking.k8s.io", Version: "v1", Kind: "Ingress"}:           "ingresses",
	{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscaler"}: "horizontalpodautoscalers",
	{Group: "batch", Version: "v1", Kind: "CronJob"}:                       "cronjobs",
	{Group: "batch", Version: "v1", Kind: "Job"}:                           "jobs",
	{Version: "v1", Kind: "ConfigMap"}:                                     "configmaps",
	{Version: "v1", Kind: "Namespace"}:                                     "namespaces",
	{Group: "eno.azure.io", Version: "v1", Kind: "Synthesizer"}:            "synthesizers",
	{Group: "eno.azure.io", Version: "v1", Kind: "Composition"}:            "compositions",
}

// ObjectDiff is what a topology changes of one object.
type ObjectDiff struct {
	// Live is nil where the object is made, Next where it is taken away. Both
	// are without what the API server writes of its own.
	Live, Next *unstructured.Unstructured
}

func (d *ObjectDiff) object() *unstructured.Unstructured {
	if d.Next != nil {
		return d.Next
	}
	return d.Live
}

// Verb is "create", "change" or "delete".
func (d *ObjectDiff) Verb() string {
	switch {
	case d.Live == nil:
		return "create"
	case d.Next == nil:
		return "delete"
	}
	return "change"
}

// String returns the difference as a unified diff, with a head that names the
// object.
func (d *ObjectDiff) String() string {
	text := func(u *unstructured.Unstructured) []string {
		if u == nil {
			return nil
		}
		b, err := yaml.Marshal(u.Object)
		if err != nil {
			return []string{err.Error() + "\n"}
		}
		return difflib.SplitLines(strings.TrimSuffix(string(b), "\n"))
	}
	name := nameOf(d.object())
	diff, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{A: text(d.Live), B: text(d.Next), FromFile: "cluster " + name, ToFile: "topology " + name, Context: 3})
	if err != nil {
		return err.Error() + "\n"
	}
	return d.Verb() + " " + name + "\n" + diff
}

// nameOf returns Deployment k8s-synth/web.
func nameOf(u *unstructured.Unstructured) string {
	if u.GetNamespace() == "" {
		return u.GetKind() + " " + u.GetName()
	}
	return u.GetKind() + " " + u.GetNamespace() + "/" + u.GetName()
}

// TopologyDiff is what a topology would change in a cluster.
type TopologyDiff struct {
	Objects []ObjectDiff
	// Notes are what else the player should know before writing.
	Notes []string

	topology mapping.Topology
	// revision is the resource version of the topology's ConfigMap that the
	// difference was taken against, "" where there was none.
	revision string
	noEno    bool
}

// Empty tells whether nothing would change.
func (d *TopologyDiff) Empty() bool { return len(d.Objects) == 0 }

// WriteTo writes all differences as unified diffs.
func (d *TopologyDiff) WriteTo(w io.Writer) (n int64, err error) {
	for i := range d.Objects {
		k, err := io.WriteString(w, d.Objects[i].String())
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Hand is a hand at a cluster's topology beside the instrument's: it compares
// a topology with one namespace of a cluster, and writes it there.
type Hand struct {
	namespace string
	dynamic   dynamic.Interface
}

// NewHand returns a Hand at one namespace of a cluster. Unlike an Observer it
// does not wait for a kubeconfig that is not there.
func NewHand(source Source, namespace string) (*Hand, error) {
	config, err := source.load()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	conn, err := newConn(config)
	if err != nil {
		return nil, err
	}
	return &Hand{namespace: namespace, dynamic: conn.dynamic}, nil
}

func (h *Hand) at(gvk schema.GroupVersionKind, namespace string) dynamic.ResourceInterface {
	r := h.dynamic.Resource(gvk.GroupVersion().WithResource(made[gvk]))
	if namespace == "" {
		return r
	}
	return r.Namespace(namespace)
}

// get returns an object, or nil where it is not there.
func (h *Hand) get(ctx context.Context, like *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	u, err := h.at(like.GroupVersionKind(), like.GetNamespace()).Get(ctx, like.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nameOf(like), err)
	}
	return u, nil
}

// Diff tells what a topology would change: of its own ConfigMap, of what Eno
// needs, of each object that Eno would apply, and which would go. It asks the
// API server by dry runs under Eno's own name, so that what it says is what
// Eno would do; nothing is written. An object of the same name that is not ours
// is an error.
func (h *Hand) Diff(ctx context.Context, t mapping.Topology) (*TopologyDiff, error) {
	if t.Namespace != h.namespace {
		return nil, fmt.Errorf("%w: it is for namespace %q, and only %q was named: give --namespace %s if that is meant", eno.ErrInvalidTopology, t.Namespace, h.namespace, t.Namespace)
	}
	objects, err := eno.Objects(t)
	if err != nil {
		return nil, err
	}
	d := &TopologyDiff{topology: t}
	ns := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": h.namespace, "labels": map[string]any{eno.ManagedByLabel: eno.ManagedBy}},
	}}
	live, err := h.get(ctx, ns)
	switch {
	case apierrors.IsForbidden(err):
		live = ns // whether it is there, the objects will tell
	case err != nil:
		return nil, err
	}
	there := live != nil
	if !there {
		d.Objects = append(d.Objects, ObjectDiff{Next: ns})
		d.Notes = append(d.Notes, fmt.Sprintf("namespace %s is not there yet, so the API server could not be asked what it would make of the objects", h.namespace))
	}
	if err := h.diffEno(ctx, d, there); err != nil {
		return nil, err
	}
	if err := h.diffConfigMap(ctx, d, there); err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, o := range objects {
		one, err := h.diffObject(ctx, o, there)
		if err != nil {
			return nil, err
		}
		wanted[keyOf(one.object())] = true
		if one.changed() {
			d.Objects = append(d.Objects, *one)
		}
	}
	if there {
		gone, err := h.surplus(ctx, wanted)
		if err != nil {
			return nil, err
		}
		for _, u := range gone {
			d.Objects = append(d.Objects, ObjectDiff{Live: plain(u)})
		}
	}
	return d, nil
}

func keyOf(u *unstructured.Unstructured) string { return u.GetKind() + "/" + u.GetName() }

func (d *ObjectDiff) changed() bool {
	return d.Live == nil || d.Next == nil || !equal(d.Live, d.Next)
}

func equal(a, b *unstructured.Unstructured) bool {
	x, err := json.Marshal(a.Object)
	y, other := json.Marshal(b.Object)
	return err == nil && other == nil && string(x) == string(y)
}

// plain is an object without what the API server writes of its own.
func plain(u *unstructured.Unstructured) *unstructured.Unstructured {
	u = u.DeepCopy()
	delete(u.Object, "status")
	for _, name := range []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"} {
		unstructured.RemoveNestedField(u.Object, "metadata", name)
	}
	return u
}

// diffEno adds what Eno needs to follow the topology where it is missing. What
// is there stays as whoever installed it wants it.
func (h *Hand) diffEno(ctx context.Context, d *TopologyDiff, there bool) error {
	for _, o := range []runtime.Object{eno.Synthesizer(), eno.Composition(h.namespace)} {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return err
		}
		u := plain(&unstructured.Unstructured{Object: content})
		var live *unstructured.Unstructured
		if there || u.GetNamespace() == "" {
			live, err = h.get(ctx, u)
		}
		switch {
		case apierrors.IsNotFound(err): // the type itself is
			d.noEno = true
			d.Notes = append(d.Notes, ErrNoEno.Error()+": the topology would be written, and nothing would follow it")
			return nil
		case err != nil:
			return err
		case live == nil:
			d.Objects = append(d.Objects, ObjectDiff{Next: u})
		default:
			if err := ours(live, u.GetKind()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *Hand) diffConfigMap(ctx context.Context, d *TopologyDiff, there bool) error {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": eno.ConfigMapName, "namespace": h.namespace, "labels": map[string]any{eno.ManagedByLabel: eno.ManagedBy}},
	}}
	var live *unstructured.Unstructured
	var err error
	if there {
		if live, err = h.get(ctx, u); err != nil {
			return err
		}
	}
	one := ObjectDiff{Next: u}
	if live != nil {
		if err := ours(live, "ConfigMap"); err != nil {
			return err
		}
		d.revision = live.GetResourceVersion()
		one.Live, one.Next = plain(live), plain(live)
		have, _, _ := unstructured.NestedString(live.Object, "data", eno.ConfigMapKey)
		if was, faults := eno.Check([]byte(have), h.namespace); len(faults) == 0 {
			// The generation counts what was published: it is the cluster's to
			// say, and the same topology again is nothing new.
			d.topology.Generation = was.Generation
			if text, err := eno.Encode(d.topology); err == nil && text == have {
				return nil
			}
			d.topology.Generation = was.Generation + 1
		}
	}
	text, err := eno.Encode(d.topology)
	if err != nil {
		return err
	}
	if err := unstructured.SetNestedField(one.Next.Object, text, "data", eno.ConfigMapKey); err != nil {
		return err
	}
	d.Objects = append(d.Objects, one)
	return nil
}

// diffObject asks the API server what it would make of an object.
func (h *Hand) diffObject(ctx context.Context, o client.Object, there bool) (*ObjectDiff, error) {
	u, err := eno.Applied(o, nil)
	if err != nil || !there {
		return &ObjectDiff{Next: u}, err
	}
	live, err := h.get(ctx, u)
	if err != nil {
		return nil, err
	}
	one := &ObjectDiff{}
	if live != nil {
		if err := ours(live, u.GetKind()); err != nil {
			return nil, err
		}
		one.Live = plain(live)
		if u, err = eno.Applied(o, live); err != nil {
			return nil, err
		}
	}
	next, err := h.at(u.GroupVersionKind(), h.namespace).Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: eno.FieldManager, Force: true, DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return nil, fmt.Errorf("%s: dry run: %w", nameOf(u), err)
	}
	one.Next = plain(next)
	if live == nil {
		one.Next = u // what the API server adds to a new object is of no interest
	}
	return one, nil
}

// surplus returns the objects that Eno made for a topology before and that are
// not wanted any more.
func (h *Hand) surplus(ctx context.Context, wanted map[string]bool) (gone []*unstructured.Unstructured, err error) {
	for gvk := range made {
		if gvk.Group == "eno.azure.io" || gvk.Kind == "Namespace" || gvk.Kind == "ConfigMap" {
			continue
		}
		list, err := h.at(gvk, h.namespace).List(ctx, metav1.ListOptions{LabelSelector: eno.ManagedByLabel + "=" + eno.ManagedBy + "," + eno.ModuleLabel})
		if err != nil {
			return nil, fmt.Errorf("%ss of namespace %s: %w", gvk.Kind, h.namespace, err)
		}
		for i := range list.Items {
			u := &list.Items[i]
			u.SetGroupVersionKind(gvk)
			applied := slices.ContainsFunc(u.GetManagedFields(), func(f metav1.ManagedFieldsEntry) bool {
				return f.Manager == eno.FieldManager && f.Operation == metav1.ManagedFieldsOperationApply
			})
			if applied && u.GetDeletionTimestamp() == nil && len(u.GetOwnerReferences()) == 0 && !wanted[keyOf(u)] {
				gone = append(gone, u)
			}
		}
	}
	slices.SortFunc(gone, func(a, b *unstructured.Unstructured) int { return strings.Compare(keyOf(a), keyOf(b)) })
	return gone, nil
}

// Apply writes what a Diff has told: the namespace and what Eno needs where
// they are missing, then the topology's ConfigMap. The objects are Eno's to
// apply; Wait waits for them. It fails where the ConfigMap has changed since.
func (h *Hand) Apply(ctx context.Context, d *TopologyDiff) error {
	if d.noEno {
		return fmt.Errorf("%w, so nothing was written", ErrNoEno)
	}
	for _, one := range d.Objects {
		kind := one.object().GetKind()
		switch {
		case kind == "ConfigMap":
			if err := h.writeTopology(ctx, d); err != nil {
				return err
			}
		case one.Live == nil && (kind == "Namespace" || kind == "Synthesizer" || kind == "Composition"):
			_, err := h.at(one.Next.GroupVersionKind(), one.Next.GetNamespace()).Create(ctx, one.Next, metav1.CreateOptions{FieldManager: HandFieldManager})
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return fmt.Errorf("%s: %w", nameOf(one.Next), err)
			}
		}
	}
	return nil
}

func (h *Hand) writeTopology(ctx context.Context, d *TopologyDiff) error {
	text, err := eno.Encode(d.topology)
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": eno.ConfigMapName, "namespace": h.namespace, "labels": map[string]any{eno.ManagedByLabel: eno.ManagedBy}},
		"data":     map[string]any{eno.ConfigMapKey: text},
	}}
	at := h.at(u.GroupVersionKind(), h.namespace)
	if d.revision == "" {
		_, err = at.Create(ctx, u, metav1.CreateOptions{FieldManager: HandFieldManager})
	} else {
		u.SetResourceVersion(d.revision)
		_, err = at.Apply(ctx, eno.ConfigMapName, u, metav1.ApplyOptions{FieldManager: HandFieldManager, Force: true})
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("%s was changed by another hand since the difference was taken, so it was not written; run it again: %w", nameOf(u), err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", nameOf(u), err)
	}
	return nil
}

// Wait waits until Eno has applied what is written, and until every object of
// the topology that can be ready is; progress is told once for each step. When
// ctx ends before, the error says what is missing.
func (h *Hand) Wait(ctx context.Context, d *TopologyDiff, progress func(string)) error {
	objects, err := eno.Objects(d.topology)
	if err != nil {
		return err
	}
	told := map[string]bool{}
	tell := func(format string, args ...any) {
		if s := fmt.Sprintf(format, args...); !told[s] {
			told[s] = true
			progress(s)
		}
	}
	ticker := time.NewTicker(applyPoll)
	defer ticker.Stop()
	for {
		missing, err := h.look(ctx, d, objects, tell)
		if err == nil && len(missing) == 0 {
			return nil
		}
		var invalid *failedSynthesis
		if errors.As(err, &invalid) {
			return err
		}
		select {
		case <-ctx.Done():
			if err != nil && !errors.Is(err, ctx.Err()) {
				return fmt.Errorf("%w: %w", ErrNotApplied, err)
			}
			if len(missing) == 0 {
				missing = []string{"the answer of the API"}
			}
			return fmt.Errorf("%w in time; still missing: %s", ErrNotApplied, strings.Join(missing, "; "))
		case <-ticker.C:
		}
	}
}

// failedSynthesis ends a wait: Eno has said that it cannot.
type failedSynthesis struct{ text string }

func (f *failedSynthesis) Error() string { return "Eno cannot synthesize it: " + f.text }

// look tells how far the cluster is, and what is missing.
func (h *Hand) look(ctx context.Context, d *TopologyDiff, objects []client.Object, tell func(string, ...any)) (missing []string, err error) {
	cm, err := h.at(corev1.SchemeGroupVersion.WithKind("ConfigMap"), h.namespace).Get(ctx, eno.ConfigMapName, metav1.GetOptions{})
	if err != nil {
		return []string{"the topology's ConfigMap"}, err
	}
	u, err := h.at(apiv1.SchemeGroupVersion.WithKind("Composition"), h.namespace).Get(ctx, eno.CompositionName, metav1.GetOptions{})
	if err != nil {
		return []string{"Eno's Composition"}, err
	}
	var c apiv1.Composition
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &c); err != nil {
		return nil, fmt.Errorf("Composition %s/%s: %w", c.Namespace, c.Name, err)
	}
	want := revisionOf(cm)
	tell("ConfigMap %s/%s is written", h.namespace, eno.ConfigMapName)
	if s := c.Status.InFlightSynthesis; s != nil && s.Canceled == nil {
		for _, r := range s.Results {
			if r.Severity != severityError {
				continue
			}
			if inputRevision(s) >= want {
				return nil, &failedSynthesis{r.Message}
			}
			// A failed synthesis of an older input is in the way until its
			// timeout: a deferred input does not supersede it.
			patch := fmt.Sprintf(`{"metadata":{"annotations":{"eno.azure.io/force-resynthesis":%q}}}`, s.UUID)
			_, _ = h.at(apiv1.SchemeGroupVersion.WithKind("Composition"), h.namespace).Patch(ctx, eno.CompositionName, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: HandFieldManager})
		}
	}
	s := c.Status.CurrentSynthesis
	if s == nil || inputRevision(s) < want {
		return []string{"Eno's synthesis"}, nil
	}
	tell("Eno has synthesized it")
	if s.Reconciled == nil {
		return []string{"Eno's application of the objects"}, nil
	}
	tell("Eno has applied it")
	for _, o := range objects {
		like, err := eno.Applied(o, nil)
		if err != nil {
			return nil, err
		}
		live, err := h.get(ctx, like)
		if err != nil {
			return nil, err
		}
		if live == nil {
			missing = append(missing, nameOf(like))
		} else if text, ok := readiness(live); ok {
			tell("%s is %s", nameOf(like), text)
		} else {
			missing = append(missing, nameOf(like)+" ("+text+")")
		}
	}
	for i := range d.Objects {
		if one := &d.Objects[i]; one.Next == nil {
			if live, err := h.get(ctx, one.Live); err != nil {
				return nil, err
			} else if live != nil {
				missing = append(missing, "the end of "+nameOf(one.Live))
			} else {
				tell("%s is gone", nameOf(one.Live))
			}
		}
	}
	return missing, nil
}

// readiness tells how far an object is, and whether that is all.
func readiness(u *unstructured.Unstructured) (text string, ok bool) {
	switch u.GetKind() {
	case "Deployment":
		number := func(path ...string) int64 {
			n, _, _ := unstructured.NestedInt64(u.Object, path...)
			return n
		}
		want, ready := number("spec", "replicas"), number("status", "readyReplicas")
		if number("status", "observedGeneration") < u.GetGeneration() {
			return "not seen by its controller", false
		}
		return fmt.Sprintf("ready, %d of %d", ready, want), ready == want && number("status", "updatedReplicas") == want
	case "Pod":
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, c := range conditions {
			if c, _ := c.(map[string]any); c["type"] == string(corev1.PodReady) && c["status"] == string(corev1.ConditionTrue) {
				return "ready", true
			}
		}
		phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
		return "not ready, " + phase, false
	}
	return "there", true
}
