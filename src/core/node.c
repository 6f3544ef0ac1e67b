#include "core/node.h"
#include "base/num.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

uint32_t cpu_set_count(const struct cpu_set *s)
{
	uint32_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(s->bits); i++)
		n += (uint32_t)__builtin_popcountll(s->bits[i]);
	return n;
}

/* Whether the n letters of `part` stand in `whole`, in any case. */
static bool contains_nocase(const char *whole, const char *part, size_t n)
{
	for (; *whole; whole++)
		if (strncasecmp(whole, part, n) == 0)
			return true;
	return n == 0;
}

/* models: parts of names, any of which will do, with '|' between them. */
static bool is_one_of(const char *model, const char *models)
{
	for (;; models++) {
		size_t n = strcspn(models, "|");
		if (contains_nocase(model, models, n))
			return true;
		models += n;
		if (!*models)
			return false;
	}
}

uint32_t driver_number(const char *version)
{
	uint32_t parts[3] = {0};

	for (int i = 0; i < 3 && *version >= '0' && *version <= '9'; i++) {
		for (; *version >= '0' && *version <= '9'; version++)
			parts[i] = MIN(parts[i] * 10 + (uint32_t)(*version - '0'), DRIVER_PART_MAX);
		version += *version == '.';
	}
	return parts[0] * 1000000 + parts[1] * 1000 + parts[2];
}

char *driver_format(uint32_t number, char out[DRIVER_TEXT])
{
	uint32_t major = number / 1000000, minor = number / 1000 % 1000, patch = number % 1000;

	if (patch)
		snprintf(out, DRIVER_TEXT, "%u.%u.%u", major, minor, patch);
	else if (minor)
		snprintf(out, DRIVER_TEXT, "%u.%u", major, minor);
	else
		snprintf(out, DRIVER_TEXT, "%u", major);
	return out;
}

bool device_matches(const struct gpu_ask *ask, const struct device *d)
{
	return d->info.cc >= ask->cc_min && d->info.cuda >= ask->cuda_min &&
	       driver_number(d->info.driver) >= ask->driver_min &&
	       (!ask->model || is_one_of(d->info.model, ask->model));
}

const char *held_by_name(enum held_by by)
{
	static const char *const names[] = {
	        [HELD_BY_NONE] = "none",
	        [HELD_BY_INTERPOSER] = "interposer",
	        [HELD_BY_KERNEL] = "kernel",
	        [HELD_BY_MPS] = "mps",
	        [HELD_BY_MIG] = "mig",
	};

	return names[by];
}

bool device_is_usable(const struct device *d)
{
	return !d->absent && d->info.health != DEVICE_LOST;
}

uint64_t device_free_bytes(const struct device *d)
{
	uint64_t left = d->info.mem_bytes - MIN(d->info.mem_bytes, d->used_bytes);

	return left - MIN(left, d->info.withheld_bytes); /* an agent may say any number */
}

uint32_t device_free_milli(const struct device *d)
{
	return d->used_milli >= 1000 ? 0 : 1000 - d->used_milli;
}

/* Thousandths of this device that the ask speaks of; 0 when it names none. */
static uint32_t ask_milli(const struct gpu_ask *ask, const struct device *d)
{
	if (ask->milli)
		return ask->milli;
	if (ask->fgpu_milli)
		return ask->fgpu_milli / MAX(d->fgpu_per_device, 1);
	return 0;
}

/* Whether the model that is asked for says more than the card's: "1g.10gb" or "MIG", not "h100". */
static bool names_instance(const struct gpu_ask *ask, const struct device *d)
{
	const char *mig = strstr(d->info.model, " MIG");
	char card[sizeof(d->info.model)];

	if (!ask->model || !mig)
		return false;
	memcpy(card, d->info.model, sizeof(card));
	card[mig - d->info.model] = '\0';
	return !is_one_of(card, ask->model);
}

