#include "wire/launch.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "berth/slice_dir.h"
#include "wire/codec.h"

/*
 * DESIGN: a message is walked twice. The first walk counts strings and bytes, so that all of it fits into one block;
 * the second hands the block out: pointer arrays first (they need alignment), then the strings.
 */
enum {
	TAG_KIND = 1,
	TAG_JOB,
	TAG_TASK,
	TAG_ATTEMPT,
	TAG_EPOCH,
	TAG_CONSOLE_ID,
	TAG_USER,
	TAG_ARGV,
	TAG_ENV,
	TAG_CWD,
	TAG_MAKE_CWD,
	TAG_OUT_PATH,
	TAG_ERR_PATH,
	TAG_INDEX_PATH,
	TAG_OUT_INTERNAL,
	TAG_OUTPUT_MAX,
	TAG_TTY,
	TAG_CONSOLE,
	TAG_CONSOLE_PATH,
	TAG_ROWS,
	TAG_COLS,
	TAG_GRACE_MS,
	TAG_TIME_LIMIT_MS,
	TAG_CPUS,
	TAG_FORCE,
	TAG_STOP_CAUSE,
	TAG_PATH,
	TAG_AGAIN,
	TAG_HAS_ACCOUNT,
	TAG_UID,
	TAG_GID,
	TAG_GROUP,
	TAG_REFUSAL,
	TAG_GRANT,
	TAG_MEM,
	TAG_MAX_PROCESSES,
	TAG_CPU_WEIGHT,
	TAG_CPU_MAX,
	TAG_IO_WEIGHT,
	TAG_HOLD_DEVICES,
	TAG_MINORS,
	TAG_GROUP_PARENT,
	TAG_SLICES,
	TAG_SIMULATED,
	TAG_BY_MPS,
	TAG_CAPS_MAJOR,
	TAG_CAPS,
	TAG_GPU_LIMITS,
	TAG_RANKS,
	TAG_LABEL,
	TAG_DEVICE,
	TAG_PLACE,
};

/* What the second walk hands out from. */
struct arena {
	size_t n_argv;
	size_t n_env;
	size_t n_groups;
	size_t n_bytes; /* of strings, with their NULs */
	char *bytes;
};

/* Up to the last byte that is not zero. */
static void put_bits(struct buf *b, uint32_t tag, const uint64_t *bits, size_t n_bits)
{
	uint8_t bytes[MAX(LAUNCH_CPUS, LAUNCH_CAPS) / 8];
	size_t n = 0;

	for (size_t i = 0; i < n_bits / 8; i++) {
		bytes[i] = (uint8_t)(bits[i / 8] >> i % 8 * 8);
		if (bytes[i])
			n = i + 1;
	}
	codec_put_bytes(b, tag, bytes, n);
}

static void put_list(struct buf *b, uint32_t tag, char *const *list)
{
	for (; list && *list; list++)
		codec_add_bytes(b, tag, *list, strlen(*list));
}

static void put_output(struct buf *b, const struct launch *l)
{
	codec_put_str(b, TAG_OUT_PATH, l->out_path);
	codec_put_str(b, TAG_ERR_PATH, l->err_path);
	codec_put_str(b, TAG_INDEX_PATH, l->index_path);
	codec_put_u64(b, TAG_OUT_INTERNAL, l->out_internal);
	codec_put_u64(b, TAG_OUTPUT_MAX, l->output_max);
	codec_put_u64(b, TAG_RANKS, l->ranks);
	codec_put_u64(b, TAG_LABEL, l->label);
	codec_put_u64(b, TAG_TTY, l->tty);
	codec_put_u64(b, TAG_CONSOLE, l->console);
	codec_put_str(b, TAG_CONSOLE_PATH, l->console_path);
	codec_put_u64(b, TAG_ROWS, l->rows);
	codec_put_u64(b, TAG_COLS, l->cols);
}

