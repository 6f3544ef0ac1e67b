#include "shim/ledger.h"
#include "shim/ledger_file.h"
#include "shim/step.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Granules between a page and a gigabyte. */
static bool grant_is_sound(const struct slice_grant *grant)
{
	uint64_t granule = grant->granule_bytes;
	return grant->magic == SLICE_MAGIC && grant->abi == SLICE_ABI &&
	       grant->n_slots == SLICE_SLOTS && granule >= 4096 && granule <= UINT64_C(1) << 30 &&
	       (granule & (granule - 1)) == 0 && grant->limit_bytes <= UINT64_C(1) << 48 &&
	       grant->context_bytes <= UINT64_C(1) << 48 &&
	       memchr(grant->uuid, 0, sizeof grant->uuid) != NULL;
}

static int map(struct ledger *ledger, int fd, const char **ret_why)
{
	struct stat st;
	*ret_why = "cannot be looked at";
	if (fstat(fd, &st) < 0)
		return LEDGER_BROKEN;
	*ret_why = "not a ledger, or cut short";
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < sizeof(struct slice))
		return LEDGER_BROKEN;
	/* Through the descriptor, so that a file cut short is an error here. */
	if (pread(fd, &ledger->grant, sizeof ledger->grant, 0) != (ssize_t)sizeof ledger->grant ||
	        !grant_is_sound(&ledger->grant))
		return LEDGER_BROKEN;
	*ret_why = "cannot be mapped";
	void *at = mmap(NULL, sizeof(struct slice), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return LEDGER_BROKEN;
	ledger->device = st.st_dev;
	ledger->inode = st.st_ino;
	ledger->map = at;
	return 0;
}

int ledger_open(struct ledger *ledger, const char *path, const char **ret_why)
{
	const char *ignored;
	if (ret_why == NULL)
		ret_why = &ignored;
	*ret_why = "its path is too long";
	if (snprintf(ledger->path, sizeof ledger->path, "%s", path) >= (int)sizeof ledger->path)
		return LEDGER_BROKEN;
	pthread_mutex_init(&ledger->mutex, NULL);
	ledger->fd = ledger->who_fd = ledger->slot = -1;
	*ret_why = "cannot be opened";
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? LEDGER_ABSENT : LEDGER_BROKEN;
	int rc = map(ledger, fd, ret_why);
	close(fd);
	return rc;
}

void ledger_forked(struct ledger *ledger)
{
	pthread_mutex_init(&ledger->mutex, NULL);
	struct stat st;
	if (ledger->fd >= 0 && fstat(ledger->fd, &st) == 0 && st.st_dev == ledger->device &&
	        st.st_ino == ledger->inode)
		close(ledger->fd);
	ledger_unsign(ledger);
	ledger->fd = ledger->slot = -1;
	ledger->anchor = NULL;
	ledger->reserved_bytes = ledger->published_bytes = 0;
	memset(ledger->bytes, 0, sizeof ledger->bytes);
}

/* A thread that was cancelled in here would keep the mutex for ever. */
static void own_books(struct ledger *ledger)
{
	int cancel;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	pthread_mutex_lock(&ledger->mutex);
	ledger->cancel = cancel;
}

static void own_books_done(struct ledger *ledger)
{
	int cancel = ledger->cancel;
	pthread_mutex_unlock(&ledger->mutex);
	pthread_setcancelstate(cancel, NULL);
}

/* On success ledger_leave must follow. */
static int ledger_enter(struct ledger *ledger)
{
	if (ledger->map == NULL)
		return LEDGER_BROKEN;
	own_books(ledger);
	int rc = ledger_attend(ledger);
	if (rc == 0)
		rc = ledger_lock(ledger);
	if (rc != 0)
		own_books_done(ledger);
	return rc;
}

static void ledger_leave(struct ledger *ledger)
{
	ledger_unlock(ledger);
	own_books_done(ledger);
}

