/*
 * Who runs what when root starts Berth: server and agent as the account server.user, and the helper for what needs root.
 * The account that nobody configured is made when it is missing. With server.user: root, all of it runs as root; started by
 * anybody else, as that one. Borrows everything; one thread. An account that is configured but missing or that cannot be
 * made, one to which the directory is closed, or a configuration that is wrong, is an error with its text.
 */
#pragma once

#include "cli/supervisor.h"
#include "cli/supervisor_part.h"

/* Gives the parts their account, the directory its owner, and makes the helper a part, where that is due. */
MUST_CHECK int rights_assign(const struct supervisor_options *o, struct part *server,
        struct part *agent, struct part *helper, struct err *err);
