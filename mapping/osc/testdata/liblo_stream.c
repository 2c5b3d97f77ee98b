/* A liblo client that is connected by TCP.
 * Usage: liblo_stream PORT FRAMING
 * FRAMING is 0 for sizes, 1 for SLIP with one END, 2 for SLIP with two.
 * Subscribes, sets a value, sends a bundle and asks for values; prints the
 * three messages that come back on the same connection. */
#include <lo/lo.h>
#include <lo/lo_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int heard;

static int print(const char *path, const char *types, lo_arg **argv, int argc, lo_message msg, void *user)
{
	(void)msg; (void)user;
	printf("%s", path);
	for (int i = 0; i < argc; i++) {
		printf(" ");
		lo_arg_pp((lo_type)types[i], argv[i]);
	}
	printf("\n");
	fflush(stdout);
	heard++;
	return 0;
}

static void fail(int num, const char *msg, const char *where)
{
	fprintf(stderr, "liblo: %d %s %s\n", num, msg ? msg : "", where ? where : "");
	exit(1);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: %s PORT FRAMING\n", argv[0]);
		return 2;
	}
	lo_server server = lo_server_new_with_proto(NULL, LO_TCP, fail);
	lo_address to = lo_address_new_with_proto(LO_TCP, "127.0.0.1", argv[1]);
	if (!server || !to)
		return 1;
	lo_address_set_stream_slip(to, atoi(argv[2]));
	lo_server_add_method(server, NULL, NULL, print, NULL);
	if (lo_send_from(to, server, LO_TT_IMMEDIATE, "/subscribe", "s", "/voice/xy") < 0)
		fail(lo_address_errno(to), lo_address_errstr(to), "/subscribe");
	/* 0xC0 and 0xDB in the bytes of a value: SLIP has to escape them. */
	lo_send_from(to, server, LO_TT_IMMEDIATE, "/voice/big", "h", (int64_t)0x00C0DB00C0DBDCDDLL);
	lo_send_from(to, server, LO_TT_IMMEDIATE, "/voice/big", "");
	lo_bundle b = lo_bundle_new(LO_TT_IMMEDIATE);
	lo_message m = lo_message_new();
	lo_message_add_string(m, "pulse");
	lo_bundle_add_message(b, "/voice/wave", m);
	lo_message q = lo_message_new();
	lo_bundle_add_message(b, "/voice/wave", q);
	lo_send_bundle_from(to, server, b);
	/* time() counts whole seconds, so one of them may be over at once. By SLIP
	 * a liblo before 0.32 hears nothing. */
	for (time_t end = time(NULL) + (atoi(argv[2]) ? 3 : 20); heard < 3 && time(NULL) < end;)
		lo_server_recv_noblock(server, 100);
	return 0;
}
