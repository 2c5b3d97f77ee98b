// The sample ring between the render goroutine (producer, Go) and the device thread (consumer, C).
// One producer, one consumer, interleaved float32, all of it in C memory so that no thread of the
// audio server ever touches the Go heap or the Go scheduler.
#ifndef KS_RING_H
#define KS_RING_H

#include <stdint.h>

#define KS_MAX_CHANNELS 64
#define KS_LAGS 65   // blocks that the ring may be short of its depth at a callback; the last one is that and more

// A sample in the ring: the bits of a float, or an integer that is left-justified.
typedef union { float f; int32_t i; } ks_cell;

// How many panics were asked for. All rings of a device have one, which outlives them: whoever
// receives a panic counts, and needs no ring for that.
typedef struct ks_panics { uint32_t asked __attribute__((aligned(64))); } ks_panics;

// The end of the process. Who sees it come sets dying; every ring that is drained then brings its outputs to
// 0 V, whatever its producer does, and keeps them there. As many have landed as are played: now it may come.
// Counts and no list, so that nothing that is freed meanwhile is looked at.
typedef struct ks_ending { uint32_t dying, playing, landed; } ks_ending;
extern ks_ending ks_end;
#define KS_LAND_MS 150   // that the end waits at most, should a device not call any more

typedef struct ks_ring {
    // Written by the producer.
    uint64_t write __attribute__((aligned(64)));
    uint64_t limit;     // most frames that the producer may keep in the ring: sets the latency
    uint32_t waiting;   // the producer sleeps on wake
    uint32_t answered;  // the panic up to which the producer has fallen silent; written after fresh
    uint64_t fresh;     // the ring's frame from which that is so
    // Written by the consumer; read by the producer and by Stats.
    uint64_t read __attribute__((aligned(64)));
    uint32_t wake;      // futex word, counts callbacks
    uint32_t stopped;   // the backend said that the device has stopped
    uint64_t callbacks;
    uint64_t frames;          // device frames asked for, underruns included
    uint64_t underruns;       // events: a shortage is one event however long it lasts
    uint64_t underrun_frames;
    uint64_t min_fill;        // lowest fill seen at a callback; the reader resets it
    uint64_t max_request;     // largest callback seen; the reader resets it
    uint64_t late;            // callbacks that came later than the device's own buffer lasts
    uint64_t lags[KS_LAGS];   // callbacks by how many blocks (block frames each) the ring was short of its limit
    int32_t  sched_policy;    // of the device thread
    int32_t  sched_priority;
    // Clock, published under seq (odd while it is being written).
    uint64_t seq __attribute__((aligned(64)));
    uint64_t clock_time;      // bits of a double: filtered monotonic time in seconds
    uint64_t clock_frame;     // device frame at that time
    uint64_t clock_period;    // bits of a double: seconds per frame
    uint64_t clock_missing;   // frames up to clock_frame that the ring did not have
    uint32_t ground;        // written by anyone: bring everything to 0 V now, and keep it there
    uint32_t at_ground;     // the answer: it is there
    // Consumer only.
    double   dll_time, dll_spf;
    uint64_t dll_frame, dll_start;
    uint64_t missing;       // frames that the device asked for and the ring did not have, from the start
    uint64_t gap_at;        // the ring's frame before which the last of them were missing; written before missing
    double   nominal_spf;
    ks_cell  last[KS_MAX_CHANNELS];  // what the output showed last
    ks_cell  hold[KS_MAX_CHANNELS];  // what a fade starts from
    uint32_t fade_left;   // frames until live data is at full level again
    uint32_t hold_left;   // frames until the held value is gone
    uint32_t fade_frames;
    uint32_t short_now, primed, first;
    uint64_t short_frames;  // frames that the present shortage has lasted
    uint32_t grounded;      // the shortage has lasted so long that everything is at 0 V, or was told to
    uint32_t ground_left;   // frames until it is
    uint32_t told;          // ground was seen
    uint32_t rested;        // frames handed on since it is there, as far as the device's own buffer is long
    uint32_t counted;       // in ks_end: 1 among those that are played, 2 also among those that have landed
    // A panic: what lies in the ring is not played on. The frames are taken at their time, so that clocks
    // go on, but audio fades and is silent, gates are low and other control voltages stand.
    uint32_t panic;         // the newest that was seen
    uint32_t muted;         // it is not answered, or the answer's frame is yet to come
    uint32_t mute_left, mute_frames;   // of the fade: what is left, and the whole of it
    uint32_t returning;     // control voltages come to the fresh frames in a fade, from where they stood
    // Constant after creation.
    uint32_t channels, capacity;
    uint64_t cv_mask;
    uint64_t gate_mask;     // of cv_mask: what falls at once where the others slew
    uint64_t exact_mask;    // of cv_mask, with integers: words, which are never computed with
    int32_t  gate_bits[KS_MAX_CHANNELS];   // of the words of exact_mask: which of their bits are gates
    ks_panics *panics;      // NULL: there are none
    uint32_t integers;      // cells and samples are int32_t, left-justified
    uint32_t ground_after, ground_frames;
    uint32_t block;         // frames of a block, for lags
    uint32_t late_periods;  // periods in the device's own buffer, for late
    uint64_t called;        // when the last callback came, ns; consumer only
    float   *data;
} ks_ring;

