#include "helper/policy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/text.h"
#include "helper/accounts.h"
#include "helper/grants.h"
#include "plat/fs.h"
#include "wire/spool.h"

#define FILE_MAX       (64 * KIB)
#define GROUP_PATH_MAX 300

void policy_init(struct policy *p, const char *data)
{
	*p = (struct policy){.data = data,
	        .min_uid = 1000,
	        .devices = "/proc/driver/nvidia/gpus",
	        .accounts = accounts_new()};
}

static void drop_users(struct policy *p)
{
	while (p->n_users)
		free(p->users[--p->n_users]);
}

void policy_done(struct policy *p)
{
	drop_users(p);
	free(p->cgroup_parent);
	p->cgroup_parent = NULL;
	accounts_free(p->accounts);
	p->accounts = NULL;
}

static int set_users(struct policy *p, const char *value, struct err *err)
{
	char *copy = mem_strdup(value), *rest = copy, *name;
	int rc = 0;

	drop_users(p);
	while (rc == 0 && (name = strsep(&rest, ", "))) {
		if (!*name)
			continue;
		if (p->n_users == POLICY_USERS)
			rc = err_set(err, ERR_LIMIT, "users: more than %d", POLICY_USERS);
		else
			p->users[p->n_users++] = mem_strdup(name);
	}
	free(copy);
	return rc;
}

int policy_set(struct policy *p, const char *key, const char *value, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	uint64_t number;
	int rc;

	if (strcmp(key, "users") == 0)
		return set_users(p, value, err);
	if (strcmp(key, "min_uid") == 0) {
		rc = num_parse_u64(value, UINT32_MAX - 1, &number, err);
		if (rc < 0)
			return err_wrap(err, "min_uid");
		p->min_uid = (uint32_t)number;
		return 0;
	}
	if (strcmp(key, "allow_root") == 0) {
		bool is_yes =
		        !strcmp(value, "yes") || !strcmp(value, "1") || !strcmp(value, "true");

		if (!is_yes && strcmp(value, "no") != 0 && strcmp(value, "0") != 0 &&
		        strcmp(value, "false") != 0)
			return err_set(err, ERR_INVALID, "allow_root: '%s' is neither yes nor no",
			        text_show(value, shown));
		p->allow_root = is_yes;
		return 0;
	}
	if (strcmp(key, "cgroup_parent") == 0) {
		if (*value != '/' || strlen(value) > GROUP_PATH_MAX || strstr(value, "/."))
			return err_set(err, ERR_INVALID,
			        "cgroup_parent: '%s' is no path of a control group",
			        text_show(value, shown));
		free(p->cgroup_parent);
		p->cgroup_parent = mem_strdup(value);
		return 0;
	}
	return err_set(err, ERR_UNKNOWN_KEY, "there is no setting '%s'", text_show(key, shown));
}

/* Blanks at both ends away. */
static char *trim(char *s)
{
	size_t len;

	s += strspn(s, " \t\r");
	len = strlen(s);
	while (len && strchr(" \t\r", s[len - 1]))
		s[--len] = '\0';
	return s;
}

int policy_parse(struct policy *p, char *text, struct err *err)
{
	unsigned number = 0;
	char *line, *value;
	int rc;

	while ((line = strsep(&text, "\n"))) {
		number++;
		line[strcspn(line, "#")] = '\0';
		line = trim(line);
		if (!*line)
			continue;
		value = strchr(line, '=');
		if (!value)
			return err_set(err, ERR_INVALID, "line %u: no '=' in it", number);
		*value++ = '\0';
		rc = policy_set(p, trim(line), trim(value), err);
		if (rc < 0)
			return err_wrap(err, "line %u", number);
	}
	return 0;
}

