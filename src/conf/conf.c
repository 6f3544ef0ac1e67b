#include "conf/conf.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/strtab.h"
#include "base/text.h"
#include "conf/fields.h"

#define PATH_MAX_BYTES (4 * (DOC_KEY_MAX + 1))
#define ENV_NAME_MAX   128

const struct field conf_fields[CONF_KEY_N] = {
#define CONF(type, key, member, def, limits, help) \
	FIELD(struct conf, type, key, member, def, limits, help)
#include "../../tables/config.def"
};

const struct field conf_queue_fields[CONF_QUEUE_N] = {
#define CONF_QUEUE(type, key, member, def, limits, help) \
	FIELD(struct conf_queue, type, key, member, def, limits, help)
#include "../../tables/config.def"
};

const struct field conf_model_fields[CONF_MODEL_N] = {
#define CONF_MODEL(type, key, member, def, limits, help) \
	FIELD(struct conf_model, type, key, member, def, limits, help)
#include "../../tables/config.def"
};

static int set_text(struct conf *c, size_t key, const char *text, const char *path,
        enum conf_source from, struct err *err);

/* Life cycle */

struct conf *conf_defaults(void)
{
	struct conf *c = mem_zalloc(sizeof(*c));
	struct err err;

	for (size_t i = 0; i < CONF_KEY_N; i++)
		BUG_IF(set_text(c, i, conf_fields[i].def, conf_fields[i].key, CONF_FROM_DEFAULT,
		               &err) < 0);
	return c;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < CONF_KEY_N; i++)
		value_done(&conf_fields[i], c);
	queues_free(&c->queues);
	free(c->gpu_models.v);
	free(c);
}

void conf_freep(struct conf **c)
{
	conf_free(*c);
}

static char *copy_of(const char *s, size_t len)
{
	char *copy = mem_zalloc(len + 1);

	memcpy(copy, s, len);
	return copy;
}

/* Unknown keys */

static int unknown_key(const struct doc_node *n, const char *path, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];

	text_show(path, shown);
	if (n && n->line)
		return err_set(err, ERR_UNKNOWN_KEY, "line %u: unknown key '%s'", n->line, shown);
	return err_set(err, ERR_UNKNOWN_KEY, "unknown key '%s'", shown);
}

static const char *closest_field(const struct field *fields, size_t n, const char *key)
{
	const char *names[CONF_KEY_N];

	BUG_IF(n > CONF_KEY_N);
	for (size_t i = 0; i < n; i++)
		names[i] = fields[i].key;
	return strtab_closest((struct strtab){names, n}, key);
}

/* The misspelled word at its own level first, whether it names a setting or a section; then a setting of that name elsewhere. */
static int hint_key(const char *prefix, const char *word, struct err *err)
{
	char words[CONF_KEY_N][32];
	const char *names[CONF_KEY_N], *close;
	size_t prefix_len = strlen(prefix);

	for (size_t i = 0; i < CONF_KEY_N; i++) {
		const char *key = conf_fields[i].key, *rest = key + prefix_len;

		names[i] = NULL;
		if (strncmp(key, prefix, prefix_len) != 0)
			continue;
		BUG_IF(strcspn(rest, ".") >= sizeof(words[i]));
		memcpy(words[i], rest, strcspn(rest, "."));
		words[i][strcspn(rest, ".")] = '\0';
		names[i] = words[i];
	}
	close = strtab_closest((struct strtab)STRTAB(names), word);
	if (close)
		return err_hint(err, "did you mean '%s%s'?", prefix, close);
	for (size_t i = 0; i < CONF_KEY_N; i++) {
		const char *dot = strrchr(conf_fields[i].key, '.');

		if (dot && strcmp(dot + 1, word) == 0)
			return err_hint(err, "did you mean '%s'?", conf_fields[i].key);
	}
	return -(int)err->kind;
}

/* Entries of `queues` and `gpu.models`: maps of maps */

