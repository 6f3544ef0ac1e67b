#include "server/server.h"
#include "server/api.h"
#include "server/batch.h"
#include "server/calibrator.h"
#include "server/door.h"
#include "server/guard.h"
#include "server/kept.h"
#include "server/links.h"
#include "server/prune.h"
#include "server/recorder.h"
#include "server/removals.h"
#include "server/settings.h"
#include "server/watch.h"
#include "base/mem.h"
#include "base/num.h"
#include "plat/clock.h"
#include "plat/fs.h"

#include <limits.h>
#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STORE_QUEUE_MAX 64 /* jobs of the store thread at once: one batch, and reads */
#define TICK_MS         1000
#define PATIENCE_MS     5000
#define ANSWER_MS       10000
/* For who administers, when everybody else has taken all others. */
#define RESERVED_CONNECTIONS 16
#define LEAD_TRIES \
	100 /* a server that was just killed may hold its lock a moment longer than its name */
#define LEAD_WAIT_MS  20
#define CLOCK_SLEW_MS 2000 /* less is not worth a word */

struct now server_now(const struct server *s)
{
	(void)s;
	return (struct now){.wall_ms = clock_wall_ms(), .mono_ms = (int64_t)clock_mono_ms()};
}

/*
 * What ages, waits and limits go by is the monotonic clock; of the wall clock only what is written down. When that is set while
 * jobs wait for a retry, they wait as long as before; and a clock that was set far forward is doubted for a day before anything
 * is pruned by it.
 */
static void check_clock(struct server *s, struct now now)
{
	int64_t offset_ms = now.wall_ms - now.mono_ms, shift_ms = offset_ms - s->clock_offset_ms;
	struct event e = {.kind = EVENT_TICK, .shift_ms = shift_ms};
	struct applied out;
	struct err ignored;

	if (shift_ms > -CLOCK_SLEW_MS && shift_ms < CLOCK_SLEW_MS)
		return;
	s->clock_offset_ms = offset_ms;
	log_warn("clock.set", "by_ms=%lld", (long long)shift_ms);
	if (shift_ms > PRUNE_INTERVAL_MS)
		s->prune_after_ms = now.mono_ms + PRUNE_DOUBT_MS;
	(void)recorder_event(s->recorder, now.wall_ms, &e, s->world);
	(void)!core_apply(s->world, &e, now, batch_effects(s), &out, &ignored);
}

int server_apply(
        struct server *s, const struct event *e, struct applied *ret_applied, struct err *err)
{
	struct now now = server_now(s);
	size_t mark;
	int rc;

	check_clock(s, now);
	mark = recorder_event(s->recorder, now.wall_ms, e, s->world);
	rc = core_apply(s->world, e, now, batch_effects(s), ret_applied, err);
	if (rc)
		recorder_take_back(s->recorder, mark);
	return rc;
}

void server_apply_or_log(struct server *s, const struct event *e)
{
	struct applied out;
	struct err err;

	if (server_apply(s, e, &out, &err))
		log_warn("event", "kind=%d job=%llu text=\"%s\"", (int)e->kind,
		        (unsigned long long)e->id.num, err.text);
}

bool server_is_stuck(const struct server *s, struct err *err)
{
	if (s->store_trouble == ERR_NONE && !s->store_is_slow)
		return false;
	if (s->store_trouble == ERR_NONE)
		(void)!err_set(err, ERR_UNAVAILABLE,
		        "nothing can be kept now: the disk has not answered for %llu s",
		        (unsigned long long)(s->patience_ms + 999) / 1000);
	else
		(void)!err_set(err,
		        s->store_trouble == ERR_NO_SPACE ? ERR_NO_SPACE : ERR_UNAVAILABLE,
		        "nothing can be kept now: %s", s->store_trouble_text);
	(void)!err_hint(err, "it is tried again all the time; see: berth doctor");
	return true;
}

static void stop_now(struct server *s, void *data)
{
	(void)data;
	s->stopped = true;
	loop_stop(s->loop);
}

void server_stop(struct server *s)
{
	s->stop_asked = true;
	if (s->store_trouble != ERR_NONE)
		stop_now(s, NULL);
	else
		batch_after(s, stop_now, NULL);
}

