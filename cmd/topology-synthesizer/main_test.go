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
	list := output(t, input(t, "version: 1\ngeneration: 42\ndeployments: [{name: web, replicas: 2, image: i}]\npods: [{name: kick, image: i}]"))
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
		"deployments[0].replicas: 17 is over 16": input(t, "version: 1\ndeployments: [{name: web, replicas: 17, image: i}, {name: api, replicas: 1, image: i}]"),
		"reading the topology":                   bytes.NewBufferString(`{"items":[]}`),
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
