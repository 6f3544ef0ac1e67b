/* The agent's end of the link, played. */
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <talloc.h>

static const char *id_of(struct job_id id)
{
	static char text[48];

	return job_id_format(id, text);
}

static void log_stop(struct rig *g, const struct link_stop *m)
{
	static const char *const causes[SPOOL_CAUSE_MAX] = {[SPOOL_STOPPED] = "stopped",
	        [SPOOL_TIMEOUT] = "timeout",
	        [SPOOL_SHUTDOWN] = "shutdown"};

	buf_addf(&g->log, "STOP %s e%llu %s%s\n", id_of(m->id), (unsigned long long)m->epoch,
	        causes[m->cause] ? causes[m->cause] : "other", m->force ? " force" : "");
}

static void log_open(struct rig *g, const struct link_stream_open *m)
{
	static const char *const kinds[] = {"", "log", "attach", "exec"};

	g->last_stream = m->stream;
	buf_addf(&g->log, "OPEN %s %s e%llu offset=%llu%s%s", kinds[m->kind], id_of(m->id),
	        (unsigned long long)m->epoch, (unsigned long long)m->offset,
	        m->follow ? " follow" : "", m->ended ? " ended" : "");
	for (char **v = m->argv; v && *v; v++)
		buf_addf(&g->log, " %s", *v);
	buf_add_byte(&g->log, '\n');
}

static void log_remove(struct rig *g, const struct link_remove *m)
{
	buf_addf(&g->log, "REMOVE %u", m->n_attempts);
	for (uint32_t i = 0; i < m->n_attempts; i++)
		buf_addf(&g->log, " %s.%u", id_of(m->attempts[i].id), m->attempts[i].attempt);
	buf_add_byte(&g->log, '\n');
}

static void take(struct rig *g, const struct link_message *m)
{
	switch (m->type) {
	case LINK_WELCOME:
		buf_addf(&g->log, "WELCOME %llu\n", (unsigned long long)m->welcome.node);
		break;
	case LINK_BLOB:
		buf_addf(&g->log, "BLOB %llu\n", (unsigned long long)m->blob.num);
		break;
	case LINK_START:
		g->start = m->start;
		buf_addf(&g->log, "START %s e%llu attempt=%u\n", id_of(m->start.id),
		        (unsigned long long)m->start.epoch, m->start.attempt);
		break;
	case LINK_STOP:
		log_stop(g, &m->stop);
		break;
	case LINK_ACK:
		buf_addf(&g->log, "ACK e%llu\n", (unsigned long long)m->ack_epoch);
		break;
	case LINK_BEAT:
		buf_add_str(&g->log, "BEAT\n");
		break;
	case LINK_REMOVE:
		log_remove(g, &m->remove);
		break;
	case LINK_DROP:
		buf_addf(&g->log, "DROP %llu\n", (unsigned long long)m->drop_blob);
		break;
	case LINK_STREAM_OPEN:
		log_open(g, &m->stream_open);
		break;
	case LINK_STREAM_DATA:
		buf_addf(&g->log, "DATA %d\n", (int)m->stream_data.frame);
		buf_add(&g->data, m->stream_data.data, m->stream_data.len);
		break;
	case LINK_STREAM_WINDOW:
		g->bytes_given += m->stream_window.bytes;
		break;
	case LINK_STREAM_CLOSE:
		buf_addf(&g->log, "CLOSE %llu\n", (unsigned long long)m->stream_close.stream);
		break;
	case LINK_SHUTDOWN:
		buf_add_str(&g->log, "SHUTDOWN\n");
		break;
	default:
		fail_msg("the server sent a message of type %d", (int)m->type);
	}
}

static void on_open(void *data, struct net_ws *ws)
{
	((struct rig *)data)->is_linked = true;
}

static void on_message(void *data, struct net_ws *ws, const void *bytes, size_t len, bool is_text)
{
	struct rig *g = data;
	const uint8_t *p = bytes;
	struct link_message m;
	struct err err;

	if (ws != g->ws)
		return;
	while (link_next(&p, (const uint8_t *)bytes + len, g->ctx, &m, &err) > 0)
		take(g, &m);
	assert_ptr_equal(p, (const uint8_t *)bytes + len);
}

