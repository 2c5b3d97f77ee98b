// When a cycle of a JACK server began. The audio client and the MIDI client both ask here, so what a
// message says of its frame is the same frame of the sound, whatever the server's clock is worth: their
// errors are one, and cancel. With a clock filtered from each client's own callbacks a server that had
// stumbled by a period was believed only after seconds (messages were off by up to 60 frames of 48 kHz).
#ifndef KS_JACK_CLOCK_H
#define KS_JACK_CLOCK_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

// The CLOCK_MONOTONIC time of a cycle's first frame, and how long a frame lasts; nanoseconds.
typedef struct { double start_ns, frame_ns; } ks_jack_cycle;

// What is asked of the library. All of it is called in the process callback only.
typedef struct {
    int (*get_cycle_times)(const void *client, uint32_t *frame, uint64_t *start, uint64_t *next, float *period);  // may be NULL
    uint32_t (*last_frame_time)(const void *client);
    uint64_t (*frames_to_time)(const void *client, uint32_t);
    uint64_t (*get_time)(void);
} ks_jack_time;

typedef struct {
    double offset_ns;       // JACK's clock to CLOCK_MONOTONIC
    int offset_known;
    ks_jack_cycle own;
    uint32_t own_frames;    // of the last cycle
    double own_age;         // ns since it began anew
    uint32_t own_off;       // cycles in a row that were not where it expected them
    uint32_t left;          // JACK's clock is not believed
    uint32_t doubt;         // cycles in a row that spoke against what is believed
    uint64_t strayed;       // cycles in which JACK's clock was not believed, and ours was used
} ks_jack_clock;

// A clock of our own from the times of the callbacks: a second-order delay-locked loop (F. Adriaensen,
// "Using a DLL to filter time", 2005). It is coarser than JACK's, which is fed by the interrupt, but
// starts anew where time has jumped: one callback that comes late is passed over, two are the truth.
static inline ks_jack_cycle ks_jack_own_clock(ks_jack_clock *k, uint32_t rate, uint32_t frames, uint64_t now)
{
    double nominal = 1e9 / (rate ? rate : 48000), period = nominal * frames;
    double expect = k->own.start_ns + k->own.frame_ns * k->own_frames;
    double e = (double)now - expect;
    int off = k->own_frames != 0 && fabs(e) > (period > 3e6 ? period : 3e6);
    if (k->own_frames == 0 || (off && k->own_off > 0)) {
        k->own = (ks_jack_cycle){(double)now, nominal};
        k->own_age = 0;
        off = 0;
    } else if (off) {
        k->own.start_ns = expect;
    } else {
        double w = 2 * M_PI * (k->own_age < 2e9 ? 1.0 : 0.2) * period * 1e-9;
        if (w > 0.5) w = 0.5;
        k->own.start_ns = expect + 1.41421356237 * w * e;
        k->own.frame_ns += w * w * e / frames;
        if (k->own.frame_ns < nominal * 0.99) k->own.frame_ns = nominal * 0.99;
        if (k->own.frame_ns > nominal * 1.01) k->own.frame_ns = nominal * 1.01;
        k->own_age += period;
    }
    k->own_off = off ? k->own_off + 1 : 0;
    k->own_frames = frames;
    return k->own;
}

// The cycle of frames frames in which the callback runs; now() reads CLOCK_MONOTONIC in nanoseconds, and
// began is what it read as the callback began. Once a cycle.
static inline ks_jack_cycle ks_jack_cycle_times(ks_jack_clock *k, const ks_jack_time *jack, const void *client,
                                                uint32_t rate, uint32_t frames, uint64_t (*now)(void), uint64_t began)
{
    // JACK's clock may be another one than ours (it may be the raw one): the distance is measured
    // between two readings of ours, and smoothed, for JACK's is whole microseconds.
    for (int try = 0; try < 3; try++) {
        uint64_t a = now(), j = jack->get_time(), b = now();
        if (b - a > 3000 && try < 2) continue;
        double offset = (double)(int64_t)(a + (b - a) / 2 - j * 1000u) - 500;
        if (!k->offset_known || fabs(offset - k->offset_ns) > 1e6) k->offset_ns = offset;
        else if (b - a <= 3000) k->offset_ns += (offset - k->offset_ns) / 16;
        k->offset_known = 1;
        break;
    }
    ks_jack_cycle own = ks_jack_own_clock(k, rate, frames, began), c;
    uint32_t frame;
    uint64_t start, next;
    float period;
    if (jack->get_cycle_times != NULL) {
        if (jack->get_cycle_times(client, &frame, &start, &next, &period) != 0 || next <= start) return own;
        c.frame_ns = (double)(next - start) * 1000 / frames;
    } else {
        start = jack->frames_to_time(client, jack->last_frame_time(client));
        c.frame_ns = own.frame_ns;
    }
    c.start_ns = (double)start * 1000 + k->offset_ns;
    // After a stall (a client that died in its callback is enough) JACK's clock takes seconds to come
    // back to the truth, and runs fast or slow meanwhile. What it errs by moves what comes by other ways
    // than JACK, so it is left where that is much; not for less, for messages of JACK are exact by it. It
    // is believed again when the step is small, for the two clients do not take it in the same cycle.
    double apart = fabs(c.start_ns - own.start_ns), bent = fabs(c.frame_ns / own.frame_ns - 1);
    if (!k->left) {
        k->doubt = apart > 7e6 ? k->doubt + 1 : 0;
        if (k->doubt > 4) k->left = 1, k->doubt = 0;
    } else {
        k->doubt = apart < 0.4e6 && bent < 0.005 ? k->doubt + 1 : 0;
        if (k->doubt > 8) k->left = 0, k->doubt = 0;
    }
    if (k->left) {
        __atomic_store_n(&k->strayed, k->strayed + 1, __ATOMIC_RELEASE);
        return own;
    }
    return c;
}

#endif
