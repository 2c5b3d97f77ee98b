//go:build !gocallback

// Asks a PulseAudio server (or PipeWire in its place) what a sink does to samples. miniaudio plays, and
// does not tell. The library is loaded at run time.
#define _GNU_SOURCE
#include "pulse_linux.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// The library's public structures, which do not change.
typedef struct { int format; uint32_t rate; uint8_t channels; } sample_spec;
typedef struct { uint8_t channels; int map[32]; } channel_map;
typedef struct { uint8_t channels; uint32_t values[32]; } cvolume;
// pa_sink_info and pa_source_info begin alike.
typedef struct {
    const char *name;
    uint32_t index;
    const char *description;
    sample_spec spec;
    channel_map map;
    uint32_t owner;
    cvolume volume;
    int mute;
} device_info;

enum { no_autospawn = 1, context_ready = 4, context_failed = 5, operation_running = 0, volume_norm = 0x10000, orders = 5 /* AIFF, ALSA, AUX, WAVEEX, OSS */ };

struct asking { ks_pulse_facts *facts; uint32_t channels; int answered; channel_map *(*init_extend)(channel_map *, unsigned, int); const char *(*position)(int); };

static void positions(const channel_map *m, const char *(*name)(int), char *to, size_t size)
{
    size_t n = 0;
    to[0] = 0;
    for (int i = 0; i < m->channels && i < 32; i++) {
        const char *p = name(m->map[i]);
        int wrote = snprintf(to + n, size - n, "%s%s", i ? "," : "", p ? p : "?");
        if (wrote < 0 || (size_t)wrote >= size - n) return;
        n += (size_t)wrote;
    }
}

static void answer(void *context, const device_info *info, int end, void *arg)
{
    (void)context;
    struct asking *a = arg;
    if (end || info == NULL) return;
    ks_pulse_facts *f = a->facts;
    snprintf(f->name, sizeof f->name, "%s", info->name ? info->name : "");
    f->format = info->spec.format;
    f->rate = info->spec.rate;
    f->channels = info->spec.channels;
    f->order = -1;
    // miniaudio's own order is the first one.
    for (int order = 0; order < orders && f->order < 0; order++) {
        channel_map m;
        memset(&m, 0, sizeof m);
        a->init_extend(&m, a->channels > 32 ? 32 : a->channels, order);
        if (m.channels != info->map.channels) continue;
        f->order = order;
        for (int i = 0; i < m.channels; i++)
            if (m.map[i] != info->map.map[i]) f->order = -1;
    }
    f->plain_volume = !info->mute;
    for (int i = 0; i < info->volume.channels && i < 32; i++)
        if (info->volume.values[i] != volume_norm) f->plain_volume = 0;
    positions(&info->map, a->position, f->map, sizeof f->map);
    a->answered = 1;
}

int ks_pulse_ask(const char *name, int source, uint32_t channels, ks_pulse_facts *facts)
{
    memset(facts, 0, sizeof *facts);
    void *lib = dlopen("libpulse.so.0", RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL) return -1;
#define F(ret, f, ...) ret (*f)(__VA_ARGS__) = (ret (*)(__VA_ARGS__))dlsym(lib, "pa_" #f)
    F(void *, mainloop_new, void);
    F(void, mainloop_free, void *);
    F(void *, mainloop_get_api, void *);
    F(int, mainloop_iterate, void *, int, int *);
    F(void *, context_new, void *, const char *);
    F(int, context_connect, void *, const char *, int, const void *);
    F(void, context_disconnect, void *);
    F(void, context_unref, void *);
    F(int, context_get_state, void *);
    F(void *, context_get_sink_info_by_name, void *, const char *, void (*)(void *, const device_info *, int, void *), void *);
    F(void *, context_get_source_info_by_name, void *, const char *, void (*)(void *, const device_info *, int, void *), void *);
    F(int, operation_get_state, void *);
    F(void, operation_unref, void *);
    F(channel_map *, channel_map_init_extend, channel_map *, unsigned, int);
    F(const char *, channel_position_to_string, int);
#undef F
    int result = -1;
    if (!mainloop_new || !mainloop_free || !mainloop_get_api || !mainloop_iterate || !context_new || !context_connect || !context_disconnect || !context_unref ||
        !context_get_state || !context_get_sink_info_by_name || !context_get_source_info_by_name || !operation_get_state || !operation_unref ||
        !channel_map_init_extend || !channel_position_to_string) {
        dlclose(lib);
        return -1;
    }
    struct asking a = {facts, channels, 0, channel_map_init_extend, channel_position_to_string};
    void *loop = mainloop_new(), *context = loop ? context_new(mainloop_get_api(loop), "k8s-synth") : NULL, *op = NULL;
    if (context != NULL && context_connect(context, NULL, no_autospawn, NULL) >= 0) {
        struct timespec t = {0, 1000000};
        for (int tries = 0; tries < 1500; tries++) {
            int more = mainloop_iterate(loop, 0, NULL), state = context_get_state(context);
            if (more < 0 || state >= context_failed) break;
            if (state == context_ready && op == NULL) {
                op = source ? context_get_source_info_by_name(context, name ? name : "@DEFAULT_SOURCE@", answer, &a)
                            : context_get_sink_info_by_name(context, name ? name : "@DEFAULT_SINK@", answer, &a);
                if (op == NULL) break;
            }
            if (op != NULL && operation_get_state(op) != operation_running) break;
            if (more == 0) nanosleep(&t, NULL);
        }
        if (a.answered) result = 0;
    }
    if (op) operation_unref(op);
    if (context) {
        context_disconnect(context);
        context_unref(context);
    }
    if (loop) mainloop_free(loop);
    // Not closed: the library leaves thread-local destructors behind.
    return result;
}
