/*
 * Descriptions of simulated devices: from "2x8GiB:a100,1x24GiB" or from a file, into a directory where they stay.
 * The seed in the description decides the UUIDs, so it is made once per directory and then kept.
 */
#include "gpu/gpu.h"

#include "base/buf.h"
#include "base/num.h"
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIMULATED_MAX   32    /* devices of one description */
#define DESCRIPTION_MAX 65536 /* bytes that the fake driver reads */
#define SEED_SIZE       33

static const struct known_model {
	const char *name;
	const char *model;
	const char *cc;
} known_models[] = {
        {"p100", "Tesla P100", "6.0"},
        {"v100", "Tesla V100", "7.0"},
        {"t4", "Tesla T4", "7.5"},
        {"a100", "NVIDIA A100", "8.0"},
        {"a30", "NVIDIA A30", "8.0"},
        {"a10", "NVIDIA A10", "8.6"},
        {"a40", "NVIDIA A40", "8.6"},
        {"rtx3090", "NVIDIA GeForce RTX 3090", "8.6"},
        {"l4", "NVIDIA L4", "8.9"},
        {"l40s", "NVIDIA L40S", "8.9"},
        {"rtx4090", "NVIDIA GeForce RTX 4090", "8.9"},
        {"h100", "NVIDIA H100", "9.0"},
        {"h200", "NVIDIA H200", "9.0"},
        {"b200", "NVIDIA B200", "10.0"},
};

static int add_model(struct buf *b, const char *name, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];

	for (const char *p = name; *p; p++)
		if (!isprint((unsigned char)*p) || *p == '#' || strlen(name) > 60)
			return err_set(err, ERR_INVALID, "'%s' cannot be a model's name",
			        text_show(name, shown));
	for (size_t i = 0; i < ARRAY_LEN(known_models); i++) {
		if (strcasecmp(known_models[i].name, name) == 0) {
			buf_addf(b, "  model %s (simulated)\n  cc %s\n", known_models[i].model,
			        known_models[i].cc);
			return 0;
		}
	}
	buf_addf(b, "  model %s (simulated)\n", name);
	return 0;
}

/* "2x8GiB:a100" or "8GiB"; part is changed */
static int add_part(struct buf *b, char *part, unsigned *n_devices, struct err *err)
{
	size_t digits = strspn(part, "0123456789");
	char *model = strchr(part, ':');
	uint64_t n = 1, bytes;
	int rc = 0;

	if (model)
		*model++ = '\0';
	if (tolower((unsigned char)part[digits]) == 'x') {
		part[digits] = '\0';
		rc = num_parse_u64(part, SIMULATED_MAX, &n, err);
		part += digits + 1;
	}
	if (rc == 0)
		rc = num_parse_size(part, &bytes, err);
	if (rc == 0 && (n == 0 || n > SIMULATED_MAX - *n_devices))
		return err_set(err, ERR_INVALID, "from 1 to %d simulated devices, not more or less",
		        SIMULATED_MAX);
	if (rc == 0 && bytes < MIB)
		return err_set(err, ERR_INVALID, "a simulated device has at least 1 MiB of memory");
	for (uint64_t i = 0; i < n && rc == 0; i++) {
		char size[24];

		buf_addf(b, "device\n  memory %llu\n", (unsigned long long)bytes);
		if (model && *model)
			rc = add_model(b, model, err);
		else
			buf_addf(b, "  model Simulated GPU %s\n", num_format_size(bytes, size));
	}
	*n_devices += (unsigned)n;
	return rc;
}

static int add_spec(struct buf *b, const char *spec, struct err *err)
{
	char *copy = strdup(spec), *save = NULL, shown[TEXT_SHOW_SIZE];
	unsigned n_devices = 0;
	int rc = 0;

	BUG_IF(!copy);
	for (char *part = strtok_r(copy, ",", &save); part && rc == 0;
	        part = strtok_r(NULL, ",", &save))
		rc = add_part(b, part, &n_devices, err);
	free(copy);
	if (rc == 0)
		return 0;
	rc = err_wrap(err, "simulated devices '%s'", text_show(spec, shown));
	if (!*err->hint)
		rc = err_hint(
		        err, "such as 2x8GiB, 2x8GiB:a100,1x24GiB, or the path of a description");
	return rc;
}

