/*
 * What a program says on stderr: one line per event, `level event key=value ...`, written in one piece.
 * Layer 5 logs, the layers below return errors. Nothing is owned. Any thread. Never fails: a line that nobody takes is lost.
 * Values that people or peers chose are put in quotes, through text_show.
 */
#pragma once

#include "base/cc.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_init(enum log_level level); /* info until then */
bool log_is_on(enum log_level level);

/* event: "link.open"; fmt: "url=\"%s\" tries=%u", never empty. A line ends at 1000 bytes. */
PRINTF_LIKE(2, 3) void log_error(const char *event, const char *fmt, ...);
PRINTF_LIKE(2, 3) void log_warn(const char *event, const char *fmt, ...);
PRINTF_LIKE(2, 3) void log_info(const char *event, const char *fmt, ...);
PRINTF_LIKE(2, 3) void log_debug(const char *event, const char *fmt, ...);
