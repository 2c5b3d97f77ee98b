package cluster

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// childAttributes puts a child into a group of its own, so that a terminal's
// interrupt does not reach it before we end it in order, and has the kernel
// kill it when we are killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// executable returns the path of the program that a process runs, "" where
// there is no such process. A program that was replaced on disk while it ran
// is marked by the kernel.
func executable(pid int) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)")
}
