#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "ring.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(_WIN32)
#include <malloc.h>
#endif
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define LOAD(p)      __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define STORE(p, v)  __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define RELAXED(p)   __atomic_load_n((p), __ATOMIC_RELAXED)
#define ADD(p, v)    __atomic_store_n((p), *(p) + (v), __ATOMIC_RELEASE)  // single writer

ks_ending ks_end;

uint64_t ks_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// Memory on pages of its own, which may be locked by themselves.
static int page_align(void **p, size_t bytes)
{
#if defined(_WIN32)
    *p = _aligned_malloc(bytes, 4096);
    return *p == NULL;
#else
    return posix_memalign(p, 4096, bytes);
#endif
}

ks_ring *ks_ring_new(uint32_t channels, uint32_t capacity, uint64_t cv_mask, uint32_t fade_frames, double rate)
{
    if (channels == 0 || channels > KS_MAX_CHANNELS || capacity == 0 || rate <= 0) return NULL;
    ks_ring *r = NULL;
    if (page_align((void **)&r, sizeof *r) != 0) return NULL;
    memset(r, 0, sizeof *r);
    size_t bytes = (size_t)channels * capacity * sizeof(float);
    if (page_align((void **)&r->data, bytes) == 0) {
        // Written once, so that neither end takes a page fault later.
        memset(r->data, 0, bytes);
    }
    r->channels = channels;
    r->capacity = capacity;
    r->limit = capacity;
    r->cv_mask = cv_mask;
    r->fade_frames = fade_frames ? fade_frames : 1;
    r->block = 64;
    r->late_periods = 1;
    r->nominal_spf = 1.0 / rate;
    r->min_fill = UINT64_MAX;
    r->first = 1;
    r->ground_after = (uint32_t)(0.25 * rate);
    r->ground_frames = (uint32_t)(0.05 * rate) + 1;
    if (r->data == NULL) { ks_ring_free(r); return NULL; }
    return r;
}

void ks_ring_free(ks_ring *r)
{
    if (r == NULL) return;
    if (r->counted == 2) __atomic_fetch_sub(&ks_end.landed, 1, __ATOMIC_ACQ_REL);
    if (r->counted) __atomic_fetch_sub(&ks_end.playing, 1, __ATOMIC_ACQ_REL);
#if defined(_WIN32)
    _aligned_free(r->data);
    _aligned_free(r);
#else
    free(r->data);
    free(r);
#endif
}

ks_panics *ks_panics_new(void)
{
    ks_panics *p = NULL;
    if (page_align((void **)&p, sizeof *p) == 0) memset(p, 0, sizeof *p);
    return p;
}

static uint64_t bits(double d) { uint64_t u; memcpy(&u, &d, sizeof u); return u; }

