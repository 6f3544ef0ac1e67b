#include "shim/ledger_file.h"
#include "shim/step.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * DESIGN. A process owns a slot for as long as the kernel holds its lock on the slot's byte; all else in the file is only what
 * somebody wrote. So every number that is read from it is used as a number, never as an index without a bound, and sums stop at
 * the end of 64 bits. The order of stores makes a death at any point harmless: a slot is written before used_bytes, and whoever
 * takes the lock from the dead clears the dead one's slot and adds up anew.
 */

#define WAIT_NS   (1000 * 1000)
#define TURNS_MAX (4 * 1000 * 1000) /* some seconds of others coming and going */
#define DESCRIPTOR_FROM \
	400 /* above those that programs count on, and closed after the driver's at the end of a process */

static uint64_t sum(uint64_t a, uint64_t b)
{
	uint64_t total;
	return __builtin_add_overflow(a, b, &total) ? UINT64_MAX : total;
}

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static void store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

uint64_t ledger_total(const struct ledger *ledger)
{
	uint64_t total = ledger->reserved_bytes;
	for (int kind = 0; kind < SLICE_KINDS; kind++)
		total = sum(total, ledger->bytes[kind]);
	return total;
}

static uint64_t slot_total(const struct slice_slot *slot)
{
	uint64_t total = load(&slot->reserved_bytes);
	for (int kind = 0; kind < SLICE_KINDS; kind++)
		total = sum(total, load(&slot->bytes[kind]));
	return total;
}

static int byte_lock(int fd, int command, int slot, struct flock *ret_lock)
{
	*ret_lock = (struct flock){.l_type = F_WRLCK,
	        .l_whence = SEEK_SET,
	        .l_start = SLICE_LOCK_BYTE + slot,
	        .l_len = 1};
	int result;
	do
		result = fcntl(fd, command, ret_lock);
	while (result < 0 && errno == EINTR);
	return result;
}

/* Whether the process that took the slot has ended. When the kernel does not say, it lives. */
static bool slot_is_dead(const struct ledger *ledger, int slot)
{
	struct flock lock;
	return slot != ledger->slot && byte_lock(ledger->fd, F_OFD_GETLK, slot, &lock) == 0 &&
	       lock.l_type == F_UNLCK;
}

static unsigned n_used_slots(const struct ledger *ledger)
{
	uint32_t top = __atomic_load_n(&ledger->map->ledger.top, __ATOMIC_RELAXED);
	return top > SLICE_SLOTS ? SLICE_SLOTS : top;
}

static void slot_clear(struct slice_slot *slot)
{
	store(&slot->reserved_bytes, 0);
	for (int kind = 0; kind < SLICE_KINDS; kind++)
		store(&slot->bytes[kind], 0);
	store(&slot->started, 0);
	__atomic_store_n(&slot->pid, 0, __ATOMIC_RELAXED);
}

/* What this process has is what it knows, and not what somebody wrote into its slot. */
static void write_own(struct ledger *ledger)
{
	struct slice_slot *slot = &ledger->map->slots[ledger->slot];
	store(&slot->reserved_bytes, ledger->reserved_bytes);
	STEP();
	for (int kind = 0; kind < SLICE_KINDS; kind++)
		store(&slot->bytes[kind], ledger->bytes[kind]);
	STEP();
	if (n_used_slots(ledger) <= (unsigned)ledger->slot)
		__atomic_store_n(
		        &ledger->map->ledger.top, (uint32_t)ledger->slot + 1, __ATOMIC_RELAXED);
}

void ledger_recount(struct ledger *ledger)
{
	struct slice_ledger *head = &ledger->map->ledger;
	uint64_t used_bytes = 0;
	write_own(ledger);
	for (unsigned i = 0, n = n_used_slots(ledger); i < n; i++) {
		struct slice_slot *slot = &ledger->map->slots[i];
		uint64_t total = slot_total(slot);
		bool is_taken = __atomic_load_n(&slot->pid, __ATOMIC_RELAXED) != 0;
		if ((is_taken || total != 0) && slot_is_dead(ledger, (int)i)) {
			slot_clear(slot);
			STEP();
			if (total != 0)
				store(&head->n_recovered, load(&head->n_recovered) + 1);
			total = 0;
		}
		used_bytes = sum(used_bytes, total);
	}
	store(&head->used_bytes, used_bytes);
	ledger->published_bytes = ledger_total(ledger);
	STEP();
}

bool ledger_is_sound(const struct ledger *ledger)
{
	return slot_total(&ledger->map->slots[ledger->slot]) == ledger->published_bytes &&
	       load(&ledger->map->ledger.used_bytes) >= ledger->published_bytes;
}

void ledger_publish(struct ledger *ledger)
{
	struct slice_ledger *head = &ledger->map->ledger;
	uint64_t total = ledger_total(ledger), used_bytes = load(&head->used_bytes);
	if (ledger_is_sound(ledger) && used_bytes >= ledger->published_bytes) {
		write_own(ledger);
		store(&head->used_bytes, sum(used_bytes - ledger->published_bytes, total));
		ledger->published_bytes = total;
	} else {
		ledger_recount(ledger);
	}
	STEP();
	if (load(&head->used_bytes) > load(&head->peak_bytes))
		store(&head->peak_bytes, load(&head->used_bytes));
}

