/*
 * The configuration of one data directory: its file, then BERTH_CONF_*, then the flags of the line; and what
 * `berth config` and the supervisor ask about it without a server.
 * The caller owns what is handed out. Any thread. What fails names the file, the key and the line.
 */
#pragma once

#include "conf/conf.h"

struct settings_source {
	const char *data_dir;
	const char *config_path; /* NULL: DIR/berth.yaml, if it is there */
	const char *listen;      /* --listen, or NULL */
	bool insecure;           /* --insecure */
};

/* Checked, too. */
MUST_CHECK int settings_load(
        const struct settings_source *from, struct conf **ret_conf, struct err *err);

enum settings_question { SETTINGS_NONE, SETTINGS_CHECK, SETTINGS_SHOW, SETTINGS_GET };

/* Answers on stdout, complains on stderr; returns the exit code. key: of a GET, "server.user". */
int settings_answer(
        const struct settings_source *from, enum settings_question question, const char *key);
