/*
 * Loading: what the store kept takes its place in all indexes. What one record says of itself is checked by its decoder
 * (job_check); here it is checked against the world that is there already, and a job that does not fit is refused as CORRUPT.
 */
#include "core/check.h"
#include "core/world_priv.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct blob *world_adopt_blob(struct world *w, uint64_t num, const uint8_t hash[16],
        int64_t used_ms, const void *data, size_t len)
{
	struct blob *b = mem_zalloc(sizeof(*b) + len);

	b->num = num;
	memcpy(b->hash, hash, sizeof(b->hash));
	b->used_ms = used_ms;
	b->len = len;
	if (len)
		memcpy(b->data, data, len);
	HASH_ADD(hh, w->blobs, hash, sizeof(b->hash), b);
	HASH_ADD(hh_num, w->blobs_by_num, num, sizeof(b->num), b);
	w->next_blob = MAX(w->next_blob, num + 1);
	return b;
}

static int damaged(struct err *err, const struct job *j, const char *what)
{
	char id[48];

	return err_set(err, ERR_CORRUPT, "job %s %s", job_id_format(j->id, id), what);
}

/* A stored job's slices name devices by UUID; here they find their places on the node again. */
static bool find_place(
        struct world *w, struct node *n, const struct slice_record *s, uint32_t *ret_place)
{
	struct device_info gone = {.mem_bytes = s->mem_bytes, .health = DEVICE_LOST};
	uint32_t k = 0;

	while (k < n->n_devices && strcmp(n->devices[k].info.uuid, s->device) != 0)
		k++;
	if (k == NODE_DEVICES_MAX)
		return false;
	if (k == n->n_devices) {
		memcpy(gone.uuid, s->device, sizeof(gone.uuid));
		node__set_device(w, n, k, &gone);
		n->devices[k].absent = true;
	}
	*ret_place = k;
	return true;
}

static bool is_cpu_bound_twice(const struct job *j, const struct node *n)
{
	for (size_t i = 0; j->cpus && i < ARRAY_LEN(n->cpus_used.bits); i++)
		if (j->cpus->bits[i] & n->cpus_used.bits[i])
			return true;
	return false;
}

static int adopt_slices(struct world *w, struct job *j, struct err *err)
{
	const struct attempt *a = job_attempt(j);
	struct node *n = world_find_node_num(w, a->node);
	uint64_t seen = 0;

	if (!n)
		return damaged(err, j, "runs on a node that is not known");
	if (is_cpu_bound_twice(j, n))
		return damaged(err, j, "is bound to a CPU that another job has");
	j->slices = a->n_slices ? mem_zalloc(a->n_slices * sizeof(*j->slices)) : NULL;
	for (uint32_t i = 0; i < a->n_slices; i++) {
		uint32_t k;
		if (!find_place(w, n, &a->slices[i], &k))
			return damaged(err, j, "holds a device that is one too many");
		if ((seen >> k & 1) ||
		        a->slices[i].share_milli > device_free_milli(&n->devices[k]) ||
		        a->slices[i].mem_bytes > INT64_MAX - n->devices[k].used_bytes)
			return damaged(err, j, "holds more of a device than there is");
		seen |= (uint64_t)1 << k;
		j->slices[i] = (struct slice){.device = k,
		        .mem_bytes = a->slices[i].mem_bytes,
		        .share_milli = a->slices[i].share_milli};
	}
	j->node = n;
	j->n_slices = a->n_slices;
	world__hold_slices(w, j);
	for (uint32_t i = 0; i < j->n_slices; i++) {
		struct device *d = &n->devices[j->slices[i].device];
		d->shrunk = d->used_bytes > d->info.mem_bytes;
	}
	return 0;
}

/* A task finds its array, and shares its request, if it has none of its own. */
static int adopt_task(const struct world *w, struct job *j, struct err *err)
{
	struct job *parent = world_find_job(w, (struct job_id){j->id.num, TASK_NONE});
	uint64_t pos;

	if (!parent)
		return job_state_is_final(j->state) ? 0 : damaged(err, j, "has no array");
	if (!parent->is_array)
		return damaged(err, j, "is a task of a job that is no array");
	pos = request_task_pos(parent->req, j->id.task);
	if (pos == UINT64_MAX || array_is_unstarted(parent->array, pos))
		return damaged(err, j, "is a task that its array does not know");
	if (job_state_is_final(parent->state) && !job_state_is_final(j->state))
		return damaged(err, j, "is a task that outlived its array");
	if (j->has_own_request && request_n_tasks(j->req) != request_n_tasks(parent->req))
		return damaged(err, j, "is a task of another array");
	j->parent = parent;
	if (j->req != parent->req && !j->has_own_request) {
		request_unref(j->req);
		j->req = request_ref(parent->req);
	}
	return 0;
}

/* Tasks that stayed in memory when their array left it. */
static void find_children(struct world *w, struct job *parent)
{
	for (struct job *t = world_next_job(w, parent); t && t->id.num == parent->id.num;
	        t = world_next_job(w, t)) {
		t->parent = parent;
		if (t->has_own_request)
			continue;
		request_unref(t->req);
		t->req = request_ref(parent->req);
	}
}

int world_adopt_job(struct world *w, struct job *take_j, struct err *err)
{
	struct job *j = take_j;
	bool holds = job_state_holds(j->state) && !j->is_array;
	int rc = 0;

	if (w->last_by_id && job_id_cmp(j, w->last_by_id) <= 0 && world_find_job(w, j->id)) {
		char id[48];
		rc = err_set(
		        err, ERR_CONFLICT, "job %s is there already", job_id_format(j->id, id));
	}
	if (rc == 0)
		rc = job_check(j, err);
	if (rc == 0 && j->id.task != TASK_NONE)
		rc = adopt_task(w, j, err);
	if (rc == 0 && holds)
		rc = adopt_slices(w, j, err);
	if (rc) {
		world_job_free(j);
		return rc;
	}
	w->next_job = MAX(w->next_job, j->id.num + 1);
	w->next_epoch = MAX(w->next_epoch, j->epoch + 1);
	w->next_order = MAX(w->next_order, j->order + 1);
	world__add_job(w, j);
	if (holds)
		queue__count(j->class->shape.queue, j, true);
	if (j->is_array)
		find_children(w, j);
	world__settle(w, j, (struct now){0});
	return 0;
}

int world_adopted(const struct world *w, struct err *err)
{
	for (const struct job *j = world_next_job(w, NULL); j; j = world_next_job(w, j)) {
		int rc = j->is_array ? array_check_tasks(w, j, err) : 0;
		if (rc)
			return rc;
	}
	return 0;
}
