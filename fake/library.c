/*
 * The fake NVML's own state: the simulation it shows, how often it was initialised, and how every call begins.
 */
#include "library.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct nvml_device {
	char unused; /* a handle is the address of one of these */
};

static struct {
	pthread_mutex_t lock;
	unsigned inits;
	struct sim *sim; /* while initialised */
	char path[4096]; /* chosen by berthFakeSelect; "": BERTH_FAKE_GPUS says it */
	struct nvml_event_set *sets;
	struct nvml_device handles[SIM_CARDS_MAX];
} library = {.lock = PTHREAD_MUTEX_INITIALIZER};

static enum nvml_return of_errno(int error)
{
	switch (error) {
	case 0:
		return NVML_SUCCESS;
	case ETIMEDOUT:
		return NVML_ERROR_TIMEOUT;
	case ESTALE: /* as when the driver was replaced below its library */
		return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
	case ENOMEM:
		return NVML_ERROR_MEMORY;
	case EACCES:
	case EPERM:
		return NVML_ERROR_NO_PERMISSION;
	default:
		return NVML_ERROR_UNKNOWN;
	}
}

/* What the faults say of one call; counts are counted down in st. */
static enum nvml_return meet_faults(
        struct sim_state *st, const char *function, unsigned *ret_slow_ms, bool *changed)
{
	enum nvml_return code = NVML_SUCCESS;

	for (unsigned i = 0; i < SIM_RULES_MAX; i++) {
		struct sim_rule *r = &st->rules[i];

		if (strcmp(r->name, "*") != 0 && strcmp(r->name, function) != 0)
			continue;
		switch ((enum sim_rule_kind)r->kind) {
		case SIM_RULE_MISSING:
			code = NVML_ERROR_FUNCTION_NOT_FOUND;
			break;
		case SIM_RULE_SLOW:
			if (r->value > *ret_slow_ms)
				*ret_slow_ms = r->value;
			break;
		case SIM_RULE_FAIL:
			if (r->nth <= 1)
				code = (enum nvml_return)r->value;
			if (r->nth == 1)
				*r = (struct sim_rule){0};
			else if (r->nth > 1)
				r->nth--;
			*changed = *changed || r->nth || r->kind == SIM_RULE_NONE;
			break;
		case SIM_RULE_NONE:
			break;
		}
	}
	return code;
}

/* A card that is lost after some calls counts this one. */
static enum nvml_return meet_loss(struct sim_card_state *c, bool *changed)
{
	if (c->lost)
		return NVML_ERROR_GPU_IS_LOST;
	if (c->lost_after) {
		c->lost = --c->lost_after == 0;
		*changed = true;
	}
	return NVML_SUCCESS;
}

