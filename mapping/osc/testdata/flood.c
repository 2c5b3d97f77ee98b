/* Sends one datagram again and again, 64 with each system call.
 * Usage: flood PORT SECONDS < DATAGRAM
 * Prints how many it has sent. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static char packet[65536];
	if (argc != 3) {
		fprintf(stderr, "usage: %s PORT SECONDS\n", argv[0]);
		return 2;
	}
	size_t size = fread(packet, 1, sizeof packet, stdin);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
		return 1;
	struct iovec part = {.iov_base = packet, .iov_len = size};
	struct mmsghdr many[64];
	memset(many, 0, sizeof many);
	for (int i = 0; i < 64; i++) {
		many[i].msg_hdr.msg_iov = &part;
		many[i].msg_hdr.msg_iovlen = 1;
	}
	long sent = 0;
	for (double end = now() + atof(argv[2]); now() < end;) {
		int n = sendmmsg(fd, many, 64, 0);
		if (n > 0)
			sent += n;
	}
	printf("%ld\n", sent);
	return 0;
}
