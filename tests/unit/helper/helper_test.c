/* The helper as a program, with a real keepers' parent behind it. Only root can run it; skipped by others. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../keeper/rig.h"
#include "plat/background.h"
#include "plat/clock.h"
#include "plat/fs.h"
#include "plat/proc.h"
#include "plat/usock.h"

static struct rig r;

static int set_up(void **state)
{
	memset(&r, 0, sizeof(r));
	return rig_start_as_root(&r, RIG_HELPER);
}

static int tear_down(void **state)
{
	return rig_stop_as_root(&r);
}

static const struct spool_record *run(uint64_t epoch, const char *user, const char *script)
{
	struct launch l = rig_launch(&r, epoch, script);

	l.user = user;
	rig_send(&r, &l);
	return rig_wait(&r, epoch, SPOOL_ENDED);
}

static void test_runs_as_the_account(void **state)
{
	ONLY_ROOT();
	assert_int_equal(run(1, "54321", "id -u; id -g")->wait_status, 0);
	assert_string_equal(rig_text(&r, "logs/1.out"), "54321\n54321\n");
	assert_int_equal(WEXITSTATUS(run(2, "54322", "exit 3")->wait_status), 3);
}

static void check_refused(uint64_t epoch, const char *user, const char *part)
{
	const struct spool_record *end = run(epoch, user, "id -u");

	assert_int_equal(end->cause, SPOOL_SETUP_FAILED);
	assert_int_equal(WEXITSTATUS(end->wait_status), 125);
	assert_int_equal(end->job, epoch + 1000);
	if (!strstr(end->text, part))
		fail_msg("text is: %s", end->text);
	assert_int_equal(rig_count(&r, epoch, SPOOL_STARTED), 0);
}

static void test_refusals_are_told(void **state)
{
	struct launch l;
	struct rig_client c;

	ONLY_ROOT();
	check_refused(1, "root", "root");
	check_refused(2, NULL, "no account");
	check_refused(3, "nobody", "Berth's own");
	check_refused(4, "daemon", "number 1");
	l = rig_launch(&r, 5, "true");
	l.out_path = "/etc/shadow";
	rig_send(&r, &l);
	assert_non_null(strstr(rig_wait(&r, 5, SPOOL_ENDED)->text, "/etc/shadow"));
	/* An exec is told on its console; one without a place for it is only logged. */
	l = rig_launch(&r, 6, "echo ready; sleep 1000");
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/6.out", "ready");
	l = rig_launch(&r, 6, "id -u");
	l.kind = LAUNCH_EXEC;
	l.user = "root";
	l.out_path = l.index_path = NULL;
	l.console_path = "/etc/console";
	rig_send(&r, &l);
	l.console_path = rig_path(&r, "run/exec");
	rig_send(&r, &l);
	rig_attach(&c, l.console_path);
	rig_expect(&c, NULL);
	assert_non_null(strstr(c.error, "root"));
	rig_detach(&c);
	assert_int_equal(rig_text(&r, "../../etc/console")[0], '\0');
}

static void test_allowed_root(void **state)
{
	ONLY_ROOT();
	rig_stop(&r);
	memset(&r, 0, sizeof(r));
	r.helper_options[0] = "--allow-root";
	r.helper_options[1] = "yes";
	rig_start(&r, RIG_HELPER);
	assert_int_equal(run(1, "root", "id -u")->wait_status, 0);
	assert_string_equal(rig_text(&r, "logs/1.out"), "0\n");
}

/* Who is neither the server nor root is not heard. The server's account is. */
static void test_strangers(void **state)
{
	const uid_t uids[] = {54321, NOBODY_UID};
	const int want[] = {0, 5};
	int status;

	ONLY_ROOT();
	assert_int_equal(chmod(rig_path(&r, "run/helper.sock"), 0666), 0);
	for (size_t i = 0; i < ARRAY_LEN(uids); i++) {
		pid_t child = fork();

		if (child == 0) {
			struct pollfd p;
			char byte;

			if (setgroups(0, NULL) < 0 || setgid(uids[i]) < 0 || setuid(uids[i]) < 0)
				_exit(8);
			signal(SIGPIPE, SIG_IGN);
			close(r.conn);
			r.conn = -1;
			r.mode = RIG_USER; /* no ROTATE: it could not be written */
			r.conn = rig_connect(rig_path(&r, "run/helper.sock"));
			p = (struct pollfd){.fd = r.conn, .events = POLLIN};
			/* Whoever is heard is left in peace. */
			if (poll(&p, 1, 300) == 0)
				_exit(5);
			_exit(read(r.conn, &byte, 1) <= 0 ? 0 : 7);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), want[i]);
	}
}

