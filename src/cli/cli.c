#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/strtab.h"

const struct verb cli_verbs[] = {
#define VERB(ident, name, group, synopsis, summary) {name, group, synopsis, summary, verb_##ident},
#include "../../tables/verbs.def"
#undef VERB
        {0},
};

static const char *const verb_names[] = {
#define VERB(ident, name, group, synopsis, summary) name,
#include "../../tables/verbs.def"
#undef VERB
};

const struct verb *cli_verb_find(const char *name)
{
	int i = strtab_find(STRTAB(verb_names), name);

	return i < 0 ? NULL : &cli_verbs[i];
}

const char *cli_verb_closest(const char *name)
{
	return strtab_closest(STRTAB(verb_names), name);
}

void cli_say(const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "berth: %s\n", line);
}

int cli_fail(const struct cli *cli, const struct err *err)
{
	fflush(stdout);
	fprintf(stderr, "berth%s%s: %s%s%s\n", cli->verb ? " " : "", cli->verb ? cli->verb : "",
	        err->text, err->hint[0] ? "; " : "", err->hint);
	return err_exit_code(err->kind);
}

int cli_flush(const struct cli *cli, int exit_code)
{
	struct err err;

	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return exit_code;
	return err_sys(&err, errno ? errno : EIO, "writing to standard output")
	               ? cli_fail(cli, &err)
	               : exit_code;
}
