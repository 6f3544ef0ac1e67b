#include "cli/submission.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/num.h"
#include "cli/grant.h"
#include "cli/output.h"
#include "cli/why.h"

/* Another machine has paths and accounts of its own: only what -e says goes there. */
static json_t *taken_environment(struct client *c, const struct jobspec *s)
{
	const char *chdir = json_string_value(json_object_get(s->job, "chdir"));

	return client_is_remote(c) || s->dry_run ? NULL : jobspec_environment(environ, chdir);
}

int submission_keep_environment(
        struct client *c, struct jobspec *s, json_t **ret_taken, struct err *err)
{
	struct client_call call = {.method = "POST", .path = "/v1/environments"};
	json_t *env = taken_environment(c, s);
	json_t *answer;

	if (!env)
		return 0;
	CLEANUP_JSON json_t *body = json_pack("{s:O}", "environment", env);
	*ret_taken = env;
	call.body = body;
	int rc = client_call(c, &call, &answer, err);
	if (rc)
		return err_wrap(err, "keeping the environment");
	json_object_set(s->job, "environment", json_object_get(answer, "environment"));
	json_decref(answer);
	return 0;
}

/* So that a submit whose answer was lost can be sent again without becoming two jobs. */
static void make_key(char out[40])
{
	uint8_t bytes[16];

	BUG_IF(getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes));
	memcpy(out, "berth-", 6);
	num_format_hex(bytes, sizeof(bytes), out + 6);
}

/* An id, in digits; "17_3" is one task of an array. */
static bool has_id(const json_t *job)
{
	const char *id = json_string_value(json_object_get(job, "id"));

	return id && *id && !id[strspn(id, "0123456789_")];
}

int submission_send(struct client *c, struct jobspec *s, json_t **ret_job, struct err *err)
{
	struct client_call call = {.method = "POST", .path = "/v1/jobs", .body = s->job};
	json_t *env = taken_environment(c, s);
	int dir = grant_open(c), rc;
	char key[40];

	if (env)
		json_object_set_new(s->job, "environment", env);
	if (!json_object_get(s->job, "idempotency_key") && !s->dry_run) {
		make_key(key);
		call.idempotency_key = key;
	}
	rc = grant_job(dir, s->job, env, false, err);
	if (rc == 0)
		rc = client_call(c, &call, ret_job, err);
	if (rc == 0 && !s->dry_run && !has_id(*ret_job)) {
		json_decref(*ret_job);
		*ret_job = NULL;
		rc = err_set(err, ERR_CORRUPT, "the server's answer does not say which job it is");
	}
	/* Of one whose answer was lost nobody knows whether it was taken. */
	if (rc == 0 ||
	        (err->kind != ERR_UNAVAILABLE && err->kind != ERR_IO && err->kind != ERR_CORRUPT))
		grant_settle(dir, json_string_value(json_object_get(s->job, "grant")),
		        rc ? NULL : json_string_value(json_object_get(*ret_job, "id")));
	if (dir >= 0)
		close(dir);
	return rc;
}

void submission_say_resolved(const json_t *job)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(job, "resolved"), i, one)
	{
		const char *model = json_string_value(json_object_get(one, "model"));
		long long bytes = json_integer_value(json_object_get(one, "mem_bytes"));
		CLEANUP_BUF struct buf share = BUF_INIT(64);
		char size[24];
		output_cell_milli(json_object_get(one, "share_milli"), false, &share);
		cli_say("a slice of %s is %s (%lld bytes) and %s of its compute",
		        model ? model : "a GPU", num_format_size((uint64_t)bytes, size), bytes,
		        buf_str(&share));
	}
}

void submission_print_dry_run(const struct cli *cli, const json_t *answer)
{
	const char *node = json_string_value(json_object_get(answer, "node"));
	const char *starts = json_string_value(json_object_get(answer, "starts"));
	const json_t *one;
	size_t i;

	if (cli->format_given && cli->format == OUTPUT_JSON) {
		output_json(answer);
		return;
	}
	if (!starts || strcmp(starts, "now") != 0) {
		puts("it would wait");
		why_print_wait(answer);
		return;
	}
	CLEANUP_BUF struct buf head = BUF_INIT(4096);
	buf_addf(&head, "it would start now%s", node ? " on " : "");
	buf_add_str(&head, node ? node : "");
	output_line(buf_str(&head));
	json_array_foreach(json_object_get(answer, "slices"), i, one)
	{
		CLEANUP_BUF struct buf line = BUF_INIT(1024);
		output_cell_string(json_object_get(one, "device"), false, &line);
		buf_add_str(&line, "  ");
		output_cell_bytes(json_object_get(one, "mem_bytes"), false, &line);
		buf_add_str(&line, "  ");
		output_cell_milli(json_object_get(one, "share_milli"), false, &line);
		puts(buf_str(&line));
	}
}
