//go:build linux || darwin

#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "jack.h"

#include "../../../../hardware/jack_clock.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__linux__)
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define LOAD(p)      __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define STORE(p, v)  __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define RELAXED(p)   __atomic_load_n((p), __ATOMIC_RELAXED)
#define ADD(p, v)    __atomic_store_n((p), *(p) + (v), __ATOMIC_RELEASE)  // single writer

// ---- What is used of JACK's interface (jack/jack.h, jack/midiport.h; version 1 of the library) ----

typedef struct jack_client jack_client;
typedef struct jack_port jack_port;
typedef struct { uint32_t time; size_t size; uint8_t *buffer; } midi_event;

enum { NO_START_SERVER = 1, SERVER_NAME = 4 };
enum { PORT_RECEIVES = 1, PORT_SENDS = 2, PORT_PHYSICAL = 4 };
#define MIDI_TYPE "8 bit raw midi"

static struct {
    void *library;
    jack_client *(*client_open)(const char *, int, int *, ...);
    int (*client_close)(jack_client *);
    char *(*get_client_name)(jack_client *);
    int (*activate)(jack_client *);
    int (*set_process_callback)(jack_client *, int (*)(uint32_t, void *), void *);
    int (*set_thread_init_callback)(jack_client *, void (*)(void *), void *);
    void (*on_shutdown)(jack_client *, void (*)(void *), void *);
    void (*on_info_shutdown)(jack_client *, void (*)(int, const char *, void *), void *);  // may be NULL
    int (*set_buffer_size_callback)(jack_client *, int (*)(uint32_t, void *), void *);
    int (*set_xrun_callback)(jack_client *, int (*)(void *), void *);
    int (*set_graph_order_callback)(jack_client *, int (*)(void *), void *);
    int (*set_port_registration_callback)(jack_client *, void (*)(uint32_t, int, void *), void *);
    int (*set_port_connect_callback)(jack_client *, void (*)(uint32_t, uint32_t, int, void *), void *);
    int (*set_port_rename_callback)(jack_client *, void (*)(uint32_t, const char *, const char *, void *), void *);  // may be NULL
    uint32_t (*get_sample_rate)(jack_client *);
    uint32_t (*get_buffer_size)(jack_client *);
    jack_port *(*port_register)(jack_client *, const char *, const char *, unsigned long, unsigned long);
    int (*port_unregister)(jack_client *, jack_port *);
    void *(*port_get_buffer)(jack_port *, uint32_t);
    const char *(*port_name)(const jack_port *);
    jack_port *(*port_by_id)(jack_client *, uint32_t);
    int (*port_is_mine)(const jack_client *, const jack_port *);
    int (*port_flags)(const jack_port *);
    int (*port_get_aliases)(const jack_port *, char *const[2]);
    jack_port *(*port_by_name)(jack_client *, const char *);
    const char **(*port_get_all_connections)(const jack_client *, const jack_port *);
    const char **(*get_ports)(jack_client *, const char *, const char *, unsigned long);
    int (*connect)(jack_client *, const char *, const char *);
    int (*disconnect)(jack_client *, const char *, const char *);
    void (*free)(void *);
    int (*port_name_size)(void);
    ks_jack_time time;
    uint32_t (*midi_get_event_count)(void *);
    int (*midi_event_get)(midi_event *, void *, uint32_t);
    void (*midi_clear_buffer)(void *);
    size_t (*midi_max_event_size)(void *);
    uint8_t *(*midi_event_reserve)(void *, uint32_t, size_t);
    uint32_t (*midi_get_lost_event_count)(void *);
    void (*set_error_function)(void (*)(const char *));
    void (*set_info_function)(void (*)(const char *));
} jack;

static const struct { const char *name; void *to; int optional; } symbols[] = {
#define NEED(f) {"jack_" #f, &jack.f, 0}
#define WISH(f) {"jack_" #f, &jack.f, 1}
#define TIME(f, optional) {"jack_" #f, &jack.time.f, optional}
    NEED(client_open), NEED(client_close), NEED(get_client_name), NEED(activate), NEED(set_process_callback),
    NEED(set_thread_init_callback), NEED(on_shutdown), WISH(on_info_shutdown), NEED(set_buffer_size_callback),
    NEED(set_xrun_callback), NEED(set_graph_order_callback), NEED(set_port_registration_callback), NEED(set_port_connect_callback),
    WISH(set_port_rename_callback), NEED(get_sample_rate), NEED(get_buffer_size), NEED(port_register),
    NEED(port_unregister), NEED(port_get_buffer), NEED(port_name), NEED(port_by_id), NEED(port_is_mine), NEED(port_flags), NEED(port_get_aliases),
    NEED(port_by_name), NEED(port_get_all_connections), NEED(get_ports), NEED(connect), NEED(disconnect),
    NEED(free), NEED(port_name_size), TIME(get_cycle_times, 1), TIME(last_frame_time, 0), TIME(frames_to_time, 0),
    TIME(get_time, 0), NEED(midi_get_event_count), NEED(midi_event_get), NEED(midi_clear_buffer),
    NEED(midi_max_event_size), NEED(midi_event_reserve), NEED(midi_get_lost_event_count),
    NEED(set_error_function), NEED(set_info_function),
};

