//go:build !gocallback

// Raw ALSA cards, without miniaudio: samples in the card's own format and channels in its own order, both
// directions by one thread that counts them together, and an end at once when the card is pulled out.
// The library is loaded at run time; nothing here enters Go.
#define _GNU_SOURCE
#include "alsa_linux.h"

#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

typedef struct _snd_pcm pcm_t;
typedef struct _snd_pcm_hw_params hw_t;
typedef struct _snd_pcm_sw_params sw_t;
typedef unsigned long uframes;
typedef long sframes;

enum { playback = 0, capture = 1, nonblock = 1, no_resample = 0x10000, no_channels = 0x20000, no_format = 0x40000, access_interleaved = 3 };
enum { s16 = 2, s24 = 6, s32 = 10, f32 = 14, s24_3 = 32 };
enum { running = 3, xrun = 4, suspended = 7, disconnected = 8 };

static struct {
    int (*open)(pcm_t **, const char *, int, int);
    int (*close)(pcm_t *);
    int (*hw_params_malloc)(hw_t **);
    void (*hw_params_free)(hw_t *);
    int (*hw_params_any)(pcm_t *, hw_t *);
    int (*hw_params_set_access)(pcm_t *, hw_t *, int);
    int (*hw_params_test_format)(pcm_t *, hw_t *, int);
    int (*hw_params_set_format)(pcm_t *, hw_t *, int);
    int (*hw_params_test_channels)(pcm_t *, hw_t *, unsigned);
    int (*hw_params_set_channels)(pcm_t *, hw_t *, unsigned);
    int (*hw_params_get_channels_max)(const hw_t *, unsigned *);
    int (*hw_params_set_rate_resample)(pcm_t *, hw_t *, unsigned);
    int (*hw_params_set_rate_near)(pcm_t *, hw_t *, unsigned *, int *);
    int (*hw_params_set_period_size_near)(pcm_t *, hw_t *, uframes *, int *);
    int (*hw_params_set_periods_near)(pcm_t *, hw_t *, unsigned *, int *);
    int (*hw_params_set_buffer_size_near)(pcm_t *, hw_t *, uframes *);
    int (*hw_params_get_period_size)(const hw_t *, uframes *, int *);
    int (*hw_params_get_buffer_size)(const hw_t *, uframes *);
    int (*hw_params)(pcm_t *, hw_t *);
    int (*sw_params_malloc)(sw_t **);
    void (*sw_params_free)(sw_t *);
    int (*sw_params_current)(pcm_t *, sw_t *);
    int (*sw_params_get_boundary)(const sw_t *, uframes *);
    int (*sw_params_set_start_threshold)(pcm_t *, sw_t *, uframes);
    int (*sw_params_set_stop_threshold)(pcm_t *, sw_t *, uframes);
    int (*sw_params_set_avail_min)(pcm_t *, sw_t *, uframes);
    int (*sw_params)(pcm_t *, sw_t *);
    int (*prepare)(pcm_t *);
    int (*start)(pcm_t *);
    int (*drop)(pcm_t *);
    int (*link)(pcm_t *, pcm_t *);
    int (*unlink)(pcm_t *);
    int (*resume)(pcm_t *);
    int (*state)(pcm_t *);
    sframes (*avail_update)(pcm_t *);
    sframes (*forward)(pcm_t *, uframes);
    sframes (*readi)(pcm_t *, void *, uframes);
    sframes (*writei)(pcm_t *, const void *, uframes);
    int (*poll_descriptors_count)(pcm_t *);
    int (*poll_descriptors)(pcm_t *, struct pollfd *, unsigned);
    int (*poll_descriptors_revents)(pcm_t *, struct pollfd *, unsigned, unsigned short *);
} snd;

static const char *(*snd_strerror)(int);

