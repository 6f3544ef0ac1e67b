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
	char *error;
};

__attribute__((format(printf, 2, 3))) bool refuse(struct reader *r, const char *fmt, ...);
char *next_word(char **rest); /* cuts it off; "" at the end */
bool take_number(struct reader *r, const char *value, uint64_t max, uint64_t *ret_value);

/* -- keys of time: describe_pace.c -- */
void pace_begin(struct sim_pace *pace);
/* False: refused, or not one of them, which ret_known tells. */
bool pace_key(struct reader *r, const char *key, char *value, bool *ret_known);
