/*
 * The two kinds of channel behind channel.h. A kind allocates a struct of its own that begins with a struct channel.
 * Owner, thread and failures as in channel.h.
 */
#pragma once

#include "cli/channel.h"

struct channel_kind {
	long (*send)(struct channel *c, const void *data, size_t len, struct err *err);
	long (*recv)(struct channel *c, void *data, size_t size, struct err *err);
	void (*close)(struct channel *c);
};

struct channel {
	const struct channel_kind *kind;
	int fd;
	bool ended;
};
