/* The first message of an agent: who it is, and what runs there against what the store says. */
#include "server/links_priv.h"
#include "server/batch.h"
#include "server/removals.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/version.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static const struct link_attempt *find_reported(const struct link_hello *h, uint64_t epoch)
{
	for (uint32_t i = 0; i < h->n_attempts; i++)
		if (h->attempts[i].epoch == epoch)
			return &h->attempts[i];
	return NULL;
}

/* What the store says of this node against what the agent says: see the DESIGN of wire/link.h. */
static void reconcile(
        struct uplink *u, const struct node *n, const struct link_hello *h, bool rebooted)
{
	struct job **held = NULL;
	uint32_t n_held = 0, cap = 0;
	struct job *j;

	LIST_FOREACH (j, &n->jobs, on_node) {
		MEM_GROW(held, n_held, cap);
		held[n_held++] = j;
	}
	for (uint32_t i = 0; i < n_held; i++) {
		const struct link_attempt *a = find_reported(h, held[i]->epoch);
		const struct attempt *t = job_attempt(held[i]);
		struct effect again = {.kind = EFFECT_START,
		        .id = held[i]->id,
		        .node = n->num,
		        .epoch = held[i]->epoch};
		struct event lost = {
		        .kind = EVENT_LOST, .id = held[i]->id, .epoch = held[i]->epoch};
		bool stopping = held[i]->state == JOB_COMPLETING;
		if (!a && (rebooted || t->started_ms)) {
			lost.reason = rebooted ? REASON_REBOOTED : REASON_KEEPER_KILLED;
			server_apply_or_log(u->s, &lost);
			continue;
		}
		if (a && a->phase == LINK_LIVING && rebooted) {
			lost.reason = REASON_REBOOTED;
			server_apply_or_log(u->s, &lost);
			continue;
		}
		if (!a)
			effects_add(batch_effects(u->s), again);
		if (stopping) {
			again.kind = EFFECT_STOP;
			again.reason = held[i]->stop_reason;
			again.force = held[i]->stop_force;
			effects_add(batch_effects(u->s), again);
		}
	}
	free(held);
	for (uint32_t i = 0; i < h->n_attempts; i++) {
		const struct link_attempt *a = &h->attempts[i];
		j = world_find_job(u->s->world, a->id);
		/* Not before it is durable that this attempt was given away. */
		if (a->phase == LINK_LIVING && (!j || !job_attempt(j) || j->epoch != a->epoch))
			effects_add(batch_effects(u->s), (struct effect){.kind = EFFECT_STOP,
			                                         .id = a->id,
			                                         .node = n->num,
			                                         .epoch = a->epoch,
			                                         .reason = REASON_CANCELLED,
			                                         .force = true});
	}
}

/* Those that have their own; to be freed. */
static struct link_model *models_of(const struct conf *c, uint32_t *ret_n)
{
	static const enum link_mechanism mechanisms[] = {
	        [CONF_MODEL_MECHANISM_AUTO] = LINK_MECHANISM_AUTO,
	        [CONF_MODEL_MECHANISM_INTERPOSER] = LINK_MECHANISM_INTERPOSER,
	        [CONF_MODEL_MECHANISM_NONE] = LINK_MECHANISM_NONE,
	        [CONF_MODEL_MECHANISM_MPS] = LINK_MECHANISM_MPS,
	        [CONF_MODEL_MECHANISM_KERNEL] = LINK_MECHANISM_KERNEL,
	};
	struct link_model *v = mem_zalloc((c->gpu_models.n + 1) * sizeof(*v));
	uint32_t n = 0;

	for (size_t i = 0; i < c->gpu_models.n; i++) {
		struct conf_model *m = &c->gpu_models.v[i];

		if (m->mechanism != CONF_MODEL_MECHANISM_SAME)
			v[n++] = (struct link_model){
			        .model = m->name, .mechanism = mechanisms[m->mechanism]};
	}
	*ret_n = n;
	return v;
}

static void send_welcome(struct uplink *u)
{
	const struct conf *c = u->s->conf;
	uint32_t n_models;
	struct link_model *models = models_of(c, &n_models);

	link_put_welcome(
	        &u->out, &(struct link_welcome){.node = u->node,
	                         .heartbeat_ms = (uint32_t)c->agent_heartbeat_ms,
	                         .grace_ms = (uint64_t)c->job_grace_ms,
	                         .output_max = c->job_output_max_bytes,
	                         .start_burst = c->agent_start_burst,
	                         .watchdog = (uint32_t)c->gpu_watchdog,
	                         .max_processes = c->job_max_processes,
	                         .cap_cpus = c->job_cpu_limit == CONF_CPU_CAP,
	                         .io_weight = c->job_io_weight,
	                         .group_parent = c->cgroup_parent,
	                         .mechanism = (enum link_mechanism)c->gpu_mechanism,
	                         .cap_compute = c->gpu_compute_limit == CONF_GPU_COMPUTE_CAP,
	                         .models = models,
	                         .n_models = n_models,
	                         .server_program = (char *)(uintptr_t)berth_version});
	free(models);
}

