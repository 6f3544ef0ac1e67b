#include "base/num.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define SIZE_MAX_BYTES ((uint64_t)INT64_MAX) /* what stores and JSON can carry */
#define DURATION_MAX_DAYS \
	UINT64_C(3650000) /* in milliseconds it still leaves room to be added to a clock */
#define DAY_SECONDS UINT64_C(86400)

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool mul_add(uint64_t *value, uint64_t factor, uint64_t addend)
{
	return !__builtin_mul_overflow(*value, factor, value) &&
	       !__builtin_add_overflow(*value, addend, value);
}

/* Steps over the digits at *p; false when there are none. Past 64 bits it clears *fits. */
static bool take_digits(const char **p, uint64_t *ret_value, bool *fits)
{
	uint64_t value = 0;

	if (!is_digit(**p))
		return false;
	for (; is_digit(**p); (*p)++)
		*fits = mul_add(&value, 10, (uint64_t)(**p - '0')) && *fits;
	*ret_value = value;
	return true;
}

int num_parse_u64(const char *text, uint64_t max, uint64_t *ret_value, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	const char *p = text;
	uint64_t value = 0;
	bool fits = true;

	if (!take_digits(&p, &value, &fits) || *p)
		return err_set(err, ERR_INVALID, "'%s' is not a whole number from 0 to %" PRIu64,
		        text_show(text, shown), max);
	if (!fits || value > max)
		return err_set(err, ERR_INVALID, "'%s' is too large: the most is %" PRIu64,
		        text_show(text, shown), max);
	*ret_value = value;
	return 0;
}

int num_parse_i64(const char *text, int64_t min, int64_t max, int64_t *ret_value, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	bool negative = *text == '-', fits = true;
	const char *p = text + negative;
	uint64_t magnitude = 0;
	int64_t value;

	if (!take_digits(&p, &magnitude, &fits) || *p)
		return err_set(err, ERR_INVALID,
		        "'%s' is not a whole number from %" PRId64 " to %" PRId64,
		        text_show(text, shown), min, max);
	fits = fits && magnitude <= (uint64_t)INT64_MAX + negative;
	value = (int64_t)(negative ? 0 - magnitude : magnitude);
	if (!fits || value < min || value > max)
		return err_set(err, ERR_INVALID,
		        "'%s' is out of range: from %" PRId64 " to %" PRId64,
		        text_show(text, shown), min, max);
	*ret_value = value;
	return 0;
}

/* A decimal number "12", "1.5" or ".5", kept exact: whole + fraction / scale. */
struct decimal {
	uint64_t whole;
	uint64_t fraction;
	uint64_t scale; /* 10 to the number of decimals */
	unsigned decimals;
};

enum take { TAKE_OK, TAKE_MALFORMED, TAKE_TOO_LARGE, TAKE_TOO_FINE };

static enum take take_decimal(const char **p, unsigned max_decimals, struct decimal *ret_d)
{
	struct decimal d = {.scale = 1};
	bool has_whole, fits = true;

	has_whole = take_digits(p, &d.whole, &fits);
	if (**p == '.') {
		(*p)++;
		if (!is_digit(**p))
			return TAKE_MALFORMED;
		for (; is_digit(**p); (*p)++) {
			if (++d.decimals > max_decimals)
				return TAKE_TOO_FINE;
			d.fraction = d.fraction * 10 + (uint64_t)(**p - '0');
			d.scale *= 10;
		}
	} else if (!has_whole) {
		return TAKE_MALFORMED;
	}
	*ret_d = d;
	return fits ? TAKE_OK : TAKE_TOO_LARGE;
}

/* "", "B", "K", "KB", "KiB" ... in letters of any case -> the power of 1024; -1 when it is none of them. */
static int size_unit_shift(const char *unit)
{
	static const char prefixes[] = "kmgtpe";
	const char *prefix;
	char c = lower(*unit);

	if (c == 'b' && !unit[1])
		return 0;
	prefix = c ? strchr(prefixes, c) : NULL;
	if (!prefix)
		return -1;
	unit++;
	if (*unit && lower(unit[0]) == 'i' && lower(unit[1]) == 'b')
		unit++;
	if (lower(*unit) == 'b')
		unit++;
	return *unit ? -1 : (int)(prefix - prefixes + 1) * 10;
}

