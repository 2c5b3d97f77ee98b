package kube

import (
	"encoding/json"
	"fmt"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/k8s-synth/k8s-synth/kube/eno"
)

const (
	// simulatedLabel with the value simulatedNode marks nodes that nothing
	// really runs on.
	simulatedLabel = "k8s-synth.io/node"
	simulatedNode  = "simulated"
)

// clientset returns typed clients of all kinds over the connection.
func (c *Conn) clientset() (kubernetes.Interface, error) {
	config := &rest.Config{Host: c.base, QPS: -1, UserAgent: "k8s-synth", WarningHandler: rest.NoWarnings{}}
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	set, err := kubernetes.NewForConfigAndClient(config, c.http)
	if err != nil {
		return nil, fmt.Errorf("client for %s: %w", c.Server, err)
	}
	return set, nil
}

// jsonPatch is a list of operations that are done all or none.
type jsonPatch []map[string]any

func (p *jsonPatch) test(path string, value any) {
	*p = append(*p, map[string]any{"op": "test", "path": path, "value": value})
}

func (p *jsonPatch) add(path string, value any) {
	*p = append(*p, map[string]any{"op": "add", "path": path, "value": value})
}

func (p *jsonPatch) remove(path string) {
	*p = append(*p, map[string]any{"op": "remove", "path": path})
}

// onlyOurs makes our label a precondition: where the object is another's, the
// test fails and nothing is written.
func (p *jsonPatch) onlyOurs() {
	p.test("/metadata/labels/"+pointer(eno.ManagedByLabel), eno.ManagedBy)
}

func (p jsonPatch) bytes() []byte {
	b, err := json.Marshal([]map[string]any(p))
	if err != nil {
		panic(err) // strings and maps of strings
	}
	return b
}

// pointer escapes a key for a JSON pointer.
func pointer(key string) string {
	out := make([]byte, 0, len(key)+4)
	for i := range len(key) {
		switch key[i] {
		case '~':
			out = append(out, "~0"...)
		case '/':
			out = append(out, "~1"...)
		default:
			out = append(out, key[i])
		}
	}
	return string(out)
}
