#include "cli/procs.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"

#define CMDLINE_MAX 8192

const char *const procs_role_names[PROCS_ROLE_MAX] = {
        [PROCS_UP] = "up",
        [PROCS_SERVER] = "server",
        [PROCS_AGENT] = "agent",
        [PROCS_HELPER] = "helper",
        [PROCS_KEEPER] = "keeper",
};

/* The command line with spaces between its words, as ps shows it. */
static bool read_cmdline(const char *pid, char out[CMDLINE_MAX])
{
	char path[64];
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, out, CMDLINE_MAX - 1);
	close(fd);
	if (n <= 0)
		return false;
	out[n] = '\0';
	for (ssize_t i = 0; i + 1 < n; i++)
		if (!out[i])
			out[i] = ' ';
	return true;
}

static int role_of(const char *cmdline)
{
	if (strncmp(cmdline, "berth ", 6) != 0)
		return -1;
	for (int r = 0; r < PROCS_ROLE_MAX; r++) {
		size_t len = strlen(procs_role_names[r]);
		if (strncmp(cmdline + 6, procs_role_names[r], len) == 0 &&
		        (cmdline[6 + len] == ' ' || !cmdline[6 + len]))
			return r;
	}
	return -1;
}

static bool serves(const char *cmdline, const char *data_dir)
{
	const char *at = strstr(cmdline, " --data ");
	size_t len = strlen(data_dir);

	if (!at)
		return false;
	at += strlen(" --data ");
	return strncmp(at, data_dir, len) == 0 && (at[len] == ' ' || !at[len]);
}

static bool is_ours(const char *pid, uid_t owner)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%.20s", pid);
	return stat(path, &st) == 0 &&
	       (st.st_uid == geteuid() || (geteuid() == 0 && st.st_uid == owner));
}

/* 0 for what is no pid. */
static pid_t pid_of(const char *name)
{
	int64_t pid;
	struct err err;

	return num_parse_i64(name, 1, INT32_MAX, &pid, &err) ? 0 : (pid_t)pid;
}

void procs_find(const char *data_dir, struct procs *ret_procs)
{
	struct procs p = {0};
	struct stat st = {0};
	char cmdline[CMDLINE_MAX];
	DIR *dir = opendir("/proc");
	struct dirent *entry;

	stat(data_dir, &st);
	while (dir && (entry = readdir(dir))) {
		if (!isdigit((unsigned char)entry->d_name[0]) || pid_of(entry->d_name) == getpid())
			continue;
		if (!is_ours(entry->d_name, st.st_uid) || !read_cmdline(entry->d_name, cmdline))
			continue;
		int role = role_of(cmdline);
		if (role < 0 || !serves(cmdline, data_dir))
			continue;
		MEM_GROW(p.v, p.n, p.cap);
		p.v[p.n++] = (struct proc){pid_of(entry->d_name), (enum procs_role)role};
	}
	if (dir)
		closedir(dir);
	*ret_procs = p;
}

void procs_done(struct procs *p)
{
	free(p->v);
	*p = (struct procs){0};
}

size_t procs_count(const struct procs *p, enum procs_role role)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += p->v[i].role == role;
	return n;
}