/* As the agent does it, on a connection of its own. The kind of the error, or 0 and what is in the file. */
static int open_output(const char *user, const char *path, char out[64])
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX);
	struct launch l = {
	        .kind = LAUNCH_OPEN, .job = 1001, .task = -1, .user = user, .out_path = path};
	int sock = rig_connect(rig_path(&r, "run/helper.sock")), fd;
	char answer[512] = "";
	ssize_t n;

	launch_encode(&l, &b);
	assert_int_equal(write(sock, b.data, b.len), b.len);
	assert_true(usock_recv_fd(sock, &fd, answer, sizeof(answer) - 1) > 0);
	/* It is over with that. */
	assert_int_equal(read(sock, answer + 511, 1), 0);
	close(sock);
	snprintf(out, 64, "%s", answer + 1);
	assert_int_equal(fd >= 0, answer[0] == 0);
	if (fd < 0)
		return answer[0];
	n = read(fd, out, 63);
	out[MAX(n, 0)] = '\0';
	assert_int_equal(write(fd, "x", 1), -1);
	close(fd);
	return 0;
}

static void make_file(const char *path, uid_t uid, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "its output", 10), 10);
	assert_int_equal(fchown(fd, uid, uid), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void test_output_is_opened_as_the_account(void **state)
{
	char home[256], path[300], link[300], fifo[300], roots[300], text[64];

	ONLY_ROOT();
	snprintf(home, sizeof(home), "%s", rig_path(&r, "home"));
	snprintf(path, sizeof(path), "%s/out", home);
	snprintf(link, sizeof(link), "%s/link", home);
	snprintf(fifo, sizeof(fifo), "%s/fifo", home);
	snprintf(roots, sizeof(roots), "%s", rig_path(&r, "roots"));
	assert_int_equal(mkdir(home, 0700), 0);
	assert_int_equal(chown(home, 54321, 54321), 0);
	make_file(path, 54321, 0600);
	make_file(roots, 0, 0644);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(open_output("54321", path, text), 0);
	assert_string_equal(text, "its output");
	assert_int_equal(open_output("54322", path, text), ERR_FORBIDDEN);
	assert_int_equal(open_output("54321", roots, text), ERR_CONFLICT);
	assert_true(open_output("54321", link, text) > 0);
	assert_true(open_output("54321", fifo, text) > 0);
	assert_int_equal(open_output("54321", rig_path(&r, "home/none"), text), ERR_NOT_FOUND);
	assert_int_equal(open_output("54321", "home/out", text), ERR_INVALID);
	assert_int_equal(open_output("daemon", path, text), ERR_FORBIDDEN);
	assert_int_equal(open_output("root", roots, text), ERR_FORBIDDEN);
	assert_int_equal(open_output(NULL, path, text), ERR_FORBIDDEN);
	/* Starts go on beside it. */
	assert_int_equal(run(1, "54321", "true")->wait_status, 0);
}

#define UUID "GPU-12345678-1234-abcd-1234-123456789abc"

/* As the agent asks; 0 and its place, or the kind of the error and its text. *ret_fd: of its process. */
static int ask_mps(enum launch_kind kind, const char *user, int *ret_fd, char out[512])
{
	CLEANUP_BUF struct buf b = BUF_INIT(LAUNCH_MAX);
	struct launch l = {
	        .kind = kind, .user = user, .device = UUID, .place = 3, .simulated = true};
	int sock = rig_connect(rig_path(&r, "run/helper.sock"));
	char answer[513] = "";

	launch_encode(&l, &b);
	assert_int_equal(write(sock, b.data, b.len), b.len);
	assert_true(usock_recv_fd(sock, ret_fd, answer, sizeof(answer) - 1) > 0);
	close(sock);
	snprintf(out, 512, "%s", answer + 1);
	return answer[0];
}

static void copy_fake(void)
{
	char from[512], to[256];
	CLEANUP_BUF struct buf b = BUF_INIT(64 * MIB);
	struct err err;
	int fd;

	snprintf(from, sizeof(from), "%s/fake/nvidia-cuda-mps-control", getenv("BERTH_BUILD"));
	snprintf(to, sizeof(to), "%s", rig_path(&r, "fake/nvidia-cuda-mps-control"));
	assert_int_equal(mkdir(rig_path(&r, "fake"), 0755), 0);
	assert_int_equal(fs_read(from, &b, &err), 0);
	fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	assert_int_equal(fs_write_all(fd, b.data, b.len, &err), 0);
	close(fd);
}

static void make_place(uid_t owner)
{
	const char *const dirs[] = {"run/mps", "run/mps/3"};

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		assert_int_equal(mkdir(rig_path(&r, dirs[i]), 0711), 0);
		assert_int_equal(chown(rig_path(&r, dirs[i]), owner, owner), 0);
	}
}

