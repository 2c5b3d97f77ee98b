package main

import (
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// playing is the device that plays, for whatever ends this process without the
// time for an orderly end.
var playing atomic.Pointer[hardware.Device]

// land brings the outputs of the device that plays down, within 100 ms: whoever
// ends the process then ends it in silence, and not with a bang in somebody's
// loudspeakers.
func land() {
	if d := playing.Load(); d != nil {
		d.Emergency()
	}
}

// landed runs f, and lands before a panic of its goroutine ends the process.
func landed(f func()) {
	defer func() {
		if cause := recover(); cause != nil {
			land()
			panic(cause)
		}
	}()
	f()
}

// deadly are the signals that end a Go program with a trace when somebody sends
// them. All others but INT, TERM, HUP and KILL do nothing to it. ABRT is caught
// only where there is nothing better: C code that aborts raises it, and ends the
// process at once when it sees that it was caught for later.
var deadly = func() []os.Signal {
	s := []os.Signal{syscall.SIGQUIT, syscall.SIGTRAP, syscall.SIGSYS}
	if !hardware.LandsInCrash {
		s = append(s, syscall.SIGABRT)
	}
	return s
}()

// landOnDeath lands before such a signal does what it does anyway. Whatever else
// ends the process, hardware lands (hardware.LandsInCrash), at 0 V and not at
// the safe values.
func landOnDeath() {
	came := make(chan os.Signal, 1)
	for _, s := range deadly {
		if !signal.Ignored(s) {
			signal.Notify(came, s)
		}
	}
	go func() {
		s := <-came
		land()
		signal.Reset(s)
		_ = syscall.Kill(os.Getpid(), s.(syscall.Signal))
	}()
}
