//go:build linux

package realnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// inside tells a process that it is the first one of an enclosure; its
	// value is the directory.
	inside = "K8S_SYNTH_ENCLOSURE"
	// Address is the node's address inside of an enclosure, and where the API
	// is to listen besides.
	Address = "10.88.0.1"
	// device is the interface that has it.
	device = "node0"
	// cgroupFS is where every distribution mounts control groups.
	cgroupFS = "/sys/fs/cgroup"
)

// needed are the programs of the system, with Debian's names of the packages.
var needed = []struct{ program, pack string }{
	{"containerd", "containerd"}, {"ctr", "containerd"}, {"runc", "runc"}, {"ip", "iproute2"}, {"conntrack", "conntrack"}, {"iptables", "iptables"},
}

// cniDirs are where distributions put the CNI plugins.
var cniDirs = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// Check tells in one line why a real node cannot run on this machine; nil
// where it can.
func Check() error {
	if os.Getuid() != 0 {
		return errors.New("a real node needs root")
	}
	var missing []string
	for _, n := range needed {
		if _, err := exec.LookPath(n.program); err != nil && !slices.Contains(missing, n.pack) {
			missing = append(missing, n.pack)
		}
	}
	if _, err := cniDir(); err != nil {
		missing = append(missing, "containernetworking-plugins")
	}
	if len(missing) > 0 {
		return fmt.Errorf("a real node needs the programs of: %s (apt-get install %[1]s)", strings.Join(missing, " "))
	}
	if b, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(b), "\toverlay\n") {
		return errors.New("a real node needs the file system overlay, which this kernel does not have")
	}
	if roots, err := cgroupRoots(); err != nil {
		return fmt.Errorf("a real node needs control groups: %w", err)
	} else if f, err := os.MkdirTemp(roots[0], "k8s-synth-check-"); err != nil {
		return fmt.Errorf("a real node needs control groups that it can write to: %w", err)
	} else {
		os.Remove(f)
	}
	// The last and surest question is whether all of it can be had at once.
	c := exec.Command("ip", "link", "add", device, "type", "veth", "peer", "name", device+"p")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: cloneFlags}
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("a real node needs network, mount and process namespaces of its own, which this machine does not allow: %w %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

const cloneFlags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS

func cniDir() (string, error) {
	for _, d := range cniDirs {
		if _, err := os.Stat(filepath.Join(d, "bridge")); err == nil {
			return d, nil
		}
	}
	return "", fmt.Errorf("no CNI plugin \"bridge\" in %s", strings.Join(cniDirs, ", "))
}

// cgroupRoots returns the hierarchies of control groups: one in version 2; in
// version 1 one for each controller, and often a unified one beside.
func cgroupRoots() ([]string, error) {
	if _, err := os.Stat(filepath.Join(cgroupFS, "cgroup.controllers")); err == nil {
		return []string{cgroupFS}, nil
	}
	var all []string
	for _, c := range []string{"cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "freezer", "blkio", "hugetlb", "perf_event", "net_cls", "systemd", "unified"} {
		dir := filepath.Join(cgroupFS, c)
		if real, err := filepath.EvalSymlinks(dir); err == nil && !slices.Contains(all, real) {
			all = append(all, real)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("nothing is mounted below %s", cgroupFS)
	}
	return all, nil
}

// Enclosed tells whether this process is in an enclosure.
func Enclosed() bool { return os.Getenv(inside) != "" }

// Enclose runs this program again, with the arguments given, in namespaces of
// its own: a network that has the address Address and reaches nothing else,
// mounts that go with it, and processes that end with it, however it ends. The
// program's main function has to call Init first. Output goes to the command's
// Stdout and Stderr, which prepare can set with more of the command. It returns
// when the last process is gone and the control groups are removed.
func Enclose(ctx context.Context, dir string, args []string, prepare func(*exec.Cmd)) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("enclosure: %w", err)
	}
	group, err := makeGroup()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, exe, args...)
	c.Env = append(os.Environ(), inside+"="+dir, groupName+"="+filepath.Base(group[0]))
	prepare(c)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: cloneFlags, Pdeathsig: syscall.SIGKILL}
	// Killed, the first process takes all others with it.
	c.Cancel = func() error { return c.Process.Kill() }
	c.WaitDelay = 5 * time.Second
	// The signal at our death belongs to the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = c.Run()
	if err != nil {
		err = fmt.Errorf("enclosure: %w", err)
	}
	return errors.Join(err, removeGroup(group))
}

