#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/strtab.h"
#include "base/text.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/jobs.h"
#include "cli/output.h"

/* Verbs that do one thing to each job named: cancel, hold, release, retry; and edit. */
struct control {
	char **ids;
	int n_ids;
	bool force;
};

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct control *k = input;

	if (key == 'f') {
		k->force = true;
		return 0;
	}
	return jobs_parse_ids(key, state, &k->ids, &k->n_ids, err);
}

static int call_one(struct client *c, const char *method, const char *id, const char *action,
        const json_t *body, json_t **ret_job, struct err *err)
{
	CLEANUP_BUF struct buf path = BUF_INIT(4096);
	/* Sent again after a lost connection, `retry` would be a second one. */
	struct client_call call = {
	        .method = method, .body = body, .once = strcmp(action, "/retry") == 0};

	buf_add_str(&path, "/v1/jobs/");
	client_add_encoded(&path, id);
	buf_add_str(&path, action);
	call.path = buf_str(&path);
	return client_call(c, &call, ret_job, err);
}

/* Every job is tried, also when one of them fails; the exit code is that of the worst. */
static int for_each(struct cli *cli, const struct args *args, struct control *k, int argc,
        char **argv, const char *action)
{
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *body = NULL;
	CLEANUP_JSON json_t *answer = json_pack("{s:i,s:[]}", "schema", 1, "jobs");
	struct err err;
	int worst = 0;

	int rc = args_parse(cli, args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc)
		return cli_fail(cli, &err);
	if (k->force)
		body = json_pack("{s:b}", "force", 1);
	for (int i = 0; i < k->n_ids; i++) {
		json_t *job = NULL;
		if (call_one(c, "POST", k->ids[i], action, body, &job, &err) == 0) {
			json_array_append_new(json_object_get(answer, "jobs"), job);
			continue;
		}
		int code = cli_fail(cli, &err);
		worst = MAX(worst, code);
		if (err.kind == ERR_UNAVAILABLE)
			break;
	}
	if (cli->format_given)
		jobs_print(cli, answer);
	return worst;
}

int verb_cancel(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
	        {"force", 'f', NULL, 0, "end it at once, without grace", 1}, {0}};
	struct control k = {0};
	struct args args = {.options = options,
	        .parse = parse,
	        .input = &k,
	        .args_doc = "ID...",
	        .doc = "Ends jobs: TERM, grace, KILL for the whole tree of processes.",
	        .is_listing = true};

	return for_each(cli, &args, &k, argc, argv, "/cancel");
}

int verb_hold(struct cli *cli, int argc, char **argv)
{
	struct control k = {0};
	struct args args = {.parse = parse,
	        .input = &k,
	        .args_doc = "ID...",
	        .doc = "Keeps waiting jobs from starting.",
	        .is_listing = true};

	return for_each(cli, &args, &k, argc, argv, "/hold");
}

int verb_release(struct cli *cli, int argc, char **argv)
{
	struct control k = {0};
	struct args args = {.parse = parse,
	        .input = &k,
	        .args_doc = "ID...",
	        .doc = "Lets held jobs start again.",
	        .is_listing = true};

	return for_each(cli, &args, &k, argc, argv, "/release");
}

int verb_retry(struct cli *cli, int argc, char **argv)
{
	struct control k = {0};
	struct args args = {.parse = parse,
	        .input = &k,
	        .args_doc = "ID...",
	        .doc = "Runs ended jobs again, as a further attempt under the same id.",
	        .is_listing = true};

	return for_each(cli, &args, &k, argc, argv, "/retry");
}

struct edit {
	char **words; /* the id, then K=V... */
	int n;
};

static int edit_parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	struct edit *e = input;

	if (key == ARGP_KEY_ARG) {
		args_take_rest(state, &e->words, &e->n);
		return 0;
	}
	if (key == ARGP_KEY_END && e->n < 2)
		return err_set(err, ERR_INVALID, "a job and at least one K=V are needed")
		               ? err_hint(err, "such as: berth edit 17 gpu=0.5 time=2h")
		               : 0;
	return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
}

