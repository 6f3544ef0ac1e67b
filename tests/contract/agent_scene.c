#include "agent_scene.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <talloc.h>
#include <unistd.h>

#include "base/mem.h"
#include "leftovers.h"
#include "plat/clock.h"
#include "plat/loop.h"

/* The server's end */

static void check_wait(struct scene *s)
{
	if (!s->is_there)
		return;
	if (s->is_there(s, s->arg)) {
		s->has_come = true;
		s->is_there = NULL;
		loop_stop(s->loop);
	}
}

static void put_welcome(struct scene *s)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);

	link_put_welcome(&b, &s->welcome);
	scene_send(s, &b);
}

static void take_hello(struct scene *s, const struct link_hello *h)
{
	s->hello = *h;
	s->n_hellos++;
	s->n_devices = h->n_devices;
	if (h->n_devices)
		memcpy(s->devices, h->devices, h->n_devices * sizeof(*h->devices));
	put_welcome(s);
}

static void take_record(struct scene *s, const struct spool_record *r)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);

	assert_true(s->n_records < SCENE_RECORDS);
	s->records[s->n_records++] = *r;
	if (r->kind != SPOOL_ENDED || s->no_ack)
		return;
	link_put_ack(&b, r->epoch);
	scene_send(s, &b);
}

static void take_devices(struct scene *s, const struct link_devices *m)
{
	s->n_device_messages++;
	for (uint32_t i = 0; i < m->n_devices; i++)
		for (uint32_t k = 0; k < s->n_devices; k++)
			if (strcmp(s->devices[k].uuid, m->devices[i].uuid) == 0)
				s->devices[k] = m->devices[i];
}

static void take_data(struct scene *s, const struct link_stream_data *m)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);
	struct scene_stream *t = &s->streams[m->stream % SCENE_STREAMS];

	t->n_frames++;
	if (m->frame == CONSOLE_STDOUT || m->frame == CONSOLE_STDERR)
		buf_add(&t->bytes[m->frame == CONSOLE_STDERR], m->data, m->len);
	else if (m->frame == CONSOLE_EXIT)
		t->exit_code = ((const uint8_t *)m->data)[3];
	else if (m->frame == CONSOLE_ERROR)
		snprintf(t->text, sizeof(t->text), "%.*s", (int)m->len, (const char *)m->data);
	link_put_stream_window(
	        &b, &(struct link_stream_window){.stream = m->stream, .bytes = m->len});
	scene_send(s, &b);
}

static void take_close(struct scene *s, const struct link_stream_close *m)
{
	struct scene_stream *t = &s->streams[m->stream % SCENE_STREAMS];

	t->is_closed = true;
	t->kind = m->kind;
	if (m->text)
		snprintf(t->text, sizeof(t->text), "%s", m->text);
}

static void take_message(struct scene *s, const struct link_message *m)
{
	switch (m->type) {
	case LINK_HELLO:
		take_hello(s, &m->hello);
		break;
	case LINK_STARTED:
	case LINK_ENDED:
		take_record(s, &m->record);
		break;
	case LINK_DEVICES:
		take_devices(s, &m->devices);
		break;
	case LINK_STREAM_DATA:
		take_data(s, &m->stream_data);
		break;
	case LINK_STREAM_WINDOW:
		s->streams[m->stream_window.stream % SCENE_STREAMS].taken += m->stream_window.bytes;
		break;
	case LINK_STREAM_CLOSE:
		take_close(s, &m->stream_close);
		break;
	case LINK_NOTE:
		s->n_notes++;
		s->note_epoch = m->note.epoch;
		snprintf(s->note, sizeof(s->note), "%s", m->note.text);
		break;
	case LINK_REMOVED:
		s->removed = m->removed_number;
		break;
	case LINK_BYE:
		s->has_bye = true;
		break;
	case LINK_BEAT:
		s->has_beat = true;
		break;
	default:
		break;
	}
}

static void on_message(void *data, struct net_ws *ws, const void *bytes, size_t len, bool is_text)
{
	struct scene *s = data;
	const uint8_t *p = bytes;
	struct link_message m;
	struct err err;

	if (ws != s->ws)
		return;
	while (link_next(&p, (const uint8_t *)bytes + len, s->ctx, &m, &err) > 0)
		take_message(s, &m);
	assert_ptr_equal(p, (const uint8_t *)bytes + len);
	check_wait(s);
}

static void on_ws_close(void *data, struct net_ws *ws, const struct err *why)
{
	struct scene *s = data;

	if (s->ws == ws)
		s->ws = NULL;
}

static void on_request(void *data, struct net_request *r)
{
	static const struct net_ws_handlers handlers = {
	        .on_message = on_message, .on_close = on_ws_close};
	struct scene *s = data;
	struct net_ws *ws;
	struct err err;

	assert_string_equal(net_request_path(r), "/v1/link");
	assert_int_equal(net_request_accept_ws(r, "berth-link-1", &handlers, s, &ws, &err), 0);
	s->ws = ws;
}

