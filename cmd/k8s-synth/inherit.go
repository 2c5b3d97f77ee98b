package main

import (
	"os"
	"strconv"
	"syscall"
)

// startAlone starts a program that has nothing of ours open but what it is
// given. Libraries open files that a child inherits; with the socket of a JACK
// client in a child's hands the server does not see that we are gone, and waits
// for an answer from us as long as the child lives.
func startAlone(start func() error) error {
	// Where the list cannot be read, there is none.
	files, _ := os.ReadDir("/dev/fd")
	for _, f := range files {
		if fd, err := strconv.Atoi(f.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return start()
}
