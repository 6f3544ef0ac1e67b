#include "kit.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/lock.h"

void kit_begin(struct kit *k)
{
	*k = (struct kit){.cli = {.verb = "test"}};
	strcpy(k->dir, "/tmp/berth-cli-test-XXXXXX");
	assert_non_null(mkdtemp(k->dir));
	snprintf(k->socket, sizeof(k->socket), "%s/berth.sock", k->dir);
	k->cli.data_option = k->dir;
	unsetenv("BERTH_URL");
	unsetenv("BERTH_DATA");
}

/* Reads until the request is whole: the head, and as much body as Content-Length says. */
static bool read_request(int fd, char *out, size_t size)
{
	size_t len = 0;

	for (;;) {
		ssize_t n = read(fd, out + len, size - 1 - len);
		if (n <= 0)
			return false;
		len += (size_t)n;
		out[len] = '\0';
		const char *end = strstr(out, "\r\n\r\n");
		const char *length = strcasestr(out, "content-length:");
		size_t body = length ? (size_t)atol(length + 15) : 0;
		if (end && len >= (size_t)(end - out) + 4 + body)
			return true;
	}
}

static void send_answer(int fd, const struct kit_step *s)
{
	size_t len = s->answer_len ? s->answer_len : strlen(s->answer);
	size_t piece = s->slowly ? 1 : len;

	for (size_t at = 0; at < len; at += piece)
		/* A client that has read all it wants may have gone. */
		if (send(fd, s->answer + at, piece, MSG_NOSIGNAL) != (ssize_t)piece)
			return;
}

NORETURN static void serve(int listener, const struct kit_step *steps, size_t n)
{
	static char request[1 << 20];
	int fd = -1;

	for (size_t i = 0; i < n; i++) {
		if (fd < 0)
			fd = accept(listener, NULL, NULL);
		if (steps[i].expect) {
			if (!read_request(fd, request, sizeof(request))) {
				/* The client has let this connection go: the step is for the next one. */
				close(fd);
				fd = accept(listener, NULL, NULL);
				if (!read_request(fd, request, sizeof(request)))
					_exit(2);
			}
			if (!strstr(request, steps[i].expect)) {
				fprintf(stderr, "# step %zu: no '%s' in:\n%s\n", i, steps[i].expect,
				        request);
				_exit(1);
			}
			send_answer(fd, &steps[i]);
		}
		if (!steps[i].expect || steps[i].drop) {
			close(fd);
			fd = -1;
		}
	}
	_exit(0);
}

void kit_serve(struct kit *k, const struct kit_step *steps, size_t n)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, k->socket);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 8), 0);
	k->child = fork();
	assert_true(k->child >= 0);
	if (k->child == 0) {
		struct lock held;
		struct err err;
		alarm(20);
		if (k->is_held && lock_take(k->dir, "test", &held, &err))
			_exit(3);
		serve(fd, steps, n);
	}
	close(fd);
}

void kit_end(struct kit *k)
{
	int status = 0;
	DIR *dir;
	struct dirent *e;

	if (k->child) {
		assert_int_equal(waitpid(k->child, &status, 0), k->child);
		assert_int_equal(status, 0);
	}
	dir = opendir(k->dir);
	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			assert_int_equal(unlinkat(dirfd(dir), e->d_name, 0), 0);
	closedir(dir);
	assert_int_equal(rmdir(k->dir), 0);
}

char *kit_reply(int status, const char *body)
{
	char *s = NULL;

	assert_true(asprintf(&s, "HTTP/1.1 %d Some\r\nContent-Length: %zu\r\n\r\n%s", status,
	                    strlen(body), body) > 0);
	return s;
}

const char *kit_capture(void (*fn)(const void *data), const void *data)
{
	static char out[8192];
	char path[] = "/tmp/berth-output-XXXXXX";
	int fd = mkstemp(path), before = dup(STDOUT_FILENO);

	fflush(stdout);
	dup2(fd, STDOUT_FILENO);
	fn(data);
	fflush(stdout);
	dup2(before, STDOUT_FILENO);
	close(before);
	ssize_t n = pread(fd, out, sizeof(out) - 1, 0);
	assert_true(n >= 0);
	out[n] = '\0';
	close(fd);
	unlink(path);
	return out;
}
