/* Where the keepers' parent is root: whose rights each process has, and whose each file is. Skipped by others. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plat/clock.h"
#include "rig.h"

/* Keepers are nobody's here, so jobs are somebody else's: numbers without a name will do. */
enum { JOB_UID = 54321, JOB_GID = 54322, EXTRA_GROUP = 54323 };

static struct rig r;
static uint32_t groups[] = {JOB_GID, EXTRA_GROUP};

static int set_up(void **state)
{
	return rig_start_as_root(&r, RIG_ROOT);
}

static int tear_down(void **state)
{
	return rig_stop_as_root(&r);
}

static struct launch job(uint64_t epoch, const char *script)
{
	struct launch l = rig_launch(&r, epoch, script);

	l.uid = JOB_UID;
	l.gid = JOB_GID;
	l.groups = groups;
	l.n_groups = ARRAY_LEN(groups);
	return l;
}

static void test_rights_of_the_job(void **state)
{
	struct launch l = job(
	        1, "grep -E '^(Uid|Gid|Groups|CapEff|CapPrm):' /proc/self/status | tr '\\t' ' '");
	struct stat st;

	ONLY_ROOT();
	rig_send(&r, &l);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->wait_status, 0);
	assert_string_equal(rig_text(&r, "logs/1.out"),
	        "Uid: 54321 54321 54321 54321\nGid: 54322 54322 54322 54322\nGroups: 54322 54323 \n"
	        "CapPrm: 0000000000000000\nCapEff: 0000000000000000\n");
	/* Output of our own is the server's, and nobody else's. */
	assert_int_equal(stat(rig_path(&r, "logs/1.out"), &st), 0);
	assert_int_equal(st.st_uid, NOBODY_UID);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(rig_path(&r, "logs/1.idx"), &st), 0);
	assert_int_equal(st.st_uid, NOBODY_UID);
}

/* An account of its own: nobody else's processes are to be hit. */
static void test_kills_all_it_can(void **state)
{
	struct launch l = job(40, "sleep 60 & kill -9 -1; exit 3");

	ONLY_ROOT();
	l.uid = l.gid = 54399;
	rig_send(&r, &l);
	assert_int_equal(rig_wait(&r, 40, SPOOL_ENDED)->wait_status, 3 << 8);
	assert_int_equal(rig_wait(&r, 40, SPOOL_ENDED)->cause, SPOOL_EXIT);
}

static const char *line_of(const char *text, const char *key)
{
	static char line[128];
	const char *at = strstr(text, key);

	snprintf(line, sizeof(line), "%.*s", at ? (int)strcspn(at, "\n") : 0, at ? at : "");
	return line;
}

static void test_rights_of_the_keeper(void **state)
{
	struct launch l =
	        job(1, "for s in KILL TERM STOP INT; do kill -$s $PPID && echo done; done; "
	               "cat /proc/$PPID/environ && echo done; echo ready; "
	               "while [ ! -e $D/jobs/go ]; do sleep 0.01; done");
	char path[64];
	const char *status;

	ONLY_ROOT();
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	snprintf(path, sizeof(path), "../../proc/%d/status", (int)rig_keeper_pid(&r, 1));
	status = rig_text(&r, path);
	assert_string_equal(line_of(status, "Uid:"), "Uid:\t65534\t65534\t65534\t65534");
	assert_string_equal(line_of(status, "Gid:"), "Gid:\t65534\t65534\t65534\t65534");
	assert_string_equal(line_of(status, "CapPrm:"), "CapPrm:\t0000000000000020");
	assert_string_equal(line_of(status, "CapEff:"), "CapEff:\t0000000000000020");
	assert_string_equal(line_of(status, "CapInh:"), "CapInh:\t0000000000000000");
	rig_touch(&r, "jobs/go");
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->cause, SPOOL_EXIT);
	assert_null(strstr(rig_text(&r, "logs/1.out"), "done"));
}

static void test_keeper_ends_its_job(void **state)
{
	struct launch l = job(1,
	        "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep 1000' &); echo ready; sleep 1000");
	char mark[80];

	ONLY_ROOT();
	snprintf(mark, sizeof(mark), "D=%s", r.dir);
	l.grace_ms = 50;
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	rig_send_stop(&r, 1, false, SPOOL_STOPPED);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->cause, SPOOL_STOPPED);
	assert_int_equal(rig_count_marked(mark), 0);
}