// What a device captured, on its way to the render goroutine: interleaved float32 by absolute frame.
// The device thread never waits and never asks how far the reader is; a reader that is later than
// the ring is long finds out by itself.
typedef struct ks_capture {
    uint64_t write __attribute__((aligned(64)));   // frames so far
    uint64_t callbacks;
    uint64_t lost;          // frames of them that the device had lost, and that hold the last value
    uint64_t max_push;      // largest callback
    uint64_t time;          // monotonic ns of the last one
    uint32_t stopped;
    uint32_t first;
    float    last[KS_MAX_CHANNELS];
    uint32_t channels, capacity;
    float   *data;
} ks_capture;

ks_capture *ks_capture_new(uint32_t channels, uint32_t capacity);
void        ks_capture_free(ks_capture *c);
// Takes frames interleaved frames. Device thread.
void        ks_capture_push(ks_capture *c, const float *in, uint32_t frames);
// The same for frames that the device has lost: they hold the last value. Device thread.
void        ks_capture_hold(ks_capture *c, uint32_t frames);

ks_ring *ks_ring_new(uint32_t channels, uint32_t capacity, uint64_t cv_mask, uint32_t fade_frames, double rate);
void     ks_ring_free(ks_ring *r);

// Makes a count of panics, which is never freed: the thread of a library that hangs may look at it for ever.
ks_panics *ks_panics_new(void);

// Fills out with frames frames of float, or of int32_t in a ring of integers. Device thread; no system call except waking a sleeping producer.
void ks_ring_drain(ks_ring *r, void *out, uint32_t frames);
// The same for a device that knows better than the clock when these frames were due (ks_now_ns), 0: it does
// not; and perhaps how long a frame lasts, in nanoseconds, 0: it does not. What knows both is believed.
void ks_ring_drain_at(ks_ring *r, void *out, uint32_t frames, uint64_t due_ns, double frame_ns);

// Blocks until need frames may be written, at most timeout_ms. Returns 1 when they may. Producer thread.
int  ks_ring_wait(ks_ring *r, uint32_t need, uint32_t timeout_ms);
// Makes the ring one of integers. Before use.
void ks_ring_integers(ks_ring *r, uint64_t exact_mask);
// Wakes the producer from any thread.
void ks_ring_wake(ks_ring *r);

// Lands before the process ends: sets dying, and waits. Async-signal-safe; Linux only.
void ks_land(void);

uint64_t ks_now_ns(void);   // monotonic

// Real-time priority of the calling thread. Returns 0 or an errno; *granted is the priority.
int ks_thread_fifo(int priority, int *granted);
// Notes the caller's scheduling in r and asks for SCHED_FIFO if it has none. Device thread, first call only;
// r is NULL on a thread that only captures.
void ks_device_thread_enter(ks_ring *r);

// The free-running device: a C thread that drains the ring in real time and hears nothing.
typedef struct ks_null ks_null;
ks_null *ks_null_start(ks_ring *r, uint32_t period, double rate, uint64_t since_ns);
void     ks_null_stop(ks_null *n);

// Stress: writes and drains total frames from two C threads; returns the number of wrong samples.
uint64_t ks_ring_stress(uint32_t channels, uint32_t capacity, uint64_t total, uint32_t seed);

#endif