int num_parse_size(const char *text, uint64_t *ret_bytes, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	const char *p = text;
	struct decimal d = {0};
	enum take took = take_decimal(&p, 9, &d);
	uint64_t bytes, unit;
	int shift;

	if (strcmp(text, "0") == 0) {
		*ret_bytes = 0;
		return 0;
	}
	if (took == TAKE_TOO_LARGE)
		goto too_large;
	if (took == TAKE_TOO_FINE)
		return err_set(err, ERR_INVALID, "size '%s' has more than 9 decimals",
		        text_show(text, shown));
	if (took == TAKE_OK && !*p) {
		(void)!err_set(err, ERR_INVALID, "size '%s' has no unit", text_show(text, shown));
		return err_hint(err, "write %.30sM or %.30sG, for MiB or GiB", text, text);
	}
	shift = took == TAKE_OK ? size_unit_shift(p) : -1;
	if (shift < 0) {
		(void)!err_set(err, ERR_INVALID, "'%s' is not a size", text_show(text, shown));
		return err_hint(err, "sizes are like 12G, 512M or 4096B");
	}
	if (shift == 0 && d.decimals > 0)
		return err_set(err, ERR_INVALID, "size '%s' is not a whole number of bytes",
		        text_show(text, shown));
	if (d.whole > SIZE_MAX_BYTES >> shift)
		goto too_large;
	bytes = d.whole << shift;
	/* unit * fraction / scale, in two halves because the product may pass 64 bits. */
	unit = UINT64_C(1) << shift;
	bytes += unit / d.scale * d.fraction + unit % d.scale * d.fraction / d.scale;
	if (bytes > SIZE_MAX_BYTES)
		goto too_large;
	*ret_bytes = bytes;
	return 0;
too_large:
	return err_set(err, ERR_INVALID, "size '%s' is too large: it must stay below 8 EiB",
	        text_show(text, shown));
}

const char *num_format_size(uint64_t bytes, char out[24])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned u = 0;
	uint64_t whole, tenth = 0;

	while (u + 1 < ARRAY_LEN(units) && bytes >> (10 * (u + 1)))
		u++;
	whole = bytes >> (10 * u);
	if (u > 0)
		tenth = ((bytes >> (10 * (u - 1))) & 1023) * 10 / 1024;
	if (tenth)
		snprintf(out, 24, "%u.%u %s", (unsigned)whole, (unsigned)tenth, units[u]);
	else
		snprintf(out, 24, "%u %s", (unsigned)whole, units[u]);
	return out;
}

/* "1d2h30m10s": units in falling order, each at most once. */
static bool parse_units(const char *p, uint64_t *ret_seconds, bool *ret_fits)
{
	static const char letters[] = "dhms";
	static const uint64_t seconds_of[] = {DAY_SECONDS, 3600, 60, 1};
	size_t next = 0;
	uint64_t total = 0;

	*ret_fits = true;
	do {
		uint64_t value;
		const char *unit;

		if (!take_digits(&p, &value, ret_fits))
			return false;
		unit = *p ? strchr(letters, lower(*p)) : NULL;
		if (!unit || (size_t)(unit - letters) < next)
			return false;
		next = (size_t)(unit - letters) + 1;
		*ret_fits = mul_add(&value, seconds_of[next - 1], total) && *ret_fits;
		total = value;
	} while (*++p);
	*ret_seconds = total;
	return true;
}

/* "MM:SS", "HH:MM:SS", "D-HH", "D-HH:MM", "D-HH:MM:SS"; like Slurm, a field may pass its usual range. */
static bool parse_clock(const char *p, uint64_t *ret_seconds, bool *ret_fits)
{
	static const uint64_t factors[] = {3600, 60, 1};
	uint64_t days = 0, field[3] = {0}, total = 0;
	size_t n = 0, first;
	bool has_days;

	*ret_fits = true;
	if (!take_digits(&p, &days, ret_fits))
		return false;
	has_days = *p == '-';
	if (!has_days) {
		field[n++] = days;
		days = 0;
	}
	while (*p == (n == 0 ? '-' : ':')) {
		p++;
		if (n == ARRAY_LEN(field) || !take_digits(&p, &field[n++], ret_fits))
			return false;
	}
	if (*p || (!has_days && n < 2))
		return false;
	first = !has_days && n == 2 ? 1 : 0;
	for (size_t i = 0; i < n; i++) {
		*ret_fits = mul_add(&field[i], factors[first + i], total) && *ret_fits;
		total = field[i];
	}
	*ret_fits = mul_add(&days, DAY_SECONDS, total) && *ret_fits;
	*ret_seconds = days;
	return true;
}

int num_parse_duration(const char *text, uint64_t *ret_seconds, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	uint64_t seconds = 0;
	bool fits = true;

	if (strcmp(text, "0") == 0) {
		*ret_seconds = 0;
		return 0;
	}
	if (*text && !text[strspn(text, "0123456789")]) {
		(void)!err_set(
		        err, ERR_INVALID, "duration '%s' has no unit", text_show(text, shown));
		return err_hint(err, "write %.30ss or %.30sm, for seconds or minutes", text, text);
	}
	if (!parse_units(text, &seconds, &fits) && !parse_clock(text, &seconds, &fits)) {
		(void)!err_set(err, ERR_INVALID, "'%s' is not a duration", text_show(text, shown));
		return err_hint(err, "durations are like 90m, 1h30m, 00:10:00 or 1-02:00:00");
	}
	if (!fits || seconds > DURATION_MAX_DAYS * DAY_SECONDS)
		return err_set(err, ERR_INVALID,
		        "duration '%s' is too long: the most is %" PRIu64 "d",
		        text_show(text, shown), DURATION_MAX_DAYS);
	*ret_seconds = seconds;
	return 0;
}

