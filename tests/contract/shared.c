#include "shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *shared_path(const char *dir, const char *name)
{
	static char paths[8][256];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

const char *shared_program(const char *name)
{
	const char *build = getenv("BERTH_BUILD");

	if (!build)
		fail_msg("BERTH_BUILD does not say where the programs are");
	return shared_path(build, name);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

int shared_remove(const char *dir)
{
	return nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

struct link_start shared_job(uint64_t epoch, const char *script, const char *chdir)
{
	static char *argv[4] = {"/bin/sh", "-c", NULL, NULL};

	argv[2] = (char *)(uintptr_t)script;
	return (struct link_start){
	        .id = {.num = epoch, .task = TASK_NONE},
	        .attempt = 1,
	        .epoch = epoch,
	        .name = "test",
	        .queue = "default",
	        .uid = geteuid(),
	        .argv = argv,
	        .chdir = (char *)(uintptr_t)chdir,
	        .n_cpus = 1,
	        .rows = 24,
	        .columns = 80,
	};
}

const struct spool_record *shared_record(
        const struct spool_record *v, size_t n, uint64_t epoch, enum spool_kind kind)
{
	for (size_t i = n; i-- > 0;)
		if (v[i].epoch == epoch && v[i].kind == kind)
			return &v[i];
	return NULL;
}

size_t shared_count(const struct spool_record *v, size_t n, uint64_t epoch, enum spool_kind kind)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		found += v[i].epoch == epoch && v[i].kind == kind;
	return found;
}
