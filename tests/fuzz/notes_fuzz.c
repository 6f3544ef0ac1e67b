/*
 * What is read at starts from files in a data directory, and from what a job was given: the key of a node, the words of the supervisor
 * that holds the directory, the number of its keepers' parent, an environment, and what --simulate names. The first byte says which.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <talloc.h>
#include <unistd.h>

#include "agent/identity.h"
#include "base/version.h"
#include "cli/setup.h"
#include "cli/takeover.h"
#include "engine/env.h"
#include "fuzz.h"
#include "gpu/gpu.h"
#include "plat/fs.h"
#include "sim.h"
#include "wire/launch.h"

#define EPOCH 7

static char dir[64];

static void put_file(const char *name, const void *data, size_t size, mode_t mode)
{
	char path[96];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	FUZZ_MUST(f && (!size || fwrite(data, 1, size, f) == size) && fchmod(fileno(f), mode) == 0);
	fclose(f);
}

static void get_file(const char *name, struct buf *b)
{
	char path[96];
	struct err err;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	FUZZ_MUST(fs_read(path, b, &err) == 0);
}

/* A key is what stands in the file, all of it, and for this account alone; whatever else is there stays as it is. */
static void read_key(const uint8_t *data, size_t size, uint8_t how)
{
	CLEANUP_BUF struct buf after = BUF_INIT(MIB);
	char key[IDENTITY_KEY_LEN + 1];
	bool is_open = how & 1;
	struct err err;
	int rc;

	put_file("node.key", data, size, is_open ? 0640 : 0600);
	fuzz_err_init(&err);
	rc = identity_read(dir, key, &err);
	get_file("node.key", &after);
	FUZZ_MUST(after.len == size && (!size || memcmp(after.data, data, size) == 0));
	if (rc < 0) {
		fuzz_err_check(rc, &err);
		return;
	}
	FUZZ_MUST(!is_open && size == IDENTITY_KEY_LEN && memcmp(key, data, size) == 0);
	FUZZ_MUST(strlen(key) == IDENTITY_KEY_LEN &&
	          strspn(key, "0123456789abcdef") == IDENTITY_KEY_LEN);
}

static void read_takeover(const char *text)
{
	char version[TAKEOVER_VERSION_SIZE], again[TAKEOVER_VERSION_SIZE], *ours;
	const char *flags;

	memset(version, 'Z', sizeof(version));
	flags = takeover_flags(text, version);
	FUZZ_MUST(memchr(version, '\0', sizeof(version)));
	FUZZ_MUST(flags >= text && flags <= text + strlen(text));
	FUZZ_MUST(flags == text ? !*version : flags[-1] == '\n' && !strchr(version, '\n'));
	ours = takeover_text(text);
	FUZZ_MUST(strcmp(takeover_flags(ours, again), text) == 0);
	FUZZ_MUST(strcmp(again, berth_version) == 0);
	free(ours);
}

/* The number and nothing else, or none. */
static void read_parent(const uint8_t *data, size_t size)
{
	char path[80], number[24];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/run", dir);
	FUZZ_MUST(mkdir(path, 0700) == 0);
	put_file("run/keeper.sock.lock", data, size, 0600);
	pid = setup_find_keepers_parent(dir);
	FUZZ_MUST(pid >= 0);
	if (!pid)
		return;
	while (size && data[size - 1] == '\n')
		size--;
	while (size > 1 && data[0] == '0') {
		data++;
		size--;
	}
	snprintf(number, sizeof(number), "%d", (int)pid);
	FUZZ_MUST(strlen(number) == size && memcmp(number, data, size) == 0);
}

static size_t count_named(char *const *env, const char *name, const char **ret_value)
{
	size_t len = strlen(name), n = 0;

	for (; *env; env++) {
		if (strncmp(*env, name, len) != 0 || (*env)[len] != '=')
			continue;
		*ret_value = *env + len + 1;
		n++;
	}
	return n;
}

