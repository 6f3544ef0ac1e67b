/*
 * Sizes, durations, fractions and plain numbers: text <-> integers, and arithmetic that cannot wrap unseen.
 * Nothing is owned; formats go into the caller's buffer. Any thread.
 * Parsers refuse anything that is not wholly of the form, naming the text; letters may be of any case.
 */
#pragma once

#include "base/err.h"

/* Decimal digits only, up to max. */
MUST_CHECK int num_parse_u64(const char *text, uint64_t max, uint64_t *ret_value, struct err *err);
MUST_CHECK int num_parse_i64(
        const char *text, int64_t min, int64_t max, int64_t *ret_value, struct err *err);

/* "12G", "12GiB", "12GB", "512M", "1.5G", "4096B": binary units always; a unit is required, except for "0". */
MUST_CHECK int num_parse_size(const char *text, uint64_t *ret_bytes, struct err *err);
/* "12 GiB", "1.5 GiB", "900 MiB", "17 B": for people; at most one decimal, rounded down. */
const char *num_format_size(uint64_t bytes, char out[24]);

/* "90m", "2h", "30s", "1d", "1h30m", "00:10:00", "10:00" (minutes:seconds), "1-02:00:00", "1-2" (days-hours). Unit or colons required, except for "0". */
MUST_CHECK int num_parse_duration(const char *text, uint64_t *ret_seconds, struct err *err);
/* Slurm's form: "1-02:00:00", "02:00:00", "00:00:30". */
const char *num_format_duration(uint64_t seconds, char out[32]);

/* "0.5", "50%", "0.001" -> thousandths, 1..1000; at most three decimals ("12.5%" is 125); finer or out of range is refused by name. */
MUST_CHECK int num_parse_milli(const char *text, uint32_t *ret_milli, struct err *err);
/* "0.25", "1" */
const char *num_format_milli(uint32_t milli, char out[16]);

/* RFC 3339 in UTC with milliseconds, "2026-11-22T06:08:18.123Z", from milliseconds since 1970. */
const char *num_format_time(int64_t wall_ms, char out[32]);

/* floor(value * milli / 1000) without overflow. */
uint64_t num_milli_of(uint64_t value, uint32_t milli);
/* Lower-case hexadecimal of len bytes; out holds 2 * len + 1. */
void num_format_hex(const uint8_t *data, size_t len, char *out);