/* What is no string; the server knows which keys there are. */
static const struct {
	const char *key;
	char type; /* i: a whole number, b: a truth */
} typed[] = {{"priority", 'i'}, {"cpus", 'i'}, {"tasks", 'i'}, {"retry", 'i'}, {"gpu_milli", 'i'},
        {"no_retry", 'b'}};

static int add_value(json_t *body, const char *key, const char *value, struct err *err)
{
	char shown[TEXT_SHOW_SIZE], type = 's';
	int64_t number;

	for (size_t i = 0; i < ARRAY_LEN(typed); i++)
		if (strcmp(key, typed[i].key) == 0)
			type = typed[i].type;
	if (!*value)
		return json_object_set_new(body, key, json_null());
	if (type == 'i' && num_parse_i64(value, INT32_MIN, INT32_MAX, &number, err))
		return err_wrap(err, "%s", key);
	if (type == 'i')
		return json_object_set_new(body, key, json_integer(number));
	if (type == 'b' && strcmp(value, "true") != 0 && strcmp(value, "false") != 0)
		return err_set(err, ERR_INVALID, "%s: '%s' is neither true nor false", key,
		        text_show(value, shown));
	if (type == 'b')
		return json_object_set_new(body, key, json_boolean(value[0] == 't'));
	if (json_object_set_new(body, key, json_string(value)))
		return err_set(
		        err, ERR_INVALID, "%s: '%s' is not UTF-8", key, text_show(value, shown));
	return 0;
}

static int add_edit(json_t *body, const char *word, struct err *err)
{
	char key[TEXT_SHOW_SIZE], shown[TEXT_SHOW_SIZE];
	const char *value;
	int rc = args_split_setting(word, key, sizeof(key), &value, err);

	if (rc)
		return rc;
	if (!json_object_get(body, key))
		return add_value(body, key, value, err);
	return err_set(err, ERR_INVALID, "'%s' is said twice", text_show(key, shown));
}

/* A change that was to start the job, and came too late for that, is no quiet success. */
static void say_wait(const json_t *job)
{
	const json_t *reason = json_array_get(json_object_get(job, "reasons"), 0);
	const char *id = json_string_value(json_object_get(job, "id"));
	const char *code = json_string_value(json_object_get(reason, "code"));
	CLEANUP_BUF struct buf text = BUF_INIT(4096);

	if (!code || !id || (strcmp(code, "order") != 0 && strcmp(code, "no_room") != 0))
		return;
	output_cell_string(json_object_get(reason, "text"), false, &text);
	cli_say("job %s waits: %s; see: berth why %s", id, buf_str(&text), id);
}

int verb_edit(struct cli *cli, int argc, char **argv)
{
	struct edit e = {0};
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *body = json_object();
	struct args args = {.parse = edit_parse,
	        .input = &e,
	        .args_doc = "ID K=V...",
	        .doc = "Changes what a waiting job asks for: priority, name, queue, gpu, fgpu, gpu-mem, gpu-share, gpu-cc, gpu-cuda, gpu-driver, constraint, cpus, tasks, mem, time, "
	               "retry, retry-on, no-retry, each as the option of that name; K= takes it back. Of an array it changes what is not started yet.",
	        .is_listing = true};
	CLEANUP_JSON json_t *answer = json_pack("{s:i,s:[]}", "schema", 1, "jobs");
	json_t *job;
	struct err err;

	int rc = args_parse(cli, &args, argc, argv, &err);
	for (int i = 1; rc == 0 && i < e.n; i++)
		rc = add_edit(body, e.words[i], &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0)
		rc = call_one(c, "PATCH", e.words[0], "", body, &job, &err);
	if (rc)
		return cli_fail(cli, &err);
	json_array_append_new(json_object_get(answer, "jobs"), job);
	if (cli->format_given)
		jobs_print(cli, answer);
	say_wait(job);
	return 0;
}
