#ifndef KS_JACK_LINUX_H
#define KS_JACK_LINUX_H

#include "ring.h"

typedef struct ks_jack ks_jack;

// Opens a client of the running server. c is NULL without capture. Returns NULL, and in why the reason.
ks_jack *ks_jack_open(ks_ring *r, ks_capture *c, const char *device, const char *source, char *why, uint32_t size);
int      ks_jack_start(ks_jack *j);
void     ks_jack_close(ks_jack *j);
uint32_t ks_jack_rate(ks_jack *j);
uint32_t ks_jack_period(ks_jack *j);
uint64_t ks_jack_xruns(ks_jack *j);
uint32_t ks_jack_inputs(ks_jack *j);    // of the interface
uint32_t ks_jack_outputs(ks_jack *j);
// Frames from the callback to the interface's output, and from its input to the callback.
void     ks_jack_latency(ks_jack *j, uint32_t *out, uint32_t *in);

#endif
