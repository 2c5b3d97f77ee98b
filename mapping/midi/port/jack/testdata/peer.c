// A JACK client of a few lines for the tests: it says on which frame everything arrives, and sends
// on the frames that it is told. It shares nothing with the driver.
//
//   peer NAME            makes NAME:in and NAME:out and prints "ready NAME"
//   prints               E frame ns hex     an event, its frame and its time on CLOCK_MONOTONIC
//   reads   now          prints N frame ns  the first frame of this cycle
//           at FRAME HEX                    sends on that frame, in order; late ones on the next
//           flood N                         sends N messages as fast as the buffers allow
//   peer NAME ALIAS      makes NAME:in a port of hardware whose device is called ALIAS
#include <dlfcn.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct { uint32_t time; size_t size; uint8_t *buffer; } event;

static void *(*client_open)(const char *, int, int *, ...);
static int (*activate)(void *), (*client_close)(void *);
static int (*set_process_callback)(void *, int (*)(uint32_t, void *), void *);
static void (*on_shutdown)(void *, void (*)(void *), void *);
static void *(*port_register)(void *, const char *, const char *, unsigned long, unsigned long);
static void *(*port_get_buffer)(void *, uint32_t);
static int (*port_set_alias)(void *, const char *);
static int (*get_cycle_times)(void *, uint32_t *, uint64_t *, uint64_t *, float *);
static uint64_t (*get_time)(void);
static uint32_t (*event_count)(void *);
static int (*event_get)(event *, void *, uint32_t);
static void (*clear)(void *);
static uint8_t *(*reserve)(void *, uint32_t, size_t);
static size_t (*room)(void *);

static void *lib, *client, *in, *out;

// Rings of one writer and one reader: head, then bytes, never wrapped within one.
typedef struct { uint32_t frame, size; int64_t ns; } head;
typedef struct { volatile uint64_t write, read; uint8_t data[1 << 24]; } ring;
static ring heard, said;
static volatile uint64_t flood, flooded;
static volatile uint32_t frame_now;
static volatile int64_t ns_now;

static void put(ring *r, head h, const uint8_t *b)
{
    uint64_t w = r->write, n = (sizeof h + h.size + 15) / 16 * 16, left = sizeof r->data - w % sizeof r->data;
    if (left < n) {
        head skip = {0, UINT32_MAX, 0};
        memcpy(r->data + w % sizeof r->data, &skip, sizeof skip);
        w += left;
    }
    if (w + n - r->read > sizeof r->data) { static const char m[] = "peer: ring full\n"; (void)!write(2, m, sizeof m - 1); return; }
    memcpy(r->data + w % sizeof r->data, &h, sizeof h);
    memcpy(r->data + w % sizeof r->data + sizeof h, b, h.size);
    __atomic_store_n(&r->write, w + n, __ATOMIC_RELEASE);
}

static uint8_t *front(ring *r, head *h)
{
    for (;;) {
        if (r->read == __atomic_load_n(&r->write, __ATOMIC_ACQUIRE)) return NULL;
        uint8_t *p = r->data + r->read % sizeof r->data;
        memcpy(h, p, sizeof *h);
        if (h->size != UINT32_MAX) return p + sizeof *h;
        r->read += sizeof r->data - r->read % sizeof r->data;
    }
}

static void pop(ring *r, const head *h)
{
    __atomic_store_n(&r->read, r->read + (sizeof *h + h->size + 15) / 16 * 16, __ATOMIC_RELEASE);
}

