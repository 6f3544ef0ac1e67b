/*
 * DESIGN. NVML is a library of the driver: it may be missing, older than what we know, or hang. So it is loaded when a
 * scan wants it, every symbol that is not essential may be absent, and a scan that finds something lost starts it anew,
 * because a device comes back only to a fresh NVML. Between scans a device is known by its handle; across them by UUID.
 */
#include "gpu/priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *copy_text(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	BUG_IF(text && !copy);
	return copy;
}

void gpu_take_text(char *text, size_t size)
{
	size_t len = strnlen(text, size - 1), used = 0;

	for (size_t at = 0; at < len;) {
		size_t n = text_utf8_len(text + at, len - at), step = n ? n : 1;

		bool is_hidden = n == 0 || text_has_control(text + at, n);

		if (is_hidden)
			text[used] = '?';
		else
			memmove(text + used, text + at, n);
		used += is_hidden ? 1 : n;
		at += step;
	}
	text[used] = '\0';
}

void gpu_say(struct gpu *g, const char *fmt, ...)
{
	size_t len = strlen(g->note);
	va_list ap;

	if (len && len + 2 < sizeof(g->note)) {
		memcpy(g->note + len, "; ", 3);
		len += 2;
	}
	va_start(ap, fmt);
	vsnprintf(g->note + len, sizeof(g->note) - len, fmt, ap);
	va_end(ap);
	gpu_take_text(g->note, sizeof(g->note)); /* it may be cut */
}

static int load(struct gpu *g, struct err *err)
{
	int rc = nvml_load(&g->nvml, g->library, err);

	if (rc < 0)
		return rc;
	if (g->simulate && !g->nvml.berthFakeSelect) {
		nvml_unload(&g->nvml);
		return err_set(err, ERR_INVALID, "%s is not the fake driver of simulated devices",
		        g->library ? g->library : "the system's NVML");
	}
	return 0;
}

static int select_simulated(struct gpu *g, struct err *err)
{
	char why[240] = "";

	if (g->nvml.berthFakeSelect(g->simulate, why, sizeof(why)) != 0)
		return err_set(err, ERR_INVALID, "simulated devices: %s", why);
	return 0;
}

int gpu_open(const struct gpu_options *o, struct gpu **ret, struct err *err)
{
	struct gpu *g = calloc(1, sizeof(*g));
	int rc = 0;

	BUG_IF(!g);
	g->library = copy_text(o->library);
	g->simulate = copy_text(o->simulate);
	g->sysfs = copy_text(o->sysfs);
	g->proc = copy_text(o->proc);
	g->allowed = calloc(o->n_allowed + 1, sizeof(*g->allowed));
	BUG_IF(!g->allowed);
	for (size_t i = 0; i < o->n_allowed; i++)
		snprintf(g->allowed[i].name, sizeof(g->allowed[i].name), "%s", o->allowed[i]);
	g->n_allowed = o->n_allowed;
	if (g->library)
		rc = load(g, err);
	if (rc == 0 && g->simulate)
		rc = g->library ? select_simulated(g, err)
		                : err_set(err, ERR_INVALID,
		                          "simulated devices need the library of the fake driver");
	if (rc < 0) {
		gpu_close(g);
		return rc;
	}
	*ret = g;
	return 0;
}

static void stop(struct gpu *g)
{
	if (!g->started)
		return;
	if (g->events)
		NVML_TRY(&g->nvml, nvmlEventSetFree, g->events);
	g->events = NULL;
	g->nvml.nvmlShutdown();
	g->started = false;
	for (size_t i = 0; i < g->n_devs; i++) {
		g->devs[i].handle = NULL;
		g->devs[i].listening = false;
	}
}

void gpu_close(struct gpu *g)
{
	if (!g)
		return;
	stop(g);
	if (g->simulate && g->nvml.berthFakeSelect)
		g->nvml.berthFakeSelect(NULL, NULL, 0);
	nvml_unload(&g->nvml);
	free(g->library);
	free(g->simulate);
	free(g->sysfs);
	free(g->proc);
	free(g->allowed);
	free(g->processes);
	free(g);
}