static int read_file(struct buf *b, const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0) {
		int sys = errno;

		if (fd >= 0)
			close(fd);
		return err_sys(err, sys, "%.200s", path);
	}
	if (!S_ISREG(st.st_mode) || st.st_size > DESCRIPTION_MAX) {
		close(fd);
		return err_set(err, ERR_INVALID, "%.200s is not a file of at most %d bytes", path,
		        DESCRIPTION_MAX);
	}
	for (;;) {
		uint8_t *room = buf_reserve(b, 4096);

		n = room ? read(fd, room, 4096) : 0;
		if (n <= 0)
			break;
		buf_commit(b, (size_t)n);
	}
	close(fd);
	if (n < 0)
		return err_sys(err, errno, "%.200s", path);
	return 0;
}

/* The value of the first line "seed VALUE", as it is in text; false when there is none. */
static bool find_seed(const char *text, char ret_seed[SEED_SIZE])
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += strspn(line, "\n \t");
		if (strncmp(line, "seed", 4) == 0 && sscanf(line, "seed %32s", ret_seed) == 1)
			return true;
	}
	return false;
}

/* The seed that the directory has already, or a new one. */
static int take_seed(const char *path, char ret_seed[SEED_SIZE], struct err *err)
{
	struct buf old CLEANUP_BUF = BUF_INIT(2 * DESCRIPTION_MAX);
	struct err none;
	uint8_t random[(SEED_SIZE - 1) / 2];

	if (read_file(&old, path, &none) == 0 && find_seed(buf_str(&old), ret_seed))
		return 0;
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return err_sys(err, errno, "random bytes");
	num_format_hex(random, sizeof(random), ret_seed);
	return 0;
}

/* Never half a file: what reads it meets the old one or the new one. */
static int replace_file(const char *path, const struct buf *b, struct err *err)
{
	char temporary[GPU_PATH_SIZE + 8];
	int fd, sys = 0;

	snprintf(temporary, sizeof(temporary), "%s.new", path);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return err_sys(err, errno, "%.200s", temporary);
	/* jobs of every user look at it, whatever our umask is */
	if (fchmod(fd, 0644) < 0 || write(fd, b->data, b->len) != (ssize_t)b->len)
		sys = errno ? errno : ENOSPC;
	if (close(fd) < 0 && !sys)
		sys = errno;
	if (!sys && rename(temporary, path) < 0)
		sys = errno;
	if (!sys)
		return 0;
	unlink(temporary);
	return err_sys(err, sys, "%.200s", path);
}

int gpu_simulate_write(
        const char *spec, const char *dir, char ret_path[GPU_PATH_SIZE], struct err *err)
{
	struct buf b CLEANUP_BUF = BUF_INIT(2 * DESCRIPTION_MAX),
	             old CLEANUP_BUF = BUF_INIT(2 * DESCRIPTION_MAX);
	bool is_file = strchr(spec, '/') || !isdigit((unsigned char)spec[0]);
	char path[GPU_PATH_SIZE], seed[SEED_SIZE];
	struct err none;
	int rc;

	if ((size_t)snprintf(path, sizeof(path), "%s/gpus.sim", dir) >= sizeof(path))
		return err_set(err, ERR_INVALID, "the path of the directory is too long");
	rc = take_seed(path, seed, err);
	if (rc < 0)
		return rc;
	if (is_file) {
		rc = read_file(&b, spec, err);
		if (rc == 0 && !find_seed(buf_str(&b), (char[SEED_SIZE]){0})) {
			struct buf text CLEANUP_BUF = b;

			b = BUF_INIT(2 * DESCRIPTION_MAX);
			buf_addf(&b, "seed %s\n", seed);
			buf_add(&b, text.data, text.len);
		}
	} else {
		buf_addf(&b, "# simulated devices: %s\nseed %s\n", spec, seed);
		rc = add_spec(&b, spec, err);
	}
	if (rc == 0 && b.overflow)
		rc = err_set(
		        err, ERR_TOO_LARGE, "the description of the simulated devices is too long");
	/* the same description leaves the running state alone, and its own file too */
	if (rc == 0 && (read_file(&old, path, &none) < 0 || old.len != b.len ||
	                       memcmp(old.data, b.data, b.len) != 0))
		rc = replace_file(path, &b, err);
	if (rc < 0)
		return rc;
	memcpy(ret_path, path, strlen(path) + 1);
	return 0;
}
