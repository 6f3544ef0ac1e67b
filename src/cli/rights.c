#include "cli/rights.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/account.h"
#include "cli/lock.h"
#include "cli/setup.h"
#include "plat/fs.h"

#define ANSWER_MAX 4096

/*
 * DESIGN. What the configuration says is asked of the server program, so that this one reads no YAML. The directory
 * belongs to server.user, who makes the sockets and files in it, and could write its configuration: so who owns the
 * directory decides. Only one that belongs to root is given away, once; afterwards server.user must be its owner, and
 * never root again. What its helper obeys, root alone may write: that is the helper's own check.
 */

/* Who owns the directory wrote its configuration, perhaps: it is read with no rights but his. */
static bool become_owner(const char *data_dir)
{
	const struct passwd *pw;
	struct stat st;

	if (stat(data_dir, &st) < 0)
		return false;
	if (st.st_uid == 0)
		return true;
	pw = getpwuid(st.st_uid);
	return (pw ? initgroups(pw->pw_name, pw->pw_gid) : setgroups(0, NULL)) == 0 &&
	       setgid(pw ? pw->pw_gid : st.st_gid) == 0 && setuid(st.st_uid) == 0;
}

/* Runs berth-server with these words and takes what it prints; its complaint goes to stderr. */
static int ask_server(
        char **argv, const char *program, const char *data_dir, struct buf *answer, struct err *err)
{
	int pipe[2], status = -1;
	ssize_t n = 1;

	if (pipe2(pipe, O_CLOEXEC) < 0)
		return err_sys(err, errno, "pipe");
	pid_t pid = fork();
	if (pid == 0) {
		/* The program may stand where only root can go. */
		int fd = open(program, O_RDONLY | O_CLOEXEC);

		dup2(pipe[1], STDOUT_FILENO);
		if (become_owner(data_dir))
			fexecve(fd, argv, environ);
		_exit(127);
	}
	close(pipe[1]);
	while (pid > 0 && n > 0) {
		uint8_t *room = buf_reserve(answer, 1024);
		n = room ? read(pipe[0], room, 1024) : 0;
		if (n > 0)
			buf_commit(answer, (size_t)n);
		else if (n < 0 && errno == EINTR)
			n = 1;
	}
	close(pipe[0]);
	if (pid < 0)
		return err_sys(err, errno, "fork");
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status ? err_set(err, ERR_INVALID, "the configuration is wrong") : 0;
}

/* "default berth" or "file someone": where server.user comes from, and what it is. */
static int ask_account(const struct supervisor_options *o, const char *program, struct buf *answer,
        struct err *err)
{
	struct parts_argv words = {0};

	parts_argv_add(&words, "berth server");
	parts_argv_add_option(&words, "--data", o->data_dir);
	parts_argv_add_option(&words, "--config", o->config_path);
	parts_argv_add_option(&words, "--get-config", "server.user");
	int rc = ask_server(words.v, program, o->data_dir, answer, err);
	parts_argv_done(&words);
	while (rc == 0 && answer->len && answer->data[answer->len - 1] == '\n')
		answer->len--;
	return rc;
}

/* pw: NULL while server.user is not there yet. */
static int check_owner(const char *data_dir, const struct passwd *pw, struct err *err)
{
	const struct passwd *owner;
	struct stat st;

	if (stat(data_dir, &st) < 0)
		return err_sys(err, errno, "%s", data_dir);
	if (st.st_uid == 0 || (pw && st.st_uid == pw->pw_uid))
		return 0;
	owner = getpwuid(st.st_uid);
	(void)!err_set(err, ERR_CONFLICT,
	        "%s belongs to %s (uid %u), but server.user is not that account", data_dir,
	        owner ? owner->pw_name : "nobody known", (unsigned)st.st_uid);
	/* Moved from another machine, it may be an account's number that is another's, or nobody's, here. */
	return err_hint(err, "%s%s%sif it shall be: chown -R --from=%u root %s",
	        owner ? "set server.user: " : "", owner ? owner->pw_name : "", owner ? ", or " : "",
	        (unsigned)st.st_uid, data_dir);
}

