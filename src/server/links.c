#include "server/links_priv.h"
#include "server/batch.h"
#include "server/removals.h"
#include "server/streams.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <talloc.h>

#define LINK_OUT_MAX (64 * MIB)

static struct uplink *find_uplink(const struct server *s, uint64_t node)
{
	struct uplink *u = s->uplinks;

	while (u && u->node != node)
		u = u->next;
	return u;
}

struct stream_set *links_streams(const struct server *s, uint64_t node)
{
	struct uplink *u = find_uplink(s, node);

	return u ? u->streams : NULL;
}

bool links_has_node(const struct server *s, uint64_t node)
{
	return find_uplink(s, node) != NULL;
}

static struct uplink *find_local(const struct server *s)
{
	struct uplink *u = s->uplinks;

	while (u && !(u->is_local && u->node))
		u = u->next;
	return u;
}

bool links_has_local(const struct server *s)
{
	return find_local(s) != NULL;
}

static void flush(struct uplink *u)
{
	for (size_t at = 0; at < u->out.len;) {
		size_t n = link_piece(u->out.data + at, u->out.len - at);
		(void)net_ws_send(u->ws, u->out.data + at, n, false);
		at += n;
	}
	buf_reset(&u->out);
}

void links_flush(struct server *s)
{
	for (struct uplink *u = s->uplinks; u; u = u->next)
		flush(u);
}

/* Messages to an agent. */

static void send_blob(struct uplink *u, uint64_t num)
{
	const struct blob *b = world_find_blob_num(u->s->world, num);
	struct sent_blob *sent;

	HASH_FIND(hh, u->blobs, &num, sizeof(num), sent);
	if (sent || !b)
		return;
	sent = mem_zalloc(sizeof(*sent));
	sent->num = num;
	HASH_ADD(hh, u->blobs, num, sizeof(sent->num), sent);
	link_put_blob(&u->out, &(struct link_blob){.num = num, .data = b->data, .len = b->len});
}

static void send_start(struct uplink *u, const struct job *j)
{
	const struct request *r = j->req;
	const struct attempt *a = job_attempt(j);
	struct link_start m = {.id = j->id,
	        .attempt = a->n,
	        .epoch = a->epoch,
	        .name = (char *)(uintptr_t)job_name(j),
	        .queue = r->queue,
	        .user = r->user,
	        .uid = r->uid,
	        .argv = r->argv,
	        .env_blob = r->env_blob,
	        .grant = r->grant,
	        .chdir = r->chdir,
	        .output = r->output,
	        .error = r->error,
	        .tty = r->tty,
	        .rows = 24,
	        .columns = 80,
	        .time_limit_ms = r->time_limit_ms,
	        .mem_bytes = r->mem_bytes,
	        .n_cpus = request_cpus(r),
	        .ranks = r->ranks,
	        .label = r->label,
	        .slices = a->slices,
	        .n_slices = a->n_slices,
	        .array_size = request_n_tasks(r)};

	if (j->cpus)
		m.cpus = *j->cpus;
	if (r->env_blob)
		send_blob(u, r->env_blob);
	link_put_start(&u->out, &m);
}

static enum spool_cause cause_of(enum reason r)
{
	switch (r) {
	case REASON_TIME_LIMIT:
		return SPOOL_TIMEOUT;
	case REASON_SHUTDOWN:
		return SPOOL_SHUTDOWN;
	case REASON_GPU_MEMORY_LIMIT:
		return SPOOL_GPU_MEMORY;
	default:
		return SPOOL_STOPPED;
	}
}

void links_carry_out(struct server *s, const struct effect *fx)
{
	struct uplink *u = fx->node ? find_uplink(s, fx->node) : NULL;
	const struct job *j;

	if (!u)
		return;
	switch (fx->kind) {
	case EFFECT_START:
		j = world_find_job(s->world, fx->id);
		if (j && job_attempt(j) && j->epoch == fx->epoch)
			send_start(u, j);
		break;
	case EFFECT_STOP:
		link_put_stop(&u->out, &(struct link_stop){.id = fx->id,
		                               .epoch = fx->epoch,
		                               .cause = cause_of(fx->reason),
		                               .force = fx->force});
		break;
	default:
		break;
	}
	if (u->out.len >= LINK_PIECE)
		flush(u);
}

