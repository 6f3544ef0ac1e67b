#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/strtab.h"
#include "base/text.h"
#include "cli/args.h"
#include "cli/follow.h"
#include "cli/jobs.h"
#include "plat/fs.h"

enum { KEY_ATTEMPT = 0x1000, KEY_STREAM, KEY_TAIL };

struct logs {
	char **ids;
	int n_ids;
	bool follow;
	uint64_t attempt, tail;
	bool has_tail;
	const char *stream; /* stdout, stderr, all */
};

static const struct argp_option options[] = {
        {"follow", 'f', NULL, 0, "go on until the job has ended; Ctrl-C lets go", 1},
        {"attempt", KEY_ATTEMPT, "N", 0, "of this attempt, instead of the last", 1},
        {"stream", KEY_STREAM, "NAME", 0, "stdout, stderr or all", 1},
        {"tail", KEY_TAIL, "LINES", 0, "only the last lines", 1},
        {0},
};

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	static const char *const streams[] = {"stdout", "stderr", "all"};
	struct logs *l = input;
	char shown[TEXT_SHOW_SIZE];

	switch (key) {
	case 'f':
		l->follow = true;
		return 0;
	case KEY_ATTEMPT:
		return num_parse_u64(arg, UINT32_MAX, &l->attempt, err) ? err_wrap(err, "--attempt")
		                                                        : 0;
	case KEY_TAIL:
		l->has_tail = true;
		return num_parse_u64(arg, UINT32_MAX, &l->tail, err) ? err_wrap(err, "--tail") : 0;
	case KEY_STREAM:
		if (strtab_find(STRTAB(streams), arg) < 0)
			return err_set(err, ERR_INVALID,
			        "--stream: there is no '%s'; there are stdout, stderr and all",
			        text_show(arg, shown));
		l->stream = arg;
		return 0;
	case ARGP_KEY_END:
		if (l->n_ids > 1)
			return err_set(err, ERR_INVALID, "one job at a time");
		if (l->follow && l->has_tail && l->tail == 0)
			return err_set(err, ERR_INVALID, "--tail with --follow is at least 1");
		break;
	}
	return jobs_parse_ids(key, state, &l->ids, &l->n_ids, err);
}

/* A stream that was not asked for is left out here, where the server counts both. */
static int on_output(
        void *data, enum console_frame stream, const void *bytes, size_t len, struct err *err)
{
	const struct logs *l = data;

	if (strcmp(l->stream, stream == CONSOLE_STDERR ? "stdout" : "stderr") == 0)
		return 0;
	return fs_write_all(STDOUT_FILENO, bytes, len, err) ? err_wrap(err, "writing the output")
	                                                    : 0;
}

static int print(const struct logs *l, struct client *c, struct err *err)
{
	CLEANUP_BUF struct buf path = BUF_INIT(4096);
	CLEANUP_JSON json_t *job = NULL;
	struct follow f = {.client = c,
	        .id = l->ids[0],
	        .attempt = (uint32_t)l->attempt,
	        .as_it_is = !l->follow,
	        .tail_lines = l->tail,
	        .on_output = on_output,
	        .data = (void *)l};

	buf_add_str(&path, "/v1/jobs/");
	client_add_encoded(&path, l->ids[0]);
	int rc = client_get(c, buf_str(&path), &job, err);
	if (rc)
		return rc;
	uint32_t last = (uint32_t)json_integer_value(json_object_get(job, "attempt"));
	if (l->follow)
		client_be_patient(c);
	else if (!f.attempt)
		f.attempt = last;
	if (!l->follow || l->tail)
		f.stream = l->stream;
	f.first = MAX(last, 1U);
	rc = follow_run(&f, err);
	if (rc || f.trouble.kind == ERR_NONE)
		return rc;
	return err_set(err, f.trouble.kind, "%s", f.trouble.text);
}

int verb_logs(struct cli *cli, int argc, char **argv)
{
	struct logs l = {.stream = "all"};
	CLEANUP_CLIENT struct client *c = NULL;
	struct args args = {
	        .options = options,
	        .parse = parse,
	        .input = &l,
	        .args_doc = "ID",
	        .doc = "Prints the output of a job, byte for byte.",
	};
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc)
		return cli_fail(cli, &err);
	if (l.has_tail && l.tail == 0 && !l.follow)
		return 0;
	rc = print(&l, c, &err);
	return rc ? cli_fail(cli, &err) : 0;
}
