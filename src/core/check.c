#include "core/check.h"
#include "core/world_priv.h"

#include <string.h>

static int broken(struct err *err, const struct job *j, const char *what)
{
	char id[48];

	return err_set(err, ERR_INTERNAL, "job %s: %s", job_id_format(j->id, id), what);
}

static int check_job(const struct job *j, struct err *err)
{
	bool holds = job_state_holds(j->state) && !j->is_array;

	if (holds != (j->node != NULL))
		return broken(err, j, "holds a node exactly while an attempt lives");
	if (holds && !job_attempt(j))
		return broken(err, j, "an attempt that lives has a record");
	if (holds && job_attempt(j)->epoch != j->epoch)
		return broken(err, j, "the epoch is the one of its last attempt");
	if (job_state_is_final(j->state) && (j->class || j->wait != WAIT_NONE))
		return broken(err, j, "an ended job waits for nothing");
	if (!job_state_is_final(j->state) && !j->class)
		return broken(err, j, "a living job has a class");
	if (j->wait == WAIT_READY && j->held)
		return broken(err, j, "a held job is not ready");
	for (uint32_t i = 1; i < j->n_attempts; i++)
		if (j->attempts[i].epoch <= j->attempts[i - 1].epoch)
			return broken(err, j, "epochs only grow");
	return 0;
}

static int check_array(const struct world *w, const struct job *parent, struct err *err)
{
	const struct array *a = parent->array;
	uint64_t counted = 0, living[JOB_STATE_MAX] = {0};
	const struct job *t;

	for (int s = 0; s < JOB_STATE_MAX; s++)
		counted += a->by_state[s];
	if (counted + array_unstarted(a) != a->n)
		return broken(err, parent, "every task of the array is counted once");
	for (t = world_next_job(w, parent); t && t->id.num == parent->id.num;
	        t = world_next_job(w, t))
		living[t->state]++;
	for (int s = 0; s < JOB_STATE_MAX; s++)
		if (!job_state_is_final((enum job_state)s) && living[s] != a->by_state[s])
			return broken(err, parent, "the counts of living tasks are theirs");
	if (job_state_is_final(parent->state) && array_running(a))
		return broken(err, parent, "an ended array has no running tasks");
	return 0;
}

/* The ledger: what jobs hold is what their node's sums say, and no sum is over what is there. */
static int check_node(const struct node *n, struct err *err)
{
	uint64_t bytes[NODE_DEVICES_MAX] = {0}, mem = 0;
	uint32_t milli[NODE_DEVICES_MAX] = {0}, cpus = 0;
	const struct job *j;

	if (n->n_devices > NODE_DEVICES_MAX)
		return err_set(err, ERR_INTERNAL, "node %s has too many devices", n->name);
	LIST_FOREACH (j, &n->jobs, on_node) {
		if (j->node != n)
			return broken(err, j, "is in the list of the node that it holds");
		for (uint32_t i = 0; i < j->n_slices; i++) {
			bytes[j->slices[i].device] += j->slices[i].mem_bytes;
			milli[j->slices[i].device] += j->slices[i].share_milli;
		}
		cpus += j->req->cpus;
		mem += j->req->mem_bytes;
	}
	for (uint32_t i = 0; i < n->n_devices; i++) {
		const struct device *d = &n->devices[i];
		if (bytes[i] != d->used_bytes || milli[i] != d->used_milli)
			return err_set(err, ERR_INTERNAL,
			        "the ledger of device %s is not the sum of its slices",
			        d->info.uuid);
		if (milli[i] > 1000 || bytes[i] > d->info.mem_bytes)
			return err_set(err, ERR_INTERNAL, "device %s is granted beyond what it has",
			        d->info.uuid);
	}
	if (cpus != n->n_cpus_used || mem != n->mem_used)
		return err_set(
		        err, ERR_INTERNAL, "the CPUs or memory of node %s do not add up", n->name);
	return 0;
}

int world_check(const struct world *w, struct err *err)
{
	const struct node *n;
	uint64_t living = 0, ended = 0;

	for (const struct job *j = world_next_job(w, NULL); j; j = world_next_job(w, j)) {
		int rc = check_job(j, err);
		if (rc == 0 && j->is_array)
			rc = check_array(w, j, err);
		if (rc)
			return rc;
		if (job_state_is_final(j->state))
			ended++;
		else if (j->id.task == TASK_NONE)
			living++;
	}
	if (living != w->n_living || ended != w->n_ended)
		return err_set(
		        err, ERR_INTERNAL, "the counts of living and ended jobs are not theirs");
	TAILQ_FOREACH (n, &w->nodes, link) {
		int rc = check_node(n, err);
		if (rc)
			return rc;
	}
	return 0;
}
