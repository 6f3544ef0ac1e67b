/*
 * DESIGN. A card in MIG mode is what its administrator has divided it into: each instance is a device of its own, granted
 * whole, and the card itself has nothing left to give: it is listed where it has no instances, so that somebody sees it.
 * Berth makes and removes none. What an instance does not tell by itself (where it is plugged in, what it can compute, its
 * errors) is its card's. Two compute instances of one GPU instance share its memory, which nothing would hold apart: neither is
 * given away. Not yet run on hardware.
 */
#include "gpu/priv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INSTANCES_MAX 16 /* places that are looked at, of one card */
#define MINOR_MAX     ((1u << 20) - 1)

struct found {
	struct nvml_device *handle;
	char uuid[96];
	unsigned gi, ci;
	bool is_shared;
};

struct list {
	struct found v[INSTANCES_MAX];
	size_t n;
	unsigned max; /* instances that the card can have: parts of its compute; 0: unknown */
};

/* Places in the driver's list may be empty. */
static void read_list(struct gpu *g, struct nvml_device *card, struct list *l)
{
	struct nvml *n = &g->nvml;

	if (NVML_TRY(n, nvmlDeviceGetMaxMigDeviceCount, card, &l->max) != NVML_SUCCESS ||
	        l->max > INSTANCES_MAX)
		l->max = 0;
	for (unsigned i = 0; i < (l->max ? l->max : INSTANCES_MAX); i++) {
		struct found f = {0};

		if (NVML_TRY(n, nvmlDeviceGetMigDeviceHandleByIndex, card, i, &f.handle) !=
		                NVML_SUCCESS ||
		        n->nvmlDeviceGetUUID(f.handle, f.uuid, sizeof(f.uuid)) != NVML_SUCCESS ||
		        NVML_TRY(n, nvmlDeviceGetGpuInstanceId, f.handle, &f.gi) != NVML_SUCCESS ||
		        NVML_TRY(n, nvmlDeviceGetComputeInstanceId, f.handle, &f.ci) !=
		                NVML_SUCCESS)
			continue;
		gpu_take_text(f.uuid, sizeof(f.uuid));
		for (size_t k = 0; k < l->n; k++)
			if (l->v[k].gi == f.gi)
				l->v[k].is_shared = f.is_shared = true;
		l->v[l->n++] = f;
	}
}

static FILE *open_proc(struct gpu *g, const char *file)
{
	char path[GPU_PATH_SIZE];

	if (!g->proc && gpu_is_simulated(g))
		return NULL;
	snprintf(path, sizeof(path), "%.4000s/%s", g->proc ? g->proc : "/proc", file);
	return fopen(path, "re");
}

/* Minor of a line "gpu0/gi1/ci0/access 13" of the driver's list; -1: there is none. */
static int find_minor(struct gpu *g, const char *name)
{
	FILE *f = open_proc(g, "driver/nvidia-caps/mig-minors");
	char line[128], word[64];
	int found = -1;
	unsigned minor;

	while (f && found < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %u", word, &minor) == 2 && strcmp(word, name) == 0 &&
		        minor <= MINOR_MAX)
			found = (int)minor;
	if (f)
		fclose(f);
	return found;
}

/* Of the line "237 nvidia-caps". */
static unsigned find_major(struct gpu *g)
{
	FILE *f = open_proc(g, "devices");
	char line[128], word[64];
	unsigned major, found = 0;

	while (f && !found && fgets(line, sizeof(line), f))
		if (sscanf(line, "%u %63s", &major, word) == 2 && strcmp(word, "nvidia-caps") == 0)
			found = major;
	if (f)
		fclose(f);
	return found;
}

static void read_minors(struct gpu *g, const struct found *f, struct gpu_device *shown)
{
	char name[64];

	if (shown->minor < 0)
		return;
	shown->caps_major = find_major(g);
	snprintf(name, sizeof(name), "gpu%d/gi%u/access", shown->minor, f->gi);
	shown->gi_minor = find_minor(g, name);
	snprintf(name, sizeof(name), "gpu%d/gi%u/ci%u/access", shown->minor, f->gi, f->ci);
	shown->ci_minor = find_minor(g, name);
}

/*
 * The smaller of its parts of the card's compute and of its memory, in thousandths; what is not known does not count. Memory
 * comes in as many parts as compute, or in eight where that is seven; a little of each is the driver's, so that a part that is begun counts.
 */
