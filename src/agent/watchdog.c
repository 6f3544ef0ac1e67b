#include "agent/watchdog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "berth/slice_dir.h"
#include "plat/log.h"
#include "plat/proc.h"

#define AGAIN_MS 60000 /* the log hears of the same attempt once a minute */
#define HISTORY  4     /* scans that must agree on what is beyond a ledger */
#define SURE     2     /* scans that must agree that somebody goes around it */

enum { TEXT_SIZE = sizeof((struct spool_record){0}.text) };

/*
 * DESIGN. A scan and the reading of a ledger are not one moment: memory that was freed in between would seem to be beyond
 * the ledger, and a job would be refused what it may have. The ledger takes bytes before the driver has given them, and
 * gives them back after: so at any moment it is at least what the driver says, but for what it cannot see. What was beyond
 * it in each of the last scans, compared with the larger reading at either end of each, is what it cannot see.
 */

/* What one attempt uses of one device. */
struct use {
	uint64_t epoch;
	uint32_t device;
	uint64_t bytes;
};

/* What was seen of an attempt. */
struct spoken {
	uint64_t epoch;
	uint64_t at_ms; /* 0: nothing was said */
	/* Of its ledger: a fraction is never split, so that there is one. */
	uint64_t n_readings;
	uint64_t used_bytes;      /* at the last scan */
	uint64_t beyond[HISTORY]; /* in the last scans */
	uint64_t said_used, said_driver;
	bool is_said, is_by_number_said;
	unsigned n_around; /* scans in a row */
	UT_hash_handle hh;
};

struct watchdog {
	struct attempts *attempts;
	struct slices *ledgers;
	enum link_watchdog mode;
	struct spoken *spoken;
};

struct watchdog *watchdog_new(struct attempts *at, struct slices *ledgers)
{
	struct watchdog *w = mem_zalloc(sizeof(*w));

	w->attempts = at;
	w->ledgers = ledgers;
	w->mode = LINK_WATCHDOG_REPORT;
	return w;
}

static void forget(struct watchdog *w, struct spoken *s)
{
	HASH_DEL(w->spoken, s);
	free(s);
}

void watchdog_free(struct watchdog *w)
{
	if (!w)
		return;
	while (w->spoken)
		forget(w, w->spoken);
	free(w);
}

void watchdog_set_mode(struct watchdog *w, enum link_watchdog mode)
{
	w->mode = mode;
}

/* Bytes that it was granted there; 0 of a device that is none of its own. */
static uint64_t granted(const struct known_attempt *a, const char *uuid)
{
	for (uint32_t i = 0; i < a->n_slices; i++)
		if (strcmp(a->slices[i].device, uuid) == 0)
			return a->slices[i].mem_bytes;
	return 0;
}

static struct spoken *get_spoken(struct watchdog *w, uint64_t epoch)
{
	struct spoken *s;

	HASH_FIND(hh, w->spoken, &epoch, sizeof(epoch), s);
	if (s)
		return s;
	s = mem_zalloc(sizeof(*s));
	s->epoch = epoch;
	HASH_ADD(hh, w->spoken, epoch, sizeof(s->epoch), s);
	return s;
}

/* Then that is why it uses more than it may, too. */
static bool goes_around(const struct watchdog *w, uint64_t epoch)
{
	const struct spoken *s;

	HASH_FIND(hh, w->spoken, &epoch, sizeof(epoch), s);
	return s && s->n_around >= SURE;
}

static bool may_speak(struct watchdog *w, uint64_t epoch, uint64_t now_ms)
{
	struct spoken *s = get_spoken(w, epoch);

	if (s->at_ms && now_ms - s->at_ms < AGAIN_MS)
		return false;
	s->at_ms = MAX(now_ms, (uint64_t)1);
	return true;
}

static void judge(
        struct watchdog *w, const struct use *u, const struct device_info *d, uint64_t now_ms)
{
	struct known_attempt *a = attempts_find(w->attempts, u->epoch);
	char used[24], allowed[24], text[200], id[48];
	uint64_t grant;

	if (!a)
		return;
	attempts_find_slices(w->attempts, a);
	grant = granted(a, d->uuid);
	if (!a->slices_known || u->bytes <= grant || goes_around(w, u->epoch))
		return;
	num_format_size(u->bytes, used);
	num_format_size(grant, allowed);
	if (grant)
		snprintf(text, sizeof(text), "used %s of GPU memory on %s, its slice is %s", used,
		        d->uuid, allowed);
	else
		snprintf(text, sizeof(text), "used %s of GPU memory on %s, which is not its device",
		        used, d->uuid);
	attempts_note(w->attempts, a, SPOOL_GPU_MEMORY, text);
	if (may_speak(w, u->epoch, now_ms))
		log_warn("watchdog.over", "job=%s epoch=%llu used=%llu slice=%llu device=%s",
		        job_id_format(a->id, id), (unsigned long long)u->epoch,
		        (unsigned long long)u->bytes, (unsigned long long)grant, d->uuid);
	if (w->mode == LINK_WATCHDOG_END)
		attempts_end(w->attempts, a, SPOOL_GPU_MEMORY, false);
}