// A second-order delay-locked loop (F. Adriaensen, "Using a DLL to filter time", 2005), written for
// callbacks of varying size: the state is the filtered time of dll_frame and the seconds per frame.
// A device that knows how long its frames last has filtered already: it is taken at its word.
static void clock_update(ks_ring *r, uint64_t due_ns, double frame_ns)
{
    double now = (double)(due_ns ? due_ns : ks_now_ns()) * 1e-9;
    uint64_t n = r->frames - r->dll_frame;
    double dt = (double)n * r->nominal_spf;
    double expect = r->dll_time + (double)n * r->dll_spf;
    double e = now - expect;
    if (frame_ns > 0) {
        r->dll_time = now;
        r->dll_spf = frame_ns * 1e-9;
        r->dll_start = r->frames;
    } else if (r->dll_spf == 0 || fabs(e) > 0.25) {
        // The first callback, or the world stood still: start again from here.
        r->dll_time = now;
        r->dll_spf = r->nominal_spf;
        r->dll_start = r->frames;
    } else if (n > 0) {
        // Wide for the first two seconds, so that it locks; then narrow, so that jitter of the
        // callbacks does not pass (0.1 Hz lets 1 ms of white jitter through as some 0.1 ms).
        double age = (double)(r->frames - r->dll_start) * r->nominal_spf;
        double bandwidth = age < 0.2 ? 4.0 : age < 2.0 ? 0.8 : 0.1;
        double w = 2.0 * M_PI * bandwidth * dt;
        if (w > 0.5) w = 0.5;
        r->dll_time = expect + 1.41421356237 * w * e;
        r->dll_spf += w * w * e / (double)n;
        // No sound card is off by 0.5 %: a longer excursion is a burst at the start, not a rate.
        double lo = r->nominal_spf * 0.995, hi = r->nominal_spf * 1.005;
        if (r->dll_spf < lo) r->dll_spf = lo;
        if (r->dll_spf > hi) r->dll_spf = hi;
    }
    r->dll_frame = r->frames;

    uint64_t s = r->seq;
    __atomic_store_n(&r->seq, s + 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&r->clock_time, bits(r->dll_time), __ATOMIC_SEQ_CST);
    __atomic_store_n(&r->clock_period, bits(r->dll_spf), __ATOMIC_SEQ_CST);
    __atomic_store_n(&r->clock_frame, r->dll_frame, __ATOMIC_SEQ_CST);
    __atomic_store_n(&r->clock_missing, r->missing, __ATOMIC_SEQ_CST);
    __atomic_store_n(&r->seq, s + 2, __ATOMIC_SEQ_CST);
}

