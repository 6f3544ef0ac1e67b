/*
 * Tenants: programs that use the device as any would, each a process of this same program (tenant.c), whose output is what it
 * saw. In a slice or not: by LD_LIBRARY_PATH and BERTH_SLICES, as a job finds them.
 * Who begins a tenant ends it, by tenant_end or tenant_kill; it dies with this process, however that ends. Text is its caller's,
 * to be freed.
 */
#pragma once

#include "bench/bench.h"

#include <sys/types.h>

struct seat {
	const char *ledgers; /* BERTH_SLICES; NULL: in no slice */
	bool has_null_driver;
	/* Of a simulated device: so many share its virtual clock, and which of them this is. 0: the clock as described. */
	unsigned n_players, place;
};

struct tenant {
	pid_t pid;
	int fd; /* of its output */
};

/* -- life cycle -- */
/* Directories of links to the libraries, and what simulated devices need; once, before the first tenant. */
bool tenants_stage(struct bench *b, const char *driver_dir);
bool tenant_begin(
        struct bench *b, const struct seat *seat, const char *const *words, struct tenant *ret);
/* All that it printed; false: it did not end in time, or not with 0, and `why` has what it said. */
bool tenant_end(struct bench *b, struct tenant *t, char **ret_text);
/* How it ended, as waitpid says; ret_text may be NULL. */
int tenant_kill(struct tenant *t, char **ret_text);

/* -- commands -- */
bool tenant_wait_line(struct bench *b, struct tenant *t); /* its first output is there */
/* From begin to end. */
bool tenant_run(
        struct bench *b, const struct seat *seat, const char *const *words, char **ret_text);

/* -- queries -- */
/* Of "key value" lines; "" where there is none. */
void tenant_word(const char *text, const char *key, char *ret, size_t size);
double tenant_number(const char *text, const char *key);

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* What the process is, when it was started to be a tenant. */
int tenant_main(int argc, char **argv);
