#include "bench/bench.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool bench_fail(struct bench *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(b->why, sizeof b->why, fmt, ap);
	va_end(ap);
	return false;
}

/* Drivers and loaders say what they like: what JSON has no form for, or a terminal acts on, is '?'. */
static void put_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		putchar(*s >= ' ' && *s < 127 ? *s : '?');
	}
	putchar('"');
}

static void put_pair(const char *key, const char *value)
{
	printf(", \"%s\": ", key);
	if (value)
		put_string(value);
	else
		fputs("null", stdout);
}

static void put_row(const struct bench *b, const char *figure)
{
	printf("{\"section\": \"%s\"", b->section);
	put_pair("figure", figure);
}

void bench_head(const struct bench *b)
{
	printf("{\"device\": \"%s\"", b->uuid);
	put_pair("model", b->model);
	put_pair("driver", b->driver);
	put_pair("cuda", b->cuda);
	printf(", \"simulated\": %s, \"quick\": %s, \"mem_bytes\": %llu, \"slice_bytes\": %llu, \"context_bytes\": %llu}\n",
	        b->is_simulated ? "true" : "false", b->is_quick ? "true" : "false",
	        (unsigned long long)b->total_bytes, (unsigned long long)b->limit_bytes,
	        (unsigned long long)b->context_bytes);
	fflush(stdout);
}

static bool is_met(const struct seen *s)
{
	switch (s->bound) {
	case EXACTLY:
		return s->value == s->limit;
	case AT_MOST:
		return s->value <= s->limit;
	case AT_LEAST:
		return s->value >= s->limit;
	default:
		return true;
	}
}

/* Three digits behind the point: more would be noise, and bytes have none. */
static double rounded(double value)
{
	return (double)(int64_t)(value * 1000 + (value < 0 ? -0.5 : 0.5)) / 1000;
}

void bench_row(struct bench *b, struct seen seen, const char *fmt, ...)
{
	static const char *const bounds[] = {
	        [NO_BOUND] = "", [EXACTLY] = "", [AT_MOST] = "at most ", [AT_LEAST] = "at least "};
	char figure[160], wanted[80];
	bool is_judged = seen.bound != NO_BOUND && !seen.is_not_judged;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(figure, sizeof figure, fmt, ap);
	va_end(ap);
	put_row(b, figure);
	printf(", \"value\": %.15g", rounded(seen.value));
	put_pair("unit", seen.unit);
	snprintf(wanted, sizeof wanted, "%s%.15g%s%s", bounds[seen.bound], seen.limit,
	        *seen.unit ? " " : "", seen.unit);
	put_pair("wanted", seen.bound == NO_BOUND ? NULL : wanted);
	printf(", \"met\": %s, \"note\": null}\n", !is_judged      ? "null"
	                                           : is_met(&seen) ? "true"
	                                                           : "false");
	fflush(stdout);
	b->n_missed += is_judged && !is_met(&seen);
}

static void put_unmeasured(
        const struct bench *b, const char *figure, const char *met, const char *note)
{
	put_row(b, figure);
	printf(", \"value\": null, \"unit\": null, \"wanted\": null, \"met\": %s", met);
	put_pair("note", note);
	puts("}");
	fflush(stdout);
}

void bench_note(const struct bench *b, const char *figure, const char *note)
{
	put_unmeasured(b, figure, "null", note);
}

void bench_failed(struct bench *b)
{
	put_unmeasured(b, "could not be measured", "false", b->why);
	b->n_missed++;
}

void bench_begins(const struct bench *b)
{
	printf("{\"begins\": \"%s\"}\n", b->section);
	fflush(stdout);
}

void bench_error(const struct bench *b)
{
	printf("{\"code\": \"%s\"", b->code ? b->code : "unavailable");
	put_pair("error", b->why);
	put_pair("hint", b->hint);
	puts("}");
	fflush(stdout);
}
