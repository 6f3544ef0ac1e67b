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
#include "shim/pace_judge.h"

/*
 * DESIGN. page-<dice>-<device>,<account>, 0666. A line is given to the next one in turn, so that it rests as long as possible:
 * what its last tenant owed or was owed fades by then, and its processes are long buried. Lines are counted, not marked: after
 * a restart two attempts may say the same one, since a job can write there.
 */
#define PREFIX      "page-"
#define DICE        16                                  /* bytes; twice as many digits */
#define KEY_AT      (sizeof(PREFIX) - 1 + 2 * DICE + 1) /* in a name */
#define ACCOUNT_MAX 100

struct page {
	char name[PAGES_NAME];
	uint64_t inode;
	bool is_spoilt;
	uint32_t next; /* line to look at first */
	uint32_t n_users, users[PACE_TENANTS];
	LIST_ENTRY(page) link;
};

struct pages {
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
	          head.abi == PACE_ABI && !head.flags;

	if (fd >= 0)
		close(fd);
	return is;
}

static int write_line(int root_fd, const struct page *page, uint32_t tenant,
        const struct pace_tenant *line, struct err *err)
{
	struct stat st;
	const ssize_t n = offsetof(struct pace_tenant, turn); /* that is the judges' */
	int rc = 0, fd = open_page(root_fd, page->name, O_WRONLY, &st);

	if (fd < 0 ||
	        pwrite(fd, line, (size_t)n, PACE_TENANTS_AT + (off_t)(tenant * sizeof(*line))) != n)
		rc = err_sys(err, errno, "writing line %u of a page of turns", tenant);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* What a name ends in; false: the account's is too long. */
static bool key_of(const struct pages_tenant *t, char ret[PAGES_NAME - KEY_AT])
{
	if (strlen(t->account) > ACCOUNT_MAX)
		return false;
	snprintf(ret, PAGES_NAME - KEY_AT, "%s,%s", t->device, t->account);
	for (char *c = ret; *c; c++)
		if (*c == '/')
			*c = ':';
	return true;
}

/* Its magic comes last: what was cut short by our own end is no page. */
static int fill(int fd, const char *device, struct err *err)
{
	struct pace_head head = {.magic = PACE_MAGIC, .abi = PACE_ABI};
	uint64_t word = PACE_WORD(PACE_NOBODY, PACE_FREE, 0, 0);
	int sys = posix_fallocate(fd, 0, sizeof(struct pace_page));

	if (sys)
		return err_sys(err, sys, "taking memory for a page of turns");
	snprintf(head.uuid, sizeof(head.uuid), "%s", device);
	pace_parameters(&head, 0);
	if (pwrite(fd, &word, sizeof(word), PACE_WORD_AT) != sizeof(word) ||
	        pwrite(fd, (char *)&head + 8, sizeof(head) - 8, 8) != sizeof(head) - 8 ||
	        pwrite(fd, &head.magic, 8, 0) != 8 || fchmod(fd, 0666) < 0)
		return err_sys(err, errno, "writing a page of turns");
	return 0;
}

/* Pages */

static struct page *add(struct pages *p, const char *name, uint64_t inode)
{
	struct page *page = mem_zalloc(sizeof(*page));

	snprintf(page->name, sizeof(page->name), "%s", name);
	page->inode = inode;
	LIST_INSERT_HEAD(&p->all, page, link);
	return page;
}

static void drop(int root_fd, struct page *page)
{
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
	rc = fill(fd, device, err);
	if (rc == 0 && fstat(fd, &st) < 0)
		rc = err_sys(err, errno, "looking at a page of turns");
	close(fd);
	if (rc == 0)
		*ret = add(p, name, st.st_ino);
	else
		(void)unlinkat(root_fd, name, 0);
	return rc;
}

/* *ret is NULL where the account's name is too long for one. */
static int find_or_make(struct pages *p, int root_fd, const struct pages_tenant *t,
        struct page **ret, struct err *err)
{
	char key[PAGES_NAME - KEY_AT];
	struct page *page;

	*ret = NULL;
	if (!key_of(t, key))
		return 0;
	LIST_FOREACH (page, &p->all, link) {
		if (page->is_spoilt || strcmp(page->name + KEY_AT, key) != 0)
			continue;
		page->is_spoilt = !is_sound(root_fd, page);
		if (!page->is_spoilt) {
			*ret = page;
			return 0;
		}
	}
	return make(p, root_fd, t->device, key, ret, err);
}

static uint32_t free_line(const struct page *page)
{
	for (uint32_t i = 0; i < PACE_TENANTS; i++)
		if (!page->users[(page->next + i) % PACE_TENANTS])
			return (page->next + i) % PACE_TENANTS;
	return PAGES_NONE;
}

/* Life */

struct pages *pages_new(void)
{
	struct pages *p = mem_zalloc(sizeof(*p));

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
	(void)add(p, name, st.st_ino);
	return true;
}

void pages_adopt(struct pages *p, int dir_fd, uint32_t place, uint32_t tenant, uint64_t *ret_page)
{
	struct page *page;
	char name[24];
	struct stat st;
	int fd;

	*ret_page = 0;
	snprintf(name, sizeof(name), "pace-%u", place);
	fd = tenant < PACE_TENANTS ? open_page(dir_fd, name, O_RDONLY, &st) : -1;
	if (fd < 0)
		return;
	close(fd);
	page = find(p, st.st_ino);
	if (!page)
		return;
	page->users[tenant]++;
	page->n_users++;
	page->next = (tenant + 1) % PACE_TENANTS;
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
		/* An agent may have ended between a line and its attempt. */
		for (uint32_t i = 0; i < PACE_TENANTS; i++)
			if (!page->users[i])
				(void)write_line(root_fd, page, i, &none, &err);
	}
}

int pages_take(struct pages *p, int root_fd, int dir_fd, uint32_t place,
        const struct pages_tenant *t, uint64_t *ret_page, uint32_t *ret_tenant, struct err *err)
{
	struct pace_tenant line = {.weight_milli = t->weight_milli ? t->weight_milli : 1,
	        .cap_milli = t->cap_milli ? t->cap_milli : 1,
	        .flags = t->is_multi ? PACE_MULTI : 0};
	struct page *page;
	char name[24];
	uint32_t tenant;
	int rc = find_or_make(p, root_fd, t, &page, err);

	*ret_page = 0;
	*ret_tenant = PAGES_NONE;
	if (rc < 0)
		return rc;
	tenant = page ? free_line(page) : PAGES_NONE;
	if (tenant == PAGES_NONE)
		return 0;
	snprintf(name, sizeof(name), "pace-%u", place);
	page->users[tenant]++;
	page->n_users++;
	page->next = (tenant + 1) % PACE_TENANTS;
	rc = write_line(root_fd, page, tenant, &line, err);
	if (rc == 0 && linkat(root_fd, page->name, dir_fd, name, 0) < 0)
		rc = err_sys(err, errno, "linking a page of turns");
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
	if (--page->users[tenant] == 0 && page->n_users)
		(void)write_line(root_fd, page, tenant, &none, &err);
	if (!page->n_users)
		drop(root_fd, page);
}

/* Queries */

bool pages_is_name(const char *name)
{
	size_t len = strlen(name);

	return strncmp(name, PREFIX, strlen(PREFIX)) == 0 && len > KEY_AT && len < PAGES_NAME &&
	       name[KEY_AT - 1] == '-';
}
