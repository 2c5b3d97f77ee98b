package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	krmv1 "github.com/Azure/eno/pkg/krm/functions/api/v1"

	"github.com/k8s-synth/k8s-synth/kube/eno"
)

func input(t *testing.T, text string) *bytes.Buffer {
	t.Helper()
	in, err := json.Marshal(map[string]any{
		"apiVersion": krmv1.SchemeGroupVersion.String(), "kind": krmv1.ResourceListKind,
		"items": []any{map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": "topology", "namespace": "k8s-synth", "annotations": map[string]string{"eno.azure.io/input-key": eno.InputKey}},
			"data":     map[string]string{eno.ConfigMapKey: text},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewBuffer(in)
}

func output(t *testing.T, in *bytes.Buffer) krmv1.ResourceList {
	t.Helper()
	var out bytes.Buffer
	if err := run(in, &out); err != nil {
		t.Fatal(err)
	}
	var list krmv1.ResourceList
	if err := json.Unmarshal(out.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestRunWritesEveryObjectAndTheGeneration(t *testing.T) {
	list := output(t, input(t, "version: 2\ngeneration: 42\nmodules: {deployment/web: {replicas: 2}, pod/kick: {hold: true}}"))
	var kinds []string
	for _, o := range list.Items {
		kinds = append(kinds, o.GetAPIVersion()+" "+o.GetKind())
	}
	if got := strings.Join(kinds, ", "); got != "apps/v1 Deployment, v1 Pod" {
		t.Errorf("wrote %s", got)
	}
	if len(list.Results) != 1 || list.Results[0].Severity != krmv1.ResultSeverityInfo || list.Results[0].Tags[eno.GenerationAnnotation] != "42" {
		t.Errorf("results %+v", list.Results)
	}
}

func TestRunTellsErrorsAndWritesNothingElse(t *testing.T) {
	for name, in := range map[string]*bytes.Buffer{
		"line 2, column 38: modules.deployment/web.replicas: replicas is 0 … 16, got 17": input(t, "version: 2\nmodules: {deployment/web: {replicas: 17}, deployment/api: {}}"),
		"reading the topology": bytes.NewBufferString(`{"items":[]}`),
	} {
		list := output(t, in)
		if len(list.Items) != 0 || len(list.Results) != 1 || list.Results[0].Severity != krmv1.ResultSeverityError || !strings.Contains(list.Results[0].Message, name) {
			t.Errorf("%s: %d items, results %+v", name, len(list.Items), list.Results)
		}
	}
	if err := run(bytes.NewBufferString("not JSON"), &bytes.Buffer{}); err == nil {
		t.Error("an input that is not JSON gives no error")
	}
}
