/*
 * DESIGN. Three witnesses: XIDs tell what happened (tables/xid.def says what each means), counters tell how the memory
 * is, and on newer drivers the recovery action is the driver's own verdict. A device is lost when it does not answer,
 * when the driver asks for a reset, or when an XID did. The first two end by themselves and are believed when a fresh
 * NVML says so; the third ends when the driver says that nothing is to be done, or an administrator does.
 * A MIG instance has its own XIDs and answers for itself; all else is as its card has it.
 */
#include "gpu/priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FAILING_MAX     3   /* checks in a row that go wrong, until a device counts as lost */
#define EVENTS_PER_POLL 256 /* so that a storm of events cannot hold the caller */

static const struct xid {
	unsigned number;
	enum xid_class class;
	const char *text;
} xids[] = {
#define XID(number, class, text) {number, XID_##class, text},
#include "../../tables/xid.def"
#undef XID
};

static const struct xid *xid_find(uint64_t number)
{
	for (size_t i = 0; i < ARRAY_LEN(xids); i++)
		if (xids[i].number == number)
			return &xids[i];
	return NULL;
}

enum xid_class xid_class_of(uint64_t xid)
{
	const struct xid *x = xid_find(xid);

	return x ? x->class : XID_WORN;
}

const char *xid_text(uint64_t xid)
{
	const struct xid *x = xid_find(xid);

	return x ? x->text : "not a known one";
}

void gpu_health_listen(struct gpu *g)
{
	struct nvml *n = &g->nvml;

	if (!n->nvmlEventSetWait_v2)
		return;
	if (!g->events && NVML_TRY(n, nvmlEventSetCreate, &g->events) != NVML_SUCCESS) {
		g->events = NULL;
		return;
	}
	for (size_t i = 0; i < g->n_devs; i++) {
		struct dev *d = &g->devs[i];
		unsigned long long types = NVML_EVENT_XID | NVML_EVENT_DOUBLE_BIT_ECC, supported;

		if (!d->handle || d->listening || d->card)
			continue;
		if (NVML_TRY(n, nvmlDeviceGetSupportedEventTypes, d->handle, &supported) ==
		        NVML_SUCCESS)
			types &= supported;
		if (types)
			NVML_TRY(n, nvmlDeviceRegisterEvents, d->handle, types, g->events);
		d->listening = true;
	}
}

static void took_xid(struct dev *d, unsigned xid)
{
	d->last_xid = xid;
	d->n_xids++;
	switch (xid_class_of(xid)) {
	case XID_GONE:
		d->gone_xid = xid;
		break;
	case XID_RESET:
		d->reset_xid = xid;
		break;
	case XID_WORN:
		d->worn_xid = xid;
		break;
	case XID_APP:
	case XID_NOTE:
		break;
	}
}

/* Events of MIG instances come by the handle of their card, with their numbers; else they are of the card, and so of all of them. */
static struct dev *dev_of_event(struct gpu *g, const struct nvml_event *e)
{
	struct dev *card = NULL;

	for (size_t i = 0; i < g->n_devs && !card; i++)
		if (g->devs[i].handle && g->devs[i].handle == e->device)
			card = &g->devs[i];
	if (!card || !card->shown.mig || e->gpu_instance == NVML_NO_INSTANCE)
		return card;
	for (size_t i = 0; i < g->n_devs; i++) {
		struct dev *d = &g->devs[i];

		if (d->card == card && !d->removed && d->shown.gi == e->gpu_instance &&
		        (e->compute_instance == NVML_NO_INSTANCE ||
		                d->shown.ci == e->compute_instance))
			return d;
	}
	return card;
}

/* Counters are read by the check that follows, so only XIDs matter here. */
static void take_events(struct gpu *g, unsigned wait_ms)
{
	for (int i = 0; g->events && i < EVENTS_PER_POLL; i++) {
		struct nvml_event e = {0};
		struct dev *d;

		if (g->nvml.nvmlEventSetWait_v2(g->events, &e, wait_ms) != NVML_SUCCESS)
			return;
		wait_ms = 0;
		d = dev_of_event(g, &e);
		if (d && (e.type & NVML_EVENT_XID))
			took_xid(d, (unsigned)MIN(e.data, UINT32_MAX));
	}
}

