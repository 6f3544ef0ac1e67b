#include "cli/setup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/interrupt.h"
#include "cli/procs.h"
#include "plat/fs.h"

#define OLD_GONE_MS 10000
#define OLD_POLL_MS 20

int setup_data_dir(const char *data_dir, struct err *err)
{
	mode_t mode = geteuid() == 0 ? 0755 : 0700;
	struct stat st;
	char *logs = NULL;
	int rc = fs_mkdir_p(data_dir, mode, err);

	if (rc)
		return rc;
	if (stat(data_dir, &st) < 0)
		return err_sys(err, errno, "%s", data_dir);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ERR_INVALID, "%s is not a directory", data_dir);
	if (st.st_uid != geteuid() && geteuid() != 0)
		return err_set(err, ERR_FORBIDDEN, "%s belongs to another account", data_dir)
		               ? err_hint(err, "name a directory of your own with --data")
		               : 0;
	BUG_IF(asprintf(&logs, "%s/logs", data_dir) < 0);
	rc = fs_mkdir_p(logs, mode, err);
	free(logs);
	return rc;
}

int setup_wait_for_old(const char *data_dir, struct err *err)
{
	for (int waited_ms = 0;; waited_ms += OLD_POLL_MS) {
		struct procs p;
		struct proc first = {0};
		procs_find(data_dir, &p);
		for (size_t i = 0; i < p.n && !first.pid; i++)
			if (p.v[i].role == PROCS_SERVER || p.v[i].role == PROCS_AGENT ||
			        p.v[i].role == PROCS_HELPER)
				first = p.v[i];
		procs_done(&p);
		if (!first.pid)
			return 0;
		if (waited_ms >= OLD_GONE_MS)
			return err_set(err, ERR_CONFLICT, "process %d, berth %s, still serves %s",
			               (int)first.pid, procs_role_names[first.role], data_dir)
			               ? err_hint(err, "end it with: kill %d", (int)first.pid)
			               : 0;
		interrupt_poll(NULL, 0, OLD_POLL_MS);
	}
}
