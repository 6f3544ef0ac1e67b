#include "core/job.h"

#include <string.h>

static const char *const state_names[JOB_STATE_MAX] = {
#define STATE(name, final, holds) [JOB_##name] = #name,
#include "../../tables/states.def"
#undef STATE
};
const struct strtab job_state_names = {.names = state_names, .n = JOB_STATE_MAX};

static const struct {
	bool final, holds;
} states[JOB_STATE_MAX] = {
#define STATE(name, final, holds) [JOB_##name] = {final, holds},
#include "../../tables/states.def"
#undef STATE
};

static const struct {
	const char *code, *text;
} reasons[REASON_MAX] = {
#define REASON(name, code, text) [REASON_##name] = {code, text},
#include "../../tables/reasons.def"
#undef REASON
};

bool job_state_is_final(enum job_state s)
{
	return states[s].final;
}

bool job_state_holds(enum job_state s)
{
	return states[s].holds;
}

const char *reason_code(enum reason r)
{
	return r < REASON_MAX ? reasons[r].code : "?";
}

const char *reason_text(enum reason r)
{
	return r < REASON_MAX ? reasons[r].text : "?";
}

int reason_find(const char *code)
{
	for (int r = 0; r < REASON_MAX; r++)
		if (strcmp(reasons[r].code, code) == 0)
			return r;
	return -1;
}

struct attempt *job_attempt(const struct job *j)
{
	return job_state_holds(j->state) && j->n_attempts && !j->is_array
	               ? &j->attempts[j->n_attempts - 1]
	               : NULL;
}

const char *job_name(const struct job *j)
{
	if (j->req->name)
		return j->req->name;
	const char *slash = strrchr(j->req->argv[0], '/');
	return slash && slash[1] ? slash + 1 : j->req->argv[0];
}

static int32_t result_code(enum job_state state, bool has_code, int32_t code)
{
	switch (state) {
	case JOB_COMPLETED:
		return 0;
	case JOB_TIMEOUT:
		return 124;
	case JOB_CANCELLED:
		return 143;
	case JOB_OUT_OF_MEMORY:
		return 137;
	case JOB_NODE_FAIL:
		return 125;
	default:
		/* Nothing that failed may look like a success to a script. */
		return has_code && code ? code : 125;
	}
}

int32_t job_result_code(const struct job *j)
{
	if (j->is_array && j->array)
		return j->state == JOB_COMPLETED ? 0 : MAX(j->array->worst_code, 1);
	return result_code(j->state, j->has_code, j->exit_code);
}

int32_t attempt_result_code(const struct attempt *t)
{
	return result_code(t->state, t->has_code, t->exit_code);
}

/* The first place in skip whose position is not below pos. */
static uint32_t skip_from(const struct array *a, uint64_t pos)
{
	uint32_t low = 0, high = a->n_skip;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (a->skip[mid] < pos)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

uint64_t array_next(const struct array *a, uint64_t from)
{
	uint64_t pos = MAX(from, a->next_pos);

	for (uint32_t i = skip_from(a, pos); i < a->n_skip && a->skip[i] == pos; i++)
		pos++;
	return pos < a->cut ? pos : a->n;
}

bool array_is_unstarted(const struct array *a, uint64_t pos)
{
	return pos < a->n && array_next(a, pos) == pos;
}

bool array_is_apart(const struct array *a, uint64_t pos)
{
	uint32_t i = skip_from(a, pos);

	return pos < a->next_pos || (i < a->n_skip && a->skip[i] == pos);
}

uint64_t array_running(const struct array *a)
{
	return a->by_state[JOB_STARTING] + a->by_state[JOB_RUNNING] + a->by_state[JOB_COMPLETING];
}

uint64_t array_unstarted(const struct array *a)
{
	return a->cut > a->next_pos ? a->cut - a->next_pos - a->n_skip : 0;
}

uint64_t array_cut(const struct array *a)
{
	return a->cut < a->n ? a->n - a->cut - a->n_skip : 0;
}

uint64_t array_places(const struct job *parent)
{
	uint64_t taken = array_running(parent->array) + parent->array->n_ready;

	if (!parent->req->throttle)
		return UINT64_MAX;
	return taken < parent->req->throttle ? parent->req->throttle - taken : 0;
}
