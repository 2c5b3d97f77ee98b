#ifndef KS_CRASH_LINUX_H
#define KS_CRASH_LINUX_H

#include "ring.h"

// Has faults on threads that Go does not know land first, and then do what they do without this.
void ks_catch_faults(void);

#endif
