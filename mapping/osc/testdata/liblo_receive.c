/* A liblo server that counts.
 * Usage: liblo_receive udp|tcp ADDRESSES
 * Prints its port; after half a second without a message, how many it has
 * handled and in how many seconds from the first to the last. */
#include <lo/lo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static long calls;
static double sum, first, last;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int handle(const char *path, const char *types, lo_arg **argv, int argc, lo_message msg, void *user)
{
	(void)path; (void)types; (void)argc; (void)msg; (void)user;
	sum += argv[0]->i;
	if (calls++ == 0)
		first = now();
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: %s udp|tcp ADDRESSES\n", argv[0]);
		return 2;
	}
	lo_server server = lo_server_new_with_proto(NULL, strcmp(argv[1], "tcp") ? LO_UDP : LO_TCP, NULL);
	if (!server)
		return 1;
	for (int i = 0; i < atoi(argv[2]); i++) {
		char path[64];
		snprintf(path, sizeof path, "/deployment/web%03d/replicas", i);
		lo_server_add_method(server, path, "i", handle, NULL);
	}
	printf("%d\n", lo_server_get_port(server));
	fflush(stdout);
	double began = now();
	for (;;) {
		if (lo_server_recv_noblock(server, 100) > 0)
			last = now();
		else if ((calls > 0 && now() - last > 0.5) || now() - began > 30)
			break;
	}
	printf("%ld %f\n", calls, last - first);
	return 0;
}