static void on_close(void *data, struct net_ws *ws, const struct err *why)
{
	struct rig *g = data;

	if (g->ws != ws)
		return;
	g->ws = NULL;
	g->is_linked = false;
	g->was_closed = true;
	buf_addf(&g->log, "CLOSED %s\n", why->kind ? why->text : "");
}

static const struct net_ws_handlers handlers = {
        .on_open = on_open, .on_message = on_message, .on_close = on_close};

static bool is_linked(struct rig *g, void *unused)
{
	return g->is_linked;
}

void agent_send(struct rig *g, struct buf *b)
{
	(void)net_ws_send(g->ws, b->data, b->len, false);
	buf_reset(b);
}

static void say_hello(struct rig *g, const char *name, const char *boot_id,
        const struct link_attempt *v, uint32_t n)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LINK_MESSAGE_MAX);
	struct device_info devices[2] = {{.uuid = "GPU-a", .model = "Test 8G", .index = 0},
	        {.uuid = "GPU-b", .model = "Test 8G", .index = 1}};
	struct link_hello h = {.version = LINK_VERSION,
	        .program = "test",
	        .name = (char *)(uintptr_t)name,
	        .boot_id = (char *)(uintptr_t)boot_id,
	        .key = g->node_key,
	        .mem_bytes = 64 * GIB,
	        .devices = devices,
	        .n_devices = 2,
	        .attempts = (struct link_attempt *)(uintptr_t)v,
	        .n_attempts = n};

	for (uint32_t i = 0; i < 8; i++)
		cpu_set_add(&h.cpus, i);
	for (uint32_t i = 0; i < 2; i++) {
		devices[i].mem_bytes = 8 * GIB;
		devices[i].cc = 80;
		devices[i].cuda = 12040;
		devices[i].simulated = true;
	}
	link_put_hello(&b, &h);
	agent_send(g, &b);
}

static void connect_link(struct rig *g, const char *url, const char *token)
{
	const struct net_ws_options o = {.url = url, .protocol = "berth-link-1", .bearer = token};
	struct err err;

	if (!g->ctx)
		g->ctx = talloc_new(NULL);
	buf_reset(&g->log);
	g->log_at = 0;
	g->is_linked = g->was_closed = false;
	assert_int_equal(net_ws_connect(g->s->loop, &o, &handlers, g, &g->ws, &err), 0);
	rig_until(g, is_linked, NULL);
}

void agent_link_with(struct rig *g, const char *boot_id, const struct link_attempt *v, uint32_t n)
{
	char url[120];

	snprintf(url, sizeof(url), "unix:%s/berth.sock:/v1/link", g->dir);
	connect_link(g, url, NULL);
	say_hello(g, "n1", boot_id, v, n);
	agent_expect(g, "WELCOME");
}

static bool is_answered(struct rig *g, void *unused)
{
	return g->was_closed || agent_has(g, "WELCOME");
}

bool agent_join(struct rig *g, const char *token, const char *name)
{
	char url[120];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/v1/link", net_server_port(g->s->net));
	connect_link(g, url, token);
	say_hello(g, name, "boot-1", NULL, 0);
	rig_until(g, is_answered, NULL);
	return !g->was_closed;
}

void agent_link(struct rig *g)
{
	agent_link_with(g, "boot-1", NULL, 0);
}

void agent_drop(struct rig *g)
{
	net_ws_close(g->ws, 1000, "");
	rig_until(g, is_unlinked, NULL);
	/* The server knows it as well: it is told in the same closing. */
	g->log_at = g->log.len;
}

static const char *find_line(const struct rig *g, size_t from, const char *line)
{
	struct buf *b = (struct buf *)(uintptr_t)&g->log;
	const char *text = buf_str(b), *p = text + MIN(from, b->len);

	for (; *p; p = strchr(p, '\n') + 1)
		if (strncmp(p, line, strlen(line)) == 0)
			return p;
	return NULL;
}

