#include "agent/procs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "plat/fs.h"

#define DEPTH_MAX   256 /* no tree is as deep; a loop through reused pids is */
#define ENVIRON_MAX (256 * KIB)

struct keeper {
	pid_t pid;
	uint64_t epoch;
};

struct procs {
	const struct attempts *attempts;
	struct keeper *keepers; /* by pid */
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
	free(p->keepers);
	free(p);
}

static int compare_pids(const void *a, const void *b)
{
	pid_t x = ((const struct keeper *)a)->pid, y = ((const struct keeper *)b)->pid;

	return (x > y) - (x < y);
}

void procs_refresh(struct procs *p)
{
	p->n = 0;
	for (const struct known_attempt *a = attempts_first(p->attempts, ATTEMPT_LIVING); a;
	        a = TAILQ_NEXT(a, link)) {
		if (!a->keeper_pid)
			continue;
		MEM_GROW(p->keepers, p->n, p->cap);
		p->keepers[p->n++] = (struct keeper){(pid_t)a->keeper_pid, a->epoch};
	}
	if (p->n)
		qsort(p->keepers, p->n, sizeof(*p->keepers), compare_pids);
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
		struct keeper key = {.pid = pid};
		const struct keeper *k =
		        bsearch(&key, p->keepers, p->n, sizeof(*p->keepers), compare_pids);

		if (k)
			return k->epoch;
		pid = parent_of(pid);
	}
	return 0;
}

static const char *find_value(const struct buf *environment, const char *key)
{
	size_t len = strlen(key);
	const char *p = (const char *)environment->data, *end = p + environment->len;

	for (; p < end; p += strlen(p) + 1)
		if (strncmp(p, key, len) == 0 && p[len] == '=')
			return p + len + 1;
	return NULL;
}

static void set_slices(struct known_attempt *a, const char *uuids, uint64_t mem_bytes)
{
	while (*uuids && a->n_slices < NODE_DEVICES_MAX) {
		size_t len = strcspn(uuids, ",");
		struct slice_record *s;

		a->slices = mem_realloc(a->slices, a->n_slices + 1, sizeof(*a->slices));
		s = &a->slices[a->n_slices++];
		*s = (struct slice_record){.mem_bytes = mem_bytes};
		snprintf(s->device, sizeof(s->device), "%.*s", (int)len, uuids);
		uuids += len + (uuids[len] == ',');
	}
	for (uint32_t i = 0; i < a->n_slices && a->n_slices > 1; i++)
		a->slices[i].mem_bytes = UINT64_MAX;
}

void procs_find_slices(struct known_attempt *a)
{
	CLEANUP_BUF struct buf environment = BUF_INIT(ENVIRON_MAX);
	const char *epoch, *uuids, *bytes;
	char path[32];
	uint64_t value, mem_bytes = UINT64_MAX;
	struct err err;

	if (a->slices_known || !a->pid)
		return;
	snprintf(path, sizeof(path), "/proc/%u/environ", a->pid);
	if (fs_read(path, &environment, &err) < 0 || !environment.len)
		return;
	buf_str(&environment);
	epoch = find_value(&environment, "BERTH_EPOCH");
	if (!epoch || num_parse_u64(epoch, UINT64_MAX, &value, &err) < 0 || value != a->epoch)
		return;
	uuids = find_value(&environment, "CUDA_VISIBLE_DEVICES");
	bytes = find_value(&environment, "BERTH_GPU_MEM_BYTES");
	if (bytes && num_parse_u64(bytes, UINT64_MAX, &value, &err) == 0)
		mem_bytes = value;
	set_slices(a, uuids ? uuids : "", mem_bytes);
	a->slices_known = true;
}