static int unknown_field(const struct field *fields, size_t n_fields, const struct doc_node *n,
        const char *path, struct err *err)
{
	const char *close = closest_field(fields, n_fields, n->key);
	CLEANUP_BUF struct buf all = BUF_INIT(sizeof(err->hint));

	(void)!unknown_key(n, path, err);
	if (close)
		return err_hint(err, "did you mean '%s'?", close);
	for (size_t i = 0; i < n_fields; i++)
		buf_addf(&all, "%s%s", i ? ", " : "", fields[i].key);
	return err_hint(err, "it takes %s", buf_str(&all));
}

int entry_set(const struct field *fields, size_t n_fields, void *entry, uint8_t *source,
        const struct doc_node *n, const char *path, enum conf_source from, struct err *err)
{
	if (doc_is_null(n))
		return 0;
	if (n->kind != DOC_MAP)
		return value_wrong_kind(n, path, "a map", err);
	for (size_t i = 0; i < n->n_children; i++) {
		const struct doc_node *child = &n->children[i];
		char child_path[PATH_MAX_BYTES];
		size_t f = 0;
		int rc;

		snprintf(child_path, sizeof(child_path), "%s.%s", path, child->key);
		while (f < n_fields && strcmp(fields[f].key, child->key) != 0)
			f++;
		if (f == n_fields)
			return unknown_field(fields, n_fields, child, child_path, err);
		rc = value_set(&fields[f], entry, child, child_path, err);
		if (rc < 0)
			return rc;
		source[f] = (uint8_t)from;
	}
	return 0;
}

void entry_default(const struct field *fields, size_t n_fields, void *entry)
{
	struct err err;

	for (size_t i = 0; i < n_fields; i++) {
		struct doc_node n = {.text = (char *)fields[i].def};

		/* A list of an entry is empty unless it is set. */
		if (fields[i].type == VALUE_LIST)
			n.kind = DOC_LIST;
		BUG_IF(value_set(&fields[i], entry, &n, fields[i].key, &err) < 0);
	}
}

static int set_models(struct conf *c, const struct doc_node *n, const char *path,
        enum conf_source from, struct err *err)
{
	struct conf_model *v = mem_zalloc((n->n_children + 1) * sizeof(*v));
	for (size_t i = 0; i < n->n_children; i++) {
		const struct doc_node *child = &n->children[i];
		char child_path[PATH_MAX_BYTES];
		int rc;

		snprintf(child_path, sizeof(child_path), "%s.%s", path, child->key);
		if (!*child->key || strlen(child->key) > CONF_MODEL_MAX) {
			(void)!err_set(
			        err, ERR_INVALID, "a model's name has 1..%d bytes", CONF_MODEL_MAX);
			rc = value_where(child, child_path, err);
		} else {
			memcpy(v[i].name, child->key, strlen(child->key) + 1);
			entry_default(conf_model_fields, CONF_MODEL_N, &v[i]);
			rc = entry_set(conf_model_fields, CONF_MODEL_N, &v[i], v[i].source, child,
			        child_path, from, err);
		}
		if (rc < 0) {
			free(v);
			return rc;
		}
	}
	free(c->gpu_models.v);
	c->gpu_models = (struct conf_models){v, n->n_children};
	return 0;
}

/* One setting, from a node or from a text */

static int set_node(struct conf *c, size_t key, const struct doc_node *n, const char *path,
        enum conf_source from, struct err *err)
{
	static const struct doc_node nothing = {.kind = DOC_MAP};
	const struct field *f = &conf_fields[key];
	bool is_map = f->type == VALUE_QUEUES || f->type == VALUE_MODELS;
	int rc;

	if (is_map && doc_is_null(n))
		n = &nothing;
	if (is_map && n->kind != DOC_MAP)
		rc = value_wrong_kind(n, path, "a map of names", err);
	else if (f->type == VALUE_QUEUES)
		rc = queues_set(&c->queues, n, path, from, err);
	else if (f->type == VALUE_MODELS)
		rc = set_models(c, n, path, from, err);
	else
		rc = value_set(f, c, n, path, err);
	if (rc == 0)
		c->source[key] = (uint8_t)from;
	return rc;
}

