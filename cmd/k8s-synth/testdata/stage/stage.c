// A JACK client for the end-to-end tests of surfaces: it says on which frame
// every MIDI message arrives, sends on the frames that it is told, and keeps
// what it hears. It shares nothing with the instrument.
//
//   stage NAME N FILE    makes NAME:in and NAME:out, and NAME:audio_1 … N,
//                        whose frames it writes to FILE, interleaved floats
//   prints               ready FRAME        the first frame of FILE
//                        E FRAME HEX        a message
//                        N FRAME            the answer to now
//                        X FRAME            frames are missing before it
//   reads                now
//                        at FRAME HEX       in order; what is late goes at once
#include <jack/jack.h>
#include <jack/midiport.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_AUDIO 8
#define ROOM (1u << 14)   // messages
#define SOUND (1u << 21)  // floats

typedef struct { uint32_t frame, size; uint8_t bytes[24]; } message;
// Each ring has one writer and one reader.
typedef struct { message m[ROOM]; uint32_t write, read; } ring;

static jack_client_t *client;
static jack_port_t *in, *out, *audio[MAX_AUDIO];
static int channels;
static ring heard, said, gaps;
static float sound[SOUND];
static uint64_t sound_write, sound_read;
static uint32_t first_frame, next_frame, now_frame;
static int begun;

static int put(ring *r, const message *m)
{
    uint32_t w = r->write;
    if (w - __atomic_load_n(&r->read, __ATOMIC_ACQUIRE) == ROOM) return 0;
    r->m[w % ROOM] = *m;
    __atomic_store_n(&r->write, w + 1, __ATOMIC_RELEASE);
    return 1;
}

static message *front(ring *r)
{
    return r->read == __atomic_load_n(&r->write, __ATOMIC_ACQUIRE) ? NULL : &r->m[r->read % ROOM];
}

static void pop(ring *r) { __atomic_store_n(&r->read, r->read + 1, __ATOMIC_RELEASE); }

static int process(jack_nframes_t n, void *arg)
{
    (void)arg;
    uint32_t first = jack_last_frame_time(client);
    if (begun && first != next_frame) {
        message gap = {.frame = first};
        put(&gaps, &gap);
    }
    if (!begun) {
        first_frame = first;
        __atomic_store_n(&begun, 1, __ATOMIC_RELEASE);
    }
    next_frame = first + n;
    __atomic_store_n(&now_frame, first, __ATOMIC_RELEASE);

    void *b = jack_port_get_buffer(in, n);
    uint32_t count = jack_midi_get_event_count(b);
    for (uint32_t i = 0; i < count; i++) {
        jack_midi_event_t e;
        if (jack_midi_event_get(&e, b, i) != 0) continue;
        message m = {.frame = first + e.time, .size = (uint32_t)e.size};
        memcpy(m.bytes, e.buffer, e.size < sizeof m.bytes ? e.size : sizeof m.bytes);
        put(&heard, &m);
    }
    b = jack_port_get_buffer(out, n);
    jack_midi_clear_buffer(b);
    uint32_t floor = 0;
    for (message *m; (m = front(&said)) != NULL; pop(&said)) {
        int32_t at = (int32_t)(m->frame - first);
        if (at >= (int32_t)n) break;
        if (at < (int32_t)floor) at = (int32_t)floor;
        if (jack_midi_event_write(b, (uint32_t)at, m->bytes, m->size) != 0) break;
        floor = (uint32_t)at;
    }
    if (channels > 0) {
        float *from[MAX_AUDIO];
        for (int c = 0; c < channels; c++) from[c] = jack_port_get_buffer(audio[c], n);
        uint64_t w = sound_write;
        if (w + (uint64_t)n * (uint64_t)channels - __atomic_load_n(&sound_read, __ATOMIC_ACQUIRE) > SOUND) _exit(4);
        for (uint32_t i = 0; i < n; i++)
            for (int c = 0; c < channels; c++) sound[w++ % SOUND] = from[c][i];
        __atomic_store_n(&sound_write, w, __ATOMIC_RELEASE);
    }
    return 0;
}

static void gone(void *arg) { (void)arg; _exit(3); }

static void command(const char *s)
{
    message m;
    int at;
    if (strcmp(s, "now") == 0) printf("N %u\n", __atomic_load_n(&now_frame, __ATOMIC_ACQUIRE));
    else if (sscanf(s, "at %u %n", &m.frame, &at) == 1) {
        unsigned v;
        m.size = 0;
        for (s += at; m.size < sizeof m.bytes && sscanf(s, "%2x", &v) == 1; s += 2) m.bytes[m.size++] = (uint8_t)v;
        if (!put(&said, &m)) fprintf(stderr, "stage: too much is to be sent\n");
    }
}

int main(int argc, char **argv)
{
    FILE *file = NULL;
    if (argc > 3) {
        channels = atoi(argv[2]);
        if (channels > MAX_AUDIO || (file = fopen(argv[3], "wb")) == NULL) return 2;
    }
    if (argc < 2 || (client = jack_client_open(argv[1], JackNoStartServer | JackUseExactName, NULL)) == NULL) return 1;
    jack_set_process_callback(client, process, NULL);
    jack_on_shutdown(client, gone, NULL);
    in = jack_port_register(client, "in", JACK_DEFAULT_MIDI_TYPE, JackPortIsInput, 0);
    out = jack_port_register(client, "out", JACK_DEFAULT_MIDI_TYPE, JackPortIsOutput, 0);
    for (int c = 0; c < channels; c++) {
        char name[32];
        snprintf(name, sizeof name, "audio_%d", c + 1);
        audio[c] = jack_port_register(client, name, JACK_DEFAULT_AUDIO_TYPE, JackPortIsInput, 0);
    }
    if (jack_activate(client) != 0) return 1;
    while (!__atomic_load_n(&begun, __ATOMIC_ACQUIRE)) usleep(1000);
    printf("ready %u\n", first_frame);
    fflush(stdout);

    static char line[1 << 16];
    size_t have = 0;
    for (int open = 1; open;) {
        struct pollfd f = {0, POLLIN, 0};
        if (poll(&f, 1, 2) > 0) {
            ssize_t n = read(0, line + have, sizeof line - have - 1);
            open = n > 0;
            if (n > 0) have += (size_t)n;
            line[have] = 0;
            char *s = line, *e;
            while ((e = strchr(s, '\n')) != NULL) {
                *e = 0;
                command(s);
                s = e + 1;
            }
            have = strlen(s);
            memmove(line, s, have + 1);
        }
        for (message *m; (m = front(&heard)) != NULL; pop(&heard)) {
            printf("E %u ", m->frame);
            for (uint32_t i = 0; i < m->size && i < sizeof m->bytes; i++) printf("%02x", m->bytes[i]);
            putchar('\n');
        }
        for (message *m; (m = front(&gaps)) != NULL; pop(&gaps)) printf("X %u\n", m->frame);
        uint64_t w = __atomic_load_n(&sound_write, __ATOMIC_ACQUIRE);
        for (uint64_t r = sound_read; r < w;) {
            uint64_t some = w - r, wrap = SOUND - r % SOUND;
            if (some > wrap) some = wrap;
            if (fwrite(sound + r % SOUND, sizeof *sound, some, file) != some) return 5;
            r += some;
            __atomic_store_n(&sound_read, r, __ATOMIC_RELEASE);
        }
        fflush(stdout);
        if (file != NULL) fflush(file);
    }
    jack_client_close(client);
    return 0;
}
