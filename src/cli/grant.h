/*
 * What root itself lets run as root, written down where only root can write, so that the helper can tell it from what a
 * server that is not root any more makes up (doc/adr/0014). Only root's verbs on the machine's own socket have to do with it.
 * The caller owns the descriptor of the directory, and closes it. One thread. A grant that cannot be kept is an error.
 */
#pragma once

#include <jansson.h>

#include "cli/client.h"

/* The directory of grants; -1: none are due here. */
int grant_open(const struct client *c);
/*
 * Grants this job, as it is about to be sent, and names the grant in it; one that does not run as root is left as it is.
 * taken: the environment that goes along, besides the job's `env`. is_of_many: durable only after grant_sync().
 */
MUST_CHECK int grant_job(
        int dir, json_t *job, const json_t *taken, bool is_of_many, struct err *err);
/* The same of a command beside job ID; key: "" when none is due. */
MUST_CHECK int grant_exec(
        int dir, const char *id, char **argv, bool tty, char key[40], struct err *err);
MUST_CHECK int grant_sync(int dir, struct err *err);
/* The job was taken, as id: from now on its grant is that job's alone, and goes with it. NULL: it was refused. */
void grant_settle(int dir, const char *key, const char *id);
/* What was not used; NULL and unknown ones do nothing. */
void grant_take_back(int dir, const char *key);
