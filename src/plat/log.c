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

/* A line break makes no line of its own, and no terminal that shows the log obeys it: not C0, DEL, nor C1 in UTF-8. */
static void make_harmless(char *line, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)line[i];
		unsigned char next = i + 1 < n ? (unsigned char)line[i + 1] : 0;

		if (c < ' ' || c == 0x7f)
			line[i] = ' ';
		else if (c == 0xc2 && next >= 0x80 && next < 0xa0)
			line[i] = line[i + 1] = ' ';
	}
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
	make_harmless(line, n);
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
