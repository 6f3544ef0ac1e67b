#include "golden.h"

#include <stdio.h>
#include <stdlib.h>

static FILE *open_file(const char *name, const char *mode)
{
	const char *source = getenv("BERTH_SOURCE");
	char path[4096];

	assert_non_null(source);
	snprintf(path, sizeof(path), "%s/tests/golden/%s", source, name);
	return fopen(path, mode);
}

void golden_read(const char *name, struct buf *b)
{
	FILE *f = open_file(name, "rb");
	uint8_t *room;
	size_t n;

	if (!f)
		fail_msg("tests/golden/%s is not there", name);
	do {
		room = buf_reserve(b, 4096);
		assert_non_null(room);
		n = fread(room, 1, 4096, f);
		buf_commit(b, n);
	} while (n);
	fclose(f);
}

void golden_made(const char *name, const struct buf *made)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	FILE *f = getenv("GOLDEN_WRITE") ? open_file(name, "wbx") : NULL;

	assert_false(made->overflow);
	if (f) {
		assert_int_equal(fwrite(made->data, 1, made->len, f), made->len);
		assert_int_equal(fclose(f), 0);
	}
	golden_read(name, &b);
	assert_int_equal(made->len, b.len);
	assert_memory_equal(made->data, b.data, b.len);
}
