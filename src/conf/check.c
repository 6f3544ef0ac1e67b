/* Settings that depend on each other, or are more than their type says. */
#include "conf/conf.h"
#include "base/text.h"

#include <string.h>

static int check_accounts(const struct conf *c, struct err *err)
{
	if (strcmp(c->server_job_user, "root") == 0 || strcmp(c->server_job_user, "0") == 0)
		return err_set(err, ERR_INVALID,
		        "server.job_user is root: only root itself may run jobs as root");
	if (strcmp(c->server_job_user, c->server_user) == 0)
		return err_set(err, ERR_INVALID,
		        "server.job_user and server.user are both '%.64s': jobs could end the server",
		        c->server_user);
	return 0;
}

/* Commas stand between them where they are all written in a row. */
static int check_queue_nodes(const struct conf_queue *q, struct err *err)
{
	size_t bytes = 0;

	for (size_t i = 0; i < q->nodes.n; i++) {
		const char *v = q->nodes.v[i];
		bytes += strlen(v) + 1;
		if (!v[v[0] == '@'] || strchr(v, ','))
			return err_set(err, ERR_INVALID,
			        "queues.%s.nodes: '%.60s' is neither a pattern of names nor @LABEL",
			        q->name, v);
	}
	return bytes <= CONF_NODES_MAX
	               ? 0
	               : err_set(err, ERR_INVALID, "queues.%s.nodes: more than %d bytes in all",
	                         q->name, CONF_NODES_MAX);
}

int conf_queue_check(const struct conf_queue *q, struct err *err)
{
	if (q->time_limit_ms && q->default_time_ms > q->time_limit_ms)
		return err_set(err, ERR_INVALID,
		        "queues.%s: default_time is longer than time_limit", q->name);
	return check_queue_nodes(q, err);
}

static int check_labels(const struct conf *c, struct err *err)
{
	for (size_t i = 0; i < c->node_labels.n; i++) {
		const char *v = c->node_labels.v[i], *colon = strchr(v, ':');
		if (!colon || colon == v || !text_is_label(colon + 1))
			return err_set(err, ERR_INVALID,
			        "node.labels: '%.60s' is not PATTERN:LABEL, where a label is a word or WORD=WORD",
			        v);
	}
	return 0;
}

int conf_check(const struct conf *c, struct err *err)
{
	int rc = check_accounts(c, err);

	if (rc == 0)
		rc = check_labels(c, err);
	if (rc < 0)
		return rc;
	if (!*c->server_tls_cert != !*c->server_tls_key)
		return err_set(err, ERR_INVALID,
		        "server.tls_cert and server.tls_key go together: %s is empty",
		        *c->server_tls_cert ? "server.tls_key" : "server.tls_cert");
	if (c->agent_heartbeat_ms * 2 > c->agent_silence_ms)
		return err_set(err, ERR_INVALID,
		        "agent.heartbeat is more than half of agent.silence: one late beat would lose a node");
	if (c->job_retry_backoff_ms > c->job_retry_backoff_max_ms)
		return err_set(
		        err, ERR_INVALID, "job.retry_backoff is longer than job.retry_backoff_max");
	for (size_t i = 0; i < c->queues.n && rc == 0; i++)
		rc = conf_queue_check(&c->queues.v[i], err);
	return rc;
}