// groupName tells the processes of an enclosure the name of its control group,
// which is groupPrefix and the process identifier of who made it.
const groupName, groupPrefix = "K8S_SYNTH_ENCLOSURE_CGROUP", "k8s-synth-node-"

// makeGroup makes a control group in every hierarchy, below which the kubelet
// makes its own.
func makeGroup() (all []string, err error) {
	roots, err := cgroupRoots()
	if err != nil {
		return nil, fmt.Errorf("enclosure: %w", err)
	}
	name := groupPrefix + strconv.Itoa(os.Getpid())
	for _, r := range roots {
		// One that was killed could not remove its own.
		stale, _ := filepath.Glob(filepath.Join(r, groupPrefix+"*"))
		for _, g := range stale {
			if _, err := os.Stat("/proc/" + strings.TrimPrefix(filepath.Base(g), groupPrefix)); errors.Is(err, os.ErrNotExist) {
				_ = removeGroup([]string{g})
			}
		}
		d := filepath.Join(r, name)
		if err := os.Mkdir(d, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, errors.Join(fmt.Errorf("enclosure: %w", err), removeGroup(all))
		}
		all = append(all, d)
		// In version 1 a group without processors takes no process.
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			if b, err := os.ReadFile(filepath.Join(r, f)); err == nil && strings.HasSuffix(r, "cpuset") {
				_ = os.WriteFile(filepath.Join(d, f), b, 0o644)
			}
		}
	}
	return all, nil
}

// removeGroup removes groups with all below them, which are empty by then or
// in a moment.
func removeGroup(groups []string) error {
	var errs []error
	for _, g := range groups {
		var dirs []string
		_ = filepath.WalkDir(g, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return nil
		})
		slices.Reverse(dirs) // children before their parents
		for _, d := range dirs {
			var err error
			for range 50 {
				if err = syscall.Rmdir(d); err == nil || errors.Is(err, syscall.ENOENT) {
					err = nil
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("control group %s: %w", d, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Init is called first in the main function of a program that uses Enclose. In
// the first process of an enclosure it furnishes it, runs the program once more
// as an ordinary process, and does not return: the first process is there for
// those that have lost their parent.
func Init() {
	dir := os.Getenv(inside)
	if dir == "" || os.Getpid() != 1 {
		return
	}
	code, err := first(dir)
	if err != nil {
		fmt.Fprintf(os.Stderr, "enclosure: %v\n", err)
		code = 1
	}
	os.Exit(code)
}

func first(dir string) (code int, err error) {
	if err := furnish(dir); err != nil {
		return 1, err
	}
	exe, err := os.Executable()
	if err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	p, err := os.StartProcess(exe, os.Args, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 1, err
	}
	go func() {
		for s := range signals {
			_ = p.Signal(s)
		}
	}()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait: %w", err)
		case pid == p.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == p.Pid:
			return status.ExitStatus(), nil
		}
	}
}

// furnish prepares mounts and the network of an enclosure.
func furnish(dir string) error {
	mount := func(source, target, kind string, flags uintptr, data string) error {
		if err := syscall.Mount(source, target, kind, flags, data); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
		return nil
	}
	if err := mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return err
	}
	// Where container programs keep what they do not let be configured:
	// sockets, network namespaces, locks, device plugins, links to logs.
	for _, d := range []string{"/run", "/var/lib", "/var/log"} {
		if err := mount("tmpfs", d, "tmpfs", syscall.MS_NOSUID, "mode=755"); err != nil {
			return err
		}
	}
	// A kubelet sets some parameters of the kernel, which are those of the
	// whole machine: here it finds files of that name.
	for i, name := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"} {
		path := "/proc/sys/" + name
		value, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		copied := filepath.Join(dir, "sysctl-"+strconv.Itoa(i))
		if err == nil {
			err = os.WriteFile(copied, value, 0o644)
		}
		if err != nil {
			return err
		}
		if err := mount(copied, path, "", syscall.MS_BIND, ""); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		// Two ends, or the interface would be down.
		{"link", "add", device, "type", "veth", "peer", "name", device + "p"},
		{"addr", "add", Address + "/24", "dev", device},
		{"link", "set", device, "up"},
		{"link", "set", device + "p", "up"},
		// Addresses of services are nobody's: a packet to them must have a
		// route before it is translated.
		{"route", "add", "default", "dev", device},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("forwarding: %w", err)
	}
	return nil
}
