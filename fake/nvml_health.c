/*
 * The functions of the fake NVML about health: errors that memory counted, recovery, and events.
 */
#include "library.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum nvml_return nvmlDeviceGetEccMode(struct nvml_device *device, int *current, int *pending)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	if (code)
		return code;
	if (!current || !pending)
		return NVML_ERROR_INVALID_ARGUMENT;
	*current = *pending = v.card->ecc;
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetTotalEccErrors(
        struct nvml_device *device, int type, int counter, unsigned long long *count)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	if (code)
		return code;
	if (!count || type < 0 || type > NVML_ECC_UNCORRECTED || counter < 0 ||
	        counter > NVML_ECC_AGGREGATE)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (!v.card->ecc)
		return NVML_ERROR_NOT_SUPPORTED;
	if (type == NVML_ECC_CORRECTED)
		*count = v.live->ecc_corrected;
	else
		*count = counter == NVML_ECC_VOLATILE ? v.live->ecc_uncorrected
		                                      : v.live->ecc_uncorrected_ever;
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetRemappedRows(struct nvml_device *device, unsigned *corrected,
        unsigned *uncorrected, unsigned *pending, unsigned *failed)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	if (code)
		return code;
	if (!corrected || !uncorrected || !pending || !failed)
		return NVML_ERROR_INVALID_ARGUMENT;
	if (!v.card->ecc)
		return NVML_ERROR_NOT_SUPPORTED;
	*corrected = 0;
	*uncorrected = v.live->rows_pending;
	*pending = v.live->rows_pending;
	*failed = v.live->rows_failed;
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceGetFieldValues(
        struct nvml_device *device, int n, struct nvml_field *fields)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);
	struct timespec now;

	if (code)
		return code;
	if (n <= 0 || !fields)
		return NVML_ERROR_INVALID_ARGUMENT;
	clock_gettime(CLOCK_REALTIME, &now);
	for (int i = 0; i < n; i++) {
		struct nvml_field *f = &fields[i];

		f->timestamp_us = now.tv_sec * 1000000LL + now.tv_nsec / 1000;
		f->latency_us = 0;
		f->result = NVML_ERROR_NOT_SUPPORTED;
		if (f->field != NVML_FIELD_RECOVERY_ACTION)
			continue;
		f->type = NVML_VALUE_UINT;
		f->value.ull = 0;
		f->value.u = v.live->recovery_action;
		f->result = NVML_SUCCESS;
	}
	return NVML_SUCCESS;
}

/* -- events -- */

static uint64_t supported_types(const struct sim_card *card)
{
	return NVML_EVENT_XID |
	       (card->ecc ? NVML_EVENT_SINGLE_BIT_ECC | NVML_EVENT_DOUBLE_BIT_ECC : 0);
}

enum nvml_return nvmlDeviceGetSupportedEventTypes(
        struct nvml_device *device, unsigned long long *types)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	if (code)
		return code;
	if (!types)
		return NVML_ERROR_INVALID_ARGUMENT;
	*types = supported_types(v.card);
	return NVML_SUCCESS;
}

/* The first listener also hears what came with the description. */
static bool take_early(const struct sim *s, struct sim_state *st, void *arg)
{
	struct nvml_event_set *set = arg;
	bool had = st->events_early > 0;

	set->seen = st->event_seq - st->events_early;
	st->events_early = 0;
	return had;
}

enum nvml_return nvmlEventSetCreate(struct nvml_event_set **set)
{
	struct view v;
	enum nvml_return code = view_open(&v, __func__, NULL);
	struct nvml_event_set *made;

	if (code)
		return code;
	if (!set)
		return NVML_ERROR_INVALID_ARGUMENT;
	made = calloc(1, sizeof(*made));
	if (!made)
		return NVML_ERROR_MEMORY;
	code = library_change(take_early, made);
	if (code == NVML_SUCCESS)
		code = library_keep_set(made);
	if (code) {
		free(made);
		return code;
	}
	*set = made;
	return NVML_SUCCESS;
}

enum nvml_return nvmlEventSetFree(struct nvml_event_set *set)
{
	struct view v;
	enum nvml_return code = view_open(&v, __func__, NULL);

	if (code)
		return code;
	if (!library_has_set(set))
		return NVML_ERROR_INVALID_ARGUMENT;
	library_drop_set(set);
	return NVML_SUCCESS;
}

enum nvml_return nvmlDeviceRegisterEvents(
        struct nvml_device *device, unsigned long long types, struct nvml_event_set *set)
{
	struct view v;
	enum nvml_return code = view_whole(&v, __func__, device);

	if (code)
		return code;
	if (!library_has_set(set))
		return NVML_ERROR_INVALID_ARGUMENT;
	if (types & ~supported_types(v.card))
		return NVML_ERROR_NOT_SUPPORTED;
	set->types[v.index] |= types;
	return NVML_SUCCESS;
}

/* The oldest event that the set wants and was not told of; what fell out of the ring is gone. */
static bool next_event(
        const struct view *v, struct nvml_event_set *set, struct nvml_event *ret_event)
{
	uint64_t newest = v->state.event_seq;
	uint64_t first;

	if (set->seen > newest) /* the state began anew */
		set->seen = 0;
	first = set->seen + 1;
	if (newest >= SIM_EVENTS_MAX && first <= newest - SIM_EVENTS_MAX)
		first = newest - SIM_EVENTS_MAX + 1;
	for (uint64_t seq = first; seq <= newest; seq++) {
		const struct sim_event *e = &v->state.events[seq % SIM_EVENTS_MAX];
		const struct sim_card *c;
		unsigned whole;

		set->seen = seq;
		if (e->seq != seq || e->card >= v->sim->n_cards)
			continue;
		c = &v->sim->cards[e->card];
		whole = sim_whole(v->sim, e->card);
		if (!(set->types[whole] & e->type))
			continue;
		*ret_event = (struct nvml_event){device_handle(whole), e->type, e->data,
		        c->parent < 0 ? NVML_NO_INSTANCE : c->gi,
		        c->parent < 0 ? NVML_NO_INSTANCE : c->ci};
		return true;
	}
	return false;
}

static bool any_lost(const struct view *v, const struct nvml_event_set *set)
{
	for (unsigned i = 0; i < v->sim->n_cards; i++)
		if (set->types[i] && v->state.cards[i].lost)
			return true;
	return false;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

enum nvml_return nvmlEventSetWait_v2(
        struct nvml_event_set *set, struct nvml_event *event, unsigned timeout_ms)
{
	static const struct timespec step = {0, 2000000};
	int64_t until = now_ms() + timeout_ms;
	struct view v;

	for (;;) {
		enum nvml_return code = view_open(&v, __func__, NULL);

		if (code)
			return code;
		if (!event || !library_has_set(set))
			return NVML_ERROR_INVALID_ARGUMENT;
		if (next_event(&v, set, event))
			return NVML_SUCCESS;
		if (any_lost(&v, set))
			return NVML_ERROR_GPU_IS_LOST;
		if (now_ms() >= until)
			return NVML_ERROR_TIMEOUT;
		nanosleep(&step, NULL);
	}
}