static void futex_wake(ks_ring *r)
{
    __atomic_fetch_add(&r->wake, 1, __ATOMIC_SEQ_CST);
#if defined(__linux__)
    if (__atomic_load_n(&r->waiting, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&r->waiting, 0, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &r->wake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
#endif
}

void ks_ring_wake(ks_ring *r) { futex_wake(r); }

int ks_ring_wait(ks_ring *r, uint32_t need, uint32_t timeout_ms)
{
    uint64_t deadline = ks_now_ns() + (uint64_t)timeout_ms * 1000000u;
    for (;;) {
        uint32_t seen = __atomic_load_n(&r->wake, __ATOMIC_SEQ_CST);
        if (RELAXED(&r->write) - LOAD(&r->read) + need <= LOAD(&r->limit)) return 1;
        uint64_t now = ks_now_ns();
        if (now >= deadline) return 0;
        struct timespec t;
#if defined(__linux__)
        uint64_t left = deadline - now;
        t.tv_sec = (time_t)(left / 1000000000u);
        t.tv_nsec = (long)(left % 1000000000u);
        __atomic_store_n(&r->waiting, 1, __ATOMIC_SEQ_CST);
        // Sleeps only if no callback came since seen was read, so no wake-up is lost.
        syscall(SYS_futex, &r->wake, FUTEX_WAIT_PRIVATE, seen, &t, NULL, 0);
#else
        // Without futexes a short sleep paces the producer: the ring is several times as deep.
        (void)seen;
        t.tv_sec = 0;
        t.tv_nsec = 500000;
        nanosleep(&t, NULL);
#endif
    }
}

// Smoothstep: no corner at either end of a fade; its values at x and 1-x add up to 1.
static float ease(float x) { return x * x * (3.0f - 2.0f * x); }

// Fades are computed in floats, and words never.
typedef ks_cell cell;

static int32_t to_int(float v)
{
    double d = (double)v * 2147483648.0;
    if (d >= 2147483647.0) return INT32_MAX;
    if (d <= -2147483648.0) return INT32_MIN;
    return (int32_t)llrint(d);
}

static float level_of(const ks_ring *r, cell v) { return r->integers ? (float)v.i * (1.0f / 2147483648.0f) : v.f; }
static cell  cell_of(const ks_ring *r, float v) { cell c; if (r->integers) c.i = to_int(v); else c.f = v; return c; }

// One frame of a fade: live data (or NULL when there is none) comes up while the held value goes; in a
// panic its audio goes, too, its gates are low, and its control voltages stand.
static void fade_frame(ks_ring *r, cell *out, const cell *live)
{
    float f = (float)r->fade_frames;
    float held = ease((float)r->hold_left / f);
    float level = live ? 1.0f - ease((float)r->fade_left / f) : 0.0f;
    if (r->muted) level *= ease((float)r->mute_left / (float)r->mute_frames);
    for (uint32_t c = 0; c < r->channels; c++) {
        if (r->cv_mask >> c & 1) {
            if (live && r->muted && r->exact_mask >> c & 1) out[c].i = live[c].i & ~r->gate_bits[c];
            else if (live == NULL || r->muted) out[c] = r->last[c];
            else if (!(r->grounded || r->returning) || (r->gate_mask | r->exact_mask) >> c & 1) out[c] = live[c];
            else out[c] = cell_of(r, level_of(r, live[c]) * level + level_of(r, r->hold[c]) * held);
        } else {
            out[c] = cell_of(r, level_of(r, r->hold[c]) * held + (live ? level_of(r, live[c]) * level : 0.0f));
        }
    }
    memcpy(r->last, out, r->channels * sizeof(cell));
    if (r->mute_left) r->mute_left--;
    if (r->hold_left) r->hold_left--;
    if (live && r->fade_left && --r->fade_left == 0) r->grounded = r->returning = 0;
}

// From here on nothing is heard of what is in the ring: the fade takes as long as the callback, within
// 1.3 ms, in which it does not click, and the time of all fades.
static void mute(ks_ring *r, uint32_t frames)
{
    r->muted = 1;
    uint32_t least = (uint32_t)(0.00133 / r->nominal_spf) + 1;
    r->mute_frames = frames < least ? least : frames;
    if (r->mute_frames > r->fade_frames) r->mute_frames = r->fade_frames;
    r->mute_left = r->mute_frames;
    // What holds its last value, should the ring be short now, holds no gate.
    for (uint32_t c = 0; c < r->channels; c++) {
        if (r->exact_mask >> c & 1) r->last[c].i &= ~r->gate_bits[c];
        else if (r->gate_mask >> c & 1) r->last[c].i = 0;
    }
}

// How many frames from the ring's frame read on are not to be heard because of a panic.
static uint64_t mute_frames(ks_ring *r, uint64_t read, uint32_t frames)
{
    uint32_t asked = LOAD(&r->panics->asked), answered = LOAD(&r->answered);
    uint64_t fresh = RELAXED(&r->fresh);
    uint64_t left = (int32_t)(answered - asked) < 0 ? UINT64_MAX : fresh > read ? fresh - read : 0;
    if (r->panic != asked) {
        r->panic = asked;
        if (left > 0 && !r->muted) mute(r, frames);
    }
    return left;
}

// What comes now is to be heard.
static void unmute(ks_ring *r)
{
    r->muted = 0;
    r->mute_left = 0;
    r->returning = 1;
    memcpy(r->hold, r->last, sizeof r->hold);
    r->hold_left = r->fade_frames;
    r->fade_left = r->fade_frames;
}

// What a shortage that does not end does with each frame: gates fall, control voltages go to 0 V in a
// straight line from where they were held.
static void ground_frame(ks_ring *r, cell *out)
{
    if (!r->grounded) {
        r->grounded = 1;
        r->ground_left = r->ground_frames;
        memcpy(r->hold, r->last, sizeof r->hold);
    }
    if (r->ground_left) r->ground_left--;
    float g = (float)r->ground_left / (float)r->ground_frames;
    for (uint32_t c = 0; c < r->channels; c++) {
        if ((r->gate_mask | r->exact_mask) >> c & 1) out[c].i = 0;
        else out[c] = cell_of(r, level_of(r, r->hold[c]) * g);
    }
    memcpy(r->last, out, r->channels * sizeof(cell));
}

void ks_ring_integers(ks_ring *r, uint64_t exact_mask)
{
    r->integers = 1;
    r->exact_mask = exact_mask;
    r->cv_mask |= exact_mask;
    memset(r->gate_bits, 0xff, sizeof r->gate_bits);
}

void ks_ring_drain(ks_ring *r, void *out, uint32_t frames) { ks_ring_drain_at(r, out, frames, 0, 0); }

void ks_ring_drain_at(ks_ring *r, void *to, uint32_t frames, uint64_t due_ns, double frame_ns)
{
    const uint32_t ch = r->channels;
    cell *out = to;
    const cell *data = (const cell *)r->data;
    uint64_t read = r->read;
    uint64_t fill = LOAD(&r->write) - read;

    clock_update(r, due_ns, frame_ns);
    uint64_t now = ks_now_ns();
    if (r->called && (double)(now - r->called) > (1 + r->late_periods) * (double)frames * r->nominal_spf * 1e9) ADD(&r->late, 1);
    r->called = now;
    if (fill < RELAXED(&r->min_fill)) __atomic_store_n(&r->min_fill, fill, __ATOMIC_RELAXED);
    if (frames > RELAXED(&r->max_request)) __atomic_store_n(&r->max_request, frames, __ATOMIC_RELAXED);

    uint64_t limit = LOAD(&r->limit);
    uint64_t lag = fill < limit ? (limit - fill + r->block - 1) / r->block : 0;
    __atomic_fetch_add(&r->lags[lag < KS_LAGS ? lag : KS_LAGS - 1], 1, __ATOMIC_RELAXED);

    uint32_t have = fill < frames ? (uint32_t)fill : frames;
    uint32_t done = 0;
    if (!r->counted) {
        r->counted = 1;
        __atomic_fetch_add(&ks_end.playing, 1, __ATOMIC_ACQ_REL);
    }
    uint32_t dying = LOAD(&ks_end.dying);
    if (LOAD(&r->ground) || dying) {
        // Whatever the producer still delivers is thrown away.
        STORE(&r->read, read + have);
        if (!r->told) r->grounded = 0;
        r->told = 1;
        for (; done < frames; done++) ground_frame(r, out + (size_t)done * ch);
        r->short_now = 1;
        if (r->ground_left == 0) {
            // The device has a buffer of its own, which is lost with the process.
            uint32_t buffer = r->late_periods * frames;
            if (!LOAD(&r->at_ground)) STORE(&r->at_ground, 1);
            else if (r->rested < buffer) r->rested += frames;
            if (dying && r->rested >= buffer && r->counted == 1) {
                r->counted = 2;
                __atomic_fetch_add(&ks_end.landed, 1, __ATOMIC_ACQ_REL);
            }
        }
        goto end;
    }
    uint64_t quiet = r->panics ? mute_frames(r, read, frames) : 0;
    if (have) r->primed = 1;
    if (have && r->short_now) {
        r->short_now = 0;
        r->short_frames = 0;
        if (r->grounded) {
            // Control voltages come back from 0 V as audio does.
            memcpy(r->hold, r->last, sizeof r->hold);
            r->hold_left = r->fade_frames;
            r->fade_left = r->fade_frames;
        }
    }
    while (done < have) {
        uint32_t at = (uint32_t)(read % r->capacity);
        uint32_t run = r->capacity - at;
        if (run > have - done) run = have - done;
        if (r->muted) {
            if (quiet == 0) unmute(r);
            else if (run > quiet) run = (uint32_t)quiet;
        }
        const cell *src = data + (size_t)at * ch;
        cell *dst = out + (size_t)done * ch;
        uint32_t i = 0;
        for (; i < run && (r->fade_left || r->hold_left || r->muted); i++) fade_frame(r, dst + (size_t)i * ch, src + (size_t)i * ch);
        if (i < run) memcpy(dst + (size_t)i * ch, src + (size_t)i * ch, (size_t)(run - i) * ch * sizeof(cell));
        done += run;
        read += run;
        if (quiet != UINT64_MAX) quiet -= quiet < run ? quiet : run;
    }
    if (have) {
        memcpy(r->last, out + (size_t)(have - 1) * ch, ch * sizeof(cell));
        STORE(&r->read, read);
    }
    if (done < frames) {
        if (!r->primed) {
            // Nothing was ever written: this is silence before the music, not a shortage of it.
            memset(out + (size_t)done * ch, 0, (size_t)(frames - done) * ch * sizeof(cell));
        } else {
            if (!r->short_now) {
                r->short_now = 1;
                ADD(&r->underruns, 1);
                memcpy(r->hold, r->last, sizeof r->hold);
                if (r->grounded) r->ground_left = r->ground_frames;   // short again while it came back
                r->hold_left = r->fade_frames;
                r->fade_left = r->fade_frames;
            }
            for (; done < frames; done++) {
                if (r->grounded || ++r->short_frames > r->ground_after) ground_frame(r, out + (size_t)done * ch);
                else fade_frame(r, out + (size_t)done * ch, NULL);
            }
            ADD(&r->underrun_frames, frames - have);
        }
        STORE(&r->gap_at, read);
        ADD(&r->missing, frames - have);
    }
end:
    ADD(&r->frames, frames);
    ADD(&r->callbacks, 1);
    futex_wake(r);
}

ks_capture *ks_capture_new(uint32_t channels, uint32_t capacity)
{
    if (channels == 0 || channels > KS_MAX_CHANNELS || capacity == 0) return NULL;
    ks_capture *c = NULL;
    if (page_align((void **)&c, sizeof *c) != 0) return NULL;
    memset(c, 0, sizeof *c);
    size_t bytes = (size_t)channels * capacity * sizeof(float);
    if (page_align((void **)&c->data, bytes) == 0) memset(c->data, 0, bytes);
    c->channels = channels;
    c->capacity = capacity;
    c->first = 1;
    if (c->data == NULL) { ks_capture_free(c); return NULL; }
    return c;
}

void ks_capture_free(ks_capture *c)
{
    if (c == NULL) return;
#if defined(_WIN32)
    _aligned_free(c->data);
    _aligned_free(c);
#else
    free(c->data);
    free(c);
#endif
}

// in is NULL for frames that hold the last value.
static void capture_frames(ks_capture *c, const float *in, uint32_t frames)
{
    const uint32_t ch = c->channels;
    uint64_t write = c->write;
    for (uint32_t done = 0; done < frames;) {
        uint32_t at = (uint32_t)(write % c->capacity);
        uint32_t run = c->capacity - at;
        if (run > frames - done) run = frames - done;
        float *dst = c->data + (size_t)at * ch;
        if (in != NULL) memcpy(dst, in + (size_t)done * ch, (size_t)run * ch * sizeof(float));
        else for (uint32_t i = 0; i < run; i++) memcpy(dst + (size_t)i * ch, c->last, ch * sizeof(float));
        done += run;
        write += run;
    }
    if (in != NULL && frames > 0) memcpy(c->last, in + (size_t)(frames - 1) * ch, ch * sizeof(float));
    if (in == NULL) ADD(&c->lost, frames);
    STORE(&c->time, ks_now_ns());
    STORE(&c->write, write);
}

void ks_capture_push(ks_capture *c, const float *in, uint32_t frames)
{
    capture_frames(c, in, frames);
    ADD(&c->callbacks, 1);
    if (frames > RELAXED(&c->max_push)) __atomic_store_n(&c->max_push, frames, __ATOMIC_RELAXED);
}

void ks_capture_hold(ks_capture *c, uint32_t frames) { capture_frames(c, NULL, frames); }

int ks_thread_fifo(int priority, int *granted)
{
    *granted = 0;
#if defined(__linux__)
    struct sched_param p = {.sched_priority = priority};
    // Reset on fork: a thread or child that is started from here must not inherit the priority.
    if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &p) == 0) { *granted = priority; return 0; }
    int err = errno;
    struct rlimit lim;
    if (err == EPERM && getrlimit(RLIMIT_RTPRIO, &lim) == 0 && lim.rlim_cur > 0 && lim.rlim_cur < (rlim_t)priority) {
        p.sched_priority = (int)lim.rlim_cur;
        if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &p) == 0) { *granted = p.sched_priority; return 0; }
        err = errno;
    }
    return err;