const char *num_format_duration(uint64_t seconds, char out[32])
{
	uint64_t days = seconds / DAY_SECONDS;
	unsigned rest = (unsigned)(seconds % DAY_SECONDS);
	unsigned h = rest / 3600, m = rest / 60 % 60, s = rest % 60;

	if (days)
		snprintf(out, 32, "%" PRIu64 "-%02u:%02u:%02u", days, h, m, s);
	else
		snprintf(out, 32, "%02u:%02u:%02u", h, m, s);
	return out;
}

int num_parse_milli(const char *text, uint32_t *ret_milli, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	size_t len = strlen(text);
	bool percent = len > 0 && text[len - 1] == '%';
	const char *p = text;
	struct decimal d = {0};
	enum take took = take_decimal(&p, percent ? 1 : 3, &d);
	uint64_t full = percent ? 100 : 1, milli;

	if (took == TAKE_TOO_FINE)
		return err_set(err, ERR_INVALID, "fraction '%s' is too fine: at most %s",
		        text_show(text, shown),
		        percent ? "one decimal in a percentage" : "three decimals");
	if (took == TAKE_MALFORMED || (took == TAKE_OK && strcmp(p, percent ? "%" : "") != 0)) {
		(void)!err_set(err, ERR_INVALID, "'%s' is not a fraction", text_show(text, shown));
		return err_hint(err, "fractions are like 0.5, 0.125 or 12.5%%");
	}
	/* A whole part above the range is not multiplied, so that nothing can wrap. */
	if (took == TAKE_TOO_LARGE || d.whole > full)
		milli = 1001;
	else
		milli = (d.whole * 1000 + d.fraction * 1000 / d.scale) / full;
	if (milli < 1 || milli > 1000)
		return err_set(err, ERR_INVALID, "fraction '%s' is out of range: from %s to %s",
		        text_show(text, shown), percent ? "0.1%" : "0.001", percent ? "100%" : "1");
	*ret_milli = (uint32_t)milli;
	return 0;
}

const char *num_format_milli(uint32_t milli, char out[16])
{
	unsigned whole = milli / 1000, rest = milli % 1000;

	if (rest == 0)
		snprintf(out, 16, "%u", whole);
	else if (rest % 100 == 0)
		snprintf(out, 16, "%u.%u", whole, rest / 100);
	else if (rest % 10 == 0)
		snprintf(out, 16, "%u.%02u", whole, rest / 10);
	else
		snprintf(out, 16, "%u.%03u", whole, rest);
	return out;
}

/* By arithmetic: gmtime_r may read the time zone files, and this folder does no I/O. */
const char *num_format_time(int64_t wall_ms, char out[32])
{
	static const unsigned days_before[] = {
	        0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337};
	const int64_t day_ms = 86400000;
	int64_t day = wall_ms / day_ms, ms = wall_ms % day_ms, era, year;
	unsigned of_era, of_year, month, mday;

	if (ms < 0) {
		ms += day_ms;
		day--;
	}
	/* Years are counted from 1 March, so that the leap day is the last; an era is 400 of them. */
	day += 719468;
	era = (day >= 0 ? day : day - 146096) / 146097;
	of_era = (unsigned)(day - era * 146097);
	year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	of_year = of_era - (unsigned)(365 * year + year / 4 - year / 100);
	month = 11;
	while (days_before[month] > of_year)
		month--;
	mday = of_year - days_before[month] + 1;
	month = month < 10 ? month + 3 : month - 9;
	year += era * 400 + (month <= 2);
	snprintf(out, 32, "%04d-%02u-%02uT%02u:%02u:%02u.%03uZ", (int)year, month % 100, mday % 100,
	        (unsigned)(ms / 3600000), (unsigned)(ms / 60000 % 60), (unsigned)(ms / 1000 % 60),
	        (unsigned)(ms % 1000));
	return out;
}

uint64_t num_milli_of(uint64_t value, uint32_t milli)
{
	uint64_t whole = value / 1000;

	if (!mul_add(&whole, milli, value % 1000 * milli / 1000))
		return UINT64_MAX;
	return whole;
}

void num_format_hex(const uint8_t *data, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[data[i] >> 4];
		out[2 * i + 1] = digits[data[i] & 15];
	}
	out[2 * len] = '\0';
}