struct dev *gpu_dev_find(struct gpu *g, const char *uuid)
{
	for (size_t i = 0; i < g->n_devs; i++)
		if (strcmp(g->devs[i].shown.uuid, uuid) == 0)
			return &g->devs[i];
	return NULL;
}

void gpu_took_code(struct gpu *g, struct dev *d, enum nvml_return code)
{
	switch (code) {
	case NVML_ERROR_GPU_IS_LOST:
	case NVML_ERROR_RESET_REQUIRED:
	case NVML_ERROR_GPU_NOT_FOUND:
	case NVML_ERROR_INVALID_ARGUMENT: /* the handle means nothing any more */
		d->gone = code;
		break;
	case NVML_ERROR_UNINITIALIZED:
	case NVML_ERROR_DRIVER_NOT_LOADED:
	case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
		g->stale = true;
		d->gone = code;
		break;
	default:
		break;
	}
}

/* Of which a fresh NVML may know more. */
static bool anything_lost(const struct gpu *g)
{
	for (size_t i = 0; i < g->n_devs; i++) {
		const struct dev *d = &g->devs[i];

		if (!d->removed && !d->mode_changed && (!d->handle || d->shown.health == GPU_LOST))
			return true;
	}
	return g->stale;
}

/* Loads and starts NVML; when there is none, the note says so and started stays false. */
static int start(struct gpu *g, struct err *err)
{
	char text[TEXT_SHOW_SIZE];
	struct err why;
	enum nvml_return code;

	if (!g->nvml.library && load(g, &why) < 0) {
		if (why.kind == ERR_NOT_FOUND)
			gpu_say(g, "no NVIDIA driver here (%.200s)", why.text);
		else
			gpu_say(g, "the NVIDIA driver here cannot be used: %.200s", why.text);
		return 0;
	}
	if (g->simulate && select_simulated(g, err) < 0)
		return -(int)err->kind;
	code = g->nvml.nvmlInit_v2();
	if (code != NVML_SUCCESS) {
		gpu_say(g, "the NVIDIA driver does not answer: %s (NVML %d)",
		        nvml_text(&g->nvml, code, text), (int)code);
		if (!g->library)
			nvml_unload(&g->nvml); /* a driver that comes later brings its own */
		return 0;
	}
	g->started = true;
	g->stale = false;
	return 0;
}

bool gpu_is_allowed(struct gpu *g, unsigned index, const char *uuid)
{
	char number[16];

	if (!g->n_allowed)
		return true;
	snprintf(number, sizeof(number), "%u", index);
	for (size_t i = 0; i < g->n_allowed; i++) {
		struct allowed *a = &g->allowed[i];

		if (!*a->uuid && (strcmp(a->name, number) == 0 ||
		                         (strlen(a->name) > 4 &&
		                                 strncmp(a->name, uuid, strlen(a->name)) == 0)))
			snprintf(a->uuid, sizeof(a->uuid), "%s", uuid);
		if (strcmp(a->uuid, uuid) == 0)
			return true;
	}
	return false;
}

/* --gpus names a MIG instance, which may be one of any card. */
static bool names_instance(const struct gpu *g)
{
	for (size_t i = 0; i < g->n_allowed; i++)
		if (strncmp(g->allowed[i].name, "MIG-", 4) == 0)
			return true;
	return false;
}

struct dev *gpu_take(struct gpu *g, struct nvml_device *handle, const struct gpu_device *shown)
{
	bool has_none = shown->mig || shown->card_milli;
	struct dev *d;

