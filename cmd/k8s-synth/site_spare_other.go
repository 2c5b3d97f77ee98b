//go:build !linux

package main

import "syscall"

// spareTime lets every other process go first.
func spareTime() error { return syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19) }
