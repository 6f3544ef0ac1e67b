#include "agent/release.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "plat/clock.h"
#include "plat/log.h"

#define AGAIN_MS 100

struct waiting {
	uint64_t epoch;
	uint64_t scan; /* the first that counts */
	uint64_t since_ms;
};

struct releases {
	struct attempts *attempts;
	struct inventory *inventory;
	struct loop_timer *timer; /* runs while somebody waits */
	struct waiting *v;
	size_t n, cap;
};

static void on_timer(void *data)
{
	releases_look(data, clock_mono_ms());
}

struct releases *releases_new(struct loop *loop, struct attempts *at)
{
	struct releases *r = mem_zalloc(sizeof(*r));

	r->attempts = at;
	r->timer = loop_timer_new(loop, on_timer, r);
	return r;
}

void releases_free(struct releases *r)
{
	if (!r)
		return;
	loop_timer_free(r->timer);
	free(r->v);
	free(r);
}

void releases_set_inventory(struct releases *r, struct inventory *inv)
{
	r->inventory = inv;
}

static void tell(struct releases *r, uint64_t epoch)
{
	struct known_attempt *a = attempts_find(r->attempts, epoch);

	if (a)
		attempts_tell_end(r->attempts, a);
}

static void drop(struct releases *r, size_t i)
{
	r->v[i] = r->v[--r->n];
	if (!r->n)
		loop_timer_stop(r->timer);
}

void releases_add(struct releases *r, const struct known_attempt *a, uint64_t now_ms)
{
	uint32_t n_devices = 0;

	if (r->inventory)
		(void)inventory_devices(r->inventory, &n_devices);
	/* What never ran held nothing. */
	if (!n_devices || (a->slices_known && !a->n_slices) || !a->pid) {
		tell(r, a->epoch);
		return;
	}
	MEM_GROW(r->v, r->n, r->cap);
	r->v[r->n++] = (struct waiting){
	        .epoch = a->epoch,
	        .scan = inventory_want_scan(r->inventory),
	        .since_ms = now_ms,
	};
	if (!loop_timer_is_running(r->timer))
		loop_timer_start(r->timer, AGAIN_MS, AGAIN_MS);
}

static bool is_its_device(const struct known_attempt *a, const char *uuid)
{
	/* Unknown after a restart of the agent: then it may be any. */
	if (!a->slices_known)
		return true;
	for (uint32_t i = 0; i < a->n_slices; i++)
		if (strcmp(a->slices[i].device, uuid) == 0)
			return true;
	return false;
}

/* Drivers list a process for a while after its death: until its memory is back. */
static bool is_gone(int pid)
{
	return kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

static bool is_free(const struct known_attempt *a, const struct inventory_scan *s)
{
	for (size_t i = 0; i < s->n_processes; i++) {
		const struct inventory_process *p = &s->processes[i];

		if (!is_its_device(a, s->devices[p->device].uuid))
			continue;
		if (p->epoch == a->epoch || (p->pid > 0 && is_gone(p->pid)))
			return false;
	}
	return true;
}

void releases_on_scan(struct releases *r, const struct inventory_scan *s, uint64_t now_ms)
{
	/* Backwards: the last takes the place of one that goes. */
	for (size_t i = r->n; i-- > 0;) {
		struct waiting w = r->v[i];
		const struct known_attempt *a = attempts_find(r->attempts, w.epoch);

		if (a && (w.scan > s->number || !is_free(a, s)))
			continue;
		drop(r, i);
		tell(r, w.epoch);
	}
}

void releases_look(struct releases *r, uint64_t now_ms)
{
	for (size_t i = r->n; i-- > 0;) {
		struct waiting w = r->v[i];

		if (now_ms - w.since_ms < RELEASE_MAX_MS)
			continue;
		log_warn("device.not_released", "epoch=%llu ms=%d", (unsigned long long)w.epoch,
		        RELEASE_MAX_MS);
		drop(r, i);
		tell(r, w.epoch);
	}
	if (r->n)
		(void)inventory_want_scan(r->inventory);
}
