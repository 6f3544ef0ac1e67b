/* A ledger's file as the agent makes it, for tests. What goes wrong fails the test. */
#pragma once

#include "berth/slice.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <cmocka.h>

#define SLICE_FILE_GRANULE (UINT64_C(2) << 20)

/* slice-NUMBER of the directory, empty. */
static inline void slice_file_write(const char *dir, unsigned number, const char *uuid,
        uint64_t limit_bytes, uint64_t context_bytes, uint32_t flags)
{
	char path[256];
	struct slice_grant grant = {.magic = SLICE_MAGIC,
	        .abi = SLICE_ABI,
	        .n_slots = SLICE_SLOTS,
	        .epoch = 1,
	        .limit_bytes = limit_bytes,
	        .granule_bytes = SLICE_FILE_GRANULE,
	        .context_bytes = context_bytes,
	        .share_milli = 250,
	        .flags = flags};
	snprintf(grant.uuid, sizeof grant.uuid, "%s", uuid);
	snprintf(path, sizeof path, "%s/slice-%u", dir, number);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0666), 0);
	assert_int_equal(ftruncate(fd, sizeof(struct slice)), 0);
	assert_int_equal(pwrite(fd, &grant, sizeof grant, 0), sizeof grant);
	close(fd);
}

static inline struct slice *slice_file_map(const char *dir, unsigned number)
{
	char path[256];
	snprintf(path, sizeof path, "%s/slice-%u", dir, number);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	void *at = mmap(NULL, sizeof(struct slice), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	close(fd);
	return at;
}
