/*
 * The one error type: a kind from tables/errors.def, the errno behind it, and the whole story in one line.
 * Owned by the caller, filled by the callee, holds no memory to release. Any thread. Never fails itself.
 *
 * A function that can fail returns 0 or a negative kind and takes `struct err *err` last; err is never NULL
 * and is touched only on failure. Out-parameters are `ret_`, set only on success.
 */
#pragma once

#include "base/cc.h"

enum err_kind {
	ERR_NONE = 0,
#define ERR(name, code, http, exit) ERR_##name,
#include "../../tables/errors.def"
#undef ERR
	ERR_MAX
};

struct err {
	enum err_kind kind;
	int sys;        /* errno behind it, or 0 */
	char text[400]; /* outermost context first: "opening store 'x': disk is full" */
	char hint[200]; /* the next step, or "" */
};

/* Fill err; all return -(int)kind so that failing is one line. */
#define err_set(err, kind, ...) (err_fill((err), (kind), __VA_ARGS__), -(int)(kind))
/* What err_set() does before it returns; a macro, so that the compiler sees that failing is never 0. */
PRINTF_LIKE(3, 4) void err_fill(struct err *err, enum err_kind kind, const char *fmt, ...);
/*
 * The same with errno: its text is appended. ENOSPC, EDQUOT become NO_SPACE; EACCES, EPERM FORBIDDEN; ENOENT NOT_FOUND;
 * ETIMEDOUT TIMEOUT; ECONNREFUSED, ECONNRESET, EPIPE UNAVAILABLE; the rest IO.
 */
MUST_CHECK PRINTF_LIKE(3, 4) int err_sys(struct err *err, int sys, const char *fmt, ...);
/* Puts context before the text that is there: "CONTEXT: text". */
MUST_CHECK PRINTF_LIKE(2, 3) int err_wrap(struct err *err, const char *fmt, ...);
/* Says the next step; returns -(int)err->kind. */
MUST_CHECK PRINTF_LIKE(2, 3) int err_hint(struct err *err, const char *fmt, ...);

/* The disk takes nothing: it is full, a quota is, or it may only be read. That passes. */
bool err_is_no_disk(const struct err *err);

const char *err_code(enum err_kind kind);      /* "not_found" */
int err_http_status(enum err_kind kind);       /* 404 */
int err_exit_code(enum err_kind kind);         /* 1 */
enum err_kind err_kind_find(const char *code); /* ERR_NONE when unknown */
