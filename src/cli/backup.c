#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/num.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/output.h"

/*
 * DESIGN. The server writes with its own rights. Root's server is another account, which could not write where root wants
 * the copy: it writes into its directory, and this process brings the file to its place, where nobody else may read it.
 */

/* Where the server writes; NULL: where it was told. To be freed. */
static char *staging_path(const struct client *c)
{
	const char *dir = client_is_remote(c) ? NULL : client_target(c)->data_dir;
	char *path = NULL;
	struct stat st;

	if (geteuid() != 0 || !dir || stat(dir, &st) < 0 || st.st_uid == 0)
		return NULL;
	BUG_IF(asprintf(&path, "%s/backup-%d", dir, (int)getpid()) < 0);
	return path;
}

static int copy_all(int from, int to, struct err *err)
{
	ssize_t n;

	while ((n = sendfile(to, from, NULL, 1 << 20)) > 0)
		;
	if (n < 0 || fsync(to) < 0)
		return err_sys(err, errno, "writing the backup");
	return 0;
}

static int bring(const char *from_path, const char *path, struct err *err)
{
	int from = open(from_path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), to = -1, rc;
	struct stat st;

	if (from < 0 || fstat(from, &st) < 0)
		rc = err_sys(err, errno, "%s", from_path);
	else if (!S_ISREG(st.st_mode) || st.st_uid == 0)
		rc = err_set(err, ERR_CONFLICT, "%s is not what the server wrote", from_path);
	else if ((to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
		rc = err_sys(err, errno, "%s", path);
	else
		rc = copy_all(from, to, err);
	if (to >= 0 && rc)
		unlink(path);
	if (to >= 0)
		close(to);
	if (from >= 0)
		close(from);
	return rc;
}

static int back_up(struct client *c, const char *path, json_t **ret_answer, struct err *err)
{
	struct client_call call = {.method = "POST", .path = "/v1/backup", .once = true};
	char *staging = staging_path(c);
	CLEANUP_JSON json_t *body = json_pack("{s:s}", "path", staging ? staging : path);
	int rc = 0;

	call.body = body;
	if (!body)
		rc = err_set(err, ERR_INVALID, "the name of the file is not UTF-8");
	/* Before the work, as the server would. */
	else if (staging && access(path, F_OK) == 0)
		rc = err_sys(err, EEXIST, "%s", path);
	if (rc == 0)
		rc = client_call(c, &call, ret_answer, err);
	if (rc == 0 && staging) {
		rc = bring(staging, path, err);
		json_object_set_new(*ret_answer, "path", json_string(path));
	}
	if (staging)
		unlink(staging);
	free(staging);
	return rc;
}

static int parse(int key, char *arg, struct argp_state *state, void *input, struct err *err)
{
	const char **path = input;

	if (key == ARGP_KEY_ARG && !*path) {
		*path = arg;
		return 0;
	}
	if (key == ARGP_KEY_END && !*path)
		return err_set(err, ERR_INVALID, "no file was named")
		               ? err_hint(err, "such as: berth backup /backup/berth.db")
		               : 0;
	return key == ARGP_KEY_END ? 0 : ARGP_ERR_UNKNOWN;
}

int verb_backup(struct cli *cli, int argc, char **argv)
{
	const char *path = NULL;
	CLEANUP_CLIENT struct client *c = NULL;
	CLEANUP_JSON json_t *answer = NULL;
	struct args args = {.parse = parse,
	        .input = &path,
	        .args_doc = "FILE",
	        .doc = "Writes a consistent copy of the state to a file on the server's machine, and prints its name.",
	        .is_listing = true};
	struct err err;
	char size[24];

	int rc = args_parse(cli, &args, argc, argv, &err);
	if (rc == 0)
		rc = client_open(cli, &c, &err);
	if (rc == 0 && client_is_remote(c) && path[0] != '/')
		rc = err_set(&err, ERR_INVALID,
		        "the file is written on the server's machine: an absolute name is needed");
	if (rc == 0) {
		char *whole = target_absolute(path);
		rc = back_up(c, whole, &answer, &err);
		free(whole);
	}
	if (rc)
		return cli_fail(cli, &err);
	if (cli->format == OUTPUT_JSON) {
		output_json(answer);
		return 0;
	}
	cli_say("%s written",
	        num_format_size(
	                (uint64_t)json_integer_value(json_object_get(answer, "bytes")), size));
	const char *written = json_string_value(json_object_get(answer, "path"));
	output_line(written ? written : "?");
	return 0;
}
