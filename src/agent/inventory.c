#include "agent/inventory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "gpu/gpu.h"
#include "plat/log.h"
#include "plat/worker.h"

/*
 * DESIGN. One scan is one job of the worker: the struct goes there with nothing in it and comes back full; the struct gpu
 * is touched by jobs only. While one is under way no other begins. A timer asks for the next one; who cannot wait for it
 * asks for a scan, which then follows on the heels of the one that is under way.
 */

#define RESCAN_MS      30000 /* the whole list again, while something is lost or in MIG mode */
#define NONE_RESCAN_MS 60000 /* and while there is nothing: a driver may be loaded late */
#define SILENT_MS      10000 /* a driver that has not answered for so long is broken */
#define PROCESSES_MAX  1024  /* of one device */

struct scan_job {
	struct inventory *inv;
	uint64_t number;
	bool is_full; /* the list of devices too */
	int rc;
	struct err err;
	char note[200];
	struct gpu_device *devices; /* when is_full */
	size_t n_devices;
	struct gpu_state states[GPU_DEVICES_MAX];
	size_t n_states;
	uint64_t used_bytes[GPU_DEVICES_MAX];
	bool is_readable[GPU_DEVICES_MAX];
	char uuids[GPU_DEVICES_MAX]
	          [96]; /* whose processes to read: of all devices in the list so far */
	size_t n_uuids;
	struct inventory_process *processes;
	size_t n_processes, cap_processes;
};

struct inventory {
	struct inventory_options o;
	struct worker *worker;
	struct gpu *gpu; /* the worker's, after inventory_new */
	struct loop_timer *timer;
	struct device_info devices[NODE_DEVICES_MAX];
	uint32_t n_devices;
	struct scan_job *job; /* under way */
	uint64_t number;      /* of the last scan that began */
	uint64_t wanted;      /* number of a scan that somebody waits for */
	uint64_t began_ms, full_ms;
	bool was_listed, is_silent;
	char note[200];
};

static void begin_scan(struct inventory *inv);

/* On the worker. */

static void read_processes(struct scan_job *j, uint32_t device, struct gpu_process *found)
{
	struct gpu_usage usage;
	struct err err;
	size_t n = 0;

	if (gpu_usage(j->inv->gpu, j->uuids[device], &usage, found, PROCESSES_MAX, &n, &err) < 0)
		return;
	j->is_readable[device] = true;
	j->used_bytes[device] = usage.used_bytes;
	for (size_t i = 0; i < n; i++) {
		MEM_GROW(j->processes, j->n_processes, j->cap_processes);
		j->processes[j->n_processes++] = (struct inventory_process){
		        .device = device,
		        .pid = found[i].pid,
		        .bytes = found[i].bytes,
		        .is_known = found[i].known,
		};
	}
}

/* New ones go behind those that are known, as in take_list: a place in the list never changes. */
static void add_uuid(struct scan_job *j, const char *uuid)
{
	for (size_t i = 0; i < j->n_uuids; i++)
		if (strcmp(j->uuids[i], uuid) == 0)
			return;
	if (j->n_uuids < GPU_DEVICES_MAX)
		snprintf(j->uuids[j->n_uuids++], sizeof(j->uuids[0]), "%s", uuid);
}

static void run_scan(void *data)
{
	struct scan_job *j = data;
	struct gpu *gpu = j->inv->gpu;
	struct gpu_process *found;

	if (j->is_full) {
		j->devices = mem_zalloc(GPU_DEVICES_MAX * sizeof(*j->devices));
		j->rc = gpu_scan(gpu, j->devices, GPU_DEVICES_MAX, &j->n_devices, &j->err);
		snprintf(j->note, sizeof(j->note), "%s", gpu_note(gpu));
		for (size_t i = 0; j->rc == 0 && i < j->n_devices; i++)
			add_uuid(j, j->devices[i].uuid);
	}
	if (j->rc == 0 && j->n_uuids)
		j->rc = gpu_poll(gpu, 0, j->states, GPU_DEVICES_MAX, &j->n_states, &j->err);
	if (j->rc < 0 || !j->n_uuids)
		return;
	found = mem_realloc(NULL, PROCESSES_MAX, sizeof(*found));
	for (size_t i = 0; i < j->n_uuids; i++)
		read_processes(j, (uint32_t)i, found);
	free(found);
}

