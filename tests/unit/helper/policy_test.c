#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "helper/accounts.h"
#include "helper/policy.h"
#include "wire/spool.h"

static struct policy p;

static int set_up(void **state)
{
	policy_init(&p, "/data");
	p.server_uid = 4000;
	p.server_gid = 4000;
	return 0;
}

static int tear_down(void **state)
{
	policy_done(&p);
	return 0;
}

static char name[] = "true", assignment[] = "A=1";
static char *argv_ok[] = {name, NULL}, *env_ok[] = {assignment, NULL};

static struct launch good(void)
{
	return (struct launch){
	        .kind = LAUNCH_START,
	        .epoch = 7,
	        .user = "54321",
	        .argv = argv_ok,
	        .env = env_ok,
	        .cwd = "/anywhere",
	        .out_path = "/data/logs/7.out",
	        .out_internal = true,
	        .index_path = "/data/logs/7.idx",
	        .console_path = "/data/run/7",
	        .path = "/data/spool/1",
	};
}

static void check_refused(const struct launch *l, const char *part)
{
	struct launch copy = *l;
	struct err err;

	if (policy_check(&p, &copy, 0, &err) == 0)
		fail_msg("it was not refused, as it should with: %s", part);
	if (!strstr(err.text, part))
		fail_msg("text is: %s", err.text);
}

static void check_allowed(const struct launch *l, uid_t uid)
{
	struct launch copy = *l;
	struct err err;

	if (policy_check(&p, &copy, 0, &err) < 0)
		fail_msg("it was refused: %s", err.text);
	assert_true(copy.has_account);
	assert_int_equal(copy.uid, uid);
}

static void test_account_is_filled_in(void **state)
{
	static uint32_t lie[] = {0};
	struct launch l = good();
	struct err err;

	/* What the agent says of these is nothing. */
	l.has_account = true;
	l.groups = lie;
	l.n_groups = 1;
	l.refusal = "a lie";
	assert_int_equal(policy_check(&p, &l, 0, &err), 0);
	assert_int_equal(l.uid, 54321);
	assert_int_equal(l.gid, 54321);
	assert_int_equal(l.n_groups, 1);
	assert_int_equal(l.groups[0], 54321);
	assert_null(l.refusal);
	l.user = "nobody";
	assert_int_equal(policy_check(&p, &l, 0, &err), 0);
	assert_int_equal(l.uid, 65534);
	assert_int_equal(l.groups[0], l.gid);
}

static void test_accounts(void **state)
{
	struct launch l = good();

	l.user = NULL;
	check_refused(&l, "no account");
	l.user = "root";
	check_refused(&l, "root");
	l.user = "0";
	check_refused(&l, "root");
	l.user = "00";
	check_refused(&l, "root");
	l.user = "daemon";
	check_refused(&l, "'daemon' has number 1");
	l.user = "4000";
	check_refused(&l, "Berth's own");
	l.user = "no-such-account-here";
	check_refused(&l, "no account 'no-such-account-here'");
	l.user = "4294967296";
	check_refused(&l, "no account");
	l.user = "-1";
	check_refused(&l, "no account");
	l.user = "4294967295";
	check_refused(&l, "no account");
	p.allow_root = true;
	l.user = "root";
	check_allowed(&l, 0);
	l.user = "4000";
	check_refused(&l, "Berth's own");
	p.min_uid = 1;
	l.user = "daemon";
	check_allowed(&l, 1);
}

/* A refusal comes to people's terminals, by the log and by `show`. */
static void test_refusals_can_be_shown(void **state)
{
	static char bad_entry[] = "\033[2J";
	static char *env[] = {bad_entry, NULL};
	struct launch l = good();

	l.user = "no\033[2J\n";
	check_refused(&l, "'no?[2J?'");
	l = good();
	l.out_path = "/\xff\033]0;x";
	check_refused(&l, "'/??]0;x'");
	l.out_internal = false;
	l.cwd = "\033";
	check_refused(&l, "'?'");
	l = good();
	l.env = env;
	check_refused(&l, "'?[2J'");
}

static void test_named_accounts(void **state)
{
	struct launch l = good();
	struct err err;

	assert_int_equal(policy_set(&p, "users", "nobody, 54322,", &err), 0);
	check_refused(&l, "'54321' may not");
	l.user = "54322";
	check_allowed(&l, 54322);
	l.user = "nobody";
	check_allowed(&l, 65534);
	/* By a number that is an account with a name: that name was meant. */
	l.user = "65534";
	check_refused(&l, "'65534' may not");
	assert_int_equal(policy_set(&p, "users", "", &err), 0);
	check_allowed(&l, 65534);
}