int policy_read(struct policy *p, const char *path, struct err *err)
{
	CLEANUP_BUF struct buf b = BUF_INIT(FILE_MAX);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), rc = 0;
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return errno == ENOENT ? 0 : err_sys(err, errno, "reading '%s'", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & 022))
		rc = err_set(err, ERR_FORBIDDEN,
		        "'%s' must be a file of root's that nobody else can write", path);
	while (rc == 0 && (n = read(fd, buf_reserve(&b, 4096), 4096)) > 0) {
		buf_commit(&b, (size_t)n);
		if (b.len > FILE_MAX - 4096)
			rc = err_set(err, ERR_TOO_LARGE, "'%s' is too long", path);
	}
	close(fd);
	if (rc == 0) {
		buf_add_byte(&b, '\0');
		rc = policy_parse(p, (char *)b.data, err);
	}
	return rc < 0 ? err_wrap(err, "configuration of the helper") : 0;
}

/* DATA/FOLDER/..., with no step back in it. Links are no matter here: such files are opened with the server's rights. */
static bool is_below(const struct policy *p, const char *path, const char *folder)
{
	size_t n = strlen(p->data), m = strlen(folder);

	if (!path || strncmp(path, p->data, n) != 0 || path[n] != '/' ||
	        strncmp(path + n + 1, folder, m) != 0 || path[n + 1 + m] != '/' ||
	        !path[n + m + 2] || path[n + m + 2] == '/')
		return false;
	for (const char *at = path; (at = strstr(at, "/.")); at++)
		if (at[2] == '/' || at[2] == '\0' ||
		        (at[2] == '.' && (at[3] == '/' || at[3] == '\0')))
			return false;
	return strlen(path) < 4000;
}

static int check_place(const struct policy *p, const char *what, const char *path,
        const char *folder, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];

	if (!path || is_below(p, path, folder))
		return 0;
	return err_set(err, ERR_FORBIDDEN, "%s '%s' is not below %s of Berth's directory", what,
	        text_show(path, shown), folder);
}

bool policy_is_console(const struct policy *p, const char *path)
{
	return is_below(p, path, "run");
}

static int check_places(const struct policy *p, const struct launch *l, struct err *err)
{
	int rc = check_place(p, "index", l->index_path, "logs", err);

	if (rc == 0 && l->out_internal)
		rc = check_place(p, "output", l->out_path, "logs", err);
	if (rc == 0 && l->out_internal)
		rc = check_place(p, "output", l->err_path, "logs", err);
	if (rc == 0)
		rc = check_place(p, "console", l->console_path, "run", err);
	if (rc == 0)
		rc = check_place(p, "spool", l->path, "spool", err);
	if (rc == 0 && l->make_cwd)
		rc = check_place(p, "directory", l->cwd, "work", err);
	return rc;
}

/* A group is made with root's rights, so root says where. */
static int check_group(const struct policy *p, const struct launch *l, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];

	if (!l->group_parent || (p->cgroup_parent && !strcmp(l->group_parent, p->cgroup_parent)))
		return 0;
	return err_set(err, ERR_FORBIDDEN, "cgroup.parent '%s' is not cgroup_parent of helper.conf",
	        text_show(l->group_parent, shown));
}

/* Ledgers are shown to a job under a name of their own: they lie in memory, and the keeper looks whose they are. */
static int check_slices(const struct launch *l, struct err *err)
{
	static const char begin[] = "/dev/shm/berth-";
	char shown[TEXT_SHOW_SIZE];
	const char *at = l->slices;

	if (!at || (strncmp(at, begin, strlen(begin)) == 0 && strlen(at) < 300 &&
	                   !strstr(at, "/.") && !strstr(at, "//")))
		return 0;
	return err_set(
	        err, ERR_FORBIDDEN, "'%s' is no place of ledgers of slices", text_show(at, shown));
}

