/* berth.yaml: what was understood is shown, and the text that is shown means the same. */
#include "fuzz.h"
#include "conf/conf.h"

static void put_row(const struct conf_row *row, void *arg)
{
	FUZZ_MUST(row->n_path >= 1 && row->n_path <= ARRAY_LEN(row->path));
	buf_addf(arg, "%s=%s\n", row->key, row->value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP_BUF struct buf first = BUF_INIT(64 * MIB), second = BUF_INIT(64 * MIB);
	CLEANUP_BUF struct buf text = BUF_INIT(64 * MIB);
	CLEANUP_CONF struct conf *c = NULL, *again = NULL;
	struct err err;
	int rc;

	fuzz_err_init(&err);
	rc = conf_parse((const char *)data, size, &c, &err);
	if (rc) {
		fuzz_err_check(rc, &err);
		FUZZ_MUST(!c);
		return 0;
	}
	fuzz_err_init(&err);
	rc = conf_check(c, &err);
	if (rc)
		fuzz_err_check(rc, &err);
	conf_each(c, put_row, &first);
	conf_show(c, size & 1, &text);
	FUZZ_MUST(!first.overflow && !text.overflow);
	if (text.len > CONF_TEXT_MAX)
		return 0;
	FUZZ_MUST(conf_parse((const char *)text.data, text.len, &again, &err) == 0);
	conf_each(again, put_row, &second);
	FUZZ_MUST(fuzz_is_same(&first, &second));
	return 0;
}
