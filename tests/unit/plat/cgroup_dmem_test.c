/* Limits of device memory, over a directory that looks like version 2: no kernel with a real region was at hand. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plat/cgroup.h"

static char root[] = "/tmp/berth-dmem-XXXXXX";

static void put(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void get(const char *name, char text[256])
{
	char path[256];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(text, 1, 255, f);
	text[n] = '\0';
	fclose(f);
}

static void drop(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	assert_int_equal(remove(path), 0);
}

static void test_regions(void **state)
{
	static const struct {
		const char *pci, *region;
	} rows[] = {
	        {"00000000:3B:00.0", "nvidia/0000:3b:00.0/vidmem"},
	        {"0000:3b:00.0", "nvidia/0000:3b:00.0/vidmem"},
	        {"00010000:01:00.0", "nvidia/10000:01:00.0/vidmem"},
	        {"00000000:01:00.0", NULL}, /* of another maker */
	        {"00000000:3B:00.1", NULL},
	        {"00000000:3B:00", NULL},
	        {"", NULL},
	        {"nonsense", NULL},
	};
	char region[CGROUP_REGION];

	assert_false(cgroup_dmem_find(root, rows[0].pci, region));
	put("dmem.capacity", "drm/0000:01:00.0/vram0 8514437120\n"
	                     "nvidia/0000:3b:00.0/other 1\n"
	                     "nvidia/ 1\nnvidia/0000:3b:00.0\n\n"
	                     "nvidia/0000:3b:00.0/vidmem 85899345920\n"
	                     "nvidia/10000:01:00.0/vidmem 85899345920\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(
		        cgroup_dmem_find(root, rows[i].pci, region), rows[i].region != NULL);
		if (rows[i].region)
			assert_string_equal(region, rows[i].region);
	}
	drop("dmem.capacity");
}

static void test_limit(void **state)
{
	struct cgroup_tree tree = {.n = 1, .can = CGROUP_GPU};
	struct cgroup_tree without = {0};
	struct cgroup g = {.tree = &tree, .number = 7};
	char path[256], text[256];

	snprintf(path, sizeof(path), "%s/7", root);
	assert_int_equal(mkdir(path, 0755), 0);
	tree.dirs[0] = (struct cgroup_dir){.is_v2 = true, .serves = CGROUP_GPU};
	snprintf(tree.dirs[0].path, sizeof(tree.dirs[0].path), "%s", root);
	/* The file is not there, as where the controller was not handed down: refused, and the group is not used again. */
	assert_false(cgroup_dmem_set(&g, "nvidia/0000:3b:00.0/vidmem 1024\n"));
	assert_int_equal(g.held, 0);
	assert_true(g.is_spent);
	put("7/dmem.max", "");
	assert_true(cgroup_dmem_set(&g, "nvidia/0000:3b:00.0/vidmem 1024\n"));
	assert_int_equal(g.held, CGROUP_GPU);
	get("7/dmem.max", text);
	assert_string_equal(text, "nvidia/0000:3b:00.0/vidmem 1024");
	g = (struct cgroup){.tree = &without};
	assert_false(cgroup_dmem_set(&g, "nvidia/0000:3b:00.0/vidmem 1024\n"));
	drop("7/dmem.max");
	drop("7");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_regions), cmocka_unit_test(test_limit)};
	int failed;

	if (!mkdtemp(root))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(root);
	return failed;
}
