/*
 * Files that tools/embed built into a program: `extern const struct embed_file SYMBOL[]`, ended by a NULL name.
 * Static data, owned by the program. Any thread. Nothing fails.
 */
#pragma once

#include "base/cc.h"

struct embed_file {
	const char *name;    /* without its folder */
	const uint8_t *data; /* a NUL follows that is not counted, so that a text is a string */
	size_t len;
};
