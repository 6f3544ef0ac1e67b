#include <string.h>

#include "cli/args.h"
#include "cli/client.h"
#include "cli/output.h"
#include "cli/queues.h"

#define CELL(name, key, kind)                                              \
	static void name(const json_t *row, bool plain, struct buf *out)   \
	{                                                                  \
		output_cell_##kind(json_object_get(row, key), plain, out); \
	}

CELL(cell_node, "node", string)
CELL(cell_queue, "queue", string)
CELL(cell_index, "index", string)
CELL(cell_device, "device", string)
CELL(cell_mem, "mem_bytes", bytes)
CELL(cell_free, "free_bytes", bytes)
CELL(cell_free_share, "free_milli", milli)
CELL(cell_withheld, "withheld_bytes", bytes)
CELL(cell_fgpu, "fgpu", string)
CELL(cell_cc, "compute_capability", string)
CELL(cell_driver, "driver", string)
CELL(cell_cuda, "cuda", string)
CELL(cell_held, "held_by_text", string)
CELL(cell_state, "state", string)
CELL(cell_mem_used, "mem_used", bytes)
CELL(cell_jobs, "jobs", string)
CELL(cell_seen, "seen_at", time)
CELL(cell_waiting, "waiting", string)
CELL(cell_running, "running", string)
CELL(cell_priority, "priority", string)
CELL(cell_order, "order", string)
CELL(cell_gpus, "gpus", string)
CELL(cell_default_cpus, "default_cpus", string)
CELL(cell_time_limit, "time_limit", seconds)
CELL(cell_default_time, "default_time", seconds)
CELL(cell_retry, "retry", string)

/* A simulated device is always shown as one, whatever its model claims. */
static void cell_model(const json_t *row, bool plain, struct buf *out)
{
	output_cell_string(json_object_get(row, "model"), plain, out);
	if (json_is_true(json_object_get(row, "simulated")) &&
	        !strcasestr(buf_str(out), "simulated"))
		buf_add_str(out, " (simulated)");
}

static void cell_health(const json_t *row, bool plain, struct buf *out)
{
	const char *text = json_string_value(json_object_get(row, "health_text"));

	output_cell_string(json_object_get(row, "health"), plain, out);
	if (text && text[0]) {
		buf_add_str(out, ": ");
		cli_add_shown(out, text);
	}
}

static void cell_slices(const json_t *row, bool plain, struct buf *out)
{
	const json_t *slice;
	size_t i;

	json_array_foreach(json_object_get(row, "slices"), i, slice)
	{
		buf_add_str(out, i ? ", " : "");
		output_cell_string(json_object_get(slice, "job"), plain, out);
		buf_add_byte(out, ':');
		output_cell_bytes(json_object_get(slice, "mem_bytes"), plain, out);
		buf_add_byte(out, plain ? ':' : ' ');
		output_cell_milli(json_object_get(slice, "share_milli"), plain, out);
		if (!plain)
			output_drift(slice, out);
	}
	if (out->len == 0 && !plain)
		buf_add_byte(out, '-');
}

static void add_used_of(const json_t *row, const char *used, const char *all, struct buf *out)
{
	output_cell_string(json_object_get(row, used), false, out);
	buf_add_byte(out, '/');
	output_cell_string(json_object_get(row, all), false, out);
}

static void cell_cpus(const json_t *row, bool plain, struct buf *out)
{
	add_used_of(row, "cpus_used", "cpus", out);
}

static void cell_devices(const json_t *row, bool plain, struct buf *out)
{
	const json_t *devices = json_object_get(row, "devices");

	if (json_is_array(devices))
		buf_addf(out, "%zu", json_array_size(devices));
	else
		output_cell_string(devices, plain, out);
}

static void cell_paused(const json_t *row, bool plain, struct buf *out)
{
	buf_add_str(out, json_is_true(json_object_get(row, "paused")) ? "paused" : "open");
}

/* No limit is shown as such, not as 0. */
static void cell_time_limit_or_none(const json_t *row, bool plain, struct buf *out)
{
	if (!plain && json_integer_value(json_object_get(row, "time_limit")) == 0)
		buf_add_byte(out, '-');
	else
		cell_time_limit(row, plain, out);
}

static void cell_default_time_or_none(const json_t *row, bool plain, struct buf *out)
{
	if (!plain && json_integer_value(json_object_get(row, "default_time")) == 0)
		buf_add_byte(out, '-');
	else
		cell_default_time(row, plain, out);
}

static void add_limit(const json_t *row, const char *key, const char *what, struct buf *out)
{
	const json_t *v = json_object_get(row, key);

	if (json_is_integer(v))
		buf_addf(out, "%s%" JSON_INTEGER_FORMAT " %s", out->len ? ", " : "",
		        json_integer_value(v), what);
}

static void cell_limits(const json_t *row, bool plain, struct buf *out)
{
	add_limit(row, "max_running", "running", out);
	add_limit(row, "max_running_per_user", "of an account", out);
	add_limit(row, "max_gpus", "GPUs", out);
	add_limit(row, "max_waiting", "waiting", out);
	if (out->len == 0 && !plain)
		buf_add_byte(out, '-');
}