static void on_tick(void *data)
{
	struct server *s = data;

	server_apply_or_log(s, &(struct event){.kind = EVENT_TICK});
	if (sched_next_ms(s->sched) <= server_now(s).wall_ms)
		s->world->plan_wanted = true;
	links_check_silence(s);
	server_arm_tick(s);
}

/* Ticks only while there is something that time can change: waiting for a back-off, or remote nodes with work. */
void server_arm_tick(struct server *s)
{
	int64_t due = MIN(world_next_tick(s->world), sched_next_ms(s->sched)), in_ms = TICK_MS;
	const struct node *n;
	bool watching = false;

	if (!s->tick_timer) /* links close after it went */
		return;
	TAILQ_FOREACH (n, &s->world->nodes, link)
		watching = watching || (!n->is_local && !LIST_EMPTY(&n->jobs));
	if (due == INT64_MAX && !watching) {
		loop_timer_stop(s->tick_timer);
		return;
	}
	if (due != INT64_MAX)
		in_ms = MIN(MAX(due - server_now(s).wall_ms, 1), TICK_MS);
	loop_timer_start(s->tick_timer, (uint64_t)in_ms, 0);
}

static void arm_at_turn_end(void *data)
{
	struct server *s = data;

	if (!loop_timer_is_running(s->tick_timer))
		server_arm_tick(s);
}

/* "PATTERN:LABEL", as conf_check() has seen them. */
static struct policy_label *labels_of(const struct conf_list *list)
{
	struct policy_label *v = mem_zalloc((list->n + 1) * sizeof(*v));

	for (size_t i = 0; i < list->n; i++) {
		const char *colon = strchr(list->v[i], ':');
		snprintf(v[i].node, sizeof(v[i].node), "%.*s", (int)(colon - list->v[i]),
		        list->v[i]);
		snprintf(v[i].label, sizeof(v[i].label), "%s", colon + 1);
	}
	return v;
}

static struct policy policy_of(const struct conf *c)
{
	struct policy p = {.fgpu_per_device = c->gpu_fgpu_per_device,
	        .n_models = (uint32_t)c->gpu_models.n,
	        .n_labels = (uint32_t)c->node_labels.n,
	        .backoff_min_ms = c->job_retry_backoff_ms,
	        .backoff_max_ms = c->job_retry_backoff_max_ms,
	        .silence_ms = c->agent_silence_ms,
	        .keep_ended = c->server_keep_ended};

	p.labels = labels_of(&c->node_labels);
	p.models = mem_zalloc(c->gpu_models.n * sizeof(*p.models));
	for (size_t i = 0; i < c->gpu_models.n; i++) {
		memcpy(p.models[i].model, c->gpu_models.v[i].name, sizeof(p.models[i].model) - 1);
		p.models[i].fgpu_per_device = c->gpu_models.v[i].fgpu_per_device;
	}
	return p;
}

static int open_store(struct server *s, struct err *err)
{
	const struct timespec wait = {.tv_nsec = LEAD_WAIT_MS * 1000000};
	char url[4200];
	int rc;

	snprintf(url, sizeof(url), "sqlite:%s/berth.db", s->data_dir);
	rc = store_open(url, &s->store, err);
	if (rc == 0)
		rc = store_lead(s->store, &s->store_epoch, err);
	for (int i = 0; s->store && rc == -(int)ERR_CONFLICT && i < LEAD_TRIES; i++) {
		nanosleep(&wait, NULL);
		rc = store_lead(s->store, &s->store_epoch, err);
	}
	if (s->store && rc == -(int)ERR_NO_SPACE && store_reserve_release(s->store, err) == 0)
		rc = store_lead(s->store, &s->store_epoch, err);
	if (rc)
		return rc;
	s->seq = store_last_seq(s->store);
	if (store_reserve_make(s->store, err)) {
		log_warn("store.reserve", "text=\"%s\"", err->text);
		s->reserve_is_out = true;
	}
	return 0;
}

static bool is_loopback(const char *host)
{
	return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
	       strcmp(host, "localhost") == 0;
}

/* "HOST:PORT" or "[V6]:PORT". */
static int split_address(
        const char *text, char *host, size_t size, uint16_t *ret_port, struct err *err)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	uint64_t port;

	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	if (n == 0 || n >= size || num_parse_u64(colon + 1, 65535, &port, err))
		return err_set(err, ERR_INVALID, "'%.100s' is not HOST:PORT", text);
	memcpy(host, text, n);
	host[n] = '\0';
	*ret_port = (uint16_t)port;
	return 0;
}