static void put_limits(struct buf *b, const struct launch *l)
{
	codec_put_u64(b, TAG_MEM, l->mem_bytes);
	codec_put_u64(b, TAG_MAX_PROCESSES, l->max_processes);
	codec_put_u64(b, TAG_CPU_WEIGHT, l->cpu_weight);
	codec_put_u64(b, TAG_CPU_MAX, l->cpu_max_milli);
	codec_put_u64(b, TAG_IO_WEIGHT, l->io_weight);
	codec_put_u64(b, TAG_HOLD_DEVICES, l->hold_devices);
	put_bits(b, TAG_MINORS, l->minors, LAUNCH_MINORS);
	codec_put_u64(b, TAG_CAPS_MAJOR, l->caps_major);
	put_bits(b, TAG_CAPS, l->caps, LAUNCH_CAPS);
	codec_put_str(b, TAG_GROUP_PARENT, l->group_parent);
	codec_put_str(b, TAG_SLICES, l->slices);
	codec_put_u64(b, TAG_SIMULATED, l->simulated);
	codec_put_u64(b, TAG_BY_MPS, l->by_mps);
	codec_put_str(b, TAG_GPU_LIMITS, l->gpu_limits);
	codec_put_str(b, TAG_DEVICE, l->device);
	codec_put_u64(b, TAG_PLACE, l->place);
}

static void put_account(struct buf *b, const struct launch *l)
{
	codec_put_u64(b, TAG_HAS_ACCOUNT, l->has_account);
	codec_put_u64(b, TAG_UID, l->uid);
	codec_put_u64(b, TAG_GID, l->gid);
	for (size_t i = 0; i < l->n_groups; i++)
		codec_add_u64(b, TAG_GROUP, l->groups[i]);
	codec_put_str(b, TAG_REFUSAL, l->refusal);
}

void launch_encode(const struct launch *l, struct buf *b)
{
	size_t at = b->len, len;

	if (!buf_reserve(b, 4))
		return;
	buf_commit(b, 4);
	codec_put_u64(b, TAG_KIND, (uint64_t)l->kind);
	codec_put_u64(b, TAG_JOB, l->job);
	codec_put_i64(b, TAG_TASK, l->task);
	codec_put_u64(b, TAG_ATTEMPT, l->attempt);
	codec_put_u64(b, TAG_EPOCH, l->epoch);
	codec_put_u64(b, TAG_AGAIN, l->again);
	codec_put_u64(b, TAG_CONSOLE_ID, l->console_id);
	codec_put_str(b, TAG_USER, l->user);
	codec_put_str(b, TAG_GRANT, l->grant);
	put_list(b, TAG_ARGV, l->argv);
	put_list(b, TAG_ENV, l->env);
	codec_put_str(b, TAG_CWD, l->cwd);
	codec_put_u64(b, TAG_MAKE_CWD, l->make_cwd);
	put_output(b, l);
	codec_put_u64(b, TAG_GRACE_MS, l->grace_ms);
	codec_put_u64(b, TAG_TIME_LIMIT_MS, l->time_limit_ms);
	put_bits(b, TAG_CPUS, l->cpus, LAUNCH_CPUS);
	put_limits(b, l);
	codec_put_u64(b, TAG_FORCE, l->force);
	codec_put_u64(b, TAG_STOP_CAUSE, l->stop_cause);
	codec_put_str(b, TAG_PATH, l->path);
	put_account(b, l);
	len = b->len - at - 4;
	if (len > LAUNCH_MAX)
		b->overflow = true;
	if (b->overflow)
		return;
	for (size_t i = 0; i < 4; i++)
		b->data[at + i] = (uint8_t)(len >> (24 - 8 * i));
}

static bool is_text(const struct codec_field *f)
{
	return f->tag == TAG_ARGV || f->tag == TAG_ENV || f->tag == TAG_USER || f->tag == TAG_CWD ||
	       f->tag == TAG_OUT_PATH || f->tag == TAG_ERR_PATH || f->tag == TAG_INDEX_PATH ||
	       f->tag == TAG_CONSOLE_PATH || f->tag == TAG_PATH || f->tag == TAG_REFUSAL ||
	       f->tag == TAG_GRANT || f->tag == TAG_GROUP_PARENT || f->tag == TAG_SLICES ||
	       f->tag == TAG_GPU_LIMITS || f->tag == TAG_DEVICE;
}

static int measure(const void *data, size_t len, struct arena *a, struct err *err)
{
	struct codec_reader r = codec_read(data, len);
	struct codec_field f;

	while (codec_next(&r, &f)) {
		if (is_text(&f)) {
			if (!f.is_bytes || (f.len && memchr(f.data, 0, f.len)))
				return err_set(err, ERR_CORRUPT,
				        "launch message: field %u is no text", f.tag);
			a->n_bytes += f.len + 1;
		}
		a->n_argv += f.tag == TAG_ARGV;
		a->n_env += f.tag == TAG_ENV;
		a->n_groups += f.tag == TAG_GROUP;
	}
	if (r.bad)
		return err_set(err, ERR_CORRUPT, "launch message of %zu bytes is malformed", len);
	return 0;
}