static void test_killed_keeper_is_swept(void **state)
{
	struct launch l = job(1,
	        "trap '' TERM; (env -i D=$D setsid sleep 1000 &); mkdir a; touch a/b; echo ready; sleep 1000");
	char mark[80];

	ONLY_ROOT();
	snprintf(mark, sizeof(mark), "D=%s", r.dir);
	l.cwd = rig_path(&r, "jobs/own");
	l.make_cwd = true;
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	kill(rig_keeper_pid(&r, 1), SIGKILL);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->cause, SPOOL_KEEPER_KILLED);
	assert_int_equal(rig_count_marked(mark), 0);
	assert_false(rig_exists(&r, "jobs/own"));
}

static void check_refused(uint64_t epoch, struct launch *l, const char *part)
{
	const struct spool_record *end;

	rig_send(&r, l);
	end = rig_wait(&r, epoch, SPOOL_ENDED);
	assert_int_equal(end->cause, SPOOL_SETUP_FAILED);
	if (!strstr(end->text, part))
		fail_msg("text is: %s", end->text);
}

static void test_never_root_by_omission(void **state)
{
	struct launch l = job(1, "id -u");

	ONLY_ROOT();
	l.has_account = false;
	check_refused(1, &l, "no account");
	l = job(2, "id -u");
	l.user = NULL;
	l.has_account = false;
	l.out_path = rig_path(&r, "jobs/roots");
	l.out_internal = false;
	check_refused(2, &l, "no account");
	assert_false(rig_exists(&r, "jobs/roots"));
}

static void test_users_files(void **state)
{
	struct launch l = job(1, "echo hello");
	char path[128];
	struct stat st;

	ONLY_ROOT();
	/* A directory of the account's, closed to the server. */
	assert_int_equal(mkdir(rig_path(&r, "jobs/home"), 0700), 0);
	assert_int_equal(chown(rig_path(&r, "jobs/home"), JOB_UID, JOB_GID), 0);
	snprintf(path, sizeof(path), "%s/jobs/home/out", r.dir);
	l.out_path = path;
	l.out_internal = false;
	rig_send(&r, &l);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->wait_status, 0);
	assert_string_equal(rig_text(&r, "jobs/home/out"), "hello\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, JOB_UID);
	assert_int_equal(st.st_gid, JOB_GID);
	/* What the account cannot open itself stays closed: by name, and through a link. */
	l = job(2, "echo hello");
	l.out_path = rig_path(&r, "logs/mine");
	l.out_internal = false;
	check_refused(2, &l, "Permission denied");
	rig_touch(&r, "jobs/roots");
	assert_int_equal(symlink("../roots", rig_path(&r, "jobs/home/link")), 0);
	l = job(3, "echo hello");
	snprintf(path, sizeof(path), "%s/jobs/home/link", r.dir);
	l.out_path = path;
	l.out_internal = false;
	check_refused(3, &l, "Permission denied");
	assert_string_equal(rig_text(&r, "jobs/roots"), "");
	l = job(4, "true");
	l.cwd = "/root";
	check_refused(4, &l, "Permission denied");
}

