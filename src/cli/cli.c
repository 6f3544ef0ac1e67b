#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/strtab.h"
#include "base/text.h"

#define LINE_SIZE 1024

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

void cli_add_shown(struct buf *b, const char *s)
{
	size_t len = strlen(s);

	while (len) {
		size_t n = text_utf8_len(s, len), step = n ? n : 1;
		if (n == 0 || text_has_control(s, n))
			buf_add_byte(b, '?');
		else
			buf_add(b, s, n);
		s += step;
		len -= step;
	}
}

void cli_say(const char *fmt, ...)
{
	CLEANUP_BUF struct buf shown = BUF_INIT(LINE_SIZE);
	char line[LINE_SIZE];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	cli_add_shown(&shown, line);
	fprintf(stderr, "berth: %s\n", buf_str(&shown));
}

int cli_fail(const struct cli *cli, const struct err *err)
{
	CLEANUP_BUF struct buf shown = BUF_INIT(LINE_SIZE);

	fflush(stdout);
	cli_add_shown(&shown, err->text);
	cli_add_shown(&shown, err->hint[0] ? "; " : "");
	cli_add_shown(&shown, err->hint);
	fprintf(stderr, "berth%s%s: %s\n", cli->verb ? " " : "", cli->verb ? cli->verb : "",
	        buf_str(&shown));
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
