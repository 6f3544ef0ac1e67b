#include "host_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "plat/clock.h"

struct host_kit t;

/* The parent's end */

static void take_messages(void)
{
	while (t.in.len >= 4) {
		size_t len = (size_t)t.in.data[0] << 24 | (size_t)t.in.data[1] << 16 |
		             (size_t)t.in.data[2] << 8 | t.in.data[3];
		struct err err;

		if (t.in.len < 4 + len)
			return;
		assert_true(t.n_messages < MESSAGES_MAX);
		assert_int_equal(
		        launch_decode(t.in.data + 4, len, &t.messages[t.n_messages++], &err), 0);
		buf_consume(&t.in, 4 + len);
	}
}

static void drop_conn(void)
{
	loop_poll_free(t.conn_poll);
	t.conn_poll = NULL;
	if (t.conn_fd >= 0)
		close(t.conn_fd);
	t.conn_fd = -1;
	buf_reset(&t.in);
}

static void on_conn(void *data, int events)
{
	ssize_t n = recv(t.conn_fd, buf_reserve(&t.in, 65536), 65536, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		drop_conn();
		return;
	}
	buf_commit(&t.in, (size_t)n);
	take_messages();
}

static void on_listen(void *data, int events)
{
	struct err err;

	drop_conn();
	t.conn_fd = accept4(t.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(t.conn_fd >= 0);
	assert_int_equal(
	        loop_poll_new(t.loop, t.conn_fd, LOOP_READ, on_conn, NULL, &t.conn_poll, &err), 0);
}

void kit_listen(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct err err;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", kit_path("sock"));
	t.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(t.listen_fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(t.listen_fd, 8), 0);
	assert_int_equal(loop_poll_new(t.loop, t.listen_fd, LOOP_READ, on_listen, NULL,
	                         &t.listen_poll, &err),
	        0);
}

/* The parent is killed. */
void kit_die(void)
{
	drop_conn();
	loop_poll_free(t.listen_poll);
	t.listen_poll = NULL;
	if (t.listen_fd >= 0)
		close(t.listen_fd);
	t.listen_fd = -1;
	unlink(kit_path("sock"));
}

size_t count_messages(enum launch_kind kind, uint64_t epoch)
{
	size_t n = 0;

	for (size_t i = 0; i < t.n_messages; i++)
		n += t.messages[i].kind == kind && (!epoch || t.messages[i].epoch == epoch);
	return n;
}

const struct launch *find_message(enum launch_kind kind, uint64_t epoch)
{
	for (size_t i = t.n_messages; i-- > 0;)
		if (t.messages[i].kind == kind && t.messages[i].epoch == epoch)
			return &t.messages[i];
	return NULL;
}

/* Waiting */

static void on_timer(void *data)
{
	t.has_come = t.is_there(t.arg);
	if (t.has_come || clock_mono_ms() >= t.deadline_ms)
		loop_stop(t.loop);
}

void until(bool (*is_there)(uint64_t arg), uint64_t arg)
{
	t.is_there = is_there;
	t.arg = arg;
	t.deadline_ms = clock_mono_ms() + WAIT_MS;
	loop_timer_start(t.timer, 0, 2);
	loop_run(t.loop);
	loop_timer_stop(t.timer);
	assert_true(t.has_come);
}

bool is_up(uint64_t n)
{
	return t.n_ups >= n && t.conn_fd >= 0;
}

bool is_down(uint64_t n)
{
	return t.n_downs >= n;
}

bool has_start(uint64_t epoch)
{
	return find_message(LAUNCH_START, epoch) != NULL;
}

bool has_stop(uint64_t epoch)
{
	return find_message(LAUNCH_STOP, epoch) != NULL;
}

bool has_sweep(uint64_t epoch)
{
	return find_message(LAUNCH_SWEEP, epoch) != NULL;
}

bool has_rotate(uint64_t n)
{
	return count_messages(LAUNCH_ROTATE, 0) >= n;
}

/* Everything that was sent has arrived: the loop was idle twice. */
bool turns(uint64_t unused)
{
	static int n;

	return ++n % 4 == 0;
}

/* The caller */

size_t told(enum spool_kind kind, uint64_t epoch, struct spool_record *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < t.n_reports; i++) {
		if (t.reports[i].kind != kind || t.reports[i].epoch != epoch)
			continue;
		n++;
		if (ret)
			*ret = t.reports[i];
	}
	return n;
}

