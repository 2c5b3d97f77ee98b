//go:build !gocallback

// The JACK client: capture and playback in one process callback, so that the two never shift
// against each other. The library is loaded at run time; nothing here enters Go.
#define _GNU_SOURCE
#include "jack_linux.h"

#include "jack_clock.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct _jack_client jack_client_t;
typedef struct _jack_port jack_port_t;
typedef uint32_t nframes_t;
typedef struct { nframes_t min, max; } latency_range;

enum { is_input = 1, is_output = 2, is_physical = 4, is_terminal = 16, no_start_server = 1, capture_latency = 0, playback_latency = 1 };
#define AUDIO "32 bit float mono audio"

static struct {
    jack_client_t *(*client_open)(const char *, int, int *, ...);
    int (*client_close)(jack_client_t *);
    int (*activate)(jack_client_t *);
    int (*deactivate)(jack_client_t *);
    int (*set_process_callback)(jack_client_t *, int (*)(nframes_t, void *), void *);
    int (*set_xrun_callback)(jack_client_t *, int (*)(void *), void *);
    void (*on_shutdown)(jack_client_t *, void (*)(void *), void *);
    nframes_t (*get_sample_rate)(jack_client_t *);
    nframes_t (*get_buffer_size)(jack_client_t *);
    const char **(*get_ports)(jack_client_t *, const char *, const char *, unsigned long);
    jack_port_t *(*port_register)(jack_client_t *, const char *, const char *, unsigned long, unsigned long);
    jack_port_t *(*port_by_name)(jack_client_t *, const char *);
    void *(*port_get_buffer)(jack_port_t *, nframes_t);
    const char *(*port_name)(const jack_port_t *);
    void (*port_get_latency_range)(jack_port_t *, int, latency_range *);
    int (*connect)(jack_client_t *, const char *, const char *);
    void (*free)(void *);
    ks_jack_time time;
} jack;

struct ks_jack {
    jack_client_t *client;
    ks_ring *ring;
    ks_capture *capture;
    jack_port_t *out[KS_MAX_CHANNELS], *in[KS_MAX_CHANNELS];
    uint32_t outs, ins;       // ports; at least as many as channels
    const char **to, **from;  // the interface's ports
    uint32_t rate, period;
    uint64_t xruns;
    ks_jack_clock clock;
    float *frames;            // one chunk, interleaved
};

enum { chunk = 1024 };