static void took_failure(struct gpu *g, struct dev *d, enum nvml_return code)
{
	d->failing = code;
	d->n_failing++;
	gpu_took_code(g, d, code);
	if (d->n_failing >= FAILING_MAX && d->gone == NVML_SUCCESS)
		d->gone = code;
}

/* An instance is gone when it does not answer although its card does; errors are counted for the card. */
static void check_instance(struct gpu *g, struct dev *d)
{
	struct nvml_memory memory;
	enum nvml_return code = g->nvml.nvmlDeviceGetMemoryInfo(d->handle, &memory);

	if (code == NVML_SUCCESS) {
		d->n_failing = 0;
		d->failing = NVML_SUCCESS;
		d->recovery_known = d->card->recovery_known;
		if (d->returned && d->recovery_known && d->card->recovery == NVML_RECOVERY_NONE)
			d->reset_xid = 0;
		d->returned = false;
	} else if (code == NVML_ERROR_NOT_FOUND || code == NVML_ERROR_INVALID_ARGUMENT) {
		d->removed = true;
		d->handle = NULL;
	} else {
		took_failure(g, d, code);
	}
}

static void read_recovery(struct gpu *g, struct dev *d)
{
	struct nvml_field f = {.field = NVML_FIELD_RECOVERY_ACTION};

	d->recovery_known =
	        NVML_TRY(&g->nvml, nvmlDeviceGetFieldValues, d->handle, 1, &f) == NVML_SUCCESS &&
	        f.result == NVML_SUCCESS;
	d->recovery = d->recovery_known ? f.value.u : NVML_RECOVERY_NONE;
}

static void check_card(struct gpu *g, struct dev *d)
{
	unsigned corrected, uncorrected, pending = 0, failed = 0, mig, mig_pending;
	unsigned long long errors = 0;
	struct nvml_memory memory;
	enum nvml_return code = g->nvml.nvmlDeviceGetMemoryInfo(d->handle, &memory);

	if (code != NVML_SUCCESS) {
		took_failure(g, d, code);
		return;
	}
	if (NVML_TRY(&g->nvml, nvmlDeviceGetMigMode, d->handle, &mig, &mig_pending) == NVML_SUCCESS)
		d->mode_changed = (mig != 0) != d->shown.mig;
	d->n_failing = 0;
	d->failing = NVML_SUCCESS;
	if (NVML_TRY(&g->nvml, nvmlDeviceGetTotalEccErrors, d->handle, NVML_ECC_UNCORRECTED,
	            NVML_ECC_VOLATILE, &errors) == NVML_SUCCESS)
		d->ecc_uncorrected = errors;
	if (NVML_TRY(&g->nvml, nvmlDeviceGetRemappedRows, d->handle, &corrected, &uncorrected,
	            &pending, &failed) == NVML_SUCCESS) {
		d->rows_pending = pending != 0;
		d->rows_failed = failed != 0;
	}
	read_recovery(g, d);
	if (d->returned && d->recovery_known && d->recovery == NVML_RECOVERY_NONE)
		d->reset_xid = 0;
	d->returned = false;
}

void gpu_health_check(struct gpu *g, struct dev *d)
{
	if (d->card)
		check_instance(g, d);
	else
		check_card(g, d);
}

void gpu_health_returned(struct dev *d)
{
	d->gone = NVML_SUCCESS;
	d->gone_xid = 0;
	d->failing = NVML_SUCCESS;
	d->n_failing = 0;
	d->returned = true;
}

/* Actions of drivers to come are taken as a wish, not as a loss. */
static bool recovery_is_loss(unsigned action)
{
	enum { BUS_RESET = 6, SYSTEM_REBOOT = 7 };

	return action == NVML_RECOVERY_RESET || action == NVML_RECOVERY_REBOOT ||
	       action == BUS_RESET || action == SYSTEM_REBOOT;
}

