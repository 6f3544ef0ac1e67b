#include "server/submit.h"
#include "server/batch.h"
#include "server/queues.h"
#include "server/view.h"
#include "base/num.h"
#include "wire/job_json.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>

#define ENV_MAX (2 * MIB)

static void add_pair(struct buf *b, const char *name, const char *value)
{
	buf_add_str(b, name);
	buf_add_byte(b, '=');
	buf_add(b, value, strlen(value) + 1);
}

/* One environment per content: the same bytes are kept once. */
static int keep_blob(struct server *s, const struct buf *b, uint64_t *ret_num, struct err *err)
{
	struct event e = {.kind = EVENT_BLOB, .data = b->data, .len = b->len};
	struct blob *known;
	struct applied out;
	int rc;

	if (b->overflow)
		return err_set(err, ERR_TOO_LARGE, "the environment is larger than 2 MiB");
	if (b->len == 0) {
		*ret_num = 0;
		return 0;
	}
	crypto_generichash(e.hash, 16, b->data, b->len, NULL, 0);
	known = world_find_blob(s->world, e.hash);
	*ret_num = known ? known->num : 0;
	if (!known) {
		rc = server_apply(s, &e, &out, err);
		if (rc)
			return rc;
		*ret_num = out.num;
	}
	batch_use_blob(s, *ret_num);
	return 0;
}

static void add_object(struct buf *b, json_t *env, const struct conf *filter)
{
	const char *name;
	json_t *value;

	json_object_foreach(env, name,
	        value) if (json_is_string(value) && !(filter && conf_excludes_env(filter, name)))
	        add_pair(b, name, json_string_value(value));
}

int submit_keep_env(struct server *s, json_t *env, uint64_t *ret_num, struct err *err)
{
	CLEANUP_BUF struct buf b = BUF_INIT(ENV_MAX);
	int rc = batch_check_room(s, err);

	if (rc)
		return rc;
	if (!json_is_object(env))
		return err_set(err, ERR_INVALID, "'environment' must be an object of strings");
	add_object(&b, env, s->conf);
	return keep_blob(s, &b, ret_num, err);
}

/*
 * Its name follows from its content, so whoever names it has it already: numbers could be guessed, and a job of one's own
 * would show what another account sent. The empty one has no content to keep.
 */
void submit_name_env(const struct server *s, uint64_t num, char out[SUBMIT_ENV_NAME])
{
	const struct blob *b = num ? world_find_blob_num(s->world, num) : NULL;
	uint8_t none[sizeof(b->hash)] = {0};

	out[0] = 'e';
	num_format_hex(b ? b->hash : none, sizeof(none), out + 1);
}

static bool is_hex(const char *s, size_t len)
{
	return strlen(s) == len && strspn(s, "0123456789abcdef") == len;
}

