/*
 * The description's keys of time: how cards divide theirs, what calls cost, how long kernels last, which clock there is.
 */
#include "describe.h"

#include <stdio.h>
#include <string.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

void pace_begin(struct sim_pace *pace)
{
	*pace = (struct sim_pace){.slice_ns = 2000000,
	        .switch_ns = 150000,
	        .jitter = 5,
	        .mark_ns = 1000,
	        .teardown_ns = 1000000,
	        .call_ns = 200,
	        .launch_ns = 4000,
	        .record_ns = 1500,
	        .sync_ns = 5000,
	        .wake_ns = {27000, 60000},
	        .late_ns = 50000};
}

static bool take_time(struct reader *r, const char *text, uint64_t *ret_ns)
{
	return sim_parse_time(text, ret_ns) ||
	       refuse(r, "'%.40s' is not a time, such as 150us", text);
}

static bool key_clock(struct reader *r, char *value)
{
	r->s->pace.is_virtual = strcmp(value, "virtual") == 0;
	return r->s->pace.is_virtual || strcmp(value, "real") == 0 ||
	       refuse(r, "'%.40s' is neither real nor virtual", value);
}

static bool key_wake(struct reader *r, char *value)
{
	char *least = next_word(&value), *most = next_word(&value);
	uint64_t *ns = r->s->pace.wake_ns;

	if (!take_time(r, least, &ns[0]) || !take_time(r, *most ? most : least, &ns[1]))
		return false;
	return ns[0] <= ns[1] || refuse(r, "the least is more than the most");
}

/* kernel NAME TIME... */
static bool key_kernel(struct reader *r, char *value)
{
	struct sim_kernel *k = &r->s->kernels[r->s->n_kernels];
	const char *name = next_word(&value), *word;

	if (r->s->n_kernels == SIM_KERNELS_MAX)
		return refuse(r, "more than %d kernels", SIM_KERNELS_MAX);
	if (!*name || strlen(name) >= sizeof(k->name))
		return refuse(r, "a name of 1 to %zu characters is needed", sizeof(k->name) - 1);
	snprintf(k->name, sizeof(k->name), "%s", name);
	while (*(word = next_word(&value))) {
		if (k->n_ns == SIM_TIMES_MAX)
			return refuse(r, "more than %d times", SIM_TIMES_MAX);
		if (!take_time(r, word, &k->ns[k->n_ns++]))
			return false;
	}
	r->s->n_kernels++;
	return k->n_ns || refuse(r, "a kernel needs a time, such as 100us");
}

static bool take_percent(struct reader *r, const char *value, unsigned *ret_percent)
{
	uint64_t n;

	if (!take_number(r, value, 100, &n))
		return false;
	*ret_percent = (unsigned)n;
	return true;
}

bool pace_key(struct reader *r, const char *key, char *value, bool *ret_known)
{
	struct sim_pace *p = &r->s->pace;
	const struct {
		const char *name;
		uint64_t *ns;
	} times[] = {
	        {"slice", &p->slice_ns},
	        {"switch", &p->switch_ns},
	        {"mark", &p->mark_ns},
	        {"teardown", &p->teardown_ns},
	        {"call", &p->call_ns},
	        {"launch", &p->launch_ns},
	        {"record", &p->record_ns},
	        {"sync", &p->sync_ns},
	        {"late", &p->late_ns},
	};

	*ret_known = true;
	for (size_t i = 0; i < LEN(times); i++)
		if (strcmp(times[i].name, key) == 0)
			return take_time(r, value, times[i].ns) &&
			       (times[i].ns != &p->slice_ns || p->slice_ns >= 1000 ||
			               refuse(r, "a slice is at least 1us"));
	if (strcmp(key, "jitter") == 0)
		return take_percent(r, value, &p->jitter);
	if (strcmp(key, "spread") == 0)
		return take_percent(r, value, &p->spread);
	if (strcmp(key, "clock") == 0)
		return key_clock(r, value);
	if (strcmp(key, "wake") == 0)
		return key_wake(r, value);
	if (strcmp(key, "kernel") == 0)
		return key_kernel(r, value);
	*ret_known = false;
	return false;
}