/* On the loop. */

static struct device_info *find_device(struct inventory *inv, const char *uuid)
{
	for (uint32_t i = 0; i < inv->n_devices; i++)
		if (strcmp(inv->devices[i].uuid, uuid) == 0)
			return &inv->devices[i];
	return NULL;
}

static enum device_health health_of(enum gpu_health h)
{
	return h == GPU_OK ? DEVICE_OK : h == GPU_DEGRADED ? DEVICE_DEGRADED : DEVICE_LOST;
}

static struct device_info info_of(const struct gpu_device *g)
{
	struct device_info d = {
	        .index = g->index,
	        .minor = g->minor,
	        .mig = g->mig,
	        .card_milli = g->card_milli,
	        .caps_major = g->caps_major,
	        .gi_minor = g->gi_minor,
	        .ci_minor = g->ci_minor,
	        .context_bytes = g->context_bytes,
	        .mem_bytes = g->mem_bytes,
	        .cc = (uint32_t)(g->cc_major * 10 + g->cc_minor),
	        .cuda = (uint32_t)MAX(g->cuda, 0),
	        .numa_node = g->numa_node,
	        .simulated = g->simulated,
	        .health = health_of(g->health),
	};

	_Static_assert(sizeof(d.cpus.bits) == sizeof(g->cpus), "CPUs of a node and of a GPU");
	_Static_assert(NODE_DEVICES_MAX >= GPU_DEVICES_MAX, "every GPU has its place");
	memcpy(d.cpus.bits, g->cpus, sizeof(d.cpus.bits));
	snprintf(d.uuid, sizeof(d.uuid), "%s", g->uuid);
	snprintf(d.model, sizeof(d.model), "%s", g->model);
	snprintf(d.driver, sizeof(d.driver), "%s", g->driver);
	snprintf(d.health_text, sizeof(d.health_text), "%s", g->health_text);
	snprintf(d.pci, sizeof(d.pci), "%s", g->pci);
	return d;
}

/* A card has become its instances, or a card again. */
static void take_mode(struct device_info *d, const struct gpu_device *g, bool *changed)
{
	if (d->mig == g->mig && d->mem_bytes == g->mem_bytes)
		return;
	d->mig = g->mig;
	d->mem_bytes = g->mem_bytes;
	*changed = true;
	log_info("device.memory", "device=%s mig=%d bytes=%llu", d->uuid, d->mig,
	        (unsigned long long)d->mem_bytes);
}

static bool take_list(struct inventory *inv, const struct scan_job *j, bool *changed)
{
	uint32_t before = inv->n_devices;

	for (size_t i = 0; i < j->n_devices; i++) {
		struct device_info *d = find_device(inv, j->devices[i].uuid);

		if (d)
			take_mode(d, &j->devices[i], &changed[d - inv->devices]);
		else if (inv->n_devices < NODE_DEVICES_MAX)
			inv->devices[inv->n_devices++] = info_of(&j->devices[i]);
	}
	return inv->n_devices != before;
}

static void take_health(struct inventory *inv, const struct scan_job *j, bool *changed)
{
	for (size_t i = 0; i < j->n_states; i++) {
		const struct gpu_state *s = &j->states[i];
		struct device_info *d = find_device(inv, s->uuid);

		if (!d || (d->health == health_of(s->health) &&
		                  strcmp(d->health_text, s->health_text) == 0))
			continue;
		d->health = health_of(s->health);
		snprintf(d->health_text, sizeof(d->health_text), "%s", s->health_text);
		changed[d - inv->devices] = true;
		log_warn("device.health", "device=%s health=%d text=\"%s\"", d->uuid,
		        (int)d->health, d->health_text);
	}
}