/* "a, b" -> a list; blanks around the commas are dropped, and so are empty pieces. */
static int split_commas(const char *text, struct doc_node **ret_root, struct err *err)
{
	struct doc_node *root;
	size_t most = 1;

	for (const char *p = text; *p; p++)
		most += *p == ',';
	if (most > DOC_ENTRIES_MAX)
		return err_set(err, ERR_INVALID, "more than %d entries", DOC_ENTRIES_MAX);
	root = mem_zalloc(sizeof(*root));
	root->kind = DOC_LIST;
	root->children = mem_zalloc(most * sizeof(*root->children));
	for (const char *p = text;; p++) {
		const char *end = p;
		struct doc_node *item;

		if (*p && *p != ',')
			continue;
		while (text < end && *text == ' ')
			text++;
		while (text < end && end[-1] == ' ')
			end--;
		if (text < end) {
			item = &root->children[root->n_children++];
			item->text = copy_of(text, (size_t)(end - text));
		}
		if (!*p)
			break;
		text = p + 1;
	}
	*ret_root = root;
	return 0;
}

int text_node(enum value_type type, const char *text, struct doc_node **ret_root, struct err *err)
{
	size_t len = strlen(text);
	struct doc_node *root;

	if (len > CONF_TEXT_MAX)
		return err_set(err, ERR_TOO_LARGE, "%zu bytes: the most is %zu", len,
		        (size_t)CONF_TEXT_MAX);
	if (!text_is_utf8(text, len) || text_has_control(text, len))
		return err_set(err, ERR_INVALID, "a control character, or not UTF-8");
	if (type == VALUE_QUEUES || type == VALUE_MODELS || (type == VALUE_LIST && text[0] == '['))
		return doc_parse(text, len, ret_root, err);
	if (type == VALUE_LIST)
		return split_commas(text, ret_root, err);
	root = mem_zalloc(sizeof(*root));
	root->text = mem_strdup(text);
	*ret_root = root;
	return 0;
}

static int set_text(struct conf *c, size_t key, const char *text, const char *path,
        enum conf_source from, struct err *err)
{
	CLEANUP(doc_freep) struct doc_node *root = NULL;
	int rc = text_node(conf_fields[key].type, text, &root, err);

	return rc ? err_wrap(err, "%s", path) : set_node(c, key, root, path, from, err);
}

/* The file */

static bool is_section(const char *path)
{
	size_t len = strlen(path);

	for (size_t i = 0; i < CONF_KEY_N; i++)
		if (strncmp(conf_fields[i].key, path, len) == 0 && conf_fields[i].key[len] == '.')
			return true;
	return false;
}

static int find_key(const char *path)
{
	for (size_t i = 0; i < CONF_KEY_N; i++)
		if (strcmp(conf_fields[i].key, path) == 0)
			return (int)i;
	return -1;
}

