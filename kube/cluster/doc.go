// Package cluster is a real Kubernetes control plane in one process: embedded
// etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and KWOK in
// the place of kubelets, with the released Eno controllers as child processes.
//
// In the signal path it is the far end of the instrument's Kubernetes side: the
// topology ConfigMap arrives here, Eno turns it into Deployments, and what the
// simulated nodes make of them is what package kube observes and plays. It
// knows nothing of music; how long pods take, and what they use, comes from
// annotations that the scene puts on them (see the Annotation constants).
//
// Beyond what KWOK does for a kubelet, the package does the rest of it that
// can be heard. What pods use is calculated by KWOK's expressions at each of
// their changes (usageSimulation): CPU is divided as CFS divides it when a
// node's pods want more than it has, a container above its memory limit is
// killed, and where a node's memory runs short it comes under pressure and
// pods are evicted in the kubelet's order (evictions). The figures are served
// as metrics.k8s.io/v1beta1 to the API server alone, which passes "kubectl
// top" and the autoscaler's questions on. A full store is cleared, or the log
// says what to do (keepSpace).
//
// It runs in a process of its own (cmd/k8s-synth-cluster), because several
// hundred megabytes of heap and their garbage collector have no place beside
// an audio thread. The components share the process's feature gates, metrics
// registry and logging, all of which are global in Kubernetes, so that a
// process can hold one Cluster, once. Its tests leave the race detector out,
// with which Kubernetes takes minutes more to build.
package cluster
