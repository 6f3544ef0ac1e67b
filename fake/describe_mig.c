/*
 * MIG instances in the description: `instance 1g.10gb 9856MiB`, and behind it perhaps `shared`, or a UUID of its own.
 */
#include "describe.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* "1g.10gb": one part of the compute; "1c.3g.40gb": one of a GPU instance that has three. */
static bool take_profile(struct reader *r, const char *name, struct sim_card *c)
{
	const char *g = name;
	bool has_own = isdigit((unsigned char)name[0]) && name[1] == 'c' && name[2] == '.';

	if (has_own)
		g += 3;
	if (!isdigit((unsigned char)g[0]) || g[1] != 'g' || g[2] != '.' || strlen(name) > 24)
		return refuse(r, "'%.40s' is not a profile, such as 1g.10gb", name);
	c->gi_slices = (unsigned)(g[0] - '0');
	c->slices = has_own ? (unsigned)(name[0] - '0') : c->gi_slices;
	return (c->slices && c->slices <= c->gi_slices) ||
	       refuse(r, "'%.40s' has no compute", name);
}

bool mig_key_instance(struct reader *r, char *value)
{
	char *profile = next_word(&value), *size = next_word(&value), *word = next_word(&value);
	const struct sim_card *last = r->n_instances ? &r->instances[r->n_instances - 1] : NULL;
	struct sim_card c = {.parent = (int)r->s->n_cards - 1, .gi = 1};

	if (last && last->parent != c.parent)
		last = NULL;
	if (r->n_instances == SIM_CARDS_MAX)
		return refuse(r, "more than %d instances", SIM_CARDS_MAX);
	if (!take_profile(r, profile, &c) || !take_size(r, size, &c.mem_bytes))
		return false;
	if (strcmp(word, "shared") == 0) {
		if (!last)
			return refuse(r, "there is no instance before it to share with");
		c.gi = last->gi;
		c.ci = last->ci + 1;
	} else {
		if (last)
			c.gi = last->gi + 1;
		if (*word && (strncmp(word, "MIG-", 4) != 0 || strlen(word) >= sizeof(c.uuid)))
			return refuse(r, "'%.40s' is neither 'shared' nor a UUID: MIG-...", word);
		snprintf(c.uuid, sizeof(c.uuid), "%s", word);
	}
	snprintf(c.model, sizeof(c.model), "%s", profile);
	r->instances[r->n_instances++] = c;
	return true;
}

/* The same card and place give the same UUID for ever. */
static void derive_uuid(const struct sim_card *whole, struct sim_card *c)
{
	const unsigned place[] = {c->gi, c->ci};
	uint64_t a = hash_bytes(UINT64_C(0xcbf29ce484222325), whole->uuid, strlen(whole->uuid));
	uint64_t b;

	a = hash_bytes(a, place, sizeof(place));
	b = hash_bytes(a, whole->uuid, strlen(whole->uuid));
	snprintf(c->uuid, sizeof(c->uuid), "MIG-%08x-%04x-%04x-%04x-%012llx", (unsigned)(a >> 32),
	        (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xffff), (unsigned)(b >> 48),
	        (unsigned long long)(b & UINT64_C(0xffffffffffff)));
}

/* What is the card's, and what is the instance's own. */
static struct sim_card join(const struct sim_card *whole, const struct sim_card *own)
{
	struct sim_card c = *whole;

	c.mem_bytes = own->mem_bytes;
	c.reserved_bytes = 0;
	c.mig = false;
	c.parent = own->parent;
	c.gi = own->gi;
	c.ci = own->ci;
	c.gi_slices = own->gi_slices;
	c.slices = own->slices;
	snprintf(c.model, sizeof(c.model), "%.60s MIG %.30s", whole->model, own->model);
	memcpy(c.uuid, own->uuid, sizeof(c.uuid));
	if (!*c.uuid)
		derive_uuid(whole, &c);
	return c;
}

static bool add(struct reader *r, const struct sim_card *own)
{
	struct sim *s = r->s;
	const struct sim_card *whole = &s->cards[own->parent];
	uint64_t bytes = own->ci ? 0 : own->mem_bytes;
	unsigned slices = own->slices;

	if (!whole->mig)
		return refuse(r, "device %d has an instance, but is not in MIG mode", own->parent);
	if (s->n_cards == SIM_CARDS_MAX)
		return refuse(r, "more than %d devices and instances", SIM_CARDS_MAX);
	for (unsigned i = s->n_gpus; i < s->n_cards; i++)
		if (s->cards[i].parent == own->parent) {
			slices += s->cards[i].slices;
			bytes += s->cards[i].ci ? 0 : s->cards[i].mem_bytes;
		}
	if (!own->mem_bytes || slices > SIM_SLICES_MAX ||
	        bytes > whole->mem_bytes - whole->reserved_bytes)
		return refuse(r, "the instances of device %d are more than it has", own->parent);
	s->cards[s->n_cards] = join(whole, own);
	for (unsigned i = 0; i < s->n_cards; i++)
		if (strcmp(s->cards[i].uuid, s->cards[s->n_cards].uuid) == 0)
			return refuse(r, "two devices have the uuid %.60s", s->cards[i].uuid);
	s->n_cards++;
	return true;
}

bool mig_end(struct reader *r)
{
	for (unsigned i = 0; i < r->n_instances; i++)
		if (!add(r, &r->instances[i]))
			return false;
	return true;
}