static bool judge_loss(struct dev *d, char *text, size_t size)
{
	if (d->removed)
		snprintf(text, size, "this MIG instance was removed");
	else if (d->mode_changed)
		snprintf(text, size, "its MIG mode was changed");
	else if (d->gone == NVML_ERROR_RESET_REQUIRED)
		snprintf(text, size, "the GPU must be reset");
	else if (d->gone == NVML_ERROR_LIB_RM_VERSION_MISMATCH)
		snprintf(text, size, "the driver was replaced");
	else if (d->gone_xid)
		snprintf(text, size, "XID %u: %s", d->gone_xid, xid_text(d->gone_xid));
	else if (d->gone)
		snprintf(text, size, "the GPU no longer answers (NVML %d)", (int)d->gone);
	else if (recovery_is_loss(d->recovery))
		snprintf(text, size, "the driver asks for %s",
		        d->recovery == NVML_RECOVERY_RESET ? "a reset of the GPU" : "a reboot");
	else if (d->reset_xid)
		snprintf(text, size, "XID %u: %s; the GPU must be reset", d->reset_xid,
		        xid_text(d->reset_xid));
	else
		return false;
	return true;
}

static bool judge_wear(struct dev *d, char *text, size_t size)
{
	if (d->failing)
		snprintf(text, size, "the last check failed (NVML %d)", (int)d->failing);
	else if (d->recovery)
		snprintf(text, size, "the driver asks for maintenance (recovery action %u)",
		        d->recovery);
	else if (d->rows_failed)
		snprintf(text, size, "a memory row could not be replaced");
	else if (d->ecc_uncorrected)
		snprintf(text, size, "%" PRIu64 " uncorrected memory error%s since the last reset",
		        d->ecc_uncorrected, d->ecc_uncorrected == 1 ? "" : "s");
	else if (d->worn_xid)
		snprintf(text, size, "XID %u: %s", d->worn_xid, xid_text(d->worn_xid));
	else if (d->rows_pending)
		snprintf(text, size, "a memory row waits for a reset to be replaced");
	else if (d->shown.mig && !d->n_instances)
		snprintf(text, size, "in MIG mode, and nobody has made instances");
	else if (d->card && !d->shown.mem_bytes)
		snprintf(text, size, "shares its memory with another compute instance");
	else
		return false;
	return true;
}

/* A card's trouble is that of its instances. */
static enum gpu_health judge(struct dev *d, char *text, size_t size)
{
	if (judge_loss(d, text, size))
		return GPU_LOST;
	if (d->card && d->card->shown.health == GPU_LOST)
		return judge(d->card, text, size);
	if (judge_wear(d, text, size))
		return GPU_DEGRADED;
	return d->card ? judge(d->card, text, size) : GPU_OK;
}

void gpu_health_judge(struct dev *d)
{
	char *text = d->shown.health_text;

	text[0] = '\0';
	d->shown.health = judge(d, text, sizeof(d->shown.health_text));
	if (d->shown.mig && d->shown.health == GPU_OK)
		snprintf(text, sizeof(d->shown.health_text),
		        "in MIG mode: its instances are devices of their own");
}

int gpu_poll(struct gpu *g, unsigned wait_ms, struct gpu_state *out, size_t max, size_t *ret_n,
        struct err *err)
{
	size_t n = 0;

	if (g->started)
		take_events(g, wait_ms);
	for (size_t i = 0; i < g->n_devs; i++) {
		struct dev *d = &g->devs[i];

		if (d->handle && !d->gone)
			gpu_health_check(g, d);
		gpu_health_judge(d);
		if (gpu_is_hidden(d) || n == max)
			continue;
		out[n] = (struct gpu_state){
		        .health = d->shown.health,
		        .ecc_uncorrected = d->ecc_uncorrected,
		        .last_xid = d->last_xid,
		        .n_xids = d->n_xids,
		};
		memcpy(out[n].uuid, d->shown.uuid, sizeof(out[n].uuid));
		memcpy(out[n].health_text, d->shown.health_text, sizeof(out[n].health_text));
		n++;
	}
	*ret_n = n;
	return 0;
}

int gpu_forget(struct gpu *g, const char *uuid, struct err *err)
{
	struct dev *d = gpu_dev_find(g, uuid);

	if (!d)
		return err_set(err, ERR_NOT_FOUND, "no device %.100s", uuid);
	d->gone_xid = d->reset_xid = d->worn_xid = 0;
	d->last_xid = d->n_xids = 0;
	gpu_health_judge(d);
	return 0;
}