static int load(void)
{
    static int loaded;
    if (loaded) return 1;
    void *lib = dlopen("libasound.so.2", RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL) return 0;
    struct { void **to; const char *name; } symbols[] = {
#define S(f) {(void **)&snd.f, "snd_pcm_" #f}
        S(open), S(close), S(hw_params_malloc), S(hw_params_free), S(hw_params_any), S(hw_params_set_access), S(hw_params_test_format),
        S(hw_params_set_format), S(hw_params_test_channels), S(hw_params_set_channels), S(hw_params_get_channels_max),
        S(hw_params_set_rate_resample), S(hw_params_set_rate_near), S(hw_params_set_period_size_near), S(hw_params_set_periods_near),
        S(hw_params_set_buffer_size_near), S(hw_params_get_period_size), S(hw_params_get_buffer_size), S(hw_params), S(sw_params_malloc),
        S(sw_params_free), S(sw_params_current), S(sw_params_get_boundary), S(sw_params_set_start_threshold), S(sw_params_set_stop_threshold),
        S(sw_params_set_avail_min), S(sw_params), S(prepare), S(start), S(drop), S(link), S(unlink), S(resume), S(state), S(avail_update),
        S(forward), S(readi), S(writei), S(poll_descriptors_count), S(poll_descriptors), S(poll_descriptors_revents),
#undef S
        {(void **)&snd_strerror, "snd_strerror"},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
        if ((*symbols[i].to = dlsym(lib, symbols[i].name)) == NULL) return 0;
    loaded = 1;
    return 1;
}

#define LOAD_QUIT(a) __atomic_load_n(&(a)->quit, __ATOMIC_ACQUIRE)

// One direction of one card.
struct side {
    pcm_t *pcm;
    int format, width;       // ALSA's number, bytes of a sample
    uint32_t channels;       // of the card, at least as many as ours
    uframes period, buffer;
    char *bytes;             // one period in the card's format
};

struct ks_alsa {
    ks_ring *ring;
    ks_capture *capture;
    struct side out, in;
    int linked;
    uint32_t rate;
    ks_cell *cells;          // one period in ours
    pthread_t thread;
    int started, wake;
    uint32_t quit;
    uint64_t xruns;
    struct pollfd *polls;
    int npolls;
};

static const char *format_name(int f)
{
    switch (f) {
    case s16: return "s16";
    case s24: return "s24";
    case s24_3: return "s24_3";
    case s32: return "s32";
    case f32: return "float";
    }
    return "?";
}

// Settles the parameters of one direction. Returns 0, or -1 with the reason in why.
static int configure(struct side *s, int direction, const char *name, uint32_t channels, int words, uint32_t rate, uint32_t period, uint32_t periods,
                     uint32_t *nearest, char *why, uint32_t size)
{
#define FAIL(...) do { snprintf(why, size, __VA_ARGS__); goto out; } while (0)
    hw_t *hw = NULL;
    sw_t *sw = NULL;
    int result = -1, err;
    const char *does = direction == playback ? "play" : "capture";
    int converts = strncmp(name, "plug", 4) == 0;   // as was asked for
    if ((err = snd.open(&s->pcm, name, direction, nonblock | (converts ? 0 : no_resample | no_channels | no_format))) < 0) {
        s->pcm = NULL;
        FAIL("cannot open %s to %s: %s", name, does, snd_strerror(err));
    }
    if (snd.hw_params_malloc(&hw) < 0 || snd.sw_params_malloc(&sw) < 0 || snd.hw_params_any(s->pcm, hw) < 0) FAIL("%s tells nothing of itself", name);
    if (snd.hw_params_set_access(s->pcm, hw, access_interleaved) < 0) FAIL("%s does not take interleaved frames", name);
    // Floats first, where there are any: only loopbacks have them, and they are exact. Then the widest.
    static const int floats[] = {f32, s32, s24, s24_3, s16}, integers[] = {s32, s24, s24_3};
    const int *formats = words ? integers : floats;
    int n = words ? 3 : 5;
    s->format = -1;
    for (int i = 0; i < n && s->format < 0; i++)
        if (snd.hw_params_test_format(s->pcm, hw, formats[i]) == 0) s->format = formats[i];
    if (s->format < 0) {
        if (words) *nearest = UINT32_MAX;
        FAIL("%s takes none of the formats s32, s24 and s24_3%s", name, words ? "" : ", float and s16");
    }
    if (snd.hw_params_set_format(s->pcm, hw, s->format) < 0) FAIL("%s refuses format %s", name, format_name(s->format));
    s->width = s->format == s16 ? 2 : s->format == s24_3 ? 3 : 4;
    // A card often has one number of channels only: the first ones are ours.
    unsigned max = 0, has = channels;
    snd.hw_params_get_channels_max(hw, &max);
    while (has <= max && has <= 256 && snd.hw_params_test_channels(s->pcm, hw, has) != 0) has++;
    if (has > max || snd.hw_params_set_channels(s->pcm, hw, has) < 0) FAIL("%s has %u channels to %s, asked were %u", name, max, does, channels);
    s->channels = has;
    snd.hw_params_set_rate_resample(s->pcm, hw, (unsigned)converts);
    unsigned got = rate;
    if ((err = snd.hw_params_set_rate_near(s->pcm, hw, &got, NULL)) < 0) FAIL("%s refuses %u Hz: %s", name, rate, snd_strerror(err));
    if (got != rate) {
        *nearest = got;
        FAIL("%s", name);
    }
    s->period = period;
    unsigned np = periods;
    snd.hw_params_set_period_size_near(s->pcm, hw, &s->period, NULL);
    s->buffer = s->period * np;
    if (snd.hw_params_set_buffer_size_near(s->pcm, hw, &s->buffer) < 0 || (err = snd.hw_params(s->pcm, hw)) < 0)
        FAIL("%s refuses %u periods of %u frames", name, periods, period);
    snd.hw_params_get_period_size(hw, &s->period, NULL);
    snd.hw_params_get_buffer_size(hw, &s->buffer);
    // Never stopped by a gap: the card goes on counting, and what is late is left out on both sides alike.
    uframes boundary = 0;
    if (snd.sw_params_current(s->pcm, sw) < 0 || snd.sw_params_get_boundary(sw, &boundary) < 0 || snd.sw_params_set_start_threshold(s->pcm, sw, boundary) < 0 ||
        snd.sw_params_set_stop_threshold(s->pcm, sw, boundary) < 0 || snd.sw_params_set_avail_min(s->pcm, sw, s->period) < 0 || snd.sw_params(s->pcm, sw) < 0)
        FAIL("%s refuses how it is to be driven", name);
    if ((s->bytes = calloc(s->period, (size_t)s->channels * s->width)) == NULL) FAIL("no memory");
    result = 0;
out:
    if (hw) snd.hw_params_free(hw);
    if (sw) snd.sw_params_free(sw);
    return result;
#undef FAIL
}

static void put(char *to, int format, ks_cell v, int integers)
{
    if (format == f32 && !integers) {
        memcpy(to, &v.f, 4);
        return;
    }
    int32_t w = v.i;
    if (!integers) {
        // A card of 24 or 16 bits gets the nearest of its steps.
        double d = v.f, steps = format == s16 ? 32768.0 : format == s32 ? 2147483648.0 : 8388608.0;
        long long n = llrint(d * steps);
        if (n > (long long)steps - 1) n = (long long)steps - 1;
        if (n < -(long long)steps) n = -(long long)steps;
        w = (int32_t)((uint64_t)n << (format == s16 ? 16 : format == s32 ? 0 : 8));
    }
    switch (format) {
    case s32: memcpy(to, &w, 4); break;
    case s24: w >>= 8; memcpy(to, &w, 4); break;
    case s24_3: to[0] = (char)(w >> 8); to[1] = (char)(w >> 16); to[2] = (char)(w >> 24); break;
    case s16: to[0] = (char)(w >> 16); to[1] = (char)(w >> 24); break;
    }
}

static float get(const char *from, int format)
{
    int32_t w = 0;
    float f;
    switch (format) {
    case f32: memcpy(&f, from, 4); return f;
    case s32: memcpy(&w, from, 4); break;
    case s24: memcpy(&w, from, 4); w = (int32_t)((uint32_t)w << 8); break;
    case s24_3: w = (int32_t)((uint32_t)(uint8_t)from[0] << 8 | (uint32_t)(uint8_t)from[1] << 16 | (uint32_t)(uint8_t)from[2] << 24); break;
    case s16: w = (int32_t)((uint32_t)(uint8_t)from[0] << 16 | (uint32_t)(uint8_t)from[1] << 24); break;
    }
    return (float)w * (1.0f / 2147483648.0f);
}

static void fill_bytes(ks_alsa *a, uint32_t frames)
{
    const struct side *s = &a->out;
    uint32_t ours = a->ring->channels;
    size_t stride = (size_t)s->channels * s->width;
    for (uint32_t i = 0; i < frames; i++)
        for (uint32_t c = 0; c < ours; c++) put(s->bytes + i * stride + (size_t)c * s->width, s->format, a->cells[(size_t)i * ours + c], (int)a->ring->integers);
}

// Fills the card's buffer with what was heard last, and starts both directions.
static int begin(ks_alsa *a)
{
    int err;
    if (a->out.pcm) {
        snd.drop(a->out.pcm);
        if ((err = snd.prepare(a->out.pcm)) < 0) return err;
    }
    if (a->in.pcm && !a->linked) {
        snd.drop(a->in.pcm);
        if ((err = snd.prepare(a->in.pcm)) < 0) return err;
    }
    if (a->out.pcm) {
        for (uint32_t i = 0; i < a->out.period; i++) memcpy(a->cells + (size_t)i * a->ring->channels, a->ring->last, a->ring->channels * sizeof(ks_cell));
        fill_bytes(a, (uint32_t)a->out.period);
        for (uframes done = 0; done < a->out.buffer;) {
            uframes n = a->out.buffer - done < a->out.period ? a->out.buffer - done : a->out.period;
            sframes wrote = snd.writei(a->out.pcm, a->out.bytes, n);
            if (wrote < 0) return (int)wrote;
            if (wrote == 0) break;
            done += (uframes)wrote;
        }
        if ((err = snd.start(a->out.pcm)) < 0) return err;
    }
    if (a->in.pcm && !a->linked && (err = snd.start(a->in.pcm)) < 0) return err;
    return 0;
}

static void hear(ks_alsa *a, uint32_t frames)
{
    const struct side *s = &a->in;
    uint32_t ours = a->capture->channels;
    size_t stride = (size_t)s->channels * s->width;
    for (uint32_t i = 0; i < frames; i++)
        for (uint32_t c = 0; c < ours; c++) a->cells[(size_t)i * ours + c].f = get(s->bytes + i * stride + (size_t)c * s->width, s->format);
    ks_capture_push(a->capture, &a->cells[0].f, frames);
}

// Hands the next frames to the card; those that it does not take within its own buffer's time are lost.
static int play(ks_alsa *a, uint32_t frames)
{
    ks_ring_drain(a->ring, a->cells, frames);
    fill_bytes(a, frames);
    size_t stride = (size_t)a->out.channels * a->out.width;
    for (uint32_t done = 0, tries = 0; done < frames;) {
        sframes n = snd.writei(a->out.pcm, a->out.bytes + done * stride, frames - done);
        if (n > 0) {
            done += (uint32_t)n;
            continue;
        }
        if (n != -EAGAIN && n != 0) return (int)n;
        if (++tries > 200 || LOAD_QUIT(a)) return -EIO;
        // The two directions of a card move in steps of their own.
        struct timespec t = {0, 500000};
        nanosleep(&t, NULL);
    }
    return 0;
}

static int skip(pcm_t *pcm, uframes frames)
{
    while (frames > 0) {
        sframes n = snd.forward(pcm, frames);
        if (n < 0) return (int)n;
        if (n == 0) return -EPIPE;   // further apart than can be: start again
        frames -= (uframes)n;
    }
    return 0;
}

// What is beyond the card's buffer is left out, the same number of frames on both sides.
static int leave_out(ks_alsa *a, uint32_t frames)
{
    __atomic_fetch_add(&a->xruns, 1, __ATOMIC_RELAXED);
    while (frames > 0) {
        uint32_t n = frames < a->out.period || !a->out.pcm ? frames : (uint32_t)a->out.period;
        if (a->in.pcm) {
            int err = skip(a->in.pcm, n);
            if (err < 0) return err;
            ks_capture_hold(a->capture, n);
        }
        if (a->out.pcm) {
            ks_ring_drain(a->ring, a->cells, n);
            int err = skip(a->out.pcm, n);
            if (err < 0) return err;
        }
        frames -= n;
    }
    return 0;
}

// One turn after the card has called. Returns 0 or an error of ALSA.
static int turn(ks_alsa *a)
{
    struct side *lead = a->in.pcm ? &a->in : &a->out;
    for (;;) {
        sframes avail = snd.avail_update(lead->pcm);
        if (avail < 0) return (int)avail;
        int err = 0;
        if ((uframes)avail > lead->buffer) {
            // The card went round while this thread was not there.
            uint32_t over = (uint32_t)((uframes)avail - lead->buffer + lead->period);
            if ((err = leave_out(a, over)) < 0) return err;
            continue;
        }
        if ((uframes)avail < lead->period) return 0;
        uint32_t frames = (uint32_t)lead->period;
        if (a->in.pcm) {
            sframes n = snd.readi(a->in.pcm, a->in.bytes, frames);
            if (n == -EAGAIN || n == 0) return 0;
            if (n < 0) return (int)n;
            frames = (uint32_t)n;
            hear(a, frames);
        }
        if (a->out.pcm && (err = play(a, frames)) < 0) return err;
    }
}

static void *run(void *arg)
{
    ks_alsa *a = arg;
    ks_device_thread_enter(a->ring);
    pcm_t *lead = a->in.pcm ? a->in.pcm : a->out.pcm;
    while (!LOAD_QUIT(a)) {
        int err = poll(a->polls, (nfds_t)a->npolls + 1, 200);
        if (LOAD_QUIT(a)) break;
        err = err < 0 && errno != EINTR ? -errno : 0;
        if (err == 0) {
            unsigned short revents = 0;
            snd.poll_descriptors_revents(lead, a->polls, (unsigned)a->npolls, &revents);
            int state = snd.state(lead);
            if (state == disconnected) err = -ENODEV;
            else if (state == xrun) err = -EPIPE;
            else if (state == suspended) err = -ESTRPIPE;
            else err = turn(a);
            // An error that leaves no trace in the state would make poll return at once, for ever.
            if (err == 0 && revents & (POLLERR | POLLNVAL)) err = state == running ? -EPIPE : -ENODEV;
        }
        if (err == 0) continue;
        if (err == -ENODEV || err == -ENOENT || err == -EBADFD) break;
        __atomic_fetch_add(&a->xruns, 1, __ATOMIC_RELAXED);
        if (err == -ESTRPIPE) for (int i = 0; i < 20 && snd.resume(lead) == -EAGAIN && !LOAD_QUIT(a); i++) poll(a->polls + a->npolls, 1, 50);
        if (begin(a) < 0) break;
    }
    if (a->ring) __atomic_store_n(&a->ring->stopped, 1, __ATOMIC_RELEASE);
    if (a->capture) __atomic_store_n(&a->capture->stopped, 1, __ATOMIC_RELEASE);
    return NULL;
}

ks_alsa *ks_alsa_open(ks_ring *r, const char *play, ks_capture *c, const char *source, uint32_t rate, uint32_t period, uint32_t periods,
                      uint32_t *nearest, char *why, uint32_t size)
{
    *nearest = 0;
    if (!load()) {
        snprintf(why, size, "libasound.so.2 is missing or too old");
        return NULL;
    }
    ks_alsa *a = calloc(1, sizeof *a);
    if (a == NULL) return NULL;
    a->wake = -1;
    a->ring = r;
    a->capture = c;
    a->rate = rate;
    if (r && configure(&a->out, playback, play, r->channels, r->integers, rate, period, periods, nearest, why, size) < 0) goto fail;
    // The same period on both sides, whatever the card makes of it; a buffer of any length.
    if (c && configure(&a->in, capture, source, c->channels, 0, rate, r ? (uint32_t)a->out.period : period, periods, nearest, why, size) < 0) goto fail;
    if (r && c) {
        if (a->in.period > a->out.buffer) {
            snprintf(why, size, "%s captures %lu frames at a time, more than the %lu that it plays at most", source, a->in.period, a->out.buffer);
            goto fail;
        }
        a->linked = snd.link(a->out.pcm, a->in.pcm) == 0;
    }
    uframes most = a->out.period > a->in.period ? a->out.period : a->in.period;
    a->cells = calloc(most, KS_MAX_CHANNELS * sizeof(ks_cell));
    // play converts as many frames as were captured.
    if (r && a->in.period > a->out.period) {
        free(a->out.bytes);
        a->out.bytes = calloc(a->in.period, (size_t)a->out.channels * a->out.width);
    }
    pcm_t *lead = a->in.pcm ? a->in.pcm : a->out.pcm;
    a->npolls = snd.poll_descriptors_count(lead);
    a->polls = a->npolls > 0 ? calloc((size_t)a->npolls + 1, sizeof *a->polls) : NULL;
    a->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->cells == NULL || a->polls == NULL || a->wake < 0 || (r && a->out.bytes == NULL)) {
        snprintf(why, size, "no memory");
        goto fail;
    }
    snd.poll_descriptors(lead, a->polls, (unsigned)a->npolls);
    a->polls[a->npolls] = (struct pollfd){a->wake, POLLIN, 0};
    return a;
fail:
    ks_alsa_close(a);
    return NULL;
}