static int find_account(
        const char *answer, const char *data_dir, const struct passwd **ret_pw, struct err *err)
{
	const char *space = strchr(answer, ' ');
	char name[256], shown[TEXT_SHOW_SIZE];
	size_t len = space ? strlen(space + 1) : 0;
	int rc;

	if (!space || len >= sizeof(name))
		return err_set(err, ERR_CORRUPT, "server.user is not understood");
	memcpy(name, space + 1, len + 1);
	/* As YAML it may stand in quotes. */
	if (len >= 2 && (name[0] == '"' || name[0] == '\'') && name[len - 1] == name[0]) {
		memmove(name, name + 1, len - 2);
		name[len - 2] = '\0';
	}
	*ret_pw = getpwnam(name);
	if (*ret_pw)
		return 0;
	/* Only the name that nobody chose: any other may be mistyped. */
	if (strncmp(answer, "default ", 8) == 0) {
		rc = check_owner(data_dir, NULL, err);
		if (rc == 0)
			rc = account_make(name, err);
		*ret_pw = rc ? NULL : getpwnam(name);
		return rc;
	}
	(void)!err_set(err, ERR_NOT_FOUND, "server.user is '%s', and there is no such account",
	        text_show(name, shown));
	return err_hint(
	        err, "useradd --system --no-create-home %s, or leave server.user away", shown);
}

static size_t give_skip; /* length of the path of the directory itself */
static uid_t give_to_uid;
static gid_t give_to_gid;

/*
 * Only what is root's: links in logs/ and directories in work/ are their jobs' accounts'. Nothing that could be known under
 * a name elsewhere; and not what root believes: the lock's text, the helper's configuration, grants.
 */
static int give_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	if (st->st_uid != 0)
		return 0;
	if (at->level == 1 && (strcmp(path + at->base, LOCK_NAME) == 0 ||
	                              strcmp(path + at->base, "helper.conf") == 0))
		return 0;
	if (strncmp(path + give_skip, "/grants", 7) == 0 &&
	        (!path[give_skip + 7] || path[give_skip + 7] == '/'))
		return 0;
	if (type == FTW_D || type == FTW_SL || (type == FTW_F && st->st_nlink == 1))
		return lchown(path, give_to_uid, give_to_gid);
	return 0;
}

/* Programs that it cannot reach are handed to it open; the directory in which it makes everything must be open to it. */
static int check_reach(const struct supervisor_options *o, const struct passwd *pw,
        struct part *server, struct part *agent, struct err *err)
{
	char closed[4096];

	if (account_find_closed(pw, o->data_dir, closed)) {
		(void)!err_set(err, ERR_FORBIDDEN,
		        "%s is closed to the account '%s', as which server and agent run", closed,
		        pw->pw_name);
		return err_hint(err,
		        "choose another directory with --data, or open this one: chmod o+x %s",
		        closed);
	}
	server->by_descriptor = !account_reaches(pw, server->program, X_OK);
	agent->by_descriptor = !account_reaches(pw, agent->program, X_OK);
	if (agent->by_descriptor && o->simulate)
		parts_argv_add_option(
		        &agent->argv, "--nvml", PART_DIR_PATH "/fake/libnvidia-ml.so.1");
	return 0;
}

/* What root's client writes for the helper: for nobody else, whoever has the directory that it stands in. */
static int make_grants(const char *data_dir, struct err *err)
{
	char *path = NULL;
	struct stat st;

	BUG_IF(asprintf(&path, "%s/grants", data_dir) < 0);
	int rc = fs_mkdir_p(path, 0700, err);
	if (rc == 0 && (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != 0 ||
	                       (st.st_mode & 022)))
		rc = err_set(err, ERR_CONFLICT, "%s is not a directory of root's alone", path)
		             ? err_hint(err, "move it away")
		             : 0;
	free(path);
	return rc;
}

