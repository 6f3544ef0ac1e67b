#include "cli/setup.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
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

/* Its pid is in its lock file; 0: there is none. */
pid_t setup_find_keepers_parent(const char *data_dir)
{
	CLEANUP_BUF struct buf path = BUF_INIT(4200), text = BUF_INIT(64);
	struct err err;
	int64_t pid = 0;

	buf_addf(&path, "%s/run/keeper.sock.lock", data_dir);
	if (fs_read(buf_str(&path), &text, &err))
		return 0;
	while (text.len && text.data[text.len - 1] == '\n')
		text.len--;
	if (text.len && memchr(text.data, '\0', text.len))
		return 0;
	return num_parse_i64(buf_str(&text), 1, INT32_MAX, &pid, &err) ? 0 : (pid_t)pid;
}

/* An agent that is about to end may just be starting one. */
void setup_end_keepers_parent(const char *data_dir)
{
	for (int tries = 0; tries < 40; tries++) {
		pid_t parent = setup_find_keepers_parent(data_dir);
		struct procs p;
		size_t left = 0;

		procs_find(data_dir, &p);
		for (size_t i = 0; i < p.n; i++) {
			left += p.v[i].role == PROCS_AGENT;
			if (p.v[i].role != PROCS_KEEPER)
				continue;
			left += parent == 0 || p.v[i].pid == parent;
			if (p.v[i].pid == parent)
				kill(p.v[i].pid, SIGTERM);
		}
		procs_done(&p);
		if (left == 0)
			return;
		poll(NULL, 0, 25);
	}
}