#elif defined(__APPLE__)
    struct sched_param p = {.sched_priority = priority};
    int err = pthread_setschedparam(pthread_self(), SCHED_FIFO, &p);
    if (err == 0) *granted = priority;
    return err;
#else
    (void)priority;
    return ENOSYS;
#endif
}

#if defined(__linux__)
static __thread int plays;   // this thread drains a ring

void ks_land(void)
{
    STORE(&ks_end.dying, 1);
    if (plays) return;   // nobody else does what it would wait for
    struct timespec t = {0, 1000000};
    for (uint64_t end = ks_now_ns() + KS_LAND_MS * 1000000u; LOAD(&ks_end.landed) < LOAD(&ks_end.playing) && ks_now_ns() < end;) nanosleep(&t, NULL);
}
#endif

void ks_device_thread_enter(ks_ring *r)
{
#if defined(__linux__)
    if (r != NULL) plays = 1;
    // A signal sent to the process may land on any thread, and Go's handler would run on this one.
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV); sigdelset(&all, SIGBUS); sigdelset(&all, SIGFPE); sigdelset(&all, SIGILL);
    pthread_sigmask(SIG_BLOCK, &all, NULL);

    int policy = sched_getscheduler(0) & ~SCHED_RESET_ON_FORK;
    struct sched_param p = {0};
    sched_getparam(0, &p);
    if ((policy != SCHED_FIFO && policy != SCHED_RR) || p.sched_priority <= 1) {
        // Not yet, or only as all threads of the process are (priority_linux.go). Above the renderer (50), below the sound servers and the kernel's interrupt threads.
        int got = 0;
        if (ks_thread_fifo(55, &got) == 0) { policy = SCHED_FIFO; p.sched_priority = got; }
    }
    if (r == NULL) return;
    __atomic_store_n(&r->sched_policy, policy, __ATOMIC_RELAXED);
    __atomic_store_n(&r->sched_priority, p.sched_priority, __ATOMIC_RELAXED);