/* Written by root into the group of the attempt alone: lines of a name and a number. */
static int check_gpu_limits(const struct launch *l, struct err *err)
{
	static const char allowed[] =
	        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/:._- \n";
	char shown[TEXT_SHOW_SIZE];
	const char *at = l->gpu_limits;

	if (!at || at[strspn(at, allowed)] == '\0')
		return 0;
	return err_set(err, ERR_FORBIDDEN, "'%s' is no limit of GPU memory", text_show(at, shown));
}

static int check_command(const struct launch *l, struct err *err)
{
	const char *const paths[] = {l->out_path, l->err_path, l->cwd};
	char shown[TEXT_SHOW_SIZE];

	if (!l->argv[0] || !*l->argv[0])
		return err_set(err, ERR_INVALID, "no command was given");
	for (char *const *e = l->env; *e; e++)
		if (**e == '=' || !strchr(*e, '='))
			return err_set(err, ERR_INVALID, "environment: '%s' is no NAME=VALUE",
			        text_show(*e, shown));
	for (size_t i = 0; i < ARRAY_LEN(paths); i++)
		if (paths[i] && *paths[i] != '/')
			return err_set(err, ERR_INVALID, "path '%s' does not begin with /",
			        text_show(paths[i], shown));
	return 0;
}

static bool is_named(const struct policy *p, const char *user)
{
	for (size_t i = 0; i < p->n_users; i++)
		if (strcmp(p->users[i], user) == 0)
			return true;
	return false;
}

static void fill_account(struct launch *l, const struct account *a)
{
	l->has_account = true;
	l->uid = a->uid;
	l->gid = a->gid;
	l->groups = (uint32_t *)(uintptr_t)a->groups;
	l->n_groups = a->n_groups;
}

static int check_account(struct policy *p, struct launch *l, uint64_t now_ms, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	const struct account *a;
	int rc;

	if (!l->user)
		return err_set(err, ERR_FORBIDDEN, "no account was given");
	rc = accounts_find(p->accounts, l->user, now_ms, &a, err);
	if (rc < 0)
		return rc;
	if (a->uid == 0 && !p->allow_root) {
		rc = grants_check(p->data, l, a->home, err);
		if (rc < 0)
			return rc;
	}
	if (a->uid == p->server_uid && a->uid != 0)
		return err_set(err, ERR_FORBIDDEN, "account '%s' is Berth's own and runs no jobs",
		        text_show(l->user, shown));
	if (a->uid != 0 && a->uid < p->min_uid)
		return err_set(err, ERR_FORBIDDEN,
		        "account '%s' has number %u: the least that may run jobs is %u",
		        text_show(l->user, shown), (unsigned)a->uid, (unsigned)p->min_uid);
	if (a->uid != 0 && p->n_users && !is_named(p, l->user))
		return err_set(err, ERR_FORBIDDEN, "account '%s' may not run jobs here",
		        text_show(l->user, shown));
	fill_account(l, a);
	return 0;
}

/* To read as an account is less than to run as it; of root's, only what root's own job writes. */
static int check_open(struct policy *p, struct launch *l, uint64_t now_ms, struct err *err)
{
	if (!l->out_path || *l->out_path != '/')
		return err_set(err, ERR_INVALID, "no file was named");
	return check_account(p, l, now_ms, err);
}

/* GPU-8-4-4-4-12 hexadecimal digits, as the driver writes them: an instance, or a list, is none. */
static bool is_uuid(const char *text)
{
	static const char form[] = "GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t i = 0;

	for (; form[i] && text[i]; i++)
		if (form[i] == 'x' ? !strchr("0123456789abcdef", text[i]) : form[i] != text[i])
			return false;
	return form[i] == text[i];
}

/* What the driver says of one that it has. */
static bool is_of_device(const char *path, const char *uuid)
{
	static const char key[] = "GPU UUID:";
	CLEANUP_BUF struct buf b = BUF_INIT(FILE_MAX);
	struct err err;
	const char *at;

	if (fs_read(path, &b, &err) < 0)
		return false;
	at = strstr(buf_str(&b), key);
	if (!at)
		return false;
	at += strlen(key);
	at += strspn(at, " \t");
	return strncmp(at, uuid, strlen(uuid)) == 0 && strchr("\r\n", at[strlen(uuid)]);
}