static void be_slow(unsigned ms)
{
	struct timespec left = {ms / 1000, ms % 1000 * 1000000L};

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

static int index_of(const struct nvml_device *device)
{
	for (unsigned i = 0; i < library.sim->n_cards; i++)
		if (device == &library.handles[i])
			return (int)i;
	return -1;
}

static enum nvml_return open_locked(
        struct view *v, const char *function, struct nvml_device *device, unsigned *ret_slow_ms)
{
	enum nvml_return code;
	bool changed = false;
	int index = 0, error;
	unsigned whole;

	if (!library.inits)
		return NVML_ERROR_UNINITIALIZED;
	if (device && (index = index_of(device)) < 0)
		return NVML_ERROR_INVALID_ARGUMENT;
	error = sim_begin(library.sim, &v->state);
	if (error)
		return of_errno(error);
	code = meet_faults(&v->state, function, ret_slow_ms, &changed);
	whole = sim_whole(library.sim, (unsigned)index);
	if (code == NVML_SUCCESS && device)
		code = meet_loss(&v->state.cards[whole], &changed);
	if (code == NVML_SUCCESS && device && sim_is_gone(library.sim, &v->state, (unsigned)index))
		code = NVML_ERROR_NOT_FOUND;
	error = sim_end(library.sim, changed ? &v->state : NULL);
	v->sim = library.sim;
	v->index = (unsigned)index;
	v->card = device ? &library.sim->cards[index] : NULL;
	v->live = device ? &v->state.cards[whole] : NULL;
	return code ? code : of_errno(error);
}

enum nvml_return view_open(struct view *v, const char *function, struct nvml_device *device)
{
	unsigned slow_ms = 0;
	enum nvml_return code;

	pthread_mutex_lock(&library.lock);
	code = open_locked(v, function, device, &slow_ms);
	pthread_mutex_unlock(&library.lock);
	if (slow_ms)
		be_slow(slow_ms);
	return code;
}

enum nvml_return view_device(struct view *v, const char *function, struct nvml_device *device)
{
	enum nvml_return code = view_open(v, function, device);

	return code == NVML_SUCCESS && !device ? NVML_ERROR_INVALID_ARGUMENT : code;
}

enum nvml_return view_whole(struct view *v, const char *function, struct nvml_device *device)
{
	enum nvml_return code = view_device(v, function, device);

	return code == NVML_SUCCESS && v->card->parent >= 0 ? NVML_ERROR_NOT_SUPPORTED : code;
}

struct nvml_device *device_handle(unsigned index)
{
	return &library.handles[index];
}

enum nvml_return view_handle(const struct view *v, int index, struct nvml_device **ret_device)
{
	if (index < 0)
		return NVML_ERROR_NOT_FOUND;
	if (sim_is_gone(v->sim, &v->state, (unsigned)index))
		return NVML_ERROR_NOT_FOUND;
	if (v->state.cards[sim_whole(v->sim, (unsigned)index)].lost)
		return NVML_ERROR_GPU_IS_LOST;
	*ret_device = device_handle((unsigned)index);
	return NVML_SUCCESS;
}

enum nvml_return library_change(
        bool (*fn)(const struct sim *s, struct sim_state *st, void *arg), void *arg)
{
	struct sim_state st;
	int error = 0;

	pthread_mutex_lock(&library.lock);
	if (!library.inits) {
		pthread_mutex_unlock(&library.lock);
		return NVML_ERROR_UNINITIALIZED;
	}
	error = sim_begin(library.sim, &st);
	if (!error)
		error = sim_end(library.sim, fn(library.sim, &st, arg) ? &st : NULL);
	pthread_mutex_unlock(&library.lock);
	return of_errno(error);
}

enum nvml_return put_text(const char *text, char *out, unsigned length)
{
	size_t need = strlen(text) + 1;

	if (!out)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (length < need)
		return NVML_ERROR_INSUFFICIENT_SIZE;
	memcpy(out, text, need);
	return NVML_SUCCESS;
}

enum nvml_return library_keep_set(struct nvml_event_set *set)
{
	enum nvml_return code = NVML_ERROR_UNINITIALIZED;

	pthread_mutex_lock(&library.lock);
	if (library.inits) {
		set->next = library.sets;
		library.sets = set;
		code = NVML_SUCCESS;
	}
	pthread_mutex_unlock(&library.lock);
	return code;
}

bool library_has_set(const struct nvml_event_set *set)
{
	const struct nvml_event_set *at;

	pthread_mutex_lock(&library.lock);
	for (at = library.sets; at && at != set; at = at->next)
		;
	pthread_mutex_unlock(&library.lock);
	return at && set;
}

void library_drop_set(struct nvml_event_set *set)
{
	struct nvml_event_set **at;

	pthread_mutex_lock(&library.lock);
	for (at = &library.sets; *at && *at != set; at = &(*at)->next)
		;
	if (*at)
		*at = set->next;
	pthread_mutex_unlock(&library.lock);
	free(set);
}

/* Opens what is to be shown; a fault of init itself stops it again. */
static enum nvml_return init_locked(const char *function, unsigned *ret_slow_ms)
{
	const char *path = *library.path ? library.path : getenv("BERTH_FAKE_GPUS");
	char why[SIM_ERROR_SIZE];
	struct sim_state st;
	enum nvml_return code;
	bool changed = false;

	if (!library.sim) {
		struct sim *s = path && *path ? malloc(sizeof(*s)) : NULL;

		if (!s || !sim_open(s, path, why)) {
			free(s);
			return NVML_ERROR_DRIVER_NOT_LOADED;
		}
		library.sim = s;
	}
	code = of_errno(sim_begin(library.sim, &st));
	if (code == NVML_SUCCESS) {
		code = meet_faults(&st, function, ret_slow_ms, &changed);
		sim_end(library.sim, changed ? &st : NULL);
	}
	if (code == NVML_SUCCESS) {
		library.inits++;
	} else if (!library.inits) {
		sim_close(library.sim);
		free(library.sim);
		library.sim = NULL;
	}
	return code;
}

static enum nvml_return init(const char *function)
{
	unsigned slow_ms = 0;
	enum nvml_return code;

	pthread_mutex_lock(&library.lock);
	code = init_locked(function, &slow_ms);
	pthread_mutex_unlock(&library.lock);
	if (slow_ms)
		be_slow(slow_ms);
	return code;
}

enum nvml_return nvmlInit_v2(void)
{
	return init(__func__);
}

enum nvml_return nvmlInit(void)
{
	return init(__func__);
}

enum nvml_return nvmlInitWithFlags(unsigned flags)
{
	return init(__func__);
}

enum nvml_return nvmlShutdown(void)
{
	struct nvml_event_set *set = NULL;
	enum nvml_return code = NVML_ERROR_UNINITIALIZED;

	pthread_mutex_lock(&library.lock);
	if (library.inits) {
		code = NVML_SUCCESS;
		if (--library.inits == 0) {
			set = library.sets;
			library.sets = NULL;
			sim_close(library.sim);
			free(library.sim);
			library.sim = NULL;
		}
	}
	pthread_mutex_unlock(&library.lock);
	while (set) {
		struct nvml_event_set *next = set->next;

		free(set);
		set = next;
	}
	return code;
}

/*
 * Says which description the next nvmlInit shows, in place of BERTH_FAKE_GPUS, and checks it; NULL takes that back.
 * 0, or -1 with the reason in error.
 */
int berthFakeSelect(const char *description, char *error, unsigned length)
{
	char why[SIM_ERROR_SIZE] = "";
	struct sim *s = description ? malloc(sizeof(*s)) : NULL;
	bool ok = true;

	if (description) {
		ok = s && strlen(description) < sizeof(library.path) &&
		     sim_open(s, description, why);
		if (ok)
			sim_close(s);
		free(s);
	}
	pthread_mutex_lock(&library.lock);
	if (ok && library.inits) {
		ok = description && strcmp(library.path, description) == 0;
		snprintf(why, sizeof(why), "this process looks at other simulated devices already");
	} else if (ok) {
		snprintf(library.path, sizeof(library.path), "%s", description ? description : "");
	}
	pthread_mutex_unlock(&library.lock);
	if (!ok && error && length)
		snprintf(error, length, "%s", why);
	return ok ? 0 : -1;
}
