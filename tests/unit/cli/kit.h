/*
 * For tests of the client: a temporary directory with a socket on which a child process plays a server by a script.
 * The directory and the child belong to the kit until kit_end(). A step whose request is another one than expected
 * makes the child end with 1, and kit_end() fail the test.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <sys/types.h>

#include "cli/client.h"

struct kit_step {
	const char *
	        expect; /* stands in the head or the body of the request; NULL: a connection that is closed at once */
	const char *answer; /* bytes as they are; "" sends nothing */
	size_t answer_len;  /* 0: strlen */
	bool drop;          /* the connection is closed behind the answer */
	bool slowly;        /* byte by byte */
};

struct kit {
	char dir[64];
	char socket[96];
	pid_t child;
	bool is_held; /* the child holds the directory, as a supervisor does */
	struct cli cli;
};

void kit_begin(struct kit *k); /* the directory; no server */
void kit_serve(struct kit *k, const struct kit_step *steps, size_t n);
void kit_end(struct kit *k);

/* What fn writes to standard output, in a static buffer. */
const char *kit_capture(void (*fn)(const void *data), const void *data);
char *kit_reply(int status, const char *body); /* with a Content-Length; to be freed */
