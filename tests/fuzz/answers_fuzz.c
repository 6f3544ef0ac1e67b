/*
 * Client verbs against a server that answers whatever it likes. The channel, the clock and the signals of src/cli are replaced here: each
 * request makes the next piece of the bytes readable, and a wait is over at once. A verb ends, with a code that the shell can
 * take; what it prints is text that no terminal acts on, and as JSON it is JSON; and it does not hang on how the answer was cut.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/channel.h"
#include "cli/cli.h"
#include "cli/interact.h"
#include "cli/interrupt.h"
#include "fuzz.h"
#include "plat/clock.h"

#define NOWHERE   "/nonexistent/berth"
#define WAITS_MAX 5000
#define PRINT_MAX (64 * MIB)

/* The server. */

struct channel {
	const uint8_t *piece;
	size_t len;
	bool is_over; /* all of the bytes are used up */
};

static const uint8_t *data;
static size_t size, most_at_once, n_waits;
static uint64_t now_ms;
static int null_fd = -1;

int channel_open_unix(const char *path, struct channel **ret_channel, struct err *err)
{
	if (!size)
		return err_sys(err, ECONNREFUSED, "connecting");
	*ret_channel = mem_zalloc(sizeof(**ret_channel));
	return 0;
}

int channel_open_remote(
        const struct channel_remote *r, struct channel **ret_channel, struct err *err)
{
	return err_set(err, ERR_UNSUPPORTED, "not here");
}

void channel_close(struct channel *c)
{
	free(c);
}

/* A request begins; what of the last answer was not read is not an answer to this one. */
static bool is_request(const char *bytes, size_t len)
{
	static const char *const methods[] = {"GET /", "POST /", "PATCH /", "DELETE /"};

	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (len > strlen(methods[i]) && memcmp(bytes, methods[i], strlen(methods[i])) == 0)
			return true;
	return false;
}

long channel_send(struct channel *c, const void *bytes, size_t len, struct err *err)
{
	if (c->is_over)
		return err_set(err, ERR_UNAVAILABLE, "the server has gone");
	if (is_request(bytes, len) && !fuzz_piece(&data, &size, &c->piece, &c->len))
		c->is_over = true;
	return (long)len;
}

long channel_recv(struct channel *c, void *bytes, size_t room, struct err *err)
{
	size_t n = MIN(MIN(c->len, room), most_at_once);

	if (!n)
		c->is_over = true;
	else
		memcpy(bytes, c->piece, n);
	c->piece += n;
	c->len -= n;
	return (long)n;
}

int channel_fd(const struct channel *c)
{
	return null_fd;
}

bool channel_ended(const struct channel *c)
{
	return c->is_over;
}

/* The machine. */

uint64_t clock_mono_ns(void)
{
	return now_ms * 1000000;
}

uint64_t clock_mono_ms(void)
{
	return now_ms;
}

int64_t clock_wall_ms(void)
{
	return (int64_t)now_ms;
}

void interrupt_catch(bool with_winch)
{
}

void interrupt_release(void)
{
}

unsigned interrupt_count(void)
{
	return 0;
}

bool interrupt_take_winch(void)
{
	return false;
}

int interrupt_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	FUZZ_MUST(++n_waits < WAITS_MAX);
	now_ms += 4000;
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = fds[i].fd >= 0 ? fds[i].events : 0;
	return (int)n;
}

static bool is_terminal;

int isatty(int fd)
{
	return is_terminal && fd == STDOUT_FILENO;
}

/* The verbs. */

static int attach(struct cli *cli, int argc, char **argv)
{
	struct interact how = {0};
	enum interact_end end;
	struct client *c;
	struct err err;
	int code = 0, rc;

	FUZZ_MUST(client_open(cli, &c, &err) == 0);
	fuzz_err_init(&err);
	rc = interact_run(c, "/v1/jobs/1/attach", &how, &end, &code, &err);
	client_close(c);
	if (rc == 0)
		return code & 0xff;
	FUZZ_MUST(rc == -(int)err.kind);
	return cli_fail(cli, &err);
}

static const struct {
	int (*run)(struct cli *cli, int argc, char **argv);
	bool is_raw; /* prints what a job wrote, too, as it is */
	bool is_listing;
	const char *argv[5];
} verbs[] = {
        {verb_ps, false, true, {"ps"}},
        {verb_show, false, true, {"show", "1", "2"}},
        {verb_gpus, false, true, {"gpus"}},
        {verb_nodes, false, true, {"nodes"}},
        {verb_queues, false, true, {"queues"}},
        {verb_wait, false, true, {"wait", "1", "2"}},
        {verb_cancel, false, true, {"cancel", "1", "2"}},
        {verb_retry, false, true, {"retry", "1"}},
        {verb_edit, false, true, {"edit", "1", "name=x"}},
        {verb_drain, false, true, {"drain", "n"}},
        {verb_resume, false, true, {"resume", "n"}},
        {verb_token, false, true, {"token", "ls"}},
        {verb_token, false, true, {"token", "create"}},
        {verb_token, false, false, {"token", "revoke", "x"}},
        {verb_backup, false, true, {"backup", NOWHERE}},
        {verb_submit, false, true, {"submit", "--", "true"}},
        {verb_submit, false, true, {"submit", "--dry-run", "--", "true"}},
        {verb_submit, false, true, {"submit", "--from", "/dev/fd/100"}},
        {verb_logs, true, false, {"logs", "1"}},
        {verb_logs, true, false, {"logs", "-f", "1"}},
        {verb_run, true, false, {"run", "--", "true"}},
        {attach, true, false, {"attach"}},
};