void links_remove(struct server *s, uint64_t node, const struct link_remove *m)
{
	struct uplink *u = find_uplink(s, node);

	if (!u || u->removing)
		return;
	u->removing = m->number;
	link_put_remove(&u->out, m);
	loop_wake(s->loop);
}

void links_drop_blob(struct server *s, uint64_t num)
{
	for (struct uplink *u = s->uplinks; u; u = u->next) {
		struct sent_blob *sent;
		HASH_FIND(hh, u->blobs, &num, sizeof(num), sent);
		if (!sent)
			continue;
		HASH_DEL(u->blobs, sent);
		free(sent);
		link_put_drop(&u->out, num);
	}
	loop_wake(s->loop);
}

void links_shutdown_local(struct server *s)
{
	struct uplink *u = find_local(s);

	if (u)
		link_put_empty(&u->out, LINK_SHUTDOWN);
}

/* Reports of an agent. */

static enum reason reason_of(const struct spool_record *r)
{
	switch (r->cause) {
	case SPOOL_STOPPED:
		return REASON_CANCELLED;
	case SPOOL_TIMEOUT:
		return REASON_TIME_LIMIT;
	case SPOOL_SHUTDOWN:
		return REASON_SHUTDOWN;
	case SPOOL_GPU_MEMORY:
		return REASON_GPU_MEMORY_LIMIT;
	case SPOOL_GPU_AROUND:
		return REASON_GPU_AROUND;
	case SPOOL_OOM:
		return REASON_MEMORY_LIMIT;
	case SPOOL_SETUP_FAILED:
		return r->no_disk ? REASON_NO_DISK : REASON_EXEC_FAILED;
	case SPOOL_EXEC_FAILED:
		return REASON_EXEC_FAILED;
	case SPOOL_KEEPER_KILLED:
		return REASON_KEEPER_KILLED;
	default:
		return WIFSIGNALED(r->wait_status) ? REASON_SIGNALLED : REASON_EXITED;
	}
}

static struct attempt_end end_of(const struct spool_record *r)
{
	struct attempt_end e = {.reason = reason_of(r),
	        .wall_ms = r->wall_ms,
	        .peak_mem_bytes = r->peak_mem_bytes,
	        .cpu_ms = r->cpu_ms,
	        .output_bytes = r->output_bytes,
	        .dropped_bytes = r->dropped_bytes,
	        .has_rank = r->has_rank,
	        .rank = r->rank,
	        .text = r->text[0] ? r->text : NULL};

	if (r->cause == SPOOL_KEEPER_KILLED)
		return e;
	e.has_code = WIFEXITED(r->wait_status) || WIFSIGNALED(r->wait_status);
	e.exit_code = WIFSIGNALED(r->wait_status) ? 128 + WTERMSIG(r->wait_status)
	                                          : WEXITSTATUS(r->wait_status);
	return e;
}

struct ack {
	uint64_t node, epoch;
};

static void send_ack(struct server *s, void *data)
{
	struct ack *a = data;
	struct uplink *u = find_uplink(s, a->node);

	if (u)
		link_put_ack(&u->out, a->epoch);
	free(a);
}

/* Epochs can be guessed: a node speaks of its own attempts only. */
static bool is_elsewhere(const struct uplink *u, struct job_id id, uint64_t epoch)
{
	const struct job *j = world_find_job(u->s->world, id);

	if (!j || !job_attempt(j) || j->epoch != epoch || job_attempt(j)->node == u->node)
		return false;
	log_warn("link.record", "node=%s job=%llu text=\"is not on this node\"", u->name,
	        (unsigned long long)id.num);
	return true;
}

