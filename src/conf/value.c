#include "conf/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/text.h"

#define ITEM_MAX 255 /* bytes of an item of a list */

int value_where(const struct doc_node *n, const char *path, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];

	text_show(path, shown);
	return n->line ? err_wrap(err, "line %u: %s", n->line, shown) : err_wrap(err, "%s", shown);
}

int value_wrong_kind(
        const struct doc_node *n, const char *path, const char *wanted, struct err *err)
{
	if (doc_is_null(n))
		(void)!err_set(err, ERR_INVALID, "%s is wanted, this is empty", wanted);
	else
		(void)!err_set(err, ERR_INVALID, "%s is wanted, this is %s", wanted,
		        doc_kind_name(n->kind));
	return value_where(n, path, err);
}

static const char *wanted_of(enum value_type type)
{
	static const char *const names[] = {
	        [VALUE_STRING] = "a string",
	        [VALUE_ADDRESS] = "HOST:PORT",
	        [VALUE_CHOICE] = "a word",
	        [VALUE_BOOL] = "true or false",
	        [VALUE_UINT] = "a whole number",
	        [VALUE_INT] = "a whole number",
	        [VALUE_SIZE] = "a size",
	        [VALUE_DURATION] = "a duration",
	        [VALUE_MODE] = "a mode",
	        [VALUE_LIST] = "a list",
	        [VALUE_QUEUES] = "a map",
	        [VALUE_MODELS] = "a map",
	};

	return names[type];
}

static int refuse(struct err *err, const char *text, const char *what)
{
	char shown[TEXT_SHOW_SIZE];

	return err_set(err, ERR_INVALID, "'%s' %s", text_show(text, shown), what);
}

/* The index of a word among "a|b|c", or -1. */
static int word_index(const char *words, const char *text)
{
	size_t len = strlen(text);

	for (int i = 0;; i++) {
		size_t n = strcspn(words, "|");

		if (n == len && memcmp(words, text, n) == 0)
			return i;
		if (!words[n])
			return -1;
		words += n + 1;
	}
}

static int parse_bool(const char *text, int64_t *ret, struct err *err)
{
	static const char words[] = "false|no|off|0|true|yes|on|1";
	char lower[8];
	size_t n = 0;
	int index;

	for (; text[n] && n < sizeof(lower) - 1; n++)
		lower[n] = text[n] >= 'A' && text[n] <= 'Z' ? (char)(text[n] - 'A' + 'a') : text[n];
	lower[n] = '\0';
	index = word_index(words, lower);
	if (index < 0 || text[n])
		return refuse(err, text, "is not true or false");
	*ret = index >= 4;
	return 0;
}

static int parse_mode(const char *text, int64_t *ret, struct err *err)
{
	size_t n = strlen(text);

	if (n < 3 || n > 4 || strspn(text, "01234567") != n || (n == 4 && text[0] != '0'))
		return refuse(err, text, "is not a mode: three octal digits, like 0660");
	*ret = 0;
	for (; *text; text++)
		*ret = *ret * 8 + (*text - '0');
	return 0;
}

/* Durations of the command line, and besides them "500ms". */
static int parse_duration_ms(const char *text, int64_t *ret, struct err *err)
{
	size_t digits = strspn(text, "0123456789");
	uint64_t seconds;
	int rc;

	if (digits > 0 && digits < 16 && strcasecmp(text + digits, "ms") == 0) {
		*ret = strtoll(text, NULL, 10);
		return 0;
	}
	rc = num_parse_duration(text, &seconds, err);
	if (rc < 0)
		return rc;
	*ret = (int64_t)seconds * 1000;
	return 0;
}

static int parse_whole(const char *text, int64_t *ret, struct err *err)
{
	const char *digits = text + (*text == '-');

	if (!*digits || digits[strspn(digits, "0123456789")])
		return refuse(err, text, "is not a whole number");
	if (num_parse_i64(text, INT64_MIN, INT64_MAX, ret, err) < 0)
		return refuse(err, text, "is out of range");
	return 0;
}

static int parse_number(enum value_type type, const char *text, int64_t *ret, struct err *err)
{
	uint64_t bytes;
	int rc;

	switch (type) {
	case VALUE_BOOL:
		return parse_bool(text, ret, err);
	case VALUE_MODE:
		return parse_mode(text, ret, err);
	case VALUE_DURATION:
		return parse_duration_ms(text, ret, err);
	case VALUE_SIZE:
		rc = num_parse_size(text, &bytes, err);
		if (rc == 0)
			*ret = (int64_t)bytes;
		return rc;
	default:
		return parse_whole(text, ret, err);
	}
}

/* The bounds of "MIN..MAX", which are numbers of this type. */
static void parse_limits(
        enum value_type type, const char *limits, int64_t *ret_min, int64_t *ret_max)
{
	const char *dots = strstr(limits, "..");
	char min[32];
	struct err err;

