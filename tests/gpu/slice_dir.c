/*
 * Makes the directories of slices as the agent would: DIR/0, DIR/1, ... with a ledger each, and one page on which they take turns.
 *   slice_dir DIR UUID LIMIT_BYTES CONTEXT_BYTES SWITCH_NS WEIGHT_MILLI...
 * A weight of 1000 or of one alone is a slice whose compute nobody else wants.
 */
#include "berth/pace.h"
#include "berth/slice.h"
#include "shim/pace_judge.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define GRANULE_BYTES (2 << 20)

static void fail(const char *path)
{
	perror(path);
	exit(1);
}

static void write_file(const char *path, const void *data, size_t size, size_t file_size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)file_size) != 0 ||
	        pwrite(fd, data, size, 0) != (ssize_t)size)
		fail(path);
	close(fd);
}

static void make_page(const char *path, const char *uuid, uint32_t switch_ns, char **weights, int n)
{
	static struct pace_page page;

	page.head = (struct pace_head){.magic = PACE_MAGIC, .abi = PACE_ABI};
	snprintf(page.head.uuid, sizeof page.head.uuid, "%s", uuid);
	pace_parameters(&page.head, switch_ns);
	page.word = PACE_WORD(PACE_NOBODY, PACE_FREE, 0, 0);
	for (int i = 0; i < n; i++)
		page.tenants[i] = (struct pace_tenant){
		        .weight_milli = (uint32_t)atoi(weights[i]), .cap_milli = 1000};
	write_file(path, &page, sizeof page, sizeof page);
}

int main(int argc, char **argv)
{
	char page[4000], dir[4000], path[4096];

	if (argc < 7 || argc - 6 > PACE_TENANTS) {
		fprintf(stderr,
		        "usage: slice_dir DIR UUID LIMIT_BYTES CONTEXT_BYTES SWITCH_NS WEIGHT_MILLI...\n");
		return 2;
	}
	snprintf(page, sizeof page, "%s/page", argv[1]);
	make_page(page, argv[2], (uint32_t)atoi(argv[5]), argv + 6, argc - 6);
	for (int i = 0; i < argc - 6; i++) {
		struct slice_grant grant = {.magic = SLICE_MAGIC,
		        .abi = SLICE_ABI,
		        .n_slots = SLICE_SLOTS,
		        .epoch = 1,
		        .limit_bytes = strtoull(argv[3], NULL, 10),
		        .granule_bytes = GRANULE_BYTES,
		        .context_bytes = strtoull(argv[4], NULL, 10),
		        .share_milli = (uint32_t)atoi(argv[6 + i]),
		        .flags = SLICE_HOLDS_MEMORY | SLICE_HOLDS_COMPUTE,
		        .tenant = (uint32_t)i};

		snprintf(grant.uuid, sizeof grant.uuid, "%s", argv[2]);
		snprintf(dir, sizeof dir, "%.3900s/%d", argv[1], i);
		if (mkdir(dir, 0700) != 0)
			fail(dir);
		snprintf(path, sizeof path, "%s/slice-0", dir);
		write_file(path, &grant, sizeof grant, sizeof(struct slice));
		snprintf(path, sizeof path, "%s/pace-0", dir);
		if (link(page, path) != 0)
			fail(path);
	}
	return 0;
}
