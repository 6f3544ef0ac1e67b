#include "gpu/slices.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <uthash.h>

#include "base/mem.h"
#include "berth/pace.h"
#include "berth/slice.h"
#include "gpu/ledger.h"
#include "gpu/pages.h"

/*
 * DESIGN. <memory>/berth-<device>.<inode>-<dice>/<epoch>-<dice>/slice-N, where device and inode are those of the data
 * directory: a copy of it is another one. DATA/run/slices is a link to the first of these directories, so that the agent
 * that comes after us finds what we have left, and a stranger who guesses names can be in nobody's way. Names are no secret
 * once they are mounted: every account may read the mounts of every process. So nobody else gets into the first of them; a
 * keeper whose job has to reach it by name opens it.
 * Grants are remembered here and written once. After a restart they are read from the file: a job that has changed its own
 * can show a wrong limit, and is held by what the server granted all the same, for the watchdog goes by that.
 */
#define LINK_NAME "run/slices"
#define DICE      16 /* bytes; twice as many digits */

_Static_assert(SLICES_MAX == SLICE_MAX && SLICES_LIVING_MAX == SLICE_SLOTS, "limits of slice.h");
_Static_assert((int)SLICES_HOLDS_MEMORY == SLICE_HOLDS_MEMORY &&
                       (int)SLICES_HOLDS_COMPUTE == SLICE_HOLDS_COMPUTE &&
                       (int)SLICES_IS_CAPPED == SLICE_IS_CAPPED &&
                       (int)SLICES_BY_MPS == SLICE_BY_MPS &&
                       (int)SLICES_BY_KERNEL == SLICE_BY_KERNEL,
        "flags of slice.h");

struct entry {
	uint64_t epoch;
	char name[64];
	uint32_t n;
	struct slice_grant *grants; /* n */
	uint64_t *pages;            /* n, of pages.h */
	bool has_who;               /* beside each ledger, when it was made */
	UT_hash_handle hh;
};

struct slices {
	char *data_dir, *memory;
	char prefix[64];        /* of our own directories in memory */
	char root[SLICES_PATH]; /* "": not made yet */
	int root_fd;
	struct entry *by_epoch;
	struct pages *pages;
};

