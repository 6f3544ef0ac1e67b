#include "helper/accounts.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/text.h"

enum { REMEMBERED = 32, FRESH_MS = 10000, ROOM_MAX = 1 << 20 };

struct accounts {
	struct account known[REMEMBERED];
	size_t n;
	size_t next; /* to be forgotten */
};

struct accounts *accounts_new(void)
{
	return mem_zalloc(sizeof(struct accounts));
}

void accounts_free(struct accounts *a)
{
	free(a);
}

static bool parse_number(const char *name, uid_t *ret_uid)
{
	struct err err;
	uint64_t uid;

	if (*name < '0' || *name > '9' || num_parse_u64(name, UINT32_MAX - 1, &uid, &err) < 0)
		return false;
	*ret_uid = (uid_t)uid;
	return true;
}

/* By name; a name that is a number, by number. *ret_found is NULL when there is none. room: behind what is found. */
static int ask_system(const char *name, struct passwd *pw, char **room, struct passwd **ret_found)
{
	uid_t uid = 0;
	bool is_number = parse_number(name, &uid);
	int rc = ERANGE;

	for (size_t size = 4096; rc == ERANGE && size <= ROOM_MAX; size *= 4) {
		*room = mem_realloc(*room, size, 1);
		rc = is_number ? getpwuid_r(uid, pw, *room, size, ret_found)
		               : getpwnam_r(name, pw, *room, size, ret_found);
	}
	/* Some services say "no such" by an error of this kind. */
	if (rc == ENOENT || rc == ESRCH || rc == EBADF || rc == EPERM) {
		*ret_found = NULL;
		rc = 0;
	}
	return rc;
}

static int look_up(const char *name, struct account *ret, struct err *err)
{
	struct account a = {.home = "/"};
	struct passwd pw, *found = NULL;
	int n = ACCOUNT_GROUPS, rc;
	char *room = NULL, shown[TEXT_SHOW_SIZE];

	(void)text_show(name, shown);
	rc = ask_system(name, &pw, &room, &found);
	if (rc != 0) {
		rc = err_sys(err, rc, "looking up account '%s'", shown);
	} else if (found) {
		a.uid = pw.pw_uid;
		a.gid = pw.pw_gid;
		if (strlen(pw.pw_dir) < sizeof(a.home))
			snprintf(a.home, sizeof(a.home), "%s", pw.pw_dir);
		if (getgrouplist(pw.pw_name, pw.pw_gid, a.groups, &n) < 0)
			rc = err_set(err, ERR_LIMIT, "account '%s' is in more than %d groups",
			        shown, ACCOUNT_GROUPS);
		a.n_groups = (size_t)MIN(n, ACCOUNT_GROUPS);
	} else if (parse_number(name, &a.uid)) {
		a.gid = a.groups[0] = a.uid;
		a.n_groups = 1;
	} else {
		rc = err_set(err, ERR_NOT_FOUND, "there is no account '%s'", shown);
	}
	free(room);
	if (rc < 0)
		return rc;
	snprintf(a.name, sizeof(a.name), "%s", name);
	*ret = a;
	return 0;
}

int accounts_find(struct accounts *a, const char *name, uint64_t now_ms,
        const struct account **ret_account, struct err *err)
{
	struct account *slot = NULL;
	char shown[TEXT_SHOW_SIZE];
	int rc;

	if (strlen(name) >= sizeof(slot->name))
		return err_set(
		        err, ERR_INVALID, "'%s' is no name of an account", text_show(name, shown));
	for (size_t i = 0; i < a->n && !slot; i++)
		if (strcmp(a->known[i].name, name) == 0)
			slot = &a->known[i];
	if (!slot || now_ms - slot->found_ms >= FRESH_MS) {
		struct account found;

		rc = look_up(name, &found, err);
		if (rc < 0)
			return rc;
		if (!slot)
			slot = &a->known[a->n < REMEMBERED ? a->n++ : a->next++ % REMEMBERED];
		*slot = found;
		slot->found_ms = now_ms;
	}
	*ret_account = slot;
	return 0;
}
