#include "cli/submission.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/grant.h"
#include "cli/interrupt.h"
#include "cli/output.h"

#define LINE_MAX_BYTES (16 * MIB)
#define UNSENT_MOST    (256 * KIB)
#define READ_SIZE      (64 * KIB)
#define KEY_SIZE       40

/*
 * DESIGN. Lines are read, completed and sent as chunks of one request while the answers to earlier ones are read, so
 * neither side ever waits for the other. Blank lines are sent, too: the server passes over them and counts them, so that
 * the lines that it names are those of the file.
 */
struct upload {
	const struct cli *cli;
	const struct jobspec *spec;
	struct http *http;
	int in;
	bool in_ended;
	struct buf pending;                   /* read, not yet a whole line */
	uint64_t n_read;                      /* lines of the file so far */
	size_t n_sent, n_answered, n_refused; /* jobs */
	int worst;                            /* exit code */
	int grants;                           /* cli/grant.h; -1 */
	struct buf keys; /* of the grants of jobs that were not answered yet, KEY_SIZE each */
	json_t *taken;   /* the environment that was sent before, for grants */
};

static int send_line(struct upload *u, const char *line, size_t len, struct err *err)
{
	char *text = NULL;

	u->n_read++;
	if (strspn(line, " \t\r") >= len) {
		http_put_chunk(u->http, "\n", 1);
		return 0;
	}
	u->n_sent++;
	char key[KEY_SIZE] = "";
	CLEANUP_JSON json_t *job = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(job)) {
		jobspec_add_defaults(job, u->spec);
		json_t *own = json_object_get(job, "environment");
		int rc = grant_job(u->grants, job, json_is_object(own) ? own : u->taken, true, err);
		if (rc)
			return rc;
		const char *grant = json_string_value(json_object_get(job, "grant"));
		if (u->grants >= 0 && grant)
			snprintf(key, sizeof(key), "%s", grant);
		text = json_dumps(job, JSON_COMPACT);
	}
	buf_add(&u->keys, key, sizeof(key));
	/* What is no JSON object goes as it is: the server says what is wrong with it, in its place. */
	CLEANUP_BUF struct buf b = BUF_INIT(2 * LINE_MAX_BYTES);
	if (text)
		buf_add_str(&b, text);
	else
		buf_add(&b, line, len);
	buf_add_byte(&b, '\n');
	http_put_chunk(u->http, b.data, b.len);
	free(text);
	return 0;
}

static int read_more(struct upload *u, struct err *err)
{
	uint8_t *room = buf_reserve(&u->pending, READ_SIZE);
	size_t start = 0;
	int rc = 0;

	if (!room)
		return err_set(err, ERR_TOO_LARGE, "line %llu is longer than 16 MiB",
		        (unsigned long long)u->n_read + 1);
	ssize_t n = read(u->in, room, READ_SIZE);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0
		                                         : err_sys(err, errno, "reading the jobs");
	buf_commit(&u->pending, (size_t)n);
	while (rc == 0) {
		const char *from = (const char *)u->pending.data + start;
		const char *end = memchr(from, '\n', u->pending.len - start);
		if (!end)
			break;
		rc = send_line(u, from, (size_t)(end - from), err);
		start += (size_t)(end - from) + 1;
	}
	buf_consume(&u->pending, start);
	if (n == 0) {
		if (rc == 0 && u->pending.len)
			rc = send_line(u, (const char *)u->pending.data, u->pending.len, err);
		u->in_ended = true;
		http_put_end(u->http);
	}
	/* Nothing of them has gone out yet. */
	return rc ? rc : grant_sync(u->grants, err);
}

static void say_refused(const json_t *answer)
{
	const json_t *error = json_object_get(answer, "error");
	const char *message = json_string_value(json_object_get(error, "message"));
	const char *hint = json_string_value(json_object_get(error, "hint"));
	char place[32];

	snprintf(place, sizeof(place), "line %lld",
	        (long long)json_integer_value(json_object_get(answer, "line")));
	message = message ? message : "the answer is not understood";
	/* Some name their line themselves. */
	bool is_named = strncmp(message, place, strlen(place)) == 0;
	cli_say("%s%s%s%s%s", is_named ? "" : place, is_named ? "" : ": ", message,
	        hint ? "; " : "", hint ? hint : "");
}

