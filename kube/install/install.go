// Package install holds the manifests of an installation in a cluster: Eno
// with its resource definitions, the roles of each mode, and the instrument's
// daemon. "kubectl apply -k kube/install" applies them; the embedded control
// plane takes from here what it needs of them, so that both run the same.
//
// It is no part of the signal path: it says what may be done, and where.
package install

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const (
	// Registry and Version name the images: Registry/voice:Version.
	Registry = "ghcr.io/k8s-synth"
	Version  = "0.1.0"
	// EnoNamespace holds Eno's controllers and its synthesizer pods.
	EnoNamespace = "eno-system"
	// SynthesizerAccount is the service account of the synthesizer pods.
	SynthesizerAccount = "eno-synthesizer"
)

// Image returns the full name of one of the project's images:
// "ghcr.io/k8s-synth/voice:0.1.0".
func Image(name string) string { return Registry + "/" + name + ":" + Version }

//go:embed crds/*.yaml eno/*.yaml
var files embed.FS

// CRDs returns Eno's resource definitions by the names of their files.
func CRDs() (map[string][]byte, error) {
	names, err := fs.Glob(files, "crds/eno.azure.io_*.yaml")
	if err != nil {
		return nil, err
	}
	all := map[string][]byte{}
	for _, n := range names {
		if all[path.Base(n)], err = files.ReadFile(n); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// SynthesizerAccess returns the service account of the synthesizer pods with
// its role and binding, one manifest each.
func SynthesizerAccess() ([][]byte, error) {
	b, err := files.ReadFile("eno/synthesizer-access.yaml")
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	return documents(b), nil
}

// documents splits a YAML stream.
func documents(b []byte) (all [][]byte) {
	for d := range strings.SplitSeq("\n"+string(b), "\n---") {
		if strings.TrimSpace(d) != "" {
			all = append(all, []byte(d))
		}
	}
	return slices.Clip(all)
}
