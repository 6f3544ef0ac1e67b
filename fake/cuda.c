/*
 * The fake libcuda's own state: its start, its end, what a fork leaves of it, and how every call begins.
 */
#include "cuda.h"

#include "clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct driver driver = {.lock = PTHREAD_MUTEX_INITIALIZER, .state_lock = PTHREAD_MUTEX_INITIALIZER};

int state_begin(struct sim_state *ret_state)
{
	int error;

	pthread_mutex_lock(&driver.state_lock);
	error = sim_begin(driver.sim, ret_state);
	if (error)
		pthread_mutex_unlock(&driver.state_lock);
	return error;
}

int state_end(const struct sim_state *changed)
{
	int error = sim_end(driver.sim, changed);

	pthread_mutex_unlock(&driver.state_lock);
	return error;
}

/* -- objects -- */

static struct object *ended[KINDS], *newest;

void *object_new(enum kind kind, size_t size)
{
	struct object *o = ended[kind], *made_before;

	if (o) {
		ended[kind] = o->next;
		made_before = o->made_before;
	} else {
		o = malloc(size);
		if (!o)
			return NULL;
		made_before = newest;
		newest = o;
	}
	memset(o, 0, size);
	o->kind = kind;
	o->made_before = made_before;
	return o;
}

void object_end(void *object)
{
	struct object *o = object;
	enum kind kind = o->kind;

	o->kind = KIND_FREE;
	o->next = ended[kind];
	ended[kind] = o;
}

bool object_is(const void *object, enum kind kind)
{
	const struct object *o = object;

	return (uintptr_t)o > 4096 && o->kind == kind;
}

/* -- faults -- */

/* What one rule does to a call; counts are counted down. */
static enum cu_result meet_rule(struct sim_rule *r, unsigned *slow_ms, bool *changed)
{
	enum cu_result code = CU_SUCCESS;

	switch ((enum sim_rule_kind)r->kind) {
	case SIM_RULE_MISSING:
		return CU_ERROR_NOT_FOUND;
	case SIM_RULE_SLOW:
		*slow_ms = r->value > *slow_ms ? r->value : *slow_ms;
		return CU_SUCCESS;
	case SIM_RULE_FAIL:
		if (r->nth <= 1)
			code = (enum cu_result)r->value;
		*changed = *changed || r->nth;
		if (r->nth == 1)
			*r = (struct sim_rule){0};
		else if (r->nth > 1)
			r->nth--;
		return code;
	case SIM_RULE_NONE:
		break;
	}
	return CU_SUCCESS;
}

/* The faults of one call; card < 0: it is about none. A card that is lost after some calls counts this one. */
static enum cu_result meet_faults(const char *function, int card)
{
	enum cu_result code = CU_SUCCESS;
	struct sim_state st;
	unsigned slow_ms = 0;
	bool changed = false;

	clock_spend(driver.sim->pace.call_ns);
	if (!__atomic_load_n(&driver.share->faults, __ATOMIC_RELAXED))
		return CU_SUCCESS;
	if (state_begin(&st))
		return CU_ERROR_UNKNOWN;
	for (unsigned i = 0; i < SIM_RULES_MAX; i++) {
		struct sim_rule *r = &st.rules[i];
		enum cu_result c;

		if (strcmp(r->name, "cu*") != 0 && strcmp(r->name, function) != 0)
			continue;
		c = meet_rule(r, &slow_ms, &changed);
		code = c ? c : code;
	}
	if (!code && card >= 0) {
		struct sim_card_state *c = &st.cards[sim_whole(driver.sim, (unsigned)card)];

		if (c->lost) {
			code = CU_ERROR_UNKNOWN;
		} else if (c->lost_after) {
			c->lost = --c->lost_after == 0;
			changed = true;
		}
	}
	state_end(changed ? &st : NULL);
	if (slow_ms)
		clock_sleep(slow_ms * UINT64_C(1000000));
	return code;
}