static int compare_uses(const void *a, const void *b)
{
	const struct use *x = a, *y = b;

	if (x->epoch != y->epoch)
		return x->epoch > y->epoch ? 1 : -1;
	return (x->device > y->device) - (x->device < y->device);
}

/* Ledgers */

/* Why a process does not count as one that the interposer holds; NULL: it does, or it has ended. */
static const char *why_not_held(
        const struct slices_state *ledger, const struct inventory_process *p)
{
	/* Where who has a slot is not known, it is by what the slot says itself. */
	pid_t pid = ledger->has_holders ? p->pid : proc_own_pid(p->pid);
	const struct slices_process *found = NULL;
	struct proc proc;

	for (uint32_t i = 0; i < ledger->n_living && !found; i++) {
		const struct slices_process *l = &ledger->living[i];

		if (ledger->has_holders ? l->holder == pid : l->pid == (uint32_t)pid)
			found = l;
	}
	if (!proc_read(p->pid, &proc) || proc.state == 'Z' || proc.state == 'X')
		return NULL;
	if (!found)
		return "does not stand in";
	return ledger->has_holders && p->is_known && p->bytes > 0 &&
	                       p->bytes >= ledger->grant.context_bytes && !found->bytes
	               ? "has charged nothing to"
	               : NULL;
}

/* What the driver says of an attempt on one device. */
struct sight {
	uint64_t bytes;
	bool is_known;                          /* of all its processes */
	const struct inventory_process *around; /* goes around the interposer; NULL: none */
	const char *why;                        /* it is thought to */
};

/* ledger: NULL when it cannot be read */
static struct sight see(const struct inventory_scan *s, uint64_t epoch, uint32_t device,
        const struct slices_state *ledger)
{
	struct sight seen = {.is_known = true};

	for (size_t i = 0; i < s->n_processes; i++) {
		const struct inventory_process *p = &s->processes[i];

		if (p->epoch != epoch || p->device != device)
			continue;
		seen.bytes += p->bytes;
		seen.is_known &= p->is_known;
		if (!ledger || seen.around)
			continue;
		seen.why = why_not_held(ledger, p);
		seen.around = seen.why ? p : NULL;
	}
	return seen;
}

static bool find_place(const struct inventory_scan *s, const char *uuid, uint32_t *ret_device)
{
	for (uint32_t i = 0; i < s->n_devices; i++)
		if (strcmp(s->devices[i].uuid, uuid) == 0) {
			*ret_device = i;
			return s->is_readable[i];
		}
	return false;
}

static void go_around(struct watchdog *w, struct known_attempt *a, const struct spoken *seen,
        const char *text, uint64_t now_ms)
{
	char id[48];

	if (seen->n_around < SURE)
		return;
	attempts_note(w->attempts, a, SPOOL_GPU_AROUND, text);
	if (may_speak(w, a->epoch, now_ms))
		log_warn("watchdog.around", "job=%s epoch=%llu text=\"%s\"",
		        job_id_format(a->id, id), (unsigned long long)a->epoch, text);
	if (w->mode == LINK_WATCHDOG_END)
		attempts_end(w->attempts, a, SPOOL_GPU_AROUND, false);
}

static void describe_around(
        const struct sight *sight, const struct slices_state *ledger, char text[TEXT_SIZE])
{
	const struct inventory_process *p = sight->around;
	char used[24] = "memory", written[24];

	if (p->is_known)
		num_format_size(p->bytes, used);
	num_format_size(ledger->living_bytes, written);
	snprintf(text, TEXT_SIZE,
	        "process %d has %s on %s by NVML and %s the job's ledger (%s): it goes "
	        "around the interposer. Open libcuda.so.1 by that name, with the job's "
	        "LD_LIBRARY_PATH, or ask for whole devices",
	        p->pid, used, ledger->grant.uuid, sight->why, written);
}

static void write_beyond(struct watchdog *w, struct spoken *seen, uint64_t epoch, uint32_t place,
        const struct slices_state *ledger, const struct sight *sight, uint64_t now_ms)
{
	uint64_t least = MAX(seen->used_bytes, ledger->living_bytes);
	struct err err;

	seen->used_bytes = ledger->living_bytes;
	if (!sight->is_known)
		return;
	seen->beyond[seen->n_readings++ % HISTORY] =
	        sight->bytes > least ? sight->bytes - least : 0;
	least = UINT64_MAX;
	for (size_t i = 0; i < HISTORY; i++)
		least = MIN(least, seen->beyond[i]);
	if (least != ledger->overhead_bytes &&
	        slices_watch(w->ledgers, epoch, place, least, now_ms * 1000000, &err) < 0)
		log_warn("watchdog.ledger", "epoch=%llu error=\"%s\"", (unsigned long long)epoch,
		        err.text);
}

