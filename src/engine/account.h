/*
 * Unix accounts by name or number, remembered for a minute: a thousand jobs of one user ask the machine once.
 * Returned strings belong to the cache, until the next lookup. Loop thread; the machine's directory of accounts may block it.
 */
#pragma once

#include "base/err.h"

struct accounts;

struct account {
	uint32_t uid;
	uint32_t gid;
	char *name;
	char *home;
	uint32_t *groups; /* all of them */
	size_t n_groups;
};

struct accounts *accounts_new(void);
void accounts_free(struct accounts *a); /* NULL does nothing */

/* NOT_FOUND names it. now_ms: monotonic. */
MUST_CHECK int account_get(struct accounts *a, const char *name, uint64_t now_ms,
        const struct account **ret, struct err *err);
MUST_CHECK int account_get_uid(struct accounts *a, uint32_t uid, uint64_t now_ms,
        const struct account **ret, struct err *err);