static const char *const formats[] = {"table", "wide", "json", "csv", "name"};

struct printed {
	char *out, *err;
	size_t out_len, err_len;
	int code;
};

/* argv is the verb's own: it may move the words. */
static int call(struct cli *cli, size_t verb, size_t format)
{
	char *argv[8] = {0}, option[] = "-o", word[8], *copies[8];
	int argc = 0, n, code;

	for (n = 0; n < 5 && verbs[verb].argv[n]; n++) {
		argv[argc++] = copies[n] = mem_strdup(verbs[verb].argv[n]);
		bool is_sub = strcmp(argv[0], "token") == 0;
		if (n == is_sub && verbs[verb].is_listing && format) {
			snprintf(word, sizeof(word), "%s", formats[format]);
			argv[argc++] = option;
			argv[argc++] = word;
		}
	}
	cli->verb = verbs[verb].argv[0];
	code = verbs[verb].run(cli, argc, argv);
	while (n)
		free(copies[--n]);
	return code;
}

/* Output of jobs goes to the descriptors themselves. */
static void print(
        const uint8_t *bytes, size_t n, size_t cut, size_t verb, size_t format, struct printed *p)
{
	FILE *out = stdout, *err = stderr;
	struct cli cli = {.data_option = NOWHERE};
	int fds[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};

	data = bytes;
	size = n;
	most_at_once = cut;
	now_ms = 1000000;
	n_waits = 0;
	*p = (struct printed){0};
	stdout = open_memstream(&p->out, &p->out_len);
	stderr = open_memstream(&p->err, &p->err_len);
	if (verbs[verb].is_raw && (dup2(null_fd, 1) < 0 || dup2(null_fd, 2) < 0))
		abort();
	p->code = call(&cli, verb, format);
	dup2(fds[0], 1);
	dup2(fds[1], 2);
	close(fds[0]);
	close(fds[1]);
	fclose(stdout);
	fclose(stderr);
	stdout = out;
	stderr = err;
}

static void printed_done(struct printed *p)
{
	free(p->out);
	free(p->err);
}

/* begin: of each line. */
static void check_lines(const char *text, size_t len, const char *begin)
{
	FUZZ_MUST(len < PRINT_MAX);
	while (len) {
		const char *end = memchr(text, '\n', len);
		size_t n = end ? (size_t)(end - text) : len;

		FUZZ_MUST(fuzz_is_line(text, n));
		FUZZ_MUST(n >= strlen(begin) && memcmp(text, begin, strlen(begin)) == 0);
		text += n + (end != NULL);
		len -= n + (end != NULL);
	}
}

/* One value, or one in each line. */
static void check_json(const char *text, size_t len)
{
	size_t at = 0;
	json_error_t where;

	while (at < len) {
		json_t *value = json_loadb(
		        text + at, len - at, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, &where);

		FUZZ_MUST(value);
		json_decref(value);
		at += (size_t)where.position;
		at += strspn(text + at, "\n");
	}
}

static void check(const struct printed *p, size_t verb, size_t format)
{
	FUZZ_MUST(p->code >= 0 && p->code <= 255);
	check_lines(p->out, p->out_len, "");
	check_lines(p->err, p->err_len, "berth");
	if (verbs[verb].is_listing && strcmp(formats[format], "json") == 0)
		check_json(p->out, p->out_len);
	/* Every failure says something. */
	FUZZ_MUST(p->code == 0 || p->err_len || verbs[verb].run == verb_wait || verbs[verb].is_raw);
}

static void begin(void)
{
	static const char jobs[] = "{\"command\":[\"true\"]}\n\n{\"command\":[\"false\"]}\nx\n";
	int fd;

	if (null_fd < 0) {
		null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		setenv("LC_ALL", "C.UTF-8", 1);
		setenv("TZ", "UTC", 1);
		setenv("TERM", "xterm", 1);
		setenv("NO_COLOR", "1", 1);
		unsetenv("BERTH_URL");
		unsetenv("BERTH_DATA");
	}
	fd = memfd_create("jobs", MFD_CLOEXEC);
	FUZZ_MUST(fd >= 0 && write(fd, jobs, sizeof(jobs) - 1) == (ssize_t)sizeof(jobs) - 1);
	FUZZ_MUST(lseek(fd, 0, SEEK_SET) == 0 && dup3(fd, 100, O_CLOEXEC) == 100);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	size_t verb = fuzz_byte(&bytes, &n) % ARRAY_LEN(verbs);
	uint8_t how = fuzz_byte(&bytes, &n);
	size_t format = how % ARRAY_LEN(formats);
	struct printed whole, pieces;

	is_terminal = how & 128;
	begin();
	print(bytes, n, SIZE_MAX, verb, format, &whole);
	check(&whole, verb, format);
	begin();
	print(bytes, n, 1 + how / 5 % 8, verb, format, &pieces);
	check(&pieces, verb, format);
	/* Of an answer that turns out to be none, more may have been taken until then in pieces; and it is asked for again. */
	if (!whole.code && !pieces.code) {
		FUZZ_MUST(whole.out_len == pieces.out_len);
		FUZZ_MUST(memcmp(whole.out, pieces.out, whole.out_len) == 0);
	}
	printed_done(&whole);
	printed_done(&pieces);
	close(100);
	return 0;
}
