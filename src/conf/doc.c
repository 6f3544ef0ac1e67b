#include "conf/doc.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/mem.h"
#include "base/text.h"

/*
 * DESIGN: libyaml's events, not its loader, because the loader resolves aliases before anyone could refuse them.
 * The recursion is bounded by DOC_DEPTH_MAX; a map's keys are compared pairwise, bounded by DOC_ENTRIES_MAX
 * for one map and by DOC_NODES_MAX for all of them.
 */

struct reader {
	yaml_parser_t yaml;
	const char *text;
	size_t len;
	unsigned n_nodes;
};

static unsigned line_of(const yaml_mark_t *mark)
{
	return (unsigned)mark->line + 1;
}

static int yaml_error(const struct reader *r, struct err *err)
{
	const yaml_parser_t *y = &r->yaml;
	const char *problem = y->problem ? y->problem : "not YAML";
	unsigned line = line_of(&y->problem_mark);
	int rc;

	BUG_IF(y->error == YAML_MEMORY_ERROR);
	if (y->error == YAML_READER_ERROR) {
		line = 1;
		for (size_t i = 0; i < r->len && i < y->problem_offset; i++)
			line += r->text[i] == '\n';
	}
	rc = err_set(err, ERR_INVALID, "line %u: %s", line, problem);
	if (y->context && (strstr(y->context, "alias") || strstr(y->context, "anchor")))
		rc = err_hint(err, "a value that begins with '*' or '&' stands in quotes");
	else if (y->context && *y->context)
		rc = err_hint(
		        err, "%s that begins on line %u", y->context, line_of(&y->context_mark));
	return rc;
}

static int next_event(struct reader *r, yaml_event_t *ret_event, struct err *err)
{
	if (!yaml_parser_parse(&r->yaml, ret_event))
		return yaml_error(r, err);
	return 0;
}

static int refuse_reference(
        unsigned line, const char *what, const yaml_char_t *name, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];

	(void)!err_set(err, ERR_INVALID, "line %u: %s '%s' is not allowed here", line, what,
	        text_show((const char *)name, shown));
	return err_hint(err, "a value that begins with '*', '&' or '!' stands in quotes");
}

/* What an event may carry besides its content. */
static int check_plain_event(const yaml_event_t *e, struct err *err)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;
	unsigned line = line_of(&e->start_mark);

	if (e->type == YAML_ALIAS_EVENT)
		return refuse_reference(line, "alias", e->data.alias.anchor, err);
	if (e->type == YAML_SCALAR_EVENT) {
		anchor = e->data.scalar.anchor;
		tag = e->data.scalar.tag;
	} else if (e->type == YAML_SEQUENCE_START_EVENT) {
		anchor = e->data.sequence_start.anchor;
		tag = e->data.sequence_start.tag;
	} else if (e->type == YAML_MAPPING_START_EVENT) {
		anchor = e->data.mapping_start.anchor;
		tag = e->data.mapping_start.tag;
	}
	if (anchor)
		return refuse_reference(line, "anchor", anchor, err);
	if (tag)
		return refuse_reference(line, "tag", tag, err);
	return 0;
}

static int take_scalar(const yaml_event_t *e, char **ret_text, struct err *err)
{
	const char *value = (const char *)e->data.scalar.value;
	size_t len = e->data.scalar.length;
	char shown[TEXT_SHOW_SIZE];

	if (text_has_control(value, len))
		return err_set(err, ERR_INVALID,
		        "line %u: a control character or a line break in '%s'",
		        line_of(&e->start_mark), text_show(value, shown));
	/* Without NUL inside, as was just seen. */
	*ret_text = mem_strdup(value);
	return 0;
}

static struct doc_node *add_child(struct doc_node *n)
{
	/* Grows at every power of two. */
	if ((n->n_children & (n->n_children - 1)) == 0) {
		size_t cap = n->n_children ? 2 * n->n_children : 1;
		n->children = mem_realloc(n->children, cap, sizeof(*n->children));
	}
	memset(&n->children[n->n_children], 0, sizeof(*n->children));
	return &n->children[n->n_children++];
}

static int take_key(
        struct doc_node *map, const yaml_event_t *e, struct doc_node *ret_entry, struct err *err)
{
	char shown[TEXT_SHOW_SIZE];
	unsigned line = line_of(&e->start_mark);
	int rc;

	if (e->type != YAML_SCALAR_EVENT)
		return err_set(
		        err, ERR_INVALID, "line %u: a key is a word, not a list or a map", line);
	rc = take_scalar(e, &ret_entry->key, err);
	if (rc < 0)
		return rc;
	ret_entry->line = line;
	if (strlen(ret_entry->key) > DOC_KEY_MAX)
		return err_set(err, ERR_INVALID, "line %u: key '%s' is longer than %d bytes", line,
		        text_show(ret_entry->key, shown), DOC_KEY_MAX);
	for (const struct doc_node *c = map->children; c < ret_entry; c++)
		if (strcmp(c->key, ret_entry->key) == 0)
			return err_set(err, ERR_INVALID,
			        "line %u: key '%s' stands twice, first on line %u", line,
			        text_show(c->key, shown), c->line);
	return 0;
}

static int take_node(struct reader *r, const yaml_event_t *e, unsigned depth, struct doc_node *n,
        struct err *err);

