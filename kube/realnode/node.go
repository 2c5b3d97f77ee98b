//go:build linux

package realnode

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube/install"
)

// podCIDR is the network of the node's pods; the simulated nodes have those
// from 10.244.1.0 on.
const podCIDR = "10.244.0.0/24"

// Config says what a Node is made of.
type Config struct {
	// Dir holds everything; its path must be short enough for a socket's.
	Dir string
	// Kubelet and Proxy are the programs, of the API server's version.
	Kubelet, Proxy string
	// Kubeconfig is the way to the API, as a user who may do everything.
	Kubeconfig string
	// Name is the node's name.
	Name string
	// Labels are the node's labels, as name=value.
	Labels []string
	// Images are tar files, among them that of the sandbox,
	// install.Image("pause"): there is no registry.
	Images []string
}

// Node is a running node.
type Node struct {
	config Config
	socket string
	// In the order of their start; they end in the other.
	daemons []*daemon
}

// daemon is one of the node's programs.
type daemon struct {
	name  string
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// Start starts a node inside of an enclosure. The node is there when the API
// has it as ready, which is for the caller to see.
func Start(ctx context.Context, config Config) (*Node, error) {
	if !Enclosed() {
		return nil, errors.New("real node: expected to be called inside of an enclosure: its network rules would be those of the machine")
	}
	n := &Node{config: config, socket: filepath.Join(config.Dir, "containerd.sock")}
	err := n.start(ctx)
	if err != nil {
		n.Stop()
		return nil, fmt.Errorf("real node: %w", err)
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	cni, err := cniDir()
	if err != nil {
		return err
	}
	files, err := n.files(cni)
	if err != nil {
		return err
	}
	for name, text := range files {
		file := filepath.Join(n.config.Dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
	}
	in := func(name string) string { return filepath.Join(n.config.Dir, name) }
	if err := n.run("containerd", "containerd", "--config", in("containerd.toml")); err != nil {
		return err
	}
	for {
		if err := n.ctr(ctx, "version"); err == nil {
			break
		} else if ctx.Err() != nil {
			return fmt.Errorf("containerd does not answer: %w", err)
		}
		if err := n.Err(); err != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, tar := range n.config.Images {
		if err := n.Import(ctx, tar); err != nil {
			return err
		}
	}
	if err := n.run("kubelet", n.config.Kubelet,
		"--config="+in("kubelet.yaml"),
		"--kubeconfig="+n.config.Kubeconfig,
		"--root-dir="+in("kubelet"),
		"--hostname-override="+n.config.Name,
		"--node-ip="+Address,
		"--node-labels="+strings.Join(n.config.Labels, ","),
	); err != nil {
		return err
	}
	return n.run("kube-proxy", n.config.Proxy, "--config="+in("kube-proxy.yaml"))
}

// files are the configuration of the node's programs.
func (n *Node) files(cni string) (map[string]string, error) {
	dir := n.config.Dir
	ca, err := authority(n.config.Kubeconfig)
	if err != nil {
		return nil, err
	}
	marshal := func(v any) string {
		b, err2 := yaml.Marshal(v)
		err = errors.Join(err, err2)
		return string(b)
	}
	object := func(v any) string { // CNI reads JSON only
		b, err2 := json.Marshal(v)
		err = errors.Join(err, err2)
		return string(b)
	}
	type m = map[string]any
	files := map[string]string{
		"ca.crt":      ca,
		"resolv.conf": "",
		"containerd.toml": strings.NewReplacer("DIR", dir, "CNI", cni, "PAUSE", install.Image("pause")).Replace(`version = 2
root = "DIR/containerd"
state = "DIR/containerd-run"
disabled_plugins = ["io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri"]
[grpc]
  address = "DIR/containerd.sock"
[ttrpc]
  address = "DIR/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "DIR/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "PAUSE"
  # A kernel or a container may forbid negative scores.
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "CNI"
    conf_dir = "DIR/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`),
		"cni/10-bridge.conflist": object(m{
			"cniVersion": "0.4.0", "name": "bridge",
			"plugins": []m{{
				"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
				"ipam": m{"type": "host-local", "dataDir": filepath.Join(dir, "cni-addresses"), "ranges": [][]m{{{"subnet": podCIDR}}}, "routes": []m{{"dst": "0.0.0.0/0"}}},
			}},
		}),
		"kubelet.yaml": marshal(m{
			"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
			"address":        Address,
			"authentication": m{"anonymous": m{"enabled": false}, "webhook": m{"enabled": true}, "x509": m{"clientCAFile": filepath.Join(dir, "ca.crt")}},
			"authorization":  m{"mode": "Webhook"},
			"healthzPort":    0,

			"containerRuntimeEndpoint": "unix://" + n.socket,
			"cgroupDriver":             "cgroupfs",
			"cgroupRoot":               "/" + os.Getenv(groupName),
			"failCgroupV1":             false,
			"failSwapOn":               false,
			"enforceNodeAllocatable":   []string{},
			"oomScoreAdj":              0,

			"resolvConf":      filepath.Join(dir, "resolv.conf"),
			"podLogsDir":      filepath.Join(dir, "logs"),
			"volumePluginDir": filepath.Join(dir, "plugins"),
			// The machine's disk is not the node's alone.
			"evictionHard":                m{"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.inodesFree": "0%"},
			"imageGCHighThresholdPercent": 100,
			// A crash is heard soon, and the container is soon back.
			"crashLoopBackOff": m{"maxContainerRestartPeriod": "2s"},
		}),
		"kube-proxy.yaml": marshal(m{
			"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
			"mode":               "iptables",
			"clientConnection":   m{"kubeconfig": n.config.Kubeconfig},
			"clusterCIDR":        podCIDR,
			"hostnameOverride":   n.config.Name,
			"healthzBindAddress": "", "metricsBindAddress": "127.0.0.1:10249",
			"oomScoreAdj": 0,
			// Limits of the whole machine's table, which are not ours to set.
			"conntrack": m{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
		}),
	}
	return files, err
}

// authority returns the certificate authority that a kubeconfig names.
func authority(kubeconfig string) (string, error) {
	b, err := os.ReadFile(kubeconfig)
	if err != nil {
		return "", err
	}
	var config struct {
		Clusters []struct {
			Cluster struct {
				Data string `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
	}
	if err := yaml.Unmarshal(b, &config); err != nil {
		return "", fmt.Errorf("%s: %w", kubeconfig, err)
	}
	if len(config.Clusters) != 1 || config.Clusters[0].Cluster.Data == "" {
		return "", fmt.Errorf("%s: expected one cluster with certificate-authority-data", kubeconfig)
	}
	ca, err := base64.StdEncoding.DecodeString(config.Clusters[0].Cluster.Data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", kubeconfig, err)
	}
	return string(ca), nil
}

// run starts one of the node's programs, with its log in a file.
func (n *Node) run(name, program string, args ...string) error {
	log := filepath.Join(n.config.Dir, name+".log")
	f, err := os.Create(log)
	if err != nil {
		return err
	}
	defer f.Close()
	d := &daemon{name: name, cmd: exec.Command(program, args...), log: log, ended: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = f, f
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = d.cmd.Wait()
		close(d.ended)
	}()
	n.daemons = append(n.daemons, d)
	return nil
}

// Err tells which of the node's programs has ended by itself, with the end of
// its log; nil where all run.
func (n *Node) Err() error {
	for _, d := range n.daemons {
		select {
		case <-d.ended:
			return fmt.Errorf("%s ended: %v\n%s", d.name, d.cmd.ProcessState, tail(d.log, 4096))
		default:
		}
	}
	return nil
}

// Log returns the end of the logs of all programs.
func (n *Node) Log(bytes int64) string {
	var b strings.Builder
	for _, d := range n.daemons {
		fmt.Fprintf(&b, "--- %s\n%s\n", d.name, tail(d.log, bytes))
	}
	return b.String()
}

func tail(file string, size int64) string {
	f, err := os.Open(file)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > size {
		_, _ = f.Seek(-size, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	return string(b)
}

// ctr calls containerd's own client.
func (n *Node) ctr(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, "ctr", append([]string{"--address", n.socket, "--namespace", "k8s.io"}, args...)...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// Import puts the images of a tar file into the node's store.
func (n *Node) Import(ctx context.Context, tar string) error {
	return n.ctr(ctx, "images", "import", tar)
}

// Stop ends the node's programs. Containers outlive them, as on every node; the
// end of the enclosure is theirs.
func (n *Node) Stop() {
	for i := len(n.daemons) - 1; i >= 0; i-- {
		d := n.daemons[i]
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-d.ended:
		case <-time.After(5 * time.Second):
			_ = d.cmd.Process.Kill()
			<-d.ended
		}
	}
}
