/*
 * For files of this folder only: the libuv loop behind a struct loop.
 * Borrowed from the loop. Its thread only. Never fails.
 */
#pragma once

#include "plat/loop.h"

#include <uv.h>

uv_loop_t *loop_uv(struct loop *loop);
/* An err from libuv's code, in the words of err_sys. */
MUST_CHECK PRINTF_LIKE(3, 4) int loop_uv_err(struct err *err, int uv_code, const char *fmt, ...);