/* -- how calls begin -- */

enum cu_result call_begin(const char *function)
{
	return driver.phase == DRIVER_READY ? meet_faults(function, -1) : CU_SUCCESS;
}

static enum cu_result call_phase(void)
{
	switch (driver.phase) {
	case DRIVER_READY:
		return CU_SUCCESS;
	case DRIVER_ENDED:
		return CU_ERROR_DEINITIALIZED;
	case DRIVER_NEW:
	case DRIVER_FORKED:
		break;
	}
	return CU_ERROR_NOT_INITIALIZED;
}

enum cu_result call_ready(const char *function)
{
	enum cu_result code = call_phase();

	return code ? code : meet_faults(function, -1);
}

enum cu_result call_device(const char *function, int dev)
{
	enum cu_result code = call_phase();

	if (code)
		return code;
	if (dev < 0 || dev >= (int)driver.n_devs)
		return CU_ERROR_INVALID_DEVICE;
	return meet_faults(function, (int)driver.cards[dev]);
}

enum cu_result call_context(const char *function, struct cu_ctx **ret_ctx)
{
	enum cu_result code = call_phase();

	if (code)
		return code;
	*ret_ctx = ctx_current();
	if (!*ret_ctx)
		return CU_ERROR_INVALID_CONTEXT;
	return meet_faults(function, (int)(*ret_ctx)->card);
}

/* -- start and end -- */

/* What a forked child has of its parent's driver is of no use to it, as with the real one. */
static void after_fork(void)
{
	if (driver.sim)
		driver.phase = DRIVER_FORKED;
	pthread_mutex_init(&driver.lock, NULL);
	pthread_mutex_init(&driver.state_lock, NULL);
	clock_after_fork();
}

/* Joins those who use the cards; what an earlier holder of the place left goes. */
static bool join(struct sim *s, uint32_t *ret_place)
{
	struct sim_state st;
	uint32_t place;

	if (sim_begin(s, &st))
		return false;
	if (!share_is_used(s))
		share_reset(s, &st);
	place = share_take_place(s);
	if (!place) {
		sim_drop_dead(s, &st);
		sim_end(s, &st);
		return false;
	}
	sim_drop_place(&st, place);
	*ret_place = place;
	return sim_end(s, &st) == 0;
}

/* A new user: nothing of an earlier one's is left, and how many the others are to wait for. */
static void share_begin_place(void)
{
	const char *players = getenv("BERTH_FAKE_PLAYERS");
	uint64_t n;

	clock_leave();
	if (!players || !sim_parse_u64(players, SHARE_SEATS, &n))
		return;
	share_lock();
	if (n > driver.share->players)
		driver.share->players = (uint32_t)n;
	share_unlock();
}

static enum cu_result start(void)
{
	const char *path = getenv("BERTH_FAKE_GPUS");
	struct sim *s = path && *path ? malloc(sizeof(*s)) : NULL;
	char why[SIM_ERROR_SIZE];
	void *share;

	if (!s || !sim_open(s, path, why)) {
		free(s);
		return CU_ERROR_NO_DEVICE;
	}
	driver.n_devs = visible_devices(s, driver.cards);
	if (!driver.n_devs || s->read_only || s->share_fd < 0) {
		enum cu_result code =
		        driver.n_devs ? CU_ERROR_OPERATING_SYSTEM : CU_ERROR_NO_DEVICE;

		sim_close(s);
		free(s);
		return code;
	}
	share = mmap(NULL, (size_t)share_bytes(s->n_cards), PROT_READ | PROT_WRITE, MAP_SHARED,
	        s->share_fd, 0);
	if (share == MAP_FAILED || !join(s, &driver.place)) {
		sim_close(s);
		free(s);
		return CU_ERROR_OPERATING_SYSTEM;
	}
	madvise(share, (size_t)share_bytes(s->n_cards), MADV_DONTFORK);
	driver.sim = s;
	driver.share = share;
	share_begin_place();
	mps_begin();
	return CU_SUCCESS;
}