static int tls_files(struct server *s, char *cert, char *key, size_t size, struct err *err)
{
	char dir[4200], name[256] = "localhost";
	const char *names[] = {"localhost", "127.0.0.1", "::1", name};
	int rc;

	if (s->conf->server_tls_cert[0]) {
		snprintf(cert, size, "%s", s->conf->server_tls_cert);
		snprintf(key, size, "%s", s->conf->server_tls_key);
		return 0;
	}
	snprintf(dir, sizeof(dir), "%s/tls", s->data_dir);
	snprintf(cert, size, "%s/tls/cert.pem", s->data_dir);
	snprintf(key, size, "%s/tls/key.pem", s->data_dir);
	if (access(cert, R_OK) == 0 && access(key, R_OK) == 0)
		return 0;
	(void)!gethostname(name, sizeof(name) - 1);
	rc = fs_mkdir_p(dir, 0700, err);
	return rc ? rc : net_make_certificate(cert, key, names, ARRAY_LEN(names), err);
}

static int listen_tcp(struct server *s, struct err *err)
{
	char host[256], cert[4200], key[4200];
	struct net_tcp_options o = {.host = host, .cert_path = cert, .key_path = key};
	int rc = split_address(s->conf->server_listen, host, sizeof(host), &o.port, err);

	if (rc == 0)
		rc = tls_files(s, cert, key, sizeof(cert), err);
	if (rc == 0)
		rc = guard_new(s->conf, host, cert, &s->guard, err);
	if (rc)
		return rc;
	o.needs_tls_1_3 = s->conf->server_tls_min == CONF_TLS_1_3;
	o.plain = is_loopback(host) || s->conf->server_insecure;
	rc = net_server_listen_tcp(s->net, &o, err);
	if (rc == 0)
		rc = net_certificate_pin(cert, s->tls_pin, err);
	if (rc)
		return rc;
	s->listen = mem_zalloc(strlen(host) + 16);
	snprintf(s->listen, strlen(host) + 16, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
	        net_server_port(s->net));
	log_info("listen", "address=%s tls=1 plain=%d pin=%s", s->listen, (int)o.plain, s->tls_pin);
	return 0;
}

static int listen_all(struct server *s, struct err *err)
{
	static const struct net_handlers handlers = {.on_request = api_on_request};
	const struct conf *c = s->conf;
	struct net_limits limits = {.body_bytes = c->server_max_body_bytes,
	        .head_bytes = c->server_max_head_bytes,
	        .connections = c->server_max_connections,
	        .connections_per_peer = c->server_max_connections_per_peer,
	        .reserve = RESERVED_CONNECTIONS,
	        .head_ms = (unsigned)c->server_head_timeout_ms,
	        .body_ms = (unsigned)c->server_body_timeout_ms,
	        .idle_ms = (unsigned)c->server_idle_timeout_ms,
	        .stall_ms = (unsigned)c->server_stall_timeout_ms};
	bool by_helper = s->is_root_install && geteuid() != 0;
	char path[4200];
	uint32_t gid;
	int rc = door_find_group(c->socket_group, &gid, err);

	if (rc == 0)
		rc = net_server_new(s->loop, &limits, &handlers, s, &s->net, err);
	snprintf(path, sizeof(path), "%s/berth.sock", s->data_dir);
	if (rc == 0)
		rc = net_server_listen_unix(
		        s->net, path, c->socket_mode, by_helper ? UINT32_MAX : gid, err);
	if (rc == 0 && by_helper && gid != UINT32_MAX)
		rc = door_ask_helper(s->data_dir, gid, err);
	if (rc == 0)
		rc = c->server_listen[0] ? listen_tcp(s, err)
		                         : guard_new(c, NULL, NULL, &s->guard, err);
	return rc;
}

static int open_recorder(struct server *s, struct err *err)
{
	const char *name = s->conf->server_record;
	char path[PATH_MAX];

	if (!name[0])
		return 0;
	snprintf(path, sizeof(path), "%s%s%s", name[0] == '/' ? "" : s->data_dir,
	        name[0] == '/' ? "" : "/", name);
	return recorder_open(path, s->world, server_now(s).wall_ms, conf_policy_name(s->conf),
	        &s->recorder, err);
}