/* The keepers' parent makes it as root. */
static void test_groups(void **state)
{
	static const char *const bad[] = {"", "jobs", "/../../tmp", "/a/../b", "/a/.", "/.b"};
	static const char *const others[] = {
	        "", "/", "/jobs", "/jobs/of.al", "/jobs/of.all/", "/jobs/of.all/x", "/a\tb"};
	struct launch l = good();
	struct err err;

	l.group_parent = "/jobs/of.all";
	check_refused(&l, "helper.conf");
	assert_int_equal(policy_set(&p, "cgroup_parent", "/jobs/of.all", &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(policy_set(&p, "cgroup_parent", bad[i], &err), -ERR_INVALID);
	l = good();
	l.group_parent = "/jobs/of.all";
	check_allowed(&l, 54321);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		l = good();
		l.group_parent = others[i];
		check_refused(&l, "helper.conf");
	}
	l = good();
	l.group_parent = "/a\tb";
	check_refused(&l, "'/a?b'");
}

/* Ledgers are shown to a job by root: only what lies where ledgers do. */
static void test_slices(void **state)
{
	static const char *const bad[] = {"", "/root", "/dev/shm/other", "/dev/shm/../root",
	        "/dev/shm/berth-1/../../root", "/dev/shm/berth-1//x", "/dev/shm/berth-1/.x"};
	struct launch l = good();

	l.slices = "/dev/shm/berth-fe00.12-00ff/17-00ff";
	check_allowed(&l, 54321);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		l = good();
		l.slices = bad[i];
		check_refused(&l, "no place of ledgers");
	}
}

/* Written by root: nothing but names of regions and numbers. */
static void test_gpu_limits(void **state)
{
	static const char *const bad[] = {"nvidia/x 1\x01", "a;b", "$(id) 1", "\xc3\xa4 1"};
	struct launch l = good();

	l.gpu_limits = "nvidia/0000:3b:00.0/vidmem 1024\nnvidia/10000:3b:00.0/vidmem 1\n";
	check_allowed(&l, 54321);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		l = good();
		l.gpu_limits = bad[i];
		check_refused(&l, "no limit of GPU memory");
	}
}

static void test_places(void **state)
{
	static const char *const bad[] = {"/etc/passwd", "/data/logs", "/data/logs/",
	        "/data/logs//", "/data/logsx/1", "/data/logs/../../etc/passwd", "/data/logs/..",
	        "/data/logs/./x", "/data/logs/a/../b", "logs/1", "/data/../data/logs/1",
	        "/dat/logs/1", "/data/run/1", ""};
	struct launch l;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		l = good();
		l.out_path = bad[i];
		check_refused(&l, "output");
		l = good();
		l.index_path = bad[i];
		check_refused(&l, "index");
	}
	l = good();
	l.out_path = "/data/logs/a/b/..c/.d";
	check_allowed(&l, 54321);
	/* A file of the account's own may be anywhere: it is opened with its rights. */
	l.out_path = "/etc/passwd";
	l.out_internal = false;
	check_allowed(&l, 54321);
	l.err_path = "relative";
	check_refused(&l, "relative");
	l = good();
	l.console_path = "/data/logs/7";
	check_refused(&l, "console");
	l = good();
	l.path = "/etc/passwd";
	check_refused(&l, "spool");
	l = good();
	l.cwd = "/home/somebody";
	l.make_cwd = true;
	check_refused(&l, "directory");
	l.cwd = "/data/work/7";
	check_allowed(&l, 54321);
	l.cwd = "work";
	l.make_cwd = false;
	check_refused(&l, "'work'");
}

static void test_commands(void **state)
{
	static char empty[] = "", no_value[] = "novalue", no_name[] = "=value";
	static char *none[] = {NULL}, *nothing[] = {empty, NULL},
	            *env_a[] = {assignment, no_value, NULL}, *env_b[] = {no_name, NULL};
	struct launch l = good();

	l.argv = none;
	check_refused(&l, "no command");
	l.argv = nothing;
	check_refused(&l, "no command");
	l = good();
	l.env = env_a;
	check_refused(&l, "'novalue'");
	l.env = env_b;
	check_refused(&l, "'=value'");
	l = good();
	l.epoch = 0;
	check_refused(&l, "epoch 0");
	l.epoch = SPOOL_EPOCH_MAX + 1;
	check_refused(&l, "epoch");
}