static void take_answer(struct upload *u, const char *line, size_t len)
{
	CLEANUP_JSON json_t *answer = json_loadb(line, len, 0, NULL);
	const char *id = json_string_value(json_object_get(answer, "id"));
	const char *code =
	        json_string_value(json_object_get(json_object_get(answer, "error"), "code"));

	u->n_answered++;
	if (u->keys.len >= KEY_SIZE) {
		grant_settle(u->grants, (const char *)u->keys.data, id);
		buf_consume(&u->keys, KEY_SIZE);
	}
	if (u->cli->format == OUTPUT_JSON && answer)
		output_json_line(answer);
	else if (u->cli->format != OUTPUT_JSON && id)
		output_line(id);
	if (id)
		return;
	u->n_refused++;
	u->worst = MAX(u->worst, err_exit_code(code ? err_kind_find(code) : ERR_INTERNAL));
	say_refused(answer);
}

static void take_answers(struct upload *u)
{
	struct buf *b = http_body(u->http);
	size_t start = 0;
	const char *end;

	while (start < b->len && (end = memchr(b->data + start, '\n', b->len - start))) {
		size_t len = (size_t)(end - (const char *)b->data) - start;
		take_answer(u, (const char *)b->data + start, len);
		start += len + 1;
	}
	buf_consume(b, start);
	fflush(stdout);
}

static int move(struct upload *u, struct err *err)
{
	int rc = http_step(u->http, 0, err);

	if (rc < 0)
		return rc;
	bool refused = http_status(u->http) >= 300;
	if (http_status(u->http) && !refused)
		take_answers(u);
	if (rc > 0)
		return 0;
	bool want_more = !u->in_ended && !refused && http_unsent(u->http) < UNSENT_MOST;
	struct pollfd fds[2] = {
	        {.fd = channel_fd(http_channel(u->http)), .events = POLLIN},
	        {.fd = want_more ? u->in : -1, .events = POLLIN},
	};
	if (http_unsent(u->http))
		fds[0].events |= POLLOUT;
	interrupt_poll(fds, 2, -1);
	return fds[1].revents ? read_more(u, err) : 0;
}

static int upload(struct upload *u, struct err *err)
{
	int rc = 0;

	while (rc == 0 && !http_ended(u->http))
		rc = move(u, err);
	if (rc == 0 && http_status(u->http) >= 300)
		rc = client_refusal(u->http, err);
	if (rc == 0 && u->n_answered < u->n_sent)
		rc = err_set(err, ERR_UNAVAILABLE, "the server ended the answer early");
	if (rc && http_status(u->http) < 300 && u->n_sent)
		return err_hint(err,
		        "%zu of the %zu jobs sent were answered; the others may be kept or not: give each an idempotency_key to be able to send them again",
		        u->n_answered, u->n_sent);
	return rc;
}

static int open_input(const char *path, int *ret_fd, struct err *err)
{
	*ret_fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	return *ret_fd < 0 ? err_sys(err, errno, "--from: %s", path) : 0;
}

int submission_from(const struct cli *cli, struct client *c, struct jobspec *s)
{
	struct upload u = {.cli = cli,
	        .spec = s,
	        .in = -1,
	        .pending = BUF_INIT(LINE_MAX_BYTES),
	        .keys = BUF_INIT(GIB)};
	struct http_request request = {.method = "POST",
	        .path = "/v1/jobs",
	        .type = "application/x-ndjson",
	        .chunked = true};
	struct err err;
	int rc;

	rc = open_input(s->from, &u.in, &err);
	u.grants = grant_open(c);
	if (rc == 0)
		rc = submission_keep_environment(c, s, &u.taken, &err);
	if (rc == 0)
		rc = client_connect(c, &u.http, &err);
	if (rc == 0) {
		http_send(u.http, &request);
		rc = upload(&u, &err);
	}
	if (u.in >= 0)
		close(u.in);
	if (u.grants >= 0)
		close(u.grants);
	json_decref(u.taken);
	http_free(u.http);
	buf_done(&u.pending);
	buf_done(&u.keys);
	if (rc)
		return cli_fail(cli, &err);
	if (u.n_refused)
		cli_say("%zu of %zu jobs were refused", u.n_refused, u.n_sent);
	return u.worst;
}