static void on_record(struct uplink *u, const struct spool_record *r)
{
	struct attempt_end end = end_of(r);
	struct event e = {.kind = r->kind == SPOOL_STARTED ? EVENT_STARTED : EVENT_ENDED,
	        .id = {r->job, r->task},
	        .epoch = r->epoch,
	        .pid = r->pid,
	        .held = r->held,
	        .not_held = r->not_held,
	        .end = &end};
	struct ack *a;

	if (!is_elsewhere(u, e.id, r->epoch))
		server_apply_or_log(u->s, &e);
	if (r->kind != SPOOL_ENDED)
		return;
	a = mem_zalloc(sizeof(*a));
	*a = (struct ack){u->node, r->epoch};
	batch_after(u->s, send_ack, a);
}

static enum reason note_reason_of(enum spool_cause cause)
{
	switch (cause) {
	case SPOOL_GPU_AROUND:
		return REASON_GPU_AROUND;
	case SPOOL_MPS_DIED:
		return REASON_MPS_DIED;
	default:
		return REASON_GPU_MEMORY_LIMIT;
	}
}

static void on_note(struct uplink *u, const struct link_note *m)
{
	struct event e = {.kind = EVENT_NOTE,
	        .id = m->id,
	        .epoch = m->epoch,
	        .reason = note_reason_of(m->cause),
	        .text = m->text};

	if (!is_elsewhere(u, m->id, m->epoch))
		server_apply_or_log(u->s, &e);
}

static void on_use(struct uplink *u, const struct link_use *m)
{
	struct event e = {.kind = EVENT_USE,
	        .id = m->id,
	        .epoch = m->epoch,
	        .slices = m->slices,
	        .n_slices = m->n_slices};

	if (!is_elsewhere(u, m->id, m->epoch))
		server_apply_or_log(u->s, &e);
}

static void on_devices(struct uplink *u, const struct link_devices *m)
{
	struct event e = {.kind = EVENT_DEVICE,
	        .name = u->name,
	        .devices = m->devices,
	        .n_devices = m->n_devices};

	server_apply_or_log(u->s, &e);
	for (uint32_t i = 0; i < m->n_devices; i++)
		if (m->devices[i].health != DEVICE_OK)
			log_warn("device.health", "node=%s dev=%s text=\"%s\"", u->name,
			        m->devices[i].uuid, m->devices[i].health_text);
	batch_add_node(u->s, u->node);
}

static void on_bye(struct uplink *u)
{
	log_info("node.bye", "node=%s", u->name);
	if (u->s->shutting_down && u->is_local)
		server_stop(u->s);
}

static void on_removed(struct uplink *u, uint64_t number)
{
	if (number != u->removing || !number)
		return;
	u->removing = 0;
	removals_done(u->s, u->node, number);
}

static void on_link_message(struct uplink *u, const struct link_message *m)
{
	struct node *n = u->node ? world_find_node_num(u->s->world, u->node) : NULL;

	if (m->type == LINK_HELLO && !u->node) {
		links__hello(u, &m->hello);
		return;
	}
	if (!n) {
		net_ws_close(u->ws, 4003, "HELLO comes first");
		return;
	}
	n->seen_mono_ms = server_now(u->s).mono_ms;
	switch (m->type) {
	case LINK_HELLO:
		net_ws_close(u->ws, 4003, "HELLO comes once");
		break;
	case LINK_STARTED:
	case LINK_ENDED:
		on_record(u, &m->record);
		break;
	case LINK_DEVICES:
		on_devices(u, &m->devices);
		break;
	case LINK_BEAT:
		link_put_empty(&u->out, LINK_BEAT);
		break;
	case LINK_USE:
		on_use(u, &m->use);
		break;
	case LINK_NOTE:
		on_note(u, &m->note);
		break;
	case LINK_BYE:
		on_bye(u);
		break;
	case LINK_REMOVED:
		on_removed(u, m->removed_number);
		break;
	default:
		stream_set_take(u->streams, m);
		break;
	}
}