/* An agent of the same name that is connected already is the older one: its link is closed. */
static void replace_older(struct uplink *u)
{
	for (struct uplink *o = u->s->uplinks; o; o = o->next)
		if (o != u && o->node == u->node) {
			o->node = 0;
			net_ws_close(o->ws, 4000, "replaced by a newer link");
			return;
		}
}

/* As it is stored: whoever reads the store cannot be the node. "" for none. */
static void hash_key(const char *key, char out[65])
{
	uint8_t hash[32];

	out[0] = '\0';
	if (!key)
		return;
	auth_token_hash(key, hash);
	num_format_hex(hash, sizeof(hash), out);
}

static bool is_its_key(const struct node *known, const char *key)
{
	char hash[65];

	hash_key(key, hash);
	return !known->key_hash[0] ||
	       (hash[0] && sodium_memcmp(hash, known->key_hash, sizeof(hash)) == 0);
}

/*
 * A node is its token's, or whose key it joined with, or of whoever is connected as it; the server's own is joined over the
 * socket only. A token with its name is an administrator's word, and comes before the key: it is how a node that lost its
 * directory comes back.
 */
static const char *why_not(
        const struct uplink *u, const char *name, const char *key, const struct node *known)
{
	if (!node_is_name(name))
		return "that cannot be the name of a node";
	if (u->only[0] && strcmp(u->only, name) != 0)
		return "this token is another node's";
	if (!known || u->is_local)
		return NULL;
	if (known->is_local && (!u->only[0] || links_has_node(u->s, known->num)))
		return "the server's own machine is called so";
	if (!u->only[0] && !is_its_key(known, key))
		return "a node of that name has another key; a token with its name replaces it";
	for (const struct uplink *o = u->s->uplinks; o; o = o->next)
		if (o->node == known->num && o->token != u->token && !u->only[0])
			return "a node of that name is connected with another token";
	return NULL;
}

void links__hello(struct uplink *u, const struct link_hello *h)
{
	struct server *s = u->s;
	const struct node *known = h->name ? world_find_node(s->world, h->name) : NULL;
	struct node n = {.is_local = u->is_local, .cpus = h->cpus, .mem_bytes = h->mem_bytes};
	struct event e = {.kind = EVENT_NODE_UP,
	        .node = &n,
	        .devices = h->devices,
	        .n_devices = h->n_devices};
	struct applied out;
	struct err err;
	const char *refused;
	bool rebooted;

	if (h->version != LINK_VERSION || !h->name || !h->boot_id ||
	        strlen(h->name) >= sizeof(n.name)) {
		log_error("link.hello", "node=\"%s\" text=\"speaks version %u, not %u\"",
		        h->name ? h->name : "", h->version, LINK_VERSION);
		net_ws_close(u->ws, 4001, "another version of the link");
		return;
	}
	refused = why_not(u, h->name, h->key, known);
	if (refused) {
		log_error("link.hello", "node=\"%.64s\" text=\"%s\"", h->name, refused);
		net_ws_close(u->ws, 4006, refused);
		return;
	}
	memcpy(n.name, h->name, strlen(h->name));
	memcpy(n.boot_id, h->boot_id, MIN(strlen(h->boot_id), sizeof(n.boot_id) - 1));
	if (!u->is_local)
		hash_key(h->key, n.key_hash);
	rebooted = known && known->boot_id[0] && strcmp(known->boot_id, n.boot_id) != 0;
	n.mem_bytes -= MIN(n.mem_bytes, s->conf->agent_withhold_mem_bytes);
	if (server_apply(s, &e, &out, &err)) {
		log_error("link.hello", "node=\"%s\" text=\"%s\"", n.name, err.text);
		net_ws_close(u->ws, 4002, err.text);
		return;
	}
	u->node = out.num;
	memcpy(u->name, n.name, sizeof(u->name));
	replace_older(u);
	batch_add_node(s, u->node);
	log_info("node.up", "node=%s devices=%u attempts=%u%s", n.name, h->n_devices, h->n_attempts,
	        rebooted ? " rebooted=1" : "");
	send_welcome(u);
	reconcile(u, world_find_node_num(s->world, u->node), h, rebooted);
	removals_next(s, u->node);
	if (s->shutting_down && u->is_local)
		links_shutdown_local(s);
}
