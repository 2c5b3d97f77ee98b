//go:build !gocallback

// The data callback in C, and what installs it (see callback_linux.go).
#define _GNU_SOURCE
#include "callback_linux.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

// The first fields of miniaudio's ma_device, which the library documents as its public face.
// They are checked at every callback: onData must be our own function, or the layout is not this one.
struct device_prefix {
    void    *context;
    int      type;
    uint32_t sample_rate;
    uint32_t state;
    void    *on_data;
    void    *on_notification;
    void    *on_stop;
    void    *user_data;
};

static uint32_t bad_layout;

static void *user_of(const struct device_prefix *d, void (*callback)(void *, void *, const void *, uint32_t))
{
    if (d->on_data != (void *)callback) {
        __atomic_store_n(&bad_layout, 1, __ATOMIC_RELEASE);
        return NULL;
    }
    return d->user_data;
}

void ks_data_callback(void *device, void *out, const void *in, uint32_t frames)
{
    (void)in;
    ks_ring *r = user_of(device, ks_data_callback);
    if (r == NULL || out == NULL) return;   // miniaudio has silenced out
    if (r->first) {
        r->first = 0;
        ks_device_thread_enter(r);
    }
    ks_ring_drain(r, out, frames);
}

void ks_capture_callback(void *device, void *out, const void *in, uint32_t frames)
{
    (void)out;
    ks_capture *c = user_of(device, ks_capture_callback);
    if (c == NULL || in == NULL) return;
    if (c->first) {
        c->first = 0;
        ks_device_thread_enter(NULL);
    }
    ks_capture_push(c, in, frames);
}

void ks_stop_callback(void *device)
{
    const struct device_prefix *d = device;
    if (d->on_data == (void *)ks_capture_callback && d->user_data != NULL) __atomic_store_n(&((ks_capture *)d->user_data)->stopped, 1, __ATOMIC_RELEASE);
    if (d->on_data != (void *)ks_data_callback || d->user_data == NULL) return;
    __atomic_store_n(&((ks_ring *)d->user_data)->stopped, 1, __ATOMIC_RELEASE);
}

int ks_bad_layout(void) { return (int)__atomic_load_n(&bad_layout, __ATOMIC_ACQUIRE); }

// What ma_device_config of miniaudio 0.11.23 is, up to the one field that malgo has no setting for.
struct device_config {
    int type;
    uint32_t sample_rate, period, period_ms, periods;
    int profile;
    uint8_t flags[4];
    void *on_data, *on_notification, *on_stop, *user_data;
    struct { uint32_t format, channels, in, out, algorithm; void *vtable, *user; uint32_t lpf; } resampling;
    struct { void *id; uint32_t format, channels; void *map; uint32_t mix, lfe, share; } playback, capture;
    struct { uint32_t usage; uint8_t flags[4]; uint32_t pid; uint8_t exclude; } wasapi;
    struct { uint32_t no_mmap, no_format, no_channels, no_resample; } alsa;
    struct { const char *playback, *capture; int order; } pulse;
};

static int pulse_order;

void ks_want_pulse_order(int order) { pulse_order = order; }

// malgo overwrites the callbacks of every device with ones that enter Go; the linker sends that
// call here, where they are left as they were configured.
void __wrap_goSetDeviceConfigCallbacks(void *config);
void __wrap_goSetDeviceConfigCallbacks(void *config)
{
    struct device_config *c = config;
    int order = pulse_order;
    pulse_order = 0;
    // Everything that is known of the fields around it must be there, or the layout is another one: then
    // the server reorders, as it does without this.
    if (order <= 0 || (c->on_data != (void *)ks_data_callback && c->on_data != (void *)ks_capture_callback) || c->user_data == NULL ||
        c->alsa.no_channels != 1 || c->alsa.no_resample != 1 || c->alsa.no_mmap != 0 || c->alsa.no_format != 0 || c->pulse.order != 0 ||
        c->pulse.playback == NULL || c->pulse.capture == NULL || strcmp(c->pulse.playback, KS_STREAM_NAME) != 0 || strcmp(c->pulse.capture, KS_STREAM_NAME) != 0) return;
    c->pulse.order = order;
}

// Messages of miniaudio and of the audio libraries, kept instead of printed or carried into Go from
// the device thread. Writers claim a slot each; a reader may see a message cut short, never more.
#define SLOTS 32
#define WIDTH 200
static char slots[SLOTS][WIDTH];
static uint32_t claimed;

static char *claim(void) { return slots[__atomic_fetch_add(&claimed, 1, __ATOMIC_ACQ_REL) % SLOTS]; }

static void keep(const char *text)
{
    char *s = claim();
    size_t n = strlen(text);
    if (n > WIDTH - 1) n = WIDTH - 1;
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r')) n--;
    memcpy(s, text, n);
    s[n] = 0;
}

void __wrap_goLogCallback(void *context, char *message);
void __wrap_goLogCallback(void *context, char *message) { (void)context; keep(message); }

uint32_t ks_messages(void) { return __atomic_load_n(&claimed, __ATOMIC_ACQUIRE); }

void ks_message(uint32_t index, char *out, uint32_t size)
{
    if (size == 0) return;
    size_t n = size - 1 < WIDTH - 1 ? size - 1 : WIDTH - 1;
    memcpy(out, slots[index % SLOTS], n);
    out[n] = 0;
}

static void alsa_error(const char *file, int line, const char *function, int err, const char *format, ...)
{
    (void)file; (void)line; (void)err;
    char text[WIDTH];
    int n = snprintf(text, sizeof text, "%s: ", function);
    if (n < 0 || n >= (int)sizeof text) n = 0;
    va_list ap;
    va_start(ap, format);
    vsnprintf(text + n, sizeof text - (size_t)n, format, ap);
    va_end(ap);
    keep(text);
}

static void jack_message(const char *text) { keep(text); }

void ks_quiet_libraries(void)
{
    // The handles stay open on purpose: miniaudio's own dlopen then finds these instances, handlers set.
    void *alsa = dlopen("libasound.so.2", RTLD_NOW | RTLD_LOCAL);
    if (alsa != NULL) {
        typedef int (*set_alsa)(void (*)(const char *, int, const char *, int, const char *, ...));
        set_alsa f = (set_alsa)dlsym(alsa, "snd_lib_error_set_handler");
        if (f != NULL) f(alsa_error);
    }
    void *jack = dlopen("libjack.so.0", RTLD_NOW | RTLD_LOCAL);
    if (jack != NULL) {
        typedef void (*set_jack)(void (*)(const char *));
        set_jack e = (set_jack)dlsym(jack, "jack_set_error_function");
        set_jack i = (set_jack)dlsym(jack, "jack_set_info_function");
        if (e != NULL) e(jack_message);
        if (i != NULL) i(jack_message);
    }
}
