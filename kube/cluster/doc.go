// Package cluster is a real Kubernetes control plane in one process: embedded
// etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and KWOK in
// the place of kubelets, with the released Eno controllers as child processes.
//
// In the signal path it is the far end of the instrument's Kubernetes side: the
// topology ConfigMap arrives here, Eno turns it into Deployments, and what the
// simulated nodes make of them is what package kube observes and plays. It
// knows nothing of music; how long pods take comes from annotations that the
// scene puts on them (see the Annotation constants).
//
// It runs in a process of its own (cmd/k8s-synth-cluster), because several
// hundred megabytes of heap and their garbage collector have no place beside
// an audio thread. The components share the process's feature gates, metrics
// registry and logging, all of which are global in Kubernetes, so that a
// process can hold one Cluster, once. Its tests leave the race detector out,
// with which Kubernetes takes minutes more to build.
package cluster