static void check_not_there(const char *user)
{
	char text[512];
	int fd;

	assert_int_equal(ask_mps(LAUNCH_MPS_FIND, user, &fd, text), ERR_NOT_FOUND);
	assert_int_equal(fd, -1);
}

static void test_mps_daemon_of_an_account(void **state)
{
	char text[512], again[512];
	struct stat st;
	int fd, other;

	ONLY_ROOT();
	copy_fake();
	make_place(NOBODY_UID);
	check_not_there("54321");
	assert_int_equal(ask_mps(LAUNCH_MPS_START, "54321", &fd, text), 0);
	assert_string_equal(text, rig_path(&r, "run/mps/3/54321"));
	assert_int_equal(stat(rig_path(&r, "run/mps/3/54321/pipe"), &st), 0);
	assert_int_equal(st.st_uid, 54321);
	assert_int_equal(st.st_mode & 07777, 0700);
	/* There is one only, and it outlives the helper. */
	rig_kill_parent(&r, SIGKILL);
	rig_start_parent(&r);
	assert_int_equal(ask_mps(LAUNCH_MPS_START, "54321", &other, again), 0);
	assert_string_equal(text, again);
	close(other);
	assert_int_equal(ask_mps(LAUNCH_MPS_FIND, "54321", &other, again), 0);
	close(other);
	/* It is nobody else's to find, and nobody else's to end. */
	check_not_there("54322");
	assert_int_equal(ask_mps(LAUNCH_MPS_END, "54322", &other, again), 0);
	assert_false(background_is_gone_within(fd, 0));
	assert_int_equal(ask_mps(LAUNCH_MPS_END, "54321", &other, again), 0);
	assert_int_equal(other, -1);
	assert_true(background_is_gone_within(fd, RIG_WAIT_MS));
	close(fd);
	check_not_there("54321");
}

/* What a stolen agent could prepare there, or ask for. */
static void test_mps_refusals(void **state)
{
	char text[512];
	int fd;

	ONLY_ROOT();
	copy_fake();
	make_place(NOBODY_UID);
	assert_int_equal(ask_mps(LAUNCH_MPS_START, "root", &fd, text), ERR_FORBIDDEN);
	assert_int_equal(ask_mps(LAUNCH_MPS_END, "root", &fd, text), ERR_FORBIDDEN);
	assert_int_equal(ask_mps(LAUNCH_MPS_START, "daemon", &fd, text), ERR_FORBIDDEN);
	assert_int_equal(ask_mps(LAUNCH_MPS_START, NULL, &fd, text), ERR_FORBIDDEN);
	/* A directory that is not the server's is not given away, whatever leads to it. */
	assert_int_equal(mkdir(rig_path(&r, "roots"), 0755), 0);
	assert_int_equal(mkdir(rig_path(&r, "roots/54321"), 0755), 0);
	assert_int_equal(rmdir(rig_path(&r, "run/mps/3")), 0);
	assert_int_equal(symlink(rig_path(&r, "roots"), rig_path(&r, "run/mps/3")), 0);
	assert_int_equal(ask_mps(LAUNCH_MPS_START, "54321", &fd, text), ERR_FORBIDDEN);
	assert_non_null(strstr(text, "of another account"));
	assert_int_equal(unlink(rig_path(&r, "run/mps/3")), 0);
	assert_int_equal(mkdir(rig_path(&r, "run/mps/3"), 0755), 0);
	assert_int_equal(symlink(rig_path(&r, "roots/54321"), rig_path(&r, "run/mps/3/54321")), 0);
	assert_true(ask_mps(LAUNCH_MPS_START, "54321", &fd, text) > 0);
	assert_int_equal(fd, -1);
	assert_int_equal(run(1, "54321", "true")->wait_status, 0);
}

static pid_t parent_pid(void)
{
	struct proc_list below = {0};
	pid_t pid = 0;

	assert_int_equal(proc_list_below(&below, r.parent), 0);
	if (below.n)
		pid = below.items[0].pid;
	proc_list_done(&below);
	return pid;
}

