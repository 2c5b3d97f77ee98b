// Package kube is the ear and the hand of the instrument at the cluster: it
// observes the cluster as a series of snapshots and tells their differences as
// transitions, and it publishes the topology of the patch for Eno to carry
// out. In the signal path it stands at both ends of the Kubernetes part: patch
// → Publisher → cluster → Observer → Diff → jacks. It runs in a process of its
// own, so that the garbage of the API client stays away from the audio.
package kube