static void test_own_directory(void **state)
{
	struct launch l = job(1,
	        "pwd; stat -c '%u %g %a' .; mkdir -p a/b; touch a/b/c; chmod 0 a; umask 0; touch x");
	struct stat st;

	ONLY_ROOT();
	l.cwd = rig_path(&r, "jobs/own");
	l.make_cwd = true;
	rig_send(&r, &l);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->wait_status, 0);
	assert_non_null(strstr(rig_text(&r, "logs/1.out"), "/jobs/own\n54321 54322 700\n"));
	for (uint64_t until = clock_mono_ms() + RIG_WAIT_MS; rig_exists(&r, "jobs/own");)
		assert_true(clock_mono_ms() < until);
	/* A keeper that was killed between giving it away and the start left it so. */
	assert_int_equal(mkdir(rig_path(&r, "jobs/given"), 0700), 0);
	assert_int_equal(chown(rig_path(&r, "jobs/given"), JOB_UID, JOB_GID), 0);
	l = job(4, "touch x");
	l.cwd = rig_path(&r, "jobs/given");
	l.make_cwd = l.again = true;
	rig_send(&r, &l);
	assert_int_equal(rig_wait(&r, 4, SPOOL_ENDED)->wait_status, 0);
	/* A directory that somebody else has made, or a link to one, is not given away. */
	assert_int_equal(mkdir(rig_path(&r, "jobs/roots"), 0755), 0);
	l = job(2, "true");
	l.cwd = rig_path(&r, "jobs/roots");
	l.make_cwd = true;
	check_refused(2, &l, "of another account");
	assert_int_equal(stat(rig_path(&r, "jobs/roots"), &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(symlink("roots", rig_path(&r, "jobs/link")), 0);
	l = job(3, "true");
	l.cwd = rig_path(&r, "jobs/link");
	l.make_cwd = true;
	check_refused(3, &l, "making directory");
	assert_int_equal(stat(rig_path(&r, "jobs/roots"), &st), 0);
	assert_int_equal(st.st_uid, 0);
}

static void test_terminal_belongs_to_the_account(void **state)
{
	struct launch l = job(1, "stat -c '%u %a' $(tty); cat </dev/tty");
	struct rig_client c;
	struct stat st;

	ONLY_ROOT();
	l.tty = l.console = true;
	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	assert_int_equal(stat(l.console_path, &st), 0);
	assert_int_equal(st.st_uid, NOBODY_UID);
	assert_int_equal(st.st_mode & 0777, 0600);
	rig_expect(&c, "54321 600\r\n");
	rig_type(&c, CONSOLE_STDIN, "hello\n\4", 7);
	rig_expect(&c, "hello\r\nhello\r\n");
	rig_expect(&c, NULL);
	assert_int_equal(c.exit_code, 0);
	rig_detach(&c);
}

static void test_exec(void **state)
{
	struct launch host = job(1, "echo ready; while [ ! -e $D/jobs/go ]; do sleep 0.01; done");
	struct launch l = job(1, "id -u; trap '' TERM; echo ready; sleep 1000");
	struct rig_client c;

	ONLY_ROOT();
	rig_send(&r, &host);
	rig_wait_text(&r, "logs/1.out", "ready");
	l.kind = LAUNCH_EXEC;
	l.console_path = rig_path(&r, "run/exec.sock");
	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	rig_expect(&c, "54321\nready\n");
	rig_touch(&r, "jobs/go");
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->wait_status, 0);
	rig_expect(&c, NULL);
	assert_int_equal(c.exit_code, 137);
	rig_detach(&c);
}

/* The server's account owns the directory; what it puts there does not make root write elsewhere. */
static void test_links_in_the_directory_are_not_followed(void **state)
{
	struct launch rotate = {.kind = LAUNCH_ROTATE}, l;
	char link[128];
	struct stat st;

	ONLY_ROOT();
	rig_touch(&r, "jobs/roots");
	assert_int_equal(stat(rig_path(&r, "jobs/roots"), &st), 0);
	assert_int_equal(st.st_uid, 0);
	snprintf(link, sizeof(link), "%s/spool/2", r.dir);
	assert_int_equal(symlink("../jobs/roots", link), 0);
	rotate.path = link;
	rig_send(&r, &rotate);
	l = job(1, "echo out");
	assert_int_equal(symlink("../jobs/roots", rig_path(&r, "logs/1.out")), 0);
	rig_send(&r, &l);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->dropped_bytes, 4);
	assert_string_equal(rig_text(&r, "jobs/roots"), "");
	/* A file of root's, named directly, is not the server's to open either. */
	assert_int_equal(chmod(rig_path(&r, "jobs/roots"), 0600), 0);
	snprintf(link, sizeof(link), "%s/jobs/roots", r.dir);
	rig_send(&r, &rotate);
	l = job(2, "true");
	rig_send(&r, &l);
	rig_wait(&r, 2, SPOOL_ENDED);
	assert_string_equal(rig_text(&r, "jobs/roots"), "");
}

static void test_strangers_are_not_heard(void **state)
{
	struct launch l;
	pid_t child;
	int status;

	ONLY_ROOT();
	child = fork();
	if (child == 0) {
		char byte;

		/* The server's own account, which owns the socket, is a stranger here: it goes through the helper. */
		if (setgid(NOBODY_UID) < 0 || setuid(NOBODY_UID) < 0)
			_exit(8);
		rig_reconnect(&r);
		signal(SIGPIPE, SIG_IGN);
		if (write(r.conn, "", 1) < 0)
			_exit(0);
		_exit(read(r.conn, &byte, 1) <= 0 ? 0 : 7);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0);
	l = job(1, "true");
	rig_send(&r, &l);
	rig_wait(&r, 1, SPOOL_ENDED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	        TEST(test_rights_of_the_job),
	        TEST(test_rights_of_the_keeper),
	        TEST(test_kills_all_it_can),
	        TEST(test_keeper_ends_its_job),
	        TEST(test_killed_keeper_is_swept),
	        TEST(test_never_root_by_omission),
	        TEST(test_users_files),
	        TEST(test_own_directory),
	        TEST(test_terminal_belongs_to_the_account),
	        TEST(test_exec),
	        TEST(test_links_in_the_directory_are_not_followed),
	        TEST(test_strangers_are_not_heard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
