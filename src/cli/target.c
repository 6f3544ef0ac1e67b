#include "cli/target.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/text.h"
#include "cli/cli.h"
#include "plat/fs.h"

static char *join(const char *a, const char *b)
{
	char *s = NULL;

	BUG_IF(asprintf(&s, "%s/%s", strcmp(a, "/") == 0 ? "" : a, b) < 0);
	return s;
}

char *target_absolute(const char *path)
{
	char cwd[4096] = "/";
	char *whole =
	        path[0] == '/' || !getcwd(cwd, sizeof(cwd)) ? mem_strdup(path) : join(cwd, path);
	char *out = whole, *in = whole;

	while (*in) {
		if (in[0] == '/' && in[1] == '/')
			in++;
		else if (in[0] == '/' && in[1] == '.' && (in[2] == '/' || !in[2]))
			in += 2;
		else
			*out++ = *in++;
	}
	if (out > whole + 1 && out[-1] == '/')
		out--;
	if (out == whole)
		*out++ = '/';
	*out = '\0';
	return whole;
}

static char *own_default(void)
{
	const char *home = getenv("HOME");

	if (geteuid() == 0)
		return mem_strdup(TARGET_ROOT_DATA);
	if (!home || home[0] != '/') {
		const struct passwd *pw = getpwuid(geteuid());
		home = pw ? pw->pw_dir : "/";
	}
	return join(home, ".local/state/berth");
}

static const char *named_data(const struct cli *cli)
{
	const char *env = getenv("BERTH_DATA");

	return cli->data_option ? cli->data_option : env && env[0] ? env : NULL;
}

int target_own_data(const struct cli *cli, char **ret_dir, struct err *err)
{
	const char *named = named_data(cli);

	if (named && !named[0])
		return err_set(err, ERR_INVALID, "--data names no directory");
	*ret_dir = named ? target_absolute(named) : own_default();
	return 0;
}

static bool has_socket(const char *dir)
{
	char *path = join(dir, TARGET_SOCKET_NAME);
	bool there = access(path, F_OK) == 0;

	free(path);
	return there;
}

static int use_data(const struct cli *cli, struct target *t, struct err *err)
{
	int rc = target_own_data(cli, &t->data_dir, err);

	if (rc)
		return rc;
	if (!named_data(cli) && !has_socket(t->data_dir) && has_socket(TARGET_ROOT_DATA)) {
		free(t->data_dir);
		t->data_dir = mem_strdup(TARGET_ROOT_DATA);
	}
	t->socket = join(t->data_dir, TARGET_SOCKET_NAME);
	return 0;
}

static char *trimmed(const char *s, size_t len)
{
	while (len && (s[len - 1] == '\n' || s[len - 1] == '\r' || s[len - 1] == ' '))
		len--;
	return strndup(s, len);
}

/* It is used all the same: whoever could read it has read it by now, and only its owner can mend that. */
static void check_token_file(const char *file)
{
	struct stat st;

	if (stat(file, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077))
		cli_say("the token in %s is no secret: others may read or write that file; chmod 600, and make another token",
		        file);
}

static int find_token(struct target *t, struct err *err)
{
	const char *token = getenv("BERTH_TOKEN"), *file = getenv("BERTH_TOKEN_FILE");
	CLEANUP_BUF struct buf b = BUF_INIT(64 * KIB);

	if (token && token[0]) {
		t->token = trimmed(token, strlen(token));
	} else if (file && file[0]) {
		if (fs_read(file, &b, err))
			return err_wrap(err, "BERTH_TOKEN_FILE");
		check_token_file(file);
		t->token = trimmed((const char *)b.data, b.len);
	}
	for (const char *c = t->token; c && *c; c++)
		if (*c <= ' ' || *c > '~')
			return err_set(err, ERR_INVALID, "BERTH_TOKEN is not a token");
	return 0;
}

static int use_url(struct target *t, const char *url, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	const char *host = strstr(url, "://");
	size_t len;

	if (strncasecmp(url, "unix:", 5) == 0 && url[5] == '/') {
		t->socket = target_absolute(url + 5);
		return 0;
	}
	if (!host || (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0))
		return err_set(err, ERR_INVALID,
		        "BERTH_URL is '%s'; it is https://HOST:PORT, http://HOST:PORT or unix:/PATH",
		        text_show(url, shown));
	host += 3;
	len = strcspn(host, "/?#");
	if (len == 0 || memchr(host, '@', len))
		return err_set(err, ERR_INVALID,
		        "BERTH_URL is '%s': no host, or something before an @; tokens go into BERTH_TOKEN",
		        text_show(url, shown));
	t->url = strndup(url, (size_t)(host - url) + len);
	t->host = strndup(host, len);
	t->prefix = strndup(host + len, strcspn(host + len, "?#"));
	while (t->prefix[0] && t->prefix[strlen(t->prefix) - 1] == '/')
		t->prefix[strlen(t->prefix) - 1] = '\0';
	t->ca_path = getenv("BERTH_CA");
	t->pin_hex = getenv("BERTH_PIN");
	return find_token(t, err);
}

int target_find(const struct cli *cli, struct target *ret_target, struct err *err)
{
	const char *url = getenv("BERTH_URL");
	struct target t = {0};
	int rc;

	/* What is said on the line is nearer than what stands in the environment. */
	rc = url && url[0] && !cli->data_option ? use_url(&t, url, err) : use_data(cli, &t, err);
	if (rc) {
		target_done(&t);
		return rc;
	}
	*ret_target = t;
	return 0;
}

void target_done(struct target *t)
{
	free(t->data_dir);
	free(t->socket);
	free(t->url);
	free(t->host);
	free(t->prefix);
	free(t->token);
	*t = (struct target){0};
}
