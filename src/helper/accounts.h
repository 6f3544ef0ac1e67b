/*
 * Accounts by name or number, as the system knows them, remembered for some seconds.
 * accounts_new allocates, accounts_free frees; what is found belongs to the table until the next look. One thread.
 * Looking up may take as long as the system's name services take.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

#define ACCOUNT_GROUPS 256

struct account {
	char name[128]; /* of a number without a name: the number */
	uid_t uid;
	gid_t gid;
	char home[256]; /* "/" when it is not known, or longer */
	gid_t groups[ACCOUNT_GROUPS];
	size_t n_groups;
	uint64_t found_ms;
};

struct accounts;

struct accounts *accounts_new(void);
void accounts_free(struct accounts *a); /* NULL does nothing */
/* name: or a number; one that the system does not know has its own number as its only group. */
MUST_CHECK int accounts_find(struct accounts *a, const char *name, uint64_t now_ms,
        const struct account **ret_account, struct err *err);
