/*
 * Which server a verb speaks to, and which directory it looks into: --data, BERTH_DATA, BERTH_URL, the own directory,
 * root's. The caller owns a struct target until target_done(). One thread. A wrong variable is INVALID and named.
 */
#pragma once

#include "cli/cli.h"

#define TARGET_SOCKET_NAME "berth.sock"
#define TARGET_ROOT_DATA   "/var/lib/berth"

struct target {
	char *data_dir; /* absolute; NULL when the server is elsewhere and no directory was named */
	char *socket;   /* NULL when the server is elsewhere */
	char *url;      /* "https://host:port"; NULL: the socket */
	char *host;     /* of the URL: "host:port" */
	char *prefix;   /* path of the URL without a last '/', often "" */
	char *token;    /* BERTH_TOKEN or the content of BERTH_TOKEN_FILE, or NULL */
	const char *ca_path; /* BERTH_CA */
	const char *pin_hex; /* BERTH_PIN */
};

MUST_CHECK int target_find(const struct cli *cli, struct target *ret_target, struct err *err);
void target_done(struct target *t);
#define CLEANUP_TARGET CLEANUP(target_done)

/* The directory for `up` and what else works on it itself: --data, BERTH_DATA, or the own one; absolute, to be freed. */
MUST_CHECK int target_own_data(const struct cli *cli, char **ret_dir, struct err *err);
/* An absolute path without "." and "//"; it need not exist. To be freed. */
char *target_absolute(const char *path);
