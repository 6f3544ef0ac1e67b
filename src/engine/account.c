#include "engine/account.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"

#define SLOTS      16
#define KEEP_MS    60000
#define GROUPS_MAX 1024

struct slot {
	struct account account; /* name NULL: empty */
	uint64_t read_ms;
};

struct accounts {
	struct slot slots[SLOTS];
	size_t next; /* to be written over */
};

struct accounts *accounts_new(void)
{
	return mem_zalloc(sizeof(struct accounts));
}

static void empty_slot(struct slot *s)
{
	free(s->account.name);
	free(s->account.home);
	free(s->account.groups);
	*s = (struct slot){0};
}

void accounts_free(struct accounts *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < SLOTS; i++)
		empty_slot(&a->slots[i]);
	free(a);
}

static void read_groups(struct account *a)
{
	gid_t groups[GROUPS_MAX];
	int n = GROUPS_MAX;

	if (getgrouplist(a->name, a->gid, groups, &n) < 0)
		n = 0;
	a->groups = mem_realloc(NULL, (size_t)n + 1, sizeof(*a->groups));
	for (int i = 0; i < n; i++)
		a->groups[a->n_groups++] = groups[i];
}

static const struct account *keep(struct accounts *a, const struct passwd *p, uint64_t now_ms)
{
	struct slot *s = &a->slots[a->next];

	a->next = (a->next + 1) % SLOTS;
	empty_slot(s);
	s->account = (struct account){
	        .uid = p->pw_uid,
	        .gid = p->pw_gid,
	        .name = mem_strdup(p->pw_name),
	        .home = mem_strdup(p->pw_dir),
	};
	read_groups(&s->account);
	s->read_ms = now_ms;
	return &s->account;
}

static bool is_fresh(const struct slot *s, uint64_t now_ms)
{
	return s->account.name && now_ms - s->read_ms < KEEP_MS;
}

/* What getpwnam_r and getpwuid_r say when there is none varies; none of it is worth telling apart here. */
static int not_found(int sys, const char *what, struct err *err)
{
	if (sys == 0 || sys == ENOENT || sys == ESRCH || sys == EBADF || sys == EPERM)
		return err_set(err, ERR_NOT_FOUND, "this machine has no account %s", what);
	return err_sys(err, sys, "looking up account %s", what);
}

int account_get(struct accounts *a, const char *name, uint64_t now_ms, const struct account **ret,
        struct err *err)
{
	char bytes[4096], shown[TEXT_SHOW_SIZE];
	struct passwd entry, *found = NULL;
	int sys;

	for (size_t i = 0; i < SLOTS; i++) {
		if (is_fresh(&a->slots[i], now_ms) && strcmp(a->slots[i].account.name, name) == 0) {
			*ret = &a->slots[i].account;
			return 0;
		}
	}
	sys = getpwnam_r(name, &entry, bytes, sizeof(bytes), &found);
	if (!found)
		return not_found(sys, text_show(name, shown), err);
	*ret = keep(a, found, now_ms);
	return 0;
}

int account_get_uid(struct accounts *a, uint32_t uid, uint64_t now_ms, const struct account **ret,
        struct err *err)
{
	char bytes[4096], shown[16];
	struct passwd entry, *found = NULL;
	int sys;

	for (size_t i = 0; i < SLOTS; i++) {
		if (is_fresh(&a->slots[i], now_ms) && a->slots[i].account.uid == uid) {
			*ret = &a->slots[i].account;
			return 0;
		}
	}
	sys = getpwuid_r(uid, &entry, bytes, sizeof(bytes), &found);
	snprintf(shown, sizeof(shown), "%u", uid);
	if (!found)
		return not_found(sys, shown, err);
	*ret = keep(a, found, now_ms);
	return 0;
}