void scene_serve(struct scene *s)
{
	static const struct net_handlers handlers = {.on_request = on_request};
	struct err err;

	assert_int_equal(net_server_new(s->loop, NULL, &handlers, s, &s->server, &err), 0);
	assert_int_equal(net_server_listen_unix(
	                         s->server, scene_path(s, "berth.sock"), 0600, UINT32_MAX, &err),
	        0);
}

void scene_hide(struct scene *s)
{
	if (s->server)
		net_server_close(s->server);
	s->server = NULL;
	unlink(scene_path(s, "berth.sock"));
	scene_run(s, 50);
	assert_null(s->ws);
}

/* Waiting */

static void on_timer(void *data)
{
	struct scene *s = data;

	check_wait(s);
	if (!s->has_come && clock_mono_ms() >= s->deadline_ms) {
		s->is_there = NULL;
		loop_stop(s->loop);
	}
}

void scene_until_at(struct scene *s, bool (*is_there)(struct scene *s, uint64_t arg), uint64_t arg,
        const char *what, const char *file, int line)
{
	s->has_come = is_there(s, arg);
	if (s->has_come)
		return;
	s->is_there = is_there;
	s->arg = arg;
	s->deadline_ms = clock_mono_ms() + SCENE_WAIT_MS;
	loop_timer_start(s->timer, 10, 10);
	loop_run(s->loop);
	loop_timer_stop(s->timer);
	if (!s->has_come)
		print_error("%s(%llu) did not come\n", what, (unsigned long long)arg);
	_assert_true(s->has_come, what, file, line);
}

static bool never(struct scene *s, uint64_t arg)
{
	return false;
}

void scene_run(struct scene *s, uint64_t ms)
{
	s->has_come = false;
	s->is_there = never;
	s->deadline_ms = clock_mono_ms() + ms;
	loop_timer_start(s->timer, 5, 5);
	loop_run(s->loop);
	loop_timer_stop(s->timer);
	s->is_there = NULL;
}

bool has_started(struct scene *s, uint64_t epoch)
{
	return scene_record(s, epoch, SPOOL_STARTED) != NULL;
}

bool has_ended(struct scene *s, uint64_t epoch)
{
	return scene_record(s, epoch, SPOOL_ENDED) != NULL;
}

bool has_closed(struct scene *s, uint64_t stream)
{
	return s->streams[stream % SCENE_STREAMS].is_closed;
}

bool has_hello(struct scene *s, uint64_t n)
{
	return s->n_hellos >= n;
}

bool has_said_bye(struct scene *s, uint64_t unused)
{
	return s->has_bye;
}

/* Messages */

void scene_send(struct scene *s, struct buf *b)
{
	assert_false(b->overflow);
	if (s->ws)
		(void)!net_ws_send(s->ws, b->data, b->len, false);
	buf_reset(b);
}

struct link_start scene_start(uint64_t epoch, const char *script)
{
	return shared_job(epoch, script, "/");
}

void scene_send_start(struct scene *s, const struct link_start *m)
{
	CLEANUP_BUF struct buf b = BUF_INIT(8 * MIB);

	link_put_start(&b, m);
	scene_send(s, &b);
}

void scene_sh(struct scene *s, uint64_t epoch, const char *script)
{
	struct link_start m = scene_start(epoch, script);

	scene_send_start(s, &m);
}

void scene_stop(struct scene *s, uint64_t epoch, enum spool_cause cause, bool force)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);
	struct link_stop m = {.id = {.num = epoch, .task = TASK_NONE},
	        .epoch = epoch,
	        .cause = cause,
	        .force = force};

	link_put_stop(&b, &m);
	scene_send(s, &b);
}

uint64_t scene_open(struct scene *s, struct link_stream_open *m)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);
	struct scene_stream *t;

	m->stream = ++s->last_stream;
	t = &s->streams[m->stream % SCENE_STREAMS];
	buf_done(&t->bytes[0]);
	buf_done(&t->bytes[1]);
	*t = (struct scene_stream){.bytes = {BUF_INIT(GIB), BUF_INIT(GIB)}, .exit_code = -1};
	link_put_stream_open(&b, m);
	scene_send(s, &b);
	return m->stream;
}

const char *scene_output(struct scene *s, uint64_t epoch, int which)
{
	struct link_stream_open m = {
	        .kind = LINK_STREAM_LOG,
	        .id = {.num = epoch, .task = TASK_NONE},
	        .attempt = 1,
	        .epoch = epoch,
	        .want_stdout = which != 2,
	        .want_stderr = which != 1,
	};
	uint64_t stream = scene_open(s, &m);
	struct scene_stream *t = &s->streams[stream % SCENE_STREAMS];

	scene_until(s, has_closed, stream);
	assert_string_equal(t->text, "");
	return buf_str(&t->bytes[which == 2]);
}

