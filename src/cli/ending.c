#include "cli/ending.h"

#include <string.h>

#define WAIT_CALL_S 30

static const struct {
	const char *state;
	bool is_final;
	int code; /* -1: the job's own */
} ends[] = {
        {"COMPLETED", true, 0},
        {"FAILED", true, -1},
        {"CANCELLED", true, 143},
        {"TIMEOUT", true, 124},
        {"OUT_OF_MEMORY", true, 137},
        {"NODE_FAIL", true, CLI_EXIT_FAILED},
};

static const char *string_of(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

bool ending_is_final(const json_t *job)
{
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (strcmp(string_of(job, "state"), ends[i].state) == 0)
			return true;
	return false;
}

int ending_await(struct client *c, const char *id, json_t **ret_job, struct err *err)
{
	CLEANUP_BUF struct buf path = BUF_INIT(4096);
	struct client_call call = {.method = "GET", .waits = true};
	json_t *job;

	buf_add_str(&path, "/v1/jobs/");
	client_add_encoded(&path, id);
	buf_addf(&path, "/wait?timeout=%d", WAIT_CALL_S);
	call.path = buf_str(&path);
	for (;;) {
		int rc = client_call(c, &call, &job, err);
		if (rc)
			return rc;
		if (ending_is_final(job)) {
			*ret_job = job;
			return 0;
		}
		bool is_job = json_is_object(job);
		json_decref(job);
		if (!is_job)
			return err_set(err, ERR_CORRUPT, "the server's answer is no job");
	}
}

static int own_code(const json_t *job)
{
	const json_t *code = json_object_get(job, "exit_code");

	return json_is_integer(code) ? (int)json_integer_value(code) : CLI_EXIT_FAILED;
}

static int code_of_state(const char *state, const json_t *job)
{
	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		if (strcmp(state, ends[i].state) == 0)
			return ends[i].code < 0 ? own_code(job) : ends[i].code;
	return CLI_EXIT_FAILED;
}

int ending_code(const json_t *job)
{
	/* An array's is the largest of its tasks' already. */
	return json_is_object(json_object_get(job, "array"))
	               ? own_code(job)
	               : code_of_state(string_of(job, "state"), job);
}

const char *ending_reason(const json_t *job)
{
	const json_t *reason = json_array_get(json_object_get(job, "reasons"), 0);

	return json_string_value(json_object_get(reason, "text"));
}

static const char *reason_code(const json_t *job)
{
	return string_of(json_array_get(json_object_get(job, "reasons"), 0), "code");
}

void ending_add_tasks(const json_t *job, struct buf *b)
{
	json_t *states = json_object_get(json_object_get(job, "array"), "states"), *n;
	const char *state, *between = "";

	json_object_foreach(states, state, n)
	{
		if (json_integer_value(n) == 0)
			continue;
		buf_addf(b, "%s%lld ", between, (long long)json_integer_value(n));
		cli_add_shown(b, state);
		between = ", ";
	}
}

void ending_say(const json_t *job)
{
	const char *state = string_of(job, "state"), *reason = ending_reason(job);
	CLEANUP_BUF struct buf tasks = BUF_INIT(1024);

	if (json_is_object(json_object_get(job, "array"))) {
		ending_add_tasks(job, &tasks);
		cli_say("array %s: %s", string_of(job, "id"), buf_str(&tasks));
		return;
	}
	if (strcmp(state, "COMPLETED") == 0)
		return;
	/* The command's own end speaks for itself; that it never began does not. */
	if (strcmp(state, "FAILED") == 0 && json_is_integer(json_object_get(job, "exit_code")) &&
	        strcmp(reason_code(job), "exec_failed") != 0)
		return;
	cli_say("job %s is %s%s%s", string_of(job, "id"), state, reason ? ": " : "",
	        reason ? reason : "");
}