static void allocate(struct arena *a, struct launch *l)
{
	size_t pointers = (a->n_argv + 1 + a->n_env + 2) * sizeof(char *);
	size_t groups = a->n_groups * sizeof(uint32_t);
	char *block = mem_zalloc(pointers + groups + a->n_bytes);

	l->block = block;
	l->argv = (char **)(void *)block;
	l->env = l->argv + a->n_argv + 1;
	l->groups = (uint32_t *)(void *)(block + pointers);
	a->bytes = block + pointers + groups;
	a->n_argv = a->n_env = 0;
}

static char *take_text(struct arena *a, const struct codec_field *f)
{
	char *s = a->bytes;

	if (f->len)
		memcpy(s, f->data, f->len);
	a->bytes += f->len + 1;
	return s;
}

static void take_string(struct launch *l, struct arena *a, const struct codec_field *f)
{
	char *s = take_text(a, f);

	switch (f->tag) {
	case TAG_ARGV:
		l->argv[a->n_argv++] = s;
		break;
	case TAG_ENV:
		l->env[a->n_env++] = s;
		break;
	case TAG_USER:
		l->user = s;
		break;
	case TAG_CWD:
		l->cwd = s;
		break;
	case TAG_OUT_PATH:
		l->out_path = s;
		break;
	case TAG_ERR_PATH:
		l->err_path = s;
		break;
	case TAG_INDEX_PATH:
		l->index_path = s;
		break;
	case TAG_CONSOLE_PATH:
		l->console_path = s;
		break;
	case TAG_PATH:
		l->path = s;
		break;
	case TAG_REFUSAL:
		l->refusal = s;
		break;
	case TAG_GRANT:
		l->grant = s;
		break;
	case TAG_GROUP_PARENT:
		l->group_parent = s;
		break;
	case TAG_SLICES:
		l->slices = s;
		break;
	case TAG_GPU_LIMITS:
		l->gpu_limits = s;
		break;
	case TAG_DEVICE:
		l->device = s;
		break;
	default:
		break;
	}
}

static void take_bits(uint64_t *bits, size_t n_bits, const struct codec_field *f)
{
	for (size_t i = 0; i < MIN(f->len, n_bits / 8); i++)
		bits[i / 8] |= (uint64_t)f->data[i] << i % 8 * 8;
}

static void take_limit(struct launch *l, const struct codec_field *f)
{
	switch (f->tag) {
	case TAG_CPUS:
		take_bits(l->cpus, LAUNCH_CPUS, f);
		break;
	case TAG_MEM:
		l->mem_bytes = f->u;
		break;
	case TAG_MAX_PROCESSES:
		l->max_processes = f->u;
		break;
	case TAG_CPU_WEIGHT:
		l->cpu_weight = codec_u32(f);
		break;
	case TAG_CPU_MAX:
		l->cpu_max_milli = codec_u32(f);
		break;
	case TAG_IO_WEIGHT:
		l->io_weight = codec_u32(f);
		break;
	case TAG_HOLD_DEVICES:
		l->hold_devices = f->u;
		break;
	case TAG_MINORS:
		take_bits(l->minors, LAUNCH_MINORS, f);
		break;
	case TAG_CAPS_MAJOR:
		l->caps_major = codec_u32(f);
		break;
	case TAG_CAPS:
		take_bits(l->caps, LAUNCH_CAPS, f);
		break;
	case TAG_SIMULATED:
		l->simulated = f->u;
		break;
	case TAG_BY_MPS:
		l->by_mps = f->u;
		break;
	case TAG_PLACE:
		l->place = codec_u32(f);
		break;
	default:
		break;
	}
}

static void take_identity(struct launch *l, const struct codec_field *f)
{
	switch (f->tag) {
	case TAG_KIND:
		l->kind = (enum launch_kind)codec_u32(f);
		break;
	case TAG_JOB:
		l->job = f->u;
		break;
	case TAG_TASK:
		l->task = codec_i64(f);
		break;
	case TAG_ATTEMPT:
		l->attempt = codec_u32(f);
		break;
	case TAG_EPOCH:
		l->epoch = f->u;
		break;
	case TAG_AGAIN:
		l->again = f->u;
		break;
	case TAG_CONSOLE_ID:
		l->console_id = f->u;
		break;
	case TAG_HAS_ACCOUNT:
		l->has_account = f->u;
		break;
	case TAG_UID:
		l->uid = codec_u32(f);
		break;
	case TAG_GID:
		l->gid = codec_u32(f);
		break;
	case TAG_GROUP:
		l->groups[l->n_groups++] = codec_u32(f);
		break;
	default:
		break;
	}
}

