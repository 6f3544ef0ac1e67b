/* What the driver says against what a ledger says, scan by scan. The attempts are this test's own. */
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/watchdog.h"
#include "ledger_file.h"

#define M ((uint64_t)1 << 20)

struct scene {
	char data[64], memory[64], path[SLICES_PATH];
	struct slices *ledgers;
	struct watchdog *w;
	int fd; /* of the ledger, with the lock of slot 0 */
	uint64_t now_ms;
};

static struct slice_record granted = {.device = "GPU-a", .mem_bytes = 1024 * M};
static struct known_attempt attempt;
static unsigned n_uses, n_notes, n_ends;
static enum spool_cause last_cause; /* of a note or an end */
static char last_note[512];
static struct slice_record last_use;

struct known_attempt *attempts_find(const struct attempts *at, uint64_t epoch)
{
	return epoch == attempt.epoch ? &attempt : NULL;
}

struct known_attempt *attempts_first(const struct attempts *at, enum attempt_state state)
{
	return state == ATTEMPT_LIVING ? &attempt : NULL;
}

void attempts_find_slices(struct attempts *at, struct known_attempt *a)
{
}

void attempts_use(
        struct attempts *at, const struct known_attempt *a, struct slice_record *v, uint32_t n)
{
	n_uses += n;
	last_use = *v;
}

void attempts_note(
        struct attempts *at, struct known_attempt *a, enum spool_cause cause, const char *text)
{
	n_notes++;
	last_cause = cause;
	snprintf(last_note, sizeof(last_note), "%s", text);
}

void attempts_end(struct attempts *at, struct known_attempt *a, enum spool_cause cause, bool force)
{
	n_ends++;
	assert_int_equal(cause, last_cause);
}

static int set_up_scene(void **state)
{
	struct slices_grant grant = {.uuid = "GPU-a",
	        .limit_bytes = 1024 * M,
	        .granule_bytes = 2 * M,
	        .context_bytes = 32 * M,
	        .flags = SLICES_HOLDS_MEMORY};
	struct scene *sc = calloc(1, sizeof(*sc));
	char path[SLICES_PATH + 16];
	struct err err;

	strcpy(sc->data, "/tmp/watchdog-data-XXXXXX");
	strcpy(sc->memory, "/dev/shm/watchdog-test-XXXXXX");
	if (!mkdtemp(sc->data) || !mkdtemp(sc->memory))
		return -1;
	snprintf(path, sizeof(path), "%s/run", sc->data);
	if (mkdir(path, 0700) < 0 ||
	        slices_open(sc->data, sc->memory, true, &sc->ledgers, &err) < 0 ||
	        slices_make(sc->ledgers, 7, &grant, 1, sc->path, &err) < 0)
		return -1;
	sc->fd = -1;
	attempt = (struct known_attempt){.epoch = 7,
	        .state = ATTEMPT_LIVING,
	        .slices = &granted,
	        .n_slices = 1,
	        .slices_known = true};
	n_uses = n_notes = n_ends = 0;
	sc->w = watchdog_new(NULL, sc->ledgers);
	*state = sc;
	return 0;
}

/* Of an agent before there was a who-0: this process has slot 0. */
static int set_up(void **state)
{
	struct scene *sc;
	char path[SLICES_PATH + 16];
	struct err err;

	if (set_up_scene(state) < 0)
		return -1;
	sc = *state;
	snprintf(path, sizeof(path), "%s/who-0", sc->path);
	if (unlink(path) < 0)
		return -1;
	watchdog_free(sc->w);
	slices_close(sc->ledgers);
	if (slices_open(sc->data, sc->memory, true, &sc->ledgers, &err) < 0)
		return -1;
	sc->w = watchdog_new(NULL, sc->ledgers);
	sc->fd = ledger_file_open(sc->path);
	return sc->fd < 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	return remove(path);
}

