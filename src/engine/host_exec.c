#include "engine/host_exec.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "berth/slice_dir.h"
#include "engine/env.h"
#include "plat/fs.h"

#define ENVIRON_MAX (2 * MIB)
#define SLICES      SLICE_VARIABLE "=" /* is its attempt's, whatever is asked for */

static size_t count(char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

static bool is_overridden(const char *entry, char *const *by)
{
	size_t key_len = strcspn(entry, "=") + 1;

	if (strncmp(entry, SLICES, strlen(SLICES)) == 0)
		return false;
	for (; by && *by; by++)
		if (strncmp(entry, *by, key_len) == 0)
			return true;
	return false;
}

/* Borrows the entries. */
static char **merge(void *ctx, char *const *own, char *const *added)
{
	char **list = talloc_array(ctx, char *, count(own) + count(added) + 1);
	size_t n = 0;

	BUG_IF(!list);
	for (; own && *own; own++)
		if (!is_overridden(*own, added))
			list[n++] = *own;
	for (; added && *added; added++)
		if (strncmp(*added, SLICES, strlen(SLICES)) != 0)
			list[n++] = *added;
	list[n] = NULL;
	return list;
}

/* The attempt's own START. */
static int from_start(void *ctx, const struct host_attempt *a, struct launch *l, struct err *err)
{
	struct launch s;
	int rc = launch_decode(a->launch + 4, a->launch_len - 4, &s, err);

	if (rc < 0)
		return rc;
	l->user = s.user ? talloc_strdup(ctx, s.user) : NULL;
	l->cwd = s.cwd ? talloc_strdup(ctx, s.cwd) : NULL;
	l->has_account = s.has_account;
	l->uid = s.uid;
	l->gid = s.gid;
	l->groups = talloc_memdup(ctx, s.groups, s.n_groups * sizeof(*s.groups));
	l->n_groups = s.n_groups;
	memcpy(l->cpus, s.cpus, sizeof(l->cpus));
	l->simulated = s.simulated;
	l->env = talloc_zero_array(ctx, char *, count(s.env) + 1);
	for (size_t i = 0; s.env[i]; i++)
		l->env[i] = talloc_strdup(ctx, s.env[i]);
	launch_done(&s);
	return 0;
}

/* Started by an earlier engine: what the machine says of its first process. */
static int from_process(void *ctx, const struct prepare *p, const struct host_attempt *a,
        uint64_t now_ms, struct launch *l, struct err *err)
{
	struct buf environment = BUF_INIT(ENVIRON_MAX);
	struct link_start m = {.id = a->id, .attempt = a->n, .epoch = a->epoch};
	char path[64], cwd[PATH_MAX];
	struct env_account known = {0};
	struct env_input in = {.start = &m, .lang = p->lang, .fake_gpus = p->fake_gpus};
	const struct account *account;
	struct err ignored;
	struct stat st;
	ssize_t n;
	int rc;

	snprintf(path, sizeof(path), "/proc/%u", a->pid);
	if (stat(path, &st) < 0)
		return err_set(err, ERR_CONFLICT, "its first process has ended");
	rc = prepare_account(ctx, p, NULL, st.st_uid, now_ms, l, &account, err);
	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "/proc/%u/cwd", a->pid);
	n = readlink(path, cwd, sizeof(cwd) - 1);
	cwd[MAX(n, 0)] = '\0';
	l->cwd = talloc_strdup(ctx, n > 0 ? cwd : account ? account->home : "/");
	if (account) {
		known = (struct env_account){account->name, account->home, account->uid == 0};
		in.account = &known;
	}
	snprintf(path, sizeof(path), "/proc/%u/environ", a->pid);
	if (fs_read(path, &environment, &ignored) == 0 && environment.len) {
		in.blob = environment.data;
		in.blob_len = environment.len;
		in.keep_ours = true;
	}
	l->env = env_compose(ctx, &in);
	l->simulated = p->fake_gpus && l->slices;
	buf_done(&environment);
	return 0;
}

int exec_prepare(void *ctx, const struct prepare *p, const struct host_attempt *a,
        const struct engine_attach *m, uint64_t now_ms, struct launch *ret_launch, struct err *err)
{
	struct launch l = {
	        .kind = LAUNCH_EXEC,
	        .argv = m->argv,
	        .tty = m->tty,
	        .console = true,
	        .rows = m->rows,
	        .cols = m->columns,
	        .grant = m->grant,
	        .slices = m->slices,
	};
	int rc;

	rc = a->launch ? from_start(ctx, a, &l, err) : from_process(ctx, p, a, now_ms, &l, err);
	if (rc < 0)
		return rc;
	l.env = merge(ctx, l.env, m->env);
	*ret_launch = l;
	return 0;
}
