/*
 * Berth's other programs: where they are, and how they are started under the names that `ps` shows.
 * Nothing is owned but what the caller frees. One thread. A program that is missing is NOT_FOUND, naming the places.
 */
#pragma once

#include "base/err.h"

/* "berth-server" beside this program, or in ../lib/berth of it. To be freed. */
MUST_CHECK int parts_find(const char *program, char **ret_path, struct err *err);
/* This program itself; to be freed. */
char *parts_self(void);

/* An argument vector that grows; the words are copied. */
struct parts_argv {
	char **v; /* NULL-terminated */
	size_t n, cap;
};
void parts_argv_add(struct parts_argv *a, const char *word);
/* The option and its value, when there is one. */
void parts_argv_add_option(struct parts_argv *a, const char *option, const char *value);
void parts_argv_done(struct parts_argv *a);