/* As the agent does it: what was sent on a connection that breaks is sent again, marked. */
static const struct spool_record *run_surely(uint64_t epoch, const char *script)
{
	struct launch l = rig_launch(&r, epoch, script);
	uint64_t until = clock_mono_ms() + RIG_WAIT_MS;

	for (rig_send(&r, &l); !rig_count(&r, epoch, SPOOL_ENDED); rig_read(&r, 20)) {
		struct pollfd p = {.fd = r.conn, .events = POLLIN};

		assert_true(clock_mono_ms() < until);
		if (poll(&p, 1, 0) == 0)
			continue;
		rig_reconnect(&r);
		l.again = true;
		rig_send(&r, &l);
	}
	return rig_wait(&r, epoch, SPOOL_ENDED);
}

/* The connection ends, so that the agent looks after what it sent; the next one finds a new parent. */
static void test_killed_parent_is_started_again(void **state)
{
	struct launch l, stop = {.kind = LAUNCH_STOP, .epoch = 1, .stop_cause = SPOOL_STOPPED};
	char byte;
	pid_t first;

	ONLY_ROOT();
	l = rig_launch(&r, 1, "echo ready; sleep 1000");
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	first = parent_pid();
	assert_true(first > 0);
	kill(first, SIGKILL);
	assert_true(read(r.conn, &byte, 1) <= 0);
	rig_reconnect(&r);
	assert_int_equal(run_surely(2, "exit 2")->wait_status, 2 << 8);
	assert_true(rig_is_alive(&r, 1));
	rig_send(&r, &stop);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->cause, SPOOL_STOPPED);
	assert_true(parent_pid() != first);
}

/* The parent and its keepers go on; the next helper finds them. */
static void test_killed_helper(void **state)
{
	struct launch l, stop = {.kind = LAUNCH_STOP, .epoch = 1, .stop_cause = SPOOL_SHUTDOWN};
	pid_t parent;

	ONLY_ROOT();
	l = rig_launch(&r, 1, "echo ready; sleep 1000");
	rig_send(&r, &l);
	rig_wait_text(&r, "logs/1.out", "ready");
	parent = parent_pid();
	rig_kill_parent(&r, SIGKILL);
	assert_int_equal(kill(parent, 0), 0);
	rig_start_parent(&r);
	rig_send(&r, &stop);
	assert_int_equal(rig_wait(&r, 1, SPOOL_ENDED)->cause, SPOOL_SHUTDOWN);
	assert_int_equal(kill(parent, 0), 0);
	/* An ended helper takes the parent along, and leaves no socket. */
	rig_kill_parent(&r, SIGTERM);
	for (uint64_t until = clock_mono_ms() + RIG_WAIT_MS; kill(parent, 0) == 0; usleep(1000))
		assert_true(clock_mono_ms() < until);
	assert_false(rig_exists(&r, "run/helper.sock"));
	assert_false(rig_exists(&r, "run/keeper.sock"));
}

static void test_nonsense(void **state)
{
	char byte;

	ONLY_ROOT();
	assert_int_equal(write(r.conn, "\0\0\0\5nonsense", 12), 12);
	assert_true(read(r.conn, &byte, 1) <= 0);
	rig_reconnect(&r);
	assert_int_equal(write(r.conn, "\xff\xff\xff\xff", 4), 4);
	assert_true(read(r.conn, &byte, 1) <= 0);
	rig_reconnect(&r);
	assert_int_equal(run(1, "54321", "true")->wait_status, 0);
}

static void test_many(void **state)
{
	enum { N = 100 };

	ONLY_ROOT();
	for (uint64_t i = 1; i <= N; i++) {
		struct launch l = rig_launch(&r, i, "exit $((BERTH_EPOCH % 7))");

		rig_send(&r, &l);
	}
	for (uint64_t i = 1; i <= N; i++)
		assert_int_equal(WEXITSTATUS(rig_wait(&r, i, SPOOL_ENDED)->wait_status), i % 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	        TEST(test_runs_as_the_account),
	        TEST(test_refusals_are_told),
	        TEST(test_allowed_root),
	        TEST(test_strangers),
	        TEST(test_output_is_opened_as_the_account),
	        TEST(test_mps_daemon_of_an_account),
	        TEST(test_mps_refusals),
	        TEST(test_killed_parent_is_started_again),
	        TEST(test_killed_helper),
	        TEST(test_nonsense),
	        TEST(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