	BUG_IF(!dots || (size_t)(dots - limits) >= sizeof(min));
	memcpy(min, limits, (size_t)(dots - limits));
	min[dots - limits] = '\0';
	BUG_IF(parse_number(type, min, ret_min, &err) < 0);
	BUG_IF(parse_number(type, dots + 2, ret_max, &err) < 0);
}

static int check_address(const char *text, struct err *err)
{
	const char *host = text, *colon = strrchr(text, ':');
	static const char letters[] =
	        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	uint64_t port;
	size_t len;

	if (!*text)
		return 0;
	len = colon ? (size_t)(colon - host) : 0;
	if (len > 2 && host[0] == '[') {
		if (host[len - 1] != ']' || strspn(host + 1, "0123456789abcdefABCDEF:.") != len - 2)
			len = 0;
	} else if (strspn(host, letters) != len) {
		len = 0;
	}
	if (len == 0) {
		(void)!refuse(err, text, "is not HOST:PORT");
		return err_hint(
		        err, "like 127.0.0.1:7070, [::1]:7070, or 0.0.0.0:7070 for every address");
	}
	return num_parse_u64(colon + 1, 65535, &port, err);
}

static int set_string(const struct field *f, char **member, const char *text, struct err *err)
{
	int64_t min, max, len = (int64_t)strlen(text);
	char *copy;
	int rc;

	parse_limits(VALUE_UINT, f->limits, &min, &max);
	if (len < min)
		return err_set(err, ERR_INVALID, "must not be empty");
	if (len > max)
		return err_set(
		        err, ERR_INVALID, "%" PRId64 " bytes: the most is %" PRId64, len, max);
	if (f->type == VALUE_ADDRESS) {
		rc = check_address(text, err);
		if (rc < 0)
			return rc;
	}
	copy = mem_strdup(text);
	free(*member);
	*member = copy;
	return 0;
}

static int set_choice(const struct field *f, uint32_t *member, const char *text, struct err *err)
{
	int index = word_index(f->limits, text);
	char shown[TEXT_SHOW_SIZE];

	if (index < 0)
		return err_set(err, ERR_INVALID, "'%s' is not one of %s", text_show(text, shown),
		        f->limits);
	*member = (uint32_t)index;
	return 0;
}

static int set_number(const struct field *f, void *member, const char *text, struct err *err)
{
	int64_t value, min, max;
	char shown[TEXT_SHOW_SIZE];
	int rc = parse_number(f->type, text, &value, err);

	if (rc < 0)
		return rc;
	if (*f->limits) {
		parse_limits(f->type, f->limits, &min, &max);
		if (value < min || value > max)
			return err_set(err, ERR_INVALID, "'%s' is out of range: %s",
			        text_show(text, shown), f->limits);
	}
	switch (f->type) {
	case VALUE_BOOL:
		*(bool *)member = value;
		break;
	case VALUE_UINT:
	case VALUE_MODE:
		*(uint32_t *)member = (uint32_t)value;
		break;
	case VALUE_INT:
		*(int32_t *)member = (int32_t)value;
		break;
	case VALUE_SIZE:
		*(uint64_t *)member = (uint64_t)value;
		break;
	default:
		*(int64_t *)member = value;
	}
	return 0;
}

static void list_done(struct conf_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	l->v = NULL;
	l->n = 0;
}

static int set_list(
        const struct field *f, struct conf_list *member, const struct doc_node *n, struct err *err)
{
	CLEANUP(list_done) struct conf_list list = {0};
	int64_t min, max;

	parse_limits(VALUE_UINT, f->limits, &min, &max);
	if ((int64_t)n->n_children < min || (int64_t)n->n_children > max)
		return err_set(
		        err, ERR_INVALID, "%zu entries: it takes %s", n->n_children, f->limits);
	list.v = mem_zalloc((n->n_children + 1) * sizeof(*list.v));
	for (size_t i = 0; i < n->n_children; i++) {
		const struct doc_node *item = &n->children[i];
		size_t len = item->kind == DOC_VALUE ? strlen(item->text) : 0;

		if (item->kind != DOC_VALUE)
			return err_set(err, ERR_INVALID, "entry %zu is %s: a string is wanted",
			        i + 1, doc_kind_name(item->kind));
		if (len == 0 || len > ITEM_MAX)
			return err_set(err, ERR_INVALID, "entry %zu has %zu bytes: it takes 1..%d",
			        i + 1, len, ITEM_MAX);
		list.v[i] = mem_strdup(item->text);
		list.n++;
	}
	list_done(member);
	*member = list;
	list = (struct conf_list){0};
	return 0;
}

int value_set(const struct field *f, void *base, const struct doc_node *n, const char *path,
        struct err *err)
{
	void *member = (char *)base + f->offset;
	int rc;

	if (f->type == VALUE_LIST ? n->kind != DOC_LIST : n->kind != DOC_VALUE || doc_is_null(n))
		return value_wrong_kind(n, path, wanted_of(f->type), err);
	switch (f->type) {
	case VALUE_STRING:
	case VALUE_ADDRESS:
		rc = set_string(f, member, n->text, err);
		break;
	case VALUE_CHOICE:
		rc = set_choice(f, member, n->text, err);
		break;
	case VALUE_LIST:
		rc = set_list(f, member, n, err);
		break;
	default:
		rc = set_number(f, member, n->text, err);
	}
	return rc < 0 ? value_where(n, path, err) : 0;
}