static int tear_down(void **state)
{
	struct scene *sc = *state;

	watchdog_free(sc->w);
	if (sc->fd >= 0)
		close(sc->fd);
	slices_remove(sc->ledgers, 7);
	slices_close(sc->ledgers);
	nftw(sc->memory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	nftw(sc->data, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(sc);
	return 0;
}

/* This process stands in the ledger with so much. */
static void use(struct scene *sc, uint64_t bytes)
{
	assert_true(ledger_file_use(sc->fd, bytes));
}

static void scan_of(struct scene *sc, int pid, uint64_t bytes, bool is_known)
{
	struct device_info device = {.uuid = "GPU-a"};
	struct inventory_process process = {
	        .pid = pid, .bytes = bytes, .is_known = is_known, .epoch = 7};
	bool is_readable = true;
	struct inventory_scan s = {.devices = &device,
	        .n_devices = 1,
	        .is_readable = &is_readable,
	        .processes = &process,
	        .n_processes = 1};

	sc->now_ms += INVENTORY_EVERY_MS;
	watchdog_on_scan(sc->w, &s, sc->now_ms);
}

/* The driver says so much of this process; what then stands in the ledger as beyond it. */
static uint64_t scan(struct scene *sc, uint64_t bytes)
{
	uint64_t beyond_bytes = 0;

	scan_of(sc, getpid(), bytes, true);
	assert_true(ledger_file_beyond(sc->fd, &beyond_bytes));
	return beyond_bytes;
}

/* Only what was beyond the ledger in each of the last scans is; less counts at once. */
static void test_least_of_scans(void **state)
{
	struct scene *sc = *state;

	use(sc, 100 * M);
	for (int i = 0; i < 3; i++)
		assert_int_equal(scan(sc, 160 * M), 0);
	assert_int_equal(scan(sc, 160 * M), 60 * M);
	/* It took more, and the driver was asked when it had: a scan that is ahead of the ledger is no overhead. */
	assert_int_equal(scan(sc, 300 * M), 60 * M);
	use(sc, 240 * M);
	assert_int_equal(scan(sc, 300 * M), 60 * M);
	/* It gave back after the driver was asked: the larger reading counts. */
	use(sc, 100 * M);
	assert_int_equal(scan(sc, 300 * M), 60 * M);
	assert_int_equal(scan(sc, 110 * M), 10 * M);
	for (int i = 0; i < 3; i++)
		assert_int_equal(scan(sc, 160 * M), 10 * M);
	/* What the driver does not tell changes nothing. */
	scan_of(sc, getpid(), 0, false);
	assert_int_equal(scan(sc, 160 * M), 60 * M);
	assert_int_equal(scan(sc, 50 * M), 0);
	assert_int_equal(n_notes, 0);
}

/* The server hears of what changed; and of all of it once it was away. */
static void test_use_is_told(void **state)
{
	struct scene *sc = *state;

	use(sc, 100 * M);
	scan(sc, 160 * M);
	scan(sc, 160 * M);
	assert_int_equal(n_uses, 1);
	assert_string_equal(last_use.device, "GPU-a");
	assert_int_equal(last_use.used_bytes, 100 * M);
	assert_int_equal(last_use.driver_bytes, 160 * M);
	watchdog_say_again(sc->w);
	assert_int_equal(n_uses, 1);
	scan(sc, 160 * M);
	scan(sc, 160 * M);
	assert_int_equal(n_uses, 2);
	use(sc, 120 * M);
	scan(sc, 160 * M);
	assert_int_equal(n_uses, 3);
	assert_int_equal(last_use.used_bytes, 120 * M);
	/* Not of what the driver does not tell. */
	use(sc, 80 * M);
	scan_of(sc, getpid(), 0, false);
	assert_int_equal(n_uses, 3);
}

/* A process that does not stand in the ledger: in two scans in a row. */
static void test_around(void **state)
{
	struct scene *sc = *state;

	use(sc, 0);
	watchdog_set_mode(sc->w, LINK_WATCHDOG_END);
	scan_of(sc, getppid(), 100 * M, true);
	scan(sc, 0);
	scan_of(sc, getppid(), 100 * M, true);
	assert_int_equal(n_notes + n_ends, 0);
	scan_of(sc, getppid(), 100 * M, true);
	assert_int_equal(n_notes, 1);
	assert_int_equal(n_ends, 1);
	assert_int_equal(last_cause, SPOOL_GPU_AROUND);
	assert_non_null(strstr(last_note, " has 100 MiB on GPU-a by NVML"));
	assert_non_null(strstr(last_note, "ledger (0 B)"));
	/* That it uses more than it may follows from that. */
	scan_of(sc, getppid(), 4096 * M, true);
	assert_int_equal(n_notes, 2);
	assert_int_equal(last_cause, SPOOL_GPU_AROUND);
	/* Who stands in the ledger and uses more than it may went around nothing. */
	scan(sc, 4096 * M);
	assert_int_equal(n_notes, 3);
	assert_int_equal(last_cause, SPOOL_GPU_MEMORY);
}

/* A process that has slot 0 with so much, until it is killed. */
static pid_t stand(const struct scene *sc, uint64_t bytes, bool is_signed)
{
	int ends[2], fd;
	char byte = 0;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		fd = ledger_file_open(sc->path);
		if (fd < 0 || (is_signed && !ledger_file_sign(sc->path)) ||
		        !ledger_file_use(fd, bytes) || write(ends[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void scan_twice(struct scene *sc, int pid, uint64_t bytes)
{
	scan_of(sc, pid, bytes, true);
	scan_of(sc, pid, bytes, true);
}

/* Who writes its number into the ledger, and locks its slot, is known by the kernel's word all the same. */
static void test_forged(void **state)
{
	struct scene *sc = *state;
	pid_t pid = stand(sc, 100 * M, false);

	scan_twice(sc, pid, 100 * M);
	assert_int_equal(n_notes, 1);
	assert_int_equal(last_cause, SPOOL_GPU_AROUND);
	assert_non_null(strstr(last_note, "does not stand in the job's ledger (100 MiB)"));
	end(pid);
	/* Of who has ended nothing is known, and nothing is said. */
	scan_twice(sc, pid, 100 * M);
	assert_int_equal(n_notes, 1);
}

static void test_signed(void **state)
{
	struct scene *sc = *state;
	pid_t pid = stand(sc, 100 * M, true);

	scan_twice(sc, pid, 150 * M);
	assert_int_equal(n_notes, 0);
	assert_int_equal(last_use.driver_bytes, 150 * M);
	/* Its neighbour has no slot. */
	scan_twice(sc, getppid(), 100 * M);
	assert_int_equal(n_notes, 1);
	kill(pid, SIGKILL);
	waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT);
	scan_twice(sc, pid, 100 * M);
	assert_int_equal(n_notes, 1);
	end(pid);
}

/* A context at least is charged by whoever goes through the interposer. */
static void test_nothing_charged(void **state)
{
	struct scene *sc = *state;
	pid_t pid = stand(sc, 0, true);

	scan_twice(sc, pid, 32 * M - 1);
	assert_int_equal(n_notes, 0);
	scan_twice(sc, pid, 32 * M);
	assert_int_equal(n_notes, 1);
	assert_int_equal(last_cause, SPOOL_GPU_AROUND);
	assert_non_null(strstr(last_note, "has charged nothing to the job's ledger (0 B)"));
	end(pid);
}

/* A ledger that is cut short, or gone: in two scans in a row, whoever uses the device. */
static void test_spoilt(void **state)
{
	struct scene *sc = *state;
	char path[SLICES_PATH + 16];

	use(sc, 100 * M);
	assert_int_equal(ftruncate(sc->fd, 4096), 0);
	scan_of(sc, getpid(), 100 * M, true);
	assert_int_equal(n_notes, 0);
	scan_of(sc, getpid(), 100 * M, true);
	assert_int_equal(n_notes, 1);
	assert_int_equal(last_cause, SPOOL_GPU_AROUND);
	assert_non_null(strstr(last_note, "it is cut short"));
	snprintf(path, sizeof(path), "%s/slice-0", sc->path);
	assert_int_equal(unlink(path), 0);
	scan_of(sc, getpid(), 0, true);
	assert_int_equal(n_notes, 2);
	assert_non_null(strstr(last_note, "is gone"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_least_of_scans, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_use_is_told, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_around, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(test_forged, set_up_scene, tear_down),
	        cmocka_unit_test_setup_teardown(test_signed, set_up_scene, tear_down),
	        cmocka_unit_test_setup_teardown(test_nothing_charged, set_up_scene, tear_down),
	        cmocka_unit_test_setup_teardown(test_spoilt, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
