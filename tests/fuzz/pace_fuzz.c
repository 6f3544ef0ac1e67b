/*
 * The page of a device, on which two jobs take turns, while somebody writes into it: the input says what they do, where is written,
 * what, and when. Nobody crashes; once it has ended both run again, each with its part: at once where the agent makes the page
 * anew, else when what was written into accounts has been paid off, which is bounded.
 */
#include <string.h>

#include "dice.h"
#include "fuzz.h"
#include "pace_model.h"

#define WRITES_MAX 48
#define QUEUED     (10 * S) /* who was not held has a thousand kernels on the device */
#define PAID_OFF \
	(70 * S) /* two minutes of virtual time lie between the accounts, at most, and these are equal */

struct jobs {
	struct model *m;
	struct pace_page *page;
	unsigned weight; /* of the first, of a thousand */
};

static void begin(struct jobs *j, struct dice *d, bool is_new)
{
	static const struct {
		enum model_load load;
		uint64_t ns;
	} loads[] = {{LOAD_KERNELS, MS}, {LOAD_KERNELS, 300 * US}, {LOAD_SYNC, MS}, {LOAD_MIX, 0},
	        {LOAD_KERNELS, 5 * MS}};
	struct model_params params = model_defaults(1 + dice_below(d, 4));
	unsigned load = is_new ? dice_below(d, ARRAY_LEN(loads) - 1) : ARRAY_LEN(loads) - 1;

	j->m = model_new(&params);
	j->weight = is_new ? 300 + 100 * dice_below(d, 5) : 500;
	for (unsigned i = 0; i < 2; i++)
		model_proc(j->m, model_tenant(j->m, i ? 1000 - j->weight : j->weight, 1000, 0), 0,
		        loads[load].load, loads[load].ns);
	j->page = model_page(j->m, 0);
	model_run(j->m, S + 100 * MS); /* they begin after a second */
}

/* A place that counts, or any. */
static uint64_t some_place(struct dice *d)
{
	static const uint64_t places[] = {PACE_WORD_AT, PACE_WORD_AT + 64, PACE_WORD_AT + 68,
	        PACE_WORD_AT + 72, PACE_TENANTS_AT, PACE_TENANTS_AT + 64, PACE_PROCS_AT,
	        PACE_PROCS_AT + 64, PACE_PROCS_AT + 128};
	uint32_t at = dice_below(d, 16);

	if (at < 9)
		return places[at] + (at < 4 ? 0 : dice_below(d, 12) * 4);
	if (at < 14) /* of both tables, what is not of tenants that are not there */
		return PACE_TABLES_AT + at % 2 * sizeof(struct pace_table) + dice_below(d, 60) * 4;
	return dice_u64(d) % sizeof(struct pace_page) & ~UINT64_C(3);
}

static uint64_t some_value(const struct jobs *j, struct dice *d)
{
	switch (dice_below(d, 8)) {
	case 0:
		return 0;
	case 1:
		return UINT64_MAX;
	case 2:
		return model_now(j->m) + dice_u64(d) % S;
	case 3:
		return model_now(j->m) - dice_u64(d) % (100 * MS);
	case 4:
		return INT64_MIN + dice_below(d, 2);
	case 5:
		return PACE_WORD(dice_below(d, 3), dice_below(d, 16), dice_below(d, 3),
		        PACE_NUMBER(j->page->word) + dice_below(d, 3));
	case 6:
		return dice_below(d, 256);
	default:
		return dice_u64(d);
	}
}

static void overwrite(struct jobs *j, struct dice *d)
{
	uint64_t at = some_place(d), value = some_value(j, d);
	size_t n = at % 8 || dice_below(d, 4) == 0 ? 4 : 8;

	memcpy((char *)j->page + at, &value, n);
	model_run(j->m, model_now(j->m) + dice_below(d, 256) * 16 * US);
}

/* What the agent wrote; only what is a page's own stays as it is. */
static void restore(struct jobs *j, const struct pace_tenant *lines, bool is_new)
{
	for (unsigned i = 0; i < PACE_TENANTS; i++) {
		uint32_t turn = j->page->tenants[i].turn;

		j->page->tenants[i] = lines[i];
		j->page->tenants[i].turn = turn;
	}
	if (is_new)
		memset(j->page->tables, 0, sizeof(j->page->tables));
}

/* In the last second; less is done in all where nobody is held. */
static bool is_held(const struct jobs *j)
{
	unsigned to_ms = (unsigned)(model_now(j->m) / MS), from_ms = to_ms - 1000;
	double had[2], part;

	for (unsigned i = 0; i < 2; i++)
		had[i] = model_busy_ms(j->m, i, 0, from_ms, to_ms);
	part = had[0] / (had[0] + had[1]) * 1000;
	return had[0] + had[1] > 900 && part > j->weight - 80 && part < j->weight + 80;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dice d = {.bytes = data, .end = data + size};
	struct pace_tenant lines[PACE_TENANTS];
	bool is_new = dice_below(&d, 16) != 0;
	uint64_t end_ns;
	struct jobs j;

	begin(&j, &d, is_new);
	memcpy(lines, j.page->tenants, sizeof(lines));
	for (unsigned i = 0; i < WRITES_MAX && dice_has_bytes(&d); i++)
		overwrite(&j, &d);
	restore(&j, lines, is_new);
	end_ns = model_now(j.m) + (is_new ? QUEUED : PAID_OFF);
	do
		model_run(j.m, model_now(j.m) + S);
	while (!is_held(&j) && model_now(j.m) < end_ns);
	FUZZ_MUST(is_held(&j));
	model_free(j.m);
	return 0;
}
