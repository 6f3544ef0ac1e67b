/* Where the loader would find a library, whatever its cache looks like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "plat/fs.h"
#include "plat/library.h"

static void test_found(void **state)
{
	char path[LIBRARY_PATH], dir[] = "/tmp/library-XXXXXX", link[64], found[LIBRARY_PATH];

	assert_true(library_find("libc.so.6", "", path));
	assert_int_equal(path[0], '/');
	assert_int_equal(access(path, R_OK), 0);
	assert_false(library_find("libberth-has-no-such.so.1", "", found));
	/* What this process would look at first comes first. */
	assert_non_null(mkdtemp(dir));
	snprintf(link, sizeof(link), "%s/libberth-own.so.1", dir);
	assert_int_equal(symlink(path, link), 0);
	setenv("LD_LIBRARY_PATH", "/nonexistent::", 1);
	assert_false(library_find("libberth-own.so.1", "", found));
	snprintf(found, sizeof(found), "/nonexistent:%s", dir);
	setenv("LD_LIBRARY_PATH", found, 1);
	assert_true(library_find("libberth-own.so.1", "", found));
	assert_string_equal(found, path);
	/* What is no library of this machine's is passed over. */
	assert_int_equal(unlink(link), 0);
	assert_int_equal(symlink("/etc/passwd", link), 0);
	assert_false(library_find("libberth-own.so.1", "", found));
	unsetenv("LD_LIBRARY_PATH");
	unlink(link);
	rmdir(dir);
}

/* A cache that is cut anywhere, or has any byte wrong, leads to nothing that is not there. */
static void test_spoilt_cache(void **state)
{
	CLEANUP_BUF struct buf cache = BUF_INIT(64 * MIB);
	char dir[] = "/tmp/library-XXXXXX", etc[64], file[80], path[LIBRARY_PATH];
	struct err err;

	if (fs_read("/etc/ld.so.cache", &cache, &err) < 0)
		skip();
	assert_non_null(mkdtemp(dir));
	snprintf(etc, sizeof(etc), "%s/etc", dir);
	snprintf(file, sizeof(file), "%s/ld.so.cache", etc);
	assert_int_equal(mkdir(etc, 0700), 0);
	for (size_t len = 0; len < cache.len; len += len < 200 ? 7 : cache.len / 20 + 1) {
		FILE *f = fopen(file, "we");

		assert_non_null(f);
		assert_int_equal(fwrite(cache.data, 1, len, f), len);
		fclose(f);
		assert_false(library_find("libc.so.6", dir, path));
	}
	for (size_t i = 0; i < 50; i++) {
		FILE *f = fopen(file, "we");

		assert_non_null(f);
		memset(cache.data + 20 + i * 4, 0xff, 4);
		assert_int_equal(fwrite(cache.data, 1, cache.len, f), cache.len);
		fclose(f);
		assert_false(library_find("libc.so.6", dir, path));
	}
	unlink(file);
	rmdir(etc);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_found),
	        cmocka_unit_test(test_spoilt_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
