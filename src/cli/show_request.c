#include "cli/show_request.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/output.h"

#define FIELD_MAX (16 * MIB)

/* A word as a shell would take it; one line, whatever is in it. */
static void add_quoted(struct buf *b, const char *word)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	                           "@%+=:,./-_";
	bool has_control = text_has_control(word, strlen(word));

	if (*word && word[strspn(word, safe)] == '\0') {
		buf_add_str(b, word);
		return;
	}
	buf_add_str(b, has_control ? "$'" : "'");
	for (; *word; word++) {
		unsigned char u = (unsigned char)*word;
		if (u == '\'')
			buf_add_str(b, has_control ? "\\'" : "'\\''");
		else if (!has_control || (u >= ' ' && u != 0x7f && u != '\\' && u < 0x80))
			buf_add_byte(b, u);
		else if (u == '\n' || u == '\t' || u == '\\')
			buf_addf(b, "\\%c", u == '\n' ? 'n' : u == '\t' ? 't' : '\\');
		else
			buf_addf(b, "\\x%02x", u);
	}
	buf_add_byte(b, '\'');
}

static void add_command(struct buf *b, json_t *command)
{
	const json_t *word;
	size_t i;

	json_array_foreach(command, i, word)
	{
		buf_add_str(b, i ? " " : "");
		add_quoted(b, json_is_string(word) ? json_string_value(word) : "?");
	}
}

/* "1.5" of 1500. */
static void add_thousandths(struct buf *b, const json_t *milli)
{
	buf_addf(b, "%g", (double)json_integer_value(milli) / 1000);
}

/* The GPU request: "0.5 of a GPU", "2 GPUs", "12 GiB of memory, 30 % of the compute", each with its conditions. */
static void add_gpu(struct buf *b, json_t *gpu)
{
	const json_t *count = json_object_get(gpu, "count"), *milli = json_object_get(gpu, "milli");
	const json_t *fgpu = json_object_get(gpu, "fgpu_milli");
	const json_t *mem = json_object_get(gpu, "mem_bytes");
	const json_t *share = json_object_get(gpu, "share_milli");
	const json_t *model = json_object_get(gpu, "model");
	const json_t *cc = json_object_get(gpu, "compute_capability");
	const json_t *cuda = json_object_get(gpu, "cuda");
	const json_t *driver = json_object_get(gpu, "driver");

	if (count)
		buf_addf(b, "%lld GPU%s", (long long)json_integer_value(count),
		        json_integer_value(count) == 1 ? "" : "s");
	if (milli) {
		add_thousandths(b, milli);
		buf_add_str(b, " of a GPU");
	}
	if (fgpu) {
		add_thousandths(b, fgpu);
		buf_add_str(b, " fGPU");
	}
	if (mem) {
		buf_add_str(b, b->len ? ", " : "");
		output_cell_bytes(mem, false, b);
		buf_add_str(b, " of memory");
	}
	if (share) {
		buf_add_str(b, b->len ? ", " : "");
		output_cell_milli(share, false, b);
		buf_add_str(b, " of the compute");
	}
	if (model) {
		buf_add_str(b, b->len ? ", model " : "model ");
		output_cell_string(model, false, b);
	}
	if (cc) {
		buf_add_str(b, b->len ? ", compute capability " : "compute capability ");
		output_cell_string(cc, false, b);
	}
	if (cuda) {
		buf_add_str(b, b->len ? ", CUDA " : "CUDA ");
		output_cell_string(cuda, false, b);
	}
	if (driver) {
		buf_add_str(b, b->len ? ", driver " : "driver ");
		output_cell_string(driver, false, b);
	}
}

static void add_resolved(struct buf *b, json_t *resolved)
{
	const json_t *one;
	size_t i;

	json_array_foreach(resolved, i, one)
	{
		output_cell_bytes(json_object_get(one, "mem_bytes"), false, b);
		buf_add_str(b, " and ");
		output_cell_milli(json_object_get(one, "share_milli"), false, b);
		buf_add_str(b, " on ");
		output_cell_string(json_object_get(one, "model"), false, b);
		buf_add_byte(b, '\n');
	}
}

static void add_dependencies(struct buf *b, json_t *dependencies)
{
	const json_t *one;
	size_t i;

	json_array_foreach(dependencies, i, one)
	{
		const char *kind = json_string_value(json_object_get(one, "kind"));
		bool met = json_is_true(json_object_get(one, "met"));
		buf_addf(b, "--%s ",
		        kind && strcmp(kind, "after_ok") == 0    ? "after-ok"
		        : kind && strcmp(kind, "after_any") == 0 ? "after-any"
		                                                 : "after");
		output_cell_string(json_object_get(one, "job"), false, b);
		buf_add_str(b, met ? ": met\n" : ": not met yet\n");
	}
}

static void add_bytes(struct buf *b, json_t *value)
{
	output_cell_bytes(value, false, b);
}

static void add_seconds(struct buf *b, json_t *value)
{
	output_cell_seconds(value, false, b);
}

static void add_plain(struct buf *b, json_t *value)
{
	if (json_is_object(value) || json_is_array(value)) {
		char *text = json_dumps(value, JSON_COMPACT);
		cli_add_shown(b, text ? text : "?");
		free(text);
	} else {
		output_cell_string(value, false, b);
	}
}

static const struct {
	const char *key, *title;
	void (*add)(struct buf *b, json_t *value);
} fields[] = {
        {"command", "command", add_command}, {"gpu", "gpu", add_gpu},
        {"resolved", "which is", add_resolved}, {"mem", "memory", add_bytes},
        {"time", "time limit", add_seconds}, {"dependencies", "depends on", add_dependencies},
        {"retry_on", "retry on", add_plain}, {"no_retry", "no retry", add_plain},
        {"tasks", "ranks", add_plain},
        {"env", NULL, NULL}, /* long, and often private: in -o json */
};

/* Nothing was asked for. */
static bool is_empty(const json_t *value)
{
	return json_is_null(value) || json_is_false(value) ||
	       (json_is_integer(value) && json_integer_value(value) == 0) ||
	       (json_is_array(value) && json_array_size(value) == 0);
}

void show_request(json_t *request)
{
	CLEANUP_BUF struct buf b = BUF_INIT(FIELD_MAX), shown_key = BUF_INIT(FIELD_MAX);
	const char *key;
	json_t *value;

	json_object_foreach(request, key, value)
	{
		buf_reset(&shown_key);
		cli_add_shown(&shown_key, key);
		const char *title = buf_str(&shown_key);
		void (*add)(struct buf * b, json_t * value) = add_plain;
		for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
			if (strcmp(fields[i].key, key) == 0) {
				title = fields[i].title;
				add = fields[i].add;
			}
		}
		/* No CPU reserved is a wish of its own. */
		if (!add || (is_empty(value) && strcmp(key, "cpus") != 0))
			continue;
		buf_reset(&b);
		add(&b, value);
		output_field(title, buf_str(&b));
	}
}
