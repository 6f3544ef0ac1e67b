#include "engine/host_priv.h"

#include <stdio.h>
#include <string.h>
#include <talloc.h>

#include "base/mem.h"
#include "base/num.h"
#include "plat/fs.h"

#define ENVIRON_MAX (256 * KIB)

static const char *find_value(const struct buf *environment, const char *key)
{
	size_t len = strlen(key);
	const char *p = (const char *)environment->data, *end = p + environment->len;

	for (; p < end; p += strlen(p) + 1)
		if (strncmp(p, key, len) == 0 && p[len] == '=')
			return p + len + 1;
	return NULL;
}

static uint64_t number_of(const struct buf *environment, const char *key, uint64_t max)
{
	const char *text = find_value(environment, key);
	uint64_t value;
	struct err ignored;

	return text && num_parse_u64(text, max, &value, &ignored) == 0 ? value : max;
}

static void set_slices(void *ctx, struct engine_state *s, const struct buf *environment)
{
	const char *uuids = find_value(environment, "CUDA_VISIBLE_DEVICES");
	const struct slice_record one = {
	        .mem_bytes = number_of(environment, "BERTH_GPU_MEM_BYTES", UINT64_MAX),
	        .share_milli =
	                (uint32_t)number_of(environment, "BERTH_GPU_SHARE_MILLI", UINT32_MAX),
	};

	while (uuids && *uuids && s->n_slices < NODE_DEVICES_MAX) {
		size_t len = strcspn(uuids, ",");

		s->slices = talloc_realloc(ctx, s->slices, struct slice_record, s->n_slices + 1);
		BUG_IF(!s->slices);
		s->slices[s->n_slices] = one;
		snprintf(s->slices[s->n_slices++].device, sizeof(one.device), "%.*s", (int)len,
		        uuids);
		uuids += len + (uuids[len] == ',');
	}
	/* The numbers are those that all of them have. */
	for (uint32_t i = 0; i < s->n_slices && s->n_slices > 1; i++) {
		s->slices[i].mem_bytes = UINT64_MAX;
		s->slices[i].share_milli = UINT32_MAX;
	}
}

/* From the environment that its first process was given. */
static void find_slices(void *ctx, const struct host_attempt *a, struct engine_state *s)
{
	CLEANUP_BUF struct buf environment = BUF_INIT(ENVIRON_MAX);
	char path[32];
	struct err err;

	if (a->state != HOST_LIVING || !a->pid)
		return;
	snprintf(path, sizeof(path), "/proc/%u/environ", a->pid);
	if (fs_read(path, &environment, &err) < 0 || !environment.len)
		return;
	buf_str(&environment);
	if (number_of(&environment, "BERTH_EPOCH", UINT64_MAX) != a->epoch)
		return;
	set_slices(ctx, s, &environment);
	s->slices_known = true;
}

int host_inspect(struct engine *e, void *ctx, uint64_t epoch, struct engine_state *ret_state,
        struct err *err)
{
	static const enum engine_phase phases[HOST_STATES] = {
	        [HOST_PREPARED] = ENGINE_PREPARED,
	        [HOST_WAITING] = ENGINE_STARTING,
	        [HOST_SENT] = ENGINE_STARTING,
	        [HOST_LIVING] = ENGINE_LIVING,
	        [HOST_ENDED] = ENGINE_ENDED,
	};
	struct host *h = host_of(e);
	const struct host_attempt *a;
	struct engine_state s = {0};

	host_read(h);
	a = host_find(h, epoch);
	if (!a)
		return err_set(err, ERR_NOT_FOUND, "there is no attempt %llu here",
		        (unsigned long long)epoch);
	s.phase = phases[a->state];
	s.started_ms = a->started_ms;
	if (a->state == HOST_LIVING) {
		s.pid = (pid_t)a->pid;
		s.root_pid = (pid_t)a->keeper_pid;
	}
	find_slices(ctx, a, &s);
	*ret_state = s;
	return 0;
}
