// The sample ring between the render goroutine (producer, Go) and the device thread (consumer, C).
// One producer, one consumer, interleaved float32, all of it in C memory so that no thread of the
// audio server ever touches the Go heap or the Go scheduler.
#ifndef KS_RING_H
#define KS_RING_H

#include <stdint.h>

#define KS_MAX_CHANNELS 64
#define KS_LAGS 65   // blocks that the ring may be short of its depth at a callback; the last one is that and more

typedef struct ks_ring {
    // Written by the producer.
    uint64_t write __attribute__((aligned(64)));
    uint64_t limit;     // most frames that the producer may keep in the ring: sets the latency
    uint32_t waiting;   // the producer sleeps on wake
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
    // Consumer only.
    double   dll_time, dll_spf;
    uint64_t dll_frame, dll_start;
    uint64_t missing;       // frames that the device asked for and the ring did not have, from the start
    double   nominal_spf;
    float    last[KS_MAX_CHANNELS];  // what the output showed last
    float    hold[KS_MAX_CHANNELS];  // what a fade starts from
    uint32_t fade_left;   // frames until live data is at full level again
    uint32_t hold_left;   // frames until the held value is gone
    uint32_t fade_frames;
    uint32_t short_now, primed, first;
    // Constant after creation.
    uint32_t channels, capacity;
    uint64_t cv_mask;
    uint32_t block;         // frames of a block, for lags
    uint32_t late_periods;  // periods in the device's own buffer, for late
    uint64_t called;        // when the last callback came, ns; consumer only
    float   *data;
} ks_ring;

ks_ring *ks_ring_new(uint32_t channels, uint32_t capacity, uint64_t cv_mask, uint32_t fade_frames, double rate);
void     ks_ring_free(ks_ring *r);

// Fills out with frames frames. Device thread; no system call except waking a sleeping producer.
void ks_ring_drain(ks_ring *r, float *out, uint32_t frames);
// The same for a device that knows better than the clock when these frames were due (ks_now_ns).
void ks_ring_drain_at(ks_ring *r, float *out, uint32_t frames, uint64_t due_ns);

// Blocks until need frames may be written, at most timeout_ms. Returns 1 when they may. Producer thread.
int  ks_ring_wait(ks_ring *r, uint32_t need, uint32_t timeout_ms);
// Wakes the producer from any thread.
void ks_ring_wake(ks_ring *r);

uint64_t ks_now_ns(void);   // monotonic

// Real-time priority of the calling thread. Returns 0 or an errno; *granted is the priority.
int ks_thread_fifo(int priority, int *granted);
// Notes the caller's scheduling in r and asks for SCHED_FIFO if it has none. Device thread, first call only.
void ks_device_thread_enter(ks_ring *r);

// The free-running device: a C thread that drains the ring in real time and hears nothing.
typedef struct ks_null ks_null;
ks_null *ks_null_start(ks_ring *r, uint32_t period, double rate, uint64_t since_ns);
void     ks_null_stop(ks_null *n);

// Stress: writes and drains total frames from two C threads; returns the number of wrong samples.
uint64_t ks_ring_stress(uint32_t channels, uint32_t capacity, uint64_t total, uint32_t seed);

#endif