#else
    (void)r;
#endif
}

struct ks_null {
    ks_ring *ring;
    pthread_t thread;
    uint32_t period;
    double rate;
    uint64_t since;
    uint32_t quit;
    float *sink;
};

static void *null_run(void *arg)
{
    ks_null *n = arg;
    uint64_t played = 0;
    int behind = 0;
    ks_device_thread_enter(n->ring);
    while (!LOAD(&n->quit)) {
        uint64_t now = ks_now_ns();
        uint64_t due = now > n->since ? (uint64_t)((double)(now - n->since) * 1e-9 * n->rate) : 0;
        if (now >= n->since && due >= played) {
            uint64_t late = due - played;
            uint32_t frames = n->period;
            uint64_t fill = LOAD(&n->ring->write) - n->ring->read;
            if (LOAD(&n->ring->ground) || LOAD(&ks_end.dying)) behind = 0;   // nobody is waited for any more
            else if (late >= 2 * (uint64_t)n->period) behind = 1;
            else if (fill >= LOAD(&n->ring->limit) / 2) behind = 0;
            if (behind) {
                // This thread is behind the clock (it took over from a device that was lost, or the machine
                // slept): it takes what the renderer has ready until both have caught up. A renderer
                // that is late while this thread is not gets no such grace.
                if (fill < frames) {
                    ks_ring_wake(n->ring);
                    struct timespec t = {0, 200000};
                    nanosleep(&t, NULL);
                    if (late > (uint64_t)(10 * n->rate)) n->since += (uint64_t)((double)(late - n->period) / n->rate * 1e9);
                    continue;
                }
            }
            // What is taken late was due in time: catching up must not bend the clock.
            uint64_t at = n->since + (uint64_t)((double)played / n->rate * 1e9);
            ks_ring_drain_at(n->ring, n->sink, frames, late >= n->period ? at : 0, 0);
            played += frames;
            continue;
        }
        uint64_t next = n->since + (uint64_t)((double)played / n->rate * 1e9) + 1000;
        uint64_t left = next > now ? next - now : 0;
        if (left > 100000000u) left = 100000000u;
        struct timespec t = {0, (long)left};
        nanosleep(&t, NULL);
    }
    return NULL;
}

