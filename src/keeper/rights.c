#include "keeper/rights.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void as(uid_t uid, gid_t gid, size_t n_groups, const gid_t *groups)
{
	BUG_IF(setgroups(n_groups, groups) < 0);
	BUG_IF(setegid(gid) < 0);
	BUG_IF(seteuid(uid) < 0);
}

/* A keeper that has dropped its rights has no others to choose from. */
static bool can_choose(const struct keeper_base *base)
{
	return base->is_root && getuid() == 0;
}

void rights_as_account(const struct keeper_base *base, const struct launch *l)
{
	if (can_choose(base))
		as(l->uid, l->gid, l->n_groups, l->groups);
}

void rights_as_server(const struct keeper_base *base)
{
	if (can_choose(base))
		as(base->server_uid, base->server_gid, 1, &base->server_gid);
}

void rights_back(const struct keeper_base *base)
{
	if (!can_choose(base))
		return;
	BUG_IF(seteuid(0) < 0);
	BUG_IF(setegid(0) < 0);
	BUG_IF(setgroups(0, NULL) < 0);
}

void rights_drop_to_keeper(const struct keeper_base *base)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2] = {{0}};

	if (!base->is_root || base->server_uid == 0)
		return;
	BUG_IF(setgroups(1, &base->server_gid) < 0);
	BUG_IF(setresgid(base->server_gid, base->server_gid, base->server_gid) < 0);
	BUG_IF(prctl(PR_SET_KEEPCAPS, 1L) < 0);
	BUG_IF(setresuid(base->server_uid, base->server_uid, base->server_uid) < 0);
	caps[0].effective = caps[0].permitted = 1u << CAP_KILL;
	BUG_IF(syscall(SYS_capset, &head, caps) < 0);
}

/* Raw calls: after vfork the C library's own bookkeeping is the parent's. */
bool rights_drop_to_account(const struct launch *l)
{
	return syscall(SYS_setgroups, l->n_groups, l->groups) == 0 &&
	       syscall(SYS_setresgid, l->gid, l->gid, l->gid) == 0 &&
	       syscall(SYS_setresuid, l->uid, l->uid, l->uid) == 0;
}
