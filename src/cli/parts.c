#include "cli/parts.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

char *parts_self(void)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	path[MAX(n, 0)] = '\0';
	return mem_strdup(path);
}

int parts_find(const char *program, char **ret_path, struct err *err)
{
	char *self = parts_self(), *beside = NULL, *installed = NULL;
	char *slash = strrchr(self, '/');
	int rc = 0;

	if (slash)
		*slash = '\0';
	BUG_IF(asprintf(&beside, "%s/%s", self, program) < 0);
	BUG_IF(asprintf(&installed, "%s/../lib/berth/%s", self, program) < 0);
	if (access(beside, X_OK) == 0)
		*ret_path = STEAL(beside);
	else if (access(installed, X_OK) == 0)
		*ret_path = STEAL(installed);
	else
		rc = err_set(err, ERR_NOT_FOUND, "%s is neither at %s nor at %s", program, beside,
		        installed);
	free(self);
	free(beside);
	free(installed);
	return rc ? err_hint(err, "copy all of Berth, not only this program") : 0;
}

void parts_argv_add(struct parts_argv *a, const char *word)
{
	if (a->n + 1 >= a->cap) {
		a->cap = a->cap ? a->cap * 2 : 16;
		a->v = mem_realloc(a->v, a->cap, sizeof(*a->v));
	}
	a->v[a->n++] = mem_strdup(word);
	a->v[a->n] = NULL;
}

void parts_argv_add_option(struct parts_argv *a, const char *option, const char *value)
{
	if (!value)
		return;
	parts_argv_add(a, option);
	parts_argv_add(a, value);
}

void parts_argv_done(struct parts_argv *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->v[i]);
	free(a->v);
	*a = (struct parts_argv){0};
}
