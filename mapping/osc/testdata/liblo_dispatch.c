/* Measures how long liblo takes to decode and dispatch one message.
 * Usage: liblo_dispatch ADDRESSES PATTERN ITERATIONS
 * Prints nanoseconds per message and how often the handler ran per message. */
#include <lo/lo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double sum;
static long calls;

static int handle(const char *path, const char *types, lo_arg **argv, int argc, lo_message msg, void *user)
{
	(void)path; (void)types; (void)argc; (void)msg; (void)user;
	sum += argv[0]->i;
	calls++;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: %s ADDRESSES PATTERN ITERATIONS\n", argv[0]);
		return 2;
	}
	int addresses = atoi(argv[1]);
	long iterations = atol(argv[3]);
	lo_server server = lo_server_new_with_proto(NULL, LO_UDP, NULL);
	if (!server)
		return 1;
	for (int i = 0; i < addresses; i++) {
		char path[64];
		snprintf(path, sizeof path, "/deployment/web%03d/replicas", i);
		lo_server_add_method(server, path, "i", handle, NULL);
	}
	lo_message m = lo_message_new();
	lo_message_add_int32(m, 5);
	size_t size;
	void *packet = lo_message_serialise(m, argv[2], NULL, &size);
	struct timespec a, b;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (long i = 0; i < iterations; i++)
		lo_server_dispatch_data(server, packet, size);
	clock_gettime(CLOCK_MONOTONIC, &b);
	double ns = (b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec);
	printf("%f %f\n", ns / iterations, (double)calls / iterations);
	return sum > 0 ? 0 : 1;
}