static void on_message(void *data, struct net_ws *ws, const void *bytes, size_t len, bool is_text)
{
	struct uplink *u = data;
	const uint8_t *p = bytes, *end = p + len;
	void *ctx = talloc_new(NULL);
	struct link_message m;
	struct err err;
	int rc;

	(void)is_text;
	while ((rc = link_next(&p, end, ctx, &m, &err)) > 0) {
		on_link_message(u, &m);
		talloc_free_children(ctx); /* what few bytes ask for may be much, but only once */
	}
	if (rc < 0) {
		log_error("link.message", "node=\"%s\" text=\"%s\"", u->name, err.text);
		net_ws_close(ws, 4004, "a malformed message");
	}
	talloc_free(ctx);
}

static void on_close(void *data, struct net_ws *ws, const struct err *why)
{
	struct uplink *u = data, **at = &u->s->uplinks;
	struct server *s = u->s;
	struct sent_blob *b, *next;

	(void)ws;
	while (*at && *at != u)
		at = &(*at)->next;
	if (*at)
		*at = u->next;
	stream_set_free(u->streams);
	HASH_ITER (hh, u->blobs, b, next) {
		HASH_DEL(u->blobs, b);
		free(b);
	}
	if (u->node) {
		struct event e = {.kind = EVENT_NODE_DOWN, .name = u->name};
		log_warn("node.down", "node=%s text=\"%s\"", u->name,
		        why->kind ? why->text : "closed");
		server_apply_or_log(s, &e);
		server_arm_tick(s);
	}
	buf_done(&u->out);
	free(u);
}

static const struct net_ws_handlers handlers = {.on_message = on_message, .on_close = on_close};

bool links_accept(struct server *s, struct net_request *r, const struct caller *who)
{
	struct uplink *u = mem_zalloc(sizeof(*u));
	struct err err;

	u->s = s;
	u->out = BUF_INIT(LINK_OUT_MAX);
	u->is_local = net_request_peer(r)->is_unix;
	u->token = who->token;
	memcpy(u->only, who->node, sizeof(u->only));
	u->streams = stream_set_new(s, &u->out);
	if (net_request_accept_ws(r, "berth-link-1", &handlers, u, &u->ws, &err)) {
		net_request_fail(r, &err);
		stream_set_free(u->streams);
		free(u);
		return false;
	}
	u->next = s->uplinks;
	s->uplinks = u;
	return true;
}

void links_drop_token(struct server *s, uint64_t token, const char *why)
{
	for (struct uplink *u = s->uplinks; u; u = u->next)
		if (u->token == token)
			net_ws_close(u->ws, 4006, why);
}

void links_close_all(struct server *s)
{
	for (struct uplink *u = s->uplinks; u; u = u->next)
		net_ws_close(u->ws, 1001, "the server stops");
}

static void lose_node(struct server *s, const struct node *n)
{
	struct job *j;

	log_error("node.lost", "node=%s silent_ms=%lld", n->name,
	        (long long)(server_now(s).mono_ms - n->seen_mono_ms));
	while ((j = LIST_FIRST(&n->jobs)) != NULL) {
		struct event e = {.kind = EVENT_LOST,
		        .id = j->id,
		        .epoch = j->epoch,
		        .reason = REASON_NODE_LOST};
		server_apply_or_log(s, &e);
		if (LIST_FIRST(&n->jobs) == j)
			return;
	}
}

void links_check_silence(struct server *s)
{
	struct node *n;
	int64_t now = server_now(s).mono_ms;

	TAILQ_FOREACH (n, &s->world->nodes, link) {
		struct uplink *u = find_uplink(s, n->num);
		if (n->is_local || LIST_EMPTY(&n->jobs) ||
		        now - n->seen_mono_ms < s->world->policy.silence_ms)
			continue;
		if (u) {
			/* Closing takes a while; nothing is given to this node meanwhile. */
			struct event e = {.kind = EVENT_NODE_DOWN, .name = n->name};
			u->node = 0;
			net_ws_close(u->ws, 4005, "silent for too long");
			server_apply_or_log(s, &e);
		}
		lose_node(s, n);
	}
}
