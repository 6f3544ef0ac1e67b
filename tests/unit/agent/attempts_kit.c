#include "attempts_kit.h"

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
#include <talloc.h>
#include <unistd.h>

#include "plat/clock.h"

struct attempts_kit t;

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

/* The server's end */

/* So many messages of that type about that epoch have gone to the server; they are taken. */
size_t told(enum link_type type, uint64_t epoch, struct spool_record *ret)
{
	const uint8_t *p = t.outbox.buf.data, *end = p + t.outbox.buf.len;
	struct link_message m;
	struct err err;
	size_t n = 0;

	while (p && link_next(&p, end, t.ctx, &m, &err) > 0) {
		if (m.type != type || m.record.epoch != epoch)
			continue;
		n++;
		if (ret)
			*ret = m.record;
	}
	return n;
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

void start(uint64_t epoch)
{
	struct link_start m = a_start(epoch);

	attempts_start(t.attempts, &m, NULL, 0, false);
}

void stop(uint64_t epoch, bool force)
{
	struct link_stop m = {.id = {.num = epoch, .task = TASK_NONE},
	        .epoch = epoch,
	        .cause = SPOOL_STOPPED,
	        .force = force};

	attempts_stop(t.attempts, &m);
}

void say(enum spool_kind kind, uint64_t epoch)
{
	struct spool_record r = kit_record(kind, epoch);

	kit_append(spools_path(t.spools, spools_current(t.spools)), &r);
	attempts_read(t.attempts);
}

/* Life */

static void on_up(void *data)
{
	t.n_ups++;
	attempts_on_launcher_up(t.attempts);
}

static void on_down(void *data)
{
	t.n_downs++;
	attempts_on_launcher_down(t.attempts);
}

static const char *spool_path(void *data)
{
	return spools_path(t.spools, spools_current(t.spools));
}

void kit_connect(void)
{
	struct launcher_options o = {
	        .data_dir = kit_dir, .spool_path = spool_path, .on_up = on_up, .on_down = on_down};
	static char sock[256];

	snprintf(sock, sizeof(sock), "%s", kit_path("sock"));
	o.socket_path = sock;
	t.launcher = launcher_new(t.loop, &o);
	attempts_set_launcher(t.attempts, t.launcher);
}

void kit_make(void)
{
	struct attempts_options o = {
	        .loop = t.loop, .outbox = &t.outbox, .prepare = &t.prepare, .cores = 2};
	struct err err;

	assert_int_equal(spools_open(kit_path("spool"), false, &t.spools, &err), 0);
	o.spools = t.spools;
	t.attempts = attempts_new(&o);
	attempts_read(t.attempts);
}

void kit_free(void)
{
	launcher_free(t.launcher);
	attempts_free(t.attempts);
	spools_close(t.spools);
	t.launcher = NULL;
}

int attempts_begin_alone(void **state)
{
	struct err err;

	memset(&t, 0, sizeof(t));
	if (kit_begin(state) < 0 || loop_new(&t.loop, &err) < 0)
		return -1;
	t.listen_fd = t.conn_fd = -1;
	t.ctx = talloc_new(NULL);
	t.in = BUF_INIT(16 * MIB);
	t.outbox = (struct outbox){.buf = BUF_INIT(OUTBOX_MAX), .is_open = true};
	t.timer = loop_timer_new(t.loop, on_timer, NULL);
	t.prepare = (struct prepare){
	        .data_dir = kit_dir,
	        .node_name = "n1",
	        .uid = geteuid(),
	        .has_accounts = geteuid() == 0,
	        .accounts = accounts_new(),
	};
	kit_make();
	return 0;
}

int attempts_begin(void **state)
{
	if (attempts_begin_alone(state) < 0)
		return -1;
	kit_listen();
	kit_connect();
	until(is_up, 1);
	return 0;
}

int attempts_end_kit(void **state)
{
	kit_free();
	kit_die();
	for (size_t i = 0; i < t.n_messages; i++)
		launch_done(&t.messages[i]);
	accounts_free(t.prepare.accounts);
	free(t.prepare.log_dir);
	buf_done(&t.in);
	buf_done(&t.outbox.buf);
	loop_timer_free(t.timer);
	loop_free(t.loop);
	talloc_free(t.ctx);
	return kit_end(state);
}
