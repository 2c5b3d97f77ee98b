//go:build tools

// The programs of a node are built from the modules that go.mod names; this
// keeps them in it.

package realnode

import (
	_ "k8s.io/kubernetes/cmd/kube-proxy/app"
	_ "k8s.io/kubernetes/cmd/kubelet/app"
)
