#ifndef KS_ALSA_LINUX_H
#define KS_ALSA_LINUX_H

#include "ring.h"

typedef struct ks_alsa ks_alsa;

// Opens raw cards: play for r, source for c; either pair may be NULL. With both, one thread serves them,
// and frame n of c is captured while frame n of r is handed over. Returns NULL, and in why the reason;
// *nearest is then the nearest rate if that is what was wrong, UINT32_MAX if no format carries words, else 0.
ks_alsa *ks_alsa_open(ks_ring *r, const char *play, ks_capture *c, const char *source, uint32_t rate, uint32_t period, uint32_t periods,
                      uint32_t *nearest, char *why, uint32_t size);
int      ks_alsa_start(ks_alsa *a);
// Ends the thread and closes; it does not wait for a card that is gone.
void     ks_alsa_close(ks_alsa *a);
uint32_t ks_alsa_period(ks_alsa *a);
uint32_t ks_alsa_buffer(ks_alsa *a);     // frames between a frame's handing over and its output
uint32_t ks_alsa_channels(ks_alsa *a, int capture);
uint64_t ks_alsa_xruns(ks_alsa *a);
int      ks_alsa_linked(ks_alsa *a);     // both directions start at the same frame
const char *ks_alsa_format(ks_alsa *a);  // of playback

#endif
