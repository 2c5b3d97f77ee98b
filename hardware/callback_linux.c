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

static ks_ring *ring_of(const struct device_prefix *d)
{
    if (d->on_data != (void *)ks_data_callback) {
        __atomic_store_n(&bad_layout, 1, __ATOMIC_RELEASE);
        return NULL;
    }
    return d->user_data;
}

void ks_data_callback(void *device, void *out, const void *in, uint32_t frames)
{
    (void)in;
    ks_ring *r = ring_of(device);
    if (r == NULL || out == NULL) return;   // miniaudio has silenced out
    if (r->first) {
        r->first = 0;
        ks_device_thread_enter(r);
    }
    ks_ring_drain(r, out, frames);
}

void ks_stop_callback(void *device)
{
    const struct device_prefix *d = device;
    if (d->on_data != (void *)ks_data_callback || d->user_data == NULL) return;
    __atomic_store_n(&((ks_ring *)d->user_data)->stopped, 1, __ATOMIC_RELEASE);
}

int ks_bad_layout(void) { return (int)__atomic_load_n(&bad_layout, __ATOMIC_ACQUIRE); }

// malgo overwrites the callbacks of every device with ones that enter Go; the linker sends that
// call here, where they are left as they were configured.
void __wrap_goSetDeviceConfigCallbacks(void *config);
void __wrap_goSetDeviceConfigCallbacks(void *config) { (void)config; }

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