static enum cu_result attach_locked(void)
{
	static bool forks_are_seen;
	enum cu_result code;

	if (driver.sim)
		return CU_SUCCESS;
	code = start();
	if (!code && !forks_are_seen)
		forks_are_seen = pthread_atfork(NULL, NULL, after_fork) == 0;
	return code;
}

bool driver_attach(void)
{
	enum cu_result code;

	if (driver.phase == DRIVER_READY)
		return true;
	if (driver.phase != DRIVER_NEW)
		return false;
	pthread_mutex_lock(&driver.lock);
	code = attach_locked();
	pthread_mutex_unlock(&driver.lock);
	return !code;
}

enum cu_result cuInit(unsigned flags)
{
	enum cu_result code = CU_SUCCESS;

	if (flags)
		return CU_ERROR_INVALID_VALUE;
	pthread_mutex_lock(&driver.lock);
	if (driver.phase == DRIVER_NEW) {
		code = attach_locked();
		if (!code)
			driver.phase = DRIVER_READY;
	} else {
		code = call_phase();
	}
	pthread_mutex_unlock(&driver.lock);
	return code ? code : meet_faults(__func__, -1);
}

enum cu_result cuDriverGetVersion(int *version)
{
	const char *path = getenv("BERTH_FAKE_GPUS");
	enum cu_result code = call_begin(__func__);
	char why[SIM_ERROR_SIZE];
	struct sim *s;

	if (code)
		return code;
	if (!version)
		return CU_ERROR_INVALID_VALUE;
	if (driver.sim) {
		*version = cuda_version();
		return CU_SUCCESS;
	}
	s = path && *path ? malloc(sizeof(*s)) : NULL;
	*version = s && sim_describe(s, path, why) ? s->cuda_version : 0;
	free(s);
	if (*version > FAKE_BRANCH)
		*version = FAKE_BRANCH;
	return CU_SUCCESS;
}

int cuda_version(void)
{
	return driver.sim && driver.sim->cuda_version < FAKE_BRANCH ? driver.sim->cuda_version
	                                                            : FAKE_BRANCH;
}

enum cu_result cuGetErrorName(enum cu_result error, const char **p_str)
{
	if (!p_str)
		return CU_ERROR_INVALID_VALUE;
	switch (error) {
	case CU_SUCCESS:
		*p_str = "CUDA_SUCCESS";
		return CU_SUCCESS;
#define CU_RESULT(name, value, text)          \
	case CU_ERROR_##name:                 \
		*p_str = "CUDA_ERROR_" #name; \
		return CU_SUCCESS;
		CU_RESULTS(CU_RESULT)
#undef CU_RESULT
	}
	*p_str = NULL;
	return CU_ERROR_INVALID_VALUE;
}

enum cu_result cuGetErrorString(enum cu_result error, const char **p_str)
{
	if (!p_str)
		return CU_ERROR_INVALID_VALUE;
	switch (error) {
	case CU_SUCCESS:
		*p_str = "no error";
		return CU_SUCCESS;
#define CU_RESULT(name, value, text) \
	case CU_ERROR_##name:        \
		*p_str = text;       \
		return CU_SUCCESS;
		CU_RESULTS(CU_RESULT)
#undef CU_RESULT
	}
	*p_str = NULL;
	return CU_ERROR_INVALID_VALUE;
}

/* A process that ends has nothing of a card any more, also before the kernel says so. */
__attribute__((destructor)) static void stop(void)
{
	struct sim_state st;

	if (!driver.sim || driver.phase == DRIVER_FORKED)
		return;
	driver.phase = DRIVER_ENDED;
	clock_leave();
	if (state_begin(&st))
		return;
	sim_drop_place(&st, driver.place);
	state_end(&st);
	share_give_place(driver.sim, driver.place);
}
