#ifndef KS_SHIM_H
#define KS_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What RtMidi 6 hands out (rtmidi_c.h). Its msg points to freed memory after
// an error, so it is never read.
typedef struct RtMidiWrapper {
	void *ptr;
	void *data;
	bool ok;
	const char *msg;
} ks_port;

const char *ks_version(void);

ks_port *ks_in(const char *client);
ks_port *ks_out(const char *client);
void ks_free_in(ks_port *p);
void ks_free_out(ks_port *p);

int ks_count(ks_port *p);
int ks_name(ks_port *p, int index, char *name, int size);

// index -1 opens a virtual port. Both return 0, or -1.
int ks_open_in(ks_port *p, int index, const char *name, uintptr_t id);
int ks_open_out(ks_port *p, int index, const char *name);
int ks_send(ks_port *p, const unsigned char *b, int n);

#endif
