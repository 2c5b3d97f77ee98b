// The peer of the real-time proof: an ordinary JACK client in C that does as much work in each
// callback as the instrument's renderer does for a block, and measures itself.
//
//   peer NAME OUTPUTS NANOSECONDS    the work is CPU time for each 64 frames
//
// It plays until its standard input ends, then prints its figures as JSON.
#define _GNU_SOURCE
#include <jack/jack.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_OUTPUTS 64
#define BUCKETS 20000   // of 1 microsecond; the last one holds all that is longer

static jack_client_t *client;
static jack_port_t *ports[MAX_OUTPUTS];
static int outputs;
static double rounds_per_frame;   // of the work
static uint64_t callbacks, late, xruns, cpu_ns, worst_start, worst_end, last_us;
static uint32_t starts[BUCKETS], ends[BUCKETS];
static double phase[24];

static uint64_t cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// A bank of sines, as long as it takes.
static float work(uint64_t rounds)
{
    double v = 0;
    for (uint64_t k = 0; k < rounds; k++) {
        double *p = &phase[k % 24];
        *p += 0.01 * (double)(k % 24 + 1);
        if (*p > 6.283185307179586) *p -= 6.283185307179586;
        v += sin(*p);
    }
    return (float)v;
}

static void count(uint32_t *table, uint64_t *worst, int64_t us)
{
    if (us < 0) us = 0;
    if ((uint64_t)us > *worst) *worst = (uint64_t)us;
    table[us < BUCKETS ? us : BUCKETS - 1]++;
}

static int process(jack_nframes_t frames, void *arg)
{
    (void)arg;
    uint64_t cpu = cpu_now();
    uint64_t begun = jack_get_time();
    if (last_us) {
        count(starts, &worst_start, (int64_t)(begun - last_us));
        if (begun - last_us > 2000000u * (uint64_t)frames / jack_get_sample_rate(client)) late++;
    }
    last_us = begun;
    float v = work((uint64_t)(rounds_per_frame * frames));
    for (int c = 0; c < outputs; c++) {
        float *out = jack_port_get_buffer(ports[c], frames);
        for (jack_nframes_t i = 0; i < frames; i++) out[i] = 1e-4f * v;
    }
    count(ends, &worst_end, (int64_t)(jack_get_time() - begun));
    cpu_ns += cpu_now() - cpu;
    callbacks++;
    return 0;
}

static int xrun(void *arg) { (void)arg; __atomic_fetch_add(&xruns, 1, __ATOMIC_RELAXED); return 0; }

static uint64_t percentile(const uint32_t *table, double share)
{
    uint64_t total = 0, sum = 0;
    for (int i = 0; i < BUCKETS; i++) total += table[i];
    for (int i = 0; i < BUCKETS; i++) {
        sum += table[i];
        if ((double)sum >= share * (double)total) return (uint64_t)i;
    }
    return BUCKETS;
}

int main(int argc, char **argv)
{
    if (argc != 4) { fprintf(stderr, "usage: peer NAME OUTPUTS NANOSECONDS\n"); return 2; }
    outputs = atoi(argv[2]);
    double wanted = atof(argv[3]);
    if (outputs < 1 || outputs > MAX_OUTPUTS || wanted < 0) { fprintf(stderr, "peer: outputs or nanoseconds out of range\n"); return 2; }
    // How fast this machine works: the best of several runs, since others disturb.
    volatile float sink = 0;
    double best = 1e9;
    for (int i = 0; i < 20; i++) {
        uint64_t t = cpu_now();
        sink += work(20000);
        double ns = (double)(cpu_now() - t) / 20000;
        if (ns < best) best = ns;
    }
    rounds_per_frame = wanted / 64 / best;

    jack_status_t status;
    client = jack_client_open(argv[1], JackNoStartServer | JackUseExactName, &status);
    if (client == NULL) { fprintf(stderr, "peer: no JACK server (status 0x%x)\n", status); return 1; }
    for (int c = 0; c < outputs; c++) {
        char name[16];
        snprintf(name, sizeof name, "out_%d", c + 1);
        ports[c] = jack_port_register(client, name, JACK_DEFAULT_AUDIO_TYPE, JackPortIsOutput, 0);
        if (ports[c] == NULL) { fprintf(stderr, "peer: no port %d\n", c + 1); return 1; }
    }
    jack_set_process_callback(client, process, NULL);
    jack_set_xrun_callback(client, xrun, NULL);
    if (jack_activate(client) != 0) { fprintf(stderr, "peer: cannot activate\n"); return 1; }
    for (int c = 0; c < outputs; c++) {
        char to[32];
        snprintf(to, sizeof to, "system:playback_%d", c + 1);
        jack_connect(client, jack_port_name(ports[c]), to);
    }
    char buf[64];
    while (read(0, buf, sizeof buf) > 0) { }
    jack_deactivate(client);
    printf("{\"callbacks\":%llu,\"late\":%llu,\"xruns\":%llu,\"cpuNs\":%.0f,"
           "\"startP50\":%llu,\"startP99\":%llu,\"startP999\":%llu,\"startMax\":%llu,"
           "\"endP50\":%llu,\"endP99\":%llu,\"endP999\":%llu,\"endMax\":%llu}\n",
           (unsigned long long)callbacks, (unsigned long long)late, (unsigned long long)xruns,
           callbacks ? (double)cpu_ns / (double)callbacks : 0,
           (unsigned long long)percentile(starts, 0.5), (unsigned long long)percentile(starts, 0.99), (unsigned long long)percentile(starts, 0.999), (unsigned long long)worst_start,
           (unsigned long long)percentile(ends, 0.5), (unsigned long long)percentile(ends, 0.99), (unsigned long long)percentile(ends, 0.999), (unsigned long long)worst_end);
    jack_client_close(client);
    return 0;
}