static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;
static char load_error[240];

// What the library would print on stderr. Writers claim a slot each; a reader may see one cut short.
#define SLOTS 8
#define WIDTH 200
static char slots[SLOTS][WIDTH];
static uint32_t claimed;

static void keep(const char *text)
{
    char *s = slots[__atomic_fetch_add(&claimed, 1, __ATOMIC_ACQ_REL) % SLOTS];
    size_t n = strlen(text);
    if (n > WIDTH - 1) n = WIDTH - 1;
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r')) n--;
    memcpy(s, text, n);
    s[n] = 0;
}

static void discard(const char *text) { (void)text; }

void kj_message(char *out, uint32_t size)
{
    if (size == 0) return;
    out[0] = 0;
    uint32_t n = LOAD(&claimed);
    if (n == 0) return;
    strncpy(out, slots[(n - 1) % SLOTS], size - 1);
    out[size - 1] = 0;
}

// The handlers belong to the whole process: whoever has set one of its own (the audio device does) keeps it.
static int is_library_default(const char *variable)
{
    void **set = dlsym(jack.library, variable);
    Dl_info at, lib;
    if (set == NULL || *set == NULL) return 1;
    return dladdr(*set, &at) != 0 && dladdr((void *)jack.client_open, &lib) != 0 && at.dli_fbase == lib.dli_fbase;
}

#if defined(__linux__)
// Loads a second instance of a library beside one that is loaded: of a copy of its file in memory.
//
// JACK2's library keeps one state for all clients of a process. When the server dies, or throws one
// of them out, the next that opens a client deletes all others under their owners' feet, who crash.
// The audio device has a client in this process, and must not be hurt by ours, nor ours by it.
static void *own_instance(void *shared)
{
    struct link_map *map = NULL;
    if (dlinfo(shared, RTLD_DI_LINKMAP, &map) != 0 || map == NULL || map->l_name == NULL) return NULL;
    int from = open(map->l_name, O_RDONLY | O_CLOEXEC);
    if (from < 0) return NULL;
    void *lib = NULL;
    struct stat st;
    int to = (int)syscall(SYS_memfd_create, "libjack", 1u /* close on exec */);
    if (to >= 0 && fstat(from, &st) == 0) {
        off_t left = st.st_size;
        while (left > 0) {
            ssize_t n = sendfile(to, from, NULL, (size_t)left);
            if (n <= 0) break;
            left -= n;
        }
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", to);
        if (left == 0) lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    }
    if (to >= 0 && lib == NULL) close(to);      // else it stays open, so that the path stays ours
    close(from);
    return lib;
}
#endif

const char *kj_load(void)
{
    const char *err = NULL;
    pthread_mutex_lock(&load_lock);
    if (jack.library == NULL) {
#if defined(__APPLE__)
        static const char *const names[] = {"libjack.0.dylib", "libjack.dylib", "/opt/homebrew/lib/libjack.0.dylib", "/usr/local/lib/libjack.0.dylib"};
#else
        static const char *const names[] = {"libjack.so.0"};
#endif
        void *lib = NULL;
        for (size_t i = 0; i < sizeof names / sizeof *names && lib == NULL; i++) lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (lib == NULL) {
            const char *why = dlerror();
            snprintf(load_error, sizeof load_error, "the library of JACK cannot be loaded: %s", why ? why : names[0]);
            err = load_error;
        }
#if defined(__linux__)
        void *own = lib != NULL ? own_instance(lib) : NULL;
        if (own != NULL) lib = own;
#endif
        for (size_t i = 0; i < sizeof symbols / sizeof *symbols && err == NULL; i++) {
            void *f = dlsym(lib, symbols[i].name);
            if (f == NULL && !symbols[i].optional) {
                snprintf(load_error, sizeof load_error, "the library of JACK lacks %s: it is too old", symbols[i].name);
                err = load_error;
            }
            memcpy(symbols[i].to, &f, sizeof f);
        }
        if (err == NULL) {
            jack.library = lib;
            if (is_library_default("jack_error_callback")) jack.set_error_function(keep);
            if (is_library_default("jack_info_callback")) jack.set_info_function(discard);
        }
        // A library that was loaded stays so, useful or not: others may have it, too.
    }
    pthread_mutex_unlock(&load_lock);
    return err;
}

