//go:build unix && !linux

package cluster

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// childAttributes puts a child into a group of its own, so that a terminal's
// interrupt does not reach it before we end it in order. This kernel cannot
// kill children with their parent: the files of process identifiers do it at
// the next start.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// executable returns the path of the program that a process runs, "" where
// there is no such process.
func executable(pid int) string {
	out, err := exec.Command("ps", "-o", "comm=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