static void take_setting(struct launch *l, const struct codec_field *f)
{
	switch (f->tag) {
	case TAG_MAKE_CWD:
		l->make_cwd = f->u;
		break;
	case TAG_OUT_INTERNAL:
		l->out_internal = f->u;
		break;
	case TAG_OUTPUT_MAX:
		l->output_max = f->u;
		break;
	case TAG_RANKS:
		l->ranks = codec_u32(f);
		break;
	case TAG_LABEL:
		l->label = f->u;
		break;
	case TAG_TTY:
		l->tty = f->u;
		break;
	case TAG_CONSOLE:
		l->console = f->u;
		break;
	case TAG_ROWS:
		l->rows = codec_u32(f);
		break;
	case TAG_COLS:
		l->cols = codec_u32(f);
		break;
	case TAG_GRACE_MS:
		l->grace_ms = f->u;
		break;
	case TAG_TIME_LIMIT_MS:
		l->time_limit_ms = f->u;
		break;
	case TAG_FORCE:
		l->force = f->u;
		break;
	case TAG_STOP_CAUSE:
		l->stop_cause = codec_u32(f);
		break;
	default:
		break;
	}
}

int launch_decode(const void *data, size_t len, struct launch *ret_launch, struct err *err)
{
	struct arena a = {0};
	struct launch l = {0};
	struct codec_reader r = codec_read(data, len);
	struct codec_field f;
	int rc;

	if (len > LAUNCH_MAX)
		return err_set(err, ERR_TOO_LARGE, "launch message of %zu bytes: the most is %zu",
		        len, (size_t)LAUNCH_MAX);
	rc = measure(data, len, &a, err);
	if (rc < 0)
		return rc;
	allocate(&a, &l);
	while (codec_next(&r, &f)) {
		if (is_text(&f)) {
			take_string(&l, &a, &f);
			continue;
		}
		take_identity(&l, &f);
		take_setting(&l, &f);
		take_limit(&l, &f);
	}
	if (l.kind < LAUNCH_START || l.kind > LAUNCH_MPS_END) {
		launch_done(&l);
		return err_set(err, ERR_VERSION, "launch message of kind %u is not known here",
		        (unsigned)l.kind);
	}
	if (l.ranks > LAUNCH_RANKS || (l.ranks > 1 && l.tty)) {
		launch_done(&l);
		return err_set(err, ERR_CORRUPT, "launch message of %u tasks%s", l.ranks,
		        l.tty ? " with a terminal" : "");
	}
	*ret_launch = l;
	return 0;
}

void launch_done(struct launch *l)
{
	free(l->block);
	l->block = NULL;
}

static bool is_among(const char *const *keys, size_t n, const char *entry, size_t key_len)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(keys[i]) == key_len && memcmp(keys[i], entry, key_len) == 0)
			return true;
	return false;
}

const char *const launch_rank_variables[LAUNCH_RANK_VARIABLES] = {
        [LAUNCH_BERTH_RANK] = "BERTH_RANK",
        [LAUNCH_RANK] = "RANK",
        [LAUNCH_LOCAL_RANK] = "LOCAL_RANK",
        [LAUNCH_BERTH_TASKS] = "BERTH_TASKS",
        [LAUNCH_WORLD_SIZE] = "WORLD_SIZE",
        [LAUNCH_LOCAL_WORLD_SIZE] = "LOCAL_WORLD_SIZE",
        [LAUNCH_MASTER_ADDR] = "MASTER_ADDR",
        [LAUNCH_MASTER_PORT] = "MASTER_PORT",
};

bool launch_is_rank_variable(const char *entry, size_t key_len)
{
	return is_among(launch_rank_variables, LAUNCH_RANK_VARIABLES, entry, key_len);
}

bool launch_sets_variable(const char *entry, size_t key_len)
{
	static const char *const keys[] = {
	        "BERTH_JOB_ID",
	        "BERTH_TASK_ID",
	        "BERTH_ATTEMPT",
	        "BERTH_EPOCH",
	        "BERTH_CPUS",
	        "BERTH_GPU_MEM_BYTES",
	        "BERTH_GPU_SHARE_MILLI",
	        "BERTH_KEEPER",
	        "BERTH_FAKE_GPUS",
	        SLICE_VARIABLE,
	        "CUDA_VISIBLE_DEVICES",
	};

	return is_among(keys, ARRAY_LEN(keys), entry, key_len);
}
