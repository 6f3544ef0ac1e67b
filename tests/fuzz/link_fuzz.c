/* Messages of the link, as many as there are in the bytes of one WebSocket message. */
#include <string.h>
#include <talloc.h>

#include "../unit/wire/link_again.h"
#include "fuzz.h"
#include "wire/link.h"

static void check_devices(const struct device_info *v, uint32_t n)
{
	FUZZ_MUST(n <= NODE_DEVICES_MAX);
	for (uint32_t i = 0; i < n; i++) {
		FUZZ_MUST(memchr(v[i].uuid, '\0', sizeof(v[i].uuid)));
		FUZZ_MUST(memchr(v[i].model, '\0', sizeof(v[i].model)));
		FUZZ_MUST(v[i].health <= DEVICE_LOST);
	}
}

static void check_limits(const struct link_message *m)
{
	FUZZ_MUST(m->type >= LINK_HELLO && m->type < LINK_TYPE_MAX);
	if (m->type == LINK_HELLO)
		check_devices(m->hello.devices, m->hello.n_devices);
	if (m->type == LINK_DEVICES)
		check_devices(m->devices.devices, m->devices.n_devices);
	if (m->type == LINK_START) {
		FUZZ_MUST(m->start.argv);
		FUZZ_MUST(m->start.n_slices <= NODE_DEVICES_MAX);
		FUZZ_MUST(m->start.id.task >= TASK_NONE);
	}
	if (m->type == LINK_STOP)
		FUZZ_MUST(m->stop.cause < SPOOL_CAUSE_MAX);
	if (m->type == LINK_STREAM_OPEN) {
		FUZZ_MUST(m->stream_open.argv && m->stream_open.env);
		FUZZ_MUST(m->stream_open.kind >= LINK_STREAM_LOG &&
		          m->stream_open.kind <= LINK_STREAM_EXEC);
	}
	if (m->type == LINK_STREAM_DATA) {
		FUZZ_MUST(m->stream_data.len <= CONSOLE_FRAME_MAX);
		FUZZ_MUST(m->stream_data.frame <= CONSOLE_ERROR);
	}
	if (m->type == LINK_STREAM_CLOSE)
		FUZZ_MUST(m->stream_close.kind < ERR_MAX);
}

/* What is written comes back, and is one whole message. */
static void check_round_trip(const struct link_message *m, void *ctx)
{
	CLEANUP_BUF struct buf first = BUF_INIT(16 * MIB), second = BUF_INIT(16 * MIB);
	struct link_message again;
	struct err err;
	const uint8_t *p;

	link_put_again(&first, m);
	FUZZ_MUST(!first.overflow);
	FUZZ_MUST(link_piece(first.data, first.len) == first.len);
	p = first.data;
	FUZZ_MUST(link_next(&p, first.data + first.len, ctx, &again, &err) == 1);
	FUZZ_MUST(p == first.data + first.len && again.type == m->type);
	link_put_again(&second, &again);
	FUZZ_MUST(fuzz_is_same(&first, &second));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *p = data, *end = data + size, *before = p;
	void *ctx = talloc_new(NULL);
	struct link_message m;
	struct err err;
	int rc;

	if (!size)
		p = end = before = (const uint8_t *)"";
	fuzz_err_init(&err);
	while ((rc = link_next(&p, end, ctx, &m, &err)) > 0) {
		FUZZ_MUST(p > before && p <= end);
		/* A device is half a KB, and is sent in two bytes when nothing is said of it. */
		FUZZ_MUST(talloc_total_size(ctx) <= (size_t)(p - before) * 64 + 80 * KIB);
		check_limits(&m);
		check_round_trip(&m, ctx);
		talloc_free_children(ctx);
		before = p;
	}
	if (rc < 0) {
		fuzz_err_check(rc, &err);
		FUZZ_MUST(err.kind == ERR_CORRUPT);
	}
	talloc_free(ctx);
	return 0;
}
