// Command crash plays a voltage, a gate and an audio channel that stands still, and dies as it is told to,
// for tests of what the outputs do then.
//
//	crash HOW    dies when its standard input says a line
package main

/*
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

static int *volatile nowhere;

static void fault(void) { *(volatile int *)nowhere = 1; }

static void *fault_thread(void *arg) { (void)arg; fault(); return NULL; }
static void *abort_thread(void *arg) { (void)arg; abort(); return NULL; }

static void in_a_thread(int aborts)
{
    pthread_t t;
    if (pthread_create(&t, NULL, aborts ? abort_thread : fault_thread, NULL) == 0) pthread_join(t, NULL);
}
*/
import "C"

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// still renders 8 V, a gate, and 2.5 V of audio.
type still struct{}

func (still) Render(out, _ [][]float32) {
	for c, volts := range []float32{8, 10, 2.5} {
		for i := range out[c] {
			out[c][i] = volts
		}
	}
}

type thing struct{ field int }

var (
	nothing *thing
	shared  = map[int]int{}
)

func write() {
	for i := 0; ; i++ {
		shared[i%64] = i
	}
}

var ways = map[string]func(){
	"panic": func() { panic("test") },
	"nil":   func() { nothing.field = 1 },
	"map": func() {
		go write()
		go write()
		write()
	},
	"fault":      func() { C.fault() },
	"fault of C": func() { C.in_a_thread(0) },
	"abort":      func() { C.abort() },
	"abort of C": func() { C.in_a_thread(1) },
}

func main() {
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
	d, err := hardware.Open(context.Background(), hardware.Settings{Backend: "jack", Period: 128, Channels: 3,
		CV: hardware.Channels(0), Gate: hardware.Channels(1), Logger: slog.New(slog.DiscardHandler)}, still{})
	if err == nil {
		err = d.Start()
	}
	if err != nil || d.Stats().Lost {
		fmt.Println(err, d.Stats().Lost)
		os.Exit(3)
	}
	fmt.Println("plays")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	// A library's goroutine, for all that this package knows.
	go ways[os.Args[1]]()
	time.Sleep(20 * time.Second)
	os.Exit(4)
}
