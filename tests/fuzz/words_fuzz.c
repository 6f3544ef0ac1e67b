/* Numbers, sizes, times, job ids, amounts of GPUs, arrays: each parser over the same text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#include "fuzz.h"
#include "base/num.h"
#include "core/ids.h"
#include "core/request.h"
#include "wire/ask.h"

static void check_numbers(const char *text)
{
	char again[32];
	struct err err;
	uint64_t u = 0, v = 0;
	int64_t i = 0, k = 1;
	int rc;

	fuzz_err_init(&err);
	rc = num_parse_u64(text, UINT64_MAX - 7, &u, &err);
	if (rc)
		fuzz_err_check(rc, &err);
	FUZZ_MUST(u <= UINT64_MAX - 7);
	snprintf(again, sizeof(again), "%llu", (unsigned long long)u);
	FUZZ_MUST(rc || (num_parse_u64(again, UINT64_MAX, &v, &err) == 0 && v == u));
	FUZZ_MUST(rc || strspn(text, "0123456789") == strlen(text));
	fuzz_err_init(&err);
	rc = num_parse_i64(text, -1000, INT64_MAX, &i, &err);
	if (rc)
		fuzz_err_check(rc, &err);
	FUZZ_MUST(i >= -1000);
	snprintf(again, sizeof(again), "%lld", (long long)i);
	FUZZ_MUST(rc || (num_parse_i64(again, -1000, INT64_MAX, &k, &err) == 0 && k == i));
}

static void check_amounts(const char *text)
{
	char again[40], shown[32];
	struct err err;
	uint64_t u = 0, v = 0;
	uint32_t milli = 1, same = 0;
	int rc;

	fuzz_err_init(&err);
	rc = num_parse_size(text, &u, &err);
	if (rc)
		fuzz_err_check(rc, &err);
	FUZZ_MUST(u <= INT64_MAX);
	snprintf(again, sizeof(again), "%lluB", (unsigned long long)u);
	FUZZ_MUST(rc || (num_parse_size(again, &v, &err) == 0 && v == u));
	/* Rounded down for people, and nevertheless a size. */
	FUZZ_MUST(rc || (num_parse_size(num_format_size(u, shown), &v, &err) != 0 || v <= u));
	u = 0;
	fuzz_err_init(&err);
	rc = num_parse_duration(text, &u, &err);
	if (rc)
		fuzz_err_check(rc, &err);
	FUZZ_MUST(u < (uint64_t)INT64_MAX / 1000);
	FUZZ_MUST(
	        rc || (num_parse_duration(num_format_duration(u, shown), &v, &err) == 0 && v == u));
	fuzz_err_init(&err);
	rc = num_parse_milli(text, &milli, &err);
	if (rc)
		fuzz_err_check(rc, &err);
	FUZZ_MUST(milli >= 1 && milli <= 1000);
	FUZZ_MUST(rc || (num_parse_milli(num_format_milli(milli, again), &same, &err) == 0 &&
	                        same == milli));
}

static void check_ids(const char *text)
{
	char again[48];
	struct job_id id = {1, TASK_NONE}, same;
	struct err err;
	int rc;

	fuzz_err_init(&err);
	rc = job_id_parse(text, &id, &err);
	if (rc)
		fuzz_err_check(rc, &err);
	FUZZ_MUST(id.num && id.task >= TASK_NONE);
	FUZZ_MUST(job_id_parse(job_id_format(id, again), &same, &err) == 0 && job_id_eq(id, same));
}

static void check_asks(const char *text, void *ctx)
{
	struct gpu_ask g = {0};
	struct err err;
	uint64_t u = 1;
	int rc;

	fuzz_err_init(&err);
	rc = gpu_ask_parse(text, ctx, &g, &err);
	if (rc)
		fuzz_err_check(rc, &err);
	FUZZ_MUST(rc || (g.count != 0) + (g.milli != 0) == 1);
	FUZZ_MUST(g.count <= ASK_GPUS_MAX && g.milli <= 999);
	FUZZ_MUST(!g.model || (*g.model && strlen(g.model) <= 90));
	fuzz_err_init(&err);
	rc = thousandths_parse(text, 1000000, &u, &err);
	if (rc)
		fuzz_err_check(rc, &err);
	FUZZ_MUST(u >= 1 && u <= 1000000999);
}

/* What was read, written out again. */
static void format_array(struct buf *b, const struct array_range *v, uint32_t n, uint32_t throttle)
{
	for (uint32_t i = 0; i < n; i++)
		buf_addf(b, "%s%lld-%lld:%lld", i ? "," : "", (long long)v[i].first,
		        (long long)v[i].last, (long long)v[i].step);
	if (throttle)
		buf_addf(b, "%%%u", throttle);
}

static void check_array(const char *text, void *ctx)
{
	CLEANUP_BUF struct buf first = BUF_INIT(MIB), second = BUF_INIT(MIB);
	struct request r = {0};
	struct err err;
	uint64_t n;
	int rc;

	fuzz_err_init(&err);
	rc = array_parse(text, ctx, &r.ranges, &r.n_ranges, &r.throttle, &err);
	if (rc) {
		fuzz_err_check(rc, &err);
		return;
	}
	n = request_n_tasks(&r);
	FUZZ_MUST(r.n_ranges >= 1 && r.n_ranges <= ASK_RANGES_MAX);
	FUZZ_MUST(n >= 1 && n <= ASK_TASKS_MAX);
	for (uint64_t pos = 0; pos < n; pos += 1 + n / 50) {
		FUZZ_MUST(request_task_at(&r, pos) >= 0);
		FUZZ_MUST(request_task_pos(&r, request_task_at(&r, pos)) == pos);
	}
	format_array(&first, r.ranges, r.n_ranges, r.throttle);
	FUZZ_MUST(
	        array_parse(buf_str(&first), ctx, &r.ranges, &r.n_ranges, &r.throttle, &err) == 0);
	format_array(&second, r.ranges, r.n_ranges, r.throttle);
	FUZZ_MUST(fuzz_is_same(&first, &second));
	FUZZ_MUST(request_n_tasks(&r) == n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size);
	void *ctx = talloc_new(NULL);

	check_numbers(text);
	check_amounts(text);
	check_ids(text);
	check_asks(text, ctx);
	check_array(text, ctx);
	talloc_free(ctx);
	free(text);
	return 0;
}
