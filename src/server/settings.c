#include "server/settings.h"

#include "plat/fs.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int load_file(const struct settings_source *from, struct conf **ret_conf, struct err *err)
{
	CLEANUP_BUF struct buf text = BUF_INIT(CONF_TEXT_MAX);
	char path[4200];
	int rc;

	snprintf(path, sizeof(path), "%s/berth.yaml", from->data_dir);
	if (!from->config_path && access(path, F_OK) != 0) {
		*ret_conf = conf_defaults();
		return 0;
	}
	rc = fs_read(from->config_path ? from->config_path : path, &text, err);
	if (rc == 0)
		rc = conf_parse((const char *)text.data, text.len, ret_conf, err);
	return rc ? err_wrap(err, "%s", from->config_path ? from->config_path : path) : 0;
}

int settings_load(const struct settings_source *from, struct conf **ret_conf, struct err *err)
{
	struct conf *c;
	int rc = load_file(from, &c, err);

	if (rc)
		return rc;
	rc = conf_override_all(c, environ, err);
	if (rc == 0 && from->listen)
		rc = conf_set(c, "server.listen", from->listen, CONF_FROM_FLAG, err);
	if (rc == 0 && from->insecure)
		rc = conf_set(c, "server.insecure", "true", CONF_FROM_FLAG, err);
	if (rc == 0)
		rc = conf_check(c, err);
	if (rc) {
		conf_free(c);
		return rc;
	}
	*ret_conf = c;
	return 0;
}

struct wanted {
	const char *key;
	bool found;
};

static void print_wanted(const struct conf_row *row, void *arg)
{
	struct wanted *w = arg;

	if (w->found || strcmp(row->key, w->key) != 0)
		return;
	w->found = true;
	printf("%s %s\n", conf_source_name(row->source), row->value);
}

int settings_answer(
        const struct settings_source *from, enum settings_question question, const char *key)
{
	CLEANUP_BUF struct buf text = BUF_INIT(CONF_TEXT_MAX * 4);
	CLEANUP_CONF struct conf *c = NULL;
	struct wanted w = {.key = key};
	struct err err;

	if (settings_load(from, &c, &err)) {
		fprintf(stderr, "berth config: %s%s%s\n", err.text, err.hint[0] ? "; " : "",
		        err.hint);
		return err_exit_code(err.kind);
	}
	switch (question) {
	case SETTINGS_SHOW:
		conf_show(c, false, &text);
		fputs(buf_str(&text), stdout);
		return fflush(stdout) ? 1 : 0;
	case SETTINGS_GET:
		conf_each(c, print_wanted, &w);
		return !w.found || fflush(stdout) ? 1 : 0;
	default:
		fprintf(stderr, "berth config: %s is well\n",
		        from->config_path ? from->config_path : "the configuration");
		return 0;
	}
}