ks_null *ks_null_start(ks_ring *r, uint32_t period, double rate, uint64_t since_ns)
{
    ks_null *n = calloc(1, sizeof *n);
    if (n == NULL) return NULL;
    n->ring = r;
    n->period = period;
    n->rate = rate;
    n->since = since_ns ? since_ns : ks_now_ns();
    n->sink = calloc((size_t)period * r->channels, sizeof(float));
    if (n->sink == NULL || pthread_create(&n->thread, NULL, null_run, n) != 0) {
        free(n->sink);
        free(n);
        return NULL;
    }
    return n;
}

void ks_null_stop(ks_null *n)
{
    if (n == NULL) return;
    STORE(&n->quit, 1);
    pthread_join(n->thread, NULL);
    free(n->sink);
    free(n);
}

struct stress { ks_ring *r; uint64_t total; uint32_t seed; };

static float pattern(uint64_t frame, uint32_t c) { return (float)((frame * 131u + c * 7919u) & 0xffffff) / 16777216.0f; }

static void *stress_write(void *arg)
{
    struct stress *s = arg;
    uint32_t x = s->seed | 1;
    uint64_t f = 0;
    while (f < s->total) {
        x ^= x << 13; x ^= x >> 17; x ^= x << 5;
        uint32_t n = x % 97 + 1;
        if (n > s->r->capacity) n = s->r->capacity;
        if (n > s->total - f) n = (uint32_t)(s->total - f);
        while (!ks_ring_wait(s->r, n, 1000)) { }
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t c = 0; c < s->r->channels; c++)
                s->r->data[(size_t)((f + i) % s->r->capacity) * s->r->channels + c] = pattern(f + i, c);
        f += n;
        STORE(&s->r->write, f);
    }
    return NULL;
}