static int roll(char out[2 * DICE + 1], struct err *err)
{
	uint8_t bytes[DICE];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return err_sys(err, errno, "choosing a name");
	for (size_t i = 0; i < DICE; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

/* One of ours, and nobody else's. */
static bool is_own_dir(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
	       !(st.st_mode & 022);
}

static int open_dir(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Where the link says, when that is a place of this directory's own. */
static void find_root(struct slices *s)
{
	char link[4096], path[SLICES_PATH];
	size_t len = strlen(s->memory);
	ssize_t n;

	snprintf(link, sizeof(link), "%s/" LINK_NAME, s->data_dir);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return;
	path[n] = '\0';
	if (strncmp(path, s->memory, len) != 0 || path[len] != '/' ||
	        strncmp(path + len + 1, s->prefix, strlen(s->prefix)) != 0 ||
	        strchr(path + len + 1, '/'))
		return;
	s->root_fd = open_dir(AT_FDCWD, path);
	if (s->root_fd >= 0 && is_own_dir(s->root_fd)) {
		snprintf(s->root, sizeof(s->root), "%s", path);
		return;
	}
	if (s->root_fd >= 0)
		close(s->root_fd);
	s->root_fd = -1;
}

static int remember_root(const struct slices *s, struct err *err)
{
	char link[4096];

	snprintf(link, sizeof(link), "%s/" LINK_NAME, s->data_dir);
	if (unlink(link) < 0 && errno != ENOENT)
		return err_sys(err, errno, "removing '%s'", link);
	return symlink(s->root, link) == 0 ? 0 : err_sys(err, errno, "making '%s'", link);
}

static int make_root(struct slices *s, struct err *err)
{
	char dice[2 * DICE + 1];
	struct statfs fs;
	int rc;

	if (statfs(s->memory, &fs) < 0)
		return err_sys(err, errno, "looking at '%s'", s->memory);
	if (fs.f_type != TMPFS_MAGIC)
		return err_set(err, ERR_UNSUPPORTED, "'%s' is not in memory (tmpfs)", s->memory);
	rc = roll(dice, err);
	if (rc < 0)
		return rc;
	snprintf(s->root, sizeof(s->root), "%s/%s%s", s->memory, s->prefix, dice);
	/* Known before it is there: who is killed in between leaves nothing that nobody finds. */
	rc = remember_root(s, err);
	if (rc == 0 && mkdir(s->root, 0700) < 0)
		rc = err_sys(err, errno, "making '%s'", s->root);
	if (rc == 0) {
		s->root_fd = open_dir(AT_FDCWD, s->root);
		if (s->root_fd < 0 || !is_own_dir(s->root_fd))
			rc = err_sys(err, errno, "opening '%s'", s->root);
	}
	if (rc < 0)
		s->root[0] = '\0';
	return rc;
}

/* Attempts */

static struct entry *find(const struct slices *s, uint64_t epoch)
{
	struct entry *e;

	HASH_FIND(hh, s->by_epoch, &epoch, sizeof(epoch), e);
	return e;
}

static struct entry *add(struct slices *s, uint64_t epoch, const char *name)
{
	struct entry *e = mem_zalloc(sizeof(*e));

	e->epoch = epoch;
	snprintf(e->name, sizeof(e->name), "%s", name);
	HASH_ADD(hh, s->by_epoch, epoch, sizeof(e->epoch), e);
	return e;
}

static void drop(struct slices *s, struct entry *e)
{
	HASH_DEL(s->by_epoch, e);
	free(e->grants);
	free(e->pages);
	free(e);
}

/* What a job of our own account may have put beside its files, too, but no deeper. */
static void remove_dir(int root_fd, const char *name)
{
	int fd = open_dir(root_fd, name);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir && fd >= 0)
		close(fd);
	while (dir && (d = readdir(dir)))
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0 &&
		        unlinkat(fd, d->d_name, 0) < 0)
			(void)!unlinkat(fd, d->d_name, AT_REMOVEDIR);
	if (dir)
		closedir(dir);
	if (unlinkat(root_fd, name, AT_REMOVEDIR) < 0)
		(void)!unlinkat(root_fd, name, 0);
}

static int open_file(
        const struct slices *s, const struct entry *e, const char *kind, uint32_t place, int flags)
{
	char path[96];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s-%u", e->name, kind, place);
	/* A FIFO, or a link, would be the job's own joke. */
	fd = openat(s->root_fd, path, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool has_who(const struct slices *s, const struct entry *e, uint32_t place)
{
	int fd = open_file(s, e, "who", place, O_RDONLY);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void read_grants(const struct slices *s, struct entry *e)
{
	int dir_fd = open_dir(s->root_fd, e->name), fd;
	struct slice_grant g;

	for (uint32_t i = 0; i < SLICE_MAX; i++) {
		fd = open_file(s, e, "slice", i, O_RDONLY);
		if (fd < 0)
			break;
		if (pread(fd, &g, sizeof(g), 0) != sizeof(g))
			memset(&g, 0, sizeof(g));
		close(fd);
		/* What was spoilt keeps its place: reading it fails, and says why. */
		g.uuid[sizeof(g.uuid) - 1] = '\0';
		e->grants = mem_realloc(e->grants, e->n + 1, sizeof(g));
		e->pages = mem_realloc(e->pages, e->n + 1, sizeof(*e->pages));
		pages_adopt(s->pages, s->root_fd, dir_fd, e->epoch, i, &e->pages[e->n], &g.tenant);
		e->has_who |= has_who(s, e, i);
		e->grants[e->n++] = g;
	}
	if (dir_fd >= 0)
		close(dir_fd);
}

static void each_name(struct slices *s, void (*with)(struct slices *s, const char *name))
{
	int fd = s->root_fd < 0 ? -1 : open_dir(s->root_fd, ".");
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	while (dir && (d = readdir(dir)))
		if (d->d_name[0] != '.')
			with(s, d->d_name);
	if (dir)
		closedir(dir);
}

static void find_page(struct slices *s, const char *name)
{
	(void)pages_found(s->pages, s->root_fd, name);
}

static void find_entry(struct slices *s, const char *name)
{
	char *end;
	uint64_t epoch = strtoull(name, &end, 10);

	if (epoch && end != name && *end == '-' && !find(s, epoch))
		read_grants(s, add(s, epoch, name));
	else if (!pages_is_name(name))
		remove_dir(s->root_fd, name);
}

/* What an earlier agent has left. */
static void find_entries(struct slices *s)
{
	each_name(s, find_page);
	each_name(s, find_entry);
	if (s->root_fd >= 0)
		pages_sweep(s->pages, s->root_fd);
}

/* g: what its beginning is, of sizeof(struct slice) in all; NULL: it is empty. */
static int write_file(
        int dir_fd, const char *kind, uint32_t place, const struct slice_grant *g, struct err *err)
{
	char name[24];
	int fd, sys, rc = 0;

	snprintf(name, sizeof(name), "%s-%u", kind, place);
	fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys(err, errno, "making '%s'", name);
	sys = g ? posix_fallocate(fd, 0, sizeof(struct slice)) : 0;
	if (sys)
		rc = err_sys(err, sys, "taking memory for '%s'", name);
	else if ((g && pwrite(fd, g, sizeof(*g), 0) != sizeof(*g)) || fchmod(fd, 0666) < 0)
		rc = err_sys(err, errno, "writing '%s'", name);
	close(fd);
	return rc;
}

/* Life */

int slices_open(const char *data_dir, const char *memory, bool is_one_account, struct slices **ret,
        struct err *err)
{
	struct slices *s;
	struct stat st;

	if (stat(data_dir, &st) < 0)
		return err_sys(err, errno, "looking at '%s'", data_dir);
	s = mem_zalloc(sizeof(*s));
	s->data_dir = mem_strdup(data_dir);
	s->memory = mem_strdup(memory ? memory : "/dev/shm");
	s->root_fd = -1;
	snprintf(s->prefix, sizeof(s->prefix), "berth-%jx.%jx-", (uintmax_t)st.st_dev,
	        (uintmax_t)st.st_ino);
	s->pages = pages_new(!is_one_account);
	find_root(s);
	find_entries(s);
	*ret = s;
	return 0;
}

void slices_close(struct slices *s)
{
	struct entry *e, *next;
	char link[4096];

	if (!s)
		return;
	snprintf(link, sizeof(link), "%s/" LINK_NAME, s->data_dir);
	if (s->root_fd >= 0 && !s->by_epoch && rmdir(s->root) == 0)
		unlink(link);
	HASH_ITER (hh, s->by_epoch, e, next)
		drop(s, e);
	if (s->root_fd >= 0)
		close(s->root_fd);
	pages_free(s->pages);
	free(s->data_dir);
	free(s->memory);
	free(s);
}

/* Commands */

/* The root may have been taken away, by whoever cleans up in memory. */
static int need_root(struct slices *s, struct err *err)
{
	struct stat st;

	if (s->root_fd >= 0 && lstat(s->root, &st) == 0)
		return 0;
	if (s->root_fd >= 0)
		close(s->root_fd);
	s->root_fd = -1;
	return make_root(s, err);
}

/* Without a line it is not held to its share, and its flags say so. */
static int join_page(struct slices *s, struct entry *e, int dir_fd, uint32_t i, struct err *err)
{
	struct slice_grant *g = &e->grants[i];
	uint32_t share = MIN(g->share_milli, 1000U), tenant;
	const struct pages_tenant t = {.device = g->uuid,
	        .epoch = e->epoch,
	        .weight_milli = share,
	        .cap_milli = g->flags & SLICE_IS_CAPPED ? share : 1000,
	        .is_multi = e->n > 1};
	int rc;

	if (!(g->flags & SLICE_HOLDS_COMPUTE))
		return 0;
	rc = pages_take(s->pages, s->root_fd, dir_fd, i, &t, &e->pages[i], &tenant, err);
	if (tenant == PAGES_NONE)
		g->flags &= ~(uint32_t)SLICE_HOLDS_COMPUTE;
	else
		g->tenant = tenant;
	return rc;
}

static int make_files(struct slices *s, struct entry *e, struct err *err)
{
	int fd, rc = 0;

	if (mkdirat(s->root_fd, e->name, 0700) < 0)
		return err_sys(err, errno, "making '%s/%s'", s->root, e->name);
	fd = open_dir(s->root_fd, e->name);
	if (fd < 0)
		return err_sys(err, errno, "opening '%s/%s'", s->root, e->name);
	for (uint32_t i = 0; rc == 0 && i < e->n; i++) {
		rc = join_page(s, e, fd, i, err);
		if (rc == 0)
			rc = write_file(fd, "slice", i, &e->grants[i], err);
		if (rc == 0)
			rc = write_file(fd, "who", i, NULL, err);
	}
	e->has_who = true;
	if (rc == 0 && fchmod(fd, 0711) < 0)
		rc = err_sys(err, errno, "opening '%s/%s' to its job", s->root, e->name);
	close(fd);
	return rc;
}

static struct slice_grant grant_of(uint64_t epoch, const struct slices_grant *g)
{
	struct slice_grant grant = {
	        .magic = SLICE_MAGIC,
	        .abi = SLICE_ABI,
	        .n_slots = SLICE_SLOTS,
	        .epoch = epoch,
	        .limit_bytes = g->limit_bytes,
	        .granule_bytes = g->granule_bytes,
	        .context_bytes = g->context_bytes,
	        .share_milli = g->share_milli,
	        .flags = g->flags,
	};

	_Static_assert(sizeof(grant.uuid) == sizeof(g->uuid), "names of devices");
	memcpy(grant.uuid, g->uuid, sizeof(grant.uuid));
	return grant;
}

int slices_make(struct slices *s, uint64_t epoch, const struct slices_grant *grants, uint32_t n,
        char ret_path[SLICES_PATH], struct err *err)
{
	char dice[2 * DICE + 1], name[64];
	struct entry *e;
	int rc = n <= SLICE_MAX ? roll(dice, err)
	                        : err_set(err, ERR_LIMIT, "%u slices: at most %d", n, SLICE_MAX);

	slices_remove(s, epoch);
	if (rc == 0)
		rc = need_root(s, err);
	if (rc < 0)
		return err_wrap(err, "the memory that holds its slice");
	snprintf(name, sizeof(name), "%llu-%s", (unsigned long long)epoch, dice);
	e = add(s, epoch, name);
	e->n = n;
	e->grants = mem_zalloc((n + 1) * sizeof(*e->grants));
	e->pages = mem_zalloc((n + 1) * sizeof(*e->pages));
	for (uint32_t i = 0; i < n; i++)
		e->grants[i] = grant_of(epoch, &grants[i]);
	rc = make_files(s, e, err);
	if (rc < 0) {
		slices_remove(s, epoch);
		return err_wrap(err, "the memory that holds its slice (%s)", s->memory);
	}
	snprintf(ret_path, SLICES_PATH, "%s/%s", s->root, name);
	return 0;
}

void slices_remove(struct slices *s, uint64_t epoch)
{
	struct entry *e = find(s, epoch);

	if (!e)
		return;
	remove_dir(s->root_fd, e->name);
	for (uint32_t i = 0; i < e->n; i++)
		pages_give(s->pages, s->root_fd, e->pages[i], e->grants[i].tenant);
	drop(s, e);
}

void slices_sweep(struct slices *s, bool (*is_wanted)(void *data, uint64_t epoch), void *data)
{
	struct entry *e, *next;

	HASH_ITER (hh, s->by_epoch, e, next)
		if (!is_wanted(data, e->epoch))
			slices_remove(s, e->epoch);
}

int slices_watch(struct slices *s, uint64_t epoch, uint32_t place, uint64_t overhead_bytes,
        uint64_t mono_ns, struct err *err)
{
	const struct entry *e = find(s, epoch);
	int fd = e && place < e->n ? open_file(s, e, "slice", place, O_WRONLY) : -1;
	struct slice_watch w = {.overhead_bytes = overhead_bytes, .at_ns = mono_ns};
	int rc = 0;

	if (fd < 0)
		return err_set(err, ERR_NOT_FOUND, "attempt %llu has no slice %u",
		        (unsigned long long)epoch, place);
	if (pwrite(fd, &w, sizeof(w), SLICE_WATCH_AT) != sizeof(w))
		rc = err_sys(err, errno, "writing slice %u", place);
	close(fd);
	return rc;
}

/* Queries */

static int read_file(const struct slices *s, const struct entry *e, uint32_t place, int fd,
        struct slices_state *ret, struct err *err)
{
	int who_fd = e->has_who ? open_file(s, e, "who", place, O_RDONLY) : -1;
	int rc = e->has_who && who_fd < 0
	                 ? err_set(err, ERR_CORRUPT, "the file of who has its slots is gone")
	                 : ledger_read(fd, who_fd, &e->grants[place], ret, err);

	if (who_fd >= 0)
		close(who_fd);
	return rc;
}

int slices_read(
        struct slices *s, uint64_t epoch, uint32_t place, struct slices_state *ret, struct err *err)
{
	const struct entry *e = find(s, epoch);
	const struct slice_grant *g;
	int fd, rc;

	if (!e || place >= e->n)
		return err_set(err, ERR_NOT_FOUND, "attempt %llu has no slice %u",
		        (unsigned long long)epoch, place);
	fd = open_file(s, e, "slice", place, O_RDONLY);
	if (fd < 0)
		return err_set(err, ERR_CORRUPT, "ledger %u is gone", place);
	g = &e->grants[place];
	*ret = (struct slices_state){.grant = {.limit_bytes = g->limit_bytes,
	                                     .granule_bytes = g->granule_bytes,
	                                     .context_bytes = g->context_bytes,
	                                     .share_milli = g->share_milli,
	                                     .flags = g->flags}};
	memcpy(ret->grant.uuid, g->uuid, sizeof(g->uuid));
	rc = read_file(s, e, place, fd, ret, err);
	close(fd);
	if (rc == 0 && g->flags & SLICE_HOLDS_COMPUTE &&
	        !pages_is_linked(s->root_fd, e->name, place, e->pages[place]))
		rc = err_set(err, ERR_CORRUPT, "its page of turns is gone");
	return rc < 0 ? err_wrap(err, "ledger %u", place) : 0;
}

bool slices_holds_compute(const struct slices *s, uint64_t epoch, uint32_t place)
{
	return find(s, epoch)->pages[place] != 0;
}

uint32_t slices_count(const struct slices *s, uint64_t epoch)
{
	const struct entry *e = find(s, epoch);

	return e ? e->n : 0;
}

bool slices_path(const struct slices *s, uint64_t epoch, char ret_path[SLICES_PATH])
{
	const struct entry *e = find(s, epoch);

	if (e)
		snprintf(ret_path, SLICES_PATH, "%.*s/%s", (int)(SLICES_PATH - sizeof(e->name) - 2),
		        s->root, e->name);
	return e != NULL;
}

const char *slices_device(const struct slices *s, uint64_t epoch, uint32_t place)
{
	return find(s, epoch)->grants[place].uuid;
}

uint32_t slices_flags(const struct slices *s, uint64_t epoch, uint32_t place)
{
	return find(s, epoch)->grants[place].flags;
}
