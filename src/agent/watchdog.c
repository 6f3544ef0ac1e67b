#include "agent/watchdog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "plat/log.h"

#define AGAIN_MS 60000 /* the log hears of the same attempt once a minute */

/* What one attempt uses of one device. */
struct use {
	uint64_t epoch;
	uint32_t device;
	uint64_t bytes;
};

struct spoken {
	uint64_t epoch;
	uint64_t at_ms;
	UT_hash_handle hh;
};

struct watchdog {
	struct attempts *attempts;
	enum link_watchdog mode;
	struct spoken *spoken;
};

struct watchdog *watchdog_new(struct attempts *at)
{
	struct watchdog *w = mem_zalloc(sizeof(*w));

	w->attempts = at;
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

static bool may_speak(struct watchdog *w, uint64_t epoch, uint64_t now_ms)
{
	struct spoken *s;

	HASH_FIND(hh, w->spoken, &epoch, sizeof(epoch), s);
	if (s && now_ms - s->at_ms < AGAIN_MS)
		return false;
	if (!s) {
		s = mem_zalloc(sizeof(*s));
		s->epoch = epoch;
		HASH_ADD(hh, w->spoken, epoch, sizeof(s->epoch), s);
	}
	s->at_ms = now_ms;
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
	if (!a->slices_known || u->bytes <= grant)
		return;
	num_format_size(u->bytes, used);
	num_format_size(grant, allowed);
	if (grant)
		snprintf(text, sizeof(text), "used %s of GPU memory on %s, its slice is %s", used,
		        d->uuid, allowed);
	else
		snprintf(text, sizeof(text), "used %s of GPU memory on %s, which is not its device",
		        used, d->uuid);
	attempts_note(w->attempts, a, text);
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
	if (w->mode == LINK_WATCHDOG_OFF || !s->n_processes)
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