uint64_t ks_ring_stress(uint32_t channels, uint32_t capacity, uint64_t total, uint32_t seed)
{
    ks_ring *r = ks_ring_new(channels, capacity, 0, 64, 48000);
    if (r == NULL) return UINT64_MAX;
    struct stress s = {r, total, seed};
    pthread_t writer;
    if (pthread_create(&writer, NULL, stress_write, &s) != 0) { ks_ring_free(r); return UINT64_MAX; }
    float *out = calloc((size_t)channels * 512, sizeof(float));
    uint64_t wrong = 0, f = 0;
    uint32_t x = seed ^ 0x9e3779b9u;
    while (f < total) {
        x ^= x << 13; x ^= x >> 17; x ^= x << 5;
        uint32_t n = x % 511 + 1;
        uint64_t fill = LOAD(&r->write) - r->read;
        if (fill == 0) { sched_yield(); continue; }
        if (n > fill) n = (uint32_t)fill;
        ks_ring_drain(r, out, n);
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t c = 0; c < channels; c++)
                if (out[(size_t)i * channels + c] != pattern(f + i, c)) wrong++;
        f += n;
    }
    pthread_join(writer, NULL);
    if (r->underruns) wrong++;
    free(out);
    ks_ring_free(r);
    return wrong;
}