static uint8_t hex_digit(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* *ret_num: 0 for the empty one. */
static int find_env(const struct server *s, const char *name, uint64_t *ret_num, struct err *err)
{
	uint8_t hash[SUBMIT_ENV_NAME / 2 - 1], any = 0;
	const struct blob *b = NULL;
	bool is_name = name[0] == 'e' && is_hex(name + 1, 2 * sizeof(hash));

	for (size_t i = 0; is_name && i < sizeof(hash); i++) {
		hash[i] = (uint8_t)(hex_digit(name[1 + 2 * i]) << 4 | hex_digit(name[2 + 2 * i]));
		any |= hash[i];
	}
	if (is_name && any)
		b = world_find_blob(s->world, hash);
	if (!is_name || (any && !b))
		return err_set(err, ERR_NOT_FOUND, "environment '%.40s' is not known", name);
	*ret_num = b ? b->num : 0;
	return 0;
}

/* What is taken along, without what is set for this job. */
static int add_taken(struct server *s, const struct job_spec *spec, struct buf *b, struct err *err)
{
	const struct blob *base;
	uint64_t num;
	const char *p, *end;
	int rc;

	if (spec->taken_env) {
		const char *name;
		json_t *value;
		json_object_foreach(
		        spec->taken_env, name, value) if (!conf_excludes_env(s->conf, name) &&
		                                          !json_object_get(spec->env, name))
		        add_pair(b, name, json_string_value(value));
		return 0;
	}
	if (!spec->environment)
		return 0;
	rc = find_env(s, spec->environment, &num, err);
	base = rc < 0 || !num ? NULL : world_find_blob_num(s->world, num);
	if (!base)
		return rc;
	p = (const char *)base->data;
	end = p + base->len;
	while (p < end) {
		size_t n = strnlen(p, (size_t)(end - p));
		char name[256];
		size_t k = MIN(strcspn(p, "="), sizeof(name) - 1);
		memcpy(name, p, k);
		name[k] = '\0';
		if (!json_object_get(spec->env, name))
			buf_add(b, p, n + 1);
		p += n + 1;
	}
	return 0;
}

static int fill_env(struct server *s, struct job_spec *spec, struct err *err)
{
	CLEANUP_BUF struct buf b = BUF_INIT(ENV_MAX);
	struct err why;
	uint64_t num;
	int rc;

	/* An environment kept before and nothing beside it: that one. */
	if (spec->environment && !spec->env && find_env(s, spec->environment, &num, &why) == 0 &&
	        num) {
		spec->request.env_blob = num;
		batch_use_blob(s, num);
		return 0;
	}
	rc = add_taken(s, spec, &b, err);
	if (rc)
		return rc;
	add_object(&b, spec->env, NULL);
	return keep_blob(s, &b, &spec->request.env_blob, err);
}

/* As whom it runs. Root's own account only for root over the socket. */
static int fill_account(const struct server *s, const struct caller *who, struct job_spec *spec,
        void *ctx, struct err *err)
{
	struct request *r = &spec->request;
	const char *user = spec->user ? spec->user : who->account;
	int rc = auth_uid_of_account(user, &r->uid, &r->gid, err);

	if (rc)
		return rc;
	if (spec->user && strcmp(spec->user, who->account) != 0 &&
	        !(who->over_socket && who->uid == 0))
		return err_set(err, ERR_FORBIDDEN,
		        "jobs of '%s' run as '%s'; only root may name another account", who->name,
		        who->account);
	if (!s->is_root_install && r->uid != s->owner_uid)
		return err_set(err, ERR_FORBIDDEN,
		        "this Berth was not started by root and runs jobs only as its own account");
	if (r->uid == 0 && s->is_root_install && !(who->over_socket && who->uid == 0))
		return err_set(err, ERR_FORBIDDEN,
		        "only root itself may run jobs as root, over the socket");
	r->user = talloc_strdup(ctx, user);
	return 0;
}

/* Where the queue says who may: the account that the job runs as, by its name or a group of it. */
static int check_user(
        const struct server *s, const struct queue *q, const struct request *r, struct err *err)
{
	CLEANUP(conf_queue_freep) struct conf_queue *made = NULL;
	const struct conf_queue *c = queues_find(s->conf, q, &made);
	int rc;

	if (!c || c->users.n == 0 || auth_is_among(&c->users, r->user, r->gid))
		return 0;
	rc = err_set(err, ERR_FORBIDDEN, "queue '%s' takes no jobs of '%s'", q->name, r->user);
	return rc ? err_hint(err, "queues.%s.users says whose; berth queues -o wide shows it",
	                    q->name)
	          : rc;
}

/* What the queue asks of every job of it. */
static int check_queue(const struct server *s, const struct request *r, struct err *err)
{
	const struct queue *q = world_find_queue(s->world, r->queue);
	char limit[32];
	int rc = check_user(s, q, r, err);

	if (rc)
		return rc;
	if (q->time_limit_ms && (r->time_limit_ms == 0 || r->time_limit_ms > q->time_limit_ms))
		return err_set(err, ERR_LIMIT, "queue '%s' allows at most %s for a job", q->name,
		        num_format_duration(q->time_limit_ms / 1000, limit));
	if (q->max_gpus && r->gpu.count > q->max_gpus)
		return err_set(err, ERR_LIMIT, "queue '%s' gives its jobs at most %u GPUs together",
		        q->name, q->max_gpus);
	return 0;
}

int submit_check_waiting(
        const struct server *s, const struct request *r, uint64_t more, struct err *err)
{
	const struct queue *q = world_find_queue(s->world, r->queue);
	int rc;

	if (!q->max_waiting || q->n_waiting + more <= q->max_waiting)
		return 0;
	rc = err_set(err, ERR_LIMIT, "%llu jobs wait in queue '%s', which takes at most %u",
	        (unsigned long long)q->n_waiting, q->name, q->max_waiting);
	return rc ? err_hint(err, "submit again when some have started, or use another queue") : rc;
}

static int fill_queue(const struct server *s, struct job_spec *spec, void *ctx, struct err *err)
{
	struct request *r = &spec->request;
	const struct queue *q;

	if (!r->queue)
		r->queue = talloc_strdup(ctx, "default");
	q = world_find_queue(s->world, r->queue);
	if (!q || !q->configured) {
		int rc = err_set(err, ERR_NOT_FOUND, "queue '%.60s' does not exist", r->queue);
		return rc ? err_hint(err, "see what there is: berth queues") : rc;
	}
	if (spec->from_queue & BY_QUEUE_CPUS)
		r->cpus = q->default_cpus;
	if (spec->from_queue & BY_QUEUE_RETRY)
		r->retry_max = r->no_retry ? 0 : q->default_retry;
	if (spec->from_queue & BY_QUEUE_TIME)
		r->time_limit_ms = q->default_time_ms ? q->default_time_ms : q->time_limit_ms;
	return 0;
}

/* fGPU of more than one device are whole devices; how many depends on what an fGPU is, which must then be one thing only. */
static int settle_fgpu(const struct server *s, struct gpu_ask *g, struct err *err)
{
	const struct node *n;
	uint32_t per = s->conf->gpu_fgpu_per_device, low = per, high = per;

	TAILQ_FOREACH (n, &s->world->nodes, link)
		for (uint32_t i = 0; i < n->n_devices; i++) {
			if (!device_matches(g, &n->devices[i]))
				continue;
			low = MIN(low, n->devices[i].fgpu_per_device);
			high = MAX(high, n->devices[i].fgpu_per_device);
		}
	if (g->fgpu_milli <= low * 1000) {
		if (low == high && g->fgpu_milli == low * 1000) {
			g->count = 1;
			g->fgpu_milli = 0;
		}
		return 0;
	}
	if (low != high)
		return err_set(err, ERR_INVALID,
		        "an fGPU is 1/%u to 1/%u of a device here, by its model; more than one device is asked for with --gpu",
		        high, low);
	if (g->fgpu_milli % (per * 1000))
		return err_set(err, ERR_INVALID,
		        "%u fGPU are one device; above it only whole devices are given", per);
	g->count = g->fgpu_milli / (per * 1000);
	g->fgpu_milli = 0;
	return 0;
}

/* What became of some ended tasks of the array is only in the store. */
static bool has_unknown_end(const struct job *array, enum dep_kind kind)
{
	uint64_t ended = 0;

	for (int s = 0; s < JOB_STATE_MAX; s++)
		if (job_state_is_final((enum job_state)s))
			ended += array->array->by_state[s];
	return kind != DEP_AFTER_ANY && ended != array->array->by_state[JOB_COMPLETED];
}

/* Each task of the request has its twin in the other array, and what became of it is known or to come. */
static int check_twins(const struct server *s, const struct request *r, const struct dep *d,
        const struct job *other, struct err *err)
{
	bool must_be_here = has_unknown_end(other, d->kind);
	struct job_id unknown = {0};

	for (uint64_t i = 0, n = request_n_tasks(r); i < n; i++) {
		struct job_id twin = {d->on.num, request_task_at(r, i)};
		uint64_t pos = request_task_pos(other->req, twin.task);
		if (pos == UINT64_MAX)
			return err_set(err, ERR_NOT_FOUND, "job %llu has no task %lld",
			        (unsigned long long)twin.num, (long long)twin.task);
		if (must_be_here && !unknown.num && array_is_apart(other->array, pos) &&
		        !world_find_job(s->world, twin))
			unknown = twin;
	}
	if (!unknown.num)
		return 0;
	return err_set(err, ERR_CONFLICT,
	        "how task %llu_%lld ended is not in memory any more; depend on the whole job",
	        (unsigned long long)unknown.num, (long long)unknown.task);
}

/* Every job that is depended on must exist; one that is only in the store is asked for. */
static int check_deps(
        const struct server *s, const struct request *r, struct job_id *ret_fetch, struct err *err)
{
	for (uint32_t i = 0; i < r->n_deps; i++) {
		struct job_id on = r->deps[i].on;
		const struct job *parent;
		if (world_find_job(s->world, on))
			continue;
		parent = on.task == TASK_NONE
		                 ? NULL
		                 : world_find_job(s->world, (struct job_id){on.num, TASK_NONE});
		if (parent && !parent->array)
			return err_set(err, ERR_INVALID, "job %llu is no array",
			        (unsigned long long)on.num);
		if (parent && on.task == TASK_SAME) {
			int rc = check_twins(s, r, &r->deps[i], parent, err);
			if (rc)
				return rc;
			continue;
		}
		if (parent && request_task_pos(parent->req, on.task) == UINT64_MAX)
			return err_set(err, ERR_NOT_FOUND, "job %llu has no task %lld",
			        (unsigned long long)on.num, (long long)on.task);
		if (parent &&
		        !array_is_apart(parent->array, request_task_pos(parent->req, on.task)))
			continue;
		*ret_fetch = on.task == TASK_SAME ? (struct job_id){on.num, TASK_NONE} : on;
		return 0;
	}
	return 0;
}

int submit_settle(struct server *s, struct job_spec *spec, void *ctx, struct err *err)
{
	struct request *r = &spec->request;
	int rc = fill_queue(s, spec, ctx, err);

	if (rc == 0 && code_set_any(&r->retry_on) && !r->retry_max)
		rc = err_set(err, ERR_INVALID,
		        "'retry_on' says after which codes; 'retry' must say how many times");
	if (rc == 0 && r->gpu.fgpu_milli)
		rc = settle_fgpu(s, &r->gpu, err);
	if (rc == 0)
		rc = check_queue(s, r, err);
	return rc ? rc : sched_check_possible(s->world, r, err);
}

/* What was asked for, by its words. What a client adds does not count: an environment differs from shell to shell, a grant each time. */
static uint64_t fingerprint(json_t *json)
{
	static const char *const apart[] = {"idempotency_key", "environment", "grant"};
	json_t *o = json_copy(json);
	uint8_t hash[16];
	uint64_t out;
	char *text;

	for (size_t i = 0; i < ARRAY_LEN(apart); i++)
		json_object_del(o, apart[i]);
	text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
	BUG_IF(!text);
	crypto_generichash(hash, sizeof(hash), (unsigned char *)text, strlen(text), NULL, 0);
	free(text);
	json_decref(o);
	memcpy(&out, hash, sizeof(out));
	return MAX(out, 1);
}

/* The job that the key made; none, and nothing to fetch: the key is new. */
static int find_repeat(const struct server *s, const struct request *r, bool was_fetched,
        struct submitted *ret, struct err *err)
{
	uint64_t num = world_find_idem(s->world, r->user, r->idempotency_key);
	struct job *j;
	int rc;

	if (!num) {
		if (s->world->keys_are_away && !was_fetched)
			ret->fetch_key = idem_text(r->user, r->idempotency_key);
		return 0;
	}
	j = world_find_job(s->world, (struct job_id){num, TASK_NONE});
	if (j->req->fingerprint && j->req->fingerprint != r->fingerprint) {
		rc = err_set(err, ERR_KEY_REUSED,
		        "idempotency key '%.80s' stands for job %llu, which was asked for in other words",
		        r->idempotency_key, (unsigned long long)num);
		return rc ? err_hint(err, "another job needs another key") : rc;
	}
	ret->job = j;
	ret->is_repeat = true;
	return 0;
}

static int submit_in(struct server *s, const struct caller *who, json_t *json,
        const struct submit_with *with, void *ctx, struct submitted *ret, struct err *err)
{
	struct job_spec spec;
	struct event e = {.kind = EVENT_SUBMIT, .actor = who->name};
	struct applied out;
	int rc;

	if (s->shutting_down)
		return err_set(err, ERR_UNAVAILABLE, "Berth is going down");
	rc = batch_check_room(s, err);
	if (rc == 0)
		rc = job_spec_from_json(json, ctx, &spec, err);
	if (rc == 0)
		rc = fill_account(s, who, &spec, ctx, err);
	if (rc == 0)
		rc = submit_settle(s, &spec, ctx, err);
	if (rc)
		return rc;
	if (!spec.request.idempotency_key && with->default_key)
		spec.request.idempotency_key = talloc_strdup(ctx, with->default_key);
	if (spec.dry_run) {
		ret->dry_run = view_dry_run(s, &spec.request);
		return 0;
	}
	if (spec.request.idempotency_key) {
		spec.request.fingerprint = fingerprint(json);
		rc = find_repeat(s, &spec.request, with->key_was_fetched, ret, err);
		if (rc || ret->job || ret->fetch_key)
			return rc;
	}
	/* Not asked of a job that is there already: it is one of those that wait. */
	rc = submit_check_waiting(s, &spec.request, MAX(request_n_tasks(&spec.request), 1), err);
	if (rc == 0)
		rc = check_deps(s, &spec.request, &ret->fetch, err);
	if (rc || ret->fetch.num)
		return rc;
	rc = fill_env(s, &spec, err);
	if (rc)
		return rc;
	e.request = &spec.request;
	rc = server_apply(s, &e, &out, err);
	if (rc)
		return rc;
	ret->job = out.job;
	batch_add_idem(s, out.job->req, out.job->id.num);
	return 0;
}

int submit_one(struct server *s, const struct caller *who, json_t *json,
        const struct submit_with *with, struct submitted *ret, struct err *err)
{
	void *ctx = talloc_new(NULL);
	int rc;

	*ret = (struct submitted){0};
	rc = submit_in(s, who, json, with, ctx, ret, err);
	talloc_free(ctx);
	return rc;
}

/* An attempt that no agent was told of ends as one that has not begun. */
static void end_untold(struct server *s, const struct job *j)
{
	const struct attempt_end end = {.reason = REASON_CANCELLED};
	struct event e = {.kind = EVENT_ENDED, .id = j->id, .epoch = j->epoch, .end = &end};

	if (!job_state_holds(j->state) || j->is_array)
		return;
	batch_drop_effects(s, j->epoch);
	server_apply_or_log(s, &e);
}

void submit_withdraw(struct server *s, struct job_id id, struct err *err)
{
	struct job *j = world_find_job(s->world, id), *t;
	struct event e = {.kind = EVENT_CANCEL, .id = id, .reason = REASON_WITHDRAWN};

	if (!j)
		return;
	if (!job_state_is_final(j->state)) {
		server_apply_or_log(s, &e);
		end_untold(s, j);
		for (t = j->is_array ? world_next_job(s->world, j) : NULL; t && t->id.num == id.num;
		        t = world_next_job(s->world, t))
			end_untold(s, t);
	}
	batch_remove_idem(s, j->req, id.num);
	(void)!err_wrap(err, "the job was withdrawn");
}
