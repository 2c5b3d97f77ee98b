// Package eno turns the topology of the patch into Kubernetes objects, by way
// of Eno: the synthesizer as a pure function, the Eno objects that bind it to
// the topology ConfigMap, and what runs synthesizer pods where there is no
// kubelet. In the signal path it sits between the publisher, which writes the
// topology, and the cluster's own controllers, whose answer is the music.
package eno