/* prefix: "" or "server." */
static int apply_section(
        struct conf *c, const struct doc_node *map, const char *prefix, struct err *err)
{
	for (size_t i = 0; i < map->n_children; i++) {
		const struct doc_node *child = &map->children[i];
		char path[PATH_MAX_BYTES];
		int key, rc = 0;

		snprintf(path, sizeof(path), "%s%s", prefix, child->key);
		key = find_key(path);
		if (strchr(child->key, '.') && (key >= 0 || is_section(path))) {
			(void)!unknown_key(child, path, err);
			return err_hint(err,
			        "write the parts as maps: '%.*s:', and the rest below it",
			        (int)strcspn(path, "."), path);
		}
		if (key >= 0) {
			rc = set_node(c, (size_t)key, child, path, CONF_FROM_FILE, err);
		} else if (!is_section(path)) {
			(void)!unknown_key(child, path, err);
			return hint_key(prefix, child->key, err);
		} else if (child->kind == DOC_MAP) {
			snprintf(path, sizeof(path), "%s%s.", prefix, child->key);
			rc = apply_section(c, child, path, err);
		} else if (!doc_is_null(child)) {
			rc = value_wrong_kind(child, path, "a map", err);
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

int conf_parse(const char *text, size_t len, struct conf **ret_conf, struct err *err)
{
	CLEANUP_CONF struct conf *c = conf_defaults();
	CLEANUP(doc_freep) struct doc_node *root = NULL;
	int rc = doc_parse(text, len, &root, err);

	if (rc < 0)
		return rc;
	if (root->kind == DOC_MAP)
		rc = apply_section(c, root, "", err);
	else if (!doc_is_null(root))
		rc = err_set(err, ERR_INVALID, "line %u: a map is wanted, this is %s", root->line,
		        doc_kind_name(root->kind));
	if (rc < 0)
		return rc;
	*ret_conf = STEAL(c);
	return 0;
}

/* Overrides */

int conf_set(
        struct conf *c, const char *key, const char *value, enum conf_source from, struct err *err)
{
	const char *close;
	int index = find_key(key);

	if (index >= 0)
		return set_text(c, (size_t)index, value, key, from, err);
	(void)!unknown_key(NULL, key, err);
	close = closest_field(conf_fields, CONF_KEY_N, key);
	return close ? err_hint(err, "did you mean '%s'?", close) : -ERR_UNKNOWN_KEY;
}

/* "server.job_user" -> "BERTH_CONF_SERVER_JOB_USER" */
static void env_name(const char *key, char out[ENV_NAME_MAX])
{
	char *p = out + snprintf(out, ENV_NAME_MAX, "%s", CONF_ENV_PREFIX);

	for (; *key; key++)
		*p++ = *key == '.'                  ? '_'
		       : *key >= 'a' && *key <= 'z' ? (char)(*key - 'a' + 'A')
		                                    : *key;
	*p = '\0';
}

int conf_override(struct conf *c, const char *name, const char *value, struct err *err)
{
	char all[CONF_KEY_N][ENV_NAME_MAX], shown[TEXT_SHOW_SIZE];
	const char *names[CONF_KEY_N], *close;
	int rc;

	for (size_t i = 0; i < CONF_KEY_N; i++) {
		env_name(conf_fields[i].key, all[i]);
		names[i] = all[i];
		if (strcmp(name, all[i]) == 0)
			return set_text(c, i, value, name, CONF_FROM_ENVIRONMENT, err);
	}
	rc = err_set(err, ERR_UNKNOWN_KEY, "unknown setting %s in the environment",
	        text_show(name, shown));
	close = strtab_closest((struct strtab)STRTAB(names), name);
	return close ? err_hint(err, "did you mean %s?", close) : rc;
}

int conf_override_all(struct conf *c, char *const *environ_, struct err *err)
{
	for (; *environ_; environ_++) {
		const char *equals = strchr(*environ_, '=');
		char *name;
		int rc;

		if (!equals || strncmp(*environ_, CONF_ENV_PREFIX, strlen(CONF_ENV_PREFIX)) != 0)
			continue;
		name = copy_of(*environ_, (size_t)(equals - *environ_));
		rc = conf_override(c, name, equals + 1, err);
		free(name);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Queries */

const struct conf_queue *conf_find_queue(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->queues.n; i++)
		if (strcmp(c->queues.v[i].name, name) == 0)
			return &c->queues.v[i];
	return NULL;
}

char *conf_join(const struct conf_list *list)
{
	size_t size = 1, len = 0;
	char *out;

	for (size_t i = 0; i < list->n; i++)
		size += strlen(list->v[i]) + 1;
	out = mem_zalloc(size);
	for (size_t i = 0; i < list->n; i++)
		len += (size_t)snprintf(out + len, size - len, "%s%s", i ? "," : "", list->v[i]);
	return out;
}

const char *conf_policy_name(const struct conf *c)
{
	static const char *const names[] = {[CONF_POLICY_FRAGMENT] = "fragment",
	        [CONF_POLICY_PACK] = "pack",
	        [CONF_POLICY_SPREAD] = "spread",
	        [CONF_POLICY_FGD] = "fgd"};

	return names[c->sched_policy];
}

bool conf_excludes_env(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->job_env_exclude.n; i++)
		if (fnmatch(c->job_env_exclude.v[i], name, FNM_CASEFOLD) == 0)
			return true;
	return false;
}