static uint64_t left_bytes(const struct ledger *ledger)
{
	uint64_t used_bytes = __atomic_load_n(&ledger->map->ledger.used_bytes, __ATOMIC_RELAXED);
	uint64_t over_bytes = __atomic_load_n(&ledger->map->watch.overhead_bytes, __ATOMIC_RELAXED);
	uint64_t limit_bytes = ledger->grant.limit_bytes;
	if (used_bytes >= limit_bytes || over_bytes >= limit_bytes - used_bytes)
		return 0;
	return limit_bytes - used_bytes - over_bytes;
}

/* Whether there would be room if nothing came of any call on its way. Under the lock, after a recount. */
static bool may_come_free(const struct ledger *ledger, uint64_t bytes)
{
	uint64_t left = left_bytes(ledger), reserved = ledger_reserved(ledger);
	return reserved != 0 && (bytes <= left || bytes - left <= reserved);
}

#define BUSY 1 /* no answer yet: it may fit soon */

/* BUSY only where may_wait; then nobody has been refused. */
static int reserve(struct ledger *ledger, uint64_t bytes, bool may_wait)
{
	int rc = ledger_enter(ledger);
	if (rc != 0)
		return rc;
	bool is_held = ledger->grant.flags & SLICE_HOLDS_MEMORY;
	if (is_held && (!ledger_is_sound(ledger) || bytes > left_bytes(ledger)))
		ledger_recount(ledger);
	uint64_t reserved_bytes;
	if (__builtin_add_overflow(ledger->reserved_bytes, bytes, &reserved_bytes)) {
		rc = LEDGER_FULL;
	} else if (is_held && bytes > left_bytes(ledger)) {
		rc = may_wait && may_come_free(ledger, bytes) ? BUSY : LEDGER_FULL;
	} else {
		ledger->reserved_bytes = reserved_bytes;
		ledger_publish(ledger);
	}
	if (rc == LEDGER_FULL)
		__atomic_fetch_add(&ledger->map->ledger.n_refused, 1, __ATOMIC_RELAXED);
	ledger_leave(ledger);
	return rc;
}

int ledger_reserve(struct ledger *ledger, uint64_t bytes)
{
	return reserve(ledger, bytes, false);
}

int ledger_reserve_after_others(struct ledger *ledger, uint64_t bytes)
{
	int rc = BUSY;
	for (int n_waits = 0; rc == BUSY && n_waits <= LEDGER_PATIENCE_MS; n_waits++) {
		if (n_waits > 0)
			ledger_nap(ledger);
		rc = reserve(ledger, bytes, n_waits < LEDGER_PATIENCE_MS);
	}
	return rc;
}

static void take_off(uint64_t *bytes, uint64_t less)
{
	*bytes = *bytes > less ? *bytes - less : 0;
}

int ledger_settle(
        struct ledger *ledger, uint64_t reserved_bytes, enum slice_kind kind, uint64_t bytes)
{
	int rc = ledger_enter(ledger);
	if (rc != 0)
		own_books(ledger);
	take_off(&ledger->reserved_bytes, reserved_bytes);
	ledger->bytes[kind] += bytes;
	if (rc != 0) {
		own_books_done(ledger);
		return rc;
	}
	ledger_publish(ledger);
	ledger_leave(ledger);
	return 0;
}

int ledger_return(struct ledger *ledger, enum slice_kind kind, uint64_t bytes)
{
	int rc = ledger_enter(ledger);
	if (rc != 0)
		own_books(ledger);
	take_off(&ledger->bytes[kind], bytes);
	if (rc != 0) {
		own_books_done(ledger);
		return rc;
	}
	ledger_publish(ledger);
	ledger_leave(ledger);
	return 0;
}

uint64_t ledger_left(struct ledger *ledger)
{
	if (ledger_enter(ledger) != 0)
		return 0;
	ledger_recount(ledger);
	uint64_t bytes = left_bytes(ledger);
	ledger_leave(ledger);
	return bytes - bytes % ledger->grant.granule_bytes;
}
