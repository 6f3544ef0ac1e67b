/*
 * The pages by which jobs on a device take turns (berth/pace.h): one for each device, in the directory in memory that slices.h
 * has, under a name that nobody can guess, and linked as pace-N beside the ledger of each attempt on it. Where jobs are of
 * several accounts they may only read it; each has own-N beside it, and a thread of ours judges.
 * A struct pages belongs to its slices; the directories are its caller's, by their descriptors. One thread. What jobs may write is
 * written here and never mapped, since they may do to it whatever they like; what is spoilt is made anew for who comes next.
 *
 * DESIGN. Pages and links are the truth: after a restart a page is known by its name, which tells its device, and who is on it by
 * the links, and by the rows, which say whose they are. The rights of its file say who judges: what jobs may write is never
 * judged here, whatever stands in it.
 */
#pragma once

#include "base/err.h"

#define PAGES_NAME 256 /* of a file, with its NUL */
#define PAGES_NONE UINT32_MAX

struct pages;

/* Who takes turns. */
struct pages_tenant {
	const char *device;
	uint64_t epoch;
	uint32_t weight_milli, cap_milli; /* cap 1000: none */
	bool is_multi;                    /* its job holds other devices, too */
};

/* -- life cycle -- */
struct pages *pages_new(bool is_judged); /* jobs are of several accounts */
void pages_free(struct pages *p);        /* NULL does nothing; files stay */

/* -- commands -- */
/* A file of an earlier agent; false: it is none of ours. */
bool pages_found(struct pages *p, int root_fd, const char *name);
/* The row of an attempt that an earlier agent has linked as pace-`place` in dir; *ret_page is 0 where there is none. */
void pages_adopt(struct pages *p, int root_fd, int dir_fd, uint64_t epoch, uint32_t place,
        uint64_t *ret_page, uint32_t *ret_tenant);
/* After all were adopted: what nobody is on goes. */
void pages_sweep(struct pages *p, int root_fd);
/*
 * A row of the page of t's device, which is made if need be, and pace-`place` in dir. Where none is left *ret_tenant is
 * PAGES_NONE, and nothing was linked.
 */
MUST_CHECK int pages_take(struct pages *p, int root_fd, int dir_fd, uint32_t place,
        const struct pages_tenant *t, uint64_t *ret_page, uint32_t *ret_tenant, struct err *err);
/* The row is free, and the page goes with the last. `page` as it was told; 0 does nothing. */
void pages_give(struct pages *p, int root_fd, uint64_t page, uint32_t tenant);

/* -- queries -- */
bool pages_is_name(const char *name); /* of a page's file */
/* Whether dir/pace-`place` still is the page that was told; root_fd is the directory of dir. */
bool pages_is_linked(int root_fd, const char *dir, uint32_t place, uint64_t page);
