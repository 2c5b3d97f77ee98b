// Package realnode starts a real Kubernetes node on this machine: containerd
// and runc, a bridge of the CNI plugins, kubelet and kube-proxy, all below one
// directory and inside namespaces of their own, so that nothing of the machine
// is changed and nothing is left behind. Tests use it where a simulated node
// would prove nothing.
//
// Its place in the signal path is the far end: the pods that a patch asks for
// are processes here.
package realnode