	/* So that no card is ever taken for an instance of another. */
	if ((strncmp(shown->uuid, "MIG-", 4) == 0) != (shown->card_milli != 0)) {
		gpu_say(g, "device %u: UUID '%s' is no name for it", shown->index, shown->uuid);
		return NULL;
	}
	if (!*shown->uuid || (!shown->mem_bytes && !has_none) || shown->mem_bytes > GPU_MEM_MAX) {
		gpu_say(g, "device %u: UUID '%s' with %llu bytes of memory is no device",
		        shown->index, shown->uuid, (unsigned long long)shown->mem_bytes);
		return NULL;
	}
	d = gpu_dev_find(g, shown->uuid);
	if (!d) {
		if (g->n_devs == GPU_DEVICES_MAX) {
			gpu_say(g, "device %u: more than %d devices", shown->index,
			        GPU_DEVICES_MAX);
			return NULL;
		}
		d = &g->devs[g->n_devs++];
		*d = (struct dev){0};
	}
	d->shown = *shown;
	d->removed = d->mode_changed = false;
	if (!d->handle)
		gpu_health_returned(d);
	d->handle = handle;
	return d;
}

/* One device of NVML's list: into devs, or into the note. */
static void take_device(struct gpu *g, unsigned index)
{
	struct nvml_device *handle = NULL;
	struct gpu_device shown = {.index = index};
	enum nvml_return code = g->nvml.nvmlDeviceGetHandleByIndex_v2(index, &handle);
	char text[TEXT_SHOW_SIZE];
	bool is_allowed;

	if (code == NVML_SUCCESS)
		code = g->nvml.nvmlDeviceGetUUID(handle, shown.uuid, sizeof(shown.uuid));
	gpu_take_text(shown.uuid, sizeof(shown.uuid));
	is_allowed = code == NVML_SUCCESS && gpu_is_allowed(g, index, shown.uuid);
	if (code == NVML_SUCCESS && !is_allowed && !names_instance(g))
		return;
	if (code == NVML_SUCCESS)
		code = gpu_device_read(g, handle, &shown);
	if (code != NVML_SUCCESS)
		gpu_say(g, "device %u: %s (NVML %d)", index, nvml_text(&g->nvml, code, text),
		        (int)code);
	else
		gpu_mig_take(g, handle, &shown, is_allowed);
}

static void take_devices(struct gpu *g)
{
	char text[TEXT_SHOW_SIZE];
	unsigned count = 0;
	enum nvml_return code = g->nvml.nvmlDeviceGetCount_v2(&count);

	if (code != NVML_SUCCESS) {
		gpu_say(g, "the NVIDIA driver does not count its devices: %s (NVML %d)",
		        nvml_text(&g->nvml, code, text), (int)code);
		g->stale = true;
		return;
	}
	if (count == 0)
		gpu_say(g, "the NVIDIA driver has no devices");
	if (count > GPU_DEVICES_MAX)
		gpu_say(g, "of %u devices the first %d are looked at", count, GPU_DEVICES_MAX);
	for (unsigned i = 0; i < MIN(count, GPU_DEVICES_MAX); i++)
		take_device(g, i);
	for (size_t i = 0; i < g->n_allowed; i++)
		if (!*g->allowed[i].uuid)
			gpu_say(g, "device %s is not here (%u found)", g->allowed[i].name, count);
}

int gpu_scan(struct gpu *g, struct gpu_device *out, size_t max, size_t *ret_n, struct err *err)
{
	size_t n = 0;
	int rc = 0;

	g->note[0] = '\0';
	if (g->started && anything_lost(g))
		stop(g);
	if (!g->started) {
		rc = start(g, err);
		if (rc < 0)
			return rc;
	}
	if (g->started)
		take_devices(g);
	if (g->started)
		gpu_health_listen(g);
	for (size_t i = 0; i < g->n_devs; i++) {
		struct dev *d = &g->devs[i];

		if (d->handle)
			gpu_health_check(g, d);
		else if (d->gone == NVML_SUCCESS)
			d->gone = NVML_ERROR_GPU_IS_LOST;
		gpu_health_judge(d);
		if (gpu_is_hidden(d) || n == max)
			continue;
		d->was_listed = true;
		out[n++] = d->shown;
	}
	*ret_n = n;
	return 0;
}

const char *gpu_note(const struct gpu *g)
{
	return g->note;
}

bool gpu_is_simulated(const struct gpu *g)
{
	return g->nvml.berthFakeSelect != NULL;
}