static void test_other_kinds(void **state)
{
	struct launch l = {.kind = LAUNCH_STOP, .epoch = 1, .argv = argv_ok + 1, .env = env_ok + 1};
	struct err err;

	assert_int_equal(policy_check(&p, &l, 0, &err), 0);
	assert_false(l.has_account);
	l.kind = LAUNCH_SWEEP;
	assert_int_equal(policy_check(&p, &l, 0, &err), 0);
	/* To remove a directory is done with the rights of its account. */
	l.make_cwd = true;
	l.cwd = "/data/work/1";
	l.user = "54321";
	check_allowed(&l, 54321);
	/* Who may not run has nothing removed; the sweep goes on. */
	l.user = "root";
	assert_int_equal(policy_check(&p, &l, 0, &err), 0);
	assert_false(l.make_cwd);
	assert_false(l.has_account);
	assert_null(l.cwd);
	l.make_cwd = true;
	l.user = "54321";
	l.cwd = "/data/work/../logs";
	check_refused(&l, "directory");
	l = (struct launch){.kind = LAUNCH_ROTATE, .argv = argv_ok + 1, .env = env_ok + 1};
	check_refused(&l, "no spool");
	l.path = "/data/spool/../run/x";
	check_refused(&l, "spool");
	l.path = "/data/spool/2";
	assert_int_equal(policy_check(&p, &l, 0, &err), 0);
	l.kind = LAUNCH_EXEC;
	l.epoch = 1;
	check_refused(&l, "no command");
}

#define UUID "GPU-12345678-1234-abcd-1234-123456789abc"

static struct launch good_mps(enum launch_kind kind)
{
	return (struct launch){
	        .kind = kind, .user = "54321", .device = UUID, .place = 63, .simulated = true};
}

/* A daemon as whoever may run jobs, of a device; nothing else of it is the agent's to say. */
static void test_mps(void **state)
{
	static const char *const no_uuids[] = {"", "0", "GPU-", UUID "0", UUID "," UUID, "all",
	        "GPU-12345678-1234-abcd-1234-123456789ab",
	        "MIG-12345678-1234-abcd-1234-123456789abc",
	        "GPU-12345678-1234-ABCD-1234-123456789abc", "GPU-12345678/../..-1234-123456789abc",
	        "GPU-12345678-1234-abcd-1234-123456789ab\n"};
	struct launch l = good_mps(LAUNCH_MPS_START);

	check_allowed(&l, 54321);
	for (size_t i = 0; i < ARRAY_LEN(no_uuids); i++) {
		l = good_mps(LAUNCH_MPS_START);
		l.device = no_uuids[i];
		check_refused(&l, "no UUID");
	}
	l = good_mps(LAUNCH_MPS_START);
	l.device = NULL;
	check_refused(&l, "no UUID");
	l = good_mps(LAUNCH_MPS_START);
	l.place = 64;
	check_refused(&l, "no device 64");
	l = good_mps(LAUNCH_MPS_START);
	l.user = NULL;
	check_refused(&l, "no account");
	l.user = "4000";
	check_refused(&l, "Berth's own");
	l.user = "daemon";
	check_refused(&l, "'daemon' has number 1");
	l.user = "no-such-account-here";
	check_refused(&l, "no account 'no-such-account-here'");
	l.user = "root";
	check_refused(&l, "root");
	p.allow_root = true;
	check_refused(&l, "no MPS daemon runs as root");
	/* What an account has already it may end, also when it may run nothing any more. */
	p.min_uid = 60000;
	for (int kind = LAUNCH_MPS_FIND; kind <= LAUNCH_MPS_END; kind++) {
		l = good_mps((enum launch_kind)kind);
		check_allowed(&l, 54321);
		l.user = "0";
		check_refused(&l, "no MPS daemon runs as root");
		l.user = NULL;
		check_refused(&l, "no account");
		l = good_mps((enum launch_kind)kind);
		l.device = "../../etc";
		check_refused(&l, "no UUID");
	}
}

