#include "cli/grant.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/num.h"
#include "plat/fs.h"
#include "wire/launch.h"

/*
 * DESIGN. A grant is a launch message as the helper would like to see it, with the patterns of output files as they were
 * typed. Its directory is reached through a descriptor, because the one that it stands in belongs to the server's account.
 */

int grant_open(const struct client *c)
{
	const char *data_dir = client_is_remote(c) ? NULL : client_target(c)->data_dir;
	char *path = NULL;
	struct stat st;

	if (geteuid() != 0 || !data_dir)
		return -1;
	BUG_IF(asprintf(&path, "%s/grants", data_dir) < 0);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	free(path);
	if (fd >= 0 && (fstat(fd, &st) < 0 || st.st_uid != 0 || (st.st_mode & 022))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int write_grant(
        int dir, const struct launch *l, bool is_of_many, char key[40], struct err *err)
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX + 4);
	uint8_t random[LAUNCH_GRANT_LEN / 2];

	launch_encode(l, &b);
	if (b.overflow)
		return err_set(err, ERR_TOO_LARGE, "the command with its environment is too large");
	BUG_IF(getrandom(random, sizeof(random), 0) != sizeof(random));
	num_format_hex(random, sizeof(random), key);
	int fd = openat(dir, key, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int rc = fd < 0 ? err_sys(err, errno, "writing it down")
	                : fs_write_all(fd, b.data, b.len, err);
	if (rc == 0 && !is_of_many && (fsync(fd) < 0 || fsync(dir) < 0))
		rc = err_sys(err, errno, "writing it down");
	if (fd >= 0)
		close(fd);
	if (rc)
		grant_take_back(dir, key);
	return rc ? err_wrap(err, "granting a job of root's") : 0;
}

/* One for however many were written, because lines of a file come by the thousand. */
int grant_sync(int dir, struct err *err)
{
	return dir < 0 || syncfs(dir) == 0 ? 0 : err_sys(err, errno, "granting a job of root's");
}

void grant_take_back(int dir, const char *key)
{
	if (dir >= 0 && key && *key)
		unlinkat(dir, key, 0);
}

/* The id is the server's word, and no more than a number. The helper may have been quicker: then there is nothing to move. */
void grant_settle(int dir, const char *key, const char *id)
{
	char job[24], path[64];
	uint64_t number;
	struct err err;

	if (dir < 0 || !key || !*key)
		return;
	if (!id || num_parse_u64(id, INT64_MAX, &number, &err) < 0) {
		grant_take_back(dir, key);
		return;
	}
	snprintf(job, sizeof(job), "%" PRIu64, number);
	snprintf(path, sizeof(path), "%s/%s", job, key);
	if (mkdirat(dir, job, 0700) == 0 || errno == EEXIST)
		(void)renameat(dir, key, dir, path);
}

static bool is_roots(const char *user)
{
	const struct passwd *pw = user ? getpwnam(user) : NULL;

	return !user || (pw && pw->pw_uid == 0);
}

static void add_variables(struct launch *l, size_t *n, const json_t *from, const json_t *but)
{
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)from, name, value)
	{
		if (!json_is_string(value) || json_object_get(but, name))
			continue;
		BUG_IF(asprintf(&l->env[*n], "%s=%s", name, json_string_value(value)) < 0);
		l->env[++*n] = NULL;
	}
}

/* As the agent will make it of the same words. */
static char *make_path(const char *path, const char *chdir)
{
	char *whole = NULL;

	if (path && path[0] != '/')
		BUG_IF(asprintf(&whole, "%s/%s", chdir, path) < 0);
	return whole ? whole : path ? mem_strdup(path) : NULL;
}

int grant_job(int dir, json_t *job, const json_t *taken, bool is_of_many, struct err *err)
{
	const json_t *command = json_object_get(job, "command"), *env = json_object_get(job, "env");
	const char *chdir = json_string_value(json_object_get(job, "chdir"));
	const char *output = json_string_value(json_object_get(job, "output"));
	const char *error = json_string_value(json_object_get(job, "error"));
	struct launch l = {.kind = LAUNCH_START, .cwd = chdir};
	size_t argc = json_array_size(command), n = 0;
	char key[40] = "";
	int rc;

	json_object_del(job, "grant");
	if (dir < 0 || !argc || !chdir || json_is_true(json_object_get(job, "dry_run")) ||
	        !is_roots(json_string_value(json_object_get(job, "user"))))
		return 0;
	l.tty = json_is_true(json_object_get(job, "tty"));
	l.ranks = (uint32_t)json_integer_value(json_object_get(job, "tasks"));
	l.argv = mem_realloc(NULL, argc + 1, sizeof(*l.argv));
	for (size_t i = 0; i <= argc; i++)
		l.argv[i] = (char *)(uintptr_t)json_string_value(json_array_get(command, i));
	l.env = mem_realloc(
	        NULL, json_object_size(taken) + json_object_size(env) + 1, sizeof(*l.env));
	l.env[0] = NULL;
	add_variables(&l, &n, taken, env);
	add_variables(&l, &n, env, NULL);
	char *out_path = make_path(output, chdir), *err_path = make_path(error, chdir);
	l.out_path = out_path;
	l.err_path = err_path;
	rc = write_grant(dir, &l, is_of_many, key, err);
	if (rc == 0)
		json_object_set_new(job, "grant", json_string(key));
	while (n)
		free(l.env[--n]);
	free(l.env);
	free(l.argv);
	free(out_path);
	free(err_path);
	return rc;
}

int grant_exec(int dir, const char *id, char **argv, bool tty, char key[40], struct err *err)
{
	struct launch l = {.kind = LAUNCH_EXEC, .argv = argv, .tty = tty, .task = -1};
	char number[24];
	size_t len = strcspn(id, "_");
	uint64_t task = 0;

	*key = '\0';
	if (dir < 0 || len >= sizeof(number))
		return 0;
	snprintf(number, sizeof(number), "%.*s", (int)len, id);
	/* What is no number is the server's to refuse. */
	if (num_parse_u64(number, INT64_MAX, &l.job, err) < 0 ||
	        (id[len] && num_parse_u64(id + len + 1, UINT32_MAX, &task, err) < 0))
		return 0;
	if (id[len])
		l.task = (int64_t)task;
	return write_grant(dir, &l, false, key, err);
}
