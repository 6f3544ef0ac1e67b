#include "bench/ledgers.h"

#include "berth/pace.h"
#include "berth/slice.h"
#include "shim/pace_judge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define GRANULE_BYTES (2 << 20)

static bool failed(struct bench *b, const char *path)
{
	return bench_fail(b, "%.300s: %s", path, strerror(errno));
}

static bool write_file(
        struct bench *b, const char *path, const void *data, size_t size, size_t file_size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return failed(b, path);
	bool ok =
	        ftruncate(fd, (off_t)file_size) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size;
	if (!ok)
		failed(b, path);
	close(fd);
	return ok;
}

static bool make_page(
        struct bench *b, const char *path, const char *uuid, const unsigned *weights, unsigned n)
{
	static struct pace_page page;

	memset(&page, 0, sizeof page);
	page.head = (struct pace_head){.magic = PACE_MAGIC, .abi = PACE_ABI};
	snprintf(page.head.uuid, sizeof page.head.uuid, "%s", uuid);
	pace_parameters(&page.head, LEDGERS_SWITCH_NS);
	page.word = PACE_WORD(PACE_NOBODY, PACE_FREE, 0, 0);
	for (unsigned i = 0; i < n; i++)
		page.tenants[i] =
		        (struct pace_tenant){.weight_milli = weights[i], .cap_milli = 1000};
	return write_file(b, path, &page, sizeof page, sizeof page);
}

static bool make_one(struct bench *b, const char *uuid, unsigned weight, unsigned tenant,
        const char *page, const char *dir)
{
	struct slice_grant grant = {.magic = SLICE_MAGIC,
	        .abi = SLICE_ABI,
	        .n_slots = SLICE_SLOTS,
	        .epoch = 1,
	        .limit_bytes = b->limit_bytes,
	        .granule_bytes = GRANULE_BYTES,
	        .context_bytes = b->context_bytes,
	        .share_milli = weight,
	        .flags = SLICE_HOLDS_MEMORY | SLICE_HOLDS_COMPUTE,
	        .tenant = tenant};
	char path[BENCH_PATH + 16];

	snprintf(grant.uuid, sizeof grant.uuid, "%s", uuid);
	if (mkdir(dir, 0700) != 0)
		return failed(b, dir);
	snprintf(path, sizeof path, "%s/slice-0", dir);
	if (!write_file(b, path, &grant, sizeof grant, sizeof(struct slice)))
		return false;
	snprintf(path, sizeof path, "%s/pace-0", dir);
	return link(page, path) == 0 || failed(b, path);
}

bool ledgers_make(
        struct bench *b, const char *uuid, const unsigned *weights, unsigned n, struct ledgers *ret)
{
	char page[BENCH_PATH];

	b->n_ledgers++;
	snprintf(page, sizeof page, "%.3900s/page-%u", b->dir, b->n_ledgers);
	if (!make_page(b, page, uuid, weights, n))
		return false;
	for (unsigned i = 0; i < n; i++) {
		snprintf(ret->path[i], sizeof ret->path[i], "%.3900s/slices-%u-%u", b->dir,
		        b->n_ledgers, i);
		if (!make_one(b, uuid, weights[i], i, page, ret->path[i]))
			return false;
	}
	return true;
}