/* Its strings in a row; none: what stands for that. */
static void add_strings(
        const json_t *row, const char *key, bool plain, const char *none, struct buf *out)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(row, key), i, one)
	{
		buf_add_str(out, i ? ", " : "");
		output_cell_string(one, plain, out);
	}
	if (out->len == 0 && !plain)
		buf_add_str(out, none);
}

static void cell_users(const json_t *row, bool plain, struct buf *out)
{
	add_strings(row, "users", plain, "all", out);
}

static void cell_queue_nodes(const json_t *row, bool plain, struct buf *out)
{
	add_strings(row, "nodes", plain, "all", out);
}

static void cell_set(const json_t *row, bool plain, struct buf *out)
{
	add_strings(row, "set", plain, "", out);
}

static void cell_labels(const json_t *row, bool plain, struct buf *out)
{
	add_strings(row, "labels", plain, "", out);
}

static const struct output_column device_columns[] = {
        {"NODE", cell_node},
        {"INDEX", cell_index, .right = true},
        {"MODEL", cell_model},
        {"MEMORY", cell_mem, .right = true},
        {"FREE", cell_free, .right = true},
        {"COMPUTE FREE", cell_free_share, .right = true},
        {"FGPU", cell_fgpu, .right = true},
        {"HEALTH", cell_health, .is_state = true, .may_cut = true},
        {"DEVICE", cell_device, .wide_only = true},
        {"CC", cell_cc, .wide_only = true},
        {"DRIVER", cell_driver, .wide_only = true},
        {"CUDA", cell_cuda, .wide_only = true},
        {"WITHHELD", cell_withheld, .wide_only = true, .right = true},
        {"HELD BY", cell_held, .wide_only = true},
        {"SLICES", cell_slices, .may_cut = true},
};

static const struct output_column node_columns[] = {
        {"NODE", cell_node},
        {"STATE", cell_state, .is_state = true},
        {"CPUS", cell_cpus, .right = true},
        {"MEMORY", cell_mem, .right = true},
        {"RESERVED", cell_mem_used, .right = true},
        {"LABELS", cell_labels, .wide_only = true},
        {"GPUS", cell_devices, .right = true},
        {"JOBS", cell_jobs, .right = true},
        {"SEEN", cell_seen, .wide_only = true},
};

static const struct output_column queue_columns[] = {
        {"QUEUE", cell_queue},
        {"STATE", cell_paused},
        {"ORDER", cell_order},
        {"WAITING", cell_waiting, .right = true},
        {"RUNNING", cell_running, .right = true},
        {"GPUS", cell_gpus, .right = true},
        {"PRIORITY", cell_priority, .right = true},
        {"TIME LIMIT", cell_time_limit_or_none, .right = true},
        {"LIMITS", cell_limits, .may_cut = true},
        {"USERS", cell_users, .wide_only = true},
        {"NODES", cell_queue_nodes, .wide_only = true},
        {"DEFAULT TIME", cell_default_time_or_none, .wide_only = true, .right = true},
        {"DEFAULT CPUS", cell_default_cpus, .wide_only = true, .right = true},
        {"RETRY", cell_retry, .wide_only = true, .right = true},
        {"SET", cell_set, .wide_only = true},
};

static int list(struct cli *cli, int argc, char **argv, const char *path, const char *doc,
        const struct output_listing *l)
{
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *answer = NULL;
	struct args args = {.doc = doc, .is_listing = true};
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0)
		rc = client_get(c, path, &answer, &err);
	if (rc)
		return cli_fail(cli, &err);
	output_listing(cli, l, answer);
	return 0;
}

int verb_gpus(struct cli *cli, int argc, char **argv)
{
	static const struct output_listing l = {.array_key = "devices",
	        .name_key = "device",
	        .columns = device_columns,
	        .n_columns = ARRAY_LEN(device_columns),
	        .when_empty = "no GPUs; berth doctor says why"};

	return list(cli, argc, argv, "/v1/devices", "Lists GPUs and who holds what of them.", &l);
}

int verb_nodes(struct cli *cli, int argc, char **argv)
{
	static const struct output_listing l = {.array_key = "nodes",
	        .name_key = "node",
	        .columns = node_columns,
	        .n_columns = ARRAY_LEN(node_columns),
	        .when_empty = "no node has ever been connected"};

	return list(cli, argc, argv, "/v1/nodes", "Lists the machines.", &l);
}

int verb_queues(struct cli *cli, int argc, char **argv)
{
	static const struct args_sub subs[] = {
	        {"set", queues_set}, {"rm", queues_rm}, {NULL, NULL}};
	static const struct output_listing l = {.array_key = "queues",
	        .name_key = "queue",
	        .columns = queue_columns,
	        .n_columns = ARRAY_LEN(queue_columns),
	        .when_empty = "no queues"};

	if (argc > 1 && argv[1][0] != '-')
		return args_run_sub(cli, subs, argc, argv);
	return list(cli, argc, argv, "/v1/queues",
	        "Lists the queues. berth queues set and berth queues rm change them.", &l);
}