static uint32_t part_of_card(
        const struct list *l, unsigned slices, uint64_t mem_bytes, uint64_t card_bytes)
{
	uint64_t parts = l->max == 0 || l->max == 7 ? 8 : l->max, compute = 1000, memory;

	if (!card_bytes)
		return 1;
	memory = (MIN(mem_bytes, card_bytes) * parts + card_bytes - 1) / card_bytes * 1000 / parts;
	if (slices && l->max)
		compute = (uint64_t)MIN(slices, l->max) * 1000 / l->max;
	return (uint32_t)MAX(MIN(memory, compute), (uint64_t)1);
}

/* What NVML calls it, which older drivers do by the card's name. */
static void read_name(struct gpu *g, const struct found *f, const struct nvml_attributes *a,
        struct gpu_device *shown)
{
	char name[NVML_NAME_SIZE] = "";

	if (g->nvml.nvmlDeviceGetName(f->handle, name, sizeof(name)) != NVML_SUCCESS)
		memcpy(name, shown->model, sizeof(name));
	gpu_take_text(name, sizeof(name));
	if (strstr(name, " MIG "))
		memcpy(shown->model, name, sizeof(name));
	else if (a->gpu_instance_slices)
		snprintf(shown->model, sizeof(shown->model), "%.60s MIG %ug.%llugb", name,
		        a->gpu_instance_slices, (a->memory_mib + 1023) / 1024);
	else
		snprintf(shown->model, sizeof(shown->model), "%.60s MIG", name);
	gpu_take_text(shown->model, sizeof(shown->model));
}

/* card is what was read of its card, its memory still with it. */
static enum nvml_return read_instance(struct gpu *g, const struct list *l, const struct found *f,
        const struct gpu_device *card, struct gpu_device *ret)
{
	struct nvml_attributes a = {0};
	struct gpu_device shown = *card;
	enum nvml_return code = gpu_memory_read(g, f->handle, &shown.mem_bytes);

	if (code != NVML_SUCCESS)
		return code;
	if (NVML_TRY(&g->nvml, nvmlDeviceGetAttributes_v2, f->handle, &a) != NVML_SUCCESS)
		a = (struct nvml_attributes){0};
	memcpy(shown.uuid, f->uuid, sizeof(shown.uuid));
	shown.mig = false;
	shown.gi = f->gi;
	shown.ci = f->ci;
	shown.card_milli =
	        part_of_card(l, a.compute_instance_slices, shown.mem_bytes, card->mem_bytes);
	read_name(g, f, &a, &shown);
	read_minors(g, f, &shown);
	if (f->is_shared)
		shown.mem_bytes = 0;
	*ret = shown;
	return NVML_SUCCESS;
}

/* What was there at the last scan, and is not any more, while its card answers. */
static void drop_removed(struct gpu *g, const struct dev *card, const struct list *l)
{
	for (size_t i = 0; i < g->n_devs; i++) {
		struct dev *d = &g->devs[i];
		bool is_there = false;

		if (d->card != card)
			continue;
		for (size_t k = 0; k < l->n; k++)
			is_there |= strcmp(l->v[k].uuid, d->shown.uuid) == 0;
		if (is_there)
			continue;
		d->removed = true;
		d->handle = NULL;
	}
}

bool gpu_is_hidden(const struct dev *d)
{
	return d->shown.mig && d->n_instances && !d->was_listed;
}

static bool take_instance(struct gpu *g, const struct list *l, const struct found *f,
        struct dev *card, const struct gpu_device *whole)
{
	struct gpu_device one;
	enum nvml_return code = read_instance(g, l, f, whole, &one);
	struct dev *d = code == NVML_SUCCESS ? gpu_take(g, f->handle, &one) : NULL;

	if (code != NVML_SUCCESS)
		gpu_say(g, "MIG instance %u of device %u: NVML %d", f->gi, whole->index, (int)code);
	if (d)
		d->card = card;
	return d != NULL;
}

void gpu_mig_take(
        struct gpu *g, struct nvml_device *handle, struct gpu_device *shown, bool is_allowed)
{
	const struct gpu_device whole = *shown;
	struct list l = {.n = 0};
	struct dev *card = NULL;
	unsigned n = 0;

	if (whole.mig) {
		read_list(g, handle, &l);
		shown->mem_bytes = 0;
	}
	if (is_allowed)
		card = gpu_take(g, handle, shown);
	for (size_t i = 0; i < l.n; i++) {
		if (!is_allowed && !gpu_is_allowed(g, GPU_NO_INDEX, l.v[i].uuid))
			continue;
		/* Their events come by it, whether it is allowed itself or not. */
		if (!card && !(card = gpu_take(g, handle, shown)))
			return;
		n += take_instance(g, &l, &l.v[i], card, &whole);
	}
	if (card) {
		card->n_instances = n;
		drop_removed(g, card, &l);
	}
}
