#include "cli/args.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strtab.h"
#include "base/text.h"

#define OPTIONS_MAX 64

enum { KEY_DATA = 0x7f01, KEY_CONFIG, KEY_OUTPUT = 'o' };

static const struct argp_option global_options[] = {
        {"data", KEY_DATA, "DIR", 0, "Berth's directory (BERTH_DATA)", 90},
        {"config", KEY_CONFIG, "FILE", 0, "configuration instead of DIR/berth.yaml", 90},
        {0},
};

static const struct argp_option listing_option = {
        NULL, KEY_OUTPUT, "FORMAT", 0, "table, wide, json, csv or name", 80};

static const char *const format_names[] = {
        [OUTPUT_TABLE] = "table",
        [OUTPUT_WIDE] = "wide",
        [OUTPUT_JSON] = "json",
        [OUTPUT_CSV] = "csv",
        [OUTPUT_NAME] = "name",
};

int output_format_parse(const char *text, enum output_format *ret_format, struct err *err)
{
	int i = strtab_find(STRTAB(format_names), text);
	char shown[TEXT_SHOW_SIZE];

	if (i < 0)
		return err_set(err, ERR_INVALID,
		        "-o: there is no format '%s'; there are table, wide, json, csv and name",
		        text_show(text, shown));
	*ret_format = (enum output_format)i;
	return 0;
}

struct parsing {
	struct cli *cli;
	const struct args *a;
	struct argp_option options[OPTIONS_MAX];
	size_t n;
	struct err *err;
	bool wants_help;
};

static void add_options(struct parsing *p, const struct argp_option *o)
{
	for (; o && (o->name || o->key || o->doc); o++) {
		BUG_IF(p->n + 1 >= OPTIONS_MAX);
		p->options[p->n++] = *o;
	}
}

static const struct argp_option *find_long(const struct parsing *p, const char *name, size_t len)
{
	for (size_t i = 0; i < p->n; i++) {
		const char *candidate = p->options[i].name;
		if (candidate && strlen(candidate) == len && memcmp(candidate, name, len) == 0)
			return &p->options[i];
	}
	return NULL;
}

static const struct argp_option *find_short(const struct parsing *p, char c)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->options[i].key == c)
			return &p->options[i];
	return NULL;
}

static int unknown_option(const struct parsing *p, const char *text)
{
	const char *names[OPTIONS_MAX];
	char shown[TEXT_SHOW_SIZE], plain[TEXT_SHOW_SIZE];
	const char *close;
	size_t len;

	for (size_t i = 0; i < p->n; i++)
		names[i] = p->options[i].name;
	len = MIN(strcspn(text, "="), sizeof(plain) - 1);
	memcpy(plain, text, len);
	plain[len] = '\0';
	close = strncmp(text, "--", 2) == 0
	                ? strtab_closest((struct strtab){names, p->n}, plain + 2)
	                : NULL;
	if (err_set(p->err, ERR_UNKNOWN_KEY, "there is no option '%s'", text_show(plain, shown)) &&
	        close)
		return err_hint(p->err, "did you mean '--%s'?", close);
	return err_hint(p->err, "berth %s --help lists what there is", p->cli->verb);
}

static int missing_value(const struct parsing *p, const char *option)
{
	return err_set(p->err, ERR_INVALID, "%s needs a value", option);
}

static bool is_help(const char *arg)
{
	return strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0;
}

/* A word that begins with "--"; *i moves over a value of its own. */
static int check_long(const struct parsing *p, int argc, char **argv, int *i)
{
	const char *arg = argv[*i];
	size_t len = strcspn(arg + 2, "=");
	const struct argp_option *o = find_long(p, arg + 2, len);

	if (!o)
		return unknown_option(p, arg);
	if (arg[2 + len] == '=')
		return o->arg ? 0 : err_set(p->err, ERR_INVALID, "--%s takes no value", o->name);
	if (!o->arg || o->flags & OPTION_ARG_OPTIONAL)
		return 0;
	if (*i + 1 >= argc)
		return missing_value(p, arg);
	(*i)++;
	return 0;
}

/* A word of short options: "-it", "-c4"; *i moves over a value of its own. */
static int check_short(const struct parsing *p, int argc, char **argv, int *i)
{
	for (const char *c = argv[*i] + 1; *c; c++) {
		const struct argp_option *o = find_short(p, *c);
		char name[3] = {'-', *c, '\0'};

		if (!o)
			return unknown_option(p, name);
		if (!o->arg)
			continue;
		if (c[1])
			return 0;
		if (*i + 1 >= argc)
			return missing_value(p, name);
		(*i)++;
		return 0;
	}
	return 0;
}

static void rewrite(const struct args *a, char **word)
{
	for (size_t i = 0; a->rewrites && a->rewrites[i][0]; i++)
		if (strcmp(*word, a->rewrites[i][0]) == 0)
			*word = (char *)a->rewrites[i][1]; /* argp does not write into it */
}

/* Finds everything that argp itself would only say in its own words. */
static int check_options(struct parsing *p, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int rc = 0;

		rewrite(p->a, &argv[i]);
		if (strcmp(argv[i], "--") == 0)
			return 0;
		if (is_help(argv[i])) {
			p->wants_help = true;
			return 0;
		}
		if (strncmp(argv[i], "--", 2) == 0)
			rc = check_long(p, argc, argv, &i);
		else if (argv[i][0] == '-' && argv[i][1])
			rc = check_short(p, argc, argv, &i);
		else if (p->a->command_follows)
			return 0;
		if (rc)
			return rc;
	}
	return 0;
}

