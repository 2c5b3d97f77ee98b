// Command direct is the road not taken: the same scene, fed by the same stream, rendered by Go inside
// JACK's own callback, without a ring. The real-time proof measures it beside the instrument.
//
//	direct OBSERVER KUBECONFIG    ends with its standard input, then prints its figures as JSON
package main

/*
#cgo LDFLAGS: -ljack
#include <jack/jack.h>
#include <stdint.h>
#include <stdlib.h>

extern void renderBlock(uint32_t frames, float **out);

#define OUTPUTS 8
static jack_client_t *client;
static jack_port_t *ports[OUTPUTS];
static uint64_t callbacks, late, worst;
static uint32_t took[20000];

static int process(jack_nframes_t frames, void *arg)
{
    (void)arg;
    jack_nframes_t cycle; jack_time_t begun, next; float period;
    float *out[OUTPUTS];
    if (jack_get_cycle_times(client, &cycle, &begun, &next, &period) != 0) begun = jack_get_time();
    for (int c = 0; c < OUTPUTS; c++) out[c] = jack_port_get_buffer(ports[c], frames);
    renderBlock(frames, out);
    int64_t us = (int64_t)(jack_get_time() - begun);
    if (us < 0) us = 0;
    if (us > period) late++;
    if ((uint64_t)us > worst) worst = us;
    took[us < 20000 ? us : 19999]++;
    callbacks++;
    return 0;
}

static int begin(void)
{
    jack_status_t status;
    client = jack_client_open("direct", JackNoStartServer | JackUseExactName, &status);
    if (client == NULL) return 1;
    for (int c = 0; c < OUTPUTS; c++) {
        char name[3] = {'o', (char)('1' + c), 0};
        ports[c] = jack_port_register(client, name, JACK_DEFAULT_AUDIO_TYPE, JackPortIsOutput, 0);
    }
    jack_set_process_callback(client, process, NULL);
    if (jack_activate(client) != 0) return 1;
    for (int c = 0; c < OUTPUTS; c++) {
        char to[20] = "system:playback_1";
        to[16] = (char)('1' + c);
        jack_connect(client, jack_port_name(ports[c]), to);
    }
    return 0;
}

static void forget(void) { callbacks = late = worst = 0; for (int i = 0; i < 20000; i++) took[i] = 0; }

static uint64_t percentile(double share)
{
    uint64_t total = 0, sum = 0;
    for (int i = 0; i < 20000; i++) total += took[i];
    for (int i = 0; i < 20000; i++) { sum += took[i]; if (sum >= share * total) return i; }
    return 20000;
}

static uint64_t n_callbacks(void) { return callbacks; }
static uint64_t n_late(void) { return late; }
static uint64_t n_worst(void) { return worst; }
static void end(void) { jack_deactivate(client); }
*/
import "C"

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

var (
	rack   *mapping.Rack
	out    [8][]float32
	frames atomic.Int64
)

//export renderBlock
func renderBlock(n C.uint32_t, to **C.float) {
	for c, p := range unsafe.Slice(to, len(out)) {
		out[c] = unsafe.Slice((*float32)(unsafe.Pointer(p)), int(n))
	}
	rack.Engine.Render(out[:], nil)
	frames.Add(int64(n))
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "direct:", err)
		os.Exit(1)
	}
}

func run() error {
	runtime.GOMAXPROCS(max(8, runtime.GOMAXPROCS(0)))
	scene, err := (&scenes.Store{}).Open("default")
	if err != nil {
		return err
	}
	rack = mapping.NewRack(mapping.Config{SampleRate: 48000, Channels: len(out), Seed: scene.Seed, Storm: scene.Storm,
		StormPolicy: scene.StormPolicy, Namespace: scene.Namespace, Scene: scene.Name, ListenOnly: true})
	if err := rack.Load(scene.Patch); err != nil {
		return err
	}
	kube := exec.Command(os.Args[1], "--kubeconfig", os.Args[2], "--namespace", scene.Namespace, "--listen-only")
	in, err := kube.StdinPipe()
	if err != nil {
		return err
	}
	stream, err := kube.StdoutPipe()
	if err != nil {
		return err
	}
	if err := kube.Start(); err != nil {
		return err
	}
	if C.begin() != 0 {
		return fmt.Errorf("no JACK server")
	}
	rack.Fade(true)
	transitions := make(chan mapping.Transition, 4096)
	go func() {
		d := mapping.NewDecoder(stream)
		for {
			m, err := d.Decode()
			if err != nil {
				return
			}
			if m.Transition != nil {
				transitions <- *m.Transition
			}
		}
	}()
	done := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); close(done) }()
	tick := time.NewTicker(5 * time.Millisecond)
	warm := time.After(5 * time.Second)
	for {
		select {
		case t := <-transitions:
			rack.Apply(t, frames.Load()+1440)
		case <-tick.C:
			rack.Pump(frames.Load() + 1440)
		case <-warm:
			C.forget()
		case <-done:
			C.end()
			fmt.Printf(`{"callbacks":%d,"late":%d,"endP50":%d,"endP99":%d,"endP999":%d,"endMax":%d}`+"\n",
				C.n_callbacks(), C.n_late(), C.percentile(0.5), C.percentile(0.99), C.percentile(0.999), C.n_worst())
			in.Close()
			return kube.Wait()
		}
	}
}
