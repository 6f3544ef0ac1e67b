#include "cli/follow.h"

#include <arpa/inet.h>
#include <string.h>

#define FRAME_HEAD 5

/*
 * DESIGN. The server counts offsets within one attempt; a stream that goes on through retries counts them all. So after
 * a lost connection the bytes received are shared out over the attempts that have ended since, each by its own
 * output_bytes, and the stream is taken up in the attempt where they run out.
 */
struct place {
	uint32_t attempt;
	uint64_t offset;
};

static int take_frames(struct follow *f, struct buf *b, bool *ret_exit, struct err *err)
{
	size_t used = 0;
	int rc = 0;

	while (rc == 0 && b->len - used >= FRAME_HEAD) {
		const uint8_t *p = b->data + used;
		uint32_t len;
		memcpy(&len, p + 1, sizeof(len));
		len = ntohl(len);
		if (len > CONSOLE_FRAME_MAX)
			return err_set(err, ERR_CORRUPT, "the output stream is not understood");
		if (b->len - used < FRAME_HEAD + len)
			break;
		used += FRAME_HEAD + len;
		switch (p[0]) {
		case CONSOLE_STDOUT:
		case CONSOLE_STDERR:
			f->received += len;
			rc = f->on_output(
			        f->data, (enum console_frame)p[0], p + FRAME_HEAD, len, err);
			break;
		case CONSOLE_EXIT:
			*ret_exit = true;
			break;
		case CONSOLE_ERROR:
			(void)!err_set(&f->trouble, ERR_IO, "%.*s", (int)MIN(len, 300),
			        (const char *)p + FRAME_HEAD);
			break;
		default:
			break; /* a kind that this program does not know yet */
		}
	}
	buf_consume(b, used);
	return rc;
}

/* One connection's worth. ret_lost: it broke off, and may be taken up again. */
static int read_stream(struct follow *f, const struct place *at, bool *ret_lost, struct err *err)
{
	CLEANUP_BUF struct buf path = BUF_INIT(4096);
	struct client_call call = {.method = "GET"};
	struct http *h;
	bool exited = false;

	buf_add_str(&path, "/v1/jobs/");
	client_add_encoded(&path, f->id);
	buf_addf(&path, "/logs?framed=1&follow=%d", !f->as_it_is);
	if (at->attempt)
		buf_addf(&path, "&%s=%u", f->attempt ? "attempt" : "from", at->attempt);
	if (f->stream)
		buf_addf(&path, "&stream=%s", f->stream);
	if (at->offset)
		buf_addf(&path, "&offset=%llu", (unsigned long long)at->offset);
	else if (f->tail_lines)
		buf_addf(&path, "&tail=%llu", (unsigned long long)f->tail_lines);
	call.path = buf_str(&path);
	*ret_lost = false;
	int rc = client_start(f->client, &call, &h, err);
	if (rc)
		return rc; /* it has waited already */
	for (;;) {
		bool ended = http_ended(h);
		rc = take_frames(f, http_body(h), &exited, err);
		if (rc || exited || ended)
			break;
		rc = client_step(f->client, h, err);
		if (rc < 0)
			break;
	}
	if (rc < 0 && !exited)
		*ret_lost = err->kind == ERR_UNAVAILABLE;
	return MIN(rc, 0);
}

static int find_place(struct follow *f, struct place *ret_place, struct err *err)
{
	CLEANUP_BUF struct buf path = BUF_INIT(4096);
	CLEANUP_JSON json_t *job = NULL;
	const json_t *attempts, *a;
	uint64_t left = f->received;
	size_t i;

	*ret_place = (struct place){f->attempt, left};
	if (f->attempt)
		return 0;
	buf_add_str(&path, "/v1/jobs/");
	client_add_encoded(&path, f->id);
	int rc = client_get(f->client, buf_str(&path), &job, err);
	if (rc)
		return rc;
	attempts = json_object_get(job, "attempts");
	ret_place->attempt = f->first;
	json_array_foreach(attempts, i, a)
	{
		uint32_t n = (uint32_t)json_integer_value(json_object_get(a, "attempt"));
		uint64_t bytes = (uint64_t)json_integer_value(json_object_get(a, "output_bytes"));
		uint64_t lost = (uint64_t)json_integer_value(json_object_get(a, "dropped_bytes"));
		if (n < f->first)
			continue;
		ret_place->attempt = n;
		if (i + 1 == json_array_size(attempts) || left < bytes - MIN(bytes, lost))
			break;
		left -= bytes - MIN(bytes, lost);
	}
	ret_place->offset = left;
	return 0;
}

int follow_run(struct follow *f, struct err *err)
{
	struct place at = {f->attempt ? f->attempt : f->first, 0};
	struct client_wait wait = {0};
	uint64_t seen = 0;
	bool lost;
	int rc = read_stream(f, &at, &lost, err);

	while (rc && lost) {
		if (f->received != seen)
			wait = (struct client_wait){0};
		seen = f->received;
		if (f->tail_lines && seen)
			return err_wrap(err, "lost the end of the output");
		if (!client_wait(f->client, &wait, NULL))
			return rc;
		rc = find_place(f, &at, err);
		lost = false;
		if (rc == 0)
			rc = read_stream(f, &at, &lost, err);
	}
	return rc;
}