uint64_t ledger_reserved(const struct ledger *ledger)
{
	uint64_t reserved_bytes = 0;
	for (unsigned i = 0, n = n_used_slots(ledger); i < n; i++)
		reserved_bytes = sum(reserved_bytes, load(&ledger->map->slots[i].reserved_bytes));
	return reserved_bytes;
}

/* Whether the whole time went by without a wake. */
static bool sleep_on(uint32_t *word, uint32_t value)
{
	struct timespec timeout = {.tv_nsec = WAIT_NS};
	return syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, NULL, 0) < 0 &&
	       errno == ETIMEDOUT;
}

void ledger_nap(const struct ledger *ledger)
{
	/* Nobody wakes who sleeps on this: it is looked at again, as whoever waits for the lock does. */
	uint32_t *low = (uint32_t *)&ledger->map->ledger.used_bytes;
	sleep_on(low, __atomic_load_n(low, __ATOMIC_RELAXED));
}

/* The holder as the word names it: its slot, or one that there is not. */
static uint32_t holder_of(uint32_t word)
{
	return (word & ~SLICE_LOCK_WAITED) - 1;
}

static bool holder_is_gone(const struct ledger *ledger, uint32_t word)
{
	uint32_t holder = holder_of(word);
	/* The mutex says that no thread of this process has it. */
	return holder >= SLICE_SLOTS || (int)holder == ledger->slot ||
	       slot_is_dead(ledger, (int)holder);
}

