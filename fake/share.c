/*
 * The mapped file from outside: who opens it, and whose locks are on it.
 */
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEPT_MAX 16

static_assert(SHARE_PLACES % 64 == 0, "sim_shared.holders");

/* What was opened stays so: closing would let go of this process's locks. The oldest goes when there are too many. */
static struct {
	pthread_mutex_t lock;
	struct {
		dev_t dev;
		ino_t ino;
		int fd;
	} files[KEPT_MAX];
	unsigned n_ever;
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int kept_fd(const struct stat *st)
{
	struct stat now;

	for (unsigned i = 0; i < KEPT_MAX && i < kept.n_ever; i++)
		if (kept.files[i].dev == st->st_dev && kept.files[i].ino == st->st_ino &&
		        fstat(kept.files[i].fd, &now) == 0 && now.st_ino == st->st_ino &&
		        now.st_dev == st->st_dev && now.st_nlink > 0)
			return kept.files[i].fd;
	return -1;
}

static void keep(int fd, const struct stat *st)
{
	unsigned i = kept.n_ever++ % KEPT_MAX;

	if (kept.n_ever > KEPT_MAX)
		close(kept.files[i].fd);
	kept.files[i].dev = st->st_dev;
	kept.files[i].ino = st->st_ino;
	kept.files[i].fd = fd;
}

static int open_kept(const char *path, bool write)
{
	struct stat st;
	int fd = -1;

	pthread_mutex_lock(&kept.lock);
	if (lstat(path, &st) == 0)
		fd = kept_fd(&st);
	if (fd < 0) {
		fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
		if (fd >= 0 && fstat(fd, &st) == 0)
			keep(fd, &st);
	}
	pthread_mutex_unlock(&kept.lock);
	return fd;
}

off_t share_bytes(unsigned n_cards)
{
	return (off_t)(SHARE_CARDS_AT + n_cards * sizeof(struct tl_card));
}

static bool is_ours(const struct sim *s, int fd)
{
	struct share head;
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       st.st_size >= share_bytes(s->n_cards) &&
	       pread(fd, &head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
	       head.magic == SHARE_MAGIC && head.description == s->initial.description;
}

/* A new one takes the place of an old one, which whoever has it mapped keeps. */
static bool make(const struct sim *s, const char *path)
{
	struct share head = {.magic = SHARE_MAGIC, .description = s->initial.description};
	char fresh[4200];
	bool ok;
	int fd;

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	unlink(fresh);
	fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return false;
	ok = fchmod(fd, 0666) == 0 && ftruncate(fd, share_bytes(s->n_cards)) == 0 &&
	     pwrite(fd, &head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
	     rename(fresh, path) == 0;
	close(fd);
	return ok;
}

void share_find(struct sim *s, const struct sim_state *st)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s.time", s->path);
	s->share_fd = open_kept(path, !s->read_only);
	if (s->share_fd >= 0 && is_ours(s, s->share_fd))
		return;
	s->share_fd = -1;
	if (s->read_only || !make(s, path))
		return;
	s->share_fd = open_kept(path, true);
	share_tell_faults(s, st);
}

void share_tell_faults(const struct sim *s, const struct sim_state *st)
{
	uint32_t faults = 0;

	if (s->share_fd < 0)
		return;
	for (unsigned i = 0; i < SIM_RULES_MAX; i++)
		faults |= st->rules[i].kind != SIM_RULE_NONE;
	for (unsigned i = 0; i < s->n_cards; i++)
		faults |= st->cards[i].lost || st->cards[i].lost_after;
	if (pwrite(s->share_fd, &faults, sizeof(faults), offsetof(struct share, faults)) < 0)
		return; /* as good as a file that is not there */
}

static struct flock lock_of(uint32_t place, short type)
{
	return (struct flock){
	        .l_type = type, .l_whence = SEEK_SET, .l_start = SHARE_LOCK_AT + place, .l_len = 1};
}

/* A lock of the open file would meet those of this process too, and is told whose they are. */
bool share_holder(const struct sim *s, uint32_t place, int32_t *ret_pid)
{
	struct flock fl = lock_of(place, F_WRLCK);

	*ret_pid = 0;
	if (s->share_fd < 0 || fcntl(s->share_fd, F_OFD_GETLK, &fl) < 0)
		return true;
	if (fl.l_type == F_UNLCK)
		return false;
	*ret_pid = fl.l_pid > 0 ? fl.l_pid : 0;
	return true;
}

bool share_is_used(const struct sim *s)
{
	struct flock fl = lock_of(1, F_WRLCK);

	fl.l_len = SHARE_PLACES;
	return s->share_fd < 0 || fcntl(s->share_fd, F_OFD_GETLK, &fl) < 0 || fl.l_type != F_UNLCK;
}

void share_reset(const struct sim *s, const struct sim_state *st)
{
	struct share head = {.magic = SHARE_MAGIC, .description = s->initial.description};

	if (ftruncate(s->share_fd, sizeof(head.magic)) < 0 ||
	        ftruncate(s->share_fd, share_bytes(s->n_cards)) < 0 ||
	        pwrite(s->share_fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head))
		return; /* it goes on from where it was */
	share_tell_faults(s, st);
}

uint32_t share_take_place(const struct sim *s)
{
	uint32_t first = (uint32_t)getpid() % SHARE_PLACES;

	for (uint32_t i = 0; s->share_fd >= 0 && i < SHARE_PLACES; i++) {
		uint32_t place = (first + i) % SHARE_PLACES + 1;
		struct flock fl = lock_of(place, F_WRLCK);
		int32_t pid;

		if (!share_holder(s, place, &pid) && fcntl(s->share_fd, F_SETLK, &fl) == 0)
			return place;
	}
	return 0;
}

void share_give_place(const struct sim *s, uint32_t place)
{
	struct flock fl = lock_of(place, F_UNLCK);

	fcntl(s->share_fd, F_SETLK, &fl);
}