/* The children of a list or a map, up to the event that ends it. */
static int take_children(struct reader *r, yaml_event_type_t end, unsigned depth,
        struct doc_node *n, struct err *err)
{
	int rc;

	if (depth > DOC_DEPTH_MAX)
		return err_set(err, ERR_INVALID, "line %u: nested deeper than %d levels", n->line,
		        DOC_DEPTH_MAX);
	for (;;) {
		CLEANUP(yaml_event_delete) yaml_event_t e = {0}, value = {0};
		struct doc_node *child;

		rc = next_event(r, &e, err);
		if (rc < 0)
			return rc;
		if (e.type == end)
			return 0;
		rc = check_plain_event(&e, err);
		if (rc < 0)
			return rc;
		if (n->n_children == DOC_ENTRIES_MAX || r->n_nodes++ == DOC_NODES_MAX)
			return err_set(err, ERR_INVALID, "line %u: more than %d entries",
			        line_of(&e.start_mark),
			        n->n_children == DOC_ENTRIES_MAX ? DOC_ENTRIES_MAX : DOC_NODES_MAX);
		child = add_child(n);
		if (n->kind == DOC_LIST) {
			rc = take_node(r, &e, depth, child, err);
		} else {
			rc = take_key(n, &e, child, err);
			if (rc == 0)
				rc = next_event(r, &value, err);
			if (rc == 0)
				rc = take_node(r, &value, depth, child, err);
		}
		if (rc < 0)
			return rc;
	}
}

static int take_node(struct reader *r, const yaml_event_t *e, unsigned depth, struct doc_node *n,
        struct err *err)
{
	int rc = check_plain_event(e, err);

	if (rc < 0)
		return rc;
	if (!n->line)
		n->line = line_of(&e->start_mark);
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		n->kind = DOC_VALUE;
		n->is_plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
		return take_scalar(e, &n->text, err);
	case YAML_SEQUENCE_START_EVENT:
		n->kind = DOC_LIST;
		return take_children(r, YAML_SEQUENCE_END_EVENT, depth + 1, n, err);
	case YAML_MAPPING_START_EVENT:
		n->kind = DOC_MAP;
		return take_children(r, YAML_MAPPING_END_EVENT, depth + 1, n, err);
	default:
		return err_set(err, ERR_INVALID, "line %u: a value is missing", n->line);
	}
}

/* stream-start, document-start, node, document-end, stream-end; or a stream without a document. */
static int take_stream(struct reader *r, struct doc_node *root, struct err *err)
{
	bool seen = false;

	for (;;) {
		CLEANUP(yaml_event_delete) yaml_event_t e = {0};
		int rc = next_event(r, &e, err);

		if (rc < 0)
			return rc;
		switch (e.type) {
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			break;
		case YAML_STREAM_END_EVENT:
			return 0;
		case YAML_DOCUMENT_START_EVENT:
			if (seen)
				return err_set(err, ERR_INVALID,
				        "line %u: a second document begins",
				        line_of(&e.start_mark));
			break;
		default:
			rc = take_node(r, &e, 0, root, err);
			if (rc < 0)
				return rc;
			seen = true;
		}
	}
}

static int check_bytes(const char *text, size_t len, struct err *err)
{
	unsigned line = 1;

	if (len > DOC_TEXT_MAX)
		return err_set(err, ERR_TOO_LARGE, "%zu bytes: the most is %zu", len,
		        (size_t)DOC_TEXT_MAX);
	for (size_t i = 0, n; i < len; i += n) {
		n = text_utf8_len(text + i, len - i);
		if (n == 0)
			return err_set(err, ERR_INVALID, "line %u: byte 0x%02x is not UTF-8", line,
			        (unsigned char)text[i]);
		if (text[i] == '\0')
			return err_set(err, ERR_INVALID, "line %u: a NUL byte", line);
		line += text[i] == '\n';
	}
	return 0;
}

int doc_parse(const char *text, size_t len, struct doc_node **ret_root, struct err *err)
{
	CLEANUP(doc_freep) struct doc_node *root = mem_zalloc(sizeof(*root));
	struct reader r = {.text = text, .len = len};
	int rc;

	root->kind = DOC_MAP;
	rc = check_bytes(text, len, err);
	if (rc < 0)
		return rc;
	BUG_IF(!yaml_parser_initialize(&r.yaml));
	yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.yaml, (const unsigned char *)(text ? text : ""), len);
	rc = take_stream(&r, root, err);
	yaml_parser_delete(&r.yaml);
	if (rc < 0)
		return rc;
	*ret_root = STEAL(root);
	return 0;
}

static void done_node(struct doc_node *n)
{
	for (size_t i = 0; i < n->n_children; i++)
		done_node(&n->children[i]);
	free(n->children);
	free(n->key);
	free(n->text);
}

void doc_free(struct doc_node *root)
{
	if (!root)
		return;
	done_node(root);
	free(root);
}

void doc_freep(struct doc_node **root)
{
	doc_free(*root);
}

const char *doc_kind_name(enum doc_kind kind)
{
	static const char *const names[] = {
	        [DOC_VALUE] = "a value", [DOC_LIST] = "a list", [DOC_MAP] = "a map"};

	return names[kind];
}

bool doc_is_null(const struct doc_node *n)
{
	return n->kind == DOC_VALUE && n->is_plain &&
	       (!*n->text || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0);
}