static int give_directory(const char *data_dir, const struct passwd *pw, struct err *err)
{
	static const char *const subs[] = {"logs", "run"};
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(subs); i++) {
		char *path = NULL;
		BUG_IF(asprintf(&path, "%s/%s", data_dir, subs[i]) < 0);
		int rc = fs_mkdir_p(path, i == 0 ? 0755 : 0711, err);
		if (rc == 0 && lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == 0 &&
		        lchown(path, pw->pw_uid, pw->pw_gid) < 0)
			rc = err_sys(err, errno, "giving %s to %s", path, pw->pw_name);
		free(path);
		if (rc)
			return rc;
	}
	if (stat(data_dir, &st) < 0)
		return err_sys(err, errno, "%s", data_dir);
	if (st.st_uid != 0)
		return 0;
	/* One that was started with all of it root's would go on making files that server.user cannot read. */
	setup_end_keepers_parent(data_dir);
	give_skip = strlen(data_dir);
	give_to_uid = pw->pw_uid;
	give_to_gid = pw->pw_gid;
	return nftw(data_dir, give_one, 16, FTW_PHYS | FTW_MOUNT) == 0
	               ? 0
	               : err_sys(err, errno, "giving %s to %s", data_dir, pw->pw_name);
}

/* A state that root brought back from a backup. One that has another name somewhere may be anything of root's. */
static int give_state(const char *data_dir, const struct passwd *pw, struct err *err)
{
	static const char *const names[] = {"berth.db", "berth.db-wal", "berth.db-shm"};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(names); i++) {
		char *path = NULL;
		struct stat st;
		BUG_IF(asprintf(&path, "%s/%s", data_dir, names[i]) < 0);
		int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0 &&
		        st.st_nlink == 1 &&
		        fchownat(fd, "", pw->pw_uid, pw->pw_gid, AT_EMPTY_PATH) < 0)
			rc = err_sys(err, errno, "giving %s to %s", path, pw->pw_name);
		if (fd >= 0)
			close(fd);
		free(path);
	}
	return rc;
}

static void drop(struct part *p, const struct passwd *pw)
{
	p->drop_rights = true;
	p->uid = pw->pw_uid;
	p->gid = pw->pw_gid;
	p->account = mem_strdup(pw->pw_name);
}

static int make_helper(const struct supervisor_options *o, const struct passwd *pw,
        struct part *agent, struct part *helper, struct err *err)
{
	char number[16], *sock = NULL;
	int rc = part_init(helper, "helper", o->data_dir, err);

	if (rc)
		return rc;
	snprintf(number, sizeof(number), "%u", (unsigned)pw->pw_uid);
	parts_argv_add_option(&helper->argv, "--server-uid", number);
	snprintf(number, sizeof(number), "%u", (unsigned)pw->pw_gid);
	parts_argv_add_option(&helper->argv, "--server-gid", number);
	BUG_IF(asprintf(&sock, "%s/run/helper.sock", o->data_dir) < 0);
	parts_argv_add_option(&agent->argv, "--launcher", sock);
	free(sock);
	return 0;
}

int rights_assign(const struct supervisor_options *o, struct part *server, struct part *agent,
        struct part *helper, struct err *err)
{
	CLEANUP_BUF struct buf answer = BUF_INIT(ANSWER_MAX);
	const struct passwd *pw = NULL;
	int rc;

	if (geteuid() != 0)
		return 0;
	rc = ask_account(o, server->program, &answer, err);
	if (rc == 0)
		rc = find_account(buf_str(&answer), o->data_dir, &pw, err);
	if (rc == 0)
		rc = check_owner(o->data_dir, pw, err);
	if (rc || pw->pw_uid == 0)
		return rc;
	rc = give_directory(o->data_dir, pw, err);
	if (rc == 0)
		rc = give_state(o->data_dir, pw, err);
	if (rc == 0)
		rc = make_grants(o->data_dir, err);
	if (rc == 0)
		rc = check_reach(o, pw, server, agent, err);
	if (rc)
		return rc;
	drop(server, pw);
	parts_argv_add(&server->argv, "--helper");
	drop(agent, pw);
	return make_helper(o, pw, agent, helper, err);
}
