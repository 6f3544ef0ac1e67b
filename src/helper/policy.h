/*
 * What the helper allows: its configuration, which only root can write, and the check of one message against it.
 * The caller owns the struct, until policy_done. One thread. A refusal is an error whose text is for the submitter.
 *
 * The file, one setting a line (`#` begins a comment): allow_root = yes|no (no: only what grants.h says), min_uid = N (1000),
 * users = NAME,NAME... (none named: all), cgroup_parent = PATH (what cgroup.parent may be; none: it may not be set). The
 * server's own account is never allowed, because it owns the data directory.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"
#include "wire/launch.h"

#define POLICY_USERS 256

struct policy {
	const char *data; /* the data directory, absolute, without a slash at its end */
	uid_t server_uid;
	gid_t server_gid;
	bool allow_root;
	uint32_t min_uid;
	char *users[POLICY_USERS];
	size_t n_users;
	char *cgroup_parent; /* NULL: none */
	const char *devices; /* where the kernel's driver lists its own */
	struct accounts *accounts;
};

void policy_init(struct policy *p, const char *data);
void policy_done(struct policy *p);
/* Settings of a file that belongs to root and that nobody else can write; absent: nothing is set. */
MUST_CHECK int policy_read(struct policy *p, const char *path, struct err *err);
/* The same of a text, which is written into. */
MUST_CHECK int policy_parse(struct policy *p, char *text, struct err *err);
MUST_CHECK int policy_set(struct policy *p, const char *key, const char *value, struct err *err);

/* l as it may go on, with its account filled in: groups are borrowed, until the next check. now_ms: clock_mono_ms. */
MUST_CHECK int policy_check(struct policy *p, struct launch *l, uint64_t now_ms, struct err *err);
/* Whether a console may be there: then a refusal can be told. */
bool policy_is_console(const struct policy *p, const char *path);
