/*
 * The environment that a job starts with: what was taken along at submit, what is missing of its account's, and what
 * Berth says of the attempt. Pure; strings of the result hang on the caller's talloc context. Any thread. Cannot fail.
 */
#pragma once

#include "wire/link.h"

struct env_account {
	const char *name;
	const char *home;
	bool is_root;
};

struct env_input {
	const struct link_start *start;
	const void *blob; /* K=V separated by NUL, as submitted; NULL: none */
	size_t blob_len;
	bool keep_ours; /* blob is what such an attempt was given already: what Berth says stands in it */
	const struct env_account *
	        account; /* fills in PATH, HOME, USER and LANG where the job has none; NULL: unknown */
	const char *lang;                 /* of this machine, or NULL */
	const char *mps_pipes, *mps_logs; /* of the MPS daemon of its device; NULL: none */
	const char
	        *fake_gpus; /* description of the simulated devices; NULL: the devices are real */
};

/* NULL-terminated K=V. What Berth says of the attempt wins over what was submitted. */
char **env_compose(void *ctx, const struct env_input *in);
