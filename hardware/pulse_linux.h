#ifndef KS_PULSE_LINUX_H
#define KS_PULSE_LINUX_H

#include <stdint.h>

// What a PulseAudio server says of a sink or a source.
typedef struct {
    char     name[128];
    int      format;             // PulseAudio's number
    uint32_t rate, channels;
    int      order;              // which of PulseAudio's standard orders its channels have, -1: none
    int      plain_volume;       // 100 %, not muted
    char     map[512];           // positions, for people
} ks_pulse_facts;

// Asks for the sink, or source, of that name (NULL: the default). channels is what will be opened.
// Returns 0, or -1 when there is no answer.
int ks_pulse_ask(const char *name, int source, uint32_t channels, ks_pulse_facts *facts);

#endif