static void tell(struct watchdog *w, const struct known_attempt *a, struct spoken *seen,
        const char *uuid, uint64_t used_bytes, const struct sight *sight)
{
	struct slice_record r = {.used_bytes = used_bytes, .driver_bytes = sight->bytes};

	if (!sight->is_known || (seen->is_said && seen->said_used == r.used_bytes &&
	                                seen->said_driver == r.driver_bytes))
		return;
	seen->is_said = true;
	seen->said_used = r.used_bytes;
	seen->said_driver = r.driver_bytes;
	snprintf(r.device, sizeof(r.device), "%s", uuid);
	attempts_use(w->attempts, a, &r, 1);
}

void watchdog_say_again(struct watchdog *w)
{
	for (struct spoken *s = w->spoken; s; s = s->hh.next)
		s->is_said = false;
}

/* Nothing of it counts any more. */
static void on_spoilt(struct watchdog *w, struct known_attempt *a, struct spoken *seen,
        const char *why, uint64_t now_ms)
{
	char text[TEXT_SIZE];

	seen->n_around++;
	snprintf(text, sizeof(text),
	        "it has spoilt what holds its slice (%.100s): programs must not write to the files in " SLICE_VARIABLE,
	        why);
	go_around(w, a, seen, text, now_ms);
}

/* What is held by an older agent's files is compared by what the job says of itself. */
static void say_by_number(
        const struct known_attempt *a, struct spoken *seen, const struct slices_state *ledger)
{
	char id[48];

	if (ledger->has_holders || seen->is_by_number_said)
		return;
	seen->is_by_number_said = true;
	log_info("watchdog.by_number", "job=%s epoch=%llu why=\"its ledger has no who-N\"",
	        job_id_format(a->id, id), (unsigned long long)a->epoch);
}

static void compare_ledger(struct watchdog *w, struct known_attempt *a, uint32_t place,
        const struct inventory_scan *s, uint64_t now_ms)
{
	static struct slices_state ledger; /* one thread; it is large */
	const char *uuid = slices_device(w->ledgers, a->epoch, place);
	struct spoken *seen = get_spoken(w, a->epoch);
	struct sight sight;
	char text[TEXT_SIZE];
	uint32_t device;
	struct err err;
	bool is_spoilt = slices_read(w->ledgers, a->epoch, place, &ledger, &err) < 0;

	if (is_spoilt)
		on_spoilt(w, a, seen, err.text, now_ms);
	if (!find_place(s, uuid, &device))
		return;
	sight = see(s, a->epoch, device, is_spoilt ? NULL : &ledger);
	tell(w, a, seen, uuid, is_spoilt ? 0 : ledger.living_bytes, &sight);
	if (is_spoilt)
		return;
	say_by_number(a, seen, &ledger);
	seen->n_around = sight.around ? seen->n_around + 1 : 0;
	if (sight.around) {
		describe_around(&sight, &ledger, text);
		go_around(w, a, seen, text, now_ms);
	}
	write_beyond(w, seen, a->epoch, place, &ledger, &sight, now_ms);
}

static void compare_ledgers(struct watchdog *w, const struct inventory_scan *s, uint64_t now_ms)
{
	struct known_attempt *a = attempts_first(w->attempts, ATTEMPT_LIVING), *next;

	for (; w->ledgers && a; a = next) {
		uint32_t n = slices_count(w->ledgers, a->epoch);

		next = TAILQ_NEXT(a, link);
		for (uint32_t i = 0; i < n; i++)
			compare_ledger(w, a, i, s, now_ms);
	}
}

static void forget_ended(struct watchdog *w)
{
	struct spoken *s, *next;

	HASH_ITER (hh, w->spoken, s, next)
		if (!attempts_find(w->attempts, s->epoch))
			forget(w, s);
}

void watchdog_on_scan(struct watchdog *w, const struct inventory_scan *s, uint64_t now_ms)
{
	struct use *uses;
	size_t n = 0;

	forget_ended(w);
	if (w->mode == LINK_WATCHDOG_OFF)
		return;
	compare_ledgers(w, s, now_ms);
	if (!s->n_processes)
		return;
	uses = mem_realloc(NULL, s->n_processes, sizeof(*uses));
	for (size_t i = 0; i < s->n_processes; i++) {
		const struct inventory_process *p = &s->processes[i];

		if (p->epoch)
			uses[n++] = (struct use){p->epoch, p->device, p->bytes};
	}
	if (n)
		qsort(uses, n, sizeof(*uses), compare_uses);
	for (size_t i = 0; i < n;) {
		struct use sum = uses[i];

		while (++i < n && compare_uses(&uses[i], &sum) == 0)
			sum.bytes += uses[i].bytes;
		judge(w, &sum, &s->devices[sum.device], now_ms);
	}
	free(uses);
}
