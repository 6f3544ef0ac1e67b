#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "helper/grants.h"

/*
 * DESIGN. What decides about what happens is compared word for word: command, directory, environment, where output goes,
 * whether somebody can type into it. Variables may be missing, because the server leaves out those that look like
 * secrets; more may only be those that Berth itself sets, with values that no shell takes for more than a word.
 */

#define ROOT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int differs(struct err *err, const char *what)
{
	return err_set(err, ERR_FORBIDDEN, "it is not what root submitted: another %s", what);
}

static bool is_same_list(char *const *a, char *const *b)
{
	for (; *a && *b; a++, b++)
		if (strcmp(*a, *b) != 0)
			return false;
	return *a == *b;
}

static bool is_plain_word(const char *value)
{
	return value[strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	                           "._,:/@+=-")] == '\0';
}

static bool begins(const char *entry, const char *name)
{
	return strncmp(entry, name, strlen(name)) == 0;
}

/* The account's, where the submitter's had none. */
static bool is_default(const char *entry, const struct launch *l, const char *home)
{
	if (begins(entry, "PATH="))
		return strcmp(entry + 5, ROOT_PATH) == 0;
	if (begins(entry, "HOME="))
		return strcmp(entry + 5, home) == 0;
	if (begins(entry, "USER="))
		return strcmp(entry + 5, l->user) == 0;
	return begins(entry, "LANG=") && is_plain_word(entry + 5);
}

static bool is_granted_variable(
        const char *entry, const struct launch *granted, const struct launch *l, const char *home)
{
	size_t key_len = strcspn(entry, "=");

	for (char *const *e = granted->env; *e; e++)
		if (strcmp(*e, entry) == 0)
			return true;
	if (entry[key_len] && launch_sets_variable(entry, key_len))
		return is_plain_word(entry + key_len + 1) || begins(entry, "BERTH_FAKE_GPUS=/");
	return is_default(entry, l, home);
}

static bool is_name_pattern(char c)
{
	return c && strchr("jAaxuN", c);
}

/* "" or ".2": of a later attempt. */
static bool is_attempt(const char *s)
{
	return !*s || (s[0] == '.' && s[1] && s[1 + strspn(s + 1, "0123456789")] == '\0');
}

/*
 * A name stands for any characters but '/'. Only the last one is tried longer, and none once its part of the path has
 * matched: what an earlier one could take more, a later one can take as well. So no path costs more than its square.
 */
static bool matches(const char *pattern, const char *path)
{
	const char *after = NULL,
	           *end = NULL; /* of the last name: what follows it, where it ends */

	for (;;) {
		if (pattern[0] == '%' && is_name_pattern(pattern[1])) {
			after = pattern += 2;
			end = path;
			continue;
		}
		if (!*pattern && is_attempt(path))
			return true;
		if (pattern[0] == '%' && pattern[1] == '%')
			pattern++;
		if (*pattern && *pattern == *path) {
			after = *pattern == '/' ? NULL : after;
			pattern++;
			path++;
			continue;
		}
		if (!after || !*end || *end == '/')
			return false;
		path = ++end;
		pattern = after;
	}
}

/* A name put into the pattern must not lead elsewhere. */
static bool has_dots(const char *path)
{
	for (; (path = strstr(path, "/.")); path++)
		if (path[2] == '/' || !path[2] || (path[2] == '.' && (path[3] == '/' || !path[3])))
			return true;
	return false;
}

bool grants_is_output(const char *pattern, const char *path)
{
	return strcmp(pattern, path) == 0 || (!has_dots(path) && matches(pattern, path));
}

static bool is_same_output(const struct launch *granted, const struct launch *l)
{
	if (l->kind == LAUNCH_EXEC)
		return !l->out_path && !l->err_path;
	if (granted->out_path ? l->out_internal || !l->out_path ||
	                                !grants_is_output(granted->out_path, l->out_path)
	                      : !l->out_internal)
		return false;
	/* Where both are one file, the agent says it once. */
	return !l->err_path ||
	       (granted->err_path && grants_is_output(granted->err_path, l->err_path));
}

/* A directory that Berth makes would be emptied as root at the end, and stands where the server can put another. */
static bool is_same_directory(
        const struct launch *granted, const struct launch *l, const char *home)
{
	if (l->make_cwd || !l->cwd)
		return false;
	return (granted->cwd && strcmp(granted->cwd, l->cwd) == 0) ||
	       (l->kind == LAUNCH_EXEC && (!strcmp(l->cwd, home) || !strcmp(l->cwd, "/")));
}

int grants_compare(
        const struct launch *granted, const struct launch *l, const char *home, struct err *err)
{
	char shown[TEXT_SHOW_SIZE], what[TEXT_SHOW_SIZE + 32];

	if (granted->kind != l->kind)
		return differs(err, "kind");
	if (!is_same_list(granted->argv, l->argv))
		return differs(err, "command");
	if (granted->tty != l->tty || (l->kind == LAUNCH_START && l->console && !l->tty))
		return differs(err, "terminal");
	/* A job that waits can be edited to fewer. */
	if (l->ranks > granted->ranks || !l->ranks != !granted->ranks)
		return differs(err, "number of tasks");
	if (!is_same_directory(granted, l, home))
		return differs(err, "directory");
	if (!is_same_output(granted, l))
		return differs(err, "output file");
	for (char *const *e = l->env; *e; e++) {
		if (is_granted_variable(*e, granted, l, home))
			continue;
		text_show(*e, shown);
		shown[strcspn(shown, "=")] = '\0';
		snprintf(what, sizeof(what), "variable %s", shown);
		return differs(err, what);
	}
	return 0;
}