int ks_alsa_start(ks_alsa *a)
{
    int err = begin(a);
    if (err < 0) return err;
    if ((err = pthread_create(&a->thread, NULL, run, a)) != 0) return -err;
    a->started = 1;
    return 0;
}

void ks_alsa_close(ks_alsa *a)
{
    if (a == NULL) return;
    __atomic_store_n(&a->quit, 1, __ATOMIC_RELEASE);
    if (a->started) {
        uint64_t one = 1;
        ssize_t n = write(a->wake, &one, sizeof one);
        (void)n;
        pthread_join(a->thread, NULL);
    }
    if (a->linked) snd.unlink(a->in.pcm);
    if (a->out.pcm) { snd.drop(a->out.pcm); snd.close(a->out.pcm); }
    if (a->in.pcm) { snd.drop(a->in.pcm); snd.close(a->in.pcm); }
    if (a->wake >= 0) close(a->wake);
    free(a->out.bytes);
    free(a->in.bytes);
    free(a->cells);
    free(a->polls);
    free(a);
}

uint32_t ks_alsa_period(ks_alsa *a) { return (uint32_t)(a->in.pcm ? a->in.period : a->out.period); }
uint32_t ks_alsa_buffer(ks_alsa *a) { return (uint32_t)a->out.buffer; }
uint32_t ks_alsa_channels(ks_alsa *a, int in) { return in ? a->in.channels : a->out.channels; }
uint64_t ks_alsa_xruns(ks_alsa *a)  { return __atomic_load_n(&a->xruns, __ATOMIC_RELAXED); }
int      ks_alsa_linked(ks_alsa *a) { return a->linked; }
const char *ks_alsa_format(ks_alsa *a) { return format_name(a->out.pcm ? a->out.format : a->in.format); }
