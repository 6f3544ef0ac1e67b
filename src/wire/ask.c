#include "wire/ask.h"
#include "base/num.h"
#include "base/text.h"

#include <ctype.h>
#include <signal.h>
#include <string.h>
#include <talloc.h>

#define SIGRTMIN_KERNEL 32 /* the signals below it have names */

/* "2", "0.5", "50%": what stands before a model. */
static int parse_amount(const char *text, struct gpu_ask *ask, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	uint64_t count;
	struct err why;

	if (text[0] && strspn(text, "0123456789") == strlen(text)) {
		if (num_parse_u64(text, ASK_GPUS_MAX, &count, &why) || count == 0)
			return err_set(err, ERR_INVALID,
			        "'%s' GPUs: a whole number from 1 to %d is meant, or a fraction from 0.001 to 0.999",
			        text_show(text, shown), ASK_GPUS_MAX);
		ask->count = (uint32_t)count;
		return 0;
	}
	if (num_parse_milli(text, &ask->milli, &why))
		return err_set(err, ERR_INVALID,
		        "'%s' of a GPU: a whole number from 1, or a fraction from 0.001 to 0.999 with at most three decimals, or its percentage, is meant",
		        text_show(text, shown));
	if (ask->milli == 1000) {
		ask->milli = 0;
		ask->count = 1;
	}
	return 0;
}

int gpu_ask_parse(const char *text, void *ctx, struct gpu_ask *ask, struct err *err)
{
	const char *colon = strchr(text, ':');
	char amount[32], shown[TEXT_SHOW_SIZE];
	size_t n = colon ? (size_t)(colon - text) : strlen(text);

	if (n >= sizeof(amount))
		return err_set(
		        err, ERR_INVALID, "'%s' is not an amount of GPUs", text_show(text, shown));
	memcpy(amount, text, n);
	amount[n] = '\0';
	if (colon && (!colon[1] || strlen(colon + 1) > 90))
		return err_set(err, ERR_INVALID, "'%s' names no model after the colon",
		        text_show(text, shown));
	if (colon)
		ask->model = talloc_strdup(ctx, colon + 1);
	return parse_amount(amount, ask, err);
}

/* "1", "0.5", "2.25": thousandths. */
int thousandths_parse(const char *text, uint64_t max, uint64_t *ret, struct err *err)
{
	uint64_t whole = 0, part = 0;
	const char *s = text;
	char shown[TEXT_SHOW_SIZE];
	int decimals = 0;

	for (; isdigit((unsigned char)*s) && whole <= max; s++)
		whole = whole * 10 + (uint64_t)(*s - '0');
	if (*s == '.') {
		for (s++; isdigit((unsigned char)*s) && decimals < 3; s++, decimals++)
			part = part * 10 + (uint64_t)(*s - '0');
		for (int d = decimals; d < 3; d++)
			part *= 10;
	}
	if (s == text || *s || whole > max || whole * 1000 + part == 0)
		return err_set(err, ERR_INVALID,
		        "'%s' is not a number from 0.001 to %llu with at most three decimals",
		        text_show(text, shown), (unsigned long long)max);
	*ret = whole * 1000 + part;
	return 0;
}

/* A whole number at *s, which moves behind it. */
static bool take_number(const char **s, int64_t *ret)
{
	int64_t v = 0;
	const char *from = *s;

	for (; isdigit((unsigned char)**s); (*s)++) {
		if (v > UINT32_MAX)
			return false;
		v = v * 10 + (**s - '0');
	}
	*ret = v;
	return *s != from && v <= UINT32_MAX;
}

static bool take_range(const char **s, struct array_range *g)
{
	g->step = 1;
	if (!take_number(s, &g->first))
		return false;
	g->last = g->first;
	if (**s == '-') {
		(*s)++;
		if (!take_number(s, &g->last))
			return false;
		if (**s == ':') {
			(*s)++;
			if (!take_number(s, &g->step))
				return false;
		}
	}
	return g->step >= 1 && g->last >= g->first;
}

int array_parse(const char *text, void *ctx, struct array_range **ret_ranges, uint32_t *ret_n,
        uint32_t *ret_throttle, struct err *err)
{
	struct array_range *v = NULL;
	const char *s = text;
	int64_t throttle = 0, tasks = 0, before = -1;
	char shown[TEXT_SHOW_SIZE];
	uint32_t n = 0;

	(void)text_show(text, shown);
	do {
		struct array_range g;
		if (!take_range(&s, &g))
			return err_set(err, ERR_INVALID,
			        "'%s' is not an array like 0-99, 1,3,5-9:2 or 0-99%%8", shown);
		if (g.first <= before)
			return err_set(err, ERR_INVALID,
			        "'%s': the ranges of an array must ascend and not overlap", shown);
		before = g.last;
		tasks += (g.last - g.first) / g.step + 1;
		if (n == ASK_RANGES_MAX || tasks > ASK_TASKS_MAX)
			return err_set(err, ERR_TOO_LARGE,
			        "an array has at most %d tasks in %d ranges", ASK_TASKS_MAX,
			        ASK_RANGES_MAX);
		v = talloc_realloc(ctx, v, struct array_range, n + 1);
		v[n++] = g;
	} while (*s == ',' && s++);
	if (*s == '%') {
		s++;
		if (!take_number(&s, &throttle) || throttle == 0)
			return err_set(err, ERR_INVALID,
			        "'%s': after %% stands how many tasks may run at once", shown);
	}
	if (*s)
		return err_set(err, ERR_INVALID,
		        "'%s' is not an array like 0-99, 1,3,5-9:2 or 0-99%%8", shown);
	*ret_ranges = v;
	*ret_n = n;
	*ret_throttle = (uint32_t)throttle;
	return 0;
}

/* "SIGKILL", "kill"; 0: none of that name. */
static int find_signal(const char *name)
{
	name += strncasecmp(name, "SIG", 3) == 0 ? 3 : 0;
	for (int n = 1; n < SIGRTMIN_KERNEL; n++) {
		const char *known = sigabbrev_np(n);
		if (known && strcasecmp(known, name) == 0)
			return n;
	}
	return 0;
}

static int parse_code(const char *text, uint8_t *ret_code, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	uint64_t code;
	struct err why;
	int signal = find_signal(text);

	if (signal)
		code = 128 + (uint64_t)signal;
	else if (num_parse_u64(text, UINT8_MAX, &code, &why) || code == 0)
		return err_set(err, ERR_INVALID,
		        "'%s' is neither a code from 1 to 255 nor a signal like SIGKILL",
		        text_show(text, shown));
	*ret_code = (uint8_t)code;
	return 0;
}

int code_set_parse(const char *text, struct code_set *ret_codes, struct err *err)
{
	struct code_set codes = {0};
	char word[16], shown[TEXT_SHOW_SIZE];
	uint8_t code;
	int rc;

	for (const char *s = text;; s++) {
		size_t len = strcspn(s, ",");
		if (len >= sizeof(word))
			return err_set(err, ERR_INVALID, "'%s' is not a list like 75,SIGKILL",
			        text_show(text, shown));
		memcpy(word, s, len);
		word[len] = '\0';
		rc = parse_code(word, &code, err);
		if (rc)
			return rc;
		code_set_add(&codes, code);
		s += len;
		if (!*s)
			break;
	}
	*ret_codes = codes;
	return 0;
}
