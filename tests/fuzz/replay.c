/*
 * In place of libFuzzer: runs a harness over the files of a folder, each in memory of its own size, so that a read beyond
 * the end is seen. A test of cmocka; the last name printed is that of the input that failed.
 *   fuzz_X FOLDER
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define INPUT_MAX 65536

static const char *folder;

static void run_file(const char *name)
{
	char path[4096];
	uint8_t *bytes = malloc(INPUT_MAX), *exact;
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	printf("# %s\n", name);
	fflush(stdout);
	f = fopen(path, "rb");
	assert_non_null(f);
	len = fread(bytes, 1, INPUT_MAX, f);
	fclose(f);
	assert_true(len < INPUT_MAX);
	exact = malloc(len ? len : 1);
	memcpy(exact, bytes, len);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
	free(bytes);
}

static void test_corpus(void **state)
{
	struct dirent **v;
	int n = scandir(folder, &v, NULL, alphasort), n_run = 0;

	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		if (v[i]->d_name[0] != '.') {
			run_file(v[i]->d_name);
			n_run++;
		}
		free(v[i]);
	}
	free(v);
	assert_true(n_run > 0);
	LLVMFuzzerTestOneInput(NULL, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_corpus)};

	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	folder = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
