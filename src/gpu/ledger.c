#include "gpu/ledger.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_NS 20000000 /* of CPU time: a look at 1024 slots takes about 1 ms */

static uint64_t spent_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Whether somebody has the byte; who, where that is a lock of a process. */
static bool is_locked(int fd, int command, off_t byte, pid_t *ret_pid)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	bool is = fcntl(fd, command, &lock) == 0 && lock.l_type != F_UNLCK;

	*ret_pid = is ? lock.l_pid : 0;
	return is;
}

static uint64_t add_up(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t slot_bytes(const struct slice_slot *slot)
{
	uint64_t bytes = slot->reserved_bytes;

	for (size_t k = 0; k < SLICE_KINDS; k++)
		bytes = add_up(bytes, slot->bytes[k]);
	return bytes;
}

static int take_slots(int fd, int who_fd, const struct slice_slot *slots, uint32_t n,
        struct slices_state *ret, struct err *err)
{
	uint64_t began_ns = spent_ns();

	for (uint32_t i = 0; i < n; i++) {
		struct slices_process p = {.slot = i, .pid = slots[i].pid};
		pid_t pid;

		if (!slots[i].pid || !is_locked(fd, F_OFD_GETLK, (off_t)SLICE_LOCK_BYTE + i, &pid))
			continue;
		if (who_fd >= 0)
			(void)is_locked(who_fd, F_GETLK, i, &p.holder);
		p.started = slots[i].started;
		p.bytes = slot_bytes(&slots[i]);
		ret->living[ret->n_living++] = p;
		ret->living_bytes = add_up(ret->living_bytes, p.bytes);
		if (spent_ns() - began_ns > LOOK_NS)
			return err_set(err, ERR_CORRUPT, "there are too many locks on it");
	}
	return 0;
}

int ledger_read(int fd, int who_fd, const struct slice_grant *grant, struct slices_state *ret,
        struct err *err)
{
	static struct slice_slot slots[SLICE_SLOTS]; /* one thread */
	struct slice_grant said;
	struct slice_watch watch;
	struct slice_ledger ledger;
	uint32_t n;

	if (pread(fd, &said, sizeof(said), 0) != sizeof(said) ||
	        pread(fd, &watch, sizeof(watch), SLICE_WATCH_AT) != sizeof(watch) ||
	        pread(fd, &ledger, sizeof(ledger), SLICE_LEDGER_AT) != sizeof(ledger))
		return err_set(err, ERR_CORRUPT, "it is cut short");
	if (said.magic != SLICE_MAGIC || memcmp(&said, grant, sizeof(said)) != 0)
		return err_set(err, ERR_CORRUPT, "its grant was changed");
	n = MIN(ledger.top, (uint32_t)SLICE_SLOTS);
	if (pread(fd, slots, n * sizeof(*slots), SLICE_SLOTS_AT) != (ssize_t)(n * sizeof(*slots)))
		return err_set(err, ERR_CORRUPT, "it is cut short");
	ret->overhead_bytes = watch.overhead_bytes;
	ret->used_bytes = ledger.used_bytes;
	ret->peak_bytes = ledger.peak_bytes;
	ret->n_refused = ledger.n_refused;
	ret->n_recovered = ledger.n_recovered;
	ret->has_holders = who_fd >= 0;
	return take_slots(fd, who_fd, slots, n, ret, err);
}
