#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *code;
	int http_status;
	int exit_code;
} kinds[ERR_MAX] = {
        [ERR_NONE] = {"none", 200, 0},
#define ERR(name, code, http, exit) [ERR_##name] = {code, http, exit},
#include "../../tables/errors.def"
#undef ERR
};

NORETURN void bug_at(const char *file, int line, const char *what)
{
	fprintf(stderr, "berth: bug at %s:%d: %s\n", file, line, what);
	abort();
}

void err_fill(struct err *err, enum err_kind kind, const char *fmt, ...)
{
	va_list ap;

	err->kind = kind;
	err->sys = 0;
	err->hint[0] = '\0';
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
}

static enum err_kind kind_of_errno(int sys)
{
	switch (sys) {
	case ENOSPC:
	case EDQUOT:
		return ERR_NO_SPACE;
	case EACCES:
	case EPERM:
		return ERR_FORBIDDEN;
	case ENOENT:
		return ERR_NOT_FOUND;
	case ETIMEDOUT:
		return ERR_TIMEOUT;
	case ECONNREFUSED:
	case ECONNRESET:
	case EPIPE:
		return ERR_UNAVAILABLE;
	default:
		return ERR_IO;
	}
}

int err_sys(struct err *err, int sys, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	err->kind = kind_of_errno(sys);
	err->sys = sys;
	err->hint[0] = '\0';
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	n = strlen(err->text);
	snprintf(err->text + n, sizeof(err->text) - n, ": %s", strerror(sys));
	return -(int)err->kind;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	char inner[sizeof(err->text)];
	va_list ap;
	size_t n;

	memcpy(inner, err->text, sizeof(inner));
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	n = strlen(err->text);
	snprintf(err->text + n, sizeof(err->text) - n, ": %s", inner);
	return -(int)err->kind;
}

int err_hint(struct err *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
	return -(int)err->kind;
}

bool err_is_no_disk(const struct err *err)
{
	return err->kind == ERR_NO_SPACE || err->sys == EROFS;
}

const char *err_code(enum err_kind kind)
{
	return kind < ERR_MAX ? kinds[kind].code : "internal";
}

int err_http_status(enum err_kind kind)
{
	return kind < ERR_MAX ? kinds[kind].http_status : 500;
}

int err_exit_code(enum err_kind kind)
{
	return kind < ERR_MAX ? kinds[kind].exit_code : 1;
}

enum err_kind err_kind_find(const char *code)
{
	for (int k = ERR_NONE + 1; k < ERR_MAX; k++)
		if (strcmp(kinds[k].code, code) == 0)
			return (enum err_kind)k;
	return ERR_NONE;
}
