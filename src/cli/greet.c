#include "cli/greet.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/lock.h"
#include "cli/output.h"
#include "plat/clock.h"

#define POLL_FIRST_MS 2
#define POLL_MOST_MS  100
#define ANSWER_MS     5000

/* 0: it is ready. */
static int ask_ready(const struct cli *cli, struct err *err)
{
	CLEANUP_CLIENT struct client *c = NULL;
	struct http_request r = {.method = "GET", .path = "/readyz"};
	struct http *h = NULL;
	int rc = client_open(cli, &c, err);

	if (rc == 0)
		rc = client_connect_now(c, &h, err);
	if (rc)
		return rc;
	http_send(h, &r);
	while (rc >= 0 && !http_ended(h)) {
		rc = http_step(h, ANSWER_MS, err);
		if (rc == 0)
			rc = err_set(err, ERR_TIMEOUT, "the server does not answer");
	}
	if (rc > 0)
		rc = 0;
	if (rc == 0 && http_status(h) != 200) {
		struct buf *b = http_body(h);
		while (b->len && isspace(b->data[b->len - 1]))
			b->len--;
		rc = err_set(err, ERR_UNAVAILABLE, "the server is not ready: %.*s",
		        (int)MIN(b->len, 300), b->data ? (char *)b->data : "");
	}
	http_free(h);
	return rc;
}

enum greet_result greet_wait(
        const struct cli *cli, const char *data_dir, int timeout_ms, struct err *err)
{
	uint64_t until_ms = clock_mono_ms() + (uint64_t)timeout_ms;
	struct lock_holder holder;
	int delay_ms = POLL_FIRST_MS;

	while (ask_ready(cli, err)) {
		if (clock_mono_ms() >= until_ms)
			return GREET_TOO_LATE;
		interrupt_poll(NULL, 0, delay_ms);
		delay_ms = MIN(delay_ms * 2, POLL_MOST_MS);
		if (!lock_find_holder(data_dir, &holder))
			return GREET_NOBODY;
	}
	return GREET_READY;
}

static bool is_like(const json_t *a, const json_t *b)
{
	static const char *const keys[] = {"model", "mem_bytes", "simulated"};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (!json_equal(json_object_get(a, keys[i]), json_object_get(b, keys[i])))
			return false;
	return true;
}

static void add_model(struct buf *b, unsigned n, const char *model, const char *size)
{
	buf_addf(b, "%u GPU%s (", n, n == 1 ? "" : "s");
	cli_add_shown(b, model);
	buf_addf(b, ", %s)", size);
}

/* "2 simulated GPUs of 8 GiB", "4 GPUs (NVIDIA A100-SXM4-40GB, 40 GiB)"; several kinds by commas. */
static void describe_devices(const json_t *devices, struct buf *b)
{
	const json_t *d, *other;
	size_t i, j;

	json_array_foreach(devices, i, d)
	{
		unsigned n = 0;
		bool is_first = true;
		char size[24];
		json_array_foreach(devices, j, other)
		{
			if (!is_like(d, other))
				continue;
			is_first &= j >= i;
			n++;
		}
		if (!is_first)
			continue;
		const char *model = json_string_value(json_object_get(d, "model"));
		num_format_size(
		        (uint64_t)json_integer_value(json_object_get(d, "mem_bytes")), size);
		if (b->len)
			buf_add_str(b, ", ");
		if (json_is_true(json_object_get(d, "simulated")))
			buf_addf(b, "%u simulated GPU%s of %s", n, n == 1 ? "" : "s", size);
		else
			add_model(b, n, model ? model : "?", size);
	}
	if (b->len == 0)
		buf_add_str(b, "no GPUs (berth doctor says why)");
}

int greet_print(const struct cli *cli, struct err *err)
{
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *devices = NULL;
	CLEANUP_JSON json_t *server = NULL;
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);
	int rc = client_open(cli, &c, err);

	if (rc == 0)
		rc = client_get(c, "/v1/devices", &devices, err);
	if (rc == 0)
		rc = client_get(c, "/v1/server", &server, err);
	if (rc)
		return rc;
	describe_devices(json_object_get(devices, "devices"), &b);
	const char *listen = json_string_value(json_object_get(server, "listen"));
	const char *version = json_string_value(json_object_get(server, "version"));
	CLEANUP_BUF struct buf line = BUF_INIT(128 * KIB);
	buf_addf(&line, "Berth %s serves %s: %s%s%s", version ? version : "?",
	        client_target(c)->data_dir, buf_str(&b), listen ? "; listens on " : "",
	        listen ? listen : "");
	output_line(buf_str(&line));
	fflush(stdout);
	return 0;
}