/* Fractions are of its card, bytes are bytes. */
static bool is_enough(const struct gpu_ask *ask, const struct device *d)
{
	uint32_t milli = ask_milli(ask, d);

	if (ask->count)
		return names_instance(ask, d);
	if (ask->fgpu_milli && milli == 0)
		return false;
	return MAX(ask->mem_bytes ? 0 : milli, ask->share_milli ? ask->share_milli : milli) <=
	               d->info.card_milli &&
	       ask->mem_bytes <= d->info.mem_bytes;
}

uint64_t slice_surplus_bytes(const struct gpu_ask *ask, const struct device *d)
{
	uint64_t bytes = ask->mem_bytes;

	if (!d->info.card_milli || ask->count)
		return 0;
	if (!bytes)
		bytes = d->info.mem_bytes / d->info.card_milli *
		        MAX(ask_milli(ask, d), ask->share_milli);
	return d->info.mem_bytes - MIN(bytes, d->info.mem_bytes);
}

/* False when a device of this size has not so much. */
static bool resolve_part(const struct gpu_ask *ask, const struct device *d, struct slice *s)
{
	uint32_t milli = ask_milli(ask, d);

	if (ask->fgpu_milli && (milli == 0 || milli > 1000))
		return false;
	s->mem_bytes = ask->mem_bytes ? ask->mem_bytes : num_milli_of(d->info.mem_bytes, milli);
	s->share_milli = ask->share_milli ? ask->share_milli : milli;
	/* Only one of the two was named: the other follows in proportion. */
	if (!s->mem_bytes)
		s->mem_bytes = num_milli_of(d->info.mem_bytes, s->share_milli);
	if (!s->share_milli) {
		unsigned __int128 m = (unsigned __int128)s->mem_bytes * 1000;
		s->share_milli = (uint32_t)MAX(m / MAX(d->info.mem_bytes, 1), 1);
	}
	return s->mem_bytes != 0 && s->mem_bytes <= d->info.mem_bytes && s->share_milli <= 1000;
}

bool slice_resolve(const struct gpu_ask *ask, const struct device *d, struct slice *ret)
{
	struct slice s = {.mem_bytes = d->info.mem_bytes, .share_milli = 1000};

	if (!device_matches(ask, d) || !d->info.mem_bytes)
		return false;
	if (d->info.card_milli ? !is_enough(ask, d) : !ask->count && !resolve_part(ask, d, &s))
		return false;
	*ret = s;
	return true;
}

#define WORD_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* The next piece of a list at *at, in out; false behind the last. What is too long for it is cut, and nothing is called so. */
static bool next_of(const char **at, char *out, size_t size)
{
	size_t n = strcspn(*at, ",");

	if (!**at)
		return false;
	snprintf(out, size, "%.*s", (int)n, *at);
	*at += n + ((*at)[n] == ',');
	return true;
}

static bool has_label_like(const char *labels, const char *pattern)
{
	char label[LABEL_MAX];

	while (next_of(&labels, label, sizeof(label)))
		if (fnmatch(pattern, label, 0) == 0)
			return true;
	return false;
}

bool node_is_listed(const char *list, const char *name, const char *labels)
{
	char one[LABEL_MAX];

	if (!list || !*list)
		return true;
	while (next_of(&list, one, sizeof(one)))
		if (one[0] == '@' ? has_label_like(labels, one + 1) : fnmatch(one, name, 0) == 0)
			return true;
	return false;
}

static bool has_label(const char *labels, const char *wanted)
{
	char label[LABEL_MAX];
	size_t n = strlen(wanted);

	while (next_of(&labels, label, sizeof(label)))
		if (strncmp(label, wanted, n) == 0 &&
		        (!label[n] || (label[n] == '=' && !strchr(wanted, '='))))
			return true;
	return false;
}

bool labels_have(const char *labels, const char *wanted)
{
	char one[LABEL_MAX];

	while (wanted && next_of(&wanted, one, sizeof(one)))
		if (!has_label(labels, one))
			return false;
	return true;
}

bool node_is_name(const char *name)
{
	size_t len = strspn(name, WORD_CHARS);

	return len && !name[len] && len < sizeof(((struct node *)0)->name);
}
