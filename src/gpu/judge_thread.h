/*
 * The judge of one device in a thread of its own, with the files by which its tenants reach it (berth/pace.h): own-N, read with
 * pread, and watched for being written. The thread sleeps until somebody asks, or until what judge.h has said.
 * The caller owns a struct judge_thread, and is one thread; it waits for a look at most. Making one and seating a tenant can
 * fail; nothing that a tenant does to its files is more than its own loss.
 *
 * DESIGN. A tenant that asks without end is heard so often a second and no more; its locks are not looked at any more when
 * that takes long, as it does when somebody has set very many; nothing of its files is mapped, nothing is written, and
 * no call is made on them that waits for what a job may hold while the kernel copies for it, as those on a FIFO do.
 */
#pragma once

#include "base/err.h"

#include <stdint.h>

struct judge_thread;

/* -- life cycle -- */
/* page: a valid struct pace_page, open for reading and writing, that nobody else may write; the caller keeps it, and may close it. */
MUST_CHECK int judge_thread_new(int page_fd, struct judge_thread **ret, struct err *err);
/* Its page is judged no more, until somebody else does. NULL does nothing. */
void judge_thread_free(struct judge_thread *t);

/* -- commands -- */
/* The tenant's own-`place` is in dir. */
MUST_CHECK int judge_thread_seat(
        struct judge_thread *t, uint32_t tenant, int dir_fd, uint32_t place, struct err *err);
void judge_thread_unseat(struct judge_thread *t, uint32_t tenant);
