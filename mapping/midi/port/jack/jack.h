// A client of JACK for MIDI in both directions, whose process callback never enters Go.
//
// What it needs of JACK is declared in jack.c and found at run time, so that neither headers nor a
// library are needed to build or start. Each client is one kj: it has one ring of what arrived, read
// by one thread, and each output port has a ring of what is to be sent, written by one thread at a
// time. Nothing on the JACK side allocates, locks or waits; it wakes the reader at most once a cycle.
#ifndef KJ_JACK_H
#define KJ_JACK_H

#include <stdint.h>

#define KJ_PORTS 128        // ports of one client, in each direction

typedef struct kj kj;
typedef struct kj_port kj_port;

// Counters of an output port; all only grow.
typedef struct {
    uint64_t sent;          // messages that JACK took
    uint64_t late;          // of them: whose frame had passed by more than one
    uint64_t late_max_ns;   // the worst of these
    uint64_t deferred;      // cycles that ended because JACK's buffer was full
    uint64_t unfit;         // messages that no buffer of this server can hold
    uint64_t early;         // messages that were hurried
    uint64_t repeated;      // note-offs that were sent again, in case they had been lost
} kj_out_stats;

// Counters of a client.
typedef struct {
    uint64_t cycles;
    uint64_t received;
    uint64_t dropped;       // arrived while the ring was full; never a note-off
    uint64_t owed;          // note-offs that waited in JACK's stead until the ring had room
    uint64_t lost;          // messages that JACK says its own buffers lost
    uint64_t xruns;
    uint64_t strayed;       // cycles in which JACK's clock was not believed, and ours was used
    uint64_t busy_max_ns;   // the longest process callback
    uint32_t period;        // frames
    uint32_t rate;          // Hz
    uint32_t payload;       // bytes that one cycle of a port holds at most
} kj_stats;

uint64_t kj_now_ns(void);

// Finds the library; NULL, or why it cannot be used. May be called again.
const char *kj_load(void);
// The newest message that the library wanted to print, or "".
void kj_message(char *out, uint32_t size);

// Opens a client with a ring for at least bytes bytes of input, and activates it. NULL when there is
// no server or it refuses; status is then JACK's. It does not start a server.
kj *kj_open(const char *name, const char *server, uint32_t bytes, int *status);
const char *kj_name(kj *k);
// Closes the client and gives everything back, ports too. May wait for the server.
void kj_close(kj *k);

// Whether the server has gone or has thrown the client out; why is then JACK's word for it.
int kj_dead(kj *k);
const char *kj_why(kj *k);
// Grows by one with each change of the graph: ports, connections, buffer size.
uint32_t kj_graph(kj *k);
// How many ports of any client have gone.
uint32_t kj_unregistered(kj *k);
void kj_read_stats(kj *k, kj_stats *s);

// Adds a port. bytes is what its ring holds, for an output. NULL when JACK refuses (the name is taken).
kj_port *kj_add(kj *k, const char *name, int output, uint32_t id, uint32_t bytes);
// Takes a port out of the callback and out of JACK.
void kj_remove(kj *k, kj_port *p);
const char *kj_port_full_name(kj_port *p);

// Output, one thread at a time. kj_stage lays a message at the end of the ring: 0, or -1 when it has
// no room; what ends a sound may use the last quarter. kj_commit hands all that was staged to JACK,
// kj_abandon takes it back. at_ns is CLOCK_MONOTONIC, 0 is as soon as possible.
int kj_stage(kj_port *p, uint64_t at_ns, const uint8_t *bytes, uint32_t size);
void kj_commit(kj_port *p);
void kj_abandon(kj_port *p);
// Whatever was committed goes out in the next cycle, whatever its time.
void kj_hurry(kj_port *p);
// Asks for what has ended a moment ago to be ended again, two cycles from now; and whether it still
// is to be. It also happens when the graph is ordered anew, and after gaps.
void kj_repeat(kj_port *p);
int kj_repeating(kj_port *p);
// Bytes that are committed and not sent yet.
uint64_t kj_waiting(kj_port *p);
// The notes that sound by what JACK was given: bit n%64 of sounding[2*channel+n/64]. pedals: bit
// channel is set when sustain is down.
void kj_sounding(kj_port *p, uint64_t sounding[32], uint32_t *pedals);
void kj_read_out_stats(kj_port *p, kj_out_stats *s);

// Input, one thread. Waits for input, a change of the graph, the client's death or kj_wake; copies
// whole records into out and returns their bytes. A record is: uint64 time (CLOCK_MONOTONIC, ns),
// uint32 id of the port, uint32 size, then the bytes, padded to a multiple of 8.
int kj_wait(kj *k, uint32_t timeout_ms);
uint32_t kj_read(kj *k, uint8_t *out, uint32_t room);
void kj_wake(kj *k);

// The graph. Names are separated by zero bytes and the list ends with an empty one; free with kj_free.
// flags of a port: 1 it receives, 2 it sends, 4 it is of hardware.
char *kj_ports(kj *k, unsigned long flags);
char *kj_connections(kj *k, kj_port *p);
// The cables that were laid to ports of this client since the last call, pairs of sender and receiver,
// among them those that are gone again.
char *kj_laid(kj *k);
int kj_exists(kj *k, const char *name);
// The first alias of a port of hardware, or "".
void kj_alias(kj *k, const char *name, char *out, uint32_t size);
int kj_connect(kj *k, const char *from, const char *to);
int kj_disconnect(kj *k, const char *from, const char *to);
void kj_free(void *p);

#endif
