/*
 * `berth up` on a directory that another program serves, a newer or an older one: it takes over, and jobs run on.
 * For the process that wants the directory's lock. Blocks; one thread. What it is refused for happens before the other one is
 * disturbed.
 */
#pragma once

#include <sys/types.h>

#include "base/err.h"

#define TAKEOVER_VERSION_SIZE 64

/* What stands in the lock's file: "berth VERSION", then flags, one word a line. To be freed. */
char *takeover_text(const char *flags);
/* The flags in such a text; a text without a version is all flags, and ret_version empty. */
const char *takeover_flags(const char *text, char ret_version[TAKEOVER_VERSION_SIZE]);

/* The holder is another program than this one: by its version, or because its file was replaced under it. */
bool takeover_is_due(pid_t holder, const char *version);
/*
 * Asks the holder to leave without the jobs, and returns when it has let go of the directory; then whoever takes the lock first has it.
 * VERSION, with why on stderr, when this program cannot serve what is stored there.
 */
MUST_CHECK int takeover_run(const char *data_dir, const char *config_path, pid_t holder,
        const char *version, struct err *err);
/* A keepers' parent of another program is ended, so that attempts from here on have this one's keepers. Living keepers stay. */
void takeover_renew_keepers_parent(const char *data_dir);
