/* Queues: those of the configuration, and what is set at run time over them. */
#include "conf/fields.h"
#include "base/mem.h"
#include "base/strtab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_BYTES (4 * (DOC_KEY_MAX + 1))

static void done(struct conf_queue *q)
{
	for (size_t k = 0; k < CONF_QUEUE_N; k++)
		value_done(&conf_queue_fields[k], q);
}

void conf_queue_free(struct conf_queue *q)
{
	if (q)
		done(q);
	free(q);
}

void conf_queue_freep(struct conf_queue **q)
{
	conf_queue_free(*q);
}

void queues_free(struct conf_queues *queues)
{
	for (size_t i = 0; i < queues->n; i++)
		done(&queues->v[i]);
	free(queues->v);
}

/* The name is one that check_name() takes. */
static void begin(struct conf_queue *q, const char *name)
{
	memcpy(q->name, name, strlen(name) + 1);
	entry_default(conf_queue_fields, CONF_QUEUE_N, q);
}

static int check_name(const char *s, struct err *err)
{
	static const char first[] =
	        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	static const char rest[] =
	        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	if (*s && strchr(first, *s) && !s[strspn(s, rest)] && strlen(s) <= CONF_NAME_MAX)
		return 0;
	(void)!err_set(err, ERR_INVALID, "not a name for a queue");
	return err_hint(
	        err, "names are letters, digits, '_', '.' and '-', at most %d", CONF_NAME_MAX);
}

static int set_map(struct conf_queue *q, const struct doc_node *map, const char *path,
        enum conf_source from, struct err *err)
{
	return entry_set(conf_queue_fields, CONF_QUEUE_N, q, q->source, map, path, from, err);
}

int queues_set(struct conf_queues *queues, const struct doc_node *n, const char *path,
        enum conf_source from, struct err *err)
{
	struct conf_queues now = {mem_zalloc((n->n_children + 1) * sizeof(*now.v)), 1};

	begin(&now.v[0], "default");
	for (size_t i = 0; i < n->n_children; i++) {
		const struct doc_node *child = &n->children[i];
		struct conf_queue *q = &now.v[0];
		char child_path[PATH_MAX_BYTES];
		int rc = check_name(child->key, err);

		snprintf(child_path, sizeof(child_path), "%s.%s", path, child->key);
		if (rc) {
			rc = value_where(child, child_path, err);
		} else {
			if (strcmp(child->key, "default") != 0) {
				q = &now.v[now.n++];
				begin(q, child->key);
			}
			rc = set_map(q, child, child_path, from, err);
		}
		if (rc < 0) {
			queues_free(&now);
			return rc;
		}
	}
	queues_free(queues);
	*queues = now;
	return 0;
}

/* At run time */

const char *conf_queue_key(enum conf_queue_field field)
{
	return conf_queue_fields[field].key;
}

static const struct field *find_field(const char *key)
{
	for (size_t f = 0; f < CONF_QUEUE_N; f++)
		if (strcmp(conf_queue_fields[f].key, key) == 0)
			return &conf_queue_fields[f];
	return NULL;
}

bool conf_queue_is_duration(const char *key)
{
	const struct field *f = find_field(key);

	return f && f->type == VALUE_DURATION;
}

/* "{time_limit: 1h, nodes: [a]}": the fields whose source is one of `first` and above. */
static void put_map(const struct conf_queue *q, enum conf_source first, struct buf *out)
{
	const char *comma = "";

	buf_add_str(out, "{");
	for (size_t f = 0; f < CONF_QUEUE_N; f++) {
		if (q->source[f] < first)
			continue;
		buf_addf(out, "%s%s: ", comma, conf_queue_fields[f].key);
		value_format(&conf_queue_fields[f], q, out);
		comma = ", ";
	}
	buf_add_str(out, "}");
}

void conf_queue_overlay(const struct conf_queue *q, struct buf *out)
{
	put_map(q, CONF_FROM_RUN_TIME, out);
}

static int lay_over(
        struct conf_queue *q, const char *map, size_t len, enum conf_source from, struct err *err)
{
	CLEANUP(doc_freep) struct doc_node *root = NULL;
	char path[PATH_MAX_BYTES];
	int rc = doc_parse(map, len, &root, err);

	snprintf(path, sizeof(path), "queues.%s", q->name);
	return rc ? err_wrap(err, "%s", path) : set_map(q, root, path, from, err);
}

static int copy(struct conf_queue *to, const struct conf_queue *from, struct err *err)
{
	CLEANUP_BUF struct buf map = BUF_INIT(CONF_TEXT_MAX);
	int rc;

	put_map(from, CONF_FROM_FILE, &map);
	rc = lay_over(to, buf_str(&map), map.len, CONF_FROM_FILE, err);
	memcpy(to->source, from->source, sizeof(to->source));
	return rc;
}

int conf_queue_make(const struct conf *c, const char *name, const char *overlay,
        struct conf_queue **ret_queue, struct err *err)
{
	const struct conf_queue *base = conf_find_queue(c, name);
	CLEANUP(conf_queue_freep) struct conf_queue *q = NULL;
	int rc = check_name(name, err);

	if (rc)
		return rc;
	q = mem_zalloc(sizeof(*q));
	begin(q, name);
	if (base)
		rc = copy(q, base, err);
	if (rc == 0 && overlay)
		rc = lay_over(q, overlay, strlen(overlay), CONF_FROM_RUN_TIME, err);
	if (rc)
		return rc;
	*ret_queue = STEAL(q);
	return 0;
}

static int take_back(
        struct conf_queue *q, const struct conf *c, const struct field *f, struct err *err)
{
	CLEANUP(conf_queue_freep) struct conf_queue *base = NULL;
	CLEANUP(doc_freep) struct doc_node *root = NULL;
	CLEANUP_BUF struct buf text = BUF_INIT(CONF_TEXT_MAX);
	int rc = conf_queue_make(c, q->name, NULL, &base, err);

	if (rc)
		return rc;
	value_format(f, base, &text);
	rc = doc_parse(buf_str(&text), text.len, &root, err);
	if (rc == 0)
		rc = value_set(f, q, root, f->key, err);
	if (rc == 0)
		q->source[f - conf_queue_fields] = base->source[f - conf_queue_fields];
	return rc;
}

int conf_queue_set(struct conf_queue *q, const struct conf *c, const char *key, const char *value,
        struct err *err)
{
	const struct field *f = find_field(key);
	struct doc_node map = {.kind = DOC_MAP, .n_children = 1};
	CLEANUP(doc_freep) struct doc_node *root = NULL;
	char path[PATH_MAX_BYTES];
	int rc;

	if (f && !*value)
		return take_back(q, c, f, err);
	snprintf(path, sizeof(path), "queues.%s", q->name);
	rc = text_node(f ? f->type : VALUE_STRING, value, &root, err);
	if (rc)
		return err_wrap(err, "%s.%.60s", path, key);
	/* As if the file had this line alone: one way to refuse what is unknown, or of the wrong form. */
	root->key = mem_strdup(key);
	root->line = 0;
	map.children = root;
	return set_map(q, &map, path, CONF_FROM_RUN_TIME, err);
}