static bool has_device(const struct policy *p, const char *uuid)
{
	DIR *dir = opendir(p->devices);
	bool is_found = false;
	char path[FILENAME_MAX];
	struct dirent *e;

	while (dir && !is_found && (e = readdir(dir))) {
		snprintf(path, sizeof(path), "%s/%s/information", p->devices, e->d_name);
		is_found = *e->d_name != '.' && is_of_device(path, uuid);
	}
	if (dir)
		closedir(dir);
	return is_found;
}

static int find_account(struct policy *p, struct launch *l, uint64_t now_ms, struct err *err)
{
	const struct account *a;
	int rc;

	if (!l->user)
		return err_set(err, ERR_FORBIDDEN, "no account was given");
	rc = accounts_find(p->accounts, l->user, now_ms, &a, err);
	if (rc == 0)
		fill_account(l, a);
	return rc;
}

/*
 * A daemon is started as whoever may run jobs; what is looked for or ended is only what that account could end itself.
 * Never as root: its directory stands in the server's, which could lead it anywhere.
 */
static int check_mps(struct policy *p, struct launch *l, uint64_t now_ms, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	int rc;

	if (!l->device || !is_uuid(l->device))
		return err_set(err, ERR_INVALID, "'%s' is no UUID of a device",
		        text_show(l->device ? l->device : "", shown));
	if (l->place >= LAUNCH_PLACES)
		return err_set(err, ERR_INVALID, "there is no device %u", l->place);
	if (l->kind == LAUNCH_MPS_START && !l->simulated && !has_device(p, l->device))
		return err_set(err, ERR_NOT_FOUND, "the driver has no device %s", l->device);
	rc = l->kind == LAUNCH_MPS_START ? check_account(p, l, now_ms, err)
	                                 : find_account(p, l, now_ms, err);
	return rc == 0 && l->uid == 0 ? err_set(err, ERR_FORBIDDEN, "no MPS daemon runs as root")
	                              : rc;
}

int policy_check(struct policy *p, struct launch *l, uint64_t now_ms, struct err *err)
{
	bool has_command = l->kind == LAUNCH_START || l->kind == LAUNCH_EXEC;
	int rc;

	/* Only we say these. */
	l->has_account = false;
	l->uid = l->gid = 0;
	l->groups = NULL;
	l->n_groups = 0;
	l->refusal = NULL;
	if (l->kind == LAUNCH_ROTATE && !l->path)
		return err_set(err, ERR_INVALID, "no spool was named");
	if (l->kind == LAUNCH_FORGET || l->kind == LAUNCH_DOOR)
		return 0;
	if (l->kind == LAUNCH_OPEN)
		return check_open(p, l, now_ms, err);
	if (l->kind >= LAUNCH_MPS_START)
		return check_mps(p, l, now_ms, err);
	if (l->kind != LAUNCH_ROTATE && (l->epoch == 0 || l->epoch > SPOOL_EPOCH_MAX))
		return err_set(err, ERR_INVALID, "there is no epoch %ju", (uintmax_t)l->epoch);
	rc = check_places(p, l, err);
	if (rc == 0 && has_command)
		rc = check_command(l, err);
	if (rc == 0)
		rc = check_group(p, l, err);
	if (rc == 0)
		rc = check_slices(l, err);
	if (rc == 0)
		rc = check_gpu_limits(l, err);
	if (rc == 0 && has_command)
		rc = check_account(p, l, now_ms, err);
	/* A sweep must be, also where its directory is left as it is. */
	if (rc == 0 && l->kind == LAUNCH_SWEEP && l->make_cwd &&
	        check_account(p, l, now_ms, err) < 0) {
		l->make_cwd = false;
		l->cwd = NULL;
	}
	return rc;
}