/* One that is not simulated is one that the driver has. */
static void test_mps_of_devices_of_the_driver(void **state)
{
	char dir[] = "/tmp/berth-policy-XXXXXX", at[64], file[96];
	struct launch l = good_mps(LAUNCH_MPS_START);
	FILE *f;

	l.simulated = false;
	assert_non_null(mkdtemp(dir));
	p.devices = dir;
	check_refused(&l, "the driver has no device " UUID);
	snprintf(at, sizeof(at), "%s/0000:3b:00.0", dir);
	snprintf(file, sizeof(file), "%s/information", at);
	assert_int_equal(mkdir(at, 0755), 0);
	check_refused(&l, "the driver has no device");
	f = fopen(file, "w");
	fputs("Model: \t\t Test\nIRQ:   \t\t 26\nGPU UUID: \t " UUID "\nBus Type: \t PCIe\n", f);
	fclose(f);
	check_allowed(&l, 54321);
	l.device = "GPU-12345678-1234-abcd-1234-123456789abd";
	check_refused(&l, "the driver has no device");
	unlink(file);
	rmdir(at);
	rmdir(dir);
}

static char path[64];

static void write_file(const char *text, mode_t mode)
{
	FILE *f;
	int fd;

	snprintf(path, sizeof(path), "/tmp/berth-policy-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	f = fdopen(fd, "w");
	fputs(text, f);
	fclose(f);
}

static void check_file(const char *text, mode_t mode, const char *part)
{
	struct err err;
	int rc;

	write_file(text, mode);
	rc = policy_read(&p, path, &err);
	unlink(path);
	if (!part) {
		if (rc < 0)
			fail_msg("it was refused: %s", err.text);
		return;
	}
	assert_true(rc < 0);
	if (!strstr(err.text, part))
		fail_msg("text is: %s", err.text);
}

static void test_file(void **state)
{
	struct err err;

	assert_int_equal(policy_read(&p, "/no/such/file", &err), 0);
	assert_int_equal(p.min_uid, 1000);
	assert_false(p.allow_root);
	if (getuid() != 0) {
		check_file("min_uid = 5\n", 0600, "of root's");
		return;
	}
	check_file(
	        "# who may\n  min_uid=500 # or more\r\n\nallow_root =  yes\nusers = ada, grace\n",
	        0644, NULL);
	assert_int_equal(p.min_uid, 500);
	assert_true(p.allow_root);
	assert_int_equal(p.n_users, 2);
	assert_string_equal(p.users[1], "grace");
	check_file("min_uid = 5\n", 0622, "of root's");
	check_file("min_uid = 5\n", 0620, "of root's");
	check_file("min_uid = five\n", 0600, "line 1: min_uid: 'five'");
	check_file("\nmin_udi = 5\n", 0600, "line 2: there is no setting 'min_udi'");
	check_file("allow_root = maybe\n", 0600, "'maybe'");
	check_file("yes\n", 0600, "no '='");
	assert_int_equal(chown(path, 0, 0), -1);
	write_file("min_uid = 5\n", 0600);
	assert_int_equal(chown(path, 65534, 0), 0);
	assert_int_equal(policy_read(&p, path, &err), -ERR_FORBIDDEN);
	unlink(path);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_true(policy_read(&p, path, &err) < 0);
	unlink(path);
}

/* What was found is believed for some seconds only, and not more than a table of it is kept. */
static void test_accounts_are_remembered(void **state)
{
	struct accounts *a = accounts_new();
	const struct account *first, *again;
	char number[16];
	struct err err;

	assert_int_equal(accounts_find(a, "nobody", 1000, &first, &err), 0);
	assert_int_equal(first->found_ms, 1000);
	assert_int_equal(accounts_find(a, "nobody", 5000, &again, &err), 0);
	assert_ptr_equal(first, again);
	assert_int_equal(again->found_ms, 1000);
	assert_int_equal(accounts_find(a, "nobody", 60000, &again, &err), 0);
	assert_int_equal(again->found_ms, 60000);
	for (int i = 0; i < 100; i++) {
		snprintf(number, sizeof(number), "%d", 70000 + i);
		assert_int_equal(accounts_find(a, number, 60000, &again, &err), 0);
		assert_int_equal(again->uid, 70000 + i);
	}
	assert_int_equal(accounts_find(a, "nobody", 60001, &again, &err), 0);
	assert_int_equal(again->uid, 65534);
	accounts_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	        TEST(test_account_is_filled_in),
	        TEST(test_accounts),
	        TEST(test_groups),
	        TEST(test_slices),
	        TEST(test_gpu_limits),
	        TEST(test_refusals_can_be_shown),
	        TEST(test_named_accounts),
	        TEST(test_places),
	        TEST(test_commands),
	        TEST(test_other_kinds),
	        TEST(test_mps),
	        TEST(test_mps_of_devices_of_the_driver),
	        TEST(test_file),
	        TEST(test_accounts_are_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
