/*
 * One setting, as a flag or the environment gives it. The first byte names the key; beyond the keys a name of the
 * environment stands before the first '='.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "conf/conf.h"

static const char *const keys[] = {
#define CONF(type, key, member, def, limits, help) key,
#include "../../tables/config.def"
};

static void put_row(const struct conf_row *row, void *arg)
{
	buf_addf(arg, "%s=%s\n", row->key, row->value);
}

static int set(struct conf *c, uint8_t which, char *text, struct err *err)
{
	char *value = strchr(text, '=');

	if (which < ARRAY_LEN(keys))
		return conf_set(c, keys[which], text, CONF_FROM_FLAG, err);
	if (value)
		*value++ = '\0';
	return conf_override(c, text, value ? value : "", err);
}

/* The setting as it is shown can be read again. */
static void check_shown(const struct conf *c, const struct buf *rows)
{
	CLEANUP_BUF struct buf shown = BUF_INIT(64 * MIB), second = BUF_INIT(64 * MIB);
	CLEANUP_CONF struct conf *again = NULL;
	struct err err;

	conf_show(c, false, &shown);
	FUZZ_MUST(conf_parse((const char *)shown.data, shown.len, &again, &err) == 0);
	conf_each(again, put_row, &second);
	FUZZ_MUST(fuzz_is_same(rows, &second));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_BUF struct buf before = BUF_INIT(64 * MIB), after = BUF_INIT(64 * MIB);
	CLEANUP_CONF struct conf *c = conf_defaults();
	uint8_t which = fuzz_byte(&data, &size);
	char *text = fuzz_text(data, size);
	struct err err;
	int rc;

	conf_each(c, put_row, &before);
	fuzz_err_init(&err);
	rc = set(c, which, text, &err);
	conf_each(c, put_row, &after);
	if (rc) {
		fuzz_err_check(rc, &err);
		FUZZ_MUST(fuzz_is_same(&before, &after));
	} else {
		check_shown(c, &after);
	}
	free(text);
	return 0;
}