void scene_type(
        struct scene *s, uint64_t stream, enum console_frame frame, const void *data, size_t len)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);

	link_put_stream_data(
	        &b, &(struct link_stream_data){
	                    .stream = stream, .frame = frame, .data = data, .len = len});
	scene_send(s, &b);
}

/* What came */

const struct spool_record *scene_record(const struct scene *s, uint64_t epoch, enum spool_kind kind)
{
	return shared_record(s->records, s->n_records, epoch, kind);
}

size_t scene_count(const struct scene *s, uint64_t epoch, enum spool_kind kind)
{
	return shared_count(s->records, s->n_records, epoch, kind);
}

const struct link_attempt *scene_known(const struct scene *s, uint64_t epoch)
{
	for (uint32_t i = 0; i < s->hello.n_attempts; i++)
		if (s->hello.attempts[i].epoch == epoch)
			return &s->hello.attempts[i];
	return NULL;
}

pid_t scene_keepers_parent(const struct scene *s)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", scene_path(s, "run/keeper.sock"));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	close(fd);
	return cred.pid;
}

/* Life */

const char *scene_path(const struct scene *s, const char *name)
{
	return shared_path(s->dir, name);
}

void scene_begin(struct scene *s, const char *simulate)
{
	struct err err;

	memset(s, 0, sizeof(*s));
	snprintf(s->dir, sizeof(s->dir), "/tmp/berth-agent-test.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	/* Jobs of other accounts have directories below it. */
	chmod(s->dir, 0711);
	snprintf(s->sim, sizeof(s->sim), "%s", simulate ? simulate : "");
	snprintf(s->url, sizeof(s->url), "unix:%s/berth.sock:/v1/link", s->dir);
	s->welcome = (struct link_welcome){
	        .node = 1,
	        .heartbeat_ms = 1000,
	        .grace_ms = 2000,
	        .output_max = GIB,
	        .start_burst = 4,
	        .watchdog = LINK_WATCHDOG_REPORT,
	        /* What uses devices here is no CUDA program: it would go around the interposer. */
	        .mechanism = LINK_MECHANISM_NONE,
	        .server_program = "test",
	};
	s->ctx = talloc_new(NULL);
	assert_int_equal(loop_new(&s->loop, &err), 0);
	s->timer = loop_timer_new(s->loop, on_timer, s);
	scene_serve(s);
}

void scene_start_agent(struct scene *s)
{
	const char *argv[] = {"berth agent", "--data", s->dir, "--server", s->url, "--name", "n1",
	        "--nvml", "/nonexistent", NULL, NULL, NULL};
	unsigned hellos = s->n_hellos;

	if (s->sim[0]) {
		argv[7] = "--simulate";
		argv[8] = s->sim;
	} else {
		argv[7] = NULL;
	}
	s->agent = fork();
	assert_true(s->agent >= 0);
	if (s->agent == 0) {
		/* The log of a test that goes well is not read. */
		if (!getenv("BERTH_TEST_LOG"))
			(void)!freopen(scene_path(s, "agent.log"), "a", stderr);
		execv(shared_program("berth-agent"), (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	if (s->server)
		scene_until(s, has_hello, hellos + 1);
}

int scene_wait_agent(struct scene *s)
{
	int status = -1;
	uint64_t deadline = clock_mono_ms() + SCENE_WAIT_MS;

	/* The loop goes on meanwhile: the agent says goodbye. */
	while (waitpid(s->agent, &status, WNOHANG) == 0) {
		assert_true(clock_mono_ms() < deadline);
		scene_run(s, 5);
	}
	s->agent = 0;
	return status;
}

void scene_kill_agent(struct scene *s, int signo)
{
	kill(s->agent, signo);
	(void)scene_wait_agent(s);
}

static void show_log(struct scene *s)
{
	FILE *f = fopen(scene_path(s, "agent.log"), "r");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		print_error("%s", line);
	if (f)
		fclose(f);
}

void scene_end(struct scene *s)
{
	int status = 0;

	if (s->agent) {
		kill(s->agent, SIGTERM);
		status = scene_wait_agent(s);
	}
	leftovers_kill(s->dir);
	leftovers_remove_groups(s->dir);
	leftovers_remove_ledgers(s->dir);
	if (s->server)
		net_server_close(s->server);
	scene_run(s, 50);
	loop_timer_free(s->timer);
	loop_free(s->loop);
	talloc_free(s->ctx);
	for (size_t i = 0; i < SCENE_STREAMS; i++) {
		buf_done(&s->streams[i].bytes[0]);
		buf_done(&s->streams[i].bytes[1]);
	}
	if (status != 0)
		show_log(s);
	shared_remove(s->dir);
	/* Also a sanitizer's complaint. */
	assert_int_equal(status, 0);
}