void value_done(const struct field *f, void *base)
{
	void *member = (char *)base + f->offset;

	if (f->type == VALUE_STRING || f->type == VALUE_ADDRESS) {
		free(*(char **)member);
		*(char **)member = NULL;
	} else if (f->type == VALUE_LIST) {
		list_done(member);
	}
}

static void format_size(uint64_t bytes, struct buf *out)
{
	static const char units[] = "BKMGTPE";
	unsigned u = 0;

	if (bytes == 0) {
		buf_add_str(out, "0");
		return;
	}
	for (; bytes % 1024 == 0; u++)
		bytes /= 1024;
	buf_addf(out, "%" PRIu64 "%c", bytes, units[u]);
}

static void format_duration(int64_t ms, struct buf *out)
{
	static const struct {
		int64_t ms;
		char letter;
	} units[] = {{86400000, 'd'}, {3600000, 'h'}, {60000, 'm'}, {1000, 's'}};

	if (ms == 0)
		buf_add_str(out, "0");
	else if (ms % 1000)
		buf_addf(out, "%" PRId64 "ms", ms);
	else
		for (size_t i = 0; i < ARRAY_LEN(units); i++) {
			if (ms / units[i].ms)
				buf_addf(out, "%" PRId64 "%c", ms / units[i].ms, units[i].letter);
			ms %= units[i].ms;
		}
}

/* U+2028 and U+2029 break lines in YAML; U+FEFF, U+FFFE and U+FFFF may not stand in it. */
static bool must_escape(const char *s, size_t len)
{
	static const char *const characters[] = {
	        "\xe2\x80\xa8", "\xe2\x80\xa9", "\xef\xbb\xbf", "\xef\xbf\xbe", "\xef\xbf\xbf"};

	for (size_t i = 0; i < ARRAY_LEN(characters) && len == 3; i++)
		if (memcmp(s, characters[i], 3) == 0)
			return true;
	return false;
}

static void quote_always(const char *text, struct buf *out)
{
	buf_add_byte(out, '"');
	for (size_t n; *text; text += n) {
		n = MAX(text_utf8_len(text, strnlen(text, 4)), (size_t)1);
		if (must_escape(text, n)) {
			const uint8_t *c = (const uint8_t *)text;
			buf_addf(out, "\\u%04X",
			        (c[0] & 15u) << 12 | (c[1] & 63u) << 6 | (c[2] & 63u));
			continue;
		}
		if (*text == '"' || *text == '\\')
			buf_add_byte(out, '\\');
		buf_add(out, text, n);
	}
	buf_add_byte(out, '"');
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void value_quote(const char *text, struct buf *out)
{
	bool plain = is_letter(*text) || *text == '/';

	for (const char *p = text; *p && plain; p++)
		plain = is_letter(*p) || (*p >= '0' && *p <= '9') || strchr("_./-", *p);
	/* Words that some readers take for something else. */
	if (plain && word_index("null|true|false|yes|no|on|off|y|n", text) < 0)
		buf_add_str(out, text);
	else
		quote_always(text, out);
}

static void format_list(const struct conf_list *l, struct buf *out)
{
	buf_add_str(out, "[");
	for (size_t i = 0; i < l->n; i++) {
		buf_add_str(out, i ? ", " : "");
		quote_always(l->v[i], out);
	}
	buf_add_str(out, "]");
}

static void format_choice(const char *words, uint32_t index, struct buf *out)
{
	for (; index > 0; index--)
		words += strcspn(words, "|") + 1;
	buf_add(out, words, strcspn(words, "|"));
}

void value_format(const struct field *f, const void *base, struct buf *out)
{
	const void *member = (const char *)base + f->offset;

	switch (f->type) {
	case VALUE_STRING:
	case VALUE_ADDRESS:
		value_quote(*(char *const *)member, out);
		break;
	case VALUE_CHOICE:
		format_choice(f->limits, *(const uint32_t *)member, out);
		break;
	case VALUE_BOOL:
		buf_add_str(out, *(const bool *)member ? "true" : "false");
		break;
	case VALUE_UINT:
		buf_addf(out, "%" PRIu32, *(const uint32_t *)member);
		break;
	case VALUE_INT:
		buf_addf(out, "%" PRId32, *(const int32_t *)member);
		break;
	case VALUE_SIZE:
		format_size(*(const uint64_t *)member, out);
		break;
	case VALUE_DURATION:
		format_duration(*(const int64_t *)member, out);
		break;
	case VALUE_MODE:
		buf_addf(out, "%04" PRIo32, *(const uint32_t *)member);
		break;
	case VALUE_LIST:
		format_list(member, out);
		break;
	case VALUE_QUEUES:
	case VALUE_MODELS:
		BUG_IF(true);
	}
}