/* What was given comes through in its order, but for what Berth says itself: that stands there once, and is right. */
static void read_environment(const uint8_t *data, size_t size, uint8_t how)
{
	struct slice_record slice = {.device = "GPU-1", .mem_bytes = 5, .share_milli = 250};
	struct link_start start = {.id = {.num = 3, .task = TASK_NONE},
	        .epoch = EPOCH,
	        .slices = &slice,
	        .n_slices = how & 2 ? 1 : 0};
	struct env_account account = {.name = "ada", .home = "/home/ada"};
	struct env_input in = {.start = &start,
	        .blob = data,
	        .blob_len = size,
	        .keep_ours = how & 1,
	        .account = how & 4 ? &account : NULL};
	const char *value = NULL, *p = (const char *)data, *end = p + size;
	void *ctx = talloc_new(NULL);
	char **env = env_compose(ctx, &in), **at = env;

	for (size_t n; p < end; p += n + 1) {
		n = strnlen(p, (size_t)(end - p));
		const char *equals = memchr(p, '=', n);

		if (!equals || equals == p ||
		        (!in.keep_ours && launch_sets_variable(p, (size_t)(equals - p))))
			continue;
		FUZZ_MUST(*at && strlen(*at) == n && memcmp(*at, p, n) == 0);
		at++;
	}
	for (char **v = env; *v; v++)
		FUZZ_MUST(strchr(*v, '=') > *v);
	FUZZ_MUST(count_named(env, "PATH", &value) && count_named(env, "LANG", &value));
	FUZZ_MUST(!in.account || count_named(env, "HOME", &value));
	if (!in.keep_ours) {
		FUZZ_MUST(count_named(env, "BERTH_EPOCH", &value) == 1 && !strcmp(value, "7"));
		FUZZ_MUST(count_named(env, "CUDA_VISIBLE_DEVICES", &value) == 1);
		FUZZ_MUST(strcmp(value, start.n_slices ? "GPU-1" : "") == 0);
	}
	talloc_free(ctx);
}

/* What is written for the fake driver is taken by it, and stays the same. */
static void check_description(const char *spec, const char *path, bool is_ours)
{
	CLEANUP_BUF struct buf first = BUF_INIT(MIB), second = BUF_INIT(MIB);
	char error[SIM_ERROR_SIZE], again[GPU_PATH_SIZE];
	static struct sim s;
	struct err err;

	FUZZ_MUST(sim_describe(&s, path, error) || !is_ours);
	get_file("gpus.sim", &first);
	FUZZ_MUST(gpu_simulate_write(spec, dir, again, &err) == 0 && strcmp(path, again) == 0);
	get_file("gpus.sim", &second);
	FUZZ_MUST(fuzz_is_same(&first, &second));
}

static void read_simulated(const uint8_t *data, size_t size, uint8_t how)
{
	char path[GPU_PATH_SIZE], file[96], *spec = fuzz_text(data, size);
	bool is_file = how & 1;
	struct err err;
	int rc;

	snprintf(file, sizeof(file), "%s/description", dir);
	put_file("description", data, size, 0600);
	/* Anything else would be a name of a file somewhere. */
	if (!is_file && (!size || data[0] < '0' || data[0] > '9' || strchr(spec, '/')))
		spec[0] = '\0';
	if (is_file || *spec) {
		fuzz_err_init(&err);
		rc = gpu_simulate_write(is_file ? file : spec, dir, path, &err);
		if (rc < 0)
			fuzz_err_check(rc, &err);
		else
			check_description(is_file ? file : spec, path, !is_file);
	}
	free(spec);
}

static void remove_files(void)
{
	static const char *const names[] = {"node.key", "description", "gpus.sim", "gpus.sim.state",
	        "run/keeper.sock.lock", "run", ""};
	char path[96];

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		if (unlink(path) < 0)
			(void)rmdir(path);
	}
	FUZZ_MUST(access(dir, F_OK) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t how = fuzz_byte(&data, &size);
	char *text;

	if (!size)
		data = (const uint8_t *)"";
	strcpy(dir, "/tmp/berth-fuzz-XXXXXX");
	FUZZ_MUST(mkdtemp(dir));
	switch (how % 5) {
	case 0:
		read_key(data, size, how / 5);
		break;
	case 1:
		text = fuzz_text(data, size);
		read_takeover(text);
		free(text);
		break;
	case 2:
		read_parent(data, size);
		break;
	case 3:
		read_environment(data, size, how / 5);
		break;
	default:
		read_simulated(data, size, how / 5);
		break;
	}
	remove_files();
	return 0;
}
