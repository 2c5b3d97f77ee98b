#ifndef KS_CALLBACK_LINUX_H
#define KS_CALLBACK_LINUX_H

#include "ring.h"

void ks_data_callback(void *device, void *out, const void *in, uint32_t frames);
void ks_capture_callback(void *device, void *out, const void *in, uint32_t frames);
void ks_stop_callback(void *device);
int  ks_bad_layout(void);

// The next device that is configured asks PulseAudio for channels in this order.
#define KS_STREAM_NAME "k8s-synth"
void ks_want_pulse_order(int order);

uint32_t ks_messages(void);
void ks_message(uint32_t index, char *out, uint32_t size);
void ks_quiet_libraries(void);

#endif
