#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

void fuzz_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

void fuzz_err_init(struct err *err)
{
	memset(err, 'Z', sizeof(*err));
}

static void check_line(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	FUZZ_MUST(len < size);
	FUZZ_MUST(fuzz_is_line(text, len));
}

void fuzz_err_check(int rc, const struct err *err)
{
	FUZZ_MUST(rc < 0);
	FUZZ_MUST(err->kind > ERR_NONE && err->kind < ERR_MAX);
	FUZZ_MUST(rc == -(int)err->kind);
	check_line(err->text, sizeof(err->text));
	check_line(err->hint, sizeof(err->hint));
	FUZZ_MUST(*err->text);
}

char *fuzz_text(const uint8_t *data, size_t size)
{
	size_t len = size ? strnlen((const char *)data, size) : 0;
	char *s = mem_zalloc(len + 1);

	if (len)
		memcpy(s, data, len);
	return s;
}

uint8_t fuzz_byte(const uint8_t **data, size_t *size)
{
	if (!*size)
		return 0;
	--*size;
	return *(*data)++;
}

bool fuzz_piece(const uint8_t **data, size_t *size, const uint8_t **ret_piece, size_t *ret_len)
{
	size_t len;

	if (!*size)
		return false;
	len = fuzz_byte(data, size);
	len |= (size_t)fuzz_byte(data, size) << 8;
	len = MIN(len, *size);
	*ret_piece = *data;
	*ret_len = len;
	*data += len;
	*size -= len;
	return true;
}

bool fuzz_is_line(const char *text, size_t len)
{
	return text_is_utf8(text, len) && !text_has_control(text, len);
}

bool fuzz_is_same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (!a->len || memcmp(a->data, b->data, a->len) == 0);
}
