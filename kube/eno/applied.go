package eno

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// FieldManager is the name under which Eno applies objects.
const FieldManager = "eno"

// Applied returns an object as Eno applies it: without Eno's own annotations,
// and with what a live object keeps of its own (nil: there is none yet). It
// serves to tell what a topology would change before Eno does it.
func Applied(o client.Object, live *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", o.GetObjectKind().GroupVersionKind().Kind, o.GetName(), err)
	}
	u := &unstructured.Unstructured{Object: content}
	delete(u.Object, "status")
	for _, path := range [][]string{{"metadata"}, {"spec", "template", "metadata"}, {"spec", "jobTemplate", "metadata"}, {"spec", "jobTemplate", "spec", "template", "metadata"}} {
		unstructured.RemoveNestedField(u.Object, append(path, "creationTimestamp")...)
	}
	annotations := u.GetAnnotations()
	var overrides []struct {
		Path string `json:"path"`
	}
	if text := annotations[OverridesAnnotation]; text != "" {
		if err := json.Unmarshal([]byte(text), &overrides); err != nil {
			return nil, fmt.Errorf("%s %s: annotation %s: %w", u.GetKind(), u.GetName(), OverridesAnnotation, err)
		}
	}
	for key := range annotations {
		if strings.HasPrefix(key, "eno.azure.io/") {
			delete(annotations, key)
		}
	}
	if len(annotations) == 0 {
		annotations = nil
	}
	u.SetAnnotations(annotations)
	if live == nil {
		return u, nil
	}
	for _, o := range overrides {
		if !strings.HasPrefix(o.Path, "self.spec.") {
			continue // what keeps Eno off what is not ours
		}
		path := strings.Split(strings.TrimPrefix(o.Path, "self."), ".")
		v, ok, err := unstructured.NestedFieldCopy(live.Object, path...)
		if err != nil || !ok || v == int64(0) { // a Deployment at nought is set anew
			continue
		}
		if err := unstructured.SetNestedField(u.Object, v, path...); err != nil {
			return nil, fmt.Errorf("%s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	return u, nil
}