static bool is_said(struct rig *g, void *line)
{
	return find_line(g, g->log_at, line) != NULL;
}

void agent_expect(struct rig *g, const char *line)
{
	const char *p;

	rig_until_at(g, is_said, (void *)(uintptr_t)line, line, __FILE__, __LINE__);
	p = find_line(g, g->log_at, line);
	g->log_at = (size_t)(strchr(p, '\n') + 1 - buf_str(&g->log));
}

bool agent_has(const struct rig *g, const char *line)
{
	return find_line(g, 0, line) != NULL;
}

static void send_record(struct rig *g, const struct spool_record *r)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);

	link_put_record(&b, r);
	agent_send(g, &b);
}

void agent_started(struct rig *g, uint64_t job, int64_t task, uint64_t epoch)
{
	send_record(g, &(struct spool_record){.kind = SPOOL_STARTED,
	                       .job = job,
	                       .task = task,
	                       .attempt = 1,
	                       .epoch = epoch,
	                       .wall_ms = server_now(g->s).wall_ms,
	                       .keeper_pid = 1000,
	                       .pid = 1001});
}

static struct spool_record ended(
        struct rig *g, uint64_t job, int64_t task, uint64_t epoch, int wait_status)
{
	return (struct spool_record){.kind = SPOOL_ENDED,
	        .job = job,
	        .task = task,
	        .attempt = 1,
	        .epoch = epoch,
	        .wall_ms = server_now(g->s).wall_ms,
	        .wait_status = wait_status,
	        .output_bytes = 12};
}

void agent_ended(struct rig *g, uint64_t job, int64_t task, uint64_t epoch, int wait_status)
{
	struct spool_record r = ended(g, job, task, epoch, wait_status);

	send_record(g, &r);
}

void agent_ended_by_rank(
        struct rig *g, uint64_t job, uint64_t epoch, int wait_status, uint32_t rank)
{
	struct spool_record r = ended(g, job, TASK_NONE, epoch, wait_status);

	r.has_rank = true;
	r.rank = rank;
	send_record(g, &r);
}

void agent_ended_by(
        struct rig *g, uint64_t job, uint64_t epoch, enum spool_cause cause, int wait_status)
{
	struct spool_record r = ended(g, job, TASK_NONE, epoch, wait_status);

	r.cause = cause;
	send_record(g, &r);
}

void agent_had_no_disk(struct rig *g, uint64_t job, uint64_t epoch)
{
	struct spool_record r = ended(g, job, TASK_NONE, epoch, 125 << 8);

	r.cause = SPOOL_SETUP_FAILED;
	r.no_disk = true;
	send_record(g, &r);
}

void agent_stream_data(
        struct rig *g, uint64_t stream, enum console_frame frame, const void *p, size_t len)
{
	CLEANUP_BUF struct buf b = BUF_INIT(MIB);

	link_put_stream_data(&b, &(struct link_stream_data){
	                                 .stream = stream, .frame = frame, .data = p, .len = len});
	agent_send(g, &b);
}

void agent_stream_close(struct rig *g, uint64_t stream, enum err_kind kind, const char *text)
{
	CLEANUP_BUF struct buf b = BUF_INIT(KIB);

	link_put_stream_close(
	        &b, &(struct link_stream_close){
	                    .stream = stream, .kind = kind, .text = (char *)(uintptr_t)text});
	agent_send(g, &b);
}

uint64_t rig_run(struct rig *g, const char *job, int wait_status)
{
	uint64_t id = rig_submit(g, job);
	char line[64];

	snprintf(line, sizeof(line), "START %llu ", (unsigned long long)id);
	agent_expect(g, line);
	agent_started(g, id, TASK_NONE, g->start.epoch);
	agent_ended(g, id, TASK_NONE, g->start.epoch, wait_status);
	snprintf(line, sizeof(line), "ACK e%llu", (unsigned long long)g->start.epoch);
	agent_expect(g, line);
	return id;
}
