#include "plat/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static atomic_int log_max = LOG_INFO;

void log_init(enum log_level level)
{
	atomic_store(&log_max, (int)level);
}

bool log_is_on(enum log_level level)
{
	return (int)level <= atomic_load(&log_max);
}

static void put_line(enum log_level level, const char *event, const char *fmt, va_list ap)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	char line[1024];
	size_t n;

	if (!log_is_on(level))
		return;
	n = (size_t)snprintf(line, sizeof(line) / 2, "%s %s ", names[level], event);
	n = MIN(n, sizeof(line) / 2 - 1);
	n += (size_t)vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	n = MIN(n, sizeof(line) - 2);
	/* A text with a line break in it must not make a line of its own. */
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < ' ')
			line[i] = ' ';
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return;
}

#define LOG_FUNCTION(name, level)                          \
	void name(const char *event, const char *fmt, ...) \
	{                                                  \
		va_list ap;                                \
                                                           \
		va_start(ap, fmt);                         \
		put_line(level, event, fmt, ap);           \
		va_end(ap);                                \
	}

LOG_FUNCTION(log_error, LOG_ERROR)
LOG_FUNCTION(log_warn, LOG_WARN)
LOG_FUNCTION(log_info, LOG_INFO)
LOG_FUNCTION(log_debug, LOG_DEBUG)