static int process(uint32_t n, void *arg)
{
    (void)arg;
    uint32_t first; uint64_t us, next; float period;
    if (get_cycle_times(client, &first, &us, &next, &period) != 0) return 0;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    static double offset = 0; static int known = 0;
    double o = (double)((int64_t)t.tv_sec * 1000000000 + t.tv_nsec) - (double)get_time() * 1000 - 500;
    if (!known) { offset = o; known = 1; }
    offset += (o - offset) / 64;
    double start = us * 1000.0 + offset, step = (next - us) * 1000.0 / n;
    // After a stall JACK's clock is wrong for seconds: then the time of this callback is nearer.
    double here = (double)t.tv_sec * 1e9 + t.tv_nsec;
    if (here - start > 2 * step * n || start - here > step * n) { start = here; step = 1e9 / 48000; }
    frame_now = first;
    ns_now = (int64_t)start;

    void *b = port_get_buffer(in, n);
    uint32_t count = event_count(b);
    for (uint32_t i = 0; i < count; i++) {
        event e;
        if (event_get(&e, b, i) != 0) continue;
        head h = {first + e.time, (uint32_t)e.size, (int64_t)(start + step * e.time)};
        put(&heard, h, e.buffer);
    }
    b = port_get_buffer(out, n);
    clear(b);
    head h;
    uint8_t *p;
    uint32_t floor = 0;
    while ((p = front(&said, &h)) != NULL) {
        int32_t at = (int32_t)(h.frame - first);
        if (at >= (int32_t)n) break;
        if (at < (int32_t)floor) at = (int32_t)floor;
        uint8_t *to = room(b) < h.size ? NULL : reserve(b, (uint32_t)at, h.size);
        if (to == NULL) break;
        floor = (uint32_t)at;
        memcpy(to, p, h.size);
        pop(&said, &h);
    }
    while (flooded < flood) {
        uint64_t i = flooded, k = i / 2;
        uint8_t *to = room(b) < 3 ? NULL : reserve(b, n - 1, 3);
        if (to == NULL) break;
        to[0] = (uint8_t)((i & 1 ? 0x80 : 0x90) | (k / 128 % 16));
        to[1] = (uint8_t)(k % 128);
        to[2] = (uint8_t)(1 + k / 2048 % 127);
        flooded++;
    }
    return 0;
}

static void quiet(const char *text) { (void)text; }
static void gone(void *arg) { (void)arg; _exit(3); }

int main(int argc, char **argv)
{
    if (argc < 2 || (lib = dlopen("libjack.so.0", RTLD_NOW)) == NULL) return 2;
#define GET(v, n) *(void **)&v = dlsym(lib, "jack_" n)
    GET(client_open, "client_open"); GET(activate, "activate"); GET(client_close, "client_close"); GET(set_process_callback, "set_process_callback");
    GET(on_shutdown, "on_shutdown"); GET(port_register, "port_register"); GET(port_get_buffer, "port_get_buffer");
    GET(port_set_alias, "port_set_alias"); GET(get_cycle_times, "get_cycle_times"); GET(get_time, "get_time");
    GET(event_count, "midi_get_event_count"); GET(event_get, "midi_event_get"); GET(clear, "midi_clear_buffer");
    GET(reserve, "midi_event_reserve"); GET(room, "midi_max_event_size");
    void (*set_error)(void (*)(const char *));
    GET(set_error, "set_error_function");
    set_error(quiet);   // it stays quiet while servers die around it
    int status = 0;
    client = client_open(argv[1], 1 | 2, &status);
    if (client == NULL) { fprintf(stderr, "peer: no client, status %#x\n", status); return 1; }
    set_process_callback(client, process, NULL);
    on_shutdown(client, gone, NULL);
    in = port_register(client, "in", "8 bit raw midi", argc > 2 ? 1 | 4 : 1, 0);
    out = port_register(client, "out", "8 bit raw midi", 2, 0);
    if (argc > 2) port_set_alias(in, argv[2]);
    if (activate(client) != 0) return 1;
    printf("ready %s\n", argv[1]);
    fflush(stdout);

    static char line[1 << 18], text[1 << 18];
    static uint8_t bytes[1 << 17];
    size_t have = 0;
    for (;;) {
        struct pollfd f = {0, POLLIN, 0};
        if (poll(&f, 1, 1) > 0) {
            ssize_t n = read(0, line + have, sizeof line - have - 1);
            if (n <= 0) { client_close(client); return 0; }
            have += (size_t)n;
            line[have] = 0;
            char *s = line, *e;
            while ((e = strchr(s, '\n')) != NULL) {
                *e = 0;
                unsigned frame; unsigned long long many;
                if (strcmp(s, "now") == 0) printf("N %u %lld\n", frame_now, (long long)ns_now);
                else if (sscanf(s, "flood %llu", &many) == 1) flood += many;
                else if (sscanf(s, "at %u %262143s", &frame, text) == 2) {
                    uint32_t m = 0; unsigned v;
                    for (char *c = text; sscanf(c, "%2x", &v) == 1; c += 2) bytes[m++] = (uint8_t)v;
                    head h = {frame, m, 0};
                    put(&said, h, bytes);
                }
                s = e + 1;
            }
            have = strlen(s);
            memmove(line, s, have);
        }
        head h;
        uint8_t *p;
        while ((p = front(&heard, &h)) != NULL) {
            printf("E %u %lld ", h.frame, (long long)h.ns);
            for (uint32_t i = 0; i < h.size; i++) printf("%02x", p[i]);
            putchar('\n');
            pop(&heard, &h);
        }
        fflush(stdout);
    }
}
