#include "agent/procs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

#define DEPTH_MAX 256 /* no tree is as deep; a loop through reused pids is */

struct root {
	pid_t pid;
	uint64_t epoch;
};

struct procs {
	const struct attempts *attempts;
	struct root *roots; /* by pid */
	size_t n, cap;
};

struct procs *procs_new(const struct attempts *at)
{
	struct procs *p = mem_zalloc(sizeof(*p));

	p->attempts = at;
	return p;
}

void procs_free(struct procs *p)
{
	if (!p)
		return;
	free(p->roots);
	free(p);
}

static int compare_pids(const void *a, const void *b)
{
	pid_t x = ((const struct root *)a)->pid, y = ((const struct root *)b)->pid;

	return (x > y) - (x < y);
}

void procs_refresh(struct procs *p)
{
	p->n = 0;
	for (const struct known_attempt *a = attempts_first(p->attempts, ATTEMPT_LIVING); a;
	        a = TAILQ_NEXT(a, link)) {
		if (!a->root_pid)
			continue;
		MEM_GROW(p->roots, p->n, p->cap);
		p->roots[p->n++] = (struct root){(pid_t)a->root_pid, a->epoch};
	}
	if (p->n)
		qsort(p->roots, p->n, sizeof(*p->roots), compare_pids);
}

/* 0 when it is not there. */
static pid_t parent_of(pid_t pid)
{
	char path[32], text[512];
	const char *name_end;
	ssize_t n;
	int fd, ppid;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[MAX(n, 0)] = '\0';
	/* The name may hold anything, brackets too. */
	name_end = strrchr(text, ')');
	return name_end && sscanf(name_end, ") %*c %d", &ppid) == 1 ? ppid : 0;
}

uint64_t procs_owner(const struct procs *p, pid_t pid)
{
	for (int depth = 0; depth < DEPTH_MAX && pid > 1 && p->n; depth++) {
		struct root key = {.pid = pid};
		const struct root *k =
		        bsearch(&key, p->roots, p->n, sizeof(*p->roots), compare_pids);

		if (k)
			return k->epoch;
		pid = parent_of(pid);
	}
	return 0;
}
