#include "engine/host_prepare.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <talloc.h>
#include <unistd.h>

#include "engine/env.h"
#include "engine/paths.h"
#include "base/mem.h"
#include "plat/fs.h"

/*
 * DESIGN. Output that its submitter wants elsewhere is found again through a symbolic link in logs/: so whoever reads it
 * later needs neither the request nor a table. Where we are root, the link belongs to the job's account, and a reader
 * takes only a file of the same owner behind it (reader.h).
 */

char *prepare_console_path(void *ctx, const struct prepare *p, uint64_t epoch, uint64_t console_id)
{
	if (!console_id)
		return talloc_asprintf(
		        ctx, "%s/run/console/%llu", p->data_dir, (unsigned long long)epoch);
	return talloc_asprintf(ctx, "%s/run/console/%llu.%llx", p->data_dir,
	        (unsigned long long)epoch, (unsigned long long)console_id);
}

int prepare_console_dir(const struct prepare *p, struct err *err)
{
	char dir[PATH_MAX];

	snprintf(dir, sizeof(dir), "%s/run/console", p->data_dir);
	return access(dir, F_OK) == 0 ? 0 : fs_mkdir_p(dir, 0700, err);
}

static int find_account(const struct prepare *p, const char *user, uint32_t uid, uint64_t now_ms,
        const struct account **ret_account, struct err *err)
{
	struct err ignored;

	*ret_account = NULL;
	if (user)
		return account_get(p->accounts, user, now_ms, ret_account, err);
	/* A number without a name can own files and run. */
	if (account_get_uid(p->accounts, uid, now_ms, ret_account, &ignored) < 0)
		*ret_account = NULL;
	return 0;
}

int prepare_account(void *ctx, const struct prepare *p, const char *user, uint32_t uid,
        uint64_t now_ms, struct launch *l, const struct account **ret_account, struct err *err)
{
	const struct account *account;
	int rc = find_account(p, user, uid, now_ms, &account, err);

	if (rc < 0)
		return rc;
	*ret_account = account;
	if (account)
		uid = account->uid;
	if (!p->has_accounts && uid != p->uid)
		return err_set(err, ERR_FORBIDDEN,
		        "this agent runs jobs of its own account (%u) only, not of %u; "
		        "one that root started runs those of all",
		        p->uid, uid);
	if (!p->has_accounts)
		return 0;
	l->user = account ? talloc_strdup(ctx, account->name) : talloc_asprintf(ctx, "%u", uid);
	if (!p->is_resolver)
		return 0;
	l->has_account = true;
	l->uid = uid;
	l->gid = account ? account->gid : uid;
	if (account && account->n_groups) {
		l->groups = talloc_memdup(
		        ctx, account->groups, account->n_groups * sizeof(*account->groups));
		l->n_groups = account->n_groups;
	}
	return 0;
}

/* A link to where the output will be; an attempt that is prepared again finds its own. */
static int link_output(void *ctx, const struct prepare *p, const struct link_start *m,
        const char *kind, const char *path, const struct account *account, struct err *err)
{
	char *link = paths_log(ctx, p->data_dir, m->id, m->attempt, kind);

	if (symlink(path, link) < 0) {
		if (errno != EEXIST || unlink(link) < 0 || symlink(path, link) < 0)
			return err_sys(err, errno, "making '%s'", link);
	}
	if (p->uid == 0 && lchown(link, account ? account->uid : m->uid, (gid_t)-1) < 0)
		return err_sys(err, errno, "giving away '%s'", link);
	return 0;
}

/* A thousand jobs have the same one. */
static int make_log_dir(void *ctx, struct prepare *p, struct job_id id, struct err *err)
{
	char *dir = paths_log_dir(ctx, p->data_dir, id);
	int rc;

	if (p->log_dir && strcmp(p->log_dir, dir) == 0)
		return 0;
	rc = fs_mkdir_p(dir, 0700, err);
	if (rc < 0)
		return rc;
	free(p->log_dir);
	p->log_dir = mem_strdup(dir);
	return 0;
}

static int set_output(void *ctx, struct prepare *p, const struct engine_request *r,
        const struct account *account, struct launch *l, struct err *err)
{
	const struct link_start *m = r->start;
	struct paths_names names = {
	        .id = m->id,
	        .attempt = m->attempt,
	        .job = m->name,
	        .user = account ? account->name : m->user,
	        .node = p->node_name,
	};
	int rc = make_log_dir(ctx, p, m->id, err);

	if (rc < 0)
		return rc;
	l->index_path = paths_log(ctx, p->data_dir, m->id, m->attempt, "idx");
	l->output_max = r->output_max;
	l->out_internal = !m->output;
	l->out_path = m->output ? paths_output(ctx, m->output, l->cwd, &names)
	                        : paths_log(ctx, p->data_dir, m->id, m->attempt, "out");
	if (m->output) {
		rc = link_output(ctx, p, m, "out", l->out_path, account, err);
		if (rc < 0)
			return rc;
	}
	if (!m->error)
		return 0;
	l->err_path = paths_output(ctx, m->error, l->cwd, &names);
	if (strcmp(l->err_path, l->out_path) == 0) {
		l->err_path = NULL;
		return 0;
	}
	return link_output(ctx, p, m, "err", l->err_path, account, err);
}