// ---- Clock and memory ----

uint64_t kj_now_ns(void)
{
#if defined(__APPLE__)
    // What Go's clock runs on; it stands still in sleep, as JACK does.
    return clock_gettime_nsec_np(CLOCK_UPTIME_RAW);
#else
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

// A ring of bytes with one writer and one reader. Positions only grow.
typedef struct {
    uint64_t write;
    char pad[56];
    uint64_t read;
    char pad2[56];
    uint8_t *data;
    uint32_t capacity;      // a power of two
} ring;

static int ring_new(ring *r, uint32_t bytes)
{
    uint32_t n = 4096;
    while (n < bytes && n < 1u << 30) n <<= 1;
    void *p = NULL;
    if (posix_memalign(&p, 4096, n) != 0) return -1;
    memset(p, 0, n);        // so that the callback takes no page fault later
    r->data = p;
    r->capacity = n;
    return 0;
}

static void ring_put(ring *r, uint64_t at, const void *from, uint32_t n)
{
    uint32_t i = (uint32_t)at & (r->capacity - 1), run = r->capacity - i;
    if (run > n) run = n;
    memcpy(r->data + i, from, run);
    memcpy(r->data, (const uint8_t *)from + run, n - run);
}

static void ring_get(const ring *r, uint64_t at, void *to, uint32_t n)
{
    uint32_t i = (uint32_t)at & (r->capacity - 1), run = r->capacity - i;
    if (run > n) run = n;
    memcpy(to, r->data + i, run);
    memcpy((uint8_t *)to + run, r->data, n - run);
}

typedef struct { uint64_t at; uint32_t id; uint32_t size; } header;

static uint32_t record_bytes(uint32_t size) { return (uint32_t)sizeof(header) + ((size + 7) & ~7u); }

// ---- The client ----

struct kj_port {
    jack_port *port;
    int output;
    uint32_t id;
    char name[400];
    // Output.
    ring ring;
    uint64_t staged;                // the writer's own
    uint32_t closing;               // the callback is to let go of it
    uint32_t gone;                  // and has
    kj_port *next;                  // all of the client's, for who closes it
    uint64_t hurry;                 // what lies before this position goes out at once
    uint64_t sounding[32];
    uint32_t pedals;
    // When each note and each pedal ended, as a number of cycles, 0: it sounds, or never did. See repeat.
    uint32_t ended[16 * 128 + 16];
    uint32_t shaken;                // how often the graph had been shaken when it last looked
    uint32_t again, repeated;       // requests to repeat, and how many were met
    uint32_t repeat_at;             // the cycle in which that happens; 0: none
    kj_out_stats stats;
    // Input: note-offs (and pedals) that found no room in the ring, until they do.
    uint64_t owed[32];
    uint32_t owed_pedals;
    uint32_t owing;
};

struct kj {
    jack_client *client;
    char name[128];
    ring in;
    kj_port *ins[KJ_PORTS], *outs[KJ_PORTS];
    kj_port *all;
    uint32_t wake, waiting;
    uint32_t seen;                  // the reader's own: the last wake it acted on
    uint32_t dead, graph, unregistered, shaken;
    char why[WIDTH];
    kj_stats stats;
    pthread_mutex_t laid_lock;      // of the notifying thread and the reader of the graph
    size_t laid_bytes;
    char laid[1 << 14];             // the cables laid to ports of ours since they were last asked for
    // The callback's own.
    ks_jack_clock clock;
};

static void wake(kj *k)
{
    __atomic_fetch_add(&k->wake, 1, __ATOMIC_SEQ_CST);
#if defined(__linux__)
    if (__atomic_load_n(&k->waiting, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&k->waiting, 0, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &k->wake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
#endif
}

void kj_wake(kj *k) { wake(k); }

int kj_wait(kj *k, uint32_t timeout_ms)
{
    uint64_t deadline = kj_now_ns() + (uint64_t)timeout_ms * 1000000u;
    for (;;) {
        uint32_t seen = __atomic_load_n(&k->wake, __ATOMIC_SEQ_CST);
        if (seen != k->seen || LOAD(&k->in.write) != k->in.read) {
            k->seen = seen;
            return 1;
        }
        uint64_t now = kj_now_ns();
        if (now >= deadline) return 0;
        struct timespec t;
#if defined(__linux__)
        uint64_t left = deadline - now;
        t.tv_sec = (time_t)(left / 1000000000u);
        t.tv_nsec = (long)(left % 1000000000u);
        __atomic_store_n(&k->waiting, 1, __ATOMIC_SEQ_CST);
        // The callback may have looked at waiting just before: it has then written, and this sees it.
        if (__atomic_load_n(&k->in.write, __ATOMIC_SEQ_CST) != k->in.read) return 1;
        syscall(SYS_futex, &k->wake, FUTEX_WAIT_PRIVATE, seen, &t, NULL, 0);
#else
        // Without futexes a millisecond of sleep: it delays when Go sees an event, not its time.
        t.tv_sec = 0;
        t.tv_nsec = 1000000;
        nanosleep(&t, NULL);
#endif
    }
}

uint32_t kj_read(kj *k, uint8_t *out, uint32_t room)
{
    uint64_t read = k->in.read, write = LOAD(&k->in.write);
    uint32_t done = 0;
    while (read != write) {
        header h;
        ring_get(&k->in, read, &h, sizeof h);
        uint32_t n = record_bytes(h.size);
        if (n > room - done) break;
        ring_get(&k->in, read, out + done, n);
        done += n;
        read += n;
    }
    STORE(&k->in.read, read);
    return done;
}

// What ends a sound: a note-off, a pedal that is let go, all sound or notes off, a stop or a reset.
static int ends(const uint8_t *b, uint32_t size)
{
    if (size == 1) return b[0] == 0xfc || b[0] == 0xff;
    if (size != 3) return 0;
    switch (b[0] & 0xf0) {
    case 0x80: return 1;
    case 0x90: return b[2] == 0;
    case 0xb0: return (b[1] == 64 && b[2] < 64) || b[1] == 120 || b[1] == 123;
    }
    return 0;
}

static int push_in(kj *k, uint32_t id, uint64_t at, const uint8_t *b, uint32_t size, int urgent)
{
    uint64_t write = k->in.write, fill = write - LOAD(&k->in.read);
    uint32_t n = record_bytes(size);
    uint32_t limit = urgent ? k->in.capacity : k->in.capacity / 4 * 3;
    if (fill + n > limit) return -1;
    header h = {at, id, size};
    ring_put(&k->in, write, &h, sizeof h);
    ring_put(&k->in, write + sizeof h, b, size);
    STORE(&k->in.write, write + n);
    return 0;
}

// Remembers an end of sound for which there was no room at all.
static void owe(kj *k, kj_port *p, const uint8_t *b, uint32_t size)
{
    uint32_t c = b[0] & 15;
    if (size != 3) return;          // stop and reset are worth nothing when they come late
    p->owing = 1;
    ADD(&k->stats.owed, 1);
    if ((b[0] & 0xf0) != 0xb0) p->owed[2 * c + (b[1] >> 6 & 1)] |= (uint64_t)1 << (b[1] & 63);
    else if (b[1] == 64) p->owed_pedals |= 1u << c;
    else p->owed_pedals |= 0x10000u << c;
}

static void pay(kj *k, kj_port *p, uint64_t at)
{
    for (uint32_t i = 0; i < 32; i++) {
        while (p->owed[i]) {
            uint8_t note = (uint8_t)(__builtin_ctzll(p->owed[i]) + 64 * (i & 1));
            uint8_t b[3] = {(uint8_t)(0x80 | i / 2), note, 64};
            if (push_in(k, p->id, at, b, 3, 1) != 0) return;
            p->owed[i] &= p->owed[i] - 1;
        }
    }
    while (p->owed_pedals) {
        uint32_t bit = (uint32_t)__builtin_ctz(p->owed_pedals);
        uint8_t b[3] = {(uint8_t)(0xb0 | (bit & 15)), bit < 16 ? 64 : 123, 0};
        if (push_in(k, p->id, at, b, 3, 1) != 0) return;
        p->owed_pedals &= p->owed_pedals - 1;
    }
    p->owing = 0;
}

// Keeps account of what sounds at the other end.
static void track(kj_port *p, const uint8_t *b, uint32_t size, uint32_t now)
{
    if (size != 3) return;
    uint32_t c = b[0] & 15, *ended = &p->ended[128 * c + (b[1] & 127)];
    uint64_t *s = &p->sounding[2 * c + (b[1] >> 6 & 1)], bit = (uint64_t)1 << (b[1] & 63);
    switch (b[0] & 0xf0) {
    case 0x90:
        if (b[2]) {
            __atomic_store_n(s, *s | bit, __ATOMIC_RELAXED);
            *ended = 0;
            break;
        }
        // fall through
    case 0x80:
        __atomic_store_n(s, *s & ~bit, __ATOMIC_RELAXED);
        *ended = now;
        break;
    case 0xb0:
        if (b[1] == 64) p->ended[16 * 128 + c] = b[2] >= 64 ? 0 : now;
        if (b[1] == 64) __atomic_store_n(&p->pedals, b[2] >= 64 ? p->pedals | 1u << c : p->pedals & ~(1u << c), __ATOMIC_RELAXED);
        if (b[1] == 120 || b[1] == 123) {
            for (uint32_t n = 0; n < 128; n++) {
                if (p->sounding[2 * c + n / 64] >> (n & 63) & 1) p->ended[128 * c + n] = now;
            }
            __atomic_store_n(&p->sounding[2 * c], 0, __ATOMIC_RELAXED);
            __atomic_store_n(&p->sounding[2 * c + 1], 0, __ATOMIC_RELAXED);
        }
        break;
    }
}

// Ends again what has ended a moment ago. Where two clients feed each other (a DAW and we do), one of
// them reads the other's buffer of the cycle before. When the order of the graph changes, or a client
// is late, a cycle of a buffer may be overwritten unread: a note-off in it would be lost, and the note
// hang. One too many is heard nowhere.
static void repeat(kj *k, kj_port *p, void *buffer, uint32_t frames, uint32_t now)
{
    uint32_t shaken = LOAD(&k->shaken), again = LOAD(&p->again);
    if (p->repeat_at == 0 && (p->shaken != shaken || p->repeated != again)) {
        p->repeat_at = now + 2;
        p->shaken = shaken;
    }
    if (p->repeat_at == 0 || (int32_t)(now - p->repeat_at) < 0) return;
    // Word of it may come late.
    uint32_t window = 10 + (k->stats.rate ? k->stats.rate : 48000) / 5 / frames;
    for (uint32_t i = 0; i < sizeof p->ended / sizeof *p->ended; i++) {
        if (p->ended[i] == 0 || now - p->ended[i] > window) continue;
        uint8_t b[3] = {(uint8_t)(0x80 | i / 128), (uint8_t)(i & 127), 64};
        if (i >= 16 * 128) { b[0] = (uint8_t)(0xb0 | (i & 15)); b[1] = 64; b[2] = 0; }
        uint8_t *to = jack.midi_max_event_size(buffer) < 3 ? NULL : jack.midi_event_reserve(buffer, 0, 3);
        if (to == NULL) return;     // the next cycle tries it again
        memcpy(to, b, 3);
        ADD(&p->stats.repeated, 1);
    }
    p->repeat_at = 0;
    if (p->shaken == shaken) STORE(&p->repeated, again);    // else once more, when it is calm
}

static void send(kj_port *p, void *buffer, uint32_t frames, const ks_jack_cycle *c, uint32_t now)
{
    ring *r = &p->ring;
    uint64_t read = r->read, write = LOAD(&r->write), hurry = LOAD(&p->hurry);
    uint32_t floor = 0, sent = 0;
    while (read != write) {
        header h;
        ring_get(r, read, &h, sizeof h);
        double frame = 0;
        int hurried = read < hurry;
        if (h.at != 0) frame = ((double)h.at - c->start_ns) / c->frame_ns;
        double late = frame;
        if (hurried || h.at == 0) frame = 0;
        frame = frame < 0 ? 0 : floor > frame ? floor : rint(frame);
        if (frame >= frames) break;         // not in this cycle; what follows has to wait behind it
        // Asked first, for a reservation that fails is logged by some servers, from this thread.
        uint8_t *to = NULL;
        if (h.size <= jack.midi_max_event_size(buffer)) to = jack.midi_event_reserve(buffer, (uint32_t)frame, h.size);
        if (to == NULL) {
            if (sent) { ADD(&p->stats.deferred, 1); break; }
            // Not even a whole buffer holds it; nothing may wait behind it for ever.
            ADD(&p->stats.unfit, 1);
            read += record_bytes(h.size);
            continue;
        }
        ring_get(r, read + sizeof h, to, h.size);
        track(p, to, h.size, now);
        floor = (uint32_t)frame;
        sent++;
        read += record_bytes(h.size);
        ADD(&p->stats.sent, 1);
        if (hurried) ADD(&p->stats.early, 1);
        else if (h.at != 0 && late < -1) {
            uint64_t ns = (uint64_t)(-late * c->frame_ns);
            ADD(&p->stats.late, 1);
            if (ns > p->stats.late_max_ns) STORE(&p->stats.late_max_ns, ns);
        }
    }
    STORE(&r->read, read);
}

static int process(uint32_t frames, void *arg)
{
    kj *k = arg;
    uint64_t began = kj_now_ns();
    ks_jack_cycle c = ks_jack_cycle_times(&k->clock, &jack.time, k->client, k->stats.rate, frames, kj_now_ns, began);
    uint64_t before = k->in.write;
    uint32_t now = (uint32_t)k->stats.cycles + 1;
    for (int i = 0; i < KJ_PORTS; i++) {
        kj_port *p = LOAD(&k->outs[i]);
        if (p == NULL) continue;
        void *buffer = jack.port_get_buffer(p->port, frames);
        if (buffer == NULL) continue;
        jack.midi_clear_buffer(buffer);     // or the readers get the last cycle again
        if (LOAD(&p->closing)) {
            STORE(&k->outs[i], NULL);
            STORE(&p->gone, 1);
            continue;
        }
        size_t room = jack.midi_max_event_size(buffer);
        __atomic_store_n(&k->stats.payload, (uint32_t)room, __ATOMIC_RELAXED);
        repeat(k, p, buffer, frames, now);
        send(p, buffer, frames, &c, now);
    }
    for (int i = 0; i < KJ_PORTS; i++) {
        kj_port *p = LOAD(&k->ins[i]);
        if (p == NULL) continue;
        if (LOAD(&p->closing)) {
            STORE(&k->ins[i], NULL);
            STORE(&p->gone, 1);
            continue;
        }
        void *buffer = jack.port_get_buffer(p->port, frames);
        if (buffer == NULL) continue;
        if (p->owing) pay(k, p, (uint64_t)c.start_ns);
        uint32_t n = jack.midi_get_event_count(buffer);
        for (uint32_t e = 0; e < n; e++) {
            midi_event ev;
            if (jack.midi_event_get(&ev, buffer, e) != 0 || ev.size == 0 || ev.size > 1u << 20) continue;
            uint64_t at = (uint64_t)(c.start_ns + c.frame_ns * ev.time);
            int urgent = ends(ev.buffer, (uint32_t)ev.size);
            ADD(&k->stats.received, 1);
            if (p->owing || push_in(k, p->id, at, ev.buffer, (uint32_t)ev.size, urgent) != 0) {
                if (urgent) owe(k, p, ev.buffer, (uint32_t)ev.size);
                else ADD(&k->stats.dropped, 1);
            }
        }
        uint32_t lost = jack.midi_get_lost_event_count(buffer);
        if (lost) ADD(&k->stats.lost, lost);
    }
    if (frames != k->stats.period) STORE(&k->stats.period, frames);
    if (k->in.write != before) wake(k);
    uint64_t took = kj_now_ns() - began;
    if (took > k->stats.busy_max_ns) STORE(&k->stats.busy_max_ns, took);
    ADD(&k->stats.cycles, 1);
    return 0;
}

// A signal sent to the process may land on any thread, and Go's handler would run on this one.
static void thread_begins(void *arg)
{
    (void)arg;
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV); sigdelset(&all, SIGBUS); sigdelset(&all, SIGFPE); sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
}

static void died(kj *k, const char *why)
{
    if (LOAD(&k->dead)) return;
    strncpy(k->why, why && *why ? why : "the JACK server has shut down", sizeof k->why - 1);
    STORE(&k->dead, 1);
    wake(k);
}

static void shut(void *arg) { died(arg, NULL); }
static void shut_why(int status, const char *why, void *arg) { (void)status; died(arg, why); }

static void changed(kj *k)
{
    __atomic_fetch_add(&k->graph, 1, __ATOMIC_ACQ_REL);
    wake(k);
}

static void on_port(uint32_t id, int there, void *arg)
{
    (void)id;
    if (!there) __atomic_fetch_add(&((kj *)arg)->unregistered, 1, __ATOMIC_ACQ_REL);
    changed(arg);
}
// A cable that is laid and goes again before anybody looks was there all the same, so it is noted
// here. The names are in memory that all clients share; no call goes to the server.
static void on_connect(uint32_t a, uint32_t b, int on, void *arg)
{
    kj *k = arg;
    if (on) {
        jack_port *from = jack.port_by_id(k->client, a), *to = jack.port_by_id(k->client, b);
        const char *f = from ? jack.port_name(from) : NULL, *t = to ? jack.port_name(to) : NULL;
        if (f != NULL && t != NULL && (jack.port_is_mine(k->client, from) || jack.port_is_mine(k->client, to))) {
            size_t nf = strlen(f) + 1, nt = strlen(t) + 1;
            pthread_mutex_lock(&k->laid_lock);
            if (nf + nt < sizeof k->laid - k->laid_bytes) {
                memcpy(k->laid + k->laid_bytes, f, nf);
                memcpy(k->laid + k->laid_bytes + nf, t, nt);
                k->laid_bytes += nf + nt;
            }
            pthread_mutex_unlock(&k->laid_lock);
        }
    }
    changed(k);
}
static void on_rename(uint32_t id, const char *was, const char *is, void *arg) { (void)id; (void)was; (void)is; changed(arg); }
static int on_buffer_size(uint32_t frames, void *arg)
{
    STORE(&((kj *)arg)->stats.period, frames);
    changed(arg);
    return 0;
}
static int on_order(void *arg)
{
    __atomic_fetch_add(&((kj *)arg)->shaken, 1, __ATOMIC_RELAXED);
    return 0;
}
static int on_xrun(void *arg)
{
    on_order(arg);
    __atomic_fetch_add(&((kj *)arg)->stats.xruns, 1, __ATOMIC_RELAXED);
    return 0;
}

kj *kj_open(const char *name, const char *server, uint32_t bytes, int *status)
{
    kj *k = NULL;
    if (posix_memalign((void **)&k, 4096, sizeof *k) != 0) return NULL;
    memset(k, 0, sizeof *k);
    pthread_mutex_init(&k->laid_lock, NULL);
    if (ring_new(&k->in, bytes) != 0) { free(k); return NULL; }
    *status = 0;
    if (server != NULL && *server) k->client = jack.client_open(name, NO_START_SERVER | SERVER_NAME, status, server);
    else k->client = jack.client_open(name, NO_START_SERVER, status);
    if (k->client == NULL) { free(k->in.data); free(k); return NULL; }
    const char *got = jack.get_client_name(k->client);
    strncpy(k->name, got ? got : name, sizeof k->name - 1);
    k->stats.rate = jack.get_sample_rate(k->client);
    k->stats.period = jack.get_buffer_size(k->client);
    jack.set_thread_init_callback(k->client, thread_begins, k);
    jack.set_process_callback(k->client, process, k);
    if (jack.on_info_shutdown != NULL) jack.on_info_shutdown(k->client, shut_why, k);
    else jack.on_shutdown(k->client, shut, k);
    jack.set_buffer_size_callback(k->client, on_buffer_size, k);
    jack.set_xrun_callback(k->client, on_xrun, k);
    jack.set_graph_order_callback(k->client, on_order, k);
    jack.set_port_registration_callback(k->client, on_port, k);
    jack.set_port_connect_callback(k->client, on_connect, k);
    if (jack.set_port_rename_callback != NULL) jack.set_port_rename_callback(k->client, on_rename, k);
    if (jack.activate(k->client) != 0) { kj_close(k); return NULL; }
    return k;
}

const char *kj_name(kj *k) { return k->name; }
int kj_dead(kj *k) { return (int)LOAD(&k->dead); }
const char *kj_why(kj *k) { return k->why; }
uint32_t kj_graph(kj *k) { return LOAD(&k->graph); }
uint32_t kj_unregistered(kj *k) { return LOAD(&k->unregistered); }

static void port_free(kj_port *p)
{
    free(p->ring.data);
    free(p);
}

void kj_close(kj *k)
{
    // The callback ends with the client, so nothing is in use after this.
    jack.client_close(k->client);
    for (kj_port *p = k->all, *next; p != NULL; p = next) {
        next = p->next;
        port_free(p);
    }
    free(k->in.data);
    free(k);
}

void kj_read_stats(kj *k, kj_stats *s)
{
    s->cycles = LOAD(&k->stats.cycles);
    s->received = LOAD(&k->stats.received);
    s->dropped = LOAD(&k->stats.dropped);
    s->owed = LOAD(&k->stats.owed);
    s->lost = LOAD(&k->stats.lost);
    s->xruns = LOAD(&k->stats.xruns);
    s->strayed = LOAD(&k->clock.strayed);
    s->busy_max_ns = LOAD(&k->stats.busy_max_ns);
    s->period = LOAD(&k->stats.period);
    s->rate = LOAD(&k->stats.rate);
    s->payload = LOAD(&k->stats.payload);
}

kj_port *kj_add(kj *k, const char *name, int output, uint32_t id, uint32_t bytes)
{
    kj_port **slots = output ? k->outs : k->ins;
    uint32_t slot = 0;
    while (slot < KJ_PORTS && LOAD(&slots[slot]) != NULL) slot++;
    if (slot == KJ_PORTS) return NULL;
    kj_port *p = NULL;
    if (posix_memalign((void **)&p, 64, sizeof *p) != 0) return NULL;
    memset(p, 0, sizeof *p);
    if (output && ring_new(&p->ring, bytes) != 0) { free(p); return NULL; }
    p->output = output;
    p->id = id;
    p->port = jack.port_register(k->client, name, MIDI_TYPE, output ? PORT_SENDS : PORT_RECEIVES, 0);
    if (p->port == NULL) { port_free(p); return NULL; }
    const char *full = jack.port_name(p->port);
    strncpy(p->name, full ? full : name, sizeof p->name - 1);
    p->next = k->all;
    k->all = p;
    STORE(&slots[slot], p);
    return p;
}

const char *kj_port_full_name(kj_port *p) { return p->name; }

void kj_remove(kj *k, kj_port *p)
{
    // The callback empties its buffer and lets go of it. If the server stands still it is given back
    // with the client.
    STORE(&p->closing, 1);
    for (int i = 0; !LOAD(&p->gone); i++) {
        if (i == 1000 || LOAD(&k->dead)) return;
        struct timespec t = {0, 500000};
        nanosleep(&t, NULL);
    }
    for (kj_port **at = &k->all; *at != NULL; at = &(*at)->next) {
        if (*at == p) { *at = p->next; break; }
    }
    jack.port_unregister(k->client, p->port);
    port_free(p);
}

int kj_stage(kj_port *p, uint64_t at_ns, const uint8_t *bytes, uint32_t size)
{
    ring *r = &p->ring;
    uint64_t write = r->write + p->staged, fill = write - LOAD(&r->read);
    uint32_t n = record_bytes(size);
    uint32_t limit = ends(bytes, size) ? r->capacity : r->capacity / 4 * 3;
    if (fill + n > limit) return -1;
    header h = {at_ns, 0, size};
    ring_put(r, write, &h, sizeof h);
    ring_put(r, write + sizeof h, bytes, size);
    p->staged += n;
    return 0;
}

void kj_commit(kj_port *p)
{
    STORE(&p->ring.write, p->ring.write + p->staged);
    p->staged = 0;
}

void kj_abandon(kj_port *p) { p->staged = 0; }
void kj_hurry(kj_port *p) { STORE(&p->hurry, p->ring.write); }
void kj_repeat(kj_port *p) { __atomic_fetch_add(&p->again, 1, __ATOMIC_RELEASE); }
int kj_repeating(kj_port *p) { return LOAD(&p->repeated) != LOAD(&p->again); }
uint64_t kj_waiting(kj_port *p) { return p->ring.write - LOAD(&p->ring.read); }

void kj_sounding(kj_port *p, uint64_t sounding[32], uint32_t *pedals)
{
    for (int i = 0; i < 32; i++) sounding[i] = RELAXED(&p->sounding[i]);
    *pedals = RELAXED(&p->pedals);
}

void kj_read_out_stats(kj_port *p, kj_out_stats *s)
{
    s->sent = LOAD(&p->stats.sent);
    s->late = LOAD(&p->stats.late);
    s->late_max_ns = LOAD(&p->stats.late_max_ns);
    s->deferred = LOAD(&p->stats.deferred);
    s->unfit = LOAD(&p->stats.unfit);
    s->early = LOAD(&p->stats.early);
    s->repeated = LOAD(&p->stats.repeated);
}

// ---- The graph ----

static char *joined(const char **names)
{
    size_t bytes = 1;
    for (size_t i = 0; names != NULL && names[i] != NULL; i++) bytes += strlen(names[i]) + 1;
    char *all = calloc(1, bytes), *to = all;
    for (size_t i = 0; all != NULL && names != NULL && names[i] != NULL; i++) {
        size_t n = strlen(names[i]) + 1;
        memcpy(to, names[i], n);
        to += n;
    }
    if (names != NULL) jack.free(names);
    return all;
}

char *kj_ports(kj *k, unsigned long flags) { return joined(jack.get_ports(k->client, NULL, MIDI_TYPE, flags)); }
char *kj_laid(kj *k)
{
    pthread_mutex_lock(&k->laid_lock);
    char *all = calloc(1, k->laid_bytes + 1);
    if (all != NULL) {
        memcpy(all, k->laid, k->laid_bytes);
        k->laid_bytes = 0;
    }
    pthread_mutex_unlock(&k->laid_lock);
    return all;
}

char *kj_connections(kj *k, kj_port *p) { return joined(jack.port_get_all_connections(k->client, p->port)); }
int kj_exists(kj *k, const char *name) { return jack.port_by_name(k->client, name) != NULL; }

void kj_alias(kj *k, const char *name, char *out, uint32_t size)
{
    out[0] = 0;
    jack_port *p = jack.port_by_name(k->client, name);
    if (p == NULL || !(jack.port_flags(p) & PORT_PHYSICAL)) return;
    size_t n = (size_t)jack.port_name_size();
    char *a = calloc(2, n + 1);
    if (a == NULL) return;
    char *const both[2] = {a, a + n + 1};
    if (jack.port_get_aliases(p, both) > 0) {
        strncpy(out, both[0], size - 1);
        out[size - 1] = 0;
    }
    free(a);
}

int kj_connect(kj *k, const char *from, const char *to) { return jack.connect(k->client, from, to); }
int kj_disconnect(kj *k, const char *from, const char *to) { return jack.disconnect(k->client, from, to); }
void kj_free(void *p) { free(p); }