/*
 * Memory that nobody was granted. Where the driver does not tell what a stranger uses, it is what is in use and not by
 * our attempts. A lost device keeps its last figure.
 */
static void take_withheld(struct inventory *inv, const struct scan_job *j, bool *changed)
{
	for (uint32_t i = 0; i < inv->n_devices && i < j->n_uuids; i++) {
		uint64_t theirs = 0, ours = 0;
		bool is_vague = false;

		if (!j->is_readable[i])
			continue;
		for (size_t k = 0; k < j->n_processes; k++) {
			const struct inventory_process *p = &j->processes[k];

			if (p->device != i)
				continue;
			if (p->epoch)
				ours += p->bytes;
			else
				theirs += p->bytes;
			is_vague |= !p->epoch && !p->is_known;
		}
		if (is_vague && j->used_bytes[i] > ours)
			theirs = MAX(theirs, j->used_bytes[i] - ours);
		changed[i] |= inv->devices[i].withheld_bytes != theirs;
		inv->devices[i].withheld_bytes = theirs;
	}
}

static void tell_changes(struct inventory *inv, const bool *changed)
{
	struct device_info list[NODE_DEVICES_MAX];
	uint32_t n = 0;

	for (uint32_t i = 0; i < inv->n_devices; i++)
		if (changed[i])
			list[n++] = inv->devices[i];
	if (n)
		inv->o.on_change(inv->o.data, list, n);
}

static void take_held_by(struct inventory *inv, bool *changed)
{
	for (uint32_t i = 0; inv->o.held_by_of && i < inv->n_devices; i++) {
		struct device_info *d = &inv->devices[i];
		enum held_by by = inv->o.held_by_of(inv->o.data, d);

		changed[i] |= by != d->held_by;
		d->held_by = by;
	}
}

void inventory_refresh(struct inventory *inv)
{
	bool changed[NODE_DEVICES_MAX] = {0};

	take_held_by(inv, changed);
	tell_changes(inv, changed);
}

static void take_scan(struct inventory *inv, struct scan_job *j)
{
	struct inventory_scan scan = {.number = j->number, .devices = inv->devices};
	bool changed[NODE_DEVICES_MAX] = {0}, is_longer = take_list(inv, j, changed);

	inv->o.before_scan(inv->o.data);
	for (size_t i = 0; i < j->n_processes; i++)
		j->processes[i].epoch = inv->o.owner_of(inv->o.data, j->processes[i].pid);
	take_health(inv, j, changed);
	take_withheld(inv, j, changed);
	take_held_by(inv, changed);
	if (is_longer || !inv->was_listed) {
		inv->was_listed = true;
		inv->o.on_list(inv->o.data);
	} else {
		tell_changes(inv, changed);
	}
	scan.n_devices = inv->n_devices;
	scan.is_readable = j->is_readable;
	scan.processes = j->processes;
	scan.n_processes = j->n_processes;
	inv->o.on_scan(inv->o.data, &scan);
}

static void set_timer(struct inventory *inv)
{
	if (inv->wanted > inv->number)
		begin_scan(inv);
	else
		loop_timer_start(
		        inv->timer, inv->n_devices ? INVENTORY_EVERY_MS : NONE_RESCAN_MS, 0);
}

static void free_job(struct scan_job *j)
{
	free(j->devices);
	free(j->processes);
	free(j);
}

static void on_scanned(void *data)
{
	struct scan_job *j = data;
	struct inventory *inv = j->inv;

	inv->job = NULL;
	inv->is_silent = false;
	if (strcmp(inv->note, j->note) != 0 && j->is_full) {
		snprintf(inv->note, sizeof(inv->note), "%s", j->note);
		if (j->note[0])
			log_info("devices.note", "text=\"%s\"", j->note);
	}
	if (j->rc < 0)
		log_error("devices.scan", "error=\"%s\"", j->err.text);
	take_scan(inv, j);
	free_job(j);
	set_timer(inv);
}