static int load(void)
{
    static int loaded;
    if (loaded) return loaded > 0;
    void *lib = dlopen("libjack.so.0", RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL) return 0;
    struct { void **to; const char *name; } symbols[] = {
#define S(f) {(void **)&jack.f, "jack_" #f}
        S(client_open), S(client_close), S(activate), S(deactivate), S(set_process_callback), S(set_xrun_callback), S(on_shutdown),
        S(get_sample_rate), S(get_buffer_size), S(get_ports), S(port_register), S(port_by_name), S(port_get_buffer), S(port_name),
        S(port_get_latency_range), S(connect), S(free),
#undef S
#define S(f) {(void **)&jack.time.f, "jack_" #f}
        S(last_frame_time), S(frames_to_time), S(get_time),
#undef S
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        if ((*symbols[i].to = dlsym(lib, symbols[i].name)) == NULL) return 0;
    *(void **)&jack.time.get_cycle_times = dlsym(lib, "jack_get_cycle_times");
    loaded = 1;
    return 1;
}

static int process(nframes_t frames, void *arg)
{
    ks_jack *j = arg;
    ks_ring *r = j->ring;
    ks_jack_cycle cycle = ks_jack_cycle_times(&j->clock, &jack.time, j->client, j->rate, frames, ks_now_ns, ks_now_ns());
    if (r->first) {
        r->first = 0;
        ks_device_thread_enter(r);
    }
    const float *in[KS_MAX_CHANNELS];
    float *out[KS_MAX_CHANNELS];
    uint32_t ins = j->capture ? j->capture->channels : 0, outs = r->channels;
    for (uint32_t c = 0; c < ins; c++) in[c] = jack.port_get_buffer(j->in[c], frames);
    for (uint32_t c = 0; c < j->outs; c++) {
        float *p = jack.port_get_buffer(j->out[c], frames);
        if (c < outs) out[c] = p;
        else if (p != NULL) memset(p, 0, frames * sizeof(float));
    }
    // What was captured goes first: draining wakes the renderer, which wants it.
    for (uint32_t done = 0; ins > 0 && done < frames;) {
        uint32_t n = frames - done < chunk ? frames - done : chunk;
        for (uint32_t c = 0; c < ins; c++)
            for (uint32_t i = 0; i < n; i++) j->frames[i * ins + c] = in[c] ? in[c][done + i] : 0;
        ks_capture_push(j->capture, j->frames, n);
        done += n;
    }
    for (uint32_t done = 0; done < frames;) {
        uint32_t n = frames - done < chunk ? frames - done : chunk;
        ks_ring_drain_at(r, j->frames, n, (uint64_t)(cycle.start_ns + done * cycle.frame_ns), cycle.frame_ns);
        for (uint32_t c = 0; c < outs; c++)
            if (out[c]) for (uint32_t i = 0; i < n; i++) out[c][done + i] = j->frames[i * outs + c];
        done += n;
    }
    return 0;
}

static int xrun(void *arg)
{
    __atomic_fetch_add(&((ks_jack *)arg)->xruns, 1, __ATOMIC_RELAXED);
    return 0;
}

static void gone(void *arg)
{
    ks_jack *j = arg;
    __atomic_store_n(&j->ring->stopped, 1, __ATOMIC_RELEASE);
    if (j->capture) __atomic_store_n(&j->capture->stopped, 1, __ATOMIC_RELEASE);
}

// The ports that a device's name means: the interface's where there is none, else those whose names begin so.
static const char **ports_of(ks_jack *j, const char *device, int kind, uint32_t *n)
{
    char pattern[320];
    const char **list;
    if (device == NULL || *device == 0) list = jack.get_ports(j->client, NULL, AUDIO, (unsigned long)(is_physical | kind));
    else {
        size_t at = 0;
        pattern[at++] = '^';
        for (const char *s = device; *s && at + 2 < sizeof pattern; s++) {
            if (strchr(".[]{}()*+?^$|\\", *s)) pattern[at++] = '\\';
            pattern[at++] = *s;
        }
        pattern[at] = 0;
        list = jack.get_ports(j->client, pattern, AUDIO, (unsigned long)kind);
    }
    *n = 0;
    while (list && list[*n]) ++*n;
    return list;
}

ks_jack *ks_jack_open(ks_ring *r, ks_capture *c, const char *device, const char *source, char *why, uint32_t size)
{
#define FAIL(...) do { snprintf(why, size, __VA_ARGS__); ks_jack_close(j); return NULL; } while (0)
    if (!load()) {
        snprintf(why, size, "libjack.so.0 is missing or too old");
        return NULL;
    }
    ks_jack *j = calloc(1, sizeof *j);
    if (j == NULL) return NULL;
    j->ring = r;
    j->capture = c;
    j->frames = calloc((size_t)chunk * KS_MAX_CHANNELS, sizeof(float));
    int status = 0;
    if (j->frames == NULL || (j->client = jack.client_open("k8s-synth", no_start_server, &status)) == NULL) FAIL("no server answers");
    j->rate = jack.get_sample_rate(j->client);
    j->period = jack.get_buffer_size(j->client);
    uint32_t n;
    j->to = ports_of(j, device, is_input, &n);
    if (device && *device && n == 0) FAIL("no ports to play to have names that begin with \"%s\"", device);
    j->outs = n > r->channels ? n : r->channels;
    if (j->outs > KS_MAX_CHANNELS) j->outs = KS_MAX_CHANNELS;
    if (c) {
        j->from = ports_of(j, source, is_output, &n);
        if (source && *source && n == 0) FAIL("no ports to capture from have names that begin with \"%s\"", source);
        j->ins = c->channels;
    }
    // The names that these ports have had from the start, for those who connect them by name.
    char name[32];
    for (uint32_t i = 0; i < j->outs; i++) {
        snprintf(name, sizeof name, "playback%u", i);
        if ((j->out[i] = jack.port_register(j->client, name, AUDIO, is_output, 0)) == NULL) FAIL("the server has no port left");
    }
    for (uint32_t i = 0; i < j->ins; i++) {
        snprintf(name, sizeof name, "capture%u", i);
        if ((j->in[i] = jack.port_register(j->client, name, AUDIO, is_input, 0)) == NULL) FAIL("the server has no port left");
    }
    if (jack.set_process_callback(j->client, process, j) != 0) FAIL("the server takes no callback");
    jack.set_xrun_callback(j->client, xrun, j);
    jack.on_shutdown(j->client, gone, j);
    return j;
#undef FAIL
}

int ks_jack_start(ks_jack *j)
{
    if (jack.activate(j->client) != 0) return -1;
    for (uint32_t i = 0; j->to && i < j->outs && j->to[i]; i++)
        if (i < KS_MAX_CHANNELS) jack.connect(j->client, jack.port_name(j->out[i]), j->to[i]);
    for (uint32_t i = 0; j->from && i < j->ins && j->from[i]; i++) jack.connect(j->client, j->from[i], jack.port_name(j->in[i]));
    return 0;
}

uint32_t ks_jack_rate(ks_jack *j)   { return j->rate; }
uint32_t ks_jack_period(ks_jack *j) { return j->period; }
uint64_t ks_jack_xruns(ks_jack *j)  { return __atomic_load_n(&j->xruns, __ATOMIC_RELAXED); }
uint32_t ks_jack_inputs(ks_jack *j)  { uint32_t n = 0; while (j->from && j->from[n]) n++; return n; }
uint32_t ks_jack_outputs(ks_jack *j) { uint32_t n = 0; while (j->to && j->to[n]) n++; return n; }

void ks_jack_latency(ks_jack *j, uint32_t *out, uint32_t *in)
{
    latency_range l = {0, 0};
    *out = *in = 0;
    for (uint32_t i = 0; i < j->ring->channels; i++) { jack.port_get_latency_range(j->out[i], playback_latency, &l); if (l.max > *out) *out = l.max; }
    for (uint32_t i = 0; i < j->ins; i++)            { jack.port_get_latency_range(j->in[i], capture_latency, &l); if (l.max > *in) *in = l.max; }
}

void ks_jack_close(ks_jack *j)
{
    if (j == NULL) return;
    if (j->client) {
        jack.deactivate(j->client);
        jack.client_close(j->client);
    }
    if (j->to) jack.free((void *)j->to);
    if (j->from) jack.free((void *)j->from);
    free(j->frames);
    free(j);
}
