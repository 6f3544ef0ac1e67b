/*
 * Inside of the reader of descriptions: what a key's function is given. One thread; a refusal says why in the reader's error.
 */
#pragma once

#include "sim.h"

struct reader {
	struct sim *s;
	const char *path;
	unsigned line;
	char seed[128];
	bool uuid_given[SIM_CARDS_MAX];
	struct sim_card instances[SIM_CARDS_MAX];
	unsigned n_instances;
	char *error;
};

__attribute__((format(printf, 2, 3))) bool refuse(struct reader *r, const char *fmt, ...);
char *next_word(char **rest); /* cuts it off; "" at the end */
bool take_number(struct reader *r, const char *value, uint64_t max, uint64_t *ret_value);
bool take_size(struct reader *r, const char *value, uint64_t *ret_bytes);
/* 64 bits of FNV-1a, stirred. */
uint64_t hash_bytes(uint64_t h, const void *data, size_t len);

/* -- MIG instances: describe_mig.c -- */
bool mig_key_instance(struct reader *r, char *value);
bool mig_end(struct reader *r); /* puts them behind the cards, which have their UUIDs */

/* -- keys of time: describe_pace.c -- */
void pace_begin(struct sim_pace *pace);
/* False: refused, or not one of them, which ret_known tells. */
bool pace_key(struct reader *r, const char *key, char *value, bool *ret_known);
