#include "net_kit.h"

#include <stdio.h>
#include <string.h>

struct end {
	struct kit *kit;
	struct net_ws *ws;
	bool is_open;
	bool is_closed;
	bool echoes;
	unsigned n_messages;
	unsigned n_drains;
	size_t n_bytes;
	char last[256];
	size_t last_len;
	bool last_is_text;
	struct err why;
};

static void on_open(void *data, struct net_ws *ws)
{
	struct end *e = data;

	e->is_open = true;
}

static void on_message(void *data, struct net_ws *ws, const void *bytes, size_t len, bool is_text)
{
	struct end *e = data;

	e->n_messages++;
	e->n_bytes += len;
	e->last_len = len;
	e->last_is_text = is_text;
	memcpy(e->last, bytes, len < sizeof(e->last) ? len : sizeof(e->last));
	if (e->echoes)
		net_ws_send(ws, bytes, len, is_text);
}

static void on_drain(void *data, struct net_ws *ws)
{
	struct end *e = data;

	e->n_drains++;
}

static void on_close(void *data, struct net_ws *ws, const struct err *why)
{
	struct end *e = data;

	assert_false(e->is_closed);
	e->is_closed = true;
	e->why = *why;
	e->ws = NULL;
}

static const struct net_ws_handlers handlers = {
        .on_open = on_open, .on_message = on_message, .on_drain = on_drain, .on_close = on_close};

static void begin(struct kit *k, struct end *server, const struct net_limits *limits)
{
	kit_init(k, limits);
	*server = (struct end){.kit = k, .echoes = true};
	k->ws_handlers = &handlers;
	k->ws_data = server;
}

static void join(struct kit *k, struct end *client, const struct net_ws_options *o)
{
	struct err err;

	*client = (struct end){.kit = k};
	if (net_ws_connect(k->loop, o, &handlers, client, &client->ws, &err) < 0)
		fail_msg("%s", err.text);
}

static void echo_over(struct kit *k, struct end *server, const char *url)
{
	struct net_ws_options o = {.url = url, .protocol = "berth-test"};
	struct end client;

	join(k, &client, &o);
	kit_wait_true(k, &client.is_open);
	assert_true(net_ws_send(client.ws, "hello", 5, true));
	assert_true(net_ws_send(client.ws, "\0\1\2", 3, false));
	assert_true(net_ws_send(client.ws, "", 0, false));
	kit_wait_count(k, &client.n_messages, 3);
	assert_int_equal(client.n_bytes, 8);
	assert_int_equal(server->n_messages, 3);
	net_ws_close(client.ws, 1000, "done");
	kit_wait_true(k, &client.is_closed);
	kit_wait_true(k, &server->is_closed);
	assert_int_equal(client.why.kind, ERR_NONE);
	assert_int_equal(server->why.kind, ERR_NONE);
}

static void test_echo_unix(void **state)
{
	struct kit k;
	struct end server;
	char url[128];

	begin(&k, &server, NULL);
	snprintf(url, sizeof(url), "unix:%s:/ws", k.path);
	echo_over(&k, &server, url);
	kit_done(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_echo_unix),
	};

	return cmocka_run_group_tests_name("net_ws", tests, NULL, NULL);
}