static int set_directory(void *ctx, const struct prepare *p, const struct link_start *m,
        struct launch *l, struct err *err)
{
	char *work;

	if (m->chdir) {
		l->cwd = m->chdir;
		return 0;
	}
	l->make_cwd = true;
	l->cwd = paths_work_dir(ctx, p->data_dir, m->id, m->attempt);
	work = talloc_asprintf(ctx, "%s/work", p->data_dir);
	/* Every account passes through it to its own, and sees no other's. */
	return access(work, F_OK) == 0 ? 0 : fs_mkdir_p(work, 0711, err);
}

static int set_console(void *ctx, const struct prepare *p, const struct link_start *m,
        struct launch *l, struct err *err)
{
	if (!m->tty)
		return 0;
	l->tty = l->console = true;
	l->rows = m->rows;
	l->cols = m->columns;
	l->console_path = prepare_console_path(ctx, p, m->epoch, 0);
	return prepare_console_dir(p, err);
}

static void set_environment(void *ctx, const struct prepare *p, const struct engine_request *r,
        const struct account *account, struct launch *l)
{
	struct env_account known = {0};
	struct env_input in = {
	        .start = r->start,
	        .blob = r->env,
	        .blob_len = r->env_len,
	        .lang = p->lang,
	        .mps_pipes = r->mps_pipes,
	        .mps_logs = r->mps_logs,
	        .fake_gpus = p->fake_gpus,
	};

	if (account) {
		known = (struct env_account){
		        .name = account->name, .home = account->home, .is_root = account->uid == 0};
		in.account = &known;
	}
	l->env = env_compose(ctx, &in);
}

/* Its CPUs are its share; without any it has a little. */
static void set_holds(const struct engine_request *r, struct launch *l)
{
	const struct engine_holds *h = r->holds;

	l->mem_bytes = r->start->mem_bytes;
	l->cpu_weight = r->start->n_cpus ? MIN(r->start->n_cpus, NODE_CPUS_MAX) * 100 : 10;
	_Static_assert(LAUNCH_MINORS == ENGINE_MINORS && LAUNCH_CAPS == ENGINE_CAPS,
	        "devices of an attempt and of a launch");
	l->hold_devices = r->devices != NULL;
	if (r->devices) {
		memcpy(l->minors, r->devices->minors, sizeof(l->minors));
		l->caps_major = r->devices->caps_major;
		memcpy(l->caps, r->devices->caps, sizeof(l->caps));
	}
	if (!h)
		return;
	l->max_processes = h->max_processes;
	l->cpu_max_milli = h->cap_cpus ? MIN(r->start->n_cpus, NODE_CPUS_MAX) * 1000 : 0;
	l->io_weight = h->io_weight;
	l->group_parent = h->group_parent;
}

int prepare_launch(void *ctx, struct prepare *p, const struct engine_request *r, uint64_t now_ms,
        struct launch *ret_launch, struct err *err)
{
	const struct link_start *m = r->start;
	const struct account *account;
	struct launch l = {
	        .kind = LAUNCH_START,
	        .job = m->id.num,
	        .task = m->id.task,
	        .attempt = m->attempt,
	        .epoch = m->epoch,
	        .again = r->again,
	        .argv = m->argv,
	        .grace_ms = r->grace_ms,
	        .time_limit_ms = m->time_limit_ms,
	        .grant = m->grant,
	        .ranks = m->ranks,
	        .label = m->label,
	};
	int rc = prepare_account(ctx, p, m->user, m->uid, now_ms, &l, &account, err);

	if (rc == 0)
		rc = set_directory(ctx, p, m, &l, err);
	if (rc == 0)
		rc = set_output(ctx, p, r, account, &l, err);
	if (rc == 0)
		rc = set_console(ctx, p, m, &l, err);
	if (rc < 0)
		return rc;
	set_environment(ctx, p, r, account, &l);
	set_holds(r, &l);
	_Static_assert(LAUNCH_RANKS == REQUEST_RANKS_MAX, "tasks of a job and of a launch");
	_Static_assert(sizeof(l.cpus) == sizeof(m->cpus.bits), "CPUs of a node and of a launch");
	memcpy(l.cpus, m->cpus.bits, sizeof(l.cpus));
	l.slices = r->slices;
	l.gpu_limits = r->gpu_limits;
	l.by_mps = r->mps_pipes != NULL;
	l.simulated = p->fake_gpus && m->n_slices;
	*ret_launch = l;
	return 0;
}
