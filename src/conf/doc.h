/*
 * A YAML text as a tree of maps, lists and values, each with its line; nothing in it is interpreted yet.
 * The caller owns the tree and everything in it; doc_free() releases it. One thread at a time.
 * Refused, with the line: more than 1 MiB, broken UTF-8, control characters, anchors, aliases, tags, a second document,
 * a key that stands twice, and trees beyond the limits below. Work and memory are linear in the text.
 */
#pragma once

#include "base/err.h"

#define DOC_TEXT_MAX    (1 * MIB)
#define DOC_DEPTH_MAX   8
#define DOC_ENTRIES_MAX 1000  /* of one map or list */
#define DOC_NODES_MAX   20000 /* of all of them */
#define DOC_KEY_MAX     128   /* bytes of a key */

enum doc_kind { DOC_VALUE, DOC_LIST, DOC_MAP };

struct doc_node {
	enum doc_kind kind;
	unsigned line; /* of the key, when it has one; from 1; 0: not from a text */
	char *key;     /* of a map's entry, else NULL */
	char *text;    /* of a value, else NULL */
	bool is_plain; /* a value without quotes: an empty one says nothing */
	struct doc_node *children;
	size_t n_children;
};

/* A text without content gives an empty map. */
MUST_CHECK int doc_parse(const char *text, size_t len, struct doc_node **ret_root, struct err *err);
void doc_free(struct doc_node *root); /* NULL is fine */
void doc_freep(struct doc_node **root);

/* "a map", "a list", "a value" */
const char *doc_kind_name(enum doc_kind kind);
/* Nothing, `null` or `~` without quotes. */
bool doc_is_null(const struct doc_node *n);
