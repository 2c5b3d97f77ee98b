//go:build !gocallback

// Faults of C code on threads that Go does not know, such as those of an audio library (see crash_linux.go).
#define _GNU_SOURCE
#include "crash_linux.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static struct sigaction runtimes[NSIG];   // what Go's runtime has installed

static void fault(int sig, siginfo_t *info, void *context)
{
    int err = errno;
    // Go gives each of its threads a signal stack, and a thread of C has none. On Go's own it may be a nil
    // pointer, which a program recovers from; where it is not, the runtime says so before it ends.
    stack_t s;
    if (sigaltstack(NULL, &s) == 0 && s.ss_flags & SS_DISABLE) ks_land();
    errno = err;
    runtimes[sig].sa_sigaction(sig, info, context);
}

void ks_catch_faults(void)
{
    // abort raises SIGABRT on its own thread.
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        int s = faults[i];
        struct sigaction a;
        memset(&a, 0, sizeof a);
        a.sa_sigaction = fault;
        a.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;   // as Go's
        sigfillset(&a.sa_mask);
        if (sigaction(s, NULL, &runtimes[s]) == 0 && runtimes[s].sa_flags & SA_SIGINFO) sigaction(s, &a, NULL);
    }
}