/* What is lost may be back; of a card in MIG mode instances may have been made. */
static bool may_change(const struct inventory *inv)
{
	for (uint32_t i = 0; i < inv->n_devices; i++)
		if (inv->devices[i].health == DEVICE_LOST || inv->devices[i].mig ||
		        inv->devices[i].card_milli)
			return true;
	return inv->n_devices == 0;
}

static void begin_scan(struct inventory *inv)
{
	uint64_t now_ms = loop_mono_ms(inv->o.loop);
	struct scan_job *j = mem_zalloc(sizeof(*j));

	j->inv = inv;
	j->number = ++inv->number;
	j->is_full = !inv->was_listed || (may_change(inv) && now_ms - inv->full_ms >= RESCAN_MS);
	if (j->is_full)
		inv->full_ms = now_ms;
	for (uint32_t i = 0; i < inv->n_devices; i++)
		memcpy(j->uuids[i], inv->devices[i].uuid, sizeof(j->uuids[i]));
	j->n_uuids = inv->n_devices;
	inv->began_ms = now_ms;
	BUG_IF(!worker_submit(inv->worker, run_scan, on_scanned, j));
	inv->job = j;
	/* Only to see whether the driver answers. */
	loop_timer_start(inv->timer, SILENT_MS, 0);
}

static void say_silent(struct inventory *inv)
{
	bool changed[NODE_DEVICES_MAX] = {0};

	inv->is_silent = true;
	log_error("devices.silent", "ms=%d", SILENT_MS);
	for (uint32_t i = 0; i < inv->n_devices; i++) {
		struct device_info *d = &inv->devices[i];

		/* What runs may be well all the same; nothing new goes there until it answers. */
		d->health = MAX(d->health, DEVICE_DEGRADED);
		d->withheld_bytes = d->mem_bytes;
		snprintf(d->health_text, sizeof(d->health_text), "the driver does not answer");
		changed[i] = true;
	}
	tell_changes(inv, changed);
	if (!inv->was_listed) {
		inv->was_listed = true;
		inv->o.on_list(inv->o.data);
	}
}

static void on_timer(void *data)
{
	struct inventory *inv = data;

	if (!inv->job)
		begin_scan(inv);
	else if (!inv->is_silent)
		say_silent(inv);
}

uint64_t inventory_want_scan(struct inventory *inv)
{
	inv->wanted = inv->number + 1;
	if (!inv->job)
		loop_timer_start(inv->timer, 0, 0);
	return inv->wanted;
}

const struct device_info *inventory_devices(const struct inventory *inv, uint32_t *ret_n)
{
	*ret_n = inv->n_devices;
	return inv->devices;
}

int inventory_new(const struct inventory_options *o, struct inventory **ret, struct err *err)
{
	struct gpu_options gpu = {
	        .library = o->library,
	        .simulate = o->simulate,
	        .allowed = o->allowed,
	        .n_allowed = o->n_allowed,
	};
	struct inventory *inv = mem_zalloc(sizeof(*inv));
	int rc = gpu_open(&gpu, &inv->gpu, err);

	inv->o = *o;
	if (rc == 0)
		rc = worker_new(o->loop, "devices", 2, &inv->worker, err);
	if (rc < 0) {
		gpu_close(inv->gpu);
		free(inv);
		return rc;
	}
	inv->timer = loop_timer_new(o->loop, on_timer, inv);
	loop_timer_start(inv->timer, 0, 0);
	*ret = inv;
	return 0;
}

bool inventory_free(struct inventory *inv)
{
	if (!inv)
		return true;
	if (inv->job)
		return false;
	loop_timer_free(inv->timer);
	worker_free(inv->worker);
	gpu_close(inv->gpu);
	free(inv);
	return true;
}
