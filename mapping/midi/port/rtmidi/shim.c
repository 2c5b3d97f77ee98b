//go:build cgo && !nomidi

#include "shim.h"
#include "_cgo_export.h"

// The library's own interface in C, as gomidi compiles it.
extern const char *rtmidi_get_version(void);
extern ks_port *rtmidi_in_create(int api, const char *client, unsigned int queue);
extern ks_port *rtmidi_out_create(int api, const char *client);
extern void rtmidi_in_free(ks_port *p);
extern void rtmidi_out_free(ks_port *p);
extern unsigned int rtmidi_get_port_count(ks_port *p);
extern int rtmidi_get_port_name(ks_port *p, unsigned int index, char *name, int *size);
extern void rtmidi_open_port(ks_port *p, unsigned int index, const char *name);
extern void rtmidi_open_virtual_port(ks_port *p, const char *name);
extern void rtmidi_close_port(ks_port *p);
extern void rtmidi_in_set_callback(ks_port *p, void (*f)(double, const unsigned char *, size_t, void *), void *user);
extern void rtmidi_in_ignore_types(ks_port *p, bool sysex, bool time, bool sense);
extern int rtmidi_out_send_message(ks_port *p, const unsigned char *b, int n);

const char *ks_version(void) { return rtmidi_get_version(); }

// A port that could not be made is freed by its wrapper alone, which is small
// and stays: the library's own function would free what it did not make.
ks_port *ks_in(const char *client) {
	ks_port *p = rtmidi_in_create(0, client, 2);
	return p->ok ? p : NULL;
}

ks_port *ks_out(const char *client) {
	ks_port *p = rtmidi_out_create(0, client);
	return p->ok ? p : NULL;
}

// The port is closed first: that waits for the thread of the callback, which
// must find its data until then.
void ks_free_in(ks_port *p) {
	rtmidi_close_port(p);
	rtmidi_in_free(p);
}

void ks_free_out(ks_port *p) {
	rtmidi_close_port(p);
	rtmidi_out_free(p);
}

int ks_count(ks_port *p) {
	p->ok = true;
	unsigned int n = rtmidi_get_port_count(p);
	return p->ok ? (int)n : -1;
}

int ks_name(ks_port *p, int index, char *name, int size) {
	p->ok = true;
	name[0] = 0;
	rtmidi_get_port_name(p, index, name, &size);
	return p->ok && name[0] ? 0 : -1;
}

static void arrived(double at, const unsigned char *b, size_t n, void *user) {
	(void)at;
	ksArrived((uintptr_t)user, (void *)b, n);
}

int ks_open_in(ks_port *p, int index, const char *name, uintptr_t id) {
	p->ok = true;
	rtmidi_in_ignore_types(p, false, false, false);
	rtmidi_in_set_callback(p, arrived, (void *)id);
	if (index < 0)
		rtmidi_open_virtual_port(p, name);
	else
		rtmidi_open_port(p, index, name);
	return p->ok ? 0 : -1;
}

int ks_open_out(ks_port *p, int index, const char *name) {
	p->ok = true;
	if (index < 0)
		rtmidi_open_virtual_port(p, name);
	else
		rtmidi_open_port(p, index, name);
	return p->ok ? 0 : -1;
}

int ks_send(ks_port *p, const unsigned char *b, int n) {
	p->ok = true;
	rtmidi_out_send_message(p, b, n);
	return p->ok ? 0 : -1;
}