static error_t parse_one(int key, char *arg, struct argp_state *state)
{
	struct parsing *p = state->input;
	int rc = 0;

	switch (key) {
	case KEY_DATA:
		p->cli->data_option = arg;
		return 0;
	case KEY_CONFIG:
		p->cli->config_path = arg;
		return 0;
	case KEY_OUTPUT:
		p->cli->format_given = true;
		rc = output_format_parse(arg, &p->cli->format, p->err);
		return rc ? EINVAL : 0;
	case ARGP_KEY_INIT:
	case ARGP_KEY_NO_ARGS:
	case ARGP_KEY_SUCCESS:
	case ARGP_KEY_ERROR:
	case ARGP_KEY_FINI:
	case ARGP_KEY_ARGS:
		return ARGP_ERR_UNKNOWN;
	}
	if (p->a->parse)
		rc = p->a->parse(key, arg, state, p->a->input, p->err);
	if (rc == ARGP_ERR_UNKNOWN || !p->a->parse) {
		if (key != ARGP_KEY_ARG)
			return ARGP_ERR_UNKNOWN;
		char shown[TEXT_SHOW_SIZE];
		rc = err_set(p->err, ERR_INVALID, "'%s' is one argument too many",
		        text_show(arg, shown));
	}
	return rc ? EINVAL : 0;
}

int args_parse(struct cli *cli, const struct args *a, int argc, char **argv, struct err *err)
{
	struct parsing p = {.cli = cli, .a = a, .err = err};
	char name[64], *verb = argv[0];
	int rc;

	add_options(&p, a->options);
	if (a->is_listing)
		add_options(&p, (const struct argp_option[]){listing_option, {0}});
	add_options(&p, global_options);
	rc = check_options(&p, argc, argv);
	if (rc)
		return rc;
	struct argp argp = {
	        .options = p.options,
	        .parser = parse_one,
	        .args_doc = a->args_doc,
	        .doc = a->doc,
	};
	snprintf(name, sizeof(name), "berth %s", cli->verb);
	if (p.wants_help) {
		/* Without argp's remark on the arguments of long options. */
		setenv("ARGP_HELP_FMT", "no-dup-args-note", 0);
		argp_help(&argp, stdout, ARGP_HELP_LONG | ARGP_HELP_SHORT_USAGE | ARGP_HELP_DOC,
		        name);
		exit(cli_flush(cli, 0));
	}
	err->kind = ERR_NONE;
	argv[0] = name;
	rc = argp_parse(&argp, argc, argv,
	        ARGP_NO_ERRS | ARGP_NO_HELP | (a->command_follows ? ARGP_IN_ORDER : 0), NULL, &p);
	argv[0] = verb;
	if (rc && err->kind == ERR_NONE)
		return err_set(err, ERR_INVALID, "the arguments are not understood");
	return rc ? -(int)err->kind : 0;
}

int args_parse_or_fail(struct cli *cli, const struct args *a, int argc, char **argv)
{
	struct err err;

	return args_parse(cli, a, argc, argv, &err) ? cli_fail(cli, &err) : 0;
}

int args_run_sub(struct cli *cli, const struct args_sub *subs, int argc, char **argv)
{
	CLEANUP_BUF struct buf list = BUF_INIT(1024);
	const char *names[16];
	char verb[64], shown[TEXT_SHOW_SIZE];
	struct err err;
	size_t n = 0;
	int rc;

	for (; subs[n].name; n++) {
		BUG_IF(n >= ARRAY_LEN(names));
		names[n] = subs[n].name;
		buf_addf(&list, "%s%s", n ? ", " : "", subs[n].name);
		if (argc > 1 && strcmp(argv[1], subs[n].name) == 0) {
			snprintf(verb, sizeof(verb), "%s %s", argv[0], argv[1]);
			cli->verb = verb;
			rc = subs[n].run(cli, argc - 1, argv + 1);
			cli->verb = argv[0];
			return rc;
		}
	}
	if (argc > 1 && is_help(argv[1])) {
		printf("Usage: berth %s %s\n%s. berth %s VERB --help shows the options of one.\n",
		        argv[0], cli_verb_find(argv[0])->synopsis, cli_verb_find(argv[0])->summary,
		        argv[0]);
		return 0;
	}
	if (argc < 2)
		rc = err_set(&err, ERR_INVALID, "what? there are %s", buf_str(&list));
	else
		rc = err_set(&err, ERR_UNKNOWN_KEY, "there is no '%s'; there are %s",
		        text_show(argv[1], shown), buf_str(&list));
	const char *close = argc < 2 ? NULL : strtab_closest((struct strtab){names, n}, argv[1]);
	if (rc && close)
		rc = err_hint(&err, "did you mean '%s'?", close);
	return rc ? cli_fail(cli, &err) : 0;
}

void args_take_rest(struct argp_state *state, char ***ret_argv, int *ret_argc)
{
	*ret_argv = state->argv + state->next - 1;
	*ret_argc = state->argc - state->next + 1;
	state->next = state->argc;
}

int args_split_setting(
        const char *word, char *key, size_t size, const char **ret_value, struct err *err)
{
	size_t len = strcspn(word, "=");
	char shown[TEXT_SHOW_SIZE];

	if (!word[len])
		return err_set(
		        err, ERR_INVALID, "'%s' is not of the form K=V", text_show(word, shown));
	snprintf(key, size, "%.*s", (int)MIN(len, size - 1), word);
	for (char *p = key; *p; p++)
		if (*p == '-')
			*p = '_';
	*ret_value = word + len + 1;
	return 0;
}
