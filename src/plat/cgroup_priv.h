/*
 * Between the files of plat/cgroup: small files of the kernel, and the device filter.
 * Nothing is owned. One thread. False with errno.
 */
#pragma once

#include "plat/cgroup.h"

enum { CGROUP_FILE = CGROUP_PATH + 64 };

bool cgroup_write(const char *path, const char *text);
/* Up to size - 1 bytes, NUL-terminated. */
bool cgroup_read_file(const char *path, char *room, size_t size);
/* The number after `key` ("" : the first one) in such a file; false when it has none. */
bool cgroup_read_number(const char *path, const char *key, uint64_t *ret);

/* The directory that serves this; NULL: none. */
const struct cgroup_dir *cgroup_dir_of(const struct cgroup_tree *t, enum cgroup_can what);
void cgroup_file(
        const struct cgroup_dir *d, unsigned number, const char *file, char path[CGROUP_FILE]);

/* cgroup_devices.c */
bool cgroup_devices_work(void); /* whether the kernel takes filters from us */
bool cgroup_devices_set(const struct cgroup_tree *t, unsigned number, const struct cgroup_limits *l,
        const struct cgroup_limits *before);