bool is_in(uint64_t epoch, enum host_state state)
{
	const struct host_attempt *a = host_find(t.host, epoch);

	return a && a->state == state;
}

struct link_start a_start(uint64_t epoch)
{
	static char *argv[] = {"true", NULL};

	return (struct link_start){
	        .id = {.num = epoch, .task = TASK_NONE},
	        .attempt = 1,
	        .epoch = epoch,
	        .uid = geteuid(),
	        .argv = argv,
	        .chdir = "/",
	        .n_cpus = 1,
	};
}

void prepare(uint64_t epoch)
{
	struct link_start m = a_start(epoch);
	struct engine_request r = {.start = &m};
	struct err err;

	assert_int_equal(engine_prepare(t.engine, &r, &err), 0);
}

void start(uint64_t epoch)
{
	struct err err;

	prepare(epoch);
	assert_int_equal(engine_start(t.engine, epoch, &err), 0);
}

void stop(uint64_t epoch, bool force)
{
	struct engine_signal s = {.id = {.num = epoch, .task = TASK_NONE},
	        .epoch = epoch,
	        .cause = SPOOL_STOPPED,
	        .force = force};
	struct err err;

	assert_int_equal(engine_signal(t.engine, &s, &err), 0);
}

void say(enum spool_kind kind, uint64_t epoch)
{
	struct spool_record r = kit_record(kind, epoch);

	kit_append(spools_path(t.host->spools, spools_current(t.host->spools)), &r);
	host_read(t.host);
}

/* Life */

static void on_started(void *data, const struct spool_record *r)
{
	assert_int_equal(r->kind, SPOOL_STARTED);
	assert_true(t.n_reports < REPORTS_MAX);
	t.reports[t.n_reports++] = *r;
}

static void on_ended(void *data, const struct spool_record *r, bool with_machine)
{
	assert_int_equal(r->kind, SPOOL_ENDED);
	assert_true(t.n_reports < REPORTS_MAX);
	t.reports[t.n_reports++] = *r;
	t.n_with_machine += with_machine;
}

static void on_lost(void *data, uint64_t epoch)
{
	t.n_lost++;
}

static void on_news(void *data, enum log_level level, const char *event, const char *text)
{
	t.n_ups += strcmp(event, "launcher.up") == 0;
	t.n_downs += strcmp(event, "launcher.down") == 0;
}

void kit_open(bool is_rebooted)
{
	static char address[256];
	struct engine_options o = {
	        .loop = t.loop,
	        .data_dir = kit_dir,
	        .node_name = "n1",
	        .address = address,
	        .is_rebooted = is_rebooted,
	        .on_started = on_started,
	        .on_ended = on_ended,
	        .on_lost = on_lost,
	        .on_news = on_news,
	};
	struct err err;

	snprintf(address, sizeof(address), "%s", kit_path("sock"));
	assert_int_equal(engine_open(&host_engine, &o, &t.engine, &err), 0);
	t.host = host_of(t.engine);
	engine_resume(t.engine);
}

int host_kit_begin_alone(void **state)
{
	struct err err;

	memset(&t, 0, sizeof(t));
	if (kit_begin(state) < 0 || loop_new(&t.loop, &err) < 0)
		return -1;
	t.listen_fd = t.conn_fd = -1;
	t.in = BUF_INIT(16 * MIB);
	t.timer = loop_timer_new(t.loop, on_timer, NULL);
	kit_open(false);
	return 0;
}

int host_kit_begin(void **state)
{
	if (host_kit_begin_alone(state) < 0)
		return -1;
	kit_listen();
	until(is_up, 1);
	return 0;
}

int host_kit_end(void **state)
{
	engine_close(t.engine);
	kit_die();
	for (size_t i = 0; i < t.n_messages; i++)
		launch_done(&t.messages[i]);
	buf_done(&t.in);
	loop_timer_free(t.timer);
	loop_free(t.loop);
	return kit_end(state);
}
