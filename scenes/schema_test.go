package scenes

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// TestSchemaAgrees: a validator of JSON Schema takes the scenes that are read,
// and refuses what it can know to be wrong.
func TestSchemaAgrees(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("scene.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("scene.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) error {
		data, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	good := map[string]string{"full": full, "ruled": ruled}
	files, _ := shipped.ReadDir(".")
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), scriptSuffix) {
			text, _ := shipped.ReadFile(f.Name())
			good[f.Name()] = string(text)
		}
	}
	for name, text := range good {
		if err := check(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, rules := range []string{
		"{when: true, note: 60}", "[{note: 60}]", "[{when: true}]", "[{when: true, note: 128}]", "[{when: true, note: [60]}]", "[{when: true, note: 60, channel: 17}]",
		"[{when: true, note: 60, wobble: 1}]", "[{when: true, osc: {args: [1]}}]", "[{when: true, osc: /a}]", "[{when: '', note: 60}]", "[{name: Bell, when: true, note: 60}]", "[{when: true, cv: -10.5}]",
		"[{when: true, note: 60, port: s, cc: {number: 120, value: 1}}]", "[{when: true, port: s, cc: {number: 1}}]", "[{when: true, port: s, program: 0}]", "[{when: true, port: s, note: 60, osc: {address: /a, to: 7}}]",
	} {
		text := "version: 1\nname: x\nrules: " + rules + "\n"
		if check(text) == nil {
			t.Errorf("the schema takes %s", rules)
		}
		if _, err := Parse("x.yaml", []byte(text)); err == nil {
			t.Errorf("the reader takes %s", rules)
		}
	}
}
