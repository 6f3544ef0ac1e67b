#include "gpu/pages.h"

#include <bsd/sys/queue.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "berth/pace.h"
#include "gpu/judge_thread.h"
#include "shim/pace_judge.h"

/*
 * DESIGN. page-<dice>-<device>, 0666, or 0644 where we judge. A row is given to the next one in turn, so that it rests as long
 * as possible: what its last tenant owed or was owed fades by then, and its processes are long buried. Rows are counted, not
 * marked: after a restart two attempts may have the same one, where a job can write there.
 */
#define PREFIX "page-"
#define DICE   16                                  /* bytes; twice as many digits */
#define KEY_AT (sizeof(PREFIX) - 1 + 2 * DICE + 1) /* in a name */

struct page {
	char name[PAGES_NAME];
	uint64_t inode;
	bool is_judged, is_spoilt;
	uint32_t next; /* row to look at first */
	uint32_t n_users, users[PACE_TENANTS];
	struct judge_thread *judge; /* of is_judged, once somebody is on it */
	LIST_ENTRY(page) link;
};

struct pages {
	bool is_judged;
	LIST_HEAD(, page) all;
};

/* Files */

static int open_page(int dir_fd, const char *name, int flags, struct stat *ret_st)
{
	int fd = openat(dir_fd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0 && fstat(fd, ret_st) == 0 && S_ISREG(ret_st->st_mode))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Whether jobs will still take turns by it. */
static bool is_sound(int root_fd, const struct page *page)
{
	struct pace_head head;
	struct stat st;
	int fd = open_page(root_fd, page->name, O_RDONLY, &st);
	bool is = fd >= 0 && st.st_size == sizeof(struct pace_page) &&
	          pread(fd, &head, sizeof(head), 0) == sizeof(head) && head.magic == PACE_MAGIC &&
	          head.abi == PACE_ABI && head.flags == (page->is_judged ? PACE_JUDGED : 0);

	if (fd >= 0)
		close(fd);
	return is;
}

/* `turn`, in its middle, is the judges'. */
static int write_row(int root_fd, const struct page *page, uint32_t tenant,
        const struct pace_tenant *row, struct err *err)
{
	const size_t turn = offsetof(struct pace_tenant, turn),
	             rest = offsetof(struct pace_tenant, epoch);
	off_t at = PACE_TENANTS_AT + (off_t)(tenant * sizeof(*row));
	struct stat st;
	int rc = 0, fd = open_page(root_fd, page->name, O_WRONLY, &st);

	if (fd < 0 ||
	        pwrite(fd, (const char *)row + rest, sizeof(*row) - rest, at + (off_t)rest) < 0 ||
	        pwrite(fd, row, turn, at) < 0)
		rc = err_sys(err, errno, "writing row %u of a page of turns", tenant);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* What a name ends in. */
static void key_of(const char *device, char ret[PAGES_NAME - KEY_AT])
{
	snprintf(ret, PAGES_NAME - KEY_AT, "%s", device);
	for (char *c = ret; *c; c++)
		if (*c == '/')
			*c = ':';
}

/* Its magic comes last: what was cut short by our own end is no page. */
static int fill(int fd, const char *device, bool is_judged, struct err *err)
{
	struct pace_head head = {
	        .magic = PACE_MAGIC, .abi = PACE_ABI, .flags = is_judged ? PACE_JUDGED : 0};
	uint64_t word = PACE_WORD(PACE_NOBODY, PACE_FREE, 0, 0);
	int sys = posix_fallocate(fd, 0, sizeof(struct pace_page));

	if (sys)
		return err_sys(err, sys, "taking memory for a page of turns");
	snprintf(head.uuid, sizeof(head.uuid), "%s", device);
	pace_parameters(&head, 0);
	if (pwrite(fd, &word, sizeof(word), PACE_WORD_AT) != sizeof(word) ||
	        pwrite(fd, (char *)&head + 8, sizeof(head) - 8, 8) != sizeof(head) - 8 ||
	        pwrite(fd, &head.magic, 8, 0) != 8 || fchmod(fd, is_judged ? 0644 : 0666) < 0)
		return err_sys(err, errno, "writing a page of turns");
	return 0;
}

/* Pages */

/* st: of its file, as it is. */
static struct page *add(struct pages *p, const char *name, const struct stat *st)
{
	struct page *page = mem_zalloc(sizeof(*page));

	snprintf(page->name, sizeof(page->name), "%s", name);
	page->inode = st->st_ino;
	page->is_judged = st->st_uid == geteuid() && !(st->st_mode & 022) &&
	                  st->st_size == sizeof(struct pace_page);
	LIST_INSERT_HEAD(&p->all, page, link);
	return page;
}

static void drop(int root_fd, struct page *page)
{
	judge_thread_free(page->judge);
	if (root_fd >= 0)
		(void)unlinkat(root_fd, page->name, 0);
	LIST_REMOVE(page, link);
	free(page);
}

static struct page *find(const struct pages *p, uint64_t inode)
{
	struct page *page;

	LIST_FOREACH (page, &p->all, link)
		if (page->inode == inode)
			return page;
	return NULL;
}

static int make(struct pages *p, int root_fd, const char *device, const char *key,
        struct page **ret, struct err *err)
{
	uint8_t dice[DICE];
	char name[PAGES_NAME] = PREFIX;
	size_t len = sizeof(PREFIX) - 1;
	struct stat st;
	int fd, rc;

	if (getrandom(dice, sizeof(dice), 0) != sizeof(dice))
		return err_sys(err, errno, "choosing a name");
	for (size_t i = 0; i < DICE; i++, len += 2)
		snprintf(name + len, 3, "%02x", dice[i]);
	snprintf(name + len, sizeof(name) - len, "-%s", key);
	fd = openat(root_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, errno, "making a page of turns");
	rc = fill(fd, device, p->is_judged, err);
	if (rc == 0 && fstat(fd, &st) < 0)
		rc = err_sys(err, errno, "looking at a page of turns");
	close(fd);
	if (rc == 0)
		*ret = add(p, name, &st);
	else
		(void)unlinkat(root_fd, name, 0);
	return rc;
}

static int find_or_make(
        struct pages *p, int root_fd, const char *device, struct page **ret, struct err *err)
{
	char key[PAGES_NAME - KEY_AT];
	struct page *page;

	key_of(device, key);
	LIST_FOREACH (page, &p->all, link) {
		if (page->is_spoilt || page->is_judged != p->is_judged ||
		        strcmp(page->name + KEY_AT, key) != 0)
			continue;
		page->is_spoilt = !is_sound(root_fd, page);
		if (!page->is_spoilt) {
			*ret = page;
			return 0;
		}
	}
	return make(p, root_fd, device, key, ret, err);
}

static uint32_t free_row(const struct page *page)
{
	for (uint32_t i = 0; i < PACE_TENANTS; i++)
		if (!page->users[(page->next + i) % PACE_TENANTS])
			return (page->next + i) % PACE_TENANTS;
	return PAGES_NONE;
}

/* Tenants */

/* What a job writes itself, where we judge. */
static int make_own(int dir_fd, uint32_t place, struct err *err)
{
	const struct pace_head head = {.magic = PACE_MAGIC, .abi = PACE_ABI, .flags = PACE_JUDGED};
	char own[24];
	int fd, sys, rc = 0;

	snprintf(own, sizeof(own), "own-%u", place);
	fd = openat(dir_fd, own, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, errno, "making '%s'", own);
	sys = posix_fallocate(fd, 0, sizeof(struct pace_page));
	if (sys)
		rc = err_sys(err, sys, "taking memory for '%s'", own);
	else if (pwrite(fd, &head, sizeof(head), 0) != sizeof(head) || fchmod(fd, 0666) < 0)
		rc = err_sys(err, errno, "writing '%s'", own);
	close(fd);
	return rc;
}

static int seat(int root_fd, struct page *page, int dir_fd, uint32_t place, uint32_t tenant,
        struct err *err)
{
	struct stat st;
	int fd, rc = 0;

	if (!page->judge) {
		fd = open_page(root_fd, page->name, O_RDWR, &st);
		rc = fd < 0 ? err_sys(err, errno, "opening a page of turns")
		            : judge_thread_new(fd, &page->judge, err);
		if (fd >= 0)
			close(fd);
	}
	return rc < 0 ? rc : judge_thread_seat(page->judge, tenant, dir_fd, place, err);
}

static void count_in(struct page *page, uint32_t tenant)
{
	page->users[tenant]++;
	page->n_users++;
	page->next = (tenant + 1) % PACE_TENANTS;
}

/* The row that says so; PAGES_NONE: there is none. */
static uint32_t row_of(int page_fd, uint64_t epoch, uint32_t place)
{
	struct pace_tenant rows[PACE_TENANTS];

	if (pread(page_fd, rows, sizeof(rows), PACE_TENANTS_AT) != sizeof(rows))
		return PAGES_NONE;
	for (uint32_t i = 0; i < PACE_TENANTS; i++)
		if (rows[i].weight_milli && rows[i].epoch == epoch && rows[i].place == place)
			return i;
	return PAGES_NONE;
}

static int put_in(int root_fd, struct page *page, int dir_fd, uint32_t place, uint32_t tenant,
        const struct pace_tenant *row, struct err *err)
{
	char name[24];
	int rc = write_row(root_fd, page, tenant, row, err);

	snprintf(name, sizeof(name), "pace-%u", place);
	if (rc == 0 && page->is_judged)
		rc = make_own(dir_fd, place, err);
	if (rc == 0 && linkat(root_fd, page->name, dir_fd, name, 0) < 0)
		rc = err_sys(err, errno, "linking a page of turns");
	if (rc == 0 && page->is_judged)
		rc = seat(root_fd, page, dir_fd, place, tenant, err);
	return rc;
}

/* Life */

struct pages *pages_new(bool is_judged)
{
	struct pages *p = mem_zalloc(sizeof(*p));

	p->is_judged = is_judged;
	LIST_INIT(&p->all);
	return p;
}

void pages_free(struct pages *p)
{
	if (!p)
		return;
	while (!LIST_EMPTY(&p->all))
		drop(-1, LIST_FIRST(&p->all));
	free(p);
}

/* Commands */

bool pages_found(struct pages *p, int root_fd, const char *name)
{
	struct stat st;
	int fd = pages_is_name(name) ? open_page(root_fd, name, O_RDONLY, &st) : -1;

	if (fd < 0)
		return false;
	close(fd);
	(void)add(p, name, &st);
	return true;
}

void pages_adopt(struct pages *p, int root_fd, int dir_fd, uint64_t epoch, uint32_t place,
        uint64_t *ret_page, uint32_t *ret_tenant)
{
	struct page *page = NULL;
	struct err err;
	char name[24];
	struct stat st;
	int fd;

	*ret_page = 0;
	snprintf(name, sizeof(name), "pace-%u", place);
	fd = open_page(dir_fd, name, O_RDONLY, &st);
	if (fd < 0)
		return;
	*ret_tenant = row_of(fd, epoch, place);
	close(fd);
	if (*ret_tenant != PAGES_NONE)
		page = find(p, st.st_ino);
	if (!page)
		return;
	/* Who could not be seated goes on without turns. */
	if (page->is_judged)
		(void)!seat(root_fd, page, dir_fd, place, *ret_tenant, &err);
	count_in(page, *ret_tenant);
	*ret_page = page->inode;
}

void pages_sweep(struct pages *p, int root_fd)
{
	const struct pace_tenant none = {0};
	struct page *page, *next;
	struct err err;

	LIST_FOREACH_SAFE (page, &p->all, link, next) {
		if (!page->n_users) {
			drop(root_fd, page);
			continue;
		}
		/* An agent may have ended between a row and its attempt. */
		for (uint32_t i = 0; i < PACE_TENANTS; i++)
			if (!page->users[i])
				(void)write_row(root_fd, page, i, &none, &err);
	}
}

int pages_take(struct pages *p, int root_fd, int dir_fd, uint32_t place,
        const struct pages_tenant *t, uint64_t *ret_page, uint32_t *ret_tenant, struct err *err)
{
	const struct pace_tenant row = {.weight_milli = t->weight_milli ? t->weight_milli : 1,
	        .cap_milli = t->cap_milli ? t->cap_milli : 1,
	        .flags = t->is_multi ? PACE_MULTI : 0,
	        .epoch = t->epoch,
	        .place = place};
	struct page *page = NULL;
	uint32_t tenant;
	int rc = find_or_make(p, root_fd, t->device, &page, err);

	*ret_page = 0;
	*ret_tenant = PAGES_NONE;
	if (rc < 0)
		return rc;
	tenant = free_row(page);
	if (tenant == PAGES_NONE)
		return 0;
	count_in(page, tenant);
	rc = put_in(root_fd, page, dir_fd, place, tenant, &row, err);
	if (rc < 0) {
		pages_give(p, root_fd, page->inode, tenant);
		return rc;
	}
	*ret_page = page->inode;
	*ret_tenant = tenant;
	return 0;
}

void pages_give(struct pages *p, int root_fd, uint64_t inode, uint32_t tenant)
{
	const struct pace_tenant none = {0};
	struct page *page = inode ? find(p, inode) : NULL;
	struct err err;

	if (!page || tenant >= PACE_TENANTS || !page->users[tenant])
		return;
	page->n_users--;
	if (--page->users[tenant] == 0 && page->n_users) {
		(void)write_row(root_fd, page, tenant, &none, &err);
		if (page->judge)
			judge_thread_unseat(page->judge, tenant);
	}
	if (!page->n_users)
		drop(root_fd, page);
}

/* Queries */

bool pages_is_linked(int root_fd, const char *dir, uint32_t place, uint64_t page)
{
	char path[PAGES_NAME];
	struct stat st;

	snprintf(path, sizeof(path), "%s/pace-%u", dir, place);
	return page && fstatat(root_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == page;
}

bool pages_is_name(const char *name)
{
	size_t len = strlen(name);

	return strncmp(name, PREFIX, strlen(PREFIX)) == 0 && len > KEY_AT && len < PAGES_NAME &&
	       name[KEY_AT - 1] == '-';
}