int ledger_lock(struct ledger *ledger)
{
	uint32_t *word = &ledger->map->ledger.lock, mine = (uint32_t)ledger->slot + 1, seen = 0;
	if (__atomic_compare_exchange_n(
	            word, &seen, mine, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		STEP();
		return 0;
	}
	mine |= SLICE_LOCK_WAITED;
	/* Time is counted in waits: it stands still while the job is frozen. */
	int n_waits = 0;
	for (int n_turns = 0; n_waits < LEDGER_PATIENCE_MS && n_turns < TURNS_MAX; n_turns++) {
		seen = __atomic_load_n(word, __ATOMIC_RELAXED);
		bool is_gone = seen != 0 && n_waits > 0 && holder_is_gone(ledger, seen);
		if (seen == 0 || is_gone) {
			if (!__atomic_compare_exchange_n(
			            word, &seen, mine, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
				continue;
			STEP();
			if (is_gone) {
				struct slice_ledger *head = &ledger->map->ledger;
				store(&head->n_recovered, load(&head->n_recovered) + 1);
				ledger_recount(ledger);
			}
			return 0;
		}
		if ((seen & SLICE_LOCK_WAITED) == 0 &&
		        !__atomic_compare_exchange_n(word, &seen, seen | SLICE_LOCK_WAITED, false,
		                __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			continue;
		n_waits += sleep_on(word, seen | SLICE_LOCK_WAITED);
	}
	return LEDGER_BROKEN;
}

void ledger_unlock(struct ledger *ledger)
{
	uint32_t *word = &ledger->map->ledger.lock, seen = __atomic_load_n(word, __ATOMIC_RELAXED);
	STEP();
	/* Whoever finds another's name in it was robbed, and leaves it alone. */
	while ((int)holder_of(seen) == ledger->slot)
		if (__atomic_compare_exchange_n(
		            word, &seen, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
			if (seen & SLICE_LOCK_WAITED)
				syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
			break;
		}
	STEP();
}

/* Field 22 of /proc/self/stat; 0 when it cannot be read. */
static uint64_t started_at(void)
{
	char text[1024];
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	text[n] = 0;
	char *at = strrchr(text, ')');
	for (int field = 2; at != NULL && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

/*
 * A lock lasts as long as the open file that it was taken with, and a mapping keeps that open when the program closes what it did
 * not open. A child of a fork has no copy of it, which would outlive us.
 */
static void cast_anchor(struct ledger *ledger)
{
	void *at = mmap(NULL, SLICE_SLOTS_AT, PROT_READ, MAP_SHARED, ledger->fd, 0);
	if (ledger->anchor != NULL)
		munmap(ledger->anchor, SLICE_SLOTS_AT);
	ledger->anchor = NULL;
	if (at == MAP_FAILED)
		return;
	if (madvise(at, SLICE_SLOTS_AT, MADV_DONTFORK) == 0)
		ledger->anchor = at;
	else
		munmap(at, SLICE_SLOTS_AT);
}

static int open_high(const char *path)
{
	int low = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int high = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, DESCRIPTOR_FROM);
	if (high < 0)
		return low;
	close(low);
	return high;
}

void ledger_unsign(struct ledger *ledger)
{
	struct stat st;
	if (ledger->who_fd >= 0 && fstat(ledger->who_fd, &st) == 0 && st.st_dev == ledger->device &&
	        st.st_ino == ledger->who_inode)
		close(ledger->who_fd);
	ledger->who_fd = -1;
	ledger->is_signed = false;
}

/* A close of any descriptor of the file lets go of the lock: so it is taken by the last one that is opened. */
static void open_who(struct ledger *ledger)
{
	char path[LEDGER_PATH_MAX];
	struct stat st;
	const char *name = strrchr(ledger->path, '/'), *number = strrchr(ledger->path, '-');
	ledger_unsign(ledger);
	if (name == NULL || number == NULL || number < name ||
	        snprintf(path, sizeof path, "%.*s/who%s", (int)(name - ledger->path), ledger->path,
	                number) >= (int)sizeof path)
		return;
	int fd = open_high(path);
	if (fd < 0)
		return;
	if (fstat(fd, &st) < 0 || st.st_dev != ledger->device || !S_ISREG(st.st_mode)) {
		close(fd);
		return;
	}
	ledger->who_fd = fd;
	ledger->who_inode = st.st_ino;
}

/* The kernel then tells the agent who has this slot, whatever anybody writes. Without that it goes on, too. */
static void sign(struct ledger *ledger)
{
	struct flock lock = {
	        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = ledger->slot, .l_len = 1};
	if (ledger->who_fd >= 0 && !ledger->is_signed)
		ledger->is_signed = fcntl(ledger->who_fd, F_SETLK, &lock) == 0;
}

/* Another descriptor of the very file that was mapped. */
static int open_again(struct ledger *ledger)
{
	struct stat st;
	int fd = open_high(ledger->path);
	if (fd < 0)
		return LEDGER_BROKEN;
	if (fstat(fd, &st) < 0 || st.st_dev != ledger->device || st.st_ino != ledger->inode) {
		close(fd);
		return LEDGER_BROKEN;
	}
	ledger->fd = fd;
	if (ledger->anchor == NULL)
		ledger->slot = -1;
	if (ledger->slot < 0)
		cast_anchor(ledger);
	open_who(ledger);
	return 0;
}

static int take_slot(struct ledger *ledger)
{
	struct flock lock;
	int slot = 0;
	while (slot < SLICE_SLOTS && byte_lock(ledger->fd, F_OFD_SETLK, slot, &lock) != 0)
		slot++;
	if (slot == SLICE_SLOTS)
		return LEDGER_BROKEN;
	STEP();
	ledger->slot = slot;
	if (ledger_lock(ledger) != 0) {
		lock.l_type = F_UNLCK;
		fcntl(ledger->fd, F_OFD_SETLK, &lock);
		ledger->slot = -1;
		return LEDGER_BROKEN;
	}
	struct slice_ledger *head = &ledger->map->ledger;
	struct slice_slot *own = &ledger->map->slots[slot];
	bool is_stale = slot_total(own) != 0;
	ledger->generation = __atomic_load_n(&own->generation, __ATOMIC_RELAXED) + 1;
	slot_clear(own);
	STEP();
	__atomic_store_n(&own->generation, ledger->generation, __ATOMIC_RELAXED);
	store(&own->started, started_at());
	__atomic_store_n(&own->pid, (uint32_t)getpid(), __ATOMIC_RELAXED);
	STEP();
	ledger->published_bytes = 0;
	if (is_stale) {
		store(&head->n_recovered, load(&head->n_recovered) + 1);
		ledger_recount(ledger);
	}
	ledger_publish(ledger);
	ledger_unlock(ledger);
	return 0;
}

int ledger_attend(struct ledger *ledger)
{
	struct stat st;
	bool is_held = ledger->fd >= 0 && fstat(ledger->fd, &st) == 0 &&
	               st.st_dev == ledger->device && st.st_ino == ledger->inode;
	if (!is_held) {
		/* First use; or the program has closed a descriptor that it did not open: the slot is kept by the anchor. */
		int rc = open_again(ledger);
		if (rc != 0)
			return rc;
		if (fstat(ledger->fd, &st) < 0)
			return LEDGER_BROKEN;
	}
	/* A file cut short between here and the stores still ends the process; only the job itself can do that to it. */
	if ((uint64_t)st.st_size < sizeof(struct slice))
		return LEDGER_BROKEN;
	if (ledger->slot < 0) {
		int rc = take_slot(ledger);
		if (rc != 0)
			return rc;
	}
	sign(ledger);
	struct slice_slot *own = &ledger->map->slots[ledger->slot];
	if (__atomic_load_n(&own->pid, __ATOMIC_RELAXED) != (uint32_t)getpid() ||
	        __atomic_load_n(&own->generation, __ATOMIC_RELAXED) != ledger->generation) {
		__atomic_store_n(&own->generation, ledger->generation, __ATOMIC_RELAXED);
		__atomic_store_n(&own->pid, (uint32_t)getpid(), __ATOMIC_RELAXED);
	}
	return 0;
}
