/*
 * Frames on a console: the Unix socket of a keeper (terminal, exec), and the WebSocket of `attach` and `exec`.
 * Unix socket: type byte, uint32 length in network order, payload. WebSocket: one binary message each, type byte,
 * payload. Nothing owned; libc only.
 *
 * A keeper takes up to 16 clients from root and its own account. Who comes late to a terminal is first sent its last
 * 64 KiB. A client that shuts either direction down, sends nonsense, or does not read is gone. The console of an exec takes
 * one client: what it runs is held up while that one is slow, waits 30 s for it to come, and ends when it is gone.
 */
#pragma once

#include "base/buf.h"

#define CONSOLE_FRAME_MAX (64 * KIB)

enum console_frame {
	CONSOLE_STDIN = 0,
	CONSOLE_STDOUT = 1, /* a terminal sends all as stdout */
	CONSOLE_STDERR = 2,
	CONSOLE_STDIN_EOF = 3,
	CONSOLE_RESIZE = 4, /* payload: uint16 rows, uint16 columns, network order */
	CONSOLE_EXIT = 5,  /* int32 exit code (128+n for a signal), network order; the last frame */
	CONSOLE_ERROR = 6, /* payload: text; it could not be done; the last frame */
};

static inline void console_put(
        struct buf *b, enum console_frame type, const void *data, uint32_t len)
{
	uint8_t head[5] = {(uint8_t)type, (uint8_t)(len >> 24), (uint8_t)(len >> 16),
	        (uint8_t)(len >> 8), (uint8_t)len};

	buf_add(b, head, sizeof(head));
	buf_add(b, data, len);
}