static int open_world(struct server *s, struct err *err)
{
	struct policy policy = policy_of(s->conf);
	int rc;

	s->world = world_new(&policy);
	s->sched = sched_new(conf_policy_name(s->conf));
	watch_init(s);
	removals_init(s);
	batch_init(s);
	s->retry_timer = loop_timer_new(s->loop, batch_retry, s);
	s->pace_timer = loop_timer_new(s->loop, batch_pace, s);
	s->tick_timer = loop_timer_new(s->loop, on_tick, s);
	s->patience_timer = loop_timer_new(s->loop, batch_is_late, s);
	s->patience_ms = PATIENCE_MS;
	s->answer_ms = ANSWER_MS;
	s->prune_timer = loop_timer_new(s->loop, prune_begin, s);
	s->expiry_timer = loop_timer_new(s->loop, expiry_look, s);
	rc = open_store(s, err);
	if (rc == 0)
		rc = server_load(s, err);
	if (rc == 0)
		rc = open_recorder(s, err);
	if (rc == 0)
		rc = worker_new(s->loop, "store", STORE_QUEUE_MAX, &s->worker, err);
	return rc;
}

int server_open(const char *data_dir, const char *config_path, const char *listen, bool insecure,
        bool has_helper, struct server **ret_server, struct err *err)
{
	struct server *s = mem_zalloc(sizeof(*s));
	int rc;

	s->data_dir = mem_strdup(data_dir);
	s->config_path = mem_strdup(config_path);
	s->owner_uid = geteuid();
	s->is_root_install = geteuid() == 0 || has_helper;
	s->started_ms = clock_wall_ms();
	s->clock_offset_ms = s->started_ms - (int64_t)clock_mono_ms();
	rc = settings_load(
	        &(struct settings_source){data_dir, config_path, listen, insecure}, &s->conf, err);
	if (rc == 0)
		log_init((enum log_level)s->conf->log_level);
	if (rc == 0)
		rc = loop_new(&s->loop, err);
	if (rc == 0)
		rc = open_world(s, err);
	if (rc == 0)
		rc = listen_all(s, err);
	if (rc) {
		server_close(s);
		return rc;
	}
	loop_on_turn_end(s->loop, arm_at_turn_end, s);
	loop_on_turn_end(s->loop, batch_turn_end, s);
	loop_timer_start(s->prune_timer, 60 * 1000, 0);
	expiry_look(s);
	*ret_server = s;
	return 0;
}

void server_close(struct server *s)
{
	if (!s)
		return;
	calibrator_cancel(s);
	if (s->net) {
		links_close_all(s);
		net_server_close(s->net);
		s->stopped = true;
		loop_off_turn_end(s->loop, batch_turn_end, s);
		loop_off_turn_end(s->loop, arm_at_turn_end, s);
		loop_timer_free(STEAL(s->prune_timer));
		loop_timer_free(STEAL(s->expiry_timer));
		loop_timer_free(STEAL(s->tick_timer));
		loop_timer_free(STEAL(s->retry_timer));
		loop_timer_free(STEAL(s->pace_timer));
		loop_timer_free(STEAL(s->patience_timer));
		loop_run(s->loop);
	}
	worker_free(s->worker);
	worker_free(s->reader);
	calibrator_free(s);
	kept_forget(s);
	loop_timer_free(s->retry_timer);
	loop_timer_free(s->pace_timer);
	loop_timer_free(s->patience_timer);
	loop_timer_free(s->tick_timer);
	loop_timer_free(s->prune_timer);
	loop_timer_free(s->expiry_timer);
	watch_done(s);
	prune_free(s);
	removals_free(s);
	batch_done(s);
	store_close(s->store);
	if (s->world) {
		free(s->world->policy.models);
		free(s->world->policy.labels);
	}
	recorder_close(s->recorder);
	sched_free(s->sched);
	world_free(s->world);
	loop_free(s->loop);
	guard_free(s->guard);
	conf_free(s->conf);
	free(s->listen);
	free(s->config_path);
	free(s->data_dir);
	free(s);
}
